"""The drawing of a net: a curve for each weight, in the colour of its sign, and what the units hold."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import plot

pytest.importorskip("matplotlib")
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

X = np.random.default_rng(0).uniform(-2, 2, (50, 2))


def net(sizes=(4, 3, 1), n_features=2, **options):
    layers = [fastnn.Dense(n, "tanh") for n in sizes[:-1]] + [fastnn.Dense(sizes[-1])]
    return fastnn.Model(layers, **{"loss": "squared_error", "seed": 0, **options}).build(n_features)


def artists(ax, kind, part):
    """Artists whose label or gid begins so."""
    names = [(a, a.get_label() if kind == "label" else a.get_gid()) for a in ax.get_children()]
    return [artist for artist, name in names if name and str(name).startswith(part)]


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_weight_is_a_curve_by_its_sign_and_size(theme, dtype):
    model = net(dtype=dtype)
    model.biases = [np.arange(1.0, b.size + 1) * (-1) ** np.arange(b.size) for b in model.biases]
    before = bits(model)
    with plot.style(theme):
        figure = plot.network(model, X)
    assert bits(model) == before
    (ax,) = figure.axes
    collections = artists(ax, "label", "weights ")
    assert [len(lines.get_paths()) for lines in collections] == [w.size for w in model.weights]
    assert all(isinstance(lines, PathCollection) for lines in collections)
    for lines, w in zip(collections, model.weights, strict=True):
        order = np.argsort(np.abs(w), axis=None)
        signs = np.sign(w.ravel()[order])
        blue_minus_red = lines.get_edgecolors()[:, 2] - lines.get_edgecolors()[:, 0]
        np.testing.assert_array_equal(np.sign(blue_minus_red), signs)  # blue above 0, orange below
        widths, opacity = np.array(lines.get_linewidths()), lines.get_edgecolors()[:, 3]
        assert np.all(np.diff(widths) >= 0)
        assert np.all(np.diff(opacity) >= 0)
        heights = {path.vertices[0][1] for path in lines.get_paths()}
        assert len(heights) == w.shape[0]
    assert len(ax.images) == 2 + 4 + 3 + 1  # a map in each unit, inputs included
    assert len(artists(ax, "gid", "unit ")) == 10
    squares = artists(ax, "gid", "bias ")
    assert len(squares) == 8
    first = [square.get_facecolor() for square in squares[:4]]
    assert [np.sign(colour[2] - colour[0]) for colour in first] == [1, -1, 1, -1]
    figure.savefig(io.BytesIO())


def test_the_maps_are_outputs_of_the_units():
    model = net((3, 1))
    (ax,) = plot.network(model, X).axes
    low, high = X.min(axis=0), X.max(axis=0)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 40).T), axis=-1).reshape(-1, 2)
    for unit in range(3):
        shown = np.asarray(ax.images[2 + unit].get_array())
        np.testing.assert_allclose(shown.ravel(), model.hidden(grid, 0)[:, unit], rtol=1e-5)
        norm = ax.images[2 + unit].norm
        assert norm.vmin == -norm.vmax == pytest.approx(-np.abs(shown).max())
    left = np.asarray(ax.images[0].get_array())
    assert left[0, 0] < 0 < left[0, -1]  # x1 rises to the right
    assert any("maps: outputs over" in text for text in texts(ax))


def test_wide_layers_are_matrices():
    model = net((30, 3), n_features=40)
    (ax,) = plot.network(model).axes
    assert [image.get_array().shape for image in ax.images] == [(40, 30), (30, 3)]
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), model.weights[0])
    assert len(artists(ax, "gid", "unit ")) == 3
    assert len(ax.collections) == 0
    (ax,) = plot.network(model, max_units=40).axes
    assert len(ax.images) == 0
    assert [len(lines.get_paths()) for lines in ax.collections] == [1200, 90]
    assert any(text.startswith("30 x 3 weights") for text in texts(plot.network(model).axes[0]))


def test_a_row_is_written_into_the_units():
    model = net((2, 1), n_features=3)
    row = np.array([[1.0, -2.0, 0.5]])
    (ax,) = plot.network(model, row, feature_names=["a", "b", "c"], output_names=["y"]).axes
    values = [*row[0], *model.hidden(row, 0)[0], *model.predict(row)[0]]
    assert {f"{value:.2g}" for value in values} <= set(texts(ax))
    assert {"a", "b", "c", "y", "3 inputs", "2 hidden units\ntanh", "1 output\nidentity"} <= set(texts(ax))
    units = artists(ax, "gid", "unit 0")
    colours = [unit.get_facecolor() for unit in units]
    assert [np.sign(colour[2] - colour[0]) for colour in colours] == [1, -1, 1]


def test_texts_do_not_overlap():
    for model in (net(), net((30, 10), n_features=64), net((4,) * 7 + (1,)), net((1,), 1), net((24, 24, 1))):
        figure = plot.network(model)
        figure.savefig(io.BytesIO())
        (ax,) = figure.axes
        boxes = [text.get_window_extent().padded(-1.0) for text in ax.texts if text.get_text()]
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
        assert all(box.x0 >= -2 and box.x1 <= figure.bbox.x1 + 2 and box.y1 <= figure.bbox.y1 + 2 for box in boxes)
        assert figure.get_figwidth() <= 10.0
        assert figure.get_figheight() <= 5.0


@pytest.mark.parametrize("n_rows", [1, 50])
@pytest.mark.parametrize(
    ("sizes", "n_features"),
    [((2, 1), 1), ((3, 1), 2), ((16, 10), 784), ((8, 8, 8, 1), 12), ((24, 1), 24), ((4,) * 7 + (1,), 3)],
)
def test_numbers_lie_in_their_units(sizes, n_features, n_rows):
    rows = np.random.default_rng(0).normal(size=(n_rows, n_features))
    rows[0, 0] = -0.00123
    model = net(sizes, n_features)
    model.weights[-1][:, -1] *= 1e6
    figure = plot.network(model, rows)
    figure.savefig(io.BytesIO())
    (ax,) = figure.axes
    units = [unit.get_window_extent() for unit in artists(ax, "gid", "unit ")]
    places = [text for text in ax.texts if re.fullmatch(r"-?[0-9.e+-]+", text.get_text())]
    maps = n_features == 2 and n_rows > 1
    assert len(places) == (0 if maps else sum(n for n in (n_features, *sizes) if n <= 24))
    for text in places:
        box = text.get_window_extent()
        assert any(unit.x0 < box.x0 and box.x1 < unit.x1 and unit.y0 < box.y1 and box.y0 < unit.y1 for unit in units), (
            text.get_text()
        )
        middle = (box.y0 + box.y1) / 2
        assert min(abs((unit.y0 + unit.y1) / 2 - middle) for unit in units) < 2.0
    edges = sorted({(unit.x0, unit.x1) for unit in units})
    assert all(left[1] < right[0] for left, right in itertools.pairwise(edges))


def test_small_axes_hold_their_texts():
    figure = Figure(figsize=(12, 4))
    models = [net((2, 1), 3), net((16, 10), 784), net((8, 8, 1), 12)]
    for ax, model in zip(figure.subplots(1, 3), models, strict=True):
        plot.network(model, np.ones((1, model.n_features)), ax=ax)
    figure.savefig(io.BytesIO())
    for ax in figure.axes:
        boxes = [text.get_window_extent().padded(-1.0) for text in ax.texts if text.get_text()]
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_numbers_that_would_be_too_small_are_left_out():
    model, rows = net((40, 1), 3), np.ones((1, 3))
    (ax,) = plot.network(model, rows, max_units=40).axes
    assert not [text for text in ax.texts if re.fullmatch(r"-?[0-9.e+-]+", text.get_text())]
    assert len({unit.get_facecolor() for unit in artists(ax, "gid", "unit 1")}) > 10


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_name_inputs_and_outputs():
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["long", "wide", "high"])
    labels = np.array(["red", "green", "blue"])[np.arange(30) % 3]
    fitted = fastnn.MLPClassifier((4,), max_iter=5, random_state=0).fit(frame, labels)
    (ax,) = plot.network(fitted, frame).axes
    assert {"long", "wide", "high", "red", "green", "blue"} <= set(texts(ax))
    assert any("mean outputs over 30 rows" in text for text in texts(ax))


def test_given_axes_and_nets_without_hidden_layer_or_bias():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    model = fastnn.Model([fastnn.Dense(1, use_bias=False)], loss="squared_error", seed=0).build(2)
    assert plot.network(model, ax=right) is figure
    assert not left.texts
    assert len(right.collections[0].get_paths()) == 2
    assert artists(right, "gid", "bias ") == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": 5}, "model must be a fastnn.Model or a fitted estimator"),
        ({"model": fastnn.Model([2], loss="squared_error")}, "no weights|not built|build"),
        ({"max_units": 0}, "max_units must be .* got 0"),
        ({"X": np.zeros((2, 3))}, "X must be of 2 columns"),
        ({"X": [[np.nan, 1.0]]}, "X must be finite"),
        ({"X": np.zeros((0, 2))}, "X must be .* at least one row"),
        ({"feature_names": ["a"]}, "feature_names must be 2 names"),
        ({"output_names": 5}, "output_names must be 1 names"),
        ({"ax": 5}, "ax must be matplotlib.axes.Axes"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.network(**{"model": net(), **options})
