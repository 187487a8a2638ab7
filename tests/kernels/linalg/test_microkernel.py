"""Dot products of narrow layers, and tiles in the form for AArch64 (test_gemm tests all others, as products)."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, n_lanes, store
from fastnn.kernels.linalg.microkernel import _make_tile, dots, nothing

#: Whole vectors of both types, on any processor.
ROWS = max(8, n_lanes(np.float32))
plain = _make_tile(ROWS, 1)
by_element = _make_tile(ROWS, 1, by_element=True)
by_element_fetching = _make_tile(ROWS, 1, by_element=True, fetching=True)


@kernel
def dots_of(x, ld, w, depth, out):
    store(at(out, 0), dots(at(x, 0), ld, at(w, 0), depth))


@pytest.mark.parametrize("vectors", [0, 1, 2, 7])
def test_dots(vectors, dtype):
    rng = np.random.default_rng(vectors)
    v = n_lanes(dtype)
    depth, ld = vectors * v, vectors * v + 3
    x, w = rng.standard_normal((v, ld)).astype(dtype), rng.standard_normal(depth).astype(dtype)
    out = np.full(v, np.nan, dtype)
    dots_of(x, ld, w, depth, out)
    exact = x[:, :depth].astype(np.float64) @ w.astype(np.float64)
    bound = (depth + 2) * np.finfo(dtype).eps * (np.abs(x[:, :depth]) @ np.abs(w)) + 0.0
    assert (np.abs(out - exact) <= bound).all()


def test_a_row_has_the_same_dot_product_in_every_place(dtype):
    rng = np.random.default_rng(0)
    v = n_lanes(dtype)
    x, w = rng.standard_normal((v, 5 * v)).astype(dtype), rng.standard_normal(5 * v).astype(dtype)
    x[:] = x[0]
    out = np.empty(v, dtype)
    dots_of(x, 5 * v, w, 5 * v, out)
    assert (out == out[0]).all()


@kernel
def tiles_of(a, a_at, a_row, a_k, b, ldb, c, ldc, depth):
    """Overwrite three blocks at c by the sums that are there plus the same product, each by another tile."""
    p, q = at(a, a_at), at(b, 0)
    size = ROWS * ldc
    plain(p, a_row, a_k, q, ldb, at(c, 0), ldc, at(c, 0), ldc, depth)
    by_element(p, a_row, a_k, q, ldb, at(c, size), ldc, at(c, size), ldc, depth)
    if depth >= ROWS:
        by_element_fetching(
            p, a_row, a_k, q, ldb, at(c, 2 * size), ldc, at(c, 2 * size), ldc, depth, nothing(p), nothing(p), nothing(p)
        )


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5, 8, 15, 16, 17, 50, 130])
@pytest.mark.parametrize("strides", ["a_k = 1", "a_row = 1", "neither", "both"])
def test_elements_from_vectors_give_the_same_bits(strides, depth, dtype):
    """What lies between and behind the elements of A is NaN and not used."""
    rng = np.random.default_rng(depth)
    v = n_lanes(dtype)
    a_row, a_k = {"a_k = 1": (depth + 3, 1), "a_row = 1": (1, ROWS + 3), "neither": (2, 2 * ROWS + 1), "both": (1, 1)}[
        strides
    ]
    a = np.full(ROWS * a_row + depth * a_k + 7, np.nan, dtype)
    used = 3 + np.arange(ROWS)[:, None] * a_row + np.arange(depth) * a_k
    a[used] = rng.standard_normal(used.shape)
    b = rng.standard_normal((depth + 1, v + 1)).astype(dtype)
    c = np.full((3, ROWS, v + 2), -1.0, dtype)
    c[:, :, :v] = rng.standard_normal((ROWS, v))
    wanted = c[0, :, :v] + a[used].astype(float) @ b[:depth, :v].astype(float)
    bound = (depth + 2) * np.finfo(dtype).eps * (np.abs(a[used]) @ np.abs(b[:depth, :v]) + np.abs(c[0, :, :v]))
    tiles_of(a, 3, a_row, a_k, b, v + 1, c, v + 2, depth)
    assert (np.abs(c[0, :, :v] - wanted) <= bound).all()
    np.testing.assert_array_equal(c[1], c[0])
    if depth >= ROWS:
        np.testing.assert_array_equal(c[2], c[0])
    assert (c[:, :, v:] == -1.0).all()
