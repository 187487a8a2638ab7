"""Populations: many small nets trained at the same time."""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn._engine.processors import available_threads

from .timing import median

#: Nets, widths (the input's first), rows per update and rows, by name.
POPULATIONS = {
    "256 of 4-16-16-1, batch 32": (256, (4, 16, 16, 1), 32, 1024),
    "64 of 16-64-64-1, batch 128": (64, (16, 64, 64, 1), 128, 1024),
    "1000 of 30-8-2, batch 16": (1000, (30, 8, 2), 16, 512),
}


def new_population(name: str, activation: str, threads: int) -> tuple[fastnn.Population, np.ndarray, np.ndarray]:
    """Return a population that is built, and rows: targets of one output, or labels of two classes."""
    nets, (n_features, *hidden, n_outputs), _, rows = POPULATIONS[name]
    layers = [*(fastnn.Dense(n, activation) for n in hidden), fastnn.Dense(n_outputs)]
    loss = "squared_error" if n_outputs == 1 else "softmax_crossentropy"
    population = fastnn.Population(layers, nets, loss=loss, metrics=[], seed=0, n_threads=threads)
    for model in population:
        model.build(n_features)
    X = np.random.default_rng(0).standard_normal((rows, n_features)).astype(np.float32)
    y = np.sin(X.sum(axis=1)).astype(np.float32)
    return population, X, y if n_outputs == 1 else (y > 0).astype(np.int64)


class Populations:
    """`Population.fit` with Adam: microseconds per net and step, everything included."""

    params = (list(POPULATIONS), ["tanh", "relu"], [1, 2], ["plain", "validation"])
    param_names = ("population", "activation", "threads", "fit")
    unit = "us"
    timeout = 300

    def setup(self, population: str, activation: str, threads: int, fit: str) -> None:
        if threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        self.nets, self.X, self.y = new_population(population, activation, threads)

    def track_step(self, population: str, activation: str, threads: int, fit: str) -> float:
        n_nets, _, batch, rows = POPULATIONS[population]
        validation = (self.X[:256], self.y[:256]) if fit == "validation" else None

        def train(epochs: int) -> None:
            self.nets.fit(
                self.X, self.y, epochs=epochs, batch_size=batch, validation_data=validation, verbose=False
            )

        return 1e6 * median(train) / (n_nets * (rows // batch))
