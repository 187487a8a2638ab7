"""Curve fitting: Adam, L-BFGS and Levenberg-Marquardt
===================================================

Adam takes thousands of small steps, each by a mini-batch. L-BFGS and Levenberg-Marquardt use all rows per iteration,
estimate the curvature of the loss, and reach the same error in a hundred iterations, or a dozen. For small nets and few
rows try them first: they need no learning rate. The picture shows 200 noisy points of a curve with what each has
learned after 2000 epochs of Adam and 150 iterations of the others, and how the loss falls to the variance of the noise.

Run it with ``python examples/applications/curve_fitting.py [picture.png]``.
"""

from __future__ import annotations

import time

import numpy as np

import fastnn
from fastnn.script import run_script

ROWS = 200
NOISE = 0.05


def curve(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a wave of rising frequency, with noise: x (n, 1) and y (n,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    return x, np.sin(4 * x[:, 0] + 3 * x[:, 0] ** 2) + NOISE * rng.standard_normal(n)


def main(picture: str | None = None, *, adam_epochs: int = 2000, iterations: int = 150) -> dict[str, float]:
    """Train the same net with each; return the mean squared errors on new points."""
    X, y = curve(ROWS, seed=0)
    X_test, y_test = curve(1000, seed=1)
    print(f"lowest possible test error (the variance of the noise): {NOISE**2:.5f}")
    errors, models, losses = {}, {}, {}
    for name, optimizer, epochs in (
        ("Adam", fastnn.Adam(0.01), adam_epochs),
        ("L-BFGS", fastnn.LBFGS(), iterations),
        ("Levenberg-Marquardt", fastnn.LevenbergMarquardt(), iterations),
    ):
        layers = [fastnn.Dense(12, "tanh"), fastnn.Dense(1)]
        model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
        model.fit(X, y, epochs=1)  # the first fit compiles or loads the kernels, and is not timed
        start = time.perf_counter()
        history = model.fit(X, y, epochs=epochs)
        seconds = time.perf_counter() - start
        errors[name] = model.evaluate(X_test, y_test)["loss"]
        models[name], losses[name] = model, history["loss"]
        print(
            f"{name:20} {len(history):5} epochs {1e3 * seconds:8.1f} ms   training error {history['loss'][-1]:.5f}, "
            f"test error {errors[name]:.5f}"
        )
    if picture:
        draw(picture, X, y, models, losses)
    return errors


def draw(
    picture: str, X: np.ndarray, y: np.ndarray, models: dict[str, fastnn.Model], losses: dict[str, list[float]]
) -> None:
    """Draw the fitted curves, and the losses over epochs or iterations."""
    from matplotlib.figure import Figure

    x = np.linspace(-1, 1, 200)[:, None]
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        fitted, loss = figure.subplots(1, 2)
        fitted.plot(X[:, 0], y, "o", color="0.8", markersize=4)
        for number, (name, model) in enumerate(models.items()):
            colour = f"C{number}"
            known = losses[name]
            fitted.plot(x[:, 0], model.predict(x), color=colour, linewidth=4 - number)
            loss.loglog(np.arange(1, len(known) + 1), known, color=colour)
            k = int(np.argmax(np.array(known) < 0.02))  # where the curves are steep
            loss.annotate(name.replace("-M", "-\nM"), (k + 1, 0.02), xytext=(-8, 0), textcoords="offset points",
                          ha="right", va="center", color=colour)  # fmt: skip
        fitted.set(title="What each has learned", xlabel="x", ylabel="y")
        loss.axhline(NOISE**2, color="0.6", linewidth=1)
        loss.annotate("variance of the noise", (1, NOISE**2), xytext=(2, -14), textcoords="offset points", color="0.4")
        loss.set(title="A thousand steps, a hundred, a dozen", xlabel="epoch or iteration", ylabel="mean squared error")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
