"""The description of a trained net that all converters read."""

from __future__ import annotations

import numpy as np
import pytest
from models import classifier, labels, regressor, softsign, softsign_slope, table

import fastnn
from fastnn.interchange._chain import Chain, chain_of
from fastnn.optimizers import Adam

sklearn = pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
#: Stops after three epochs, without a warning that it has not converged.
FAST = {"hidden_layer_sizes": (5,), "random_state": 0, "tol": 1e9, "n_iter_no_change": 1}


def outputs(chain, X):
    """Outputs of a chain of identity, relu and tanh layers, with the last layer's sums, in float64."""
    functions = {"identity": lambda z: z, "relu": lambda z: np.maximum(z, 0.0), "tanh": np.tanh}
    y = np.asarray(X, np.float64)
    for layer in chain.layers:
        z = y @ layer.weights.astype(np.float64) + layer.biases.astype(np.float64)
        y = functions.get(layer.activation, functions["identity"])(z)
    return y


# ------------------------------------------------------------------------------------------------------------- Model


@DTYPES
@pytest.mark.parametrize("sizes", [(4,), (1,), (7, 2), (33, 3, 5, 1)])
def test_weights_of_a_model_are_exact_copies(dtype, sizes):
    model = regressor(sizes, dtype=dtype).build(3)
    chain = chain_of(model)
    assert chain.sizes == (3, *sizes)
    assert (chain.n_features, chain.n_outputs, chain.dtype) == (3, sizes[-1], np.dtype(dtype))
    for layer, w, b in zip(chain.layers, model.weights, model.biases, strict=True):
        assert layer.weights.dtype == layer.biases.dtype == dtype
        assert layer.weights.flags.c_contiguous
        assert layer.weights.tobytes() == np.ascontiguousarray(w).tobytes()
        assert layer.biases.tobytes() == b.tobytes()
        assert (layer.n_in, layer.n_out) == w.shape
    before = chain.layers[0].weights.copy()
    model.weights[0][...] += 1.0
    assert np.array_equal(chain.layers[0].weights, before)


@pytest.mark.parametrize(
    ("loss", "last", "units", "expected"),
    [
        ("squared_error", "identity", 2, ("values", "", False)),
        ("squared_error", "tanh", 2, ("values", "", False)),
        ("squared_error", "sigmoid", 2, ("probabilities", "sigmoid", True)),
        ("poisson", "exponential", 1, ("values", "", False)),
        ("poisson", "identity", 1, ("values", "", False)),
        ("softmax_crossentropy", "identity", 3, ("logits", "softmax", False)),
        ("softmax_crossentropy", "softmax", 3, ("probabilities", "softmax", False)),
        ("binary_crossentropy", "identity", 1, ("logits", "sigmoid", False)),
        ("binary_crossentropy", "sigmoid", 1, ("probabilities", "sigmoid", False)),
        ("binary_crossentropy", "identity", 4, ("logits", "sigmoid", True)),
    ],
)
def test_what_the_outputs_of_a_model_are(loss, last, units, expected):
    model = fastnn.Model([fastnn.Dense(3, "relu"), fastnn.Dense(units, last)], loss=loss, seed=0).build(2)
    chain = chain_of(model)
    assert (chain.output, chain.link, chain.multilabel) == expected
    assert (chain.kind, chain.classes, chain.loss) == ("model", None, loss)
    assert [layer.activation for layer in chain.layers] == ["relu", last]
    if expected[0] == "values":
        with pytest.raises(ValueError, match="needs a model of classes"):
            model.predict_proba(table(2, 2))
    else:
        assert model.predict_proba(table(2, 2)).shape == (2, units)


def test_numbers_of_activations_and_names_of_columns():
    pandas = pytest.importorskip("pandas")
    layers = [fastnn.Dense(3, fastnn.elu(0.5)), fastnn.Dropout(0.5), fastnn.Dense(2, fastnn.leaky_relu(0.2)), 1]
    model = fastnn.Model(layers, loss="squared_error", seed=0)
    model.fit(pandas.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0]}), np.ones(2), epochs=1)
    chain = chain_of(model)
    assert [(layer.activation, layer.alpha) for layer in chain.layers] == [
        ("elu", 0.5), ("leaky_relu", 0.2), ("identity", 0.0),
    ]  # fmt: skip
    assert chain.feature_names == ("a", "b")


def test_the_running_average_is_what_is_described():
    model = regressor(optimizer=Adam(0.1, ema_momentum=0.9), dtype="float64")
    X = table(40)
    model.fit(X, table(40, 2, seed=3), epochs=2)
    chain = chain_of(model)
    assert not np.array_equal(chain.layers[0].weights, model.weights[0])
    assert np.allclose(outputs(chain, X), model.predict(X), rtol=1e-12, atol=1e-12)


def test_models_that_are_refused():
    with pytest.raises(ValueError, match="has no weights yet"):
        chain_of(regressor())
    custom = fastnn.custom.activation(softsign, softsign_slope, name="softsign")
    model = fastnn.Model([4, fastnn.Dense(4, custom), 1], loss="squared_error", seed=0).build(2)
    with pytest.raises(ValueError, match=r"layers\[1\] has the custom activation 'softsign'"):
        chain_of(model)
    model = regressor().build(3)
    model.biases[1][0] = np.nan
    with pytest.raises(ValueError, match=r"biases\[1\] must be finite"):
        chain_of(model)
    for other in (None, 3, "net.npz", fastnn.Model, fastnn.MLPClassifier, [("net", model)]):
        with pytest.raises(TypeError, match="model must be a Model, an MLPClassifier or MLPRegressor of fastnn"):
            chain_of(other)


# -------------------------------------------------------------------------------------------------------- estimators


@DTYPES
def test_a_classifier(dtype):
    X, y = table().astype(dtype), np.array(["a", "b", "c"])[labels()]
    estimator = fastnn.MLPClassifier(**FAST).fit(X, y)
    chain = chain_of(estimator)
    assert (chain.kind, chain.output, chain.link, chain.multilabel) == ("classifier", "probabilities", "softmax", False)
    assert chain.classes.tolist() == ["a", "b", "c"]
    assert chain.dtype == dtype
    for layer, w, b in zip(chain.layers, estimator.coefs_, estimator.intercepts_, strict=True):
        assert np.array_equal(layer.weights, w)
        assert np.array_equal(layer.biases, b)


def test_binary_and_multilabel_classifiers():
    X = table()
    chain = chain_of(fastnn.MLPClassifier(**FAST).fit(X, labels(classes=2) * 4 + 3))
    assert (chain.output, chain.link, chain.n_outputs, chain.multilabel) == ("probabilities", "sigmoid", 1, False)
    assert chain.classes.tolist() == [3, 7]
    chain = chain_of(fastnn.MLPClassifier(**FAST).fit(X, table(len(X), 2, seed=5) > 0))
    assert (chain.output, chain.link, chain.n_outputs, chain.multilabel) == ("probabilities", "sigmoid", 2, True)


def test_a_regressor_whose_weights_were_assigned():
    X = table()
    estimator = fastnn.MLPRegressor(**FAST).fit(X, X[:, 0])
    estimator.coefs_ = [w + 1.0 for w in estimator.coefs_]
    chain = chain_of(estimator)
    assert (chain.kind, chain.output, chain.classes) == ("regressor", "values", None)
    assert np.allclose(outputs(chain, X)[:, 0], estimator.predict(X), rtol=1e-12, atol=1e-12)


def test_an_estimator_that_was_not_fitted():
    with pytest.raises(NotFittedError):
        chain_of(fastnn.MLPRegressor())


def test_the_estimator_of_scikit_learn_is_refused_with_advice():
    from sklearn.neural_network import MLPRegressor

    with pytest.raises(TypeError, match=r"model must be .* fastnn\.interchange\.from_sklearn"):
        chain_of(MLPRegressor())


# --------------------------------------------------------------------------------------------------------- pipelines

SCALERS = {
    "standard": [StandardScaler()],
    "mean": [StandardScaler(with_std=False)],
    "deviation": [StandardScaler(with_mean=False)],
    "neither": [StandardScaler(with_mean=False, with_std=False)],
    "min_max": [MinMaxScaler((-2, 3))],
    "max_abs": [MaxAbsScaler()],
    "robust": [RobustScaler()],
    "robust center": [RobustScaler(with_scaling=False)],
    "robust scale": [RobustScaler(with_centering=False, quantile_range=(10, 80), unit_variance=True)],
    "two": [MinMaxScaler(), StandardScaler()],
    "three": ["passthrough", RobustScaler(), MaxAbsScaler(), MinMaxScaler()],
    "nested": [make_pipeline(StandardScaler(), "passthrough"), MinMaxScaler()],
}


@pytest.mark.parametrize("steps", SCALERS.values(), ids=SCALERS)
def test_scalers_are_part_of_the_first_layer(steps):
    X = table(60, 3) * [1.0, 20.0, 0.01] + [5.0, -300.0, 0.0]
    pipeline = make_pipeline(*steps, fastnn.MLPRegressor(**FAST)).fit(X, X[:, :2] / [1.0, 20.0])
    chain = chain_of(pipeline)
    assert chain.layers[0].weights.dtype == np.float64
    expected = pipeline.predict(X)
    assert np.allclose(outputs(chain, X), expected, rtol=1e-11, atol=1e-11 * np.abs(expected).max())
    assert chain.scalers


def test_a_pipeline_in_single_precision_is_folded_in_double_precision():
    X = (table() * 50.0 + 100.0).astype(np.float32)
    pipeline = Pipeline([("scale", StandardScaler()), ("net", fastnn.MLPRegressor(**FAST))]).fit(X, X[:, 0])
    chain = chain_of(pipeline)
    assert (chain.dtype, chain.scalers) == (np.float32, ("scale",))
    assert [layer.weights.dtype for layer in chain.layers] == [np.float64, np.float32]
    scaler, net = pipeline.named_steps.values()
    assert np.array_equal(chain.layers[0].weights, (1.0 / scaler.scale_)[:, None] * net.coefs_[0].astype(np.float64))


def test_a_pipeline_without_scalers_leaves_the_net_as_it_is():
    X = table()
    pipeline = Pipeline([("nothing", "passthrough"), ("none", None), ("net", fastnn.MLPRegressor(**FAST))])
    chain = chain_of(pipeline.fit(X, X[:, 0]))
    assert (chain.scalers, chain.layers[0].weights.dtype) == ((), np.float64)
    assert np.array_equal(chain.layers[0].weights, pipeline[-1].coefs_[0])


def test_a_pipeline_around_a_model_and_the_names_of_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(20, 2), columns=["b", "a"])
    scaler = StandardScaler().fit(frame)
    model = classifier().build(2)
    chain = chain_of(Pipeline([("scaler", scaler), ("net", model)]))
    assert (chain.kind, chain.feature_names, chain.link) == ("model", ("b", "a"), "softmax")
    estimator = fastnn.MLPRegressor(**FAST).fit(frame, frame["a"])
    assert chain_of(estimator).feature_names == ("b", "a")


def test_steps_that_are_refused():
    X = table()
    net = fastnn.MLPRegressor(**FAST).fit(X, X[:, 0])
    with pytest.raises(TypeError, match=r"step 'log' of the Pipeline is FunctionTransformer.*StandardScaler"):
        chain_of(Pipeline([("log", FunctionTransformer()), ("net", net)]))
    with pytest.raises(ValueError, match=r"step 'minmax' of the Pipeline, MinMaxScaler\(clip=True\), clips"):
        chain_of(Pipeline([("minmax", MinMaxScaler(clip=True).fit(X)), ("net", net)]))
    with pytest.raises(ValueError, match="step 'scaler' of the Pipeline, StandardScaler, has not been fitted"):
        chain_of(Pipeline([("scaler", StandardScaler()), ("net", net)]))
    with pytest.raises(ValueError, match="step 'scaler' of the Pipeline has 2 columns, but the net has 3 inputs"):
        chain_of(Pipeline([("scaler", StandardScaler().fit(X[:, :2])), ("net", net)]))
    with pytest.raises(TypeError, match="model must be a Model"):
        chain_of(Pipeline([("net", net), ("scaler", StandardScaler().fit(X))]))
    scaler = MaxAbsScaler().fit(X)
    scaler.scale_ = np.array([1e-320, 1.0, 1.0])
    with pytest.raises(ValueError, match="the weights after scaling must be finite"):
        chain_of(Pipeline([("scaler", scaler), ("net", net)]))


def test_descriptions_are_frozen():
    chain = chain_of(regressor().build(3))
    assert isinstance(chain, Chain)
    with pytest.raises(AttributeError):
        chain.loss = "other"
    with pytest.raises(AttributeError):
        chain.layers[0].alpha = 1.0
