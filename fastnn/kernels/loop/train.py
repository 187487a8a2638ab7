"""Steps of training: the one entry point for descent, gradients and evaluation.

Every thread of a team calls `train` with the same arguments and its own number.
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.ids import NO_METRIC
from fastnn.kernels.lang.barrier import any_nonfinite, barrier, flag_nonfinite
from fastnn.kernels.lang.compiler import device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    cast_like,
    lanes,
    load,
    mask_tail,
    sum_lanes,
)
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.loop.forward_backward import batch_tile
from fastnn.kernels.loop.update import (
    accumulate_grad_norm,
    clipped_tile,
    constrain_layer,
    finalize_constrained_tile,
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
    BATCH,
    BATCH_TILE,
    BEGIN,
    CHUNK,
    CLIP_NORM,
    CONSTRAINED,
    END,
    EPOCH,
    EPOCH_STEPS,
    EVALUATE,
    LEARNING_RATE,
    LOSS_NOT_FINITE,
    LOSS_SUM,
    MAX_NORM,
    METRIC,
    METRIC_LENGTH,
    METRIC_SUM,
    MODE,
    N_ROWS,
    N_THREADS,
    NUMBERS,
    OK,
    OPTIMIZER,
    PENALTY_SUM,
    ROW_LOSS,
    ROW_METRIC,
    SEED,
    SHARD_GRAD,
    SHARD_LOSS,
    SHARD_METRIC,
    SHARD_ROWS,
    SHARDS,
    SHUFFLE,
    STEPS_DONE,
    TRAIN,
    TRAINED_TILES,
    WEIGHT_DECAY,
    WEIGHT_SUM,
    WEIGHTS_NOT_FINITE,
)


@device_function
def sum_row(p: Any, n: int) -> float:
    """Sum of n elements; the row is padded to whole vectors."""
    v = lanes(p)
    zero = broadcast(p, 0.0)
    total = zero
    for i in range(0, n, v):
        total = total + mask_tail(load(at(p, i)), n - i, zero)
    return float(sum_lanes(total))


@device_function
def sum_of_weights(data: Any, place: int, rows: int) -> float:
    """Sum of the sample weights of the rows at `place`; their number where there are no weights."""
    if not data.sample_weight.size:
        return float(rows)
    total = 0.0
    for r in range(place, place + rows):
        source = data.order[r] if data.order.size else r
        total += data.sample_weight[source]
    return total


@device_function
def run_shard(state: Any, plan: Any, data: Any, shard: int, place: int, rows: int, norm: Any, key: Any,
              thread: int) -> None:  # fmt: skip
    """Losses and gradient of one shard of a batch, the rows at `place` of the epoch, by one thread alone.

    Overwrites the shard's row of `shard_sums` and its gradient, and of `work` what belongs to the thread.
    """
    settings = plan.settings
    chunk = settings[CHUNK]
    tile_rows = settings[BATCH_TILE]
    mine = thread * chunk  # where the thread's rows begin in `work`
    grad = at(state.work, settings[SHARD_GRAD] + shard * state.params.size)
    loss = 0.0
    first_metric = 0.0
    second_metric = 0.0
    for done in range(0, rows, chunk):
        part = min(chunk, rows - done)
        for row in range(0, part, tile_rows):
            part_rows = min(tile_rows, part - row)
            batch_tile(state, plan, data, place + done - mine, mine + row, part_rows, norm, key, thread)
        loss += sum_row(at(state.work, settings[ROW_LOSS] + mine), part)
        if settings[METRIC] != NO_METRIC:
            first_metric += sum_row(at(state.work, settings[ROW_METRIC] + mine), part)
        if settings[METRIC + 1] != NO_METRIC:
            second_metric += sum_row(at(state.work, settings[ROW_METRIC] + settings[METRIC_LENGTH] + mine), part)
        for tile in range(settings[TRAINED_TILES]):
            stored_tile(state, plan, tile, mine, part, grad, done == 0)
    plan.shard_sums[shard, SHARD_LOSS] = loss
    plan.shard_sums[shard, SHARD_METRIC] = first_metric
    plan.shard_sums[shard, SHARD_METRIC + 1] = second_metric


@device_function
def run_steps(state: Any, plan: Any, data: Any, sync: Any, thread: int) -> int:
    """What `train` does."""
    noinline()
    settings = plan.settings
    numbers = plan.numbers
    mode = settings[MODE]
    n_rows = settings[N_ROWS]
    batch = settings[BATCH]
    chunk = settings[CHUNK]
    tile_rows = settings[BATCH_TILE]
    n_threads = settings[N_THREADS]
    optimizer = settings[OPTIMIZER]
    end = settings[END]
    step = settings[BEGIN]
    steps_done = numbers[STEPS_DONE]
    clip_norm = numbers[CLIP_NORM]
    scalars = read_scalars(plan.scalars)
    tile_begin = plan.shares[thread]
    tile_end = plan.shares[thread + 1]
    sharded = settings[SHARDS] > 0
    meeting = 0
    status = OK

    # Weights may have been written to from outside since the last call.
    if mode != EVALUATE:
        for tile in range(tile_begin, tile_end):
            refresh_transposed(state, plan, tile)
        if thread == 0:
            for tile in range(settings[TRAINED_TILES], plan.tiles.shape[0]):
                refresh_transposed(state, plan, tile)
    meeting += 1
    if not barrier(sync, n_threads, meeting):
        return ABORTED

    epoch_steps = settings[EPOCH_STEPS]
    while step < end and status == OK:
        step_of_epoch = step % epoch_steps
        if step_of_epoch == 0 and settings[SHUFFLE] != 0:
            if thread == 0:
                permute(plan.order, settings[SEED], settings[EPOCH] + step // epoch_steps)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
        place = step_of_epoch * batch
        rows = min(batch, n_rows - place)
        whole = sum_of_weights(data, place, rows)
        # A batch whose rows all weigh nothing has no gradient, not one of 0 / 0.
        norm = cast_like(at(state.work, 0), whole if whole > 0.0 else 1.0)
        fused = mode == TRAIN and rows <= chunk and not sharded and clip_norm == 0.0
        t = steps_done + 1.0
        key = step_key(settings[SEED], int(steps_done))
        scalars_now = advance(optimizer, plan.hyper, scalars, t)
        rate = plan.step_rates[step] if plan.step_rates.size else numbers[LEARNING_RATE]
        step_loss = 0.0
        first_metric = 0.0
        second_metric = 0.0
        n_shards = 0
        if sharded:
            n_shards = (rows + settings[SHARD_ROWS] - 1) // settings[SHARD_ROWS]
            for shard in range(thread * n_shards // n_threads, (thread + 1) * n_shards // n_threads):
                first = shard * settings[SHARD_ROWS]
                shard_rows = min(settings[SHARD_ROWS], rows - first)
                run_shard(state, plan, data, shard, place + first, shard_rows, norm, key, thread)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
            for shard in range(n_shards):
                step_loss += plan.shard_sums[shard, SHARD_LOSS]
                first_metric += plan.shard_sums[shard, SHARD_METRIC]
                second_metric += plan.shard_sums[shard, SHARD_METRIC + 1]
            if step_loss - step_loss != 0.0:
                status = LOSS_NOT_FINITE
        done = rows if sharded else 0
        while done < rows:
            part = min(chunk, rows - done)
            n_tiles = (part + tile_rows - 1) // tile_rows
            for tile in range(thread * n_tiles // n_threads, (thread + 1) * n_tiles // n_threads):
                row = tile * tile_rows
                batch_tile(state, plan, data, place + done, row, min(tile_rows, part - row), norm, key, thread)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
            step_loss += sum_row(at(state.work, settings[ROW_LOSS]), part)
            if settings[METRIC] != NO_METRIC:
                first_metric += sum_row(at(state.work, settings[ROW_METRIC]), part)
            if settings[METRIC + 1] != NO_METRIC:
                second_metric += sum_row(at(state.work, settings[ROW_METRIC] + settings[METRIC_LENGTH]), part)
            if step_loss - step_loss != 0.0:
                status = LOSS_NOT_FINITE
                break
            if fused:
                rates = coefficients(optimizer, rate, numbers[WEIGHT_DECAY], plan.hyper, scalars_now, t)
                for tile in range(tile_begin, tile_end):
                    if not fused_tile(state, plan, tile, part, rates, thread):
                        flag_nonfinite(sync)
            elif mode != EVALUATE:
                for tile in range(tile_begin, tile_end):
                    stored_tile(state, plan, tile, 0, part, at(state.grad, 0), done == 0)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
            done += part
        if status == OK and mode != EVALUATE and not fused:
            rates = coefficients(optimizer, rate, numbers[WEIGHT_DECAY], plan.hyper, scalars_now, t)
            for tile in range(tile_begin, tile_end):
                good = True
                if mode == TRAIN and clip_norm > 0.0:
                    if sharded:
                        sharded_gradient_tile(state, plan, tile, n_shards)
                    else:
                        penalize_stored_tile(state, plan, tile)
                    accumulate_grad_norm(state, plan, tile)
                elif sharded and mode == TRAIN:
                    good = sharded_tile(state, plan, tile, n_shards, rates, thread)
                elif sharded:
                    sharded_gradient_tile(state, plan, tile, n_shards)
                elif mode == TRAIN:
                    good = update_from_gradient(state, plan, tile, rates)
                else:
                    penalize_stored_tile(state, plan, tile)
                if not good:
                    flag_nonfinite(sync)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
            if mode == TRAIN and clip_norm > 0.0:
                squares = 0.0
                for tile in range(settings[TRAINED_TILES]):
                    squares += plan.squares[tile]
                length = math.sqrt(squares)
                # A length that is not a number makes the weights so, which is noticed there.
                factor = 1.0 if length <= clip_norm else clip_norm / length
                for tile in range(tile_begin, tile_end):
                    if not clipped_tile(state, plan, tile, rates, factor):
                        flag_nonfinite(sync)
                meeting += 1
                if not barrier(sync, n_threads, meeting):
                    return ABORTED
        if status == OK and mode == TRAIN and settings[CONSTRAINED] != 0:
            for k in range(plan.layers.shape[0]):
                if plan.layer_numbers[k, MAX_NORM] > 0.0:
                    constrain_layer(state, plan, k, n_threads, thread)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
            for tile in range(tile_begin, tile_end):
                finalize_constrained_tile(state, plan, tile)
            meeting += 1
            if not barrier(sync, n_threads, meeting):
                return ABORTED
        if status == OK:
            if thread == 0:
                numbers[LOSS_SUM] += step_loss
                if plan.step_losses.size:
                    plan.step_losses[step] = step_loss / norm
                numbers[METRIC_SUM] += first_metric
                numbers[METRIC_SUM + 1] += second_metric
                numbers[WEIGHT_SUM] += whole
                penalty = 0.0
                for tile in range(plan.penalties.size):
                    penalty += plan.penalties[tile]
                numbers[PENALTY_SUM] += penalty
                if step_of_epoch == epoch_steps - 1:
                    for k in range(LOSS_SUM, NUMBERS):
                        plan.epoch_sums[step // epoch_steps, k] = numbers[k]
                        numbers[k] = 0.0
            step += 1
            if mode == TRAIN:
                steps_done += 1.0
                scalars = scalars_now
                if any_nonfinite(sync):
                    status = WEIGHTS_NOT_FINITE

    # All have read where to begin before thread 0 says where it ended.
    meeting += 1
    if not barrier(sync, n_threads, meeting):
        return ABORTED
    if thread == 0:
        settings[BEGIN] = step
        numbers[STEPS_DONE] = steps_done
        for k in range(plan.scalars.size):
            plan.scalars[k] = scalars[k]
    return status


@kernel
def train(state: Any, plan: Any, data: Any, sync: Any, thread: int) -> int:
    """Run steps `settings[BEGIN]` to `settings[END]` of some epochs.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `layout`. TRAIN overwrites params, slots, work (and grad, for batches of several chunks);
        GRADIENT overwrites work and grad; EVALUATE overwrites work, and is for a plan without shards. All add
        to the sums in `plan.numbers` and move `settings[BEGIN]`.
    sync : (SYNC_SIZE,) int64
        Fresh counters, shared by the team (`barrier.new_sync`).
    thread : int
        Number of the calling thread, below `settings[N_THREADS]`.

    Returns
    -------
    int
        OK, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE or ABORTED; the same in each thread, except that ABORTED
        reaches those that were waiting.
    """
    control = flush_subnormals()
    status = run_steps(by_reference(state), by_reference(plan), by_reference(data), sync, thread)
    restore_control(control)
    return status
