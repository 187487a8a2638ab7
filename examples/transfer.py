"""Transfer learning: what a net has learnt from many rows of one problem helps with another that has few.

    python examples/transfer.py

Each digit lies somewhere in a larger picture, and a net learns 0 to 4 from many of these. Then 5 to 9 are to be learnt
from a few rows: by a new net, by a new head on the layers that are kept (`replace_head` freezes them), and by tuning
all layers after that (`trainable`). What a stroke looks like wherever it lies need not be learnt again. It pays where
that is the hard part: with side=8 the digits lie where they are, few rows tell all, and the new net is the best one.
"""

from __future__ import annotations

import numpy as np

import fastnn


def placed(X: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures of side x side pixels, a row each, with the images of 8 x 8 at random places."""
    pictures = np.zeros((len(X), side, side), X.dtype)
    for picture, image, (i, j) in zip(pictures, X, rng.integers(0, side - 7, (len(X), 2)), strict=True):
        picture[i : i + 8, j : j + 8] = image.reshape(8, 8)
    return pictures.reshape(len(X), -1)


def part(X: np.ndarray, y: np.ndarray, digits: range, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of each of the digits (None: all), with labels from 0."""
    chosen = np.concatenate([np.flatnonzero(y == digit)[:rows] for digit in digits])
    return X[chosen], y[chosen] - digits[0]


def main(*, side: int = 12, rows: int = 10, copies: int = 3, epochs: int = 20) -> dict[str, float]:
    """Train in the three ways; returns the accuracies on the digits 5 to 9 of the test part."""
    rng = np.random.default_rng(0)
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    y = np.tile(y, copies)
    X, X_test = placed(np.tile(X, (copies, 1)), side, rng), placed(X_test, side, rng)
    many, few = part(X, y, range(5)), part(X, y, range(5, 10), rows)
    test = part(X_test, y_test, range(5, 10))
    accuracies = {}

    def new_model() -> fastnn.Model:
        return fastnn.Model([256, 64, 5], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.003), seed=0)

    def tell(name: str, model: fastnn.Model) -> None:
        accuracies[name] = model.evaluate(*test)["accuracy"]
        print(f"5 to 9 from {len(few[0])} rows, {name:16} test accuracy {accuracies[name]:.1%}")

    first = new_model()
    first.fit(*many, epochs=epochs)
    accuracy = first.evaluate(*part(X_test, y_test, range(5)))["accuracy"]
    print(f"0 to 4 from {len(many[0])} rows: test accuracy {accuracy:.1%}")

    new = new_model()
    new.fit(*few, epochs=10 * epochs)
    tell("a new net:", new)
    model = first.replace_head([5])
    model.fit(*few, epochs=10 * epochs)
    tell("a new head:", model)
    model.trainable = [True] * len(model.layers)
    model.optimizer = fastnn.Adam(3e-4)  # small steps, which do not destroy what is there
    model.fit(*few, epochs=5 * epochs)
    tell("then all layers:", model)
    return accuracies


if __name__ == "__main__":
    main()
