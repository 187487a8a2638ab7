"""Attributions: how much each feature of a row contributes to an output of the net, from its derivatives.

All functions take a Model or an estimator; they have the names of captum. An attribution is that of one output f, which
`target` chooses: what `Model.predict` returns, logits or probabilities, and for estimators the probability of a class
or the predicted value (its logarithm with the loss "poisson").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, as_seed, canonical_name, check_bool, must_be, positive_integer
from fastnn._validation.names import explained
from fastnn.model import subject_of

__all__ = ["input_x_gradient", "integrated_gradients", "saliency", "smooth_grad"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Method: TypeAlias = Literal["gausslegendre", "riemann_left", "riemann_middle", "riemann_right"]


@explained
def saliency(model: Any, X: Any, target: Any = None, *, abs: bool = True) -> Array:
    """Return the derivative of an output by each feature, or its size [1]_.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Not changed.
    X : array-like, (n, n_features)
        Rows to explain.
    target : int, label, array-like (n,) of these, or None
        The output to explain: its index for a Model or MLPRegressor, a label for an MLPClassifier (the index of an
        output for one of several labels per row); one for all rows, or one per row. None is the output that is largest
        in each row; the only one where there is one, which is the probability of the second label.
    abs : bool
        Whether to return absolute values.

    Returns
    -------
    ndarray, (n, n_features)
        df/dx or abs(df/dx), of the model's dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    References
    ----------
    .. [1] K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional networks: visualising image classification
       models and saliency maps", 2013.
    """
    signless = check_bool(abs, "abs")
    explanation = _Explanation(model, X, target)
    gradient = explanation.gradient(explanation.X)
    return np.abs(gradient) if signless else gradient


@explained
def input_x_gradient(model: Any, X: Any, target: Any = None) -> Array:
    """Return each feature times the derivative of an output by it.

    Parameters
    ----------
    model, X, target
        As for `saliency`.

    Returns
    -------
    ndarray, (n, n_features)
        x df/dx, of the model's dtype. For a net without hidden layer and activation the sum is f(x) less its bias.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.
    """
    explanation = _Explanation(model, X, target)
    return explanation.X * explanation.gradient(explanation.X)


@overload
def integrated_gradients(
    model: Any, X: Any, baselines: Any = 0, target: Any = None, *, n_steps: int = 50, method: Method = "gausslegendre",
    return_convergence_delta: Literal[False] = False,
) -> Array: ...
@overload
def integrated_gradients(
    model: Any, X: Any, baselines: Any = 0, target: Any = None, *, n_steps: int = 50, method: Method = "gausslegendre",
    return_convergence_delta: Literal[True],
) -> tuple[Array, Array]: ...
@explained
def integrated_gradients(
    model: Any,
    X: Any,
    baselines: Any = 0,
    target: Any = None,
    *,
    n_steps: int = 50,
    method: Method = "gausslegendre",
    return_convergence_delta: bool = False,
) -> Array | tuple[Array, Array]:
    """Return each feature's part in the difference of an output from that at a baseline [1]_.

    Parameters
    ----------
    model, X, target
        As for `saliency`; the output is chosen at X.
    baselines : number or array-like, (n_features,) or (n, n_features)
        The row, or the row for each one, with which rows are compared: one that means nothing, such as the mean.
    n_steps : int
        Number of points of the integral between baseline and row.
    method : {"gausslegendre", "riemann_left", "riemann_middle", "riemann_right"}
        The rule of integration.
    return_convergence_delta : bool
        Whether to return the error of the integral, too.

    Returns
    -------
    attributions : ndarray, (n, n_features)
        (x - b) times the integral of df/dx at b + a (x - b) over a from 0 to 1, of the model's dtype.
    delta : ndarray, (n,)
        The sum of a row's attributions less f(x) - f(b), which is 0 for the exact integral: completeness. More steps
        make it smaller.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML, 2017.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([32, 10], loss="softmax_crossentropy", seed=0, dtype="float64")
    >>> history = model.fit(X, y, epochs=5)
    >>> parts = fastnn.explain.integrated_gradients(model, X_test[:1], target=3)
    >>> whole = model.predict(X_test[:1]) - model.predict(0 * X_test[:1])
    >>> bool(abs(parts.sum() - whole[0, 3]) < 0.01)
    True
    """
    n_steps = positive_integer(n_steps, "n_steps")
    rule = canonical_name("method", method, tuple(_RULES), {})
    with_delta = check_bool(return_convergence_delta, "return_convergence_delta")
    explanation = _Explanation(model, X, target)
    X = explanation.X
    start = _like_rows("baselines", baselines, X)
    whole = X - start
    total = np.zeros(X.shape)
    for place, share in zip(*_RULES[rule](n_steps), strict=True):
        total += share * explanation.gradient(start + X.dtype.type(place) * whole)
    found = (whole * total).astype(X.dtype)
    if not with_delta:
        return found
    return found, found.sum(axis=1) - (explanation.values(X) - explanation.values(start))


@explained
def smooth_grad(
    model: Any, X: Any, target: Any = None, *, n_samples: int = 50, stdevs: Any = 0.1, seed: int = 0, abs: bool = False
) -> Array:
    """Return the mean derivative of an output by each feature over rows with noise [1]_.

    Parameters
    ----------
    model, X, target
        As for `saliency`; the output is chosen at X.
    n_samples : int
        Number of rows with noise per row.
    stdevs : number or array-like, (n_features,)
        Standard deviation of the normal noise; a tenth or a fifth of the range of the features is usual.
    seed : int
        Seed of the noise.
    abs : bool
        Whether to average absolute values.

    Returns
    -------
    ndarray, (n, n_features)
        The mean of df/dx or abs(df/dx), of the model's dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    References
    ----------
    .. [1] D. Smilkov, N. Thorat, B. Kim, F. Viegas, M. Wattenberg, "SmoothGrad: removing noise by adding noise", 2017.
    """
    n_samples = positive_integer(n_samples, "n_samples")
    signless = check_bool(abs, "abs")
    random = np.random.default_rng(as_seed(seed))
    explanation = _Explanation(model, X, target)
    X = explanation.X
    width = _like_rows("stdevs", stdevs, X[:1])
    if (width < 0.0).any():
        raise ValueError(must_be("stdevs", "at least 0", stdevs))
    total = np.zeros(X.shape)
    for _ in range(n_samples):
        noise = random.standard_normal(X.shape, X.dtype.type)
        gradient = explanation.gradient(X + width * noise)
        total += np.abs(gradient) if signless else gradient
    return (total / n_samples).astype(X.dtype)


class _Explanation:
    """One output per row of a net, as a function of the rows.

    Attributes
    ----------
    X : ndarray, (n, n_features)
        The rows, validated.
    """

    def __init__(self, model: Any, X: Any, target: Any) -> None:
        self._subject = subject_of(model)
        self.X = self._subject.features(X)
        outputs = self._subject.model.predict(self.X)
        n_outputs = outputs.shape[1]
        labels = self._subject.labels
        if target is None:
            index = outputs.argmax(axis=1)
        else:
            index = _codes(target, np.arange(n_outputs) if labels is None else labels, len(self.X))
        # One output is the probability of the second of two labels; that of the first is 1 less it.
        second = n_outputs > 1 or labels is None or target is None
        self._offset = np.zeros(len(index)) if second else 1.0 - index
        self._chosen = np.zeros_like(outputs)
        self._chosen[np.arange(len(index)), index if second else 0] = 1.0 if second else 2.0 * index - 1.0

    def gradient(self, X: Array) -> Array:
        """Return df/dx at other rows, (n, n_features)."""
        gradient: Array = self._subject.model.vjp(X, self._chosen)[1]
        return gradient

    def values(self, X: Array) -> Array:
        """Return f at other rows, (n,)."""
        return np.asarray((self._chosen * self._subject.model.predict(X)).sum(axis=1) + self._offset, X.dtype)


def _codes(target: Any, names: Array, n: int) -> npt.NDArray[np.int64]:
    """Return the place of each row's target among the names of the outputs, (n,)."""
    constraint = f"None, one of the outputs {names.tolist()}, or an array of {n} of these"
    try:
        given = np.asarray(target)
        found = np.asarray(given[..., None] == names, np.bool_)
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be("target", constraint, target)) from error
    if given.shape not in ((), (n,)) or given.dtype.kind == "b" != names.dtype.kind:
        raise ValueError(must_be("target", constraint, target))
    if not np.all(np.any(found, axis=-1)):
        raise ValueError(must_be("target", constraint, target))
    return np.broadcast_to(found.argmax(axis=-1), n)


def _like_rows(argument: str, given: Any, X: Array) -> Array:
    """Return finite numbers as rows like X: one for all features, one per feature, or a row per row."""
    constraint = f"a number, or an array of shape ({X.shape[1]},)"
    if len(X) > 1:
        constraint += f" or {X.shape}"
    try:
        numbers = np.asarray(given, X.dtype)
    except CONVERSION_ERRORS as error:
        raise TypeError(must_be(argument, constraint, given)) from error
    if numbers.shape not in ((), X.shape[1:], X.shape) or not np.isfinite(numbers).all():
        raise ValueError(must_be(argument, constraint, given))
    return np.array(np.broadcast_to(numbers, X.shape))


def _gauss_legendre(n: int) -> tuple[Array, Array]:
    """Return the points of the rule of n points on the interval from 0 to 1, and their weights."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return 0.5 * (1.0 + points), 0.5 * weights


def _riemann(first: float) -> Callable[[int], tuple[Array, Array]]:
    """Return the rule of n equal parts of the interval, with the point at this share of each part."""
    return lambda n: ((np.arange(n) + first) / n, np.full(n, 1.0 / n))


_RULES: dict[str, Callable[[int], tuple[Array, Array]]] = {
    "gausslegendre": _gauss_legendre,
    "riemann_left": _riemann(0.0),
    "riemann_middle": _riemann(0.5),
    "riemann_right": _riemann(1.0),
}
