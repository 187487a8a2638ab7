"""Run a fit: choose the training method, call the callbacks, record why the training ended."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from fastnn._engine.thread_team import ThreadTeam
from fastnn._errors import DivergenceError
from fastnn._training import descent, lbfgs, levenberg_marquardt
from fastnn._training.loop import Fit, Loop, TrainingMethod
from fastnn._training.net import Net
from fastnn.callbacks import Callback, TerminateOnNaN
from fastnn.history import History
from fastnn.optimizers import LBFGS, LevenbergMarquardt, Optimizer

#: The method of each kind of optimizer that does not descend by mini-batches.
_METHODS: tuple[tuple[type[Optimizer], TrainingMethod], ...] = (
    (LBFGS, lbfgs),
    (LevenbergMarquardt, levenberg_marquardt),
)


def method_of(optimizer: Optimizer) -> TrainingMethod:
    """Return the method that trains with an optimizer."""
    return next((method for kind, method in _METHODS if isinstance(optimizer, kind)), descent)


def train(net: Net, fit: Fit, team: ThreadTeam | None = None) -> History:
    """Run the epochs of a fit on a built net.

    Parameters
    ----------
    net : Net
    fit : Fit
    team : ThreadTeam or None
        Threads to use, for callers that train in several rounds; None starts threads for this call.

    Returns
    -------
    History
        The epochs of this call.

    Raises
    ------
    DivergenceError
        If loss or weights are no longer finite, unless a callback is `TerminateOnNaN`.
    KeyboardInterrupt
        After Ctrl-C: the net then has the weights of the last finished step, and its history the finished epochs.
    ValueError, MemoryError
        If the method cannot train this net.
    """
    params = {"epochs": fit.epochs, "batch_size": fit.batch, "rows": fit.training.n, "shuffle": fit.shuffle}
    record = History(params)
    started: list[Callback] = []
    error: DivergenceError | KeyboardInterrupt | None = None
    method = method_of(net.optimizer)
    method.check(net)
    threads: AbstractContextManager[ThreadTeam] = nullcontext(team) if team else net.team(method.work(net, fit))
    try:
        with threads as team:
            loop = Loop(net, fit, record, team)
            net.stop_training = False
            for callback in fit.callbacks:
                callback.model = fit.model
                callback.params = {**params, "metrics": loop.log_keys()}
            try:
                for callback in fit.callbacks:
                    callback.on_train_begin({})
                    started.append(callback)
                error = method.run(loop)
                if error is not None:
                    record.stopped = "diverged"
                    if any(isinstance(callback, TerminateOnNaN) for callback in fit.callbacks):
                        error = None
                elif net.stop_training:
                    record.stopped = net.stop_training if isinstance(net.stop_training, str) else "stop_training"
            except KeyboardInterrupt as interrupt:
                record.stopped = "interrupted"
                error = interrupt
            net.history.stopped = record.stopped
            for callback in started:
                callback.on_train_end(dict(loop.logs))
    except KeyboardInterrupt:
        record.stopped = "interrupted"
        raise
    finally:
        net.history.stopped = record.stopped
    if error is not None:
        raise error
    return record
