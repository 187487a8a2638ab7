"""Losses of V rows at once, for nets of at most V outputs (V lanes of a vector).

Most outputs are few: one value, some classes. Taken row by row, a vector would be nearly empty and each row
would wait for sums across its lanes. So blocks of V rows are transposed in registers: then a vector holds one
output of V rows, and all sums run down the outputs. The formulas are those of `losses`.

A block always has V rows. Those after the last row of a chunk hold whatever lay there; what is computed from
them is written to the same rows (the buffers have room for whole blocks) and never looked at.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import (
    ACCURACY,
    BINARY_CROSSENTROPY,
    CUSTOM_LOSS,
    GAUSSIAN_NLL,
    MEAN_ABSOLUTE_ERROR,
    SOFTMAX_CROSSENTROPY,
    SQUARED_ERROR,
    SUM_OF_SQUARES,
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
    maximum,
    select_gt,
    store,
    store_scalar,
)
from fastnn.kernels.maths.elementary import exp, log, log1p
from fastnn.kernels.nn.losses import gaussian, pointwise


@device_function
def one_hot_block(labels: Any, order: Any, place: int, rows: int, t: Any, n: int, off: Any) -> None:
    """Overwrite the (n, V) block at `t` with the smoothed labels of the rows at `place` of the epoch.

    `off` is what each class gets that is not the label's.
    """
    v = lanes(t)
    rest = broadcast(t, off)
    on = 1.0 - off * (n - 1)
    for j in range(n):
        store(at(t, j * v), rest)
    for i in range(rows):
        source = order[place + i] if order.size else place + i
        # Whatever became of the labels since they were checked, nothing is written outside the block.
        store_scalar(at(t, min(max(labels[source], 0), n - 1) * v + i), on)


@device_function
def softmax_crossentropy_block(u: Any, t: Any, n: int, scale: Any) -> Any:
    """Overwrite the (n, V) block at `u` with (softmax(u) sum t - t) scale; return sum t (ln sum e^u - u)."""
    v = lanes(u)
    top = load(u)
    for j in range(1, n):
        top = maximum(load(at(u, j * v)), top)
    total = broadcast(u, 0.0)
    mass = total
    dot = total
    for j in range(n):
        x = load(at(u, j * v)) - top
        y = load(at(t, j * v))
        e = exp(x)
        store(at(u, j * v), e)
        total = total + e
        mass = mass + y
        dot = fma(x, y, dot)
    by = mass / total
    for j in range(n):
        p = load(at(u, j * v)) * by
        store(at(u, j * v), (p - load(at(t, j * v))) * scale)
    return mass * log(total) - dot


@device_function
def binary_crossentropy_block(u: Any, t: Any, n: int, factor: Any) -> Any:
    """Overwrite the block at `u` with (sigmoid(u) - t) factor; return sum ln(1 + e^u) - t u."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    one = broadcast(u, 1.0)
    total = zero
    for j in range(n):
        x = load(at(u, j * v))
        y = load(at(t, j * v))
        e = exp(zero - absolute(x))
        p = select_gt(zero, x, e, one) / (one + e)
        store(at(u, j * v), (p - y) * factor)
        total = total + (maximum(zero, x) - x * y + log1p(e))
    return total


@device_function
def squared_error_block(u: Any, t: Any, n: int, factor: Any) -> Any:
    """Overwrite the block at `u` with (u - t) factor; return sum (u - t)^2."""
    v = lanes(u)
    total = broadcast(u, 0.0)
    for j in range(n):
        e = load(at(u, j * v)) - load(at(t, j * v))
        store(at(u, j * v), e * factor)
        total = fma(e, e, total)
    return total


@device_function
def pointwise_block(code: int, u: Any, t: Any, p: Any, n: int, factor: Any) -> Any:
    """Overwrite the block at `u` with the slopes times factor; return the sum of the values."""
    v = lanes(u)
    total = broadcast(u, 0.0)
    for j in range(n):
        value, slope = pointwise(code, load(at(u, j * v)), load(at(t, j * v)), broadcast(u, load_scalar(at(p, j))))
        store(at(u, j * v), slope * factor)
        total = total + value
    return total


@device_function
def gaussian_block(u: Any, t: Any, n: int, factor: Any) -> Any:
    """The same for the Gaussian likelihood of n / 2 targets."""
    v = lanes(u)
    half = n // 2
    total = broadcast(u, 0.0)
    for j in range(half):
        mean = at(u, j * v)
        log_variance = at(u, (half + j) * v)
        value, d_mean, d_log_variance = gaussian(load(mean), load(log_variance), load(at(t, j * v)))
        store(mean, d_mean * factor)
        store(log_variance, d_log_variance * factor)
        total = total + value
    return total


@device_function
def custom_block(function: int, u: Any, t: Any, n: int, factor: Any) -> Any:
    """Overwrite the block at `u` with the slopes of the user's loss times factor; return the sum of its values.

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
def loss_block(code: int, function: int, u: Any, t: Any, p: Any, n: int, weight: Any, norm: Any) -> Any:
    """Losses of V rows times their weights, a vector; overwrites the block at `u` with the gradient.

    Parameters
    ----------
    code : loss
    function : address of the user's
    u, t : pointers to (n, V) blocks of outputs and targets, which may be overwritten
    p : pointer to the parameters of the outputs
    n : O
    weight : vector of the rows' weights
    norm : sum of the weights of the batch
    """
    share = broadcast(u, 1.0 / n)
    scale = weight / broadcast(u, norm)
    if code == SOFTMAX_CROSSENTROPY:
        return softmax_crossentropy_block(u, t, n, scale) * weight
    if code == BINARY_CROSSENTROPY:
        return binary_crossentropy_block(u, t, n, scale * share) * (weight * share)
    if code == SUM_OF_SQUARES:
        return squared_error_block(u, t, n, weight) * (weight * broadcast(u, 0.5))
    if code == SQUARED_ERROR:
        return squared_error_block(u, t, n, (scale + scale) * share) * (weight * share)
    if code == GAUSSIAN_NLL:
        return gaussian_block(u, t, n, (scale + scale) * share) * ((weight + weight) * share)
    if code == CUSTOM_LOSS:
        return custom_block(function, u, t, n, scale * share) * (weight * share)
    return pointwise_block(code, u, t, p, n, scale * share) * (weight * share)


@device_function
def argmax_block(u: Any, n: int) -> Any:
    """Place of the first of the largest of n outputs of each row, as numbers."""
    v = lanes(u)
    best = load(u)
    place = broadcast(u, 0.0)
    for j in range(1, n):
        x = load(at(u, j * v))
        place = select_gt(x, best, broadcast(u, j), place)
        best = maximum(x, best)
    return place


@device_function
def metric_block(code: int, u: Any, t: Any, n: int, threshold: float, several: bool) -> Any:
    """One metric of V rows, a vector; see `losses.metric_row`."""
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
