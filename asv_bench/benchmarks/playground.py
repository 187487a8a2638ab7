"""The playground without a browser: milliseconds per frame of the net 2-4-2-1, training, losses and maps included."""

from __future__ import annotations

import json
from typing import Any

from fastnn.playground.session import Session

from .timing import best


class Frame:
    """A frame after some epochs of 25 updates; 60 frames per second leave 16.7 ms."""

    params = ((1, 20, 50, 200), ("none", "L1"))
    param_names = ("epochs", "regularization")
    unit = "ms"

    def setup(self, epochs: int, regularization: str) -> None:
        self.session = Session(lambda message, buffers: json.dumps(message))
        settings: dict[str, Any] = {"seed": "1", "epochsPerFrame": epochs, "regularization": regularization}
        self.session.handle({"type": "hello", "state": settings | {"regularizationRate": 0.001}})
        self.session.handle({"type": "play"})

    def track_frame(self, epochs: int, regularization: str) -> float:
        def frames(count: int) -> None:
            for _ in range(count):
                self.session.handle({"type": "next"})

        return 1e3 * best(frames)
