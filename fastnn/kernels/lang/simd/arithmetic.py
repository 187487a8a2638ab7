"""Arithmetic on vectors: lane by lane, over the lanes of one vector, and on the bits of the lanes."""

# The bodies are the NumPy twins: there a vector is an array, which the protocols do not say.
# mypy: disable-error-code="no-any-return, operator, arg-type, attr-defined, index, return-value, call-overload"

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from fastnn.kernels.lang.emit import emit_intrinsic
from fastnn.kernels.lang.simd.registers import (
    Vector,
    element_of,
    elementwise,
    emit_broadcast,
    emit_fma,
    emit_shuffle,
    llvm_vector,
    op,
    suffix,
    undefined,
)
from fastnn.kernels.lang.simd.target import n_lanes

if TYPE_CHECKING:
    from fastnn.kernels.lang import protocols
    from fastnn.kernels.lang.protocols import Pointer

# ---------------------------------------------------------------------------------------------- lane by lane


def _register_operator(function: Any, instruction: str) -> None:
    """Make + - * / work on two vectors; on arrays they do so already."""

    def typer(a: Any, b: Any) -> Any:
        return a if isinstance(a, Vector) and a == b else None

    type_callable(function)(lambda context: typer)

    @lower_builtin(function, Vector, Vector)
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_register_operator(operator.add, "fadd")
_register_operator(operator.sub, "fsub")
_register_operator(operator.mul, "fmul")
_register_operator(operator.truediv, "fdiv")


def _type_broadcast(like: Any, x: Any) -> Any:
    if isinstance(like, Vector):
        return like
    element = element_of(like)
    return Vector(element) if element is not None else None


@op(_type_broadcast)
def broadcast(like: Pointer | protocols.Vector, x: Any) -> protocols.Vector:
    """Return a vector of the type of `like` (a vector, or a pointer to such) with `x` in every lane."""
    return np.full(n_lanes(like.dtype), x, like.dtype)


@broadcast.lower
def _lower_broadcast(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.element)
    return emit_broadcast(builder, scalar, llvm_vector(sig.return_type))


@elementwise(emit_fma)
def fma(a: protocols.Vector, b: protocols.Vector, c: protocols.Vector) -> protocols.Vector:
    """Multiply and add, a * b + c lane by lane, rounded once."""
    return a * b + c


@elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
def minimum(a: protocols.Vector, b: protocols.Vector) -> protocols.Vector:
    """Return lane by lane a < b ? a : b, so a NaN in `b` stays."""
    return np.where(a < b, a, b)


def _emit_maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@elementwise(_emit_maximum)
def maximum(a: protocols.Vector, b: protocols.Vector) -> protocols.Vector:
    """Return lane by lane a > b ? a : b, so a NaN in `b` stays."""
    return np.where(a > b, a, b)


@elementwise(lambda builder, a, b, x, y: builder.select(builder.fcmp_ordered(">", a, b), x, y))
def select_gt(
    a: protocols.Vector, b: protocols.Vector, x: protocols.Vector, y: protocols.Vector
) -> protocols.Vector:
    """Return lane by lane a > b ? x : y."""
    return np.where(a > b, x, y)


def _emit_absolute(builder: Any, a: Any) -> Any:
    return emit_intrinsic(builder, f"llvm.fabs.{suffix(a.type)}", a.type, [a])


def _emit_select_finite(builder: Any, a: Any, x: Any, y: Any) -> Any:
    infinity = ir.Constant(a.type, [math.inf] * a.type.count)
    return builder.select(builder.fcmp_ordered("<", _emit_absolute(builder, a), infinity), x, y)


@elementwise(_emit_select_finite)
def select_finite(a: protocols.Vector, x: protocols.Vector, y: protocols.Vector) -> protocols.Vector:
    """Return lane by lane: x where `a` is finite, else y."""
    return np.where(np.isfinite(a), x, y)


@elementwise(lambda builder, a: emit_intrinsic(builder, f"llvm.sqrt.{suffix(a.type)}", a.type, [a]))
def sqrt(a: protocols.Vector) -> protocols.Vector:
    """Return the square root lane by lane, correctly rounded."""
    return np.sqrt(a)


@elementwise(_emit_absolute)
def absolute(a: protocols.Vector) -> protocols.Vector:
    """Return |a| lane by lane."""
    return np.abs(a)


@elementwise(lambda builder, a: builder.fneg(a))
def negative(a: protocols.Vector) -> protocols.Vector:
    """Return -a lane by lane; in an operand of `fma` it costs nothing."""
    return -a


@elementwise(lambda builder, a, b: emit_intrinsic(builder, f"llvm.copysign.{suffix(a.type)}", a.type, [a, b]))
def copy_sign(a: protocols.Vector, b: protocols.Vector) -> protocols.Vector:
    """Return |a| with the sign of b lane by lane."""
    return np.copysign(a, b)


def _type_mask_tail(v: Any, n: Any, fill: Any) -> Any:
    return v if isinstance(v, Vector) and isinstance(n, types.Integer) and v == fill else None


@op(_type_mask_tail)
def mask_tail(v: protocols.Vector, n: int, fill: protocols.Vector) -> protocols.Vector:
    """Return `v` in the lanes before `n`, `fill` in the others."""
    return np.where(np.arange(len(v)) < n, v, fill)


@mask_tail.lower
def _lower_mask_tail(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    v, n, fill = args
    numbers = ir.VectorType(ir.IntType(64), v.type.count)
    n = context.cast(builder, n, sig.args[1], types.int64)
    bound = emit_broadcast(builder, n, numbers)
    lane = ir.Constant(numbers, list(range(v.type.count)))
    return builder.select(builder.icmp_signed("<", lane, bound), v, fill)


# ---------------------------------------------------------------------------------------- over the lanes of one


def _type_low_half(v: Any) -> Any:
    return Vector(v.element, v.lanes // 2) if isinstance(v, Vector) and v.lanes > 1 else None


@op(_type_low_half)
def low_half(v: protocols.Vector) -> protocols.Vector:
    """Return the first half of the lanes, as a vector of half the width."""
    return v[: len(v) // 2]


@low_half.lower
def _lower_low_half(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_shuffle(builder, args[0], undefined(args[0].type), list(range(sig.return_type.lanes)))


def _type_element(v: Any) -> Any:
    return v.element if isinstance(v, Vector) else None


def _emit_fold(builder: Any, v: Any, combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Fold the upper half of the lanes onto the lower one until one is left: a fixed order."""
    count = v.type.count
    while count > 1:
        count //= 2
        low, high = (
            emit_shuffle(builder, v, undefined(v.type), [start + i for i in range(count)]) for start in (0, count)
        )
        v = combine(builder, low, high)
    return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))


@op(_type_element)
def sum_lanes(v: protocols.Vector) -> Any:
    """Return the sum over the lanes, halves onto halves."""
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2 :]
    return v[0]


@sum_lanes.lower
def _lower_sum_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _emit_fold(builder, args[0], lambda builder, a, b: builder.fadd(a, b))


@op(_type_element)
def max_lanes(v: protocols.Vector) -> Any:
    """Return the largest lane; NaN lanes give an unspecified result."""
    return v.max()


@max_lanes.lower
def _lower_max_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _emit_fold(builder, args[0], _emit_maximum)


# --------------------------------------------------------------------------------- bits of floating-point numbers

#: Adding this rounds to an integer and leaves it in the low bits: 1.5 * 2^mantissa.
ROUND32 = 12582912.0
ROUND64 = 6755399441055744.0


def _emit_bits(builder: Any, v: Any) -> tuple[Any, ir.Type, int]:
    """Generate the lanes as integers; return them, their type, and the width of the mantissa."""
    single = isinstance(v.type.element, ir.FloatType)
    vt = ir.VectorType(ir.IntType(32 if single else 64), v.type.count)
    return builder.bitcast(v, vt), vt, 23 if single else 52


def _all_lanes(vt: ir.Type, number: int) -> ir.Constant:
    return ir.Constant(vt, [number] * vt.count)


def _emit_power_of_two(builder: Any, t: Any) -> Any:
    bits, vt, mantissa = _emit_bits(builder, t)
    bias = (127 if mantissa == 23 else 1023) << mantissa
    shifted = builder.shl(bits, _all_lanes(vt, mantissa))
    return builder.bitcast(builder.add(shifted, _all_lanes(vt, bias)), t.type)


@elementwise(_emit_power_of_two)
def power_of_two(t: protocols.Vector) -> protocols.Vector:
    """Return 2^n for the integer n that was rounded by adding ROUND32 or ROUND64 (`t` is that sum).

    0 for the first n below those of normal numbers, -127 or -1023.
    """
    n = t - t.dtype.type(ROUND32 if t.dtype == np.float32 else ROUND64)
    return np.where(n < np.finfo(t.dtype).minexp, 0 * n, np.exp2(n))


def _emit_integer_exponent(builder: Any, v: Any) -> tuple[Any, Any, ir.Type, int]:
    bits, vt, mantissa = _emit_bits(builder, v)
    half_root = 0x3F3504F3 if mantissa == 23 else 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    above = builder.sub(bits, _all_lanes(vt, half_root))
    return builder.ashr(above, _all_lanes(vt, mantissa)), bits, vt, mantissa


@elementwise(lambda builder, v: builder.sitofp(_emit_integer_exponent(builder, v)[0], v.type))
def exponent(v: protocols.Vector) -> protocols.Vector:
    """Return the exponent e of v = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal lanes."""
    m, e = np.frexp(v)
    return (e - (m < math.sqrt(0.5))).astype(v.dtype)


def _emit_significand(builder: Any, v: Any) -> Any:
    e, bits, vt, mantissa = _emit_integer_exponent(builder, v)
    scaled = builder.sub(bits, builder.shl(e, _all_lanes(vt, mantissa)))
    return builder.bitcast(scaled, v.type)


@elementwise(_emit_significand)
def significand(v: protocols.Vector) -> protocols.Vector:
    """Return the significand m of v = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal lanes."""
    m, _ = np.frexp(v)
    return np.where(m < math.sqrt(0.5), 2 * m, m).astype(v.dtype)
