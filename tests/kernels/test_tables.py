"""Tables of records: what a record holds, and that a field of another table is an error, not another number."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from driver import architecture

from fastnn._engine.workspace import Workspace
from fastnn.kernels import tables
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import CACHE_LINE

RECORDS = (tables.Layer, tables.Tile, tables.Progress, tables.Totals)
WRONG = [("layers", "padded_rows"), ("tiles", "n_in"), ("progress", "weight"), ("totals", "steps_done"),
         ("layout", "learning_rate"), ("run", "scratch")]  # fmt: skip


def plan():
    return Workspace(architecture([3, 4, 2]), 5, 1).plan(1)


@pytest.mark.parametrize("row", RECORDS, ids=lambda row: row.__name__)
def test_a_record_has_the_fields_of_its_declaration_each_in_a_word(row):
    dtype = tables.record_dtype(row)
    assert dtype.names == tuple(row.__annotations__)
    for place, (name, annotation) in enumerate(row.__annotations__.items()):
        kind, offset = dtype.fields[name][:2]
        assert kind == {"int": np.int64, "float": np.float64}[annotation]
        assert offset == 8 * place


def test_totals_of_two_shards_share_no_cache_line():
    assert tables.record_dtype(tables.Totals).itemsize % CACHE_LINE == 0


@pytest.mark.parametrize(("table", "field"), WRONG)
def test_python_refuses_a_field_of_another_table(table, field):
    given = getattr(plan(), table)
    if isinstance(given, tuple):
        with pytest.raises(AttributeError):
            getattr(given, field)
    else:
        with pytest.raises(ValueError, match=field):
            given[field]


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
@pytest.mark.parametrize(("table", "field"), WRONG)
def test_compiled_code_refuses_a_field_of_another_table(table, field):
    given = getattr(plan(), table)
    code = f"def read(given):\n    return given{'' if isinstance(given, tuple) else '[0]'}.{field}\n"
    namespace = {}
    exec(code, namespace)
    with pytest.raises((numba.TypingError, KeyError), match=field):
        numba.njit(namespace["read"])(given)


@kernel
def count(table):
    for k in range(table.size):
        table[k].steps_done += k + 1


def test_a_kernel_writes_through_a_record():
    table = tables.new_table(tables.Progress, 3)
    count(table)
    np.testing.assert_array_equal(table["steps_done"], [1, 2, 3])
    np.testing.assert_array_equal(table["step"], 0)


def test_settings_of_a_plan_cannot_be_written():
    with pytest.raises(AttributeError):
        plan().layout.chunk = 7
