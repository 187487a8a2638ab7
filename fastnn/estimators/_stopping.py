"""How the scikit-learn estimators train: scikit-learn's rules of stopping, over epochs that a `Model` runs.

What is kept from epoch to epoch is kept in attributes of the estimator, under scikit-learn's names.

scikit-learn's loss of a batch of n rows (with sample weights: of their sum n) is 1/n sum E + alpha/(2 n) sum w^2, E
being summed over the outputs and, for squares, halved; for "poisson" E is half the deviance, which has a constant
more than Model's. Model's losses are means over rows and outputs, so all of
its gradients are those of scikit-learn times one number, the scale. It is taken out of the rates (or of epsilon, for
optimizers that do not see a scale) and of the losses that are told.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import optimizers
from fastnn._errors import DivergenceError
from fastnn.callbacks import Callback, as_callbacks
from fastnn.model import Model
from fastnn.regularizers import L2
from fastnn.schedules import LearningRate, Schedule

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP

Array = npt.NDArray[Any]

#: An adaptive rate that is as small ends the training instead of being divided once more.
_SMALLEST_ADAPTIVE_RATE = 1e-6

_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Checked data: features, targets as the Model takes them, weights (None: all 1)."""

    X: Array
    y: Array
    sample_weight: Array | None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.X)


def scale_of(estimator: BaseMLP) -> float:
    """How much larger the gradients of the Model are than scikit-learn's (see above)."""
    outputs = estimator.n_outputs_
    scales = {"softmax": 1.0, "logistic": 1.0 / outputs, "identity": 2.0 / outputs, "exp": 1.0 / outputs}
    return scales[estimator.out_activation_]


@dataclasses.dataclass(frozen=True)
class _Divided(Schedule):
    """A schedule's rates, divided by a number."""

    schedule: Schedule
    by: float

    def __call__(self, epoch: npt.ArrayLike) -> Array:
        """Rates at some times."""
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
    """The optimizer that does with gradients of that scale what the given one does with scikit-learn's."""
    names = {field.name for field in dataclasses.fields(optimizer)} & {"clipvalue", "global_clipnorm"}
    changes: dict[str, Any] = {}
    if isinstance(optimizer, optimizers.SGD):
        changes["learning_rate"] = _divided(optimizer.learning_rate, scale)
        names |= {"weight_decay"}  # a step takes rate times decay off the weights, whatever the gradients
    else:
        names |= {field.name for field in dataclasses.fields(optimizer)} & {"epsilon", "gtol", "ftol"}
    given = {name: getattr(optimizer, name) for name in names}
    changes |= {name: value * scale for name, value in given.items() if value is not None}
    return dataclasses.replace(optimizer, **changes)


def loss_of(estimator: BaseMLP, values: Mapping[str, float]) -> float:
    """scikit-learn's loss of an epoch, from what the Model tells of it."""
    scale = scale_of(estimator)
    squares = values.get("mean_squared_error")
    if squares is None:
        return values["loss"] / scale + estimator._loss_constant
    # For several outputs scikit-learn tells the mean over them, while it descends on their sum.
    return squares / 2 + (values["loss"] - squares) / scale


def prepare(estimator: BaseMLP, model: Model, rows: Rows, batch: int) -> None:
    """Give the Model optimizer and penalty, `alpha` for batches of so many rows of mean weight; note the constant."""
    model.optimizer = scaled(estimator._optimizer, scale_of(estimator))
    mean = 1.0 if rows.sample_weight is None else float(rows.sample_weight.mean(dtype=np.float64)) or 1.0
    model.regularizer = L2(scale_of(estimator) * estimator.alpha / (2 * batch * mean))
    estimator._loss_constant = 0.0
    if estimator.out_activation_ == "exp":
        from scipy import special

        y = rows.y.reshape(len(rows), -1).astype(np.float64)
        each = (special.xlogy(y, y) - y).sum(axis=1)
        weighs = rows.sample_weight is not None and rows.sample_weight.any()
        estimator._loss_constant = float(np.average(each, weights=rows.sample_weight if weighs else None))


def final_weights(model: Model) -> list[Array]:
    """Copies of the weights, then biases, that predictions are made with: the averages where there are some."""
    weights, biases = model.averages or (model.weights, model.biases)
    return [w.copy() for w in (*weights, *biases)]


class StoppingMonitor(Callback):
    """Keeps scikit-learn's books after each epoch, and says when to stop.

    Parameters
    ----------
    estimator : BaseMLP
    model : Model
        Which trains.
    n_rows : int
        Rows of an epoch.
    held_back : Rows or None
        What decides on stopping instead of the training loss.
    """

    def __init__(self, estimator: BaseMLP, model: Model, n_rows: int, held_back: Rows | None) -> None:
        self.model = model
        self.stop = False
        self._estimator = estimator
        self._n_rows = n_rows
        self._held_back = held_back
        descends = isinstance(estimator._optimizer, optimizers.SGD)
        self._rule = estimator.learning_rate if descends else "constant"

    @property
    def looks_at_each_epoch(self) -> bool:
        """Whether something has to be done between any two epochs."""
        return self._held_back is not None or self._rule == "invscaling" or bool(self._estimator.verbose)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Keep the books, of an epoch that the Model has just finished."""
        self.take(logs)
        if self.stop:
            self.model.stop_training = True

    def take(self, values: Mapping[str, float]) -> None:
        """Enter an epoch by the values that the Model tells."""
        self._enter(loss_of(self._estimator, values), None)

    def fail(self) -> None:
        """Enter an epoch in which the loss stopped being finite."""
        self._enter(math.nan, math.nan)
        self.stop = True

    def _enter(self, loss: float, score: float | None) -> None:
        est = self._estimator
        est.n_iter_ += 1
        est.t_ += self._n_rows
        est.loss_ = loss
        est.loss_curve_.append(loss)
        self._say(f"Iteration {est.n_iter_}, loss = {loss:.8f}")
        if self._held_back is None:
            better, enough = loss < est.best_loss_, not loss > est.best_loss_ - est.tol
            if better:
                est.best_loss_ = loss
        else:
            if score is None:
                score = est._score_outputs(self.model.predict(self._held_back.X), self._held_back)
            self._say(f"Validation score: {score:f}")
            est.validation_scores_.append(score)
            better, enough = score > est.best_validation_score_, not score < est.best_validation_score_ + est.tol
            if better:
                est.best_validation_score_ = score
                est._best_weights = final_weights(self.model)
        est._no_improvement_count = 0 if enough else est._no_improvement_count + 1
        if self._rule == "invscaling":
            self._set_rate(est.learning_rate_init / (est.t_ + 1) ** est.power_t)
        if est._no_improvement_count > est.n_iter_no_change:
            self._end_of_patience()

    def _end_of_patience(self) -> None:
        est = self._estimator
        what = "Training loss" if self._held_back is None else "Validation score"
        message = f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} consecutive epochs."
        rate = est._optimizer.learning_rate
        if self._rule != "adaptive":
            self._say(f"{message} Stopping.")
        elif rate <= _SMALLEST_ADAPTIVE_RATE:
            self._say(f"{message} Learning rate too small. Stopping.")
        else:
            self._set_rate(rate / 5)
            self._say(f"{message} Setting learning rate to {rate / 5:f}")
            est._no_improvement_count = 0
            return
        self.stop = True

    def _set_rate(self, rate: float) -> None:
        self._estimator._optimizer = dataclasses.replace(self._estimator._optimizer, learning_rate=rate)
        self.model.optimizer = scaled(self._estimator._optimizer, scale_of(self._estimator))

    def _say(self, text: str) -> None:
        if self._estimator.verbose:
            print(text)


def descend(estimator: BaseMLP, model: Model, rows: Rows, held_back: Rows | None, incremental: bool) -> None:
    """Run the epochs of a stochastic solver until the rule says stop; one epoch where `incremental`.

    Raises
    ------
    ValueError
        If training diverges and there are no best weights to go back to; the weights are then the last finite ones.
    """
    batch = _batch_size(estimator, len(rows))
    prepare(estimator, model, rows, batch)
    watch = StoppingMonitor(estimator, model, len(rows), held_back if estimator.early_stopping else None)
    users = as_callbacks(estimator.callbacks)
    options: dict[str, Any] = {
        "batch_size": batch,
        "sample_weight": rows.sample_weight,
        "shuffle": bool(estimator.shuffle),
        "verbose": False,
    }
    if users and held_back is not None:
        options["validation_data"] = (held_back.X, held_back.y, held_back.sample_weight)
    estimator.n_iter_ = 0
    left = 1 if incremental else estimator.max_iter
    stopped = None
    try:
        if users or watch.looks_at_each_epoch:
            stopped = model.fit(rows.X, rows.y, epochs=left, callbacks=[*users, watch], **options).stopped
        else:
            while left and not watch.stop and stopped is None:
                record = model.fit(rows.X, rows.y, epochs=min(left, _epochs_without_a_look(estimator)), **options)
                _take_all(watch, record.history)
                left -= len(record)
                stopped = record.stopped
    except DivergenceError as error:
        if not (users or watch.looks_at_each_epoch):
            _take_all(watch, error.history.history)
        if not estimator.early_stopping:
            _settle(estimator, model, None)
            raise ValueError(f"{_NOT_FINITE} ({error})") from error
        watch.fail()
        _warn(f"{error} The weights of the best validation score are taken.")
    if stopped == "interrupted":
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif estimator.n_iter_ == estimator.max_iter and not (incremental or watch.stop or stopped):
        _warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet."
        )
    _settle(estimator, model, estimator._best_weights if estimator.early_stopping else None)


def _settle(estimator: BaseMLP, model: Model, best: list[Array] | None) -> None:
    """Make the weights what is to predict: the best ones, or the averages, which are kept no longer."""
    if best is None and model.averages is None:
        return
    found = final_weights(model) if best is None else best
    if isinstance(model.optimizer, optimizers.FirstOrderOptimizer):
        model.optimizer = dataclasses.replace(model.optimizer, ema_momentum=None)
    n = len(model.weights)
    estimator._bind(model, found[:n], found[n:])


def _epochs_without_a_look(estimator: BaseMLP) -> int:
    """Epochs that can be run in one call: the count rises by 1 an epoch, so patience lasts for that long at least."""
    left = estimator.n_iter_no_change + 1 - estimator._no_improvement_count
    return int(min(max(1, left), np.iinfo(np.int32).max))


def _take_all(watch: StoppingMonitor, history: Mapping[str, list[float]]) -> None:
    """Enter the epochs of a History."""
    for values in zip(*history.values(), strict=True):
        watch.take(dict(zip(history, values, strict=True)))


def _batch_size(estimator: BaseMLP, n_rows: int) -> int:
    if estimator.batch_size == "auto":
        return min(200, n_rows)
    if estimator.batch_size > n_rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
        )
    return min(int(estimator.batch_size), n_rows)


def solve(estimator: BaseMLP, model: Model, rows: Rows) -> None:
    """Run the iterations of a full-batch solver until it converges.

    Raises
    ------
    ValueError
        If the loss is not finite where it begins; the weights are then as before.
    """
    prepare(estimator, model, rows, len(rows))
    callbacks = [*as_callbacks(estimator.callbacks), *([_Reporter(estimator)] if estimator.verbose else [])]
    try:
        record = model.fit(
            rows.X,
            rows.y,
            epochs=estimator.max_iter,
            batch_size=None,
            sample_weight=rows.sample_weight,
            callbacks=callbacks,
            verbose=False,
        )
    except DivergenceError as error:
        raise ValueError(f"{_NOT_FINITE} ({error})") from error
    estimator.n_iter_ = len(record)
    if len(record):
        last = {name: series[-1] for name, series in record.history.items()}
    else:
        last = model.evaluate(rows.X, rows.y, sample_weight=rows.sample_weight)
    estimator.loss_ = loss_of(estimator, last)
    if record.stopped == "interrupted":
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif record.stopped in (None, "max_fun", "stalled"):
        reason = record.params.get("reason", f"max_iter={estimator.max_iter} is reached")
        _warn(
            f"{estimator.solver} failed to converge after {len(record)} iterations: {reason}. Scale the data, or give "
            "larger max_iter, max_fun or tol."
        )


class _Reporter(Callback):
    """Prints the loss of each iteration."""

    def __init__(self, estimator: BaseMLP) -> None:
        self._estimator = estimator

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Print."""
        print(f"Iteration {epoch + 1}, loss = {loss_of(self._estimator, logs):.8f}")


def _warn(text: str) -> None:
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(text, ConvergenceWarning, stacklevel=6)
