"""Predictions: buffers, tables and a crew of helpers, and no more Python than there must be."""

from __future__ import annotations

import time

import numpy as np

from fastnn._data.rows import readonly
from fastnn._engine.architecture import Architecture, layer_table
from fastnn._engine.inference_workers import InferenceWorkers
from fastnn._engine.workspace import MAX_BATCH_TILE, Arena, batch_tile_rows
from fastnn.kernels import tables
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.linalg.microkernel import TILE_ROWS
from fastnn.kernels.loop.predict import predict as predict_kernel

#: Operations of a prediction from which on helpers join in if they are awake (some 5 us of one core), are woken (50),
#: and are waited for (200), for so many rounds of spinning (some 100 us).
WORK_FOR_A_WORKER, WORK_FOR_THREADS, WORK_TO_WAIT_FOR = 500_000, 5_000_000, 20_000_000
WAIT_FOR_WORKERS = 5_000
#: Operations after which the interpreter may look up (some 20 ms of one core).
WORK_PER_SLICE = 2_000_000_000
#: Predictions that follow each other within so many seconds are a series, for which helpers are kept awake.
SERIES = 0.001
#: Rows whose arithmetic takes as long as it takes to read the weights.
ROWS_PER_WEIGHT_READ = 3


class InferencePlan:
    """What predictions need: buffers, tables and a crew.

    Parameters
    ----------
    architecture : Architecture
    params : (P,)
    n_threads : most threads that work together
    """

    def __init__(self, architecture: Architecture, params: np.ndarray, n_threads: int) -> None:
        dtype = architecture.dtype
        lanes = n_lanes(dtype)
        lds = architecture.leading_dimensions()
        self.n_threads = n_threads
        table = layer_table(architecture, training=False)
        block = tables.round_up(TILE_ROWS, lanes)
        tile_rows = batch_tile_rows(MAX_BATCH_TILE, 2 * max(lds) * dtype.itemsize, 1, block)
        arena = Arena(dtype)
        arena.take(n_threads * lanes * lanes)  # scratch comes first
        buffers = [arena.take(n_threads * tile_rows * ld) for ld in lds]
        table["input"] = buffers[:-1]
        table["output"] = buffers[1:]
        self._net = (params, table, arena.zeros())
        self._tile_rows = tile_rows
        self._n_out = architecture.sizes[-1]
        self._dtype = dtype
        self._flops_per_row = architecture.flops_per_row(training=False)
        # A helper that came too late joins in at the next slice, and Ctrl-C is heard.
        self._slice_rows = tables.round_up(max(1, WORK_PER_SLICE // self._flops_per_row), tile_rows)
        net, none = self._net, (readonly(np.empty((0, 0), dtype)), np.empty((0, 0), dtype))
        self._crew = InferenceWorkers(
            n_threads - 1, lambda box, number: predict_kernel(*net, *none, tile_rows, box, n_threads - 1, number)
        )
        self._last = 0.0

    def __call__(self, features: np.ndarray) -> np.ndarray | None:
        """Outputs of the net; None where a feature is NaN or infinite.

        Small predictions are done by the calling thread, with no more Python than there must be.
        """
        n = len(features)
        outputs = np.empty((n, self._n_out), self._dtype)
        features = readonly(features)
        if n <= self._slice_rows:
            return outputs if self._run(features, outputs, n) else None
        for first in range(0, n, self._slice_rows):
            part = slice(first, first + self._slice_rows)
            if not self._run(features[part], outputs[part], self._slice_rows):
                return None
        return outputs

    def _run(self, features: np.ndarray, outputs: np.ndarray, n: int) -> bool:
        helpers = 0
        work = self._flops_per_row * max(n, ROWS_PER_WEIGHT_READ)
        if work >= WORK_FOR_A_WORKER and self.n_threads > 1 and not JIT_DISABLED:
            helpers = self.n_threads - 1
            self._call_workers(work)
        params, layers, buffers = self._net
        return predict_kernel(
            params, layers, buffers, features, outputs, self._tile_rows, self._crew.box, helpers, -1
        )

    def _call_workers(self, work: int) -> None:
        """Wake sleeping helpers for work that is worth it, or for what seems to become a series."""
        now = time.perf_counter()
        if self._crew.is_asleep():
            if work >= WORK_FOR_THREADS:
                self._crew.wake(WAIT_FOR_WORKERS if work >= WORK_TO_WAIT_FOR else 0)
            elif now - self._last < SERIES:
                self._crew.wake(0)
        self._last = now
