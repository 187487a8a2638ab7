"""Learning-rate range test: a short training with a rate that grows until the loss diverges.

The implementation of `Model.lr_find`, which trains a copy of the model.
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
from fastnn._figure import as_axes, new_figure
from fastnn._training.descent import train_on_batch
from fastnn._training.net import Net
from fastnn._validation import finite_number, must_be, positive_integer
from fastnn.optimizers import Optimizer, with_learning_rate

__all__ = ["LearningRates"]

Array = npt.NDArray[np.float64]

#: Fraction of the steps at the start that is ignored, as their smoothed losses are means of few batches.
SKIPPED = 0.1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LearningRates:
    """Result of a learning-rate range test, `Model.lr_find`.

    The suggestions are computed from the smoothed curve up to its minimum, without the first tenth of the steps. All
    are None if the loss does not fall there. The longest fall is the longest series of steps, not necessarily
    neighbours, each with a lower smoothed loss than the one before.

    Parameters
    ----------
    rates : (n,) ndarray
        The learning rate of each step; fewer than `steps` if the loss diverged.
    losses : (n,) ndarray
        The loss of each step's batch, with the penalty, before the step. Infinite where it was not finite.
    smoothed : (n,) ndarray
        Exponential running mean of the losses, with bias correction.
    diverged : bool
        Whether the test ended because the loss diverged.

    Attributes
    ----------
    steep : float or None
        Rate of the steepest slope of the smoothed loss over log(rate), in the second half of the longest fall.
    valley : float or None
        Rate after two thirds of the longest fall. Usually the best choice.
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
        """Compute the suggestions."""
        for array in (self.rates, self.losses, self.smoothed):
            array.setflags(write=False)
        for name, value in _suggestions(self.rates, self.smoothed).items():
            object.__setattr__(self, name, value)

    @property
    def suggestions(self) -> dict[str, float | None]:
        """The three suggestions by name."""
        return {"steep": self.steep, "valley": self.valley, "minimum": self.minimum}

    def __repr__(self) -> str:
        """Return suggestions, steps, range of rates and whether the loss diverged."""
        found = {name: rate for name, rate in self.suggestions.items() if rate is not None}
        words = ", ".join(f"{name}={rate:.2g}" for name, rate in found.items()) or "no suggestion, the loss never fell"
        end = "; diverged" if self.diverged else ""
        return f"LearningRates({words}; {len(self.rates)} steps, {self.rates[0]:.2g} to {self.rates[-1]:.2g}{end})"

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the rates, and the suggestions; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Axes to draw in; None makes a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            The figure of `ax`.
        """
        if ax is None:
            (ax,) = new_figure(width=6.4, height=4.0).axes
        (ax,) = as_axes("ax", ax)
        finite = np.isfinite(self.losses)
        ax.plot(self.rates[finite], self.losses[finite], color="0.75", linewidth=1, label="loss of the batch")
        ax.plot(self.rates[finite], self.smoothed[finite], color="tab:blue", label="smoothed")
        for (name, rate), marker in zip(self.suggestions.items(), "v^o", strict=True):
            if rate is not None:
                loss = self.smoothed[np.abs(np.log(self.rates / rate)).argmin()]
                ax.plot([rate], [loss], marker, color="tab:red", label=f"{name}: {rate:.2g}")
        shown = self.smoothed[finite]
        if len(shown):  # scale without the last batches of a divergence
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
            raise ValueError(must_be("start and end", "rates with 0 < start < end", (start, end)))
        steps = positive_integer(self.steps, "steps")
        if steps < 10:
            raise ValueError(must_be("steps", "at least 10", steps))
        if steps > 10**6:
            raise ValueError(must_be("steps", "at most 1000000", steps))
        smoothing = finite_number("smoothing", self.smoothing)
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(must_be("smoothing", "at least 0 and below 1", smoothing))
        divergence = finite_number("divergence", self.divergence)
        if divergence <= 1.0:
            raise ValueError(must_be("divergence", "above 1", divergence, "It is a multiple of the minimal loss."))


def range_test(trial: Net, rows: Rows, settings: RangeTest, *, batch_size: BatchSize) -> LearningRates:
    """Train a net with a rate that grows from step to step.

    Parameters
    ----------
    trial : Net
        Overwritten by the training: a copy of the net for which a rate is searched.
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
    # Rows of weight 0 do not contribute to a loss, and a batch of such rows alone would have none.
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
            f"optimizer must have a learning_rate, got {optimizer!r}. Use one such as fastnn.Adam()."
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
    """Train with one batch; return its loss before the update, infinity if it is not finite."""
    trial.set_optimizer(with_learning_rate(trial.optimizer, rate))
    try:
        return train_on_batch(trial, rows, team)["loss"]
    except DivergenceError:
        return math.inf


def _batches(n: int, batch: int, seed: int, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of each batch, all of the same size, from a new order of the rows per pass."""
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
    """Return the suggestions of the smoothed losses by name; see `LearningRates`."""
    first = min(math.ceil(SKIPPED * len(rates)), len(rates) - 1)
    lowest = first + int(np.argmin(smoothed[first:]))
    fall = _longest_fall(smoothed[first : lowest + 1]) + first
    if len(fall) < 3:
        return dict.fromkeys(("steep", "valley", "minimum"))
    # The first half of the fall may be noise, as at low rates the loss changes by the choice of batches only.
    middle = fall[len(fall) // 2]
    slopes = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    return {
        "steep": float(rates[middle + np.argmin(slopes[middle:])]),
        "valley": float(rates[fall[2 * len(fall) // 3]]),
        "minimum": float(rates[lowest]) / 10.0,
    }


def _longest_fall(values: Array) -> npt.NDArray[np.int64]:
    """Return the indices of the longest strictly falling subsequence."""
    lows: list[float] = []  # lows[k]: maximum last value (negated) of all falls of k + 1 values so far
    ends: list[int] = []  # index of that last value
    before = np.full(len(values), -1)  # the index before each one in the longest fall that ends there
    for i, value in enumerate(-values):
        k = bisect.bisect_left(lows, value)
        before[i] = ends[k - 1] if k else -1
        lows[k:k + 1], ends[k:k + 1] = [value], [i]
    fall = [ends[-1]]
    while before[fall[-1]] >= 0:
        fall.append(int(before[fall[-1]]))
    return np.array(fall[::-1])
