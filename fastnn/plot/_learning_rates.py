"""Three trainings: a learning rate that is too low, one that is just right and one that is too high."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._compatibility import BatchSize
from fastnn._errors import DivergenceError, TrainingWarning
from fastnn._figure import as_axes, new_figure
from fastnn._validation import as_sequence, finite_number, must_be, positive_integer
from fastnn.callbacks import Callback, Trainable
from fastnn.lr_finder import check_has_rate
from fastnn.model import Model
from fastnn.optimizers import with_learning_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = npt.NDArray[np.float64]

_LABELS, _NEUTRAL_LABELS = ("too low", "just right", "too high"), ("lowest", "middle", "highest")
_COLOURS = ("tab:blue", "tab:green", "tab:red")

#: Ratio of the rate that is too low to the one that is just right.
TOO_LOW = 1 / 30
#: Search of the rate that is too high: factor per step, maximum number of steps, number of bisections after them.
RISE, MOST_RISES, HALVINGS = 3.0, 7, 2
#: Upper limit of the losses shown, as a multiple of the range of the losses of the better trainings.
HEADROOM = 10.0
#: Margin of the map around the path of the rate that is just right, relative to the extent of the path.
MARGIN = 0.6
#: Points of the map per direction, and maximum number of rows for its losses.
RESOLUTION, MAP_ROWS = 31, 2000


@dataclasses.dataclass(eq=False)
class _Run(Callback):
    """Losses on all rows and weights of one training at one rate, at the start and after each epoch."""

    rate: float
    X: Any
    y: Any
    sample_weight: Any
    losses: list[float] = dataclasses.field(default_factory=list)
    path: list[Array] = dataclasses.field(default_factory=list)
    diverged: bool = False

    def _record(self) -> None:
        self.losses.append(self.model.evaluate(self.X, self.y, sample_weight=self.sample_weight)["loss"])
        self.path.append(np.concatenate([a.ravel() for a in _parameters(self.model)]).astype(np.float64))

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Record the start."""
        self._record()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record the state after the epoch."""
        self._record()

    def train(self, model: Model, epochs: int, batch_size: BatchSize) -> Model:
        """Train a copy of the model and return it."""
        trained = copy.copy(model)
        trained.optimizer = with_learning_rate(trained.optimizer, self.rate)
        with warnings.catch_warnings():
            # A rate that is too high is chosen on purpose, and losses that are not finite are shown.
            warnings.simplefilter("ignore", TrainingWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                trained.fit(
                    self.X, self.y, epochs=epochs, batch_size=batch_size, sample_weight=self.sample_weight,
                    callbacks=self, verbose=False,
                )  # fmt: skip
            except DivergenceError:
                self.diverged = True
                self._record()
        return trained

    @property
    def final_loss(self) -> float:
        """The loss at the end, infinite if it is not finite."""
        return math.inf if self.diverged or not math.isfinite(self.losses[-1]) else self.losses[-1]

    @property
    def is_bad(self) -> bool:
        """Whether most epochs ended no lower than the training began."""
        return self.diverged or not float(np.median(self.losses[1:])) < self.losses[0]


def _parameters(model: Trainable) -> list[npt.NDArray[Any]]:
    """Return views of all weights, and of the biases that are used."""
    used = zip(model.biases, model.layers, strict=True)
    return [*model.weights, *(bias for bias, layer in used if layer.use_bias)]


def learning_rates(
    model: Model,
    X: Any,
    y: Any,
    *,
    rates: Sequence[float] | None = None,
    epochs: int = 20,
    batch_size: BatchSize = "auto",
    sample_weight: Any = None,
    axes: Sequence[Axes] | None = None,
) -> Figure | SubFigure:
    """Draw trainings with a learning rate that is too low, one that is just right and one that is too high.

    The left panel has the loss of three trainings after each epoch, the right one the paths of their weights over a
    map of the loss. If the model has two weights (linear regression on one feature), these are the coordinates of the
    map; else it is the plane of the two principal directions of the paths [1]_. The legend marks a training that
    diverges.

    Parameters
    ----------
    model : Model
        Not changed: copies are trained, from its present weights (or its start weights), with its optimizer.
    X, y, sample_weight, batch_size
        As for `Model.fit`.
    rates : sequence of three floats, or None
        The rates in rising order; they are called "lowest", "middle" and "highest" unless the middle one ends with the
        lowest loss. None searches them by some 30 trainings: "just right" is the rate that `Model.lr_find` recommends,
        "too low" 1/30 of it, and "too high" one slightly above the maximum at which the median of the losses after each
        epoch is below the initial loss. If one of these ends lower than the one that is recommended, which may happen
        where `Model.lr_find` trains for fewer epochs, that one takes its place.
    epochs : int
        Number of epochs per training.
    axes : sequence of two matplotlib.axes.Axes, or None
        Axes for the losses and for the map; None makes a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or no rate is found with which the loss falls.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    The losses of the map are those of at most 2000 rows.

    References
    ----------
    .. [1] H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, "Visualizing the loss landscape of neural nets",
       NeurIPS, 2018, section 7.
    """
    if not isinstance(model, Model):
        raise TypeError(must_be("model", "a fastnn.Model", model))
    epochs = positive_integer(epochs, "epochs")
    check_has_rate(model.optimizer)
    if axes is None:
        left, right = new_figure(2, width=5.5, height=4.5).axes
    else:
        panels = as_axes("axes", axes, most=2)
        if len(panels) != 2:
            raise ValueError(must_be("axes", "two matplotlib.axes.Axes, for losses and map", axes))
        left, right = panels

    def run(rate: float) -> tuple[_Run, Model]:
        one = _Run(rate, X, y, sample_weight)
        return one, one.train(model, epochs, batch_size)

    if rates is None:
        found = model.lr_find(X, y, epochs=epochs, batch_size=batch_size, sample_weight=sample_weight)
        if found.learning_rate is None:
            raise ValueError(
                f"rates must be given, as no good one was found: {found!r}. Pass three rates, or a model that is not "
                "trained yet."
            )
        best, right_one = run(found.learning_rate), None
        while best is not right_one:  # usually once; the loss of the best falls from round to round
            right_one = best
            low, high = run(right_one[0].rate * TOO_LOW), _too_high(right_one[0].rate, run)
            best = min(right_one, low, high, key=lambda made: made[0].final_loss)
    else:
        low, right_one, high = (run(rate) for rate in _check_rates(rates))
    runs = [low[0], right_one[0], high[0]]
    if not math.isfinite(runs[0].losses[0]):
        raise ValueError("the loss is not finite before any training; scale X and y to about 1, or make a new Model.")
    _draw_losses(left, runs)
    _draw_paths(right, runs, right_one[1])
    return left.figure


def _too_high(rate: float, run: Callable[[float], tuple[_Run, Model]]) -> tuple[_Run, Model]:
    """Return a training at a rate slightly above the maximum at which the loss falls."""
    for _ in range(MOST_RISES):
        good, rate = rate, RISE * rate
        made = run(rate)
        if made[0].is_bad:
            break
    else:
        return made
    for _ in range(HALVINGS):
        between = run(math.sqrt(good * made[0].rate))
        if between[0].is_bad:
            made = between
        else:
            good = between[0].rate
    return made


def _check_rates(rates: Sequence[float]) -> list[float]:
    constraint = "three rates (too low, just right and too high) or None"
    given = as_sequence("rates", constraint, rates)
    if len(given) != 3:
        raise ValueError(must_be("rates", constraint, rates))
    checked = [finite_number(f"rates[{k}]", rate) for k, rate in enumerate(given)]
    if not 0.0 < checked[0] < checked[1] < checked[2]:
        raise ValueError(must_be("rates", "above 0 and in rising order", checked))
    return checked


def _highest(runs: Sequence[_Run]) -> float:
    """Return the maximum loss that is shown."""
    good = [loss for run in runs for loss in (run.losses if not run.is_bad else run.losses[:1]) if math.isfinite(loss)]
    lowest = min(good)
    return lowest + HEADROOM * max(max(good) - lowest, 1e-12)


def _draw_losses(ax: Axes, runs: Sequence[_Run]) -> None:
    highest = _highest(runs)
    everything = [loss for run in runs for loss in run.losses if math.isfinite(loss) and loss <= highest]
    ends = [run.final_loss for run in runs]
    labels = _LABELS if ends[1] == min(ends) else _NEUTRAL_LABELS
    for run, label, colour in zip(runs, labels, _COLOURS, strict=True):
        end = f", diverged in epoch {len(run.losses) - 1}" if run.diverged else ""
        losses = np.array([loss if loss <= 1e6 * highest else 1e6 * highest for loss in run.losses])  # NaN included
        ax.plot(losses, ".-", color=colour, label=f"{label}: {run.rate:.2g}{end}")
    if min(everything) > 0.0:
        ax.set_yscale("log")
        ax.set_ylim(min(everything) / 1.3, highest)
    else:
        ax.set_ylim(min(everything), highest)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.legend(loc="best")


def _draw_paths(ax: Axes, runs: Sequence[_Run], model: Model) -> None:
    """Draw the paths over a map of the loss; `model` is a trained copy, whose weights are overwritten."""
    highest = _highest(runs)
    # A path ends one epoch after its loss first exceeds the maximum shown.
    n_seen = [next((k for k, loss in enumerate(run.losses) if not loss <= highest), len(run.losses)) for run in runs]
    paths = [np.array(run.path[: n + 1]) for run, n in zip(runs, n_seen, strict=True)]
    seen = [path[:n] for path, n in zip(paths, n_seen, strict=True)]
    centre, directions, labels = _plane(seen, model)
    flat = [(path.clip(-1e100, 1e100) - centre) @ directions.T for path in paths]
    near = np.concatenate([flat[0][: n_seen[0]], flat[1][: n_seen[1]]])
    span = np.maximum(np.ptp(near, axis=0), 0.2 * np.ptp(near, axis=0).max() + 1e-12)
    far = flat[2][: n_seen[2]].clip(near.min(0) - 2.0 * span, near.max(0) + 2.0 * span)
    low = np.minimum(near.min(0) - MARGIN * span, far.min(0) - 0.1 * span)
    high = np.maximum(near.max(0) + MARGIN * span, far.max(0) + 0.1 * span)
    loss_at = _Losses(model, runs[0])
    coordinates = np.linspace(low, high, RESOLUTION)
    if len(directions) == 1:
        ax.plot(coordinates[:, 0], [loss_at(centre + c * directions[0]) for c in coordinates[:, 0]], color="0.6")
        flat = [np.column_stack([path[:, 0], run.losses[: len(path)]]) for path, run in zip(flat, runs, strict=True)]
        ax.set_ylim(top=highest)
        labels = (*labels, "loss")
    else:
        losses = np.array([
            [loss_at(centre + a * directions[0] + b * directions[1]) for a in coordinates[:, 0]]
            for b in coordinates[:, 1]
        ])  # fmt: skip
        known = losses[np.isfinite(losses)]
        levels = known.min() + np.geomspace(1e-3, 1.0, 16) * max(float(np.ptp(known)), 1e-12)
        shown = np.ma.masked_invalid(losses)
        ax.contourf(coordinates[:, 0], coordinates[:, 1], shown, [known.min(), *levels], cmap="Greys", alpha=0.5)
        ax.contour(coordinates[:, 0], coordinates[:, 1], shown, levels, colors="0.5", linewidths=0.5)
        ax.set_ylim(low[1], high[1])
    ax.set_xlim(low[0], high[0])
    for path, colour in zip(flat, _COLOURS, strict=True):
        ax.plot(path[:, 0], path[:, 1], ".-", color=colour, linewidth=1)
    ax.plot(*flat[1][0], "ko", label="start")
    best = flat[1][int(np.argmin(runs[1].losses[: n_seen[1]]))]
    ax.plot(*best, "k*", markersize=12, label="lowest loss found")
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    ax.legend(loc="best")


def _plane(paths: Sequence[Array], model: Model) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the map's origin (P,), its one or two directions (k, P), and their labels."""
    n = paths[0].shape[1]
    if n <= 2:
        names: tuple[str, ...] = ("weight", "bias" if model.layers[-1].use_bias else "second weight")
        return np.zeros(n), np.eye(n), names[:n]
    centre = paths[1][-1]
    # Paths are scaled to equal norm, or that of the highest rate would define both directions.
    moves = [path - path[0] for path in paths] + [centre - paths[0][:1]]
    scaled = [move / (float(np.linalg.norm(move)) or 1.0) for move in moves]
    _, sizes, directions = np.linalg.svd(np.concatenate(scaled), full_matrices=False)
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    names = tuple(f"direction {k + 1} ({share:.0%} of the way)" for k, share in enumerate(shares[:2]))
    return centre, directions[:2], names


class _Losses:
    """Loss of a model as a function of its weights, on at most `MAP_ROWS` rows."""

    def __init__(self, model: Model, run: _Run) -> None:
        n = len(run.X)
        part = np.linspace(0, n - 1, min(n, MAP_ROWS)).astype(np.int64)
        self._model = model
        self._rows = (np.asarray(run.X)[part].astype(model.dtype), np.asarray(run.y)[part])
        self._sample_weight = None if run.sample_weight is None else np.asarray(run.sample_weight)[part]
        self._places = np.cumsum([a.size for a in _parameters(model)])[:-1]

    def __call__(self, parameters: Array) -> float:
        for place, values in zip(_parameters(self._model), np.split(parameters, self._places), strict=True):
            place[...] = values.reshape(place.shape)
        return self._model.evaluate(*self._rows, sample_weight=self._sample_weight)["loss"]
