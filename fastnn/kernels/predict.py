"""Inference: the forward pass alone, over tiles of rows that need no barrier between them."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.batch import copy_row, forward
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import BATCH_TILE, INPUT, LD_IN, LD_OUT, N_IN, N_OUT, N_THREADS, OUTPUT
from fastnn.kernels.simd import at


@kernel
def predict(state: Any, plan: Any, features: Any, outputs: Any, thread: int) -> None:
    """Outputs of the net for all rows of `features`.

    Parameters
    ----------
    state, plan : State, Plan
        See `layout`; `work` holds BATCH_TILE rows a thread.
    features : (n, I), read-only
    outputs : (n, O)
        Overwritten.
    thread : int
        Number of the calling thread; each takes its share of the tiles.
    """
    layers = plan.layers
    last = layers.shape[0] - 1
    n_threads = plan.settings[N_THREADS]
    tile_rows = plan.settings[BATCH_TILE]
    n = features.shape[0]
    n_in = layers[0, N_IN]
    n_out = layers[last, N_OUT]
    place = thread * tile_rows
    n_tiles = (n + tile_rows - 1) // tile_rows
    for tile in range(thread * n_tiles // n_threads, (thread + 1) * n_tiles // n_threads):
        row = tile * tile_rows
        rows = min(tile_rows, n - row)
        for r in range(rows):
            copy_row(
                at(features, (row + r) * n_in), at(state.work, layers[0, INPUT] + (place + r) * layers[0, LD_IN]), n_in
            )
        forward(state, plan, place, rows)
        for r in range(rows):
            copy_row(
                at(state.work, layers[last, OUTPUT] + (place + r) * layers[last, LD_OUT]),
                at(outputs, (row + r) * n_out),
                n_out,
            )
