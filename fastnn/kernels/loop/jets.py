"""Outputs of a net with their first and second derivatives along directions, and the gradient of a loss of all three.

Each buffer of a chunk of `stride` rows holds the values of these rows, then their first derivatives along each
direction, then the second ones: `stride` rows each, 1 + directions * order blocks. All blocks pass through the same
weights. With the order 1 and a loss v^T dy, the derivative by the inputs is the sum over outputs of v times the Hessian
times the direction.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.loop.addressing import scratch_of
from fastnn.kernels.loop.derivatives import products, write_rows
from fastnn.kernels.loop.forward_backward import backward_product, copy_row, gather
from fastnn.kernels.loop.output_gradient import rows_of_thread
from fastnn.kernels.loop.train import refresh_all, wait
from fastnn.kernels.loop.update import gradient_tile, stored_tile
from fastnn.kernels.nn.jets import activate_jets, activate_jets_backward
from fastnn.kernels.tables import ABORTED, MEETING_STRIDE, OK, Data, Plan, State


@device_function
def forward_tile(state: State, plan: Plan, data: Data, directions: Any, order: int, place: int, row: int, stride: int,
                 rows: int, scratch: Pointer) -> None:  # fmt: skip
    """Compute values and derivatives of all layers at `row` of the chunk for rows of the data from `place` on."""
    first = plan.layers[0]
    n_features = first.n_in
    x = at(state.work, first.input + row * first.ld_in)
    gather(data, place, rows, x, first.ld_in, n_features)
    count = directions.shape[0]
    for k in range(count):
        for r in range(rows):
            source = at(directions, (k * data.features.shape[0] + place + r) * n_features)
            copy_row(source, at(x, ((1 + k) * stride + r) * first.ld_in), n_features)
    # The second derivatives of the inputs are zero, and nothing writes to them.
    for k in range(plan.layers.size):
        layer = plan.layers[k]
        z = at(state.work, layer.preactivation + row * layer.ld_out)
        y = at(state.work, layer.output + row * layer.ld_out)
        for block in range(1 + count * order):
            x = at(state.work, layer.input + (row + block * stride) * layer.ld_in)
            target = at(z, block * stride * layer.ld_out)
            products(state, plan, layer, block == 0, x, rows, scratch, target)
        activate_jets(
            layer.activation, z, y, stride * layer.ld_out, layer.ld_out, rows, layer.n_out, count, order
        )


@device_function
def backward_tile(state: State, plan: Plan, lowest: int, count: int, order: int, row: int, stride: int, rows: int,
                  below: Pointer) -> None:  # fmt: skip
    """Compute the derivatives by z, dz and d2z of the layers down to `lowest`, from those by y, dy and d2y of the last.

    If `lowest` is -1, the rows at `below` are overwritten with the derivatives by the net's input.
    """
    for k in range(plan.layers.size - 1, max(lowest, 0) - 1, -1):
        layer = plan.layers[k]
        delta = at(state.work, layer.delta + row * layer.ld_out)
        z = at(state.work, layer.preactivation + row * layer.ld_out)
        y = at(state.work, layer.output + row * layer.ld_out)
        activate_jets_backward(
            layer.activation, z, y, delta, stride * layer.ld_out, layer.ld_out, rows, layer.n_out, count, order
        )
        if k > 0 and k > lowest:
            for block in range(1 + count * order):
                target = at(state.work, plan.layers[k - 1].delta + (row + block * stride) * layer.ld_in)
                backward_product(state, plan, layer, at(delta, block * stride * layer.ld_out), row, target, rows)
        elif k > lowest:
            backward_product(state, plan, layer, delta, row, below, rows)


@device_function
def run_forward(state: State, plan: Plan, data: Data, directions: Any, order: int, stride: int, outputs: Any,
                first: Any, second: Any, thread: int) -> None:  # fmt: skip
    """Compute what `forward_jets` does."""
    noinline()
    n = data.features.shape[0]
    last = plan.layers[plan.layers.size - 1]
    n_out, ld = last.n_out, last.ld_out
    count = directions.shape[0]
    scratch = scratch_of(state, plan, thread)
    for done in range(0, n, stride):
        part = min(stride, n - done)
        begin, end = rows_of_thread(state, plan, part, thread)
        for row in range(begin, end, plan.layout.batch_tile):
            rows = min(plan.layout.batch_tile, end - row)
            place = done + row
            forward_tile(state, plan, data, directions, order, place, row, stride, rows, scratch)
            y = at(state.work, last.output + row * ld)
            write_rows(y, ld, at(outputs, place * n_out), n_out, rows, n_out)
            for k in range(count):
                target = (k * n + place) * n_out
                write_rows(at(y, (1 + k) * stride * ld), ld, at(first, target), n_out, rows, n_out)
                if order > 1:
                    write_rows(at(y, (1 + count + k) * stride * ld), ld, at(second, target), n_out, rows, n_out)


@kernel
def forward_jets(state: State, plan: Plan, data: Data, directions: Any, order: int, stride: int, outputs: Any,
                 first: Any, second: Any, sync: Any, thread: int) -> None:  # fmt: skip
    """Compute the outputs of a net and their derivatives along directions.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `tables`. Overwrites `work`, where each layer has `preactivation`.
    directions : (k, n, I), read-only
        k directions of each row.
    order : int
        1 for first derivatives, 2 for second ones, too.
    stride : int
        Rows per chunk, whole vectors.
    outputs, first, second : (n, O), (k, n, O), (k, n, O)
        Overwritten; `second` for the order 2.
    sync, thread
        As for `train`; contains no barrier.
    """
    control = flush_subnormals()
    run_forward(
        by_reference(state), by_reference(plan), by_reference(data), directions, order, stride, outputs, first, second,
        thread,
    )  # fmt: skip
    restore_control(control)


@device_function
def run_backward(state: State, plan: Plan, data: Data, directions: Any, order: int, stride: int, first: Any,
                 second: Any, again: bool, below: int, with_params: bool, result: Any, sync: Any,
                 thread: int) -> int:  # fmt: skip
    """Compute what `backward_jets` does."""
    noinline()
    n = data.features.shape[0]
    last = plan.layers[plan.layers.size - 1]
    n_out, ld = last.n_out, last.ld_out
    ld_in, n_in = plan.layers[0].ld_in, plan.layers[0].n_in
    count = directions.shape[0]
    scratch = scratch_of(state, plan, thread)
    lowest = -1 if result.size else plan.layout.first_trained
    plan.meetings[thread * MEETING_STRIDE] = 0
    if not refresh_all(state, plan, sync, thread):
        return ABORTED
    for done in range(0, n, stride):
        part = min(stride, n - done)
        begin, end = rows_of_thread(state, plan, part, thread)
        for row in range(begin, end, plan.layout.batch_tile):
            rows = min(plan.layout.batch_tile, end - row)
            place = done + row
            if again:
                forward_tile(state, plan, data, directions, order, place, row, stride, rows, scratch)
            delta = at(state.work, last.delta + row * ld)
            for r in range(rows):
                copy_row(at(data.targets, (place + r) * n_out), at(delta, r * ld), n_out)
                for k in range(count):
                    source = (k * n + place + r) * n_out
                    copy_row(at(first, source), at(delta, ((1 + k) * stride + r) * ld), n_out)
                    if order > 1:
                        copy_row(at(second, source), at(delta, ((1 + count + k) * stride + r) * ld), n_out)
            x = at(state.work, below + row * ld_in)
            backward_tile(state, plan, lowest, count, order, row, stride, rows, x)
            if result.size:
                write_rows(x, ld_in, at(result, place * n_in), n_in, rows, n_in)
        if not wait(plan, sync, thread):
            return ABORTED
        if with_params:
            for index in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
                stored_tile(state, plan, index, 0, part, at(state.grad, 0), done == 0)
                block = plan.tiles[index]
                g = at(state.grad, block.offset)
                for k in range(1, 1 + count * order):  # the bias is added to the values alone
                    gradient_tile(state, plan, block, k * stride, part, g, block.ld, g, block.ld, 0)
            if not wait(plan, sync, thread):
                return ABORTED
    return OK


@kernel
def backward_jets(state: State, plan: Plan, data: Data, directions: Any, order: int, stride: int, first: Any,
                  second: Any, again: bool, below: int, with_params: bool, result: Any, sync: Any,
                  thread: int) -> int:  # fmt: skip
    """Compute the derivatives of a loss by weights and inputs, from those by y (in `data.targets`), dy and d2y.

    Parameters
    ----------
    state, plan, data, directions, order, stride
        As for `forward_jets`, whose rows are in `work`; the mode of `plan.run` is GRADIENT. Overwrites deltas in
        `work`, and `grad`.
    first, second : (k, n, O), read-only
        The derivatives by dy and d2y; `second` is read for the order 2.
    again, below, with_params, result, sync, thread
        As for `output_gradient.backward_batch`.

    Returns
    -------
    int
        OK or ABORTED.
    """
    control = flush_subnormals()
    status = run_backward(
        by_reference(state), by_reference(plan), by_reference(data), directions, order, stride, first, second, again,
        below, with_params, result, sync, thread,
    )  # fmt: skip
    restore_control(control)
    return status
