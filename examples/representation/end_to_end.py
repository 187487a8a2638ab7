"""End to end, against features made by hand
=========================================

Before nets learnt from pixels, people computed features of a picture: how much ink there is and where, how wide, high
and slanted the digit is, how much ink each row and column has, how often a line through it meets the ink. The more
work went into them, the better a simple classifier became. A net that gets the pixels and trains all its layers
together, from end to end, needs none of that work, and reads more digits correctly.

Run it with ``python examples/representation/end_to_end.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


def features(X: np.ndarray) -> dict[str, np.ndarray]:
    """Return features of the images, each kind together with the ones before it."""
    images, at = X.reshape(-1, 8, 8), np.arange(8) - 3.5
    ink = images.sum(axis=(1, 2))
    shares = images / ink[:, None, None]
    x, y = shares.sum(axis=1) @ at, shares.sum(axis=2) @ at
    width, height = (np.sqrt(shares.sum(axis=k) @ at**2 - c**2) for k, c in ((1, x), (2, y)))
    slant = np.einsum("nij,i,j->n", shares, at, at) - x * y
    mirrored = [np.abs(images - np.flip(images, axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    moments = np.column_stack([ink, x, y, width, height, slant, *mirrored])
    profiles = np.hstack([moments, images.mean(axis=1), images.mean(axis=2)])
    dark = images > 0.5
    crossings = [np.abs(np.diff(dark, axis=axis)).sum(axis=axis) for axis in (1, 2)]
    return {"place and shape": moments, "and profiles": profiles, "and crossings": np.hstack([profiles, *crossings])}


def main(picture: str | None = None, *, epochs: int = 20, seeds: int = 3) -> dict[tuple[str, str], list[float]]:
    """Train classifiers on features and on pixels; return the test accuracies for each seed."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    inputs = features(X) | {"pixels": X}
    tests = features(X_test) | {"pixels": X_test}
    settings = {"loss": "softmax_crossentropy", "optimizer": fastnn.Adam(0.003), "n_threads": 1}
    results: dict[tuple[str, str], list[float]] = {}
    print(f"test accuracy, mean of {seeds} starts     linear      net")
    for name, rows in inputs.items():
        mean, std = (rows.mean(axis=0), rows.std(axis=0)) if name != "pixels" else (0.0, 1.0)
        for kind, layers in {"linear": [10], "net": [128, 64, 10]}.items():
            results[name, kind] = []
            for seed in range(seeds):
                model = fastnn.Model(layers, **settings, seed=seed)
                model.fit((rows - mean) / std, y, epochs=epochs)
                found = model.evaluate((tests[name] - mean) / std, y_test)["accuracy"]
                results[name, kind].append(found)
        both = (np.mean(results[name, kind]) for kind in ("linear", "net"))
        print(f"{name:16} {rows.shape[1]:3} numbers {'':8}" + "".join(f"{value:9.1%}" for value in both))
    if picture:
        draw(picture, X[7], inputs, results)
    return results


def draw(
    picture: str, digit: np.ndarray, inputs: dict[str, np.ndarray], results: dict[tuple[str, str], list[float]]
) -> None:
    """Draw a digit with its profiles, and the accuracies."""
    from matplotlib.figure import Figure

    image = digit.reshape(8, 8)
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.4))
        left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
        panels = left.subplots(2, 2, width_ratios=(3, 1), height_ratios=(1, 3), gridspec_kw={"wspace": 0, "hspace": 0})
        panels[0, 0].bar(range(8), image.mean(axis=0), color="0.5")
        panels[1, 1].barh(range(8), image.mean(axis=1), color="0.5")
        panels[1, 1].invert_yaxis()
        panels[1, 0].imshow(image, cmap="gray_r", aspect="auto")
        panels[0, 1].axis("off")
        for ax in panels.flat:
            ax.set(xticks=[], yticks=[])
        panels[1, 0].set_xlabel("64 pixels, and the profiles")
        ax = right.subplots()
        for kind, colour, offset in (("linear", fastnn.plot.COLORS[0], -0.12), ("net", fastnn.plot.COLORS[1], 0.12)):
            for k, name in enumerate(inputs):
                values = 100 * np.array(results[name, kind])
                ax.plot(values, np.full(len(values), k + offset), ".", color=colour, alpha=0.6)
                ax.plot(values.mean(), k + offset, "D" if kind == "net" else "o", color=colour, markersize=9)
                ax.annotate(f"{values.mean():.1f}", (values.mean(), k + offset), (-12, 0), ha="right", va="center",
                            textcoords="offset points", fontsize=10)  # fmt: skip
        ax.plot([], [], "o", color=fastnn.plot.COLORS[0], label="linear classifier")
        ax.plot([], [], "D", color=fastnn.plot.COLORS[1], label="net")
        ax.legend(loc="upper right")
        labels = [f"{name}\n({rows.shape[1]} numbers)" for name, rows in inputs.items()]
        ax.set(yticks=range(len(inputs)), yticklabels=labels, xlim=(76, 100), xlabel="test accuracy (%), axis from 76")
        ax.invert_yaxis()
        ax.set_title("The net on pixels needs no features")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
