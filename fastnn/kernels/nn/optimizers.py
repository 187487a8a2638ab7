"""Operations common to all optimizers: clipping, norms, penalties and running averages, over runs of vectors.

The arithmetic of each optimizer is in `fastnn.optimizers`, the selection by code in `dispatch`.
"""

from __future__ import annotations

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer, Vector
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    fma,
    lanes,
    load,
    maximum,
    minimum,
    store,
    sum_lanes,
)


@device_function
def sign(x: Vector) -> Vector:
    """Return -1, 0 or 1 lane by lane: x 1e30 clipped, which is exact for |x| >= 1e-30."""
    one = broadcast(x, 1.0)
    return maximum(broadcast(x, -1.0), minimum(one, x * broadcast(x, 1e30)))


@device_function
def clip(g: Pointer, most: float, n: int) -> None:
    """Clip n elements at `g` to +-most; NaN stays."""
    high = broadcast(g, most)
    low = broadcast(g, -most)
    for i in range(0, n, lanes(g)):
        store(at(g, i), maximum(low, minimum(high, load(at(g, i)))))


@device_function
def scale(g: Pointer, factor: float, n: int) -> None:
    """Multiply n elements at `g`, in place."""
    by = broadcast(g, factor)
    for i in range(0, n, lanes(g)):
        store(at(g, i), load(at(g, i)) * by)


@device_function
def sum_of_squares(g: Pointer, n: int) -> float:
    """Return the sum of the squares of n elements."""
    total = broadcast(g, 0.0)
    for i in range(0, n, lanes(g)):
        x = load(at(g, i))
        total = fma(x, x, total)
    return float(sum_lanes(total))


@device_function
def average(keep: float, w: Pointer, mean: Pointer, n: int) -> None:
    """Move n elements of a running average towards those at `w`: mean = keep mean + (1 - keep) w."""
    old = broadcast(w, keep)
    new = broadcast(w, 1.0 - keep)
    for i in range(0, n, lanes(w)):
        store(at(mean, i), fma(old, load(at(mean, i)), new * load(at(w, i))))


@device_function
def add_penalty(l1: float, l2: float, w: Pointer, g: Pointer, n: int) -> float:
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
