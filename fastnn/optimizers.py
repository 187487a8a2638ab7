"""Optimizers: variants of gradient descent. g is the gradient, w a weight, lr the learning rate, t = 1, 2 ...

Each optimizer is its arithmetic over vectors (device functions), one record for each form, and a class that the user
makes instances of; nothing else in the package lists them. The formulas are the forms that PyTorch uses. The solvers,
which are optimizers to `Model` as well, are in `fastnn.solvers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

from fastnn._validation import check_bool, must_be, number_in
from fastnn._validation.names import explained, hint_for_object, immutable, resolved_name
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import fma, maximum, sqrt
from fastnn.kernels.nn.optimizers import sign
from fastnn.kernels.nn.rules import OPTIMIZERS, OptimizerRule
from fastnn.schedules import LearningRate, as_learning_rate
from fastnn.solvers import LBFGS as LBFGS
from fastnn.solvers import LevenbergMarquardt as LevenbergMarquardt
from fastnn.solvers import Solver as Solver

__all__ = [
    "LBFGS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "LevenbergMarquardt",
    "Lion",
    "NAdam",
    "RMSProp",
]


def __dir__() -> list[str]:
    return [*__all__, "FirstOrderOptimizer", "get"]



def setting(default: Any, interval: str) -> Any:
    """Return the field of a number within an interval such as "[0, 1)"; a default of None stands for "not at all"."""
    return field(default=default, metadata={"interval": interval})


@dataclass(frozen=True)
class FirstOrderOptimizer:
    """What all variants of gradient descent have.

    Parameters
    ----------
    learning_rate : float, Schedule or callable
        A number above 0, a schedule of `fastnn.schedules`, or a function that is called at the start of each epoch
        with its number and returns the epoch's rate.
    weight_decay : float
        Decoupled weight decay [1]_: besides its step, each update takes lr weight_decay w off all weights and biases.
        At least 0.
    clipvalue : float or None
        Largest size of an element of the gradient (penalty included); larger ones are clipped.
    global_clipnorm : float or None
        Largest length of the gradient of all weights and biases together (penalty included); a longer one is
        shortened [2]_. It needs the whole gradient before the first weight changes, which costs some speed.
    ema_momentum : float or None
        Decay a of a running average of weights and biases [3]_, which begins at the start weights: after each update
        average = a average + (1 - a) weight. Predictions and evaluations (validation, too) are then made with the
        average, while training goes on with the weights themselves.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR, 2019.
    .. [2] R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML, 2013.
    .. [3] B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control and
       Optimization 30, 1992.
    """

    #: Whether each iteration takes all rows at once, as those of the solvers do.
    full_batch: ClassVar[bool] = False
    #: Epochs of a fit without `epochs`.
    default_epochs: ClassVar[int] = 1

    learning_rate: LearningRate = 0.01
    _: KW_ONLY
    weight_decay: float = setting(0.0, "[0, inf)")
    clipvalue: float | None = setting(None, "(0, inf)")
    global_clipnorm: float | None = setting(None, "(0, inf)")
    ema_momentum: float | None = setting(None, "[0, 1)")

    def __post_init__(self) -> None:
        """Validate the arguments by the intervals of their fields, and turn numbers into floats."""
        for declared in fields(self):
            name = declared.name
            value = getattr(self, name)
            if name == "learning_rate":
                value = as_learning_rate(value)
            elif isinstance(declared.default, bool):
                value = check_bool(value, name)
            elif value is not None or declared.default is not None:
                value = number_in(name, value, declared.metadata["interval"])
            object.__setattr__(self, name, value)
        if self.clipvalue is not None and self.global_clipnorm is not None:
            raise ValueError(
                f"clipvalue={self.clipvalue!r} and global_clipnorm={self.global_clipnorm!r} are both given; one of "
                "them is enough."
            )

    def __repr__(self) -> str:
        """Return a call with the learning rate, and what differs from the defaults."""
        given = [f"learning_rate={self.learning_rate!r}"]
        for declared in fields(self):
            value = getattr(self, declared.name)
            if declared.name != "learning_rate" and value != declared.default:
                given.append(f"{declared.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def rule(self) -> OptimizerRule:
        """The record that holds the facts and the arithmetic; set by each class."""
        raise NotImplementedError

    @property
    def n_slots(self) -> int:
        """Number of arrays as large as the weights that are kept between steps, besides the running average."""
        return len(self.rule.slots)

    @property
    def hyper(self) -> tuple[float, ...]:
        """Values of the rule's hyperparameters."""
        return tuple(getattr(self, name) for name in self.rule.hyper)


Optimizer: TypeAlias = FirstOrderOptimizer | Solver

#: All classes that a user can choose from, by their names.
CLASSES: dict[str, type[Optimizer]] = {}
_NAMED: dict[str, Optimizer] = {}

C = TypeVar("C", bound=type[Any])


def named(**names: Mapping[str, Any]) -> Callable[[C], C]:
    """Return a decorator of a class that registers it under its name, and instances of it under the given ones.

    Parameters
    ----------
    **names : dict
        For each name the arguments of the instance that it stands for.
    """

    def register(cls: C) -> C:
        CLASSES[cls.__name__] = cls = immutable("Write model.optimizer = {new}.")(explained(cls))
        _NAMED.update({name: cls(**arguments) for name, arguments in names.items()})
        return cls

    return register


# ------------------------------------------------------------------------------------ rules and their classes
#
# g, w (after the weight decay), slots and coefficients are vectors; coefficients are computed once per step, as floats.


@device_function
def descent_coefficients(rate: float, t: float) -> Any:
    """Return -lr."""
    return (-rate,)


@device_function
def descent(g: Any, w: Any, minus_lr: Any) -> Any:
    """Return w - lr g."""
    return fma(minus_lr, g, w)


@device_function
def momentum_coefficients(rate: float, t: float, mu: float) -> Any:
    """Return -lr and mu."""
    return -rate, mu


@device_function
def momentum(g: Any, w: Any, m: Any, minus_lr: Any, mu: Any) -> Any:
    """Return w - lr m and m, the sum mu m + g (B. T. Polyak, 1964)."""
    new_m = fma(mu, m, g)
    return fma(minus_lr, new_m, w), new_m


@device_function
def nesterov(g: Any, w: Any, m: Any, minus_lr: Any, mu: Any) -> Any:
    """Return w - lr (g + mu m) and m, the sum mu m + g (I. Sutskever et al., 2013, eq. 3-4)."""
    new_m = fma(mu, m, g)
    return fma(minus_lr, fma(mu, new_m, g), w), new_m


SGD_RULE = OPTIMIZERS.add(
    OptimizerRule(name="sgd", formula="w -= lr g", coefficients=descent_coefficients, step=descent)
)
MOMENTUM_RULE = OPTIMIZERS.add(
    OptimizerRule(
        name="momentum",
        formula="m = mu m + g; w -= lr m",
        hyper=("momentum",),
        coefficients=momentum_coefficients,
        step=momentum,
        slots=("m",),
        guarded=(),
    )
)
NESTEROV_RULE = OPTIMIZERS.add(
    OptimizerRule(
        name="nesterov",
        formula="m = mu m + g; w -= lr (g + mu m)",
        hyper=("momentum",),
        coefficients=momentum_coefficients,
        step=nesterov,
        slots=("m",),
        guarded=(),
    )
)


@named(sgd={}, momentum={"momentum": 0.9}, nesterov={"momentum": 0.9, "nesterov": True})
@dataclass(frozen=True, repr=False)
class SGD(FirstOrderOptimizer):
    """Stochastic gradient descent, plain or with momentum.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    momentum : float
        mu, at least 0 and below 1.
    nesterov : bool
        Nesterov's form of the momentum, which must be above 0 then.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    | plain: w -= lr g
    | momentum [1]_: v = mu v + g; w -= lr v
    | nesterov [2]_: v = mu v + g; w -= lr (g + mu v)

    References
    ----------
    .. [1] B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Comp. Math.
       and Math. Phys. 4 (5), 1964.
    .. [2] I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in
       deep learning", ICML, 2013.
    """

    learning_rate: LearningRate = 0.01
    _: KW_ONLY
    momentum: float = setting(0.0, "[0, 1)")
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov=True needs a momentum above 0, got momentum=0.0. Try momentum=0.9.")

    @property
    def rule(self) -> OptimizerRule:
        """The record of the form that is chosen by `momentum` and `nesterov`."""
        if self.momentum == 0.0:
            return SGD_RULE
        return NESTEROV_RULE if self.nesterov else MOMENTUM_RULE


@device_function
def adagrad_coefficients(rate: float, t: float, epsilon: float) -> Any:
    """Return -lr and epsilon."""
    return -rate, epsilon


@device_function
def adagrad(g: Any, w: Any, m: Any, minus_lr: Any, epsilon: Any) -> Any:
    """Return w - lr g / (sqrt m + epsilon) and m, the sum m + g^2 (J. Duchi et al., 2011, section 1.1)."""
    new_m = m + g * g
    return fma(minus_lr, g / (sqrt(new_m) + epsilon), w), new_m


@named(adagrad={})
@dataclass(frozen=True, repr=False)
class AdaGrad(FirstOrderOptimizer):
    """AdaGrad: every weight has a rate of its own, which falls with the squares seen so far.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    epsilon : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    v += g^2; w -= lr g / (sqrt(v) + epsilon) [1]_

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
       optimization", JMLR 12, 2011.
    """

    learning_rate: LearningRate = 0.01
    _: KW_ONLY
    epsilon: float = setting(1e-10, "(0, inf)")

    rule = OPTIMIZERS.add(
        OptimizerRule(
            name="adagrad",
            formula="m += g^2; w -= lr g / (sqrt m + epsilon)",
            hyper=("epsilon",),
            coefficients=adagrad_coefficients,
            step=adagrad,
            slots=("m",),
        )
    )


@device_function
def rmsprop_coefficients(rate: float, t: float, rho: float, epsilon: float) -> Any:
    """Return -lr, rho, 1 - rho and epsilon."""
    return -rate, rho, 1.0 - rho, epsilon


@device_function
def rmsprop(g: Any, w: Any, m: Any, minus_lr: Any, rho: Any, rest: Any, epsilon: Any) -> Any:
    """Return w - lr g / (sqrt m + epsilon) and m, the mean rho m + (1 - rho) g^2 (T. Tieleman, G. Hinton, 2012)."""
    new_m = fma(rho, m, rest * (g * g))
    return fma(minus_lr, g / (sqrt(new_m) + epsilon), w), new_m


@named(rmsprop={})
@dataclass(frozen=True, repr=False)
class RMSProp(FirstOrderOptimizer):
    """RMSProp: the gradient over its running root mean square.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    rho : float
        The decay of the running mean, at least 0 and below 1.
    epsilon : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    v = rho v + (1 - rho) g^2; w -= lr g / (sqrt(v) + epsilon) [1]_

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, Neural Networks for Machine Learning,
       2012.
    """

    learning_rate: LearningRate = 1e-3
    _: KW_ONLY
    rho: float = setting(0.9, "[0, 1)")
    epsilon: float = setting(1e-8, "(0, inf)")

    rule = OPTIMIZERS.add(
        OptimizerRule(
            name="rmsprop",
            formula="m = rho m + (1 - rho) g^2; w -= lr g / (sqrt m + epsilon)",
            hyper=("rho", "epsilon"),
            coefficients=rmsprop_coefficients,
            step=rmsprop,
            slots=("m",),
        )
    )


@device_function
def adam_coefficients(rate: float, t: float, beta_1: float, beta_2: float, epsilon: float) -> Any:
    """Return -lr / (1 - beta_1^t), both means' shares, 1 / sqrt(1 - beta_2^t) and epsilon."""
    return (
        -(rate / (1.0 - beta_1**t)), beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, 1.0 / math.sqrt(1.0 - beta_2**t),
        epsilon,
    )  # fmt: skip


@device_function
def adam(g: Any, w: Any, m: Any, v: Any, minus_lr: Any, b1: Any, rest1: Any, b2: Any, rest2: Any, root: Any,
         epsilon: Any) -> Any:  # fmt: skip
    """Return the weight and both means by algorithm 1 (D. Kingma, J. Ba, 2015)."""
    new_m = fma(b1, m, rest1 * g)
    new_v = fma(b2, v, rest2 * (g * g))
    return fma(minus_lr, new_m / fma(sqrt(new_v), root, epsilon), w), new_m, new_v


@device_function
def amsgrad(g: Any, w: Any, m: Any, v: Any, top: Any, minus_lr: Any, b1: Any, rest1: Any, b2: Any, rest2: Any,
            root: Any, epsilon: Any) -> Any:  # fmt: skip
    """Return the same with the largest v so far in place of v, and that (S. Reddi et al., 2018, algorithm 2)."""
    new_m = fma(b1, m, rest1 * g)
    new_v = fma(b2, v, rest2 * (g * g))
    new_top = maximum(top, new_v)
    return fma(minus_lr, new_m / fma(sqrt(new_top), root, epsilon), w), new_m, new_v, new_top


# A square that became infinite would freeze its weight without an error: v is guarded.
ADAM_RULE = OPTIMIZERS.add(
    OptimizerRule(
        name="adam",
        formula="m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)",
        hyper=("beta_1", "beta_2", "epsilon"),
        coefficients=adam_coefficients,
        step=adam,
        slots=("m", "v"),
        guarded=("v",),
    )
)
AMSGRAD_RULE = OPTIMIZERS.add(
    OptimizerRule(
        name="amsgrad",
        formula="as adam, with the largest v so far in place of v",
        hyper=("beta_1", "beta_2", "epsilon"),
        coefficients=adam_coefficients,
        step=amsgrad,
        slots=("m", "v", "top"),
        guarded=("v",),
    )
)


@named(adam={}, amsgrad={"amsgrad": True})
@dataclass(frozen=True, repr=False)
class Adam(FirstOrderOptimizer):
    """Adam: running means of the gradient and of its square, each corrected for its start at zero.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    beta_1, beta_2 : float
        The decays of the two means, at least 0 and below 1.
    epsilon : float
        Above 0.
    amsgrad : bool
        Whether the largest v so far takes the place of v [2]_.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    | m = beta_1 m + (1 - beta_1) g
    | v = beta_2 v + (1 - beta_2) g^2
    | w -= lr / (1 - beta_1^t) m / (sqrt(v) / sqrt(1 - beta_2^t) + epsilon)

    This is algorithm 1 of [1]_.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR, 2015.
    .. [2] S. J. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond", ICLR, 2018.
    """

    learning_rate: LearningRate = 1e-3
    _: KW_ONLY
    beta_1: float = setting(0.9, "[0, 1)")
    beta_2: float = setting(0.999, "[0, 1)")
    epsilon: float = setting(1e-8, "(0, inf)")
    amsgrad: bool = False

    @property
    def rule(self) -> OptimizerRule:
        """The record of the form that is chosen by `amsgrad`."""
        return AMSGRAD_RULE if self.amsgrad else ADAM_RULE


@named(adamw={})
@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: the same class, with a weight_decay of 0.01 unless another is given.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    beta_1, beta_2, epsilon, amsgrad
        See `Adam`.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    References
    ----------
    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR, 2019, algorithm 2.
    """

    _: KW_ONLY
    weight_decay: float = setting(0.01, "[0, inf)")


@device_function
def nadam_momentum(beta_1: float, t: float) -> float:
    """Return mu_t = beta_1 (1 - 0.96^(0.004 t) / 2)."""
    return beta_1 * (1.0 - 0.5 * 0.96 ** (0.004 * t))


@device_function
def nadam_advance(t: float, beta_1: float, beta_2: float, epsilon: float, product: float) -> Any:
    """Return M, the product of mu_1 to mu_t."""
    return (product * nadam_momentum(beta_1, t),)


@device_function
def nadam_coefficients(rate: float, t: float, beta_1: float, beta_2: float, epsilon: float, product: float) -> Any:
    """Return minus the rates of m and of g, both means' shares, 1 / sqrt(1 - beta_2^t) and epsilon."""
    following = nadam_momentum(beta_1, t + 1.0)
    of_m = rate * following / (1.0 - product * following)
    of_g = rate * ((1.0 - nadam_momentum(beta_1, t)) / (1.0 - product))
    return (
        -of_m, -of_g, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, 1.0 / math.sqrt(1.0 - beta_2**t), epsilon,
    )  # fmt: skip


@device_function
def nadam(g: Any, w: Any, m: Any, v: Any, minus_m: Any, minus_g: Any, b1: Any, rest1: Any, b2: Any, rest2: Any,
          root: Any, epsilon: Any) -> Any:  # fmt: skip
    """Return the weight and both means by algorithm 2 (T. Dozat, 2016)."""
    new_m = fma(b1, m, rest1 * g)
    new_v = fma(b2, v, rest2 * (g * g))
    return fma(minus_m, new_m, minus_g * g) / fma(sqrt(new_v), root, epsilon) + w, new_m, new_v


@named(nadam={})
@dataclass(frozen=True, repr=False)
class NAdam(FirstOrderOptimizer):
    """NAdam: Adam with Nesterov's momentum.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`.
    beta_1, beta_2 : float
        The decays of the two means, at least 0 and below 1.
    epsilon : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    | mu_t = beta_1 (1 - 0.96^(0.004 t) / 2), M the product of mu_1 to mu_t
    | m = beta_1 m + (1 - beta_1) g
    | v = beta_2 v + (1 - beta_2) g^2
    | d = (1 - mu_t) / (1 - M) g + mu_(t+1) / (1 - M mu_(t+1)) m
    | w -= lr d / (sqrt(v / (1 - beta_2^t)) + epsilon)

    This is algorithm 2 of [1]_, with the schedule of mu that PyTorch takes.

    References
    ----------
    .. [1] T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop, 2016.
    """

    learning_rate: LearningRate = 2e-3
    _: KW_ONLY
    beta_1: float = setting(0.9, "[0, 1)")
    beta_2: float = setting(0.999, "[0, 1)")
    epsilon: float = setting(1e-8, "(0, inf)")

    rule = OPTIMIZERS.add(
        OptimizerRule(
            name="nadam",
            formula="m, v of adam; w -= lr ((1 - mu_t) / (1 - M) g + mu_(t+1) / (1 - M mu_(t+1)) m) / "
            "(sqrt(v / (1 - b2^t)) + eps)",
            hyper=("beta_1", "beta_2", "epsilon"),
            coefficients=nadam_coefficients,
            step=nadam,
            slots=("m", "v"),
            guarded=("v",),
            scalars=(("moment_product", 1.0),),
            advance=nadam_advance,
        )
    )


@device_function
def lion_coefficients(rate: float, t: float, beta_1: float, beta_2: float) -> Any:
    """Return -lr and the shares of the direction and of the mean."""
    return -rate, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2


@device_function
def lion(g: Any, w: Any, m: Any, minus_lr: Any, b1: Any, rest1: Any, b2: Any, rest2: Any) -> Any:
    """Return the weight and the mean by algorithm 2 (X. Chen et al., 2023)."""
    return fma(minus_lr, sign(fma(b1, m, rest1 * g)), w), fma(b2, m, rest2 * g)


@named(lion={})
@dataclass(frozen=True, repr=False)
class Lion(FirstOrderOptimizer):
    """Lion: steps of one size, whose signs come from a mean of the gradient.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `FirstOrderOptimizer`. Lion needs a learning rate 3 to 10 times smaller than Adam's, and as much more weight
        decay.
    beta_1, beta_2 : float
        Share of the mean in the step's direction, and the decay of the mean; at least 0 and below 1.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    w -= lr sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g [1]_

    References
    ----------
    .. [1] X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS, 2023, algorithm 2.
    """

    learning_rate: LearningRate = 1e-4
    _: KW_ONLY
    beta_1: float = setting(0.9, "[0, 1)")
    beta_2: float = setting(0.99, "[0, 1)")

    rule = OPTIMIZERS.add(
        OptimizerRule(
            name="lion",
            formula="w -= lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g",
            hyper=("beta_1", "beta_2"),
            coefficients=lion_coefficients,
            step=lion,
            slots=("m",),
        )
    )


# ------------------------------------------------------------------------------------------- what a user states

named(lbfgs={})(LBFGS)
named(lm={})(LevenbergMarquardt)


def get(spec: str | Optimizer) -> Optimizer:
    """Return the optimizer of a name.

    Parameters
    ----------
    spec : str or optimizer
        An instance, or a name for one with its default numbers: {names}. "momentum" and "nesterov" are `SGD` with a
        momentum of 0.9, "amsgrad" is a form of `Adam`, "lm" is `LevenbergMarquardt`.

    Returns
    -------
    FirstOrderOptimizer, LBFGS or LevenbergMarquardt

    Raises
    ------
    TypeError
        If `spec` is neither.
    ValueError
        If the name is unknown.
    """
    if isinstance(spec, Optimizer):
        return spec
    if not isinstance(spec, str):
        valid = "a name such as 'adam', or an instance such as Adam(3e-4)"
        hint = hint_for_object("optimizer", spec, _NAMED, {})
        raise TypeError(must_be("optimizer", valid, spec, hint))
    return _NAMED[resolved_name("optimizer", spec, _NAMED, {})]


if get.__doc__ is not None:  # python -OO
    get.__doc__ = get.__doc__.replace("{names}", ", ".join(_NAMED))


def first_order_names() -> tuple[str, ...]:
    """Return the names of the optimizers for mini-batches."""
    return tuple(name for name, optimizer in _NAMED.items() if isinstance(optimizer, FirstOrderOptimizer))


def averages(optimizer: Optimizer) -> bool:
    """Whether a running average of the parameters is kept."""
    return isinstance(optimizer, FirstOrderOptimizer) and optimizer.ema_momentum is not None


def with_learning_rate(optimizer: Optimizer, learning_rate: LearningRate) -> Optimizer:
    """Give the same optimizer with another learning rate; no solver."""
    assert not isinstance(optimizer, Solver)
    return replace(optimizer, learning_rate=learning_rate)
