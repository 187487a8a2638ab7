"""Pre-training by an autoencoder, then few labels
===============================================

An autoencoder returns its input through a hidden layer; here noise is added to what it sees, and it learns to return
the digit without the noise (P. Vincent et al., "Extracting and composing robust features with denoising autoencoders",
ICML, 2008). That needs no labels: all 3823 digits serve. Its hidden layer then stays, frozen, under a new last layer,
which learns from one labelled row per digit, or some.

With one or two labels per digit the layer that was pre-trained helps; with five and more the net that has only the
labels is about as good.

Run it with ``python examples/practice/pretraining.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

#: Labelled rows per digit.
LABELS = (1, 2, 5, 10)
NOISE = 0.5


def main(picture: str | None = None, *, epochs: int = 40, draws: int = 5) -> dict[str, np.ndarray]:
    """Train the autoencoder, then classifiers; return the test accuracies, (draws, numbers of labels)."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    layers = [fastnn.Dense(128, "relu"), fastnn.Dense(64)]
    autoencoder = fastnn.Model(layers, loss="squared_error", optimizer=fastnn.Adam(0.002), seed=0)
    autoencoder.fit(X, X, epochs=epochs, augmentation=fastnn.Augmentation(noise=NOISE))
    results = {"pre-trained": np.zeros((draws, len(LABELS))), "labels only": np.zeros((draws, len(LABELS)))}
    for draw_, k in np.ndindex(draws, len(LABELS)):
        rng = np.random.default_rng(100 + draw_)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == c), LABELS[k], replace=False) for c in range(10)])
        settings = {"loss": "softmax_crossentropy", "optimizer": "adam", "seed": draw_, "n_threads": 1}
        nets = (autoencoder.replace_head([10], **settings), fastnn.Model([128, 10], **settings))
        for name, net in zip(results, nets, strict=True):
            net.fit(X[rows], y[rows], epochs=300, batch_size=10)
            results[name][draw_, k] = net.evaluate(X_test, y_test)["accuracy"]
    print(f"test accuracy, mean of {draws} draws of the labelled rows; labels per digit:")
    print(" " * 12 + "".join(f"{n:8}" for n in LABELS))
    for name, values in results.items():
        print(f"{name:12}" + "".join(f"{value:8.1%}" for value in values.mean(axis=0)))
    if picture:
        draw(picture, autoencoder, X_test, results)
    return results


def draw(picture: str, autoencoder: fastnn.Model, X: np.ndarray, results: dict[str, np.ndarray]) -> None:
    """Draw digits before and after the autoencoder, and the accuracies."""
    from matplotlib.figure import Figure

    noisy = X + NOISE * np.random.default_rng(0).standard_normal(X.shape, dtype=X.dtype)
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subfigures(1, 2, width_ratios=(4, 5))
        shown = {"digit": X, "with noise": noisy, "returned": autoencoder.predict(noisy[:10])}
        for axes, (name, rows) in zip(left.subplots(3, 4), shown.items(), strict=True):
            for ax, image in zip(axes, rows, strict=False):
                ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
            axes[0].set_ylabel(name, fontsize=10)
        left.suptitle("The autoencoder: no labels")
        ax = right.subplots()
        for values, colour in zip(results.values(), ("C0", "C1"), strict=True):
            ax.plot(LABELS, 100 * values.T, ".", color=colour, alpha=0.5)
            ax.plot(LABELS, 100 * values.mean(axis=0), color=colour)
        ax.set(xscale="log", xticks=LABELS, xticklabels=LABELS, ylim=(50, 100))
        ax.set(xlabel="labelled rows per digit", ylabel="test accuracy (%)", title="It helps while labels are few")
        ax.minorticks_off()
        ends = [(LABELS[-1], 100 * values[:, -1].mean()) for values in results.values()]
        fastnn.plot.label_ends(ax, ends, list(results), ["C0", "C1"])
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
