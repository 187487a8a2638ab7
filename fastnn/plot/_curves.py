"""The record of a training as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastnn._validation import must_be
from fastnn._validation.names import explained
from fastnn.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@explained
def learning_curves(history: History, *, axes: Sequence[Axes] | None = None) -> Figure | SubFigure:
    """Draw the losses of a training over the epochs, which are counted from 1, and each metric beside them.

    The epoch with the lowest validation loss is marked. `History.plot` is the same, with a choice of the scale.

    Parameters
    ----------
    history : History
        What `Model.fit` returns; `history_` of an estimator.
    axes : sequence of matplotlib.axes.Axes, or None
        Axes for the losses and for the metrics, as far as they go; None makes a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the history has no epochs.
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(history, History):
        hint = "Of a trained Model it is model.history, of an estimator history_."
        raise TypeError(must_be("history", "a History", history, hint))
    return history.plot(axes=axes)
