"""Region 2 of a step: weight tiles, blocks of one layer's W, independent of each other.

The gradient of the tile is summed over the whole chunk into scratch (or into `grad`, when the whole gradient
is wanted first), the penalty's gradient added, the weights updated, and the tile's part of W^T refreshed.
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    fma,
    lanes,
    load,
    prefetch_for_write,
    select_gt,
    sqrt,
    store,
    transpose_block,
)
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import Stream
from fastnn.kernels.nn.optimizers import add_penalty, average, clip, scale, sum_of_squares, update
from fastnn.kernels.tables import (
    BIAS,
    CLIP_VALUE,
    CONSTRAINED,
    DELTA,
    EMA_DECAY,
    EMA_SLOT,
    HAS_BIAS,
    INPUT,
    L1,
    L2,
    LD_IN,
    LD_OUT,
    MAX_NORM,
    N_IN,
    N_OUT,
    NARROW,
    OPTIMIZER,
    SCRATCH,
    SCRATCH_SIZE,
    SHARD_GRAD,
    T_BIAS,
    T_BIAS_END,
    T_COLUMN,
    T_COLUMN_END,
    T_LAYER,
    T_ROW,
    T_ROW_END,
    WT,
    ZEROS,
    W,
)


@device_function
def sum_columns(d: Any, ld: int, rows: int, init: Any, out: Any, n: int) -> None:
    """Overwrite n elements at `out` (whole vectors) with `init` plus the sum over the rows at `d`."""
    v = lanes(d)
    j = 0
    # Four columns of vectors at once: each is a chain of additions that wait for each other.
    while j + 4 * v <= n:
        a = load(at(init, j))
        b = load(at(init, j + v))
        c = load(at(init, j + 2 * v))
        e = load(at(init, j + 3 * v))
        for r in range(rows):
            p = at(d, r * ld + j)
            a = a + load(p)
            b = b + load(at(p, v))
            c = c + load(at(p, 2 * v))
            e = e + load(at(p, 3 * v))
        store(at(out, j), a)
        store(at(out, j + v), b)
        store(at(out, j + 2 * v), c)
        store(at(out, j + 3 * v), e)
        j += 4 * v
    while j < n:
        a = load(at(init, j))
        for r in range(rows):
            a = a + load(at(d, r * ld + j))
        store(at(out, j), a)
        j += v


@device_function
def refresh_transposed(state: Any, plan: Any, tile: int) -> None:
    """Copy the tile's block of W into W^T, where the layer has such a copy."""
    k = plan.tiles[tile, T_LAYER]
    if plan.layers[k, WT] < 0:
        return
    ld = plan.layers[k, LD_OUT]
    ld_t = plan.layers[k, LD_IN]
    w = at(state.params, plan.layers[k, W])
    wt = at(state.work, plan.layers[k, WT])
    v = lanes(w)
    for i in range(plan.tiles[tile, T_ROW], plan.tiles[tile, T_ROW_END], v):
        for j in range(plan.tiles[tile, T_COLUMN], plan.tiles[tile, T_COLUMN_END], v):
            transpose_block(at(w, i * ld + j), ld, at(wt, j * ld_t + i), ld_t)


@device_function
def stride_and_height(plan: Any, k: int) -> Any:
    """Row stride and number of rows of a layer's W as it is stored."""
    if plan.layers[k, NARROW]:
        return plan.layers[k, LD_IN], plan.layers[k, N_OUT]
    return plan.layers[k, LD_OUT], plan.layers[k, N_IN]


@device_function
def gradient_tile(state: Any, plan: Any, tile: int, first: int, rows: int, g: Any, ld_g: int, init: Any,
                  ld_init: int, groups: int) -> None:  # fmt: skip
    """Sum X^T dZ (dZ^T X) over rows of the chunk, from the `first`, for one weight tile.

    Overwrites the block at `g`. Where the update comes next, `groups` is 1, and what it will need is brought near
    while the products run; otherwise it is 0.
    """
    k = plan.tiles[tile, T_LAYER]
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    ld, height = stride_and_height(plan, k)
    narrow = plan.layers[k, NARROW]
    of_rows, ld_rows = plan.layers[k, DELTA if narrow else INPUT], plan.layers[k, LD_OUT if narrow else LD_IN]
    of_columns = plan.layers[k, INPUT if narrow else DELTA]
    place = plan.layers[k, W] + row * ld + column
    size = state.params.size
    gemm(
        at(state.work, of_rows + first * ld_rows + row), 1, ld_rows,
        at(state.work, of_columns + first * ld + column), ld,
        init, ld_init,
        g, ld_g,
        min(plan.tiles[tile, T_ROW_END], height) - row, plan.tiles[tile, T_COLUMN_END] - column, rows,
        Stream(at(state.params, place), ld, 0, groups),
        Stream(at(state.slots, place), ld, size, groups * (state.slots.size // size)),
    )  # fmt: skip


@device_function
def update_run(optimizer: int, rates: Any, most: float, params: Any, slots: Any, size: int, place: int, g: Any,
               n: int) -> bool:  # fmt: skip
    """Update n parameters at `place` with the gradient at `g`, which is clipped to +-most there, if that is above 0."""
    if most > 0.0:
        clip(g, most, n)
    m = at(slots, place)
    return update(optimizer, rates, at(params, place), g, m, at(m, size), at(m, 2 * size), n)


@device_function
def apply_tile(state: Any, plan: Any, tile: int, rates: Any, g: Any, ld_g: int, g_bias: Any) -> bool:
    """Update and W^T of one weight tile, given its gradient; return whether all stayed finite.

    Parameters
    ----------
    g, ld_g : the gradient block, with the penalty's, and its row stride; overwritten where it is clipped
    g_bias : gradient of the tile's part of the bias row, which lies before `g` where it is the whole row
    """
    k = plan.tiles[tile, T_LAYER]
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    ld, height = stride_and_height(plan, k)
    rows = min(plan.tiles[tile, T_ROW_END], height) - row
    columns = plan.tiles[tile, T_COLUMN_END] - column
    optimizer = plan.settings[OPTIMIZER]
    most = plan.numbers[CLIP_VALUE]
    params = at(state.params, 0)
    slots = at(state.slots, 0)
    size = state.params.size
    good = True
    place = plan.layers[k, W] + row * ld + column
    n_bias = plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS]
    has_bias = n_bias > 0 and plan.layers[k, HAS_BIAS] != 0
    if columns == ld and ld_g == ld:
        # Weights in one run; where the whole bias row goes with them, it lies before them, there and here.
        together = has_bias and n_bias == plan.layers[k, LD_OUT]
        before = n_bias if together else 0
        has_bias = has_bias and not together
        start = g_bias if together else g
        good &= update_run(optimizer, rates, most, params, slots, size, place - before, start, before + rows * ld)
    else:
        for i in range(rows):
            good &= update_run(optimizer, rates, most, params, slots, size, place + i * ld, at(g, i * ld_g), columns)
    if has_bias:
        here = plan.layers[k, BIAS] + plan.tiles[tile, T_BIAS]
        good &= update_run(optimizer, rates, most, params, slots, size, here, g_bias, n_bias)
    if plan.settings[CONSTRAINED] == 0:  # else the weights are not final yet
        if plan.settings[EMA_SLOT] >= 0:
            average_tile(state, plan, tile)
        refresh_transposed(state, plan, tile)
    return good


@device_function
def finalize_constrained_tile(state: Any, plan: Any, tile: int) -> None:
    """What follows from constrained weights: their running average, and W^T."""
    if plan.settings[EMA_SLOT] >= 0:
        average_tile(state, plan, tile)
    refresh_transposed(state, plan, tile)


@device_function
def average_tile(state: Any, plan: Any, tile: int) -> None:
    """Move the running average of the tile's weights, and of its part of the bias, towards them."""
    keep = plan.numbers[EMA_DECAY]
    k = plan.tiles[tile, T_LAYER]
    row = plan.tiles[tile, T_ROW]
    ld, height = stride_and_height(plan, k)
    start = plan.settings[EMA_SLOT] * state.params.size
    place = plan.layers[k, W] + row * ld + plan.tiles[tile, T_COLUMN]
    columns = plan.tiles[tile, T_COLUMN_END] - plan.tiles[tile, T_COLUMN]
    for i in range(min(plan.tiles[tile, T_ROW_END], height) - row):
        here = place + i * ld
        average(keep, at(state.params, here), at(state.slots, start + here), columns)
    here = plan.layers[k, BIAS] + plan.tiles[tile, T_BIAS]
    n_bias = plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS]
    average(keep, at(state.params, here), at(state.slots, start + here), n_bias)


@device_function
def constrain_layer(state: Any, plan: Any, k: int, n_threads: int, thread: int) -> None:
    """Shorten the weights of each output of the thread's share to the layer's MAX_NORM.

    N. Srivastava et al., Dropout, 2014, section 5.1.
    """
    most = plan.layer_numbers[k, MAX_NORM]
    w = at(state.params, plan.layers[k, W])
    v = lanes(w)
    if plan.layers[k, NARROW]:
        ld = plan.layers[k, LD_IN]
        n_out = plan.layers[k, N_OUT]
        for o in range(thread * n_out // n_threads, (thread + 1) * n_out // n_threads):
            row = at(w, o * ld)
            length = math.sqrt(sum_of_squares(row, ld))
            if length > most:
                scale(row, most / length, ld)
        return
    ld = plan.layers[k, LD_OUT]
    n_runs = (plan.layers[k, N_OUT] + v - 1) // v
    limit = broadcast(w, most)
    one = broadcast(w, 1.0)
    for run in range(thread * n_runs // n_threads, (thread + 1) * n_runs // n_threads):
        total = broadcast(w, 0.0)
        for i in range(plan.layers[k, N_IN]):
            x = load(at(w, i * ld + run * v))
            total = fma(x, x, total)
        lengths = sqrt(total)
        factor = select_gt(lengths, limit, limit / lengths, one)
        for i in range(plan.layers[k, N_IN]):
            p = at(w, i * ld + run * v)
            store(p, load(p) * factor)


@device_function
def add_penalties(state: Any, plan: Any, tile: int, g: Any, ld_g: int) -> None:
    """Add the penalty's gradient to the block at `g`, and note the tile's share of R in `plan.penalties`."""
    k = plan.tiles[tile, T_LAYER]
    l1 = plan.layer_numbers[k, L1]
    l2 = plan.layer_numbers[k, L2]
    if l1 == 0.0 and l2 == 0.0:
        return
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    ld, height = stride_and_height(plan, k)
    place = plan.layers[k, W] + row * ld + column
    total = 0.0
    for i in range(min(plan.tiles[tile, T_ROW_END], height) - row):
        total += add_penalty(
            l1, l2, at(state.params, place + i * ld), at(g, i * ld_g), plan.tiles[tile, T_COLUMN_END] - column
        )
    plan.penalties[tile] = total


@device_function
def bias_gradient(state: Any, plan: Any, tile: int, first: int, rows: int, init: Any, g_bias: Any) -> None:
    """Sum dZ over rows of the chunk, from the `first`, for the tile's part of the bias; overwrites it at `g_bias`."""
    k = plan.tiles[tile, T_LAYER]
    begin = plan.tiles[tile, T_BIAS]
    ld = plan.layers[k, LD_OUT]
    delta = at(state.work, plan.layers[k, DELTA] + first * ld + begin)
    sum_columns(delta, ld, rows, init, g_bias, plan.tiles[tile, T_BIAS_END] - begin)


@device_function
def fused_tile(state: Any, plan: Any, tile: int, rows: int, rates: Any, thread: int) -> bool:
    """Gradient and update of one weight tile; the gradient never leaves the thread's scratch."""
    columns = plan.tiles[tile, T_COLUMN_END] - plan.tiles[tile, T_COLUMN]
    scratch = at(state.work, plan.settings[SCRATCH] + thread * plan.settings[SCRATCH_SIZE])
    zeros = at(state.work, plan.settings[ZEROS])
    # The scratch begins with the row for the bias.
    block = at(scratch, plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS])
    gradient_tile(state, plan, tile, 0, rows, block, columns, zeros, 0, 1)
    bias_gradient(state, plan, tile, 0, rows, zeros, scratch)
    add_penalties(state, plan, tile, block, columns)
    return apply_tile(state, plan, tile, rates, block, columns, scratch)


@device_function
def stored_tile(state: Any, plan: Any, tile: int, first: int, rows: int, grad: Any, first_chunk: bool) -> None:
    """Gradient of one weight tile into the gradient at `grad`: overwritten by the first chunk, then added to."""
    k = plan.tiles[tile, T_LAYER]
    ld, _ = stride_and_height(plan, k)
    zeros = at(state.work, plan.settings[ZEROS])
    g = at(grad, plan.layers[k, W] + plan.tiles[tile, T_ROW] * ld + plan.tiles[tile, T_COLUMN])
    if first_chunk:
        gradient_tile(state, plan, tile, first, rows, g, ld, zeros, 0, 0)
    else:
        gradient_tile(state, plan, tile, first, rows, g, ld, g, ld, 0)
    g_bias = at(grad, plan.layers[k, BIAS] + plan.tiles[tile, T_BIAS])
    bias_gradient(state, plan, tile, first, rows, zeros if first_chunk else g_bias, g_bias)


@device_function
def sum_of_shards(source: Any, stride: int, n_shards: int, target: Any, n: int) -> None:
    """Overwrite n elements at `target` (whole vectors) with the sum of those at `source`, `stride` apart."""
    v = lanes(source)
    for i in range(0, n, v):
        total = load(at(source, i))
        for s in range(1, n_shards):
            total = total + load(at(source, s * stride + i))
        store(at(target, i), total)


@device_function
def claim_run(p: Any, n: int) -> None:
    """Claim the cache lines of n elements at `p`."""
    for i in range(0, n, lanes(p)):
        prefetch_for_write(at(p, i))


@device_function
def sum_shards_of_tile(state: Any, plan: Any, tile: int, n_shards: int, g: Any, ld_g: int, g_bias: Any) -> None:
    """Add up what the shards found for one weight tile; overwrites the block at `g` and the run at `g_bias`.

    The weights of the tile, which others have read since the last update, are claimed meanwhile.
    """
    k = plan.tiles[tile, T_LAYER]
    ld, height = stride_and_height(plan, k)
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    columns = plan.tiles[tile, T_COLUMN_END] - column
    rows = min(plan.tiles[tile, T_ROW_END], height) - row
    size = state.params.size
    grad = at(state.work, plan.settings[SHARD_GRAD])
    place = plan.layers[k, W] + row * ld + column
    if plan.layers[k, WT] >= 0:
        ld_t = plan.layers[k, LD_IN]
        for j in range(column, column + columns):
            claim_run(at(state.work, plan.layers[k, WT] + j * ld_t + row), rows)
    for i in range(rows):
        here = place + i * ld
        claim_run(at(state.params, here), columns)
        sum_of_shards(at(grad, here), size, n_shards, at(g, i * ld_g), columns)
    begin = plan.tiles[tile, T_BIAS]
    place = plan.layers[k, BIAS] + begin
    sum_of_shards(at(grad, place), size, n_shards, g_bias, plan.tiles[tile, T_BIAS_END] - begin)


@device_function
def sharded_tile(state: Any, plan: Any, tile: int, n_shards: int, rates: Any, thread: int) -> bool:
    """Update one weight tile from the gradients of the shards."""
    columns = plan.tiles[tile, T_COLUMN_END] - plan.tiles[tile, T_COLUMN]
    g_bias = at(state.work, plan.settings[SCRATCH] + thread * plan.settings[SCRATCH_SIZE])
    g = at(g_bias, plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS])
    sum_shards_of_tile(state, plan, tile, n_shards, g, columns, g_bias)
    add_penalties(state, plan, tile, g, columns)
    return apply_tile(state, plan, tile, rates, g, columns, g_bias)


@device_function
def places_in_gradient(state: Any, plan: Any, tile: int) -> Any:
    """Where a tile's block lies in `grad`, its row stride, and where its part of the bias row lies."""
    k = plan.tiles[tile, T_LAYER]
    ld, _ = stride_and_height(plan, k)
    g = at(state.grad, plan.layers[k, W] + plan.tiles[tile, T_ROW] * ld + plan.tiles[tile, T_COLUMN])
    return g, ld, at(state.grad, plan.layers[k, BIAS] + plan.tiles[tile, T_BIAS])


@device_function
def sharded_gradient_tile(state: Any, plan: Any, tile: int, n_shards: int) -> None:
    """Add up the gradients of the shards for one weight tile in `grad`, with the penalty's."""
    g, ld, g_bias = places_in_gradient(state, plan, tile)
    sum_shards_of_tile(state, plan, tile, n_shards, g, ld, g_bias)
    add_penalties(state, plan, tile, g, ld)


@device_function
def update_from_gradient(state: Any, plan: Any, tile: int, rates: Any) -> bool:
    """Update one weight tile from the gradient in `grad`."""
    g, ld, g_bias = places_in_gradient(state, plan, tile)
    add_penalties(state, plan, tile, g, ld)
    return apply_tile(state, plan, tile, rates, g, ld, g_bias)


@device_function
def penalize_stored_tile(state: Any, plan: Any, tile: int) -> None:
    """Add the penalty's gradient to the tile's block of `grad`."""
    g, ld, _ = places_in_gradient(state, plan, tile)
    add_penalties(state, plan, tile, g, ld)


@device_function
def accumulate_grad_norm(state: Any, plan: Any, tile: int) -> None:
    """Note in `plan.squares` the sum of squares of the tile's part of `grad`."""
    k = plan.tiles[tile, T_LAYER]
    _, height = stride_and_height(plan, k)
    g, ld, g_bias = places_in_gradient(state, plan, tile)
    total = 0.0
    if plan.layers[k, HAS_BIAS]:
        total += sum_of_squares(g_bias, plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS])
    for i in range(min(plan.tiles[tile, T_ROW_END], height) - plan.tiles[tile, T_ROW]):
        total += sum_of_squares(at(g, i * ld), plan.tiles[tile, T_COLUMN_END] - plan.tiles[tile, T_COLUMN])
    plan.squares[tile] = total


@device_function
def clipped_tile(state: Any, plan: Any, tile: int, rates: Any, factor: float) -> bool:
    """Update one weight tile from `factor` times the gradient in `grad`, which has the penalty's."""
    k = plan.tiles[tile, T_LAYER]
    _, height = stride_and_height(plan, k)
    g, ld, g_bias = places_in_gradient(state, plan, tile)
    scale(g_bias, factor, plan.tiles[tile, T_BIAS_END] - plan.tiles[tile, T_BIAS])
    for i in range(min(plan.tiles[tile, T_ROW_END], height) - plan.tiles[tile, T_ROW]):
        scale(at(g, i * ld), factor, plan.tiles[tile, T_COLUMN_END] - plan.tiles[tile, T_COLUMN])
    return apply_tile(state, plan, tile, rates, g, ld, g_bias)
