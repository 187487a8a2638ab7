"""Losses of one row: the value, and the gradient with respect to the output, in one pass.

u is the output of the last layer, t the target, O the number of outputs. `scale` is what the row counts in
the batch: its weight over the sum of weights, 1 / B without weights. Rows are padded to whole vectors; the
padding of the gradient is written as zero, whatever the padding of u holds.

=====================  ==========================================  ===============================
squared error          (1/O) sum (u - t)^2                         2 (u - t) scale / O
sum of squares         1/2 sum (u - t)^2, not averaged             (u - t) weight
binary cross-entropy   (1/O) sum ln(1 + e^u) - t u                 (sigmoid(u) - t) scale / O
softmax cross-entropy  sum t (ln sum e^u - u)                      (softmax(u) sum t - t) scale
absolute error         (1/O) sum |u - t|                           sign(u - t) scale / O
huber                  (1/O) sum c (u - t - c / 2)                 c scale / O
poisson                (1/O) sum e^u - t u                         (e^u - t) scale / O
quantile               (1/O) sum c (u - t)                         c scale / O
gaussian nll           (1/T) sum (s + (m - t)^2 e^-s) / 2          (m - t) e^-s scale / T for m,
                                                                   (1 - (m - t)^2 e^-s) / 2 scale / T for s
=====================  ==========================================  ===============================

huber: c = u - t, clipped to +-p (P. J. Huber, 1964). quantile: c = 1 - p above the target, -p below it (R. Koenker,
G. Bassett, 1978). p is a parameter of each output. gaussian nll: T = O / 2 means m, then T log-variances s (D. Nix,
A. Weigend, 1994, eq. 5); its targets are in the first half of the row.

The cross-entropies take logits: ln(1 + e^u) = max(u, 0) + ln(1 + e^-|u|) and
ln sum e^u = m + ln sum e^(u - m) with m = max u cannot overflow.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import (
    ABSOLUTE_ERROR,
    ACCURACY,
    BINARY_CROSSENTROPY,
    GAUSSIAN_NLL,
    HUBER,
    MEAN_ABSOLUTE_ERROR,
    POISSON,
    SOFTMAX_CROSSENTROPY,
    SQUARED_ERROR,
)
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    call_native,
    fma,
    lanes,
    load,
    load_scalar,
    mask_tail,
    max_lanes,
    maximum,
    minimum,
    select_gt,
    store,
    store_scalar,
    sum_lanes,
)
from fastnn.kernels.maths.elementary import exp, log, log1p
from fastnn.kernels.nn.activations import exp_shifted, largest, scale_row


@device_function
def squared_error_row(u: Any, t: Any, d: Any, n: int, factor: float) -> Any:
    """Overwrite `d` with factor * (u - t); return sum (u - t)^2."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    by = broadcast(u, factor)
    total = zero
    for j in range(0, n, v):
        e = mask_tail(load(at(u, j)) - load(at(t, j)), n - j, zero)
        store(at(d, j), e * by)
        total = fma(e, e, total)
    return sum_lanes(total)


@device_function
def binary_crossentropy_row(u: Any, t: Any, d: Any, n: int, factor: float) -> Any:
    """Overwrite `d` with factor * (sigmoid(u) - t); return sum ln(1 + e^u) - t u."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    one = broadcast(u, 1.0)
    by = broadcast(u, factor)
    total = zero
    for j in range(0, n, v):
        x = load(at(u, j))
        y = load(at(t, j))
        e = exp(zero - absolute(x))
        p = select_gt(zero, x, e, one) / (one + e)
        store(at(d, j), mask_tail((p - y) * by, n - j, zero))
        value = maximum(zero, x) - x * y + log1p(e)
        total = total + mask_tail(value, n - j, zero)
    return sum_lanes(total)


@device_function
def log_scalar(x: Any, like: Any) -> Any:
    """Natural logarithm of one number; `like` is a pointer of its type."""
    return max_lanes(log(broadcast(like, x)))


@device_function
def softmax_crossentropy_label_row(u: Any, label: int, d: Any, n: int, scale: float) -> Any:
    """Overwrite `d` with scale * (softmax(u) - one_hot(label)); return -ln softmax(u)[label]."""
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    scale_row(d, scale / total, n)
    hit = at(d, label)
    store_scalar(hit, load_scalar(hit) - scale)
    return log_scalar(total, u) + (top - load_scalar(at(u, label)))


@device_function
def softmax_crossentropy_row(u: Any, t: Any, d: Any, n: int, scale: float) -> Any:
    """The same for a row of target probabilities."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    mass = zero
    dot = zero
    for j in range(0, n, v):
        y = load(at(t, j))
        mass = mass + y
        dot = fma(mask_tail(load(at(u, j)), n - j, zero) - broadcast(u, top), y, dot)
    whole = sum_lanes(mass)
    by = broadcast(u, scale * whole / total)
    down = broadcast(u, -scale)
    for j in range(0, n, v):
        store(at(d, j), fma(load(at(t, j)), down, load(at(d, j)) * by))
    return whole * log_scalar(total, u) - sum_lanes(dot)


@device_function
def fill_one_hot_row(t: Any, label: int, n: int, off: Any) -> None:
    """Overwrite n elements at `t` (whole vectors) with a smoothed label: `off`, and at the label the rest."""
    v = lanes(t)
    zero = broadcast(t, 0.0)
    rest = broadcast(t, off)
    for j in range(0, n, v):
        store(at(t, j), mask_tail(rest, n - j, zero))
    store_scalar(at(t, label), 1.0 - off * (n - 1))


@device_function
def pointwise(code: int, u: Any, t: Any, p: Any) -> Any:
    """Value and slope of a loss that takes each output for itself, lane by lane; `p` is its parameter."""
    zero = u - u  # NaN for a NaN, which thus reaches value and slope
    e = u - t
    if code == HUBER:
        c = maximum(zero - p, minimum(p, e))
        return c * (e - (c + c) * broadcast(u, 0.25)), c
    if code == POISSON:
        rate = exp(u)
        return rate - t * u, rate - t
    one = broadcast(u, 1.0)
    if code == ABSOLUTE_ERROR:
        above = one
        below = zero - one
    else:
        above = one - p
        below = zero - p
    c = select_gt(e, zero, above, select_gt(zero, e, below, zero))
    return c * e, c


@device_function
def pointwise_row(code: int, u: Any, t: Any, p: Any, d: Any, n: int, factor: Any) -> Any:
    """Overwrite `d` with factor times the slopes; return the sum of the values."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    by = broadcast(u, factor)
    total = zero
    for j in range(0, n, v):
        value, slope = pointwise(code, load(at(u, j)), load(at(t, j)), load(at(p, j)))
        store(at(d, j), mask_tail(slope * by, n - j, zero))
        total = total + mask_tail(value, n - j, zero)
    return sum_lanes(total)


@device_function
def gaussian(m: Any, s: Any, t: Any) -> Any:
    """Value, and slopes with respect to mean and log-variance, lane by lane."""
    half = broadcast(m, 0.5)
    e = m - t
    scaled = e * exp(s - s - s)
    square = e * scaled
    return half * (s + square), scaled, half - half * square


@device_function
def gaussian_row(u: Any, t: Any, d: Any, n: int, factor: Any) -> Any:
    """Overwrite `d`, padding included; return the sum of the values. One target after the other."""
    v = lanes(u)
    half = n // 2
    total = broadcast(u, 0.0)
    for j in range(0, n, v):
        store(at(d, j), broadcast(u, 0.0))
    for j in range(half):
        m = broadcast(u, load_scalar(at(u, j)))
        s = broadcast(u, load_scalar(at(u, half + j)))
        value, d_mean, d_log_variance = gaussian(m, s, broadcast(u, load_scalar(at(t, j))))
        total = total + value
        store_scalar(at(d, j), factor * max_lanes(d_mean))
        store_scalar(at(d, half + j), factor * max_lanes(d_log_variance))
    return max_lanes(total)


@device_function
def custom_row(function: int, u: Any, t: Any, d: Any, values: Any, n: int, factor: Any) -> Any:
    """Overwrite `d` with factor times the slopes of the user's loss; return the sum of its values.

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
def loss_row(code: int, u: Any, t: Any, label: int, p: Any, d: Any, n: int, weight: Any, norm: Any) -> Any:
    """Value of one row, times its weight; overwrites `d` with the gradient of the batch's loss.

    Parameters
    ----------
    code : loss
    u, t, d : pointers to the outputs, the targets (overwritten where label >= 0) and the gradient of the row
    label : class, or -1
    p : pointer to the parameters of the outputs
    n : O
    weight : the row's weight
    norm : sum of the weights of the batch
    """
    scale = weight / norm
    if code == SQUARED_ERROR:
        return squared_error_row(u, t, d, n, 2.0 * scale / n) * (weight / n)
    if code == BINARY_CROSSENTROPY:
        return binary_crossentropy_row(u, t, d, n, scale / n) * (weight / n)
    if code == SOFTMAX_CROSSENTROPY:
        off = load_scalar(p)
        if label >= 0 and off == 0.0:
            return softmax_crossentropy_label_row(u, label, d, n, scale) * weight
        if label >= 0:
            fill_one_hot_row(t, label, n, off)
        return softmax_crossentropy_row(u, t, d, n, scale) * weight
    if code == GAUSSIAN_NLL:
        return gaussian_row(u, t, d, n, 2.0 * scale / n) * (2.0 * weight / n)
    return pointwise_row(code, u, t, p, d, n, scale / n) * (weight / n)


@device_function
def sum_of_squares_row(u: Any, t: Any, d: Any, n: int, weight: Any) -> Any:
    """1/2 sum (u - t)^2 times the weight; overwrites `d`."""
    return squared_error_row(u, t, d, n, weight) * (0.5 * weight)


@device_function
def argmax(row: Any, n: int) -> int:
    """Place of the first of the largest of n elements."""
    best = load_scalar(row)
    place = 0
    for j in range(1, n):
        x = load_scalar(at(row, j))
        if x > best:
            best = x
            place = j
    return place


@device_function
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
            if (load_scalar(at(u, j)) > threshold) == (load_scalar(at(t, j)) > 0.5):
                right += 1
        return right / n
    total = 0.0
    for j in range(n):
        e = float(load_scalar(at(u, j)) - load_scalar(at(t, j)))
        total += abs(e) if code == MEAN_ABSOLUTE_ERROR else e * e
    return total / n
