"""The house style: its themes, its palette, and colours that can be read."""

from __future__ import annotations

import colorsys
import io
import re
from importlib import resources

import numpy as np
import pytest

from fastnn import plot
from fastnn._figure import house_style, new_figure, panels_for, style
from fastnn._figure.labels import label_ends, note_at, spread

pytest.importorskip("matplotlib")
import matplotlib as mpl
from matplotlib.figure import Figure


@pytest.mark.parametrize(("theme", "dark"), [("light", False), ("dark", True)])
def test_a_theme_is_set_and_reset(theme, dark):
    before = dict(mpl.rcParams)
    with plot.style(theme):
        figure = new_figure()
        (ax,) = figure.axes
        assert style.theme_of(style.background_of(ax)) == theme
        assert (style.luminance(figure.get_facecolor()) < 0.1) == dark
        assert style.contrast(style.text_colour(ax), style.background_of(ax)) > 10
        cycle = [entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]]
        assert sorted(cycle) == sorted(plot.COLORS)
        assert cycle[:2] == [plot.COLORS[1], plot.COLORS[0]]  # a line is blue, which is easier to see on white
        assert not ax.spines["top"].get_visible()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("theme", "error"), [("blue", ValueError), (None, TypeError)])
def test_other_themes_are_refused(theme, error):
    with pytest.raises(error, match="theme must be one of light, dark"), plot.style(theme):
        pass


def test_the_palette_differs_for_people_with_colour_blindness():
    """In the palette as with no green receptors (H. Brettel et al., 1997, as a matrix), all pairs keep a distance."""
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = np.array([style.rgb(colour) for colour in plot.COLORS]) @ deuteranopia.T
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(len(seen))
    assert distances.min() > 0.14
    red_and_green = np.array([[1.0, 0.0, 0.0], [0.45, 0.45, 0.0]]) @ deuteranopia.T
    assert np.linalg.norm(red_and_green[0] - red_and_green[1]) < 0.35  # which tab:red and tab:green nearly are


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_one_code_for_signs_and_for_two_classes(theme):
    """Below zero has the colour of class 0 and above zero that of class 1, here and on the page of the playground."""
    with plot.style(theme):
        signed = style.signed_map(new_figure().axes[0])
    ends = np.array([signed(0.0)[:3], signed(1.0)[:3]])
    np.testing.assert_allclose(ends, [style.rgb(colour) for colour in plot.COLORS[:2]], atol=0.01)
    page = (resources.files("fastnn.playground") / "static" / "style.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"--([\w-]+): (#\w+);", page[: page.index(".fnp.dark")]))
    if theme == "dark":
        dark = page[page.index(".fnp.dark") :]
        found |= dict(re.findall(r"--([\w-]+): (#\w+);", dark[: dark.index("}")]))
    for (sign, name), here in zip((("negative", "class-0"), ("positive", "class-1")), plot.COLORS, strict=False):
        np.testing.assert_allclose(style.rgb(found[sign]), style.rgb(found[name]), atol=0.06)
        hue, other = (colorsys.rgb_to_hsv(*style.rgb(colour))[0] for colour in (found[sign], here))
        assert abs(hue - other) < 0.05


@pytest.mark.parametrize("background", ["white", "#14181E", "0.5"])
def test_labels_can_be_read(background):
    for colour in (*plot.COLORS, "white", "black"):
        made = style.readable(colour, background)
        assert style.contrast(made, background) >= (4.5 if background != "0.5" else 4.0)
    assert style.contrast(style.readable("yellow", "black"), "yellow") == 1.0  # nothing to do


def test_a_figure_follows_the_background_of_the_settings():
    with mpl.rc_context({"figure.facecolor": "black"}), house_style():
        assert style.luminance(new_figure().get_facecolor()) < 0.1
    figure = Figure(facecolor="black")
    ax = figure.add_subplot(facecolor=(1.0, 1.0, 1.0, 0.0))  # transparent: what is behind counts
    assert style.theme_of(style.background_of(ax)) == "dark"
    sub = Figure(facecolor="white").subfigures()
    sub.set_facecolor("black")
    assert style.theme_of(style.background_of(sub.subplots())) == "light"
    with panels_for("ax", ax) as (panel,):
        assert panel is ax
        assert style.luminance(mpl.rcParams["text.color"]) > 0.5


def test_axes_that_are_given_are_counted():
    axes = Figure().subplots(1, 3)
    with pytest.raises(ValueError, match=r"axes must be .* It has 3 items"), panels_for("axes", axes, n_panels=2):
        pass
    with pytest.raises(ValueError, match="axes must be 2 matplotlib"), panels_for("axes", axes[0], n_panels=2):
        pass
    with pytest.raises(ValueError, match="of three dimensions"), panels_for("ax", axes[0], projection="3d"):
        pass
    with panels_for("axes", axes[0], n_panels=2, most=3) as panels:
        assert panels == [axes[0]]


def test_places_of_labels():
    np.testing.assert_allclose(spread(np.array([0.0, 10.0]), np.array([2.0, 2.0])), [0.0, 10.0])
    np.testing.assert_allclose(spread(np.array([1.0, 1.0]), np.array([2.0, 2.0])), [0.0, 2.0])
    wanted, heights = np.array([5.0, 5.0, 5.0, 40.0, 6.0]), np.array([2.0, 4.0, 2.0, 2.0, 2.0])
    placed = spread(wanted, heights)
    order = np.argsort(placed)
    gaps = np.diff(placed[order])
    assert np.all(gaps >= (heights[order][1:] + heights[order][:-1]) / 2 - 1e-9)
    assert placed[3] == 40.0
    assert placed[[0, 1, 2, 4]].mean() == pytest.approx(5.25)


def overlaps(figure):
    """Pairs of texts of a figure whose boxes overlap by more than a pixel, after drawing."""
    figure.savefig(io.BytesIO())
    texts = [text for ax in figure.axes for text in ax.texts if text.get_text()]
    boxes = [text.get_window_extent().padded(-1.0) for text in texts]
    return [
        (texts[a].get_text(), texts[b].get_text())
        for a in range(len(texts)) for b in range(a) if boxes[a].overlaps(boxes[b])
    ]  # fmt: skip


def test_labels_at_ends_do_not_overlap():
    with plot.style():
        figure = new_figure()
        (ax,) = figure.axes
        ends = [(1.0, 0.5), (1.0, 0.5), (1.0, 0.51), (1.0, 2.0)]
        ax.set(xlim=(0, 1), ylim=(0, 1))
        label_ends(ax, ends, [*"abc", "off\nlimits"], plot.COLORS[:4])
    assert len(ax.texts) == 4
    assert overlaps(figure) == []
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in ax.texts)
    assert "a" in [text.get_text() for text in ax.texts]
    plain = Figure().subplots()
    label_ends(plain, ends[:2], ["a", "b"], plot.COLORS[:2])  # no layout makes room
    assert not plain.texts
    assert [text.get_text() for text in plain.get_legend().get_texts()] == ["a", "b"]


def test_a_note_keeps_clear_of_the_curves():
    with plot.style():
        figure = new_figure()
        (ax,) = figure.axes
        ax.plot([0.0, 5.0, 10.0], [1.0, 1.0, 1.0])
        ax.plot([0.0, 5.0, 10.0], [1.0, 1.0, 0.0])
        ax.set(xlim=(0, 10), ylim=(0, 1))
        note_at(ax, 5.0, "here")
    (note,) = ax.texts
    figure.savefig(io.BytesIO())
    box = ax.transData.inverted().transform_bbox(note.get_window_extent())
    curves = [np.interp([box.x0, box.x1], line.get_xdata(), line.get_ydata()) for line in ax.lines[:2]]
    assert not any(values.min() < box.y1 and values.max() > box.y0 for values in curves)
    assert box.x0 >= 0.0
    assert box.x1 <= 10.0
