"""Derivatives by the inputs, and training on a loss from outside beside a step of training."""

from __future__ import annotations

from itertools import product

import numpy as np

import fastnn
from fastnn._engine.processors import available_threads

from .timing import median

NETS = {"10-64-64-3": (10, 64, 64, 3), "784-256-128-10": (784, 256, 128, 10)}
DTYPES = ["float32", "float64"]


def _model(net: str, dtype: str, threads: int) -> fastnn.Model:
    if threads > available_threads():
        raise NotImplementedError  # would measure the scheduler
    n_features, *hidden, n_outputs = NETS[net]
    layers = [*(fastnn.Dense(n, "tanh") for n in hidden), fastnn.Dense(n_outputs)]
    return fastnn.Model(layers, loss="squared_error", seed=0, dtype=dtype, n_threads=threads).build(n_features)


class ByInputs:
    """`Model.jacobian`, `vjp`, `jvp`, `jet` and `hvp`: microseconds per call, checks of the input included."""

    params = (list(NETS), DTYPES, [1, 4096], [1, 2])
    param_names = ("net", "dtype", "rows", "threads")
    skip_params = [case for case in product(*params) if case[2] == 1 and case[3] > 1]  # noqa: RUF012
    unit = "us"
    timeout = 300

    def setup(self, net: str, dtype: str, rows: int, threads: int) -> None:
        self.model = _model(net, dtype, threads)
        rng = np.random.default_rng(0)
        self.X, self.U = (rng.standard_normal((rows, NETS[net][0])).astype(dtype) for _ in range(2))
        self.V = rng.standard_normal((rows, NETS[net][-1])).astype(dtype)

    def track_jacobian(self, net: str, dtype: str, rows: int, threads: int) -> float:
        return 1e6 * median(lambda count: [self.model.jacobian(self.X) for _ in range(count)])

    def track_vjp(self, net: str, dtype: str, rows: int, threads: int) -> float:
        return 1e6 * median(lambda count: [self.model.vjp(self.X, self.V) for _ in range(count)])

    def track_jvp(self, net: str, dtype: str, rows: int, threads: int) -> float:
        return 1e6 * median(lambda count: [self.model.jvp(self.X, self.U) for _ in range(count)])

    def track_jet(self, net: str, dtype: str, rows: int, threads: int) -> float:
        return 1e6 * median(lambda count: [self.model.jet(self.X, self.U) for _ in range(count)])

    def track_hvp(self, net: str, dtype: str, rows: int, threads: int) -> float:
        return 1e6 * median(lambda count: [self.model.hvp(self.X, self.U, self.V) for _ in range(count)])


class TrainOnOutput:
    """`Model.train_on_output` with a squared error in NumPy, over the time of `train_on_batch`."""

    params = (list(NETS), DTYPES, [32, 4096], [1, 2])
    param_names = ("net", "dtype", "rows", "threads")
    unit = "times train_on_batch"
    timeout = 300

    def setup(self, net: str, dtype: str, rows: int, threads: int) -> None:
        self.model = _model(net, dtype, threads)
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((rows, NETS[net][0])).astype(dtype)
        self.y = rng.standard_normal((rows, NETS[net][-1])).astype(dtype)

    def track_ratio(self, net: str, dtype: str, rows: int, threads: int) -> float:
        def loss(outputs: np.ndarray) -> tuple[float, np.ndarray]:
            e = outputs - self.y
            return float(np.vdot(e, e)) / e.size, e * np.asarray(2 / e.size, e.dtype)

        outside = median(lambda count: [self.model.train_on_output(self.X, loss) for _ in range(count)])
        return outside / median(lambda count: [self.model.train_on_batch(self.X, self.y) for _ in range(count)])
