"""The learning-rate range test: a short training with a rate that grows until the loss does, too.

The work behind `Model.lr_find`, which trains a copy of the model.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._compatibility import BatchSize, as_batch_size
from fastnn._data.arrays import Targets
from fastnn._data.rows import Rows, shuffled
from fastnn._engine.thread_team import ThreadTeam
from fastnn._errors import DivergenceError
from fastnn._figure import new_figure
from fastnn._training.descent import train_on_batch
from fastnn._training.net import Net
from fastnn._validation import finite_number, must_be, positive_integer
from fastnn.optimizers import Optimizer, with_learning_rate

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
        if ax is None:
            (ax,) = new_figure(width=6.4, height=4.0).axes
        finite = np.isfinite(self.losses)
        ax.plot(self.rates[finite], self.losses[finite], color="0.75", linewidth=1, label="loss of the batch")
        ax.plot(self.rates[finite], self.smoothed[finite], color="tab:blue", label="smoothed")
        for (name, rate), marker in zip(self.suggestions.items(), "v^o", strict=True):
            if rate is not None:
                loss = self.smoothed[np.abs(np.log(self.rates / rate)).argmin()]
                ax.plot([rate], [loss], marker, color="tab:red", label=f"{name}: {rate:.2g}")
        shown = self.smoothed[finite]
        if len(shown):  # single batches of the divergence would flatten all that matters
            low, high = float(min(shown)), float(max(shown[: max(1, len(shown) - 3)]))
            ax.set_ylim(low - 0.1 * (high - low) - 1e-12, high + 0.3 * (high - low) + 1e-12)
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
        return ax.figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeTest:
    """Settings of a range test; see `Model.lr_find`.

    Raises
    ------
    TypeError, ValueError
        If one is invalid.
    """

    start: float
    end: float
    steps: int
    smoothing: float
    divergence: float

    def __post_init__(self) -> None:
        """Validate the settings."""
        start, end = finite_number("start", self.start), finite_number("end", self.end)
        if not 0.0 < start < end:
            raise ValueError(f"start and end must be rates with 0 < start < end, got start={start:g}, end={end:g}.")
        steps = positive_integer(self.steps, "steps")
        if steps < 10:
            raise ValueError(must_be("steps", "at least 10, for a curve to be seen", steps))
        smoothing = finite_number("smoothing", self.smoothing)
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(must_be("smoothing", "at least 0 and below 1", smoothing))
        divergence = finite_number("divergence", self.divergence)
        if divergence <= 1.0:
            raise ValueError(must_be("divergence", "above 1, a multiple of the best loss", divergence))


def range_test(trial: Net, rows: Rows, settings: RangeTest, *, batch_size: BatchSize) -> LearningRates:
    """Train a net with a rate that grows from step to step.

    Parameters
    ----------
    trial : Net
        Trained; a copy of the one that the rate is for.
    rows : Rows
    settings : RangeTest
    batch_size : int, None or "auto"
        Rows per step.

    Returns
    -------
    LearningRates
    """
    trial.spec = dataclasses.replace(trial.spec, metrics=())  # not needed here
    trial.build(rows.features.shape[1], rows.targets.n_outputs)
    # Rows of weight 0 have no part in any loss, and a batch of nothing else would have none.
    taking_part = np.flatnonzero(rows.sample_weight) if rows.sample_weight.size else np.arange(rows.n)
    batch = as_batch_size(batch_size, len(taking_part), trial.optimizer)
    trial.check_trainable()
    trial.check_weights()

    rates = np.geomspace(float(settings.start), float(settings.end), settings.steps)
    losses: list[float] = []
    smoothed: list[float] = []
    smoothing = float(settings.smoothing)
    mean, best, diverged = 0.0, math.inf, False
    epoch = trial.history.epoch[-1] + 1 if trial.history.epoch else 0
    batches = _batches(len(taking_part), batch, trial.spec.seed, epoch)
    with trial.team(trial.flops_per_row(training=True) * batch) as team:
        for k, (rate, index) in enumerate(zip(rates, batches, strict=False)):
            loss = _step(trial, float(rate), _part(rows, taking_part[index]), team)
            losses.append(loss)
            mean = smoothing * mean + (1.0 - smoothing) * loss
            smoothed.append(mean / (1.0 - smoothing ** (k + 1)))
            diverged = not math.isfinite(smoothed[-1])
            if k >= SKIPPED * settings.steps:
                best = min(best, smoothed[-1])
                diverged |= smoothed[-1] > best + (settings.divergence - 1.0) * abs(best)
            if diverged:
                break
    done = len(losses)
    return LearningRates(rates[:done].copy(), np.array(losses), np.array(smoothed), diverged)


def check_has_rate(optimizer: Optimizer) -> None:
    """Raise ValueError unless an optimizer has a learning rate."""
    if not hasattr(optimizer, "learning_rate"):
        raise ValueError(
            f"optimizer is {optimizer!r}, which has no learning_rate; use one that has, such as fastnn.Adam()."
        )


def _part(rows: Rows, index: npt.NDArray[np.int64]) -> Rows:
    """Return copies of a part of the rows."""
    values, labels = rows.targets.values, rows.targets.labels
    if labels.size:
        labels = labels[index]
    else:
        values = values[index]
    weights = rows.sample_weight[index] if rows.sample_weight.size else rows.sample_weight
    return Rows(rows.features[index], Targets(values, labels, rows.targets.n_outputs), weights, None)


def _step(trial: Net, rate: float, rows: Rows, team: ThreadTeam) -> float:
    """Train with one batch; return its loss before that, infinity where it is not finite."""
    trial.set_optimizer(with_learning_rate(trial.optimizer, rate))
    try:
        return train_on_batch(trial, rows, team)["loss"]
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
