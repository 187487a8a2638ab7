"""Candidates: settings, and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastnn.search._space import Settings


@dataclass
class Candidate:
    """Settings and what became of them."""

    settings: Settings
    bracket: int
    #: (epochs, mean score, its standard deviation over the folds) after each rung; NaN where a net diverged.
    scores: list[tuple[int, float, float]] = field(default_factory=list)
    #: Of all folds.
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        return self.scores[-1][0] if self.scores else 0

    @property
    def score(self) -> float:
        return self.scores[-1][1] if self.scores else math.nan


def place(candidate: Candidate, less: bool) -> tuple[bool, int, float]:
    """Return the key that sorts candidates, the best first."""
    score = candidate.score
    return math.isnan(score), -candidate.epochs, 0.0 if math.isnan(score) else score if less else -score
