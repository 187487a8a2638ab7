"""Check arrays for NaN and infinity, without temporaries."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import at, broadcast, fma, lanes, load, load_scalar, sum_lanes


def all_finite(a: Any) -> bool:
    """Return whether a contiguous array contains neither NaN nor infinity.

    Parameters
    ----------
    a : ndarray of float32 or float64
        C-contiguous, of any shape; may be read-only.

    Returns
    -------
    bool
    """
    flat = a.reshape(-1).view()
    flat.flags.writeable = False  # otherwise read-only arrays would be compiled separately
    return bool(scan(flat))


@kernel
def scan(a: Any) -> bool:
    """Return whether a contiguous array of one dimension contains neither NaN nor infinity."""
    return is_finite_run(at(a, 0), a.size)


@device_function
def is_finite_run(p: Any, n: int) -> bool:
    """Return whether none of the n elements at `p` is NaN or infinite.

    Notes
    -----
    x * 0 is 0 for a finite x and NaN for all others, and a sum with NaN is NaN.
    """
    v = lanes(p)
    zero = broadcast(p, 0.0)
    whole = n - n % v
    i = 0
    while i < whole:
        # Two chains of additions, to hide the latency of one.
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
