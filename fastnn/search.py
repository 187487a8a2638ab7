"""Search of settings: many candidates are trained a little, and the best of them on."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import _chunks, optimizers, population
from fastnn._compatibility import BatchSize, as_batch_size
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import ValidationData, prepare_training, split_validation
from fastnn._data.take import n_rows_of, take_rows
from fastnn._errors import DivergenceError, TrainingWarning, warn
from fastnn._persistence.npz import PathOrFile, label_of
from fastnn._training.objective import penalty
from fastnn._validation import (
    CONVERSION_ERRORS,
    as_path,
    as_seed,
    as_sequence,
    check_bool,
    must_be,
    number_in,
    positive_integer,
)
from fastnn._validation.names import check_suffix, explained
from fastnn.history import less_is_better
from fastnn.layers import Dense, Dropout
from fastnn.losses import Loss
from fastnn.metrics import Metric, MetricFunction
from fastnn.model import Model, net_of
from fastnn.population import Population
from fastnn.regularizers import L1L2, Regularizer

__all__ = ["Search", "SearchResult"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Settings: TypeAlias = dict[str, Any]

#: Settings of optimizers by name, of which each has some.
_OF_OPTIMIZERS = frozenset(
    part.name
    for kind in optimizers.CLASSES.values()
    if issubclass(kind, optimizers.FirstOrderOptimizer)
    for part in fields(kind)
) - {"_"}
_ARCHITECTURES = ("layers", "widths", "width")
_NAMES = (
    *_ARCHITECTURES, "depth", "activation", "dropout", "optimizer", *sorted(_OF_OPTIMIZERS), "regularizer", "l1", "l2",
    "batch_size", "seed",
)  # fmt: skip


@dataclass
class _Candidate:
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


@dataclass(frozen=True)
class _Fold:
    """Rows that are trained on, and rows that measure."""

    X: Any
    y: Any
    sample_weight: Array | None
    held: tuple[Any, Any, Array | None]


class SearchResult:
    """What a search has found.

    Parameters
    ----------
    candidates : sequence
        Settings and scores of all candidates.
    monitor : str
        What the scores are.
    best : int
        Number of the best candidate.
    models : list of Model
        The nets of the best candidate, one for each fold.
    model : Model
        That of the best settings.
    batch_size : int
        Rows per update of the best candidate.

    Attributes
    ----------
    monitor : str
    best_index : int
        Number of the best candidate in `table`.
    best_settings : dict
        Its settings, by name.
    best_score : float
        The mean over the folds.
    best_epochs : int
        Epochs that it was trained for.
    models : list of Model
        Its nets, one for each fold, each trained without that fold. ``Ensemble.of(result.models)`` is their mean.
    model : Model
        A net with the best settings that is trained on all rows, unless `Search.fit` was called with ``refit=False`` or
        with `validation_data`: then the first of `models`.
    """

    def __init__(
        self,
        candidates: Sequence[_Candidate],
        monitor: str,
        best: int,
        models: list[Model],
        model: Model,
        batch_size: int,
    ) -> None:
        self._candidates = list(candidates)
        self.monitor = monitor
        self.best_index = best
        self.best_settings = dict(candidates[best].settings)
        self.best_score = candidates[best].score
        self.best_epochs = candidates[best].epochs
        self.models = models
        self.model = model
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self._candidates)

    def __repr__(self) -> str:
        """Return the best settings and their score."""
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.best_settings.items())
        return f"SearchResult({len(self)} candidates, best {self.monitor} {self.best_score:.4g} with {chosen})"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A dict for each candidate: its settings, bracket, epochs, seconds, score, its deviation, and rank from 1.

        Candidates that were trained longer are ahead of those that were left before; those that diverged are last.
        """
        less = less_is_better(self.monitor) is not False
        order = sorted(range(len(self)), key=lambda k: _place(self._candidates[k], less))
        ranks = {k: rank for rank, k in enumerate(order, 1)}
        return [
            {
                **one.settings, "bracket": one.bracket, "epochs": one.epochs, "seconds": one.seconds,
                self.monitor: one.score, f"{self.monitor}_std": one.scores[-1][2] if one.scores else math.nan,
                "rank": ranks[k],
            }
            for k, one in enumerate(self._candidates)
        ]  # fmt: skip

    def to_frame(self) -> Any:
        """Return the table as a data frame.

        Returns
        -------
        pandas.DataFrame
            A row for each candidate; see `table`.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                'to_frame needs pandas: pip install "fastnn-mlp[pandas]", or use table', name="pandas"
            ) from error
        return pd.DataFrame(self.table)

    def estimator(self, classes: Any = None) -> Any:
        """Return `model` as a fitted estimator with the API of scikit-learn, of the same predictions.

        Parameters
        ----------
        classes : array-like (n_classes,), or None
            The labels that were encoded as 0, 1, ..., such as ``classes, y = np.unique(labels, return_inverse=True)``
            returns them. None is 0, 1, ....

        Returns
        -------
        MLPClassifier or MLPRegressor
            With copies of the weights. Its parameters are the best settings, so that `fit` of a clone trains a net of
            this kind for `best_epochs` epochs; it draws other start weights and has no L1 penalty, and weights of rows
            and classes are arguments of its own.

        Raises
        ------
        ValueError, TypeError
            If the classes are invalid, or no estimator has such a loss or last layer.
        ImportError
            If scikit-learn is not installed.

        Examples
        --------
        >>> import fastnn
        >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
        >>> search = fastnn.search.Search({"width": 8}, loss="softmax_crossentropy", max_epochs=3)
        >>> result = search.fit(X[:300], y[:300])
        >>> result.estimator(classes=list("0123456789")).predict(X_test).shape
        (1797,)
        """
        from fastnn.estimators import estimator_of

        return estimator_of(self.model, classes=classes, batch_size=self._batch_size, epochs=self.best_epochs)

    def curves(self) -> list[tuple[list[int], list[float]]]:
        """Return the scores of each candidate after each of its rungs.

        Returns
        -------
        list of tuple of two lists
            Epochs and mean scores, for each candidate.
        """
        return [([rung[0] for rung in one.scores], [rung[1] for rung in one.scores]) for one in self._candidates]


def _place(candidate: _Candidate, less: bool) -> tuple[bool, int, float]:
    """Return the key that sorts candidates, the best first."""
    score = candidate.score
    return math.isnan(score), -candidate.epochs, 0.0 if math.isnan(score) else score if less else -score


@explained
class Search:
    """Search of settings by successive halving or Hyperband, whose survivors are trained on.

    Parameters
    ----------
    space : mapping of str to list, distribution or value
        What is drawn for each candidate: an item of a list, a number of a distribution (any object with
        ``rvs(random_state=...)``, as those of scipy.stats), or the one value. The names are

        - "layers", as of `Model`; or "widths", the widths of the hidden layers such as (32, 16); or "width" and
          "depth", of equal hidden layers. With the latter two the output follows from the targets, and "activation"
          and "dropout" are those of hidden layers and behind each of them
        - "optimizer": names or instances; and their settings "learning_rate", "weight_decay", "momentum", ..., which
          count for the optimizers that have them
        - "regularizer": names or instances; or the numbers "l1" and "l2"
        - "batch_size", "seed"
    loss, metrics, dtype, n_threads
        As for `Model`.
    method : {"hyperband", "halving", "random"}
        "halving": `n_candidates` are trained for `min_epochs`, the best of them (one out of `factor`) go on to `factor`
        times the epochs, and so on up to `max_epochs` [1]_. "hyperband": several halvings, from many candidates with
        few epochs to few candidates with all epochs [2]_, algorithm 1. "random": all candidates are trained for
        `max_epochs`.
    n_candidates : int or None
        Number of candidates, for "halving" and "random". None is as many as leave one at the end of a halving.
    min_epochs, max_epochs : int
        Epochs of the first rung and of the last.
    factor : int
        At least 2.
    monitor : str
        "val_loss", which leaves out the penalty of the regularizer, or ``val_`` and the name of a metric. Less is
        better, but more where the name says so, as "val_accuracy" does.
    seed : int
        Seed of candidates, folds and split. Candidate k has the seed ``seed + k`` unless `space` has one.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or inconsistent with the others.

    Notes
    -----
    The nets of a rung are a `Population`, one for each batch size and fold. A candidate that diverges is left.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS,
       2016.
    .. [2] L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar, "Hyperband: a novel bandit-based approach to
       hyperparameter optimization", JMLR 18, 2018.

    Examples
    --------
    >>> import fastnn
    >>> from scipy.stats import loguniform
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> space = {"width": [16, 32], "depth": [1, 2], "learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = fastnn.search.Search(space, loss="softmax_crossentropy", method="halving", max_epochs=9, seed=0)
    >>> result = search.fit(X[:500], y[:500])
    >>> len(result), result.best_epochs
    (9, 9)
    """

    method: str
    min_epochs: int
    max_epochs: int
    factor: int
    monitor: str
    seed: int
    _space: dict[str, Any]
    _brackets: list[list[tuple[int, int]]]
    _template: Model
    _candidates: list[_Candidate]

    def __init__(
        self,
        space: Mapping[str, Any],
        *,
        loss: str | Loss,
        method: Literal["hyperband", "halving", "random"] = "hyperband",
        n_candidates: int | None = None,
        min_epochs: int = 1,
        max_epochs: int = 81,
        factor: int = 3,
        monitor: str = "val_loss",
        metrics: Sequence[str | Metric | MetricFunction] | None = None,
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        n_threads: int | None = None,
    ) -> None:
        self._space = _as_space(space)
        if type(method) is not str or method not in ("hyperband", "halving", "random"):
            raise ValueError(must_be("method", "'hyperband', 'halving' or 'random'", method))
        self.method = method
        self.min_epochs = positive_integer(min_epochs, "min_epochs")
        self.max_epochs = positive_integer(max_epochs, "max_epochs")
        self.factor = positive_integer(factor, "factor")
        if self.factor < 2:
            raise ValueError(must_be("factor", "at least 2", factor))
        if self.min_epochs > self.max_epochs:
            raise ValueError(must_be("min_epochs", f"at most max_epochs={max_epochs}", min_epochs))
        if n_candidates is not None and method == "hyperband":
            raise ValueError(
                f"n_candidates is {n_candidates}, but method='hyperband' computes it from min_epochs, max_epochs and "
                "factor: leave it out, or use method='halving'."
            )
        self.seed = as_seed(seed)
        last = _n_rungs(self.max_epochs / self.min_epochs, self.factor)
        count = self.factor**last if n_candidates is None else positive_integer(n_candidates, "n_candidates")
        self._brackets = _brackets(method, count, self.min_epochs, self.max_epochs, self.factor)
        # A net without hidden layer, whose settings are those of all candidates.
        self._template = Model([], loss=loss, metrics=metrics, dtype=dtype, n_threads=n_threads, seed=0)
        names = ["val_loss", *(f"val_{metric.name}" for metric in self._template.metrics)]
        if monitor not in names:
            raise ValueError(must_be("monitor", f"one of {', '.join(names)}", monitor, "Other metrics: metrics=[...]."))
        if less_is_better(monitor) is None:
            raise ValueError(
                must_be("monitor", "a name with an end such as error or score, which says what is better", monitor)
            )
        self.monitor = monitor
        self._candidates = self._drawn()

    def __repr__(self) -> str:
        """Return the method, the number of candidates, and the names of the settings."""
        names = ", ".join(self._space)
        return f"Search({self.method}, {len(self._candidates)} candidates of {names}, by {self.monitor})"

    @property
    def n_candidates(self) -> int:
        """Number of candidates of all brackets."""
        return len(self._candidates)

    @property
    def brackets(self) -> list[list[tuple[int, int]]]:
        """For each bracket the rungs: numbers of candidates, and epochs that these have at its end."""
        return [list(rungs) for rungs in self._brackets]

    def _drawn(self) -> list[_Candidate]:
        """Return the candidates of all brackets, drawn by the seed."""
        rng = np.random.default_rng(self.seed)
        found = []
        for bracket, rungs in enumerate(self._brackets):
            for _ in range(rungs[0][0]):
                settings = {name: _draw(values, rng, name) for name, values in self._space.items()}
                found.append(_Candidate(settings, bracket))
        for k, candidate in enumerate(found):
            try:
                self._model(candidate.settings, 2 * self._template.loss.outputs_per_target, k)
            except (TypeError, ValueError) as error:
                error.add_note(f"These are the settings of candidate {k}: {candidate.settings}.")
                raise
        return found

    def _model(self, settings: Settings, n_outputs: int, k: int) -> Model:
        """Return the net of a candidate."""
        template = self._template
        optimizer = optimizers.get(settings.get("optimizer", "adam"))
        if isinstance(optimizer, optimizers.FirstOrderOptimizer):
            own = {part.name for part in fields(optimizer)}
            chosen: dict[str, Any] = {name: settings[name] for name in settings if name in own & _OF_OPTIMIZERS}
            optimizer = replace(optimizer, **chosen)
        return Model(
            _layers(settings, n_outputs),
            loss=template.loss,
            optimizer=optimizer,
            regularizer=_regularizer(settings),
            metrics=template.metrics,
            seed=settings.get("seed", self.seed + k),
            dtype=template.dtype,
            n_threads=template.n_threads,
        )

    # -------------------------------------------------------------------------------------------- search

    @explained
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation_data: ValidationData | None = None,
        validation_split: float | None = None,
        cv: Any = None,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        batch_size: BatchSize = "auto",
        refit: bool = True,
        n_jobs: int | None = None,
        path: PathOrFile | None = None,
        verbose: bool = False,
    ) -> SearchResult:
        """Search, and return what was found. Each call begins anew, unless `path` has the state of a search.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As for `Model.fit`.
        validation_data : (X, y) or (X, y, sample_weight), or None
            Rows that measure.
        validation_split : float or None
            Fraction of the rows, drawn by the seed, that measures and is not trained on. None is 0.2 if neither
            `validation_data` nor `cv` is given.
        cv : int, splitter of scikit-learn, iterable of (train, test) indices, or None
            Cross-validation: each candidate has a net for each fold, and its score is the mean. A number is that of
            folds, drawn by the seed; with labels of classes each fold has the same share of each class.
        batch_size : int, None or "auto"
            As for `Model.fit`, unless `space` has one.
        refit : bool
            Whether a net with the best settings is trained on all rows in the end.
        n_jobs : int or None
            Number of workers of joblib that share the nets of a rung; see `Ensemble.fit`.
        path : path or None
            File that is written after each rung, in a folder that exists. If there is the file, the search goes on
            from there; settings and data must be the same. The result is that of a search without interruption.
        verbose : bool
            Whether a line is printed on stderr for each rung.

        Returns
        -------
        SearchResult
            Of this search.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, no candidate has a finite score, or `path` has the state of another search or is
            damaged.
        FileNotFoundError
            If the folder of `path` does not exist.
        ImportError
            If `n_jobs` asks for joblib, which is not installed.

        Warns
        -----
        TrainingWarning
            If the refitted net diverges; `SearchResult.model` is then the net of the first fold.
        """
        check_bool(refit, "refit")
        check_bool(verbose, "verbose")
        given = {"sample_weight": sample_weight, "class_weight": class_weight, "validation_data": validation_data}
        rows, _ = prepare_training(X, y, net_of(self._template).form, **given)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        as_batch_size(batch_size, rows.n, optimizers.Adam())
        labels: Array = rows.targets.labels
        values = rows.targets.values
        if self._template.loss.classification and values.ndim == 2 and values.shape[1] == 1:
            labels = values[:, 0]  # of two classes
        folds = list(_folds(X, y, weights, labels, rows.n, validation_data, validation_split, cv, self.seed))
        run = _Run(self, folds, rows.targets.n_outputs, batch_size, class_weight, n_jobs, verbose)
        run.check_candidates(is_written=path is not None)
        if path is not None:
            run.use_file(path)
        run.all_brackets()
        best, models = run.best()
        candidates = run.candidates
        model = models[0]
        if refit and validation_data is None:
            refitted = self._model(candidates[best].settings, run.n_outputs, best)
            try:
                refitted.fit(
                    X,
                    y,
                    epochs=candidates[best].epochs,
                    batch_size=run.batch_size_of(best),
                    sample_weight=sample_weight,
                    class_weight=class_weight,
                    verbose=False,
                )
                model = refitted
            except DivergenceError as error:
                warn(f"the refit of the best candidate diverged, and model is the net of the first fold: {error}")
        n = n_rows_of(folds[0].y) if model is models[0] else rows.n
        size = as_batch_size(run.batch_size_of(best), n, model.optimizer)
        return SearchResult(candidates, self.monitor, best, models, model, size)


class _Run:
    """The state of a search: how far it is, and the nets that are still trained on."""

    def __init__(
        self, search: Search, folds: list[_Fold], n_outputs: int, batch_size: Any, class_weight: Any, n_jobs: Any,
        verbose: bool,
    ) -> None:  # fmt: skip
        self.search = search
        self.folds = folds
        self.n_outputs = n_outputs
        self.batch_size, self.class_weight, self.n_jobs = batch_size, class_weight, n_jobs
        self.verbose = verbose
        self.candidates = [_Candidate(one.settings, one.bracket) for one in search._candidates]
        self.less = less_is_better(search.monitor) is not False
        #: The nets of candidates in training, and of the best that is trained to its end; one for each fold.
        self.nets: dict[int, list[Model]] = {}
        self.alive: list[int] = []
        self.finished: int | None = None
        #: Bracket and rung that are next.
        self.at = (0, 0)
        self.path: str | None = None
        #: What the file must be of; see `_key_of`.
        self.key = ""

    def check_candidates(self, *, is_written: bool) -> None:
        """Raise what a candidate would raise in its rung, before the first one is trained."""
        n = min(n_rows_of(fold.y) for fold in self.folds)
        for k, candidate in enumerate(self.candidates):
            try:
                model = self.search._model(candidate.settings, self.n_outputs, k)
                as_batch_size(self.batch_size_of(k), n, model.optimizer)
                if model.layers and model.layers[-1].units != self.n_outputs:
                    raise ValueError(must_be("layers", f"with {self.n_outputs} outputs, as y requires", model.layers))
                if is_written:
                    model.check_serializable()
            except (TypeError, ValueError) as error:
                error.add_note(f"These are the settings of candidate {k}: {candidate.settings}.")
                raise

    def all_brackets(self) -> None:
        """Train all brackets from the present rung on."""
        plan = self.search.brackets
        while self.at[0] < len(plan):
            bracket, rung = self.at
            if rung == 0:
                self._begin(bracket)
            n_next = plan[bracket][rung + 1][0] if rung + 1 < len(plan[bracket]) else 0
            self._rung(plan[bracket][rung][1])
            order = sorted(self.alive, key=lambda k: _place(self.candidates[k], self.less))
            order = [k for k in order if not math.isnan(self.candidates[k].score)]
            if self.verbose:
                top = f"{self.candidates[order[0]].score:.4g}" if order else "none is finite"
                print(
                    f"bracket {bracket + 1}/{len(plan)}, rung {rung + 1}/{len(plan[bracket])}: {len(self.alive)} "
                    f"candidates, {plan[bracket][rung][1]} epochs, best {self.search.monitor} {top}",
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
            self._write()

    def _begin(self, bracket: int) -> None:
        self.alive = [k for k, one in enumerate(self.candidates) if one.bracket == bracket]
        for k in self.alive:
            settings = self.candidates[k].settings
            self.nets[k] = [self.search._model(settings, self.n_outputs, k) for _ in self.folds]

    def _rung(self, epochs: int) -> None:
        """Train the candidates that are left up to a number of epochs, and measure them."""
        template = self.search._template
        by_size: dict[Any, list[int]] = {}
        for place, k in enumerate(self.alive):
            by_size.setdefault(self.batch_size_of(k), []).append(place)
        more = epochs - self.candidates[self.alive[0]].epochs
        groups, places_of = [], []
        for f, fold in enumerate(self.folds):
            for size, places in by_size.items():
                models = [self.nets[self.alive[place]][f] for place in places]
                settings = {"epochs": more, "batch_size": size, "class_weight": self.class_weight, "verbose": False}
                groups.append(_chunks.Group(models, fold.X, fold.y, fold.sample_weight, settings))
                places_of.append((f, places))
        scores = np.full((len(self.folds), len(self.alive)), np.nan)
        with warnings.catch_warnings():  # the scores say which nets have diverged
            warnings.simplefilter("ignore", TrainingWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            records = _chunks.fit(groups, n_jobs=self.n_jobs, n_threads=template.n_threads)
            for f, fold in enumerate(self.folds):
                X, y, weight = fold.held
                models = [self.nets[k][f] for k in self.alive]
                measured = Population.of(models, n_threads=template.n_threads).evaluate(X, y, sample_weight=weight)
                scores[f] = measured[self.search.monitor.removeprefix("val_")]
                if self.search.monitor == "val_loss":
                    scores[f] -= [penalty(net_of(model)) for model in models]
        for (f, places), record in zip(places_of, records, strict=True):
            seconds = np.nansum(record["seconds"], axis=0)
            for place, why, of_net in zip(places, record.stopped, seconds, strict=True):
                if why == "diverged":
                    scores[f, place] = np.nan
                self.candidates[self.alive[place]].seconds += float(of_net)
        scores[~np.isfinite(scores)] = np.nan
        for place, k in enumerate(self.alive):
            of_folds = scores[:, place]
            deviation = float(of_folds.std(ddof=1)) if len(of_folds) > 1 else math.nan
            self.candidates[k].scores.append((epochs, float(of_folds.mean()), deviation))

    def _end(self, order: list[int]) -> None:
        """Keep the best of a bracket if it is better than those of the brackets before."""
        chosen = [k for k in (self.finished, *order[:1]) if k is not None]
        self.finished = min(chosen, key=lambda k: _place(self.candidates[k], self.less)) if chosen else None

    def batch_size_of(self, k: int) -> Any:
        """Return the batch size of a candidate; a solver has that of the call."""
        settings = self.candidates[k].settings
        solver = optimizers.get(settings.get("optimizer", "adam")).full_batch
        return self.batch_size if solver else settings.get("batch_size", self.batch_size)

    def best(self) -> tuple[int, list[Model]]:
        """Return the number of the best candidate and its nets."""
        if self.finished is None:
            raise ValueError(
                "no candidate has a finite score after all of its epochs: search smaller learning rates, or scale X "
                "and y to 1."
            )
        return self.finished, self.nets[self.finished]

    # ---------------------------------------------------------------------------------------------- file

    def use_file(self, path: PathOrFile) -> None:
        """Write to a file from now on; continue from it if it exists."""
        check_suffix("path", path)
        self.path = path = as_path("path", path)
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        self.key = self._key_of()
        if not os.path.exists(path):
            return
        nets, header = population.read(path, n_threads=self.search._template.n_threads)
        state = header.get("search")
        if not isinstance(state, dict):
            raise ValueError(f"{label_of(path)} holds no search: give the path of another file.")
        if state.get("key") != self.key:
            raise ValueError(
                f"{label_of(path)} is of a search with other settings or data: give these, or the path of another file."
            )
        try:
            self._go_on_from(state, list(nets))
        except CONVERSION_ERRORS as error:  # whatever follows from values that no search has
            raise ValueError(f"{label_of(path)} is a fastnn file, but its content is no valid search.") from error

    def _go_on_from(self, state: Mapping[str, Any], nets: list[Model]) -> None:
        for one, (scores, seconds) in zip(self.candidates, state["candidates"], strict=True):
            one.scores = [
                (int(e), math.nan if s is None else float(s), math.nan if d is None else float(d)) for e, s, d in scores
            ]
            one.seconds = float(seconds)
        bracket, rung = self.at = tuple(state["at"])
        self.alive, self.finished = list(state["alive"]), state["finished"]
        kept = list(state["kept"])
        is_last = bracket == len(self.search._brackets)
        if rung != 0 and (is_last or not self.alive or not 0 <= rung < len(self.search._brackets[bracket])):
            raise ValueError(must_be("at", "a rung of the search", self.at))
        if set(kept) != {*self.alive, self.finished} - {None} or not set(kept) <= set(range(len(self.candidates))):
            raise ValueError(must_be("kept", "the candidates that are left", kept))
        of_each = zip(*[iter(nets)] * len(self.folds), strict=True)  # as many nets as there are folds
        for k, models in zip(kept, of_each, strict=True):
            self.nets[k] = list(models)
            for model in models:  # metrics that are functions are in no file
                net = net_of(model)
                net.spec = replace(net.spec, metrics=self.search._template.metrics)

    def _write(self) -> None:
        if self.path is None or not self.nets:
            return
        kept = sorted(self.nets)

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        candidates = [
            ([(e, number(score), number(spread)) for e, score, spread in one.scores], one.seconds)
            for one in self.candidates
        ]
        state = {
            "key": self.key, "candidates": candidates, "alive": self.alive, "finished": self.finished,
            "at": self.at, "kept": kept,
        }  # fmt: skip
        population.write(self.path, Population.of([model for k in kept for model in self.nets[k]]), {"search": state})

    def _key_of(self) -> str:
        """Return a hash of all that the result depends on."""
        digest = hashlib.sha256()
        search = self.search
        settings = [one.settings for one in self.candidates]
        template = net_of(search._template).spec
        plan = (search._brackets, search.monitor, search.seed, template.loss, str(template.dtype))
        digest.update(repr((settings, plan, self.batch_size, self.class_weight)).encode())
        for fold in self.folds:
            for part in (fold.X, fold.y, fold.sample_weight, *fold.held):
                array = np.asarray(part)
                digest.update(repr((array.shape, array.dtype.str)).encode())
                is_numbers = array.dtype != object
                digest.update(np.ascontiguousarray(array).tobytes() if is_numbers else repr(array.tolist()).encode())
        return digest.hexdigest()


# ------------------------------------------------------------------------------------------------ candidates


def _as_space(space: Any) -> dict[str, Any]:
    """Validate a space; return lists of choices, and distributions."""
    if not isinstance(space, Mapping) or not space:
        raise TypeError(must_be("space", "a dict of settings, at least one", space))
    found: dict[str, Any] = {}
    for name, values in space.items():
        if name not in _NAMES:
            raise ValueError(must_be("space", f"of settings that are among {', '.join(_NAMES)}", name))
        if isinstance(values, np.ndarray) and not values.ndim:
            found[name] = [values.item()]
        elif isinstance(values, list | tuple | range | np.ndarray):
            found[name] = list(values)
            if not found[name]:
                raise ValueError(must_be(f"space[{name!r}]", "a list with at least one item", values))
        elif callable(getattr(values, "rvs", None)):
            found[name] = values
        else:
            found[name] = [values]
    given = [name for name in _ARCHITECTURES if name in found]
    if len(given) != 1:
        raise ValueError(must_be("space", "with one of layers, widths and width", given or list(found)))
    for name, needed in (("depth", ("width",)), ("activation", ("widths", "width")), ("dropout", ("widths", "width"))):
        if name in found and given[0] not in needed:
            raise ValueError(f"space has {name} and {given[0]}: {name} counts with {' or '.join(needed)} alone.")
    if "regularizer" in found and ("l1" in found or "l2" in found):
        raise ValueError("space has regularizer, and l1 or l2: give one of them.")
    return found


def _draw(values: Any, rng: np.random.Generator, name: str) -> Any:
    """Return an item of a list or a number of a distribution, as a Python object."""
    if isinstance(values, list):
        drawn = values[int(rng.integers(len(values)))]
    else:
        try:
            drawn = values.rvs(random_state=rng)
        except CONVERSION_ERRORS as error:  # such as a distribution without its arguments
            constraint = "a distribution that draws, such as scipy.stats.randint(2, 9)"
            raise TypeError(must_be(f"space[{name!r}]", constraint, values)) from error
        if np.ndim(drawn) or not math.isfinite(drawn):
            raise ValueError(must_be(f"space[{name!r}]", "a distribution of finite numbers", drawn))
    return drawn.item() if isinstance(drawn, np.generic) else drawn


def _layers(settings: Settings, n_outputs: int) -> Any:
    """Return the layers of a candidate."""
    if "layers" in settings:
        return settings["layers"]
    if "widths" in settings:
        given = settings["widths"]
        widths = [given] if isinstance(given, int) else as_sequence("widths", "widths of hidden layers", given)
    else:
        depth = settings.get("depth", 1)
        if depth != 0:
            depth = positive_integer(depth, "depth")
        widths = [settings["width"]] * depth
    found: list[Any] = []
    dropout = number_in("dropout", settings.get("dropout", 0.0), "[0, 1)")
    for width in widths:
        found.append(Dense(positive_integer(width, "width"), settings.get("activation", "relu")))
        if dropout:
            found.append(Dropout(dropout))
    return [*found, Dense(n_outputs)]


def _regularizer(settings: Settings) -> Regularizer | str | None:
    if "l1" in settings or "l2" in settings:
        return L1L2(l1=settings.get("l1", 0.0), l2=settings.get("l2", 0.0))
    return settings.get("regularizer")


# ------------------------------------------------------------------------------------------------- brackets


def _n_rungs(ratio: float, factor: int) -> int:
    """Return how often a number can be divided by the factor before it is below 1."""
    return math.floor(math.log(ratio) / math.log(factor) + 1e-9)


def _brackets(method: str, n: int, min_epochs: int, max_epochs: int, factor: int) -> list[list[tuple[int, int]]]:
    """Return for each bracket its rungs: numbers of candidates and of epochs."""
    last = _n_rungs(max_epochs / min_epochs, factor)
    if method == "random":
        return [[(n, max_epochs)]]
    starts = [(n, last)]
    if method == "hyperband":
        starts = [(math.ceil((last + 1) / (s + 1) * factor**s), s) for s in range(last, -1, -1)]
    return [
        [(max(1, count // factor**i), max(1, round(max_epochs / factor ** (s - i)))) for i in range(s + 1)]
        for count, s in starts
    ]


def _folds(
    X: Any, y: Any, weights: Array | None, labels: Array, n: int, validation_data: Any, fraction: float | None,
    cv: Any, seed: int,
) -> Iterator[_Fold]:
    """Yield the parts of the rows that train and measure; `labels` is empty unless y has one class per row."""
    given = {"validation_data": validation_data, "validation_split": fraction, "cv": cv}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} are given; one of them is enough.")
    if validation_data is not None:
        yield _Fold(X, y, weights, (*validation_data, None)[:3])
        return
    if cv is None:
        parts = [split_validation(n, 0.2 if fraction is None else fraction, seed, name="validation_split")]
    elif isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= n:
            raise ValueError(must_be("cv", f"from 2 to the number of rows, {n}", cv))
        order = np.random.default_rng(seed).permutation(n)
        if labels.size:
            order = order[np.argsort(labels[order], kind="stable")]
        fold = np.empty(n, np.int64)
        fold[order] = np.arange(n) % cv
        parts = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(cv)]
    else:
        constraint = "a number, a splitter or pairs of indices (train, test)"
        is_splitter = callable(getattr(cv, "split", None)) and not isinstance(cv, str)
        given_pairs = list(cv.split(X, y)) if is_splitter else cv  # errors of a splitter are its own
        try:
            pairs = [(np.asarray(train), np.asarray(test)) for train, test in given_pairs]
        except (TypeError, ValueError) as error:
            raise TypeError(must_be("cv", constraint, cv)) from error
        if not pairs:
            raise ValueError(must_be("cv", "at least one pair of indices", cv))
        parts = [(_as_indices(train, n), _as_indices(test, n)) for train, test in pairs]
    for train, test in parts:
        inside = None if weights is None else weights[train]
        outside = None if weights is None else weights[test]
        yield _Fold(take_rows(X, train), take_rows(y, train), inside, (take_rows(X, test), take_rows(y, test), outside))


def _as_indices(given: Array, n: int) -> Array:
    """Validate the rows of one part of a fold: numbers below n, or one bool for each row."""
    if given.dtype == bool and given.shape == (n,):
        given = np.flatnonzero(given)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise ValueError(must_be("cv", "pairs of indices, at least one of each", given))
    if given.min() < -n or given.max() >= n:
        raise ValueError(must_be("cv", f"pairs of indices below the number of rows, {n}", given))
    return given
