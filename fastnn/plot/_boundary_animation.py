"""The boundary between classes while a net learns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._figure import panels_for
from fastnn._validation import must_be, positive_integer
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
)
from fastnn.plot._boundary import draw_regions
from fastnn.plot._points import draw_targets, limits_of
from fastnn.plot._reading import Reading, as_names, column_names


@explained
def boundary_animation(
    model: Any,
    snapshots: Snapshots | Sequence[Snapshot],
    X: Any,
    y: Any,
    *,
    frames: int = 60,
    fps: int = 15,
    resolution: int = 120,
    class_names: Sequence[str] | None = None,
) -> Animation:
    """Show how the boundary between classes forms while a net of two features learns.

    Areas have the colour of the class that is predicted there, the stronger the more probable it is; on the lines two
    classes are equally probable. Of a regression the predicted value is the colour.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        The net of the snapshots; not changed.
    snapshots : callbacks.Snapshots, or sequence of its items
        Of the training.
    X : array-like or data frame, (n, 2)
    y : array-like, (n,)
        Labels or values, as for `fit`.
    frames : int
        Most frames, 2 to 600: of more snapshots some are chosen, closer together at the beginning of the training.
    fps : int
        Frames per second, 1 to 50.
    resolution : int
        Points per axis at which the net predicts, 2 to 1000.
    class_names : sequence of str, or None
        Names for the legend, in the order of the classes.

    Returns
    -------
    Animation
        Shows itself in notebooks; its method `save` writes .gif, .mp4 or .html.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.
    ImportError
        If matplotlib is not installed.
    """
    replica = Replica(model)
    film = chosen(as_snapshots("snapshots", snapshots, replica.net), as_frames(frames))
    reading = Reading(replica.show(film[-1]), X, y)
    if reading.rows.shape[1] != 2:
        hint = "hidden_space_animation shows nets of more features."
        raise ValueError(must_be("X", "of two columns", f"an array of shape {reading.rows.shape}", hint))
    resolution = positive_integer(resolution, "resolution")
    if not 2 <= resolution <= 1000:
        raise ValueError(must_be("resolution", "from 2 to 1000", resolution))
    names = as_names("class_names", class_names, reading.classes or [])
    fps = as_fps(fps)
    low, high = limits_of(reading.rows)
    axes = np.linspace(low, high, resolution).T
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    (left, right), (bottom, top) = axes[:, [0, -1]]
    with panels_for("ax", None, width=5.0, height=4.0) as (panel,):
        panel.set(xlim=(left, right), ylim=(bottom, top))
        panel.set(**dict(zip(("xlabel", "ylabel"), column_names(X, 2), strict=True)), title=heading(film[-1]))
        label = "value: areas predicted, points given"
        points = draw_targets(panel, reading.rows, reading.targets, names, label=label)[0][0]
        hold_layout(panel.figure)
    moving = Moving(panel)

    def draw_areas() -> None:
        if reading.classes is None:
            panel.imshow(
                reading.values(grid).reshape(resolution, resolution), origin="lower", aspect="auto", norm=points.norm,
                extent=(left, right, bottom, top), cmap="viridis", interpolation="bilinear", zorder=0,
            )  # fmt: skip
        else:
            scores, probable = reading.scores(grid)
            draw_regions(panel, axes, scores.reshape(resolution, resolution, -1), probable=probable)

    def draw(k: int) -> None:
        replica.show(film[k])
        moving.replace(draw_areas)
        panel.set_title(heading(film[k]))

    return Animation(panel.figure, draw, len(film), fps)
