"""Plots: content of the figures, and that the model is not changed."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from driver import run_python
from models import bits

import fastnn
from fastnn import plot

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 3))
Y = X @ [[1.0], [2.0], [0.5]] + 0.1 * RNG.standard_normal((60, 1))


def line(**options):
    """Linear regression of one feature: a weight and a bias."""
    return fastnn.Model([], loss="squared_error", optimizer=fastnn.SGD(), seed=1, **options)


def names_of(panel):
    """The labels of the three trainings, from the lowest rate."""
    return [curve.get_label() for curve in panel.lines[:3]]


def net(dtype="float32"):
    return fastnn.Model([5, 1], loss="squared_error", optimizer=fastnn.Adam(), seed=1, dtype=dtype)


def test_found_rates_plot_themselves():
    found = net().lr_find(X, Y)
    figure = found.plot()
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    assert ax.get_xscale() == ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), found.smoothed)
    marks = {"constant rate": (found.constant, found.learning_rate)}
    marks["peak of OneCycle"] = (found.one_cycle, found.max_learning_rate)
    lines = {curve.get_label(): curve for curve in ax.lines}
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == list(lines)
    colours = set()
    for name, (trials, best) in marks.items():
        curve, star = lines[f"after 20 epochs: {name}"], lines[f"{name}: {best:.2g}"]
        np.testing.assert_array_equal(curve.get_xydata(), trials[np.isfinite(trials[:, 1])])
        # The mark is at the lowest point of its curve, and in its colour.
        lowest = curve.get_xydata()[curve.get_ydata().argmin()]
        assert tuple(star.get_xydata()[0]) == tuple(lowest) == (best, trials[:, 1].min())
        assert star.get_color() == curve.get_color()
        colours.add(star.get_color())
        low, high = ax.get_ylim()
        assert low < lowest[1] < high
    assert len(colours) == 2
    figure.savefig(io.BytesIO())


def test_found_rates_of_a_loss_below_zero_plot_themselves():
    model = fastnn.Model([5, 2], loss="gaussian_nll", seed=1)
    found = model.lr_find(X, 0.01 * Y, epochs=40)
    assert found.constant[:, 1].min() < 0
    (ax,) = found.plot().axes
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < found.constant[:, 1].min()
    ax.figure.savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:no training of 20 epochs:UserWarning")
def test_a_search_without_recommendation_plots_itself_too():
    found = net().lr_find(X, Y, start=1e37, end=1e38, steps=10)
    ax = Figure().subplots()
    assert found.plot(ax=ax) is ax.figure
    ax.figure.savefig(io.BytesIO())


def test_a_line_is_shown_by_its_weight_and_bias():
    model = line(dtype="float64")
    figure = plot.learning_rates(model, X[:, :1], Y, epochs=15, batch_size=None)
    left, right = figure.axes[:2]
    assert not model.built
    assert [name.split(":")[0] for name in names_of(left)] == ["too low", "just right", "too high"]
    assert [text.get_text() for text in left.texts] == names_of(left)
    slow, good, wild = (curve.get_ydata() for curve in left.lines)
    assert slow[0] == good[0] == wild[0]
    assert good[-1] < slow[-1] < slow[0] <= wild[-1]
    assert left.get_yscale() == "log"
    assert (right.get_xlabel(), right.get_ylabel()) == ("weight", "bias")
    # The path is that of the weights: a training by hand with the rate in the legend's words.
    trained = line(dtype="float64").build(1, 1)
    start = [trained.weights[0].item(), trained.biases[0].item()]
    path = right.lines[1].get_xydata()
    np.testing.assert_allclose(path[0], start)
    solution = np.linalg.lstsq(np.column_stack([X[:, 0], np.ones(60)]), Y[:, 0])[0]
    np.testing.assert_allclose(path[-1], solution, atol=0.05)
    assert len(path) == 16
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most_steps", [3000, 20])
def test_just_right_ends_lowest(seed, most_steps, monkeypatch):
    """Also where the rates are compared by shorter trainings than those of the figure."""
    monkeypatch.setattr(fastnn.lr_finder, "MOST_STEPS", most_steps)
    model = fastnn.Model([16, 1], loss="squared_error", optimizer=fastnn.Adam(), seed=seed)
    left, *_ = plot.learning_rates(model, X, Y, epochs=10).axes
    assert [curve.get_label().split(":")[0] for curve in left.lines] == ["too low", "just right", "too high"]
    slow, good, wild = (curve.get_ydata()[-1] for curve in left.lines)
    assert good < min(slow, wild)
    if most_steps == 3000:
        found = model.lr_find(X, Y, epochs=10)
        assert good == found.constant[:, 1].min()


def test_a_recommended_rate_that_is_not_the_best_gives_way(monkeypatch):
    """Begin far too low and far too high: the one that ends lowest is called just right."""
    found = net().lr_find(X, Y, epochs=5)
    for wrong in (1e-5, 3.0):
        mistaken = dataclasses.replace(found, learning_rate=wrong)
        monkeypatch.setattr(fastnn.Model, "lr_find", lambda *given, mistaken=mistaken, **options: mistaken)
        left, *_ = plot.learning_rates(net(), X, Y, epochs=5).axes
        ends = [curve.get_ydata()[-1] for curve in left.lines]
        assert left.lines[1].get_label().startswith("just right: ")
        assert left.lines[1].get_label() != f"just right: {wrong:.2g}"
        assert ends[1] == min(ends)


def test_given_rates_are_named_by_what_they_do():
    for rates, names in (
        ((1e-3, 1e-2, 5.0), ["too low", "just right", "too high"]),
        ((1e-5, 1e-4, 1e-2), ["lowest", "middle", "highest"]),
    ):
        left, *_ = plot.learning_rates(net(), X, Y, rates=rates, epochs=5).axes
        assert [curve.get_label().split(":")[0] for curve in left.lines] == names
        ends = [curve.get_ydata()[-1] for curve in left.lines]
        assert (ends[1] == min(ends)) == (names[1] == "just right")


@pytest.mark.parametrize("trained", [False, True])
def test_a_net_is_shown_on_a_plane_and_left_alone(trained, dtype):
    model = net(dtype)
    if trained:
        model.fit(X, Y, epochs=2, verbose=False)
    before = bits(model)
    figure = plot.learning_rates(model, X, Y, rates=[1e-4, 1e-2, 3.0], epochs=4)
    assert bits(model) == before
    left, right = figure.axes[:2]
    assert [len(curve.get_ydata()) for curve in left.lines] == [5, 5, 5]
    assert right.get_xlabel() == "weights, from start to lowest loss"
    assert right.get_title(loc="left") == "slice: loss and the paths of the weights"
    assert figure.axes[-1].get_ylabel() == "loss"  # the colour bar
    for curve, rate in zip(left.lines, (1e-4, 1e-2, 3.0), strict=True):
        assert curve.get_label().endswith(f": {rate:.2g}")
    if trained:
        assert left.lines[0].get_ydata()[0] == pytest.approx(model.evaluate(X, Y)["loss"])
    starts = [path.get_xydata()[0] for path in right.lines[:3]]
    np.testing.assert_allclose(starts, [starts[0]] * 3, atol=1e-6)
    figure.savefig(io.BytesIO())


def test_the_curves_are_those_of_fits():
    figure = plot.learning_rates(net(), X, Y, rates=(1e-3, 1e-2, 1e-1), epochs=3, batch_size=10)
    for curve, rate in zip(figure.axes[0].lines, (1e-3, 1e-2, 1e-1), strict=True):
        twin = net().build(3)
        twin.optimizer = fastnn.Adam(rate)
        losses = [twin.evaluate(X, Y)["loss"]]
        for _ in range(3):
            twin.fit(X, Y, batch_size=10, verbose=False)
            losses.append(twin.evaluate(X, Y)["loss"])
        np.testing.assert_allclose(curve.get_ydata(), losses, rtol=1e-6)


def test_divergence_is_shown_and_not_raised(dtype):
    model = line(dtype=dtype)
    figure = plot.learning_rates(model, X, Y, rates=[1e-3, 0.1, 1e30 if dtype == np.float32 else 1e200], epochs=5)
    wild = figure.axes[0].lines[2]
    assert "diverged in epoch 1" in wild.get_label()
    assert len(wild.get_ydata()) == 2
    assert wild.get_ydata()[-1] > figure.axes[0].get_ylim()[1]
    low, high = figure.axes[0].get_ylim()
    assert low < figure.axes[0].lines[1].get_ydata()[-1] < high
    figure.savefig(io.BytesIO())


def test_one_weight_is_a_curve():
    model = fastnn.Model([fastnn.Dense(1, use_bias=False)], loss="squared_error", optimizer="sgd", seed=1)
    figure = plot.learning_rates(model, X[:, 1:2], Y, epochs=10)
    right = figure.axes[1]
    assert (right.get_xlabel(), right.get_ylabel()) == ("weight", "loss")
    np.testing.assert_allclose(right.lines[2].get_ydata(), figure.axes[0].lines[1].get_ydata())
    figure.savefig(io.BytesIO())


def test_classes_weights_lists_and_given_axes():
    model = fastnn.Model([4, 3], loss="softmax_crossentropy", seed=0)
    axes = Figure().subplots(1, 3)
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    figure = plot.learning_rates(
        model, X.tolist(), labels.tolist(), epochs=3, sample_weight=np.arange(60.0).tolist(), axes=axes[1:]
    )
    assert figure is axes[0].figure
    assert not axes[0].lines
    assert len(axes[1].lines) == 3
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rates": [0.1, 0.2]}, "rates must be three rates"),
        ({"rates": "abc"}, "rates must be three rates"),
        ({"rates": [0.1, 0.1, 0.2]}, "rates must be above 0 and in rising order, got"),
        ({"rates": [0.0, 0.1, 0.2]}, "rates must be above 0 and in rising order, got"),
        ({"rates": [0.1, 0.2, "a"]}, r"rates\[2\] must be a number"),
        ({"epochs": 0}, "epochs must be .* got 0"),
        ({"batch_size": 0}, "batch_size must be .* got 0"),
        ({"axes": 5}, "axes must be matplotlib.axes.Axes"),
        ({"axes": Figure().subplots(1, 3)}, "axes must be .* It has 3 items"),
        ({"axes": Figure().subplots()}, "axes must be 2 matplotlib.axes.Axes"),
    ],
)
def test_wrong_settings(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.learning_rates(net(), X, Y, **options)


def test_start_and_lowest_loss_lie_in_the_slice():
    """The map is exact at the two points that are marked."""
    model = net("float64")
    figure = plot.learning_rates(model, X, Y, rates=[1e-4, 1e-2, 3.0], epochs=8)
    left, right = figure.axes[:2]
    start, lowest = (line.get_xydata()[0] for line in right.lines[-2:])
    assert lowest == pytest.approx([0.0, 0.0], abs=1e-9)
    assert start[0] < 0.0
    assert start[1] == pytest.approx(0.0, abs=1e-9)
    good = left.lines[1].get_ydata()
    for place, loss in ((start, good[0]), (lowest, good.min())):
        between = [path for path in right.collections[0].get_paths()]
        levels = right.collections[0].levels if hasattr(right.collections[0], "levels") else None
        assert between
        assert levels is not None
        band = int(np.searchsorted(levels, loss)) - 1
        inside = [k for k, path in enumerate(between) if len(path.vertices) and path.contains_point(place)]
        assert band in inside or min(abs(levels - loss)) < 0.05 * np.ptp(levels)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_are_trained_too():
    pytest.importorskip("sklearn")
    labels = np.array(["a", "b"])[(Y[:, 0] > 0).astype(int)]
    fitted = fastnn.MLPClassifier((4,), max_iter=1, random_state=0).fit(X, labels)
    before = [w.copy() for w in fitted.coefs_]
    left = plot.learning_rates(fitted, X, labels, rates=[1e-4, 1e-2, 3.0], epochs=2).axes[0]
    assert [len(curve.get_ydata()) for curve in left.lines] == [3, 3, 3]
    assert all(np.array_equal(a, b) for a, b in zip(before, fitted.coefs_, strict=True))


def test_a_model_that_has_nothing_to_learn():
    model = line(dtype="float64")
    with (
        pytest.warns(UserWarning, match="no training of 2 epochs"),
        pytest.raises(ValueError, match=r"no good one was found: LearningRates\(no recommendation"),
    ):
        plot.learning_rates(model, np.zeros((20, 1)), np.zeros(20), epochs=2)


def test_a_loss_that_is_not_finite_from_the_start():
    with pytest.raises(ValueError, match="the loss is not finite before any training"):
        plot.learning_rates(net(), 1e30 * X, 1e30 * Y, rates=[0.1, 0.2, 0.3], epochs=2)


def test_without_matplotlib():
    code = """
import sys
sys.modules["matplotlib"] = None
import fastnn
try:
    fastnn.plot.learning_rates(fastnn.Model([1], loss="squared_error"), None, None)
except ImportError as error:
    print(error)
"""
    assert run_python(code).strip() == 'plots need matplotlib, which is not installed: pip install "fastnn-mlp[plot]".'


@pytest.mark.slow
def test_pyplot_is_not_needed():
    code = """
import sys
import numpy as np
import fastnn
X = np.arange(20.0)[:, None]
figure = fastnn.Model([1], loss="squared_error", seed=0).lr_find(X, X).plot()
print(type(figure).__name__, "matplotlib.pyplot" in sys.modules)
"""
    assert run_python(code).split() == ["NotebookFigure", "False"]


def test_all_figures_show_themselves_in_notebooks():
    found = net().lr_find(X, Y)
    rates = plot.learning_rates(net(), X, Y, rates=(1e-3, 1e-2, 1e-1), epochs=2)
    for figure in (found.plot(), plot.range_test(found), rates):
        assert figure._repr_png_().startswith(b"\x89PNG")
