"""L-BFGS: the quasi-Newton method of SciPy on the loss and gradient of all rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._data.rows import Rows
from fastnn._engine.engine import Engine, Sums
from fastnn._engine.thread_team import ThreadTeam
from fastnn._errors import DivergenceError
from fastnn._training import full_batch
from fastnn._training.blas import one_blas_thread
from fastnn._training.full_batch import Convergence, End, NotFiniteError, OnIteration
from fastnn._training.loop import Fit, Loop
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics, loss_of, values_of
from fastnn.kernels.tables import OK
from fastnn.optimizers import LBFGS


class _Objective:
    """Loss with penalty and its gradient at any x, computed in the model's dtype."""

    def __init__(self, net: Net, rows: Rows, team: ThreadTeam) -> None:
        self._net = net
        self._engine = Engine(net.built().architecture, 0, team.n_threads)
        self._engine.params[:] = net.built().params
        self.index = self._engine.parameter_index()
        self._data = rows.data()
        self._metrics = compiled_metrics(net)
        self._team = team
        self._last: tuple[np.ndarray, Sums, np.ndarray] | None = None
        self._wall = math.nan

    def start(self) -> np.ndarray:
        """Return the trained parameters of the net, (n_params,) float64."""
        return self._engine.params[self.index].astype(np.float64)

    def _evaluate(self, x: np.ndarray) -> tuple[Sums, np.ndarray]:
        """Return sums and gradient at x, which is often the point evaluated last."""
        if self._last is None or not np.array_equal(self._last[0], x):
            self._engine.params[self.index] = x
            sums, grad = self._engine.flat_gradient(self._data, team=self._team, metrics=self._metrics)
            self._last = x.copy(), sums, grad[self.index].astype(np.float64, copy=False)
        return self._last[1:]

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return loss and gradient, (n_params,) float64.

        Where the loss is not finite, return a loss above that of the start and a gradient of zeros, so that the line
        search backtracks.
        """
        sums, grad = self._evaluate(x)
        loss = loss_of(self._net, sums)
        if sums.status == OK and math.isfinite(loss):
            if math.isnan(self._wall):
                self._wall = 10.0 * abs(loss) + 1.0
            return loss, grad.copy()
        if math.isnan(self._wall):
            raise NotFiniteError
        return self._wall, np.zeros(x.size)

    def values(self, x: np.ndarray) -> dict[str, float]:
        """Return loss and metrics at x by name."""
        return values_of(self._net, self._evaluate(x)[0])

    def slope(self, x: np.ndarray) -> float:
        """Return the largest component of the gradient at x by its size."""
        grad = self._evaluate(x)[1]
        return float(max(grad.max(), -grad.min()))


def check(net: Net) -> None:
    """Raise ValueError unless the method can train a built net."""
    full_batch.check(net)


def work(net: Net, fit: Fit) -> int:
    """Return the floating-point operations of one evaluation, after which threads synchronize in Python."""
    return net.flops_per_row(training=True) * fit.training.n


def run(loop: Loop) -> DivergenceError | None:
    """Run iterations until one of them ends the training; return the error to be raised where it diverged."""
    return full_batch.run(loop, lambda on_iteration: _minimise(loop, on_iteration))


def _minimise(loop: Loop, on_iteration: OnIteration) -> End:
    """Minimise the loss by L-BFGS until it converges, all epochs are done or `on_iteration` returns False."""
    from scipy import optimize  # where used: it takes some 100 ms to import

    settings = loop.net.optimizer
    assert isinstance(settings, LBFGS)
    objective = _Objective(loop.net, loop.fit.training, loop.team)
    convergence = Convergence.of(loop)
    start = objective.start()
    loss, _ = objective(start)
    end = convergence.by_gradient(objective.slope(start), loss)
    if end is not None:
        return end

    n_evaluations = 0

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal n_evaluations
        n_evaluations += 1
        return objective(x)

    def callback(intermediate_result: Any) -> None:
        nonlocal loss, end
        x = np.array(intermediate_result.x)
        values = objective.values(x)
        before, loss = loss, values["loss"]
        if not on_iteration(x, values, {}):
            raise StopIteration
        if n_evaluations > settings.max_fun:
            return  # scipy ends for this reason before it tests whether the method has converged
        end = convergence.by_gradient(objective.slope(x), loss) or convergence.by_step(before, loss)
        if end is not None:
            raise StopIteration

    options = {
        "maxiter": loop.fit.epochs + 1,  # the last one is ended by the callback
        "maxcor": settings.maxcor,
        "gtol": 0.0,  # scipy's tolerances do not scale with the loss; both are tested by the callback
        "ftol": 0.0,
        "maxfun": settings.max_fun,
    }
    with one_blas_thread():
        found = optimize.minimize(evaluate, start, jac=True, method="L-BFGS-B", callback=callback, options=options)
    if end is not None:
        return end
    if found.status == 0:
        return "converged", str(found.message)
    if found.status == 1:
        return "max_fun", f"{found.nfev} evaluations of the loss, as many as max_fun={settings.max_fun} allows"
    if found.status == 2:
        return "stalled", "line search failed: no step lowers the loss by more than rounding errors"
    return None
