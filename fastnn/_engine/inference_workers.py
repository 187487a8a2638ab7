"""Worker threads for predictions, which sleep between them (see `kernels.loop.predict`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from fastnn._engine.threads import IDLE, SPIN, forget_after_fork, spin_rounds, start_thread
from fastnn.kernels.lang.barrier import SPINS
from fastnn.kernels.loop.predict import ASLEEP, HELPER_SIZE, HELPERS, PATIENCE, STATE, WAIT, WAKING
from fastnn.kernels.tables import aligned_zeros

#: Seconds that a worker polls for the next prediction before it sleeps.
POLL = 200e-6
#: Seconds after which a worker that could not be started is tried again.
RETRY = 1.0


class InferenceWorkers:
    """Worker threads for the predictions of one net.

    A worker starts when it is first required, waits for work first spinning in compiled code, then asleep, and
    ends after `IDLE` seconds without work. Where the system has no thread for it, predictions go on without, and it is
    tried again after `RETRY` seconds. A forked child starts without workers.

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
        self.forget_threads()
        forget_after_fork(self)

    def forget_threads(self) -> None:
        """Reset the state to no workers (called in a forked child)."""
        self.mailbox = aligned_zeros(HELPERS + self.n_helpers * HELPER_SIZE, np.int64)
        self._state = self.mailbox[HELPERS + STATE :: HELPER_SIZE]
        self._workers = [_Worker(self.mailbox, number) for number in range(self.n_helpers)]

    def is_asleep(self) -> bool:
        """Return whether at least one worker is asleep."""
        return bool((self._state == ASLEEP).any())

    def notify(self, seconds: float) -> None:
        """Start sleeping workers; the next prediction waits for them for at most some seconds."""
        if not self.mailbox[PATIENCE]:
            self.mailbox[SPINS] = spin_rounds(SPIN)
            self.mailbox[PATIENCE] = spin_rounds(POLL)
        self.mailbox[WAIT] = spin_rounds(seconds) if seconds else 0
        for worker in self._workers:
            worker.notify(self._help_out)


class _Worker:
    """One worker, which a thread is or is not: its cache line in the mailbox says what it does."""

    __slots__ = ("_is_there", "_lock", "_mailbox", "_number", "_retry", "_state", "_wake")

    def __init__(self, mailbox: np.ndarray, number: int) -> None:
        self._mailbox = mailbox
        self._number = number
        self._state = HELPERS + number * HELPER_SIZE + STATE
        self._lock = threading.Lock()  # held where `_is_there` and the state are compared and changed
        self._wake = threading.Lock()
        self._wake.acquire()
        self._is_there = False  # whether there is a thread; changed by itself alone
        self._retry = 0.0  # when a thread may be started, by time.monotonic()

    def notify(self, help_out: Callable[[np.ndarray, int], object]) -> None:
        """Resume the worker if it sleeps; start it if it is not there."""
        mailbox, state = self._mailbox, self._state
        with self._lock:
            if mailbox[state] != ASLEEP:
                return
            if self._is_there:
                mailbox[state] = WAKING  # an interrupt before the next line delays the worker by at most `IDLE`
                if self._wake.locked():
                    self._wake.release()
                return
            if time.monotonic() < self._retry:
                return
            try:
                mailbox[state] = WAKING
                if not start_thread(self._run, help_out):
                    mailbox[state] = ASLEEP
                    self._retry = time.monotonic() + RETRY
            except BaseException:
                mailbox[state] = ASLEEP
                raise

    def _run(self, help_out: Callable[[np.ndarray, int], object]) -> None:
        """Work and sleep in turn: the whole life of a thread."""
        mailbox, state = self._mailbox, self._state
        with self._lock:
            if self._is_there:  # started a second time, after an interrupt of the first start
                return
            self._is_there = True
        try:
            while True:
                help_out(mailbox, self._number)
                if not self._wake.acquire(timeout=IDLE):
                    with self._lock:
                        if mailbox[state] == ASLEEP:
                            self._is_there = False
                            return
        except BaseException:
            with self._lock:
                self._is_there = False
                mailbox[state] = ASLEEP
            raise
