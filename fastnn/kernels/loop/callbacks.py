"""Nets as callbacks of SciPy, by its four signatures of C functions: numbers are double, the net is passed as data."""

from __future__ import annotations

import math

import numba
from numba import types

from fastnn.kernels.lang.c_function import call_row, record_at, records_at, stack_room
from fastnn.kernels.lang.compiler import CFunction
from fastnn.kernels.lang.simd import at, load_scalar, store_scalar
from fastnn.kernels.tables import record_dtype


class CallbackData:
    """What a callback needs to know: the net, and which of its outputs is wanted."""

    net: int  # address of a `row.RowNet`
    function: int  # address of its `row_of_doubles`
    n_features: int
    n_outputs: int
    output: int


data_at = records_at(numba.from_dtype(record_dtype(CallbackData)))


def integrand(n, x, data):  # type: ignore[no-untyped-def]
    """Return one output for the point at `x`; NaN if the net has another number of features than n."""
    call = record_at(data_at(data), 0)
    if n != call.n_features:
        return math.nan
    y = stack_room(x, call.n_outputs)
    call_row(call.function, x, y, call.net)
    return load_scalar(at(y, call.output))


def generic_filter(x, n, result, data):  # type: ignore[no-untyped-def]
    """Overwrite `result` with one output for the n elements at `x`; return 0 if the net has other features."""
    call = record_at(data_at(data), 0)
    if n != call.n_features:
        return 0
    y = stack_room(x, call.n_outputs)
    call_row(call.function, x, y, call.net)
    store_scalar(result, load_scalar(at(y, call.output)))
    return 1


def generic_filter1d(x, n_x, result, n, data):  # type: ignore[no-untyped-def]
    """Overwrite n results with one output for each window of the line at `x`; return 0 if the windows do not fit."""
    call = record_at(data_at(data), 0)
    if n_x - n + 1 != call.n_features:
        return 0
    y = stack_room(x, call.n_outputs)
    for i in range(n):
        call_row(call.function, at(x, i), y, call.net)
        store_scalar(at(result, i), load_scalar(at(y, call.output)))
    return 1


def geometric_transform(to, source, n_to, n_source, data):  # type: ignore[no-untyped-def]
    """Overwrite the coordinates `source` with the outputs for the coordinates `to`; return 0 if the widths differ."""
    call = record_at(data_at(data), 0)
    if n_to != call.n_features or n_source != call.n_outputs:
        return 0
    x = stack_room(source, n_to)
    for i in range(n_to):
        store_scalar(at(x, i), float(load_scalar(at(to, i))))
    call_row(call.function, x, source, call.net)
    return 1


_DOUBLES = types.CPointer(types.float64)

#: The callbacks by the name of the function of SciPy that takes them.
CALLBACKS = {
    "quad": CFunction(integrand, types.float64(types.intc, _DOUBLES, types.voidptr)),
    "generic_filter": CFunction(generic_filter, types.intc(_DOUBLES, types.intp, _DOUBLES, types.voidptr)),
    "generic_filter1d": CFunction(
        generic_filter1d, types.intc(_DOUBLES, types.intp, _DOUBLES, types.intp, types.voidptr)
    ),
    "geometric_transform": CFunction(
        geometric_transform,
        types.intc(types.CPointer(types.intp), _DOUBLES, types.intc, types.intc, types.voidptr),
    ),
}
