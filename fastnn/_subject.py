"""The net of a Model or of an estimator with its rows and targets, as attacks and explanations need them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import as_features
from fastnn._data.prepare import prepare
from fastnn._training import objective
from fastnn._training.net import Net
from fastnn._validation import CONVERSION_ERRORS, must_be

Array: TypeAlias = npt.NDArray[Any]


class Subject:
    """A trained net, and how its users name classes and columns.

    Parameters
    ----------
    model : Model
        The net's methods.
    net : Net
        The net itself.
    estimator : estimator or None
        That which the net is the Model of.

    Attributes
    ----------
    model : Model
    classifies : bool
        Whether the outputs are, or mean, probabilities.
    several_labels : bool
        Whether each output is a class of its own, of which a row may have several.
    labels : ndarray or None
        (n_classes,) labels of an estimator's classes, which the net counts; None for those of a Model, for several
        labels per row, and for values.

    Raises
    ------
    ValueError
        If the net has no weights yet.
    """

    def __init__(self, model: Any, net: Net, estimator: Any = None) -> None:
        net.built()
        self.model = model
        self._net = net
        self._link = objective.link_of(net.spec).probabilities
        self.classifies = bool(self._link)
        self.several_labels = self._link == "each" and (net.n_outputs or 0) > 1
        self.labels: Array | None = None
        self._names = net.feature_names
        self._reads_sparse = estimator is not None
        if estimator is not None:
            names = getattr(estimator, "feature_names_in_", None)
            self._names = None if names is None else tuple(names)
            if self.classifies and (self._link == "row" or net.n_outputs == 1):
                self.labels = np.asarray(estimator.classes_)

    def features(self, X: Any) -> Array:
        """Return X validated, (n, n_features), C-contiguous, of the net's dtype."""
        form = self._net.form
        if self._reads_sparse and hasattr(X, "toarray"):
            X = X.toarray()
        return as_features(X, dtype=form.dtype, n_features=form.n_features, fitted_names=self._names)

    def targets(self, X: Array, y: Any) -> Array:
        """Return y as the net takes it, validated, for validated features."""
        y = self._numbers(y) if self.labels is not None else y
        prepare(X, y, self._net.form)
        return np.asarray(y)

    def _numbers(self, y: Any) -> Array:
        """Return the place of each row's label: int64 (n,) for one output per class, else 0 and 1 (n, 1)."""
        assert self.labels is not None
        constraint = f"one of the classes {self.labels} per row"
        try:
            given = np.asarray(y)
            if given.ndim == 2 and given.shape[1] == 1:
                given = given[:, 0]
            found = np.asarray(given[..., None] == self.labels, np.bool_)
        except CONVERSION_ERRORS as error:  # raised by the value itself
            raise TypeError(must_be("y", constraint, y)) from error
        if given.ndim != 1:
            raise ValueError(must_be("y", constraint, f"an array of shape {given.shape}"))
        if not found.any(axis=1).all():
            raise ValueError(must_be("y", constraint, given[~found.any(axis=1)][0]))
        numbers = found.argmax(axis=1)
        return numbers if self._link == "row" else numbers[:, None].astype(self._net.spec.dtype)

    def predicted(self, X: Array) -> npt.NDArray[np.int64]:
        """Return the classes that are predicted, counted: (n,), or 0 and 1 per output (n, n_outputs)."""
        found: npt.NDArray[np.int64] = self.model.predict_classes(X)
        return found

    def is_right(self, X: Array, targets: Array) -> npt.NDArray[np.bool_]:
        """Return whether each row's predicted class, or each of its classes, is that of the targets; (n,)."""
        predicted = self.predicted(X)
        wanted = targets
        if wanted.ndim > predicted.ndim:  # one-hot rows, or one column
            wanted = wanted.argmax(axis=1) if wanted.shape[1] > 1 else wanted[:, 0]
        right = predicted == (wanted if self._link == "row" else wanted > 0.5)
        return right if right.ndim == 1 else right.all(axis=1)

    def losses(self, X: Array, targets: Array) -> npt.NDArray[np.float64]:
        """Return the loss of each row, without penalty; (n,)."""
        return objective.losses_of_rows(self._net, prepare(X, targets, self._net.form))
