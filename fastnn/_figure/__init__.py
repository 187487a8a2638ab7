"""Figures of matplotlib (an optional dependency) without pyplot, its windows and its list of open figures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from fastnn._figure.style import MISSING, background_of, parameters, theme_of
from fastnn._validation import as_sequence, must_be


def new_figure(n_panels: int = 1, *, width: float = 5.0, height: float = 3.75) -> Any:
    """Make a figure with panels side by side, which notebooks display.

    Parameters
    ----------
    n_panels : int
        0 makes a figure without panels.
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
        raise ImportError(MISSING) from None

    class NotebookFigure(Figure):
        """Figure that IPython displays as an image although pyplot is not imported."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", bbox_inches="tight")
            return file.getvalue()

    figure = NotebookFigure(figsize=(width * max(n_panels, 1), height), layout="constrained")
    if n_panels:
        figure.subplots(1, n_panels)
    return figure


@contextlib.contextmanager
def house_style(background: Any = None) -> Iterator[None]:
    """Set the house style of light or dark, whichever suits a background; None takes that of matplotlib's settings."""
    try:
        from matplotlib import rc_context, rcParams
    except ImportError:
        raise ImportError(MISSING) from None
    shown = rcParams["figure.facecolor"] if background is None else background
    with rc_context(parameters(theme_of(shown))):
        yield


@contextlib.contextmanager
def panels_for(
    argument: str,
    given: Any,
    *,
    n_panels: int = 1,
    most: int | None = None,
    width: float = 5.0,
    height: float = 3.75,
    projection: str | None = None,
) -> Iterator[list[Any]]:
    """Yield axes to draw in, with the house style set: those that are given, or those of a new figure.

    Parameters
    ----------
    argument : str
        Name of the argument that holds the axes.
    given : matplotlib.axes.Axes, a sequence of these, or None
        None makes a figure of `n_panels` panels.
    n_panels : int
        Number of panels.
    most : int or None
        Largest number of axes that may be given; fewer than `n_panels` are accepted then. None requires `n_panels`.
    width, height : float
        Size per panel of a new figure, in inches.
    projection : str or None
        "3d" for axes with three dimensions, which are then required.

    Raises
    ------
    TypeError, ValueError
        If the axes are none, or their number is another.
    ImportError
        If matplotlib is not installed.
    """
    if given is None:
        with house_style():
            figure = new_figure(0, width=width * n_panels, height=height)
            figure.subplots(1, n_panels, subplot_kw={"projection": projection})
            yield list(figure.axes)
        return
    axes = as_axes(argument, given, most=n_panels if most is None else most)
    if most is None and len(axes) != n_panels:
        raise ValueError(must_be(argument, f"{n_panels} matplotlib.axes.Axes", given, f"It has {len(axes)} items."))
    if projection == "3d" and any(ax.name != "3d" for ax in axes):
        constraint = "matplotlib.axes.Axes of three dimensions"
        raise ValueError(must_be(argument, constraint, given, 'Make them by add_subplot(projection="3d").'))
    with house_style(background_of(axes[0])):
        yield axes


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
