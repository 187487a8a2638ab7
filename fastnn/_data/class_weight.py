"""Class weights: what the rows of each class count, turned into weights of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import Targets, as_sample_weight, written_during_the_call
from fastnn._validation import CONVERSION_ERRORS, must_be, number_in, shown
from fastnn.losses import Loss

Array: TypeAlias = npt.NDArray[Any]
ClassWeight: TypeAlias = Mapping[int, float] | Literal["balanced"]


def apply_class_weight(
    class_weight: ClassWeight,
    *,
    targets: Targets,
    sample_weight: Array,
    index: npt.NDArray[np.int64] | None,
    loss: Loss,
    dtype: npt.DTypeLike,
) -> Array:
    """Multiply the weights of rows by the weights of their classes.

    Parameters
    ----------
    class_weight : dict of label to weight, or "balanced"
        Classes that a dict leaves out have the weight 1. "balanced" weighs all classes alike, by the formula
        n / (k count) of scikit-learn: n rows of k classes, of which count are of this class; rows that do not take
        part are not counted.
    targets : Targets
        Labels, one-hot rows, or one column of zeros and ones; before label smoothing.
    sample_weight : (n,), or (0,) for none
    index : (m,) or None
        The rows that take part; None is all.
    loss : Loss
    dtype : float32 or float64

    Returns
    -------
    ndarray of `dtype`, shape (n,)

    Raises
    ------
    TypeError, ValueError
        If the loss or the targets know no classes, or the weights are no numbers of at least 0 for some of them.
    """
    labels, n_classes = _labels(targets, loss)
    part = labels if index is None else labels[index]
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(part, minlength=n_classes)
        weights = part.size / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
    elif isinstance(class_weight, Mapping):
        weights = _from_mapping(class_weight, n_classes)
    else:
        raise TypeError(
            must_be("class_weight", "a dict such as {0: 1.0, 1: 5.0}, 'balanced' or None", class_weight)
        )
    rows = weights[labels]
    if sample_weight.size:
        rows = rows * sample_weight
    if not (rows if index is None else rows[index]).any():
        raise ValueError("class_weight leaves all rows of the training a weight of 0: one must be larger.")
    return as_sample_weight(rows, n_rows=len(labels), dtype=dtype, name="sample_weight times class_weight")


def _labels(targets: Targets, loss: Loss) -> tuple[npt.NDArray[np.int64], int]:
    """Class of each row, and how many classes there are."""
    if not loss.classification:
        raise ValueError(
            f"class_weight needs a loss of classification, got loss={loss.name!r}. Use sample_weight for single rows."
        )
    if targets.labels.size:  # which may be the caller's memory: what is validated here is what is used
        labels = targets.labels.copy()
        if labels.min() < 0 or labels.max() >= targets.n_outputs:
            raise ValueError(written_during_the_call("y"))
        return labels, targets.n_outputs
    values = targets.values
    binary = loss.rule.targets == "binary"
    if binary and values.shape[1] > 1:
        raise ValueError(
            f"class_weight needs classes that exclude each other, but y has {values.shape[1]} columns of "
            "binary_crossentropy, where a row may be of several. Use sample_weight."
        )
    mixed = ((values != 0) & (values != 1)).any(axis=1)
    if mixed.any():
        row = int(np.argmax(mixed))
        raise ValueError(
            f"class_weight needs rows of one class each, but y is {values[row].tolist()} at row {row}: give labels, "
            "zeros and ones, or use sample_weight."
        )
    labels = (values[:, 0] == 1).astype(np.int64) if binary else values.argmax(axis=1)
    return labels, 2 if binary else targets.n_outputs


def _from_mapping(given: Mapping[int, float], n_classes: int) -> npt.NDArray[np.float64]:
    weights = np.ones(n_classes)
    try:
        items = list(given.items())
    except CONVERSION_ERRORS as error:  # raised by the mapping itself
        raise TypeError(must_be("class_weight", "a dict such as {0: 1.0, 1: 5.0}", given)) from error
    for label, weight in items:
        try:
            known = float(label).is_integer() and 0 <= float(label) < n_classes
        except CONVERSION_ERRORS:  # no number
            known = False
        if not known:
            raise ValueError(must_be("keys of class_weight", f"labels, 0 to {n_classes - 1}", label))
        weights[int(label)] = number_in(f"class_weight[{shown(label)}]", weight, "[0, inf)")
    return weights
