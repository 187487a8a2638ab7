"""The record of a fit of a population, while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastnn._population.sums import Numbers


class Record:
    """Values of epochs and nets, added as blocks of epochs or as columns of nets.

    Parameters
    ----------
    n_nets : int

    Attributes
    ----------
    stopped : list of str or None
        Why each net ended early.
    """

    def __init__(self, n_nets: int) -> None:
        self.stopped: list[str | None] = [None] * n_nets
        self._blocks: list[dict[str, Numbers]] = []
        self._columns: dict[int, Mapping[str, Sequence[float]]] = {}

    def add(self, block: dict[str, Numbers]) -> None:
        """Add the values of the next epochs, (k, N) for each name."""
        self._blocks.append(block)

    def add_net(self, k: int, values: Mapping[str, Sequence[float]]) -> None:
        """Add the values of all epochs of a net that the blocks lack."""
        self._columns[k] = values

    def values(self) -> dict[str, Numbers]:
        """Return the values of all epochs by name, (epochs, N); NaN where there is none."""
        columns, n_nets = self._columns, len(self.stopped)
        in_blocks = [len(next(iter(block.values()))) for block in self._blocks]
        lengths = [len(series) for values in columns.values() for series in values.values()]
        n_epochs = max(sum(in_blocks), *lengths, 0)
        names = dict.fromkeys(name for values in (*self._blocks, *columns.values()) for name in values)
        found = {name: np.full((n_epochs, n_nets), np.nan) for name in names}
        first = 0
        for block, n in zip(self._blocks, in_blocks, strict=True):
            for name, values in block.items():
                found[name][first : first + n] = values
            first += n
        for k, series in columns.items():
            for name, numbers in series.items():
                found[name][: len(numbers), k] = numbers
        return found
