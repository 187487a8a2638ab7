"""Options of training: dropout, limits, averages, augmentation, custom functions."""

from __future__ import annotations

import copy
import io
import pickle

import numba
import numpy as np
import pytest
from models import assert_same_parameters, log_cosh, log_cosh_slope, softsign, softsign_slope

import fastnn
from fastnn import Adam, AdamW, Augmentation, Dense, Dropout, Lion, Model, NAdam
from fastnn.kernels.lang.compiler import JIT_DISABLED


def data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(np.int64)


def classifier(layers=(16, 2), **settings):
    return Model(list(layers), **{"loss": "softmax_crossentropy", "seed": 1, **settings})


#  layers


def test_dropout_becomes_part_of_the_layer_after_it():
    model = classifier([Dropout(0.2), 16, Dropout(0.5), Dense(2)])
    assert model.layers == (Dense(16, "relu", dropout=0.2), Dense(2, dropout=0.5))
    assert len(classifier([Dropout(0.1), 2]).layers) == 1


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([16, Dropout(0.5)], r"layers\[1\], Dropout\(rate=0.5\), is the last"),
        ([Dropout(0.5), Dropout(0.1), 2], r"layers\[1\].*follows another one"),
        ([Dropout(0.5), Dense(2, dropout=0.1)], r"layers\[1\] has dropout=0.1 and stands after"),
    ],
)
def test_dropout_where_it_makes_no_sense(layers, match):
    with pytest.raises(ValueError, match=match):
        classifier(layers)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan, "0.5", True, None])
def test_rates_of_dropout(rate):
    with pytest.raises((TypeError, ValueError), match="rate must be"):
        Dropout(rate)
    with pytest.raises((TypeError, ValueError), match="dropout must be"):
        Dense(3, dropout=rate)


def test_dropout_regularizes():
    X, y = data(100)
    y[::5] = 1 - y[::5]  # random labels, which a net can only memorize
    X_test, y_test = data(2000, seed=1)
    scores = {}
    for rate in (0.0, 0.5):
        model = classifier([64, Dropout(rate), 64, Dropout(rate), 2], optimizer=Adam(3e-3))
        model.fit(X, y, epochs=200)
        scores[rate] = model.evaluate(X_test, y_test)["loss"]
    assert scores[0.5] < 0.7 * scores[0.0]


def test_max_norm():
    X, y = data()
    model = classifier([Dense(16, "relu", max_norm=0.5), 2])
    model.fit(X, y, epochs=20)
    assert np.linalg.norm(model.weights[0], axis=0).max() == pytest.approx(0.5, rel=1e-5)
    assert np.linalg.norm(model.weights[1], axis=0).max() > 0.6
    for bad in (0, -1.0, np.inf):
        with pytest.raises(ValueError, match="max_norm must be"):
            Dense(3, max_norm=bad)


def test_frozen_layers_and_thawed_ones():
    X, y = data()
    model = classifier([Dense(16, "relu", trainable=False), 2])
    assert model.trainable == [False, True]
    model.build(6)
    first = model.weights[0].copy()
    model.fit(X, y, epochs=2)
    np.testing.assert_array_equal(model.weights[0], first)
    _, weights, biases = model.gradient(X, y)
    assert not weights[0].any()
    assert not biases[0].any()
    assert weights[1].any()
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.trainable == [False, True]
    for one in (model, loaded):
        one.trainable = [True, True]
        one.fit(X, y, epochs=1)
    assert_same_parameters(model, loaded)
    assert not np.array_equal(model.weights[0], first)
    with pytest.raises(ValueError, match="a bool for each of the 2 layers"):
        model.trainable = [True]


def test_the_summary_has_the_settings_that_are_not_defaults():
    model = classifier([Dense(16, "relu", max_norm=2), Dropout(0.25), Dense(8, trainable=False), 2])
    head, first, second, third, _ = summary_of(model).splitlines()
    assert head.endswith("parameters")
    assert first.endswith("?  max_norm=2")
    assert second.endswith("136  dropout=0.25, frozen")
    assert third.endswith("18")


def test_nothing_to_train_is_no_training():
    X, y = data()
    model = classifier()
    model.trainable = [False, False]
    with pytest.raises(ValueError, match="all layers are frozen"):
        model.fit(X, y)
    assert not model.built


def test_a_new_head_on_layers_that_were_learnt():
    X, y = data()
    model = classifier([16, 8, 2])
    model.fit(X, y, epochs=20)
    with pytest.raises(ValueError, match="at least one must be kept"):
        model.replace_head([3], n_replaced=3)
    other = model.replace_head([12, 1], loss="squared_error", optimizer="nadam", seed=5)
    assert [layer.units for layer in other.layers] == [16, 8, 12, 1]
    assert other.trainable == [False, False, True, True]
    assert other.seed == 5
    for k in (0, 1):
        np.testing.assert_array_equal(other.weights[k], model.weights[k])
        np.testing.assert_array_equal(other.biases[k], model.biases[k])
    other.fit(X, X[:, 0] * X[:, 1], epochs=3)
    np.testing.assert_array_equal(other.weights[0], model.weights[0])
    assert other.biases[3].any()
    other.trainable = [True] * 4
    other.fit(X, X[:, 0] * X[:, 1], epochs=1)
    assert not np.array_equal(other.weights[0], model.weights[0])
    before = model.weights[0].copy()
    other.weights[0][:] = 0
    np.testing.assert_array_equal(model.weights[0], before)  # copies


def test_transfer_learns_faster_from_few_rows():
    X, y = data(4000)
    model = classifier([32, 16, 2], optimizer=Adam(3e-3))
    model.fit(X, y, epochs=20)
    few, targets = X[:40], 1 - y[:40]
    X_test, y_test = data(2000, seed=1)
    transferred = model.replace_head([2])
    fresh = classifier([32, 16, 2])
    scores = []
    for one in (transferred, fresh):
        one.fit(few, targets, epochs=100)
        scores.append(one.evaluate(X_test, 1 - y_test)["accuracy"])
    assert scores[0] > scores[1] + 0.05


#  optimizers


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(3e-3),
        Adam(3e-3, amsgrad=True),
        NAdam(3e-3),
        Lion(1e-3, weight_decay=0.1),
        Adam(3e-3, clipvalue=0.1),
        fastnn.SGD(0.5, global_clipnorm=0.3),
        Adam(3e-3, ema_momentum=0.9),
        NAdam(3e-3, ema_momentum=0.99, global_clipnorm=1.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("layers", [(16, 2), (Dropout(0.1), Dense(16, "gelu", max_norm=2.0), Dropout(0.2), 2)], ids=str)
def test_training_goes_on_from_a_file_to_the_bit(optimizer, layers, tmp_path):
    X, y = data()
    options = {"batch_size": 32, "augmentation": Augmentation(noise=0.05, mixup=0.2), "validation_split": 0.1}
    whole, cut = classifier(layers, optimizer=optimizer), classifier(layers, optimizer=optimizer)
    start = classifier(layers).build(6)
    before = start.evaluate(X, y)["loss"]
    record = whole.fit(X, y, epochs=7, **options)
    cut.fit(X, y, epochs=3, **options)
    cut.save(tmp_path / "model.npz")
    loaded = fastnn.load(tmp_path / "model.npz")
    assert loaded.optimizer == optimizer
    np.testing.assert_array_equal(loaded.predict(X), cut.predict(X))
    rest = loaded.fit(X, y, epochs=4, **options)
    assert_same_parameters(whole, loaded)
    np.testing.assert_array_equal(whole.predict(X), loaded.predict(X))
    assert rest["val_loss"] == record["val_loss"][3:]
    assert whole.evaluate(X, y)["loss"] < before


def test_averages_are_what_predicts():
    X, y = data()
    model, plain = classifier(optimizer=Adam(ema_momentum=0.95)), classifier()
    assert plain.build(6).averages is None
    for one in (model, plain):
        one.fit(X, y, epochs=3)
    assert_same_parameters(model, plain)
    weights, biases = model.averages
    assert not np.allclose(weights[0], model.weights[0], atol=1e-3)
    for own, mean in zip((*plain.weights, *plain.biases), (*weights, *biases), strict=True):
        own[...] = mean
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert model.evaluate(X, y) == plain.evaluate(X, y)
    # It may end and begin: Adam's own memory goes on.
    model.optimizer = Adam()
    assert model.averages is None
    model.optimizer = Adam(ema_momentum=0.9)
    np.testing.assert_array_equal(model.averages[0][0], model.weights[0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Adam(weight_decay=-0.1), "weight_decay must be at least 0"),
        (lambda: Adam(clipvalue=0), "clipvalue must be above 0"),
        (lambda: Adam(global_clipnorm=-1), "global_clipnorm must be above 0"),
        (lambda: Adam(clipvalue=1, global_clipnorm=1), "one of them is enough"),
        (lambda: Adam(ema_momentum=1.0), "ema_momentum must be at least 0 and below 1"),
        (lambda: Adam(amsgrad=1), "amsgrad must be True or False"),
        (lambda: Lion(beta_1=None), "beta_1 must be a number"),
    ],
)
def test_settings_out_of_range(make, match):
    with pytest.raises((TypeError, ValueError), match=match):
        make()


def test_what_an_optimizer_says_of_itself():
    assert repr(Adam()) == "Adam(learning_rate=0.001)"
    assert repr(AdamW(0.01, weight_decay=0.1)) == "AdamW(learning_rate=0.01, weight_decay=0.1)"
    assert AdamW().weight_decay == 0.01
    assert Adam(weight_decay=0.01) != AdamW(1e-3)
    names = ("adamw", "amsgrad", "nadam", "lion")
    assert [type(fastnn.optimizers.get(name)) for name in names] == [AdamW, Adam, NAdam, Lion]


@pytest.mark.parametrize("solver", ["lbfgs", "lm"])
def test_solvers_want_the_same_loss_each_time(solver):
    X, _ = data()
    model = Model([Dropout(0.1), 4, 1], loss="squared_error", optimizer=solver)
    with pytest.raises(ValueError, match="remove dropout"):
        model.fit(X, X[:, 0])
    model = Model([4, 1], loss="squared_error", optimizer=solver)
    with pytest.raises(ValueError, match="augmentation"):
        model.fit(X, X[:, 0], augmentation=Augmentation(noise=0.1))


#  augmentation


def test_augmentation_is_for_training_alone_and_changes_nothing_of_the_users():
    X, y = data()
    kept = X.copy()
    model, plain = classifier(), classifier()
    model.fit(X, y, epochs=2, augmentation=Augmentation(noise=0.5))
    plain.fit(X, y, epochs=2)
    np.testing.assert_array_equal(X, kept)
    assert not np.array_equal(model.weights[0], plain.weights[0])
    again = classifier(n_threads=1)
    again.fit(X, y, epochs=2, augmentation=Augmentation(noise=0.5))
    assert_same_parameters(model, again)
    # It is gone with the fit that asked for it.
    plain.weights[0][...] = model.weights[0]
    model.fit(X, y, epochs=1)
    assert model.evaluate(X, y)["loss"] < 0.7


def test_a_function_changes_rows():
    def shift(x, random):
        x += 4 * (random[0] - 0.5)

    X, y = data(600)
    X_test, y_test = data(600, seed=1)
    moved = X_test + 4 * (np.random.default_rng(0).uniform(size=(600, 1)) - 0.5)
    scores = {}
    for function in (None, shift, shift if JIT_DISABLED else numba.njit(shift)):
        model = classifier([32, 2], optimizer=Adam(3e-3))
        model.fit(X, y, epochs=60, augmentation=None if function is None else Augmentation(function=function))
        scores.setdefault(function is not None, []).append(model.evaluate(moved, y_test)["accuracy"])
    assert scores[True][0] == scores[True][1]
    assert scores[True][0] > scores[False][0] + 0.05


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Augmentation(noise=-1), "noise must be at least 0"),
        (lambda: Augmentation(mixup=np.nan), "mixup must be a finite number"),
        (lambda: Augmentation(function=3), "function must be a function"),
    ],
)
def test_augmentations_that_make_no_sense(make, match):
    with pytest.raises((TypeError, ValueError), match=match):
        make()


def test_a_function_of_rows_that_fails_does_so_before_training():
    X, y = data()

    def wrong(x, random):
        x[0] = undefined  # noqa: F821

    def far(x, random):
        x[0] = np.inf

    for function, match in ((wrong, "fails for 6 zeros"), (far, "NaN or infinity")):
        model = classifier()
        with pytest.raises(ValueError, match=match):
            model.fit(X, y, augmentation=Augmentation(function=function))
        assert not model.built
    with pytest.raises(TypeError, match=r"must be a fastnn\.Augmentation"):
        classifier().fit(X, y, augmentation="noise")


#  functions of one's own


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_own_functions_train_as_built_in_ones_do(dtype):
    X, y = data()
    tanh = fastnn.custom.activation(np.tanh if JIT_DISABLED else numba.njit(lambda z: np.tanh(z)),
                                    lambda z: 1 - np.tanh(z) ** 2, name="my_tanh")  # fmt: skip
    square = fastnn.custom.loss(lambda u, t: (u - t) ** 2, lambda u, t: 2 * (u - t), name="square")
    own = Model([Dense(16, tanh), 1], loss=square, seed=0, dtype=dtype)
    built_in = Model([Dense(16, "tanh"), 1], loss="squared_error", seed=0, dtype=dtype)
    for model in (own, built_in):
        model.fit(X, y, epochs=5, validation_split=0.2)
    rtol = 1e-3 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(own.history["val_loss"], built_in.history["val_loss"], rtol=rtol)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), rtol=rtol, atol=rtol)
    assert "my_tanh" in summary_of(own)


def summary_of(model):
    lines = []
    model.summary(lines.append)
    return "\n".join(lines)


def test_models_with_own_functions_are_copied_and_pickled_but_not_saved():
    X, _ = data()
    model = Model([Dense(8, fastnn.custom.activation(softsign, softsign_slope)), 1], seed=0,
                  loss=fastnn.custom.loss(log_cosh, log_cosh_slope))  # fmt: skip
    model.fit(X, X[:, 0], epochs=2)
    for other in (copy.copy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        other.fit(X, X[:, 0], epochs=1)
    with pytest.raises(TypeError, match="activation 'softsign' is a custom function"):
        model.save(io.BytesIO())
    plain = Model([1], loss=fastnn.custom.loss(log_cosh, log_cosh_slope))
    with pytest.raises(TypeError, match="loss 'log_cosh' is a custom function"):
        plain.save(io.BytesIO())


def test_wrong_derivatives_are_noticed():
    with pytest.raises(ValueError, match=r"derivative\(-7.1\) is .*, but the slope of function there is"):
        fastnn.custom.activation(softsign, softsign)
    with pytest.raises(ValueError, match=r"gradient\(-7.1, -1.3\) is"):
        fastnn.custom.loss(log_cosh, lambda u, t: u - t)
    for bad in (3, None, int):
        with pytest.raises(TypeError, match="function must be a function"):
            fastnn.custom.activation(bad, softsign_slope)
    with pytest.raises((TypeError, ValueError), match="value"):
        fastnn.custom.loss(lambda u: u, log_cosh_slope)


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_solvers_with_own_functions(optimizer):
    X, _ = data()
    y = np.sin(X[:, 0])
    activation = fastnn.custom.activation(softsign, softsign_slope)
    model = Model([Dense(8, activation), 1], loss="squared_error", optimizer=optimizer, dtype="float64", seed=0)
    assert model.fit(X, y, epochs=30)["loss"][-1] < 0.05
    if optimizer == "lm":
        single = Model([Dense(8, activation), 1], loss="squared_error", optimizer=optimizer)
        with pytest.raises(ValueError, match="dtype='float64'"):
            single.fit(X, y)


def test_an_error_that_is_not_one_of_memory_stays_what_it_is(monkeypatch):
    def refuse(*_):
        raise ValueError("this function cannot be compiled")

    monkeypatch.setattr("fastnn._training.net.activation_code", refuse)
    model = fastnn.Model([fastnn.Dense(3, fastnn.custom.activation(softsign, softsign_slope)), 1], loss="squared_error")
    with pytest.raises(ValueError, match="this function cannot be compiled"):
        model.build(2)
    assert not model.built
