"""Nets of dtype "mixed_bfloat16": against an oracle that rounds, and the same bits in both forms of rounded numbers."""

from __future__ import annotations

import copy
import dataclasses
import io

import numpy as np
import pytest
from driver import architecture as an_architecture
from driver import engine, problem
from models import log_cosh, log_cosh_slope, softsign, softsign_slope

import fastnn
from fastnn import Dense, Dropout, Model, Population
from fastnn._engine import architecture as architecture_module
from fastnn._engine.limits import WorkspaceLimits
from fastnn._engine.thread_team import ThreadTeam
from fastnn._training import net as net_module
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd.bfloat16 import rounded

MIXED = "mixed_bfloat16"

#: Widths: odd ones, whole vectors, one column, no hidden layer, narrow layers below, between and at the end.
NETS = {
    "odd": (13, 7, 5),
    "whole vectors": (64, 32, 16),
    "one column": (1, 9, 1),
    "no hidden layer": (11, 3),
    "narrow output": (20, 40, 1),
    "narrow first layer": (70, 2, 17, 3),
    "narrow, odd": (150, 3, 90, 3),
}


def rows(sizes, n, seed=0):
    """Features and targets of squared errors."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, sizes[0])).astype(np.float32), rng.standard_normal((n, sizes[-1])).astype(np.float32)


def model_of(sizes, *, dtype=MIXED, activation="tanh", **options):
    settings = {"loss": "squared_error", "optimizer": "adam", "seed": 3, "n_threads": 2} | options
    hidden = [Dense(units, activation) for units in sizes[1:-1]]
    return Model([*hidden, sizes[-1]], dtype=dtype, **settings).build(sizes[0])


def oracle(model, X, y, rounding):
    """Outputs and gradients for tanh and squared errors in float64; operands of products are rounded by `rounding`."""

    def product(a, b):
        return rounding(a).astype(np.float64) @ rounding(b).astype(np.float64)

    inputs = [X.astype(np.float64)]
    for k, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        z = product(inputs[-1], w) + b
        inputs.append(z if k == len(model.weights) - 1 else np.tanh(z))
    delta = 2.0 * (inputs[-1] - y) / y.size
    of_weights, of_biases = [], []
    for k in reversed(range(len(model.weights))):
        of_weights.insert(0, product(inputs[k].T, delta))
        of_biases.insert(0, delta.sum(axis=0))
        delta = product(delta, model.weights[k].T) * (1.0 - inputs[k] ** 2)
    return inputs[-1], of_weights, of_biases


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("n", [1, 6, 33])
@pytest.mark.parametrize("sizes", NETS.values(), ids=NETS)
def test_outputs_and_gradients_are_those_of_rounded_operands(sizes, n):
    model = model_of(sizes)
    X, y = rows(sizes, n)
    outputs, of_weights, of_biases = oracle(model, X, y, rounded)
    exact, exact_weights, _ = oracle(model, X, y, np.asarray)
    got = model.predict(X)
    assert got.dtype == np.float32
    # A number between two neighbours may be rounded the other way after another rounding of float32.
    assert distance(got, outputs) < 0.2 * distance(exact, outputs) + 1e-6
    _, weights, biases = model.gradient(X, y)
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        assert distance(w, of_weights[k]) < 0.2 * distance(exact_weights[k], of_weights[k]) + 1e-6, k
        assert distance(b, of_biases[k]) < 1e-3, k


def test_the_error_of_a_product_is_within_the_bound_of_two_roundings():
    X, _ = rows((300, 1), 200)
    model = model_of((300, 40))
    w = model.weights[0]
    exact = X.astype(np.float64) @ w + model.biases[0]
    size = np.abs(X.astype(np.float64)) @ np.abs(w)
    u = 2.0**-8  # bfloat16 has 8 bits
    error = np.abs(model.predict(X) - exact)
    assert (error <= (2 * u + u * u + 300 * 2.0**-24) * size).all()
    assert (error > 300 * 2.0**-24 * size).any()  # more than float32's sums have


def test_gradients_point_where_those_of_float64_point():
    for seed in range(5):
        sizes = (50, 64, 64, 10)
        X, y = rows(sizes, 100, seed)
        model = model_of(sizes, activation="relu", seed=seed)
        a, b = (np.concatenate([w.ravel() for w in m.gradient(X, y)[1]]) for m in (model, model.astype("float64")))
        assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.999


# -------------------------------------------------------------------------------------- one result in both forms

CUSTOM = fastnn.custom.activation(softsign, softsign_slope)


def trainings():
    """Yield names, nets and settings that take different ways through the kernels."""
    relu = [Dense(24, "relu"), Dense(9, "gelu"), 3]
    yield "plain", relu, {}, {}
    yield "batch 1", relu, {}, {"batch_size": 1}
    yield "odd batches", relu, {}, {"batch_size": 7}
    yield "shards", relu, {}, {"batch_size": 1100}
    yield "all rows", [Dense(700, "tanh"), 3], {}, {"batch_size": 1301}
    yield "narrow layers", [Dense(90, "tanh"), Dense(2, "tanh"), Dense(40, "silu"), 1], {}, {}
    yield "dropout", [Dropout(0.3), Dense(24, "relu"), Dropout(0.5), Dense(9, "tanh"), 3], {}, {}
    yield "frozen", [Dense(24, "relu"), Dense(9, "relu", trainable=False), Dense(8, "relu"), 3], {}, {}
    yield "frozen first", [Dense(24, "relu", trainable=False), Dense(9, "relu"), 3], {}, {}
    yield "max_norm", [Dense(24, "relu", max_norm=0.7), Dense(9, "relu"), 3], {}, {}
    yield "clipped", relu, {"optimizer": fastnn.Adam(0.01, global_clipnorm=0.1)}, {}
    yield "clipped by value", relu, {"optimizer": fastnn.SGD(0.1, clipvalue=0.01)}, {}
    yield "average", relu, {"optimizer": fastnn.Adam(0.01, ema_momentum=0.9)}, {}
    yield "penalty", relu, {"regularizer": fastnn.L1L2(1e-3, 1e-3), "optimizer": "adamw"}, {}
    yield "custom activation", [Dense(24, CUSTOM), Dense(9, "relu"), 3], {}, {}
    yield "custom loss", relu, {"loss": fastnn.custom.loss(log_cosh, log_cosh_slope)}, {}
    yield "adversary", relu, {}, {"adversary": fastnn.robust.PGD(0.1, max_iter=2)}
    yield "augmentation", relu, {}, {"augmentation": fastnn.Augmentation(noise=0.1)}
    yield "no hidden layer", [3], {}, {}


TRAININGS = {name: rest for name, *rest in trainings()}


def trained(monkeypatch, form, layers, settings, options, n_threads=2):
    monkeypatch.setattr(architecture_module, "ROUNDED_DTYPE", np.dtype(form))
    settings = {"loss": "squared_error", "optimizer": "adam", "seed": 1} | settings
    model = Model(layers, dtype=MIXED, n_threads=n_threads, **settings)
    n_outputs = layers[-1] if isinstance(layers[-1], int) else layers[-1].units
    X, y = rows((21, n_outputs), 1301)
    model.fit(X, y, epochs=2, verbose=False, **({"batch_size": 32} | options))
    parts = [*model.weights, *model.biases, model.predict(X), model.predict(X[:1]), *model.gradient(X[:50], y[:50])[1]]
    return [*map(np.array, parts), np.array(model.history["loss"] + list(model.evaluate(X, y).values()))]


@pytest.mark.skipif(JIT_DISABLED, reason="trainings are slow as Python, and the twins round sums twice")
@pytest.mark.parametrize("name", TRAININGS)
def test_both_forms_give_the_same_bits(monkeypatch, name):
    a, b = (trained(monkeypatch, form, *TRAININGS[name]) for form in (np.uint32, np.float32))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert np.isfinite(x).all()


@pytest.mark.skipif(JIT_DISABLED, reason="trainings are slow as Python")
@pytest.mark.parametrize("form", [np.uint32, np.float32])
@pytest.mark.parametrize("name", ["plain", "shards", "all rows", "narrow layers", "dropout"])
def test_bits_do_not_depend_on_threads(monkeypatch, name, form):
    results = [trained(monkeypatch, form, *TRAININGS[name], n_threads=n) for n in (1, 2, 4)]
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("form", [np.uint32, np.float32])
def test_the_gradient_of_a_batch_does_not_depend_on_chunks(form):
    arch = dataclasses.replace(
        an_architecture([9, 6, 4], dtype=np.float32), mixed=True, rounded_dtype=np.dtype(form)
    )
    found = []
    for min_chunk in (200, 33, 8):
        limits = WorkspaceLimits(min_chunk=min_chunk, chunk_bytes=1, max_shards=1)
        made, data = engine(arch, limits=limits), problem(arch, 101).data()
        with ThreadTeam(1) as team:
            found.append(made.gradient(data, team=team)[1])
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


# ---------------------------------------------------------------------------------------------- what stays float32


def test_updates_smaller_than_a_step_of_bfloat16_add_up():
    sizes = (8, 4)
    X, y = rows(sizes, 16)
    moved = []
    for dtype in ("float32", MIXED):
        model = model_of(sizes, dtype=dtype, optimizer=fastnn.SGD(1e-5))
        before = model.weights[0].copy()
        model.fit(X, y, epochs=1000, batch_size=16, verbose=False)
        moved.append(model.weights[0] - before)
        assert np.abs(moved[-1] / before).max() < 1000 * 2.0**-9  # one update is less than half a step
    assert distance(*moved) < 0.02


def test_dtypes_and_names():
    model = model_of((5, 4, 2))
    assert model.dtype == np.float32
    assert model.dtype_policy == MIXED
    assert all(a.dtype == np.float32 for a in (*model.weights, *model.biases))
    assert model.summary(print_fn=lambda text: None) is None
    assert Model([3], loss="squared_error").dtype_policy == "float32"
    assert Model([3], loss="squared_error", dtype=np.float64).dtype_policy == "float64"
    assert MIXED in repr(model) or MIXED in model._repr_html_()


@pytest.mark.parametrize("wrong", ["bfloat16", "mixed_float16", "float16", MIXED.upper(), MIXED.encode(), None, 16])
def test_other_names_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^dtype must be 'float32', 'float64' or 'mixed_bfloat16', got "):
        Model([3], loss="squared_error", dtype=wrong)


def test_astype():
    X, y = rows((6, 2), 40)
    model = model_of((6, 5, 2))
    model.fit(X, y, epochs=2, verbose=False)
    single = model.astype("float32")
    assert (single.dtype_policy, model.dtype_policy) == ("float32", MIXED)
    assert not np.array_equal(single.predict(X), model.predict(X))
    back = single.astype(MIXED)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    for a, b in ((model, back), (copy.deepcopy(model), single.astype("float64").astype(MIXED))):
        a, b = copy.deepcopy(a), copy.deepcopy(b)
        for m in (a, b):
            m.fit(X, y, epochs=2, verbose=False)  # optimizer state and epochs are the same
        np.testing.assert_array_equal(a.weights[0], b.weights[0])
        assert a.history["loss"] == b.history["loss"]
    assert np.shares_memory(single.weights[0], model.weights[0]) is False
    with pytest.raises(ValueError, match=r"^dtype must be 'float32', 'float64' or 'mixed_bfloat16', got 'half'"):
        model.astype("half")


def test_astype_refuses_what_does_not_fit():
    model = model_of((3, 2), dtype="float64")
    model.weights[0][0, 0] = 1e300
    with pytest.raises(ValueError, match=r"^dtype must be one whose range includes all weights"):
        model.astype("float32")
    assert model.weights[0][0, 0] == 1e300


def test_training_goes_on_exactly_from_a_file():
    X, y = rows((6, 2), 60)
    model = model_of((6, 5, 2))
    model.fit(X, y, epochs=3, batch_size=7, verbose=False)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = fastnn.load(file)
    assert loaded.dtype_policy == MIXED
    for m in (model, loaded):
        m.fit(X, y, epochs=3, batch_size=7, verbose=False)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_the_caller_writes_are_used():
    X, y = rows((6, 2), 10)
    model = model_of((6, 5, 2))
    before = model.predict(X)
    for w in model.weights:
        w *= 2.0
    after = model.predict(X)
    assert not np.array_equal(before, after)
    other = model_of((6, 5, 2))
    other.weights = model.weights
    np.testing.assert_array_equal(other.predict(X), after)
    assert model.evaluate(X, y) == other.evaluate(X, y)


def test_derivatives_are_those_of_float32():
    X, _ = rows((6, 2), 10)
    model = model_of((6, 5, 2))
    single = model.astype("float32")
    np.testing.assert_array_equal(model.jacobian(X), single.jacobian(X))
    ones = np.ones((10, 2), np.float32)
    for a, b in zip(model.vjp(X, ones), single.vjp(X, ones), strict=True):
        np.testing.assert_array_equal(a, b)


def test_solvers_and_steps_from_outside_run():
    X, y = rows((6, 2), 30)
    for optimizer in ("lbfgs", "lm"):
        model = model_of((6, 5, 2), optimizer=optimizer)
        before = model.evaluate(X, y)["loss"]
        model.fit(X, y, epochs=5, verbose=False)
        assert model.evaluate(X, y)["loss"] < before
    model = model_of((6, 5, 2))
    before = model.evaluate(X, y)["loss"]
    for _ in range(20):
        model.train_on_output(X, lambda out: (float(((out - y) ** 2).mean()), 2 * (out - y) / y.size))
    assert model.evaluate(X, y)["loss"] < before


def test_divergence_is_detected():
    X, y = rows((6, 2), 30)
    model = model_of((6, 5, 2), activation="relu")
    model.weights[0][...] = 3e38  # sums of such products are infinite, and their differences NaN
    before = model.weights[0].copy()
    with pytest.raises(fastnn.DivergenceError):
        model.fit(X, y, epochs=1, verbose=False)
    np.testing.assert_array_equal(model.weights[0], before)


def test_features_beyond_bfloat16_become_infinite():
    model = model_of((2, 1))
    X = np.full((3, 2), np.finfo(np.float32).max, np.float32)  # finite, and rounded up to infinity
    with pytest.warns(RuntimeWarning, match="NaN or infinity"):
        assert not np.isfinite(model.predict(X)).any()


# ---------------------------------------------------------------------------------------------- estimators, others


def test_estimators():
    X, y = rows((6, 2), 90)
    for made, target in (
        (fastnn.MLPRegressor(hidden_layer_sizes=(8,), max_iter=3, random_state=0, dtype=MIXED), y),
        (fastnn.MLPClassifier((8,), max_iter=3, random_state=0, dtype=MIXED), (y[:, 0] > 0).astype(int)),
    ):
        with pytest.warns(Warning, match="converge|Maximum"):
            made.fit(X, target)
        assert made.coefs_[0].dtype == np.float32
        single = copy.deepcopy(made).set_params(dtype="float32")
        with pytest.warns(Warning, match="converge|Maximum"):
            single.fit(X, target)
        assert not np.array_equal(made.coefs_[0], single.coefs_[0])
        assert distance(made.coefs_[0], single.coefs_[0]) < 0.1
        assert np.array_equal(copy.deepcopy(made).predict(X), made.predict(X))


def test_a_population_trains_each_net_as_alone():
    X, y = rows((6, 2), 90)
    population = Population([Dense(5, "tanh"), 2], 3, loss="squared_error", seed=4, dtype=MIXED)
    population.fit(X, y, epochs=2, verbose=False)
    for k in range(3):
        model = Model([Dense(5, "tanh"), 2], loss="squared_error", seed=4 + k, dtype=MIXED)
        model.fit(X, y, epochs=2, verbose=False)
        np.testing.assert_array_equal(population[k].weights[0], model.weights[0])


@pytest.fixture
def first_use():
    net_module._notify_of_no_instruction.cache_clear()
    yield
    net_module._notify_of_no_instruction.cache_clear()


@pytest.mark.filterwarnings("default:dtype='mixed_bfloat16'")
def test_one_notice_where_there_is_no_instruction(monkeypatch, first_use, recwarn):
    monkeypatch.setattr(net_module, "HAS_BFLOAT16", False)
    for _ in range(2):
        model_of((3, 2))
    texts = [str(w.message) for w in recwarn if "mixed_bfloat16" in str(w.message)]
    assert len(texts) == 1
    assert "no faster than 'float32'" in texts[0]
    assert "AVX512_BF16" in texts[0]


@pytest.mark.filterwarnings("error")
def test_no_notice_where_there_is_one(monkeypatch, first_use):
    monkeypatch.setattr(net_module, "HAS_BFLOAT16", True)
    model_of((3, 2))
