"""Steps of V nets at once: each is the step of a single net to rounding, and lanes change nothing in each other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from insides import engine_of, net_of

import fastnn
from fastnn import Dense, Model
from fastnn._data.arrays import Targets
from fastnn._data.rows import Rows
from fastnn._population.by_lane import ByLane
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd import n_lanes

N_ROWS = 11


def rows_of(labels=False, n_outputs=2, dtype="float64"):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3)).astype(dtype)
    y = rng.integers(0, 2, N_ROWS) if labels else rng.standard_normal((N_ROWS, n_outputs)).astype(dtype)
    none = np.empty((0, n_outputs), dtype)
    targets = Targets(none, y, n_outputs) if labels else Targets(y, np.empty(0, np.int64), n_outputs)
    return X, y, Rows(X, targets, np.empty(0, dtype), y)


def models(n, layers, **settings):
    settings = {"loss": "squared_error", "dtype": "float64"} | settings
    made = [Model(layers, seed=k, **settings) for k in range(n)]
    for model in made:
        model.build(3)
    return made


def by_lane(made, rows, **arguments):
    settings = {"batch_size": 4, "shuffle": True, "shared_order": None, "sample_weight": None, "n_threads": 1}
    return ByLane([net_of(model) for model in made], rows, **(settings | arguments))


def state_of(model):
    return [*model.weights, *model.biases, engine_of(model).slots]


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        ([Dense(5, "tanh"), 2], {"optimizer": fastnn.Adam(0.1)}),
        ([Dense(5, "softplus", dropout=0.5), Dense(2, max_norm=0.5)], {"regularizer": fastnn.L1L2(0.1, 0.2)}),
        ([Dense(3, trainable=False), Dense(4, use_bias=False), 2], {"optimizer": fastnn.SGD(0.1, ema_momentum=0.5)}),
        ([Dense(9), 2], {"loss": "softmax_crossentropy", "optimizer": fastnn.Adam(0.1, global_clipnorm=0.1)}),
    ],
    ids=["plain", "dropout and limits", "frozen and averaged", "classes and clipped"],
)
def test_a_lane_is_a_net(layers, settings):
    X, y, rows = rows_of(labels="softmax" in str(settings))
    n = n_lanes(np.float64) + 1
    made, alone = models(n, layers, **settings), models(n, layers, **settings)
    sums = by_lane(made, rows).train(2)
    scores = by_lane(made, rows).evaluate(rows)
    for k, model in enumerate(alone):
        history = model.fit(X, y, epochs=2, batch_size=4, verbose=False)
        for mine, expected in zip(state_of(made[k]), state_of(model), strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)
        found = sums.loss[:, k] / sums.weight[:, k] + sums.penalty[:, k] / 3
        np.testing.assert_allclose(found, history["loss"], rtol=1e-9)
        score = scores.loss[0, k] / scores.weight[0, k] + scores.penalty[0, k]
        assert score == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-9)
    assert (sums.diverged == -1).all()


def test_neighbours_change_no_bit():
    _, _, rows = rows_of()
    layers = [Dense(5, "tanh", dropout=0.2), 2]
    many, one = models(2 * n_lanes(np.float64) + 1, layers), models(1, layers)
    by_lane(many, rows).train(2)
    by_lane(one, rows).train(2)
    for mine, expected in zip(state_of(many[0]), state_of(one[0]), strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("n_threads", [1] if JIT_DISABLED else [1, 2])
@pytest.mark.parametrize("n_calls", [None, 1, 100])
def test_division_into_calls_changes_no_bit(monkeypatch, n_threads, n_calls):
    """Calls of one step, of all, and of as many as a clock says; they go on with the order of rows of the epoch."""
    _, _, rows = rows_of()
    n = 5 * n_lanes(np.float64)
    made, expected = models(n, [4, 2]), models(n, [4, 2])
    by_lane(expected, rows).train(3)
    engine = by_lane(made, rows, n_threads=n_threads)
    calls = []
    if n_calls is not None:
        monkeypatch.setattr(ByLane, "_steps_that_fit", lambda self, threads: calls.append(threads) or n_calls)
    sums = engine.train(3)
    for mine, theirs in zip(made, expected, strict=True):
        for a, b in zip(state_of(mine), state_of(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.isfinite(sums.loss).all()
    if n_calls == 1:
        assert len(calls) > 9 * 5 // n_threads  # 9 steps of 5 groups


@pytest.mark.parametrize(
    "optimizer", [fastnn.Adam(0.1), fastnn.NAdam(0.1), fastnn.SGD(0.1, ema_momentum=0.5)], ids=["adam", "nadam", "mean"]
)
def test_nets_that_begin_beside_nets_that_go_on(optimizer):
    _, _, rows = rows_of()
    n = 2 * n_lanes(np.float64) + 1
    made, expected = models(n, [4, 2], optimizer=optimizer), models(n, [4, 2], optimizer=optimizer)
    begun = [*range(n_lanes(np.float64)), n - 1]
    for each in (made, expected):
        by_lane([each[k] for k in begun], rows).train(2)
    assert engine_of(made[0]).steps_done == 6
    by_lane(made, rows).train(1)
    for model, other in zip(made, expected, strict=True):
        by_lane([other], rows).train(1)
        for mine, theirs in zip(state_of(model), state_of(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_another_optimizer_during_a_run_starts_with_its_own_slots(monkeypatch):
    """As another thread may choose it between two slices."""
    _, _, rows = rows_of()
    made = models(2, [4, 2], optimizer="adam")
    engine = by_lane(made, rows)
    run = ByLane._run_slices

    def change(self, *args):
        run(self, *args)
        made[0].optimizer = "amsgrad"
        made[1].optimizer = "nadam"

    monkeypatch.setattr(ByLane, "_run_slices", change)
    before = [model.weights[0].copy() for model in made]
    assert engine.train(1).interrupt is None
    for model, old in zip(made, before, strict=True):
        assert not np.array_equal(model.weights[0], old)
        assert engine_of(model).steps_done == 0
        assert not engine_of(model).slots.any()
    assert not engine.accepts()


@pytest.mark.skipif(JIT_DISABLED, reason="many rows")
def test_evaluation_and_rows_in_their_order_need_no_memory_for_orders():
    n_rows = 20_000
    X = np.zeros((n_rows, 3))
    rows = Rows(X, Targets(X[:, :1], np.empty(0, np.int64), 1), np.empty(0), X)
    engine = by_lane(models(n_lanes(np.float64), [2, 1]), rows, shuffle=False)
    engine.train(1)  # loads the kernel
    tracemalloc.start()
    try:
        engine.train(1)
        engine.evaluate(rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 8 * n_rows  # that of one lane, of V


def test_a_net_that_diverges_leaves_the_others_alone():
    _, _, rows = rows_of()
    optimizers = [fastnn.SGD(0.01), fastnn.SGD(1e300), fastnn.SGD(0.01)]
    made, alone = models(3, [5, 2]), models(1, [5, 2])
    for model, optimizer in zip((*made, *alone), (*optimizers, optimizers[0]), strict=True):
        model.optimizer = optimizer
    sums = by_lane(made, rows).train(3)
    assert sums.diverged.tolist() == [-1, 0, -1]
    assert np.isnan(sums.loss[:, 1]).all()
    assert np.isfinite(np.concatenate([a.ravel() for a in made[1].weights])).all()
    by_lane(alone, rows).train(3)
    np.testing.assert_array_equal(made[0].weights[0], alone[0].weights[0])


def test_weights_of_rows_of_each_lane():
    X, y, rows = rows_of()
    weights = np.random.default_rng(1).integers(0, 3, (2, N_ROWS)).astype(float)
    weights[1, :4] = 0.0  # a batch without weight has the gradient 0
    made, alone = models(2, [4, 2]), models(2, [4, 2])
    by_lane(made, rows, sample_weight=weights, shuffle=False).train(2)
    for k, model in enumerate(alone):
        model.fit(X, y, epochs=2, batch_size=4, shuffle=False, sample_weight=weights[k], verbose=False)
        np.testing.assert_allclose(made[k].weights[0], model.weights[0], rtol=1e-9)
