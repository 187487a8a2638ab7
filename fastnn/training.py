"""Training: the loop over epochs, with callbacks, validation, the record and the ways in which it ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn.callbacks import Callback
from fastnn.engine import Shuffle, Sums, shuffled
from fastnn.evaluation import Rows, evaluate, values_of
from fastnn.history import History
from fastnn.kernels.layout import LOSS_NOT_FINITE, OK
from fastnn.progress import ProgressBar
from fastnn.team import Team

if TYPE_CHECKING:
    from fastnn.model import Model


class DivergenceError(FloatingPointError):
    """The loss or a weight stopped being finite; the model keeps its last finite weights.

    Attributes
    ----------
    epoch : int
        Number of the epoch, counted over all fits from 0.
    learning_rate : float
        The rate that was in use.
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
    """

    training: Rows
    validation: Rows | None
    epochs: int
    batch: int
    shuffle: bool
    callbacks: tuple[Callback, ...]
    progress: ProgressBar

    @property
    def unwatched(self) -> bool:
        """Whether nobody looks between epochs: then Python does not either, for a slice of time."""
        return not self.callbacks and self.validation is None and type(self.progress) is ProgressBar


def train(model: Model, fit: Fit) -> History:
    """Run the epochs of a `fit` on a model that is built; returns their record."""
    training, callbacks, progress = fit.training, fit.callbacks, fit.progress
    record = History({"epochs": fit.epochs, "batch_size": fit.batch, "rows": training.n, "shuffle": fit.shuffle})
    model.stop_training = False
    logs: dict[str, float] = {}
    for callback in callbacks:
        callback.model = model
    try:
        with model._team(model.flops_per_row(training=True) * training.n * fit.epochs) as team:
            order = np.empty(training.n, np.int64) if fit.shuffle and fit.batch < training.n else None
            for callback in callbacks:
                callback.on_train_begin({})
            k = 0
            while k < fit.epochs:
                epoch = model._epochs_done
                progress.start_epoch(k)
                for callback in callbacks:
                    callback.on_epoch_begin(epoch, {})
                if model.stop_training:
                    break
                rate = model.optimizer.learning_rate
                finished: list[tuple[Sums, float]] = []
                sums: Sums | None = None
                try:
                    sums = _run_epochs(model, fit, order, fit.epochs - k if fit.unwatched else 1, finished, team)
                finally:  # Ctrl-C may come as soon as the weights are those of a later epoch
                    for one, seconds in finished:
                        logs = {**values_of(model, one), "learning_rate": rate, "seconds": seconds}
                        model._epochs_done += 1
                        if fit.unwatched or sums is None:
                            record.append(model._epochs_done - 1, logs)
                            model.history.append(model._epochs_done - 1, logs)
                if sums.status != OK:
                    record.stopped = "diverged"
                    raise divergence(sums, model._epochs_done, rate, record)
                k += len(finished)
                if fit.unwatched:
                    continue
                if fit.validation is not None:
                    found = evaluate(model, fit.validation, team)
                    logs = {**values_of(model, sums), **{f"val_{name}": value for name, value in found.items()}} | {
                        "learning_rate": rate,
                        "seconds": finished[0][1],
                    }
                record.append(epoch, logs)
                model.history.append(epoch, logs)
                progress.end_epoch(logs)
                for callback in callbacks:
                    callback.on_epoch_end(epoch, dict(logs))
                if model.stop_training:
                    break
            if model.stop_training:
                record.stopped = "stop_training"
            for callback in callbacks:
                callback.on_train_end(dict(logs))
    except KeyboardInterrupt:
        record.stopped = "interrupted"
    finally:
        model.history.stopped = record.stopped
    return record


def _run_epochs(
    model: Model,
    fit: Fit,
    order: npt.NDArray[np.int64] | None,
    most: int,
    finished: list[tuple[Sums, float]],
    team: Team,
) -> Sums:
    """Run some epochs, at most so many; adds to `finished` as `Engine.train_epochs` does."""
    training = fit.training
    with model._turn:
        engine = model._built()
        shuffle = None
        if order is not None:
            shuffle = Shuffle(order, model.seed, model._epochs_done)
            if training.index is not None:  # the order is one of some rows
                order, shuffle = shuffled(order, model.seed, model._epochs_done), None
        epochs = 1
        if most > 1 and (order is None or shuffle is not None):
            epochs = min(most, engine.epochs_of_a_slice(training.n, fit.batch, team))
        return engine.train_epochs(
            training.data(order),
            epochs,
            finished,
            batch=fit.batch,
            optimizer=model.optimizer.code,
            rates=(model.optimizer.learning_rate, *model.optimizer.settings()),
            metrics=tuple(metric.code for metric in model.metrics),
            team=team,
            shuffle=shuffle,
            on_slice=_display(model, fit.progress),
        )


def _display(model: Model, progress: ProgressBar) -> Callable[[int, Sums], None]:
    """What shows the rows done and the sums so far after each slice."""

    def show(rows: int, sums: Sums) -> None:
        values = values_of(model, sums)
        progress.update(rows, values.pop("loss"), values)

    return show


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
