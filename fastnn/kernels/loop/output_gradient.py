"""The gradient of a loss that is computed elsewhere, from its derivatives by the outputs, and the update by a gradient.

A training step is cut in three, as the loss is no part of it: the way forward; the way back from dE/dy; the update. All
rows of the batch stay in `work` between the first two, or, where these are too many, the way back of each chunk begins
with its way forward.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.barrier import any_nonfinite
from fastnn.kernels.lang.compiler import device_function, kernel, noinline
from fastnn.kernels.lang.fp_control import flush_subnormals, restore_control
from fastnn.kernels.lang.simd import at, cast_like, lanes
from fastnn.kernels.lang.struct_pointer import by_reference
from fastnn.kernels.loop.addressing import scratch_of, share_of_rows
from fastnn.kernels.loop.derivatives import backward_from, write_rows
from fastnn.kernels.loop.forward_backward import Batch, copy_row, forward_with_dropout, gather
from fastnn.kernels.loop.train import Step, refresh_all, update_weights, wait
from fastnn.kernels.loop.update import stored_tile
from fastnn.kernels.nn.dispatch import advance, coefficients, read_scalars
from fastnn.kernels.nn.stochastic import step_key
from fastnn.kernels.tables import ABORTED, MEETING_STRIDE, OK, WEIGHTS_NOT_FINITE, Data, Plan, State


@device_function
def forward_tile(state: State, plan: Plan, data: Data, key: Any, place: int, row: int, rows: int, thread: int) -> None:
    """Compute the outputs of all layers at `row` of the chunk for rows of the data from `place` on."""
    first = plan.layers[0]
    x = at(state.work, first.input + row * first.ld_in)
    gather(data, place, rows, x, first.ld_in, first.n_in)
    forward_with_dropout(state, plan, row, rows, scratch_of(state, plan, thread), key, place)


@device_function
def rows_of_thread(state: State, plan: Plan, n: int, thread: int) -> Any:
    """Return the first row of a thread's share of n rows, and the one after its last."""
    return share_of_rows(n, lanes(at(state.work, 0)), plan.layout.n_threads, thread)


@device_function
def run_forward(state: State, plan: Plan, data: Data, outputs: Any, thread: int) -> None:
    """Compute what `forward_batch` does."""
    noinline()
    n = data.features.shape[0]
    layout = plan.layout
    last = plan.layers[plan.layers.size - 1]
    key = step_key(plan.run.seed, plan.progress[0].steps_done)
    for done in range(0, n, layout.chunk):
        part = min(layout.chunk, n - done)
        begin, end = rows_of_thread(state, plan, part, thread)
        for row in range(begin, end, layout.batch_tile):
            rows = min(layout.batch_tile, end - row)
            forward_tile(state, plan, data, key, done + row, row, rows, thread)
            y = at(state.work, last.output + row * last.ld_out)
            write_rows(y, last.ld_out, at(outputs, (done + row) * last.n_out), last.n_out, rows, last.n_out)


@kernel
def forward_batch(state: State, plan: Plan, data: Data, outputs: Any, sync: Any, thread: int) -> None:
    """Compute the outputs of a batch, with dropout where layers have masks.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        See `tables`. Overwrites `work`, in which the rows of the last chunk are kept. Dropout is that of step
        `progress.steps_done` of `run.seed`.
    outputs : (n, O)
        Overwritten.
    sync, thread
        As for `train`; contains no barrier.
    """
    control = flush_subnormals()
    run_forward(by_reference(state), by_reference(plan), by_reference(data), outputs, thread)
    restore_control(control)


@device_function
def run_backward(state: State, plan: Plan, data: Data, again: bool, below: int, with_params: bool, result: Any,
                 sync: Any, thread: int) -> int:  # fmt: skip
    """Compute what `backward_batch` does."""
    noinline()
    n = data.features.shape[0]
    layout = plan.layout
    top = plan.layers.size - 1
    first = plan.layers[0]
    last = plan.layers[top]
    key = step_key(plan.run.seed, plan.progress[0].steps_done)
    lowest = -1 if result.size else layout.first_trained
    plan.meetings[thread * MEETING_STRIDE] = 0
    if not refresh_all(state, plan, sync, thread):
        return ABORTED
    for done in range(0, n, layout.chunk):
        part = min(layout.chunk, n - done)
        begin, end = rows_of_thread(state, plan, part, thread)
        for row in range(begin, end, layout.batch_tile):
            rows = min(layout.batch_tile, end - row)
            place = done + row
            if again:
                forward_tile(state, plan, data, key, place, row, rows, thread)
            for r in range(rows):
                v = at(data.targets, (place + r) * last.n_out)
                copy_row(v, at(state.work, last.delta + (row + r) * last.ld_out), last.n_out)
            x = at(state.work, below + row * first.ld_in)
            backward_from(state, plan, top, lowest, row, rows, x)
            if result.size:
                write_rows(x, first.ld_in, at(result, place * first.n_in), first.n_in, rows, first.n_in)
        if not wait(plan, sync, thread):
            return ABORTED
        if with_params:
            for tile in range(plan.tile_ranges[thread], plan.tile_ranges[thread + 1]):
                stored_tile(state, plan, tile, 0, part, at(state.grad, 0), done == 0)
            if not wait(plan, sync, thread):
                return ABORTED
    return OK


@kernel
def backward_batch(state: State, plan: Plan, data: Data, again: bool, below: int, with_params: bool, result: Any,
                   sync: Any, thread: int) -> int:  # fmt: skip
    """Compute the derivatives of E by the weights and by the inputs, from dE/dy, which is in `data.targets`.

    Parameters
    ----------
    state, plan, data : State, Plan, Data
        As for `forward_batch`, whose rows are in `work`; the mode of `plan.run` is GRADIENT. Overwrites deltas in
        `work`, and `grad`.
    again : bool
        Whether to begin with the way forward, as `work` does not hold all rows.
    below : int
        Offset of the derivatives by the inputs in `work`, with their row stride.
    with_params : bool
        Whether the derivatives by the weights are computed, in `grad`: the sum over rows, in their order.
    result : (n, I), or (0, 0)
        Overwritten with the derivatives by the inputs. If empty, they are not computed.
    sync, thread
        As for `train`.

    Returns
    -------
    int
        OK or ABORTED.
    """
    control = flush_subnormals()
    status = run_backward(
        by_reference(state), by_reference(plan), by_reference(data), again, below, with_params, result, sync, thread
    )
    restore_control(control)
    return status


@device_function
def run_update(state: State, plan: Plan, penalty: float, sync: Any, thread: int) -> int:
    """Compute what `update_by_gradient` does."""
    noinline()
    plan.meetings[thread * MEETING_STRIDE] = 0
    run = plan.run
    progress = plan.progress[0]
    steps_done = progress.steps_done
    scalars = read_scalars(plan.scalars)
    t = steps_done + 1.0
    advanced = advance(run.optimizer, plan.hyper, scalars, t)
    rates = coefficients(run.optimizer, run.learning_rate, run.weight_decay, plan.hyper, advanced, t)
    batch = Batch(cast_like(at(state.work, 0), 1.0), step_key(run.seed, steps_done))
    step = Step(0, 0, 0, 0, 1.0, batch, advanced, rates, penalty, False)
    if not update_weights(state, plan, step, sync, thread):
        return ABORTED
    status = WEIGHTS_NOT_FINITE if any_nonfinite(sync) else OK
    # All threads have read the progress before thread 0 writes it.
    if not wait(plan, sync, thread):
        return ABORTED
    if thread == 0:
        progress.steps_done = steps_done + 1
        for k in range(plan.scalars.size):
            plan.scalars[k] = advanced[k]
    return status


@kernel
def update_by_gradient(state: State, plan: Plan, penalty: float, sync: Any, thread: int) -> int:
    """Make one step of the optimizer by the gradient in `grad`.

    Parameters
    ----------
    state, plan : State, Plan
        See `tables`; the mode of `plan.run` is TRAIN. Overwrites params, slots, grad, work, `penalties` and `progress`.
    penalty : float
        Factor of the penalties, whose gradient is added to `grad`: 0 for none.
    sync, thread
        As for `train`.

    Returns
    -------
    int
        OK, WEIGHTS_NOT_FINITE or ABORTED.
    """
    control = flush_subnormals()
    status = run_update(by_reference(state), by_reference(plan), penalty, sync, thread)
    restore_control(control)
    return status
