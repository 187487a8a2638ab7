"""Activations: what a layer computes from its sum z = x W + b.

Each activation is its arithmetic over vectors (device functions), followed by one record; nothing else in the package
lists them. Below stand the class and the functions that a user calls.

Where the output y determines the derivative it is computed from y, so that z need not be kept; therefore a slope on
the negative side must be positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn._validation import finite_number, must_be
from fastnn._validation.names import explained, hint_for_object, resolved_name
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import broadcast, fma, maximum, minimum, select_gt
from fastnn.kernels.maths import elementary
from fastnn.kernels.maths.elementary import exp, expm1, normal_cdf, normal_pdf
from fastnn.kernels.nn.rules import ACTIVATIONS, ActivationRule, documented
from fastnn.kernels.nn.softmax import softmax_rows, softmax_rows_backward

__all__ = ["Activation", "elu", "get", "leaky_relu"]


def __dir__() -> list[str]:
    return __all__


# ------------------------------------------------------------------------------------------------- the rules
#
# z, y, d = dE/dy and alpha are vectors. `x` of a backward function is y, or z where the record has from_input=True.

ACTIVATIONS.add(ActivationRule(name="identity", aliases=("linear",), formula="y = z", zero_at_zero=True))


@device_function
def sigmoid(z: Any, alpha: Any) -> Any:
    """Return 1 / (1 + e^-z)."""
    return elementary.sigmoid(z)


@device_function
def sigmoid_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d y (1 - y)."""
    return d * (y * (broadcast(y, 1.0) - y))


ACTIVATIONS.add(
    ActivationRule(
        name="sigmoid",
        aliases=("logistic",),
        formula="y = 1 / (1 + exp(-z))",
        forward=sigmoid,
        backward=sigmoid_backward,
        probabilities="each",
    )
)


@device_function
def tanh(z: Any, alpha: Any) -> Any:
    """Return the hyperbolic tangent."""
    return elementary.tanh(z)


@device_function
def tanh_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d (1 - y^2)."""
    return d * fma(broadcast(y, 0.0) - y, y, broadcast(y, 1.0))


ACTIVATIONS.add(
    ActivationRule(name="tanh", formula="y = tanh(z)", forward=tanh, backward=tanh_backward, zero_at_zero=True)
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
    """Return z where it is above 0, else alpha (e^z - 1)."""
    return select_gt(z, broadcast(z, 0.0), z, expm1(z) * alpha)


@device_function
def exponential_linear_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d where y > 0, else d (y + alpha), which is eq. 16 of the paper."""
    return d * select_gt(y, broadcast(y, 0.0), broadcast(y, 1.0), y + alpha)


ACTIVATIONS.add(
    ActivationRule(
        name="elu",
        formula="y = z for z > 0, alpha (exp(z) - 1) otherwise",
        reference='D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by '
        'exponential linear units (ELUs)", ICLR, 2016.',
        forward=exponential_linear,
        backward=exponential_linear_backward,
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


ACTIVATIONS.add(
    ActivationRule(
        name="exponential",
        aliases=("exp",),
        formula="y = exp(z)",
        forward=exponential,
        backward=exponential_backward,
    )
)

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
SELU_LIMIT = SELU_ALPHA * SELU_SCALE


@device_function
def selu(z: Any, alpha: Any) -> Any:
    """Return the scaled exponential linear unit, whose two numbers make mean 0 and variance 1 a fixed point."""
    x = select_gt(z, broadcast(z, 0.0), z, expm1(z) * broadcast(z, SELU_ALPHA))
    return x * broadcast(z, SELU_SCALE)


@device_function
def selu_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d times the scale where y > 0, else d (y + scale times alpha)."""
    return d * select_gt(y, broadcast(y, 0.0), broadcast(y, SELU_SCALE), y + broadcast(y, SELU_LIMIT))


ACTIVATIONS.add(
    ActivationRule(
        name="selu",
        formula="y = 1.0507 z for z > 0, 1.7581 (exp(z) - 1) otherwise",
        reference='G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NeurIPS, '
        "2017.",
        forward=selu,
        backward=selu_backward,
        zero_at_zero=True,
        initializer="lecun_normal",  # what the fixed point is derived for
    )
)


@device_function
def softplus(z: Any, alpha: Any) -> Any:
    """Return ln(1 + e^z)."""
    return elementary.softplus(z)


@device_function
def softplus_backward(y: Any, d: Any, alpha: Any) -> Any:
    """Return d (1 - e^-y)."""
    zero = broadcast(y, 0.0)
    return (zero - d) * expm1(zero - y)


ACTIVATIONS.add(
    ActivationRule(
        name="softplus", formula="y = ln(1 + exp(z))", forward=softplus, backward=softplus_backward
    )
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
    """Return z sigmoid(z)."""
    return z * elementary.sigmoid(z)


@device_function
def silu_backward(z: Any, d: Any, alpha: Any) -> Any:
    """Return d p (1 + z (1 - p)) with p = sigmoid(z)."""
    one = broadcast(z, 1.0)
    p = elementary.sigmoid(z)
    return d * (p * fma(z, one - p, one))


ACTIVATIONS.add(
    ActivationRule(
        name="silu",
        aliases=("swish",),
        formula="y = z / (1 + exp(-z))",
        reference='S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function '
        'approximation in reinforcement learning", Neural Networks 107, 2018.',
        forward=silu,
        backward=silu_backward,
        from_input=True,
        zero_at_zero=True,
        initializer="he_uniform",
    )
)


@device_function
def gelu(z: Any, alpha: Any) -> Any:
    """Return z times the normal distribution function of z."""
    return z * normal_cdf(z)


@device_function
def gelu_backward(z: Any, d: Any, alpha: Any) -> Any:
    """Return d (cdf(z) + z pdf(z))."""
    return d * fma(z, normal_pdf(z), normal_cdf(z))


ACTIVATIONS.add(
    ActivationRule(
        name="gelu",
        formula="y = z (1 + erf(z / sqrt 2)) / 2, not the approximation by tanh",
        reference='D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.',
        forward=gelu,
        backward=gelu_backward,
        from_input=True,
        zero_at_zero=True,
        initializer="he_uniform",
    )
)


@device_function
def mish_parts(z: Any) -> Any:
    """Return n = e^z (e^z + 2), with which tanh(ln(1 + e^z)) = n / (n + 2); where z > 40 that is 1 in any case."""
    e = exp(minimum(broadcast(z, 40.0), z))
    return e * (e + broadcast(z, 2.0))


@device_function
def mish(z: Any, alpha: Any) -> Any:
    """Return z tanh(ln(1 + e^z))."""
    n = mish_parts(z)
    return z * (n / (n + broadcast(z, 2.0)))


@device_function
def mish_backward(z: Any, d: Any, alpha: Any) -> Any:
    """Return d times the derivative at z.

    That of tanh(ln(1 + e^z)) is (1 - tanh^2) sigmoid(z), and 1 - tanh^2 = 4 (n + 1) / (n + 2)^2.
    """
    one = broadcast(z, 1.0)
    n = mish_parts(z)
    over = one / (n + broadcast(z, 2.0))
    inner = broadcast(z, 4.0) * ((n + one) * over) * over * elementary.sigmoid(z)
    return d * fma(z, inner, n * over)


ACTIVATIONS.add(
    ActivationRule(
        name="mish",
        formula="y = z tanh(ln(1 + exp(z)))",
        reference='D. Misra, "Mish: a self regularized non-monotonic activation function", BMVC, 2020.',
        forward=mish,
        backward=mish_backward,
        from_input=True,
        zero_at_zero=True,
        initializer="he_uniform",
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
