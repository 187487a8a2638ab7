"""Search of settings
==================

The learning rate, the widths and depths, the penalty: many settings are tried for a few epochs, the best third of them
goes on for three times as many, and so on (successive halving). scikit-learn's ``HalvingRandomSearchCV`` does that
with any estimator and trains each survivor from its start again. `fastnn.search.Search` trains the nets of a rung at
the same time, and the survivors on. Both search the same settings for the handwritten digits by cross-validation here,
and the best net of each is measured on the test part.

Run it with ``python examples/practice/settings_search.py [picture.png]``.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from scipy.stats import loguniform

import fastnn
from fastnn.script import run_script

WIDTHS, DEPTHS, RATES, PENALTIES = (8, 16, 32, 64), (1, 2), loguniform(1e-4, 1e-1), loguniform(1e-6, 1e-2)


def main(
    picture: str | None = None, *, rows: int = 400, candidates: int = 81, peer_candidates: int = 9, epochs: int = 27
) -> dict[str, tuple[float, float, float]]:
    """Search by both; return seconds, score in cross-validation and test accuracy of each, by name."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y = X[:rows], y[:rows]
    space = {"width": WIDTHS, "depth": DEPTHS, "learning_rate": RATES, "weight_decay": PENALTIES}
    search = fastnn.search.Search(
        space, loss="softmax_crossentropy", method="halving", n_candidates=candidates, min_epochs=3, max_epochs=epochs,
        monitor="val_accuracy", seed=0,
    )  # fmt: skip
    fastnn.Model([10], loss="softmax_crossentropy").fit(X[:32], y[:32])  # loads the compiled kernels
    start = time.perf_counter()
    result = search.fit(X, y, cv=2)
    seconds = time.perf_counter() - start
    results = {"fastnn": (seconds, result.best_score, result.model.evaluate(X_test, y_test)["accuracy"])}
    results["scikit-learn"] = by_scikit_learn(X, y, X_test, y_test, peer_candidates, epochs)
    for (name, (seconds, score, test)), n in zip(results.items(), (candidates, peer_candidates), strict=True):
        print(f"{name:13} {n:3} candidates in {seconds:5.2f} s: cross-validation {score:.1%}, test {test:.1%}")
    print("best of fastnn:", ", ".join(f"{name}={value:.3g}" for name, value in result.best_settings.items()))
    if picture:
        draw(picture, result)
    return results


def by_scikit_learn(
    X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray, candidates: int, epochs: int
) -> tuple[float, float, float]:
    """Search with scikit-learn's nets; return seconds, score in cross-validation and test accuracy."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV
    from sklearn.neural_network import MLPClassifier

    space = {
        "hidden_layer_sizes": [(width,) * depth for width in WIDTHS for depth in DEPTHS],
        "learning_rate_init": RATES, "alpha": PENALTIES,
    }  # fmt: skip
    search = HalvingRandomSearchCV(
        MLPClassifier(batch_size=32, random_state=0), space, n_candidates=candidates, factor=3, resource="max_iter",
        min_resources=3, max_resources=epochs, cv=2, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs are what a halving begins with
        start = time.perf_counter()
        search.fit(X, y)
        seconds = time.perf_counter() - start
    return seconds, float(search.best_score_), float(search.score(X_test, y_test))


def draw(picture: str, result: fastnn.search.SearchResult) -> None:
    """Draw the scores of the candidates, and which learning rates and widths they belong to."""
    from matplotlib.figure import Figure

    table = result.table
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2)
        fastnn.plot.search(result, ax=left)
        for colour, epochs in enumerate(sorted({row["epochs"] for row in table})):
            chosen = [row for row in table if row["epochs"] == epochs]
            right.scatter(
                [row["learning_rate"] for row in chosen], [row["val_accuracy"] for row in chosen],
                s=[20 + 2 * row["width"] for row in chosen], color=fastnn.plot.COLORS[(1, 2, 3, 0)[colour % 4]],
                alpha=0.7, label=f"{epochs} epochs",
            )  # fmt: skip
        right.set(xscale="log", xlabel="learning rate", ylabel="accuracy in cross-validation")
        right.set_title("Where they were left")
        right.legend(loc="upper left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["sklearn"])
