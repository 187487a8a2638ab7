"""The nets and data that everything here is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A net, a batch size and synthetic data of the right shape.

    Parameters
    ----------
    name : str
    sizes : widths, input first
    batch : rows a batch
    rows : rows of the data, a multiple of `batch`
    loss : "softmax_crossentropy" or "squared_error"
    activation : of the hidden layers
    dtype : "float32" or "float64"
    epochs : epochs in one timed call; several where one is a matter of microseconds
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    rows: int
    loss: str = "softmax_crossentropy"
    activation: str = "relu"
    dtype: str = "float32"
    epochs: int = 1

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> int:
        """Needed operations of an epoch: 4 a weight and row in the first layer, 6 in the others."""
        products = [a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return (6 * sum(products) - 2 * products[0]) * self.rows

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Standard normal features; random labels, or standard normal targets."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.rows, self.sizes[0])).astype(self.dtype)
        if self.loss == "softmax_crossentropy":
            return X, rng.integers(0, self.sizes[-1], self.rows)
        return X, rng.standard_normal((self.rows, self.sizes[-1])).astype(self.dtype)

    def start(self) -> list[np.ndarray]:
        """Weights to start from (He's normal), the same for everybody; (n_in, n_out) a layer."""
        rng = np.random.default_rng(1)
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return [(rng.standard_normal((i, o)) * (2 / i) ** 0.5).astype(self.dtype) for i, o in pairs]

    def to_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return {
            "name": self.name, "sizes": list(self.sizes), "batch": self.batch, "rows": self.rows,
            "loss": self.loss, "activation": self.activation, "dtype": self.dtype,
            "epochs": self.epochs,
        }  # fmt: skip


TRAINING = (
    Workload("tiny", (2, 16, 16, 2), 32, 2048, epochs=100),
    Workload("small", (16, 64, 64, 1), 128, 8192, loss="squared_error", epochs=10),
    Workload("mnist", (784, 128, 64, 10), 128, 12800),
    Workload("chains", (4, 32, 16, 4), 10_000, 10_000, activation="tanh", epochs=50),
    Workload("wide", (784, 1024, 1024, 10), 256, 6400),
    Workload("big", (1024, 2048, 2048, 1024), 512, 2048, loss="squared_error"),
)
