"""Nets in compiled code: an argument of functions compiled by Numba, and a function with a C interface.

`fastnn.Model.jit` makes a `JitNet`. What compiled code of users contains of it is small: checks of shapes and a call by
an address that the net itself holds. So one compilation of a user's function serves all nets of a dtype, its machine
code may be kept on disk (``cache=True``), and the arithmetic is that of `fastnn.Model.predict`, to the bit.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import typeof_impl

from fastnn._engine.architecture import Architecture, layer_table
from fastnn._engine.engine import Engine
from fastnn._numba_types import TOO_LARGE, TYPES, JitNetType
from fastnn._validation import must_be
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.loop import row
from fastnn.kernels.loop.callbacks import CALLBACKS, CallbackData
from fastnn.kernels.nn.rules import ACTIVATIONS, keeps_more_than_output
from fastnn.kernels.tables import new_table, padded, record_dtype

__all__ = ["JitNet"]


def __dir__() -> list[str]:
    return __all__


Array = npt.NDArray[Any]


class JitNet:
    """A net that functions compiled by Numba take as an argument; made by `fastnn.Model.jit`.

    In compiled code it has the attributes `n_features` and `n_outputs` and the four methods below. They allocate
    nothing, do not need the GIL, and may be called by any number of threads at the same time, as under
    ``numba.prange``. From Python the methods do the same.

    **It must be an argument.** A net that a compiled function finds as a global variable or in a closure is a
    TypingError when the function is compiled, as Numba would keep the net of that moment.

    Parameters
    ----------
    engine : Engine
        That of the model; internal.

    Attributes
    ----------
    dtype : numpy.dtype
        Of all arrays that the methods take.
    n_features, n_outputs : int
        Length of a row of X, and of the outputs.
    address : int
        Address of a C function ``void f(const T *x, T *out, const void *net)``, which computes the outputs of one row,
        with T float or double; it is the same for all nets of a dtype. `x` and `out` may be the same memory.
    pointer : int
        What to pass to it as `net`; valid as long as this object lives.

    Notes
    -----
    Unless it is a copy, it uses the weights of the model, and those that training changes as soon as they are changed:
    exactly those that `fastnn.Model.predict` uses (the running averages where the optimizer has an `ema_momentum`). A
    row that is computed while a step of a training runs in another thread may see weights of both sides of that step.

    Pickling and copying give a net with copies of the weights, as does ``jit(copy=True)``.

    Values between layers lie on the stack: 256 KiB at most. Layers may have 32768 units in float32, 16384 in float64;
    for derivatives the outputs of all layers count.

    Examples
    --------
    >>> import numba, numpy as np, fastnn
    >>> model = fastnn.Model([16, 1], loss="squared_error", dtype="float64", seed=0).build(2)
    >>> @numba.njit
    ... def total(net, X):
    ...     y = np.empty(net.n_outputs)
    ...     s = 0.0
    ...     for i in range(len(X)):
    ...         net.predict_row(X[i], y)
    ...         s += y[0]
    ...     return s
    >>> X = np.linspace(-1, 1, 20).reshape(10, 2)
    >>> bool(np.isclose(total(model.jit(), X), model.predict(X).sum()))
    True
    """

    __slots__ = (
        "__weakref__", "_block", "_engine", "_head", "_layers", "_numba_type_", "_params", "address", "dtype",
        "n_features", "n_outputs", "pointer",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        architecture = engine.architecture
        self._engine = engine
        self.dtype = architecture.dtype
        self.n_features, self.n_outputs = architecture.sizes[0], architecture.sizes[-1]
        self._head, self._layers, self._block = _tables(architecture)
        self.pointer = self._block.ctypes.data
        self.address = self._field("row")
        self._numba_type_ = TYPES[self.dtype.name]
        self._params: tuple[Array, ...] = ()
        self.point_at(engine.final_params)
        engine.add_reader(self)

    def point_at(self, params: Array) -> None:
        """Use another array of parameters, in the layout of the engine; called by the engine.

        Parameters
        ----------
        params : ndarray, (P,)
        """
        if params.ctypes.data != self._head["params"][0]:
            self._params = (*self._params[-1:], params)  # the array before stays, for a thread that is reading it
            self._head["params"] = params.ctypes.data

    def _field(self, name: str) -> int:
        """Return a field of `fastnn.kernels.loop.row.RowNet`."""
        return int(self._head[name][0])

    # ---------------------------------------------------------------------------------------- calls from Python

    def predict_row(self, x: Array, out: Array) -> None:
        """Overwrite `out` with the outputs for one row.

        Parameters
        ----------
        x : ndarray, (n_features,)
            C-contiguous and of the net's dtype, as all arrays here; it may be read-only. Values are not checked: NaN
            gives what the arithmetic gives.
        out : ndarray, (n_outputs,)
            Overwritten with the same bits as a row of `fastnn.Model.predict`. It may be `x` itself.

        Raises
        ------
        ValueError
            If a shape is wrong. In compiled code other types of arguments are a TypingError.
        """
        self._check(x, "x", (self.n_features,))
        self._check(out, "out", (self.n_outputs,), writes=True)
        self._run(row.PREDICT, x, x, out, 1)

    def predict(self, X: Array, out: Array) -> None:
        """Overwrite `out` with the outputs for all rows, in the calling thread.

        Parameters
        ----------
        X : ndarray, (n, n_features)
        out : ndarray, (n, n_outputs)
            Overwritten; it must not share memory with X.

        Raises
        ------
        ValueError
            As for `predict_row`.
        """
        self._check(X, "X", (None, self.n_features))
        self._check(out, "out", (len(X), self.n_outputs), writes=True)
        self._run(row.PREDICT, X, X, out, len(X))

    def vjp_row(self, x: Array, v: Array, dx: Array) -> None:
        """Overwrite `dx` with J^T v, the derivative of v . f(x) by x, by back-propagation.

        Parameters
        ----------
        x : ndarray, (n_features,)
        v : ndarray, (n_outputs,)
            Factors of the outputs.
        dx : ndarray, (n_features,)
            Overwritten; it may be `x` itself.

        Raises
        ------
        ValueError
            As for `predict_row`, and if the net is too large for the stack.
        """
        self._check(x, "x", (self.n_features,))
        self._check(v, "v", (self.n_outputs,))
        self._check(dx, "dx", (self.n_features,), writes=True)
        self._check_size()
        self._run(row.VJP, x, v, dx, 1)

    def jacobian_row(self, x: Array, J: Array) -> None:
        """Overwrite J[o, i] with the derivative of output o by feature i.

        Parameters
        ----------
        x : ndarray, (n_features,)
        J : ndarray, (n_outputs, n_features)
            Overwritten; it must not share memory with x.

        Raises
        ------
        ValueError
            As for `vjp_row`.
        """
        self._check(x, "x", (self.n_features,))
        self._check(J, "J", (self.n_outputs, self.n_features), writes=True)
        self._check_size()
        self._run(row.JACOBIAN, x, x, J, 1)

    def _check(self, a: Any, name: str, shape: tuple[int | None, ...], *, writes: bool = False) -> None:
        """Raise ValueError or TypeError unless an argument is what compiled code accepts."""
        wanted = ", ".join("n" if n is None else str(n) for n in shape) + "," * (len(shape) == 1)
        constraint = f"a C-contiguous array of {self.dtype}, of shape ({wanted})"
        if not isinstance(a, np.ndarray) or a.dtype != self.dtype or not a.flags.c_contiguous:
            raise TypeError(must_be(name, constraint, a))
        if a.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, a.shape, strict=True)):
            raise ValueError(must_be(name, constraint, a))
        if writes and not a.flags.writeable:
            raise ValueError(must_be(name, "writable", a))

    def _check_size(self) -> None:
        if not self._field("has_derivatives"):
            raise ValueError(TOO_LARGE)

    def _run(self, what: int, x: Array, v: Array, out: Array, n: int) -> None:
        if JIT_DISABLED:
            with np.errstate(all="ignore"):  # as silent as compiled code is
                row.compute(
                    self._params[-1], self._layers, len(self._layers), self._field("width"), self._field("kept"),
                    self._field("block"), what, x.reshape(-1), v.reshape(-1), out.reshape(-1), n,
                )  # fmt: skip
            return
        _ROWS_TYPE(self._field("rows"))(what, x.ctypes.data, v.ctypes.data, out.ctypes.data, n, self.pointer)

    # --------------------------------------------------------------------------------- copies, files and texts

    def __copy__(self) -> JitNet:
        """Return a net with copies of the weights."""
        return frozen(self._engine)

    def __deepcopy__(self, memo: Any) -> JitNet:
        """Return a net with copies of the weights."""
        return frozen(self._engine)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle writes: widths, names of activations, weights and biases."""
        architecture = self._engine.architecture
        names = {rule.code: rule.name for rule in ACTIVATIONS}
        for k, (code, _) in enumerate(architecture.activations):
            if code not in names:
                raise TypeError(f"a net cannot be pickled while the activation of layers[{k}] is a custom function.")
        activations = [(names[code], alpha) for code, alpha in architecture.activations]
        own = frozen(self._engine)._engine
        return _from_parts, (
            architecture.sizes, activations, architecture.use_bias, self.dtype.name, own.weights(), own.biases()
        )  # fmt: skip

    def __repr__(self) -> str:
        """Return widths and dtype."""
        sizes = "-".join(map(str, self._engine.architecture.sizes))
        return f"JitNet({sizes}, {self.dtype}, at {self.pointer:#x})"


@typeof_impl.register(JitNet)
def _type_of(net: JitNet, context: Any) -> JitNetType:
    """Return the type of a net; refuse one that Numba would keep in machine code."""
    if context.purpose.name == "constant":
        raise numba.TypingError(
            "a JitNet must be an argument of the compiled function, got a global variable or one of a closure. Numba "
            "would keep the weights of the moment of compilation: pass the net, as in f(net, x)."
        )
    found: JitNetType = net._numba_type_
    return found


_ROWS_TYPE = ctypes.CFUNCTYPE(
    None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
)


def _tables(architecture: Architecture) -> tuple[Array, Array, Array]:
    """Return the records of a net as views, one `RowNet` and the layers, and the one block that both lie in."""
    dtype = architecture.dtype
    widths = [padded(n, dtype) for n in architecture.sizes]
    width = max(widths)
    most = row.STACK_BYTES // dtype.itemsize
    if 2 * width > most:
        raise ValueError(
            f"layers must have at most {most // 2} units and features for compiled code in {dtype}, got "
            f"{max(architecture.sizes)}: a row has {row.STACK_BYTES // 1024} KiB of the stack."
        )
    table = layer_table(architecture, training=False)
    kept = 0
    for k, (code, _) in enumerate(architecture.activations):
        table["output"][k] = kept
        kept += widths[k + 1]
        if keeps_more_than_output(code):
            table["preactivation"][k] = kept
            kept += widths[k + 1]
    head_size = record_dtype(row.RowNet).itemsize
    block = np.zeros(head_size + table.nbytes, np.uint8)
    head = block[:head_size].view(record_dtype(row.RowNet))
    head["n_features"], head["n_outputs"] = architecture.sizes[0], architecture.sizes[-1]
    head["has_derivatives"] = kept + 2 * width <= most
    head["n_layers"], head["width"], head["kept"] = len(table), width, kept
    head["block"] = min(row.BLOCK_ROWS, most // (2 * width))
    if not JIT_DISABLED:
        name = dtype.name
        head["row"], head["rows"] = row.ROW[name].address, row.ROWS[name].address
        head["row_of_doubles"] = row.ROW_OF_DOUBLES[name].address
    layers = block[head_size:].view(table.dtype)
    layers[:] = table
    return head, table if JIT_DISABLED else layers, block


def frozen(engine: Engine) -> JitNet:
    """Return a net with copies of an engine's parameters, those that predictions use."""
    own = Engine(engine.architecture, 0, 1)
    own.params[:] = engine.final_params
    return JitNet(own)


def _from_parts(
    sizes: tuple[int, ...], activations: list[tuple[str, float]], use_bias: tuple[bool, ...], dtype: str,
    weights: list[Array], biases: list[Array],
) -> JitNet:  # fmt: skip
    """Return the net that `JitNet.__reduce__` took apart."""
    architecture = Architecture(
        sizes=sizes,
        activations=tuple((ACTIVATIONS[name].code, alpha) for name, alpha in activations),
        use_bias=use_bias,
        penalties=((0.0, 0.0),) * len(use_bias),
        loss=0,
        fused_output=False,
        dtype=np.dtype(dtype),
    )
    engine = Engine(architecture, 0, 1)
    for own, given in ((engine.weights(), weights), (engine.biases(), biases)):
        for a, b in zip(own, given, strict=True):
            a[...] = b
    return JitNet(engine)


def low_level_callable(net: JitNet, kind: str, *, output: int) -> Any:
    """Return a net as a callback of SciPy; see `fastnn.Model.low_level_callable`."""
    callbacks = {**CALLBACKS, "nquad": CALLBACKS["quad"]}
    if type(kind) is not str or kind not in callbacks:
        raise ValueError(must_be("kind", f"one of {', '.join(map(repr, callbacks))}", kind))
    if isinstance(output, bool) or not isinstance(output, int | np.integer) or not 0 <= output < net.n_outputs:
        raise ValueError(must_be("output", f"an integer from 0 to {net.n_outputs - 1}", output))
    if JIT_DISABLED:
        raise RuntimeError("low_level_callable has no compiled code to return: unset NUMBA_DISABLE_JIT.")
    try:
        from scipy import LowLevelCallable
    except ImportError as error:
        raise ImportError("low_level_callable needs SciPy: pip install scipy") from error
    data = new_table(CallbackData, 1)
    data["net"], data["function"] = net.pointer, net._field("row_of_doubles")
    data["n_features"], data["n_outputs"], data["output"] = net.n_features, net.n_outputs, output
    pointer: Any = ctypes.c_void_p(data.ctypes.data)
    pointer.kept = net, data  # the LowLevelCallable holds this object
    return LowLevelCallable(callbacks[kind].code.ctypes, pointer)
