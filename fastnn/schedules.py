"""Schedules: learning rates that change while a net trains.

Time is counted in epochs, as a float, over all fits: step s of the n steps of epoch k is at k + s / n. So a
schedule does not depend on the batch size, changes with every step, and goes on where it was after another
`fit` and after `fastnn.load`. An optimizer takes one in the place of a number:
``fastnn.Adam(fastnn.schedules.Cosine(1e-3, epochs=20, warmup=1))``.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._validation import (
    CONVERSION_ERRORS,
    as_sequence,
    check_bool,
    finite_number,
    must_be,
    number_in,
    real_number,
    shown,
)
from fastnn._validation.names import explained, immutable

__all__ = ["Constant", "Cosine", "Exponential", "InverseScaling", "OneCycle", "PiecewiseConstant", "Schedule", "Step"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[np.float64]


class Schedule(abc.ABC):
    """Base class: a learning rate as a function of the epoch.

    A class of your own needs `__call__` alone. Models that use it can be trained, copied and pickled; a file can
    only hold the schedules of this module.

    Attributes
    ----------
    end : float or None
        The epoch from which on the rate stays as it is, where the schedule has a length; else None.
    """

    @property
    def end(self) -> float | None:
        """The epoch from which on the rate stays as it is, where the schedule has a length; else None."""
        return None

    @abc.abstractmethod
    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times.

        Parameters
        ----------
        epoch : array-like of float
            Times in epochs from 0, of any shape.

        Returns
        -------
        ndarray of float64
            The rates, of the same shape (numpy.float64 for a single time); at least 0 and finite.
        """


#: What an optimizer takes as its learning rate.
LearningRate: TypeAlias = float | Schedule | Callable[[int], float]


def _times(epoch: npt.ArrayLike) -> Array:
    try:
        return np.asarray(epoch, np.float64)
    except CONVERSION_ERRORS as error:  # raised by NumPy, or by the value's own methods
        raise TypeError(must_be("epoch", "numbers", epoch)) from error


def _rates(values: npt.ArrayLike) -> Any:
    """Return the rates of a schedule: an array, or for a single time a number."""
    return np.asarray(values, np.float64)[()]


def _check(schedule: Schedule, **ranges: str) -> None:
    """Turn fields into floats within a range, such as "(0, 1]"; a round bracket leaves the bound itself out."""
    for name, interval in ranges.items():
        object.__setattr__(schedule, name, number_in(name, getattr(schedule, name), interval))


def _check_flag(schedule: Schedule, name: str) -> None:
    object.__setattr__(schedule, name, check_bool(getattr(schedule, name), name))


def _check_numbers(schedule: Schedule, name: str, *, rising: bool) -> tuple[float, ...]:
    """Turn a field into a tuple of finite numbers, that are at least 0 or that rise from above 0."""
    given = as_sequence(name, "a sequence of numbers", getattr(schedule, name))
    values = tuple(finite_number(f"{name}[{k}]", value) for k, value in enumerate(given))
    if not values:
        raise ValueError(must_be(name, "a sequence of at least one number", values))
    if rising and any(a >= b for a, b in zip((0.0, *values), values, strict=False)):
        raise ValueError(must_be(name, "numbers above 0, in rising order", values))
    if min(values) < 0.0:
        raise ValueError(must_be(name, "at least 0", values))
    object.__setattr__(schedule, name, values)
    return values


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at all times, as a plain number is.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    """

    learning_rate: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self, learning_rate="(0,inf)")

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        return _rates(np.full_like(_times(epoch), self.learning_rate))


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class Step(Schedule):
    """A rate that is multiplied by gamma every `step_size` epochs, or at given epochs.

    Parameters
    ----------
    learning_rate : float
        The rate at the start, above 0.
    step_size : float or None
        Epochs between two changes, above 0: PyTorch's StepLR.
    milestones : sequence of float, or None
        Epochs of the changes, rising: PyTorch's MultiStepLR. Either this or `step_size` is given.
    gamma : float
        The factor, above 0 and at most 1.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range, or not exactly one of the two is given.

    Notes
    -----
    learning_rate * gamma^k after k changes.
    """

    learning_rate: float
    _: KW_ONLY
    step_size: float | None = None
    milestones: tuple[float, ...] | None = None
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self, learning_rate="(0,inf)", gamma="(0,1]")
        if (self.step_size is None) == (self.milestones is None):
            raise ValueError(
                "step_size or milestones must be given, and not both, got "
                f"step_size={shown(self.step_size)} and milestones={shown(self.milestones)}."
            )
        if self.step_size is not None:
            _check(self, step_size="(0,inf)")
        else:
            _check_numbers(self, "milestones", rising=True)

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        if self.step_size is not None:
            changes = np.floor(_times(epoch) / self.step_size)
        else:
            changes = np.searchsorted(self.milestones or (), _times(epoch), side="right")
        return _rates(self.learning_rate * self.gamma**changes)


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class PiecewiseConstant(Schedule):
    """Rates of your choice, each up to an epoch (Keras's PiecewiseConstantDecay).

    Parameters
    ----------
    learning_rate : float
        The rate up to the first boundary, above 0.
    boundaries : sequence of float
        The epochs at which another rate begins, rising.
    values : sequence of float
        The rate from each boundary on, at least 0; as many as there are boundaries.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range, or the lengths differ.
    """

    learning_rate: float
    _: KW_ONLY
    boundaries: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self, learning_rate="(0,inf)")
        boundaries = _check_numbers(self, "boundaries", rising=True)
        values = _check_numbers(self, "values", rising=False)
        if len(boundaries) != len(values):
            raise ValueError(
                must_be(
                    "values", f"{len(boundaries)} rates, one from each of the boundaries on", values,
                    "The rate before the first one is learning_rate.",
                )
            )  # fmt: skip

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        rates = np.array((self.learning_rate, *self.values))
        return _rates(rates[np.searchsorted(self.boundaries, _times(epoch), side="right")])


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class Exponential(Schedule):
    """A rate that falls by the same factor in each epoch (PyTorch's ExponentialLR, Keras's ExponentialDecay).

    Parameters
    ----------
    learning_rate : float
        The rate at the start, above 0.
    gamma : float
        The factor of an epoch, above 0 and at most 1. Keras's decay_rate and decay_steps are
        decay_rate**(steps of an epoch / decay_steps).
    staircase : bool
        Whether the rate changes only between epochs, as in PyTorch.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    learning_rate * gamma^epoch
    """

    learning_rate: float
    _: KW_ONLY
    gamma: float
    staircase: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self, learning_rate="(0,inf)", gamma="(0,1]")
        _check_flag(self, "staircase")

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        time = np.floor(_times(epoch)) if self.staircase else _times(epoch)
        return _rates(self.learning_rate * self.gamma**time)


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class InverseScaling(Schedule):
    """A rate that falls with a power of time (scikit-learn's "invscaling", Keras's InverseTimeDecay).

    Parameters
    ----------
    learning_rate : float
        The rate at the start, above 0.
    power : float
        The exponent, above 0: 1/2 is scikit-learn's choice, 1 Keras's.
    decay_rate : float
        How fast time goes, above 0. scikit-learn counts rows, not epochs: ``decay_rate=len(X)`` and
        ``staircase=True`` give its rates.
    staircase : bool
        Whether the rate changes only between epochs.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    learning_rate / (1 + decay_rate epoch)^power
    """

    learning_rate: float
    _: KW_ONLY
    power: float = 0.5
    decay_rate: float = 1.0
    staircase: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self, learning_rate="(0,inf)", power="(0,inf)", decay_rate="(0,inf)")
        _check_flag(self, "staircase")

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        time = np.floor(_times(epoch)) if self.staircase else _times(epoch)
        with np.errstate(over="ignore"):  # a divisor beyond all numbers makes the rate 0, which it is then
            return _rates(self.learning_rate / (1.0 + self.decay_rate * time) ** self.power)


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the rate down to `min_lr`, optionally after a warm-up and with restarts.

    Parameters
    ----------
    learning_rate : float
        The peak rate, above 0.
    epochs : float
        Where `min_lr` is reached, warm-up included: what `fit` gets as its `epochs`. After that the rate stays,
        or the cosine starts again.
    min_lr : float
        The lowest rate, at least 0 and at most `learning_rate`.
    warmup : float
        Epochs of a linear rise to `learning_rate` before, at least 0 and below `epochs`.
    start_factor : float
        The warm-up begins at this part of `learning_rate`, at least 0 and below 1. It begins with a step of rate 0
        by default; where an epoch is one step, this is an epoch in which nothing is learnt.
    restarts : bool
        Whether the cosine starts again at the peak when it has ended (warm restarts; the warm-up is not repeated).
    t_mult : float
        With restarts, the ratio of the lengths of successive cosines; at least 1. The first one takes
        ``epochs - warmup``.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range, or means nothing beside the others.

    Notes
    -----
    min_lr + (learning_rate - min_lr) (1 + cos(pi t / T)) / 2, t epochs after the start of a cosine of T epochs [1]_.
    PyTorch: CosineAnnealingLR, CosineAnnealingWarmRestarts; Keras: CosineDecay, CosineDecayRestarts, whose
    decay_steps do not contain the warm-up.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR, 2017.
    """

    learning_rate: float
    _: KW_ONLY
    epochs: float
    min_lr: float = 0.0
    warmup: float = 0.0
    start_factor: float = 0.0
    restarts: bool = False
    t_mult: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(
            self, learning_rate="(0,inf)", epochs="(0,inf)", min_lr="[0,inf)", warmup="[0,inf)", start_factor="[0,1)",
            t_mult="[1,inf)",
        )  # fmt: skip
        _check_flag(self, "restarts")
        if self.min_lr > self.learning_rate:
            raise ValueError(must_be("min_lr", f"at most learning_rate, {self.learning_rate!r}", self.min_lr))
        if self.warmup >= self.epochs:
            raise ValueError(must_be("warmup", f"below epochs, {self.epochs!r}, which contain it", self.warmup))
        if self.start_factor and not self.warmup:
            raise ValueError(f"start_factor={self.start_factor!r} is that of a warm-up; give warmup=1 (epochs), say.")
        if self.t_mult != 1.0 and not self.restarts:
            raise ValueError(f"t_mult={self.t_mult!r} is that of restarts; give restarts=True.")

    @property
    def end(self) -> float | None:
        """The epoch in which `min_lr` is reached; None with restarts."""
        return None if self.restarts else self.epochs

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        time = _times(epoch)
        length = self.epochs - self.warmup
        since = np.maximum(time - self.warmup, 0.0)
        if not self.restarts:
            part = np.minimum(since / length, 1.0)
        elif self.t_mult == 1.0:
            part = np.mod(since, length) / length
        else:
            # How many cosines have ended; number k starts at length (t_mult^k - 1) / (t_mult - 1). Where one ends, a
            # rounding of the logarithm would leave the rate at the bottom, not at the peak.
            growth = self.t_mult - 1.0
            count = np.floor(np.log1p(since / length * growth) / math.log(self.t_mult))
            count += since >= length * (self.t_mult ** (count + 1.0) - 1.0) / growth
            part = (since - length * (self.t_mult**count - 1.0) / growth) / (length * self.t_mult**count)
        rates = self.min_lr + (self.learning_rate - self.min_lr) * (1.0 + np.cos(np.pi * part)) / 2.0
        if self.warmup:
            rise = self.start_factor + (1.0 - self.start_factor) * np.minimum(time / self.warmup, 1.0)
            rates = np.where(time < self.warmup, self.learning_rate * rise, rates)
        return _rates(rates)


@immutable("Write model.optimizer = Adam({new}), or another optimizer with it.")
@explained
@dataclass(frozen=True)
class OneCycle(Schedule):
    """One rise and one longer fall, each half a cosine: the one-cycle policy in fastai's and PyTorch's two phases.

    Parameters
    ----------
    learning_rate : float
        The peak rate, above 0; `Model.lr_find` recommends one, `max_learning_rate`.
    epochs : float
        Length of the cycle, above 0: what `fit` gets as its `epochs`. After it the rate stays as it is.
    pct_start : float
        The rise's share of the cycle, above 0 and below 1.
    div_factor : float
        The start is at learning_rate / div_factor; at least 1.
    final_div_factor : float
        The end is at that rate / final_div_factor; at least 1.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    After [1]_; the momentum is left as it is. The curve is that of PyTorch's OneCycleLR, which spreads it over
    total_steps points, the last one included. Here the cycle of N steps is N intervals long.

    References
    ----------
    .. [1] L. N. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large learning
       rates", arXiv:1708.07120, 2018.
    """

    learning_rate: float
    _: KW_ONLY
    epochs: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(
            self, learning_rate="(0,inf)", epochs="(0,inf)", pct_start="(0,1)", div_factor="[1,inf)",
            final_div_factor="[1,inf)",
        )  # fmt: skip

    @property
    def end(self) -> float:
        """The last epoch of the cycle."""
        return self.epochs

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
        part = np.minimum(_times(epoch) / self.epochs, 1.0)
        first = self.learning_rate / self.div_factor
        last = first / self.final_div_factor
        rises = part < self.pct_start
        far = np.where(rises, first, last)
        from_peak = np.where(rises, 1.0 - part / self.pct_start, (part - self.pct_start) / (1.0 - self.pct_start))
        return _rates(far + (self.learning_rate - far) * (1.0 + np.cos(np.pi * from_peak)) / 2.0)


_BUILT_IN: dict[str, Callable[..., Schedule]] = {
    kind.__name__: kind for kind in (Constant, Step, PiecewiseConstant, Exponential, InverseScaling, Cosine, OneCycle)
}


def as_learning_rate(given: Any) -> LearningRate:
    """Check what a user gave as learning rate.

    Parameters
    ----------
    given : float, Schedule or callable
        A number above 0, a schedule, or a function that takes an epoch's number and returns its rate.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if isinstance(given, type):
        hint = f"Use an instance, such as {given.__name__}(...)."
        raise TypeError(must_be("learning_rate", "a number, a schedule or a function of the epoch", given, hint))
    if callable(given):
        return given
    return number_in("learning_rate", given, "(0, inf)")


def rates_of_steps(learning_rate: LearningRate, epoch: int, epochs: int, n_steps: int) -> Array:
    """Rates of all steps of some epochs.

    Parameters
    ----------
    learning_rate : float, Schedule or callable
        A plain callable is called once for each epoch, with its number.
    epoch : int
        Number of the first epoch.
    epochs : int
    n_steps : int
        Steps of an epoch.

    Returns
    -------
    (epochs, n_steps) float64

    Raises
    ------
    TypeError, ValueError
        If a rate is no finite number of at least 0; the text names the schedule and the epoch.
    """
    shape = (epochs, n_steps)
    if not callable(learning_rate):
        return np.broadcast_to(np.float64(learning_rate), shape)
    if isinstance(learning_rate, Schedule):
        times = np.arange(epoch, epoch + epochs)[:, None] + np.arange(n_steps) / n_steps
        given = learning_rate(times)
        try:
            rates = np.asarray(given, np.float64)
        except CONVERSION_ERRORS as error:
            raise TypeError(must_be(f"rates of learning_rate={shown(learning_rate)}", "numbers", given)) from error
        if rates.shape != shape:
            what = f"shape of the rates of learning_rate={shown(learning_rate)}"
            raise ValueError(must_be(what, f"{shape}, that of the times", rates.shape))
    else:
        each = np.array([_called(learning_rate, k) for k in range(epoch, epoch + epochs)])
        rates = np.broadcast_to(each[:, None], shape)
    bad = ~(np.isfinite(rates) & (rates >= 0.0))
    if bad.any():
        k, s = np.argwhere(bad)[0]
        what = f"rate of learning_rate={shown(learning_rate)} in epoch {epoch + k}"
        raise ValueError(must_be(what, "finite and at least 0", rates[k, s].item()))
    return rates


def rate_of_epoch(learning_rate: LearningRate, epoch: int) -> float:
    """Return the rate of the first step of an epoch; errors are those of `rates_of_steps`."""
    return float(rates_of_steps(learning_rate, epoch, 1, 1)[0, 0]) if callable(learning_rate) else float(learning_rate)


def _called(function: Callable[[int], float], epoch: int) -> float:
    rate: Any = function(epoch)
    if isinstance(rate, np.ndarray) and rate.ndim == 0:
        rate = rate.item()
    return real_number(f"rate of learning_rate={shown(function)} in epoch {epoch}", rate)


def to_state(learning_rate: LearningRate) -> Any:
    """Return a learning rate as JSON values; a custom callable is returned as it is."""
    name = type(learning_rate).__name__
    if type(learning_rate) is not _BUILT_IN.get(name):
        return learning_rate
    return [name, {field.name: getattr(learning_rate, field.name) for field in fields(learning_rate)}]


def from_state(state: Any) -> Any:
    """Make a learning rate from what `to_state` gave, or from the same read from JSON."""
    if not isinstance(state, list):
        return state
    name, settings = state
    return _BUILT_IN[name](**settings)
