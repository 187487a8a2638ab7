"""The number of threads of the process, those that `threading` does not know included."""

from __future__ import annotations

import _thread
import time


def count_threads() -> int:
    """Return the number of threads that run Python code."""
    return _thread._count()


def wait_for_count(wanted: int, seconds: float = 2.0) -> int:
    """Wait until there are at most `wanted` threads, at most some seconds; return how many there are."""
    end = time.monotonic() + seconds
    while count_threads() > wanted and time.monotonic() < end:
        time.sleep(0.005)
    return count_threads()
