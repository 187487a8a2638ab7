"""Epochs of training: their time, and beside it the loss that they reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fastnn

from .workloads import TRAINING, Workload

BY_NAME = {work.name: work for work in TRAINING}
OPTIMIZERS = {
    "sgd": fastnn.SGD(0.01),
    "momentum": fastnn.SGD(0.01, momentum=0.9),
    "adagrad": fastnn.AdaGrad(0.01),
    "rmsprop": fastnn.RMSProp(0.001),
    "adam": fastnn.Adam(0.001),
}


def model_for(work: Workload, *, n_threads: int = 1, optimizer: Any = OPTIMIZERS["adam"]) -> fastnn.Model:
    """A model of the workload at its common start."""
    hidden = [fastnn.Dense(n, work.activation) for n in work.sizes[1:-1]]
    model = fastnn.Model(
        [*hidden, fastnn.Dense(work.sizes[-1])], loss=work.loss, optimizer=optimizer, metrics=[], seed=0,
        dtype=work.dtype, n_threads=n_threads,
    ).build(work.sizes[0])  # fmt: skip
    for view, start in zip(model.weights, work.start(), strict=True):
        view[...] = start
    return model


class _Training:
    """Set-up compiles, and brings every sample to the same state: weights after one epoch."""

    number = 1
    rounds = 2
    warmup_time = 0.0
    timeout = 300

    def prepare(self, work: Workload, **settings: Any) -> None:
        self.work = work
        self.data = work.data()
        self.model = model_for(work, **settings)
        self.run()

    def run(self) -> float:
        history = self.model.fit(*self.data, epochs=self.work.epochs, batch_size=self.work.batch, verbose=False)
        return history["loss"][-1]


class Shapes(_Training):
    """Nets from a hundred to millions of weights, one and two threads."""

    params = (list(BY_NAME), [1, 2])
    param_names = ("net", "threads")

    def setup(self, net: str, threads: int) -> None:
        self.prepare(BY_NAME[net], n_threads=threads)

    def time_epochs(self, net: str, threads: int) -> None:
        self.run()

    def track_loss(self, net: str, threads: int) -> float:
        return self.run()


class Batches(_Training):
    """784-128-64-10 with batches of 1 row to 4096."""

    params = ([1, 8, 32, 128, 512, 4096],)
    param_names = ("batch",)

    def setup(self, batch: int) -> None:
        self.prepare(replace(BY_NAME["mnist"], batch=batch, rows=4096))

    def time_epoch(self, batch: int) -> None:
        self.run()

    def track_loss(self, batch: int) -> float:
        return self.run()


class Kinds(_Training):
    """784-128-64-10 with other precisions, activations and optimizers."""

    params = (["float32", "float64"], ["relu", "tanh", "sigmoid", "leaky_relu", "elu"], list(OPTIMIZERS))
    param_names = ("dtype", "activation", "optimizer")

    def setup(self, dtype: str, activation: str, optimizer: str) -> None:
        work = replace(BY_NAME["mnist"], dtype=dtype, activation=activation, rows=3840)
        self.prepare(work, optimizer=OPTIMIZERS[optimizer])

    def time_epoch(self, dtype: str, activation: str, optimizer: str) -> None:
        self.run()

    def track_loss(self, dtype: str, activation: str, optimizer: str) -> float:
        return self.run()
