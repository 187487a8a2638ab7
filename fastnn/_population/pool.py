"""Run a function for many nets, each by one thread of a team."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.lang.barrier import STOP

#: Returns whether the work is to end early.
IsStopped: TypeAlias = Callable[[], bool]
#: Called with the number of the item, that of the thread, and a function: whether to end early.
Work: TypeAlias = Callable[[int, int, IsStopped], object]


def run_all(work: Work, n_items: int, n_threads: int) -> None:
    """Call ``work(item, thread, is_stopped)`` for each item from 0 on, in threads that take one after the other.

    Parameters
    ----------
    work : callable
    n_items : int
    n_threads : int
        Maximum number of threads, the calling one included.

    Raises
    ------
    BaseException
        The first error of any of the calls. `is_stopped` of the others then returns True, and calls that have not begun
        are left out.
    """
    items = itertools.count()  # `next` is one call of C code, so that no two threads get the same item
    errors: list[BaseException] = []

    def take(sync: npt.NDArray[np.int64], thread: int) -> None:
        def is_stopped() -> bool:
            return bool(sync[STOP])

        try:
            while not is_stopped() and (item := next(items)) < n_items:
                work(item, thread, is_stopped)
        except BaseException as error:
            errors.append(error)
            sync[STOP] = 1

    with ThreadTeam(max(1, min(n_threads, n_items))) as team:
        team.run(take, n_threads=team.start(team.n_threads))
    if errors:
        raise errors[0]
