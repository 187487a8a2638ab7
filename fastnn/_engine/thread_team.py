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

from fastnn._engine.processors import available_threads
from fastnn._engine.threads import IDLE, LINGER, SPIN, forget_after_fork, spin_rounds, start_thread
from fastnn._validation import positive_integer
from fastnn.kernels.lang.barrier import JOBS, STOP, barriers, new_sync, spin_wait


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


class _Job:
    """One call of a kernel by several threads.

    Parameters
    ----------
    share : callable
        What thread `t` runs, ``share(t)``.
    sync : ndarray
        The counters of the barrier.

    Attributes
    ----------
    failure : BaseException or None
        An error in a helper.
    """

    __slots__ = ("_one_more", "_sync", "failure", "share")

    def __init__(self, share: Callable[[int], Any], sync: np.ndarray) -> None:
        self.share = share
        self._sync = sync
        self._one_more = threading.Lock()
        self._one_more.acquire()
        self.failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Record an error in a helper, and end the other threads at their next barrier."""
        self.failure = error
        self._sync[STOP] = 1

    def notify(self) -> None:
        """Notify the caller that a helper has finished."""
        _release(self._one_more)

    def wait(self) -> None:
        """Wait until one more helper has finished, at most 0.1 s."""
        self._one_more.acquire(timeout=0.1)


class _Helper:
    """A thread of a team, besides the caller's.

    Attributes
    ----------
    job : _Job or None
        What it runs, or is to run.
    ended : bool
        Whether it has ended, or is about to without looking at `job` again.
    """

    __slots__ = ("_go", "_gone", "_is_needed", "_lock", "ended", "job")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held where `job` and `ended` are compared and changed
        self._go, self._gone = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._gone.acquire()
        self._is_needed = False
        self.job: _Job | None = None
        self.ended = False

    def reserve(self) -> bool:
        """Keep the thread from ending within the next `IDLE` seconds; return False if it is not there or busy."""
        with self._lock:
            self._is_needed = True
            return not self.ended and self.job is None

    def give(self, job: _Job) -> bool:
        """Start a job; return False if the thread has ended."""
        with self._lock:
            if self.ended:
                return False
            self.job = job
        self.resume()
        return True

    def resume(self) -> None:
        """Resume the thread; once too often is harmless."""
        _release(self._go)

    def sleep(self) -> bool:
        """Wait, in the helper's thread, to be woken; return False if the thread should end."""
        if self._go.acquire(timeout=IDLE):
            return True
        with self._lock:
            # An interrupt may have come between setting the job and waking, so that it is found here.
            self.ended = self.job is None and not self._is_needed
            self._is_needed = False
            return not self.ended

    def end(self) -> None:
        """Notify `join`, at the end of the helper's thread."""
        self.ended = True
        _release(self._gone)

    def join(self) -> None:
        """Wait for the end of the thread."""
        while not self.ended:
            self._gone.acquire(timeout=0.1)


def _release(lock: threading.Lock) -> None:
    """Release a lock, which may be free."""
    with contextlib.suppress(RuntimeError):
        lock.release()


class ThreadTeam:
    """The calling thread and at most `n_threads - 1` helpers, for the duration of a `with` block.

    A helper starts when a run first requires it, sleeps between jobs, and ends with the block, so that no thread is
    left which a later fork would lose. One without a job for `IDLE` seconds ends by itself, and is started again when
    required; so none is left either where Ctrl-C, or another exception of a signal handler, comes before `close`.
    Two teams share no state.

    Parameters
    ----------
    n_threads : int
        Threads in all, at least 1.

    Attributes
    ----------
    n_threads : int
        As given, or fewer after the system refused to start a thread.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._counters = new_sync()  # JOBS: number of the present job
        self._helpers: list[_Helper] = []
        self._processors = [-1] * n_threads  # the last known processor of each thread, -1 unknown
        self._closed = False
        self._linger = 0  # rounds; 0 where a spinning thread would block another

    # ------------------------------------------------------------------------------------------ threads

    def start(self, n_threads: int) -> int:
        """Start the helpers for a run of `n_threads` threads, at most those of the team.

        Returns
        -------
        int
            Number of threads that a run may have within the next `IDLE` seconds: fewer than `n_threads` where the
            system has no more, and then `n_threads` of the team is that number from now on.
        """
        n_threads = min(n_threads, self.n_threads)
        for k in range(n_threads - 1):
            if k < len(self._helpers) and self._helpers[k].reserve():
                continue
            helper = self._start_helper(k + 1)
            if helper is None:
                self.n_threads = k + 1
                break
            self._helpers[k : k + 1] = [helper]
        return min(n_threads, self.n_threads)

    def _start_helper(self, thread: int) -> _Helper | None:
        if self._closed:
            raise RuntimeError("the team is closed")
        if not self._helpers:
            spins = spin_rounds(LINGER)  # compiles here, not in a helper during a run
            self._linger = spins if self.n_threads <= available_threads() else 0
            forget_after_fork(self)
        helper = _Helper()
        return helper if start_thread(self._help, helper, thread) else None

    def forget_threads(self) -> None:
        """Start anew without helpers (called in a forked child)."""
        self._helpers = []

    def _help(self, helper: _Helper, thread: int) -> None:
        """Run jobs: the whole life of a helper."""
        try:
            while helper.sleep() and not self._closed:
                job = helper.job
                if job is None:
                    continue  # woken once too often
                number = int(self._counters[JOBS])
                try:
                    self._move_aside(thread)
                    job.share(thread)
                except BaseException as error:
                    job.fail(error)
                helper.job = None
                job.notify()
                del job  # with its arrays
                if self._linger:
                    spin_wait(self._counters, number, self._linger)
        finally:
            helper.end()

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

    # ------------------------------------------------------------------------------------------ running

    def run(self, kernel: Callable[..., Any], *args: Any, n_threads: int | None = None) -> Any:
        """Call ``kernel(*args, sync, thread)`` in several threads of the team at the same time.

        Parameters
        ----------
        kernel : callable
        *args
            Arguments before `sync`, the counters of the barrier, and `thread`, from 0.
        n_threads : int, optional
            Number of threads, as `start` returned it; by default all of the team.

        Returns
        -------
        object
            What the call in the calling thread returned, after all calls have ended.

        Raises
        ------
        RuntimeError
            If a helper raised an error, which is its cause, or could not be started. An error in any thread,
            KeyboardInterrupt included, ends the others at their next barrier.
        """
        n_threads = self.n_threads if n_threads is None else n_threads
        if n_threads == 1:
            return kernel(*args, new_sync(), 0)
        if self.start(n_threads) < n_threads:
            raise RuntimeError("can't start new thread")
        sync = new_sync(spin_rounds(SPIN))
        job = _Job(lambda thread: kernel(*args, sync, thread), sync)
        helpers = self._helpers[: n_threads - 1]
        interrupt: BaseException | None = None
        if _processor is not None:
            self._processors[0] = _processor()
        self._counters[JOBS] += 1  # ends the spinning of helpers
        try:
            for helper in helpers:
                if not helper.give(job):
                    raise RuntimeError("a helper thread of fastnn has ended")  # after a stop of the process
            result = kernel(*args, sync, 0)
        except BaseException:
            sync[STOP] = 1
            raise
        finally:
            # Exceptions of signal handlers are raised when all helpers have finished. This is no function, as one may
            # come where a function begins.
            while True:
                try:
                    while any([helper.job is job for helper in helpers]):
                        job.wait()
                    break
                except BaseException as error:
                    interrupt = error
            if interrupt is not None:
                raise interrupt
        if job.failure is not None:
            raise RuntimeError("a helper thread of fastnn failed") from job.failure
        return result

    def close(self) -> None:
        """End the helpers; an exception of a signal handler meanwhile is raised after they have ended."""
        self._closed = True
        interrupt: BaseException | None = None
        self._counters[JOBS] += 1
        while True:
            try:
                for helper in self._helpers:
                    helper.resume()
                for helper in self._helpers:
                    helper.join()
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def __enter__(self) -> ThreadTeam:
        """Return the team."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the helpers."""
        self.close()


def region_cost(n_threads: int, count: int = 20_000) -> float:
    """Return the seconds per barrier of `n_threads` threads, the minimum of three runs of `count` barriers."""
    import time

    best = float("inf")
    with ThreadTeam(n_threads) as team:
        n_threads = team.start(n_threads)
        for _ in range(3):
            team.run(_barriers, n_threads, 10)
            start = time.perf_counter()
            team.run(_barriers, n_threads, count)
            best = min(best, (time.perf_counter() - start) / count)
    return best


def _barriers(n_threads: int, count: int, sync: np.ndarray, thread: int) -> None:
    barriers(sync, n_threads, count)
