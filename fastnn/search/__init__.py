"""Search of settings: many candidates are trained a little, and the best of them on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import optimizers
from fastnn._compatibility import BatchSize, as_batch_size
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import ValidationData, prepare_training
from fastnn._data.take import n_rows_of
from fastnn._errors import DivergenceError, warn
from fastnn._persistence.npz import PathOrFile
from fastnn._validation import as_seed, check_bool, must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.history import less_is_better
from fastnn.losses import Loss
from fastnn.metrics import Metric, MetricFunction
from fastnn.model import Model, net_of
from fastnn.search._brackets import brackets_of, n_rungs
from fastnn.search._candidates import Candidate, place
from fastnn.search._folds import folds_of
from fastnn.search._run import Plan, Run
from fastnn.search._space import as_space, draw, new_model
from fastnn.search._state import StateFile

__all__ = ["Search", "SearchResult"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
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
        candidates: Sequence[Candidate],
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
        order = sorted(range(len(self)), key=lambda k: place(self._candidates[k], less))
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
    _candidates: list[Candidate]

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
        self._space = as_space(space)
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
        last = n_rungs(self.max_epochs / self.min_epochs, self.factor)
        count = self.factor**last if n_candidates is None else positive_integer(n_candidates, "n_candidates")
        self._brackets = brackets_of(method, count, self.min_epochs, self.max_epochs, self.factor)
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

    def _drawn(self) -> list[Candidate]:
        """Return the candidates of all brackets, drawn by the seed."""
        rng = np.random.default_rng(self.seed)
        found = []
        for bracket, rungs in enumerate(self._brackets):
            for _ in range(rungs[0][0]):
                settings = {name: draw(values, rng, name) for name, values in self._space.items()}
                found.append(Candidate(settings, bracket))
        for k, candidate in enumerate(found):
            try:
                new_model(candidate.settings, self._template, 2 * self._template.loss.outputs_per_target, self.seed + k)
            except (TypeError, ValueError) as error:
                error.add_note(f"These are the settings of candidate {k}: {candidate.settings}.")
                raise
        return found

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
            As for `Model.fit`: classes are the numbers 0, 1, .... Other labels are encoded by
            ``classes, y = np.unique(labels, return_inverse=True)``, and `SearchResult.estimator` predicts them.
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
            If an argument is invalid, or `path` has the state of another search or is damaged. If no candidate has a
            finite score after all of its epochs; the text has the best one before.
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
        try:
            rows, _ = prepare_training(X, y, net_of(self._template).form, **given)
        except TypeError as error:
            if str(error).startswith("y holds"):  # text
                error.add_note("`SearchResult.estimator` takes the labels that np.unique returns, and predicts them.")
            raise
        weights = None if sample_weight is None else np.asarray(sample_weight)
        as_batch_size(batch_size, rows.n, optimizers.Adam())
        labels: Array = rows.targets.labels
        values = rows.targets.values
        if self._template.loss.classification and values.ndim == 2 and values.shape[1] == 1:
            labels = values[:, 0]  # of two classes
        plan = Plan(
            template=self._template, brackets=self._brackets, monitor=self.monitor, seed=self.seed,
            folds=list(folds_of(X, y, weights, labels, rows.n, validation_data, validation_split, cv, self.seed)),
            n_outputs=rows.targets.n_outputs, batch_size=batch_size, class_weight=class_weight, n_jobs=n_jobs,
            verbose=verbose,
        )  # fmt: skip
        run = Run(plan, self._candidates)
        run.check_candidates(is_written=path is not None)
        file = None if path is None else StateFile(path, run)
        if file is not None:
            file.read()
        run.all_brackets(None if file is None else file.write)
        best, models = run.best()
        candidates = run.candidates
        model = models[0]
        if refit and validation_data is None:
            refitted = run.new_model(best)
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
        n = n_rows_of(plan.folds[0].y) if model is models[0] else rows.n
        size = as_batch_size(run.batch_size_of(best), n, model.optimizer)
        return SearchResult(candidates, self.monitor, best, models, model, size)
