"""Callbacks: hooks called during training, which observe and control it.

Names, arguments and defaults are those of Keras where there is no reason against them.
"""

from __future__ import annotations

import csv
import inspect
import io
import math
import numbers
import os
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, overload

import numpy.typing as npt

from fastnn._representation import call_text
from fastnn._validation import (
    as_path,
    as_sequence,
    check_bool,
    finite_number,
    integer,
    must_be,
    number_in,
    positive_integer,
    reason,
    shown,
)
from fastnn._validation.names import check_suffix, closest, explained
from fastnn._validation.other_libraries import HOOKS
from fastnn.history import History, less_is_better
from fastnn.layers import Dense
from fastnn.metrics import Metric
from fastnn.optimizers import Optimizer, with_learning_rate

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "OptunaPruning",
    "ReduceLROnPlateau",
    "Snapshot",
    "Snapshots",
    "TerminateOnNaN",
]


def __dir__() -> list[str]:
    return __all__


Logs: TypeAlias = Mapping[str, float]
Mode: TypeAlias = Literal["auto", "min", "max"]

class Trainable(Protocol):
    """What a callback receives as `model`: a `fastnn.Model`, of which this names what callbacks use."""

    stop_training: bool | str

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; another one takes effect with the next epoch."""

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None: ...

    @property
    def layers(self) -> tuple[Dense, ...]:
        """The layers."""

    @property
    def history(self) -> History:
        """All epochs of all fits."""

    @property
    def weights(self) -> Sequence[Any]:
        """Views of the weights, (n_in, n_out) per layer."""

    @property
    def biases(self) -> Sequence[Any]:
        """Views of the biases, (n_out,) per layer."""

    def predict(self, X: Any) -> Any:
        """Return the outputs."""

    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Return loss and metrics."""

    def snapshot(self) -> Any:
        """Return a copy of the parameters, for `restore`."""

    def restore(self, snapshot: Any) -> None:
        """Set the parameters to those of a snapshot."""

    def check_serializable(self) -> None:
        """Raise TypeError unless `save` can write all of the model."""

    def save(self, path: Any) -> None:
        """Write the model into a file."""


class Callback:
    """Base class, with the methods' names of Keras; override those you need.

    A callback may read and write the model's weights, change its optimizer, and end the training by
    ``self.model.stop_training = True``. An error that it raises ends the training and reaches the caller;
    the model is then as after the last finished step.

    There are no methods for batches: an epoch is compiled code, which does not come back to Python between two steps.
    For work between steps use `Model.train_on_batch` in a loop of your own. A callback with another hook, such as
    ``on_batch_end``, is refused by `Model.fit`, as it would never be called.

    Attributes
    ----------
    call_every : int
        `on_epoch_end` is called after every `call_every` epochs of a fit, `on_epoch_begin` before the epochs that
        follow a call and before the first; 1. Where validation, a display or another callback needs no call in
        between, those epochs run in compiled code without a return to Python for them.
    model : Model
        The model in training; set before `on_train_begin`.
    params : dict
        What this training is: epochs, batch_size, rows, shuffle, and as "metrics" the names that the logs of each epoch
        will have; set before `on_train_begin`.
    """

    model: Trainable
    params: dict[str, Any]
    call_every: int = 1

    def __repr__(self) -> str:
        """Return a call with the arguments by position, and those by name that are not the defaults."""
        own, parameters = vars(self), inspect.signature(type(self)).parameters.values()
        if any(p.default is p.empty and p.name not in own for p in parameters):  # a class that keeps them elsewhere
            return super().__repr__()
        return call_text(self, {p.name: repr(own[p.name]) for p in parameters if p.name in own})

    def on_train_begin(self, logs: Logs) -> None:
        """Run before the first epoch.

        Parameters
        ----------
        logs : mapping of str to float
            Empty.
        """

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Run before an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0 over all fits.
        logs : mapping of str to float
            Empty.
        """

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0 over all fits.
        logs : mapping of str to float
            The values that History records: loss, val_loss, metrics and others.
        """

    def on_train_end(self, logs: Logs) -> None:
        """Run after the last epoch, also if training stops early, by Ctrl-C or by divergence.

        Parameters
        ----------
        logs : mapping of str to float
            The values of the last epoch.
        """


@explained
class EarlyStopping(Callback):
    """Stop when a value no longer improves, and go back to the best weights.

    Parameters
    ----------
    monitor : str
        Monitored value: a name of the History, such as "val_loss" or "val_accuracy".
    min_delta : float
        An improvement is a change by more than this.
    patience : int
        Epochs without improvement after which training ends; 0 and 1 both end it at the first.
    mode : {"auto", "min", "max"}
        Whether less or more is better. "auto" goes by the end of the name: less for loss and _error, more for accuracy,
        auc, r2 and _score.
    baseline : float or None
        Only improvements to a value better than this one reset the patience.
    restore_best_weights : bool
        Whether the model gets the weights of the best epoch when training ends: early, in time, by Ctrl-C or by
        divergence. Weights and biases only, with their running averages where the optimizer has `ema_momentum` (which
        are what val_loss is of): the rest of the optimizer's memory and its rate, History and the count of epochs
        stay those of the end. (`ModelCheckpoint` with save_best_only=True keeps all of them.)
    start_from_epoch : int
        Epochs of each fit, from its start, that are ignored.

    Attributes
    ----------
    best : float or None
        The best value of the last training.
    best_epoch : int or None
        The number of that epoch, counted over all fits.
    stopped_epoch : int or None
        The epoch after which training was stopped; None if it was not. `History.stopped` is then "early_stopping".
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        min_delta: float = 0.0,
        patience: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ) -> None:
        self._monitor = _Monitor(monitor, mode, min_delta)
        self.monitor, self.mode, self.min_delta = monitor, mode, self._monitor.min_delta
        self.patience = integer("patience", patience, least=0)
        self.baseline = None if baseline is None else finite_number("baseline", baseline)
        self.restore_best_weights = check_bool(restore_best_weights, "restore_best_weights")
        self.start_from_epoch = integer("start_from_epoch", start_from_epoch, least=0)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._best_weights: tuple[Any, Any] | None = None
        self._wait = 0
        self._skip = self.start_from_epoch

    def on_train_begin(self, logs: Logs) -> None:
        """Reset the state."""
        self._monitor.check(self)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Store the best weights; stop after `patience` epochs without improvement."""
        if self._skip:
            self._skip -= 1
            return
        value = self._monitor.read(logs)
        self._wait += 1
        if self._monitor.improves(value, self.best):
            if self.restore_best_weights:
                self._best_weights = self.model.snapshot()
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self._monitor.improves(value, self.baseline):
                self._wait = 0
        elif self._wait >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = "early_stopping"

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights."""
        if self._best_weights is not None:
            self.model.restore(self._best_weights)
            self._best_weights = None


@explained
class ModelCheckpoint(Callback):
    """Save the model after epochs, by `Model.save`; a model read by `fastnn.load` resumes bit-exactly.

    Parameters
    ----------
    filepath : path
        May hold ``{epoch}``, which as in Keras counts the finished epochs (the first file is of epoch 1), and the names
        of the History with their format: ``"net-{epoch:03d}-{val_loss:.3f}.npz"``. Folders are made.
        Without such fields each file replaces the one before.
    monitor, mode : as in `EarlyStopping`; they matter with `save_best_only`
    save_best_only : bool
        Whether to save only where `monitor` is better than ever in this training.
    save_freq : "epoch" or int
        Save after each epoch, or after each `save_freq` epochs.

    Attributes
    ----------
    best : float or None
        The best value of the last training, with `save_best_only`.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        *,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode = "auto",
        save_freq: Literal["epoch"] | int = "epoch",
    ) -> None:
        self.filepath = as_path("filepath", filepath)
        check_suffix("filepath", self.filepath)
        try:
            self._fields = {name for _, name, _, _ in string.Formatter().parse(self.filepath) if name is not None}
        except ValueError as error:
            constraint = "a path with valid fields"
            raise ValueError(must_be("filepath", constraint, self.filepath, f"{reason(error)}.")) from None
        self.save_best_only = check_bool(save_best_only, "save_best_only")
        self._monitor = _Monitor(monitor, mode, 0.0) if self.save_best_only else None
        self.monitor, self.mode = monitor, mode
        if type(save_freq) is str and save_freq != "epoch":
            raise ValueError(must_be("save_freq", "'epoch' or a number of epochs", save_freq))
        self.save_freq = save_freq
        self.call_every = 1 if type(save_freq) is str else positive_integer(save_freq, "save_freq")
        self.best: float | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Validate that the model can be saved and that the logs will have all names."""
        self.model.check_serializable()
        self.best = None
        if self._monitor is not None:
            self._monitor.check(self)
        known = ["epoch", *self.params["metrics"]]
        unknown = sorted(self._fields - set(known))
        if unknown:
            hint = f"The field {{{unknown[0]}}} is none of {', '.join(known)}."
            raise ValueError(must_be("filepath", "a path with names of this training as fields", self.filepath, hint))
        self._path(0, dict.fromkeys(known, 0.0))  # a format that suits no number

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save the model."""
        if self._monitor is not None:
            value = self._monitor.read(logs)
            if not self._monitor.improves(value, self.best):
                return
        path = self._path(epoch, logs)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.model.save(path)
        if self._monitor is not None:
            self.best = value

    def _path(self, epoch: int, logs: Logs) -> str:
        try:
            return self.filepath.format(**{**logs, "epoch": epoch + 1})
        except (ValueError, LookupError, AttributeError) as error:
            constraint = "a path whose fields format numbers"
            raise ValueError(must_be("filepath", constraint, self.filepath, f"{reason(error)}.")) from None


@explained
class ReduceLROnPlateau(Callback):
    """Multiply the learning rate by a factor when a value no longer improves.

    Parameters
    ----------
    monitor, mode, min_delta : as in `EarlyStopping`
    factor : float
        Above 0 and below 1.
    patience : int
        Epochs without improvement after which the rate is reduced.
    cooldown : int
        Epochs to wait after that, before those without improvement are counted again.
    min_lr : float
        The rate does not fall below.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self._monitor = _Monitor(monitor, mode, min_delta)
        self.monitor, self.mode, self.min_delta = monitor, mode, self._monitor.min_delta
        self.factor = number_in("factor", factor, "(0, 1)")
        self.patience = integer("patience", patience, least=0)
        self.cooldown = integer("cooldown", cooldown, least=0)
        self.min_lr = number_in("min_lr", min_lr, "[0, inf)")
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self._wait = 0
        self._cooling = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Reset the state."""
        self._monitor.check(self)
        _learning_rate(self)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Reduce the rate after `patience` epochs without improvement."""
        value = self._monitor.read(logs)
        if self._cooling > 0:
            self._cooling -= 1
            self._wait = 0
        if self._monitor.improves(value, self.best):
            self.best, self._wait = value, 0
        elif self._cooling == 0:
            self._wait += 1
            if self._wait >= self.patience:
                rate = _learning_rate(self)
                reduced = max(rate * self.factor, self.min_lr)
                if 0.0 < reduced < rate:
                    _set_learning_rate(self, reduced)
                    self._cooling, self._wait = self.cooldown, 0


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
        _learning_rate(self)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of the epoch."""
        rate = self.schedule(epoch, _learning_rate(self))
        try:
            _set_learning_rate(self, rate)
        except (TypeError, ValueError):
            what = f"schedule({epoch}, lr) of LearningRateScheduler"
            raise ValueError(must_be(what, "a finite number above 0", rate)) from None


@explained
class CSVLogger(Callback):
    """Write one line per epoch into a file: its number and the values that History records.

    Each line is in the file when the epoch ends, also if the process dies later.

    Parameters
    ----------
    filename : path
    separator : str
        One character.
    append : bool
        Whether to go on at the end of a file that is there, whose columns must be the same. Otherwise each training
        begins the file anew.
    """

    def __init__(self, filename: str | os.PathLike[str], *, separator: str = ",", append: bool = False) -> None:
        self.filename = as_path("filename", filename)
        if type(separator) is not str or len(separator) != 1:
            raise ValueError(must_be("separator", "one character", separator))
        try:
            csv.writer(io.StringIO(), delimiter=separator)
        except (TypeError, ValueError):
            raise ValueError(must_be("separator", "a character that can separate columns", separator)) from None
        self.separator = separator
        self.append = check_bool(append, "append")

    def on_train_begin(self, logs: Logs) -> None:
        """Write the names of the columns, or compare them."""
        columns = ["epoch", *self.params["metrics"]]
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="", encoding="utf-8") as file:
                there = next(csv.reader(file, delimiter=self.separator), None)
            if there == columns:
                return
            if there is not None:
                raise ValueError(
                    f"{self.filename!r} has the columns {', '.join(there)}, but this training gives "
                    f"{', '.join(columns)}: use another file, or append=False."
                )
        self._write(columns, "w")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        self._write([epoch, *(logs[name] for name in self.params["metrics"])], "a")

    def _write(self, row: list[Any], mode: str) -> None:
        with open(self.filename, mode, newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator, lineterminator="\n").writerow(row)


@dataclass(frozen=True)
class Snapshot:
    """The weights of a model between two epochs.

    Parameters
    ----------
    epoch : int
        Finished epochs, counted over all fits.
    loss : float
        The training loss of the last of them; NaN before the first epoch of the fit.
    weights : tuple of ndarray
        (n_in, n_out) for each layer.
    biases : tuple of ndarray
        (n_out,) for each layer.
    """

    epoch: int
    loss: float
    weights: tuple[npt.NDArray[Any], ...]
    biases: tuple[npt.NDArray[Any], ...]


@explained
class Snapshots(Callback, Sequence[Snapshot]):
    """Keep copies of weights and biases: before the first epoch, after every `every` epochs, and at the end.

    A sequence of `Snapshot`, emptied when the next training begins. The epochs between two copies run in compiled code
    as they would without this callback, with the same bits.

    Parameters
    ----------
    every : int
        Epochs between two copies.
    max_memory : int
        Most bytes that the copies may take, which is checked before the first epoch. They take those of the weights
        and biases, in the model's dtype, times `epochs` / `every` + 2.

    Raises
    ------
    MemoryError
        By `Model.fit`, if the copies of a training could take more.

    Notes
    -----
    A display, validation, a metric that is a function and the stopping rule of an estimator need each epoch, so with
    these the epochs run one by one, as they would without this callback.

    The copies are of what `Model.weights` and `Model.biases` hold, not of running averages. After Ctrl-C or divergence
    the last copy holds the weights of the last finished step. A callback that changes the weights when training ends,
    such as `EarlyStopping`, belongs behind this one in the list.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
    >>> model = fastnn.Model([4, 1], loss="binary_crossentropy", seed=0)
    >>> snapshots = fastnn.callbacks.Snapshots(every=200)
    >>> _ = model.fit(X, y, epochs=500, callbacks=snapshots)
    >>> [snapshot.epoch for snapshot in snapshots]
    [0, 200, 400, 500]
    >>> snapshots[-1].weights[0].shape
    (2, 4)
    """

    def __init__(self, every: int = 1, *, max_memory: int = 2**30) -> None:
        self.every = self.call_every = positive_integer(every, "every")
        self.max_memory = positive_integer(max_memory, "max_memory")
        self._kept: list[Snapshot] = []

    def on_train_begin(self, logs: Logs) -> None:
        """Check the memory."""
        each = sum(array.nbytes for array in (*self.model.weights, *self.model.biases))
        epochs = self.params["epochs"]
        if each * self._most(epochs, self.every) > self.max_memory:
            raise MemoryError(self._too_many(each, epochs))
        self._kept = []

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Keep the weights before the first epoch."""
        if not self._kept:
            self._keep(epoch, math.nan)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the weights."""
        self._keep(epoch + 1, logs["loss"])

    def on_train_end(self, logs: Logs) -> None:
        """Keep the weights after the last epoch, unless that is done."""
        if logs:
            epoch = self.model.history.epoch[-1] + 1
            if epoch > self._kept[-1].epoch:
                self._keep(epoch, logs["loss"])

    def _keep(self, epoch: int, loss: float) -> None:
        weights, biases = (tuple(a.copy() for a in given) for given in (self.model.weights, self.model.biases))
        self._kept.append(Snapshot(epoch, loss, weights, biases))

    @staticmethod
    def _most(epochs: int, every: int) -> int:
        """Return the number of copies of a training: at the start, and after every `every` epochs and the last."""
        return 1 - (-epochs // every)

    def _too_many(self, each: int, epochs: int) -> str:
        n = self._most(epochs, self.every)
        text = (
            f"Snapshots(every={self.every}) would keep {n:,} copies of {each:,} bytes in {epochs:,} epochs, the limit "
            f"is {self.max_memory:,} bytes: "
        )
        room = self.max_memory // each - 1  # copies after the first
        if room < 1:
            return f"{text}allow more by max_memory."
        return f"{text}give every={-(-epochs // room)}, or allow more by max_memory."

    def __len__(self) -> int:
        """Count the copies."""
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice) -> list[Snapshot]: ...
    def __getitem__(self, index: int | slice) -> Snapshot | list[Snapshot]:
        """Return a copy, or a list of copies, by position."""
        return self._kept[index]


@explained
class OptunaPruning(Callback):
    """Report a value to a trial of Optuna after each epoch, and end the trial when Optuna's pruner says so.

    Parameters
    ----------
    trial : optuna.trial.Trial
        Any object with its methods `report` and `should_prune`.
    monitor : str
        Name in the logs. Whether less or more is better is what the study says.

    Raises
    ------
    TypeError
        If `trial` has not these methods.

    Notes
    -----
    A pruned training ends by ``optuna.TrialPruned``, which `Study.optimize` counts as such; the model is then as after
    the epoch. A value that is not finite prunes the trial, too.

    Examples
    --------
    >>> def objective(trial):
    ...     rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    ...     model = fastnn.Model([16, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(rate), seed=0)
    ...     pruning = fastnn.callbacks.OptunaPruning(trial)
    ...     history = model.fit(X, y, epochs=20, validation_split=0.2, callbacks=pruning)
    ...     return history["val_loss"][-1]
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        for name in ("report", "should_prune"):
            if not callable(getattr(trial, name, None)):
                raise TypeError(must_be("trial", "an optuna.trial.Trial", trial))
        self._monitor = _Monitor(monitor, "min", 0.0)
        self.trial, self.monitor = trial, monitor
        self._epochs = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Validate that the value will be there."""
        self._monitor.check(self)
        self._epochs = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Report the value, and raise ``optuna.TrialPruned`` if the trial is to end."""
        value = self._monitor.read(logs)
        if math.isfinite(value):
            self.trial.report(value, self._epochs)
        self._epochs += 1
        if not math.isfinite(value) or self.trial.should_prune():
            import optuna  # the trial comes from it

            raise optuna.TrialPruned(f"{self.monitor} is {value:.4g} after {self._epochs} epochs.")


class TerminateOnNaN(Callback):
    """End the training quietly when the loss or a weight is no longer finite, instead of by `DivergenceError`.

    `History.stopped` is then "diverged", and the model keeps its last finite weights. The unfinished epoch is not
    recorded. A loss for validation that is not finite ends nothing.
    """


@explained
class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable or None
        ``function(epoch, logs)``
    on_train_begin, on_train_end : callable or None
        ``function(logs)``
    """

    def __init__(
        self,
        *,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise TypeError(must_be(name, "callable, or None", function))
            if function is not None:
                setattr(self, name, function)


class _Monitor:
    """A monitored value, and whether less or more is better."""

    def __init__(self, name: str, mode: str, min_delta: float) -> None:
        if type(name) is not str:
            raise TypeError(must_be("monitor", "a name such as 'val_loss'", name))
        self.name = name
        if type(mode) is not str or mode not in ("auto", "min", "max"):
            raise ValueError(must_be("mode", "'auto', 'min' or 'max'", mode))
        less = less_is_better(name) if mode == "auto" else mode == "min"
        # None: `check` raises, unless the name is missing
        self._sign = None if less is None else 1.0 if less else -1.0
        self.min_delta = number_in("min_delta", min_delta, "[0, inf)")

    def check(self, callback: Callback) -> None:
        """Validate that the logs will have the value, and that it is known whether less or more is better."""
        known = callback.params["metrics"]
        if self.name not in known:
            validated = any(name.startswith("val_") for name in known)
            if self.name.startswith("val_") and not validated:
                advice = " Give validation_data or validation_split to fit."
            else:
                advice = closest(_metric_in_logs(self.name), known)
            raise ValueError(
                f"{type(callback).__name__} has monitor={self.name!r}, which is missing: this training has "
                f"{', '.join(known)}.{advice}"
            )
        if self._sign is None:
            hint = "The name does not state whether less or more is better."
            raise ValueError(must_be("mode", f"'min' or 'max' for monitor={shown(self.name)}", "auto", hint))

    def read(self, logs: Logs) -> float:
        return logs[self.name]

    def improves(self, value: float, best: float | None) -> bool:
        """Return whether a value is better than another; NaN is not, and all else is better than None."""
        if best is None:
            return not math.isnan(value)
        assert self._sign is not None
        return self._sign * value + self.min_delta < self._sign * best


def _metric_in_logs(name: str) -> str:
    """Return the name that a metric has in the logs, of one of its other names."""
    prefix = "val_" if name.startswith("val_") else ""
    try:
        return prefix + Metric(name.removeprefix(prefix)).name
    except ValueError:
        return name


def _learning_rate(callback: Callback) -> float:
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


def _set_learning_rate(callback: Callback, rate: float) -> None:
    callback.model.optimizer = with_learning_rate(callback.model.optimizer, rate)


def _check_hooks(callback: Callback, k: int) -> None:
    """Raise TypeError if a callback has a method that looks like a hook and would never be called."""
    hooks = [name for name in dir(Callback) if name.startswith("on_")]
    for name in dir(callback):
        if not name.startswith("on_") or name in hooks:
            continue
        advice = f" {HOOKS[name]}" if name in HOOKS else closest(name, hooks, cutoff=0.85)
        if advice:
            raise TypeError(f"callbacks[{k}], {type(callback).__name__}, has {name}, which is never called.{advice}")


def as_callbacks(callbacks: Callback | Iterable[Callback] | None) -> tuple[Callback, ...]:
    """Validate the argument `callbacks` and return its callbacks as a tuple.

    Raises
    ------
    TypeError, ValueError
        If one is no `Callback`, or two contradict each other.
    """
    if callbacks is None:
        return ()
    if isinstance(callbacks, Callback):
        callbacks = (callbacks,)
    given = as_sequence("callbacks", "an instance of fastnn.Callback, or a list of instances", callbacks)
    for k, callback in enumerate(given):
        if not isinstance(callback, Callback):
            raise TypeError(must_be(f"callbacks[{k}]", "an instance of a class derived from fastnn.Callback", callback))
        _check_hooks(callback, k)
        positive_integer(callback.call_every, f"callbacks[{k}].call_every")
        for i, other in enumerate(given[:k]):
            if other is callback:
                raise ValueError(f"callbacks[{k}] is callbacks[{i}] once more: give each callback once.")
            if all(isinstance(one, EarlyStopping) and one.restore_best_weights for one in (other, callback)):
                raise ValueError(
                    f"callbacks[{i}] and callbacks[{k}] are both EarlyStopping with restore_best_weights=True, which "
                    "would set the weights twice: give one of them restore_best_weights=False."
                )
    return given
