"""Comparing optimizers
====================

A surface of two variables is learned from 500 points, by the same net from the same start in the same number of
epochs. Each optimizer uses the best of several learning rates. The first nine take one step per mini-batch; an epoch of
L-BFGS and of Levenberg-Marquardt is one iteration over all rows, which needs no learning rate.

Run it with ``python examples/descent/optimizers_race.py [picture.png]``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np

import fastnn
from fastnn._script import run_script

warnings.filterwarnings("ignore", category=fastnn.TrainingWarning)  # some of the racers oscillate

OPTIMIZERS = {
    "SGD": lambda rate: fastnn.SGD(rate),
    "momentum": lambda rate: fastnn.SGD(rate, momentum=0.9),
    "Nesterov": lambda rate: fastnn.SGD(rate, momentum=0.9, nesterov=True),
    "AdaGrad": fastnn.AdaGrad,
    "RMSProp": fastnn.RMSProp,
    "Adam": fastnn.Adam,
    "AdamW": fastnn.AdamW,
    "NAdam": fastnn.NAdam,
    "Lion": fastnn.Lion,
}
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def surface(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of two hills and a valley (n, 2), and their heights (n,)."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    hills = np.exp(-8 * ((x - 0.4) ** 2).sum(1)) + 0.7 * np.exp(-6 * ((x + 0.4) ** 2).sum(1))
    return x, hills - 0.8 * np.exp(-10 * ((x - (0.5, -0.5)) ** 2).sum(1))


def main(picture: str | None = None, *, epochs: int = 500, rates: Sequence[float] = RATES) -> dict[str, float]:
    """Train with each; return the final mean squared errors on all rows."""
    X, y = surface(500, seed=0)

    def train(optimizer: fastnn.Adam | fastnn.LBFGS | str) -> tuple[fastnn.History, float, float]:
        layers = [fastnn.Dense(20, "tanh"), fastnn.Dense(1)]
        model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
        model.build(2)
        start = time.perf_counter()
        try:
            history = model.fit(X, y, epochs=epochs)
        except fastnn.DivergenceError:
            return model.history, float("inf"), 0.0
        return history, model.evaluate(X, y)["loss"], time.perf_counter() - start

    train("adam"), train("lm")  # compiles or loads the kernels, before the timing
    best = {}
    for name, make in OPTIMIZERS.items():
        best[name] = min(((*train(make(rate)), f"{rate:g}") for rate in rates), key=lambda run: run[1])
    best["L-BFGS"] = *train(fastnn.LBFGS()), "-"
    best["Levenberg-Marquardt"] = *train(fastnn.LevenbergMarquardt()), "-"
    print(f"{'':20} best rate   error after {epochs} epochs   time")
    for name, (_, error, seconds, rate) in sorted(best.items(), key=lambda item: -item[1][1]):
        print(f"{name:20} {rate:>9} {error:20.2e} {1e3 * seconds:11.0f} ms")
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 5), layout="constrained")
        ax = figure.subplots()
        for k, (name, (history, *_)) in enumerate(best.items()):
            ax.semilogy(history["loss"], label=name, linestyle="-" if k < 9 else "--")
        ax.set_xlabel("epoch")
        ax.set_ylabel("mean squared error")
        ax.legend(ncols=2)
        figure.savefig(picture)
    return {name: error for name, (_, error, *_) in best.items()}


if __name__ == "__main__":
    run_script(main)
