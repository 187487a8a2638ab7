"""The product of V nets at once: its three forms, any shape, no write outside y, the same bits however it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, n_lanes
from fastnn.kernels.linalg.lane_product import BLOCK_COLUMNS, BLOCK_ROWS, lane_product

UNTOUCHED = -12345.0
SHAPES = [
    (1, 1, 1), (BLOCK_ROWS, BLOCK_COLUMNS, 5), (BLOCK_ROWS + 1, BLOCK_COLUMNS + 1, 2), (BLOCK_ROWS - 1, 7, 16),
    (9, 16, 3), (16, BLOCK_COLUMNS - 1, 31),
]  # fmt: skip


@kernel
def multiply(x, x_row, x_k, w, w_k, w_column, init, init_row, init_column, y, y_row, y_column, rows, columns, depth):
    lane_product(
        at(x, 0), x_row, x_k, at(w, 0), w_k, w_column, at(init, 0), init_row, init_column, at(y, 0), y_row, y_column,
        rows, columns, depth,
    )  # fmt: skip


def operands(rows, columns, depth, dtype):
    rng, v = np.random.default_rng(rows + columns + depth), n_lanes(dtype)
    shapes = (rows, depth, v), (depth, columns, v), (columns, v)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def memory(rows, columns, dtype):
    """Return the memory of y, with what must stay as it is before and after it."""
    v = n_lanes(dtype)
    whole = np.full((rows + 1) * columns * v, UNTOUCHED, dtype)
    return whole, whole[: rows * columns * v].reshape(rows, columns, v)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forms(shape, dtype):
    """Forward (rows of w side by side), back (w by its columns) and gradient (x by its columns)."""
    rows, columns, depth = shape
    v = n_lanes(dtype)
    x, w, bias = operands(rows, columns, depth, dtype)
    expected = np.einsum("ikv,kjv->ijv", x.astype(float), w.astype(float)) + bias.astype(float)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    by_columns = np.ascontiguousarray(w.transpose(1, 0, 2))
    of_columns = np.ascontiguousarray(x.transpose(1, 0, 2))
    for a, a_row, a_k, b, b_k, b_column in (
        (x, depth * v, v, w, columns * v, v),
        (x, depth * v, v, by_columns, v, depth * v),
        (of_columns, v, rows * v, w, columns * v, v),
    ):
        whole, y = memory(rows, columns, dtype)
        multiply(
            a.ravel(), a_row, a_k, b.ravel(), b_k, b_column, bias.ravel(), 0, v, whole, columns * v, v,
            rows, columns, depth,
        )  # fmt: skip
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * depth)
        assert (whole[rows * columns * v :] == UNTOUCHED).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_in_parts_has_the_same_bits(dtype):
    rows, columns, depth = 7, 5, 12
    v = n_lanes(dtype)
    x, w, bias = operands(rows, columns, depth, dtype)
    whole, y = memory(rows, columns, dtype)
    sizes = (rows, columns)
    ld = columns * v
    multiply(x.ravel(), depth * v, v, w.ravel(), ld, v, bias.ravel(), 0, v, whole, ld, v, *sizes, depth)
    parts, z = memory(rows, columns, dtype)
    first, row, column = bias.ravel(), 0, v
    for k in range(0, depth, 5):
        n = min(5, depth - k)
        multiply(
            x.ravel()[k * v :], depth * v, v, w.ravel()[k * columns * v :], columns * v, v, first, row, column, parts,
            columns * v, v, *sizes, n,
        )  # fmt: skip
        first, row, column = parts, columns * v, v
    np.testing.assert_array_equal(z, y)
    single, one = memory(1, 1, dtype)  # row and column by themselves
    multiply(
        x.ravel()[2 * depth * v :], depth * v, v, w.ravel()[3 * v :], columns * v, v, bias.ravel()[3 * v :], 0, v,
        single, v, v, 1, 1, depth,
    )  # fmt: skip
    np.testing.assert_array_equal(one[0, 0], y[2, 3])
