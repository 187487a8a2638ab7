"""The confusion matrix: counts, shares and names."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fastnn import plot

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def test_counts_and_shares():
    figure = plot.confusion(["a", "a", "a", "b", "c"], ["a", "b", "a", "b", "b"])
    ax, bar = figure.axes
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 1, 0]])
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0, 0): "2", (1, 0): "1", (1, 1): "1", (1, 2): "1"}
    assert ax.get_title(loc="left") == "3 of 5 right (60.0%)"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert bar.get_ylabel() == "share of the true class"
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_can_be_read(theme):
    from fastnn._figure.style import contrast

    with plot.style(theme):
        (ax, _) = plot.confusion([0] * 9 + [1] * 9, [0] * 9 + [1] * 5 + [0] * 4).axes
    for text in ax.texts:
        column, row = text.get_position()
        fill = ax.images[0].cmap(ax.images[0].norm(np.asarray(ax.images[0].get_array())[row, column]))[:3]
        assert contrast(text.get_color(), fill) >= 4.5


def test_rows_with_one_1_columns_names_and_given_axes():
    axes = Figure().subplots(1, 2)
    one_hot = np.eye(3)[[0, 1, 2, 2]]
    assert plot.confusion(one_hot, [[0], [1], [2], [0]], class_names=["x", "y", "z"], ax=axes[1]) is axes[0].figure
    assert not axes[0].images
    assert [tick.get_text() for tick in axes[1].get_xticklabels()] == ["x", "y", "z"]
    np.testing.assert_allclose(np.asarray(axes[1].images[0].get_array())[2], [0.5, 0.0, 0.5])
    many = plot.confusion(np.arange(60), np.arange(60)).axes[0]
    assert not many.texts
    assert len(many.get_xticks()) == 20


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (([], []), "y_true must be labels"),
        (([0, 1], [0]), "y_pred must be of 2 labels, as y_true, got '1 labels'"),
        (([[0.2, 0.8]], [1]), "y_true must be labels"),
        ((np.linspace(0, 1, 500), np.zeros(500)), "at most 200 classes"),
        (([0.0, np.nan], [0.0, 1.0]), "y_true must be finite"),
        ((["a"], [object()]), "labels of one kind|labels"),
    ],
)
def test_wrong_labels(given, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.confusion(*given)


def test_wrong_names():
    with pytest.raises(ValueError, match="class_names must be 2 names"):
        plot.confusion([0, 1], [0, 1], class_names=["a"])
