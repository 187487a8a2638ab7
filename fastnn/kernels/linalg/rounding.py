"""Copies of matrices rounded to bfloat16, in the forms that products read (see `lang.simd.bfloat16`)."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, lanes, load
from fastnn.kernels.lang.simd.bfloat16 import (
    numbers_per_element,
    store_row,
    store_row_end,
    store_row_end_for_dots,
    store_row_for_dots,
    store_two_rows,
    transpose_rounded,
)


@device_function
def round_row(source: Pointer, n: int, for_dots: int, target: Pointer) -> None:
    """Overwrite a row with n neighbours at `source`, which are padded with zeros to whole vectors.

    `for_dots` is not 0 for operands of `microkernel.dots`, whose words hold the numbers of a lane.
    """
    v = lanes(source)
    per = numbers_per_element(target)
    for j in range(0, n, 2 * v):
        p = at(target, j // per)
        low = load(at(source, j))
        if j + v < n:
            high = load(at(source, j + v))
            if for_dots:
                store_row_for_dots(p, low, high)
            else:
                store_row(p, low, high)
        elif for_dots:
            store_row_end_for_dots(p, low)
        else:
            store_row_end(p, low)


@device_function
def round_pairs_of_rows(source: Pointer, ld: int, rows: int, n: int, target: Pointer, ld_target: int) -> None:
    """Overwrite rows of n columns, for a sum over them; n is padded to whole vectors, an odd last row with zeros."""
    per = numbers_per_element(target)
    zero = broadcast(source, 0.0)
    for r in range(0, rows, 2):
        first = at(source, r * ld)
        out = at(target, r // per * ld_target)
        if r + 1 < rows:
            for j in range(0, n, lanes(source)):
                store_two_rows(at(out, j), ld_target, load(at(first, j)), load(at(first, ld + j)))
        else:
            for j in range(0, n, lanes(source)):
                store_two_rows(at(out, j), ld_target, load(at(first, j)), zero)


@device_function
def round_rows(source: Pointer, ld: int, rows: int, n: int, for_dots: int, target: Any, by_columns: int,
               ld_by_columns: int, by_rows: int, ld_by_rows: int) -> None:  # fmt: skip
    """Overwrite the rounded copies of some rows: the one for sums over columns, and the one for sums over rows.

    Parameters
    ----------
    source, ld : (rows, n) float32, rows padded with zeros to whole vectors, and row stride
    for_dots : see `round_row`
    target : array
    by_columns, ld_by_columns : offset in it of the copy for sums over columns, and its row stride; -1 for none
    by_rows, ld_by_rows : the same of the copy for sums over rows, which may be the former where that has no words
    """
    if by_columns >= 0:
        for r in range(rows):
            round_row(at(source, r * ld), n, for_dots, at(target, by_columns + r * ld_by_columns))
    if by_rows >= 0 and by_rows != by_columns:
        round_pairs_of_rows(source, ld, rows, n, at(target, by_rows), ld_by_rows)


@device_function
def round_transposed(source: Pointer, ld: int, rows: int, n: int, target: Pointer, ld_target: int) -> None:
    """Overwrite n rows, for a sum over them, with the columns of a matrix; `rows` and n are whole vectors."""
    v = lanes(source)
    per = numbers_per_element(target)
    for i in range(0, rows, v):
        for j in range(0, n, v):
            transpose_rounded(at(source, i * ld + j), ld, at(target, j // per * ld_target + i), ld_target)
