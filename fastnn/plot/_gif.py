"""Films as GIF: one palette for all frames, which holds the colours of the house style exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: Colours of a film: those of text, points and areas, with their mixtures.
_COLOURS = 96
#: Frames that the colours are chosen from.
_SAMPLES = 8
#: Seconds that the last frame stays.
_STAY = 1.5

Pixels = npt.NDArray[np.uint8]


def write_gif(
    path: str | os.PathLike[str], frame: Callable[[int], Pixels], n_frames: int, fps: int, kept: Sequence[Any]
) -> None:
    """Write a film that repeats. Of a frame only what moves is stored, and no colour flickers.

    Parameters
    ----------
    path : path
    frame : callable
        ``frame(k)`` returns the pixels of frame k, (height, width, 3).
    n_frames : int
    fps : int
        Frames per second.
    kept : sequence of (3,) array-like
        Red, green and blue, from 0 to 1, of the colours that are to be exact. Those that occur take a place of the
        palette each; the other places are for the mixtures, by the median cut of all other pixels.
    """
    samples = {int(k): frame(int(k)) for k in np.linspace(0, n_frames - 1, _SAMPLES)}
    palette = _Palette(np.concatenate([pixels.reshape(-1, 3) for pixels in samples.values()]), kept)
    images = [palette.apply(samples[k] if k in samples else frame(k)) for k in range(n_frames)]
    each = round(1000 / fps)
    durations = [each] * (n_frames - 1) + [each + round(1000 * _STAY)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


class _Palette:
    """At most `_COLOURS` colours for pixels (n, 3), the kept ones that occur among them first."""

    def __init__(self, pixels: Pixels, kept: Sequence[Any]) -> None:
        from PIL import Image

        codes, numbers = _codes(pixels), _codes(np.round(255.0 * np.asarray(kept, np.float64)).astype(np.uint8))
        self._kept = [int(number) for number in dict.fromkeys(numbers.tolist()) if number in codes]
        mixtures = pixels[~np.isin(codes, self._kept)]
        colours = [number.to_bytes(3, "big") for number in self._kept]
        if len(mixtures):
            most = _COLOURS - len(self._kept)
            chosen = Image.fromarray(mixtures[None]).quantize(most, method=Image.Quantize.MEDIANCUT).getpalette() or []
            colours.append(bytes(chosen))
        self._colours = b"".join(colours)
        self._image = Image.new("P", (1, 1))
        self._image.putpalette(self._colours)

    def apply(self, pixels: Pixels) -> Any:
        """Return pixels (height, width, 3) as an image of Pillow in these colours."""
        from PIL import Image

        places = np.array(Image.fromarray(pixels).quantize(palette=self._image, dither=Image.Dither.NONE))
        codes = _codes(pixels)  # Pillow rounds colours down to multiples of 4 before it looks them up
        for place, number in enumerate(self._kept):
            places[codes == number] = place
        image = Image.fromarray(places)
        image.putpalette(self._colours)
        return image


def _codes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return colours (..., 3) as one number each."""
    wide = pixels.astype(np.uint32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])
