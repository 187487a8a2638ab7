"""Which engine trains which nets: a function of their shapes and settings alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._engine.architecture import Architecture
from fastnn._population.by_lane import ByLane, lane_key
from fastnn._population.by_thread import ByThread
from fastnn._population.sums import PopulationEngine
from fastnn._training.net import Net
from fastnn.kernels.nn.rules import ACTIVATIONS

#: Most weights of a layer for which V nets in the lanes of a vector are faster than one net after the other.
MAX_LAYER_WEIGHTS = 512


def fits_lanes(architecture: Architecture) -> bool:
    """Return whether nets are trained V at once: small ones whose activations work element by element, unrounded."""
    if architecture.mixed:
        return False
    last = len(architecture.activations) - 1
    of_rows = {rule.code for rule in ACTIVATIONS if rule.rows}
    for k, (code, _) in enumerate(architecture.activations):
        if code in of_rows and not (k == last and architecture.fused_output):
            return False
    return all(n_in * n_out <= MAX_LAYER_WEIGHTS for n_in, n_out in pairwise(architecture.sizes))


def new_engines(
    nets: Sequence[Net],
    rows: Rows,
    *,
    batch_size: int,
    shuffle: bool,
    shared_order: tuple[int, int] | None,
    sample_weight: npt.NDArray[np.floating] | None,
    n_threads: int,
) -> list[tuple[PopulationEngine, list[int]]]:
    """Make engines for nets that train with the same rows; the arguments are those of `PopulationEngine`.

    Returns
    -------
    list of (PopulationEngine, list of int)
        Each with the positions of its nets, ascending.
    """
    groups: dict[Hashable, list[int]] = {}
    for k, net in enumerate(nets):
        # Nets with a thread each may differ in all settings.
        key = lane_key(net) if fits_lanes(net.built().architecture) else None
        groups.setdefault(key, []).append(k)
    made: list[tuple[PopulationEngine, list[int]]] = []
    for key, positions in groups.items():
        kind = ByThread if key is None else ByLane
        weights = sample_weight
        if weights is not None and len(positions) < len(nets):
            weights = weights[positions]
        engine = kind(
            [nets[k] for k in positions], rows, batch_size=batch_size, shuffle=shuffle, shared_order=shared_order,
            sample_weight=weights, n_threads=n_threads,
        )  # fmt: skip
        made.append((engine, positions))
    return made
