"""Outputs of a layer as points, and the lines and planes of the next layer."""

from __future__ import annotations

import io

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import plot
from fastnn.plot._hidden_space import projection_of

pytest.importorskip("matplotlib")
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def net(*units, loss="binary_crossentropy", outputs=1, n_features=3):
    layers = [fastnn.Dense(n, "tanh") for n in units]
    model = fastnn.Model([*layers, outputs], loss=loss, seed=0).build(n_features)
    model.biases = [0.1 * RNG.normal(size=b.shape) for b in model.biases]
    return model


def points_of(ax):
    """Places of all points, in the order of the classes."""
    drawn = [c for c in ax.collections if not isinstance(c, ContourSet) and c.get_label()[0] != "_"]
    return np.concatenate([np.asarray(c.get_offsets()) for c in drawn])


def ordered(rows):
    """Rows by class, as they are drawn."""
    return np.concatenate([rows[Y == 0], rows[Y == 1]])


def test_two_units_and_the_separating_line():
    model = net(2)
    before = bits(model)
    figure = plot.hidden_space(model, X, Y)
    assert bits(model) == before
    (ax,) = figure.axes
    np.testing.assert_allclose(points_of(ax), ordered(model.hidden(X)), rtol=1e-6)
    (contour,) = [c for c in ax.collections if isinstance(c, ContourSet)]
    on_line = np.concatenate([path.vertices for path in contour.get_paths()])
    sums = on_line @ model.weights[1][:, 0] + model.biases[1][0]
    np.testing.assert_allclose(sums, 0.0, atol=1e-6)  # exactly where the output is 1/2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("hidden unit 1", "hidden unit 2")
    figure.savefig(io.BytesIO())


def test_areas_of_three_classes():
    model = net(2, loss="softmax_crossentropy", outputs=3)
    (ax,) = plot.hidden_space(model, X, Y, class_names=["a", "b", "c"]).axes
    assert len(ax.images) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]  # those that occur


def test_a_hidden_next_layer_has_a_line_per_unit():
    model = net(2, 3)
    (ax,) = plot.hidden_space(model, X, Y, layer=0).axes
    assert len(ax.lines) == 3
    for k, line in enumerate(ax.lines):
        foot, slope = np.array(line.get_xy1()), np.array(line.get_xy2())
        for place in (foot, slope):
            assert place @ model.weights[1][:, k] + model.biases[1][k] == pytest.approx(0.0, abs=1e-6)


def test_three_units_and_the_separating_plane(monkeypatch):
    from mpl_toolkits.mplot3d import Axes3D

    surfaces, draw = [], Axes3D.plot_surface

    def record(ax, *coordinates, **settings):
        surfaces.append(np.stack(coordinates, axis=-1).reshape(-1, 3))
        return draw(ax, *coordinates, **settings)

    monkeypatch.setattr(Axes3D, "plot_surface", record)
    model = net(3)
    figure = plot.hidden_space(model, X, Y)
    (ax,) = figure.axes
    assert ax.name == "3d"
    (corners,) = surfaces
    sums = corners @ model.weights[1][:, 0].astype(float) + model.biases[1][0]
    np.testing.assert_allclose(sums[np.isfinite(sums)], 0.0, atol=1e-6)
    assert np.isfinite(sums).sum() > 100
    figure.savefig(io.BytesIO())


def test_wide_layers_by_principal_components():
    model = net(6)
    outputs = model.hidden(X).astype(float)
    figure = plot.hidden_space(model, X, Y)
    (ax,) = figure.axes
    points = points_of(ax)
    centred = outputs - outputs.mean(axis=0)
    shares = np.linalg.svd(centred, compute_uv=False) ** 2
    shares /= shares.sum()
    assert ax.get_xlabel() == f"component 1 ({shares[0]:.0%} of variance)"
    assert ax.get_ylabel() == f"component 2 ({shares[1]:.0%} of variance)"
    np.testing.assert_allclose(np.var(points, axis=0) / np.var(centred, axis=0).sum(), shares[:2], rtol=1e-5)
    solid = plot.hidden_space(model, X, Y, dimensions=3).axes[0]
    assert solid.name == "3d"
    flat = projection_of(outputs, 2)
    weights, biases = flat.linear(model.weights[1].astype(float), model.biases[1].astype(float))
    place = np.array([0.3, -0.2])
    sum_of_place = (flat.centre + place @ flat.directions) @ model.weights[1] + model.biases[1]
    np.testing.assert_allclose(place @ weights + biases, sum_of_place, rtol=1e-5)


def test_one_unit_values_and_output_layer():
    model = net(1)
    (ax,) = plot.hidden_space(model, X, Y).axes
    (line,) = ax.lines
    assert line.get_xdata()[0] * model.weights[1][0, 0] + model.biases[1][0] == pytest.approx(0.0, abs=1e-5)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["class 0", "class 1"]
    value = net(2, loss="squared_error")
    ax, bar = plot.hidden_space(value, X, X[:, 0]).axes
    assert not ax.lines
    assert not ax.images
    assert bar.get_ylabel() == "value"
    ends = net(4, loss="softmax_crossentropy", outputs=2)
    (ax,) = plot.hidden_space(ends, X, Y, layer=-1).axes
    np.testing.assert_allclose(points_of(ax), ordered(ends.hidden(X, -1)), rtol=1e-6)
    assert not ax.images


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_and_transformers():
    pca = pytest.importorskip("sklearn.decomposition").PCA(2)
    labels = np.array(["no", "yes"])[Y]
    fitted = fastnn.MLPClassifier((2,), activation="tanh", max_iter=3, random_state=0).fit(X, labels)
    (ax,) = plot.hidden_space(fitted, X, labels).axes
    np.testing.assert_allclose(points_of(ax), ordered(fitted.transform(X)), rtol=1e-6)
    assert len(ax.images) == 1
    (ax,) = plot.hidden_space(pca.fit(X), X, labels).axes
    np.testing.assert_allclose(points_of(ax), ordered(pca.transform(X)))
    assert ax.get_xlabel() == "column 1"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no", "yes"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layer": 5}, "layer must be"),
        ({"layer": "a"}, "layer must be"),
        ({"dimensions": 4}, "dimensions must be at most 2 for 2 units, got 4"),
        ({"dimensions": 0}, "dimensions must be .*1"),
        ({"model": object()}, "model must be a Model, an estimator of fastnn, or an object with `transform`"),
        ({"model": net(3), "ax": Figure().subplots()}, "ax must be .* three dimensions"),
        ({"y": Y[:3]}, "X|y"),
        ({"class_names": ["a"]}, "class_names must be 2 names"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.hidden_space(**{"model": net(2), "X": X, "y": Y, **options})
