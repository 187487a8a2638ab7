"""Exceptions and warnings defined by fastnn."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import Any

from fastnn.history import History


class DivergenceError(FloatingPointError):
    """The loss or a weight is no longer finite; the model keeps its last finite weights.

    Attributes
    ----------
    epoch : int
        Number of the epoch, counted over all fits from 0.
    learning_rate : float
        Learning rate of the step that failed; NaN for a full-batch solver.
    history : History
        The epochs before it.
    """

    def __init__(self, message: str, *, epoch: int, learning_rate: float, history: History) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.learning_rate = learning_rate
        self.history = history

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the state for pickle: without it a process pool could not return the error, and would block."""
        settings: dict[str, Any] = {"epoch": self.epoch, "learning_rate": self.learning_rate, "history": self.history}
        return functools.partial(type(self), **settings), (str(self),)


class TrainingWarning(UserWarning):
    """A training runs, but its data, learning rate or schedule make a good result unlikely; the text states the cure.

    ``warnings.filterwarnings("ignore", category=fastnn.TrainingWarning)`` hides all of them.
    """


TrainingWarning.__module__ = "fastnn"
DivergenceError.__module__ = "fastnn"  # the public path, for pickles and tracebacks


def warn(text: str, category: type[Warning] = TrainingWarning) -> None:
    """Issue a warning at the line outside of this package that led to it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastnn":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
