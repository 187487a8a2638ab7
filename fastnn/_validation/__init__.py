"""Checks of single arguments: each function returns the validated value or raises.

TypeError for a wrong type, ValueError for a wrong value. Imports nothing of the package, so every module may use it.
"""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np


def must_be(argument: str, constraint: str, value: object, hint: str = "") -> str:
    """Return the text of an error about one argument: ``<argument> must be <constraint>, got <value>. <hint>``.

    Parameters
    ----------
    argument : str
        Name of the argument, as the caller wrote it.
    constraint : str
        What is valid, so that the sentence reads "<argument> must be <constraint>".
    value : object
        What was given; long values are abbreviated.
    hint : str
        One sentence on what to do, with its full stop; optional.

    Returns
    -------
    str
    """
    return f"{argument} must be {constraint}, got {reprlib.repr(value)}." + (f" {hint}" if hint else "")


def canonical_name(argument: str, given: str, names: Collection[str], aliases: Mapping[str, str]) -> str:
    """Resolve a name that a user gave, which may be an alias.

    Parameters
    ----------
    argument : str
        What the name stands for, for the error's text.
    given : str
        The name as given.
    names : collection of str
        The canonical names.
    aliases : mapping of str to str
        Other names, each with the canonical one.

    Returns
    -------
    str
        The canonical name.

    Raises
    ------
    TypeError
        If `given` is no string.
    ValueError
        If the name is unknown; the text lists the names and suggests the closest.
    """
    known = ", ".join(names)
    if not isinstance(given, str):
        raise TypeError(must_be(argument, f"one of the names {known}", given))
    name = aliases.get(given, given)
    if name in names:
        return name
    close = difflib.get_close_matches(given.lower(), [*names, *aliases], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"{argument} {reprlib.repr(given)} is unknown{hint} The names are {known}.")


def finite_number(argument: str, given: float) -> float:
    """Convert a real number that a user gave to a Python float.

    Parameters
    ----------
    argument : str
        The argument's name, for the error's text.
    given : float
        A Python or NumPy number.

    Returns
    -------
    float
        The same number.

    Raises
    ------
    TypeError
        If `given` is no real number (bools and strings are none).
    ValueError
        If it is infinite, NaN or beyond the range of a float.
    """
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise TypeError(must_be(argument, "a number", given))
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(must_be(argument, "a finite number", given))
    return number


def number_in(argument: str, given: float, interval: str) -> float:
    """Convert a finite number within an interval to a Python float.

    Parameters
    ----------
    argument : str
        Name of the argument, for the text of the error.
    given : float
        A Python or NumPy number.
    interval : str
        Such as "[0, 1)" or "(0, inf)"; a round bracket excludes the bound.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If `given` is not a real number.
    ValueError
        If it is not finite, or outside of the interval.
    """
    value = finite_number(argument, given)
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    fits_low = value > low if interval[0] == "(" else value >= low
    fits_high = value < high if interval[-1] == ")" else value <= high
    if not (fits_low and fits_high):
        words = f"{'above' if interval[0] == '(' else 'at least'} {low:g}"
        if high < math.inf:
            words += f" and {'below' if interval[-1] == ')' else 'at most'} {high:g}"
        raise ValueError(must_be(argument, words, value))
    return value


def positive_integer(value: Any, name: str) -> int:
    """Validate an integer of at least 1 (bool is rejected) and return it as an int."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool | np.bool_):
        raise TypeError(must_be(name, "an integer of at least 1", value))
    if value < 1:
        raise ValueError(must_be(name, "at least 1", value))
    return int(value)


def as_seed(seed: Any) -> int:
    """Turn a seed into an integer of 0 .. 2**63 - 1; None draws one."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool | np.bool_):
        raise TypeError(must_be("seed", "an integer or None", seed))
    if not 0 <= int(seed) < 2**63:
        raise ValueError(must_be("seed", "in 0 .. 2**63 - 1", seed))
    return int(seed)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Validate a dtype: native float32 or float64."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if dtype is None or found not in (np.dtype(np.float32), np.dtype(np.float64)) or not found.isnative:
        raise ValueError(must_be("dtype", "'float32' or 'float64'", dtype))
    return found


def as_max_seconds(value: Any) -> float | None:
    """Validate a number of seconds above 0, or None."""
    if value is None:
        return None
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        raise TypeError(must_be("max_seconds", "a number of seconds, or None", value))
    if not float(value) > 0.0:
        raise ValueError(must_be("max_seconds", "above 0, or None for no limit", value))
    return float(value)


def as_verbose(verbose: Any) -> bool | Literal["auto"]:
    """Validate True, False or 'auto'."""
    if isinstance(verbose, str) and verbose == "auto":
        return "auto"
    if isinstance(verbose, bool | np.bool_ | numbers.Integral):
        return bool(verbose)
    raise ValueError(must_be("verbose", "True, False or 'auto'", verbose))


def check_bool(value: Any, name: str) -> None:
    """Raise TypeError unless the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(must_be(name, "True or False", value))
