"""The barrier: no thread passes before all have arrived, and a thread that cannot continue stops the others."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.lang import barrier as kernels
from fastnn.kernels.lang.barrier import ARRIVED, BAD, STOP, SYNC_SIZE, barriers, new_sync
from fastnn.kernels.lang.compiler import kernel


@kernel
def rounds(cells, seen, count, n_threads, sync, thread):
    """Write the round's number, meet, look at what the others wrote, meet again; count the misses."""
    meeting = 0
    for k in range(count):
        cells[thread * 8] = k
        meeting += 1
        if not kernels.barrier(sync, n_threads, meeting):
            return
        for other in range(n_threads):
            if cells[other * 8] != k:
                seen[thread] += 1
        meeting += 1
        if not kernels.barrier(sync, n_threads, meeting):
            return


@kernel
def meet(sync, n_threads, meeting):
    return kernels.barrier(sync, n_threads, meeting)


@kernel
def report(sync, times):
    for _ in range(times):
        kernels.flag_nonfinite(sync)
    return kernels.any_nonfinite(sync)


@kernel
def report_together(n_threads, times, sync, thread):
    for k in range(times):
        kernels.flag_nonfinite(sync)
        if not kernels.barrier(sync, n_threads, k + 1):
            return


def count_together(n_threads, count):
    def job(sync, thread):
        barriers(sync, n_threads, count)
        return sync

    with ThreadTeam(n_threads) as team:
        return team.run(job)


@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_no_thread_passes_before_all_have_arrived(n_threads):
    count = 20_000 if n_threads == 2 else 2_000
    cells, misses = np.full(8 * n_threads, -1), np.zeros(n_threads, np.int64)
    with ThreadTeam(n_threads) as team:
        team.run(rounds, cells, misses, count, n_threads)
    np.testing.assert_array_equal(misses, 0)
    np.testing.assert_array_equal(cells[::8], count - 1)


@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_each_arrival_is_counted_once(n_threads):
    assert count_together(n_threads, 500)[ARRIVED] == 500 * n_threads


def test_one_thread_does_not_count():
    sync = new_sync()
    barriers(sync, 1, 1000)
    assert not sync.any()
    assert meet(sync, 1, 1)


def test_stop_lets_those_who_wait_go():
    sync = new_sync()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(meet(sync, 2, 1)))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive(), "passed alone"
    sync[STOP] = 1
    waiting.join(60)
    assert answers == [False]


def test_the_last_to_come_goes_on():
    sync = new_sync()
    sync[ARRIVED] = 5
    assert meet(sync, 3, 2)
    assert sync[ARRIVED] == 6


def test_bad_news_is_shared():
    sync = new_sync()
    assert not report(sync, 0)
    assert report(sync, 1)
    assert sync[BAD] > 0
    assert sync[ARRIVED] == sync[STOP] == 0
    # Adding is atomic: none is lost when several report at once.

    def job(sync, thread):
        report_together(2, 5000, sync, thread)
        return sync

    with ThreadTeam(2) as team:
        assert team.run(job)[BAD] == 10_000


def test_counters_have_cache_lines_of_their_own():
    assert new_sync().dtype == np.int64
    assert new_sync().shape == (SYNC_SIZE,)
    assert len({place * 8 // 64 for place in (ARRIVED, STOP, BAD)}) == 3
    assert max(ARRIVED, STOP, BAD) < SYNC_SIZE
