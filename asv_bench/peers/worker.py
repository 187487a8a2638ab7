"""One process per peer, of which only one runs at a time.

In one process, or in several idle ones, the thread pools of one peer would spin during the turn of the next. So a
worker is stopped by the system (SIGSTOP) except in its turn. Without such signals it waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

#: Seconds of the untimed start of a turn, in which caches fill and thread pools start; at least one run.
WARM_UP = 0.02
#: Runs shorter than this are timed several at once.
SHORTEST = 2e-3
#: Maximum seconds for an answer, as torch.compile takes minutes.
PATIENCE = 900.0
#: Linux's prctl option for the signal sent when the parent ends.
PR_SET_PDEATHSIG = 1


class PeerError(Exception):
    """A peer failed; the text is for the report."""


@contextlib.contextmanager
def limited_threads(n_threads: int) -> Iterator[None]:
    """Limit processes started inside to `n_threads` threads and, where the system supports it, processors.

    These variables are read when a library is loaded, so they must be set before the process starts. XLA has no
    setting of its own: its number of threads follows from NPROC and the process's processors.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(n_threads)))
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    try:
        if len(allowed) > n_threads:
            with contextlib.suppress(OSError):  # some containers forbid it
                os.sched_setaffinity(0, sorted(allowed)[-n_threads:])
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if len(allowed) > n_threads:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, allowed)


def sample(run: Callable[[], Any], seconds: float) -> float:
    """Return the median time of a run in seconds: warm-up first, then runs for about `seconds`."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < WARM_UP:
        run()
        calls += 1
    at_once = max(1, round(SHORTEST * calls / (time.perf_counter() - start)))
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for _ in range(at_once):
            run()
        times.append((time.perf_counter() - start) / at_once)
    return statistics.median(times)


def serve(pipe: Connection, target: str, work: Any, n_threads: int) -> None:
    """Construct the peer and process requests, in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # KeyboardInterrupt is handled by the parent, which ends its workers
    if sys.platform == "linux":  # a parent that is killed must not leave stopped processes behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        module, _, name = target.partition(":")
        peer = getattr(importlib.import_module(module), name)(work, n_threads)
        pipe.send((True, {"variant": getattr(peer, "variant", ""), "note": getattr(peer, "note", "")}))
        while True:
            command, argument = pipe.recv()
            if command == "end":
                return
            answer = {
                "prepare": lambda orders: peer.prepare(orders),
                "run": lambda _: peer.run(),
                "sample": lambda seconds: sample(peer.run, seconds),
            }[command](argument)
            pipe.send((True, answer))
    except EOFError:
        return
    except Exception as error:
        first_line = (str(error).strip() or "no message").splitlines()[0]
        pipe.send((False, f"{type(error).__name__}: {first_line[:200]}"))


class Worker:
    """The parent's end: start a peer, stop it at once, and resume it for each request.

    Parameters
    ----------
    target : "module:class" of the peer
    work : Workload or Inference
    n_threads : threads of the peer

    Raises
    ------
    PeerError
        If the peer cannot be constructed.
    """

    def __init__(self, target: str, work: Any, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, target, work, n_threads), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.about: dict[str, str] = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, command: str, argument: Any = None) -> Any:
        """Request "prepare" (orders), "run" or "sample" (seconds) from the peer, and return its answer."""
        self._signal("SIGCONT")
        try:
            self._pipe.send((command, argument))
        except OSError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise PeerError(f"no answer in {PATIENCE:.0f} s")
        try:
            done, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        self._signal("SIGSTOP")
        if not done:
            raise PeerError(answer)
        return answer

    def _ended(self) -> PeerError:
        self._process.join(5)
        return PeerError(f"its process ended with code {self._process.exitcode}")

    def _signal(self, name: str) -> None:
        number = getattr(signal, name, None)
        if number is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def close(self) -> None:
        """End the process."""
        self._signal("SIGCONT")
        with contextlib.suppress(OSError):
            self._pipe.send(("end", None))
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
