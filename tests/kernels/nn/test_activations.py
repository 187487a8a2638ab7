"""Activations, forward and backward, over rows with padding."""

from __future__ import annotations

import ids
import naive
import numpy as np
import pytest
from driver import ACTIVATIONS

from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import at, n_lanes
from fastnn.kernels.nn import dispatch, rules, softmax

ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]


@kernel
def forward(code, alpha, z, y, ld, rows, n):
    dispatch.activate_output(code, alpha, 0, at(z, 0), at(y, 0), ld, rows, n)


@kernel
def backward(code, alpha, z, y, d, ld, rows, n):
    dispatch.activate_output_backward(code, alpha, 0, at(z, 0), at(y, 0), at(d, 0), ld, rows, n)


@kernel
def run_forward(code, alpha, z, n):
    dispatch.activate(code, alpha, 0, at(z, 0), at(z, 0), n)


@kernel
def is_zero_at_zero(code):
    return dispatch.is_zero_at_zero(code)


@kernel
def largest(z, n):
    return softmax.largest(at(z, 0), n)


@kernel
def exp_shifted(z, top, out, n):
    return softmax.exp_shifted(at(z, 0), top, at(out, 0), n)


@kernel
def scale_row(row, factor, n):
    softmax.scale_row(at(row, 0), factor, n)


def padded(values, ld, fill, dtype):
    """Rows of stride ld; what lies behind the n elements is `fill`."""
    rows = np.full((values.shape[0], ld), fill, dtype)
    rows[:, : values.shape[1]] = values
    return rows


def tolerance(dtype):
    return {"rtol": 8 * np.finfo(dtype).eps, "atol": 2 * np.finfo(dtype).eps}


@pytest.mark.parametrize("alpha", [0.01, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_forward(name, alpha, dtype):
    code = ACTIVATIONS[name][0]
    ld = 3 * n_lanes(dtype)
    z = np.random.default_rng(0).standard_normal((40, ld)).astype(dtype) * 5
    z[0, :6] = [0.0, 1e4, -1e4, 80.0, -80.0, 1e-7]
    if name == "exponential":
        z[0, 1] = 0.0  # infinity, see test_elementary
    n = ld - min(3, n_lanes(dtype) - 1)  # less than a vector of padding
    z[:, n:] = 0.0
    y = np.full_like(z, np.nan) if name != "identity" else z.copy()
    in_place = z.copy()
    forward(code, alpha, z.copy(), y, ld, len(z), n)
    forward(code, alpha, in_place, in_place, ld, len(z), n)
    np.testing.assert_array_equal(in_place, y)
    found, wanted = y[:, :n], naive.activation(code, alpha, z.astype(np.float64))[:, :n]
    np.testing.assert_allclose(found, wanted, **tolerance(dtype))
    assert not y[:, n:].any()  # also where f(0) is not 0


@pytest.mark.parametrize("alpha", [0.01, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_backward_is_the_derivative_at_the_input(name, alpha, dtype):
    code = ACTIVATIONS[name][0]
    ld = 2 * n_lanes(dtype)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40, ld)).astype(dtype) * 3
    if name != "exponential":
        z[0, :2] = [1e4, -1e4]
    d = rng.standard_normal(z.shape).astype(dtype)
    y = z.copy()
    kept = z.copy() if rules.keeps_more_than_output(code) else y
    forward(code, alpha, kept, y, ld, len(z), ld)
    got = d.copy()
    backward(code, alpha, kept, y, got, ld, len(z), ld)
    wanted = naive.activation_backward(code, alpha, z.astype(np.float64), d.astype(np.float64))
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_derivative_at_zero_is_that_from_the_left(name, dtype):
    code, alpha = ACTIVATIONS[name]
    z, y = np.zeros((2, n_lanes(dtype)), dtype)
    d = np.ones_like(y)
    forward(code, alpha, z, y, y.size, 1, y.size)
    backward(code, alpha, z, y, d, y.size, 1, y.size)
    np.testing.assert_array_equal(d, 0 if name == "relu" else dtype.type(alpha))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_is_passed_on_and_infinity_has_its_limit(name, dtype):
    code, alpha = ACTIVATIONS[name]
    z = np.zeros(2 * n_lanes(dtype), dtype)
    z[:3] = [np.nan, np.inf, -np.inf]
    y = z.copy()
    run_forward(code, alpha, y, y.size)
    assert np.isnan(y[0])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(y[1:3], naive.activation(code, alpha, z[1:3].astype(float)), atol=2e-38)


#: For each activation that is computed from powers of e: the largest error of value and slope in units in the last
#: place, measured, rounded up; and arguments near the zero of the slope, where only its absolute error is small.
PRECISION = {
    "sigmoid": (1.8, 2.0, None),
    "tanh": (1.4, 2.5, None),
    "elu": (1.3, 1.05, None),
    "selu": (2.0, 2.0, None),
    "softplus": (1.5, 1.7, None),
    "silu": (1.8, 4.0, (-4.0, -0.3)),
    "mish": (1.8, 7.5, (-4.0, -0.3)),
    "gelu": (9.0, 20.0, (-2.0, -0.3)),  # in the tail, where the exponent multiplies errors; 3.2 ulp above -1
}


def precise(name, z):
    """Value and slope to 30 digits, rounded to the longest type."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(30):
        one, values, slopes = mp.mpf(1), [], []
        for x in map(mp.mpf, z.tolist()):
            e = mp.exp(x)
            p = e / (1 + e)
            scale, alpha = {"selu": (mp.mpf(naive.SELU_SCALE), mp.mpf(naive.SELU_ALPHA))}.get(name, (one, one))
            if name == "sigmoid":
                pair = p, p / (1 + e)
            elif name == "tanh":
                pair = mp.tanh(x), mp.sech(x) ** 2
            elif name in ("elu", "selu"):
                pair = (scale * x, scale) if x > 0 else (scale * alpha * mp.expm1(x), scale * alpha * e)
            elif name == "softplus":
                pair = mp.log1p(e), p
            elif name == "silu":
                pair = x * p, p + x * p / (1 + e)
            elif name == "gelu":
                phi = mp.erfc(-x / mp.sqrt(2)) / 2
                pair = x * phi, phi + x * mp.npdf(x)
            else:
                n = e * (e + 2)
                pair = x * n / (n + 2), n / (n + 2) + 4 * x * e * (1 + e) / (n + 2) ** 2
            values.append(pair[0])
            slopes.append(pair[1])
        return values, slopes


def errors(found, wanted):
    """Errors in units in the last place of normal numbers; infinite where one was found for a smaller number."""
    dtype = found.dtype
    info = np.finfo(dtype)
    out = np.zeros(found.size)
    for i, (x, true) in enumerate(zip(found.tolist(), wanted, strict=True)):
        size = max(abs(float(true)), float(info.tiny))
        unit = float(np.spacing(dtype.type(size)))
        if abs(true) >= 8 * float(info.tiny):
            out[i] = float(abs(x - true) / unit)
        elif abs(x) > 9 * float(info.tiny):
            out[i] = np.inf
    return out


@pytest.mark.skipif(JIT_DISABLED, reason="the interpreter rounds where compiled code has fused multiply-adds")
@pytest.mark.parametrize("name", PRECISION)
def test_value_and_slope_to_the_last_places(name, dtype):
    code, alpha = ACTIVATIONS[name][0], 1.0
    rng = np.random.default_rng(3)
    low = -100.0 if dtype == np.float32 else -720.0
    signs = rng.choice([-1, 1], 150)
    powers = signs * 10.0 ** np.concatenate([rng.uniform(-20, 0, 100), rng.uniform(1, 30, 50)])
    rounds = [0.0, -14.0, 7.5, -7.5, 1e30, -1e30]
    z = np.concatenate([rng.uniform(low, 40, 200), rng.uniform(-8, 8, 600), powers, rounds])
    z = np.resize(z, 1024).astype(dtype)
    y, slopes = np.empty_like(z), z.copy()
    forward(code, alpha, slopes, y, z.size, 1, z.size)
    in_place = z.copy()
    forward(code, alpha, in_place, in_place, z.size, 1, z.size)
    np.testing.assert_array_equal(in_place, y)
    most, most_slope, crossing = PRECISION[name]
    reachable = np.abs(z) < 1e4
    values, true_slopes = precise(name, z[reachable])
    found = errors(y[reachable], values)
    assert found.max() <= most, (found.max(), z[reachable][found.argmax()])
    found = errors(slopes[reachable], true_slopes)
    if crossing:
        near = (z[reachable] > crossing[0]) & (z[reachable] < crossing[1])
        absolute = np.abs(slopes[reachable][near] - np.array(true_slopes, float)[near])
        assert absolute.max() <= 2 * np.finfo(dtype).eps
        found = found[~near]
        assert found.max() <= most_slope
    else:
        assert found.max() <= most_slope, (found.max(), z[reachable][found.argmax()])
    # Far out value and slope are their limits.
    far = ~reachable
    up = z[far] > 0
    bounded = {"sigmoid": 1.0, "tanh": 1.0}
    scale = naive.SELU_SCALE if name == "selu" else 1.0
    limits = np.where(up, 0.0 if name in bounded else dtype.type(scale), 0.0)
    # Some stop at what is next below the normal numbers, or a bit above; training takes that for 0.
    np.testing.assert_allclose(slopes[far], limits, rtol=0, atol=2 * np.finfo(dtype).tiny)
    below = {"elu": -1.0, "selu": -naive.SELU_SCALE * naive.SELU_ALPHA, "tanh": -1.0}.get(name, 0.0)
    above = np.ones_like(z) if name in bounded else z * dtype.type(scale)
    np.testing.assert_allclose(y[far], np.where(up, above[far], dtype.type(below)), rtol=0, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_writes_n_elements_and_treats_each_alike(name, dtype):
    code, alpha = ACTIVATIONS[name]
    v = n_lanes(dtype)
    x = np.random.default_rng(2).standard_normal(4 * v).astype(dtype)
    y = x.copy()
    run_forward(code, alpha, y, 3 * v)
    np.testing.assert_array_equal(y[3 * v :], x[3 * v :])
    for k in range(3 * v):
        alone = np.full(v, x[k], dtype)
        run_forward(code, alpha, alone, v)
        assert (alone == y[k]).all()


def test_zero_stays_zero_where_the_function_says_so(dtype):
    names = [name for name in ELEMENTWISE if is_zero_at_zero(ACTIVATIONS[name][0])]
    assert {"sigmoid", "softplus", "hard_sigmoid", "exponential"} == set(ELEMENTWISE) - set(names)
    for name in names:
        z = np.zeros(n_lanes(dtype), dtype)
        run_forward(*ACTIVATIONS[name], z, z.size)
        np.testing.assert_array_equal(z, 0)


# ------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("n", [1, 2, 3, 10, 15, 16, 17, 33])
def test_softmax_does_not_look_at_padding_and_leaves_zeros_there(n, dtype):
    ld = -(-n // n_lanes(dtype)) * n_lanes(dtype) + n_lanes(dtype)
    logits = np.random.default_rng(n).standard_normal((9, n)) * 4
    whole = -(-n // n_lanes(dtype)) * n_lanes(dtype)
    for fill in (0.0, 1e4, np.nan, np.inf):
        z = padded(logits, ld, fill, dtype)
        forward(ids.SOFTMAX, 0.0, z, z, ld, len(z), n)
        wanted = naive.softmax(logits.astype(dtype).astype(np.float64))
        np.testing.assert_allclose(z[:, :n], wanted, **tolerance(dtype))
        np.testing.assert_array_equal(z[:, n:whole], 0)
        np.testing.assert_allclose(z[:, :n].sum(axis=1), 1, rtol=8 * np.finfo(dtype).eps)


def test_softmax_of_huge_and_equal_logits(dtype):
    n = 11
    rows = np.zeros((6, n))
    rows[0, 3] = 1e4
    rows[1] = -1e4
    rows[1, 5] = 1e4
    rows[2] = 1e4
    rows[3] = -1e4
    rows[4] = np.linspace(-1e4, 1e4, n)
    rows[5] = -np.finfo(dtype).max
    z = padded(rows, 16, 9.0, dtype)
    forward(ids.SOFTMAX, 0.0, z, z, 16, len(rows), n)
    np.testing.assert_allclose(z[:, :n], naive.softmax(rows), rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(z[[2, 3, 5], :n], 1 / n, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [2, 3, 9, 17, 40])
def test_softmax_of_any_finite_logits(n, dtype):
    """Also where all are near the lowest number, and where a difference overflows."""
    top = float(np.finfo(dtype).max)
    rows = np.full((4, n), -1.05 * top / 1.1)
    rows[0, 0] = rows[0, -1] = -top / 1.1
    rows[1] = top * np.linspace(-1, 1, n)
    rows[2, 1] = top
    rows[3] = -top
    ld = -(-n // n_lanes(dtype)) * n_lanes(dtype)
    z = padded(rows, ld, np.nan, dtype)
    forward(ids.SOFTMAX, 0.0, z, z, ld, len(rows), n)
    wanted = np.zeros((4, n))
    wanted[0, 0] = wanted[0, -1] = 0.5
    wanted[1, -1] = wanted[2, 1] = 1.0
    wanted[3] = 1 / n
    np.testing.assert_allclose(z[:, :n], wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [1, 3, 10, 16, 17, 40])
def test_softmax_backward_is_the_jacobian(n, dtype):
    ld = -(-n // n_lanes(dtype)) * n_lanes(dtype) + n_lanes(dtype)
    rng = np.random.default_rng(n)
    logits, d = rng.standard_normal((2, 7, n)).astype(dtype)
    y = padded(logits, ld, 5.0, dtype)
    forward(ids.SOFTMAX, 0.0, y, y, ld, 7, n)
    got = padded(d, ld, 0.0, dtype)
    backward(ids.SOFTMAX, 0.0, y, y, got, ld, 7, n)
    wanted = naive.activation_backward(ids.SOFTMAX, 0.0, logits.astype(float), d.astype(float))
    np.testing.assert_allclose(got[:, :n], wanted, rtol=0, atol=16 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(got[:, n : -(-n // n_lanes(dtype)) * n_lanes(dtype)], 0)


def test_parts_of_softmax(dtype):
    v = n_lanes(dtype)
    for n in range(1, 2 * v + 1):
        row = np.full(2 * v, 1e9, dtype)
        row[:n] = np.random.default_rng(n).standard_normal(n) - 50
        top = largest(row, n)
        assert top == row[:n].max()
        out = np.full(2 * v, 7, dtype)
        total = exp_shifted(row, top, out, n)
        wanted = np.exp((row[:n] - top).astype(np.float64))
        np.testing.assert_allclose(out[:n], wanted, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(total, wanted.sum(), rtol=16 * np.finfo(dtype).eps)
        whole = -(-n // v) * v
        np.testing.assert_array_equal(out[n:whole], 0)
        before = out.copy()
        scale_row(out, 0.25, n)
        np.testing.assert_array_equal(out[:n], before[:n] / 4)
        assert (out[whole:] == 7).all()
