"""Hidden outputs and derivatives of the scikit-learn estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from fastnn._validation import CONVERSION_ERRORS, integer, must_be

Array = npt.NDArray[Any]


class HiddenOutputs:
    """Methods `transform`, `get_feature_names_out` and `input_gradient` of both estimators; a mixin.

    It does not derive from scikit-learn's mixin of transformers, which would take the names of the columns of the
    default layer for those of all layers.
    """

    def transform(self: Any, X: Any, layer: int = -2) -> Any:
        """Return the outputs of a hidden layer, as features for another estimator.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        layer : int
            Number of the layer, counted as in Python: 0 is the first hidden layer, -2 the last one, and -1 the output
            of the net.

        Returns
        -------
        ndarray or data frame
            (n_samples, n_units) in the dtype of the weights; a data frame if `set_output` asks for it.

        Raises
        ------
        ValueError
            If there is no such layer, as the default one in a net without hidden layers, or X is invalid.
        """
        check_is_fitted(self)
        number = self._layer(layer)
        model = self._bound_model()
        outputs = model.hidden(self._features(X, reset=False, dtype=model.dtype), number)
        return _wrap_data_with_container("transform", outputs, X, _OfLayer(self, number))

    def get_feature_names_out(self: Any, input_features: Any = None, layer: int = -2) -> Array:
        """Return the names of the columns that `transform` returns: the name of the class and a number.

        Parameters
        ----------
        input_features : array-like of str or None
            Not used, but validated against the names of the columns of X.
        layer : int
            As for `transform`.

        Returns
        -------
        ndarray of str
            (n_units,), such as "mlpclassifier0".

        Raises
        ------
        ValueError
            If there is no such layer, or `input_features` are not those of X.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        n_units = np.shape(self.coefs_[self._layer(layer)])[1]
        return np.asarray([f"{type(self).__name__.lower()}{k}" for k in range(n_units)], dtype=object)

    def input_gradient(self: Any, X: Any, y: Any, sample_weight: Any = None) -> Array:
        """Return the derivative of the loss of each row by its features.

        The loss is that which `fit` minimizes, of each row by itself, without the penalty and without `class_weight`.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like
            Targets, as for `fit`.
        sample_weight : array-like (n_samples,) or None
            Factor of the loss of each row; None for 1.

        Returns
        -------
        ndarray
            (n_samples, n_features) in the dtype of the weights.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid or inconsistent with the others.
        """
        check_is_fitted(self)
        model = self._bound_model()
        X, y, sample_weight = self._known_rows(X, y, sample_weight, model.dtype)
        gradient: Array = model.input_gradient(X, y, sample_weight=sample_weight)
        gradient /= gradient.dtype.type(self._scale())
        return gradient

    def _layer(self: Any, layer: Any) -> int:
        """Return the number of a layer, counted from 0."""
        n_layers = len(self.coefs_)
        try:
            number = integer("layer", layer, least=-n_layers)
        except CONVERSION_ERRORS:
            number = n_layers
        if number < n_layers:
            return number % n_layers
        hint = "There is no hidden layer." if n_layers == 1 else ""
        raise ValueError(must_be("layer", f"an integer from {-n_layers} to {n_layers - 1}", layer, hint))


class _OfLayer:
    """An estimator whose names of columns are those of one layer."""

    def __init__(self, estimator: Any, layer: int) -> None:
        self._estimator = estimator
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)

    def get_feature_names_out(self) -> Array:
        """Return the names of the columns of the layer."""
        names: Array = self._estimator.get_feature_names_out(layer=self._layer)
        return names
