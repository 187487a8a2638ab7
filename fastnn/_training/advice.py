"""Warnings of a fit that runs, but whose data, rate or schedule make a good result unlikely."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._errors import warn
from fastnn._training import objective
from fastnn._training.net import Net
from fastnn.optimizers import FirstOrderOptimizer
from fastnn.schedules import Schedule

Array: TypeAlias = npt.NDArray[Any]

#: Root mean square of a column of X, and of y, beyond which data are far from unit scale. Pixels of 0 to 255 and
#: temperatures in kelvins are beyond; standardized data, pixels of 0 to 16, percentages and ages are not.
LARGE_FEATURE, LARGE_TARGET = 100.0, 1000.0
#: Largest element of X, and of y, below which data are far from unit scale.
SMALL = 1e-3
#: Numbers of X and rows of y and of predictions that are read.
N_NUMBERS, N_ROWS = 20_000, 1000
#: Rates below this part of the largest one train hardly anything.
SPENT = 0.01
#: Epochs of a fit from which on its losses are judged.
MIN_EPOCHS = 6
#: Mean relative change of the loss from epoch to epoch, from which on it oscillates.
BOUNCE = 0.03
#: The loss of the second half over that of the first one, below which it falls, and below which it does so even if it
#: oscillates above that of a constant prediction.
LOWER, CLEARLY_LOWER = 0.99, 0.75


def check_scale(net: Net, rows: Rows) -> None:
    """Warn of data far from unit scale, before the first epoch of a model; a sample of the rows is read."""
    if net.epochs_done:
        return
    X, y = rows.features, rows.targets.values
    typical, largest = _sizes(X, max(16, N_NUMBERS // X.shape[1]))
    cure = "Scale X before, for instance by sklearn.preprocessing.StandardScaler, or divide pixels by 255."
    if typical.max() > LARGE_FEATURE:
        k = int(typical.argmax())
        warn(f"column {k} of X has values of about {typical[k]:.2g}; training works best with about 1. {cure}")
    elif 0.0 < largest < SMALL:
        warn(f"X has values of at most {largest:.2g}; training works best with about 1. {cure}")
    if net.spec.loss.rule.targets != "numbers" or not y.size:
        return
    typical, largest = _sizes(y, N_ROWS)
    cure = "Scale y, for instance by (y - y.mean()) / y.std(), and convert predictions back."
    if typical.max() > LARGE_TARGET:
        warn(f"y has values of about {typical.max():.2g}; training works best with about 1. {cure}")
    elif 0.0 < largest < SMALL:
        warn(f"y has values of at most {largest:.2g}; training works best with about 1. {cure}")


def _sizes(a: Array, n_rows: int) -> tuple[Array, float]:
    """Return the root mean square of each column, and the largest absolute value, of rows at equal distances."""
    part = a[:: max(1, len(a) // n_rows)].astype(np.float64)
    with np.errstate(over="ignore"):  # infinity is large, too
        return np.sqrt(np.square(part).mean(axis=0)), float(np.abs(part).max())


def check_schedule(net: Net, epochs: int) -> None:
    """Warn of a schedule that ends before the last epoch of a fit, at a rate that trains hardly anything."""
    rate = getattr(net.optimizer, "learning_rate", None)
    if not isinstance(rate, Schedule) or rate.end is None or net.epochs_done + epochs <= rate.end:
        return
    final, peak = float(rate(rate.end)), float(np.max(rate(np.linspace(0.0, rate.end, 101))))
    if final > SPENT * peak:
        return
    warn(  # the same text in each call of a loop over `partial_fit`, so that Python shows it once
        f"the learning rate {rate!r} ends at epoch {rate.end:g} of the model, which this fit trains beyond: from there "
        f"on the rate is {final:.2g}. Give the schedule the epochs of all fits together, or set model.optimizer to one "
        "with a number."
    )


def check_losses(net: Net, rows: Rows, losses: Sequence[float]) -> None:
    """Warn of a learning rate that is too high: the loss does not fall from epoch to epoch, and is a poor one."""
    if not isinstance(net.optimizer, FirstOrderOptimizer) or len(losses) < MIN_EPOCHS:
        return
    half = len(losses) // 2
    early, late = losses[1:half], losses[half:]  # the first epoch may be far off
    middle = float(np.median(late))
    pairs = list(itertools.pairwise(late))
    rises = sum(b > a for a, b in pairs)
    before = float(np.median(early))
    falls = middle < LOWER * before or 4 * rises < len(pairs)
    if rises == 0 or (falls and (before <= 0.0 or middle < CLEARLY_LOWER * before)):
        return
    level = _level(net, rows, middle)
    bounces = np.mean([abs(b - a) for a, b in pairs]) > BOUNCE * middle
    if falls and not (bounces and level > 1.0):
        return
    if level > 1.0 or (bounces and level > 0.9) or (middle > 1.2 * losses[0] and level > 0.5):
        warn(
            f"the loss does not fall: in the second half of this fit it varies between {min(late):.3g} and "
            f"{max(late):.3g}. The learning rate is probably too high: try a tenth of it, or model.lr_find(X, y) on a "
            "new model, and scale X."
        )


def _level(net: Net, rows: Rows, loss: float) -> float:
    """Return a loss in multiples of that of the best constant prediction, from some rows; 0 where that is unknown."""
    chosen = np.arange(len(rows.features)) if rows.index is None else rows.index
    chosen = chosen[:: max(1, len(chosen) // N_ROWS)]
    weight = rows.sample_weight[chosen].astype(np.float64) if rows.sample_weight.size else np.ones(len(chosen))
    if not weight.any():
        return 0.0
    targets: Array
    if rows.targets.labels.size:
        targets = np.eye(rows.targets.n_outputs)[rows.targets.labels[chosen]]
    else:
        targets = rows.targets.values[chosen].astype(np.float64)
    mean = np.average(targets, axis=0, weights=weight)
    if net.spec.loss.classification:
        from scipy import special  # where used: it costs some 60 ms to import

        entropies = special.entr(mean)
        if net.spec.loss.rule.targets == "binary":
            entropies = entropies + special.entr(1.0 - mean)
            best = float(entropies.mean())
        else:
            best = float(entropies.sum())
        return (loss - objective.penalty(net)) / best if best > 0.0 else 0.0
    # Squares say nothing of losses that resist outliers, nor of outputs that are no predictions.
    outputs = net.outputs(rows.features[chosen]) if net.spec.loss.rule.least_squares else None
    if not isinstance(outputs, np.ndarray):  # or they are not finite
        return 0.0
    total = np.average(np.square(targets - mean), axis=0, weights=weight).sum()
    return float(np.average(np.square(targets - outputs), axis=0, weights=weight).sum() / total) if total else 0.0
