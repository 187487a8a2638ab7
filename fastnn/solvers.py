"""Settings of the full-batch methods, which `Model` takes in the place of an optimizer.

`fastnn._training` runs them on all rows at once; they have neither a learning rate nor slots.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import ClassVar

from fastnn._validation import check_bool, number_in, positive_integer

__all__ = ["LBFGS", "LevenbergMarquardt"]


def __dir__() -> list[str]:
    return __all__



@dataclass(frozen=True)
class Solver:
    """Base of the full-batch methods: they take all rows in each iteration, and keep nothing between fits."""

    #: Whether each iteration takes all rows at once.
    full_batch: ClassVar[bool] = True
    #: Number of arrays of the size of the weights that are kept between fits.
    n_slots: ClassVar[int] = 0
    #: Maximum number of iterations of a fit without `epochs`.
    default_epochs: ClassVar[int] = 1000


#: Numbers of the solvers, and the intervals in which they are valid.
_INTERVALS = {
    "gtol": "[0, inf)", "ftol": "[0, inf)", "mu": "(0, inf)", "mu_dec": "(0, 1)", "mu_inc": "(1, inf)",
    "mu_max": "(0, inf)",
}  # fmt: skip


def _check_solver(solver: LBFGS | LevenbergMarquardt) -> None:
    """Validate all fields and turn numbers into ints and floats."""
    for field in fields(solver):
        name, value = field.name, getattr(solver, field.name)
        if name in _INTERVALS:
            value = number_in(name, value, _INTERVALS[name])
        elif name == "acceleration":
            value = check_bool(value, name)
        elif value is not None or field.default is not None:
            value = positive_integer(value, name)
        object.__setattr__(solver, name, value)


@dataclass(frozen=True)
class LBFGS(Solver):
    """L-BFGS: quasi-Newton steps with a line search, over all rows at once; for small nets and few rows.

    One epoch of `fit` is one iteration, which takes one or more evaluations of the loss and its gradient. Without
    `epochs` a fit ends when it has converged, after at most 1000 iterations. There is no rate to choose. Each fit
    begins with an empty memory, and what a callback writes into the weights is lost with the next iteration.

    Parameters
    ----------
    maxcor : int
        Pairs of steps and changes of the gradient that are remembered; memory is 2 maxcor arrays of the number of
        parameters, in double precision.
    gtol : float
        Converged when no component of the gradient is larger than this share of the loss (for losses of classes: of the
        loss or of 1, whichever is larger); at least 0.
    ftol : float
        Converged when an iteration lowers the loss by less than this share of it, or for losses of classes of 1; at
        least 0.
    max_fun : int
        Most evaluations of the loss in a fit.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type or out of range.

    Notes
    -----
    The method of [1]_ as scipy.optimize has it, whose names and defaults these are; its tolerances are absolute below a
    loss of 1, these are not, so that the units of the targets do not matter. Loss and gradient are computed in the
    model's dtype. In float32 the line search finds no lower loss once rounding hides the differences, at some
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


@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Levenberg-Marquardt: damped Gauss-Newton steps for sums of squares; for small nets by far the fastest.

    One epoch of `fit` is one step that lowers the loss; steps that do not are tried again with more damping and are
    not counted. Without `epochs` a fit ends when it has converged, after at most 1000 steps. There is no rate to
    choose. Each fit begins with the damping `mu`, and what a callback writes into the weights is lost with the next
    step.

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
        Converged when no component of the gradient is larger than this share of the loss; at least 0.
    ftol : float
        Converged when a step lowers the loss by less than this share of it, and one without damping is not expected to
        lower it by more; at least 0.
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
    one thread where threadpoolctl is installed; of J some 4 MB at a time are in memory.

    J^T J has the square of the condition of J, so that rounding takes away directions in which the residuals hardly
    change. Where steps from it lead no further, the condition of J is above 10^7, and there are at most 500 parameters,
    the fit goes on with steps from a QR factorisation of J, damped in proportion to the length of each column as in
    [5]_; the `mu` of such a step is relative to the squares of these lengths, begins with 1e-16 and is at most 1.

    All is computed in double
    precision, on a copy of the data if the model is of float32; its weights are rounded after each step, and the loss
    reported is that before rounding. The losses are "squared_error" and "sum_of_squares"; an L1 penalty is no sum of
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
    .. [5] J. J. More, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630,
       1978.
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
