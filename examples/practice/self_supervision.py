"""Self-supervision: learn from rows without labels
================================================

Digits stand at random places in a larger picture. Labels are few, pictures are many. So a net is given a task whose
answers cost nothing: which of 1000 digits is this one, wherever it stands? To answer it, the net must find what
remains of a digit when it is moved (A. Dosovitskiy et al., "Discriminative unsupervised feature learning with
convolutional neural networks", NIPS, 2014). Its hidden layers then serve, frozen, under a new last layer that learns
the ten digits from few labels.

The picture shows the task, and the accuracy beside that of a net that has only the labels.

Run it with ``python examples/practice/self_supervision.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

SIDE = 12
#: Labelled rows per digit.
LABELS = (1, 3, 10, 30)


def placed(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images of SIDE x SIDE pixels, one per row, with the 8 x 8 images at random positions."""
    pictures = np.zeros((len(X), SIDE, SIDE), X.dtype)
    for picture, image, (i, j) in zip(pictures, X, rng.integers(0, SIDE - 7, (len(X), 2)), strict=True):
        picture[i : i + 8, j : j + 8] = image.reshape(8, 8)
    return pictures.reshape(len(X), -1)


def pretrain(X: np.ndarray, copies: int, epochs: int) -> fastnn.Model:
    """Train a net to recognize each of the images in some copies of it at random places."""
    rows = placed(np.tile(X, (copies, 1)), np.random.default_rng(0))
    model = fastnn.Model([256, 64, len(X)], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.002), seed=0)
    model.fit(rows, np.tile(np.arange(len(X)), copies), epochs=epochs)
    return model


def main(
    picture: str | None = None, *, images: int = 1000, copies: int = 8, epochs: int = 12, draws: int = 3
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train without labels, then with few; return the test accuracies, (draws, numbers of labels)."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    test = placed(X_test, np.random.default_rng(99))
    model = pretrain(X[:images], copies, epochs)
    results = {"self-supervised first": np.zeros((draws, len(LABELS))), "labels only": np.zeros((draws, len(LABELS)))}
    for draw_, k in np.ndindex(draws, len(LABELS)):
        rng = np.random.default_rng(draw_)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == c), LABELS[k], replace=False) for c in range(10)])
        few = placed(X[rows], rng)
        settings = {"loss": "softmax_crossentropy", "optimizer": fastnn.Adam(0.003), "seed": draw_, "n_threads": 1}
        nets = (model.replace_head([10], **settings), fastnn.Model([256, 64, 10], **settings))
        for name, net in zip(results, nets, strict=True):
            net.fit(few, y[rows], epochs=100, batch_size=10)
            results[name][draw_, k] = net.evaluate(test, y_test)["accuracy"]
    print(f"test accuracy, mean of {draws} draws of the labelled rows; labels per digit:")
    print(" " * 22 + "".join(f"{n:8}" for n in LABELS))
    for name, values in results.items():
        print(f"{name:22}" + "".join(f"{value:8.1%}" for value in values.mean(axis=0)))
    if picture:
        draw(picture, X, results)
    return results


def draw(picture: str, X: np.ndarray, results: dict[str, np.ndarray]) -> None:
    """Draw the task and the accuracies."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subfigures(1, 2, width_ratios=(4, 5))
        for row, axes in enumerate(left.subplots(3, 4)):
            for ax, image in zip(axes, placed(np.tile(X[row], (4, 1)), np.random.default_rng(row)), strict=True):
                ax.imshow(image.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
            axes[0].set_ylabel(f"picture {row}", fontsize=10)
        left.suptitle("The task: which picture is it?")
        ax = right.subplots()
        for values, colour in zip(results.values(), ("C0", "C1"), strict=True):
            ax.plot(LABELS, 100 * values.T, ".", color=colour, alpha=0.5)
            ax.plot(LABELS, 100 * values.mean(axis=0), color=colour)
        ax.set(xscale="log", xticks=LABELS, xticklabels=LABELS, ylim=(0, 100))
        ax.set(xlabel="labelled rows per digit", ylabel="test accuracy (%)", title="What it learnt serves the digits")
        ax.minorticks_off()
        ends = [(LABELS[-1], 100 * values[:, -1].mean()) for values in results.values()]
        fastnn.plot.label_ends(ax, ends, ["self-\nsupervised\nfirst", "labels\nonly"], ["C0", "C1"])
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
