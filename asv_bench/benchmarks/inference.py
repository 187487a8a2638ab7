"""Inference from one row to a hundred thousand."""

from __future__ import annotations

import numpy as np

import fastnn

NETS = {
    "10-64-64-1": (10, 64, 64, 1),
    "784-256-128-10": (784, 256, 128, 10),
    "784-1024-1024-10": (784, 1024, 1024, 10),
}


class Predict:
    """`Model.predict`, checks of the input included."""

    params = (list(NETS), [1, 32, 1024, 100_000], [1, 2])
    param_names = ("net", "rows", "threads")

    def setup(self, net: str, rows: int, threads: int) -> None:
        sizes = NETS[net]
        if sizes[0] * rows > 10_000_000 and sizes[1] > 256:
            raise NotImplementedError  # minutes of data for no news
        self.X = np.random.default_rng(0).standard_normal((rows, sizes[0]), np.float32)
        self.model = fastnn.Model(list(sizes[1:]), loss="squared_error", seed=0, n_threads=threads).build(sizes[0])
        self.model.predict(self.X)

    def time_predict(self, net: str, rows: int, threads: int) -> None:
        self.model.predict(self.X)
