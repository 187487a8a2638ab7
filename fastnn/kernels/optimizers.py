"""One update of a run of weights: gradient in, weights and slots overwritten.

g gradient, w weight, m and v slots, t the number of the update, from 1. The forms are the usual ones of
present libraries (the learning rate multiplies last, epsilon is added to the square root).

SGD       H. Robbins, S. Monro, 1951:            w -= lr g
momentum  B. T. Polyak, 1964:                    m = mu m + g,  w -= lr m
Nesterov  I. Sutskever et al., 2013, eq. 3-4:    m = mu m + g,  w -= lr (g + mu m)
AdaGrad   J. Duchi et al., 2011, section 1.1:    m += g^2,  w -= lr g / (sqrt m + eps)
RMSProp   T. Tieleman, G. Hinton, 2012, lecture 6.5:  m = rho m + (1 - rho) g^2,  w -= lr g / (sqrt m + eps)
Adam      D. Kingma, J. Ba, 2015, algorithm 1:   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
          w -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.codes import ADAGRAD, ADAM, MOMENTUM, NESTEROV, RMSPROP, SGD
from fastnn.kernels.jit import inline
from fastnn.kernels.layout import SETTING_0, SETTING_1, SETTING_2
from fastnn.kernels.simd import (
    absolute,
    at,
    fma,
    lanes,
    load,
    maximum,
    minimum,
    splat,
    sqrt,
    store,
    sum_lanes,
    where_finite,
)


@inline
def rates_of_step(optimizer: int, rate: float, numbers: Any, t: float) -> Any:
    """Six numbers of update t: learning rate, three settings, and Adam's two corrections of the start."""
    first = numbers[SETTING_0]
    second = numbers[SETTING_1]
    third = numbers[SETTING_2]
    if optimizer == ADAM:
        return rate, first, second, third, rate / (1.0 - first**t), 1.0 / math.sqrt(1.0 - second**t)
    return rate, first, second, third, rate, 1.0


@inline
def update(optimizer: int, rates: Any, w: Any, g: Any, m: Any, v: Any, n: int) -> bool:
    """Update n weights (whole vectors); return whether all stayed finite.

    Reads `g`; overwrites `w`, `m`, `v` (those that the optimizer has). Where a weight would become infinite
    or NaN, it and its slots keep their values.
    """
    lr, first, second, eps, corrected, unbias = rates
    step = lanes(w)
    zero = splat(w, 0.0)
    minus_lr = splat(w, -lr)
    a = splat(w, first)
    a1 = splat(w, 1.0 - first)
    b = splat(w, second)
    b1 = splat(w, 1.0 - second)
    small = splat(w, eps)
    rooted = splat(w, unbias)
    minus_corrected = splat(w, -corrected)
    bad = zero
    if optimizer == ADAM:
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old_v = load(at(v, i))
            old = load(at(w, i))
            new_m = fma(a, old_m, a1 * x)
            new_v = fma(b, old_v, b1 * (x * x))
            new = fma(minus_corrected, new_m / fma(sqrt(new_v), rooted, small), old)
            new = fma(new_v, zero, new)  # a square that became infinite would freeze the weight in silence
            bad = fma(new, zero, bad)
            store(at(m, i), where_finite(new, new_m, old_m))
            store(at(v, i), where_finite(new, new_v, old_v))
            store(at(w, i), where_finite(new, new, old))
    elif optimizer == SGD:
        for i in range(0, n, step):
            old = load(at(w, i))
            new = fma(minus_lr, load(at(g, i)), old)
            bad = fma(new, zero, bad)
            store(at(w, i), where_finite(new, new, old))
    elif optimizer in (MOMENTUM, NESTEROV):
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old = load(at(w, i))
            new_m = fma(a, old_m, x)
            direction = fma(a, new_m, x) if optimizer == NESTEROV else new_m
            new = fma(minus_lr, direction, old)
            bad = fma(new, zero, bad)
            store(at(m, i), where_finite(new, new_m, old_m))
            store(at(w, i), where_finite(new, new, old))
    elif optimizer in (ADAGRAD, RMSPROP):
        keep = splat(w, 1.0) if optimizer == ADAGRAD else a
        add = splat(w, 1.0) if optimizer == ADAGRAD else a1
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old = load(at(w, i))
            new_m = fma(keep, old_m, add * (x * x))
            new = fma(minus_lr, x / (sqrt(new_m) + small), old)
            new = fma(new_m, zero, new)
            bad = fma(new, zero, bad)
            store(at(m, i), where_finite(new, new_m, old_m))
            store(at(w, i), where_finite(new, new, old))
    return sum_lanes(bad) == 0.0


@inline
def add_penalty(l1: float, l2: float, w: Any, g: Any, n: int) -> float:
    """Add the gradient of l1 sum |w| + l2 sum w^2 to n elements at `g`; return the penalty itself."""
    step = lanes(w)
    one = splat(w, 1.0)
    zero = splat(w, 0.0)
    lasso = splat(w, l1)
    ridge = splat(w, 2.0 * l2)
    sum_abs = zero
    sum_squares = zero
    huge = splat(w, 1e30)
    for i in range(0, n, step):
        x = load(at(w, i))
        # sign(x) = x 1e30 clipped to [-1, 1]: exact for |x| >= 1e-30, and 0 at 0.
        sign = maximum(zero - one, minimum(one, x * huge))
        store(at(g, i), fma(lasso, sign, fma(ridge, x, load(at(g, i)))))
        sum_abs = sum_abs + absolute(x)
        sum_squares = fma(x, x, sum_squares)
    return l1 * sum_lanes(sum_abs) + l2 * sum_lanes(sum_squares)
