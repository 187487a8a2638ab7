"""Loop over epochs, common to all training methods: record, validation, callbacks and display."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from fastnn._data.rows import AugmentationPlan, Rows
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_ADVERSARY
from fastnn._errors import DivergenceError
from fastnn._training.net import Net
from fastnn._training.objective import evaluate, function_metrics, names_of
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback, Trainable
from fastnn.history import LOGGED_SETTINGS, History


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The validated arguments of one call of `Model.fit`.

    Parameters
    ----------
    training : Rows
    validation : Rows or None
        None for no validation.
    epochs : int
        Epochs of descent, or iterations of a full-batch method.
    batch : int
        Rows per update, at most those of `training`.
    shuffle : bool
        Whether each epoch has an order of its own.
    model : Trainable
        What callbacks receive as `model`.
    callbacks : tuple of Callback
        In the order in which they are called.
    progress : ProgressBar
    max_seconds : float or None
        No epoch but the first begins later than this number of seconds after the start; None for no limit.
    augmentation : AugmentationPlan or None
    adversary : ndarray of `kernels.tables.Adversary`, (1,) or (0,)
        How descent moves the rows of a batch against the net before each step.
    batch_losses : list of (float, float) or None
        Descent appends for each epoch the mean over its batches, by their rows, of loss (over the batch's own sum of
        weights, without penalty) and penalty; None for neither.
    solver_unit : float or None
        Size of a loss of 1 for tolerances as scipy.optimize has them: the `gtol` of a solver is a multiple of it, its
        `ftol` a share of at least this loss. None for shares of the loss itself.
    penalty_weight : float
        Sum of the weights of a batch for which the penalty of the net holds; that of other batches is multiplied by
        this over their sum, at most by `MAX_PENALTY_FACTOR`. 0 for the same penalty of all batches.
    """

    training: Rows
    validation: Rows | None
    epochs: int
    batch: int
    shuffle: bool
    model: Trainable
    callbacks: tuple[Callback, ...] = ()
    progress: ProgressBar
    max_seconds: float | None = None
    augmentation: AugmentationPlan | None = None
    adversary: npt.NDArray[Any] = field(default_factory=lambda: NO_ADVERSARY)
    batch_losses: list[tuple[float, float]] | None = None
    penalty_weight: float = 0.0
    solver_unit: float | None = None


class TrainingMethod(Protocol):
    """Interface of a training method: a module of this package with these functions."""

    def check(self, net: Net) -> None:
        """Raise ValueError or MemoryError where the method cannot train a built net."""

    def work(self, net: Net, fit: Fit) -> int:
        """Return the floating-point operations that threads share before they synchronize in Python."""

    def run(self, loop: Loop) -> DivergenceError | None:
        """Run epochs until one of them ends the training; return the error to be raised where it diverged."""


class Loop:
    """State of one fit, and the steps before and after each of its epochs.

    Parameters
    ----------
    net : Net
        Built.
    fit : Fit
    record : History
        Filled epoch by epoch, with the reason why they ended.
    team : ThreadTeam

    Attributes
    ----------
    logs : dict of str to float
        Logs of the last epoch.
    n_done : int
        Finished epochs of this fit.
    """

    def __init__(self, net: Net, fit: Fit, record: History, team: ThreadTeam) -> None:
        self.net = net
        self.fit = fit
        self.record = record
        self.team = team
        self.logs: dict[str, float] = {}
        self.n_done = 0
        self._deadline = math.inf if fit.max_seconds is None else time.monotonic() + fit.max_seconds

    @property
    def needs_each_epoch(self) -> bool:
        """True if validation, the display or a metric that is a function needs control after each epoch."""
        return (
            self.fit.validation is not None
            or type(self.fit.progress) is not ProgressBar
            or not all(metric.compiled for metric in self.net.spec.metrics)
        )

    def epochs_at_once(self) -> int:
        """Return how many epochs may run before something needs control: a callback, or the end."""
        if self.needs_each_epoch:
            return 1
        until_called = [callback.call_every - self.n_done % callback.call_every for callback in self.fit.callbacks]
        return min(self.fit.epochs - self.n_done, *until_called, sys.maxsize)

    def log_keys(self) -> list[str]:
        """Return the names in the logs of each epoch, in their order."""
        names = names_of(self.net)
        validation = [] if self.fit.validation is None else [f"val_{name}" for name in names]
        settings = [name for name in LOGGED_SETTINGS if hasattr(self.net.optimizer, name)]
        return [*names, *validation, *settings, "seconds"]

    def begin_epoch(self) -> bool:
        """Return whether another epoch should run, after the callbacks for its beginning."""
        if self.n_done == self.fit.epochs or self.net.stop_training:
            return False
        if self.n_done and time.monotonic() >= self._deadline:
            self.record.stopped = "max_seconds"
            return False
        self.fit.progress.start_epoch(self.n_done)
        for callback in self._due():
            callback.on_epoch_begin(self.net.epochs_done, {})
        return not self.net.stop_training

    def end_epoch(self, values: dict[str, float], settings: dict[str, float], *, seconds: float) -> None:
        """Record the epoch that is done, with the metrics that are functions and validation; notify callbacks.

        Parameters
        ----------
        values : dict of str to float
            Loss and compiled metrics.
        settings : dict of str to float
            Those of `LOGGED_SETTINGS` that the optimizer has, at the end of the epoch.
        seconds : float
        """
        values = values | function_metrics(self.net, self.fit.training)
        if self.fit.validation is not None:
            found = evaluate(self.net, self.fit.validation, self.team)
            values |= {f"val_{name}": value for name, value in found.items()}
        self.record_epoch({**values, **settings, "seconds": seconds})
        self.fit.progress.end_epoch(self.logs)
        self.notify_of_end()

    def notify_of_end(self) -> None:
        """Notify the callbacks that are to be called after the epoch that is recorded."""
        for callback in self._due():
            callback.on_epoch_end(self.net.epochs_done - 1, dict(self.logs))

    def _due(self) -> list[Callback]:
        """Return the callbacks that are called after this number of epochs."""
        return [callback for callback in self.fit.callbacks if self.n_done % callback.call_every == 0]

    def record_epoch(self, logs: dict[str, float]) -> None:
        """Record the epoch that is done."""
        self.logs = logs
        self.n_done += 1
        for history in (self.record, self.net.history):
            history.append(self.net.epochs_done - 1, logs)
