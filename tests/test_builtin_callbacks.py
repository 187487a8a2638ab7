"""The callbacks that come with fastnn: effects, reset between trainings, and invalid arguments."""

from __future__ import annotations

import csv
import itertools
import math
import sys
import types

import numpy as np
import pytest
from insides import optimizer_slots, set_metrics
from models import classifier, data, parameters

import fastnn
from fastnn import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    Model,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from fastnn.callbacks import Snapshots


def scripted(*values):
    """Make a classifier whose metric "score" has these values, one an epoch."""
    script = iter(values)

    def score(y_true, y_pred):
        return next(script)

    return classifier(metrics=["accuracy", score])


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


class Keep(fastnn.Callback):
    """Keep a copy of the weights after each epoch."""

    def on_train_begin(self, logs):
        self.kept = []

    def on_epoch_end(self, epoch, logs):
        self.kept.append(parameters(self.model))


# ------------------------------------------------------------------------------------------- EarlyStopping


def test_early_stopping_on_a_validation_loss():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8))
    y = rng.integers(0, 2, 60)  # nothing to be learnt: it soon overfits
    model = Model([32, 2], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.02), seed=0)
    stopping = EarlyStopping(patience=5)
    record = model.fit(X, y, epochs=500, validation_split=0.3, callbacks=stopping)
    assert record.stopped == model.history.stopped == "early_stopping"
    assert len(record) == stopping.best_epoch + 6 < 500
    assert stopping.stopped_epoch == record.epoch[-1]
    assert min(record["val_loss"]) == stopping.best == record["val_loss"][stopping.best_epoch]
    again = Model([32, 2], loss="softmax_crossentropy", optimizer=fastnn.Adam(0.02), seed=0)
    again.fit(X, y, epochs=stopping.best_epoch + 1, validation_split=0.3)
    assert_same(parameters(model), parameters(again))


@pytest.mark.parametrize(
    ("options", "script", "epochs", "best"),
    [
        ({}, [1, 2, 3, 3, 9], 4, 2),  # patience 0: the first that is no improvement ends it
        ({"patience": 1}, [1, 2, 3, 3, 9], 4, 2),
        ({"patience": 2}, [1, 2, 1, 3, 1, 1, 9], 6, 3),
        ({"patience": 2, "mode": "min"}, [1, 2, 3, 0], 3, 0),
        ({"patience": 2, "min_delta": 0.5}, [1, 1.4, 1.6, 2, 2, 9], 5, 2),
        ({"patience": 2, "baseline": 2.5}, [1, 2, 2, 9], 3, 1),  # improves, but stays under the baseline
        ({"patience": 2, "baseline": 2.5}, [1, 3, 2, 2, 9], 4, 1),
        ({"patience": 1, "start_from_epoch": 2}, [8, 7, 1, 2, 1, 9], 5, 3),
        ({"patience": 2}, [math.nan, 1, math.nan, math.nan, 9], 4, 1),
        ({"patience": 9}, [1, 3, 2], 3, 1),  # to the end
    ],
)
def test_early_stopping_counts(options, script, epochs, best):
    model, keep = scripted(*script), Keep()
    stopping = EarlyStopping("score", **{"mode": "max", **options})
    record = model.fit(*data(), epochs=len(script), callbacks=[keep, stopping])
    assert len(record) == epochs
    assert record.stopped == ("early_stopping" if epochs < len(script) else None)
    assert stopping.stopped_epoch == (epochs - 1 if epochs < len(script) else None)
    assert (stopping.best, stopping.best_epoch) == (script[best], best)
    assert_same(parameters(model), keep.kept[best])


def test_only_the_weights_are_restored():
    model, keep, steps = scripted(1.0, 2.0, 1.0, 1.0), Keep(), []
    count = LambdaCallback(on_epoch_end=lambda epoch, logs: steps.append(optimizer_slots(model).copy()))
    model.fit(*data(), epochs=4, callbacks=[keep, count, EarlyStopping("score", mode="max", patience=9)])
    assert_same(parameters(model), keep.kept[1])
    assert np.array_equal(optimizer_slots(model), steps[-1])
    assert model.history.epoch == [0, 1, 2, 3]


@pytest.mark.parametrize("later", [0.9, None], ids=["averages", "averages end"])
def test_averages_are_restored_with_the_weights(later):
    """What was best is what the averages predicted."""
    X, y = data()
    model = classifier(optimizer=fastnn.Adam(0.05, ema_momentum=0.9))
    predictions, weights = [], []
    script = iter([3.0, 1.0, 2.0, 2.5])

    def score(y_true, y_pred):
        predictions.append(model.predict(X))
        weights.append(parameters(model))
        return next(script)

    set_metrics(model, fastnn.metrics.Metric("score", score))
    change = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(
        model, "optimizer", fastnn.Adam(0.05, ema_momentum=0.9 if epoch < 2 else later)))  # fmt: skip
    model.fit(X, y, epochs=4, callbacks=[EarlyStopping("score", mode="min", patience=9), change])
    assert not np.array_equal(predictions[1], predictions[3])
    np.testing.assert_array_equal(model.predict(X), predictions[1])
    if later is not None:
        assert_same(parameters(model), weights[1])
        assert model.averages is not None


def test_averages_that_begin_after_the_best_epoch_are_restored_to_it():
    X, y = data()
    model, keep = scripted(1.0, 2.0, 3.0), Keep()
    change = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "optimizer", fastnn.Adam(ema_momentum=0.9)))
    model.fit(X, y, epochs=3, callbacks=[keep, EarlyStopping("score", mode="min", patience=9), change])
    assert_same(parameters(model), keep.kept[0])
    assert_same([*model.averages[0], *model.averages[1]], keep.kept[0])


def test_the_last_weights_may_be_kept():
    model, keep = scripted(1.0, 2.0, 1.0), Keep()
    stopping = EarlyStopping("score", mode="max", patience=9, restore_best_weights=False)
    model.fit(*data(), epochs=3, callbacks=[keep, stopping])
    assert stopping.best_epoch == 1
    assert_same(parameters(model), keep.kept[2])


def test_the_best_weights_are_restored_after_ctrl_c():
    model, keep = scripted(1.0, 2.0, 1.0), Keep()

    def interrupt(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    stopping = EarlyStopping("score", mode="max", patience=9)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), epochs=3, callbacks=[keep, stopping, LambdaCallback(on_epoch_end=interrupt)])
    assert model.history.stopped == "interrupted"
    assert_same(parameters(model), keep.kept[1])


@pytest.mark.parametrize("quiet", [False, True])
def test_the_best_weights_are_restored_after_a_divergence(quiet):
    model, keep = scripted(1.0, 2.0, 1.0, 1.0, 1.0), Keep()
    model.optimizer = fastnn.SGD(0.01)
    explode = LearningRateScheduler(lambda epoch, lr: 1e30 if epoch == 3 else lr)
    callbacks = [keep, explode, EarlyStopping("score", mode="max", patience=9)]
    if quiet:
        assert model.fit(*data(), epochs=5, callbacks=[*callbacks, TerminateOnNaN()]).stopped == "diverged"
    else:
        with pytest.raises(fastnn.DivergenceError):
            model.fit(*data(), epochs=5, callbacks=callbacks)
    assert_same(parameters(model), keep.kept[1])


def test_a_second_fit_begins_anew():
    stopping, keep = EarlyStopping("score", mode="max", patience=2), Keep()
    first, second = scripted(9.0, 8.0, 7.0), scripted(1.0, 2.0, 1.0, 1.0)
    first.fit(*data(), epochs=3, callbacks=stopping)
    assert stopping.stopped_epoch == 2
    record = second.fit(*data(), epochs=4, callbacks=[stopping, keep])
    assert len(record) == 4
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (2.0, 1, 3)
    assert_same(parameters(second), keep.kept[1])
    X, y = data()
    once = classifier()
    for _ in range(2):
        once.fit(X, y, epochs=2, callbacks=(loss := EarlyStopping("loss", patience=3)))
    assert loss.best_epoch == 3  # epochs are counted over all fits


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("loss", "min"), ("val_loss", "min"), ("mean_squared_error", "min"), ("val_hinge_loss", "min"),
     ("accuracy", "max"), ("val_accuracy", "max"), ("val_r2", "max"), ("roc_auc", "max"), ("f1_score", "max")],
)  # fmt: skip
def test_modes_by_name(monitor, mode):
    a, b = 1.0, 2.0
    better = EarlyStopping(monitor)._monitor.improves(a, b)
    assert better == (mode == "min")
    assert EarlyStopping(monitor)._monitor.improves(b, a) != better


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau, lambda *a, **k: ModelCheckpoint(
    "x", monitor=a[0], save_best_only=True, **k)])  # fmt: skip
def test_a_mode_that_cannot_be_known(kind):
    def fairness(y_true, y_pred):
        return 1.0

    model = classifier(metrics=[fairness])
    with pytest.raises(ValueError, match="mode must be 'min' or 'max' for monitor='fairness', got 'auto'"):
        model.fit(*data(), callbacks=kind("fairness"))
    assert not model.built


def test_a_missing_monitor_is_missing_whether_or_not_its_mode_is_known():
    model = classifier()
    for name, advice in (
        ("val_acc", "Did you mean 'val_accuracy'?"),
        ("val_lss", "Did you mean 'val_loss'?"),
        ("acc", "Did you mean 'accuracy'?"),
        ("fairness", "learning_rate, seconds."),
    ):
        with pytest.raises(ValueError, match=f"monitor='{name}', which is missing: this training has loss, ") as error:
            model.fit(*data(), validation_split=0.3, callbacks=EarlyStopping(name))
        assert str(error.value).endswith(advice)


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (EarlyStopping(), r"EarlyStopping has monitor='val_loss', which is missing: this training has loss, "
         r"accuracy, learning_rate, seconds\. Give validation_data"),
        (EarlyStopping("acc", mode="max"), "EarlyStopping has monitor='acc', which is missing: this training has "),
        (ReduceLROnPlateau("val_accuracy"), "ReduceLROnPlateau has monitor='val_accuracy'.*Give validation_data"),
        (ModelCheckpoint("x", save_best_only=True), "ModelCheckpoint has monitor='val_loss'"),
        (ModelCheckpoint("x{epoch}-{val_loss:.3f}"),
            r"filepath must be .* The field {val_loss} is none of epoch, loss, accuracy"),
        (ModelCheckpoint("x{}"), "The field {} is none of"),
        (ModelCheckpoint("x{loss:d}"), "filepath must be a path whose fields format numbers, got 'x{loss:d}'"),
    ],
)  # fmt: skip
def test_a_missing_monitor_is_found_before_the_first_epoch(callback, text):
    model = classifier()
    with pytest.raises(ValueError, match=text):
        model.fit(*data(), callbacks=callback)
    assert len(model.history) == 0
    assert not model.built


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: EarlyStopping(5), TypeError, "monitor must be .*, got 5"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta must be .*, got -1"),
        (lambda: EarlyStopping(min_delta="a"), TypeError, "min_delta"),
        (lambda: EarlyStopping(patience=-1), ValueError, "patience must be at least 0, got -1"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "patience must be .*, got 1.5"),
        (lambda: EarlyStopping(mode="less"), ValueError, "mode must be 'auto', 'min' or 'max', got 'less'"),
        (lambda: EarlyStopping(baseline="a"), TypeError, "baseline"),
        (lambda: EarlyStopping(start_from_epoch=True), TypeError, "start_from_epoch must be .*, got True"),
        (lambda: ModelCheckpoint(5), TypeError, "filepath must be .*, got 5"),
        (lambda: ModelCheckpoint("{"), ValueError, "filepath must be a path with valid fields, got '{'"),
        (lambda: ModelCheckpoint("a", save_freq="batch"), ValueError, "save_freq must be .*, got 'batch'"),
        (lambda: ModelCheckpoint("a", save_freq=0), ValueError, "save_freq must be at least 1, got 0"),
        (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor must be above 0 and below 1, got 1.0"),
        (lambda: ReduceLROnPlateau(factor=0), ValueError, "factor must be .*, got 0"),
        (lambda: ReduceLROnPlateau(cooldown=-1), ValueError, "cooldown must be .*, got -1"),
        (lambda: ReduceLROnPlateau(min_lr=-1), ValueError, "min_lr must be .*, got -1"),
        (lambda: LearningRateScheduler(0.1), TypeError, "schedule must be a function.*, got 0.1"),
        (lambda: CSVLogger(5), TypeError, "filename must be .*, got 5"),
        (lambda: CSVLogger("a", separator=", "), ValueError, "separator must be .*, got ', '"),
        (lambda: LambdaCallback(on_epoch_end=3), TypeError, "on_epoch_end must be .*, got 3"),
        (lambda: LambdaCallback(on_train_batch_end=print), TypeError, "on_train_batch_end"),
    ],
)
def test_arguments(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


# ----------------------------------------------------------------------------------------- ModelCheckpoint


def test_checkpoints_go_on_as_if_nothing_had_been(tmp_path):
    X, y = data()
    model = classifier()
    record = model.fit(
        X, y, epochs=3, batch_size=7, validation_split=0.25,
        callbacks=ModelCheckpoint(tmp_path / "new" / "net-{epoch:02d}-{val_loss:.3f}.npz"),
    )  # fmt: skip
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == [f"net-{k + 1:02d}-{record['val_loss'][k]:.3f}.npz" for k in range(3)]
    resumed = fastnn.load(tmp_path / "new" / files[0])
    assert resumed.history.epoch == [0]
    resumed.fit(X, y, epochs=2, batch_size=7, validation_split=0.25)
    assert_same(parameters(resumed), parameters(model))


def test_only_the_best_is_saved(tmp_path):
    model, path = scripted(1.0, 3.0, 2.0, math.nan), tmp_path / "best.npz"
    checkpoint = ModelCheckpoint(path, monitor="score", mode="max", save_best_only=True)
    model.fit(*data(), epochs=4, callbacks=checkpoint)
    assert checkpoint.best == 3.0
    assert fastnn.load(path).history.epoch == [0, 1]
    again = scripted(0.5, 0.25)  # a second training begins anew
    again.fit(*data(), epochs=2, callbacks=checkpoint)
    assert checkpoint.best == 0.5
    assert fastnn.load(path).history.epoch == [0]


def test_every_so_many_epochs(tmp_path):
    model = classifier()
    model.fit(*data(), epochs=7, callbacks=ModelCheckpoint(str(tmp_path / "{epoch}.npz"), save_freq=3))
    assert {path.name for path in tmp_path.iterdir()} == {"3.npz", "6.npz"}


# --------------------------------------------------------------------------------------- the learning rate


@pytest.mark.parametrize(
    ("options", "script", "rates"),
    [
        ({"patience": 1}, [1, 1, 1, 2, 2], [1, 1, 0.5, 0.25, 0.25]),
        ({"patience": 2}, [1, 1, 1, 1, 1, 1], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.3}, [1, 1, 1, 1, 1], [1, 1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "min_delta": 0.5}, [1, 1.4, 1.6, 1.7], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "mode": "min"}, [1, 2, 0.5, 2], [1, 1, 0.5, 0.5]),
        ({"patience": 1}, [1, math.nan, 2], [1, 1, 0.5]),
    ],
)
def test_the_rate_falls_on_a_plateau(options, script, rates):
    model = scripted(*script)
    model.optimizer = fastnn.SGD(0.01)
    reduce = ReduceLROnPlateau("score", **{"factor": 0.5, "mode": "max", **options})
    if "min_lr" in options:
        reduce.min_lr *= 0.01
    record = model.fit(*data(), epochs=len(script), callbacks=reduce)
    np.testing.assert_allclose(record["learning_rate"], 0.01 * np.array(rates), rtol=1e-14)


def test_a_plateau_is_forgotten_before_the_next_fit():
    model, reduce = scripted(9.0, 9.0, 1.0, 2.0, 3.0), ReduceLROnPlateau("score", mode="max", patience=2)
    model.fit(*data(), epochs=2, callbacks=reduce)
    assert model.fit(*data(), epochs=3, callbacks=reduce)["learning_rate"] == [1e-3] * 3


def test_a_rate_of_each_epoch():
    X, y = data()
    seen = []

    def schedule(epoch, lr):
        seen.append((epoch, lr))
        return lr / 2

    model = classifier(optimizer=fastnn.SGD(0.4, momentum=0.9))
    scheduler = LearningRateScheduler(schedule)
    assert model.fit(X, y, epochs=2, callbacks=scheduler)["learning_rate"] == [0.2, 0.1]
    assert model.fit(X, y, epochs=1, callbacks=scheduler)["learning_rate"] == [0.05]
    assert seen == [(0, 0.4), (1, 0.2), (2, 0.1)]
    assert model.optimizer == fastnn.SGD(0.05, momentum=0.9)
    by_hand = classifier(optimizer=fastnn.SGD(0.2, momentum=0.9))
    for rate in (0.2, 0.1, 0.05):
        by_hand.optimizer = fastnn.SGD(rate, momentum=0.9)
        by_hand.fit(X, y)
    assert_same(parameters(model), parameters(by_hand))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, None, "0.1"])
def test_a_schedule_of_nonsense(rate):
    model = classifier()
    with pytest.raises(ValueError, match=r"schedule\(1, lr\) of LearningRateScheduler must be a finite number above 0"):
        model.fit(*data(), epochs=2, callbacks=LearningRateScheduler(lambda epoch, lr: rate if epoch else lr))
    assert len(model.history) == 1


@pytest.mark.parametrize("callback", [ReduceLROnPlateau("loss"), LearningRateScheduler(lambda epoch, lr: lr)])
@pytest.mark.parametrize(("rate", "text"), [(lambda epoch: 0.1, "which sets it already"), (None, "has none")])
def test_two_that_set_the_rate_are_refused(callback, rate, text):
    callback.params = {"metrics": ["loss"]}
    callback.model = types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=rate))
    with pytest.raises(ValueError, match=f"{type(callback).__name__} sets the optimizer's learning_rate, but.*{text}"):
        callback.on_train_begin({})


# ------------------------------------------------------------------------------------------------ the rest


def read(path, delimiter=","):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_csv(tmp_path):
    X, y = data()
    model, path = classifier(), tmp_path / "log.csv"
    logger = CSVLogger(path, separator=";")
    record = model.fit(X, y, epochs=3, validation_split=0.25, callbacks=logger)
    header, *rows = read(path, ";")
    assert header == ["epoch", *record.history]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    for k, name in enumerate(record.history, start=1):
        assert [float(row[k]) for row in rows] == record[name]
    model.fit(X, y, callbacks=logger)  # begins the file anew
    assert [row[0] for row in read(path, ";")] == ["epoch", "3"]


def test_csv_goes_on_in_a_file(tmp_path):
    X, y = data()
    model, path = classifier(), tmp_path / "log.csv"
    logger = CSVLogger(str(path), append=True)
    for _ in range(2):
        model.fit(X, y, epochs=2, callbacks=logger)
    assert [row[0] for row in read(path)] == ["epoch", "0", "1", "2", "3"]
    before = path.read_text()
    with pytest.raises(ValueError, match=r"has the columns epoch, loss, .*but this training gives epoch, .*val_loss"):
        model.fit(X, y, validation_split=0.25, callbacks=logger)
    assert path.read_text() == before
    path.write_text("")
    model.fit(X, y, callbacks=logger)
    assert [row[0] for row in read(path)] == ["epoch", "4"]


def test_csv_is_on_disk_after_each_epoch(tmp_path):
    path, lines = tmp_path / "log.csv", []
    look = LambdaCallback(on_epoch_end=lambda epoch, logs: lines.append(len(read(path))))
    classifier().fit(*data(), epochs=3, callbacks=[CSVLogger(path), look])
    assert lines == [2, 3, 4]


def test_a_folder_that_is_not_there(tmp_path):
    model = classifier()
    with pytest.raises(FileNotFoundError):
        model.fit(*data(), callbacks=CSVLogger(tmp_path / "no" / "log.csv"))
    assert len(model.history) == 0


def test_terminate_on_nan_keeps_the_last_finite_weights():
    X, y = data()
    model, loud = (classifier(optimizer=fastnn.SGD(1e30)) for _ in range(2))
    with pytest.raises(fastnn.DivergenceError):
        loud.fit(X, y, epochs=50)
    record = model.fit(X, y, epochs=50, callbacks=TerminateOnNaN())
    assert record.stopped == model.history.stopped == "diverged"
    assert record.epoch == loud.history.epoch
    assert_same(parameters(model), parameters(loud))
    assert all(np.isfinite(a).all() for a in parameters(model))


def test_functions():
    calls = []
    callback = LambdaCallback(
        on_train_begin=lambda logs: calls.append(("begin", dict(logs))),
        on_epoch_begin=lambda epoch, logs: calls.append((epoch, dict(logs))),
        on_epoch_end=lambda epoch, logs: calls.append((epoch, list(logs))),
        on_train_end=lambda logs: calls.append(("end", list(logs))),
    )
    classifier().fit(*data(), epochs=2, callbacks=[callback, LambdaCallback()])
    names = ["loss", "accuracy", "learning_rate", "seconds"]
    assert calls == [("begin", {}), *itertools.chain(*([(k, {}), (k, names)] for k in range(2))), ("end", names)]


# ----------------------------------------------------------------------------------------------- Snapshots


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("every", [1, 3, 4, 100])
def test_snapshots_are_the_weights_after_those_epochs(every, dtype):
    model, keep, snapshots = classifier(dtype=dtype), Keep(), Snapshots(every)
    start = parameters(classifier(dtype=dtype).build(3))
    record = model.fit(*data(), epochs=8, callbacks=[keep, snapshots])
    epochs = sorted({*range(0, 9, every), 8})
    assert [snapshot.epoch for snapshot in snapshots] == epochs
    assert math.isnan(snapshots[0].loss)
    assert [snapshot.loss for snapshot in snapshots[1:]] == [record["loss"][epoch - 1] for epoch in epochs[1:]]
    for snapshot in snapshots:
        wanted = keep.kept[snapshot.epoch - 1] if snapshot.epoch else start
        assert_same((*snapshot.weights, *snapshot.biases), wanted)
        assert {array.dtype for array in (*snapshot.weights, *snapshot.biases)} == {np.dtype(dtype)}
    before = parameters(model)
    snapshots[-1].weights[0][...] = 7.0  # copies
    assert_same(parameters(model), before)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam"])
@pytest.mark.parametrize("every", [1, 7, 1000])
def test_snapshots_leave_every_bit(optimizer, every):
    def trained(callbacks):
        model = classifier([fastnn.Dropout(0.2), 9, 3], optimizer=optimizer)
        record = model.fit(*data(), epochs=40, batch_size=10, callbacks=callbacks)
        return model, record

    (plain, record), (watched, watched_record) = trained(None), trained(Snapshots(every))
    assert_same(parameters(plain), parameters(watched))
    assert_same(optimizer_slots(plain), optimizer_slots(watched))
    assert record["loss"] == watched_record["loss"]
    assert record.epoch == watched_record.epoch


def test_snapshots_of_the_next_training_replace_those_of_the_last():
    model, snapshots = classifier(), Snapshots(2)
    model.fit(*data(), epochs=4, callbacks=snapshots)
    assert [snapshot.epoch for snapshot in snapshots] == [0, 2, 4]
    last = snapshots[-1]
    model.history = fastnn.History()  # epochs are counted on
    model.fit(*data(), epochs=3, callbacks=snapshots)
    assert [snapshot.epoch for snapshot in snapshots] == [4, 6, 7]
    assert_same(snapshots[0].weights, last.weights)


def test_snapshots_of_a_training_that_ends_early():
    snapshots = Snapshots(4)
    model = classifier()

    def stop(epoch, logs):
        model.stop_training = epoch == 5

    model.fit(*data(), epochs=20, callbacks=[LambdaCallback(on_epoch_end=stop), snapshots])
    assert [snapshot.epoch for snapshot in snapshots] == [0, 4, 6]
    assert_same((*snapshots[-1].weights, *snapshots[-1].biases), parameters(model))


def test_snapshots_of_a_training_without_an_epoch():
    snapshots = Snapshots()
    model = classifier()

    def stop(logs):
        model.stop_training = True

    model.fit(*data(), callbacks=[LambdaCallback(on_train_begin=stop), snapshots])
    assert len(snapshots) == 0


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_snapshots_of_a_solver(optimizer):
    X = np.random.default_rng(0).standard_normal((40, 3))
    model = Model([4, 1], loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
    snapshots = Snapshots(2)
    model.fit(X, np.sin(X[:, 0]), epochs=5, callbacks=snapshots)
    assert [snapshot.epoch for snapshot in snapshots] == [0, 2, 4, 5]
    assert_same((*snapshots[-1].weights, *snapshots[-1].biases), parameters(model))


def test_memory_of_snapshots_is_checked_before_training():
    each = 4 * (3 * 5 + 5 + 5 * 3 + 3)
    model = classifier()
    with pytest.raises(MemoryError, match=r"would keep 101 copies of 152 bytes in 100 epochs, .* give every=12,"):
        model.fit(*data(), epochs=100, callbacks=Snapshots(max_memory=10 * each))
    assert not model.history
    assert not model.built
    with pytest.raises(MemoryError, match="limit is 151 bytes: allow more by max_memory"):
        model.fit(*data(), epochs=100, callbacks=Snapshots(max_memory=each - 1))
    snapshots = Snapshots(12, max_memory=10 * each)
    model.fit(*data(), epochs=100, callbacks=snapshots)
    assert len(snapshots) == 10


def test_snapshots_of_an_estimator():
    X, y = data()
    snapshots = Snapshots(5)
    net = fastnn.MLPClassifier((4,), max_iter=12, random_state=0, callbacks=[snapshots])
    with pytest.warns(UserWarning, match="Maximum iterations"):
        net.fit(X, y)
    assert [snapshot.epoch for snapshot in snapshots] == [0, 5, 10, 12]
    assert_same(snapshots[-1].weights, net.coefs_)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "1", None])
@pytest.mark.parametrize("name", ["every", "max_memory"])
def test_arguments_of_snapshots(name, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be an integer|{name} must be at least 1"):
        Snapshots(**{name: wrong})


def test_snapshots_as_text():
    assert repr(Snapshots()) == "Snapshots(1)"
    assert repr(Snapshots(5)) == "Snapshots(5)"


# -------------------------------------------------------------------------------------------------- OptunaPruning


class FakeTrial:
    """The two methods of a trial of Optuna."""

    def __init__(self, ends=99):
        self.values, self.ends = [], ends

    def report(self, value, step):
        self.values.append((step, value))

    def should_prune(self):
        return len(self.values) >= self.ends


def test_optuna_has_each_value():
    trial = FakeTrial()
    model = fastnn.Model([3, 1], loss="squared_error", seed=0)
    pruning = fastnn.callbacks.OptunaPruning(trial, monitor="loss")
    for _ in range(2):  # steps begin anew
        trial.values.clear()
        history = model.fit(np.ones((8, 2)), np.zeros(8), epochs=3, callbacks=pruning)
        assert trial.values == list(enumerate(history["loss"]))


@pytest.mark.parametrize("bad", ["pruner", "infinity"])
def test_optuna_ends_a_training(monkeypatch, bad):
    class TrialPruned(Exception):  # noqa: N818  # Optuna's name
        pass

    monkeypatch.setitem(sys.modules, "optuna", types.SimpleNamespace(TrialPruned=TrialPruned))
    trial = FakeTrial(ends=2)
    model = fastnn.Model([1], loss="squared_error", seed=0, metrics=[fastnn.metrics.Metric("odd", lambda t, u: np.inf)])
    pruning = fastnn.callbacks.OptunaPruning(trial, monitor="loss" if bad == "pruner" else "odd")
    with pytest.raises(TrialPruned, match="after 2 epochs" if bad == "pruner" else "inf after 1 epochs"):
        model.fit(np.ones((8, 2)), np.zeros(8), epochs=5, callbacks=pruning)
    assert len(model.history) == (2 if bad == "pruner" else 1)
    assert len(trial.values) == (2 if bad == "pruner" else 0)


def test_optuna_pruning_is_validated():
    with pytest.raises(TypeError, match="trial must be"):
        fastnn.callbacks.OptunaPruning(object())
    model = fastnn.Model([1], loss="squared_error")
    with pytest.raises(ValueError, match=r"monitor='val_loss', which is missing"):
        model.fit(np.ones((8, 2)), np.zeros(8), callbacks=fastnn.callbacks.OptunaPruning(FakeTrial()))
