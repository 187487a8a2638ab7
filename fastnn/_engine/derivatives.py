"""Derivatives of one net by its inputs: buffers, threads and calls of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastnn._data.rows import as_data
from fastnn._engine.engine import Engine
from fastnn._engine.jets import Jets
from fastnn._engine.limits import INFERENCE_LIMITS, WORK_FOR_THREADS, WORKSPACE_LIMITS
from fastnn._engine.output_gradient import OutputGradient
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_RUN, Workspace, batch_tile_rows
from fastnn.kernels import tables
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.linalg.microkernel import TILE_ROWS
from fastnn.kernels.loop.derivatives import (
    JACOBIAN,
    JACOBIAN_UPWARDS,
    OUTPUTS,
    PRODUCT,
    TANGENT,
    input_derivatives,
    loss_derivatives,
)
from fastnn.kernels.tables import Data, State

_NO_LABELS = np.empty(0, np.int64)


class _RowBuffers:
    """Buffers of some rows per thread, from the inputs to the outputs and back.

    Attributes
    ----------
    space : Workspace
    tile_rows : int
        Most rows that a thread processes together.
    """

    def __init__(self, engine: Engine, n_threads: int, *, with_loss: bool) -> None:
        architecture = replace(engine.architecture, mixed=False)
        dtype = architecture.dtype
        if not with_loss:
            architecture = replace(architecture, fused_output=False)
        bytes_per_row = 2 * sum(architecture.leading_dimensions()) * dtype.itemsize
        block = tables.round_up(TILE_ROWS, n_lanes(dtype))
        self.tile_rows = batch_tile_rows(WORKSPACE_LIMITS.max_batch_tile, bytes_per_row, 1, block)
        rows = n_threads * self.tile_rows
        limits = replace(WORKSPACE_LIMITS, min_chunk=rows)
        self.space = Workspace(architecture, rows, n_threads, shards=False, to_inputs=True, limits=limits)


class Derivatives:
    """Derivatives of the outputs of an engine's net, and of its loss, row by row.

    The parameters are those of predictions. Calls must not overlap: they share buffers and threads.

    Parameters
    ----------
    engine : Engine
    n_threads : int
        Most threads that work together; helpers end after a second without work.

    Attributes
    ----------
    of_loss : OutputGradient
        The same for the parameters, and updates of them.
    jets : Jets
        Second derivatives.
    """

    def __init__(self, engine: Engine, n_threads: int) -> None:
        self.engine = engine
        self._architecture = engine.architecture
        self._team = ThreadTeam(n_threads)
        self.of_loss = OutputGradient(engine, self._team)
        self.jets = Jets(engine, self._team)
        self._buffers: dict[bool, _RowBuffers] = {}
        self._none = np.empty(0, engine.architecture.dtype)

    def is_of(self, engine: Engine) -> bool:
        """Return whether the buffers suit an engine as it is now."""
        return self.engine is engine and self._architecture is engine.architecture

    def hidden(self, features: np.ndarray, layer: int) -> np.ndarray:
        """Return the outputs (n, units) of a layer, counted from 0."""
        n_out = self.engine.architecture.sizes[layer + 1]
        return self._of_outputs(OUTPUTS, features, self._empty(features, n_out), layer, 0, 0)[0]

    def product(self, features: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs y (n, O) and J^T v of each row (n, I), for v (n, O)."""
        architecture = self.engine.architecture
        return self._of_outputs(PRODUCT, features, v, architecture.n_layers - 1, architecture.sizes[0], 1)

    def tangent(self, features: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs y (n, O) and J u of each row (n, O), for u (n, I)."""
        architecture = self.engine.architecture
        return self._of_outputs(TANGENT, features, u, architecture.n_layers - 1, architecture.sizes[-1], 1)

    def jacobian(self, features: np.ndarray) -> np.ndarray:
        """Return J of each row, (n, O, I)."""
        architecture = self.engine.architecture
        n_in, n_out = architecture.sizes[0], architecture.sizes[-1]
        what = JACOBIAN_UPWARDS if n_in < n_out else JACOBIAN
        _, result = self._of_outputs(
            what, features, self._empty(features, n_out), architecture.n_layers - 1, n_out * n_in, min(n_in, n_out)
        )
        return result.reshape(len(features), n_out, n_in)

    def loss_gradient(self, data: Data) -> np.ndarray:
        """Return the derivatives of each row's own loss, times its weight, by the row's features; (n, I)."""
        buffers = self._row_buffers(with_loss=True)
        result = np.empty_like(data.features)
        for part in self._slices(len(result), passes=1):
            some = as_data(
                data.features[part], data.targets[part], data.labels[part], data.sample_weight[part]
            )
            self._run(
                loss_derivatives, buffers, some, buffers.space.input_delta, buffers.tile_rows, result[part], passes=1
            )
        return result

    def _of_outputs(
        self, what: int, features: np.ndarray, v: np.ndarray, top: int, width: int, passes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs of layer `top` and the derivatives by the inputs, (n, `width`)."""
        buffers = self._row_buffers(with_loss=False)
        outputs = self._empty(features, self.engine.architecture.sizes[top + 1])
        result = self._empty(features, width)
        for part in self._slices(len(features), passes):
            self._run(
                input_derivatives, buffers, as_data(features[part], v[part], _NO_LABELS, self._none), what, top,
                buffers.space.input_delta, buffers.tile_rows, outputs[part], result[part], passes=passes,
            )  # fmt: skip
        return outputs, result

    def _empty(self, features: np.ndarray, width: int) -> np.ndarray:
        return np.empty((len(features), width), self.engine.architecture.dtype)

    def _row_buffers(self, *, with_loss: bool) -> _RowBuffers:
        found = self._buffers.get(with_loss)
        if found is None:
            found = self._buffers[with_loss] = _RowBuffers(self.engine, self._team.n_threads, with_loss=with_loss)
        return found

    def _work(self, rows: int, passes: int) -> int:
        """Return the floating-point operations of one way forward and some ways back."""
        return rows * self.engine.architecture.flops_per_row(training=False) * (1 + passes)

    def _slices(self, n: int, passes: int) -> list[slice]:
        """Return parts of n rows, after each of which Python is given control, for Ctrl-C."""
        step = max(1, INFERENCE_LIMITS.work_per_slice // self._work(1, passes))
        return [slice(first, first + step) for first in range(0, n, step)]

    def _run(self, kernel: Callable[..., Any], buffers: _RowBuffers, data: Data, *args: Any, passes: int) -> None:
        enough = self._work(len(data.features), passes) >= WORK_FOR_THREADS
        n_threads = self._team.start(self._team.n_threads if enough else 1)
        run = NO_RUN._replace(mode=tables.GRADIENT, loss=self.engine.architecture.loss)
        plan = buffers.space.plan(n_threads)._replace(run=run)
        state = State(self.engine.final_params, self._none, self._none, buffers.space.work)
        self._team.run(kernel, state, plan, data, *args, n_threads=n_threads)
