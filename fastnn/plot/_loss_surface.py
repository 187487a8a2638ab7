"""The loss over a plane of weights, with the path of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import COLORS, background_of, text_colour
from fastnn._validation import CONVERSION_ERRORS, must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.model import Model, subject_of
from fastnn.plot._loss_of import LossOf, flat, names_of_two

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = npt.NDArray[np.float64]

#: Largest resolution.
_FINEST = 400
#: Margin around a path, relative to its extent.
_MARGIN = 0.3
#: Number of contours.
_LEVELS = 14


@explained
def loss_surface(
    model: Any, X: Any, y: Any, *, path: Any = None, ax: Axes | None = None, resolution: int = 41
) -> Figure | SubFigure:
    """Draw the loss over a plane in the space of the weights, and the path of a training through it.

    The plane is a slice through the start and the end of the path, and through the point of it that is farthest from
    the line between these, so that the contours hold at these three points exactly. All other points of the path are
    projected onto it, and lie in front of or behind it; the title has the share of the path, by squared distances from
    its end, that lies in the plane. Of a net with two weights the plane is the space itself.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Built or fitted. Not changed.
    X, y : array-like
        Rows and targets whose loss is drawn, the penalty included; of more than 2000 rows, 2000 evenly spaced ones.
    path : callbacks.Snapshots, sequence of weight sets, or None
        The weights of a training, from its start to its end, at least two sets. A set is what `Snapshots` keeps, or a
        pair of the lists `Model.weights` and `Model.biases`. None draws the surroundings of the present weights, in two
        random directions, each of which is as long as the weights of every unit [1]_.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.
    resolution : int
        Number of points per axis at which the loss is computed, 3 to 400.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.
    ImportError
        If matplotlib is not installed.

    References
    ----------
    .. [1] H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, "Visualizing the loss landscape of neural nets",
       NeurIPS, 2018, section 4.
    """
    subject = subject_of(model)
    features = subject.features(X)
    targets = subject.targets(features, y)
    resolution = positive_integer(resolution, "resolution")
    if not 3 <= resolution <= _FINEST:
        raise ValueError(must_be("resolution", f"from 3 to {_FINEST}", resolution))
    loss = LossOf(subject.model, features, targets)
    present = flat(subject.model, subject.model.weights, subject.model.biases)
    points = None if path is None else _as_path(path, subject.model)
    title = "slice of the loss around the weights"
    if points is not None:
        origin, directions, labels, share = plane_through(points, names_of_two(subject.model))
        places = (points - origin) @ directions.T
        title = f"slice of the loss, with {share:.0%} of the path"
    elif present.size <= 2:
        origin, directions, labels, share = plane_through(present[None], names_of_two(subject.model))
        places = present[None]
    else:
        origin, directions = present, _random_directions(subject.model)
        labels = ("weights, random direction 1", "weights, random direction 2")
        places = np.zeros((1, len(directions)))
    low, high = _limits(places)
    axes = [np.linspace(a, b, resolution) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(directions))
    losses = np.array([loss(origin + place @ directions) for place in grid])
    if not np.isfinite(losses).any():
        raise ValueError("the loss is not finite anywhere around the weights; scale X and y to about 1.")
    with panels_for("ax", ax, width=5.6, height=4.4) as (panel,):
        if len(directions) == 1:
            _draw_curve(panel, axes[0], losses, places[:, 0], None if points is None else loss)
        else:
            draw_contours(panel, axes, losses.reshape(resolution, resolution))
            panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), ylabel=labels[1])
            panel.locator_params(nbins=6)
            if points is not None:
                draw_path(panel, places, [loss(points[0]), loss(points[-1])])
        panel.set(xlabel=labels[0], title=title)
    return panel.figure


def _as_path(path: Any, model: Model) -> Floats:
    """Return the sets of weights of a path, (n, n_params), n at least 2."""
    constraint = "Snapshots, or a sequence of pairs (weights, biases), at least two"
    shapes = [array.shape for array in (*model.weights, *model.biases)]
    points = []
    try:
        for item in path:
            pair = (item.weights, item.biases) if hasattr(item, "weights") else tuple(item)
            weights, biases = pair
            if [np.shape(array) for array in (*weights, *biases)] != shapes:
                raise ValueError(must_be("path", "sets of weights of this model", [np.shape(w) for w in weights]))
            points.append(flat(model, weights, biases))
    except CONVERSION_ERRORS as error:  # raised by the values themselves
        if str(error).startswith("path must be"):
            raise
        raise TypeError(must_be("path", constraint, path)) from error
    if len(points) < 2:
        raise ValueError(must_be("path", constraint, path))
    found = np.array(points)
    if not np.isfinite(found).all():
        raise ValueError(must_be("path", "of finite weights", "NaN or infinity"))
    return found


def plane_through(points: Floats, names: Sequence[str]) -> tuple[Floats, Floats, tuple[str, ...], float]:
    """Return a plane through the start, the end and one more point of a path.

    Parameters
    ----------
    points : (n, n_params) ndarray
        Of at most two weights, the plane is that of the weights themselves.
    names : sequence of str
        Names of these.

    Returns
    -------
    origin : (n_params,) ndarray
        The end.
    directions : (1 or 2, n_params) ndarray
        Orthonormal: from the start to the end, and across it towards the farthest point.
    labels : tuple of str
        Of the coordinates.
    share : float
        Of the squared distances from the end, how much lies in the plane.
    """
    n = points.shape[1]
    if n <= 2:
        return np.zeros(n), np.eye(n), tuple(names[:n]), 1.0
    moves = points - points[-1]
    along = moves[0] if np.linalg.norm(moves[0]) > 0.0 else moves[np.linalg.norm(moves, axis=1).argmax()]
    length = float(np.linalg.norm(along))
    first = -along / length if length > 0.0 else np.eye(n)[0]
    beside = moves - np.outer(moves @ first, first)
    lengths = np.linalg.norm(beside, axis=1)
    is_straight = not lengths.max() > 1e-9 * length  # then any direction across it serves
    second = np.asarray(np.random.default_rng(0).standard_normal(n) if is_straight else beside[lengths.argmax()])
    directions = np.array([first, unit_across(second, first)])
    total = float((moves**2).sum())
    share = float(((moves @ directions.T) ** 2).sum()) / total if total > 0.0 else 1.0
    return points[-1], directions, ("weights, from start to end", "weights, across"), share


def unit_across(direction: Floats, first: Floats) -> Floats:
    """Return the part of a direction (n,) that is orthogonal to the unit vector `first`, of length 1."""
    across = direction - (direction @ first) * first
    return np.asarray(across / np.linalg.norm(across))


def _random_directions(model: Model) -> Floats:
    """Return two random directions (2, n_params); each unit's part is as long as its weights, that of biases 0."""
    rng = np.random.default_rng(0)
    directions = []
    for _ in range(2 if flat(model, model.weights, model.biases).size > 1 else 1):
        parts = []
        for w in model.weights:
            part = rng.standard_normal(w.shape)
            lengths = np.linalg.norm(part, axis=0)
            lengths[lengths == 0.0] = 1.0
            parts.append(part * (np.linalg.norm(np.asarray(w, np.float64), axis=0) / lengths))
        directions.append(flat(model, parts, [np.zeros(b.shape) for b in model.biases]))
    return np.array(directions)


def _limits(places: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and highest coordinates of the picture; of a single place, a distance of 1 around it."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 0.4 * float((high - low).max()))
    if not span.all():
        return low - 1.0, high + 1.0
    middle = (low + high) / 2.0
    return middle - (0.5 + _MARGIN) * span, middle + (0.5 + _MARGIN) * span


def levels_of(losses: Floats, n: int = _LEVELS) -> Floats:
    """Return rising levels of the loss for contours, closer to each other near the lowest; (n + 1,)."""
    known = losses[np.isfinite(losses)]
    low, high = float(known.min()), float(np.quantile(known, 0.98))
    # The least distance is one at which neighbours still differ as float64.
    return low + max(high - low, 1e-12, 1e-6 * abs(low)) * np.linspace(0.0, 1.0, n + 1) ** 2


def draw_contours(ax: Axes, axes: list[Floats], losses: Floats) -> None:
    """Draw contours of the loss (m, m) with a colour bar."""
    levels = levels_of(losses)
    shown = np.ma.masked_invalid(losses)
    dark = background_of(ax).mean() < 0.5
    filled = ax.contourf(*axes, shown, levels, cmap="cividis" if dark else "cividis_r", extend="max", alpha=0.85)
    ax.contour(*axes, shown, levels[1:], colors=[text_colour(ax)], linewidths=0.4, alpha=0.5)
    bar = ax.figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::2], format="{x:.3g}")
    bar.ax.tick_params(length=0)


def draw_path(ax: Axes, places: Floats, losses: list[float], *, colour: Any = COLORS[3]) -> Any:
    """Draw a path (n, 2) with the losses at its start and its end, in axes whose limits are set."""
    edge, ink = background_of(ax), text_colour(ax)
    (line,) = ax.plot(*places.T, ".-", color=colour, linewidth=1.5, markersize=3.5, zorder=4)
    for k, marker, name, size in ((0, "o", "start", 8), (-1, "*", "end", 14)):
        place = places[k]
        ax.plot(*place, marker, color=colour, markersize=size, markeredgecolor=edge, zorder=5)
        side = 1 if place[0] <= sum(ax.get_xlim()) / 2.0 else -1
        below = place[1] < places[:, 1].mean()  # away from the path
        ax.annotate(
            f"{name}: {losses[k]:.3g}", place, xytext=(4.0 * side, -9.0 if below else 9.0), textcoords="offset points",
            ha="left" if side > 0 else "right", va="top" if below else "bottom", color=ink, fontsize=10, zorder=6,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": edge, "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip
    return line


def _draw_curve(ax: Axes, at: Floats, losses: Floats, places: Floats, loss: LossOf | None) -> None:
    """Draw the loss over one weight, with the path on it."""
    ax.plot(at, losses, color=COLORS[1])
    ax.set(ylabel="loss", xlim=(at[0], at[-1]))
    if loss is not None:
        heights = [loss(np.array([place])) for place in places]
        draw_path(ax, np.column_stack([places, heights]), heights)
