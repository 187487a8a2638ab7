"""Populations: each net is the one that is trained alone, whatever its neighbours and the threads do.

All tests run with both engines: a net per thread has the bits of a model that is trained alone, nets in the lanes of
vectors are the same to rounding, and have the bits of any other population.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import Dense, Model, Population
from fastnn._data.prepare import split_validation
from fastnn._population import choose
from fastnn.callbacks import EarlyStopping, LambdaCallback, ReduceLROnPlateau, TerminateOnNaN
from fastnn.kernels.nn import rules

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (100, 3)).astype(np.float32)
Y = np.sin(X).sum(axis=1)
X_VAL, Y_VAL = X[80:], Y[80:]
X_TRAIN, Y_TRAIN = X[:80], Y[:80]
LABELS = (Y > 0).astype(int)
LAYERS = [Dense(5, "tanh"), 1]


@pytest.fixture(autouse=True, params=["lanes", "threads"])
def engine(request, monkeypatch):
    """Train all nets by one of the engines."""
    monkeypatch.setattr(choose, "MAX_LAYER_WEIGHTS", {"lanes": 512, "threads": 0}[request.param])
    monkeypatch.setattr(sys.modules[__name__], "ENGINE", request.param)
    return request.param


ENGINE = ""


def close(found, expected):
    """Whether numbers are the same: to the bit by threads, to rounding in lanes."""
    found, expected = np.asarray(found), np.asarray(expected)
    if ENGINE == "threads":
        return np.array_equal(found, expected, equal_nan=True)
    tolerance = 1e-9 if found.dtype == np.float64 and found.ndim > 1 else 1e-4
    return np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def same_state(a, b):
    """Whether two models have the same weights; their next epochs show the optimizers' memory."""
    return all(close(one, other) for one, other in zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True))


def same_bits(a, b):
    return all(
        np.array_equal(one, other)
        for one, other in zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True)
    )


def alone(seed, layers=LAYERS, *, fits=({},), data=(X_TRAIN, Y_TRAIN), **settings):
    model = Model(layers, seed=seed, n_threads=1, **({"loss": "squared_error"} | settings))
    for arguments in fits:
        model.fit(*data, **({"epochs": 3} | arguments))
    return model


OPTIMIZERS = [
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam", "lion",
    fastnn.Adam(0.01, global_clipnorm=0.5), fastnn.Adam(0.01, clipvalue=0.01), fastnn.SGD(0.1, ema_momentum=0.9),
    fastnn.Adam(fastnn.schedules.Cosine(0.01, epochs=9)), fastnn.Adam(lambda epoch: 0.01 / (1 + epoch)),
    fastnn.AdamW(0.01, weight_decay=0.1), "lbfgs", "lm",
]  # fmt: skip


# --------------------------------------------------------------------------------------- the same as one alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_net_is_the_one_trained_alone(optimizer, dtype):
    settings = {"optimizer": optimizer, "regularizer": fastnn.L2(1e-3), "dtype": dtype}
    population = Population(LAYERS, 3, loss="squared_error", seed=5, n_threads=2, **settings)
    for _ in range(2):
        history = population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    for k in range(3):
        model = alone(5 + k, fits=({}, {}), **settings)
        assert same_state(population[k], model)
        assert close(population.predict(X)[k], model.predict(X))
        assert close(population[k].history["loss"], model.history["loss"])
        n = len(history["loss"][:, k][~np.isnan(history["loss"][:, k])])
        assert close(history["loss"][:n, k], model.history["loss"][-n:])
        if "learning_rate" in model.history:
            assert history["learning_rate"][:n, k].tolist() == model.history["learning_rate"][-n:]


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([], "squared_error", Y),
        ([Dense(7, "relu", dropout=0.2, max_norm=1.0), Dense(2)], "softmax_crossentropy", LABELS),
        ([Dense(7, "gelu"), Dense(1, "sigmoid")], "binary_crossentropy", LABELS),
        ([Dense(7, "elu", use_bias=False), Dense(2)], fastnn.losses.softmax_crossentropy(0.1), LABELS),
        ([Dense(3, trainable=False), Dense(2)], "gaussian_nll", Y),
        ([4, 2], fastnn.losses.quantile(0.1, 0.9), Y),
        ([4, 1], "sum_of_squares", Y),
    ],
    ids=["no hidden layer", "dropout", "sigmoid", "smoothing", "frozen", "quantiles", "sum"],
)
@pytest.mark.parametrize("batch_size", [1, 7, 32, None, 1000])
def test_layers_losses_and_batches(layers, loss, y, batch_size):
    population = Population(layers, 2, loss=loss, seed=1, optimizer=fastnn.Adam(1e-3))
    arguments = {"batch_size": batch_size, "epochs": 2}
    population.fit(X, y, **arguments)
    for k in range(2):
        model = alone(1 + k, layers, loss=loss, data=(X, y), fits=(arguments,), optimizer=fastnn.Adam(1e-3))
        assert same_state(population[k], model)
        assert population[k].history.history.keys() == model.history.history.keys()


ACTIVATIONS = [rule.name for rule in rules.ACTIVATIONS if not rule.rows]
LOSSES = [
    "squared_error", "sum_of_squares", "absolute_error", "huber", "poisson", "gaussian_nll",
    "binary_crossentropy", "softmax_crossentropy", fastnn.losses.quantile(0.1, 0.9),
]  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "loss", "optimizer"),
    [
        *((name, "squared_error", "adam") for name in ACTIVATIONS),
        *(("tanh", loss, "adam") for loss in LOSSES),
        *(("tanh", "squared_error", optimizer) for optimizer in OPTIMIZERS if optimizer not in ("lbfgs", "lm")),
    ],
    ids=str,
)
def test_a_hundred_steps_in_double_precision(activation, loss, optimizer):
    optimizer = fastnn.optimizers.get(optimizer)
    if not callable(optimizer.learning_rate):
        optimizer = dataclasses.replace(optimizer, learning_rate=1e-3)
    classes = "crossentropy" in str(loss)
    settings = {"loss": loss, "optimizer": optimizer, "dtype": "float64"}
    layers, y = [Dense(6, activation), 2 if "softmax" in str(loss) or "gaussian" in str(loss) else 1], np.abs(Y)
    if isinstance(loss, fastnn.losses.Loss):
        layers = [Dense(6, activation), 2]
    data = (X_TRAIN, LABELS[:80] if classes else y[:80])
    fit = {"epochs": 9, "batch_size": 7}
    population = Population(layers, 2, seed=3, **settings)
    population.fit(*data, **fit)
    for k in range(2):
        assert same_state(population[k], alone(3 + k, layers, data=data, fits=(fit,), **settings))


def test_settings_of_each_net():
    layers = [[4, 1], [Dense(6, "tanh"), 1], [4, 1]]
    optimizers = [fastnn.SGD(0.1), "adam", fastnn.SGD(0.01, momentum=0.5)]
    losses, regularizers, seeds = ["squared_error", "huber", "absolute_error"], [None, "l1", fastnn.L2(0.1)], [3, 3, 9]
    population = Population(layers, loss=losses, optimizer=optimizers, regularizer=regularizers, seed=seeds)
    assert len(population) == 3
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    for k, model in enumerate(population):
        same = alone(seeds[k], layers[k], loss=losses[k], optimizer=optimizers[k], regularizer=regularizers[k])
        assert same_state(model, same)


def test_neighbours_and_threads_change_no_bit():
    found = []
    for n, threads in ((1, 1), (4, 1), (4, 2), (9, 3)):
        population = Population(LAYERS, n, loss="squared_error", seed=2, n_threads=threads)
        population.fit(X_TRAIN, Y_TRAIN, epochs=4, validation_data=(X_VAL, Y_VAL))
        found.append(population[0])
    assert all(same_bits(found[0], other) for other in found[1:])
    assert found[0].history["val_loss"] == found[-1].history["val_loss"]


def test_a_net_goes_on_by_itself():
    population = Population(LAYERS, 2, loss="squared_error", optimizer="nadam", seed=0)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    population[1].fit(X_TRAIN, Y_TRAIN, epochs=3)
    assert same_state(population[1], alone(1, fits=({}, {}), optimizer="nadam"))
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    assert same_state(population[1], alone(1, fits=({}, {}, {}), optimizer="nadam"))
    assert same_state(population[0], alone(0, fits=({}, {}), optimizer="nadam"))
    assert population[1].history.epoch == list(range(9))


def test_existing_models():
    models = [alone(0), alone(1, [8, 1]), Model([], loss="squared_error", seed=2)]
    population = Population.of(models, n_threads=1)
    assert list(population) == models
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    assert same_state(models[0], alone(0, fits=({}, {})))
    assert same_state(models[1], alone(1, [8, 1], fits=({}, {})))
    assert same_state(models[2], alone(2, []))


# ------------------------------------------------------------------------------------------------------- rows


def test_weights_of_rows_for_each_net():
    weights = RNG.integers(0, 3, (3, 80))
    population = Population(LAYERS, 3, loss="squared_error", seed=0)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3, sample_weight=weights)
    for k in range(3):
        assert same_state(population[k], alone(k, fits=({"sample_weight": weights[k]},)))
    population = Population(LAYERS, 3, loss="squared_error", seed=0)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3, sample_weight=weights[0])
    assert same_state(population[2], alone(2, fits=({"sample_weight": weights[0]},)))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.3, 1: 7.0}])
def test_weights_of_classes_and_rows(class_weight):
    weights = RNG.uniform(0.1, 3, (2, 100))
    population = Population([4, 2], 2, loss="softmax_crossentropy", seed=0)
    population.fit(X, LABELS, epochs=3, sample_weight=weights, class_weight=class_weight)
    for k in range(2):
        fit = {"sample_weight": weights[k], "class_weight": class_weight}
        same = alone(k, [4, 2], loss="softmax_crossentropy", data=(X, LABELS), fits=(fit,))
        assert same_state(population[k], same)


def test_one_order_for_all_nets():
    population = Population(LAYERS, loss="squared_error", seed=[4, 4, 5])
    population.fit(X_TRAIN, Y_TRAIN, epochs=2, order="shared")
    population.fit(X_TRAIN, Y_TRAIN, epochs=2, order="shared")
    same = alone(4, fits=({"epochs": 2}, {"epochs": 2}))
    assert same_state(population[0], same)
    assert same_state(population[1], same)
    assert not same_state(population[2], alone(5, fits=({"epochs": 4},)))


def test_no_shuffling():
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3, shuffle=False)
    assert same_state(population[1], alone(1, fits=({"shuffle": False},)))


def test_validation():
    population = Population([4, 2], 3, loss="softmax_crossentropy", seed=0)
    history = population.fit(X_TRAIN, LABELS[:80], epochs=3, validation_data=(X_VAL, LABELS[80:]))
    for k in range(3):
        fit = {"validation_data": (X_VAL, LABELS[80:])}
        same = alone(k, [4, 2], loss="softmax_crossentropy", data=(X_TRAIN, LABELS[:80]), fits=(fit,))
        for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert population[k].history[name] == history[name][:, k].tolist()
            assert close(history[name][:, k], same.history[name])


def test_validation_split_is_that_of_the_first_seed():
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    population.fit(X, Y, epochs=3, validation_split=0.2)
    same = alone(0, data=(X, Y), fits=({"validation_split": 0.2},))
    assert same_state(population[0], same)
    assert close(population[0].history["val_loss"], same.history["val_loss"])
    weights = np.ones((2, 100))
    other = Population(LAYERS, 2, loss="squared_error", seed=0)
    other.fit(X, Y, epochs=3, validation_split=0.2, sample_weight=weights)
    assert np.allclose(other[1].weights[0], population[1].weights[0])


@pytest.mark.parametrize("optimizer", [fastnn.SGD(0.01), "l-bfgs"], ids=["steps", "solver"])
def test_rows_held_out_have_the_weights_of_each_net(optimizer):
    weights = RNG.integers(0, 3, (3, 100)).astype(float)
    settings = {"loss": "squared_error", "dtype": "float64", "metrics": ["mae", "r2"]}
    # A net that leaves takes its weights along.
    population = Population(LAYERS, seed=0, optimizer=[optimizer, fastnn.SGD(1e300), optimizer], **settings)
    with pytest.warns(fastnn.TrainingWarning, match="1 of 3"):
        history = population.fit(X, Y, epochs=3, validation_split=0.3, sample_weight=weights)
    train, held = split_validation(100, 0.3, 0)
    for k in (0, 2):
        same = Model(LAYERS, seed=k, optimizer=optimizer, **settings)
        own = {"sample_weight": weights[k][train], "validation_data": (X[held], Y[held], weights[k][held])}
        single = same.fit(X[train], Y[train], epochs=3, **own)
        for name in ("loss", "val_loss", "val_mean_absolute_error", "val_r2"):
            np.testing.assert_allclose(history[name][:, k], single[name], rtol=1e-9, err_msg=name)


def test_weights_of_classes_do_not_count_in_rows_held_out():
    weights = RNG.uniform(0.1, 3, (2, 100))
    population = Population([4, 2], 2, loss="softmax_crossentropy", seed=0)
    fit = {"validation_split": 0.3, "class_weight": {0: 0.3, 1: 7.0}}
    history = population.fit(X, LABELS, epochs=2, sample_weight=weights, **fit)
    same = alone(0, [4, 2], loss="softmax_crossentropy", data=(X, LABELS),
                 fits=({**fit, "epochs": 2, "sample_weight": weights[0]},))  # fmt: skip
    assert close(history["val_loss"][:, 0], same.history["val_loss"])


def test_a_net_without_weight_in_the_rows_held_out():
    train, held = split_validation(100, 0.3, 0)
    for part, role in ((train, "training"), (held, "validation")):
        weights = np.ones((2, 100))
        weights[1, part] = 0.0
        population = Population(LAYERS, 2, loss="squared_error", seed=0)
        text = rf"sample_weight\[1\] is 0 in all {len(part)} rows that validation_split=0.3 leaves for {role}"
        with pytest.raises(ValueError, match=text):
            population.fit(X, Y, validation_split=0.3, sample_weight=weights)


def test_metrics_that_are_functions():
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max()

    fit = {"validation_data": (X_VAL, Y_VAL)}
    population = Population(LAYERS, 2, loss="squared_error", seed=0, metrics=["mse", largest])
    history = population.fit(X_TRAIN, Y_TRAIN, epochs=3, **fit)
    same = alone(1, metrics=["mse", largest], fits=(fit,))
    for name in ("mean_squared_error", "largest", "val_largest"):
        assert close(history[name][:, 1], same.history[name])
    assert close(population.evaluate(X, Y)["largest"][1], same.evaluate(X, Y)["largest"])


# -------------------------------------------------------------------------------------------------- callbacks


def test_early_stopping_of_each_net():
    fit = {
        "epochs": 60, "validation_data": (X_VAL, Y_VAL), "callbacks": EarlyStopping(patience=2, min_delta=0.003)
    }  # fmt: skip
    population = Population(LAYERS, 6, loss="squared_error", optimizer=fastnn.Adam(0.05), seed=0)
    history = population.fit(X_TRAIN, Y_TRAIN, **fit)
    counts = (~np.isnan(history["loss"])).sum(axis=0)
    assert len(set(counts.tolist())) > 1  # survivors go on after others
    assert len(history) == counts.max()
    for k in range(6):
        own = fit | {"callbacks": EarlyStopping(patience=2, min_delta=0.003)}
        same = alone(k, optimizer=fastnn.Adam(0.05), fits=(own,))
        assert same_state(population[k], same)
        assert close(population[k].history["val_loss"], same.history["val_loss"])
        assert history.stopped[k] == same.history.stopped == population[k].history.stopped
        assert history.callbacks[k][0].best_epoch == own["callbacks"].best_epoch
        best = min(same.history["val_loss"]) if history.callbacks[k][0].best is None else history.callbacks[k][0].best
        assert population[k].evaluate(X_VAL, Y_VAL)["loss"] == pytest.approx(best, rel=1e-6)
    bests = [callbacks[0].best for callbacks in history.callbacks]
    assert population.rank().tolist() == np.argsort(bests, kind="stable").tolist()
    assert population.best() is population[int(np.argmin(bests))]


def test_the_rate_of_each_net():
    plateau = ReduceLROnPlateau("loss", patience=1, min_delta=0.05)
    population = Population(LAYERS, 3, loss="squared_error", optimizer=fastnn.Adam(0.05), seed=0)
    history = population.fit(X_TRAIN, Y_TRAIN, epochs=12, callbacks=plateau)
    for k in range(3):
        own = {"epochs": 12, "callbacks": ReduceLROnPlateau("loss", patience=1, min_delta=0.05)}
        same = alone(k, optimizer=fastnn.Adam(0.05), fits=(own,))
        assert history["learning_rate"][:, k].tolist() == same.history["learning_rate"]
        assert same_state(population[k], same)
    assert len(set(history["learning_rate"].ravel().tolist())) > 1


class Watcher(fastnn.Callback):
    """Writes down its calls; ends the training of the net of seed 1."""

    def __init__(self, every=1):
        self.calls = []
        self.call_every = every

    def on_train_begin(self, logs):
        self.calls.append(("begin", sorted(self.params)))

    def on_epoch_begin(self, epoch, logs):
        self.calls.append(("epoch", epoch))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((epoch, list(logs), len(self.model.history)))
        if self.model.seed == 1 and epoch >= 3:
            self.model.stop_training = "enough"

    def on_train_end(self, logs):
        self.calls.append(("end", list(logs)))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_calls_of_callbacks(every):
    mine = Watcher(every)
    population = Population(LAYERS, 3, loss="squared_error", seed=0)
    history = population.fit(X_TRAIN, Y_TRAIN, epochs=7, callbacks=mine)
    assert mine.calls == []
    for k in range(3):
        own = Watcher(every)
        same = alone(k, fits=({"epochs": 7, "callbacks": own},))
        assert history.callbacks[k][0].calls == own.calls
        assert history.stopped[k] == same.history.stopped == ("enough" if k == 1 else None)
        assert same_state(population[k], same)


def test_an_error_of_a_callback_ends_the_training_and_keeps_the_record():
    def fail(epoch, logs):
        if epoch == 2:
            raise KeyError("mine")

    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    with pytest.raises(KeyError, match="mine"):
        population.fit(X_TRAIN, Y_TRAIN, epochs=9, callbacks=LambdaCallback(on_epoch_end=fail))
    assert [model.history.epoch for model in population] == [[0, 1, 2]] * 2
    population.fit(X_TRAIN, Y_TRAIN, epochs=2)
    assert same_state(population[1], alone(1, fits=({"epochs": 5},)))


def test_an_interrupt_keeps_the_record():
    def interrupt(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    with pytest.raises(KeyboardInterrupt):
        population.fit(X_TRAIN, Y_TRAIN, epochs=9, callbacks=LambdaCallback(on_epoch_end=interrupt))
    assert [model.history.stopped for model in population] == ["interrupted"] * 2
    population.fit(X_TRAIN, Y_TRAIN, epochs=2)
    assert same_state(population[1], alone(1, fits=({"epochs": 5},)))


def test_a_function_of_the_rate_that_fails_reaches_the_caller():
    population = Population(LAYERS, 2, loss="squared_error", optimizer=fastnn.SGD(lambda epoch: -1.0), seed=0)
    with pytest.raises(ValueError, match="rate of learning_rate"):
        population.fit(X_TRAIN, Y_TRAIN)
    assert not population[0].built


def test_callbacks_that_write_one_file_are_refused(tmp_path):
    population = Population(LAYERS, 2, loss="squared_error")
    for callback in (fastnn.CSVLogger(tmp_path / "a.csv"), fastnn.ModelCheckpoint(tmp_path / "a.npz")):
        with pytest.raises(ValueError, match="one file"):
            population.fit(X, Y, callbacks=[callback])


# ------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("threads", [1, 2])
def test_a_net_that_diverges_stops_alone(threads):
    optimizers = [fastnn.SGD(0.01), fastnn.SGD(1e30), fastnn.SGD(0.01)]
    population = Population(LAYERS, loss="squared_error", optimizer=optimizers, seed=[0, 1, 2], n_threads=threads)
    with pytest.warns(fastnn.TrainingWarning, match="1 of 3 nets diverged"):
        history = population.fit(X_TRAIN, Y_TRAIN, epochs=5)
    assert history.stopped == [None, "diverged", None]
    assert np.isfinite(population[1].weights[0]).all()
    assert np.isnan(history["loss"][-1, 1])
    assert not np.isnan(history["loss"][:, [0, 2]]).any()
    for k in (0, 2):
        assert same_state(population[k], alone(k, optimizer=optimizers[k], fits=({"epochs": 5},)))
    single = Model(LAYERS, loss="squared_error", optimizer=optimizers[1], seed=1)
    with pytest.raises(fastnn.DivergenceError):
        single.fit(X_TRAIN, Y_TRAIN, epochs=5)
    assert same_state(population[1], single)


def test_quiet_divergence():
    population = Population(LAYERS, 2, loss="squared_error", optimizer=fastnn.SGD(1e30), seed=0)
    history = population.fit(X_TRAIN, Y_TRAIN, epochs=5, callbacks=TerminateOnNaN())
    assert history.stopped == ["diverged"] * 2
    assert "2 stopped: diverged" in repr(history)


# ----------------------------------------------------------------------------------- predictions and ranking


def test_predict_and_evaluate():
    population = Population([4, 2], 3, loss="softmax_crossentropy", seed=0)
    population.fit(X, LABELS, epochs=2)
    outputs, probabilities, scores = population.predict(X), population.predict_proba(X), population.evaluate(X, LABELS)
    assert outputs.shape == probabilities.shape == (3, 100, 2)
    weighted = population.evaluate(X, LABELS, sample_weight=np.arange(100))
    for k, model in enumerate(population):
        assert np.array_equal(outputs[k], model.predict(X))
        assert np.array_equal(probabilities[k], model.predict_proba(X))
        assert {name: values[k] for name, values in scores.items()} == dict(model.evaluate(X, LABELS).items())
        assert weighted["loss"][k] == model.evaluate(X, LABELS, sample_weight=np.arange(100))["loss"]


def test_rank():
    population = Population(LAYERS, 4, loss="squared_error", seed=0)
    history = population.fit(X_TRAIN, Y_TRAIN, epochs=4)
    assert population.rank().tolist() == np.argsort(history["loss"][-1]).tolist()
    assert population.rank([3, 1, np.nan, 1]).tolist() == [1, 3, 0, 2]
    assert population.best(key=[3, 1, 2, 0]) is population[3]
    assert population.best(2, key=[3, 1, 2, 0]) == [population[3], population[1]]
    classifiers = Population([4, 2], 4, loss="softmax_crossentropy", seed=0)
    accuracy = classifiers.fit(X, LABELS, epochs=4).last("accuracy")
    assert classifiers.rank("accuracy").tolist() == np.argsort(-accuracy, kind="stable").tolist()


def test_a_history_as_a_frame():
    pytest.importorskip("pandas")
    stopping = EarlyStopping("loss", patience=1, min_delta=0.05)
    history = Population(LAYERS, 4, loss="squared_error", optimizer=fastnn.Adam(0.03), seed=0).fit(
        X_TRAIN, Y_TRAIN, epochs=30, callbacks=stopping
    )
    frame = history.to_frame()
    assert list(frame.columns) == list(history.history)
    assert frame.index.names == ["epoch", "net"]
    assert len(frame) == (~np.isnan(history["loss"])).sum() < history["loss"].size
    np.testing.assert_array_equal(frame["loss"].unstack("net"), history["loss"])
    empty = fastnn.PopulationHistory({}, [None, None], {}, [(), ()]).to_frame()
    assert empty.shape == (0, 0)


def test_a_slice_is_a_population_of_the_same_nets():
    population = Population(LAYERS, 5, loss="squared_error", seed=0)
    part = population[1:4]
    assert isinstance(part, Population)
    assert list(part) == [population[k] for k in (1, 2, 3)]
    assert population[-1] is population[4]


def test_texts():
    population = Population([[4, 1], [4, 1], [1]], loss="squared_error", seed=0)
    assert repr(population).startswith("Population(3 nets")
    lines = []
    population.fit(X, Y)
    population.summary(lines.append)
    assert lines[0] == "2 nets (0-1):"
    assert "1 nets (2):" in lines
    assert "squared_error" in lines[-1]


def test_display(capsys):
    Population(LAYERS, 2, loss="squared_error", seed=0).fit(X, Y, epochs=3, verbose=True)
    shown = capsys.readouterr().err
    assert "epoch 3/3" in shown
    assert "best=" in shown


# ------------------------------------------------------------------------------------------------ persistence


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(tmp_path, dtype):
    layers = [[4, 1], [6, 1], [4, 1]]
    optimizers = [fastnn.Adam(0.01), "nadam", fastnn.SGD(fastnn.schedules.Cosine(0.1, epochs=9), momentum=0.5)]
    population = Population(layers, loss="squared_error", optimizer=optimizers, seed=0, dtype=dtype)
    stopping = EarlyStopping("loss", patience=2)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3, callbacks=stopping)
    population[0].fit(X_TRAIN, Y_TRAIN, epochs=1, validation_data=(X_VAL, Y_VAL))
    path = tmp_path / "nets.npz"
    population.save(path)
    loaded = fastnn.load_population(path)
    assert loaded.rank("loss").tolist() == population.rank("loss").tolist()
    for population_ in (population, loaded):
        population_.fit(X_TRAIN, Y_TRAIN, epochs=2)
    for a, b in zip(population, loaded, strict=True):
        assert same_state(a, b)
        assert a.history["loss"] == b.history["loss"]
        assert a.optimizer == b.optimizer


def test_a_population_without_weights_can_be_saved(tmp_path):
    path = tmp_path / "nets.npz"
    Population(LAYERS, 2, loss="squared_error", seed=3).save(path)
    loaded = fastnn.load_population(path)
    loaded.fit(X_TRAIN, Y_TRAIN, epochs=3)
    assert same_state(loaded[1], alone(4))


def test_files_of_the_other_kind(tmp_path):
    one, many = tmp_path / "one.npz", tmp_path / "many.npz"
    alone(0).save(one)
    Population(LAYERS, 2, loss="squared_error").save(many)
    with pytest.raises(ValueError, match=r"call fastnn\.load_population"):
        fastnn.load(many)
    with pytest.raises(ValueError, match=r"call fastnn\.load\."):
        fastnn.load_population(one)
    many.write_bytes(many.read_bytes()[:-100])
    with pytest.raises(ValueError, match="many"):
        fastnn.load_population(many)


def test_copies():
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    for other in (copy.deepcopy(population), pickle.loads(pickle.dumps(population))):
        other.fit(X_TRAIN, Y_TRAIN, epochs=3)
        assert same_state(other[1], alone(1, fits=({}, {})))
    assert same_state(population[1], alone(1))


# --------------------------------------------------------------------------------------------------- memory


def test_memory_is_that_of_the_nets():
    """Workspaces of training are one for each thread, not for each net."""
    Population([30, 30, 1], 2, loss="squared_error").fit(np.ones((4, 30)), np.ones(4))  # compiles
    gc.collect()
    tracemalloc.start()
    try:
        population = Population([30, 30, 1], 200, loss="squared_error", seed=0, n_threads=2)
        for model in population:
            model.build(30)
        nets, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        rows = np.zeros((256, 30), np.float32)
        rows[:] = RNG.standard_normal(rows.shape)
        population.fit(rows, rows[:, 0], epochs=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * nets


# ----------------------------------------------------------------------------------------- invalid arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"layers": LAYERS}, "n must be"),
        ({"layers": LAYERS, "n": 0}, "n must be"),
        ({"layers": LAYERS, "n": 2, "seed": [1, 2, 3]}, "seed has 3 items"),
        ({"layers": [[1], [1]], "seed": [1, 2, 3]}, "seed has 3 items"),
        ({"layers": [[1], [1]], "n": 3}, "layers has 2 items"),
        ({"layers": LAYERS, "optimizer": []}, "optimizer must be"),
        ({"layers": LAYERS, "n": 2, "seed": -1}, "seed must be"),
        ({"layers": LAYERS, "n": 2, "seed": 2**63 - 1}, "seed must be"),
        ({"layers": LAYERS, "optimizer": ["adam", "nothing"]}, "optimizer must be"),
        ({"layers": LAYERS, "n": 2, "n_threads": 0}, "n_threads must be"),
        ({"layers": "adam", "n": 2}, "layers must be"),
    ],
)
def test_invalid_settings(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        Population(**({"loss": "squared_error"} | arguments))


def test_models_twice():
    model = alone(0)
    with pytest.raises(ValueError, match=r"models\[1\] is models\[0\] once more"):
        Population.of([model, model])
    with pytest.raises(ValueError, match="at least one"):
        Population.of([])
    with pytest.raises(TypeError, match=r"models\[0\]"):
        Population.of(["model"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"order": "mine"}, "order must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"shuffle": 1}, "shuffle must be"),
        ({"sample_weight": np.ones((3, 100))}, "sample_weight must be"),
        ({"sample_weight": np.vstack([np.ones(100), np.zeros(100)])}, r"sample_weight\[1\]"),
        ({"sample_weight": np.ones(99)}, "sample_weight"),
        ({"callbacks": "none"}, "callbacks must be"),
        ({"callbacks": EarlyStopping()}, "val_loss"),
        ({"validation_data": (X,)}, "validation_data must be"),
        ({"verbose": "no"}, "verbose must be"),
    ],
)
def test_an_invalid_fit_changes_nothing(arguments, text):
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    with pytest.raises((TypeError, ValueError), match=text):
        population.fit(X, Y, **arguments)
    assert not any(model.built for model in population)
    population.fit(X_TRAIN, Y_TRAIN, epochs=3)
    assert same_state(population[1], alone(1))


@pytest.mark.parametrize("bad", [X[:0], X[:, 0], np.full_like(X, np.nan), "text"])
def test_invalid_rows(bad):
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    with pytest.raises((TypeError, ValueError)):
        population.fit(bad, Y)
    population.fit(X, Y)
    with pytest.raises((TypeError, ValueError)):
        population.predict(bad) if len(bad) else population.evaluate(bad, Y[:0])


def test_what_needs_weights_or_a_history():
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    for call in (lambda: population.predict(X), lambda: population.evaluate(X, Y), lambda: population.predict_proba(X)):
        with pytest.raises(ValueError, match="no weights yet"):
            call()
    with pytest.raises(ValueError, match="history of each net"):
        population.rank()
    population.fit(X, Y)
    with pytest.raises(ValueError, match="key must be"):
        population.rank([1, 2, 3])
    with pytest.raises(ValueError, match="k must be at most 2"):
        population.best(3)
    with pytest.raises(ValueError, match="predict_proba needs"):
        population.predict_proba(X)


def test_outputs_of_different_widths_are_no_array():
    population = Population([[1], [2]], loss="squared_error", seed=0)
    population[0].build(3)
    population[1].build(3)
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        population.predict(X)


def test_a_net_cannot_be_in_two_trainings():
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    found = []

    def again(epoch, logs):
        with pytest.raises(RuntimeError, match="in training") as error:
            population[0].fit(X, Y)
        found.append(error)

    population.fit(X, Y, callbacks=LambdaCallback(on_epoch_end=again))
    assert len(found) == 2
    population[0].fit(X, Y)


def test_read_only_rows_of_another_type_and_order():
    rows = np.asfortranarray(X.astype(np.float64))
    rows.setflags(write=False)
    population = Population(LAYERS, 2, loss="squared_error", seed=0)
    population.fit(rows[:80], Y_TRAIN.astype(np.float64), epochs=3)
    assert same_state(population[0], alone(0))
    one = Population([1], 2, loss="squared_error", seed=0)
    one.fit(X[:1, :1], Y[:1], epochs=2, batch_size=1)
    assert same_state(one[1], alone(1, [1], data=(X[:1, :1], Y[:1]), fits=({"epochs": 2},)))
