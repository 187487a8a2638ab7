"""Brackets: how many candidates are trained, and for how many epochs."""

from __future__ import annotations

import math


def n_rungs(ratio: float, factor: int) -> int:
    """Return how often a number can be divided by the factor before it is below 1."""
    return math.floor(math.log(ratio) / math.log(factor) + 1e-9)


def brackets_of(method: str, n: int, min_epochs: int, max_epochs: int, factor: int) -> list[list[tuple[int, int]]]:
    """Return for each bracket its rungs: numbers of candidates and of epochs."""
    last = n_rungs(max_epochs / min_epochs, factor)
    if method == "random":
        return [[(n, max_epochs)]]
    starts = [(n, last)]
    if method == "hyperband":
        starts = [(math.ceil((last + 1) / (s + 1) * factor**s), s) for s in range(last, -1, -1)]
    return [
        [(max(1, count // factor**i), max(1, round(max_epochs / factor ** (s - i)))) for i in range(s + 1)]
        for count, s in starts
    ]
