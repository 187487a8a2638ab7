"""Pictures of nets, data and trainings by matplotlib, which the first picture imports.

It is an extra: ``pip install "fastnn-mlp[plot]"``.

Figures are created without pyplot, so no window opens and no list of open figures grows: display one in a notebook as
the result of a cell, or write it with its method `savefig`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastnn._figure.labels import label_ends
from fastnn._figure.style import COLORS as _COLORS
from fastnn._figure.style import style
from fastnn.plot._activations import activations
from fastnn.plot._boundary import decision_boundary
from fastnn.plot._confusion import confusion
from fastnn.plot._curves import learning_curves
from fastnn.plot._hidden_space import hidden_space
from fastnn.plot._learning_rates import learning_rates
from fastnn.plot._loss_surface import loss_surface
from fastnn.plot._network import network
from fastnn.plot._population import population
from fastnn.plot._range_test import range_test
from fastnn.plot._search import search
from fastnn.plot._weights import weights

if TYPE_CHECKING:
    from fastnn.plot._animation import Animation as Animation
    from fastnn.plot._boundary_animation import boundary_animation as boundary_animation
    from fastnn.plot._deformation_animation import deformation_animation as deformation_animation
    from fastnn.plot._descent_animation import descent_animation as descent_animation
    from fastnn.plot._hidden_space_animation import hidden_space_animation as hidden_space_animation

#: The palette (M. Okabe, K. Ito, 2008): orange, blue, green, vermilion, sky blue, purple, yellow, as texts. Class k has
#: colour k; values and weights below zero are orange, those above zero blue.
COLORS = _COLORS

__all__ = [
    "COLORS", "Animation", "activations", "boundary_animation", "confusion", "decision_boundary",
    "deformation_animation", "descent_animation", "hidden_space", "hidden_space_animation", "label_ends",
    "learning_curves", "learning_rates", "loss_surface", "network", "population", "range_test", "search", "style",
    "weights",
]  # fmt: skip
#: Names of films, which are imported on first access: most programs make none.
_FILMS = ("Animation", "boundary_animation", "deformation_animation", "descent_animation", "hidden_space_animation")


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import a film on first access."""
    if name in _FILMS:
        return getattr(importlib.import_module(f"fastnn.plot._{name.lower()}"), name)
    raise AttributeError(f"module 'fastnn.plot' has no attribute {name!r}")
