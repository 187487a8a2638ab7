"""Warnings of a fit whose data, rate or schedule make a good result unlikely: given once, and never without cause."""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from models import classifier, data, regressor, table

import fastnn
from fastnn import Adam, Model, TrainingWarning, schedules
from fastnn._training import advice


def warned(call):
    """Return the texts of the warnings of a call; each must be at the line of the caller."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {one.category for one in caught} <= {TrainingWarning}
    assert {one.filename for one in caught} <= {__file__}
    return [str(one.message) for one in caught]


def features(scale, *, n=200, d=4, columns=slice(None)):
    X = np.random.default_rng(0).normal(size=(n, d))
    X[:, columns] *= scale
    return X


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("X", "text"),
    [
        (features(1e6), r"column \d of X has values of about \de\+05|of about 1e\+06"),
        (features(1e6, columns=2), "column 2 of X has values of about"),
        (features(1.0) + 300.0, "of X has values of about 3e"),
        (np.random.default_rng(0).integers(0, 256, (50, 9), dtype=np.uint8), "divide pixels by 255"),
        (features(1e-6), "X has values of at most"),
        (features(1e6, n=1), "column"),
        (features(1e6, n=5000, d=1), "column 0"),
    ],
)
def test_features_far_from_unit_scale(X, text, dtype):
    model = Model([3, 1], loss="huber", seed=0, dtype=dtype, optimizer=Adam(1e-9))
    y = np.zeros(len(X))
    (found,) = warned(lambda: model.fit(X, y, epochs=2, verbose=False))
    assert found.startswith(("column", "X has"))
    assert re.search(text, found)
    assert warned(lambda: model.fit(X, y, epochs=2, verbose=False)) == []  # once


@pytest.mark.parametrize(
    "X",
    [
        features(1.0),
        features(10.0),
        features(0.1),
        np.random.default_rng(0).integers(0, 17, (50, 64)),
        np.random.default_rng(0).uniform(0, 100, (50, 3)),
        np.eye(50, dtype=bool),
        np.zeros((20, 3)),
        np.random.default_rng(0).integers(18, 91, (50, 1)),
        np.float32(1e30) * np.zeros((5, 2), np.float32),
    ],
)
def test_usual_features_are_not_warned_of(X):
    model = Model([3, 2], loss="softmax_crossentropy", seed=0)
    assert warned(lambda: model.fit(X, np.arange(len(X)) % 2, epochs=2, verbose=False)) == []


def test_huge_features_are_warned_of_before_they_diverge():
    X = np.full((5, 2), 3e38, np.float32)
    model = Model([1], loss="mse", seed=0)
    with pytest.warns(TrainingWarning, match="column 0 of X"), pytest.raises(fastnn.DivergenceError):
        model.fit(X, np.ones(5))


@pytest.mark.parametrize(("scale", "expected"), [(1e6, 1), (1e-6, 1), (100.0, 0), (1.0, 0), (0.0, 0)])
def test_targets_far_from_unit_scale(scale, expected):
    X, y = features(1.0), scale * (1.0 + table(200, 1)[:, 0])
    model = Model([3, 1], loss="squared_error", seed=0)
    found = warned(lambda: model.fit(X, y, validation_split=0.2, verbose=False))
    assert [text[:12] for text in found] == ["y has values"] * expected


def test_counts_and_labels_have_no_scale():
    X = features(1.0)
    counts = Model([1], loss="poisson", seed=0)
    assert warned(lambda: counts.fit(X, np.full(len(X), 5000.0), verbose=False)) == []
    labels = Model([4, 2], loss="softmax_crossentropy", seed=0)
    assert warned(lambda: labels.fit(X, np.arange(len(X)) % 2, verbose=False)) == []


def test_few_numbers_of_large_data_are_read():
    X = np.ones((100_000, 3), np.float32)
    X[::2] = 0.0  # every second row, whatever the distance of the sample, is near in size
    typical, largest = advice._sizes(X, 1000)
    assert largest == 1.0 or typical.max() == 0.0
    wide = np.ones((40, 200_000), np.float32)
    assert advice._sizes(wide, max(16, advice.N_NUMBERS // wide.shape[1]))[0].shape == (200_000,)


# ---------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("rate", "fits", "expected"),
    [
        (schedules.OneCycle(1e-2, epochs=3), (6,), (1,)),
        (schedules.OneCycle(1e-2, epochs=3), (3, 3), (0, 1)),
        (schedules.OneCycle(1e-2, epochs=6), (3, 3), (0, 0)),
        (schedules.Cosine(1e-2, epochs=2), (3,), (1,)),
        (schedules.Cosine(1e-2, epochs=2, min_lr=1e-5), (3,), (1,)),
        (schedules.Cosine(1e-2, epochs=2, min_lr=1e-3), (3,), (0,)),
        (schedules.Cosine(1e-2, epochs=2, restarts=True), (3,), (0,)),
        (schedules.Exponential(1e-2, gamma=0.5), (9,), (0,)),
        (schedules.Constant(1e-2), (9,), (0,)),
        (1e-2, (9,), (0,)),
    ],
)
def test_a_schedule_that_ends_before_the_fit(rate, fits, expected):
    model = classifier(optimizer=Adam(rate))
    for epochs, n in zip(fits, expected, strict=True):
        found = warned(lambda epochs=epochs: model.fit(*data(), epochs=epochs, verbose=False))
        assert len(found) == n
        if n:
            assert f"ends at epoch {rate.end:g} of the model" in found[0]


def test_a_schedule_of_ones_own_has_no_end():
    class Mine(schedules.Schedule):
        def __call__(self, epoch):
            return np.full_like(np.asarray(epoch, float), 1e-3)

    assert Mine().end is None
    model = classifier(optimizer=Adam(Mine()))
    assert warned(lambda: model.fit(*data(), epochs=2, verbose=False)) == []


# ---------------------------------------------------------------------------------------------- losses


@pytest.fixture(scope="module")
def digits():
    X, y, _, _ = fastnn.datasets.load_digits()
    return X[:1000], y[:1000]


@pytest.mark.parametrize("optimizer", [Adam(3.0), Adam(30.0), fastnn.SGD(10.0), fastnn.SGD(1.0, momentum=0.9)])
def test_a_rate_that_is_too_high(digits, optimizer):
    model = Model([64, 10], loss="softmax_crossentropy", optimizer=optimizer, seed=0)
    (found,) = warned(lambda: model.fit(*digits, epochs=12, verbose=False))
    assert "the loss does not fall" in found
    assert "try a tenth of it" in found


@pytest.mark.parametrize("optimizer", [Adam(), Adam(1e-2), Adam(1e-6), fastnn.SGD(0.1), fastnn.SGD(0.05, momentum=0.9)])
def test_usual_rates_are_not_warned_of(digits, optimizer):
    model = Model([32, 10], loss="softmax_crossentropy", optimizer=optimizer, seed=0)
    for epochs in (6, 12, 12):
        assert warned(lambda epochs=epochs: model.fit(*digits, epochs=epochs, verbose=False)) == []


def test_a_rate_that_is_too_high_for_a_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    high = Model([32, 32, 1], loss="mse", optimizer=fastnn.SGD(0.3), seed=0)
    (found,) = warned(lambda: high.fit(X, y, epochs=20, verbose=False))
    assert "the loss does not fall" in found
    usual = Model([32, 32, 1], loss="mse", seed=0)
    assert warned(lambda: usual.fit(X, y, epochs=20, verbose=False)) == []
    assert warned(lambda: usual.fit(X, y, epochs=200, verbose=False)) == []


def test_noise_that_cannot_be_learned_is_no_high_rate():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 5)), rng.normal(size=500)
    for loss, t in (("mse", y), ("absolute_error", y), ("binary_crossentropy", y > 0)):
        model = Model([8, 1], loss=loss, seed=0)
        assert warned(lambda model=model, t=t: model.fit(X, t, epochs=30, verbose=False)) == []


def test_losses_without_a_constant_to_compare_with_are_not_judged():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    model = Model([8, 2], loss="gaussian_nll", optimizer=Adam(1e-8), seed=0).build(3)
    assert warned(lambda: model.fit(X, y, epochs=8, verbose=False)) == []
    constant = regressor((1,)).build(3)
    assert warned(lambda: constant.fit(X, np.ones(100), epochs=8, verbose=False)) == []


def test_warnings_can_be_hidden_and_made_errors():
    model = classifier()
    X, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        assert len(model.fit(X * 1e6, y, verbose=False)) == 1
    strict = classifier()
    with pytest.raises(TrainingWarning, match="of X has values"):
        strict.fit(X * 1e6, y)
    assert strict.history.epoch == []
    assert len(strict.fit(X, y)) == 1  # nothing is left locked


@pytest.mark.parametrize(
    ("losses", "is_warned"),
    [
        ([9.0, 8, 9, 8, 9, 7, 9, 6, 7.5, 8], True),  # a little lower, but far above a constant prediction, and wild
        ([9.0, 8, 9, 8, 9, 4, 5, 4, 5, 4], False),  # half as high
        ([0.0] * 10, False),
        ([-0.5, -0.6, -0.5, -0.6, -0.5, -1.1, -0.9, -1.2, -1.0, -1.3], False),  # negative ones fall, too
    ],
)
def test_losses_that_fall_are_no_reason_for_a_warning(losses, is_warned, monkeypatch):
    monkeypatch.setattr(advice, "_level", lambda net, rows, loss: 3.0)
    net = SimpleNamespace(optimizer=Adam())
    assert len(warned(lambda: advice.check_losses(net, None, losses))) == is_warned
