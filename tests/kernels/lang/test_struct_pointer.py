"""References to bundles of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import MODE, device_function, kernel, noinline
from fastnn.kernels.lang.struct_pointer import by_reference


class Mixed(NamedTuple):
    """Fields of several types."""

    table: Any
    row: Any
    single: Any


class Alike(NamedTuple):
    """Fields of one type, which is another kind of tuple to Numba."""

    first: Any
    second: Any


@device_function
def read(bundle, i):
    noinline()
    return bundle.table[i, 1] + bundle.row[i] * bundle.single.size


@device_function
def copy_second(bundle):
    noinline()
    for i in range(bundle.first.size):
        bundle.first[i] = bundle.second[i] + 1


@device_function
def hand_on(bundle, i):
    noinline()
    return read(bundle, i)


@kernel
def by_value(bundle, i):
    return read(bundle, i)


@kernel
def sum_behind_pointer(bundle, i):
    return hand_on(by_reference(bundle), i)


@kernel
def write(bundle):
    copy_second(by_reference(bundle))


def test_a_reference_has_the_fields_of_the_bundle(dtype):
    bundle = Mixed(np.arange(12).reshape(4, 3), np.linspace(0, 1, 4), np.zeros(5, dtype))
    for i in range(4):
        assert sum_behind_pointer(bundle, i) == by_value(bundle, i) == bundle.table[i, 1] + bundle.row[i] * 5
    strided = bundle._replace(table=np.arange(24).reshape(4, 6)[:, ::2])
    assert sum_behind_pointer(strided, 2) == strided.table[2, 1] + bundle.row[2] * 5


def test_arrays_are_written_through_a_reference(dtype):
    bundle = Alike(np.zeros(7, dtype), np.arange(7, dtype=dtype))
    write(bundle)
    np.testing.assert_array_equal(bundle.first, np.arange(1, 8))
    np.testing.assert_array_equal(bundle.second, np.arange(7))


@pytest.mark.skipif(MODE != "private", reason="the reference is the bundle itself")
def test_only_bundles_have_references():
    @kernel
    def wrong(x):
        return by_reference(x)

    with pytest.raises(Exception, match="by_reference"):
        wrong(3)
