"""Nets in compiled code: `Model.jit` and `fastnn.jit.JitNet`."""

from __future__ import annotations

import ast
import copy
import pickle
import threading

import numba
import numpy as np
import pytest
from driver import run_python
from models import classifier, regressor, softsign, softsign_slope

import fastnn
from fastnn import Dense, Dropout, Model
from fastnn.jit import JitNet
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.nn import rules

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
needs_compiler = pytest.mark.skipif(JIT_DISABLED, reason="of compiled code")


@numba.njit
def rows(net, X, out):
    for i in range(len(X)):
        net.predict_row(X[i], out[i])


@numba.njit
def all_rows(net, X, out):
    net.predict(X, out)


@numba.njit
def vjp(net, x, v, dx):
    net.vjp_row(x, v, dx)


@numba.njit
def jacobian(net, x, J):
    net.jacobian_row(x, J)


@numba.njit
def widths(net):
    return net.n_features, net.n_outputs


@numba.njit(parallel=True)
def parallel_rows(net, X, out):
    for i in numba.prange(len(X)):
        net.predict_row(X[i], out[i])


def features(n, d, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def outputs(net, X):
    out = np.full((len(X), net.n_outputs), np.nan, X.dtype)
    rows(net, X, out)
    return out


ACTIVATIONS = {rule.name: rule.name for rule in rules.ACTIVATIONS} | {
    "leaky": fastnn.leaky_relu(0.1),
    "custom": fastnn.custom.activation(softsign, softsign_slope),
    # f(0) is not 0, and f' is not finite there, where padding is
    "shifted": fastnn.custom.activation(lambda z: 1.0 + abs(z) ** 0.5, lambda z: 0.5 * np.sign(z) / abs(z) ** 0.5),
}
SHAPES = {
    "no hidden layer": (3, [], 2),
    "one column": (1, [5], 1),
    "odd widths": (7, [13, 21], 3),
    "narrow": (70, [40], 1),  # both layers but the first are stored by outputs
    "narrow from the start": (65, [], 2),
    "narrow inside": (90, [2, 33], 5),
    "whole KiB": (9, [256, 128], 4),
    "wide": (33, [700, 300], 40),
}


def net_of_shape(shape, activation="tanh", dtype="float64", last=None):
    n_in, hidden, n_out = SHAPES[shape]
    hidden_activation = "tanh" if activation == "softmax" else activation  # which the last layer alone may have
    layers = [*(Dense(n, hidden_activation) for n in hidden), Dense(n_out, last)]
    model = Model(layers, loss="squared_error", dtype=dtype, seed=0).build(n_in)
    for weights in model.weights if activation == "exponential" else []:  # or the outputs are infinite
        weights *= 0.1
    for k, bias in enumerate(model.biases):
        bias[...] = np.random.default_rng(k).uniform(-0.5, 0.5, bias.shape)
    return model


@DTYPES
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_bits_of_predict(shape, dtype):
    model = net_of_shape(shape, dtype=dtype)
    X = features(45, model.n_features, dtype)
    net = model.jit()
    true = model.predict(X)
    np.testing.assert_array_equal(outputs(net, X), true)
    out = np.empty_like(true)
    all_rows(net, X, out)
    np.testing.assert_array_equal(out, true)
    for n in (0, 1, 2, 7):
        out = np.full((n, model.n_outputs), np.nan, dtype)
        all_rows(net, X[:n], out)
        np.testing.assert_array_equal(out, true[:n])


@DTYPES
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_every_activation(activation, dtype):
    model = net_of_shape("odd widths", activation, dtype, last=activation)
    X = features(20, model.n_features, dtype)
    net = model.jit()
    true = model.predict(X)
    np.testing.assert_array_equal(outputs(net, X), true)
    out = np.empty_like(true)
    all_rows(net, X, out)
    np.testing.assert_array_equal(out, true)


def central_differences(model, x, step=1e-6):
    """Derivatives of the outputs, (n_outputs, n_features)."""
    shifts = step * np.eye(len(x))
    return ((model.predict(x + shifts) - model.predict(x - shifts)) / (2 * step)).T


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_derivatives_of_every_activation(activation):
    model = net_of_shape("odd widths", activation, last=activation)
    x = features(1, model.n_features)[0]
    J = np.full((model.n_outputs, model.n_features), np.nan)
    net = model.jit()
    jacobian(net, x, J)
    np.testing.assert_allclose(J, central_differences(model, x), rtol=1e-5, atol=1e-8)
    v = features(1, model.n_outputs, seed=1)[0]
    dx = np.full(model.n_features, np.nan)
    vjp(net, x, v, dx)
    np.testing.assert_allclose(dx, v @ J, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_of_every_shape(shape):
    model = net_of_shape(shape)
    x = features(1, model.n_features)[0]
    J = np.full((model.n_outputs, model.n_features), np.nan)
    jacobian(model.jit(), x, J)
    np.testing.assert_allclose(J, central_differences(model, x), rtol=1e-5, atol=1e-8)


def test_derivatives_in_single_precision():
    double = net_of_shape("odd widths")
    single = net_of_shape("odd widths", dtype="float32")
    single.weights, single.biases = double.weights, double.biases
    x = features(1, 7)[0]
    expected, J = np.empty((3, 7)), np.empty((3, 7), np.float32)
    jacobian(double.jit(), x, expected)
    jacobian(single.jit(), x.astype(np.float32), J)
    np.testing.assert_allclose(J, expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_off():
    model = Model([16, Dropout(0.5), 3], loss="squared_error", seed=0).build(4)
    X = features(9, 4, "float32")
    np.testing.assert_array_equal(outputs(model.jit(), X), model.predict(X))


def test_a_fused_softmax_gives_probabilities():
    model = classifier([5, Dense(3, "softmax")]).build(4)
    X = features(9, 4, "float32")
    out = outputs(model.jit(), X)
    np.testing.assert_array_equal(out, model.predict(X))
    np.testing.assert_allclose(out.sum(1), 1, rtol=1e-6)


def test_from_python_the_methods_do_the_same():
    model = net_of_shape("odd widths")
    net, X = model.jit(), features(8, 7)
    out = np.empty((8, 3))
    net.predict(X, out)
    np.testing.assert_array_equal(out, model.predict(X))
    net.predict_row(X[2], out[0])
    np.testing.assert_array_equal(out[0], out[2])
    expected, J, dx = np.empty((3, 7)), np.empty((3, 7)), np.empty(7)
    jacobian(net, X[0], expected)
    net.jacobian_row(X[0], J)
    np.testing.assert_array_equal(J, expected)
    net.vjp_row(X[0], np.array([0.0, 1.0, 0.0]), dx)
    np.testing.assert_array_equal(dx, J[1])


def test_widths_and_texts():
    model = net_of_shape("odd widths", dtype="float32")
    net = model.jit()
    assert widths(net) == (net.n_features, net.n_outputs) == (7, 3)
    assert repr(net).startswith("JitNet(7-13-21-3, float32, at 0x")


# ----------------------------------------------------------------------------------------- memory and aliasing


def test_out_may_be_x():
    model = regressor([8, 3], dtype="float64").build(3)
    x = features(1, 3)[0]
    true = model.predict(x[None])[0]
    model.jit().predict_row(x, x)
    np.testing.assert_array_equal(x, true)


def test_x_may_be_read_only():
    model = net_of_shape("odd widths")
    X = features(4, 7)
    X.flags.writeable = False
    np.testing.assert_array_equal(outputs(model.jit(), X), model.predict(X))


def test_nothing_is_written_beside_the_outputs():
    for shape in SHAPES:
        model = net_of_shape(shape, dtype="float32")
        net, X = model.jit(), features(3, model.n_features, "float32")
        n = 3 * model.n_outputs
        room = np.full(n + 64, 7, np.float32)
        out = room[32 : 32 + n].reshape(3, -1)
        rows(net, X, out)
        all_rows(net, X, out)
        assert (room[:32] == 7).all()
        assert (room[32 + n :] == 7).all()


@needs_compiler
def test_no_allocation():
    net = regressor(dtype="float64").build(3).jit()
    X, out = features(100, 3), np.empty((100, 2))
    rows(net, X, out)

    @numba.njit
    def allocates(net):
        return np.empty(net.n_outputs).sum()

    allocates(net)
    for function, does in ((rows, False), (allocates, True)):
        text = function.inspect_llvm(function.signatures[-1])
        assert ("MemInfo_alloc" in text) == does


# --------------------------------------------------------------------------------------- which weights it follows


def test_a_net_follows_training_and_a_copy_does_not():
    model = regressor(dtype="float64").build(3)
    X, y = features(45, 3), features(45, 2, seed=1)
    net, fixed, before = model.jit(), model.jit(copy=True), model.predict(X)
    np.testing.assert_array_equal(outputs(net, X), before)
    model.fit(X, y, epochs=2)
    np.testing.assert_array_equal(outputs(net, X), model.predict(X))
    np.testing.assert_array_equal(outputs(fixed, X), before)
    assert (outputs(net, X) != before).any()
    model.weights[0][...] = 0
    np.testing.assert_array_equal(outputs(net, X), model.predict(X))
    state = model.snapshot()
    model.train_on_batch(X, y)
    model.restore(state)
    np.testing.assert_array_equal(outputs(net, X), model.predict(X))


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_a_net_follows_a_solver(optimizer):
    model = regressor(dtype="float64", optimizer=optimizer).build(3)
    X, y = features(45, 3), features(45, 2, seed=1)
    net = model.jit()
    before = outputs(net, X)
    model.fit(X, y, epochs=3)
    np.testing.assert_array_equal(outputs(net, X), model.predict(X))
    assert (outputs(net, X) != before).any()


def test_a_net_follows_the_running_average():
    averaging = fastnn.SGD(0.1, ema_momentum=0.9)
    model = regressor(dtype="float64", optimizer=averaging).build(3)
    X, y = features(45, 3), features(45, 2, seed=1)
    net = model.jit()

    def check():
        np.testing.assert_array_equal(outputs(net, X), model.predict(X))

    check()
    model.fit(X, y)
    check()
    model.train_on_batch(X, y)
    check()
    fixed = model.jit(copy=True)
    kept = model.predict(X)
    model.optimizer = fastnn.SGD(0.1)
    check()
    assert (model.predict(X) != kept).any()
    model.fit(X, y)
    check()
    model.optimizer = averaging
    check()
    model.fit(X, y)
    check()
    model.optimizer = "adam"
    check()
    np.testing.assert_array_equal(outputs(fixed, X), kept)


def test_a_net_lives_longer_than_its_model():
    model = regressor(dtype="float64").build(3)
    X = features(5, 3)
    net, true = model.jit(), model.predict(X)
    del model
    np.testing.assert_array_equal(outputs(net, X), true)


def test_two_nets_one_compilation():
    nets = [regressor([4, 2], dtype="float64", seed=k).build(3) for k in range(3)] + [net_of_shape("wide")]
    for model in nets:
        X = features(6, model.n_features)
        np.testing.assert_array_equal(outputs(model.jit(), X), model.predict(X))
    if not JIT_DISABLED:
        kinds = [sig for sig in rows.signatures if sig[0].dtype == numba.float64 and sig[1].mutable]
        assert len(kinds) == 1


# --------------------------------------------------------------------------------------------- copies and pickles


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("shape", ["odd widths", "narrow"])
def test_copies(shape, duplicate):
    model = net_of_shape(shape, fastnn.leaky_relu(0.3))
    X = features(5, model.n_features)
    true = model.predict(X)
    made = duplicate(model.jit())
    assert isinstance(made, JitNet)
    model.weights[0][...] = 0
    np.testing.assert_array_equal(outputs(made, X), true)


def test_a_custom_activation_is_copied_but_not_pickled():
    model = net_of_shape("odd widths", ACTIVATIONS["custom"])
    X = features(5, 7)
    net = copy.copy(model.jit())
    np.testing.assert_array_equal(outputs(net, X), model.predict(X))
    with pytest.raises(TypeError, match=r"layers\[0\] is a custom function"):
        pickle.dumps(net)


# --------------------------------------------------------------------------------------------------------- threads


@needs_compiler
def test_prange_and_threads():
    model = net_of_shape("odd widths")
    net, X = model.jit(), features(2000, 7)
    true = model.predict(X)
    out = np.empty_like(true)
    parallel_rows(net, X, out)
    np.testing.assert_array_equal(out, true)
    wrong = []

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(X))
        for _ in range(20):
            if (outputs(net, X[order]) != true[order]).any():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("call", ["compiled", "python"])
def test_wrong_shapes(call):
    net = net_of_shape("odd widths").jit()
    x, out, J = np.zeros(7), np.zeros(3), np.zeros((3, 7))

    def predict_row(x, out):
        rows(net, x[None], out[None]) if call == "compiled" else net.predict_row(x, out)

    def predict(X, out):
        all_rows(net, X, out) if call == "compiled" else net.predict(X, out)

    def vjp_row(x, v, dx):
        vjp(net, x, v, dx) if call == "compiled" else net.vjp_row(x, v, dx)

    def jacobian_row(x, J):
        jacobian(net, x, J) if call == "compiled" else net.jacobian_row(x, J)

    for run, arguments, name in [
        (predict_row, (np.zeros(6), out), "x"),
        (predict_row, (x, np.zeros(4)), "out"),
        (predict, (np.zeros((2, 8)), np.zeros((2, 3))), "X"),
        (predict, (np.zeros((2, 7)), np.zeros((3, 3))), "out"),
        (predict, (np.zeros((2, 7)), np.zeros((2, 2))), "out"),
        (vjp_row, (np.zeros(8), out, x), "x"),
        (vjp_row, (x, np.zeros(2), x), "v"),
        (vjp_row, (x, out, np.zeros(6)), "dx"),
        (jacobian_row, (np.zeros(6), J), "x"),
        (jacobian_row, (x, np.zeros((7, 3))), "J"),
    ]:
        with pytest.raises(ValueError, match=rf"\b{name}\b.* must have|{name} must be"):
            run(*arguments)


@needs_compiler
def test_wrong_types_are_errors_of_compilation():
    net = net_of_shape("odd widths").jit()
    x, out = np.zeros(7), np.zeros(3)
    strided = np.zeros(14)[::2]
    fixed = np.zeros(3)
    fixed.flags.writeable = False

    @numba.njit
    def row(net, x, out):
        net.predict_row(x, out)

    for arguments, name in [
        ((x.astype(np.float32), out), "x"),
        ((x, np.zeros(3, np.int64)), "out"),
        ((strided, out), "x"),
        ((x[None], out), "x"),
        ((1.0, out), "x"),
    ]:
        with pytest.raises(numba.TypingError, match=f"{name} must be a C-contiguous array of float64 with 1 dimension"):
            row(net, *arguments)
        with pytest.raises((TypeError, ValueError), match=f"{name} must be a C-contiguous array of float64"):
            net.predict_row(*arguments)
    with pytest.raises(numba.TypingError, match="out must be writable"):
        row(net, x, fixed)
    with pytest.raises(ValueError, match="out must be writable"):
        net.predict_row(x, fixed)


@needs_compiler
def test_a_global_net_is_refused():
    net = net_of_shape("odd widths").jit()
    nets = (net, 1.0)

    @numba.njit
    def of_closure(x, out):
        net.predict_row(x, out)

    @numba.njit
    def of_tuple(x, out):
        nets[0].predict_row(x, out)

    for function in (of_closure, of_tuple):
        with pytest.raises(numba.TypingError, match="a JitNet must be an argument of the compiled function"):
            function(np.zeros(7), np.zeros(3))


@needs_compiler
def test_nets_in_a_tuple_are_arguments():
    @numba.njit
    def both(nets, x, out):
        nets[0].predict_row(x, out[0])
        nets[1].predict_row(x, out[1])

    models = [regressor(dtype="float64", seed=k).build(3) for k in range(2)]
    x, out = features(1, 3), np.empty((2, 2))
    both((models[0].jit(), models[1].jit()), x[0], out)
    np.testing.assert_array_equal(out, np.concatenate([model.predict(x) for model in models]))


def test_before_build_and_bad_options():
    model = regressor()
    with pytest.raises(ValueError, match="no weights yet"):
        model.jit()
    model.build(3)
    with pytest.raises(TypeError, match="copy must be"):
        model.jit(copy="yes")


def test_limits_of_the_stack():
    wide = Model([16384, 1], loss="squared_error", dtype="float64", seed=0).build(1)
    x, out = np.ones(1), np.empty(1)
    net = wide.jit()
    net.predict_row(x, out)
    np.testing.assert_array_equal(out[None], wide.predict(x[None]))
    with pytest.raises(ValueError, match="256 KiB"):
        net.vjp_row(x, out, x)
    if not JIT_DISABLED:
        with pytest.raises(ValueError, match="256 KiB"):
            vjp(net, x, out, x)
    with pytest.raises(ValueError, match="at most 16384 units and features"):
        Model([16385, 1], loss="squared_error", dtype="float64", seed=0).build(1).jit()


# ---------------------------------------------------------------------------------------------- two processes

USER = """
import numba
import numpy as np

@numba.njit(cache=True)
def total(net, X):
    out = np.empty(net.n_outputs, X.dtype)
    s = 0.0
    for i in range(len(X)):
        net.predict_row(X[i], out)
        s += out[0]
    return s
"""

PROCESS = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
import fastnn
from user import total
model = fastnn.Model([6, 1], loss="squared_error", dtype="float64", seed={seed}).build(2)
X = np.linspace(-1, 1, 20).reshape(10, 2)
assert np.isclose(total(model.jit(), X), model.predict(X).sum(), rtol=1e-12)
wide = fastnn.Model([30, 1], loss="squared_error", dtype="float64", seed={seed}).build(2)
assert np.isclose(total(wide.jit(), X), wide.predict(X).sum(), rtol=1e-12)
print(sum(total.stats.cache_hits.values()), sum(total.stats.cache_misses.values()))
"""


@needs_compiler
@pytest.mark.slow
def test_a_cached_function_of_the_user_serves_other_weights(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    assert run_python(PROCESS.format(folder=str(tmp_path), seed=1)).split() == ["0", "1"]
    assert run_python(PROCESS.format(folder=str(tmp_path), seed=5)).split() == ["1", "0"]


def test_the_type_states_dtype_and_abi():
    net = regressor(dtype="float64").build(3).jit()
    other = regressor([30, 2], dtype="float64").build(5).jit(copy=True)
    single = regressor().build(3).jit()
    assert numba.typeof(net) == numba.typeof(other) != numba.typeof(single)
    assert str(numba.typeof(net)) == "JitNet(float64, abi=1)"


def test_import_does_not_load_it():
    loaded = run_python("import sys, fastnn; print([name for name in sys.modules if name.endswith(('.jit', '.row'))])")
    assert not [name for name in ast.literal_eval(loaded) if name.startswith("fastnn")]
