"""Adversarial training: how the rows of each batch are moved against the net."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias

import numpy as np

from fastnn._data.rows import Rows
from fastnn._validation import (
    CONVERSION_ERRORS,
    as_sequence,
    check_bool,
    finite_number,
    must_be,
    number_in,
    positive_integer,
)
from fastnn._validation.names import explained, immutable
from fastnn.kernels import tables
from fastnn.optimizers import Optimizer

Limits: TypeAlias = tuple[float, float]

_LIMITS = "None or two limits (lowest, highest)"


def _two(clip_values: Any) -> tuple[Any, Any]:
    given = as_sequence("clip_values", _LIMITS, clip_values) if isinstance(clip_values, Iterable) else ()
    if len(given) != 2:
        raise ValueError(must_be("clip_values", _LIMITS, clip_values))
    return given[0], given[1]


def as_feature_limits(clip_values: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest values of features, of the dtype of X, which must be within them.

    Parameters
    ----------
    clip_values : (lowest, highest)
        Numbers or arrays (n_features,).
    X : ndarray, (n, n_features)

    Returns
    -------
    tuple of ndarray, () or (n_features,)
    """
    limits = []
    for k, limit in enumerate(_two(clip_values)):
        try:
            one = np.asarray(limit, X.dtype)
        except CONVERSION_ERRORS as error:
            raise TypeError(must_be(f"clip_values[{k}]", "a number, or one per feature", limit)) from error
        if one.shape not in ((), (X.shape[1],)) or np.isnan(one).any():
            raise ValueError(must_be(f"clip_values[{k}]", f"a number, or {X.shape[1]} numbers", limit))
        limits.append(one)
    low, high = limits
    if not (low < high).all():
        raise ValueError(must_be("clip_values", "limits of which the first are the lower ones", clip_values))
    if (low > X).any() or (high < X).any():
        hint = f"Give them in the units of X, whose values are from {X.min():g} to {X.max():g}."
        raise ValueError(must_be("clip_values", "limits of all features of X", clip_values, hint))
    return low, high


@dataclass(frozen=True)
class _Adversary:
    """What `FGSM` and `PGD` have in common."""

    eps: float
    _: KW_ONLY
    eps_step: float | None = None
    random_start: bool = True
    ratio: float = 1.0
    clip_values: Limits | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "eps", number_in("eps", self.eps, "(0, inf)"))
        if self.eps_step is not None:
            object.__setattr__(self, "eps_step", number_in("eps_step", self.eps_step, "(0, inf)"))
        object.__setattr__(self, "random_start", check_bool(self.random_start, "random_start"))
        object.__setattr__(self, "ratio", number_in("ratio", self.ratio, "(0, 1]"))
        if self.clip_values is not None:
            low, high = (finite_number(f"clip_values[{k}]", limit) for k, limit in enumerate(_two(self.clip_values)))
            if not low < high:
                raise ValueError(must_be("clip_values", "two numbers, the lower one first", self.clip_values))
            object.__setattr__(self, "clip_values", (low, high))

    def _moves(self) -> tuple[int, float]:
        """Return the number of moves and the size of each."""
        raise NotImplementedError

    def _table(self, dtype: np.dtype[Any]) -> np.ndarray:
        """Return the settings as the kernels read them."""
        steps, size = self._moves()
        if not min(dtype.type(self.eps), dtype.type(size)) > 0.0:
            raise ValueError(
                f"adversary is {self!r}, whose moves are 0 in {dtype.name}; give a greater eps, or dtype='float64'."
            )
        low, high = (-math.inf, math.inf) if self.clip_values is None else self.clip_values
        table = tables.new_table(tables.Adversary, 1)
        table[:] = (steps, self.eps if self.random_start else 0.0, self.eps, size, self.ratio, low, high)
        return table


@immutable("Write {new} in the next fit.")
@explained
@dataclass(frozen=True)
class FGSM(_Adversary):
    """Adversarial training by one step: each row is moved so that its loss rises, then trained on.

    It is given to `Model.fit`, and runs inside the compiled step: a random start in the box of half width `eps` around
    the row, one step of `eps_step` against the sign of the derivative of the loss, back into the box [1]_. Loss and
    metrics of the training are those of the moved rows; validation rows are not moved.

    Parameters
    ----------
    eps : float
        Largest change of a feature, in its units, above 0.
    eps_step : float or None
        Size of the step; None is 1.25 `eps` from a random start, and `eps` without one.
    random_start : bool
        Whether the step begins at a random point of the box; without it the net may learn to hide its derivative
        from this one step, and not to resist others [1]_.
    ratio : float
        Share of the rows that are moved, drawn anew in each step; above 0 and at most 1.
    clip_values : (float, float) or None
        Lowest and highest value of a moved feature.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of range.

    Notes
    -----
    The random numbers depend only on the model's seed, the number of the step and the row's place, so results are the
    same for any number of threads. A step takes about twice the time of one without an adversary.

    References
    ----------
    .. [1] E. Wong, L. Rice, J. Z. Kolter, "Fast is better than free: revisiting adversarial training", ICLR, 2020,
       algorithm 3.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.robust import FGSM
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([32, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=10, adversary=FGSM(eps=0.1, clip_values=(0, 1)))
    >>> bool(model.evaluate(X_test, y_test)["accuracy"] > 0.8)
    True
    """

    def _moves(self) -> tuple[int, float]:
        if self.eps_step is not None:
            return 1, self.eps_step
        return 1, 1.25 * self.eps if self.random_start else self.eps


@immutable("Write {new} in the next fit.")
@explained
@dataclass(frozen=True)
class PGD(_Adversary):
    """Adversarial training by several steps: as `FGSM`, with a stronger adversary that takes longer [1]_.

    Parameters
    ----------
    eps : float
        Largest change of a feature, in its units, above 0.
    eps_step : float or None
        Size of each step; None is 2.5 `eps` / `max_iter`.
    random_start, ratio, clip_values
        As for `FGSM`.
    max_iter : int
        Number of steps; each takes about as long as a step of plain training.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards deep learning models resistant to
       adversarial attacks", ICLR, 2018.
    """

    _: KW_ONLY
    max_iter: int = 7

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        object.__setattr__(self, "max_iter", positive_integer(self.max_iter, "max_iter"))

    def _moves(self) -> tuple[int, float]:
        return self.max_iter, 2.5 * self.eps / self.max_iter if self.eps_step is None else self.eps_step


def table_of(adversary: Any, rows: Rows, optimizer: Optimizer) -> np.ndarray:
    """Return the adversary of a fit as the kernels read it, validated; full-batch solvers refuse one.

    Parameters
    ----------
    adversary : FGSM, PGD or None
    rows : Rows
        Those to train on.
    optimizer : Optimizer

    Returns
    -------
    ndarray of `kernels.tables.Adversary`
        (1,), or (0,) for None.
    """
    if adversary is None:
        return tables.new_table(tables.Adversary, 0)
    if not isinstance(adversary, _Adversary):
        raise TypeError(must_be("adversary", "a fastnn.robust.FGSM or PGD, or None", adversary))
    if optimizer.full_batch:
        raise ValueError(
            f"adversary is {adversary!r}, but optimizer={optimizer!r} needs the same rows in each iteration: leave "
            "adversary out, or take an optimizer such as 'adam'."
        )
    if adversary.clip_values is not None:
        as_feature_limits(adversary.clip_values, rows.features)
    return adversary._table(rows.features.dtype)
