"""Fits of the estimators that fail or are interrupted: what was fitted before is kept, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.exceptions import NotFittedError

import fastnn
from fastnn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training interrupted:UserWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
LABELS = np.arange(40) % 3
Y = RNG.standard_normal(40)
#: Units of a layer that no machine has the memory for.
TOO_MANY = 2**45


def fitted(estimator, **parameters):
    """Return a small fitted estimator."""
    y = LABELS if estimator is MLPClassifier else Y
    return estimator(hidden_layer_sizes=(4,), max_iter=3, random_state=0, **parameters).fit(X, y)


def assert_refused(estimator, call, kind, text):
    """A call fails, and the estimator predicts, and can be copied, as before."""
    before = copy.deepcopy(estimator)
    parameters = estimator.get_params()
    with pytest.raises(kind, match=text):
        call(estimator)
    assert all(estimator.get_params()[name] is value for name, value in parameters.items())
    estimator = pickle.loads(pickle.dumps(estimator.set_params(**before.get_params())))
    assert vars(estimator).keys() == vars(before).keys()
    np.testing.assert_array_equal(estimator.predict(X), before.predict(X))
    assert (estimator.n_iter_, estimator.t_, estimator.loss_curve_) == (before.n_iter_, before.t_, before.loss_curve_)
    assert estimator.n_features_in_ == before.n_features_in_


class Failing(fastnn.Callback):
    """Raise an error after the second epoch."""

    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, epoch, logs):
        if epoch == 1:
            raise self.error


both = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])


@both
@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"hidden_layer_sizes": (TOO_MANY,)}, MemoryError, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (2**63,)}, ValueError, "hidden_layer_sizes must be at most"),
        ({"hidden_layer_sizes": (10**400,)}, ValueError, "hidden_layer_sizes must be at most"),
        ({"alpha": 10**400}, ValueError, "alpha"),
        ({"dropout": 10**400}, ValueError, "dropout"),
        ({"tol": 10**5000}, ValueError, "tol"),
        ({"solver": "adm"}, ValueError, "solver must be one of .* Did you mean 'adam'"),
        ({"callbacks": [5]}, TypeError, r"callbacks\[0\] must be"),
        ({"callbacks": [Failing(RuntimeError("mine"))], "max_iter": 5}, RuntimeError, "mine"),
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"dtype": "\ud800"}, ValueError, "dtype must be 'float32', 'float64' or 'mixed_bfloat16'"),
        ({"early_stopping": True, "validation_fraction": 0.0}, ValueError, "validation_fraction"),
    ],
)
def test_a_refit_with_wrong_parameters_changes_nothing(kind, parameters, error, text):
    y = LABELS if kind is MLPClassifier else Y
    estimator = fitted(kind).set_params(**parameters)
    assert_refused(estimator, lambda one: one.fit(X, y), error, text)


@both
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("X", np.full_like(X, np.nan), "X contains NaN"),
        ("X", X[:, :0], "X: Found array with 0 feature"),
        ("X", [[10**400] * 3] * 40, "X.*too large"),
        ("X", "text", "X: "),
        ("y", [None] * 40, "y"),
        ("y", Y[:5], "X, y: Found input variables with inconsistent numbers of samples"),
        ("sample_weight", np.full(40, np.inf), "sample_weight contains infinity"),
        ("sample_weight", np.ones((40, 2)), "sample_weight: Sample weights must be 1D"),
    ],
)
def test_a_refit_with_wrong_data_changes_nothing(kind, method, name, value, text):
    given = {"X": X, "y": LABELS if kind is MLPClassifier else Y, name: value}
    assert_refused(fitted(kind), lambda one: getattr(one, method)(**given), (TypeError, ValueError), text)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_refit_that_diverges_changes_nothing(solver):
    estimator = fitted(MLPRegressor).set_params(solver=solver, learning_rate_init=1e300, activation="identity")
    assert_refused(estimator, lambda one: one.fit(X, Y), ValueError, "non-finite parameter weights")


@both
def test_a_wrong_parameter_of_partial_fit_is_named_before_the_first_step(kind):
    y = LABELS if kind is MLPClassifier else Y
    for name, value in (("tol", "small"), ("alpha", "1"), ("n_iter_no_change", None), ("learning_rate_init", -1.0)):
        estimator = fitted(kind).set_params(**{name: value})
        text = f"'{name}' parameter of {kind.__name__}"
        assert_refused(estimator, lambda one: one.partial_fit(X, y), ValueError, text)


@both
def test_what_failed_first_is_not_fitted(kind):
    y = LABELS if kind is MLPClassifier else Y
    estimator = kind(hidden_layer_sizes=(TOO_MANY,))
    before = dict(vars(estimator))
    with pytest.raises(MemoryError):
        estimator.fit(X, y)
    assert vars(estimator) == before
    with pytest.raises(NotFittedError):
        estimator.predict(X)


@both
@pytest.mark.parametrize("is_fitted", [False, True])
def test_an_interrupt_leaves_the_weights_of_the_last_finished_epoch(kind, is_fitted):
    y = LABELS if kind is MLPClassifier else Y
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "tol": 0.0}
    expected = kind(**settings, max_iter=2).fit(X, y)
    estimator = kind(**settings, max_iter=2 if is_fitted else 9)
    if is_fitted:
        estimator.fit(-X, y).set_params(max_iter=9)
    estimator.set_params(callbacks=[Failing(KeyboardInterrupt())])
    with contextlib.suppress(KeyboardInterrupt):
        estimator.fit(X, y)
    np.testing.assert_array_equal(estimator.predict(X), expected.predict(X))
    assert estimator.n_iter_ == len(estimator.loss_curve_)
    pickle.loads(pickle.dumps(estimator.set_params(callbacks=None)))


@both
def test_scores_name_what_is_wrong(kind):
    y = LABELS if kind is MLPClassifier else Y
    estimator = fitted(kind)
    for given, text in (({"y": y[:5]}, "y"), ({"y": None}, "y"), ({"sample_weight": "x"}, "sample_weight"),
                        ({"X": "x"}, "X")):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=rf"\b{text}\b"):
            estimator.score(**{"X": X, "y": y, **given})


@both
def test_a_failed_partial_fit_leaves_the_settings_of_the_net(kind):
    estimator = fitted(kind)
    y = LABELS if kind is MLPClassifier else Y
    model = estimator.__fastnn_model__()
    before = model.optimizer, model.regularizer
    estimator.set_params(batch_size=-1, alpha=0.5)
    with pytest.raises(ValueError, match="batch_size"):
        estimator.partial_fit(X, y)
    assert estimator.__fastnn_model__() is model
    assert (model.optimizer, model.regularizer) == before


@both
def test_integers_of_eight_bits_do_not_overflow(kind):
    y = LABELS if kind is MLPClassifier else Y
    narrow = kind(hidden_layer_sizes=(np.int8(4),), max_iter=np.int8(3), batch_size=np.int8(20), random_state=0)
    np.testing.assert_array_equal(narrow.fit(X, y).predict(X), fitted(kind, batch_size=20).predict(X))


@both
def test_weights_of_validation_are_named_as_the_argument(kind):
    y = LABELS if kind is MLPClassifier else Y
    weights = np.ones(40)
    weights[4] = 1.7e308
    estimator = kind(early_stopping=True, dtype="float32")
    with pytest.raises(ValueError, match="sample_weight_val holds"):
        estimator.fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)
