"""The candidates of a search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastnn._figure import panels_for
from fastnn._figure.style import COLORS
from fastnn._validation import must_be
from fastnn.history import less_is_better
from fastnn.search import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def search(result: SearchResult, *, ax: Axes | None = None) -> Figure | SubFigure:
    """Draw the scores of all candidates of a search over the epochs that they were trained for.

    Each line is a candidate, which ends where it was left; the best one is drawn on top. The axis of scores is as long
    as the better half of the candidates requires at the end of the first rung.

    Parameters
    ----------
    result : SearchResult
        Of `fastnn.search.Search.fit`.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(result, SearchResult):
        raise TypeError(must_be("result", "a result of fastnn.search.Search.fit", result))
    curves = result.curves()
    with panels_for("ax", ax) as (axes,):
        for k, (epochs, scores) in enumerate(curves):
            if k != result.best_index and epochs:
                axes.plot(epochs, scores, ".-", color="0.6", linewidth=0.7, markersize=4, alpha=0.6)
        best_epochs, best_scores = curves[result.best_index]
        axes.plot(best_epochs, best_scores, "o-", color=COLORS[3], label=f"best: {result.best_score:.4g}", zorder=3)
        first = sorted(scores[0] for _, scores in curves if scores and not math.isnan(scores[0]))
        everything = [score for _, scores in curves for score in scores if not math.isnan(score)]
        if less_is_better(result.monitor) is False:
            low, high = first[len(first) // 2], max(everything)
        else:
            low, high = min(everything), first[len(first) // 2]
        low, high = min(low, *best_scores), max(high, *best_scores)
        margin = 0.05 * (high - low) or 0.05
        axes.set(xlabel="epochs", ylabel=result.monitor, title=f"{len(result)} candidates")
        axes.set(xscale="log", ylim=(low - margin, high + margin))
        ticks = sorted({epoch for epochs, _ in curves for epoch in epochs})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.legend()
    return axes.figure
