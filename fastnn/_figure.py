"""Figures of matplotlib, an extra, without the global state of pyplot: no window, no list of open figures."""

from __future__ import annotations

import io
from typing import Any


def new_figure(n_panels: int = 1) -> Any:
    """Make a figure with some panels side by side, that shows itself in notebooks.

    Parameters
    ----------
    n_panels : int

    Returns
    -------
    matplotlib.figure.Figure
        Its `axes` are the panels. `savefig` writes it into a file, whether there is a display or not.

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
        """A notebook knows how to show figures only once pyplot was imported; this one tells it."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", bbox_inches="tight")
            return file.getvalue()

    figure = NotebookFigure(figsize=(5.0 * n_panels, 3.75), layout="constrained")
    figure.subplots(1, n_panels)
    return figure
