"""The parts: products as a share of the measured FMA peak, elementwise functions and updates a number."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastnn.hardware import fma_peak
from fastnn.kernels import codes, elementary
from fastnn.kernels.gemm import gemm
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import aligned_zeros, leading_dimension, padded
from fastnn.kernels.optimizers import update
from fastnn.kernels.simd import at, lanes, load, store

DTYPES = ["float32", "float64"]


@kernel
def product(a: Any, a_row: int, a_k: int, b: Any, c: Any, ld: int, m: int, n: int, depth: int, count: int) -> None:
    """C = A B, `count` times."""
    for _ in range(count):
        gemm(at(a, 0), a_row, a_k, at(b, 0), ld, at(c, 0), ld, at(c, 0), ld, m, n, depth)


def _elementwise(function: Any) -> Any:
    @kernel
    def over(x: Any, y: Any, count: int) -> None:
        for _ in range(count):
            p, q = at(x, 0), at(y, 0)
            for i in range(0, x.size, lanes(p)):
                store(at(q, i), function(load(at(p, i))))

    return over


@kernel
def updates(optimizer: int, rates: Any, arrays: Any, count: int) -> None:
    """`count` updates of all parameters; rows of `arrays` are w, g, m and v."""
    n = arrays.shape[1]
    for _ in range(count):
        update(optimizer, rates, at(arrays, 0), at(arrays, n), at(arrays, 2 * n), at(arrays, 3 * n), n)


def _best(call: Any, *, least: float = 0.005) -> float:
    """Seconds of one of `count` repetitions that `call(count)` makes; the best of some runs."""
    count, best = 1, float("inf")
    call(1)
    for _ in range(20):
        start = time.perf_counter()
        call(count)
        seconds = time.perf_counter() - start
        best = min(best, seconds / count)
        if seconds < least:
            count *= 4
    return best


class Products:
    """Forward (rows of A) and gradient (columns of A) form, one thread."""

    params = (DTYPES, ["forward", "gradient"], ["32x16x16", "32x64x64", "128x784x128", "64x1024x1024"])
    param_names = ("dtype", "form", "m x k x n")
    unit = "share of the FMA peak"
    timeout = 300

    def track_share(self, dtype: str, form: str, shape: str) -> float:
        m, k, n = map(int, shape.split("x"))
        ld, lda = leading_dimension(n, dtype), leading_dimension(m if form == "gradient" else k, dtype)
        a = aligned_zeros((k if form == "gradient" else m) * lda, dtype)
        b, c = aligned_zeros(k * ld, dtype), aligned_zeros(m * ld, dtype)
        a[:], b[:] = 0.5, 0.25
        strides = (1, lda) if form == "gradient" else (lda, 1)
        seconds = _best(lambda count: product(a, *strides, b, c, ld, m, padded(n, dtype), k, count))
        return 2 * m * n * k / seconds / fma_peak(dtype, 1)


class Elementwise:
    """Nanoseconds an element of 4096 in cache."""

    params = (DTYPES, ["exp", "expm1", "tanh", "sigmoid", "log"])
    param_names = ("dtype", "function")
    unit = "ns"

    def track_element(self, dtype: str, function: str) -> float:
        over = _elementwise(getattr(elementary, function))
        x = np.linspace(0.1, 5.0, 4096).astype(dtype)
        return _best(lambda count: over(x, np.empty_like(x), count)) / x.size * 1e9


class Updates:
    """Nanoseconds a parameter, in cache and in memory."""

    params = (DTYPES, ["SGD", "MOMENTUM", "ADAGRAD", "RMSPROP", "ADAM"], [8192, 8_388_608])
    param_names = ("dtype", "optimizer", "parameters")
    unit = "ns"

    def track_parameter(self, dtype: str, optimizer: str, parameters: int) -> float:
        arrays = aligned_zeros(4 * parameters, dtype).reshape(4, parameters)
        arrays[:2] = 0.01
        rates = (1e-6, 0.9, 0.999, 1e-8, 1e-6, 1.0)
        code = getattr(codes, optimizer)
        return _best(lambda count: updates(code, rates, arrays, count)) / parameters * 1e9
