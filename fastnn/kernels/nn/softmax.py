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
def row_product(a: Pointer, b: Pointer, n: int) -> Any:
    """Return the sum of the products of two padded rows of n elements, whose padding is zero in one of them."""
    total = broadcast(a, 0.0)
    for j in range(0, n, lanes(a)):
        total = fma(load(at(a, j)), load(at(b, j)), total)
    return broadcast(a, sum_lanes(total))


@device_function
def mean_square(y: Pointer, dz: Pointer, d2z: Pointer, mean: Any, n: int) -> Any:
    """Return the sum of y ((dz - mean)^2 + d2z), the derivative along z of `mean` = sum of y dz."""
    total = broadcast(y, 0.0)
    for j in range(0, n, lanes(y)):
        e = load(at(dz, j)) - mean
        total = fma(load(at(y, j)), fma(e, e, load(at(d2z, j))), total)
    return broadcast(y, sum_lanes(total))


@device_function
def softmax_jet(y: Pointer, z: Pointer, gap: int, ld: int, rows: int, n: int, directions: int, order: int) -> None:
    """Overwrite rows at `y` with the softmax of those at `z` and its derivatives; see `kernels.nn.jets`.

    dy = y e with e = dz - sum of y dz, and d2y = y (e^2 + d2z - c) with c so that the sum of d2y is 0.
    """
    v = lanes(y)
    for i in range(0, rows * ld, v):
        store(at(y, i), load(at(z, i)))
    softmax_rows(y, ld, rows, n)
    for r in range(rows):
        p = at(y, r * ld)
        for k in range(directions):
            first = (1 + k) * gap + r * ld
            second = first + directions * gap
            dz = at(z, first)
            mean = row_product(p, dz, n)
            for j in range(0, n, v):
                store(at(y, first + j), load(at(p, j)) * (load(at(dz, j)) - mean))
            if order > 1:
                d2z = at(z, second)
                c = mean_square(p, dz, d2z, mean, n)
                for j in range(0, n, v):
                    e = load(at(dz, j)) - mean
                    store(at(y, second + j), load(at(p, j)) * (fma(e, e, load(at(d2z, j))) - c))


@device_function
def softmax_jet_backward(y: Pointer, z: Pointer, d: Pointer, gap: int, ld: int, rows: int, n: int, directions: int,
                         order: int) -> None:  # fmt: skip
    """Replace the derivatives of a loss by y, dy and d2y at `d` by those by z, dz and d2z; see `kernels.nn.jets`.

    With g, g1, g2 the former, e and c as above and h = e^2 + d2z - c: dE/d(d2z) = y (g2 - <g2, y>), dE/d(dz) =
    y (g1 - <g1, y> - 2 <g2, y e> + 2 (g2 - <g2, y>) e), and dE/dz = y (a - <a, y> - e (<g1, y> + 2 <g2, y e>) -
    h <g2, y>) with a = g + g1 e + g2 h.
    """
    v = lanes(y)
    zero = broadcast(y, 0.0)
    two = broadcast(y, 2.0)
    softmax_rows_backward(y, d, ld, rows, n)
    for r in range(rows):
        p = at(y, r * ld)
        q = at(d, r * ld)
        for k in range(directions):
            first = (1 + k) * gap + r * ld
            second = first + directions * gap
            dz = at(z, first)
            d2z = at(z, second) if order > 1 else dz
            g1 = at(d, first)
            g2 = at(d, second) if order > 1 else g1
            mean = row_product(p, dz, n)
            c = mean_square(p, dz, d2z, mean, n)
            of_first = row_product(g1, p, n)
            of_second = row_product(g2, p, n)
            total = zero  # of y a, without g
            mixed = zero  # of y e g2
            for j in range(0, n, v):
                w = load(at(p, j))
                e = load(at(dz, j)) - mean
                total = fma(w * e, load(at(g1, j)), total)
                if order > 1:
                    h = fma(e, e, load(at(d2z, j))) - c
                    total = fma(w * h, load(at(g2, j)), total)
                    mixed = fma(w * e, load(at(g2, j)), mixed)
            of_all = broadcast(y, sum_lanes(total))
            of_first = fma(two, broadcast(y, sum_lanes(mixed)), of_first)
            for j in range(0, n, v):
                w = load(at(p, j))
                e = load(at(dz, j)) - mean
                by_dz = load(at(g1, j)) - of_first
                by_z = e * by_dz - of_all
                if order > 1:
                    h = fma(e, e, load(at(d2z, j))) - c
                    rest = load(at(g2, j)) - of_second
                    by_z = fma(h, rest, by_z)
                    by_dz = fma(two * rest, e, by_dz)
                    store(at(g2, j), w * rest)
                store(at(g1, j), w * by_dz)
                store(at(q, j), fma(w, by_z, load(at(q, j))))


@device_function
def clear_padding(z: Pointer, ld: int, rows: int, n: int) -> None:
    """Overwrite the padding after n elements of each row, up to whole vectors, with zeros."""
    v = lanes(z)
    if n % v != 0:
        last = n - n % v
        for r in range(rows):
            p = at(z, r * ld + last)
            store(p, mask_tail(load(p), n - last, broadcast(z, 0.0)))
