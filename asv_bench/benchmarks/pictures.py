"""Pictures by matplotlib: milliseconds per picture or frame, down to its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import plot
from fastnn.callbacks import Snapshots

from .timing import median

#: Rows that the nets are trained with, and drawn over.
ROWS = 400


class _Trained:
    """A net of 16 and 2 hidden units, the last of which are points of a plane, after 20 epochs, and its rows."""

    def train(self, n_features: int, n_classes: int) -> None:
        generator = np.random.default_rng(0)
        self.X = generator.uniform(-1.0, 1.0, (ROWS, n_features))
        self.y = generator.integers(0, n_classes, ROWS)
        self.snapshots = Snapshots()
        layers = [fastnn.Dense(16, "tanh"), fastnn.Dense(2, "tanh"), n_classes]
        self.model = fastnn.Model(layers, loss="softmax_crossentropy", seed=0)
        self.model.fit(self.X, self.y, epochs=20, callbacks=self.snapshots, verbose=False)


def _pixels(figure: Any) -> None:
    """Draw a figure, its layout included."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()


class Pictures(_Trained):
    """A new figure: `decision_boundary` of two features, `network` of 2 (with maps) or 16 features."""

    params = (["decision_boundary", "network"], [2, 16], [2, 5])
    param_names = ("picture", "features", "classes")
    skip_params = (("decision_boundary", 16, 2), ("decision_boundary", 16, 5))
    unit = "ms"

    def setup(self, picture: str, features: int, classes: int) -> None:
        self.train(features, classes)
        arguments = (self.model, self.X) if picture == "network" else (self.model, self.X, self.y)

        def draw(count: int) -> None:
            for _ in range(count):
                _pixels(getattr(plot, picture)(*arguments))

        self.draw = draw

    def track_picture(self, picture: str, features: int, classes: int) -> float:
        return 1e3 * median(self.draw)


class Frames(_Trained):
    """A frame of a film, whose figure exists."""

    params = (["boundary", "hidden_space", "descent", "deformation"],)
    param_names = ("film",)
    unit = "ms"

    def setup(self, film: str) -> None:
        self.train(2, 2)
        record = () if film == "deformation" else (self.snapshots,)
        self.film = getattr(plot, f"{film}_animation")(self.model, *record, self.X, self.y)

    def track_frame(self, film: str) -> float:
        self.frame = 0

        def draw(count: int) -> None:
            for _ in range(count):
                self.frame = (self.frame + 1) % len(self.film)
                _pixels(self.film.draw(self.frame))

        return 1e3 * median(draw)
