"""Common part of the full-batch methods: which nets they can train, and the record of their iterations.

A method works on one flat vector x of all trained parameters, in double precision, and on an engine of its own. So
the weights of the net are never those of a trial point: they are replaced after each finished iteration, and an error
or interrupt within an iteration leaves them unchanged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fastnn._errors import DivergenceError
from fastnn._training.loop import Loop
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics, evaluate_compiled
from fastnn.solvers import LBFGS, LevenbergMarquardt

#: Called after each iteration with x, its loss (and the metrics, if already computed) and the settings that changed;
#: returns whether to continue.
OnIteration: TypeAlias = Callable[[np.ndarray, dict[str, float], dict[str, float]], bool]
#: Why a method ended before the last epoch: `History.stopped` and ``params["reason"]``; None after all epochs.
End: TypeAlias = tuple[str, str] | None


@dataclass(frozen=True)
class Convergence:
    """When a method has converged.

    Parameters
    ----------
    gtol, ftol : float
        Those of the solver.
    unit : float
        The loss of which `ftol` is a share is at least this.
    absolute : bool
        Whether `gtol` is a multiple of `unit`; otherwise of the loss, or of `unit` where that is larger.
    """

    gtol: float
    ftol: float
    unit: float
    absolute: bool

    @classmethod
    def of(cls, loop: Loop) -> Convergence:
        """Return the criteria of a fit.

        Losses of classes have a unit of their own. Where classes can be separated, they fall to 0 together with their
        gradient, and a share of the present loss would never be reached.
        """
        settings, unit = loop.net.optimizer, loop.fit.solver_unit
        assert isinstance(settings, LBFGS | LevenbergMarquardt)
        floor = float(loop.net.spec.loss.classification) if unit is None else unit
        return cls(settings.gtol, settings.ftol, floor, unit is not None)

    def by_gradient(self, slope: float, loss: float) -> End:
        """Return the end if the largest component of the gradient is at most the tolerance at this loss."""
        if slope > self.gtol * (self.unit if self.absolute else max(abs(loss), self.unit)):
            return None
        what = "" if self.absolute else " of the loss" if not self.unit else " of the loss or of 1"
        return "converged", f"no component of the gradient is above gtol={self.gtol:g}{what}"

    def by_step(self, before: float, loss: float) -> End:
        """Return the end if an iteration lowered the loss by at most the tolerance."""
        if before - loss > self.ftol * max(abs(before), abs(loss), self.unit):
            return None
        return "converged", f"an iteration lowered the loss by less than ftol={self.ftol:g} of it"


class NotFiniteError(ArithmeticError):
    """The loss is not finite at the start point of a method."""


def check(net: Net) -> None:
    """Raise ValueError unless a full-batch method can train a built net.

    That is, unless a layer is trained and there is neither a max-norm nor dropout.
    """
    settings, engine = net.optimizer, net.built()
    if not len(engine.parameter_index()):
        raise ValueError(f"optimizer is {settings!r}, but there is nothing to train: all layers are frozen.")
    if any(engine.architecture.max_norms):
        raise ValueError(
            f"optimizer is {settings!r}, which does not support max-norm: remove max_norm, or use an optimizer such as "
            "'adam'."
        )
    if any(engine.architecture.dropouts):
        raise ValueError(
            f"optimizer is {settings!r}, which requires a deterministic loss: remove dropout, or use an optimizer such "
            "as 'adam'."
        )


def run(loop: Loop, minimise: Callable[[OnIteration], End]) -> DivergenceError | None:
    """Run iterations until one of them ends the training.

    Parameters
    ----------
    loop : Loop
    minimise : callable
        Runs the method from the present parameters of the net, and calls its argument after each iteration.

    Returns
    -------
    DivergenceError or None
        The error to be raised if the loss is not finite at the start.
    """
    net = loop.net
    engine = net.built()
    index = engine.parameter_index()
    start = math.nan

    def begin_iteration() -> bool:
        nonlocal start
        begins = loop.begin_epoch()
        start = time.perf_counter()
        return begins

    def end_iteration(x: np.ndarray, values: dict[str, float], changed: dict[str, float]) -> bool:
        """Write the weights x of a finished iteration into the net and record it; return whether another begins."""
        seconds = time.perf_counter() - start
        with net.kernel_lock:
            engine.params[index] = x
        net.epochs_done += 1
        if compiled_metrics(net) and len(values) == 1:
            values = evaluate_compiled(net, loop.fit.training, loop.team) | values
        loop.end_epoch(values, changed, seconds=seconds)
        return begin_iteration()

    if not begin_iteration():
        return None
    try:
        end = minimise(end_iteration)
    except NotFiniteError:
        return DivergenceError(
            "the loss is not finite at the present weights of the model, from which the solver starts; the weights are "
            "unchanged. Scale the data to about 1, or make a new Model.",
            epoch=net.epochs_done, learning_rate=math.nan, history=loop.record,
        )  # fmt: skip
    if end is not None:
        loop.record.stopped, loop.record.params["reason"] = end
    return None
