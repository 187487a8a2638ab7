"""fit: steps of an epoch, rows, state, memory, and reasons of the end."""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from insides import (
    epochs_done,
    optimizer_slots,
    set_epochs_done,
    steps_counted_by_the_kernel,
    steps_done,
)
from models import (
    N,
    assert_same_parameters,
    bits,
    classifier,
    every_optimizer,
    labels,
    parameters,
    regressor,
    table,
)

import fastnn
from fastnn import Callback, Dense, DivergenceError, Model
from fastnn._engine.thread_team import ThreadTeam

D = 3  # features of `table`
def differ(first, second):
    return any(a.tobytes() != b.tobytes() for a, b in zip(first.weights, second.weights, strict=True))


def all_finite(model):
    return all(np.isfinite(a).all() for a in (*model.weights, *model.biases, *optimizer_slots(model)))


#  what an epoch does


@pytest.mark.parametrize("batch_size", [1, 7, N, 10**9, None])
def test_an_epoch_is_one_update_a_batch_by_the_gradient(batch_size):
    """Steps of plain descent by hand, from `gradient`; the last short batch counts like the others."""
    X, t = table(), table(d=2, seed=3)
    options = {"dtype": "float64", "regularizer": fastnn.L1L2(0.01, 0.02), "optimizer": fastnn.SGD(0.1)}
    fitted, by_hand = regressor(**options).build(D), regressor(**options).build(D)
    history = fitted.fit(X, t, batch_size=batch_size, shuffle=False)
    step = min(batch_size or N, N)
    losses = []
    for start in range(0, N, step):
        loss, weights, biases = by_hand.gradient(X[start : start + step], t[start : start + step])
        losses.append((loss, len(X[start : start + step])))
        for a, g in zip(by_hand.weights + by_hand.biases, weights + biases, strict=True):
            a -= 0.1 * g
    for a, b in zip(parameters(fitted), parameters(by_hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert steps_done(fitted) == -(-N // step)
    if batch_size == 1 or step == N:  # batches of one size: the mean over rows is the mean over batches
        assert history["loss"][0] == pytest.approx(np.mean([loss for loss, _ in losses]), rel=1e-10)


def test_the_batch_of_all_rows_may_be_of_several_chunks():
    X, t = table(5000), table(5000, 2, seed=3)
    options = {"dtype": "float64", "optimizer": fastnn.SGD(0.1)}
    fitted, by_hand = regressor(**options).build(D), regressor(**options).build(D)
    fitted.fit(X, t, batch_size=None)
    _, weights, biases = by_hand.gradient(X, t)
    for a, g in zip(by_hand.weights + by_hand.biases, weights + biases, strict=True):
        a -= 0.1 * g
    for a, b in zip(parameters(fitted), parameters(by_hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_batch_larger_than_the_data_is_all_the_data():
    first, second = classifier(), classifier()
    first.fit(table(), labels(), batch_size=None, epochs=3)
    second.fit(table(), labels(), batch_size=10**12, epochs=3)
    assert_same_parameters(first, second)


@every_optimizer
def test_going_on_is_the_same_as_not_having_stopped(optimizer):
    X, y = table(), labels()
    whole, parts = classifier(optimizer=optimizer), classifier(optimizer=optimizer)
    whole.fit(X, y, epochs=5, batch_size=7)
    parts.fit(X, y, epochs=2, batch_size=7)
    record = parts.fit(X, y, epochs=3, batch_size=7)
    assert_same_parameters(whole, parts)
    assert record.epoch == [2, 3, 4]
    assert parts.history.epoch == whole.history.epoch == [0, 1, 2, 3, 4]
    assert parts.history["loss"] == whole.history["loss"]


@every_optimizer
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(optimizer, dtype):
    X, y = table(500, 30), labels(500)
    models = [classifier([40, 3], optimizer=optimizer, dtype=dtype, n_threads=n) for n in (1, 1, 2, 4)]
    for model in models:
        model.fit(X, y, epochs=4, batch_size=50, validation_split=0.2)
    for model in models[1:]:
        assert_same_parameters(models[0], model)
        for name in ("loss", "accuracy", "val_loss"):
            assert model.history[name] == models[0].history[name]


def test_another_seed_gives_another_order():
    X, y = table(), labels()
    first, second = classifier(seed=0).build(D), classifier(seed=1).build(D)
    for a, b in zip(first.weights, second.weights, strict=True):
        b[...] = a
    for model in (first, second):
        model.fit(X, y, batch_size=7)
    assert differ(first, second)


def test_shuffling_takes_every_row_once_an_epoch_and_another_order_the_next():
    """Row r has the feature vector e_r, so that its weight moves by the rate exactly when the row comes."""
    n = 20
    model = Model([Dense(1, kernel_initializer="zeros", use_bias=False)], loss="sum_of_squares", seed=0,
                  optimizer=fastnn.SGD(1.0), dtype="float64")  # fmt: skip
    model.fit(np.eye(n), np.arange(n), batch_size=1)
    assert np.array_equal(model.weights[0][:, 0], np.arange(n))
    X, y = table(), labels()
    shuffled, plain, again = classifier(), classifier(), classifier()
    shuffled.fit(X, y, batch_size=7, epochs=2)
    plain.fit(X, y, batch_size=7, epochs=2, shuffle=False)
    again.fit(X, y, batch_size=7)
    set_epochs_done(again, 0)
    again.history = fastnn.History()
    again.fit(X, y, batch_size=7)  # the first epoch's order once more
    assert differ(shuffled, plain)
    assert differ(shuffled, again)


def test_partial_fit_goes_through_the_rows_as_they_come():
    X, y = table(), labels()
    first, second = classifier(), classifier()
    first.fit(X, y, batch_size=5, shuffle=False)
    assert second.partial_fit(X[:20], y[:20], batch_size=5) is second
    second.partial_fit(X[20:], y[20:], batch_size=5)
    assert_same_parameters(first, second)
    assert second.history.epoch == [0, 1]


def test_partial_fit_of_an_empty_list_of_layers():
    model = Model([], loss="softmax_crossentropy", seed=0).build(D, 4)
    for k in range(4):
        model.partial_fit(table(1, seed=k), [k])
    assert model.n_outputs == 4


#  sample weights


@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
def test_whole_weights_count_like_repeated_rows(loss):
    X, t = table(), np.eye(3)[labels()]
    weight = np.random.default_rng(3).integers(0, 4, N)
    options = {"loss": loss, "seed": 0, "dtype": "float64", "optimizer": fastnn.SGD(0.01)}
    weighted, repeated = Model([4, 3], **options), Model([4, 3], **options)
    weighted.fit(X, t, sample_weight=weight, batch_size=None, epochs=5)
    repeated.fit(np.repeat(X, weight, axis=0), np.repeat(t, weight, axis=0), batch_size=None, epochs=5)
    for a, b in zip(parameters(weighted), parameters(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(weighted.history["loss"], repeated.history["loss"], rtol=1e-12)


def test_only_the_ratio_of_weights_matters_to_a_mean():
    X, y = table(), labels()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, N)
    first, second = classifier(), classifier()
    first.fit(X, y, sample_weight=weight)
    second.fit(X, y, sample_weight=1024.0 * weight)
    assert_same_parameters(first, second)


def test_a_batch_without_weight_moves_nothing():
    X, y = table(), labels()
    weight = np.zeros(N)
    weight[-3:] = 1.0
    first, second = (classifier(optimizer=fastnn.SGD(0.1)) for _ in range(2))
    first.fit(X, y, sample_weight=weight, batch_size=9, shuffle=False)
    second.fit(X[-9:], y[-9:], sample_weight=weight[-9:], batch_size=9, shuffle=False)
    assert_same_parameters(first, second)
    assert first.history["loss"] == second.history["loss"]


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e15])
def test_weights_of_any_size(size):
    model = classifier()
    model.fit(table(), labels(), sample_weight=np.full(N, size), epochs=3)
    assert all_finite(model)
    assert math.isfinite(model.history["loss"][-1])


#  validation


def test_validation_data_are_evaluated_after_each_epoch_and_not_learnt_from():
    X, y, X_new, y_new = table(), labels(), table(11, seed=7), labels(11, seed=8)
    with_validation, without = classifier(), classifier()
    record = with_validation.fit(X, y, epochs=3, validation_data=(X_new, y_new))
    without.fit(X, y, epochs=3)
    assert_same_parameters(with_validation, without)
    assert record["loss"] == without.history["loss"]
    found = with_validation.evaluate(X_new, y_new)
    assert record["val_loss"][-1] == found["loss"]
    assert record["val_accuracy"][-1] == found["accuracy"]
    assert len(set(record["val_loss"])) == 3


def test_validation_data_with_weights():
    X, y, X_new, y_new = table(), labels(), table(11, seed=7), labels(11, seed=8)
    weight = np.arange(11.0)
    model = classifier()
    record = model.fit(X, y, validation_data=[X_new, y_new, weight])
    assert record["val_loss"] == [model.evaluate(X_new, y_new, sample_weight=weight)["loss"]]


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.96])
@pytest.mark.parametrize("batch_size", [4, None])
def test_rows_kept_back_are_not_learnt_from(fraction, batch_size):
    """Change one target at a time: either the weights change, or the validation loss alone."""
    n = 24
    X, t = table(n), table(n, 1, seed=2)

    def fit(targets):
        model = regressor([Dense(4, "tanh"), 1], optimizer=fastnn.SGD(0.1), dtype="float64")
        model.fit(X, targets, epochs=2, batch_size=batch_size, validation_split=fraction)
        return b"".join(a.tobytes() for a in parameters(model)), model.history["val_loss"]

    weights, losses = fit(t)
    held_back = 0
    for row in range(n):
        other = t.copy()
        other[row] += 1.0
        new_weights, new_losses = fit(other)
        assert new_losses != losses
        held_back += new_weights == weights
    assert held_back == round(fraction * n)


def test_the_split_is_the_same_in_every_fit_and_another_for_another_seed():
    X, y = table(), labels()
    first, second = classifier(), classifier()
    first.fit(X, y, epochs=2, validation_split=0.3)
    second.fit(X, y, validation_split=0.3)
    second.fit(X, y, validation_split=0.3)
    assert first.history["val_loss"] == second.history["val_loss"]
    other = classifier(seed=5).build(D)
    same = classifier(seed=0).build(D)
    for a, b in zip(parameters(same), other.weights + other.biases, strict=True):
        b[...] = a
    losses = [m.fit(X, y, validation_split=0.3, batch_size=None)["val_loss"] for m in (same, other)]
    assert losses[0] != losses[1]


def test_a_split_with_weights_labels_and_probabilities():
    X, y = table(), labels()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, N)
    by_label, by_probability = (classifier(dtype="float64") for _ in range(2))
    by_label.fit(X, y, validation_split=0.2, sample_weight=weight, epochs=2)
    by_probability.fit(X, np.eye(3)[y], validation_split=0.2, sample_weight=weight, epochs=2)
    for a, b in zip(parameters(by_label), parameters(by_probability), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


#  what it returns


def test_history():
    model = classifier(optimizer=fastnn.Adam(0.02))
    record = model.fit(table(), labels(), epochs=3, validation_split=0.2, batch_size=8)
    assert list(record.history) == ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    assert record.epoch == [0, 1, 2]
    assert record["learning_rate"] == [0.02] * 3
    assert all(s >= 0.0 for s in record["seconds"])
    assert record.params == {"epochs": 3, "batch_size": 8, "rows": 36, "shuffle": True}
    assert record.stopped is None
    second = model.fit(table(), labels(), batch_size=np.int64(4), shuffle=np.True_, epochs=np.int8(1))
    assert second.epoch == [3]
    assert {type(v) for v in second.params.values()} == {int, bool}
    assert math.isnan(model.history["val_loss"][-1])
    assert "val_loss" not in second


def test_the_training_loss_contains_the_penalty():
    X, t = table(), table(d=2, seed=3)
    model = regressor(regularizer=fastnn.L1L2(0.1, 0.2), dtype="float64").build(D)
    before = model.evaluate(X, t)["loss"]
    assert model.fit(X, t, batch_size=None)["loss"][0] == pytest.approx(before, rel=1e-12)


def test_silent_by_default_and_lines_when_wanted(capfd):
    classifier().fit(table(), labels(), epochs=2)
    assert capfd.readouterr() == ("", "")
    classifier().fit(table(), labels(), epochs=2, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


#  any form of data


def forms(X):
    """The same numbers, otherwise stored."""
    wide = np.zeros((len(X), 2 * D), X.dtype)
    wide[:, ::2] = X
    fixed = X.copy()
    fixed.flags.writeable = False
    return {
        "C": X.copy(),
        "Fortran": np.asfortranarray(X),
        "strided": wide[:, ::2],
        "backwards": X[::-1].copy()[::-1],
        "swapped bytes": X.astype(X.dtype.newbyteorder()),
        "read-only": fixed,
        "float64": X.astype(np.float64),
        "longdouble": X.astype(np.longdouble),
        "list": X.tolist(),
        "objects": X.astype(object),
        "misaligned": np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(X.dtype).reshape(X.shape),
    }


@pytest.mark.parametrize("form", list(forms(np.zeros((2, D), np.float32))))
def test_the_form_of_the_data_does_not_matter(form):
    X, t = table().astype(np.float32), table(d=2, seed=3).astype(np.float32)
    expected, model = regressor(), regressor()
    expected.fit(X, t, epochs=2, batch_size=7, validation_data=(X, t))
    given = forms(X)[form]
    other = np.tile(t, (1, 2))[:, :2] if form == "strided" else t[::-1].copy()[::-1] if form == "backwards" else t
    model.fit(given, other, epochs=2, batch_size=7, validation_data=(given, other))
    assert_same_parameters(expected, model)
    assert model.history["val_loss"] == expected.history["val_loss"]
    assert np.array_equal(model.predict(given), expected.predict(X))


@pytest.mark.parametrize("kind", ["float16", "int8", "uint8", "int64", "uint64", "bool"])
def test_any_numeric_type(kind):
    whole = np.random.default_rng(0).integers(0, 2 if kind == "bool" else 100, (N, D))
    expected, model = regressor([4, 3]), regressor([4, 3])
    expected.fit(whole.astype(np.float32), whole.astype(np.float32))
    model.fit(whole.astype(kind), whole.astype(kind))
    assert_same_parameters(expected, model)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.astype(np.uint8),
        lambda y: y.astype(np.int8),
        lambda y: y.astype(">i4"),
        lambda y: y.astype(np.float32),
        lambda y: y[:, None],
        lambda y: y.tolist(),
        lambda y: np.repeat(y, 2)[::2],
        lambda y: y.astype(object),
    ],
)
def test_any_form_of_labels(form):
    expected, model = classifier(), classifier()
    expected.fit(table(), labels())
    model.fit(table(), form(labels()))
    assert_same_parameters(expected, model)


def test_one_hot_integers_are_probabilities():
    expected, model = classifier(dtype="float64"), classifier(dtype="float64")
    expected.fit(table(), labels())
    model.fit(table(), np.eye(3, dtype=int)[labels()])
    for a, b in zip(parameters(expected), parameters(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_memory_mapped_data(tmp_path):
    X, y = table().astype(np.float32), labels()
    np.save(tmp_path / "X.npy", X)
    expected, model = classifier(), classifier()
    expected.fit(X, y)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model.fit(mapped, y)
    assert_same_parameters(expected, model)
    assert np.array_equal(model.predict(mapped), expected.predict(X))


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    X, y = table(), labels()
    frame = pandas.DataFrame(X, columns=list("abc"), index=np.arange(N)[::-1])
    series = pandas.Series(y, index=frame.index)
    expected, model = classifier(), classifier()
    expected.fit(X, y, validation_split=0.3, sample_weight=np.ones(N))
    model.fit(frame, series, validation_split=0.3, sample_weight=pandas.Series(np.ones(N)))
    assert_same_parameters(expected, model)
    assert np.array_equal(model.predict(frame), expected.predict(X))


def test_a_matrix_of_numpy():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(table())
    expected, model = classifier(), classifier()
    expected.fit(table(), labels())
    model.fit(matrix, labels())
    assert_same_parameters(expected, model)
    assert type(model.predict(matrix)) is np.ndarray


def test_the_callers_arrays_stay_as_they_were_and_may_change_afterwards():
    X, y, weight = table().astype(np.float32), labels(), np.linspace(0.0, 1.0, N).astype(np.float32)
    kept = X.copy(), y.copy(), weight.copy()
    model = classifier()
    model.fit(X, y, sample_weight=weight, validation_split=0.2, epochs=2)
    model.predict(X)
    model.evaluate(X, y)
    for a, b in zip((X, y, weight), kept, strict=True):
        assert np.array_equal(a, b)
        assert a.flags.writeable
    before = bits(model)
    X[:], y[:], weight[:] = np.nan, -7, -1.0
    assert bits(model) == before
    assert np.isfinite(model.predict(kept[0])).all()


@pytest.mark.parametrize(
    ("X", "t"),
    [
        (table(1), table(1, 2)),
        (table(N, 1), table(N, 2)),
        (np.ones((N, D)), table(N, 2)),
        (np.zeros((N, D)), np.zeros((N, 2))),
        (np.full((N, D), 1e-42), np.full((N, 2), -1e-42)),
        (table() * 1e-38, table(N, 2)),
        (table() * 1e4, table(N, 2) * 1e4),
    ],
    ids=["one row", "one column", "constant", "zero", "subnormal", "tiny", "large"],
)
@every_optimizer
@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_extreme_data(X, t, optimizer):
    optimizer = type(optimizer)(**{**vars(optimizer), "learning_rate": 1e-15})
    model = regressor(optimizer=optimizer)
    record = model.fit(X, t, epochs=3)
    assert all_finite(model)
    assert np.isfinite(record["loss"]).all()


#  how it ends


class Signal(Callback):
    """Send Ctrl-C once training has run for a while."""

    def __init__(self, after=0.05):
        self.after = after
        self.timer = None

    def on_epoch_begin(self, epoch, logs):
        if self.timer is None:
            self.timer = threading.Timer(self.after, os.kill, (os.getpid(), signal.SIGINT))
            self.timer.start()

    def on_epoch_end(self, epoch, logs):
        self.model.stop_training = time.monotonic() > self.deadline

    def on_train_begin(self, logs):
        self.deadline = time.monotonic() + 60.0  # should the signal fail, the test fails instead of hanging


@pytest.fixture
def heard():
    """Hear Ctrl-C, which processes in the background ignore; the kernels are loaded when it comes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    classifier().fit(table(), labels())
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C on Windows")
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_during_a_long_epoch(n_threads):
    n = 400_000
    X, y = np.tile(table(1000, 4), (n // 1000, 1)).astype(np.float32), np.tile(labels(1000), n // 1000)
    model = classifier([64, 64, 3], n_threads=n_threads).build(4)
    start = parameters(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, batch_size=2, callbacks=Signal())
    assert model.history.stopped == "interrupted"
    assert model.history.epoch == []
    assert all_finite(model)
    assert any(not np.array_equal(a, b) for a, b in zip(start, parameters(model), strict=True))
    record = model.fit(X[:100], y[:100])  # it goes on
    assert record.stopped is None
    assert record.epoch == [0]


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C on Windows")
@pytest.mark.usefixtures("heard")
def test_ctrl_c_during_many_short_epochs():
    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(table(), labels(), epochs=10**9, callbacks=Signal())
    history = model.history
    assert history.stopped == "interrupted"
    # It may have come while an epoch was being written down.
    assert history.epoch == list(range(len(history)))
    assert {len(values) for values in history.history.values()} == {len(history)}
    assert epochs_done(model) - len(history) in (0, 1)
    assert len(history) > 0
    assert all_finite(model)
    record = fastnn.load(io.BytesIO(bits(model))).fit(table(), labels())
    assert record.epoch == [epochs_done(model)]


def test_ctrl_c_anywhere_while_an_epoch_is_written_down():
    """An interrupt before each line in turn leaves lists of equal length."""
    for place in range(100):
        history = fastnn.History()
        history.append(0, {"loss": 1.0, "val_loss": 2.0})
        lines = 0

        def interrupt(frame, event, _, place=place):
            nonlocal lines
            if frame.f_code.co_name != "append":
                return None
            lines += event == "line"
            if lines > place:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            history.append(1, {"loss": 0.5, "accuracy": 0.9})
        except KeyboardInterrupt:
            assert {len(values) for values in history.history.values()} == {len(history)}
            history.append(2, {"loss": 0.25})
            assert history["loss"][-1] == 0.25
        else:
            assert place > 10
            break
        finally:
            sys.settrace(before)
    else:
        pytest.fail("it never came to the end")


def test_ctrl_c_between_the_slices_of_an_epoch(monkeypatch):
    """The weights are those of the steps that were made, and the optimizer knows how many those are."""
    X, y = table(200), labels(200)
    model, expected = (classifier(optimizer=fastnn.Adam(0.01), n_threads=1).build(D) for _ in range(2))
    run, calls = ThreadTeam.run, []

    def interrupted_after_the_third(*args, **keywords):
        result = run(*args, **keywords)
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(ThreadTeam, "run", interrupted_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y, batch_size=1, shuffle=False)
    assert model.history.stopped == "interrupted"
    done = steps_counted_by_the_kernel(model)
    assert 0 < done < 200
    expected.partial_fit(X[:done], y[:done], batch_size=1)
    assert_same_parameters(model, expected)


def test_ctrl_c_keeps_the_count_of_steps(monkeypatch):
    model = classifier(optimizer=fastnn.Adam(0.01), n_threads=1).build(D)
    run = ThreadTeam.run

    def interrupted(*args, **keywords):
        run(*args, **keywords)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ThreadTeam, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(table(), labels(), batch_size=1)
    assert steps_done(model) == steps_counted_by_the_kernel(model) > 0


def test_ctrl_c_before_anything_ran_changes_nothing(monkeypatch):
    model = classifier()
    before = bits(model)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastnn._data.prepare.as_targets", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(table(), labels())
    assert bits(model) == before


@every_optimizer
@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
@pytest.mark.parametrize("batch_size", [7, None, 2000])
def test_divergence(optimizer, loss, batch_size):
    n = 3000 if batch_size == 2000 else N  # 2000: a batch of several chunks
    rate = 1e7 if isinstance(optimizer, fastnn.SGD) else 1e30
    optimizer = type(optimizer)(**{**vars(optimizer), "learning_rate": rate})
    model = Model([5, 3], loss=loss, optimizer=optimizer, seed=0)
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d+.*learning_rate=1e\+.*smaller") as caught:
        model.fit(table(n), np.eye(3)[labels(n)], epochs=50, batch_size=batch_size)
    assert all_finite(model)
    error = caught.value
    assert error.learning_rate == rate
    assert error.epoch == len(error.history) == len(model.history)
    assert error.history.stopped == model.history.stopped == "diverged"
    assert isinstance(error, FloatingPointError)
    # It goes on with a smaller rate, from new weights.
    model.optimizer = fastnn.SGD(0.01)
    for w in model.weights:
        w[...] = 0.0
    model.biases[0][:] = model.biases[1][:] = 0.0
    assert model.fit(table(), np.eye(3)[labels()]).stopped is None


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_an_infinite_loss_in_the_first_step_leaves_all_weights(n_threads):
    X = np.full((N, D), 3e38, np.float32)
    model = regressor(n_threads=n_threads).build(D)
    before = parameters(model)
    with pytest.raises(DivergenceError, match="in epoch 0: the loss is no longer finite"):
        model.fit(X, np.zeros((N, 2)))
    for a, b in zip(before, parameters(model), strict=True):
        assert np.array_equal(a, b)
    assert not optimizer_slots(model).any()
    assert steps_done(model) == 0
    assert len(model.history) == 0


@pytest.mark.parametrize("optimizer", [fastnn.AdaGrad(), fastnn.RMSProp(), fastnn.Adam()], ids=repr)
@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_gradients_whose_squares_overflow_are_a_divergence(optimizer):
    model = classifier([3], optimizer=optimizer)
    with pytest.raises(DivergenceError):
        model.fit(table() * 1e30, labels())
    assert all_finite(model)


def test_weights_that_are_not_finite_before_the_start_are_named():
    for name, k in (("weights", 1), ("biases", 0)):
        for value in (np.nan, np.inf):
            model = classifier().build(D)
            getattr(model, name)[k][..., 0] = value
            before = bits(model)
            with pytest.raises(ValueError, match=rf"{name}\[{k}\] of the model holds NaN or infinity"):
                model.fit(table(), labels())
            assert bits(model) == before


def test_a_callback_that_writes_nan_is_found_in_the_next_epoch():
    class Spoil(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.weights[0][0, 0] = np.nan

    model = classifier()
    with pytest.raises(DivergenceError, match="in epoch 1"):
        model.fit(table(), labels(), epochs=3, callbacks=Spoil())


def test_huge_validation_data_give_nan_and_training_goes_on():
    X, t = table(), table(d=2, seed=3)
    record = regressor().fit(X, t, epochs=2, validation_data=(np.full((3, D), 1e30), np.zeros((3, 2))))
    assert np.isnan(record["val_loss"]).all()
    assert record.stopped is None


def test_a_second_fit_of_the_same_model_at_the_same_time_is_refused():
    model = classifier()
    failures = []

    class FromAnotherThread(Callback):
        def on_epoch_end(self, epoch, logs):
            def fit():
                try:
                    self.model.fit(table(), labels())
                except RuntimeError as error:
                    failures.append(str(error))

            thread = threading.Thread(target=fit)
            thread.start()
            thread.join()

    record = model.fit(table(), labels(), epochs=2, callbacks=FromAnotherThread())
    assert len(failures) == 2
    assert all("another thread" in text for text in failures)
    assert len(record) == len(model.history) == 2
    model.fit(table(), labels())


def test_fused_epochs_are_the_same_as_single_ones():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 5)).astype(np.float32), rng.standard_normal(100).astype(np.float32)

    class Watcher(fastnn.Callback):
        pass

    def trained(batch_size, callbacks, n_threads):
        model = fastnn.Model([8, 1], loss="squared_error", metrics=["mean_absolute_error"], seed=3, n_threads=n_threads)
        for epochs in (1, 700, 3):
            history = model.fit(X, y, epochs=epochs, batch_size=batch_size, callbacks=callbacks, verbose=False)
            assert len(history) == epochs
        assert len(model.history["seconds"]) == 704
        assert all(seconds > 0.0 for seconds in model.history["seconds"])
        return model

    for batch_size in (16, None):
        watched = trained(batch_size, Watcher(), 1)
        for n_threads in (1, 2):
            can_fuse_epochs = trained(batch_size, None, n_threads)
            assert can_fuse_epochs.history.epoch == watched.history.epoch == list(range(704))
            for name in ("loss", "mean_absolute_error", "learning_rate"):
                assert can_fuse_epochs.history[name] == watched.history[name]
            for a, b in zip(can_fuse_epochs.weights, watched.weights, strict=True):
                assert a.tobytes() == b.tobytes()


def test_predicting_in_another_thread_while_training():
    X, y = table(2000), labels(2000)
    model, alone = classifier([32, 3], n_threads=1).build(D), classifier([32, 3], n_threads=1)
    done = threading.Event()
    outputs = []

    def watch():
        while not done.is_set():
            outputs.append(np.isfinite(model.predict(X[:50])).all() and model.evaluate(X[:50], y[:50])["loss"] > 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        model.fit(X, y, epochs=20, validation_split=0.1)
    finally:
        done.set()
        thread.join()
    alone.fit(X, y, epochs=20, validation_split=0.1)
    assert_same_parameters(model, alone)
    assert model.history["val_loss"] == alone.history["val_loss"]
    assert outputs
    assert all(outputs)


#  a budget of time


class Clock:
    """Stands for the module time: each look at the clock takes a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("callbacks", [None, Callback()], ids=["can_fuse_epochs", "watched"])
def test_no_epoch_begins_after_so_many_seconds(callbacks):
    X, y = table(), labels()
    start = time.monotonic()
    model = classifier()
    record = model.fit(X, y, epochs=10**9, max_seconds=0.2, callbacks=callbacks)
    assert 0.2 <= time.monotonic() - start < 60.0
    assert record.stopped == model.history.stopped == "max_seconds"
    assert record.epoch == list(range(len(record)))
    expected = classifier()
    expected.fit(X, y, epochs=len(record))  # whole epochs, and as many as were recorded
    assert_same_parameters(model, expected)
    assert model.fit(X, y).stopped is None


def test_the_budget_counts_all_that_happens(monkeypatch):
    monkeypatch.setattr("fastnn._training.loop.time", Clock())
    ended = []
    record = classifier().fit(
        table(), labels(), epochs=50, max_seconds=3.5, callbacks=fastnn.LambdaCallback(on_train_end=ended.append)
    )
    assert len(record) == 4  # looked at the clock at 1 s; the looks before epochs 1, 2, 3 and 4 are at 2, 3, 4 and 5 s
    assert record.stopped == "max_seconds"
    assert len(ended) == 1


def test_the_first_epoch_always_runs_and_a_budget_may_be_ample():
    assert len(classifier().fit(table(), labels(), epochs=3, max_seconds=1e-9, callbacks=Callback())) == 1
    record = classifier().fit(table(), labels(), epochs=3, max_seconds=math.inf)
    assert len(record) == 3
    assert record.stopped is None
