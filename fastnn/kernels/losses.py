"""Losses of one row: the value, and the gradient with respect to the output, in one pass.

u is the output of the last layer, t the target, O the number of outputs. `scale` is what the row counts in
the batch: its weight over the sum of weights, 1 / B without weights. Rows are padded to whole vectors; the
padding of the gradient is written as zero, whatever the padding of u holds.

=====================  ==========================================  ===============================
squared error          (1/O) sum (u - t)^2                         2 (u - t) scale / O
sum of squares         1/2 sum (u - t)^2, not averaged             (u - t) weight
binary cross-entropy   (1/O) sum ln(1 + e^u) - t u                 (sigmoid(u) - t) scale / O
softmax cross-entropy  sum t (ln sum e^u - u)                      (softmax(u) sum t - t) scale
=====================  ==========================================  ===============================

The cross-entropies take logits: ln(1 + e^u) = max(u, 0) + ln(1 + e^-|u|) and
ln sum e^u = m + ln sum e^(u - m) with m = max u cannot overflow.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.activations import exp_shifted, largest, scale_row
from fastnn.kernels.codes import ACCURACY, BINARY_CROSSENTROPY, MEAN_ABSOLUTE_ERROR, SQUARED_ERROR
from fastnn.kernels.elementary import exp, log, log1p
from fastnn.kernels.jit import inline
from fastnn.kernels.simd import (
    absolute,
    at,
    first,
    fma,
    get,
    lanes,
    load,
    max_lanes,
    maximum,
    put,
    splat,
    store,
    sum_lanes,
    where_greater,
)


@inline
def squared_error_row(u: Any, t: Any, d: Any, n: int, factor: float) -> Any:
    """Overwrite `d` with factor * (u - t); return sum (u - t)^2."""
    v = lanes(u)
    zero = splat(u, 0.0)
    by = splat(u, factor)
    total = zero
    for j in range(0, n, v):
        e = first(load(at(u, j)) - load(at(t, j)), n - j, zero)
        store(at(d, j), e * by)
        total = fma(e, e, total)
    return sum_lanes(total)


@inline
def binary_crossentropy_row(u: Any, t: Any, d: Any, n: int, factor: float) -> Any:
    """Overwrite `d` with factor * (sigmoid(u) - t); return sum ln(1 + e^u) - t u."""
    v = lanes(u)
    zero = splat(u, 0.0)
    one = splat(u, 1.0)
    by = splat(u, factor)
    total = zero
    for j in range(0, n, v):
        x = load(at(u, j))
        y = load(at(t, j))
        e = exp(zero - absolute(x))
        p = where_greater(zero, x, e, one) / (one + e)
        store(at(d, j), first((p - y) * by, n - j, zero))
        value = maximum(zero, x) - x * y + log1p(e)
        total = total + first(value, n - j, zero)
    return sum_lanes(total)


@inline
def log_scalar(x: Any, like: Any) -> Any:
    """Natural logarithm of one number; `like` is a pointer of its type."""
    return max_lanes(log(splat(like, x)))


@inline
def softmax_crossentropy_label_row(u: Any, label: int, d: Any, n: int, scale: float) -> Any:
    """Overwrite `d` with scale * (softmax(u) - one_hot(label)); return -ln softmax(u)[label]."""
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    scale_row(d, scale / total, n)
    hit = at(d, label)
    put(hit, get(hit) - scale)
    return log_scalar(total, u) + (top - get(at(u, label)))


@inline
def softmax_crossentropy_row(u: Any, t: Any, d: Any, n: int, scale: float) -> Any:
    """The same for a row of target probabilities."""
    v = lanes(u)
    zero = splat(u, 0.0)
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    mass = zero
    dot = zero
    for j in range(0, n, v):
        y = load(at(t, j))
        mass = mass + y
        dot = fma(first(load(at(u, j)), n - j, zero) - splat(u, top), y, dot)
    whole = sum_lanes(mass)
    by = splat(u, scale * whole / total)
    down = splat(u, -scale)
    for j in range(0, n, v):
        store(at(d, j), fma(load(at(t, j)), down, load(at(d, j)) * by))
    return whole * log_scalar(total, u) - sum_lanes(dot)


@inline
def loss_row(code: int, u: Any, t: Any, label: int, d: Any, n: int, weight: Any, norm: Any) -> Any:
    """Value of one row, times its weight; overwrites `d` with the gradient of the batch's loss.

    Parameters
    ----------
    code : loss
    u, t, d : pointers to the outputs, the targets (ignored where label >= 0) and the gradient of the row
    label : class, or -1
    n : O
    weight : the row's weight
    norm : sum of the weights of the batch
    """
    scale = weight / norm
    if code == SQUARED_ERROR:
        return squared_error_row(u, t, d, n, 2.0 * scale / n) * (weight / n)
    if code == BINARY_CROSSENTROPY:
        return binary_crossentropy_row(u, t, d, n, scale / n) * (weight / n)
    if label >= 0:
        return softmax_crossentropy_label_row(u, label, d, n, scale) * weight
    return softmax_crossentropy_row(u, t, d, n, scale) * weight


@inline
def sum_of_squares_row(u: Any, t: Any, d: Any, n: int, weight: Any) -> Any:
    """1/2 sum (u - t)^2 times the weight; overwrites `d`."""
    return squared_error_row(u, t, d, n, weight) * (0.5 * weight)


@inline
def argmax(row: Any, n: int) -> int:
    """Place of the first of the largest of n elements."""
    best = get(row)
    place = 0
    for j in range(1, n):
        x = get(at(row, j))
        if x > best:
            best = x
            place = j
    return place


@inline
def metric_row(code: int, u: Any, t: Any, label: int, n: int, threshold: float, several: bool) -> float:
    """One metric of one row.

    Parameters
    ----------
    code : metric
    u, t : outputs and targets
    label : class, or -1
    n : O
    threshold : outputs above it count as class 1 where classes do not compete
    several : whether the outputs compete (softmax), so that the largest is the class

    Returns
    -------
    float
        Accuracy: 1 or 0 for competing outputs, else the share of right outputs. Otherwise the mean over
        outputs of (u - t)^2 or |u - t|.
    """
    if code == ACCURACY:
        if several:
            true = label if label >= 0 else argmax(t, n)
            return 1.0 if argmax(u, n) == true else 0.0
        right = 0
        for j in range(n):
            if (get(at(u, j)) > threshold) == (get(at(t, j)) > 0.5):
                right += 1
        return right / n
    total = 0.0
    for j in range(n):
        e = float(get(at(u, j)) - get(at(t, j)))
        total += abs(e) if code == MEAN_ABSOLUTE_ERROR else e * e
    return total / n
