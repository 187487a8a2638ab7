"""Losses of V rows at once, for nets of at most V outputs (V lanes of a vector).

Most nets have few outputs: one value, or a few classes. Row by row most lanes of a vector would be unused, and each row
would require sums across lanes. So blocks of V rows are transposed in registers: then a vector holds one
output of V rows, and all sums run down the outputs. The formulas are those of `fastnn.losses`.

A block always has V rows. Those after the last row of a chunk are undefined; results from them are written to the same
rows (the buffers have room for whole blocks) and never read.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import ACCURACY, MEAN_ABSOLUTE_ERROR
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer, Vector
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    call_native,
    fma,
    lanes,
    load,
    load_scalar,
    maximum,
    select_gt,
    store,
    store_scalar,
)


@device_function
def one_hot_block(labels: Any, order: Any, place: int, rows: int, t: Pointer, n: int, off: Any) -> None:
    """Overwrite the (n, V) block at `t` with the smoothed labels of the rows at `place` of the epoch.

    `off` is the target of each class except the label's.
    """
    v = lanes(t)
    rest = broadcast(t, off)
    on = 1.0 - off * (n - 1)
    for j in range(n):
        store(at(t, j * v), rest)
    for i in range(rows):
        source = order[place + i] if order.size else place + i
        # Labels may have changed since they were validated: never write outside of the block.
        store_scalar(at(t, min(max(labels[source], 0), n - 1) * v + i), on)


@device_function
def lanewise_block(value_and_slope: Any, u: Pointer, t: Pointer, p: Pointer, n: int, factor: Vector) -> Vector:
    """Overwrite the block at `u` with factor times the slopes of a loss of single outputs; return sums of values."""
    v = lanes(u)
    total = broadcast(u, 0.0)
    for j in range(n):
        parameter = broadcast(u, load_scalar(at(p, j)))
        total, slope = value_and_slope(load(at(u, j * v)), load(at(t, j * v)), parameter, total)
        store(at(u, j * v), slope * factor)
    return total


@device_function
def custom_block(function: int, u: Pointer, t: Pointer, n: int, factor: Vector) -> Vector:
    """Overwrite the block at `u` with the slopes of a custom loss times factor; return the sum of its values.

    The function overwrites outputs by slopes, and targets by values.
    """
    v = lanes(u)
    call_native(function, u, t, t, n * v)
    total = broadcast(u, 0.0)
    for j in range(n):
        store(at(u, j * v), load(at(u, j * v)) * factor)
        total = total + load(at(t, j * v))
    return total


@device_function
def argmax_block(u: Pointer, n: int) -> Vector:
    """Return the index of the first maximum of n outputs of each row, a vector of floats."""
    v = lanes(u)
    best = load(u)
    place = broadcast(u, 0.0)
    for j in range(1, n):
        x = load(at(u, j * v))
        place = select_gt(x, best, broadcast(u, j), place)
        best = maximum(x, best)
    return place


@device_function
def metric_block(code: int, u: Pointer, t: Pointer, n: int, threshold: float, several: bool) -> Vector:
    """Return one metric of V rows, a vector; see `losses.metric_row`."""
    v = lanes(u)
    one = broadcast(u, 1.0)
    half = broadcast(u, 0.5)
    zero = broadcast(u, 0.0)
    share = broadcast(u, 1.0 / n)
    if code == ACCURACY and several:
        return select_gt(half, absolute(argmax_block(u, n) - argmax_block(t, n)), one, zero)
    total = zero
    for j in range(n):
        x = load(at(u, j * v))
        y = load(at(t, j * v))
        if code == ACCURACY:
            said = select_gt(x, broadcast(u, threshold), one, zero)
            true = select_gt(y, half, one, zero)
            total = total + select_gt(half, absolute(said - true), one, zero)
        elif code == MEAN_ABSOLUTE_ERROR:
            total = total + absolute(x - y)
        else:
            total = fma(x - y, x - y, total)
    return total * share
