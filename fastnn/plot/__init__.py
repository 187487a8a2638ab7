"""Pictures of nets, data and trainings by matplotlib (``pip install "fastnn[plot]"``), which the first picture imports.

Figures are created without pyplot, so no window opens and no list of open figures grows: display one in a notebook as
the result of a cell, or write it with its method `savefig`.
"""

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
from fastnn.plot._range_test import range_test
from fastnn.plot._weights import weights

#: The palette (M. Okabe, K. Ito, 2008): blue, orange, green, vermilion, sky blue, purple, yellow, as texts. Class k has
#: colour k; values and weights below zero are blue, those above zero orange.
COLORS = _COLORS

__all__ = [
    "COLORS", "activations", "confusion", "decision_boundary", "hidden_space", "learning_curves", "learning_rates",
    "loss_surface", "network", "range_test", "style", "weights",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
