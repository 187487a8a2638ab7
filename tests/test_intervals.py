"""Conformal prediction: coverage as stated on rows that were not seen, whatever the estimator."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import Ensemble, Model
from fastnn.intervals import CrossConformalRegressor, SplitConformalClassifier, SplitConformalRegressor

datasets = pytest.importorskip("sklearn.datasets")
linear_model = pytest.importorskip("sklearn.linear_model")


def scaled(X, y):
    return (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()


def waves(n=600):
    """Noise that grows with |x|."""
    rng = np.random.default_rng(5)
    X = rng.uniform(-2, 2, (n, 1))
    return X, np.sin(2 * X[:, 0]) + 0.3 * np.abs(X[:, 0]) * rng.standard_normal(n)


@functools.cache
def data(name):
    if name == "wine":  # alcohol from all else
        X = datasets.load_wine().data
        return scaled(X[:, 1:], X[:, 0])
    if name == "breast cancer":  # the worst texture from the means
        X = datasets.load_breast_cancer().data
        return scaled(X[:, :10], X[:, 20 + 8])
    if name == "waves":
        return scaled(*waves())
    make = {
        "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
        "friedman1": lambda: datasets.make_friedman1(600, noise=1.0, random_state=0),
        "friedman2": lambda: datasets.make_friedman2(600, noise=50.0, random_state=0),
    }[name]
    return scaled(*make())


SETS = ["diabetes", "wine", "breast cancer", "friedman1", "friedman2", "waves"]


def net(kind="model"):
    layers = [fastnn.Dense(16, "tanh"), 1]
    settings = {"loss": "squared_error", "optimizer": fastnn.Adam(0.01), "seed": 0}
    return Model(layers, **settings) if kind == "model" else Ensemble(layers, 4, **settings)


class OnlyPredicts:
    """What has predictions and no training."""

    def __init__(self, value=0.0):
        self.value = value

    def predict(self, X):
        return np.full(len(X), self.value)

    def predict_proba(self, X):
        return np.full((len(X), 2), self.value)


def coverage(intervals, y, level=0):
    return np.mean((y >= intervals[:, 0, level]) & (y <= intervals[:, 1, level]))


@pytest.mark.parametrize("kind", ["model", "ensemble"])
@pytest.mark.parametrize("score", ["absolute", "residual_normalized"])
@pytest.mark.parametrize("name", SETS)
def test_split_intervals_cover_what_they_state(name, score, kind):
    X, y = data(name)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, rest = order[: len(y) // 3], order[len(y) // 3 :]
    estimator = net(kind)
    estimator.fit(X[train], y[train], epochs=30)
    found, wider = [], []
    for _ in range(100):  # over the rows that measure errors and those that are covered
        rng.shuffle(rest)
        measured, fresh = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        regressor = SplitConformalRegressor(estimator, [0.9, 0.5], conformity_score=score)
        predicted, intervals = regressor.conformalize(X[measured], y[measured]).predict_interval(X[fresh])
        assert intervals.shape == (len(fresh), 2, 2)
        assert np.array_equal(predicted, estimator.predict(X[fresh])[:, 0])
        found.append(coverage(intervals, y[fresh]))
        wider.append(np.ptp(intervals[:, :, 0], axis=1) >= np.ptp(intervals[:, :, 1], axis=1))
    assert 0.88 <= np.mean(found) <= 0.92
    assert np.all(np.concatenate(wider))


@pytest.mark.parametrize("name", SETS)
def test_cross_intervals_cover_what_they_state(name):
    """Of ensembles: the copies of one net differ more, and CV+ then covers up to 2 points more than it states."""
    X, y = data(name)
    found = []
    for split in range(12):
        order = np.random.default_rng(split).permutation(len(y))
        train, fresh = order[: len(y) * 2 // 3], order[len(y) * 2 // 3 :]
        regressor = CrossConformalRegressor(net("ensemble"), 0.9, cv=10).fit_conformalize(X[train], y[train], epochs=30)
        found.append(coverage(regressor.predict_interval(X[fresh])[1], y[fresh]))
    assert 0.88 <= np.mean(found) <= 0.92


def test_a_scale_makes_intervals_wide_where_errors_are_large():
    X, y = waves(1500)
    ensemble = Ensemble([16, 2], 4, loss="gaussian_nll", optimizer=fastnn.Adam(0.01), seed=0)
    ensemble.fit(X[:500], y[:500], epochs=60)
    regressor = SplitConformalRegressor(ensemble, conformity_score="residual_normalized")
    regressor.conformalize(X[500:1000], y[500:1000])
    intervals = regressor.predict_interval(X[1000:])[1]
    far = np.abs(X[1000:, 0]) > 1.5
    near = np.abs(X[1000:, 0]) < 0.5
    widths = np.ptp(intervals[:, :, 0], axis=1)
    assert widths[far].mean() > 2 * widths[near].mean()
    assert 0.85 <= coverage(intervals[far], y[1000:][far]) <= 0.96  # and right for each part, which no theorem states
    assert 0.85 <= coverage(intervals[near], y[1000:][near]) <= 0.97


def test_cross_conformal_is_the_formula_over_models_trained_without_a_fold():
    X, y = data("waves")
    X, y, fresh = X[:60], y[:60], X[60:70]
    regressor = CrossConformalRegressor(net(), [0.8, 0.6], cv=3, random_state=4).fit_conformalize(X, y, epochs=5)
    fold = np.random.default_rng(4).permutation(60) % 3
    low, high = [], []
    models = []
    for k in range(3):
        model = net()
        model.fit(X, y, epochs=5, sample_weight=(fold != k).astype(float))
        models.append(model)
    for i in range(60):
        own = models[fold[i]]
        error = abs(y[i] - float(own.predict(X[i : i + 1])[0, 0]))
        low.append(own.predict(fresh)[:, 0].astype(float) - error)
        high.append(own.predict(fresh)[:, 0].astype(float) + error)
    low, high = np.sort(low, axis=0), np.sort(high, axis=0)
    predicted, intervals = regressor.predict_interval(fresh)
    for k, rank in enumerate((49, 37)):  # ceil(61 * 0.8), ceil(61 * 0.6), counted from 1
        np.testing.assert_allclose(intervals[:, 0, k], low[60 - rank], atol=1e-5)
        np.testing.assert_allclose(intervals[:, 1, k], high[rank - 1], atol=1e-5)
    np.testing.assert_allclose(predicted, np.mean([m.predict(fresh)[:, 0] for m in models], axis=0), atol=1e-5)
    assert np.array_equal(predicted, regressor.predict(fresh))
    for k in range(3):
        np.testing.assert_allclose(regressor.estimators[k].predict(fresh), models[k].predict(fresh), atol=1e-5)


def test_the_estimator_of_cross_conformal_is_unchanged():
    X, y = data("waves")
    model = net()
    CrossConformalRegressor(model, cv=2).fit_conformalize(X, y, epochs=2)
    assert not model.built
    ensemble = Ensemble([4, 1], 2, loss="squared_error", seed=0, bootstrap=True)
    made = CrossConformalRegressor(ensemble, cv=2).fit_conformalize(X, y, epochs=2)
    assert [len(one) for one in made.estimators] == [2, 2]
    assert made.predict_interval(X[:3])[1].shape == (3, 2, 1)
    assert not ensemble.members[0].built


def test_workers_change_no_bit():
    X, y = data("waves")
    alone = CrossConformalRegressor(net(), cv=3).fit_conformalize(X, y, epochs=2)
    shared = CrossConformalRegressor(net(), cv=3).fit_conformalize(X, y, epochs=2, n_jobs=2)
    assert np.array_equal(alone.predict_interval(X)[1], shared.predict_interval(X)[1])


def test_estimators_of_scikit_learn_and_of_fastnn():
    pd = pytest.importorskip("pandas")
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = data("diabetes")
    own = fastnn.MLPRegressor(hidden_layer_sizes=(8,), alpha=1.0, early_stopping=True, max_iter=500, random_state=0)
    for estimator in (linear_model.Ridge(), own):
        split = SplitConformalRegressor(estimator, prefit=False, conformity_score="residual_normalized")
        split.fit(X[:150], y[:150]).conformalize(X[150:300], y[150:300])
        assert 0.8 <= coverage(split.predict_interval(X[300:])[1], y[300:]) <= 0.98
        cross = CrossConformalRegressor(estimator, cv=5)
        frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(10)])
        cross.fit_conformalize(frame[:300], pd.Series(y[:300]))
        assert 0.8 <= coverage(cross.predict_interval(frame[300:])[1], y[300:]) <= 0.98


# ---------------------------------------------------------------------------------------------------- classes


@pytest.fixture(scope="module")
def digits():
    X, y, X_rest, y_rest = fastnn.datasets.load_digits()
    model = Model([16, 10], loss="softmax_crossentropy", seed=0)
    model.fit(X, y, epochs=8)
    return model, X_rest, y_rest


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_cover_what_they_state(digits, score):
    model, X, y = digits
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        order = rng.permutation(len(y))
        measured, fresh = order[:150], order[150:]
        classifier = SplitConformalClassifier(model, [0.9, 0.99], conformity_score=score)
        predicted, sets = classifier.conformalize(X[measured], y[measured]).predict_set(X[fresh])
        assert sets.shape == (len(fresh), 10, 2)
        assert sets.dtype == bool
        assert np.all(sets[:, :, 0] <= sets[:, :, 1])
        found.append(sets[np.arange(len(fresh)), y[fresh], 0].mean())
    assert np.array_equal(predicted, model.predict_classes(X[fresh]))
    assert 0.88 <= np.mean(found) <= (0.92 if score == "lac" else 1.0)


def test_sets_of_two_classes_and_of_labels():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    model = Model([4, 1], loss="binary_crossentropy", seed=0)
    model.fit(X[:200], y[:200], epochs=5)
    predicted, sets = SplitConformalClassifier(model).conformalize(X[200:400], y[200:400]).predict_set(X[400:])
    assert sets.shape == (169, 2, 1)
    assert np.array_equal(predicted, model.predict_classes(X[400:]))
    names = np.array(["benign", "malignant"])[y]
    estimator = fastnn.MLPClassifier(hidden_layer_sizes=(4,), early_stopping=True, max_iter=500, random_state=0)
    classifier = SplitConformalClassifier(estimator, prefit=False, conformity_score="aps").fit(X[:200], names[:200])
    predicted, sets = classifier.conformalize(X[200:400], names[200:400]).predict_set(X[400:])
    assert set(predicted) <= {"benign", "malignant"}
    assert np.mean(sets[np.arange(169), y[400:], 0]) > 0.85
    with pytest.raises(ValueError, match="y must be one of the classes"):
        classifier.conformalize(X[:200], y[:200])


# ------------------------------------------------------------------------------------------------------ errors


def test_bad_arguments():
    X, y = data("waves")
    model = net()
    model.fit(X, y)
    with pytest.raises(TypeError, match="estimator must be"):
        SplitConformalRegressor(Model)
    with pytest.raises(TypeError, match="with predict_proba"):
        SplitConformalClassifier(object())
    for level in (0.0, 1.0, [], [0.9, 2.0]):
        with pytest.raises(ValueError, match="confidence_level must be"):
            SplitConformalRegressor(model, level)
    with pytest.raises(ValueError, match="conformity_score must be"):
        SplitConformalRegressor(model, conformity_score="gamma")
    with pytest.raises(ValueError, match="prefit=True"):
        SplitConformalRegressor(model).fit(X, y)
    with pytest.raises(ValueError, match="call conformalize"):
        SplitConformalRegressor(model).predict_interval(X)
    with pytest.raises(ValueError, match="call fit_conformalize"):
        CrossConformalRegressor(model).predict(X)
    with pytest.raises(ValueError, match="call fit_conformalize"):
        CrossConformalRegressor(model).fit(X, y)
    with pytest.raises(ValueError, match=r"at least 9 rows for confidence_level=0.9, got 8"):
        SplitConformalRegressor(model).conformalize(X[:8], y[:8])
    SplitConformalRegressor(model).conformalize(X[:9], y[:9])
    with pytest.raises(ValueError, match="y must be"):
        SplitConformalRegressor(model).conformalize(X[:20], y[:19])
    with pytest.raises(ValueError, match="y must be of one target"):
        SplitConformalRegressor(model).conformalize(X[:20], np.ones((20, 2)))
    with pytest.raises(ValueError, match="y must be finite"):
        SplitConformalRegressor(model).conformalize(X[:20], np.full(20, np.nan))
    with pytest.raises(ValueError, match="cv must be"):
        CrossConformalRegressor(model, cv=1)
    with pytest.raises(ValueError, match="X must be of at least 5 rows"):
        CrossConformalRegressor(model, 0.1).fit_conformalize(X[:4], y[:4])
    with pytest.raises(TypeError, match="cv must be"):
        CrossConformalRegressor(model, cv=2.0)
    with pytest.raises(ValueError, match="cv must be at least 2"):
        CrossConformalRegressor(model, cv=np.int64(1))
    with pytest.raises(TypeError, match=r"estimator must be .* with fit"):
        CrossConformalRegressor(OnlyPredicts())
    with pytest.raises(TypeError, match="y must be an array of numbers"):
        SplitConformalRegressor(model).conformalize(X[:20], np.full(20, "1"))
    for estimator in (model, linear_model.LinearRegression()):
        with pytest.raises(ValueError, match="y must be of 600 rows, as X is, got 300"):
            CrossConformalRegressor(estimator).fit_conformalize(X, y[:300])
    with pytest.raises(ValueError, match="sample_weight is no keyword"):
        CrossConformalRegressor(model).fit_conformalize(X, y, sample_weight=np.ones(600))


def test_a_failed_call_leaves_the_last_intervals():
    X, y = data("waves")
    model = net()
    model.fit(X, y)
    regressor = SplitConformalRegressor(model).conformalize(X, y)
    before = regressor.predict_interval(X)[1]
    with pytest.raises(ValueError, match="at least 9 rows"):
        regressor.conformalize(X[:3], y[:3])
    assert np.array_equal(regressor.predict_interval(X)[1], before)


def test_half_of_the_rows_is_for_the_scale():
    X, y = data("waves")
    regressor = SplitConformalRegressor(OnlyPredicts(), conformity_score="residual_normalized")
    for n in (1, 2, 16):
        with pytest.raises(ValueError, match=f"at least 17 rows for confidence_level=0.9, got {n}"):
            regressor.conformalize(X[:n], y[:n])
    assert regressor.conformalize(X[:17], y[:17]).predict_interval(X[:1])[1].shape == (1, 2, 1)


def test_errors_of_another_training_do_not_count():
    X, y = data("waves")
    regressor = SplitConformalRegressor(net(), prefit=False).fit(X[:300], y[:300]).conformalize(X[300:], y[300:])
    regressor.predict_interval(X)
    with pytest.raises(ValueError, match=r"predict_interval needs .* call conformalize before"):
        regressor.fit(X[:300], y[:300]).predict_interval(X)


def test_estimators_that_predict_no_number_are_named():
    X, y = data("waves")
    with pytest.raises(ValueError, match="estimator predicts NaN or infinity"):
        SplitConformalRegressor(OnlyPredicts(np.nan)).conformalize(X, y)
    with pytest.raises(ValueError, match="estimator predicts NaN or infinity"):
        SplitConformalClassifier(OnlyPredicts(np.nan)).conformalize(X, (y > 0).astype(int))


@pytest.mark.parametrize("kind", ["model", "ensemble"])
@pytest.mark.parametrize("score", ["absolute", "residual_normalized"])
def test_pickles_have_the_same_intervals(kind, score):
    X, y = data("waves")
    estimator = net(kind)
    estimator.fit(X, y)
    regressor = SplitConformalRegressor(estimator, [0.5, 0.9], conformity_score=score).conformalize(X, y)
    again = pickle.loads(pickle.dumps(regressor))
    assert np.array_equal(again.predict_interval(X)[1], regressor.predict_interval(X)[1])


def test_pickles_of_cross_validation_and_of_sets():
    X, y = data("waves")
    cross = CrossConformalRegressor(net(), np.float64(0.8), cv=3).fit_conformalize(X[:90], y[:90])
    assert np.array_equal(pickle.loads(pickle.dumps(cross)).predict_interval(X)[1], cross.predict_interval(X)[1])
    model = Model([4, 1], loss="binary_crossentropy", seed=0)
    model.fit(X, (y > 0).astype(int))
    sets = SplitConformalClassifier(model, np.array(0.8)).conformalize(X, (y > 0).astype(int))
    assert np.array_equal(pickle.loads(pickle.dumps(sets)).predict_set(X)[1], sets.predict_set(X)[1])
