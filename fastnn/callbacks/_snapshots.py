"""A callback that keeps the weights of a training, for films and paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy.typing as npt

from fastnn._validation import positive_integer
from fastnn._validation.names import explained
from fastnn.callbacks._base import Callback, Logs


@dataclass(frozen=True)
class Snapshot:
    """The weights of a model between two epochs.

    Parameters
    ----------
    epoch : int
        Finished epochs, counted over all fits.
    loss : float
        The training loss of the last of them; NaN before the first epoch of the fit.
    weights : tuple of ndarray
        (n_in, n_out) for each layer.
    biases : tuple of ndarray
        (n_out,) for each layer.
    """

    epoch: int
    loss: float
    weights: tuple[npt.NDArray[Any], ...]
    biases: tuple[npt.NDArray[Any], ...]


@explained
class Snapshots(Callback, Sequence[Snapshot]):
    """Keep copies of weights and biases: before the first epoch, after every `every` epochs, and at the end.

    A sequence of `Snapshot`, emptied when the next training begins. The epochs between two copies run in compiled code
    as they would without this callback, with the same bits.

    Parameters
    ----------
    every : int
        Epochs between two copies.
    max_memory : int
        Most bytes that the copies may take, which is checked before the first epoch. They take those of the weights
        and biases, in the model's dtype, times `epochs` / `every` + 2.

    Raises
    ------
    MemoryError
        By `Model.fit`, if the copies of a training could take more.

    Notes
    -----
    A display, validation, a metric that is a function and the stopping rule of an estimator need each epoch, so with
    these the epochs run one by one, as they would without this callback.

    The copies are of what `Model.weights` and `Model.biases` hold, not of running averages. After Ctrl-C or divergence
    the last copy holds the weights of the last finished step. A callback that changes the weights when training ends,
    such as `EarlyStopping`, belongs behind this one in the list.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
    >>> model = fastnn.Model([4, 1], loss="binary_crossentropy", seed=0)
    >>> snapshots = fastnn.callbacks.Snapshots(every=200)
    >>> _ = model.fit(X, y, epochs=500, callbacks=snapshots)
    >>> [snapshot.epoch for snapshot in snapshots]
    [0, 200, 400, 500]
    >>> snapshots[-1].weights[0].shape
    (2, 4)
    """

    def __init__(self, every: int = 1, *, max_memory: int = 2**30) -> None:
        self.every = self.call_every = positive_integer(every, "every")
        self.max_memory = positive_integer(max_memory, "max_memory")
        self._kept: list[Snapshot] = []

    def on_train_begin(self, logs: Logs) -> None:
        """Check the memory."""
        each = sum(array.nbytes for array in (*self.model.weights, *self.model.biases))
        epochs = self.params["epochs"]
        if each * self._most(epochs, self.every) > self.max_memory:
            raise MemoryError(self._too_many(each, epochs))
        self._kept = []

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Keep the weights before the first epoch."""
        if not self._kept:
            self._keep(epoch, math.nan)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the weights."""
        self._keep(epoch + 1, logs["loss"])

    def on_train_end(self, logs: Logs) -> None:
        """Keep the weights after the last epoch, unless that is done."""
        if logs:
            epoch = self.model.history.epoch[-1] + 1
            if epoch > self._kept[-1].epoch:
                self._keep(epoch, logs["loss"])

    def _keep(self, epoch: int, loss: float) -> None:
        weights, biases = (tuple(a.copy() for a in given) for given in (self.model.weights, self.model.biases))
        self._kept.append(Snapshot(epoch, loss, weights, biases))

    @staticmethod
    def _most(epochs: int, every: int) -> int:
        """Return the number of copies of a training: at the start, and after every `every` epochs and the last."""
        return 1 - (-epochs // every)

    def _too_many(self, each: int, epochs: int) -> str:
        n = self._most(epochs, self.every)
        text = (
            f"Snapshots(every={self.every}) would keep {n:,} copies of {each:,} bytes in {epochs:,} epochs, the limit "
            f"is {self.max_memory:,} bytes: "
        )
        room = self.max_memory // each - 1  # copies after the first
        if room < 1:
            return f"{text}allow more by max_memory."
        return f"{text}give every={-(-epochs // room)}, or allow more by max_memory."

    def __len__(self) -> int:
        """Count the copies."""
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice) -> list[Snapshot]: ...
    def __getitem__(self, index: int | slice) -> Snapshot | list[Snapshot]:
        """Return a copy, or a list of copies, by position."""
        return self._kept[index]
