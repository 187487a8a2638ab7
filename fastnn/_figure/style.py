"""The house style of all pictures: palette, light and dark, and colours that can be read on their background."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import canonical_name

#: Colours that differ for people with any colour blindness, too (M. Okabe, K. Ito, "Color universal design", 2008):
#: orange, blue, green, vermilion, sky blue, purple, yellow. Class k has colour k. Values below zero are orange,
#: values above zero blue.
COLORS = ("#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")

#: Background, text, lines of the frame, grid, and the neutral middle of maps with two signs.
THEMES = {
    "light": ("#FFFFFF", "#1F2328", "#8C959F", "#E1E4E8", "#F2F2F2"),
    "dark": ("#14181E", "#E6EDF3", "#7D8590", "#30363D", "#262C34"),
}
#: Smallest ratio of contrast of text (W3C, "Web content accessibility guidelines" 2.2, 1.4.3).
_CONTRAST = 4.5

RGB = npt.NDArray[np.float64]


def parameters(theme: str) -> dict[str, Any]:
    """Return the settings (rcParams) of a theme, "light" or "dark"."""
    from cycler import cycler

    background, text, frame, grid, _ = THEMES[theme]
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": frame,
        "axes.facecolor": background,
        "axes.grid": False,
        "axes.labelcolor": text,
        "axes.labelsize": 11.0,
        "axes.linewidth": 0.8,
        "axes.prop_cycle": cycler(color=line_colours(len(COLORS))),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": text,
        "axes.titlelocation": "left",
        "axes.titlepad": 8.0,
        "axes.titlesize": 12.0,
        "axes.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "figure.dpi": 100.0,
        "figure.facecolor": background,
        "figure.titlesize": 13.0,
        "figure.titleweight": "bold",
        "font.size": 11.0,
        "grid.color": grid,
        "grid.linewidth": 0.8,
        "image.cmap": "viridis",
        "legend.edgecolor": grid,
        "legend.facecolor": background,
        "legend.fontsize": 10.0,
        "legend.framealpha": 0.9,
        "legend.frameon": False,
        "legend.labelcolor": text,
        "lines.linewidth": 2.0,
        "lines.markersize": 5.0,
        "patch.edgecolor": frame,
        "savefig.dpi": "figure",
        "savefig.edgecolor": "auto",
        "savefig.facecolor": "auto",
        "text.color": text,
        "xtick.color": frame,
        "xtick.labelcolor": text,
        "xtick.labelsize": 10.0,
        "ytick.color": frame,
        "ytick.labelcolor": text,
        "ytick.labelsize": 10.0,
    }


@contextlib.contextmanager
def style(theme: str = "light") -> Iterator[None]:
    """Draw in the house style: a context for pictures of one's own, and the choice between light and dark for all.

    The functions of `fastnn.plot` use the style anyway: dark where the axes, or for a new figure the settings of
    matplotlib, have a dark background.

    Parameters
    ----------
    theme : str
        "light" or "dark".

    Yields
    ------
    None

    Raises
    ------
    ValueError, TypeError
        If there is no such theme.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fastnn
    >>> with fastnn.plot.style("dark"):
    ...     figure = fastnn.plot.activations(["relu"])
    >>> figure.get_facecolor() < (0.2, 0.2, 0.2)
    True
    """
    name = canonical_name("theme", theme, tuple(THEMES), {})
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ImportError(MISSING) from None
    with rc_context(parameters(name)):
        yield


MISSING = 'plots need matplotlib, which is not installed: pip install "fastnn-mlp[plot]".'


def rgb(colour: Any) -> RGB:
    """Return red, green and blue of a colour, from 0 to 1; (3,)."""
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour, 0 for black and 1 for white (the W3C's definition)."""
    linear = rgb(colour)
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: Any, other: Any) -> float:
    """Return the ratio of contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def theme_of(background: Any) -> str:
    """Return the theme that suits a background: "dark" if white text is easier to read on it than black text."""
    return "dark" if contrast(background, "white") > contrast(background, "black") else "light"


def background_of(ax: Any) -> RGB:
    """Return the colour behind what is drawn in axes; (3,)."""
    from matplotlib.colors import to_rgba

    colour = np.ones(3)
    for face in (ax.figure.figure.get_facecolor(), ax.figure.get_facecolor(), ax.get_facecolor()):
        *front, alpha = to_rgba(face)
        colour = (1.0 - alpha) * colour + alpha * np.array(front)
    return colour


def mix(one: Any, other: Any, share: float) -> RGB:
    """Return a colour between two: `share` of the other one; (3,)."""
    return (1.0 - share) * rgb(one) + share * rgb(other)


def readable(colour: Any, background: Any) -> RGB:
    """Return a colour for text: the given one, as far towards black or white as the background requires; (3,)."""
    end = "white" if theme_of(background) == "dark" else "black"
    shares = np.linspace(0.0, 1.0, 21)
    return next(
        (made for made in (mix(colour, end, share) for share in shares) if contrast(made, background) >= _CONTRAST),
        rgb(end),
    )


def text_colour(ax: Any) -> str:
    """Return the colour of text for the background of axes."""
    return THEMES[theme_of(background_of(ax))][1]


def muted(ax: Any) -> str:
    """Return the colour of what is of less weight, such as guide lines, for the background of axes."""
    return THEMES[theme_of(background_of(ax))][2]


def signed_map(ax: Any) -> Any:
    """Return the colour map for values of two signs: orange below zero, blue above, the middle near the background."""
    from matplotlib.colors import LinearSegmentedColormap

    middle = THEMES[theme_of(background_of(ax))][4]
    return LinearSegmentedColormap.from_list("signed", [COLORS[0], middle, COLORS[1]], N=255)


def class_colours(n: int) -> list[str]:
    """Return a colour for each of n classes: those of the palette, then further ones."""
    if n <= len(COLORS):
        return list(COLORS[:n])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    further = colormaps["turbo"](np.linspace(0.05, 0.95, n - len(COLORS)))
    return [*COLORS, *(to_hex(colour) for colour in further)]


def line_colours(n: int) -> list[str]:
    """Return a colour for each of n lines: those of classes, but blue first, which is easier to see on white."""
    orange, blue, *others = class_colours(max(n, 2))
    return [blue, orange, *others][:n]


def soft(colours: Sequence[Any], background: Any, share: float = 0.35) -> RGB:
    """Return colours for areas behind points: mostly the background; (n, 3)."""
    return np.array([mix(background, colour, share) for colour in colours])
