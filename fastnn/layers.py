"""Layers: what a user states about the architecture. No arithmetic and no arrays."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import activations, initializers
from fastnn._representation import call_text
from fastnn._validation import finite_number, must_be
from fastnn._validation.names import explained, immutable
from fastnn.activations import Activation

__all__ = ["Dense", "Dropout"]


def __dir__() -> list[str]:
    return __all__



# The constructor is written out because it takes more than it keeps: a name comes in, an Activation stays.
@immutable("Set model.trainable = [...], a bool for each layer, to freeze layers; other settings need a new Model.")
@explained
@dataclass(frozen=True, init=False, repr=False)
class Dense:
    """A fully connected layer, y = activation(x W + b).

    Parameters
    ----------
    units : int
        The number of outputs, at least 1.
    activation : str, Activation or None
        What is done to the sum: a name of `fastnn.activations.Activation`, ``fastnn.elu(alpha=0.5)``, one of
        `fastnn.custom.activation`; None is identity.
    kernel_initializer : str
        How the weights start; "auto" picks by the activation (see `fastnn.initializers.initial_weights`).
    use_bias : bool
        Whether there is a b.
    trainable : bool
        Whether training changes W and b; `Model.trainable` may say otherwise later.
    max_norm : float or None
        Longest that the weights of one unit may be: after each update longer ones are shortened to it [1]_.
    dropout : float
        Share of the layer's inputs that each training step leaves out at random, from 0 up to 1; a `Dropout` before
        the layer says the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range.

    Notes
    -----
    W has the shape (n_in, units) and b (units,); n_in comes from the layer before or from the data.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014,
       section 5.1.
    """

    units: int
    activation: Activation
    kernel_initializer: str
    use_bias: bool
    trainable: bool
    max_norm: float | None
    dropout: float

    def __init__(
        self,
        units: int,
        activation: str | Activation | None = "identity",
        *,
        kernel_initializer: str = "auto",
        use_bias: bool = True,
        trainable: bool = True,
        max_norm: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        for name, flag in (("use_bias", use_bias), ("trainable", trainable)):
            if not isinstance(flag, (bool, np.bool_)):
                raise TypeError(must_be(name, "True or False", flag))
        if max_norm is not None:
            max_norm = finite_number("max_norm", max_norm)
            if max_norm <= 0.0:
                raise ValueError(must_be("max_norm", "above 0, or None for no limit", max_norm))
        object.__setattr__(self, "units", _count("units", units))
        object.__setattr__(self, "activation", activations.get(activation))
        object.__setattr__(self, "kernel_initializer", initializers.get(kernel_initializer))
        object.__setattr__(self, "use_bias", bool(use_bias))
        object.__setattr__(self, "trainable", bool(trainable))
        object.__setattr__(self, "max_norm", max_norm)
        object.__setattr__(self, "dropout", _rate("dropout", dropout))

    def __repr__(self) -> str:
        """Return a call with the width, and what differs from the defaults."""
        values = {field.name: repr(getattr(self, field.name)) for field in fields(self)}
        values["activation"] = self.activation.text
        if values["activation"] == "'identity'":
            del values["activation"]
        return call_text(self, values)


@immutable("Write {new} in a new Model.")
@explained
@dataclass(frozen=True)
class Dropout:
    """Leave out inputs of the next layer at random while training, each with the probability `rate`.

    Those that stay are divided by 1 - rate, so that predictions need no change (inverted dropout). Which ones stay
    depends on the model's seed, the number of the step and their place alone.

    Parameters
    ----------
    rate : float
        At least 0 and below 1.

    Raises
    ------
    TypeError, ValueError
        If it is no such number.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import fastnn
    >>> layers = [fastnn.Dense(64, "relu"), fastnn.Dropout(0.5), fastnn.Dense(10)]
    >>> [layer.dropout for layer in fastnn.Model(layers, loss="softmax_crossentropy").layers]
    [0.0, 0.5]
    """

    rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        object.__setattr__(self, "rate", _rate("rate", self.rate))


def _rate(argument: str, given: float) -> float:
    rate = finite_number(argument, given)
    if not 0.0 <= rate < 1.0:
        raise ValueError(must_be(argument, "at least 0 and below 1", rate))
    return rate


def changed(layer: Dense, **changes: Any) -> Dense:
    """Return the same layer with other settings."""
    given = {field.name: getattr(layer, field.name) for field in fields(layer)} | changes
    return Dense(given.pop("units"), given.pop("activation"), **given)


def _count(argument: str, given: int) -> int:
    try:
        if isinstance(given, bool):
            raise TypeError
        count = operator.index(given)
    except TypeError:
        raise TypeError(must_be(argument, "an integer of at least 1", given)) from None
    if count < 1:
        raise ValueError(must_be(argument, "at least 1", count))
    return count


def _width(argument: str, given: Any) -> int:
    """Return the number that stands for a layer; the error of another object has the layer that it stands for."""
    try:
        return _count(argument, given)
    except TypeError as error:
        if isinstance(given, tuple | list) and given:
            advice = f" Write Dense({', '.join(map(repr, given))})."
        else:
            advice = " Write Dense(64, 'relu')."
        raise TypeError(f"{error}{advice}") from None


def as_layers(layers: Sequence[Dense | Dropout | int] | NDArray[np.integer]) -> tuple[Dense, ...]:
    """Turn what a user says about the architecture into layers.

    Parameters
    ----------
    layers : sequence of Dense, Dropout or int
        From the first hidden layer to the output. An integer n stands for `Dense(n)`, with relu when the
        layer is hidden and identity when it is the last.

    Returns
    -------
    tuple of Dense
        Empty for an empty sequence. A Dropout has become part of the layer after it.

    Raises
    ------
    TypeError
        If `layers` is no sequence, or an entry is neither a Dense, a Dropout nor an integer.
    ValueError
        If an integer is below 1, softmax stands before the last layer, or a Dropout before none or beside another.
    """
    is_sequence = layers.ndim > 0 if isinstance(layers, np.ndarray) else isinstance(layers, Sequence)
    if isinstance(layers, (str, bytes)) or not is_sequence:
        raise TypeError(
            f"layers must be a sequence of Dense, Dropout or int, such as [64, 10], got {reprlib.repr(layers)}."
        )
    last = len(layers) - 1
    result: list[Dense] = []
    before: Dropout | None = None
    for i, given in enumerate(layers):
        layer = given
        if isinstance(layer, Dropout):
            if before is not None or i == last:
                where = "follows another one" if before is not None else "is the last, and outputs are never left out"
                raise ValueError(f"layers[{i}], {layer!r}, {where}; a Dropout stands before a layer of weights.")
            before = layer
            continue
        if not isinstance(layer, Dense):
            if isinstance(layer, type):
                raise TypeError(
                    f"layers[{i}] must be an instance such as Dense(64), not the class {layer!r}."
                )
            layer = Dense(_width(f"layers[{i}]", layer), "identity" if i == last else "relu")
        if layer.activation.rule.rows and i != last:
            raise ValueError(
                f"layers[{i}] has the activation {layer.activation.name}, which only the last layer may have."
            )
        if before is not None:
            if layer.dropout:
                raise ValueError(f"layers[{i}] has dropout={layer.dropout!r} and stands after {before!r}: give one.")
            layer = changed(layer, dropout=before.rate)
            before = None
        result.append(layer)
    return tuple(result)
