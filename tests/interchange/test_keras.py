"""Nets from Keras."""

from __future__ import annotations

import os

import numpy as np
import pytest
from models import assert_same_outputs, labels, table

from fastnn.interchange import from_keras

pytest.importorskip("torch")
before = os.environ.get("KERAS_BACKEND")
os.environ["KERAS_BACKEND"] = "torch"  # read while Keras is imported
try:
    keras = pytest.importorskip("keras")
finally:
    os.environ.pop("KERAS_BACKEND")
    if before is not None:
        os.environ["KERAS_BACKEND"] = before

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
layers = keras.layers


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def sequential(*parts, dtype="float32", n_features=7):
    """Built Sequential with random biases."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        net = keras.Sequential([keras.Input((n_features,), dtype=dtype), *(part() for part in parts)])
    finally:
        keras.config.set_dtype_policy(policy)
    rng = np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, layers.Dense) and layer.use_bias:
            w, b = layer.get_weights()
            layer.set_weights([w, 0.3 * rng.standard_normal(b.shape)])
    return net


def outputs(net, X, dtype):
    """Outputs of a chain, layer by layer: Keras itself multiplies float64 matrices in float32 on PyTorch."""
    y = keras.ops.convert_to_tensor(X, dtype)
    for layer in net.layers:
        if isinstance(layer, layers.Dense):
            weights, *biases = (keras.ops.convert_to_numpy(variable) for variable in layer.variables)
            product = keras.ops.convert_to_numpy(y) @ weights
            y = layer.activation(keras.ops.convert_to_tensor(product + biases[0] if biases else product, dtype))
        else:
            y = layer(y, training=False)
    return keras.ops.convert_to_numpy(y)


FUNCTIONS = [
    "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "exponential", "selu", "softplus", "hard_sigmoid", "silu",
    "gelu", "mish",
]  # fmt: skip


@DTYPES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_dense_layers(name, dtype):
    net = sequential(
        lambda: layers.Dense(5, name),
        lambda: layers.Dense(9, use_bias=False),
        lambda: layers.Activation(name),
        lambda: layers.Dense(3),
        dtype=dtype,
    )
    X = table(d=7)
    model = from_keras(net, seed=0)
    assert [layer.units for layer in model.layers] == [5, 9, 3]
    assert [layer.use_bias for layer in model.layers] == [True, False, True]
    assert model.dtype == dtype
    assert_same_outputs(model.predict(X), outputs(net, X, dtype), dtype)
    before = [w.copy() for w in model.weights]
    model.fit(X, table(d=3, seed=9), epochs=1)
    assert all((a != b).any() for a, b in zip(before, model.weights, strict=True))


@DTYPES
@pytest.mark.parametrize(
    "activation",
    [
        lambda: layers.ReLU(), lambda: layers.ReLU(negative_slope=0.1), lambda: layers.LeakyReLU(),
        lambda: layers.LeakyReLU(negative_slope=0.05), lambda: layers.ELU(), lambda: layers.ELU(alpha=0.4),
    ],
)  # fmt: skip
def test_layers_of_activations(activation, dtype):
    net = sequential(lambda: layers.Dense(5), activation, lambda: layers.Dense(3), layers.Softmax, dtype=dtype)
    X = 2.0 * table(d=7)
    model = from_keras(net)
    assert model.loss.name == "softmax_crossentropy"
    assert_same_outputs(model.predict(X), outputs(net, X, dtype), dtype)


@DTYPES
def test_what_scales_columns_is_part_of_a_dense_layer(dtype):
    X = 3.0 * table(d=7) + 5.0
    adapted = layers.Normalization(dtype=dtype)
    adapted.adapt(X.astype(dtype))
    net = sequential(
        lambda: layers.Rescaling(0.5, offset=-1.0),
        lambda: adapted,
        lambda: layers.Dense(6),
        lambda: layers.BatchNormalization(),
        lambda: layers.Activation("tanh"),
        lambda: layers.Dropout(0.25),
        lambda: layers.BatchNormalization(center=False, scale=False),
        lambda: layers.Dense(4, "relu", use_bias=False),
        lambda: layers.Rescaling(2.0),
        lambda: layers.Dense(2, "softmax"),
        dtype=dtype,
    )
    net.compile("sgd", "sparse_categorical_crossentropy")
    net.fit(X.astype(dtype), labels(classes=2), epochs=2, verbose=0)  # so that the statistics are no defaults
    model = from_keras(net)
    assert [layer.units for layer in model.layers] == [6, 4, 2]
    assert [layer.dropout for layer in model.layers] == [0.0, 0.25, 0.0]
    assert model.dtype == dtype
    # Keras computes the statistics' roots in float32 on PyTorch, also those of float64.
    assert_same_outputs(model.predict(X), outputs(net, X, dtype), "float32")
    model.fit(X, labels(classes=2), epochs=1)


def test_inverted_normalization():
    net = sequential(
        lambda: layers.Dense(3),
        lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 9.0], invert=True),
    )
    X = table(d=7)
    assert_same_outputs(from_keras(net).predict(X), net.predict(X.astype("float32"), verbose=0), "float32")


def test_functional_and_nested_models():
    entry = keras.Input((7,))
    hidden = layers.Dense(5, "silu")(entry)
    net = keras.Model(entry, layers.Dense(2, "sigmoid")(layers.Dropout(0.5)(hidden)))
    X = table(d=7).astype("float32")
    model = from_keras(net)
    assert model.loss.name == "binary_crossentropy"
    assert_same_outputs(model.predict(X), net.predict(X, verbose=0), "float32")
    part = keras.Model(entry, hidden)  # shares the layers of the other one
    assert_same_outputs(from_keras(part).predict(X), part.predict(X, verbose=0), "float32")
    nested = sequential(lambda: keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(3)]), lambda: layers.Dense(2))
    assert_same_outputs(from_keras(nested).predict(X), nested.predict(X, verbose=0), "float32")


def test_frozen_layers_and_half_precision():
    net = sequential(lambda: layers.Dense(5, "relu"), lambda: layers.Dense(2))
    net.layers[0].trainable = False
    assert from_keras(net).trainable == [False, True]
    half = sequential(lambda: layers.Dense(2), dtype="float16")
    assert from_keras(half).dtype == np.float32


def branched():
    entry = keras.Input((7,))
    hidden = layers.Dense(5, "relu", name="hidden")(entry)
    shared = layers.Dense(7, name="shared")
    return {
        "two outputs": (keras.Model(entry, [hidden, layers.Dense(2)(hidden)]), "has 1 inputs and 2 outputs"),
        "skip": (
            keras.Model(entry, layers.Concatenate(name="both")([entry, hidden])),
            "layer 'both', Concatenate does not",
        ),
        "addition": (
            keras.Model(entry, layers.Add(name="sum")([hidden, layers.Dense(5)(hidden)])),
            "no chain of layers",
        ),
        "used twice": (keras.Model(entry, shared(shared(entry))), "uses a layer more than once"),
        "unbuilt": (keras.Sequential([layers.Dense(2, name="first")]), "layer 'first', Dense has no weights yet"),
    }


BRANCHED = branched()


@pytest.mark.parametrize(("net", "text"), BRANCHED.values(), ids=BRANCHED)
def test_what_is_no_chain_is_refused(net, text):
    with pytest.raises(ValueError, match=text):
        from_keras(net)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (lambda: layers.PReLU(name="steep"), "layer 'steep', PReLU has no equivalent"),
        (lambda: layers.LayerNormalization(name="norm"), "layer 'norm', LayerNormalization has no equivalent"),
        (lambda: layers.GaussianNoise(0.1, name="noise"), "layer 'noise', GaussianNoise has no equivalent"),
        (lambda: layers.ReLU(6.0, name="six"), "layer 'six', ReLU has max_value=6.0"),
        (lambda: layers.Activation("relu6", name="six"), "layer 'six', Activation has the activation relu6"),
        (lambda: layers.Dense(3, lambda x: x + 1, name="own"), r"layer 'own', Dense.* has the activation <lambda>"),
        (lambda: layers.Activation("log_softmax"), "has the activation log_softmax"),
        (lambda: layers.Softmax(name="inside"), "layer 'inside', Softmax has softmax, which only the last layer"),
    ],
)
def test_what_has_no_equivalent_is_refused_by_name(part, text):
    with pytest.raises(ValueError, match=text):
        from_keras(sequential(lambda: layers.Dense(3), part, lambda: layers.Dense(2)))


class Custom(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("given", [Custom(), layers.Dense(3), "net.keras", None, 3], ids=repr)
def test_what_is_no_net_is_refused(given):
    with pytest.raises(TypeError, match=r"model must be a keras.Sequential or a functional keras.Model, got"):
        from_keras(given)
