"""Activations, forward and backward, over rows with padding."""

from __future__ import annotations

import ids
import naive
import numpy as np
import pytest
from driver import ACTIVATIONS

from fastnn.kernels.lang.compiler import kernel
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
    z[:, ld - 3 :] = 0.0
    y = np.full_like(z, np.nan) if name != "identity" else z.copy()
    forward(code, alpha, z, y, ld, len(z), ld - 3)
    in_place = z.copy()
    forward(code, alpha, in_place, in_place, ld, len(z), ld - 3)
    np.testing.assert_array_equal(in_place, y)
    found, wanted = y[:, : ld - 3], naive.activation(code, alpha, z.astype(np.float64))[:, : ld - 3]
    np.testing.assert_allclose(found, wanted, **tolerance(dtype))
    assert not y[:, ld - 3 :].any()  # also where f(0) is not 0


@pytest.mark.parametrize("alpha", [0.01, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_backward_from_the_output_is_the_derivative_at_the_input(name, alpha, dtype):
    code = ACTIVATIONS[name][0]
    ld = 2 * n_lanes(dtype)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40, ld)).astype(dtype) * 3
    if name != "exponential":
        z[0, :2] = [1e4, -1e4]
    d = rng.standard_normal(z.shape).astype(dtype)
    y = z.copy()
    forward(code, alpha, z, y, ld, len(z), ld)
    got = d.copy()
    backward(code, alpha, z if rules.derivative_from_input(code) else y, y, got, ld, len(z), ld)
    wanted = naive.activation_backward(code, alpha, z.astype(np.float64), d.astype(np.float64))
    # Taken from y the derivative of sigmoid and tanh loses what y lost against 1.
    np.testing.assert_allclose(got, wanted, rtol=8 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_derivative_at_zero_is_that_from_the_left(name, dtype):
    code, alpha = ACTIVATIONS[name]
    y = np.zeros(n_lanes(dtype), dtype)
    d = np.ones_like(y)
    backward(code, alpha, y, y, d, y.size, 1, y.size)
    np.testing.assert_array_equal(d, 0 if name == "relu" else dtype.type(alpha))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_is_passed_on_and_infinity_has_its_limit(name, dtype):
    code, alpha = ACTIVATIONS[name]
    z = np.zeros(n_lanes(dtype), dtype)
    z[:3] = [np.nan, np.inf, -np.inf]
    y = z.copy()
    run_forward(code, alpha, y, y.size)
    assert np.isnan(y[0])
    if rules.derivative_from_input(code):  # minus infinity times what saturates near 0 is left to be found by the loss
        assert y[1] == np.inf
        return
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(y[1:3], naive.activation(code, alpha, z[1:3].astype(float)), atol=2e-38)


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
