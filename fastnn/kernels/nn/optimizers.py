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
AMSGrad   S. Reddi, S. Kale, S. Kumar, 2018, algorithm 2:  Adam with the largest v so far in place of v
NAdam     T. Dozat, 2016, algorithm 2:           m, v of Adam,  w -= lr ((1 - mu_t) / (1 - M) g
          + mu_(t+1) / (1 - M mu_(t+1)) m) / (sqrt(v / (1 - b2^t)) + eps), with mu_t = b1 (1 - 0.96^(0.004 t) / 2) and
          M the product of mu_1 to mu_t
Lion      X. Chen et al., 2023, algorithm 2:     w -= lr sign(b1 m + (1 - b1) g),  m = b2 m + (1 - b2) g

All may shrink the weights themselves (decoupled weight decay, I. Loshchilov, F. Hutter, 2019, algorithm 2): what each
line takes off is taken off w (1 - lr decay).
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.ids import ADAGRAD, ADAM, AMSGRAD, LION, MOMENTUM, NADAM, NESTEROV, RMSPROP, SGD
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    fma,
    lanes,
    load,
    maximum,
    minimum,
    select_finite,
    sqrt,
    store,
    sum_lanes,
)
from fastnn.kernels.tables import Run


@device_function
def nadam_momentum(first: float, t: float) -> float:
    """mu_t."""
    return first * (1.0 - 0.5 * 0.96 ** (0.004 * t))


@device_function
def advance_product(optimizer: int, run: Run, product: float, t: float) -> float:
    """M of update t, given that of the update before; 1 where the optimizer has none."""
    return product * nadam_momentum(run.optimizer_settings[0], t) if optimizer == NADAM else product


@device_function
def rates_of_step(optimizer: int, rate: float, run: Run, t: float, product: float) -> Any:
    """Seven numbers of update t.

    The rate of g, three settings, the rate of m and the correction of sqrt v where the start is corrected for, and what
    the weight decay leaves. `product` is M of this update.
    """
    first = run.optimizer_settings[0]
    second = run.optimizer_settings[1]
    third = run.optimizer_settings[2]
    kept = 1.0 - rate * run.weight_decay
    of_m = rate
    root = 1.0
    if optimizer in (ADAM, AMSGRAD, NADAM):
        root = 1.0 / math.sqrt(1.0 - second**t)
        of_m = rate / (1.0 - first**t)
    if optimizer == NADAM:
        following = nadam_momentum(first, t + 1.0)
        of_m = rate * following / (1.0 - product * following)
        rate *= (1.0 - nadam_momentum(first, t)) / (1.0 - product)
    return rate, first, second, third, of_m, root, kept


@device_function
def update(optimizer: int, rates: Any, w: Any, g: Any, m: Any, v: Any, top: Any, n: int) -> bool:
    """Update n weights (whole vectors); return whether all stayed finite.

    Reads `g`; overwrites `w` and the slots `m`, `v`, `top` (those that the optimizer has). Where a weight would become
    infinite or NaN, it and its slots keep their values.
    """
    lr, first, second, eps, corrected, unbias, keep_weight = rates
    step = lanes(w)
    zero = broadcast(w, 0.0)
    minus_lr = broadcast(w, -lr)
    a = broadcast(w, first)
    a1 = broadcast(w, 1.0 - first)
    b = broadcast(w, second)
    b1 = broadcast(w, 1.0 - second)
    small = broadcast(w, eps)
    rooted = broadcast(w, unbias)
    minus_corrected = broadcast(w, -corrected)
    kept = broadcast(w, keep_weight)
    bad = zero
    if optimizer == ADAM:
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old_v = load(at(v, i))
            old = load(at(w, i))
            new_m = fma(a, old_m, a1 * x)
            new_v = fma(b, old_v, b1 * (x * x))
            new = fma(minus_corrected, new_m / fma(sqrt(new_v), rooted, small), old * kept)
            new = fma(new_v, zero, new)  # a square that became infinite would freeze the weight in silence
            bad = fma(new, zero, bad)
            store(at(m, i), select_finite(new, new_m, old_m))
            store(at(v, i), select_finite(new, new_v, old_v))
            store(at(w, i), select_finite(new, new, old))
    elif optimizer == SGD:
        for i in range(0, n, step):
            old = load(at(w, i))
            new = fma(minus_lr, load(at(g, i)), old * kept)
            bad = fma(new, zero, bad)
            store(at(w, i), select_finite(new, new, old))
    elif optimizer in (MOMENTUM, NESTEROV):
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old = load(at(w, i))
            new_m = fma(a, old_m, x)
            direction = fma(a, new_m, x) if optimizer == NESTEROV else new_m
            new = fma(minus_lr, direction, old * kept)
            bad = fma(new, zero, bad)
            store(at(m, i), select_finite(new, new_m, old_m))
            store(at(w, i), select_finite(new, new, old))
    elif optimizer in (ADAGRAD, RMSPROP):
        keep = broadcast(w, 1.0) if optimizer == ADAGRAD else a
        add = broadcast(w, 1.0) if optimizer == ADAGRAD else a1
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old = load(at(w, i))
            new_m = fma(keep, old_m, add * (x * x))
            new = fma(minus_lr, x / (sqrt(new_m) + small), old * kept)
            new = fma(new_m, zero, new)
            bad = fma(new, zero, bad)
            store(at(m, i), select_finite(new, new_m, old_m))
            store(at(w, i), select_finite(new, new, old))
    elif optimizer in (AMSGRAD, NADAM):  # Adam has the loop above for itself: the usual case, without a branch inside
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old_v = load(at(v, i))
            old = load(at(w, i))
            new_m = fma(a, old_m, a1 * x)
            new_v = fma(b, old_v, b1 * (x * x))
            if optimizer == AMSGRAD:
                old_top = load(at(top, i))
                new_top = maximum(old_top, new_v)
                new = fma(minus_corrected, new_m / fma(sqrt(new_top), rooted, small), old * kept)
                new = fma(new_v, zero, new)
                store(at(top, i), select_finite(new, new_top, old_top))
            else:
                direction = fma(minus_corrected, new_m, minus_lr * x)
                new = direction / fma(sqrt(new_v), rooted, small) + old * kept
                new = fma(new_v, zero, new)
            bad = fma(new, zero, bad)
            store(at(m, i), select_finite(new, new_m, old_m))
            store(at(v, i), select_finite(new, new_v, old_v))
            store(at(w, i), select_finite(new, new, old))
    elif optimizer == LION:
        for i in range(0, n, step):
            x = load(at(g, i))
            old_m = load(at(m, i))
            old = load(at(w, i))
            new_m = fma(b, old_m, b1 * x)
            new = fma(minus_lr, sign(fma(a, old_m, a1 * x)), old * kept)
            new = fma(new_m, zero, new)
            bad = fma(new, zero, bad)
            store(at(m, i), select_finite(new, new_m, old_m))
            store(at(w, i), select_finite(new, new, old))
    return sum_lanes(bad) == 0.0


@device_function
def sign(x: Any) -> Any:
    """-1, 0 or 1 lane by lane: x 1e30 clipped, which is exact for |x| >= 1e-30."""
    one = broadcast(x, 1.0)
    return maximum(broadcast(x, -1.0), minimum(one, x * broadcast(x, 1e30)))


@device_function
def clip(g: Any, most: float, n: int) -> None:
    """Clip n elements at `g` to +-most; NaN stays."""
    high = broadcast(g, most)
    low = broadcast(g, -most)
    for i in range(0, n, lanes(g)):
        store(at(g, i), maximum(low, minimum(high, load(at(g, i)))))


@device_function
def scale(g: Any, factor: float, n: int) -> None:
    """Multiply n elements at `g`, in place."""
    by = broadcast(g, factor)
    for i in range(0, n, lanes(g)):
        store(at(g, i), load(at(g, i)) * by)


@device_function
def sum_of_squares(g: Any, n: int) -> float:
    """Sum of the squares of n elements."""
    total = broadcast(g, 0.0)
    for i in range(0, n, lanes(g)):
        x = load(at(g, i))
        total = fma(x, x, total)
    return float(sum_lanes(total))


@device_function
def average(keep: float, w: Any, mean: Any, n: int) -> None:
    """Move n elements of a running average towards those at `w`: mean = keep mean + (1 - keep) w."""
    old = broadcast(w, keep)
    new = broadcast(w, 1.0 - keep)
    for i in range(0, n, lanes(w)):
        store(at(mean, i), fma(old, load(at(mean, i)), new * load(at(w, i))))


@device_function
def add_penalty(l1: float, l2: float, w: Any, g: Any, n: int) -> float:
    """Add the gradient of l1 sum |w| + l2 sum w^2 to n elements at `g`; return the penalty itself."""
    step = lanes(w)
    zero = broadcast(w, 0.0)
    lasso = broadcast(w, l1)
    ridge = broadcast(w, 2.0 * l2)
    sum_abs = zero
    sum_squares = zero
    for i in range(0, n, step):
        x = load(at(w, i))
        store(at(g, i), fma(lasso, sign(x), fma(ridge, x, load(at(g, i)))))
        sum_abs = sum_abs + absolute(x)
        sum_squares = fma(x, x, sum_squares)
    return l1 * sum_lanes(sum_abs) + l2 * sum_lanes(sum_squares)
