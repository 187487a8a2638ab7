"""Where everything lies: padded sizes, the columns of the tables, aligned arenas.

Every matrix is row-major with rows padded to whole vectors (and one vector more where rows would fall on
each other in the cache). Padding is zero and stays zero. Three arenas hold all numbers of a net:

``params``  for each layer its bias row and then W (I rows, then zero rows to a whole vector of rows);
            W^T (O rows) for a narrow layer, whose few columns would leave most lanes of W empty
``slots``   the optimizer's memory, one array of the layout of ``params`` a slot
``work``    what a batch needs: activations, deltas, transposed weights, scratch (see `engine`)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.lang.simd import CACHE_LINE, n_lanes

# Columns of the table of layers, `Plan.layers` (int64, a row a layer). Offsets count elements.
N_IN = 0  # I
N_OUT = 1  # O
LD_IN = 2  # row stride of the layer's input and of W^T
LD_OUT = 3  # row stride of W, of the layer's output and of its deltas
W = 4  # W in params (I, LD_OUT), or W^T of a narrow layer (O, LD_IN)
BIAS = 5  # bias row in params
WT = 6  # W^T in work (O padded to vectors, LD_IN); -1 for narrow layers and the first, whose dX is never needed
INPUT = 7  # the layer's input in work (chunk rows, LD_IN)
OUTPUT = 8  # the layer's output in work (chunk rows, LD_OUT)
DELTA = 9  # dE/dZ in work (chunk rows, LD_OUT)
ACTIVATION = 10  # code
HAS_BIAS = 11  # 0 or 1
NARROW = 12  # 0 or 1
SUM = 13  # the sums z in work (chunk rows, LD_OUT), where the activation's derivative needs them; else -1
MASK = 14  # factors of dropout on the layer's input, in work (chunk rows, LD_IN), or -1; then INPUT is a copy
FUNCTION = 15  # addresses of the user's functions: y = f(z), and
DERIVATIVE = 16  # d = d f'(z)
LAYER_COLUMNS = 17

# Columns of `Plan.layer_numbers` (float64, a row a layer).
ALPHA = 0  # parameter of the activation
L1 = 1  # weight of the penalty sum |w|
L2 = 2  # weight of the penalty sum w^2
MAX_NORM = 3  # longest that the weights of one output may be; 0 for any length
DROPOUT = 4  # share of the layer's inputs that a step leaves out
LAYER_NUMBER_COLUMNS = 5

# Columns of the table of weight tiles, `Plan.tiles` (int64, a row a tile): rows and columns of one layer's W as it
# is stored, and the part of its bias that goes with them.
T_LAYER = 0
T_ROW = 1
T_ROW_END = 2
T_COLUMN = 3
T_COLUMN_END = 4
T_BIAS = 5
T_BIAS_END = 6
TILE_COLUMNS = 7

# Entries of `Plan.settings` (int64).
MODE = 0
N_ROWS = 1  # rows of the data that take part
BATCH = 2
CHUNK = 3  # rows of a batch (of each thread's shard, where it is cut) that `work` holds at once
BATCH_TILE = 4  # rows of a batch tile
BEGIN = 5  # first step to run, counted over the epochs of the run; overwritten by the step that comes next
END = 6  # step to stop before
LOSS = 7
OPTIMIZER = 8
N_THREADS = 9
ROW_LOSS = 10  # in work: the loss of each row (chunk)
ROW_METRIC = 11  # in work: the metrics of each row (N_METRICS, METRIC_LENGTH)
ZEROS = 12  # in work: a row of zeros, as long as the longest row
TARGET = 13  # in work: targets of the chunk, row stride LD_OUT of the last layer
SCRATCH = 14  # in work: a gradient tile a thread
SCRATCH_SIZE = 15
SHARDS = 16  # parts that a batch is cut into; 0 where it is not
SHARD_ROWS = 17
SHARD_GRAD = 18  # in work: a gradient a shard (SHARDS, P)
METRIC_LENGTH = 19  # room for the rows of one metric
LOSS_PARAMETERS = 20  # in work: a number for each output, see losses (LD_OUT of the last layer)
EPOCH_STEPS = 21  # steps an epoch
EPOCH = 22  # number of the run's first epoch, and
SEED = 23  # the seed, from which dropout comes and augmentation, and each epoch's order
SHUFFLE = 24  # if this is 1
TRAINED_TILES = 25  # so many tiles are trained; those of frozen layers come after them
FIRST_TRAINED = 26  # lowest layer that is trained
EMA_SLOT = 27  # slot of the running average of the parameters; -1 for none
CONSTRAINED = 28  # 1 if any layer has a MAX_NORM
LOSS_FUNCTION = 29  # address of the user's loss
ROW_FUNCTION = 30  # address of the user's function that changes a row of features; 0 for none
AUGMENT = 31  # 1 if rows are changed at random
METRIC = 32  # and the N_METRICS - 1 after it
N_METRICS = 2
SETTINGS = METRIC + N_METRICS

# Modes.
TRAIN = 0
GRADIENT = 1  # leave the gradient of one batch in `grad`, touch no weight
EVALUATE = 2  # losses and metrics alone

# Entries of `Plan.numbers` (float64).
LEARNING_RATE = 0
WEIGHT_DECAY = 1
CLIP_VALUE = 2  # largest size of an element of the gradient; 0 for any
CLIP_NORM = 3  # largest length of the whole gradient; 0 for any
EMA_DECAY = 4  # of the running average of the parameters
NOISE = 5  # standard deviation of what is added to the features; 0 for nothing
STEPS_DONE = 6  # updates made so far; read and advanced
LOSS_SUM = 7  # the sums below are added to; at the end of an epoch they go to `epoch_sums` and begin anew
WEIGHT_SUM = 8
PENALTY_SUM = 9  # one penalty R a step
METRIC_SUM = 10  # and the N_METRICS - 1 after it
NUMBERS = METRIC_SUM + N_METRICS

# Columns of `Plan.shard_sums`: a cache line a shard.
SHARD_LOSS = 0
SHARD_METRIC = 1  # and the N_METRICS - 1 after it
SHARD_SUMS = 8

# What `train` returns.
OK = 0
LOSS_NOT_FINITE = 1  # the weights are those before the step
WEIGHTS_NOT_FINITE = 2  # weights that would have become infinite or NaN kept their value
ABORTED = 3


class State(NamedTuple):
    """The numbers of a net, in flat arrays of its dtype."""

    params: Any  # (P,) weights and biases
    slots: Any  # (n_slots * P,)
    grad: Any  # (P,) or (0,)
    work: Any


class Plan(NamedTuple):
    """What to do with them, in small tables."""

    layers: Any  # (L, LAYER_COLUMNS) int64
    layer_numbers: Any  # (L, LAYER_NUMBER_COLUMNS) float64
    tiles: Any  # (n_tiles, TILE_COLUMNS) int64
    shares: Any  # (n_threads + 1,) int64: tiles shares[t] to shares[t + 1] are thread t's
    penalties: Any  # (n_tiles,) float64, overwritten
    squares: Any  # (n_tiles,) float64, overwritten: sums of squares of the gradient
    shard_sums: Any  # (SHARDS, SHARD_SUMS) float64, overwritten
    settings: Any  # (SETTINGS,) int64
    numbers: Any  # (NUMBERS,) float64
    epoch_sums: Any  # (epochs of a run, NUMBERS) float64, overwritten
    order: Any  # (n,) int64, overwritten by the order of each epoch: the memory of `Data.order`; or (0,)
    step_rates: Any  # (steps of a run,) float64: the learning rate of each; or (0,) where it is that of `numbers`
    step_losses: Any  # (steps of a run,) float64, overwritten: mean loss of each batch, without penalty; or (0,)
    hyper: Any  # (dispatch.N_HYPER,) float64: the optimizer's hyperparameters, then zeros
    scalars: Any  # (dispatch.N_SCALARS,) float64: the optimizer's own numbers; read and advanced
    mixing: Any  # float64: quantiles of the share that a row has in its mixture with another; or (0,) for no mixture


class Data(NamedTuple):
    """What is learnt from; read-only."""

    features: Any  # (n, I) of the net's dtype, C-contiguous
    targets: Any  # (n, O) of the net's dtype, or (0, O) where there are labels
    labels: Any  # (n,) int64, or (0,)
    sample_weight: Any  # (n,) of the net's dtype, or (0,)
    order: Any  # int64: the row at each place, of some or all rows; or (0,) for all rows as they lie


def round_up(n: int, multiple: int) -> int:
    """Smallest multiple of `multiple` that is not below `n`."""
    return -(-n // multiple) * multiple


def padded(n: int, dtype: Any) -> int:
    """Row length of n elements in whole vectors."""
    return round_up(n, n_lanes(dtype))


def leading_dimension(n: int, dtype: Any) -> int:
    """Row stride of a matrix of n columns: whole vectors, and one more where rows would share cache sets.

    A first-level cache picks the set by address bits 6 to 11, so rows at a stride of a multiple of 1 KiB use
    a quarter of the sets or fewer (measured in float32, 128x2048x2048: 159 without, 217 GFLOP/s with).
    """
    length = padded(n, dtype)
    return length + n_lanes(dtype) if length * np.dtype(dtype).itemsize % 1024 == 0 else length


def aligned_zeros(n: int, dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line; shape (n,)."""
    itemsize = np.dtype(dtype).itemsize
    room = CACHE_LINE // itemsize
    whole = np.zeros(n + room, dtype)
    start = -whole.ctypes.data % CACHE_LINE // itemsize
    return whole[start : start + n]


def is_narrow(n_in: int, n_out: int, dtype: Any) -> bool:
    """Whether a layer of so many inputs and outputs is cheaper with W stored by outputs.

    Counted are vector instructions a row, forward and for dW. By inputs each takes I of them, mostly empty
    lanes. By outputs each is a dot product of I / V vectors (two instructions each, and some 6 to add up the
    lanes) forward, and I / V for dW.
    """
    v = n_lanes(dtype)
    vectors = padded(n_in, dtype) // v
    return n_out <= v // 2 and n_out * (3 * vectors + 6) < 2 * n_in


def param_offsets(sizes: tuple[int, ...], dtype: Any) -> tuple[list[tuple[int, int]], int]:
    """For each layer the offsets of W and of its bias row in `params`, and the length of `params`."""
    offsets, end = [], 0
    for n_in, n_out in pairwise(sizes):
        ld = leading_dimension(n_out, dtype)
        narrow = is_narrow(n_in, n_out, dtype)
        offsets.append((end + ld, end))
        end += ld + (n_out * leading_dimension(n_in, dtype) if narrow else padded(n_in, dtype) * ld)
    return offsets, end
