"""lr_find: it does not change the model, and recommends the rates of the best trainings."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings

import numpy as np
import pytest
from insides import optimizer_slots
from models import bits, log_cosh, log_cosh_slope

import fastnn
from fastnn import lr_finder, schedules
from fastnn._engine.engine import Engine
from fastnn.kernels.nn import rules

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
@pytest.mark.parametrize(
    "end", ["plainly", "diverged", "an error", "Ctrl-C", "Ctrl-C in a step", "Ctrl-C in a training"]
)
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
    elif end.startswith("Ctrl-C in"):
        with monkeypatch.context() as patch:
            real = Engine.train_epochs
            patch.setattr(Engine, "train_epochs", fail(20 if "step" in end else 105)(real, KeyboardInterrupt()))
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
    assert found.learning_rate == given.learning_rate
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


USES = {
    "constant": (lambda rate, epochs: rate, "constant", "learning_rate"),
    "one-cycle": (lambda rate, epochs: schedules.OneCycle(rate, epochs=epochs), "one_cycle", "max_learning_rate"),
}
every_use = pytest.mark.parametrize(("schedule", "trials", "name"), USES.values(), ids=USES)
FITS = {
    "whole": {},
    "weighted": {"sample_weight": 1.0 + np.arange(90) % 2},
    "held back": {"validation_split": 0.3},
    "validated": {"validation_data": (X[:20], Y[:20])},
    "three epochs of all rows": {"epochs": 3, "batch_size": None},
    "single rows": {"epochs": 1, "batch_size": 1},
    "more than all rows": {"epochs": 2, "batch_size": 100},
}


def loss_of_fit(model, optimizer, options):
    """The loss by which trainings are compared, from a fit by hand; infinite if it diverges."""
    twin = copy.copy(model)
    twin.optimizer = optimizer
    try:
        history = twin.fit(X, Y, verbose=False, **options)
    except fastnn.DivergenceError:
        return math.inf
    if "val_loss" in history:
        return history["val_loss"][-1]
    return twin.evaluate(X, Y, sample_weight=options.get("sample_weight"))["loss"]


@every_use
@pytest.mark.parametrize("options", FITS.values(), ids=FITS)
@pytest.mark.parametrize("optimizer", [fastnn.SGD(momentum=0.9), fastnn.Adam()], ids=["momentum", "adam"])
def test_losses_are_those_of_fits(optimizer, options, schedule, trials, name, dtype):
    options = {"epochs": 5, "batch_size": 10, **options}
    model = new_model(optimizer, dtype=dtype, regularizer="l2", layers=[fastnn.Dense(7, "tanh", dropout=0.1), 2])
    found = model.lr_find(X, Y, **options)
    assert found.epochs == options["epochs"]
    rates, losses = getattr(found, trials).T
    assert (np.diff(rates) > 0).all()
    for rate, loss in zip(rates, losses, strict=True):
        by_hand = dataclasses.replace(optimizer, learning_rate=schedule(float(rate), options["epochs"]))
        assert loss == pytest.approx(loss_of_fit(model, by_hand, options), rel=1e-12)
    assert getattr(found, name) == rates[np.argmin(losses)]


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")
def test_recommended_rates_are_near_the_best_of_a_grid():
    options, ratios = {"epochs": 20, "batch_size": 10}, []
    for optimizer in (fastnn.SGD(), fastnn.SGD(momentum=0.9), fastnn.Adam()):
        model = new_model(optimizer, dtype="float32")
        found = model.lr_find(X, Y, batch_size=10)
        for schedule, _, name in USES.values():

            def loss_with(rate, model=model, schedule=schedule, optimizer=optimizer):
                return loss_of_fit(model, dataclasses.replace(optimizer, learning_rate=schedule(rate, 20)), options)

            best = min(loss_with(float(rate)) for rate in np.geomspace(1e-5, 10, 25))
            ratios.append(loss_with(getattr(found, name)) / best)
    assert np.median(ratios) <= 1.05
    assert max(ratios) <= 1.3


def test_trainings_from_a_trained_state_begin_with_the_state_of_the_optimizer():
    """In one batch, as the order of rows depends on the number of epochs before."""
    model, options = new_model(), {"epochs": 4, "batch_size": None, "shuffle": False}
    model.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    found = model.lr_find(X, Y, epochs=4, batch_size=None)
    for rate, loss in found.constant:
        assert loss == pytest.approx(loss_of_fit(model, fastnn.Adam(float(rate)), options), rel=1e-12)


@pytest.mark.parametrize(
    ("limits", "options", "epochs", "steps"),
    [
        ({"MOST_STEPS": 30}, {"epochs": 20}, 3, 30),  # whole epochs of 9 steps
        ({"MOST_STEPS": 4}, {"epochs": 20}, 4 / 9, 4),  # a part of one
        ({"MOST_STEPS": 4}, {"epochs": 20, "validation_split": 0.5}, 4 / 5, 4),
        ({"MOST_ROWS": 270, "FEW_STEPS": 1}, {"epochs": 20}, 3, 27),
        ({"MOST_ROWS": 1, "FEW_STEPS": 5}, {"epochs": 20}, 5 / 9, 5),
        ({"MOST_ROWS": 1, "FEW_STEPS": 50}, {"epochs": 2}, 2, 18),
    ],
)
def test_work_is_limited(limits, options, epochs, steps, monkeypatch):
    for name, value in limits.items():
        monkeypatch.setattr(lr_finder, name, value)
    runs = []
    real = lr_finder.train

    def counted(net, fit, team):
        before = net.built().steps_done
        try:
            return real(net, fit, team)
        finally:
            runs.append(net.built().steps_done - before)

    monkeypatch.setattr(lr_finder, "train", counted)
    found = new_model().lr_find(X, Y, batch_size=10, **options)
    assert found.epochs == pytest.approx(epochs)
    assert len(runs) == len(found.constant) + len(found.one_cycle) <= 2 * lr_finder.MOST_TRIALS
    assert max(runs) <= steps
    assert found.learning_rate is not None


def test_a_search_ends_at_the_lowest_loss():
    rng = np.random.default_rng(0)
    for _ in range(100):
        best, first = 10.0 ** rng.uniform(-4, 0, 2)
        calls = []

        def loss_at(rate, best=best, calls=calls):
            calls.append(rate)
            return math.inf if rate > 3 * best else math.log(rate / best) ** 2

        tried, found = lr_finder._search(loss_at, first, 1e-7, 10.0)
        assert sorted(calls) == list(tried[:, 0])
        assert len(set(calls)) == len(calls) <= lr_finder.MOST_TRIALS
        assert found == tried[np.argmin(tried[:, 1]), 0]
        assert abs(math.log(found / best)) <= 0.51 * math.log(lr_finder.MULTIPLE)


@pytest.mark.parametrize(
    ("loss_at", "first", "best"),
    [
        (lambda rate: 1.0, 1e-2, 1e-7),  # of equal losses that of the lowest rate
        (lambda rate: math.inf, 1.0, 1e-7),
        (lambda rate: -rate, 1e-3, 10.0),
        (lambda rate: rate, 1e9, 1e-7),  # a start outside the limits
        (lambda rate: -rate, 1e-9, 10.0),
    ],
)
def test_a_search_stays_within_its_limits(loss_at, first, best, monkeypatch):
    monkeypatch.setattr(lr_finder, "MOST_TRIALS", 100)
    tried, found = lr_finder._search(loss_at, first, 1e-7, 10.0)
    assert tried[0, 0] >= 1e-7
    assert tried[-1, 0] <= 10.0
    assert abs(math.log(found / best)) <= math.log(lr_finder.MULTIPLE)


def test_of_losses_that_are_low_enough_the_lowest_rate_is_taken():
    tried, found = lr_finder._search(lambda rate: 1e-3 / rate, 1e-2, 1e-7, 10.0, enough=0.1)
    assert tried[-1, 1] < 0.1
    assert 1e-2 <= found <= 1e-2 * lr_finder.MULTIPLE


def test_separated_classes_do_not_ask_for_high_rates():
    """The loss falls to 0 with the highest rates, which ruin predictions of other rows."""
    y = (X[:, 0] > 0).astype(int)
    model = fastnn.Model([16, 2], loss="softmax_crossentropy", optimizer=fastnn.Adam(), seed=0)
    found = model.lr_find(X + 2.0 * y[:, None], y, epochs=40, batch_size=10)
    rates, losses = found.constant.T
    enough = 1e-6 * found.initial_loss
    assert losses.min() < enough
    assert found.learning_rate == rates[losses < enough].min()
    assert found.learning_rate < rates[losses.argmin()]


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
    with pytest.warns(UserWarning, match=r"no training of 20 epochs lowered the loss of .* by 1%"):
        found = new_model(fastnn.SGD(), dtype=dtype).lr_find(X, Y, start=start, end=10 * start, steps=10)
    assert found.diverged
    assert found.losses[-1] == math.inf
    assert np.isfinite(found.losses[:-1]).all()
    assert (found.learning_rate, found.max_learning_rate) == (None, None)
    assert np.isinf(found.constant[:, 1]).all()
    assert "no recommendation, no training lowered the loss" in repr(found)


def test_a_model_that_is_trained_to_the_end_gets_no_recommendation():
    rows, values = X[:, :2], X[:, :1]  # a linear net solves it
    model = fastnn.Model([], loss="squared_error", seed=0, dtype="float64", optimizer="lbfgs")
    noise = 0.1 * np.random.default_rng(1).standard_normal((90, 1))
    model.fit(rows, values + noise, epochs=50, verbose=False)
    model.optimizer = fastnn.Adam()
    with pytest.warns(UserWarning, match=r"lr_find recommends no rate\. Run it on a model that is not trained") as told:
        found = model.lr_find(rows, values + noise)
    assert told[0].filename == __file__
    assert (found.learning_rate, found.max_learning_rate) == (None, None)
    assert found.initial_loss == pytest.approx(model.evaluate(rows, values + noise)["loss"])


def test_a_model_that_is_trained_in_part_gets_rates_that_train_on():
    model = new_model()
    model.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.lr_find(X, Y, batch_size=10)
    model.optimizer = fastnn.Adam(found.learning_rate)
    model.fit(X, Y, epochs=20, batch_size=10, verbose=False)
    assert model.evaluate(X, Y)["loss"] < 0.5 * found.initial_loss


def test_a_loss_below_zero_counts_as_falling():
    model = new_model(loss="gaussian_nll", layers=[8, 2])
    model.fit(X, 0.01 * ONE, epochs=100, batch_size=10, verbose=False)
    found = model.lr_find(X, 0.01 * ONE, batch_size=10)
    assert found.initial_loss < 0
    assert found.learning_rate is not None


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("batch_size", [1, None, "auto", 7])
def test_few_rows(n_rows, batch_size, dtype):
    found = new_model(dtype=dtype).lr_find(X[:n_rows], Y[:n_rows], batch_size=batch_size)
    assert found.constant[:, 1].min() < 0.1 * found.initial_loss


def test_frozen_layers():
    with pytest.raises(ValueError, match="all layers are frozen"):
        new_model(layers=[fastnn.Dense(3, trainable=False), fastnn.Dense(2, trainable=False)]).lr_find(X, Y)
    assert new_model(layers=[fastnn.Dense(3, trainable=False), 2]).lr_find(X, Y).learning_rate is not None


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


def test_result():
    found = new_model().lr_find(X, Y)
    assert repr(found).startswith(
        f"LearningRates(learning_rate={found.learning_rate:.2g}, max_learning_rate={found.max_learning_rate:.2g}; "
    )
    assert "steps, 1e-07 to" in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rates = found.losses
    for array in (found.rates, found.losses, found.smoothed, found.constant, found.one_cycle):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert fastnn.Adam(found.learning_rate).learning_rate == found.learning_rate


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
        ({"epochs": 0}, "epochs must be .* got 0"),
        ({"validation_split": 1.0}, "validation_split must be .* got 1.0"),
        ({"validation_data": 3}, "validation_data must be a tuple"),
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
