"""Folds: which rows train, and which measure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.prepare import split_validation
from fastnn._data.take import take_rows
from fastnn._validation import must_be

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Fold:
    """Rows that are trained on, and rows that measure."""

    X: Any
    y: Any
    sample_weight: Array | None
    held: tuple[Any, Any, Array | None]


def folds_of(
    X: Any, y: Any, weights: Array | None, labels: Array, n: int, validation_data: Any, fraction: float | None,
    cv: Any, seed: int,
) -> Iterator[Fold]:
    """Yield the parts of the rows that train and measure; `labels` is empty unless y has one class per row."""
    given = {"validation_data": validation_data, "validation_split": fraction, "cv": cv}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} are given; one of them is enough.")
    if validation_data is not None:
        yield Fold(X, y, weights, (*validation_data, None)[:3])
        return
    if cv is None:
        parts = [split_validation(n, 0.2 if fraction is None else fraction, seed, name="validation_split")]
    elif isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= n:
            raise ValueError(must_be("cv", f"from 2 to the number of rows, {n}", cv))
        order = np.random.default_rng(seed).permutation(n)
        if labels.size:
            order = order[np.argsort(labels[order], kind="stable")]
        fold = np.empty(n, np.int64)
        fold[order] = np.arange(n) % cv
        parts = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(cv)]
    else:
        constraint = "a number, a splitter or pairs of indices (train, test)"
        is_splitter = callable(getattr(cv, "split", None)) and not isinstance(cv, str)
        given_pairs = list(cv.split(X, y)) if is_splitter else cv  # errors of a splitter are its own
        try:
            pairs = [(np.asarray(train), np.asarray(test)) for train, test in given_pairs]
        except (TypeError, ValueError) as error:
            raise TypeError(must_be("cv", constraint, cv)) from error
        if not pairs:
            raise ValueError(must_be("cv", "at least one pair of indices", cv))
        parts = [(_as_indices(train, n), _as_indices(test, n)) for train, test in pairs]
    for train, test in parts:
        inside = None if weights is None else weights[train]
        outside = None if weights is None else weights[test]
        yield Fold(take_rows(X, train), take_rows(y, train), inside, (take_rows(X, test), take_rows(y, test), outside))


def _as_indices(given: Array, n: int) -> Array:
    """Validate the rows of one part of a fold: numbers below n, or one bool for each row."""
    if given.dtype == bool and given.shape == (n,):
        given = np.flatnonzero(given)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise ValueError(must_be("cv", "pairs of indices, at least one of each", given))
    if given.min() < -n or given.max() >= n:
        raise ValueError(must_be("cv", f"pairs of indices below the number of rows, {n}", given))
    return given
