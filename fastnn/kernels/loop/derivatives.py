"""Derivatives of a net by its inputs. No row depends on another one, so the threads of a team share the rows.

A thread runs some rows through all layers and back in buffers of its own, which stay in the nearest caches. The way
back is that of a training step and ends one layer later, at the inputs. A Jacobian takes one way back per output.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, cast_like, lanes, load_scalar, store, store_scalar
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import nothing
from fastnn.kernels.loop.addressing import scratch_of, share_of_rows, whole_vectors
from fastnn.kernels.loop.forward_backward import (
    Batch,
    backward_product,
    block_losses,
    copy_row,
    forward_layer,
    gather,
    narrow_products,
    row_losses,
)
from fastnn.kernels.loop.train import refresh_all
from fastnn.kernels.nn.dispatch import activate_output_backward, works_on_rows
from fastnn.kernels.nn.stochastic import mask_rows, step_key
from fastnn.kernels.tables import ABORTED, MEETING_STRIDE, OK, Data, Layer, Plan, State

# What `input_derivatives` computes.
OUTPUTS = 0  # the outputs of a layer
PRODUCT = 1  # J^T v of each row, v being the row of `Data.targets`
JACOBIAN = 2  # J of each row, from the outputs down, output by output
TANGENT = 3  # J u of each row, u being the row of `Data.targets`
JACOBIAN_UPWARDS = 4  # J of each row, from the inputs up, feature by feature


@device_function
def forward_up_to(state: State, plan: Plan, data: Data, place: int, top: int, row: int, rows: int,
                  scratch: Pointer) -> None:  # fmt: skip
    """Compute the outputs of the layers up to `top`, at `row` of `work`, for rows of the data from `place` on."""
    first = plan.layers[0]
    x = at(state.work, first.input + row * first.ld_in)
    gather(data, place, rows, x, first.ld_in, first.n_in)
    for k in range(top + 1):
        layer = plan.layers[k]
        forward_layer(state.params, state.work, state.rounded, layer, x, layer.ld_in, row, rows, scratch)
        x = at(state.work, layer.output + row * layer.ld_out)


@device_function
def backward_from(state: State, plan: Plan, top: int, lowest: int, row: int, rows: int, below: Pointer) -> None:
    """Compute dE/dz of the layers from `top` down to `lowest`, from dE/dy of layer `top` in its deltas, for some rows.

    Overwrites those deltas. If `lowest` is -1, the rows at `below` are overwritten with dE/dx of the net's input, too.
    """
    for k in range(top, max(lowest, 0) - 1, -1):
        layer = plan.layers[k]
        delta = at(state.work, layer.delta + row * layer.ld_out)
        y = at(state.work, layer.output + row * layer.ld_out)
        z = at(state.work, layer.preactivation + row * layer.ld_out) if layer.preactivation >= 0 else y
        activate_output_backward(
            layer.activation, layer.alpha, layer.derivative, z, y, delta, layer.ld_out, rows, layer.n_out
        )
        if k > lowest:
            target = at(state.work, plan.layers[k - 1].delta + row * layer.ld_in) if k > 0 else below
            backward_product(state, plan, layer, delta, row, target, rows)
            if layer.mask >= 0:
                mask = at(state.work, layer.mask + row * layer.ld_in)
                mask_rows(mask, target, layer.ld_in, rows, whole_vectors(layer.n_in, lanes(delta)))


@device_function
def write_rows(source: Pointer, ld: int, target: Pointer, stride: int, rows: int, n: int) -> None:
    """Copy n elements of each row at `source` to the rows at `target`, `stride` elements apart."""
    for r in range(rows):
        copy_row(at(source, r * ld), at(target, r * stride), n)


@device_function
def jacobian_rows(state: State, plan: Plan, row: int, rows: int, below: Pointer, out: Pointer) -> None:
    """Overwrite (rows, O, I) elements at `out` with dy/dx, after the forward pass of the rows at `row` of `work`."""
    first = plan.layers[0]
    last = plan.layers.size - 1
    layer = plan.layers[last]
    ld = layer.ld_out
    delta = at(state.work, layer.delta + row * ld)
    y = at(state.work, layer.output + row * ld)
    z = at(state.work, layer.preactivation + row * ld) if layer.preactivation >= 0 else y
    w = at(state.params, layer.w) if layer.narrow else at(state.work, layer.wt)
    target = at(state.work, plan.layers[last - 1].delta + row * layer.ld_in) if last > 0 else below
    zero = broadcast(delta, 0.0)
    for o in range(layer.n_out):
        for r in range(rows):
            for j in range(0, ld, lanes(delta)):
                store(at(delta, r * ld + j), zero)
            store_scalar(at(delta, r * ld + o), cast_like(delta, 1.0))
        activate_output_backward(layer.activation, layer.alpha, layer.derivative, z, y, delta, ld, rows, layer.n_out)
        # Unless the activation mixes the outputs of a row, only its element o is not zero.
        start, depth = (0, layer.n_out) if works_on_rows(layer.activation) else (o, 1)
        gemm(
            at(delta, start), ld, 1, at(w, start * layer.ld_in), layer.ld_in, at(state.work, plan.layout.zeros), 0,
            target, layer.ld_in, rows, whole_vectors(layer.n_in, lanes(delta)), depth, nothing(delta), nothing(delta),
        )  # fmt: skip
        if last > 0:
            backward_from(state, plan, last - 1, -1, row, rows, below)
        write_rows(below, first.ld_in, at(out, o * first.n_in), layer.n_out * first.n_in, rows, first.n_in)


@device_function
def tangents_from(state: State, plan: Plan, bottom: int, row: int, rows: int, below: Pointer, scratch: Pointer) -> None:
    """Overwrite the deltas of the layers from `bottom` up with the derivatives of their outputs along a direction.

    That of layer `bottom` is computed from the rows at `below`: the direction itself for layer 0.
    """
    x = below
    for k in range(bottom, plan.layers.size):
        layer = plan.layers[k]
        d = at(state.work, layer.delta + row * layer.ld_out)
        products(state, plan, layer, False, x, rows, scratch, d)
        activate_tangents(state, layer, row, rows, d)
        x = d


@device_function
def products(state: State, plan: Plan, layer: Layer, of_values: bool, x: Pointer, rows: int, scratch: Pointer,
             z: Pointer) -> None:  # fmt: skip
    """Overwrite rows at `z` with x W, plus the bias for values; of a narrow layer whole blocks of V rows."""
    bias = at(state.params, layer.bias) if of_values else at(state.work, plan.layout.zeros)
    w = at(state.params, layer.w)
    if layer.narrow:
        narrow_products(w, layer, bias, x, layer.ld_in, whole_vectors(layer.n_in, lanes(w)), rows, scratch, z)
    else:
        n = whole_vectors(layer.n_out, lanes(w))
        gemm(
            x, layer.ld_in, 1, w, layer.ld_out, bias, 0, z, layer.ld_out, rows, n, layer.n_in, nothing(w), nothing(w)
        )


@device_function
def activate_tangents(state: State, layer: Layer, row: int, rows: int, d: Pointer) -> None:
    """Multiply rows at `d` by the derivative of the activation, a symmetric matrix per row, as on the way back."""
    y = at(state.work, layer.output + row * layer.ld_out)
    z = at(state.work, layer.preactivation + row * layer.ld_out) if layer.preactivation >= 0 else y
    activate_output_backward(layer.activation, layer.alpha, layer.derivative, z, y, d, layer.ld_out, rows, layer.n_out)


@device_function
def jacobian_upwards(state: State, plan: Plan, row: int, rows: int, below: Pointer, scratch: Pointer,
                     out: Pointer) -> None:  # fmt: skip
    """Overwrite (rows, O, I) elements at `out` as `jacobian_rows` does, with one way up per feature."""
    first = plan.layers[0]
    last = plan.layers[plan.layers.size - 1]
    d = at(state.work, first.delta + row * first.ld_out)
    dy = at(state.work, last.delta + row * last.ld_out)
    v = lanes(below)
    zero = broadcast(below, 0.0)
    for i in range(first.n_in):
        for r in range(rows):
            for j in range(0, first.ld_in, v):
                store(at(below, r * first.ld_in + j), zero)
            store_scalar(at(below, r * first.ld_in + i), cast_like(below, 1.0))
        if first.narrow:
            products(state, plan, first, False, below, rows, scratch, d)
        else:  # row i of W
            gemm(
                at(below, i), first.ld_in, 1, at(state.params, first.w + i * first.ld_out), first.ld_out,
                at(state.work, plan.layout.zeros), 0, d, first.ld_out,
                rows, whole_vectors(first.n_out, v), 1, nothing(d), nothing(d),
            )  # fmt: skip
        activate_tangents(state, first, row, rows, d)
        tangents_from(state, plan, 1, row, rows, d, scratch)
        for r in range(rows):
            for o in range(last.n_out):
                value = load_scalar(at(dy, r * last.ld_out + o))
                store_scalar(at(out, (r * last.n_out + o) * first.n_in + i), value)


@device_function
def run_rows(state: State, plan: Plan, data: Data, what: int, top: int, below: int, tile_rows: int, outputs: Any,
             result: Any, sync: Any, thread: int) -> int:  # fmt: skip
    """Compute what `input_derivatives` does."""
    noinline()
    n = data.features.shape[0]
    n_threads = plan.layout.n_threads
    plan.meetings[thread * MEETING_STRIDE] = 0
    if what != OUTPUTS and not refresh_all(state, plan, sync, thread):
        return ABORTED
    first = plan.layers[0]
    last = plan.layers[top]
    scratch = scratch_of(state, plan, thread)
    row = thread * tile_rows
    x = at(state.work, below + row * first.ld_in)
    y = at(state.work, last.output + row * last.ld_out)
    delta = at(state.work, last.delta + row * last.ld_out)
    begin, end = share_of_rows(n, lanes(scratch), n_threads, thread)
    for place in range(begin, end, tile_rows):
        rows = min(tile_rows, end - place)
        forward_up_to(state, plan, data, place, top, row, rows, scratch)
        write_rows(y, last.ld_out, at(outputs, place * last.n_out), last.n_out, rows, last.n_out)
        if what == PRODUCT:
            for r in range(rows):
                copy_row(at(data.targets, (place + r) * last.n_out), at(delta, r * last.ld_out), last.n_out)
            backward_from(state, plan, top, -1, row, rows, x)
            write_rows(x, first.ld_in, at(result, place * first.n_in), first.n_in, rows, first.n_in)
        elif what == TANGENT:
            for r in range(rows):
                copy_row(at(data.targets, (place + r) * first.n_in), at(x, r * first.ld_in), first.n_in)
            tangents_from(state, plan, 0, row, rows, x, scratch)
            write_rows(delta, last.ld_out, at(result, place * last.n_out), last.n_out, rows, last.n_out)
        elif what == JACOBIAN:
            jacobian_rows(state, plan, row, rows, x, at(result, place * last.n_out * first.n_in))
        elif what == JACOBIAN_UPWARDS:
            jacobian_upwards(state, plan, row, rows, x, scratch, at(result, place * last.n_out * first.n_in))
    return OK


@kernel
def input_derivatives(state: State, plan: Plan, data: Data, what: int, top: int, below: int, tile_rows: int,
                      outputs: Any, result: Any, sync: Any, thread: int) -> int:  # fmt: skip
    """Compute the outputs of a layer, or the outputs of the net and their derivatives by its inputs.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `tables`; the mode of `plan.run` is GRADIENT. Overwrites `work`, of which each thread uses `tile_rows` rows.
    what : int
        OUTPUTS, PRODUCT, JACOBIAN, TANGENT or JACOBIAN_UPWARDS.
    top : int
        The layer whose outputs are computed; the last one unless `what` is OUTPUTS.
    below : int
        Offset of the derivatives by the inputs in `work`, with their row stride.
    tile_rows : int
        Most rows that a thread processes together; whole vectors.
    outputs : (n, O of that layer)
        Overwritten.
    result : (n, I) for PRODUCT, (n, O) for TANGENT, (n, O I) for Jacobians, or (n, 0)
        Overwritten.
    sync, thread
        As for `train`.

    Returns
    -------
    int
        OK or ABORTED.
    """
    control = flush_subnormals()
    status = run_rows(
        by_reference(state), by_reference(plan), by_reference(data), what, top, below, tile_rows, outputs, result, sync,
        thread,
    )  # fmt: skip
    restore_control(control)
    return status


@device_function
def run_losses(state: State, plan: Plan, data: Data, below: int, tile_rows: int, result: Any, sync: Any,
               thread: int) -> int:  # fmt: skip
    """Compute what `loss_derivatives` does."""
    noinline()
    n = data.features.shape[0]
    n_threads = plan.layout.n_threads
    plan.meetings[thread * MEETING_STRIDE] = 0
    if not refresh_all(state, plan, sync, thread):
        return ABORTED
    first = plan.layers[0]
    top = plan.layers.size - 1
    scratch = scratch_of(state, plan, thread)
    row = thread * tile_rows
    x = at(state.work, below + row * first.ld_in)
    each = Batch(cast_like(scratch, 1.0), step_key(0, 0))
    begin, end = share_of_rows(n, lanes(scratch), n_threads, thread)
    for place in range(begin, end, tile_rows):
        rows = min(tile_rows, end - place)
        forward_up_to(state, plan, data, place, top, row, rows, scratch)
        if plan.layers[top].n_out <= lanes(scratch):
            block_losses(state, plan, data, each, place - row, row, rows, thread)
        else:
            row_losses(state, plan, data, each, place - row, row, rows, thread)
        backward_from(state, plan, top, -1, row, rows, x)
        write_rows(x, first.ld_in, at(result, place * first.n_in), first.n_in, rows, first.n_in)
    return OK


@kernel
def loss_derivatives(state: State, plan: Plan, data: Data, below: int, tile_rows: int, result: Any, sync: Any,
                     thread: int) -> int:  # fmt: skip
    """Compute the derivative of each row's own loss, times its weight, by the row's features.

    Parameters
    ----------
    state, plan, data, below, tile_rows, sync, thread
        As for `input_derivatives`, with the layers of training.
    result : (n, I)
        Overwritten.

    Returns
    -------
    int
        OK or ABORTED.
    """
    control = flush_subnormals()
    status = run_losses(
        by_reference(state), by_reference(plan), by_reference(data), below, tile_rows, result, sync, thread
    )
    restore_control(control)
    return status
