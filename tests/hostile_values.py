"""Hostile values: what a generator of bad arguments passes in the place of valid ones.

Wrong types, numbers outside of all ranges, texts that cannot be encoded, containers that contain themselves, objects
whose methods raise or return nonsense, and arrays of all kinds.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import io
import itertools
import math
import numbers
import operator
import re
import tempfile
import types
import unittest.mock
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

import fastnn
from fastnn import Dense, Model, losses, metrics, schedules


class CallerError(Exception):
    """What functions of the caller raise; it reaches the caller as it is."""


def _raise(error: Exception) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


def _return(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


_ERRORS = (ValueError("boom"), TypeError("boom"), KeyError("boom"), ZeroDivisionError("boom"), OSError("boom"),
           AttributeError("boom"), RecursionError("boom"), OverflowError("boom"), IndexError("boom"))  # fmt: skip
_METHODS = {
    "__len__": (-1, 2**62, 0, 3, "x"),
    "__array__": (None, 3, [1, 2], np.zeros((0, 3))),
    "__iter__": (None, iter([object()]), iter([])),
    "__float__": ("x", 0.5, math.nan),
    "__index__": ("x", 10**400, 3),
    "__eq__": (True, None, np.zeros(3)),
    "__repr__": (3, "r" * 100_000, "\ud800"),
    "__str__": (3,),
    "__hash__": ("x",),
    "__bool__": ("x",),
    "__getitem__": (object(),),
    "__fspath__": (3, "a\0b", b"\xff"),
    "__call__": (None, "x", 10**400),
    "shape": (None, (1, 2), "x"),
    "dtype": (None, "x"),
    "__class__": (int, float, str, np.ndarray),
}


def lying_object(rng: np.random.Generator) -> Any:
    """Return an object of which one to three special methods raise or return nonsense."""
    members: dict[str, Any] = {}
    for name in rng.choice(list(_METHODS), size=rng.integers(1, 4), replace=False):
        given = _METHODS[name]
        if name in ("shape", "dtype", "__class__"):
            members[name] = property(_return(given[rng.integers(len(given))]))
        elif rng.random() < 0.5:
            error = CallerError("boom") if name == "__call__" else _ERRORS[rng.integers(len(_ERRORS))]
            members[name] = _raise(error)
        else:
            members[name] = _return(given[rng.integers(len(given))])
    bases = [(object,), (object,), (object,), (float,), (int,), (str,), (list,), (dict,), (fractions.Fraction,)]
    try:
        return type("Lying", bases[rng.integers(len(bases))], members)()
    except Exception:
        return object()


class _Real(float):
    """A number that cannot be converted."""

    def __float__(self) -> float:
        raise ArithmeticError("boom")


@numbers.Integral.register
class _Integer:
    """Called an integer, without being one."""


class _Mapping(collections.UserDict):
    def items(self) -> Any:
        raise KeyError("boom")


def _recursive() -> list[Any]:
    made: list[Any] = [1.0]
    made.append(made)
    return made


def _deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(3000):
        made = [made]
    return made


def _recursive_dict() -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    made[0] = made
    return made


def _by_name(name: str) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        return 0.5

    function.__name__ = name
    return function


_TABLE = np.random.default_rng(0).standard_normal((30, 3))
NUMBERS = [
    lambda value=value: value
    for value in (
        None, True, False, 0, -1, 1, 2, 3, 64, 10**400, -(10**400), 10**5000, 2**40, 2**53 + 1, 2**63 - 1, 2**63, 2**64,
        -(2**63), 0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 5e-324, 1e-46, 1e-30, 1e30, 1e39, 1.7e308, -1.7e308, math.nan,
        math.inf,
        -math.inf, np.True_, np.float32(0.5), np.float64("nan"), np.float16("inf"), np.int8(3), np.uint64(2**64 - 1),
        np.longdouble("1e4000"), np.longdouble("1e-4900"), np.array(1), np.array(0.5), np.array("nan", float),
        np.array(None), np.array([1]), fractions.Fraction(1, 3), fractions.Fraction(10**400), decimal.Decimal("0.5"),
        decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal("1e999999"), 1j, 1 + 0j, np.complex64(1),
        np.datetime64("2020-01-01"), np.timedelta64(1, "s"), datetime.timedelta(1), _Real(0.5), _Integer(), pd.NA,
        pd.NaT,
    )
]  # fmt: skip
TEXTS = [
    lambda value=value: value
    for value in (
        "",
        " ",
        "adam",
        "relu",
        "l2",
        "lbfgs",
        "lm",
        "auto",
        "accuracy",
        "r2",
        "balanced",
        "squared_error",
        "softmax",
        "softmax_crossentropy",
        "val_loss",
        "loss",
        "float32",
        "epoch",
        "{",
        "{x}",
        "{epoch:s}",
        "{0}",
        "{loss.real.x}",
        "{loss[0]}",
        "\ud800",
        "a\0b",
        "x" * 10_000,
        "\n",
        "ﬁ",
        b"adam",
        bytearray(b"adam"),
        np.str_("adam"),
        np.bytes_(b"relu"),
        "squared_eror",
        "1",
        "nan",
        "/dev/null/x",
        "/nowhere/at/all",
        memoryview(b"abc"),
    )
]
CONTAINERS = [
    list, tuple, dict, set, frozenset, _recursive, _deep, _recursive_dict, lambda: [None], lambda: [[]],
    lambda: [1, 2], lambda: (1, 2, 3), lambda: [0.5, 0.9], lambda: [[1], [1, 2]], lambda: range(3),
    lambda: range(10**6),
    lambda: itertools.count(), lambda: itertools.repeat(None),
    lambda: iter([1, 2]), lambda: (value for value in (1, 2)), lambda: {0: 10**400}, lambda: {0: math.nan},
    lambda: {"a": 1}, lambda: {None: 1}, lambda: {10**400: 1.0}, lambda: {0: 1.0, 1: 2.0}, lambda: {math.nan: 1.0},
    lambda: {0: "x"}, lambda: {1, 2}, lambda: [True, False], lambda: collections.deque([1]),
    lambda: collections.OrderedDict(),
    _Mapping, lambda: types.MappingProxyType({0: 1.0}), lambda: [object()] * 3, lambda: ["adam"] * 3,
    lambda: collections.Counter("ab"), lambda: [np.array(1)], lambda: map(_raise(ValueError("boom")), [1]),
    lambda: {0: np.array([1.0, 2.0])}, lambda: [10**400], lambda: [fractions.Fraction(10**400)], lambda: [math.nan],
]  # fmt: skip
OBJECTS = [
    object, lambda: Dense, lambda: fastnn.Adam, lambda: fastnn.Adam(), lambda: Dense(2), lambda: fastnn.Dropout(0.5),
    lambda: schedules.Cosine, lambda: schedules.Constant(0.1), lambda: fastnn.L2(1e-3), lambda: fastnn.L1(1e-3),
    lambda: metrics.Metric("r2"), lambda: losses.huber(), lambda: losses.quantile(0.1, 0.5), lambda: fastnn.elu(),
    lambda: fastnn.EarlyStopping("loss"), lambda: fastnn.EarlyStopping, lambda: fastnn.Augmentation(noise=0.1),
    lambda: fastnn.LBFGS(), lambda: fastnn.LevenbergMarquardt(),
    lambda: fastnn.SGD(0.1, momentum=0.9, ema_momentum=0.9),
    lambda: fastnn.Callback(), lambda: fastnn.TerminateOnNaN(), lambda: Model, lambda: Model([2], loss="squared_error"),
    lambda: fastnn.History(), lambda: print, lambda: len, lambda: np.tanh, lambda: np, lambda: int, lambda: type,
    lambda: ValueError("boom"), lambda: Ellipsis, lambda: NotImplemented, lambda: functools.partial(operator.add, 1),
    lambda: unittest.mock.MagicMock(), lambda: unittest.mock.Mock(), lambda: _by_name("loss"),
    lambda: _by_name("\ud800"),
    lambda: _by_name("score"), lambda: (lambda *_: 10**400), lambda: (lambda *_: "x"), lambda: (lambda *_: math.nan),
    lambda: (lambda *_: None), lambda: (lambda *_: np.zeros(3)), lambda: _raise(CallerError("boom")),
    lambda: (lambda: 1),
    lambda: io.BytesIO(b"abc"), lambda: io.StringIO("abc"), lambda: Path("x\0y"), lambda: np.dtype("f4"),
    lambda: np.random.default_rng(0), lambda: np.random.RandomState(0), lambda: slice(3), lambda: re.compile("x"),
]  # fmt: skip


def _with(array: np.ndarray, value: Any, dtype: Any = np.float64) -> np.ndarray:
    made = np.array(array, dtype)
    made.flat[min(4, made.size - 1)] = value
    return made


def _memmap(array: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        made = np.memmap(file, dtype=array.dtype, mode="w+", shape=array.shape)
    made[...] = array
    return made


def _readonly(array: np.ndarray) -> np.ndarray:
    made = array.copy()
    made.setflags(write=False)
    return made


def _unaligned(array: np.ndarray) -> np.ndarray:
    made = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    made[...] = array
    return made


#: Of a valid array: others, most of them invalid.
ARRAYS: list[Callable[[np.ndarray], Any]] = [
    lambda a: a.astype(np.float16), lambda a: a.astype(np.longdouble), lambda a: a.astype(complex),
    lambda a: a.astype(object),
    lambda a: a.astype(str), lambda a: a.astype("S8"), lambda a: a.astype(">f8"), lambda a: a.astype(int),
    lambda a: a.astype(np.int8), lambda a: a > 0, lambda a: a.astype("M8[s]"), lambda a: a.astype("m8[s]"),
    lambda a: np.zeros(len(a), [("a", "f4"), ("b", "f4")]), lambda a: np.zeros(a.shape, "V4"),
    lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 3), lambda a: np.ma.masked_array(a),
    lambda a: a.view(type("Sub", (np.ndarray,), {})), lambda a: np.asmatrix(a.reshape(len(a), -1)), _memmap, _readonly,
    _unaligned, lambda a: a[::-1], lambda a: np.asfortranarray(a), lambda a: a[:0], lambda a: a[:1], lambda a: a[1:],
    lambda a: a[None], lambda a: a[..., None], lambda a: a.reshape(len(a), -1)[:, :0], lambda a: a.ravel(),
    lambda a: a.T,
    lambda a: np.hstack([a.reshape(len(a), -1)] * 2), lambda a: a[:, None, None] if a.ndim == 1 else a[0],
    lambda a: a.tolist(), lambda a: [tuple(row) if a.ndim > 1 else row for row in a.tolist()],
    lambda a: [*a.tolist()[:-1], [1.0, 2.0, 3.0, 4.0]], lambda a: [*a.tolist()[:-1], None],
    lambda a: [*a.tolist()[:-1], "x"],
    lambda a: [*a.tolist()[:-1], {}], lambda a: _with(a, math.nan), lambda a: _with(a, math.inf),
    lambda a: _with(a, -1e39),
    lambda a: _with(a, 3e38), lambda a: _with(a, 1.7e308), lambda a: np.full(a.shape, 3e38),
    lambda a: np.full(a.shape, -1.7e308),
    lambda a: np.full(a.shape, 1e19), lambda a: np.full(a.shape, 5e-324),
    lambda a: _with(a, fractions.Fraction(10**400), object),
    lambda a: _with(a, 10**5000, object), lambda a: _with(a, None, object), lambda a: _with(a, "x" * 5000, object),
    lambda a: _with(a, decimal.Decimal("sNaN"), object), lambda a: _with(a, decimal.Decimal("1e999999"), object),
    lambda a: _with(a, _Real(1.0), object), lambda a: _with(a, np.timedelta64(1, "s"), object),
    lambda a: _with(a, pd.NA, object),
    lambda a: _with(a, object(), object), lambda a: _with(a, 1j, complex), lambda a: _with(a, -1),
    lambda a: _with(a, 0.5),
    lambda a: _with(a, 2**40), lambda a: _with(a, 2**62, np.int64), lambda a: _with(a, 7), lambda a: a * 0,
    lambda a: a * 0 - 1,
    lambda a: _with(a, np.longdouble("1e4000"), np.longdouble), lambda a: a.astype(np.uint64) + np.uint64(2**63),
    lambda a: scipy.sparse.csr_matrix(a), lambda a: scipy.sparse.coo_array(a.reshape(len(a), -1)),
    lambda a: pd.DataFrame(a),
    lambda a: pd.DataFrame(a, columns=["a"] * a.reshape(len(a), -1).shape[1]),
    lambda a: pd.DataFrame({"a": pd.array([1, None] * (len(a) // 2), "Int64"), "b": 1.5, "c": True}),
    lambda a: pd.DataFrame({"a": pd.Categorical(["x", "y"] * (len(a) // 2)), "b": 1.5, "c": True}),
    lambda a: pd.DataFrame({"a": pd.to_datetime([0] * len(a)), "b": 1.5, "c": True}),
    lambda a: pd.DataFrame({"a": [None, "x"] * (len(a) // 2), "b": 1.5, "c": True}), lambda a: pd.Series(list(a)),
    lambda a: pd.Series(a.ravel()[: len(a)], index=range(5, 5 + len(a))), lambda a: memoryview(np.ascontiguousarray(a)),
    lambda a: np.broadcast_to(a[:1], a.shape), lambda a: np.zeros((len(a), 2**14), np.int8), lambda a: np.zeros(0),
    lambda a: np.zeros((0, 0)), lambda a: np.array(a, dtype=np.dtypes.StringDType()),
]  # fmt: skip


def hostile(rng: np.random.Generator, valid: Any) -> Any:
    """Return a hostile value in the place of a valid one."""

    def one_of(pool: list[Any], *given: Any) -> Any:
        return pool[rng.integers(len(pool))](*given)

    if isinstance(valid, np.ndarray) and rng.random() < 0.7:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return one_of(ARRAYS, valid)
        except (TypeError, ValueError, OverflowError):  # not for this array
            return one_of(NUMBERS)
    kind = rng.random()
    if kind < 0.4:
        value = one_of(NUMBERS)
    elif kind < 0.55:
        value = one_of(TEXTS)
    elif kind < 0.7:
        value = one_of(CONTAINERS)
    elif kind < 0.85:
        value = one_of(OBJECTS)
    elif kind < 0.95:
        value = lying_object(rng)
    else:
        value = one_of(ARRAYS, _TABLE)
    if rng.random() < 0.75:
        return value
    try:  # within something, which may be a part of the valid value
        if isinstance(valid, list | tuple) and valid:
            made = list(valid)
            made[rng.integers(len(made))] = value
            return type(valid)(made)
        wrap = [
            lambda v: [v],
            lambda v: (v, v),
            lambda v: {0: v},
            lambda v: {v: 1.0},
            lambda v: np.array(v, object),
            iter,
        ]
        return one_of(wrap, value)
    except Exception:  # no key of a dict, nothing to iterate over
        return value


