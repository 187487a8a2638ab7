"""A net in the compiled code of others: the outputs and derivatives of some rows, by functions with a C interface.

A net is one block of memory, a record `RowNet` and behind it the records `Layer` of its layers, to which code outside
of this package has a pointer. The block contains the addresses of the functions below and of the parameters, so one
function serves all nets of a dtype, and follows weights that are changed. Values between layers lie on the stack of the
calling thread: nothing is allocated, and any number of threads may call at the same time.
"""

from __future__ import annotations

import numba
from numba import types

from fastnn.kernels.lang.c_function import call_row, float32_at, number_of, record_at, records_at, stack_room
from fastnn.kernels.lang.compiler import CFunction, alwaysinline, device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    fma,
    lanes,
    load,
    load_scalar,
    pointer_to,
    store,
    store_scalar,
    sum_lanes,
)
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import (
    TILE_ROWS,
    dots,
    nothing,
    tile_1x1,
    tile_1x2,
    tile_1x4,
    tile_1x8,
    tile_1x8_near,
)
from fastnn.kernels.loop.addressing import whole_vectors
from fastnn.kernels.loop.forward_backward import copy_row
from fastnn.kernels.nn.dispatch import (
    activate_output,
    activate_output_backward,
    activate_rows,
    activate_values,
    is_zero_at_zero,
)
from fastnn.kernels.nn.softmax import clear_padding
from fastnn.kernels.tables import Layer, Table, record_dtype

#: Upper limit of the bytes of stack that a function takes. Threads have 512 KiB at least on the systems of interest.
STACK_BYTES = 1 << 18
#: Rows that `predict` computes together, where `STACK_BYTES` suffices for them.
BLOCK_ROWS = 2 * TILE_ROWS

#: Elements of W up to which it is taken to be in the first-level cache.
NEAR = 4096

# What `rows_function` computes.
PREDICT = 0
VJP = 1
JACOBIAN = 2


class RowNet:
    """A net as the functions below read it.

    Compiled code of users reads the first fields, up to `has_derivatives`, by their places: `fastnn.jit.ABI` counts
    the changes of these.
    """

    row: int  # address of `void(const T *x, T *out, const void *net)`, which computes the outputs of a row
    rows: int  # address of `void(int64, const T *x, const T *v, T *out, int64 n, const void *net)`; see `rows_function`
    n_features: int
    n_outputs: int
    has_derivatives: int  # 0 or 1; 0 where the stack would not suffice for them
    row_of_doubles: int  # address of `void(const double *x, double *out, const void *net)`
    params: int  # address of the parameters
    n_layers: int
    width: int  # elements of the longest row in whole vectors
    kept: int  # elements of the outputs and slopes of all layers, at the offsets of the fields of `Layer`
    block: int  # rows that are computed together


@device_function
def narrow_row(params: Pointer, layer: Layer, x: Pointer, z: Pointer) -> None:
    """Overwrite a padded row at `z` with x W + b of a narrow layer; x is padded with zeros to whole vectors."""
    alwaysinline()
    v = lanes(x)
    depth = whole_vectors(layer.n_in, v)
    for j in range(0, whole_vectors(layer.n_out, v), v):
        store(at(z, j), broadcast(x, 0.0))
    for o in range(layer.n_out):
        w = at(params, layer.w + o * layer.ld_in)
        total = broadcast(x, 0.0)
        for j in range(0, depth, v):
            total = fma(load(at(x, j)), load(at(w, j)), total)
        store_scalar(at(z, o), sum_lanes(total) + load_scalar(at(params, layer.bias + o)))


@device_function
def product_row(x: Pointer, w: Pointer, ld: int, bias: Pointer, z: Pointer, n: int, depth: int) -> None:
    """Overwrite n elements at `z`, whole vectors, with x W + b; the bits are those of `gemm`."""
    alwaysinline()
    v = lanes(w)
    j = 0
    if depth * n <= NEAR:
        while j + 8 * v <= n:
            tile_1x8_near(x, 0, 1, at(w, j), ld, at(bias, j), 0, at(z, j), 0, depth)
            j += 8 * v
    while j + 8 * v <= n:
        tile_1x8(x, 0, 1, at(w, j), ld, at(bias, j), 0, at(z, j), 0, depth)
        j += 8 * v
    if j + 4 * v <= n:
        tile_1x4(x, 0, 1, at(w, j), ld, at(bias, j), 0, at(z, j), 0, depth)
        j += 4 * v
    if j + 2 * v <= n:
        tile_1x2(x, 0, 1, at(w, j), ld, at(bias, j), 0, at(z, j), 0, depth)
        j += 2 * v
    if j < n:
        tile_1x1(x, 0, 1, at(w, j), ld, at(bias, j), 0, at(z, j), 0, depth)


@device_function
def sums_row(params: Pointer, layer: Layer, x: Pointer, z: Pointer) -> None:
    """Overwrite a padded row at `z` with x W + b of a layer; see `padded_input` for x."""
    alwaysinline()
    if layer.narrow:
        narrow_row(params, layer, x, z)
    else:
        n = whole_vectors(layer.n_out, lanes(x))
        w = at(params, layer.w)
        product_row(x, w, layer.ld_out, at(params, layer.bias), z, n, layer.n_in)


@device_function
def padded_input(layers: Table[Layer], x: Pointer, copy: Pointer) -> Pointer:
    """Return the row at `x`, or, where the first layer reads whole vectors, its copy at `copy` with zeros behind it."""
    first = record_at(layers, 0)
    if not first.narrow:
        return x
    v = lanes(x)
    store(at(copy, whole_vectors(first.n_in, v) - v), broadcast(x, 0.0))
    copy_row(x, copy, first.n_in)
    return copy


@device_function
def forward_row(params: Pointer, layers: Table[Layer], n_layers: int, width: int, x: Pointer, room: Pointer) -> Pointer:
    """Return a pointer to the outputs for the row at `x`; overwrites 2 `width` elements at `room`."""
    x = padded_input(layers, x, at(room, width))
    for k in range(n_layers):
        y = at(room, k % 2 * width)
        layer = record_at(layers, k)
        sums_row(params, layer, x, y)
        n = whole_vectors(layer.n_out, lanes(y))
        if not activate_rows(layer.activation, y, n, 1, layer.n_out):
            activate_values(layer.activation, layer.alpha, layer.function, y, n)
            if not is_zero_at_zero(layer.activation):
                clear_padding(y, n, 1, layer.n_out)
        x = y
    return x


@device_function
def forward_block(params: Pointer, layers: Table[Layer], n_layers: int, width: int, x: Pointer, rows: int,
                  room: Pointer) -> Pointer:  # fmt: skip
    """Return a pointer to the outputs for the rows at `x`, padded; overwrites 2 `rows` `width` elements at `room`."""
    v = lanes(x)
    ld_x = record_at(layers, 0).n_in
    if record_at(layers, 0).narrow:
        copy = at(room, rows * width)
        ld = whole_vectors(ld_x, v)
        for r in range(rows):
            padded_input(layers, at(x, r * ld_x), at(copy, r * ld))
        x = copy
        ld_x = ld
    for k in range(n_layers):
        layer = record_at(layers, k)
        y = at(room, k % 2 * rows * width)
        ld = whole_vectors(layer.n_out, v)
        if layer.narrow:
            for r in range(rows):
                narrow_row(params, layer, at(x, r * ld_x), at(y, r * ld))
        else:
            w = at(params, layer.w)
            gemm(x, ld_x, 1, w, layer.ld_out, at(params, layer.bias), 0, y, ld, rows, ld, layer.n_in,
                 nothing(w), nothing(w))  # fmt: skip
        activate_output(layer.activation, layer.alpha, layer.function, y, y, ld, rows, layer.n_out)
        x = y
        ld_x = ld
    return x


@device_function
def predict_block(params: Pointer, layers: Table[Layer], n_layers: int, width: int, x: Pointer, rows: int, out: Pointer,
                  room: Pointer) -> None:  # fmt: skip
    """Overwrite rows of `out` with the outputs for rows of `x`; overwrites 2 `rows` `width` elements at `room`."""
    n_out = record_at(layers, n_layers - 1).n_out
    y = forward_block(params, layers, n_layers, width, x, rows, room)
    ld = whole_vectors(n_out, lanes(x))
    for r in range(rows):
        copy_row(at(y, r * ld), at(out, r * n_out), n_out)


@device_function
def forward_kept(params: Pointer, layers: Table[Layer], n_layers: int, x: Pointer, kept: Pointer,
                 room: Pointer) -> None:  # fmt: skip
    """Overwrite the parts of `kept` with the outputs of all layers for the row at `x`, and what the derivatives need.

    `room` is overwritten, one row.
    """
    x = padded_input(layers, x, room)
    for k in range(n_layers):
        layer = record_at(layers, k)
        y = at(kept, layer.output)
        z = at(kept, layer.preactivation) if layer.preactivation >= 0 else y
        sums_row(params, layer, x, z)
        n = whole_vectors(layer.n_out, lanes(y))
        activate_output(layer.activation, layer.alpha, layer.function, z, y, n, 1, layer.n_out)
        x = y


@device_function
def backward_row(params: Pointer, layers: Table[Layer], n_layers: int, width: int, kept: Pointer, room: Pointer,
                 dx: Pointer) -> None:  # fmt: skip
    """Overwrite the row at `dx` with J^T v, given v at `room`, padded with zeros, and what `forward_kept` left.

    Overwrites 2 `width` elements at `room`.
    """
    v = lanes(dx)
    for k in range(n_layers - 1, -1, -1):
        layer = record_at(layers, k)
        n = whole_vectors(layer.n_out, v)
        d = at(room, (n_layers - 1 - k) % 2 * width)
        below = at(room, (n_layers - k) % 2 * width)
        y = at(kept, layer.output)
        z = at(kept, layer.preactivation) if layer.preactivation >= 0 else y
        activate_output_backward(layer.activation, layer.alpha, layer.derivative, z, y, d, n, 1, layer.n_out)
        clear_padding(d, n, 1, layer.n_out)  # the derivative of a custom function may be NaN there
        if layer.narrow:
            for j in range(0, whole_vectors(layer.n_in, v), v):
                total = broadcast(d, 0.0)
                for o in range(layer.n_out):
                    by = broadcast(d, load_scalar(at(d, o)))
                    total = fma(by, load(at(params, layer.w + o * layer.ld_in + j)), total)
                store(at(below, j), total)
        else:
            for i in range(0, whole_vectors(layer.n_in, v), v):
                w = at(params, layer.w + i * layer.ld_out)
                store(at(below, i), dots(w, layer.ld_out, d, n))
    copy_row(at(room, n_layers % 2 * width), dx, record_at(layers, 0).n_in)


@device_function
def vjp(params: Pointer, layers: Table[Layer], n_layers: int, width: int, x: Pointer, v: Pointer, dx: Pointer,
        kept: Pointer, room: Pointer) -> None:  # fmt: skip
    """Overwrite the row at `dx` with J^T v of the row at `x`."""
    n_out = record_at(layers, n_layers - 1).n_out
    forward_kept(params, layers, n_layers, x, kept, room)
    for j in range(0, whole_vectors(n_out, lanes(x)), lanes(x)):
        store(at(room, j), broadcast(x, 0.0))
    copy_row(v, room, n_out)
    backward_row(params, layers, n_layers, width, kept, room, dx)


@device_function
def jacobian(params: Pointer, layers: Table[Layer], n_layers: int, width: int, x: Pointer, out: Pointer, kept: Pointer,
             room: Pointer) -> None:  # fmt: skip
    """Overwrite the (n_outputs, n_features) elements at `out` with the derivatives at the row `x`."""
    n_out = record_at(layers, n_layers - 1).n_out
    n_in = record_at(layers, 0).n_in
    forward_kept(params, layers, n_layers, x, kept, room)
    for o in range(n_out):
        for j in range(0, whole_vectors(n_out, lanes(x)), lanes(x)):
            store(at(room, j), broadcast(x, 0.0))
        store_scalar(at(room, o), 1.0)
        backward_row(params, layers, n_layers, width, kept, room, at(out, o * n_in))


@device_function
def compute(params: Pointer, layers: Table[Layer], n_layers: int, width: int, n_kept: int, block: int, what: int,
            x: Pointer, v: Pointer, out: Pointer, n: int) -> None:  # fmt: skip
    """Compute what `rows_function` says; the numbers are fields of `RowNet`."""
    n_in = record_at(layers, 0).n_in
    n_out = record_at(layers, n_layers - 1).n_out
    if what == PREDICT:
        room = stack_room(x, 2 * width * block)
        for i in range(0, n, block):
            predict_block(params, layers, n_layers, width, at(x, i * n_in), min(block, n - i), at(out, i * n_out), room)
        return
    kept = stack_room(x, n_kept + 2 * width)
    room = at(kept, n_kept)
    for i in range(n):
        xi = at(x, i * n_in)
        if what == VJP:
            vjp(params, layers, n_layers, width, xi, at(v, i * n_out), at(out, i * n_in), kept, room)
        else:
            jacobian(params, layers, n_layers, width, xi, at(out, i * n_out * n_in), kept, room)


#: Pointers to the two parts of the block of a net.
net_at = records_at(numba.from_dtype(record_dtype(RowNet)))
layers_at = records_at(numba.from_dtype(record_dtype(Layer)), record_dtype(RowNet).itemsize)


def row_function(x, out, net):  # type: ignore[no-untyped-def]
    """Overwrite `out` with the outputs for one row; x and out may be the same memory."""
    head = record_at(net_at(net), 0)
    room = stack_room(x, 2 * head.width)
    y = forward_row(pointer_to(head.params, x), layers_at(net), head.n_layers, head.width, x, room)
    copy_row(y, out, head.n_outputs)


def rows_function(what, x, v, out, n, net):  # type: ignore[no-untyped-def]
    """Compute for n rows at `x`, C-contiguous, what `what` says, and overwrite `out` with it.

    ``PREDICT``: outputs (n, n_outputs). ``VJP``: J^T v (n, n_features) for `v` (n, n_outputs). ``JACOBIAN``:
    derivatives (n, n_outputs, n_features).
    """
    head = record_at(net_at(net), 0)
    compute(
        pointer_to(head.params, x), layers_at(net), head.n_layers, head.width, head.kept, head.block, what, x, v, out, n
    )  # fmt: skip


def row_of_doubles(x, out, net):  # type: ignore[no-untyped-def]
    """Overwrite `out` with the outputs of a float32 net for one row; both of float64."""
    head = record_at(net_at(net), 0)
    row = stack_room(float32_at(head.params), head.n_features)
    y = stack_room(row, head.n_outputs)
    for i in range(head.n_features):
        store_scalar(at(row, i), load_scalar(at(x, i)))
    call_row(head.row, row, y, number_of(net))
    for i in range(head.n_outputs):
        store_scalar(at(out, i), load_scalar(at(y, i)))


_POINTERS = {"float32": types.CPointer(types.float32), "float64": types.CPointer(types.float64)}

#: The functions with a C interface, by the name of the dtype.
ROW = {name: CFunction(row_function, types.void(p, p, types.voidptr)) for name, p in _POINTERS.items()}
ROWS = {
    name: CFunction(rows_function, types.void(types.int64, p, p, p, types.int64, types.voidptr))
    for name, p in _POINTERS.items()
}
ROW_OF_DOUBLES = {
    "float32": CFunction(row_of_doubles, types.void(_POINTERS["float64"], _POINTERS["float64"], types.voidptr)),
    "float64": ROW["float64"],
}
