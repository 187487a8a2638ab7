"""Explicit vector registers for compiled code.

A *pointer* is the address of an element of an array; a *vector* is one register of `lanes` elements. Each operation is
an ordinary Python function, written with NumPy (its *twin*), which Numba replaces by a few instructions: with
NUMBA_DISABLE_JIT=1 the kernels run as Python, slowly, on the same functions. A pointer is then a one-dimensional view
that starts at the element, and a vector a small array.

Vectorising is not left to the compiler because its choice depends on loop bounds, aliasing and flags, and the elements
of a remainder are rounded otherwise than those of the vector body. Here each element of an array gets the same
operations wherever it lies, so how the work is cut into tiles changes no bit.

The operations, with p a pointer, a b c v x y vectors of one type, n an integer, s a number:

=================================  ================================================================================
``at(array_or_p, n)``              pointer to an element
``lanes(p)``                       lanes per vector, a constant
``load(p)``, ``store(p, v)``       read or overwrite one vector; aligned to elements only
``load_scalar(p)``,                read or overwrite one element
``store_scalar(p, s)``
``cast_like(p, s)``                s rounded to the type that p points to
``address(p)``,                    a pointer as a number, and back
``pointer_to(n, like_p)``
``prefetch_for_write(p)``          requests a cache line; reads and writes nothing
``transpose_block(p, ld, q, ld)``  overwrites lanes x lanes elements at q by those at p, transposed; no overlap
``a + b``, ``- * /``               rounded once each
``broadcast(like, s)``             s in every lane
``fma(a, b, c)``                   a b + c, rounded once (twice where the processor has no such instruction)
``minimum(a, b)``,                 a < b ? a : b and a > b ? a : b: a NaN in b stays, for one in a the result is b
``maximum(a, b)``
``select_gt(a, b, x, y)``          a > b ? x : y
``select_finite(a, x, y)``         a is finite ? x : y
``sqrt(a)``, ``absolute(a)``       correctly rounded; exact
``negative(a)``                    -a, exact; in an operand of fma it costs nothing
``copy_sign(a, b)``                |a| with the sign of b
``mask_tail(v, n, fill)``          v in lanes 0 to n - 1, else fill
``low_half(v)``                    the first half of the lanes
``sum_lanes(v)``, ``max_lanes(v)`` upper half onto lower half until one is left
``power_of_two(t)``                2^k for t = k + ROUND32 or ROUND64; exact
``exponent(v)``,                   e and m of v = m 2^e with m in [sqrt(1/2), sqrt(2)); positive normal lanes only
``significand(v)``
``call_native(f, p, q, r, n)``     calls a C function by its address
=================================  ================================================================================

Arithmetic never traps and, with the flag `error_model`, division by zero gives infinity or NaN.
"""

from fastnn.kernels.lang.simd.arithmetic import (
    ROUND32,
    ROUND64,
    absolute,
    broadcast,
    copy_sign,
    exponent,
    fma,
    low_half,
    mask_tail,
    max_lanes,
    maximum,
    minimum,
    negative,
    power_of_two,
    select_finite,
    select_gt,
    significand,
    sqrt,
    sum_lanes,
)
from fastnn.kernels.lang.simd.memory import (
    address,
    at,
    cast_like,
    lanes,
    load,
    load_scalar,
    pointer_to,
    prefetch_for_write,
    store,
    store_scalar,
    transpose_block,
)
from fastnn.kernels.lang.simd.native import FUNCTIONS, call_native
from fastnn.kernels.lang.simd.registers import (
    Vector,
    element_of,
    elementwise,
    emit_broadcast,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_shuffle,
    emit_store,
    llvm_vector,
    op,
    undefined,
    vectors_to_prefetch,
)
from fastnn.kernels.lang.simd.target import (
    CACHE_LINE,
    FEATURES,
    HAS_BFLOAT16,
    HAS_FMA,
    IS_AARCH64,
    IS_X86,
    N_REGISTERS,
    VECTOR_BITS,
    VECTORS_PER_LINE,
    n_lanes,
)

__all__ = [
    "CACHE_LINE",
    "FEATURES",
    "FUNCTIONS",
    "HAS_BFLOAT16",
    "HAS_FMA",
    "IS_AARCH64",
    "IS_X86",
    "N_REGISTERS",
    "ROUND32",
    "ROUND64",
    "VECTORS_PER_LINE",
    "VECTOR_BITS",
    "Vector",
    "absolute",
    "address",
    "at",
    "broadcast",
    "call_native",
    "cast_like",
    "copy_sign",
    "element_of",
    "elementwise",
    "emit_broadcast",
    "emit_fma",
    "emit_load",
    "emit_prefetch",
    "emit_shuffle",
    "emit_store",
    "exponent",
    "fma",
    "lanes",
    "llvm_vector",
    "load",
    "load_scalar",
    "low_half",
    "mask_tail",
    "max_lanes",
    "maximum",
    "minimum",
    "n_lanes",
    "negative",
    "op",
    "pointer_to",
    "power_of_two",
    "prefetch_for_write",
    "select_finite",
    "select_gt",
    "significand",
    "sqrt",
    "store",
    "store_scalar",
    "sum_lanes",
    "transpose_block",
    "undefined",
    "vectors_to_prefetch",
]
