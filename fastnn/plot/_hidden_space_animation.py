"""The space of a hidden layer while a net learns to separate the classes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._validation.names import explained
from fastnn.callbacks import Snapshot, Snapshots
from fastnn.plot._animation import (
    Animation,
    Moving,
    Replica,
    as_fps,
    as_frames,
    as_snapshots,
    chosen,
    heading,
    hold_layout,
    some_rows,
)
from fastnn.plot._boundary import draw_regions
from fastnn.plot._hidden_space import draw_lines, layer_of, projection_of
from fastnn.plot._points import draw_targets, limits_of
from fastnn.plot._reading import Reading, as_names

Floats = npt.NDArray[np.float64]

#: Largest number of points that are drawn, and points per axis of areas.
_MOST_POINTS, _AREA = 1000, 120


@explained
def hidden_space_animation(
    model: Any,
    snapshots: Snapshots | Sequence[Snapshot],
    X: Any,
    y: Any,
    *,
    layer: int = -2,
    frames: int = 60,
    fps: int = 15,
    class_names: Sequence[str] | None = None,
) -> Animation:
    """Show how the outputs of a layer come apart while a net learns, until the next layer separates the classes.

    The axes are the same in all frames. A layer of two units is drawn as it is, one of a single unit over the classes;
    of wider ones the first two principal components of the outputs of all frames together are drawn. Where the next
    layer is the last, areas show which class is predicted; before another hidden layer, lines show where the sum of
    each of its units is 0. Among principal components these are the areas and lines of the plane through the mean of
    all points.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        The net of the snapshots; not changed.
    snapshots : callbacks.Snapshots, or sequence of its items
        Of the training.
    X : array-like or data frame, (n, n_features)
        Of more than 1000 rows some are drawn, evenly spaced.
    y : array-like, (n,)
        Labels or values, which are the colours of the points.
    layer : int
        Number of the layer: 0 is the first hidden one, -2 the last hidden one.
    frames : int
        Most frames, 2 to 600: of more snapshots some are chosen, closer together at the beginning of the training.
    fps : int
        Frames per second, 1 to 50.
    class_names : sequence of str, or None
        Names for the legend, in the order of the classes.

    Returns
    -------
    Animation
        Shows itself in notebooks; its method `save` writes .gif, .mp4 or .html.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or there is no such layer.
    ImportError
        If matplotlib is not installed.
    """
    replica = Replica(model)
    film = chosen(as_snapshots("snapshots", snapshots, replica.net), as_frames(frames))
    reading = Reading(replica.show(film[-1]), X, y)
    names = as_names("class_names", class_names, reading.classes or [])
    fps = as_fps(fps)
    rows = some_rows(len(reading.rows), _MOST_POINTS)
    targets = reading.targets[rows]
    found = [layer_of(replica.show(one), reading, X, layer) for one in film]
    outputs = [values[rows] for values, _ in found]
    dimensions = min(outputs[0].shape[1], 2)
    projection = projection_of(np.concatenate(outputs), dimensions)
    points = [projection.flat(values) for values in outputs]
    low, high = limits_of(np.concatenate(points))
    if dimensions == 1:
        low, high = np.append(low, -0.6), np.append(high, max(len(names), 1) - 0.4)
        heights = targets if reading.classes is not None else np.zeros(len(rows))
        points = [np.column_stack([values, heights]) for values in points]
    axes = np.linspace(low, high, _AREA).T
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    with panels_for("ax", None, width=5.0, height=4.0) as (panel,):
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=heading(film[-1]))
        panel.set_xlabel(projection.labels[0])
        if dimensions == 2:
            panel.set_ylabel(projection.labels[1])
        else:
            panel.set_yticks(range(len(names)), names)
        drawn = draw_targets(panel, points[-1], targets, names, legend=dimensions == 2)
        hold_layout(panel.figure)
    moving = Moving(panel)

    def draw(k: int) -> None:
        following = found[k][1]

        def draw_next_layer() -> None:
            if following is None:
                return
            weights, biases = projection.linear(following.weights, following.biases)
            if dimensions == 2 and following.decides:
                draw_regions(panel, axes, grid @ weights + biases, probable=False)
            else:
                draw_lines(panel, weights, biases, decides=following.decides)

        for collection, of_class in drawn:
            collection.set_offsets(points[k][of_class])
        moving.replace(draw_next_layer)
        panel.set_title(heading(film[k]))

    return Animation(panel.figure, draw, len(film), fps)
