"""A search while it runs: how far it is, and the nets that are still trained on."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import _chunks, optimizers
from fastnn._compatibility import as_batch_size
from fastnn._data.take import n_rows_of
from fastnn._errors import TrainingWarning
from fastnn._training.objective import penalty
from fastnn._validation import must_be
from fastnn.history import less_is_better
from fastnn.model import Model, net_of
from fastnn.population import Population
from fastnn.search._candidates import Candidate, place
from fastnn.search._folds import Fold
from fastnn.search._space import new_model


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is searched, and by which data and settings.

    Parameters
    ----------
    template : Model
        With the settings of all candidates.
    brackets : list of list of (int, int)
        For each bracket the rungs: numbers of candidates, and epochs that these have at its end.
    monitor : str
        What the scores are.
    seed : int
        Candidate k has the seed ``seed + k``, unless its settings have one.
    folds : list of Fold
    n_outputs : int
        Of the last layer.
    batch_size : int, None or "auto"
        Unless the settings of a candidate have one.
    class_weight : dict, "balanced" or None
    n_jobs : int or None
    verbose : bool
    """

    template: Model
    brackets: list[list[tuple[int, int]]]
    monitor: str
    seed: int
    folds: list[Fold]
    n_outputs: int
    batch_size: Any
    class_weight: Any
    n_jobs: Any
    verbose: bool


class Run:
    """The state of a search.

    Parameters
    ----------
    plan : Plan
    candidates : sequence of Candidate
        Of which the settings and brackets count.

    Attributes
    ----------
    candidates : list of Candidate
    nets : dict of int to list of Model
        The nets of candidates in training, and of the best that is trained to its end; one for each fold.
    alive : list of int
        Candidates in training.
    finished : int or None
        The best candidate that is trained to its end.
    at : (int, int)
        Bracket and rung that are next.
    """

    def __init__(self, plan: Plan, candidates: Sequence[Candidate]) -> None:
        self.plan = plan
        self.candidates = [Candidate(one.settings, one.bracket) for one in candidates]
        self.nets: dict[int, list[Model]] = {}
        self.alive: list[int] = []
        self.finished: int | None = None
        self.at = (0, 0)
        self._less = less_is_better(plan.monitor) is not False

    def new_model(self, k: int) -> Model:
        """Return the net of a candidate, without weights."""
        plan = self.plan
        return new_model(self.candidates[k].settings, plan.template, plan.n_outputs, plan.seed + k)

    def batch_size_of(self, k: int) -> Any:
        """Return the batch size of a candidate; a solver has that of the call."""
        settings = self.candidates[k].settings
        solver = optimizers.get(settings.get("optimizer", "adam")).full_batch
        return self.plan.batch_size if solver else settings.get("batch_size", self.plan.batch_size)

    def check_candidates(self, *, is_written: bool) -> None:
        """Raise what a candidate would raise in its rung, before the first one is trained."""
        n, n_outputs = min(n_rows_of(fold.y) for fold in self.plan.folds), self.plan.n_outputs
        for k, candidate in enumerate(self.candidates):
            try:
                model = self.new_model(k)
                as_batch_size(self.batch_size_of(k), n, model.optimizer)
                if model.layers and model.layers[-1].units != n_outputs:
                    raise ValueError(must_be("layers", f"with {n_outputs} outputs, as y requires", model.layers))
                if is_written:
                    model.check_serializable()
            except (TypeError, ValueError) as error:
                error.add_note(f"These are the settings of candidate {k}: {candidate.settings}.")
                raise

    def all_brackets(self, after_rung: Callable[[], object] | None) -> None:
        """Train all brackets from the present rung on, and call a function after each rung, if there is one."""
        brackets = self.plan.brackets
        while self.at[0] < len(brackets):
            bracket, rung = self.at
            rungs = brackets[bracket]
            if rung == 0:
                self._begin(bracket)
            n_next = rungs[rung + 1][0] if rung + 1 < len(rungs) else 0
            self.train_rung(rungs[rung][1])
            order = sorted(self.alive, key=lambda k: place(self.candidates[k], self._less))
            order = [k for k in order if not math.isnan(self.candidates[k].score)]
            if self.plan.verbose:
                top = f"{self.candidates[order[0]].score:.4g}" if order else "none is finite"
                print(
                    f"bracket {bracket + 1}/{len(brackets)}, rung {rung + 1}/{len(rungs)}: {len(self.alive)} "
                    f"candidates, {rungs[rung][1]} epochs, best {self.plan.monitor} {top}",
                    file=sys.stderr,
                )
            if n_next and order:
                self.alive = order[:n_next]
                self.at = (bracket, rung + 1)
            else:
                self._end(order)
                self.alive = []
                self.at = (bracket + 1, 0)
            kept = {*self.alive, self.finished}
            self.nets = {k: nets for k, nets in self.nets.items() if k in kept}
            if after_rung is not None:
                after_rung()

    def _begin(self, bracket: int) -> None:
        self.alive = [k for k, one in enumerate(self.candidates) if one.bracket == bracket]
        for k in self.alive:
            self.nets[k] = [self.new_model(k) for _ in self.plan.folds]

    def train_rung(self, epochs: int) -> None:
        """Train the candidates that are left up to a number of epochs, and measure them."""
        plan = self.plan
        by_size: dict[Any, list[int]] = {}
        for row, k in enumerate(self.alive):
            by_size.setdefault(self.batch_size_of(k), []).append(row)
        more = epochs - self.candidates[self.alive[0]].epochs
        groups, rows_of = [], []
        for f, fold in enumerate(plan.folds):
            for size, rows in by_size.items():
                models = [self.nets[self.alive[row]][f] for row in rows]
                settings = {"epochs": more, "batch_size": size, "class_weight": plan.class_weight, "verbose": False}
                groups.append(_chunks.Group(models, fold.X, fold.y, fold.sample_weight, settings))
                rows_of.append((f, rows))
        scores = np.full((len(plan.folds), len(self.alive)), np.nan)
        n_threads = plan.template.n_threads
        with warnings.catch_warnings():  # the scores say which nets have diverged
            warnings.simplefilter("ignore", TrainingWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            records = _chunks.fit(groups, n_jobs=plan.n_jobs, n_threads=n_threads)
            for f, fold in enumerate(plan.folds):
                X, y, weight = fold.held
                models = [self.nets[k][f] for k in self.alive]
                measured = Population.of(models, n_threads=n_threads).evaluate(X, y, sample_weight=weight)
                scores[f] = measured[plan.monitor.removeprefix("val_")]
                if plan.monitor == "val_loss":
                    scores[f] -= [penalty(net_of(model)) for model in models]
        for (f, rows), record in zip(rows_of, records, strict=True):
            seconds = np.nansum(record["seconds"], axis=0)
            for row, why, of_net in zip(rows, record.stopped, seconds, strict=True):
                if why == "diverged":
                    scores[f, row] = np.nan
                self.candidates[self.alive[row]].seconds += float(of_net)
        scores[~np.isfinite(scores)] = np.nan
        for row, k in enumerate(self.alive):
            of_folds = scores[:, row]
            deviation = float(of_folds.std(ddof=1)) if len(of_folds) > 1 else math.nan
            self.candidates[k].scores.append((epochs, float(of_folds.mean()), deviation))

    def _end(self, order: list[int]) -> None:
        """Keep the best of a bracket if it is better than those of the brackets before."""
        chosen = [k for k in (self.finished, *order[:1]) if k is not None]
        self.finished = min(chosen, key=lambda k: place(self.candidates[k], self._less)) if chosen else None

    def best(self) -> tuple[int, list[Model]]:
        """Return the number of the best candidate and its nets.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.finished is not None:
            return self.finished, self.nets[self.finished]
        # What was best before all diverged: of the longest training, as scores of other lengths are not comparable.
        before = [
            (-epochs, score if self._less else -score, k, score)
            for k, one in enumerate(self.candidates) for epochs, score, _ in one.scores if not math.isnan(score)
        ]  # fmt: skip
        hint, found = "", ""
        if before:
            negative, _, k, score = min(before)
            found = (
                f" The best one before it diverged was candidate {k} with the {self.plan.monitor} {score:.4g} after "
                f"{-negative} epochs: {self.candidates[k].settings}."
            )
            hint = f", or set max_epochs={-negative}"
        raise ValueError(
            f"no candidate has a finite score after all of its epochs.{found} Search smaller learning rates, scale X "
            f"and y to about 1{hint}."
        )
