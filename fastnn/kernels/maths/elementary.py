"""Elementary functions (exp, log, tanh ...) on vectors, for float32 and float64.

Each reduces its argument as in Cephes (S. L. Moshier, Methods and Programs for Mathematical Functions,
1989) and sums a power series in Horner's form by fused multiply-adds. Errors, measured over the whole
range against a longer type, in units of the last place: exp 1, expm1 and tanh 1.2, sigmoid 1.7, log and log1p
2.1. exp, expm1, tanh and sigmoid never fall from one number to the next (all float32 numbers were tried).
There is no table and no branch, so every lane costs the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import overload

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    ROUND32,
    ROUND64,
    Vector,
    absolute,
    broadcast,
    copy_sign,
    exponent,
    fma,
    maximum,
    minimum,
    power_of_two,
    select_finite,
    select_gt,
    significand,
)

LOG2_E = math.log2(math.e)
LN2 = math.log(2.0)
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
LN2_HIGH32, LN2_LOW32 = 0.693359375, -2.121944400546905827679e-4
LN2_HIGH64, LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# exp multiplies by two powers of two, which are normal numbers up to these arguments; the product overflows before.
LIMIT32, LIMIT64 = 174.0, 1416.0
# From here down e^x counts as 0 where there is one power of two: it would be next below the normal numbers.
NORMAL32, NORMAL64 = 88.0, 709.0
# e^r = 1 + r + r^2 (c0 + c1 r + ...): 1/2!, 1/3!, ...; |r| <= ln(2)/2.
EXP64 = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
E0, E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = EXP64

# tanh(x) = x + x^3 P(x^2) / Q(x^2) for |x| < 0.625; Q begins with 1.
TANH_P0, TANH_P1, TANH_P2 = -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3
TANH_Q1, TANH_Q2, TANH_Q3 = 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3
# sin(y) = y + SIN3 y^3 + SIN5 y^5 ...
SIN3, SIN5, SIN7, SIN9, SIN11, SIN13 = ((-1.0) ** (k // 2) / math.factorial(k) for k in range(3, 15, 2))
# erf(x) = x T(x^2) / U(x^2) for |x| < 1, erfc(x) = e^(-x^2) P(x) / Q(x) for 1 <= x < 8; U and Q begin with 1.
T0, T1, T2, T3, T4 = (
    9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
    5.55923013010394962768e4,
)  # fmt: skip
U1, U2, U3, U4, U5 = (
    3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
    4.92673942608635921086e4,
)  # fmt: skip
P0, P1, P2, P3, P4, P5, P6, P7, P8 = (
    2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
    1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
    5.57535335369399327526e2,
)  # fmt: skip
Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8 = (
    1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
    1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2,
)  # fmt: skip


@device_function
def _exp_parts32(x: Any) -> Any:
    """Return (e^r - 1, n, n + ROUND32) with x = n ln 2 + r, |r| <= ln(2)/2; the polynomial is Cephes' expf."""
    shifted = fma(x, broadcast(x, LOG2_E), broadcast(x, ROUND32))
    n = shifted - broadcast(x, ROUND32)
    r = fma(n, broadcast(x, -LN2_HIGH32), x)
    r = fma(n, broadcast(x, -LN2_LOW32), r)
    q = broadcast(x, 1.9875691500e-4)
    q = fma(q, r, broadcast(x, 1.3981999507e-3))
    q = fma(q, r, broadcast(x, 8.3334519073e-3))
    q = fma(q, r, broadcast(x, 4.1665795894e-2))
    q = fma(q, r, broadcast(x, 1.6666665459e-1))
    q = fma(q, r, broadcast(x, 5.0000001201e-1))
    return fma(q, r * r, r), n, shifted


@device_function
def _exp_parts64(x: Any) -> Any:
    """Return the same in double precision, by the Taylor series to r^13."""
    shifted = fma(x, broadcast(x, LOG2_E), broadcast(x, ROUND64))
    n = shifted - broadcast(x, ROUND64)
    r = fma(n, broadcast(x, -LN2_HIGH64), x)
    r = fma(n, broadcast(x, -LN2_LOW64), r)
    q = fma(broadcast(x, E0), r, broadcast(x, E1))
    q = fma(q, r, broadcast(x, E2))
    q = fma(q, r, broadcast(x, E3))
    q = fma(q, r, broadcast(x, E4))
    q = fma(q, r, broadcast(x, E5))
    q = fma(q, r, broadcast(x, E6))
    q = fma(q, r, broadcast(x, E7))
    q = fma(q, r, broadcast(x, E8))
    q = fma(q, r, broadcast(x, E9))
    q = fma(q, r, broadcast(x, E10))
    q = fma(q, r, broadcast(x, E11))
    return fma(q, r * r, r), n, shifted


def _exp_parts(x: Any) -> Any:
    return _exp_parts32(x) if x.dtype == np.float32 else _exp_parts64(x)


@device_function
def _limit32(x: Any) -> Any:
    """Return the limit of the argument up to which both factors of e^x are normal numbers."""
    return broadcast(x, LIMIT32)


@device_function
def _limit64(x: Any) -> Any:
    """Return the same in double precision."""
    return broadcast(x, LIMIT64)


def _limit(x: Any) -> Any:
    return _limit32(x) if x.dtype == np.float32 else _limit64(x)


@device_function
def _normal_limit32(x: Any) -> Any:
    """Return the limit of the argument up to which one factor suffices for e^x; at minus the limit it is 0."""
    return broadcast(x, NORMAL32)


@device_function
def _normal_limit64(x: Any) -> Any:
    """Return the same in double precision."""
    return broadcast(x, NORMAL64)


def _normal_limit(x: Any) -> Any:
    return _normal_limit32(x) if x.dtype == np.float32 else _normal_limit64(x)


@device_function
def _atanh_tail32(s: Any) -> Any:
    """Return 1/3 + s/5 + s^2/7 + ... for s = f^2 <= 1/9: atanh(f) = f + f s times this."""
    q = broadcast(s, 1.0 / 17.0)
    q = fma(q, s, broadcast(s, 1.0 / 15.0))
    q = fma(q, s, broadcast(s, 1.0 / 13.0))
    q = fma(q, s, broadcast(s, 1.0 / 11.0))
    q = fma(q, s, broadcast(s, 1.0 / 9.0))
    q = fma(q, s, broadcast(s, 1.0 / 7.0))
    q = fma(q, s, broadcast(s, 1.0 / 5.0))
    return fma(q, s, broadcast(s, 1.0 / 3.0))


@device_function
def _atanh_tail64(s: Any) -> Any:
    """Return the same in double precision, to s^17."""
    q = broadcast(s, 1.0 / 35.0)
    q = fma(q, s, broadcast(s, 1.0 / 33.0))
    q = fma(q, s, broadcast(s, 1.0 / 31.0))
    q = fma(q, s, broadcast(s, 1.0 / 29.0))
    q = fma(q, s, broadcast(s, 1.0 / 27.0))
    q = fma(q, s, broadcast(s, 1.0 / 25.0))
    q = fma(q, s, broadcast(s, 1.0 / 23.0))
    q = fma(q, s, broadcast(s, 1.0 / 21.0))
    q = fma(q, s, broadcast(s, 1.0 / 19.0))
    q = fma(q, s, broadcast(s, 1.0 / 17.0))
    q = fma(q, s, broadcast(s, 1.0 / 15.0))
    q = fma(q, s, broadcast(s, 1.0 / 13.0))
    q = fma(q, s, broadcast(s, 1.0 / 11.0))
    q = fma(q, s, broadcast(s, 1.0 / 9.0))
    q = fma(q, s, broadcast(s, 1.0 / 7.0))
    q = fma(q, s, broadcast(s, 1.0 / 5.0))
    return fma(q, s, broadcast(s, 1.0 / 3.0))


def _atanh_tail(s: Any) -> Any:
    return _atanh_tail32(s) if s.dtype == np.float32 else _atanh_tail64(s)


def _by_width(chooser: Any, single: Any, double: Any) -> None:
    """Return an operation that selects the precision by the type of the vector."""

    @overload(chooser, inline="never")
    def choose(x: Any) -> Any:
        if not isinstance(x, Vector):
            return None
        chosen = single if x.element.bitwidth == 32 else double

        def call(x: Any) -> Any:
            return chosen(x)

        return call


_by_width(_exp_parts, _exp_parts32, _exp_parts64)
_by_width(_limit, _limit32, _limit64)
_by_width(_normal_limit, _normal_limit32, _normal_limit64)
_by_width(_atanh_tail, _atanh_tail32, _atanh_tail64)


@device_function
def exp_factors(x: Any) -> Any:
    """Return two numbers whose product is e^x, the second a power of two; both are normal numbers.

    So products of e^x with others are right where e^x itself would overflow or be 0. |x| is limited to 174 (float32) or
    1416 (float64).
    """
    limit = _limit(x)
    part, n, shifted = _exp_parts(maximum(broadcast(x, 0.0) - limit, minimum(limit, x)))
    rounding = shifted - n
    half = fma(n, broadcast(x, 0.5), rounding)  # rounded to an integer
    scale = power_of_two(half)
    return fma(part, scale, scale), power_of_two(shifted - (half - rounding))


@device_function
def exp(x: Any) -> Any:
    """Return e^x, also where it is infinite, subnormal or 0."""
    significant, scale = exp_factors(x)
    return significant * scale


@device_function
def exp_nonpositive(x: Any) -> Any:
    """Return e^x for x <= 0, by fewer instructions; what would be subnormal may be 0."""
    part, _, shifted = _exp_parts(maximum(broadcast(x, 0.0) - _normal_limit(x), x))
    scale = power_of_two(shifted)
    return fma(part, scale, scale)


@device_function
def expm1(x: Any) -> Any:
    """Return e^x - 1 without cancellation near 0; undefined above 88 (float32) or 709 (float64)."""
    part, _, shifted = _exp_parts(maximum(broadcast(x, 0.0) - _normal_limit(x), x))
    scale = power_of_two(shifted)
    return fma(part, scale, scale - broadcast(x, 1.0))


@device_function
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent, with the sign of x, monotone.

    1 - 2 / (e^(2 |x|) + 1), each of whose operations is monotone; below 0.625 Cephes' x + x^3 P(x^2) / Q(x^2).
    """
    one = broadcast(x, 1.0)
    a = absolute(x)
    part, _, shifted = _exp_parts(minimum(broadcast(x, 40.0), a + a))
    scale = power_of_two(shifted)
    s = a * a
    p = fma(broadcast(x, TANH_P0), s, broadcast(x, TANH_P1))
    p = fma(p, s, broadcast(x, TANH_P2))
    q = s + broadcast(x, TANH_Q1)
    q = fma(q, s, broadcast(x, TANH_Q2))
    q = fma(q, s, broadcast(x, TANH_Q3))
    end = broadcast(x, 0.625)
    above = select_gt(end, a, a * s * p, broadcast(x, -2.0))
    below = select_gt(end, a, q, fma(part, scale, scale + one))
    return copy_sign(select_gt(end, a, a, one) + above / below, x)


@device_function
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    one = broadcast(x, 1.0)
    limit = _normal_limit(x)
    part, _, shifted = _exp_parts(maximum(broadcast(x, 0.0) - limit, minimum(limit, broadcast(x, 0.0) - x)))
    scale = power_of_two(shifted)
    most = scale + one
    lost = one - (most - scale)  # the whole 1 from 2^24 (2^53) on
    return one / (fma(part, scale, lost) + most)


@device_function
def log(x: Any) -> Any:
    """Return the natural logarithm of positive normal numbers: x = m 2^e, ln m = 2 atanh((m - 1) / (m + 1)).

    Infinity and NaN are returned unchanged.
    """
    e = exponent(x)
    one = broadcast(x, 1.0)
    m = significand(x)
    f = (m - one) / (m + one)
    s = f * f
    f2 = f + f
    return select_finite(x, fma(e, broadcast(x, LN2), fma(f2 * s, _atanh_tail(s), f2)), x)


@device_function
def log1p(x: Any) -> Any:
    """Return ln(1 + x) for 0 <= x <= 1, accurate for small x: 2 atanh(x / (2 + x))."""
    f = x / (x + broadcast(x, 2.0))
    s = f * f
    f2 = f + f
    return fma(f2 * s, _atanh_tail(s), f2)


@device_function
def cos_of_turns(u: Any) -> Any:
    """Return cos(2 pi u) for 0 <= u < 1, to 1e-9: 2 sin^2(pi (u - 1/2)) - 1, by the sine series to the 13th power."""
    y = (u - broadcast(u, 0.5)) * broadcast(u, math.pi)
    s = y * y
    q = broadcast(u, SIN13)
    q = fma(q, s, broadcast(u, SIN11))
    q = fma(q, s, broadcast(u, SIN9))
    q = fma(q, s, broadcast(u, SIN7))
    q = fma(q, s, broadcast(u, SIN5))
    q = fma(q, s, broadcast(u, SIN3))
    q = fma(q, s, broadcast(u, 1.0))
    sine = q * y
    return fma(sine + sine, sine, broadcast(u, -1.0))


@device_function
def softplus(x: Any) -> Any:
    """Return ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    zero = broadcast(x, 0.0)
    return maximum(zero, x) + log1p(exp_nonpositive(zero - absolute(x)))


@device_function
def normal_cdf(x: Any) -> Any:
    """Return the distribution function of the standard normal distribution, (1 + erf(x / sqrt 2)) / 2.

    The rational approximations of erf (|x| < sqrt 2) and of erfc are those of Cephes' ndtr. The relative error of the
    tails is small, too; |x| is limited to 8 sqrt 2 = 11.3, where the tail is 6e-30.
    """
    zero = broadcast(x, 0.0)
    one = broadcast(x, 1.0)
    half = broadcast(x, 0.5)
    a = minimum(broadcast(x, 8.0), absolute(x) * broadcast(x, math.sqrt(0.5)))
    s = a * a
    t = fma(broadcast(x, T0), s, broadcast(x, T1))
    t = fma(t, s, broadcast(x, T2))
    t = fma(t, s, broadcast(x, T3))
    t = fma(t, s, broadcast(x, T4))
    u = s + broadcast(x, U1)
    u = fma(u, s, broadcast(x, U2))
    u = fma(u, s, broadcast(x, U3))
    u = fma(u, s, broadcast(x, U4))
    u = fma(u, s, broadcast(x, U5))
    near = half - half * (a * t / u)
    p = fma(broadcast(x, P0), a, broadcast(x, P1))
    p = fma(p, a, broadcast(x, P2))
    p = fma(p, a, broadcast(x, P3))
    p = fma(p, a, broadcast(x, P4))
    p = fma(p, a, broadcast(x, P5))
    p = fma(p, a, broadcast(x, P6))
    p = fma(p, a, broadcast(x, P7))
    p = fma(p, a, broadcast(x, P8))
    q = a + broadcast(x, Q1)
    q = fma(q, a, broadcast(x, Q2))
    q = fma(q, a, broadcast(x, Q3))
    q = fma(q, a, broadcast(x, Q4))
    q = fma(q, a, broadcast(x, Q5))
    q = fma(q, a, broadcast(x, Q6))
    q = fma(q, a, broadcast(x, Q7))
    q = fma(q, a, broadcast(x, Q8))
    far = half * exp_nonpositive(zero - s) * (p / q)
    tail = select_gt(one, a, near, far)  # of -|x|
    return select_gt(x, zero, one - tail, tail)


@device_function
def normal_pdf(x: Any) -> Any:
    """Return the density of the standard normal distribution."""
    return broadcast(x, 1.0 / math.sqrt(2.0 * math.pi)) * exp_nonpositive(x * x * broadcast(x, -0.5))
