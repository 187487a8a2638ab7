"""Steps of training whose rows are moved against the net first."""

from __future__ import annotations

from dataclasses import replace

import ids
import naive
import numpy as np
import pytest
from driver import (
    LIMITS_OF,
    RATES,
    architecture,
    assert_same_net,
    dropout_masks,
    engine,
    net_of,
    padding_of,
    problem,
    train,
)

from fastnn._data.rows import AugmentationPlan
from fastnn._engine.limits import WORKSPACE_LIMITS
from fastnn.kernels import tables
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import at, n_lanes
from fastnn.kernels.maths.rng import uniform
from fastnn.kernels.nn import adversary, stochastic

SEED = 7
KINDS = ["whole", "chunks", "shards"]


@kernel
def move(table, seed, step_of_training, place, step, x, slope, moves, ld, rows, n):
    key = stochastic.step_key(seed, step_of_training)
    adversary.move_rows(table[0], key, place, step, at(x, 0), at(slope, 0), at(moves, 0), ld, rows, n)


@kernel
def start_key(seed, step_of_training):
    return stochastic.key_of(stochastic.step_key(seed, step_of_training), adversary.START)


def against(steps=1, start=0.0, eps=0.1, eps_step=0.1, ratio=1.0, low=-np.inf, high=np.inf):
    table = tables.new_table(tables.Adversary, 1)
    table[:] = (steps, start, eps, eps_step, ratio, low, high)
    return table


def moved(table, x, slopes, step_of_training=0, place=0):
    """Rows after the start and one step for each array of slopes."""
    rows, n = x.shape
    ld = tables.leading_dimension(n, x.dtype)
    padded = np.zeros((4, rows, ld), x.dtype)
    got, slope, moves, clean = padded
    clean[:, :n] = x
    for step, values in enumerate([np.zeros_like(x), *slopes]):
        got[:] = clean
        slope[:, :n] = values
        move(table, SEED, step_of_training, place, step, got, slope, moves, ld, rows, n)
        assert not got[:, n:].any()  # padding stays zero
    return got[:, :n].copy()


@pytest.mark.parametrize("n", [1, 7, 16, 33])
def test_the_start_is_uniform_and_a_function_of_the_place_alone(n, dtype):
    x = np.random.default_rng(0).standard_normal((4000 // n, n)).astype(dtype)
    added = moved(against(start=0.5, eps=0.5), x, []).astype(np.float64) - x
    assert np.abs(added).max() <= 0.5 * (1 + 1e-5)
    assert abs(added.mean()) < 0.03
    assert added.std() == pytest.approx(0.5 / 3**0.5, rel=0.05)
    np.testing.assert_array_equal(moved(against(start=0.5, eps=0.5), x[5:], [], place=5) - x[5:], (moved(
        against(start=0.5, eps=0.5), x, []) - x)[5:])  # fmt: skip
    assert not np.array_equal(moved(against(start=0.5), x, []), moved(against(start=0.5), x, [], step_of_training=1))


def test_steps_stay_in_the_box_and_within_the_limits(dtype):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (30, 21)).astype(dtype)
    slopes = rng.standard_normal((5, 30, 21)).astype(dtype)
    slopes[:, :, 3] = 0
    slopes[:, :, 4] = np.nan
    table = against(eps=0.25, eps_step=0.125, low=0.0, high=1.0)
    wanted, moves = x.copy(), np.zeros_like(x)
    for slope in slopes:
        moves = np.clip(moves + dtype.type(0.125) * np.nan_to_num(np.sign(slope)), -0.25, 0.25).astype(dtype)
        wanted = np.clip(x + moves, 0, 1)
        moves = wanted - x
    got = moved(table, x, slopes)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(got[:, 3:5], x[:, 3:5])  # no slope, no move
    assert got.min() == 0
    assert got.max() == 1


def test_a_share_of_the_rows_is_moved():
    x = np.zeros((20_000, 2))
    got = moved(against(ratio=0.3, eps_step=0.1), x, [np.ones_like(x)])
    chosen = got.any(axis=1)
    assert chosen.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(got[chosen], 0.1)
    assert not np.array_equal(chosen, moved(against(ratio=0.3), x, [np.ones_like(x)], step_of_training=1).any(axis=1))


def starts_of(x, width, step, place):
    """What the random start adds to rows, by the Python form of the generator."""
    key = start_key(SEED, step)
    n, v = x.shape[1], n_lanes(x.dtype)
    found = np.zeros_like(x)
    for r in range(len(x)):
        for j in range(0, n, v):
            u = uniform(x, key, (place + r) * n + j)[: n - j]
            found[r, j : j + v] = width * (2 * u - 1)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", ["gelu"] if JIT_DISABLED else ["relu", "tanh", "gelu"])
@pytest.mark.parametrize(
    ("sizes", "dropouts"),
    [((6, 20, 9, 3), None), ((6, 20, 9, 3), (0.3, 0.5, 0.2)), ((70, 3), None), ((5, 40), (0.2,)), ((1, 4, 1), None)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("n_threads", [1] if JIT_DISABLED else [1, 2])
def test_steps_follow_the_gradient_of_the_moved_rows(sizes, dropouts, hidden, kind, n_threads):
    arch = architecture(sizes, hidden=hidden, penalty=(1e-3, 1e-2))
    if dropouts:
        arch = replace(arch, dropouts=dropouts)
    made, rows = engine(arch, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS), n_threads=n_threads), problem(arch, 64)
    net = net_of(made)
    eps, size, steps = 0.2, 0.15, 2
    table = against(steps, eps, eps, size, low=-1.5, high=1.6)
    train(made, rows, batch=32, optimizer=ids.SGD, n_threads=n_threads, seed_of_noise=SEED, adversary=table)
    for step in (0, 1):
        place = 32 * step
        x, t, ones = rows.x[place : place + 32], rows.t[place : place + 32], np.ones(32)
        masks = dropout_masks(arch, SEED, 32, step, place=place) if dropouts else None
        moves = starts_of(x, eps, step, place)
        for _ in range(steps):
            at_rows = np.clip(x + moves, -1.5, 1.6)
            slope = naive.back_propagate(net, at_rows, t, ones, masks)[2]
            moves = np.clip(at_rows - x + size * np.sign(slope), -eps, eps)
        d_weights, d_biases = naive.gradient(net, np.clip(x + moves, -1.5, 1.6), t, ones, masks)
        for w, d in zip((*net.weights, *net.biases), (*d_weights, *d_biases), strict=True):
            w -= RATES[ids.SGD][0] * d
    assert_same_net(made, net, 1e-10)
    assert not padding_of(made, made.params).any()


# The interpreter takes half a minute for a large net.
@pytest.mark.parametrize("sizes", [(6, 20, 3), (9, 40), *([] if JIT_DISABLED else [(40, 1), (70, 33, 1)])], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_bits_depend_neither_on_threads_nor_on_slices(sizes, kind, dtype):
    arch = replace(architecture(sizes, dtype=dtype), dropouts=(0.1, 0.5)[: len(sizes) - 1])
    rows = problem(arch, 100, weighted=True)
    change = AugmentationPlan(mixing=np.linspace(0, 1, 64), noise=0.1)
    results = []
    for n_threads, steps in ((1, 1 << 40), (2, 1 << 40), (4, 3)):
        made = engine(arch, n_threads=n_threads, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS))
        train(
            made, rows, batch=32, epochs=3, seed=SEED, n_threads=n_threads, slice_steps=steps, changes=change,
            adversary=against(2, 0.1, ratio=0.7),
        )  # fmt: skip
        results.append(made.params)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_chunks_are_as_the_whole_batch(dtype):
    arch = architecture((12, 20, 3), dtype=dtype)
    rows = problem(arch, 100)
    results = []
    for kind in ("whole", "chunks"):
        made = engine(arch, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS))
        train(made, rows, batch=100, epochs=3, adversary=against(1, 0.1))
        results.append(made.params)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("trained", [(False, True, True), (True, False, False), (False, False, True)], ids=str)
def test_the_slope_goes_through_frozen_layers(trained):
    arch = replace(architecture((6, 20, 9, 3), hidden="tanh"), trained=trained)
    made, rows = engine(arch), problem(arch, 32)
    net = net_of(made)
    train(made, rows, batch=32, optimizer=ids.SGD, adversary=against(1, 0.0))
    ones = np.ones(32)
    slope = naive.back_propagate(net, rows.x, rows.t, ones)[2]
    d_weights, d_biases = naive.gradient(net, rows.x + 0.1 * np.sign(slope), rows.t, ones)
    for k in np.flatnonzero(trained):
        net.weights[k] -= RATES[ids.SGD][0] * d_weights[k]
        net.biases[k] -= RATES[ids.SGD][0] * d_biases[k]
    assert_same_net(made, net, 1e-11)


