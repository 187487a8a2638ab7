"""Benchmarks of kernels: products relative to the FMA peak, updates to the memory bandwidth, elementwise functions.

A kernel with a bound is reported as a multiple of the time at that bound, measured in the same process: 1.25 is a share
of 1 / 1.25 = 80 %. asv treats smaller values as better, so the share itself would report gains as losses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import optimizers
from fastnn._engine.system_info import fma_peak
from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at, lanes, load, n_lanes, store, transpose_block
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.lane_product import lane_product
from fastnn.kernels.linalg.microkernel import nothing
from fastnn.kernels.maths.elementary import exp, expm1, log, sigmoid, tanh
from fastnn.kernels.nn.dispatch import N_HYPER, N_SCALARS, activate_output, coefficients, read_scalars, update
from fastnn.kernels.nn.rules import ACTIVATIONS, OPTIMIZERS
from fastnn.kernels.tables import aligned_zeros, leading_dimension, padded

from .timing import best

DTYPES = ["float32", "float64"]
#: Names of the elementwise functions; `elementwise` receives the index of one.
FUNCTIONS = ["exp", "expm1", "log", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softmax", "transpose"]
EXP, EXPM1, LOG, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTMAX, TRANSPOSE = range(len(FUNCTIONS))
RELU_CODE, LEAKY_RELU_CODE, ELU_CODE, SOFTMAX_CODE = (
    ACTIVATIONS[name].code for name in ("relu", "leaky_relu", "elu", "softmax")
)
#: Rows and columns of their matrix: 16 KiB of float32, which stay in the first-level cache.
SIDE = 64


@kernel
def product(
    a: Any, a_row: int, a_k: int, b: Any, ldb: int, init: Any, c: Any, m: int, n: int, depth: int, count: int
) -> None:
    """Compute C = init + A B `count` times; C is laid out as B, and its rows start from one row `init`."""
    for _ in range(count):
        none = nothing(at(a, 0))
        gemm(at(a, 0), a_row, a_k, at(b, 0), ldb, at(init, 0), 0, at(c, 0), ldb, m, n, depth, none, none)


@kernel
def product_by_lane(
    x: Any, x_row: int, x_k: int, w: Any, w_k: int, w_column: int, init: Any, y: Any, y_row: int, rows: int,
    columns: int, depth: int, count: int,
) -> None:  # fmt: skip
    """Compute y = init + x w of a net in each lane `count` times; the rows of y start from one row `init`."""
    for _ in range(count):
        v = lanes(at(x, 0))
        lane_product(
            at(x, 0), x_row, x_k, at(w, 0), w_k, w_column, at(init, 0), 0, v, at(y, 0), y_row, v, rows, columns, depth
        )


@kernel
def elementwise(function: int, x: Any, y: Any, count: int) -> None:
    """Overwrite y by function(x), `count` times; the activations of layers work on y in place."""
    n = x.size
    for _ in range(count):
        p, q = at(x, 0), at(y, 0)
        v = lanes(p)
        if function == EXP:
            for i in range(0, n, v):
                store(at(q, i), exp(load(at(p, i))))
        elif function == EXPM1:
            for i in range(0, n, v):
                store(at(q, i), expm1(load(at(p, i))))
        elif function == LOG:
            for i in range(0, n, v):
                store(at(q, i), log(load(at(p, i))))
        elif function == SIGMOID:
            for i in range(0, n, v):
                store(at(q, i), sigmoid(load(at(p, i))))
        elif function == TANH:
            for i in range(0, n, v):
                store(at(q, i), tanh(load(at(p, i))))
        elif function == RELU:
            activate_output(RELU_CODE, 0.0, 0, q, q, SIDE, SIDE, SIDE)
        elif function == LEAKY_RELU:
            activate_output(LEAKY_RELU_CODE, 0.01, 0, q, q, SIDE, SIDE, SIDE)
        elif function == ELU:
            activate_output(ELU_CODE, 1.0, 0, q, q, SIDE, SIDE, SIDE)
        elif function == SOFTMAX:
            activate_output(SOFTMAX_CODE, 0.0, 0, q, q, SIDE, SIDE, SIDE)
        elif function == TRANSPOSE:
            for i in range(0, SIDE, v):
                for j in range(0, SIDE, v):
                    transpose_block(at(p, i * SIDE + j), SIDE, at(q, j * SIDE + i), SIDE)


@kernel
def coefficients_of_step(optimizer: int, rate: float, hyper: Any, scalars: Any) -> Any:
    """Return the coefficients of step 1000."""
    return coefficients(optimizer, rate, 0.0, hyper, read_scalars(scalars), 1000.0)


@kernel
def updates(optimizer: int, rates: Any, arrays: Any, count: int) -> None:
    """Run `count` updates of all parameters; rows of `arrays` are w, g and three slots."""
    n = arrays.shape[1]
    for _ in range(count):
        update(
            optimizer, rates, at(arrays, 0), at(arrays, n), at(arrays, 2 * n), n, n
        )


class Products:
    """Products of a layer by its numbers of inputs and outputs, with one thread."""

    params = (
        DTYPES,
        ["forward", "gradient", "backward"],
        ["32x16x16", "128x32x16", "128x784x128", "128x64x10", "64x1024x1024"],
    )
    param_names = ("dtype", "product", "batch x inputs x outputs")
    unit = "x the time at the FMA peak"
    timeout = 300

    def setup(self, dtype: str, form: str, shape: str) -> None:
        rows, n_in, n_out = map(int, shape.split("x"))
        # Rows, columns and length of the sum; a gradient reads the layer's input down its columns, and the backward
        # pass streams the transposed copy of the weights.
        m, n, depth = {
            "forward": (rows, n_out, n_in), "gradient": (n_in, n_out, rows), "backward": (rows, n_in, n_out)
        }[form]  # fmt: skip
        ld_a, ld = leading_dimension(m if form == "gradient" else depth, dtype), leading_dimension(n, dtype)
        a = aligned_zeros((depth if form == "gradient" else m) * ld_a, dtype)
        b, c = aligned_zeros(depth * ld, dtype), aligned_zeros(m * ld, dtype)
        init = aligned_zeros(ld, dtype)
        a[:], b[:] = 0.5, 0.25
        strides = (1, ld_a) if form == "gradient" else (ld_a, 1)
        self.flops = 2 * m * n * depth
        self.run = lambda count: product(a, *strides, b, ld, init, c, m, padded(n, dtype), depth, count)
        self.run(1)

    def track_time_over_peak(self, dtype: str, form: str, shape: str) -> float:
        return best(self.run) * fma_peak(dtype, 1) / self.flops


class LaneProducts:
    """Products of a layer of V nets, one in each lane, with one thread; rows are those that pass the nets together."""

    params = (DTYPES, ["forward", "gradient", "backward"], ["8x4x16", "8x16x16", "32x16x16", "8x16x1", "8x30x8"])
    param_names = ("dtype", "product", "rows x inputs x outputs")
    unit = "x the time at the FMA peak"
    timeout = 300

    def setup(self, dtype: str, form: str, shape: str) -> None:
        rows, n_in, n_out = map(int, shape.split("x"))
        v = n_lanes(np.dtype(dtype))
        inputs, outputs, weights, bias = (
            aligned_zeros(n * v, dtype) for n in (rows * n_in, rows * n_out, n_in * n_out, max(n_in, n_out))
        )
        inputs[:], weights[:] = 0.5, 0.25
        ld_in, ld = n_in * v, n_out * v
        # Strides of row and sum of the left matrix, then of sum and column of the right one.
        arguments: dict[str, tuple[Any, ...]] = {
            "forward": (inputs, ld_in, v, weights, ld, v, bias, outputs, ld, rows, n_out, n_in),
            "gradient": (inputs, v, ld_in, outputs, ld, v, bias, weights, ld, n_in, n_out, rows),
            "backward": (outputs, ld, v, weights, v, ld, bias, inputs, ld_in, rows, n_in, n_out),
        }
        self.flops = 2 * v * rows * n_in * n_out
        self.run = lambda count: product_by_lane(*arguments[form], count)
        self.run(1)

    def track_time_over_peak(self, dtype: str, form: str, shape: str) -> float:
        return best(self.run) * fma_peak(dtype, 1) / self.flops


class Elementwise:
    """Nanoseconds per element of 64 x 64 in cache."""

    params = (DTYPES, FUNCTIONS)
    param_names = ("dtype", "function")
    unit = "ns"
    timeout = 300

    def setup(self, dtype: str, function: str) -> None:
        x = aligned_zeros(SIDE * SIDE, dtype)
        x[:] = np.linspace(0.1, 5.0, x.size)
        y = aligned_zeros(x.size, dtype)
        y[:] = x
        code = FUNCTIONS.index(function)
        self.run = lambda count: elementwise(code, x, y, count)
        self.run(1)

    def track_element(self, dtype: str, function: str) -> float:
        return 1e9 * best(self.run) / SIDE**2


class _Updates:
    """Updates of a number of parameters by one thread."""

    #: Optimizers, and the arrays that each reads: w, g and its slots.
    reads = {rule.name.upper(): 2 + len(rule.slots) for rule in OPTIMIZERS}  # noqa: RUF012
    params = (DTYPES, list(reads))
    param_names = ("dtype", "optimizer")
    timeout = 300
    parameters = 0

    def setup(self, dtype: str, optimizer: str) -> None:
        arrays = aligned_zeros(5 * self.parameters, dtype).reshape(5, self.parameters)
        arrays[:2] = 0.01
        rule = OPTIMIZERS[optimizer.lower()]
        code, hyper = rule.code, optimizers.get(rule.name).hyper
        hyper = np.array([*hyper, *[0.0] * (N_HYPER - len(hyper))])
        rates = coefficients_of_step(code, 1e-6, hyper, np.full(N_SCALARS, 0.5))
        self.run = lambda count: updates(code, rates, arrays, count)
        self.run(1)


class UpdatesInCache(_Updates):
    """Nanoseconds per parameter of 4096."""

    unit = "ns"
    parameters = 4096

    def track_parameter(self, dtype: str, optimizer: str) -> float:
        return 1e9 * best(self.run) / self.parameters


class UpdatesInMemory(_Updates):
    """8 million parameters, relative to the time of reading the arrays that an update reads.

    Writes to memory overlap with it: one core is limited by the latency of the lines that it reads.
    """

    unit = "x the time of reading memory"
    parameters = 1 << 23

    def track_time_over_memory(self, dtype: str, optimizer: str) -> float:
        # Imported here, so that for older commits only this benchmark fails.
        from fastnn._engine.system_info import cache_sizes, read_bandwidth

        n_bytes = self.reads[optimizer] * self.parameters * np.dtype(dtype).itemsize
        size = min(4 * max(cache_sizes().values()), 256 << 20)
        return best(self.run) * read_bandwidth(size, 1) / n_bytes
