"""Callbacks: when they are called, what they may change, and propagation of their errors."""

from __future__ import annotations

import copy
import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
from models import bits, classifier, data

import fastnn
from fastnn import Callback, Model
from fastnn._engine.engine import Engine


def bits_without_seconds(model):
    """All that a model is, in bytes, but for the time that its epochs took."""
    history = model.history
    model.history = fastnn.History()
    try:
        return bits(model), history.epoch, history.history.get("loss")
    finally:
        model.history = history


METHODS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


def calling(method, action):
    """Make a callback that runs action(model) in one method."""

    def run(self, *args):
        action(self.model)

    return type("Calling", (Callback,), {method: run})()


class Recorder(Callback):
    def __init__(self, name="", calls=None):
        self.name = name
        self.calls = [] if calls is None else calls

    def on_train_begin(self, logs):
        self.calls.append((self.name + "train_begin", dict(logs)))

    def on_epoch_begin(self, epoch, logs):
        self.calls.append((self.name + "epoch_begin", epoch, dict(logs)))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((self.name + "epoch_end", epoch, dict(logs)))
        logs.clear()  # each callback has its own

    def on_train_end(self, logs):
        self.calls.append((self.name + "train_end", dict(logs)))


def test_order_and_logs():
    X, y = data()
    model, calls = classifier(), []
    record = model.fit(X, y, epochs=2, validation_split=0.25, callbacks=[Recorder("a ", calls), Recorder("b ", calls)])
    assert [call[0] for call in calls] == [
        f"{name} {what}"
        for what in ("train_begin", *("epoch_begin", "epoch_end") * 2, "train_end")
        for name in "ab"
    ]
    ends = [call for call in calls if call[0].endswith("epoch_end")]
    assert [call[1] for call in ends] == [0, 0, 1, 1]
    for k, (_, _, logs) in enumerate(ends):
        assert logs == {name: values[k // 2] for name, values in record.history.items()}
    assert calls[0][1] == {}
    assert calls[-1][1] == ends[-1][2]


def test_epochs_are_counted_over_all_fits():
    X, y = data()
    model, recorder = classifier(), Recorder()
    for _ in range(2):
        model.fit(X, y, epochs=2, callbacks=recorder)
    assert [call[1] for call in recorder.calls if call[0] == "epoch_begin"] == [0, 1, 2, 3]


def test_several_forms():
    X, y = data()
    for form in (lambda c: c, lambda c: [c], lambda c: (c,), lambda c: {c}, lambda c: (x for x in [c])):
        recorder = Recorder()
        classifier().fit(X, y, callbacks=form(recorder))
        assert len(recorder.calls) == 4
    for none in (None, [], ()):
        classifier().fit(X, y, callbacks=none)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (5, "callbacks must be .*, got 5"),
        ("stop", "callbacks must be .*, got 'stop'"),
        (Recorder, "callbacks must be an instance of .*, got <class"),
        (print, "callbacks must be .*, got <built-in"),
        ([Recorder], r"callbacks\[0\] must be an instance of .*, got <class"),
        ([Recorder(), None], r"callbacks\[1\] must be .*, got None"),
        ([print], r"callbacks\[0\] must be .*, got <built-in"),
    ],
)
def test_what_is_no_callback(given, text):
    X, y = data()
    model = classifier()
    before = bits_without_seconds(model)
    with pytest.raises(TypeError, match=text):
        model.fit(X, y, callbacks=given)
    assert not model.built
    assert bits_without_seconds(model) == before


def test_looking_on_changes_nothing():
    X, y = data()
    watched, alone = classifier(), classifier()

    def look(model):
        model.predict(X)
        model.predict_proba(X[:3])
        model.evaluate(X, y)
        model.gradient(X, y)
        model.summary(lambda line: None)
        copy.copy(model).fit(X, y)
        model.save(io.BytesIO())
        repr(model)

    watched.fit(X, y, epochs=3, batch_size=7, validation_data=(X, y), callbacks=[calling(m, look) for m in METHODS])
    alone.fit(X, y, epochs=3, batch_size=7, validation_data=(X, y))
    assert bits_without_seconds(watched) == bits_without_seconds(alone)


def test_the_gradient_may_be_looked_at_during_training_on_several_chunks():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3000, 3)), rng.integers(0, 3, 3000)
    watched, alone = classifier(), classifier()
    watched.fit(X, y, epochs=3, batch_size=None, callbacks=calling("on_epoch_end", lambda m: m.gradient(X[:9], y[:9])))
    alone.fit(X, y, epochs=3, batch_size=None)
    assert bits_without_seconds(watched) == bits_without_seconds(alone)


@pytest.mark.parametrize(
    ("method", "epochs"), [("on_train_begin", 0), ("on_epoch_begin", 0), ("on_epoch_end", 1), ("on_train_end", 5)]
)
def test_stopping(method, epochs):
    X, y = data()
    model, recorder = classifier(), Recorder()

    def stop(model):
        model.stop_training = True

    record = model.fit(X, y, epochs=5, callbacks=[calling(method, stop), recorder])
    assert len(record) == epochs
    assert record.stopped == model.history.stopped == (None if method == "on_train_end" else "stop_training")
    assert recorder.calls[-1][0] == "train_end"
    assert model.fit(X, y, epochs=2).epoch == [epochs, epochs + 1]  # the wish is forgotten


def test_a_reason_for_stopping():
    X, y = data()
    model = classifier()

    def stop(model):
        model.stop_training = "enough"

    assert model.fit(X, y, epochs=5, callbacks=calling("on_epoch_end", stop)).stopped == "enough"
    assert model.fit(X, y).stopped is None


def test_callbacks_know_what_training_this_is():
    X, y = data()
    seen = []
    watcher = Recorder()
    model = classifier(metrics=["accuracy"])
    model.fit(X, y, epochs=2, validation_split=0.25, batch_size=7, callbacks=[
        watcher, calling("on_train_begin", lambda model: seen.append(dict(watcher.params)))
    ])  # fmt: skip
    metrics = seen[0].pop("metrics")
    assert seen == [{"epochs": 2, "batch_size": 7, "rows": 34, "shuffle": True}]
    assert metrics == list(watcher.calls[2][2]) == [
        "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
    ]  # fmt: skip


@pytest.mark.parametrize("quiet", [False, True])
def test_the_end_is_notified_after_a_divergence_too(quiet):
    X, y = data()
    model = classifier(optimizer=fastnn.SGD(1e30))
    recorder = Recorder()
    callbacks = [recorder, fastnn.TerminateOnNaN()] if quiet else [recorder]
    if quiet:
        record = model.fit(X, y, epochs=50, callbacks=callbacks)
    else:
        with pytest.raises(fastnn.DivergenceError) as caught:
            model.fit(X, y, epochs=50, callbacks=callbacks)
        record = caught.value.history
    assert record.stopped == model.history.stopped == "diverged"
    assert len(record) < 50
    assert recorder.calls[-1][0] == "train_end"
    assert all(np.isfinite(a).all() for a in model.weights + model.biases)


def test_a_callback_that_was_not_begun_is_not_ended():
    X, y = data()
    first, last = Recorder(), Recorder()

    def interrupt(model):
        raise KeyboardInterrupt

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, callbacks=[first, calling("on_train_begin", interrupt), last])
    assert model.history.stopped == "interrupted"
    assert [call[0] for call in first.calls] == ["train_begin", "train_end"]
    assert last.calls == []


def test_a_wish_to_stop_from_before_is_forgotten():
    X, y = data()
    model = classifier()
    model.stop_training = True
    assert len(model.fit(X, y, epochs=2)) == 2


@pytest.mark.parametrize("method", METHODS)
def test_an_error_goes_through_and_the_model_is_as_after_the_last_step(method):
    X, y = data()
    model, expected = classifier(), classifier().build(3)

    def fail(model):
        if method != "on_epoch_end" or model.history.epoch == [0, 1]:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        model.fit(X, y, epochs=3, callbacks=calling(method, fail))
    done = {"on_epoch_end": 2, "on_train_end": 3}.get(method, 0)
    if done:
        expected.fit(X, y, epochs=done)
    assert bits_without_seconds(model) == bits_without_seconds(expected)
    model.fit(X, y, epochs=1)  # nothing is left locked
    expected.fit(X, y, epochs=1)
    assert bits_without_seconds(model) == bits_without_seconds(expected)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_in_a_callback(method):
    X, y = data()
    model = classifier()

    def interrupt(model):
        raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, epochs=3, callbacks=[recorder, calling(method, interrupt)])
    assert model.history.stopped == "interrupted"
    assert recorder.calls[-1][0] == "train_end"
    assert [call[0] for call in recorder.calls].count("train_end") == 1
    assert len(model.history) == {"on_epoch_end": 1, "on_train_end": 3}.get(method, 0)
    assert all(np.isfinite(w).all() for w in model.weights)
    assert model.fit(X, y).stopped is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_fit_within_fit_is_refused(method, call):
    X, y = data()
    model, expected = classifier(), classifier()
    texts = []

    def fit_again(model):
        with pytest.raises(RuntimeError, match="while this model is in training, from one of its callbacks") as caught:
            getattr(model, call)(X, y)
        texts.append(str(caught.value))

    record = model.fit(X, y, epochs=2, callbacks=calling(method, fit_again))
    expected.fit(X, y, epochs=2)
    assert bits_without_seconds(model) == bits_without_seconds(expected)
    assert len(record) == 2
    assert texts


def test_another_model_may_be_trained_within():
    X, y = data()
    model, inner = classifier(), classifier(seed=3)
    alone = classifier()
    model.fit(X, y, epochs=3, callbacks=calling("on_epoch_begin", lambda _: inner.fit(X, y)))
    alone.fit(X, y, epochs=3)
    assert bits_without_seconds(model) == bits_without_seconds(alone)
    assert len(inner.history) == 3


def test_a_schedule_of_the_learning_rate():
    X, y = data()

    class Halve(Callback):
        def on_epoch_end(self, epoch, logs):
            rate = self.model.optimizer.learning_rate
            self.model.optimizer = dataclasses.replace(self.model.optimizer, learning_rate=rate / 2)

    model, by_hand = (classifier(optimizer=fastnn.SGD(0.4, momentum=0.9)) for _ in range(2))
    record = model.fit(X, y, epochs=4, callbacks=Halve())
    assert record["learning_rate"] == [0.4, 0.2, 0.1, 0.05]
    for rate in (0.4, 0.2, 0.1, 0.05):
        by_hand.optimizer = fastnn.SGD(rate, momentum=0.9)
        by_hand.fit(X, y)
    for a, b in zip(model.weights, by_hand.weights, strict=True):
        assert np.array_equal(a, b)


def test_an_optimizer_is_replaced_and_not_changed():
    model = classifier()
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.optimizer.learning_rate = 0.1


def test_another_kind_of_optimizer_halfway():
    X, y = data()

    class Switch(Callback):
        def on_epoch_begin(self, epoch, logs):
            if epoch == 2:
                self.model.optimizer = fastnn.SGD(0.1)

    model, by_hand = classifier(), classifier()
    model.fit(X, y, epochs=4, batch_size=7, callbacks=Switch())
    by_hand.fit(X, y, epochs=2, batch_size=7)
    by_hand.optimizer = fastnn.SGD(0.1)
    by_hand.fit(X, y, epochs=2, batch_size=7)
    assert bits_without_seconds(model) == bits_without_seconds(by_hand)


def test_weights_may_be_changed_between_epochs():
    X, y = data()

    class Clip(Callback):
        """Keep each weight within 0.1."""

        def on_epoch_end(self, epoch, logs):
            for w in self.model.weights:
                np.clip(w, -0.1, 0.1, out=w)

    model, by_hand = classifier(), classifier()
    model.fit(X, y, epochs=3, callbacks=Clip())
    for _ in range(3):
        by_hand.fit(X, y)
        for w in by_hand.weights:
            np.clip(w, -0.1, 0.1, out=w)
    assert bits_without_seconds(model) == bits_without_seconds(by_hand)
    assert max(np.abs(w).max() for w in model.weights) <= np.float32(0.1)


@pytest.mark.slow
def test_labels_that_change_during_training_do_not_end_the_process():
    script = (
        "import numpy as np, fastnn\n"
        "X, y = np.ones((4000, 3), np.float32), np.arange(4000) % 3\n"
        "class Spoil(fastnn.Callback):\n"
        "    def on_epoch_end(self, epoch, logs):\n"
        "        y[:] = 4_000_000_000\n"
        "try:\n"
        "    fastnn.Model([8, 3], loss='softmax_crossentropy', seed=0).fit(X, y, epochs=3, callbacks=Spoil())\n"
        "except (ValueError, ArithmeticError):\n"
        "    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=100, check=False)
    assert done.returncode == 0


def test_snapshots(tmp_path):
    X, y = data()

    class Snapshot(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.save(tmp_path / f"{epoch}.npz")

    model = classifier()
    model.fit(X, y, epochs=3, batch_size=7, callbacks=Snapshot())
    resumed = fastnn.load(tmp_path / "0.npz")
    resumed.fit(X, y, epochs=2, batch_size=7)
    assert bits_without_seconds(resumed) == bits_without_seconds(model)


# ------------------------------------------------------------------------------ calls after several epochs


class Every(Recorder):
    """Record the calls, of which there is one every `call_every` epochs."""

    def __init__(self, call_every):
        super().__init__()
        self.call_every = call_every

    def epochs(self, what):
        return [call[1] for call in self.calls if call[0] == what]


def slices_of(monkeypatch, epochs=256):
    """List the epochs of each call of the training kernel, which may run `epochs` at once."""
    seen = []
    train_epochs = Engine.train_epochs

    def counted(self, data, n, *args, **options):
        seen.append(n)
        return train_epochs(self, data, n, *args, **options)

    monkeypatch.setattr(Engine, "epochs_per_slice", lambda *args, **options: epochs)
    monkeypatch.setattr(Engine, "train_epochs", counted)
    return seen


def test_epochs_between_two_calls_run_at_once(monkeypatch):
    seen = slices_of(monkeypatch)
    callback = Every(10)
    model = classifier()
    record = model.fit(*data(), epochs=35, callbacks=callback)
    assert seen == [10, 10, 10, 5]
    assert callback.epochs("epoch_begin") == [0, 10, 20, 30]
    assert callback.epochs("epoch_end") == [9, 19, 29]
    ends = [call[2] for call in callback.calls if call[0] == "epoch_end"]
    for epoch, logs in zip((9, 19, 29), ends, strict=True):
        assert logs == {name: values[epoch] for name, values in record.history.items()}
    assert callback.calls[-1] == ("train_end", {name: values[34] for name, values in record.history.items()})


def test_several_callbacks_have_calls_of_their_own(monkeypatch):
    seen = slices_of(monkeypatch)
    two, three = Every(2), Every(3)
    classifier().fit(*data(), epochs=7, callbacks=[two, three])
    assert seen == [2, 1, 1, 2, 1]
    assert two.epochs("epoch_end") == [1, 3, 5]
    assert two.epochs("epoch_begin") == [0, 2, 4, 6]
    assert three.epochs("epoch_end") == [2, 5]
    assert three.epochs("epoch_begin") == [0, 3, 6]


def test_calls_count_the_epochs_of_each_fit(monkeypatch):
    model, callback = classifier(), Every(3)
    for _ in range(2):
        model.fit(*data(), epochs=4, callbacks=callback)
    assert callback.epochs("epoch_end") == [2, 6]


@pytest.mark.parametrize("slices", [1, 4, 256])
def test_calls_do_not_depend_on_the_slices(monkeypatch, slices):
    slices_of(monkeypatch, slices)
    callback = Every(10)
    classifier().fit(*data(), epochs=35, callbacks=callback)
    assert callback.epochs("epoch_begin") == [0, 10, 20, 30]
    assert callback.epochs("epoch_end") == [9, 19, 29]


def test_a_callback_of_each_epoch_beside_a_rare_one(monkeypatch):
    seen = slices_of(monkeypatch)
    rare, each = Every(4), Recorder()
    classifier().fit(*data(), epochs=6, callbacks=[rare, each])
    assert seen == [1] * 6
    assert rare.epochs("epoch_end") == [3]
    assert [call[1] for call in each.calls if call[0] == "epoch_end"] == list(range(6))


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_iterations_of_a_solver_are_counted_alike(optimizer):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    callback = Every(3)
    model = Model([4, 1], loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
    model.fit(X, np.sin(X[:, 0]), epochs=7, callbacks=callback)
    assert callback.epochs("epoch_end") == [2, 5]


def test_training_that_is_stopped_in_a_rare_call(monkeypatch):
    slices_of(monkeypatch)
    stop = calling("on_epoch_end", lambda model: setattr(model, "stop_training", True))
    stop.call_every = 4
    record = classifier().fit(*data(), epochs=20, callbacks=stop)
    assert len(record) == 4
    assert record.stopped == "stop_training"


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "2", None])
def test_call_every_is_checked(wrong):
    model = classifier()
    with pytest.raises((TypeError, ValueError), match=r"callbacks\[1\].call_every must be"):
        model.fit(*data(), callbacks=[Recorder(), Every(wrong)])
    assert not model.history
