"""Derivatives of a model: against central differences and against each other, and what the calls refuse."""

from __future__ import annotations

import numpy as np
import pytest
from models import bits, classifier, regressor, softsign, softsign_slope, table

import fastnn
from fastnn import Dense, Model
from fastnn.kernels.nn.rules import ACTIVATIONS

#: Tolerance relative to the largest derivative, of sums that are rounded in different orders.
TOLERANCE = {"float32": 3e-4, "float64": 1e-11}
#: Widths of the layers: none hidden, narrow ones, wide ones, and more outputs than lanes of a vector.
SHAPES = [(3,), (1,), (5, 3), (70, 2), (40, 33, 20), (64, 3, 64, 1)]
EVERY = [*(rule.name for rule in ACTIVATIONS), "custom"]


def net(layers=(5, 3), activation="tanh", *, n_features=10, **options):
    """A net with one activation in all its layers; of softmax only in the last one."""
    custom = fastnn.custom.activation(softsign, softsign_slope)
    hidden = {"softmax": "tanh", "custom": custom}.get(activation, activation)
    last = custom if activation == "custom" else activation
    units = [Dense(n, hidden) for n in layers[:-1]] + [Dense(layers[-1], last)]
    made = Model(units, **{"loss": "squared_error", "seed": 0, "dtype": "float64", **options}).build(n_features)
    rng = np.random.default_rng(3)
    for bias in made.biases:
        bias[:] = 0.1 * rng.standard_normal(bias.shape)
    return made


def central_differences(model, X, h=1e-5):
    """The Jacobian (n, O, I)."""
    steps = h * np.eye(X.shape[1])
    return np.stack([(model.predict(X + e) - model.predict(X - e)) / (2 * h) for e in steps], axis=-1)


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


def numbers(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_the_jacobian_is_that_of_central_differences(layers, activation):
    if activation == "softmax" and layers[-1] == 1:
        layers = (*layers[:-1], 2)
    model = net(layers, activation)
    X = 0.5 * table(9, 10)
    J = model.jacobian(X)
    assert J.dtype == np.float64
    assert_close(J, central_differences(model, X), 1e-7)


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_vjp_is_the_product_with_the_jacobian(layers, activation, dtype):
    if activation == "softmax" and layers[-1] == 1:
        layers = (*layers[:-1], 2)
    model = net(layers, activation, dtype=dtype)
    X, V = 0.3 * table(150, 10), numbers(150, layers[-1])
    y, dX = model.vjp(X, V)
    assert y.dtype == dX.dtype == dtype
    assert y.tobytes() == model.predict(X).tobytes()
    assert_close(dX, np.einsum("no,noi->ni", V, model.jacobian(X)), TOLERANCE[dtype.name])


def test_a_function_of_the_outputs():
    model = net()
    X, targets = table(20, 10), numbers(20, 3)
    seen = []

    def slope(y):
        seen.append(y)
        return y - targets

    y, dX = model.vjp(X, slope)
    assert len(seen) == 1
    assert seen[0].tobytes() == y.tobytes()
    assert dX.tobytes() == model.vjp(X, y - targets)[1].tobytes()


@pytest.mark.parametrize("rows", [1, 2, 7, 129, 1000])
def test_rows_do_not_depend_on_each_other(rows, dtype):
    model = net((40, 33, 5), dtype=dtype)
    X, V = table(1000, 10), numbers(1000, 5)
    dX, J = model.vjp(X, V)[1], model.jacobian(X)
    assert model.vjp(X[-rows:], V[-rows:])[1] == pytest.approx(dX[-rows:], abs=TOLERANCE[dtype.name])
    assert model.jacobian(X[-rows:]) == pytest.approx(J[-rows:], abs=TOLERANCE[dtype.name])


def test_any_number_of_threads_gives_the_same_bits(dtype):
    X, V, y = table(3001, 10), numbers(3001, 3), numbers(3001, 3)
    found = []
    for n_threads in (1, 2, 3):
        model = net((64, 64, 3), dtype=dtype, n_threads=n_threads)
        found.append([*model.vjp(X, V), model.jacobian(X), model.input_gradient(X, y), model.hidden(X)])
    for others in found[1:]:
        assert [a.tobytes() for a in others] == [a.tobytes() for a in found[0]]


@pytest.mark.parametrize("layers", [(3,), (5, 4, 3)])
def test_hidden_is_the_output_of_a_layer(layers, dtype):
    model = net(layers, dtype=dtype)
    X = table(33, 10)
    x = X.astype(dtype)
    for k, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = np.tanh(x @ w + b)
        for index in (k, k - len(layers)):
            assert model.hidden(X, index).dtype == dtype
            assert_close(model.hidden(X, layer=index), x, TOLERANCE[dtype.name])
    assert model.hidden(X, -1).tobytes() == model.predict(X).tobytes()


LOSSES = {
    "squared_error": ("identity", lambda n: numbers(n, 4)),
    "absolute_error": ("tanh", lambda n: numbers(n, 4)),
    "sum_of_squares": ("identity", lambda n: numbers(n, 4)),
    "huber": ("identity", lambda n: numbers(n, 4)),
    "quantile": ("identity", lambda n: numbers(n, 4)),
    "gaussian_nll": ("identity", lambda n: numbers(n, 2)),
    "poisson": ("exponential", lambda n: np.abs(numbers(n, 4)).round()),
    "binary_crossentropy": ("sigmoid", lambda n: (numbers(n, 4) > 0).astype(float)),
    "softmax_crossentropy": ("softmax", lambda n: np.arange(n) % 4),
}


def differences_of_losses(model, X, y, **options):
    """The derivatives of each row's loss by central differences of `evaluate`."""
    h, found = 1e-5, np.empty_like(X)
    for i in range(len(X)):
        for j in range(X.shape[1]):
            losses = []
            for step in (h, -h):
                x = X[i : i + 1].copy()
                x[0, j] += step
                losses.append(model.evaluate(x, y[i : i + 1], **options)["loss"])
            found[i, j] = (losses[0] - losses[1]) / (2 * h)
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("linear", [False, True], ids=["activated", "linear"])
def test_input_gradient_is_that_of_each_rows_own_loss(loss, linear):
    activation, targets = LOSSES[loss]
    layers = [Dense(6, "tanh"), Dense(4, "identity" if linear else activation)]
    model = Model(layers, loss=loss, seed=0, dtype="float64").build(3)
    X, y = table(11, 3), targets(11)
    found = model.input_gradient(X, y)
    assert_close(found, differences_of_losses(model, X, y), 1e-7)
    weight = np.linspace(0.0, 3.0, 11)
    assert_close(model.input_gradient(X, y, weight), weight[:, None] * found, 1e-12)
    assert_close(model.input_gradient(X, y, sample_weight=weight), weight[:, None] * found, 1e-12)


def test_input_gradient_of_many_outputs_and_label_smoothing(dtype):
    loss = fastnn.losses.softmax_crossentropy(label_smoothing=0.1)
    model = Model([8, 30], loss=loss, seed=0, dtype=dtype).build(3)
    X, labels = table(300, 3), np.arange(300) % 30
    smooth = np.full((300, 30), 0.1 / 30)
    smooth[np.arange(300), labels] += 0.9
    dX = model.vjp(X, model.predict_proba(X) - smooth)[1]
    assert_close(model.input_gradient(X, labels), dX, TOLERANCE[dtype.name])


def test_the_penalty_and_the_other_rows_are_no_part_of_it():
    X, y = table(8), np.arange(8) % 3
    plain, penalized = classifier(dtype="float64").build(3), classifier(dtype="float64", regularizer="l2").build(3)
    assert plain.input_gradient(X, y).tobytes() == penalized.input_gradient(X, y).tobytes()
    assert_close(plain.input_gradient(X[3:4], y[3:4]), plain.input_gradient(X, y)[3:4], 1e-12)


def test_the_weights_are_those_of_predictions():
    X, y = table(40, 3), numbers(40, 2)
    model = regressor(dtype="float64", optimizer=fastnn.Adam(0.05, ema_momentum=0.9))
    model.fit(X, y, epochs=3)
    plain = regressor(dtype="float64").build(3)
    plain.weights, plain.biases = model.averages
    V = numbers(40, 2)
    assert model.vjp(X, V)[1].tobytes() == plain.vjp(X, V)[1].tobytes()
    assert model.jacobian(X).tobytes() == plain.jacobian(X).tobytes()
    assert model.hidden(X).tobytes() == plain.hidden(X).tobytes()
    assert model.input_gradient(X, y).tobytes() == plain.input_gradient(X, y).tobytes()
    before = model.jacobian(X)
    model.fit(X, y, epochs=1)
    assert not np.array_equal(before, model.jacobian(X))


def test_dropout_and_frozen_layers_change_nothing():
    X = table(12, 3)
    plain = Model([6, 2], loss="squared_error", seed=0).build(3)
    other = Model([fastnn.Dropout(0.5), 6, fastnn.Dropout(0.5), 2], loss="squared_error", seed=0).build(3)
    other.trainable = [False, True]
    assert plain.jacobian(X).tobytes() == other.jacobian(X).tobytes()
    assert plain.input_gradient(X, numbers(12, 2)).tobytes() == other.input_gradient(X, numbers(12, 2)).tobytes()


def test_other_forms_of_the_rows():
    pandas = pytest.importorskip("pandas")
    model = net((5, 3), n_features=4)
    X, V = table(9, 4), numbers(9, 3)
    expected = [a.tobytes() for a in (*model.vjp(X, V), model.jacobian(X), model.hidden(X))]
    strided = np.asfortranarray(X)
    frozen = X.copy()
    frozen.setflags(write=False)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    for form in (strided, frozen, frame, X.tolist(), X.astype(">f8")):
        found = (*model.vjp(form, V.astype(">f8")), model.jacobian(form), model.hidden(form))
        assert [a.tobytes() for a in found] == expected


def test_results_belong_to_the_caller():
    model = net()
    X, V = table(9, 10), numbers(9, 3)
    first = model.vjp(X, V)[1]
    kept = first.copy()
    model.vjp(2 * X, V)
    model.jacobian(3 * X)
    assert first.tobytes() == kept.tobytes()
    first[:] = 0.0


CALLS = {
    "vjp": lambda model, X: model.vjp(X, np.zeros((len(X), 3))),
    "jacobian": lambda model, X: model.jacobian(X),
    "hidden": lambda model, X: model.hidden(X),
    "input_gradient": lambda model, X: model.input_gradient(X, np.zeros((len(X), 3))),
}


@pytest.mark.parametrize("call", CALLS)
def test_wrong_rows_are_refused_as_by_predict(call):
    model = net(n_features=4)
    before = bits(model)
    for X in (
        np.zeros((0, 4)), np.zeros((3, 5)), np.zeros(4), np.zeros((2, 3, 4)), np.full((2, 4), np.nan),
        np.full((2, 4), np.inf), [["a", "b", "c", "d"]],
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)) as expected:
            model.predict(X)
        with pytest.raises(expected.type) as caught:
            CALLS[call](model, X)
        assert str(caught.value) == str(expected.value)
    with pytest.raises(ValueError, match="has no weights yet"):
        CALLS[call](regressor(), table(2, 3))
    assert bits(model) == before


@pytest.mark.parametrize(
    ("V", "error", "text"),
    [
        (np.zeros((4, 2)), ValueError, r"V must be an array of shape \(4, 3\) \(n, n_outputs\), got shape \(4, 2\)"),
        (np.zeros((5, 3)), ValueError, r"V must be an array of shape \(4, 3\)"),
        (np.zeros(4), ValueError, r"V must be an array of shape \(4, 3\)"),
        (np.full((4, 3), np.nan), ValueError, "V holds nan at row 0, column 0"),
        (None, TypeError, "V is None"),
        ("text", TypeError, "V"),
        (lambda y: y[:, 0], ValueError, r"V\(y\) must be an array of shape \(4, 3\)"),
        (lambda y: None, TypeError, r"V\(y\) is None"),
    ],
)
def test_wrong_vectors(V, error, text):
    with pytest.raises(error, match=text):
        net().vjp(table(4, 10), V)


@pytest.mark.parametrize(
    ("layer", "error", "text"),
    [
        (2, ValueError, "layer must be from -2 to 1, got 2. The model has 2 layers."),
        (-3, ValueError, "layer must be from -2 to 1, got -3. The model has 2 layers."),
        (0.0, TypeError, "layer must be an integer, got 0.0."),
        ("0", TypeError, "layer must be an integer, got '0'."),
        (True, TypeError, "layer must be an integer, got True."),
    ],
)
def test_wrong_layers(layer, error, text):
    with pytest.raises(error) as caught:
        net().hidden(table(4, 10), layer)
    assert str(caught.value) == text


def test_the_last_hidden_layer_of_a_net_without_one():
    with pytest.raises(ValueError, match="layer must be from -1 to 0, got -2"):
        net((3,)).hidden(table(4, 10))
