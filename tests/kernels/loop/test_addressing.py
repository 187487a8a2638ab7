"""Rows that threads share: each row is in one share, and blocks stay whole."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.loop.addressing import share_of_rows


@kernel
def bounds(n, v, n_threads, out):
    for thread in range(n_threads):
        first, end = share_of_rows(n, v, n_threads, thread)
        out[thread, 0] = first
        out[thread, 1] = end


@pytest.mark.parametrize("v", [1, 4, 16])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_shares_are_whole_blocks_and_about_equal(v, n_threads):
    for n in (0, 1, v, v + 1, 5 * v - 1, 100, 1000):
        shares = np.full((n_threads, 2), -1, np.int64)
        bounds(n, v, n_threads, shares)
        np.testing.assert_array_equal(np.concatenate([np.arange(a, b) for a, b in shares]), np.arange(n))
        assert (shares[:, 0] % v == 0).all()
        blocks = -(-(shares[:, 1] - shares[:, 0]) // v)
        assert blocks.max() - np.maximum(blocks, 0).min() <= 1
