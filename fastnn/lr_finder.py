"""The learning-rate range test: a short training with a rate that grows until the loss does, too.

The work behind `Model.lr_find`. The model itself is not touched: a copy of it is trained.
"""

from __future__ import annotations

import bisect
import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._engine.engine import shuffled
from fastnn._training.loop import DivergenceError
from fastnn._validation import finite_number, positive_integer
from fastnn.optimizers import with_learning_rate

if TYPE_CHECKING:
    from fastnn.model import Model

__all__ = ["LearningRates"]

Array = npt.NDArray[np.float64]

#: Share of the steps at the start from which nothing is concluded: their smoothed losses are means of a few batches.
SKIPPED = 0.1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LearningRates:
    """What `Model.lr_find` found.

    The suggestions are read off the smoothed curve up to its minimum, without the first tenth of the steps. All are
    None where the loss does not fall there. The longest fall is the longest series of steps, not necessarily
    neighbours, each with a lower smoothed loss than the one before.

    Attributes
    ----------
    rates : (n,) ndarray
        The learning rate of each step; fewer than asked for where the loss diverged.
    losses : (n,) ndarray
        The loss of each step's batch, with the penalty, before the step. Infinite where it was not finite.
    smoothed : (n,) ndarray
        Their running mean, corrected for its start.
    diverged : bool
        Whether the test was ended by the loss.
    steep : float or None
        Where the smoothed loss falls fastest over the logarithm of the rate, in the second half of the longest fall.
    valley : float or None
        Two thirds down the longest fall. Usually the best choice.
    minimum : float or None
        A tenth of the rate at which the loss is lowest.
    """

    rates: Array
    losses: Array
    smoothed: Array
    diverged: bool
    steep: float | None = dataclasses.field(init=False)
    valley: float | None = dataclasses.field(init=False)
    minimum: float | None = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Read the suggestions off the curve."""
        for array in (self.rates, self.losses, self.smoothed):
            array.setflags(write=False)
        for name, value in _suggestions(self.rates, self.smoothed).items():
            object.__setattr__(self, name, value)

    @property
    def suggestions(self) -> dict[str, float | None]:
        """The three of them, by name."""
        return {"steep": self.steep, "valley": self.valley, "minimum": self.minimum}

    def __repr__(self) -> str:
        """Give the range, the suggestions, and how it ended."""
        found = {name: rate for name, rate in self.suggestions.items() if rate is not None}
        words = ", ".join(f"{name}={rate:.2g}" for name, rate in found.items()) or "no suggestion, the loss never fell"
        end = "; diverged" if self.diverged else ""
        return f"LearningRates({words}; {len(self.rates)} steps, {self.rates[0]:.2g} to {self.rates[-1]:.2g}{end})"

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the rates, and the suggestions; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to; None makes a new figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from fastnn import plot

        return plot.range_test(self, ax=ax)


def range_test(
    model: Model,
    X: Any,
    y: Any,
    *,
    batch_size: int | None,
    start: float,
    end: float,
    steps: int,
    smoothing: float,
    divergence: float,
    sample_weight: Any,
    class_weight: Any,
) -> LearningRates:
    """Do what `Model.lr_find` says."""
    start, end = finite_number("start", start), finite_number("end", end)
    if not 0.0 < start < end:
        raise ValueError(f"start and end must be rates with 0 < start < end; got start={start:g}, end={end:g}.")
    steps = positive_integer(steps, "steps")
    if steps < 10:
        raise ValueError(f"steps must be at least 10, for a curve to be seen; got {steps}.")
    smoothing = finite_number("smoothing", smoothing)
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be at least 0 and below 1; got {smoothing!r}.")
    divergence = finite_number("divergence", divergence)
    if divergence <= 1.0:
        raise ValueError(f"divergence must be above 1, a multiple of the best loss; got {divergence!r}.")
    check_has_rate(model)
    trial = copy.copy(model)  # all that training changes is the copy's own
    trial.__dict__["metrics"] = ()  # nobody asks for them here
    rows = trial._check_rows(X, y, sample_weight, trial.n_outputs, ("X", "y", "sample_weight"))
    rows = trial._with_class_weight(rows, class_weight)
    trial.build(rows.features.shape[1], rows.targets.n_outputs)
    # Rows of weight 0 have no part in any loss, and a batch of nothing else would have none.
    taking_part = np.flatnonzero(rows.sample_weight) if rows.sample_weight.size else np.arange(rows.n)
    n = len(taking_part)
    batch = n if batch_size is None else min(positive_integer(batch_size, "batch_size"), n)
    targets = rows.targets.labels if rows.targets.labels.size else rows.targets.values

    rates = np.geomspace(start, end, steps)
    losses: list[float] = []
    smoothed: list[float] = []
    mean, best, diverged = 0.0, math.inf, False
    epoch = model.history.epoch[-1] + 1 if model.history.epoch else 0
    for k, (rate, index) in enumerate(zip(rates, _batches(n, batch, model.seed, epoch), strict=False)):
        part = taking_part[index]
        loss = _step(trial, float(rate), rows.features[part], targets[part], rows.sample_weight, part)
        losses.append(loss)
        mean = smoothing * mean + (1.0 - smoothing) * loss
        smoothed.append(mean / (1.0 - smoothing ** (k + 1)))
        diverged = not math.isfinite(smoothed[-1])
        if k >= SKIPPED * steps:
            best = min(best, smoothed[-1])
            diverged |= smoothed[-1] > best + (divergence - 1.0) * abs(best)
        if diverged:
            break
    done = len(losses)
    return LearningRates(rates[:done].copy(), np.array(losses), np.array(smoothed), diverged)


def check_has_rate(model: Model) -> None:
    """Insist on an optimizer with a learning rate."""
    if not hasattr(model.optimizer, "learning_rate"):
        raise ValueError(
            f"optimizer is {model.optimizer!r}, which has no learning_rate; use one that has, such as fastnn.Adam()."
        )


def _step(trial: Model, rate: float, X: Any, y: Any, sample_weight: Any, part: Any) -> float:
    """Train with one batch; returns its loss before that, infinity where it is not finite."""
    trial.optimizer = with_learning_rate(trial.optimizer, rate)
    weights = sample_weight[part] if sample_weight.size else None
    try:
        return trial.train_on_batch(X, y, sample_weight=weights)["loss"]
    except DivergenceError:
        return math.inf


def _batches(n: int, batch: int, seed: int, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of one batch after the other, all of the same size, going through the rows in ever new orders."""
    if batch == n:
        while True:
            yield np.arange(n)
    left = np.empty(0, np.int64)
    while True:
        while len(left) < batch:
            left = np.concatenate([left, shuffled(np.empty(n, np.int64), seed, epoch)])
            epoch += 1
        yield left[:batch]
        left = left[batch:]


def _suggestions(rates: Array, smoothed: Array) -> dict[str, float | None]:
    """Rates that the smoothed losses propose; see `LearningRates`."""
    first = min(math.ceil(SKIPPED * len(rates)), len(rates) - 1)
    lowest = first + int(np.argmin(smoothed[first:]))
    fall = _longest_fall(smoothed[first : lowest + 1]) + first
    if len(fall) < 3:
        return dict.fromkeys(("steep", "valley", "minimum"))
    # The first half of the fall may be noise: at rates that are too low to do anything the curve wanders, too.
    middle = fall[len(fall) // 2]
    slopes = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    return {
        "steep": float(rates[middle + np.argmin(slopes[middle:])]),
        "valley": float(rates[fall[2 * len(fall) // 3]]),
        "minimum": float(rates[lowest]) / 10.0,
    }


def _longest_fall(values: Array) -> npt.NDArray[np.int64]:
    """Indices of the longest strictly falling subsequence."""
    lows: list[float] = []  # lows[k]: of all falls of k + 1 values so far, how high one can end (negated) ...
    ends: list[int] = []  # ... and where it ends
    before = np.full(len(values), -1)  # the index before each one in the longest fall that ends there
    for i, value in enumerate(-values):
        k = bisect.bisect_left(lows, value)
        before[i] = ends[k - 1] if k else -1
        lows[k:k + 1], ends[k:k + 1] = [value], [i]
    fall = [ends[-1]]
    while before[fall[-1]] >= 0:
        fall.append(int(before[fall[-1]]))
    return np.array(fall[::-1])
