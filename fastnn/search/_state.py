"""The file of a search, which is written after each rung and goes on from there."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fastnn import population
from fastnn._persistence.npz import PathOrFile, label_of
from fastnn._validation import CONVERSION_ERRORS, as_path, must_be
from fastnn._validation.names import check_suffix
from fastnn.model import Model, net_of
from fastnn.population import Population
from fastnn.search._run import Run


class StateFile:
    """The file of a search.

    Parameters
    ----------
    path : path
    run : Run
        Whose state is written and read.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If the path is invalid, or there is no such folder.
    """

    def __init__(self, path: PathOrFile, run: Run) -> None:
        check_suffix("path", path)
        self._path = as_path("path", path)
        folder = os.path.dirname(self._path) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        self._run = run
        #: Hash of all that the result depends on.
        self._key = _key_of(run)

    def read(self) -> None:
        """Go on from the file, if there is one.

        Raises
        ------
        ValueError
            If it is of another search, or damaged.
        """
        path = self._path
        if not os.path.exists(path):
            return
        nets, header = population.read(path, n_threads=self._run.plan.template.n_threads)
        state = header.get("search")
        if not isinstance(state, dict):
            raise ValueError(f"{label_of(path)} holds no search: give the path of another file.")
        if state.get("key") != self._key:
            raise ValueError(
                f"{label_of(path)} is of a search with other settings or data: give these, or the path of another file."
            )
        try:
            _go_on_from(self._run, state, list(nets))
        except CONVERSION_ERRORS as error:  # whatever follows from values that no search has
            raise ValueError(f"{label_of(path)} is a fastnn file, but its content is no valid search.") from error

    def write(self) -> None:
        """Write the state of the search."""
        run = self._run
        kept = sorted(run.nets)

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        candidates = [
            ([(e, number(score), number(spread)) for e, score, spread in one.scores], one.seconds)
            for one in run.candidates
        ]
        state = {
            "key": self._key, "candidates": candidates, "alive": run.alive, "finished": run.finished,
            "at": run.at, "kept": kept,
        }  # fmt: skip
        nets = [model for k in kept for model in run.nets[k]]
        # A file without nets is none: where all candidates have diverged it holds the template.
        population.write(self._path, Population.of(nets or [run.plan.template]), {"search": state})


def _go_on_from(run: Run, state: Mapping[str, Any], nets: list[Model]) -> None:
    for one, (scores, seconds) in zip(run.candidates, state["candidates"], strict=True):
        one.scores = [
            (int(e), math.nan if s is None else float(s), math.nan if d is None else float(d)) for e, s, d in scores
        ]
        one.seconds = float(seconds)
    brackets = run.plan.brackets
    bracket, rung = run.at = tuple(state["at"])
    run.alive, run.finished = list(state["alive"]), state["finished"]
    kept = list(state["kept"])
    is_last = bracket == len(brackets)
    if rung != 0 and (is_last or not run.alive or not 0 <= rung < len(brackets[bracket])):
        raise ValueError(must_be("at", "a rung of the search", run.at))
    if set(kept) != {*run.alive, run.finished} - {None} or not set(kept) <= set(range(len(run.candidates))):
        raise ValueError(must_be("kept", "the candidates that are left", kept))
    if not kept and any(net_of(model).engine is not None for model in nets):
        raise ValueError(must_be("kept", "the candidates whose nets are in the file", kept))
    of_each = zip(*[iter(nets if kept else [])] * len(run.plan.folds), strict=True)  # as many nets as there are folds
    for k, models in zip(kept, of_each, strict=True):
        run.nets[k] = list(models)
        for model in models:  # metrics that are functions are in no file
            net = net_of(model)
            net.spec = replace(net.spec, metrics=run.plan.template.metrics)


def _key_of(run: Run) -> str:
    digest = hashlib.sha256()
    plan = run.plan
    settings = [one.settings for one in run.candidates]
    template = net_of(plan.template).spec
    of_search = (plan.brackets, plan.monitor, plan.seed, template.loss, str(template.dtype))
    digest.update(repr((settings, of_search, plan.batch_size, plan.class_weight)).encode())
    for fold in plan.folds:
        for part in (fold.X, fold.y, fold.sample_weight, *fold.held):
            array = np.asarray(part)
            digest.update(repr((array.shape, array.dtype.str)).encode())
            is_numbers = array.dtype != object
            digest.update(np.ascontiguousarray(array).tobytes() if is_numbers else repr(array.tolist()).encode())
    return digest.hexdigest()
