"""Curve fitting: Adam, L-BFGS and Levenberg-Marquardt
===================================================

Adam takes thousands of small steps, each by a mini-batch. L-BFGS and Levenberg-Marquardt use all rows per iteration,
estimate the curvature of the loss, and reach the same error in a few dozen iterations. For small nets and few rows try
them first: they need no learning rate.

Run it with ``python examples/applications/curve_fitting.py [picture.png]``.
"""

from __future__ import annotations

import time

import numpy as np

import fastnn
from fastnn._script import run_script

ROWS = 200
NOISE = 0.05


def curve(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a wave of rising frequency, with noise: x (n, 1) and y (n,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    return x, np.sin(4 * x[:, 0] + 3 * x[:, 0] ** 2) + NOISE * rng.standard_normal(n)


def main(picture: str | None = None, *, adam_epochs: int = 2000, iterations: int = 100) -> dict[str, float]:
    """Train the same net with each; return the mean squared errors on new points."""
    X, y = curve(ROWS, seed=0)
    X_test, y_test = curve(1000, seed=1)
    print(f"lowest possible test error (the variance of the noise): {NOISE**2:.5f}")
    errors, models = {}, {}
    for name, optimizer, epochs in (
        ("Adam", fastnn.Adam(0.01), adam_epochs),
        ("L-BFGS", fastnn.LBFGS(), iterations),
        ("Levenberg-Marquardt", fastnn.LevenbergMarquardt(), iterations),
    ):
        layers = [fastnn.Dense(12, "tanh"), fastnn.Dense(1)]
        model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
        model.fit(X, y)  # the first fit compiles or loads the kernels, and is not timed
        start = time.perf_counter()
        history = model.fit(X, y, epochs=epochs)
        seconds = time.perf_counter() - start
        errors[name] = model.evaluate(X_test, y_test)["loss"]
        models[name] = model
        print(
            f"{name:20} {len(history):5} epochs {1e3 * seconds:8.1f} ms   training error {history['loss'][-1]:.5f}, "
            f"test error {errors[name]:.5f}"
        )
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 4), layout="constrained")
        fitted, loss = figure.subplots(1, 2)
        fitted.plot(X[:, 0], y, ".", color="0.7", label="training rows")
        x = np.linspace(-1, 1, 200)
        for name, model in models.items():
            fitted.plot(x, model.predict(x[:, None]), label=name)
            loss.loglog(1 + np.arange(len(model.history)), model.history["loss"], label=name)
        fitted.set(xlabel="x", ylabel="y")
        loss.set(xlabel="epoch or iteration", ylabel="training loss")
        loss.axhline(NOISE**2, color="0.7", linestyle=":")
        fitted.legend()
        figure.savefig(picture)
    return errors


if __name__ == "__main__":
    run_script(main)
