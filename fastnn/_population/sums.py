"""What the engines of populations return, and their interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows

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


class PopulationEngine(Protocol):
    """Training of several nets by the same rows.

    Each is made by ``Engine(nets, rows, *, batch_size, shuffle, shared_order, sample_weight, n_threads)``:

    - nets : sequence of Net, built; each with a first-order optimizer
    - rows : Rows of training, all of which take part (`Rows.index` is None)
    - batch_size : int, rows per update
    - shuffle : bool, whether each epoch has an order of its own
    - shared_order : seed and number of the first epoch of the order of all nets; None for an order of each net, by its
      own seed and `epochs_done`
    - sample_weight : ndarray (N, n_rows) in the dtype of the nets, in place of the weights of `rows`, or None
    - n_threads : int, maximum number of threads

    The count `Net.epochs_done` is increased by the caller after `train`. What a net results in is a function of its own
    settings and rows alone, without a shared order: neither of the other nets nor of the number of threads.
    """

    def train(self, epochs: int) -> Sums:
        """Train all nets for a number of epochs; one that diverges keeps its last finite weights."""

    def evaluate(self, rows: Rows) -> Sums:
        """Return the sums over some rows, as of one epoch; NaN for a net whose loss is not finite."""

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these of the present nets alone, by position and ascending."""

    def accepts(self) -> bool:
        """Return whether the nets, whose settings callbacks may have changed, can go on in this engine."""
