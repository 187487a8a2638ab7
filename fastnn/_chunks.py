"""Trainings of populations that are cut into chunks, which the workers of joblib take."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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


@dataclass(frozen=True)
class Group:
    """Models that train on the same rows with the same settings.

    Parameters
    ----------
    models : list of Model
        Trained in place, whichever process computes.
    X, y
        As for `Population.fit`.
    sample_weight : ndarray (n,) or (N, n), or None
    settings : mapping
        Other keywords of `Population.fit`, without ``order`` and ``validation_split``, which depend on the first net.
    """

    models: list[Model]
    X: Any
    y: Any
    sample_weight: Any
    settings: Mapping[str, Any]

    def part(self, chosen: npt.NDArray[np.intp]) -> Group:
        """Return copies of some of the models, without a display."""
        weight = self.sample_weight
        return replace(
            self,
            models=[copy.deepcopy(self.models[k]) for k in chosen],
            sample_weight=weight[chosen] if np.ndim(weight) == 2 else weight,
            settings={**self.settings, "verbose": False},
        )


def fit(groups: Sequence[Group], *, n_jobs: int | None, n_threads: int) -> list[PopulationHistory]:
    """Train groups of models, each as one population or as one per worker, with the same results to the bit.

    Parameters
    ----------
    groups : sequence of Group
    n_jobs : int or None
        As for `joblib.Parallel`.
    n_threads : int
        Maximum number of threads, of all workers on this machine together; each worker has at least one.

    Returns
    -------
    list of PopulationHistory
        One for each group. If workers of joblib fail, all models are as before.
    """
    count = min(n_workers(n_jobs), sum(len(group.models) for group in groups))
    if count == 1 and len(groups) == 1:
        return [_train(groups[0], n_threads)[1]]
    if count == 1:
        # Groups of one net or two would leave threads without work, so they are trained at the same time, the longest
        # first.
        workers = min(n_threads, len(groups))
        order = sorted(range(len(groups)), key=lambda k: -len(groups[k].models))
        with ThreadPoolExecutor(workers) as pool:
            made = {k: pool.submit(_train, groups[k], n_threads // workers) for k in order}
            try:
                return [made[k].result()[1] for k in range(len(groups))]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    from joblib import Parallel, delayed

    parts = [np.array_split(np.arange(len(group.models)), min(count, len(group.models))) for group in groups]
    tasks = [(group, chosen) for group, own in zip(groups, parts, strict=True) for chosen in own]
    trained = iter(
        Parallel(n_jobs=n_jobs)(
            delayed(_train)(group.part(chosen), max(1, n_threads // count)) for group, chosen in tasks
        )
    )
    histories = []
    for group, own in zip(groups, parts, strict=True):
        records = []
        for chosen in own:
            models, record = next(trained)
            records.append(record)
            for k, model in zip(chosen, models, strict=True):
                replace_net(group.models[k], net_of(model))
        histories.append(joined(records))
    return histories


def _train(group: Group, n_threads: int) -> tuple[list[Model], PopulationHistory]:
    """Train the models of a group; this is what a worker calls."""
    population = Population.of(group.models, n_threads=n_threads)
    return group.models, population.fit(group.X, group.y, sample_weight=group.sample_weight, **group.settings)


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
