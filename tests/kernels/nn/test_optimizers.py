"""One update: each rule against the formula of its paper, and updates that would not be finite."""

from __future__ import annotations

from dataclasses import replace

import ids
import naive
import numpy as np
import pytest
from driver import (
    LIMITS_OF,
    N_SLOTS,
    OPTIMIZERS,
    RATES,
    architecture,
    assert_same_net,
    engine,
    net_of,
    padding_of,
    problem,
    train,
    train_naive,
)

from fastnn._engine.limits import WORKSPACE_LIMITS
from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, n_lanes
from fastnn.kernels.nn import dispatch, rules
from fastnn.kernels.nn import optimizers as kernels


@kernel
def update_slots(optimizer, numbers, scalars, t, w, g, slots, n):
    now = dispatch.read_scalars(scalars)
    for k in range(int(t)):
        now = dispatch.advance(optimizer, numbers[1:], now, k + 1.0)
    rates = dispatch.coefficients(optimizer, numbers[0], 0.0, numbers[1:], now, t)
    return dispatch.update(optimizer, rates, at(w, 0), at(g, 0), at(slots, 0), w.size, n)


def first_scalars(optimizer):
    scalars = np.zeros(dispatch.N_SCALARS)
    wanted = rules.initial_scalars(optimizer)
    scalars[: len(wanted)] = wanted
    return scalars


def update(optimizer, numbers, t, w, g, m, v, n, top=None):
    """One update; without `top`, AMSGrad's third slot begins from zero."""
    given = (m, v, np.zeros_like(w) if top is None else top)
    slots = np.concatenate(given)
    good = update_slots(optimizer, numbers, first_scalars(optimizer), t, w, g, slots, n)
    for slot, changed in zip(given, slots.reshape(3, -1), strict=True):
        slot[:] = changed
    return good


@kernel
def rates(optimizer, numbers, scalars, t):
    return dispatch.coefficients(optimizer, numbers[0], 0.0, numbers[1:], dispatch.read_scalars(scalars), t)


@kernel
def add_penalty(l1, l2, w, g, n):
    return kernels.add_penalty(l1, l2, at(w, 0), at(g, 0), n)


def numbers_of(code):
    """Learning rate and hyperparameters, padded with zeros."""
    numbers = np.zeros(1 + dispatch.N_HYPER)
    numbers[: len(RATES[code])] = RATES[code]
    return numbers


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def optimizer(request):
    """Code of each rule in turn."""
    return request.param


def test_run_of_updates_follows_the_formula(optimizer, dtype):
    rng = np.random.default_rng(0)
    n = 4 * n_lanes(dtype)
    w = rng.standard_normal(n + 8).astype(dtype)
    m, v, top = np.zeros((3, n + 8), dtype)
    m[n:] = v[n:] = 3
    true = w.astype(np.float64)[:n]
    rate, *settings = RATES[optimizer]
    rule = naive.Optimizer(optimizer, rate, settings)
    tail = w[n:].copy()
    for t in range(1, 31):
        g = rng.standard_normal(n + 8).astype(dtype)
        g[:4] = 0  # weights without a gradient
        assert update(optimizer, numbers_of(optimizer), float(t), w, g, m, v, n, top)
        rule.step([true], [g[:n].astype(np.float64)])
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(w[:n], true, rtol=tolerance, atol=tolerance)
    slots = rule.slots[0]
    if optimizer != ids.SGD:
        np.testing.assert_allclose(m[:n], slots[0], rtol=tolerance, atol=tolerance)
    if N_SLOTS[optimizer] > 1:
        np.testing.assert_allclose(v[:n], slots[1], rtol=tolerance, atol=tolerance)
    else:
        assert (v[:n] == 0).all(), "a slot that the rule does not have was written"
    np.testing.assert_array_equal(w[n:], tail)
    assert (m[n:] == 3).all()
    assert (v[n:] == 3).all()


def test_nothing_moves_without_a_gradient(optimizer, dtype):
    n = 2 * n_lanes(dtype)
    w = np.random.default_rng(1).standard_normal(n).astype(dtype)
    w[:3] = 0
    before, g, m, v = w.copy(), *np.zeros((3, n), dtype)
    for t in range(1, 4):
        assert update(optimizer, numbers_of(optimizer), float(t), w, g, m, v, n)
    np.testing.assert_array_equal(w, before)
    assert not m.any()
    assert not v.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_gradient_leaves_its_weight_and_slots_alone(optimizer, bad, dtype):
    rng = np.random.default_rng(2)
    n = 3 * n_lanes(dtype)
    w, g = rng.standard_normal((2, n)).astype(dtype)
    m, v = rng.uniform(0.1, 1, (2, n)).astype(dtype)
    numbers = numbers_of(optimizer)
    clean = [x.copy() for x in (w, m, v)]
    assert update(optimizer, numbers, 3.0, clean[0], g, clean[1], clean[2], n)
    for place in (0, n // 2, n - 1):
        spoilt = g.copy()
        spoilt[place] = bad
        got = [x.copy() for x in (w, m, v)]
        assert not update(optimizer, numbers, 3.0, got[0], spoilt, got[1], got[2], n)
        for x, before, after in zip(got, (w, m, v), clean, strict=True):
            expected = after.copy()
            expected[place] = before[place]
            np.testing.assert_array_equal(x, expected)


def test_a_weight_that_would_overflow_keeps_its_value(dtype):
    n = n_lanes(dtype)
    w = np.ones(n, dtype)
    g = np.zeros(n, dtype)
    g[n - 1] = np.finfo(dtype).max / 2
    numbers = numbers_of(ids.SGD)
    numbers[0] = 1e9
    m, v = np.zeros((2, n), dtype)
    assert not update(ids.SGD, numbers, 1.0, w, g, m, v, n)
    np.testing.assert_array_equal(w, 1)


def test_slots_stay_finite_when_the_square_of_a_gradient_overflows(optimizer, dtype):
    # An infinite second moment would freeze the weight for ever, without a word.
    n = n_lanes(dtype)
    w, m, v = np.ones(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    g = np.full(n, np.sqrt(np.finfo(dtype).max) * 100, dtype)
    numbers = numbers_of(optimizer)
    good = update(optimizer, numbers, 1.0, w, g, m, v, n)
    assert np.isfinite(w).all()
    assert np.isfinite(m).all()
    assert np.isfinite(v).all()
    assert not good or not np.array_equal(w, np.ones(n, dtype))


def test_each_weight_has_its_own_result_wherever_it_lies(optimizer, dtype):
    rng = np.random.default_rng(3)
    v_len = n_lanes(dtype)
    n = 3 * v_len
    w, g = rng.standard_normal((2, n)).astype(dtype)
    m, v = rng.uniform(0.1, 1, (2, n)).astype(dtype)
    whole = [x.copy() for x in (w, m, v)]
    update(optimizer, numbers_of(optimizer), 2.0, whole[0], g, whole[1], whole[2], n)
    shift = rng.permutation(n)
    moved = [x[shift].copy() for x in (w, m, v)]
    update(optimizer, numbers_of(optimizer), 2.0, moved[0], g[shift], moved[1], moved[2], n)
    for a, b in zip(whole, moved, strict=True):
        np.testing.assert_array_equal(a[shift], b)


def test_adams_corrections_of_the_start():
    numbers = numbers_of(ids.ADAM)
    for t in (1.0, 2.0, 1000.0):
        kept, minus_corrected, b1, rest1, b2, rest2, unbias, eps, *_ = rates(
            ids.ADAM, numbers, first_scalars(ids.ADAM), t
        )
        lr, corrected = RATES[ids.ADAM][0], -minus_corrected
        assert (lr, b1, b2, eps) == RATES[ids.ADAM]
        assert (kept, rest1, rest2) == (1, 1 - b1, 1 - b2)
        assert corrected == pytest.approx(lr / (1 - b1**t), rel=1e-14)
        assert unbias == pytest.approx(1 / np.sqrt(1 - b2**t), rel=1e-14)
    # The first step of Adam is the learning rate, whatever the gradient's size.
    for size in (1e-3, 1.0, 1e3):
        w, m, v = np.zeros((3, 8))
        update(ids.ADAM, numbers, 1.0, w, np.full(8, size), m, v, 8)
        np.testing.assert_allclose(w, -RATES[ids.ADAM][0], rtol=1e-4)


# ------------------------------------------------------------------------------------------------ penalty


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_penalty_and_its_gradient(l1, l2, dtype):
    rng = np.random.default_rng(4)
    v = n_lanes(dtype)
    w = rng.standard_normal(5 * v).astype(dtype)
    w[:6] = [0.0, -0.0, 1e-28, -1e-28, 1e8, -1e8]
    g = rng.standard_normal(w.size).astype(dtype)
    got = g.copy()
    n = 4 * v
    value = add_penalty(l1, l2, w, got, n)
    x = w[:n].astype(np.float64)
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(l1 * np.abs(x).sum() + l2 * (x**2).sum(), rel=8 * eps)
    wanted = g[:n] + l1 * np.sign(x) + 2 * l2 * x
    np.testing.assert_allclose(got[:n], wanted, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_array_equal(got[n:], g[n:])


# ---------------------------------------------------------------------------------- whole nets, step by step


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
def test_twenty_steps_of_a_net_follow_the_formula(optimizer, shuffled, dtype):
    arch = architecture([6, 19, 5, 3], hidden="tanh", loss="softmax_crossentropy", penalty=(1e-3, 1e-2), dtype=dtype)
    made = engine(arch, n_slots=N_SLOTS[optimizer])
    rows = problem(arch, 40, weighted=True)
    net = net_of(made).astype(np.float64)
    true_rows = problem(arch, 40, weighted=True)
    seed = 5 if shuffled else None
    for part in ("x", "t", "sample_weight"):
        setattr(true_rows, part, getattr(true_rows, part).astype(np.float64))
    train(made, rows, epochs=4, batch=8, optimizer=optimizer, seed=seed)
    train_naive(net, true_rows, epochs=4, batch=8, optimizer=optimizer, seed=seed)
    assert made.steps_done == 20
    assert_same_net(made, net, 1e-12 if dtype == np.float64 else 2e-4)


def test_steps_are_counted_over_epochs(dtype):
    # Adam's corrections depend on the number of the update since the start, not since the epoch's.
    arch = architecture([3, 4, 2], dtype=np.float64)
    rows = problem(arch, 24)
    whole, cut = engine(arch), engine(arch)
    train(whole, rows, epochs=3, batch=8)
    for _ in range(3):
        train(cut, rows, epochs=1, batch=8)
    assert whole.steps_done == cut.steps_done == 9
    np.testing.assert_array_equal(whole.params, cut.params)
    fresh = engine(arch)
    train(fresh, rows, epochs=1, batch=8)
    fresh.steps_done = 0
    train(fresh, rows, epochs=2, batch=8)
    assert not np.array_equal(fresh.params, whole.params)


# --------------------------------------------------------------------------- decay, clipping, limits, averages


SIZES = [[6, 19, 5, 3], [70, 1], [9, 64, 2]]  # the last two have a narrow layer


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", [{"weight_decay": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.2}], ids=str)
def test_decay_and_clipping_follow_the_formula(options, sizes, n_threads, optimizer):
    arch = architecture(sizes, hidden="tanh", penalty=(1e-3, 1e-2))
    made = engine(arch, n_slots=N_SLOTS[optimizer], n_threads=n_threads)
    rows, net = problem(arch, 40, weighted=True), net_of(made)
    train(made, rows, epochs=3, batch=8, optimizer=optimizer, n_threads=n_threads, **options)
    train_naive(net, rows, epochs=3, batch=8, optimizer=optimizer, **options)
    assert_same_net(made, net, 1e-10)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("kind", ["chunks", "shards"])
@pytest.mark.parametrize("options", [{"weight_decay": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.2}], ids=str)
def test_decay_and_clipping_of_large_batches(options, kind, n_threads):
    arch = architecture([6, 9, 3], hidden="tanh", penalty=(1e-3, 1e-2))
    made, rows = engine(arch, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS), n_threads=n_threads), problem(arch, 64)
    net = net_of(made)
    train(made, rows, epochs=3, batch=64, n_threads=n_threads, **options)
    train_naive(net, rows, epochs=3, batch=64, **options)
    assert_same_net(made, net, 1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_biases_that_are_not_used_do_not_count_in_the_norm(bias):
    arch = architecture([3, 2], use_bias=bias)
    made, rows = engine(arch), problem(arch, 8)
    net = net_of(made)
    train(made, rows, clip_norm=1e-3)
    train_naive(net, rows, clip_norm=1e-3)
    assert_same_net(made, net, 1e-12)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("sizes", [*SIZES, [3, 40, 33, 2]], ids=str)
def test_weights_of_an_output_are_no_longer_than_the_limit(sizes, n_threads, dtype):
    arch = replace(architecture(sizes, dtype=dtype), max_norms=(0.3,) * (len(sizes) - 1))
    made, rows = engine(arch, n_threads=n_threads), problem(arch, 32)
    wanted = [w.astype(np.float64) for w in made.weights()]
    train(made, rows, rates=(1e-30, 0.9, 0.999, 1e-8), batch=32, n_threads=n_threads)
    for got, w in zip(made.weights(), wanted, strict=True):
        length = np.linalg.norm(w, axis=0)
        np.testing.assert_allclose(got, w * np.minimum(1, 0.3 / length), rtol=1e-5)
    made = engine(arch, n_threads=n_threads)
    train(made, rows, epochs=5, batch=8, n_threads=n_threads)
    for w in made.weights():
        length = np.linalg.norm(w.astype(np.float64), axis=0)
        assert (length <= 0.3 * (1 + 1e-5)).all()
        assert length.max() > 0.29
    assert not padding_of(made, made.params).any()


@pytest.mark.parametrize("kind", ["whole", "chunks", "shards"])
@pytest.mark.parametrize("limit", [0.0, 0.3])
def test_running_average_of_the_parameters(kind, limit, dtype):
    arch = replace(architecture([6, 19, 3], dtype=dtype), max_norms=(limit,) * 2)
    rows = problem(arch, 64)
    limits = LIMITS_OF.get(kind, WORKSPACE_LIMITS)
    made = engine(arch, limits=limits, n_threads=2, averaged=True)
    mean = made.params.astype(np.float64)
    start = made.predict(rows.x)
    for _ in range(5):
        train(made, rows, batch=64, ema_decay=0.8, n_threads=2)
        mean = 0.8 * mean + 0.2 * made.params
    np.testing.assert_allclose(made.final_params, mean, rtol=1e-5, atol=1e-6)
    assert made.steps_done == 5
    assert not np.allclose(made.params, mean, atol=1e-3)
    # Predictions and evaluations are made with it, gradients without it.
    plain = engine(replace(arch, max_norms=()), limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS))
    plain.params[:] = made.final_params
    np.testing.assert_array_equal(made.predict(rows.x), plain.predict(rows.x))
    assert not np.array_equal(start, made.predict(rows.x))
    with ThreadTeam(1) as solo:
        average = made.evaluate(rows.data(), metrics=(), team=solo).loss
        assert average == plain.evaluate(rows.data(), metrics=(), team=solo).loss
        assert average != made.gradient(rows.data(), team=solo)[0].loss


def test_an_average_may_begin_and_end_later():
    arch = architecture([6, 19, 3])
    made, plain, rows = engine(arch, n_slots=2), engine(arch, n_slots=2), problem(arch, 64)
    for one in (made, plain):
        train(one, rows)
    made.set_averaged(True)
    np.testing.assert_array_equal(made.final_params, made.params)
    train(made, rows, ema_decay=0.5)
    train(plain, rows)
    np.testing.assert_array_equal(made.params, plain.params)  # Adam's own slots went on
    np.testing.assert_array_equal(made.slots[:2], plain.slots)
    made.set_averaged(False)
    assert made.final_params is made.params
    assert len(made.slots) == 2


# ------------------------------------------------------------------------------------------- frozen layers


@pytest.mark.parametrize("trained", [(False, False, True), (True, False, False), (False, True, False)], ids=str)
@pytest.mark.parametrize("kind", ["whole", "chunks", "shards", "clipped"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_frozen_layers_keep_their_weights_and_the_others_learn_as_ever(trained, kind, n_threads):
    options = {"clip_norm": 0.1} if kind == "clipped" else {}
    arch = architecture([6, 20, 7, 3], hidden="tanh")
    made, rows = engine(arch, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS), n_threads=n_threads), problem(arch, 64)
    before, net = [w.copy() for w in (*made.weights(), *made.biases())], net_of(made)
    made.set_trained(trained)
    train(made, rows, batch=32, optimizer=ids.SGD, n_threads=n_threads, **options)
    for k, (w, old) in enumerate(zip((*made.weights(), *made.biases()), before, strict=True)):
        assert np.array_equal(w, old) == (not trained[k % 3])
    # One layer after the other: with plain descent the step of a layer does not depend on the others' steps.
    if kind != "clipped":
        part = slice(0, 32)
        for start in (0, 32):
            part = slice(start, start + 32)
            d_weights, d_biases = naive.gradient(net, rows.x[part], rows.t[part], np.ones(32))
            for k in range(3):
                if trained[k]:
                    net.weights[k] -= RATES[ids.SGD][0] * d_weights[k]
                    net.biases[k] -= RATES[ids.SGD][0] * d_biases[k]
        assert_same_net(made, net, 1e-11)


def test_layers_can_be_thawed():
    arch = architecture([6, 20, 3])
    made, plain, rows = engine(arch), engine(arch), problem(arch, 64)
    made.set_trained((False, True))
    made.set_trained((True, True))
    for one in (made, plain):
        train(one, rows)
    np.testing.assert_array_equal(made.params, plain.params)
