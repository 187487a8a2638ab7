"""Logistic regression: a line between two classes
===============================================

A net without hidden layer whose output z = x W + b passes through the sigmoid, a = 1 / (1 + exp(-z)), is logistic
regression: a is the probability of class 1. It is trained with the cross-entropy. Where z = 0 both classes are equally
probable; that is a line in the plane of two features, here of 569 tumours. The picture shows it on the left, and on the
right what the sigmoid makes of z: 0 or 1 far from the line, and a doubt near it.

Run it with ``python examples/neuron/logistic_regression.py [picture.png]``. It needs scikit-learn.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

FEATURES = {"mean texture": 1, "mean concave points": 7}
CLASSES = ("malignant", "benign")


def main(picture: str | None = None, *, iterations: int = 50) -> dict[str, float]:
    """Train; return the accuracy, and the largest derivative of the loss at the end."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    X, t = data.data[:, list(FEATURES.values())], data.target
    X = (X - X.mean(0)) / X.std(0)
    solver = fastnn.LBFGS(gtol=1e-9, ftol=1e-15)
    model = fastnn.Model([], loss="binary_crossentropy", optimizer=solver, dtype="float64", seed=0)
    model.fit(X, t, epochs=iterations)

    z = model.predict(X)[:, 0]
    a = 1 / (1 + np.exp(-z))
    (w1, w2), b = model.weights[0][:, 0], model.biases[0][0]
    by_w = X.T @ (a - t) / len(X)  # dE/dW of the cross-entropy: the mean of (a - t) x
    print(f"the line: {w1:.3f} texture {w2:+.3f} concave points {b:+.3f} = 0, standardized")
    print(f"a is what predict_proba returns, within {np.abs(a - model.predict_proba(X)[:, 0]).max():.0e}")
    print(f"accuracy {np.mean((z > 0) == t):.1%}; at the lowest loss dE/dW = {by_w[0]:.0e}, {by_w[1]:.0e}")
    if picture:
        draw(picture, model, X, t, z)
    return {"accuracy": float(np.mean((z > 0) == t)), "slope": float(np.abs(by_w).max())}


def draw(picture: str, model: fastnn.Model, X: np.ndarray, t: np.ndarray, z: np.ndarray) -> None:
    """Draw the plane with the line, and the sigmoid with all rows."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        plane, curve = figure.subplots(1, 2)
        fastnn.plot.decision_boundary(model, X, t, ax=plane, class_names=CLASSES)
        plane.set(title="z = 0 is a line", xlabel="mean texture, standardized",
                  ylabel="mean concave points, standardized")  # fmt: skip
        shaken = np.random.default_rng(0).uniform(-0.03, 0.03, len(t))
        line = np.linspace(-9, 9, 200)
        curve.plot(line, 1 / (1 + np.exp(-line)), color="0.3")
        for k, name in enumerate(CLASSES):
            rows = t == k
            curve.plot(z[rows], k + shaken[rows], "o", color=fastnn.plot.COLORS[k], alpha=0.4, markersize=4)
            curve.annotate(name, (0.97 - 0.94 * k, 0.1 + 0.78 * k), xycoords="axes fraction",
                           ha="left" if k else "right")  # fmt: skip
        curve.axvline(0, color="0.7", linewidth=1)
        curve.annotate("in doubt: z = 0, a = 1/2", (0, 0.5), xytext=(10, 0), textcoords="offset points", va="center")
        curve.set(title="The sigmoid makes z a probability", xlabel="z = x W + b", xlim=(-9, 9),
                  ylabel="a, the probability of benign")  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["sklearn"])
