"""Benchmarks of training: time of epochs, and the loss after them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import fastnn
from fastnn._engine.processors import available_threads

from .workloads import TRAINING, Workload

BY_NAME = {work.name: work for work in TRAINING}
OPTIMIZERS = {
    "sgd": fastnn.SGD(0.01),
    "momentum": fastnn.SGD(0.01, momentum=0.9),
    "nesterov": fastnn.SGD(0.01, momentum=0.9, nesterov=True),
    "adagrad": fastnn.AdaGrad(0.01),
    "rmsprop": fastnn.RMSProp(0.001),
    "adam": fastnn.Adam(0.001),
    "amsgrad": fastnn.Adam(0.001, amsgrad=True),
    "nadam": fastnn.NAdam(0.001),
    "lion": fastnn.Lion(0.0001),
}
#: Options of training, each alone: settings of the layers, the optimizer, the loss and `fit`.
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "dropout": {"dropout": 0.2},
    "max_norm": {"max_norm": 3.0},
    "clipvalue": {"optimizer": fastnn.Adam(0.001, clipvalue=0.1)},
    "global_clipnorm": {"optimizer": fastnn.Adam(0.001, global_clipnorm=1.0)},
    "ema": {"optimizer": fastnn.Adam(0.001, ema_momentum=0.99)},
    "label_smoothing": {"loss": fastnn.losses.softmax_crossentropy(0.1)},
    "noise": {"augmentation": fastnn.Augmentation(noise=0.1)},
    "mixup": {"augmentation": fastnn.Augmentation(mixup=0.2)},
    "fgsm": {"adversary": fastnn.robust.FGSM(0.1)},
    "pgd": {"adversary": fastnn.robust.PGD(0.1, max_iter=3)},
    "schedule": {"optimizer": fastnn.Adam(fastnn.schedules.Cosine(0.001, epochs=10))},
}


def model_for(
    work: Workload,
    *,
    n_threads: int = 1,
    optimizer: Any = OPTIMIZERS["adam"],
    loss: Any = None,
    dropout: float = 0.0,
    max_norm: float | None = None,
) -> fastnn.Model:
    """Return a model of the workload with its start weights; `dropout` applies to all layers but the first."""
    layers = [
        fastnn.Dense(
            n, work.activation if k < len(work.sizes) - 2 else None, dropout=dropout if k else 0.0, max_norm=max_norm
        )
        for k, n in enumerate(work.sizes[1:])
    ]
    model = fastnn.Model(
        layers, loss=loss or work.loss, optimizer=optimizer, metrics=[], seed=0, dtype=work.dtype,
        n_threads=n_threads,
    ).build(work.sizes[0])  # fmt: skip
    for view, start in zip(model.weights, work.start(), strict=True):
        view[...] = start
    return model


@lru_cache(maxsize=1)
def _data(work: Workload) -> Any:
    """Return the data of the workload, cached, as `setup` runs before each sample."""
    return work.data()


class _Training:
    """Base: each sample trains a new model that has run its first epochs.

    asv calls `setup` before each sample if a sample is one call without warm-up (`number`, `warmup_time`). So all
    samples start with the same weights, slots and order of rows, with the code loaded and all buffers allocated, and
    the loss is that after twice the workload's epochs.
    """

    number = 1
    warmup_time = 0.0
    rounds = 2
    repeat = (2, 10, 1.0)  # minimum and maximum number of samples, seconds
    timeout = 300

    def prepare(
        self, work: Workload, *, n_threads: int = 1, augmentation: Any = None, adversary: Any = None, **settings: Any
    ) -> None:
        if n_threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        self.work = work
        self.data = _data(work)
        self.augmentation, self.adversary = augmentation, adversary
        self.model = model_for(work, n_threads=n_threads, **settings)
        self.run()

    def run(self) -> float:
        history = self.model.fit(
            *self.data, epochs=self.work.epochs, batch_size=self.work.batch, augmentation=self.augmentation,
            adversary=self.adversary, verbose=False,
        )  # fmt: skip
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


class MixedPrecision(_Training):
    """Three nets in mixed precision and in float32, few rows of the wide ones."""

    params = (["mixed_bfloat16", "float32"], ["mnist", "wide", "big"])
    param_names = ("dtype", "net")

    def setup(self, dtype: str, net: str) -> None:
        work = BY_NAME[net]
        self.prepare(replace(work, dtype=dtype, epochs=1, rows=min(work.rows, max(2 * work.batch, 1280))))

    def time_epoch(self, dtype: str, net: str) -> None:
        self.run()

    def track_loss(self, dtype: str, net: str) -> float:
        return self.run()


class Activations(_Training):
    """784-128-64-10 in both precisions with other activations."""

    params = (["float32", "float64"], ["relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu", "silu", "mish"])
    param_names = ("dtype", "activation")

    def setup(self, dtype: str, activation: str) -> None:
        self.prepare(replace(BY_NAME["mnist"], dtype=dtype, activation=activation, rows=3840))

    def time_epoch(self, dtype: str, activation: str) -> None:
        self.run()

    def track_loss(self, dtype: str, activation: str) -> float:
        return self.run()


class Optimizers(_Training):
    """784-128-64-10 in both precisions with each optimizer."""

    params = (["float32", "float64"], list(OPTIMIZERS))
    param_names = ("dtype", "optimizer")

    def setup(self, dtype: str, optimizer: str) -> None:
        self.prepare(replace(BY_NAME["mnist"], dtype=dtype, rows=3840), optimizer=OPTIMIZERS[optimizer])

    def time_epoch(self, dtype: str, optimizer: str) -> None:
        self.run()

    def track_loss(self, dtype: str, optimizer: str) -> float:
        return self.run()


class Callbacks(_Training):
    """The smallest net for 1000 epochs, with copies of its weights after some of them; "none" is the time without."""

    params = (["none", 1000, 100, 10, 1],)
    param_names = ("every",)

    def setup(self, every: Any) -> None:
        self.callback = None if every == "none" else fastnn.callbacks.Snapshots(every)
        self.prepare(replace(next(iter(BY_NAME.values())), epochs=1000))

    def run(self) -> float:
        history = self.model.fit(
            *self.data, epochs=self.work.epochs, batch_size=self.work.batch, callbacks=self.callback, verbose=False
        )
        return history["loss"][-1]

    def time_epochs(self, every: Any) -> None:
        self.run()

    def track_loss(self, every: Any) -> float:
        return self.run()


class Options(_Training):
    """Two nets with each option of training; "none" is the time without options."""

    params = (["small", "mnist"], list(OPTIONS))
    param_names = ("net", "option")

    def setup(self, net: str, option: str) -> None:
        settings = dict(OPTIONS[option])
        if BY_NAME[net].loss != "softmax_crossentropy" and "loss" in settings:
            raise NotImplementedError
        self.prepare(BY_NAME[net], **settings)

    def time_epochs(self, net: str, option: str) -> None:
        self.run()

    def track_loss(self, net: str, option: str) -> float:
        return self.run()
