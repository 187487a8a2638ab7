"""Transfer learning
=================

Layers trained on a problem with many rows help with a related problem that has few. Each digit is placed at random in
a larger image, and a net learns the digits 0 to 4 from many of them. Then 5 to 9 are learned from few
rows: by a new net, by a new head on the trained layers (`fastnn.Model.replace_head` freezes them), and by tuning all
layers after that (`fastnn.Model.trainable`). The invariance to position need not be learned again. The gain depends on
that: with ``side=8`` the digits are not moved, and the new net is the best one.

Run it with ``python examples/practice/transfer.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


def placed(X: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return images of side x side pixels, one per row, with the 8 x 8 images at random positions."""
    pictures = np.zeros((len(X), side, side), X.dtype)
    for picture, image, (i, j) in zip(pictures, X, rng.integers(0, side - 7, (len(X), 2)), strict=True):
        picture[i : i + 8, j : j + 8] = image.reshape(8, 8)
    return pictures.reshape(len(X), -1)


def part(X: np.ndarray, y: np.ndarray, digits: range, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first rows of each digit (None: all), with labels from 0."""
    chosen = np.concatenate([np.flatnonzero(y == digit)[:rows] for digit in digits])
    return X[chosen], y[chosen] - digits[0]


def main(
    picture: str | None = None, *, side: int = 12, rows: int = 10, copies: int = 3, epochs: int = 20
) -> dict[str, float]:
    """Train in the three ways; return the accuracies on the digits 5 to 9 of the test part."""
    rng = np.random.default_rng(0)
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    y = np.tile(y, copies)
    X, X_test = placed(np.tile(X, (copies, 1)), side, rng), placed(X_test, side, rng)
    many, few = part(X, y, range(5)), part(X, y, range(5, 10), rows)
    test = part(X_test, y_test, range(5, 10))
    accuracies = {}

    def new_model() -> fastnn.Model:
        return fastnn.Model([256, 64, 5], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.003), seed=0)

    def report(name: str, model: fastnn.Model) -> None:
        accuracies[name] = model.evaluate(*test)["accuracy"]
        print(f"5 to 9 from {len(few[0])} rows, {name:16} test accuracy {accuracies[name]:.1%}")

    first = new_model()
    first.fit(*many, epochs=epochs)
    accuracy = first.evaluate(*part(X_test, y_test, range(5)))["accuracy"]
    print(f"0 to 4 from {len(many[0])} rows: test accuracy {accuracy:.1%}")

    new = new_model()
    new.fit(*few, epochs=10 * epochs)
    report("a new net:", new)
    model = first.replace_head([5])
    model.fit(*few, epochs=10 * epochs)
    report("a new head:", model)
    model.trainable = [True] * len(model.layers)
    model.optimizer = fastnn.Adam(3e-4)  # small steps preserve the trained layers
    model.fit(*few, epochs=5 * epochs)
    report("then all layers:", model)
    if picture:
        from matplotlib.figure import Figure

        with fastnn.plot.style():
            figure = Figure(figsize=(10, 3.2))
            left, right = figure.subfigures(1, 2, width_ratios=(6, 5))
            tasks = {f"learnt first:\n{len(many[0])} rows": many, f"then:\n{len(few[0])} rows": few}
            for axes, (name, (images, labels)) in zip(left.subplots(2, 5), tasks.items(), strict=True):
                for ax, k in zip(axes, range(5), strict=True):
                    ax.imshow(images[np.flatnonzero(labels == k)[0]].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
                    ax.set(xticks=[], yticks=[])
                axes[0].set_ylabel(name, fontsize=10)
            ax = right.subplots()
            colours = ["0.5", fastnn.plot.COLORS[1], fastnn.plot.COLORS[1]]
            shown = {name.rstrip(":"): 100 * value for name, value in accuracies.items()}
            bars = ax.barh(list(shown), list(shown.values()), color=colours)
            ax.bar_label(bars, [f"{value:.0f}%" for value in shown.values()], padding=4)
            ax.invert_yaxis()
            ax.set(xlabel="test accuracy on the digits 5 to 9 (%)", xlim=(0, 60))
            ax.set_title("Layers trained on other digits help")
            figure.savefig(picture)
    return accuracies


if __name__ == "__main__":
    run_script(main)
