"""Architecture search
===================

How wide and how deep should a net be? That is not known beforehand, so candidates are tried: each is trained on four
fifths of the rows and scored on the fifth that was left out, five times over (cross-validation). The trainings are
independent of each other, so joblib spreads them over the processors.

The differences between the best are smaller than the noise of such a score. The choice is therefore the net with the
fewest weights whose mean score is within one standard error of the best one (the rule of L. Breiman et al.,
"Classification and regression trees", 1984). The test part is used once, after the choice.

Run it with ``python examples/practice/architecture_search.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

WIDTHS, DEPTHS = (4, 8, 16, 32, 64, 128), (1, 2, 3)


def score(sizes: tuple[int, ...], X: np.ndarray, y: np.ndarray, rest: tuple | None, epochs: int) -> float:
    """Train a net with hidden layers of these sizes; return its accuracy on the rows `rest`."""
    # One thread per net: the nets themselves are what runs in parallel.
    model = fastnn.Model([*sizes, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.003), seed=0, n_threads=1)
    model.fit(X, y, epochs=epochs, batch_size=64)
    return model.evaluate(*rest)["accuracy"]


def main(
    picture: str | None = None, *, rows: int = 600, epochs: int = 40, folds: int = 5, widths: tuple[int, ...] = WIDTHS
) -> dict[str, object]:
    """Search; return the mean scores and their standard errors (depths, widths), the choice, and its test accuracy."""
    from joblib import Parallel, delayed

    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y = X[:rows], y[:rows]
    fold = np.random.default_rng(0).permutation(rows) % folds
    candidates = [(width,) * depth for depth in DEPTHS for width in widths]
    # Threads suffice: a fit leaves the interpreter free while it trains.
    scores = Parallel(n_jobs=2, prefer="threads")(
        delayed(score)(sizes, X[fold != k], y[fold != k], (X[fold == k], y[fold == k]), epochs)
        for sizes in candidates for k in range(folds)
    )  # fmt: skip
    scores = np.reshape(scores, (len(candidates), folds))
    mean, error = scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(folds)
    n_weights = [fastnn.Model([*sizes, 10], loss="softmax_crossentropy").build(64).n_params for sizes in candidates]
    best = int(mean.argmax())
    within = np.flatnonzero(mean >= mean[best] - error[best])
    chosen = int(min(within, key=lambda k: n_weights[k]))
    tests = {k: score(candidates[k], X, y, (X_test, y_test), epochs) for k in (0, best, chosen)}
    for name, k in {"smallest": 0, "best score": best, "chosen": chosen}.items():
        print(f"{name:11} {candidates[k]!s:16} {n_weights[k]:6} weights   cross-validation {mean[k]:.1%} "
              f"(standard error {error[k]:.1%})   test {tests[k]:.1%}")  # fmt: skip
    shape = len(DEPTHS), len(widths)
    results = {
        "mean": mean.reshape(shape), "error": error.reshape(shape), "weights": np.reshape(n_weights, shape),
        "best": np.unravel_index(best, shape), "chosen": np.unravel_index(chosen, shape), "test": tests[chosen],
        "test of the smallest": tests[0],
    }  # fmt: skip
    if picture:
        draw(picture, results, widths)
    return results


def draw(picture: str, results: dict[str, object], widths: tuple[int, ...]) -> None:
    """Draw the scores as a map, and over the number of weights."""
    from matplotlib.figure import Figure

    mean, error, weights = 100 * results["mean"], 100 * results["error"], results["weights"]
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        cells, curve = figure.subplots(1, 2)
        cells.imshow(mean, cmap="viridis", aspect="auto", vmin=mean.max() - 12, vmax=mean.max())
        for (i, j), value in np.ndenumerate(mean):
            colour = "black" if value > mean.max() - 4 else "white"
            cells.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=10)
        for name, colour in (("best", "0.15"), ("chosen", fastnn.plot.COLORS[3])):
            i, j = results[name]
            cells.plot(j, i, "s", markersize=38, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=3)
            curve.plot(weights[i, j], mean[i, j], "o", color=colour, markersize=13, zorder=1)
            curve.annotate(name, (weights[i, j], mean[i, j]), (0, -44 if name == "chosen" else -30), ha="center",
                           textcoords="offset points", arrowprops={"arrowstyle": "-", "color": colour})  # fmt: skip
        cells.set(xticks=range(len(widths)), xticklabels=widths, yticks=range(len(DEPTHS)), yticklabels=DEPTHS)
        cells.set(xlabel="units per hidden layer", ylabel="hidden layers", title="Accuracy in cross-validation (%)")
        for depth, values, errors, n in zip(DEPTHS, mean, error, weights, strict=True):
            label = f"{depth} layer{'s' if depth > 1 else ''}"
            curve.errorbar(n, values, errors, fmt=".-", color=fastnn.plot.COLORS[(1, 2, 5)[depth - 1]], label=label)
        i, j = results["best"]
        curve.axhspan(mean[i, j] - error[i, j], mean[i, j], color="0.9", zorder=0)
        curve.legend(loc="lower right")
        curve.set(xscale="log", xlabel="weights", ylabel="accuracy in cross-validation (%)")
        curve.set_title("The simplest within one standard error")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["joblib"])
