"""Predictions by several threads: the same bits as by one, for any number of running workers, and no thread is left."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from driver import ALL_HELP, architecture, engine

from fastnn._engine import inference, inference_workers
from fastnn._engine.limits import InferenceLimits
from fastnn._engine.thread_team import available_threads
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.loop.predict import ASLEEP

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="helpers are compiled code")

NETS = [
    ((5, 7, 3), "tanh", "identity"),
    ((20, 300, 8, 200, 1), "sigmoid", "sigmoid"),
    ((784, 256, 128, 10), "relu", "softmax"),
    ((256, 257, 130), "elu", "tanh"),
    ((64, 2), "relu", "identity"),
    ((3, 600, 600), "sigmoid", "softmax"),
]


def helpers_alive():
    return [t for t in threading.enumerate() if t.name.startswith("fastnn")]


@pytest.fixture(autouse=True)
def short_sleep(monkeypatch):
    """Helpers of one test are gone before the next."""
    monkeypatch.setattr(inference_workers, "IDLE", 0.2)
    wait_until(lambda: not helpers_alive())


def helped(arch, n_threads, **changed):
    """Engine whose predictions wait for all workers, whatever their size."""
    return engine(arch, n_threads=n_threads, inference_limits=replace(ALL_HELP, **changed))


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
    _, layers, work = made._predictor._net
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


def test_small_work_starts_no_worker():
    made = engine(architecture((10, 64, 64, 1)), n_threads=2)
    for _ in range(10):
        made.predict(np.zeros((1, 10)), 2)
    assert made._predictor._workers.is_asleep()
    assert not helpers_alive()


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


def test_helpers_sleep_and_then_end():
    made = helped(architecture((5, 7, 3)), 3)
    x = np.ones((40, 5))
    wanted = made.predict(x, 3)
    workers = made._predictor._workers
    assert len(helpers_alive()) == 2
    wait_until(lambda: not helpers_alive())
    assert (workers._state == ASLEEP).all()
    np.testing.assert_array_equal(made.predict(x, 3), wanted)  # and begin again
    assert len(helpers_alive()) == 2


def test_a_crew_does_not_keep_its_owner_alive():
    import gc
    import weakref

    made = helped(architecture((5, 7, 3)), 2)
    made.predict(np.ones((40, 5)), 2)
    ghost = weakref.ref(made)
    del made
    gc.collect()
    assert ghost() is None
    wait_until(lambda: not helpers_alive())


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
