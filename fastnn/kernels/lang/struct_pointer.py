"""References to bundles of arrays: how `State`, `Plan` and `Data` are passed between the functions of kernels.

Numba passes a bundle (a named tuple) by value, as some two hundred numbers: each call copies them, and each function
is compiled with as many parameters. A reference is one pointer. It has the bundle's fields, which are read where they
are used; so code that takes a bundle takes a reference as well. A step of 2-16-16-2 takes 1.78 us instead of 1.96.

Fields whose names depend on the type need a private name of Numba. In the other modes (`flags.MODE`) the reference is
the bundle itself.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_getattr_generic, models, register_model

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.emit import stack_slot
from fastnn.kernels.lang.flags import MODE
from fastnn.kernels.lang.simd import op

_WORD = ir.IntType(64)


class StructPointer(types.Type):
    """Type of a reference to a bundle."""

    def __init__(self, bundle: types.NamedTuple | types.NamedUniTuple) -> None:
        self.bundle = bundle
        super().__init__(name=f"StructPointer({bundle})")


def _is_bundle(t: Any) -> bool:
    return isinstance(t, types.NamedTuple | types.NamedUniTuple)


@register_model(StructPointer)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: StructPointer) -> None:
        super().__init__(dmm, fe_type, _WORD.as_pointer())


def _field_type(reference: StructPointer, name: str) -> Any:
    bundle = reference.bundle
    if name not in bundle.fields:
        return None
    field = bundle.types[bundle.fields.index(name)]
    return StructPointer(field) if _is_bundle(field) else field


def _scalars(t: ir.Type) -> list[ir.Type]:
    """Return the types of the numbers and pointers that an LLVM value consists of, in order; each fills a word."""
    if isinstance(t, ir.LiteralStructType):
        return [scalar for element in t.elements for scalar in _scalars(element)]
    if isinstance(t, ir.ArrayType):
        return _scalars(t.element) * t.count
    return [t]


def _paths(t: ir.Type, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """Return the indices by which each of them is found in the value."""
    if isinstance(t, ir.LiteralStructType):
        return [p for i, element in enumerate(t.elements) for p in _paths(element, (*path, i))]
    if isinstance(t, ir.ArrayType):
        return [p for i in range(t.count) for p in _paths(t.element, (*path, i))]
    return [path]


def _place(builder: Any, words: Any, index: int, scalar: ir.Type) -> Any:
    """Generate the pointer to a word, for a scalar of the given type."""
    return builder.bitcast(builder.gep(words, [ir.Constant(_WORD, index)]), scalar.as_pointer())


def _type_refer(bundle: Any) -> Any:
    return StructPointer(bundle)(bundle) if _is_bundle(bundle) else None


def by_reference(bundle: Any) -> Any:
    """Return a reference to a bundle, valid for as long as the calling function runs.

    The function that it is passed to must not be inlined (`noinline`): what it reads is declared never to change.
    """
    return bundle


def _lower_refer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    (value,) = args
    scalars, paths = _scalars(value.type), _paths(value.type)
    words = stack_slot(builder, _WORD, len(scalars))
    for index, (scalar, path) in enumerate(zip(scalars, paths, strict=True)):
        builder.store(builder.extract_value(value, list(path)), _place(builder, words, index, scalar))
    return words


@lower_getattr_generic(StructPointer)
def _lower_field(context: Any, builder: Any, reference: StructPointer, words: Any, name: str) -> Any:
    bundle = reference.bundle
    k = bundle.fields.index(name)
    before = sum(len(_scalars(context.get_value_type(t))) for t in bundle.types[:k])
    if _is_bundle(bundle.types[k]):  # a bundle within a bundle: a reference to that part
        return builder.gep(words, [ir.Constant(_WORD, before)])
    t = context.get_value_type(bundle.types[k])
    value = ir.Constant(t, ir.Undefined)
    for i, (scalar, path) in enumerate(zip(_scalars(t), _paths(t), strict=True)):
        loaded = builder.load(_place(builder, words, before + i, scalar))
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        value = builder.insert_value(value, loaded, list(path)) if path else loaded
    return value


if MODE == "private":
    from fastnn.kernels.lang.numba_private.fields import register_fields  # imports a name that other modes may lack

    register_fields(StructPointer, _field_type)
    by_reference = op(_type_refer)(by_reference)
    by_reference.lower(_lower_refer)
else:
    by_reference = device_function(by_reference)
