"""Teams of threads: all run, and all end, also after an error in one of them."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import fastnn._engine.thread_team
from fastnn._engine import thread_team as teams
from fastnn._engine.thread_team import ThreadTeam, available_threads, region_cost
from fastnn.kernels.lang.barrier import STOP


def fastnn_threads():
    return [t for t in threading.enumerate() if t.name.startswith("fastnn")]


def wait_for_stop(sync, seconds=30.0):
    """What a compiled kernel does at a barrier to which not all come; returns whether it was let go."""
    end = time.monotonic() + seconds
    while not sync[STOP]:
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


@pytest.mark.parametrize("n_threads", [1, 2, 4, 7])
def test_each_thread_gets_its_number_once_and_the_same_arguments(n_threads):
    calls = []

    def kernel(a, b, sync, thread):
        calls.append((a, b, id(sync), thread, threading.get_ident()))
        return thread

    with ThreadTeam(n_threads) as team:
        assert team.run(kernel, "x", 3) == 0
    assert sorted(call[3] for call in calls) == list(range(n_threads))
    assert len({call[4] for call in calls}) == n_threads
    assert {call[:2] for call in calls} == {("x", 3)}
    assert len({call[2] for call in calls}) == 1
    assert [call[4] for call in calls if call[3] == 0] == [threading.get_ident()]


def test_part_of_a_team_may_run():
    with ThreadTeam(4) as team:
        for n_threads in (2, 1, 4, 3):
            seen = []
            team.run(lambda sync, thread, seen=seen: seen.append(thread), n_threads=n_threads)
            assert sorted(seen) == list(range(n_threads))


def test_each_run_has_fresh_counters():
    with ThreadTeam(2) as team:

        def kernel(sync, thread):
            assert not sync.any()
            return sync

        first = team.run(kernel)
        first[:] = 7
        second = team.run(kernel)
        assert not second.any()


def test_run_returns_after_all_have_finished():
    finished = []

    def kernel(sync, thread):
        time.sleep(0.02 * thread)
        finished.append(thread)

    with ThreadTeam(3) as team:
        team.run(kernel)
        assert sorted(finished) == [0, 1, 2]


def test_helpers_leave_with_the_block():
    before = len(fastnn_threads())
    with ThreadTeam(5) as team:
        assert len(fastnn_threads()) == before + 4
        team.run(lambda sync, thread: None)
    assert len(fastnn_threads()) == before
    with ThreadTeam(1):
        assert len(fastnn_threads()) == before


def test_helpers_leave_when_the_block_raises():
    before = len(fastnn_threads())

    def fail():
        with ThreadTeam(3):
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert len(fastnn_threads()) == before


@pytest.mark.parametrize("who", [1, 2])
def test_an_error_in_a_helper_releases_the_others_and_is_raised(who):
    let_go = []

    def kernel(sync, thread):
        if thread == who:
            raise ZeroDivisionError("in a helper")
        let_go.append(wait_for_stop(sync))

    with ThreadTeam(3) as team:
        with pytest.raises(RuntimeError, match="helper") as error:
            team.run(kernel)
        assert isinstance(error.value.__cause__, ZeroDivisionError)
        assert let_go == [True, True]
        # The next job knows nothing of it.
        assert team.run(lambda sync, thread: 5) == 5


def test_an_error_in_the_caller_releases_the_helpers_and_is_raised_as_it_is():
    let_go = []

    def kernel(sync, thread):
        if thread == 0:
            raise KeyboardInterrupt
        let_go.append(wait_for_stop(sync))

    with ThreadTeam(3) as team:
        with pytest.raises(KeyboardInterrupt):
            team.run(kernel)
        assert let_go == [True, True]
        assert team.run(lambda sync, thread: 5) == 5


def test_an_interrupt_while_helpers_are_being_started_releases_them():
    # Ctrl-C may come between any two lines: here when the first of two helpers is at work and the second is not.
    at_work = threading.Event()
    let_go = []

    class Interrupting:
        def __init__(self, semaphore):
            self.semaphore = semaphore
            self.armed = True

        def release(self):
            if self.armed:
                self.armed = False
                at_work.wait(30)
                raise KeyboardInterrupt
            self.semaphore.release()

        def acquire(self):
            return self.semaphore.acquire()

    def kernel(sync, thread):
        at_work.set()
        let_go.append(wait_for_stop(sync, 2.0))

    team = ThreadTeam(3)
    team._go[1] = Interrupting(team._go[1])
    with pytest.raises(KeyboardInterrupt):
        team.run(kernel)
    team.close()
    # The second may or may not have started; if it has, it leaves at the barrier.
    assert let_go
    assert all(let_go)


def test_a_team_of_one_starts_no_thread_and_runs_in_place():
    with ThreadTeam(1) as team:
        assert team.run(lambda sync, thread: threading.get_ident()) == threading.get_ident()


def test_teams_do_not_know_of_each_other():
    with ThreadTeam(3) as a, ThreadTeam(2) as b:
        assert a.run(lambda sync, thread: b.run(lambda sync, thread: "inner")[:2] if thread == 0 else None) == "in"


def test_many_short_jobs_in_a_row():
    counts = np.zeros(4, np.int64)

    def kernel(sync, thread):
        counts[thread] += 1

    with ThreadTeam(4) as team:
        for _ in range(500):
            team.run(kernel)
    np.testing.assert_array_equal(counts, 500)


def test_available_threads_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(teams, "JIT_DISABLED", False)
    if hasattr(os, "sched_getaffinity"):
        assert available_threads() == len(os.sched_getaffinity(0))
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_threads() == 1
    monkeypatch.setattr(teams, "JIT_DISABLED", True)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads() == 1


@pytest.mark.parametrize("n_threads", [1, 2])
def test_region_cost_is_a_time(n_threads):
    assert 0 < region_cost(n_threads, 200) < 1


def test_a_helper_that_is_woken_once_too_often_does_not_take_a_job_twice():
    done = []
    with ThreadTeam(3) as team:
        for job in range(50):
            for go in team._go:
                go.release()  # what an interrupted run leaves behind
            team.run(lambda sync, thread, job=job: done.append((job, thread)))
    assert sorted(done) == [(job, thread) for job in range(50) for thread in range(3)]


def test_an_interrupt_while_waiting_is_raised_after_all_are_back(monkeypatch):
    back = []

    def kernel(sync, thread):
        if thread:
            time.sleep(0.1)
        back.append(thread)

    with ThreadTeam(2) as team:
        wait = team._wake.acquire
        interrupts = iter([True])

        def acquire(timeout):
            if next(interrupts, False):
                raise KeyboardInterrupt
            return wait(timeout=timeout)

        monkeypatch.setattr(team._wake, "acquire", acquire)
        with pytest.raises(KeyboardInterrupt):
            team.run(kernel)
        assert sorted(back) == [0, 1]
        assert team.run(lambda sync, thread: thread) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux's calls for affinity")
def test_a_helper_moves_to_a_free_processor_and_may_still_use_all(monkeypatch):
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one processor")
    here, *others = sorted(allowed)
    monkeypatch.setattr(fastnn._engine.thread_team, "_processor", lambda: here)
    with ThreadTeam(2) as team:
        team._processors = [here, -1]
        team._move_aside(1)
        assert team._processors == [here, others[0]]
        assert os.sched_getaffinity(0) == allowed
        team._processors = [others[0], -1]  # no other thread uses the processor
        team._move_aside(1)
        assert team._processors == [others[0], here]
