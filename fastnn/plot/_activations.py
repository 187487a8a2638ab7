"""Activations and their derivatives as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import activations as known
from fastnn._figure import panels_for
from fastnn._figure.labels import label_ends
from fastnn._figure.style import line_colours, muted
from fastnn._validation import as_sequence, must_be
from fastnn._validation.names import explained
from fastnn.activations import Activation
from fastnn.layers import Dense
from fastnn.model import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = npt.NDArray[np.float64]

#: Sums that are shown, and their number.
_RANGE, _POINTS = (-4.0, 4.0), 401


@explained
def activations(
    names: Sequence[str | Activation] = ("sigmoid", "tanh", "relu", "leaky_relu", "elu"),
    *,
    axes: Sequence[Axes] | None = None,
) -> Figure | SubFigure:
    """Draw activations over the sum z of a unit, and beside them their derivatives.

    Parameters
    ----------
    names : sequence of str or Activation
        Names of `fastnn.activations.Activation`, or what `fastnn.elu`, `fastnn.leaky_relu` and
        `fastnn.custom.activation` return. Activations of whole rows, such as softmax, are no curves.
    axes : sequence of two matplotlib.axes.Axes, or None
        Axes for the functions and for the derivatives; None makes a new figure.

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
    chosen = _checked(names)
    z = np.linspace(*_RANGE, _POINTS)
    z = z[z != 0.0]  # where relu has no derivative
    curves = [_curve(activation, z) for activation in chosen]
    colours = line_colours(len(chosen))
    texts = [activation.text.strip("'") for activation in chosen]
    with panels_for("axes", axes, n_panels=2, width=4.8, height=3.8) as panels:
        for panel, part, label in zip(panels, (0, 1), ("y = f(z)", "dy/dz"), strict=True):
            panel.axhline(0.0, color=muted(panel), linewidth=0.8, zorder=1)
            panel.axvline(0.0, color=muted(panel), linewidth=0.8, zorder=1)
            ends = []
            for k, curve in enumerate(curves):
                panel.plot(z, curve[part], color=colours[k], zorder=2.0 + 0.01 * k)
                ends.append((z[-1], float(curve[part][-1])))
            low = min(float(curve[part].min()) for curve in curves)
            high = max(float(curve[part].max()) for curve in curves)
            panel.set(xlim=_RANGE, ylim=(low - 0.06 * (high - low), high + 0.06 * (high - low) + 1e-9))
            panel.set(xlabel="sum z", ylabel=label, title="activation" if part == 0 else "derivative")
            label_ends(panel, ends, texts, colours)
    return panels[0].figure


def _checked(names: Any) -> list[Activation]:
    """Return the activations; at least one, none of rows."""
    constraint = "a sequence of names of activations"
    given = [names] if isinstance(names, str | Activation) else as_sequence("names", constraint, names)
    if not given:
        raise ValueError(must_be("names", f"{constraint}, at least one", names))
    chosen = [known.get(name) for name in given]
    for name, activation in zip(given, chosen, strict=True):
        if activation.rule is not None and activation.rule.rows is not None:
            raise ValueError(must_be("names", "activations of single numbers", name, "It depends on a whole row."))
    return chosen


def _curve(activation: Activation, z: Floats) -> tuple[Floats, Floats]:
    """Return y and dy/dz, each (n,), as a net of one hidden unit computes them."""
    model = Model([Dense(1, activation), 1], loss="squared_error", dtype="float64", seed=0, n_threads=1).build(1)
    model.weights = [np.ones((1, 1))] * 2
    y, slope = model.jvp(z[:, None], np.ones((len(z), 1)))
    return y[:, 0], slope[:, 0]
