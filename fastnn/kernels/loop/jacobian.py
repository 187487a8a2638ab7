"""Residuals of a net, their Jacobian and its normal equations, for methods that minimise a sum of squares.

The residuals of row i are s_i (y_i - t_i), one per output, with s_i^2 the weight of the row in the loss. One backward
pass per output, which starts from a unit vector, computes rows of the Jacobian from the rows in `work`:
ds/dW[a, b] = x_a d_b and ds/db[b] = d_b, with x the layer's inputs and d = ds/dz. The residuals are one more column, so
that one symmetric product gives J^T J, J^T r and r^T r. It uses the engine's tiles: for small products the threads
of a BLAS are slower, and here each element is one chain of additions in the order of the rows.
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, lanes, load, load_scalar, store, store_scalar
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import nothing
from fastnn.kernels.loop.addressing import row_at, whole_vectors
from fastnn.kernels.loop.forward_backward import backward, forward, gather
from fastnn.kernels.loop.update import refresh_transposed
from fastnn.kernels.tables import Data, Layer, Plan, State, Table

#: Rows of the normal matrix that are computed together, each as far as the diagonal of the last one.
PANEL = 16


@device_function
def row_factor(data: Data, source: int, scale: float) -> float:
    """Return the factor of a row's residuals."""
    return scale * math.sqrt(data.sample_weight[source]) if data.sample_weight.size else scale


@device_function
def write_row(work: Any, layers: Table[Layer], columns: Any, row: int, out: Pointer) -> None:
    """Overwrite a row of the Jacobian from the inputs and deltas at `row` of the chunk.

    Whole vectors are written, which overwrites the elements after a layer's part, too: parts are written in the order
    of their columns, rows in their order, and the buffer has room after the last.
    """
    v = lanes(out)
    for k in range(layers.size):
        if columns[k, 0] < 0:
            continue
        layer = layers[k]
        x = at(work, layer.input + row * layer.ld_in)
        d = at(work, layer.delta + row * layer.ld_out)
        part = at(out, columns[k, 0])
        if layer.n_out == 1:
            by = broadcast(x, load_scalar(d))
            for j in range(0, layer.n_in, v):
                store(at(part, j), load(at(x, j)) * by)
        else:
            for i in range(layer.n_in):
                by = broadcast(x, load_scalar(at(x, i)))
                for j in range(0, layer.n_out, v):
                    store(at(part, i * layer.n_out + j), load(at(d, j)) * by)
        if columns[k, 1] >= 0:
            for j in range(0, layer.n_out, v):
                store(at(out, columns[k, 1] + j), load(at(d, j)))


@device_function
def run_chunk(state: State, plan: Plan, data: Data, columns: Any, scale: float, place: int, rows: int, n_params: int,
              ld: int, vector: Any, jacobian: Any) -> float:  # fmt: skip
    """Compute what `residuals` does for at most the rows of a chunk."""
    layers = plan.layers
    last = layers.size - 1
    n_out = layers[last].n_out
    ld_out = layers[last].ld_out
    x = at(state.work, layers[0].input)
    gather(data, place, rows, x, layers[0].ld_in, layers[0].n_in)
    scratch = at(state.work, plan.layout.scratch)
    forward(state.params, state.work, state.rounded, layers, x, layers[0].ld_in, 0, rows, scratch)
    y = at(state.work, layers[last].output)
    total = 0.0
    for r in range(rows):
        source = row_at(data, place + r)
        factor = row_factor(data, source, scale)
        for o in range(n_out):
            residual = factor * (load_scalar(at(y, r * ld_out + o)) - data.targets[source, o])
            total += residual * residual
            if vector.size:
                vector[place * n_out + o * rows + r] = residual
    if jacobian.size:
        v = lanes(x)
        d = at(state.work, layers[last].delta)
        for o in range(n_out):
            for r in range(rows):
                source = row_at(data, place + r)
                for j in range(0, ld_out, v):
                    store(at(d, r * ld_out + j), broadcast(d, 0.0))
                store_scalar(at(d, r * ld_out + o), row_factor(data, source, scale))
            backward(state, plan, 0, rows, False)
            for r in range(rows):
                source = row_at(data, place + r)
                out = at(jacobian, (o * rows + r) * ld)
                write_row(state.work, layers, columns, r, out)
                factor = row_factor(data, source, scale)
                store_scalar(at(out, n_params), factor * (load_scalar(at(y, r * ld_out + o)) - data.targets[source, o]))
    return total


@kernel
def residuals(state: State, plan: Plan, data: Data, columns: Any, scale: float, place: int, rows: int, n_params: int,
              ld: int, vector: Any, jacobian: Any) -> float:  # fmt: skip
    """Compute the sum of the squared residuals of some rows, and optionally their Jacobian.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `tables`; float64, with targets instead of labels. Overwrites `work`.
    columns : (L, 2) int64
        The first column of each layer's W (I, O), row by row, and that of its bias, in rising order; -1 for both where
        the layer is not trained, and for a bias that is not used.
    scale : float
        Factor of all residuals; that of a row is the root of its sample weight.
    place, rows : int
        First row, in the order of `data`, and number of rows: at most a chunk if the Jacobian is computed.
    n_params, ld : int
        Columns of the Jacobian; row stride of `jacobian`, whole vectors above n_params.
    vector : (n * O,) float64, or (0,)
        Overwritten with the residuals, chunk by chunk of all `n` rows: (O, rows of the chunk).
    jacobian : (rows * O * ld + V,) float64, or (0,)
        Overwritten, rows first, then outputs: (O, rows, ld), with the residuals as column n_params. If empty,
        the Jacobian is not computed.
    """
    control = flush_subnormals()
    if jacobian.size:
        for tile in range(plan.tiles.size):
            refresh_transposed(state, plan, tile)
    chunk = plan.layout.chunk
    total = 0.0
    for done in range(0, rows, chunk):
        part = min(chunk, rows - done)
        total += run_chunk(state, plan, data, columns, scale, place + done, part, n_params, ld, vector, jacobian)
    restore_control(control)
    return total


@kernel
def add_products(block: Any, rows: int, n: int, ld: int, normal: Any, n_threads: int, sync: Any, thread: int) -> None:
    """Add block^T block to the lower triangle of a matrix; each thread of a team computes its share of the rows.

    Parameters
    ----------
    block : float64, (rows, n) with row stride `ld`
    normal : (n, n) float64 with row stride `ld`
        Elements right of the diagonal are overwritten with undefined values.
    n_threads, sync, thread
        As for `train`; contains no barrier.
    """
    for i in range(thread * PANEL, n, n_threads * PANEL):
        height = min(PANEL, n - i)
        b = at(block, 0)
        c = at(normal, i * ld)
        gemm(at(block, i), 1, ld, b, ld, c, ld, c, ld, height, whole_vectors(i + height, lanes(b)), rows,
             nothing(b), nothing(b))  # fmt: skip
