"""Custom activations, losses and row functions, run inside the compiled kernels.

Such a function is compiled by itself, in some tenths of a second, into machine code for a run of elements, and the
kernels call it by its address: once for the outputs of a layer for some rows, not for each element. Compiling the
kernels anew around it would take as long as the first fit does, in each process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.extending import is_jitted

from fastnn._validation import CONVERSION_ERRORS, is_encodable, must_be, name_of, reason
from fastnn.activations import Activation
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd import FUNCTIONS
from fastnn.kernels.nn.rules import ActivationRule, LossRule
from fastnn.losses import Loss

__all__ = ["activation", "loss"]


def __dir__() -> list[str]:
    return __all__


#: Where derivatives are compared with central differences, how far apart these are, and how far both may differ.
POINTS = (-7.1, -2.3, -0.9, -0.31, 0.23, 0.77, 1.9, 6.7)
STEP = 1e-5
TOLERANCE = 1e-4
#: Functions whose machine code is kept for later models; Numba never frees it, so compiling again would only add to it.
MAX_KEPT = 1024


class MachineCode:
    """Machine code for a run of elements, as long as this object lives.

    Attributes
    ----------
    address : int
    """

    def __init__(self, run: Callable[..., None], dtype: np.dtype[Any]) -> None:
        if JIT_DISABLED:
            self.address = id(run)
            FUNCTIONS[self.address] = run
            self._kept: Any = run
            return
        pointer = numba.types.CPointer(numba.from_dtype(dtype))
        signature = numba.void(pointer, pointer, pointer, numba.int64)
        self._kept = in_compile_thread(numba.cfunc(signature, error_model="numpy"), run)
        self.address = self._kept.address


def compiled(function: Any, argument: str) -> Any:
    """Return the function as one that compiled code can call; Python functions are compiled, each once."""
    if not callable(function) or isinstance(function, type):
        raise TypeError(must_be(argument, "a function", function))
    if JIT_DISABLED or is_jitted(function):
        return function
    try:
        return _jitted(function)
    except CONVERSION_ERRORS as error:  # Numba raises TypeError for other callables, and what their attributes raise
        raise TypeError(must_be(argument, "a Python function or one compiled by numba.njit", function)) from error


@functools.lru_cache(MAX_KEPT)
def _jitted(function: Any) -> Any:
    """Return Numba's function of a Python function, which is compiled at its first call."""
    return numba.njit(error_model="numpy")(function)


def value_at(function: Any, argument: str, *given: float) -> float:
    """Call a function of numbers once, in double precision; errors name the argument."""
    try:
        return float(function(*given))
    except numba.NumbaError as error:
        raise ValueError(f"{argument} cannot be compiled by Numba: {reason(error)}.") from error
    except Exception as error:  # raised by the function
        raise TypeError(f"{argument} must turn {len(given)} numbers into one: {reason(error)}.") from error


def check_derivative(function: Any, derivative: Any, name: str, argument: str, *others: float) -> None:
    """Compare a derivative with central differences, where an interrupt cannot end Numba's work halfway."""
    in_compile_thread(_check_derivative, function, derivative, name, argument, *others)


def _check_derivative(function: Any, derivative: Any, name: str, argument: str, *others: float) -> None:
    """Compare a derivative with central differences; `others` are further arguments of both.

    A kink at one of the points would be noticed, but they are chosen so that there hardly is one.

    Raises
    ------
    ValueError
        If they differ at one of them.
    """
    for x in POINTS:
        above = value_at(function, name, x + STEP, *others)
        below = value_at(function, name, x - STEP, *others)
        true = (above - below) / (2 * STEP)
        given = value_at(derivative, argument, x, *others)
        if not abs(given - true) <= TOLERANCE * max(1.0, abs(true)):
            where = ", ".join(f"{number:g}" for number in (x, *others))
            raise ValueError(
                f"{argument}({where}) is {given:.8g}, but the slope of {name} there is {true:.8g} by central "
                "differences."
            )


#: z is kept, and f(0) may be any number.
CUSTOM_ACTIVATION = ActivationRule(name="custom", formula="y = f(z)")


@dataclass(frozen=True)
class CustomActivation(Activation):
    """A custom activation; made by `activation`.

    Parameters
    ----------
    function, derivative : callable
        See `activation`; kept as Numba's functions.
    """

    function: Any = None
    derivative: Any = None

    def __post_init__(self) -> None:
        """Check both functions."""
        for name in ("function", "derivative"):
            object.__setattr__(self, name, compiled(getattr(self, name), name))
        check_derivative(self.function, self.derivative, "function", "derivative")

    @property
    def rule(self) -> ActivationRule:
        """The facts about an activation of which only the values are known; none depends on its name."""
        return CUSTOM_ACTIVATION


CUSTOM_LOSS = LossRule(name="custom", formula="E = 1/(n O) sum_r sum_o value(u, t)")


@dataclass(frozen=True)
class CustomLoss(Loss):
    """A custom loss; made by `loss`.

    Parameters
    ----------
    value, gradient : callable
        See `loss`; kept as Numba's functions.
    """

    value: Any = None
    gradient: Any = None

    def __post_init__(self) -> None:
        """Check both functions."""
        for name in ("value", "gradient"):
            object.__setattr__(self, name, compiled(getattr(self, name), name))
        for target in (-1.3, 0.0, 0.4, 2.0):
            check_derivative(self.value, self.gradient, "value", "gradient", target)

    @property
    def rule(self) -> LossRule:
        """The facts about a loss of which only values and slopes are known; none depends on its name."""
        return CUSTOM_LOSS


def activation(function: Any, derivative: Any, *, name: str | None = None) -> CustomActivation:
    """Make an activation y = f(z) of your own.

    Parameters
    ----------
    function, derivative : callable
        f and f', functions of one number, compiled by Numba (they may be already).
    name : str or None
        What it is called in summaries; the function's own name when not given.

    Returns
    -------
    CustomActivation
        For `Dense`. Models with it can be copied and pickled, but not saved.

    Raises
    ------
    TypeError, ValueError
        If one is no such function, cannot be compiled, or `derivative` differs from central differences.

    Examples
    --------
    >>> import fastnn
    >>> def softsign(z):
    ...     return z / (1 + abs(z))
    >>> fastnn.Dense(16, fastnn.custom.activation(softsign, lambda z: 1 / (1 + abs(z)) ** 2)).activation.name
    'softsign'
    """
    return CustomActivation(_name(name, function), 0.0, function, derivative)


def loss(value: Any, gradient: Any, *, name: str | None = None) -> CustomLoss:
    """Make a loss of your own that takes each output for itself: E = 1/(n O) sum value(u, t).

    The sum is over n rows and O outputs; with sample weights it is their weighted mean.

    Parameters
    ----------
    value, gradient : callable
        ``value(u, t)`` of output and target, and its derivative by u; functions of two numbers, compiled by Numba (they
        may be already).
    name : str or None
        What it is called; the function's own name when not given.

    Returns
    -------
    CustomLoss
        For `Model`. Models with it can be copied and pickled, but not saved.

    Raises
    ------
    TypeError, ValueError
        If one is no such function, cannot be compiled, or `gradient` differs from central differences at targets
        -1.3, 0, 0.4 or 2.

    Examples
    --------
    >>> import fastnn, math
    >>> def log_cosh(u, t):
    ...     return math.log(math.cosh(u - t))
    >>> loss = fastnn.custom.loss(log_cosh, lambda u, t: math.tanh(u - t))
    >>> fastnn.Model([16, 1], loss=loss).loss.name
    'log_cosh'
    """
    return CustomLoss(_name(name, value), value=value, gradient=gradient)


def _name(given: str | None, function: Any) -> str:
    """Return the name that was given, or that of the function."""
    if given is None:
        return name_of(function) or "custom"
    if type(given) is not str or not given or not is_encodable(given):
        raise TypeError(must_be("name", "a text, or None for the function's name", given))
    return given


def activation_code(custom: CustomActivation, dtype: np.dtype[Any]) -> tuple[MachineCode, MachineCode]:
    """Machine code of y = f(z) and of d = d f'(z)."""
    return _activation_code(custom.function, custom.derivative, dtype)


@functools.lru_cache(MAX_KEPT)
def _activation_code(function: Any, derivative: Any, dtype: np.dtype[Any]) -> tuple[MachineCode, MachineCode]:
    def forward(z: Any, y: Any, _: Any, n: int) -> None:
        for i in range(n):
            y[i] = function(z[i])

    def backward(z: Any, d: Any, _: Any, n: int) -> None:
        for i in range(n):
            d[i] *= derivative(z[i])

    return MachineCode(forward, dtype), MachineCode(backward, dtype)


def loss_code(custom: CustomLoss, dtype: np.dtype[Any]) -> MachineCode:
    """Machine code that overwrites outputs u by slopes, and `values` (which may be t) by values."""
    return _loss_code(custom.value, custom.gradient, dtype)


@functools.lru_cache(MAX_KEPT)
def _loss_code(value: Any, gradient: Any, dtype: np.dtype[Any]) -> MachineCode:
    def run(u: Any, t: Any, values: Any, n: int) -> None:
        for i in range(n):
            output, target = u[i], t[i]
            values[i] = value(output, target)
            u[i] = gradient(output, target)

    return MachineCode(run, dtype)


@functools.lru_cache(MAX_KEPT)
def row_code(function: Any, n_randoms: int, dtype: np.dtype[Any]) -> MachineCode:
    """Machine code that changes a row x of n features in place, given some random numbers."""
    if JIT_DISABLED:
        return MachineCode(lambda x, random, _, n: function(x[:n], random[:n_randoms]), dtype)

    def run(x: Any, random: Any, _: Any, n: int) -> None:
        function(numba.carray(x, n), numba.carray(random, n_randoms))

    return MachineCode(run, dtype)
