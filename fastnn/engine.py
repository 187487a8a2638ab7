"""The buffers of one net and the calls that run kernels over them.

Everything above speaks of layers, words and rows; everything below of offsets and codes. This is the border:
sizes become tables, arrays become arenas, and Python is left for some 50 ms at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.crew import Crew
from fastnn.custom import MachineCode
from fastnn.kernels import codes, layout
from fastnn.kernels.jit import JIT_DISABLED
from fastnn.kernels.layout import Data, Plan, State
from fastnn.kernels.noise import ROW_RANDOMS
from fastnn.kernels.predict import predict as predict_kernel
from fastnn.kernels.rng import shuffle
from fastnn.kernels.simd import CACHE_LINE, n_lanes
from fastnn.kernels.tile import TILE_ROWS
from fastnn.kernels.train import train as train_kernel
from fastnn.pace import MAX_EPOCHS, Pace
from fastnn.team import Team

#: Most elements of a weight tile: its gradient (128 KiB in single precision) stays in the second-level cache.
MAX_TILE_ELEMENTS = 32_768
#: Widest weight tile, in bytes of a row.
MAX_TILE_ROW_BYTES = 2_048
#: Tiles that the weights are cut into at least, where they are many enough: work for that many threads.
MIN_TILES = 16
#: Rows of a batch tile: activations and deltas of so many stay near, weights are read once for all of them.
MIN_BATCH_TILE, MAX_BATCH_TILE = 64, 128
BATCH_TILE_BYTES = 512 * 1024
#: Rows of a chunk at least, and bytes of activations that it may take beyond that.
MIN_CHUNK = 1024
#: Shards of a batch: at most so many, of at least so many rows.
MAX_SHARDS = 8
MIN_SHARD_ROWS = 256
CHUNK_BYTES = 1024 * 1024


#: Operations of a prediction from which on helpers join in if they are awake (some 5 us of one core), are woken (50),
#: and are waited for (200), for so many rounds of spinning (some 100 us).
WORK_FOR_A_HELPER, WORK_FOR_A_TEAM, WORK_TO_WAIT_FOR = 500_000, 5_000_000, 20_000_000
WAIT_FOR_HELPERS = 5_000
#: Operations after which the interpreter may look up (some 20 ms of one core).
WORK_OF_A_SLICE = 2_000_000_000
#: Predictions that follow each other within so many seconds are a series, for which helpers are kept awake.
SERIES = 0.001
#: Rows whose arithmetic takes as long as it takes to read the weights.
ROWS_OF_READING_WEIGHTS = 3


@dataclass(frozen=True)
class Architecture:
    """What the kernels need to know of a net.

    Parameters
    ----------
    sizes : (L + 1,) widths, the input's first
    activations : (L,) pairs of code and alpha
    use_bias : (L,)
    penalties : (L,) pairs l1, l2
    loss : code
    fused_output : whether the loss contains the last activation (softmax or sigmoid, from logits)
    dtype : float32 or float64
    loss_parameters : (O,) a number for each output, or one for all; see `kernels.losses`
    trained : (L,) whether the layer's weights change, or empty where all do
    max_norms : (L,) longest that the weights of one output may be, 0 for any length; or empty where none has a limit
    dropouts : (L,) share of a layer's inputs that a step leaves out; or empty where there is no dropout
    functions : (L,) machine code of the user's activation and its derivative, None for none; or empty
    loss_function : machine code of the user's loss, or None
    """

    sizes: tuple[int, ...]
    activations: tuple[tuple[int, float], ...]
    use_bias: tuple[bool, ...]
    penalties: tuple[tuple[float, float], ...]
    loss: int
    fused_output: bool
    dtype: np.dtype[Any]
    loss_parameters: tuple[float, ...] = (0.0,)
    trained: tuple[bool, ...] = ()
    max_norms: tuple[float, ...] = ()
    dropouts: tuple[float, ...] = ()
    functions: tuple[tuple[MachineCode, MachineCode] | None, ...] = ()
    loss_function: MachineCode | None = None

    @property
    def n_layers(self) -> int:
        """L, the number of weight matrices."""
        return len(self.sizes) - 1

    def trained_layers(self) -> list[int]:
        """Numbers of the layers whose weights change."""
        return [k for k in range(self.n_layers) if not self.trained or self.trained[k]]

    def narrow(self) -> list[bool]:
        """Whether W is stored by outputs; (L,)."""
        return [layout.is_narrow(*pair, self.dtype) for pair in pairwise(self.sizes)]

    def leading_dimensions(self) -> list[int]:
        """Row strides of the activations; (L + 1,)."""
        return [layout.leading_dimension(n, self.dtype) for n in self.sizes]

    def flops_per_row(self, *, training: bool) -> int:
        """Operations that one row needs: 2 a weight forward, 2 for dW, 2 for dX except in the first layer."""
        products = [a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return 6 * sum(products) - 2 * products[0] if training else 2 * sum(products)


def _address(code: MachineCode | None) -> int:
    """Where the machine code lies; 0 where there is none."""
    return 0 if code is None else code.address


def weight_tiles(architecture: Architecture) -> np.ndarray:
    """Cut all weights into tiles; (n_tiles, TILE_COLUMNS) int64. A function of the architecture alone.

    Tiles of layers that are not trained come last.
    """
    dtype = architecture.dtype
    v = n_lanes(dtype)
    lds = architecture.leading_dimensions()
    total = sum(
        n_out * ld_in if narrow else n_in * ld_out
        for narrow, (n_in, n_out), (ld_in, ld_out) in zip(
            architecture.narrow(), pairwise(architecture.sizes), pairwise(lds), strict=True
        )
    )
    elements = min(MAX_TILE_ELEMENTS, total // MIN_TILES)
    widest = MAX_TILE_ROW_BYTES // dtype.itemsize
    tiles = []
    for k, narrow in enumerate(architecture.narrow()):
        n_in, n_out = architecture.sizes[k : k + 2]
        height, width = (n_out, layout.padded(n_in, dtype)) if narrow else (n_in, layout.padded(n_out, dtype))
        bias = layout.padded(n_out, dtype)
        # A row that the gap after it completes to the stride is updated in one run with the next.
        columns = width if width <= widest else widest
        rows = max(v, elements // columns // v * v)
        for column in range(0, width, columns):
            column_end = min(column + columns, width)
            for row in range(0, height, rows):
                row_end = min(row + rows, n_out if narrow else layout.padded(n_in, dtype))
                with_bias = (0, bias if column == 0 else 0) if narrow else (column, column_end)
                tiles.append((k, row, row_end, column, column_end, *(with_bias if row == 0 else (0, 0))))
    trained = architecture.trained_layers()
    tiles.sort(key=lambda tile: tile[0] not in trained)  # keeps the order of those that are alike
    return np.array(tiles, np.int64).reshape(-1, layout.TILE_COLUMNS)


def shares(tiles: np.ndarray, n_threads: int) -> np.ndarray:
    """First tile of each thread, so that all have about as many weights; (n_threads + 1,) int64."""
    cost = (tiles[:, layout.T_ROW_END] - tiles[:, layout.T_ROW]) * (
        tiles[:, layout.T_COLUMN_END] - tiles[:, layout.T_COLUMN]
    )
    middle = np.cumsum(cost) - cost / 2
    bounds = np.searchsorted(middle, cost.sum() * np.arange(n_threads + 1) / n_threads)
    bounds[0], bounds[-1] = 0, len(tiles)
    return bounds.astype(np.int64)


def batch_tile_rows(rows: int, bytes_a_row: int, n_threads: int, multiple: int) -> int:
    """Rows of a batch tile: near the caches' size, and as many tiles as the threads can share evenly."""
    most = min(MAX_BATCH_TILE, max(MIN_BATCH_TILE, BATCH_TILE_BYTES // bytes_a_row))
    n_tiles = layout.round_up(-(-rows // most), n_threads)
    return layout.round_up(-(-rows // n_tiles), multiple)


class _Arena:
    """Counts out the offsets of one aligned array before it exists."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.end = 0

    def take(self, n: int) -> int:
        start = self.end
        self.end += layout.round_up(n, CACHE_LINE // self.dtype.itemsize)
        return start

    def zeros(self) -> np.ndarray:
        return layout.aligned_zeros(self.end, self.dtype)


def _layer_table(architecture: Architecture, *, training: bool) -> np.ndarray:
    table = np.zeros((architecture.n_layers, layout.LAYER_COLUMNS), np.int64)
    lds = architecture.leading_dimensions()
    offsets, _ = layout.param_offsets(architecture.sizes, architecture.dtype)
    for k in range(architecture.n_layers):
        table[k, layout.N_IN], table[k, layout.N_OUT] = architecture.sizes[k : k + 2]
        table[k, layout.LD_IN], table[k, layout.LD_OUT] = lds[k : k + 2]
        table[k, layout.W], table[k, layout.BIAS] = offsets[k]
        table[k, layout.WT] = table[k, layout.SUM] = table[k, layout.MASK] = -1
        functions = architecture.functions[k] if architecture.functions else None
        if functions is not None:
            table[k, layout.FUNCTION], table[k, layout.DERIVATIVE] = map(_address, functions)
        table[k, layout.ACTIVATION] = architecture.activations[k][0]
        table[k, layout.HAS_BIAS] = architecture.use_bias[k]
        table[k, layout.NARROW] = architecture.narrow()[k]
    if training and architecture.fused_output:
        table[-1, layout.ACTIVATION] = codes.IDENTITY
    return table


def _layer_numbers(architecture: Architecture) -> np.ndarray:
    numbers = np.zeros((architecture.n_layers, layout.LAYER_NUMBER_COLUMNS))
    for k in range(architecture.n_layers):
        numbers[k, layout.ALPHA] = architecture.activations[k][1]
        numbers[k, layout.L1], numbers[k, layout.L2] = architecture.penalties[k]
        if architecture.max_norms and k in architecture.trained_layers():
            numbers[k, layout.MAX_NORM] = architecture.max_norms[k]
        if architecture.dropouts:
            numbers[k, layout.DROPOUT] = architecture.dropouts[k]
    return numbers


def count_shards(architecture: Architecture, batch: int) -> int:
    """Parts that each batch is cut into, each with a gradient of its own; 0 where that does not pay.

    Without shards all threads share the rows of a batch, and then the weights: every activation is read by every
    thread, which is work for the caches if the net is small, and each row that is written next has to be taken
    back from them. A shard stays with one thread, from its rows to its gradient, and only gradients are exchanged.
    A function of the shapes alone, for the sum of the shards is rounded otherwise than that of the rows.
    """
    n_shards = min(MAX_SHARDS, batch // MIN_SHARD_ROWS)
    if n_shards < 2:
        return 0
    _, size = layout.param_offsets(architecture.sizes, architecture.dtype)
    activations = batch * 2 * sum(architecture.leading_dimensions())
    return n_shards if 2 * n_shards * size <= activations else 0


class Workspace:
    """What training or evaluating with one batch size needs: `work` and, for each number of threads, a Plan."""

    def __init__(
        self, architecture: Architecture, batch: int, n_threads: int, *, gradients: bool = True, shards: bool = True,
        dropout: bool = False,
    ) -> None:  # fmt: skip
        dtype = architecture.dtype
        lds = architecture.leading_dimensions()
        self.bytes_a_row = 2 * sum(lds) * dtype.itemsize
        self.batch = batch
        # Rows come in blocks of as many as a vector has lanes (see kernels.narrow).
        self.block = layout.round_up(TILE_ROWS, n_lanes(dtype))
        self.n_shards = count_shards(architecture, batch) if gradients and shards else 0
        self.shard_rows = layout.round_up(-(-batch // self.n_shards), self.block) if self.n_shards else 0
        if self.n_shards:
            self.chunk = min(self.shard_rows, MAX_BATCH_TILE)
            rows = n_threads * self.chunk
        else:
            self.chunk = min(batch, max(MIN_CHUNK, CHUNK_BYTES // self.bytes_a_row))
            rows = layout.round_up(self.chunk, self.block)
        self.layers = _layer_table(architecture, training=True)
        self.layer_numbers = _layer_numbers(architecture)
        self.loss_function = _address(architecture.loss_function)
        self.tiles = weight_tiles(architecture)
        self.numbers = np.zeros(layout.NUMBERS)
        self.epoch_sums = np.zeros((MAX_EPOCHS, layout.NUMBERS))
        trained = architecture.trained_layers()
        self.n_trained = int(np.isin(self.tiles[:, layout.T_LAYER], trained).sum())
        self.first_trained = min(trained, default=architecture.n_layers)
        self.penalties = np.zeros(len(self.tiles))
        self.squares = np.zeros(len(self.tiles))

        arena = _Arena(dtype)
        self.zeros = arena.take(max(lds))
        self.row_loss = arena.take(rows)
        self.metric_length = rows
        self.row_metric = arena.take(layout.N_METRICS * rows)
        self.target = arena.take(rows * lds[-1])
        self.loss_parameters = arena.take(lds[-1])
        inputs = [arena.take(rows * ld) for ld in lds]
        self.layers[:, layout.INPUT] = inputs[:-1]
        self.layers[:, layout.OUTPUT] = inputs[1:]
        self.layers[:, layout.DELTA] = [arena.take(rows * ld) for ld in lds[1:]]
        for k in range(architecture.n_layers):
            if gradients and self.layers[k, layout.ACTIVATION] in codes.NEEDS_INPUT:
                self.layers[k, layout.SUM] = arena.take(rows * lds[k + 1])
            if dropout and self.layer_numbers[k, layout.DROPOUT]:
                self.layers[k, layout.MASK] = arena.take(rows * lds[k])
                if k:  # the layer below keeps its own output for its derivative
                    self.layers[k, layout.INPUT] = arena.take(rows * lds[k])
        for k in range(1, architecture.n_layers):
            if architecture.narrow()[k]:
                continue
            n_out = layout.padded(architecture.sizes[k + 1], dtype)
            self.layers[k, layout.WT] = arena.take(n_out * lds[k])
        width = self.tiles[:, layout.T_COLUMN_END] - self.tiles[:, layout.T_COLUMN]
        height = self.tiles[:, layout.T_ROW_END] - self.tiles[:, layout.T_ROW]
        bias = self.tiles[:, layout.T_BIAS_END] - self.tiles[:, layout.T_BIAS]
        lanes = n_lanes(dtype)
        self.scratch_size = layout.round_up(
            max(int((height * width + bias).max()), 2 * lanes * lanes + lanes, ROW_RANDOMS, lds[-1]),
            CACHE_LINE // dtype.itemsize,
        )
        self.scratch = arena.take(n_threads * self.scratch_size)
        _, size = layout.param_offsets(architecture.sizes, dtype)
        self.shard_grad = arena.take(self.n_shards * size)
        self.shard_sums = np.zeros((self.n_shards, layout.SHARD_SUMS))
        self.work = arena.zeros()
        n_out = architecture.sizes[-1]
        self.work[self.loss_parameters : self.loss_parameters + n_out] = architecture.loss_parameters
        self.max_threads = n_threads
        self._plans: dict[int, Plan] = {}
        self._paces: dict[int, Pace] = {}

    def pace(self, n_threads: int) -> Pace:
        """What has been learnt of the speed of steps with at most so many threads."""
        if n_threads not in self._paces:
            self._paces[n_threads] = Pace(n_threads)
        return self._paces[n_threads]

    def plan(self, n_threads: int) -> Plan:
        """The tables for so many threads; arrays of settings are shared with the caller, who fills them."""
        if n_threads not in self._plans:
            settings = np.zeros(layout.SETTINGS, np.int64)
            settings[layout.BATCH] = self.batch
            settings[layout.CHUNK] = self.chunk
            sharing = 1 if self.n_shards else n_threads  # threads that share a chunk
            settings[layout.BATCH_TILE] = batch_tile_rows(self.chunk, self.bytes_a_row, sharing, self.block)
            settings[layout.N_THREADS] = n_threads
            settings[layout.ROW_LOSS] = self.row_loss
            settings[layout.ROW_METRIC] = self.row_metric
            settings[layout.METRIC_LENGTH] = self.metric_length
            settings[layout.ZEROS] = self.zeros
            settings[layout.TARGET] = self.target
            settings[layout.LOSS_PARAMETERS] = self.loss_parameters
            settings[layout.SCRATCH] = self.scratch
            settings[layout.SCRATCH_SIZE] = self.scratch_size
            settings[layout.MEAN_SLOT] = -1
            settings[layout.TRAINED_TILES] = self.n_trained
            settings[layout.FIRST_TRAINED] = self.first_trained
            settings[layout.LOSS_FUNCTION] = self.loss_function
            settings[layout.CONSTRAINED] = self.layer_numbers[:, layout.MAX_NORM].any()
            settings[layout.SHARDS] = self.n_shards
            settings[layout.SHARD_ROWS] = self.shard_rows
            settings[layout.SHARD_GRAD] = self.shard_grad
            self._plans[n_threads] = Plan(
                self.layers,
                self.layer_numbers,
                self.tiles,
                shares(self.tiles[: self.n_trained], n_threads),
                self.penalties,
                self.squares,
                self.shard_sums,
                settings,
                self.numbers,
                self.epoch_sums,
                NO_ORDER,
                NO_NUMBERS,
                NO_NUMBERS,
                NO_NUMBERS,
            )
        return self._plans[n_threads]


@dataclass(frozen=True)
class Shuffle:
    """The order of the rows in some epochs that follow each other.

    Parameters
    ----------
    order : (n,) int64, overwritten with a permutation at the beginning of each epoch
    seed : from which the permutations come
    epoch : number of the first epoch
    """

    order: np.ndarray
    seed: int
    epoch: int


NO_ORDER = np.empty(0, np.int64)
NO_NUMBERS = np.empty(0)


@dataclass(frozen=True, eq=False)
class RandomChanges:
    """How the rows of a batch are changed at random, in this order; see `kernels.noise`.

    Parameters
    ----------
    mixing : quantiles of the share that a row has in its mixture with another; (0,) for no mixture
    function : machine code of the user's function of a row (see `custom`); None for none
    noise : standard deviation of what is added to the features
    """

    mixing: np.ndarray = field(default_factory=lambda: NO_NUMBERS)
    function: MachineCode | None = None
    noise: float = 0.0


@dataclass
class Sums:
    """What a run of steps added up to.

    Attributes
    ----------
    loss : sum over rows of weight times loss
    weight : sum of the rows' weights
    metrics : for each metric the sum over rows of weight times metric
    penalty : sum over steps of R
    steps : steps run
    status : one of `layout`'s OK, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE
    """

    loss: float = 0.0
    weight: float = 0.0
    metrics: tuple[float, ...] = ()
    penalty: float = 0.0
    steps: int = 0
    status: int = layout.OK


def _n_rows(data: Data) -> int:
    """Rows that take part: those that an order names, or all."""
    return len(data.order) or len(data.features)


def _set_metrics(plan: Plan, metrics: tuple[int, ...]) -> None:
    plan.settings[layout.METRIC : layout.METRIC + layout.N_METRICS] = codes.NO_METRIC
    plan.settings[layout.METRIC : layout.METRIC + len(metrics)] = metrics


def _sums_of(numbers: np.ndarray, metrics: tuple[int, ...], steps: int) -> Sums:
    return Sums(
        loss=float(numbers[layout.LOSS_SUM]),
        weight=float(numbers[layout.WEIGHT_SUM]),
        metrics=_metric_sums(numbers, metrics),
        penalty=float(numbers[layout.PENALTY_SUM]),
        steps=steps,
    )


def _as_int64(seed: int) -> int:
    """The number of the same 64 bits that int64 can hold."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def _metric_sums(numbers: np.ndarray, metrics: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(float(x) for x in numbers[layout.METRIC_SUM : layout.METRIC_SUM + len(metrics)])


def _readonly(a: np.ndarray) -> np.ndarray:
    """View that may not be written: the kernels are compiled for such data, whatever the user's flags are."""
    view = a.view(np.ndarray)
    view.setflags(False)  # type: ignore[call-arg]  # by position, which takes 0.1 us less than by name
    return view


def as_data(
    features: np.ndarray,
    targets: np.ndarray,
    labels: np.ndarray,
    sample_weight: np.ndarray,
    order: np.ndarray | None = None,
) -> Data:
    """Bundle checked arrays for the kernels, without copying."""
    if order is None:
        order = np.empty(0, np.int64)
    return Data(*(_readonly(a) for a in (features, targets, labels, sample_weight, order)))


class Engine:
    """Parameters, optimizer slots and workspaces of one net.

    Attributes
    ----------
    params : (P,) weights and biases of all layers, padded; see `kernels.layout`
    slots : (n_slots, P); the last one is the running average of the parameters where there is such
    averaged : whether there is
    steps_done : updates made since the slots were zero
    moment_product : what NAdam remembers besides, see `kernels.optimizers`
    """

    def __init__(self, architecture: Architecture, n_slots: int, n_threads: int, *, averaged: bool = False) -> None:
        self.architecture = architecture
        self.n_threads = n_threads
        self.offsets, size = layout.param_offsets(architecture.sizes, architecture.dtype)
        self.params = layout.aligned_zeros(size, architecture.dtype)
        self._predictor: Predictor | None = None
        self.reset_slots(n_slots, averaged=averaged)
        self._grad = np.zeros(0, architecture.dtype)
        self._workspaces: dict[str, Workspace] = {}
        self._n_in = architecture.sizes[0]

    # ------------------------------------------------------------------------------------------- views

    def weights(self) -> list[np.ndarray]:
        """Views of the unpadded weights, (I, O) a layer."""
        return self._views(self.params)[0]

    def biases(self) -> list[np.ndarray]:
        """Views of the biases, (O,) a layer."""
        return self._views(self.params)[1]

    def _views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        weights, biases = [], []
        lds = self.architecture.leading_dimensions()
        for k, (w, bias) in enumerate(self.offsets):
            n_in, n_out = self.architecture.sizes[k : k + 2]
            if layout.is_narrow(n_in, n_out, self.architecture.dtype):
                weights.append(flat[w : w + n_out * lds[k]].reshape(n_out, lds[k])[:, :n_in].T)
            else:
                weights.append(flat[w : w + n_in * lds[k + 1]].reshape(n_in, lds[k + 1])[:, :n_out])
            biases.append(flat[bias : bias + n_out])
        return weights, biases

    def named_views(self) -> list[tuple[str, list[np.ndarray], list[np.ndarray]]]:
        """Views of all that training changes: the parameters and each slot, by name."""
        slots = [(f"slot_{k}", *self._views(slot)) for k, slot in enumerate(self.slots)]
        return [("params", *self._views(self.params)), *slots]

    def parameter_index(self) -> np.ndarray:
        """Where each weight and bias that is learnt lies in `params`; (P',) int64.

        Trained layer by trained layer, W (I, O) row by row and then b, which is left out where the layer has none.
        """
        weights, biases = self._views(np.arange(self.params.size))
        parts = [np.empty(0, np.int64)]
        for k in self.architecture.trained_layers():
            parts += [weights[k].ravel(), biases[k]] if self.architecture.use_bias[k] else [weights[k].ravel()]
        return np.concatenate(parts)

    def reset_slots(self, n_slots: int, *, averaged: bool = False) -> None:
        """Start the optimizer's memory anew, for another kind of optimizer, and with it the average."""
        self.averaged = averaged
        self.slots = self._new_slots(n_slots + averaged)
        self.steps_done = 0
        self.moment_product = 1.0
        self._predictor = None

    def _new_slots(self, n_slots: int) -> np.ndarray:
        size = self.params.size
        return layout.aligned_zeros(n_slots * size, self.architecture.dtype).reshape(n_slots, size)

    def set_averaged(self, averaged: bool) -> None:
        """Begin a running average of the parameters with what they are now, or drop it; the other slots stay."""
        if averaged == self.averaged:
            return
        kept = self.slots if averaged else self.slots[:-1]
        self.slots = self._new_slots(len(kept) + averaged)
        self.slots[: len(kept)] = kept
        if averaged:
            self.slots[-1] = self.params
        self.averaged = averaged
        self._predictor = None

    def set_trained(self, trained: tuple[bool, ...]) -> None:
        """Choose the layers whose weights change from now on."""
        self.architecture = replace(self.architecture, trained=trained)
        self._workspaces.clear()

    @property
    def final_params(self) -> np.ndarray:
        """What predictions are made with: the running average where there is one, else the parameters themselves."""
        return self.slots[-1] if self.averaged and self.steps_done else self.params

    def set_penalties(self, penalties: tuple[tuple[float, float], ...]) -> None:
        """Replace the factors l1 and l2 of each layer; (L,) pairs."""
        self.architecture = replace(self.architecture, penalties=penalties)
        for space in self._workspaces.values():
            space.layer_numbers[:] = _layer_numbers(self.architecture)

    def averages(self) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        """Copies of the running averages of weights and biases; None where there is no average."""
        if not self.averaged:
            return None
        weights, biases = self._views(self.final_params)
        return [w.copy() for w in weights], [b.copy() for b in biases]

    def snapshot(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the parameters and of what predictions are made with."""
        return self.params.copy(), self.final_params.copy()

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray]) -> None:
        """Go back to what `snapshot` gave, to the same predictions, whether there is an average by now or not."""
        params, final = snapshot
        self.params[:] = params if self.averaged else final
        if self.averaged:
            self.slots[-1] = final

    # ------------------------------------------------------------------------------------------ running

    def _workspace(self, purpose: str, batch: int, team: Team) -> Workspace:
        """The workspace for a purpose; only the last one of each is kept."""
        found = self._workspaces.get(purpose)
        if found is None or found.batch != batch or found.max_threads < team.n_threads:
            n_threads = max(self.n_threads, team.n_threads)
            found = Workspace(
                self.architecture, batch, n_threads, gradients=purpose != "evaluate", dropout=purpose == "train"
            )
            self._workspaces[purpose] = found
        return found

    def epochs_of_a_slice(self, n_rows: int, batch: int, team: Team) -> int:
        """Epochs that compiled code should run before Python looks up, as far as is known by now."""
        return self._workspace("train", batch, team).pace(team.n_threads).epochs(-(-n_rows // batch))

    def _gradient_buffer(self) -> np.ndarray:
        if self._grad.size != self.params.size:
            self._grad = layout.aligned_zeros(self.params.size, self.architecture.dtype)
        return self._grad

    def train_epoch(self, data: Data, **options: Any) -> Sums:
        """One pass over the data in the order that they come in; as `train_epochs`, whose last sums it returns."""
        return self.train_epochs(data, 1, [], **options)

    def train_epochs(
        self,
        data: Data,
        epochs: int,
        finished: list[tuple[Sums, float]],
        *,
        batch: int,
        optimizer: int,
        rates: tuple[float, float, float, float],
        metrics: tuple[int, ...],
        team: Team,
        shuffle: Shuffle | None = None,
        weight_decay: float = 0.0,
        clip_value: float = 0.0,
        clip_norm: float = 0.0,
        mean_decay: float = 0.0,
        seed: int = 0,
        changes: RandomChanges | None = None,
        step_rates: np.ndarray = NO_NUMBERS,
        step_losses: np.ndarray = NO_NUMBERS,
        pace: Pace | None = None,
        on_slice: Callable[[int, Sums], None] | None = None,
    ) -> Sums:
        """Passes over the data in mini-batches.

        Parameters
        ----------
        data : from `as_data`
        epochs : how many, at most MAX_EPOCHS
        finished : to it are added, for each epoch, its sums and seconds; also where an exception ends the run
        batch : rows a batch; the last one of an epoch may be shorter
        optimizer : code
        rates : learning rate and the optimizer's three settings
        metrics : codes, N_METRICS at most
        team : the threads
        shuffle : how each epoch's order is made, in the memory of `data.order`; None leaves that as it is
        weight_decay : what a step takes off the weights, in shares of the learning rate
        clip_value, clip_norm : largest size of an element of the gradient, and of all of it; 0 for any
        mean_decay : of the running average, where the engine has one
        seed : from which dropout and augmentation come; that of `shuffle`, where it is given
        changes : how features and targets are changed at random
        step_rates : (epochs * steps of an epoch,) float64, the learning rate of each step; or (0,) for that of `rates`
        step_losses : of the same shape, overwritten with the mean loss of each step's batch, without penalty; or (0,)
        pace : how to use the threads; by default what was learnt in epochs of the same batch size
        on_slice : called after each slice with the rows done of the epoch and the sums so far

        Returns
        -------
        Sums
            Those of the last epoch, with a status other than OK (and the epoch not finished) when training diverged.
        """
        n_rows = _n_rows(data)
        space = self._workspace("train", batch, team)
        grad = self._gradient_buffer() if batch > space.chunk or clip_norm else self._grad
        if self.averaged and not self.steps_done:
            self.slots[-1] = self.params
            self._predictor = None
        state = State(self.params, self.slots.reshape(-1), grad, space.work)
        sums = Sums()
        n_steps = -(-n_rows // batch)
        if pace is None:
            pace = space.pace(team.n_threads)
        numbers = space.numbers
        numbers[:] = 0.0
        space.penalties[:] = 0.0
        numbers[layout.LEARNING_RATE : layout.SETTING_2 + 1] = rates
        numbers[layout.WEIGHT_DECAY : layout.MEAN_DECAY + 1] = weight_decay, clip_value, clip_norm, mean_decay
        order = NO_ORDER if shuffle is None else shuffle.order
        change = RandomChanges() if changes is None else changes
        numbers[layout.NOISE] = change.noise
        step, done, seconds = 0, 0, 0.0
        while step < epochs * n_steps:
            numbers[layout.STEPS_DONE] = self.steps_done
            numbers[layout.MOMENT_PRODUCT] = self.moment_product
            n_threads, count = pace.next()
            plan = space.plan(n_threads)._replace(
                order=order, step_rates=step_rates, step_losses=step_losses, mixing=change.mixing
            )
            settings = plan.settings
            settings[layout.MODE] = layout.TRAIN
            settings[layout.MEAN_SLOT] = len(self.slots) - 1 if self.averaged else -1
            settings[layout.N_ROWS] = n_rows
            settings[layout.BEGIN] = step
            settings[layout.END] = min(step + count, epochs * n_steps)
            settings[layout.EPOCH_STEPS] = n_steps
            settings[layout.SHUFFLE] = shuffle is not None
            settings[layout.SEED] = _as_int64(seed if shuffle is None else shuffle.seed)
            if shuffle is not None:
                settings[layout.EPOCH] = shuffle.epoch
            settings[layout.ROW_FUNCTION] = _address(change.function)
            settings[layout.AUGMENT] = changes is not None
            settings[layout.LOSS] = self.architecture.loss
            settings[layout.OPTIMIZER] = optimizer
            _set_metrics(plan, metrics)
            start = time.perf_counter()
            try:
                sums.status = int(team.run(train_kernel, state, plan, data, n_threads=n_threads))
            finally:  # Ctrl-C may be noticed as soon as the kernel returns
                self.steps_done = int(numbers[layout.STEPS_DONE])
                self.moment_product = float(numbers[layout.MOMENT_PRODUCT])
                reached = int(settings[layout.BEGIN])
                seconds += time.perf_counter() - start
                n_new = reached // n_steps - done
                for row in space.epoch_sums[done : done + n_new]:
                    finished.append((_sums_of(row, metrics, n_steps), seconds / n_new))
                done += n_new
            pace.learn(n_threads, reached - step, time.perf_counter() - start)
            step = reached
            if n_new:
                seconds = 0.0
            status = sums.status
            at_end = step % n_steps == 0
            sums = finished[-1][0] if n_new and at_end else _sums_of(numbers, metrics, step % n_steps)
            sums.status = status
            if status != layout.OK:
                break
            if on_slice is not None:
                on_slice(n_rows if at_end else step % n_steps * batch, sums)
        return sums

    def evaluate(self, data: Data, *, metrics: tuple[int, ...], team: Team) -> Sums:
        """Losses and metrics of all rows, without a penalty."""
        return self._whole(data, layout.EVALUATE, metrics, team)

    def gradient(self, data: Data, *, team: Team) -> tuple[Sums, list[np.ndarray], list[np.ndarray]]:
        """Loss and gradient of all rows as one batch: sums, then dE/dW and dE/db of each layer (copies)."""
        sums, grad = self.flat_gradient(data, team=team)
        weights, biases = self._views(grad)
        trained = self.architecture.trained_layers()
        for k, used in enumerate(self.architecture.use_bias):
            if k not in trained:
                weights[k][:] = 0.0
            if k not in trained or not used:
                biases[k][:] = 0.0
        return sums, [w.copy() for w in weights], [b.copy() for b in biases]

    def flat_gradient(self, data: Data, *, team: Team, metrics: tuple[int, ...] = ()) -> tuple[Sums, np.ndarray]:
        """Loss, metrics and gradient of all rows as one batch: sums, and the gradient in the layout of `params`.

        The gradient is the engine's own array: the next call overwrites it, and biases that are not used hold what
        they would have.
        """
        grad = self._gradient_buffer()
        return self._whole(data, layout.GRADIENT, metrics, team), grad

    def _whole(self, data: Data, mode: int, metrics: tuple[int, ...], team: Team) -> Sums:
        n_rows = _n_rows(data)
        # Without a gradient no sum over the rows of a chunk is needed, so a small one serves.
        batch = min(n_rows, MIN_CHUNK) if mode == layout.EVALUATE else n_rows
        space = self._workspace("evaluate" if mode == layout.EVALUATE else "gradient", batch, team)
        params = self.final_params if mode == layout.EVALUATE else self.params
        state = State(params, self.slots.reshape(-1), self._grad, space.work)
        plan = space.plan(team.n_threads)
        space.numbers[:] = 0.0
        space.penalties[:] = 0.0
        plan.settings[layout.MODE] = mode
        plan.settings[layout.N_ROWS] = n_rows
        plan.settings[layout.BEGIN] = 0
        plan.settings[layout.END] = plan.settings[layout.EPOCH_STEPS] = -(-n_rows // batch)
        plan.settings[layout.LOSS] = self.architecture.loss
        _set_metrics(plan, metrics)
        status = int(team.run(train_kernel, state, plan, data))
        # The sums of an epoch that was finished, or of that part of it which was.
        n_steps = int(plan.settings[layout.END])
        steps = int(plan.settings[layout.BEGIN])
        sums = _sums_of(space.epoch_sums[0] if steps == n_steps else space.numbers, metrics, steps)
        sums.status = status
        return sums

    def can_read(self, X: Any) -> bool:
        """Whether the kernels can read `X` as it is: an array of the right kind, width and order, of some rows."""
        if type(X) is not np.ndarray or X.dtype != self.params.dtype or X.ndim != 2:
            return False
        n_rows, n_in = X.shape
        flags = X.flags
        return n_rows > 0 and n_in == self._n_in and flags.c_contiguous and flags.aligned

    def predict(self, features: np.ndarray, n_threads: int = 1) -> np.ndarray | None:
        """Outputs f(x) of all rows, (n, O); None where a feature is NaN or infinite."""
        predictor = self._predictor
        if predictor is None or predictor.n_threads < n_threads:
            predictor = self._predictor = Predictor(self.architecture, self.final_params, n_threads)
        return predictor(features)


class Predictor:
    """What predictions need: buffers, tables and a crew.

    Parameters
    ----------
    architecture : Architecture
    params : (P,)
    n_threads : most threads that work together
    """

    def __init__(self, architecture: Architecture, params: np.ndarray, n_threads: int) -> None:
        dtype = architecture.dtype
        lanes = n_lanes(dtype)
        lds = architecture.leading_dimensions()
        self.n_threads = n_threads
        table = _layer_table(architecture, training=False)
        block = layout.round_up(TILE_ROWS, lanes)
        tile_rows = batch_tile_rows(MAX_BATCH_TILE, 2 * max(lds) * dtype.itemsize, 1, block)
        arena = _Arena(dtype)
        arena.take(n_threads * lanes * lanes)  # scratch comes first
        buffers = [arena.take(n_threads * tile_rows * ld) for ld in lds]
        table[:, layout.INPUT] = buffers[:-1]
        table[:, layout.OUTPUT] = buffers[1:]
        self._net = (params, table, _layer_numbers(architecture), arena.zeros())
        self._tile_rows = tile_rows
        self._n_out = architecture.sizes[-1]
        self._dtype = dtype
        self._flops_of_a_row = architecture.flops_per_row(training=False)
        # A helper that came too late joins in at the next slice, and Ctrl-C is heard.
        self._slice_rows = layout.round_up(max(1, WORK_OF_A_SLICE // self._flops_of_a_row), tile_rows)
        net, none = self._net, (_readonly(np.empty((0, 0), dtype)), np.empty((0, 0), dtype))
        self._crew = Crew(
            n_threads - 1, lambda box, number: predict_kernel(*net, *none, tile_rows, box, n_threads - 1, number)
        )
        self._last = 0.0

    def __call__(self, features: np.ndarray) -> np.ndarray | None:
        """Outputs of the net; None where a feature is NaN or infinite.

        Small predictions are done by the calling thread, with no more Python than there must be.
        """
        n = len(features)
        outputs = np.empty((n, self._n_out), self._dtype)
        features = _readonly(features)
        if n <= self._slice_rows:
            return outputs if self._run(features, outputs, n) else None
        for first in range(0, n, self._slice_rows):
            part = slice(first, first + self._slice_rows)
            if not self._run(features[part], outputs[part], self._slice_rows):
                return None
        return outputs

    def _run(self, features: np.ndarray, outputs: np.ndarray, n: int) -> bool:
        helpers = 0
        work = self._flops_of_a_row * max(n, ROWS_OF_READING_WEIGHTS)
        if work >= WORK_FOR_A_HELPER and self.n_threads > 1 and not JIT_DISABLED:
            helpers = self.n_threads - 1
            self._call_crew(work)
        params, layers, numbers, buffers = self._net
        return predict_kernel(
            params, layers, numbers, buffers, features, outputs, self._tile_rows, self._crew.box, helpers, -1
        )

    def _call_crew(self, work: int) -> None:
        """Wake sleeping helpers for work that is worth it, or for what seems to become a series."""
        now = time.perf_counter()
        if self._crew.is_asleep():
            if work >= WORK_FOR_A_TEAM:
                self._crew.wake(WAIT_FOR_HELPERS if work >= WORK_TO_WAIT_FOR else 0)
            elif now - self._last < SERIES:
                self._crew.wake(0)
        self._last = now


def shuffled(order: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Fill `order` with the permutation of this seed and epoch, and return it."""
    shuffle(order, seed, epoch)
    return order
