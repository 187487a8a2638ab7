"""Small steps of code generation by llvmlite that several modules share."""

from __future__ import annotations

from typing import Any

from llvmlite import ir


def declare(builder: ir.IRBuilder, kind: ir.FunctionType, name: str) -> Any:
    """Return the function of this name in the module that is being built, declared if it was not yet."""
    found = builder.module.globals.get(name)
    return ir.Function(builder.module, kind, name) if found is None else found


def emit_intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, args: list[Any]) -> Any:
    """Generate a call of an LLVM intrinsic, or of a C function, by its name."""
    return builder.call(declare(builder, ir.FunctionType(result, [a.type for a in args]), name), args)


def stack_slot(builder: ir.IRBuilder, kind: ir.Type, size: int = 1) -> Any:
    """Generate room for `size` values on the stack; not initialized. Returns the pointer.

    It is taken in the function's first block, so that a loop does not take it again and again.
    """
    with builder.goto_entry_block():
        return builder.alloca(kind, size=ir.Constant(ir.IntType(64), size))
