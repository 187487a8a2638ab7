"""A noisy curve, fitted by Adam, by L-BFGS and by Levenberg-Marquardt.

    python examples/curve_fitting.py

Adam goes through mini-batches and needs thousands of small steps. L-BFGS and Levenberg-Marquardt look at all rows at
once, learn the curvature of the loss, and get as low in a few dozen steps: for small nets and few rows they are the
methods to try first. No learning rate has to be found for them.
"""

from __future__ import annotations

import time

import numpy as np

import fastnn

ROWS = 200
NOISE = 0.05


def curve(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a wave that becomes faster, with noise; (n, 1) and (n,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    return x, np.sin(4 * x[:, 0] + 3 * x[:, 0] ** 2) + NOISE * rng.standard_normal(n)


def main(adam_epochs: int = 2000, iterations: int = 100) -> dict[str, float]:
    """Train the same net by each; returns the mean squared errors on new points."""
    X, y = curve(ROWS, seed=0)
    X_test, y_test = curve(1000, seed=1)
    print(f"no model can be better than the noise: {NOISE**2:.5f}")
    errors = {}
    for name, optimizer, epochs in (
        ("Adam", fastnn.Adam(0.01), adam_epochs),
        ("L-BFGS", fastnn.LBFGS(), iterations),
        ("Levenberg-Marquardt", fastnn.LevenbergMarquardt(), iterations),
    ):
        layers = [fastnn.Dense(12, "tanh"), fastnn.Dense(1)]
        model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
        model.fit(X, y)  # kernels are compiled or loaded in the first fit, which is not timed
        start = time.perf_counter()
        history = model.fit(X, y, epochs=epochs)
        seconds = time.perf_counter() - start
        errors[name] = model.evaluate(X_test, y_test)["loss"]
        print(
            f"{name:20} {len(history):5} epochs {1e3 * seconds:8.1f} ms   training error {history['loss'][-1]:.5f}, "
            f"test error {errors[name]:.5f}"
        )
    return errors


if __name__ == "__main__":
    main()
