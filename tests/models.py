"""Models, data and comparisons that test files share: small, with a fixed seed, and without state.

Builders of an Engine are in driver.py, reference formulas in naive.py, and access to private parts of a Model in
insides.py.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest

import fastnn
from fastnn import Model
from fastnn.kernels.nn import rules

#: Rows of the shared data: no multiple of a vector's length, of 7 rows per batch, or of 3 classes times either.
N = 45

#: Every activation of a hidden layer, two of them with another number than their default.
HIDDEN_ACTIVATIONS = {
    **{rule.name: rule.name for rule in rules.ACTIVATIONS if rule.rows is None},
    "elu(0.7)": fastnn.elu(0.7),
    "leaky_relu(0.2)": fastnn.leaky_relu(0.2),
}

_RATES = {"sgd": 0.05, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.05, "lion": 0.001}
#: One of each rule of the kernels, by the rule's name, at a learning rate for small nets.
OPTIMIZERS = {
    rule.name: dataclasses.replace(fastnn.optimizers.get(rule.name), learning_rate=_RATES.get(rule.name, 0.01))
    for rule in rules.OPTIMIZERS
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


# ------------------------------------------------------------------------------------------------------------- data


def table(n=N, d=3, seed=0):
    """Standard normal numbers, (n, d), float64."""
    return np.random.default_rng(seed).standard_normal((n, d))


def labels(n=N, classes=3, seed=1):
    """Random classes, (n,), int64."""
    return np.random.default_rng(seed).integers(0, classes, n)


def data(n=N, seed=0):
    """Features (n, 3) and one of three classes per row, drawn independently: there is nothing to learn."""
    return table(n, seed=seed), labels(n, seed=[seed, 1])


# ----------------------------------------------------------------------------------------------------------- models


def classifier(layers=(5, 3), **options):
    """Unbuilt net for three classes; each option replaces a default."""
    return Model(list(layers), **{"loss": "softmax_crossentropy", "seed": 0, **options})


def regressor(layers=(5, 2), **options):
    """Unbuilt net for two targets; each option replaces a default."""
    return Model(list(layers), **{"loss": "squared_error", "seed": 0, **options})


def chain_net(activation="tanh", hidden=(5, 9), *, dtype="float32", n_features=7, n_outputs=3, output=None, **options):
    """Built net with one activation in all hidden layers and random biases, to be compared with other libraries."""
    layers = [fastnn.Dense(n, activation) for n in hidden] + [fastnn.Dense(n_outputs, output)]
    model = Model(layers, **{"loss": "squared_error", "seed": 0, **options}, dtype=dtype).build(n_features)
    rng = np.random.default_rng(5)
    if activation == "exponential":  # of exponentials of large numbers nothing can be compared
        model.weights = [0.25 * w for w in model.weights]
    model.biases = [0.3 * rng.standard_normal(b.shape) for b in model.biases]
    return model


# --------------------------------------------------------------------------------------- an activation and a loss


def softsign(z):
    """An activation that is not in the library."""
    return z / (1 + abs(z))


def softsign_slope(z):
    """Return its derivative."""
    return 1 / (1 + abs(z)) ** 2


def log_cosh(u, t):
    """A loss that is not in the library."""
    return np.log(np.cosh(u - t))


def log_cosh_slope(u, t):
    """Return its derivative by the output."""
    return np.tanh(u - t)


# ------------------------------------------------------------------------------------------------------ comparisons


def bits(model):
    """All that a model is, in bytes: weights, slots, history, whether it is built, epochs and steps done."""
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


def through_a_file(model):
    """The model that is read from what `save` writes."""
    return fastnn.load(io.BytesIO(bits(model)))


def parameters(model):
    """Copies of the weights, then of the biases."""
    return [array.copy() for array in (*model.weights, *model.biases)]


def assert_same_parameters(first, second):
    """Weights and biases of two models have the same shapes, dtypes and bits."""
    for a, b in zip((*first.weights, *first.biases), (*second.weights, *second.biases), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def assert_same_outputs(found, wanted, dtype):
    """Outputs of one net by two libraries: equal to 1e-6 of the largest in float32, to 1e-12 in float64."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert wanted.size
    largest = np.abs(wanted).max()
    assert np.abs(found - wanted).max() <= {"float32": 1e-6, "float64": 1e-12}[np.dtype(dtype).name] * largest
