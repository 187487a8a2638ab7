"""Training of the scikit-learn estimators: scikit-learn's stopping rules over epochs of `fastnn._training`.

The state between epochs is a `StoppingState`; the estimator copies it into scikit-learn's attributes. `_losses`
converts the losses.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import optimizers
from fastnn._data.rows import Rows
from fastnn._errors import DivergenceError
from fastnn._training import descent
from fastnn._training.fit import train
from fastnn._training.loop import Fit
from fastnn._training.net import Net
from fastnn._training.objective import evaluate
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback
from fastnn.estimators._losses import EpochLosses, mean_batch_weight, scale_of, scaled
from fastnn.history import LOGGED_SETTINGS, History
from fastnn.losses import Loss
from fastnn.model import Model, net_of
from fastnn.regularizers import L2

Array = npt.NDArray[Any]

#: Adaptive learning rate at or below which training ends instead of the next division.
_SMALLEST_ADAPTIVE_RATE = 1e-6

#: Smallest rate of "invscaling" as a share of the initial one: the steps of smaller ones are below rounding, and a
#: velocity divided by them would exceed the range of float32.
_SMALLEST_SHARE_OF_RATE = 1e-25

_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings of the training of an estimator; see `MLPClassifier` for parameters of the same name.

    Parameters
    ----------
    objective : Loss
        The loss, as `Model` has it.
    n_outputs : int
        Outputs of the net.
    solver : object
        Named by warnings.
    learning_rate : str
        "constant", "invscaling" or "adaptive"; the latter two for SGD alone.
    callbacks : tuple of Callback
    """

    objective: Loss
    n_outputs: int
    solver: Any
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool
    early_stopping: bool
    n_iter_no_change: float
    callbacks: tuple[Callback, ...]

    @property
    def scale(self) -> float:
        """Ratio of the gradients of the Model to those of scikit-learn (see `_losses`)."""
        return scale_of(self.objective, self.n_outputs)


@dataclasses.dataclass
class StoppingState:
    """State between epochs, and between fits that continue.

    Parameters
    ----------
    optimizer : Optimizer
        In scikit-learn's scale, with the present rate.
    n_iter, t : int
        Epochs of this fit; rows processed in all fits.
    loss : float
        Loss of the last epoch.
    loss_curve : list of float
    validation_loss_curve : list of float or None
        NaN for epochs without validation rows; None without any.
    history : History
        One row per epoch of `loss_curve`.
    best_loss : float or None
        None with early stopping.
    validation_scores, best_validation_score, best_weights
        None without early stopping.
    no_improvement_count : int
    """

    optimizer: optimizers.Optimizer
    n_iter: int = 0
    t: int = 0
    loss: float = math.nan
    loss_curve: list[float] = dataclasses.field(default_factory=list)
    validation_loss_curve: list[float] | None = None
    history: History = dataclasses.field(default_factory=History)
    best_loss: Any = math.inf
    validation_scores: Any = None
    best_validation_score: Any = None
    best_weights: list[Array] | None = None
    no_improvement_count: int = 0


@dataclasses.dataclass(frozen=True)
class Task:
    """Model, training rows and validation rows of a fit.

    Parameters
    ----------
    model : Model
    rows : Rows
    held_back : Rows or None
        Validation rows.
    score : callable
        Returns the score of the present weights for the validation rows, given their loss; larger is better.
    """

    model: Model
    rows: Rows
    held_back: Rows | None
    score: Callable[[float], float]

    @property
    def net(self) -> Net:
        """The net of the model."""
        return net_of(self.model)


def _set_up(
    task: Task, rules: Rules, optimizer: optimizers.Optimizer, batch: int, *, shuffle: bool = False
) -> EpochLosses:
    """Set optimizer and penalty of the model for batches of `batch` rows; return the conversion of losses."""
    task.model.optimizer = scaled(optimizer, rules.scale)
    task.model.regularizer = L2(rules.scale * rules.alpha / (2 * mean_batch_weight(task.rows, batch)))
    net = task.net
    return EpochLosses(
        task.rows,
        task.held_back,
        rules.objective,
        rules.n_outputs,
        batch=batch,
        shuffle=shuffle,
        seed=net.spec.seed,
        epoch=net.epochs_done,
    )


def _final_weights(model: Model) -> list[Array]:
    """Return copies of the weights, then biases, used for predictions: the averages if there are any."""
    weights, biases = model.averages or (model.weights, model.biases)
    return [w.copy() for w in (*weights, *biases)]


class Recorder:
    """Record of a fit.

    Parameters
    ----------
    rules : Rules
    state : StoppingState
        Changed after each epoch.
    losses : EpochLosses
    """

    def __init__(self, rules: Rules, state: StoppingState, losses: EpochLosses) -> None:
        self._rules = rules
        self._state = state
        self._losses = losses
        # Rates of SGD are divided by the scale (see `scaled`).
        self._rate_unit = rules.scale if isinstance(state.optimizer, optimizers.SGD) else 1.0

    def record(self, values: Mapping[str, float]) -> None:
        """Record an epoch from the values that training reports."""
        self._append(values)
        self._end_epoch(values)
        if self._state.loss < self._state.best_loss:
            self._state.best_loss = self._state.loss

    def record_all(self, history: Mapping[str, list[float]]) -> None:
        """Record the epochs of a History."""
        for values in zip(*history.values(), strict=True):
            self.record(dict(zip(history, values, strict=True)))

    def _append(self, values: Mapping[str, float]) -> None:
        """Append the losses of an epoch to the curves."""
        state = self._state
        state.n_iter += 1
        state.loss = self._losses(values)
        state.loss_curve.append(state.loss)
        self._append_validation_loss(self._losses.of_validation(values))
        self._print(f"Iteration {state.n_iter}, loss = {state.loss:.8f}")

    def _append_validation_loss(self, loss: float | None) -> None:
        state = self._state
        if state.validation_loss_curve is None and loss is not None:
            state.validation_loss_curve = [math.nan] * (len(state.loss_curve) - 1)
        if state.validation_loss_curve is not None:
            state.validation_loss_curve.append(math.nan if loss is None else loss)

    def _end_epoch(self, values: Mapping[str, float], score: float | None = None) -> None:
        """Append the epoch to the History."""
        state = self._state
        row = {"loss": state.loss}
        if state.validation_loss_curve is not None:
            row["val_loss"] = state.validation_loss_curve[-1]
        if score is not None:
            row["val_score"] = score
        for name in (*LOGGED_SETTINGS, "seconds"):
            if name in values:
                row[name] = values[name] * self._rate_unit if name == "learning_rate" else values[name]
        state.history.append(len(state.history), row)

    def _print(self, text: str) -> None:
        if self._rules.verbose:
            print(text)


class StoppingMonitor(Recorder, Callback):
    """Record each epoch and end the training by scikit-learn's stopping rules.

    Parameters
    ----------
    task : Task
        With validation rows and `early_stopping` their score decides on stopping, else the training loss.
    rules : Rules
    state : StoppingState
        Changed after each epoch.
    losses : EpochLosses

    Attributes
    ----------
    stop : str
        The reason why a rule ends the training; empty where none does.
    """

    def __init__(self, task: Task, rules: Rules, state: StoppingState, losses: EpochLosses) -> None:
        super().__init__(rules, state, losses)
        self.stop = ""
        self._task = task
        self._scores = task.held_back is not None and rules.early_stopping
        self._rate_rule = rules.learning_rate if isinstance(state.optimizer, optimizers.SGD) else "constant"

    @property
    def needs_each_epoch(self) -> bool:
        """Whether a rule needs control between epochs."""
        return self._scores or self._rate_rule == "invscaling" or self._rules.verbose

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record the epoch that ended, and stop the training if a rule requires it."""
        self.record(logs)
        if self.stop:
            self._task.model.stop_training = self.stop

    def record(self, values: Mapping[str, float]) -> None:
        """Record an epoch from the values that training reports, and apply the rules."""
        self._append(values)
        score = None
        if self._scores:
            curve = self._state.validation_loss_curve
            assert curve is not None
            score = self._task.score(curve[-1])
        self._apply(values, score)

    def fail(self) -> None:
        """Record an epoch in which the loss was no longer finite."""
        state = self._state
        state.n_iter += 1
        state.loss = math.nan
        state.loss_curve.append(math.nan)
        self._append_validation_loss(None)
        self._print(f"Iteration {state.n_iter}, loss = nan")
        self._apply({}, math.nan)
        self.stop = "diverged"

    def _apply(self, values: Mapping[str, float], score: float | None) -> None:
        state, tol = self._state, self._rules.tol
        state.t += self._task.rows.n
        if score is None:
            better, enough = state.loss < state.best_loss, not state.loss > state.best_loss - tol
            if better:
                state.best_loss = state.loss
        else:
            self._print(f"Validation score: {score:f}")
            state.validation_scores.append(score)
            better, enough = score > state.best_validation_score, score >= state.best_validation_score + tol
            if better:
                state.best_validation_score = score
                state.best_weights = _final_weights(self._task.model)
        self._end_epoch(values, score)
        state.no_improvement_count = 0 if enough else state.no_improvement_count + 1
        if self._rate_rule == "invscaling":
            self._set_rate(self._inverse_scaling())
        if state.no_improvement_count > self._rules.n_iter_no_change:
            self._on_patience_exhausted()

    def _on_patience_exhausted(self) -> None:
        rules = self._rules
        what, reason = ("Validation score", "early_stopping") if self._scores else ("Training loss", "converged")
        message = f"{what} did not improve more than tol={rules.tol:f} for {rules.n_iter_no_change} consecutive epochs."
        if self._rate_rule != "adaptive":
            self._print(f"{message} Stopping.")
            self.stop = reason
            return
        rate = getattr(self._state.optimizer, "learning_rate")  # noqa: B009  # SGD, as _rate_rule implies
        if rate <= _SMALLEST_ADAPTIVE_RATE:
            self._print(f"{message} Learning rate too small. Stopping.")
            self.stop = reason
            return
        self._set_rate(rate / 5)
        self._print(f"{message} Setting learning rate to {rate / 5:f}")
        self._state.no_improvement_count = 0

    def _inverse_scaling(self) -> float:
        rules = self._rules
        with np.errstate(over="ignore"):
            rate = rules.learning_rate_init / np.float64(self._state.t + 1) ** rules.power_t
        return max(float(rate), rules.learning_rate_init * _SMALLEST_SHARE_OF_RATE)

    def _set_rate(self, rate: float) -> None:
        """Set the rate of the next epochs without a change of the velocity, which scikit-learn's contains the rate of.

        A slot of SGD contains the velocity divided by the rate.
        """
        optimizer = self._state.optimizer
        assert isinstance(optimizer, optimizers.SGD)
        assert isinstance(optimizer.learning_rate, float)
        self._state.optimizer = optimizers.with_learning_rate(optimizer, rate)
        self._task.model.optimizer = scaled(self._state.optimizer, self._rules.scale)
        net = self._task.net
        with net.kernel_lock:
            net.built().slots[: optimizer.n_slots] *= optimizer.learning_rate / rate


def descend(task: Task, rules: Rules, state: StoppingState, incremental: bool) -> None:
    """Run the epochs of a stochastic solver until a rule ends them; one epoch where `incremental`.

    Raises
    ------
    ValueError
        If training diverges without early stopping; the weights are then the last finite ones.
    KeyboardInterrupt
        After Ctrl-C; the weights are those of the last finished step.
    """
    net, rows = task.net, task.rows
    batch = _batch_size(rules, rows.n)
    losses = _set_up(task, rules, state.optimizer, batch, shuffle=rules.shuffle)
    monitor = StoppingMonitor(task, rules, state, losses)
    each_epoch = bool(rules.callbacks) or monitor.needs_each_epoch
    state.n_iter = 0
    left = 1 if incremental else rules.max_iter
    stopped = None
    fit = Fit(
        training=rows,
        validation=task.held_back,
        epochs=left if each_epoch else min(left, _epochs_of_a_round(rules, state)),
        batch=batch,
        shuffle=rules.shuffle,
        model=task.model,
        callbacks=(*rules.callbacks, monitor) if each_epoch else (),
        progress=ProgressBar(),
        batch_losses=losses.batch_losses,
        penalty_weight=losses.penalty_weight,
    )

    def run() -> str | None:
        nonlocal fit, left
        stopped = None
        with net.team(descent.work(net, fit)) as team:
            net.check_weights()
            if each_epoch:
                return train(net, fit, team).stopped
            while left and not monitor.stop and stopped is None:
                fit = dataclasses.replace(fit, epochs=min(left, _epochs_of_a_round(rules, state)))
                record = train(net, fit, team)
                monitor.record_all(record.history)
                left -= len(record)
                stopped = record.stopped
        return stopped

    n_recorded = len(net.history)
    try:
        stopped = net.in_training("fit", run)
    except KeyboardInterrupt:
        if not each_epoch:
            monitor.record_all(_since(net.history, n_recorded + state.n_iter))
        state.history.stopped = "interrupted"
        _finalize(task.model, state, None)
        raise
    except DivergenceError as error:
        if not each_epoch:
            monitor.record_all(error.history.history)
        if not rules.early_stopping:
            _finalize(task.model, state, None)
            raise ValueError(f"{_NOT_FINITE} ({error})") from error
        monitor.fail()
        _warn(f"{error} The weights of the best validation score are restored.")
    state.history.stopped = monitor.stop or stopped
    if not (incremental or monitor.stop or stopped) and state.n_iter == rules.max_iter:
        _warn(
            f"Stochastic Optimizer: Maximum iterations ({rules.max_iter}) reached and the optimization hasn't "
            "converged yet."
        )
    _finalize(task.model, state, state.best_weights if rules.early_stopping else None)


def _since(history: History, first: int) -> dict[str, list[float]]:
    """Return the values of a History from row `first` on."""
    return {name: series[first:] for name, series in history.history.items()}


def _finalize(model: Model, state: StoppingState, best: list[Array] | None) -> None:
    """Set the final weights: the best ones, or the averages, which are then dropped.

    Restore the unscaled optimizer of the model, so that a pickle contains nothing of this module.
    """
    final = best
    if final is None and model.averages is not None:
        final = _final_weights(model)
    optimizer = state.optimizer
    if isinstance(optimizer, optimizers.FirstOrderOptimizer):
        optimizer = dataclasses.replace(optimizer, ema_momentum=None)
    model.optimizer = optimizer
    if final is not None:
        for view, values in zip((*model.weights, *model.biases), final, strict=True):
            view[...] = values


def _epochs_of_a_round(rules: Rules, state: StoppingState) -> int:
    """Return the minimum number of epochs until patience can end: the count rises by at most 1 per epoch."""
    left = rules.n_iter_no_change + 1 - state.no_improvement_count
    return int(min(max(1, left), np.iinfo(np.int32).max))


def _batch_size(rules: Rules, n_rows: int) -> int:
    if rules.batch_size == "auto":
        return min(200, n_rows)
    if rules.batch_size > n_rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
        )
    return min(int(rules.batch_size), n_rows)


def solve(task: Task, rules: Rules, state: StoppingState) -> None:
    """Run the iterations of a full-batch solver until it converges.

    Raises
    ------
    ValueError
        If the loss is not finite at the start; the weights are then unchanged.
    """
    net, rows = task.net, task.rows
    losses = _set_up(task, rules, state.optimizer, rows.n)
    recorder = _SolverRecorder(rules, state, losses)
    fit = Fit(
        training=rows,
        validation=task.held_back,
        epochs=rules.max_iter,
        batch=rows.n,
        shuffle=False,
        model=task.model,
        callbacks=(*rules.callbacks, recorder),
        progress=ProgressBar(),
        solver_unit=rules.scale if isinstance(rules.solver, str) else None,
    )
    state.n_iter = 0

    def run() -> History:
        net.check_weights()
        return train(net, fit)

    try:
        record = net.in_training("fit", run)
    except KeyboardInterrupt:
        state.history.stopped = "interrupted"
        raise
    except DivergenceError as error:
        raise ValueError(f"{_NOT_FINITE} ({error})") from error
    state.history.stopped = record.stopped
    if not len(record):
        with net.team(net.flops_per_row(training=False) * rows.n, once=True) as team:
            state.loss = losses(evaluate(net, rows, team))
    if record.stopped in (None, "max_fun", "stalled"):
        reason = record.params.get("reason", f"max_iter={rules.max_iter} is reached")
        _warn(
            f"{rules.solver} failed to converge after {len(record)} iterations: {reason}. Scale the data, or "
            "increase max_iter, max_fun or tol."
        )


class _SolverRecorder(Recorder, Callback):
    """Callback that records each iteration."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record the iteration that ended."""
        self.record(logs)


def _warn(text: str) -> None:
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(text, ConvergenceWarning, stacklevel=6)
