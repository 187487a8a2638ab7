"""What comes in: features, targets and weights are checked and brought into the form the kernels take.

No function changes an array of the caller. Results may be views of the caller's memory (also read-only
ones), so they are to be read only.
"""

from __future__ import annotations

import numbers
import reprlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, must_be, reason, shown
from fastnn.kernels.maths.isfinite import all_finite

if TYPE_CHECKING:
    from fastnn.losses import Loss

_NUMERIC_KINDS = "biuf"
_ENCODE_FEATURES = "encode text as numbers first, for instance one 0/1 column per category"
_ENCODE_LABELS = "encode classes as 0, 1, 2, ... with np.unique(y, return_inverse=True)[1]"
_GIVE_NUMBERS = "give numbers"

# Elements looked at together in the search for the first bad value: the temporary stays in the cache.
_CHUNK = 65_536

# When the number of classes is to be inferred, larger "labels" are identifiers or quantities.
_MAX_INFERRED_LABEL = 2**31 - 1

# How far the probabilities of a row may be from a sum of 1: rounding of half precision and printed decimals.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets in the form the kernels take: numbers, or labels of classes.

    Attributes
    ----------
    values : ndarray of float, shape (n, m)
        C-contiguous numbers; of shape (0, m) where `labels` holds the targets.
    labels : ndarray of int64, shape (n,)
        Labels 0 to m - 1; of shape (0,) where `values` holds the targets.
    n_outputs : int
        The number m of outputs that the net needs.
    """

    values: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.int64]
    n_outputs: int


def feature_names(X: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a data frame; None if they are not all text, or there are none."""
    try:
        names = tuple(getattr(X, "columns", ()))
    except TypeError:
        return None
    return names if names and all(isinstance(name, str) for name in names) else None


def _check_feature_names(X: Any, fitted: tuple[str, ...], name: str) -> None:
    """Raise ValueError if the columns of a data frame are not those of the fit, in their order."""
    given = feature_names(X)
    if given is None or given == fitted:
        return
    if set(given) == set(fitted):
        advice = f"They are in another order: give {name}[names] with the names of the fit."
    else:
        missing = [column for column in fitted if column not in given]
        advice = f"There is no {reprlib.repr(missing[0])}." if missing else ""
    k = next(k for k, (one, other) in enumerate(zip(given, fitted, strict=True)) if one != other)
    raise ValueError(
        must_be(f"column {k} of {name}", f"{fitted[k]!r}, as in the fit", given[k], advice)
    )


def as_features(
    X: Any,
    *,
    dtype: npt.DTypeLike,
    n_features: int | None = None,
    fitted_names: tuple[str, ...] | None = None,
    name: str = "X",
) -> npt.NDArray[Any]:
    """Check a table of features and return it as a C-contiguous array.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Real numbers: an array of any numeric type and memory order, nested sequences, a data frame or
        anything else that NumPy can read.
    dtype : dtype
        ``float32`` or ``float64``.
    n_features : int, optional
        The number d of columns that is expected; any when not given.
    fitted_names : tuple of str or None
        Names of the columns that are expected of a data frame; None for any.
    name : str
        What errors call the argument.

    Returns
    -------
    ndarray of `dtype`, shape (n, d)
        C-contiguous, aligned, in native byte order. It is the memory of `X` itself, not a copy, if that
        has these properties already (read-only and memory-mapped arrays included).

    Raises
    ------
    TypeError
        If `X` does not hold real numbers.
    ValueError
        If the shape does not fit, or a value is missing, infinite or too large for `dtype`.
    """
    a = _as_numbers(X, name, _ENCODE_FEATURES)
    if len(a) == 0:
        raise ValueError(f"{name} has shape {a.shape} and so no rows: give at least one.")
    if a.ndim == 1:
        raise ValueError(
            f"{name} has shape {a.shape}, but two dimensions (rows, features) are needed: "
            f"reshape(-1, 1) makes it one feature, reshape(1, -1) one row."
        )
    if a.ndim > 2:
        raise ValueError(
            f"{name} has shape {a.shape}, but two dimensions (rows, features) are needed: "
            f"reshape(len({name}), -1) makes every sample one row."
        )
    if a.shape[1] == 0:
        raise ValueError(f"{name} has shape {a.shape} and so no columns: give at least one feature.")
    if n_features is not None and a.shape[1] != n_features:
        raise ValueError(
            f"{name} has {a.shape[1]} features (shape {a.shape}), but {n_features} are expected: "
            f"give shape (n, {n_features})."
        )
    if fitted_names is not None:
        _check_feature_names(X, fitted_names, name)
    return _as_finite(a, dtype, name)


def as_targets(
    y: Any, *, loss: Loss, n_rows: int, n_outputs: int | None, dtype: npt.DTypeLike, name: str = "y"
) -> Targets:
    """Validate targets against the loss and convert them; `Loss.prepare` (label smoothing) is applied later.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, m)
        Finite numbers, for poisson 0 or larger. For binary_crossentropy: numbers in [0, 1].
        For softmax_crossentropy: labels, that is whole numbers 0 to m - 1 of shape (n,) or (n, 1), or
        probabilities of shape (n, m) whose rows sum to 1.
    loss : Loss
        Says which of these rules holds.
    n_rows : int
        The number n of rows of the features.
    n_outputs : int, optional
        The number m of outputs of the net. Without it m follows from `y`; for labels it is the largest
        label plus 1, and at least 2.
    dtype : dtype
        ``float32`` or ``float64``, for all but labels.
    name : str
        What errors call the argument.

    Returns
    -------
    Targets
        Its arrays are the memory of `y` itself where that has the right form already.

    Raises
    ------
    TypeError
        If `y` does not hold real numbers.
    ValueError
        If length, shape or values do not fit.
    """
    softmax = loss.rule.targets == "classes"
    classes = loss.classification
    if softmax and n_outputs == 1:
        raise ValueError(
            "softmax_crossentropy needs at least 2 outputs, as the softmax of one number is always 1: "
            "use binary_crossentropy, or 2 outputs."
        )
    a = _as_numbers(y, name, _ENCODE_LABELS if classes else _GIVE_NUMBERS)
    _check_length(a, n_rows, name)
    if a.ndim > 2:
        raise ValueError(f"{name} has shape {a.shape}: give one dimension (rows) or two (rows, outputs).")
    if a.ndim == 2 and a.shape[1] == 0:
        raise ValueError(f"{name} has shape {a.shape} and so no columns: give at least one output.")

    if softmax and (a.ndim == 1 or a.shape[1] == 1):
        labels = _as_labels(a.reshape(-1), n_outputs, name)
        n_classes = max(int(labels.max()) + 1, 2) if n_outputs is None else n_outputs
        return Targets(np.empty((0, n_classes), dtype), labels, n_classes)

    columns = 1 if a.ndim == 1 else a.shape[1]
    each = loss.outputs_per_target
    if n_outputs is not None and columns * each != n_outputs:
        labels_too = f" or labels of shape ({n_rows},)" if softmax else ""
        if not classes and columns == 1 and a.dtype.kind in "biu":
            labels_too = "; for labels of classes make the Model with loss='softmax_crossentropy'"
        outputs = f"{n_outputs} output{'s' * (n_outputs > 1)}"
        outputs += "" if each == 1 else f", {each} a target for {loss.name}"
        raise ValueError(
            f"{name} has shape {a.shape}, but the net has {outputs}: "
            f"give shape ({n_rows}, {n_outputs // each}){labels_too}."
        )
    values = _as_finite(a, dtype, name).reshape(n_rows, columns)
    if softmax:
        _check_probabilities(values, name)
    elif classes:
        _check_unit_interval(values.reshape(a.shape), name)
    elif loss.rule.targets == "counts" and values.min() < 0:
        row, column = divmod(int(np.argmax(values < 0)), columns)
        raise ValueError(f"{name} holds {values[row, column]} at row {row}, but poisson needs counts of 0 or more.")
    return Targets(values, np.empty(0, np.int64), columns * each)


def as_sample_weight(
    sample_weight: Any, *, n_rows: int, dtype: npt.DTypeLike, name: str = "sample_weight"
) -> npt.NDArray[Any]:
    """Check the weights of rows and return them as a contiguous array.

    Parameters
    ----------
    sample_weight : array-like, shape (n,), or None
        Weights >= 0, not all of them 0. Without unit: only their ratios matter to a weighted mean.
    n_rows : int
        The number n of rows of the features.
    dtype : dtype
        ``float32`` or ``float64``.
    name : str
        What errors call the argument.

    Returns
    -------
    ndarray of `dtype`, shape (n,)
        The memory of `sample_weight` itself where that has the right form already; of shape (0,) for None.

    Raises
    ------
    TypeError
        If `sample_weight` does not hold real numbers.
    ValueError
        If length, shape or values do not fit.
    """
    if sample_weight is None:
        return np.empty(0, dtype)
    a = _as_numbers(sample_weight, name, _GIVE_NUMBERS)
    _check_length(a, n_rows, name)
    if a.ndim != 1:
        raise ValueError(
            f"{name} has shape {a.shape}, but there is one weight a row: give shape ({n_rows},)."
        )
    weights = _as_finite(a, dtype, name)
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise ValueError(f"{name} holds {weights[row]} at row {row}: weights must be 0 or larger.")
    if weights.max() == 0:
        raise ValueError(f"{name} is 0 in every row: at least one weight must be larger than 0.")
    total, most = weights.sum(dtype=np.float64), np.sqrt(np.finfo(weights.dtype).max)
    if not total < most:
        raise ValueError(
            f"{name} sums to {total:.3g}, and losses times this sum can overflow in {weights.dtype}: keep the sum "
            f"below {most:.1g}, for instance divide by the mean."
        )
    return weights


def as_shape(
    value: Any, shape: tuple[int, ...], axes: str, *, dtype: npt.DTypeLike, name: str
) -> npt.NDArray[Any]:
    """Check an array of a known shape, and return it C-contiguous.

    Parameters
    ----------
    value : array-like
        Finite numbers.
    shape : tuple of int
    axes : str
        What the numbers of the shape are, for the error; "" for nothing.
    dtype : dtype
        ``float32`` or ``float64``.
    name : str
        What errors call the argument.

    Returns
    -------
    ndarray of `dtype` and `shape`
        The memory of `value` itself where that has the right form already.

    Raises
    ------
    TypeError
        If `value` does not hold real numbers.
    ValueError
        If the shape is another one, or a value is not finite.
    """
    a = _as_numbers(value, name, _GIVE_NUMBERS)
    if a.shape != shape:
        meaning = f" {axes}" if axes else ""
        raise ValueError(f"{name} must be an array of shape {shape}{meaning}, got shape {a.shape}.")
    return _as_finite(a, dtype, name)


def _as_numbers(value: Any, name: str, text_advice: str) -> npt.NDArray[Any]:
    """Return `value` as a plain array of booleans, integers or floats, without a copy where possible."""
    if value is None:
        raise TypeError(f"{name} is None: give an array of numbers.")
    # Its import takes some 15 ms; without it there are no masked arrays. Another thread may be importing it.
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and isinstance(value, masked) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} has {np.ma.getmaskarray(value).sum()} masked values: fill them with {name}.filled(...) "
            f"or drop their rows."
        )
    try:
        a = _read(value)
    except CONVERSION_ERRORS as error:  # raised by NumPy, or by the value's own methods
        if isinstance(error, ValueError) and "inhomogeneous" in str(error):
            raise ValueError(f"{name} is ragged: all its rows must have the same length.") from error
        text = f"{name} cannot be read as an array of numbers: {reason(error)}."
        raise (ValueError if isinstance(error, ValueError) else TypeError)(text) from error

    if a is None:
        raise TypeError(
            f"{name} is a sparse array ({type(value).__name__}): give a dense one, {name}.toarray()."
        )
    if a.ndim == 0:
        raise TypeError(
            f"{name} is a single value of type {type(value).__name__}: give an array with one entry or row "
            f"per sample."
        )
    kind = a.dtype.kind
    if kind in _NUMERIC_KINDS:
        return a
    if kind == "O":
        return _from_objects(a, name, text_advice)
    if kind in "UST":
        raise TypeError(f"{name} holds text (dtype {a.dtype}): {text_advice}.")
    if kind == "c":
        raise TypeError(
            f"{name} is {a.dtype}, but real numbers are needed: give real and imaginary parts as separate "
            f"columns, or the absolute value."
        )
    if kind in "mM":
        raise TypeError(
            f"{name} is {a.dtype}, but plain numbers are needed: subtract a start and divide by a unit, "
            f"for instance np.timedelta64(1, 's')."
        )
    raise TypeError(f"{name} has dtype {a.dtype}, but numbers are needed: convert with .astype(np.float32).")


def _read(value: Any) -> npt.NDArray[Any] | None:
    """Return `value` as an array of any dtype; None if it is sparse."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        return None
    if _is_mixed_numeric_frame(value):
        # NumPy's own reading would go through an object for each number when booleans stand beside numbers.
        return np.asarray(value.to_numpy(dtype=np.float64))
    return np.asarray(value)


def _is_mixed_numeric_frame(value: Any) -> bool:
    """Whether `value` is a data frame of numeric columns that differ in type."""
    if not (hasattr(value, "dtypes") and hasattr(value, "to_numpy") and getattr(value, "ndim", 0) == 2):
        return False
    kinds = {getattr(column_type, "kind", "O") for column_type in value.dtypes}
    return kinds <= set(_NUMERIC_KINDS) and len(set(value.dtypes)) > 1


def _from_objects(a: npt.NDArray[np.object_], name: str, text_advice: str) -> npt.NDArray[np.float64]:
    """Convert an array of Python objects that are all real numbers."""
    for index, item in enumerate(a.flat):
        # A time span counts as an integer in NumPy's class tree, but its number depends on the unit.
        if isinstance(item, numbers.Real | np.bool_ | Decimal) and not isinstance(item, np.timedelta64):
            continue
        where = _where(index, a.shape)
        if isinstance(item, str | bytes):
            raise TypeError(f"{name} holds the text {shown(item)} at {where}: {text_advice}.")
        if item is None or type(item).__name__ in ("NAType", "NaTType"):
            raise TypeError(f"{name} holds {item!r} at {where}: fill or drop missing values first.")
        if isinstance(item, list | tuple | np.ndarray):
            raise TypeError(f"{name} is ragged: it holds a {type(item).__name__} at {where}.")
        raise TypeError(f"{name} holds a {type(item).__name__} object at {where}: give numbers.")
    try:
        return a.astype(np.float64)
    except CONVERSION_ERRORS as error:  # raised by the objects themselves
        raise ValueError(f"{name} holds a number that float64 cannot represent: {reason(error)}.") from error


def _as_finite(a: npt.NDArray[Any], dtype: npt.DTypeLike, name: str) -> npt.NDArray[Any]:
    """Convert `a` to `dtype` and C order (no copy if it has both), and validate that all values are finite."""
    if a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned:
        values = a
    else:
        with np.errstate(all="ignore"):  # what overflows is reported below, with its place
            values = np.require(a, dtype=dtype, requirements=("C", "A"))
    if a.dtype.kind != "f" or all_finite(values.reshape(-1)):
        return values
    index = next(_not_finite(values.reshape(-1)), None)
    if index is None:
        raise ValueError(written_during_the_call(name))
    given = a[np.unravel_index(index, a.shape)]  # format() would go through a double, str() does not
    where = _where(index, a.shape)
    if np.isfinite(given):
        raise ValueError(
            f"{name} holds {given!s} at {where}, which overflows to infinity in {values.dtype}: "
            f"scale the values{' or use float64' if values.dtype != np.float64 else ''}."
        )
    remedy = "fill or drop missing values first" if np.isnan(given) else "replace or drop it first"
    raise ValueError(f"{name} holds {given} at {where}, but all values must be finite: {remedy}.")


def written_during_the_call(name: str) -> str:
    """Return the text of the error about data that another thread changed between their check and their use."""
    return f"{name} was written to by another thread during the call: pass a copy, or wait for the end of the call."


def _not_finite(flat: npt.NDArray[Any]) -> Iterator[int]:
    """Yield the positions of NaN and infinite values, with temporaries of a chunk only."""
    for start in range(0, flat.size, _CHUNK):
        for offset in np.flatnonzero(~np.isfinite(flat[start : start + _CHUNK])):
            yield start + int(offset)


def _as_labels(a: npt.NDArray[Any], n_outputs: int | None, name: str) -> npt.NDArray[np.int64]:
    """Check labels of classes, shape (n,), and return them as contiguous integers."""
    if a.dtype.kind == "f":
        a = a.astype(np.float64)
        no_label = ~np.isfinite(a) | (a != np.floor(a))
        if no_label.any():
            row = int(np.argmax(no_label))
            raise ValueError(
                f"{name} holds {a[row]} at row {row}, but class labels are whole numbers from 0 on: "
                f"{_ENCODE_LABELS}, or give probabilities of shape (n, n_outputs)."
            )
    last = _MAX_INFERRED_LABEL if n_outputs is None else n_outputs - 1
    outside = (a < 0) | (a > last)
    if outside.any():
        row = int(np.argmax(outside))
        allowed = "0, 1, 2, ..." if n_outputs is None else f"0 to {last} ({n_outputs} outputs)"
        raise ValueError(
            f"{name} holds the label {int(a[row])} at row {row}, but labels are {allowed}: {_ENCODE_LABELS}."
        )
    return np.require(a, dtype=np.int64, requirements=("C", "A"))


def _check_probabilities(values: npt.NDArray[Any], name: str) -> None:
    """Raise ValueError unless each row is a discrete distribution."""
    if values.min() < 0:
        row, column = divmod(int(np.argmax(values < 0)), values.shape[1])
        raise ValueError(
            f"{name} holds {values[row, column]} at row {row}, column {column}: with several columns "
            f"softmax_crossentropy needs probabilities, 0 or larger."
        )
    sums = values.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1) > _SUM_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(
            f"{name} sums to {sums[row]:.6g} in row {row}: with several columns softmax_crossentropy needs "
            f"probabilities that sum to 1 in each row; divide each row by its sum, or give labels."
        )


def _check_unit_interval(values: npt.NDArray[Any], name: str) -> None:
    """Raise ValueError unless all values are in [0, 1]."""
    if values.min() < 0 or values.max() > 1:
        index = int(np.argmax((values < 0) | (values > 1)))
        raise ValueError(
            f"{name} holds {values.flat[index]} at {_where(index, values.shape)}, but binary_crossentropy "
            f"needs values from 0 to 1: map labels such as -1/+1 to 0/1, for instance with "
            f"({name} == 1); for more than two classes use softmax_crossentropy."
        )


def _check_length(a: npt.NDArray[Any], n_rows: int, name: str) -> None:
    if len(a) != n_rows:
        raise ValueError(
            f"{name} has {len(a)} rows (shape {a.shape}), but there are {n_rows} rows of features: "
            f"give one entry a row."
        )


def _where(index: int, shape: tuple[int, ...]) -> str:
    """Name the place of a flat C-order index: row and column, or whatever indices the shape has."""
    place = [int(i) for i in np.unravel_index(index, shape)]
    if len(place) == 1:
        return f"row {place[0]}"
    if len(place) == 2:
        return f"row {place[0]}, column {place[1]}"
    return f"index {tuple(place)}"
