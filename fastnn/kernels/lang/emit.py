"""Small steps of code generation by llvmlite that several modules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir


def declare(builder: ir.IRBuilder, kind: ir.FunctionType, name: str) -> Any:
    """Return the function of this name in the module that is being built, declared if it was not yet."""
    found = builder.module.globals.get(name)
    return ir.Function(builder.module, kind, name) if found is None else found


def emit_intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, args: list[Any]) -> Any:
    """Generate a call of an LLVM intrinsic, or of a C function, by its name."""
    return builder.call(declare(builder, ir.FunctionType(result, [a.type for a in args]), name), args)


def emit_opaque(builder: ir.IRBuilder, value: Any) -> Any:
    """Generate `value` so that LLVM takes it for unrelated to what it was computed from; no instruction."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


def rows_from(builder: ir.IRBuilder, stride: Any, n: int) -> Callable[[Any], list[Any]]:
    """Return a function that generates the addresses of n rows, `stride` elements apart, from that of the first row.

    Offsets are computed where the builder is now: before the loop in which the function is used. LLVM would derive each
    address in a loop from the one before, and a step of the loop would wait for as many additions as there are rows. So
    rows are addressed in groups, whose pointers and offsets it is kept from relating to each other. The pointer to the
    first row should be opaque, too.
    """
    group = 4

    def offset(rows: int) -> Any:
        return builder.mul(stride, ir.Constant(stride.type, rows))

    in_group = [emit_opaque(builder, offset(i)) for i in range(1, min(n, group))]
    of_group = [offset(i) for i in range(group, n, group)]

    def rows(first: Any) -> list[Any]:
        begins = [first, *(emit_opaque(builder, builder.gep(first, [place])) for place in of_group)]
        addresses = [p for begin in begins for p in (begin, *(builder.gep(begin, [place]) for place in in_group))]
        return addresses[:n]

    return rows


def stack_slot(builder: ir.IRBuilder, kind: ir.Type, size: int = 1) -> Any:
    """Generate room for `size` values on the stack; not initialized. Returns the pointer.

    It is taken in the function's first block, so that a loop does not take it again and again.
    """
    with builder.goto_entry_block():
        return builder.alloca(kind, size=ir.Constant(ir.IntType(64), size))
