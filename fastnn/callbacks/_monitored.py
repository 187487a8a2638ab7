"""Callbacks that follow one value of the logs."""

from __future__ import annotations

import math
import os
import string
from typing import Any, Literal

from fastnn._validation import (
    as_path,
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
from fastnn.callbacks._base import Callback, Logs, Mode
from fastnn.callbacks._rates import rate_of, set_rate
from fastnn.history import less_is_better
from fastnn.metrics import Metric


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
        rate_of(self)
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
                rate = rate_of(self)
                reduced = max(rate * self.factor, self.min_lr)
                if 0.0 < reduced < rate:
                    set_rate(self, reduced)
                    self._cooling, self._wait = self.cooldown, 0


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
