"""Losses: E(u, t), how far the net's output u is from the target t.

A loss with settings is made by a function of its name: ``huber(delta=2.0)``, ``quantile(0.1, 0.5, 0.9)``,
``softmax_crossentropy(label_smoothing=0.1)``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from fastnn._validation import canonical_name, finite_number
from fastnn.kernels import ids

__all__ = ["Loss", "binary_crossentropy", "get", "huber", "quantile", "softmax_crossentropy"]

_CODES = {
    "squared_error": ids.SQUARED_ERROR,
    "sum_of_squares": ids.SUM_OF_SQUARES,
    "binary_crossentropy": ids.BINARY_CROSSENTROPY,
    "softmax_crossentropy": ids.SOFTMAX_CROSSENTROPY,
    "absolute_error": ids.ABSOLUTE_ERROR,
    "huber": ids.HUBER,
    "poisson": ids.POISSON,
    "quantile": ids.QUANTILE,
    "gaussian_nll": ids.GAUSSIAN_NLL,
}
_ALIASES = {
    "mse": "squared_error",
    "mean_squared_error": "squared_error",
    "half_sum_of_squares": "sum_of_squares",
    "bce": "binary_crossentropy",
    "categorical_crossentropy": "softmax_crossentropy",
    "sparse_categorical_crossentropy": "softmax_crossentropy",
    "mae": "absolute_error",
    "mean_absolute_error": "absolute_error",
    "pinball": "quantile",
}
_CLASSIFICATION = ("binary_crossentropy", "softmax_crossentropy")


@dataclass(frozen=True)
class Loss:
    """A loss by its name.

    Parameters
    ----------
    name : str
        squared_error (or mse, mean_squared_error), sum_of_squares (or half_sum_of_squares),
        binary_crossentropy (or bce), softmax_crossentropy (or categorical_crossentropy,
        sparse_categorical_crossentropy), absolute_error (or mae, mean_absolute_error), huber, poisson,
        quantile (or pinball), gaussian_nll.
    delta : float
        huber: the error from which on it grows linearly, above 0; 1 unless given. None for the others.
    quantiles : tuple of float
        quantile: the levels, each between 0 and 1; (0.5,) unless given. Empty for the others.
    label_smoothing : float
        For the two cross-entropies: the share, from 0 up to 1, of each target that is spread evenly over the classes.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown or a setting does not fit it.

    Notes
    -----
    With n rows r of O outputs o each, and e = u - t:

    ====================  =================================================================
    squared_error         E = 1/(n O) sum_r sum_o e^2
    sum_of_squares        E = 1/2 sum_r sum_o e^2
    binary_crossentropy   E = -1/(n O) sum_r sum_o [t log p + (1 - t) log(1 - p)], p = sigmoid(u)
    softmax_crossentropy  E = -1/n sum_r sum_o t_ro log p_ro, p = softmax of row r of u
    absolute_error        E = 1/(n O) sum_r sum_o |e|
    huber [1]_            E = 1/(n O) sum_r sum_o (e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) elsewhere)
    poisson               E = 1/(n O) sum_r sum_o exp(u) - t u
    quantile [2]_         E = 1/(n O) sum_r sum_o max(q_o (t - u), (1 - q_o) (u - t))
    gaussian_nll [3]_     E = 1/(n T) sum_r sum_k (s_k + (t_k - m_k)^2 exp(-s_k)) / 2
    ====================  =================================================================

    The two cross-entropies take logits, so u is the sum before the activation; poisson takes the logarithm of the
    rate in the same way, the sum before an "exponential" last layer. quantile has an output for each level of each
    target: those of the first target, then those of the second. gaussian_nll has two outputs a target: first the
    means m of all targets, then the logarithms s of their variances.

    References
    ----------
    .. [1] P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    .. [2] R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46, 1978.
    .. [3] D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability distribution",
       ICNN, 1994.
    """

    name: str
    _: KW_ONLY
    delta: float | None = None
    quantiles: tuple[float, ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Resolve the name and check the settings."""
        name = canonical_name("loss", self.name, _CODES, _ALIASES)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "delta", self._checked_delta())
        object.__setattr__(self, "quantiles", self._checked_quantiles())
        smoothing = finite_number("label_smoothing", self.label_smoothing)
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"label_smoothing must be at least 0 and below 1; got {smoothing!r}.")
        if smoothing and not self.classification:
            raise ValueError(f"label_smoothing has no meaning for {name}; got {smoothing!r}. Leave it out.")
        object.__setattr__(self, "label_smoothing", smoothing)

    def _checked_delta(self) -> float | None:
        if self.name != "huber":
            if self.delta is not None:
                raise ValueError(f"delta has no meaning for {self.name}; got {self.delta!r}. Leave it out.")
            return None
        delta = finite_number("delta", 1.0 if self.delta is None else self.delta)
        if delta <= 0.0:
            raise ValueError(f"delta must be above 0; got {delta!r}. For small deltas there is 'absolute_error'.")
        return delta

    def _checked_quantiles(self) -> tuple[float, ...]:
        given = self.quantiles
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"quantiles must be levels such as (0.1, 0.5, 0.9); got {reprlib.repr(given)}.")
        levels = tuple(finite_number("quantiles", q) for q in given)
        if self.name != "quantile":
            if levels:
                raise ValueError(f"quantiles have no meaning for {self.name}; got {levels!r}. Leave them out.")
            return ()
        if not all(0.0 < q < 1.0 for q in levels):
            raise ValueError(f"quantiles must be above 0 and below 1; got {levels!r}.")
        if len(set(levels)) < len(levels):
            raise ValueError(f"quantiles must differ from each other; got {levels!r}.")
        return levels or (0.5,)

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return _CODES[self.name]

    @property
    def classification(self) -> bool:
        """Whether the targets are classes or their probabilities."""
        return self.name in _CLASSIFICATION

    @property
    def outputs_per_target(self) -> int:
        """How many outputs of the net speak of one column of the targets."""
        return {"quantile": len(self.quantiles), "gaussian_nll": 2}.get(self.name, 1)

    def parameters(self, n_outputs: int) -> tuple[float, ...]:
        """The number that the kernels take for each of so many outputs."""
        if self.delta is not None:
            return (self.delta,) * n_outputs
        if self.quantiles:
            return self.quantiles * (n_outputs // len(self.quantiles))
        if self.name == "softmax_crossentropy":
            return (self.label_smoothing / n_outputs,) * n_outputs
        return (0.0,) * n_outputs

    def prepare(self, targets: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Bring checked targets (n, T) into the form the kernels compare with (n, n_outputs); a copy if they change."""
        if self.name == "quantile":
            return np.repeat(targets, len(self.quantiles), axis=1)
        if self.name == "gaussian_nll":
            return np.hstack([targets, np.zeros_like(targets)])
        if self.label_smoothing:
            n_classes = targets.shape[1] if self.name == "softmax_crossentropy" else 2
            kept = targets.dtype.type(1.0 - self.label_smoothing)
            return targets * kept + targets.dtype.type(self.label_smoothing / n_classes)
        return targets


def huber(delta: float = 1.0) -> Loss:
    """Huber's loss: squared for errors up to `delta`, linear beyond.

    Parameters
    ----------
    delta : float
        Above 0, in units of the targets.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError, ValueError
        If it is no such number.
    """
    return Loss("huber", delta=delta)


def quantile(*quantiles: float) -> Loss:
    """Quantile (pinball) loss for one or several levels.

    Parameters
    ----------
    *quantiles : float
        The levels, each above 0 and below 1; the median, 0.5, when none is given. The net has an output for each
        level of each target: those of the first target, then those of the second.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError, ValueError
        If a level is no such number, or given twice.

    Examples
    --------
    >>> quantile(0.1, 0.5, 0.9).quantiles
    (0.1, 0.5, 0.9)
    """
    return Loss("quantile", quantiles=quantiles)


def softmax_crossentropy(label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of classes that exclude each other, with label smoothing [1]_.

    Parameters
    ----------
    label_smoothing : float
        The share, at least 0 and below 1, of each target that is spread evenly over the classes.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError, ValueError
        If it is no such number.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR, 2016, section 7.
    """
    return Loss("softmax_crossentropy", label_smoothing=label_smoothing)


def binary_crossentropy(label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of yes or no for each output, with label smoothing towards 1/2.

    Parameters
    ----------
    label_smoothing : float
        The share s, at least 0 and below 1: a target t becomes (1 - s) t + s / 2.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError, ValueError
        If it is no such number.
    """
    return Loss("binary_crossentropy", label_smoothing=label_smoothing)


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
