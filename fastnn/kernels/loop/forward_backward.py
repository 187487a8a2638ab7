"""Region 1 of a step: batch tiles, some rows of the batch each, independent of each other.

Gather the shuffled rows, forward through all layers, loss, deltas back through all layers; the activations
of the tile stay in the nearest caches.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import NO_METRIC
from fastnn.kernels.lang.compiler import device_function
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
from fastnn.kernels.tables import (
    ACTIVATION,
    ALPHA,
    AUGMENT,
    BIAS,
    DELTA,
    DERIVATIVE,
    DROPOUT,
    EVALUATE,
    FIRST_TRAINED,
    FUNCTION,
    INPUT,
    LD_IN,
    LD_OUT,
    LOSS,
    LOSS_FUNCTION,
    LOSS_PARAMETERS,
    MASK,
    METRIC,
    METRIC_LENGTH,
    MODE,
    N_IN,
    N_METRICS,
    N_OUT,
    N_ROWS,
    NARROW,
    OUTPUT,
    ROW_LOSS,
    ROW_METRIC,
    SCRATCH,
    SCRATCH_SIZE,
    SUM,
    TARGET,
    WT,
    ZEROS,
    W,
)


@device_function
def copy_row(source: Any, target: Any, n: int) -> None:
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
def gather(data: Any, place: int, rows: int, target: Any, ld: int, n: int) -> None:
    """Copy the features of the rows at `place` of the epoch to the rows at `target`."""
    v = lanes(target)
    for r in range(rows):
        here = data.order[place + r] if data.order.size else place + r
        if n < v and (here * n + v) <= data.features.size:
            # A short row in one piece: what follows it is left out.
            row = load(at(data.features, here * n))
            store(at(target, r * ld), mask_tail(row, n, broadcast(target, 0.0)))
        else:
            copy_row(at(data.features, here * n), at(target, r * ld), n)


@device_function
def whole_vectors(n: int, v: int) -> int:
    """Smallest multiple of v not below n."""
    return (n + v - 1) // v * v


@device_function
def narrow_products(x: Any, ld_in: int, n_in: int, w: Any, bias: Any, n_out: int, scratch: Any, z: Any,
                    ld_out: int, rows: int) -> None:  # fmt: skip
    """Outputs z = x W + b of a narrow layer, V rows at a time; overwrites whole blocks of V rows at `z`.

    Parameters
    ----------
    x, ld_in, n_in : inputs, padded with zeros to whole vectors, in whole blocks of V rows
    w : W^T, at the same row stride
    scratch : (V, V), overwritten
    """
    v = lanes(x)
    depth = whole_vectors(n_in, v)
    for o in range(n_out, v):
        store(at(scratch, o * v), broadcast(x, 0.0))
    for r in range(0, rows, v):
        for o in range(n_out):
            sums = dots(at(x, r * ld_in), ld_in, at(w, o * ld_in), depth)
            store(at(scratch, o * v), sums + broadcast(x, load_scalar(at(bias, o))))
        transpose_block(scratch, v, at(z, r * ld_out), ld_out)


@device_function
def forward(params: Any, layers: Any, layer_numbers: Any, work: Any, x: Any, ld_x: int, row: int, rows: int,
            scratch: Any, key: Any, place: int) -> None:  # fmt: skip
    """Outputs of all layers for some rows.

    Parameters
    ----------
    params, layers, layer_numbers, work : see `layout`
    x, ld_x : inputs of the first layer and their row stride; where that is a narrow layer, as it lies in `work`
    row, rows : where the rows lie in the outputs of the layers, which are overwritten, and how many
    scratch : (V, V), overwritten
    key, place : of the step, and of the first row in the epoch, for dropout; of no meaning where no layer has a MASK
    """
    for k in range(layers.shape[0]):
        n_in = layers[k, N_IN]
        if layers[k, MASK] >= 0:
            ld_in = layers[k, LD_IN]
            dropped = at(work, layers[k, INPUT] + row * ld_in)
            drop(
                key_of(key, DROP + k), layer_numbers[k, DROPOUT], place, x, ld_x,
                at(work, layers[k, MASK] + row * ld_in), dropped, ld_in, rows, n_in,
            )  # fmt: skip
            x = dropped
            ld_x = ld_in
        n_out = layers[k, N_OUT]
        ld_out = layers[k, LD_OUT]
        w = at(params, layers[k, W])
        bias = at(params, layers[k, BIAS])
        y = at(work, layers[k, OUTPUT] + row * ld_out)
        z = at(work, layers[k, SUM] + row * ld_out) if layers[k, SUM] >= 0 else y
        if layers[k, NARROW]:
            narrow_products(x, ld_x, n_in, w, bias, n_out, scratch, z, ld_out, rows)
        else:
            n = whole_vectors(n_out, lanes(w))
            gemm(x, ld_x, 1, w, ld_out, bias, 0, z, ld_out, rows, n, n_in, nothing(w), nothing(w))
        code = layers[k, ACTIVATION]
        activate_output(code, layer_numbers[k, ALPHA], layers[k, FUNCTION], z, y, ld_out, rows, n_out)
        x = y
        ld_x = ld_out


@device_function
def backward(state: Any, plan: Any, row: int, rows: int) -> None:
    """Turn dE/dy of the last layer into dE/dz of all layers down to the lowest that is trained, for some rows."""
    layers = plan.layers
    zeros = at(state.work, plan.settings[ZEROS])
    lowest = plan.settings[FIRST_TRAINED]
    for k in range(layers.shape[0] - 1, lowest - 1, -1):
        ld_out = layers[k, LD_OUT]
        delta = at(state.work, layers[k, DELTA] + row * ld_out)
        y = at(state.work, layers[k, OUTPUT] + row * ld_out)
        z = at(state.work, layers[k, SUM] + row * ld_out) if layers[k, SUM] >= 0 else y
        activate_output_backward(
            layers[k, ACTIVATION], plan.layer_numbers[k, ALPHA], layers[k, DERIVATIVE], z, y, delta, ld_out, rows,
            layers[k, N_OUT],
        )  # fmt: skip
        if k > lowest:
            ld_in = layers[k, LD_IN]
            narrow = layers[k, NARROW]
            gemm(
                delta, ld_out, 1,
                at(state.params, layers[k, W]) if narrow else at(state.work, layers[k, WT]), ld_in,
                zeros, 0,
                at(state.work, layers[k - 1, DELTA] + row * ld_in), ld_in,
                rows, whole_vectors(layers[k, N_IN], lanes(delta)), layers[k, N_OUT], nothing(delta), nothing(delta),
            )  # fmt: skip
            if layers[k, MASK] >= 0:
                mask_rows(
                    at(state.work, layers[k, MASK] + row * ld_in), at(state.work, layers[k - 1, DELTA] + row * ld_in),
                    ld_in, rows, whole_vectors(layers[k, N_IN], lanes(delta)),
                )  # fmt: skip


@device_function
def rows_to_columns(source: Any, ld: int, target: Any, n: int) -> None:
    """Overwrite the first n rows (at least) of the (V, V) block at `target` with the columns of V rows at `source`."""
    v = lanes(source)
    if n <= 2:
        for i in range(v):
            for j in range(n):
                store_scalar(at(target, j * v + i), load_scalar(at(source, i * ld + j)))
    else:
        transpose_block(source, ld, target, v)


@device_function
def columns_to_rows(source: Any, n: int, target: Any, ld: int) -> None:
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
def block_losses(state: Any, plan: Any, data: Any, place: int, row: int, rows: int, norm: Any, key: Any,
                 thread: int) -> None:  # fmt: skip
    """What `row_losses` does, V rows at a time, for nets of at most V outputs."""
    settings = plan.settings
    last = plan.layers.shape[0] - 1
    n = plan.layers[last, N_OUT]
    ld = plan.layers[last, LD_OUT]
    several, threshold = decision(plan)
    parameters = at(state.work, settings[LOSS_PARAMETERS])
    # Between the regions the thread's scratch is free: outputs, then targets, then weights, each (V, V) at most.
    u = at(state.work, settings[SCRATCH] + thread * settings[SCRATCH_SIZE])
    v = lanes(u)
    t = at(u, v * v)
    w = at(t, v * v)
    store(w, broadcast(w, 1.0))
    for r in range(row, row + rows, v):
        part = min(v, row + rows - r)
        if data.labels.size:
            one_hot_block(data.labels, data.order, place + r, part, t, n, load_scalar(parameters))
        else:
            for i in range(part):
                source = data.order[place + r + i] if data.order.size else place + r + i
                for j in range(n):
                    store_scalar(at(t, j * v + i), load_scalar(at(data.targets, source * n + j)))
        if plan.mixing.size:
            mix_block(plan, data, place + r, part, t, n, load_scalar(parameters), key)
        if data.sample_weight.size:
            for i in range(part):
                source = data.order[place + r + i] if data.order.size else place + r + i
                store_scalar(at(w, i), data.sample_weight[source])
        weight = load(w)
        rows_to_columns(at(state.work, plan.layers[last, OUTPUT] + r * ld), ld, u, n)
        for m in range(N_METRICS):
            metric = settings[METRIC + m]
            if metric != NO_METRIC:
                value = metric_block(metric, u, t, n, threshold, several) * weight
                store(at(state.work, settings[ROW_METRIC] + m * settings[METRIC_LENGTH] + r), value)
        values = loss_block(settings[LOSS], settings[LOSS_FUNCTION], u, t, parameters, n, weight, norm)
        store(at(state.work, settings[ROW_LOSS] + r), values)
        columns_to_rows(u, n, at(state.work, plan.layers[last, DELTA] + r * ld), ld)


@device_function
def add_target(data: Any, source: int, share: float, t: Any, stride: int, n: int, off: float) -> None:
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
def mix_target(plan: Any, data: Any, place: int, t: Any, stride: int, n: int, off: float, key: Any) -> None:
    """Mix the target of the partner into that of the row at `place`, which is at `t`; as `noise.augment` does."""
    share = share_of_row(plan.mixing, key, place)
    for j in range(n):
        p = at(t, j * stride)
        store_scalar(p, share * load_scalar(p))
    add_target(data, partner_of(data, key, place, plan.settings[N_ROWS]), 1.0 - share, t, stride, n, off)


@device_function
def mix_block(plan: Any, data: Any, place: int, rows: int, t: Any, n: int, off: float, key: Any) -> None:
    """`mix_target` for the first rows of an (n, V) block."""
    for i in range(rows):
        mix_target(plan, data, place + i, at(t, i), lanes(t), n, off, key)


@device_function
def decision(plan: Any) -> Any:
    """Whether the outputs compete, and otherwise the threshold above which an output says yes."""
    activation = plan.layers[plan.layers.shape[0] - 1, ACTIVATION]
    several = targets_are_classes(plan.settings[LOSS]) or outputs_are_distribution(activation)
    return several, 0.5 if outputs_are_probabilities(activation) else 0.0


@device_function
def row_losses(state: Any, plan: Any, data: Any, place: int, row: int, rows: int, norm: Any, key: Any,
               thread: int) -> None:  # fmt: skip
    """Loss, metric and dE/du of the rows at `row` of the chunk, which are those at `place` of the epoch."""
    settings = plan.settings
    last = plan.layers.shape[0] - 1
    n = plan.layers[last, N_OUT]
    ld = plan.layers[last, LD_OUT]
    parameters = at(state.work, settings[LOSS_PARAMETERS])
    scratch = at(state.work, settings[SCRATCH] + thread * settings[SCRATCH_SIZE])
    several, threshold = decision(plan)
    for r in range(row, row + rows):
        source = data.order[place + r] if data.order.size else place + r
        u = at(state.work, plan.layers[last, OUTPUT] + r * ld)
        d = at(state.work, plan.layers[last, DELTA] + r * ld)
        t = at(state.work, settings[TARGET] + r * ld)
        label = -1
        if data.labels.size:
            label = min(max(data.labels[source], 0), n - 1)  # they were checked, but the caller may write to them
        else:
            copy_row(at(data.targets, source * n), t, n)
        if plan.mixing.size:
            if label >= 0:
                fill_one_hot_row(t, label, n, load_scalar(parameters))
                label = -1
            mix_target(plan, data, place + r, t, 1, n, load_scalar(parameters), key)
        weight = cast_like(u, 1.0)
        if data.sample_weight.size:
            weight = load_scalar(at(data.sample_weight, source))
        for m in range(N_METRICS):
            metric = settings[METRIC + m]
            if metric != NO_METRIC:
                value = metric_row(metric, u, t, label, n, threshold, several)
                store_scalar(at(state.work, settings[ROW_METRIC] + m * settings[METRIC_LENGTH] + r), weight * value)
        value = loss_row(
            settings[LOSS], settings[LOSS_FUNCTION], u, t, label, parameters, d, scratch, n, weight, norm
        )  # fmt: skip
        store_scalar(at(state.work, settings[ROW_LOSS] + r), value)


@device_function
def batch_tile(state: Any, plan: Any, data: Any, place: int, row: int, rows: int, norm: Any, key: Any,
               thread: int) -> None:  # fmt: skip
    """All of region 1 for some rows of a chunk.

    Parameters
    ----------
    state, plan, data : see `layout`
    place : where the chunk begins in the epoch's order
    row, rows : first row of the tile in the chunk, and how many
    norm : sum of the sample weights of the whole batch (rows of the batch without weights)
    key : of the step, for all that is random
    thread : the calling thread, whose scratch is used

    Notes
    -----
    Reads weights, transposed weights and data; overwrites the tile's rows of all that a chunk has in `work`.
    """
    n_in = plan.layers[0, N_IN]
    ld_in = plan.layers[0, LD_IN]
    x = at(state.work, plan.layers[0, INPUT] + row * ld_in)
    scratch = at(state.work, plan.settings[SCRATCH] + thread * plan.settings[SCRATCH_SIZE])
    gather(data, place + row, rows, x, ld_in, n_in)
    if plan.settings[AUGMENT] != 0:
        augment(plan, data, key, place + row, rows, x, ld_in, n_in, plan.settings[N_ROWS], scratch)
    forward(
        state.params, plan.layers, plan.layer_numbers, state.work, x, ld_in, row, rows, scratch, key, place + row
    )
    if plan.layers[plan.layers.shape[0] - 1, N_OUT] <= lanes(at(state.work, 0)):
        block_losses(state, plan, data, place, row, rows, norm, key, thread)
    else:
        row_losses(state, plan, data, place, row, rows, norm, key, thread)
    if plan.settings[MODE] != EVALUATE:
        backward(state, plan, row, rows)
