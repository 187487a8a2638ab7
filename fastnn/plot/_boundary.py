"""Predictions over the plane of two features, and the boundary between classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import COLORS, background_of, class_colours, rgb, text_colour
from fastnn._validation import must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.plot._points import draw_classes, draw_values, limits_of
from fastnn.plot._reading import Reading, as_names, column_names, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = npt.NDArray[np.float64]

#: Shares of a class's colour where it is hardly more probable than another one, and where it is certain.
_LEAST, _MOST = 0.10, 0.50
#: Largest resolution: the predictions of a million points.
_FINEST = 1000


@explained
def decision_boundary(
    model: Any,
    X: Any,
    y: Any,
    *,
    ax: Axes | None = None,
    resolution: int = 200,
    class_names: Sequence[str] | None = None,
) -> Figure | SubFigure:
    """Draw what a model predicts for each point of a plane, the boundary between its classes, and the data.

    An area has the colour of the class that is predicted there, the stronger the more probable it is; on the lines two
    classes are equally probable. Of a regression the value is the colour, of the points as well. With one feature in
    place of two, the prediction is drawn as a curve over it.

    Parameters
    ----------
    model : Model, MLPClassifier, MLPRegressor, or object with the interface of scikit-learn
        Fitted. Of other objects `predict_proba`, `decision_function` or `predict` is called, whichever there is first;
        they are classifiers if they have `classes_`.
    X : array-like or data frame, (n, 2) or (n, 1)
        The names of a data frame's columns are the labels of the axes.
    y : array-like, (n,)
        Labels or values, as for `fit`.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.
    resolution : int
        Number of points per axis at which the model predicts, 2 to 1000.
    class_names : sequence of str, or None
        Names for the legend, in the order of the classes.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or X has more than two columns.
    ImportError
        If matplotlib is not installed.
    """
    reading = Reading(model, X, y)
    n_columns = reading.rows.shape[1]
    if n_columns > 2:
        raise ValueError(
            must_be("X", "of one or two columns", f"an array of shape {reading.rows.shape}",
                    "hidden_space shows nets of more features.")
        )  # fmt: skip
    resolution = positive_integer(resolution, "resolution")
    if not 2 <= resolution <= _FINEST:
        raise ValueError(must_be("resolution", f"from 2 to {_FINEST}", resolution))
    names = as_names("class_names", class_names, reading.classes or [])
    low, high = limits_of(reading.rows)
    labels = column_names(X, n_columns)
    with panels_for("ax", ax, width=5.0, height=4.0) as (panel,):
        if n_columns == 1:
            rows = np.linspace(low, high, max(resolution, 2))
            _draw_curve(panel, reading, rows, names)
        else:
            axes = np.linspace(low, high, resolution).T
            grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
            if reading.classes is None:
                _draw_surface(panel, reading, axes, grid)
            else:
                scores, probable = reading.scores(grid)
                finite(scores, "predictions")
                draw_regions(panel, axes, scores.reshape(resolution, resolution, -1), probable=probable)
                draw_classes(panel, reading.rows, reading.targets, names)
            panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), ylabel=labels[1])
        panel.set_xlabel(labels[0])
    return panel.figure


def draw_regions(ax: Axes, axes: Floats, scores: Floats, *, probable: bool) -> Any:
    """Draw areas in the colours of the classes with the largest score, and the lines on which two are equal.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    axes : (2, m) ndarray
        Coordinates of the columns and of the rows.
    scores : (m, m, k) ndarray
    probable : bool
        Whether the scores are probabilities; else all areas are equally strong.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    (left, right), (bottom, top) = axes[:, [0, -1]]
    image = ax.imshow(
        region_colours(scores, background_of(ax), probable=probable), origin="lower", interpolation="bilinear",
        extent=(left, right, bottom, top), aspect="auto", zorder=0,
    )  # fmt: skip
    k = scores.shape[-1]
    for one in range(1 if k == 2 else k):
        others = np.delete(scores, one, axis=-1).max(axis=-1)
        lead = scores[..., one] - others
        if lead.min() < 0.0 < lead.max():
            ax.contour(*axes, lead, [0.0], colors=[text_colour(ax)], linewidths=1.5, zorder=2)
    return image


def region_colours(scores: Floats, background: Any, *, probable: bool) -> Floats:
    """Return the colour of each point by its largest score (..., k): red, green and blue (..., 3)."""
    k = scores.shape[-1]
    colours = np.array([rgb(colour) for colour in class_colours(k)])
    winner = colours[scores.argmax(axis=-1)]
    if probable and k > 1:
        certain = (scores.max(axis=-1) - 1.0 / k) / (1.0 - 1.0 / k)
    else:
        certain = np.full(scores.shape[:-1], 0.6)
    share = _LEAST + (_MOST - _LEAST) * np.clip(certain, 0.0, 1.0)[..., None]
    return (1.0 - share) * np.asarray(background) + share * winner


def _draw_surface(ax: Axes, reading: Reading, axes: Floats, grid: Floats) -> None:
    """Draw predicted values as colours, and the points with their own values in the same colours."""
    from matplotlib.colors import Normalize

    values = finite(reading.values(grid), "predictions").reshape(axes.shape[1], -1)
    known = np.concatenate([values.ravel(), reading.targets])
    norm = Normalize(float(known.min()), float(known.max()))
    (left, right), (bottom, top) = axes[:, [0, -1]]
    ax.imshow(
        values, origin="lower", extent=(left, right, bottom, top), aspect="auto", norm=norm, cmap="viridis",
        interpolation="bilinear", zorder=0,
    )  # fmt: skip
    draw_values(ax, reading.rows, reading.targets, norm=norm, label="value: areas predicted, points given")


def _draw_curve(ax: Axes, reading: Reading, rows: Floats, names: Sequence[str]) -> None:
    """Draw the prediction over one feature: a value, or the probability of each class, and the data."""
    line_colour = text_colour(ax)
    if reading.classes is None:
        ax.plot(rows[:, 0], finite(reading.values(rows), "predictions"), color=COLORS[0], zorder=4, label="predicted")
        ax.scatter(reading.rows[:, 0], reading.targets, s=14, color=COLORS[1], zorder=3, label="data")
        ax.legend(loc="best", frameon=True)
        ax.set_ylabel("value")
        return
    scores, probable = reading.scores(rows)
    finite(scores, "predictions")
    for colour, score in zip(class_colours(len(names)), scores.T, strict=True):
        ax.plot(rows[:, 0], score, color=colour, zorder=2)
    height = scores[np.arange(len(rows)), scores.argmax(axis=1)]
    floor = float(scores.min()) - 0.06 * float(np.ptp(scores) or 1.0)
    points = np.column_stack([reading.rows[:, 0], np.full(len(reading.rows), floor)])
    draw_classes(ax, points, reading.targets, names)
    for k in np.flatnonzero(np.diff(scores.argmax(axis=1))):
        ax.axvline(float(rows[k : k + 2].mean()), color=line_colour, linestyle=":", linewidth=1.5, zorder=1)
    ax.set(xlim=(rows[0, 0], rows[-1, 0]), ylim=(2 * floor - float(scores.min()), float(height.max()) * 1.03))
    ax.set_ylabel("probability" if probable else "score")
