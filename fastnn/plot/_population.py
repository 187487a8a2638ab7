"""The training of a population as curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from fastnn._figure import panels_for
from fastnn._figure.labels import label_ends
from fastnn._figure.style import line_colours, muted
from fastnn._validation import integer, must_be
from fastnn._validation.names import explained
from fastnn.history import less_is_better
from fastnn.population import PopulationHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@explained
def population(
    history: PopulationHistory,
    key: str | None = None,
    *,
    best: int = 3,
    yscale: Literal["linear", "log"] = "linear",
    ax: Axes | None = None,
) -> Figure | SubFigure:
    """Draw a value of all nets of a population over the epochs, which are counted from 1.

    Each net is a faint line, which ends with a point where the net stopped before the others. The best nets by the last
    epoch of each are drawn on top, with their numbers and values. The axis of values has these, the best value of all,
    and the better half of the nets in the first epoch.

    Parameters
    ----------
    history : PopulationHistory
        What `Population.fit` returns.
    key : str or None
        Name of a value in it. Less is better, but more where the name says so, as "val_accuracy" does. None is
        "val_loss" where there is one, else "loss".
    best : int
        Number of nets that are labelled, at least 0.
    yscale : {"linear", "log"}
        Of the values.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the history has no epochs.
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(history, PopulationHistory):
        raise TypeError(must_be("history", "a PopulationHistory", history, "It is what Population.fit returns."))
    if not len(history):
        raise ValueError("this history has no epochs to plot: fit for at least one.")
    if key is None:
        key = "val_loss" if "val_loss" in history else "loss"
    if type(key) is not str or key not in history:
        raise ValueError(must_be("key", f"one of {', '.join(history.history)}", key))
    if type(yscale) is not str or yscale not in ("linear", "log"):
        raise ValueError(must_be("yscale", "'linear' or 'log'", yscale))
    values = history[key]
    n_epochs, n_nets = values.shape
    best = integer("best", best, least=0)
    last = history.last(key)
    more = less_is_better(key) is False
    order = [int(k) for k in np.argsort(-last if more else last, kind="stable") if np.isfinite(last[k])]
    chosen = order[:best]
    ends = np.where(np.isnan(values), 0, np.arange(1, n_epochs + 1)[:, None]).max(axis=0)  # epochs of each; 0 for none
    epochs = np.arange(1, n_epochs + 1)
    with panels_for("ax", ax) as (axes,):
        axes.set_yscale(yscale)
        grey, alpha = muted(axes), max(0.25, min(0.7, 12.0 / n_nets))
        colours = line_colours(len(chosen))
        for k in range(n_nets):
            drawn, style = values[: ends[k], k], {"color": grey, "alpha": alpha, "linewidth": 0.8}
            if k in chosen:
                style = {"color": colours[chosen.index(k)], "zorder": 3}
            if 0 < ends[k] < ends.max() or len(drawn) == 1:
                style |= {"marker": "o", "markevery": [-1], "markersize": 4 if k in chosen else 2.5}
            axes.plot(epochs[: ends[k]], drawn, label=f"net {k}", **style)
        axes.set(xlabel="epoch", ylabel=key, title=f"{n_nets} nets" if n_nets > 1 else "1 net")
        if n_epochs == 1:
            axes.set_xticks([1])
        else:
            axes.set_xlim(1, n_epochs)
            axes.xaxis.get_major_locator().set_params(integer=True)
        known = values[np.isfinite(values)]
        first = np.sort(values[0][np.isfinite(values[0])])
        edge = known.max(initial=-np.inf) if more else known.min(initial=np.inf)
        shown = np.array([edge, *first[len(first) // 2 :][:1], *values[:, chosen].ravel()])
        shown = shown[np.isfinite(shown)]
        if yscale == "log":
            shown = np.log(shown[shown > 0.0])
        if shown.size:
            margin = 0.05 * (shown.max() - shown.min()) or 0.05
            limits = np.array([shown.min() - margin, shown.max() + margin])
            axes.set_ylim(np.exp(limits) if yscale == "log" else limits)
        if chosen:
            points = [(float(n_epochs), float(last[k])) for k in chosen]
            label_ends(axes, points, [f"net {k}: {last[k]:.4g}" for k in chosen], colours)
    return axes.figure
