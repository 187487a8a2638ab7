"""The weights into each unit of a layer, as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._figure import house_style, new_figure
from fastnn._figure.style import signed_map
from fastnn._validation import as_sequence, integer, must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.model import Model, subject_of
from fastnn.plot._reading import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

#: Largest number of images, and of images side by side.
_MOST, _ACROSS = 400, 16


@explained
def weights(
    model: Any, shape: Sequence[int] | None = None, *, layer: int = 0, figure: Figure | SubFigure | None = None
) -> Figure | SubFigure:
    """Draw the weights into each unit of a layer as an image: what the unit reacts to.

    Blue pixels are weights above 0, orange ones weights below 0, on one scale for all units.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Built or fitted.
    shape : (int, int), or None
        Rows and columns of an image, whose product is the number of inputs of the layer. None requires that number to
        be a square, such as 64 or 784.
    layer : int
        Number of the layer, as of a Python sequence.
    figure : matplotlib.figure.Figure, SubFigure or None
        Empty figure to draw in; None makes a new one.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the layer has more than 400 units.
    ImportError
        If matplotlib is not installed.
    """
    net: Model = subject_of(model).model
    number = integer("layer", layer, least=-len(net.layers))
    if number >= len(net.layers):
        raise ValueError(must_be("layer", f"from {-len(net.layers)} to {len(net.layers) - 1}", layer))
    matrix = finite(np.asarray(net.weights[number], np.float64), "weights")
    n_inputs, n_units = matrix.shape
    rows, columns = _as_shape(shape, n_inputs)
    if n_units > _MOST:
        raise ValueError(must_be("layer", f"one of at most {_MOST} units", f"one of {n_units}"))
    across = min(_ACROSS, math.ceil(math.sqrt(n_units * 1.8 * rows / columns)), n_units)
    down = -(-n_units // across)
    cell = min(0.95, 9.2 / across, 4.4 / down * columns / rows)
    background = None if figure is None else _background(figure)
    with house_style(background):
        if figure is None:
            height = down * cell * rows / columns + 0.5
            figure = new_figure(0, width=max(across * cell + 1.0, 3.0), height=max(height, 1.8))
        drawn: Any = figure
        axes = drawn.subplots(down, across, squeeze=False)
        largest = float(np.abs(matrix).max()) or 1.0
        for unit, ax in enumerate(axes.flat):
            ax.set_axis_off()
            if unit < n_units:
                image = ax.imshow(
                    matrix[:, unit].reshape(rows, columns), cmap=signed_map(ax), vmin=-largest, vmax=largest,
                    interpolation="nearest",
                )  # fmt: skip
                ax.set_title(str(unit + 1), fontsize=8, fontweight="normal", loc="center", pad=2.0)
        drawn.colorbar(image, ax=axes, label="weight", fraction=0.05, aspect=30)
    return figure


def _as_shape(shape: Any, n_inputs: int) -> tuple[int, int]:
    """Return rows and columns of an image of all inputs."""
    constraint = f"(rows, columns) with the product {n_inputs}"
    if shape is None:
        side = math.isqrt(n_inputs)
        if side * side != n_inputs:
            raise ValueError(must_be("shape", constraint, None, f"{n_inputs} inputs are no square."))
        return side, side
    given = as_sequence("shape", constraint, shape)
    if len(given) != 2:
        raise ValueError(must_be("shape", constraint, shape))
    rows, columns = (positive_integer(size, f"shape[{k}]") for k, size in enumerate(given))
    if rows * columns != n_inputs:
        raise ValueError(must_be("shape", constraint, shape))
    return rows, columns


def _background(figure: Any) -> Any:
    """Return the colour behind a figure that is given."""
    from matplotlib.figure import FigureBase

    if not isinstance(figure, FigureBase):
        raise TypeError(must_be("figure", "a matplotlib.figure.Figure, or None", figure))
    return figure.figure.get_facecolor()
