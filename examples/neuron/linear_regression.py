"""Linear regression: a net without hidden layer
=============================================

A net without hidden layer computes f(x) = x W + b. With the squared error E it is linear regression, whose best weights
have a formula. Training finds the same ones: the progress of diabetes a year after an examination of 442 people, first
by one feature, then by all ten. The picture shows the line, and how the loss approaches the lowest one: descent along
the gradient takes dozens of updates, Levenberg-Marquardt, which uses the curvature, three.

Run it with ``python examples/neuron/linear_regression.py [picture.png]``. It needs scikit-learn.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

SOLVER = fastnn.LevenbergMarquardt(gtol=1e-12, ftol=0.0)


def train(X: np.ndarray, t: np.ndarray, optimizer: fastnn.SGD | fastnn.LevenbergMarquardt, epochs: int) -> fastnn.Model:
    model = fastnn.Model([], loss="squared_error", optimizer=optimizer, dtype="float64", seed=0)
    model.fit(X, t, epochs=epochs, batch_size=None)  # None: an update per epoch, by all rows
    return model


def by_formula(X: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the weights and the bias of least squares."""
    return np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), t, rcond=None)[0]


def main(picture: str | None = None, *, updates: int = 60) -> dict[str, float]:
    """Train in three ways; return the largest difference of the weights from those of the formula."""
    from sklearn.datasets import load_diabetes

    X, t = load_diabetes(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    mass = X[:, [2]]  # the body mass index
    models = {
        "gradient descent": train(mass, t, fastnn.SGD(0.2), updates),
        "Levenberg-Marquardt": train(mass, t, SOLVER, 5),
        "all ten features": train(X, t, SOLVER, 30),
    }
    differences = {}
    print(f"{'':20} weights and bias of the net, and their largest difference from the formula's")
    for name, model in models.items():
        found = np.append(model.weights[0][:, 0], model.biases[0])
        differences[name] = float(np.abs(found - by_formula(X if len(found) > 2 else mass, t)).max())
        print(f"{name:20} {found[0]:8.4f} ... {found[-1]:8.4f} {differences[name]:12.1e}")
    if picture:
        draw(picture, mass, t, models)
    return differences


def draw(picture: str, X: np.ndarray, t: np.ndarray, models: dict[str, fastnn.Model]) -> None:
    """Draw the line through the rows, and the losses above the lowest one."""
    from matplotlib.figure import Figure

    orange, blue = fastnn.plot.COLORS[:2]
    slope, offset = by_formula(X, t)
    lowest = ((slope * X[:, 0] + offset - t) ** 2).mean()
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        fitted, losses = figure.subplots(1, 2)
        fitted.plot(X[:, 0], t, "o", color="0.75", markersize=4)
        x = np.array([X.min(), X.max()])
        fitted.plot(x, slope * x + offset, color=blue, linewidth=7, alpha=0.35, label="least squares, by formula")
        fitted.plot(x, models["gradient descent"].predict(x[:, None]), color=orange, label="the net, trained")
        fitted.legend(loc="lower right")
        fitted.set(title="The net finds the line of least squares", xlabel="body mass index, standardized",
                   ylabel="progress of the disease in a year")  # fmt: skip
        for (name, model), colour, k in zip(list(models.items())[:2], (orange, blue), (12, 3), strict=True):
            # Descent records the loss before each update, the solver that after it.
            known = model.history["loss"]
            start, end = models["gradient descent"].history["loss"][0], model.evaluate(X, t)["loss"]
            above = np.array([*known, end] if "descent" in name else [start, *known]) - lowest
            above[above < 1e-9] = np.nan  # no more than rounding
            losses.semilogy(above, color=colour)
            losses.annotate(name, (k, above[k]), xytext=(8, 4), textcoords="offset points", color=colour)
        losses.set(title="Downhill in many steps, or in few", xlabel="update", ylabel="loss above the lowest one")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["sklearn"])
