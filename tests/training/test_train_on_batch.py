"""train_on_batch: one update, what it returns and what it does not change."""

from __future__ import annotations

import io

import numpy as np
import pytest
from insides import steps_done
from models import N, assert_same_parameters, bits, classifier, labels, table

import fastnn
from fastnn import Callback


@pytest.mark.parametrize("n", [1, N, 3000])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_an_epoch_of_one_batch(n, weighted, dtype):
    X, y = table(n), labels(n)
    options = {"sample_weight": np.arange(1.0, n + 1), "class_weight": {1: 3.0}} if weighted else {}
    model, expected = (classifier(optimizer=fastnn.Adam(0.01), dtype=dtype, regularizer="l2") for _ in range(2))
    for _ in range(3):
        found = model.train_on_batch(X, y, **options)
        record = expected.fit(X, y, batch_size=None, **options)
        assert found == {name: record[name][0] for name in ("loss", "accuracy")}
    assert_same_parameters(model, expected)
    assert steps_done(model) == 3


def test_a_loop_of_ones_own_is_an_epoch():
    X, y = table(), labels()
    model, expected = classifier(), classifier()
    for first in range(0, N, 7):
        model.train_on_batch(X[first : first + 7], y[first : first + 7])
    expected.fit(X, y, batch_size=7, shuffle=False)
    assert_same_parameters(model, expected)


def test_it_is_no_epoch():
    X, y = table(), labels()
    model = classifier()
    model.train_on_batch(X, y)
    assert len(model.history) == 0
    assert model.fit(X, y).epoch == [0]
    other = fastnn.load(io.BytesIO(bits(model)))
    assert steps_done(other) == steps_done(model) == 3
    for each in (model, other):
        each.train_on_batch(X, y)
    assert_same_parameters(model, other)


def test_values_are_those_before_the_update():
    def mean_of_the_first(y_true, y_pred):
        return y_pred[:, 0].mean()

    X, y = table(), labels()
    model = classifier(metrics=["accuracy", mean_of_the_first], regularizer="l2").build(3)
    before = model.evaluate(X, y)
    found = model.train_on_batch(X, y)
    assert list(found.keys()) == ["loss", "accuracy", "mean_of_the_first"]
    assert found == pytest.approx(dict(before), rel=1e-6)
    assert model.evaluate(X, y)["loss"] < before["loss"]


def test_divergence():
    model = classifier(optimizer=fastnn.SGD(1e30))

    def diverge():
        for _ in range(50):
            model.train_on_batch(table(), labels())

    with pytest.raises(fastnn.DivergenceError, match=r"learning_rate=1e\+30") as caught:
        diverge()
    assert caught.value.history is model.history
    assert all(np.isfinite(w).all() for w in model.weights)


@pytest.mark.parametrize(
    ("X", "y", "options", "kind"),
    [
        (table(), labels(N - 1), {}, ValueError),
        (table(d=4), labels(), {}, ValueError),
        (table(), labels() + 9, {}, ValueError),
        (table(), labels(), {"sample_weight": -np.ones(N)}, ValueError),
        (table() * np.nan, labels(), {}, ValueError),
        (table(), None, {}, TypeError),
    ],
)
def test_a_failed_call_changes_nothing(X, y, options, kind):
    model = classifier().build(3)
    before = bits(model)
    with pytest.raises(kind):
        model.train_on_batch(X, y, **options)
    assert bits(model) == before


def test_weights_that_are_not_finite_are_named():
    model = classifier().build(3)
    model.weights[1][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[1\] of the model holds NaN"):
        model.train_on_batch(table(), labels())


def test_within_a_fit_it_is_refused():
    class Nested(Callback):
        def on_epoch_end(self, epoch, logs):
            with pytest.raises(RuntimeError, match="train_on_batch was called while this model is in training"):
                self.model.train_on_batch(table(), labels())

    model, alone = classifier(), classifier()
    model.fit(table(), labels(), callbacks=Nested())
    alone.fit(table(), labels())
    assert_same_parameters(model, alone)
