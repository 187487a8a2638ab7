"""Points of the playground: made by a generator, read from text or set by hand; and the inputs of a net of them."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import datasets
from fastnn._validation import finite_number, must_be, shown

Array = npt.NDArray[np.float64]

#: Both axes of the picture.
DOMAIN = (-6.0, 6.0)
#: Name of the data set that a user reads or paints.
OWN = "own"
N_CLASSIFICATION, N_REGRESSION = 500, 1200
MOST_POINTS, MOST_CLASSES, MOST_CHARACTERS = 5000, 6, 1_000_000
#: Where own inputs outside of the picture are moved to.
INSIDE = 5.0

GENERATORS: dict[str, Callable[..., tuple[Array, npt.NDArray[Any]]]] = {
    "circle": datasets.make_circle, "xor": datasets.make_xor, "gauss": datasets.make_gauss,
    "spiral": datasets.make_spiral, "moons": datasets.make_moons, "blobs": datasets.make_blobs,
    "rings": datasets.make_rings,
}  # fmt: skip
REGRESSION_GENERATORS: dict[str, Callable[..., tuple[Array, npt.NDArray[Any]]]] = {
    "reg-plane": datasets.make_plane, "reg-gauss": datasets.make_bumps,
}  # fmt: skip
#: Generators with a number of classes.
OF_CLASSES = ("blobs", "rings")

#: Inputs of the net by key: label, and the function of the coordinates (n, 2); in the order of TensorFlow Playground.
FEATURES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "x": ("X₁", lambda X: X[:, 0]),
    "y": ("X₂", lambda X: X[:, 1]),
    "xSquared": ("X₁²", lambda X: X[:, 0] ** 2),
    "ySquared": ("X₂²", lambda X: X[:, 1] ** 2),
    "xTimesY": ("X₁X₂", lambda X: X[:, 0] * X[:, 1]),
    "sinX": ("sin X₁", lambda X: np.sin(X[:, 0])),
    "sinY": ("sin X₂", lambda X: np.sin(X[:, 1])),
    "cosX": ("cos X₁", lambda X: np.cos(X[:, 0])),
    "cosY": ("cos X₂", lambda X: np.cos(X[:, 1])),
}


@dataclass(frozen=True)
class Points:
    """Points, of which the first `n_train` are trained on.

    Parameters
    ----------
    X : ndarray of float64, (n, 2)
    labels : ndarray of float64, (n,)
        -1 and 1 of two classes, 0, 1, ... of more, a number of a regression.
    n_train : int
    n_classes : int
        0 for a regression.
    names : tuple of str, or None
        Names of the classes.
    """

    X: Array
    labels: Array
    n_train: int
    n_classes: int
    names: tuple[str, ...] | None = None

    def added(self, x: Any, y: Any, label: Any) -> Points:
        """Return the points with one more to train on."""
        if len(self.X) >= MOST_POINTS:
            raise ValueError(f"points must be at most {MOST_POINTS}, got one more. Remove some first.")
        place, value = _place(x, y), finite_number("label", label)
        if self.n_classes == 0:
            valid, constraint = -1.0 <= value <= 1.0, "a number from -1 to 1"
        elif self.n_classes == 2:
            valid, constraint = value in (-1.0, 1.0), "-1 or 1"
        else:
            valid, constraint = value in range(self.n_classes), f"a class from 0 to {self.n_classes - 1}"
        if not valid:
            raise ValueError(must_be("label", constraint, label))
        n = self.n_train
        return replace(
            self, X=np.insert(self.X, n, place, axis=0), labels=np.insert(self.labels, n, value), n_train=n + 1
        )

    def without_nearest(self, x: Any, y: Any) -> Points:
        """Return the points without the one that is nearest to a place."""
        place = _place(x, y)
        if not len(self.X):
            raise ValueError("points must have one to remove, got none.")
        k = int(np.hypot(*(self.X - place).T).argmin())
        n_train = self.n_train - (k < self.n_train)
        return replace(self, X=np.delete(self.X, k, axis=0), labels=np.delete(self.labels, k), n_train=n_train)

    def cleared(self) -> Points:
        """Return no points, of the same classes."""
        return replace(self, X=self.X[:0], labels=self.labels[:0], n_train=0)

    def split(self, share: float) -> Points:
        """Return the points with another part, in per cent, to train on."""
        return replace(self, n_train=_n_train(len(self.X), share))

    def described(self) -> list[dict[str, Any]]:
        """Return the points as a page reads them."""
        rows = zip(np.round(self.X, 4).tolist(), np.round(self.labels, 4).tolist(), strict=True)
        return [
            {"x": x, "y": y, "label": label, "test": k >= self.n_train} for k, ((x, y), label) in enumerate(rows)
        ]

    def text(self) -> str:
        """Return the points as CSV."""
        labels = [self.names[int(k)] if self.names else f"{value:g}"
                  for k, value in zip(self.classes(), self.labels, strict=True)]  # fmt: skip
        lines = (f"{x!r},{y!r},{label}" for (x, y), label in zip(self.X.tolist(), labels, strict=True))
        return "x,y,label\n" + "".join(f"{line}\n" for line in lines)

    def classes(self) -> npt.NDArray[np.int64]:
        """Return the classes from 0; zeros for a regression."""
        if self.n_classes == 0:
            return np.zeros(len(self.labels), np.int64)
        return (self.labels > 0.0).astype(np.int64) if self.n_classes == 2 else self.labels.astype(np.int64)


def _place(x: Any, y: Any) -> Array:
    place = np.array([finite_number("x", x), finite_number("y", y)])
    for name, value in zip("xy", place.tolist(), strict=True):
        if not DOMAIN[0] <= value <= DOMAIN[1]:
            raise ValueError(must_be(name, f"a number from {DOMAIN[0]:g} to {DOMAIN[1]:g}", value))
    return place


def _n_train(n: int, share: float) -> int:
    return int(n * share / 100.0)


def seed_of(text: str) -> int:
    """Return the number of a seed, which is any text."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def make(settings: Mapping[str, Any]) -> Points:
    """Make the points of the settings: by the data set of the problem, number of classes, noise, seed and ratio."""
    seed, noise = seed_of(settings["seed"]), settings["noise"] / 100.0
    if settings["problem"] == "regression":
        X, y = REGRESSION_GENERATORS[settings["regDataset"]](N_REGRESSION, noise=noise, seed=seed)
        return Points(X, y.astype(np.float64), _n_train(len(X), settings["percTrainData"]), 0)
    name = settings["dataset"]
    n_classes = settings["classes"] if name in OF_CLASSES else 2
    more = {"n_classes": n_classes} if name in OF_CLASSES else {}
    X, y = GENERATORS[name](N_CLASSIFICATION, noise=noise, seed=seed, **more)
    labels = 2.0 * y - 1.0 if n_classes == 2 else y.astype(np.float64)
    return Points(X, labels, _n_train(len(X), settings["percTrainData"]), n_classes)


def read(text: Any, *, share: float, seed: str) -> tuple[Points, str]:
    """Read points from CSV: two inputs and a label per line.

    Parameters
    ----------
    text : str
        Commas, semicolons, tabs or spaces separate the columns; a first line without numbers is a header.
    share : float
        Per cent to train on.
    seed : str
        Of the random order.

    Returns
    -------
    points : Points
        Classes, if the labels are texts or at most six integers; else a regression. Inputs outside of the picture are
        moved into it column by column, targets outside of [-1, 1], too.
    notice : str
        What was read, and what was moved.

    Raises
    ------
    TypeError, ValueError
        If it is no such text; with the number of the line.
    """
    if not isinstance(text, str):
        raise TypeError(must_be("text", "a text of lines such as 1.5,2,0", text))
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"text must be at most {MOST_CHARACTERS} characters, got {len(text)}.")
    lines = [(k, line.strip()) for k, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError("the data must have lines such as 1.5,2,0, got none.")
    first = lines[0][1]
    separator = next((mark for mark in ",;\t" if mark in first), " ")
    try:
        cells = [next(csv.reader([line], delimiter=separator, skipinitialspace=True)) for _, line in lines]
    except csv.Error as error:
        raise ValueError(f"the data must be CSV, got what cannot be read ({error}).") from None
    if all(_number(cell) is None for cell in cells[0][:2]):
        del cells[0], lines[0]
    if len(cells) > MOST_POINTS:
        raise ValueError(f"the data must have at most {MOST_POINTS} points, got {len(cells)}.")
    inputs, texts = [], []
    for (number, line), row in zip(lines, cells, strict=True):
        x, y = (_number(cell) for cell in row[:2]) if len(row) == 3 else (None, None)
        if x is None or y is None or not row[2].strip() or not row[2].isprintable():
            raise ValueError(f"line {number} must be two numbers and a label, such as 1.5,2,0, got {shown(line)}.")
        inputs.append((x, y))
        texts.append(row[2].strip()[:40])
    if len(texts) < 2:
        raise ValueError(f"the data must have at least 2 points, got {len(texts)}.")
    X = np.array(inputs, np.float64)
    labels, n_classes, names, moved_target = _labels(texts)
    X, moved = _inside(X)
    order = np.random.default_rng(seed_of(seed)).permutation(len(X))
    points = Points(X[order], labels[order], _n_train(len(X), share), n_classes, names)
    kind = f"{n_classes} classes" if n_classes else "a regression"
    notice = f"{len(X)} points read, {kind}."
    if moved or moved_target:
        notice += f" {' and '.join(filter(None, (moved, moved_target)))} mapped linearly into the picture's range."
    return points, notice


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _labels(texts: Sequence[str]) -> tuple[Array, int, tuple[str, ...] | None, str]:
    """Return labels, number of classes, their names, and what was moved."""
    numbers = [_number(text) for text in texts]
    kinds = set(texts)
    if None not in numbers:
        values = np.array(numbers, np.float64)
        distinct = np.unique(values)
        if len(distinct) > MOST_CLASSES or np.any(distinct != np.rint(distinct)):
            if np.abs(values).max() <= 1.0:
                return values, 0, None, ""
            return _mapped(values, 1.0), 0, None, "labels"
        codes, names = np.searchsorted(distinct, values), tuple(f"{value:g}" for value in distinct)
    else:
        if len(kinds) > MOST_CLASSES:
            raise ValueError(f"the labels must be numbers, or at most {MOST_CLASSES} names, got {len(kinds)} names.")
        names = tuple(sorted(kinds))
        codes = np.array([names.index(text) for text in texts])
    if len(names) < 2:
        raise ValueError(f"the labels must be at least two different ones, got {shown(names[0])} alone.")
    labels = codes.astype(np.float64)
    return 2.0 * labels - 1.0 if len(names) == 2 else labels, len(names), names, ""


def _inside(X: Array) -> tuple[Array, str]:
    """Return inputs within the picture, and the name of what was moved."""
    if X.min() >= DOMAIN[0] and X.max() <= DOMAIN[1]:
        return X, ""
    return _mapped(X, INSIDE), "inputs"


def _mapped(values: Array, largest: float) -> Array:
    """Return columns mapped linearly to -largest .. largest; a constant one to -largest."""
    half = values / 2.0  # the difference of two finite numbers may not be finite, that of their halves is
    low, high = half.min(axis=0), half.max(axis=0)
    return np.asarray(largest * (2.0 * (half - low) / np.where(high > low, high - low, 1.0) - 1.0))


def inputs(X: Array, settings: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return the inputs of the net (n, n_features) of coordinates (n, 2), in the net's precision."""
    columns = [function(X) for key, (_, function) in FEATURES.items() if settings[key]]
    return np.ascontiguousarray(np.column_stack(columns), dtype=settings["precision"])
