"""Threads that help with predictions, and sleep when there are none (see `kernels.predict`)."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import numpy as np

from fastnn.kernels.loop.predict import ASLEEP, HELPER_SIZE, HELPERS, STATE, WAIT, WAKING
from fastnn.kernels.tables import aligned_zeros

#: Seconds after which a helper that nobody woke ends.
IDLE = 1.0

_crews: weakref.WeakSet[InferenceWorkers] = weakref.WeakSet()


class InferenceWorkers:
    """Helpers of one net's predictions.

    They begin when they are first wanted, wait for work in compiled code for a moment, then asleep, and end when they
    are left alone for a second: nothing stays behind. Neither does a fork take anything along; the child begins
    with new ones.

    Parameters
    ----------
    n_helpers : int
    help_out : callable
        What a helper runs, ``help_out(box, number)``; it returns when the helper may sleep. It must not refer to the
        owner of the crew, which could not end before its helpers then.

    Attributes
    ----------
    box : ndarray
        Where kernels find each other.
    """

    def __init__(self, n_helpers: int, help_out: Callable[[np.ndarray, int], object]) -> None:
        self.n_helpers = n_helpers
        self._help_out = help_out
        self.forget()
        _crews.add(self)

    def forget(self) -> None:
        """Begin anew, without helpers."""
        self.box = aligned_zeros(HELPERS + self.n_helpers * HELPER_SIZE, np.int64)
        self._state = self.box[HELPERS + STATE :: HELPER_SIZE]
        self._lock = threading.Lock()
        self._wake = [threading.Semaphore(0) for _ in range(self.n_helpers)]
        self._runs = [False] * self.n_helpers

    def is_asleep(self) -> bool:
        """Whether some helper would not take part at once."""
        return bool((self._state == ASLEEP).any())

    def wake(self, rounds: int) -> None:
        """Wake those that sleep; the next prediction waits for them, at most so many rounds of spinning."""
        self.box[WAIT] = rounds
        with self._lock:
            for number in range(self.n_helpers):
                if self._state[number] == ASLEEP:
                    self._state[number] = WAKING
                    if self._runs[number]:
                        self._wake[number].release()
                    else:
                        self._runs[number] = True
                        arguments = (self.box, self._wake[number], self._lock, self._runs, self._help_out, number)
                        name = f"fastnn-{number + 1}"
                        threading.Thread(target=_helper, args=arguments, daemon=True, name=name).start()


def _helper(
    box: np.ndarray,
    wake: threading.Semaphore,
    lock: threading.Lock,
    runs: list[bool],
    help_out: Callable[[np.ndarray, int], object],
    number: int,
) -> None:
    """Work, sleep, and end after a while."""
    state = HELPERS + number * HELPER_SIZE + STATE
    while True:
        help_out(box, number)
        while not wake.acquire(timeout=IDLE):
            with lock:
                if box[state] == ASLEEP:
                    runs[number] = False
                    return


def _forget_all() -> None:
    for crew in list(_crews):
        crew.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
