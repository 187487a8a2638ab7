"""Some rows of V nets at once: gather, forward, losses, deltas, gradient; see `lane_tables`.

All functions work on the buffers of a group (`work`, and what has the number `buffer` in the plan) and on its
parameters (`params`), as pointers.
"""

from __future__ import annotations

from fastnn.kernels.ids import NO_METRIC
from fastnn.kernels.lane_tables import DROPOUT, FIRST_METRIC, LOSS, N_LIMITS, LaneLayer, LanePlan
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    lanes,
    load,
    load_scalar,
    select_gt,
    store,
    store_scalar,
    transpose_block,
)
from fastnn.kernels.linalg.lane_product import lane_product
from fastnn.kernels.loop.forward_backward import copy_row
from fastnn.kernels.loop.update import sum_columns
from fastnn.kernels.maths.rng import uniform_by_lane
from fastnn.kernels.nn.dispatch import (
    activate,
    activate_backward,
    loss_block,
    outputs_are_probabilities,
    targets_are_classes,
)
from fastnn.kernels.nn.losses_blocked import metric_block
from fastnn.kernels.nn.stochastic import DROP, key_of, step_key
from fastnn.kernels.tables import N_METRICS, TRAIN, Data


@device_function
def rows_of_lane(plan: LanePlan, buffer: int, lane: int, place: int) -> Pointer:
    """Return a pointer to the numbers of the rows from a place of the epoch on, of one lane."""
    return at(plan.order, ((buffer * lanes_of(plan) + lane) * plan.run.n_rows if plan.run.shuffle else 0) + place)


@device_function
def lanes_of(plan: LanePlan) -> int:
    """Return the number V of lanes."""
    return lanes(at(plan.limits, 0))


@device_function
def gather_features(plan: LanePlan, data: Data, place: int, rows: int, work: Pointer, buffer: int) -> None:
    """Overwrite the first layer's input with the features of the rows at `place`, each lane in its own order."""
    first = plan.layers[0]
    n = first.n_in
    v = lanes(work)
    ld = plan.layout.ld_row
    raw = at(work, plan.layout.row)
    x = at(work, first.input)
    features = at(data.features, 0)
    if 2 * n <= v:
        for lane in range(v):
            order = rows_of_lane(plan, buffer, lane, place)
            for r in range(rows):
                source = at(features, load_scalar(at(order, r)) * n)
                target = at(x, r * first.ld_in + lane)
                for i in range(n):
                    store_scalar(at(target, i * v), load_scalar(at(source, i)))
    else:
        order = rows_of_lane(plan, buffer, 0, place)
        distance = plan.run.n_rows if plan.run.shuffle else 0
        for r in range(rows):
            for lane in range(v):
                row = load_scalar(at(order, lane * distance + r))
                copy_row(at(features, row * n), at(raw, lane * ld), n)
            for i in range(0, n, v):
                transpose_block(at(raw, i), ld, at(x, r * first.ld_in + i * v), v)


@device_function
def gather_targets(plan: LanePlan, data: Data, place: int, rows: int, work: Pointer, group: int, buffer: int) -> None:
    """Overwrite targets (rows, O, V) and weights (rows, V) with those of the rows at `place`."""
    n = plan.layers[plan.layers.size - 1].n_out
    v = lanes(work)
    target = at(work, plan.layout.target)
    weight = at(work, plan.layout.weight)
    one = broadcast(work, 1.0)
    off = float(load_scalar(at(work, plan.layout.loss_parameters)))
    on = 1.0 - off * (n - 1)
    for r in range(rows):
        store(at(weight, r * v), one)
    if data.labels.size:
        rest = broadcast(work, off)
        for i in range(0, rows * n * v, v):
            store(at(target, i), rest)
    for lane in range(v):
        order = rows_of_lane(plan, buffer, lane, place)
        if data.labels.size:
            for r in range(rows):
                # Labels may have changed since they were validated: never write outside of the block.
                label = min(max(data.labels[load_scalar(at(order, r))], 0), n - 1)
                store_scalar(at(target, (r * n + label) * v + lane), on)
        else:
            for r in range(rows):
                source = at(data.targets, load_scalar(at(order, r)) * n)
                for j in range(n):
                    store_scalar(at(target, (r * n + j) * v + lane), load_scalar(at(source, j)))
        if plan.net_weights.size:
            own = at(plan.net_weights, (group * v + lane) * plan.run.n_rows)
            for r in range(rows):
                store_scalar(at(weight, r * v + lane), load_scalar(at(own, load_scalar(at(order, r)))))
        elif data.sample_weight.size:
            for r in range(rows):
                store_scalar(at(weight, r * v + lane), data.sample_weight[load_scalar(at(order, r))])


@device_function
def drop_inputs(plan: LanePlan, layer: LaneLayer, k: int, x: Pointer, ld: int, place: int, rows: int, work: Pointer,
                group: int, buffer: int) -> None:  # fmt: skip
    """Overwrite the layer's input by that at `x` with some elements of each lane set to 0; see `stochastic.drop`."""
    v = lanes(work)
    n = layer.n_in
    for lane in range(v):
        record = plan.lanes[group * v + lane]
        plan.keys[buffer * v + lane] = key_of(step_key(record.seed, record.steps_done), DROP + k)
    keys = at(plan.keys, buffer * v)
    limit = load(at(plan.limits, group * plan.layers.size * N_LIMITS * v + layer.limits + DROPOUT * v))
    zero = broadcast(work, 0.0)
    one = broadcast(work, 1.0)
    scale = one / (one - limit)
    for r in range(rows):
        for j in range(n):
            factor = select_gt(limit, uniform_by_lane(work, keys, (place + r) * n + j), zero, scale)
            store(at(work, layer.mask + (r * n + j) * v), factor)
            store(at(work, layer.input + r * layer.ld_in + j * v), load(at(x, r * ld + j * v)) * factor)


@device_function
def forward_by_lane(plan: LanePlan, params: Pointer, work: Pointer, place: int, rows: int, group: int,
                    buffer: int) -> None:  # fmt: skip
    """Compute the outputs of all layers from the features, with dropout in training."""
    v = lanes(work)
    first = plan.layers[0]
    x = at(work, first.input)
    ld = first.ld_in
    for k in range(plan.layers.size):
        layer = plan.layers[k]
        if layer.mask >= 0 and plan.run.mode == TRAIN:
            drop_inputs(plan, layer, k, x, ld, place, rows, work, group, buffer)
            x = at(work, layer.input)
            ld = layer.ld_in
        y = at(work, layer.output)
        z = at(work, layer.preactivation) if layer.preactivation >= 0 else y
        bias = at(params, layer.bias)
        width = layer.n_out * v
        lane_product(
            x, ld, v, at(bias, width), width, v, bias, 0, v, z, width, v, rows, layer.n_out, layer.n_in
        )
        activate(layer.activation, layer.alpha, layer.function, z, y, rows * width)
        x = y
        ld = width


@device_function
def losses_by_lane(plan: LanePlan, work: Pointer, rows: int, buffer: int) -> None:
    """Add loss and metrics of some rows to the sums, and overwrite the last layer's delta with dE/du."""
    v = lanes(work)
    layout = plan.layout
    last = plan.layers[plan.layers.size - 1]
    n = last.n_out
    competing = targets_are_classes(plan.run.loss)
    threshold = 0.5 if outputs_are_probabilities(last.activation) else 0.0
    values = at(work, layout.values)
    norm = load(at(work, layout.norm))
    zero = broadcast(work, 0.0)
    for k in range(1 + N_METRICS):
        store(at(values, k * v), zero)
    for r in range(rows):
        t = at(work, layout.target + r * n * v)
        u = at(work, last.delta + r * n * v)
        for j in range(0, n * v, v):
            store(at(u, j), load(at(work, last.output + r * n * v + j)))
        weight = load(at(work, layout.weight + r * v))
        for m in range(N_METRICS):
            metric = plan.metrics[m]
            if metric != NO_METRIC:
                p = at(values, (1 + m) * v)
                store(p, load(p) + metric_block(metric, u, t, n, threshold, competing) * weight)
        share = weight / norm
        found = loss_block(
            plan.run.loss, plan.run.loss_function, u, t, at(work, layout.loss_parameters), n, share, 1.0
        )
        store(values, load(values) + found * norm)
    for lane in range(v):
        plan.sums[buffer, LOSS, lane] += load_scalar(at(values, lane))
        for m in range(N_METRICS):
            plan.sums[buffer, FIRST_METRIC + m, lane] += load_scalar(at(values, (1 + m) * v + lane))


@device_function
def backward_by_lane(plan: LanePlan, params: Pointer, work: Pointer, rows: int, is_first: bool) -> None:
    """Compute dE/dz of the layers down to the lowest trained one, and add the gradient of these rows.

    The gradient of the first rows of a batch is overwritten.
    """
    v = lanes(work)
    zeros = at(work, plan.layout.zeros)
    for k in range(plan.layers.size - 1, plan.layout.first_trained - 1, -1):
        layer = plan.layers[k]
        width = layer.n_out * v
        y = at(work, layer.output)
        z = at(work, layer.preactivation) if layer.preactivation >= 0 else y
        delta = at(work, layer.delta)
        activate_backward(layer.activation, layer.alpha, layer.derivative, z, y, delta, rows * width)
        if layer.trained:
            g = at(work, plan.layout.gradient + layer.bias)
            sum_columns(delta, width, rows, zeros if is_first else g, g, width)
            g = at(g, width)
            begin, begin_row, begin_column = (zeros, 0, 0) if is_first else (g, width, v)
            lane_product(
                at(work, layer.input), v, layer.ld_in, delta, width, v, begin, begin_row, begin_column,
                g, width, v, layer.n_in, layer.n_out, rows,
            )  # fmt: skip
        if k > plan.layout.first_trained:
            below = at(work, plan.layers[k - 1].delta)
            w = at(params, layer.bias + width)
            lane_product(
                delta, width, v, w, v, width, zeros, 0, 0, below, layer.n_in * v, v, rows, layer.n_in, layer.n_out
            )
            if layer.mask >= 0:
                mask = at(work, layer.mask)
                for j in range(0, rows * layer.n_in * v, v):
                    store(at(below, j), load(at(below, j)) * load(at(mask, j)))


@device_function
def pass_by_lane(plan: LanePlan, data: Data, params: Pointer, work: Pointer, place: int, rows: int, is_first: bool,
                 group: int, buffer: int) -> None:  # fmt: skip
    """Run some rows through the nets of a group, and back in training; see the functions of the parts."""
    gather_features(plan, data, place, rows, work, buffer)
    gather_targets(plan, data, place, rows, work, group, buffer)
    forward_by_lane(plan, params, work, place, rows, group, buffer)
    losses_by_lane(plan, work, rows, buffer)
    if plan.run.mode == TRAIN:
        backward_by_lane(plan, params, work, rows, is_first)
