"""Explicit vector registers for compiled code.

A *pointer* is the address of an element of an array (`at(array, offset)`); a *vector* is one register of
`lanes` elements. Each operation is an ordinary Python function, written with NumPy, which Numba replaces by
a few instructions: with NUMBA_DISABLE_JIT=1 the kernels run as Python, slowly, on the same functions (a
pointer is then a one-dimensional view that starts at the element, and a vector a small array).

Why not leave the vectorising to the compiler: its choice depends on loop bounds, aliasing and flags, and the
elements of a remainder are rounded otherwise than those of the vector body. Here each element of an array
gets the same operations wherever it lies, so how the work is cut into tiles cannot change a bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

# ---------------------------------------------------------------------------------------------- the target


def _target_features() -> frozenset[str]:
    """Names of the features that Numba will compile for (NUMBA_CPU_FEATURES wins over the host's)."""
    chosen = numba.config.CPU_FEATURES
    if chosen is None:
        return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
    return frozenset(part[1:] for part in chosen.split(",") if part.startswith("+"))


FEATURES = _target_features()
IS_X86 = "x86_64" in llvm.get_process_triple() or "amd64" in llvm.get_process_triple()
# What is not x86 (AArch64, POWER) has 128-bit vectors, 32 registers and a fused multiply-add at all times.
VECTOR_BITS = 512 if "avx512f" in FEATURES else 256 if "avx" in FEATURES else 128
HAS_FMA = not IS_X86 or "fma" in FEATURES or "avx512f" in FEATURES
N_REGISTERS = 32 if not IS_X86 or "avx512f" in FEATURES else 16
#: Bytes of a cache line; buffers start on such a boundary.
CACHE_LINE = 64


def n_lanes(dtype: Any) -> int:
    """Lanes of a vector of `dtype`: 16 float32 or 8 float64 with AVX-512, half of that with AVX2."""
    return VECTOR_BITS // 8 // np.dtype(dtype).itemsize


# ------------------------------------------------------------------------------------- types and registration


class Vector(types.Type):
    """Numba type of one vector register; as wide as the target's unless `lanes` is given."""

    def __init__(self, element: types.Float, lanes: int | None = None) -> None:
        self.element = element
        self.lanes = VECTOR_BITS // element.bitwidth if lanes is None else lanes
        super().__init__(name=f"Vector({element}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, llvm_vector(fe_type))


def _llvm_element(element: types.Float) -> ir.Type:
    return ir.FloatType() if element.bitwidth == 32 else ir.DoubleType()


def llvm_vector(vector: Vector) -> ir.VectorType:
    """LLVM type of a vector."""
    return ir.VectorType(_llvm_element(vector.element), vector.lanes)


def _is_pointer(t: Any) -> bool:
    return isinstance(t, types.CPointer)


def op(typer: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Give a Python function a type rule; its `.lower` decorator takes the code generator."""

    def decorate(function: Any) -> Any:
        type_callable(function)(lambda context: typer)

        def lower(generate: Callable[..., Any]) -> Callable[..., Any]:
            lower_builtin(function, types.VarArg(types.Any))(generate)
            return generate

        function.lower = lower
        return function

    return decorate


def emit_intrinsic(builder: Any, name: str, result: ir.Type, args: list[Any]) -> Any:
    """Call an LLVM intrinsic that llvmlite does not know how to declare."""
    declared = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in args]), name
    )
    return builder.call(declared, args)


def _suffix(vt: ir.VectorType) -> str:
    return f"v{vt.count}f{32 if isinstance(vt.element, ir.FloatType) else 64}"


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Generate a * b + c."""
    if HAS_FMA:
        return emit_intrinsic(builder, f"llvm.fma.{_suffix(a.type)}", a.type, [a, b, c])
    # Without the instruction llvm.fma becomes a call of libm for each lane.
    return builder.fadd(builder.fmul(a, b), c)


def emit_broadcast(builder: Any, scalar: Any, vt: ir.VectorType) -> Any:
    """Generate a vector with `scalar` in every lane."""
    one = builder.insert_element(ir.Constant(vt, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vt.count), [0] * vt.count)
    return builder.shuffle_vector(one, ir.Constant(vt, ir.Undefined), mask)


def emit_load(builder: Any, pointer: Any, vt: ir.VectorType) -> Any:
    """Generate the reading of one vector, aligned to its elements."""
    element = vt.element
    size = 4 if isinstance(element, ir.FloatType) else 8
    return builder.load(builder.bitcast(pointer, vt.as_pointer()), align=size)


def emit_store(builder: Any, value: Any, pointer: Any) -> None:
    """Generate the writing of one vector, aligned to its elements."""
    size = 4 if isinstance(value.type.element, ir.FloatType) else 8
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=size)


# ------------------------------------------------------------------------------------------ pointers, memory


def _type_at(a: Any, offset: Any) -> Any:
    if isinstance(a, types.Array) and isinstance(offset, types.Integer):
        return types.CPointer(a.dtype)
    if _is_pointer(a) and isinstance(offset, types.Integer):
        return a
    return None


@op(_type_at)
def at(a: Any, offset: Any) -> Any:
    """Pointer to the element at `offset` of a contiguous array (counted in C order) or behind a pointer."""
    return a.reshape(-1)[offset:]


@at.lower
def _lower_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    base, offset = args
    if isinstance(sig.args[0], types.Array):
        base = context.make_array(sig.args[0])(context, builder, base).data
    offset = context.cast(builder, offset, sig.args[1], types.intp)
    return builder.gep(base, [offset])


def element_of(p: Any) -> types.Float | None:
    """Type that a pointer points to, where that is a floating-point number."""
    return p.dtype if _is_pointer(p) and isinstance(p.dtype, types.Float) else None


def _type_lanes(p: Any) -> Any:
    return types.intp if element_of(p) is not None else None


@op(_type_lanes)
def lanes(p: Any) -> int:
    """Lanes of the vectors that `p` points to; a constant to the compiler."""
    return n_lanes(p.dtype)


@lanes.lower
def _lower_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, Vector(sig.args[0].dtype).lanes)


def _type_load(p: Any) -> Any:
    element = element_of(p)
    return Vector(element) if element is not None else None


@op(_type_load)
def load(p: Any) -> Any:
    """Read one vector at `p`; no alignment is asked for."""
    return p[: n_lanes(p.dtype)].copy()


@load.lower
def _lower_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_load(builder, args[0], llvm_vector(sig.return_type))


def _type_store(p: Any, v: Any) -> Any:
    return types.void if isinstance(v, Vector) and element_of(p) == v.element else None


@op(_type_store)
def store(p: Any, v: Any) -> None:
    """Overwrite one vector at `p`."""
    p[: len(v)] = v


@store.lower
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    emit_store(builder, args[1], args[0])
    return context.get_dummy_value()


def _type_low_half(v: Any) -> Any:
    return Vector(v.element, v.lanes // 2) if isinstance(v, Vector) and v.lanes > 1 else None


@op(_type_low_half)
def low_half(v: Any) -> Any:
    """First half of the lanes, as a vector of half the width."""
    return v[: len(v) // 2]


@low_half.lower
def _lower_low_half(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    lanes_kept = ir.Constant(ir.VectorType(ir.IntType(32), sig.return_type.lanes), list(range(sig.return_type.lanes)))
    return builder.shuffle_vector(args[0], ir.Constant(args[0].type, ir.Undefined), lanes_kept)


def _type_get(p: Any) -> Any:
    return p.dtype if _is_pointer(p) else None


@op(_type_get)
def load_scalar(p: Any) -> Any:
    """Read the one element at `p`."""
    return p[0]


@load_scalar.lower
def _lower_get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(args[0])


def _type_put(p: Any, x: Any) -> Any:
    return types.void(p, p.dtype) if _is_pointer(p) else None


@op(_type_put)
def store_scalar(p: Any, x: Any) -> None:
    """Overwrite the one element at `p`."""
    p[0] = x


@store_scalar.lower
def _lower_put(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
    builder.store(value, args[0])
    return context.get_dummy_value()


def _type_element(p: Any, x: Any) -> Any:
    return p.dtype if element_of(p) is not None and isinstance(x, types.Number) else None


@op(_type_element)
def cast_like(p: Any, x: Any) -> Any:
    """`x` rounded to the type that `p` points to."""
    return p.dtype.type(x)


@cast_like.lower
def _lower_element(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.cast(builder, args[1], sig.args[1], sig.return_type)


def _type_address(p: Any) -> Any:
    return types.intp if _is_pointer(p) else None


@op(_type_address)
def address(p: Any) -> int:
    """The pointer as a number, by which another thread can find it."""
    return int(p.__array_interface__["data"][0])


@address.lower
def _lower_address(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.ptrtoint(args[0], ir.IntType(64))


def _type_pointer_to(address: Any, like: Any) -> Any:
    return like(types.intp, like) if isinstance(address, types.Integer) and _is_pointer(like) else None


@op(_type_pointer_to)
def pointer_to(address: int, like: Any) -> Any:
    """Pointer of the kind of `like` to an address; compiled code only."""
    raise NotImplementedError("an address means nothing to Python")


@pointer_to.lower
def _lower_pointer_to(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.inttoptr(args[0], args[1].type)


def _type_claim(p: Any) -> Any:
    return types.void if _is_pointer(p) else None


@op(_type_claim)
def prefetch_for_write(p: Any) -> None:
    """Ask for the cache line at `p` in order to overwrite it; touches nothing and may point anywhere.

    Stores are made in their order, and each whose line another core has looked at waits for the answer of that
    core; lines that were claimed before come at the same time.
    """


@prefetch_for_write.lower
def _lower_claim(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    emit_prefetch(builder, args[0], write=True)
    return context.get_dummy_value()


def emit_prefetch(builder: Any, pointer: Any, *, write: bool = False) -> None:
    """Generate a request for the cache line at `pointer`, to be read or to be overwritten."""
    i32 = ir.IntType(32)
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    # read or write, keep in all levels, data
    hints = [ir.Constant(i32, int(write)), ir.Constant(i32, 3), ir.Constant(i32, 1)]
    emit_intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [address, *hints])


# ------------------------------------------------------------------------------------------------ arithmetic


def _type_broadcast(p: Any, x: Any) -> Any:
    if isinstance(p, Vector):
        return p
    element = element_of(p)
    return Vector(element) if element is not None else None


@op(_type_broadcast)
def broadcast(like: Any, x: Any) -> Any:
    """Vector of the kind of `like` (a vector, or a pointer to such) with `x` in every lane."""
    return np.full(n_lanes(like.dtype), x, like.dtype)


@broadcast.lower
def _lower_broadcast(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.element)
    return emit_broadcast(builder, scalar, llvm_vector(sig.return_type))


def _binary(name: str, instruction: str) -> None:
    """Let + - * / work on two vectors; on arrays they do so already."""
    import operator

    function = getattr(operator, name)

    def typer(a: Any, b: Any) -> Any:
        return a if isinstance(a, Vector) and a == b else None

    type_callable(function)(lambda context: typer)

    @lower_builtin(function, Vector, Vector)
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _name, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    _binary(_name, _instruction)


def _type_three(a: Any, b: Any, c: Any) -> Any:
    return a if isinstance(a, Vector) and a == b == c else None


@op(_type_three)
def fma(a: Any, b: Any, c: Any) -> Any:
    """Multiply and add, a * b + c lane by lane, rounded once."""
    return a * b + c


@fma.lower
def _lower_fma(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_fma(builder, *args)


def _type_two(a: Any, b: Any) -> Any:
    return a if isinstance(a, Vector) and a == b else None


@op(_type_two)
def minimum(a: Any, b: Any) -> Any:
    """Lane by lane a < b ? a : b, so a NaN in `b` stays."""
    return np.where(a < b, a, b)


@minimum.lower
def _lower_minimum(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", *args), *args)


@op(_type_two)
def maximum(a: Any, b: Any) -> Any:
    """Lane by lane a > b ? a : b, so a NaN in `b` stays."""
    return np.where(a > b, a, b)


@maximum.lower
def _lower_maximum(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", *args), *args)


def _type_four(a: Any, b: Any, x: Any, y: Any) -> Any:
    return a if isinstance(a, Vector) and a == b == x == y else None


@op(_type_four)
def select_gt(a: Any, b: Any, x: Any, y: Any) -> Any:
    """Lane by lane a > b ? x : y."""
    return np.where(a > b, x, y)


@select_gt.lower
def _lower_where_greater(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    a, b, x, y = args
    return builder.select(builder.fcmp_ordered(">", a, b), x, y)


@op(_type_three)
def select_finite(a: Any, x: Any, y: Any) -> Any:
    """Lane by lane: x where `a` is finite, else y."""
    return np.where(np.isfinite(a), x, y)


@select_finite.lower
def _lower_where_finite(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    a, x, y = args
    size = emit_intrinsic(builder, f"llvm.fabs.{_suffix(a.type)}", a.type, [a])
    infinity = ir.Constant(a.type, [math.inf] * a.type.count)
    return builder.select(builder.fcmp_ordered("<", size, infinity), x, y)


def _type_one(a: Any) -> Any:
    return a if isinstance(a, Vector) else None


@op(_type_one)
def sqrt(a: Any) -> Any:
    """Square root lane by lane, correctly rounded."""
    return np.sqrt(a)


@sqrt.lower
def _lower_sqrt(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_intrinsic(builder, f"llvm.sqrt.{_suffix(args[0].type)}", args[0].type, [args[0]])


@op(_type_one)
def absolute(a: Any) -> Any:
    """|a| lane by lane."""
    return np.abs(a)


@absolute.lower
def _lower_absolute(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit_intrinsic(builder, f"llvm.fabs.{_suffix(args[0].type)}", args[0].type, [args[0]])


def _type_first(v: Any, n: Any, fill: Any) -> Any:
    return v if isinstance(v, Vector) and isinstance(n, types.Integer) and v == fill else None


@op(_type_first)
def mask_tail(v: Any, n: Any, fill: Any) -> Any:
    """`v` in the lanes before `n`, `fill` in the others."""
    return np.where(np.arange(len(v)) < n, v, fill)


@mask_tail.lower
def _lower_first(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    v, n, fill = args
    i64 = ir.IntType(64)
    numbers = ir.VectorType(i64, v.type.count)
    n = context.cast(builder, n, sig.args[1], types.int64)
    bound = emit_broadcast(builder, n, numbers)
    lane = ir.Constant(numbers, list(range(v.type.count)))
    return builder.select(builder.icmp_signed("<", lane, bound), v, fill)


def _type_reduce(v: Any) -> Any:
    return v.element if isinstance(v, Vector) else None


def _emit_reduce(builder: Any, v: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Fold the upper half of the lanes onto the lower one until one is left: a fixed order."""
    count = v.type.count
    i32 = ir.IntType(32)
    while count > 1:
        count //= 2
        low, high = (
            builder.shuffle_vector(
                v,
                ir.Constant(v.type, ir.Undefined),
                ir.Constant(ir.VectorType(i32, count), [start + i for i in range(count)]),
            )
            for start in (0, count)
        )
        v = combine(low, high)
    return builder.extract_element(v, ir.Constant(i32, 0))


@op(_type_reduce)
def sum_lanes(v: Any) -> Any:
    """Sum over the lanes, halves onto halves."""
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2 :]
    return v[0]


@sum_lanes.lower
def _lower_sum_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _emit_reduce(builder, args[0], builder.fadd)


@op(_type_reduce)
def max_lanes(v: Any) -> Any:
    """Largest lane; NaN lanes give an unspecified result."""
    return v.max()


@max_lanes.lower
def _lower_max_lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _emit_reduce(
        builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
    )


# --------------------------------------------------------------------------------- bits of floating-point numbers


def _bits(builder: Any, v: Any) -> tuple[Any, ir.Type, int]:
    """The lanes as integers, their type, and the width of the mantissa."""
    single = isinstance(v.type.element, ir.FloatType)
    vt = ir.VectorType(ir.IntType(32 if single else 64), v.type.count)
    return builder.bitcast(v, vt), vt, 23 if single else 52


#: Adding this rounds to an integer and leaves it in the low bits: 1.5 * 2^mantissa.
ROUND32 = 12582912.0
ROUND64 = 6755399441055744.0


@op(_type_one)
def power_of_two(t: Any) -> Any:
    """2^n for the integer n that was rounded by adding ROUND32 or ROUND64 (`t` is that sum)."""
    rounding = ROUND32 if t.dtype == np.float32 else ROUND64
    return np.exp2(t - t.dtype.type(rounding))


@power_of_two.lower
def _lower_power_of_two(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    bits, vt, mantissa = _bits(builder, args[0])
    bias = (127 if mantissa == 23 else 1023) << mantissa
    shifted = builder.shl(bits, ir.Constant(vt, [mantissa] * vt.count))
    return builder.bitcast(builder.add(shifted, ir.Constant(vt, [bias] * vt.count)), args[0].type)


def _emit_exponent(builder: Any, v: Any) -> tuple[Any, Any, ir.Type, int]:
    bits, vt, mantissa = _bits(builder, v)
    half_root = 0x3F3504F3 if mantissa == 23 else 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    above = builder.sub(bits, ir.Constant(vt, [half_root] * vt.count))
    return builder.ashr(above, ir.Constant(vt, [mantissa] * vt.count)), bits, vt, mantissa


@op(_type_one)
def exponent(v: Any) -> Any:
    """Exponent e of v = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal lanes."""
    m, e = np.frexp(v)
    return (e - (m < math.sqrt(0.5))).astype(v.dtype)


@exponent.lower
def _lower_exponent(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    e, _, _, _ = _emit_exponent(builder, args[0])
    return builder.sitofp(e, args[0].type)


@op(_type_one)
def significand(v: Any) -> Any:
    """Significand m of v = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal lanes."""
    m, _ = np.frexp(v)
    return np.where(m < math.sqrt(0.5), 2 * m, m).astype(v.dtype)


@significand.lower
def _lower_significand(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    e, bits, vt, mantissa = _emit_exponent(builder, args[0])
    scaled = builder.sub(bits, builder.shl(e, ir.Constant(vt, [mantissa] * vt.count)))
    return builder.bitcast(scaled, args[0].type)


# --------------------------------------------------------------------------------------------- blocks of memory


def _type_transpose(source: Any, ld_source: Any, target: Any, ld_target: Any) -> Any:
    return types.void(source, types.intp, target, types.intp) if element_of(source) is not None else None


@op(_type_transpose)
def transpose_block(source: Any, ld_source: int, target: Any, ld_target: int) -> None:
    """target[j, i] = source[i, j] for one block of lanes x lanes elements, in registers.

    Reads lanes rows of `source`, overwrites lanes rows of `target`; the two must not overlap.
    """
    n = n_lanes(source.dtype)
    for i in range(n):
        for j in range(n):
            target[j * ld_target + i] = source[i * ld_source + j]


@transpose_block.lower
def _lower_transpose(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, ld_source, target, ld_target = args
    vector = Vector(sig.args[0].dtype)
    vt, n = llvm_vector(vector), vector.lanes
    i32, ip = ir.IntType(32), ir.IntType(64)
    rows = [
        emit_load(builder, builder.gep(source, [builder.mul(ld_source, ir.Constant(ip, i))]), vt)
        for i in range(n)
    ]
    # Swap the off-diagonal quarters at distance n/2, n/4 ... 1: after log2(n) rounds rows are columns.
    distance = n // 2
    while distance:
        low = [k if not k & distance else n + k - distance for k in range(n)]
        high = [k + distance if not k & distance else n + k for k in range(n)]
        for i in range(n):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                for place, order in ((i, low), (i + distance, high)):
                    mask = ir.Constant(ir.VectorType(i32, n), order)
                    rows[place] = builder.shuffle_vector(a, b, mask)
        distance //= 2
    for i in range(n):
        emit_store(builder, rows[i], builder.gep(target, [builder.mul(ld_target, ir.Constant(ip, i))]))
    return context.get_dummy_value()


# ----------------------------------------------------------------------------------- functions of the user's

#: Stand-ins for machine code at an address, by which the kernels run as Python.
FUNCTIONS: dict[int, Any] = {}


def _type_call(function: Any, a: Any, b: Any, c: Any, n: Any) -> Any:
    if element_of(a) is None or not a == b == c:
        return None
    return types.void(types.int64, a, b, c, types.int64)


@op(_type_call)
def call_native(function: int, a: Any, b: Any, c: Any, n: int) -> None:
    """Call the C function void(T *, T *, T *, int64) at an address."""
    FUNCTIONS[function](a, b, c, n)


@call_native.lower
def _lower_call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    function, a, b, c, n = args
    kind = ir.FunctionType(ir.VoidType(), [a.type, b.type, c.type, n.type])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [a, b, c, n])
    return context.get_dummy_value()
