"""Ensembles and searches: many small nets trained for one purpose, everything included."""

from __future__ import annotations

from typing import ClassVar

import fastnn
from fastnn._engine.processors import available_threads

from .timing import median

#: Rows of the digits.
ROWS = 400


class Searches:
    """`Search.fit` on the digits without refit: milliseconds for all candidates."""

    params = (["halving", "hyperband", "random"], ["split", "3 folds"], [1, 2])
    param_names = ("method", "validation", "threads")
    unit = "ms"
    timeout = 300
    space: ClassVar = {"width": [8, 16], "depth": [1, 2], "learning_rate": [1e-3, 3e-3, 1e-2], "batch_size": [16, 32]}

    def setup(self, method: str, validation: str, threads: int) -> None:
        if threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        X, y, _, _ = fastnn.datasets.load_digits()
        self.X, self.y = X[:ROWS], y[:ROWS]
        # As many candidates for a halving as for training all to the end.
        n = None if method == "hyperband" else 9
        self.search = fastnn.search.Search(
            self.space, loss="softmax_crossentropy", method=method, n_candidates=n, max_epochs=9, seed=0,
            n_threads=threads,
        )  # fmt: skip

    def track_search(self, method: str, validation: str, threads: int) -> float:
        cv = 3 if validation == "3 folds" else None

        def run(searches: int) -> None:
            for _ in range(searches):
                self.search.fit(self.X, self.y, cv=cv, refit=False)

        return 1e3 * median(run)


class Ensembles:
    """`Ensemble` of 16 nets on the digits: microseconds per net and step, and per row that is predicted."""

    params = ([False, True], [1, 2])
    param_names = ("bootstrap", "threads")
    unit = "us"
    timeout = 300

    def setup(self, bootstrap: bool, threads: int) -> None:
        if threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        X, y, self.X_test, _ = fastnn.datasets.load_digits()
        self.X, self.y = X[:ROWS], y[:ROWS]
        self.ensemble = fastnn.Ensemble(
            [16, 10], 16, loss="softmax_crossentropy", metrics=[], seed=0, n_threads=threads, bootstrap=bootstrap
        )
        self.ensemble.fit(self.X, self.y, verbose=False)

    def track_step(self, bootstrap: bool, threads: int) -> float:
        def train(epochs: int) -> None:
            self.ensemble.fit(self.X, self.y, epochs=epochs, batch_size=40, verbose=False)

        return 1e6 * median(train) / (16 * (ROWS // 40))

    def track_prediction(self, bootstrap: bool, threads: int) -> float:
        def predict(calls: int) -> None:
            for _ in range(calls):
                self.ensemble.predict_proba(self.X_test)

        return 1e6 * median(predict) / len(self.X_test)
