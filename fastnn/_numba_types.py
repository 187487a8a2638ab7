"""The type of nets in code compiled by Numba, and what their attributes and methods are compiled to.

Code of users contains checks of shapes and calls by the addresses that a net holds, nothing else: see `row.RowNet`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload_attribute,
    overload_method,
    register_model,
    unbox,
)

from fastnn.kernels.loop import row

#: Version of what compiled code of users relies on: the first fields of `row.RowNet`, the signatures of the functions
#: whose addresses they hold, and the text of the overloads below. It is part of the type's name, so that another
#: version of this package does not run code that Numba kept for this one.
ABI = 1

TOO_LARGE = "net must be smaller for derivatives: the outputs of all layers must fit into 256 KiB of the stack."


class JitNetType(types.Type):
    """Numba's type of the nets of a dtype.

    Parameters
    ----------
    dtype : str
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = getattr(types, dtype)
        super().__init__(name=f"JitNet({dtype}, abi={ABI})")


#: The types by the name of the dtype.
TYPES = {name: JitNetType(name) for name in ("float32", "float64")}

register_model(JitNetType)(models.OpaqueModel)  # a pointer


@unbox(JitNetType)
def _unbox(kind: Any, net: Any, c: Any) -> NativeValue:
    """Generate the reading of `pointer`."""
    number = c.pyapi.object_getattr_string(net, "pointer")
    value = c.pyapi.long_as_voidptr(number)
    c.pyapi.decref(number)
    return NativeValue(value)


_I64 = ir.IntType(64)
_PLACES = {name: place for place, name in enumerate(row.RowNet.__annotations__)}


def _emit_field(builder: Any, net: Any, name: str) -> Any:
    """Generate the reading of a field of `RowNet`."""
    words = builder.bitcast(net, _I64.as_pointer())
    return builder.load(builder.gep(words, [ir.Constant(_I64, _PLACES[name])]))


def _emit_pointer(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Generate the pointer to the first element of an array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(data, ir.IntType(8).as_pointer())


def _emit_call(builder: Any, function: Any, args: list[Any]) -> Any:
    """Generate the call of a C function without a result by its address."""
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    return builder.call(builder.inttoptr(function, kind.as_pointer()), args)


def _reader(name: str) -> Any:
    """Return an intrinsic that reads a field of `RowNet`."""

    @intrinsic
    def read(typing: Any, net: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _emit_field(builder, args[0], name)

        return types.int64(net), generate

    return read


_n_features, _n_outputs, _has_derivatives = map(_reader, ("n_features", "n_outputs", "has_derivatives"))


@intrinsic
def _call_row(typing: Any, net: Any, x: Any, out: Any) -> Any:
    """Call the function of one row."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = [_emit_pointer(context, builder, t, a) for t, a in zip(sig.args[1:], args[1:], strict=True)]
        _emit_call(builder, _emit_field(builder, args[0], "row"), [*pointers, args[0]])
        return context.get_dummy_value()

    return types.void(net, x, out), generate


@intrinsic
def _call_rows(typing: Any, net: Any, what: Any, x: Any, v: Any, out: Any, n: Any) -> Any:
    """Call the function of several rows."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        net, what, *arrays, n = args
        pointers = [_emit_pointer(context, builder, t, a) for t, a in zip(sig.args[2:5], arrays, strict=True)]
        _emit_call(builder, _emit_field(builder, net, "rows"), [what, *pointers, n, net])
        return context.get_dummy_value()

    return types.void(net, types.int64, x, v, out, types.int64), generate


def _check_types(net: JitNetType, ndims: dict[str, int], written: str, **arrays: Any) -> None:
    """Raise numba.TypingError unless the arguments are C-contiguous arrays of the net's dtype."""
    for name, a in arrays.items():
        ndim = ndims[name]
        if not isinstance(a, types.Array) or a.ndim != ndim or a.dtype != net.dtype or a.layout != "C":
            raise numba.TypingError(
                f"{name} must be a C-contiguous array of {net.dtype} with {ndim} dimension{'s' * (ndim > 1)}, got {a}. "
                f"Use np.ascontiguousarray, {name}.astype(np.{net.dtype}), or a model of another dtype."
            )
        if name == written and not a.mutable:
            raise numba.TypingError(f"{name} must be writable, got {a}.")


@overload_attribute(JitNetType, "n_features")
def _attribute_n_features(net: Any) -> Any:
    def n_features(net: Any) -> Any:
        return _n_features(net)

    return n_features


@overload_attribute(JitNetType, "n_outputs")
def _attribute_n_outputs(net: Any) -> Any:
    def n_outputs(net: Any) -> Any:
        return _n_outputs(net)

    return n_outputs


@overload_method(JitNetType, "predict_row")
def _predict_row(net: Any, x: Any, out: Any) -> Any:
    _check_types(net, {"x": 1, "out": 1}, "out", x=x, out=out)

    def predict_row(net: Any, x: Any, out: Any) -> None:
        if x.size != _n_features(net):
            raise ValueError("x must have net.n_features elements.")
        if out.size != _n_outputs(net):
            raise ValueError("out must have net.n_outputs elements.")
        _call_row(net, x, out)

    return predict_row


@overload_method(JitNetType, "predict")
def _predict(net: Any, X: Any, out: Any) -> Any:
    _check_types(net, {"X": 2, "out": 2}, "out", X=X, out=out)

    def predict(net: Any, X: Any, out: Any) -> None:
        if X.shape[1] != _n_features(net):
            raise ValueError("X must have the shape (n, net.n_features).")
        if out.shape[0] != X.shape[0] or out.shape[1] != _n_outputs(net):
            raise ValueError("out must have the shape (len(X), net.n_outputs).")
        _call_rows(net, row.PREDICT, X, X, out, X.shape[0])

    return predict


@overload_method(JitNetType, "vjp_row")
def _vjp_row(net: Any, x: Any, v: Any, dx: Any) -> Any:
    _check_types(net, {"x": 1, "v": 1, "dx": 1}, "dx", x=x, v=v, dx=dx)

    def vjp_row(net: Any, x: Any, v: Any, dx: Any) -> None:
        if x.size != _n_features(net) or dx.size != x.size:
            raise ValueError("x and dx must have net.n_features elements.")
        if v.size != _n_outputs(net):
            raise ValueError("v must have net.n_outputs elements.")
        if not _has_derivatives(net):
            raise ValueError(TOO_LARGE)
        _call_rows(net, row.VJP, x, v, dx, 1)

    return vjp_row


@overload_method(JitNetType, "jacobian_row")
def _jacobian_row(net: Any, x: Any, J: Any) -> Any:
    _check_types(net, {"x": 1, "J": 2}, "J", x=x, J=J)

    def jacobian_row(net: Any, x: Any, J: Any) -> None:
        if x.size != _n_features(net):
            raise ValueError("x must have net.n_features elements.")
        if J.shape[0] != _n_outputs(net) or J.shape[1] != x.size:
            raise ValueError("J must have the shape (net.n_outputs, net.n_features).")
        if not _has_derivatives(net):
            raise ValueError(TOO_LARGE)
        _call_rows(net, row.JACOBIAN, x, x, J, 1)

    return jacobian_row
