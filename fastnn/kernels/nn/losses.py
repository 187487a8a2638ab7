"""Losses and metrics of one row, in one pass over its outputs.

u is the output of the last layer, t the target, n the number of outputs. Rows are padded to whole vectors; the padding
of the gradient is written as zero, whatever the padding of u holds. The arithmetic of each loss is in `fastnn.losses`,
the selection by code in `dispatch`.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import ACCURACY, MEAN_ABSOLUTE_ERROR
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    call_native,
    lanes,
    load,
    load_scalar,
    mask_tail,
    store,
    store_scalar,
    sum_lanes,
)


@device_function
def fill_one_hot_row(t: Pointer, label: int, n: int, off: Any) -> None:
    """Overwrite n elements at `t` (whole vectors) with a smoothed label: `off`, at the label 1 - (n - 1) off."""
    v = lanes(t)
    zero = broadcast(t, 0.0)
    rest = broadcast(t, off)
    for j in range(0, n, v):
        store(at(t, j), mask_tail(rest, n - j, zero))
    store_scalar(at(t, label), 1.0 - off * (n - 1))


@device_function
def lanewise_row(value_and_slope: Any, u: Pointer, t: Pointer, p: Pointer, d: Pointer, n: int, factor: Any) -> Any:
    """Overwrite `d` with factor times the slopes of a loss of single outputs; return the sum of its values."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    by = broadcast(u, factor)
    total = zero
    for j in range(0, n, v):
        increased, slope = value_and_slope(load(at(u, j)), load(at(t, j)), load(at(p, j)), total)
        store(at(d, j), mask_tail(slope * by, n - j, zero))
        total = mask_tail(increased, n - j, total)
    return sum_lanes(total)


@device_function
def custom_row(function: int, u: Pointer, t: Pointer, d: Pointer, values: Pointer, n: int, factor: Any) -> Any:
    """Overwrite `d` with factor times the slopes of a custom loss; return the sum of its values.

    The function overwrites n outputs by slopes; n elements at `values` are scratch.
    """
    v = lanes(u)
    zero = broadcast(u, 0.0)
    by = broadcast(u, factor)
    whole = (n + v - 1) // v * v
    for j in range(0, n, v):
        store(at(d, j), load(at(u, j)))
    call_native(function, d, t, values, whole)
    total = zero
    for j in range(0, n, v):
        store(at(d, j), mask_tail(load(at(d, j)) * by, n - j, zero))
        total = total + mask_tail(load(at(values, j)), n - j, zero)
    return sum_lanes(total)


@device_function
def argmax(row: Pointer, n: int) -> int:
    """Return the index of the first maximum of n elements."""
    best = load_scalar(row)
    place = 0
    for j in range(1, n):
        x = load_scalar(at(row, j))
        if x > best:
            best = x
            place = j
    return place


@device_function
def metric_row(code: int, u: Pointer, t: Pointer, label: int, n: int, threshold: float, several: bool) -> float:
    """Return one metric of one row.

    Parameters
    ----------
    code : metric
    u, t : outputs and targets
    label : class, or -1
    n : number of outputs
    threshold : outputs above it count as class 1 if outputs are independent
    several : whether the outputs are those of exclusive classes (softmax), of which the largest is predicted

    Returns
    -------
    float
        Accuracy: 1 or 0 for exclusive classes, else the fraction of correct outputs. Otherwise the mean over
        outputs of (u - t)^2 or |u - t|.
    """
    if code == ACCURACY:
        if several:
            true = label if label >= 0 else argmax(t, n)
            return 1.0 if argmax(u, n) == true else 0.0
        right = 0
        for j in range(n):
            if (load_scalar(at(u, j)) > threshold) == (load_scalar(at(t, j)) > 0.5):
                right += 1
        return right / n
    total = 0.0
    for j in range(n):
        e = float(load_scalar(at(u, j)) - load_scalar(at(t, j)))
        total += abs(e) if code == MEAN_ABSOLUTE_ERROR else e * e
    return total / n
