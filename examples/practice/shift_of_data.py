"""A shift of the data, and what it does to the score
==================================================

The score on a test part holds for data like those of the training. When the data change afterwards (another camera,
another season, another country), the score falls, and nothing in the net reports it: its probabilities stay high.
Here a net reads digits that are changed in ways in which any person still reads them. With the same changes in the
training data it reads most of them: what is expected can be trained.

The picture shows a digit in each version, the accuracy, and the mean probability that the net states for its answers.
Where that is far above the accuracy, the net is wrong and confident.

Run it with ``python examples/practice/shift_of_data.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


def versions(X: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the images as they are, and changed in some ways."""
    images = X.reshape(-1, 8, 8)
    right, thick = np.zeros_like(images), images.copy()
    right[:, :, 1:] = images[:, :, :-1]
    thick[:, :, 1:] = np.maximum(images[:, :, 1:], images[:, :, :-1])
    noisy = np.clip(images + 0.3 * rng.standard_normal(images.shape, dtype=X.dtype), 0, 1)
    sheared = images.copy()
    for row, by in enumerate((1, 1, 0, 0, 0, 0, -1, -1)):
        sheared[:, row] = np.roll(images[:, row], by, axis=1)
    made = {
        "as in training": images, "slanted": sheared, "thicker": thick, "moved by a pixel": right, "noisy": noisy,
        "half the ink": 0.5 * images, "white on black": 1 - images,
    }  # fmt: skip
    return {name: values.reshape(len(X), -1) for name, values in made.items()}


def main(picture: str | None = None, *, epochs: int = 30) -> dict[str, dict[str, float]]:
    """Train with and without the changes; return accuracies, and the mean probability of the first net's answers."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    changed = versions(X, np.random.default_rng(0))
    plain = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    plain.fit(X, y, epochs=epochs)
    ready = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    ready.fit(np.vstack(list(changed.values())), np.tile(y, len(changed)), epochs=max(1, epochs // 3))
    tests = versions(X_test, np.random.default_rng(1))
    results = {}
    print(f"{'':18} accuracy   stated probability   accuracy if trained with the changes")
    for name, rows in tests.items():
        results[name] = {
            "accuracy": plain.evaluate(rows, y_test)["accuracy"],
            "stated": float(plain.predict_proba(rows).max(axis=1).mean()),
            "trained": ready.evaluate(rows, y_test)["accuracy"],
        }
        print("{:18} {accuracy:8.1%} {stated:20.1%} {trained:20.1%}".format(name, **results[name]))
    if picture:
        draw(picture, {name: rows[3] for name, rows in tests.items()}, results)
    return results


def draw(picture: str, digits: dict[str, np.ndarray], results: dict[str, dict[str, float]]) -> None:
    """Draw a digit in each version, with the accuracies and the stated probability."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        _, blue, green = fastnn.plot.COLORS[:3]
        marks = {
            "stated": ("|", "0.2", 18, "probability that the net states"), "accuracy": ("o", blue, 8, "accuracy"),
            "trained": ("D", green, 8, "accuracy if trained with the changes"),
        }  # fmt: skip
        figure = Figure(figsize=(9, 5))
        panels = figure.subplots(len(digits), 2, width_ratios=(1, 9), gridspec_kw={"hspace": 0.05})
        for (name, image), (left, ax) in zip(digits.items(), panels, strict=True):
            left.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            left.set(xticks=[], yticks=[])
            found = results[name]
            ax.plot([100 * found["accuracy"], 100 * found["stated"]], [0, 0], color="0.75", linewidth=6, zorder=0)
            for key, (marker, colour, size, label) in marks.items():
                ax.plot(100 * found[key], 0, marker, color=colour, markersize=size, label=label,
                        markeredgewidth=3 if marker == "|" else 1)  # fmt: skip
            ax.set(xlim=(0, 102), ylim=(-1, 1), yticks=[0], yticklabels=[name], xticks=range(0, 101, 20))
            ax.grid(axis="x")
            if ax is not panels[-1, 1]:
                ax.set_xticklabels([])
        panels[-1, 1].set_xlabel("%")
        handles, labels = panels[0, 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle("The data shift, the score falls, and the net stays confident", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
