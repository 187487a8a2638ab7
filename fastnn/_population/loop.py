"""Run a fit of a population: epochs of all engines, record, validation, callbacks of each net, display."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._population.choose import new_engines
from fastnn._population.record import Record
from fastnn._population.rows import Share
from fastnn._population.sums import Numbers, PopulationEngine
from fastnn._population.values import names_of_all, values_of
from fastnn._training.descent import first_order
from fastnn._training.net import Net
from fastnn._training.objective import function_metrics, names_of
from fastnn._training.progress import ProgressBar
from fastnn.callbacks import Callback, Trainable
from fastnn.schedules import Schedule, rate_of_epoch, rates_of_steps

#: Seconds that the engines run before control returns to Python (progress, Ctrl-C).
SLICE = 0.5
#: Most epochs per slice.
MAX_EPOCHS = 4096


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The validated arguments of one call of `Population.fit`.

    Parameters
    ----------
    shares : list of Share
        The rows.
    batch : int
        Rows per update.
    epochs : int
    shuffle : bool
    order : str
        See `PopulationEngine`.
    n_threads : int
    models : sequence of Trainable
        What callbacks receive as `model`, for each net.
    callbacks : list of tuple of Callback
        Those of each net.
    progress : ProgressBar
    """

    shares: list[Share]
    batch: int
    epochs: int
    shuffle: bool
    order: str
    n_threads: int
    models: Sequence[Trainable]
    callbacks: list[tuple[Callback, ...]]
    progress: ProgressBar


class _Part:
    """Nets that one engine trains.

    Parameters
    ----------
    engine : PopulationEngine
    positions : list of int
        Of its nets in the population.
    share : Share
    batch : int
        Rows per update.
    """

    def __init__(self, engine: PopulationEngine, positions: list[int], share: Share, batch: int) -> None:
        self.engine = engine
        self.positions = positions
        self.share = share
        self.batch = batch
        self.n_steps = -(-share.training.n // batch)

    def keep(self, chosen: list[int]) -> None:
        """Go on with these of the nets alone, by their place in `positions`."""
        self.engine.keep(chosen)
        self.positions = [self.positions[place] for place in chosen]


class Loop:
    """State of one fit of a population.

    Parameters
    ----------
    nets : list of Net
        Built.
    fit : Fit
    record : Record
        Filled as the epochs end.
    """

    def __init__(self, nets: list[Net], fit: Fit, record: Record) -> None:
        self._nets = nets
        self._fit = fit
        self._record = record
        self._n_done = 0
        self._count = 1  # epochs of the next slice, by the time that the last one took
        self._logs: list[dict[str, float]] = [{} for _ in nets]
        self._started: list[list[Callback]] = [[] for _ in nets]
        self._unwritten: list[dict[str, Numbers]] = []  # blocks that the nets' histories lack
        self._best = (math.inf, -1)
        self._keys: list[list[str]] = [[] for _ in nets]  # names in the logs of each net, in their order
        names = names_of_all(nets)
        self._names = [*names, *(f"val_{name}" for name in names), "learning_rate", "seconds"]  # of all values
        self._parts: list[_Part] = []
        self._shared_order = (nets[0].spec.seed, nets[0].epochs_done) if fit.order == "shared" else None
        for share in fit.shares:
            for k in share.positions:
                self._keys[k] = _log_keys(nets[k], validates=share.validation is not None)
            self._parts += self._new_parts(share)

    def _new_parts(self, share: Share) -> list[_Part]:
        """Return the nets of a share in the engines that fit their settings, before the next epoch."""
        fit, shared = self._fit, self._shared_order
        engines = new_engines(
            [self._nets[k] for k in share.positions], share.training, batch_size=fit.batch, shuffle=fit.shuffle,
            shared_order=None if shared is None else (shared[0], shared[1] + self._n_done),
            sample_weight=share.sample_weight, n_threads=fit.n_threads,
        )  # fmt: skip
        return [_Part(engine, [share.positions[k] for k in chosen], share, fit.batch) for engine, chosen in engines]

    # ------------------------------------------------------------------------------------------- running

    def run(self) -> None:
        """Run epochs until all nets have stopped.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C: each net then has the weights of its last finished step.
        """
        try:
            self._begin_training()
            while self._parts and self._n_done < self._fit.epochs:
                self._begin_epoch()
                if self._parts:
                    self._run_slice(self._epochs_at_once())
            self._stop(dict.fromkeys(self._active()))
        except KeyboardInterrupt:
            self._stop(dict.fromkeys(self._active(), "interrupted"))
            raise
        finally:
            self._write_histories()

    def _active(self) -> list[int]:
        """Return the nets that have not stopped."""
        return [k for part in self._parts for k in part.positions]

    def _begin_training(self) -> None:
        fit = self._fit
        for part in self._parts:
            params = {"epochs": fit.epochs, "batch_size": part.batch, "rows": part.share.training.n}
            for k in part.positions:
                net = self._nets[k]
                net.stop_training = False
                for callback in fit.callbacks[k]:
                    callback.model = fit.models[k]
                    callback.params = {**params, "shuffle": fit.shuffle, "metrics": list(self._keys[k])}
                for callback in fit.callbacks[k]:
                    callback.on_train_begin({})
                    self._started[k].append(callback)

    def _due(self, k: int) -> list[Callback]:
        """Return the callbacks of a net that are called after this number of epochs."""
        return [callback for callback in self._fit.callbacks[k] if self._n_done % callback.call_every == 0]

    def _begin_epoch(self) -> None:
        """Notify the callbacks of the beginning of an epoch; nets that they stop leave."""
        stopped: dict[int, str | None] = {}
        for k in self._active():
            for callback in self._due(k):
                callback.on_epoch_begin(self._nets[k].epochs_done, {})
            if self._nets[k].stop_training:
                stopped[k] = _reason(self._nets[k])
        self._stop(stopped)

    def _epochs_at_once(self) -> int:
        """Return how many epochs may run before something needs control: a callback, validation, or the end."""
        if any(part.share.validation is not None for part in self._parts):
            return 1
        found = min(self._fit.epochs - self._n_done, self._count)
        for k in self._active():
            net = self._nets[k]
            if _is_function(_rate_of(net)) or not all(metric.compiled for metric in net.spec.metrics):
                return 1
            for callback in self._fit.callbacks[k]:
                found = min(found, callback.call_every - self._n_done % callback.call_every)
        return found

    def _run_slice(self, epochs: int) -> None:
        """Run some epochs of all nets, record them and call the callbacks."""
        n_active = len(self._active())
        block = {"loss": np.full((epochs, len(self._nets)), np.nan)}
        diverged: list[int] = []
        start = time.perf_counter()
        # Callbacks may have changed settings, such as the kind of optimizer.
        self._parts = [
            new
            for part in self._parts
            for new in ([part] if part.engine.accepts() else self._new_parts(part.share.part(part.positions)))
        ]
        try:
            for part in self._parts:
                diverged += self._train(part, epochs, block)
            if epochs == 1:
                for part in self._parts:
                    self._measure(part, block)
        finally:  # the weights are those of the later epoch already
            seconds = time.perf_counter() - start
            block["seconds"] = np.where(np.isnan(block["loss"]), np.nan, seconds / (epochs * n_active))
            block = {name: block[name] for name in self._names if name in block}
            self._record.add(block)
            self._unwritten.append(block)
        self._n_done += epochs
        self._count = min(MAX_EPOCHS, max(1, min(4 * epochs, round(SLICE * epochs / max(seconds, 1e-9)))))
        self._show(block, seconds / epochs)
        self._end_epoch(block, diverged)

    def _train(self, part: _Part, epochs: int, block: dict[str, Numbers]) -> list[int]:
        """Train the nets of a part, write what it found into a block, and return the nets that have diverged."""
        nets = [self._nets[k] for k in part.positions]
        rates = _rates(nets)
        recorded = _last_rates(nets, rates, epochs, part.n_steps)
        sums = part.engine.train(epochs)
        finished = ~np.isnan(sums.loss)
        for net, count in zip(nets, finished.sum(axis=0), strict=True):
            net.epochs_done += int(count)
        values = values_of(nets, sums, part.n_steps) | {"learning_rate": np.where(finished, recorded, np.nan)}
        for name, found in values.items():
            _values_in(block, name)[:, part.positions] = found
        if sums.interrupt is not None:
            raise sums.interrupt
        return [k for k, failed in zip(part.positions, sums.diverged, strict=True) if failed >= 0]

    def _measure(self, part: _Part, block: dict[str, Numbers]) -> None:
        """Write the metrics that are functions, and those of validation, of the epoch that is done into a block."""
        is_finished = ~np.isnan(block["loss"][0])
        with_functions = [
            k for k in part.positions if is_finished[k] and not all(m.compiled for m in self._nets[k].spec.metrics)
        ]
        validation = part.share.validation
        values: list[tuple[list[int], str, Numbers | float]] = []
        for k in with_functions:
            values += [([k], name, v) for name, v in function_metrics(self._nets[k], part.share.rows_of(k)).items()]
        if validation is not None:
            sums = part.engine.evaluate(validation, part.share.part(part.positions).validation_weight)
            nets = [self._nets[k] for k in part.positions]
            values += [(part.positions, f"val_{name}", v[0]) for name, v in values_of(nets, sums, 1).items()]
            for k in with_functions:
                rows = part.share.validation_of(k)
                assert rows is not None
                values += [([k], f"val_{name}", v) for name, v in function_metrics(self._nets[k], rows).items()]
        for positions, name, found in values:
            _values_in(block, name)[0, positions] = np.where(is_finished[positions], found, np.nan)

    def _show(self, block: dict[str, Numbers], seconds: float) -> None:
        """Display the lowest loss of any net so far."""
        progress = self._fit.progress
        if type(progress) is ProgressBar:
            return
        losses = block.get("val_loss", block["loss"])
        if not np.isnan(losses).all():
            k = int(np.nanargmin(losses)) % losses.shape[1]
            self._best = min(self._best, (float(np.nanmin(losses)), k))
        progress.start_epoch(self._n_done - 1)
        best, k = self._best
        values = {"best": best, "net": float(k), "nets": float(len(self._active()))}
        progress.end_epoch(values | {"seconds": seconds})

    # ------------------------------------------------------------------------------------------- callbacks

    def _end_epoch(self, block: dict[str, Numbers], diverged: list[int]) -> None:
        """Notify the callbacks of the nets that go on; the others leave."""
        last = {name: values[-1].tolist() for name, values in block.items()}
        is_out = set(diverged)
        stopped: dict[int, str | None] = dict.fromkeys(diverged, "diverged")
        for part in self._parts:
            due = {k: self._due(k) for k in part.positions if k not in is_out}
            for k in due:
                self._logs[k] = {name: last[name][k] for name in self._keys[k]}
            if any(due.values()):
                self._write_histories()
            for k, callbacks in due.items():
                for callback in callbacks:
                    callback.on_epoch_end(self._nets[k].epochs_done - 1, dict(self._logs[k]))
                if self._nets[k].stop_training:
                    stopped[k] = _reason(self._nets[k])
        self._stop(stopped)

    def _stop(self, reasons: dict[int, str | None]) -> None:
        """End the training of nets: record why, notify their callbacks, and leave the others to their engines."""
        if not reasons:
            return
        self._write_histories()
        for part in self._parts:
            out = [k for k in part.positions if k in reasons]
            if not out:
                continue
            part.keep([place for place, k in enumerate(part.positions) if k not in reasons])
        self._parts = [part for part in self._parts if part.positions]
        for k, why in reasons.items():
            self._record.stopped[k] = self._nets[k].history.stopped = why
        for k in reasons:
            for callback in self._started[k]:
                callback.on_train_end(dict(self._logs[k]))

    def _write_histories(self) -> None:
        """Add the epochs that they lack to the nets' histories."""
        if not self._unwritten:
            return
        whole = Record(len(self._nets))
        for block in self._unwritten:
            whole.add(block)
        self._unwritten = []
        values = whole.values()
        columns = {name: found.T.tolist() for name, found in values.items()}
        counts = (~np.isnan(values["loss"])).sum(axis=0).tolist()
        for net, k, count, keys in zip(self._nets, range(len(self._nets)), counts, self._keys, strict=True):
            if count:
                own = {name: columns[name][k][:count] for name in keys if name in columns}
                net.history.extend(net.epochs_done - count, own)


def _values_in(block: dict[str, Numbers], name: str) -> Numbers:
    """Return the values of a name in a block, to be overwritten."""
    if name not in block:
        block[name] = np.full_like(block["loss"], np.nan)
    return block[name]


def _log_keys(net: Net, *, validates: bool) -> list[str]:
    """Return the names in the logs of a net, in their order."""
    names = names_of(net)
    return [*names, *(f"val_{name}" for name in names if validates), "learning_rate", "seconds"]


def _reason(net: Net) -> str:
    """Return why a callback has stopped a net."""
    return net.stop_training if isinstance(net.stop_training, str) else "stop_training"


def _rate_of(net: Net) -> Any:
    return first_order(net).learning_rate


def _is_function(rate: Any) -> bool:
    """Return whether a learning rate is a function of the epoch, which is called when that begins."""
    return callable(rate) and not isinstance(rate, Schedule)


def _rates(nets: Sequence[Net]) -> Numbers:
    """Return the constant rates of nets in their next epoch; NaN for a schedule."""
    found = [_rate_of(net) for net in nets]
    return np.array([
        math.nan if isinstance(rate, Schedule) else rate_of_epoch(rate, net.epochs_done)
        for rate, net in zip(found, nets, strict=True)
    ])  # fmt: skip


def _last_rates(nets: Sequence[Net], constant: Numbers, epochs: int, n_steps: int) -> Numbers:
    """Return the rates of the last steps of the next epochs, (epochs, N)."""
    found = np.repeat(constant[None], epochs, axis=0)
    known: dict[tuple[int, int], Numbers] = {}  # many nets have the same schedule
    for k in np.flatnonzero(np.isnan(constant)).tolist():
        rate, first = _rate_of(nets[k]), nets[k].epochs_done
        if (id(rate), first) not in known:
            known[id(rate), first] = rates_of_steps(rate, first, epochs, n_steps)[:, -1]
        found[:, k] = known[id(rate), first]
    return found
