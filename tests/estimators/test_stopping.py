"""The record of a fit (curves, History) and the score that ends it."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from estimator_data import BINARY, COUNTS, LABELS, MULTI, RNG, TWO, X, Y

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.base import clone
from sklearn.metrics import f1_score, get_scorer, log_loss, make_scorer, mean_poisson_deviance
from sklearn.model_selection import GridSearchCV

import fastnn
from fastnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {"hidden_layer_sizes": 5, "random_state": 0, "max_iter": 6}


def fit(net, y, **given):
    """Fit with the last 20 rows for validation."""
    return net.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:], **given)


# ----------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "two targets"])
def test_the_validation_loss_is_that_of_the_rows(loss, weighted, solver):
    y = {"squared_error": Y, "poisson": COUNTS, "two targets": TWO}[loss]
    weight = RNG.random(20) + 0.1 if weighted else None
    net = MLPRegressor("poisson" if loss == "poisson" else "squared_error", alpha=0.7, solver=solver, **SETTINGS)
    fit(net, y, sample_weight_val=weight)
    predicted = net.predict(X[40:])
    if loss == "poisson":
        value = mean_poisson_deviance(y[40:], predicted, sample_weight=weight) / 2
    else:
        value = np.average((predicted - y[40:]) ** 2, axis=0, weights=weight).mean() / 2
    penalty = 0.7 * sum((w**2).sum() for w in net.coefs_) / 2 / 40
    assert net.validation_loss_curve_[-1] == pytest.approx(value + penalty, rel=1e-9)
    assert len(net.validation_loss_curve_) == len(net.loss_curve_) == net.n_iter_
    assert net.validation_scores_ is None
    with_callback = clone(net).set_params(callbacks=fastnn.Callback())
    assert fit(with_callback, y, sample_weight_val=weight).validation_loss_curve_ == net.validation_loss_curve_


def test_validation_rows_for_the_curve_alone_change_nothing():
    plain = MLPRegressor(**SETTINGS).fit(X[:40], Y[:40])
    watched = fit(MLPRegressor(**SETTINGS), Y)
    assert plain.loss_curve_ == watched.loss_curve_
    assert plain.validation_loss_curve_ is None
    assert all(np.array_equal(a, b) for a, b in zip(plain.coefs_, watched.coefs_, strict=True))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_history_has_a_row_for_each_epoch(solver, early_stopping):
    net = MLPRegressor(solver=solver, early_stopping=early_stopping, learning_rate_init=0.01, **SETTINGS).fit(X, TWO)
    assert net.history_["loss"] == net.loss_curve_
    assert len(net.history_["seconds"]) == net.n_iter_ == len(net.history_)
    if solver != "lbfgs":
        np.testing.assert_allclose(net.history_["learning_rate"], 0.01, rtol=1e-12)
    if early_stopping and solver != "lbfgs":
        assert net.history_["val_loss"] == net.validation_loss_curve_
        assert net.history_["val_score"] == net.validation_scores_
    else:
        assert "val_loss" not in net.history_
        assert net.validation_loss_curve_ is None
    again = pickle.loads(pickle.dumps(net))
    assert again.history_.to_dict() == net.history_.to_dict()


def test_the_record_goes_on_with_the_curves():
    net = MLPRegressor(warm_start=True, **SETTINGS).fit(X, Y)
    before = copy.copy(net.history_)
    fit(net, Y)
    assert len(net.history_) == 12
    assert len(before) == 6
    assert np.isnan(net.validation_loss_curve_[:6]).all()
    assert np.isfinite(net.validation_loss_curve_[6:]).all()
    net.partial_fit(X, Y)
    assert np.isnan(net.validation_loss_curve_[12])
    assert net.history_["loss"] == net.loss_curve_
    net.set_params(solver="lbfgs").fit(X, Y)
    assert net.history_["loss"] == net.loss_curve_
    assert len(net.loss_curve_) == 13 + net.n_iter_
    net.set_params(warm_start=False).fit(X, Y)
    assert len(net.history_) == len(net.loss_curve_) == net.n_iter_
    assert net.validation_loss_curve_ is None


def test_history_says_why_it_ended():
    class Stop(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = "enough"

    params = {**SETTINGS, "max_iter": 100, "tol": 1.0, "n_iter_no_change": 2}
    assert MLPRegressor(**SETTINGS).fit(X, Y).history_.stopped is None
    assert MLPRegressor(**params).fit(X, Y).history_.stopped == "converged"
    assert MLPRegressor(**params, callbacks=fastnn.Callback()).fit(X, Y).history_.stopped == "converged"
    assert MLPRegressor(**params, early_stopping=True).fit(X, Y).history_.stopped == "early_stopping"
    assert MLPRegressor(**params, callbacks=Stop()).fit(X, Y).history_.stopped == "enough"
    assert MLPRegressor(**{**params, "max_iter": 1000}, solver="lbfgs").fit(X, Y).history_.stopped == "converged"
    diverging = MLPRegressor(**{**SETTINGS, "max_iter": 50}, solver="sgd", learning_rate_init=5.0, early_stopping=True,
                             activation="identity")  # fmt: skip
    assert diverging.fit(X, 100 * Y).history_.stopped == "diverged"
    assert len(diverging.history_) == len(diverging.validation_loss_curve_) == len(diverging.loss_curve_)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupt_keeps_the_record(solver):
    class Interrupt(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    net = MLPRegressor(solver=solver, callbacks=Interrupt(), **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    assert len(net.history_) == len(net.loss_curve_) == net.n_iter_ == 2
    assert net.history_.stopped == "interrupted"


# ----------------------------------------------------------------------------------------------------- the scorer


def f1_of(estimator, X, y):
    """A scorer that is a function."""
    return f1_score(y, estimator.predict(X), average="macro")


SCORERS = {
    "neg_log_loss": ("neg_log_loss", LABELS),
    "roc_auc": ("roc_auc", BINARY),
    "f1_macro": ("f1_macro", MULTI),
    "function": (f1_of, LABELS),
    "made": (make_scorer(f1_score, average="macro", pos_label=None), LABELS),
    "neg_mean_absolute_error": ("neg_mean_absolute_error", Y),
    "two targets": ("neg_mean_absolute_error", TWO),
}


@pytest.mark.parametrize(("scoring", "y"), SCORERS.values(), ids=SCORERS)
def test_scoring_decides_on_the_best_weights(scoring, y):
    kind = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    net = kind(early_stopping=True, scoring=scoring, learning_rate_init=0.05, **{**SETTINGS, "max_iter": 15})
    fit(net, y)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert scorer(net, X[40:], y[40:]) == pytest.approx(net.best_validation_score_, rel=1e-9)
    assert len(set(net.validation_scores_)) > 1
    again = fit(clone(pickle.loads(pickle.dumps(net))), y)
    assert again.validation_scores_ == net.validation_scores_


def test_the_loss_may_be_the_score():
    net = fit(MLPRegressor(early_stopping=True, scoring="loss", **SETTINGS), Y)
    assert net.validation_scores_ == [-loss for loss in net.validation_loss_curve_]


def test_scorers_receive_the_weights_of_the_rows():
    weight = RNG.random(20) + 0.1
    net = MLPClassifier(early_stopping=True, scoring="neg_log_loss", **{**SETTINGS, "max_iter": 1})
    fit(net, BINARY, sample_weight_val=weight)
    expected = -log_loss(BINARY[40:], net.predict_proba(X[40:]), sample_weight=weight)
    assert net.validation_scores_ == [pytest.approx(expected, rel=1e-9)]
    with pytest.raises(TypeError, match="sample_weight") as caught:
        fit(net.set_params(scoring=f1_of), BINARY, sample_weight_val=weight)
    assert "scoring was called with" in caught.value.__notes__[0]


def test_names_of_columns_raise_no_warning():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X does not have valid feature names")
        net = MLPClassifier(early_stopping=True, scoring="neg_log_loss", **SETTINGS).fit(frame, LABELS)
    assert list(net.feature_names_in_) == list("abcd")
    assert len(net.validation_scores_) == 6


def test_a_score_of_nan_is_no_improvement():
    net = MLPRegressor(early_stopping=True, scoring=lambda estimator, X, y: np.nan, n_iter_no_change=2,
                       **{**SETTINGS, "max_iter": 50})  # fmt: skip
    assert fit(net, Y).n_iter_ == 3


@pytest.mark.parametrize(
    ("params", "kind", "match"),
    [
        ({"scoring": "acuracy"}, ValueError, r"scoring must be one of .* Did you mean 'accuracy'"),
        ({"scoring": f1_score}, ValueError, "scoring"),
        ({"scoring": ["r2"]}, ValueError, "The 'scoring' parameter of MLPRegressor must be"),
        ({"scoring": lambda estimator, X, y: "good"}, TypeError, "scoring must be a scorer that returns a number"),
        ({"scoring": "r2", "early_stopping": False}, ValueError, "scoring is 'r2', but it would be ignored"),
        ({"scoring": "r2", "solver": "lbfgs"}, ValueError, "scoring is 'r2', but it would be ignored"),
    ],
)
def test_scorers_that_are_refused(params, kind, match):
    net = MLPRegressor(early_stopping=True, **SETTINGS).fit(X, Y)
    before, record = net.predict(X), net.history_.to_dict()
    with pytest.raises(kind, match=match):
        net.set_params(**params).fit(X, Y)
    np.testing.assert_array_equal(net.predict(X), before)
    assert net.history_.to_dict() == record


def test_an_error_of_a_scorer_is_raised_as_it_is():
    def broken(estimator, X, y):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        MLPRegressor(early_stopping=True, scoring=broken, **SETTINGS).fit(X, Y)


def test_scoring_in_a_search():
    grid = {"scoring": [None, "loss", "neg_mean_absolute_error"]}
    search = GridSearchCV(MLPRegressor(early_stopping=True, **SETTINGS), grid, cv=2, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["mean_test_score"]) == 3
