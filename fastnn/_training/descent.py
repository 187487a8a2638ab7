"""Training by mini-batch descent with the first-order optimizers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows, Shuffle, shuffled
from fastnn._engine.engine import Engine, RunOptions, StepOptions, Sums
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_NUMBERS
from fastnn._errors import DivergenceError
from fastnn._training.loop import Fit, Loop
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics, function_metrics, values_of
from fastnn._training.progress import ProgressBar
from fastnn.history import History
from fastnn.kernels.tables import LOSS_NOT_FINITE, OK, WEIGHTS_NOT_FINITE
from fastnn.optimizers import FirstOrderOptimizer
from fastnn.schedules import Schedule, rate_of_epoch, rates_of_steps


def check(net: Net) -> None:
    """Accept every built net."""


def work(net: Net, fit: Fit) -> int:
    """Return the floating-point operations of all epochs, which compiled code may run in one slice."""
    return net.flops_per_row(training=True) * fit.training.n * fit.epochs


def run(loop: Loop) -> DivergenceError | None:
    """Run epochs until one of them ends the training; return the error to be raised where it diverged."""
    net, fit, each_epoch = loop.net, loop.fit, loop.needs_each_epoch
    order = np.empty(fit.training.n, np.int64) if fit.shuffle and fit.batch < fit.training.n else None
    while loop.begin_epoch():
        finished: list[tuple[Sums, float]] = []
        rates: list[npt.NDArray[np.float64]] = []
        losses: list[npt.NDArray[np.float64]] = []
        steps_before = net.built().steps_done
        sums: Sums | None = None
        try:
            sums = _run_epochs(loop, order, loop.epochs_at_once(), finished, rates, losses)
        finally:  # KeyboardInterrupt may come when the weights are already those of a later epoch
            for (one, seconds), rates_of_epoch, of_steps in zip(finished, rates, losses, strict=False):
                rate = float(rates_of_epoch[-1])
                net.epochs_done += 1
                if fit.batch_losses is not None:
                    fit.batch_losses.append(_means_by_rows(of_steps, fit))
                if not each_epoch or sums is None:
                    loop.record_epoch({**values_of(net, one), "learning_rate": rate, "seconds": seconds})
        if sums.status != OK:
            # After a loss that is not finite there was no step, but weights are checked after theirs.
            failed = net.built().steps_done - steps_before - (sums.status == WEIGHTS_NOT_FINITE)
            rate = float(rates[failed // len(rates[0])][failed % len(rates[0])])
            return divergence(sums, net.epochs_done, rate, loop.record)
        if each_epoch:
            loop.end_epoch(values_of(net, sums), {"learning_rate": rate}, seconds=finished[0][1])
        else:
            loop.notify_of_end()
    return None


def _run_epochs(
    loop: Loop,
    order: npt.NDArray[np.int64] | None,
    limit: int,
    finished: list[tuple[Sums, float]],
    rates: list[npt.NDArray[np.float64]],
    losses: list[npt.NDArray[np.float64]],
) -> Sums:
    """Run one epoch or several, at most `limit`.

    Adds to `finished` as `Engine.train_epochs` does, and before that to `rates` the rates of each epoch's steps and to
    `losses` arrays for their losses and penalties, (2, n_steps), or (2, 0) where the fit has no use for them.
    """
    net, fit, team = loop.net, loop.fit, loop.team
    training = fit.training

    def run(engine: Engine) -> Sums:
        optimizer, chosen, shuffle = first_order(net), order, None
        if order is not None:
            shuffle = Shuffle(order, net.spec.seed, net.epochs_done)
            if training.index is not None:  # the order is one of a part of the rows
                chosen, shuffle = shuffled(order, net.spec.seed, net.epochs_done), None
        epochs = 1
        rate = optimizer.learning_rate
        # A custom function is called when its epoch begins, and may read the model then.
        known = isinstance(rate, Schedule) or not callable(rate)
        if limit > 1 and known and (chosen is None or shuffle is not None):
            epochs = min(limit, engine.epochs_per_slice(training.n, fit.batch, team, adversary=fit.adversary))
        n_steps = -(-training.n // fit.batch)
        new_rates = rates_of_steps(rate, net.epochs_done, epochs, n_steps)
        new_losses = np.zeros((2, epochs, 0 if fit.batch_losses is None else n_steps))
        rates.extend(new_rates)
        losses.extend(new_losses.swapaxes(0, 1))
        return engine.train_epochs(
            training.data(chosen),
            epochs,
            finished,
            step_options(optimizer, float(new_rates[0, 0])),
            RunOptions(
                batch=fit.batch,
                metrics=compiled_metrics(net),
                shuffle=shuffle,
                seed=net.spec.seed,
                changes=fit.augmentation,
                step_rates=np.array(new_rates, order="C").reshape(-1) if callable(rate) else NO_NUMBERS,
                step_losses=new_losses[0].reshape(-1),
                step_penalties=new_losses[1].reshape(-1),
                penalty_weight=fit.penalty_weight,
                adversary=fit.adversary,
            ),
            team=team,
            on_slice=_display(net, fit.progress),
        )

    return net.run_steps(run)


def _means_by_rows(losses: npt.NDArray[np.float64], fit: Fit) -> tuple[float, float]:
    """Return the means of losses and penalties of an epoch's steps, (2, n_steps), by the number of their rows."""
    n_steps = losses.shape[1]
    rows = np.full(n_steps, fit.batch)
    rows[-1] = fit.training.n - fit.batch * (n_steps - 1)
    loss, penalty = np.average(losses, axis=1, weights=rows)
    return float(loss), float(penalty)


def first_order(net: Net) -> FirstOrderOptimizer:
    assert isinstance(net.optimizer, FirstOrderOptimizer)
    return net.optimizer


def step_options(optimizer: FirstOrderOptimizer, learning_rate: float) -> StepOptions:
    """Return the settings of an optimizer in the engine's terms."""
    return StepOptions(
        optimizer=optimizer.rule.code,
        rates=(learning_rate, *optimizer.hyper),
        weight_decay=optimizer.weight_decay,
        clip_value=optimizer.clipvalue or 0.0,
        clip_norm=optimizer.global_clipnorm or 0.0,
        ema_decay=optimizer.ema_momentum or 0.0,
    )


def _display(net: Net, progress: ProgressBar) -> Callable[[int, Sums], None]:
    """Return a function that displays the rows done and the sums so far after each slice."""

    def show(rows: int, sums: Sums) -> None:
        values = values_of(net, sums)
        progress.update(rows, values.pop("loss"), values)

    return show


def train_on_batch(net: Net, rows: Rows, team: ThreadTeam) -> dict[str, float]:
    """Make one update by all rows of a built net; return loss and metrics before it.

    Raises
    ------
    DivergenceError
        If the loss or a weight is not finite.
    """
    rate = math.nan

    def run(engine: Engine) -> tuple[Sums, dict[str, float]]:
        nonlocal rate
        optimizer = first_order(net)
        metrics = function_metrics(net, rows)
        rate = rate_of_epoch(optimizer.learning_rate, net.epochs_done)
        sums = engine.train_epoch(
            rows.data(),
            step_options(optimizer, rate),
            RunOptions(batch=rows.n, metrics=compiled_metrics(net), seed=net.spec.seed),
            team=team,
        )
        return sums, metrics

    sums, metrics = net.run_steps(run)
    if sums.status != OK:
        raise divergence(sums, net.epochs_done, rate, net.history)
    return values_of(net, sums) | metrics


def divergence(sums: Sums, epoch: int, rate: float, record: History) -> DivergenceError:
    """Return the error of a run that ended because loss or weights were not finite."""
    what = "the loss" if sums.status == LOSS_NOT_FINITE else "a weight"
    return DivergenceError(
        f"training diverged in epoch {epoch}: {what} is no longer finite with learning_rate={rate:g}. The model "
        "keeps its last finite weights. Try a smaller learning_rate (a tenth), or data scaled to about 1.",
        epoch=epoch,
        learning_rate=rate,
        history=record,
    )
