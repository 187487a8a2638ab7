"""Region 2 of a step: weight tiles, blocks of one layer's W, independent of each other.

The gradient of the tile is summed over the whole chunk into scratch (or into `grad`, if the whole gradient
is required first), the penalty's gradient added, the weights updated, and the tile's part of W^T refreshed.
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    VECTORS_PER_LINE,
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
from fastnn.kernels.linalg.rounding import round_pairs_of_rows, round_row, round_transposed
from fastnn.kernels.loop.addressing import elements, scratch_of
from fastnn.kernels.nn.dispatch import update
from fastnn.kernels.nn.optimizers import add_penalty, average, clip, scale, sum_of_squares
from fastnn.kernels.tables import Layer, Plan, State, Tile


@device_function
def sum_columns(d: Pointer, ld: int, rows: int, init: Pointer, out: Pointer, n: int) -> None:
    """Overwrite n elements at `out` (whole vectors) with `init` plus the sum over the rows at `d`."""
    v = lanes(d)
    j = 0
    # Four columns of vectors at once, as each is one chain of dependent additions.
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
def refresh_transposed(state: State, plan: Plan, index: int) -> None:
    """Copy the tile's block of W into W^T, if the layer has such a copy; in mixed precision W and W^T, rounded."""
    tile = plan.tiles[index]
    copy_block(state, state.rounded, plan.layers[tile.layer], tile)


@device_function
def copy_block(state: State, rounded: Any, layer: Layer, tile: Tile) -> None:
    """Compute what `refresh_transposed` does."""
    if rounded is not None:
        round_block(at(state.params, tile.offset), rounded, layer, tile)
    elif layer.wt >= 0:
        w = at(state.params, layer.w)
        wt = at(state.work, layer.wt)
        v = lanes(w)
        for i in range(tile.row, tile.row + tile.padded_rows, v):
            for j in range(tile.column, tile.column + tile.columns, v):
                transpose_block(at(w, i * layer.ld_out + j), layer.ld_out, at(wt, j * layer.ld_in + i), layer.ld_in)


@device_function
def round_block(w: Pointer, rounded: Any, layer: Layer, tile: Tile) -> None:
    """Overwrite the rounded copies of a tile's block of W, which is at `w`."""
    # Blocks begin at even rows and columns.
    row, column = elements(tile.row, rounded), elements(tile.column, rounded)
    if layer.narrow:
        for o in range(tile.rows):
            target = at(rounded, layer.rounded_w + (tile.row + o) * layer.ld_rounded_in + column)
            round_row(at(w, o * tile.ld), tile.columns, 1, target)
        if layer.rounded_wt >= 0:
            target = at(rounded, layer.rounded_wt + row * layer.ld_in + tile.column)
            round_pairs_of_rows(w, tile.ld, tile.rows, tile.columns, target, layer.ld_in)
    else:
        target = at(rounded, layer.rounded_w + row * layer.ld_out + tile.column)
        round_pairs_of_rows(w, tile.ld, tile.padded_rows, tile.columns, target, layer.ld_out)
        if layer.rounded_wt >= 0:
            target = at(rounded, layer.rounded_wt + column * layer.ld_in + tile.row)
            round_transposed(w, tile.ld, tile.padded_rows, tile.columns, target, layer.ld_in)


@device_function
def gradient_tile(state: State, plan: Plan, tile: Tile, first: int, rows: int, g: Pointer, ld_g: int, init: Pointer,
                  ld_init: int, groups: int) -> None:  # fmt: skip
    """Sum X^T dZ (dZ^T X) over rows of the chunk, from the `first`, for one weight tile.

    Overwrites the block at `g`. If the update comes next, `groups` is 1, and its operands are prefetched while the
    products run; otherwise it is 0.
    """
    size = state.params.size
    product_over_rows(
        state, state.rounded, plan.layers[tile.layer], tile, first, rows, g, ld_g, init, ld_init,
        Stream(at(state.params, tile.offset), tile.ld, 0, groups),
        Stream(at(state.slots, tile.offset), tile.ld, size, groups * (state.slots.size // size)),
    )  # fmt: skip


@device_function
def product_over_rows(state: State, rounded: Any, layer: Layer, tile: Tile, first: int, rows: int, g: Pointer,
                      ld_g: int, init: Pointer, ld_init: int, wanted: Stream, wanted_too: Stream) -> None:  # fmt: skip
    """Compute the sum of `gradient_tile`; in mixed precision from an even `first`."""
    narrow = layer.narrow
    ld = layer.ld_out if narrow else layer.ld_in
    if rounded is None:
        a = at(state.work, (layer.delta if narrow else layer.input) + first * ld + tile.row)
        b = at(state.work, (layer.input if narrow else layer.delta) + first * tile.ld + tile.column)
        gemm(a, 1, ld, b, tile.ld, init, ld_init, g, ld_g, tile.rows, tile.columns, rows, wanted, wanted_too)
    else:
        start = elements(first, rounded)
        of_a, of_b = layer.rounded_input_rows, layer.rounded_delta_rows
        if narrow:
            of_a, of_b = of_b, of_a
        gemm(
            at(rounded, of_a + start * ld + tile.row), 1, ld,
            at(rounded, of_b + start * tile.ld + tile.column), tile.ld,
            init, ld_init, g, ld_g, tile.rows, tile.columns, elements(rows, rounded), wanted, wanted_too,
        )  # fmt: skip


@device_function
def update_run(state: State, plan: Plan, rates: Any, offset: int, g: Pointer, n: int) -> bool:
    """Update n parameters at `offset` with the gradient at `g`, which is clipped in place.

    Returns whether all stayed finite.
    """
    limit = plan.run.clip_value
    if limit > 0.0:
        clip(g, limit, n)
    w = at(state.params, offset)
    return update(plan.run.optimizer, rates, w, g, at(state.slots, offset), state.params.size, n)


@device_function
def apply_tile(state: State, plan: Plan, index: int, rates: Any, g: Pointer, ld_g: int, g_bias: Pointer) -> bool:
    """Update one weight tile and its W^T, given its gradient; return whether all stayed finite.

    Parameters
    ----------
    g, ld_g : the gradient block, with the penalty's, and its row stride; overwritten if it is clipped
    g_bias : gradient of the tile's part of the bias row, which lies before `g` if it is the whole row
    """
    tile = plan.tiles[index]
    layer = plan.layers[tile.layer]
    all_finite = True
    n_bias = tile.n_bias
    has_bias = n_bias > 0 and layer.has_bias != 0
    if tile.columns == tile.ld and ld_g == tile.ld:
        # Weights in one run, with the bias row if the tile has all of it: it is before W in `params` and in `g`.
        together = has_bias and n_bias == layer.ld_out
        before = n_bias if together else 0
        has_bias = has_bias and not together
        start = g_bias if together else g
        all_finite &= update_run(state, plan, rates, tile.offset - before, start, before + tile.rows * tile.ld)
    else:
        for i in range(tile.rows):
            all_finite &= update_run(state, plan, rates, tile.offset + i * tile.ld, at(g, i * ld_g), tile.columns)
    if has_bias:
        all_finite &= update_run(state, plan, rates, tile.bias_offset, g_bias, n_bias)
    if not plan.layout.constrained:  # otherwise a later phase changes the weights
        finish_tile(state, plan, index)
    return all_finite


@device_function
def finish_tile(state: State, plan: Plan, index: int) -> None:
    """Update what follows from the final weights of a tile: their running average, and W^T."""
    if plan.run.ema_slot >= 0:
        average_tile(state, plan, plan.tiles[index])
    refresh_transposed(state, plan, index)


@device_function
def average_tile(state: State, plan: Plan, tile: Tile) -> None:
    """Move the running average of the tile's weights, and of its part of the bias, towards them."""
    keep = plan.run.ema_decay
    start = plan.run.ema_slot * state.params.size
    for i in range(tile.rows):
        offset = tile.offset + i * tile.ld
        average(keep, at(state.params, offset), at(state.slots, start + offset), tile.columns)
    average(keep, at(state.params, tile.bias_offset), at(state.slots, start + tile.bias_offset), tile.n_bias)


@device_function
def constrain_layer(state: State, plan: Plan, k: int, n_threads: int, thread: int) -> None:
    """Scale down the weights into each unit of the thread's share to the layer's max_norm.

    N. Srivastava et al., Dropout, 2014, section 5.1.
    """
    layer = plan.layers[k]
    w = at(state.params, layer.w)
    v = lanes(w)
    if layer.narrow:
        for o in range(thread * layer.n_out // n_threads, (thread + 1) * layer.n_out // n_threads):
            row = at(w, o * layer.ld_in)
            length = math.sqrt(sum_of_squares(row, layer.ld_in))
            if length > layer.max_norm:
                scale(row, layer.max_norm / length, layer.ld_in)
        return
    n_runs = (layer.n_out + v - 1) // v
    limit = broadcast(w, layer.max_norm)
    one = broadcast(w, 1.0)
    for run in range(thread * n_runs // n_threads, (thread + 1) * n_runs // n_threads):
        total = broadcast(w, 0.0)
        for i in range(layer.n_in):
            x = load(at(w, i * layer.ld_out + run * v))
            total = fma(x, x, total)
        lengths = sqrt(total)
        factor = select_gt(lengths, limit, limit / lengths, one)
        for i in range(layer.n_in):
            p = at(w, i * layer.ld_out + run * v)
            store(p, load(p) * factor)


@device_function
def add_penalties(state: State, plan: Plan, index: int, factor: float, g: Pointer, ld_g: int) -> None:
    """Add `factor` times the penalty's gradient to the block at `g`; its share of R goes to `plan.penalties`."""
    tile = plan.tiles[index]
    layer = plan.layers[tile.layer]
    if layer.l1 == 0.0 and layer.l2 == 0.0:
        return
    total = 0.0
    for i in range(tile.rows):
        w = at(state.params, tile.offset + i * tile.ld)
        total += add_penalty(factor * layer.l1, factor * layer.l2, w, at(g, i * ld_g), tile.columns)
    plan.penalties[index] = total


@device_function
def bias_gradient(state: State, plan: Plan, tile: Tile, first: int, rows: int, init: Pointer, g_bias: Pointer) -> None:
    """Sum dZ over rows of the chunk, from the `first`, for the tile's part of the bias; overwrites it at `g_bias`."""
    layer = plan.layers[tile.layer]
    delta = at(state.work, layer.delta + first * layer.ld_out + tile.bias)
    sum_columns(delta, layer.ld_out, rows, init, g_bias, tile.n_bias)


@device_function
def fused_tile(state: State, plan: Plan, index: int, rows: int, penalty: float, rates: Any, thread: int) -> bool:
    """Compute the gradient of one weight tile and update it; the gradient never leaves the thread's scratch.

    `penalty` is the factor of the penalties. Returns whether all weights stayed finite.
    """
    tile = plan.tiles[index]
    g_bias = scratch_of(state, plan, thread)
    zeros = at(state.work, plan.layout.zeros)
    # The scratch begins with the row for the bias.
    g = at(g_bias, tile.n_bias)
    gradient_tile(state, plan, tile, 0, rows, g, tile.columns, zeros, 0, 1)
    bias_gradient(state, plan, tile, 0, rows, zeros, g_bias)
    add_penalties(state, plan, index, penalty, g, tile.columns)
    return apply_tile(state, plan, index, rates, g, tile.columns, g_bias)


@device_function
def stored_tile(state: State, plan: Plan, index: int, first: int, rows: int, grad: Pointer, first_chunk: bool) -> None:
    """Sum the gradient of one weight tile into the gradient at `grad`.

    The first chunk overwrites it, those after it accumulate into it.
    """
    tile = plan.tiles[index]
    zeros = at(state.work, plan.layout.zeros)
    g = at(grad, tile.offset)
    if first_chunk:
        gradient_tile(state, plan, tile, first, rows, g, tile.ld, zeros, 0, 0)
    else:
        gradient_tile(state, plan, tile, first, rows, g, tile.ld, g, tile.ld, 0)
    g_bias = at(grad, tile.bias_offset)
    bias_gradient(state, plan, tile, first, rows, zeros if first_chunk else g_bias, g_bias)


@device_function
def sum_of_shards(source: Pointer, stride: int, n_shards: int, target: Pointer, n: int) -> None:
    """Overwrite n elements at `target` (whole vectors) with the sum of those at `source`, `stride` apart."""
    v = lanes(source)
    for i in range(0, n, v):
        total = load(at(source, i))
        for s in range(1, n_shards):
            total = total + load(at(source, s * stride + i))
        store(at(target, i), total)


@device_function
def claim_run(p: Pointer, n: int) -> None:
    """Prefetch the cache lines of n >= 1 elements at `p` for writing."""
    for i in range(0, n, VECTORS_PER_LINE * lanes(p)):
        prefetch_for_write(at(p, i))
    if VECTORS_PER_LINE > 1:  # known to the compiler; the first element may lie anywhere in its line
        prefetch_for_write(at(p, n - 1))


@device_function
def sum_shards_of_tile(state: State, plan: Plan, tile: Tile, n_shards: int, g: Pointer, ld_g: int,
                       g_bias: Pointer) -> None:  # fmt: skip
    """Sum the gradients of the shards for one weight tile; overwrites the block at `g` and the run at `g_bias`.

    The weights of the tile, which other threads have read since the last update, are prefetched for writing meanwhile.
    """
    layer = plan.layers[tile.layer]
    size = state.params.size
    grad = at(state.work, plan.layout.shard_grad)
    if layer.wt >= 0:
        for j in range(tile.column, tile.column + tile.columns):
            claim_run(at(state.work, layer.wt + j * layer.ld_in + tile.row), tile.rows)
    for i in range(tile.rows):
        offset = tile.offset + i * tile.ld
        claim_run(at(state.params, offset), tile.columns)
        sum_of_shards(at(grad, offset), size, n_shards, at(g, i * ld_g), tile.columns)
    sum_of_shards(at(grad, tile.bias_offset), size, n_shards, g_bias, tile.n_bias)


@device_function
def sharded_tile(state: State, plan: Plan, index: int, n_shards: int, penalty: float, rates: Any,
                 thread: int) -> bool:  # fmt: skip
    """Update one weight tile from the gradients of the shards; return whether all stayed finite."""
    tile = plan.tiles[index]
    g_bias = scratch_of(state, plan, thread)
    g = at(g_bias, tile.n_bias)
    sum_shards_of_tile(state, plan, tile, n_shards, g, tile.columns, g_bias)
    add_penalties(state, plan, index, penalty, g, tile.columns)
    return apply_tile(state, plan, index, rates, g, tile.columns, g_bias)


@device_function
def sharded_gradient_tile(state: State, plan: Plan, index: int, n_shards: int, penalty: float) -> None:
    """Overwrite the tile's block of `grad` with the sum of the shards' gradients and the penalty's."""
    tile = plan.tiles[index]
    g = at(state.grad, tile.offset)
    sum_shards_of_tile(state, plan, tile, n_shards, g, tile.ld, at(state.grad, tile.bias_offset))
    add_penalties(state, plan, index, penalty, g, tile.ld)


@device_function
def update_from_gradient(state: State, plan: Plan, index: int, penalty: float, rates: Any) -> bool:
    """Update one weight tile from the gradient in `grad`; return whether all stayed finite."""
    tile = plan.tiles[index]
    g = at(state.grad, tile.offset)
    add_penalties(state, plan, index, penalty, g, tile.ld)
    return apply_tile(state, plan, index, rates, g, tile.ld, at(state.grad, tile.bias_offset))


@device_function
def penalize_stored_tile(state: State, plan: Plan, index: int, penalty: float) -> None:
    """Add the penalty's gradient to the tile's block of `grad`."""
    tile = plan.tiles[index]
    add_penalties(state, plan, index, penalty, at(state.grad, tile.offset), tile.ld)


@device_function
def accumulate_grad_norm(state: State, plan: Plan, index: int) -> None:
    """Overwrite the tile's entry of `plan.squares` with the sum of squares of its part of `grad`."""
    tile = plan.tiles[index]
    total = 0.0
    if plan.layers[tile.layer].has_bias:
        total += sum_of_squares(at(state.grad, tile.bias_offset), tile.n_bias)
    for i in range(tile.rows):
        total += sum_of_squares(at(state.grad, tile.offset + i * tile.ld), tile.columns)
    plan.squares[index] = total


@device_function
def clipped_tile(state: State, plan: Plan, index: int, rates: Any, factor: float) -> bool:
    """Update one weight tile from `factor` times the gradient in `grad`, which has the penalty's.

    Overwrites that part of `grad`; returns whether all weights stayed finite.
    """
    tile = plan.tiles[index]
    g = at(state.grad, tile.offset)
    g_bias = at(state.grad, tile.bias_offset)
    scale(g_bias, factor, tile.n_bias)
    for i in range(tile.rows):
        scale(at(g, i * tile.ld), factor, tile.columns)
    return apply_tile(state, plan, index, rates, g, tile.ld, g_bias)
