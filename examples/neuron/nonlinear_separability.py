"""Linear separability, XOR and hidden units
=========================================

Four clouds of points. If the two on the left are one class, a line separates the classes, and logistic regression (a
net without hidden layers) finds it. If the two on a diagonal are one class (XOR), no line separates them: at most three
of the four clouds lie on the correct side. A net with two hidden units solves it: in the plane of the
outputs of its hidden units a line separates the classes again. The picture shows both planes.

Run it with ``python examples/neuron/nonlinear_separability.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn._script import run_script


def clouds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points around the corners of a square (n, 2), and two labelings (n,): left or right, and XOR."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 2, (n, 2))
    points = (2 * corner - 1) + 0.3 * rng.standard_normal((n, 2))
    return points, corner[:, 0], corner[:, 0] ^ corner[:, 1]


def train(layers: list[fastnn.Dense], X: np.ndarray, y: np.ndarray, epochs: int, *, seed: int = 0) -> fastnn.Model:
    model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.02), seed=seed)
    model.fit(X, y, epochs=epochs, batch_size=50)
    return model


def main(picture: str | None = None, *, epochs: int = 100) -> dict[str, float]:
    """Train the models; return their accuracies on new points."""
    X, side, xor = clouds(1000, seed=0)
    X_test, side_test, xor_test = clouds(1000, seed=1)
    accuracies = {}

    def report(name: str, model: fastnn.Model, X: np.ndarray, y: np.ndarray) -> None:
        accuracies[name] = model.evaluate(X, y)["accuracy"]
        print(f"{name:40} test accuracy {accuracies[name]:.1%}")

    report("left or right: logistic regression", train([], X, side, epochs), X_test, side_test)
    report("XOR: logistic regression", train([], X, xor, epochs), X_test, xor_test)
    # From most starts two units end with three of the four clouds, three or more units rarely do; seed 1 succeeds.
    net = train([fastnn.Dense(2, "tanh"), fastnn.Dense(1)], X, xor, epochs, seed=1)
    report("XOR: two hidden units", net, X_test, xor_test)

    def hidden(X: np.ndarray) -> np.ndarray:
        return np.tanh(X @ net.weights[0] + net.biases[0])

    linear = train([], hidden(X), xor, epochs)
    report("XOR: logistic regression on their outputs", linear, hidden(X_test), xor_test)
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.scatter(*X_test.T, c=xor_test, cmap="coolwarm", s=6)
        left.set(title="input space: no line separates them", xlabel="x1", ylabel="x2")
        right.scatter(*hidden(X_test).T, c=xor_test, cmap="coolwarm", s=6)
        (a, b), c = linear.weights[0][:, 0], linear.biases[0][0]
        right.axline((0, -c / b), slope=-a / b, color="k")  # a x + b y + c = 0
        right.set(title="outputs of the hidden units: a line does", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))
        right.set(xlabel="hidden unit 1", ylabel="hidden unit 2")
        figure.savefig(picture)
    return accuracies


if __name__ == "__main__":
    run_script(main)
