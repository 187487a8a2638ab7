"""The result of a search of learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn._validation import must_be
from fastnn.lr_finder import LearningRates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def range_test(found: LearningRates, *, ax: Axes | None = None) -> Figure | SubFigure:
    """Draw the losses of a range test and of the trainings after it over the rates, and the recommended rates.

    Parameters
    ----------
    found : LearningRates
        Result of `Model.lr_find`.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(found, LearningRates):
        raise TypeError(must_be("found", "a result of Model.lr_find", found))
    return found.plot(ax)
