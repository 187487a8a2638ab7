"""Elementary functions over float32 numbers without a gap: all of them in the long form, some in the short one."""

from __future__ import annotations

import numpy as np
import pytest
from amount import amount, seed

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, lanes, load, store
from fastnn.kernels.maths import elementary

#: Numbers per block. The numbers of one sign are 255 * 128 blocks, without infinity.
BLOCK = 1 << 16
N_BLOCKS = 255 * (1 << 23) // BLOCK
NAMES = ["exp", "tanh", "sigmoid", "softplus"]


@kernel
def fill(code, x, out):
    """Overwrite `out` with the function of x."""
    p, q = at(x, 0), at(out, 0)
    for i in range(0, x.size, lanes(p)):
        a = load(at(p, i))
        if code == 0:
            b = elementary.exp(a)
        elif code == 1:
            b = elementary.tanh(a)
        elif code == 2:
            b = elementary.sigmoid(a)
        else:
            b = elementary.softplus(a)
        store(at(q, i), b)


def block(number):
    """Return block `number` of all float32 numbers, from the lowest to the largest."""
    negative = number < N_BLOCKS
    first = (N_BLOCKS - 1 - number if negative else number - N_BLOCKS) * BLOCK
    bits = np.arange(first, first + BLOCK, dtype=np.uint32)
    return (bits | np.uint32(1 << 31))[::-1].view(np.float32) if negative else bits.view(np.float32)


@pytest.mark.parametrize("code", range(4), ids=NAMES)
def test_no_float32_number_has_a_smaller_value_than_the_one_before(code):
    rng = np.random.default_rng(seed())
    near_one = [N_BLOCKS + 127 * 128 + k for k in range(-100, 900, 100)]  # 2^-1 to 2^7
    some = np.concatenate([rng.integers(0, 2 * N_BLOCKS, 60), near_one, 2 * N_BLOCKS - 1 - np.array(near_one)])
    numbers = amount(0, 1) * list(range(2 * N_BLOCKS)) or sorted(map(int, some))
    y = np.empty(BLOCK, np.float32)
    last, last_number = np.float32(-np.inf), -1
    for number in numbers:
        x = np.ascontiguousarray(block(number))
        fill(code, x, y)
        falls = np.flatnonzero(y[1:] < y[:-1])
        assert falls.size == 0, (NAMES[code], falls.size, x[falls[0]])
        if number == last_number + 1:
            assert y[0] >= last, (NAMES[code], x[0])
        last, last_number = y[-1], number
