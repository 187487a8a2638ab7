"""Weights of a layer as images."""

from __future__ import annotations

import io

import numpy as np
import pytest

import fastnn
from fastnn import plot

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def net(n_features=6, units=5):
    return fastnn.Model([units, 2], loss="squared_error", seed=0).build(n_features)


def images(figure):
    return [ax.images[0] for ax in figure.axes if ax.images]


def test_an_image_per_unit():
    model = net()
    figure = plot.weights(model, (2, 3))
    drawn = images(figure)
    assert len(drawn) == 5
    largest = np.abs(model.weights[0]).max()
    for unit, image in enumerate(drawn):
        np.testing.assert_array_equal(np.asarray(image.get_array()), model.weights[0][:, unit].reshape(2, 3))
        assert image.norm.vmax == -image.norm.vmin == pytest.approx(largest)
        assert image.axes.get_title() == str(unit + 1)
        low, high = image.cmap(0.0), image.cmap(1.0)
        assert low[0] > low[2]  # orange below 0, blue above
        assert high[0] < high[2]
    assert figure.axes[-1].get_ylabel() == "weight"
    figure.savefig(io.BytesIO())
    assert figure.get_figwidth() <= 10.5
    assert figure.get_figheight() <= 5.0


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_squares_other_layers_estimators_and_given_figures():
    model = net(9, 4)
    assert np.shape(images(plot.weights(model))[0].get_array()) == (3, 3)
    assert len(images(plot.weights(model, layer=1))) == 2
    assert len(images(plot.weights(model, (4, 1), layer=-1))) == 2
    figure = Figure()
    left, right = figure.subfigures(1, 2)
    assert plot.weights(model, figure=right) is right
    assert not left.axes
    assert len(images(right)) == 4
    pytest.importorskip("sklearn")
    X = np.random.default_rng(0).normal(size=(20, 4))
    fitted = fastnn.MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0).fit(X, X[:, 0])
    np.testing.assert_array_equal(np.ravel(images(plot.weights(fitted))[2].get_array()), fitted.coefs_[0][:, 2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "shape must be .* product 6, got None. 6 inputs are no square"),
        ({"shape": (2, 2)}, r"shape must be .* product 6, got \(2, 2\)"),
        ({"shape": 6}, "shape must be"),
        ({"shape": (6,)}, "shape must be"),
        ({"shape": (0, 6)}, r"shape\[0\] must be"),
        ({"shape": (2, 3), "layer": 2}, "layer must be from -2 to 1, got 2"),
        ({"shape": (2, 3), "layer": -3}, "layer must be"),
        ({"shape": (2, 3), "figure": 5}, "figure must be a matplotlib.figure.Figure, or None, got 5"),
        ({"model": net(6, 500), "shape": (2, 3)}, "layer must be one of at most 400 units"),
        ({"model": 5}, "model must be a fastnn.Model"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.weights(**{"model": net(), **options})
