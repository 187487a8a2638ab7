"""Checks of single arguments: each function returns the validated value or raises.

TypeError for a wrong type, ValueError for a wrong value; no other error, whatever the methods of the value do. Imports
nothing of the package, so every module may use it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import numbers
import os
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np

#: What Python, NumPy and the methods of a value raise where it cannot be converted. Other exceptions pass: a signal
#: handler may raise one, such as TimeoutError, at any time.
CONVERSION_ERRORS = (
    TypeError, ValueError, ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, RuntimeError,
    SyntaxError,
)  # fmt: skip
#: Largest number of characters of a value in an error.
#: The dtype of nets whose matrix products read bfloat16 numbers and add in float32; all else is float32.
MIXED_BFLOAT16 = "mixed_bfloat16"
_LONGEST = 200
#: Largest number of items that are read from an iterable of unknown length.
_MOST_ITEMS = 1_000_000
#: Largest integer that is valid anywhere: sizes and counts are 64-bit integers in compiled code.
_LARGEST = 2**63 - 1


def shown(value: object) -> str:
    """Return a short repr of any value, for the text of an error.

    Parameters
    ----------
    value : object
        Its repr may fail, as that of an integer of more than 4300 digits does, or contain what cannot be encoded.

    Returns
    -------
    str
        At most 200 characters on one line.
    """
    if type(value) is int and value.bit_length() > 1000:
        return f"{'-' if value < 0 else ''}int of {value.bit_length()} bits"
    try:
        text = " ".join(reprlib.repr(value).split())
        text.encode()
    except CONVERSION_ERRORS:  # raised by the value itself
        text = object.__repr__(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def reason(error: BaseException, longest: int = _LONGEST) -> str:
    """Return the start of the text of an error on one line, without its full stop, for the text of another one."""
    try:
        text = " ".join(str(error).split()) or type(error).__name__
        text.encode()
    except CONVERSION_ERRORS:  # raised by the error itself
        text = type(error).__name__
    return text.rstrip(".") if len(text) <= longest else f"{text[: longest - 3]}..."


def is_encodable(text: str) -> bool:
    """Return whether a text can be written into a file; one with a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def name_of(function: object) -> str | None:
    """Return the ``__name__`` of a function; None if it has none that can be written into a file."""
    try:
        name = getattr(function, "__name__", None)
    except CONVERSION_ERRORS:  # raised by the function's own attributes
        return None
    return name if type(name) is str and is_encodable(name) else None


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
    return f"{argument} must be {constraint}, got {shown(value)}." + (f" {hint}" if hint else "")


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
    constraint = f"one of {', '.join(names)}"
    if not isinstance(given, str) or not issubclass(type(given), str):
        raise TypeError(must_be(argument, constraint, given))
    text = str.__str__(given)  # without the methods of a subclass
    name = aliases.get(text, text)
    if name in names:
        return name
    similar = _similar(text, names, aliases)
    hint = f"Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
    raise ValueError(must_be(argument, constraint, text, hint))


def _similar(given: str, names: Collection[str], aliases: Mapping[str, str]) -> list[str]:
    """Return the names that contain the text, or else the closest one; at most three."""

    def letters(name: str) -> str:
        return re.sub("[^a-z0-9]", "", name[:100].lower())

    canonical = {**{letters(alias): name for alias, name in aliases.items()}, **{letters(name): name for name in names}}
    text = letters(given)
    if text in canonical:
        return [canonical[text]]
    found = [name for name in names if len(text) > 1 and text in letters(name)]
    if not 1 <= len(found) <= 3:
        import difflib  # where used: errors alone need it

        found = [canonical[close] for close in difflib.get_close_matches(text, canonical, n=1)]
    return found


def real_number(argument: str, given: float) -> float:
    """Convert a real number that a user gave, which may be infinite or NaN, to a Python float.

    Parameters
    ----------
    argument : str
        The argument's name, for the error's text.
    given : float
        A Python or NumPy number.

    Returns
    -------
    float
        The same number; infinite if it is beyond the range of a float.

    Raises
    ------
    TypeError
        If `given` is no real number (bools and strings are none).
    """
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise TypeError(must_be(argument, "a number", given))
    try:
        try:
            return float(given)
        except OverflowError:
            return math.inf if given > 0 else -math.inf
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be(argument, "a number", given)) from error


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
    number = real_number(argument, given)
    if not math.isfinite(number):
        raise ValueError(must_be(argument, "a finite number", given))
    return number


def number_in(argument: str, given: float, interval: str, hint: str = "") -> float:
    """Convert a finite number within an interval to a Python float.

    Parameters
    ----------
    argument : str
        Name of the argument, for the text of the error.
    given : float
        A Python or NumPy number.
    interval : str
        Such as "[0, 1)" or "(0, inf)"; a round bracket excludes the bound.
    hint : str
        What to do about a number outside, for the text of the error; optional.

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
        raise ValueError(must_be(argument, words, value, hint))
    return value


def integer(argument: str, given: Any, *, least: int) -> int:
    """Convert an integer within a range to an int.

    Parameters
    ----------
    argument : str
        Name of the argument, for the text of the error.
    given : int
        A Python or NumPy integer.
    least : int
        The smallest that is valid; the largest is 2**63 - 1.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `given` is not an integer (bools are none).
    ValueError
        If it is out of range.
    """
    constraint = f"an integer of at least {least}"
    if not isinstance(given, numbers.Integral) or isinstance(given, bool | np.bool_):
        raise TypeError(must_be(argument, constraint, given))
    try:
        value = int(given)
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be(argument, constraint, given)) from error
    if value < least:
        raise ValueError(must_be(argument, f"at least {least}", value))
    if value > _LARGEST:
        raise ValueError(must_be(argument, "at most 2**63 - 1", value))
    return value


def positive_integer(value: Any, name: str) -> int:
    """Validate an integer of at least 1 (bool is rejected) and return it as an int."""
    return integer(name, value, least=1)


def as_sequence(argument: str, constraint: str, given: Any) -> tuple[Any, ...]:
    """Return the items of an iterable that a user gave.

    Parameters
    ----------
    argument, constraint : str
        For the text of the error.
    given : iterable
        No text, and no mapping.

    Returns
    -------
    tuple

    Raises
    ------
    TypeError
        If `given` is no such iterable, or cannot be iterated over.
    ValueError
        If it is no list, tuple or array, and yields more than a million items: it may have no end.
    """
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | bytearray | Mapping):
        raise TypeError(must_be(argument, constraint, given))
    try:
        if type(given) in (list, tuple, np.ndarray):  # a class derived from these may iterate without an end
            return tuple(given)
        items = tuple(itertools.islice(given, _MOST_ITEMS + 1))
    except CONVERSION_ERRORS as error:  # raised by the iteration, as by that of an array without dimensions
        raise TypeError(must_be(argument, constraint, given)) from error
    if len(items) > _MOST_ITEMS:
        raise ValueError(must_be(argument, f"of at most {_MOST_ITEMS} items", given, "Or give a list."))
    return items


def as_path(argument: str, given: Any) -> str:
    """Validate the path of a file, and return it as text.

    Parameters
    ----------
    argument : str
        Name of the argument, for the text of the error.
    given : str or os.PathLike

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `given` is no path.
    ValueError
        If it contains a character that no path of the file system has.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(must_be(argument, "a path", given))
    try:
        path = os.fspath(given)
    except CONVERSION_ERRORS as error:  # raised by the value itself
        raise TypeError(must_be(argument, "a path", given)) from error
    if not isinstance(path, str):
        raise TypeError(must_be(argument, "a path that is a str", given))
    path = str.__str__(path)  # without the methods of a subclass
    try:
        encoded = os.fsencode(path)
    except UnicodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError(must_be(argument, "a path that the file system can encode", path))
    return path


def as_seed(seed: Any) -> int:
    """Turn a seed into an integer of 0 .. 2**63 - 1; None draws one."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool | np.bool_):
        raise TypeError(must_be("seed", "an integer or None", seed))
    return integer("seed", seed, least=0)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Validate a dtype: native float32 or float64."""
    try:
        found = np.dtype(dtype)
    except CONVERSION_ERRORS:  # besides TypeError also SyntaxError and UnicodeEncodeError of a text
        found = np.dtype(object)
    if dtype is None or found not in (np.dtype(np.float32), np.dtype(np.float64)) or not found.isnative:
        raise ValueError(must_be("dtype", "'float32' or 'float64'", dtype))
    return found


def as_dtype_policy(dtype: Any) -> tuple[np.dtype[Any], bool]:
    """Validate a dtype, or 'mixed_bfloat16'; return the dtype of the weights, and whether products are rounded."""
    if isinstance(dtype, str) and dtype == MIXED_BFLOAT16:
        return np.dtype(np.float32), True
    try:
        return as_dtype(dtype), False
    except ValueError:
        raise ValueError(must_be("dtype", f"'float32', 'float64' or '{MIXED_BFLOAT16}'", dtype)) from None


def as_max_seconds(value: Any) -> float | None:
    """Validate a number of seconds above 0, or None."""
    if value is None:
        return None
    seconds = real_number("max_seconds", value)
    if not seconds > 0.0:
        raise ValueError(must_be("max_seconds", "above 0, or None for no limit", value))
    return seconds


def as_verbose(verbose: Any) -> bool | Literal["auto"]:
    """Validate True, False or 'auto'."""
    if type(verbose) is str and verbose == "auto":
        return "auto"
    if isinstance(verbose, bool | np.bool_ | int | np.integer):
        with contextlib.suppress(Exception):  # raised by the value itself
            return bool(verbose)
    raise ValueError(must_be("verbose", "True, False or 'auto'", verbose))


def check_bool(value: Any, name: str) -> bool:
    """Raise TypeError unless the value is True or False, of Python or NumPy; return it as a bool."""
    if value is not True and value is not False and type(value) is not np.bool_:
        raise TypeError(must_be(name, "True or False", value))
    return bool(value)
