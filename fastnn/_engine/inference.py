"""Predictions: buffers, tables and worker threads of one net."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from fastnn._data.rows import readonly
from fastnn._engine.architecture import Architecture, layer_table
from fastnn._engine.inference_workers import InferenceWorkers
from fastnn._engine.limits import INFERENCE_LIMITS, InferenceLimits
from fastnn._engine.workspace import Arena, take_rounded_weights
from fastnn.kernels import tables
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.linalg.microkernel import TILE_ROWS
from fastnn.kernels.loop.predict import BLOCK_DEPTH, BLOCK_WIDTH, FINITE_OUTPUTS, STALE
from fastnn.kernels.loop.predict import predict as predict_kernel


class NotFinite(NamedTuple):
    """Outputs for finite features, of which one is NaN or infinite."""

    outputs: np.ndarray


class InferencePlan:
    """Buffers, tables and worker threads for predictions with one set of parameters.

    Parameters
    ----------
    architecture : Architecture
    params : (P,)
    n_threads : most threads that work together
    limits : from what work on they do
    """

    def __init__(
        self, architecture: Architecture, params: np.ndarray, n_threads: int, limits: InferenceLimits = INFERENCE_LIMITS
    ) -> None:
        dtype = architecture.dtype
        lanes = n_lanes(dtype)
        lds = architecture.leading_dimensions()
        self.n_threads = n_threads
        self._limits = limits
        table = layer_table(architecture, training=False)
        # Whole vectors for narrow layers, and whole tiles of the products: a smaller last tile fetches nothing ahead.
        block = math.lcm(TILE_ROWS, lanes)
        most = max(64, limits.tile_bytes // (2 * max(lds) * dtype.itemsize))
        tile_rows = tables.round_up(min(limits.tile_rows, most), block)
        arena = Arena(dtype)
        arena.take(n_threads * lanes * lanes)  # scratch comes first
        buffers = [arena.take(n_threads * tile_rows * ld) for ld in lds]
        table["input"] = buffers[:-1]
        table["output"] = buffers[1:]
        rounded = None
        if architecture.mixed:
            copies = Arena(architecture.rounded_dtype)
            copies.take(2 * n_threads * BLOCK_DEPTH * BLOCK_WIDTH * lanes)  # blocks come first
            take_rounded_weights(copies, architecture, table)
            of_inputs = architecture.rounded_dimensions()[:-1]
            table["rounded_input"] = [copies.take(n_threads * tile_rows * ld) for ld in of_inputs]
            rounded = copies.zeros()
        self._is_rounded = rounded is not None
        self._net = (params, rounded, table, arena.zeros())
        self._tile_rows = tile_rows
        self._n_out = architecture.sizes[-1]
        self._dtype = dtype
        self._flops_per_row = architecture.flops_per_row(training=False)
        # Between slices late workers take part and KeyboardInterrupt is raised. All threads have as many whole tiles.
        self._of_a_slice = n_threads * tile_rows
        work = limits.work_per_slice * n_threads
        self._slice_rows = tables.round_up(max(1, work // self._flops_per_row), self._of_a_slice)
        net, none = self._net, (readonly(np.empty((0, 0), dtype)), np.empty((0, 0), dtype))
        self._workers = InferenceWorkers(
            n_threads - 1,
            lambda mailbox, number: predict_kernel(*net, *none, tile_rows, mailbox, n_threads - 1, number),
        )
        self._last = -math.inf  # a clock may start at 0

    def __call__(self, features: np.ndarray) -> np.ndarray | NotFinite | None:
        """Return the outputs (n, O) of the net, as `NotFinite` if one is; None if a feature is NaN or infinite.

        Predictions of little work run in the calling thread alone.
        """
        n = len(features)
        if self._is_rounded:
            self._workers.mailbox[STALE] = 1  # the caller may have written to the weights
        outputs = np.empty((n, self._n_out), self._dtype)
        features = readonly(features)
        if n <= self._slice_rows:
            status = self._run(features, outputs, n)
            if status == FINITE_OUTPUTS:
                return outputs
            return NotFinite(outputs) if status else None
        finite = True
        n_slices = -(-n // self._slice_rows)
        slice_rows = tables.round_up(-(-n // n_slices), self._of_a_slice)  # the last one is no short rest
        for first in range(0, n, slice_rows):
            part = slice(first, first + slice_rows)
            status = self._run(features[part], outputs[part], slice_rows)
            self._workers.mailbox[STALE] = 0
            if not status:
                return None
            finite = finite and status == FINITE_OUTPUTS
        return outputs if finite else NotFinite(outputs)

    def _run(self, features: np.ndarray, outputs: np.ndarray, n: int) -> int:
        helpers = 0
        work = self._flops_per_row * max(n, self._limits.rows_per_weight_read)
        if work >= self._limits.work_for_a_worker and self.n_threads > 1 and not JIT_DISABLED:
            helpers = self.n_threads - 1
            self._call_workers(work)
        params, rounded, layers, buffers = self._net
        return predict_kernel(
            params, rounded, layers, buffers, features, outputs, self._tile_rows, self._workers.mailbox, helpers, -1
        )

    def _call_workers(self, work: int) -> None:
        """Start sleeping workers for enough work, or for the second prediction of a series."""
        now = time.perf_counter()
        if self._workers.is_asleep():
            if work >= self._limits.work_for_threads:
                self._workers.notify(self._limits.wait_for_workers if work >= self._limits.work_to_wait_for else 0)
            elif now - self._last < self._limits.series_seconds:
                self._workers.notify(0)
        self._last = now
