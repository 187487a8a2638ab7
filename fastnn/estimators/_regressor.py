"""MLPRegressor: scikit-learn's estimator of this name, trained by `Model`.

Parameters, defaults, methods, fitted attributes and errors are those of scikit-learn 1.9.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn.estimators._parameters import naming  # first: its ImportError names what to install

# isort: split
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastnn import losses
from fastnn._validation import check_bool, must_be, positive_integer
from fastnn.estimators._base import BaseMLP

Array = npt.NDArray[Any]


def weighted_r2(y: Array, predicted: Array, sample_weight: Array | None) -> float:
    """Return R2 as `sklearn.metrics.r2_score` does, the mean over outputs, without its checks (about 300 us).

    The score of a constant output is 1 if it is predicted exactly, else 0.
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    with np.errstate(over="ignore", invalid="ignore"):  # squares, before training diverges
        residual = weight @ (y - predicted) ** 2
        total = weight @ (y - np.average(y, axis=0, weights=weight)) ** 2
        ratio = np.divide(residual, total, out=(residual > 0).astype(np.float64), where=(total > 0) & (residual > 0))
    return float(np.mean(1.0 - ratio))


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor with the API of scikit-learn.

    It replaces `sklearn.neural_network.MLPRegressor`. It minimizes half the squared error, half the Poisson
    deviance, or another loss, summed over the outputs, plus alpha/(2 n) times the sum of the squared weights, n being
    the rows of a batch.

    Parameters
    ----------
    loss : str or Loss
        The loss to minimize. "squared_error"; "poisson" for counts and other targets of at least 0, where the outputs
        of the net are the logarithms of the predictions. New here: "absolute_error"; "huber" or
        ``fastnn.losses.huber(delta)``; "quantile", the median, or ``fastnn.losses.quantile(0.1, 0.5, 0.9)``;
        "gaussian_nll", with a mean and a variance for each target; a loss of ``fastnn.custom.loss``.
    hidden_layer_sizes, ..., max_fun, dropout, schedule, callbacks, n_threads, dtype, scoring
        As for `MLPClassifier`.

    Attributes
    ----------
    coefs_, ..., out_activation_
        As for `MLPClassifier`; the score is R2 (D2 of the pinball loss for quantiles, see `score`), and the activation
        of the output is "identity", or "exp" with "poisson". `n_outputs_` counts the outputs of the net: one per level
        of each target for quantiles, two per target for "gaussian_nll".

    Notes
    -----
    The differences from scikit-learn are those of `MLPClassifier`. Targets are not scaled: scale them to about 1.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(3 * X[:, 0])
    >>> net = fastnn.MLPRegressor(hidden_layer_sizes=(20, 20), random_state=0, max_iter=500).fit(X, y)
    >>> bool(net.score(X, y) > 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [str, losses.Loss],
    }
    _objective_parameter = "loss"

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        schedule: Any = None,
        callbacks: Any = None,
        n_threads: int | None = None,
        dtype: Any = None,
        scoring: Any = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.schedule = schedule
        self.callbacks = callbacks
        self.n_threads = n_threads
        self.dtype = dtype
        self.scoring = scoring

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        coefs_init: Any = None,
        intercepts_init: Any = None,
    ) -> MLPRegressor:
        """Train until loss or validation score no longer improve.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like (n_samples,) or None
            Weight of each row; None for equal weights.
        X_val, y_val, sample_weight_val : array-like or None
            New here: validation rows for `early_stopping`, instead of a fraction of X; without it for the curve of
            their loss alone.
        coefs_init, intercepts_init : sequence of array-like or None
            New here: the weights (n_in, n_out) and biases (n_out,) of each layer to start from, which are copied; None
            draws them, or with `warm_start` keeps those of the previous fit.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is invalid or inconsistent, or training diverges.
        """
        validation = self._check_validation(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation=validation, start=(coefs_init, intercepts_init))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train for one epoch on the given rows, from the present weights.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As for `fit`.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is invalid or inconsistent, or training diverges.
        """
        with self._restored_on_failure() as started:
            train = self._set_up(X, y, sample_weight, incremental=True)
            started()
            train()
        return self

    def build(
        self, n_features: int, n_outputs: int = 1, *, coefs_init: Any = None, intercepts_init: Any = None
    ) -> MLPRegressor:
        """Make the net without data: it predicts at once, and `partial_fit` and a warm start train it on.

        Parameters
        ----------
        n_features : int
            Columns of X.
        n_outputs : int
            Columns of y.
        coefs_init, intercepts_init : sequence of array-like or None
            Weights (n_in, n_out) and biases (n_out,) of each layer, which are copied; None draws them by
            `random_state`.

        Returns
        -------
        MLPRegressor
            The estimator itself, whose earlier fits are forgotten.

        Raises
        ------
        ValueError, TypeError
            If an argument or a parameter is invalid, or weights do not have the shapes that they state.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLPRegressor(hidden_layer_sizes=())
        >>> net.build(2, coefs_init=[[[1.0], [2.0]]], intercepts_init=[[0.5]]).predict([[1, 1]])
        array([3.5])
        """
        with self._restored_on_failure():
            self._validate_params()
            n_outputs = positive_integer(n_outputs, "n_outputs") * self._new_objective().outputs_per_target
            self._make(n_features, n_outputs, coefs_init, intercepts_init)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted values.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        return_std : bool
            New here. Whether to return the standard deviations, too; for "gaussian_nll".

        Returns
        -------
        ndarray, or tuple of two
            (n_samples,), or (n_samples, n_outputs) for several targets: values, means for "gaussian_nll", medians for
            "absolute_error". With several quantiles there is one more dimension, of their levels: (n_samples,
            n_levels), or (n_samples, n_outputs, n_levels).

        Raises
        ------
        ValueError
            If X is invalid, or `return_std` is set and the loss is another.
        """
        check_is_fitted(self)
        outputs = self._outputs(X)
        if self._objective.rule.outputs_per_target is None and not return_std:
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs
        values = self._values(outputs)
        values = values[:, 0] if values.shape[1] == 1 else values
        if not check_bool(return_std, "return_std"):
            return values
        if self._objective.rule.name != "gaussian_nll":
            raise ValueError(
                f"return_std is {return_std}, but the loss is {self._objective.name!r}, which estimates no deviations: "
                "set loss='gaussian_nll'."
            )
        half = outputs.shape[1] // 2
        return values, np.exp(0.5 * outputs[:, half:]).reshape(values.shape)

    def _values(self, outputs: Array) -> Array:
        """Return the predictions in outputs of the net: (n_samples, n_targets), or (..., n_levels) for quantiles."""
        levels = len(self._objective.quantiles)
        if levels > 1:
            return outputs.reshape(len(outputs), -1, levels)
        return outputs[:, : outputs.shape[1] // self._objective.outputs_per_target]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions: R2, or D2 for quantiles.

        D2 is the share of the pinball loss that the predictions explain (`sklearn.metrics.d2_pinball_score`), the mean
        over the levels. Both are means over the targets.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
            The true values.
        sample_weight : array-like (n_samples,) or None
            Weight of each row; None for equal weights.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        values = self._values(self._outputs(X))
        with naming("y", "sample_weight", "X"):
            if self._objective.quantiles:
                return self._explained(y, values, sample_weight)
            return float(r2_score(y, values, sample_weight=sample_weight))

    def _explained(self, y: Array, values: Array, sample_weight: Array | None) -> float:
        """Return D2 of the pinball loss, the mean over the levels; see `score`."""
        levels = self._objective.quantiles
        by_level = values.reshape(*values.shape[:2], len(levels))
        scores = [
            d2_pinball_score(y, by_level[..., k], sample_weight=sample_weight, alpha=level)
            for k, level in enumerate(levels)
        ]
        return float(np.mean(scores))

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Array, Array, Array | None]:
        X, y = self._features_and_targets(X, y, reset=reset, y_numeric=True)
        with naming("y"):
            return X, self._column(y, "y"), None

    def _encode_known(self, y: Any, name: str) -> Array:
        return self._column(np.asarray(y, np.float64), name)

    def _column(self, y: Array, name: str) -> Array:
        if self._new_objective().rule.name == "poisson" and np.any(y < 0):
            raise ValueError(must_be(name, "at least 0 for loss='poisson'", y.min().item()))
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _new_objective(self) -> losses.Loss:
        found = losses.get(self.loss)
        if found.classification:
            raise ValueError(must_be("loss", "one for regression", self.loss, "For classes there is MLPClassifier."))
        if found.rule.reduction == "sum":
            hint = "'squared_error' is half the sum of squares, divided by the number of rows."
            raise ValueError(must_be("loss", "a mean over the rows", self.loss, hint))
        return found

    def _n_outputs(self, y: Array) -> int:
        return super()._n_outputs(y) * self._new_objective().outputs_per_target

    def _output(self) -> str:
        return "exp" if self._new_objective().rule.name == "poisson" else "identity"

    def _score_outputs(self, outputs: Array, y: Array, sample_weight: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        values = self._values(outputs)
        if self._objective.quantiles:
            return self._explained(y, values, sample_weight)
        return weighted_r2(y.reshape(values.shape), values, sample_weight)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags; several outputs are supported."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


MLPRegressor.__module__ = "fastnn.estimators"  # the public path, which pickles contain
