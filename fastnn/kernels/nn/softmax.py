"""Softmax over rows padded to whole vectors, its parts (which the cross-entropy shares), and its derivative."""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    fma,
    lanes,
    load,
    mask_tail,
    max_lanes,
    maximum,
    store,
    sum_lanes,
)
from fastnn.kernels.maths.elementary import exp_nonpositive


@device_function
def largest(z: Pointer, n: int) -> Any:
    """Return the largest of n elements at `z`; the row is padded to whole vectors, whose padding is ignored."""
    v = lanes(z)
    lowest = broadcast(z, -math.inf)
    best = lowest
    for j in range(0, n, v):
        best = maximum(best, mask_tail(load(at(z, j)), n - j, lowest))
    return max_lanes(best)


@device_function
def exp_shifted(z: Pointer, top: Any, out: Pointer, n: int) -> Any:
    """Overwrite the padded row `out` with exp(z - top), padding with zeros; return the sum of the row.

    `top` is at least the largest of the row.
    """
    v = lanes(z)
    zero = broadcast(z, 0.0)
    shift = broadcast(z, top)
    total = zero
    for j in range(0, n, v):
        e = mask_tail(exp_nonpositive(load(at(z, j)) - shift), n - j, zero)
        store(at(out, j), e)
        total = total + e
    return sum_lanes(total)


@device_function
def scale_row(row: Pointer, factor: Any, n: int) -> None:
    """Multiply the padded row of n elements by `factor`, in place."""
    v = lanes(row)
    by = broadcast(row, factor)
    for j in range(0, n, v):
        store(at(row, j), load(at(row, j)) * by)


@device_function
def softmax_rows(z: Pointer, ld: int, rows: int, n: int) -> None:
    """Overwrite each row of n logits at `z` with its softmax; padding becomes zero."""
    for r in range(rows):
        row = at(z, r * ld)
        total = exp_shifted(row, largest(row, n), row, n)
        scale_row(row, 1.0 / total, n)


@device_function
def softmax_rows_backward(y: Pointer, d: Pointer, ld: int, rows: int, n: int) -> None:
    """Replace dE/dy at `d` by dE/dz = y (dE/dy - sum of y dE/dy), row by row."""
    v = lanes(y)
    for r in range(rows):
        p = at(y, r * ld)
        q = at(d, r * ld)
        total = broadcast(y, 0.0)
        for j in range(0, n, v):
            total = fma(load(at(p, j)), load(at(q, j)), total)
        mean = broadcast(y, sum_lanes(total))
        for j in range(0, n, v):
            store(at(q, j), load(at(p, j)) * (load(at(q, j)) - mean))


@device_function
def clear_padding(z: Pointer, ld: int, rows: int, n: int) -> None:
    """Overwrite the padding after n elements of each row, up to whole vectors, with zeros."""
    v = lanes(z)
    if n % v != 0:
        last = n - n % v
        for r in range(rows):
            p = at(z, r * ld + last)
            store(p, mask_tail(load(p), n - last, broadcast(z, 0.0)))
