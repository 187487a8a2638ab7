"""Compilation in a thread of its own, so that an interrupt cannot end it halfway.

Python runs signal handlers in the main thread, between any two of its instructions. An exception that one raises in the
middle of Numba's work may leave Numba's global lock acquired, for which every later compilation waits for ever. Here
the calling thread only waits: an exception that a handler raises ends its call at once, while the compilation goes on
and is used by the next call.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

#: Bytes of stack of the thread: some systems give other threads than the main one only 128 or 512 KiB.
STACK_BYTES = 16 * 2**20
#: Seconds between two checks whether the work is done; on Windows a wait without a limit would delay signals.
POLL = 0.5
#: Objects more than before after which the garbage collector runs meanwhile; Python's 700 take 7 % of a compilation
#: (11.2 instead of 10.4 s, 346 and 350 MB at most), as Numba allocates many objects and few cycles.
COLLECTION_THRESHOLD = 20_000
#: Seconds that the end of the process waits for the thread to leave LLVM, which must not run while it is torn down.
EXIT_TIMEOUT = 20.0

P = ParamSpec("P")
T = TypeVar("T")

_local = threading.local()
_jobs: set[_Job] = set()
_may_start = threading.Lock()  # held during a fork
_collecting_rarely: list[tuple[int, int, int]] = []  # the thresholds before, for each job that is running
_thresholds = threading.Lock()


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the garbage collector run less often, in the whole process, while a job is running."""
    with _thresholds:
        before = _collecting_rarely[0] if _collecting_rarely else gc.get_threshold()
        _collecting_rarely.append(before)
        if 0 < before[0] < COLLECTION_THRESHOLD:
            gc.set_threshold(COLLECTION_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        with _thresholds:
            _collecting_rarely.pop()
            if not _collecting_rarely and gc.get_threshold()[0] == COLLECTION_THRESHOLD:
                gc.set_threshold(*before)


class _Job:
    """One call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.ident: int | None = None

    def _run(self) -> None:
        self.ident = threading.get_ident()
        _local.inside = True
        try:
            with _rare_collections():
                self.result = self._call()
        except BaseException as error:
            self.error = error
        finally:
            _jobs.discard(self)
            self.done.set()

    def start(self) -> None:
        """Start the thread, not during a fork; a thread of `threading` could be left half started by an interrupt.

        Raises
        ------
        RuntimeError
            If there can be no further thread.
        """
        with _may_start:
            before = threading.stack_size()
            _jobs.add(self)
            try:
                threading.stack_size(STACK_BYTES)
                _thread.start_new_thread(self._run, ())
            except (RuntimeError, MemoryError, ValueError):
                _jobs.discard(self)
                raise RuntimeError from None
            finally:
                threading.stack_size(before)


def in_compile_thread(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call a function that compiles, or loads compiled code, in a thread of its own, and wait for its result.

    Where there can be no further thread, or in such a thread, the function is called directly.

    Parameters
    ----------
    function : callable
    *args, **options
        Its arguments.

    Returns
    -------
    object
        What it returned. What it raised is raised. An exception of a signal handler ends the wait, not the work.
    """
    if getattr(_local, "inside", False):
        return function(*args, **options)
    job = _Job(lambda: function(*args, **options))
    try:
        job.start()
    except RuntimeError:
        return function(*args, **options)
    while not job.done.wait(POLL):
        pass
    if job.error is not None:
        try:
            raise job.error
        finally:
            del job  # which holds the error, whose traceback holds this frame
    result: T = job.result
    return result


def _before_fork() -> None:
    """Wait until nothing is being compiled: a child would inherit Numba's lock, but not the thread that releases it."""
    _may_start.acquire()
    for job in list(_jobs):
        if job.ident != threading.get_ident():
            job.done.wait()


def _after_fork() -> None:
    _may_start.release()


def _at_exit() -> None:
    """End what is being compiled, as LLVM must not be in use while the process is torn down.

    LLVM cannot be stopped in the middle of a call, which may take some seconds. A shorter wait would gain nothing:
    measured without any, the end of the process took as long. An interrupt in the wait ends the process at once.
    """
    try:
        for job in list(_jobs):
            sys.unraisablehook = lambda _: None  # an exception in a destructor is ignored, and asked for again
            end = time.monotonic() + EXIT_TIMEOUT
            while job.ident is not None and not job.done.is_set() and time.monotonic() < end:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(job.ident), ctypes.py_object(SystemExit))
                job.done.wait(POLL)
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(130)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
