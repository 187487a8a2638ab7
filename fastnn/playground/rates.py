"""Learning rates of the playground: the search of one, and three nets side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn._errors import DivergenceError
from fastnn.playground.pictures import Pictures
from fastnn.playground.points import Points
from fastnn.playground.training import Trainer, unit_of

#: Epochs of each training.
EPOCHS = 50
LABELS = ("too low", "just right", "too high")
#: Ratio of the rate that is too low to the right one; factor and number of the trials of one that is too high.
TOO_LOW, RISE, MOST_RISES = 1.0 / 30.0, 3.0, 9


def find_rate(settings: Mapping[str, Any], points: Points, attempt: int) -> dict[str, Any]:
    """Search a learning rate for a net with start weights; return the fields of the answer.

    Raises
    ------
    ValueError
        If there are no points to train on, or the optimizer has no rate.
    """
    if points.n_train == 0:
        raise ValueError("points must have some to train on, got none. Click into the picture to add some.")
    constant = dict(settings) | {"schedule": "constant"}
    trainer = Trainer(constant, points, attempt)
    unit = unit_of(settings, points.n_classes)
    n = points.n_train
    found = trainer.model.lr_find(
        trainer.X[:n], trainer.targets[:n], epochs=EPOCHS, batch_size=trainer.batch, start=1e-6, end=30.0
    )
    return {
        "rates": _numbers(found.rates / unit),
        "losses": _numbers(found.smoothed * unit),
        "constant": [_numbers(row * [1.0 / unit, unit]) for row in found.constant],
        "suggestion": None if found.learning_rate is None else _number(found.learning_rate / unit),
    }


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(float(value)) for value in values]


class _Run:
    """A training of some epochs at one rate, from the same start as the others."""

    def __init__(self, settings: Mapping[str, Any], points: Points, attempt: int, rate: float) -> None:
        self.rate, self.diverged = rate, False
        self.trainer = Trainer(dict(settings) | {"learningRate": rate, "schedule": "constant"}, points, attempt)
        self.losses = [self._loss()]
        for _ in range(EPOCHS):
            try:
                self.trainer.run(1)
            except DivergenceError:
                self.diverged = True
                break
            self.losses.append(self._loss())
            if not math.isfinite(self.losses[-1]):
                self.diverged = True
                break

    def _loss(self) -> float:
        n = self.trainer.n_train
        return self.trainer.loss(self.trainer.model.predict(self.trainer.X[:n]), slice(0, n))

    @property
    def is_bad(self) -> bool:
        """Whether most epochs ended no lower than the training began."""
        return self.diverged or not float(np.median(self.losses[1:])) < self.losses[0]


def three_rates(
    settings: Mapping[str, Any], points: Points, attempt: int
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Train three nets from the same start with rates too low, just right and too high.

    Returns
    -------
    runs : list of dict
        Fields of the answer.
    buffers : list of bytes
        The maps that they name.

    Raises
    ------
    ValueError
        As for `find_rate`.
    """
    suggestion = find_rate(settings, points, attempt)["suggestion"] or settings["learningRate"]
    right = _Run(settings, points, attempt, suggestion)
    high = right
    for _ in range(MOST_RISES):
        high = _Run(settings, points, attempt, RISE * high.rate)
        if high.is_bad:
            break
    runs: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    for label, run in zip(LABELS, (_Run(settings, points, attempt, TOO_LOW * right.rate), right, high), strict=True):
        maps = Pictures(run.trainer).large(None, 0)
        runs.append(
            {
                "label": label,
                "rate": _number(run.rate),
                "epoch": run.trainer.epoch,
                "loss": _number(run.losses[-1]),
                "losses": _numbers(run.losses),
                "diverged": run.diverged,
                "maps": [len(buffers) + k for k in range(len(maps))],
            }
        )
        buffers += maps
    return runs, buffers
