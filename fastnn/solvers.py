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
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn.callbacks import Callback
from fastnn.engine import Engine, Sums, Workspace, as_data
from fastnn.history import History
from fastnn.kernels import codes
from fastnn.kernels.jacobian import residuals
from fastnn.kernels.layout import OK, State
from fastnn.kernels.simd import n_lanes
from fastnn.optimizers import LBFGS, LevenbergMarquardt, Solver
from fastnn.progress import ProgressBar
from fastnn.team import Team

if TYPE_CHECKING:
    from fastnn.model import Model, _Rows

#: Bytes of the Jacobian that are held at a time, and most rows of it.
BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 1024
#: Damping below which the normal equations do not change any more.
MU_MIN = 1e-20
#: Part of a step over which the curvature along it is taken, and the longest acceleration, as a part of the step, with
#: which the second order is trusted (Transtrum and Sethna, sections 4 and 5).
DIFFERENCE = 0.1
MOST_ACCELERATION = 0.75

#: Called after each iteration with x and the values for History (read-only); whether to go on.
OnIteration: TypeAlias = Callable[[np.ndarray, Mapping[str, float]], bool]
#: Why a method ended by itself, as History tells it in `stopped` and `params["reason"]`; None after all epochs.
End: TypeAlias = tuple[str, str] | None


class NotFiniteError(ArithmeticError):
    """The loss at the point that a solver starts from is not finite."""


def train(
    model: Model,
    training: _Rows,
    validation: _Rows | None,
    epochs: int,
    watchers: tuple[Callback, ...],
    progress: ProgressBar,
) -> History:
    """Run the iterations of a `fit` whose arguments are checked; the model is built.

    Raises
    ------
    DivergenceError
        If the loss is not finite at the weights that the model has.
    MemoryError
        If the method needs more memory than it may take.
    """
    settings = model.optimizer
    assert isinstance(settings, Solver)
    if isinstance(settings, LevenbergMarquardt):
        check_memory(settings, len(model._built().parameter_index()))
    fit = _Fit(model, training, validation, epochs, watchers, progress)
    record = fit.record
    model.stop_training = False
    for watcher in watchers:
        watcher.model = model
    try:
        # Threads are woken for each evaluation anew, so one alone must be worth it.
        with model._team(model.flops_per_row(training=True) * training.n) as team:
            fit.team = team
            for watcher in watchers:
                watcher.on_train_begin({})
            if fit.begin_iteration():
                if isinstance(settings, LBFGS):
                    end = lbfgs(model, training, settings, epochs, fit.end_iteration, team)
                else:
                    end = levenberg_marquardt(model, training, settings, fit.end_iteration)
                if end is not None:
                    record.stopped, record.params["reason"] = end
            if model.stop_training:
                record.stopped = "stop_training"
            for watcher in watchers:
                watcher.on_train_end(dict(fit.logs))
    except NotFiniteError:
        record.stopped = "diverged"
        from fastnn.model import DivergenceError  # here: it imports this file

        raise DivergenceError(
            "the loss is not finite at the weights that the model has, so the solver has no point to start from; the "
            "weights are as before. Scale the data to about 1, or make a new Model.",
            epoch=model._epochs_done, learning_rate=math.nan, history=record,
        ) from None  # fmt: skip
    except KeyboardInterrupt:
        record.stopped = "interrupted"
    finally:
        model.history.stopped = record.stopped
    return record


class _Fit:
    """What surrounds the iterations of one fit: the model's weights, History, validation, callbacks, the display."""

    team: Team

    def __init__(
        self,
        model: Model,
        training: _Rows,
        validation: _Rows | None,
        epochs: int,
        watchers: tuple[Callback, ...],
        progress: ProgressBar,
    ) -> None:
        n = training.n
        self.record = History({"epochs": epochs, "batch_size": n, "rows": n, "shuffle": False})
        self.logs: dict[str, float] = {}
        self._model = model
        self._engine = model._built()
        self._index = self._engine.parameter_index()
        self._training = training
        self._validation = validation
        self._epochs = epochs
        self._watchers = watchers
        self._progress = progress
        self._start = 0.0

    def begin_iteration(self) -> bool:
        """Tell that an iteration begins; returns whether it should."""
        self._progress.start_epoch(len(self.record))
        for watcher in self._watchers:
            watcher.on_epoch_begin(self._model._epochs_done, {})
        self._start = time.perf_counter()
        return not self._model.stop_training

    def end_iteration(self, x: np.ndarray, values: Mapping[str, float]) -> bool:
        """Take over the weights x of a finished iteration and tell of it; returns whether another should begin."""
        model = self._model
        seconds = time.perf_counter() - self._start
        with model._turn:
            self._engine.params[self._index] = x
        epoch = model._epochs_done
        model._epochs_done += 1
        self.logs = dict(values)
        if model.metrics and model.metrics[0].name not in values:
            found = model._evaluate(self._training, self.team)
            self.logs |= {metric.name: found[metric.name] for metric in model.metrics}
        if self._validation is not None:
            found = model._evaluate(self._validation, self.team)
            self.logs |= {f"val_{name}": value for name, value in found.items()}
        self.logs["seconds"] = seconds
        self.record.append(epoch, self.logs)
        model.history.append(epoch, self.logs)
        self._progress.end_epoch(self.logs)
        for watcher in self._watchers:
            watcher.on_epoch_end(epoch, dict(self.logs))
        if model.stop_training or len(self.record) == self._epochs:
            return False
        return self.begin_iteration()


# --------------------------------------------------------------------------------------------- L-BFGS


class _Objective:
    """Loss with penalty and its gradient at any x, computed in the model's dtype."""

    def __init__(self, model: Model, rows: _Rows, team: Team) -> None:
        self._model = model
        self._engine = Engine(model._built().architecture, 0, team.n_threads)
        self._engine.params[:] = model._built().params
        self.index = self._engine.parameter_index()
        self._data = rows.data()
        self._metrics = tuple(metric.code for metric in model.metrics)
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
        loss = self._model._loss(sums)
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
        return self._model._values(self._last[1])


def lbfgs(
    model: Model, rows: _Rows, settings: LBFGS, epochs: int, on_iteration: OnIteration, team: Team
) -> End:
    """Minimise the loss by L-BFGS, for at most `epochs` iterations or until `on_iteration` says to stop."""
    from scipy import optimize  # where used: it takes some 100 ms to import

    objective = _Objective(model, rows, team)

    def callback(intermediate_result: Any) -> None:
        x = np.array(intermediate_result.x)
        if not on_iteration(x, objective.values(x)):
            raise StopIteration

    options = {
        "maxiter": epochs + 1,  # the last one is ended by the callback
        "maxcor": settings.maxcor,
        "gtol": settings.gtol,
        "ftol": settings.ftol,
        "maxfun": settings.max_fun,
    }
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

    def __init__(self, model: Model, rows: _Rows) -> None:
        from scipy.linalg import blas, lapack  # where used: they take some 100 ms to import

        own = model._built()
        self.n_params = len(own.parameter_index())
        width = self.n_params + 1
        architecture = dataclasses.replace(own.architecture, dtype=np.dtype(np.float64))
        self._engine = Engine(architecture, 0, 1)
        self._index = self._engine.parameter_index()
        self._engine.params[self._index] = own.params[own.parameter_index()]
        n_outputs = architecture.sizes[-1]
        self._n_rows = rows.n
        self._block = min(rows.n, BLOCK_ROWS, max(1, BLOCK_BYTES // (8 * n_outputs * width)))
        space = Workspace(architecture, self._block, 1, gradients=False)
        self._state = State(self._engine.params, np.zeros(0), np.zeros(0), space.work)
        self._plan = space.plan(1)
        wide = [np.asarray(a, np.float64) for a in (rows.features, rows.targets.values, rows.sample_weight)]
        self._data = as_data(wide[0], wide[1], rows.targets.labels, wide[2], rows.data().order)
        counts = self._data.sample_weight
        if rows.index is not None and counts.size:
            counts = counts[rows.index]
        whole = float(counts.sum()) if counts.size else float(rows.n)
        half = model.loss.code == codes.SUM_OF_SQUARES
        self._scale = math.sqrt(0.5 if half else 1.0 / (n_outputs * whole))
        self._columns = np.full((architecture.n_layers, 2), -1, np.int64)
        self.penalty = np.zeros(self.n_params)
        end = 0
        for k, w in enumerate(self._engine.weights()):
            self._columns[k, 0], end = end, end + w.size
            self.penalty[self._columns[k, 0] : end] = architecture.penalties[k][1]
            if architecture.use_bias[k]:
                self._columns[k, 1], end = end, end + w.shape[1]
        self._n_outputs = n_outputs
        self._width = width
        self._unit = 0.0  # what mu is told in: the largest element of the diagonal where the fit begins
        self._none = np.zeros(0)
        self._vector = np.zeros(rows.n * n_outputs)
        count = self._block * n_outputs
        self._jacobian = np.zeros(count * width + n_lanes(np.float64))
        self._whole = self._jacobian[: count * width].reshape(count, width)
        self._normal = np.zeros((width, width), order="F")
        self._factor = np.zeros((self.n_params, self.n_params), order="F")
        self._diagonal = self._factor.reshape(-1, order="F")[:: self.n_params + 1]
        self._dsyrk, self._dpotrf, self._dpotrs = blas.dsyrk, lapack.dpotrf, lapack.dpotrs

    def start(self) -> np.ndarray:
        """The parameters that the model has."""
        return self._engine.params[self._index]

    def _residuals(self, place: int, rows: int, vector: np.ndarray, jacobian: np.ndarray) -> float:
        return float(
            residuals(
                self._state, self._plan, self._data, self._columns, self._scale, place, rows, self._width,
                vector, jacobian,
            )
        )  # fmt: skip

    def loss(self, x: np.ndarray) -> float:
        """Loss with penalty at x."""
        self._engine.params[self._index] = x
        return self._residuals(0, self._n_rows, self._none, self._none) + float(self.penalty @ (x * x))

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of [J, r] at the parameters of the engine, in blocks: where each begins, and the block."""
        for place in range(0, self._n_rows, self._block):
            rows = min(self._block, self._n_rows - place)
            self._residuals(place, rows, self._none, self._jacobian)
            count = rows * self._n_outputs
            yield place * self._n_outputs, self._jacobian[: count * self._width].reshape(count, self._width)

    def linearise(self, x: np.ndarray) -> np.ndarray:
        """Set up the normal equations at x; returns half the gradient, (P,)."""
        self._engine.params[self._index] = x
        self._normal[...] = 0.0
        for _, block in self._blocks():
            # The last column holds the residuals, so the last row of the product is J^T r.
            self._dsyrk(1.0, block.T, beta=1.0, c=self._normal, lower=1, overwrite_c=1)
        if not self._unit:
            self._unit = float((self._normal.diagonal()[:-1] + self.penalty).max()) or 1.0
        return self._normal[-1, :-1] + self.penalty * x

    def step(self, gradient: np.ndarray, mu: float) -> np.ndarray | None:
        """Solve the damped equations, (P,); None where they are not positive definite in double precision."""
        self._factor[...] = self._normal[:-1, :-1]
        self._diagonal += self.penalty + mu * self._unit
        _, info = self._dpotrf(self._factor, lower=1, overwrite_a=1, clean=0)
        return None if info else -self._dpotrs(self._factor, gradient, lower=1)[0]

    def acceleration(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """What the curvature of the residuals along the last `step` bends it by, (P,); x is that of `linearise`."""
        h = DIFFERENCE
        self._engine.params[self._index] = x + h * step
        self._residuals(0, self._n_rows, self._vector, self._none)
        self._engine.params[self._index] = x
        total = np.zeros(self.n_params)
        # Where one block holds all rows, it is still that of `linearise`.
        for place, block in self._blocks() if self._block < self._n_rows else [(0, self._whole)]:
            slopes = (self._vector[place : place + len(block)] - block[:, -1]) / h
            total += (slopes - block[:, :-1] @ step) @ block[:, :-1]
        return self._dpotrs(self._factor, total, lower=1)[0] * (-2.0 / h)


def levenberg_marquardt(
    model: Model, rows: _Rows, settings: LevenbergMarquardt, on_iteration: OnIteration
) -> End:
    """Minimise a sum of squares by Levenberg-Marquardt, until it converges or `on_iteration` says to stop."""
    problem = _LeastSquares(model, rows)
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
        going_on = on_iteration(x, {"loss": loss, "mu": mu})
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
