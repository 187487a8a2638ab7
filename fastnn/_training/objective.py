"""Evaluation: from rows, or from what the kernels summed over them, to loss and metrics by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import Targets
from fastnn._engine.engine import Sums, as_data
from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.tables import OK

if TYPE_CHECKING:
    from fastnn.model import Model

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Checked data of one role (training or validation), and which of its rows take part, in order.

    `y` are the targets as the user gave them, for metrics that are functions.
    """

    features: Array
    targets: Targets
    sample_weight: Array
    y: Any
    index: npt.NDArray[np.int64] | None = None

    @property
    def n(self) -> int:
        """Rows that take part."""
        return len(self.features) if self.index is None else len(self.index)

    def data(self, order: npt.NDArray[np.int64] | None = None) -> Any:
        """For the kernels; `order` permutes the rows that take part."""
        rows = order if self.index is None else self.index if order is None else self.index[order]
        return as_data(self.features, self.targets.values, self.targets.labels, self.sample_weight, rows)


def loss_of(model: Model, sums: Sums) -> float:
    """Loss of a run, with the penalty that was summed."""
    loss = sums.loss if model.loss.rule.reduction == "sum" else sums.loss / (sums.weight or 1.0)
    return loss + (sums.penalty / sums.steps if sums.steps else 0.0)


def values_of(model: Model, sums: Sums) -> dict[str, float]:
    """Loss and compiled metrics of a run, by their names."""
    weight = sums.weight or 1.0  # all rows may weigh nothing
    names = (metric.name for metric in model.metrics if metric.compiled)
    return {"loss": loss_of(model, sums), **{n: total / weight for n, total in zip(names, sums.metrics, strict=True)}}


def names_of(model: Model) -> list[str]:
    """Names of loss and metrics in the order in which they are told: those that are compiled come first."""
    return ["loss", *(metric.name for metric in sorted(model.metrics, key=lambda metric: not metric.compiled))]


def compiled_metrics(model: Model) -> tuple[int, ...]:
    """Codes of the metrics that the kernels count."""
    return tuple(metric.code for metric in model.metrics if metric.compiled)


def function_metrics(model: Model, rows: Rows) -> dict[str, float]:
    """Metrics that are functions of targets and predictions, by their names; without any, nothing is predicted."""
    functions = [metric for metric in model.metrics if not metric.compiled]
    if not functions:
        return {}
    features, y_true = rows.features, np.asarray(rows.y)
    weight = rows.sample_weight if rows.sample_weight.size else None
    if rows.index is not None:
        features, y_true = features[rows.index], y_true[rows.index]
        weight = None if weight is None else weight[rows.index]
    y_pred = model.predict_proba(features) if model.loss.classification else model.predict(features)
    if not np.isfinite(y_pred).all():  # as for the others: huge data give NaN, and training goes on
        return {metric.name: math.nan for metric in functions}
    if y_true.ndim == 1 and y_pred.shape[1] == 1:  # (n,) - (n, 1) would be (n, n)
        y_pred = y_pred[:, 0]
    try:
        return {metric.name: metric.value(y_true, y_pred, weight) for metric in functions}
    except Exception as error:
        kind = "probabilities, see predict_proba" if model.loss.classification else "values"
        error.add_note(f"A metric was called with y_true {y_true.shape} and y_pred {y_pred.shape}, which are {kind}.")
        raise


def evaluate(model: Model, rows: Rows, team: ThreadTeam) -> dict[str, float]:
    """Loss (with the penalty of the present weights) and metrics of some rows, by their names."""
    return evaluate_compiled(model, rows, team) | function_metrics(model, rows)


def evaluate_compiled(model: Model, rows: Rows, team: ThreadTeam) -> dict[str, float]:
    """What `evaluate` tells, without the metrics that are functions."""
    engine = model._built()
    with model._kernel_lock:
        sums = engine.evaluate(rows.data(), metrics=compiled_metrics(model), team=team)
    values = values_of(model, sums)
    if sums.status != OK:
        values = dict.fromkeys(values, math.nan)
    values["loss"] += penalty(model)
    return values


def penalty(model: Model) -> float:
    """R of the present weights of the layers that are trained."""
    l1, l2 = model.regularizer.l1, model.regularizer.l2
    total = 0.0
    if l1 or l2:
        for k in model._built().architecture.trained_layers():
            wide = model.weights[k].astype(np.float64)
            total += l1 * float(np.abs(wide).sum()) + l2 * float((wide * wide).sum())
    return total
