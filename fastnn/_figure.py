"""Figures of matplotlib (an optional dependency) without pyplot, its windows and its list of open figures."""

from __future__ import annotations

import io
from typing import Any

from fastnn._validation import as_sequence, must_be


def new_figure(n_panels: int = 1, *, width: float = 5.0, height: float = 3.75) -> Any:
    """Make a figure with panels side by side, which notebooks display.

    Parameters
    ----------
    n_panels : int
    width, height : float
        Size per panel, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Its `axes` are the panels. `savefig` writes it into a file, with or without a display.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib, which is not installed: pip install "fastnn[plot]".') from None

    class NotebookFigure(Figure):
        """Figure that IPython displays as an image although pyplot is not imported."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", bbox_inches="tight")
            return file.getvalue()

    figure = NotebookFigure(figsize=(width * n_panels, height), layout="constrained")
    figure.subplots(1, n_panels)
    return figure


def as_axes(argument: str, given: Any, *, most: int = 1) -> list[Any]:
    """Validate axes to draw in.

    Parameters
    ----------
    argument : str
        Name of the argument, for the text of the error.
    given : matplotlib.axes.Axes, or array-like of Axes
    most : int
        Largest number of axes.

    Returns
    -------
    list of matplotlib.axes.Axes
        At least one.

    Raises
    ------
    TypeError, ValueError
        If `given` is none of these, or their number is another.
    """
    from matplotlib.axes import Axes

    constraint = "matplotlib.axes.Axes" if most == 1 else f"matplotlib.axes.Axes, or a sequence of at most {most}"
    items = [given] if isinstance(given, Axes) else list(as_sequence(argument, constraint, given))
    if not all(isinstance(item, Axes) for item in items):
        raise TypeError(must_be(argument, constraint, given))
    if not 1 <= len(items) <= most:
        raise ValueError(must_be(argument, constraint, given, f"It has {len(items)} items."))
    return items
