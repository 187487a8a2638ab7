"""Evaluation: from rows, or from what the kernels summed over them, to loss and metrics by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn.data import Targets
from fastnn.engine import Sums, as_data
from fastnn.kernels import codes
from fastnn.kernels.layout import OK
from fastnn.team import Team

if TYPE_CHECKING:
    from fastnn.model import Model

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Checked data of one role (training or validation), and which of its rows take part, in order."""

    features: Array
    targets: Targets
    sample_weight: Array
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
    loss = sums.loss if model.loss.code == codes.SUM_OF_SQUARES else sums.loss / (sums.weight or 1.0)
    return loss + (sums.penalty / sums.steps if sums.steps else 0.0)


def values_of(model: Model, sums: Sums) -> dict[str, float]:
    """Loss and metrics of a run, by their names."""
    weight = sums.weight or 1.0  # all rows may weigh nothing
    totals = zip(model.metrics, sums.metrics, strict=True)
    return {"loss": loss_of(model, sums), **{metric.name: total / weight for metric, total in totals}}


def evaluate(model: Model, rows: Rows, team: Team) -> dict[str, float]:
    """Loss (with the penalty of the present weights) and metrics of some rows, by their names."""
    engine = model._built()
    with model._turn:
        sums = engine.evaluate(rows.data(), metrics=tuple(m.code for m in model.metrics), team=team)
    values = values_of(model, sums)
    if sums.status != OK:
        values = dict.fromkeys(values, math.nan)
    values["loss"] += penalty(model)
    return values


def penalty(model: Model) -> float:
    """R of the present weights."""
    l1, l2 = model.regularizer.l1, model.regularizer.l2
    total = 0.0
    if l1 or l2:
        for w in model.weights:
            wide = w.astype(np.float64)
            total += l1 * float(np.abs(wide).sum()) + l2 * float((wide * wide).sum())
    return total
