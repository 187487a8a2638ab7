"""Ensembles: mean, spread and calibrated probabilities of nets that are trained apart."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from scipy import special

import fastnn
from fastnn import Dense, Ensemble, Model, _chunks

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (120, 3)).astype(np.float32)
Y = np.sin(X).sum(axis=1)
LABELS = np.digitize(Y, [-0.7, 0.7])
LAYERS = [Dense(6, "tanh"), 1]


def trained(layers=LAYERS, n=3, y=Y, *, epochs=4, fit=None, **settings):
    ensemble = Ensemble(layers, n, **({"loss": "squared_error", "seed": 2} | settings))
    history = ensemble.fit(X, y, epochs=epochs, **(fit or {}))
    return ensemble, history


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_and_spread_are_those_of_models_trained_alone(dtype):
    ensemble, history = trained(dtype=dtype)
    outputs = []
    for k in range(3):
        model = Model(LAYERS, loss="squared_error", seed=2 + k, dtype=dtype)
        model.fit(X, Y, epochs=4)
        outputs.append(model.predict(X))
    assert history["loss"].shape == (4, 3)
    np.testing.assert_allclose(ensemble.predict_all(X), outputs, rtol=1e-4, atol=1e-5)  # small nets: to rounding
    for found, expected in (
        (ensemble.predict(X), np.mean(outputs, axis=0, dtype=np.float64)),
        (ensemble.predict_std(X), np.std(outputs, axis=0, dtype=np.float64)),
        (ensemble.predict_quantiles(X, 0.25), np.quantile(outputs, 0.25, axis=0)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert ensemble.predict_quantiles(X, [0.1, 0.9]).shape == (2, 120, 1)
    assert ensemble.predict_quantiles(X, np.array(0.5)).shape == (120, 1)
    assert len(ensemble) == 3
    assert "3 nets" in repr(ensemble)


def test_bootstrap_samples_differ_and_weigh_rows():
    ensemble, _ = trained(bootstrap=True)
    model = Model(LAYERS, loss="squared_error", seed=3)
    counts = np.bincount(np.random.default_rng(3).integers(120, size=120), minlength=120)
    model.fit(X, Y, epochs=4, sample_weight=counts)
    np.testing.assert_allclose(ensemble.members[1].predict(X), model.predict(X), rtol=1e-4, atol=1e-5)
    weighted, _ = trained(bootstrap=True, fit={"sample_weight": np.arange(1.0, 121.0)})
    model = Model(LAYERS, loss="squared_error", seed=3)
    model.fit(X, Y, epochs=4, sample_weight=counts * np.arange(1.0, 121.0))
    np.testing.assert_allclose(weighted.members[1].predict(X), model.predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_rows_for_validation_are_not_trained_on(bootstrap):
    ensemble, history = trained(bootstrap=bootstrap, fit={"validation_split": 0.25})
    assert not np.isnan(history["val_loss"]).any()
    changed = np.array(Y)
    held = np.sort(np.random.default_rng(2).permutation(120)[:30])
    changed[held] = 99.0
    other = Ensemble(LAYERS, 3, loss="squared_error", seed=2, bootstrap=bootstrap)
    other.fit(X, changed, epochs=4, validation_split=0.25)
    assert np.array_equal(ensemble.predict(X), other.predict(X))


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([6, 3], "softmax_crossentropy", LABELS),
        ([6, Dense(3, "softmax")], "softmax_crossentropy", LABELS),
        ([6, 1], "binary_crossentropy", (LABELS > 0).astype(int)),
        ([6, Dense(1, "sigmoid")], "binary_crossentropy", (LABELS > 0).astype(int)),
        ([6, 2], "binary_crossentropy", np.stack([LABELS > 0, LABELS > 1], axis=1).astype(float)),
    ],
    ids=["logits", "softmax", "one logit", "sigmoid", "two labels"],
)
def test_probabilities_are_averaged_and_calibrated(layers, loss, y):
    ensemble, _ = trained(layers, y=y, loss=loss, dtype="float64", epochs=60, optimizer=fastnn.Adam(0.02))
    mean = np.mean([model.predict_proba(X) for model in ensemble.members], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, atol=1e-12)
    assert ensemble.evaluate(X, y)["loss"] == pytest.approx(cross_entropy(mean, y, loss), rel=1e-9)
    classes = ensemble.predict_classes(X)
    accuracy = ensemble.evaluate(X, y)["accuracy"]
    assert accuracy == pytest.approx(np.mean(classes == y))
    # New labels, half of them random, which the nets are too confident for.
    noisy = np.where(RNG.random(y.shape) < 0.4, RNG.permutation(y), y)
    assert ensemble.calibrate(X, noisy) is ensemble
    assert ensemble.temperature > 1.0
    calibrated = ensemble.predict_proba(X)
    assert np.array_equal(ensemble.predict_classes(X), classes)
    logit = np.log(mean) if calibrated.shape[1] == 3 else special.logit(mean)
    losses = []
    for factor in (0.97, 1.0, 1.03):
        scaled = logit / (ensemble.temperature * factor)
        made = special.softmax(scaled, axis=1) if calibrated.shape[1] == 3 else special.expit(scaled)
        losses.append(cross_entropy(made, noisy, loss))
        if factor == 1.0:
            np.testing.assert_allclose(calibrated, made, atol=1e-9)
    assert losses[1] == min(losses)
    assert ensemble.evaluate(X, noisy)["loss"] == pytest.approx(losses[1], rel=1e-6)


def cross_entropy(p, y, loss):
    if loss == "softmax_crossentropy":
        return -np.log(p[np.arange(len(y)), y]).mean()
    y = np.reshape(y, p.shape)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean()


def test_the_temperature_has_bounds():
    ensemble, _ = trained([6, 3], y=LABELS, loss="softmax_crossentropy", epochs=30)
    ensemble.calibrate(X, ensemble.predict_classes(X))  # every row is right: no temperature is cold enough
    assert ensemble.temperature == pytest.approx(0.01)
    assert np.isfinite(ensemble.evaluate(X, LABELS)["loss"])


def test_means_and_variances_are_those_of_the_mixture():
    ensemble, _ = trained([6, 2], loss="gaussian_nll", epochs=20, dtype="float64")
    outputs = ensemble.predict_all(X)
    draws = RNG.standard_normal((3, 4000, 5)) * np.exp(0.5 * outputs[:, None, :5, 1]) + outputs[:, None, :5, 0]
    np.testing.assert_allclose(ensemble.predict(X)[:5, 0], draws.mean(axis=(0, 1)), atol=0.1)
    np.testing.assert_allclose(ensemble.predict_std(X)[:5, 0], draws.std(axis=(0, 1)), rtol=0.1)
    np.testing.assert_allclose(np.exp(0.5 * ensemble.predict(X)[:, 1:]), ensemble.predict_std(X))
    np.testing.assert_allclose(
        ensemble.predict_quantiles(X, 0.975), ensemble.predict(X)[:, :1] + 1.959964 * ensemble.predict_std(X), rtol=1e-5
    )
    assert np.isfinite(ensemble.evaluate(X, Y)["loss"])


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([4, 1], "squared_error", Y),
        ([4, 1], "huber", Y),
        ([4, 2], fastnn.losses.quantile(0.1, 0.9), Y),
        ([4, 1], "poisson", LABELS),
        ([4, Dense(1, "exponential")], "poisson", LABELS),
        ([4, Dense(2, "tanh")], "absolute_error", np.stack([Y, Y], axis=1)),
        ([], "sum_of_squares", Y),
    ],
    ids=["squared", "huber", "quantiles", "poisson", "rates", "tanh", "linear"],
)
def test_one_net_is_evaluated_as_its_model(layers, loss, y):
    ensemble, _ = trained(layers, 1, y, loss=loss, dtype="float64", regularizer=None, metrics=[])
    found = ensemble.evaluate(X, y, sample_weight=np.arange(120.0))
    assert found["loss"] == pytest.approx(ensemble.members[0].evaluate(X, y, sample_weight=np.arange(120.0))["loss"])


def test_the_ensemble_has_no_greater_squared_error_than_its_members_on_average():
    ensemble, _ = trained(epochs=30)
    assert ensemble.evaluate(X, Y)["loss"] <= ensemble.members.evaluate(X, Y)["loss"].mean()


def test_ensembles_of_models_that_exist():
    models = [Model(LAYERS, loss="squared_error", seed=k).build(3) for k in range(2)]
    ensemble = Ensemble.of(models)
    assert ensemble.members[1] is models[1]
    ensemble.fit(X, Y)
    np.testing.assert_allclose(ensemble.predict(X), (models[0].predict(X) + models[1].predict(X)) / 2, atol=1e-6)


def test_files(tmp_path):
    ensemble, _ = trained([6, 3], y=LABELS, loss="softmax_crossentropy", bootstrap=True)
    ensemble.calibrate(X, LABELS)
    ensemble.save(tmp_path / "e.npz")
    loaded = fastnn.load_ensemble(tmp_path / "e.npz")
    members = fastnn.load_population(tmp_path / "e.npz")
    assert (loaded.temperature, loaded.bootstrap) == (ensemble.temperature, True)
    assert np.array_equal(members.predict(X), ensemble.predict_all(X))
    for again in (loaded, copy.deepcopy(ensemble), pickle.loads(pickle.dumps(ensemble))):
        assert np.array_equal(again.predict_proba(X), ensemble.predict_proba(X))
        again.fit(X, LABELS, epochs=2)
    ensemble.fit(X, LABELS, epochs=2)
    assert np.array_equal(again.predict(X), ensemble.predict(X))
    assert np.array_equal(loaded.predict(X), ensemble.predict(X))


def test_a_population_is_no_ensemble():
    file = io.BytesIO()
    fastnn.Population(LAYERS, 2, loss="squared_error", seed=0).save(file)
    file.seek(0)
    with pytest.raises(ValueError, match="holds a population, and no ensemble"):
        fastnn.load_ensemble(file)


@pytest.mark.parametrize(
    ("layers", "losses"),
    [
        ([3, 3], ["softmax_crossentropy", "squared_error"]),
        ([3, 3], ["softmax_crossentropy", "binary_crossentropy"]),
        ([2, 2], ["squared_error", "gaussian_nll"]),
        ([3, Dense(3, "softmax")], ["softmax_crossentropy"] * 2),
        ([2, 2], [fastnn.losses.quantile(0.1, 0.9), fastnn.losses.quantile(0.2, 0.8)]),
    ],
)
def test_outputs_of_different_kinds_have_no_mean(layers, losses):
    models = [Model([layer], loss=loss, seed=0) for layer, loss in zip(layers, losses, strict=True)]
    with pytest.raises(ValueError, match="net 1 has outputs of another kind than net 0"):
        Ensemble.of(models)
    with pytest.raises(ValueError, match="net 1 has outputs of another kind than net 0"):
        Ensemble([[layer] for layer in layers], 2, loss=losses)


def test_losses_that_differ_in_what_they_weigh_have_a_mean():
    ensemble = Ensemble(LAYERS, 2, loss=["squared_error", "huber"], seed=0)
    ensemble.fit(X, Y)
    expected = np.mean([model.predict(X) for model in ensemble.members], axis=0)
    np.testing.assert_allclose(ensemble.predict(X), expected, atol=1e-6)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_workers_of_joblib_change_no_bit(bootstrap):
    pytest.importorskip("joblib")
    fit = {"validation_split": 0.2, "callbacks": fastnn.EarlyStopping(patience=1)}
    alone, history = trained(bootstrap=bootstrap, epochs=6, fit=fit)
    shared, record = trained(bootstrap=bootstrap, epochs=6, fit={**fit, "n_jobs": 2})
    assert np.array_equal(alone.predict_all(X), shared.predict_all(X))
    assert history.stopped == record.stopped
    assert set(history.history) == set(record.history)
    for name in set(history.history) - {"seconds"}:
        assert np.array_equal(history[name], record[name], equal_nan=True)
    assert len(record.callbacks) == 3
    alone.fit(X, Y, epochs=2)
    shared.fit(X, Y, epochs=2)
    assert np.array_equal(alone.predict_all(X), shared.predict_all(X))


def test_nets_are_as_before_if_the_training_of_some_fails():
    """Also where the workers are threads, of which one has finished when the other fails."""
    joblib = pytest.importorskip("joblib")
    models = [Model([6, n], loss="squared_error", seed=n).build(3) for n in (1, 2)]
    ensemble = Ensemble.of(models)
    before = [model.weights[0].copy() for model in models]
    with joblib.parallel_config(backend="threading", n_jobs=2), pytest.raises(ValueError, match="has 2 outputs"):
        ensemble.fit(X, Y)
    for model, weights in zip(models, before, strict=True):
        assert np.array_equal(model.weights[0], weights)


@pytest.mark.parametrize(
    ("n_threads", "n_jobs", "n_groups", "expected"),
    [(5, 2, 1, 2), (2, 2, 1, 1), (1, 2, 1, 1), (7, 1, 1, 7), (7, 1, 3, 2), (2, 1, 3, 1), (4, 3, 2, 1)],
)
def test_all_workers_have_no_more_threads_than_stated(monkeypatch, n_threads, n_jobs, n_groups, expected):
    joblib = pytest.importorskip("joblib")
    seen = set()
    train = _chunks._train
    monkeypatch.setattr(_chunks, "_train", lambda group, n: (seen.add(n), train(group, n))[1])
    groups = [
        _chunks.Group([Model(LAYERS, loss="squared_error", seed=k) for k in range(4)], X, Y, None, {"verbose": False})
        for _ in range(n_groups)
    ]
    with joblib.parallel_config(backend="threading"):
        _chunks.fit(groups, n_jobs=n_jobs, n_threads=n_threads)
    assert seen == {expected}


def test_threads_of_joblib_change_no_bit():
    joblib = pytest.importorskip("joblib")
    alone, _ = trained()
    with joblib.parallel_config(backend="threading", n_jobs=2):
        shared, _ = trained()
    assert np.array_equal(alone.predict_all(X), shared.predict_all(X))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda e: e.fit(X, Y, validation_split=1.0), ValueError, "validation_split must be"),
        (lambda e: e.fit(X, Y, validation_split=0.5, validation_data=(X, Y)), ValueError, "one of them is enough"),
        (lambda e: e.fit(X, Y, sample_weight=np.ones((3, 120))), ValueError, "sample_weight has 3 rows"),
        (lambda e: e.fit(X, 3.0), TypeError, "y must be"),
        (lambda e: e.fit(X, Y[:7]), ValueError, "y must be of 120 rows, as X is, got 7"),
        (lambda e: e.fit(X[:7], Y, validation_split=0.2), ValueError, "y must be of 7 rows, as X is, got 120"),
        (lambda e: e.fit(np.tile(X, (2, 1)), Y, validation_split=0.2), ValueError, "y must be of 240 rows"),
        (lambda e: e.fit(X * np.nan, Y, n_jobs=2), ValueError, "X holds nan"),
        (lambda e: e.predict_quantiles(X, "5"), TypeError, "q must be a number"),
        (lambda e: e.fit(X, Y, n_jobs=0), ValueError, "n_jobs must be"),
        (lambda e: e.fit(X, Y, n_jobs=1.5), TypeError, "n_jobs must be"),
        (lambda e: e.predict_quantiles(X, 1.5), ValueError, "q must be"),
        (lambda e: e.predict_proba(X), ValueError, "predict_proba needs a model of classes"),
        (lambda e: e.calibrate(X, Y), ValueError, "calibrate needs a model of classes"),
        (lambda e: Ensemble(LAYERS, 0, loss="squared_error"), ValueError, "n must be"),
        (lambda e: Ensemble(LAYERS, 2, loss="squared_error", bootstrap=1), TypeError, "bootstrap must be"),
    ],
)
def test_bad_arguments_change_nothing(call, error, text):
    ensemble, _ = trained()
    before = ensemble.predict_all(X)
    with pytest.raises(error, match=text):
        call(ensemble)
    assert np.array_equal(ensemble.predict_all(X), before)


def test_edges():
    ensemble, _ = trained(n=1, fit={"batch_size": 1})
    with pytest.raises(ValueError, match="no rows"):
        ensemble.predict(X[:0])
    assert np.array_equal(ensemble.predict_std(X), np.zeros((120, 1)))
    read_only = X.copy(order="F")
    read_only.setflags(write=False)
    assert np.array_equal(ensemble.predict(read_only), ensemble.predict(X))
    with pytest.raises(ValueError, match=r"n_features|build|fit"):
        Ensemble(LAYERS, 2, loss="squared_error").predict(X)
