"""Subnormal numbers are zero between the two calls, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import JIT_DISABLED, device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.simd import IS_AARCH64, IS_X86, at, broadcast, load, store

pytestmark = pytest.mark.skipif(
    JIT_DISABLED or not (IS_X86 or IS_AARCH64), reason="only compiled code, on x86 and AArch64, flushes subnormals"
)


@device_function
def halve(p, q):
    noinline()  # the compiler may move arithmetic, but no call, across a change of the control word
    store(q, load(p) * broadcast(p, 0.5))


@kernel
def halve_before_within_after(x, out, words):
    n = x.size
    halve(at(x, 0), at(out, 0))
    words[0] = flush_subnormals()
    halve(at(x, 0), at(out, n))
    words[1] = flush_subnormals()
    restore_control(words[1])  # what it undoes is the inner call alone
    halve(at(x, 0), at(out, 2 * n))
    restore_control(words[0])
    halve(at(x, 0), at(out, 3 * n))
    words[2] = flush_subnormals()
    restore_control(words[2])


def values(dtype):
    limits = np.finfo(dtype)
    x = np.ones(64 // dtype.itemsize, dtype)  # the longest vector
    x[0], x[1] = limits.smallest_normal, 1000 * limits.smallest_subnormal
    return x


def test_results_and_operands_that_are_subnormal_become_zero_and_the_control_word_is_restored(dtype):
    x = values(dtype)
    out, words = np.zeros((4, x.size), dtype), np.zeros(3, np.int64)
    halve_before_within_after(x, out, words)
    half = x[:2] / 2
    assert half.all()
    np.testing.assert_array_equal(out[0, :2], half)
    np.testing.assert_array_equal(out[1, :2], 0.0)
    np.testing.assert_array_equal(out[2, :2], 0.0)
    np.testing.assert_array_equal(out[3, :2], half)
    assert words[1] != words[0]
    assert words[2] == words[0]
    np.testing.assert_array_equal(x[:2] / 2, half)
