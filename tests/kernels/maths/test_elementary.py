"""Elementary functions: errors in units of the last place against a longer type."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import HAS_FMA, at, lanes, load, store
from fastnn.kernels.maths import elementary

EXP, EXP_NONPOSITIVE, EXPM1, TANH, SIGMOID, LOG, LOG1P, SOFTPLUS = range(8)
NAMES = ["exp", "exp_nonpositive", "expm1", "tanh", "sigmoid", "log", "log1p", "softplus"]

#: Bounds that hold where a multiply-add is rounded once.
needs_fma = pytest.mark.skipif(JIT_DISABLED or not HAS_FMA, reason="multiply-add is rounded twice here")
#: Largest errors, in units in the last place: what was measured over the ranges below, rounded up. Where a
#: multiply-add is rounded twice, expm1 reaches 1.805.
BOUNDS = {
    EXP: 1.05, EXP_NONPOSITIVE: 1.05, EXPM1: 1.3, TANH: 1.35, SIGMOID: 1.8, LOG: 2.1, LOG1P: 2.1, SOFTPLUS: 1.6,
}  # fmt: skip
#: Functions that never fall from one number to the next. Where their formulas change: halves of multiples of ln 2,
#: which the argument of exp is reduced by, and the switch of tanh.
MONOTONE = [EXP, EXP_NONPOSITIVE, EXPM1, TANH, SIGMOID, SOFTPLUS]
MONOTONE_SWITCHES = np.concatenate([(np.arange(60) + 0.5) * np.log(2), (np.arange(60) + 0.5) * np.log(2) / 2, [0.55]])


@kernel
def apply(code, x, out):
    """Overwrite `out` with the function of x; whole vectors."""
    p = at(x, 0)
    q = at(out, 0)
    v = lanes(p)
    for i in range(0, x.size, v):
        a = load(at(p, i))
        if code == EXP:
            b = elementary.exp(a)
        elif code == EXP_NONPOSITIVE:
            b = elementary.exp_nonpositive(a)
        elif code == EXPM1:
            b = elementary.expm1(a)
        elif code == TANH:
            b = elementary.tanh(a)
        elif code == SIGMOID:
            b = elementary.sigmoid(a)
        elif code == LOG:
            b = elementary.log(a)
        elif code == LOG1P:
            b = elementary.log1p(a)
        else:
            b = elementary.softplus(a)
        store(at(q, i), b)


def of(code, x):
    """The compiled function of any number of elements."""
    padded = np.ones(-(-x.size // 64) * 64, x.dtype)
    padded[: x.size] = x
    out = np.empty_like(padded)
    apply(code, padded, out)
    return out[: x.size]


def wider(dtype):
    return np.float64 if dtype == np.float32 else np.longdouble


def true(code, x):
    """The function in a longer type."""
    x = x.astype(wider(x.dtype))
    if code in (EXP, EXP_NONPOSITIVE):
        return np.exp(x)
    if code == EXPM1:
        return np.expm1(x)
    if code == TANH:
        return np.tanh(x)
    if code == SIGMOID:
        return 1 / (1 + np.exp(-x))
    if code == LOG:
        return np.log(x)
    if code == LOG1P:
        return np.log1p(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def exp_range(dtype):
    """First and last number whose power of e is normal."""
    info = np.finfo(dtype)
    ends = [dtype.type(np.log(wider(dtype)(end))) for end in (info.tiny, info.max)]
    return [np.nextafter(end, dtype.type(0)) for end in ends]  # rounding may have gone the other way


def arguments(code, dtype):
    """Points that cover the range, dense near 0 (or 1) and over all powers of two; fewer for the interpreter."""
    rng = np.random.default_rng(code)
    n = 4_000 if JIT_DISABLED else 40_000
    info = np.finfo(dtype)
    bottom, top = exp_range(dtype)
    if code == LOG:
        decades = np.exp(rng.uniform(np.log(float(info.tiny)) + 1, np.log(float(info.max)) - 1, n))
        near_one = 1 + rng.uniform(-0.5, 0.5, n) * 10.0 ** rng.uniform(-8, 0, n)
        switch = np.sqrt([0.5, 2.0]).repeat(100) * (1 + np.arange(-100, 100) * float(info.eps))
        return np.concatenate([decades, near_one, switch, rng.uniform(0.5, 2.0, n), [1.0]]).astype(dtype)
    if code == LOG1P:
        return np.concatenate([rng.uniform(0, 1, n), 10.0 ** rng.uniform(-35, 0, n), [0.0, 1.0]]).astype(dtype)
    signs = rng.choice([-1.0, 1.0], n)
    # Where the argument is halfway between two multiples of ln 2 the polynomial works hardest.
    halves = (np.arange(info.minexp, info.maxexp) + 0.5) * np.log(2)
    near_halves = (halves[:, None] * (1 + np.arange(-8, 9) * 4 * float(info.eps))).ravel()
    spread = [rng.uniform(bottom, top, n), rng.uniform(-4, 4, n), signs * 10.0 ** rng.uniform(-30, 0, n)]
    switch = np.array([-0.55, 0.55])[:, None] * (1 + np.arange(-100, 100) * float(info.eps))  # of tanh
    x = np.concatenate([*spread, near_halves, switch.ravel(), [0.0, bottom, top]])
    x = np.clip(x, bottom, top).astype(dtype)
    return x[x <= 0] if code in (EXP_NONPOSITIVE, EXPM1) else x


def ulps(got, wanted):
    """Error in units in the last place of the true value, in the type of `got`."""
    dtype = got.dtype
    spacing = np.spacing(np.maximum(np.abs(wanted), np.finfo(dtype).tiny).astype(dtype)).astype(wanted.dtype)
    return np.abs(got.astype(wanted.dtype) - wanted) / spacing


@pytest.mark.parametrize("code", range(8), ids=NAMES)
def test_error_is_a_few_units_in_the_last_place(code, dtype):
    if np.finfo(wider(dtype)).nmant <= np.finfo(dtype).nmant:
        pytest.skip("no longer type here")
    x = arguments(code, dtype)
    wanted = true(code, x)
    error = ulps(of(code, x), wanted)
    worst = int(error.argmax())
    assert error[worst] <= BOUNDS[code], f"{error[worst]:.2f} ulp at {x[worst]!r}"


@pytest.mark.parametrize("code", range(8), ids=NAMES)
def test_nan_stays_nan(code, dtype):
    x = np.full(64, 0.5, dtype)
    x[7] = np.nan
    x[8] = -np.array(np.nan, dtype)
    out = of(code, x)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(x))


def test_exp_reaches_infinity_and_zero_where_the_type_does(dtype):
    first, last = exp_range(dtype)
    above = np.array([last + 1e-4 * last, last + 1, 2 * last, 100 * last, np.finfo(dtype).max, np.inf], dtype)
    assert np.isfinite(of(EXP, last[None])).all()
    np.testing.assert_array_equal(of(EXP, above), np.inf)
    assert of(EXP, first[None])[0] >= np.finfo(dtype).tiny
    lowest = np.log(wider(dtype)(np.finfo(dtype).smallest_subnormal))
    below = np.array([lowest - 1, 2 * lowest, 100 * lowest, -np.finfo(dtype).max, -np.inf], dtype)
    np.testing.assert_array_equal(of(EXP, below), 0)
    np.testing.assert_array_equal(of(EXP_NONPOSITIVE, below), 0)


def test_exp_of_subnormal_powers_is_right_to_the_last_place(dtype):
    """This thread has the control word of Python, which leaves subnormal numbers alone."""
    lowest = np.log(wider(dtype)(np.finfo(dtype).smallest_subnormal))
    x = np.linspace(float(lowest), float(exp_range(dtype)[0]), 999).astype(dtype)
    assert (ulps(of(EXP, x), np.exp(x.astype(wider(dtype)))) <= 1.05).all()
    # One factor: what would be subnormal may be 0.
    assert (np.abs(of(EXP_NONPOSITIVE, x) - np.exp(x.astype(wider(dtype)))) <= np.finfo(dtype).tiny).all()


@kernel
def factors(x, first, second, third, out):
    for i in range(0, x.size, lanes(at(x, 0))):
        significant, scale = elementary.exp_factors(load(at(x, i)))
        p = (load(at(first, i)) * significant) * (load(at(second, i)) * scale)
        store(at(out, i), p * load(at(third, i)))


def test_factors_of_exp_make_products_that_neither_overflow_nor_vanish(dtype):
    n = 2048
    top = 170.0 if dtype == np.float32 else 1400.0
    x = np.linspace(-top, top, n).astype(dtype)
    wide = x.astype(wider(dtype))
    half = np.exp(-wide / 2).astype(dtype)
    out = np.empty(n, dtype)
    factors(x, half, half, np.ones(n, dtype), out)
    np.testing.assert_allclose(out, half.astype(wider(dtype)) ** 2 * np.exp(wide), rtol=4 * np.finfo(dtype).eps)


def test_limits_of_the_saturating_functions(dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([1e3, 1e4, 1e30, np.finfo(dtype).max, np.inf], dtype)
    np.testing.assert_array_equal(of(TANH, x), 1)
    np.testing.assert_array_equal(of(TANH, -x), -1)
    np.testing.assert_array_equal(of(SIGMOID, x), 1)
    low = of(SIGMOID, -x)
    assert (low >= 0).all()
    assert (low < tiny).all()
    np.testing.assert_array_equal(of(EXPM1, -x), -1)
    np.testing.assert_array_equal(of(SOFTPLUS, x), x)
    low = of(SOFTPLUS, -x)
    assert (low >= 0).all()
    assert (low < tiny).all()


def test_tanh_keeps_the_sign_of_zero(dtype):
    assert list(np.signbit(of(TANH, np.array([-0.0, 0.0], dtype)))) == [True, False]


def test_exact_values(dtype):
    zero, one = np.zeros(1, dtype), np.ones(1, dtype)
    assert of(EXP, zero)[0] == 1
    assert of(EXPM1, zero)[0] == 0
    assert of(TANH, zero)[0] == 0
    assert of(SIGMOID, zero)[0] == 0.5
    assert of(LOG, one)[0] == 0
    assert of(LOG1P, zero)[0] == 0


def test_powers_of_two_have_exact_enough_logarithms(dtype):
    low, high = (-126, 128) if dtype == np.float32 else (-1022, 1024)
    n = np.arange(low, high)
    x = np.ldexp(np.ones(n.size, dtype), n)
    wanted = n * np.log(wider(dtype)(2))
    assert (np.abs(of(LOG, x) - wanted) <= np.spacing(np.abs(wanted).astype(dtype))).all()


def neighbours(dtype):
    """Runs of numbers without a gap between them, in ascending order: at random places and where formulas change."""
    rng = np.random.default_rng(0)
    places = np.concatenate(
        [rng.uniform(-20, 20, 1000), rng.uniform(-1, 1, 1000), 10.0 ** rng.uniform(-10, 0, 200), MONOTONE_SWITCHES]
    )
    starts = np.concatenate([places, -places]).astype(dtype)
    steps = np.arange(-64, 64) * np.spacing(np.abs(starts))[:, None]
    return np.unique((starts[:, None] + steps.astype(dtype)).ravel())


@needs_fma
@pytest.mark.parametrize("code", MONOTONE, ids=[NAMES[code] for code in MONOTONE])
def test_never_falls_between_neighbours(code, dtype):
    x = neighbours(dtype)
    if code in (EXP_NONPOSITIVE, EXPM1):
        x = x[x <= 0]
    y = of(code, x)
    falls = np.flatnonzero(np.diff(y) < 0)
    assert falls.size == 0, f"{falls.size} falls, the first at {x[falls[0]]!r}"


@pytest.mark.parametrize("code", range(8), ids=NAMES)
def test_a_lane_does_not_see_its_neighbours(code, dtype):
    x = arguments(code, dtype)[::997][:64]
    alone = np.array([of(code, np.full(64, value, dtype))[0] for value in x])
    np.testing.assert_array_equal(of(code, x), alone)


@kernel
def gelu(x, y, slope):
    p = at(x, 0)
    for i in range(0, x.size, lanes(p)):
        value, derivative = elementary.gelu_and_slope(load(at(p, i)))
        store(at(at(y, 0), i), value)
        store(at(at(slope, 0), i), derivative)


@needs_fma
def test_gelu_is_precise_to_a_millionth_in_the_tail(dtype):
    """And to the last places elsewhere: `scipy.special.ndtr` is exact enough for float32 alone."""
    if dtype == np.float64:
        pytest.skip("test_activations compares with 30 digits")
    x = np.concatenate([np.linspace(-13, 14, 16384), np.linspace(-0.76, -0.74, 1024)]).astype(dtype)
    y, slope = np.empty_like(x), np.empty_like(x)
    gelu(x, y, slope)
    wide = x.astype(np.float64)
    true = wide * special.ndtr(wide)
    np.testing.assert_allclose(y, true, rtol=5e-7)
    core = x > -1
    assert ulps(y[core], true[core]).max() <= 3.3
    true = special.ndtr(wide) + wide * np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(slope, true, rtol=1e-6, atol=np.finfo(dtype).eps)


def test_gelu_of_the_largest_numbers(dtype):
    top = np.finfo(dtype).max
    x = np.resize(np.array([1e30, -1e30, top, -top, np.inf, -np.inf, 60, -60], dtype), 64)
    y, slope = np.empty_like(x), np.empty_like(x)
    gelu(x, y, slope)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(slope, x > 0)
