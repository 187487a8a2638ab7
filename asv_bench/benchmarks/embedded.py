"""Nets in compiled code of users: 8-32-32-1 with tanh, nanoseconds per row, and per call that is given a net."""

from __future__ import annotations

import ctypes

import numba
import numpy as np

import fastnn

from .timing import best

ROWS = 100
_POINTERS = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p


@numba.njit
def rows(net, X, out, n):  # type: ignore[no-untyped-def]
    """Predict all rows n times, one by one."""
    for _ in range(n):
        for i in range(len(X)):
            net.predict_row(X[i], out)


@numba.njit
def blocks(net, X, out, n):  # type: ignore[no-untyped-def]
    """Predict all rows n times, together."""
    for _ in range(n):
        net.predict(X, out)


@numba.njit
def gradients(net, X, v, dx, n):  # type: ignore[no-untyped-def]
    """Compute J^T v for all rows n times."""
    for _ in range(n):
        for i in range(len(X)):
            net.vjp_row(X[i], v, dx)


@numba.njit
def through_c(f, X, out, pointer, n):  # type: ignore[no-untyped-def]
    """Predict all rows n times, by the C function."""
    for _ in range(n):
        for i in range(len(X)):
            f(X[i].ctypes.data, out.ctypes.data, pointer)


@numba.njit
def empty(net):  # type: ignore[no-untyped-def]
    """Do nothing with a net."""
    return 0


class Embedded:
    """One net, by each way into it."""

    params = (["float32", "float64"],)
    param_names = ("dtype",)
    unit = "ns"
    timeout = 300

    def setup(self, dtype: str) -> None:
        layers = [fastnn.Dense(32, "tanh"), fastnn.Dense(32, "tanh"), 1]
        self.net = fastnn.Model(layers, loss="squared_error", dtype=dtype, seed=0).build(8).jit()
        self.X = np.random.default_rng(0).standard_normal((ROWS, 8)).astype(dtype)
        self.out = np.empty(1, dtype)

    def track_row(self, dtype: str) -> float:
        return 1e9 / ROWS * best(lambda n: rows(self.net, self.X, self.out, n))

    def track_rows_together(self, dtype: str) -> float:
        out = np.empty((ROWS, 1), dtype)
        return 1e9 / ROWS * best(lambda n: blocks(self.net, self.X, out, n))

    def track_gradient_of_a_row(self, dtype: str) -> float:
        v, dx = np.ones(1, dtype), np.empty(8, dtype)
        return 1e9 / ROWS * best(lambda n: gradients(self.net, self.X, v, dx, n))

    def track_row_through_c(self, dtype: str) -> float:
        f = ctypes.CFUNCTYPE(None, *_POINTERS)(self.net.address)
        return 1e9 / ROWS * best(lambda n: through_c(f, self.X, self.out, self.net.pointer, n))

    def track_handing_over(self, dtype: str) -> float:
        def run(count: int) -> None:
            net = self.net
            for _ in range(count):
                empty(net)

        return 1e9 * best(run)
