"""Callbacks of scikit-learn, which versions from 1.9 on have."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn

import fastnn
from fastnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.sin(X[:, 0]) + X[:, 1]
LABELS = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
SETTINGS = {"hidden_layer_sizes": 5, "random_state": 0, "max_iter": 6}
HAS_CALLBACKS = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)
where_there_are = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn has callbacks from 1.9 on")


class Recording:
    """A callback of scikit-learn's protocol that notes what is called, and may stop or fail."""

    def __init__(self, stop_after=None, fail_at=None):
        self.calls, self.predictions, self.stop_after, self.fail_at = [], [], stop_after, fail_at

    def _note(self, name, context):
        self.calls.append((name, context.task_name))
        if len([call for call in self.calls if call == (name, context.task_name)]) == self.fail_at:
            raise RuntimeError(f"failed at {name}")

    def setup(self, estimator, context):
        self._note("setup", context)

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.given = X, y, metadata
        self._note("begin", context)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.predictions.append(fitted_estimator.predict(X))
        self._note("end", context)
        return context.task_name == "epoch" and self.calls.count(("end", "epoch")) == self.stop_after


def test_before_1_9_there_is_nothing_to_set():
    assert hasattr(MLPClassifier, "set_callbacks") == HAS_CALLBACKS


@where_there_are
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_fit_is_a_task_and_each_epoch_a_subtask(kind, solver):
    y = LABELS if kind is MLPClassifier else Y
    weight = np.ones(60)
    recording = Recording()
    plain = kind(solver=solver, **SETTINGS).fit(X, y, weight)
    net = kind(solver=solver, **SETTINGS).set_callbacks(recording).fit(X, y, weight)
    assert all(np.array_equal(a, b) for a, b in zip(net.coefs_, plain.coefs_, strict=True))
    assert net.loss_curve_ == plain.loss_curve_
    epochs = [("begin", "epoch"), ("end", "epoch")] * net.n_iter_
    assert recording.calls == [("setup", "fit"), ("begin", "fit"), *epochs, ("end", "fit"), ("teardown", "fit")]
    assert recording.given[0] is X
    assert recording.given[1] is y
    assert recording.given[2] == {"sample_weight": weight}
    np.testing.assert_array_equal(recording.predictions[-1], net.predict(X))
    np.testing.assert_array_equal(recording.predictions[-2], net.predict(X))
    if kind is MLPRegressor:
        assert not np.array_equal(recording.predictions[0], recording.predictions[1])
    assert not [name for name in vars(net) if "callback" in name and name not in ("callbacks", "_skl_callbacks")]
    pickle.loads(pickle.dumps(net))


@where_there_are
def test_a_callback_can_end_the_training():
    net = MLPRegressor(**SETTINGS).set_callbacks(Recording(stop_after=2)).fit(X, Y)
    assert net.n_iter_ == len(net.history_) == 2
    assert net.history_.stopped == "stop_training"


@where_there_are
@pytest.mark.parametrize(("fail_at", "times"), [("setup", 1), ("begin", 2), ("end", 2)])
def test_a_callback_that_fails_leaves_what_was_fitted(fail_at, times):
    recording = Recording(fail_at=times)
    net = MLPRegressor(**SETTINGS).fit(X, Y)
    before = net.predict(X)
    with pytest.raises(RuntimeError, match="failed at"):
        net.set_callbacks(recording).fit(-X, Y)
    assert recording.calls[-1] == ("teardown", "fit")
    assert recording.calls.count(("teardown", "fit")) == 1
    np.testing.assert_array_equal(net.predict(X), before)


@where_there_are
def test_scores_of_each_epoch_in_a_search():
    pytest.importorskip("pandas")
    from sklearn.callback import ScoringMonitor
    from sklearn.model_selection import GridSearchCV

    monitor = ScoringMonitor(scoring="accuracy")
    net = MLPClassifier(**SETTINGS).set_callbacks(monitor)
    net.fit(X, LABELS)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == net.n_iter_
    assert scores[-1] == pytest.approx(net.score(X, LABELS))
    search = GridSearchCV(net, {"alpha": [0.0, 0.1]}, cv=2, error_score="raise").fit(X, LABELS)
    assert search.best_estimator_.n_iter_ == 6


@where_there_are
def test_both_kinds_of_callbacks_and_partial_fit():
    recording = Recording()
    mine = fastnn.LambdaCallback(on_epoch_end=lambda epoch, logs: recording.calls.append(("mine", epoch)))
    net = MLPRegressor(callbacks=mine, **{**SETTINGS, "max_iter": 1}).set_callbacks(recording).fit(X, Y)
    assert ("mine", 0) in recording.calls
    n_calls = len(recording.calls)
    net.set_params(callbacks=None).partial_fit(X, Y)  # an epoch is no fit
    assert len(recording.calls) == n_calls
