"""Films as GIF."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._figure.palette import Palette, Pixels

#: Colours of a film: those of text, points and areas, with their mixtures.
_COLOURS = 96
#: Frames that the colours are chosen from.
_SAMPLES = 8
#: Seconds that the last frame stays.
_STAY = 1.5


def write_gif(
    path: str | os.PathLike[str], frame: Callable[[int], Pixels], n_frames: int, fps: int, kept: Sequence[Any]
) -> None:
    """Write a film that repeats. One palette for all frames: only what moves is stored, and no colour flickers.

    Parameters
    ----------
    path : path
    frame : callable
        ``frame(k)`` returns the pixels of frame k, (height, width, 3).
    n_frames : int
    fps : int
        Frames per second.
    kept : sequence of (3,) array-like
        Colours that are to be exact, as for `Palette`.
    """
    samples = {int(k): frame(int(k)) for k in np.linspace(0, n_frames - 1, _SAMPLES)}
    palette = Palette(np.stack(list(samples.values())), kept, _COLOURS)
    images = [palette.apply(samples[k] if k in samples else frame(k)) for k in range(n_frames)]
    each = round(1000 / fps)
    durations = [each] * (n_frames - 1) + [each + round(1000 * _STAY)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
