"""Tables that the kernels read and write, padded sizes, aligned arenas.

Every matrix is row-major with rows padded to whole vectors (and one vector more where rows would fall on
each other in the cache). Padding is zero and stays zero. Three arenas hold all numbers of a net:

``params``  for each layer its bias row and then W (I rows, then zero rows to a whole vector of rows);
            W^T (O rows) for a narrow layer, whose few columns would leave most lanes of W empty
``slots``   the optimizer's state: one array of the layout of ``params`` per slot
``work``    buffers of a batch: activations, deltas, transposed weights, scratch (see `Workspace`)

A table is an array of records. A record is declared once, as a class of annotated fields (`Layer`, `Tile`, ...), from
which its NumPy type is made; kernels write `plan.layers[k].n_in`, Python writes `table["n_in"]`. So a field of another
table is an error: of mypy, of Numba's typing, and of Python. Settings that a kernel only reads are the fields of two
NamedTuples, `Layout` and `Run`; what it writes is in tables of their own, `Progress` and `Totals`.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.lang.simd import CACHE_LINE, n_lanes

Row = TypeVar("Row", covariant=True)


class Table(Protocol[Row]):
    """One-dimensional array of records."""

    @property
    def size(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, index: int, /) -> Row:
        """Return the record at `index`, through which the table can be written to."""
        ...

    def __setitem__(self, index: int, record: Any, /) -> None:
        """Overwrite a record."""
        ...


class Layer:
    """One layer of the net. Offsets and row strides count elements."""

    n_in: int  # I
    n_out: int  # O
    ld_in: int  # row stride of the layer's input and of W^T
    ld_out: int  # row stride of W, of the layer's output and of its deltas
    w: int  # offset of W in params (I, ld_out), or of W^T of a narrow layer (O, ld_in)
    bias: int  # offset of the bias row in params
    # Offset of W^T in work (O padded to vectors, ld_in); -1 if narrow, and for the first layer where no dX is needed.
    wt: int
    input: int  # offset of the layer's input in work (chunk rows, ld_in)
    output: int  # offset of the layer's output in work (chunk rows, ld_out)
    delta: int  # offset of dE/dZ in work (chunk rows, ld_out)
    activation: int  # id
    has_bias: int  # 0 or 1
    narrow: int  # 0 or 1
    preactivation: int  # offset of z, then f'(z), in work (chunk rows, ld_out); -1 where f' is computed from the output
    mask: int  # offset of dropout's factors of the input in work (chunk rows, ld_in), or -1; then `input` is a copy
    function: int  # addresses of custom functions: y = f(z), and
    derivative: int  # d = d f'(z); 0 for none
    alpha: float  # parameter of the activation
    # Copies rounded to bfloat16: offsets and row strides in elements of `State.rounded`; -1 for what is not needed.
    # Along a sum an element of words has two numbers, so there are half as many (see `lang.simd.bfloat16`).
    ld_rounded_in: int  # row stride of the input for sums over columns, and of W^T of a narrow layer
    ld_rounded_out: int  # row stride of the deltas for sums over columns
    rounded_w: int  # W, for a sum over rows (I, ld_out); W^T of a narrow layer, for one over columns (O, ld_rounded_in)
    rounded_wt: int  # W^T, for a sum over rows (O, ld_in)
    rounded_input: int  # the input, for a sum over columns (chunk rows, ld_rounded_in)
    rounded_input_rows: int  # the input, for a sum over rows (chunk rows, ld_in)
    rounded_delta: int  # dE/dZ, for a sum over columns (chunk rows, ld_rounded_out)
    rounded_delta_rows: int  # dE/dZ, for a sum over rows (chunk rows, ld_out)
    l1: float  # factor of the penalty sum |w|
    l2: float  # factor of the penalty sum w^2
    max_norm: float  # upper limit of the norm of the weights into one unit; 0 for none
    dropout: float  # probability that an input is set to 0 in a training step


class Tile:
    """A block of one layer's W as it is stored, and the part of the bias row that is updated with it."""

    layer: int  # number of the layer
    row: int  # first row in W, and
    rows: int  # number of rows
    padded_rows: int  # number of rows with those of padding, for the transposition in whole blocks
    column: int  # first column in W, and
    columns: int  # number of columns
    ld: int  # row stride of W
    offset: int  # of the block in params
    bias: int  # first column of the part of the bias row, and
    n_bias: int  # number of elements; may be 0
    bias_offset: int  # of that part in params


class Adversary:
    """How the rows of a batch are moved against the net before each step of training; see `nn.adversary`."""

    steps: int  # passes through the net that move the rows, before the one that trains
    start: float  # each feature begins at random at most this far from the row
    eps: float  # and ends at most this far from it
    eps_step: float  # size of a move
    ratio: float  # share of the rows that are moved
    low: float  # lower and
    high: float  # upper limit of a moved feature


class Progress:
    """Progress of a run. Each thread reads it when a kernel begins; thread 0 overwrites it at the end."""

    step: int  # next step, counted over the epochs of the run
    steps_done: int  # updates made since the optimizer's slots were zero


class Totals:
    """Sums over rows (of a shard, of the steps of an epoch); fills a cache line of its own."""

    loss: float  # sum of weight times loss
    weight: float  # sum of the rows' weights
    penalty: float  # sum of R over the steps
    first_metric: float  # sum of weight times metric
    second_metric: float


#: Maximum number of metrics of a run.
N_METRICS = 2

#: Entries of `Plan.meetings` per thread: a cache line.
MEETING_STRIDE = CACHE_LINE // 8

# Modes.
TRAIN = 0
GRADIENT = 1  # compute the gradient of one batch in `grad`; weights are only read
EVALUATE = 2  # compute losses and metrics

# Status that `train` returns.
OK = 0
LOSS_NOT_FINITE = 1  # the weights are those before the step
WEIGHTS_NOT_FINITE = 2  # weights that would have become infinite or NaN are unchanged
ABORTED = 3

#: Upper limit of the factor of penalties, see `Run.penalty_weight`.
MAX_PENALTY_FACTOR = 1000.0


class Layout(NamedTuple):
    """Layout of a workspace and partition of the work; constant for a batch size and a number of threads."""

    n_threads: int
    batch: int  # rows per batch
    chunk: int  # rows of a batch (of each thread's shard, if it is cut) that `work` holds at once
    batch_tile: int  # rows per batch tile
    shards: int  # parts that a batch is cut into; 0 if it is not
    shard_rows: int
    trained_tiles: int  # number of tiles that are trained; those of frozen layers come after them
    first_trained: int  # lowest layer that is trained
    constrained: bool  # whether any layer has a max_norm
    loss_function: int  # address of a custom loss; 0 for none
    # Offsets in work.
    zeros: int  # a row of zeros, as long as the longest row
    row_loss: int  # the loss of each row (chunk,)
    row_metric: int  # the metrics of each row (N_METRICS, metric_length)
    metric_length: int
    target: int  # targets of the chunk, row stride ld_out of the last layer
    loss_parameters: int  # a number per output, see `losses` (ld_out of the last layer,)
    scratch: int  # a gradient tile per thread (n_threads, scratch_size)
    scratch_size: int
    shard_grad: int  # a gradient per shard (shards, P)
    # For steps with an adversary, row stride ld_in of the first layer:
    input_delta: int  # dE/dX of the chunk
    moves: int  # what was added to its features


class Run(NamedTuple):
    """Settings of a run, which kernels read."""

    mode: int  # TRAIN, GRADIENT or EVALUATE
    n_rows: int  # rows of the data that take part
    epoch_steps: int  # steps per epoch
    loss: int  # id
    optimizer: int = 0  # id
    learning_rate: float = 0.0
    weight_decay: float = 0.0
    clip_value: float = 0.0  # upper limit of the size of an element of the gradient; 0 for none
    clip_norm: float = 0.0  # upper limit of the norm of the whole gradient; 0 for none
    ema_slot: int = -1  # slot of the running average of the parameters; -1 for none
    ema_decay: float = 0.0
    seed: int = 0  # of dropout, augmentation, and the order of rows of each epoch
    shuffle: bool = False  # whether each epoch has an order of its own
    epoch: int = 0  # number of the run's first epoch
    augment: bool = False  # whether rows are changed at random
    row_function: int = 0  # address of a custom function that changes a row of features; 0 for none
    noise: float = 0.0  # standard deviation of what is added to the features
    # Sum of the weights of a batch for which the penalties are as in `layers`; those of other batches are multiplied by
    # this over their sum, at most by MAX_PENALTY_FACTOR. 0 for the same penalties of all batches.
    penalty_weight: float = 0.0


class State(NamedTuple):
    """The numbers of a net, in flat arrays of its dtype."""

    params: NDArray[Any]  # (P,) weights and biases
    slots: NDArray[Any]  # (n_slots * P,)
    grad: NDArray[Any]  # (P,) or (0,)
    work: NDArray[Any]
    # In mixed precision what products read, as words (uint32) or float32; each kind is a type to the compiler.
    rounded: NDArray[Any] | None = None


class Plan(NamedTuple):
    """Settings and small tables of a call of `train`."""

    layout: Layout
    run: Run
    end_step: int  # step to stop before
    layers: Table[Layer]  # (L,)
    tiles: Table[Tile]  # (n_tiles,)
    tile_ranges: NDArray[np.int64]  # (n_threads + 1,): tiles tile_ranges[t] to tile_ranges[t + 1] are thread t's
    metrics: NDArray[np.int64]  # (N_METRICS,) ids
    progress: Table[Progress]  # (1,), overwritten
    totals: Table[Totals]  # (1,), added to; cleared at the end of each epoch
    epoch_totals: Table[Totals]  # (epochs of a run,), overwritten
    shard_totals: Table[Totals]  # (shards,), overwritten
    meetings: NDArray[np.int64]  # (n_threads * MEETING_STRIDE,), overwritten: barriers that each thread has come to
    penalties: NDArray[np.float64]  # (n_tiles,), overwritten
    squares: NDArray[np.float64]  # (n_tiles,), overwritten: sums of squares of the gradient
    order: NDArray[np.int64]  # (n,), overwritten by the order of each epoch: the memory of `Data.order`; or (0,)
    step_rates: NDArray[np.float64]  # (steps of a run,): the learning rate of each; or (0,) for that of `run`
    step_losses: NDArray[np.float64]  # (steps of a run,), overwritten: mean loss of each batch, no penalty; or (0,)
    step_penalties: NDArray[np.float64]  # likewise: the penalty of each step
    hyper: NDArray[np.float64]  # (dispatch.N_HYPER,): the optimizer's hyperparameters, then zeros
    scalars: NDArray[np.float64]  # (dispatch.N_SCALARS,), overwritten: numbers that the optimizer keeps between steps
    mixing: NDArray[np.float64]  # quantiles of the share that a row has in its mixture with another; (0,) for none
    adversary: Table[Adversary]  # (1,); (0,) for none


class Data(NamedTuple):
    """Rows for training or evaluation; read-only."""

    features: NDArray[Any]  # (n, I) of the net's dtype, C-contiguous
    targets: NDArray[Any]  # (n, O) of the net's dtype, or (0, O) where there are labels
    labels: NDArray[np.int64]  # (n,), or (0,)
    sample_weight: NDArray[Any]  # (n,) of the net's dtype, or (0,)
    order: NDArray[np.int64]  # the row at each place, of some or all rows; or (0,) for all rows in their order


@functools.cache  # at each call Numba compares dtypes, which takes 1 us per table unless they are one object
def record_dtype(row: type) -> np.dtype[Any]:
    """Return the NumPy type of a record: int64 and float64 fields by annotation; `Totals` fill whole cache lines."""
    fields = {name: {int: np.int64, float: np.float64}[kind] for name, kind in get_type_hints(row).items()}
    size = 8 * len(fields)
    return np.dtype(
        {
            "names": list(fields),
            "formats": list(fields.values()),
            "offsets": list(range(0, size, 8)),
            "itemsize": round_up(size, CACHE_LINE) if row is Totals else size,
        },
        align=True,
    )


def new_table(row: type, n: int) -> np.ndarray:
    """Return n records of zeros.

    In Python mode the fields of its records are attributes, too, as they are in compiled code.
    """
    table = np.zeros(n, record_dtype(row))
    return table.view(np.recarray) if JIT_DISABLED else table


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `n`."""
    return -(-n // multiple) * multiple


def padded(n: int, dtype: Any) -> int:
    """Return the row length of n elements in whole vectors."""
    return round_up(n, n_lanes(dtype))


#: Cache lines from which on rows of a matrix are whole panels.
MIN_LINES_OF_PANELS = 4


def leading_dimension(n: int, dtype: Any) -> int:
    """Return the row stride of a matrix of n columns: whole vectors, or whole panels of `linalg.gemm`, or one more.

    A panel is two vectors wide. Where both fit into a cache line, rows of an odd number of vectors would put every
    second row of it into two lines (AVX2, float32: predictions of 784-1024-1024-10 take a tenth longer).

    A first-level cache picks the set by address bits 6 to 11, so rows at a stride of a multiple of 1 KiB use
    a quarter of the sets or fewer (measured in float32, 128x2048x2048: 159 without, 217 GFLOP/s with).
    """
    line = CACHE_LINE // np.dtype(dtype).itemsize
    panel = max(n_lanes(dtype), min(2 * n_lanes(dtype), line))
    length = round_up(n, panel) if n >= MIN_LINES_OF_PANELS * line else padded(n, dtype)
    return length + panel if length % (1024 // CACHE_LINE * line) == 0 else length


def aligned_zeros(n: int, dtype: Any) -> np.ndarray:
    """Return zeros that start on a cache line; shape (n,)."""
    itemsize = np.dtype(dtype).itemsize
    room = CACHE_LINE // itemsize
    whole = np.zeros(n + room, dtype)
    start = -whole.ctypes.data % CACHE_LINE // itemsize
    return whole[start : start + n]


def is_narrow(n_in: int, n_out: int, dtype: Any) -> bool:
    """Return whether a layer is faster with W stored by outputs.

    The estimate counts vector instructions per row, forward and for dW. By inputs each takes I of them, mostly empty
    lanes. By outputs each is a dot product of I / V vectors (two instructions each, and about 6 to sum the
    lanes) forward, and I / V for dW.
    """
    v = n_lanes(dtype)
    vectors = padded(n_in, dtype) // v
    return n_out <= v // 2 and n_out * (3 * vectors + 6) < 2 * n_in


def param_offsets(sizes: tuple[int, ...], dtype: Any) -> tuple[list[tuple[int, int]], int]:
    """Return for each layer the offsets of W and of its bias row in `params`, and the length of `params`."""
    offsets, end = [], 0
    for n_in, n_out in pairwise(sizes):
        ld = leading_dimension(n_out, dtype)
        narrow = is_narrow(n_in, n_out, dtype)
        offsets.append((end + ld, end))
        end += ld + (n_out * leading_dimension(n_in, dtype) if narrow else padded(n_in, dtype) * ld)
    return offsets, end
