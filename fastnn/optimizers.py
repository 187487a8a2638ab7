"""Optimizers: variants of gradient descent. g is the gradient, w a weight, lr the learning rate, t = 1, 2 ...

The formulas are the forms that PyTorch uses. Each class tells the kernels its code, the number of slots
(arrays as large as the weights that it keeps between steps) and three numbers. The solvers at the end are no
kernels: `fastnn.solvers` runs them, on all rows at once, and they have neither a rate nor slots.
"""

from __future__ import annotations

import numbers
import reprlib
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from fastnn.activations import canonical_name, finite_number
from fastnn.kernels import codes
from fastnn.schedules import LearningRate, as_learning_rate

#: Fields that are True or False, those that are None for "not at all", and those that must be above 0.
_FLAGS = ("nesterov", "amsgrad")
_LIMITS = ("clipvalue", "global_clipnorm")


@dataclass(frozen=True)
class Descent:
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
class SGD(Descent):
    """Stochastic gradient descent, plain or with momentum.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`.
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
            return codes.SGD
        return codes.NESTEROV if self.nesterov else codes.MOMENTUM

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 0 if self.momentum == 0.0 else 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: momentum, 0, 0."""
        return self.momentum, 0.0, 0.0


@dataclass(frozen=True, repr=False)
class AdaGrad(Descent):
    """AdaGrad: every weight has a rate of its own, which falls with the squares seen so far.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`.
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
        return codes.ADAGRAD

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: 0, 0, epsilon."""
        return 0.0, 0.0, self.epsilon


@dataclass(frozen=True, repr=False)
class RMSProp(Descent):
    """RMSProp: the gradient over its running root mean square.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`.
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
        return codes.RMSPROP

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: rho, 0, epsilon."""
        return self.rho, 0.0, self.epsilon


@dataclass(frozen=True, repr=False)
class Adam(Descent):
    """Adam: running means of the gradient and of its square, each corrected for its start at zero.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`.
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
        return codes.AMSGRAD if self.amsgrad else codes.ADAM

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
        See `Descent`.
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
class NAdam(Descent):
    """NAdam: Adam with Nesterov's momentum.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`.
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
        return codes.NADAM

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 2

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: beta_1, beta_2, epsilon."""
        return self.beta_1, self.beta_2, self.epsilon


@dataclass(frozen=True, repr=False)
class Lion(Descent):
    """Lion: steps of one size, whose signs come from a mean of the gradient.

    Parameters
    ----------
    learning_rate, weight_decay, clipvalue, global_clipnorm, ema_momentum
        See `Descent`. Lion wants a rate three to ten times smaller than Adam's, and so much more weight decay.
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
        return codes.LION

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between steps."""
        return 1

    def settings(self) -> tuple[float, float, float]:
        """Give the kernels' three numbers: beta_1, beta_2, 0."""
        return self.beta_1, self.beta_2, 0.0


def _check_solver(solver: Solver) -> None:
    """Turn the number fields into ints and floats and check their ranges, which go with the names."""
    for field in fields(solver):
        name, value = field.name, getattr(solver, field.name)
        if name == "acceleration" or (name == "max_memory" and value is None):
            continue
        if name in ("maxcor", "max_fun", "max_memory"):
            if not isinstance(value, numbers.Integral) or isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name} must be an integer of at least 1; got {reprlib.repr(value)}.")
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
            value = int(value)
        else:
            value = finite_number(name, value)
            if name == "mu_dec" and not 0.0 < value < 1.0:
                raise ValueError(f"mu_dec must be above 0 and below 1; got {value!r}.")
            if name == "mu_inc" and value <= 1.0:
                raise ValueError(f"mu_inc must be above 1; got {value!r}.")
            if name in ("mu", "mu_max") and value <= 0.0:
                raise ValueError(f"{name} must be above 0; got {value!r}.")
            if value < 0.0:
                raise ValueError(f"{name} must be at least 0; got {value!r}.")
        object.__setattr__(solver, name, value)


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS: quasi-Newton steps with a line search, over all rows at once; for small nets and few rows.

    One epoch of `fit` is one iteration, which takes one or more evaluations of the loss and its gradient. There is
    no rate to choose. Each fit begins with an empty memory, and what a callback writes into the weights is lost with
    the next iteration.

    Parameters
    ----------
    maxcor : int
        Pairs of steps and changes of the gradient that are remembered; memory is 2 maxcor arrays of the number of
        parameters, in double precision.
    gtol : float
        Converged when no component of the gradient is larger; at least 0.
    ftol : float
        Converged when an iteration lowers the loss by less than this share of it; at least 0.
    max_fun : int
        Most evaluations of the loss in a fit.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    The method of [1]_ as scipy.optimize has it, whose names and defaults these are. Loss and gradient are computed in
    the model's dtype. In float32 the line search finds no lower loss once rounding hides the differences, at some
    1e-7 of the loss; use float64 to go further. An L1 penalty, which is not smooth, is refused;
    "absolute_error" and "quantile" have kinks, too, but each row elsewhere: the fit comes near their minimum, and may
    stall there.

    References
    ----------
    .. [1] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained optimization",
       SIAM J. Sci. Comput. 16 (5), 1995.
    """

    _: KW_ONLY
    maxcor: int = 10
    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    max_fun: int = 15_000

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_solver(self)

    @property
    def code(self) -> int:
        """-1: no kernel knows it."""
        return -1

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between fits."""
        return 0


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt: damped Gauss-Newton steps for sums of squares; for small nets by far the fastest.

    One epoch of `fit` is one step that lowers the loss; steps that do not are tried again with more damping and are
    not counted. There is no rate to choose. Each fit begins with the damping `mu`, and what a callback writes into the
    weights is lost with the next step.

    Parameters
    ----------
    mu : float
        The damping to begin with, above 0, as a multiple of the largest element on the diagonal of J^T J at the start.
    mu_dec, mu_inc : float
        Factors of the damping after a step that lowers the loss (above 0 and below 1) and after one that does not
        (above 1).
    mu_max : float
        No step is tried with more damping than that: the fit ends as "stalled".
    gtol : float
        Converged when no component of the gradient is larger; at least 0.
    ftol : float
        Converged when a step lowers the loss by less than this share of it; at least 0.
    acceleration : bool
        Whether each step is bent along the curvature of the residuals, which costs one more forward pass.
    max_memory : int or None
        Most bytes for the normal equations, 16 P^2 for P parameters; None is a quarter of the machine's memory. A net
        that needs more is refused with a MemoryError.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    The loss with its L2 penalty is the sum of the squares of residuals r. With their Jacobian J, a step p solves

    (J^T J + mu I) p = -J^T r

    [1]_, [2]_, [3]_, to which the geodesic acceleration of [4]_ adds a second order. The names are those of MATLAB's
    trainlm, which is about ``LevenbergMarquardt(mu=1e-3, mu_dec=0.1, mu_inc=10, acceleration=False)``. With n rows and
    O outputs a step costs some n O P^2 operations in compiled code and P^3 / 3 in the LAPACK of scipy, which is kept to
    one thread where threadpoolctl is installed; of J some 4 MB at a time are in memory. All is computed in double
    precision, on a copy of the data if the model is of float32; its weights are rounded after each step, and the loss
    told is that before rounding. The losses are "squared_error" and "sum_of_squares"; an L1 penalty is no sum of
    squares.

    References
    ----------
    .. [1] K. Levenberg, "A method for the solution of certain non-linear problems in least squares", Quarterly of
       Applied Mathematics 2, 1944.
    .. [2] D. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", SIAM J. Applied
       Mathematics 11, 1963.
    .. [3] M. T. Hagan, M. B. Menhaj, "Training feedforward networks with the Marquardt algorithm", IEEE Trans. Neural
       Networks 5 (6), 1994.
    .. [4] M. K. Transtrum, J. P. Sethna, "Improvements to the Levenberg-Marquardt algorithm for nonlinear
       least-squares minimization", arXiv:1201.5885, 2012.
    """

    _: KW_ONLY
    mu: float = 0.01
    mu_dec: float = 0.7
    mu_inc: float = 3.0
    mu_max: float = 1e10
    gtol: float = 1e-7
    ftol: float = 1e-10
    acceleration: bool = True
    max_memory: int | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_solver(self)
        if not isinstance(self.acceleration, (bool, np.bool_)):
            raise TypeError(f"acceleration must be True or False; got {reprlib.repr(self.acceleration)}.")
        object.__setattr__(self, "acceleration", bool(self.acceleration))

    @property
    def code(self) -> int:
        """-1: no kernel knows it."""
        return -1

    @property
    def n_slots(self) -> int:
        """How many arrays as large as the weights are kept between fits."""
        return 0


Solver: TypeAlias = LBFGS | LevenbergMarquardt
Optimizer: TypeAlias = Descent | Solver

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
    Descent, LBFGS or LevenbergMarquardt

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
    return isinstance(optimizer, Descent) and optimizer.ema_momentum is not None


def with_learning_rate(optimizer: Optimizer, learning_rate: LearningRate) -> Optimizer:
    """Give the same optimizer with another learning rate; no solver."""
    assert not isinstance(optimizer, Solver)
    return replace(optimizer, learning_rate=learning_rate)
