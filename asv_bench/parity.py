"""Compare accuracy and time of fastnn's estimators with scikit-learn's.

Both have the same settings, rows and seeds. The output is a Markdown table: accuracy (R2 for diabetes) on test rows,
mean and standard error over the seeds, and the time of `fit` for the number of epochs to the same validation loss: the
larger of the two minima.

    python -m asv_bench.parity --seeds 10
    python -m asv_bench.parity --seeds 2 --data digits diabetes
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

import fastnn

#: Repetitions of a timing, of which the minimum is used.
REPEATS = 3


def letter(*, openml: bool) -> tuple[str, Any, Any]:
    """Return the letters of OpenML, which requires a network; or synthetic data of the same shape."""
    if openml:
        X, y = datasets.fetch_openml("letter", version=1, return_X_y=True, as_frame=False)
        return "letter", X, y
    X, y = datasets.make_classification(
        20_000, 16, n_informative=12, n_redundant=2, n_classes=26, n_clusters_per_class=1, random_state=0
    )
    return "stand-in for letter (make_classification)", X, y


def load(name: str, *, openml: bool) -> tuple[str, Any, Any]:
    """Name, X and y of a data set."""
    if name == "letter":
        return letter(openml=openml)
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return name.replace("_", " "), X, scale(y) if name == "diabetes" else y


@dataclass(frozen=True)
class Run:
    """Result of one estimator with one seed: its score after `fit`, and its validation loss per epoch."""

    score: float
    losses: Sequence[float]


def loss_of(net: Any, X: Any, y: Any) -> float:
    """Return the loss without penalty on the given rows."""
    if hasattr(net, "predict_proba"):
        return float(log_loss(y, net.predict_proba(X)))
    return 0.5 * float(np.mean((net.predict(X) - y) ** 2))


def run(make: Callable[..., Any], parts: Sequence[Any], seed: int, epochs: int) -> Run:
    """Fit once by `fit`, and once epoch by epoch."""
    X, X_test, y, y_test = parts
    score = make(random_state=seed).fit(X, y).score(X_test, y_test)
    net = make(random_state=np.random.RandomState(seed))  # with an int scikit-learn would use one order for all epochs
    classes = {"classes": np.unique(y)} if hasattr(net, "predict_proba") else {}
    losses = []
    for _ in range(epochs):
        net.partial_fit(X, y, **classes)
        losses.append(loss_of(net, X_test, y_test))
    return Run(score, losses)


def epochs_to(losses: Sequence[float], target: float) -> int:
    """Return the number of epochs until the loss is at most the target."""
    return 1 + next(k for k, loss in enumerate(losses) if loss <= target)


def seconds(make: Callable[..., Any], parts: Sequence[Any], seed: int, epochs: int) -> float:
    """Return the seconds of `fit` for a number of epochs."""
    taken = []
    for _ in range(REPEATS):
        net = make(random_state=seed, max_iter=epochs, n_iter_no_change=np.inf)
        start = time.perf_counter()
        net.fit(parts[0], parts[2])
        taken.append(time.perf_counter() - start)
    return min(taken)


def mean_and_error(values: Sequence[float]) -> str:
    """Format the mean and its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {error:.4f}"


def row(name: str, X: Any, y: Any, args: argparse.Namespace) -> str:
    """Compare both estimators on one data set."""
    regression = np.asarray(y).dtype.kind == "f"
    kind = "MLPRegressor" if regression else "MLPClassifier"
    settings = {"hidden_layer_sizes": (100,), "max_iter": args.epochs}
    ours = lambda **extra: getattr(fastnn, kind)(**{**settings, "dtype": args.dtype, **extra})  # noqa: E731
    theirs = lambda **extra: getattr(neural_network, kind)(**{**settings, **extra})  # noqa: E731
    runs: list[tuple[Run, Run]] = []
    ratios, times = [], []
    for seed in range(args.seeds):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, random_state=seed, stratify=None if regression else y
        )
        scaler = StandardScaler().fit(X_train)
        parts = (scaler.transform(X_train), scaler.transform(X_test), y_train, y_test)
        pair = run(ours, parts, seed, args.epochs), run(theirs, parts, seed, args.epochs)
        target = max(min(one.losses) for one in pair)
        taken = [
            seconds(make, parts, seed, epochs_to(one.losses, target))
            for make, one in zip((ours, theirs), pair, strict=True)
        ]
        runs.append(pair)
        times.append(taken)
        ratios.append(taken[1] / taken[0])
    scores = [mean_and_error([pair[k].score for pair in runs]) for k in (0, 1)]
    medians = [1e3 * statistics.median(taken[k] for taken in times) for k in (0, 1)]
    figures = [*(f"{taken:.3g}" for taken in medians), f"{statistics.median(ratios):.1f}"]
    return f"| {' | '.join([name, *scores, *figures])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare on all data sets and print the table."""
    known = ["digits", "breast_cancer", "diabetes", "letter"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=10, help="runs, with seeds from 0 on (default: 10)")
    parser.add_argument("--epochs", type=int, default=200, help="most epochs (default: 200, as in scikit-learn)")
    parser.add_argument("--data", nargs="+", choices=known, default=known, help="data sets (default: all)")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="of fastnn (default: float64, as the data)")
    parser.add_argument("--openml", action="store_true", help="load letter from OpenML; needs a network")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    fastnn.MLPClassifier(max_iter=1, dtype=args.dtype).fit([[0.0], [1.0]], [0, 1])  # compiles
    print("| | fastnn: score | scikit-learn: score | fastnn: ms | scikit-learn: ms | ratio of times |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in args.data:
        print(row(*load(name, openml=args.openml), args), flush=True)


if __name__ == "__main__":
    main()
