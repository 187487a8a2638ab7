"""Region 1 of a step: batch tiles, some rows of the batch each, independent of each other.

Gather the shuffled rows, forward through all layers, loss, deltas back through all layers; the activations
of the tile stay in the nearest caches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastnn.kernels.ids import NO_METRIC
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    cast_like,
    lanes,
    load,
    load_scalar,
    mask_tail,
    store,
    store_scalar,
    transpose_block,
)
from fastnn.kernels.linalg.gemm import gemm
from fastnn.kernels.linalg.microkernel import dots, nothing
from fastnn.kernels.linalg.rounding import round_rows
from fastnn.kernels.loop.addressing import elements, row_at, scratch_of, whole_vectors
from fastnn.kernels.nn.adversary import move_rows
from fastnn.kernels.nn.dispatch import (
    activate_output,
    activate_output_backward,
    loss_block,
    loss_row,
    outputs_are_distribution,
    outputs_are_probabilities,
    targets_are_classes,
)
from fastnn.kernels.nn.losses import fill_one_hot_row, metric_row
from fastnn.kernels.nn.losses_blocked import metric_block, one_hot_block
from fastnn.kernels.nn.stochastic import DROP, augment, drop, key_of, mask_rows, partner_of, share_of_row
from fastnn.kernels.tables import EVALUATE, N_METRICS, Data, Layer, Plan, State, Table


class Batch(NamedTuple):
    """Values common to all tiles of a batch."""

    weight: Any  # sum of the rows' weights, of the net's dtype, which the gradient is divided by; 1 if that is 0
    key: Any  # key of the step for all random numbers


@device_function
def copy_row(source: Pointer, target: Pointer, n: int) -> None:
    """Copy n elements; reads and overwrites nothing beyond them."""
    v = lanes(source)
    if n >= v:
        for j in range(0, n - v, v):
            store(at(target, j), load(at(source, j)))
        store(at(target, n - v), load(at(source, n - v)))
    else:
        for j in range(n):
            store_scalar(at(target, j), load_scalar(at(source, j)))


@device_function
def gather(data: Data, place: int, rows: int, target: Pointer, ld: int, n: int) -> None:
    """Copy the features of the rows at `place` of the epoch to the rows at `target`."""
    v = lanes(target)
    for r in range(rows):
        source = row_at(data, place + r)
        if n < v and (source * n + v) <= data.features.size:
            # A short row in one piece, without the elements after it.
            row = load(at(data.features, source * n))
            store(at(target, r * ld), mask_tail(row, n, broadcast(target, 0.0)))
        else:
            copy_row(at(data.features, source * n), at(target, r * ld), n)


@device_function
def narrow_products(w: Pointer, layer: Layer, bias: Pointer, x: Pointer, ld_x: int, depth: int, rows: int,
                    scratch: Pointer, z: Pointer) -> None:  # fmt: skip
    """Compute z = x W + b of a narrow layer, V rows at a time; overwrites whole blocks of V rows at `z`.

    Parameters
    ----------
    w : W^T
    bias : b, (O,)
    x, ld_x : inputs, padded with zeros to whole vectors, in whole blocks of V rows, and their row stride, W^T's too
    depth : length of a row, whole vectors
    scratch : (V, V), overwritten
    """
    v = lanes(z)
    for o in range(layer.n_out, v):
        store(at(scratch, o * v), broadcast(z, 0.0))
    for r in range(0, rows, v):
        for o in range(layer.n_out):
            sums = dots(at(x, r * ld_x), ld_x, at(w, o * ld_x), depth)
            store(at(scratch, o * v), sums + broadcast(z, load_scalar(at(bias, o))))
        transpose_block(scratch, v, at(z, r * layer.ld_out), layer.ld_out)


@device_function
def round_input(rounded: Any, layer: Layer, x: Pointer, ld_x: int, row: int, rows: int) -> None:
    """Overwrite the rounded copies of some rows of the layer's input; `x` and `row` are as for `forward_layer`."""
    by_rows = -1
    if layer.rounded_input_rows >= 0:
        by_rows = layer.rounded_input_rows + elements(row, rounded) * layer.ld_in
    by_columns = layer.rounded_input + row * layer.ld_rounded_in
    round_rows(
        x, ld_x, rows, layer.n_in, layer.narrow, rounded, by_columns, layer.ld_rounded_in, by_rows, layer.ld_in
    )


@device_function
def round_deltas(rounded: Any, layer: Layer, delta: Pointer, row: int, rows: int, to_input: bool) -> None:
    """Overwrite the rounded copies of some rows of the layer's deltas, if there are any.

    `to_input` is for the copy from which dX is computed.
    """
    if rounded is not None:
        by_rows = -1
        if layer.rounded_delta_rows >= 0:
            by_rows = layer.rounded_delta_rows + elements(row, rounded) * layer.ld_out
        by_columns = layer.rounded_delta + row * layer.ld_rounded_out if to_input else -1
        round_rows(
            delta, layer.ld_out, rows, layer.n_out, 0, rounded, by_columns, layer.ld_rounded_out, by_rows, layer.ld_out
        )


@device_function
def product(params: Any, rounded: Any, layer: Layer, x: Pointer, ld_x: int, row: int, rows: int, scratch: Pointer,
            z: Pointer) -> None:  # fmt: skip
    """Overwrite rows at `z` with x W + b; of a narrow layer whole blocks of V rows. The rest is as for `forward_layer`.

    In mixed precision `x` is not read, but its copies.
    """
    bias = at(params, layer.bias)
    v = lanes(z)
    n = whole_vectors(layer.n_out, v)
    if rounded is None:
        w = at(params, layer.w)
        if layer.narrow:
            narrow_products(w, layer, bias, x, ld_x, whole_vectors(layer.n_in, v), rows, scratch, z)
        else:
            gemm(x, ld_x, 1, w, layer.ld_out, bias, 0, z, layer.ld_out, rows, n, layer.n_in, nothing(z), nothing(z))
    else:
        ld = layer.ld_rounded_in
        a = at(rounded, layer.rounded_input + row * ld)
        w = at(rounded, layer.rounded_w)
        depth = elements(layer.n_in, rounded)
        if layer.narrow:
            narrow_products(w, layer, bias, a, ld, whole_vectors(depth, v), rows, scratch, z)
        else:
            gemm(a, ld, 1, w, layer.ld_out, bias, 0, z, layer.ld_out, rows, n, depth, nothing(z), nothing(z))


@device_function
def forward_layer(params: Any, work: Any, rounded: Any, layer: Layer, x: Pointer, ld_x: int, row: int, rows: int,
                  scratch: Pointer) -> None:  # fmt: skip
    """Compute the outputs of one layer for some rows.

    Parameters
    ----------
    params, work, rounded : as in State
    x, ld_x : inputs, in mixed precision padded with zeros to whole vectors, and their row stride
    row, rows : first of the rows in the layer's output, which is overwritten, and their number
    scratch : (V, V), overwritten
    """
    y = at(work, layer.output + row * layer.ld_out)
    z = at(work, layer.preactivation + row * layer.ld_out) if layer.preactivation >= 0 else y
    if rounded is not None:
        round_input(rounded, layer, x, ld_x, row, rows)
    product(params, rounded, layer, x, ld_x, row, rows, scratch, z)
    activate_output(layer.activation, layer.alpha, layer.function, z, y, layer.ld_out, rows, layer.n_out)


@device_function
def forward(params: Any, work: Any, rounded: Any, layers: Table[Layer], x: Pointer, ld_x: int, row: int, rows: int,
            scratch: Pointer) -> None:  # fmt: skip
    """Compute the outputs of all layers for some rows, without dropout.

    Parameters
    ----------
    params, work, rounded, layers : as in State and Plan
    x, ld_x : inputs of the first layer and their row stride; if that is a narrow layer, as it lies in `work`
    row, rows : first of the rows in the outputs of the layers, which are overwritten, and their number
    scratch : (V, V), overwritten
    """
    if rounded is not None:
        round_input(rounded, layers[0], x, ld_x, row, rows)
    for k in range(layers.size):
        layer = layers[k]
        y = at(work, layer.output + row * layer.ld_out)
        z = at(work, layer.preactivation + row * layer.ld_out) if layer.preactivation >= 0 else y
        product(params, rounded, layer, x, ld_x, row, rows, scratch, z)
        x = y
        ld_x = layer.ld_out
        if rounded is None:
            activate_output(layer.activation, layer.alpha, layer.function, z, y, ld_x, rows, layer.n_out)
        else:
            # What is rounded is in the first-level cache.
            for r in range(0, rows, lanes(x)):
                part = min(lanes(x), rows - r)
                outputs = at(y, r * ld_x)
                activate_output(
                    layer.activation, layer.alpha, layer.function, at(z, r * ld_x), outputs, ld_x, part, layer.n_out
                )
                if k + 1 < layers.size:
                    round_input(rounded, layers[k + 1], outputs, ld_x, row + r, part)


@device_function
def forward_with_dropout(state: State, plan: Plan, row: int, rows: int, scratch: Pointer, key: Any,
                         place: int) -> None:  # fmt: skip
    """Compute the outputs of all layers for the rows at `row` of the chunk, which lie in the first layer's input.

    `key` is that of the step, `place` the first row's in the epoch. Layers without a mask have no dropout.
    """
    first = plan.layers[0]
    x = at(state.work, first.input + row * first.ld_in)
    for k in range(plan.layers.size):
        layer = plan.layers[k]
        if layer.mask >= 0:
            dropped = at(state.work, layer.input + row * layer.ld_in)
            drop(
                key_of(key, DROP + k), layer.dropout, place, x, layer.ld_in,
                at(state.work, layer.mask + row * layer.ld_in), dropped, layer.ld_in, rows, layer.n_in,
            )  # fmt: skip
            x = dropped
        forward_layer(state.params, state.work, state.rounded, layer, x, layer.ld_in, row, rows, scratch)
        x = at(state.work, layer.output + row * layer.ld_out)


@device_function
def backward(state: State, plan: Plan, row: int, rows: int, to_input: bool) -> None:
    """Compute dE/dz of all layers down to the lowest trained one from dE/dy of the last layer, for some rows.

    `to_input` is for dE/dz of all layers, and dE/dX in `plan.layout.input_delta`.
    """
    lowest = 0 if to_input else plan.layout.first_trained
    for k in range(plan.layers.size - 1, lowest - 1, -1):
        layer = plan.layers[k]
        delta = at(state.work, layer.delta + row * layer.ld_out)
        y = at(state.work, layer.output + row * layer.ld_out)
        z = at(state.work, layer.preactivation + row * layer.ld_out) if layer.preactivation >= 0 else y
        activate_output_backward(
            layer.activation, layer.alpha, layer.derivative, z, y, delta, layer.ld_out, rows, layer.n_out
        )
        goes_on = k > lowest or to_input
        round_deltas(state.rounded, layer, delta, row, rows, goes_on)
        if goes_on:
            target = plan.layers[k - 1].delta if k > 0 else plan.layout.input_delta
            below = at(state.work, target + row * layer.ld_in)
            backward_product(state, plan, layer, delta, row, below, rows)
            if layer.mask >= 0:
                mask = at(state.work, layer.mask + row * layer.ld_in)
                mask_rows(mask, below, layer.ld_in, rows, whole_vectors(layer.n_in, lanes(delta)))


@device_function
def backward_product(state: State, plan: Plan, layer: Layer, delta: Pointer, row: int, below: Pointer,
                     rows: int) -> None:  # fmt: skip
    """Overwrite the rows at `below` with dX = dZ W^T of the layer, given dZ at `delta`, or rounded from `row` on."""
    product_with_transpose(state, state.rounded, layer, delta, row, at(state.work, plan.layout.zeros), below, rows)


@device_function
def product_with_transpose(state: State, rounded: Any, layer: Layer, delta: Pointer, row: int, zeros: Pointer,
                           below: Pointer, rows: int) -> None:  # fmt: skip
    """Compute what `backward_product` does."""
    n = whole_vectors(layer.n_in, lanes(below))
    ld = layer.ld_in
    if rounded is None:
        w = at(state.params, layer.w) if layer.narrow else at(state.work, layer.wt)
        gemm(
            delta, layer.ld_out, 1, w, ld, zeros, 0, below, ld, rows, n, layer.n_out, nothing(below), nothing(below)
        )
    else:
        a = at(rounded, layer.rounded_delta + row * layer.ld_rounded_out)
        gemm(
            a, layer.ld_rounded_out, 1, at(rounded, layer.rounded_wt), ld, zeros, 0, below, ld,
            rows, n, elements(layer.n_out, rounded), nothing(below), nothing(below),
        )  # fmt: skip


@device_function
def rows_to_columns(source: Pointer, ld: int, target: Pointer, n: int) -> None:
    """Overwrite the first n rows (at least) of the (V, V) block at `target` with the columns of V rows at `source`."""
    v = lanes(source)
    if n <= 2:
        for i in range(v):
            for j in range(n):
                store_scalar(at(target, j * v + i), load_scalar(at(source, i * ld + j)))
    else:
        transpose_block(source, ld, target, v)


@device_function
def columns_to_rows(source: Pointer, n: int, target: Pointer, ld: int) -> None:
    """Overwrite V rows of V elements at `target` with n columns, the rows of the block at `source`, and zeros.

    Rows n and up of the block are overwritten, too.
    """
    v = lanes(source)
    zero = broadcast(source, 0.0)
    if n <= 2:
        for i in range(v):
            store(at(target, i * ld), zero)
            for j in range(n):
                store_scalar(at(target, i * ld + j), load_scalar(at(source, j * v + i)))
    else:
        for j in range(n, v):
            store(at(source, j * v), zero)
        transpose_block(source, v, target, ld)


@device_function
def block_targets(plan: Plan, data: Data, batch: Batch, place: int, rows: int, n: int, off: Any, t: Pointer) -> None:
    """Overwrite the (n, V) block at `t` with the targets of the rows at `place` of the epoch, mixed if rows are."""
    v = lanes(t)
    if data.labels.size:
        one_hot_block(data.labels, data.order, place, rows, t, n, off)
    else:
        for i in range(rows):
            source = row_at(data, place + i)
            for j in range(n):
                store_scalar(at(t, j * v + i), load_scalar(at(data.targets, source * n + j)))
    if plan.mixing.size:
        for i in range(rows):
            mix_target(plan, data, place + i, at(t, i), v, n, off, batch.key)


@device_function
def block_losses(state: State, plan: Plan, data: Data, batch: Batch, place: int, row: int, rows: int,
                 thread: int) -> None:  # fmt: skip
    """Compute losses, metrics and dE/du as `row_losses`, V rows at a time, for nets of at most V outputs."""
    last = plan.layers[plan.layers.size - 1]
    n = last.n_out
    competing, threshold = decision(plan)
    parameters = at(state.work, plan.layout.loss_parameters)
    # Between the regions the thread's scratch is free: outputs, then targets, then weights, each (V, V) at most.
    u = scratch_of(state, plan, thread)
    v = lanes(u)
    t = at(u, v * v)
    w = at(t, v * v)
    store(w, broadcast(w, 1.0))
    for r in range(row, row + rows, v):
        part = min(v, row + rows - r)
        block_targets(plan, data, batch, place + r, part, n, load_scalar(parameters), t)
        if data.sample_weight.size:
            for i in range(part):
                store_scalar(at(w, i), data.sample_weight[row_at(data, place + r + i)])
        weight = load(w)
        rows_to_columns(at(state.work, last.output + r * last.ld_out), last.ld_out, u, n)
        for m in range(N_METRICS):
            metric = plan.metrics[m]
            if metric != NO_METRIC:
                value = metric_block(metric, u, t, n, threshold, competing) * weight
                store(at(state.work, plan.layout.row_metric + m * plan.layout.metric_length + r), value)
        values = loss_block(plan.run.loss, plan.layout.loss_function, u, t, parameters, n, weight, batch.weight)
        store(at(state.work, plan.layout.row_loss + r), values)
        columns_to_rows(u, n, at(state.work, last.delta + r * last.ld_out), last.ld_out)


@device_function
def add_target(data: Data, source: int, share: float, t: Pointer, stride: int, n: int, off: float) -> None:
    """Add `share` times the target of a row of the data to n elements at `t`, `stride` apart."""
    if data.labels.size:
        label = min(max(data.labels[source], 0), n - 1)
        for j in range(n):
            p = at(t, j * stride)
            store_scalar(p, load_scalar(p) + share * (1.0 - off * (n - 1) if j == label else off))
    else:
        for j in range(n):
            p = at(t, j * stride)
            store_scalar(p, load_scalar(p) + share * load_scalar(at(data.targets, source * n + j)))


@device_function
def mix_target(plan: Plan, data: Data, place: int, t: Pointer, stride: int, n: int, off: float, key: Any) -> None:
    """Mix the target of the partner into that of the row at `place`, which is at `t`; as `stochastic.augment` does."""
    share = share_of_row(plan.mixing, key, place)
    for j in range(n):
        p = at(t, j * stride)
        store_scalar(p, share * load_scalar(p))
    add_target(data, partner_of(data, key, place, plan.run.n_rows), 1.0 - share, t, stride, n, off)


@device_function
def decision(plan: Plan) -> Any:
    """Return whether the outputs compete, and otherwise the threshold above which an output counts as class 1."""
    activation = plan.layers[plan.layers.size - 1].activation
    competing = targets_are_classes(plan.run.loss) or outputs_are_distribution(activation)
    return competing, 0.5 if outputs_are_probabilities(activation) else 0.0


@device_function
def row_losses(state: State, plan: Plan, data: Data, batch: Batch, place: int, row: int, rows: int,
               thread: int) -> None:  # fmt: skip
    """Compute loss, metrics and dE/du of the rows at `row` of the chunk, which are those at `place` of the epoch."""
    last = plan.layers[plan.layers.size - 1]
    n = last.n_out
    parameters = at(state.work, plan.layout.loss_parameters)
    scratch = scratch_of(state, plan, thread)
    competing, threshold = decision(plan)
    for r in range(row, row + rows):
        source = row_at(data, place + r)
        u = at(state.work, last.output + r * last.ld_out)
        d = at(state.work, last.delta + r * last.ld_out)
        t = at(state.work, plan.layout.target + r * last.ld_out)
        label = -1
        if data.labels.size:
            label = min(max(data.labels[source], 0), n - 1)  # the caller may have written to validated labels
        else:
            copy_row(at(data.targets, source * n), t, n)
        if plan.mixing.size:
            if label >= 0:
                fill_one_hot_row(t, label, n, load_scalar(parameters))
                label = -1
            mix_target(plan, data, place + r, t, 1, n, load_scalar(parameters), batch.key)
        weight = cast_like(u, 1.0)
        if data.sample_weight.size:
            weight = load_scalar(at(data.sample_weight, source))
        for m in range(N_METRICS):
            metric = plan.metrics[m]
            if metric != NO_METRIC:
                value = metric_row(metric, u, t, label, n, threshold, competing)
                store_scalar(at(state.work, plan.layout.row_metric + m * plan.layout.metric_length + r), weight * value)
        value = loss_row(
            plan.run.loss, plan.layout.loss_function, u, t, label, parameters, d, scratch, n, weight, batch.weight
        )  # fmt: skip
        store_scalar(at(state.work, plan.layout.row_loss + r), value)


@device_function
def batch_tile(state: State, plan: Plan, data: Data, batch: Batch, place: int, row: int, rows: int,
               thread: int) -> None:  # fmt: skip
    """Run region 1 for some rows of a chunk.

    Parameters
    ----------
    state, plan, data : see `tables`
    batch : values common to all tiles
    place : place of the chunk's first row in the epoch
    row, rows : first row of the tile in the chunk, and the number of rows
    thread : the calling thread, whose scratch is used

    Notes
    -----
    Reads weights, transposed weights and data; overwrites the tile's rows of the chunk's buffers in `work`.

    An adversary moves the rows by passes of their own; losses and deltas of the last pass are those that remain. All is
    one loop, so that the code of a pass is there once.
    """
    first = plan.layers[0]
    x = at(state.work, first.input + row * first.ld_in)
    scratch = scratch_of(state, plan, thread)
    moving = plan.adversary[0].steps if plan.adversary.size else 0
    for step in range(moving + 1):
        gather(data, place + row, rows, x, first.ld_in, first.n_in)
        if plan.run.augment:
            augment(
                plan, data, batch.key, place + row, rows, x, first.ld_in, first.n_in, plan.run.n_rows, scratch
            )
        if moving > 0:
            move_rows(
                plan.adversary[0], batch.key, place + row, step, x,
                at(state.work, plan.layout.input_delta + row * first.ld_in),
                at(state.work, plan.layout.moves + row * first.ld_in),
                first.ld_in, rows, first.n_in,
            )  # fmt: skip
        forward_with_dropout(state, plan, row, rows, scratch, batch.key, place + row)
        if plan.layers[plan.layers.size - 1].n_out <= lanes(x):
            block_losses(state, plan, data, batch, place, row, rows, thread)
        else:
            row_losses(state, plan, data, batch, place, row, rows, thread)
        if plan.run.mode != EVALUATE:
            backward(state, plan, row, rows, step < moving)
