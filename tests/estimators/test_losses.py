"""Losses of the estimators that scikit-learn's do not have: what is minimized, reported, predicted and scored."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.base import clone
from sklearn.metrics import d2_pinball_score, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV

import fastnn
from fastnn import MLPClassifier, MLPRegressor, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
ONE = np.sin(X[:, 0]) + 0.3 * RNG.standard_normal(60)
TWO = np.c_[ONE, X[:, 1] ** 2]
WEIGHT = RNG.random(60) + 0.1


def absolute_value(u, t):
    return abs(u - t)


def sign(u, t):
    return 1.0 if u > t else -1.0


def value_of(name, u, t):
    """Sum over the outputs of the loss of each row; (n,)."""
    if name == "gaussian_nll":
        mean, s = np.hsplit(u, 2)
        return (0.5 * (s + (t - mean) ** 2 * np.exp(-s))).sum(axis=1)
    if name == "quantiles":
        u, t = u.reshape(len(u), -1, 3), t[:, :, None]
        q = np.array([0.1, 0.5, 0.9])
        return np.maximum(q * (t - u), (1 - q) * (u - t)).sum(axis=(1, 2))
    e = u - t
    return {
        "absolute_error": np.abs(e),
        "huber": np.where(np.abs(e) <= 1, e**2 / 2, np.abs(e) - 0.5),
        "huber(0.3)": np.where(np.abs(e) <= 0.3, e**2 / 2, 0.3 * (np.abs(e) - 0.15)),
        "quantile": np.abs(e) / 2,
        "custom": np.abs(e),
    }[name].sum(axis=1)


LOSSES = {
    "absolute_error": "mae",
    "huber": "huber",
    "huber(0.3)": losses.huber(0.3),
    "quantile": "quantile",
    "quantiles": losses.quantile(0.1, 0.5, 0.9),
    "gaussian_nll": "gaussian_nll",
    "custom": fastnn.custom.loss(absolute_value, sign, name="quantile"),  # a name that is taken
}


def outputs_of(net, X):
    """Outputs of the last layer of a relu net, from its attributes."""
    for k, (w, b) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        X = X @ w + b
        if k < len(net.coefs_) - 1:
            X = np.maximum(X, 0)
    return X


@pytest.mark.parametrize("y", [ONE, TWO], ids=["one target", "two targets"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weights"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_summed_over_the_outputs_and_has_half_the_penalty(name, weight, y):
    """A step of plain descent from the start weights goes down the loss that is reported."""
    settings = {"hidden_layer_sizes": 5, "alpha": 0.5, "random_state": 0, "batch_size": 60, "max_iter": 1}
    net = MLPRegressor(LOSSES[name], solver="sgd", momentum=0, learning_rate_init=1e-4, **settings)
    start = clone(net).set_params(learning_rate_init=1e-300).fit(X, y, weight)

    def loss_at(coefs, intercepts):
        total = np.sum(weight) if weight is not None else len(X)
        at = MLPRegressor(hidden_layer_sizes=5)
        at.coefs_, at.intercepts_ = coefs, intercepts
        rows = value_of(name, outputs_of(at, X), y.reshape(len(y), -1))
        penalty = 0.25 * sum((w**2).sum() for w in coefs) / total
        return np.average(rows, weights=weight) + penalty

    assert start.loss_ == pytest.approx(loss_at(start.coefs_, start.intercepts_), rel=1e-12)
    net.fit(X, y, weight)
    for k, j in ((0, (1, 2)), (1, (2, 0))):
        slopes = []
        for h in (1e-6, -1e-6):
            moved = [w.copy() for w in start.coefs_]
            moved[k][j] += h
            slopes.append(loss_at(moved, start.intercepts_))
        step = net.coefs_[k][j] - start.coefs_[k][j]
        assert step == pytest.approx(-1e-4 * (slopes[0] - slopes[1]) / 2e-6, rel=1e-5, abs=1e-12)


def test_what_predict_returns():
    shapes = {"absolute_error": (60,), "quantile": (60,), "quantiles": (60, 3), "gaussian_nll": (60,)}
    for name, shape in shapes.items():
        net = MLPRegressor(LOSSES[name], 5, max_iter=2, random_state=0).fit(X, ONE)
        assert net.predict(X).shape == shape
        two = MLPRegressor(LOSSES[name], 5, max_iter=2, random_state=0).fit(X, TWO)
        assert two.predict(X).shape == (60, 2, *shape[1:])
    levels = outputs_of(MLPRegressor(LOSSES["quantiles"], 5, max_iter=2, random_state=0).fit(X, TWO), X)
    again = MLPRegressor(LOSSES["quantiles"], 5, max_iter=2, random_state=0).fit(X, TWO).predict(X)
    np.testing.assert_allclose(again[:, 1], levels[:, 3:], rtol=1e-12)


def test_means_and_deviations():
    for y in (ONE, TWO):
        net = MLPRegressor("gaussian_nll", 5, max_iter=5, random_state=0).fit(X, y)
        mean, std = net.predict(X, return_std=True)
        outputs = outputs_of(net, X)
        half = outputs.shape[1] // 2
        np.testing.assert_allclose(mean.reshape(60, half), outputs[:, :half], rtol=1e-12)
        np.testing.assert_allclose(std.reshape(60, half), np.exp(outputs[:, half:] / 2), rtol=1e-12)
        np.testing.assert_array_equal(net.predict(X), mean)
        assert net.score(X, y) == pytest.approx(r2_score(y, mean))
        assert net.n_outputs_ == 2 * half
    with pytest.raises(ValueError, match="return_std is True, but the loss is 'huber'"):
        MLPRegressor("huber", 5, max_iter=1).fit(X, ONE).predict(X, return_std=True)
    with pytest.raises((TypeError, ValueError), match="return_std must be"):
        net.predict(X, return_std="yes")


def test_quantiles_are_learnt_and_scored():
    levels = (0.1, 0.5, 0.9)
    net = MLPRegressor(losses.quantile(*levels), 10, max_iter=400, random_state=0, learning_rate_init=0.01)
    net.fit(X, ONE)
    below = (ONE[:, None] <= net.predict(X)).mean(axis=0)
    np.testing.assert_allclose(below, levels, atol=0.1)
    scores = [d2_pinball_score(ONE, net.predict(X)[:, k], alpha=q, sample_weight=WEIGHT) for k, q in enumerate(levels)]
    assert net.score(X, ONE, WEIGHT) == pytest.approx(np.mean(scores))
    median = MLPRegressor("quantile", 10, max_iter=50, random_state=0).fit(X, ONE)
    assert median.score(X, ONE) == pytest.approx(d2_pinball_score(ONE, median.predict(X)))
    assert 2 * mean_pinball_loss(ONE, median.predict(X)) == pytest.approx(np.abs(ONE - median.predict(X)).mean())


@pytest.mark.parametrize("name", ["quantiles", "gaussian_nll", "custom"])
def test_early_stopping_scores_as_score_does(name):
    net = MLPRegressor(LOSSES[name], 5, max_iter=1, early_stopping=True, random_state=0)
    net.fit(X[:40], TWO[:40], X_val=X[40:], y_val=TWO[40:])
    assert net.validation_scores_ == [pytest.approx(net.score(X[40:], TWO[40:]), abs=1e-12)]
    with pytest.raises(ValueError, match="y_val has 1 outputs, but y has 2"):
        net.fit(X, TWO, X_val=X, y_val=ONE)


@pytest.mark.parametrize("name", LOSSES)
def test_copies_go_on_as_the_original(name):
    net = MLPRegressor(LOSSES[name], 5, max_iter=2, random_state=0).fit(X, ONE)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    np.testing.assert_array_equal(again.partial_fit(X, ONE).predict(X), net.partial_fit(X, ONE).predict(X))
    np.testing.assert_array_equal(clone(net).fit(X, ONE).loss_curve_, clone(net).fit(X, ONE).loss_curve_)


def test_losses_can_be_searched():
    grid = {"loss": ["squared_error", "huber", losses.huber(0.5)]}
    search = GridSearchCV(MLPRegressor(hidden_layer_sizes=5, max_iter=3, random_state=0), grid, cv=2).fit(X, ONE)
    assert len(set(search.cv_results_["mean_test_score"])) == 3


@pytest.mark.parametrize(
    ("loss", "kind", "match"),
    [
        ("hubert", ValueError, "loss must be one of .* Did you mean 'huber'"),
        ("log_loss", ValueError, "loss"),
        ("softmax_crossentropy", ValueError, "loss must be one for regression, got .* MLPClassifier"),
        (losses.binary_crossentropy(0.1), ValueError, "loss must be one for regression"),
        ("sum_of_squares", ValueError, "loss must be a mean over the rows, .*'squared_error' is half"),
        (losses.huber, ValueError, "The 'loss' parameter of MLPRegressor must be"),
        (None, ValueError, "The 'loss' parameter of MLPRegressor must be"),
    ],
)
def test_losses_that_are_refused(loss, kind, match):
    net = MLPRegressor(hidden_layer_sizes=5, max_iter=1).fit(X, ONE)
    before = net.predict(X)
    with pytest.raises(kind, match=match):
        net.set_params(loss=loss).fit(X, ONE)
    np.testing.assert_array_equal(net.predict(X), before)


def test_other_losses_have_no_levenberg_marquardt():
    with pytest.raises(ValueError, match="solver='lm' requires loss='squared_error', but the loss is 'huber'"):
        MLPRegressor("huber", solver="lm").fit(X, ONE)
    assert MLPRegressor("mse", 5, solver="lm", max_iter=2).fit(X, ONE).n_iter_ <= 2


def test_the_loss_of_a_net_that_goes_on():
    net = MLPRegressor(hidden_layer_sizes=5, max_iter=2, random_state=0, warm_start=True).fit(X, ONE)
    with pytest.raises(ValueError, match="loss is 'huber', but partial_fit continues"):
        net.set_params(loss="huber").partial_fit(X, ONE)
    assert len(net.fit(X, ONE).loss_curve_) == 4  # a warm start may have another
    with pytest.raises(ValueError, match=r"loss is 'poisson', but warm_start continues .* output is 'identity'"):
        net.set_params(loss="poisson").fit(X, np.abs(ONE))
    with pytest.raises(ValueError, match=r"warm_start continues .* \[4, 5, 1\], .* require \[4, 5, 2\]"):
        net.set_params(loss="gaussian_nll").fit(X, ONE)
    assert net.predict(X).shape == (60,)


# ------------------------------------------------------------------------------------------- label smoothing


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_label_smoothing_spreads_a_share_of_the_targets(kind):
    y = {"binary": (ONE > 0) * 1, "multiclass": np.digitize(ONE, [-0.5, 0.5]), "multilabel": (TWO > 0.3) * 1}[kind]
    start = MLPClassifier(5, label_smoothing=0.3, random_state=0, max_iter=1, solver="sgd", alpha=0.0, batch_size=60,
                          momentum=0, learning_rate_init=1e-300).fit(X, y)  # fmt: skip
    p = start.predict_proba(X)
    if kind == "multiclass":
        t = np.eye(3)[y] * 0.7 + 0.1
        expected = -(t * np.log(p)).sum(axis=1).mean()
    else:
        p, t = (p[:, 1:], y[:, None]) if kind == "binary" else (p, y)
        t = t * 0.7 + 0.15
        expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(axis=1).mean()
    assert start.loss_ == pytest.approx(expected, rel=1e-9)


def test_label_smoothing_keeps_probabilities_apart_from_0_and_1():
    y = (X[:, 0] > 0) * 1
    nets = [MLPClassifier((), label_smoothing=s, alpha=0.0, solver="lbfgs", max_iter=300).fit(X, y) for s in (0.0, 0.2)]
    assert nets[0].predict_proba(X).max() > 0.999
    assert 0.7 < np.median(nets[1].predict_proba(X).max(axis=1)) < 0.95
    assert nets[1].score(X, y) > 0.9


def test_wrong_label_smoothing():
    y = (ONE > 0) * 1
    for value in (1.0, -0.1, "0.1", None):
        with pytest.raises(ValueError, match="The 'label_smoothing' parameter of MLPClassifier must be"):
            MLPClassifier(label_smoothing=value).fit(X, y)
    net = MLPClassifier(5, label_smoothing=0.1, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=r"label_smoothing is 0.2, but partial_fit continues"):
        net.set_params(label_smoothing=0.2).partial_fit(X, y)
