"""Worker threads for predictions, which sleep between them (see `kernels.loop.predict`)."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import numpy as np

from fastnn.kernels.loop.predict import ASLEEP, HELPER_SIZE, HELPERS, STATE, WAIT, WAKING
from fastnn.kernels.tables import aligned_zeros

#: Idle timeout of a worker, in seconds.
IDLE = 1.0

_all_workers: weakref.WeakSet[InferenceWorkers] = weakref.WeakSet()


class InferenceWorkers:
    """Worker threads for the predictions of one net.

    A worker starts when it is first required, waits for work first spinning in compiled code, then in a semaphore, and
    ends after `IDLE` seconds without work. A forked child starts without workers.

    Parameters
    ----------
    n_helpers : int
        Number of workers.
    help_out : callable
        What a worker runs, ``help_out(mailbox, number)``; it returns when the worker may sleep. It must not refer to
        the owner of this object, which would stay alive as long as its workers.

    Attributes
    ----------
    mailbox : ndarray
        int64 memory shared by the calls of the kernel in all threads; see `kernels.loop.predict`.
    """

    def __init__(self, n_helpers: int, help_out: Callable[[np.ndarray, int], object]) -> None:
        self.n_helpers = n_helpers
        self._help_out = help_out
        self.reset()
        _all_workers.add(self)

    def reset(self) -> None:
        """Reset the state to no workers (called in a forked child)."""
        self.mailbox = aligned_zeros(HELPERS + self.n_helpers * HELPER_SIZE, np.int64)
        self._state = self.mailbox[HELPERS + STATE :: HELPER_SIZE]
        self._lock = threading.Lock()
        self._wake = [threading.Semaphore(0) for _ in range(self.n_helpers)]
        self._runs = [False] * self.n_helpers

    def is_asleep(self) -> bool:
        """Return whether at least one worker is asleep."""
        return bool((self._state == ASLEEP).any())

    def notify(self, rounds: int) -> None:
        """Start sleeping workers; the next prediction waits for them for at most `rounds` rounds of spinning."""
        self.mailbox[WAIT] = rounds
        with self._lock:
            for number in range(self.n_helpers):
                if self._state[number] == ASLEEP:
                    self._state[number] = WAKING
                    if self._runs[number]:
                        self._wake[number].release()
                    else:
                        self._runs[number] = True
                        arguments = (self.mailbox, self._wake[number], self._lock, self._runs, self._help_out, number)
                        name = f"fastnn-{number + 1}"
                        threading.Thread(target=_helper, args=arguments, daemon=True, name=name).start()


def _helper(
    mailbox: np.ndarray,
    wake: threading.Semaphore,
    lock: threading.Lock,
    runs: list[bool],
    help_out: Callable[[np.ndarray, int], object],
    number: int,
) -> None:
    """Work and sleep in turn; end after `IDLE` seconds asleep."""
    state = HELPERS + number * HELPER_SIZE + STATE
    while True:
        help_out(mailbox, number)
        while not wake.acquire(timeout=IDLE):
            with lock:
                if mailbox[state] == ASLEEP:
                    runs[number] = False
                    return


def _forget_all() -> None:
    for workers in list(_all_workers):
        workers.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
