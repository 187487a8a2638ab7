"""scikit-learn's loss in terms of `Model`'s: gradients, penalty, and the loss of an epoch.

scikit-learn's loss of a batch of n rows (with sample weights: of their sum n) is 1/n sum E + alpha/(2 n) sum w^2, E
being summed over the outputs and, for squares, halved; for "poisson" E is half the deviance, which is Model's
loss plus a constant. Model's losses are means over rows and outputs, so all of its gradients are those of scikit-learn
times one number, the scale. The scale is divided out of the rates (or of epsilon, for optimizers that do not depend on
a scale) and of the losses that are reported. E of the losses that scikit-learn does not have is summed over the
outputs, too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import optimizers
from fastnn._data.rows import Rows, shuffled
from fastnn.losses import Loss
from fastnn.schedules import LearningRate, Schedule

Array = npt.NDArray[Any]


def scale_of(loss: Loss, n_outputs: int) -> float:
    """Return the ratio of the gradients of the Model to those of scikit-learn (see the module)."""
    name = loss.rule.name
    if name == "softmax_crossentropy":
        return 1.0
    return (2.0 if name in ("squared_error", "gaussian_nll") else 1.0) / n_outputs


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


class EpochLosses:
    """scikit-learn's losses of an epoch, from what training reports.

    scikit-learn reports the mean over the batches by their rows, each over its own sum of weights.

    Parameters
    ----------
    rows : Rows
        Training rows.
    held_back : Rows or None
        Validation rows.
    loss : Loss
    n_outputs : int
    batch : int
        Rows per batch.
    shuffle : bool
        Whether each epoch has an order of its own.
    seed, epoch : int
        Seed of the orders, and number of the next epoch.

    Attributes
    ----------
    batch_losses : list of (float, float) or None
        See `Fit`; None without sample weights, where training reports those means itself.
    penalty_weight : float
        See `Fit`.
    """

    def __init__(
        self,
        rows: Rows,
        held_back: Rows | None,
        loss: Loss,
        n_outputs: int,
        *,
        batch: int,
        shuffle: bool,
        seed: int,
        epoch: int,
    ) -> None:
        several = rows.sample_weight.size and batch < rows.n
        self.batch_losses: list[tuple[float, float]] | None = [] if several else None
        self.penalty_weight = mean_batch_weight(rows, batch) if several else 0.0
        self._scale = scale_of(loss, n_outputs)
        # For several outputs scikit-learn reports the mean over them, but minimizes their sum.
        self._data_scale = 2.0 if loss.rule.name == "squared_error" else self._scale
        self._batch = batch
        self._weights = rows.sample_weight
        self._terms = np.zeros(0)
        self._shuffle = shuffle and self.batch_losses is not None
        self._seed = seed
        self._epoch = epoch
        self._constant = self._validation_constant = 0.0
        if loss.rule.name == "poisson":
            self._terms = _deviance_terms(rows)
            self._constant = self._mean_term(np.arange(rows.n))
            if held_back is not None:
                weights = held_back.sample_weight if held_back.sample_weight.any() else None
                self._validation_constant = float(np.average(_deviance_terms(held_back), weights=weights))

    def __call__(self, values: Mapping[str, float]) -> float:
        """Return the training loss of the next epoch of the fit."""
        if self.batch_losses is not None:
            loss, penalty = self.batch_losses.pop(0)
            if self._shuffle and self._terms.size:
                order = shuffled(np.empty(self._terms.size, np.int64), self._seed, self._epoch)
                self._constant = self._mean_term(order)
            self._epoch += 1
            return loss / self._data_scale + penalty / self._scale + self._constant
        return self._converted(values, "") + self._constant

    def of_validation(self, values: Mapping[str, float]) -> float | None:
        """Return the loss of the validation rows with the penalty of a batch; None where there are none."""
        if "val_loss" not in values:
            return None
        return self._converted(values, "val_") + self._validation_constant

    def _converted(self, values: Mapping[str, float], prefix: str) -> float:
        loss, squares = values[f"{prefix}loss"], values.get(f"{prefix}mean_squared_error")
        if squares is None:
            return loss / self._scale
        return squares / self._data_scale + (loss - squares) / self._scale

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


def mean_batch_weight(rows: Rows, batch: int) -> float:
    """Return the sum of the weights of a batch, or its number of rows, if all rows had the mean weight."""
    mean = float(rows.sample_weight.mean(dtype=np.float64)) if rows.sample_weight.size else 1.0
    return batch * (mean or 1.0)


def _deviance_terms(rows: Rows) -> Array:
    """Return what "poisson" leaves out of half the deviance of each row; (n,)."""
    from scipy import special

    y = rows.y.reshape(rows.n, -1).astype(np.float64)
    terms: Array = (special.xlogy(y, y) - y).sum(axis=1)
    return terms
