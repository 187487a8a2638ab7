"""Region 2 of a step: weight tiles, blocks of one layer's W, independent of each other.

The gradient of the tile is summed over the whole chunk into scratch (or into `grad`, when the whole gradient
is wanted first), the penalty's gradient added, the weights updated, and the tile's part of W^T refreshed.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.gemm import gemm
from fastnn.kernels.jit import inline
from fastnn.kernels.layout import (
    BIAS,
    DELTA,
    HAS_BIAS,
    INPUT,
    L1,
    L2,
    LD_IN,
    LD_OUT,
    N_IN,
    OPTIMIZER,
    SCRATCH,
    SCRATCH_SIZE,
    T_COLUMN,
    T_COLUMN_END,
    T_LAYER,
    T_ROW,
    T_ROW_END,
    WT,
    ZEROS,
    W,
)
from fastnn.kernels.optimizers import add_penalty, update
from fastnn.kernels.simd import at, lanes, load, store, transpose_block
from fastnn.kernels.tile import Stream


@inline
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


@inline
def refresh_transposed(state: Any, plan: Any, tile: int) -> None:
    """Copy the tile's block of W into W^T (not for the first layer, which needs none)."""
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


@inline
def gradient_tile(state: Any, plan: Any, tile: int, rows: int, g: Any, ld_g: int, init: Any, ld_init: int) -> None:
    """Sum X^T dZ over the rows of the chunk for one weight tile; overwrites the block at `g`."""
    k = plan.tiles[tile, T_LAYER]
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    ld = plan.layers[k, LD_OUT]
    place = plan.layers[k, W] + row * ld + column
    size = state.params.size
    # What the update will need is brought near while the products run.
    gemm(
        at(state.work, plan.layers[k, INPUT] + row), 1, plan.layers[k, LD_IN],
        at(state.work, plan.layers[k, DELTA] + column), ld,
        init, ld_init,
        g, ld_g,
        min(plan.tiles[tile, T_ROW_END], plan.layers[k, N_IN]) - row, plan.tiles[tile, T_COLUMN_END] - column, rows,
        Stream(at(state.params, place), ld, 0, 1), Stream(at(state.slots, place), ld, size, state.slots.size // size),
    )  # fmt: skip


@inline
def update_tile(state: Any, plan: Any, tile: int, rates: Any, g: Any, ld_g: int, g_bias: Any) -> bool:
    """Penalty, update and W^T of one weight tile, given its gradient; return whether all stayed finite.

    Parameters
    ----------
    g, ld_g : the gradient block and its row stride; the penalty's gradient is added to it
    g_bias : gradient of the tile's columns of the bias row; read by tiles that begin at row 0
    """
    k = plan.tiles[tile, T_LAYER]
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    rows = min(plan.tiles[tile, T_ROW_END], plan.layers[k, N_IN]) - row
    columns = plan.tiles[tile, T_COLUMN_END] - column
    ld = plan.layers[k, LD_OUT]
    size = state.params.size
    optimizer = plan.settings[OPTIMIZER]
    good = add_penalties(state, plan, tile, g, ld_g)
    place = plan.layers[k, W] + row * ld + column
    if columns == ld and ld_g == ld:
        good &= update(
            optimizer, rates, at(state.params, place), g,
            at(state.slots, place), at(state.slots, size + place), rows * ld,
        )  # fmt: skip
    else:
        for i in range(rows):
            here = place + i * ld
            good &= update(
                optimizer, rates, at(state.params, here), at(g, i * ld_g),
                at(state.slots, here), at(state.slots, size + here), columns,
            )  # fmt: skip
    if row == 0 and plan.layers[k, HAS_BIAS]:
        here = plan.layers[k, BIAS] + column
        good &= update(
            optimizer, rates, at(state.params, here), g_bias,
            at(state.slots, here), at(state.slots, size + here), columns,
        )  # fmt: skip
    refresh_transposed(state, plan, tile)
    return good


@inline
def add_penalties(state: Any, plan: Any, tile: int, g: Any, ld_g: int) -> bool:
    """Add the penalty's gradient to the block at `g`, and note the tile's share of R in `plan.penalties`."""
    k = plan.tiles[tile, T_LAYER]
    l1 = plan.layer_numbers[k, L1]
    l2 = plan.layer_numbers[k, L2]
    if l1 == 0.0 and l2 == 0.0:
        return True
    row = plan.tiles[tile, T_ROW]
    column = plan.tiles[tile, T_COLUMN]
    ld = plan.layers[k, LD_OUT]
    place = plan.layers[k, W] + row * ld + column
    total = 0.0
    for i in range(min(plan.tiles[tile, T_ROW_END], plan.layers[k, N_IN]) - row):
        total += add_penalty(
            l1, l2, at(state.params, place + i * ld), at(g, i * ld_g), plan.tiles[tile, T_COLUMN_END] - column
        )
    plan.penalties[tile] = total
    return True


@inline
def fused_tile(state: Any, plan: Any, tile: int, rows: int, rates: Any, thread: int) -> bool:
    """Gradient and update of one weight tile; the gradient never leaves the thread's scratch."""
    k = plan.tiles[tile, T_LAYER]
    column = plan.tiles[tile, T_COLUMN]
    columns = plan.tiles[tile, T_COLUMN_END] - column
    scratch = at(state.work, plan.settings[SCRATCH] + thread * plan.settings[SCRATCH_SIZE])
    zeros = at(state.work, plan.settings[ZEROS])
    # The scratch begins with the row for the bias.
    block = at(scratch, columns)
    gradient_tile(state, plan, tile, rows, block, columns, zeros, 0)
    if plan.tiles[tile, T_ROW] == 0:
        ld = plan.layers[k, LD_OUT]
        sum_columns(at(state.work, plan.layers[k, DELTA] + column), ld, rows, zeros, scratch, columns)
    return update_tile(state, plan, tile, rates, block, columns, scratch)


@inline
def stored_tile(state: Any, plan: Any, tile: int, rows: int, first_chunk: bool) -> None:
    """Gradient of one weight tile into `grad`: overwritten by the first chunk of a batch, then added to."""
    k = plan.tiles[tile, T_LAYER]
    column = plan.tiles[tile, T_COLUMN]
    columns = plan.tiles[tile, T_COLUMN_END] - column
    ld = plan.layers[k, LD_OUT]
    zeros = at(state.work, plan.settings[ZEROS])
    g = at(state.grad, plan.layers[k, W] + plan.tiles[tile, T_ROW] * ld + column)
    if first_chunk:
        gradient_tile(state, plan, tile, rows, g, ld, zeros, 0)
    else:
        gradient_tile(state, plan, tile, rows, g, ld, g, ld)
    if plan.tiles[tile, T_ROW] == 0:
        g_bias = at(state.grad, plan.layers[k, BIAS] + column)
        delta = at(state.work, plan.layers[k, DELTA] + column)
        sum_columns(delta, ld, rows, zeros if first_chunk else g_bias, g_bias, columns)


@inline
def finish_stored_tile(state: Any, plan: Any, tile: int, rates: Any) -> bool:
    """Update one weight tile from the gradient in `grad`."""
    k = plan.tiles[tile, T_LAYER]
    ld = plan.layers[k, LD_OUT]
    column = plan.tiles[tile, T_COLUMN]
    g = at(state.grad, plan.layers[k, W] + plan.tiles[tile, T_ROW] * ld + column)
    return update_tile(state, plan, tile, rates, g, ld, at(state.grad, plan.layers[k, BIAS] + column))


@inline
def penalize_stored_tile(state: Any, plan: Any, tile: int) -> None:
    """Add the penalty's gradient to the tile's block of `grad`."""
    k = plan.tiles[tile, T_LAYER]
    ld = plan.layers[k, LD_OUT]
    place = plan.layers[k, W] + plan.tiles[tile, T_ROW] * ld + plan.tiles[tile, T_COLUMN]
    add_penalties(state, plan, tile, at(state.grad, place), ld)
