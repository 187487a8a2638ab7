"""Prepared rows and what training does with their order and content, in the form that the engine takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import Targets
from fastnn.custom import MachineCode
from fastnn.kernels.maths.rng import shuffle
from fastnn.kernels.tables import Data

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Validated data of one role (training or validation), and which of its rows take part, in order.

    Parameters
    ----------
    features : ndarray, (n, n_features)
    targets : Targets
        As the kernels compare them with the outputs.
    sample_weight : ndarray, (n,) or (0,)
    y : array-like
        The targets as they were given, for metrics that are functions.
    index : ndarray of int64 or None
        Numbers of the rows that take part; None for all.
    feature_names : tuple of str or None
        Names of the columns, where the features were a data frame.
    """

    features: Array
    targets: Targets
    sample_weight: Array
    y: Any
    index: npt.NDArray[np.int64] | None = None
    feature_names: tuple[str, ...] | None = None

    @property
    def n(self) -> int:
        """Number of rows that take part."""
        return len(self.features) if self.index is None else len(self.index)

    def data(self, order: npt.NDArray[np.int64] | None = None) -> Data:
        """Return the arrays for the kernels; `order` permutes the rows that take part."""
        rows = order if self.index is None else self.index if order is None else self.index[order]
        return as_data(self.features, self.targets.values, self.targets.labels, self.sample_weight, rows)


@dataclass(frozen=True)
class Shuffle:
    """Order of the rows in consecutive epochs.

    Parameters
    ----------
    order : ndarray of int64, (n,)
        Overwritten with a permutation at the beginning of each epoch.
    seed : int
        Seed of the permutations.
    epoch : int
        Number of the first epoch.
    """

    order: np.ndarray
    seed: int
    epoch: int


@dataclass(frozen=True, eq=False)
class AugmentationPlan:
    """How the rows of a batch are changed at random, in this order; see `kernels.nn.stochastic`.

    Parameters
    ----------
    mixing : ndarray of float64, (n,)
        Quantiles of the share that a row has in its mixture with another; (0,) for no mixture.
    function : MachineCode or None
        Compiled user function of a row (see `custom`).
    noise : float
        Standard deviation of the normal noise added to the features.
    """

    mixing: np.ndarray = field(default_factory=lambda: np.empty(0))
    function: MachineCode | None = None
    noise: float = 0.0


def readonly(a: np.ndarray) -> np.ndarray:
    """Return a read-only view: the kernels are compiled for such arrays, whatever the flags of the caller's are."""
    view = a.view(np.ndarray)
    view.setflags(False)  # type: ignore[call-arg]  # by position, which takes 0.1 us less than by name
    return view


def as_data(
    features: np.ndarray,
    targets: np.ndarray,
    labels: np.ndarray,
    sample_weight: np.ndarray,
    order: np.ndarray | None = None,
) -> Data:
    """Bundle validated arrays for the kernels, without copying."""
    if order is None:
        order = np.empty(0, np.int64)
    return Data(*(readonly(a) for a in (features, targets, labels, sample_weight, order)))


def shuffled(order: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Overwrite `order` with the permutation of this seed and epoch, and return it."""
    shuffle(order, seed, epoch)
    return order
