"""Nets with full-batch solvers, which are trained one after the other, each by its own loop."""

from __future__ import annotations

from collections.abc import Sequence

from fastnn._engine.thread_team import ThreadTeam
from fastnn._errors import DivergenceError
from fastnn._population.record import Record
from fastnn._population.rows import Share
from fastnn._training.fit import train
from fastnn._training.loop import Fit
from fastnn._training.net import Net
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback, Trainable


def train_by_solvers(
    nets: Sequence[Net],
    shares: Sequence[Share],
    record: Record,
    *,
    epochs: int,
    models: Sequence[Trainable],
    callbacks: Sequence[tuple[Callback, ...]],
    n_threads: int,
) -> None:
    """Train the nets of some shares, at most `epochs` iterations each, and record them.

    Parameters
    ----------
    nets, models, callbacks
        Of the whole population.
    shares : sequence of Share
    record : Record
    epochs, n_threads : int
    """
    with ThreadTeam(n_threads) as team:
        for share in shares:
            for k in share.positions:
                rows = share.rows_of(k)
                fit = Fit(
                    training=rows, validation=share.validation_of(k), epochs=epochs, batch=rows.n, shuffle=False,
                    model=models[k], callbacks=callbacks[k], progress=ProgressBar(),
                )  # fmt: skip
                try:
                    history = train(nets[k], fit, team)
                except DivergenceError as error:
                    history = error.history
                record.add_net(k, history.history)
                record.stopped[k] = history.stopped
