"""Model: its parts, its views, and all methods that do not train."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from insides import flat_parameters, optimizer_slots
from models import N, bits, classifier, labels, regressor, table
from scipy import special

import fastnn
from fastnn import Dense, Model, losses, metrics
from fastnn._validation.other_libraries import MODEL_ATTRIBUTES


def by_hand(model, X):
    """Forward pass in float64 for the activations that the tests below use."""
    functions = {
        "identity": lambda z: z,
        "relu": lambda z: np.maximum(z, 0.0),
        "tanh": np.tanh,
        "sigmoid": special.expit,
        "softmax": lambda z: special.softmax(z, axis=1),
    }
    h = np.asarray(X, np.float64)
    for layer, w, b in zip(model.layers, model.weights, model.biases, strict=True):
        h = functions[layer.activation.name](h @ w.astype(np.float64) + b.astype(np.float64))
    return h


#  what it is


def test_making_a_model_makes_no_arrays():
    model = classifier([10**6, 10**6, 3])
    assert not model.built
    assert model.n_features is None
    assert model.n_outputs == 3
    for name in ("weights", "biases", "n_params"):
        with pytest.raises(ValueError, match="call fit, or build"):
            getattr(model, name)


def test_words_are_resolved():
    model = Model(
        [4, Dense(1, "sigmoid")],
        loss="bce",
        optimizer="nesterov",
        regularizer="l2",
        metrics="accuracy",
        seed=np.int32(7),
        dtype=float,
        n_threads=np.int64(1),
    )
    assert model.layers == (Dense(4, "relu"), Dense(1, "sigmoid"))
    assert model.loss == losses.Loss("binary_crossentropy")
    assert model.optimizer == fastnn.SGD(0.01, momentum=0.9, nesterov=True)
    assert model.regularizer == fastnn.L2()
    assert model.metrics == (metrics.Metric("accuracy"),)
    assert model.seed == 7
    assert model.dtype == np.float64
    assert model.n_threads == 1


def test_metrics_that_go_without_saying():
    assert [m.name for m in classifier().metrics] == ["accuracy"]
    assert regressor().metrics == ()
    assert classifier(metrics=[]).metrics == ()
    assert [m.name for m in regressor(metrics=["mse", "mae", "mse"]).metrics] == [
        "mean_squared_error",
        "mean_absolute_error",
    ]


def test_without_a_seed_each_model_is_its_own():
    first, second = (Model([4, 3], loss="mse").build(2) for _ in range(2))
    assert first.seed != second.seed
    again = Model([4, 3], loss="mse", seed=first.seed).build(2)
    assert np.array_equal(again.weights[0], first.weights[0])
    assert not np.array_equal(second.weights[0], first.weights[0])


@pytest.mark.parametrize("name", ["layers", "loss", "metrics", "seed", "dtype", "n_threads"])
def test_what_the_engine_is_built_from_cannot_be_exchanged(name):
    for model in (classifier(), classifier().build(3)):
        before = getattr(model, name)
        with pytest.raises(AttributeError, match=f"{name} of a Model is read-only; make a new Model"):
            setattr(model, name, before)
        assert getattr(model, name) is before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_written_by_assignment(dtype):
    model = classifier(dtype=dtype).build(3)
    views = model.weights
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 5)), rng.normal(size=(5, 3))
    model.weights[0] = first
    np.testing.assert_array_equal(views[0], first.astype(dtype))
    model.weights = [first + 1.0, second]
    model.biases = (np.ones(5), [1, 2, 3])
    np.testing.assert_array_equal(views[1], second.astype(dtype))
    np.testing.assert_array_equal(model.biases[1], [1, 2, 3])
    model.weights[0] += 1
    np.testing.assert_allclose(views[0], first + 2.0, rtol=1e-6)
    model.weights[-1:] = [np.zeros((5, 3))]
    assert not views[1].any()
    assert isinstance(model.weights, tuple)
    for copied in (copy.copy(model.weights), pickle.loads(pickle.dumps(model.weights))):
        np.testing.assert_array_equal(copied[0], views[0])


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ([], ValueError, r"weights must be 2 arrays, one per layer, got \[\]"),
        (None, ValueError, "weights must be 2 arrays, one per layer, got None"),
        ([np.ones((3, 5)), np.ones((3, 5))], ValueError, r"weights\[1\] must be of shape \(5, 3\), got \(3, 5\)"),
        ([np.ones((3, 5)), 1.0], ValueError, r"weights\[1\] must be of shape \(5, 3\), got \(\)"),
        ([np.ones((3, 5)), "text"], TypeError, r"weights\[1\] must be an array of numbers of shape \(5, 3\)"),
        ([np.ones((3, 5)), [[1], [2, 3]]], TypeError, r"weights\[1\] must be an array of numbers of shape \(5, 3\)"),
    ],
)
def test_an_invalid_assignment_writes_nothing(values, kind, text):
    model = classifier().build(3)
    before = model.weights[0].copy()
    with pytest.raises(kind, match=text):
        model.weights = values
    np.testing.assert_array_equal(model.weights[0], before)
    with pytest.raises(IndexError):
        model.weights[2] = np.ones((5, 3))
    with pytest.raises(ValueError, match="has no weights yet"):
        classifier().weights = []


def test_the_result_of_evaluate_hands_out_no_names():
    X, y = table(), labels()
    model = classifier().build(3)
    for found in (model.evaluate(X, y, verbose=0, batch_size=8), model.train_on_batch(X, y)):
        with pytest.raises(TypeError, match=r"result\['accuracy'\], or loss, accuracy = result\.values\(\)"):
            loss, accuracy = found
        loss, accuracy = found.values()
        assert (loss, accuracy) == (found["loss"], found["accuracy"])
        plain = {"loss": loss, "accuracy": accuracy}
        assert found == plain == dict(found) == {**found} == dict(found.items()) == found | {}
        assert type(found | {}) is dict
        assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, indent=1)) == plain
        assert "loss" in found
        assert list(found.keys()) == ["loss", "accuracy"]
        assert copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == plain
        with pytest.raises(TypeError, match="cannot be unpacked or iterated over"):
            list(found)


def test_the_result_of_evaluate_in_a_data_frame():
    pd = pytest.importorskip("pandas")
    found = classifier().build(3).evaluate(table(), labels())
    assert pd.Series(found).to_dict() == found
    assert pd.DataFrame([found, found]).to_dict("records") == [found, found]
    assert pd.DataFrame(found, index=[0]).to_dict("records") == [found]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("learning_rate", r"Write model\.optimizer = Adam\(learning_rate=1e-3\)"),
        ("lr", r"Write model\.optimizer = Adam\(learning_rate=1e-3\)"),
        ("verbose", "It is an argument of fit"),
        ("optimiser", r"Did you mean 'optimizer'\?"),
        ("stop_trainig", r"Did you mean 'stop_training'\?"),
        ("qqqq", r"a Model has no attribute 'qqqq'\.$"),
    ],
)
def test_an_attribute_that_does_not_exist_cannot_be_set(name, text):
    model = classifier()
    with pytest.raises(AttributeError, match=text):
        setattr(model, name, 10)
    with pytest.raises(AttributeError, match=f"a Model has no attribute '{name}'"):
        getattr(model, name)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="seed of a Model is read-only"):
        model.seed = 3
    with pytest.raises(AttributeError, match="no setter"):
        model.n_features = 3


@pytest.mark.parametrize("name", sorted(MODEL_ATTRIBUTES))
def test_attributes_of_other_libraries_are_explained(name):
    model = classifier().build(3)
    for attempt in (lambda: getattr(model, name), lambda: setattr(model, name, None)):
        with pytest.raises(AttributeError) as error:
            attempt()
        assert str(error.value) == f"a Model has no attribute '{name}'. {MODEL_ATTRIBUTES[name]}"


def test_a_derived_class_has_attributes_of_its_own():
    class Named(Model):
        def __init__(self, name, **settings):
            super().__init__([5, 3], **settings)
            self.name = name

        @property
        def broken(self):
            return self.name.missing

    model = Named("net", loss="softmax_crossentropy", seed=0)
    model.note = "later"
    assert (model.name, model.note) == ("net", "later")
    model.fit(table(), labels())
    with pytest.raises(AttributeError, match="'str' object has no attribute 'missing'"):
        _ = model.broken
    with pytest.raises(AttributeError, match="is read-only"):
        model.loss = "mse"
    with pytest.raises(TypeError, match=r"Model\(\) has no argument 'lr'\. The rate is an argument of the optimizer"):
        Named("net", loss="mse", lr=0.1)


def test_a_model_is_called_as_predict_is():
    model, X = classifier().build(3), table()
    np.testing.assert_array_equal(model(X), model.predict(X, verbose=0, batch_size=7))


def test_repr():
    model = classifier(optimizer=fastnn.SGD(0.1))
    assert repr(model).startswith("Model(5-3, loss='softmax_crossentropy', optimizer=SGD(learning_rate=0.1),")
    assert repr(model.build(4)).startswith("Model(4-5-3,")
    assert repr(Model([], loss="mse", seed=3)).endswith("seed=3)")
    assert "regularizer=L2(l2=0.1), seed" in repr(classifier(regularizer=fastnn.L2(0.1)))
    assert "regularizer" not in repr(classifier(regularizer=fastnn.L2(0.0)))


def test_summary_has_the_regularizer():
    lines = []
    classifier(regularizer="l1_l2").build(3).summary(lines.append)
    assert "L1L2(l1=0.01, l2=0.01)" in lines[-1]


def test_summary():
    model = Model([Dense(5, fastnn.leaky_relu(0.2)), Dense(3, use_bias=False)], loss="mse", seed=0)
    lines = []
    model.summary(lines.append)
    assert [line.split() for line in lines[:3]] == [
        ["layer", "shape", "activation", "parameters"],
        ["1", "?", "x", "5", "leaky_relu(0.2)", "?"],
        ["2", "5", "x", "3", "identity", "15"],
    ]
    lines.clear()
    model.build(4).summary(lines.append)
    assert lines[1].split() == ["1", "4", "x", "5", "leaky_relu(0.2)", "25"]
    assert lines[-1].startswith("40 parameters, squared_error, Adam(")
    assert model.n_params == 40


def test_summary_prints_and_takes_an_empty_list(capsys):
    Model([], loss="mse").summary()
    assert "squared_error" in capsys.readouterr().out


def test_notebooks_show_the_summary_as_a_table():
    model = Model([Dense(5, fastnn.leaky_relu(0.2), max_norm=2.0), Dense(3)], loss="mse", seed=0)
    rows = model._repr_html_().splitlines()
    assert rows[2] == "<tr><th>layer</th><th>shape</th><th>activation</th><th>parameters</th><th></th></tr>"
    assert rows[3] == "<tr><td>1</td><td>? x 5</td><td>leaky_relu(0.2)</td><td>?</td><td>max_norm=2</td></tr>"
    assert "<td>25</td>" in model.build(4)._repr_html_()
    assert len(Model([], loss="mse")._repr_html_().splitlines()) == 4


def test_names_in_the_table_are_escaped():
    name = "<script>alert('&')</script>"
    own = fastnn.custom.activation(lambda z: 2 * z, lambda z: 2.0, name=name)
    loss = fastnn.custom.loss(lambda u, t: (u - t) ** 2, lambda u, t: 2 * (u - t), name=name)
    text = Model([Dense(5, own), 1], loss=loss)._repr_html_()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;") == 2


def test_flops_of_a_row():
    model = classifier([5, 3]).build(4)
    assert model.flops_per_row(training=False) == 2 * (4 * 5 + 5 * 3)
    assert model.flops_per_row(training=True) == 4 * 4 * 5 + 6 * 5 * 3


#  building


def test_build(dtype):
    model = classifier(dtype=dtype)
    assert model.build(4) is model
    assert model.built
    assert (model.n_features, model.n_outputs) == (4, 3)
    assert [w.shape for w in model.weights] == [(4, 5), (5, 3)]
    assert [b.shape for b in model.biases] == [(5,), (3,)]
    assert {a.dtype for a in model.weights + model.biases} == {dtype}
    assert all(not b.any() for b in model.biases)
    assert all(w.any() for w in model.weights)
    assert len(model.history) == 0


def test_building_again_changes_nothing():
    model = classifier().build(4)
    model.weights[0][:] = 7.0
    before = bits(model)
    model.build(4)
    model.build(4, 3)
    assert bits(model) == before


def test_fit_builds_the_same_weights_as_build():
    X, y = table(), labels()
    built, fitted = classifier().build(3), classifier()
    built.fit(X, y)
    fitted.fit(X, y)
    for a, b in zip(built.weights, fitted.weights, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "y", "n_outputs"),
    [
        ("squared_error", np.zeros(N), 1),
        ("squared_error", np.zeros((N, 1)), 1),
        ("sum_of_squares", np.zeros((N, 4)), 4),
        ("binary_crossentropy", np.zeros(N, bool), 1),
        ("binary_crossentropy", np.zeros((N, 2)), 2),
        ("softmax_crossentropy", np.arange(N) % 5, 5),
        ("softmax_crossentropy", np.zeros(N, int), 2),
        ("softmax_crossentropy", np.eye(4)[np.arange(N) % 3], 4),
    ],
)
def test_an_empty_list_of_layers_takes_its_width_from_the_targets(loss, y, n_outputs):
    model = Model([], loss=loss, seed=0)
    assert model.n_outputs is None
    model.fit(table(), y)
    assert model.layers == (Dense(n_outputs),)
    assert [w.shape for w in model.weights] == [(3, n_outputs)]


@pytest.mark.parametrize(
    ("model", "arguments", "kind", "text"),
    [
        (classifier(), (0,), ValueError, "n_features must be .* got 0"),
        (classifier(), (2.0,), TypeError, "n_features must be .* got 2.0"),
        (classifier(), (True,), TypeError, "n_features must be .* got True"),
        (classifier(), (4, 2), ValueError, "n_outputs is 2, but the last layer has 3 units"),
        (classifier(), (4, 0), ValueError, "n_outputs must be .* got 0"),
        (classifier([]), (4,), ValueError, "n_outputs must be given"),
        (classifier([]), (4, 1), ValueError, "at least 2.*binary_crossentropy"),
        (regressor([2**62]), (4,), MemoryError, "n_features and layers make a net 4-4611686018427387904"),
    ],
)
def test_build_refuses(model, arguments, kind, text):
    before = bits(model)
    with pytest.raises(kind, match=text):
        model.build(*arguments)
    assert not model.built
    assert bits(model) == before


def test_a_built_model_keeps_its_widths():
    model = classifier().build(4)
    before = bits(model)
    with pytest.raises(ValueError, match="n_features is 5, but the model is built for 4; make a new Model"):
        model.build(5)
    with pytest.raises(ValueError, match="n_outputs is 2"):
        model.build(4, 2)
    assert bits(model) == before


def test_a_failure_while_building_leaves_the_model_unbuilt(monkeypatch):
    model = classifier([])

    def no_memory(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("fastnn.initializers.initial_weights", no_memory)
        with pytest.raises(MemoryError):
            model.build(4, 3)
    assert not model.built
    assert model.layers == ()
    model.build(5, 2)


#  views


def test_weights_are_views():
    model = regressor([2]).build(3)
    model.weights[0][...] = [[1, 2], [3, 4], [5, 6]]
    model.biases[0][...] = [10, 20]
    assert np.array_equal(model.predict([[1, 0, 0], [0, 1, 1]]), [[11, 22], [18, 30]])
    model.weights[0] *= 2.0
    model.biases[0][1] = 0.0
    assert np.array_equal(model.predict([[1, 0, 0]]), [[12, 4]])


def test_views_stay_valid_through_training_and_changes_of_the_optimizer():
    model = classifier().build(3)
    w, b = model.weights[1], model.biases[1]
    model.fit(table(), labels())
    model.optimizer = "rmsprop"
    model.fit(table(), labels(), batch_size=5)
    assert np.array_equal(w, model.weights[1])
    assert np.array_equal(b, model.biases[1])
    assert np.shares_memory(w, model.weights[1])


def test_a_layer_without_bias_keeps_none():
    model = Model([Dense(4, "tanh", use_bias=False), Dense(2)], loss="mse", seed=0)
    model.fit(table(), table(d=2, seed=3), epochs=3)
    assert not model.biases[0].any()
    assert model.biases[1].any()


#  the optimizer


def test_another_rate_keeps_the_optimizers_memory_and_another_kind_forgets_it():
    X, y = table(), labels()
    model = classifier(optimizer=fastnn.Adam(1e-3))
    model.fit(X, y)
    slots = optimizer_slots(model).copy()
    model.optimizer = fastnn.Adam(1e-2, beta_1=0.8)
    assert np.array_equal(optimizer_slots(model), slots)
    model.optimizer = "rmsprop"
    assert optimizer_slots(model).shape == (1, slots.shape[1])
    assert not optimizer_slots(model).any()
    model.fit(X, y)
    model.optimizer = fastnn.SGD(0.1)
    model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_an_optimizer_that_is_none_leaves_the_one_there():
    model = classifier()
    model.fit(table(), labels())
    before = bits(model)
    for given in ("adm", None, fastnn.Adam, 0.1):
        with pytest.raises((TypeError, ValueError), match="optimizer"):
            model.optimizer = given
    assert bits(model) == before


#  the regularizer


def test_another_regularizer_acts_from_the_next_step():
    X, y = table(), labels()
    plain, penalized = (classifier(optimizer="sgd").build(3) for _ in range(2))
    changed = classifier(optimizer="sgd", regularizer="l1").build(3)
    changed.fit(X, y, shuffle=False)  # so that there are tables with the old one
    for regularizer, same in ((None, plain), (fastnn.L2(0.1), penalized)):
        changed.regularizer = regularizer
        same.regularizer = regularizer
        for model in (changed, same):
            for view, weights in zip(model.weights, classifier().build(3).weights, strict=True):
                view[...] = weights
            for view in model.biases:
                view[...] = 0.0
            model.fit(X, y, shuffle=False)
        assert np.array_equal(flat_parameters(changed), flat_parameters(same))
    assert not np.array_equal(flat_parameters(plain), flat_parameters(penalized))


def test_another_regularizer_keeps_the_optimizers_memory_and_a_wrong_one_changes_nothing():
    model = classifier(regularizer="l2")
    model.fit(table(), labels())
    slots = optimizer_slots(model).copy()
    model.regularizer = "l1"
    assert np.array_equal(optimizer_slots(model), slots)
    before = bits(model)
    with pytest.raises(ValueError, match="regularizer"):
        model.regularizer = "l3"
    assert bits(model) == before
    model.regularizer, model.optimizer = None, "lbfgs"
    with pytest.raises(ValueError, match="l1=1, whose penalty has no derivative at 0"):
        model.regularizer = fastnn.L1(1.0)
    assert model.regularizer.l1 == 0.0


#  predicting


@pytest.mark.parametrize("layers", [[], [5], [4, 33, 7]], ids=["no hidden", "one hidden", "three hidden"])
@pytest.mark.parametrize("n", [1, 2, 31, 300])
def test_predict(layers, n, dtype):
    model = regressor([*(Dense(u, "tanh") for u in layers), Dense(2)], dtype=dtype).build(3)
    X = table(n)
    outputs = model.predict(X)
    assert outputs.shape == (n, 2)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(outputs, by_hand(model, X), rtol=0, atol=3e-6 if dtype == np.float32 else 1e-13)


def test_predict_gives_rows_independent_of_each_other():
    model = classifier([16, 3]).build(3)
    X = table(200).astype(np.float32)
    whole = model.predict(X)
    assert np.array_equal(model.predict(X[50:]), whole[50:])
    assert np.array_equal(np.vstack([model.predict(X[i : i + 1]) for i in range(200)]), whole)


def test_predictions_are_the_callers_own():
    model = classifier().build(3)
    X = table()
    first = model.predict(X)
    kept = first.copy()
    model.predict(-X)
    assert np.array_equal(first, kept)
    assert first.flags.writeable


@pytest.mark.parametrize(
    ("loss", "last", "expected"),
    [
        ("softmax_crossentropy", Dense(3), lambda z: special.softmax(z, axis=1)),
        ("softmax_crossentropy", Dense(3, "softmax"), lambda z: special.softmax(z, axis=1)),
        ("binary_crossentropy", Dense(3), special.expit),
        ("binary_crossentropy", Dense(3, "sigmoid"), special.expit),
        ("squared_error", Dense(3, "softmax"), lambda z: special.softmax(z, axis=1)),
        ("squared_error", Dense(3, "sigmoid"), special.expit),
    ],
)
def test_probabilities(loss, last, expected):
    model = Model([Dense(4, "tanh"), last], loss=loss, seed=0, dtype="float64").build(3)
    X = table()
    z = np.tanh(X @ model.weights[0]) @ model.weights[1]
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities, expected(z), rtol=1e-12)
    assert probabilities.dtype == np.float64


def test_a_softmax_at_the_end_is_part_of_the_loss():
    """The same net with and without it: one training, one loss; only predict differs."""
    X, y = table(), labels()
    plain, softmax = classifier([4, Dense(3)]), classifier([4, Dense(3, "softmax")])
    for model in (plain, softmax):
        model.fit(X, y, epochs=3)
    assert np.array_equal(plain.weights[0], softmax.weights[0])
    assert plain.evaluate(X, y) == softmax.evaluate(X, y)
    np.testing.assert_allclose(softmax.predict(X).sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(softmax.predict(X), plain.predict_proba(X), rtol=1e-5)


def test_classes():
    X = table()
    model = classifier().build(3)
    found = model.predict_classes(X)
    assert np.array_equal(found, model.predict(X).argmax(axis=1))
    assert found.dtype == np.int64
    one = Model([1], loss="binary_crossentropy", seed=0).build(3)
    assert np.array_equal(one.predict_classes(X), one.predict(X)[:, 0] > 0)
    several = Model([4], loss="binary_crossentropy", seed=0).build(3)
    assert np.array_equal(several.predict_classes(X), several.predict(X) > 0)


def test_there_are_no_probabilities_of_a_regression():
    model = regressor().build(3)
    for method in (model.predict_proba, model.predict_classes):
        with pytest.raises(ValueError, match=f"{method.__name__} needs a model of classes.*'squared_error'.*Use pre"):
            method(table())


#  evaluating


def expected_loss(name, z, t):
    if name == "squared_error":
        return np.mean((z - t) ** 2, axis=1)
    if name == "sum_of_squares":
        return 0.5 * np.sum((z - t) ** 2, axis=1)
    if name == "binary_crossentropy":
        return np.mean(np.logaddexp(0.0, z) - t * z, axis=1)
    return np.sum(t * (special.logsumexp(z, axis=1, keepdims=True) - z), axis=1)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
@pytest.mark.parametrize("n", [1, N, 2500])
def test_evaluate(name, n, weighted):
    model = Model([4, 3], loss=name, regularizer=fastnn.L1L2(0.01, 0.02), seed=0, dtype="float64").build(3)
    X, t = table(n), np.eye(3)[labels(n)]
    weight = np.random.default_rng(5).uniform(0.1, 3.0, n) if weighted else np.ones(n)
    penalty = sum(0.01 * np.abs(w).sum() + 0.02 * (w**2).sum() for w in model.weights)
    rows = weight * expected_loss(name, by_hand(model, X), t)
    loss = rows.sum() if name == "sum_of_squares" else rows.sum() / weight.sum()
    before = bits(model)
    found = model.evaluate(X, t, sample_weight=weight if weighted else None)
    assert found["loss"] == pytest.approx(loss + penalty, rel=1e-12)
    assert bits(model) == before


def test_metrics_of_a_classification():
    model = classifier().build(3)
    X, y = table(), labels()
    right = model.predict(X).argmax(axis=1) == y
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(right.mean())
    assert model.evaluate(X, np.eye(3)[y])["accuracy"] == pytest.approx(right.mean())
    weight = np.arange(N) % 3
    assert model.evaluate(X, y, sample_weight=weight)["accuracy"] == pytest.approx(np.average(right, weights=weight))


def test_metrics_of_several_independent_classes():
    for last in (Dense(3), Dense(3, "sigmoid")):
        model = Model([4, last], loss="binary_crossentropy", seed=0).build(3)
        X, t = table(), table(seed=4) > 0
        right = (model.predict_proba(X) > 0.5) == t
        assert model.evaluate(X, t)["accuracy"] == pytest.approx(right.mean(), rel=1e-6)


def test_metrics_of_a_regression():
    model = regressor(metrics=["mae", "mse"], dtype="float64", regularizer="l2").build(3)
    X, t = table(), table(d=2, seed=3)
    error = model.predict(X) - t
    found = model.evaluate(X, t)
    assert list(found.keys()) == ["loss", "mean_absolute_error", "mean_squared_error"]
    assert found["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-12)
    assert found["mean_squared_error"] == pytest.approx((error**2).mean(), rel=1e-12)
    assert found["loss"] > found["mean_squared_error"]


def test_a_loss_beyond_all_numbers_is_nan_and_no_error():
    model = regressor([2]).build(3)
    X = np.full((4, 3), 1e30, np.float32)
    with pytest.warns(RuntimeWarning, match="evaluate found a loss that is not finite"):
        assert np.isnan(model.evaluate(X, np.zeros((4, 2)))["loss"])
    loss, weights, biases = model.gradient(X, np.zeros((4, 2)))
    assert np.isnan(loss)
    assert all(np.isnan(a).all() for a in weights + biases)


def test_nan_written_by_the_user_shows():
    model = classifier().build(3)
    model.weights[0][0, 0] = np.nan
    X, y = table(), labels()
    with pytest.warns(RuntimeWarning, match="predict returned NaN or infinity for finite X"):
        assert np.isnan(model.predict(X)).any()
    with pytest.warns(RuntimeWarning, match="evaluate found a loss that is not finite"):
        assert np.isnan(model.evaluate(X, y)["loss"])


#  the gradient


@pytest.mark.parametrize("name", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
def test_gradient_against_central_differences(name):
    model = Model(
        [Dense(4, "tanh"), Dense(3)], loss=name, regularizer=fastnn.L1L2(0.01, 0.02), seed=0, dtype="float64"
    ).build(2)
    X, t = table(9, 2), np.eye(3)[labels(9)]
    weight = np.linspace(0.5, 2.0, 9)
    before = bits(model)
    loss, weights, biases = model.gradient(X, t, sample_weight=weight)
    assert loss == pytest.approx(model.evaluate(X, t, sample_weight=weight)["loss"], rel=1e-13)
    h = 1e-6
    for parameters, gradient in zip(model.weights + model.biases, weights + biases, strict=True):
        numeric = np.empty_like(gradient)
        for place in np.ndindex(parameters.shape):
            kept = parameters[place]
            around = []
            for moved in (kept + h, kept - h):
                parameters[place] = moved
                around.append(model.evaluate(X, t, sample_weight=weight)["loss"])
            parameters[place] = kept
            numeric[place] = (around[0] - around[1]) / (2 * h)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7 * np.abs(numeric).max())
    assert bits(model) == before


def test_the_gradient_is_a_copy():
    model = classifier().build(3)
    _, first, _ = model.gradient(table(), labels())
    kept = first[0].copy()
    model.gradient(-table(), labels())
    assert np.array_equal(first[0], kept)


def test_the_gradient_of_a_layer_without_bias():
    model = Model([Dense(4, "tanh", use_bias=False), Dense(2)], loss="mse", seed=0).build(3)
    _, _, biases = model.gradient(table(), table(d=2, seed=3))
    assert not biases[0].any()
    assert biases[1].any()


#  threads and processes


def test_predicting_gives_the_same_bits_for_any_number_of_threads():
    X = table(2000, 64).astype(np.float32)
    expected = classifier([64, 3], n_threads=1).build(64).predict(X)
    for n_threads in (2, 4):
        model = classifier([64, 3], n_threads=n_threads).build(64)
        for _ in range(100):
            assert np.array_equal(model.predict(X), expected)


def test_threads_may_use_one_model_at_the_same_time():
    X = [table(700, seed=k).astype(np.float32) for k in range(4)]
    y = labels(700)
    model = classifier([32, 32, 3], n_threads=1)
    model.fit(X[0], y)
    predictions = [model.predict(x) for x in X]
    losses_ = [model.evaluate(x, y)["loss"] for x in X]
    gradients = [model.gradient(x, y)[1][0] for x in X]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            jobs = [
                (pool.submit(model.predict, x), pool.submit(model.evaluate, x, y), pool.submit(model.gradient, x, y))
                for x in X
            ]
            for k, (prediction, loss, gradient) in enumerate(jobs):
                assert np.array_equal(prediction.result(), predictions[k])
                assert loss.result()["loss"] == losses_[k]
                assert np.array_equal(gradient.result()[1][0], gradients[k])


def test_two_models_train_at_once_in_threads():
    X, y = table(400), labels(400)

    def train(seed):
        model = classifier([16, 3], seed=seed, n_threads=2)
        model.fit(X, y, epochs=20, batch_size=8)
        return b"".join(w.tobytes() for w in model.weights)

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == alone


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_other_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    X, y = table(2000, 64).astype(np.float32), labels(2000)
    model = classifier([64, 3], n_threads=2)  # enough work for two threads
    model.fit(X, y)
    here, loss = model.predict(X[:100]), model.evaluate(X, y)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.array_equal(pool.apply(model.predict, (X[:100],)), here[:100])
        assert pool.apply(model.evaluate, (X, y)) == loss
        there = pool.apply(model.partial_fit, (X, y))
    model.partial_fit(X, y)
    assert np.array_equal(there.weights[0], model.weights[0])


def test_copies_and_pickles_of_a_model_take_no_part_in_each_other():
    model = classifier()
    model.fit(table(), labels())
    before = bits(model)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert bits(other) == before
        other.fit(table(), labels())
        assert bits(other) != before
    assert bits(model) == before
