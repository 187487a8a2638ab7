"""Activations: what a layer computes from its sum z = x W + b.

Each activation is its arithmetic over vectors (device functions), followed by one record; nothing else in the package
lists them. Below stand the class and the functions that a user calls.

Where the output y determines the derivative exactly it is computed from y, and only y is kept; therefore a slope on the
negative side must be positive. Where rounding has taken from y what the derivative depends on (the tanh of 8 is 1 to
6e-8), both are computed together, and a training step keeps the derivative until the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._validation import finite_number, must_be
from fastnn._validation.names import explained, hint_for_object, resolved_name
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import broadcast, fma, maximum, minimum, select_gt
from fastnn.kernels.maths import elementary
from fastnn.kernels.maths.elementary import exp, exp_and_expm1
from fastnn.kernels.nn.rules import ACTIVATIONS, ActivationRule, documented
from fastnn.kernels.nn.softmax import softmax_jet, softmax_jet_backward, softmax_rows, softmax_rows_backward

__all__ = ["Activation", "elu", "get", "leaky_relu"]


def __dir__() -> list[str]:
    return __all__


# ------------------------------------------------------------------------------------------------- the rules
#
# z, y, d = dE/dy and alpha are vectors.

@device_function
def identity_jet(z: Any) -> Any:
    """Return z and its first three derivatives."""
    zero = broadcast(z, 0.0)
    return z, broadcast(z, 1.0), zero, zero


ACTIVATIONS.add(
    ActivationRule(name="identity", aliases=("linear",), formula="y = z", zero_at_zero=True, jet=identity_jet)
)


@device_function
def sigmoid(z: Any, alpha: Any) -> Any:
    """Return 1 / (1 + e^-z) and its derivative."""
    return elementary.sigmoid_and_slope(z)


@device_function
def sigmoid_jet(z: Any) -> Any:
    """Return 1 / (1 + e^-z) and its first three derivatives."""
    y, slope = elementary.sigmoid_and_slope(z)
    x = broadcast(z, 1.0) - y - y
    return y, slope, slope * x, slope * (x * x - slope - slope)


ACTIVATIONS.add(
    ActivationRule(
        name="sigmoid",
        aliases=("logistic",),
        formula="y = 1 / (1 + exp(-z))",
        value_and_slope=sigmoid,
        probabilities="each",
        jet=sigmoid_jet,
    )
)


@device_function
def tanh(z: Any, alpha: Any) -> Any:
    """Return the hyperbolic tangent and its derivative."""
    return elementary.tanh_and_slope(z)


@device_function
def tanh_jet(z: Any) -> Any:
    """Return the hyperbolic tangent and its first three derivatives."""
    y, slope = elementary.tanh_and_slope(z)
    two = broadcast(z, -2.0) * slope
    return y, slope, two * y, two * (slope - broadcast(z, 2.0) * y * y)


ACTIVATIONS.add(
    ActivationRule(name="tanh", formula="y = tanh(z)", value_and_slope=tanh, zero_at_zero=True, jet=tanh_jet)
)


@device_function
def relu(z: Any, alpha: Any) -> Any:
    """Return z where it is above 0, else 0."""
    return maximum(broadcast(z, 0.0), z)


@device_function
def relu_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d where y > 0, else 0."""
    zero = broadcast(y, 0.0)
    return select_gt(y, zero, d, zero)


ACTIVATIONS.add(
    ActivationRule(
        name="relu",
        formula="y = max(z, 0)",
        forward=relu,
        backward=relu_backward,
        zero_at_zero=True,
        initializer="he_uniform",
    )
)


@device_function
def leaky_rectifier(z: Any, alpha: Any) -> Any:
    """Return z where it is above 0, else alpha z."""
    return select_gt(z, broadcast(z, 0.0), z, z * alpha)


@device_function
def leaky_rectifier_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d where y > 0, else alpha d."""
    return select_gt(y, broadcast(y, 0.0), d, d * alpha)


ACTIVATIONS.add(
    ActivationRule(
        name="leaky_relu",
        formula="y = z for z > 0, alpha z otherwise",
        reference='A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic '
        'models", ICML workshop, 2013.',
        forward=leaky_rectifier,
        backward=leaky_rectifier_backward,
        zero_at_zero=True,
        alpha=0.01,
        initializer="he_uniform",
    )
)


@device_function
def exponential_linear(z: Any, alpha: Any) -> Any:
    """Return z and 1 where z is above 0, else alpha (e^z - 1) and alpha e^z."""
    zero = broadcast(z, 0.0)
    e, below = exp_and_expm1(z)
    return select_gt(z, zero, z, below * alpha), select_gt(z, zero, broadcast(z, 1.0), e * alpha)


ACTIVATIONS.add(
    ActivationRule(
        name="elu",
        formula="y = z for z > 0, alpha (exp(z) - 1) otherwise",
        reference='D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by '
        'exponential linear units (ELUs)", ICLR, 2016.',
        value_and_slope=exponential_linear,
        zero_at_zero=True,
        alpha=1.0,
        initializer="he_uniform",
    )
)

ACTIVATIONS.add(
    ActivationRule(
        name="softmax",
        formula="y_o = exp(z_o) / sum_p exp(z_p)",
        rows=softmax_rows,
        rows_backward=softmax_rows_backward,
        rows_jet=softmax_jet,
        rows_jet_backward=softmax_jet_backward,
        zero_at_zero=True,
        probabilities="row",
    )
)


@device_function
def exponential(z: Any, alpha: Any) -> Any:
    """Return e^z."""
    return exp(z)


@device_function
def exponential_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d y."""
    return d * y


@device_function
def exponential_jet(z: Any) -> Any:
    """Return e^z and its first three derivatives."""
    y = exp(z)
    return y, y, y, y


ACTIVATIONS.add(
    ActivationRule(
        name="exponential",
        aliases=("exp",),
        formula="y = exp(z)",
        forward=exponential,
        backward=exponential_backward,
        jet=exponential_jet,
    )
)

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
SELU_LIMIT = SELU_ALPHA * SELU_SCALE
# The first 24 bits, and what they leave out, which counts in float32.
SELU_HIGH = float(np.float32(SELU_LIMIT))
SELU_LOW = SELU_LIMIT - SELU_HIGH


@device_function
def selu(z: Any, alpha: Any) -> Any:
    """Return the scaled exponential linear unit and its slope; mean 0 and variance 1 are a fixed point of it."""
    zero = broadcast(z, 0.0)
    scale = broadcast(z, SELU_SCALE)
    high, low = broadcast(z, SELU_HIGH), broadcast(z, SELU_LOW)
    e, below = exp_and_expm1(z)
    value = fma(below, high, below * low)
    return select_gt(z, zero, z * scale, value), select_gt(z, zero, scale, fma(e, high, e * low))


ACTIVATIONS.add(
    ActivationRule(
        name="selu",
        formula="y = 1.0507 z for z > 0, 1.7581 (exp(z) - 1) otherwise",
        reference='G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NeurIPS, '
        "2017.",
        value_and_slope=selu,
        zero_at_zero=True,
        initializer="lecun_normal",  # what the fixed point is derived for
    )
)


@device_function
def softplus(z: Any, alpha: Any) -> Any:
    """Return ln(1 + e^z) and its derivative."""
    return elementary.softplus_and_slope(z)


@device_function
def softplus_jet(z: Any) -> Any:
    """Return ln(1 + e^z) and its first three derivatives."""
    y, _ = elementary.softplus_and_slope(z)
    s, s1, s2, _ = sigmoid_jet(z)
    return y, s, s1, s2


ACTIVATIONS.add(
    ActivationRule(name="softplus", formula="y = ln(1 + exp(z))", value_and_slope=softplus, jet=softplus_jet)
)


@device_function
def hard_sigmoid(z: Any, alpha: Any) -> Any:
    """Return z / 6 + 1/2, clipped to 0 .. 1."""
    x = fma(z, broadcast(z, 1.0 / 6.0), broadcast(z, 0.5))
    return minimum(broadcast(z, 1.0), maximum(broadcast(z, 0.0), x))


@device_function
def hard_sigmoid_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d / 6 where 0 < y < 1, else 0."""
    zero = broadcast(y, 0.0)
    g = d * broadcast(y, 1.0 / 6.0)
    return select_gt(y, zero, select_gt(broadcast(y, 1.0), y, g, zero), zero)


ACTIVATIONS.add(
    ActivationRule(
        name="hard_sigmoid",
        formula="y = z / 6 + 1/2, at least 0 and at most 1",
        forward=hard_sigmoid,
        backward=hard_sigmoid_backward,
    )
)


@device_function
def silu(z: Any, alpha: Any) -> Any:
    """Return z sigmoid(z), and its derivative."""
    return elementary.silu_and_slope(z)


@device_function
def silu_jet(z: Any) -> Any:
    """Return z sigmoid(z) and its first three derivatives."""
    y, slope = elementary.silu_and_slope(z)
    _, s1, s2, s3 = sigmoid_jet(z)
    return y, slope, fma(z, s2, s1 + s1), fma(z, s3, broadcast(z, 3.0) * s2)


ACTIVATIONS.add(
    ActivationRule(
        name="silu",
        aliases=("swish",),
        formula="y = z / (1 + exp(-z))",
        reference='S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function '
        'approximation in reinforcement learning", Neural Networks 107, 2018.',
        value_and_slope=silu,
        zero_at_zero=True,
        initializer="he_uniform",
        jet=silu_jet,
    )
)


@device_function
def gelu(z: Any, alpha: Any) -> Any:
    """Return z times the normal distribution function of z, and its derivative."""
    return elementary.gelu_and_slope(z)


@device_function
def gelu_jet(z: Any) -> Any:
    """Return z times the normal distribution function of z and its first three derivatives."""
    y, slope = elementary.gelu_and_slope(z)
    square = z * z
    density = exp(broadcast(z, -0.5) * square) * broadcast(z, 0.3989422804014327)
    return y, slope, density * (broadcast(z, 2.0) - square), density * z * (square - broadcast(z, 4.0))


ACTIVATIONS.add(
    ActivationRule(
        name="gelu",
        formula="y = z (1 + erf(z / sqrt 2)) / 2, not the approximation by tanh",
        reference='D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.',
        value_and_slope=gelu,
        zero_at_zero=True,
        initializer="he_uniform",
        jet=gelu_jet,
    )
)


@device_function
def mish(z: Any, alpha: Any) -> Any:
    """Return z tanh(ln(1 + e^z)), and its derivative."""
    return elementary.mish_and_slope(z)


@device_function
def mish_jet(z: Any) -> Any:
    """Return z tanh(ln(1 + e^z)) and its first three derivatives."""
    y, slope = elementary.mish_and_slope(z)
    # Derivatives of t = tanh(g) by z from those by g, and those of g = ln(1 + e^z).
    g, g1, g2, g3 = softplus_jet(z)
    _, by_g, by_g2, by_g3 = tanh_jet(g)
    t1 = by_g * g1
    t2 = fma(by_g2 * g1, g1, by_g * g2)
    t3 = fma(by_g3 * g1 * g1, g1, fma(broadcast(z, 3.0) * by_g2 * g1, g2, by_g * g3))
    return y, slope, fma(z, t2, t1 + t1), fma(z, t3, broadcast(z, 3.0) * t2)


ACTIVATIONS.add(
    ActivationRule(
        name="mish",
        formula="y = z tanh(ln(1 + exp(z)))",
        reference='D. Misra, "Mish: a self regularized non-monotonic activation function", BMVC, 2020.',
        value_and_slope=mish,
        zero_at_zero=True,
        initializer="he_uniform",
        jet=mish_jet,
    )
)


# ------------------------------------------------------------------------------------------- what a user states


@documented(ACTIVATIONS)
@dataclass(frozen=True)
class Activation:
    """An activation function by its name.

    Parameters
    ----------
    name : str
        {names}.
    alpha : float
        leaky_relu: the slope for z < 0. elu: minus the limit for z to minus infinity. Above 0 for {with_alpha}; the
        others have no such number, there it is 0.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown or `alpha` does not fit it.

    Notes
    -----
    {table}

    References
    ----------
    {references}
    """

    name: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        """Resolve the name and validate `alpha`."""
        name = resolved_name("activation", self.name, ACTIVATIONS.names, ACTIVATIONS.aliases)
        alpha = finite_number("alpha", self.alpha)
        default = ACTIVATIONS[name].alpha
        if default is not None:
            if alpha <= 0.0:
                raise ValueError(must_be(f"alpha of {name}", "above 0", alpha, f"Try Activation({name!r}, {default})."))
        elif alpha != 0.0:
            raise ValueError(f"alpha has no meaning for {name}, got {alpha!r}. Leave it out.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "alpha", alpha)

    @property
    def rule(self) -> ActivationRule:
        """The record that holds the facts and the arithmetic."""
        return ACTIVATIONS[self.name]

    @property
    def text(self) -> str:
        """What a user writes for it: the name, or a call with `alpha`."""
        return repr(self.name) if self.alpha in (0.0, self.rule.alpha) else f"{self.name}(alpha={self.alpha!r})"


@explained
def leaky_relu(alpha: float = 0.01) -> Activation:
    """Return the leaky rectifier: z for z > 0, alpha z otherwise.

    Parameters
    ----------
    alpha : float
        The slope for z < 0, above 0.

    Returns
    -------
    Activation
        The rectifier with this slope.
    """
    return Activation("leaky_relu", alpha)


@explained
def elu(alpha: float = 1.0) -> Activation:
    """Return the exponential linear unit: z for z > 0, alpha (exp(z) - 1) otherwise.

    Parameters
    ----------
    alpha : float
        Minus the limit for z to minus infinity, above 0.

    Returns
    -------
    Activation
        The unit with this limit.
    """
    return Activation("elu", alpha)


def get(spec: str | Activation | None) -> Activation:
    """Return the `Activation` of a name.

    Parameters
    ----------
    spec : str, Activation or None
        A name (leaky_relu then has alpha 0.01, elu alpha 1), an instance, or None for identity.

    Returns
    -------
    Activation
        The instance given, or one with the default number.

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
        valid = "a name such as 'relu', an Activation such as elu(alpha=0.5), or None"
        hint = hint_for_object("activation", spec, ACTIVATIONS.names, ACTIVATIONS.aliases)
        if not hint and callable(spec):
            hint = "A function of your own is fastnn.custom.activation(function, derivative)."
        raise TypeError(must_be("activation", valid, spec, hint))
    name = resolved_name("activation", spec, ACTIVATIONS.names, ACTIVATIONS.aliases)
    return Activation(name, ACTIVATIONS[name].alpha or 0.0)
