"""Differentiable: the methods of a Model that return derivatives by the inputs, and those that train from outside.

Derivatives are those of the function that `Model.predict` computes: with its weights, which are the running averages
where the optimizer has an `ema_momentum`, with the last activation, and without dropout.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import as_features, as_shape
from fastnn._data.prepare import prepare
from fastnn._validation import CONVERSION_ERRORS, must_be
from fastnn._validation.names import explained

if TYPE_CHECKING:
    from fastnn._training.net import Net

Array: TypeAlias = npt.NDArray[Any]


class Differentiable:
    """What `Model` inherits: its outputs as a function with derivatives."""

    __slots__ = ()
    _net: Net

    @explained
    def hidden(self, X: Any, layer: int = -2) -> Array:
        """Return the outputs of a layer, its activation included.

        The weights are those of `predict`.

        Parameters
        ----------
        X : array-like, (n, n_features)
        layer : int
            Index in `layers`, as of a Python sequence: 0 is the first hidden layer, -2 the last one, -1 the layer
            that `predict` returns.

        Returns
        -------
        ndarray, (n, units)
            A new array of the model's dtype.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if there is no such layer.
        """
        net = self._net
        features = _features(net, X)
        number = _layer(layer, len(net.spec.layers))
        with net.kernel_lock:
            return net.derivatives().hidden(features, number)

    @explained
    def vjp(self, X: Any, V: Any) -> tuple[Array, Array]:
        """Return the outputs and the product of a vector and the Jacobian of each row: V_i J_i, dE/dX for V = dE/dy.

        The weights are those of `predict`, without dropout.

        Parameters
        ----------
        X : array-like, (n, n_features)
        V : array-like, (n, n_outputs), or callable
            One vector per row; or a function that is called once with the outputs y (n, n_outputs) and returns them,
            such as the derivative of a loss of y.

        Returns
        -------
        y : ndarray, (n, n_outputs)
            The outputs, as `predict` returns them.
        dX : ndarray, (n, n_features)
            The sum over outputs o of V[i, o] dy[i, o] / dX[i].

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if V is of another shape, not numeric or not finite. What the function raises.
        """
        net = self._net
        features = _features(net, X)
        with net.kernel_lock:
            derivatives = net.derivatives()
            if callable(V):
                y = derivatives.hidden(features, len(net.spec.layers) - 1)
                v = _like_outputs(V(y), y.shape, "V(y)", net)
            else:
                v = _like_outputs(V, (len(features), net.n_outputs), "V", net)
            return derivatives.product(features, v)

    @explained
    def jacobian(self, X: Any) -> Array:
        """Return the derivatives of all outputs by all features, row by row.

        The weights are those of `predict`, without dropout.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs, n_features)
            dy[i, o] / dX[i, j] at [i, o, j].

        Raises
        ------
        ValueError, TypeError
            As for `predict`.
        """
        net = self._net
        features = _features(net, X)
        with net.kernel_lock:
            return net.derivatives().jacobian(features)

    @explained
    def input_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Array:
        """Return the derivative of each row's own loss by the row's features.

        The loss of a row does not depend on the other rows: it is not divided by their number, and has no penalty. The
        weights are those of `predict`, without dropout.

        Parameters
        ----------
        X, y
            As for `fit`.
        sample_weight : array-like (n,), or None
            Factor of the loss of each row.

        Returns
        -------
        ndarray, (n, n_features)

        Raises
        ------
        ValueError, TypeError
            As for `evaluate`.
        """
        net = self._net
        net.built()
        rows = prepare(X, y, net.form, sample_weight=sample_weight)
        with net.kernel_lock:
            return net.derivatives().loss_gradient(rows.data())


def _features(net: Net, X: Any) -> Array:
    """Return validated features for a net that has weights."""
    net.built()
    form = net.form
    return as_features(X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names)


def _layer(layer: Any, n_layers: int) -> int:
    """Return the number of a layer from 0, given its index as of a Python sequence."""
    try:
        index = operator.index(layer)
    except CONVERSION_ERRORS as error:
        raise TypeError(must_be("layer", "an integer", layer)) from error
    if isinstance(layer, bool | np.bool_):
        raise TypeError(must_be("layer", "an integer", layer))
    if not -n_layers <= index < n_layers:
        hint = f"The model has {n_layers} layer{'s' * (n_layers > 1)}."
        raise ValueError(must_be("layer", f"from {-n_layers} to {n_layers - 1}", layer, hint))
    return index % n_layers


def _like_outputs(value: Any, shape: tuple[Any, ...], name: str, net: Net) -> Array:
    """Return validated numbers of the shape of the outputs."""
    return as_shape(value, shape, "n_outputs", dtype=net.spec.dtype, name=name)
