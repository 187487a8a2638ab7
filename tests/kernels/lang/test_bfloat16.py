"""Rounding to bfloat16 and its two forms, compiled against exact arithmetic and against the Python twins."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import HAS_BFLOAT16, at, load, n_lanes, store
from fastnn.kernels.lang.simd.bfloat16 import (
    dot,
    halves,
    numbers_per_element,
    pairs,
    rounded,
    store_row,
    store_row_end,
    store_row_end_for_dots,
    store_row_for_dots,
    store_two_rows,
    transpose_rounded,
)

V = n_lanes(np.float32)
FORMS = [np.uint32, np.float32]

#: Numbers whose rounding is special: ties, carries into the exponent, overflow, subnormals, zeros, infinities, NaN.
SPECIAL = np.array(
    [0x3F808000, 0x3F818000, 0x3F808001, 0x3F7FFFFF, 0x7F7F8000, 0x7F7F7FFF, 0xFF7FFFFF, 0x00000001, 0x00008001,
     0x007FFFFF, 0x807FFFFF, 0x00800000, 0x00808000, 0x80000000, 0x7F800000, 0xFF800000,
     0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF],
    np.uint32,
)  # fmt: skip


@kernel
def row(x, out):
    store_row(at(out, 0), load(at(x, 0)), load(at(x, x.size // 2)))


@kernel
def row_end(x, out):
    store_row_end(at(out, 0), load(at(x, 0)))


@kernel
def row_for_dots(x, out):
    store_row_for_dots(at(out, 0), load(at(x, 0)), load(at(x, x.size // 2)))


@kernel
def row_end_for_dots(x, out):
    store_row_end_for_dots(at(out, 0), load(at(x, 0)))


@kernel
def two_rows(x, ld, out):
    store_two_rows(at(out, 0), ld, load(at(x, 0)), load(at(x, x.size // 2)))


@kernel
def transpose(x, ld, out, ld_out):
    transpose_rounded(at(x, 0), ld, at(out, 0), ld_out)


@kernel
def per_element(out):
    return numbers_per_element(at(out, 0))


@kernel
def add_products(total, a, b):
    store(at(total, 0), dot(load(at(total, 0)), load(at(a, 0)), load(at(b, 0))))


def nearest(x):
    """Round by comparing distances in float64, ties to the number whose last bit is 0; subnormal numbers to zero."""
    result = np.empty_like(x)
    for i, value in enumerate(x):
        if abs(value) < np.finfo(np.float32).tiny:
            result[i] = np.copysign(np.float32(0), value)
            continue
        if not np.isfinite(value):
            result[i] = value
            continue
        low = (value.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        high_bits = low.view(np.uint32) + np.uint32(0x10000)
        high = high_bits.view(np.float32)
        # Beyond the largest number counts what the next one would be.
        above = float(high) if np.isfinite(high) else np.copysign(2.0**128, float(value))
        distances = abs(float(value) - float(low)), abs(above - float(value))
        is_even = (low.view(np.uint32) >> np.uint32(16)) & np.uint32(1) == 0
        result[i] = low if distances[0] < distances[1] or (distances[0] == distances[1] and is_even) else high
    return result


def numbers(n, seed=0):
    rng = np.random.default_rng(seed)
    found = (rng.standard_normal(n) * 10.0 ** rng.uniform(-30, 30, n)).astype(np.float32)
    special = SPECIAL.view(np.float32)
    found[: min(n, len(special))] = rng.permutation(special)[:n]
    return rng.permutation(found)


def same_bits(a, b):
    np.testing.assert_array_equal(np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32))


def upper_is_nan(x):
    return np.isnan((x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))


def test_the_twin_rounds_to_the_nearest_number():
    x = np.concatenate([SPECIAL.view(np.float32), numbers(2000)])
    got = rounded(x)
    finite = ~np.isnan(x)
    same_bits(got[finite], nearest(x[finite]))
    assert np.isnan(got[~finite]).all()
    assert upper_is_nan(got[~finite]).all()
    assert (got.view(np.uint32) & np.uint32(0xFFFF) == 0).all()


def test_words_hold_the_first_number_in_the_upper_half():
    first, second = numbers(64, 1), numbers(64, 2)
    words = pairs(first, second)
    for got, given in zip(halves(words), (first, second), strict=True):
        same_bits(got, rounded(given))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(20))
def test_stores(form, seed):
    x = numbers(2 * V, seed)
    per = 2 if form is np.uint32 else 1
    assert per_element(np.zeros(1, form)) == per
    untouched = np.full(4 * V, 7, form)

    out = untouched.copy()
    row(x, out)
    same_bits(out[: 2 * V // per], pairs(x[::2], x[1::2]) if per == 2 else rounded(x))
    assert (out[2 * V // per :] == 7).all()

    out = untouched.copy()
    row_end(x, out)
    zeros = np.zeros(V // 2, np.uint32)
    same_bits(out[:V], np.append(pairs(x[:V:2], x[1:V:2]), zeros) if per == 2 else rounded(x[:V]))
    assert (out[V:] == 7).all()

    out = untouched.copy()
    row_for_dots(x, out)
    same_bits(out[: 2 * V // per], pairs(x[:V], x[V:]) if per == 2 else rounded(x))
    assert (out[2 * V // per :] == 7).all()

    out = untouched.copy()
    row_end_for_dots(x, out)
    same_bits(out[:V], pairs(x[:V], np.zeros(V, np.float32)) if per == 2 else rounded(x[:V]))
    assert (out[V:] == 7).all()

    out = untouched.copy()
    two_rows(x, 2 * V, out)
    if per == 2:
        same_bits(out[:V], pairs(x[:V], x[V:]))
        assert (out[V:] == 7).all()
    else:
        same_bits(out[:V], rounded(x[:V]))
        same_bits(out[2 * V : 3 * V], rounded(x[V:]))
        assert (out[V : 2 * V] == 7).all()
        assert (out[3 * V :] == 7).all()


@pytest.mark.parametrize("form", FORMS)
def test_transposition(form):
    ld, ld_out = V + 3, V + 5
    x = numbers(V * ld, 3).reshape(V, ld)
    per = 2 if form is np.uint32 else 1
    out = np.full((V // per, ld_out), 7, form)
    transpose(x, ld, out, ld_out)
    block = np.ascontiguousarray(x[:, :V].T)
    same_bits(out[:, :V], pairs(block[::2], block[1::2]) if per == 2 else rounded(block))
    assert (out[:, V:] == 7).all()


def test_products_of_words_are_added_first_numbers_first():
    rng = np.random.default_rng(0)
    a1, a2, b1, b2, total = (rng.standard_normal(V).astype(np.float32) for _ in range(5))
    got = total.copy()
    add_products(got, pairs(a1, a2).view(np.float32), pairs(b1, b2).view(np.float32))
    # Products of two bfloat16 numbers are exact in float32, so each sum is one rounding of an exact one.
    a1, a2, b1, b2 = (rounded(x).astype(np.float64) for x in (a1, a2, b1, b2))
    after_first = (total + a1 * b1).astype(np.float32)
    same_bits(got, (after_first + a2 * b2).astype(np.float32))
    other_order = ((total + a2 * b2).astype(np.float32) + a1 * b1).astype(np.float32)
    assert (got != other_order).any()  # or the test could not see the order


@pytest.mark.skipif(not HAS_BFLOAT16, reason="no instruction for bfloat16")
def test_the_instruction_adds_in_that_order_too():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        total = rng.standard_normal(V).astype(np.float32)
        a, b = (rng.integers(0x3F00, 0x4100, (2, V)).astype(np.uint32) for _ in range(2))
        words = [(x[0] << 16 | x[1]).astype(np.uint32).view(np.float32) for x in (a, b)]
        expected = dot(total, *words)
        got = total.copy()
        add_products(got, *words)
        same_bits(got, expected)
