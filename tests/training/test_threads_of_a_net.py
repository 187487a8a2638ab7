"""How many threads a net uses: not more than processors, and none that cost more than they give."""

from __future__ import annotations

import numpy as np
import pytest
from insides import workspace_bytes

import fastnn
from fastnn._engine import thread_team, threads
from fastnn._engine.thread_team import ThreadTeam
from fastnn._training import net as nets
from fastnn._training import objective

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((600, 6)), RNG.standard_normal((600, 2))


def model(n_threads=None):
    return fastnn.Model([16, 2], loss="squared_error", seed=0, n_threads=n_threads)


@pytest.fixture
def sizes(monkeypatch):
    """Return the list of the sizes of all teams; each amount of work is enough for threads, on three processors."""
    monkeypatch.setattr(nets, "available_threads", lambda: 3)
    for module, name in ((nets, "WORK_FOR_THREADS"), (nets, "WORK_TO_START_THREADS"), (objective, "WORK_FOR_THREADS")):
        monkeypatch.setattr(module, name, 0)
    made, init = [], ThreadTeam.__init__

    def record(team, n_threads):
        made.append(n_threads)
        init(team, n_threads)

    monkeypatch.setattr(ThreadTeam, "__init__", record)
    return made


@pytest.fixture
def starts(monkeypatch):
    """Return the list of the threads that teams start."""
    started, start_thread = [], threads.start_thread

    def record(function, *args):
        started.append(function)
        return start_thread(function, *args)

    monkeypatch.setattr(thread_team, "start_thread", record)
    return started


@pytest.mark.parametrize("n_threads", [4, 100_000, 2**31, 2**63 - 1])
def test_there_are_never_more_threads_than_processors(sizes, n_threads):
    many, three = model(n_threads), model(3)
    for one in (many, three):
        one.fit(X, Y, epochs=2, verbose=False)
        one.train_on_batch(X, Y)
        one.gradient(X, Y)
        one.lr_find(X, Y)
    assert many.evaluate(X, Y) == three.evaluate(X, Y)
    np.testing.assert_array_equal(many.predict(X), three.predict(X))
    assert max(sizes) == 3
    assert workspace_bytes(many) == workspace_bytes(three)
    assert many.n_threads == n_threads


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_solvers_have_not_more_threads_than_processors(sizes, optimizer):
    one = fastnn.Model([4, 2], loss="squared_error", optimizer=optimizer, seed=0, n_threads=100_000)
    one.fit(X, Y, epochs=2, verbose=False)
    assert max(sizes) == 3


def test_small_work_starts_no_thread(monkeypatch, starts):
    monkeypatch.setattr(nets, "available_threads", lambda: 4)
    one = model()
    one.fit(X, Y, epochs=3, validation_data=(X, Y), verbose=False)
    one.evaluate(X, Y)
    one.gradient(X, Y)
    one.train_on_batch(X, Y)
    assert not starts


def test_enough_work_starts_threads(monkeypatch, starts):
    monkeypatch.setattr(nets, "available_threads", lambda: 2)
    one = fastnn.Model([256, 256, 2], loss="squared_error", seed=0).build(6)
    x, y = np.tile(X, (10, 1)), np.tile(Y, (10, 1))
    one.evaluate(x, y)
    assert len(starts) == 1
    one.gradient(x, y)
    assert len(starts) == 2
