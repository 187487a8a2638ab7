"""Estimators of scikit-learn to ours and back."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_same_outputs, chain_net, labels, table

import fastnn
from fastnn.interchange import from_sklearn, to_sklearn

sklearn = pytest.importorskip("sklearn")

from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import make_multilabel_classification  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
X = table(d=5)
#: Labels of every kind.
TARGETS = {
    "three classes": labels(classes=3),
    "texts": np.array(["ab", "c", "d"])[labels(classes=3)],
    "objects": np.array(["no", "yes"], object)[labels(classes=2)],
    "two classes": labels(classes=2) * 7,
    "bools": labels(classes=2) > 0,
    "several labels": np.stack([labels(classes=2, seed=k) for k in range(3)], axis=1),
    "two labels": np.stack([labels(classes=2, seed=k) for k in range(2)], axis=1),
}
SETTINGS = {"max_iter": 4, "random_state": 0}


def assert_same_classifiers(found, wanted, X, dtype):
    assert np.array_equal(found.predict(X), wanted.predict(X))
    assert found.predict(X).dtype == wanted.predict(X).dtype
    assert_same_outputs(found.predict_proba(X), wanted.predict_proba(X), dtype)
    assert np.array_equal(found.classes_, wanted.classes_)


def assert_same_arrays(found, wanted):
    for a, b in zip((*found.coefs_, *found.intercepts_), (*wanted.coefs_, *wanted.intercepts_), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


@DTYPES
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_classifiers_there_and_back(y, activation, dtype):
    rows = X.astype(dtype)
    theirs = neural_network.MLPClassifier((6, 3), activation, **SETTINGS).fit(rows, y)
    ours = from_sklearn(theirs)
    assert isinstance(ours, fastnn.MLPClassifier)
    assert_same_classifiers(ours, theirs, rows, dtype)
    assert_same_arrays(ours, theirs)
    again = to_sklearn(ours)
    assert type(again) is neural_network.MLPClassifier
    assert again.get_params() == theirs.get_params()
    assert_same_arrays(again, theirs)
    assert np.array_equal(again.predict_proba(rows), theirs.predict_proba(rows))
    assert np.array_equal(again.predict(rows), theirs.predict(rows))
    for estimator in (ours, again):  # one more epoch
        before, steps = [coef.copy() for coef in estimator.coefs_], estimator.t_
        estimator.partial_fit(rows, y)
        assert estimator.t_ > steps == theirs.t_
        assert all((a != b).any() for a, b in zip(before, estimator.coefs_, strict=True))


@DTYPES
@pytest.mark.parametrize("hidden", [(), (4,), (7, 1)], ids=str)
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("several", [False, True])
def test_regressors_there_and_back(several, loss, hidden, dtype):
    rows = X.astype(dtype)
    y = np.abs(table(d=3, seed=4))[:, : 3 if several else 1].astype(dtype)
    y = y if several else y[:, 0]
    theirs = neural_network.MLPRegressor(loss, hidden, "tanh", **SETTINGS).fit(rows, y)
    ours = from_sklearn(theirs)
    assert isinstance(ours, fastnn.MLPRegressor)
    assert_same_outputs(ours.predict(rows), theirs.predict(rows), dtype)
    again = to_sklearn(ours)
    assert again.get_params() == theirs.get_params()
    assert np.array_equal(again.predict(rows), theirs.predict(rows))
    assert again.loss_curve_ == ours.loss_curve_ == theirs.loss_curve_
    ours.partial_fit(rows, y)
    again.partial_fit(rows, y)


def test_arrays_are_copies_and_ours_trains_on_with_early_stopping():
    theirs = neural_network.MLPClassifier((6,), early_stopping=True, **SETTINGS).fit(X, labels(classes=3))
    ours = from_sklearn(theirs)
    before = theirs.coefs_[0].copy()
    ours.set_params(warm_start=True).fit(X, labels(classes=3))
    assert np.array_equal(theirs.coefs_[0], before)
    assert len(ours.validation_scores_) > len(theirs.validation_scores_)
    again = to_sklearn(ours).set_params(warm_start=True).fit(X, labels(classes=3))
    assert len(again.validation_scores_) > len(ours.validation_scores_)
    assert type(clone(ours)) is fastnn.MLPClassifier


def test_names_of_columns_are_kept():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    theirs = neural_network.MLPClassifier((6,), **SETTINGS).fit(frame, labels(classes=3))
    ours = from_sklearn(theirs)
    assert_same_classifiers(ours, theirs, frame, "float64")
    assert list(to_sklearn(ours).feature_names_in_) == list("abcde")


@DTYPES
@pytest.mark.parametrize(
    ("loss", "output", "n_outputs"),
    [
        ("softmax_crossentropy", None, 3), ("softmax_crossentropy", "softmax", 2), ("binary_crossentropy", None, 1),
        ("binary_crossentropy", "sigmoid", 3),
    ],
)  # fmt: skip
def test_models_of_classes(loss, output, n_outputs, dtype):
    model = chain_net("sigmoid", dtype=dtype, n_outputs=n_outputs, loss=loss, output=output)
    rows = table(d=7).astype(dtype)
    theirs = to_sklearn(model)
    wanted = model.predict_proba(rows)
    wanted = np.hstack([1 - wanted, wanted]) if n_outputs == 1 else wanted
    assert_same_outputs(theirs.predict_proba(rows), wanted, dtype)
    assert np.array_equal(theirs.predict(rows), model.predict_classes(rows))
    theirs.partial_fit(rows, theirs.predict(rows))


@DTYPES
def test_models_of_values(dtype):
    rows = table(d=7).astype(dtype)
    for hidden, n_outputs in (((), 1), ((4, 3), 2)):
        model = chain_net("relu", hidden, dtype=dtype, n_outputs=n_outputs)
        theirs = to_sklearn(model)
        wanted = model.predict(rows)
        assert_same_outputs(theirs.predict(rows), wanted[:, 0] if n_outputs == 1 else wanted, dtype)
        theirs.partial_fit(rows, theirs.predict(rows))
    counts = chain_net("relu", loss="poisson", output="exponential", n_outputs=1, dtype=dtype)
    assert to_sklearn(counts).loss == "poisson"
    assert_same_outputs(to_sklearn(counts).predict(rows), counts.predict(rows)[:, 0], dtype)


def test_what_scikit_learn_does_not_have_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"layers\[0\] has the activation 'gelu', but scikit-learn has identity, sigmoid"
    ):
        to_sklearn(chain_net("gelu"))
    mixed = fastnn.Model([fastnn.Dense(3, "relu"), fastnn.Dense(3, "tanh"), 2], loss="squared_error").build(4)
    with pytest.raises(ValueError, match=r"layers\[1\] has the activation 'tanh' and layers\[0\] 'relu'"):
        to_sklearn(mixed)
    with pytest.raises(ValueError, match=r"layers\[2\], the last, has the activation 'tanh'"):
        to_sklearn(chain_net("tanh", output="tanh"))
    with pytest.raises(ValueError, match="no weights yet"):
        to_sklearn(fastnn.Model([2], loss="squared_error"))


def test_what_is_no_estimator_is_refused():
    X, y = make_multilabel_classification(30, 4, random_state=0)
    ours = fastnn.MLPClassifier((3,), tol=1e9, n_iter_no_change=1).fit(X, y)
    for wrong in (ours, sklearn.linear_model.LogisticRegression(), neural_network.MLPClassifier, None, "mlp"):
        with pytest.raises(TypeError, match="mlp must be an MLPClassifier or MLPRegressor of scikit-learn"):
            from_sklearn(wrong)
    with pytest.raises(ValueError, match="mlp must be fitted, got"):
        from_sklearn(neural_network.MLPClassifier())
    for wrong in (neural_network.MLPClassifier(), None):
        with pytest.raises(TypeError, match="model must be"):
            to_sklearn(wrong)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        to_sklearn(fastnn.MLPClassifier())
    pipeline = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), ours)
    with pytest.raises(TypeError, match="Pass the last step of a Pipeline"):
        to_sklearn(pipeline)
