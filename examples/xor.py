"""The problem that a linear model cannot solve, then the net that can.

    python examples/xor.py

Four clouds of points, of which those on opposite corners are of one class. Logistic regression, a net without
hidden layer, can do no better than guess; with a few hidden units the classes become linearly separable.
"""

from __future__ import annotations

import numpy as np

import fastnn


def clouds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around the corners of a square, (n, 2), and their classes 0 and 1, (n,)."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 2, (n, 2))
    points = corner + 0.15 * rng.standard_normal((n, 2))
    return points.astype(np.float32), (corner[:, 0] != corner[:, 1]).astype(np.float32)


def main(epochs: int = 200) -> dict[str, float]:
    """Train both models; returns their accuracies on new points."""
    X, y = clouds(1000, seed=0)
    X_test, y_test = clouds(1000, seed=1)
    accuracies = {}
    for name, layers in {
        "logistic regression": [fastnn.Dense(1, "sigmoid")],
        "4 hidden units": [fastnn.Dense(4, "tanh"), fastnn.Dense(1, "sigmoid")],
    }.items():
        model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.02), seed=0)
        model.fit(X, y, epochs=epochs, batch_size=50)
        accuracies[name] = model.evaluate(X_test, y_test)["accuracy"]
        print(f"{name:20} test accuracy {accuracies[name]:.1%}")
    return accuracies


if __name__ == "__main__":
    main()
