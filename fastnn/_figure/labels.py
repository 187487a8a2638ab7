"""Labels beside what they name, in place of a legend, so that none overlaps another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._figure.style import background_of, muted, readable

#: Height of a line of text relative to its font size.
_LINE = 1.25
#: Gap between the end of a line and its label, in points.
_GAP = 5.0


def spread(wanted: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return places in the order of the wanted ones, as near to them as intervals of these heights do not overlap.

    Parameters
    ----------
    wanted, heights : (n,) ndarray
        Centres and lengths of intervals on a line.

    Returns
    -------
    (n,) ndarray
        Centres with the least sum of squared moves.
    """
    order = np.argsort(wanted, kind="stable")
    gaps = np.concatenate([[0.0], np.cumsum((heights[order][1:] + heights[order][:-1]) / 2.0)])
    # Without the gaps the order is all that is required: pool neighbours that violate it into their mean.
    pools: list[list[float]] = []  # sum and number
    for value in wanted[order] - gaps:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, n = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += n
    placed = np.empty(len(wanted))
    placed[order] = np.concatenate([[total / n] * int(n) for total, n in pools]) + gaps
    return placed


def label_ends(ax: Any, ends: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[Any]) -> None:
    """Write texts to the right of points in axes, in the points' colours; those that would overlap are moved apart.

    Where the figure has no layout that makes room beside the axes, a legend is drawn in place of the labels.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With its limits and scales as they are to be.
    ends : sequence of (float, float)
        Data coordinates; a point outside the limits is labelled at the limit.
    texts, colours : sequences of the same length
    """
    figure = ax.figure.figure
    background = background_of(ax)
    if figure.get_layout_engine() is None:
        from matplotlib.lines import Line2D

        ax.legend([Line2D([], [], color=colour) for colour in colours], texts, loc="best", frameon=True)
        return
    from matplotlib import rcParams

    size = rcParams["legend.fontsize"]
    figure.draw_without_rendering()  # the layout determines the height of the axes
    height = ax.get_window_extent().height * 72.0 / figure.dpi
    shares = ax.transAxes.inverted().transform(ax.transData.transform(np.array(ends, float)))
    wanted = np.clip(np.nan_to_num(shares[:, 1]), 0.0, 1.0) * height
    n_lines = np.array([text.count("\n") + 1.0 for text in texts])
    placed = spread(wanted, _LINE * size * n_lines)
    for (x, _), y, place, text, colour in zip(shares, wanted, placed, texts, colours, strict=True):
        ax.annotate(
            text,
            (min(x, 1.0), y / height),
            xycoords="axes fraction",
            xytext=(_GAP, place - y),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=readable(colour, background),
            annotation_clip=False,
        )


def legend_beside(ax: Any, handles: Sequence[Any], texts: Sequence[str]) -> None:
    """Draw a legend to the right of axes, or inside where the figure has no layout that makes room for it."""
    if ax.figure.figure.get_layout_engine() is None:
        ax.legend(handles, texts, loc="best", frameon=True)
    else:
        ax.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handletextpad=0.3)


def note_at(ax: Any, x: float, text: str) -> None:
    """Draw a dotted vertical line at x with a text beside it, at the corner where it covers the least of the curves.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With its limits and scales as they are to be.
    x : float
        Data coordinate.
    text : str
        One line.
    """
    from matplotlib import rcParams

    size, quiet = rcParams["legend.fontsize"], readable(muted(ax), background_of(ax))
    ax.axvline(x, color=muted(ax), linestyle=":", linewidth=1.5, zorder=1)
    box = ax.get_window_extent()
    scale = ax.figure.figure.dpi / 72.0
    width, height = 0.62 * size * len(text) * scale / box.width, _LINE * size * scale / box.height
    at = float(ax.transAxes.inverted().transform(ax.transData.transform((x, 1.0)))[0])
    curves = [_in_axes(ax, line) for line in ax.lines if len(line.get_xdata()) > 2 or line.get_marker() != "None"]
    points = np.concatenate([*curves, np.empty((0, 2))])

    def covered(corner: tuple[int, float]) -> tuple[bool, int]:
        side, bottom = corner
        left = at if side > 0 else at - width
        inside = (points[:, 0] > left - 0.02) & (points[:, 0] < left + width + 0.02)
        inside &= (points[:, 1] > bottom - 0.03) & (points[:, 1] < bottom + height + 0.03)
        return left < 0.0 or left + width > 1.0, int(inside.sum())

    corners = [(side, bottom) for bottom in (0.97 - height, 0.03, 0.5) for side in (-1, 1)]
    side, bottom = min(corners, key=covered)
    ax.annotate(
        text, (x, bottom), xycoords=("data", "axes fraction"), xytext=(4.0 * side, 0.0), textcoords="offset points",
        ha="left" if side > 0 else "right", va="bottom", fontsize=size, color=quiet,
    )  # fmt: skip


def _in_axes(ax: Any, line: Any) -> npt.NDArray[np.float64]:
    """Return points along a line in shares of the axes, close together; (n, 2)."""
    data = np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])
    vertices = ax.transAxes.inverted().transform(ax.transData.transform(data))
    vertices = vertices[np.isfinite(vertices).all(axis=1)]
    if len(vertices) < 2:
        return np.asarray(vertices)
    steps = np.linspace(0.0, 1.0, 20)[:, None, None]
    return np.asarray(((1.0 - steps) * vertices[:-1] + steps * vertices[1:]).reshape(-1, 2))
