"""lr_find: it does not change the model, and its suggestions are near those of a grid of trainings."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
from insides import optimizer_slots
from models import bits, log_cosh, log_cosh_slope

import fastnn
from fastnn import lr_finder, schedules
from fastnn._engine.engine import Engine
from fastnn.kernels.nn import rules
from fastnn.lr_finder import LearningRates

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 6))
Y = np.tanh(X @ RNG.standard_normal((6, 2))) + 0.05 * RNG.standard_normal((90, 2))
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def new_model(optimizer=None, *, dtype="float64", **options):
    options = {"loss": "squared_error", "layers": [fastnn.Dense(7, "tanh"), 2], **options}
    return fastnn.Model(optimizer=optimizer or fastnn.Adam(), seed=3, dtype=dtype, **options)


def what_a_fit_gives(model):
    """The bits after another fit, but for the seconds."""
    twin = copy.copy(model)
    twin.fit(X, Y, epochs=2, batch_size=10, verbose=False)
    return [a.tobytes() for a in (*twin.weights, *twin.biases)], twin.history["loss"], optimizer_slots(twin).tobytes()


def fail(step):
    """Let the work of a range test end at a step, by an exception."""

    def until(real, error):
        calls = []

        def patched(*args, **options):
            calls.append(0)
            if len(calls) == step:
                raise error
            return real(*args, **options)

        return patched

    return until


@pytest.mark.parametrize("built", ["new", "built", "trained"])
@pytest.mark.parametrize("end", ["plainly", "diverged", "an error", "Ctrl-C", "Ctrl-C in a step"])
def test_no_trace(built, end, dtype, monkeypatch):
    model = new_model(fastnn.SGD(schedules.Cosine(0.05, epochs=8), momentum=0.9), dtype=dtype)
    if built == "built":
        model.build(6)
    elif built == "trained":
        model.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    before, optimizer, layers, state = bits(model), model.optimizer, model.layers, np.random.get_state()[1].tobytes()
    views = [*model.weights, *model.biases] if model.built else []
    values = [v.copy() for v in views]
    wanted = what_a_fit_gives(model)
    if end == "plainly":
        assert len(model.lr_find(X, Y, start=1e-5, end=1e-2).rates) == 100
    elif end == "diverged":
        assert model.lr_find(X, Y, end=1e6).diverged
    elif end == "Ctrl-C in a step":  # which `fit` itself would end quietly
        with monkeypatch.context() as patch:
            real = Engine.train_epochs
            patch.setattr(Engine, "train_epochs", fail(20)(real, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                model.lr_find(X, Y)
    else:
        error = KeyboardInterrupt() if end == "Ctrl-C" else MemoryError("no more")
        with monkeypatch.context() as patch:
            patch.setattr(lr_finder, "_step", fail(20)(lr_finder._step, error))
            with pytest.raises(type(error)):
                model.lr_find(X, Y)
    assert bits(model) == before
    assert model.optimizer is optimizer
    assert model.layers is layers
    assert model.built == (built != "new")
    assert np.random.get_state()[1].tobytes() == state
    for view, value in zip(views, values, strict=True):  # views from before are still those of the model
        np.testing.assert_array_equal(view, value)
    assert what_a_fit_gives(model) == wanted


def test_a_model_that_asks_the_data_for_its_width_stays_unbuilt():
    model = fastnn.Model([], loss="softmax_crossentropy", seed=0)
    found = model.lr_find(X, LABELS)
    # The same as where the width is given.
    given = fastnn.Model([3], loss="softmax_crossentropy", seed=0).lr_find(X, LABELS)
    np.testing.assert_array_equal(found.losses, given.losses)
    assert found.valley == given.valley
    assert not model.built
    assert model.layers == ()
    assert model.n_outputs is None


def test_the_same_again_and_with_any_number_of_threads():
    found = [new_model(n_threads=n).lr_find(X, Y) for n in (1, 1, 2)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].losses, other.losses)


def test_each_step_has_its_rate_and_its_loss():
    """The same steps by hand."""
    model = new_model(fastnn.Adam())
    found = model.lr_find(X, Y, batch_size=None, start=1e-4, end=1e-1, steps=20, smoothing=0.5)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-1, 20), rtol=1e-14)
    twin = copy.copy(model)
    smoothed, mean = [], 0.0
    for k, rate in enumerate(found.rates):
        twin.optimizer = fastnn.Adam(float(rate))
        loss = twin.fit(X, Y, batch_size=None, shuffle=False, verbose=False)["loss"][-1]
        assert found.losses[k] == pytest.approx(loss, rel=1e-12)
        mean = 0.5 * mean + 0.5 * loss
        smoothed.append(mean / (1 - 0.5 ** (k + 1)))
    np.testing.assert_allclose(found.smoothed, smoothed, rtol=1e-10)


def test_batches_are_shuffled_and_go_through_all_rows():
    batches = lr_finder._batches(10, 4, seed=0, epoch=0)
    rows = np.concatenate([next(batches) for _ in range(10)])
    for k in range(4):
        assert sorted(rows[10 * k : 10 * k + 10]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:20])
    np.testing.assert_array_equal(next(lr_finder._batches(10, 10, seed=0, epoch=0)), np.arange(10))


@pytest.mark.parametrize("name", ["valley", "steep", "minimum"])
@pytest.mark.parametrize("optimizer", [fastnn.SGD(), fastnn.SGD(momentum=0.9), fastnn.Adam()], ids=["sgd", "m", "adam"])
def test_suggestions_train_well(optimizer, name):
    def loss_with(rate):
        model = new_model(dataclasses.replace(optimizer, learning_rate=rate))
        try:
            return model.fit(X, Y, epochs=30, batch_size=10, verbose=False)["loss"][-1]
        except fastnn.DivergenceError:
            return math.inf

    found = new_model(optimizer).lr_find(X, Y, batch_size=10)
    grid = sorted(map(loss_with, np.geomspace(1e-5, 10, 13)))
    # Of 13 rates over 6 decades: at least as good as the fifth best one.
    assert loss_with(getattr(found, name)) <= grid[4]


def test_it_stops_where_the_loss_diverges():
    found = new_model(fastnn.SGD()).lr_find(X, Y, end=1e4, steps=200)
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 200
    assert found.smoothed[-1] > 4 * found.smoothed[20:].min()
    best = np.minimum.accumulate(found.smoothed[20:])
    assert (found.smoothed[20:-1] <= 4 * best[:-1]).all()
    later = new_model(fastnn.SGD()).lr_find(X, Y, end=1e4, steps=200, divergence=100)
    assert len(later.rates) > len(found.rates)


def test_a_loss_that_is_not_finite_is_the_last_one(dtype):
    start = 1e37 if dtype == np.float32 else 1e200
    found = new_model(fastnn.SGD(), dtype=dtype).lr_find(X, Y, start=start, end=10 * start, steps=10)
    assert found.diverged
    assert found.losses[-1] == math.inf
    assert np.isfinite(found.losses[:-1]).all()
    assert found.suggestions == {"steep": None, "valley": None, "minimum": None}
    assert "no suggestion, the loss never fell" in repr(found)


def test_rows_without_weight_have_no_part():
    keep = np.arange(90) % 3 == 0
    weighted = new_model().lr_find(X, Y, sample_weight=keep.astype(float), batch_size=None)
    left = new_model().lr_find(X[keep], Y[keep], batch_size=None)
    np.testing.assert_allclose(weighted.losses, left.losses, rtol=1e-10)
    assert np.isfinite(new_model().lr_find(X, Y, sample_weight=keep * 2.0, batch_size=1).losses).all()


def test_classes_lists_and_regularizers():
    model = new_model(loss="softmax_crossentropy", layers=[5, 3], regularizer="l2")
    listed, plain = model.lr_find(X.tolist(), LABELS.tolist(), batch_size=7), model.lr_find(X, LABELS, batch_size=7)
    np.testing.assert_array_equal(listed.losses, plain.losses)
    model = new_model(loss="binary_crossentropy", layers=[5, 1])
    booleans, floats = model.lr_find(X, LABELS > 0), model.lr_find(X, (LABELS > 0).astype(float)[:, None])
    np.testing.assert_array_equal(booleans.losses, floats.losses)


def test_class_weights_count():
    model = new_model(loss="softmax_crossentropy", layers=[5, 3])
    weights = {0: 1.0, 1: 0.0, 2: 3.0}
    found = model.lr_find(X, LABELS, class_weight=weights, batch_size=None)
    other = model.lr_find(X, LABELS, sample_weight=[weights[k] for k in LABELS], batch_size=None)
    np.testing.assert_allclose(found.losses, other.losses, rtol=1e-12)


ONE, SHARES = np.tanh(X[:, 0]), np.abs(Y) / np.abs(Y).sum(axis=1, keepdims=True)
#: Each loss with each form of its targets: outputs, loss, targets.
FORMS = {
    "squared_error": (1, "squared_error", ONE),
    "squared_error, column": (1, "squared_error", ONE[:, None]),
    "squared_error, two": (2, "squared_error", Y),
    "sum_of_squares": (2, "sum_of_squares", Y),
    "absolute_error": (2, "absolute_error", Y),
    "huber": (2, fastnn.losses.huber(0.3), Y),
    "quantile": (2, fastnn.losses.quantile(0.9), Y),
    "quantile, three of one": (3, fastnn.losses.quantile(0.1, 0.5, 0.9), ONE),
    "quantile, three of two": (6, fastnn.losses.quantile(0.1, 0.5, 0.9), Y),
    "gaussian_nll": (2, "gaussian_nll", ONE),
    "gaussian_nll, two": (4, "gaussian_nll", Y),
    "poisson": (1, "poisson", LABELS),
    "binary_crossentropy": (1, "binary_crossentropy", LABELS > 0),
    "binary_crossentropy, smoothed": (1, fastnn.losses.binary_crossentropy(label_smoothing=0.2), LABELS > 0),
    "binary_crossentropy, multi-label": (2, fastnn.losses.binary_crossentropy(label_smoothing=0.2), SHARES),
    "softmax_crossentropy": (3, "softmax_crossentropy", LABELS),
    "softmax_crossentropy, smoothed": (3, fastnn.losses.softmax_crossentropy(label_smoothing=0.2), LABELS),
    "softmax_crossentropy, one-hot": (3, fastnn.losses.softmax_crossentropy(label_smoothing=0.2), np.eye(3)[LABELS]),
    "softmax_crossentropy, shares": (2, fastnn.losses.softmax_crossentropy(label_smoothing=0.2), SHARES),
    "custom": (2, fastnn.custom.loss(log_cosh, log_cosh_slope), Y),
}


def test_every_loss_has_a_form():
    names = {fastnn.losses.get(loss).rule.name for _, loss, _ in FORMS.values()}
    assert names == {*(rule.name for rule in rules.LOSSES), "custom"}


@pytest.mark.parametrize(("n_outputs", "loss", "y"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("sample_weight", [None, 0.5 + np.arange(90) % 3])
def test_the_first_loss_is_that_of_evaluate(n_outputs, loss, y, sample_weight, dtype):
    model = new_model(loss=loss, layers=[5, n_outputs], regularizer="l2", dtype=dtype).build(6)
    wanted = model.evaluate(X, y, sample_weight=sample_weight)["loss"]
    found = model.lr_find(X, y, sample_weight=sample_weight, batch_size=None)
    assert found.losses[0] == pytest.approx(wanted, rel=1e-5 if dtype == np.float32 else 1e-12)


def test_metrics_are_not_asked():
    def broken(y_true, y_pred):
        raise AssertionError

    with pytest.raises(AssertionError):
        new_model(metrics=[broken]).fit(X, Y)
    found, without = new_model(metrics=[broken]).lr_find(X, Y), new_model().lr_find(X, Y)
    np.testing.assert_array_equal(found.losses, without.losses)


def test_the_longest_fall():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.integers(0, 12, 15).astype(float)
        fall = lr_finder._longest_fall(values)
        assert (np.diff(fall) > 0).all()
        assert (np.diff(values[fall]) < 0).all()
        best = np.ones(15, int)  # by the definition
        for i in range(15):
            best[i] = 1 + max((best[j] for j in range(i) if values[j] > values[i]), default=0)
        assert len(fall) == best.max()


def made_up(smoothed):
    rates = np.geomspace(1e-6, 1.0, len(smoothed))
    return LearningRates(rates, np.array(smoothed), np.array(smoothed), diverged=False)


def test_suggestions_of_a_curve_that_is_known():
    logs = np.linspace(-6, 0, 121)
    found = made_up(np.where(logs < -1, -np.tanh(3 * (logs + 3)), 5 + logs))  # falls fastest at 1e-3
    assert found.steep == pytest.approx(1e-3, rel=0.2)
    assert found.minimum == pytest.approx(10**-2.05, rel=0.2)  # lowest just before 0.1
    assert 1e-3 < found.valley < 1e-1


def test_noise_at_rates_that_do_nothing_is_not_steep():
    logs = np.linspace(-6, 0, 121)
    curve = np.where(logs < -1, -np.tanh(3 * (logs + 3)), 5 + logs)
    curve[14:16] += 5.0  # one wild batch, and a steep fall after it
    assert made_up(curve).steep == pytest.approx(1e-3, rel=0.2)


def test_result():
    found = new_model().lr_find(X, Y)
    assert repr(found).startswith(f"LearningRates(steep={found.steep:.2g}, valley={found.valley:.2g}, minimum=")
    assert "steps, 1e-07 to" in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.valley = 1.0
    with pytest.raises(ValueError, match="read-only"):
        found.rates[0] = 1.0
    assert fastnn.Adam(found.valley).learning_rate == found.valley


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start": 0.0}, "0 < start < end, got \\(0.0, 10.0\\)"),
        ({"start": 1.0, "end": 0.1}, "0 < start < end, got \\(1.0, 0.1\\)"),
        ({"end": math.inf}, "end must be a finite number"),
        ({"steps": 5}, "steps must be at least 10"),
        ({"steps": 10.5}, "steps must be an integer of at least 1, got 10.5"),
        ({"smoothing": 1.0}, "smoothing must be at least 0 and below 1, got 1.0"),
        ({"divergence": 1.0}, "divergence must be above 1"),
        ({"batch_size": 0}, "batch_size must be .* got 0"),
        ({"sample_weight": [1.0]}, "sample_weight"),
    ],
)
def test_wrong_settings(options, text):
    model = new_model()
    with pytest.raises((TypeError, ValueError), match=text):
        model.lr_find(X, Y, **options)
    with pytest.raises(ValueError, match="X"):
        model.lr_find(X * np.nan, Y)
    assert not model.built


def test_an_optimizer_without_a_rate_is_refused():
    model = new_model(fastnn.LBFGS())
    with pytest.raises(ValueError, match=r"optimizer must have a learning_rate, got LBFGS\(.*\)\. Use one"):
        model.lr_find(X, Y)
