"""Momentum, AdaGrad, RMSProp and Adam raced
=========================================

Plain gradient descent (SGD) goes to and fro across a narrow valley and slowly along it. Momentum adds up steps of the
same direction; AdaGrad and RMSProp divide each step by the size that its derivative had; Adam does both. Left, they go
from the same start through the valley of a linear regression whose two features have different scales. Right, each
trains the same net in the same number of epochs with the best of several rates; L-BFGS and Levenberg-Marquardt, which
use the curvature and need no rate, make an iteration over all rows in place of an epoch.

Run it with ``python examples/descent/optimizers_race.py [picture.png]``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np

import fastnn
from fastnn.script import run_script

warnings.filterwarnings("ignore", category=fastnn.TrainingWarning)  # some of the racers oscillate

OPTIMIZERS = {
    "SGD": fastnn.SGD,
    "momentum": lambda rate: fastnn.SGD(rate, momentum=0.9),
    "Nesterov": lambda rate: fastnn.SGD(rate, momentum=0.9, nesterov=True),
    "AdaGrad": fastnn.AdaGrad,
    "RMSProp": fastnn.RMSProp,
    "Adam": fastnn.Adam,
    "NAdam": fastnn.NAdam,
    "Lion": fastnn.Lion,
}
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
#: Rates in the valley.
WALKERS = {"SGD": 0.09, "momentum": 0.02, "AdaGrad": 0.9, "RMSProp": 0.1, "Adam": 0.3}
STEPS = 40
COLOURS = {"SGD": "0.25", "momentum": 0, "AdaGrad": 2, "RMSProp": 3, "Adam": 1, "Levenberg-Marquardt": 5}


def colour_of(name: str) -> str:
    number = COLOURS.get(name, "0.7")
    return number if isinstance(number, str) else f"C{number}"


def valley() -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two features, one with a fifth of the other's scale (n, 2), and targets of weights 0 (n,)."""
    X = np.random.default_rng(0).standard_normal((200, 2)) * (0.6, 3.0)
    return X, np.zeros(200)


def walk(optimizer: fastnn.Optimizer) -> np.ndarray:
    """Return the two weights of a linear regression at the start and after each step; (STEPS + 1, 2)."""
    model = fastnn.Model([fastnn.Dense(1, use_bias=False)], loss="squared_error", optimizer=optimizer, dtype="float64")
    model.build(2)
    model.weights = [[[-4.0], [1.6]]]
    path = [model.weights[0][:, 0].copy()]
    for _ in range(STEPS):
        model.train_on_batch(*valley())
        path.append(model.weights[0][:, 0].copy())
    return np.array(path)


def surface(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of two hills and a valley (n, 2), and their heights (n,)."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    hills = np.exp(-8 * ((x - 0.4) ** 2).sum(1)) + 0.7 * np.exp(-6 * ((x + 0.4) ** 2).sum(1))
    return x, hills - 0.8 * np.exp(-10 * ((x - (0.5, -0.5)) ** 2).sum(1))


Run = tuple[Sequence[float], float, float, str]


def race(epochs: int, rates: Sequence[float]) -> dict[str, Run]:
    """Return for each optimizer the losses, the final one, the seconds and the rate of its best training."""
    X, y = surface(500, seed=0)

    def train(optimizer: fastnn.Optimizer, rate: str = "-") -> Run:
        layers = [fastnn.Dense(20, "tanh"), fastnn.Dense(1)]
        model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=0, dtype="float64").build(2)
        start = time.perf_counter()
        try:
            history = model.fit(X, y, epochs=epochs)
        except fastnn.DivergenceError:
            return [], float("inf"), 0.0, rate
        return history["loss"], model.evaluate(X, y)["loss"], time.perf_counter() - start, rate

    def best_of(make: Callable[[float], fastnn.Optimizer]) -> Run:
        return min((train(make(rate), f"{rate:g}") for rate in rates), key=lambda run: run[1])

    train(fastnn.Adam()), train(fastnn.LevenbergMarquardt())  # compiles or loads the kernels, before the timing
    best = {name: best_of(make) for name, make in OPTIMIZERS.items()}
    solvers = {"L-BFGS": fastnn.LBFGS(), "Levenberg-Marquardt": fastnn.LevenbergMarquardt()}
    return best | {name: train(solver) for name, solver in solvers.items()}


def main(picture: str | None = None, *, epochs: int = 300, rates: Sequence[float] = RATES) -> dict[str, dict]:
    """Race in both ways; return the final mean squared errors of the net, and the walks."""
    best = race(epochs, rates)
    print(f"{'':20} best rate   error after {epochs} epochs   time")
    for name, (_, error, seconds, rate) in sorted(best.items(), key=lambda item: -item[1][1]):
        print(f"{name:20} {rate:>9} {error:20.2e} {1e3 * seconds:11.0f} ms")
    walks = {name: walk(OPTIMIZERS[name](rate)) for name, rate in WALKERS.items()}
    print(f"distance from the lowest point after {STEPS} steps in a valley: "
          + ", ".join(f"{name} {np.hypot(*path[-1]):.2f}" for name, path in walks.items()))  # fmt: skip
    if picture:
        draw(picture, best, walks)
    return {"errors": {name: error for name, (_, error, *_) in best.items()}, "walks": walks}


def draw(picture: str, best: dict[str, Run], walks: dict[str, np.ndarray]) -> None:
    """Draw the walks on the map of the valley, and the losses of the net."""
    from matplotlib.figure import Figure

    X, _ = valley()
    w, v = np.meshgrid(np.linspace(-4.6, 1.6, 100), np.linspace(-2.4, 2.4, 100))
    height = np.tensordot(X.T @ X / len(X), [[w * w, w * v], [w * v, v * v]], axes=2)
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.6))
        chart, curves = figure.subplots(1, 2)
        chart.contour(w, v, height, np.geomspace(0.05, height.max(), 11), colors="0.85", linewidths=0.8)
        for name, path in walks.items():
            chart.plot(*path.T, ".-", color=colour_of(name), linewidth=1.3, markersize=4, label=name)
        chart.plot(0, 0, "*", color="black", markersize=12)
        chart.plot(*walks["SGD"][0], "o", color="black", markersize=7)
        chart.set(title=f"{STEPS} steps in a narrow valley", xlabel="weight 1", ylabel="weight 2")
        chart.legend(loc="lower right", ncols=2)
        ends = sorted(best, key=lambda name: best[name][0][-1])
        lowest, highest = np.log([best[ends[0]][0][-1], best[ends[-1]][0][-1]])
        for place, name in enumerate(ends):
            losses = best[name][0]
            curves.loglog(np.arange(1, len(losses) + 1), losses, color=colour_of(name), zorder=2 + (name in COLOURS))
            height = np.exp(lowest + (highest - lowest) * place / (len(ends) - 1))
            curves.annotate(name, (len(losses), losses[-1]), xytext=(1.03, height),
                            textcoords=curves.get_yaxis_transform(), va="center", fontsize=9,
                            color=colour_of(name) if name in COLOURS else "0.5")  # fmt: skip
        curves.set(title="The same net, each with its best rate", xlabel="epoch", ylabel="mean squared error",
                   ylim=(None, 1))  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
