"""How the threads of a team wait for each other inside compiled code: a counter and a spin loop.

A team is a number of threads that run the same kernel at the same time, each with its own number (single program,
multiple data). Between the regions of a step they meet at a barrier: each adds one to a counter and waits
until all have. On two cores of one processor that costs some 20 ns, an empty parallel region of an OpenMP
runtime 1 us, and of Numba's workqueue layer 50 to 100 us. Nothing is shared with any threading layer, so
there is none to be missing, to abort in a second thread, or to be broken by a fork.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.lang.atomics import atomic_add, atomic_load, cpu_pause, yield_cpu
from fastnn.kernels.lang.compiler import device_function, kernel

# Entries of the array `sync` (int64); each has a cache line of its own.
ARRIVED = 0  # counts arrivals and is never reset
STOP = 8  # not 0: a thread cannot continue; all leave at the next barrier
SPINS = 9  # rounds of spinning before the processor is offered to others; does not change
BAD = 16  # not 0: a weight would have become infinite or NaN
JOBS = 24  # of a team's own counters: number of the job it has been given
SYNC_SIZE = 32


def new_sync(spins: int = 0) -> np.ndarray:
    """Return fresh shared counters for a team that spins for `spins` rounds at a barrier; shape (SYNC_SIZE,), int64."""
    sync = np.zeros(SYNC_SIZE, np.int64)
    sync[SPINS] = spins
    return sync


@device_function
def barrier(sync: Any, n_threads: int, meeting: int) -> bool:
    """Wait until all threads of the team have arrived at meeting number `meeting` (1, 2, ...).

    Reads and adds to `sync`.

    Returns
    -------
    bool
        Whether the team continues; False where a thread has set STOP.
    """
    if n_threads == 1:
        return True
    atomic_add(sync, ARRIVED, 1)
    spins = 0
    while atomic_load(sync, ARRIVED) < meeting * n_threads:
        if atomic_load(sync, STOP) != 0:
            return False
        if spins < sync[SPINS]:
            spins += 1
            cpu_pause()
        else:
            yield_cpu()
    return True


@device_function
def flag_nonfinite(sync: Any) -> None:
    """Set BAD: a weight would have become infinite or NaN."""
    atomic_add(sync, BAD, 1)


@device_function
def any_nonfinite(sync: Any) -> bool:
    """Whether a thread has set BAD; the same result for all threads between two barriers."""
    return atomic_load(sync, BAD) != 0


@kernel
def spin_wait(sync: Any, seen: int, rounds: int) -> None:
    """Spin for some rounds, or until entry JOBS of `sync` is greater than `seen`.

    A helper that has finished its slice of an epoch is usually needed again some 20 us later; resumed from sleep it
    would start 50 to 100 us late.
    """
    for _ in range(rounds):
        if atomic_load(sync, JOBS) > seen:
            return
        cpu_pause()


@kernel
def barriers(sync: Any, n_threads: int, count: int) -> None:
    """Pass `count` barriers and do nothing else, to measure what a region costs."""
    for k in range(count):
        if not barrier(sync, n_threads, k + 1):
            return
