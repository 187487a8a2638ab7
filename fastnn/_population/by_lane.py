"""Engine of a population of small nets that trains V nets at once, one in each lane of the vectors."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._engine.engine import Engine, as_int64
from fastnn._engine.thread_team import ThreadTeam
from fastnn._population.lane_buffers import LaneBuffers
from fastnn._population.sums import Numbers, Sums
from fastnn._training.descent import first_order, step_options
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics
from fastnn.kernels.lane_tables import (
    DROPOUT,
    FIRST_METRIC,
    L1,
    L2,
    LOSS,
    MAX_NORM,
    PENALTY,
    SECOND_METRIC,
    WEIGHT,
    LanePlan,
    LaneState,
)
from fastnn.kernels.lang.barrier import new_sync
from fastnn.kernels.loop.train_by_lane import train_by_lane
from fastnn.kernels.nn.rules import initial_scalars
from fastnn.kernels.tables import EVALUATE, TRAIN, Data
from fastnn.schedules import rates_of_steps

#: Seconds that compiled code runs before control returns to Python (progress, Ctrl-C).
SLICE = 0.05
#: Most learning rates of a run: of all schedules and steps. A run of more epochs is cut.
MAX_RATES = 1 << 20


def lane_key(net: Net) -> Hashable:
    """Return what is equal in nets that are trained in the lanes of the same vectors."""
    optimizer, architecture = first_order(net), net.built().architecture
    options = step_options(optimizer, 0.0)
    return (
        replace(
            architecture,
            penalties=tuple((float(l1 > 0.0), float(l2 > 0.0)) for l1, l2 in architecture.penalties),
            max_norms=tuple(float(limit > 0.0) for limit in architecture.max_norms),
            dropouts=tuple(float(rate > 0.0) / 2 for rate in architecture.dropouts),
            trained=tuple(k in architecture.trained_layers() for k in range(architecture.n_layers)),
        ),
        net.spec.loss,
        compiled_metrics(net),
        optimizer.rule.code,
        options.clip_value > 0.0,
        options.clip_norm > 0.0,
        options.ema_decay > 0.0,
    )


class ByLane:
    """Training of nets of one `lane_key`: a net has the same bits in each lane, whatever the others are.

    Each net's numbers lie in its own engine, from which they are read before the first epoch after `write_back`.

    Parameters
    ----------
    nets, rows, batch_size, shuffle, shared_order, sample_weight, n_threads
        See `PopulationEngine`.
    """

    def __init__(
        self,
        nets: Sequence[Net],
        rows: Rows,
        *,
        batch_size: int,
        shuffle: bool,
        shared_order: tuple[int, int] | None,
        sample_weight: npt.NDArray[np.floating] | None,
        n_threads: int,
    ) -> None:
        self._nets = list(nets)
        self._key = lane_key(nets[0])
        self._rows = rows
        self._batch = batch_size
        self._is_shuffled = shuffle and batch_size < rows.n
        self._shared_order = shared_order
        self._weights = sample_weight
        self._n_threads = n_threads
        self._seconds = 0.0  # of a step of a group, by the last slice
        self._buffers: LaneBuffers | None = None
        self._index = nets[0].built().layer_index()
        self._is_read = False

    # ------------------------------------------------------------------------------------- numbers of the nets

    def accepts(self) -> bool:
        """Return whether the nets, whose settings may have changed since `write_back`, have one `lane_key` still."""
        return self._is_read or all(lane_key(net) == self._key for net in self._nets)

    def _read(self) -> LaneBuffers:
        """Return the buffers, with the numbers of the nets' engines where those are the newer ones."""
        if self._buffers is None:
            engine = self._nets[0].built()
            self._buffers = LaneBuffers(
                engine.architecture, len(self._nets), len(engine.slots), averaged=engine.averaged,
                n_threads=self._n_threads,
            )  # fmt: skip
            self._is_read = False
        if not self._is_read:
            for k, net in enumerate(self._nets):
                net.run_steps(lambda engine, k=k, net=net: self._read_net(k, net, engine))
            self._is_read = True
        return self._buffers

    def _read_net(self, k: int, net: Net, engine: Engine) -> None:
        buffers = self._buffers
        assert buffers is not None
        group, lane = divmod(k, buffers.v)
        buffers.params[group, :, lane] = engine.params[self._index]
        buffers.slots[group, :, :, lane] = engine.slots[:, self._index]
        scalars = engine.scalars
        if not engine.steps_done:
            scalars = initial_scalars(first_order(net).rule.code)
            if engine.averaged:
                buffers.slots[group, -1, :, lane] = buffers.params[group, :, lane]
        buffers.scalars[k, : len(scalars)] = scalars
        record = buffers.lanes[k]
        record["seed"], record["steps_done"] = as_int64(net.spec.seed), engine.steps_done
        record["alive"] = 1

    def write_back(self) -> None:
        """Write weights, slots and counters into the nets' engines."""
        if not self._is_read:
            return
        for k, net in enumerate(self._nets):
            net.run_steps(lambda engine, k=k, net=net: self._write_net(k, net, engine))
        self._is_read = False

    def _write_net(self, k: int, net: Net, engine: Engine) -> None:
        buffers = self._buffers
        assert buffers is not None
        group, lane = divmod(k, buffers.v)
        steps_done = int(buffers.lanes["steps_done"][k])
        if steps_done == engine.steps_done:
            return
        engine.params[self._index] = buffers.params[group, :, lane]
        if lane_key(net) == self._key:  # else another thread has chosen another optimizer, whose slots are zeros
            engine.slots[:, self._index] = buffers.slots[group, :, :, lane]
            n_scalars = len(initial_scalars(first_order(net).rule.code))
            engine.set_progress(steps_done, tuple(map(float, buffers.scalars[k, :n_scalars])))

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these of the present nets alone, by position and ascending; after `write_back`."""
        self._nets = [self._nets[k] for k in indices]
        self._buffers = None
        if self._weights is not None:
            self._weights = self._weights[list(indices)]

    # ------------------------------------------------------------------------------------------------ running

    def train(self, epochs: int) -> Sums:
        """Train all nets for a number of epochs; one that diverges keeps its last finite weights."""
        found = Sums.unknown(epochs, len(self._nets))
        buffers = self._read()
        n_steps = -(-self._rows.n // self._batch)
        done = 0
        while done < epochs:
            self._set_options(buffers, done)
            rates, rows_of_rates = self._step_rates(done, epochs - done, n_steps)
            buffers.lanes["rates"][: len(self._nets)] = rows_of_rates
            some = rates.shape[1] // n_steps if rates.size else epochs - done
            self._train(buffers, found, done, some, rates)
            if found.interrupt is not None or not buffers.lanes["alive"].any():
                break
            done += some
        if self._shared_order is not None:
            self._shared_order = (self._shared_order[0], self._shared_order[1] + epochs)
        return found

    def _set_options(self, buffers: LaneBuffers, done: int) -> None:
        """Write the settings of the nets into the tables, for a run that begins after `done` more epochs."""
        for k, net in enumerate(self._nets):
            optimizer, architecture = first_order(net), net.built().architecture
            rate = optimizer.learning_rate
            options = step_options(optimizer, 0.0 if callable(rate) else float(rate))
            record = buffers.lanes[k]
            seed, epoch = self._shared_order or (net.spec.seed, net.epochs_done)
            record["order_seed"], record["order_epoch"] = as_int64(seed), epoch + done
            record["learning_rate"], record["weight_decay"] = options.rates[0], options.weight_decay
            record["clip_value"], record["clip_norm"] = options.clip_value or np.inf, options.clip_norm or np.inf
            record["ema_decay"] = options.ema_decay
            buffers.hyper[k, : len(options.rates) - 1] = options.rates[1:]
            group, lane = divmod(k, buffers.v)
            limits = buffers.limits[group, :, :, lane]
            limits[:, [L1, L2]] = architecture.penalties
            limits[:, MAX_NORM] = architecture.max_norms or 0.0
            limits[:, DROPOUT] = architecture.dropouts or 0.0

    def _step_rates(self, done: int, epochs: int, n_steps: int) -> tuple[Numbers, npt.NDArray[np.int64]]:
        """Return the rates of schedules and functions, (rows, steps), and the row of each net; -1 for a constant."""
        rows = np.full(len(self._nets), -1)
        places: dict[tuple[int, int], int] = {}  # many nets have the same schedule
        for k, net in enumerate(self._nets):
            rate = first_order(net).learning_rate
            if callable(rate):
                rows[k] = places.setdefault((id(rate), net.epochs_done), len(places))
        if not places:
            return np.empty((0, 0)), rows
        some = min(epochs, max(1, MAX_RATES // (len(places) * n_steps)))
        rates = np.empty((len(places), some * n_steps))
        for place in range(len(places)):
            net = self._nets[int(np.flatnonzero(rows == place)[0])]
            rate = first_order(net).learning_rate
            rates[place] = rates_of_steps(rate, net.epochs_done + done, some, n_steps).reshape(-1)
        return rates, rows

    def _train(self, buffers: LaneBuffers, found: Sums, done: int, epochs: int, rates: Numbers) -> None:
        """Run some epochs and write their sums into `found`, from epoch `done` on."""
        optimizer = first_order(self._nets[0])
        options = step_options(optimizer, 0.0)
        run = self._run(buffers, TRAIN, self._rows.n, self._batch)._replace(
            optimizer=options.optimizer,
            shuffle=self._is_shuffled,
            clips_values=options.clip_value > 0.0,
            clips_norms=options.clip_norm > 0.0,
        )
        plan = buffers.plan(
            run, metrics=compiled_metrics(self._nets[0]), net_weights=self._net_weights(buffers), epochs=epochs,
            step_rates=rates,
        )  # fmt: skip
        try:
            self._run_slices(buffers.state(buffers.params), plan, self._rows.data(), epochs * run.epoch_steps)
        except BaseException as error:  # what is finished is recorded before it is raised
            found.interrupt = error
        self._fill(buffers, found, done, plan)

    def _run(self, buffers: LaneBuffers, mode: int, n_rows: int, batch: int):  # type: ignore[no-untyped-def]
        return buffers.loss_run(mode, n_rows, batch, is_sum=self._nets[0].spec.loss.rule.reduction == "sum")

    def _net_weights(self, buffers: LaneBuffers) -> npt.NDArray[np.floating]:
        """Return the weights of rows of each lane."""
        dtype = buffers.params.dtype
        if self._weights is None:
            return np.empty((0, 0), dtype)
        weights = np.ones((len(buffers.lanes), self._rows.n), dtype)
        weights[: len(self._nets)] = self._weights
        return weights

    def _run_slices(self, state: LaneState, plan: LanePlan, data: Data, n_steps: int) -> None:
        """Call the kernel for parts of the groups and steps that take about `SLICE` seconds each."""
        train_by_lane(state, plan, data, new_sync(), 0)  # no group: loads the kernel before threads are started
        n_groups = len(plan.progress)
        with ThreadTeam(min(self._n_threads, n_groups)) as team:
            n_threads = team.start(team.n_threads)
            number = 0
            while number < n_steps:
                # Steps of a group that fit.
                room = SLICE * n_threads / self._seconds if self._seconds else n_threads
                groups = min(n_groups, max(n_threads, int(room)))
                steps = max(1, int(room) // n_groups)
                if steps > plan.run.epoch_steps:  # whole epochs, as a slice within one computes the order again
                    steps -= steps % plan.run.epoch_steps
                steps = min(steps, n_steps - number)
                for first in range(0, n_groups, groups):
                    part = min(groups, n_groups - first)
                    start = time.perf_counter()
                    team.run(
                        train_by_lane, state, plan._replace(first_group=first, end_group=first + part, n_steps=steps),
                        data, n_threads=n_threads,
                    )  # fmt: skip
                    used = min(n_threads, part)
                    self._seconds = (time.perf_counter() - start) * used / (part * steps)
                number += steps

    def _fill(self, buffers: LaneBuffers, found: Sums, done: int, plan: LanePlan) -> None:
        """Write the sums of the finished epochs of each net into its column."""
        n = len(self._nets)
        totals = plan.epoch_totals[:, :, :n]
        epochs = totals.shape[1]
        finished = buffers.lanes["finished"][:n]
        is_finished = np.arange(epochs)[:, None] < finished
        # Those that were not alive when the run began have finished no epoch of it.
        for name, place in (
            ("loss", LOSS), ("weight", WEIGHT), ("penalty", PENALTY), ("first_metric", FIRST_METRIC),
            ("second_metric", SECOND_METRIC),
        ):  # fmt: skip
            getattr(found, name)[done : done + epochs][is_finished] = totals[place][is_finished]
        is_new = (buffers.lanes["alive"][:n] == 0) & (found.diverged < 0)
        found.diverged[is_new] = done + finished[is_new]

    def evaluate(self, rows: Rows) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite."""
        buffers = self._read()
        found = Sums.unknown(1, len(self._nets))
        averaged = self._nets[0].built().averaged
        params = np.ascontiguousarray(buffers.slots[:, -1]) if averaged else buffers.params
        alive = buffers.lanes["alive"].copy()
        plan = buffers.plan(
            self._run(buffers, EVALUATE, rows.n, rows.n), metrics=compiled_metrics(self._nets[0]),
            net_weights=np.empty((0, 0), params.dtype), epochs=1, step_rates=np.empty((0, 0)),
        )  # fmt: skip
        seconds, self._seconds = self._seconds, 0.0
        try:
            self._run_slices(buffers.state(params), plan, rows.data(), 1)
            self._fill(buffers, found, 0, plan)
        finally:
            buffers.lanes["alive"] = alive
            self._seconds = seconds
        found.penalty[0] = self._penalties(buffers)
        return found

    def _penalties(self, buffers: LaneBuffers) -> Numbers:
        """Return R of the present weights of each net."""
        total = np.zeros((buffers.n_groups, buffers.v))
        for k in buffers.architecture.trained_layers():
            layer = buffers.layers[k]
            if layer["penalized"]:
                start = int(layer["bias"]) // buffers.v + int(layer["n_out"])
                w = buffers.params[:, start : start + int(layer["n_in"] * layer["n_out"])].astype(np.float64)
                l1, l2 = buffers.limits[:, k, L1].astype(float), buffers.limits[:, k, L2].astype(float)
                total += l1 * np.abs(w).sum(axis=1) + l2 * (w * w).sum(axis=1)
        return total.reshape(-1)[: len(self._nets)]
