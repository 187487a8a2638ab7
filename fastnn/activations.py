"""Activations: what a layer makes of its sum z = x W + b.

Only the words are here; the arithmetic is in the kernels. They take most derivatives from the output y, so
that z need not be kept, which is why a slope on the negative side has to be positive.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from fastnn._validation import canonical_name, finite_number
from fastnn.kernels import ids

__all__ = ["Activation", "elu", "get", "leaky_relu"]

_CODES = {
    "identity": ids.IDENTITY,
    "sigmoid": ids.SIGMOID,
    "tanh": ids.TANH,
    "relu": ids.RELU,
    "leaky_relu": ids.LEAKY_RELU,
    "elu": ids.ELU,
    "softmax": ids.SOFTMAX,
    "exponential": ids.EXPONENTIAL,
    "selu": ids.SELU,
    "softplus": ids.SOFTPLUS,
    "hard_sigmoid": ids.HARD_SIGMOID,
    "silu": ids.SILU,
    "gelu": ids.GELU,
    "mish": ids.MISH,
}
_ALIASES = {"linear": "identity", "logistic": "sigmoid", "swish": "silu", "exp": "exponential"}
_DEFAULT_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}
_SELU_ALPHA = 1.6732632423543772


@dataclass(frozen=True)
class Activation:
    """An activation function by its name.

    Parameters
    ----------
    name : str
        identity (or linear), sigmoid (or logistic), tanh, relu, leaky_relu, elu, softmax, exponential (or exp), selu,
        softplus, hard_sigmoid, silu (or swish), gelu or mish.
    alpha : float
        leaky_relu: the slope for z < 0. elu: minus the limit for z to minus infinity. Above 0 for these two;
        the others have no such number, there it is 0.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown or `alpha` does not fit it.

    Notes
    -----
    ======================  =============================================
    identity                y = z
    sigmoid                 y = 1 / (1 + exp(-z))
    tanh                    y = tanh(z)
    relu                    y = max(z, 0)
    leaky_relu [1]_         y = z for z > 0, alpha z otherwise
    elu [2]_                y = z for z > 0, alpha (exp(z) - 1) otherwise
    softmax                 y_o = exp(z_o) / sum_p exp(z_p)
    exponential             y = exp(z)
    selu [3]_               y = 1.0507 z for z > 0, 1.7581 (exp(z) - 1) otherwise
    softplus                y = ln(1 + exp(z))
    hard_sigmoid            y = z / 6 + 1/2, at least 0 and at most 1
    silu [4]_               y = z / (1 + exp(-z))
    gelu [5]_               y = z (1 + erf(z / sqrt 2)) / 2, not the approximation by tanh
    mish [6]_               y = z tanh(ln(1 + exp(z)))
    ======================  =============================================

    References
    ----------
    .. [1] A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic
       models", ICML workshop, 2013.
    .. [2] D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by
       exponential linear units (ELUs)", ICLR, 2016.
    .. [3] G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NeurIPS, 2017.
    .. [4] S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation
       in reinforcement learning", Neural Networks 107, 2018.
    .. [5] D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.
    .. [6] D. Misra, "Mish: a self regularized non-monotonic activation function", BMVC, 2020.
    """

    name: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        """Resolve the name and check `alpha`."""
        name = canonical_name("activation", self.name, _CODES, _ALIASES)
        alpha = finite_number("alpha", self.alpha)
        if name in _DEFAULT_ALPHA:
            if alpha <= 0.0:
                raise ValueError(
                    f"alpha of {name} must be above 0; got {alpha!r}. "
                    f"Write {name}(alpha={_DEFAULT_ALPHA[name]}), or 'relu' for none."
                )
        elif alpha != 0.0:
            raise ValueError(f"alpha has no meaning for {name}; got {alpha!r}. Leave it out.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "alpha", alpha)

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return _CODES[self.name]

    @property
    def parameter(self) -> float:
        """The number that the kernels take: alpha, or what the name fixes."""
        return _SELU_ALPHA if self.name == "selu" else self.alpha


def leaky_relu(alpha: float = 0.01) -> Activation:
    """Leaky rectifier: z for z > 0, alpha z otherwise.

    Parameters
    ----------
    alpha : float
        The slope for z < 0, above 0.

    Returns
    -------
    Activation
    """
    return Activation("leaky_relu", alpha)


def elu(alpha: float = 1.0) -> Activation:
    """Exponential linear unit: z for z > 0, alpha (exp(z) - 1) otherwise.

    Parameters
    ----------
    alpha : float
        Minus the limit for z to minus infinity, above 0.

    Returns
    -------
    Activation
    """
    return Activation("elu", alpha)


def get(spec: str | Activation | None) -> Activation:
    """Turn what a user says into an `Activation`.

    Parameters
    ----------
    spec : str, Activation or None
        A name (leaky_relu with alpha 0.01, elu with alpha 1), an instance, or None for identity.

    Returns
    -------
    Activation

    Raises
    ------
    TypeError
        If `spec` is none of these.
    ValueError
        If the name is unknown.
    """
    if isinstance(spec, Activation):
        return spec
    if spec is None:
        return Activation("identity")
    if not isinstance(spec, str):
        raise TypeError(
            f"activation must be a name such as 'relu', an Activation such as elu(alpha=0.5), or None; "
            f"got {reprlib.repr(spec)}."
        )
    return Activation(spec, _DEFAULT_ALPHA.get(spec, 0.0))
