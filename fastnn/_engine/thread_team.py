"""A team of threads that run one compiled kernel together (see `kernels.barrier`)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from fastnn._validation import positive_integer
from fastnn.kernels.lang.barrier import JOBS, STOP, barriers, new_sync, spin_wait
from fastnn.kernels.lang.compiler import JIT_DISABLED


def available_threads() -> int:
    """Processors that this process may use; 1 where the kernels run as plain Python."""
    if JIT_DISABLED:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def as_n_threads(n_threads: Any) -> int:
    """Validate a maximum number of threads; None is all processors of the process."""
    return available_threads() if n_threads is None else positive_integer(n_threads, "n_threads")


def _find_processor_call() -> Callable[[], int] | None:
    """Find the C library's call that tells on which processor a thread runs; only Linux has it."""
    try:
        return ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return None


_processor = _find_processor_call()


class ThreadTeam:
    """The calling thread and `n_threads - 1` helpers, for the time of a `with` block.

    Helpers sleep between jobs and leave with the block, so nothing stays behind that a later fork could
    break, and two teams never know of each other.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._job: Callable[[int], Any] = _nothing
        self._counters = new_sync()  # JOBS: number of the present job
        self._sync: np.ndarray = new_sync()
        self._failure: BaseException | None = None
        self._go = [threading.Semaphore(0) for _ in range(n_threads - 1)]
        self._finished = [0] * (n_threads - 1)  # number of the last job that each helper is through with
        self._wake = threading.Semaphore(0)  # only says: look at that list again
        self._processors = [-1] * n_threads  # where each thread was last seen
        self._closing = False
        self._has_room = n_threads <= available_threads()  # else a thread that spins keeps another from its work
        if n_threads > 1:
            spin_wait(self._counters, -1)  # compiled now, if it is not yet, and not by a helper in the middle of a run
        self._helpers = [
            threading.Thread(target=self._help, args=(i,), daemon=True, name=f"fastnn-{i + 1}")
            for i in range(n_threads - 1)
        ]
        for helper in self._helpers:
            helper.start()

    def _help(self, number: int) -> None:
        while True:
            self._go[number].acquire()
            if self._closing:
                return
            job_number = int(self._counters[JOBS])
            if self._finished[number] == job_number:
                continue  # woken once too often, see `run`
            try:
                self._move_aside(number + 1)
                self._job(number + 1)
            except BaseException as error:
                self._failure = error
                self._sync[STOP] = 1
            finally:
                self._finished[number] = job_number
                self._wake.release()
            if self._has_room:
                spin_wait(self._counters, job_number)

    def _move_aside(self, thread: int) -> None:
        """Leave a processor on which another thread of the team was seen, for one without.

        Linux often wakes a helper on the very processor of the thread that woke it, and may take a hundred
        milliseconds to part the two (measured on two processors: in 20 of 24 runs), while each waits for the
        other at every barrier. Asking for one processor moves the thread at once; asking for all of them
        again leaves the rest to the scheduler.
        """
        if _processor is None:
            return
        here = _processor()
        self._processors[thread] = -1
        if here in self._processors:
            with contextlib.suppress(OSError):  # some containers forbid it
                allowed = os.sched_getaffinity(0)
                free = sorted(allowed.difference(self._processors))
                if free:
                    here = free[0]
                    os.sched_setaffinity(0, {here})
                    os.sched_setaffinity(0, allowed)
        self._processors[thread] = here

    def run(self, kernel: Callable[..., Any], *args: Any, n_threads: int | None = None) -> Any:
        """Call ``kernel(*args, sync, thread)`` in `n_threads` (default: all) of the team's threads at once.

        Returns what the call in the calling thread returned, after all have come back. An error in one of
        them, Ctrl-C included, lets the others leave at their next barrier and is raised here.
        """
        sync = new_sync()
        self._sync = sync
        self._failure = None
        self._job = lambda thread: kernel(*args, sync, thread)
        if _processor is not None:
            self._processors[0] = _processor()
        self._counters[JOBS] += 1  # from here on a helper that wakes takes the job
        helpers = (self.n_threads if n_threads is None else n_threads) - 1
        try:
            for go in self._go[:helpers]:
                go.release()
            result = kernel(*args, sync, 0)
        except BaseException:
            sync[STOP] = 1
            for go in self._go[:helpers]:  # perhaps again: whether all were woken is not known
                go.release()
            raise
        finally:
            self._wait(helpers)
        if self._failure is not None:
            raise RuntimeError("a helper thread of fastnn failed") from self._failure
        return result

    def _wait(self, helpers: int) -> None:
        """Wait for the first `helpers`; Ctrl-C meanwhile is raised when they are back, which is a slice away."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                while any(number != self._counters[JOBS] for number in self._finished[:helpers]):
                    self._wake.acquire(timeout=0.1)
                break
            except KeyboardInterrupt as error:
                interrupt = error
        self._job = _nothing
        if interrupt is not None:
            raise interrupt

    def close(self) -> None:
        """Send the helpers home."""
        self._closing = True
        self._counters[JOBS] += 1
        for go in self._go:
            go.release()
        for helper in self._helpers:
            helper.join()

    def __enter__(self) -> ThreadTeam:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the helpers home, whatever happened."""
        self.close()


def _nothing(thread: int) -> None:
    """Job of a team that has none."""


def region_cost(n_threads: int, count: int = 20_000) -> float:
    """Seconds that a barrier of `n_threads` costs here and now (the smallest of three runs)."""
    import time

    best = float("inf")
    with ThreadTeam(n_threads) as team:
        for _ in range(3):
            team.run(_barriers, n_threads, 10)
            start = time.perf_counter()
            team.run(_barriers, n_threads, count)
            best = min(best, (time.perf_counter() - start) / count)
    return best


def _barriers(n_threads: int, count: int, sync: np.ndarray, thread: int) -> None:
    barriers(sync, n_threads, count)
