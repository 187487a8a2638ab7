"""Differentiable: the methods of a Model that return derivatives by the inputs, and those that train from outside.

Derivatives are those of the function that `Model.predict` computes: with its weights, which are the running averages
where the optimizer has an `ema_momentum`, with the last activation, and without dropout.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from fastnn._compatibility import check_pieces
from fastnn._data.arrays import as_features, as_shape, feature_names
from fastnn._data.prepare import prepare
from fastnn._training import outside
from fastnn._validation import CONVERSION_ERRORS, check_bool, must_be
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

    @overload
    def vjp(self, X: Any, V: Any, *, params: Literal[False] = ...) -> tuple[Array, Array]: ...

    @overload
    def vjp(
        self, X: Any, V: Any, *, params: Literal[True]
    ) -> tuple[Array, Array, list[Array], list[Array]]: ...

    @explained
    def vjp(self, X: Any, V: Any, *, params: bool = False) -> tuple[Any, ...]:
        """Return the outputs and V times their derivatives: dE/dX, and dE/dW, for V = dE/dy of any E.

        The weights are those of `predict`; with `params` they are those that training changes, `weights` and `biases`,
        which differ where the optimizer has an `ema_momentum`. There is no dropout and no penalty.

        Parameters
        ----------
        X : array-like, (n, n_features)
        V : array-like, (n, n_outputs), or callable
            One vector per row; or a function that is called once with the outputs y (n, n_outputs) and returns them,
            such as the derivative of a loss of y.
        params : bool
            Whether to return the derivatives by weights and biases, too.

        Returns
        -------
        y : ndarray, (n, n_outputs)
            The outputs.
        dX : ndarray, (n, n_features)
            The sum over outputs o of V[i, o] dy[i, o] / dX[i].
        dW, db : list of ndarray
            Only with `params`: for each layer the sum over rows i and outputs o of V[i, o] dy[i, o] / dW (n_in, n_out),
            and the same for the bias (n_out,); zeros for layers that are not trainable. See `apply_gradients`.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if V is of another shape, not numeric or not finite. What the function raises.
        """
        net = self._net
        params = check_bool(params, "params")
        features = _features(net, X)
        shape = (len(features), net.n_outputs or 0)
        v = V if callable(V) else as_shape(V, shape, "(n, n_outputs)", dtype=net.spec.dtype, name="V")
        if params:
            return outside.gradient(net, features, v)
        if callable(v):
            v = outside.vector_at(v, self.hidden(features, -1), net)
        with net.kernel_lock:
            return net.derivatives().product(features, v)

    @explained
    def jvp(self, X: Any, U: Any) -> tuple[Array, Array]:
        """Return the outputs and their derivatives along a direction, J_i U_i of each row.

        The weights are those of `predict`, without dropout.

        Parameters
        ----------
        X : array-like, (n, n_features)
        U : array-like, (n, n_features)
            One direction per row.

        Returns
        -------
        y : ndarray, (n, n_outputs)
            The outputs, as `predict` returns them.
        dy : ndarray, (n, n_outputs)
            The sum over features j of U[i, j] dy[i] / dX[i, j].

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if U is of another shape, not numeric or not finite.
        """
        net = self._net
        features = _features(net, X)
        u = as_shape(U, features.shape, "(n, n_features)", dtype=net.spec.dtype, name="U")
        with net.kernel_lock:
            return net.derivatives().tangent(features, u)

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

    @explained
    def jet(self, X: Any, U: Any) -> tuple[Array, Array, Array]:
        """Return the outputs and their first and second derivatives along a direction.

        For smooth activations. The weights are those of `predict`, without dropout.

        Parameters
        ----------
        X : array-like, (n, n_features)
        U : array-like, (n, n_features)
            One direction per row.

        Returns
        -------
        y, dy, d2y : ndarray, (n, n_outputs)
            Value and derivatives of y(X[i] + t U[i]) by t at t = 0.

        Raises
        ------
        ValueError, TypeError
            As for `jvp`, and if an activation has no second derivative, such as "relu".
        """
        net = self._net
        features = _features(net, X)
        outside.check_smooth(net, "jet")
        u = as_shape(U, features.shape, "(n, n_features)", dtype=net.spec.dtype, name="U")
        with net.kernel_lock:
            return net.derivatives().jets.second(features, u)

    @explained
    def hvp(self, X: Any, U: Any, V: Any = None) -> Array:
        """Return the product of the Hessian of the outputs and a direction, of each row: the sum over o of V_o H_o U.

        For smooth activations. The weights are those of `predict`, without dropout.

        Parameters
        ----------
        X : array-like, (n, n_features)
        U : array-like, (n, n_features)
            One direction per row.
        V : array-like, (n, n_outputs), or None
            Factors of the outputs; None for ones.

        Returns
        -------
        ndarray, (n, n_features)
            The derivative along U[i] of the gradient of the sum over outputs of V[i, o] y[i, o].

        Raises
        ------
        ValueError, TypeError
            As for `jet`, and if V is of another shape, not numeric or not finite.
        """
        net = self._net
        features = _features(net, X)
        outside.check_smooth(net, "hvp")
        dtype, shape = net.spec.dtype, (len(features), net.n_outputs or 0)
        u = as_shape(U, features.shape, "(n, n_features)", dtype=dtype, name="U")
        v = np.ones(shape, dtype) if V is None else as_shape(V, shape, "(n, n_outputs)", dtype=dtype, name="V")
        with net.kernel_lock:
            return net.derivatives().jets.hessian_product(features, u, v)

    @explained
    def apply_gradients(self, dW: Any, db: Any) -> None:
        """Make one update of the optimizer by a gradient, such as that of `vjp`, for custom training loops.

        It is the update that `train_on_batch` makes of this gradient, with the optimizer's weight decay, clipping and
        averages and the layers' `max_norm`; a step of the optimizer, not an epoch. The penalty of a regularizer is not
        added to it: `gradient` returns it with the penalty.

        Parameters
        ----------
        dW, db : sequence of array-like
            dE/dW (n_in, n_out) and dE/db (n_out,) of each layer; without effect for layers that are not trainable, and
            for biases that are not used.

        Raises
        ------
        ValueError, TypeError
            If there are no weights yet, an array is of another shape, not numeric or not finite, or the optimizer is a
            full-batch solver.
        DivergenceError
            If a weight would not be finite; the model keeps the last finite weights.
        """
        net = self._net
        check_pieces("apply_gradients", net.optimizer)
        engine = net.built()
        net.check_trainable()
        weights = outside.as_gradient(dW, "dW", engine.weights(), net.spec.dtype)
        biases = outside.as_gradient(db, "db", engine.biases(), net.spec.dtype)

        def run() -> None:
            net.check_weights()
            outside.apply_gradients(net, weights, biases)

        net.in_training("apply_gradients", run)

    @overload
    def train_on_output(
        self, X: Any, f: Callable[..., Any], *, directions: Any = ..., input_gradient: Literal[False] = ...
    ) -> float: ...

    @overload
    def train_on_output(
        self, X: Any, f: Callable[..., Any], *, directions: Any = ..., input_gradient: Literal[True]
    ) -> tuple[float, Array]: ...

    @explained
    def train_on_output(
        self, X: Any, f: Callable[..., Any], *, directions: Any = None, input_gradient: bool = False
    ) -> Any:
        """Make one update by all given rows and any loss of the outputs, for custom losses and chains of models.

        One way forward, `f`, one way back and an update, as `train_on_batch` makes it: with the penalty of the
        regularizer, and with the dropout of a training step in the outputs that `f` receives and in the gradient.

        Parameters
        ----------
        X : array-like, (n, n_features)
        f : callable
            Called once as ``f(y)`` with the outputs (n, n_outputs), the last activation included; returns
            ``(loss, dloss_dy)``, a number and an array (n, n_outputs). The loss of the model is without effect.
        directions : array-like, (k, n_features), or None
            Directions along which `f` receives derivatives, for the residual of a differential equation: called as
            ``f(y, dy, d2y)`` with dy and d2y (k, n, n_outputs), the first and second derivatives along each, `f`
            returns ``(loss, dloss_dy, dloss_ddy, dloss_dd2y)`` of the same shapes, or None for zeros. With
            ``np.eye(n_features)`` they are the partial derivatives. For smooth activations, without dropout.
        input_gradient : bool
            Whether to return the derivatives of the loss by X, too, with which a model below this one is trained.

        Returns
        -------
        loss : float
            That of `f`, with the penalty, before the update.
        dX : ndarray, (n, n_features)
            Only with `input_gradient`: dloss/dX before the update.

        Raises
        ------
        ValueError, TypeError
            If something given or returned makes no sense; the model is then as before. What `f` raises.
        DivergenceError
            If the loss or a weight is not finite; the model keeps the last finite weights.
        """
        net = self._net
        check_pieces("train_on_output", net.optimizer)
        net.check_trainable()
        to_input = check_bool(input_gradient, "input_gradient")
        if not callable(f):
            raise TypeError(must_be("f", "a function of the outputs", f))
        form = net.form
        features = as_features(X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names)
        if directions is not None:
            outside.check_smooth(net, "train_on_output with directions")
            outside.check_no_dropout(net, "train_on_output with directions")
            u = as_features(directions, dtype=form.dtype, n_features=features.shape[1], name="directions")

        def run() -> Any:
            net.check_weights()
            net.learn_names(feature_names(X))
            net.build(features.shape[1])
            if directions is None:
                loss, by_features = outside.train_on_output(net, features, f, input_gradient=to_input)
            else:
                loss, by_features = outside.train_on_jets(net, features, f, u, input_gradient=to_input)
            return (loss, by_features) if to_input else loss

        return net.in_training("train_on_output", run)


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
