"""Nets from given weights: as the start of a fit, and without a fit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fastnn import MLPClassifier, MLPRegressor, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.sin(X[:, 0]) + X[:, 1]
LABELS = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
SETTINGS = {"hidden_layer_sizes": 5, "random_state": 0, "max_iter": 3}
COEFS = [RNG.standard_normal((4, 5)), RNG.standard_normal((5, 1))]
INTERCEPTS = [RNG.standard_normal(5), RNG.standard_normal(1)]
START = {"coefs_init": COEFS, "intercepts_init": INTERCEPTS}


def same(a, b):
    return all(np.array_equal(v, w) for v, w in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_],
                                                    strict=True))  # fmt: skip


def test_a_fit_starts_from_given_weights():
    still = {"solver": "sgd", "learning_rate_init": 1e-300, "alpha": 0.0}
    net = MLPRegressor(**SETTINGS, **still).fit(X, Y, **START)
    for given, found in zip([*COEFS, *INTERCEPTS], [*net.coefs_, *net.intercepts_], strict=True):
        np.testing.assert_array_equal(found, given)
        assert not np.shares_memory(found, given)
    drawn = MLPRegressor(**SETTINGS, **still).fit(X, Y)
    half = MLPRegressor(**SETTINGS, **still).fit(X, Y, coefs_init=[w.tolist() for w in COEFS])
    np.testing.assert_array_equal(half.intercepts_[0], drawn.intercepts_[0])
    np.testing.assert_array_equal(half.coefs_[0], COEFS[0])


def test_weights_of_another_net_go_on():
    """A fit from the weights of a fit is a warm start, except for the order of rows."""
    params = {**SETTINGS, "shuffle": False, "warm_start": True}
    net = MLPRegressor(**params).fit(X, Y)
    other = MLPRegressor(**params).fit(X, Y, coefs_init=net.coefs_, intercepts_init=net.intercepts_)
    assert same(other, net.fit(X, Y))
    net.fit(X, Y, **START)  # replaces the weights of the previous fit
    assert same(net, MLPRegressor(**params).fit(X, Y, **START))
    assert len(net.loss_curve_) == 9


def test_start_weights_in_a_search():
    search = GridSearchCV(MLPRegressor(**SETTINGS), {"alpha": [0.0, 0.1]}, cv=2, error_score="raise")
    assert same(search.fit(X, Y, **START).best_estimator_,
                clone(search.best_estimator_).fit(X, Y, **START))  # fmt: skip
    with sklearn.config_context(enable_metadata_routing=True):
        net = MLPRegressor(**SETTINGS).set_fit_request(coefs_init=True, intercepts_init=True)
        routed = GridSearchCV(net, {"alpha": [0.0, 0.1]}, cv=2, error_score="raise").fit(X, Y, **START)
    assert same(routed.best_estimator_, search.best_estimator_)


WRONG = [
    ({"coefs_init": COEFS[:1]}, r"coefs_init must be 2 arrays, one per layer"),
    ({"coefs_init": 5}, r"coefs_init must be 2 arrays"),
    ({"coefs_init": [COEFS[0].T, COEFS[1]]}, r"coefs_init\[0\] must be of shape \(4, 5\), got \(5, 4\)"),
    ({"intercepts_init": [INTERCEPTS[0], [np.nan]]}, r"intercepts_init\[1\] must be finite"),
    ({"intercepts_init": [INTERCEPTS[0], ["x"]]}, r"intercepts_init\[1\] must be an array of numbers"),
]


@pytest.mark.parametrize(("given", "match"), WRONG)
def test_start_weights_that_do_not_fit(given, match):
    net = MLPRegressor(**SETTINGS).fit(X, Y)
    before = copy.deepcopy(net)
    for call in (lambda: net.fit(X, Y, **given), lambda: net.set_params(warm_start=True).fit(X, Y, **given),
                 lambda: net.build(4, **given)):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=match):
            call()
        assert same(net, before)
        np.testing.assert_array_equal(net.predict(X), before.predict(X))


# --------------------------------------------------------------------------------------------------------- build


def test_a_regressor_is_built_from_weights():
    net = MLPRegressor(hidden_layer_sizes=5, activation="tanh").build(4, **START)
    expected = np.tanh(X @ COEFS[0] + INTERCEPTS[0]) @ COEFS[1] + INTERCEPTS[1]
    np.testing.assert_allclose(net.predict(X), expected[:, 0], rtol=1e-12)
    assert (net.n_features_in_, net.n_layers_, net.n_outputs_, net.t_, net.n_iter_) == (4, 3, 1, 0, 0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict(X), net.predict(X))
    assert net.transform(X).shape == (60, 5)
    with pytest.raises(ValueError, match="X has 2 features"):
        net.predict(X[:, :2])


def test_a_net_that_was_built_is_trained_on():
    for kind, y, widths in ((MLPRegressor, Y, ()), (MLPClassifier, LABELS, (["c", "a", "b"],))):
        drawn = kind(**SETTINGS)
        assert same(drawn.build(4, *widths), kind(**SETTINGS).build(4, *widths))
        warm = clone(drawn).set_params(warm_start=True, shuffle=False).build(4, *widths).fit(X, y)
        start = {"coefs_init": drawn.coefs_, "intercepts_init": drawn.intercepts_}
        assert same(warm, clone(drawn).set_params(shuffle=False).fit(X, y, **start))
        first = clone(drawn).build(4, *widths).partial_fit(X, y)
        assert same(first, clone(drawn).build(4, *widths).partial_fit(X, y))
        assert len(first.loss_curve_) == 1
        assert drawn.fit(X, y).predict(X).shape == (60,)


@pytest.mark.parametrize(("classes", "width"), [(["no", "yes"], 1), (["a", "b", "c"], 3), ([3, 1], 1)])
def test_a_classifier_is_built_from_weights(classes, width):
    coefs, intercepts = [RNG.standard_normal((4, width))], [RNG.standard_normal(width)]
    net = MLPClassifier(()).build(4, classes, coefs_init=coefs, intercepts_init=intercepts)
    logits = X @ coefs[0] + intercepts[0]
    expected = logits.argmax(axis=1) if width > 1 else (logits[:, 0] > 0) * 1
    np.testing.assert_array_equal(net.predict(X), np.sort(classes)[expected])
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1.0)
    np.testing.assert_array_equal(net.classes_, np.sort(classes))
    assert 0.0 <= net.score(X, net.predict(X)) <= 1.0


def test_a_classifier_of_several_labels_is_built():
    y = (X[:, :3] > 0).astype(int)
    net = MLPClassifier(**SETTINGS).build(4, range(3), multilabel=True)
    assert net.predict(X).shape == (60, 3)
    fitted = MLPClassifier(**SETTINGS).fit(X, y)
    assert net.out_activation_ == fitted.out_activation_
    np.testing.assert_array_equal(net.classes_, fitted.classes_)
    assert net.partial_fit(X, y).n_iter_ == 1


def test_what_a_loss_requires_of_the_outputs():
    net = MLPRegressor("gaussian_nll", 5).build(4, 2)
    assert net.n_outputs_ == 4
    assert [one.shape for one in net.predict(X, return_std=True)] == [(60, 2), (60, 2)]
    assert MLPRegressor(losses.quantile(0.1, 0.9), 5).build(4).predict(X).shape == (60, 2)
    assert (MLPRegressor("poisson", 5).build(4).predict(X) > 0).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: MLPRegressor().build(0), "n_features must be"),
        (lambda: MLPRegressor().build(4, 0), "n_outputs must be"),
        (lambda: MLPRegressor(alpha=-1).build(4), "The 'alpha' parameter of MLPRegressor"),
        (lambda: MLPRegressor(hidden_layer_sizes=(2**45,)).build(4), "hidden_layer_sizes"),
        (lambda: MLPClassifier().build(4, 3), "classes"),
        (lambda: MLPClassifier().build(4, [["a", "b"], ["c", "d"]]), "classes"),
        (lambda: MLPClassifier().build(4, ["a", "b"], multilabel=True), r"classes must be 0, 1, \.\.\."),
        (lambda: MLPClassifier().build(4, ["a", "b"], multilabel=1), "multilabel must be"),
    ],
)
def test_what_cannot_be_built(call, match):
    with pytest.raises((TypeError, ValueError, MemoryError), match=match):
        call()


def test_names_of_columns_are_forgotten():
    pandas = pytest.importorskip("pandas")
    net = MLPRegressor(**SETTINGS).fit(pandas.DataFrame(X, columns=list("abcd")), Y)
    assert not hasattr(net.build(3), "feature_names_in_")
    assert net.n_features_in_ == 3
