"""Metrics that are functions: arguments, times of calls, names, and invalid ones."""

from __future__ import annotations

import copy
import functools
import io
import math
import pickle

import numpy as np
import pytest
from insides import set_metrics
from models import N, classifier, labels, table

import fastnn
from fastnn import Dense, Model
from fastnn.metrics import Metric


def regressor(units=1, **options):
    return Model([5, units], **{"loss": "squared_error", "seed": 0, "dtype": "float64", **options})


def worst(y_true, y_pred):
    return np.abs(y_true - y_pred).max()


class Given:
    """A metric that keeps what it was given."""

    __name__ = "given"

    def __init__(self):
        self.calls = []

    def __call__(self, y_true, y_pred):
        self.calls.append((y_true.copy(), y_pred.copy()))
        return len(self.calls)


def test_a_function_is_computed_after_each_epoch():
    X, t = table(), table(N, 1, seed=2)[:, 0]
    X_new, t_new = table(11, seed=3), table(11, 1, seed=4)[:, 0]
    model = regressor(metrics=[worst, "mse"])
    seen = []
    look = fastnn.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(worst(t, model.predict(X)[:, 0])))
    record = model.fit(X, t, epochs=3, validation_data=(X_new, t_new), callbacks=look)
    assert list(record.history) == [
        "loss", "mean_squared_error", "worst", "val_loss", "val_mean_squared_error", "val_worst",
        "learning_rate", "seconds",
    ]  # fmt: skip
    assert record["worst"] == seen
    assert record["val_worst"][-1] == worst(t_new, model.predict(X_new)[:, 0])
    assert model.evaluate(X_new, t_new) == {
        name: record[f"val_{name}"][-1] for name in ("loss", "mean_squared_error", "worst")
    }
    without = regressor()
    without.fit(X, t, epochs=3)
    for a, b in zip(model.weights, without.weights, strict=True):
        assert a.tobytes() == b.tobytes()


def test_without_a_callback_it_is_computed_too():
    record = regressor(metrics=worst).fit(table(), table(N, 1), epochs=4)
    assert len(record["worst"]) == 4
    assert len(set(record["worst"])) == 4


def test_the_rows_of_a_split():
    X, y = table(), labels()
    given = Given()
    model = classifier(metrics=[given])
    model.fit(X, y, validation_split=0.25, sample_weight=np.arange(1.0, N + 1))
    (training, outputs), (validation, held_back) = given.calls
    assert len(training) == 34
    assert len(validation) == 11
    rows = [np.flatnonzero((model.predict_proba(X)[:, None] == part[None]).all(axis=2).any(axis=1)) for part in
            (outputs, held_back)]  # fmt: skip
    assert sorted(np.concatenate(rows)) == list(range(N))
    assert np.array_equal(y[rows[0]], training)
    assert np.array_equal(y[rows[1]], validation)


@pytest.mark.parametrize(
    ("model", "y", "expected"),
    [
        (regressor(), table(N, 1), "predict"),
        (regressor(), table(N, 1)[:, 0], "flat"),
        (regressor(), list(table(N, 1)[:, 0]), "flat"),
        (regressor(2), table(N, 2), "predict"),
        (classifier(), labels(), "predict_proba"),
        (classifier(), labels().astype(np.int8)[:, None], "predict_proba"),
        (Model([Dense(3, "softmax")], loss="softmax_crossentropy", seed=0), np.eye(3)[labels()], "predict_proba"),
        (Model([1], loss="bce", seed=0), labels(classes=2) == 1, "flat"),
        (Model([1], loss="bce", seed=0), labels(classes=2)[:, None], "predict_proba"),
        (Model([2], loss="bce", seed=0), np.eye(2)[labels(classes=2)], "predict_proba"),
    ],
)
def test_what_it_is_given(model, y, expected):
    given = Given()
    set_metrics(model, Metric("given", given))
    X = table().astype(model.dtype)
    model.fit(X, y)
    assert model.evaluate(X, y)["given"] == 2.0
    y_true, y_pred = given.calls[1]
    assert y_true.dtype == np.asarray(y).dtype
    assert np.array_equal(y_true, y)
    outputs = model.predict(X) if model.loss.name == "squared_error" else model.predict_proba(X)
    assert np.array_equal(y_pred, outputs[:, 0] if expected == "flat" else outputs)


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_and_the_root_of_the_mean_squared_error(units, weighted):
    sklearn = pytest.importorskip("sklearn.metrics")
    X, t = table(), table(N, units, seed=5)
    weight = np.random.default_rng(6).uniform(0.0, 2.0, N) if weighted else None
    model = regressor(units, metrics=["r2", "rmse", "mse"]).build(3)
    found = model.evaluate(X, t, sample_weight=weight)
    assert list(found.keys()) == ["loss", "mean_squared_error", "r2", "root_mean_squared_error"]
    u = model.predict(X)
    np.testing.assert_allclose(found["r2"], sklearn.r2_score(t, u, sample_weight=weight), rtol=1e-12)
    mse = sklearn.mean_squared_error(t, u, sample_weight=weight)
    np.testing.assert_allclose(found["root_mean_squared_error"], math.sqrt(mse), rtol=1e-12)


def test_r2_of_constant_targets():
    metric = Metric("r2_score")
    t = np.ones(5)
    assert metric.value(t, t, None) == 1.0
    assert metric.value(t, t + 1e-3, None) == 0.0
    two = np.stack([t, np.arange(5.0)], axis=1)
    assert metric.value(two, two, None) == 1.0


def test_metrics_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    X, y = table(), labels(classes=2)
    model = Model([1], loss="bce", metrics=[sklearn.roc_auc_score, sklearn.brier_score_loss], seed=0)
    stopping = fastnn.EarlyStopping("val_roc_auc_score", patience=3)
    record = model.fit(X, y, epochs=30, validation_split=0.3, callbacks=stopping)
    assert max(record["val_roc_auc_score"]) == stopping.best
    regression = regressor(metrics=[sklearn.r2_score, sklearn.mean_squared_error])
    found = regression.build(3).evaluate(X, table(N, 1)[:, 0])
    assert found["mean_squared_error"] == pytest.approx(found["loss"])


def test_names():
    def double(y_true, y_pred):
        return 0.0

    model = regressor(metrics=[Metric("first", worst), Metric("second", worst), double])
    found = model.build(3).evaluate(table(), table(N, 1))
    assert list(found.keys()) == ["loss", "first", "second", "double"]
    assert found["first"] == found["second"] > 0.0
    partial = Metric("clipped", functools.partial(np.clip, 0.0))
    assert partial.name == "clipped"


@pytest.mark.parametrize(
    ("metrics", "kind", "text"),
    [
        ([worst, Metric("worst", max)], ValueError, "metrics has 2 of the name 'worst'"),
        (["mse", Metric("mean_squared_error", worst)], ValueError, "2 of the name 'mean_squared_error'"),
        ([Metric], TypeError, "metric must be a name"),
        ([functools.partial(worst, 1)], TypeError, "metric must be a function with a __name__, or Metric"),
        ([len], TypeError, r"must be callable as function\(y_true, y_pred\), got <built-in function len>"),
        ([lambda y: 0.0], TypeError, "function of a metric must be callable as function"),
        (["r2", "r3"], ValueError, "metric must be one of .*, got 'r3'"),
    ],
)
def test_what_is_no_metric(metrics, kind, text):
    with pytest.raises(kind, match=text):
        regressor(metrics=metrics)


@pytest.mark.parametrize("name", ["loss", "seconds", "learning_rate", "epoch", "val_worst"])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match=f"name of a metric must be none of loss, .*, got '{name}'"):
        Metric(name, worst)


@pytest.mark.parametrize("name", ["", None, 5])
def test_names_that_are_none(name):
    with pytest.raises(TypeError, match="name of a metric must be a text"):
        Metric(name, worst)


@pytest.mark.parametrize("name", ["r2", "rmse"])
def test_errors_are_for_regression(name):
    with pytest.raises(ValueError, match="needs a loss of regression"):
        classifier(metrics=[name])


@pytest.mark.parametrize("value", [None, "much", [1.0, 2.0], np.ones(1), 1j])
def test_a_metric_that_gives_no_number(value):
    model = regressor(metrics=[Metric("odd", lambda y_true, y_pred: value)])
    with pytest.raises(TypeError, match=r"value of the metric 'odd' must be one number, got"):
        model.fit(table(), table(N, 1))


def test_an_error_of_a_metric_says_what_it_was_given():
    def accuracy(y_true, y_pred):
        raise ValueError("mine")

    model = classifier(metrics=[accuracy])
    with pytest.raises(ValueError, match="mine") as caught:
        model.fit(table(), labels())
    assert f"y_true ({N},) and y_pred ({N}, 3), which are probabilities" in caught.value.__notes__[0]
    model.predict(table())  # nothing is left locked


def test_outputs_that_are_not_finite_are_not_given():
    """As the loss for validation, which is NaN then, and training goes on."""

    def fail(y_true, y_pred):
        assert np.isfinite(y_pred).all()
        return 1.0

    X = table(4).astype("float32")
    model = Model([1], loss="squared_error", seed=0, metrics=[fail]).build(3)
    model.weights[0][:] = 1e30
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = model.evaluate(np.full_like(X, 3e38), np.zeros(4))
    assert math.isnan(found["fail"])
    assert math.isnan(found["loss"])


def test_functions_are_not_in_files_but_in_copies():
    X, t = table(), table(N, 1)
    model = regressor(metrics=[worst, "mse", "r2"])
    model.fit(X, t)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.metrics == model.metrics
        assert other.evaluate(X, t) == model.evaluate(X, t)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    plain = fastnn.load(file)
    assert [metric.name for metric in plain.metrics] == ["mean_squared_error", "r2"]
    file.seek(0)
    again = fastnn.load(file, metrics=[worst, "mse", "r2"])
    assert again.metrics == model.metrics
    for each in (model, again):
        each.fit(X, t, epochs=2)
    assert again.history["worst"] == model.history["worst"]
    file.seek(0)
    with pytest.raises(ValueError, match="needs a loss of classification"):
        fastnn.load(file, metrics=["accuracy"])


#  metrics of classes


def share_of_equal(y_true, y_pred):
    assert y_true.dtype.kind in "biu"
    assert y_pred.dtype == np.int64
    return float(np.mean(y_true == y_pred))


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (classifier(), labels()),
        (classifier(), labels()[:, None]),
        (classifier(), np.eye(3, dtype=int)[labels()]),
        (Model([Dense(3, "softmax")], loss="softmax_crossentropy", seed=0), labels()),
        (Model([1], loss="bce", seed=0), labels(classes=2)),
        (Model([1], loss="bce", seed=0), labels(classes=2)[:, None] == 1),
        (Model([2], loss="bce", seed=0), np.eye(2, dtype=int)[labels(classes=2)]),
    ],
)
def test_a_metric_that_needs_classes_receives_classes(model, y):
    set_metrics(model, Metric("equal", share_of_equal, needs="classes"), Metric("accuracy"))
    record = model.fit(table(), y, epochs=2)
    assert len(record["equal"]) == 2
    found = model.evaluate(table(), y)
    assert found["equal"] == pytest.approx(found["accuracy"])


def test_a_function_that_refuses_probabilities_receives_classes():
    sklearn = pytest.importorskip("sklearn.metrics")
    X, y = table(), labels()
    functions = [sklearn.accuracy_score, sklearn.balanced_accuracy_score, sklearn.matthews_corrcoef, sklearn.log_loss]
    model = classifier(metrics=functions)
    model.fit(X, y, epochs=2)
    found, classes = model.evaluate(X, y), model.predict_classes(X)
    for function in functions[:3]:
        assert found[function.__name__] == pytest.approx(function(y, classes))
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(y, model.predict_proba(X)))
    two = Model([1], loss="bce", metrics=[sklearn.f1_score], seed=0)
    two.fit(X, y > 0)
    assert two.evaluate(X, y > 0)["f1_score"] == pytest.approx(sklearn.f1_score(y > 0, two.predict_classes(X)))


def test_probabilities_alone_when_they_are_needed():
    sklearn = pytest.importorskip("sklearn.metrics")
    model = classifier(metrics=[Metric("f1", sklearn.f1_score, needs="probabilities")])
    with pytest.raises(ValueError, match="Classification metrics can't handle") as caught:
        model.fit(table(), labels())
    assert "needs='classes') receives classes" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Metric("f1", worst, needs="labels"), "needs must be 'classes', 'probabilities' or None, got 'labels'"),
        (lambda: Metric("accuracy", needs="classes"), "needs='classes' is that of a function, but metric 'accuracy'"),
        (lambda: regressor(metrics=[Metric("f1", worst, needs="classes")]), "has needs='classes', but loss='squared_e"),
    ],
)
def test_what_cannot_need_classes(call, text):
    with pytest.raises(ValueError, match=text):
        call()
