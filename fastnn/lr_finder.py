"""Search of a learning rate: a range test, then short trainings at the rates that it leaves over.

The implementation of `Model.lr_find`, which trains a copy of the model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._compatibility import BatchSize, as_batch_size
from fastnn._data.rows import Rows, shuffled
from fastnn._engine.thread_team import ThreadTeam
from fastnn._errors import DivergenceError, warn
from fastnn._figure import panels_for
from fastnn._figure.labels import legend_beside
from fastnn._figure.style import COLORS, muted, text_colour
from fastnn._training.descent import train_on_batch
from fastnn._training.fit import train
from fastnn._training.loop import Fit
from fastnn._training.net import Net
from fastnn._training.objective import evaluate_compiled
from fastnn._training.progress import ProgressBar
from fastnn._validation import finite_number, must_be, positive_integer
from fastnn.callbacks import Trainable
from fastnn.history import History
from fastnn.optimizers import Optimizer, with_learning_rate
from fastnn.schedules import LearningRate, OneCycle

__all__ = ["LearningRates"]


def __dir__() -> list[str]:
    return __all__


Array = npt.NDArray[np.float64]

#: Fraction of the range test's steps that is ignored, as their smoothed losses are means of few batches.
SKIPPED = 0.1
#: Maximum number of trainings for a constant rate, and of those for one cycle.
MOST_TRIALS = 16
#: Maximum number of steps of a training, and of its rows; but up to `FEW_STEPS` may have more rows.
MOST_STEPS, MOST_ROWS, FEW_STEPS = 3000, 1_000_000, 100
#: Rates that are tried are apart by factors of sqrt(2); the search goes downhill in steps of these numbers of factors.
MULTIPLE, STRIDES = 2.0**0.5, (6, 4, 2, 1)
#: Where the search of a constant rate begins, relative to the rate at which the range test's loss is lowest, and
#: where that of a peak begins, relative to the best constant rate.
FIRST, FIRST_PEAK = 0.1, 10**0.5
#: Relative decrease of the loss below which a training is counted as one without effect.
LEAST_FALL = 0.01
#: Cross-entropies below this share of the initial loss are equal: the classes are separated, and lower values, down to
#: 0, only show that the weights are large.
ENOUGH = 1e-6


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LearningRates:
    """Result of `Model.lr_find`: the best learning rates found, and what they are compared with.

    Parameters
    ----------
    rates : (n,) ndarray
        The learning rate of each step of the range test; fewer than `steps` if the loss diverged.
    losses : (n,) ndarray
        The loss of each step's batch, with the penalty, before the step. Infinite where it was not finite.
    smoothed : (n,) ndarray
        Exponential running mean of the losses, with bias correction. It lags behind: rates at which it falls
        fastest, or is lowest, are higher than those that train well.
    diverged : bool
        Whether the range test ended because the loss diverged.
    epochs : float
        Epochs of each training below; fewer than asked for where these are more steps than are spent.
    initial_loss : float
        The loss before training, of the validation data if there are any, else of all rows.
    constant : (k, 2) ndarray
        Rates in rising order, and the same loss after a training at this constant rate; infinite if it diverged.
    one_cycle : (m, 2) ndarray
        The same for peak rates of `schedules.OneCycle`.

    learning_rate : float or None
        The rate of `constant` with the lowest loss; of equal losses, that of the lowest rate. With a cross-entropy,
        losses below a millionth of the initial one are equal. None if no loss is lower than the initial one by 1 %.
    max_learning_rate : float or None
        The same of `one_cycle`.
    """

    rates: Array
    losses: Array
    smoothed: Array
    diverged: bool
    epochs: float
    initial_loss: float
    constant: Array
    one_cycle: Array
    learning_rate: float | None
    max_learning_rate: float | None

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        for array in (self.rates, self.losses, self.smoothed, self.constant, self.one_cycle):
            array.setflags(write=False)

    def __repr__(self) -> str:
        """Return the recommended rates, and the steps, rates and end of the range test."""
        if self.learning_rate is None and self.max_learning_rate is None:
            words = "no recommendation, no training lowered the loss"
        else:
            words = ", ".join(
                f"{name}={'None' if rate is None else format(rate, '.2g')}"
                for name, rate in (
                    ("learning_rate", self.learning_rate), ("max_learning_rate", self.max_learning_rate)
                )
            )  # fmt: skip
        end = "; diverged" if self.diverged else ""
        return f"LearningRates({words}; {len(self.rates)} steps, {self.rates[0]:.2g} to {self.rates[-1]:.2g}{end})"

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses of the range test and of the trainings over their rates; needs matplotlib.

        Stars mark the recommended rates, at the lowest loss of the trainings of their kind.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Axes to draw in; None makes a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            The figure of `ax`.
        """
        with panels_for("ax", ax, width=8.6, height=4.0) as (panel,):
            self._draw(panel)
        return panel.figure

    def _draw(self, ax: Any) -> None:
        """Draw into axes."""
        finite, quiet = np.isfinite(self.losses), muted(ax)
        steps = {"color": quiet, "linewidth": 1.0, "alpha": 0.45, "label": "range test: loss per step"}
        ax.plot(self.rates[finite], self.losses[finite], **steps)
        ax.plot(self.rates[finite], self.smoothed[finite], color=quiet, label="range test: smoothed")
        shown = [self.smoothed[finite]]
        uses = (
            ("constant rate", self.constant, self.learning_rate, COLORS[1], "o-"),
            ("peak of OneCycle", self.one_cycle, self.max_learning_rate, COLORS[0], "s--"),
        )
        for name, trials, best, colour, style in uses:
            rates, losses = trials[np.isfinite(trials[:, 1])].T
            ax.plot(rates, losses, style, color=colour, markersize=4, label=f"after {self.epochs:.3g} epochs: {name}")
            if best is not None:
                mark = {"color": colour, "markersize": 15, "markeredgecolor": text_colour(ax), "linestyle": "none"}
                ax.plot([best], losses[rates == best], "*", **mark, label=f"{name}: {best:.2g}", zorder=4)
            shown.append(losses)
        values = np.concatenate(shown)
        if len(values):  # scale without what diverges
            low, high = float(values.min()), float(self.smoothed[finite][:1].max(initial=self.initial_loss))
            if low > 0.0:
                ax.set_yscale("log")
                ax.set_ylim(low / 1.3, 1.5 * high)
            else:
                ax.set_ylim(low - 0.1 * (high - low) - 1e-12, high + 0.3 * (high - low) + 1e-12)
        ax.set_xscale("log")
        title = "stars: rates that train best" if self.learning_rate is not None else "no rate lowers the loss"
        ax.set(xlabel="learning rate", ylabel="loss", title=title)
        legend_beside(ax, *ax.get_legend_handles_labels())


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


def find(
    trial: Net,
    rows: Rows,
    validation: Rows | None,
    settings: RangeTest,
    *,
    epochs: int,
    batch_size: BatchSize,
    model: Trainable,
) -> LearningRates:
    """Search the best constant rate and the best peak of one cycle.

    Parameters
    ----------
    trial : Net
        Overwritten by the trainings: a copy of the net for which a rate is searched.
    rows : Rows
    validation : Rows or None
        By whose loss trainings are compared; None for that of `rows`.
    settings : RangeTest
    epochs : int
        Epochs per training.
    batch_size : int, None or "auto"
        Rows per step.
    model : Trainable
        The model of which `trial` is a copy.

    Returns
    -------
    LearningRates
    """
    trial.spec = dataclasses.replace(trial.spec, metrics=())  # not needed here
    trial.build(rows.features.shape[1], rows.targets.n_outputs)
    trial.check_trainable()
    trial.check_weights()
    batch = as_batch_size(batch_size, rows.n, trial.optimizer)
    trials = _Trials(trial, rows, rows if validation is None else validation, epochs, batch, model)
    low, high = float(settings.start), float(settings.end)
    with trial.team(trial.flops_per_row(training=True) * batch) as team:
        initial_loss = trials.present_loss(team)
        rates, losses, smoothed, diverged = _range_test(trial, rows, settings, batch_size, team)
        skipped = min(math.ceil(SKIPPED * settings.steps), len(rates) - 1)
        first = FIRST * float(rates[skipped + int(np.argmin(smoothed[skipped:]))])

        enough = ENOUGH * initial_loss if trial.spec.loss.classification else -math.inf

        def of_cycle(rate: float) -> float:
            return trials.loss(OneCycle(rate, epochs=trials.epochs), team)

        constant, best = _search(lambda rate: trials.loss(rate, team), first, low, high, enough=enough)
        one_cycle, best_peak = _search(of_cycle, FIRST_PEAK * best, low, high, enough=enough)

    def falls(losses: Array) -> bool:
        return bool(initial_loss - losses[:, 1].min() > LEAST_FALL * abs(initial_loss))

    found = LearningRates(
        rates,
        losses,
        smoothed,
        diverged,
        epochs=trials.n_steps / -(-rows.n // batch),
        initial_loss=initial_loss,
        constant=constant,
        one_cycle=one_cycle,
        learning_rate=best if falls(constant) else None,
        max_learning_rate=best_peak if falls(one_cycle) else None,
    )
    if found.learning_rate is None and found.max_learning_rate is None:
        warn(
            f"no training of {found.epochs:.3g} epochs lowered the loss of {initial_loss:.4g} by {LEAST_FALL:.0%}, so "
            "lr_find recommends no rate. Run it on a model that is not trained yet, with X and y scaled to about 1."
        )
    return found


class _Trials:
    """Trainings of a net from the same state, each with another rate.

    Parameters
    ----------
    net : Net
        Built; overwritten.
    rows, compared : Rows
        What is trained on, and whose loss is compared.
    epochs, batch : int
        As for `Fit`. Where these are more steps than are spent, there are fewer epochs, or a part of one.
    model : Trainable

    Attributes
    ----------
    epochs, n_steps : int
        Epochs of each training in the terms of a schedule, and its steps.
    """

    def __init__(self, net: Net, rows: Rows, compared: Rows, epochs: int, batch: int, model: Trainable) -> None:
        self._net, self._compared = net, compared
        per_epoch, most = -(-rows.n // batch), min(MOST_STEPS, max(FEW_STEPS, MOST_ROWS // batch))
        self.epochs = min(epochs, max(most // per_epoch, 1))
        training = rows
        if per_epoch > most:
            order = shuffled(np.empty(rows.n, np.int64), net.spec.seed, 0)[: most * batch]
            training = dataclasses.replace(rows, index=order if rows.index is None else rows.index[order])
        self.n_steps = self.epochs * -(-training.n // batch)
        self._fit = Fit(
            training=training, validation=None, epochs=self.epochs, batch=batch, shuffle=True, model=model,
            progress=ProgressBar(),
        )  # fmt: skip
        engine = net.built()
        self._start = engine.params.copy(), engine.slots.copy(), engine.steps_done, engine.scalars

    def restore(self) -> None:
        """Give the net the state before any training, at epoch 0 of a schedule."""
        engine = self._net.built()
        engine.params[...], engine.slots[...], engine.steps_done, engine.scalars = self._start
        self._net.epochs_done, self._net.history = 0, History()

    def loss(self, learning_rate: LearningRate, team: ThreadTeam) -> float:
        """Return the loss that is compared after a training; infinity if it is not finite."""
        net = self._net
        self.restore()
        net.set_optimizer(with_learning_rate(net.optimizer, learning_rate))
        try:
            train(net, self._fit, team)
        except DivergenceError:
            return math.inf
        loss = self.present_loss(team)
        return loss if math.isfinite(loss) else math.inf

    def present_loss(self, team: ThreadTeam) -> float:
        """Return the loss that is compared, with the present weights."""
        return evaluate_compiled(self._net, self._compared, team)["loss"]


def _search(
    loss_at: Callable[[float], float], first: float, low: float, high: float, *, enough: float = -math.inf
) -> tuple[Array, float]:
    """Search the rate of the lowest loss in [low, high] by trials, from a rate downhill.

    Parameters
    ----------
    loss_at : callable
        Returns the loss of a rate.
    first, low, high : float
        Where the search begins, and its limits.
    enough : float
        Losses below it are equal.

    Returns
    -------
    trials : (k, 2) ndarray
        Rates in rising order, and their losses.
    rate : float
        That of the lowest loss, the lowest of several.
    """
    first = min(max(first, low), high)
    tried: dict[int, float] = {}

    def rate(k: int) -> float:
        return first * MULTIPLE**k

    def attempt(k: int) -> None:
        if k not in tried and len(tried) < MOST_TRIALS and (k == 0 or low <= rate(k) <= high):
            tried[k] = loss_at(rate(k))

    def best() -> int:
        return min(tried, key=lambda k: (max(tried[k], enough), k))  # divergences are equal, too

    attempt(0)
    for stride in STRIDES:
        middle = None
        while middle != best():
            middle = best()
            attempt(middle + stride)
            attempt(middle - stride)
    return np.array([(rate(k), tried[k]) for k in sorted(tried)]), rate(best())


def _range_test(
    trial: Net, rows: Rows, settings: RangeTest, batch_size: BatchSize, team: ThreadTeam
) -> tuple[Array, Array, Array, bool]:
    """Train a net with a rate that grows from step to step; return rates, losses, smoothed losses, divergence."""
    # Rows of weight 0 do not contribute to a loss, and a batch of such rows alone would have none.
    taking_part = np.arange(rows.n) if rows.index is None else rows.index
    if rows.sample_weight.size:
        taking_part = taking_part[rows.sample_weight[taking_part] > 0]
    batch = as_batch_size(batch_size, len(taking_part), trial.optimizer)
    rates = np.geomspace(float(settings.start), float(settings.end), settings.steps)
    losses: list[float] = []
    smoothed: list[float] = []
    smoothing = float(settings.smoothing)
    mean, best, diverged = 0.0, math.inf, False
    epoch = trial.history.epoch[-1] + 1 if trial.history.epoch else 0
    batches = _batches(len(taking_part), batch, trial.spec.seed, epoch)
    for k, (rate, index) in enumerate(zip(rates, batches, strict=False)):
        loss = _step(trial, float(rate), dataclasses.replace(rows, index=taking_part[index]), team)
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
    return rates[:done].copy(), np.array(losses), np.array(smoothed), diverged


def check_has_rate(optimizer: Optimizer) -> None:
    """Raise ValueError unless an optimizer has a learning rate."""
    if not hasattr(optimizer, "learning_rate"):
        raise ValueError(
            f"optimizer must have a learning_rate, got {optimizer!r}. Use one such as fastnn.Adam()."
        )


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
