"""MLPClassifier and MLPRegressor: compatibility with scikit-learn's, and the additional parameters."""

from __future__ import annotations

import copy
import pickle
import pickletools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import joblib
import sklearn
from driver import run_python
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, mean_poisson_deviance, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn
from fastnn import MLPClassifier, MLPRegressor, schedules
from fastnn._engine.processors import available_threads
from fastnn.estimators._base import default_n_threads
from fastnn.estimators._regressor import weighted_r2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 60
BOTH = pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])


def table(n=N, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def targets(kind, n=N):
    X = table(n)
    if kind == "binary":
        return np.where(X[:, 0] + X[:, 1] > 0, 1, -1)
    if kind == "multiclass":
        return np.digitize(X[:, 0], [-0.5, 0.5]) * 10
    if kind == "multilabel":
        return (X[:, :3] > 0).astype(int)
    if kind == "counts":
        return np.random.default_rng(1).poisson(np.exp(X[:, 0] / 2))
    if kind == "several counts":
        return np.random.default_rng(1).poisson(np.exp(X[:, :3] / 2))
    if kind == "regression":
        return np.sin(X[:, 0]) + X[:, 1]
    return np.c_[np.sin(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]]


KINDS = ["binary", "multiclass", "multilabel", "regression", "multioutput", "counts", "several counts"]


def small(kind, module=fastnn, **params):
    """A small net; of scikit-learn where that is the module."""
    estimator = module.MLPClassifier if kind in KINDS[:3] else module.MLPRegressor
    if kind.endswith("counts"):
        params = {"loss": "poisson", **params}
    # The epsilon of Adam is too small to matter: the two add it at different places.
    return estimator(**{"hidden_layer_sizes": (7, 5), "random_state": 3, "max_iter": 12, "epsilon": 1e-15, **params})


def pair(kind, **params):
    """Our estimator and scikit-learn's, alike."""
    return small(kind, **params), small(kind, neural_network, **params)


def weights(net):
    return [np.array(w) for w in (*net.coefs_, *net.intercepts_)]


def same_weights(a, b):
    return all(np.array_equal(v, w) for v, w in zip(weights(a), weights(b), strict=True))


# ------------------------------------------------------------------------------- beside scikit-learn


CHECKS = parametrize_with_checks(
    [MLPClassifier(), MLPRegressor(), MLPRegressor(solver="lbfgs"), MLPClassifier(solver=fastnn.NAdam())]
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)  # pytest wants a list, 1.7 gives none
def test_scikit_learns_checks(estimator, check):
    check(estimator)


#: Tests of scikit-learn's file that are left out, and why.
LEFT_OUT = {
    "test_gradient": "calls the private _loss_grad_lbfgs; tests/test_gradients.py does the same for the engine",
}


@pytest.mark.slow
def test_scikit_learns_own_tests():
    """The file as it is installed, with our classes in the place of the ones that it imports."""
    path = Path(neural_network.__file__).parent / "tests" / "test_mlp.py"
    if not path.exists():
        pytest.skip("scikit-learn is installed without its tests")
    code = f"""
import sys, pytest, fastnn, sklearn.neural_network
sklearn.neural_network.MLPClassifier = fastnn.MLPClassifier
sklearn.neural_network.MLPRegressor = fastnn.MLPRegressor
path = {str(path)!r}
left_out = [f"--deselect=test_mlp.py::{{name}}" for name in {list(LEFT_OUT)!r}]
sys.exit(pytest.main([path, "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", path.rpartition("/")[0],
                      "--tb=short", *left_out]))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    passed = int(found.stdout.split(" passed")[0].split()[-1])
    assert passed >= 50


def test_parameters_are_those_of_scikit_learn_with_the_new_ones_at_the_end():
    new = {"dropout", "label_smoothing", "class_weight", "schedule", "callbacks", "n_threads", "dtype", "scoring"}
    for ours, theirs in zip((MLPClassifier, MLPRegressor), (neural_network.MLPClassifier, neural_network.MLPRegressor),
                            strict=True):  # fmt: skip
        params, expected = ours().get_params(), theirs().get_params()
        assert {name: params[name] for name in expected} == expected
        assert set(params) - set(expected) <= new
        names = ours.__init__.__code__.co_varnames[1 : 1 + len(params)]
        assert set(names[: len(expected)]) == set(expected)
        assert not any(params[name] for name in new & set(params))


SETTINGS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "plain": {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.1},
    "momentum 1": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 0.001},
    "classical momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.5,
                   "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "momentum": 0, "tol": 0.05, "n_iter_no_change": 1,
                 "learning_rate_init": 0.2},
    "alpha": {"alpha": 5.0, "batch_size": 20, "learning_rate_init": 0.01},
    "logistic": {"activation": "logistic", "batch_size": 15},
    "tanh": {"activation": "tanh", "hidden_layer_sizes": 6},
    "identity": {"activation": "identity", "hidden_layer_sizes": ()},
    "tol": {"tol": 0.02, "n_iter_no_change": 2, "max_iter": 200, "learning_rate_init": 0.02},
    "early stopping": {"early_stopping": True, "tol": 1e-3, "n_iter_no_change": 3, "max_iter": 60, "batch_size": 18,
                       "validation_fraction": 0.1, "learning_rate_init": 0.01},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_trains_as_scikit_learn_does(kind, settings):
    ours, theirs = pair(kind, **{"shuffle": False, **settings})
    X, y = table(), targets(kind)
    for net in (ours, theirs):
        net.fit(X, y)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)
    assert ours.loss_ == ours.loss_curve_[-1]
    for name in ("best_loss_", "validation_scores_", "best_validation_score_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a is b is None or np.allclose(a, b, rtol=1e-5, atol=1e-7)
    for name in ("n_outputs_", "n_layers_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-4)
    if kind in KINDS[:3]:
        assert np.array_equal(ours.classes_, theirs.classes_)
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4, atol=1e-6)


FALLING_RATES = {
    "invscaling": {"learning_rate": "invscaling"},
    "invscaling, power_t 1.5": {"learning_rate": "invscaling", "power_t": 1.5},
    "invscaling, power_t 0": {"learning_rate": "invscaling", "power_t": 0.0},
    "adaptive": {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 200},
    "adaptive, early stopping": {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 200,
                                 "early_stopping": True, "validation_fraction": 1 / 3},
}  # fmt: skip


def rates_fall(kind, **settings):
    """Our estimator and scikit-learn's with momentum, a rate that changes and batches that divide the rows."""
    return pair(kind, **{"solver": "sgd", "shuffle": False, "batch_size": 20, "learning_rate_init": 0.1, "alpha": 0.01,
                         "max_iter": 30, **settings})  # fmt: skip


def same_to_rounding(ours, theirs):
    """Check losses of all epochs and weights."""
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-11)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["multiclass", "multioutput", "counts"])
@pytest.mark.parametrize("nesterov", [True, False], ids=["nesterov", "classical"])
@pytest.mark.parametrize("settings", FALLING_RATES.values(), ids=FALLING_RATES)
def test_momentum_contains_the_rate_of_its_steps(kind, nesterov, settings):
    nets = rates_fall(kind, nesterovs_momentum=nesterov, **settings)
    for net in nets:
        net.fit(table(), targets(kind))
    assert nets[0].n_iter_ == nets[1].n_iter_ > 3
    same_to_rounding(*nets)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start", "fit, then partial_fit"])
@pytest.mark.parametrize("rate", ["invscaling", "adaptive"])
def test_rates_fall_over_calls_as_in_scikit_learn(how, rate):
    settings = {"learning_rate": rate, "max_iter": 4, "tol": 0.05, "n_iter_no_change": 1, "random_state": 3}
    nets = rates_fall("regression", warm_start=how == "warm_start", **settings)
    X, y = table(), targets("regression")
    for net in nets:
        for call in range(6):
            if how == "warm_start" or (how.startswith("fit") and not call):
                net.fit(X, y)
            else:
                net.partial_fit(X[20 * (call % 2) :], y[20 * (call % 2) :])
    assert nets[0].t_ == nets[1].t_
    same_to_rounding(*nets)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power_t", [20.0, 400.0])
def test_a_rate_that_falls_to_nothing_leaves_the_weights(dtype, power_t):
    X, y = table().astype(dtype), targets("regression").astype(dtype)
    net = small("regression", solver="sgd", learning_rate="invscaling", power_t=power_t, dtype=dtype, max_iter=300,
                tol=0.0, n_iter_no_change=1000, batch_size=20).fit(X, y)  # fmt: skip
    assert net.n_iter_ == 300
    assert all(np.isfinite(w).all() for w in weights(net))
    np.testing.assert_allclose(net.loss_curve_[250:], net.loss_curve_[-1], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights_count_as_in_scikit_learn(kind):
    weight = np.random.default_rng(5).integers(0, 4, N).astype(float)
    nets = pair(kind, alpha=0.5, learning_rate_init=0.01)
    for net in nets:
        net.fit(table(), targets(kind), sample_weight=weight)
    np.testing.assert_allclose(nets[0].loss_curve_, nets[1].loss_curve_, rtol=1e-6)
    for a, b in zip(weights(nets[0]), weights(nets[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch_size", [20, 25, 60])  # the last batch of 25 has 10 rows
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_an_epoch_weights_its_batches_as_scikit_learn_does(kind, batch_size):
    weight = np.random.default_rng(7).exponential(size=N) ** 2
    nets = pair(kind, solver="sgd", momentum=0.5, learning_rate_init=0.02, shuffle=False, batch_size=batch_size,
                alpha=0.5, tol=2e-3, n_iter_no_change=2, max_iter=60)  # fmt: skip
    for net in nets:
        net.fit(table(), targets(kind), sample_weight=weight)
    assert nets[0].n_iter_ == nets[1].n_iter_
    same_to_rounding(*nets)
    one_by_one = small(kind, **nets[0].get_params() | {"callbacks": Recorder()})
    one_by_one.fit(table(), targets(kind), sample_weight=weight)
    assert one_by_one.loss_curve_ == nets[0].loss_curve_
    assert same_weights(one_by_one, nets[0])


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_deviance_of_batches_is_zero_where_predictions_are_right(shuffle):
    X = table(d=1)
    y = np.exp(X[:, 0])
    net = MLPRegressor("poisson", (), batch_size=25, shuffle=shuffle, alpha=0.0, random_state=0, solver="sgd",
                       learning_rate_init=1e-12)  # fmt: skip
    weight = np.random.default_rng(7).exponential(size=N) ** 2
    net.partial_fit(X, y, sample_weight=weight)
    net.coefs_[0][:], net.intercepts_[0][:] = 1.0, 0.0
    net.partial_fit(X, y, sample_weight=weight)
    net.partial_fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(net.loss_curve_[1:], 0.0, atol=1e-12)
    assert abs(net.loss_curve_[0]) > 0.01


def test_a_batch_whose_weights_are_all_zero_has_no_loss():
    weight = np.repeat([1.0, 0.0, 2.0], 20)
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 20, "alpha": 0.0}
    nets = [small("regression", **settings) for _ in range(2)]
    nets[0].fit(table(), targets("regression"), sample_weight=weight)
    kept = weight > 0
    nets[1].fit(table()[kept], targets("regression")[kept], sample_weight=weight[kept])
    np.testing.assert_allclose(1.5 * np.array(nets[0].loss_curve_), nets[1].loss_curve_, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_lbfgs_gets_as_far_as_scikit_learns(kind):
    nets = pair(kind, solver="lbfgs", activation="tanh", alpha=1.0, max_iter=400, tol=1e-6)
    losses = [net.fit(table(), targets(kind)).loss_ for net in nets]
    assert losses[0] < 1.1 * losses[1]
    assert nets[0].loss_curve_[-1] == nets[0].loss_
    assert nets[0].best_loss_ == min(nets[0].loss_curve_)  # a line search may end a little above an earlier iteration
    assert len(nets[0].loss_curve_) == len(nets[0].history_) == nets[0].n_iter_
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iterations: max_iter=2 is reached"):
        assert small(kind, solver="lbfgs", max_iter=2).fit(table(), targets(kind)).n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match="max_fun=3 allows"):
        small(kind, solver="lbfgs", max_fun=3).fit(table(), targets(kind))


def test_lbfgs_that_begins_at_the_minimum():
    net = small("regression", solver="lbfgs", hidden_layer_sizes=(), alpha=0, warm_start=True, tol=1e-3)
    net.fit(table(), table() @ [1, 2, 3, 4])
    loss = net.loss_
    net.fit(table(), table() @ [1, 2, 3, 4])
    assert net.n_iter_ == 0
    assert net.loss_ == pytest.approx(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_is_an_epoch_of_fit(kind):
    X, y = table(), targets(kind)
    whole = small(kind, shuffle=False, batch_size=20, max_iter=5).fit(X, y)
    steps = small(kind, shuffle=False, batch_size=20)
    classes = {} if kind not in KINDS[:3] else {"classes": np.arange(3) if kind == "multilabel" else np.unique(y)}
    for _ in range(5):
        steps.partial_fit(X, y, **classes)
    assert same_weights(whole, steps)
    assert steps.loss_curve_ == whole.loss_curve_
    assert (steps.n_iter_, steps.t_) == (1, 5 * N)


def test_the_order_of_rows_comes_from_random_state():
    X, y = table(), targets("multiclass")
    nets = [small("multiclass", batch_size=10, random_state=seed) for seed in (0, 0, 1)]
    fitted = [clone(net).fit(X, y) for net in nets]
    stepped = [net.partial_fit(X, y, classes=np.unique(y)) for net in nets]
    for one, same, other in (fitted, stepped):
        assert same_weights(one, same)
        assert not same_weights(one, other)
    again = stepped[0].partial_fit(X, y)
    assert not same_weights(again, stepped[1])
    assert same_weights(again, stepped[1].partial_fit(X, y))


def test_partial_fit_of_pieces_of_other_sizes_takes_the_penalty_of_each():
    ours, theirs = pair("regression", alpha=20.0, learning_rate_init=0.01)
    for net in (ours, theirs):
        for n in (10, 30, 20):
            net.partial_fit(table(n), targets("regression", n))
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_shuffled_rows_train_as_well_as_those_of_scikit_learn():
    X, y = table(300), targets("multiclass", 300)
    scores = [net.fit(X[:200], y[:200]).score(X[200:], y[200:])
              for net in pair("multiclass", max_iter=100, batch_size=20, learning_rate_init=0.01)]  # fmt: skip
    assert scores[0] > scores[1] - 0.05


# ---------------------------------------------------------------------------------------- the loop


class Recorder(fastnn.Callback):
    """Notes the logs, and stops after some epochs."""

    def __init__(self, stop_after=None):
        self.logs, self.stop_after = [], stop_after

    def on_epoch_end(self, epoch, logs):
        self.logs.append(dict(logs))
        if len(self.logs) == self.stop_after:
            self.model.stop_training = True


@pytest.mark.parametrize("settings", [SETTINGS["tol"], SETTINGS["adaptive"], {"max_iter": 30, "tol": 0.0}])
def test_epochs_in_one_call_and_one_by_one_are_the_same(settings):
    X, y = table(), targets("multiclass")
    together = small("multiclass", **settings).fit(X, y)
    watched = small("multiclass", **settings, callbacks=[Recorder()]).fit(X, y)
    assert together.loss_curve_ == watched.loss_curve_
    assert together._no_improvement_count == watched._no_improvement_count
    assert same_weights(together, watched)


def test_callbacks_see_each_epoch_and_can_end_the_training():
    recorder = Recorder(stop_after=4)
    net = small("regression", callbacks=recorder).fit(table(), targets("regression"))
    assert net.n_iter_ == len(recorder.logs) == 4
    assert [log["loss"] / 2 for log in recorder.logs] == net.loss_curve_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small("regression", callbacks=Recorder(stop_after=12)).fit(table(), targets("regression"))


def test_callbacks_see_the_rows_held_back():
    recorder = Recorder()
    net = small("binary", callbacks=[recorder], early_stopping=True).fit(table(), targets("binary"))
    assert net.n_iter_ == len(recorder.logs)
    assert all(log["val_loss"] > 0 for log in recorder.logs)


def test_verbose_prints_what_scikit_learn_prints(capsys):
    for kind in ("regression", "binary"):
        texts = []
        for net in pair(kind, verbose=True, early_stopping=True, shuffle=False, max_iter=40, n_iter_no_change=2,
                        tol=0.1, hidden_layer_sizes=3):  # fmt: skip
            net.fit(table(), targets(kind))
            texts.append(capsys.readouterr().out.splitlines())
        assert texts[0] == texts[1]
    small("binary", solver="lbfgs", verbose=True, max_iter=2).fit(table(), targets("binary"))
    assert capsys.readouterr().out.startswith("Iteration 1, loss = 0.")


def test_early_stopping_returns_to_the_best_weights():
    X, y = table(), targets("regression")
    net = small("regression", early_stopping=True, learning_rate_init=0.5, tol=0.0, n_iter_no_change=5, max_iter=50)
    net.fit(X, y, X_val=X[:20], y_val=y[:20])
    assert len(net.validation_scores_) == net.n_iter_
    assert max(net.validation_scores_) == net.best_validation_score_ > net.validation_scores_[-1]
    assert net.score(X[:20], y[:20]) == pytest.approx(net.best_validation_score_, abs=1e-12)
    assert net.best_loss_ is None


@pytest.mark.parametrize("kind", KINDS)
def test_given_validation_rows_are_scored_and_all_others_trained_on(kind):
    X, y = table(), targets(kind)
    weight = np.random.default_rng(0).random(20)
    net = small(kind, early_stopping=True, max_iter=1, batch_size=5)
    net.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:], sample_weight_val=weight)
    assert net.t_ == 40
    score = r2_score if kind in KINDS[3:] else accuracy_score
    assert net.validation_scores_ == pytest.approx([score(y[40:], net.predict(X[40:]), sample_weight=weight)])


def test_r2_is_that_of_scikit_learn():
    y, predicted, weight = table(), table(seed=1), np.random.default_rng(0).random(N)
    y[:, 1] = 2.0  # no variance
    y[:, 2] = predicted[:, 2] = 3.0  # none, and no error
    predicted[:, 3] = y[:, 3]
    for columns in (slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4), slice(None)):
        for sample_weight in (None, weight):
            expected = r2_score(y[:, columns], predicted[:, columns], sample_weight=sample_weight)
            assert weighted_r2(y[:, columns], predicted[:, columns], sample_weight) == pytest.approx(expected)


def test_wrong_validation_rows_are_refused():
    X, y = table(), targets("binary")
    net = MLPClassifier(early_stopping=True)
    for given, message in (
        ({"X_val": X}, "y_val must be given"),
        ({"y_val": y}, "X_val must be given"),
        ({"X_val": X, "y_val": y[:-1]}, "y_val has 59 rows, but X_val has 60"),
        ({"X_val": X, "y_val": np.full(N, 7)}, "y_val must only have the classes of y"),
        ({"X_val": X[:, :2], "y_val": y}, "X_val has 2 features, but MLPClassifier is expecting 4"),
    ):
        with pytest.raises(ValueError, match=message):
            net.fit(X, y, **given)
    with pytest.raises(ValueError, match=r"X_val and y_val cannot be used for early_stopping=True with solver='lbfgs'"):
        MLPClassifier(early_stopping=True, solver="lbfgs").fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match="y_val has 1 outputs, but y has 3"):
        MLPRegressor(early_stopping=True).fit(X, targets("multioutput"), X_val=X, y_val=targets("regression"))


def test_divergence_is_an_error_unless_there_are_best_weights():
    X, y = table(), 100 * targets("regression")
    params = {"solver": "sgd", "learning_rate_init": 5.0, "activation": "identity", "max_iter": 50}
    for callbacks in (None, [Recorder()]):
        net = small("regression", **params, callbacks=callbacks)
        with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights.*diverged") as caught:
            net.fit(X, y)
        assert isinstance(caught.value.__cause__, fastnn.DivergenceError)
        assert len(caught.value.__cause__.history) > 0
        assert not hasattr(net, "coefs_")
        assert not hasattr(net, "n_features_in_")
    net = small("regression", **params, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="diverged.*The weights of the best validation score"):
        net.fit(X, y)
    assert np.isnan(net.validation_scores_[-1])
    assert len(net.validation_scores_) == len(net.loss_curve_) == net.n_iter_ < 50
    assert np.isfinite(net.predict(X)).all()


def test_warm_start_goes_on_and_refuses_another_net():
    X, y = table(), targets("multiclass")
    net = small("multiclass", warm_start=True, max_iter=5).fit(X, y)
    losses = list(net.loss_curve_)
    net.fit(X, y)
    assert net.loss_curve_[:5] == losses
    assert (len(net.loss_curve_), net.n_iter_, net.t_) == (10, 5, 10 * N)
    net.set_params(early_stopping=True).fit(X, y)  # another rule: another record
    assert len(net.validation_scores_) == len(net.loss_curve_) == net.n_iter_
    before = weights(net)
    with pytest.raises(ValueError, match=r"warm_start continues .* \[4, 7, 5, 3\], .* require \[4, 7, 3\]"):
        net.set_params(hidden_layer_sizes=7).fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(net), strict=True))


def test_ctrl_c_keeps_what_was_learnt():
    class Interrupt(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    net = small("binary", callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        net.fit(table(), targets("binary"))
    assert len(net.loss_curve_) == net.n_iter_ == 2  # as scikit-learn's, whose `fit` warns in place of raising
    assert net.predict(table()).shape == (N,)


# ------------------------------------------------------------------------------------ what is new


def test_each_layer_may_have_its_own_activation():
    X, y = table(), targets("regression")
    net = small("regression", activation=["tanh", fastnn.elu(0.5)]).fit(X, y)
    hidden = np.tanh(X @ net.coefs_[0] + net.intercepts_[0])
    z = hidden @ net.coefs_[1] + net.intercepts_[1]
    hidden = np.where(z > 0, z, 0.5 * np.expm1(z))
    np.testing.assert_allclose(net.predict(X), (hidden @ net.coefs_[2] + net.intercepts_[2])[:, 0], rtol=1e-9)
    assert same_weights(small("regression", activation=["tanh", "tanh"]).fit(X, y),
                        small("regression", activation="tanh").fit(X, y))  # fmt: skip
    for given, message in (
        (["tanh"], "names 1 activations, but hidden_layer_sizes has 2 layers"),
        ("softmax", "softmax"),
        ("rely", "Did you mean 'relu'"),
    ):
        with pytest.raises(ValueError, match=message):
            small("regression", activation=given).fit(X, y)


@pytest.mark.parametrize(
    "solver", ["rmsprop", "adagrad", "momentum", "nesterov", "adamw", "amsgrad", "nadam", "lion"]
)
def test_other_optimizers_by_name(solver):
    X, y = table(), targets("multiclass")
    net = small("multiclass", solver=solver, learning_rate_init=0.02, max_iter=100).fit(X, y)
    assert net.score(X, y) > 0.7
    if solver in ("momentum", "nesterov"):
        sgd = small("multiclass", solver="sgd", nesterovs_momentum=solver == "nesterov", learning_rate_init=0.02,
                    max_iter=100)  # fmt: skip
        assert same_weights(net, sgd.fit(X, y))
    net.partial_fit(X, y)
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        small("multiclass", solver="adm").fit(X, y)


INSTANCES = {
    "sgd": (fastnn.SGD(0.05, momentum=0.9, nesterov=True), {"solver": "sgd", "learning_rate_init": 0.05}),
    "adam": (fastnn.Adam(0.01, beta_1=0.8), {"learning_rate_init": 0.01, "beta_1": 0.8, "epsilon": 1e-8}),
    "adamw": (fastnn.AdamW(2e-3), {"solver": "adamw", "learning_rate_init": 2e-3, "epsilon": 1e-8}),
    "lbfgs": (fastnn.LBFGS(gtol=1e-3), {"solver": "lbfgs", "tol": 1e-3}),
}


@pytest.mark.parametrize("kind", ["multilabel", "multioutput"])
@pytest.mark.parametrize(("solver", "named"), INSTANCES.values(), ids=INSTANCES)
def test_an_optimizer_is_what_its_name_says_with_these_settings(solver, named, kind):
    X, y = table(), targets(kind)
    params = {"random_state": 3, "max_iter": 12, "hidden_layer_sizes": (7, 5)}
    estimator = MLPClassifier if kind == "multilabel" else MLPRegressor
    nets = [estimator(**params, **given).fit(X, y) for given in ({"solver": solver}, named)]
    assert same_weights(*nets)
    again = clone(nets[0])
    assert again.solver == solver
    assert type(solver).__name__ in repr(again)
    assert same_weights(again.fit(X, y), nets[0])
    again = pickle.loads(pickle.dumps(again))
    if named.get("solver") != "lbfgs":
        assert same_weights(again.partial_fit(X, y), nets[0].partial_fit(X, y))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_limits_and_decay_of_an_optimizer_count_in_scikit_learns_units(name):
    """Gradients of `Model` are two thirds of those of scikit-learn, for squared errors of three outputs."""
    X, y = table(), targets("multioutput")
    kind = {"sgd": fastnn.SGD, "adam": fastnn.Adam}[name]
    for settings in ({"weight_decay": 0.3}, {"clipvalue": 0.05}, {"global_clipnorm": 0.2}):
        params = {"hidden_layer_sizes": 5, "alpha": 0.0, "max_iter": 1, "random_state": 0}
        net = MLPRegressor(solver=kind(0.05, **settings), **params).fit(X, y)
        start = MLPRegressor(solver=kind(1e-300, **settings), **params).fit(X, y)
        hidden = np.maximum(X @ start.coefs_[0] + start.intercepts_[0], 0)
        error = hidden @ start.coefs_[1] + start.intercepts_[1] - y
        back = (error @ start.coefs_[1].T) * (hidden > 0)
        gradients = [X.T @ back / N, hidden.T @ error / N, back.mean(axis=0), error.mean(axis=0)]
        if "clipvalue" in settings:
            gradients = [np.clip(g, -0.05, 0.05) for g in gradients]
        if "global_clipnorm" in settings:
            length = np.sqrt(sum((g**2).sum() for g in gradients))
            assert length > 0.2
            gradients = [g * 0.2 / length for g in gradients]
        steps = [g / (np.abs(g) + 1e-8) if name == "adam" else g for g in gradients]
        for w, w_0, step in zip(weights(net), weights(start), steps, strict=True):
            wanted = w_0 * (1 - 0.05 * settings.get("weight_decay", 0.0)) - 0.05 * step
            np.testing.assert_allclose(w, wanted, rtol=1e-9, atol=1e-12)


def falling(epoch):
    return 0.1 / (epoch + 1)


def test_the_rate_of_an_optimizer_may_be_a_schedule_or_a_function():
    X, y = table(), targets("multioutput")
    of_epoch = schedules.PiecewiseConstant(0.1, boundaries=(1, 2, 3), values=(0.1 / 2, 0.1 / 3, 0.1 / 4))
    params = {"hidden_layer_sizes": 5, "max_iter": 4, "random_state": 0}
    nets = [MLPRegressor(solver=fastnn.SGD(rate), **params).fit(X, y) for rate in (falling, of_epoch)]
    for a, b in zip(weights(nets[0]), weights(nets[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert same_weights(pickle.loads(pickle.dumps(nets[0])), nets[0])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_averages_become_the_weights(early_stopping):
    X, y = table(), targets("multiclass")
    params = {"hidden_layer_sizes": (), "max_iter": 5, "random_state": 0, "shuffle": False, "batch_size": 54,
              "early_stopping": early_stopping}  # fmt: skip
    averaged = MLPClassifier(solver=fastnn.SGD(0.5, ema_momentum=0.7), **params).fit(X, y)
    plain = MLPClassifier(solver=fastnn.SGD(0.5), **params).fit(X, y)
    assert not np.allclose(averaged.coefs_[0], plain.coefs_[0], rtol=1e-3)
    before = averaged.predict_proba(X)
    logits = X @ averaged.coefs_[0] + averaged.intercepts_[0]
    np.testing.assert_allclose(before, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-9)
    averaged.coefs_[0][...] *= 2  # still views of what predicts
    assert not np.allclose(averaged.predict_proba(X), before)
    with pytest.raises(ValueError, match="for partial_fit: remove ema_momentum"):
        averaged.set_params(early_stopping=False).partial_fit(X, y)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"learning_rate_init": 0.1}, r"got learning_rate_init=0.1 and solver=Adam\(learning_rate=0.01\)"),
        ({"epsilon": 1e-5}, "epsilon=1e-05 and solver="),
        ({"learning_rate": "adaptive"}, "learning_rate='adaptive' and solver="),
        ({"schedule": schedules.Cosine(0.1, epochs=3)}, "schedule=Cosine.* and solver="),
        ({"solver": fastnn.LBFGS(), "max_fun": 10}, "max_fun=10 and solver="),
        ({"solver": fastnn.LBFGS(), "tol": 1e-7}, "tol=1e-07 and solver="),
        ({"solver": fastnn.LevenbergMarquardt()}, "solver=LevenbergMarquardt.* requires loss='squared_error'"),
        ({"solver": fastnn.Adam}, "The 'solver' parameter of MLPClassifier must be an instance of 'str'"),
    ],
)
def test_optimizers_that_are_contradicted(params, match):
    net = MLPClassifier(**{"solver": fastnn.Adam(0.01), **params})
    with pytest.raises(ValueError, match=match):
        net.fit(table(), targets("binary"))
    assert not hasattr(net, "coefs_")


#  dropout


def test_dropout_leaves_out_outputs_of_hidden_layers():
    X, y = table(), targets("multioutput")
    net = small("multioutput", dropout=0.5).fit(X, y)
    assert [layer.dropout for layer in net._model.layers] == [0.0, 0.5, 0.5]
    assert same_weights(net, small("multioutput", dropout=[0, 0.5, 0.5]).fit(X, y))
    assert same_weights(net, clone(net).fit(X, y))
    assert not same_weights(net, small("multioutput").fit(X, y))
    given = small("multioutput", dropout=[0.1, 0.2, 0.3]).fit(X, y)
    assert [layer.dropout for layer in given._model.layers] == [0.1, 0.2, 0.3]
    np.testing.assert_array_equal(given.predict(X), given.predict(X))  # nothing is left out of predictions
    again = pickle.loads(pickle.dumps(given))
    assert same_weights(again.partial_fit(X, y), given.partial_fit(X, y))
    assert same_weights(small("multioutput", dropout=0.0).fit(X, y), small("multioutput").fit(X, y))


@pytest.mark.slow
def test_dropout_works_against_overfitting():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 6))
    y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)
    y[:100:5] = 1 - y[:100:5]
    params = {"hidden_layer_sizes": (64, 64), "max_iter": 300, "n_iter_no_change": 300, "random_state": 0}
    nets = [MLPClassifier(dropout=rate, **params).fit(X[:100], y[:100]) for rate in (0.0, 0.5)]
    surprise = [-np.log(net.predict_proba(X[100:])[np.arange(500), y[100:]]).mean() for net in nets]
    assert surprise[1] < 0.7 * surprise[0]


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"dropout": 0.2, "solver": "lbfgs"}, "dropout is 0.2, but solver='lbfgs' requires a deterministic loss"),
        ({"dropout": [0.1, 0, 0], "solver": "lm"}, r"dropout is \[0.1, 0, 0\], but .* requires a deterministic loss"),
        ({"dropout": 0.2, "solver": fastnn.LBFGS()}, r"solver=LBFGS\(.*requires a deterministic loss"),
        ({"dropout": [0.2, 0.3]}, "dropout has 2 rates, but there are the input and 2 hidden layers: pass 3"),
        ({"dropout": [0.0, 0.2, 1.0]}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": 1.0}, "The 'dropout' parameter of MLPRegressor must be a float in the range"),
        ({"dropout": -0.1}, "The 'dropout' parameter of MLPRegressor must be a float in the range"),
        ({"dropout": "0.5"}, "The 'dropout' parameter of MLPRegressor must be"),
        ({"dropout": 0.5, "hidden_layer_sizes": ()}, "without hidden layers: set dropout=0"),
    ],
)
def test_dropout_that_makes_no_sense(params, match):
    net = small("regression", **params)
    with pytest.raises((ValueError, TypeError), match=match):
        net.fit(table(), targets("regression"))
    assert not hasattr(net, "coefs_")


def test_partial_fit_goes_on_with_the_same_net():
    X, y = table(), targets("regression")
    net = small("regression", dropout=0.2).partial_fit(X, y)
    before = weights(net)
    for changed, match in (({"dropout": 0.3}, "dropout is 0.3, but partial_fit continues"),
                           ({"activation": "tanh"}, "activation is 'tanh', but partial_fit continues")):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            clone_of(net).set_params(**changed).partial_fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(net), strict=True))
    net.set_params(dropout=[0.0, 0.2, 0.2]).partial_fit(X, y)  # the same by other words
    warm = net.set_params(dropout=0.4, warm_start=True, max_iter=1).fit(X, y)
    assert [layer.dropout for layer in warm._model.layers] == [0.0, 0.4, 0.4]


def clone_of(net):
    """A copy with the same weights."""
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multioutput", "several counts"])
def test_a_schedule_is_that_of_the_rate(solver, kind):
    X, y = table(), targets(kind)
    params = {"solver": solver, "batch_size": 20, "max_iter": 6, "alpha": 0.0}
    constant = small(kind, **params, learning_rate_init=0.01).fit(X, y)
    same = small(kind, **params, schedule=schedules.Constant(0.01)).fit(X, y)
    for a, b in zip(weights(constant), weights(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    # A rate of 0 after three epochs: they are as in a training of three.
    short = small(kind, **{**params, "max_iter": 3}, learning_rate_init=0.01).fit(X, y)
    falling = schedules.PiecewiseConstant(0.01, boundaries=(3,), values=(0.0,))
    stopped = small(kind, **params, schedule=falling).fit(X, y)
    for a, b in zip(weights(short), weights(stopped), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    # Each fit begins it anew, while calls of partial_fit go on.
    steps = small(kind, **params, shuffle=False, schedule=falling)
    for k in range(5):
        steps.partial_fit(X, y)
        if k == 2:
            third = weights(steps)
            steps = pickle.loads(pickle.dumps(steps))
    assert all(np.array_equal(a, b) for a, b in zip(third, weights(steps), strict=True))


def test_schedules_that_make_no_sense_are_refused():
    X, y = table(), targets("binary")
    schedule = schedules.Cosine(0.01, epochs=5)
    for params, message in (
        ({"learning_rate": "adaptive"}, "learning_rate is 'adaptive', but only one of them can define"),
        ({"solver": "lbfgs"}, "solver='lbfgs' has no learning rate: remove it"),
    ):
        net = MLPClassifier(schedule=schedule, **params)
        with pytest.raises(ValueError, match=message):
            net.fit(X, y)
        assert not hasattr(net, "coefs_")
    with pytest.raises(ValueError, match="The 'schedule' parameter of MLPClassifier must be"):
        MLPClassifier(schedule=0.1).fit(X, y)
    assert clone(MLPClassifier(schedule=schedule)).schedule == schedule


def test_negative_counts_are_refused():
    X, y = table(), targets("counts")
    with pytest.raises(ValueError, match="y must be at least 0 for loss='poisson', got -1"):
        MLPRegressor("poisson").fit(X, np.where(y > 2, -1, y))
    net = MLPRegressor("poisson", early_stopping=True)
    with pytest.raises(ValueError, match=r"y_val must be at least 0"):
        net.fit(X, y, X_val=X, y_val=y - 1)


def test_counts_predict_means():
    X, y = table(500), targets("counts", 500)
    net = small("counts", solver="lbfgs", max_iter=500).fit(X, y)
    assert (net.predict(X) > 0).all()
    assert net.predict(X).mean() == pytest.approx(y.mean(), rel=1e-3)
    assert net.loss_ == pytest.approx(mean_poisson_deviance(y, net.predict(X)) / 2, rel=1e-4)


def test_fastnns_own_callbacks_work_here():
    X, y = table(), targets("regression")
    stopping = fastnn.EarlyStopping("val_loss", patience=3)
    net = small("regression", learning_rate_init=0.1, max_iter=200, n_iter_no_change=200, callbacks=stopping,
                alpha=0.0)  # fmt: skip
    net.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert net.n_iter_ == stopping.stopped_epoch + 1 < 200
    assert np.mean((net.predict(X[40:]) - y[40:]) ** 2) == pytest.approx(stopping.best, rel=1e-9)
    recorder = Recorder()
    reducing = fastnn.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1.0)
    small("regression", callbacks=[reducing, recorder], max_iter=4).fit(X, y)
    np.testing.assert_allclose([logs["learning_rate"] for logs in recorder.logs], [1e-3, 1e-3, 5e-4, 2.5e-4])


def test_levenberg_marquardt_is_for_regression():
    X, y = table(), targets("multioutput")
    net = small("multioutput", solver="lm", activation="tanh", alpha=1e-3, tol=1e-6, max_iter=100).fit(X, y)
    adam = small("multioutput", activation="tanh", alpha=1e-3, max_iter=100).fit(X, y)
    assert net.loss_ < 0.1 * adam.loss_
    assert net.n_iter_ <= 100
    with pytest.raises(ValueError, match="solver='lm' requires loss='squared_error', but the loss is 'log_loss'"):
        MLPClassifier(solver="lm").fit(X, targets("binary"))
    with pytest.raises(ValueError, match="solver='lm' requires loss='squared_error', but the loss is 'poisson'"):
        MLPRegressor("poisson", solver="lm").fit(X, targets("counts"))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_class_weights_are_sample_weights(kind):
    X, y = table(), targets(kind)
    label = np.unique(y)[0]
    sample_weight = np.random.default_rng(0).random(N)
    weighted = small(kind, class_weight={label: 4.0}).fit(X, y, sample_weight=sample_weight)
    assert same_weights(weighted, small(kind).fit(X, y, sample_weight=sample_weight * np.where(y == label, 4.0, 1.0)))
    counts = {one: np.sum(y == one) for one in np.unique(y)}
    balanced = small(kind, class_weight="balanced").fit(X, y)
    assert same_weights(balanced, small(kind).fit(X, y, [N / len(counts) / counts[one] for one in y]))
    with pytest.raises(ValueError, match="class_weight must not be 'balanced' for partial_fit"):
        balanced.partial_fit(X, y)


def test_class_weights_of_several_labels_a_row_are_refused():
    with pytest.raises(ValueError, match="y is multi-label"):
        MLPClassifier(class_weight="balanced").fit(table(), targets("multilabel"))


@BOTH
def test_dtype(estimator):
    X, y = table(), targets("binary" if estimator is MLPClassifier else "regression")
    for given, asked, found in (
        (np.float64, None, np.float64),
        (np.float32, None, np.float32),
        (np.int64, None, np.float64),
        (np.float64, "float32", np.float32),
        (np.float32, np.float64, np.float64),
    ):
        net = estimator(hidden_layer_sizes=5, max_iter=2, dtype=asked).fit(X.astype(given), y)
        assert {w.dtype for w in weights(net)} == {np.dtype(found)}
    with pytest.raises(ValueError, match=r"dtype must be .* got 'float16'"):
        estimator(dtype="float16").fit(X, y)


def test_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert default_n_threads() == available_threads()
    tasks = [joblib.delayed(default_n_threads)()] * 2
    assert joblib.Parallel(n_jobs=2, backend="threading")(tasks) == [1, 1]
    assert joblib.Parallel(n_jobs=1)(tasks) == [available_threads()] * 2
    for given, found in (("1", 1), ("1,4", 1), ("1000000", available_threads()), ("many", available_threads()),
                         ("0", available_threads())):  # fmt: skip
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert default_n_threads() == found
    net = small("binary", n_threads=2, max_iter=2).fit(table(), targets("binary"))
    assert net._model.n_threads == 2
    assert same_weights(net, small("binary", n_threads=1, max_iter=2).fit(table(), targets("binary")))


def test_without_hidden_layers_the_net_is_linear():
    net = small("regression", hidden_layer_sizes=(), solver="lbfgs", alpha=0, max_iter=200)
    net.fit(table(), table() @ [1.0, -2, 3, 0] + 5)
    np.testing.assert_allclose(net.coefs_[0][:, 0], [1, -2, 3, 0], atol=1e-3)
    assert net.n_layers_ == 2


def test_what_is_not_there_is_refused():
    assert not hasattr(MLPClassifier(solver="lm"), "partial_fit")
    with pytest.raises(AttributeError, match="no attribute 'partial_fit'") as caught:
        MLPClassifier(solver="lbfgs").partial_fit  # noqa: B018
    assert "partial_fit is only available for stochastic optimizers" in str(caught.value.__cause__)
    with pytest.raises(ValueError, match=r"'alpha' parameter of MLPClassifier must be a float in the range"):
        MLPClassifier(alpha=-1).fit(table(), targets("binary"))
    with pytest.raises(TypeError, match=r"hidden_layer_sizes must be integers > 0, got \(2.5,\)"):
        MLPClassifier((2.5,)).fit(table(), targets("binary"))
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must be > 0, got \(3, 0\)"):
        MLPClassifier((3, 0)).fit(table(), targets("binary"))


# -------------------------------------------------------------------------------- weights and copies


@BOTH
def test_weights_can_be_written_and_replaced(estimator):
    X, y = table(), targets("binary" if estimator is MLPClassifier else "regression")
    net = estimator(hidden_layer_sizes=5, max_iter=3, random_state=0).fit(X, y)
    outputs = net.predict_proba if estimator is MLPClassifier else net.predict
    before = outputs(X).copy()
    net.coefs_[0][:] *= 2
    written = outputs(X)
    assert not np.allclose(before, written)
    net.coefs_[0] = net.coefs_[0] / 2
    np.testing.assert_allclose(outputs(X), before, rtol=1e-12)
    net.coefs_ = [w.copy() for w in net.coefs_]
    net.coefs_[0] *= 2
    np.testing.assert_allclose(outputs(X), written, rtol=1e-12)
    net.coefs_[0][0, 0] += 1  # is a view again
    assert not np.allclose(outputs(X), written)


@BOTH
def test_copies_and_pickles_go_on_as_the_original(estimator, tmp_path):
    X, y = table(), targets("multiclass" if estimator is MLPClassifier else "multioutput")
    net = estimator(hidden_layer_sizes=5, max_iter=3, random_state=0, solver="sgd").fit(X, y)
    joblib.dump(net, tmp_path / "net")
    copies = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), joblib.load(tmp_path / "net"),
              joblib.load(tmp_path / "net", mmap_mode="r")]  # fmt: skip
    net.partial_fit(X, y)
    for other in copies:
        assert not np.array_equal(other.coefs_[0], net.coefs_[0])
        other.partial_fit(X, y)
        assert same_weights(other, net)
        assert other.loss_curve_ == net.loss_curve_
        assert np.array_equal(other.predict(X), net.predict(X))


def test_clone_repr_and_set_params():
    net = MLPClassifier(20, activation=["tanh"], callbacks=[Recorder()], class_weight={0: 2.0})
    again = clone(net)
    assert repr(again.set_params(callbacks=None)) == (
        "MLPClassifier(activation=['tanh'], class_weight={0: 2.0}, hidden_layer_sizes=20)"
    )
    assert repr(MLPRegressor()) == "MLPRegressor()"


@pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (0.0, 1.0), ("a", "b", "c"), (-5, 0, 300), (7,)])
def test_labels_of_any_type(labels):
    X = table()
    for dtype in (None, object) if isinstance(labels[0], str) else (None,):
        y = np.array(labels, dtype)[np.digitize(X[:, 0], [-0.5, 0.5][: len(labels) - 1])]
        net = small("binary", early_stopping=True).fit(X, y)
        expected = small("binary", neural_network, early_stopping=sklearn.__version__ >= "1.9").fit(X, y)
        assert np.array_equal(net.classes_, expected.classes_)
        assert net.predict(X).dtype == expected.predict(X).dtype
        assert net.predict_proba(X).shape == expected.predict_proba(X).shape
        assert 0.0 <= net.score(X, y) <= 1.0


def test_predictions_of_all_kinds_of_input():
    X, y = table(), targets("multiclass")
    net = small("multiclass").fit(X, y)
    expected = net.predict_proba(X)
    for given in (np.asfortranarray(X), X.tolist(), X.astype(object), X[:, ::-1].copy()[:, ::-1], sparse.csr_array(X),
                  sparse.csc_matrix(X), sparse.coo_array(X)):  # fmt: skip
        np.testing.assert_allclose(net.predict_proba(given), expected, rtol=1e-12)
    for bad, message in ((X[:, :2], "X has 2 features"), (X * np.nan, "contains NaN"), (X[:0], "0 sample"),
                         (X[0], "Expected 2D array")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            net.predict(bad)
    np.testing.assert_array_equal(small("multiclass").fit(sparse.csc_array(X), y).predict(X), net.predict(X))


def test_column_names_are_looked_at():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(), columns=list("abcd"))
    net = small("multiclass").fit(frame, targets("multiclass"))
    assert list(net.feature_names_in_) == list("abcd")
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        net.predict(table())
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame[list("dcba")])


# ---------------------------------------------------------------------------- in scikit-learn's tools


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_with_several_workers(backend):
    X, y = table(120), targets("multiclass", 120)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(10, max_iter=20, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__early_stopping": [False, True]}
    found = []
    for n_jobs in (1, 2):
        with joblib.parallel_config(backend):
            found.append(GridSearchCV(pipeline, grid, n_jobs=n_jobs, cv=2, error_score="raise").fit(X, y))
    assert np.array_equal(*(search.cv_results_["mean_test_score"] for search in found))
    assert same_weights(*(search.best_estimator_[-1] for search in found))


def test_cross_validation():
    X, y = table(200), targets("regression", 200)
    net = MLPRegressor(hidden_layer_sizes=20, solver="lbfgs", max_iter=100, random_state=0)
    assert cross_val_score(net, X, y, cv=3).mean() > 0.8


def test_metadata_are_routed():
    X, y = table(), targets("binary")
    with sklearn.config_context(enable_metadata_routing=True):
        net = small("binary", early_stopping=True).set_fit_request(sample_weight=True, X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net, transform_input=["X_val"])
        pipeline.fit(X, y, sample_weight=np.ones(N), X_val=X[:20], y_val=y[:20])
        scaled = StandardScaler().fit(X).transform(X)
        alone = clone(net).fit(scaled, y, sample_weight=np.ones(N), X_val=scaled[:20], y_val=y[:20])
        assert same_weights(pipeline[-1], alone)
        net = small("binary").set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_val_score(net, X, y, cv=2, params={"sample_weight": np.ones(N)})
        assert len(scores) == 2


def test_without_scikit_learn_the_error_says_what_to_install():
    code = """
import sys
sys.modules["sklearn"] = None
import fastnn
assert "fastnn.estimators" not in sys.modules
for name in ("MLPClassifier", "MLPRegressor"):
    try:
        getattr(fastnn, name)
    except ImportError as error:
        print(error)
try:
    fastnn.MLPTransformer
except AttributeError as error:
    print(error)
"""
    lines = run_python(code).splitlines()
    assert [line.endswith('pip install "fastnn-mlp[sklearn]"') for line in lines] == [True, True, False]
    assert "has no attribute 'MLPTransformer'" in lines[2]


@pytest.mark.parametrize("schedule", [None, fastnn.schedules.Cosine(0.01, epochs=5)])
def test_a_pickle_names_public_modules_alone(schedule):
    """A rename inside would otherwise make pickles of users unreadable."""
    for net, kind in ((MLPClassifier, "binary"), (MLPRegressor, "regression")):
        fitted = net(hidden_layer_sizes=(4,), max_iter=3, schedule=schedule, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.fit(table(), targets(kind))
        strings = [argument for _, argument, _ in pickletools.genops(pickle.dumps(fitted)) if isinstance(argument, str)]
        modules = [text for text in strings if text.startswith("fastnn")]
        assert "fastnn.estimators" in modules
        assert not [text for text in modules if "._" in text]
