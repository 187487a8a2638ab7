"""Predictions over a plane: colours of areas, lines between classes, and what may be given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import plot
from fastnn._figure.style import rgb
from fastnn.plot._boundary import region_colours

pytest.importorskip("matplotlib")
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 2))
Y = (X[:, 0] > 0).astype(int)


def line_at_zero(dtype="float32"):
    """A net that predicts class 1 for x1 > 0, with the probability sigmoid(4 x1)."""
    model = fastnn.Model([1], loss="binary_crossentropy", seed=0, dtype=dtype).build(2)
    model.weights[0][:] = [[4.0], [0.0]]
    return model


def contours(ax):
    return [artist for artist in ax.collections if isinstance(artist, ContourSet)]


def vertices(contour):
    """All points of a contour."""
    return np.concatenate([path.vertices for path in contour.get_paths()])


def test_the_line_is_where_classes_are_equal(dtype):
    model = line_at_zero(dtype)
    before = bits(model)
    figure = plot.decision_boundary(model, X, Y)
    assert bits(model) == before
    (ax,) = figure.axes
    (contour,) = contours(ax)
    np.testing.assert_allclose(vertices(contour)[:, 0], 0.0, atol=0.01)
    assert vertices(contour)[:, 1].min() == pytest.approx(ax.get_ylim()[0], abs=1e-6)
    (image,) = ax.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (200, 200, 3)
    for k, column in ((0, 0), (1, -1)):  # a share of the class's colour, far from the line
        assert np.abs(shown[100, column] - (0.5 + 0.5 * rgb(plot.COLORS[k]))).max() < 0.05
    assert np.abs(shown[100, 100] - 1.0).max() < 0.15  # and little of it on the line
    points = [c for c in ax.collections if not isinstance(c, ContourSet)]
    assert [len(c.get_offsets()) for c in points] == [int((Y == 0).sum()), int((Y == 1).sum())]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class 0", "class 1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_{1}$", "$x_{2}$")
    assert ax.get_xlim()[0] < X[:, 0].min()
    assert ax.get_xlim()[1] > X[:, 0].max()
    figure.savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_three_classes_of_a_data_frame():
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["length", "width"])
    labels = np.array(["one", "two", "three"])[Y + (X[:, 1] > 0)]
    fitted = fastnn.MLPClassifier((8,), max_iter=20, random_state=0).fit(frame, labels)
    (ax,) = plot.decision_boundary(fitted, frame, labels, resolution=50).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == sorted(set(labels))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length", "width")
    shown = np.asarray(ax.images[0].get_array())
    grid = np.stack(np.meshgrid(*np.linspace(*np.transpose([ax.get_xlim(), ax.get_ylim()]), 50).T), axis=-1)
    wanted = fitted.predict_proba(pandas.DataFrame(grid.reshape(-1, 2), columns=frame.columns)).reshape(50, 50, 3)
    np.testing.assert_allclose(shown, region_colours(wanted, np.ones(3), probable=True), atol=1e-5)
    named = plot.decision_boundary(fitted, frame, labels, resolution=5, class_names=["A", "B", "C"]).axes[0]
    assert [text.get_text() for text in named.get_legend().get_texts()] == ["A", "B", "C"]


def test_objects_of_another_library():
    svm = pytest.importorskip("sklearn.svm")
    linear = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    scale = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    labels = np.array(["left", "right"])[Y]
    for made in (svm.SVC(), linear.LogisticRegression(), linear.Perceptron(), pipeline.make_pipeline(scale, svm.SVC())):
        (ax,) = plot.decision_boundary(made.fit(X, labels), X, labels, resolution=40).axes
        np.testing.assert_allclose(vertices(contours(ax)[0])[:, 0], 0.0, atol=0.35)

    class Predicts:
        def predict(self, X):
            return (np.asarray(X)[:, 0] > 0).astype(int)

    (ax,) = plot.decision_boundary(Predicts(), X, Y, resolution=40).axes
    np.testing.assert_allclose(vertices(contours(ax)[0])[:, 0], 0.0, atol=0.06)
    regression = linear.LinearRegression().fit(X, X[:, 0] + 0.5)
    ax = plot.decision_boundary(regression, X, X[:, 0] + 0.5, resolution=7).axes[0]
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown[3], np.linspace(*ax.get_xlim(), 7) + 0.5)


def test_values_are_colours_of_areas_and_points():
    model = fastnn.Model([1], loss="squared_error", seed=0).build(2)
    figure = plot.decision_boundary(model, X, 2.0 * X[:, 0], resolution=30)
    ax, bar = figure.axes
    (points,) = ax.collections
    assert points.norm is not None
    assert (points.norm.vmin, points.norm.vmax) == (ax.images[0].norm.vmin, ax.images[0].norm.vmax)
    assert "value" in bar.get_ylabel()
    np.testing.assert_allclose(np.asarray(points.get_array()), 2.0 * X[:, 0])
    figure.savefig(io.BytesIO())


def test_the_rate_of_a_poisson_loss_is_drawn_not_its_logarithm():
    model = fastnn.Model([1], loss="poisson", seed=0).build(2)
    ax = plot.decision_boundary(model, X, np.ones(60), resolution=5).axes[0]
    grid = np.stack(np.meshgrid(*np.linspace(*np.transpose([ax.get_xlim(), ax.get_ylim()]), 5).T), axis=-1)
    wanted = np.exp(model.predict(grid.reshape(-1, 2)))
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()).ravel(), wanted[:, 0], rtol=1e-5)


def test_one_feature_is_a_curve():
    model = fastnn.Model([1], loss="binary_crossentropy", seed=0).build(1)
    model.weights[0][:] = 4.0
    (ax,) = plot.decision_boundary(model, X[:, :1], Y).axes
    first, second, boundary = ax.lines
    np.testing.assert_allclose(first.get_ydata() + second.get_ydata(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(boundary.get_xdata(), 0.0, atol=0.01)
    assert ax.get_ylabel() == "probability"
    value = fastnn.Model([1], loss="squared_error", seed=0).build(1)
    (ax,) = plot.decision_boundary(value, X[:, :1], X[:, 0]).axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), value.weights[0][0, 0] * ax.lines[0].get_xdata(), rtol=1e-5)


def test_given_axes_in_light_and_dark():
    figure = Figure(facecolor="black")
    left, right = figure.subplots(1, 2)
    right.set_facecolor("black")
    assert plot.decision_boundary(line_at_zero(), X, Y, ax=right, resolution=9) is figure
    assert not left.collections
    (contour,) = contours(right)
    assert np.all(contour.get_edgecolor()[0][:3] > 0.8)  # light on dark
    assert right.get_legend() is not None


def test_few_rows_and_one_class():
    for rows, labels in ((X[:1], Y[:1]), (X[:5], np.zeros(5, int)), (np.ones((3, 2)), [0, 1, 0])):
        (ax,) = plot.decision_boundary(line_at_zero(), rows, labels, resolution=5).axes
        assert len(ax.images) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"X": np.zeros((4, 3)), "y": [0, 1, 0, 1]}, "X must be of 2 columns, got .*an array of shape"),
        ({"X": np.zeros((0, 2)), "y": []}, "X must be .* at least one row"),
        ({"X": "abc"}, "X must be a table of numbers"),
        ({"X": [[np.nan, 0.0]] * 60}, "X must be finite, got .*nan.* row 0, column 0"),
        ({"y": Y[:5]}, "X|y"),
        ({"resolution": 1}, "resolution must be from 2 to 1000, got 1"),
        ({"resolution": 5000}, "resolution must be from 2 to 1000, got 5000"),
        ({"class_names": ["a"]}, "class_names must be 2 names"),
        ({"class_names": "ab"}, "class_names must be 2 names"),
        ({"ax": 5}, "ax must be matplotlib.axes.Axes"),
        ({"model": 5}, "model must be a Model, or an object with a method `predict`"),
        ({"model": fastnn.Model([2], loss="binary_crossentropy").build(2), "y": np.c_[Y, Y]}, "one class per row"),
        ({"model": fastnn.Model([2], loss="squared_error").build(2), "y": X}, "a net with one output"),
        ({"model": fastnn.Model([1], loss="squared_error").build(3), "X": np.zeros((60, 3))}, "one or two columns"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.decision_boundary(**{"model": line_at_zero(), "X": X, "y": Y, **options})
