"""Training of the scikit-learn estimators: scikit-learn's stopping rules over epochs of `fastnn._training`.

The state between epochs is a `StoppingState`; the estimator copies it into scikit-learn's attributes.

scikit-learn's loss of a batch of n rows (with sample weights: of their sum n) is 1/n sum E + alpha/(2 n) sum w^2, E
being summed over the outputs and, for squares, halved; for "poisson" E is half the deviance, which is Model's
loss plus a constant. Model's losses are means over rows and outputs, so all of its gradients are those of scikit-learn
times one number, the scale. The scale is divided out of the rates (or of epsilon, for optimizers that do not depend on
a scale) and of the losses that are reported.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import optimizers
from fastnn._data.rows import Rows, shuffled
from fastnn._errors import DivergenceError
from fastnn._training import descent
from fastnn._training.fit import train
from fastnn._training.loop import Fit
from fastnn._training.net import Net
from fastnn._training.objective import evaluate
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback
from fastnn.history import History
from fastnn.model import Model, net_of
from fastnn.regularizers import L2
from fastnn.schedules import LearningRate, Schedule

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
    out_activation : str
        scikit-learn's name of the activation of the output.
    n_outputs : int
    solver : object
        Named by warnings.
    learning_rate : str
        "constant", "invscaling" or "adaptive"; the latter two for SGD alone.
    callbacks : tuple of Callback
    """

    out_activation: str
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
        """Ratio of the gradients of the Model to those of scikit-learn (see the module)."""
        n = self.n_outputs
        return {"softmax": 1.0, "logistic": 1.0 / n, "identity": 2.0 / n, "exp": 1.0 / n}[self.out_activation]


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
        Score of outputs for the validation rows; larger is better.
    """

    model: Model
    rows: Rows
    held_back: Rows | None
    score: Callable[[Array], float]

    @property
    def net(self) -> Net:
        """The net of the model."""
        return net_of(self.model)


@dataclasses.dataclass(frozen=True)
class _Divided(Schedule):
    """A schedule's rates, divided by a number."""

    schedule: Schedule
    by: float

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Return the rates at the times `epoch`, divided."""
        return self.schedule(epoch) / self.by


def _divided(rate: LearningRate, by: float) -> LearningRate:
    if isinstance(rate, Schedule):
        return _Divided(rate, by)
    if callable(rate):
        return functools.partial(_called_and_divided, rate, by)
    return rate / by


def _called_and_divided(rate: Callable[[int], float], by: float, epoch: int) -> float:
    return rate(epoch) / by


def scaled(optimizer: optimizers.Optimizer, scale: float) -> optimizers.Optimizer:
    """Return the optimizer whose steps with gradients times `scale` are those of `optimizer` without."""
    names = {field.name for field in dataclasses.fields(optimizer)} & {"clipvalue", "global_clipnorm"}
    changes: dict[str, Any] = {}
    if isinstance(optimizer, optimizers.SGD):
        changes["learning_rate"] = _divided(optimizer.learning_rate, scale)
        names |= {"weight_decay"}  # a step subtracts rate * decay * w, independent of the gradients
    else:
        names |= {field.name for field in dataclasses.fields(optimizer)} & {"epsilon"}
    given = {name: getattr(optimizer, name) for name in names}
    changes |= {name: value * scale for name, value in given.items() if value is not None}
    return dataclasses.replace(optimizer, **changes)


class _Losses:
    """scikit-learn's loss of an epoch, from what training reports.

    scikit-learn reports the mean over the batches by their rows, each over its own sum of weights.

    Parameters
    ----------
    task : Task
    rules : Rules
    batch : int
        Rows per batch.
    shuffle : bool
        Whether each epoch has an order of its own.

    Attributes
    ----------
    batch_losses : list of (float, float) or None
        See `Fit`; None without sample weights, where training reports those means itself.
    penalty_weight : float
        See `Fit`.
    """

    def __init__(self, task: Task, rules: Rules, batch: int, *, shuffle: bool) -> None:
        rows = task.rows
        several = rows.sample_weight.size and batch < rows.n
        self.batch_losses: list[tuple[float, float]] | None = [] if several else None
        self.penalty_weight = _mean_batch_weight(rows, batch) if several else 0.0
        self._scale = rules.scale
        # For several outputs scikit-learn reports the mean over them, but minimizes their sum.
        self._data_scale = 2.0 if rules.out_activation == "identity" else rules.scale
        self._batch = batch
        self._weights = rows.sample_weight
        self._terms = np.zeros(0)  # of "poisson": what is left of each row's half deviance
        self._shuffle = shuffle and self.batch_losses is not None
        self._seed = task.net.spec.seed
        self._epoch = task.net.epochs_done
        self._constant = 0.0
        if rules.out_activation == "exp":
            from scipy import special

            y = rows.y.reshape(rows.n, -1).astype(np.float64)
            self._terms = (special.xlogy(y, y) - y).sum(axis=1)
            self._constant = self._mean_term(np.arange(rows.n))

    def __call__(self, values: Mapping[str, float]) -> float:
        """Return the loss of the next epoch of the fit."""
        if self.batch_losses is not None:
            loss, penalty = self.batch_losses.pop(0)
            if self._shuffle and self._terms.size:
                order = shuffled(np.empty(self._terms.size, np.int64), self._seed, self._epoch)
                self._constant = self._mean_term(order)
            self._epoch += 1
            return loss / self._data_scale + penalty / self._scale + self._constant
        squares = values.get("mean_squared_error")
        if squares is None:
            return values["loss"] / self._scale + self._constant
        return squares / self._data_scale + (values["loss"] - squares) / self._scale

    def _mean_term(self, order: Array) -> float:
        """Return the mean over batches, by rows, of the terms of "poisson" if the rows come in this order."""
        if not self._weights.size:
            return float(np.average(self._terms))
        total = 0.0
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            weights = self._weights[rows]
            if weights.any():
                total += len(rows) * float(np.average(self._terms[rows], weights=weights))
        return total / len(order)


def _mean_batch_weight(rows: Rows, batch: int) -> float:
    """Return the sum of the weights of a batch, or its number of rows, if all rows had the mean weight."""
    mean = float(rows.sample_weight.mean(dtype=np.float64)) if rows.sample_weight.size else 1.0
    return batch * (mean or 1.0)


def _set_up(
    task: Task, rules: Rules, optimizer: optimizers.Optimizer, batch: int, *, shuffle: bool = False
) -> _Losses:
    """Set optimizer and penalty of the model for batches of `batch` rows; return the conversion of losses."""
    task.model.optimizer = scaled(optimizer, rules.scale)
    task.model.regularizer = L2(rules.scale * rules.alpha / (2 * _mean_batch_weight(task.rows, batch)))
    return _Losses(task, rules, batch, shuffle=shuffle)


def _final_weights(model: Model) -> list[Array]:
    """Return copies of the weights, then biases, used for predictions: the averages if there are any."""
    weights, biases = model.averages or (model.weights, model.biases)
    return [w.copy() for w in (*weights, *biases)]


class StoppingMonitor(Callback):
    """Record each epoch and end the training by scikit-learn's stopping rules.

    Parameters
    ----------
    task : Task
        With validation rows and `early_stopping` their score decides on stopping, else the training loss.
    rules : Rules
    state : StoppingState
        Changed after each epoch.
    losses : _Losses

    Attributes
    ----------
    stop : bool
        Whether a rule ends the training.
    """

    def __init__(self, task: Task, rules: Rules, state: StoppingState, losses: _Losses) -> None:
        self.stop = False
        self._task = task
        self._rules = rules
        self._state = state
        self._losses = losses
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
            self._task.model.stop_training = True

    def record(self, values: Mapping[str, float]) -> None:
        """Record an epoch from the values that training reports."""
        self._record(self._losses(values), None)

    def record_all(self, history: Mapping[str, list[float]]) -> None:
        """Record the epochs of a History."""
        for values in zip(*history.values(), strict=True):
            self.record(dict(zip(history, values, strict=True)))

    def fail(self) -> None:
        """Record an epoch in which the loss was no longer finite."""
        self._record(math.nan, math.nan)
        self.stop = True

    def _record(self, loss: float, score: float | None) -> None:
        state, tol = self._state, self._rules.tol
        state.n_iter += 1
        state.t += self._task.rows.n
        state.loss = loss
        state.loss_curve.append(loss)
        self._print(f"Iteration {state.n_iter}, loss = {loss:.8f}")
        if not self._scores:
            better, enough = loss < state.best_loss, not loss > state.best_loss - tol
            if better:
                state.best_loss = loss
        else:
            if score is None:
                assert self._task.held_back is not None
                score = self._task.score(self._task.model.predict(self._task.held_back.features))
            self._print(f"Validation score: {score:f}")
            state.validation_scores.append(score)
            better, enough = score > state.best_validation_score, not score < state.best_validation_score + tol
            if better:
                state.best_validation_score = score
                state.best_weights = _final_weights(self._task.model)
        state.no_improvement_count = 0 if enough else state.no_improvement_count + 1
        if self._rate_rule == "invscaling":
            self._set_rate(self._inverse_scaling())
        if state.no_improvement_count > self._rules.n_iter_no_change:
            self._on_patience_exhausted()

    def _on_patience_exhausted(self) -> None:
        rules = self._rules
        what = "Validation score" if self._scores else "Training loss"
        message = f"{what} did not improve more than tol={rules.tol:f} for {rules.n_iter_no_change} consecutive epochs."
        if self._rate_rule != "adaptive":
            self._print(f"{message} Stopping.")
            self.stop = True
            return
        rate = getattr(self._state.optimizer, "learning_rate")  # noqa: B009  # SGD, as _rate_rule implies
        if rate <= _SMALLEST_ADAPTIVE_RATE:
            self._print(f"{message} Learning rate too small. Stopping.")
            self.stop = True
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

    def _print(self, text: str) -> None:
        if self._rules.verbose:
            print(text)


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
        validation=task.held_back if rules.callbacks else None,
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
            known = n_recorded + state.n_iter
            monitor.record_all({name: series[known:] for name, series in net.history.history.items()})
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
    if state.n_iter == rules.max_iter and not (incremental or monitor.stop or stopped):
        _warn(
            f"Stochastic Optimizer: Maximum iterations ({rules.max_iter}) reached and the optimization hasn't "
            "converged yet."
        )
    _finalize(task.model, state, state.best_weights if rules.early_stopping else None)


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
    fit = Fit(
        training=rows,
        validation=None,
        epochs=rules.max_iter,
        batch=rows.n,
        shuffle=False,
        model=task.model,
        callbacks=(*rules.callbacks, *([_Reporter(losses)] if rules.verbose else [])),
        progress=ProgressBar(),
        solver_unit=rules.scale if isinstance(rules.solver, str) else None,
    )

    def run() -> History:
        net.check_weights()
        return train(net, fit)

    try:
        record = net.in_training("fit", run)
    except DivergenceError as error:
        raise ValueError(f"{_NOT_FINITE} ({error})") from error
    state.n_iter = len(record)
    if len(record):
        last = {name: series[-1] for name, series in record.history.items()}
    else:
        with net.team(net.flops_per_row(training=False) * rows.n, once=True) as team:
            last = evaluate(net, rows, team)
    state.loss = losses(last)
    if record.stopped in (None, "max_fun", "stalled"):
        reason = record.params.get("reason", f"max_iter={rules.max_iter} is reached")
        _warn(
            f"{rules.solver} failed to converge after {len(record)} iterations: {reason}. Scale the data, or "
            "increase max_iter, max_fun or tol."
        )


class _Reporter(Callback):
    """Callback that prints the loss of each iteration."""

    def __init__(self, losses: _Losses) -> None:
        self._losses = losses

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Print number and loss of the iteration."""
        print(f"Iteration {epoch + 1}, loss = {self._losses(logs):.8f}")


def _warn(text: str) -> None:
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(text, ConvergenceWarning, stacklevel=6)
