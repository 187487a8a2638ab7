"""Pictures of a net over the plane, as bytes for a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.playground.points import DOMAIN, FEATURES, inputs
from fastnn.playground.training import Trainer

Array = npt.NDArray[Any]

#: Pixels of the large map and of that of a unit, and points of the warped grid, per side.
LARGE, SMALL, GRID = 100, 10, 34


def plane(side: int, *, edges: bool = True) -> npt.NDArray[np.float64]:
    """Return the coordinates (side^2, 2) of a square of points, rows from the top.

    Parameters
    ----------
    side : int
    edges : bool
        Whether the outer points lie on the edges of the picture, as the pixels of TensorFlow Playground do; else each
        point is the centre of its part.
    """
    low, high = DOMAIN
    margin = 0.0 if edges else (high - low) / (2 * side)
    steps = np.linspace(low + margin, high - margin, side)
    across, up = np.meshgrid(steps, steps[::-1])
    return np.column_stack([across.ravel(), up.ravel()])


_LARGE, _SMALL, _GRID = plane(LARGE), plane(SMALL, edges=False), plane(GRID)


def as_bytes(values: Array) -> bytes:
    """Return numbers from -1 to 1 as bytes from 0 to 255; others are clipped, and NaN is -1."""
    clipped = np.fmin(np.fmax(values, -1.0), 1.0)
    return np.rint(127.5 + 127.5 * clipped).astype(np.uint8).tobytes()


class Pictures:
    """The maps of one net; its inputs over the plane are computed once.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._large = inputs(_LARGE, trainer.settings)
        self._small = inputs(_SMALL, trainer.settings)

    def large(self, layer: int | None, unit: int) -> list[bytes]:
        """Return the map of a node: its values; of the output of classes their probability and the class.

        Parameters
        ----------
        layer : int or None
            -1 for an input, None for the output.
        unit : int
        """
        trainer, model = self._trainer, self._trainer.model
        if layer == -1:
            return [as_bytes(list(FEATURES.values())[unit][1](_LARGE))]
        last = len(model.layers) - 1
        if layer is not None and layer < last:
            return [as_bytes(model.hidden(self._large, layer)[:, unit])]
        outputs = trainer.shown(model.hidden(self._large, last))
        if trainer.n_classes > 2 and layer is None:
            best = np.rint(255.0 * np.clip(np.nan_to_num(outputs.max(axis=1)), 0.0, 1.0)).astype(np.uint8)
            return [best.tobytes(), outputs.argmax(axis=1).astype(np.uint8).tobytes()]
        return [as_bytes(self._signed(outputs)[:, unit])]

    def small(self) -> bytes:
        """Return the maps of all units, layer after layer, outputs last."""
        model = self._trainer.model
        last = len(model.layers) - 1
        maps = [model.hidden(self._small, layer) for layer in range(last)]
        maps.append(self._signed(self._trainer.shown(model.hidden(self._small, last))))
        return as_bytes(np.concatenate(maps, axis=1).T)

    def _signed(self, outputs: Array) -> Array:
        return 2.0 * outputs - 1.0 if self._trainer.n_classes > 2 else outputs

    def grid(self, layer: int, units: tuple[int, int]) -> list[bytes]:
        """Return where two units of a layer put the points of a grid, and the data, as pairs of float32."""
        trainer = self._trainer
        result = []
        for rows in (inputs(_GRID, trainer.settings), trainer.X):
            values = trainer.model.hidden(rows, layer) if len(rows) else np.zeros((0, max(units) + 1))
            pairs = values[:, list(units)].astype(np.float32)
            if values.shape[1] == 1:
                pairs[:, 1] = 0.0
            result.append(np.nan_to_num(pairs).tobytes())
        return result
