"""Gradients and updates of a net by a loss that the caller computes, given the outputs or their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import as_shape
from fastnn._engine.engine import Engine, Sums
from fastnn._training.descent import divergence, first_order, step_options
from fastnn._training.net import Net
from fastnn._validation import CONVERSION_ERRORS, as_sequence, must_be, reason
from fastnn.kernels.nn.rules import ACTIVATIONS
from fastnn.kernels.tables import LOSS_NOT_FINITE, OK
from fastnn.schedules import rate_of_epoch

Array: TypeAlias = npt.NDArray[Any]
Function: TypeAlias = Callable[..., Any]


def vector_at(V: Any, y: Array, net: Net) -> Array:
    """Return the vectors, which are given or a function of the outputs."""
    value, name = (V(y), "V(y)") if callable(V) else (V, "V")
    return as_shape(value, y.shape, "(n, n_outputs)", dtype=net.spec.dtype, name=name)


def gradient(net: Net, features: Array, V: Any) -> tuple[Array, Array, list[Array], list[Array]]:
    """Return outputs and the products of vectors with the Jacobians by features, weights and biases."""
    with net.kernel_lock:
        done = net.derivatives().of_loss.forward(features)
    v = vector_at(V, done.outputs, net)
    with net.kernel_lock:
        by_features = net.derivatives().of_loss.backward(done, v, params=True, to_input=True)
        engine = net.built()
        return done.outputs, by_features, *engine.copies_of_gradient(engine.gradient_buffer())


def as_gradient(value: Any, name: str, like: Sequence[Array], dtype: np.dtype[Any]) -> list[Array]:
    """Return one validated array per layer."""
    constraint = f"a sequence of {len(like)} arrays, one per layer"
    given = as_sequence(name, constraint, value)
    if len(given) != len(like):
        raise ValueError(must_be(name, constraint, given, f"It has {len(given)} items."))
    return [
        as_shape(array, own.shape, "", dtype=dtype, name=f"{name}[{k}]")
        for k, (array, own) in enumerate(zip(given, like, strict=True))
    ]


def apply_gradients(net: Net, weights: list[Array], biases: list[Array]) -> None:
    """Make one update by a gradient to which no penalty is added.

    Raises
    ------
    DivergenceError
        If a weight is not finite.
    """

    def run(engine: Engine) -> float:
        engine.write_gradient(weights, biases)
        return _update(net, penalized=False)

    net.run_steps(run)


def train_on_output(net: Net, features: Array, f: Function, *, input_gradient: bool) -> tuple[float, Array]:
    """Make one update by all rows and a loss of the outputs; return it with the penalty, and its input gradient.

    Raises
    ------
    DivergenceError
        If the loss or a weight is not finite.
    """
    with net.kernel_lock:
        done = net.derivatives().of_loss.forward(features, training=True, seed=net.spec.seed)
    loss, slopes = _loss_and_slopes(f(done.outputs), ("dloss_dy",))
    if not math.isfinite(loss):
        raise divergence(Sums(status=LOSS_NOT_FINITE), net.epochs_done, _rate(net), net.history)
    v = as_shape(slopes[0], done.outputs.shape, "(n, n_outputs)", dtype=net.spec.dtype, name="dloss_dy")
    by_features = None

    def run(_: Engine) -> float:
        nonlocal by_features
        by_features = net.derivatives().of_loss.backward(done, v, params=True, to_input=input_gradient)
        return _update(net, penalized=True)

    penalty = net.run_steps(run)
    assert by_features is not None
    return loss + penalty, by_features


def train_on_jets(
    net: Net, features: Array, f: Function, directions: Array, *, input_gradient: bool
) -> tuple[float, Array]:
    """Make one update by all rows and a loss of the outputs and of their derivatives along directions (k, n_features).

    Returns the loss with the penalty, and its input gradient.

    Raises
    ------
    DivergenceError
        If the loss or a weight is not finite.
    """
    each = np.repeat(directions[:, None], len(features), axis=1)
    with net.kernel_lock:
        done = net.derivatives().jets.forward(features, each, net.built().params, order=2)
    names = ("dloss_dy", "dloss_ddy", "dloss_dd2y")
    loss, slopes = _loss_and_slopes(f(done.outputs, done.first, done.second), names)
    if not math.isfinite(loss):
        raise divergence(Sums(status=LOSS_NOT_FINITE), net.epochs_done, _rate(net), net.history)
    y, dy, d2y = (
        np.zeros_like(of)
        if slope is None
        else as_shape(slope, of.shape, axes, dtype=net.spec.dtype, name=name)
        for slope, of, name, axes in zip(
            slopes, (done.outputs, done.first, done.second), names,
            ("(n, n_outputs)", "(k, n, n_outputs)", "(k, n, n_outputs)"), strict=True,
        )
    )  # fmt: skip
    by_features = None

    def run(_: Engine) -> float:
        nonlocal by_features
        by_features = net.derivatives().jets.backward(done, y, dy, d2y, params=True, to_input=input_gradient)
        return _update(net, penalized=True)

    penalty = net.run_steps(run)
    assert by_features is not None
    return loss + penalty, by_features


def check_smooth(net: Net, call: str) -> None:
    """Raise ValueError unless all activations have second derivatives."""
    for k, layer in enumerate(net.spec.layers):
        if not layer.activation.rule.is_smooth:
            smooth = ", ".join(rule.name for rule in ACTIVATIONS if rule.is_smooth)
            raise ValueError(
                f"{call} needs second derivatives, but layers[{k}] has the activation {layer.activation.name!r}, for "
                f"which there are none. Those of {smooth} are known."
            )


def check_no_dropout(net: Net, call: str) -> None:
    """Raise ValueError if a layer has dropout."""
    for k, layer in enumerate(net.spec.layers):
        if layer.dropout:
            raise ValueError(f"{call} needs a model without dropout, but layers[{k}] has {layer.dropout}.")


def _loss_and_slopes(returned: Any, names: tuple[str, ...]) -> tuple[float, tuple[Any, ...]]:
    """Return what a function of the outputs has returned: a number, and the derivatives."""
    constraint = f"a tuple (loss, {', '.join(names)})"
    if not isinstance(returned, tuple | list) or len(returned) != 1 + len(names):
        raise TypeError(must_be("what f returns", constraint, returned))
    try:
        loss = float(returned[0])
    except CONVERSION_ERRORS as error:
        raise TypeError(must_be("the loss that f returns", "a number", returned[0], f"{reason(error)}.")) from error
    return loss, tuple(returned[1:])


def _rate(net: Net) -> float:
    """Return the learning rate of an update between two epochs, as of `Model.train_on_batch`."""
    return rate_of_epoch(first_order(net).learning_rate, net.epochs_done)


def _update(net: Net, *, penalized: bool) -> float:
    """Make one update by the gradient in the engine's buffer; return the penalty before it."""
    rate = _rate(net)
    status, penalty = net.derivatives().of_loss.update(
        step_options(first_order(net), rate), seed=net.spec.seed, penalized=penalized
    )
    if status != OK:
        raise divergence(Sums(status=status), net.epochs_done, rate, net.history)
    return penalty
