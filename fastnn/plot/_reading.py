"""What pictures read from a model: scores of classes, values, and targets as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, as_sequence, must_be
from fastnn.model import Model, subject_of

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

#: Largest number of different values of y that count as classes, where the object does not state its classes.
_MOST_CLASSES = 20


def is_own(model: Any) -> bool:
    """Return whether an object is a Model or an estimator of this package."""
    return isinstance(model, Model) or hasattr(type(model), "__fastnn_model__")


def as_table(X: Any, *, n_columns: int | None = None) -> Floats:
    """Return rows as numbers, float64 (n, n_columns), n at least 1.

    Raises
    ------
    TypeError, ValueError
        If X is no table of finite numbers, is empty, or has another number of columns.
    """
    constraint = "a table of numbers (n, n_features)"
    try:
        rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be("X", constraint, X)) from error
    if rows.ndim != 2 or not rows.size:
        raise ValueError(must_be("X", f"{constraint} with at least one row", f"an array of shape {rows.shape}"))
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(must_be("X", "finite", float(rows[row, column]), f"It is in row {row}, column {column}."))
    if n_columns is not None and rows.shape[1] != n_columns:
        raise ValueError(must_be("X", f"of {n_columns} columns", f"an array of shape {rows.shape}"))
    return rows


def finite(values: Array, what: str) -> Array:
    """Return values of a model, such as its outputs.

    Raises
    ------
    ValueError
        If one is NaN or infinity; `what` names them in the text.
    """
    if not np.isfinite(values).all():
        raise ValueError(must_be("model", f"one with finite {what}", "NaN or infinity", "Scale X and y to about 1."))
    return values


def column_names(X: Any, n: int) -> list[str]:
    """Return the names of the columns of a data frame, else x1, x2, ..."""
    names = getattr(X, "columns", None)
    return [f"$x_{{{k + 1}}}$" for k in range(n)] if names is None else [str(name) for name in names]


def like(X: Any, rows: Floats) -> Any:
    """Return rows as a data frame with the names of X if it is one, else as they are."""
    names = getattr(X, "columns", None)
    return rows if names is None else type(X)(dict(zip(names, rows.T, strict=True)))


def as_names(argument: str, given: Any, defaults: Sequence[Any]) -> list[str]:
    """Return a text for each class: those that are given, or the labels.

    Raises
    ------
    TypeError, ValueError
        If `given` is no sequence, or of another length.
    """
    if given is None:
        return [f"class {name}" if type(name) is int else str(name) for name in defaults]
    constraint = f"{len(defaults)} names, or None"
    names = as_sequence(argument, constraint, given)
    if len(names) != len(defaults) or isinstance(given, str):
        raise ValueError(must_be(argument, constraint, given))
    return [str(name) for name in names]


class Reading:
    """Rows, targets, and what a model makes of rows, in one form for all kinds of models.

    Parameters
    ----------
    model : Model, estimator, or object with the interface of scikit-learn
        A fitted object. It classifies if it is a net with probabilities, or has `classes_`.
    X : array-like or data frame, (n, n_features)
    y : array-like
        Labels or values of the rows.

    Attributes
    ----------
    model : object
    rows : (n, n_features) float64 ndarray
    classes : list or None
        The labels of the classes; None where values are predicted.
    targets : (n,) int64 or float64 ndarray
        Places in `classes`, or values.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the text names it.
    """

    def __init__(self, model: Any, X: Any, y: Any) -> None:
        self.model = model
        self._frame = X
        self.classes: list[Any] | None
        self.targets: Array
        if is_own(model):
            self._subject: Any = subject_of(model)
            self.rows = as_table(X, n_columns=self._subject.model.n_features)
            self._read_own(y)
        else:
            self._subject = None
            self.rows = as_table(X)
            self._read_foreign(y)

    def _read_own(self, y: Any) -> None:
        subject = self._subject
        features = subject.features(self._frame)
        n_outputs = subject.model.n_outputs
        targets = subject.targets(features, y)
        if not subject.classifies:
            self.classes = None
            targets = targets.reshape(len(targets), -1)
            if targets.shape[1] != 1:
                raise ValueError(must_be("model", "a net with one output, or of classes", f"one with {n_outputs}"))
            self.targets = targets[:, 0].astype(np.float64)
            return
        if subject.several_labels:
            raise ValueError(must_be("model", "one that predicts one class per row", f"{n_outputs} labels per row"))
        self.classes = list(range(max(n_outputs, 2)) if subject.labels is None else subject.labels.tolist())
        if n_outputs > 1:
            self.targets = (targets.argmax(axis=1) if targets.ndim > 1 else targets).astype(np.int64)
        else:
            self.targets = (targets.reshape(-1) > 0.5).astype(np.int64)

    def _read_foreign(self, y: Any) -> None:
        if isinstance(self.model, type):
            raise TypeError(must_be("model", "a fitted object", self.model, "It is a class: make an object of it."))
        try:
            given = np.asarray(y)
        except CONVERSION_ERRORS as error:  # raised by the value itself
            raise TypeError(must_be("y", "labels or values (n,)", y)) from error
        if given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        if given.shape != (len(self.rows),):
            raise ValueError(must_be("y", f"of shape ({len(self.rows)},)", f"an array of shape {given.shape}"))
        labels = getattr(self.model, "classes_", None)
        if labels is None and _are_labels(given, scored=hasattr(self.model, "predict_proba")):
            labels = np.unique(given)
        if labels is None:
            self.classes = None
            try:
                self.targets = given.astype(np.float64)
            except CONVERSION_ERRORS as error:
                raise TypeError(must_be("y", "numbers, for an object without classes_", y)) from error
            return
        found = given[:, None] == np.asarray(labels)
        if found.ndim != 2 or not found.any(axis=1).all():
            raise ValueError(must_be("y", f"one of the classes {np.asarray(labels)} per row", y))
        self.classes = np.asarray(labels).tolist()
        self.targets = found.argmax(axis=1)

    def scores(self, rows: Floats) -> tuple[Floats, bool]:
        """Return scores (n, k), of which the largest is that of the predicted class, and if they are probabilities.

        Parameters
        ----------
        rows : (n, n_features) float64 ndarray
        """
        assert self.classes is not None
        k, X = len(self.classes), like(self._frame, rows)
        if self._subject is not None:
            X = self._subject.features(X)
            probabilities = np.asarray(self._subject.model.predict_proba(X), np.float64)
            return (np.column_stack([1.0 - probabilities, probabilities]) if k == 2 != probabilities.shape[1]
                    else probabilities), True  # fmt: skip
        for method in ("predict_proba", "decision_function"):
            call = getattr(self.model, method, None)
            if callable(call):
                values = np.asarray(call(X), np.float64).reshape(len(rows), -1)
                if values.shape[1] == 1 and k == 2:
                    values = np.column_stack([-values, values])
                if values.shape[1] == k:
                    return values, method == "predict_proba"
        predicted = self._predict(X)
        return (predicted[:, None] == np.asarray(self.classes)).astype(np.float64), False

    def values(self, rows: Floats) -> Floats:
        """Return the predicted value of each row; (n,)."""
        X = like(self._frame, rows)
        if self._subject is not None and isinstance(self.model, Model):
            X = self._subject.features(X)
        predicted = self._predict(X).reshape(len(rows), -1).astype(np.float64)
        if self._subject is None and predicted.shape[1] != 1:
            raise ValueError(must_be("model", "one that predicts one value per row", f"{predicted.shape[1]} values"))
        # A net may have a second output for the spread of the values, or the logarithm of a rate as output.
        is_logarithm = isinstance(self.model, Model) and getattr(self.model.loss.link, "name", "") == "exponential"
        return np.exp(predicted[:, 0]) if is_logarithm else predicted[:, 0]

    def _predict(self, X: Any) -> Array:
        predict: Callable[[Any], Any] | None = getattr(self.model, "predict", None)
        if not callable(predict):
            raise TypeError(must_be("model", "a Model, or an object with a method `predict`", self.model))
        return np.asarray(predict(X))


def _are_labels(y: Array, *, scored: bool) -> bool:
    """Return whether targets are labels: texts, truth values or few integers, or targets of an object with scores."""
    if scored or y.dtype.kind in "OUSb":
        return True
    return bool(y.dtype.kind in "iu" and len(np.unique(y)) <= _MOST_CLASSES)

