"""The net of a Model or of an estimator, and its rows and targets, for attacks and explanations."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import as_features
from fastnn._data.prepare import prepare
from fastnn._data.rows import Rows
from fastnn._training import objective
from fastnn._validation import must_be
from fastnn.model import Model, net_of

Array: TypeAlias = npt.NDArray[Any]


class Subject:
    """A trained net and how its users name its classes.

    Attributes
    ----------
    model : Model
        The model itself, or that of the estimator.
    labels : ndarray or None
        (n_classes,) labels of an estimator's classes, which the model counts; None for those of a Model, for several
        labels per row, and for values.
    classifies : bool
        Whether the outputs are, or mean, probabilities.

    Raises
    ------
    TypeError
        If `model` is neither.
    ValueError
        If it has no weights yet.
    """

    def __init__(self, model: Any) -> None:
        self._estimator: Any = None
        self.labels: Array | None = None
        if isinstance(model, Model):
            self.model = model
        elif hasattr(type(model), "_bound_model"):
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(model)
            self._estimator = model
            self.model = model._bound_model()
            if hasattr(model, "classes_") and not model._label_binarizer.y_type_.startswith("multilabel"):
                self.labels = model.classes_
        else:
            hint = "Of a Pipeline, give its last step and the transformed X."
            raise TypeError(must_be("model", "a fastnn.Model or a fitted estimator of fastnn", model, hint))
        net_of(self.model).built()
        self.classifies = objective.has_probabilities(net_of(self.model).spec)

    def features(self, X: Any) -> Array:
        """Return X validated, (n, n_features), C-contiguous, of the model's dtype."""
        if self._estimator is not None:
            found: Array = self._estimator._features(X, reset=False, dtype=self.model.dtype)
            return found
        form = net_of(self.model).form
        return as_features(X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names)

    def targets(self, X: Array, y: Any) -> Any:
        """Return y as the model takes it, validated; `X` are validated features."""
        if self._estimator is not None and self.classifies:
            y = self._codes(y)
        prepare(X, y, net_of(self.model).form)
        return y

    def _codes(self, y: Any) -> Array:
        """Return the number of each row's class (n,), or 0 and 1 per output, of an estimator's labels."""
        given = np.asarray(y)
        if self.labels is not None:
            if given.ndim == 2 and given.shape[1] == 1:
                given = given[:, 0]
            unknown = np.setdiff1d(given, self.labels)
            if given.ndim != 1 or len(unknown):
                what = unknown if given.ndim == 1 else given
                raise ValueError(must_be("y", f"one of the classes {self.labels} per row", what))
        codes: Array = self._estimator._codes(given)
        return codes if codes.dtype == np.int64 else codes.astype(self.model.dtype)

    def predicted(self, X: Array) -> Array:
        """Return the classes of the predictions, counted: labels (n,), or 0 and 1 per output (n, n_outputs)."""
        return self.model.predict_classes(X)

    def is_right(self, X: Array, targets: Any) -> npt.NDArray[np.bool_]:
        """Return whether each row's predicted class, or each of its classes, is that of the target; (n,)."""
        predicted = self.predicted(X)
        wanted = np.asarray(targets)
        if wanted.ndim > predicted.ndim:  # one-hot rows, or one column
            wanted = wanted.argmax(axis=1) if wanted.shape[1] > 1 else wanted[:, 0]
        right = predicted == (wanted if predicted.ndim == 1 and wanted.dtype.kind in "iu" else wanted > 0.5)
        return np.asarray(right if right.ndim == 1 else right.all(axis=1))

    def losses(self, X: Array, targets: Any) -> npt.NDArray[np.float64]:
        """Return the loss of each row, without penalty; (n,)."""
        net = net_of(self.model)
        rows: Rows = prepare(X, targets, net.form)
        return objective.losses_of_rows(net, rows)
