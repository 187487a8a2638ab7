"""Looking for values that are not numbers, without a temporary of the data's size."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import at, broadcast, fma, lanes, load, load_scalar, sum_lanes


def all_finite(a: Any) -> bool:
    """Whether a contiguous array holds neither NaN nor infinity.

    Parameters
    ----------
    a : array of float32 or float64, C-contiguous, any shape, may be read-only
    """
    flat = a.reshape(-1).view()
    flat.flags.writeable = False  # or read-only arrays would be compiled for once more
    return bool(scan(flat))


@kernel
def scan(a: Any) -> bool:
    """Whether a contiguous array of one dimension holds neither NaN nor infinity."""
    return is_finite_run(at(a, 0), a.size)


@device_function
def is_finite_run(p: Any, n: int) -> bool:
    """Whether n elements at `p` are neither NaN nor infinite.

    Notes
    -----
    x * 0 is 0 for a finite x and NaN for all others, and NaN stays in a sum.
    """
    v = lanes(p)
    zero = broadcast(p, 0.0)
    whole = n - n % v
    i = 0
    while i < whole:
        # Two chains a block: one would wait for each addition.
        end = min(whole, i + 4096)
        even = zero
        odd = zero
        while i + 2 * v <= end:
            even = fma(load(at(p, i)), zero, even)
            odd = fma(load(at(p, i + v)), zero, odd)
            i += 2 * v
        if i < end:
            even = fma(load(at(p, i)), zero, even)
            i += v
        if sum_lanes(even + odd) != 0.0:
            return False
    while i < n:
        if load_scalar(at(p, i)) * 0.0 != 0.0:
            return False
        i += 1
    return True
