"""Attributions of features."""

from __future__ import annotations

import numpy as np
import pytest
from models import bits, classifier, data, regressor, table

import fastnn
from fastnn.explain import input_x_gradient, integrated_gradients, saliency, smooth_grad

EXPLANATIONS = [saliency, input_x_gradient, integrated_gradients, smooth_grad]


def softened(activation="tanh", layers=(9, 3), dtype="float64", loss="softmax_crossentropy", **options):
    """Trained net with one hidden layer, and rows."""
    x, y = data(30)
    model = fastnn.Model([fastnn.Dense(layers[0], activation), layers[1]], loss=loss, seed=0, dtype=dtype, **options)
    model.fit(x, y if loss == "softmax_crossentropy" else table(30, d=layers[1], seed=4), epochs=10)
    return model, x


def gradient_of(f, x, step=1e-5):
    """Central differences of a function of rows with one value each."""
    found = np.empty_like(x)
    for j in range(x.shape[1]):
        move = np.zeros(x.shape[1])
        move[j] = step
        found[:, j] = (f(x + move) - f(x - move)) / (2 * step)
    return found


@pytest.mark.parametrize("target", [None, 1, np.int64(2), "each"])
def test_the_gradient_is_that_of_the_output_that_is_asked_for(target):
    model, x = softened()
    each = np.arange(30) % 3
    index = {None: model.predict(x).argmax(axis=1), "each": each}.get(target, np.full(30, target))
    given = each if isinstance(target, str) else target
    wanted = gradient_of(lambda rows: model.predict(rows)[np.arange(30), index], x)
    np.testing.assert_allclose(saliency(model, x, given, abs=False), wanted, atol=1e-8)
    np.testing.assert_allclose(saliency(model, x, given), np.abs(wanted), atol=1e-8)
    np.testing.assert_allclose(input_x_gradient(model, x, given), x * wanted, atol=1e-8)


def test_the_mean_gradient_over_noise():
    model, x = softened()
    noise = np.random.default_rng(5).standard_normal((4000, 30, 3)) * [0.1, 0.3, 0.0]
    each = np.array([saliency(model, x + one, 1, abs=False) for one in noise])
    found = smooth_grad(model, x, 1, n_samples=4000, stdevs=[0.1, 0.3, 0.0], seed=1)
    np.testing.assert_allclose(found, each.mean(axis=0), atol=5 * each.std(axis=0).max() / 4000**0.5)
    sizes = smooth_grad(model, x, 1, n_samples=4000, stdevs=[0.1, 0.3, 0.0], seed=1, abs=True)
    np.testing.assert_allclose(sizes, np.abs(each).mean(axis=0), atol=5 * each.std(axis=0).max() / 4000**0.5)
    np.testing.assert_array_equal(smooth_grad(model, x, seed=2), smooth_grad(model, x, seed=2))
    assert not np.array_equal(smooth_grad(model, x, seed=2), smooth_grad(model, x, seed=3))
    none = smooth_grad(model, x, 1, n_samples=2, stdevs=0)
    np.testing.assert_allclose(none, saliency(model, x, 1, abs=False), rtol=1e-12)


@pytest.mark.parametrize("baselines", [0, 0.5, [0.1, 0.2, -0.3], table(30, seed=8)], ids=["0", "number", "row", "rows"])
def test_integrated_gradients_are_complete(baselines):
    model, x = softened()
    start = np.broadcast_to(np.asarray(baselines, float), x.shape)
    difference = (model.predict(x) - model.predict(np.ascontiguousarray(start)))[:, 2]
    parts, delta = integrated_gradients(model, x, baselines, 2, return_convergence_delta=True)
    np.testing.assert_allclose(parts.sum(axis=1), difference, atol=1e-9)
    np.testing.assert_allclose(delta, parts.sum(axis=1) - difference, atol=1e-12)
    np.testing.assert_array_equal(integrated_gradients(model, x, baselines, 2), parts)


@pytest.mark.parametrize("n_steps", [1, 7, 50])
@pytest.mark.parametrize("method", ["gausslegendre", "riemann_left", "riemann_middle", "riemann_right"])
def test_the_rules_of_integration(method, n_steps):
    model, x = softened()
    if method == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(n_steps)
        points, weights = (points + 1) / 2, weights / 2
    else:
        first = {"riemann_left": 0, "riemann_middle": 1 / (2 * n_steps), "riemann_right": 1 / n_steps}[method]
        points, weights = first + np.arange(n_steps) / n_steps, np.full(n_steps, 1 / n_steps)
    each = [w * saliency(model, a * x, 1, abs=False) for a, w in zip(points, weights, strict=True)]
    found = integrated_gradients(model, x, target=1, n_steps=n_steps, method=method)
    np.testing.assert_allclose(found, x * np.sum(each, axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_net_is_explained_exactly(dtype):
    x = table(30)
    model = fastnn.Model([], loss="squared_error", seed=0, dtype=dtype)
    model.fit(x, table(30, d=2, seed=2), epochs=5)
    w = model.weights[0]
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for o in range(2):
        np.testing.assert_allclose(saliency(model, x, o, abs=False), np.tile(w[:, o], (30, 1)), atol=tolerance)
        for found in (
            input_x_gradient(model, x, o),
            integrated_gradients(model, x, target=o, n_steps=3),
            x * smooth_grad(model, x, o, n_samples=3),
        ):
            np.testing.assert_allclose(found, x * w[:, o], atol=4 * tolerance)
            assert saliency(model, x, o).dtype == dtype


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # of scikit-learn: the training is short
@pytest.mark.parametrize("kind", ["text", "two", "several"])
def test_classes_have_the_labels_of_the_estimator(kind):
    pytest.importorskip("sklearn")
    x, y = data(60)
    text, two = np.array(["b", "a", "c"])[y], np.where(y > 0, "yes", "no")
    labels = {"text": text, "two": two, "several": np.eye(3, dtype=int)[y]}
    estimator = fastnn.MLPClassifier((6,), "tanh", random_state=0, max_iter=30, dtype="float64").fit(x, labels[kind])
    names = list(range(3)) if kind == "several" else list(estimator.classes_)
    for k, name in enumerate(names):
        wanted = gradient_of(lambda rows, k=k: estimator.predict_proba(rows)[:, k], x)
        np.testing.assert_allclose(saliency(estimator, x, name, abs=False), wanted, atol=1e-8)
        parts, delta = integrated_gradients(estimator, x, target=name, return_convergence_delta=True)
        difference = estimator.predict_proba(x)[:, k] - estimator.predict_proba(0 * x)[:, k]
        np.testing.assert_allclose(parts.sum(axis=1), difference, atol=1e-9)
        np.testing.assert_allclose(delta, 0, atol=1e-9)
    if kind == "text":
        np.testing.assert_array_equal(saliency(estimator, x), saliency(estimator, x, estimator.predict(x)))
    if kind == "two":
        np.testing.assert_array_equal(saliency(estimator, x), saliency(estimator, x, "yes"))
        mixed = np.where(np.arange(60) % 2, "yes", "no")
        rows = saliency(estimator, x, mixed, abs=False)
        np.testing.assert_array_equal(rows[1::2], saliency(estimator, x[1::2], "yes", abs=False))
        np.testing.assert_array_equal(rows[::2], saliency(estimator, x[::2], "no", abs=False))
    with pytest.raises(ValueError, match=r"^target must be None, one of the outputs"):
        saliency(estimator, x, "unknown")


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_regressors():
    pytest.importorskip("sklearn")
    x = table(40)
    settings = {"hidden_layer_sizes": (6,), "activation": "tanh", "random_state": 0, "max_iter": 30}
    estimator = fastnn.MLPRegressor(**settings).fit(x, table(40, d=2, seed=3))
    wanted = gradient_of(lambda rows: estimator.predict(rows)[:, 1], x)
    np.testing.assert_allclose(saliency(estimator, x, 1, abs=False), wanted, atol=1e-8)
    single = fastnn.MLPRegressor(**settings).fit(x, x[:, 0])
    np.testing.assert_allclose(saliency(single, x, abs=False), gradient_of(single.predict, x), atol=1e-8)


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_rows_are_explained_one_by_one_and_nothing_is_changed(explanation):
    model, x = softened("relu", dtype="float32")
    before, kept = bits(model), x.copy()
    whole = explanation(model, x)
    assert whole.shape == x.shape
    assert whole.dtype == np.float32
    assert bits(model) == before
    np.testing.assert_array_equal(x, kept)
    if explanation is not smooth_grad:  # whose noise depends on the place of the row
        np.testing.assert_array_equal(explanation(model, x[7:8]), whole[7:8])
    read_only = np.asfortranarray(x)
    read_only.flags.writeable = False
    np.testing.assert_array_equal(explanation(model, read_only), whole)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"target": 3}, ValueError, r"target must be None, one of the outputs \[0, 1, 2\]"),
        ({"target": -1}, ValueError, "target must be"),
        ({"target": 0.5}, ValueError, "target must be"),
        ({"target": "a"}, ValueError, "target must be"),
        ({"target": True}, ValueError, "target must be"),
        ({"target": [0, 1]}, ValueError, "target must be"),
        ({"X": np.zeros((4, 2))}, ValueError, "X has 2 features"),
        ({"X": np.full((4, 3), np.inf)}, ValueError, "X"),
        ({"model": "net"}, TypeError, "model must be"),
        ({"model": regressor()}, ValueError, "no weights yet"),
        ({"goal": 1}, TypeError, "goal"),
    ],
    ids=lambda given: str(given)[:30],
)
@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_wrong_settings_are_refused(explanation, settings, error, text):
    x, y = data()
    model = classifier()
    model.fit(x, y)
    with pytest.raises(error, match=text):
        explanation(**{"model": model, "X": x, **settings})


@pytest.mark.parametrize(
    ("explanation", "settings", "error", "text"),
    [
        (saliency, {"abs": 1}, TypeError, "abs must be"),
        (integrated_gradients, {"n_steps": 0}, ValueError, "n_steps must be at least 1"),
        (integrated_gradients, {"method": "simpson"}, ValueError, "method must be"),
        (integrated_gradients, {"baselines": [1, 2]}, ValueError, "baselines must be a number"),
        (integrated_gradients, {"baselines": "mean"}, TypeError, "baselines must be a number"),
        (integrated_gradients, {"baselines": np.nan}, ValueError, "baselines must be a number"),
        (integrated_gradients, {"return_convergence_delta": None}, TypeError, "return_convergence_delta must be"),
        (smooth_grad, {"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        (smooth_grad, {"stdevs": -1}, ValueError, "stdevs must be at least 0"),
        (smooth_grad, {"stdevs": [1, 2]}, ValueError, "stdevs must be a number"),
        (smooth_grad, {"seed": -1.5}, TypeError, "seed must be"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_of_one_explanation_are_refused(explanation, settings, error, text):
    x, y = data()
    model = classifier()
    model.fit(x, y)
    with pytest.raises(error, match=text):
        explanation(model, x, **settings)
