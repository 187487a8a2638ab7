"""Engine of a population of small nets that trains V nets at once, one in each lane of the vectors."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._engine.architecture import address_of
from fastnn._engine.engine import Engine, as_int64
from fastnn._engine.thread_team import ThreadTeam
from fastnn._population.lane_buffers import LaneBuffers, NetTables
from fastnn._population.sums import Numbers, PopulationEngine, Sums
from fastnn._training.descent import first_order, step_options
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics, penalty
from fastnn.kernels.ids import NO_METRIC
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
    LaneRun,
    LaneState,
)
from fastnn.kernels.lang.barrier import new_sync
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.loop.train_by_lane import train_by_lane
from fastnn.kernels.nn.rules import initial_scalars
from fastnn.kernels.tables import EVALUATE, N_METRICS, TRAIN, Data, round_up
from fastnn.schedules import LearningRate, rates_of_steps

Array: TypeAlias = npt.NDArray[Any]

#: Seconds that compiled code runs before control returns to Python (progress, Ctrl-C).
SLICE = 0.05
#: Most learning rates of a run: of all schedules and steps. A run of more epochs is cut.
MAX_RATES = 1 << 20
#: Parts of the groups that are copied to buffers one after the other.
BLOCKS = 10


def lane_key(net: Net) -> Hashable:
    """Return what is equal in nets that are trained in the lanes of the same vectors."""
    optimizer, of_net = first_order(net), net.built().architecture
    return (
        (of_net.sizes, of_net.activations, of_net.functions, of_net.use_bias, of_net.trained, of_net.dtype),
        # Whether they are 0; the numbers are those of each lane.
        tuple((l1 > 0.0, l2 > 0.0) for l1, l2 in of_net.penalties),
        tuple(limit > 0.0 for limit in of_net.max_norms),
        tuple(rate > 0.0 for rate in of_net.dropouts),
        (of_net.fused_output, of_net.loss_parameters, of_net.loss_function, net.spec.loss, compiled_metrics(net)),
        (optimizer.rule.code, bool(optimizer.clipvalue), bool(optimizer.global_clipnorm), bool(optimizer.ema_momentum)),
    )


class ByLane(PopulationEngine):
    """Training of nets of one `lane_key`: a net has the same bits in each lane, whatever the others are.

    The nets' numbers lie in their engines. Some groups at a time are copied to the buffers of the kernel and back, as
    buffers for all nets would double the memory.
    """

    def __post_init__(self) -> None:
        """Make the buffers and tables."""
        engine = self.nets[0].built()
        self._key = lane_key(self.nets[0])
        self._seconds = 0.0  # of a step of a group, by the last slice
        self._index = engine.layer_index()
        begins = np.arange(len(engine.slots))[:, None] * engine.params.size
        self._slot_index = (begins + self._index).reshape(-1)
        self._rule = first_order(self.nets[0]).rule
        self._initial_scalars = initial_scalars(self._rule.code)
        self._metrics = np.full(N_METRICS, NO_METRIC, np.int64)
        codes = compiled_metrics(self.nets[0])
        self._metrics[: len(codes)] = codes
        self._v = n_lanes(engine.params.dtype)
        self._make_tables()
        n_groups = len(self._tables.limits)
        n_threads = min(self.n_threads, n_groups)
        self._buffers = LaneBuffers(
            engine.architecture, round_up(-(-n_groups // BLOCKS), n_threads), len(engine.slots),
            averaged=engine.averaged, n_threads=n_threads,
        )  # fmt: skip

    def _make_tables(self) -> None:
        architecture = self.nets[0].built().architecture
        self._tables = NetTables(len(self.nets), architecture.n_layers, architecture.dtype)
        # Objects that hold settings and are replaced where one changes: those that the key and the tables were made of.
        self._of_keys = [(net.optimizer, net.built().architecture) for net in self.nets]
        self._of_rows: list[tuple[object, object]] = [(None, None)] * len(self.nets)

    def accepts(self) -> bool:
        """Return whether all nets still have the `lane_key` that they had."""
        for k, (net, (optimizer, architecture)) in enumerate(zip(self.nets, self._of_keys, strict=True)):
            if net.optimizer is not optimizer or net.built().architecture is not architecture:
                if lane_key(net) != self._key:
                    return False
                self._of_keys[k] = net.optimizer, net.built().architecture
        return True

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these of the present nets alone, by position and ascending."""
        super().keep(indices)
        if self.nets:
            self._make_tables()

    # ------------------------------------------------------------------------------------- numbers of the nets

    def _blocks(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the first group and the nets of each part that fits into the buffers."""
        size = self._buffers.n_groups
        for first in range(0, len(self._tables.limits), size):
            yield first, list(range(first * self._v, min((first + size) * self._v, len(self.nets))))

    def _groups(self, block: list[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each group in the buffers, and its nets."""
        for group, first in enumerate(range(0, len(block), self._v)):
            yield group, block[first : first + self._v]

    def _read(self, block: list[int], *, with_slots: bool) -> None:
        """Copy the numbers of some nets from their engines to the buffers and tables."""
        buffers, tables = self._buffers, self._tables
        params = np.zeros((self._v, len(self._index)), buffers.params.dtype)
        slots = np.zeros((self._v, len(self._slot_index) if with_slots else 0), buffers.params.dtype)
        steps: list[int] = []
        scalars: list[tuple[float, ...]] = []
        for group, nets in self._groups(block):
            for lane, k in enumerate(nets):
                net = self.nets[k]
                net.run_steps(partial(self._read_net, net, params[lane], slots[lane], steps, scalars))
            buffers.params[group] = params.T  # all lanes at once, as the numbers of one lie far apart
            if with_slots:
                buffers.slots[group].reshape(-1, self._v)[:] = slots.T
        tables.lanes["alive"][block] = 1
        tables.lanes["steps_done"][block] = steps
        tables.scalars[block, : len(self._initial_scalars)] = scalars

    def _has_the_slots(self, net: Net, engine: Engine) -> bool:
        """Return whether the slots of a net are those of the buffers: another thread may have changed its optimizer."""
        return getattr(net.optimizer, "rule", None) is self._rule and len(engine.slots) == self._buffers.layout.n_slots

    def _read_net(
        self, net: Net, params: Array, slots: Array, steps: list[int], scalars: list[tuple[float, ...]], engine: Engine
    ) -> None:
        engine.params.take(self._index, out=params, mode="clip")
        is_begun = engine.steps_done > 0 and self._has_the_slots(net, engine)
        if is_begun and slots.size:
            engine.slots.reshape(-1).take(self._slot_index, out=slots, mode="clip")
        elif slots.size:
            slots[:] = 0.0
            slots[-len(params) :] = params if engine.averaged else 0.0
        steps.append(engine.steps_done if is_begun else 0)
        scalars.append(engine.scalars if is_begun else self._initial_scalars)

    def _write(self, block: list[int]) -> None:
        """Copy the numbers of some nets to their engines."""
        buffers, tables = self._buffers, self._tables
        scalars = tables.scalars[block, : len(self._initial_scalars)].tolist()
        progress = zip(tables.lanes["steps_done"][block].tolist(), map(tuple, scalars), strict=True)
        for group, nets in self._groups(block):
            params = np.ascontiguousarray(buffers.params[group].T)
            slots = np.ascontiguousarray(buffers.slots[group].reshape(-1, self._v).T)
            for lane, k in enumerate(nets):
                net = self.nets[k]
                net.run_steps(partial(self._write_net, net, params[lane], slots[lane], *next(progress)))

    def _write_net(
        self, net: Net, params: Array, slots: Array, steps_done: int, scalars: tuple[float, ...], engine: Engine
    ) -> None:
        engine.params[self._index] = params
        if self._has_the_slots(net, engine):  # else they are the zeros of another optimizer
            engine.slots.reshape(-1)[self._slot_index] = slots
            engine.set_progress(steps_done, scalars)

    def _set_options(self, done: int) -> None:
        """Write the settings of the nets into the tables, for a run that begins after `done` more epochs."""
        lanes = self._tables.lanes
        shared = self.shared_order
        lanes["order_epoch"][: len(self.nets)] = [
            done + (net.epochs_done if shared is None else shared[1]) for net in self.nets
        ]
        changed: list[int] = []
        for k, net in enumerate(self.nets):
            of_row = first_order(net), net.built().architecture
            if self._of_rows[k][0] is not of_row[0] or self._of_rows[k][1] is not of_row[1]:
                self._of_rows[k] = of_row
                changed.append(k)
        if not changed:
            return
        seeds = [as_int64(self.nets[k].spec.seed) for k in changed]
        lanes["seed"][changed] = seeds
        lanes["order_seed"][changed] = seeds if shared is None else as_int64(shared[0])
        options, architectures = [], []
        for k in changed:
            optimizer, architecture = first_order(self.nets[k]), self.nets[k].built().architecture
            rate = optimizer.learning_rate
            options.append(step_options(optimizer, 0.0 if callable(rate) else float(rate)))
            architectures.append(architecture)
        lanes["learning_rate"][changed] = [one.rates[0] for one in options]
        lanes["weight_decay"][changed] = [one.weight_decay for one in options]
        lanes["ema_decay"][changed] = [one.ema_decay for one in options]
        lanes["clip_value"][changed] = [one.clip_value or np.inf for one in options]
        lanes["clip_norm"][changed] = [one.clip_norm or np.inf for one in options]
        self._tables.hyper[changed, : len(options[0].rates) - 1] = [one.rates[1:] for one in options]
        groups, in_group = np.divmod(changed, self._v)
        limits = self._tables.limits.transpose(0, 3, 1, 2)  # (groups, V, L, N_LIMITS)
        zeros = (0.0,) * architectures[0].n_layers
        limits[groups, in_group, :, L1 : L2 + 1] = [one.penalties for one in architectures]
        limits[groups, in_group, :, MAX_NORM] = [one.max_norms or zeros for one in architectures]
        limits[groups, in_group, :, DROPOUT] = [one.dropouts or zeros for one in architectures]

    def _step_rates(self, done: int, epochs: int) -> Numbers:
        """Return the rates of schedules and functions, (rows, steps), and write the row of each net into the tables."""
        places: dict[tuple[int, int], int] = {}  # many nets have the same schedule
        of_places: list[tuple[LearningRate, int]] = []
        for k, net in enumerate(self.nets):
            rate = first_order(net).learning_rate
            place = -1
            if callable(rate):
                place = places.setdefault((id(rate), net.epochs_done), len(places))
                if place == len(of_places):
                    of_places.append((rate, net.epochs_done + done))
            self._tables.lanes["rates"][k] = place
        some = min(epochs, max(1, MAX_RATES // (max(1, len(places)) * self.n_steps)))
        rates = np.empty((len(places), some * self.n_steps))
        for place, (rate, epoch) in enumerate(of_places):
            rates[place] = rates_of_steps(rate, epoch, some, self.n_steps).reshape(-1)
        return rates

    # ------------------------------------------------------------------------------------------------ running

    def train(self, epochs: int) -> Sums:
        """Train all nets for a number of epochs; one that diverges keeps its last finite weights."""
        found = Sums.unknown(epochs, len(self.nets))
        done = 0
        while done < epochs and found.interrupt is None:
            self._set_options(done)
            rates = self._step_rates(done, epochs - done)
            some = rates.shape[1] // self.n_steps if len(rates) else epochs - done
            try:
                with ThreadTeam(self._buffers.n_threads) as team:
                    for first, block in self._blocks():
                        self._train(team, first, block, found, done, some, rates)
            except BaseException as error:  # what is finished is recorded before it is raised
                found.interrupt = error
            done += some
        self.count_shared_epochs(epochs)
        return found

    def _train(
        self, team: ThreadTeam, first: int, block: list[int], found: Sums, done: int, epochs: int, rates: Numbers
    ) -> None:
        """Run some epochs of some nets, and write their sums into `found`, from epoch `done` on."""
        options = step_options(first_order(self.nets[0]), 0.0)
        run = self._run(TRAIN, self.rows.n, self.batch_size)._replace(
            optimizer=options.optimizer,
            shuffle=self.is_shuffled,
            clips_values=options.clip_value > 0.0,
            clips_norms=options.clip_norm > 0.0,
        )
        self._read(block, with_slots=True)
        if done:  # those that have diverged in epochs before
            self._tables.lanes["alive"][block] = found.diverged[block] < 0
        plan = self._buffers.plan(
            run, self._tables, first, metrics=self._metrics, epochs=epochs, step_rates=rates,
            net_weights=self._weights_of(block, self.sample_weight),
        )  # fmt: skip
        try:
            self._run_slices(team, self._buffers.state(), plan, self.rows.data(), epochs * run.epoch_steps)
        finally:
            self._write(block)
            self._fill(found, block, done, plan)

    def _run(self, mode: int, n_rows: int, batch: int) -> LaneRun:
        """Return the settings of a run without those of an optimizer."""
        architecture = self.nets[0].built().architecture
        return LaneRun(
            mode=mode, n_rows=n_rows, batch=batch, epoch_steps=-(-n_rows // batch), loss=architecture.loss,
            loss_function=address_of(architecture.loss_function),
            is_sum=self.nets[0].spec.loss.rule.reduction == "sum",
        )  # fmt: skip

    def _weights_of(self, block: list[int], given: Array | None) -> Array:
        """Return the weights of rows of some nets, and of lanes without a net."""
        if given is None:
            return np.empty(0, self._buffers.params.dtype)
        weights = np.ones((round_up(len(block), self._v), given.shape[1]), given.dtype)
        weights[: len(block)] = given[block]
        return weights

    def _run_slices(self, team: ThreadTeam, state: LaneState, plan: LanePlan, data: Data, n_steps: int) -> None:
        """Call the kernel for some groups and steps that take about `SLICE` seconds.

        These are all steps of many groups, or some steps of as many groups as there are threads, up to their last step
        before the next groups: so the order of rows of an epoch is computed once, and read in all of its slices.
        """
        train_by_lane(state, plan, data, new_sync(), 0)  # no group: loads the kernel before threads are started
        n_groups = len(plan.progress)
        n_threads = team.start(min(team.n_threads, n_groups))
        first = 0
        while first < n_groups:
            groups = min(n_groups - first, max(n_threads, self._steps_that_fit(n_threads) // n_steps))
            part = plan._replace(first_group=first, end_group=first + groups)
            number = 0
            while number < n_steps:
                steps = n_steps
                if groups <= n_threads:
                    steps = min(n_steps - number, max(1, self._steps_that_fit(n_threads) // groups))
                start = time.perf_counter()
                team.run(train_by_lane, state, part._replace(n_steps=steps), data, n_threads=n_threads)
                self._seconds = (time.perf_counter() - start) * min(n_threads, groups) / (groups * steps)
                number += steps
            first += groups

    def _steps_that_fit(self, n_threads: int) -> int:
        """Return how many steps of a group fit into `SLICE`; one for each thread if their time is unknown."""
        return int(SLICE * n_threads / self._seconds) if self._seconds else n_threads

    def _fill(self, found: Sums, block: list[int], done: int, plan: LanePlan) -> None:
        """Write the sums of the finished epochs of some nets into their columns."""
        finished, alive = self._tables.lanes["finished"][block], self._tables.lanes["alive"][block]
        totals = plan.epoch_totals[:, :, : len(block)]
        totals = np.where(np.arange(totals.shape[1])[:, None] < finished, totals, np.nan)
        rows = slice(done, done + totals.shape[1])
        found.loss[rows, block], found.weight[rows, block] = totals[LOSS], totals[WEIGHT]
        found.penalty[rows, block] = totals[PENALTY]
        found.first_metric[rows, block], found.second_metric[rows, block] = totals[FIRST_METRIC], totals[SECOND_METRIC]
        is_new = (alive == 0) & (found.diverged[block] < 0)
        found.diverged[block] = np.where(is_new, done + finished, found.diverged[block])

    def evaluate(self, rows: Rows, sample_weight: Array | None = None) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite."""
        found = Sums.unknown(1, len(self.nets))
        seconds, self._seconds = self._seconds, 0.0  # a step is a pass through these rows here
        with ThreadTeam(self._buffers.n_threads) as team:
            for first, block in self._blocks():
                self._read(block, with_slots=self._buffers.layout.ema_slot >= 0)
                plan = self._buffers.plan(
                    self._run(EVALUATE, rows.n, rows.n), self._tables, first, metrics=self._metrics, epochs=1,
                    step_rates=np.empty((0, 0)), net_weights=self._weights_of(block, sample_weight),
                )  # fmt: skip
                self._run_slices(team, self._buffers.state(averages=True), plan, rows.data(), 1)
                self._fill(found, block, 0, plan)
        self._seconds = seconds
        found.penalty[0] = [penalty(net) for net in self.nets]
        return found
