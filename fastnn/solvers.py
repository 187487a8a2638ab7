"""Full-batch methods: what `Model.fit` runs instead of epochs of descent when its optimizer is a solver.

A solver works on one flat vector x of all parameters that are learnt, in double precision, and on an engine of its
own. So the weights of the model are never those of a trial: they change from one finished iteration to the next, and
what fails or is interrupted between leaves them as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn.callbacks import Callback
from fastnn.engine import Engine, Sums
from fastnn.history import History
from fastnn.kernels.layout import OK
from fastnn.optimizers import LBFGS
from fastnn.progress import ProgressBar
from fastnn.team import Team

if TYPE_CHECKING:
    from fastnn.model import Model, _Rows

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
    fit = _Fit(model, training.n, validation, epochs, watchers, progress)
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
                end = lbfgs(model, training, epochs, fit.end_iteration, team)
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
        n_rows: int,
        validation: _Rows | None,
        epochs: int,
        watchers: tuple[Callback, ...],
        progress: ProgressBar,
    ) -> None:
        self.record = History({"epochs": epochs, "batch_size": n_rows, "rows": n_rows, "shuffle": False})
        self.logs: dict[str, float] = {}
        self._model = model
        self._engine = model._built()
        self._index = self._engine.parameter_index()
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


def lbfgs(model: Model, rows: _Rows, epochs: int, on_iteration: OnIteration, team: Team) -> End:
    """Minimise the loss by L-BFGS; at most `epochs` iterations."""
    from scipy import optimize  # where used: it takes some 100 ms to import

    settings = model.optimizer
    assert isinstance(settings, LBFGS)
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
