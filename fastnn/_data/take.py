"""Some rows of whatever holds rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, must_be


def n_rows_of(y: Any, name: str = "y") -> int:
    """Return the number of rows of an array-like or data frame.

    Raises
    ------
    TypeError
        If it has no rows.
    """
    try:
        shape = y.shape if hasattr(y, "shape") else np.shape(y)
        return int(shape[0])
    except CONVERSION_ERRORS as error:
        raise TypeError(must_be(name, "an array with a first dimension of rows", y)) from error


def same_rows(X: Any, y: Any) -> int:
    """Return the number of rows that X and y have.

    Raises
    ------
    TypeError
        If one of them has no rows.
    ValueError
        If they have different numbers of rows.
    """
    n, n_features = n_rows_of(y), n_rows_of(X, "X")
    if n != n_features:
        raise ValueError(must_be("y", f"of {n_features} rows, as X is", n))
    return n


def take_rows(data: Any, rows: npt.NDArray[Any]) -> Any:
    """Return some rows of an array-like, a data frame or a sparse matrix.

    Parameters
    ----------
    data : array-like, data frame, sparse matrix or None
    rows : ndarray of int or bool

    Returns
    -------
    object
        Of the same kind; an array for a list, None for None.
    """
    if data is None:
        return None
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    if hasattr(data, "tocsr"):
        return data.tocsr()[rows]
    return np.asarray(data)[rows]
