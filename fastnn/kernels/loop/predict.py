"""Inference: the forward pass alone, by one thread or by a crew that shares rows or columns.

A small prediction is over in the time that it takes to wake a thread. So the helpers of a crew stay in compiled code
for a while after each one, looking at a box (an array of int64) in which the calling thread leaves what to do:
they begin 0.1 us later, without the interpreter. A helper that is left alone goes to sleep (see `crew`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.lang.atomics import atomic_load, atomic_store, compare_and_swap, cpu_pause, yield_cpu
from fastnn.kernels.lang.barrier import SPINS, SYNC_SIZE, barrier
from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import address, at, lanes, pointer_to
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import nothing
from fastnn.kernels.loop.forward_backward import copy_row, forward, whole_vectors
from fastnn.kernels.maths.isfinite import is_finite_run
from fastnn.kernels.nn.dispatch import activate, is_zero_at_zero, works_on_rows
from fastnn.kernels.nn.softmax import clear_padding
from fastnn.kernels.tables import (
    ACTIVATION,
    ALPHA,
    BIAS,
    FUNCTION,
    INPUT,
    LD_IN,
    LD_OUT,
    N_IN,
    N_OUT,
    NARROW,
    OUTPUT,
    W,
)

# Entries of the box; it begins with the counters of a barrier.
FEATURES = SYNC_SIZE  # addresses of the arrays, and their number of rows
OUTPUTS = SYNC_SIZE + 1
ROWS = SYNC_SIZE + 2
WAIT = SYNC_SIZE + 3  # rounds that the caller waits for helpers which are on their way
HELPERS = SYNC_SIZE + 8  # a cache line a helper:
STATE = 0
RANK = 1  # number in the team of this prediction, from 1
TEAM = 2  # size of that team
FINITE = 3  # whether the helper's share of the features is finite
HELPER_SIZE = 8

# States of a helper.
ASLEEP = 0
WAKING = 1
READY = 2
TAKEN = 3
GO = 4

#: Rounds (some 200 us) that a helper looks at the box before it goes to sleep.
PATIENCE = 10_000


@device_function
def rows_of(params: Any, layers: Any, layer_numbers: Any, work: Any, features: Any, outputs: Any, n: int,
            tile_rows: int, n_threads: int, thread: int) -> bool:  # fmt: skip
    """Outputs of the thread's share of the rows; returns whether its features are finite."""
    last = layers.shape[0] - 1
    n_in = layers[0, N_IN]
    ld_in = layers[0, LD_IN]
    n_out = layers[last, N_OUT]
    ld_out = layers[last, LD_OUT]
    v = lanes(features)
    scratch = at(work, thread * v * v)
    place = thread * tile_rows
    # Features are read where they are, unless vectors would reach beyond their end, or rows share cache sets.
    copied = layers[0, NARROW] or ld_in > whole_vectors(n_in, v)
    step = max(v, min(tile_rows, whole_vectors((n + n_threads - 1) // n_threads, v)))
    n_tiles = (n + step - 1) // step
    for tile in range(thread * n_tiles // n_threads, (thread + 1) * n_tiles // n_threads):
        row = tile * step
        rows = min(step, n - row)
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
        forward(params, layers, layer_numbers, work, x, ld_x, place, rows, scratch, np.uint64(0), 0)
        y = at(work, layers[last, OUTPUT] + place * ld_out)
        for r in range(rows):
            copy_row(at(y, r * ld_out), at(outputs, (row + r) * n_out), n_out)
    return True


@device_function
def columns_of(params: Any, layers: Any, layer_numbers: Any, work: Any, features: Any, outputs: Any, n: int,
               box: Any, n_threads: int, thread: int) -> bool:  # fmt: skip
    """Outputs of some few rows, of which each thread computes a share of the columns of each wide layer.

    For nets whose first layer is not narrow; returns whether the features are finite.
    """
    x = features
    ld_x = layers[0, N_IN]
    v = lanes(features)
    # All go through all layers, whatever they find: they wait for each other after each.
    good = is_finite_run(x, n * ld_x)
    for k in range(layers.shape[0]):
        n_out = layers[k, N_OUT]
        ld_out = layers[k, LD_OUT]
        code = layers[k, ACTIVATION]
        alpha = layer_numbers[k, ALPHA]
        w = at(params, layers[k, W])
        bias = at(params, layers[k, BIAS])
        z = at(work, layers[k, OUTPUT])
        columns = whole_vectors(n_out, v)
        runs = (columns + 4 * v - 1) // (4 * v)
        if layers[k, NARROW] or runs < n_threads or works_on_rows(code):
            if thread == 0:
                forward(
                    params, layers[k : k + 1], layer_numbers[k : k + 1], work, x, ld_x, 0, n, at(work, 0),
                    np.uint64(0), 0,
                )  # fmt: skip
        else:
            begin = thread * runs // n_threads * 4 * v
            end = min(columns, (thread + 1) * runs // n_threads * 4 * v)
            gemm(
                x, ld_x, 1, at(w, begin), ld_out, at(bias, begin), 0, at(z, begin), ld_out, n, end - begin,
                layers[k, N_IN], nothing(w), nothing(w),
            )  # fmt: skip
            for r in range(n):
                part = at(z, r * ld_out + begin)
                activate(code, alpha, layers[k, FUNCTION], part, part, end - begin)
            if not is_zero_at_zero(code) and end == columns:
                clear_padding(z, ld_out, n, n_out)
        barrier(box, n_threads, k + 1)
        x = z
        ld_x = ld_out
    if thread == 0:
        n_out = layers[layers.shape[0] - 1, N_OUT]
        for r in range(n):
            copy_row(at(x, r * ld_x), at(outputs, r * n_out), n_out)
    return good


@device_function
def share_of(params: Any, layers: Any, layer_numbers: Any, work: Any, features: Any, outputs: Any, n: int,
             tile_rows: int, box: Any, n_threads: int, thread: int) -> bool:  # fmt: skip
    """Do the thread's share, of rows or of columns."""
    if n_threads > 1 and n < n_threads * lanes(features) and not layers[0, NARROW]:
        return columns_of(params, layers, layer_numbers, work, features, outputs, n, box, n_threads, thread)
    return rows_of(params, layers, layer_numbers, work, features, outputs, n, tile_rows, n_threads, thread)


@device_function
def call_helpers(box: Any, n_helpers: int) -> int:
    """Take those helpers that are ready, or become so in time, and let them go; returns their number."""
    n_threads = 1
    waited = 0
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        while atomic_load(box, line + STATE) == WAKING and waited < box[WAIT]:
            waited += 1
            cpu_pause()
        if compare_and_swap(box, line + STATE, READY, TAKEN):
            box[line + RANK] = n_threads
            n_threads += 1
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        if atomic_load(box, line + STATE) == TAKEN:
            box[line + TEAM] = n_threads
            atomic_store(box, line + STATE, GO)
    return n_threads


@device_function
def await_helpers(box: Any, n_helpers: int, good: bool) -> bool:
    """Wait until no helper is at work; returns whether `good` and all they read was finite."""
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        spins = 0
        while atomic_load(box, line + STATE) == GO:
            if spins < SPINS:
                spins += 1
                cpu_pause()
            else:
                yield_cpu()
        if box[line + TEAM] > 0:
            good = good and box[line + FINITE] != 0
            box[line + TEAM] = 0
    return good


@kernel
def predict(params: Any, layers: Any, layer_numbers: Any, work: Any, features: Any, outputs: Any, tile_rows: int,
            box: Any, n_helpers: int, helper: int) -> bool:  # fmt: skip
    """Outputs of the net for all rows of `features`, unless one of them is NaN or infinite; or help with it.

    Parameters
    ----------
    params, layers, layer_numbers : see `layout`
    work : a (V, V) block of scratch for each thread, and then buffers of `tile_rows` rows a thread; overwritten
    features : (n, I), read-only
    outputs : (n, O)
        Overwritten; in part only when False is returned.
    tile_rows : int
        Whole vectors.
    box : int64, as described above; a cache line more than `n_helpers`
    n_helpers : int
        Helpers that may be there.
    helper : int
        -1 for the calling thread. A helper gives its number; `features` and `outputs` are not looked at then.

    Returns
    -------
    bool
        Whether all features are finite; of no meaning to a helper, who returns when it was left alone.
    """
    here = at(params, 0)
    if helper < 0:
        n = features.shape[0]
        n_threads = 1
        if n_helpers > 0:
            box[FEATURES] = address(at(features, 0))
            box[OUTPUTS] = address(at(outputs, 0))
            box[ROWS] = n
            box[0] = 0  # nobody has come to a barrier yet
            n_threads = call_helpers(box, n_helpers)
        good = share_of(
            params, layers, layer_numbers, work, at(features, 0), at(outputs, 0), n, tile_rows, box, n_threads, 0
        )
        return await_helpers(box, n_helpers, good) if n_threads > 1 else good

    line = HELPERS + helper * HELPER_SIZE
    compare_and_swap(box, line + STATE, WAKING, READY)
    rounds = 0
    while True:
        state = atomic_load(box, line + STATE)
        if state == GO:
            good = share_of(
                params, layers, layer_numbers, work, pointer_to(box[FEATURES], here), pointer_to(box[OUTPUTS], here),
                box[ROWS], tile_rows, box, box[line + TEAM], box[line + RANK],
            )  # fmt: skip
            box[line + FINITE] = 1 if good else 0
            atomic_store(box, line + STATE, READY)
            rounds = 0
        elif state == READY and rounds >= PATIENCE and compare_and_swap(box, line + STATE, READY, ASLEEP):
            return True
        else:
            rounds += 1
            cpu_pause()
