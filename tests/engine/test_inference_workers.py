"""Predictions by several threads: the same bits as by one, for any number of running workers, and no thread is left."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from driver import ALL_HELP, architecture, engine
from thread_count import count_threads

from fastnn._engine import inference, inference_workers, threads
from fastnn._engine.limits import InferenceLimits
from fastnn._engine.processors import available_threads
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.loop.predict import ASLEEP, HELPERS, STATE, WAKING

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="helpers are compiled code")

NETS = [
    ((5, 7, 3), "tanh", "identity"),
    ((20, 300, 8, 200, 1), "sigmoid", "sigmoid"),
    ((784, 256, 128, 10), "relu", "softmax"),
    ((256, 257, 130), "elu", "tanh"),
    ((64, 2), "relu", "identity"),
    ((3, 600, 600), "sigmoid", "softmax"),
]


@pytest.fixture(autouse=True, scope="module")
def settled():
    """Wait until the threads of earlier tests have ended, which they do some time after their last job."""
    since, n = time.monotonic(), count_threads()
    while time.monotonic() < since + 1.5 * threads.IDLE:
        time.sleep(0.05)
        if count_threads() != n:
            since, n = time.monotonic(), count_threads()


@pytest.fixture(autouse=True)
def before(monkeypatch):
    """Return the number of threads before the test; helpers of one test are gone before the next."""
    monkeypatch.setattr(inference_workers, "IDLE", 0.2)
    n = count_threads()
    yield n
    wait_until(lambda: count_threads() <= n)


def helped(arch, n_threads, **changed):
    """Engine whose predictions wait for all workers, whatever their size."""
    return engine(arch, n_threads=n_threads, inference_limits=replace(ALL_HELP, **changed))


@pytest.fixture
def starts(monkeypatch):
    """Return the list of the threads that were started."""
    real, started = threads._thread.start_new_thread, []

    def start(function, args):
        started.append(function)
        return real(function, args)

    monkeypatch.setattr(threads._thread, "start_new_thread", start)
    return started


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize(("sizes", "hidden", "output"), NETS, ids=str)
def test_helpers_change_no_bit(sizes, hidden, output, n_threads, dtype):
    made = helped(architecture(sizes, hidden=hidden, output=output, dtype=dtype), n_threads)
    alone = inference.InferencePlan(made.architecture, made.params, 1)
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 8, 15, 16, 31, 33, 64, 300):
        x = rng.standard_normal((n, sizes[0])).astype(dtype)
        np.testing.assert_array_equal(made.predict(x, n_threads), alone(x))


@pytest.mark.skipif(available_threads() < 2, reason="one processor")
def test_helpers_really_help():
    # Rows go to the helpers' own buffers: what lies there afterwards is not zero any more.
    sizes = (20, 64, 64)
    made = helped(architecture(sizes, hidden="sigmoid"), 2)
    made.predict(np.ones((64, 20)), 2)
    _, _, layers, work = made._predictor._net
    rows = made._predictor._tile_rows
    first_output = work[layers["output"][0] :][: 2 * rows * 64].reshape(2, -1)

    def both_took_part():
        made.predict(np.ones((64, 20)), 2)  # a helper may come too late, even if it is waited for
        return first_output[0].any() and first_output[1].any()

    wait_until(both_took_part)


def test_large_predictions_are_made_in_slices(dtype):
    made = helped(architecture((5, 7, 3), dtype=dtype), 2, work_per_slice=1)
    x = np.random.default_rng(0).standard_normal((1000, 5)).astype(dtype)
    cut = made.predict(x, 2)
    assert made._predictor._slice_rows < 1000
    whole = inference.InferencePlan(made.architecture, made.params, 1)
    assert whole._slice_rows > 1000
    np.testing.assert_array_equal(cut, whole(x))
    x[-1, -1] = np.nan
    assert made.predict(x, 2) is None


@pytest.mark.parametrize("n", [2000, 2049, 4096])
def test_slices_are_even_and_give_each_thread_whole_tiles(n, monkeypatch):
    plan = inference.InferencePlan(
        architecture((5, 7, 3)), engine(architecture((5, 7, 3))).params, 2, replace(ALL_HELP, work_per_slice=40_000)
    )
    sizes = []

    def record(features, outputs, rows):
        sizes.append(len(features))
        outputs[:] = 0
        return inference.FINITE_OUTPUTS

    monkeypatch.setattr(plan, "_run", record)
    plan(np.zeros((n, 5), np.float32))
    assert sum(sizes) == n
    assert len(sizes) > 1
    assert len(set(sizes[:-1])) == 1
    assert sizes[0] % (2 * plan._tile_rows) == 0
    assert sizes[0] - sizes[-1] < len(sizes) * 2 * plan._tile_rows


@pytest.mark.parametrize("n", [1, 8, 64])
def test_what_is_not_finite_is_found_by_whoever_reads_it(n, dtype):
    made = helped(architecture((20, 300, 3), dtype=dtype), 2)
    for row in {0, n // 2, n - 1}:
        for bad in (np.nan, np.inf, -np.inf):
            x = np.zeros((n, 20), dtype)
            x[row, 19] = bad
            assert made.predict(x, 2) is None
    zeros = np.zeros((n, 20), dtype)
    alone = inference.InferencePlan(made.architecture, made.params, 1)
    np.testing.assert_array_equal(made.predict(zeros, 2), alone(zeros))


def test_small_work_starts_no_worker(before):
    made = engine(architecture((10, 64, 64, 1)), n_threads=2)
    for _ in range(10):
        made.predict(np.zeros((1, 10)), 2)
    assert made._predictor._workers.is_asleep()
    assert count_threads() == before


def test_a_series_of_predictions_wakes_the_helpers(monkeypatch):
    calls = []
    monkeypatch.setattr(inference_workers.InferenceWorkers, "notify", lambda workers, rounds: calls.append(rounds))
    arch = architecture((784, 256, 128, 10))
    never, always = (engine(arch, n_threads=2, inference_limits=InferenceLimits(series_seconds=s)) for s in (0, 1000))
    x = np.zeros((4, 784))
    never.predict(x, 2)
    never.predict(x, 2)
    assert calls == []
    always.predict(x, 2)
    always.predict(x, 2)
    assert calls == [0]  # woken, but not waited for


def test_helpers_sleep_and_then_end(before, starts):
    made = helped(architecture((5, 7, 3)), 3)
    x = np.ones((40, 5))
    wanted = made.predict(x, 3)
    workers = made._predictor._workers
    assert len(starts) == 2
    wait_until(lambda: count_threads() == before)
    assert (workers._state == ASLEEP).all()
    np.testing.assert_array_equal(made.predict(x, 3), wanted)  # and begin again
    assert len(starts) == 4


def test_workers_do_not_keep_their_owner_alive(before):
    import gc
    import weakref

    made = helped(architecture((5, 7, 3)), 2)
    made.predict(np.ones((40, 5)), 2)
    ghost = weakref.ref(made)
    del made
    gc.collect()
    assert ghost() is None
    wait_until(lambda: count_threads() == before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_takes_no_helpers_along():
    made = helped(architecture((5, 7, 3)), 2)
    x = np.ones((40, 5))
    wanted = made.predict(x, 2)
    child = os.fork()
    if child == 0:
        same = np.array_equal(made.predict(x, 2), wanted)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_two_nets_predict_at_once_in_threads():
    made = [helped(architecture((20, 300, 3)), 2) for _ in range(2)]
    x = np.random.default_rng(0).standard_normal((50, 20))
    wanted = [one.predict(x, 2).copy() for one in made]
    failures = []

    def often(k):
        for _ in range(50):
            if not np.array_equal(made[k].predict(x, 2), wanted[k]):
                failures.append(k)

    threads = [threading.Thread(target=often, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def failing(error, *, times=1 << 30, after=False):
    """Return a way of starting threads of which the first calls raise an error, before or after they start one."""
    real, left = threads._thread.start_new_thread, iter(range(times))

    def start(function, args):
        raises = next(left, None) is not None
        started = real(function, args) if after or not raises else 0
        if raises:
            start.failed += 1
            raise error
        return started

    start.failed = 0
    return start


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_where_no_thread_can_be_had_predictions_go_on_without(monkeypatch, before, starts, error):
    monkeypatch.setattr(inference_workers, "RETRY", 0.3)
    made = helped(architecture((20, 300, 3)), 3)
    x = np.random.default_rng(0).standard_normal((50, 20))
    wanted = inference.InferencePlan(made.architecture, made.params, 1)(x)
    with monkeypatch.context() as patch:
        start = failing(error)
        patch.setattr(threads._thread, "start_new_thread", start)
        begin = time.monotonic()
        for _ in range(20):
            np.testing.assert_array_equal(made.predict(x, 3), wanted)
            assert (made._predictor._workers._state == ASLEEP).all()  # a prediction does not wait for them
        tries = 1 + int((time.monotonic() - begin) / 0.3)
        assert 2 <= start.failed <= 2 * tries  # not tried at each call
    assert count_threads() == before

    def both_are_there():
        np.testing.assert_array_equal(made.predict(x, 3), wanted)
        return len(starts) >= 2

    wait_until(both_are_there)  # after a while they are tried again


def test_a_part_of_the_workers_may_be_there(monkeypatch, starts):
    made = helped(architecture((20, 300, 3)), 3)
    x = np.random.default_rng(0).standard_normal((50, 20))
    wanted = inference.InferencePlan(made.architecture, made.params, 1)(x)
    monkeypatch.setattr(threads._thread, "start_new_thread", failing(RuntimeError("none"), times=1))
    np.testing.assert_array_equal(made.predict(x, 3), wanted)
    assert len(starts) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before it starts", "after it has started"])
def test_an_interrupt_while_a_worker_is_started_loses_none(monkeypatch, before, after):
    made = helped(architecture((20, 300, 3)), 2)
    x = np.random.default_rng(0).standard_normal((50, 20))
    wanted = inference.InferencePlan(made.architecture, made.params, 1)(x)
    with monkeypatch.context() as patch:
        patch.setattr(threads._thread, "start_new_thread", failing(KeyboardInterrupt(), times=1, after=after))
        with pytest.raises(KeyboardInterrupt):
            made.predict(x, 2)

    def it_is_there():
        np.testing.assert_array_equal(made.predict(x, 2), wanted)
        assert count_threads() <= before + 2  # the one of the first start finds that there is another one, and ends
        return made._predictor._workers._workers[0]._is_there

    wait_until(it_is_there)
    wait_until(lambda: count_threads() == before)


def test_a_worker_wakes_though_an_interrupt_came_before_it_was_woken(before):
    made = helped(architecture((5, 7, 3)), 2)
    x = np.ones((40, 5))
    made.predict(x, 2)
    workers = made._predictor._workers
    for _ in range(5):
        wait_until(lambda: workers._state[0] == ASLEEP)
        if not workers._workers[0]._is_there:
            made.predict(x, 2)
            continue
        workers._state[0] = WAKING  # what an interrupt in `notify` leaves
        wait_until(lambda: workers._state[0] != WAKING)
        break
    else:
        pytest.fail("the worker was never asleep")
    wait_until(lambda: count_threads() == before)


def test_a_worker_that_fails_is_replaced():
    calls = []

    def help_out(mailbox, number):
        calls.append(number)
        if len(calls) == 1:
            raise MemoryError
        mailbox[HELPERS + STATE] = ASLEEP

    workers = inference_workers.InferenceWorkers(1, help_out)
    with unraisable() as reports:
        workers.notify(0)
        wait_until(lambda: workers.is_asleep() and calls)
        wait_until(lambda: reports)
    workers.notify(0)
    wait_until(lambda: len(calls) == 2)
    assert isinstance(reports[0], MemoryError)


@contextlib.contextmanager
def unraisable():
    """Collect the errors that threads end with."""
    reports, hook = [], sys.unraisablehook
    sys.unraisablehook = lambda report: reports.append(report.exc_value)
    try:
        yield reports
    finally:
        sys.unraisablehook = hook


def test_a_worker_woken_once_too_often_sleeps_again(before):
    made = helped(architecture((5, 7, 3)), 2)
    x = np.ones((40, 5))
    wanted = made.predict(x, 2)
    workers = made._predictor._workers
    for _ in range(5):
        wait_until(lambda: workers._state[0] == ASLEEP)
        worker = workers._workers[0]
        if worker._wake.locked():
            worker._wake.release()
        np.testing.assert_array_equal(made.predict(x, 2), wanted)
    wait_until(lambda: count_threads() == before)
