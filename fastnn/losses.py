"""Losses: E(u, t), how far the net's output u is from the target t."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from fastnn.activations import canonical_name
from fastnn.kernels import codes

_CODES = {
    "squared_error": codes.SQUARED_ERROR,
    "sum_of_squares": codes.SUM_OF_SQUARES,
    "binary_crossentropy": codes.BINARY_CROSSENTROPY,
    "softmax_crossentropy": codes.SOFTMAX_CROSSENTROPY,
}
_ALIASES = {
    "mse": "squared_error",
    "mean_squared_error": "squared_error",
    "half_sum_of_squares": "sum_of_squares",
    "bce": "binary_crossentropy",
    "categorical_crossentropy": "softmax_crossentropy",
    "sparse_categorical_crossentropy": "softmax_crossentropy",
}


@dataclass(frozen=True)
class Loss:
    """A loss by its name.

    Parameters
    ----------
    name : str
        squared_error (or mse, mean_squared_error), sum_of_squares (or half_sum_of_squares),
        binary_crossentropy (or bce), softmax_crossentropy (or categorical_crossentropy,
        sparse_categorical_crossentropy).

    Raises
    ------
    TypeError, ValueError
        If the name is unknown.

    Notes
    -----
    With n rows r of O outputs o each:

    ====================  =================================================================
    squared_error         E = 1/(n O) sum_r sum_o (u_ro - t_ro)^2
    sum_of_squares        E = 1/2 sum_r sum_o (u_ro - t_ro)^2
    binary_crossentropy   E = -1/(n O) sum_r sum_o [t log p + (1 - t) log(1 - p)], p = sigmoid(u)
    softmax_crossentropy  E = -1/n sum_r sum_o t_ro log p_ro, p = softmax of row r of u
    ====================  =================================================================

    The two cross-entropies take logits, so u is the sum before the activation.
    """

    name: str

    def __post_init__(self) -> None:
        """Resolve the name."""
        object.__setattr__(self, "name", canonical_name("loss", self.name, _CODES, _ALIASES))

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return _CODES[self.name]

    @property
    def classification(self) -> bool:
        """Whether the targets are classes or their probabilities."""
        return self.name in ("binary_crossentropy", "softmax_crossentropy")


def get(spec: str | Loss) -> Loss:
    """Turn what a user says into a `Loss`.

    Parameters
    ----------
    spec : str or Loss
        A name or an instance.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError
        If `spec` is neither.
    ValueError
        If the name is unknown.
    """
    if isinstance(spec, Loss):
        return spec
    if not isinstance(spec, str):
        raise TypeError(f"loss must be a name such as 'squared_error', or a Loss; got {reprlib.repr(spec)}.")
    return Loss(spec)
