"""Metrics: quality measures reported with the loss.

Those in `_CODES` are summed by the kernels while a net trains, one value per row, and reported as the mean over the
rows. All others are functions of targets and predictions, and are computed after each epoch from predictions made for
that purpose.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, is_encodable, must_be, name_of
from fastnn._validation.names import explained, resolved_name
from fastnn.history import NO_METRICS
from fastnn.kernels import ids
from fastnn.losses import Loss

__all__ = ["Metric", "get"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
MetricFunction: TypeAlias = Callable[[Array, Array], float]

_CODES = {
    "accuracy": ids.ACCURACY,
    "mean_squared_error": ids.MEAN_SQUARED_ERROR,
    "mean_absolute_error": ids.MEAN_ABSOLUTE_ERROR,
}
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "rmse": "root_mean_squared_error",
    "r2_score": "r2",
}
_TAKEN = ("loss", "epoch", *NO_METRICS)  # names of other things in logs and History


def _root_mean_squared_error(y_true: Array, y_pred: Array, sample_weight: Array | None) -> float:
    return float(np.sqrt(np.average(np.square(y_true - y_pred).mean(axis=1), weights=sample_weight)))


def _r2(y_true: Array, y_pred: Array, sample_weight: Array | None) -> float:
    """1 - residual / total sum of squares, the mean over the outputs; of constant targets 1 if met, else 0."""
    mean = np.average(y_true, axis=0, weights=sample_weight)
    total = np.average(np.square(y_true - mean), axis=0, weights=sample_weight)
    residual = np.average(np.square(y_true - y_pred), axis=0, weights=sample_weight)
    constant = total == 0.0
    scores = 1.0 - residual / np.where(constant, 1.0, total)
    return float(np.where(constant, residual == 0.0, scores).mean())


#: Of y_true and y_pred (n, n_outputs) float64, and the rows' weights (n,) or None.
_FUNCTIONS = {"root_mean_squared_error": _root_mean_squared_error, "r2": _r2}


@explained
@dataclass(frozen=True)
class Metric:
    """A metric by its name, or a function under a name.

    Parameters
    ----------
    name : str
        accuracy, mean_squared_error (or mse), mean_absolute_error (or mae), which the kernels count while they
        train; root_mean_squared_error (or rmse), r2 (or r2_score), which are computed after each epoch. With a
        `function`, any name that is still free in a History.
    function : callable or None
        ``function(y_true, y_pred) -> float``; see `Model`.
    needs : {"classes", "probabilities"} or None
        What a function receives where the loss is a cross-entropy: labels of classes, as `predict_classes` returns
        them, or the probabilities of `predict_proba`. None: probabilities; if the function raises TypeError or
        ValueError for them, as scikit-learn's ``f1_score`` does, classes.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or taken.
    """

    name: str
    function: MetricFunction | None = None
    _: KW_ONLY
    needs: Literal["classes", "probabilities"] | None = None

    def __post_init__(self) -> None:
        """Resolve the name."""
        if self.needs not in (None, "classes", "probabilities"):
            raise ValueError(must_be("needs", "'classes', 'probabilities' or None", self.needs))
        if self.function is None:
            if self.needs is not None:
                raise ValueError(f"needs={self.needs!r} is that of a function, but metric {self.name!r} has none.")
            known = {**_CODES, **dict.fromkeys(_FUNCTIONS, -1)}
            object.__setattr__(self, "name", resolved_name("metric", self.name, known, _ALIASES))
            return
        if not callable(self.function) or not _takes_two(self.function):
            raise TypeError(must_be("function of a metric", "callable as function(y_true, y_pred)", self.function))
        if type(self.name) is not str or not self.name or not is_encodable(self.name):
            raise TypeError(must_be("name of a metric", "a text such as 'balanced_accuracy'", self.name))
        if self.name in _TAKEN or self.name.startswith("val_"):
            hint = "Use Metric('another_name', function)."
            raise ValueError(must_be("name of a metric", f"none of {', '.join(_TAKEN)} and val_...", self.name, hint))

    @property
    def compiled(self) -> bool:
        """Whether the kernels count it while they train."""
        return self.function is None and self.name in _CODES

    @property
    def code(self) -> int:
        """The kernels' integer code, of a metric that is `compiled`."""
        return _CODES[self.name]

    def value(
        self,
        y_true: Array,
        y_pred: Array,
        sample_weight: Array | None,
        classes: Callable[[], tuple[Array, Array]] | None = None,
    ) -> float:
        """Compute a metric that is not `compiled`.

        Parameters
        ----------
        y_true : (n,) or (n, m) ndarray
            Targets.
        y_pred : (n,) or (n, n_outputs) ndarray
            Predictions.
        sample_weight : (n,) ndarray or None
            Weight of each row; it is not passed to a custom `function`.
        classes : callable or None
            Returns targets and predictions as classes; None where there are none.

        Returns
        -------
        float
            The metric of all rows.
        """
        if self.function is None:
            t, u = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (y_true, y_pred))
            return _FUNCTIONS[self.name](t, u, sample_weight)
        found = self._called(self.function, y_true, y_pred, classes)
        try:
            if np.ndim(found) == 0:
                return float(found)
        except OverflowError:
            return math.inf
        except CONVERSION_ERRORS:  # raised by the value itself
            pass
        raise TypeError(must_be(f"value of the metric {self.name!r}", "one number", found))

    def _called(
        self,
        function: MetricFunction,
        y_true: Array,
        y_pred: Array,
        classes: Callable[[], tuple[Array, Array]] | None,
    ) -> Any:
        """Call the function with what it needs."""
        if self.needs == "classes" and classes is not None:
            return function(*classes())
        try:
            return function(y_true, y_pred)
        except (TypeError, ValueError):
            if self.needs is not None or classes is None:
                raise
            try:
                return function(*classes())
            except CONVERSION_ERRORS:  # the error for probabilities is the one to report
                pass
            raise


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except CONVERSION_ERRORS:  # it has no signature, or one that cannot be read
        pass
    return True


def get(spec: str | Metric | MetricFunction, *, loss: Loss | None = None) -> Metric:
    """Return the `Metric` that a specification names.

    Parameters
    ----------
    spec : str, Metric or callable
        A name, an instance, or ``function(y_true, y_pred) -> float`` whose ``__name__`` becomes the name.
    loss : Loss or None
        The loss that the metric stands beside; None leaves out the check of the two.

    Returns
    -------
    Metric
        The instance given, or a new one.

    Raises
    ------
    TypeError
        If `spec` is none of these, or a callable without a name.
    ValueError
        If the name is unknown, or the metric and the loss do not fit: accuracy is for classification,
        the errors are for regression.
    """
    if isinstance(spec, Metric):
        metric = spec
    elif isinstance(spec, str):
        metric = Metric(spec)
    elif callable(spec) and not isinstance(spec, type):
        name = name_of(spec)
        if name is None:
            raise TypeError(must_be("metric", "a function with a __name__, or Metric('name', function)", spec))
        metric = Metric(name, spec)
    else:
        raise TypeError(must_be("metric", "a name such as 'accuracy', a function(y_true, y_pred) or a Metric", spec))
    if loss is None:
        return metric
    if metric.function is not None:
        if metric.needs == "classes" and not loss.classification:
            raise ValueError(
                f"metric {metric.name!r} has needs='classes', but loss={loss.name!r} is one of regression. Leave needs "
                "out, or use a loss such as 'softmax_crossentropy'."
            )
        return metric
    if metric.name == "accuracy" and not loss.classification:
        raise ValueError(
            f"metric 'accuracy' needs a loss of classification, got loss={loss.name!r}. "
            "Use 'mean_absolute_error', or a loss such as 'softmax_crossentropy'."
        )
    if metric.name != "accuracy" and not loss.rule.predictions:
        raise ValueError(
            f"metric {metric.name!r} is the error of outputs that are predictions themselves, which those of "
            f"loss={loss.name!r} are not. Leave it out, or give a function."
        )
    if metric.name != "accuracy" and loss.classification:
        raise ValueError(
            f"metric {metric.name!r} needs a loss of regression, got loss={loss.name!r}, whose outputs are logits. "
            "Use 'accuracy'."
        )
    return metric
