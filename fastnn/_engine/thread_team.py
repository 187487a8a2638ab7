"""A team of threads that run one compiled kernel together (see `kernels.lang.barrier`)."""

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
    """Return the number of processors that this process may use; 1 without compilation."""
    if JIT_DISABLED:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def as_n_threads(n_threads: Any) -> int:
    """Validate a maximum number of threads; None means all processors of the process."""
    return available_threads() if n_threads is None else positive_integer(n_threads, "n_threads")


def _find_processor_call() -> Callable[[], int] | None:
    """Return the C library's function for the processor of the calling thread; None if missing (only Linux has it)."""
    try:
        return ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return None


_processor = _find_processor_call()


class ThreadTeam:
    """The calling thread and `n_threads - 1` worker threads, for the duration of a `with` block.

    Workers sleep between jobs and end with the block, so that no thread is left which a later fork would lose. Two
    teams share no state.

    Parameters
    ----------
    n_threads : int
        Threads in all, at least 1.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._job: Callable[[int], Any] = _nothing
        self._counters = new_sync()  # JOBS: number of the present job
        self._sync: np.ndarray = new_sync()
        self._failure: BaseException | None = None
        self._go = [threading.Semaphore(0) for _ in range(n_threads - 1)]
        self._finished = [0] * (n_threads - 1)  # number of the last job that each worker finished
        self._wake = threading.Semaphore(0)  # released at each change of that list
        self._processors = [-1] * n_threads  # the last known processor of each thread, -1 unknown
        self._closing = False
        self._has_room = n_threads <= available_threads()  # else a spinning thread would block another
        if n_threads > 1:
            spin_wait(self._counters, -1)  # compiles here, not in a worker during a run
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
                continue  # released twice for one job, see `run`
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
        """Move the thread from a processor that another thread of the team uses to a free one.

        Linux often schedules a worker on the processor of the thread that released it, and may take 100 ms to
        separate the two (measured on two processors: in 20 of 24 runs), while each waits for the other at every
        barrier. Setting the affinity to one processor moves the thread at once; restoring the whole set leaves
        later moves to the scheduler.
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
        """Call ``kernel(*args, sync, thread)`` in several threads of the team at the same time.

        Parameters
        ----------
        kernel : callable
        *args
            Arguments before `sync`, the counters of the barrier, and `thread`, from 0.
        n_threads : int, optional
            Number of threads; by default all of the team.

        Returns
        -------
        object
            What the call in the calling thread returned, after all calls have ended.

        Raises
        ------
        RuntimeError
            If a worker raised an error, which is its cause. An error in any thread, KeyboardInterrupt included,
            ends the others at their next barrier.
        """
        sync = new_sync()
        self._sync = sync
        self._failure = None
        self._job = lambda thread: kernel(*args, sync, thread)
        if _processor is not None:
            self._processors[0] = _processor()
        self._counters[JOBS] += 1  # from here on a released worker runs the job
        helpers = (self.n_threads if n_threads is None else n_threads) - 1
        try:
            for go in self._go[:helpers]:
                go.release()
            result = kernel(*args, sync, 0)
        except BaseException:
            sync[STOP] = 1
            for go in self._go[:helpers]:  # perhaps a second time: the error may have come during the loop above
                go.release()
            raise
        finally:
            self._wait(helpers)
        if self._failure is not None:
            raise RuntimeError("a helper thread of fastnn failed") from self._failure
        return result

    def _wait(self, helpers: int) -> None:
        """Wait for the first `helpers` workers; a KeyboardInterrupt meanwhile is raised after they have ended."""
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
        """Stop and join the worker threads."""
        self._closing = True
        self._counters[JOBS] += 1
        for go in self._go:
            go.release()
        for helper in self._helpers:
            helper.join()

    def __enter__(self) -> ThreadTeam:
        """Return the team."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and join the worker threads."""
        self.close()


def _nothing(thread: int) -> None:
    """Do nothing: the job of an idle team."""


def region_cost(n_threads: int, count: int = 20_000) -> float:
    """Return the seconds per barrier of `n_threads` threads, the minimum of three runs of `count` barriers."""
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
