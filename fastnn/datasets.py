"""Real data that comes with the package, so that examples, tests and benchmarks need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, check_bool, must_be

__all__ = ["Digits", "load_digits"]


def __dir__() -> list[str]:
    return __all__


_FILES = Path(__file__).with_name("datasets_files")
_DARKEST = 16


class Digits(NamedTuple):
    """The four arrays of `load_digits`, in the order in which they are usually unpacked.

    Parameters
    ----------
    X_train : ndarray of float, shape (3823, 64)
        Images of the training part, a row each, pixels row by row.
    y_train : ndarray of int64, shape (3823,)
        Their digits, 0 to 9.
    X_test : ndarray of float, shape (1797, 64)
        Images of the test part, written by other people than those of the training part.
    y_test : ndarray of int64, shape (1797,)
        Their digits, 0 to 9.
    """

    X_train: npt.NDArray[np.floating[Any]]
    y_train: npt.NDArray[np.int64]
    X_test: npt.NDArray[np.floating[Any]]
    y_test: npt.NDArray[np.int64]


def load_digits(*, dtype: npt.DTypeLike = np.float32, scale: bool = True) -> Digits:
    """Load 5620 handwritten digits of 8x8 pixels in their official split.

    The 3823 training images come from 30 writers, the 1797 test images from 13 others. The test part is,
    row for row, what ``sklearn.datasets.load_digits`` returns. A pixel counts the inked dots, 0 to 16, in a
    4x4 block of the scanned 32x32 bitmap.

    Parameters
    ----------
    dtype : dtype, default float32
        Floating-point type of the images.
    scale : bool, default True
        Whether to divide the pixels by 16, so that they lie in [0, 1]; otherwise they are 0 to 16.

    Returns
    -------
    Digits
        Named tuple ``(X_train, y_train, X_test, y_test)`` of new, writable, C-contiguous arrays.

    Raises
    ------
    TypeError
        If `dtype` is not a floating-point type, or `scale` is no bool.

    Notes
    -----
    Source: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49. Licence: CC BY 4.0.

    Examples
    --------
    >>> X_train, y_train, X_test, y_test = load_digits()
    >>> X_train.shape, X_test.shape
    ((3823, 64), (1797, 64))
    """
    try:
        wanted = np.dtype(dtype)
    except CONVERSION_ERRORS:  # besides TypeError also SyntaxError and UnicodeEncodeError of a text
        wanted = np.dtype(object)
    if dtype is None or wanted.kind != "f":
        raise TypeError(must_be("dtype", "a floating-point type such as 'float32' or 'float64'", dtype))
    scale = check_bool(scale, "scale")
    with np.load(_FILES / "optdigits.npz", allow_pickle=False) as stored:
        parts = {name: stored[name] for name in stored.files}
    images = {name: parts[name].astype(wanted) for name in ("X_train", "X_test")}
    if scale:
        for pixels in images.values():
            pixels /= _DARKEST  # exact: a power of two
    return Digits(
        images["X_train"],
        parts["y_train"].astype(np.int64),
        images["X_test"],
        parts["y_test"].astype(np.int64),
    )
