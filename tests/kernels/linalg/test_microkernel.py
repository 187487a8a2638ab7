"""Dot products of narrow layers (the tiles themselves are tested as products, in test_gemm)."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, n_lanes, store
from fastnn.kernels.linalg.microkernel import dots


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
