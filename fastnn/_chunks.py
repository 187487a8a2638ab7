"""Trainings of populations that are cut into chunks, which the workers of joblib take."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnn._validation import must_be
from fastnn.model import Model, net_of, replace_net
from fastnn.population import Population, PopulationHistory


def n_workers(n_jobs: int | None) -> int:
    """Return how many workers joblib has, by `n_jobs` and its present configuration.

    Raises
    ------
    TypeError, ValueError
        If `n_jobs` is no integer, or 0.
    ImportError
        If it asks for joblib, which is not installed.
    """
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer)):
        raise TypeError(must_be("n_jobs", "an integer or None", n_jobs))
    if n_jobs == 0:
        raise ValueError(must_be("n_jobs", "a number of workers, -1 for all processors, or None", n_jobs))
    if n_jobs == 1 or (n_jobs is None and "joblib" not in sys.modules):  # no configuration without the module
        return 1
    try:
        import joblib
    except ImportError as error:
        raise ImportError('n_jobs needs joblib: pip install "fastnn[sklearn]"', name="joblib") from error
    return int(joblib.effective_n_jobs(n_jobs))


def fit(
    models: Sequence[Model],
    X: Any,
    y: Any,
    *,
    n_jobs: int | None,
    n_threads: int,
    sample_weight: Any,
    settings: Mapping[str, Any],
) -> PopulationHistory:
    """Train models as one population, or as one per worker, with the same results to the bit.

    Parameters
    ----------
    models : sequence of Model
        Trained in place, whichever process computes.
    X, y
        As for `Population.fit`.
    n_jobs : int or None
        As for `joblib.Parallel`.
    n_threads : int
        Maximum number of threads, of all workers on this machine together.
    sample_weight : ndarray (n,) or (N, n), or None
    settings : mapping
        Other keywords of `Population.fit`, without ``order`` and ``validation_split``, which depend on the first net.

    Returns
    -------
    PopulationHistory
    """
    count = min(n_workers(n_jobs), len(models))
    if count == 1:
        population = Population.of(models, n_threads=n_threads)
        return population.fit(X, y, sample_weight=sample_weight, **settings)
    from joblib import Parallel, delayed

    own = np.ndim(sample_weight) == 2
    parts = np.array_split(np.arange(len(models)), count)
    made = Parallel(n_jobs=n_jobs)(
        delayed(_fit_chunk)(
            [models[k] for k in part],
            X,
            y,
            max(1, n_threads // count),
            {**settings, "sample_weight": sample_weight[part] if own else sample_weight, "verbose": False},
        )
        for part in parts
    )
    for part, (trained, _) in zip(parts, made, strict=True):
        for k, model in zip(part, trained, strict=True):
            if model is not models[k]:  # it comes from another process
                replace_net(models[k], net_of(model))
    return joined([history for _, history in made])


def _fit_chunk(
    models: list[Model], X: Any, y: Any, n_threads: int, settings: Mapping[str, Any]
) -> tuple[list[Model], PopulationHistory]:
    """Train some of the models; this is what a worker calls."""
    history = Population.of(models, n_threads=n_threads).fit(X, y, **settings)
    return models, history


def joined(parts: Sequence[PopulationHistory]) -> PopulationHistory:
    """Return the records of parts of a population as one."""
    length = max(map(len, parts))
    names = dict.fromkeys(name for part in parts for name in part.history)
    history = {}
    for name in names:
        columns = []
        for part in parts:
            column = np.full((length, len(part.stopped)), np.nan)
            if name in part:
                column[: len(part)] = part[name]
            columns.append(column)
        history[name] = np.concatenate(columns, axis=1)
    stopped = [why for part in parts for why in part.stopped]
    callbacks = [own for part in parts for own in part.callbacks]
    return PopulationHistory(history, stopped, parts[0].params, callbacks)
