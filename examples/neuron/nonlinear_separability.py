"""The problem that a line cannot solve
====================================

Four clouds of points. If the two on the left are one class, a line separates the classes, and logistic regression (a
net without hidden layers) finds it. If the two on a diagonal are one class (XOR), no line separates them: at most three
of the four clouds lie on the correct side. A net with two hidden units solves it: in the plane of the outputs of its
hidden units a line separates the classes again. The picture shows the line that fails, the region that the net has
learned, and the plane of its hidden units with the line that its last layer draws there.

Run it with ``python examples/neuron/nonlinear_separability.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


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
    line = train([], X, xor, epochs)
    report("XOR: logistic regression", line, X_test, xor_test)
    # From most starts two units end with three of the four clouds, three or more units rarely do; seed 1 succeeds.
    net = train([fastnn.Dense(2, "tanh"), fastnn.Dense(1)], X, xor, epochs, seed=1)
    report("XOR: two hidden units", net, X_test, xor_test)
    linear = train([], net.hidden(X), xor, epochs)
    report("XOR: logistic regression on their outputs", linear, net.hidden(X_test), xor_test)
    if picture:
        draw(picture, line, net, X_test[:400], xor_test[:400], list(accuracies.values()))
    return accuracies


def draw(
    picture: str, line: fastnn.Model, net: fastnn.Model, X: np.ndarray, y: np.ndarray, accuracies: list[float]
) -> None:
    """Draw the plane of the inputs by both models, and that of the hidden units."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.5))
        fails, solves, hidden = figure.subplots(1, 3)
        fastnn.plot.decision_boundary(line, X, y, ax=fails)
        fastnn.plot.decision_boundary(net, X, y, ax=solves)
        fastnn.plot.hidden_space(net, X, y, ax=hidden)
        fails.set(title=f"A line: {accuracies[1]:.0%}", xlabel="x1", ylabel="x2")
        solves.set(title=f"Two hidden units: {accuracies[2]:.0%}", xlabel="x1", ylabel="x2")
        hidden.set(title="A line in their plane", xlabel="hidden unit 1", ylabel="hidden unit 2")
        for ax in figure.axes:
            ax.set_box_aspect(1)
            if legend := ax.get_legend():
                legend.remove()
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
