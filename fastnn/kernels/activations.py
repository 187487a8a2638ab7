"""Activations and their derivatives, in place over runs of vectors.

y = f(z). The derivative is taken from the output y, so z is never kept: sigmoid y (1 - y), tanh 1 - y^2,
relu [y > 0], leaky relu 1 or alpha, elu 1 or y + alpha (D.-A. Clevert et al., 2015, eq. 16).
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.codes import ELU, LEAKY_RELU, RELU, SIGMOID, SOFTMAX, TANH
from fastnn.kernels.elementary import exp, expm1, sigmoid, tanh
from fastnn.kernels.jit import inline
from fastnn.kernels.simd import (
    at,
    first,
    fma,
    lanes,
    load,
    max_lanes,
    maximum,
    splat,
    store,
    sum_lanes,
    where_greater,
)


@inline
def activate(code: int, alpha: float, z: Any, n: int) -> None:
    """Overwrite n elements at `z` (whole vectors) with f(z); identity and softmax are left alone."""
    v = lanes(z)
    zero = splat(z, 0.0)
    slope = splat(z, alpha)
    if code == RELU:
        for i in range(0, n, v):
            store(at(z, i), maximum(zero, load(at(z, i))))
    elif code == TANH:
        for i in range(0, n, v):
            store(at(z, i), tanh(load(at(z, i))))
    elif code == SIGMOID:
        for i in range(0, n, v):
            store(at(z, i), sigmoid(load(at(z, i))))
    elif code == LEAKY_RELU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(z, i), where_greater(x, zero, x, x * slope))
    elif code == ELU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(z, i), where_greater(x, zero, x, expm1(x) * slope))


@inline
def activate_backward(code: int, alpha: float, y: Any, d: Any, n: int) -> None:
    """Multiply n elements at `d` (whole vectors) by f'(z), read from the outputs at `y`."""
    v = lanes(y)
    zero = splat(y, 0.0)
    one = splat(y, 1.0)
    slope = splat(y, alpha)
    if code == RELU:
        for i in range(0, n, v):
            store(at(d, i), where_greater(load(at(y, i)), zero, load(at(d, i)), zero))
    elif code == TANH:
        for i in range(0, n, v):
            x = load(at(y, i))
            store(at(d, i), load(at(d, i)) * fma(zero - x, x, one))
    elif code == SIGMOID:
        for i in range(0, n, v):
            x = load(at(y, i))
            store(at(d, i), load(at(d, i)) * (x * (one - x)))
    elif code == LEAKY_RELU:
        for i in range(0, n, v):
            g = load(at(d, i))
            store(at(d, i), where_greater(load(at(y, i)), zero, g, g * slope))
    elif code == ELU:
        for i in range(0, n, v):
            x = load(at(y, i))
            g = load(at(d, i))
            store(at(d, i), where_greater(x, zero, g, g * (x + slope)))


@inline
def largest(z: Any, n: int) -> Any:
    """Largest of n elements at `z`; the row is padded to whole vectors, whose padding is not looked at."""
    v = lanes(z)
    lowest = splat(z, -3.0e38)
    best = lowest
    for j in range(0, n, v):
        best = maximum(best, first(load(at(z, j)), n - j, lowest))
    return max_lanes(best)


@inline
def exp_shifted(z: Any, top: Any, out: Any, n: int) -> Any:
    """Overwrite the padded row `out` with exp(z - top), padding with zeros; return the sum of the row."""
    v = lanes(z)
    zero = splat(z, 0.0)
    shift = splat(z, top)
    total = zero
    for j in range(0, n, v):
        e = first(exp(load(at(z, j)) - shift), n - j, zero)
        store(at(out, j), e)
        total = total + e
    return sum_lanes(total)


@inline
def scale_row(row: Any, factor: Any, n: int) -> None:
    """Multiply the padded row of n elements by `factor`, in place."""
    v = lanes(row)
    by = splat(row, factor)
    for j in range(0, n, v):
        store(at(row, j), load(at(row, j)) * by)


@inline
def softmax_rows(z: Any, ld: int, rows: int, n: int) -> None:
    """Overwrite each row of n logits at `z` with its softmax; padding becomes zero."""
    for r in range(rows):
        row = at(z, r * ld)
        total = exp_shifted(row, largest(row, n), row, n)
        scale_row(row, 1.0 / total, n)


@inline
def softmax_rows_backward(y: Any, d: Any, ld: int, rows: int, n: int) -> None:
    """Turn dE/dy at `d` into dE/dz = y (dE/dy - sum of y dE/dy), row by row, in place."""
    v = lanes(y)
    for r in range(rows):
        p = at(y, r * ld)
        q = at(d, r * ld)
        total = splat(y, 0.0)
        for j in range(0, n, v):
            total = fma(load(at(p, j)), load(at(q, j)), total)
        mean = splat(y, sum_lanes(total))
        for j in range(0, n, v):
            store(at(q, j), load(at(p, j)) * (load(at(q, j)) - mean))


@inline
def clear_padding(z: Any, ld: int, rows: int, n: int) -> None:
    """Overwrite with zeros what follows n elements of each row, up to whole vectors."""
    v = lanes(z)
    if n % v != 0:
        last = n - n % v
        for r in range(rows):
            p = at(z, r * ld + last)
            store(p, first(load(p), n - last, splat(z, 0.0)))


@inline
def activate_output(code: int, alpha: float, z: Any, ld: int, rows: int, n: int) -> None:
    """Overwrite the rows of a layer's output by its activation, softmax included; padding is zero after it."""
    if code == SOFTMAX:
        softmax_rows(z, ld, rows, n)
    else:
        activate(code, alpha, z, rows * ld)
        if code == SIGMOID:  # the only one whose f(0) is not 0
            clear_padding(z, ld, rows, n)


@inline
def activate_output_backward(code: int, alpha: float, y: Any, d: Any, ld: int, rows: int, n: int) -> None:
    """Turn dE/dy at `d` into dE/dz in place, softmax included."""
    if code == SOFTMAX:
        softmax_rows_backward(y, d, ld, rows, n)
    else:
        activate_backward(code, alpha, y, d, rows * ld)
