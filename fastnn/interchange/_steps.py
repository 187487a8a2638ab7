"""Net from the layers of another library: its steps are gathered, affine ones multiplied into the dense layers."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import activations
from fastnn._validation import must_be
from fastnn._validation.names import unknown_keyword
from fastnn.activations import Activation
from fastnn.layers import Dense
from fastnn.losses import Loss
from fastnn.model import Model
from fastnn.optimizers import Optimizer

Array: TypeAlias = npt.NDArray[Any]

#: The loss that a net was probably trained with, by the activation of its last layer; squared_error for the others.
_LOSSES = {"softmax": "softmax_crossentropy", "sigmoid": "binary_crossentropy", "exponential": "poisson"}


@dataclass
class _Layer:
    """A dense layer while its neighbours are read: float64 weights (n_in, n_out), biases (n_out,)."""

    place: str
    weights: Array
    biases: Array
    has_bias: bool
    activation: Activation | None
    dropout: float
    trainable: bool


class Steps:
    """The steps of a net in their order, each of which extends the dense layers, or is refused by its place.

    Parameters
    ----------
    argument : str
        Name of the argument that holds the net, for the texts of errors.
    """

    def __init__(self, argument: str) -> None:
        self._argument = argument
        self._layers: list[_Layer] = []
        self._scale: tuple[str, Array, Array] | None = None  # place, factors and summands after the last activation
        self._dropout: tuple[str, float] | None = None  # place and rate, after the last layer
        self._dtypes: list[np.dtype[Any]] = []

    def refuse(self, place: str, reason: str, hint: str = "") -> NoReturn:
        """Raise ValueError about one step.

        Parameters
        ----------
        place : str
            Name and repr of the step.
        reason : str
            Continues "<place> ".
        hint : str
            One sentence; optional.
        """
        raise ValueError(f"{self._argument}: {place} {reason}." + (f" {hint}" if hint else ""))

    def _numbers(self, place: str, name: str, given: Any, ndim: int) -> Array:
        """Return numbers as float64, and note their dtype."""
        array = np.asarray(given)
        if array.dtype.kind != "f" or array.ndim != ndim:
            self.refuse(place, f"has {name} of shape {array.shape} and dtype {array.dtype}, not floats in {ndim}-D")
        self._dtypes.append(array.dtype)
        return array.astype(np.float64)

    def dense(self, place: str, weights: Any, biases: Any = None, *, trainable: bool = True) -> None:
        """Add x W + b.

        Parameters
        ----------
        place : str
        weights : array, (n_in, n_out)
        biases : array (n_out,) or None
        trainable : bool
        """
        w = self._numbers(place, "weights", weights, 2)
        if 0 in w.shape:
            self.refuse(place, f"has weights of shape {w.shape}, which are none")
        b = np.zeros(w.shape[1]) if biases is None else self._numbers(place, "biases", biases, 1)
        if b.shape != w.shape[1:]:
            self.refuse(place, f"has {b.size} biases, but {w.shape[1]} outputs")
        if self._layers and self._layers[-1].weights.shape[1] != len(w):
            before = self._layers[-1]
            self.refuse(place, f"has {len(w)} inputs, but {before.place} before it {before.weights.shape[1]} outputs")
        has_bias = biases is not None
        if self._scale is not None:
            where, factors, summands = self._scale
            if factors.size not in (1, len(w)):
                self.refuse(where, f"has {factors.size} columns, but {place} after it {len(w)} inputs")
            b = b + np.broadcast_to(summands, len(w)) @ w
            w = np.broadcast_to(factors, len(w))[:, None] * w
            has_bias = has_bias or bool(np.any(summands != 0.0))
        dropout = 0.0 if self._dropout is None else self._dropout[1]
        self._scale = self._dropout = None
        self._layers.append(_Layer(place, w, b, has_bias, None, dropout, trainable))

    def scale(self, place: str, factors: Any, summands: Any) -> None:
        """Add x -> factors x + summands, column by column, which becomes part of a dense layer.

        Parameters
        ----------
        place : str
        factors, summands : array, (n,) or (1,)
        """
        s = np.atleast_1d(np.asarray(factors, np.float64))
        t = np.atleast_1d(np.asarray(summands, np.float64))
        if s.ndim != 1 or t.ndim != 1:
            self.refuse(place, f"scales by arrays of shapes {s.shape} and {t.shape}, not by a number per column")
        try:
            s, t = np.broadcast_arrays(s, t)
            if self._scale is not None:
                _, s_before, t_before = self._scale
                s, t = np.broadcast_arrays(s * s_before, s * t_before + t)
        except ValueError:
            self.refuse(place, "has another number of columns than the step before it")
        last = self._layers[-1] if self._layers else None
        if last is None or last.activation is not None or self._dropout is not None:
            self._scale = place, s, t
            return
        n_out = last.weights.shape[1]
        if s.size not in (1, n_out):
            self.refuse(place, f"has {s.size} columns, but {last.place} before it {n_out} outputs")
        last.weights, last.biases = last.weights * s, last.biases * s + t
        last.has_bias = last.has_bias or bool(np.any(t != 0.0))

    def activation(self, place: str, activation: Activation) -> None:
        """Add an activation; identity is nothing.

        Parameters
        ----------
        place : str
        activation : Activation
        """
        if activation.name == "identity":
            return
        if not self._layers:
            self.refuse(place, "stands before the first dense layer, where a net of fastnn has no activation")
        last = self._layers[-1]
        if last.activation is not None:
            self.refuse(place, f"follows {last.activation.text} without a dense layer between them")
        if self._scale is not None:
            self.refuse(place, f"follows {self._scale[0]}, which is neither part of the layer before nor after it")
        if self._dropout is not None and activation.name not in ("relu", "leaky_relu"):  # others do not commute with it
            self.refuse(place, f"follows {self._dropout[0]}; a net of fastnn has dropout after the activation only")
        last.activation = activation
        last.place = f"{last.place}, {place}" if place not in last.place else last.place

    def is_row_shape(self, shape: tuple[int, ...]) -> bool:
        """Return whether rows of the present width have this shape, in which -1 stands for the batch or the rest."""
        width = self._layers[-1].weights.shape[1] if self._layers else -1
        return (len(shape) == 2 and shape[0] in (-1, 0) and shape[1] in (-1, width)) or (shape == (-1,) and width == 1)

    def dropout(self, place: str, rate: float) -> None:
        """Add a dropout; two in a row are one, with the product of the probabilities to stay.

        Parameters
        ----------
        place : str
        rate : float
        """
        if not 0.0 <= rate < 1.0:
            self.refuse(place, f"has a rate of {rate!r}, not of at least 0 and below 1")
        if rate:
            self._dropout = place, rate if self._dropout is None else 1.0 - (1.0 - self._dropout[1]) * (1.0 - rate)

    def model(
        self, *, loss: str | Loss | None, optimizer: str | Optimizer, call: str, settings: dict[str, Any]
    ) -> Model:
        """Return the net of the steps.

        Parameters
        ----------
        loss : str, Loss or None
            None: by the activation of the last layer.
        optimizer : str or Optimizer
        call : str
            Name of the function that was called, for the texts of errors.
        settings : dict
            Further arguments of `Model`; dtype is float64 if a weight is, else float32, unless given.

        Returns
        -------
        Model
            Built.
        """
        names = [name for name in inspect.signature(Model).parameters if name != "layers"]
        for name in settings:
            if name not in names:
                raise TypeError(unknown_keyword(call, name, names))
        if not self._layers:
            raise ValueError(f"{self._argument} has no dense layer, got no weights at all.")
        if self._scale is not None:
            self.refuse(self._scale[0], "follows an activation or a dropout and has no dense layer after it")
        if self._dropout is not None:
            self.refuse(self._dropout[0], "is the last, and outputs are never left out")
        for layer in self._layers[:-1]:
            if layer.activation is not None and layer.activation.rule.rows:
                self.refuse(layer.place, f"has {layer.activation.name}, which only the last layer may have")
        dtype = settings.pop("dtype", None)
        if dtype is None:
            dtype = "float64" if any(one.itemsize > 4 for one in self._dtypes) else "float32"
        last = self._layers[-1].activation
        found = _LOSSES.get(last.name if last is not None else "", "squared_error")
        if last is not None and last.rule.rows and self._layers[-1].weights.shape[1] == 1:
            self.refuse(self._layers[-1].place, "has a softmax over one output, which is always 1")
        model = Model(
            [
                Dense(
                    layer.weights.shape[1],
                    layer.activation,
                    use_bias=layer.has_bias,
                    kernel_initializer="zeros",
                    trainable=layer.trainable,
                    dropout=layer.dropout,
                )
                for layer in self._layers
            ],
            loss=found if loss is None else loss,
            optimizer=optimizer,
            dtype=dtype,
            **settings,
        )
        for layer in self._layers:
            for name, array in (("weights", layer.weights), ("biases", layer.biases)):
                if not np.isfinite(array.astype(model.dtype)).all():
                    self.refuse(layer.place, f"has {name} that are not finite in {model.dtype}")
        model.build(len(self._layers[0].weights))
        model.weights = [layer.weights for layer in self._layers]
        model.biases = [layer.biases for layer in self._layers]
        return model


def as_activations(argument: str, given: Any, n_layers: int) -> list[Activation]:
    """Return one activation per dense layer, of the argument of a reader of weights alone.

    Parameters
    ----------
    argument : str
        Name of the argument.
    given : str, Activation, or sequence of these or None
        One is that of all hidden layers, and the last layer is then linear; a sequence has one per dense layer.
    n_layers : int

    Returns
    -------
    list of Activation

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, or the number of them is another one.
    """
    if isinstance(given, str | Activation):
        return [activations.get(given)] * (n_layers - 1) + [activations.get("identity")]
    if given is None and n_layers == 1:
        return [activations.get("identity")]
    hint = "A name is the activation of all hidden layers; a list has one per layer, None for a linear one."
    if not isinstance(given, list | tuple) or len(given) != n_layers:
        constraint = f"given, as a file or dict of weights alone says none: a name or a list of {n_layers}"
        raise ValueError(must_be(argument, constraint, given, hint))
    return [activations.get(one) for one in given]
