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
    negative,
    power_of_two,
    select_finite,
    select_gt,
    significand,
)

LOG2_E = math.log2(math.e)
LN2 = math.log(2.0)
ROOT_2 = math.sqrt(2.0)
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
LN2_HIGH32, LN2_LOW32 = 0.693359375, -2.121944400546905827679e-4
LN2_HIGH64, LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# exp multiplies by two powers of two, which are normal numbers up to these arguments; the product overflows before.
LIMIT32, LIMIT64 = 174.0, 1416.0
# From here down e^x counts as 0 where there is one power of two: it would be next below the normal numbers.
NORMAL32, NORMAL64 = 88.37, 709.43
# So much further down x e^x reaches 0.
TAIL = 44.0
# ln(sqrt(2) - 1)
LN_ROOT = math.log(math.sqrt(2.0) - 1.0)
# e^r = 1 + r + r^2 (c0 + c1 r + ...): 1/2!, 1/3!, ...; |r| <= ln(2)/2.
EXP64 = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
E0, E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = EXP64

# tanh(x) = x + x^3 times a power series in x^2 for |x| < 0.55; relative errors 4e-8 (the least that four numbers allow)
# and 2e-18.
TANH32_0, TANH32_1, TANH32_2, TANH32_3 = (
    -0.3333294663, 0.13320725, -0.05267180973, 0.01643757402,
)  # fmt: skip
TANH64_0, TANH64_1, TANH64_2, TANH64_3, TANH64_4, TANH64_5, TANH64_6, TANH64_7, TANH64_8, TANH64_9, TANH64_10 = (
    -0.33333333333333331, 0.13333333333332714, -0.053968253967434016, 0.021869488493666944,
    -0.0088632343978143555, 0.0035921103786890241, -0.0014556618301007161, 0.00058893605200740573,
    -0.0002346347410887237, 8.5113136855776721e-05, -2.060276537636634e-05,
)  # fmt: skip
# sin(y) = y + SIN3 y^3 + SIN5 y^5 ...
SIN3, SIN5, SIN7, SIN9, SIN11, SIN13 = ((-1.0) ** (k // 2) / math.factorial(k) for k in range(3, 15, 2))
# (Phi(x) - 1/2) / x, Phi the normal distribution function, as a power series in x^2.
PHI0, PHI1, PHI2, PHI3, PHI4, PHI5, PHI6, PHI7, PHI8, PHI9, PHI10, PHI11, PHI12, PHI13 = (
    (-0.5) ** k / (math.factorial(k) * (2 * k + 1) * math.sqrt(2.0 * math.pi)) for k in range(14)
)
# e^(x^2 / 2) (1 + sqrt(2) x) Phi(-x), as a power series in (x - K) / (x + K), K = 4.5 for 0 <= x <= 14 and 5.5 for
# 0 <= x <= 40, interpolated at Chebyshev's points; relative errors 5e-9 and 8e-18.
TAIL32_0, TAIL32_1, TAIL32_2, TAIL32_3, TAIL32_4, TAIL32_5, TAIL32_6, TAIL32_7, TAIL32_8, TAIL32_9, TAIL32_10 = (
    0.6244888735, -0.06898830378, -0.01629527802, 0.0589602187, -0.05973782743, 0.03865066387, -0.01673346858,
    0.004031670723, 0.0003620747154, -0.0006550778631, -8.520015281e-05,
)  # fmt: skip
(
    TAIL64_0, TAIL64_1, TAIL64_2, TAIL64_3, TAIL64_4, TAIL64_5, TAIL64_6, TAIL64_7, TAIL64_8, TAIL64_9, TAIL64_10,
    TAIL64_11, TAIL64_12, TAIL64_13, TAIL64_14, TAIL64_15, TAIL64_16, TAIL64_17, TAIL64_18, TAIL64_19,
    TAIL64_20, TAIL64_21, TAIL64_22,
) = (
    0.6174804494982099, -0.069992183467148875, 0.0052060581362553815, 0.037122339538848685,
    -0.052309126739733557, 0.046707682897161158, -0.031610205364457397, 0.016677842709498195,
    -0.0066300961121059203, 0.0017205085429596212, -9.2844801626525245e-05, -0.00014297985689594469,
    5.7029046293924564e-05, 3.8499253076067643e-07, -7.1109614416232489e-06, 1.4598593805884292e-06,
    7.0008980579853454e-07, -3.0774212427840348e-07, -6.9057330885122682e-08, 5.0122730520646077e-08,
    9.7218083373205771e-09, -5.845171282801185e-09, -1.7039083334060439e-09,
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
def _tanh_series32(s: Any) -> Any:
    """Return (tanh(x) / x - 1) / s for s = x^2 < 0.3025."""
    p = fma(broadcast(s, TANH32_3), s, broadcast(s, TANH32_2))
    p = fma(p, s, broadcast(s, TANH32_1))
    return fma(p, s, broadcast(s, TANH32_0))


@device_function
def _tanh_series64(s: Any) -> Any:
    """Return the same in double precision."""
    p = fma(broadcast(s, TANH64_10), s, broadcast(s, TANH64_9))
    p = fma(p, s, broadcast(s, TANH64_8))
    p = fma(p, s, broadcast(s, TANH64_7))
    p = fma(p, s, broadcast(s, TANH64_6))
    p = fma(p, s, broadcast(s, TANH64_5))
    p = fma(p, s, broadcast(s, TANH64_4))
    p = fma(p, s, broadcast(s, TANH64_3))
    p = fma(p, s, broadcast(s, TANH64_2))
    p = fma(p, s, broadcast(s, TANH64_1))
    return fma(p, s, broadcast(s, TANH64_0))


def _tanh_series(s: Any) -> Any:
    return _tanh_series32(s) if s.dtype == np.float32 else _tanh_series64(s)


@device_function
def _log_tail32(z: Any) -> Any:
    """Return R(z) of `softplus_and_slope` for z <= 0.0295, by the coefficients of fdlibm's logf."""
    r = fma(broadcast(z, 0.24279078841), z, broadcast(z, 0.28498786688))
    r = fma(r, z, broadcast(z, 0.40000972152))
    return fma(r, z, broadcast(z, 0.66666662693)) * z


@device_function
def _log_tail64(z: Any) -> Any:
    """Return the same in double precision, by those of its log."""
    r = fma(broadcast(z, 0.1479819860511658591), z, broadcast(z, 0.1531383769920937332))
    r = fma(r, z, broadcast(z, 0.1818357216161805012))
    r = fma(r, z, broadcast(z, 0.2222219843214978396))
    r = fma(r, z, broadcast(z, 0.2857142874366239149))
    r = fma(r, z, broadcast(z, 0.3999999999940941908))
    return fma(r, z, broadcast(z, 0.6666666666666735130)) * z


def _log_tail(z: Any) -> Any:
    return _log_tail32(z) if z.dtype == np.float32 else _log_tail64(z)


@device_function
def _normal_tail32(x: Any) -> Any:
    """Return e^(x^2 / 2) times the normal distribution function of -x, for 0 <= x <= 14; finite beyond."""
    k = broadcast(x, 4.5)
    d = x + k
    over = broadcast(x, 1.0) / d
    t = (x - k) * over
    # One step of Newton's method: the error of t is multiplied by up to 1.4.
    t = fma(fma(negative(t), d, x - k), over, t)
    p = fma(broadcast(x, TAIL32_10), t, broadcast(x, TAIL32_9))
    p = fma(p, t, broadcast(x, TAIL32_8))
    p = fma(p, t, broadcast(x, TAIL32_7))
    p = fma(p, t, broadcast(x, TAIL32_6))
    p = fma(p, t, broadcast(x, TAIL32_5))
    p = fma(p, t, broadcast(x, TAIL32_4))
    p = fma(p, t, broadcast(x, TAIL32_3))
    p = fma(p, t, broadcast(x, TAIL32_2))
    p = fma(p, t, broadcast(x, TAIL32_1))
    p = fma(p, t, broadcast(x, TAIL32_0))
    return p / fma(x, broadcast(x, ROOT_2), broadcast(x, 1.0))


@device_function
def _normal_tail64(x: Any) -> Any:
    """Return the same in double precision, for 0 <= x <= 40."""
    k = broadcast(x, 5.5)
    d = x + k
    over = broadcast(x, 1.0) / d
    t = (x - k) * over
    # One step of Newton's method: the error of t is multiplied by up to 1.4.
    t = fma(fma(negative(t), d, x - k), over, t)
    p = fma(broadcast(x, TAIL64_22), t, broadcast(x, TAIL64_21))
    p = fma(p, t, broadcast(x, TAIL64_20))
    p = fma(p, t, broadcast(x, TAIL64_19))
    p = fma(p, t, broadcast(x, TAIL64_18))
    p = fma(p, t, broadcast(x, TAIL64_17))
    p = fma(p, t, broadcast(x, TAIL64_16))
    p = fma(p, t, broadcast(x, TAIL64_15))
    p = fma(p, t, broadcast(x, TAIL64_14))
    p = fma(p, t, broadcast(x, TAIL64_13))
    p = fma(p, t, broadcast(x, TAIL64_12))
    p = fma(p, t, broadcast(x, TAIL64_11))
    p = fma(p, t, broadcast(x, TAIL64_10))
    p = fma(p, t, broadcast(x, TAIL64_9))
    p = fma(p, t, broadcast(x, TAIL64_8))
    p = fma(p, t, broadcast(x, TAIL64_7))
    p = fma(p, t, broadcast(x, TAIL64_6))
    p = fma(p, t, broadcast(x, TAIL64_5))
    p = fma(p, t, broadcast(x, TAIL64_4))
    p = fma(p, t, broadcast(x, TAIL64_3))
    p = fma(p, t, broadcast(x, TAIL64_2))
    p = fma(p, t, broadcast(x, TAIL64_1))
    p = fma(p, t, broadcast(x, TAIL64_0))
    return p / fma(x, broadcast(x, ROOT_2), broadcast(x, 1.0))


def _normal_tail(x: Any) -> Any:
    return _normal_tail32(x) if x.dtype == np.float32 else _normal_tail64(x)


@device_function
def _normal_series32(s: Any) -> Any:
    """Return (Phi(x) - 1/2) / x for s = x^2 < 0.5625, by the power series."""
    p = fma(broadcast(s, PHI7), s, broadcast(s, PHI6))
    p = fma(p, s, broadcast(s, PHI5))
    p = fma(p, s, broadcast(s, PHI4))
    p = fma(p, s, broadcast(s, PHI3))
    p = fma(p, s, broadcast(s, PHI2))
    p = fma(p, s, broadcast(s, PHI1))
    return fma(p, s, broadcast(s, PHI0))


@device_function
def _normal_series64(s: Any) -> Any:
    """Return the same in double precision."""
    p = fma(broadcast(s, PHI13), s, broadcast(s, PHI12))
    p = fma(p, s, broadcast(s, PHI11))
    p = fma(p, s, broadcast(s, PHI10))
    p = fma(p, s, broadcast(s, PHI9))
    p = fma(p, s, broadcast(s, PHI8))
    p = fma(p, s, broadcast(s, PHI7))
    p = fma(p, s, broadcast(s, PHI6))
    p = fma(p, s, broadcast(s, PHI5))
    p = fma(p, s, broadcast(s, PHI4))
    p = fma(p, s, broadcast(s, PHI3))
    p = fma(p, s, broadcast(s, PHI2))
    p = fma(p, s, broadcast(s, PHI1))
    return fma(p, s, broadcast(s, PHI0))


def _normal_series(s: Any) -> Any:
    return _normal_series32(s) if s.dtype == np.float32 else _normal_series64(s)


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
_by_width(_tanh_series, _tanh_series32, _tanh_series64)
_by_width(_log_tail, _log_tail32, _log_tail64)
_by_width(_normal_tail, _normal_tail32, _normal_tail64)
_by_width(_normal_series, _normal_series32, _normal_series64)
_by_width(_atanh_tail, _atanh_tail32, _atanh_tail64)


@device_function
def exp_factors(x: Any) -> Any:
    """Return two numbers whose product is e^x, the second a power of two; both are normal numbers.

    So products of e^x with others are right where e^x itself would overflow or be 0. |x| is limited to 174 (float32) or
    1416 (float64).
    """
    limit = _limit(x)
    part, n, shifted = _exp_parts(maximum(negative(limit), minimum(limit, x)))
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
    part, _, shifted = _exp_parts(maximum(negative(_normal_limit(x)), x))
    scale = power_of_two(shifted)
    return fma(part, scale, scale)


@device_function
def exp_and_expm1(x: Any) -> Any:
    """Return e^x, and e^x - 1 without cancellation near 0; undefined above 88 (float32) or 709 (float64)."""
    part, _, shifted = _exp_parts(maximum(negative(_normal_limit(x)), x))
    scale = power_of_two(shifted)
    return fma(part, scale, scale), fma(part, scale, scale - broadcast(x, 1.0))


@device_function
def expm1(x: Any) -> Any:
    """Return e^x - 1 without cancellation near 0; undefined above 88 (float32) or 709 (float64)."""
    return exp_and_expm1(x)[1]


@device_function
def tanh_and_slope(x: Any) -> Any:
    """Return the hyperbolic tangent y, with the sign of x and monotone, and its derivative 1 - y^2.

    |y| = 1 - w with w = 2 / (e^(2 |x|) + 1), each of whose operations is monotone; below 0.55 by a series. The
    derivative is w + w |y|, which keeps its digits where y is near 1. From 44 (355 in double precision) on, where it
    is below 1.7e-38 (3.6e-308), w is a subnormal number, so 0 in training.
    """
    one = broadcast(x, 1.0)
    a = absolute(x)
    part, _, shifted = _exp_parts(minimum(_normal_limit(x), a + a))
    scale = power_of_two(shifted)
    w = broadcast(x, 2.0) / fma(part, scale, scale + one)
    s = a * a
    near = fma(a * s, _tanh_series(s), a)
    end = broadcast(x, 0.55)
    y = select_gt(end, a, near, one - w)
    w = select_gt(end, a, one - near, w)
    return copy_sign(y, x), fma(w, y, w)


@device_function
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent, see `tanh_and_slope`."""
    return tanh_and_slope(x)[0]


@device_function
def sigmoid_and_slope(x: Any) -> Any:
    """Return y = 1 / (1 + e^-x), monotone, and its derivative p (1 - p), where p = 1 / (1 + e^|x|) is y or 1 - y."""
    one = broadcast(x, 1.0)
    zero = broadcast(x, 0.0)
    part, _, shifted = _exp_parts(minimum(_normal_limit(x), absolute(x)))
    scale = power_of_two(shifted)
    most = scale + one
    lost = one - (most - scale)  # the whole 1 from 2^24 (2^53) on
    p = one / (fma(part, scale, lost) + most)
    return select_gt(x, zero, one - p, p), fma(negative(p), p, p)


@device_function
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    return sigmoid_and_slope(x)[0]


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
def softplus_and_slope(x: Any) -> Any:
    """Return ln(1 + e^x) = max(x, 0) + ln(1 + q), q = e^-|x|, monotone, and its derivative 1 / (1 + e^-x).

    ln(1 + q) is ln 2 + ln(1 + v), v = (q - 1) / 2, for q > sqrt(2) - 1, where q alone would be too coarse. The
    logarithm is that of fdlibm: ln(1 + v) = v - (v^2 / 2 - s (v^2 / 2 + R(s^2))), s = v / (2 + v).
    """
    zero = broadcast(x, 0.0)
    half = broadcast(x, 0.5)
    one = broadcast(x, 1.0)
    a = absolute(x)
    part, _, shifted = _exp_parts(maximum(negative(_normal_limit(x)), negative(a)))
    scale = power_of_two(shifted)
    q = fma(part, scale, scale)
    low = fma(part, scale, scale - q)  # what the rounding took away
    m = fma(part, scale, scale - one)
    low_m = fma(part, scale, (scale - one) - m)
    end = broadcast(x, -LN_ROOT)
    v = select_gt(a, end, q, half * m)
    low_v = select_gt(a, end, low, half * low_m)
    s = v / (v + broadcast(x, 2.0))
    half_v = half * v
    square = half_v * v
    rest = (square - s * (square + _log_tail(s * s))) - (low_v - fma(half_v, v, negative(square)))
    y = select_gt(a, end, zero, broadcast(x, LN2)) + (maximum(zero, x) + (v - rest))
    d = one + q
    over = one / d
    p = q * over
    p = fma(fma(negative(p), d, q) + low, over, p)
    return y, select_gt(x, zero, one - p, p)


@device_function
def softplus(x: Any) -> Any:
    """Return ln(1 + e^x), see `softplus_and_slope`."""
    return softplus_and_slope(x)[0]


@device_function
def silu_and_slope(x: Any) -> Any:
    """Return y = x p with p = 1 / (1 + e^-x), and its derivative p + y (1 - p).

    Where e^-x is large both terms of the denominator are multiplied by 2^-64, so that y is right down to the lowest
    normal number.
    """
    zero = broadcast(x, 0.0)
    one = broadcast(x, 1.0)
    limit = _normal_limit(x)
    x = maximum(negative(limit) - broadcast(x, TAIL), x)
    part, _, shifted = _exp_parts(maximum(negative(limit), negative(x)))
    deep = broadcast(x, -64.0)
    scale = power_of_two(shifted + select_gt(deep, x, deep, zero))
    unit = select_gt(deep, x, broadcast(x, 2.0**-64), one)
    most = scale + unit
    lost = unit - (most - scale)
    d = fma(part, scale, lost) + most
    over = one / d
    y = x * over
    y = fma(fma(negative(y), d, x), over, y) * unit  # Newton's method rounds the quotient as a division does
    y = select_gt(x, limit, x, y)  # infinity less infinity
    return y, fma(y, fma(part, scale, scale) * over, over * unit)


@device_function
def mish_and_slope(x: Any) -> Any:
    """Return y = x t, t = tanh(ln(1 + e)), e = e^x, and its derivative t + 4 x e (1 + e) / (n + 2)^2.

    t = n / (n + 2) with n = e (e + 2). Where e is small, n is kept multiplied by 2^64, so that y is right down to the
    lowest normal number; above 40 t is 1.
    """
    zero = broadcast(x, 0.0)
    one = broadcast(x, 1.0)
    two = broadcast(x, 2.0)
    x = maximum(negative(_normal_limit(x)) - broadcast(x, TAIL), x)
    z = minimum(broadcast(x, 40.0), x)
    part, _, shifted = _exp_parts(z)
    deep = broadcast(x, -64.0)
    scale = power_of_two(shifted - select_gt(deep, x, deep, zero))
    unit = select_gt(deep, x, broadcast(x, 2.0**-64), one)
    large = fma(part, scale, scale)
    e = large * unit
    n = fma(large, e, large + large)
    small = n * unit
    d = small + two
    over = one / d
    t = n * over
    # One step of Newton's method, with what the roundings of e, n and d took away.
    low = fma(large, e, (large + large) - n)
    low = fma((one + e) * two, fma(part, scale, scale - large), low)
    rest = fma(negative(t), small - (d - two), fma(negative(t), d, n))
    t = fma(fma(low, one - t * unit, rest), over, t)
    inner = broadcast(x, 4.0) * (large * over) * ((one + e) * over)
    return x * t * unit, fma(z, inner, t) * unit


@device_function
def gelu_and_slope(x: Any) -> Any:
    """Return y = x Phi(x), Phi the normal distribution function, and its derivative Phi(x) + x Phi'(x).

    With r = e^(x^2 / 2) Phi(-|x|), y is max(x, 0) - |x| r e^(-x^2 / 2), without cancellation; x^2 is kept to twice the
    precision, for the exponent multiplies its error. Below 0.75 Phi(x) = 1/2 + x times the series of x^2.
    """
    zero = broadcast(x, 0.0)
    half = broadcast(x, 0.5)
    density = broadcast(x, 1.0 / math.sqrt(2.0 * math.pi))
    a = minimum(broadcast(x, 40.0), absolute(x))
    square = a * a
    e = exp_nonpositive(square * broadcast(x, -0.5))
    e = fma(negative(e), fma(a, a, negative(square)) * half, e)
    r = _normal_tail(a)
    far = fma(negative(a * r), e, maximum(zero, x))
    g = e * fma(negative(a), density, r)
    series = _normal_series(square)
    near = fma(square, series, half * x)
    end = broadcast(x, 0.75)
    slope = select_gt(x, zero, broadcast(x, 1.0) - g, g)
    return select_gt(end, a, near, far), select_gt(end, a, fma(x, fma(e, density, series), half), slope)
