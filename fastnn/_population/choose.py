"""Which engine trains which nets: a function of their shapes and settings alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._data.rows import Rows
from fastnn._population.by_thread import ByThread
from fastnn._population.sums import PopulationEngine
from fastnn._training.net import Net


def lane_key(net: Net) -> tuple[Any, ...]:
    """Return what must be equal in nets that are trained in the lanes of the same vectors."""
    metrics = tuple(metric.name for metric in net.spec.metrics if metric.compiled)
    shape = (net.n_features, net.spec.layers, net.trainable, net.spec.dtype)
    return (*shape, net.spec.loss, metrics, getattr(net.optimizer, "rule", None))


def kind_of_engine(nets: Sequence[Net]) -> type[ByThread]:
    """Return the engine for nets of the same `lane_key`."""
    return ByThread


def new_engines(
    nets: Sequence[Net],
    rows: Rows,
    *,
    batch_size: int,
    shuffle: bool,
    order: str,
    sample_weight: npt.NDArray[np.floating] | None,
    n_threads: int,
) -> list[tuple[PopulationEngine, list[int]]]:
    """Make engines for nets that train with the same rows; the arguments are those of `PopulationEngine`.

    Returns
    -------
    list of (PopulationEngine, list of int)
        Each with the positions of its nets, ascending.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for k, net in enumerate(nets):
        groups.setdefault(lane_key(net), []).append(k)
    by_kind: dict[Any, list[int]] = {}
    for key, positions in groups.items():
        kind = kind_of_engine([nets[k] for k in positions])
        # Nets with a thread each may differ in all else.
        by_kind.setdefault((kind, None if kind is ByThread else key), []).extend(positions)
    made: list[tuple[PopulationEngine, list[int]]] = []
    for (kind, _), positions in by_kind.items():
        positions.sort()
        weights = sample_weight
        if weights is not None and len(positions) < len(nets):
            weights = weights[positions]
        engine = kind(
            [nets[k] for k in positions], rows, batch_size=batch_size, shuffle=shuffle, order=order,
            sample_weight=weights, n_threads=n_threads,
        )  # fmt: skip
        made.append((engine, positions))
    return made
