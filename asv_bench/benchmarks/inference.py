"""Inference from one row to a hundred thousand."""

from __future__ import annotations

from itertools import product

import numpy as np

import fastnn
from fastnn._engine.processors import available_threads

from .timing import median

NETS = {
    "10-64-64-1": (10, 64, 64, 1),
    "784-256-128-10": (784, 256, 128, 10),
    "784-1024-1024-10": (784, 1024, 1024, 10),
}
ROWS = [1, 32, 4096, 100_000]
THREADS = [1, 2]


def _tells_nothing(net: str, rows: int, threads: int) -> bool:
    """Seconds a call of what 4096 rows show already; threads that so few rows do not start."""
    return (net == "784-1024-1024-10" and rows > 4096) or (threads > 1 and rows <= 32)


class Predict:
    """`Model.predict`, checks of the input included: microseconds per call."""

    params = (list(NETS), ROWS, THREADS)
    param_names = ("net", "rows", "threads")
    skip_params = [case for case in product(*params) if _tells_nothing(*case)]  # noqa: RUF012  (asv wants a list)
    unit = "us"
    timeout = 300

    def setup(self, net: str, rows: int, threads: int) -> None:
        if threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        sizes = NETS[net]
        self.X = np.random.default_rng(0).standard_normal((rows, sizes[0]), np.float32)
        self.model = fastnn.Model(list(sizes[1:]), loss="squared_error", seed=0, n_threads=threads).build(sizes[0])

    def track_predict(self, net: str, rows: int, threads: int) -> float:
        def run(count: int) -> None:
            for _ in range(count):
                self.model.predict(self.X)

        return 1e6 * median(run)
