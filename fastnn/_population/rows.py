"""The rows of a population: nets that require the same form share them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import Targets, as_sample_weight
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import RowFormat, ValidationData, prepare_training
from fastnn._data.rows import Rows
from fastnn._training.net import Net
from fastnn._validation import must_be

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Share:
    """Nets that train with the same rows.

    Parameters
    ----------
    positions : list of int
        Of the nets in the population, ascending.
    training : Rows
    validation : Rows or None
    sample_weight, validation_weight : ndarray, (nets, n_rows), or None
        Of each net, in place of those of `training` and `validation`.
    """

    positions: list[int]
    training: Rows
    validation: Rows | None
    sample_weight: Array | None
    validation_weight: Array | None

    def rows_of(self, k: int) -> Rows:
        """Return the rows of training of a net, by its position in the population, with its own weights."""
        if self.sample_weight is None:
            return self.training
        return replace(self.training, sample_weight=self.sample_weight[self.positions.index(k)])

    def validation_of(self, k: int) -> Rows | None:
        """Return the rows of validation of a net, by its position in the population, with its own weights."""
        if self.validation is None or self.validation_weight is None:
            return self.validation
        return replace(self.validation, sample_weight=self.validation_weight[self.positions.index(k)])

    def part(self, chosen: Collection[int]) -> Share:
        """Return the same for some of the nets, by their positions in the population."""
        chosen = set(chosen)
        places = [place for place, k in enumerate(self.positions) if k in chosen]
        if len(places) == len(self.positions):
            return self
        weights, of_validation = (
            None if of_nets is None else of_nets[places] for of_nets in (self.sample_weight, self.validation_weight)
        )
        return replace(
            self, positions=[self.positions[place] for place in places], sample_weight=weights,
            validation_weight=of_validation,
        )  # fmt: skip


def forms_of(nets: Sequence[Net]) -> dict[RowFormat, list[int]]:
    """Return the forms that nets require of their data, each with the positions of its nets."""
    found: dict[RowFormat, list[int]] = {}
    for k, net in enumerate(nets):
        found.setdefault(net.form, []).append(k)
    return found


def prepare_shares(
    X: Any,
    y: Any,
    nets: Sequence[Net],
    *,
    sample_weight: Any,
    class_weight: ClassWeight | None,
    validation_data: ValidationData | None,
    validation_split: float,
) -> list[Share]:
    """Validate and convert the data of a fit, for each form that the nets require.

    Parameters
    ----------
    X, y, class_weight, validation_data, validation_split
        As for `Population.fit`.
    nets : sequence of Net
    sample_weight : array-like, (n,) or (N, n), or None

    Returns
    -------
    list of Share

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or two contradict each other.
    """
    of_nets = _is_of_each_net(sample_weight)
    split = partial(prepare_training, validation_split=validation_split, seed=nets[0].spec.seed)
    shares = []
    converted: dict[np.dtype[Any], Rows] = {}  # X is converted once for each dtype
    for form, positions in forms_of(nets).items():
        before = converted.get(form.dtype) if form.feature_names is None else None
        training, validation = split(
            X if before is None else before.features,
            y,
            form,
            sample_weight=None if of_nets else sample_weight,
            class_weight=class_weight,
            validation_data=validation_data,
        )
        converted.setdefault(form.dtype, training)
        if before is not None:
            training = replace(training, feature_names=before.feature_names)
        weights = of_validation = None
        if of_nets:
            n_rows = len(training.features)
            weights = _weights_of_nets(sample_weight, len(nets), positions, n_rows, form.dtype)
            if training.index is not None and validation is not None:
                # Weights of classes are those of training alone.
                of_validation = _weights_of_part(weights, validation, "validation", validation_split, positions)
            if class_weight is not None:
                # In double precision, as the product is that of one net.
                wide = replace(form, dtype=np.dtype(np.float64), n_features=None, feature_names=None)
                rows, _ = split(np.zeros((n_rows, 1)), y, wide, class_weight=class_weight)
                weights = _weights_of_nets(weights * rows.sample_weight, len(positions), None, n_rows, form.dtype)
            if training.index is not None:
                weights = _weights_of_part(weights, training, "training", validation_split, positions)
        shares.append(
            Share(positions, _taking_part(training), validation and _taking_part(validation), weights, of_validation)
        )
    return shares


def _is_of_each_net(sample_weight: Any) -> bool:
    """Return whether weights of rows are given for each net, as a matrix."""
    try:
        return sample_weight is not None and np.ndim(sample_weight) == 2
    except ValueError:  # rows of different lengths
        return False


def _weights_of_nets(
    given: Any, n_nets: int, positions: Sequence[int] | None, n_rows: int, dtype: np.dtype[Any]
) -> Array:
    """Validate the weights of rows of each net, and return those of some nets; None is all."""
    matrix = np.asarray(given)
    if matrix.shape != (n_nets, n_rows):
        raise ValueError(must_be("sample_weight", f"of shape ({n_rows},) or ({n_nets}, {n_rows})", matrix.shape))
    chosen = range(n_nets) if positions is None else positions
    made = np.empty((len(chosen), n_rows), dtype)
    for row, k in enumerate(chosen):
        made[row] = as_sample_weight(matrix[k], n_rows=n_rows, dtype=dtype, name=f"sample_weight[{k}]")
    return made


def _weights_of_part(weights: Array, rows: Rows, role: str, fraction: float, positions: Sequence[int]) -> Array:
    """Return the weights of the rows that take part, (nets, n_rows); none may be those of rows of weight 0 alone."""
    part = np.ascontiguousarray(weights[:, rows.index])
    for own, k in zip(part, positions, strict=True):
        if not own.any():
            raise ValueError(
                f"sample_weight[{k}] is 0 in all {rows.n} rows that validation_split={fraction!r} leaves for {role}: "
                "give others, or validation_data."
            )
    return part


def _taking_part(rows: Rows) -> Rows:
    """Return rows of which all take part."""
    index = rows.index
    if index is None:
        return rows
    targets = rows.targets
    values, labels = targets.values, targets.labels
    values, labels = (values[index] if values.size else values), (labels[index] if labels.size else labels)
    return replace(
        rows,
        features=rows.features[index],
        targets=Targets(values, labels, targets.n_outputs),
        sample_weight=rows.sample_weight[index] if rows.sample_weight.size else rows.sample_weight,
        y=np.asarray(rows.y)[index],
        index=None,
    )
