"""Gradients of losses that are computed elsewhere, and updates by them: buffers, threads and calls of the kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastnn._data.rows import as_data
from fastnn._engine.architecture import set_penalties
from fastnn._engine.engine import Engine, RunOptions, StepOptions, as_int64
from fastnn._engine.limits import WORK_FOR_THREADS, WORKSPACE_LIMITS
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_RUN, Workspace
from fastnn.kernels import tables
from fastnn.kernels.loop.output_gradient import backward_batch, forward_batch, update_by_gradient
from fastnn.kernels.tables import Plan, State

#: Most bytes of activations that are kept between the ways forward and back; those of more rows are computed again.
KEPT_BYTES = 128 * 1024 * 1024
#: Operations per parameter of an update, for the number of threads.
_UPDATE_WORK = 20

_NO_LABELS = np.empty(0, np.int64)


@dataclass(eq=False)
class Pass:
    """A way forward, for the way back.

    Attributes
    ----------
    features : ndarray, (n, I)
    outputs : ndarray, (n, O)
        The caller's from now on.
    training : bool
        Whether it was one with dropout.
    seed : int
        Of dropout.
    """

    features: np.ndarray
    outputs: np.ndarray
    training: bool
    seed: int


class OutputGradient:
    """The three parts of a step whose loss is computed elsewhere; with the parameters that training changes.

    Calls must not overlap. Between the ways forward and back there may be others: then the rows are computed again.

    Parameters
    ----------
    engine : Engine
    team : ThreadTeam
    """

    def __init__(self, engine: Engine, team: ThreadTeam) -> None:
        self._engine = engine
        self._team = team
        self._spaces: dict[str, Workspace] = {}
        self._kept: Pass | None = None  # whose rows are in the buffers
        self._none = np.empty(0, engine.architecture.dtype)

    def forward(self, features: np.ndarray, *, training: bool = False, seed: int = 0) -> Pass:
        """Compute the outputs; in training with dropout, as the next step by all rows with this seed has it."""
        n_out = self._engine.architecture.sizes[-1]
        made = Pass(features, np.empty((len(features), n_out), features.dtype), training, seed)
        self._kept = None
        space, plan = self._plan(made)
        data = as_data(features, self._no_rows(n_out), _NO_LABELS, self._none)
        self._team.run(
            forward_batch, self._state(space), plan, data, made.outputs, n_threads=plan.layout.n_threads
        )
        if space.chunk >= len(features):
            self._kept = made
        return made

    def backward(self, done: Pass, v: np.ndarray, *, params: bool, to_input: bool) -> np.ndarray:
        """Compute the gradient by the parameters in the engine's buffer, and return that by the inputs, if wanted.

        `v` (n, O) is dE/dy; the result is (n, I), or (0, 0).
        """
        space, plan = self._plan(done)
        result = np.empty_like(done.features) if to_input else self._no_rows(0)
        data = as_data(done.features, v, _NO_LABELS, self._none)
        again, self._kept = self._kept is not done, None
        self._team.run(
            backward_batch, self._state(space), plan, data, again, space.input_delta, params, result,
            n_threads=plan.layout.n_threads,
        )  # fmt: skip
        return result

    def update(self, step: StepOptions, *, seed: int, penalized: bool) -> tuple[int, float]:
        """Make one step by the gradient in the engine's buffer, which is overwritten.

        Returns the status, and the penalty before the step if its gradient is to be added.
        """
        engine = self._engine
        space = self._spaces.get("update")
        if space is None:
            architecture = replace(engine.architecture, fused_output=False, mixed=False)
            space = Workspace(architecture, 1, self._team.n_threads, shards=False)
            space.layers["wt"] = -1  # each way back copies them itself
            self._spaces["update"] = space
        space.begin(())
        set_penalties(space.layers, engine.architecture)  # those of a new regularizer
        engine.begin_updates(space, step)
        enough = engine.params.size * _UPDATE_WORK >= WORK_FOR_THREADS
        n_threads = self._team.start(self._team.n_threads if enough else 1)
        ema_slot = len(engine.slots) - 1 if engine.averaged else -1
        run = engine.settings(step, RunOptions(batch=1, seed=seed), 1, ema_slot=ema_slot)
        plan = space.plan(n_threads)._replace(run=run)
        try:
            status = int(
                self._team.run(
                    update_by_gradient, self._state(space), plan, float(penalized), n_threads=n_threads
                )
            )
        finally:  # KeyboardInterrupt may be raised as soon as the kernel returns
            engine.end_updates(space)
        return status, float(sum(space.penalties))

    def _plan(self, done: Pass) -> tuple[Workspace, Plan]:
        """Return the buffers and the tables for a pass."""
        purpose, n = "train" if done.training else "differentiate", len(done.features)
        space = self._spaces.get(purpose)
        if space is None or space.batch != n:
            self._spaces.pop(purpose, None)  # before the new one takes memory
            architecture = replace(self._engine.architecture, fused_output=False, mixed=False)
            space = Workspace(
                architecture, n, self._team.n_threads, shards=False, dropout=done.training, to_inputs=True,
                limits=replace(WORKSPACE_LIMITS, chunk_bytes=KEPT_BYTES),
            )  # fmt: skip
            self._spaces[purpose] = space
        space.progress["steps_done"] = self._engine.steps_done
        enough = self._engine.architecture.flops_per_row(training=True) * n // 2 >= WORK_FOR_THREADS
        n_threads = self._team.start(self._team.n_threads if enough else 1)
        run = NO_RUN._replace(mode=tables.GRADIENT, n_rows=n, seed=as_int64(done.seed))
        return space, space.plan(n_threads)._replace(run=run)

    def _state(self, space: Workspace) -> State:
        engine = self._engine
        return State(engine.params, engine.slots.reshape(-1), engine.gradient_buffer(), space.work)

    def _no_rows(self, width: int) -> np.ndarray:
        return np.empty((0, width), self._engine.architecture.dtype)
