"""Pairs of bfloat16 numbers: what matrix products in mixed precision read.

A *word* is 32 bits, an element of an array of uint32, and holds two neighbours along the sum of a product: the first
one in the upper half, the second one in the lower half. So the instruction of the processor (VDPBF16PS), which
takes the upper halves first, adds the products in the order of the sum, as the path without that instruction does.
"""

# The bodies are the NumPy twins: there a pointer is a view and a vector an array, which the protocols do not say.
# mypy: disable-error-code="no-any-return, operator, arg-type, attr-defined, index, return-value, call-overload"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types

from fastnn.kernels.lang.emit import emit_intrinsic
from fastnn.kernels.lang.simd.memory import emit_transpose
from fastnn.kernels.lang.simd.registers import (
    Vector,
    element_of,
    emit_fma,
    emit_load,
    emit_shuffle,
    is_pointer,
    llvm_vector,
    op,
    undefined,
)
from fastnn.kernels.lang.simd.target import HAS_BFLOAT16, n_lanes

if TYPE_CHECKING:
    from fastnn.kernels.lang import protocols
    from fastnn.kernels.lang.protocols import Pointer

_I32 = ir.IntType(32)
_UPPER = 0xFFFF0000


class _BFloat(ir.Type):
    """LLVM's type of one bfloat16, which llvmlite lacks."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def is_word_pointer(p: Any) -> bool:
    """Whether a Numba type is that of a pointer to words."""
    return is_pointer(p) and p.dtype == types.uint32


def words_of(vt: ir.VectorType) -> ir.VectorType:
    """Return the LLVM type of a vector of words that is as long as one of float32."""
    return ir.VectorType(_I32, vt.count)


def _constant(vt: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(words_of(vt), [value] * vt.count)


def _emit_rounded(builder: Any, v: Any) -> Any:
    """Generate the words whose upper halves are the bfloat16 numbers nearest to float32 numbers, ties to even.

    The lower halves hold what is left over. A NaN stays one.
    """
    vt = v.type
    bits = builder.bitcast(v, words_of(vt))
    last = builder.and_(builder.lshr(bits, _constant(vt, 16)), _constant(vt, 1))
    nearest = builder.add(bits, builder.add(last, _constant(vt, 0x7FFF)))
    quiet = builder.or_(bits, _constant(vt, 0x400000))
    return builder.select(builder.fcmp_unordered("uno", v, v), quiet, nearest)


def _emit_words(builder: Any, first: Any, second: Any) -> Any:
    """Generate the words of two vectors of which the upper halves count."""
    wt = first.type
    upper = builder.and_(first, ir.Constant(wt, [_UPPER] * wt.count))
    return builder.or_(upper, builder.lshr(second, ir.Constant(wt, [16] * wt.count)))


def emit_pairs(builder: Any, first: Any, second: Any) -> Any:
    """Generate the words of two vectors of float32, lane by lane."""
    return _emit_words(builder, _emit_rounded(builder, first), _emit_rounded(builder, second))


def emit_add_products(builder: Any, a: list[Any], b: list[Any], total: dict[tuple[int, int], Any]) -> Any:
    """Generate total[i, j] + a[i] b[j] for vectors of words: first the products of the upper halves, then the others.

    Products of bfloat16 numbers are exact in float32, and each sum is rounded once.
    """
    vt = next(iter(total.values())).type
    if HAS_BFLOAT16:
        return {(i, j): _emit_dot(builder, total[i, j], a[i], b[j]) for i, j in total}
    # One half after the other for all rows, so that few registers hold widened numbers.
    for widen in (
        lambda words: builder.and_(words, _constant(vt, _UPPER)),
        lambda words: builder.shl(words, _constant(vt, 16)),
    ):
        wide_b = [builder.bitcast(widen(words), vt) for words in b]
        after = {}
        for i, words in enumerate(a):
            wide_a = builder.bitcast(widen(words), vt)
            for j, wide in enumerate(wide_b):
                after[i, j] = emit_fma(builder, wide_a, wide, total[i, j])
        total = after
    return total


def _emit_dot(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """Generate the instruction VDPBF16PS."""
    # The lanes of its operands were typed as integers before LLVM 16.
    operand = ir.VectorType(_BFloat(), 32) if llvm.llvm_version_info[0] >= 16 else words_of(total.type)
    operands = [total, *(builder.bitcast(words, operand) for words in (a, b))]
    return emit_intrinsic(builder, "llvm.x86.avx512bf16.dpbf16ps.512", total.type, operands)


def rounded(x: Any) -> Any:
    """Return float32 numbers rounded to the nearest bfloat16 number, ties to even, as float32."""
    x = np.ascontiguousarray(x, np.float32)
    bits = x.view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (np.where(np.isnan(x), bits | np.uint32(0x400000), nearest) & np.uint32(_UPPER)).view(np.float32)


def pairs(first: Any, second: Any) -> Any:
    """Return the words of two arrays of float32."""
    return rounded(first).view(np.uint32) | (rounded(second).view(np.uint32) >> np.uint32(16))


def halves(words: Any) -> tuple[Any, Any]:
    """Return the first and second numbers of words, as float32."""
    words = np.ascontiguousarray(words, np.uint32)
    return (words & np.uint32(_UPPER)).view(np.float32), (words << np.uint32(16)).view(np.float32)


def _type_store_pairs(p: Any, first: Any, second: Any) -> Any:
    fits = is_word_pointer(p) and isinstance(first, Vector) and first == second and first.element == types.float32
    return types.void(p, first, second) if fits else None


def _emit_store_words(builder: Any, words: Any, pointer: Any) -> None:
    builder.store(words, builder.bitcast(pointer, words.type.as_pointer()), align=4)


@op(_type_store_pairs)
def store_pairs(p: Pointer, first: protocols.Vector, second: protocols.Vector) -> None:
    """Overwrite one vector of words at `p` with the pairs (first[l], second[l]), rounded."""
    p[: len(first)] = pairs(first, second)


@store_pairs.lower
def _lower_store_pairs(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, first, second = args
    _emit_store_words(builder, emit_pairs(builder, first, second), p)
    return context.get_dummy_value()


@op(_type_store_pairs)
def store_neighbours(p: Pointer, low: protocols.Vector, high: protocols.Vector) -> None:
    """Overwrite one vector of words at `p` with the pairs of neighbours of `low`, then those of `high`, rounded."""
    both = np.concatenate([low, high])
    p[: len(low)] = pairs(both[::2], both[1::2])


@store_neighbours.lower
def _lower_store_neighbours(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, low, high = args
    n = low.type.count
    low, high = _emit_rounded(builder, low), _emit_rounded(builder, high)
    first, second = (emit_shuffle(builder, low, high, list(range(start, 2 * n, 2))) for start in (0, 1))
    _emit_store_words(builder, _emit_words(builder, first, second), p)
    return context.get_dummy_value()


def _type_transpose_pairs(source: Any, ld_source: Any, target: Any, ld_target: Any) -> Any:
    fits = element_of(source) == types.float32 and is_word_pointer(target)
    return types.void(source, types.intp, target, types.intp) if fits else None


@op(_type_transpose_pairs)
def transpose_pairs(source: Pointer, ld_source: int, target: Pointer, ld_target: int) -> None:
    """Compute target[j / 2, i] = (source[i, j], source[i, j + 1]), rounded, for one block of lanes x lanes elements.

    Reads lanes rows of `source` (row stride `ld_source` elements), overwrites lanes / 2 rows of lanes words.
    """
    n = n_lanes(source.dtype)
    for i in range(n):
        row = source[i * ld_source : i * ld_source + n]
        for j, word in enumerate(pairs(row[::2], row[1::2])):
            target[j * ld_target + i] = word


@transpose_pairs.lower
def _lower_transpose_pairs(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, ld_source, target, ld_target = args
    vt = llvm_vector(Vector(sig.args[0].dtype))
    ip = ir.IntType(64)
    rows = [
        emit_load(builder, builder.gep(source, [builder.mul(ld_source, ir.Constant(ip, i))]), vt)
        for i in range(vt.count)
    ]
    columns = emit_transpose(builder, rows)
    for k, (first, second) in enumerate(zip(columns[::2], columns[1::2], strict=True)):
        place = builder.gep(target, [builder.mul(ld_target, ir.Constant(ip, k))])
        _emit_store_words(builder, emit_pairs(builder, first, second), place)
    return context.get_dummy_value()


def emit_load_words(builder: Any, pointer: Any, vt: ir.VectorType) -> Any:
    """Generate the reading of as many words as a vector of float32 has lanes."""
    return builder.load(builder.bitcast(pointer, words_of(vt).as_pointer()), align=4)


def emit_broadcast_word(builder: Any, word: Any, vt: ir.VectorType) -> Any:
    """Generate a vector with `word` in every lane."""
    wt = words_of(vt)
    one = builder.insert_element(undefined(wt), word, ir.Constant(_I32, 0))
    return emit_shuffle(builder, one, undefined(wt), [0] * vt.count)
