"""Regularizers: R = l1 sum |w| + l2 sum w^2 over all weights; biases are left out, as in Keras.

The gradient is l1 sign(w) + 2 l2 w. Every class has both numbers, `l1` and `l2`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeAlias

from fastnn._validation import must_be, number_in
from fastnn._validation.names import explained, immutable, resolved_name

__all__ = ["L1", "L1L2", "L2", "get"]


def __dir__() -> list[str]:
    return __all__



def _check(regularizer: Regularizer) -> None:
    for field in fields(regularizer):
        object.__setattr__(regularizer, field.name, number_in(field.name, getattr(regularizer, field.name), "[0, inf)"))


@immutable("Write model.regularizer = {new}.")
@explained
@dataclass(frozen=True)
class L1:
    """R = l1 sum |w|, which drives weights to zero.

    Parameters
    ----------
    l1 : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If the number is of the wrong type, negative or not finite.
    """

    l1: float = 0.01

    def __post_init__(self) -> None:
        """Check the argument."""
        _check(self)

    @property
    def l2(self) -> float:
        """The factor of the squares: 0."""
        return 0.0


@immutable("Write model.regularizer = {new}.")
@explained
@dataclass(frozen=True)
class L2:
    """R = l2 sum w^2, which keeps weights small.

    Parameters
    ----------
    l2 : float
        At least 0. There is no 1/2 before the sum: where the other convention is meant, give half of it.

    Raises
    ------
    TypeError, ValueError
        If the number is of the wrong type, negative or not finite.
    """

    l2: float = 0.01

    def __post_init__(self) -> None:
        """Check the argument."""
        _check(self)

    @property
    def l1(self) -> float:
        """The factor of the absolute values: 0."""
        return 0.0


@immutable("Write model.regularizer = {new}.")
@explained
@dataclass(frozen=True)
class L1L2:
    """R = l1 sum |w| + l2 sum w^2.

    Parameters
    ----------
    l1, l2 : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong type, negative or not finite.
    """

    l1: float = 0.01
    l2: float = 0.01

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self)


Regularizer: TypeAlias = L1 | L2 | L1L2

_NAMED: dict[str, Regularizer] = {"l1": L1(), "l2": L2(), "l1_l2": L1L2()}


def get(spec: str | Regularizer | None) -> Regularizer:
    """Return the regularizer of a name.

    Parameters
    ----------
    spec : str, L1, L2, L1L2 or None
        An instance, a name (l1, l2, l1_l2) for one with its default numbers, or None for no regularizer.

    Returns
    -------
    L1, L2 or L1L2
        L1L2(0, 0) for None.

    Raises
    ------
    TypeError
        If `spec` is none of these.
    ValueError
        If the name is unknown.
    """
    if spec is None:
        return L1L2(0.0, 0.0)
    if isinstance(spec, Regularizer):
        return spec
    if not isinstance(spec, str):
        raise TypeError(must_be("regularizer", "an instance such as L2(1e-4), a name such as 'l2', or None", spec))
    return _NAMED[resolved_name("regularizer", spec, _NAMED, {})]
