"""Steps of training: the one entry point for descent, gradients and evaluation.

Every thread of a team calls `train` with the same arguments and its own number. A step consists of phases, at the end
of each of which the threads wait for each other (`wait`); a function that contains such a barrier says so, and returns
ABORTED, or False, if the team has stopped.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastnn.kernels.ids import NO_METRIC
from fastnn.kernels.lang.barrier import any_nonfinite, barrier, flag_nonfinite
from fastnn.kernels.lang.compiler import alwaysinline, device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, cast_like, lanes, load, mask_tail, sum_lanes
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.loop.addressing import row_at, share_of_rows
from fastnn.kernels.loop.forward_backward import Batch, batch_tile
from fastnn.kernels.loop.update import (
    accumulate_grad_norm,
    clipped_tile,
    constrain_layer,
    finish_tile,
    fused_tile,
    penalize_stored_tile,
    refresh_transposed,
    sharded_gradient_tile,
    sharded_tile,
    stored_tile,
    update_from_gradient,
)
from fastnn.kernels.maths.rng import permute
from fastnn.kernels.nn.dispatch import advance, coefficients, read_scalars
from fastnn.kernels.nn.stochastic import step_key
from fastnn.kernels.tables import (
    ABORTED,
    EVALUATE,
    LOSS_NOT_FINITE,
    MAX_PENALTY_FACTOR,
    MEETING_STRIDE,
    OK,
    TRAIN,
    WEIGHTS_NOT_FINITE,
    Data,
    Plan,
    State,
)


class Step(NamedTuple):
    """Constants of one step; the same for all threads."""

    number: int  # counted over the epochs of the run
    place: int  # place of the batch's first row in the epoch
    rows: int  # rows of the batch
    n_shards: int  # parts that the batch is cut into; 0 if it is not
    weight_sum: float  # of the rows
    batch: Batch
    scalars: Any  # scalars of the optimizer after this update, a tuple of floats
    rates: Any  # coefficients of the update, see `dispatch`
    penalty: float  # factor of the penalties
    is_fused: bool  # whether each tile is updated as soon as its gradient is computed


class BatchSums(NamedTuple):
    """Sums over the rows of a batch of weight times value."""

    loss: float
    first_metric: float
    second_metric: float


@device_function
def wait(plan: Plan, sync: Any, thread: int) -> bool:
    """Wait until all threads have reached this barrier; return whether the team continues."""
    alwaysinline()
    slot = thread * MEETING_STRIDE
    plan.meetings[slot] += 1
    return barrier(sync, plan.layout.n_threads, plan.meetings[slot])


@device_function
def is_finite(x: float) -> bool:
    """Return whether x is neither infinite nor NaN."""
    return x - x == 0.0


@device_function
def sum_row(p: Pointer, n: int) -> float:
    """Return the sum of n elements; the row is padded to whole vectors."""
    v = lanes(p)
    zero = broadcast(p, 0.0)
    total = zero
    for i in range(0, n, v):
        total = total + mask_tail(load(at(p, i)), n - i, zero)
    return float(sum_lanes(total))


@device_function
def add_rows(state: State, plan: Plan, first: int, rows: int, sums: BatchSums) -> BatchSums:
    """Return `sums` plus losses and metrics of some rows of the chunk, from the `first`."""
    first_metric = sums.first_metric
    second_metric = sums.second_metric
    metrics = plan.layout.row_metric + first
    loss = sums.loss + sum_row(at(state.work, plan.layout.row_loss + first), rows)
    if plan.metrics[0] != NO_METRIC:
        first_metric += sum_row(at(state.work, metrics), rows)
    if plan.metrics[1] != NO_METRIC:
        second_metric += sum_row(at(state.work, metrics + plan.layout.metric_length), rows)
    return BatchSums(loss, first_metric, second_metric)


@device_function
def sum_of_weights(data: Data, place: int, rows: int) -> float:
    """Return the sum of the sample weights of the rows at `place`; their number if there are no weights."""
    if not data.sample_weight.size:
        return float(rows)
    total = 0.0
    for r in range(place, place + rows):
        total += data.sample_weight[row_at(data, r)]
    return total


# --------------------------------------------------------------------------------------- before the first region


@device_function
def refresh_all(state: State, plan: Plan, sync: Any, thread: int) -> bool:
    """Make the copies of all W anew, as the caller may have written to W since the last run. Ends at a barrier."""
    if plan.run.mode != EVALUATE or state.rounded is not None:
        for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
            refresh_transposed(state, plan, tile)
        if thread == 0:
            for tile in range(plan.layout.trained_tiles, plan.tiles.size):
                refresh_transposed(state, plan, tile)
    return wait(plan, sync, thread)


@device_function
def order_rows(plan: Plan, number: int, sync: Any, thread: int) -> bool:
    """Overwrite the order of the rows if the step begins an epoch with an order of its own. Ends at a barrier then."""
    alwaysinline()
    if not plan.run.shuffle or number % plan.run.epoch_steps != 0:
        return True
    if thread == 0:
        permute(plan.order, plan.run.seed, plan.run.epoch + number // plan.run.epoch_steps)
    return wait(plan, sync, thread)


@device_function
def penalty_factor(penalty_weight: float, weight_sum: float) -> float:
    """Return the factor of the penalties for a batch of rows of this sum of weights; see `Run.penalty_weight`."""
    if penalty_weight == 0.0 or weight_sum == 0.0:
        return 1.0
    return min(penalty_weight / weight_sum, MAX_PENALTY_FACTOR)


@device_function
def new_step(state: State, plan: Plan, data: Data, number: int, steps_done: int, scalars: Any) -> Step:
    """Return step `number` of the run, before which `steps_done` updates have been made."""
    alwaysinline()
    layout = plan.layout
    run = plan.run
    place = number % run.epoch_steps * layout.batch
    rows = min(layout.batch, run.n_rows - place)
    weight_sum = sum_of_weights(data, place, rows)
    # If all weights of a batch are 0, its gradient is 0 and not 0 / 0.
    batch_weight = cast_like(at(state.work, 0), weight_sum if weight_sum > 0.0 else 1.0)
    n_shards = (rows + layout.shard_rows - 1) // layout.shard_rows if layout.shards > 0 else 0
    t = steps_done + 1.0
    advanced = advance(run.optimizer, plan.hyper, scalars, t)
    rate = plan.step_rates[number] if plan.step_rates.size else run.learning_rate
    return Step(
        number,
        place,
        rows,
        n_shards,
        weight_sum,
        Batch(batch_weight, step_key(run.seed, steps_done)),
        advanced,
        coefficients(run.optimizer, rate, run.weight_decay, plan.hyper, advanced, t),
        penalty_factor(run.penalty_weight, weight_sum),
        run.mode == TRAIN and rows <= layout.chunk and n_shards == 0 and run.clip_norm == 0.0,
    )


# ---------------------------------------------------------------------------------- losses and gradient of a batch


@device_function
def run_shard(state: State, plan: Plan, data: Data, step: Step, shard: int, thread: int) -> None:
    """Compute losses and gradient of one shard of a batch, by one thread alone.

    Overwrites the shard's row of `shard_totals` and its gradient, and the thread's part of `work`.
    """
    layout = plan.layout
    begin = shard * layout.shard_rows
    rows = min(layout.shard_rows, step.rows - begin)
    thread_base = thread * layout.chunk  # first of the thread's rows in `work`
    grad = at(state.work, layout.shard_grad + shard * state.params.size)
    sums = BatchSums(0.0, 0.0, 0.0)
    for done in range(0, rows, layout.chunk):
        part = min(layout.chunk, rows - done)
        place = step.place + begin + done - thread_base
        for row in range(0, part, layout.batch_tile):
            tile_rows = min(layout.batch_tile, part - row)
            batch_tile(state, plan, data, step.batch, place, thread_base + row, tile_rows, thread)
        sums = add_rows(state, plan, thread_base, part, sums)
        for tile in range(layout.trained_tiles):
            stored_tile(state, plan, tile, thread_base, part, grad, done == 0)
    totals = plan.shard_totals[shard]
    totals.loss = sums.loss
    totals.first_metric = sums.first_metric
    totals.second_metric = sums.second_metric


@device_function
def shard_phase(state: State, plan: Plan, data: Data, step: Step, sync: Any, thread: int) -> Any:
    """Compute the gradient of each shard of a batch; return status and BatchSums. Contains a barrier."""
    loss = 0.0
    first_metric = 0.0
    second_metric = 0.0
    n_threads = plan.layout.n_threads
    for shard in range(thread * step.n_shards // n_threads, (thread + 1) * step.n_shards // n_threads):
        run_shard(state, plan, data, step, shard, thread)
    if not wait(plan, sync, thread):
        return ABORTED, BatchSums(loss, first_metric, second_metric)
    for shard in range(step.n_shards):
        totals = plan.shard_totals[shard]
        loss += totals.loss
        first_metric += totals.first_metric
        second_metric += totals.second_metric
    return OK if is_finite(loss) else LOSS_NOT_FINITE, BatchSums(loss, first_metric, second_metric)


@device_function
def batch_phase(state: State, plan: Plan, data: Data, step: Step, sync: Any, thread: int) -> Any:
    """Compute losses and gradient of a batch, chunk by chunk, and update if the step is fused.

    Returns status and BatchSums. Contains barriers: after region 1 and after region 2 of each chunk.
    """
    alwaysinline()
    layout = plan.layout
    sums = BatchSums(0.0, 0.0, 0.0)
    for done in range(0, step.rows, layout.chunk):
        part = min(layout.chunk, step.rows - done)
        first, end = share_of_rows(part, lanes(at(state.work, 0)), layout.n_threads, thread)
        for row in range(first, end, layout.batch_tile):
            rows = min(layout.batch_tile, end - row)
            batch_tile(state, plan, data, step.batch, step.place + done, row, rows, thread)
        if not wait(plan, sync, thread):
            return ABORTED, sums
        sums = add_rows(state, plan, 0, part, sums)
        if not is_finite(sums.loss):
            return LOSS_NOT_FINITE, sums
        if step.is_fused:
            for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
                if not fused_tile(state, plan, tile, part, step.penalty, step.rates, thread):
                    flag_nonfinite(sync)
        elif plan.run.mode != EVALUATE:
            for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
                stored_tile(state, plan, tile, 0, part, at(state.grad, 0), done == 0)
        if not wait(plan, sync, thread):
            return ABORTED, sums
    return OK, sums


# ------------------------------------------------------------------------------------------- update of the weights


@device_function
def finish_gradient(state: State, plan: Plan, n_shards: int, penalty: float, tile: int) -> None:
    """Complete the tile's block of `grad`: the sum of the shards, if there are any, and the penalty's gradient."""
    if n_shards > 0:
        sharded_gradient_tile(state, plan, tile, n_shards, penalty)
    else:
        penalize_stored_tile(state, plan, tile, penalty)


@device_function
def gradient_phase(state: State, plan: Plan, step: Step, sync: Any, thread: int) -> bool:
    """Complete the gradient in `grad`, and sum its squares if they are needed. Ends at a barrier."""
    for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
        finish_gradient(state, plan, step.n_shards, step.penalty, tile)
        if plan.run.mode == TRAIN:
            accumulate_grad_norm(state, plan, tile)
    return wait(plan, sync, thread)


@device_function
def update_phase(state: State, plan: Plan, step: Step, sync: Any, thread: int) -> bool:
    """Update the weights from the gradient of the batch, or from those of its shards. Ends at a barrier."""
    for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
        if step.n_shards > 0:
            all_finite = sharded_tile(state, plan, tile, step.n_shards, step.penalty, step.rates, thread)
        else:
            all_finite = update_from_gradient(state, plan, tile, step.penalty, step.rates)
        if not all_finite:
            flag_nonfinite(sync)
    return wait(plan, sync, thread)


@device_function
def clipped_update_phase(state: State, plan: Plan, step: Step, sync: Any, thread: int) -> bool:
    """Update the weights from the gradient, scaled down to `clip_norm`. Ends at a barrier."""
    squares = 0.0
    for tile in range(plan.layout.trained_tiles):
        squares += plan.squares[tile]
    length = math.sqrt(squares)
    limit = plan.run.clip_norm
    # A norm that is NaN makes the weights NaN, which `clipped_tile` reports.
    factor = 1.0 if length <= limit else limit / length
    for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
        if not clipped_tile(state, plan, tile, step.rates, factor):
            flag_nonfinite(sync)
    return wait(plan, sync, thread)


@device_function
def constrain_phase(state: State, plan: Plan, sync: Any, thread: int) -> bool:
    """Scale weights down to the layers' max_norm, then update averages and W^T. Each half ends at a barrier."""
    for k in range(plan.layers.size):
        if plan.layers[k].max_norm > 0.0:
            constrain_layer(state, plan, k, plan.layout.n_threads, thread)
    if not wait(plan, sync, thread):
        return False
    for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
        finish_tile(state, plan, tile)
    return wait(plan, sync, thread)


@device_function
def update_weights(state: State, plan: Plan, step: Step, sync: Any, thread: int) -> bool:
    """Run the phases that follow the gradient of a batch; contains the barriers of those."""
    alwaysinline()
    is_training = plan.run.mode == TRAIN
    if not step.is_fused:
        if is_training and plan.run.clip_norm == 0.0:
            if not update_phase(state, plan, step, sync, thread):
                return False
        else:
            if not gradient_phase(state, plan, step, sync, thread):
                return False
            if is_training and not clipped_update_phase(state, plan, step, sync, thread):
                return False
    return constrain_phase(state, plan, sync, thread) if is_training and plan.layout.constrained else True


@device_function
def add_step(plan: Plan, step: Step, sums: BatchSums) -> None:
    """Add a step to `totals`, which go to `epoch_totals` and are cleared at the end of an epoch; by one thread."""
    alwaysinline()
    totals = plan.totals[0]
    totals.loss += sums.loss
    if plan.step_losses.size:
        plan.step_losses[step.number] = sums.loss / step.batch.weight
    totals.first_metric += sums.first_metric
    totals.second_metric += sums.second_metric
    totals.weight += step.weight_sum
    penalty = 0.0
    for tile in range(plan.penalties.size):
        penalty += plan.penalties[tile]
    totals.penalty += penalty
    if plan.step_penalties.size:
        plan.step_penalties[step.number] = penalty
    epoch_steps = plan.run.epoch_steps
    if step.number % epoch_steps == epoch_steps - 1:
        plan.epoch_totals[step.number // epoch_steps] = totals
        totals.loss = 0.0
        totals.weight = 0.0
        totals.penalty = 0.0
        totals.first_metric = 0.0
        totals.second_metric = 0.0


@device_function
def run_steps(state: State, plan: Plan, data: Data, sync: Any, thread: int) -> int:
    """Run the steps of `train`."""
    noinline()
    plan.meetings[thread * MEETING_STRIDE] = 0
    progress = plan.progress[0]
    number = progress.step
    steps_done = progress.steps_done
    scalars = read_scalars(plan.scalars)
    status = OK
    if not refresh_all(state, plan, sync, thread):
        return ABORTED
    while number < plan.end_step and status == OK:
        if not order_rows(plan, number, sync, thread):
            return ABORTED
        step = new_step(state, plan, data, number, steps_done, scalars)
        if step.n_shards > 0:
            status, sums = shard_phase(state, plan, data, step, sync, thread)
        else:
            status, sums = batch_phase(state, plan, data, step, sync, thread)
        if status == ABORTED:
            return ABORTED
        if status == OK:
            if plan.run.mode != EVALUATE and not update_weights(state, plan, step, sync, thread):
                return ABORTED
            if thread == 0:
                add_step(plan, step, sums)
            number += 1
            if plan.run.mode == TRAIN:
                steps_done += 1
                scalars = step.scalars
                if any_nonfinite(sync):
                    status = WEIGHTS_NOT_FINITE
    # All threads have read the first step before thread 0 writes the last one.
    if not wait(plan, sync, thread):
        return ABORTED
    if thread == 0:
        progress.step = number
        progress.steps_done = steps_done
        for k in range(plan.scalars.size):
            plan.scalars[k] = scalars[k]
    return status


@kernel
def train(state: State, plan: Plan, data: Data, sync: Any, thread: int) -> int:
    """Run the steps from `progress.step` to before `end_step` of some epochs.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `tables`. TRAIN overwrites params, slots, work (and grad, for batches of several chunks);
        GRADIENT overwrites work and grad; EVALUATE overwrites work, and is for a plan without shards. All add
        to `totals` and overwrite `progress`.
    sync : (SYNC_SIZE,) int64
        Fresh counters, shared by the team (`lang.barrier.new_sync`).
    thread : int
        Number of the calling thread, below `plan.layout.n_threads`.

    Returns
    -------
    int
        OK, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE or ABORTED; the same in each thread, except that ABORTED
        is returned by threads that were waiting.
    """
    control = flush_subnormals()
    status = run_steps(by_reference(state), by_reference(plan), by_reference(data), sync, thread)
    restore_control(control)
    return status
