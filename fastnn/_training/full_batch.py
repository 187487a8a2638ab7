"""Full-batch methods: what `Model.fit` runs instead of epochs of descent when its optimizer is a solver.

A solver works on one flat vector x of all parameters that are learnt, in double precision, and on an engine of its
own. So the weights of the model are never those of a trial: they change from one finished iteration to the next, and
what fails or is interrupted between leaves them as they are.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn._engine.engine import Engine, Sums, as_data
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import Workspace
from fastnn._training.loop import DivergenceError, Loop
from fastnn._training.objective import Rows, compiled_metrics, evaluate_compiled, loss_of, values_of
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.loop.jacobian import add_products, residuals
from fastnn.kernels.tables import OK, State, aligned_zeros, leading_dimension
from fastnn.optimizers import LBFGS, LevenbergMarquardt

if TYPE_CHECKING:
    from fastnn.model import Model

#: Bytes of the Jacobian that are held at a time, and most rows of it.
BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 1024
#: Parameters from which on LAPACK factors with several threads; to forbid it takes longer than a step of a smaller net.
LAPACK_THREADS = 100
#: Damping below which the normal equations do not change any more.
MU_MIN = 1e-20
#: Part of a step over which the curvature along it is taken, and the longest acceleration, as a part of the step, with
#: which the second order is trusted (Transtrum and Sethna, sections 4 and 5).
DIFFERENCE = 0.1
MOST_ACCELERATION = 1.0

#: Called after each iteration with x, its loss (and the metrics, if they are known) and settings that changed; whether
#: to go on.
OnIteration: TypeAlias = Callable[[np.ndarray, dict[str, float], dict[str, float]], bool]
#: Why a method ended by itself, as History tells it in `stopped` and `params["reason"]`; None after all epochs.
End: TypeAlias = tuple[str, str] | None


class NotFiniteError(ArithmeticError):
    """The loss at the point that a solver starts from is not finite."""


def check(model: Model) -> None:
    """Insist that the solver of a built model can train what it is given.

    Raises
    ------
    ValueError
        If no layer is trained, or weights are held within a norm.
    MemoryError
        If the method needs more memory than it may take.
    """
    settings, engine = model.optimizer, model._built()
    n_params = len(engine.parameter_index())
    if not n_params:
        raise ValueError(f"optimizer is {settings!r}, but there is nothing to train: all layers are frozen.")
    if any(engine.architecture.max_norms):
        raise ValueError(
            f"optimizer is {settings!r}, which cannot hold weights within a norm: leave max-norm out, or take an "
            "optimizer such as 'adam'."
        )
    if any(engine.architecture.dropouts):
        raise ValueError(
            f"optimizer is {settings!r}, which needs the same loss in each iteration: leave dropout out, or take an "
            "optimizer such as 'adam'."
        )
    if isinstance(settings, LevenbergMarquardt):
        if any(engine.architecture.functions) and engine.architecture.dtype != np.float64:
            raise ValueError(
                f"optimizer is {settings!r}, which computes in double precision: activations of your own need a Model "
                "with dtype='float64'."
            )
        check_memory(settings, n_params)


def work_to_share(model: Model, n_rows: int) -> int:
    """Operations that threads can share: those of one evaluation, for which they are woken each time anew."""
    if isinstance(model.optimizer, LevenbergMarquardt):
        return n_rows * (model.n_outputs or 1) * len(model._built().parameter_index()) ** 2 // 4
    return model.flops_per_row(training=True) * n_rows


def solve(loop: Loop) -> DivergenceError | None:
    """Run iterations of the model's solver until something ends them.

    Returns the error to be raised if the loss is not finite at the weights that the model has.
    """
    model, rows = loop.model, loop.fit.training
    settings, engine = model.optimizer, model._built()
    index = engine.parameter_index()
    start = math.nan

    def begin_iteration() -> bool:
        nonlocal start
        going_on = loop.begin_epoch()
        start = time.perf_counter()
        return going_on

    def end_iteration(x: np.ndarray, values: dict[str, float], changed: dict[str, float]) -> bool:
        """Take over the weights x of a finished iteration and tell of it; returns whether another should begin."""
        seconds = time.perf_counter() - start
        with model._kernel_lock:
            engine.params[index] = x
        model._epochs_done += 1
        if compiled_metrics(model) and len(values) == 1:
            values = evaluate_compiled(model, rows, loop.team) | values
        loop.end_epoch(values, changed, seconds=seconds)
        return begin_iteration()

    if not begin_iteration():
        return None
    try:
        if isinstance(settings, LBFGS):
            end = lbfgs(model, rows, settings, loop.fit.epochs, end_iteration, loop.team)
        else:
            assert isinstance(settings, LevenbergMarquardt)
            end = levenberg_marquardt(model, rows, settings, end_iteration, loop.team)
    except NotFiniteError:
        return DivergenceError(
            "the loss is not finite at the weights that the model has, so the solver has no point to start from; the "
            "weights are as before. Scale the data to about 1, or make a new Model.",
            epoch=model._epochs_done, learning_rate=math.nan, history=loop.record,
        )  # fmt: skip
    if end is not None:
        loop.record.stopped, loop.record.params["reason"] = end
    return None


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Keep BLAS and LAPACK to one thread, where threadpoolctl (which comes with scikit-learn) is installed.

    That is, those libraries that are loaded already: import from scipy before.

    Their threads meet over small matrices, and each time on a busy machine one waits for a processor: on two processors
    an iteration of scipy's L-BFGS-B for 81 parameters takes 960 us with them and 90 without, a step of
    Levenberg-Marquardt for 881 parameters 300 ms or more and 110. The bits depend on their number, too.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield


# --------------------------------------------------------------------------------------------- L-BFGS


class _Objective:
    """Loss with penalty and its gradient at any x, computed in the model's dtype."""

    def __init__(self, model: Model, rows: Rows, team: ThreadTeam) -> None:
        self._model = model
        self._engine = Engine(model._built().architecture, 0, team.n_threads)
        self._engine.params[:] = model._built().params
        self.index = self._engine.parameter_index()
        self._data = rows.data()
        self._metrics = compiled_metrics(model)
        self._team = team
        self._last: tuple[np.ndarray, Sums] | None = None
        self._wall = math.nan

    def start(self) -> np.ndarray:
        """The parameters that the model has."""
        return self._engine.params[self.index].astype(np.float64)

    def _evaluate(self, x: np.ndarray) -> tuple[Sums, np.ndarray]:
        self._engine.params[self.index] = x
        sums, grad = self._engine.flat_gradient(self._data, team=self._team, metrics=self._metrics)
        self._last = x.copy(), sums
        return sums, grad

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient (n_params,) float64.

        Where the loss is not finite, a higher one than that of the start and no slope: the line search comes back.
        """
        sums, grad = self._evaluate(x)
        loss = loss_of(self._model, sums)
        if sums.status == OK and math.isfinite(loss):
            if math.isnan(self._wall):
                self._wall = 10.0 * abs(loss) + 1.0
            return loss, grad[self.index].astype(np.float64, copy=False)
        if math.isnan(self._wall):
            raise NotFiniteError
        return self._wall, np.zeros(x.size)

    def values(self, x: np.ndarray) -> dict[str, float]:
        """Loss and metrics at x by their names; usually the point that was looked at last."""
        if self._last is None or not np.array_equal(self._last[0], x):
            self._evaluate(x)
        assert self._last is not None
        return values_of(self._model, self._last[1])


def lbfgs(
    model: Model, rows: Rows, settings: LBFGS, epochs: int, on_iteration: OnIteration, team: ThreadTeam
) -> End:
    """Minimise the loss by L-BFGS, for at most `epochs` iterations or until `on_iteration` says to stop."""
    from scipy import optimize  # where used: it takes some 100 ms to import

    objective = _Objective(model, rows, team)

    def callback(intermediate_result: Any) -> None:
        x = np.array(intermediate_result.x)
        if not on_iteration(x, objective.values(x), {}):
            raise StopIteration

    options = {
        "maxiter": epochs + 1,  # the last one is ended by the callback
        "maxcor": settings.maxcor,
        "gtol": settings.gtol,
        "ftol": settings.ftol,
        "maxfun": settings.max_fun,
    }
    with _one_blas_thread():
        found = optimize.minimize(
            objective, objective.start(), jac=True, method="L-BFGS-B", callback=callback, options=options
        )
    if found.status == 0:
        return "converged", str(found.message)
    if found.status == 1:
        return "max_fun", f"{found.nfev} evaluations of the loss, as many as max_fun={settings.max_fun} allows"
    if found.status == 2:
        return "stalled", "no step along the search direction lowers the loss, as far as rounding lets it be seen"
    return None


# -------------------------------------------------------------------------------- Levenberg-Marquardt


def check_memory(settings: LevenbergMarquardt, n_params: int) -> None:
    """Insist that the normal equations of so many parameters, and their factor, fit into the memory allowed."""
    needed = 16 * (n_params + 1) ** 2
    most = settings.max_memory
    if most is None:
        try:
            most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        except (AttributeError, OSError, ValueError):  # not on Windows
            most = 2**31
    if needed > most:
        raise MemoryError(
            f"optimizer='lm' needs {needed / 1e6:,.1f} MB for the normal equations of {n_params:,} parameters, and may "
            f"take {most / 1e6:,.1f} MB: use optimizer='lbfgs' or 'adam', make the net smaller, or allow more by "
            "LevenbergMarquardt(max_memory=...), in bytes."
        )


class _LeastSquares:
    """Loss with penalty at any x as a sum of squares, and its normal equations; float64 whatever the model's dtype.

    Attributes
    ----------
    n_params : P
    penalty : (P,) l2 of each weight, 0 of each bias
    """

    def __init__(self, model: Model, rows: Rows, team: ThreadTeam) -> None:
        from scipy.linalg import lapack  # where used: it takes some 100 ms to import

        own = model._built()
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
        half = model.loss.rule.reduction == "sum"
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
        self._unit = 0.0  # what mu is told in: the largest element of the diagonal where the fit begins
        self._none = np.zeros(0)
        self._vector = np.zeros(rows.n * n_outputs)
        self._jacobian = aligned_zeros(self._block * n_outputs * ld + n_lanes(np.float64), np.float64)
        self._products = aligned_zeros((n + 1) * ld, np.float64)
        self._normal = self._products.reshape(n + 1, ld)[:, : n + 1]
        self._factor = np.zeros((n, n))
        self._diagonal = self._factor.reshape(-1)[:: n + 1]
        self._dpotrf, self._dpotrs = lapack.dpotrf, lapack.dpotrs

    def start(self) -> np.ndarray:
        """The parameters that the model has."""
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
        """Loss with penalty at x."""
        self._engine.params[self._index] = x
        return self._residuals(0, self._n_rows, self._none, self._none) + float(self.penalty @ (x * x))

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """J and r at the parameters of the engine, in blocks of rows: where each begins, and its parts."""
        for place in range(0, self._n_rows, self._block):
            rows = min(self._block, self._n_rows - place)
            self._residuals(place, rows, self._none, self._jacobian)
            yield self._parts(place, rows)

    def _parts(self, place: int, rows: int) -> tuple[int, np.ndarray, np.ndarray]:
        count = rows * self._n_outputs
        block = self._jacobian[: count * self._ld].reshape(count, self._ld)
        return place * self._n_outputs, block[:, : self.n_params], block[:, self.n_params]

    def linearise(self, x: np.ndarray) -> np.ndarray:
        """Set up the normal equations at x; returns half the gradient, (P,)."""
        self._engine.params[self._index] = x
        self._products[:] = 0.0
        for _, _, residual in self.blocks():
            self._team.run(
                add_products, self._jacobian, len(residual), self.n_params + 1, self._ld, self._products,
                self._team.n_threads,
            )  # fmt: skip
        if not self._unit:
            self._unit = float((self._normal.diagonal()[:-1] + self.penalty).max()) or 1.0
        return self._normal[-1, :-1] + self.penalty * x

    def step(self, gradient: np.ndarray, mu: float) -> np.ndarray | None:
        """Solve the damped equations, (P,); None where they are not positive definite in double precision."""
        self._factor[...] = self._normal[:-1, :-1]
        self._diagonal += self.penalty + mu * self._unit
        # The lower triangle by rows is the upper one by columns, as LAPACK reads it.
        _, info = self._dpotrf(self._factor.T, lower=0, overwrite_a=1, clean=0)
        return None if info else -self._dpotrs(self._factor.T, gradient, lower=0)[0]

    def acceleration(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """What the curvature of the residuals along the last `step` bends it by, (P,); x is that of `linearise`."""
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


def levenberg_marquardt(
    model: Model, rows: Rows, settings: LevenbergMarquardt, on_iteration: OnIteration, team: ThreadTeam
) -> End:
    """Minimise a sum of squares by Levenberg-Marquardt, until it converges or `on_iteration` says to stop."""
    problem = _LeastSquares(model, rows, team)
    with _one_blas_thread() if problem.n_params >= LAPACK_THREADS else nullcontext():
        return _descend(problem, settings, on_iteration)


def _descend(problem: _LeastSquares, settings: LevenbergMarquardt, on_iteration: OnIteration) -> End:
    """Do what `levenberg_marquardt` says."""
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
    """Where a step of that damping leads, and the loss there; None where it is not to be trusted."""
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
