"""A net drawn: its units, and its weights as lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import panels_for
from fastnn._figure.style import background_of, contrast, muted, readable, rgb, signed_map, text_colour
from fastnn._validation import positive_integer
from fastnn._validation.names import explained
from fastnn.model import Model, subject_of
from fastnn.plot._points import limits_of
from fastnn.plot._reading import as_names, as_table, column_names, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = npt.NDArray[np.float64]

#: Smallest distance of layers, distance of units, half the side of a unit, and smallest height of a layer that is drawn
#: as a bar, in the units of the picture.
_ACROSS, _DOWN, _HALF, _BAR = 3.0, 1.3, 0.42, 6.0
#: Width of the lines of the smallest and of the largest weights, in points, and opacity of these.
_THIN, _THICK, _FAINT, _FULL = 0.3, 4.5, 0.25, 0.95
#: Points per axis of the map of a unit.
_MAP = 40
#: Largest size of the figure, in inches, and largest number of inches per unit of the picture.
_WIDEST, _HIGHEST, _INCHES = 10.0, 5.0, 0.62
#: Inches that the title of a layer takes, a character of a name, the titles above the units, and a line of text.
_TITLE, _CHARACTER, _ABOVE, _LINE = 1.25, 0.085, 0.5, 0.17
#: Inches that the text below a matrix takes, and that the note at the bottom takes from left to right.
_MATRIX, _NOTE = 0.42, 3.6
#: Largest and smallest size of the numbers in units, in points; smaller ones are left out.
_LARGE, _SMALL = 8.0, 5.0
#: Widths of a character of a number and of the space around it, relative to its size.
_DIGIT, _SPACE = 0.6, 1.0
#: Units that are wider than high leave the curves this share of the distance of layers.
_CURVES = 0.4


@explained
def network(
    model: Any,
    X: Any = None,
    *,
    ax: Axes | None = None,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    max_units: int = 24,
) -> Figure | SubFigure:
    """Draw a net from left to right: its units, its weights as lines between them, and its biases.

    A line is blue for a weight above 0 and orange for one below 0, and the wider the larger it is, relative to the
    largest weight between the same two layers. The square at the lower left corner of a unit is its bias. In a net with
    two features each unit holds a small map of its output over the plane of the features. In others a unit has the
    colour of its mean output over the rows of X, and the number is written into it, where the units are large enough.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Built or fitted.
    X : array-like or data frame, (n, n_features), or None
        Rows over which the outputs are means, or, with two features, around which the maps extend. Without it the maps
        are of the features from -1 to 1, and units of other nets have no colour.
    ax : matplotlib.axes.Axes or None
        Axes to draw in; None makes a new figure.
    feature_names, output_names : sequence of str, or None
        Texts beside the inputs and outputs. None takes the columns of X, and the classes of an estimator.
    max_units : int
        Layers with more units are drawn as a bar, and the weights from and to them as a matrix: a row per input of the
        layer, a column per unit.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in notebooks.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the net has no weights yet.
    ImportError
        If matplotlib is not installed.
    """
    subject = subject_of(model)
    net: Model = subject.model
    max_units = positive_integer(max_units, "max_units")
    weights = [finite(np.asarray(w, np.float64), "weights") for w in net.weights]
    biases = [finite(np.asarray(b, np.float64), "biases") for b in net.biases]
    sizes = [weights[0].shape[0], *(w.shape[1] for w in weights)]
    rows = None if X is None else as_table(X, n_columns=sizes[0])
    labels = subject.labels
    default = [str(label) for label in labels] if labels is not None and len(labels) == sizes[-1] else [""] * sizes[-1]
    if labels is not None and sizes[-1] == 1:
        default = [str(labels[-1])]
    inputs = as_names("feature_names", feature_names, column_names(X, sizes[0]))
    outputs = as_names("output_names", output_names, default)
    maps, span = _outputs(net, None if X is None else subject.features(X), rows)
    margins = [0.3 + _CHARACTER * max(len(name.strip("${}").replace("_{", "")) for name in names)
               for names, size in ((inputs, sizes[0]), (outputs, sizes[-1]))]  # fmt: skip
    margins = [0.3 if size > max_units else margin for margin, size in zip(margins, (sizes[0], sizes[-1]), strict=True)]
    numbers = [_number(value) for values in maps if values is not None and values.ndim == 1 and len(values) <= max_units
               for value in values]  # fmt: skip
    layout = _Layout(
        sizes, max_units, sum(margins), max(map(len, numbers), default=0), None if ax is None else _inches(ax)
    )
    with panels_for("ax", ax, width=layout.width, height=layout.height) as (panel,):
        drawing = _Drawing(panel, layout)
        for k, w in enumerate(weights):
            drawing.weights(k, w)
        for k, size in enumerate(sizes):
            drawing.layer(k, size, maps[k], None if k == 0 or not net.layers[k - 1].use_bias else biases[k - 1])
        drawing.names(inputs, outputs)
        drawing.titles(["inputs", *(layer.activation.name for layer in net.layers)], weights)
        drawing.finish(span, margins)
    return panel.figure


def _outputs(net: Model, features: Any, rows: Floats | None) -> tuple[list[Floats | None], str]:
    """Return for each layer the maps of its units (units, m, m) or their values (units,), and words for these."""
    n_layers, n_features = len(net.layers), net.n_features
    if n_features == 2 and (rows is None or len(rows) > 1):
        low, high = (np.full(2, -1.0), np.full(2, 1.0)) if rows is None else limits_of(rows, 0.0)
        axes = np.linspace(low, high, _MAP).T
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        layers = [grid - grid.mean(axis=0), *(_hidden(net, grid, k) for k in range(n_layers))]
        span = ", ".join(f"$x_{k + 1}$ from {low[k]:.2g} to {high[k]:.2g}" for k in range(2))
        return [values.T.reshape(-1, _MAP, _MAP) for values in layers], f"maps: outputs over {span}"
    if features is None:
        return [None] * (n_layers + 1), ""
    layers = [np.asarray(features, np.float64), *(_hidden(net, features, k) for k in range(n_layers))]
    words = "units: outputs for one row" if len(features) == 1 else f"units: mean outputs over {len(features)} rows"
    return [values.mean(axis=0) if len(features) > 1 else values[0] for values in layers], words


def _hidden(net: Model, features: Any, layer: int) -> Floats:
    return finite(np.asarray(net.hidden(features, layer), np.float64), "outputs")


def _number(value: float) -> str:
    """Return a number with two digits that count, without an exponent where it is short."""
    return f"{float(f'{value:.2g}') + 0.0:g}"  # which also makes 0 of -0


def _inches(ax: Any) -> tuple[float, float]:
    """Return width and height of axes, in inches; a wrong argument is refused later."""
    extent = getattr(ax, "get_window_extent", None)
    if not callable(extent):
        return _WIDEST, _HIGHEST
    box, dpi = extent(), ax.figure.figure.dpi
    return box.width / dpi, box.height / dpi


class _Layout:
    """Sizes of the picture.

    Parameters
    ----------
    sizes : sequence of int
        Units of the layers, inputs first.
    max_units : int
    margins : float
        Inches for names at the left and at the right.
    n_characters : int
        Of the longest number in a unit; 0 without numbers.
    inches : (width, height) or None
        Of the axes; None chooses.

    Attributes
    ----------
    wide : list of bool
        Which layers are drawn as a bar.
    tall : float
        Height of bars, and of the layer with the most units, in units of the picture.
    scale : float
        Inches per unit of the picture.
    across : float
        Distance of layers, in units of the picture.
    half : float
        Half the width of a unit, in units of the picture: units are wider than high where a number requires it.
    points : float
        Size of the numbers in units; 0 without numbers, and where they would be too small to read.
    below : float
        Inches of texts below the units.
    width, height : float
        Of a new figure, in inches.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        max_units: int,
        margins: float,
        n_characters: int,
        inches: tuple[float, float] | None,
    ) -> None:
        self.sizes = sizes
        self.wide = [size > max_units for size in sizes]
        rows = max(1 if wide else size for size, wide in zip(sizes, self.wide, strict=True))
        self.tall = max(rows * _DOWN, _BAR if any(self.wide) else 0.0)
        most_width, most_height = inches or (_WIDEST, _HIGHEST)
        gaps = len(sizes) - 1
        self.below = 0.15 + 3 * _LINE + (_MATRIX if any(self.wide) else 0.0)
        self.scale = min(_INCHES, max(most_height - _ABOVE - self.below, 0.5) / self.tall)
        self.across = max(_ACROSS, 1.1 * _TITLE / self.scale)
        em = min(_LARGE, 72.0 * 1.8 * _HALF * self.scale) / 72.0
        box = max(0.4, (_DIGIT * n_characters + _SPACE) * em if n_characters else 0.0)
        room = max(most_width - margins - box, 1.0)
        if gaps * self.across * self.scale > room:  # the scale suffers last
            self.across = max(room / gaps / self.scale, _ACROSS)
            self.scale = min(self.scale, room / (gaps * self.across))
        # The curves need some of the distance: where the number does not leave it, it is the number that is smaller.
        most = (1.0 - _CURVES) * self.across * self.scale
        em = min(em, 1.8 * _HALF * self.scale, most / (_DIGIT * n_characters + _SPACE))
        self.points = 72.0 * em if n_characters and 72.0 * em >= _SMALL else 0.0
        self.half = max(_HALF, (_DIGIT * n_characters + _SPACE) * em / self.scale / 2.0 if self.points else 0.0)
        self.width = min(_WIDEST, max((gaps * self.across + 2.0 * self.half) * self.scale + margins + 0.1, _NOTE))
        self.height = min(_HIGHEST, self.tall * self.scale + _ABOVE + self.below + 0.1)


class _Drawing:
    """The artists."""

    def __init__(self, ax: Axes, layout: _Layout) -> None:
        self._ax, self._layout = ax, layout
        self._sizes, self._wide, self._across = layout.sizes, layout.wide, layout.across
        self._half, self._width = layout.tall / 2.0, layout.half
        self._map = signed_map(ax)
        self._text = text_colour(ax)
        self._quiet = readable(muted(ax), background_of(ax))

    def _places(self, k: int) -> npt.NDArray[Any]:
        """Return the heights of the units of a layer, from the top; (n,)."""
        n = self._sizes[k]
        return _DOWN * ((n - 1) / 2.0 - np.arange(n))

    def _sides(self, k: int) -> tuple[float, float]:
        """Return left and right of the matrix of the weights between layers k and k + 1."""
        first, second = (0.25 + (0.18 if wide else self._width) for wide in self._wide[k : k + 2])
        return self._across * k + first, self._across * (k + 1) - second

    def weights(self, k: int, w: Floats) -> None:
        """Draw the weights (n_in, n_out) between layers k and k + 1, as curves or as a matrix."""
        from matplotlib.collections import PathCollection
        from matplotlib.path import Path

        largest = float(np.abs(w).max()) or 1.0
        left, right = self._across * k, self._across * (k + 1)
        if self._wide[k] or self._wide[k + 1]:
            image = self._ax.imshow(
                w, cmap=self._map, vmin=-largest, vmax=largest, aspect="auto", interpolation="auto", zorder=1,
                extent=(*self._sides(k), -self._half, self._half),
            )  # fmt: skip
            image.set_label(f"weights {k}")
            return
        begin, end, middle = left + self._width, right - self._width, (left + right) / 2.0
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        order = np.argsort(np.abs(w), axis=None)  # large ones on top
        sources, targets = np.unravel_index(order, w.shape)
        from_, to = self._places(k)[sources], self._places(k + 1)[targets]
        paths = [Path([(begin, a), (middle, a), (middle, b), (end, b)], codes) for a, b in zip(from_, to, strict=True)]
        size = np.abs(w.ravel()[order]) / largest
        colours = np.ones((len(size), 4))
        positive, negative = rgb(self._map(1.0)[:3]), rgb(self._map(0.0)[:3])
        colours[:, :3] = np.where((w.ravel()[order] > 0.0)[:, None], positive, negative)
        colours[:, 3] = _FAINT + (_FULL - _FAINT) * size
        lines = PathCollection(paths, facecolors="none", edgecolors=colours, linewidths=_THIN + (_THICK - _THIN) * size)
        lines.set(zorder=1, capstyle="round", label=f"weights {k}")
        self._ax.add_collection(lines, autolim=False)

    def layer(self, k: int, size: int, values: Floats | None, bias: Floats | None) -> None:
        """Draw the units of layer k with their maps or values, and their biases."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        x = self._across * k
        if self._wide[k]:
            bar = FancyBboxPatch(
                (x - 0.18, -self._half), 0.36, 2.0 * self._half, boxstyle="round,pad=0,rounding_size=0.18",
                facecolor=self._map(0.5), edgecolor=muted(self._ax), zorder=2,
            )  # fmt: skip
            self._ax.add_patch(bar)
            return
        bound = 1.0 if values is None else float(np.abs(values).max()) or 1.0
        largest = 1.0 if bias is None else float(np.abs(bias).max()) or 1.0
        for unit, y in enumerate(self._places(k)):
            box = (x - self._width, x + self._width, y - _HALF, y + _HALF)
            fill = self._map(0.5)
            if values is not None and values.ndim == 3:
                own = float(np.abs(values[unit]).max()) or 1.0
                self._ax.imshow(
                    values[unit], origin="lower", extent=box, cmap=self._map, vmin=-own, vmax=own, aspect="auto",
                    interpolation="bilinear", zorder=2,
                )  # fmt: skip
                fill = "none"
            elif values is not None:
                fill = self._map(0.5 + 0.5 * float(values[unit]) / bound)
            frame = Rectangle(
                (box[0], box[2]), 2 * self._width, 2 * _HALF, facecolor=fill, edgecolor=self._text, linewidth=1.0,
                zorder=3,
            )  # fmt: skip
            frame.set_gid(f"unit {k} {unit}")
            self._ax.add_patch(frame)
            if values is not None and values.ndim == 1 and self._layout.points:
                ink = max(("black", "white"), key=lambda colour: contrast(colour, fill[:3]))
                self._ax.text(
                    x, y, _number(values[unit]), ha="center", va="center_baseline", fontsize=self._layout.points,
                    color=ink, zorder=4,
                )  # fmt: skip
            if bias is not None:
                side = 0.26
                corner = (box[0] - 0.6 * side, box[2] - 0.4 * side)
                square = Rectangle(
                    corner, side, side, facecolor=self._map(0.5 + 0.5 * bias[unit] / largest), edgecolor=self._text,
                    linewidth=0.6, zorder=4,
                )  # fmt: skip
                square.set_gid(f"bias {k} {unit}")
                self._ax.add_patch(square)

    def names(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Write names to the left of the inputs and to the right of the outputs."""
        for k, names, x, side in (
            (0, inputs, -self._width - 0.25, "right"),
            (len(self._sizes) - 1, outputs, None, "left"),
        ):
            if self._wide[k]:
                continue
            place = self._across * k + self._width + 0.25 if x is None else x
            for name, y in zip(names, self._places(k), strict=True):
                self._ax.text(place, y, name, ha=side, va="center", fontsize=10)

    def titles(self, activations: Sequence[str], weights: Sequence[Floats]) -> None:
        """Write number and activation of the units above each layer."""
        last = len(self._sizes) - 1
        for k, (size, name) in enumerate(zip(self._sizes, activations, strict=True)):
            kind = "input" if k == 0 else "output" if k == last else "hidden unit"
            words = f"{size} {kind}{'s' if size > 1 else ''}"
            distance = self._across * self._layout.scale
            if 0 < k < last and distance < _TITLE:
                words = str(size)
            elif distance < _TITLE / 2.0:
                words = words.replace(" ", "\n") if k == 0 else str(size)
            text = words if k == 0 else f"{words}\n{name}"
            height = self._half + 0.08 / self._layout.scale
            self._ax.text(self._across * k, height, text, ha="center", va="bottom", fontsize=10)
        for k, w in enumerate(weights):
            if self._wide[k] or self._wide[k + 1]:
                text = f"{w.shape[0]} x {w.shape[1]} weights\nup to {np.abs(w).max():.2g} in size"
                middle = sum(self._sides(k)) / 2.0
                height = -self._half - 0.1 / self._layout.scale
                self._ax.text(middle, height, text, ha="center", va="top", fontsize=8)

    def finish(self, span: str, margins: Sequence[float]) -> None:
        """Set limits that hold all units, and write what the colours mean."""
        last = self._across * (len(self._sizes) - 1)
        matrices, scale, below = any(self._wide), self._layout.scale, self._layout.below
        what = "lines and matrices: weights" if matrices else "lines: weights"
        note = f"blue above 0, orange below 0\n{what}; squares: biases" + (f"\n{span}" if span else "")
        top = -self._half - (0.1 + (_MATRIX if matrices else 0.0)) / scale
        self._ax.text(last / 2.0, top, note, ha="center", va="top", fontsize=9, color=self._quiet)
        left, right = (margin / scale for margin in margins)
        self._ax.set(xlim=(-left - self._width, last + right + self._width), aspect="equal")
        self._ax.set_ylim(-self._half - below / scale, self._half + _ABOVE / scale)
        self._ax.set_axis_off()
        for text in self._ax.texts:  # the limits hold them
            text.set_in_layout(False)
