"""Stochastic transforms of a batch: random numbers, dropout, noise, mixtures, functions of rows."""

from __future__ import annotations

from dataclasses import replace

import ids
import naive
import numpy as np
import pytest
from driver import LIMITS_OF, RATES, architecture, assert_same_net, dropout_masks, engine, net_of, problem, train
from scipy import stats

from fastnn._data.rows import AugmentationPlan
from fastnn._engine.limits import WORKSPACE_LIMITS
from fastnn._engine.thread_team import ThreadTeam
from fastnn.custom import MachineCode
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import at, lanes, n_lanes, store
from fastnn.kernels.maths.rng import uniform
from fastnn.kernels.nn import stochastic
from fastnn.kernels.nn.stochastic import ROW_RANDOMS

SEED = 7


@kernel
def fill_uniform(key, counter, out):
    p = at(out, 0)
    for i in range(0, out.size, lanes(p)):
        store(at(p, i), uniform(p, key, counter + i))


@kernel
def partner_and_share(data, mixing, seed, step, place, n_rows):
    key = stochastic.step_key(seed, step)
    return stochastic.partner_of(data, key, place, n_rows), stochastic.share_of_row(mixing, key, place)


def test_uniform_numbers(dtype):
    key = np.uint64(0x123456789ABCDEF0)
    x = np.empty(1 << 16, dtype)
    fill_uniform(key, 0, x)
    assert x.min() >= 0
    assert x.max() < 1
    assert stats.kstest(x, "uniform").pvalue > 1e-3
    for lag in (1, 2, n_lanes(dtype), 64):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 0.02
    other = np.empty_like(x)
    fill_uniform(key + np.uint64(1), 0, other)
    assert abs(np.corrcoef(x, other)[0, 1]) < 0.02
    # Each number belongs to its counter, whatever vector it comes in, and is what the Python twin says.
    shifted = np.empty(64, dtype)
    fill_uniform(key, 5, shifted)
    np.testing.assert_array_equal(shifted, x[5:69])
    np.testing.assert_array_equal(uniform(x, key, 5), x[5 : 5 + n_lanes(dtype)])


def test_inverted_dropout(dtype):
    arch = replace(architecture([300, 200, 3], dtype=dtype), dropouts=(0.2, 0.5))
    for mask, rate in zip(dropout_masks(arch, SEED, 100, 3), arch.dropouts, strict=True):
        assert set(np.unique(mask)) == {0, dtype.type(1 / (1 - rate))}
        assert (mask == 0).mean() == pytest.approx(rate, abs=0.01)
        assert mask.mean() == pytest.approx(1, abs=0.02)
        assert abs((mask == 0).mean(axis=1) - rate).max() < 0.2  # no row is spared
    first, again, later = (dropout_masks(arch, SEED, 100, step) for step in (3, 3, 4))
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], later[1])
    assert not np.array_equal(first[0][:, :200], first[1])
    np.testing.assert_array_equal(dropout_masks(arch, SEED, 50, 3, place=50)[1], first[1][50:])


@pytest.mark.parametrize("hidden", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("kind", ["whole", "chunks", "shards"])
@pytest.mark.parametrize("dropouts", [(0.0, 0.5, 0.0), (0.3, 0.5, 0.2)], ids=str)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_steps_with_dropout_follow_the_gradient_of_what_is_left(dropouts, kind, hidden, n_threads):
    arch = replace(architecture([6, 20, 9, 3], hidden=hidden, penalty=(1e-3, 1e-2)), dropouts=dropouts)
    made, rows = engine(arch, limits=LIMITS_OF.get(kind, WORKSPACE_LIMITS), n_threads=n_threads), problem(arch, 64)
    net = net_of(made)
    train(made, rows, batch=32, optimizer=ids.SGD, n_threads=n_threads, seed_of_noise=SEED)
    for step in (0, 1):
        part = slice(32 * step, 32 * step + 32)
        masks = dropout_masks(arch, SEED, 32, step, place=32 * step)
        d_weights, d_biases = naive.gradient(net, rows.x[part], rows.t[part], np.ones(32), masks)
        for w, d in zip((*net.weights, *net.biases), (*d_weights, *d_biases), strict=True):
            w -= RATES[ids.SGD][0] * d
    assert_same_net(made, net, 1e-11)


def test_dropout_is_for_training_alone():
    arch = architecture([6, 20, 3])
    dropping, plain = engine(replace(arch, dropouts=(0.2, 0.5))), engine(arch)
    rows = problem(arch, 40)
    np.testing.assert_array_equal(dropping.predict(rows.x), plain.predict(rows.x))
    with ThreadTeam(1) as solo:
        a, b = (made.evaluate(rows.data(), metrics=(), team=solo).loss for made in (dropping, plain))
        assert a == b
        a, b = (made.gradient(rows.data(), team=solo)[1][0] for made in (dropping, plain))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [(6, 20, 3), (40, 1), *([] if JIT_DISABLED else [(70, 33, 1)])], ids=str)
def test_chance_depends_neither_on_threads_nor_on_slices(sizes, dtype):
    arch = replace(architecture(sizes, dtype=dtype), dropouts=(0.1, 0.5)[: len(sizes) - 1])
    rows = problem(arch, 100, weighted=True)
    change = AugmentationPlan(mixing=np.linspace(0, 1, 64), noise=0.1)
    results = []
    for n_threads, steps in ((1, 1 << 40), (2, 1 << 40), (4, 3)):
        made = engine(arch, n_threads=n_threads)
        train(made, rows, batch=32, epochs=3, seed=SEED, n_threads=n_threads, slice_steps=steps, changes=change)
        results.append(made.params)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    other = engine(arch)
    train(other, rows, batch=32, epochs=3, seed=SEED + 1, changes=change)
    assert not np.array_equal(other.params, results[0])


def seen_features(made, rows, **options):
    """What the first layer of an engine without chunks was given in the last batch; (n, I)."""
    train(made, rows, batch=len(rows.x), optimizer=ids.SGD, rates=(0.0, 0.0, 0.0, 0.0), **options)
    space = made._workspaces["train"]
    arch = made.architecture
    ld, place = arch.leading_dimensions()[0], space.layers["input"][0]
    return space.work[place : place + len(rows.x) * ld].reshape(-1, ld)[:, : arch.sizes[0]].copy()


def test_noise_is_normal_and_stays_inside_the_rows(dtype):
    arch = architecture([13, 40, 1], dtype=dtype)
    rows = problem(arch, 500)
    made = engine(arch)
    seen = seen_features(made, rows, changes=AugmentationPlan(noise=0.3), seed_of_noise=SEED)
    added = (seen - rows.x).astype(np.float64)
    assert stats.kstest(added.ravel() / 0.3, "norm").pvalue > 1e-3
    space = made._workspaces["train"]
    ld, place = arch.leading_dimensions()[0], space.layers["input"][0]
    assert not space.work[place : place + 500 * ld].reshape(-1, ld)[:, 13:].any()
    again = seen_features(engine(arch), rows, changes=AugmentationPlan(noise=0.3), seed_of_noise=SEED)
    np.testing.assert_array_equal(seen, again)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("n_out", [3, 20])
def test_mixtures_of_rows_and_of_their_targets(n_out, labels):
    arch = architecture([5, n_out], loss="softmax_crossentropy")
    rows = problem(arch, 40, labels=labels)
    mixing = np.linspace(0.0, 1.0, 100)
    made, net = engine(arch), net_of(engine(arch))
    train(made, rows, batch=40, optimizer=ids.SGD, changes=AugmentationPlan(mixing=mixing), seed_of_noise=SEED)
    data = rows.data()
    partners, shares = np.transpose([partner_and_share(data, mixing, SEED, 0, k, 40) for k in range(40)])
    partners = partners.astype(int)
    assert len(set(partners)) > 15
    assert (shares >= 0.5).all()
    x, t = (shares[:, None] * a + (1 - shares[:, None]) * a[partners] for a in (rows.x, rows.t))
    d_weights, d_biases = naive.gradient(net, x, t, np.ones(40))
    for w, d in zip((*net.weights, *net.biases), (*d_weights, *d_biases), strict=True):
        w -= RATES[ids.SGD][0] * d
    assert_same_net(made, net, 1e-11)


def test_a_function_of_the_users_changes_each_row(dtype):
    def change(x, random, _, n):
        for i in range(n):
            x[i] = 2 * x[i] + random[0] - random[15]

    code = MachineCode(change, np.dtype(dtype))
    arch = architecture([5, 40, 1], dtype=dtype)
    rows = problem(arch, 200)
    seen = seen_features(engine(arch), rows, changes=AugmentationPlan(function=code), seed_of_noise=SEED)
    added = seen - 2 * rows.x
    np.testing.assert_allclose(added, added[:, :1] * np.ones(5), atol=1e-5)
    assert ROW_RANDOMS == 16
    assert -1 < added.min() < -0.5
    assert 0.5 < added.max() < 1


@pytest.mark.parametrize("n_out", [3, 20])
def test_functions_of_the_users_are_activation_and_loss(n_out, dtype):
    def bend(z, y, _, n):
        for i in range(n):
            y[i] = z[i] / (1 + abs(z[i])) + 0.1

    def slope(z, d, _, n):
        for i in range(n):
            d[i] *= 1 / (1 + abs(z[i])) ** 2

    def cube(u, t, values, n):
        for i in range(n):
            e = u[i] - t[i]
            values[i] = abs(e) ** 3
            u[i] = 3 * e * abs(e)

    bend_code, slope_code, cube_code = (MachineCode(f, np.dtype(dtype)) for f in (bend, slope, cube))
    arch = replace(
        architecture([5, 9, n_out], dtype=dtype),
        activations=((ids.CUSTOM, 0.0), (ids.IDENTITY, 0.0)),
        functions=((bend_code, slope_code), None),
        loss=ids.CUSTOM,
        loss_function=cube_code,
    )
    made = engine(arch)
    rows = problem(arch, 30, weighted=True)
    w, b = ([a.astype(np.float64) for a in arrays] for arrays in (made.weights(), made.biases()))
    x, t, weight = (a.astype(np.float64) for a in (rows.x, rows.t, rows.sample_weight))
    z = x @ w[0] + b[0]
    y = z / (1 + np.abs(z)) + 0.1
    u = y @ w[1] + b[1]
    np.testing.assert_allclose(made.predict(rows.x), u, rtol=1e-4, atol=1e-5)
    with ThreadTeam(1) as solo:
        sums, d_weights, d_biases = made.gradient(rows.data(), team=solo)
    assert sums.loss == pytest.approx((weight * (np.abs(u - t) ** 3).mean(axis=1)).sum(), rel=1e-4)
    d = 3 * (u - t) * np.abs(u - t) * (weight / weight.sum())[:, None] / n_out
    np.testing.assert_allclose(d_weights[1], y.T @ d, rtol=1e-3, atol=1e-5)
    d = d @ w[1].T / (1 + np.abs(z)) ** 2
    np.testing.assert_allclose(d_weights[0], x.T @ d, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(d_biases[0], d.sum(axis=0), rtol=1e-3, atol=1e-5)
