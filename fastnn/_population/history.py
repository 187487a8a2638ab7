"""PopulationHistory: metrics of many nets, recorded per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._validation import shown
from fastnn.callbacks import Callback
from fastnn.history import NO_METRICS, pandas_for_frames

Numbers: TypeAlias = npt.NDArray[np.float64]


class PopulationHistory:
    """The record of a training of a population: an array (epochs, N) for each value.

    Parameters
    ----------
    history : mapping of str to ndarray of float64, (epochs, N)
        loss, metrics, val_loss, learning_rate, seconds, by name. NaN after a net has stopped, and where a net has no
        such value. The seconds of an epoch are divided among the nets that trained in it.
    stopped : list of str or None
        Why each net ended early: "early_stopping", "diverged", "interrupted" or another callback's reason; None if it
        ran to the end.
    params : dict
        What the training was called with.
    callbacks : list of tuple of Callback
        The copies of the callbacks that each net had.
    """

    __slots__ = ("callbacks", "history", "params", "stopped")

    def __init__(
        self,
        history: Mapping[str, Numbers],
        stopped: Sequence[str | None],
        params: Mapping[str, Any],
        callbacks: Sequence[tuple[Callback, ...]],
    ) -> None:
        self.history = dict(history)
        self.stopped = list(stopped)
        self.params = dict(params)
        self.callbacks = list(callbacks)

    def __len__(self) -> int:
        """Count the epochs, those of the net that trained longest."""
        return len(self.history["loss"]) if self.history else 0

    def __contains__(self, name: object) -> bool:
        """Return whether there is a value of that name."""
        return name in self.history

    __iter__ = None  # len() counts epochs while [] takes names, so the old protocol of iteration would go wrong

    def __getitem__(self, name: str) -> Numbers:
        """Return the array (epochs, N) of one name, such as "loss"."""
        try:
            return self.history[name]
        except KeyError:
            known = ", ".join(self.history) or "nothing yet"
            raise KeyError(f"{shown(name)} is not in this history, which has: {known}") from None

    def last(self, name: str) -> Numbers:
        """Return the value of each net in the last epoch that it finished.

        Parameters
        ----------
        name : str
            A name of `history`.

        Returns
        -------
        ndarray of float64, (N,)
            NaN for a net without epochs.
        """
        values, losses = self[name], self["loss"]
        counts = (~np.isnan(losses)).sum(axis=0)
        return np.where(counts > 0, values[np.maximum(counts, 1) - 1, np.arange(values.shape[1])], np.nan)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each epoch that a net has finished, and a column per name.

        Returns
        -------
        pandas.DataFrame
            A copy, float64; the index has the levels "epoch", counted from 0, and "net". So
            ``frame["loss"].unstack("net")`` is the table of epochs and nets.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = pandas_for_frames()
        rows = pd.MultiIndex.from_product([range(len(self)), range(len(self.stopped))], names=["epoch", "net"])
        frame = pd.DataFrame({name: values.ravel() for name, values in self.history.items()}, rows, dtype="float64")
        return frame[frame["loss"].notna()] if self.history else frame

    def __repr__(self) -> str:
        """Return the number of epochs and nets, the range of the last losses, and why nets ended."""
        if not self.history:
            return "PopulationHistory(no epochs)"
        parts = [f"{len(self)} epochs of {len(self.stopped)} nets"]
        for name in self.history:
            if name not in NO_METRICS:
                values = self.last(name)
                known = values[~np.isnan(values)]
                if known.size:
                    parts.append(f"{name} {known.min():.4g} to {known.max():.4g}")
        parts.append(f"{np.nansum(self['seconds']):.3g} s")
        reasons = [why for why in self.stopped if why is not None]
        parts += [f"{reasons.count(why)} stopped: {why}" for why in dict.fromkeys(reasons)]
        return f"PopulationHistory({'; '.join(parts)})"
