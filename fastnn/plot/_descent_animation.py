"""Trainings as paths over the surface of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.labels import spread
from fastnn._figure.style import background_of, line_colours, mix, muted, readable, text_colour
from fastnn._validation import must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.callbacks import Snapshot, Snapshots
from fastnn.model import Model, subject_of
from fastnn.plot._animation import Animation, Moving, as_fps, as_frames, as_snapshots, hold_layout
from fastnn.plot._loss_of import LossOf, flat, names_of_two

Floats = npt.NDArray[np.float64]

#: Margin around the paths, relative to their extent.
_MARGIN = 0.25
#: Contour lines, and the least rise above the lowest loss that has one, relative to the whole.
_LEVELS, _LOWEST = 18, 1e-3
#: Most trainings in a picture.
_MOST_PATHS = 8


@dataclass(frozen=True)
class _Path:
    """The way of a training: epochs (n,) counted from its start, coordinates (n, 2), losses (n,)."""

    name: str
    epochs: Floats
    places: Floats
    losses: Floats

    def until(self, epoch: float) -> Floats:
        """Return the coordinates up to an epoch, the last ones interpolated; (m, 2)."""
        before = self.places[self.epochs < epoch]
        head = [np.interp(epoch, self.epochs, column) for column in self.places.T]
        return np.vstack([before, head])


@explained
def descent_animation(
    model: Any,
    snapshots: Mapping[str, Snapshots | Sequence[Snapshot]] | Snapshots | Sequence[Snapshot],
    X: Any,
    y: Any,
    *,
    frames: int = 60,
    fps: int = 15,
    resolution: int = 41,
) -> Animation:
    """Show trainings as points that go down the surface of the loss, with their paths behind and their names beside.

    A net of two weights (linear regression on one feature) has its whole surface drawn. Of other nets it is a slice:
    the plane through the lowest end, along the two directions in which the paths extend most [1]_, whose shares are in
    the labels. The losses of the slice are those of points on the plane, so that a path which leaves it may seem to
    rise; the losses in the title are those of the trainings themselves.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        A net of the same layers as those that were trained, with the loss that is drawn; not changed.
    snapshots : mapping of name to callbacks.Snapshots, or one of these
        Of each training; at most 8. All should begin at the same weights.
    X, y : array-like
        Rows that the loss is of, as for `fit`. Of more than 2000 rows some are taken, evenly spaced.
    frames : int
        Number of frames, 2 to 600: the epochs of the longest training, evenly divided.
    fps : int
        Frames per second, 1 to 50.
    resolution : int
        Points of the surface per axis, 3 to 201.

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

    References
    ----------
    .. [1] H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, "Visualizing the loss landscape of neural nets",
       NeurIPS, 2018, section 7.
    """
    subject = subject_of(model)
    net: Model = subject.model
    given = snapshots if isinstance(snapshots, Mapping) else {"": snapshots}
    if not 1 <= len(given) <= _MOST_PATHS:
        raise ValueError(must_be("snapshots", f"of 1 to {_MOST_PATHS} trainings", len(given)))
    films = {
        str(name): as_snapshots(f"snapshots[{name!r}]" if name else "snapshots", one, net)
        for name, one in given.items()
    }
    n_frames, fps = as_frames(frames), as_fps(fps)
    resolution = positive_integer(resolution, "resolution")
    if not 3 <= resolution <= 201:
        raise ValueError(must_be("resolution", "from 3 to 201", resolution))
    features = subject.features(X)
    loss_at = LossOf(net, features, subject.targets(features, y))
    flat_of = {name: np.array([flat(net, one.weights, one.biases) for one in film]) for name, film in films.items()}
    lowest = min(films, key=lambda name: _last_loss(films[name]))
    centre, directions, labels = _plane(list(flat_of.values()), flat_of[lowest][-1], net)
    paths = [
        _Path(
            name,
            np.array([one.epoch - film[0].epoch for one in film], np.float64),
            (flat_of[name] - centre) @ directions.T,
            np.array([one.loss for one in film]),
        )
        for name, film in films.items()
    ]  # fmt: skip
    everywhere = np.concatenate([path.places for path in paths])
    span = np.ptp(everywhere, axis=0)
    span = np.maximum(span, 0.2 * span.max() + 1e-9)
    low, high = everywhere.min(axis=0) - _MARGIN * span, everywhere.max(axis=0) + _MARGIN * span
    axes = np.linspace(low, high, resolution).T
    surface = np.array([
        [loss_at(centre + a * directions[0] + b * directions[1]) for a in axes[0]] for b in axes[1]
    ])  # fmt: skip
    if not np.isfinite(surface).any():
        raise ValueError("the loss is not finite near the paths: scale X and y to about 1.")
    last = max(path.epochs[-1] for path in paths)
    colours = line_colours(len(paths))
    with panels_for("ax", None, width=6.0, height=4.5) as (panel,):
        _draw_surface(panel, axes, surface)
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=labels[0], ylabel=labels[1], title=" ")
        hold_layout(panel.figure)
    moving = Moving(panel)

    def draw(k: int) -> None:
        epoch = last * k / (n_frames - 1)
        moving.replace(lambda: _draw_paths(panel, paths, colours, epoch))
        panel.set_title(_title(paths, epoch))

    return Animation(panel.figure, draw, n_frames, fps)


def _plane(paths: Sequence[Floats], centre: Floats, model: Model) -> tuple[Floats, Floats, tuple[str, str]]:
    """Return origin (P,), two directions (2, P) and their labels."""
    n = len(centre)
    if n == 2:
        first, second = names_of_two(model)
        return np.zeros(2), np.eye(2), (first, second)
    # Of equal lengths, or the path that goes furthest would define both directions.
    moves = [path - centre for path in paths]
    scaled = [move / (float(np.linalg.norm(move)) or 1.0) for move in moves]
    _, sizes, directions = np.linalg.svd(np.concatenate(scaled), full_matrices=True)
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    shares = np.pad(shares, (0, 2))
    first, second = (f"direction {k + 1} ({shares[k]:.0%} of the way)" for k in range(2))
    return centre, directions[:2] if n > 1 else np.vstack([directions, directions * 0.0]), (first, second)


def _last_loss(film: Sequence[Snapshot]) -> float:
    return film[-1].loss if np.isfinite(film[-1].loss) else np.inf


def _draw_surface(ax: Any, axes: Floats, surface: Floats) -> None:
    """Draw the loss as areas between contour lines, the lower the closer to the background."""
    from matplotlib.colors import LinearSegmentedColormap

    known = surface[np.isfinite(surface)]
    base, rise = float(known.min()), max(float(np.ptp(known)), 1e-12, 1e-6 * abs(float(known.min())))
    levels = base + rise * np.geomspace(_LOWEST, 1.0, _LEVELS)
    background = background_of(ax)
    colours = LinearSegmentedColormap.from_list("loss", [background, mix(background, muted(ax), 0.75)])
    shown = np.ma.masked_invalid(surface)
    ax.contourf(
        *axes, np.ma.array(np.log((shown - base) / rise + _LOWEST)), _LEVELS, cmap=colours, zorder=0,
    )  # fmt: skip
    ax.contour(*axes, shown, levels, colors=[mix(background, muted(ax), 0.8)], linewidths=0.6, zorder=1)


def _draw_paths(ax: Any, paths: Sequence[_Path], colours: Sequence[Any], epoch: float) -> None:
    """Draw the paths up to an epoch, their heads, and the names beside these, moved apart where they would overlap."""
    from matplotlib import rcParams

    background, size = background_of(ax), rcParams["font.size"]
    heads = []
    for path, colour in zip(paths, colours, strict=True):
        line = path.until(epoch)
        ax.plot(*line.T, color=background, linewidth=4.0, zorder=3, solid_capstyle="round")
        ax.plot(*line.T, color=colour, linewidth=2.0, zorder=4, solid_capstyle="round")
        ax.plot(*line[-1], "o", color=colour, markeredgecolor=background, markersize=9.0, zorder=6)
        heads.append(line[-1])
    ax.plot(*paths[0].places[0], "o", color=text_colour(ax), markersize=4.0, zorder=5)
    points = ax.transData.transform(np.array(heads)) * 72.0 / ax.figure.figure.dpi
    placed = spread(points[:, 1], np.full(len(paths), 1.25 * size))
    middle = ax.transAxes.transform((0.72, 0.0))[0] * 72.0 / ax.figure.figure.dpi
    for path, colour, head, point, place in zip(paths, colours, heads, points, placed, strict=True):
        side = -1.0 if point[0] > middle else 1.0
        made = ax.annotate(
            path.name, head, xytext=(8.0 * side, place - point[1]), textcoords="offset points", va="center",
            ha="left" if side > 0 else "right", color=readable(colour, background), weight="bold", zorder=7,
        )  # fmt: skip
        _outline(made, background)


def _outline(text: Any, colour: Any) -> None:
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=2.5, foreground=colour)])


def _title(paths: Sequence[_Path], epoch: float) -> str:
    """Return the epoch, and the losses after it, of a few paths by name."""
    losses = [np.interp(epoch, path.epochs, np.where(np.isfinite(path.losses), path.losses, path.losses[1]))
              for path in paths]  # fmt: skip
    text = f"epoch {epoch:,.0f}"
    if len(paths) == 1:
        return f"{text}, loss {losses[0]:.4g}"
    best = int(np.argmin(losses))
    return f"{text}: {paths[best].name} leads with a loss of {losses[best]:.3g}" if epoch else text
