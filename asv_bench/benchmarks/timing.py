"""Timing of calls that are shorter than the resolution of the clock.

asv's own timer calls `setup` before each timed call; here a sample is many consecutive calls.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

#: Minimum seconds per sample, and seconds of all samples.
SAMPLE = 0.005
ALL_SAMPLES = 0.25


def _samples(run: Callable[[int], object], sample: float, total: float) -> list[float]:
    """Return the seconds per call, one value per sample, of `run(count)`, which makes `count` calls; at least three."""
    count, found = 1, []
    run(1)  # may compile, and starts threads
    end = time.perf_counter() + total
    while len(found) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run(count)
        seconds = time.perf_counter() - start
        if seconds < sample:
            count = max(count + 1, min(10 * count, round(1.2 * count * sample / max(seconds, 1e-9))))
        else:
            found.append(seconds / count)
    return found


def best(run: Callable[[int], object]) -> float:
    """Return the minimum seconds per call, for comparison with the limits of the processor."""
    return min(_samples(run, SAMPLE, ALL_SAMPLES))


def median(run: Callable[[int], object]) -> float:
    """Return the median seconds per call."""
    return statistics.median(_samples(run, SAMPLE, 2 * ALL_SAMPLES))
