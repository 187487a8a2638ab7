"""Steps of training of V nets at once, one in each lane: the entry point for populations of small nets.

The threads of a team take groups of V nets one after the other, so they never wait for each other. What a net results
in depends neither on the other lanes nor on the threads, as no operation adds up lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.lane_tables import (
    L1,
    L2,
    LOSS,
    MAX_NORM,
    N_LIMITS,
    N_SUMS,
    PENALTY,
    WEIGHT,
    LaneLayer,
    LanePlan,
    LaneState,
)
from fastnn.kernels.lang.atomics import atomic_add
from fastnn.kernels.lang.barrier import JOBS, STOP
from fastnn.kernels.lang.compiler import device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    fma,
    lanes,
    load,
    load_scalar,
    maximum,
    minimum,
    negative,
    select_gt,
    sqrt,
    store,
    store_scalar,
)
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.loop.lane_pass import lanes_of, pass_by_lane, rows_of_lane
from fastnn.kernels.maths.rng import permute
from fastnn.kernels.nn.dispatch import advance, coefficients, read_scalars, update_by_lane
from fastnn.kernels.nn.optimizers import sign
from fastnn.kernels.tables import OK, TRAIN, Data


@device_function
def order_of_lanes(plan: LanePlan, epoch: int, group: int, buffer: int) -> None:
    """Overwrite the orders in a buffer with those of an epoch of the run, for each lane of a group."""
    v = lanes_of(plan)
    n = plan.run.n_rows
    for lane in range(v):
        record = plan.lanes[group * v + lane]
        first = (buffer * v + lane) * n
        order = plan.order[first : first + n]
        if record.alive != 0:
            permute(order, record.order_seed, record.order_epoch + epoch)
        else:
            for i in range(n):
                order[i] = i


@device_function
def begin_step(plan: LanePlan, data: Data, work: Pointer, place: int, rows: int, group: int, buffer: int) -> None:
    """Clear the sums, and overwrite the sums of weights and what the gradient is divided by."""
    v = lanes(work)
    for lane in range(v):
        for k in range(N_SUMS):
            plan.sums[buffer, k, lane] = 0.0
        total = float(rows)
        order = rows_of_lane(plan, buffer, lane, place)
        if plan.net_weights.size:
            own = at(plan.net_weights, (group * v + lane) * plan.run.n_rows)
            total = 0.0
            for r in range(rows):
                total += load_scalar(at(own, load_scalar(at(order, r))))
        elif data.sample_weight.size:
            total = 0.0
            for r in range(rows):
                total += data.sample_weight[load_scalar(at(order, r))]
        plan.sums[buffer, WEIGHT, lane] = total
        # If all weights of a batch are 0, its gradient is 0 and not 0 / 0.
        norm = total if total > 0.0 and not plan.run.is_sum else 1.0
        store_scalar(at(work, plan.layout.norm + lane), norm)
        store_scalar(at(work, plan.layout.alive + lane), float(plan.lanes[group * v + lane].alive))


@device_function
def penalize_layer(plan: LanePlan, layer: LaneLayer, params: Pointer, work: Pointer, group: int, buffer: int) -> None:
    """Add the gradient of l1 sum |w| + l2 sum w^2 of one layer, and the penalty itself to the sums."""
    v = lanes(work)
    limits = at(plan.limits, group * plan.layers.size * N_LIMITS * v + layer.limits)
    lasso = load(at(limits, L1 * v))
    l2 = load(at(limits, L2 * v))
    ridge = l2 + l2
    sum_abs = broadcast(work, 0.0)
    sum_squares = sum_abs
    start = layer.bias + layer.n_out * v
    for i in range(start, start + layer.n_in * layer.n_out * v, v):
        x = load(at(params, i))
        g = at(work, plan.layout.gradient + i)
        store(g, fma(lasso, sign(x), fma(ridge, x, load(g))))
        sum_abs = sum_abs + absolute(x)
        sum_squares = fma(x, x, sum_squares)
    values = at(work, plan.layout.values)
    store(values, fma(lasso, sum_abs, l2 * sum_squares))
    for lane in range(v):
        plan.sums[buffer, PENALTY, lane] += load_scalar(at(values, lane))


@device_function
def first_and_end(layer: LaneLayer, v: int) -> Any:
    """Return where the trained parameters of a layer begin and end in a group's params: bias, if it has one, and W."""
    width = layer.n_out * v
    return layer.bias + (0 if layer.has_bias else width), layer.bias + width + layer.n_in * width


@device_function
def clip_gradient(plan: LanePlan, work: Pointer, group: int) -> None:
    """Clip the gradient to each lane's limits: of its elements, then of its norm."""
    v = lanes(work)
    values = at(work, plan.layout.values)
    gradient = at(work, plan.layout.gradient)
    one = broadcast(work, 1.0)
    if plan.run.clips_norms:
        for lane in range(v):
            store_scalar(at(values, lane), plan.lanes[group * v + lane].clip_norm)
        limit = load(values)
        squares = broadcast(work, 0.0)
        for k in range(plan.layout.first_trained, plan.layers.size):
            layer = plan.layers[k]
            if layer.trained:
                first, end = first_and_end(layer, v)
                for i in range(first, end, v):
                    g = load(at(gradient, i))
                    squares = fma(g, g, squares)
        norm = sqrt(squares)
        factor = select_gt(norm, limit, limit / norm, one)
        for i in range(0, plan.layout.size, v):
            store(at(gradient, i), load(at(gradient, i)) * factor)
    if plan.run.clips_values:
        for lane in range(v):
            store_scalar(at(values, lane), plan.lanes[group * v + lane].clip_value)
        high = load(values)
        low = negative(high)
        for i in range(0, plan.layout.size, v):
            store(at(gradient, i), maximum(low, minimum(high, load(at(gradient, i)))))


@device_function
def rates_of_step(plan: LanePlan, work: Pointer, number: int, group: int) -> None:
    """Overwrite the coefficients of the update of each lane, and the scalars that its optimizer keeps."""
    v = lanes(work)
    for lane in range(v):
        net = group * v + lane
        record = plan.lanes[net]
        rate = plan.step_rates[record.rates, number] if record.rates >= 0 else record.learning_rate
        t = record.steps_done + 1.0
        scalars = advance(plan.run.optimizer, plan.hyper[net], read_scalars(plan.scalars[net]), t)
        if record.alive != 0:
            for k in range(plan.scalars.shape[1]):
                plan.scalars[net, k] = scalars[k]
        found = coefficients(plan.run.optimizer, rate, record.weight_decay, plan.hyper[net], scalars, t)
        for k in range(len(found)):
            store_scalar(at(work, plan.layout.rates + k * v + lane), found[k])


@device_function
def constrain_by_lane(plan: LanePlan, layer: LaneLayer, params: Pointer, work: Pointer, group: int) -> None:
    """Scale down the weights into each unit to the lane's max_norm; see `update.constrain_layer`."""
    v = lanes(work)
    width = layer.n_out * v
    w = at(params, layer.bias + width)
    limit = load(at(plan.limits, group * plan.layers.size * N_LIMITS * v + layer.limits + MAX_NORM * v))
    one = broadcast(work, 1.0)
    half = broadcast(work, 0.5)
    alive = load(at(work, plan.layout.alive))
    for j in range(0, width, v):
        total = broadcast(work, 0.0)
        for i in range(layer.n_in):
            x = load(at(w, i * width + j))
            total = fma(x, x, total)
        lengths = sqrt(total)
        factor = select_gt(alive, half, select_gt(lengths, limit, limit / lengths, one), one)
        for i in range(layer.n_in):
            p = at(w, i * width + j)
            store(p, load(p) * factor)


@device_function
def average_by_lane(plan: LanePlan, layer: LaneLayer, params: Pointer, mean: Pointer, work: Pointer,
                    group: int) -> None:  # fmt: skip
    """Move the running average of a layer's parameters towards them in the lanes that are alive."""
    v = lanes(work)
    one = broadcast(work, 1.0)
    half = broadcast(work, 0.5)
    alive = load(at(work, plan.layout.alive))
    values = at(work, plan.layout.values)
    for lane in range(v):
        store_scalar(at(values, lane), plan.lanes[group * v + lane].ema_decay)
    keep = load(values)
    _, end = first_and_end(layer, v)
    for i in range(layer.bias, end, v):
        before = load(at(mean, i))
        after = fma(keep, before, (one - keep) * load(at(params, i)))
        store(at(mean, i), select_gt(alive, half, after, before))


@device_function
def update_by_gradient(plan: LanePlan, params: Pointer, slots: Pointer, work: Pointer, group: int) -> Any:
    """Update the trained layers of the lanes that are alive; return 0, and NaN where a weight was not finite."""
    v = lanes(work)
    size = plan.layout.size
    rates = at(work, plan.layout.rates)
    alive = at(work, plan.layout.alive)
    bad = broadcast(work, 0.0)
    for k in range(plan.layout.first_trained, plan.layers.size):
        layer = plan.layers[k]
        if layer.trained:
            first, end = first_and_end(layer, v)
            g = at(work, plan.layout.gradient + first)
            found = update_by_lane(
                plan.run.optimizer, rates, alive, at(params, first), g, at(slots, first), size, end - first
            )
            bad = bad + found
    for k in range(plan.layout.first_trained, plan.layers.size):
        layer = plan.layers[k]
        if layer.trained:
            if layer.constrained:
                constrain_by_lane(plan, layer, params, work, group)
            if plan.layout.ema_slot >= 0:
                average_by_lane(plan, layer, params, at(slots, plan.layout.ema_slot * size), work, group)
    return bad


@device_function
def end_step(plan: LanePlan, work: Pointer, bad: Any, number: int, group: int, buffer: int) -> bool:
    """Add the step to the totals of the lanes that are alive; return whether any goes on.

    A lane whose loss was not finite has left before; one of whose weights would not have been (`bad`) leaves after it.
    """
    v = lanes(work)
    epoch = number // plan.run.epoch_steps
    is_end = number % plan.run.epoch_steps == plan.run.epoch_steps - 1
    values = at(work, plan.layout.values)
    store(values, bad)
    goes_on = False
    for lane in range(v):
        net = group * v + lane
        record = plan.lanes[net]
        if record.alive != 0:
            for k in range(N_SUMS):
                plan.totals[k, net] += plan.sums[buffer, k, lane]
                if is_end:
                    plan.epoch_totals[k, epoch, net] = plan.totals[k, net]
                    plan.totals[k, net] = 0.0
            if is_end:
                record.finished += 1
            if plan.run.mode == TRAIN:
                record.steps_done += 1
            if load_scalar(at(values, lane)) != 0.0:  # NaN
                record.alive = 0
            else:
                goes_on = True
    return goes_on


@device_function
def leave_where_not_finite(plan: LanePlan, work: Pointer, group: int, buffer: int) -> None:
    """Mark the lanes whose loss is not finite as not alive; their weights stay as they are."""
    for lane in range(lanes(work)):
        loss = plan.sums[buffer, LOSS, lane]
        if not np.isfinite(loss):
            plan.lanes[group * lanes(work) + lane].alive = 0
            store_scalar(at(work, plan.layout.alive + lane), 0.0)


@device_function
def step_by_lane(plan: LanePlan, data: Data, params: Pointer, slots: Pointer, work: Pointer, number: int, group: int,
                 buffer: int) -> bool:  # fmt: skip
    """Run one step of a group; return whether any of its lanes goes on."""
    run = plan.run
    place = number % run.epoch_steps * run.batch
    rows = min(run.batch, run.n_rows - place)
    begin_step(plan, data, work, place, rows, group, buffer)
    for row in range(0, rows, plan.layout.tile):
        part = min(plan.layout.tile, rows - row)
        pass_by_lane(plan, data, params, work, place + row, part, row == 0, group, buffer)
    leave_where_not_finite(plan, work, group, buffer)
    bad = broadcast(work, 0.0)
    if run.mode == TRAIN:
        for k in range(plan.layout.first_trained, plan.layers.size):
            if plan.layers[k].penalized and plan.layers[k].trained:
                penalize_layer(plan, plan.layers[k], params, work, group, buffer)
        if run.clips_values or run.clips_norms:
            clip_gradient(plan, work, group)
        rates_of_step(plan, work, number, group)
        bad = update_by_gradient(plan, params, slots, work, group)
    return end_step(plan, work, bad, number, group, buffer)


@device_function
def run_groups(state: LaneState, plan: LanePlan, data: Data, sync: Any, thread: int) -> int:
    """Run the steps of `train_by_lane`."""
    noinline()
    layout = plan.layout
    epoch_steps = plan.run.epoch_steps
    last = plan.epoch_totals.shape[1] * epoch_steps
    has_own = plan.end_group - plan.first_group <= plan.sums.shape[0]
    while sync[STOP] == 0:
        group = plan.first_group + atomic_add(sync, JOBS, 1)
        if group >= plan.end_group:
            break
        buffer = group - plan.first_group if has_own else thread
        work = at(state.work, buffer * layout.work_size)
        params = at(state.params, group * layout.size)
        slots = at(state.slots, group * layout.n_slots * layout.size)
        number = plan.progress[group]
        end = min(last, number + plan.n_steps)
        goes_on = True
        while number < end and goes_on:
            if plan.run.shuffle and number % epoch_steps == 0:
                order_of_lanes(plan, number // epoch_steps, group, buffer)
            goes_on = step_by_lane(plan, data, params, slots, work, number, group, buffer)
            number += 1
        plan.progress[group] = number if goes_on else last
    return OK


@kernel
def train_by_lane(state: LaneState, plan: LanePlan, data: Data, sync: Any, thread: int) -> int:
    """Run steps of groups of V nets, from `progress` on.

    The orders of an epoch are computed in its first step. A call that goes on within an epoch reads those in the
    buffers, so it must be of the same groups as the call before, at most as many as there are buffers: each group then
    has its own, whatever thread takes it. Calls of more groups begin and end with whole epochs.

    Parameters
    ----------
    state, plan, data : LaneState, LanePlan, Data
        See `lane_tables`. TRAIN overwrites params, slots and work, EVALUATE work alone. Both add to `totals` and
        overwrite `epoch_totals`, `progress` and the counters of `lanes`.
    sync : (SYNC_SIZE,) int64
        Fresh counters, shared by the team (`lang.barrier.new_sync`).
    thread : int
        Number of the calling thread.

    Returns
    -------
    int
        OK.
    """
    control = flush_subnormals()
    status = run_groups(by_reference(state), by_reference(plan), by_reference(data), sync, thread)
    restore_control(control)
    return status
