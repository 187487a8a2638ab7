"""A custom loss or activation that is named like a built-in one behaves as custom: no fact depends on its name."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import fastnn
from fastnn import custom, initializers
from fastnn.kernels.nn import rules

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 40, 5))


def fitted(layers, loss, y=Y, **options):
    """Predictions after three epochs."""
    model = fastnn.Model(layers, loss=loss, dtype="float64", seed=1, **options)
    model.fit(X, y, epochs=3, verbose=False)
    return model.predict(X)


def bend(z):
    return z / (1 + abs(z))


def bend_slope(z):
    return 1 / (1 + abs(z)) ** 2


def half_square(u, t):
    return 0.5 * (u - t) ** 2


def difference(u, t):
    return u - t


@pytest.mark.parametrize("name", rules.LOSSES.names)
def test_loss(name):
    named = custom.loss(half_square, difference, name=name)
    assert named.outputs_per_target == 1
    assert not named.classification
    assert named.parameters(5) == (0.0,) * 5
    assert named.prepare(Y) is Y
    # Negative targets, an odd number of outputs, targets beyond 1: nothing that the built-in ones refuse.
    plain = fitted([8, 5], custom.loss(half_square, difference, name="mine"))
    np.testing.assert_array_equal(fitted([8, 5], named), plain)
    model = fastnn.Model([5], loss=named)
    assert model.metrics == ()
    with pytest.raises(ValueError, match="predict_proba needs a model of classes"):
        model.build(5).predict_proba(X)
    with pytest.raises(ValueError, match="needs a loss of classification"):
        fastnn.Model([5], loss=named, metrics=["accuracy"])


@pytest.mark.parametrize("name", rules.ACTIVATIONS.names)
def test_activation(name):
    named, mine = (custom.activation(bend, bend_slope, name=n) for n in (name, "mine"))
    labels = (Y > 0).astype(float)
    for loss, y in (("squared_error", Y), ("binary_crossentropy", labels), ("poisson", labels)):
        layers = [[fastnn.Dense(7, f), fastnn.Dense(5, f)] for f in (named, mine)]
        np.testing.assert_array_equal(fitted(layers[0], loss, y), fitted(layers[1], loss, y))
    weights = [initializers.initial_weights("auto", f, 4, 3, np.random.default_rng(0)) for f in (named, mine)]
    np.testing.assert_array_equal(*weights)


def test_the_loss_does_not_contain_an_activation_of_the_same_name():
    # Binary cross-entropy contains the real sigmoid; this one is computed before it.
    named = custom.activation(bend, bend_slope, name="sigmoid")
    model = fastnn.Model([fastnn.Dense(1, named)], loss="binary_crossentropy", dtype="float64", seed=0).build(5)
    t = (X[:, :1] > 0).astype(float)
    outputs = bend(X @ model.weights[0] + model.biases[0])
    np.testing.assert_allclose(model.predict(X), outputs, rtol=1e-12)
    wanted = naive.LOSSES["binary_crossentropy"][0](outputs, t, 0.0).mean()
    assert model.evaluate(X, t)["loss"] == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), naive.sigmoid(outputs), rtol=1e-12)
