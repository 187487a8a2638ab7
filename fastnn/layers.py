"""Layers: what a user states about the architecture. No arithmetic and no arrays."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import activations, initializers
from fastnn._representation import call_text
from fastnn._validation import as_sequence, check_bool, must_be, number_in, positive_integer, shown
from fastnn._validation.names import explained, immutable
from fastnn.activations import Activation

__all__ = ["Dense", "Dropout"]


def __dir__() -> list[str]:
    return __all__


# The constructor is written out because it accepts more types than the fields have: a name becomes an Activation.
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
        if max_norm is not None:
            max_norm = number_in("max_norm", max_norm, "(0, inf)", "None is no limit.")
        object.__setattr__(self, "units", positive_integer(units, "units"))
        object.__setattr__(self, "activation", activations.get(activation))
        object.__setattr__(self, "kernel_initializer", initializers.get(kernel_initializer))
        object.__setattr__(self, "use_bias", check_bool(use_bias, "use_bias"))
        object.__setattr__(self, "trainable", check_bool(trainable, "trainable"))
        object.__setattr__(self, "max_norm", max_norm)
        object.__setattr__(self, "dropout", number_in("dropout", dropout, "[0, 1)"))

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
        object.__setattr__(self, "rate", number_in("rate", self.rate, "[0, 1)"))


def changed(layer: Dense, **changes: Any) -> Dense:
    """Return the same layer with other settings."""
    given = {field.name: getattr(layer, field.name) for field in fields(layer)} | changes
    return Dense(given.pop("units"), given.pop("activation"), **given)


def _is_units_and_activation(given: Any) -> bool:
    return type(given) is tuple and len(given) == 2 and type(given[0]) is int and type(given[1]) is str


def as_layers(layers: Sequence[Dense | Dropout | int] | NDArray[np.integer]) -> tuple[Dense, ...]:
    """Convert the argument `layers` of a model.

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
    constraint = "a sequence of Dense, Dropout or int, such as [64, 10]"
    if not isinstance(layers, Sequence | np.ndarray):
        raise TypeError(must_be("layers", constraint, layers))
    items = as_sequence("layers", constraint, layers)
    last = len(items) - 1
    result: list[Dense] = []
    before: Dropout | None = None
    for i, given in enumerate(items):
        layer = given
        if isinstance(layer, Dropout):
            if before is not None or i == last:
                where = "follows another one" if before is not None else "is the last, and outputs are never left out"
                raise ValueError(f"layers[{i}], {layer!r}, {where}; a Dropout stands before a layer of weights.")
            before = layer
            continue
        if not isinstance(layer, Dense):
            if not isinstance(layer, numbers.Integral):
                hint = f"Use Dense{shown(layer)}." if _is_units_and_activation(layer) else ""
                hint = "Use an instance, such as Dense(64)." if isinstance(layer, type) else hint
                raise TypeError(must_be(f"layers[{i}]", "a Dense, a Dropout or an integer of at least 1", layer, hint))
            layer = Dense(positive_integer(layer, f"layers[{i}]"), "identity" if i == last else "relu")
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
