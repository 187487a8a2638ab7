"""What the engines of populations return, and what they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._training.net import Net

Numbers: TypeAlias = npt.NDArray[np.float64]
#: Names of the fields of `Sums` that hold metrics, in the order of the compiled metrics of a net.
METRICS = ("first_metric", "second_metric")


@dataclass
class Sums:
    """Sums over the steps of epochs, for each net; NaN in epochs that a net has not finished.

    Parameters
    ----------
    loss : ndarray of float64, (epochs, N)
        Sum over rows of weight times loss.
    weight : ndarray of float64, (epochs, N)
        Sum of the rows' weights.
    penalty : ndarray of float64, (epochs, N)
        Sum over steps of R; of an evaluation, R of the present weights.
    first_metric, second_metric : ndarray of float64, (epochs, N)
        Sum over rows of weight times metric.
    diverged : ndarray of int64, (N,)
        Epoch, counted from 0 in these arrays, in which loss or weights were not finite; -1 for none.
    interrupt : BaseException or None
        What ended the run early, to be raised after the finished epochs are recorded.
    """

    loss: Numbers
    weight: Numbers
    penalty: Numbers
    first_metric: Numbers
    second_metric: Numbers
    diverged: npt.NDArray[np.int64]
    interrupt: BaseException | None = None

    @classmethod
    def unknown(cls, epochs: int, n_nets: int) -> Sums:
        """Make arrays of NaN, to be filled."""
        a, b, c, d, e = (np.full((epochs, n_nets), np.nan) for _ in range(5))
        return cls(a, b, c, d, e, np.full(n_nets, -1))


@dataclass(eq=False)
class PopulationEngine(ABC):
    """Training of several nets by the same rows.

    What a net results in is a function of its own settings and rows alone, without a shared order: neither of the other
    nets nor of the number of threads. The count `Net.epochs_done` is increased by the caller after `train`.

    Parameters
    ----------
    nets : list of Net
        Built; each with a first-order optimizer.
    rows : Rows
        Of training; all of them take part (`Rows.index` is None).
    batch_size : int
        Rows per update.
    shuffle : bool
        Whether each epoch has an order of its own.
    shared_order : tuple of two int, or None
        Seed and number of the first epoch of the order of all nets; None for an order of each net, by its own seed and
        `epochs_done`.
    sample_weight : ndarray, (N, n_rows), or None
        In the dtype of the nets, in place of the weights of `rows`.
    n_threads : int
        Maximum number of threads.
    """

    nets: list[Net]
    rows: Rows
    _: KW_ONLY
    batch_size: int
    shuffle: bool
    shared_order: tuple[int, int] | None
    sample_weight: npt.NDArray[np.floating] | None
    n_threads: int

    @abstractmethod
    def __post_init__(self) -> None:
        """Make the buffers of the engine."""

    @property
    def n_steps(self) -> int:
        """Number of updates of an epoch."""
        return -(-self.rows.n // self.batch_size)

    @property
    def is_shuffled(self) -> bool:
        """Whether the order of the rows makes a difference, and each epoch has its own."""
        return self.shuffle and self.batch_size < self.rows.n

    @abstractmethod
    def train(self, epochs: int) -> Sums:
        """Train all nets for a number of epochs; one that diverges keeps its last finite weights."""

    @abstractmethod
    def evaluate(self, rows: Rows, sample_weight: npt.NDArray[np.floating] | None = None) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite.

        `sample_weight` are the weights of each net, (N, n_rows), in place of those of the rows.
        """

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these of the present nets alone, by position and ascending."""
        self.nets = [self.nets[k] for k in indices]
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight[list(indices)]

    def accepts(self) -> bool:
        """Return whether the nets, whose settings callbacks may have changed, can go on in this engine."""
        return True

    def count_shared_epochs(self, epochs: int) -> None:
        """Go on to the next epochs of the order of all nets, if there is one."""
        if self.shared_order is not None:
            self.shared_order = (self.shared_order[0], self.shared_order[1] + epochs)
