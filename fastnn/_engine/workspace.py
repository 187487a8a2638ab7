"""Buffers and tables for training with one batch size, and the partition of the work: tiles, chunks, shards."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastnn._engine.architecture import NUMBERS_PER_ELEMENT, Architecture, address_of, layer_table
from fastnn._engine.autotune import MAX_EPOCHS, SliceTuner
from fastnn._engine.limits import WORKSPACE_LIMITS, WorkspaceLimits
from fastnn.kernels import ids, tables
from fastnn.kernels.lang.simd import CACHE_LINE, n_lanes
from fastnn.kernels.linalg.microkernel import TILE_ROWS
from fastnn.kernels.nn.dispatch import N_HYPER, N_SCALARS
from fastnn.kernels.nn.rules import keeps_more_than_output
from fastnn.kernels.nn.stochastic import ROW_RANDOMS
from fastnn.kernels.tables import Layout, Plan, Run

NO_ORDER = np.empty(0, np.int64)
NO_NUMBERS = np.empty(0)
NO_ADVERSARY = tables.new_table(tables.Adversary, 0)
NO_RUN = Run(mode=tables.EVALUATE, n_rows=0, epoch_steps=1, loss=0)


def weight_tiles(architecture: Architecture, limits: WorkspaceLimits = WORKSPACE_LIMITS) -> np.ndarray:
    """Cut all weights into tiles; (n_tiles,) `tables.Tile`. A function of these alone.

    Tiles of layers that are not trained come last.
    """
    dtype = architecture.dtype
    v = n_lanes(dtype)
    lds = architecture.leading_dimensions()
    total = sum(
        n_out * ld_in if narrow else n_in * ld_out
        for narrow, (n_in, n_out), (ld_in, ld_out) in zip(
            architecture.narrow(), pairwise(architecture.sizes), pairwise(lds), strict=True
        )
    )
    elements = min(limits.max_tile_elements, total // limits.min_tiles)
    widest = limits.max_tile_row_bytes // dtype.itemsize
    offsets, _ = tables.param_offsets(architecture.sizes, dtype)
    tiles = []
    for k, narrow in enumerate(architecture.narrow()):
        n_in, n_out = architecture.sizes[k : k + 2]
        height, width = (n_out, tables.padded(n_in, dtype)) if narrow else (n_in, tables.padded(n_out, dtype))
        padded_height = n_out if narrow else tables.padded(n_in, dtype)
        ld = lds[k] if narrow else lds[k + 1]
        w, bias = offsets[k]
        # Full rows with their padding are adjacent in memory, so that they are updated in one run.
        columns = width if width <= widest else widest
        rows = max(v, elements // columns // v * v)
        for column in range(0, width, columns):
            for row in range(0, height, rows):
                n_columns = min(columns, width - column)
                n_rows = min(rows, padded_height - row)
                if row > 0:
                    bias_column, n_bias = 0, 0
                elif narrow:
                    bias_column, n_bias = 0, tables.padded(n_out, dtype) if column == 0 else 0
                else:
                    bias_column, n_bias = column, n_columns
                tiles.append((
                    k, row, min(n_rows, height - row), n_rows, column, n_columns, ld, w + row * ld + column,
                    bias_column, n_bias, bias + bias_column,
                ))  # fmt: skip
    trained = architecture.trained_layers()
    tiles.sort(key=lambda tile: tile[0] not in trained)  # stable: keeps the order within both groups
    table = tables.new_table(tables.Tile, len(tiles))
    table[:] = tiles
    return table


def tile_ranges(tiles: np.ndarray, n_threads: int) -> np.ndarray:
    """Return the first tile of each thread, with about equal numbers of weights; (n_threads + 1,) int64."""
    cost = tiles["padded_rows"] * tiles["columns"]
    middle = np.cumsum(cost) - cost / 2
    bounds = np.searchsorted(middle, cost.sum() * np.arange(n_threads + 1) / n_threads)
    bounds[0], bounds[-1] = 0, len(tiles)
    return bounds.astype(np.int64)


def batch_tile_rows(
    rows: int, bytes_per_row: int, n_threads: int, multiple: int, limits: WorkspaceLimits = WORKSPACE_LIMITS
) -> int:
    """Return the rows per batch tile: about the size of the caches, the number of tiles a multiple of `n_threads`."""
    most = min(limits.max_batch_tile, max(limits.min_batch_tile, limits.batch_tile_bytes // bytes_per_row))
    n_tiles = tables.round_up(-(-rows // most), n_threads)
    return tables.round_up(-(-rows // n_tiles), multiple)


class Arena:
    """Offsets in one aligned array that is allocated after all of them are known."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.end = 0

    def take(self, n: int) -> int:
        """Reserve `n` elements and return the offset of the first."""
        start = self.end
        self.end += tables.round_up(n, CACHE_LINE // self.dtype.itemsize)
        return start

    def zeros(self) -> np.ndarray:
        """Allocate the array, filled with zeros."""
        return tables.aligned_zeros(self.end, self.dtype)


def count_shards(architecture: Architecture, batch: int, limits: WorkspaceLimits = WORKSPACE_LIMITS) -> int:
    """Parts that each batch is cut into, each with a gradient of its own; 0 where that does not pay.

    Without shards all threads share the rows of a batch, and then the weights: each activation is read by all
    threads, and its cache line is transferred between cores, which dominates for small nets. With shards one thread
    processes a shard from its rows to its gradient, and only gradients are exchanged. The result is a function of
    the shapes alone, because the sum over shards is rounded differently from the sum over rows.
    """
    n_shards = min(limits.max_shards, batch // limits.min_shard_rows)
    if n_shards < 2:
        return 0
    _, size = tables.param_offsets(architecture.sizes, architecture.dtype)
    activations = batch * 2 * sum(architecture.leading_dimensions())
    return n_shards if 2 * n_shards * size <= activations else 0


def take_rounded_weights(arena: Arena, architecture: Architecture, layers: np.ndarray) -> None:
    """Reserve the rounded copies of all W, and write their offsets to the table of layers."""
    per = NUMBERS_PER_ELEMENT[architecture.rounded_dtype]
    for layer, narrow in zip(layers, architecture.narrow(), strict=True):
        if narrow:
            size = layer["n_out"] * layer["ld_rounded_in"]
        else:  # with the rows of padding
            size = tables.padded(layer["n_in"], architecture.dtype) // per * layer["ld_out"]
        layer["rounded_w"] = arena.take(int(size))


class Workspace:
    """Buffers for training or evaluating with one batch size: `work` and, for each number of threads, a Plan."""

    def __init__(
        self, architecture: Architecture, batch: int, n_threads: int, *, gradients: bool = True, shards: bool = True,
        dropout: bool = False, to_inputs: bool = False, keep_sums: bool = False,
        limits: WorkspaceLimits = WORKSPACE_LIMITS,
    ) -> None:  # fmt: skip
        dtype = architecture.dtype
        lds = architecture.leading_dimensions()
        self.bytes_per_row = 2 * sum(lds) * dtype.itemsize
        self.batch = batch
        self.limits = limits
        # Rows are processed in blocks of one vector of lanes (see kernels.linalg.gemm).
        self.block = tables.round_up(TILE_ROWS, n_lanes(dtype))
        self.n_shards = count_shards(architecture, batch, limits) if gradients and shards else 0
        self.shard_rows = tables.round_up(-(-batch // self.n_shards), self.block) if self.n_shards else 0
        if self.n_shards:
            self.chunk = min(self.shard_rows, limits.shard_chunk)
            rows = n_threads * self.chunk
        else:
            self.chunk = min(batch, max(limits.min_chunk, limits.chunk_bytes // self.bytes_per_row))
            if architecture.mixed and self.chunk < batch:
                self.chunk = tables.round_up(self.chunk, 2)  # no pair of rows lies in two chunks
            rows = tables.round_up(self.chunk, self.block)
        self.layers = layer_table(architecture, training=True)
        self.loss_function = address_of(architecture.loss_function)
        self.tiles = weight_tiles(architecture, limits)
        self.progress = tables.new_table(tables.Progress, 1)
        self.totals = tables.new_table(tables.Totals, 1)
        self.epoch_totals = tables.new_table(tables.Totals, MAX_EPOCHS)
        self.hyper = np.zeros(N_HYPER)
        self.scalars = np.zeros(N_SCALARS)
        self.metrics = np.full(tables.N_METRICS, ids.NO_METRIC, np.int64)
        trained = architecture.trained_layers()
        self.n_trained = int(np.isin(self.tiles["layer"], trained).sum())
        self.first_trained = min(trained, default=architecture.n_layers)
        self.penalties = np.zeros(len(self.tiles))
        self.squares = np.zeros(len(self.tiles))

        arena = Arena(dtype)
        self.zeros = arena.take(max(lds))
        self.row_loss = arena.take(rows)
        self.metric_length = rows
        self.row_metric = arena.take(tables.N_METRICS * rows)
        self.target = arena.take(rows * lds[-1])
        self.loss_parameters = arena.take(lds[-1])
        inputs = [arena.take(rows * ld) for ld in lds]
        self.layers["input"] = inputs[:-1]
        self.layers["output"] = inputs[1:]
        self.layers["delta"] = [arena.take(rows * ld) for ld in lds[1:]]
        for k in range(architecture.n_layers):
            if keep_sums or (gradients and keeps_more_than_output(self.layers["activation"][k])):
                self.layers["preactivation"][k] = arena.take(rows * lds[k + 1])
            if dropout and self.layers["dropout"][k]:
                self.layers["mask"][k] = arena.take(rows * lds[k])
                if k:  # the layer below needs its unmasked output for its derivative
                    self.layers["input"][k] = arena.take(rows * lds[k])
        # Derivatives by the net's input: no training step computes them but one with an adversary.
        self.input_delta = arena.take(rows * lds[0]) if to_inputs else -1
        self.moves = arena.take(rows * lds[0]) if to_inputs else -1
        for k in range(0 if to_inputs else 1, architecture.n_layers):
            if architecture.narrow()[k] or architecture.mixed:
                continue
            n_out = tables.padded(architecture.sizes[k + 1], dtype)
            self.layers["wt"][k] = arena.take(n_out * lds[k])
        gradient = self.tiles["padded_rows"] * self.tiles["columns"] + self.tiles["n_bias"]
        lanes = n_lanes(dtype)
        self.scratch_size = tables.round_up(
            max(int(gradient.max()), 2 * lanes * lanes + lanes, ROW_RANDOMS, lds[-1]),
            CACHE_LINE // dtype.itemsize,
        )
        self.scratch = arena.take(n_threads * self.scratch_size)
        _, size = tables.param_offsets(architecture.sizes, dtype)
        self.shard_grad = arena.take(self.n_shards * size)
        self.shard_totals = tables.new_table(tables.Totals, self.n_shards)
        self.work = arena.zeros()
        self.rounded = self._take_rounded(architecture, rows, gradients=gradients, to_inputs=to_inputs)
        n_out = architecture.sizes[-1]
        self.work[self.loss_parameters : self.loss_parameters + n_out] = architecture.loss_parameters
        self.max_threads = n_threads
        self._plans: dict[int, Plan] = {}
        self._paces: dict[int, SliceTuner] = {}

    def _take_rounded(
        self, architecture: Architecture, rows: int, *, gradients: bool, to_inputs: bool
    ) -> np.ndarray | None:
        """Return the memory of `State.rounded`, and write the offsets to the table of layers."""
        if not architecture.mixed:
            return None
        arena, layers = Arena(architecture.rounded_dtype), self.layers
        per = NUMBERS_PER_ELEMENT[architecture.rounded_dtype]
        take_rounded_weights(arena, architecture, layers)
        rows = tables.round_up(rows, 2)
        for k, layer in enumerate(layers):
            layer["rounded_input"] = arena.take(rows * int(layer["ld_rounded_in"]))
            if gradients:
                # An odd last row of W^T is padded.
                n_out = tables.padded(layer["n_out"] + 1, architecture.dtype)
                layer["rounded_wt"] = arena.take(n_out // per * int(layer["ld_in"])) if k or to_inputs else -1
                layer["rounded_delta"] = arena.take(rows * int(layer["ld_rounded_out"]))
                layer["rounded_input_rows"], layer["rounded_delta_rows"] = (
                    (arena.take(rows // per * int(layer["ld_in"])), arena.take(rows // per * int(layer["ld_out"])))
                    if per > 1
                    else (layer["rounded_input"], layer["rounded_delta"])
                )
        return arena.zeros()

    def pace(self, n_threads: int) -> SliceTuner:
        """Return the tuner of steps with at most `n_threads` threads, which keeps its timings between runs."""
        if n_threads not in self._paces:
            self._paces[n_threads] = SliceTuner(n_threads)
        return self._paces[n_threads]

    def layout(self, n_threads: int) -> Layout:
        """Return the partition of the work for a number of threads, and the offsets of the buffers."""
        sharing = 1 if self.n_shards else n_threads  # threads that share a chunk
        return Layout(
            n_threads=n_threads,
            batch=self.batch,
            chunk=self.chunk,
            batch_tile=batch_tile_rows(self.chunk, self.bytes_per_row, sharing, self.block, self.limits),
            shards=self.n_shards,
            shard_rows=self.shard_rows,
            trained_tiles=self.n_trained,
            first_trained=self.first_trained,
            constrained=bool(self.layers["max_norm"].any()),
            loss_function=self.loss_function,
            zeros=self.zeros,
            row_loss=self.row_loss,
            row_metric=self.row_metric,
            metric_length=self.metric_length,
            target=self.target,
            loss_parameters=self.loss_parameters,
            scratch=self.scratch,
            scratch_size=self.scratch_size,
            shard_grad=self.shard_grad,
            input_delta=self.input_delta,
            moves=self.moves,
        )

    def plan(self, n_threads: int) -> Plan:
        """Return the tables for a number of threads; the caller replaces `run`, `end_step` and the run's arrays."""
        if n_threads not in self._plans:
            self._plans[n_threads] = Plan(
                layout=self.layout(n_threads),
                run=NO_RUN,
                end_step=0,
                layers=self.layers,
                tiles=self.tiles,
                tile_ranges=tile_ranges(self.tiles[: self.n_trained], n_threads),
                metrics=self.metrics,
                progress=self.progress,
                totals=self.totals,
                epoch_totals=self.epoch_totals,
                shard_totals=self.shard_totals,
                meetings=np.zeros(n_threads * tables.MEETING_STRIDE, np.int64),
                penalties=self.penalties,
                squares=self.squares,
                order=NO_ORDER,
                step_rates=NO_NUMBERS,
                step_losses=NO_NUMBERS,
                step_penalties=NO_NUMBERS,
                hyper=self.hyper,
                scalars=self.scalars,
                mixing=NO_NUMBERS,
                adversary=NO_ADVERSARY,
            )
        return self._plans[n_threads]

    def begin(self, metrics: tuple[int, ...]) -> None:
        """Reset progress and sums, and set the metrics of a run."""
        self.metrics[:] = ids.NO_METRIC
        self.metrics[: len(metrics)] = metrics
        self.progress[:] = 0
        self.totals[:] = 0
        self.penalties[:] = 0.0
