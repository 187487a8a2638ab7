"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import COLORS, background_of, contrast, mix
from fastnn._validation import CONVERSION_ERRORS, must_be
from fastnn._validation.names import explained
from fastnn.plot._reading import as_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: Largest number of classes whose counts are written into the cells, and largest number of classes.
_WRITTEN, _MOST = 20, 200


@explained
def confusion(
    y_true: Any, y_pred: Any, *, class_names: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure | SubFigure:
    """Draw how many rows of each class are predicted as each class: right ones on the diagonal.

    A row of the picture is a true class, and the colour of a cell is its share of that class.

    Parameters
    ----------
    y_true, y_pred : array-like, (n,)
        Labels. Of a Model, `predict_classes` returns those that are predicted; (n, n_classes) rows with one 1 are
        labels as well.
    class_names : sequence of str, or None
        Names of the labels that occur, in their order.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.

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
    """
    true, predicted = _as_labels("y_true", y_true), _as_labels("y_pred", y_pred)
    if true.shape != predicted.shape:
        raise ValueError(must_be("y_pred", f"of {len(true)} labels, as y_true", f"{len(predicted)} labels"))
    try:
        labels, numbers = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    except CONVERSION_ERRORS as error:  # labels that cannot be compared
        raise TypeError(must_be("y_true and y_pred", "labels of one kind", (true[:1], predicted[:1]))) from error
    n = len(labels)
    if n > _MOST:
        hint = "predict_classes returns labels, predict returns outputs."
        raise ValueError(must_be("y_true and y_pred", f"of at most {_MOST} classes", f"{n} different values", hint))
    names = [str(label) for label in labels.tolist()]
    if class_names is not None:
        names = as_names("class_names", class_names, labels.tolist())
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (numbers[: len(true)], numbers[len(true) :]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.9 + 0.42 * n, 3.8, 5.0))
    with panels_for("ax", ax, width=side + 0.4, height=side) as (panel,):
        _draw(panel, counts, shares, names)
    return panel.figure


def _as_labels(argument: str, given: Any) -> npt.NDArray[Any]:
    """Return labels (n,), n at least 1; rows with one 1 become the number of its column."""
    constraint = "labels (n,), at least one"
    try:
        labels = np.asarray(given)
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be(argument, constraint, given)) from error
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.size and _one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(must_be(argument, constraint, f"an array of shape {labels.shape}"))
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(must_be(argument, "finite", labels[~np.isfinite(labels)][0]))
    return labels


def _one_hot(rows: npt.NDArray[Any]) -> bool:
    """Return whether each row has one 1, and else 0."""
    return rows.dtype.kind in "biuf" and bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())


def _draw(ax: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], names: Sequence[str]) -> None:
    """Draw the cells, with their counts where there is room."""
    from matplotlib.colors import LinearSegmentedColormap

    n, background = len(names), background_of(ax)
    ends: list[Any] = [mix(background, COLORS[1], 0.03), COLORS[1]]
    shade = LinearSegmentedColormap.from_list("share", ends)
    image = ax.imshow(shares, cmap=shade, vmin=0.0, vmax=1.0)
    if n <= _WRITTEN:
        size = 10.0 if n <= 12 else 7.0
        for row, column in np.ndindex(n, n):
            if counts[row, column]:
                fill = shade(shares[row, column])[:3]
                ink = max(("black", "white"), key=lambda colour: contrast(colour, fill))
                ax.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=size)
    ticks = list(range(0, n, -(-n // _WRITTEN)))
    long = max(len(name) for name in names) > 3
    ax.set_xticks(ticks, [names[k] for k in ticks], rotation=45 if long else 0, ha="right" if long else "center")
    ax.set_yticks(ticks, [names[k] for k in ticks])
    ax.tick_params(length=0)
    right = int(np.trace(counts))
    ax.set(xlabel="predicted", ylabel="true", title=f"{right} of {counts.sum()} right ({right / counts.sum():.1%})")
    ax.figure.colorbar(image, ax=ax, label="share of the true class", format="{x:.0%}", shrink=0.75)
