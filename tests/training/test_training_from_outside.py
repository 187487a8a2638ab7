"""Gradients of a loss that the caller computes: vjp with params, apply_gradients, train_on_output."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from insides import steps_done
from models import assert_same_parameters, bits, classifier, regressor, table

import fastnn
from fastnn import Dense, Dropout, Model

#: Tolerance of sums that are rounded in different orders, relative to 1.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def numbers(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape)


def squares(targets):
    """The mean squared error of some targets, as `train_on_output` calls it."""

    def loss_and_slope(y):
        e = y - targets
        return float((e * e).mean()), 2 * e / e.size

    return loss_and_slope


def assert_close(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max())


def parameters(model):
    return [*model.weights, *model.biases]


LAYERS = {
    "no hidden layer": [2],
    "narrow": [5, 2],
    "wide": [70, 33, 2],
    "no bias": [Dense(6, "tanh", use_bias=False), Dense(2, use_bias=False)],
    "max_norm": [Dense(6, "sigmoid", max_norm=0.5), Dense(2, max_norm=0.4)],
    "activated": [Dense(6, "gelu"), Dense(2, "tanh")],
}
OPTIONS = {
    "adam": {"optimizer": fastnn.Adam(0.01)},
    "nadam": {"optimizer": "nadam"},
    "averages": {"optimizer": fastnn.Adam(0.01, ema_momentum=0.9)},
    "clipped norm": {"optimizer": fastnn.Adam(0.01, global_clipnorm=0.1)},
    "clipped values": {"optimizer": fastnn.SGD(0.1, weight_decay=0.01, clipvalue=0.01)},
    "schedule": {"optimizer": fastnn.SGD(fastnn.schedules.Cosine(0.1, epochs=5))},
}


# -------------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("n", [1, 45, 3000])
def test_the_gradient_is_that_of_the_loss_of_the_model(layers, n, dtype):
    model = regressor(layers, dtype=dtype).build(3)
    X, y = table(n), numbers(n, 2)
    _, weights, biases = model.gradient(X, y)
    slope = 2 * (model.predict(X) - y) / y.size
    outputs, dX, dW, db = model.vjp(X, slope, params=True)
    assert type(dW) is type(db) is list
    assert_close([*dW, *db], [*weights, *biases], TOLERANCE[dtype.name])
    assert_close([outputs, dX], model.vjp(X, slope), TOLERANCE[dtype.name])
    again = model.vjp(X, lambda y_pred: 2 * (y_pred - y) / y.size, params=True)
    assert [a.tobytes() for a in (again[1], *again[2], *again[3])] == [a.tobytes() for a in (dX, *dW, *db)]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_it_goes_through_an_activation_that_the_loss_contains(activation):
    loss = {"softmax": "softmax_crossentropy", "sigmoid": "binary_crossentropy"}[activation]
    model = Model([6, Dense(3, activation)], loss=loss, seed=0, dtype="float64").build(4)
    X, V = table(20, 4), numbers(20, 3)
    y, dX, dW, db = model.vjp(X, V, params=True)
    assert_close([y], [model.predict(X)], 1e-15)
    assert_close([dX], [np.einsum("no,noi->ni", V, model.jacobian(X))], 1e-13)
    h = 1e-6
    for arrays, found in ((model.weights, dW), (model.biases, db)):
        for k in range(2):
            for place in np.ndindex(arrays[k].shape):
                values = []
                for step in (h, -h):
                    arrays[k][place] += step
                    values.append((V * model.predict(X)).sum())
                    arrays[k][place] -= step
                assert found[k][place] == pytest.approx((values[0] - values[1]) / (2 * h), abs=1e-7)


def test_frozen_layers_have_no_gradient():
    model = regressor((5, 4, 2), dtype="float64").build(3)
    X, V = table(20), numbers(20, 2)
    _, dX, dW, db = model.vjp(X, V, params=True)
    model.trainable = [False, True, False]
    _, same, weights, biases = model.vjp(X, V, params=True)
    assert same.tobytes() == dX.tobytes()
    assert weights[1].tobytes() == dW[1].tobytes()
    assert biases[1].tobytes() == db[1].tobytes()
    for k in (0, 2):
        assert weights[k].shape == dW[k].shape
        assert not weights[k].any()
        assert not biases[k].any()


@pytest.mark.parametrize("layers", [(64, 64, 2), (5, 2)])
def test_any_number_of_threads_gives_the_same_bits(layers, dtype):
    X, y = table(3001), numbers(3001, 2)
    found = []
    for n_threads in (1, 2):
        model = regressor(layers, dtype=dtype, n_threads=n_threads).build(3)
        _, dX, dW, db = model.vjp(X, y, params=True)
        model.apply_gradients(dW, db)
        loss, by_features = model.train_on_output(X, squares(y), input_gradient=True)
        found.append([dX, *dW, *db, *parameters(model), by_features, np.float64(loss)])
    assert [a.tobytes() for a in found[0]] == [a.tobytes() for a in found[1]]


def test_with_params_the_weights_are_those_of_training():
    X, y = table(40), numbers(40, 2)
    model = regressor(dtype="float64", optimizer=fastnn.Adam(0.05, ema_momentum=0.9))
    model.fit(X, y, epochs=3)
    plain = regressor(dtype="float64").build(3)
    plain.weights, plain.biases = model.weights, model.biases
    for found, expected in zip(model.vjp(X, y, params=True)[:2], plain.vjp(X, y), strict=True):
        assert_close([found], [expected], 1e-13)
    assert np.abs(model.vjp(X, y)[0] - plain.vjp(X, y)[0]).max() > 1e-3


def test_rows_that_are_not_kept_are_computed_again(monkeypatch):
    X, y = table(3000), numbers(3000, 2)
    layers = [Dropout(0.2), Dense(20, "tanh"), Dropout(0.3), Dense(2)]
    found = []
    for kept in (1, 1 << 30):
        monkeypatch.setattr("fastnn._engine.output_gradient.KEPT_BYTES", kept)
        model = regressor(layers, dtype="float64").build(3)
        loss, dX = model.train_on_output(X, squares(y), input_gradient=True)
        _, by_features, dW, db = model.vjp(X, y, params=True)
        found.append([dX, *parameters(model), by_features, *dW, *db, np.float64(loss)])
    assert [a.tobytes() for a in found[0]] == [a.tobytes() for a in found[1]]


def test_a_function_may_use_the_model():
    X, y = table(300), numbers(300, 2)
    first, second = (regressor([Dropout(0.4), Dense(20, "tanh"), Dense(2)]).build(3) for _ in range(2))

    def loss_and_slope(outputs):
        first.vjp(2 * X, y, params=True)
        first.jacobian(X)
        first.predict(X)
        return squares(y)(outputs)

    assert first.train_on_output(X, loss_and_slope) == second.train_on_output(X, squares(y))
    assert_same_parameters(first, second)


# ---------------------------------------------------------------------------------------------------- the update


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_apply_gradients_makes_the_update_of_train_on_batch(layers, options, dtype):
    X, y = table(45), numbers(45, 2)
    model, expected = (regressor(layers, dtype=dtype, **options).build(3) for _ in range(2))
    for _ in range(3):
        _, dW, db = model.gradient(X, y)
        assert model.apply_gradients(dW, db) is None
        expected.train_on_batch(X, y)
        assert_same_parameters(model, expected)
    assert steps_done(model) == steps_done(expected) == 3
    assert model.predict(X).tobytes() == expected.predict(X).tobytes()
    assert bits(model) == bits(expected)
    model.fit(X, y, epochs=2)
    expected.fit(X, y, epochs=2)
    assert_same_parameters(model, expected)


def test_apply_gradients_adds_no_penalty():
    X, y = table(45), numbers(45, 2)
    for layers in ((5, 2), (40, 33, 2)):
        model, expected = (
            regressor(layers, dtype="float64", optimizer="sgd", regularizer="l1_l2").build(3) for _ in range(2)
        )
        _, dW, db = model.gradient(X, y)  # with that of the penalty
        model.apply_gradients(dW, db)
        expected.train_on_batch(X, y)
        assert_close(parameters(model), parameters(expected), 1e-15)


def test_apply_gradients_leaves_frozen_layers_and_unused_biases_alone():
    model = regressor([Dense(5), Dense(4, use_bias=False), Dense(2)]).build(3)
    model.trainable = [False, True, True]
    before = copy.copy(model)
    ones = [np.ones_like(w) for w in model.weights], [np.ones_like(b) for b in model.biases]
    model.apply_gradients(*ones)
    for k, changed in enumerate([False, True, True]):
        assert (model.weights[k] != before.weights[k]).any() == changed
    assert [(b != c).any() for b, c in zip(model.biases, before.biases, strict=True)] == [False, False, True]


def test_apply_gradients_diverges_as_train_on_batch_does():
    model = regressor(dtype="float32", optimizer=fastnn.SGD(1e30)).build(3)
    before = [w.copy() for w in model.weights]
    huge = [np.full(w.shape, 1e30) for w in model.weights], [np.zeros(b.shape) for b in model.biases]
    with pytest.raises(fastnn.DivergenceError, match="a weight is no longer finite with learning_rate=1e\\+30"):
        model.apply_gradients(*huge)
    assert all((w == old).all() for w, old in zip(model.weights, before, strict=True))


# ------------------------------------------------------------------------------------------------ train_on_output


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
@pytest.mark.parametrize("n", [1, 45, 3000])
def test_it_is_the_step_of_train_on_batch(n, dropout, options, dtype):
    X, y = table(n), numbers(n, 2)
    layers = [Dropout(0.2), Dense(6, "tanh"), Dropout(0.5), Dense(2)] if dropout else [6, 2]
    model, expected = (regressor(layers, dtype=dtype, regularizer="l2", **options) for _ in range(2))
    for _ in range(3):
        loss = model.train_on_output(X, squares(y.astype(dtype)))
        assert type(loss) is float
        assert loss == pytest.approx(expected.train_on_batch(X, y)["loss"], rel=10 * TOLERANCE[dtype.name])
    # The first steps of Adam divide the gradient by its size, and so its rounding, too.
    assert_close(parameters(model), parameters(expected), 100 * TOLERANCE[dtype.name])
    assert steps_done(model) == 3


def test_the_outputs_are_those_of_predict():
    model = Model([5, Dense(3, "softmax")], loss="softmax_crossentropy", seed=0).build(3)
    X = table()
    expected, seen = model.predict(X), []

    def loss_and_slope(y):
        seen.append(y)
        return 0.0, np.zeros_like(y)

    assert model.train_on_output(X, loss_and_slope) == 0.0
    assert seen[0].tobytes() == expected.tobytes()


def test_a_cross_entropy_from_outside():
    X, labels = table(45), np.arange(45) % 3
    layers = [5, Dense(3, "softmax")]
    model, expected = (classifier(layers, dtype="float64") for _ in range(2))

    def loss_and_slope(p):
        of_label = p[np.arange(45), labels]
        slope = np.zeros_like(p)
        slope[np.arange(45), labels] = -1 / (45 * of_label)
        return -np.log(of_label).mean(), slope

    for _ in range(5):
        loss = model.train_on_output(X, loss_and_slope)
        assert loss == pytest.approx(expected.train_on_batch(X, labels)["loss"], rel=1e-12)
    assert_close(parameters(model), parameters(expected), 1e-10)


def test_two_models_in_a_chain_are_one():
    X, y = table(45), numbers(45, 2)
    whole = regressor([Dense(6, "tanh"), Dense(4, "tanh"), Dense(2)], dtype="float64").build(3)
    lower = regressor([Dense(6, "tanh"), Dense(4, "tanh")], dtype="float64").build(3)
    upper = regressor([Dense(2)], dtype="float64").build(4)
    for k in range(2):
        lower.weights[k], lower.biases[k] = whole.weights[k], whole.biases[k]
    upper.weights[0], upper.biases[0] = whole.weights[2], whole.biases[2]
    for _ in range(3):
        expected = whole.train_on_batch(X, y)["loss"]
        loss = lower.train_on_output(X, lambda h: upper.train_on_output(h, squares(y), input_gradient=True))
        assert loss == pytest.approx(expected, rel=1e-12)
    chained = [*lower.weights, *upper.weights, *lower.biases, *upper.biases]
    assert_close(chained, parameters(whole), 1e-10)


def test_the_input_gradient_has_the_dropout_of_the_step():
    X, y = table(45), numbers(45, 2)
    model = regressor([Dropout(0.5), Dense(2)], dtype="float64", seed=3).build(3)
    _, dX = model.train_on_output(X, squares(y), input_gradient=True)
    share = (dX == 0.0).mean()
    assert 0.3 < share < 0.7
    plain = regressor([Dense(2)], dtype="float64", seed=3).build(3)
    _, dX = plain.train_on_output(X, squares(y), input_gradient=True)
    assert not (dX == 0.0).any()


def test_an_unbuilt_model_is_built():
    pandas = pytest.importorskip("pandas")
    model, expected = regressor(), regressor().build(3)
    X, y = table(), numbers(45, 2)
    frame = pandas.DataFrame(X, columns=list("abc"))
    assert model.train_on_output(frame, squares(y)) == expected.train_on_output(X, squares(y))
    assert_same_parameters(model, expected)
    with pytest.raises(ValueError, match="column 0 of X must be 'a', as in the fit, got 'b'"):
        model.vjp(frame[["b", "a", "c"]], y)


# ------------------------------------------------------------------------------------------------- what is refused


def refused(model, call, error, text):
    before = bits(model)
    with pytest.raises(error, match=text):
        call(model)
    assert bits(model) == before


@pytest.mark.parametrize(
    ("returned", "error", "text"),
    [
        (None, TypeError, r"what f returns must be a tuple \(loss, dloss_dy\), got None"),
        (1.0, TypeError, "what f returns must be a tuple"),
        ((1.0, 2.0, 3.0), TypeError, "what f returns must be a tuple"),
        (("text", np.zeros((45, 2))), TypeError, "the loss that f returns must be a number, got 'text'"),
        ((np.zeros(3), np.zeros((45, 2))), TypeError, "the loss that f returns must be a number"),
        ((1.0, np.zeros((45, 3))), ValueError, r"dloss_dy must be an array of shape \(45, 2\)"),
        ((1.0, None), TypeError, "dloss_dy is None"),
        ((1.0, np.full((45, 2), np.nan)), ValueError, "dloss_dy holds nan"),
    ],
)
def test_what_a_function_may_return(returned, error, text):
    for model in (regressor(), regressor().build(3)):
        refused(model, lambda model: model.train_on_output(table(), lambda y: returned), error, text)


def test_a_loss_that_is_not_finite():
    for loss in (np.nan, np.inf):
        f = lambda y, loss=loss: (loss, np.zeros((45, 2)))  # noqa: E731
        model, text = regressor().build(3), "the loss is no longer finite with learning_rate=0.001"
        refused(model, lambda model, f=f: model.train_on_output(table(), f), fastnn.DivergenceError, text)


def test_an_error_in_the_function():
    def fail(y):
        raise KeyError("mine")

    refused(regressor().build(3), lambda model: model.train_on_output(table(), fail), KeyError, "mine")
    refused(regressor().build(3), lambda model: model.vjp(table(), fail, params=True), KeyError, "mine")


def test_arguments_of_train_on_output():
    f = squares(numbers(45, 2))
    for X in (np.zeros((0, 3)), np.zeros((4, 2)), np.full((4, 3), np.nan)):
        refused(regressor().build(3), lambda model, X=X: model.train_on_output(X, f), ValueError, "X ")
    refused(regressor(), lambda model: model.train_on_output(table(), None), TypeError, "f must be a function")
    refused(
        regressor(), lambda model: model.train_on_output(table(), f, input_gradient=1), TypeError, "input_gradient"
    )
    refused(regressor(()), lambda model: model.train_on_output(table(), f), ValueError, "n_outputs must be given")
    frozen = regressor().build(3)
    frozen.trainable = [False, False]
    refused(frozen, lambda model: model.train_on_output(table(), f), ValueError, "there is nothing to train")
    solver = regressor(optimizer="lbfgs")
    refused(solver, lambda model: model.train_on_output(table(), f), ValueError, "train_on_output")
    broken = regressor().build(3)
    broken.weights[1][0, 0] = np.nan
    refused(broken, lambda model: model.train_on_output(table(), f), ValueError, r"weights\[1\] of the model holds NaN")


def test_no_update_within_an_update():
    model = regressor().build(3)

    def f(y):
        model.train_on_output(table(), squares(y))

    refused(model, lambda model: model.train_on_output(table(), f), RuntimeError, "was called while this model is in")


def test_arguments_of_apply_gradients():
    def zeros(model):
        return [np.zeros(w.shape) for w in model.weights], [np.zeros(b.shape) for b in model.biases]

    model = regressor().build(3)
    dW, db = zeros(model)
    for call, error, text in (
        (lambda model: model.apply_gradients(dW[:1], db), ValueError, "dW must be a sequence of 2 arrays, one per lay"),
        (lambda model: model.apply_gradients(dW, None), TypeError, "db must be a sequence of 2 arrays"),
        (lambda model: model.apply_gradients(dW, [*db[:1], np.zeros(3)]), ValueError, r"db\[1\] must be an array of s"),
        (lambda model: model.apply_gradients([dW[0].T, dW[1]], db), ValueError, r"dW\[0\] must be an array of shape"),
        (lambda model: model.apply_gradients([dW[0] * np.nan, dW[1]], db), ValueError, r"dW\[0\] holds nan"),
        (lambda model: model.apply_gradients([dW[0], "text"], db), TypeError, r"dW\[1\] is a single value"),
    ):
        refused(model, call, error, text)
    refused(regressor(), lambda model: model.apply_gradients(dW, db), ValueError, "the model has no weights yet")
    solver = regressor(optimizer="lbfgs").build(3)
    refused(solver, lambda model: model.apply_gradients(dW, db), ValueError, "apply_gradients")
    model.trainable = [False, False]
    refused(model, lambda model: model.apply_gradients(dW, db), ValueError, "there is nothing to train")


def test_arguments_of_vjp():
    model = regressor().build(3)
    refused(model, lambda model: model.vjp(table(), np.zeros((45, 2)), params="yes"), TypeError, "params must be")
    refused(model, lambda model: model.vjp(table(), np.zeros((45, 3)), params=True), ValueError, "V must be an array")
    refused(model, lambda model: model.vjp(table(), lambda y: 1.0, params=True), TypeError, r"V\(y\) is a single value")
