"""Vectors: each operation against its Python twin, and the small loops made of them against NumPy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.kernels.lang import simd
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    cast_like,
    exponent,
    fma,
    lanes,
    load,
    load_scalar,
    mask_tail,
    max_lanes,
    maximum,
    minimum,
    n_lanes,
    power_of_two,
    select_finite,
    select_gt,
    significand,
    sqrt,
    store,
    store_scalar,
    sum_lanes,
    transpose_block,
)
from fastnn.kernels.loop.forward_backward import copy_row, whole_vectors
from fastnn.kernels.loop.train import sum_row
from fastnn.kernels.loop.update import sum_columns
from fastnn.kernels.maths.isfinite import all_finite, scan

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="the twins round otherwise")


@kernel
def of_one(code, x, out):
    v = load(at(x, 0))
    q = at(out, 0)
    if code == 0:
        store(q, sqrt(v))
    elif code == 1:
        store(q, absolute(v))
    elif code == 2:
        store(q, exponent(v))
    elif code == 3:
        store(q, significand(v))
    elif code == 4:
        store(q, power_of_two(v))


@kernel
def of_two(code, x, y, out):
    a = load(at(x, 0))
    b = load(at(y, 0))
    q = at(out, 0)
    if code == 0:
        store(q, a + b)
    elif code == 1:
        store(q, a - b)
    elif code == 2:
        store(q, a * b)
    elif code == 3:
        store(q, a / b)
    elif code == 4:
        store(q, minimum(a, b))
    elif code == 5:
        store(q, maximum(a, b))


@kernel
def of_three(code, x, y, z, out):
    a = load(at(x, 0))
    b = load(at(y, 0))
    c = load(at(z, 0))
    q = at(out, 0)
    if code == 0:
        store(q, fma(a, b, c))
    elif code == 1:
        store(q, select_finite(a, b, c))
    elif code == 2:
        store(q, select_gt(a, b, c, b))


@kernel
def of_first(x, n, fill, out):
    v = load(at(x, 0))
    store(at(out, 0), mask_tail(v, n, broadcast(v, fill)))


@kernel
def of_splat(x, out):
    store(at(out, 0), broadcast(at(out, 0), x))


@kernel
def sum_of_lanes(x):
    return sum_lanes(load(at(x, 0)))


@kernel
def largest_lane(x):
    return max_lanes(load(at(x, 0)))


@kernel
def lanes_of(x):
    return lanes(at(x, 0))


@kernel
def rounded(x, y):
    return cast_like(at(x, 0), y)


@kernel
def move(x, place, out, target):
    store_scalar(at(at(out, 1), target - 1), load_scalar(at(x, place)))


@kernel
def transpose(x, start, ld, out, target, ld_out):
    transpose_block(at(x, start), ld, at(out, target), ld_out)


@kernel
def copied(x, start, out, target, n):
    copy_row(at(x, start), at(out, target), n)


@kernel
def summed(x, n):
    return sum_row(at(x, 0), n)


@kernel
def columns_summed(d, ld, rows, init, out, n):
    sum_columns(at(d, 0), ld, rows, at(init, 0), at(out, 0), n)


@kernel
def rounded_up(n, v):
    return whole_vectors(n, v)


def random_lanes(dtype, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(n_lanes(dtype)) * scale).astype(dtype)


def test_vectors_fill_the_register(dtype):
    assert n_lanes(dtype) * dtype.itemsize * 8 == simd.VECTOR_BITS
    assert lanes_of(np.zeros(1, dtype)) == n_lanes(dtype)
    assert simd.VECTOR_BITS // 8 <= simd.CACHE_LINE


@pytest.mark.parametrize(
    ("code", "twin"),
    [(0, sqrt), (1, absolute), (2, exponent), (3, significand)],
    ids=["sqrt", "absolute", "exponent", "significand"],
)
def test_operations_on_one_vector(code, twin, dtype):
    v = n_lanes(dtype)
    info = np.finfo(dtype)
    special = [1.0, 2.0, 0.5, info.max, info.tiny, 1 - info.epsneg, math.sqrt(0.5), math.sqrt(2.0), 3.0, 1e-20]
    values = np.concatenate([special, np.exp(random_lanes(np.float64, 1, 20.0)), np.exp(random_lanes(np.float64, 2))])
    values = np.resize(values, -(-values.size // v) * v).astype(dtype)
    for k in range(0, values.size, v):
        out = np.empty(v, dtype)
        of_one(code, values[k : k + v], out)
        np.testing.assert_array_equal(out, twin(values[k : k + v]))


def test_absolute_takes_the_sign_away(dtype):
    x = -np.abs(random_lanes(dtype))
    x[0] = -np.inf
    out = np.empty_like(x)
    of_one(1, x, out)
    np.testing.assert_array_equal(out, -x)


def test_exponent_and_significand_are_the_number(dtype):
    x = np.exp(random_lanes(np.float64, 4, 10.0))[: n_lanes(dtype)]
    x = np.resize(x, n_lanes(dtype)).astype(dtype)
    e, m = np.empty_like(x), np.empty_like(x)
    of_one(2, x, e)
    of_one(3, x, m)
    np.testing.assert_array_equal(np.ldexp(m, e.astype(int)), x)
    assert (m >= dtype.type(math.sqrt(0.5))).all()
    assert (m < math.sqrt(2.0)).all()


def test_power_of_two(dtype):
    rounding = simd.ROUND32 if dtype == np.float32 else simd.ROUND64
    top = 126 if dtype == np.float32 else 1022
    v = n_lanes(dtype)
    for low in range(-top, top + 1, v):
        n = np.minimum(np.arange(low, low + v), top)
        t = (n + rounding).astype(dtype)
        out = np.empty(v, dtype)
        of_one(4, t, out)
        np.testing.assert_array_equal(out, np.ldexp(dtype.type(1), n))
        np.testing.assert_array_equal(power_of_two(t), out)


@pytest.mark.parametrize(
    ("code", "twin"),
    [(0, np.add), (1, np.subtract), (2, np.multiply), (3, np.divide), (4, minimum), (5, maximum)],
    ids=["add", "sub", "mul", "div", "minimum", "maximum"],
)
def test_operations_on_two_vectors(code, twin, dtype):
    a, b = random_lanes(dtype, 1, 1e3), random_lanes(dtype, 2)
    b[1] = a[1]
    out = np.empty_like(a)
    of_two(code, a, b, out)
    np.testing.assert_array_equal(out, twin(a, b))


@pytest.mark.parametrize("code", [4, 5])
def test_minimum_and_maximum_keep_a_nan_in_the_second_place(code, dtype):
    a, b = random_lanes(dtype, 1), random_lanes(dtype, 2)
    b[0] = np.nan
    a[1] = np.nan
    out = np.empty_like(a)
    of_two(code, a, b, out)
    assert np.isnan(out[0])
    assert out[1] == b[1]
    np.testing.assert_array_equal((minimum if code == 4 else maximum)(a, b), out)


@compiled_only
@pytest.mark.skipif(not simd.HAS_FMA, reason="no such instruction")
def test_fma_rounds_once(dtype):
    # (1 + e)(1 - e) - 1 = -e^2, but 0 when the product is rounded by itself.
    e = np.finfo(dtype).eps
    a = np.full(n_lanes(dtype), 1 + e, dtype)
    out = np.empty_like(a)
    of_three(0, a, 2 - a, np.full_like(a, -1), out)
    np.testing.assert_array_equal(out, -(e**2))
    np.testing.assert_array_equal(fma(a, 2 - a, np.full_like(a, -1)), 0)


def test_fma_multiplies_and_adds(dtype):
    a, b, c = (random_lanes(dtype, k) for k in range(3))
    out = np.empty_like(a)
    of_three(0, a, b, c, out)
    np.testing.assert_allclose(out, a * b + c, rtol=0, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(fma(a, b, c), a * b + c)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_where_finite(special, dtype):
    a, x, y = (random_lanes(dtype, k) for k in range(3))
    a[0] = special
    a[-1] = np.finfo(dtype).max
    out = np.empty_like(a)
    of_three(1, a, x, y, out)
    np.testing.assert_array_equal(out, [y[0], *x[1:]])
    np.testing.assert_array_equal(select_finite(a, x, y), out)


def test_where_greater(dtype):
    a, b, x = (random_lanes(dtype, k) for k in range(3))
    a[0] = b[0]
    a[1] = np.nan
    out = np.empty_like(a)
    of_three(2, a, b, x, out)
    np.testing.assert_array_equal(out, np.where(a > b, x, b))
    np.testing.assert_array_equal(select_gt(a, b, x, b), out)


def test_first_keeps_the_lanes_before(dtype):
    x = random_lanes(dtype)
    x[-1] = np.nan
    v = x.size
    for n in [-3, 0, *range(1, v), v, v + 1, 10 * v]:
        out = np.empty_like(x)
        of_first(x, n, -7.0, out)
        np.testing.assert_array_equal(out, [x[k] if k < n else -7 for k in range(v)])
        np.testing.assert_array_equal(mask_tail(x, n, np.full_like(x, -7)), out)


def test_splat_and_element_round_to_the_type(dtype):
    out = np.zeros(n_lanes(dtype), dtype)
    of_splat(1 / 3, out)
    np.testing.assert_array_equal(out, dtype.type(1 / 3))
    assert rounded(out, 1 / 7) == dtype.type(1 / 7)
    np.testing.assert_array_equal(broadcast(out, 1 / 3), out)
    assert cast_like(out, 1 / 7) == dtype.type(1 / 7)


def test_at_get_and_put_count_elements_in_c_order(dtype):
    x = np.arange(12, dtype=dtype).reshape(3, 4)
    out = np.zeros((2, 3), dtype)
    move(x, 7, out, 4)
    assert out[1, 1] == 7
    assert np.count_nonzero(out) == 1


def test_reductions_have_one_order(dtype):
    # Terms of very different size: another order of additions would round otherwise.
    for seed in range(20):
        sizes = 10.0 ** np.random.default_rng(seed).integers(-6, 6, n_lanes(dtype))
        x = (random_lanes(dtype, seed) * sizes).astype(dtype)
        folded = x
        while folded.size > 1:
            folded = folded[: folded.size // 2] + folded[folded.size // 2 :]
        assert sum_of_lanes(x) == folded[0] == sum_lanes(x)
        assert largest_lane(x) == x.max() == max_lanes(x)


def test_sum_row_takes_n_elements(dtype):
    v = n_lanes(dtype)
    for n in range(3 * v + 2):
        x = np.full(n + v, np.nan, dtype)
        x[:n] = np.random.default_rng(n).integers(-99, 99, n)
        assert summed(x, n) == x[:n].sum()
        assert rounded_up(n, v) == math.ceil(n / v) * v


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 40])
def test_sum_columns_adds_row_after_row(rows, dtype):
    v = n_lanes(dtype)
    for vectors in range(1, 10):
        n = vectors * v
        rng = np.random.default_rng(vectors)
        d = rng.standard_normal((rows + 1, n + 3)).astype(dtype)
        init = rng.standard_normal(n).astype(dtype)
        out = np.full(n + v, 5, dtype)
        columns_summed(d, n + 3, rows, init, out, n)
        wanted = init.copy()
        for r in range(rows):
            wanted += d[r, :n]
        np.testing.assert_array_equal(out[:n], wanted)
        assert (out[n:] == 5).all()
        # A sum may be cut between rows and go on in place.
        half = rows // 2
        columns_summed(d, n + 3, half, init, out, n)
        columns_summed(d[half:], n + 3, rows - half, out, out, n)
        np.testing.assert_array_equal(out[:n], wanted)


def test_copy_row_writes_n_elements(dtype):
    for n in range(1, 4 * n_lanes(dtype) + 2):
        x = np.arange(n + 2, dtype=dtype)
        out = np.full(n + 40, -1, dtype)
        copied(x, 2, out, 5, n)
        np.testing.assert_array_equal(out[5 : 5 + n], x[2:])
        assert (out[:5] == -1).all()
        assert (out[5 + n :] == -1).all()


def test_transpose_block(dtype):
    v = n_lanes(dtype)
    for extra, start, extra_out, target in [(0, 0, 0, 0), (3, 1, 5, 2), (1, 7, 64, 3)]:
        ld, ld_out = v + extra, v + extra_out
        x = np.random.default_rng(extra).standard_normal(start + v * ld).astype(dtype)
        before = np.full(target + v * ld_out + 9, 77, dtype)
        out = before.copy()
        transpose(x, start, ld, out, target, ld_out)
        wanted = before.copy()
        for i in range(v):
            for j in range(v):
                wanted[target + j * ld_out + i] = x[start + i * ld + j]
        np.testing.assert_array_equal(out, wanted)
        twin = before.copy()
        transpose_block(x[start:], ld, twin[target:], ld_out)
        np.testing.assert_array_equal(twin, wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite_sees_each_place(bad, dtype):
    for n in [1, 2, 15, 16, 17, 33, 64, 70, 100]:
        x = np.full(n, np.finfo(dtype).max, dtype)
        x[::2] *= -1
        assert all_finite(x)
        for place in range(n):
            y = x.copy()
            y[place] = bad
            assert not all_finite(y)


def test_all_finite_of_long_empty_and_read_only_arrays(dtype):
    assert all_finite(np.empty(0, dtype))
    assert all_finite(np.empty((0, 3), dtype))
    x = np.ones((101, 101), dtype)
    for place in (0, 4095, 4096, 5000, 8192, 10_200):
        y = x.copy()
        y.flat[place] = np.nan
        y.flags.writeable = False
        assert not all_finite(y)
    x.flags.writeable = False
    assert all_finite(x)


@compiled_only
def test_all_finite_is_compiled_once_for_each_type():
    for a in (np.ones(5, np.float32), np.ones((2, 3), np.float32), np.ones(7), np.ones((1, 1, 1))):
        for writeable in (True, False):
            a.flags.writeable = writeable
            assert all_finite(a)
            assert a.flags.writeable == writeable
    types = [str(signature[0].dtype) for signature in scan.signatures]
    assert sorted(types) == ["float32", "float64"]


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(st.lists(st.floats(width=32), min_size=1, max_size=70))
def test_all_finite_is_what_numpy_says(values):
    x = np.array(values, np.float32)
    assert all_finite(x) == np.isfinite(x).all()
    y = np.array(values, np.float64)
    assert all_finite(y) == np.isfinite(y).all()


@kernel
def keep_positive(y, d):
    for i in range(0, y.size, lanes(at(y, 0))):
        zero = broadcast(at(y, 0), 0.0)
        store(at(d, i), select_gt(load(at(y, i)), zero, load(at(d, i)), zero))


@compiled_only
@pytest.mark.skipif(not simd.IS_X86, reason="the names of instructions")
def test_a_store_writes_a_whole_vector(dtype):
    y, d = np.arange(-32, 32).astype(dtype), np.ones(64, dtype)
    keep_positive(y, d)
    np.testing.assert_array_equal(d, y > 0)
    machine_code = "\n".join(keep_positive.inspect_asm().values())
    assert re.search(r"vmovup[sd]|movup[sd]", machine_code)
    assert not re.search(r"maskmov|\{%k\d\}\s*$", machine_code, re.MULTILINE)
