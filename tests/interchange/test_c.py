"""Nets as C headers: they compile without a warning, and compute what `predict` computes."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess

import numpy as np
import pytest
from c_programs import COMPILERS, STRICT, Library, needs_compilers, ulps
from models import classifier, labels, regressor, table

import fastnn
from fastnn.interchange import export_c
from fastnn.interchange._c_functions import ACTIVATIONS, number
from fastnn.kernels.nn import rules
from fastnn.optimizers import Adam

#: Units in the last place of the largest output.
BOUND = 4.0
#: Widths of hidden layers, of the input and of the output: odd ones, one, none, and some that are stored by outputs.
SHAPES = [
    (1, (), 1), (3, (), 2), (1, (1,), 1), (5, (7,), 3), (8, (32, 32), 3), (13, (3, 17, 1), 5), (2, (33, 6, 9, 4), 1),
    (31, (64,), 1), (70, (19, 66), 2),
]  # fmt: skip


def net_of(activation, shape, dtype, seed=0):
    """A net whose hidden layers have the activation, and the last one, too, where it may."""
    n_in, hidden, n_out = shape
    random = np.random.default_rng([seed, n_in, n_out])
    spec = {"leaky_relu": fastnn.leaky_relu(0.2), "elu": fastnn.elu(0.7)}.get(activation, activation)
    inner = "tanh" if activation == "softmax" else spec
    last = spec if activation != "softmax" or n_out > 1 else "identity"
    layers = [*(fastnn.Dense(units, inner) for units in hidden), fastnn.Dense(n_out, last)]
    loss = "softmax_crossentropy" if last == "softmax" else "squared_error"
    model = fastnn.Model(layers, loss=loss, seed=seed, dtype=dtype).build(n_in)
    for w, b in zip(model.weights, model.biases, strict=True):
        b[...] = random.standard_normal(b.shape) * 0.5
        if activation == "exponential":  # of an exponential of an exponential
            w[...] *= 0.25
    return model


@needs_compilers
@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_all_activations_and_shapes(compiler, dtype, tmp_path):
    # Each way to compile and dtype takes other shapes, so that over all of them an activation has most shapes.
    nets, random = {}, np.random.default_rng([list(COMPILERS).index(compiler), np.dtype(dtype).itemsize])
    for k, rule in enumerate(rules.ACTIVATIONS):
        for shape in (SHAPES[i] for i in random.choice(len(SHAPES), 2, replace=False)):
            nets[f"net_{len(nets)}"] = (net_of(rule.name, shape, dtype, seed=k), None)
    library = Library(tmp_path, nets, COMPILERS[compiler])
    for name, (model, _) in nets.items():
        X = random.standard_normal((50, model.n_features)).astype(dtype) * 1.5
        expected = model.predict(X)
        found = library.rows("predict", name, X, model.n_outputs)
        assert ulps(found, expected) <= BOUND, (model, ulps(found, expected))


def test_every_activation_has_a_row():
    assert set(ACTIVATIONS) == {rule.name for rule in rules.ACTIVATIONS}


@needs_compilers
@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_activations_over_the_whole_range(compiler, dtype, tmp_path):
    """One unit with weight 1: the activation itself, from the largest numbers to those next to 0."""
    nets = {}
    for rule in rules.ACTIVATIONS:
        if rule.rows is None:
            model = fastnn.Model([fastnn.Dense(1, rule.name)], loss="squared_error", dtype=dtype, seed=0).build(1)
            model.weights[0][...] = 1.0
            nets[f"f_{rule.name}"] = (model, None)
    library = Library(tmp_path, nets, COMPILERS[compiler])
    sizes = np.geomspace(1e-6, 700.0 if dtype == np.float64 else 87.0, 4000)
    more = np.geomspace(1e-30, 1e30, 500)
    x = np.concatenate([-more, -sizes, [-0.0, 0.0], sizes, more]).astype(dtype)[:, None]
    tiny = np.finfo(dtype).tiny * 4.0
    for name, (model, _) in nets.items():
        with np.errstate(all="ignore"), pytest.warns() if name == "f_exponential" else np.errstate():
            expected = model.predict(x)
        found = library.rows("predict", name, x, 1)
        finite = np.isfinite(expected)
        assert np.array_equal(np.isfinite(found), finite)
        assert np.array_equal(found[~finite], expected[~finite])
        error = np.abs(found[finite] - expected[finite])
        allowed = np.maximum(BOUND * np.spacing(np.abs(expected[finite])), tiny)
        worst = np.argmax(error / allowed)
        assert error[worst] <= allowed[worst], (name, x[finite][worst], found[finite][worst], expected[finite][worst])


@needs_compilers
@pytest.mark.slow
def test_precision_of_the_header_may_be_another(tmp_path):
    model = classifier((20, 4), dtype="float64").build(6)
    library = Library(tmp_path, {"single": (model, "float32"), "wide": (model, None)})
    X = table(40, 6)
    expected = model.predict(X)
    assert ulps(library.rows("predict", "wide", X, 4), expected) <= BOUND
    single = library.rows("predict", "single", X.astype(np.float32), 4)
    assert np.allclose(single, expected, atol=1e-5)
    assert np.abs(single - expected).max() > 0.0


@needs_compilers
@pytest.mark.slow
def test_large_layers_add_in_the_order_of_predict(dtype, tmp_path):
    """Long sums, whose rounding would differ by more than the bound in another order."""
    model = fastnn.Model([fastnn.Dense(50, "relu"), 10], loss="squared_error", seed=3, dtype=dtype).build(784)
    X = np.random.default_rng(0).random((30, 784)).astype(dtype)
    for compiler in ("c", "c native"):
        folder = tmp_path / compiler.replace(" ", "_")
        folder.mkdir()
        library = Library(folder, {"wide": (model, None)}, COMPILERS[compiler])
        assert ulps(library.rows("predict", "wide", X, 10), model.predict(X)) <= BOUND


# -------------------------------------------------------------------------------------------------------- classifiers


@needs_compilers
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["c", "c++"])
def test_probabilities_and_classes_of_models(compiler, tmp_path):
    def model(units, last, loss):
        layers = [fastnn.Dense(9, "tanh"), fastnn.Dense(units, last)]
        return fastnn.Model(layers, loss=loss, seed=1, dtype="float64").build(3)

    nets = {
        "softmax_logits": (model(4, "identity", "softmax_crossentropy"), None),
        "softmax_outputs": (model(4, "softmax", "softmax_crossentropy"), None),
        "one_logit": (model(1, "identity", "binary_crossentropy"), None),
        "one_output": (model(1, "sigmoid", "binary_crossentropy"), None),
        "many_logits": (model(3, "identity", "binary_crossentropy"), None),
        "many_outputs": (model(3, "sigmoid", "binary_crossentropy"), None),
    }
    library = Library(tmp_path, nets, COMPILERS[compiler])
    X = table(60, 3) * 3.0
    for name, (net, _) in nets.items():
        width = net.n_outputs
        assert ulps(library.rows("predict", name, X, width), net.predict(X)) <= BOUND
        assert ulps(library.rows("predict_proba", name, X, width), net.predict_proba(X)) <= BOUND
        classes = net.predict_classes(X)
        if name.startswith("many"):
            assert np.array_equal(library.several_classes(name, X, width), classes)
        else:
            assert np.array_equal(library.classes(name, X), classes)
            assert len(set(classes.tolist())) > 1
    assert "N_CLASSES 2\n" in (tmp_path / "one_logit.h").read_text()


@needs_compilers
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["c", "c++"])
def test_estimators_and_pipelines(compiler, tmp_path):
    pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    options = {"hidden_layer_sizes": (8,), "random_state": 0, "tol": 1e9, "n_iter_no_change": 1}
    X = table(80, 3) * [1.0, 30.0, 0.01] + [0.0, 500.0, 1.0]
    y = labels(80)
    names = np.array(['a "b"', "c\\d??/", "é\n"])
    nets = {
        "strings": fastnn.MLPClassifier(**options).fit(table(80), names[y]),
        "numbers": make_pipeline(StandardScaler(), fastnn.MLPClassifier(**options)).fit(X, y * 5 - 7),
        "floats": fastnn.MLPClassifier(**options).fit(table(80), y * 2.0 + 1.0),
        "binary": make_pipeline(MinMaxScaler(), fastnn.MLPClassifier(**options)).fit(X, y > 0),
        "multilabel": fastnn.MLPClassifier(**options).fit(table(80), table(80, 2, seed=4) > 0.0),
        "regressor": make_pipeline(StandardScaler(), "passthrough", fastnn.MLPRegressor(**options)).fit(X, X[:, :2]),
        "one_target": fastnn.MLPRegressor(activation="logistic", **options).fit(table(80), y),
    }
    library = Library(tmp_path, {name: (net, None) for name, net in nets.items()}, COMPILERS[compiler])
    for name, net in nets.items():
        rows = X if hasattr(net, "steps") else table(80)
        if name in ("regressor", "one_target"):
            expected = net.predict(rows).reshape(len(rows), -1)
            found = library.rows("predict", name, rows, expected.shape[1])
            # After a scaler the features themselves were rounded once more.
            assert np.allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
            continue
        expected = net.predict_proba(rows)
        assert np.allclose(library.rows("predict_proba", name, rows, expected.shape[1]), expected, rtol=0, atol=1e-13)
        if name == "multilabel":
            assert np.array_equal(library.several_classes(name, rows, 2), net.predict(rows))
        else:
            assert np.array_equal(net.classes_[library.classes(name, rows)], net.predict(rows))
    assert [library.label("strings", i, ctypes.c_char_p).decode() for i in range(3)] == list(nets["strings"].classes_)
    assert [library.label("numbers", i, ctypes.c_longlong) for i in range(3)] == [-7, -2, 3]
    assert [library.label("floats", i, ctypes.c_double) for i in range(3)] == [1.0, 3.0, 5.0]
    assert [library.label("binary", i, ctypes.c_longlong) for i in range(2)] == [0, 1]


@needs_compilers
@pytest.mark.slow
def test_the_running_average_is_exported(tmp_path):
    model = regressor(optimizer=Adam(0.1, ema_momentum=0.9), dtype="float64")
    X = table()
    model.fit(X, table(seed=3)[:, :2], epochs=3)
    library = Library(tmp_path, {"average": (model, None)})
    assert ulps(library.rows("predict", "average", X, 2), model.predict(X)) <= BOUND


# ---------------------------------------------------------------------------------------------------------- the file


@needs_compilers
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["c", "c native", "c++"])
def test_the_self_test_runs_and_notices_other_weights(compiler, dtype, tmp_path):
    pytest.importorskip("sklearn")
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table(30, 5) * 40.0 + 100.0)
    net = Pipeline([("scaler", scaler), ("net", classifier((6, 3), dtype=dtype).build(5))])
    path = tmp_path / "Digits.h"
    export_c(net, path, name="Digits")
    command = [*COMPILERS[compiler], *STRICT, "-DDIGITS_SELFTEST", str(path), "-o", str(tmp_path / "test"), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("Digits: largest error")
    text = path.read_text()
    start = text.index("Digits_biases_2[3] = {")
    path.write_text(text[:start] + re.sub(r"0\.0f?|\d\.\d+f?", "2.5", text[start:], count=1))
    subprocess.run(command, check=True, capture_output=True)
    assert subprocess.run([tmp_path / "test"], capture_output=True, check=False).returncode == 1


@needs_compilers
@pytest.mark.slow
def test_two_nets_in_several_files_of_a_program(tmp_path):
    for name in ("first", "second"):
        export_c(regressor((4, 1)).build(2), tmp_path / f"{name}.h", name=name)
    (tmp_path / "a.c").write_text(
        '#include "first.h"\n#include "second.h"\n#include "first.h"\nfloat other(float x);\n'
        "int main(void) { float x[2] = {1, 2}, y[1], z[1]; first_predict(x, y); second_predict(x, z);\n"
        "return y[0] == z[0] && other(1.0f) == y[0] ? 0 : 1; }\n"
    )
    (tmp_path / "b.c").write_text(
        '#include "first.h"\nfloat other(float x);\n'
        "float other(float x) { float v[2], y[1]; v[0] = x; v[1] = 2; first_predict(v, y); return y[0]; }\n"
    )
    subprocess.run(["gcc", "-std=c99", *STRICT, "a.c", "b.c", "-o", "both", "-lm"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "both"], check=False).returncode == 0
    command = ["gcc", "-ffast-math", "-c", "b.c"]
    fast = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "compile without -ffast-math" in fast.stderr
    plain = ["gcc", "-std=c99", *STRICT, "-DFIRST_FMA(a,b,c)=((a)*(b)+(c))", "-c", "b.c"]
    subprocess.run(plain, cwd=tmp_path, check=True)


def test_the_header_says_what_it_holds(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pandas.DataFrame(table(30, 2), columns=["width */ in mm", "größe"])
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "tol": 1e9, "n_iter_no_change": 1}
    net = make_pipeline(StandardScaler(), fastnn.MLPClassifier(**options)).fit(frame, np.array(["no", "yes"] * 15))
    export_c(net, tmp_path / "net.h")
    text = (tmp_path / "net.h").read_text(encoding="ascii")
    for part in (
        "2 - 8 - 1 units", "Activations: relu, sigmoid", "width * / in mm, gr\\xf6\\xdfe".replace("\\", "/"),
        "standardscaler is part of the first layer", "Classes: no, yes", "#define NET_N_INPUTS 2",
        "#define NET_N_OUTPUTS 1", "#define NET_N_CLASSES 2", "#define NET_N_PROBABILITIES 2",
        "#define NET_STACK_BYTES",
        "static inline void net_predict(const double *x, double *y)", "#include <math.h>",
    ):  # fmt: skip
        assert part in text, part
    assert re.findall("#include .*", text) == ["#include <math.h>", "#include <stdio.h>"]  # the second in the self-test
    assert "malloc" not in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e-30, 1e30, 0.0, -0.0, 1.0, 123456789.0, 5e-324, 1.17549435e-38])
def test_constants_are_exact(value, dtype):
    text = number(value, dtype)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?" + ("f" if dtype == np.float32 else ""), text)
    assert re.search("[.e]", text)
    assert dtype.type(float(text.rstrip("f"))).tobytes() == dtype.type(value).tobytes()


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.h"
    path.write_text("old")
    for model, options, error, text in [
        (regressor(), {}, ValueError, "has no weights yet"),
        (3, {}, TypeError, "model must be a Model"),
        (regressor().build(3), {"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        (regressor().build(3), {"name": "2nd"}, ValueError, "name must be an identifier of C, .* got '2nd'"),
        (regressor().build(3), {"name": "double"}, ValueError, "name must be an identifier of C.*That is a word of C"),
        (regressor().build(3), {"name": "a b"}, ValueError, "name must be an identifier"),
        (regressor().build(3), {"name": "é"}, ValueError, "name must be an identifier"),
        (regressor().build(3), {"name": "_net"}, ValueError, "name must be an identifier"),
        (regressor().build(3), {"name": ""}, ValueError, "name must be an identifier"),
        (regressor().build(3), {"name": None}, TypeError, "name must be an identifier"),
    ]:
        with pytest.raises(error, match=text):
            export_c(model, path, **options)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["net.h"]
    model = regressor(dtype="float64").build(3)
    model.weights[0][0, 0] = 1e300
    with pytest.raises(ValueError, match=r"dtype='float32' is too narrow for the weights of layers\[0\].*1e\+300"):
        export_c(model, path, dtype="float32")
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        export_c(regressor().build(3), tmp_path / "missing" / "net.h")
    with pytest.raises(IsADirectoryError):
        export_c(regressor().build(3), tmp_path)
    with pytest.raises(TypeError, match="path must be a path, got 3"):
        export_c(regressor().build(3), 3)
    with pytest.raises(TypeError):
        export_c(regressor().build(3), path, "net")
