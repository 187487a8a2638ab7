"""Nets as C functions: `Model.low_level_callable`, and `JitNet.address` with ctypes, cffi and a C program."""

from __future__ import annotations

import ctypes
import gc
import shutil
import subprocess

import numpy as np
import pytest
from models import regressor

from fastnn import Dense, Model
from fastnn.kernels.lang.compiler import JIT_DISABLED

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="there is no compiled code")
integrate = pytest.importorskip("scipy.integrate")
ndimage = pytest.importorskip("scipy.ndimage")
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def net(n_in, n_out=1, dtype="float64", seed=0):
    return Model([Dense(9, "tanh"), n_out], loss="squared_error", dtype=dtype, seed=seed).build(n_in)


def integral(model, a=0, b=1):
    """Integrate the first output of a net by calls of `predict`."""
    return integrate.quad(lambda x: float(model.predict([[x]])[0, 0]), a, b)[0]


def tolerance(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}


@DTYPES
def test_quad(dtype):
    model = net(1, 2, dtype)
    for output in range(2):
        found = integrate.quad(model.low_level_callable(output=output), -1, 2)[0]
        expected = integrate.quad(lambda x, o=output: float(model.predict([[x]])[0, o]), -1, 2)[0]
        np.testing.assert_allclose(found, expected, **tolerance(dtype))


def test_quad_with_further_arguments_and_nquad():
    model = net(2)
    found = integrate.quad(model.low_level_callable("quad"), 0, 1, args=(0.3,))[0]
    expected = integrate.quad(lambda x: float(model.predict([[x, 0.3]])[0, 0]), 0, 1)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    found = integrate.nquad(model.low_level_callable("nquad"), [[0, 1], [-1, 1]])[0]
    # By Gauss's rule of 20 x 20 points.
    points, weights = np.polynomial.legendre.leggauss(20)
    grid = np.stack(np.meshgrid((points + 1) / 2, points, indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(found, (np.outer(weights / 2, weights).ravel() @ model.predict(grid))[0], rtol=1e-10)


def test_another_number_of_coordinates_is_nan():
    with pytest.warns(integrate.IntegrationWarning):
        assert np.isnan(integrate.quad(net(2).low_level_callable(), 0, 1)[0])


def test_two_nets_through_one_function():
    first, second = net(1, seed=1), net(1, seed=2)
    callables = [model.low_level_callable() for model in (first, second)]
    results = [integrate.quad(f, 0, 1)[0] for f in callables]
    for model, found in zip((first, second), results, strict=True):
        np.testing.assert_allclose(found, integral(model))
    assert results[0] != results[1]


def test_it_follows_training():
    model = net(1)
    f = model.low_level_callable()
    before = integrate.quad(f, 0, 1)[0]
    model.fit([[0.0], [1.0]], [1.0, 2.0], epochs=3)
    after = integrate.quad(f, 0, 1)[0]
    assert after != before
    np.testing.assert_allclose(after, integral(model))


def test_it_keeps_the_net_alive():
    model = net(1)
    expected = integral(model)
    f = model.low_level_callable()
    del model
    gc.collect()
    others = [net(1, seed=k).jit(copy=True) for k in range(20)]  # would take the freed memory
    np.testing.assert_allclose(integrate.quad(f, 0, 1)[0], expected)
    assert len(others) == 20


@DTYPES
def test_generic_filter(dtype):
    model = net(9, dtype=dtype)
    image = np.random.default_rng(0).random((12, 15))
    found = ndimage.generic_filter(image, model.low_level_callable("generic_filter"), size=3)
    expected = ndimage.generic_filter(image, lambda window: float(model.predict(window[None])[0, 0]), size=3)
    np.testing.assert_allclose(found, expected, **tolerance(dtype))


def test_generic_filter1d():
    model = net(5, 2)
    image = np.random.default_rng(0).random((4, 20))
    found = ndimage.generic_filter1d(image, model.low_level_callable("generic_filter1d", output=1), filter_size=5)

    def line(given, result):
        for i in range(len(result)):
            result[i] = model.predict(given[None, i : i + 5])[0, 1]

    np.testing.assert_allclose(found, ndimage.generic_filter1d(image, line, filter_size=5), rtol=1e-12)


def test_geometric_transform():
    model = net(2, 2)
    model.weights[1][...] *= 5
    image = np.random.default_rng(0).random((10, 11))
    found = ndimage.geometric_transform(image, model.low_level_callable("geometric_transform"), order=1)
    expected = ndimage.geometric_transform(
        image, lambda to: tuple(model.predict(np.array([to], float))[0]), order=1
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert (found != 0).any()


def test_a_filter_of_another_size_raises():
    image = np.zeros((5, 5))
    with pytest.raises(RuntimeError):
        ndimage.generic_filter(image, net(4).low_level_callable("generic_filter"), size=3)
    with pytest.raises(RuntimeError):
        ndimage.generic_filter1d(image, net(4).low_level_callable("generic_filter1d"), filter_size=3)
    with pytest.raises(RuntimeError):
        ndimage.geometric_transform(image, net(3, 2).low_level_callable("geometric_transform"))


def test_bad_arguments():
    model = net(1, 2)
    with pytest.raises(ValueError, match=r"kind must be one of 'quad', .*, got 'cubature'"):
        model.low_level_callable("cubature")
    for output in (-1, 2, 0.0, True, "0"):
        with pytest.raises(ValueError, match="output must be an integer from 0 to 1"):
            model.low_level_callable(output=output)
    with pytest.raises(ValueError, match="no weights yet"):
        regressor().low_level_callable()


# ------------------------------------------------------------------------------------------------ C by an address


@DTYPES
def test_ctypes(dtype):
    model = net(4, 3, dtype)
    made = model.jit()
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(made.address)
    X = np.random.default_rng(0).standard_normal((5, 4)).astype(dtype)
    for x, expected in zip(X, model.predict(X), strict=True):
        out = np.empty(3, dtype)
        function(x.ctypes.data, out.ctypes.data, made.pointer)
        np.testing.assert_array_equal(out, expected)


def test_one_function_for_all_nets():
    assert net(4).jit().address == net(2, 5).jit(copy=True).address != net(4, dtype="float32").jit().address


def test_cffi():
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    model = net(4, 3)
    made = model.jit()
    function = ffi.cast("void (*)(const double *, double *, const void *)", made.address)
    x, out = np.linspace(-1, 1, 4), np.empty(3)
    function(
        ffi.cast("double *", x.ctypes.data), ffi.cast("double *", out.ctypes.data), ffi.cast("void *", made.pointer)
    )
    np.testing.assert_array_equal(out, model.predict(x[None])[0])


PROGRAM = """
typedef void (*row_function)(const double *x, double *out, const void *net);

double mean(row_function f, const void *net, const double *x, int n_rows, int n_in)
{
    double sum = 0.0;
    for (int i = 0; i < n_rows; i++) {
        double y;
        f(x + i * n_in, &y, net);
        sum += y;
    }
    return sum / n_rows;
}
"""


@pytest.mark.slow
def test_a_c_program(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "mean.c").write_text(PROGRAM)
    library = tmp_path / "mean.so"
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(library), str(tmp_path / "mean.c")], check=True)
    mean = ctypes.CDLL(str(library)).mean
    mean.restype = ctypes.c_double
    mean.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    model = net(4)
    made = model.jit()
    X = np.random.default_rng(0).standard_normal((100, 4))
    np.testing.assert_allclose(mean(made.address, made.pointer, X.ctypes.data, 100, 4), model.predict(X).mean())
