"""Matrix product of the engine, by register tiles, without packing.

All three products of back-propagation have one form: rows of B are streamed, elements of A broadcast.

=====================  ==========================  =======================
product                A (broadcast)               B (streamed)
=====================  ==========================  =======================
forward   Z = X W + b  X   (row, k)                W   (k, O)
backward  dX = dZ W^T  dZ  (row, k)                W^T (k, I)
gradient  dW = X^T dZ  X, read down its columns    dZ  (k = batch row, O)
=====================  ==========================  =======================
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function, noinline
from fastnn.kernels.lang.simd import at, lanes
from fastnn.kernels.linalg.microkernel import (
    Stream,
    tile_1x1,
    tile_1x2,
    tile_1x4,
    tile_1x8,
    tile_2x1,
    tile_2x2,
    tile_4x1,
    tile_4x2,
    tile_full,
    tile_full_fetching,
    tile_full_narrow,
    tile_rows,
)

#: Rows of B per pass: a panel of two vectors by DEPTH stays in the first-level cache (2 x 64 B x 256 = 32 KiB).
DEPTH = 256
#: Minimum length of a sum for tiles with prefetching; matrices of shorter sums are in the caches.
FETCH_DEPTH = 64


@device_function
def _panel_of_two(a: Any, a_row: int, a_k: int, b: Any, ldb: int, init: Any, ld_init: int, c: Any, ldc: int,
                  m: int, depth: int, next_b: Any, wanted: Any, wanted_too: Any) -> None:  # fmt: skip
    """Overwrite all m rows of two vectors of columns of C."""
    i = 0
    height = tile_rows(b)
    if depth >= FETCH_DEPTH:
        n_full = max(1, m // height)
        groups = (depth + n_full * height - 1) // (n_full * height)
        block = height * ldb
        while i + height <= m:
            tile_full_fetching(
                at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth,
                Stream(at(next_b, i * groups * ldb), ldb, block, groups),
                Stream(at(wanted.base, i * wanted.stride), wanted.stride, wanted.group_stride, wanted.groups),
                Stream(
                    at(wanted_too.base, i * wanted_too.stride),
                    wanted_too.stride, wanted_too.group_stride, wanted_too.groups,
                ),
            )  # fmt: skip
            i += height
    while i + height <= m:
        tile_full(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)
        i += height
    if i + 4 <= m:
        tile_4x2(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)
        i += 4
    if i + 2 <= m:
        tile_2x2(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)
        i += 2
    if i < m:
        tile_1x2(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)


@device_function
def _panel_of_one(a: Any, a_row: int, a_k: int, b: Any, ldb: int, init: Any, ld_init: int, c: Any, ldc: int,
                  m: int, depth: int) -> None:  # fmt: skip
    """Overwrite all m rows of one vector of columns of C."""
    i = 0
    height = tile_rows(b)
    while i + height <= m:
        tile_full_narrow(
            at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth
        )
        i += height
    if i + 4 <= m:
        tile_4x1(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)
        i += 4
    if i + 2 <= m:
        tile_2x1(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)
        i += 2
    if i < m:
        tile_1x1(at(a, i * a_row), a_row, a_k, b, ldb, at(init, i * ld_init), ld_init, at(c, i * ldc), ldc, depth)


@device_function
def _row(a: Any, a_k: int, b: Any, ldb: int, init: Any, c: Any, n: int, depth: int) -> None:
    """Overwrite one row of C."""
    v = lanes(c)
    j = 0
    while j + 8 * v <= n:
        tile_1x8(a, 0, a_k, at(b, j), ldb, at(init, j), 0, at(c, j), 0, depth)
        j += 8 * v
    if j + 4 * v <= n:
        tile_1x4(a, 0, a_k, at(b, j), ldb, at(init, j), 0, at(c, j), 0, depth)
        j += 4 * v
    if j + 2 * v <= n:
        tile_1x2(a, 0, a_k, at(b, j), ldb, at(init, j), 0, at(c, j), 0, depth)
        j += 2 * v
    if j < n:
        tile_1x1(a, 0, a_k, at(b, j), ldb, at(init, j), 0, at(c, j), 0, depth)


@device_function
def gemm(a: Any, a_row: int, a_k: int, b: Any, ldb: int, init: Any, ld_init: int, c: Any, ldc: int,
         m: int, n: int, depth: int, wanted: Any, wanted_too: Any) -> None:  # fmt: skip
    """Compute c[i, j] = init[i, j] + sum over k of a[i, k] b[k, j], for i < m, j < n, k < depth.

    A and B are numbers of C's type, or words, pairs of bfloat16 numbers that are added in float32; k counts words then.

    Parameters
    ----------
    a, a_row, a_k : Pointer, int, int
        A and its strides in elements from row to row and along the sum.
    b, ldb : Pointer, int
        B (depth, n) and its row stride.
    init, ld_init : Pointer, int
        Initial values of the sums and row stride: 0 for one row (a bias, zeros) for all rows; `c` with `ldc` continues
        a sum.
    c, ldc : Pointer, int
        C (m, n), overwritten, and its row stride.
    m, n, depth : int
        m >= 0 and depth >= 1; n is a multiple of the lanes (rows are padded).
    wanted, wanted_too : Stream
        Operands of the shape of C that the caller uses next: their blocks under the present tile are prefetched (see
        `microkernel.nothing`).

    Notes
    -----
    Long sums also prefetch the next panel of B and the next rows of C: without it, where these are not
    cached, each tile starts with cache misses (128x2048x2048, float32, one core: 104 without, 111 of 117 GFLOP/s with).

    Each element is one chain of fused multiply-adds in the order of k, in every tile: the result does
    not depend on how rows, columns or the sum are split.
    """
    noinline()
    if m == 1:
        _row(a, a_k, b, ldb, init, c, n, depth)
        return
    two = 2 * lanes(c)
    passes = (depth + DEPTH - 1) // DEPTH
    step = (depth + passes - 1) // passes
    k = 0
    while k < depth:
        part = min(step, depth - k)
        a_part = at(a, k * a_k)
        b_part = at(b, k * ldb)
        start, ld_start = (init, ld_init) if k == 0 else (c, ldc)
        j = 0
        while j + two <= n:
            is_last = j + two + two > n
            next_b = at(b, (k + part) * ldb) if is_last else at(b_part, j + two)
            _panel_of_two(
                a_part, a_row, a_k, at(b_part, j), ldb, at(start, j), ld_start, at(c, j), ldc, m, part, next_b,
                Stream(at(wanted.base, j), wanted.stride, wanted.group_stride, wanted.groups if k == 0 else 0),
                Stream(
                    at(wanted_too.base, j), wanted_too.stride, wanted_too.group_stride,
                    wanted_too.groups if k == 0 else 0,
                ),
            )  # fmt: skip
            j += two
        if j < n:
            _panel_of_one(a_part, a_row, a_k, at(b_part, j), ldb, at(start, j), ld_start, at(c, j), ldc, m, part)
        k += step
