"""Pointers, and what is read and written through them."""

# The bodies are the NumPy twins: there a pointer is a view and a vector an array, which the protocols do not say.
# mypy: disable-error-code="no-any-return, operator, arg-type, attr-defined, index, return-value, call-overload"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types

from fastnn.kernels.lang.simd.registers import (
    Vector,
    element_of,
    emit_load,
    emit_prefetch,
    emit_shuffle,
    emit_store,
    is_pointer,
    llvm_vector,
    op,
)
from fastnn.kernels.lang.simd.target import IS_X86, n_lanes

if TYPE_CHECKING:
    from fastnn.kernels.lang import protocols
    from fastnn.kernels.lang.protocols import Pointer


def _type_at(a: Any, offset: Any) -> Any:
    if isinstance(a, types.Array) and isinstance(offset, types.Integer):
        return types.CPointer(a.dtype)
    if is_pointer(a) and isinstance(offset, types.Integer):
        return a
    return None


@op(_type_at)
def at(a: Any, offset: int) -> Pointer:
    """Return a pointer to the element at `offset` of a contiguous array (counted in C order) or behind a pointer."""
    return a.reshape(-1)[offset:]


@at.lower
def _lower_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    base, offset = args
    if isinstance(sig.args[0], types.Array):
        base = context.make_array(sig.args[0])(context, builder, base).data
    offset = context.cast(builder, offset, sig.args[1], types.intp)
    return builder.gep(base, [offset])


@op(lambda p: types.intp if element_of(p) is not None else None)
def lanes(p: Pointer) -> int:
    """Return the lanes of the vectors that `p` points to; a constant to the compiler."""
    return n_lanes(p.dtype)


@lanes.lower
def _lower_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, Vector(sig.args[0].dtype).lanes)


def _type_load(p: Any) -> Any:
    element = element_of(p)
    return Vector(element) if element is not None else None


@op(_type_load)
def load(p: Pointer) -> protocols.Vector:
    """Read one vector at `p`; no alignment is required."""
    return p[: n_lanes(p.dtype)].copy()


@load.lower
def _lower_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_load(builder, args[0], llvm_vector(sig.return_type))


def _type_store(p: Any, v: Any) -> Any:
    return types.void if isinstance(v, Vector) and element_of(p) == v.element else None


@op(_type_store)
def store(p: Pointer, v: protocols.Vector) -> None:
    """Overwrite one vector at `p`, all of it."""
    p[: len(v)] = v


@store.lower
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, v = args
    if IS_X86:
        # LLVM turns the store of a choice between a value and what the memory holds into a masked store, which takes
        # some 16 cycles on AMD's Zen 2 and 3, a whole one 1. It does not see through assembly code, of which there is
        # none here: the vector passes in its register.
        v = builder.asm(ir.FunctionType(v.type, [v.type]), "", "=v,0", [v], side_effect=False)
    emit_store(builder, v, p)
    return context.get_dummy_value()


@op(lambda p: p.dtype if is_pointer(p) else None)
def load_scalar(p: Pointer) -> Any:
    """Read the one element at `p`."""
    return p[0]


@load_scalar.lower
def _lower_load_scalar(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(args[0])


@op(lambda p, x: types.void(p, p.dtype) if is_pointer(p) else None)
def store_scalar(p: Pointer, x: Any) -> None:
    """Overwrite the one element at `p`."""
    p[0] = x


@store_scalar.lower
def _lower_store_scalar(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
    builder.store(value, args[0])
    return context.get_dummy_value()


@op(lambda p, x: p.dtype if element_of(p) is not None and isinstance(x, types.Number) else None)
def cast_like(p: Pointer, x: Any) -> Any:
    """Return `x` rounded to the type that `p` points to."""
    return p.dtype.type(x)


@cast_like.lower
def _lower_cast_like(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.cast(builder, args[1], sig.args[1], sig.return_type)


@op(lambda p: types.intp if is_pointer(p) else None)
def address(p: Pointer) -> int:
    """Return the pointer as a number, by which another thread can find it."""
    return int(p.__array_interface__["data"][0])


@address.lower
def _lower_address(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.ptrtoint(args[0], ir.IntType(64))


def _type_pointer_to(address: Any, like: Any) -> Any:
    return like(types.intp, like) if isinstance(address, types.Integer) and is_pointer(like) else None


@op(_type_pointer_to)
def pointer_to(address: int, like: Pointer) -> Pointer:
    """Return a pointer of the type of `like` to an address; compiled code only."""
    raise NotImplementedError("an address means nothing to Python")


@pointer_to.lower
def _lower_pointer_to(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.inttoptr(args[0], args[1].type)


@op(lambda p: types.void if is_pointer(p) else None)
def prefetch_for_write(p: Pointer) -> None:
    """Request the cache line at `p` in order to overwrite it; reads and writes nothing and may point anywhere.

    Stores are made in their order, and each to a line that another core has read waits for the answer of that
    core; lines that were requested before come at the same time.
    """


@prefetch_for_write.lower
def _lower_prefetch_for_write(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    emit_prefetch(builder, args[0], write=True)
    return context.get_dummy_value()


def _type_transpose(source: Any, ld_source: Any, target: Any, ld_target: Any) -> Any:
    return types.void(source, types.intp, target, types.intp) if element_of(source) is not None else None


@op(_type_transpose)
def transpose_block(source: Pointer, ld_source: int, target: Pointer, ld_target: int) -> None:
    """Compute target[j, i] = source[i, j] for one block of lanes x lanes elements, in registers.

    Reads lanes rows of `source` (row stride `ld_source` elements), overwrites lanes rows of `target`; the two must
    not overlap.
    """
    n = n_lanes(source.dtype)
    for i in range(n):
        for j in range(n):
            target[j * ld_target + i] = source[i * ld_source + j]


def emit_transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Generate the columns of a block of as many rows as these vectors have lanes."""
    n = len(rows)
    rows = list(rows)
    # Swap the off-diagonal quarters at distance n/2, n/4 ... 1: after log2(n) rounds rows are columns.
    distance = n // 2
    while distance:
        low = [k if not k & distance else n + k - distance for k in range(n)]
        high = [k + distance if not k & distance else n + k for k in range(n)]
        for i in range(n):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = (emit_shuffle(builder, a, b, order) for order in (low, high))
        distance //= 2
    return rows


@transpose_block.lower
def _lower_transpose_block(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, ld_source, target, ld_target = args
    vector = Vector(sig.args[0].dtype)
    vt, n = llvm_vector(vector), vector.lanes
    ip = ir.IntType(64)
    rows = [
        emit_load(builder, builder.gep(source, [builder.mul(ld_source, ir.Constant(ip, i))]), vt)
        for i in range(n)
    ]
    rows = emit_transpose(builder, rows)
    for i in range(n):
        emit_store(builder, rows[i], builder.gep(target, [builder.mul(ld_target, ir.Constant(ip, i))]))
    return context.get_dummy_value()
