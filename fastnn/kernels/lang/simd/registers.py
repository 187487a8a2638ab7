"""The type of vectors, how operations are registered with Numba, and the generation of the simplest ones.

Operations come in two forms. Where all arguments and the result are vectors of one type, `elementwise` takes the
code generator and decorates the NumPy twin::

    @elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
    def minimum(a, b):
        return np.where(a < b, a, b)

All others give a type rule to `op`, and the code generator to the function's `.lower`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, models, register_model, type_callable

from fastnn.kernels.lang.emit import emit_intrinsic
from fastnn.kernels.lang.simd.target import HAS_FMA, VECTOR_BITS, VECTORS_PER_LINE

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Operation(Protocol[P, R_co]):
    """A function that Numba replaces by instructions; in Python its NumPy twin runs."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute by NumPy."""
        ...

    def lower(self, generate: Callable[..., Any], /) -> Callable[..., Any]:
        """Register ``generate(context, builder, sig, args)``, which returns the LLVM value of the result."""
        ...


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


def llvm_vector(vector: Vector) -> ir.VectorType:
    """Return the LLVM type of a vector."""
    element = ir.FloatType() if vector.element.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def is_pointer(t: Any) -> bool:
    """Whether a Numba type is that of a pointer."""
    return isinstance(t, types.CPointer)


def element_of(p: Any) -> types.Float | None:
    """Return the type that a pointer points to, where that is a floating-point number."""
    return p.dtype if is_pointer(p) and isinstance(p.dtype, types.Float) else None


def op(typer: Callable[..., Any]) -> Callable[[Callable[P, R_co]], Operation[P, R_co]]:
    """Give a Python function a type rule; its `.lower` decorator takes the code generator.

    Parameters
    ----------
    typer : callable
        Numba types of the arguments to that of the result, or to a signature; None where they do not fit.
    """

    def decorate(function: Any) -> Any:
        type_callable(function)(lambda context: typer)

        def lower(generate: Callable[..., Any]) -> Callable[..., Any]:
            lower_builtin(function, types.VarArg(types.Any))(generate)
            return generate

        function.lower = lower
        return function

    return decorate


def elementwise(generate: Callable[..., Any]) -> Callable[[Callable[P, R_co]], Operation[P, R_co]]:
    """Register an operation whose arguments and result are vectors of one type.

    Parameters
    ----------
    generate : callable
        ``generate(builder, *values)`` returns the LLVM value of the result.
    """

    def decorate(function: Any) -> Any:
        n_arguments = len(inspect.signature(function).parameters)

        def typer(*args: Any) -> Any:
            first = args[0]
            fits = len(args) == n_arguments and isinstance(first, Vector) and all(a == first for a in args)
            return first if fits else None

        # Numba compares calls with the parameters of the type rule.
        typer.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        made = op(typer)(function)
        made.lower(lambda context, builder, sig, args: generate(builder, *args))
        return made

    return decorate


def suffix(vt: ir.VectorType) -> str:
    """Return how LLVM names a vector type at the end of an intrinsic's name, such as "v16f32"."""
    return f"v{vt.count}f{32 if isinstance(vt.element, ir.FloatType) else 64}"


def undefined(t: ir.Type) -> ir.Constant:
    """Return a value of a type that is overwritten before it is read."""
    return ir.Constant(t, ir.Undefined)


def emit_shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Generate the vector of the given lanes of `a` (0, 1, ...) and of `b` (from the number of lanes of `a` on)."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Generate a * b + c."""
    if HAS_FMA:
        return emit_intrinsic(builder, f"llvm.fma.{suffix(a.type)}", a.type, [a, b, c])
    # Without the instruction llvm.fma becomes a call of libm for each lane.
    return builder.fadd(builder.fmul(a, b), c)


def emit_broadcast(builder: Any, scalar: Any, vt: ir.VectorType) -> Any:
    """Generate a vector with `scalar` in every lane."""
    one = builder.insert_element(undefined(vt), scalar, ir.Constant(ir.IntType(32), 0))
    return emit_shuffle(builder, one, undefined(vt), [0] * vt.count)


def emit_load(builder: Any, pointer: Any, vt: ir.VectorType) -> Any:
    """Generate the reading of one vector, aligned to its elements."""
    return builder.load(builder.bitcast(pointer, vt.as_pointer()), align=_element_size(vt))


def emit_store(builder: Any, value: Any, pointer: Any) -> None:
    """Generate the writing of one vector, aligned to its elements."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=_element_size(value.type))


def _element_size(vt: ir.VectorType) -> int:
    return 4 if isinstance(vt.element, ir.FloatType) else 8


def emit_prefetch(builder: Any, pointer: Any, *, write: bool = False) -> None:
    """Generate a request for the cache line at `pointer`, to be read or to be overwritten."""
    i32 = ir.IntType(32)
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    # read or write, keep in all levels, data
    hints = [ir.Constant(i32, int(write)), ir.Constant(i32, 3), ir.Constant(i32, 1)]
    emit_intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [address, *hints])


def vectors_to_prefetch(vectors: int) -> list[int]:
    """Return which of a number of consecutive vectors to prefetch, so that all lines are that they lie in.

    The first vector may lie anywhere in its line, so the last one may be in a further line.
    """
    return sorted({*range(0, vectors, VECTORS_PER_LINE), vectors - 1})
