"""Exact resume: training, saving and continuing gives the bits of one uninterrupted training."""

from __future__ import annotations

import numpy as np
import pytest
from insides import epochs_done, optimizer_slots, steps_done
from models import every_optimizer, through_a_file

import fastnn
from fastnn import Model

N = 50
X = np.random.default_rng(0).standard_normal((N, 4))
Y = np.random.default_rng(1).integers(0, 3, N)
T = np.random.default_rng(2).standard_normal((N, 2))
WEIGHT = np.random.default_rng(3).uniform(0.5, 2.0, N)

FITS = {
    "mini-batches": {"batch_size": 7},
    "one row": {"batch_size": 1},
    "all rows": {"batch_size": None},
    "without shuffling": {"batch_size": 7, "shuffle": False},
    "split": {"batch_size": 7, "validation_split": 0.2},
    "weights of rows": {"batch_size": 7, "sample_weight": WEIGHT},
    "all of it": {"batch_size": 7, "validation_split": 0.2, "sample_weight": WEIGHT, "class_weight": "balanced"},
}


def state(model):
    """All that training changes, but for the time that it took."""
    slots = [optimizer_slots(model).tobytes()]
    values = {name: series for name, series in model.history.history.items() if name != "seconds"}
    weights = [a.tobytes() for a in (*model.weights, *model.biases)]
    return weights, slots, steps_done(model), epochs_done(model), model.history.epoch, values


@every_optimizer
@pytest.mark.parametrize("fit", FITS.values(), ids=list(FITS))
def test_a_stop_between_epochs_leaves_no_trace(optimizer, fit, dtype):
    whole, model = (
        Model([6, 3], loss="softmax_crossentropy", optimizer=optimizer, regularizer="l1_l2", dtype=dtype, seed=4)
        for _ in range(2)
    )
    whole.fit(X, Y, epochs=5, **fit)
    model.fit(X, Y, epochs=2, **fit)
    model = through_a_file(model)
    model.fit(X, Y, epochs=3, **fit)
    assert state(model) == state(whole)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_regression_and_another_number_of_threads(n_threads):
    whole = Model([6, 2], loss="squared_error", metrics=["mse", "r2"], seed=4, n_threads=1)
    model = Model([6, 2], loss="squared_error", metrics=["mse", "r2"], seed=4, n_threads=n_threads)
    whole.fit(X, T, epochs=5, batch_size=7)
    for _ in range(5):
        model.fit(X, T, batch_size=7)
        model = through_a_file(model)
    assert state(model) == state(whole)


def test_steps_of_ones_own_between():
    whole, model = (Model([6, 3], loss="softmax_crossentropy", seed=4) for _ in range(2))
    for each in (whole, model):
        each.fit(X, Y, epochs=2, batch_size=7)
        each.train_on_batch(X[:9], Y[:9])
    model = through_a_file(model)
    for each in (whole, model):
        each.fit(X, Y, epochs=2, batch_size=7)
    assert state(model) == state(whole)


def test_a_rate_that_was_changed_on_the_way():
    halve = fastnn.LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch % 2 else lr)
    whole, model = (Model([6, 3], loss="softmax_crossentropy", seed=4) for _ in range(2))
    whole.fit(X, Y, epochs=5, batch_size=7, callbacks=halve)
    model.fit(X, Y, epochs=2, batch_size=7, callbacks=halve)
    model = through_a_file(model)
    model.fit(X, Y, epochs=3, batch_size=7, callbacks=halve)
    assert state(model) == state(whole)
    assert whole.history["learning_rate"] == [1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]


def test_the_optimizers_memory_matters():
    """Without it the bits would be others: the tests above could fail."""
    whole, model = (Model([6, 3], loss="softmax_crossentropy", seed=4) for _ in range(2))
    whole.fit(X, Y, epochs=4)
    model.fit(X, Y, epochs=2)
    optimizer_slots(model)[:] = 0.0
    model.fit(X, Y, epochs=2)
    assert state(model)[0] != state(whole)[0]
