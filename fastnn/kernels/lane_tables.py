"""Tables for V nets at once, one in each lane of every vector (V: lanes of a vector).

A *group* is V nets of one architecture. Each number of a net becomes a vector: weights (I, O, V), activations of some
rows (rows, O, V). Rows and layers need no padding, except that the features of a row are as many vectors as whole
blocks of V have. Numbers of the nets that differ (rates, seeds, counters) are records, one per lane; a population whose
number of nets is no multiple of V ends with lanes that are not alive.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.kernels.tables import Table


class LaneLayer:
    """One layer of all nets. Offsets and row strides count elements."""

    n_in: int  # I
    n_out: int  # O
    ld_in: int  # row stride of the input: I V, more for features
    bias: int  # offset of the bias (O, V) in a group's params, W (I, O, V) comes after it
    input: int  # offset of the layer's input in work (rows, I, V)
    output: int  # offset of the layer's output in work (rows, O, V)
    delta: int  # offset of dE/dZ in work (rows, O, V)
    preactivation: int  # offset of z, then f'(z), in work (rows, O, V); -1 where f' is computed from the output
    mask: int  # offset of dropout's factors of the input in work (rows, I, V), or -1; then `input` is a copy
    limits: int  # offset of the layer's numbers of each lane in `LanePlan.limits` of a group (N_LIMITS, V)
    activation: int  # id
    function: int  # addresses of custom functions: y = f(z), and
    derivative: int  # d = d f'(z); 0 for none
    has_bias: int  # 0 or 1
    trained: int  # 0 or 1
    penalized: int  # 0 or 1: whether l1 or l2 of any lane is not 0
    constrained: int  # 0 or 1: whether max_norm of the lanes is not 0
    alpha: float  # parameter of the activation


#: Numbers of a layer that differ from lane to lane: the rows of `LanePlan.limits`.
L1, L2, MAX_NORM, DROPOUT, N_LIMITS = 0, 1, 2, 3, 4


class Lane:
    """Settings and progress of the net in one lane."""

    seed: int  # of dropout
    order_seed: int  # of the order of the rows, and
    order_epoch: int  # the epoch that the run begins with
    steps_done: int  # updates since the slots were zero; overwritten
    finished: int  # epochs of the run that are finished; overwritten
    alive: int  # 0 once loss or weights were not finite, and for lanes without a net; overwritten
    rates: int  # row of `LanePlan.step_rates`; -1 for the constant rate
    learning_rate: float
    weight_decay: float
    clip_value: float  # upper limit of an element of the gradient; infinity for none
    clip_norm: float  # upper limit of the norm of the gradient; infinity for none
    ema_decay: float


#: Sums that a step adds up for each lane: rows of `LanePlan.sums`, and of `totals` and `epoch_totals`.
LOSS, WEIGHT, PENALTY, FIRST_METRIC, SECOND_METRIC, N_SUMS = 0, 1, 2, 3, 4, 5


class LaneLayout(NamedTuple):
    """Layout of the buffers; constant for an architecture and a batch size. Offsets and sizes count elements."""

    size: int  # of a group's params
    n_slots: int
    work_size: int  # of a buffer of work
    tile: int  # rows that pass through the net together
    first_trained: int  # lowest layer that is trained
    ema_slot: int  # slot of the running average of the parameters; -1 for none
    # Offsets in a buffer of work.
    zeros: int  # zeros, as many as the longest row has
    target: int  # targets of a tile (rows, O, V)
    weight: int  # weights of its rows (rows, V), divided by `norm`
    row: int  # features of one row of each lane (V, ld_row)
    ld_row: int
    norm: int  # what the gradient is divided by (V,)
    values: int  # sums over a tile (3, V)
    alive: int  # 1 or 0 (V,)
    gradient: int  # (size,)
    rates: int  # coefficients of the update (n, V)
    loss_parameters: int  # a number per output (O,)


class LaneRun(NamedTuple):
    """Settings of a run, which kernels read."""

    mode: int  # TRAIN or EVALUATE
    n_rows: int
    batch: int
    epoch_steps: int  # steps per epoch
    loss: int  # id
    loss_function: int  # address of a custom loss; 0 for none
    is_sum: bool  # whether the loss is a sum over rows, and no mean
    optimizer: int = 0  # id
    shuffle: bool = False  # whether each epoch has an order of its own
    clips_values: bool = False
    clips_norms: bool = False


class LaneState(NamedTuple):
    """The numbers of all nets, in flat arrays of their dtype."""

    params: NDArray[Any]  # (n_groups * size,)
    slots: NDArray[Any]  # (n_groups * n_slots * size,)
    work: NDArray[Any]  # (n_buffers * work_size,)


class LanePlan(NamedTuple):
    """Settings and small tables of a call."""

    layout: LaneLayout
    run: LaneRun
    first_group: int  # first group to be run
    end_group: int  # group to stop before
    n_steps: int  # maximum number of steps
    layers: Table[LaneLayer]  # (L,)
    lanes: Table[Lane]  # (n_groups * V,)
    progress: NDArray[np.int64]  # (n_groups,), overwritten: next step of the run
    limits: NDArray[Any]  # (n_groups * L * N_LIMITS * V,) of the nets' dtype
    metrics: NDArray[np.int64]  # (N_METRICS,) ids
    hyper: NDArray[np.float64]  # (n_groups * V, N_HYPER)
    scalars: NDArray[np.float64]  # (n_groups * V, N_SCALARS), overwritten
    step_rates: NDArray[np.float64]  # (rows, steps of the run): learning rates
    net_weights: NDArray[Any]  # (n_groups * V * n,): weights of rows of each lane; or (0,) for those of the data
    order: NDArray[np.int64]  # (n_buffers * V * n,), overwritten: the rows of an epoch; or (n,) without shuffling
    keys: NDArray[np.uint64]  # (n_buffers * V,), overwritten: of the random numbers of each lane
    sums: NDArray[np.float64]  # (n_buffers, N_SUMS, V), overwritten: of a batch
    totals: NDArray[np.float64]  # (N_SUMS, n_groups * V), added to; cleared at the end of each epoch
    epoch_totals: NDArray[np.float64]  # (N_SUMS, epochs of the run, n_groups * V), overwritten


