"""Representation learning
=======================

Three rings around one another: no line separates them in x and y. In polar coordinates (radius and angle) they are
three bands, and two lines do. (The example is that of I. Goodfellow, Y. Bengio, A. Courville, "Deep learning", 2016,
figure 1.1.) Someone had to find these coordinates. A net finds coordinates of its own: layer by layer its hidden units
move the rings, until lines separate them in the plane of its last hidden layer.

In each space a linear model (softmax regression) is trained, and its accuracy states how separable the rings are there.
The areas are the classes of the net in x and y, and of the lines in the other spaces; of the eight units of layer 1 two
directions are seen.

Run it with ``python examples/representation/representation_learning.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


def train(layers: list, X: np.ndarray, y: np.ndarray, epochs: int, *, seed: int = 0) -> fastnn.Model:
    """Train a net on three classes; without hidden layers it is linear."""
    layers = [*layers, fastnn.Dense(3)]
    optimizer = fastnn.Adam(0.02)
    model = fastnn.Model(layers, loss="softmax_crossentropy", optimizer=optimizer, seed=seed, n_threads=1)
    model.fit(X, y, epochs=epochs, batch_size=50)
    return model


def main(picture: str | None = None, *, rows: int = 600, epochs: int = 150, seed: int = 0) -> dict[str, float]:
    """Train the net; return the test accuracy of a linear model in each space, and that of the net."""
    X, y = fastnn.datasets.make_rings(rows, n_classes=3, noise=0.02, seed=0)
    X_test, y_test = fastnn.datasets.make_rings(rows, n_classes=3, noise=0.02, seed=1)
    X, X_test = X / 3, X_test / 3
    net = train([fastnn.Dense(8, "tanh"), fastnn.Dense(2, "tanh")], X, y, epochs, seed=seed)

    def polar(X: np.ndarray) -> np.ndarray:
        return np.c_[np.hypot(*X.T), np.arctan2(X[:, 1], X[:, 0])]

    spaces = {
        "x and y": lambda X: X,
        "radius and angle": polar,
        "hidden layer 1": lambda X: net.hidden(X, 0),
        "hidden layer 2": lambda X: net.hidden(X, 1),
    }
    linear = {name: train([], space(X), y, epochs) for name, space in spaces.items()}
    results = {name: linear[name].evaluate(space(X_test), y_test)["accuracy"] for name, space in spaces.items()}
    results["net"] = net.evaluate(X_test, y_test)["accuracy"]
    for name, value in results.items():
        print(f"{'the net itself' if name == 'net' else 'lines in ' + name:26} test accuracy {value:.1%}")
    if picture:
        draw(picture, net, linear["radius and angle"], polar, results, X_test, y_test)
    return results


def draw(
    picture: str, net: fastnn.Model, linear: fastnn.Model, polar: object, results: dict[str, float], X: np.ndarray,
    y: np.ndarray,
) -> None:  # fmt: skip
    """Draw the rings in the four spaces."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.6))
        plane, coordinates, first, second = figure.subplots(1, 4)
        fastnn.plot.decision_boundary(net, X, y, ax=plane)
        plane.set(xlabel="x", ylabel="y")
        fastnn.plot.decision_boundary(linear, polar(X), y, ax=coordinates)
        coordinates.set(xlabel="radius", ylabel="angle (rad)")
        fastnn.plot.hidden_space(net, X, y, layer=0, dimensions=2, ax=first)
        first.set(xlabel="main direction of 8 units", ylabel="second direction")
        fastnn.plot.hidden_space(net, X, y, layer=1, ax=second)
        titles = ("x and y", "by hand: polar", "learnt: layer 1 of 2", "learnt: layer 2 of 2")
        for ax, title, value in zip(figure.axes, titles, results.values(), strict=False):
            if ax.get_legend():
                ax.get_legend().remove()
            ax.set_title(f"{title}\nlines: {value:.0%}", fontsize=11)
        figure.suptitle("Lines cannot separate rings, but in coordinates that a net learns they can", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
