"""The picture of a search."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn.search import Search

pytest.importorskip("matplotlib")
X = np.random.default_rng(0).uniform(-1, 1, (60, 2))


@pytest.mark.parametrize(("loss", "y", "monitor"), [
    ("squared_error", X[:, 0] * X[:, 1], "val_loss"),
    ("binary_crossentropy", (X[:, 0] > 0).astype(int), "val_accuracy"),
])  # fmt: skip
def test_each_candidate_is_a_line(loss, y, monitor):
    space = {"width": 3, "learning_rate": [1e-3, 1e-2, 1e30], "optimizer": "sgd"}
    result = Search(space, loss=loss, monitor=monitor, method="halving", max_epochs=9, seed=0).fit(X, y)
    axes = fastnn.plot.search(result).axes[0]
    assert len(axes.lines) == len(result)
    best = axes.lines[-1]
    assert best.get_xdata().tolist() == [1, 3, 9]
    assert best.get_ydata().tolist() == result.curves()[result.best_index][1]
    low, high = axes.get_ylim()
    assert low < min(best.get_ydata()) <= max(best.get_ydata()) < high
    assert axes.get_ylabel() == monitor


def test_only_results_are_drawn():
    with pytest.raises(TypeError, match="result must be"):
        fastnn.plot.search([])
