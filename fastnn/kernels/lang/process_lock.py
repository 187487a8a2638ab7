"""A lock that at most one process holds, by a lock on a file."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

#: Seconds between two attempts: the first, and the largest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2


class ProcessLock:
    """A lock between processes; all threads of a process that ask for it hold it together.

    The system lifts the lock of a process that ends in whatever way. Where no lock can be had (the file cannot be made,
    the file system has no locks, the wait takes too long), work goes on without one: it guards effort, not data.

    Parameters
    ----------
    path : pathlib.Path
        The file, which is made where it is missing and stays.
    patience : float
        Seconds to wait for another process. After one such wait that was in vain there is no further one.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience
        self._guard = threading.Lock()
        self._holders: set[object] = set()
        self._descriptor: int | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Let go in a forked child: otherwise its copy of the file keeps the lock after the parent has ended."""
        descriptor, self._descriptor = self._descriptor, None
        self._guard = threading.Lock()
        self._holders = set()
        if descriptor is not None:
            os.close(descriptor)

    @property
    def is_held(self) -> bool:
        """Whether this process has the lock on the file."""
        return self._descriptor is not None

    @contextlib.contextmanager
    def held(self, when_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock inside; `when_waiting` is called once if another process holds it at first."""
        holder = object()
        try:  # an exception at any moment of _acquire, as from Ctrl-C, reaches _release
            self._acquire(holder, when_waiting)
            yield
        finally:
            self._release(holder)

    def _acquire(self, holder: object, when_waiting: Callable[[], None]) -> None:
        with self._guard:
            self._holders.add(holder)
            if self._descriptor is not None or self.patience < 0.0:
                return
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            except OSError:
                return
            deadline = time.monotonic() + self.patience
            pause = 0.0
            while not _try_lock(self._descriptor):
                if pause == 0.0:
                    pause = _FIRST_PAUSE
                    when_waiting()
                if time.monotonic() > deadline:
                    self.patience = -1.0
                    break
                time.sleep(pause)
                pause = min(2.0 * pause, _LONGEST_PAUSE)
            else:
                return
            self._close()

    def _release(self, holder: object) -> None:
        with self._guard:
            self._holders.discard(holder)
            if not self._holders:
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; return False if another process has it, True also where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
