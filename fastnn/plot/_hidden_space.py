"""The outputs of a layer as points in space, and where the next layer separates them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import mix, muted, text_colour
from fastnn._validation import CONVERSION_ERRORS, integer, must_be
from fastnn._validation.names import explained
from fastnn.model import subject_of
from fastnn.plot._boundary import draw_regions
from fastnn.plot._points import draw_targets, limits_of
from fastnn.plot._reading import Reading, as_names, finite, is_own

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = npt.NDArray[np.float64]

#: Points per axis of areas and of planes.
_AREA, _PLANE = 200, 40
#: Largest number of units of a next layer whose lines are drawn, and of classes that planes separate in a picture.
_MOST_LINES, _MOST_PLANES = 12, 4


@dataclass(frozen=True)
class Projection:
    """The space of a layer with d units, as k coordinates: the units themselves, or principal components.

    Parameters
    ----------
    centre : (d,) ndarray
        The origin of the coordinates.
    directions : (k, d) ndarray
        Orthonormal.
    labels : tuple of str
        Of the coordinates.
    """

    centre: Floats
    directions: Floats
    labels: tuple[str, ...]

    def flat(self, outputs: Floats) -> Floats:
        """Return the coordinates of outputs (n, d); (n, k)."""
        return (outputs - self.centre) @ self.directions.T

    def linear(self, weights: Floats, biases: Floats) -> tuple[Floats, Floats]:
        """Return weights (k, m) and biases (m,) of the same sums as functions of the coordinates, on their plane."""
        return self.directions @ weights, self.centre @ weights + biases


def projection_of(outputs: Floats, dimensions: int) -> Projection:
    """Return the units as coordinates if there are `dimensions` of them, else the first principal components.

    Parameters
    ----------
    outputs : (n, d) ndarray
    dimensions : int
        At most d.
    """
    d = outputs.shape[1]
    if d == dimensions:
        return Projection(np.zeros(d), np.eye(d), tuple(f"hidden unit {k + 1}" for k in range(d)))
    centre = outputs.mean(axis=0)
    _, sizes, directions = np.linalg.svd(outputs - centre, full_matrices=True)
    sizes = np.pad(sizes, (0, max(dimensions - len(sizes), 0)))
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    directions = directions[:dimensions]
    # The sign of a component is arbitrary: its largest part is positive.
    largest = directions[np.arange(dimensions), np.abs(directions).argmax(axis=1)]
    labels = tuple(f"component {k + 1} ({shares[k]:.0%} of variance)" for k in range(dimensions))
    return Projection(centre, directions * np.where(largest < 0.0, -1.0, 1.0)[:, None], labels)


@dataclass(frozen=True)
class NextLayer:
    """Weights (d, m), biases (m,) of the layer behind the shown one; `decides` if its outputs are the classes."""

    weights: Floats
    biases: Floats
    decides: bool


@explained
def hidden_space(
    model: Any,
    X: Any,
    y: Any,
    *,
    layer: int = -2,
    dimensions: int | None = None,
    ax: Axes | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure | SubFigure:
    """Draw the rows as points in the space of the outputs of a layer, and where the next layer separates them.

    A layer of one, two or three units is drawn as it is; of wider ones the first principal components are, whose
    shares of the variance are in the labels. Where the next layer is the last, areas (in three dimensions planes) show
    which class is predicted (planes of up to four classes); before another hidden layer, lines show where the sum of
    each of its units is 0. Among principal components these are the areas and lines of the plane through the mean of
    the points, so that points which lie in front of or behind that plane may be on the other side.

    Parameters
    ----------
    model : Model, MLPClassifier, MLPRegressor, or object with a method `transform`
        Fitted. Of an object of another library, the columns that `transform` returns are drawn, without lines.
    X : array-like or data frame, (n, n_features)
    y : array-like, (n,)
        Labels or values, which are the colours of the points.
    layer : int
        Number of the layer, as of a Python sequence: 0 is the first hidden layer, -2 the last one, -1 the output.
    dimensions : int or None
        1, 2 or 3. None is the number of units up to 3, and 2 for wider layers.
    ax : matplotlib.axes.Axes or None
        Axes to draw in, with ``projection="3d"`` for three dimensions; None makes a new figure.
    class_names : sequence of str, or None
        Names for the legend, in the order of the classes.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or there is no such layer.
    ImportError
        If matplotlib is not installed.
    """
    reading = Reading(model, X, y)
    outputs, following = layer_of(model, reading, X, layer)
    most = min(outputs.shape[1], 3)
    if dimensions is None:
        dimensions = most if outputs.shape[1] <= 3 else 2
    else:
        dimensions = integer("dimensions", dimensions, least=1)
        if dimensions > most:
            raise ValueError(must_be("dimensions", f"at most {most} for {outputs.shape[1]} units", dimensions))
    names = as_names("class_names", class_names, reading.classes or [])
    projection = projection_of(outputs, dimensions)
    labels = [label if is_own(model) else label.replace("hidden unit", "column") for label in projection.labels]
    points = projection.flat(outputs)
    linear = None if following is None else projection.linear(following.weights, following.biases)
    solid = dimensions == 3
    width, height = (5.6, 4.6) if solid else (5.0, 4.0)
    with panels_for("ax", ax, projection="3d" if solid else None, width=width, height=height) as (panel,):
        low, high = limits_of(points)
        if dimensions == 1:
            low, high = np.append(low, -0.6), np.append(high, max(len(names), 1) - 0.4)
            heights = reading.targets if reading.classes is not None else np.zeros(len(points))
            points = np.column_stack([points, heights])
        if linear is not None and following is not None:
            if solid:
                _draw_planes(panel, *linear, low, high, decides=following.decides)
            elif dimensions == 2 and following.decides:
                axes = np.linspace(low, high, _AREA).T
                grid = np.stack(np.meshgrid(*axes), axis=-1)
                draw_regions(panel, axes, grid @ linear[0] + linear[1], probable=False)
            else:
                draw_lines(panel, *linear, decides=following.decides)
        drawn = draw_targets(panel, points, reading.targets, names, legend=dimensions == 2)
        if solid and names:  # the label of the vertical axis is at the right
            handles = [collection for collection, _ in drawn]
            panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.05, 1.0), handletextpad=0.3)
        _label(panel, labels, low, high, names if reading.classes is not None else None)
    return panel.figure


def layer_of(model: Any, reading: Reading, X: Any, layer: int) -> tuple[Floats, NextLayer | None]:
    """Return the outputs of a layer (n, d), and the layer behind it if there is one."""
    if not is_own(model):
        transform = getattr(model, "transform", None)
        if not callable(transform):
            raise TypeError(must_be("model", "a Model, an estimator of fastnn, or an object with `transform`", model))
        try:
            columns = transform(X)
            outputs = np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns, np.float64)
        except CONVERSION_ERRORS as error:
            raise ValueError(f"model cannot transform X: {error}") from error
        return finite(outputs, "outputs"), None
    subject = subject_of(model)
    net = subject.model
    outputs = finite(np.asarray(net.hidden(subject.features(X), layer), np.float64), "outputs")  # checks the layer
    number = range(len(net.layers))[layer]
    if number == len(net.layers) - 1:
        return outputs, None
    weights = np.asarray(net.weights[number + 1], np.float64)
    biases = np.asarray(net.biases[number + 1], np.float64)
    decides = number == len(net.layers) - 2 and reading.classes is not None
    if decides and weights.shape[1] == 1:  # of two classes: the sum of the second one, that of the first being 0
        weights, biases = np.column_stack([0.0 * weights, weights]), np.append(0.0, biases)
    elif number == len(net.layers) - 2 and not decides:
        return outputs, None  # an output that is a value separates nothing
    return outputs, NextLayer(weights, biases, decides)


def draw_lines(ax: Axes, weights: Floats, biases: Floats, *, decides: bool) -> None:
    """Draw where sums are 0, (1 or 2, m); in one dimension, where two classes (2 sums) are equal."""
    if decides:
        pairs = list(itertools.combinations(range(weights.shape[1]), 2))
        weights = np.column_stack([weights[:, b] - weights[:, a] for a, b in pairs])
        biases = np.array([biases[b] - biases[a] for a, b in pairs])
    for k in range(min(weights.shape[1], _MOST_LINES)):
        w, b = weights[:, k], biases[k]
        size = float(w @ w)
        if size == 0.0:
            continue
        foot = -b * w / size
        settings: dict[str, Any] = {"color": text_colour(ax), "linewidth": 1.5, "zorder": 2}
        if len(w) == 1:
            ax.axvline(float(foot[0]), **settings)
        else:
            ax.axline(foot, foot + np.array([-w[1], w[0]]) / np.sqrt(size), **settings)


def _draw_planes(ax: Any, weights: Floats, biases: Floats, low: Floats, high: Floats, *, decides: bool) -> None:
    """Draw the parts of planes within limits (3,) on which two classes lead together, or a sum is 0."""
    m = weights.shape[1]
    if m > _MOST_PLANES and decides:
        return
    pairs = list(itertools.combinations(range(m), 2)) if decides else [(k, k) for k in range(min(m, _MOST_PLANES))]
    for a, b in pairs:
        w = weights[:, b] - weights[:, a] if decides else weights[:, b]
        c = biases[b] - biases[a] if decides else biases[b]
        across = int(np.argmax(np.abs(w) * (high - low)))
        if w[across] == 0.0:
            continue
        along = [k for k in range(3) if k != across]
        grid = np.stack(np.meshgrid(*np.linspace(low[along], high[along], _PLANE).T), axis=-1)
        at = np.empty((*grid.shape[:2], 3))
        at[..., along] = grid
        at[..., across] = -(grid @ w[along] + c) / w[across]
        inside = (at[..., across] >= low[across]) & (at[..., across] <= high[across])
        if decides:
            sums = at @ weights + biases
            inside &= sums[..., a] >= sums.max(axis=-1) - 1e-9 * (1.0 + np.abs(sums).max())
        if inside.any():
            at[..., across] = np.where(inside, at[..., across], np.nan)
            colour = mix(muted(ax), text_colour(ax), 0.3)
            ax.plot_surface(*np.moveaxis(at, -1, 0), color=colour, alpha=0.35, linewidth=0)


def _label(ax: Any, labels: Sequence[str], low: Floats, high: Floats, names: Sequence[str] | None) -> None:
    """Set the limits and the labels of the axes."""
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=labels[0])
    if len(labels) == 1:
        ax.set_yticks(range(len(names or ())), names or ())
        return
    ax.set_ylabel(labels[1])
    if len(labels) == 3:
        ax.set_zlim(low[2], high[2])
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(label.replace(" (", "\n("))
            axis.labelpad = 12.0 if "(" in label else 8.0
        ax.set_box_aspect(None, zoom=0.82)
        for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
            axis.set_pane_color((0.0, 0.0, 0.0, 0.0))
            axis.set_major_locator(_few())


def _few() -> Any:
    """Return a locator of few ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)
