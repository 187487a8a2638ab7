"""Nets and data of the benchmarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A net, a batch size and synthetic data of the right shape.

    Parameters
    ----------
    name : str
    sizes : widths, input first
    batch : rows per batch
    rows : rows of the data, a multiple of `batch`
    loss : "softmax_crossentropy" or "squared_error"
    activation : of the hidden layers
    dtype : "float32", "float64" or "mixed_bfloat16", whose arrays are float32
    epochs : epochs in one timed call; several where one takes microseconds
    optimizer : "adam", "sgd", "momentum", "rmsprop" or "adagrad"
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    rows: int
    loss: str = "softmax_crossentropy"
    activation: str = "relu"
    dtype: str = "float32"
    epochs: int = 1
    optimizer: str = "adam"

    @property
    def array_dtype(self) -> str:
        """Dtype of features, targets and weights."""
        return "float32" if self.dtype == "mixed_bfloat16" else self.dtype

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> int:
        """Required operations of an epoch: per weight and row 4 in the first layer, 6 in the others."""
        products = [a * b for a, b in pairwise(self.sizes)]
        return (6 * sum(products) - 2 * products[0]) * self.rows

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return standard normal features, and random labels or standard normal targets."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.rows, self.sizes[0])).astype(self.array_dtype)
        if self.loss == "softmax_crossentropy":
            return X, rng.integers(0, self.sizes[-1], self.rows)
        return X, rng.standard_normal((self.rows, self.sizes[-1])).astype(self.array_dtype)

    def start(self) -> list[np.ndarray]:
        """Return the start weights, the same for all peers; (n_in, n_out) per layer."""
        return he_normal(self.sizes, self.array_dtype)

    def to_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return {**asdict(self), "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Workload:
        """Of a JSON report."""
        return cls(**{**fields, "sizes": tuple(fields["sizes"])})


@dataclass(frozen=True)
class Inference:
    """A net (ReLU, linear output) and how many rows are predicted by one call.

    The dtype is "float32" or "mixed_bfloat16"; arrays are float32 in both.
    """

    sizes: tuple[int, ...]
    rows: int
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Widths and rows, and the dtype where it is not float32."""
        special = "" if self.dtype == "float32" else f"/{self.dtype}"
        return f"{'-'.join(map(str, self.sizes))}/{self.rows}{special}"

    @property
    def flops(self) -> int:
        """Required operations of a call."""
        return 2 * self.rows * sum(a * b for a, b in pairwise(self.sizes))

    def data(self) -> np.ndarray:
        """Return standard normal features."""
        return np.random.default_rng(0).standard_normal((self.rows, self.sizes[0]), np.float32)

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights (n_in, n_out) and biases (n_out,) of each layer; biases are not zero."""
        rng = np.random.default_rng(2)
        return [(w, rng.standard_normal(w.shape[1], np.float32)) for w in he_normal(self.sizes, "float32")]

    def outputs(self) -> np.ndarray:
        """Return the expected outputs, computed in double precision; (rows, n_out)."""
        a = self.data().astype(np.float64)
        layers = self.parameters()
        for w, b in layers[:-1]:
            a = np.maximum(a @ w + b, 0)
        return a @ layers[-1][0] + layers[-1][1]

    def to_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return {**asdict(self), "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Inference:
        """Of a JSON report."""
        return cls(**{**fields, "sizes": tuple(fields["sizes"])})


def he_normal(sizes: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Weights of each layer, (n_in, n_out), by He's normal rule."""
    rng = np.random.default_rng(1)
    return [(rng.standard_normal((i, o)) * (2 / i) ** 0.5).astype(dtype) for i, o in pairwise(sizes)]


def _width(w: int) -> Workload:
    """Two hidden layers of `w` units; fewer rows where they are wide, more epochs where they are narrow."""
    return Workload(f"width {w}", (w, w, w, 10), 128, min(8192, 2**21 // w), epochs=max(1, 256 // w))


TRAINING = (
    Workload("tiny", (2, 16, 16, 2), 32, 2048, epochs=100),
    Workload("small", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10),
    Workload("mnist", (784, 128, 64, 10), 128, 12800, epochs=5),
    Workload("chains", (4, 32, 16, 4), 10_000, 10_000, activation="tanh", epochs=50),
    Workload("wide", (784, 1024, 1024, 10), 256, 6400),
    Workload("big", (1024, 2048, 2048, 1024), 512, 2048, loss="squared_error"),
)

#: Further shapes and settings, for which nothing was tuned.
MORE = (
    Workload("deep", (8, *[32] * 7, 1), 64, 4096, loss="squared_error", epochs=10),
    Workload("odd", (17, 37, 53, 3), 50, 5000, epochs=10),
    Workload("batch-1", (16, 64, 64, 1), 1, 1024, loss="squared_error", epochs=40),
    Workload("batch-8", (784, 128, 64, 10), 8, 2048, epochs=8),
    Workload("batch-1024", (784, 128, 64, 10), 1024, 10_240, epochs=6),
    Workload("double", (784, 128, 64, 10), 128, 6400, dtype="float64", epochs=5),
    Workload("tanh", (784, 128, 64, 10), 128, 12_800, activation="tanh", epochs=5),
    Workload("sigmoid", (16, 64, 64, 1), 128, 8192, loss="squared_error", activation="sigmoid", epochs=10),
    Workload("sgd", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10, optimizer="sgd"),
    Workload("momentum", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10, optimizer="momentum"),
    Workload("rmsprop", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10, optimizer="rmsprop"),
    Workload("adagrad", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10, optimizer="adagrad"),
    Workload("logistic", (784, 10), 128, 12_800, epochs=16),
    Workload("linear", (8, 1), 128, 8192, loss="squared_error", epochs=20),
    Workload("medium", (100, 300, 300, 10), 200, 8000, epochs=4),
    Workload("broad", (64, 512, 512, 8), 64, 4096, epochs=4),
)

#: Products of bfloat16 numbers, added in float32. There are few rows, because PyTorch takes seconds for a step of the
#: wide nets where the processor has no instruction for them.
MIXED = (
    Workload("mixed-mnist", (784, 128, 64, 10), 128, 3840, dtype="mixed_bfloat16", epochs=5),
    Workload("mixed-wide", (784, 1024, 1024, 10), 256, 1280, dtype="mixed_bfloat16", epochs=2),
    Workload("mixed-big", (1024, 2048, 2048, 1024), 512, 1024, loss="squared_error", dtype="mixed_bfloat16"),
)

#: Cost against width.
WIDTHS = tuple(_width(2**k) for k in range(3, 12))

INFERENCE = tuple(
    Inference(sizes, rows)
    for sizes in ((10, 64, 64, 1), (784, 256, 128, 10), (784, 1024, 1024, 10))
    for rows in (1, 32, 4096)
)
MIXED_INFERENCE = tuple(Inference((784, 1024, 1024, 10), rows, "mixed_bfloat16") for rows in (32, 4096))
