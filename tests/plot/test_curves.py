"""The record of a training as curves."""

from __future__ import annotations

import io

import pytest

from fastnn import History, plot

pytest.importorskip("matplotlib")


def record(n=6, **columns):
    """A history of n epochs; each keyword is a name with the function of the epoch that gives its values."""
    history = History()
    for epoch in range(n):
        history.append(epoch, {name: value(epoch) for name, value in columns.items()})
    return history


def test_each_metric_has_a_panel_of_its_own():
    history = record(
        loss=lambda e: 1 / (e + 1), val_loss=lambda e: abs(e - 3) + 0.5, accuracy=lambda e: e / 6,
        val_accuracy=lambda e: e / 7, r2=lambda e: -e, seconds=lambda e: 1.0,
    )  # fmt: skip
    figure = plot.learning_curves(history)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy", "r2"]
    for ax in figure.axes:
        assert ax.get_xlabel() == "epoch"
        assert list(ax.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
        assert "best epoch: 4" in [text.get_text() for text in ax.texts]
        boxes = []
        figure.savefig(io.BytesIO())
        for text in ax.texts:
            boxes.append(text.get_window_extent().padded(-1.0))
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    loss, accuracy, r2 = figure.axes
    for ax, y in ((loss, 0.5), (accuracy, 3 / 7)):
        assert ax.lines[-1].get_xydata().tolist() == [[4, y]]
        assert [text.get_text() for text in ax.texts][:2] == ["training", "validation"]
    assert [line.get_label() for line in r2.lines[:1]] == ["r2"]
    assert "training" not in [text.get_text() for text in r2.texts]  # there is no other line
    assert figure.get_figwidth() <= 10.0


def test_wrong_history():
    with pytest.raises(TypeError, match=r"history must be a History, got 5. Of a trained Model it is model.history"):
        plot.learning_curves(5)
    with pytest.raises(ValueError, match="no epochs to plot"):
        plot.learning_curves(History())
