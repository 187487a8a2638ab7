"""What a net has learnt, and where it errs
========================================

The weights into a hidden unit, arranged as the pixels are, show what the unit reacts to: ink where they are blue, no
ink where they are orange. At the start they are noise; after the training neighbouring pixels have similar weights, and
strokes can be seen. The confusion matrix counts which digits are taken for which, and beside it are digits that the net
gets wrong with the most certainty; some of them a person could get wrong, too.

Run it with ``python examples/representation/what_was_learnt.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

UNITS = 16


def smoothness(weights: np.ndarray) -> float:
    """Return the correlation between the weights (64, units) of pixels that are neighbours."""
    images = weights.T.reshape(-1, 8, 8)
    beside = images[:, :, :-1].ravel(), images[:, :, 1:].ravel()
    below = images[:, :-1].ravel(), images[:, 1:].ravel()
    return float(np.mean([np.corrcoef(*beside)[0, 1], np.corrcoef(*below)[0, 1]]))


def main(picture: str | None = None, *, epochs: int = 60) -> dict[str, float]:
    """Train; return the test accuracy, and how smooth the weights are before and after the training."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    # The penalty and the noise keep weights small that do not matter, such as those of pixels that are always white.
    model = fastnn.Model([UNITS, 10], loss="softmax_crossentropy", regularizer=fastnn.L2(1e-3), seed=0).build(64)
    start = smoothness(model.weights[0])
    model.fit(X, y, epochs=epochs, augmentation=fastnn.Augmentation(noise=0.2))
    answers = model.predict_classes(X_test)
    results = {"accuracy": float((answers == y_test).mean()), "start": start, "end": smoothness(model.weights[0])}
    print(f"test accuracy {results['accuracy']:.1%}")
    print("correlation between weights of neighbouring pixels: {start:.2f} at the start, {end:.2f} at the end"
          .format(**results))  # fmt: skip
    wrong = np.flatnonzero(answers != y_test)
    pairs, counts = np.unique(np.c_[y_test, answers][wrong], axis=0, return_counts=True)
    for k in np.argsort(-counts)[:3]:
        print(f"{pairs[k, 0]} is taken for {pairs[k, 1]} {counts[k]} times")
    if picture:
        certain = wrong[np.argsort(-model.predict_proba(X_test[wrong]).max(axis=1))[:6]]
        draw(picture, model, X_test[certain], y_test[certain], answers[certain], (y_test, answers))
    return results


def draw(
    picture: str, model: fastnn.Model, X: np.ndarray, y: np.ndarray, answers: np.ndarray, confused: tuple
) -> None:  # fmt: skip
    """Draw the weights, the confusion matrix and digits that are read wrongly."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.4))
        left, middle, right = figure.subfigures(1, 3, width_ratios=(9, 11, 5))
        signed = LinearSegmentedColormap.from_list("signed", [fastnn.plot.COLORS[0], "white", fastnn.plot.COLORS[1]])
        most = np.abs(model.weights[0]).max()
        for ax, values in zip(left.subplots(4, 4).flat, model.weights[0].T, strict=True):
            ax.imshow(values.reshape(8, 8), cmap=signed, vmin=-most, vmax=most)
            ax.set(xticks=[], yticks=[])
        left.suptitle("Weights of 16 units")
        ax = middle.subplots()
        fastnn.plot.confusion(*confused, ax=ax)
        middle.suptitle("Which are taken for which")
        for ax, image, truth, answer in zip(right.subplots(3, 2).flat, X, y, answers, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"{truth}, read as {answer}", fontsize=9)
        right.suptitle("Certain and wrong")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
