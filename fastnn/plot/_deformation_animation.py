"""What the layers of a net do to the plane, as one continuous motion (C. Olah, 2014)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import muted
from fastnn._validation import must_be
from fastnn._validation.names import explained
from fastnn.model import subject_of
from fastnn.plot._animation import MOST_FRAMES, Animation, Moving, as_fps, as_frames, hold_layout, some_rows
from fastnn.plot._boundary import draw_regions
from fastnn.plot._hidden_space import Projection, layer_of, projection_of
from fastnn.plot._points import MARGIN, draw_targets
from fastnn.plot._reading import Reading, as_names, finite, is_own

Floats = npt.NDArray[np.float64]

#: Largest number of points, lines of the grid per direction, points per line, points per axis of areas.
_MOST_POINTS, _LINES, _PER_LINE, _AREA = 500, 15, 50, 160
#: Frames that a step stays, and that the end does, relative to those of a step.
_HOLD, _END = 0.3, 2.0


@dataclass(frozen=True)
class _Stage:
    """Where everything is after a step: points (n, 2), grid (lines, per line, 2) or None, and what the step was."""

    points: Floats
    grid: Floats | None
    title: str
    centre: Floats
    radius: float


@explained
def deformation_animation(
    model: Any,
    X: Any,
    y: Any,
    *,
    frames: int = 10,
    fps: int = 15,
    class_names: Sequence[str] | None = None,
) -> Animation:
    """Show what the hidden layers of a net do to the data and the space around them, as one continuous motion [1]_.

    Each layer is three steps: its linear map, its shift by the biases, and its activation, between which points are
    interpolated. Lines of a grid over two features are carried along. At the end the areas are drawn in which the last
    layer predicts each class. Spaces of two dimensions are drawn as they are, others by the first two principal
    components of the outputs of their layer. The axes follow the points, with the same unit in both directions.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Trained, with at least one hidden layer; not changed.
    X : array-like or data frame, (n, n_features)
        Of more than 500 rows some are drawn, evenly spaced.
    y : array-like, (n,)
        Labels or values, which are the colours of the points.
    frames : int
        Frames per step, 2 to 600; at most 600 in all.
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
        If an argument is invalid, or the net has no hidden layer of two units or more.
    ImportError
        If matplotlib is not installed.

    References
    ----------
    .. [1] C. Olah, "Neural networks, manifolds, and topology", 2014.
    """
    if not is_own(model):
        raise TypeError(must_be("model", "a Model or an estimator of fastnn", model))
    reading = Reading(model, X, y)
    net = subject_of(model).model
    n_hidden = len(net.layers) - 1
    if n_hidden == 0:
        raise ValueError(must_be("model", "a net with a hidden layer", model))
    fps, per_step = as_fps(fps), as_frames(frames)
    names = as_names("class_names", class_names, reading.classes or [])
    schedule = _schedule(3 * n_hidden, per_step)
    if len(schedule) > MOST_FRAMES:
        raise ValueError(must_be("frames", f"fewer, as {n_hidden} layers have at most {MOST_FRAMES} frames", frames))
    rows = some_rows(len(reading.rows), _MOST_POINTS)
    targets = reading.targets[rows]
    stages, regions = _stages(model, net, reading, X, rows)
    with panels_for("ax", None, width=5.2, height=4.4) as (panel,):
        panel.set(xlabel=" ", ylabel=" ", title=stages[0].title, aspect="equal", xticks=[], yticks=[])
        first = stages[0]
        drawn = draw_targets(panel, first.points, targets, names)
        panel.set(xlabel="", ylabel="")
        hold_layout(panel.figure)
    moving = Moving(panel)

    def draw(k: int) -> None:
        number, share = schedule[k]
        before, after = stages[max(number - 1, 0)], stages[number]
        points = (1.0 - share) * before.points + share * after.points
        centre = (1.0 - share) * before.centre + share * after.centre
        radius = (1.0 - share) * before.radius + share * after.radius
        for collection, of_class in drawn:
            collection.set_offsets(points[of_class])
        (left, bottom), (right, top) = centre - radius, centre + radius
        panel.set(xlim=(left, right), ylim=(bottom, top))
        at_end = number == len(stages) - 1 and share == 1.0

        def draw_rest() -> None:
            if after.grid is not None and before.grid is not None:
                from matplotlib.collections import LineCollection

                lines = (1.0 - share) * before.grid + share * after.grid
                panel.add_collection(
                    LineCollection(list(lines), colors=[muted(panel)], linewidths=0.7, alpha=0.6, zorder=1),
                    autolim=False,
                )
            if at_end and regions is not None:
                axes = np.array([np.linspace(left, right, _AREA), np.linspace(bottom, top, _AREA)])
                weights, biases = regions
                draw_regions(panel, axes, np.stack(np.meshgrid(*axes), axis=-1) @ weights + biases, probable=False)
                panel.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")

        moving.replace(draw_rest)
        panel.set_title(_end_title(model, reading) if at_end and regions is not None else after.title)

    return Animation(panel.figure, draw, len(schedule), fps)


def _schedule(n_steps: int, per_step: int) -> list[tuple[int, float]]:
    """Return for each frame the number of the step, and the share of it that is done; the start is step 0."""
    hold = max(1, round(_HOLD * per_step))
    frames = [(0, 1.0)] * hold * 2
    for step in range(1, n_steps + 1):
        times = np.arange(1, per_step + 1) / per_step
        frames += [(step, float(t)) for t in times * times * (3.0 - 2.0 * times)]
        frames += [(step, 1.0)] * (round(_END * per_step) if step == n_steps else hold)
    return frames


def _stages(
    model: Any, net: Any, reading: Reading, X: Any, rows: npt.NDArray[np.int64]
) -> tuple[list[_Stage], tuple[Floats, Floats] | None]:
    """Return the places after each step, and sums of the classes as functions of the last ones (None of values)."""
    points = reading.rows[rows]
    lines = _grid(points)
    n_lines = 0 if lines is None else len(lines)
    everything = points if lines is None else np.concatenate([points, lines.reshape(-1, 2)])
    features = everything.astype(net.dtype)

    def stage(outputs: Floats, projection: Projection, title: str) -> _Stage:
        flat = projection.flat(outputs)
        mine = flat[: len(points)]
        low, high = mine.min(axis=0), mine.max(axis=0)
        radius = float((high - low).max()) * (0.5 + MARGIN)
        grid = flat[len(points) :].reshape(n_lines, _PER_LINE, 2) if n_lines else None
        return _Stage(mine, grid, title, (low + high) / 2.0, radius or 1.0)

    stages = [stage(everything, _plane(points, None), "the data")]
    inputs = everything
    for k, layer in enumerate(net.layers[:-1]):
        weights, biases = np.asarray(net.weights[k], np.float64), np.asarray(net.biases[k], np.float64)
        outputs = finite(np.asarray(net.hidden(features, k), np.float64), "outputs")
        projection = _plane(outputs[: len(points)], stages[-1].points)
        name = f"hidden layer {k + 1}" if len(net.layers) > 2 else "hidden layer"
        for values, what in (
            (inputs @ weights, "linear map"),
            (inputs @ weights + biases, "shift by the biases"),
            (outputs, layer.activation.name),
        ):
            stages.append(stage(values, projection, f"{name}: {what}"))
        inputs = outputs
    following = layer_of(model, reading, X, -2)[1]
    if following is None or not following.decides:
        return stages, None
    return stages, projection.linear(following.weights, following.biases)


def _plane(outputs: Floats, before: Floats | None) -> Projection:
    """Return two coordinates of outputs (n, d): one unit and zero, two units, or the first two principal components.

    The sign of a component is arbitrary: of the two, the one that lets the points go the shorter way from `before`
    (n, 2).
    """
    d = outputs.shape[1]
    if d == 1:
        return Projection(np.zeros(1), np.array([[1.0], [0.0]]), ("", ""))
    found = projection_of(outputs, 2)
    if d == 2 or before is None:
        return found
    agreement = (found.flat(outputs) * (before - before.mean(axis=0))).sum(axis=0)
    signs = np.where(agreement < 0.0, -1.0, 1.0)
    return dataclasses.replace(found, directions=found.directions * signs[:, None])


def _end_title(model: Any, reading: Reading) -> str:
    """Return how many rows the last layer assigns to their class."""
    scores, _ = reading.scores(reading.rows)
    right = int((scores.argmax(axis=1) == reading.targets).sum())
    what = "a line" if scores.shape[1] == 2 else "lines"
    if right == len(reading.rows):
        return f"{what} {'separates' if what == 'a line' else 'separate'} all classes"
    return f"{what} {'separates' if what == 'a line' else 'separate'} {right / len(reading.rows):.1%} of the rows"


def _grid(points: Floats) -> Floats | None:
    """Return lines of a grid around points of two features, (lines, per line, 2); None for other numbers."""
    if points.shape[1] != 2:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    places = np.linspace(low, high, _LINES)
    along = np.linspace(low, high, _PER_LINE)
    upright = [np.column_stack([np.full(_PER_LINE, x), along[:, 1]]) for x in places[:, 0]]
    level = [np.column_stack([along[:, 0], np.full(_PER_LINE, y)]) for y in places[:, 1]]
    return np.array(upright + level)
