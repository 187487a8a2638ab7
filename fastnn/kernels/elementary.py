"""exp, log, tanh and their kin on vectors, for float32 and float64.

Each reduces its argument as in Cephes (S. L. Moshier, Methods and Programs for Mathematical Functions,
1989) and sums a power series in Horner's form by fused multiply-adds. Errors, measured over the whole
range against a longer type, in units of the last place: exp 1, expm1 2, log and log1p 2, sigmoid 2.5, tanh 2.5.
There is no table and no branch, so every lane costs the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import overload

from fastnn.kernels.jit import inline
from fastnn.kernels.simd import (
    ROUND32,
    ROUND64,
    Vector,
    absolute,
    exponent,
    fma,
    maximum,
    minimum,
    power_of_two,
    significand,
    splat,
    where_finite,
)

LOG2_E = math.log2(math.e)
LN2 = math.log(2.0)
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
LN2_HIGH32, LN2_LOW32 = 0.693359375, -2.121944400546905827679e-4
LN2_HIGH64, LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Beyond these the true value leaves the normal numbers; exp saturates there, so it is never 0, infinite or subnormal.
LIMIT32, LIMIT64 = 87.0, 708.0
# e^r = 1 + r + r^2 (c0 + c1 r + ...): 1/2!, 1/3!, ...; |r| <= ln(2)/2.
EXP64 = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
E0, E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = EXP64


@inline
def _exp_parts32(x: Any) -> Any:
    """(e^r - 1, 2^n) with x = n ln 2 + r, |r| <= ln(2)/2; the polynomial is Cephes' expf."""
    x = maximum(splat(x, -LIMIT32), minimum(splat(x, LIMIT32), x))
    shifted = fma(x, splat(x, LOG2_E), splat(x, ROUND32))
    n = shifted - splat(x, ROUND32)
    r = fma(n, splat(x, -LN2_HIGH32), x)
    r = fma(n, splat(x, -LN2_LOW32), r)
    q = splat(x, 1.9875691500e-4)
    q = fma(q, r, splat(x, 1.3981999507e-3))
    q = fma(q, r, splat(x, 8.3334519073e-3))
    q = fma(q, r, splat(x, 4.1665795894e-2))
    q = fma(q, r, splat(x, 1.6666665459e-1))
    q = fma(q, r, splat(x, 5.0000001201e-1))
    return fma(q, r * r, r), power_of_two(shifted)


@inline
def _exp_parts64(x: Any) -> Any:
    """The same in double precision, by the Taylor series to r^13."""
    x = maximum(splat(x, -LIMIT64), minimum(splat(x, LIMIT64), x))
    shifted = fma(x, splat(x, LOG2_E), splat(x, ROUND64))
    n = shifted - splat(x, ROUND64)
    r = fma(n, splat(x, -LN2_HIGH64), x)
    r = fma(n, splat(x, -LN2_LOW64), r)
    q = fma(splat(x, E0), r, splat(x, E1))
    q = fma(q, r, splat(x, E2))
    q = fma(q, r, splat(x, E3))
    q = fma(q, r, splat(x, E4))
    q = fma(q, r, splat(x, E5))
    q = fma(q, r, splat(x, E6))
    q = fma(q, r, splat(x, E7))
    q = fma(q, r, splat(x, E8))
    q = fma(q, r, splat(x, E9))
    q = fma(q, r, splat(x, E10))
    q = fma(q, r, splat(x, E11))
    return fma(q, r * r, r), power_of_two(shifted)


def _exp_parts(x: Any) -> Any:
    return _exp_parts32(x) if x.dtype == np.float32 else _exp_parts64(x)


@inline
def _atanh_tail32(s: Any) -> Any:
    """1/3 + s/5 + s^2/7 + ... for s = f^2 <= 1/9: atanh(f) = f + f s times this."""
    q = splat(s, 1.0 / 17.0)
    q = fma(q, s, splat(s, 1.0 / 15.0))
    q = fma(q, s, splat(s, 1.0 / 13.0))
    q = fma(q, s, splat(s, 1.0 / 11.0))
    q = fma(q, s, splat(s, 1.0 / 9.0))
    q = fma(q, s, splat(s, 1.0 / 7.0))
    q = fma(q, s, splat(s, 1.0 / 5.0))
    return fma(q, s, splat(s, 1.0 / 3.0))


@inline
def _atanh_tail64(s: Any) -> Any:
    """The same in double precision, to s^17."""
    q = splat(s, 1.0 / 35.0)
    q = fma(q, s, splat(s, 1.0 / 33.0))
    q = fma(q, s, splat(s, 1.0 / 31.0))
    q = fma(q, s, splat(s, 1.0 / 29.0))
    q = fma(q, s, splat(s, 1.0 / 27.0))
    q = fma(q, s, splat(s, 1.0 / 25.0))
    q = fma(q, s, splat(s, 1.0 / 23.0))
    q = fma(q, s, splat(s, 1.0 / 21.0))
    q = fma(q, s, splat(s, 1.0 / 19.0))
    q = fma(q, s, splat(s, 1.0 / 17.0))
    q = fma(q, s, splat(s, 1.0 / 15.0))
    q = fma(q, s, splat(s, 1.0 / 13.0))
    q = fma(q, s, splat(s, 1.0 / 11.0))
    q = fma(q, s, splat(s, 1.0 / 9.0))
    q = fma(q, s, splat(s, 1.0 / 7.0))
    q = fma(q, s, splat(s, 1.0 / 5.0))
    return fma(q, s, splat(s, 1.0 / 3.0))


def _atanh_tail(s: Any) -> Any:
    return _atanh_tail32(s) if s.dtype == np.float32 else _atanh_tail64(s)


def _by_width(chooser: Any, single: Any, double: Any) -> None:
    """Let compiled code choose between the two precisions by the type of the vector."""

    @overload(chooser, inline="never")
    def choose(x: Any) -> Any:
        if not isinstance(x, Vector):
            return None
        chosen = single if x.element.bitwidth == 32 else double

        def call(x: Any) -> Any:
            return chosen(x)

        return call


_by_width(_exp_parts, _exp_parts32, _exp_parts64)
_by_width(_atanh_tail, _atanh_tail32, _atanh_tail64)


@inline
def exp(x: Any) -> Any:
    """e^x; saturates at |x| = 87 (float32) and 708 (float64)."""
    part, scale = _exp_parts(x)
    return fma(part, scale, scale)


@inline
def expm1(x: Any) -> Any:
    """e^x - 1 without cancellation near 0; saturates like `exp`."""
    part, scale = _exp_parts(x)
    return fma(part, scale, scale - splat(x, 1.0))


@inline
def tanh(x: Any) -> Any:
    """Hyperbolic tangent: d / (d + 2) with d = e^(2x) - 1."""
    d = expm1(x + x)
    return d / (d + splat(x, 2.0))


@inline
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    one = splat(x, 1.0)
    return one / (one + exp(splat(x, 0.0) - x))


@inline
def log(x: Any) -> Any:
    """Natural logarithm of positive normal numbers: x = m 2^e, ln m = 2 atanh((m - 1) / (m + 1)).

    Infinity and NaN are returned as they are.
    """
    e = exponent(x)
    one = splat(x, 1.0)
    m = significand(x)
    f = (m - one) / (m + one)
    s = f * f
    f2 = f + f
    return where_finite(x, fma(e, splat(x, LN2), fma(f2 * s, _atanh_tail(s), f2)), x)


@inline
def log1p(x: Any) -> Any:
    """ln(1 + x) for 0 <= x <= 1, accurate for small x: 2 atanh(x / (2 + x))."""
    f = x / (x + splat(x, 2.0))
    s = f * f
    f2 = f + f
    return fma(f2 * s, _atanh_tail(s), f2)


@inline
def softplus_of_minus_abs(x: Any) -> Any:
    """ln(1 + e^-|x|), the stable part of the binary cross-entropy."""
    return log1p(exp(splat(x, 0.0) - absolute(x)))
