"""Prediction intervals and sets of classes that contain the truth with a stated probability.

They are conformal predictions: rows that were not trained on show how large errors are, and the intervals are as wide
as that. The coverage holds for any model and any distribution, if later rows come from the same one. Names are those
of MAPIE 1.x.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import _chunks
from fastnn._data.take import n_rows_of, same_rows, take_rows
from fastnn._validation import as_seed, check_bool, must_be, number_in
from fastnn._validation.names import explained
from fastnn.ensemble import Ensemble, bootstrap_counts
from fastnn.model import Model

__all__ = ["CrossConformalRegressor", "SplitConformalClassifier", "SplitConformalRegressor"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.int64]

#: Numbers that are held at once for the intervals of a part of the rows, in CV+ and for sets.
_MOST_NUMBERS = 1 << 22
#: Least scale of an error, as a share of the mean absolute error.
_LEAST_SCALE = 1e-6


class _Conformal:
    """What the classes below share: an estimator, levels, and whether it is trained."""

    def __init__(self, estimator: Any, confidence_level: Any, prefit: bool = False) -> None:
        call = "predict_proba" if isinstance(self, SplitConformalClassifier) else "predict"
        if isinstance(estimator, type) or not callable(getattr(estimator, call, None)):
            raise TypeError(must_be("estimator", f"a Model, an Ensemble or another object with {call}", estimator))
        self.estimator = estimator
        self.confidence_level = confidence_level
        self.prefit = check_bool(prefit, "prefit")
        several = isinstance(confidence_level, Sequence | np.ndarray) and np.ndim(confidence_level) > 0
        one = confidence_level.item() if isinstance(confidence_level, np.ndarray) and not several else confidence_level
        given = list(confidence_level) if several else [one]
        if not given:
            raise ValueError(must_be("confidence_level", "a number or a list of numbers", confidence_level))
        self._levels = [number_in("confidence_level", level, "(0, 1)") for level in given]
        self._is_ready = False

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Train the estimator, with ``prefit=False`` alone; `conformalize` has to be called after it.

        Parameters
        ----------
        X, y
            As for the estimator's `fit`.
        **fit_params
            Keywords of that `fit`, such as `epochs`.

        Returns
        -------
        object
            This object.

        Raises
        ------
        ValueError
            With ``prefit=True``.
        """
        if self.prefit:
            raise ValueError("fit was called, but prefit=True says that estimator is trained: call conformalize.")
        self._is_ready = False  # the errors that were measured before are those of another training
        self.estimator.fit(X, y, **fit_params)
        return self

    def predict(self, X: Any) -> Array:
        """Return the estimator's predictions, without intervals or sets.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n,)
        """
        return _predicted(self.estimator, X)

    def _check_ready(self, call: str) -> None:
        if not self._is_ready:
            first = "fit_conformalize" if isinstance(self, CrossConformalRegressor) else "conformalize"
            raise ValueError(f"{call} needs the errors of rows that were not trained on: call {first} before.")

    def _ranks(self, n: int, n_given: int | None = None) -> list[int]:
        """Return for each level which of n ascending scores is its bound, counted from 0.

        With `n_given` the scores are those of half of that number of rows, the larger half of an odd one.
        """
        ranks = [math.ceil((n + 1) * level - 1e-9) for level in self._levels]
        for level, rank in zip(self._levels, ranks, strict=True):
            if rank > n:
                need = math.ceil(level / (1.0 - level) - 1e-9)
                if n_given is not None:
                    need = 2 * need - 1
                given = n if n_given is None else n_given
                raise ValueError(
                    must_be("X", f"of at least {need} rows for confidence_level={level:g}", given, "Give more rows.")
                )
        return [rank - 1 for rank in ranks]


@explained
class SplitConformalRegressor(_Conformal):
    """Prediction intervals from the errors on rows that were not trained on (split conformal prediction).

    Parameters
    ----------
    estimator : Model, Ensemble, estimator of fastnn or scikit-learn, or any object with `predict`
        Of one target.
    confidence_level : float or list of float
        Probability that an interval contains the true value, above 0 and below 1.
    conformity_score : {"absolute", "residual_normalized"}
        "absolute": intervals of one width [1]_, section 2.2. "residual_normalized": wide where errors are large, by an
        estimate of their scale [1]_, section 5.2. The scale is `predict_std` of the estimator where it has one, as an
        `Ensemble` has; else half of the rows of `conformalize` are used for a linear regression of the logarithm of
        the error.
    prefit : bool
        Whether the estimator is trained. With False, `fit` trains it.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    With n rows of `conformalize` the probability is at least the level, and at most 1 / (n + 1) above it, on average
    over the drawing of these rows, whatever the estimator.

    References
    ----------
    .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. Tibshirani, L. Wasserman, "Distribution-free predictive inference for
       regression", Journal of the American Statistical Association 113, 2018.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> X = np.linspace(-1, 1, 400)[:, None]
    >>> y = X[:, 0] ** 2 + np.random.default_rng(0).normal(0, 0.1, 400)
    >>> model = fastnn.Model([16, 1], loss="squared_error", seed=0)
    >>> history = model.fit(X[::2], y[::2], epochs=20)
    >>> regressor = fastnn.intervals.SplitConformalRegressor(model).conformalize(X[1::2], y[1::2])
    >>> y_pred, intervals = regressor.predict_interval(X)
    >>> intervals.shape
    (400, 2, 1)
    """

    def __init__(
        self,
        estimator: Any,
        confidence_level: float | Sequence[float] = 0.9,
        *,
        conformity_score: Literal["absolute", "residual_normalized"] = "absolute",
        prefit: bool = True,
    ) -> None:
        super().__init__(estimator, confidence_level, prefit)
        self.conformity_score = _choice("conformity_score", conformity_score, ("absolute", "residual_normalized"))
        self._scale: Callable[[Any], Numbers] = _ones
        self._bounds: list[float] = []

    def conformalize(self, X: Any, y: Any) -> SplitConformalRegressor:
        """Measure the errors on rows that the estimator was not trained on.

        Parameters
        ----------
        X : array-like, (n, n_features)
        y : array-like, (n,)

        Returns
        -------
        SplitConformalRegressor
            This object.

        Raises
        ------
        ValueError, TypeError
            If there are fewer rows than a level requires, or y does not fit the predictions.
        """
        errors = np.abs(_values(y) - _checked(_predicted(self.estimator, X), y))
        n_given, of_half = len(errors), None
        scale: Callable[[Any], Numbers] = _ones
        if self.conformity_score == "residual_normalized":
            least = max(_LEAST_SCALE * float(errors.mean()), np.finfo(np.float64).tiny)
            of_estimator = getattr(self.estimator, "predict_std", None)
            if of_estimator is None:
                of_half = n_given
                self._ranks(n_given - n_given // 2, of_half)
                half = np.random.default_rng(0).permutation(len(errors))
                for_scale, rest = np.sort(half[: len(half) // 2]), np.sort(half[len(half) // 2 :])
                scale = _LinearScale.of(take_rows(X, for_scale), errors[for_scale], least)
                X, errors = take_rows(X, rest), errors[rest]
            else:
                scale = _PredictedScale(self.estimator, least)
        scores = np.sort(errors / scale(X))
        self._bounds = [float(scores[rank]) for rank in self._ranks(len(scores), of_half)]
        self._scale = scale
        self._is_ready = True
        return self

    def predict_interval(self, X: Any) -> tuple[Array, Numbers]:
        """Return predictions and their intervals.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        y : ndarray, (n,)
            The predictions.
        intervals : ndarray of float64, (n, 2, n_levels)
            Lower and upper bound for each level.

        Raises
        ------
        ValueError
            Before `conformalize`.
        """
        self._check_ready("predict_interval")
        predicted = _predicted(self.estimator, X)
        half = self._scale(X)[:, None] * np.array(self._bounds)
        wide = predicted.astype(np.float64)[:, None]
        return predicted, np.stack([wide - half, wide + half], axis=1)


@explained
class CrossConformalRegressor(_Conformal):
    """Prediction intervals from cross-validation (CV+), for which no rows are set aside.

    Parameters
    ----------
    estimator : Model, Ensemble, estimator of fastnn or scikit-learn, or any object with `fit` and `predict`
        Of one target. Copies are trained, and it is unchanged. Those of a Model or an Ensemble are trained together as
        a `Population`, with the weight 0 for the rows of their own fold. They begin with its present weights where it
        has some; these must not come from a training on the same rows, which makes the intervals too narrow.
    confidence_level : float or list of float
        Above 0 and below 1; see Notes.
    cv : int
        Number of folds, at least 2.
    random_state : int
        Seed of the folds.

    Attributes
    ----------
    estimators : list
        The trained copies, one per fold.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    The probability that an interval contains the true value is at least 2 level - 1, whatever the estimator, and close
    to the level where the copies are alike [1]_.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive inference with the jackknife+", Annals
       of Statistics 49, 2021, section 3.
    """

    def __init__(
        self,
        estimator: Any,
        confidence_level: float | Sequence[float] = 0.9,
        *,
        cv: int = 5,
        random_state: int = 0,
    ) -> None:
        super().__init__(estimator, confidence_level)
        if not callable(getattr(estimator, "fit", None)):
            raise TypeError(must_be("estimator", "a Model, an Ensemble or another object with fit", estimator))
        if isinstance(cv, bool) or not isinstance(cv, int | np.integer):
            raise TypeError(must_be("cv", "a number of folds, at least 2", cv))
        if cv < 2:
            raise ValueError(must_be("cv", "at least 2", cv))
        self.cv = int(cv)
        self.random_state = as_seed(random_state)
        self.estimators: list[Any] = []
        self._fold: Rows = np.empty(0, np.int64)
        self._errors: Numbers = np.empty(0)

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Raise ValueError: call `fit_conformalize`.

        Parameters
        ----------
        X, y, **fit_params
            Without effect.

        Returns
        -------
        object
            Nothing.
        """
        raise ValueError("CrossConformalRegressor trains and measures in one call: call fit_conformalize.")

    def fit_conformalize(
        self, X: Any, y: Any, *, n_jobs: int | None = None, **fit_params: Any
    ) -> CrossConformalRegressor:
        """Train a copy of the estimator without each fold, and measure its errors there.

        Parameters
        ----------
        X : array-like, (n, n_features)
        y : array-like, (n,)
        n_jobs : int or None
            Number of workers of joblib; see `Ensemble.fit`.
        **fit_params
            Keywords of the estimator's `fit`, such as `epochs`. `sample_weight` and `validation_split` are invalid.

        Returns
        -------
        CrossConformalRegressor
            This object.

        Raises
        ------
        ValueError, TypeError
            If there are fewer rows than folds or than a level requires, or an argument is invalid.
        """
        wanted = _values(y)
        n = same_rows(X, y)
        if n < self.cv:
            raise ValueError(must_be("X", f"of at least {self.cv} rows, one for each fold", n))
        self._ranks(n)
        for name in ("sample_weight", "validation_split"):
            if name in fit_params:
                raise ValueError(f"{name} is no keyword of fit_conformalize, whose folds are weights of rows.")
        fold = np.random.default_rng(self.random_state).permutation(n) % self.cv
        estimators = self._trained(X, y, fold, n_jobs, fit_params)
        predicted = np.empty(n)
        for k, estimator in enumerate(estimators):
            held = np.flatnonzero(fold == k)
            predicted[held] = _checked(_predicted(estimator, take_rows(X, held)), held)
        self.estimators = estimators
        self._fold, self._errors = fold, np.abs(wanted - predicted)
        self._is_ready = True
        return self

    def _trained(self, X: Any, y: Any, fold: Rows, n_jobs: int | None, fit_params: dict[str, Any]) -> list[Any]:
        """Return copies of the estimator, each trained without one fold."""
        made = [_copy_of(self.estimator) for _ in range(self.cv)]
        if not isinstance(self.estimator, Model | Ensemble):
            def train(k: int) -> Any:
                kept = np.flatnonzero(fold != k)
                made[k].fit(take_rows(X, kept), take_rows(y, kept), **fit_params)
                return made[k]

            if _chunks.n_workers(n_jobs) == 1:
                return [train(k) for k in range(self.cv)]
            from joblib import Parallel, delayed

            return list(Parallel(n_jobs=n_jobs)(delayed(train)(k) for k in range(self.cv)))
        models, weights = [], []
        for k, copied in enumerate(made):
            members = list(copied.members) if isinstance(copied, Ensemble) else [copied]
            one = np.broadcast_to((fold != k).astype(np.float64), (len(members), len(fold)))
            if isinstance(copied, Ensemble) and copied.bootstrap:
                one = one * bootstrap_counts(members, len(fold))
            models += members
            weights.append(one)
        of_whom = self.estimator.members if isinstance(self.estimator, Ensemble) else self.estimator
        group = _chunks.Group(models, X, y, np.concatenate(weights), fit_params)
        _chunks.fit([group], n_jobs=n_jobs, n_threads=of_whom.n_threads)
        return made

    def predict(self, X: Any) -> Array:
        """Return the mean of the predictions of the copies.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n,)

        Raises
        ------
        ValueError
            Before `fit_conformalize`.
        """
        self._check_ready("predict")
        return self._all(X).mean(axis=1)

    def _all(self, X: Any) -> Numbers:
        """Return the predictions of all copies, (n, cv)."""
        return np.stack([_predicted(estimator, X) for estimator in self.estimators], axis=1).astype(np.float64)

    def predict_interval(self, X: Any) -> tuple[Array, Numbers]:
        """Return predictions and their intervals.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        y : ndarray, (n,)
            The predictions.
        intervals : ndarray of float64, (n, 2, n_levels)
            Lower and upper bound for each level.

        Raises
        ------
        ValueError
            Before `fit_conformalize`.
        """
        self._check_ready("predict_interval")
        of_copies = self._all(X)
        n_errors = len(self._errors)
        ranks = self._ranks(n_errors)
        intervals = np.empty((len(of_copies), 2, len(ranks)))
        step = max(1, _MOST_NUMBERS // n_errors)
        for start in range(0, len(of_copies), step):
            centre = of_copies[start : start + step, self._fold]
            low, high = np.sort(centre - self._errors, axis=1), np.sort(centre + self._errors, axis=1)
            for k, rank in enumerate(ranks):
                intervals[start : start + step, 0, k] = low[:, n_errors - 1 - rank]
                intervals[start : start + step, 1, k] = high[:, rank]
        return of_copies.mean(axis=1), intervals


@explained
class SplitConformalClassifier(_Conformal):
    """Sets of classes from the probabilities on rows that were not trained on (split conformal prediction).

    Parameters
    ----------
    estimator : Model, Ensemble, estimator of fastnn or scikit-learn, or any object with `predict_proba`
        With one class per row.
    confidence_level : float or list of float
        Probability that a set contains the true class, above 0 and below 1.
    conformity_score : {"lac", "aps"}
        "lac": the classes whose probability exceeds a bound [1]_, the smallest sets on average; a set may be empty.
        "aps": the most probable classes up to a bound of their sum [2]_, so that difficult rows have larger sets;
        without random numbers, so that the probability may be above the level.
    prefit : bool
        Whether the estimator is trained. With False, `fit` trains it.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    References
    ----------
    .. [1] M. Sadinle, J. Lei, L. Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", Journal
       of the American Statistical Association 114, 2019.
    .. [2] Y. Romano, M. Sesia, E. J. Candes, "Classification with valid and adaptive coverage", NeurIPS, 2020.
    """

    def __init__(
        self,
        estimator: Any,
        confidence_level: float | Sequence[float] = 0.9,
        *,
        conformity_score: Literal["lac", "aps"] = "lac",
        prefit: bool = True,
    ) -> None:
        super().__init__(estimator, confidence_level, prefit)
        self.conformity_score = _choice("conformity_score", conformity_score, ("lac", "aps"))
        self._bounds: Numbers = np.empty(0)

    def conformalize(self, X: Any, y: Any) -> SplitConformalClassifier:
        """Measure the probabilities of the true classes of rows that the estimator was not trained on.

        Parameters
        ----------
        X : array-like, (n, n_features)
        y : array-like, (n,)
            Labels: 0, 1, ... for a Model or Ensemble, else those in the estimator's `classes_`.

        Returns
        -------
        SplitConformalClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            If there are fewer rows than a level requires, or y has other classes than the estimator.
        """
        probabilities = self._probabilities(X)
        classes = self._classes(probabilities.shape[1])
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.shape != (len(probabilities),):
            raise ValueError(must_be("y", f"of shape ({len(probabilities)},)", labels.shape))
        is_class = labels[:, None] == classes
        if not is_class.any(axis=1).all():
            raise ValueError(must_be("y", f"one of the classes {classes}", labels[~is_class.any(axis=1)][0]))
        scores = np.sort(self._scores(probabilities)[is_class])
        self._bounds = scores[self._ranks(len(scores))]
        self._is_ready = True
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n,)
        """
        probabilities = self._probabilities(X)
        return self._classes(probabilities.shape[1])[probabilities.argmax(axis=1)]

    def predict_set(self, X: Any) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the most probable classes and the sets of classes.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        y : ndarray, (n,)
            The most probable classes.
        sets : ndarray of bool, (n, n_classes, n_levels)
            Whether each class is in the set.

        Raises
        ------
        ValueError
            Before `conformalize`.
        """
        self._check_ready("predict_set")
        probabilities = self._probabilities(X)
        predicted = self._classes(probabilities.shape[1])[probabilities.argmax(axis=1)]
        return predicted, self._scores(probabilities)[:, :, None] <= self._bounds

    def _scores(self, probabilities: Numbers) -> Numbers:
        """Return the score of each class, which is low where the class fits; (n, n_classes)."""
        if self.conformity_score == "lac":
            return 1.0 - probabilities
        order = np.argsort(-probabilities, axis=1, kind="stable")
        sums = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
        scores = np.empty_like(sums)
        np.put_along_axis(scores, order, sums, axis=1)
        return scores

    def _probabilities(self, X: Any) -> Numbers:
        found = np.asarray(self.estimator.predict_proba(X), np.float64)
        if found.ndim != 2:
            raise ValueError(must_be("estimator", "one whose predict_proba is (n, n_classes)", found.shape))
        if not np.isfinite(found).all():
            raise ValueError("estimator predicts NaN or infinity for some of the rows.")
        if found.shape[1] == 1:
            return np.concatenate([1.0 - found, found], axis=1)
        if len(found) and not np.allclose(found.sum(axis=1), 1.0, atol=1e-3):
            raise ValueError("estimator has several classes per row, as its probabilities do not sum to 1.")
        return found

    def _classes(self, n: int) -> Array:
        classes = getattr(self.estimator, "classes_", None)
        return np.arange(n) if classes is None else np.asarray(classes)


def _choice(name: str, given: Any, valid: Sequence[str]) -> Any:
    if type(given) is not str or given not in valid:
        raise ValueError(must_be(name, f"one of {', '.join(map(repr, valid))}", given))
    return given


def _values(y: Any) -> Numbers:
    """Return the values of one target, (n,)."""
    n_rows_of(y)
    try:
        given = np.asarray(y)
        if given.dtype.kind in "US":
            raise TypeError("text, which NumPy would read as numbers")
        values = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(must_be("y", "an array of numbers", y)) from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(must_be("y", "of one target, (n,)", values.shape))
    if not np.isfinite(values).all():
        raise ValueError(must_be("y", "finite", values[~np.isfinite(values)][0]))
    return values


def _predicted(estimator: Any, X: Any) -> Array:
    """Return the predictions of one target, (n,); of "gaussian_nll" the means."""
    found = np.asarray(estimator.predict(X))
    members = estimator.members if isinstance(estimator, Ensemble) else [estimator]
    if isinstance(members[0], Model) and members[0].loss.name == "gaussian_nll":
        found = found[:, : found.shape[1] // 2]
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(must_be("estimator", "one whose predictions have one target, (n,)", found.shape))
    return found


def _checked(predicted: Array, y: Any) -> Numbers:
    """Return finite predictions, as many as there are rows in y."""
    if len(predicted) != n_rows_of(y):
        raise ValueError(must_be("y", f"of {len(predicted)} rows, as X is", n_rows_of(y)))
    if not np.isfinite(predicted).all():
        raise ValueError("estimator predicts NaN or infinity for some of the rows.")
    return predicted.astype(np.float64)


def _ones(X: Any) -> Numbers:
    return np.ones(n_rows_of(X, "X"))


@dataclass(frozen=True)
class _PredictedScale:
    """The scale of errors that an estimator predicts."""

    estimator: Any
    least: float

    def __call__(self, X: Any) -> Numbers:
        found = np.asarray(self.estimator.predict_std(X), np.float64)
        return np.asarray(np.maximum(found.reshape(len(found)), self.least))


@dataclass(frozen=True)
class _LinearScale:
    """The scale of errors that a linear regression of their logarithms finds, within the errors that were seen."""

    weights: Numbers
    low: float
    high: float

    @classmethod
    def of(cls, X: Any, errors: Numbers, least: float) -> _LinearScale:
        weights = np.linalg.lstsq(cls._columns(X), np.log(np.maximum(errors, least)), rcond=None)[0]
        return cls(np.asarray(weights, np.float64), max(float(errors.min()), least), max(float(errors.max()), least))

    @staticmethod
    def _columns(X: Any) -> Numbers:
        """Return the features and a column of ones."""
        features = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
        return np.concatenate([features, np.ones((len(features), 1))], axis=1)

    def __call__(self, X: Any) -> Numbers:
        return np.clip(np.exp(self._columns(X) @ self.weights), self.low, self.high)


def _copy_of(estimator: Any) -> Any:
    """Return a copy: an estimator of scikit-learn's kind without its training, others as they are."""
    if isinstance(estimator, Model | Ensemble) or not hasattr(estimator, "get_params"):
        return copy.deepcopy(estimator)
    from sklearn.base import clone

    return clone(estimator)
