"""Inference: the forward pass alone, over tiles of rows that need no barrier between them."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.batch import copy_row, forward, whole_vectors
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import INPUT, LD_IN, LD_OUT, N_IN, N_OUT, NARROW, OUTPUT
from fastnn.kernels.scan import is_finite_run
from fastnn.kernels.simd import at, lanes


@kernel
def predict(params: Any, layers: Any, layer_numbers: Any, work: Any, features: Any, outputs: Any, tile_rows: int,
            n_threads: int, thread: int) -> bool:  # fmt: skip
    """Outputs of the net for all rows of `features`, unless one of them is NaN or infinite.

    Parameters
    ----------
    params, layers, layer_numbers : see `layout`
    work : a (V, V) block of scratch for each thread, and then buffers of `tile_rows` rows a thread; overwritten
    features : (n, I), read-only
    outputs : (n, O)
        Overwritten; in part only when False is returned.
    tile_rows : int
        Whole vectors.
    n_threads, thread : int
        Number of threads, and of the calling one; each takes its share of the tiles.

    Returns
    -------
    bool
        Whether all features of the thread's share are finite.
    """
    last = layers.shape[0] - 1
    n = features.shape[0]
    n_in = layers[0, N_IN]
    ld_in = layers[0, LD_IN]
    n_out = layers[last, N_OUT]
    ld_out = layers[last, LD_OUT]
    v = lanes(at(work, 0))
    scratch = at(work, thread * v * v)
    place = thread * tile_rows
    # Features are read where they are, unless vectors would reach beyond their end, or rows share cache sets.
    copied = layers[0, NARROW] or ld_in > whole_vectors(n_in, v)
    n_tiles = (n + tile_rows - 1) // tile_rows
    for tile in range(thread * n_tiles // n_threads, (thread + 1) * n_tiles // n_threads):
        row = tile * tile_rows
        rows = min(tile_rows, n - row)
        x = at(features, row * n_in)
        if not is_finite_run(x, rows * n_in):
            return False
        ld_x = n_in
        if copied:
            ld_x = ld_in
            copy = at(work, layers[0, INPUT] + place * ld_in)
            for r in range(rows):
                copy_row(at(x, r * n_in), at(copy, r * ld_in), n_in)
            x = copy
        forward(params, layers, layer_numbers, work, x, ld_x, place, rows, scratch)
        y = at(work, layers[last, OUTPUT] + place * ld_out)
        for r in range(rows):
            copy_row(at(y, r * ld_out), at(outputs, (row + r) * n_out), n_out)
    return True
