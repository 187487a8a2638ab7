"""Conversion of matrices in float32 to words: pairs of neighbours along a row, and pairs of rows."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, lanes, load
from fastnn.kernels.lang.simd.bfloat16 import store_neighbours, store_pairs, transpose_pairs


@device_function
def pack_row(source: Pointer, n: int, words: Pointer) -> None:
    """Overwrite words with the pairs of n neighbours at `source`, padded with zeros to whole vectors, as words are."""
    v = lanes(source)
    for j in range(0, n, 2 * v):
        low = load(at(source, j))
        high = load(at(source, j + v)) if j + v < n else broadcast(source, 0.0)
        store_neighbours(at(words, j // 2), low, high)


@device_function
def pack_two_rows(first: Pointer, second: Pointer, n: int, words: Pointer) -> None:
    """Overwrite n words, in whole vectors, with the pairs (first[j], second[j])."""
    for j in range(0, n, lanes(first)):
        store_pairs(at(words, j), load(at(first, j)), load(at(second, j)))


@device_function
def pack_last_row(first: Pointer, n: int, words: Pointer) -> None:
    """Overwrite n words, in whole vectors, with the pairs (first[j], 0)."""
    for j in range(0, n, lanes(first)):
        store_pairs(at(words, j), load(at(first, j)), broadcast(first, 0.0))


@device_function
def pack_pairs_of_rows(source: Pointer, ld: int, rows: int, n: int, words: Pointer, ld_words: int) -> None:
    """Overwrite (rows / 2, n) words, in whole vectors, with the pairs of rows; an odd last one is paired with zeros."""
    for r in range(0, rows, 2):
        if r + 1 < rows:
            pack_two_rows(at(source, r * ld), at(source, (r + 1) * ld), n, at(words, r // 2 * ld_words))
        else:
            pack_last_row(at(source, r * ld), n, at(words, r // 2 * ld_words))


@device_function
def pack_rows(source: Pointer, ld: int, rows: int, n: int, pairs: Any, columns: int, ld_columns: int, row_pairs: int,
              ld_row_pairs: int) -> None:  # fmt: skip
    """Overwrite the pairs of columns and of rows of a matrix.

    Parameters
    ----------
    source, ld : (rows, n) float32, rows padded with zeros to whole vectors, and row stride
    pairs : array of words
    columns, ld_columns : offset of the pairs of columns and their row stride; -1 for none
    row_pairs, ld_row_pairs : the same of the pairs of rows
    """
    if columns >= 0:
        for r in range(rows):
            pack_row(at(source, r * ld), n, at(pairs, columns + r * ld_columns))
    if row_pairs >= 0:
        pack_pairs_of_rows(source, ld, rows, n, at(pairs, row_pairs), ld_row_pairs)


@device_function
def pack_transposed(source: Pointer, ld: int, rows: int, n: int, words: Pointer, ld_words: int) -> None:
    """Overwrite (n / 2, rows) words with the pairs of columns; `rows` and n are whole vectors."""
    v = lanes(source)
    for i in range(0, rows, v):
        for j in range(0, n, v):
            transpose_pairs(at(source, i * ld + j), ld, at(words, j // 2 * ld_words + i), ld_words)
