"""The processor's control word: how a thread treats subnormal numbers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

from fastnn.kernels.lang.simd import IS_X86, emit_intrinsic

#: Bits of the x86 control word MXCSR: results that are subnormal become zero, and such operands count as zero.
_FLUSH = 0x8040


def flush_subnormals() -> int:
    """Let this thread treat subnormal numbers as zero; returns the control word to `restore_control`.

    Slots of weights whose gradient stays zero (dead units) decay into the subnormal range, where arithmetic takes
    several times as long. Only x86 is told; elsewhere nothing happens.
    """
    return 0


@type_callable(flush_subnormals)
def _type_flush(context: Any) -> Any:
    return lambda: types.int64


def _control(builder: Any, what: str, place: Any) -> None:
    """Store or load MXCSR."""
    pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
    emit_intrinsic(builder, f"llvm.x86.sse.{what}mxcsr", ir.VoidType(), [pointer])


@lower_builtin(flush_subnormals)
def _lower_flush(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    i32, i64 = ir.IntType(32), ir.IntType(64)
    if not IS_X86:
        return ir.Constant(i64, 0)
    place = cgutils.alloca_once(builder, i32)
    _control(builder, "st", place)
    before = builder.load(place)
    builder.store(builder.or_(before, ir.Constant(i32, _FLUSH)), place)
    _control(builder, "ld", place)
    return builder.zext(before, i64)


def restore_control(word: int) -> None:
    """Undo `flush_subnormals`."""


@type_callable(restore_control)
def _type_restore(context: Any) -> Any:
    return lambda word: types.void(types.int64)


@lower_builtin(restore_control, types.int64)
def _lower_restore(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if IS_X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(args[0], ir.IntType(32)), place)
        _control(builder, "ld", place)
    return context.get_dummy_value()
