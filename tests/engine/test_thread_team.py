"""Teams of threads: all run, and all end, also after an error in one of them."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from thread_count import count_threads, wait_for_count

import fastnn._engine.thread_team
from fastnn._engine import thread_team as teams
from fastnn._engine import threads
from fastnn._engine.thread_team import ThreadTeam, region_cost
from fastnn.kernels.lang.barrier import ARRIVED, BAD, STOP, new_sync, spin_wait


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
            assert not sync[[ARRIVED, STOP, BAD]].any()
            return sync

        first = team.run(kernel)
        first[:] = 7
        second = team.run(kernel)
        assert second is not first
        assert not second[[ARRIVED, STOP, BAD]].any()


def test_run_returns_after_all_have_finished():
    finished = []

    def kernel(sync, thread):
        time.sleep(0.02 * thread)
        finished.append(thread)

    with ThreadTeam(3) as team:
        team.run(kernel)
        assert sorted(finished) == [0, 1, 2]


def test_helpers_start_when_they_are_needed_and_leave_with_the_block(monkeypatch):
    monkeypatch.setattr(teams, "IDLE", 60.0)
    before = count_threads()
    with ThreadTeam(5) as team:
        team.run(lambda sync, thread: None, n_threads=1)
        assert count_threads() == before
        team.run(lambda sync, thread: None, n_threads=3)
        assert count_threads() == before + 2
        team.run(lambda sync, thread: None)
        assert count_threads() == before + 4
    assert wait_for_count(before) == before
    with ThreadTeam(1) as team:
        team.run(lambda sync, thread: None)
        assert count_threads() == before


def test_helpers_leave_when_the_block_raises():
    before = count_threads()

    def fail():
        with ThreadTeam(3) as team:
            team.run(lambda sync, thread: None)
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert wait_for_count(before) == before


def test_helpers_of_a_team_that_is_never_closed_end_by_themselves(monkeypatch):
    monkeypatch.setattr(teams, "IDLE", 0.1)
    before = count_threads()
    team = ThreadTeam(3)
    seen = []
    team.run(lambda sync, thread: seen.append(thread))
    helpers = list(team._helpers)
    assert wait_for_count(before) == before
    assert [helper.ended for helper in helpers] == [True, True]
    team.run(lambda sync, thread: seen.append(thread))  # and are started again when they are needed
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]
    team.close()
    assert wait_for_count(before) == before


def test_a_helper_that_is_about_to_be_needed_does_not_end(monkeypatch):
    monkeypatch.setattr(teams, "IDLE", 0.01)
    helper = teams._Helper()
    assert helper.reserve()
    assert helper.sleep()  # it is kept once
    assert not helper.sleep()
    assert helper.ended
    assert not helper.reserve()
    assert not helper.give(teams._Job(lambda thread: None, new_sync()))


def test_a_helper_finds_a_job_of_which_it_was_not_woken(monkeypatch):
    monkeypatch.setattr(teams, "IDLE", 0.01)
    helper = teams._Helper()
    helper.job = teams._Job(lambda thread: None, new_sync())  # an interrupt came before it was woken
    assert helper.sleep()
    assert not helper.ended
    assert not helper.reserve()  # it is busy


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


@pytest.mark.parametrize("after", [False, True], ids=["before the job", "after the job"])
def test_an_interrupt_while_jobs_are_given_releases_the_helpers(monkeypatch, after):
    # Ctrl-C may come between any two lines: here when the first of two helpers is at work and the second is not.
    at_work = threading.Event()
    let_go = []
    give = teams._Helper.give

    def interrupted(helper, job):
        if helper is team._helpers[0]:
            return give(helper, job)
        if after:
            helper.job = job  # an interrupt between this line and the next, which resumes the helper
        at_work.wait(30)
        raise KeyboardInterrupt

    def kernel(sync, thread):
        at_work.set()
        let_go.append(wait_for_stop(sync, 2.0))

    before = count_threads()
    with ThreadTeam(3) as team:
        with monkeypatch.context() as patch:
            patch.setattr(teams._Helper, "give", interrupted)
            with pytest.raises(KeyboardInterrupt):
                team.run(kernel)
        # The second may or may not have started; if it has, it leaves at the barrier.
        assert let_go
        assert all(let_go)
        assert all(helper.job is None for helper in team._helpers)
        assert team.run(lambda sync, thread: 5) == 5
    assert wait_for_count(before) == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["resume", "join"])
def test_a_team_is_closed_in_spite_of_interrupts_which_are_raised_afterwards(monkeypatch, name, after):
    real, left = getattr(teams._Helper, name), iter(range(3))

    def interrupted(helper):
        raises = next(left, None) is not None
        if after or not raises:
            real(helper)
        if raises:
            raise KeyboardInterrupt

    monkeypatch.setattr(teams, "IDLE", 60.0)
    before = count_threads()
    team = ThreadTeam(3)
    team.run(lambda sync, thread: None)
    assert count_threads() == before + 2
    monkeypatch.setattr(teams._Helper, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        team.close()
    assert all(helper.ended for helper in team._helpers)
    assert wait_for_count(before) == before
    team.close()  # a second time is harmless


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


@pytest.mark.parametrize("n_threads", [1, 2])
def test_region_cost_is_a_time(n_threads):
    assert 0 < region_cost(n_threads, 200) < 1


def test_a_helper_that_is_woken_once_too_often_does_not_take_a_job_twice():
    done = []
    with ThreadTeam(3) as team:
        for job in range(50):
            for helper in team._helpers:
                helper.resume()  # what an interrupted run leaves behind
            team.run(lambda sync, thread, job=job: done.append((job, thread)))
    assert sorted(done) == [(job, thread) for job in range(50) for thread in range(3)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError], ids=lambda kind: kind.__name__)
def test_an_interrupt_while_waiting_is_raised_after_all_are_back(monkeypatch, error):
    back = []

    def kernel(sync, thread):
        if thread:
            time.sleep(0.1)
        back.append(thread)

    with ThreadTeam(2) as team:
        wait = teams._Job.wait
        interrupts = iter([True, True])

        def interrupted(job):
            if next(interrupts, False):
                raise error
            return wait(job)

        monkeypatch.setattr(teams._Job, "wait", interrupted)
        with pytest.raises(error):
            team.run(kernel)
        assert sorted(back) == [0, 1]
        assert team.run(lambda sync, thread: thread) == 0


def fail_from(k, error):
    """Return a way of starting threads that fails at the k-th start and later."""
    starts = iter(range(1 << 30))

    def start(function, args):
        if next(starts) >= k:
            raise error
        return real(function, args)

    real = threads._thread.start_new_thread
    return start


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_a_team_has_the_threads_that_the_system_has(monkeypatch, k, error):
    monkeypatch.setattr(teams, "IDLE", 60.0)
    before = count_threads()
    with ThreadTeam(4) as team:
        with monkeypatch.context() as patch:
            patch.setattr(threads._thread, "start_new_thread", fail_from(k, error))
            assert team.start(4) == team.n_threads == min(4, k + 1)
        seen = []
        team.run(lambda sync, thread: seen.append(thread))
        assert sorted(seen) == list(range(min(4, k + 1)))
        assert team.start(4) == min(4, k + 1)  # not tried at each run
        assert count_threads() == before + min(3, k)
    assert wait_for_count(before) == before


def test_a_run_with_more_threads_than_there_are_is_an_error_and_does_not_hang(monkeypatch):
    monkeypatch.setattr(threads._thread, "start_new_thread", fail_from(1, RuntimeError("none")))
    with ThreadTeam(3) as team, pytest.raises(RuntimeError, match="can't start new thread"):
        team.run(lambda sync, thread: wait_for_stop(sync))


@pytest.mark.parametrize("after", [False, True], ids=["before it starts", "after it has started"])
def test_an_interrupt_while_a_thread_is_started_leaves_none(monkeypatch, after):
    monkeypatch.setattr(teams, "IDLE", 0.1)
    real = threads._thread.start_new_thread
    before = count_threads()

    def interrupted(function, args):
        if after:
            real(function, args)
        raise KeyboardInterrupt

    with ThreadTeam(2) as team:
        with monkeypatch.context() as patch:
            patch.setattr(threads._thread, "start_new_thread", interrupted)
            with pytest.raises(KeyboardInterrupt):
                team.run(lambda sync, thread: None)
        assert team.run(lambda sync, thread: 5) == 5
    assert wait_for_count(before) == before


def test_a_closed_team_starts_no_thread():
    team = ThreadTeam(2)
    team.close()
    with pytest.raises(RuntimeError, match="closed"):
        team.run(lambda sync, thread: None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_threads_of_its_own():
    with ThreadTeam(3) as team:
        team.run(lambda sync, thread: None)
        child = os.fork()
        if child == 0:
            seen = []
            team.run(lambda sync, thread: seen.append(thread))
            os._exit(0 if sorted(seen) == [0, 1, 2] else 1)
        end = time.monotonic() + 60
        pid = 0
        while not pid and time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)
        if not pid:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert pid, "the child hangs"
        assert status == 0
        assert team.run(lambda sync, thread: 5) == 5  # and the parent with its own


def test_rounds_of_spinning_last_as_long_as_they_should():
    spin_wait(new_sync(), 0, 1)
    rounds = threads.spin_rounds(1e-3)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        spin_wait(new_sync(), 0, rounds)
        seconds.append(time.perf_counter() - start)
    # Other programs make it longer; the clock of the processor may change by a factor.
    assert 2e-4 < min(seconds) < 1e-2
    assert threads.spin_rounds(1e-30) == 1


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
