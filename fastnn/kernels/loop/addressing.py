"""Addresses of rows of the data and of a thread's scratch."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at
from fastnn.kernels.lang.simd.bfloat16 import numbers_per_element
from fastnn.kernels.tables import Data, Plan, State


@device_function
def whole_vectors(n: int, v: int) -> int:
    """Return the smallest multiple of v not below n."""
    return (n + v - 1) // v * v


@device_function
def share_of_rows(n: int, v: int, n_threads: int, thread: int) -> Any:
    """Return the first row of a thread's share of n rows, and the one after its last; blocks of v rows stay whole."""
    blocks = (n + v - 1) // v
    return thread * blocks // n_threads * v, min(n, (thread + 1) * blocks // n_threads * v)


@device_function
def elements(n: int, rounded: Any) -> int:
    """Return the elements that n neighbours along a sum fill in `State.rounded`."""
    per = numbers_per_element(at(rounded, 0))
    return (n + per - 1) // per


@device_function
def row_at(data: Data, place: int) -> int:
    """Return the row of the data at a place of the epoch."""
    return data.order[place] if data.order.size else place


@device_function
def scratch_of(state: State, plan: Plan, thread: int) -> Pointer:
    """Return the thread's scratch in `work`."""
    return at(state.work, plan.layout.scratch + thread * plan.layout.scratch_size)
