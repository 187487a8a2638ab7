"""Engine of a population that trains each net by one thread, by the engine of single nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows, Shuffle
from fastnn._engine import engine as single
from fastnn._engine.architecture import Architecture
from fastnn._engine.autotune import MAX_EPOCHS
from fastnn._engine.engine import Engine, RunOptions
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_NUMBERS, Workspace
from fastnn._population.pool import IsStopped, run_all
from fastnn._population.sums import METRICS, Numbers, PopulationEngine, Sums
from fastnn._training.descent import first_order, step_options
from fastnn._training.net import Net
from fastnn._training.objective import compiled_metrics, penalty
from fastnn.kernels.tables import OK
from fastnn.schedules import Schedule, rates_of_steps

#: The thread that runs a net, for the engine of single nets.
_ALONE = ThreadTeam(1)


class _Stopped(Exception):  # noqa: N818 -- no error: another thread has one
    """The run of a net ends early, between two slices."""


class Workspaces:
    """The workspaces of one thread, which the nets that it trains use one after the other.

    Those of all nets at once would take several times the memory of small nets.
    """

    def __init__(self) -> None:
        self._architecture: Architecture | None = None
        self._spaces: dict[str, Workspace] = {}

    def lend(self, engine: Engine) -> None:
        """Give the workspaces to an engine, or discard them where they do not fit."""
        architecture = replace(engine.architecture, penalties=())
        if architecture != self._architecture:
            self._architecture, self._spaces = architecture, {}
        engine.give_workspaces(self._spaces)

    def take_back(self, engine: Engine, *, clean: bool) -> None:
        """Take the workspaces back; those with numbers that are not finite are discarded."""
        self._spaces = engine.take_workspaces()
        if not clean:
            self._spaces = {}


class ByThread(PopulationEngine):
    """Training of nets of any kind, each by one thread at a time: a net has the bits that it has alone."""

    def __post_init__(self) -> None:
        """Make the workspaces of all threads."""
        self._spaces = [Workspaces() for _ in range(self.n_threads)]

    def train(self, epochs: int) -> Sums:
        """Train all nets for a number of epochs; one that diverges keeps its last finite weights."""
        found = Sums.unknown(epochs, len(self.nets))
        # Functions are called here, in the caller's thread.
        called = [self._called_rates(net, epochs) for net in self.nets]

        def work(k: int, thread: int, is_stopped: IsStopped) -> None:
            finished: list[tuple[single.Sums, float]] = []
            try:
                if not self._train(k, epochs, finished, called[k], self._spaces[thread], is_stopped):
                    found.diverged[k] = len(finished)
            finally:
                _fill(found, k, [sums for sums, _ in finished])

        try:
            run_all(work, len(self.nets), self.n_threads)
        except BaseException as error:  # what is finished is recorded before it is raised
            found.interrupt = error
        self.count_shared_epochs(epochs)
        return found

    def _called_rates(self, net: Net, epochs: int) -> Numbers | None:
        rate = first_order(net).learning_rate
        if not callable(rate) or isinstance(rate, Schedule):
            return None
        return rates_of_steps(rate, net.epochs_done, epochs, self.n_steps)

    def _train(
        self, k: int, epochs: int, finished: list[tuple[single.Sums, float]], called: Numbers | None,
        spaces: Workspaces, is_stopped: IsStopped,
    ) -> bool:  # fmt: skip
        """Train a net; return whether it is finite still."""
        net = self.nets[k]
        rows = self.rows if self.sample_weight is None else replace(self.rows, sample_weight=self.sample_weight[k])
        order = np.empty(rows.n, np.int64) if self.is_shuffled else None
        seed, epoch = (net.spec.seed, net.epochs_done) if self.shared_order is None else self.shared_order

        def check(rows_done: int, sums: single.Sums) -> None:
            if is_stopped():
                raise _Stopped

        def run(engine: Engine) -> bool:
            optimizer = first_order(net)
            is_clean = False
            spaces.lend(engine)
            try:
                for start in range(0, epochs, MAX_EPOCHS):
                    some = min(MAX_EPOCHS, epochs - start)
                    if called is None:
                        rates = rates_of_steps(optimizer.learning_rate, net.epochs_done + start, some, self.n_steps)
                    else:
                        rates = called[start : start + some]
                    varies = callable(optimizer.learning_rate)
                    sums = engine.train_epochs(
                        rows.data(order),
                        some,
                        finished,
                        step_options(optimizer, float(rates[0, 0])),
                        RunOptions(
                            batch=self.batch_size,
                            metrics=compiled_metrics(net),
                            shuffle=None if order is None else Shuffle(order, seed, epoch + start),
                            seed=net.spec.seed,
                            step_rates=np.array(rates, order="C").reshape(-1) if varies else NO_NUMBERS,
                        ),
                        team=_ALONE,
                        on_slice=check,
                    )
                    if sums.status != OK:
                        return False
                is_clean = True
                return True
            finally:
                spaces.take_back(engine, clean=is_clean)

        try:
            return net.run_steps(run)
        except _Stopped:
            return True

    def evaluate(self, rows: Rows, sample_weight: npt.NDArray[np.floating] | None = None) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite."""
        return evaluate(self.nets, rows, self._spaces, sample_weight)


def evaluate(
    nets: Sequence[Net],
    rows: Rows,
    spaces: Sequence[Workspaces],
    sample_weight: npt.NDArray[np.floating] | None = None,
) -> Sums:
    """Return the sums over some rows for each net, by as many threads as there are workspaces.

    `sample_weight` are the weights of each net, (N, n_rows), in place of those of the rows.
    """
    found = Sums.unknown(1, len(nets))

    def work(k: int, thread: int, is_stopped: IsStopped) -> None:
        net, own = nets[k], spaces[thread]
        data = (rows if sample_weight is None else replace(rows, sample_weight=sample_weight[k])).data()
        with net.kernel_lock:
            engine = net.built()
            own.lend(engine)
            sums = single.Sums(status=-1)
            try:
                sums = engine.evaluate(data, metrics=compiled_metrics(net), team=_ALONE)
            finally:
                own.take_back(engine, clean=sums.status == OK)
        if sums.status == OK:
            sums.penalty = penalty(net)
            _fill(found, k, [sums])

    run_all(work, len(nets), len(spaces))
    return found


def _fill(found: Sums, k: int, finished: list[single.Sums]) -> None:
    """Write the sums of the finished epochs of a net into its column."""
    n = len(finished)
    found.loss[:n, k] = [sums.loss for sums in finished]
    found.weight[:n, k] = [sums.weight for sums in finished]
    found.penalty[:n, k] = [sums.penalty for sums in finished]
    for m, name in enumerate(METRICS[: len(finished[0].metrics) if finished else 0]):
        getattr(found, name)[:n, k] = [sums.metrics[m] for sums in finished]
