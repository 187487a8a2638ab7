"""Levenberg-Marquardt: damped Gauss-Newton steps for sums of squares, in double precision."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np

from fastnn._data.arrays import written_during_the_call
from fastnn._data.rows import Rows, as_data
from fastnn._engine.engine import Engine
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import Workspace
from fastnn._errors import DivergenceError
from fastnn._training import full_batch
from fastnn._training.blas import one_blas_thread
from fastnn._training.full_batch import Convergence, End, NotFiniteError, OnIteration
from fastnn._training.loop import Fit, Loop
from fastnn._training.net import Net
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.loop.jacobian import add_products, residuals
from fastnn.kernels.tables import State, aligned_zeros, leading_dimension
from fastnn.optimizers import LevenbergMarquardt

#: Maximum bytes, and maximum rows of data, per block of the Jacobian.
BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 1024
#: Parameters from which on LAPACK is limited to one thread; setting the limit is slower than a step of smaller nets.
LAPACK_THREADS = 100
#: Damping below which the normal equations no longer change in double precision.
MU_MIN = 1e-20
#: Factor of the damping after a step that lowered the loss by less than `ftol` where longer ones promise more.
SLOW_MU_DEC = 0.1
#: Damping with which normal equations are close to the undamped ones, and still regular in double precision.
UNDAMPED_MU = 1e-12
#: Relative length of the finite difference for the curvature along a step, and maximum ratio of acceleration to step
#: up to which the second-order step is accepted (Transtrum and Sethna, sections 4 and 5).
DIFFERENCE = 0.1
MOST_ACCELERATION = 1.0
#: Largest net for which J is factored, which takes some ten times as long as its normal equations.
MAX_FACTORED_PARAMS = 500
#: Reciprocal condition of J, its columns scaled to length 1, below which J^T J has lost directions to rounding.
LOST_CONDITION = 1e-7
#: Damping of factored steps as a share of the squared lengths of the columns: its range, and its factors after a step
#: that lowers the loss and after one that does not.
FACTORED_MU_MIN = 1e-16
FACTORED_MU_MAX = 1.0
FACTORED_MU_DEC = 0.3
FACTORED_MU_INC = 3.0


def _triangle(*parts: np.ndarray) -> np.ndarray:
    """Return the triangle of a QR factorisation of some rows, given in parts."""
    return np.asarray(np.linalg.qr(np.concatenate(parts), mode="r"))


class _LeastSquares:
    """Loss with penalty at any x as a sum of squares, and its normal equations; float64 for every dtype of model.

    Attributes
    ----------
    n_params : int
        Number P of trained parameters.
    penalty : ndarray
        (P,) l2 of each weight, 0 of each bias.
    """

    def __init__(self, net: Net, rows: Rows, team: ThreadTeam) -> None:
        from scipy.linalg import lapack  # where used: it takes some 100 ms to import

        self._own = own = net.built()
        self.n_params = n = len(own.parameter_index())
        ld = leading_dimension(n + 1, np.float64)
        architecture = dataclasses.replace(own.architecture, dtype=np.dtype(np.float64), mixed=False)
        self._engine = Engine(architecture, 0, 1)
        self._index = self._engine.parameter_index()
        n_outputs = architecture.sizes[-1]
        self._n_rows = rows.n
        self._block = min(rows.n, BLOCK_ROWS, max(1, BLOCK_BYTES // (8 * n_outputs * ld)))
        space = Workspace(architecture, self._block, 1, shards=False)
        self._state = State(self._engine.params, np.zeros(0), np.zeros(0), space.work)
        self._plan = space.plan(1)
        wide = [np.asarray(a, np.float64) for a in (rows.features, rows.targets.values, rows.sample_weight)]
        self._data = as_data(wide[0], wide[1], rows.targets.labels, wide[2], rows.data().order)
        counts = self._data.sample_weight
        if rows.index is not None and counts.size:
            counts = counts[rows.index]
        whole = float(counts.sum()) if counts.size else float(rows.n)
        if not whole > 0.0:
            raise ValueError(written_during_the_call("sample_weight"))
        half = net.spec.loss.rule.reduction == "sum"
        self._scale = math.sqrt(0.5 if half else 1.0 / (n_outputs * whole))
        self._columns = np.full((architecture.n_layers, 2), -1, np.int64)
        self.penalty = np.zeros(self.n_params)
        end = 0
        for k in architecture.trained_layers():
            w = self._engine.weights()[k]
            self._columns[k, 0], end = end, end + w.size
            self.penalty[self._columns[k, 0] : end] = architecture.penalties[k][1]
            if architecture.use_bias[k]:
                self._columns[k, 1], end = end, end + w.shape[1]
        self._team = team
        self._n_outputs = n_outputs
        self._ld = ld
        self._unit = 0.0  # unit of mu: the largest diagonal element at the start of the fit
        self._none = np.zeros(0)
        self._vector = np.zeros(rows.n * n_outputs)
        self._jacobian = aligned_zeros(self._block * n_outputs * ld + n_lanes(np.float64), np.float64)
        self._products = aligned_zeros((n + 1) * ld, np.float64)
        self._normal = self._products.reshape(n + 1, ld)[:, : n + 1]
        self._factor = np.zeros((n, n))
        self._diagonal = self._factor.reshape(-1)[:: n + 1]
        self._dpotrf, self._dpotrs = lapack.dpotrf, lapack.dpotrs

    def load_kernels(self) -> None:
        """Load the kernels, by calls for no rows."""
        self._residuals(0, 0, self._none, self._none)
        self._team.run(add_products, self._jacobian, 0, 1, self._ld, self._products, 1, n_threads=1)

    def start(self) -> np.ndarray:
        """Read the present parameters of the net, and return those that are trained, (P,)."""
        mine, own = self._engine, self._own
        for view, values in zip((*mine.weights(), *mine.biases()), (*own.weights(), *own.biases()), strict=True):
            view[...] = values
        return mine.params[self._index]

    def _residuals(
        self, place: int, rows: int, vector: np.ndarray, jacobian: np.ndarray
    ) -> float:
        return float(
            residuals(
                self._state, self._plan, self._data, self._columns, self._scale, place, rows, self.n_params, self._ld,
                vector, jacobian,
            )
        )  # fmt: skip

    def loss(self, x: np.ndarray) -> float:
        """Return the loss with penalty at x, (P,)."""
        self._engine.params[self._index] = x
        return self._residuals(0, self._n_rows, self._none, self._none) + float(self.penalty @ (x * x))

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield J and r at the parameters of the engine in blocks of rows: offset in r, rows of J, part of r."""
        for place in range(0, self._n_rows, self._block):
            rows = min(self._block, self._n_rows - place)
            self._residuals(place, rows, self._none, self._jacobian)
            yield self._parts(place, rows)

    def _parts(self, place: int, rows: int) -> tuple[int, np.ndarray, np.ndarray]:
        count = rows * self._n_outputs
        block = self._jacobian[: count * self._ld].reshape(count, self._ld)
        return place * self._n_outputs, block[:, : self.n_params], block[:, self.n_params]

    def linearise(self, x: np.ndarray) -> np.ndarray:
        """Compute the normal equations at x and return half the gradient, (P,)."""
        self._engine.params[self._index] = x
        self._products[:] = 0.0
        n_threads = self._team.start(self._team.n_threads)
        for _, _, residual in self.blocks():
            self._team.run(
                add_products, self._jacobian, len(residual), self.n_params + 1, self._ld, self._products,
                n_threads, n_threads=n_threads,
            )  # fmt: skip
        if not self._unit:
            self._unit = float((self._normal.diagonal()[:-1] + self.penalty).max()) or 1.0
        return self._normal[-1, :-1] + self.penalty * x

    def step(self, gradient: np.ndarray, mu: float) -> np.ndarray | None:
        """Return the step (P,) that solves the damped equations; None if they are not positive definite."""
        self._factor[...] = self._normal[:-1, :-1]
        self._diagonal += self.penalty + mu * self._unit
        # The lower triangle by rows is the upper one by columns, as LAPACK reads it.
        _, info = self._dpotrf(self._factor.T, lower=0, overwrite_a=1, clean=0)
        return None if info else -self._dpotrs(self._factor.T, gradient, lower=0)[0]

    def undamped_reduction(self, gradient: np.ndarray) -> float:
        """Return by how much an undamped step would lower the loss if the residuals were linear."""
        step = self.step(gradient, UNDAMPED_MU)
        return math.inf if step is None else -float(gradient @ step)

    def factors(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the triangle of a QR factorisation of [J, r] with the rows of the penalty, and the column lengths.

        (P + 1, P + 1), or (P, P + 1) for one residual fewer; (P,), 1 for a column of zeros.
        """
        self._engine.params[self._index] = x
        root = np.sqrt(self.penalty)
        triangle = np.column_stack([np.diag(root), root * x])
        for _, jacobian, residual in self.blocks():
            triangle = _triangle(triangle, np.column_stack([jacobian, residual]))
        lengths = np.sqrt((triangle[:, :-1] ** 2).sum(axis=0))
        return triangle, np.where(lengths > 0.0, lengths, 1.0)

    def reciprocal_condition(self, triangle: np.ndarray, lengths: np.ndarray) -> float:
        """Return the reciprocal condition of J with columns of length 1, without those of zeros."""
        columns = triangle[:, :-1] / lengths
        values = np.linalg.svd(columns[:, columns.any(axis=0)], compute_uv=False)
        return float(values.min(initial=1.0) / values.max(initial=1.0))

    def factored_step(self, triangle: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """Return the step (P,) with `damping` (P,) on the diagonal, from the triangle of `factors`."""
        from scipy import linalg

        n = self.n_params
        rows = np.column_stack([np.diag(np.sqrt(damping)), np.zeros(n)])
        damped = _triangle(triangle, rows)
        return np.asarray(-linalg.solve_triangular(damped[:n, :n], damped[:n, n], check_finite=False))

    def acceleration(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the geodesic acceleration (P,) of the last `step`; x is that of `linearise`."""
        h = DIFFERENCE
        self._engine.params[self._index] = x + h * step
        self._residuals(0, self._n_rows, self._vector, self._none)
        self._engine.params[self._index] = x
        total = np.zeros(self.n_params)
        # Where one block holds all rows, it is still that of `linearise`.
        one = self._block == self._n_rows
        for place, jacobian, residual in [self._parts(0, self._block)] if one else self.blocks():
            slopes = (self._vector[place : place + len(residual)] - residual) / h
            total += (slopes - jacobian @ step) @ jacobian
        return self._dpotrs(self._factor.T, total, lower=0)[0] * (-2.0 / h)


def check(net: Net) -> None:
    """Raise ValueError or MemoryError unless the method can train a built net."""
    full_batch.check(net)
    settings, engine = _settings(net), net.built()
    if any(engine.architecture.functions) and engine.architecture.dtype != np.float64:
        raise ValueError(
            f"optimizer is {settings!r}, which computes in double precision: custom activations require a Model with "
            "dtype='float64'."
        )
    check_memory(settings, len(engine.parameter_index()))


def work(net: Net, fit: Fit) -> int:
    """Return the floating-point operations of one product J^T J, after which threads synchronize in Python."""
    return fit.training.n * (net.n_outputs or 1) * len(net.built().parameter_index()) ** 2 // 4


def run(loop: Loop) -> DivergenceError | None:
    """Run iterations until one of them ends the training; return the error to be raised where it diverged."""
    problem = _LeastSquares(loop.net, loop.fit.training, loop.team)
    problem.load_kernels()  # before the clocks of iterations and display start
    return full_batch.run(loop, lambda on_iteration: _minimise(problem, loop, on_iteration))


def _settings(net: Net) -> LevenbergMarquardt:
    assert isinstance(net.optimizer, LevenbergMarquardt)
    return net.optimizer


def _minimise(problem: _LeastSquares, loop: Loop, on_iteration: OnIteration) -> End:
    """Minimise a sum of squares until the method converges or `on_iteration` returns False."""
    with one_blas_thread() if problem.n_params >= LAPACK_THREADS else nullcontext():
        return _descend(problem, _settings(loop.net), Convergence.of(loop), on_iteration)


def check_memory(settings: LevenbergMarquardt, n_params: int) -> None:
    """Raise MemoryError if the normal equations of `n_params` parameters and their factor exceed `max_memory`."""
    needed = 16 * (n_params + 1) ** 2
    most = settings.max_memory
    if most is None:
        try:
            most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        except (AttributeError, OSError, ValueError):  # not on Windows
            most = 2**31
    if needed > most:
        raise MemoryError(
            f"optimizer='lm' needs {needed / 1e6:,.1f} MB for the normal equations of {n_params:,} parameters, the "
            f"limit is {most / 1e6:,.1f} MB: use optimizer='lbfgs' or 'adam', make the net smaller, or allow more by "
            "LevenbergMarquardt(max_memory=...), in bytes."
        )


def _descend(
    problem: _LeastSquares, settings: LevenbergMarquardt, convergence: Convergence, on_iteration: OnIteration
) -> End:
    """Take damped steps until the method converges or `on_iteration` returns False."""
    x = problem.start()
    loss = problem.loss(x)
    if not math.isfinite(loss):
        raise NotFiniteError
    mu = settings.mu
    going_on, slow = True, None
    while going_on:
        gradient = problem.linearise(x)
        end = convergence.by_gradient(2.0 * max(gradient.max(), -gradient.min()), loss)
        if end is not None:
            return end
        if slow is not None:  # the last step was a short one: because of its damping, or is this a minimum?
            if convergence.by_step(loss + problem.undamped_reduction(gradient), loss) is not None:
                return slow
            mu = max(mu * SLOW_MU_DEC, MU_MIN)
        rejected = False
        while (found := _try(problem, x, gradient, mu, settings.acceleration)) is None or not found[1] < loss:
            rejected = True
            if mu >= settings.mu_max:
                end = "stalled", f"no step lowers the loss up to a damping of mu_max={settings.mu_max:g}"
                return _descend_by_factors(problem, x, loss, end, convergence, on_iteration)
            mu = min(mu * settings.mu_inc, settings.mu_max)
        before, (x, loss) = loss, found
        going_on = on_iteration(x, {"loss": loss}, {"mu": mu})
        mu = max(mu * settings.mu_dec, MU_MIN)
        slow = convergence.by_step(before, loss)
        if going_on and slow is not None and rejected:
            return _descend_by_factors(problem, x, loss, slow, convergence, on_iteration)
    return None


def _descend_by_factors(
    problem: _LeastSquares, x: np.ndarray, loss: float, end: End, convergence: Convergence, on_iteration: OnIteration
) -> End:
    """Continue from x with steps from a factorisation of J where J^T J has lost directions to rounding.

    Returns `end` where it has not, where the net is too large, or where no such step lowers the loss. The damping of
    each parameter is a share of its column of J [J. J. More, "The Levenberg-Marquardt algorithm: implementation and
    theory", 1978], and begins where rounding ends: steps that are damped more are too short to leave a valley.
    """
    if problem.n_params > MAX_FACTORED_PARAMS:
        return end
    mu, first = FACTORED_MU_MIN, True
    while True:
        triangle, lengths = problem.factors(x)
        if first and problem.reciprocal_condition(triangle, lengths) > LOST_CONDITION:
            return end
        gradient = triangle[:, :-1].T @ triangle[:, -1]
        if not first and (reached := convergence.by_gradient(2.0 * np.abs(gradient).max(), loss)) is not None:
            return reached
        while not (found := _try_factored(problem, x, triangle, mu * lengths * lengths))[1] < loss:
            if mu >= FACTORED_MU_MAX:
                return end
            mu *= FACTORED_MU_INC
        before, (x, loss) = loss, found
        if not on_iteration(x, {"loss": loss}, {"mu": mu}):
            return None
        mu, first = max(mu * FACTORED_MU_DEC, FACTORED_MU_MIN), False
        if (reached := convergence.by_step(before, loss)) is not None:
            return reached


def _try_factored(
    problem: _LeastSquares, x: np.ndarray, triangle: np.ndarray, damping: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the point after a step of `_LeastSquares.factored_step` and its loss."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x = x + problem.factored_step(triangle, damping)
        return x, problem.loss(x)


def _try(
    problem: _LeastSquares, x: np.ndarray, gradient: np.ndarray, mu: float, accelerated: bool
) -> tuple[np.ndarray, float] | None:
    """Return the point after a step with damping `mu` and its loss; None if the step is to be rejected."""
    with np.errstate(over="ignore", invalid="ignore"):
        step = problem.step(gradient, mu)
        if step is None:
            return None
        if accelerated:
            more = problem.acceleration(x, step)
            if not 4.0 * (more @ more) <= MOST_ACCELERATION**2 * (step @ step):
                return None
            step += 0.5 * more
        x = x + step
        return x, problem.loss(x)
