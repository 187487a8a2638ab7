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
from fastnn._figure import panels_for
from fastnn._figure.labels import label_ends
from fastnn._figure.style import COLORS, background_of, text_colour
from fastnn._validation import as_sequence, finite_number, must_be, positive_integer
from fastnn.callbacks import Callback
from fastnn.lr_finder import check_has_rate
from fastnn.model import Model, subject_of
from fastnn.optimizers import with_learning_rate
from fastnn.plot._loss_of import LossOf, flat, names_of_two
from fastnn.plot._loss_surface import draw_contours, unit_across

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = npt.NDArray[np.float64]

_LABELS, _NEUTRAL_LABELS = ("too low", "just right", "too high"), ("lowest", "middle", "highest")
_COLOURS = (COLORS[1], COLORS[2], COLORS[3])

#: Ratio of the rate that is too low to the one that is just right.
TOO_LOW = 1 / 30
#: Search of the rate that is too high: factor per step, maximum number of steps, number of bisections after them.
RISE, MOST_RISES, HALVINGS = 3.0, 7, 2
#: Upper limit of the losses shown, as a multiple of the range of the losses of the better trainings.
HEADROOM = 2.0
#: Margin of the map around the path of the rate that is just right, relative to the extent of the path.
MARGIN = 0.6
#: Points of the map per direction.
RESOLUTION = 31


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
        self.path.append(flat(self.model, self.model.weights, self.model.biases))

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


def learning_rates(
    model: Any,
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
    map; else it is a slice: the plane through the start and the lowest loss found, with the direction across in which
    the paths extend most [1]_. The labels mark a training that diverges.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Not changed: copies are trained, from its present weights (or its start weights), with its optimizer. Of a
        fitted estimator the copies are those of its Model.
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
        subject = subject_of(model)
        model, X = subject.model, subject.features(X)
        y = subject.targets(X, y)
    epochs = positive_integer(epochs, "epochs")
    check_has_rate(model.optimizer)
    with panels_for("axes", axes, n_panels=2, width=5.0, height=4.2) as panels:
        _draw(panels, model, X, y, rates, epochs, batch_size, sample_weight)
    return panels[0].figure


def _draw(
    panels: Sequence[Any], model: Model, X: Any, y: Any, rates: Any, epochs: int, batch_size: BatchSize, weights: Any
) -> None:
    """Train, and draw the losses into the first panel, the paths into the second."""

    def run(rate: float) -> tuple[_Run, Model]:
        one = _Run(rate, X, y, weights)
        return one, one.train(model, epochs, batch_size)

    if rates is None:
        found = model.lr_find(X, y, epochs=epochs, batch_size=batch_size, sample_weight=weights)
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
    _draw_losses(panels[0], runs)
    _draw_paths(panels[1], runs, right_one[1])


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
    texts, shown = [], []
    for run, label, colour in zip(runs, labels, _COLOURS, strict=True):
        end = f"\ndiverged in epoch {len(run.losses) - 1}" if run.diverged else ""
        losses = np.array([loss if loss <= 1e6 * highest else 1e6 * highest for loss in run.losses])  # NaN included
        texts.append(f"{label}: {run.rate:.2g}{end}")
        shown.append((len(losses) - 1.0, float(losses[-1])))
        ax.plot(losses, ".-", color=colour, label=texts[-1].replace("\n", ", "))
    if min(everything) > 0.0:
        ax.set_yscale("log")
        ax.set_ylim(min(everything) * (min(everything) / highest) ** 0.06, highest)
    else:
        ax.set_ylim(min(everything), highest)
    ax.set_xlim(0, max(len(run.losses) for run in runs) - 1)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="epochs", ylabel="loss", title="three learning rates")
    label_ends(ax, shown, texts, _COLOURS)


def _draw_paths(ax: Axes, runs: Sequence[_Run], model: Model) -> None:
    """Draw the paths over a map of the loss."""
    highest = _highest(runs)
    # A path ends one epoch after its loss first exceeds the maximum shown.
    n_seen = [next((k for k, loss in enumerate(run.losses) if not loss <= highest), len(run.losses)) for run in runs]
    paths = [np.array(run.path[: n + 1]) for run, n in zip(runs, n_seen, strict=True)]
    seen = [path[:n] for path, n in zip(paths, n_seen, strict=True)]
    best = int(np.argmin(runs[1].losses[: n_seen[1]]))
    centre, directions, labels = _plane(seen, best, model)
    flat = [(path.clip(-1e100, 1e100) - centre) @ directions.T for path in paths]
    near = np.concatenate([flat[0][: n_seen[0]], flat[1][: n_seen[1]]])
    span = np.maximum(np.ptp(near, axis=0), 0.2 * np.ptp(near, axis=0).max() + 1e-12)
    far = flat[2][: n_seen[2]].clip(near.min(0) - 2.0 * span, near.max(0) + 2.0 * span)
    low = np.minimum(near.min(0) - MARGIN * span, far.min(0) - 0.1 * span)
    high = np.maximum(near.max(0) + MARGIN * span, far.max(0) + 0.1 * span)
    loss_at = LossOf(model, runs[0].X, runs[0].y, runs[0].sample_weight)
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
        draw_contours(ax, [coordinates[:, 0], coordinates[:, 1]], losses)
        ax.set_ylim(low[1], high[1])
    ax.set_xlim(low[0], high[0])
    for path, colour in zip(flat, _COLOURS, strict=True):
        ax.plot(path[:, 0], path[:, 1], ".-", color=colour, linewidth=1)
    mark: dict[str, Any] = {"color": text_colour(ax), "markeredgecolor": background_of(ax), "linestyle": "none"}
    mark["zorder"] = 5
    (start,) = ax.plot(*flat[1][0], marker="o", markersize=8, **mark)
    (lowest,) = ax.plot(*flat[1][best], marker="*", markersize=15, **mark)
    ax.legend([start, lowest], ["start", "lowest loss found"], loc="best", frameon=True)
    title = "loss and the paths of the weights"
    ax.set(xlabel=labels[0], ylabel=labels[1], title=f"slice: {title}" if model.n_params > 2 else title)


def _plane(paths: Sequence[Array], best: int, model: Model) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the map's origin (P,), its one or two directions (k, P), and their labels.

    The start and the point `best` of the middle path lie in the plane, so that the map is exact there.
    """
    n = paths[0].shape[1]
    if n <= 2:
        return np.zeros(n), np.eye(n), tuple(names_of_two(model)[:n])
    start, lowest = paths[1][0], paths[1][best]
    length = float(np.linalg.norm(lowest - start))
    first = (lowest - start) / length if length > 0.0 else np.eye(n)[0]
    # Paths are scaled to equal norm, or that of the highest rate would define the direction.
    moves = [path - start for path in paths]
    scaled = np.concatenate([move / (float(np.linalg.norm(move)) or 1.0) for move in moves])
    _, sizes, directions = np.linalg.svd(scaled - np.outer(scaled @ first, first), full_matrices=False)
    second = np.asarray(directions[0] if sizes[0] > 1e-9 else np.random.default_rng(0).standard_normal(n))
    labels = ("weights, from start to lowest loss", "weights, across")
    return lowest, np.array([first, unit_across(second, first)]), labels
