"""Calls of machine code by its address: how functions that users write run inside the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types

from fastnn.kernels.lang.simd.registers import element_of, op

if TYPE_CHECKING:
    from fastnn.kernels.lang.protocols import Pointer

#: Python functions by the numbers that stand for their addresses where the kernels run as Python.
FUNCTIONS: dict[int, Any] = {}


def _type_call(function: Any, a: Any, b: Any, c: Any, n: Any) -> Any:
    if element_of(a) is None or not a == b == c:
        return None
    return types.void(types.int64, a, b, c, types.int64)


@op(_type_call)
def call_native(function: int, a: Pointer, b: Pointer, c: Pointer, n: int) -> None:
    """Call the C function void(T *, T *, T *, int64) at an address."""
    FUNCTIONS[function](a, b, c, n)


@call_native.lower
def _lower_call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    function, a, b, c, n = args
    kind = ir.FunctionType(ir.VoidType(), [a.type, b.type, c.type, n.type])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [a, b, c, n])
    return context.get_dummy_value()
