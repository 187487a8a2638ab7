"""Figures of matplotlib, an extra, without the global state of pyplot: no window, no list of open figures."""

from __future__ import annotations

import io
from typing import Any


def new_figure(n_panels: int = 1, *, width: float = 5.0, height: float = 3.75) -> Any:
    """Make a figure with panels side by side, which notebooks display.

    Parameters
    ----------
    n_panels : int
    width, height : float
        Size of a panel, in inches.

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
        """IPython formats a Figure as an image only after pyplot was imported; this class does it by itself."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", bbox_inches="tight")
            return file.getvalue()

    figure = NotebookFigure(figsize=(width * n_panels, height), layout="constrained")
    figure.subplots(1, n_panels)
    return figure
