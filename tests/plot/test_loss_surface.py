"""The loss over a plane of weights: exact at start and end of a path, and the model left alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import plot
from fastnn.plot._loss_of import LossOf, flat
from fastnn.plot._loss_surface import plane_through

pytest.importorskip("matplotlib")
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

X = np.random.default_rng(0).uniform(-1, 1, (40, 2))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


LAYERS = (fastnn.Dense(3, "tanh"), 1)


def trained(layers=LAYERS, X=X, Y=Y, **options):
    """A model after four short fits, and its weights before the first and after each."""
    settings = {"loss": "binary_crossentropy", "optimizer": fastnn.Adam(0.1), "seed": 0, "dtype": "float64", **options}
    model = fastnn.Model(list(layers), **settings).build(X.shape[1], 1)
    path = []
    for _ in range(5):
        path.append(([w.copy() for w in model.weights], [b.copy() for b in model.biases]))
        model.fit(X, Y, epochs=2, batch_size=10, verbose=False)
    return model, path


def place_of(line):
    return line.get_xydata()[0]


def test_start_and_end_lie_where_the_contours_say():
    model, path = trained()
    before = bits(model)
    figure = plot.loss_surface(model, X, Y, path=path)
    assert bits(model) == before
    ax, bar = figure.axes
    assert bar.get_ylabel() == "loss"
    assert "slice of the loss" in ax.get_title(loc="left")
    line, start, end = ax.lines
    assert len(line.get_xdata()) == len(path)
    loss, points = LossOf(model, X, Y), np.array([flat(model, *item) for item in path])
    origin, directions, _, share = plane_through(points, ())
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
    for drawn, k in ((start, 0), (end, -1)):
        there = origin + place_of(drawn) @ directions
        np.testing.assert_allclose(there, points[k], atol=1e-12)  # no projection at the ends
        filled = next(c for c in ax.collections if isinstance(c, ContourSet) and c.filled)
        value = loss(points[k])
        k_level = int(np.searchsorted(filled.levels, value)) - 1
        areas = [path if len(path.vertices) else None for path in filled.get_paths()]
        within = [place for place, area in enumerate(areas) if area and area.contains_point(place_of(drawn))]
        assert k_level in within or np.abs(filled.levels - value).min() < 0.03 * np.ptp(filled.levels)
    farthest = int(np.argmax(np.linalg.norm((points - origin) - (points - origin) @ directions.T @ directions, axis=1)))
    assert 0 < farthest < len(points) - 1
    assert 0.5 < share <= 1.0
    assert f"{share:.0%} of the path" in ax.get_title(loc="left")
    assert [text.get_text() for text in ax.texts] == [f"start: {loss(points[0]):.3g}", f"end: {loss(points[-1]):.3g}"]
    assert loss(points[0]) == pytest.approx(fastnn.Model(list(LAYERS), loss="binary_crossentropy",
                                            seed=0, dtype="float64").build(2).evaluate(X, Y)["loss"])  # fmt: skip
    figure.savefig(io.BytesIO())


def test_two_weights_are_the_coordinates():
    model, path = trained((), X[:, :1], X[:, 0], loss="squared_error")
    ax = plot.loss_surface(model, X[:, :1], X[:, 0], path=path).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight", "bias")
    weights = [(w[0].item(), b[0].item()) for w, b in path]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), weights, atol=1e-12)
    ax = plot.loss_surface(model, X[:, :1], X[:, 0], resolution=5).axes[0]
    middle = np.mean([ax.get_xlim(), ax.get_ylim()], axis=1)
    np.testing.assert_allclose(middle, [model.weights[0].item(), model.biases[0].item()], atol=1e-9)


def test_random_directions_without_a_path(dtype):
    model, _ = trained(dtype=dtype)
    before = bits(model)
    ax = plot.loss_surface(model, X, Y, resolution=9).axes[0]
    assert bits(model) == before
    assert ax.get_xlabel() == "weights, random direction 1"
    assert not ax.lines
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-1, 1))


def test_running_averages_do_not_hide_the_weights():
    model, _ = trained(optimizer=fastnn.Adam(0.1, ema_momentum=0.9))
    before = bits(model)
    loss, weights = LossOf(model, X, Y), flat(model, model.weights, model.biases)
    plain = fastnn.Model(list(LAYERS), loss="binary_crossentropy", seed=0, dtype="float64").build(2)
    for factor in (1.0, 3.0):
        plain.weights, plain.biases = ([factor * part for part in parts] for parts in (model.weights, model.biases))
        assert loss(factor * weights) == pytest.approx(plain.evaluate(X, Y)["loss"])
    assert bits(model) == before


def test_paths_that_are_straight_or_stand_still():
    model, path = trained()
    w, b = path[0]
    for moved in ([(w, b), ([2 * part for part in w], b)], [(w, b), (w, b)]):
        _, directions, _, share = plane_through(np.array([flat(model, *item) for item in moved]), ())
        np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
        assert share == pytest.approx(1.0)
        plot.loss_surface(model, X, Y, path=moved, resolution=5).savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_and_given_axes():
    pytest.importorskip("sklearn")
    labels = np.array(["no", "yes"])[Y]
    fitted = fastnn.MLPClassifier((3,), max_iter=3, random_state=0).fit(X, labels)
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot.loss_surface(fitted, X, labels, ax=right, resolution=5) is figure
    assert not left.collections
    assert right.collections


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": []}, "path must be Snapshots, or a sequence of pairs"),
        ({"path": 5}, "path must be Snapshots, or a sequence of pairs"),
        ({"path": [1, 2]}, "path must be Snapshots, or a sequence of pairs"),
        ({"path": [([np.zeros((2, 2))], [np.zeros(2)])] * 2}, "path must be sets of weights of this model"),
        ({"resolution": 2}, "resolution must be from 3 to 400, got 2"),
        ({"ax": 5}, "ax must be matplotlib.axes.Axes"),
        ({"model": 5}, "model must be a fastnn.Model or a fitted estimator"),
        ({"X": X[:3]}, "X|y"),
    ],
)
def test_wrong_arguments(options, text):
    model, path = trained()
    with pytest.raises((TypeError, ValueError), match=text):
        plot.loss_surface(**{"model": model, "X": X, "y": Y, "path": path, **options})


def test_weights_that_are_not_finite():
    model, path = trained()
    path[1][0][0][0, 0] = np.nan
    with pytest.raises(ValueError, match="path must be of finite weights"):
        plot.loss_surface(model, X, Y, path=path)
