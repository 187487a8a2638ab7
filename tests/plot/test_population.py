"""The nets of a population as curves."""

from __future__ import annotations

import io

import numpy as np
import pytest

import fastnn
from fastnn import plot
from fastnn.population import PopulationHistory

pytest.importorskip("matplotlib")

NAN = np.nan
#: Net 1 stops after two epochs, net 2 diverges in the first one, net 3 is far above the others.
LOSSES = np.array([[4.0, 3.0, NAN, 900.0], [2.0, 2.0, NAN, 900.0], [1.0, NAN, NAN, 900.0]])


def record(**columns):
    """A history of four nets."""
    columns = {"loss": LOSSES} | columns
    return PopulationHistory(columns, [None, "early_stopping", "diverged", None], {}, [()] * 4)


def curves(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def limits(history, *arguments, **settings):
    return plot.population(history, *arguments, **settings).axes[0].get_ylim()


def test_each_net_is_a_curve_that_ends_where_it_stopped():
    figure = plot.population(record(), best=1)
    lines = curves(figure)
    assert list(lines) == ["net 0", "net 1", "net 2", "net 3"]
    assert [len(line.get_xdata()) for line in lines.values()] == [3, 2, 0, 3]
    assert lines["net 1"].get_xydata().tolist() == [[1, 3], [2, 2]]
    assert lines["net 1"].get_marker() == "o"
    assert lines["net 0"].get_marker() == "None"
    assert lines["net 0"].get_alpha() is None  # the best one
    assert all(lines[f"net {k}"].get_alpha() < 1 for k in (1, 2, 3))
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["net 0: 1"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == ("epoch", "loss", "4 nets")


def test_the_axis_is_that_of_the_better_half_and_the_best():
    assert limits(record(), best=0) == pytest.approx((1 - 0.05 * 3, 4 + 0.05 * 3))  # medians of the first epoch: 4
    assert limits(record(), best=3)[1] > 900  # all that are labelled
    low, high = limits(record(), best=2, yscale="log")
    assert 0.5 < low < 1 < 4 < high < 5
    scores = np.array([[0.1, 0.5, NAN, 0.6], [0.7, 0.8, NAN, 0.9], [0.7, 0.8, NAN, 0.9]])
    found = limits(record(val_accuracy=scores), "val_accuracy", best=0)
    assert found == pytest.approx((0.5 - 0.02, 0.9 + 0.02))


def test_the_best_by_a_value():
    scores = np.array([[0.1, 0.9, NAN, 0.2], [0.1, 0.8, NAN, 0.2], [0.3, NAN, NAN, 0.5]])
    figure = plot.population(record(val_accuracy=scores), "val_accuracy", best=2)
    assert {text.get_text() for text in figure.axes[0].texts} == {"net 1: 0.8", "net 3: 0.5"}
    assert figure.axes[0].get_ylabel() == "val_accuracy"
    assert plot.population(record(val_loss=2 * LOSSES)).axes[0].get_ylabel() == "val_loss"


@pytest.mark.parametrize("yscale", ["linear", "log"])
@pytest.mark.parametrize("n_nets", [1, 30])
def test_a_population_in_axes_of_a_figure(n_nets, yscale):
    X = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    population = fastnn.Population([3, 1], n_nets, loss="squared_error", seed=0)
    figure = plot.population(population.fit(X, X[:, 0], epochs=1), yscale=yscale)
    assert figure.axes[0].get_xticks().tolist() == [1]
    assert all(line.get_marker() == "o" for line in figure.axes[0].lines)
    _, right = figure.subfigures(1, 2)
    ax = right.subplots()
    history = population.fit(X, X[:, 0], epochs=5)
    assert plot.population(history, best=n_nets, ax=ax) is right
    assert len(ax.lines) == n_nets
    assert len(ax.texts) == n_nets
    figure.savefig(io.BytesIO())


def test_values_without_a_logarithm():
    ax = plot.population(record(loss=LOSSES - 1.0), yscale="log").axes[0]
    assert 0 < ax.get_ylim()[0] < 1
    with pytest.warns(UserWarning, match="no positive values"):
        plot.population(record(loss=-LOSSES), yscale="log")


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"history must be a PopulationHistory, got 5. It is what Population"):
        plot.population(5)
    with pytest.raises(ValueError, match="no epochs to plot"):
        plot.population(PopulationHistory({}, [None], {}, [()]))
    with pytest.raises(ValueError, match="key must be one of loss, got 'val_loss'"):
        plot.population(record(), "val_loss")
    with pytest.raises(ValueError, match="best must be"):
        plot.population(record(), best=-1)
    with pytest.raises(TypeError, match="best must be"):
        plot.population(record(), best=1.5)
    with pytest.raises(ValueError, match="yscale must be"):
        plot.population(record(), yscale="none")
    with pytest.raises(TypeError, match="ax must be"):
        plot.population(record(), ax=5)
