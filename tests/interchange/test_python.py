"""Nets as Python files: NumPy alone is imported, outputs are those of `predict`, and Numba compiles the functions."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys

import numba
import numpy as np
import pytest
from models import classifier, labels, regressor, table

import fastnn
from fastnn.interchange import export_python
from fastnn.interchange._python import ACTIVATIONS
from fastnn.kernels.nn import rules
from fastnn.optimizers import Adam

SHAPES = [(1, (), 1), (3, (), 2), (1, (1,), 1), (5, (7,), 3), (8, (32, 32), 3), (2, (33, 6, 9, 4), 2)]
OPTIONS = {"hidden_layer_sizes": (6,), "random_state": 0, "tol": 1e9, "n_iter_no_change": 1}


def functions_of(net, path):
    """Functions and constants of the file that a net is written into."""
    export_python(net, path)
    return runpy.run_path(str(path))


def net_of(activation, shape, dtype):
    n_in, hidden, n_out = shape
    spec = {"leaky_relu": fastnn.leaky_relu(0.2), "elu": fastnn.elu(0.7)}.get(activation, activation)
    softmax = activation == "softmax"
    layers = [*(fastnn.Dense(units, "tanh" if softmax else spec) for units in hidden), fastnn.Dense(n_out, spec)]
    loss = "softmax_crossentropy" if softmax else "squared_error"
    model = fastnn.Model(layers, loss=loss, seed=n_in, dtype=dtype).build(n_in)
    for b in model.biases:
        b[...] = np.random.default_rng(b.size).standard_normal(b.shape) * 0.3
    if activation == "exponential":
        for w in model.weights:
            w[...] *= 0.3
    return model


@pytest.mark.parametrize("activation", [rule.name for rule in rules.ACTIVATIONS])
def test_outputs_are_those_of_predict(activation, dtype, tmp_path):
    for shape in SHAPES:
        if activation == "softmax" and shape[2] == 1:
            continue
        model = net_of(activation, shape, dtype)
        X = table(40, shape[0], seed=2).astype(dtype) * 1.5
        expected = model.predict(X)
        found = functions_of(model, tmp_path / "net.py")["predict"](X)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        # The sums of predict in float32 are rounded, those of the file are not.
        assert np.abs(found - expected).max() <= 8.0 * np.spacing(np.abs(expected).max())


def test_every_activation_has_a_row():
    assert set(ACTIVATIONS) == {rule.name for rule in rules.ACTIVATIONS}


@pytest.mark.parametrize("activation", [rule.name for rule in rules.ACTIVATIONS if rule.rows is None])
def test_activations_over_the_whole_range(activation, tmp_path):
    model = fastnn.Model([fastnn.Dense(1, activation)], loss="squared_error", dtype="float64", seed=0).build(1)
    model.weights[0][...] = 1.0
    sizes = np.geomspace(1e-9, 700.0, 2000)
    x = np.concatenate([-sizes, [0.0], sizes])[:, None]
    expected = model.predict(x)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = functions_of(model, tmp_path / "net.py")["predict"](x)
    # Far below 0, where gelu, silu and mish approach 0, the square or the exponent of z is rounded.
    assert np.allclose(found, expected, rtol=2e-14, atol=1e-15)


@pytest.mark.slow
def test_numba_compiles_every_activation_as_it_stands(tmp_path):
    layers = [fastnn.Dense(5, name) for name in ACTIVATIONS if name not in ("softmax", "exponential")]
    last = fastnn.Dense(3, "softmax")
    model = fastnn.Model([*layers, last], loss="softmax_crossentropy", seed=0, dtype="float32").build(4)
    X = table(20, 4).astype(np.float32)
    predict = numba.njit(functions_of(model, tmp_path / "net.py")["predict"])

    @numba.njit
    def first_and_largest(X):
        y = predict(X)
        return y, y.max()

    outputs, largest = first_and_largest(X)
    expected = model.predict(X)
    assert outputs.dtype == expected.dtype
    assert np.allclose(outputs, expected, rtol=0, atol=1e-6)
    assert largest == outputs.max()


@pytest.mark.slow
def test_numba_compiles_other_outputs(tmp_path):
    pytest.importorskip("sklearn")
    X, y = table(60), labels(60)
    logits = fastnn.Model([fastnn.Dense(4, "gelu"), 1], loss="binary_crossentropy", seed=0, dtype="float64").build(3)
    exponential = fastnn.Model([fastnn.Dense(2, "exponential")], loss="squared_error", seed=0, dtype="float64").build(3)
    nets = {
        "logits": (logits, ("predict_proba", "predict_classes")),
        "exponential": (exponential, ("predict",)),
        "regressor": (fastnn.MLPRegressor(**OPTIONS).fit(X, X[:, 0]), ("predict",)),
        "classifier": (fastnn.MLPClassifier(**OPTIONS).fit(X, y * 2), ("predict",)),
        "binary": (fastnn.MLPClassifier(**OPTIONS).fit(X, y > 0), ("predict", "predict_proba")),
        "multilabel": (fastnn.MLPClassifier(**OPTIONS).fit(X, X[:, :2] > 0), ("predict",)),
    }
    for name, (net, functions) in nets.items():
        found = functions_of(net, tmp_path / f"{name}.py")
        for function in functions:
            result = numba.njit(found[function])(X)
            assert np.allclose(result, getattr(net, function)(X), rtol=1e-12, atol=1e-13), (name, function)


def test_classifiers_regressors_and_pipelines(tmp_path):
    pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, RobustScaler

    X = table(60) * [1.0, 30.0, 0.01] + [0.0, 500.0, 1.0]
    y = labels(60)
    names = np.array(['a "b"\\', "c", "é\n"])
    nets = {
        "strings": fastnn.MLPClassifier(**OPTIONS).fit(table(60), names[y]),
        "objects": fastnn.MLPClassifier(**OPTIONS).fit(table(60), names[y].astype(object)),
        "small": make_pipeline(MinMaxScaler(), fastnn.MLPClassifier(**OPTIONS)).fit(X, (y - 7).astype(np.int8)),
        "binary": make_pipeline(RobustScaler(), fastnn.MLPClassifier(**OPTIONS)).fit(X, y > 0),
        "multilabel": fastnn.MLPClassifier(**OPTIONS).fit(table(60), table(60, 2, seed=4) > 0.0),
        "two_targets": make_pipeline(RobustScaler(), fastnn.MLPRegressor(**OPTIONS)).fit(X, X[:, :2]),
        "one_target": fastnn.MLPRegressor(**OPTIONS).fit(table(60), y),
    }
    for name, net in nets.items():
        rows = X if hasattr(net, "steps") else table(60)
        found = functions_of(net, tmp_path / f"{name}.py")
        expected = net.predict(rows)
        result = found["predict"](rows)
        assert result.dtype == expected.dtype, name
        assert result.shape == expected.shape, name
        if name.endswith(("target", "targets")):
            assert np.allclose(result, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
            assert "predict_proba" not in found
        else:
            assert np.array_equal(result, expected), name
            assert np.allclose(found["predict_proba"](rows), net.predict_proba(rows), rtol=0, atol=1e-13)


def test_models_of_classes_and_their_running_average(tmp_path):
    for last, loss, units in [("identity", "softmax_crossentropy", 3), ("identity", "binary_crossentropy", 2)]:
        model = fastnn.Model([fastnn.Dense(4, "relu"), fastnn.Dense(units, last)], loss=loss, seed=0).build(3)
        found = functions_of(model, tmp_path / "net.py")
        X = table().astype(np.float32) * 3.0
        assert np.allclose(found["predict_proba"](X), model.predict_proba(X), atol=1e-6)
        assert np.array_equal(found["predict_classes"](X), model.predict_classes(X))
    model = regressor(optimizer=Adam(0.1, ema_momentum=0.9), dtype="float64")
    model.fit(table(), table(seed=3)[:, :2], epochs=3)
    predict = functions_of(model, tmp_path / "net.py")["predict"]
    assert np.allclose(predict(table()), model.predict(table()), rtol=1e-12)


@pytest.mark.slow
def test_the_file_needs_numpy_only_and_accepts_what_numpy_does(tmp_path):
    pandas = pytest.importorskip("pandas")
    model = classifier().build(3)
    found = functions_of(model, tmp_path / "net.py")
    X = table(5)
    for given in (X.tolist(), np.asfortranarray(X), pandas.DataFrame(X), X.astype(np.float32)):
        assert np.allclose(found["predict"](given), model.predict(X.astype(np.float32)), atol=1e-5)
    assert found["predict"](np.empty((0, 3))).shape == (0, 3)
    for wrong in (X[:, :2], X[0], 3.0):
        with pytest.raises(ValueError, match=r"X must be an array \(n, 3\)"):
            found["predict"](wrong)
    code = "import sys, net; net.predict([[1, 2, 3]]); print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout
    for name in ("fastnn", "numba", "scipy", "sklearn"):
        assert f"'{name}'" not in done.stdout


def test_weights_and_names_are_exact(dtype, tmp_path):
    pandas = pytest.importorskip("pandas")
    model = regressor(dtype=dtype)
    model.fit(pandas.DataFrame(table(), columns=["a", 'b"', "é"]), table()[:, :2], epochs=1)
    found = functions_of(model, tmp_path / "net.py")
    assert np.array_equal(found["WEIGHTS_1"], model.weights[0].astype(np.float64))
    assert np.array_equal(found["BIASES_2"], model.biases[1].astype(np.float64))
    assert found["FEATURE_NAMES"] == ("a", 'b"', "é")
    assert (found["N_INPUTS"], found["N_OUTPUTS"]) == (3, 2)
    assert (tmp_path / "net.py").read_bytes().isascii()


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("old")
    with pytest.raises(ValueError, match="has no weights yet"):
        export_python(regressor(), path)
    with pytest.raises(TypeError, match="model must be a Model"):
        export_python(3, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["net.py"]
    with pytest.raises(FileNotFoundError):
        export_python(regressor().build(3), tmp_path / "missing" / "net.py")
    with pytest.raises(TypeError, match="path must be a path, got None"):
        export_python(regressor().build(3), None)
