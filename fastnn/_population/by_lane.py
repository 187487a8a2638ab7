"""Engine of a population of small nets that trains V nets at once, one in each lane of the vectors."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from functools import partial

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

    def _read(self, block: list[int]) -> None:
        """Copy the numbers of some nets from their engines to the buffers and tables."""
        for place, k in enumerate(block):
            net = self.nets[k]
            net.run_steps(partial(self._read_net, divmod(place, self._v), k, net))

    def _read_net(self, place: tuple[int, int], k: int, net: Net, engine: Engine) -> None:
        buffers, tables = self._buffers, self._tables
        group, lane = place
        buffers.params[group, :, lane] = engine.params[self._index]
        buffers.slots[group, :, :, lane] = engine.slots[:, self._index]
        record = tables.lanes[k]
        record["steps_done"], record["alive"] = engine.steps_done, 1
        scalars = engine.scalars
        if not engine.steps_done:
            scalars = initial_scalars(first_order(net).rule.code)
            if engine.averaged:
                buffers.slots[group, -1, :, lane] = buffers.params[group, :, lane]
        tables.scalars[k, : len(scalars)] = scalars

    def _write(self, block: list[int]) -> None:
        """Copy the numbers of some nets to their engines."""
        for place, k in enumerate(block):
            net = self.nets[k]
            net.run_steps(partial(self._write_net, divmod(place, self._v), k, net))

    def _write_net(self, place: tuple[int, int], k: int, net: Net, engine: Engine) -> None:
        buffers = self._buffers
        group, lane = place
        engine.params[self._index] = buffers.params[group, :, lane]
        slots = buffers.slots[group, :, :, lane]
        if len(slots) == len(engine.slots):  # else another thread has chosen another optimizer, whose slots are zeros
            engine.slots[:, self._index] = slots
            n_scalars = len(initial_scalars(first_order(net).rule.code))
            scalars = tuple(self._tables.scalars[k, :n_scalars].tolist())
            engine.set_progress(int(self._tables.lanes["steps_done"][k]), scalars)

    def _set_options(self, done: int) -> None:
        """Write the settings of the nets into the tables, for a run that begins after `done` more epochs."""
        tables = self._tables
        for k, net in enumerate(self.nets):
            optimizer, architecture = first_order(net), net.built().architecture
            seed, epoch = self.shared_order or (net.spec.seed, net.epochs_done)
            record = tables.lanes[k]
            record["order_epoch"] = epoch + done
            if self._of_rows[k][0] is optimizer and self._of_rows[k][1] is architecture:
                continue
            rate = optimizer.learning_rate
            options = step_options(optimizer, 0.0 if callable(rate) else float(rate))
            record["learning_rate"] = options.rates[0]
            record["seed"], record["order_seed"] = as_int64(net.spec.seed), as_int64(seed)
            record["weight_decay"], record["ema_decay"] = options.weight_decay, options.ema_decay
            record["clip_value"], record["clip_norm"] = options.clip_value or np.inf, options.clip_norm or np.inf
            tables.hyper[k, : len(options.rates) - 1] = options.rates[1:]
            group, lane = divmod(k, self._v)
            limits = tables.limits[group, :, :, lane]
            limits[:, [L1, L2]] = architecture.penalties
            limits[:, MAX_NORM] = architecture.max_norms or 0.0
            limits[:, DROPOUT] = architecture.dropouts or 0.0
            self._of_rows[k] = optimizer, architecture

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
        self._read(block)
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

    def _weights_of(self, block: list[int], given: npt.NDArray[np.floating] | None) -> npt.NDArray[np.floating]:
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

    def evaluate(self, rows: Rows, sample_weight: npt.NDArray[np.floating] | None = None) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite."""
        found = Sums.unknown(1, len(self.nets))
        seconds, self._seconds = self._seconds, 0.0  # a step is a pass through these rows here
        with ThreadTeam(self._buffers.n_threads) as team:
            for first, block in self._blocks():
                self._read(block)
                plan = self._buffers.plan(
                    self._run(EVALUATE, rows.n, rows.n), self._tables, first, metrics=self._metrics, epochs=1,
                    step_rates=np.empty((0, 0)), net_weights=self._weights_of(block, sample_weight),
                )  # fmt: skip
                self._run_slices(team, self._buffers.state(averages=True), plan, rows.data(), 1)
                self._fill(found, block, 0, plan)
        self._seconds = seconds
        found.penalty[0] = [penalty(net) for net in self.nets]
        return found
