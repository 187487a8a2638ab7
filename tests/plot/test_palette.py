"""Pictures in few colours: those of the house style stay what they are, however small their areas."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fastnn import plot
from fastnn._figure.palette import Palette, house_colours
from fastnn._figure.style import rgb

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")


def stored(pixels, kept, most):
    """Pixels of a picture as a PNG in few colours holds them, and its number of bytes."""
    file = io.BytesIO()
    Palette(pixels, kept, most).apply(pixels).save(file, "png")
    with Image.open(file) as image:
        assert image.mode == "P"
        return np.asarray(image.convert("RGB")), file.tell()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_of_the_house(theme):
    with plot.style(theme):
        figure = plot.activations(["relu", "tanh"])
    file = io.BytesIO()
    figure.savefig(file)
    with Image.open(file) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 256
    made, size = stored(drawn, house_colours(), 256)
    assert size < file.tell() / 2
    for colour in (figure.get_facecolor(), *plot.COLORS[:2]):
        where = (drawn == np.round(255 * rgb(colour))).all(axis=-1)
        assert where.sum() > 50
        np.testing.assert_array_equal(made[where], drawn[where])
    assert np.abs(made.astype(int) - drawn).mean() < 1.0
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= 256


def test_one_pixel_of_a_kept_colour_among_all_others():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    pixels[5, 7] = kept = 1, 2, 3
    made, _ = stored(pixels, [np.array(kept) / 255, (0.5, 0.5, 0.501)], 16)
    assert tuple(made[5, 7]) == kept
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= 16


@pytest.mark.parametrize("kept", [[(0.0, 0.0, 0.0)], [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)], [(0.2, 0.2, 0.2)]])
def test_one_colour(kept):
    pixels = np.zeros((3, 4, 3), np.uint8)
    np.testing.assert_array_equal(stored(pixels, kept, 8)[0], pixels)
