"""Curves of activations and of their derivatives."""

from __future__ import annotations

import io

import numpy as np
import pytest

import fastnn
from fastnn import plot
from fastnn._figure.style import line_colours

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def test_curves_are_the_functions_and_their_derivatives():
    figure = plot.activations()
    left, right = figure.axes
    names = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
    for panel in (left, right):
        assert sorted(text.get_text() for text in panel.texts) == sorted(names)
        assert panel.get_xlabel() == "sum z"
    assert (left.get_ylabel(), right.get_ylabel()) == ("y = f(z)", "dy/dz")
    z = left.lines[-1].get_xdata()
    functions = [lambda z: 1 / (1 + np.exp(-z)), np.tanh, lambda z: np.maximum(z, 0),
                 lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, z, np.expm1(z))]  # fmt: skip
    for k, f in enumerate(functions, 2):  # behind the lines at 0
        np.testing.assert_allclose(left.lines[k].get_ydata(), f(z), atol=1e-12)
        differences = (f(z + 1e-6) - f(z - 1e-6)) / 2e-6
        np.testing.assert_allclose(right.lines[k].get_ydata(), differences, atol=1e-5)
        assert left.lines[k].get_color() == right.lines[k].get_color() == line_colours(5)[k - 2]
    figure.savefig(io.BytesIO())
    boxes = [text.get_window_extent().padded(-1.0) for text in left.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_other_activations_and_given_axes():
    square = fastnn.custom.activation(lambda z: z * z, lambda z: 2 * z)
    axes = Figure().subplots(1, 2)
    assert plot.activations([fastnn.elu(0.5), square], axes=axes) is axes[0].figure
    z = axes[0].lines[-1].get_xdata()
    np.testing.assert_allclose(axes[0].lines[2].get_ydata()[z < 0], 0.5 * np.expm1(z[z < 0]), atol=1e-12)
    np.testing.assert_allclose(axes[1].lines[3].get_ydata(), 2 * z, atol=1e-12)
    assert axes[0].get_legend().get_texts()[0].get_text() == "elu(alpha=0.5)"
    assert len(plot.activations("tanh").axes[0].lines) == 3


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "names must be a sequence of names of activations, at least one"),
        (["nothing"], "activation must be one of"),
        (["softmax"], "names must be activations of single numbers, got 'softmax'"),
        (5, "names must be a sequence of names"),
    ],
)
def test_wrong_names(names, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.activations(names)


def test_wrong_axes():
    with pytest.raises(ValueError, match="axes must be 2 matplotlib"):
        plot.activations(axes=Figure().subplots())
