"""Losses and metrics of one row: values and gradients against the formulas, stable for large arguments."""

from __future__ import annotations

import ids
import naive
import numpy as np
import pytest
from driver import LOSSES_OF_ANY_WIDTH as LOSSES

from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, load, n_lanes, store
from fastnn.kernels.nn import dispatch, losses_blocked
from fastnn.kernels.nn import losses as kernels

WIDTHS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 33]


@kernel
def row_losses(loss, u, t, labels, p, d, ld, n, weight, norm, values):
    """All rows of u; `labels` may be empty."""
    for r in range(values.size):
        label = labels[r] if labels.size else -1
        d_row = at(d, r * ld)
        values[r] = dispatch.loss_row(
            loss, 0, at(u, r * ld), at(t, r * ld), label, at(p, 0), d_row, d_row, n, weight[r], norm
        )  # fmt: skip


@kernel
def row_metrics(metric, u, t, labels, ld, n, threshold, several, values):
    for r in range(values.size):
        label = labels[r] if labels.size else -1
        values[r] = kernels.metric_row(metric, at(u, r * ld), at(t, r * ld), label, n, threshold, several)


@kernel
def block_losses(loss, u, t, p, weight, norm, n, values):
    store(at(values, 0), dispatch.loss_block(loss, 0, at(u, 0), at(t, 0), at(p, 0), n, load(at(weight, 0)), norm))


@kernel
def block_metrics(metric, u, t, n, threshold, several, values):
    store(at(values, 0), losses_blocked.metric_block(metric, at(u, 0), at(t, 0), n, threshold, several))


@kernel
def block_targets(labels, order, place, rows, t, n, off):
    losses_blocked.one_hot_block(labels, order, place, rows, at(t, 0), n, off)


@kernel
def argmax(row, n):
    return kernels.argmax(at(row, 0), n)


def targets(loss, shape, rng):
    if loss == ids.SOFTMAX_CROSSENTROPY:
        t = rng.uniform(size=shape)
        return t / t.sum(axis=1, keepdims=True)
    if loss == ids.BINARY_CROSSENTROPY:
        return rng.uniform(size=shape).round(1)
    if loss == ids.POISSON:
        return rng.poisson(2.0, shape).astype(float)
    return rng.standard_normal(shape)


def parameters(loss, n, dtype):
    """A number for each output, in whole vectors."""
    p = np.zeros(-(-n // n_lanes(dtype)) * n_lanes(dtype), dtype)
    if loss in (ids.HUBER, ids.QUANTILE):
        p[:n] = np.linspace(0.1, 0.9, n)
    return p


def run(loss, u, t, *, labels=None, weight=None, norm=None, fill=0.0, dtype):
    """Values and gradients of rows of stride ld; `fill` lies behind the outputs."""
    n_rows, n = u.shape
    v = n_lanes(dtype)
    ld = -(-n // v) * v + v
    outputs = np.full((n_rows, ld), fill, dtype)
    outputs[:, :n] = u
    wanted = np.zeros((n_rows, ld), dtype)
    wanted[:, :n] = t
    weight = np.ones(n_rows, dtype) if weight is None else weight.astype(dtype)
    norm = dtype.type(weight.sum() if norm is None else norm)
    labels = np.empty(0, np.int64) if labels is None else labels
    d = np.full((n_rows, ld), 55, dtype)
    values = np.empty(n_rows, dtype)
    row_losses(loss, outputs, wanted, labels, parameters(loss, n, dtype), d, ld, n, weight, norm, values)
    whole = -(-n // v) * v
    good = np.isfinite(outputs[:, :n]).all(axis=1)
    assert (d[good, n:whole] == 0).all(), "padding of the gradient is not zero"
    assert (d[:, whole:] == 55).all(), "written behind the row"
    return values, d[:, :n]


def wanted(loss, u, t, weight, norm, dtype=np.float64):
    """Weighted values, and gradients of the batch's loss."""
    shares = weight if loss == ids.SUM_OF_SQUARES else weight / norm
    n = u.shape[1]
    p = parameters(loss, n, np.dtype(dtype))[:n].astype(float)
    return weight * naive.loss_rows(loss, u, t, p), naive.loss_rows_backward(loss, u, t, p) * shares[:, None]


@pytest.mark.parametrize("fill", [0.0, 7e3, np.nan])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_value_and_gradient(loss, fill, dtype):
    for n in WIDTHS:
        rng = np.random.default_rng(n)
        u = (rng.standard_normal((13, n)) * 3).astype(dtype)
        t = targets(loss, u.shape, rng).astype(dtype)
        weight = rng.uniform(0.1, 2, 13).astype(dtype)
        weight[4] = 0
        value, gradient = run(loss, u, t, weight=weight, fill=fill, dtype=dtype)
        w = weight.astype(np.float64)
        wide = [a.astype(np.float64) for a in (u, t)]
        true_value, true_gradient = wanted(loss, *wide, w, float(weight.sum()), dtype)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(value, true_value, rtol=20 * eps, atol=40 * eps)
        np.testing.assert_allclose(gradient, true_gradient, rtol=20 * eps, atol=20 * eps)
        assert value[4] == 0
        assert (gradient[4] == 0).all()


@pytest.mark.parametrize("size", [1e3, 1e4])
@pytest.mark.parametrize("loss", [ids.BINARY_CROSSENTROPY, ids.SOFTMAX_CROSSENTROPY], ids=["binary", "softmax"])
def test_cross_entropies_are_stable_far_out(loss, size, dtype):
    u = np.array([[size, -size, 0], [-size, size, size], [size] * 3, [-size] * 3, [0, 1, -size], [-size, 1, 2]])
    t = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    value, gradient = run(loss, u, t, dtype=dtype)
    true_value, true_gradient = wanted(loss, u, t, np.ones(6), 6.0)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(value, true_value, rtol=4 * eps, atol=1e-36 + 4 * eps)
    np.testing.assert_allclose(gradient, true_gradient, rtol=4 * eps, atol=1e-36 + eps)


@pytest.mark.parametrize("n", [2, 3, 9, 17, 40])
def test_softmax_crossentropy_of_any_finite_logits(n, dtype):
    """Also where all are near the lowest number, and where a difference overflows: rows, labels and blocks."""
    v = n_lanes(dtype)
    top = float(np.finfo(dtype).max)
    u = np.full((v, n), -0.95 * top)
    u[0, 0] = u[0, -1] = -0.9 * top  # two winners
    u[1] = top * np.linspace(-1, 1, n)
    u[2:] = -top
    labels = np.zeros(v, np.int64)
    labels[1] = n - 1
    probabilities = np.full((v, n), 1 / n)
    probabilities[:2] = 0.0
    probabilities[0, 0] = probabilities[0, -1] = 0.5
    probabilities[1, -1] = 1.0
    one_hot = naive.one_hot(labels, n, dtype)
    wanted = -np.log(probabilities[np.arange(v), labels])
    forms = [
        run(ids.SOFTMAX_CROSSENTROPY, u, one_hot, labels=labels, dtype=dtype),
        run(ids.SOFTMAX_CROSSENTROPY, u, one_hot, dtype=dtype),
    ]
    if n <= v:
        forms.append(run_block(ids.SOFTMAX_CROSSENTROPY, u, one_hot, np.ones(v), v, dtype))
    for value, gradient in forms:
        np.testing.assert_allclose(value, wanted, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(gradient, (probabilities - one_hot) / v, atol=np.finfo(dtype).eps)


def test_softmax_crossentropy_of_a_difference_that_overflows_is_right_for_soft_targets(dtype):
    top = float(np.finfo(dtype).max)
    u = np.tile([-top, 0.5 * top, top], (n_lanes(dtype), 1))
    t = np.tile([0.25, 0.25, 0.5], (n_lanes(dtype), 1))
    for value, _ in (
        run(ids.SOFTMAX_CROSSENTROPY, u, t, dtype=dtype),
        run_block(ids.SOFTMAX_CROSSENTROPY, u, t, np.ones(len(u)), 1.0, dtype),
    ):
        np.testing.assert_allclose(value, 0.625 * top, rtol=4 * np.finfo(dtype).eps)


def test_poisson_is_right_up_to_overflow_and_infinite_beyond(dtype):
    wide = np.float64 if dtype == np.float32 else np.longdouble
    last = float(np.log(np.finfo(dtype).max))
    u = np.array([[last - 1e-3, last - 1.5, 0.0, -0.99 * last, -2 * last, -1e30, last + 0.1, 1e30]]).T.astype(dtype)
    lanes = n_lanes(dtype)
    block, ones = np.resize(u, (lanes, 1)), np.ones((lanes, 1))
    for rows, (value, gradient) in (
        (u, run(ids.POISSON, u, np.ones_like(u), norm=1.0, dtype=dtype)),
        (block, run_block(ids.POISSON, block, ones, ones[:, 0], 1.0, dtype)),
    ):
        with np.errstate(over="ignore"):
            rate = np.exp(rows[:, 0].astype(wide)).astype(dtype).astype(wide)
        np.testing.assert_allclose(value, rate - rows[:, 0], rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(gradient[:, 0], rate - 1, rtol=4 * np.finfo(dtype).eps)


def test_binary_crossentropy_keeps_small_losses(dtype):
    # ln(1 + e^-u) is not 0 where 1 + e^-u rounds to 1.
    u = np.array([[20.0], [40.0], [80.0]])
    value, _ = run(ids.BINARY_CROSSENTROPY, u, np.ones((3, 1)), dtype=dtype)
    np.testing.assert_allclose(value, np.exp(-u[:, 0]), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e4])
def test_labels_and_one_hot_rows_give_the_same_to_rounding(scale, dtype):
    for n in WIDTHS:
        rng = np.random.default_rng(n)
        u = rng.standard_normal((40, n)) * scale
        labels = rng.integers(0, n, 40)
        weight = rng.uniform(0, 2, 40)
        one_hot = naive.one_hot(labels, n, dtype)
        a = run(ids.SOFTMAX_CROSSENTROPY, u, np.zeros_like(u), labels=labels, weight=weight, dtype=dtype)
        b = run(ids.SOFTMAX_CROSSENTROPY, u, one_hot, weight=weight, dtype=dtype)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(a[0], b[0], rtol=8 * eps, atol=8 * eps * scale)
        np.testing.assert_allclose(a[1], b[1], rtol=8 * eps, atol=eps)


def test_target_probabilities_need_not_sum_to_one(dtype):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((5, 4)).astype(dtype)
    t = rng.uniform(size=(5, 4)).astype(dtype)
    value, gradient = run(ids.SOFTMAX_CROSSENTROPY, u, t, dtype=dtype)
    true_value, true_gradient = wanted(ids.SOFTMAX_CROSSENTROPY, u.astype(float), t.astype(float), np.ones(5), 5.0)
    np.testing.assert_allclose(value, true_value, rtol=30 * np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, true_gradient, atol=10 * np.finfo(dtype).eps)


def test_one_class_has_no_loss(dtype):
    value, gradient = run(
        ids.SOFTMAX_CROSSENTROPY, np.full((3, 1), 5.0), np.ones((3, 1)), labels=np.zeros(3, np.int64), dtype=dtype
    )
    np.testing.assert_allclose(value, 0, atol=np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, 0, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("labelled", [False, True], ids=["rows", "labels"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_nan_output_gives_a_nan_loss(loss, labelled, dtype):
    for n in (3, 17, 40):
        for place in (0, 1, n - 1):
            u = np.zeros((1, n))
            u[0, place] = np.nan
            label = np.array([n - 2], np.int64)
            t = naive.one_hot(label, n, dtype)
            use = label if labelled and loss == ids.SOFTMAX_CROSSENTROPY else None
            value, gradient = run(loss, u, t, labels=use, dtype=dtype)
            assert np.isnan(value[0]), (n, place)
            assert np.isnan(gradient[0]).any()


def test_overflow_of_a_square_is_not_hidden(dtype):
    u = np.full((1, 3), np.sqrt(np.finfo(dtype).max) * 2)
    for loss in (ids.SQUARED_ERROR, ids.SUM_OF_SQUARES):
        value, _ = run(loss, u, np.zeros((1, 3)), dtype=dtype)
        assert np.isinf(value[0])


# ------------------------------------------------------------------------------------------------- metrics


def metrics_of(metric, u, t, labels, threshold, several, dtype):
    n_rows, n = u.shape
    values = np.empty(n_rows)
    u, t = (np.ascontiguousarray(x, dtype) for x in (u, t))
    row_metrics(metric, u, t, labels, n, n, threshold, several, values)
    return values


def test_accuracy_of_competing_outputs(dtype):
    rng = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    for n in WIDTHS:
        u = rng.standard_normal((50, n)).astype(dtype)
        labels = rng.integers(0, n, 50)
        hits = (u.argmax(axis=1) == labels).astype(float)
        t = naive.one_hot(labels, n, dtype)
        np.testing.assert_array_equal(metrics_of(ids.ACCURACY, u, t * 0, labels, 0.0, True, dtype), hits)
        np.testing.assert_array_equal(metrics_of(ids.ACCURACY, u, t, none, 0.0, True, dtype), hits)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_accuracy_of_independent_outputs_is_a_share(threshold, dtype):
    rng = np.random.default_rng(1)
    for n in WIDTHS:
        u = rng.standard_normal((50, n)).astype(dtype)
        t = rng.integers(0, 2, (50, n)).astype(dtype)
        got = metrics_of(ids.ACCURACY, u, t, np.empty(0, np.int64), threshold, False, dtype)
        np.testing.assert_allclose(got, ((u > threshold) == (t > 0.5)).mean(axis=1), rtol=1e-15)


def test_errors_of_regression(dtype):
    rng = np.random.default_rng(2)
    for n in WIDTHS:
        u, t = rng.standard_normal((2, 50, n)).astype(dtype)
        none = np.empty(0, np.int64)
        e = (u - t).astype(np.float64)
        rtol = 4 * np.finfo(dtype).eps
        np.testing.assert_allclose(
            metrics_of(ids.MEAN_SQUARED_ERROR, u, t, none, 0.0, False, dtype), (e**2).mean(axis=1), rtol=rtol
        )
        np.testing.assert_allclose(
            metrics_of(ids.MEAN_ABSOLUTE_ERROR, u, t, none, 0.0, False, dtype), np.abs(e).mean(axis=1), rtol=rtol
        )


def test_argmax_is_the_first_of_the_largest(dtype):
    row = np.array([1, 5, 5, 2, 9], dtype)
    assert [argmax(row, n) for n in range(1, 6)] == [0, 1, 1, 1, 4]


# ------------------------------------------------------------------------------- blocks of rows, side by side


def run_block(loss, u, t, weight, norm, dtype):
    """Values and gradients of V rows by the kernel that takes them at once."""
    n = u.shape[1]
    block = np.full((n + 1, n_lanes(dtype)), 55, dtype)
    block[:n] = u.T
    values = np.empty(n_lanes(dtype), dtype)
    wanted = np.ascontiguousarray(t.T, dtype)
    p = parameters(loss, n, dtype)
    block_losses(loss, block, wanted, p, weight.astype(dtype), dtype.type(norm), n, values)
    assert (block[n] == 55).all(), "written behind the block"
    return values, block[:n].T


@pytest.mark.parametrize("scale", [3.0, 1e3, 1e4])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_block_value_and_gradient(loss, scale, dtype):
    v = n_lanes(dtype)
    for n in range(1, v + 1):
        rng = np.random.default_rng(n)
        # The logarithm of a rate is no large number.
        u = (rng.standard_normal((v, n)) * (3.0 if loss == ids.POISSON else scale)).astype(dtype)
        u[0] = u[0, 0]
        t = targets(loss, u.shape, rng).astype(dtype)
        weight = rng.uniform(0.1, 2, v).astype(dtype)
        weight[v // 2] = 0
        value, gradient = run_block(loss, u, t, weight, 7.0, dtype)
        w = weight.astype(np.float64)
        true_value, true_gradient = wanted(loss, u.astype(np.float64), t.astype(np.float64), w, 7.0, dtype)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(value, true_value, rtol=20 * eps, atol=10 * eps * scale)
        np.testing.assert_allclose(gradient, true_gradient, rtol=20 * eps, atol=20 * eps)
        assert value[v // 2] == 0
        assert (gradient[v // 2] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_block_rows_do_not_see_each_other(loss, bad, dtype):
    v = n_lanes(dtype)
    for n in {1, 2, 3, v}:
        rng = np.random.default_rng(n)
        u = rng.standard_normal((v, n)).astype(dtype)
        t = naive.one_hot(rng.integers(0, n, v), n, dtype)
        clean = run_block(loss, u, t, np.ones(v), v, dtype)
        row, place = v // 3, n // 2
        u[row, place] = bad
        value, gradient = run_block(loss, u, t, np.ones(v), v, dtype)
        others = np.arange(v) != row
        np.testing.assert_array_equal(value[others], clean[0][others])
        np.testing.assert_array_equal(gradient[others], clean[1][others])
        assert np.isnan(value[row]) if np.isnan(bad) else not -1e30 < value[row] < 1e30 or t[row, place] == 1


def test_block_metrics(dtype):
    v = n_lanes(dtype)
    for n in range(1, v + 1):
        rng = np.random.default_rng(n)
        u = rng.standard_normal((v, n)).astype(dtype)
        u[0] = 1
        labels = rng.integers(0, n, v)
        t = naive.one_hot(labels, n, dtype)
        several = rng.integers(0, 2, (v, n)).astype(dtype)

        def run(metric, targets, threshold, competing, u=u):
            values = np.empty(v, dtype)
            blocks = [np.ascontiguousarray(x.T) for x in (u, targets)]
            block_metrics(metric, *blocks, u.shape[1], threshold, competing, values)
            return values

        eps = np.finfo(dtype).eps
        np.testing.assert_array_equal(run(ids.ACCURACY, t, 0.0, True), u.argmax(axis=1) == labels)
        for threshold in (0.0, 0.5):
            share = ((u > threshold) == (several > 0.5)).mean(axis=1)
            np.testing.assert_allclose(run(ids.ACCURACY, several, threshold, False), share, rtol=2 * eps)
        e = u.astype(np.float64) - t
        np.testing.assert_allclose(run(ids.MEAN_SQUARED_ERROR, t, 0.0, True), (e**2).mean(axis=1), rtol=8 * eps)
        np.testing.assert_allclose(run(ids.MEAN_ABSOLUTE_ERROR, t, 0.0, True), np.abs(e).mean(axis=1), rtol=8 * eps)


def test_block_of_labels(dtype):
    v = n_lanes(dtype)
    labels = np.random.default_rng(0).integers(0, 3, 50)
    order = np.random.default_rng(1).permutation(50)
    for place, rows in [(0, v), (7, v), (50 - v, v), (49, 1), (3, v - 1)]:
        for used in (np.empty(0, np.int64), order):
            t = np.full((4, v), 9, dtype)
            block_targets(labels, used, place, rows, t, 3, 0.0)
            source = np.arange(place, place + rows) if not used.size else used[place : place + rows]
            one_hot = naive.one_hot(labels[source], 3, dtype)
            np.testing.assert_array_equal(t[:3, :rows], one_hot.T)
            assert (t[:3, rows:] == 0).all()
            assert (t[3] == 9).all()
            block_targets(labels, used, place, rows, t, 3, 0.05)
            np.testing.assert_allclose(t[:3, :rows], (0.85 * one_hot + 0.05).T, rtol=1e-6)


# --------------------------------------------------------------------------------- smoothing, and a likelihood


def test_smoothed_labels_are_soft_targets(dtype):
    for n in WIDTHS[1:]:
        rng = np.random.default_rng(n)
        u = rng.standard_normal((20, n)).astype(dtype)
        labels = rng.integers(0, n, 20)
        off = 0.1 / n
        soft = 0.9 * naive.one_hot(labels, n, np.float64) + off
        ld = -(-n // n_lanes(dtype)) * n_lanes(dtype)
        p = np.zeros(ld, dtype)
        p[:n] = off
        t, d, values = np.full((20, ld), 3, dtype), np.empty((20, ld), dtype), np.empty(20, dtype)
        outputs = np.zeros((20, ld), dtype)
        outputs[:, :n] = u
        weight = np.ones(20, dtype)
        row_losses(ids.SOFTMAX_CROSSENTROPY, outputs, t, labels, p, d, ld, n, weight, dtype.type(20), values)
        true_value, true_gradient = wanted(ids.SOFTMAX_CROSSENTROPY, u.astype(float), soft, np.ones(20), 20.0)
        np.testing.assert_allclose(values, true_value, rtol=40 * np.finfo(dtype).eps)
        np.testing.assert_allclose(d[:, :n], true_gradient, atol=10 * np.finfo(dtype).eps)
        assert (d[:, n:] == 0).all()


def test_gaussian_likelihood_of_rows_and_blocks(dtype):
    v = n_lanes(dtype)
    eps = np.finfo(dtype).eps
    for n in (2, 4, v, v + 2, 3 * v + 2):
        rng = np.random.default_rng(n)
        u, t = rng.standard_normal((2, v, n)).astype(dtype)
        weight = rng.uniform(0.1, 2, v).astype(dtype)
        wide = [a.astype(np.float64) for a in (u, t, weight)]
        true_value, true_gradient = wanted(ids.GAUSSIAN_NLL, *wide, float(weight.sum()))
        rows = run(ids.GAUSSIAN_NLL, u, t, weight=weight, dtype=dtype)
        blocks = run_block(ids.GAUSSIAN_NLL, u, t, weight, weight.sum(), dtype) if n <= v else rows
        for value, gradient in (rows, blocks):
            np.testing.assert_allclose(value, true_value, rtol=40 * eps, atol=40 * eps)
            np.testing.assert_allclose(gradient, true_gradient, rtol=40 * eps, atol=40 * eps)


def test_gaussian_likelihood_is_right_where_a_power_alone_would_overflow_or_vanish(dtype):
    v = n_lanes(dtype)
    size, s = (1e19, 100.0) if dtype == np.float32 else (1e155, 800.0)
    m = np.resize([size, -size, 1 / size, 0.0], v)
    u = np.column_stack([m, np.resize([s, s, -s, -0.9 * s], v)]).astype(dtype)
    wide = u.astype(np.float64 if dtype == np.float32 else np.longdouble)
    t = np.zeros_like(u)
    true_value, true_gradient = naive.gaussian_rows(wide, t), naive.gaussian_gradient(wide, t)
    for value, gradient in (
        run(ids.GAUSSIAN_NLL, u, t, norm=1.0, dtype=dtype),
        run_block(ids.GAUSSIAN_NLL, u, t, np.ones(v), 1.0, dtype),
    ):
        np.testing.assert_allclose(value, true_value, rtol=20 * np.finfo(dtype).eps)
        np.testing.assert_allclose(gradient, true_gradient, rtol=20 * np.finfo(dtype).eps)
