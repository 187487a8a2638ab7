"""An estimator made of a Model: the same predictions, and the same steps from there on."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import Dense, Dropout, Model
from fastnn.search import Search

base = pytest.importorskip("sklearn.base")
from fastnn.estimators._of_model import estimator_of  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (90, 3))
Y = np.sin(X).sum(axis=1)
LABELS = np.digitize(Y, [-0.7, 0.7])
TWO = (LABELS > 0).astype(int)


def made(layers, loss, y, *, classes=None, batch_size=90, fitted=False, **settings):
    model = Model(layers, loss=loss, seed=1, **{"dtype": "float64", **settings})
    if fitted:
        model.fit(X, y, epochs=3)
    else:
        model.build(3)
    return model, estimator_of(model, classes=classes, batch_size=batch_size, epochs=3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([4, 3], "softmax_crossentropy", LABELS),
        ([4, Dense(3, "softmax")], "softmax_crossentropy", LABELS),
        ([4, 2], "softmax_crossentropy", TWO),
        ([4, 1], "binary_crossentropy", TWO),
        ([Dense(4, "elu"), Dense(1, "sigmoid", use_bias=False)], "binary_crossentropy", TWO),
    ],
)
def test_classes(dtype, layers, loss, y):
    names = np.array(["a", "b", "c"])[: len(np.unique(y))]
    model, estimator = made(layers, loss, y, classes=names, dtype=dtype, fitted=True)
    probabilities = model.predict_proba(X)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    np.testing.assert_allclose(estimator.predict_proba(X), probabilities, atol=1e-6)
    assert np.array_equal(estimator.predict(X), names[model.predict_classes(X)])
    assert estimator.score(X, names[y]) == pytest.approx(np.mean(model.predict_classes(X) == y))


def test_several_labels_of_a_row():
    y = np.stack([TWO, LABELS > 1], axis=1).astype(float)
    model, estimator = made([4, 2], "binary_crossentropy", y, fitted=True)
    np.testing.assert_allclose(estimator.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(estimator.predict(X), model.predict_classes(X))


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([Dense(4, "tanh"), 5, 1], "squared_error", Y),
        ([1], "huber", Y),
        ([Dense(4, "tanh"), 2], "squared_error", np.stack([Y, -Y], axis=1)),
        ([4, 2], fastnn.losses.quantile(0.1, 0.9), Y),
    ],
)
def test_values(layers, loss, y):
    model, estimator = made(layers, loss, y, fitted=True)
    assert np.array_equal(estimator.predict(X), np.squeeze(model.predict(X)))


def test_means_and_rates():
    model, estimator = made([4, 2], "gaussian_nll", Y, fitted=True)
    mean, deviation = estimator.predict(X, return_std=True)
    assert np.array_equal(mean, model.predict(X)[:, 0])
    np.testing.assert_allclose(deviation, np.exp(0.5 * model.predict(X)[:, 1]))
    model, estimator = made([4, 1], "poisson", LABELS, fitted=True)
    np.testing.assert_allclose(estimator.predict(X), np.exp(model.predict(X)[:, 0]))


@pytest.mark.parametrize("optimizer", [fastnn.SGD(0.1, momentum=0.5), fastnn.Adam(0.01), "rmsprop"])
@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([Dense(4, "tanh"), 3], "softmax_crossentropy", LABELS),
        ([Dense(4, "tanh"), 1], "binary_crossentropy", TWO),
        ([Dense(4, "tanh"), 2], "squared_error", np.stack([Y, -Y], axis=1)),
        ([Dense(4, "tanh"), 1], "huber", Y),
    ],
)
def test_steps_are_those_of_the_model(optimizer, layers, loss, y):
    """Penalty and rates included, which are of another scale in scikit-learn's loss."""
    model, estimator = made(layers, loss, y, optimizer=optimizer, regularizer=fastnn.L2(0.05))
    for _ in range(3):
        model.fit(X, y, epochs=1, batch_size=90)
        estimator.partial_fit(X, y)
    own = [*estimator.coefs_, *estimator.intercepts_]
    for found, expected in zip(own, [*model.weights, *model.biases], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_a_clone_trains_a_net_of_the_same_kind():
    optimizer = fastnn.Adam(0.02)
    layers = [Dropout(0.1), Dense(5, "tanh"), Dropout(0.2), 3]
    _, estimator = made(layers, "softmax_crossentropy", LABELS, optimizer=optimizer, batch_size=16)
    again = base.clone(estimator).fit(X, LABELS)
    assert again.n_iter_ == 3
    assert again.__fastnn_model__().layers[0].units == 5
    assert [layer.dropout for layer in again.__fastnn_model__().layers] == [0.1, 0.2]
    assert again.batch_size == 16


def test_averages_predict():
    optimizer = fastnn.Adam(0.05, ema_momentum=0.9)
    model, estimator = made([4, 1], "squared_error", Y, optimizer=optimizer, fitted=True)
    assert np.array_equal(estimator.predict(X), model.predict(X)[:, 0])


@pytest.mark.parametrize(
    ("layers", "loss", "y", "classes", "text"),
    [
        ([Dense(1, "tanh")], "squared_error", Y, None, "which no estimator has"),
        ([1], "sum_of_squares", Y, None, "loss must be a mean"),
        ([1], "squared_error", Y, [0, 1], "classes must be None for regression"),
        ([3], "softmax_crossentropy", LABELS, ["a", "b"], "classes must be 3 labels"),
        ([3], "softmax_crossentropy", LABELS, ["a", "b", "b"], "classes must be 3 labels"),
        ([3], "softmax_crossentropy", LABELS, ["b", "a", "c"], "in ascending order"),
    ],
)
def test_nets_that_no_estimator_is(layers, loss, y, classes, text):
    with pytest.raises(ValueError, match=text):
        made(layers, loss, y, classes=classes)


def test_the_best_of_a_search():
    pd = pytest.importorskip("pandas")
    labels = np.array(["low", "middle", "high"])[LABELS]
    classes, codes = np.unique(labels, return_inverse=True)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    space = {"width": [4, 8], "l2": [1e-3, 1e-2], "batch_size": [16, 32]}
    result = Search(space, loss="softmax_crossentropy", method="halving", max_epochs=3, seed=0).fit(frame, codes)
    estimator = result.estimator(classes)
    assert set(estimator.predict(frame)) <= set(classes)
    np.testing.assert_allclose(estimator.predict_proba(frame), result.model.predict_proba(frame), atol=1e-6)
    assert list(estimator.feature_names_in_) == ["a", "b", "c"]
    assert estimator.batch_size == result.best_settings["batch_size"]
    assert estimator.max_iter == result.best_epochs
    assert estimator.alpha == pytest.approx(2 * estimator.batch_size * result.best_settings["l2"])
    with pytest.raises(ValueError, match="classes must be"):
        result.estimator(["a"])
