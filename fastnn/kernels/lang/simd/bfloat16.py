"""Numbers rounded to bfloat16: what matrix products in mixed precision read, and add in float32.

They have two forms. The instruction of the processor (VDPBF16PS) multiplies *words*: 32 bits, an element of an array
of uint32, hold two neighbours along the sum of a product, the first one in the upper half, the second one in the lower
half. It takes the upper halves first, so it adds products in the order of the sum. Where there is no such instruction,
the rounded numbers are kept as float32, and float32's own tiles compute the same bits: a product of two bfloat16
numbers is exact in float32, so both forms round once per product. (Words are widened in registers there.)

Functions that write rounded numbers take a pointer of either form; `numbers_per_element` is 2 for words.
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
_SIGN, _EXPONENT = 0x80000000, 0x7F800000


class _BFloat(ir.Type):
    """LLVM's type of one bfloat16, which llvmlite lacks."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _bfloat16_vector(n: int) -> ir.Type:
    """Return the LLVM type of n bfloat16 numbers, which were typed as integers before LLVM 16."""
    return ir.VectorType(_BFloat() if llvm.llvm_version_info[0] >= 16 else ir.IntType(16), n)


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

    The lower halves hold what is left over. A NaN stays one, a subnormal number becomes zero: so does the instruction.
    """
    vt = v.type
    bits = builder.bitcast(v, words_of(vt))
    last = builder.and_(builder.lshr(bits, _constant(vt, 16)), _constant(vt, 1))
    nearest = builder.add(bits, builder.add(last, _constant(vt, 0x7FFF)))
    quiet = builder.or_(bits, _constant(vt, 0x400000))
    result = builder.select(builder.fcmp_unordered("uno", v, v), quiet, nearest)
    is_subnormal = builder.icmp_unsigned("==", builder.and_(bits, _constant(vt, _EXPONENT)), _constant(vt, 0))
    return builder.select(is_subnormal, builder.and_(bits, _constant(vt, _SIGN)), result)


def _emit_both(builder: Any, low: Any, high: Any) -> Any:
    """Generate 2 V numbers of 16 bits, `low` before `high`, rounded by the instruction VCVTNE2PS2BF16."""
    n = low.type.count
    numbers = emit_intrinsic(
        builder, f"llvm.x86.avx512bf16.cvtne2ps2bf16.{32 * n}", _bfloat16_vector(2 * n), [high, low]
    )
    return builder.bitcast(numbers, ir.VectorType(ir.IntType(16), 2 * n))


def _emit_words(builder: Any, first: Any, second: Any) -> Any:
    """Generate the words of two vectors of which the upper halves count."""
    wt = first.type
    upper = builder.and_(first, ir.Constant(wt, [_UPPER] * wt.count))
    return builder.or_(upper, builder.lshr(second, ir.Constant(wt, [16] * wt.count)))


def emit_pairs(builder: Any, first: Any, second: Any) -> Any:
    """Generate the words of two vectors of float32, lane by lane."""
    if HAS_BFLOAT16:
        n = first.type.count
        both = _emit_both(builder, second, first)
        mixed = emit_shuffle(builder, both, both, [i // 2 + i % 2 * n for i in range(2 * n)])
        return builder.bitcast(mixed, words_of(first.type))
    return _emit_words(builder, _emit_rounded(builder, first), _emit_rounded(builder, second))


def _emit_neighbours(builder: Any, low: Any, high: Any) -> Any:
    """Generate the words of 2 V float32 numbers in a row, of which `low` holds the first V."""
    n = low.type.count
    if HAS_BFLOAT16:
        both = _emit_both(builder, low, high)
        swapped = emit_shuffle(builder, both, both, [i ^ 1 for i in range(2 * n)])
        return builder.bitcast(swapped, words_of(low.type))
    low, high = _emit_rounded(builder, low), _emit_rounded(builder, high)
    first, second = (emit_shuffle(builder, low, high, list(range(start, 2 * n, 2))) for start in (0, 1))
    return _emit_words(builder, first, second)


def emit_add_products(builder: Any, a: list[Any], b: list[Any], total: dict[tuple[int, int], Any]) -> Any:
    """Generate total[i, j] + a[i] b[j] for vectors of words: first the products of the upper halves, then the others.

    Products of bfloat16 numbers are exact in float32, and each sum is rounded once.
    """
    vt = next(iter(total.values())).type
    if HAS_BFLOAT16:
        return {(i, j): _emit_dot(builder, total[i, j], a[i], b[j]) for i, j in total}
    wide_b = [_emit_halves(builder, words, vt) for words in b]
    after = {}
    for i, words in enumerate(a):  # row after row, so that few registers hold widened numbers
        upper, lower = _emit_halves(builder, words, vt)
        for j, (b_upper, b_lower) in enumerate(wide_b):
            after[i, j] = emit_fma(builder, lower, b_lower, emit_fma(builder, upper, b_upper, total[i, j]))
    return after


def _emit_halves(builder: Any, words: Any, vt: ir.VectorType) -> tuple[Any, Any]:
    """Generate the vectors of float32 of the upper and of the lower halves of words."""
    upper = builder.and_(words, _constant(vt, _UPPER))
    lower = builder.shl(words, _constant(vt, 16))
    return builder.bitcast(upper, vt), builder.bitcast(lower, vt)


def _emit_dot(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """Generate the instruction VDPBF16PS."""
    # Before LLVM 16 its operands were words.
    operand = _bfloat16_vector(32) if llvm.llvm_version_info[0] >= 16 else words_of(total.type)
    operands = [total, *(builder.bitcast(words, operand) for words in (a, b))]
    return emit_intrinsic(builder, "llvm.x86.avx512bf16.dpbf16ps.512", total.type, operands)


def rounded(x: Any) -> Any:
    """Return float32 numbers rounded to the nearest bfloat16 number, ties to even, as float32; subnormal ones as 0."""
    x = np.ascontiguousarray(x, np.float32)
    bits = x.view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    result = np.where(np.isnan(x), bits | np.uint32(0x400000), nearest)
    result = np.where(bits & np.uint32(_EXPONENT), result, bits & np.uint32(_SIGN))
    return (result & np.uint32(_UPPER)).view(np.float32)


def pairs(first: Any, second: Any) -> Any:
    """Return the words of two arrays of float32."""
    return rounded(first).view(np.uint32) | (rounded(second).view(np.uint32) >> np.uint32(16))


def halves(words: Any) -> tuple[Any, Any]:
    """Return the first and second numbers of words, as float32."""
    words = np.ascontiguousarray(words, np.uint32)
    return (words & np.uint32(_UPPER)).view(np.float32), (words << np.uint32(16)).view(np.float32)


def _emit_store(builder: Any, value: Any, pointer: Any, offset: Any = None) -> None:
    """Generate the writing of words, or of float32 numbers, as many as `value` has lanes."""
    if offset is not None:
        pointer = builder.gep(pointer, [offset])
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def _emit_upper(builder: Any, v: Any) -> Any:
    """Generate the float32 numbers that are `v` rounded to bfloat16."""
    return builder.bitcast(builder.and_(_emit_rounded(builder, v), _constant(v.type, _UPPER)), v.type)


def _is_rounded(p: Any) -> bool:
    return is_word_pointer(p) or element_of(p) == types.float32


@op(lambda p: types.intp if _is_rounded(p) else None)
def numbers_per_element(p: Pointer) -> int:
    """Return the numbers per element of what `p` points to: 2 for words, else 1; a constant to the compiler."""
    return 2 if p.dtype == np.uint32 else 1


@numbers_per_element.lower
def _lower_numbers_per_element(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, 2 if is_word_pointer(sig.args[0]) else 1)


def _are_float32(*vectors: Any) -> bool:
    return all(isinstance(v, Vector) and v.element == types.float32 for v in vectors)


def _type_store_row(p: Any, low: Any, high: Any) -> Any:
    return types.void(p, low, high) if _is_rounded(p) and _are_float32(low, high) else None


@op(_type_store_row)
def store_row(p: Pointer, low: protocols.Vector, high: protocols.Vector) -> None:
    """Overwrite 2 V neighbours at `p` with the numbers of `low`, then those of `high`, rounded."""
    both = np.concatenate([low, high])
    if p.dtype == np.uint32:
        p[: len(low)] = pairs(both[::2], both[1::2])
    else:
        p[: len(both)] = rounded(both)


@store_row.lower
def _lower_store_row(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, low, high = args
    n = low.type.count
    if is_word_pointer(sig.args[0]):
        _emit_store(builder, _emit_neighbours(builder, low, high), p)
    else:
        _emit_store(builder, _emit_upper(builder, low), p)
        _emit_store(builder, _emit_upper(builder, high), p, ir.Constant(ir.IntType(64), n))
    return context.get_dummy_value()


@op(_type_store_row)
def store_row_for_dots(p: Pointer, low: protocols.Vector, high: protocols.Vector) -> None:
    """Do the same for sums in lanes: a word holds the numbers of a lane, so that each lane adds them in their order."""
    if p.dtype == np.uint32:
        p[: len(low)] = pairs(low, high)
    else:
        store_row(p, low, high)


@store_row_for_dots.lower
def _lower_store_row_for_dots(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, low, high = args
    if not is_word_pointer(sig.args[0]):
        return _lower_store_row(context, builder, sig, args)
    _emit_store(builder, emit_pairs(builder, low, high), p)
    return context.get_dummy_value()


def _type_store_end(p: Any, v: Any) -> Any:
    return types.void(p, v) if _is_rounded(p) and _are_float32(v) else None


@op(_type_store_end)
def store_row_end(p: Pointer, v: protocols.Vector) -> None:
    """Overwrite the last V numbers of a row at `p`, as `store_row` with zeros after them; V words, or V numbers."""
    if p.dtype == np.uint32:
        store_row(p, v, np.zeros_like(v))
    else:
        p[: len(v)] = rounded(v)


@op(_type_store_end)
def store_row_end_for_dots(p: Pointer, v: protocols.Vector) -> None:
    """Do the same as `store_row_for_dots` does it."""
    if p.dtype == np.uint32:
        store_row_for_dots(p, v, np.zeros_like(v))
    else:
        p[: len(v)] = rounded(v)


def _lower_end(lower: Any) -> Any:
    """Return the code generator of the end of a row, given that of two vectors of words."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p, v = args
        if is_word_pointer(sig.args[0]):
            zeros = ir.Constant(v.type, [0.0] * v.type.count)
            return lower(context, builder, types.void(*sig.args, sig.args[1]), (p, v, zeros))
        _emit_store(builder, _emit_upper(builder, v), p)
        return context.get_dummy_value()

    return generate


store_row_end.lower(_lower_end(_lower_store_row))
store_row_end_for_dots.lower(_lower_end(_lower_store_row_for_dots))


def _type_store_two_rows(p: Any, ld: Any, first: Any, second: Any) -> Any:
    return types.void(p, types.intp, first, second) if _is_rounded(p) and _are_float32(first, second) else None


@op(_type_store_two_rows)
def store_two_rows(p: Pointer, ld: int, first: protocols.Vector, second: protocols.Vector) -> None:
    """Overwrite V columns of two rows, the sum of a product being over rows: at `p` and `p + ld`, or words at `p`."""
    if p.dtype == np.uint32:
        p[: len(first)] = pairs(first, second)
    else:
        p[: len(first)] = rounded(first)
        p[ld : ld + len(second)] = rounded(second)


@store_two_rows.lower
def _lower_store_two_rows(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    p, ld, first, second = args
    if is_word_pointer(sig.args[0]):
        _emit_store(builder, emit_pairs(builder, first, second), p)
    else:
        _emit_store(builder, _emit_upper(builder, first), p)
        _emit_store(builder, _emit_upper(builder, second), p, ld)
    return context.get_dummy_value()


def _type_transpose_rounded(source: Any, ld_source: Any, target: Any, ld_target: Any) -> Any:
    fits = element_of(source) == types.float32 and _is_rounded(target)
    return types.void(source, types.intp, target, types.intp) if fits else None


@op(_type_transpose_rounded)
def transpose_rounded(source: Pointer, ld_source: int, target: Pointer, ld_target: int) -> None:
    """Overwrite V rows at `target`, or V / 2 of words, with one transposed block of lanes x lanes elements, rounded.

    Reads lanes rows of `source`; row strides in elements. The sum of a product is over the rows of `target`.
    """
    n = n_lanes(source.dtype)
    block = np.stack([source[i * ld_source : i * ld_source + n] for i in range(n)], axis=1)
    rows = pairs(block[::2], block[1::2]) if target.dtype == np.uint32 else rounded(block)
    for j, row in enumerate(rows):
        target[j * ld_target : j * ld_target + n] = row


@transpose_rounded.lower
def _lower_transpose_rounded(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, ld_source, target, ld_target = args
    vt = llvm_vector(Vector(sig.args[0].dtype))
    ip = ir.IntType(64)
    rows = [
        emit_load(builder, builder.gep(source, [builder.mul(ld_source, ir.Constant(ip, i))]), vt)
        for i in range(vt.count)
    ]
    columns = emit_transpose(builder, rows)
    if is_word_pointer(sig.args[2]):
        made = [emit_pairs(builder, *two) for two in zip(columns[::2], columns[1::2], strict=True)]
    else:
        made = [_emit_upper(builder, column) for column in columns]
    for k, row in enumerate(made):
        _emit_store(builder, row, target, builder.mul(ld_target, ir.Constant(ip, k)))
    return context.get_dummy_value()


def _type_dot(total: Any, a: Any, b: Any) -> Any:
    return total if _are_float32(total, a, b) else None


@op(_type_dot)
def dot(total: protocols.Vector, a: protocols.Vector, b: protocols.Vector) -> protocols.Vector:
    """Return `total` plus the products of the numbers in the words a and b, whose bits float32 vectors hold."""
    for x, y in zip(halves(np.asarray(a).view(np.uint32)), halves(np.asarray(b).view(np.uint32)), strict=True):
        total = total + x * y
    return total


@dot.lower
def _lower_dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    total, a, b = args
    a, b = (builder.bitcast(v, words_of(total.type)) for v in (a, b))
    return emit_add_products(builder, [a], [b], {(0, 0): total})[0, 0]


def emit_load_words(builder: Any, pointer: Any, vt: ir.VectorType) -> Any:
    """Generate the reading of as many words as a vector of float32 has lanes."""
    return builder.load(builder.bitcast(pointer, words_of(vt).as_pointer()), align=4)


def emit_broadcast_word(builder: Any, word: Any, vt: ir.VectorType) -> Any:
    """Generate a vector with `word` in every lane."""
    wt = words_of(vt)
    one = builder.insert_element(undefined(wt), word, ir.Constant(_I32, 0))
    return emit_shuffle(builder, one, undefined(wt), [0] * vt.count)
