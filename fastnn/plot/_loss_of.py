"""The loss as a function of all weights and biases, for pictures of its surface."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._data.take import take_rows
from fastnn.callbacks import Trainable
from fastnn.model import Model

Floats = npt.NDArray[np.float64]

#: Most rows of which the losses are.
_MOST_ROWS = 2000


class LossOf:
    """The loss of a copy of a model as a function of its weights and biases, on at most 2000 rows.

    Parameters
    ----------
    model : Model
        Built. Not changed.
    X, y : array-like
        As its loss takes them, of as many rows.
    sample_weight : array-like or None
    """

    def __init__(self, model: Model, X: Any, y: Any, sample_weight: Any = None) -> None:
        n = len(y)
        part = np.linspace(0, n - 1, min(n, _MOST_ROWS)).astype(np.int64)
        self._rows = take_rows(X, part), take_rows(y, part)
        self._sample_weight = take_rows(sample_weight, part)
        self._model = copy.copy(model)
        if self._model.averages is not None:  # evaluations read running averages in place of the weights
            self._model.optimizer = "sgd"
        self._arrays = used_arrays(self._model, self._model.weights, self._model.biases)
        self._places = np.cumsum([array.size for array in self._arrays])[:-1]

    def __call__(self, parameters: Floats) -> float:
        """Return the loss for weights and biases (n_params,), in the order of `flat`."""
        for array, values in zip(self._arrays, np.split(parameters, self._places), strict=True):
            array[...] = values.reshape(array.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a loss that is not finite is left out
            return float(self._model.evaluate(*self._rows, sample_weight=self._sample_weight)["loss"])


def used_arrays(model: Trainable, weights: Iterable[Any], biases: Iterable[Any]) -> list[Any]:
    """Return all weights, then the biases of the layers that use them."""
    return [*weights, *(b for b, layer in zip(biases, model.layers, strict=True) if layer.use_bias)]


def flat(model: Trainable, weights: Iterable[Any], biases: Iterable[Any]) -> Floats:
    """Return all weights, then the biases that are used, in one array; (n_params,)."""
    arrays = used_arrays(model, weights, biases)
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


def names_of_two(model: Trainable) -> Sequence[str]:
    """Return the names of the numbers of a net that has at most two."""
    return ("weight", "bias" if model.layers[-1].use_bias else "second weight")
