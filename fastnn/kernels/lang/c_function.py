"""Operations of functions with a C interface (`compiler.CFunction`), which other compiled code calls by an address.

They are what such functions need besides the operations of `simd`: room on the stack, tables behind a pointer, and
calls of other C functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import element_of, op
from fastnn.kernels.lang.simd.registers import is_pointer

_BYTE = ir.IntType(8)


@op(lambda like, n: like(like, types.intp) if element_of(like) is not None else None)
def stack_room(like: Pointer, n: int) -> Pointer:
    """Return room for n elements on the stack until the calling function returns; not initialized.

    Not for loops: each call takes further room.
    """
    return np.empty(n, like.dtype)


@stack_room.lower
def _lower_stack_room(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    room = builder.alloca(args[0].type.pointee, size=args[1])
    room.align = 64
    return room


@op(lambda p, k: p.dtype(p, types.intp) if is_pointer(p) and isinstance(p.dtype, types.Record) else None)
def record_at(p: Any, k: int) -> Any:
    """Return record k behind a pointer to records, not a copy of it."""
    return p[k]


@record_at.lower
def _lower_record_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place = builder.gep(args[0], [args[1]])
    return builder.bitcast(place, context.get_value_type(sig.return_type))


def records_at(record: Any, offset: int = 0) -> Any:
    """Return an operation ``f(p)``: a pointer to records of a Numba type, `offset` bytes behind the `void *` p."""

    def records(p: Any) -> Any:
        """Return the pointer; compiled code only."""
        raise NotImplementedError("a pointer means nothing to Python")

    made = op(lambda p: types.CPointer(record) if p == types.voidptr else None)(records)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.gep(args[0], [ir.Constant(ir.IntType(64), offset)])
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    made.lower(generate)
    return made


@op(lambda p: types.intp if p == types.voidptr else None)
def number_of(p: Any) -> int:
    """Return a `void *` as a number; compiled code only."""
    raise NotImplementedError("a pointer means nothing to Python")


@number_of.lower
def _lower_number_of(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.ptrtoint(args[0], ir.IntType(64))


@op(lambda address: types.CPointer(types.float32) if isinstance(address, types.Integer) else None)
def float32_at(address: int) -> Pointer:
    """Return a pointer to float32 at an address; compiled code only."""
    raise NotImplementedError("an address means nothing to Python")


@float32_at.lower
def _lower_float32_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.inttoptr(args[0], ir.FloatType().as_pointer())


def _type_call_row(function: Any, x: Any, out: Any, net: Any) -> Any:
    fits = isinstance(function, types.Integer) and is_pointer(x) and x == out
    return types.void(types.int64, x, out, types.int64) if fits else None


@op(_type_call_row)
def call_row(function: int, x: Pointer, out: Pointer, net: int) -> None:
    """Call the C function void(const T *, T *, const void *) at an address; compiled code only."""
    raise NotImplementedError("an address means nothing to Python")


@call_row.lower
def _lower_call_row(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    function, x, out, net = args
    net = builder.inttoptr(net, _BYTE.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [x.type, out.type, net.type])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [x, out, net])
    return context.get_dummy_value()
