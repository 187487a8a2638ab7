"""Points of classes and of values, and the limits of axes around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure.labels import legend_beside
from fastnn._figure.style import background_of, class_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

#: Markers of the classes, so that they differ without colours, too.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
#: Margin around points, relative to their extent.
MARGIN = 0.08
#: Areas of a marker for few and for many points, in points^2, and the numbers of points these are for.
_SIZES, _NUMBERS = (30.0, 8.0), (100, 3000)


def limits_of(rows: Floats, margin: float = MARGIN) -> tuple[Floats, Floats]:
    """Return the lowest and highest coordinates of a picture of rows (n, d), each (d,)."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    span = high - low
    span[span == 0.0] = 1.0
    return low - margin * span, high + margin * span


def marker_size(n: int) -> float:
    """Return the area of a marker for n points, in points^2."""
    return float(np.interp(np.log(max(n, 1)), np.log(_NUMBERS), _SIZES))


def draw_classes(
    ax: Axes, points: Floats, targets: npt.NDArray[np.int64], names: Sequence[str], *, legend: bool = True
) -> list[Any]:
    """Draw points (n, 2) or (n, 3) in the colour and with the marker of their class, each class as one collection."""
    colours, edge, size = class_colours(len(names)), background_of(ax), marker_size(len(points))
    drawn, shown = [], []
    for k, name in enumerate(names):
        if not (targets == k).any():
            continue
        settings: dict[str, Any] = {"s": size, "color": colours[k], "marker": MARKERS[k % len(MARKERS)]}
        settings |= {"edgecolors": [edge], "linewidths": 0.4, "label": name, "zorder": 3}
        drawn.append(ax.scatter(*points[targets == k].T, **settings))
        shown.append(name)
    if legend:
        legend_beside(ax, drawn, shown)
    return drawn


def draw_targets(
    ax: Axes,
    points: Floats,
    targets: npt.NDArray[Any],
    names: Sequence[str],
    *,
    legend: bool = True,
    label: str = "value",
) -> list[tuple[Any, npt.NDArray[np.bool_]]]:
    """Draw points (n, 2) or (n, 3) by class, or without names of classes by value.

    Returns
    -------
    list of (collection, (n,) ndarray of bool)
        The collections, and which of the points each of them holds.
    """
    if not names:
        return [(draw_values(ax, points, targets, label=label), np.full(len(points), True))]
    present = [k for k in range(len(names)) if (targets == k).any()]
    collections = draw_classes(ax, points, targets, names, legend=legend)
    return [(one, targets == k) for one, k in zip(collections, present, strict=True)]


def draw_values(ax: Axes, points: Floats, values: Floats, *, norm: Any = None, label: str | None) -> Any:
    """Draw points (n, 2) or (n, 3) in the colour of their values, and a colour bar if it has a label.

    The colours are from the lowest to the highest value, or those of `norm`.
    """
    settings: dict[str, Any] = {"c": values, "norm": norm, "cmap": "viridis", "s": marker_size(len(points))}
    settings |= {"edgecolors": [background_of(ax)], "linewidths": 0.5, "zorder": 3}
    drawn = ax.scatter(*points.T, **settings)
    if label is not None:
        ax.figure.colorbar(drawn, ax=ax, label=label)
    return drawn
