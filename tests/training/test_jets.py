"""Second derivatives: jvp, jet, hvp, and training on losses of derivatives, against differences of first ones."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_same_parameters, bits, regressor, softsign, softsign_slope, table

import fastnn
from fastnn import Dense, Dropout, Model
from fastnn.kernels.nn.rules import ACTIVATIONS

SMOOTH = [rule.name for rule in ACTIVATIONS if rule.is_smooth]
ROUGH = [rule.name for rule in ACTIVATIONS if not rule.is_smooth]
SHAPES = [(3,), (5, 3), (70, 2), (40, 33, 20)]
TOLERANCE = {"float32": 3e-4, "float64": 1e-11}
H = 1e-5


def numbers(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape)


def net(layers=(5, 3), activation="tanh", **options):
    """A net of six features with one activation in all its layers; of softmax only in the last one."""
    hidden = "tanh" if activation == "softmax" else activation
    units = [Dense(n, hidden) for n in layers[:-1]] + [Dense(layers[-1], activation)]
    return Model(units, **{"loss": "squared_error", "seed": 0, "dtype": "float64", **options}).build(6)


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("activation", [*SMOOTH, *ROUGH])
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_jvp_is_the_product_with_the_jacobian_and_the_transpose_of_vjp(layers, activation, dtype):
    model = net(layers, activation, dtype=dtype)
    X, U, V = 0.3 * table(150, 6), numbers(150, 6), numbers(150, layers[-1])
    y, dy = model.jvp(X, U)
    assert y.dtype == dy.dtype == dtype
    assert y.tobytes() == model.predict(X).tobytes()
    assert_close(dy, np.einsum("noi,ni->no", model.jacobian(X), U), TOLERANCE[dtype.name])
    dX = model.vjp(X, V)[1]
    assert_close((V * dy).sum(axis=1), (dX * U).sum(axis=1), TOLERANCE[dtype.name])


def test_jvp_of_a_custom_activation():
    custom = fastnn.custom.activation(softsign, softsign_slope)
    model = net((5, 3), custom)
    X, U = table(9, 6), numbers(9, 6)
    differences = (model.predict(X + H * U) - model.predict(X - H * U)) / (2 * H)
    assert_close(model.jvp(X, U)[1], differences, 1e-8)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_second_derivatives_are_differences_of_first_ones(layers, activation):
    model = net(layers, activation)
    X, U, V = 0.4 * table(37, 6), numbers(37, 6), numbers(37, layers[-1])
    y, dy, d2y = model.jet(X, U)
    assert_close(y, model.predict(X), 1e-14)
    assert_close(dy, model.jvp(X, U)[1], 1e-13)
    assert_close(d2y, (model.jvp(X + H * U, U)[1] - model.jvp(X - H * U, U)[1]) / (2 * H), 1e-8)
    differences = (model.vjp(X + H * U, V)[1] - model.vjp(X - H * U, V)[1]) / (2 * H)
    assert_close(model.hvp(X, U, V), differences, 1e-8)
    # u^T H u is the second derivative along u.
    assert_close((model.hvp(X, U, V) * U).sum(axis=1), (V * d2y).sum(axis=1), 1e-12)
    assert_close(model.hvp(X, U), model.hvp(X, U, np.ones_like(V)), 1e-15)


def loss_of_jets(model, X, directions, a, b, c):
    """A loss that is linear in outputs, first and second derivatives."""
    total = 0.0
    for k, u in enumerate(directions):
        y, dy, d2y = model.jet(X, np.tile(u, (len(X), 1)))
        total += (b[k] * dy).sum() + (c[k] * d2y).sum()
    return total + (a * y).sum()


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("layers", [(3,), (5, 3), (40, 33, 20), (70, 2)], ids=str)
def test_training_on_derivatives_follows_the_gradient(layers, activation):
    model = net(layers, activation)
    stepped = net(layers, activation, optimizer=fastnn.SGD(1.0))
    X, directions = 0.4 * table(37, 6), numbers(2, 6, seed=1)
    a, b, c = numbers(37, layers[-1]), numbers(2, 37, layers[-1], seed=2), numbers(2, 37, layers[-1], seed=3)

    def f(y, dy, d2y):
        return (a * y).sum() + (b * dy).sum() + (c * d2y).sum(), a, b, c

    loss, dX = stepped.train_on_output(X, f, directions=directions, input_gradient=True)
    assert loss == pytest.approx(loss_of_jets(model, X, directions, a, b, c), rel=1e-10)
    rng = np.random.default_rng(7)
    for own, new in zip((*model.weights, *model.biases), (*stepped.weights, *stepped.biases), strict=True):
        gradient, step, start = own - new, rng.standard_normal(own.shape), own.copy()
        own[...] = start + H * step
        above = loss_of_jets(model, X, directions, a, b, c)
        own[...] = start - H * step
        below = loss_of_jets(model, X, directions, a, b, c)
        own[...] = start
        assert (gradient * step).sum() == pytest.approx((above - below) / (2 * H), rel=3e-6, abs=1e-6)
    step = rng.standard_normal(X.shape)
    above = loss_of_jets(model, X + H * step, directions, a, b, c)
    below = loss_of_jets(model, X - H * step, directions, a, b, c)
    assert (dX * step).sum() == pytest.approx((above - below) / (2 * H), rel=3e-6, abs=1e-6)


def test_none_is_zeros_and_a_loss_of_values_is_that_without_directions():
    X, y = table(45, 6), numbers(45, 3)
    models = [net(optimizer=fastnn.SGD(0.1), regularizer="l2") for _ in range(3)]

    def f(outputs):
        return float(((outputs - y) ** 2).mean()), 2 * (outputs - y) / y.size

    losses = [
        models[0].train_on_output(X, f),
        models[1].train_on_output(X, lambda p, dp, d2p: (*f(p), None, None), directions=np.eye(6)),
        models[2].train_on_output(X, lambda p, dp, d2p: (*f(p), 0 * dp, 0 * d2p), directions=np.eye(6)),
    ]
    assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-14)
    assert_same_parameters(models[1], models[2])
    for k in range(2):
        assert_close(models[1].weights[k], models[0].weights[k], 1e-14)
        assert_close(models[1].biases[k], models[0].biases[k], 1e-14)


def test_frozen_layers_and_unused_biases():
    model = Model([Dense(5, "tanh"), Dense(4, "tanh", use_bias=False), Dense(1)], loss="squared_error", seed=0).build(6)
    model.trainable = [False, True, True]
    before = [w.copy() for w in model.weights], [b.copy() for b in model.biases]

    def f(y, dy, d2y):
        return 1.0, np.ones_like(y), np.ones_like(dy), np.ones_like(d2y)

    model.train_on_output(table(30, 6), f, directions=np.eye(6))
    assert [bool((w != v).any()) for w, v in zip(model.weights, before[0], strict=True)] == [False, True, True]
    assert [bool((w != v).any()) for w, v in zip(model.biases, before[1], strict=True)] == [False, False, True]


@pytest.mark.parametrize("layers", [(64, 64, 3), (5, 3)])
def test_any_number_of_threads_gives_the_same_bits(layers, monkeypatch, dtype):
    X, U, V = table(3001, 6), numbers(3001, 6), numbers(3001, 3)
    found = []
    for n_threads, kept in ((1, 1 << 30), (2, 1 << 30), (1, 1)):
        monkeypatch.setattr("fastnn._engine.jets.KEPT_BYTES", kept)
        model = net(layers, dtype=dtype, n_threads=n_threads)
        results = [*model.jvp(X, U), *model.jet(X, U), model.hvp(X, U, V)]
        model.train_on_output(
            X, lambda y, dy, d2y: (1.0, y / 3001, dy / 3001, d2y / 3001), directions=np.eye(6)[:2]
        )  # fmt: skip
        found.append([*results, *model.weights, *model.biases])
    assert [a.tobytes() for a in found[1]] == [a.tobytes() for a in found[0]]
    # In smaller chunks the rows have the same bits, and the sums over them another order.
    assert [a.tobytes() for a in found[2][:6]] == [a.tobytes() for a in found[0][:6]]
    for own, other in zip(found[2][6:], found[0][6:], strict=True):
        assert_close(own, other, TOLERANCE[dtype.name])


def test_the_jacobian_from_the_inputs_up(dtype):
    """More outputs than features: one way up per feature in place of one way down per output."""
    for layers, features in (((30,), 3), ((40, 33, 20), 3), ((2, 30), 70), ((2, 90), 70)):
        model = Model([Dense(n, "gelu") for n in layers], loss="squared_error", seed=0, dtype=dtype).build(features)
        X = table(150, features)
        J = model.jacobian(X)
        for o in (0, layers[-1] - 1):
            V = np.zeros((150, layers[-1]))
            V[:, o] = 1.0
            assert_close(J[:, o], model.vjp(X, V)[1], TOLERANCE[dtype.name])


def test_a_differential_equation_is_solved():
    """The solution of u'' = -u on [0, 1] with u(0) = 0, u(1) = sin 1 is sin x."""
    model = Model([Dense(12, "tanh"), Dense(1)], loss="squared_error", seed=0, dtype="float64", optimizer="adam")
    model.optimizer = fastnn.Adam(0.01)
    x = np.linspace(0.0, 1.0, 33)[:, None]
    ends, values = [0, -1], np.array([[0.0], [np.sin(1.0)]])

    def residual(y, dy, d2y):
        r, e = d2y[0] + y, y[ends] - values
        by_y = 2 * r / len(x)
        by_y[ends] += 2 * e
        return (r * r).mean() + (e * e).sum(), by_y, None, 2 * r[None] / len(x)

    losses = [model.train_on_output(x, residual, directions=[[1.0]]) for _ in range(1500)]
    assert losses[-1] < 1e-3 * losses[0]
    assert np.abs(model.predict(x) - np.sin(x)).max() < 5e-3


# ------------------------------------------------------------------------------------------------- what is refused


def refused(model, call, error, text):
    before = bits(model)
    with pytest.raises(error, match=text):
        call(model)
    assert bits(model) == before


@pytest.mark.parametrize("activation", ROUGH)
def test_activations_without_second_derivatives(activation):
    model, X = net((5, 3), activation), table(4, 6)
    text = rf"needs second derivatives, but layers\[0\] has the activation '{activation}'"
    refused(model, lambda model: model.jet(X, X), ValueError, f"jet {text}")
    refused(model, lambda model: model.hvp(X, X), ValueError, f"hvp {text}")
    refused(
        model, lambda model: model.train_on_output(X, len, directions=np.eye(6)), ValueError,
        f"train_on_output with directions {text}",
    )  # fmt: skip
    model.jvp(X, X)


def test_a_custom_activation_has_no_second_derivative():
    model = net((5, 3), fastnn.custom.activation(softsign, softsign_slope, name="mine"))
    with pytest.raises(ValueError, match=r"layers\[0\] has the activation 'mine', for which there are none"):
        model.hvp(table(4, 6), table(4, 6))


@pytest.mark.parametrize("call", ["jvp", "jet", "hvp"])
def test_wrong_arguments(call):
    model, X = net(), table(4, 6)
    for wrong in (np.zeros((0, 6)), np.zeros((3, 5)), np.zeros(6), np.full((2, 6), np.nan), [["a"] * 6]):
        with pytest.raises((ValueError, TypeError)) as expected:
            model.predict(wrong)
        refused(model, lambda model, X=wrong: getattr(model, call)(X, X), expected.type, "X ")
    for U, error, text in (
        (np.zeros((4, 5)), ValueError, r"U must be an array of shape \(4, 6\) \(n, n_features\), got shape \(4, 5\)"),
        (np.zeros((1, 6)), ValueError, r"U must be an array of shape \(4, 6\)"),
        (np.full((4, 6), np.inf), ValueError, "U holds inf"),
        (None, TypeError, "U is None"),
    ):
        refused(model, lambda model, U=U: getattr(model, call)(X, U), error, text)
    with pytest.raises(ValueError, match="has no weights yet"):
        getattr(regressor(), call)(X, X)
    if call == "hvp":
        refused(model, lambda model: model.hvp(X, X, np.zeros((4, 2))), ValueError, "V must be an array of shape")


@pytest.mark.parametrize(
    ("directions", "error", "text"),
    [
        (np.eye(5), ValueError, "directions has 5 features"),
        (np.zeros((0, 6)), ValueError, "directions has shape"),
        (np.ones(6), ValueError, "directions has shape"),
        (np.full((1, 6), np.nan), ValueError, "directions holds nan"),
        ("text", TypeError, "directions"),
    ],
)
def test_wrong_directions(directions, error, text):
    refused(net(), lambda model: model.train_on_output(table(4, 6), len, directions=directions), error, text)


def test_what_a_function_of_derivatives_may_return():
    zeros, directions = np.zeros((4, 3)), np.eye(6)[:1]
    for returned, error, text in (
        ((1.0, zeros), TypeError, r"what f returns must be a tuple \(loss, dloss_dy, dloss_ddy, dloss_dd2y\)"),
        ((1.0, zeros, zeros, None), ValueError, r"dloss_ddy must be an array of shape \(1, 4, 3\) \(k, n, n_outputs\)"),
        ((1.0, zeros, None, zeros), ValueError, r"dloss_dd2y must be an array of shape \(1, 4, 3\)"),
        ((1.0, zeros[:2], None, None), ValueError, r"dloss_dy must be an array of shape \(4, 3\)"),
        ((np.nan, zeros, None, None), fastnn.DivergenceError, "the loss is no longer finite"),
    ):
        f = lambda y, dy, d2y, returned=returned: returned  # noqa: E731
        refused(net(), lambda model, f=f: model.train_on_output(table(4, 6), f, directions=directions), error, text)


def test_dropout_is_refused():
    model = Model([Dropout(0.5), Dense(3, "tanh")], loss="squared_error", seed=0).build(6)
    call = lambda model: model.train_on_output(table(4, 6), len, directions=np.eye(6))  # noqa: E731
    refused(model, call, ValueError, r"needs a model without dropout, but layers\[0\] has 0.5")
