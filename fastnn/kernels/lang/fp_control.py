"""The processor's control word: how a thread treats subnormal numbers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastnn.kernels.lang.emit import emit_intrinsic, stack_slot
from fastnn.kernels.lang.simd import IS_AARCH64, IS_X86, op

#: Bits of the x86 control word MXCSR: results that are subnormal become zero, and such operands count as zero.
_FLUSH = 0x8040
#: Bit FZ of the AArch64 control word FPCR: the same.
_FLUSH_AARCH64 = 1 << 24


@op(lambda: types.int64)
def flush_subnormals() -> int:
    """Make this thread treat subnormal numbers as zero; return the control word for `restore_control`.

    Slots of weights whose gradient stays zero (dead units) decay into the subnormal range, where arithmetic takes
    several times as long on x86. On AArch64 it is for the same results. Has no effect on other processors.
    """
    return 0


def _emit_control(builder: Any, what: str, place: Any) -> None:
    """Generate a store ("st") or load ("ld") of MXCSR to or from memory."""
    pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
    emit_intrinsic(builder, f"llvm.x86.sse.{what}mxcsr", ir.VoidType(), [pointer])


def _emit_set_fpcr(builder: Any, word: Any) -> None:
    emit_intrinsic(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [word])


@flush_subnormals.lower
def _lower_flush(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    i32, i64 = ir.IntType(32), ir.IntType(64)
    if IS_AARCH64:
        before = emit_intrinsic(builder, "llvm.aarch64.get.fpcr", i64, [])
        _emit_set_fpcr(builder, builder.or_(before, ir.Constant(i64, _FLUSH_AARCH64)))
        return before
    if not IS_X86:
        return ir.Constant(i64, 0)
    place = stack_slot(builder, i32)
    _emit_control(builder, "st", place)
    before = builder.load(place)
    builder.store(builder.or_(before, ir.Constant(i32, _FLUSH)), place)
    _emit_control(builder, "ld", place)
    return builder.zext(before, i64)


@op(lambda word: types.void(types.int64))
def restore_control(word: int) -> None:
    """Undo `flush_subnormals`, whose result `word` is."""


@restore_control.lower
def _lower_restore(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if IS_AARCH64:
        _emit_set_fpcr(builder, args[0])
    elif IS_X86:
        place = stack_slot(builder, ir.IntType(32))
        builder.store(builder.trunc(args[0], ir.IntType(32)), place)
        _emit_control(builder, "ld", place)
    return context.get_dummy_value()
