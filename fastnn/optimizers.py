"""Optimizers: variants of gradient descent. g is the gradient, w a weight, lr the learning rate, t = 1, 2 ...

The formulas are the forms that PyTorch uses. Each class tells the kernels its code, the number of slots
(arrays as large as the weights that it keeps between steps) and three numbers. The solvers, which are optimizers to
`Model` as well, are in `solver_settings`.
"""

from __future__ import annotations

import reprlib
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from fastnn._validation import canonical_name, finite_number
from fastnn.kernels import ids
from fastnn.schedules import LearningRate, as_learning_rate
from fastnn.solvers import LBFGS as LBFGS
from fastnn.solvers import LevenbergMarquardt as LevenbergMarquardt

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "FirstOrderOptimizer", "Lion", "NAdam", "RMSProp", "get"]

#: Fields that are True or False, those that are None for "not at all", and those that must be above 0.
_FLAGS = ("nesterov", "amsgrad")
_LIMITS = ("clipvalue", "global_clipnorm")


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

    learning_rate: LearningRate = 0.01
    _: KW_ONLY
    weight_decay: float = 0.0
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    ema_momentum: float | None = None

    def __post_init__(self) -> None:
        """Check the arguments and turn numbers into floats; the ranges go with the names."""
        for field in fields(self):
            name = field.name
            value = getattr(self, name)
            if name == "learning_rate":
                value = as_learning_rate(value)
            elif name in _FLAGS:
                if not isinstance(value, (bool, np.bool_)):
                    raise TypeError(f"{name} must be True or False; got {reprlib.repr(value)}.")
                value = bool(value)
            elif value is not None or field.default is not None:
                value = finite_number(name, value)
                if name in ("epsilon", *_LIMITS):
                    if value <= 0.0:
                        raise ValueError(f"{name} must be above 0; got {value!r}.")
                elif name == "weight_decay":
                    if value < 0.0:
                        raise ValueError(f"{name} must be at least 0; got {value!r}.")
                elif not 0.0 <= value < 1.0:
                    raise ValueError(f"{name} must be at least 0 and below 1; got {value!r}.")
            object.__setattr__(self, name, value)
        if self.clipvalue is not None and self.global_clipnorm is not None:
            raise ValueError(
                f"clipvalue={self.clipvalue!r} and global_clipnorm={self.global_clipnorm!r} are both given; one of "
                "them is enough."
            )

    def __repr__(self) -> str:
        """Name the learning rate, and what differs from the defaults."""
        given = [f"learning_rate={self.learning_rate!r}"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "learning_rate" and value != field.default:
                given.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        raise NotImplementedError

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps, besides the running average."""
        raise NotImplementedError

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers."""
        raise NotImplementedError


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
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov=True needs a momentum above 0; got momentum=0.0. Try momentum=0.9.")

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        if self.momentum == 0.0:
            return ids.SGD
        return ids.NESTEROV if self.nesterov else ids.MOMENTUM

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 0 if self.momentum == 0.0 else 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: momentum, 0, 0."""
        return self.momentum, 0.0, 0.0


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
    epsilon: float = 1e-10

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return ids.ADAGRAD

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: 0, 0, epsilon."""
        return 0.0, 0.0, self.epsilon


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
    rho: float = 0.9
    epsilon: float = 1e-8

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return ids.RMSPROP

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: rho, 0, epsilon."""
        return self.rho, 0.0, self.epsilon


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
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return ids.AMSGRAD if self.amsgrad else ids.ADAM

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 3 if self.amsgrad else 2

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: beta_1, beta_2, epsilon."""
        return self.beta_1, self.beta_2, self.epsilon


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
    weight_decay: float = 0.01


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
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return ids.NADAM

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 2

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: beta_1, beta_2, epsilon."""
        return self.beta_1, self.beta_2, self.epsilon


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
    beta_1: float = 0.9
    beta_2: float = 0.99

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return ids.LION

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: beta_1, beta_2, 0."""
        return self.beta_1, self.beta_2, 0.0


Solver: TypeAlias = LBFGS | LevenbergMarquardt
Optimizer: TypeAlias = FirstOrderOptimizer | Solver

#: All classes that a user can choose from, by their names.
CLASSES: dict[str, type[Optimizer]] = {
    c.__name__: c for c in (SGD, AdaGrad, RMSProp, Adam, AdamW, NAdam, Lion, LBFGS, LevenbergMarquardt)
}

_NAMED: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adagrad": AdaGrad(),
    "rmsprop": RMSProp(),
    "adam": Adam(),
    "adamw": AdamW(),
    "amsgrad": Adam(amsgrad=True),
    "nadam": NAdam(),
    "lion": Lion(),
    "lbfgs": LBFGS(),
    "lm": LevenbergMarquardt(),
}


def get(spec: str | Optimizer) -> Optimizer:
    """Turn what a user says into an optimizer.

    Parameters
    ----------
    spec : str or optimizer
        An instance, or a name for one with its default numbers: sgd, momentum (SGD with momentum 0.9),
        nesterov (the same in Nesterov's form), adagrad, rmsprop, adam, adamw, amsgrad, nadam, lion, lbfgs,
        lm (LevenbergMarquardt).

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
        raise TypeError(
            "optimizer must be a name such as 'adam', or an instance such as Adam(3e-4); "
            f"got {reprlib.repr(spec)}."
        )
    return _NAMED[canonical_name("optimizer", spec, _NAMED, {})]


def averages(optimizer: Optimizer) -> bool:
    """Whether a running average of the parameters is kept."""
    return isinstance(optimizer, FirstOrderOptimizer) and optimizer.ema_momentum is not None


def with_learning_rate(optimizer: Optimizer, learning_rate: LearningRate) -> Optimizer:
    """Give the same optimizer with another learning rate; no solver."""
    assert not isinstance(optimizer, Solver)
    return replace(optimizer, learning_rate=learning_rate)
