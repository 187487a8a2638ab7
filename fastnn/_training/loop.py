"""Training: the loop over epochs, with callbacks, validation, the record and the ways in which it ends."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._engine.engine import AugmentationPlan, RunOptions, Shuffle, StepOptions, Sums, shuffled
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_NUMBERS
from fastnn._training.objective import Rows, compiled_metrics, evaluate, function_metrics, names_of, values_of
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback, TerminateOnNaN
from fastnn.history import History
from fastnn.kernels.tables import LOSS_NOT_FINITE, OK, WEIGHTS_NOT_FINITE
from fastnn.optimizers import Solver
from fastnn.schedules import Schedule, rates_of_steps

if TYPE_CHECKING:
    from fastnn.model import Model

#: Settings of optimizers that may change from epoch to epoch, so that each epoch tells them.
LOGGED_SETTINGS = ("learning_rate", "mu")


class DivergenceError(FloatingPointError):
    """The loss or a weight stopped being finite; the model keeps its last finite weights.

    Attributes
    ----------
    epoch : int
        Number of the epoch, counted over all fits from 0.
    learning_rate : float
        The rate of the step that failed; NaN for a solver.
    history : History
        What the epochs before told.
    """

    def __init__(self, message: str, *, epoch: int, learning_rate: float, history: History) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.learning_rate = learning_rate
        self.history = history

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: a pool of processes could not hand on the error otherwise, and would wait for ever."""
        settings: dict[str, Any] = {"epoch": self.epoch, "learning_rate": self.learning_rate, "history": self.history}
        return functools.partial(type(self), **settings), (str(self),)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What one call of `Model.fit` asks for, checked.

    Parameters
    ----------
    training, validation : rows; None is no validation
    epochs : how many
    batch : rows an update, at most those of `training`
    shuffle : whether each epoch has an order of its own
    callbacks : in the order in which they are called
    progress : the display
    max_seconds : no epoch but the first begins later than this after the start; None is no limit
    changes : what chance does to the rows; None for nothing
    """

    training: Rows
    validation: Rows | None
    epochs: int
    batch: int
    shuffle: bool
    callbacks: tuple[Callback, ...]
    progress: ProgressBar
    max_seconds: float | None
    changes: AugmentationPlan | None = None


def train(model: Model, fit: Fit) -> History:
    """Run the epochs of a `fit` on a model that is built; returns their record."""
    params = {"epochs": fit.epochs, "batch_size": fit.batch, "rows": fit.training.n, "shuffle": fit.shuffle}
    record = History(params)
    begun: list[Callback] = []
    error: DivergenceError | None = None
    method, work = descend, model.flops_per_row(training=True) * fit.training.n * fit.epochs
    if isinstance(model.optimizer, Solver):
        from fastnn._training import full_batch  # which imports this module

        full_batch.check(model)
        method, work = full_batch.solve, full_batch.work_to_share(model, fit.training.n)
    try:
        with model._team(work) as team:
            loop = Loop(model, fit, record, team)
            model.stop_training = False
            for callback in fit.callbacks:
                callback.model = model
                callback.params = {**params, "metrics": loop.log_keys()}
            try:
                for callback in fit.callbacks:
                    callback.on_train_begin({})
                    begun.append(callback)
                error = method(loop)
                if error is not None:
                    record.stopped = "diverged"
                    if any(isinstance(callback, TerminateOnNaN) for callback in fit.callbacks):
                        error = None
                elif model.stop_training:
                    record.stopped = model.stop_training if isinstance(model.stop_training, str) else "stop_training"
            except KeyboardInterrupt:
                record.stopped = "interrupted"
            model.history.stopped = record.stopped
            for callback in begun:
                callback.on_train_end(dict(loop.logs))
    except KeyboardInterrupt:
        record.stopped = "interrupted"
    finally:
        model.history.stopped = record.stopped
    if error is not None:
        raise error
    return record


class Loop:
    """What surrounds the epochs of one fit, whatever runs them: the record, validation, callbacks, the display.

    Attributes
    ----------
    model, fit, team : what is trained, as was asked, by these threads
    record : what the epochs tell, and why they ended
    logs : that of the last epoch
    n_done : epochs of this fit that are done
    """

    def __init__(self, model: Model, fit: Fit, record: History, team: ThreadTeam) -> None:
        self.model = model
        self.fit = fit
        self.record = record
        self.team = team
        self.logs: dict[str, float] = {}
        self.n_done = 0
        self._deadline = math.inf if fit.max_seconds is None else time.monotonic() + fit.max_seconds

    @property
    def can_fuse_epochs(self) -> bool:
        """Whether nobody looks between epochs: then Python does not either, for a slice of time."""
        return (
            not self.fit.callbacks
            and self.fit.validation is None
            and type(self.fit.progress) is ProgressBar
            and all(metric.compiled for metric in self.model.metrics)
        )

    def log_keys(self) -> list[str]:
        """Names of what each epoch tells, in their order."""
        names = names_of(self.model)
        validation = [] if self.fit.validation is None else [f"val_{name}" for name in names]
        told = [name for name in LOGGED_SETTINGS if hasattr(self.model.optimizer, name)]
        return [*names, *validation, *told, "seconds"]

    def begin_epoch(self) -> bool:
        """Tell that an epoch begins; returns whether it should."""
        if self.n_done == self.fit.epochs or self.model.stop_training:
            return False
        if self.n_done and time.monotonic() >= self._deadline:
            self.record.stopped = "max_seconds"
            return False
        self.fit.progress.start_epoch(self.n_done)
        for callback in self.fit.callbacks:
            callback.on_epoch_begin(self.model._epochs_done, {})
        return not self.model.stop_training

    def end_epoch(self, values: dict[str, float], settings: dict[str, float], *, seconds: float) -> None:
        """Tell of the epoch that is done: to its loss and compiled metrics comes all else.

        `settings` are those of `LOGGED_SETTINGS` that the optimizer has, as they were at the end.
        """
        values = values | function_metrics(self.model, self.fit.training)
        if self.fit.validation is not None:
            found = evaluate(self.model, self.fit.validation, self.team)
            values |= {f"val_{name}": value for name, value in found.items()}
        self.record_epoch({**values, **settings, "seconds": seconds})
        self.fit.progress.end_epoch(self.logs)
        for callback in self.fit.callbacks:
            callback.on_epoch_end(self.model._epochs_done - 1, dict(self.logs))

    def record_epoch(self, logs: dict[str, float]) -> None:
        """Record the epoch that is done."""
        self.logs = logs
        self.n_done += 1
        for history in (self.record, self.model.history):
            history.append(self.model._epochs_done - 1, logs)


def descend(loop: Loop) -> DivergenceError | None:
    """Run epochs of descent until something ends them; returns the error to be raised where it diverged."""
    model, fit, can_fuse_epochs = loop.model, loop.fit, loop.can_fuse_epochs
    order = np.empty(fit.training.n, np.int64) if fit.shuffle and fit.batch < fit.training.n else None
    while loop.begin_epoch():
        most = fit.epochs - loop.n_done if can_fuse_epochs else 1
        finished: list[tuple[Sums, float]] = []
        rates: list[npt.NDArray[np.float64]] = []
        steps_before = model._built().steps_done
        sums: Sums | None = None
        try:
            sums = _run_epochs(model, fit, order, most, finished, rates, loop.team)
        finally:  # Ctrl-C may come as soon as the weights are those of a later epoch
            for (one, seconds), rates_of_epoch in zip(finished, rates, strict=False):
                rate = float(rates_of_epoch[-1])
                model._epochs_done += 1
                if can_fuse_epochs or sums is None:
                    loop.record_epoch({**values_of(model, one), "learning_rate": rate, "seconds": seconds})
        if sums.status != OK:
            # After a loss that is not finite there was no step, but weights are looked at after theirs.
            failed = model._built().steps_done - steps_before - (sums.status == WEIGHTS_NOT_FINITE)
            rate = float(rates[failed // len(rates[0])][failed % len(rates[0])])
            return divergence(sums, model._epochs_done, rate, loop.record)
        if not can_fuse_epochs:
            loop.end_epoch(values_of(model, sums), {"learning_rate": rate}, seconds=finished[0][1])
    return None


def _run_epochs(
    model: Model,
    fit: Fit,
    order: npt.NDArray[np.int64] | None,
    most: int,
    finished: list[tuple[Sums, float]],
    rates: list[npt.NDArray[np.float64]],
    team: ThreadTeam,
) -> Sums:
    """Run some epochs, at most so many.

    Adds to `finished` as `Engine.train_epochs` does, and before that to `rates` the rates of each epoch's steps.
    """
    training = fit.training
    assert not isinstance(model.optimizer, Solver)
    with model._kernel_lock:
        engine = model._built()
        shuffle = None
        if order is not None:
            shuffle = Shuffle(order, model.seed, model._epochs_done)
            if training.index is not None:  # the order is one of some rows
                order, shuffle = shuffled(order, model.seed, model._epochs_done), None
        epochs = 1
        rate = model.optimizer.learning_rate
        # A function of the user's is called when its epoch begins, and may look at the model then.
        known = isinstance(rate, Schedule) or not callable(rate)
        if most > 1 and known and (order is None or shuffle is not None):
            epochs = min(most, engine.epochs_per_slice(training.n, fit.batch, team))
        new_rates = rates_of_steps(rate, model._epochs_done, epochs, -(-training.n // fit.batch))
        rates.extend(new_rates)
        return engine.train_epochs(
            training.data(order),
            epochs,
            finished,
            _step_options(model, float(new_rates[0, 0])),
            RunOptions(
                batch=fit.batch,
                metrics=compiled_metrics(model),
                shuffle=shuffle,
                seed=model.seed,
                changes=fit.changes,
                step_rates=np.array(new_rates, order="C").reshape(-1) if callable(rate) else NO_NUMBERS,
            ),
            team=team,
            on_slice=_display(model, fit.progress),
        )


def _step_options(model: Model, learning_rate: float) -> StepOptions:
    """Return the optimizer's settings in the engine's terms."""
    optimizer = model.optimizer
    assert not isinstance(optimizer, Solver)
    return StepOptions(
        optimizer=optimizer.rule.code,
        rates=(learning_rate, *optimizer.hyper),
        weight_decay=optimizer.weight_decay,
        clip_value=optimizer.clipvalue or 0.0,
        clip_norm=optimizer.global_clipnorm or 0.0,
        ema_decay=optimizer.ema_momentum or 0.0,
    )


def _display(model: Model, progress: ProgressBar) -> Callable[[int, Sums], None]:
    """What shows the rows done and the sums so far after each slice."""

    def show(rows: int, sums: Sums) -> None:
        values = values_of(model, sums)
        progress.update(rows, values.pop("loss"), values)

    return show


def train_on_batch(model: Model, rows: Rows) -> dict[str, float]:
    """Make one update by all rows, on a model that is built; returns loss and metrics before it."""
    assert not isinstance(model.optimizer, Solver)
    with model._kernel_lock, model._team(model.flops_per_row(training=True) * rows.n) as team:
        metrics = function_metrics(model, rows)
        rate = float(rates_of_steps(model.optimizer.learning_rate, model._epochs_done, 1, 1)[0, 0])
        sums = model._built().train_epoch(
            rows.data(),
            _step_options(model, rate),
            RunOptions(batch=rows.n, metrics=compiled_metrics(model), seed=model.seed),
            team=team,
        )
    if sums.status != OK:
        raise divergence(sums, model._epochs_done, rate, model.history)
    return values_of(model, sums) | metrics


def divergence(sums: Sums, epoch: int, rate: float, record: History) -> DivergenceError:
    """The error of a run that ended because something was not finite."""
    what = "the loss" if sums.status == LOSS_NOT_FINITE else "a weight"
    return DivergenceError(
        f"training diverged in epoch {epoch}: {what} is no longer finite with learning_rate={rate:g}. The model "
        "keeps its last finite weights. Try a smaller learning_rate (a tenth), or data scaled to about 1.",
        epoch=epoch,
        learning_rate=rate,
        history=record,
    )
