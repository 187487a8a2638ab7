"""Limits by which the engine cuts its work: constants of tuning, passed in so that tests can choose others."""

from __future__ import annotations

from dataclasses import dataclass

#: Floating-point operations from which on waking a second thread pays (50 us of one core).
WORK_FOR_THREADS = 5_000_000
#: Operations from which on starting one for them alone, and ending it, pays (300 us).
WORK_TO_START_THREADS = 30_000_000


@dataclass(frozen=True, kw_only=True)
class WorkspaceLimits:
    """How training is cut into tiles, chunks and shards.

    Parameters
    ----------
    max_tile_elements : int
        Elements per weight tile at most: its gradient (128 KiB in single precision) fits the second-level cache.
    max_tile_row_bytes : int
        Width of a weight tile at most.
    min_tiles : int
        Tiles that the weights are cut into at least, if they are large enough: work for that many threads.
    min_chunk : int
        Rows per chunk of a batch at least, and rows per batch of an evaluation at most.
    chunk_bytes : int
        Activations of a chunk at most, if it has more than `min_chunk` rows.
    max_shards, min_shard_rows : int
        Shards per batch at most, and rows per shard at least.
    shard_chunk : int
        Rows per chunk of a shard at most.
    min_batch_tile, max_batch_tile : int
        Bounds of the rows per batch tile: their activations and deltas stay in the caches, and weights are read once
        for all of them.
    batch_tile_bytes : int
        Activations and deltas of a batch tile at most, within these bounds.

    Notes
    -----
    The limits before `min_batch_tile` are part of the definition of a result, because they decide how sums are
    rounded: those of weight tiles the sums of penalties and of the norm that clipping uses, those of chunks the sums of
    losses and metrics, those of shards the gradients. The last three change the speed and not one bit.
    """

    # These change bits.
    max_tile_elements: int = 32_768
    max_tile_row_bytes: int = 2_048
    min_tiles: int = 16
    min_chunk: int = 1024
    chunk_bytes: int = 1024 * 1024
    max_shards: int = 8
    min_shard_rows: int = 256
    shard_chunk: int = 128
    # These change the speed alone.
    min_batch_tile: int = 64
    max_batch_tile: int = 128
    batch_tile_bytes: int = 512 * 1024


@dataclass(frozen=True, kw_only=True)
class InferenceLimits:
    """How predictions are cut, and from what work on they are shared with other threads; none of these changes a bit.

    Parameters
    ----------
    tile_rows : int
        Rows that pass all layers together, at most: the weights are read once for all of them.
    tile_bytes : int
        Inputs and outputs of a layer for these rows, at most; there are 64 rows at least.
    work_for_a_worker : int
        Floating-point operations of a prediction from which on workers take part that are awake (5 us of one core).
    work_for_threads : int
        Operations from which on sleeping workers are woken (50 us).
    work_to_wait_for : int
        Operations from which on the caller waits for workers that are on their way (200 us).
    wait_for_workers : float
        Seconds for which it waits.
    work_per_slice : int
        Operations of each thread after which Python is given control, for Ctrl-C (20 ms of one core).
    series_seconds : float
        Predictions that follow each other within this time are a series, for which workers are kept awake.
    rows_per_weight_read : int
        Number of rows whose arithmetic takes as long as reading the weights.
    """

    tile_rows: int = 256
    tile_bytes: int = 4 * 1024 * 1024
    work_for_a_worker: int = 500_000
    work_for_threads: int = WORK_FOR_THREADS
    work_to_wait_for: int = 20_000_000
    wait_for_workers: float = 100e-6
    work_per_slice: int = 2_000_000_000
    series_seconds: float = 0.001
    rows_per_weight_read: int = 3


#: The limits in use.
WORKSPACE_LIMITS = WorkspaceLimits()
INFERENCE_LIMITS = InferenceLimits()
