"""How long a call takes that is too short for one look at the clock.

asv's own timer sets up anew before each timed call once there is a `setup`; here a sample is many calls in a row.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

#: Seconds of a sample at least, and of all samples together.
SAMPLE = 0.005
ALL_SAMPLES = 0.25


def _samples(run: Callable[[int], object], sample: float, total: float) -> list[float]:
    """Seconds of one of the `count` calls that `run(count)` makes, of samples that are long enough; at least three."""
    count, found = 1, []
    run(1)  # may compile, and wakes what sleeps
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
    """Seconds of a call when nothing disturbs: for a part, to be compared with what the processor can do."""
    return min(_samples(run, SAMPLE, ALL_SAMPLES))


def median(run: Callable[[int], object]) -> float:
    """Seconds of a usual call."""
    return statistics.median(_samples(run, SAMPLE, 2 * ALL_SAMPLES))
