"""Callbacks that set the learning rate by the epoch."""

from __future__ import annotations

import numbers
from collections.abc import Callable

from fastnn._validation import must_be
from fastnn._validation.names import explained
from fastnn.callbacks._base import Callback, Logs
from fastnn.optimizers import with_learning_rate


@explained
class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, lr) -> rate``, of the epoch's number, counted from 0 over all fits, and the present rate.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule) or isinstance(schedule, type):
            raise TypeError(must_be("schedule", "a function schedule(epoch, lr) -> rate", schedule))
        self.schedule = schedule

    def on_train_begin(self, logs: Logs) -> None:
        """Validate that the optimizer has a rate that can be set."""
        rate_of(self)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of the epoch."""
        rate = self.schedule(epoch, rate_of(self))
        try:
            set_rate(self, rate)
        except (TypeError, ValueError):
            what = f"schedule({epoch}, lr) of LearningRateScheduler"
            raise ValueError(must_be(what, "a finite number above 0", rate)) from None


def rate_of(callback: Callback) -> float:
    """Return the rate of the model's optimizer, which must be a number."""
    optimizer = callback.model.optimizer
    rate = getattr(optimizer, "learning_rate", None)
    if not isinstance(rate, numbers.Real):
        what, advice = f"has learning_rate={rate!r}, which sets it already", "give the optimizer a number"
        if rate is None:
            what, advice = "has none", "take an optimizer such as Adam"
        raise ValueError(
            f"{type(callback).__name__} sets the optimizer's learning_rate, but {type(optimizer).__name__} {what}: "
            f"leave the callback out, or {advice}."
        )
    return float(rate)


def set_rate(callback: Callback, rate: float) -> None:
    callback.model.optimizer = with_learning_rate(callback.model.optimizer, rate)
