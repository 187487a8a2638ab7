"""The kernel trick beside the learned transform
=============================================

No line separates two spirals. Three ways lead to a space in which a plane does:

- The kernel trick: a support vector machine with the Gaussian (RBF) kernel computes inner products in a space of
  infinitely many dimensions, without ever going there. Its plane is stated by the support vectors.
- Random features: cosines of random directions, fixed before any data were seen, whose inner products approximate that
  kernel (A. Rahimi, B. Recht, "Random features for large-scale kernel machines", NIPS, 2007). Many are needed.
- The learned transform: a net finds eight features for this very problem.

The picture shows the classes in the plane, and the data in each of the spaces: across the separating plane, and along
the direction in which they are spread most.

Run it with ``python examples/representation/kernel_trick.py [picture.png]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn.script import run_script

GAMMA = 6.0
FEW, MANY = 8, 300


class RandomFeatures:
    """Logistic regression on cosines of random directions."""

    def __init__(self, n: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.directions = np.sqrt(2 * GAMMA) * rng.standard_normal((2, n))
        self.phases = rng.uniform(0, 2 * np.pi, n)
        self.classes_ = np.arange(2)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the features; (rows, n)."""
        return np.sqrt(2 / len(self.phases)) * np.cos(X @ self.directions + self.phases)

    def fit(self, X: np.ndarray, y: np.ndarray) -> RandomFeatures:
        """Train the weights of the features."""
        self.linear = fastnn.Model([], loss="binary_crossentropy", optimizer="lbfgs", regularizer=fastnn.L2(1e-5))
        self.linear.fit(self.transform(X), y, epochs=300)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the logits; (rows,)."""
        return self.linear.predict(self.transform(X))[:, 0]


def spread(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the coordinate with the most variance along the plane on which the linear function `values` is 0."""
    features, values = features - features.mean(axis=0), values - values.mean()
    along = features - np.outer(values, values @ features) / (values @ values)
    left, sizes, _ = np.linalg.svd(along, full_matrices=False)
    return left[:, 0] * sizes[0]


def main(picture: str | None = None, *, rows: int = 400, epochs: int = 300) -> dict[str, float]:
    """Train all of them; return the test accuracies, and the number of support vectors."""
    from sklearn.svm import SVC

    X, y = fastnn.datasets.make_spiral(rows, noise=0.2, seed=0)
    X_test, y_test = fastnn.datasets.make_spiral(rows, noise=0.2, seed=1)
    X, X_test = X / 3, X_test / 3
    line = fastnn.Model([], loss="binary_crossentropy", optimizer="lbfgs")
    line.fit(X, y, epochs=100)
    machine = SVC(gamma=GAMMA, C=10.0).fit(X, y)
    few, many = RandomFeatures(FEW).fit(X, y), RandomFeatures(MANY).fit(X, y)
    layers = [fastnn.Dense(24, "relu"), fastnn.Dense(FEW, "relu"), fastnn.Dense(1)]
    net = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.01), seed=0, n_threads=1)
    net.fit(X, y, epochs=epochs, batch_size=50)
    values = {
        "a line": line.predict(X_test)[:, 0],
        "kernel trick": machine.decision_function(X_test),
        f"{FEW} random features": few.decision_function(X_test),
        f"{MANY} random features": many.decision_function(X_test),
        f"{FEW} learnt features": net.predict(X_test)[:, 0],
    }
    results = {name: float(((value > 0) == y_test).mean()) for name, value in values.items()}
    for name, accuracy in results.items():
        print(f"{name:20} test accuracy {accuracy:.1%}")
    results["support vectors"] = len(machine.support_)
    print(f"the kernel's plane is stated by {len(machine.support_)} of {len(X)} rows")
    if picture:
        draw(picture, machine, many, net, results, X, y)
    return results


def draw(
    picture: str, machine: Any, many: RandomFeatures, net: fastnn.Model, results: dict[str, float], X: np.ndarray,
    y: np.ndarray,
) -> None:  # fmt: skip
    """Draw the regions of the three models in the plane, and the data in their spaces."""
    from matplotlib.figure import Figure
    from sklearn.metrics.pairwise import rbf_kernel

    kept, sizes, _ = np.linalg.svd(rbf_kernel(X, gamma=GAMMA))
    spaces = {
        "kernel trick": (machine, kept * np.sqrt(sizes), machine.decision_function(X)),
        f"{MANY} random features": (many, many.transform(X), many.decision_function(X)),
        f"{FEW} learnt features": (net, net.hidden(X, -2), net.predict(X)[:, 0]),
    }
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 5))
        panels = figure.subplots(2, 3, height_ratios=(3, 2))
        for (name, (model, features, values)), (plane, space) in zip(spaces.items(), panels.T, strict=True):
            fastnn.plot.decision_boundary(model, X, y, ax=plane)
            plane.set(xlabel="", ylabel="", xticks=[], yticks=[])
            plane.set_title(f"{name}: {results[name]:.0%}")
            if plane.get_legend():
                plane.get_legend().remove()
            for c, marker in enumerate("os"):
                points = values[y == c], spread(features, values)[y == c]
                space.plot(*points, marker, markersize=3.5, color=fastnn.plot.COLORS[c], alpha=0.7)
            space.axvline(0, color="0.1", linewidth=1.5)
            space.set(xlabel="distance from the plane (logit)", yticks=[])
        panels[1, 0].set(xlabel="distance from the plane (margin: 1)", ylabel="most spread")
        figure.suptitle("Three ways to a space in which a plane separates spirals", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["sklearn"])
