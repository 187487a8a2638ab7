"""Data augmentation
=================

The digits of the data are centred. A net that is trained on them fails as soon as they are not: moved by one pixel,
half of them are misread. Augmentation changes each row anew whenever it is read for an update, here by a random shift
of up to one pixel to each side, so that the net sees other versions of the same digits in every epoch, without new
labels.

It helps with what is to be expected, and with that alone: on centred digits the augmented net is slightly worse, as it
has more to learn from the same rows.

Run it with ``python examples/training/data_augmentation.py [picture.png]``.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

import fastnn
from fastnn.script import run_script

DISTANCES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


@numba.njit
def move(x: Any, down: float, right: float) -> None:
    """Move an 8 x 8 image, in place, by parts of a pixel."""
    old = x.copy().reshape(8, 8)
    x[:] = 0.0
    for i in range(8):
        for j in range(8):
            row, column = math.floor(i - down), math.floor(j - right)
            for a in range(max(row, 0), min(row + 2, 8)):
                for b in range(max(column, 0), min(column + 2, 8)):
                    x[8 * i + j] += (1.0 - abs(i - down - a)) * (1.0 - abs(j - right - b)) * old[a, b]


def shift_at_random(x: Any, random: Any) -> None:
    """Move an image by up to one pixel to each side; `fit` compiles this and calls it for each row that it reads."""
    move(x, 2.0 * random[0] - 1.0, 2.0 * random[1] - 1.0)


def moved(X: np.ndarray, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Return the images, each moved by the distance (in pixels) in a random direction along rows or columns."""
    changed = X.copy()
    for x, k in zip(changed, rng.integers(4, size=len(X)), strict=True):
        move(x, *(distance * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)][k])))
    return changed


def main(
    picture: str | None = None, *, rows: int = 1000, epochs: int = 60, seeds: int = 3
) -> dict[str, list[float]]:  # fmt: skip
    """Train with and without; return the mean test accuracies over the distance by which test digits are moved."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    tests = [moved(X_test, distance, np.random.default_rng(0)) for distance in DISTANCES]
    results = {}
    print("test digits moved by (pixels)" + "".join(f"{distance:7.2f}" for distance in DISTANCES))
    for name, augmentation in {"without": None, "with": fastnn.Augmentation(function=shift_at_random)}.items():
        found = []
        for seed in range(seeds):
            chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
            model = fastnn.Model([128, 10], loss="softmax_crossentropy", seed=seed)
            model.fit(X[chosen], y[chosen], epochs=epochs, batch_size=32, augmentation=augmentation)
            found.append([model.evaluate(test, y_test)["accuracy"] for test in tests])
        results[name] = np.mean(found, axis=0).tolist()
        print(f"{name:7} augmentation, accuracy " + "".join(f"{value:7.1%}" for value in results[name]))
    if picture:
        draw(picture, X[8], results)
    return results


def draw(picture: str, digit: np.ndarray, results: dict[str, list[float]]) -> None:
    """Draw a digit with versions of it, and the accuracies over the distance."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(3)
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subfigures(1, 2, width_ratios=(4, 5))
        for k, ax in enumerate(left.subplots(3, 3).flat):
            image = digit.copy()
            if k:
                shift_at_random(image, rng.random(2))
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.set_title("the digit" if k == 0 else f"in epoch {k}", fontsize=10, fontweight="normal")
        left.suptitle("One row, read for eight epochs")
        ax = right.subplots()
        for values, colour in zip(results.values(), ("C0", "C1"), strict=True):
            ax.plot(DISTANCES, np.multiply(values, 100), "o-", color=colour)
        ax.axvspan(0, 1, color="0.93", zorder=0)
        ax.annotate("shifts seen in training", (0.5, 3), ha="center", color="0.35")
        ax.set(xlabel="shift of the test digits (pixels)", ylabel="test accuracy (%)", ylim=(0, 102))
        ax.set_title(f"Moved by one pixel: {results['without'][4]:.0%} without, {results['with'][4]:.0%} with")
        ends = [(DISTANCES[-1], 100 * values[-1]) for values in results.values()]
        fastnn.plot.label_ends(ax, ends, [f"{name}\naugmentation" for name in results], ["C0", "C1"])
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
