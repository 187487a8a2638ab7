"""Three conditions of success, each taken away in turn
====================================================

Nets succeed where three things come together: a model that can represent the problem, rows with labels that are right
and many, and an environment that stays what it was in training. Here a net reads 96 % of the test digits. Then one
condition at a time is taken away: the model gets two hidden units in place of 64; the labels are few, or mostly
wrong; the digits that are to be read are drawn one pixel further to the right, or in white on black.

Run it with ``python examples/practice/three_conditions.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

UNITS, FEW_UNITS = 64, 2
FEW_LABELS, WRONG = 30, 0.8


def main(picture: str | None = None, *, epochs: int = 30, seeds: int = 3) -> dict[str, list[float]]:
    """Train and test with all conditions and without one of them; return the test accuracies for each seed."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    right = np.zeros_like(X_test).reshape(-1, 8, 8)
    right[:, :, 1:] = X_test.reshape(-1, 8, 8)[:, :, :-1]

    def accuracy(seed: int, units: int = UNITS, rows: int = len(X), labels: np.ndarray = y, test: np.ndarray = X_test):
        model = fastnn.Model([units, 10], loss="softmax_crossentropy", seed=seed, n_threads=1)
        model.fit(X[:rows], labels[:rows], epochs=epochs * (len(X) // rows if rows < 100 else 1))
        return model.evaluate(test, y_test)["accuracy"]

    results: dict[str, list[float]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        wrong = np.where(rng.random(len(y)) < WRONG, rng.integers(0, 10, len(y)), y)
        found = {
            "all three": accuracy(seed),
            f"model: {FEW_UNITS} units": accuracy(seed, units=FEW_UNITS),
            f"labels: {FEW_LABELS} rows": accuracy(seed, rows=FEW_LABELS),
            f"labels: {WRONG:.0%} by chance": accuracy(seed, labels=wrong),
            "environment: moved by a pixel": accuracy(seed, test=right.reshape(-1, 64)),
            "environment: white on black": accuracy(seed, test=1.0 - X_test),
        }
        for name, value in found.items():
            results.setdefault(name, []).append(value)
    for name, values in results.items():
        print(f"{name:30} test accuracy {np.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})")
    if picture:
        draw(picture, results)
    return results


def draw(picture: str, results: dict[str, list[float]]) -> None:
    """Draw the accuracies as bars, with the values of all seeds."""
    from matplotlib.figure import Figure

    colours = {"all": 2, "model": 1, "labels": 0, "environment": 3}
    with fastnn.plot.style():
        figure = Figure(figsize=(9, 4.2))
        ax = figure.subplots()
        for k, (name, values) in enumerate(results.items()):
            colour = fastnn.plot.COLORS[colours[name.partition(":")[0].partition(" ")[0]]]
            ax.barh(k, 100 * np.mean(values), color=colour, height=0.7)
            ax.plot(100 * np.array(values), np.full(len(values), k), "k.", markersize=4, alpha=0.6)
            ax.annotate(f"{np.mean(values):.0%}", (100 * max(values), k), (7, 0), va="center", fontweight="bold",
                        textcoords="offset points")  # fmt: skip
        ax.set(yticks=range(len(results)), yticklabels=results, xlim=(0, 105), xlabel="test accuracy (%)")
        ax.axvline(10, color="0.3", linestyle="--", linewidth=1)
        ax.annotate("guessing: 10%", (11, len(results) - 0.35), va="center", fontsize=9)
        ax.set_ylim(-0.6, len(results) - 0.1)
        ax.invert_yaxis()
        ax.set_title("Take away the model, the labels or the environment, and it fails")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
