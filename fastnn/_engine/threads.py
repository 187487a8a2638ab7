"""What teams and inference workers share: starting a thread, how long it waits, and forgetting it in a forked child."""

from __future__ import annotations

import _thread
import os
import time
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from fastnn.kernels.lang.barrier import new_sync, spin_wait

#: Seconds without work after which a thread ends.
IDLE = 1.0
#: Seconds that a thread which has finished its work spins for more: sleeping and waking take 50 to 100 us.
LINGER = 100e-6
#: Seconds that a thread spins at a barrier before it offers the processor to others.
SPIN = 20e-6
#: Rounds of the wait loop by which it is timed, three times.
_TIMED_ROUNDS = 500


def start_thread(function: Callable[..., Any], *args: Any) -> bool:
    """Start ``function(*args)`` in a thread; return False where the system has none.

    A thread of `threading` takes many Python statements to start, and an exception of a signal handler (Ctrl-C) between
    them leaves it half started. Here one call starts it or does not; the thread is not in `threading.enumerate`.
    """
    try:
        _thread.start_new_thread(function, args)
    except (RuntimeError, MemoryError):
        return False
    return True


def spin_rounds(seconds: float) -> int:
    """Return the rounds of a wait loop in some seconds, at least 1.

    A pause takes 9 to 140 cycles, depending on the processor.
    """
    return max(1, round(seconds / _seconds_per_round()))


@cache
def _seconds_per_round() -> float:
    """Return the seconds per round of the wait loop, the minimum of three runs (some 40 us in all)."""
    counters = new_sync()
    spin_wait(counters, 0, 1)  # compiles
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        spin_wait(counters, 0, _TIMED_ROUNDS)
        best = min(best, time.perf_counter() - start)
    return max(best, 1e-7) / _TIMED_ROUNDS  # a coarse clock may show no time at all


class _OwnsThreads(Protocol):
    def forget_threads(self) -> None:
        """Start anew without threads."""


_owners: weakref.WeakSet[_OwnsThreads] = weakref.WeakSet()


def forget_after_fork(owner: _OwnsThreads) -> None:
    """Call ``owner.forget_threads()`` in forked children, which have none of its threads."""
    _owners.add(owner)


def _forget_all() -> None:
    for owner in list(_owners):
        owner.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
