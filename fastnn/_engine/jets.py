"""First and second derivatives of a net along directions, and gradients of losses of them: buffers, threads, calls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastnn._data.rows import as_data, readonly
from fastnn._engine.engine import Engine
from fastnn._engine.limits import WORK_FOR_THREADS, WORKSPACE_LIMITS
from fastnn._engine.output_gradient import KEPT_BYTES
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_RUN, Workspace
from fastnn.kernels import tables
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.linalg.microkernel import TILE_ROWS
from fastnn.kernels.loop.jets import backward_jets, forward_jets
from fastnn.kernels.tables import Plan, State

#: Rows per chunk at least, and at most where nothing is kept for a way back.
CHUNK_ROWS = 1024

_NO_LABELS = np.empty(0, np.int64)


@dataclass(eq=False)
class JetPass:
    """A way forward, for the way back.

    Attributes
    ----------
    features : ndarray, (n, I)
    directions : ndarray, (k, n, I)
        Directions of each row.
    params : ndarray, (P,)
        The parameters that were used.
    outputs, first, second : ndarray, (n, O), (k, n, O), (k, n, O)
        Outputs and their derivatives along the directions; `second` is (0, 0, 0) where it was not computed.
    """

    features: np.ndarray
    directions: np.ndarray
    params: np.ndarray
    outputs: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def order(self) -> int:
        """1 for first derivatives, 2 for second ones, too."""
        return 2 if self.second.size else 1


class Jets:
    """Derivatives along directions of an engine's net, whose activations must be smooth.

    Calls must not overlap. Between the ways forward and back there may be others: then the rows are computed again.

    Parameters
    ----------
    engine : Engine
    team : ThreadTeam
    """

    def __init__(self, engine: Engine, team: ThreadTeam) -> None:
        self._engine = engine
        self._team = team
        self._space: Workspace | None = None
        self._blocks = 0
        self._kept: JetPass | None = None  # whose rows are in the buffers
        self._none = np.empty(0, engine.architecture.dtype)

    def forward(self, features: np.ndarray, directions: np.ndarray, params: np.ndarray, *, order: int) -> JetPass:
        """Compute the outputs of some rows and their derivatives along directions (k, n, I)."""
        count, n = directions.shape[:2]
        n_out, dtype = self._engine.architecture.sizes[-1], features.dtype
        shape = (count, n, n_out)
        made = JetPass(
            features, directions, params, np.empty((n, n_out), dtype), np.empty(shape, dtype),
            np.empty(shape if order > 1 else (0, 0, 0), dtype),
        )  # fmt: skip
        self._kept = None
        space, plan, stride = self._plan(made)
        data = as_data(features, np.empty((0, n_out), dtype), _NO_LABELS, self._none)
        self._team.run(
            forward_jets, self._state(made, space), plan, data, readonly(directions), order, stride, made.outputs,
            made.first, made.second, n_threads=plan.layout.n_threads,
        )  # fmt: skip
        if stride >= n:
            self._kept = made
        return made

    def backward(
        self, done: JetPass, v: np.ndarray, first: np.ndarray, second: np.ndarray, *, params: bool, to_input: bool
    ) -> np.ndarray:
        """Compute the gradient by the parameters in the engine's buffer, if wanted, and return that by the inputs.

        `v`, `first` and `second` are the derivatives of the loss by those of the pass; the result is (n, I), or (0, 0).
        """
        space, plan, stride = self._plan(done)
        result = np.empty_like(done.features) if to_input else np.empty((0, 0), done.features.dtype)
        data = as_data(done.features, v, _NO_LABELS, self._none)
        again, self._kept = self._kept is not done, None
        self._team.run(
            backward_jets, self._state(done, space), plan, data, readonly(done.directions), done.order, stride,
            readonly(first), readonly(second), again, space.input_delta, params, result,
            n_threads=plan.layout.n_threads,
        )  # fmt: skip
        return result

    def second(self, features: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return outputs and their first and second derivatives along u (n, I), each (n, O)."""
        done = self.forward(features, u[None], self._engine.final_params, order=2)
        return done.outputs, done.first[0], done.second[0]

    def hessian_product(self, features: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the sum over outputs o of v_o H_o u for each row, (n, I)."""
        result = np.empty_like(features)
        params = self._engine.final_params
        step = self._rows(2)
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            done = self.forward(features[part], u[None, part], params, order=1)
            none = np.empty((0, 0, 0), features.dtype)
            zeros = np.zeros_like(done.outputs)
            result[part] = self.backward(done, zeros, v[None, part], none, params=False, to_input=True)
        return result

    def _rows(self, blocks: int) -> int:
        """Return the most rows that are kept, for a number of blocks of as many rows."""
        architecture = self._engine.architecture
        bytes_per_row = 3 * blocks * sum(architecture.leading_dimensions()) * architecture.dtype.itemsize
        return max(CHUNK_ROWS, KEPT_BYTES // bytes_per_row)

    def _plan(self, done: JetPass) -> tuple[Workspace, Plan, int]:
        """Return the buffers and the tables for a pass, and the rows per chunk."""
        count, n = done.directions.shape[:2]
        blocks = 1 + count * done.order
        architecture = replace(self._engine.architecture, fused_output=False, mixed=False)
        lanes = tables.round_up(TILE_ROWS, n_lanes(architecture.dtype))
        stride = tables.round_up(min(n, self._rows(blocks)), lanes)
        rows = blocks * stride
        space = self._space
        if space is None or space.batch != rows or self._blocks != blocks:
            self._space = None  # before the new one takes memory
            space = self._space = Workspace(
                architecture, rows, self._team.n_threads, shards=False, to_inputs=True, keep_sums=True,
                limits=replace(WORKSPACE_LIMITS, min_chunk=rows),
            )  # fmt: skip
            self._blocks = blocks  # the input's block of second derivatives is zero, and must be in the same place
        enough = self._engine.architecture.flops_per_row(training=False) * n * blocks >= WORK_FOR_THREADS
        n_threads = self._team.start(self._team.n_threads if enough else 1)
        return space, space.plan(n_threads)._replace(run=NO_RUN._replace(mode=tables.GRADIENT)), stride

    def _state(self, done: JetPass, space: Workspace) -> State:
        return State(done.params, self._none, self._engine.gradient_buffer(), space.work)
