"""Gradients in double precision: against central differences of the engine's own loss, and against the oracle."""

from __future__ import annotations

import itertools

import ids
import naive
import numpy as np
import pytest
from driver import ACTIVATIONS, LOSSES, LOSSES_OF_ANY_WIDTH, architecture, engine, net_of, problem
from hypothesis import given, settings
from hypothesis import strategies as st
from models import log_cosh, log_cosh_slope, softsign, softsign_slope

import fastnn
from fastnn import Dense, Model, losses
from fastnn._engine.thread_team import ThreadTeam

HIDDEN = {0: [], 1: [7], 3: [7, 17, 4]}
#: Distance of the differences; kinks must be farther away from where they are taken.
STEP = 1e-5
CLEAR = 1e-3


def clear_of_kinks(net, x):
    """Whether no pre-activation and no weight is so near to 0 that a step could cross it."""
    zs, _ = naive.forward(net, x, net.trained_activations)
    kinked = (ids.RELU, ids.LEAKY_RELU, ids.ELU, ids.SELU)
    near = [np.abs(z).min() < CLEAR for z, (code, _) in zip(zs, net.trained_activations, strict=True) if code in kinked]
    near += [np.abs(w).min() < CLEAR for w, (l1, _) in zip(net.weights, net.penalties, strict=True) if l1]
    return not any(near)


def smooth_case(arch, n, *, labels, weighted):
    """An engine and rows without a kink nearby: the first seed that gives such."""
    for seed in range(500):
        made, rows = engine(arch, seed=seed), problem(arch, n, seed=seed, labels=labels, weighted=weighted)
        if clear_of_kinks(net_of(made), rows.x):
            return made, rows
    raise AssertionError("no seed is clear of kinks")


def objective(made, data, team):
    """E + R as the engine counts them."""
    sums, _, _ = made.gradient(data, team=team)
    divisor = 1.0 if made.architecture.loss == ids.SUM_OF_SQUARES else sums.weight
    return sums.loss / divisor + sums.penalty


def central_differences(made, data, team):
    """Gradient with respect to each weight and bias in turn, in the order of weights, then biases."""
    found = []
    for view in (*made.weights(), *made.biases()):
        slope = np.empty(view.shape)
        for place in np.ndindex(view.shape):
            middle = view[place]
            view[place] = middle + STEP
            above = objective(made, data, team)
            view[place] = middle - STEP
            below = objective(made, data, team)
            view[place] = middle
            slope[place] = (above - below) / (2 * STEP)
        found.append(slope)
    return found


def relative_error(a, b):
    """Distance of two arrays by their length."""
    return np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b), 1e-4)


def check(arch, n=5, *, labels=None, weighted=False):
    made, rows = smooth_case(arch, n, labels=labels, weighted=weighted)
    with ThreadTeam(1) as team:
        data = rows.data()
        _, d_weights, d_biases = made.gradient(data, team=team)
        analytic = [*d_weights, *d_biases]
        numeric = central_differences(made, data, team)
    if not arch.use_bias[0]:
        # A net without biases has no gradient for them, whatever the slope there.
        numeric[len(d_weights) :] = [np.zeros_like(b) for b in d_biases]
    for a, b in zip(analytic, numeric, strict=True):
        assert relative_error(a, b) <= 1e-6
    oracle = naive.gradient(net_of(made), *rows.oracle())
    for a, b in zip(analytic, [*oracle[0], *oracle[1]], strict=True):
        assert relative_error(a, b) <= 1e-12


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_loss_and_depth(activation, loss, depth):
    # Softmax stands at the output alone (and exp, of which three in a row overflow), the others everywhere.
    for penalty, weighted in itertools.product([(0.0, 0.0), (0.01, 0.02)], [False, True]):
        arch = architecture(
            [5, *HIDDEN[depth], 4 if loss == "gaussian_nll" else 3],
            hidden="tanh" if activation in ("softmax", "exponential") else activation,
            output=activation,
            loss=loss,
            penalty=penalty,
        )
        for labels in [False, True] if loss == "softmax_crossentropy" else [False]:
            check(arch, weighted=weighted, labels=labels)


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("penalty", [(0.0, 0.0), (0.03, 0.0), (0.0, 0.05), (0.03, 0.05)])
@pytest.mark.parametrize("loss", LOSSES)
def test_penalties_and_sample_weights(loss, penalty, weighted):
    n_out = 4 if loss == "gaussian_nll" else 3
    check(architecture([5, 7, 17, n_out], hidden="elu", loss=loss, penalty=penalty), n=7, weighted=weighted)


@pytest.mark.parametrize(("output", "loss"), [("softmax", "softmax_crossentropy"), ("sigmoid", "binary_crossentropy")])
def test_output_that_the_loss_contains(output, loss):
    for sizes in ([4, 3], [5, 7, 17, 3], [3, 9, 18]):
        check(architecture(sizes, hidden="tanh", output=output, loss=loss, fused_output=True), weighted=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_biases(loss):
    check(architecture([5, 7, 4], hidden="tanh", loss=loss, use_bias=False))


@pytest.mark.parametrize("labels", [False, True], ids=["rows", "labels"])
@pytest.mark.parametrize("n_out", [1, 2, 7, 8, 9, 16, 17, 20])
def test_outputs_around_the_vector_length(n_out, labels):
    # Few outputs are taken in blocks of rows, many row by row.
    for loss in LOSSES if n_out % 2 == 0 else LOSSES_OF_ANY_WIDTH:
        check(architecture([3, n_out], loss=loss), n=9, weighted=True, labels=labels)


@settings(deadline=None, derandomize=True, database=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    n=st.integers(1, 70),
    loss=st.sampled_from(sorted(LOSSES_OF_ANY_WIDTH)),
    hidden=st.sampled_from([name for name in ACTIVATIONS if name not in ("softmax", "exponential")]),
    penalty=st.sampled_from([(0.0, 0.0), (0.01, 0.02)]),
    weighted=st.booleans(),
    n_threads=st.sampled_from([1, 2]),
)
def test_any_net_has_the_oracles_gradient(sizes, n, loss, hidden, penalty, weighted, n_threads):
    arch = architecture(sizes, hidden=hidden, loss=loss, penalty=penalty)
    made, rows = engine(arch, n_threads=n_threads), problem(arch, n, weighted=weighted)
    with ThreadTeam(n_threads) as team:
        sums, d_weights, d_biases = made.gradient(rows.data(), team=team)
    net = net_of(made)
    wanted = naive.gradient(net, *rows.oracle())
    for a, b in zip([*d_weights, *d_biases], [*wanted[0], *wanted[1]], strict=True):
        assert relative_error(a, b) <= 1e-11
    true = naive.evaluate(net, *rows.oracle())
    np.testing.assert_allclose([sums.loss, sums.weight], [true.loss, true.weight], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums.penalty, naive.penalty(net), rtol=1e-12)


#  what users say to a Model


def shares(n, n_classes):
    rows = np.random.default_rng(2).random((n, n_classes))
    return rows / rows.sum(axis=1, keepdims=True)


RNG = np.random.default_rng(1)
ROWS = 11
LABELS, CLASSES = RNG.integers(0, 3, ROWS), np.eye(3)[RNG.integers(0, 3, ROWS)]
VALUES = RNG.standard_normal((ROWS, 3))
COUNTS = RNG.poisson(1.5, (ROWS, 2))

#: Loss, last layer, targets.
HEADS = {
    "smoothed labels": (losses.softmax_crossentropy(0.1), Dense(3), LABELS),
    "smoothed labels, softmax": (losses.softmax_crossentropy(0.1), Dense(3, "softmax"), LABELS),
    "smoothed one-hot rows": (losses.softmax_crossentropy(0.1), Dense(3), CLASSES),
    "smoothed shares": (losses.softmax_crossentropy(0.2), Dense(3), shares(ROWS, 3)),
    "smoothed bits": (losses.binary_crossentropy(0.1), Dense(2), VALUES[:, :2] > 0),
    "smoothed bits, sigmoid": (losses.binary_crossentropy(0.1), Dense(1, "sigmoid"), VALUES[:, 0] > 0),
    "own loss": (fastnn.custom.loss(log_cosh, log_cosh_slope), Dense(3), VALUES),
    "own loss of one output": (fastnn.custom.loss(log_cosh, log_cosh_slope), Dense(1, "softplus"), VALUES[:, 0]),
    "quantiles": (losses.quantile(0.1, 0.5, 0.9), Dense(9), VALUES),
    "one quantile": (losses.quantile(0.3), Dense(3), VALUES),
    "gaussian_nll": ("gaussian_nll", Dense(6), VALUES),
    "gaussian_nll of one target": ("gaussian_nll", Dense(2), VALUES[:, 0]),
    "huber": (losses.huber(0.5), Dense(3), VALUES),
    "poisson": ("poisson", Dense(2), COUNTS),
    "poisson, exponential": ("poisson", Dense(2, "exponential"), COUNTS),
}


def check_model(model, y, sample_weight=None):
    """The gradient is the slope of the loss that comes with it, which is what evaluate returns."""
    X = np.random.default_rng(3).standard_normal((ROWS, 4))
    model.build(4)
    rng = np.random.default_rng(4)
    for bias in model.biases:
        bias[:] = 0.3 * rng.standard_normal(bias.shape)
    loss, d_weights, d_biases = model.gradient(X, y, sample_weight=sample_weight)
    assert loss == pytest.approx(model.evaluate(X, y, sample_weight=sample_weight)["loss"], rel=1e-12)
    for view, told in zip((*model.weights, *model.biases), (*d_weights, *d_biases), strict=True):
        slope = np.empty(view.shape)
        for place in np.ndindex(view.shape):
            middle, sides = view[place], []
            for step in (STEP, -STEP):
                view[place] = middle + step
                sides.append(model.gradient(X, y, sample_weight=sample_weight)[0])
            view[place] = middle
            slope[place] = (sides[0] - sides[1]) / (2 * STEP)
        assert np.abs(slope).max() > 1e-5
        assert relative_error(told, slope) <= 1e-6


@pytest.mark.parametrize("activation", ["gelu", fastnn.custom.activation(softsign, softsign_slope)], ids=["", "own"])
@pytest.mark.parametrize(("loss", "last", "y"), HEADS.values(), ids=HEADS)
def test_gradients_of_models(loss, last, y, activation):
    model = Model([Dense(7, activation), Dense(5, "mish"), last], loss=loss, regularizer="l2", dtype="float64", seed=0)
    check_model(model, y)
    check_model(model, y, np.random.default_rng(5).uniform(0.0, 2.0, ROWS))


@pytest.mark.parametrize("class_weight", [{0: 0.3, 2: 4.0}, "balanced"])
def test_class_weights_weigh_the_gradient(class_weight):
    """A step of plain descent with the rate 1 is the gradient, and class weights are those of rows."""
    X = np.random.default_rng(3).standard_normal((ROWS, 4))
    optimizer = fastnn.SGD(1.0)
    model = Model([Dense(6, "tanh"), 3], loss="softmax_crossentropy", optimizer=optimizer, dtype="float64", seed=0)
    model.build(4)
    if class_weight == "balanced":
        counts = np.bincount(LABELS)
        weight = ROWS / (3 * counts[LABELS])
    else:
        weight = np.array([0.3, 1.0, 4.0])[LABELS]
    check_model(model, LABELS, weight)
    _, d_weights, d_biases = model.gradient(X, LABELS, sample_weight=weight)
    before = [array.copy() for array in (*model.weights, *model.biases)]
    model.train_on_batch(X, LABELS, class_weight=class_weight)
    for old, new, gradient in zip(before, [*model.weights, *model.biases], [*d_weights, *d_biases], strict=True):
        np.testing.assert_allclose(old - new, gradient, rtol=1e-9, atol=1e-14)
