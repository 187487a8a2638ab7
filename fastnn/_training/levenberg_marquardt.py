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
from fastnn._training.full_batch import End, NotFiniteError, OnIteration
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
#: Relative length of the finite difference for the curvature along a step, and maximum ratio of acceleration to step
#: up to which the second-order step is accepted (Transtrum and Sethna, sections 4 and 5).
DIFFERENCE = 0.1
MOST_ACCELERATION = 1.0


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

        own = net.built()
        self.n_params = n = len(own.parameter_index())
        ld = leading_dimension(n + 1, np.float64)
        architecture = dataclasses.replace(own.architecture, dtype=np.dtype(np.float64))
        self._engine = Engine(architecture, 0, 1)
        self._index = self._engine.parameter_index()
        for mine, theirs in zip(
            (*self._engine.weights(), *self._engine.biases()), (*own.weights(), *own.biases()), strict=True
        ):
            mine[...] = theirs
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

    def start(self) -> np.ndarray:
        """Return the trained parameters of the net, (P,)."""
        return self._engine.params[self._index]

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
    return full_batch.run(loop, lambda on_iteration: _minimise(loop, on_iteration))


def _settings(net: Net) -> LevenbergMarquardt:
    assert isinstance(net.optimizer, LevenbergMarquardt)
    return net.optimizer


def _minimise(loop: Loop, on_iteration: OnIteration) -> End:
    """Minimise a sum of squares until the method converges or `on_iteration` returns False."""
    problem = _LeastSquares(loop.net, loop.fit.training, loop.team)
    with one_blas_thread() if problem.n_params >= LAPACK_THREADS else nullcontext():
        return _descend(problem, _settings(loop.net), on_iteration)


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


def _descend(problem: _LeastSquares, settings: LevenbergMarquardt, on_iteration: OnIteration) -> End:
    """Take damped steps until the method converges or `on_iteration` returns False."""
    x = problem.start()
    loss = problem.loss(x)
    if not math.isfinite(loss):
        raise NotFiniteError
    mu = settings.mu
    going_on = True
    while going_on:
        gradient = problem.linearise(x)
        if 2.0 * max(gradient.max(), -gradient.min()) <= settings.gtol:
            return "converged", f"no component of the gradient is above gtol={settings.gtol:g}"
        while (found := _try(problem, x, gradient, mu, settings.acceleration)) is None or not found[1] < loss:
            if mu >= settings.mu_max:
                return "stalled", f"no step lowers the loss up to a damping of mu_max={settings.mu_max:g}"
            mu = min(mu * settings.mu_inc, settings.mu_max)
        lowered = loss - found[1]
        x, loss = found
        going_on = on_iteration(x, {"loss": loss}, {"mu": mu})
        mu = max(mu * settings.mu_dec, MU_MIN)
        if going_on and lowered <= settings.ftol * loss:
            return "converged", f"a step lowered the loss by less than ftol={settings.ftol:g} of it"
    return None


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
