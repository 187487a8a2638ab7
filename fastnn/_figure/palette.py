"""Pictures of pixels in few colours: those of the house style exactly, and their mixtures at the edges of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._figure.style import COLORS, THEMES, readable, rgb

Pixels = npt.NDArray[np.uint8]


def house_colours() -> list[npt.NDArray[np.float64]]:
    """Return the colours of points, lines and texts on light and on dark background; red, green, blue from 0 to 1."""
    found = list(map(rgb, COLORS))
    for background, text, lines, *_ in THEMES.values():
        found += [rgb(background), rgb(text), rgb(lines)]
        found += [readable(colour, background) for colour in (*COLORS, lines)]
    return found


class Palette:
    """Colours for pictures of Pillow.

    Parameters
    ----------
    pixels : (..., 3) ndarray of uint8
        Of pictures that it is for.
    kept : sequence of (3,) array-like
        Red, green and blue, from 0 to 1, of the colours that are to be exact. Those that occur take a place each; the
        other places are for the mixtures, by the median cut of all other pixels.
    most : int
        Largest number of colours, at most 256.
    """

    def __init__(self, pixels: Pixels, kept: Sequence[Any], most: int) -> None:
        from PIL import Image

        pixels = pixels.reshape(-1, 3)
        codes, wanted = _codes(pixels), _codes(np.round(255.0 * np.asarray(kept, np.float64)))
        self._kept = [int(code) for code in dict.fromkeys(wanted.tolist()) if code in codes]
        mixtures = pixels[~np.isin(codes, self._kept)]
        colours = [code.to_bytes(3, "big") for code in self._kept]
        if len(mixtures):
            row = Image.fromarray(mixtures[None])
            chosen = row.quantize(most - len(self._kept), method=Image.Quantize.MEDIANCUT).getpalette() or []
            colours.append(bytes(chosen))
        self._colours = b"".join(colours)
        self._image = Image.new("P", (1, 1))
        self._image.putpalette(self._colours)

    def apply(self, pixels: Pixels) -> Any:
        """Return pixels (height, width, 3) as an image of Pillow in these colours."""
        from PIL import Image

        places = np.array(Image.fromarray(pixels).quantize(palette=self._image, dither=Image.Dither.NONE))
        codes = _codes(pixels)  # Pillow rounds colours down to multiples of 4 before it looks them up
        for place, code in enumerate(self._kept):
            places[codes == code] = place
        image = Image.fromarray(places)
        image.putpalette(self._colours)
        return image


def _codes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return colours (..., 3) as one number each."""
    wide = pixels.astype(np.uint32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])
