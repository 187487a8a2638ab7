"""Preparation: from the arguments of a call to validated, converted rows; each array is read and checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import Targets, as_features, as_sample_weight, as_targets, feature_names
from fastnn._data.class_weight import ClassWeight, apply_class_weight
from fastnn._data.rows import Rows
from fastnn._validation import as_sequence, must_be, number_in
from fastnn.losses import Loss

ValidationData: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any]

_NAMES = ("X", "y", "sample_weight")


@dataclass(frozen=True)
class RowFormat:
    """What a net requires of its data.

    Parameters
    ----------
    loss : Loss
    dtype : numpy.dtype
        float32 or float64.
    n_features, n_outputs : int or None
        Widths of input and output; None accepts any.
    feature_names : tuple of str or None
        Names of the columns of data frames, in their order; None accepts any.
    """

    loss: Loss
    dtype: np.dtype[Any]
    n_features: int | None
    n_outputs: int | None
    feature_names: tuple[str, ...] | None = None


def prepare(
    X: Any,
    y: Any,
    form: RowFormat,
    *,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    names: Sequence[str] = _NAMES,
) -> Rows:
    """Validate and convert the data of one role.

    Parameters
    ----------
    X, y, sample_weight, class_weight
        As for `Model.fit`.
    form : RowFormat
    names : sequence of str
        What errors call X, y and sample_weight.

    Returns
    -------
    Rows

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or two contradict each other.
    """
    return _finished(_checked(X, y, form, sample_weight, names), form, class_weight)


def prepare_training(
    X: Any,
    y: Any,
    form: RowFormat,
    *,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    validation_data: ValidationData | None = None,
    validation_split: float = 0.0,
    seed: int = 0,
) -> tuple[Rows, Rows | None]:
    """Validate and convert the data of a fit.

    Parameters
    ----------
    X, y, sample_weight, class_weight, validation_data, validation_split
        As for `Model.fit`.
    form : RowFormat
    seed : int
        Seed of the rows drawn for validation.

    Returns
    -------
    training : Rows
    validation : Rows or None

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or two contradict each other.
    """
    training = _checked(X, y, form, sample_weight, _NAMES)
    validation: Rows | None = None
    validation_split = number_in("validation_split", validation_split, "[0, 1)")
    if validation_data is not None and validation_split:
        raise ValueError("validation_data and validation_split are both given; one of them is enough.")
    if validation_split:
        training, validation = _split(training, validation_split, seed)
    elif validation_data is not None:
        validation = _held_out(validation_data, training, form)
    rows = _finished(training, form, class_weight)
    if validation_split:  # both parts share their arrays, but class weights are those of training alone
        assert validation is not None
        return rows, replace(validation, targets=rows.targets)
    return rows, None if validation is None else _finished(validation, form, None)


def split_validation(
    n_rows: int, fraction: float, seed: int | None, *, name: str = "fraction"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw rows for validation at random.

    Parameters
    ----------
    n_rows : int
        Number of rows to divide.
    fraction : float
        Share of the rows that goes to validation, between 0 and 1; their number is rounded to the nearest.
    seed : int or None
        Seed of the drawing; None draws anew each time.
    name : str
        What errors call the fraction.

    Returns
    -------
    train_index, val_index : ndarray of int64
        Disjoint row numbers, together all rows, each part in ascending order (so that reading the rows
        walks forward through memory).

    Raises
    ------
    TypeError
        If `fraction` is not a number.
    ValueError
        If `fraction` is not between 0 and 1 or one part would be empty.
    """
    fraction = number_in(name, fraction, "(0, 1)")
    n_val = round(n_rows * fraction)
    if not 0 < n_val < n_rows:
        raise ValueError(
            f"{name} {fraction!r} of {n_rows} rows leaves {n_rows - n_val} for training and {n_val} for "
            f"validation: both parts need at least one row, so give another fraction or more rows."
        )
    order = np.random.default_rng(seed).permutation(n_rows)
    return np.sort(order[n_val:]), np.sort(order[:n_val])


def _checked(X: Any, y: Any, form: RowFormat, sample_weight: Any, names: Sequence[str]) -> Rows:
    """Validate and convert; the targets are as given, before label smoothing and the like."""
    features = as_features(
        X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names, name=names[0]
    )
    n_rows = len(features)
    targets = as_targets(
        y, loss=form.loss, n_rows=n_rows, n_outputs=form.n_outputs, dtype=form.dtype, name=names[1]
    )
    weights = as_sample_weight(sample_weight, n_rows=n_rows, dtype=form.dtype, name=names[2])
    return Rows(features, targets, weights, y, feature_names=feature_names(X))


def _finished(rows: Rows, form: RowFormat, class_weight: Any) -> Rows:
    """Multiply class weights into those of the rows, then bring the targets into the form of the kernels."""
    if class_weight is not None:
        weights = apply_class_weight(
            class_weight,
            targets=rows.targets,
            sample_weight=rows.sample_weight,
            index=rows.index,
            loss=form.loss,
            dtype=form.dtype,
        )
        rows = replace(rows, sample_weight=weights)
    targets = rows.targets
    if targets.labels.size:
        return rows
    values = form.loss.prepare(targets.values)
    if values is targets.values:
        return rows
    return replace(rows, targets=Targets(values, targets.labels, targets.n_outputs))


def _split(rows: Rows, validation_split: float, seed: int) -> tuple[Rows, Rows]:
    """Draw rows for validation; neither part may consist of rows of weight 0 alone."""
    parts = split_validation(rows.n, validation_split, seed, name="validation_split")
    for part, role in zip(parts, ("training", "validation"), strict=True):
        if rows.sample_weight.size and not rows.sample_weight[part].any():
            raise ValueError(
                f"sample_weight is 0 in all {len(part)} rows that validation_split={validation_split!r} leaves "
                f"for {role}: leave out rows of weight 0 before, or give validation_data."
            )
    index, held_back = parts
    return replace(rows, index=index), replace(rows, index=held_back)


def _held_out(validation_data: Any, training: Rows, form: RowFormat) -> Rows:
    """Validate and convert `validation_data`, which must be as wide as the rows of training."""
    constraint = "a tuple (X, y) or (X, y, sample_weight)"
    if not isinstance(validation_data, tuple | list):
        raise TypeError(must_be("validation_data", constraint, validation_data))
    given = as_sequence("validation_data", constraint, validation_data)
    if len(given) not in (2, 3):
        raise TypeError(must_be("validation_data", constraint, given, f"It has {len(given)} items."))
    X, y, sample_weight = (*given, None)[:3]
    like = replace(
        form,
        n_features=training.features.shape[1],
        n_outputs=training.targets.n_outputs,
        feature_names=training.feature_names or form.feature_names,
    )
    return _checked(X, y, like, sample_weight, tuple(f"validation_data[{k}]" for k in range(3)))
