"""The matrix product: its three forms, any shape, no write outside C, and the same bits for every partition."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.kernels.lang import levels
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import IS_X86, at, n_lanes
from fastnn.kernels.lang.simd.bfloat16 import pairs, rounded
from fastnn.kernels.linalg.gemm import DEPTH, gemm
from fastnn.kernels.linalg.microkernel import TILE_ROWS, Stream, nothing

UNTOUCHED = -12345.0

#: Column counts around one and two vectors, rows around the tiles, sums around the depth of a pass.
WIDTHS = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65]
HEIGHTS = sorted({1, 2, 3, 4, 5, 6, 7, 8, TILE_ROWS, TILE_ROWS + 1, 2 * TILE_ROWS, 2 * TILE_ROWS + 7})
DEPTHS = [1, 2, 3, 16, DEPTH - 1, DEPTH, DEPTH + 1, 600]


@kernel
def multiply(a, a_at, a_row, a_k, b, b_at, ldb, init, init_at, ld_init, c, c_at, ldc, m, n, depth):
    gemm(
        at(a, a_at), a_row, a_k, at(b, b_at), ldb, at(init, init_at), ld_init, at(c, c_at), ldc, m, n, depth,
        nothing(at(a, 0)), nothing(at(a, 0)),
    )  # fmt: skip


@kernel
def multiply_fetching(a, b, c, init, m, n, depth, stride, group_stride, groups):
    wanted = Stream(at(c, 0), stride, group_stride, groups)
    wanted_too = Stream(at(a, 0), group_stride, stride, groups)
    gemm(at(a, 0), depth, 1, at(b, 0), n, at(init, 0), 0, at(c, 0), n, m, n, depth, wanted, wanted_too)


class Case:
    """One product with operands in padded rows; `read_down` stores A by columns (the form of dW)."""

    def __init__(self, m, n, depth, dtype, *, start="zeros", read_down=False, seed=0):
        rng = np.random.default_rng(seed)
        v = n_lanes(dtype)
        self.m, self.depth = m, depth
        self.n = -(-n // v) * v  # columns come in whole vectors
        self.dtype, self.v = dtype, v
        self.a = rng.standard_normal((m, depth)).astype(dtype)
        self.b = rng.standard_normal((depth, self.n)).astype(dtype)
        rows = {"zeros": 1, "bias": 1, "c": m}[start]
        self.init = rng.standard_normal((rows, self.n)).astype(dtype)
        if start == "zeros":
            self.init[:] = 0
        self.start = start
        stored = self.a.T if read_down else self.a
        self.lda = stored.shape[1] + 3
        # What lies in the gaps must never enter a sum.
        self.a_memory = np.full((stored.shape[0], self.lda), np.nan, dtype)
        self.a_memory[:, : stored.shape[1]] = stored
        self.a_row, self.a_k = (1, self.lda) if read_down else (self.lda, 1)
        self.ldb = self.n + v
        self.b_memory = np.full((depth, self.ldb), np.nan, dtype)
        self.b_memory[:, : self.n] = self.b
        self.ldc = self.n + 2 * v
        self.before = v + 5

    def run(self, row_cuts=(), depth_cuts=()):
        """C by one call for each piece."""
        memory = np.full(self.before + self.m * self.ldc + 40, UNTOUCHED, self.dtype)
        c = memory[self.before : self.before + self.m * self.ldc].reshape(self.m, self.ldc)
        init, ld_init, init_at = self.init, 0, 0
        if self.start == "c":
            c[:, : self.n] = self.init
            init, ld_init, init_at = memory, self.ldc, self.before
        rows = [0, *row_cuts, self.m]
        sums = [0, *depth_cuts, self.depth]
        for r, r_end in pairwise(rows):
            for k, k_end in pairwise(sums):
                place = self.before + r * self.ldc
                begin = (init, init_at + r * ld_init, ld_init) if k == 0 else (memory, place, self.ldc)
                multiply(
                    self.a_memory, r * self.a_row + k * self.a_k, self.a_row, self.a_k,
                    self.b_memory, k * self.ldb, self.ldb,
                    *begin, memory, place, self.ldc, r_end - r, self.n, k_end - k,
                )  # fmt: skip
        outside = memory.copy()
        outside[self.before : self.before + self.m * self.ldc].reshape(self.m, self.ldc)[:, : self.n] = UNTOUCHED
        assert (outside == UNTOUCHED).all(), "written outside C"
        return c[:, : self.n].copy()

    def check(self):
        """Compare with NumPy, within the error bound of a sum with that number of roundings."""
        a, b, init = (x.astype(np.float64) for x in (self.a, self.b, self.init))
        got = self.run()
        bound = (self.depth + 2) * np.finfo(self.dtype).eps * (np.abs(a) @ np.abs(b) + np.abs(init))
        assert (np.abs(got - (a @ b + init)) <= bound).all(), (self.m, self.n, self.depth, self.start)
        return got


@pytest.mark.parametrize("read_down", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("start", ["zeros", "bias", "c"])
def test_shapes(start, read_down, dtype):
    for m in HEIGHTS:
        for n in WIDTHS:
            Case(m, n, 11, dtype, start=start, read_down=read_down).check()
    for depth in DEPTHS:
        for m, n in [(1, 1), (3, 17), (TILE_ROWS + 3, 33)]:
            Case(m, n, depth, dtype, start=start, read_down=read_down).check()


def test_the_three_products_of_back_propagation(dtype):
    rng = np.random.default_rng(0)
    rows, fan_in, fan_out = 37, 48, 32
    x = rng.standard_normal((rows, fan_in)).astype(dtype)
    w = rng.standard_normal((fan_in, fan_out)).astype(dtype)
    bias = rng.standard_normal(fan_out).astype(dtype)
    dz = rng.standard_normal((rows, fan_out)).astype(dtype)
    zeros = np.zeros(64, dtype)
    tolerance = {"rtol": 0, "atol": 200 * np.finfo(dtype).eps}
    z = np.empty((rows, fan_out), dtype)
    multiply(x, 0, fan_in, 1, w, 0, fan_out, bias, 0, 0, z, 0, fan_out, rows, fan_out, fan_in)
    np.testing.assert_allclose(z, x @ w + bias, **tolerance)
    dx = np.empty((rows, fan_in), dtype)
    wt = np.ascontiguousarray(w.T)
    multiply(dz, 0, fan_out, 1, wt, 0, fan_in, zeros, 0, 0, dx, 0, fan_in, rows, fan_in, fan_out)
    np.testing.assert_allclose(dx, dz @ w.T, **tolerance)
    dw = np.empty((fan_in, fan_out), dtype)
    multiply(x, 0, 1, fan_in, dz, 0, fan_out, zeros, 0, 0, dw, 0, fan_out, fan_in, fan_out, rows)
    np.testing.assert_allclose(dw, x.T @ dz, **tolerance)


def test_no_rows_write_nothing(dtype):
    memory = np.full(200, UNTOUCHED, dtype)
    a = np.ones(32, dtype)
    multiply(a, 0, 4, 1, np.ones(640, dtype), 0, 64, np.zeros(64, dtype), 0, 0, memory, 0, 64, 0, 64, 4)
    assert (memory == UNTOUCHED).all()


@pytest.mark.parametrize("start", ["zeros", "bias", "c"])
@pytest.mark.parametrize("read_down", [False, True], ids=["rows", "columns"])
def test_same_bits_however_it_is_cut(start, read_down, dtype):
    for m, n, depth in [(29, 33, 600), (2 * TILE_ROWS, 65, DEPTH), (5, 17, 2 * DEPTH + 3)]:
        case = Case(m, n, depth, dtype, start=start, read_down=read_down)
        whole = case.run()
        assert np.array_equal(case.run(row_cuts=range(1, m)), whole)
        assert np.array_equal(case.run(row_cuts=(1, 3)), whole)
        assert np.array_equal(case.run(depth_cuts=(1, 100, DEPTH - 1)), whole)
        assert np.array_equal(case.run(row_cuts=(4,), depth_cuts=(7, DEPTH - 2)), whole)


def test_what_is_prefetched_changes_nothing(dtype):
    # The streams may point far outside of all arrays: nothing is read or written through them.
    rng = np.random.default_rng(0)
    m, n, depth = 3 * TILE_ROWS + 1, 4 * n_lanes(dtype), 2 * DEPTH + 70
    a, b = rng.standard_normal((m, depth)).astype(dtype), rng.standard_normal((depth, n)).astype(dtype)
    init = np.zeros(n, dtype)
    plain, fetching = np.empty((m, n), dtype), np.empty((m, n), dtype)
    multiply(a, 0, depth, 1, b, 0, n, init, 0, 0, plain, 0, n, m, n, depth)
    for stride, group_stride, groups in [(n, 0, 1), (1 << 40, -(1 << 41), 3), (0, 0, 0)]:
        fetching[:] = UNTOUCHED
        multiply_fetching(a, b, fetching, init, m, n, depth, stride, group_stride, groups)
        assert np.array_equal(fetching, plain)


def test_same_bits_in_any_column(dtype):
    # The same column of B in each place, and the same row of A in each place: one value everywhere.
    v = n_lanes(dtype)
    case = Case(2 * TILE_ROWS + 7, 5 * v, 300, dtype)
    case.a_memory[:, : case.depth] = case.a[0]
    case.b_memory[:, : case.n] = case.b[:, :1]
    got = case.run()
    assert (got == got[0, 0]).all()


def test_each_element_is_one_chain_in_the_order_of_the_sum():
    # 1 + 1 + 1e9 loses the 2 in float32, - 1e9 + 1 leaves 1; summed in another order it would be 3 or 2.
    case = Case(3, 16, 5, np.dtype(np.float32))
    case.a_memory[:, :5] = [1.0, 1.0, 1e9, -1e9, 1.0]
    case.b_memory[:, : case.n] = 1.0
    np.testing.assert_array_equal(case.run(), 1.0)


def test_nan_and_infinity_reach_the_result(dtype):
    case = Case(9, 20, 30, dtype)
    case.a_memory[4, 7] = np.nan
    case.b_memory[3, 5] = np.inf
    got = case.run()
    assert np.isnan(got[4]).all()
    assert np.isinf(np.delete(got[:, 5], 4)).all()
    assert np.isfinite(np.delete(np.delete(got, 4, 0), 5, 1)).all()


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 80),
    depth=st.integers(1, 700),
    start=st.sampled_from(["zeros", "bias", "c"]),
    read_down=st.booleans(),
    double=st.booleans(),
    data=st.data(),
)
def test_any_shape_and_any_cut(m, n, depth, start, read_down, double, data):
    case = Case(m, n, depth, np.dtype(np.float64 if double else np.float32), start=start, read_down=read_down, seed=m)
    whole = case.check()
    row = data.draw(st.integers(0, m), label="row cut")
    k = data.draw(st.integers(1, depth), label="cut of the sum")
    cut = case.run(row_cuts=(row,), depth_cuts=(k,) if k < depth else ())
    assert np.array_equal(cut, whole)


# ------------------------------------------------------------------------------------------------------ bfloat16


@kernel
def multiply_words(a, a_row, a_k, b, ldb, init, c, ldc, m, n, depth):
    gemm(
        at(a, 0), a_row, a_k, at(b, 0), ldb, at(init, 0), 0, at(c, 0), ldc, m, n, depth, nothing(at(c, 0)),
        nothing(at(c, 0)),
    )  # fmt: skip


@pytest.mark.parametrize("read_down", [False, True], ids=["rows", "columns"])
def test_products_of_words_have_the_bits_of_rounded_numbers(read_down):
    rng = np.random.default_rng(0)
    v = n_lanes(np.float32)
    shapes = [(1, v, 1), (1, 9 * v, 70), (3, 2 * v, 5), (29, 5 * v, 130), (9, v, 2 * DEPTH + 3), (64, 2 * v, 64)]
    for m, n, n_words in shapes:
        a, b = rounded(rng.standard_normal((m, 2 * n_words))), rounded(rng.standard_normal((2 * n_words, n)))
        init = rng.standard_normal(n).astype(np.float32)
        words_of_a, words_of_b = pairs(a[:, ::2], a[:, 1::2]), pairs(b[::2], b[1::2])
        if read_down:
            a, words_of_a = (np.ascontiguousarray(x.T) for x in (a, words_of_a))
        got, expected = np.zeros((m, n), np.float32), np.zeros((m, n), np.float32)
        strides = (1, m) if read_down else (n_words, 1)
        multiply_words(words_of_a, *strides, words_of_b, n, init, got, n, m, n, n_words)
        strides = (1, m) if read_down else (2 * n_words, 1)
        multiply(a, 0, *strides, b, 0, n, init, 0, 0, expected, 0, n, m, n, 2 * n_words)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED or not IS_X86, reason="nothing is compiled, or for other processors")
def test_the_instruction_is_used_where_the_processor_has_it():
    code = """
from numba import types
import test_gemm
words, row, matrix = (types.Array(t, d, "C") for t, d in [(types.uint32, 2), (types.float32, 1), (types.float32, 2)])
n = types.int64
test_gemm.multiply_words.compile((words, n, n, words, n, row, matrix, n, n, n, n))
(signature,) = test_gemm.multiply_words.signatures
print(test_gemm.multiply_words.inspect_asm(signature).count("vdpbf16ps"))
"""
    level = levels.levels_of("x86_64")[0]
    settings = level.settings()
    settings["NUMBA_CPU_FEATURES"] += ",+avx512bf16"
    environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2 * TILE_ROWS
