"""Layers: what a user states about the architecture. No arithmetic and no arrays."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastnn import activations, initializers
from fastnn.activations import Activation


# The constructor is written out because it takes more than it keeps: a name comes in, an Activation stays.
@dataclass(frozen=True, init=False)
class Dense:
    """A fully connected layer, y = activation(x W + b).

    Parameters
    ----------
    units : int
        The number of outputs, at least 1.
    activation : str, Activation or None
        What is done to the sum; None is identity.
    kernel_initializer : str
        How the weights start; "auto" picks by the activation (see `fastnn.initializers.initial_weights`).
    use_bias : bool
        Whether there is a b.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range.

    Notes
    -----
    W has the shape (n_in, units) and b (units,); n_in comes from the layer before or from the data.
    """

    units: int
    activation: Activation
    kernel_initializer: str
    use_bias: bool

    def __init__(
        self,
        units: int,
        activation: str | Activation | None = "identity",
        *,
        kernel_initializer: str = "auto",
        use_bias: bool = True,
    ) -> None:
        if not isinstance(use_bias, (bool, np.bool_)):
            raise TypeError(f"use_bias must be True or False; got {reprlib.repr(use_bias)}.")
        object.__setattr__(self, "units", _count("units", units))
        object.__setattr__(self, "activation", activations.get(activation))
        object.__setattr__(self, "kernel_initializer", initializers.get(kernel_initializer))
        object.__setattr__(self, "use_bias", bool(use_bias))


def _count(argument: str, given: int) -> int:
    try:
        if isinstance(given, bool):
            raise TypeError
        count = operator.index(given)
    except TypeError:
        raise TypeError(f"{argument} must be an integer of at least 1; got {reprlib.repr(given)}.") from None
    if count < 1:
        raise ValueError(f"{argument} must be at least 1; got {count}.")
    return count


def as_layers(layers: Sequence[Dense | int] | NDArray[np.integer]) -> tuple[Dense, ...]:
    """Turn what a user says about the architecture into layers.

    Parameters
    ----------
    layers : sequence of Dense or int
        From the first hidden layer to the output. An integer stands for so many units, with relu when the
        layer is hidden and identity when it is the last.

    Returns
    -------
    tuple of Dense
        Empty for an empty sequence.

    Raises
    ------
    TypeError
        If `layers` is no sequence, or an entry is neither a Dense nor an integer.
    ValueError
        If an integer is below 1, or softmax stands before the last layer.
    """
    is_sequence = layers.ndim > 0 if isinstance(layers, np.ndarray) else isinstance(layers, Sequence)
    if isinstance(layers, (str, bytes)) or not is_sequence:
        raise TypeError(
            f"layers must be a sequence of Dense or int, such as [64, 10]; got {reprlib.repr(layers)}."
        )
    last = len(layers) - 1
    result = []
    for i, given in enumerate(layers):
        layer = given
        if not isinstance(layer, Dense):
            if isinstance(layer, type):
                raise TypeError(
                    f"layers[{i}] must be an instance such as Dense(64), not the class {layer!r}."
                )
            layer = Dense(_count(f"layers[{i}]", layer), "identity" if i == last else "relu")
        if layer.activation.name == "softmax" and i != last:
            raise ValueError(f"layers[{i}] has the activation softmax, which only the last layer may have.")
        result.append(layer)
    return tuple(result)
