"""Self-supervision: learn from rows without labels
================================================

Digits stand at random places in a larger picture, and no picture has a label. So a net is given a task whose answers
cost nothing: which of 1000 digits is this one, wherever it stands? To answer it, the net must find what remains of a
digit when it is moved (A. Dosovitskiy et al., "Discriminative unsupervised feature learning with convolutional neural
networks", NIPS, 2014).

What it has found is seen by looking for the nearest picture, where the new digits stand in another corner than the
known ones. By their pixels the nearest picture is any that covers the same place. By the outputs of the hidden layer it
mostly shows the same digit, though no label says that there are ten. (Among digits in the same place the
pixels serve as well.)

Run it with ``python examples/practice/self_supervision.py [picture.png]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn.script import run_script

SIDE = 12


def placed(X: np.ndarray, rng: np.random.Generator, places: tuple[int, int] = (0, SIDE - 8)) -> np.ndarray:
    """Return images of SIDE x SIDE pixels, one per row, with the 8 x 8 images at random places from first to last."""
    pictures = np.zeros((len(X), SIDE, SIDE), X.dtype)
    for picture, image, (i, j) in zip(pictures, X, rng.integers(places[0], places[1] + 1, (len(X), 2)), strict=True):
        picture[i : i + 8, j : j + 8] = image.reshape(8, 8)
    return pictures.reshape(len(X), -1)


def pretrain(X: np.ndarray, copies: int, epochs: int) -> fastnn.Model:
    """Train a net to recognize each of the images in some copies of it at random places."""
    rows = placed(np.tile(X, (copies, 1)), np.random.default_rng(0))
    model = fastnn.Model([256, 64, len(X)], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.002), seed=0)
    model.fit(rows, np.tile(np.arange(len(X)), copies), epochs=epochs)
    return model


def nearest(among: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Return for each row the numbers of the n rows of `among` at the smallest angles from it; (len(rows), n)."""
    among, rows = (values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-9) for values in (among, rows))
    return np.argsort(-(rows @ among.T), axis=1, kind="stable")[:, :n]


def main(picture: str | None = None, *, images: int = 1000, copies: int = 8, epochs: int = 12) -> dict[str, float]:
    """Train without labels; return how often the nearest picture shows the same digit, by what is compared."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    rng = np.random.default_rng(98)
    known, new = placed(X, rng, (0, 1)), placed(X_test, rng, (3, 4))
    untrained = fastnn.Model([256, 64, images], loss="softmax_crossentropy", seed=0).build(SIDE * SIDE)
    model = pretrain(X[:images], copies, epochs)
    found = {
        "pixels": nearest(known, new, 2),
        "untrained net": nearest(untrained.hidden(known, 1), untrained.hidden(new, 1), 2),
        "trained net": nearest(model.hidden(known, 1), model.hidden(new, 1), 2),
    }
    same = {name: float((y[rows[:, 0]] == y_test).mean()) for name, rows in found.items()}
    print("the nearest of 3823 pictures shows the same digit, nearest by")
    for name, share in same.items():
        print(f"{name:14}{share:7.1%}")
    if picture:
        draw(picture, X, known, new, found, same)
    return same


def draw(
    picture: str, X: np.ndarray, known: np.ndarray, new: np.ndarray, found: dict[str, np.ndarray],
    same: dict[str, float],
) -> None:  # fmt: skip
    """Draw the task, some pictures with the nearest ones by pixels and by the net, and how often these are the same."""
    from matplotlib.figure import Figure

    def show(axes: Any, images: np.ndarray) -> None:
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.4))
        task, *panels, bars = figure.subfigures(1, 4, width_ratios=(3, 3, 3, 3.4))
        for row, axes in enumerate(task.subplots(4, 3)):
            show(axes, placed(np.tile(X[row], (3, 1)), np.random.default_rng(row)))
            axes[0].set_ylabel(f"answer: {row}", fontsize=9)
        task.suptitle("The task: which is it?", fontsize=11)
        for panel, name, words in zip(panels, ("pixels", "trained net"), ("pixels", "the net"), strict=True):
            for row, axes in zip((0, 1, 2, 3), panel.subplots(4, 3), strict=True):
                show(axes, [new[row], *known[found[name][row, :2]]])
                for spine in axes[0].spines.values():
                    spine.set(visible=True, color=fastnn.plot.COLORS[1], linewidth=2)
            panel.suptitle(f"The nearest by {words}", fontsize=11)
        ax = bars.subplots()
        labels = [name.replace(" ", "\n") for name in same]
        ax.tick_params(axis="x", labelsize=9)
        drawn = ax.bar(labels, [100 * share for share in same.values()], color=["0.7", "0.7", "C0"])
        ax.bar_label(drawn, fmt="%.0f%%", padding=2)
        ax.set(ylim=(0, 100), ylabel="nearest shows the same digit (%)")
        bars.suptitle("What it has found", fontsize=11)
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
