"""Inference: the forward pass alone, by one thread or by several that share rows or columns.

A small prediction takes no longer than starting a thread. So worker threads ("helpers") stay in compiled code for about
200 us after each prediction and poll a mailbox (an array of int64) to which the calling thread writes the arguments:
they start 0.1 us later, without the interpreter. An idle helper sleeps (see `fastnn._engine.inference_workers`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastnn.kernels.lang.atomics import atomic_load, atomic_store, compare_and_swap, cpu_pause, yield_cpu
from fastnn.kernels.lang.barrier import SPINS, SYNC_SIZE, barrier
from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import address, at, lanes, pointer_to
from fastnn.kernels.linalg.gemm import FETCH_DEPTH, gemm
from fastnn.kernels.linalg.microkernel import Stream, nothing, tile_rows
from fastnn.kernels.linalg.rounding import round_pairs_of_rows, round_row
from fastnn.kernels.loop.addressing import elements, share_of_rows, whole_vectors
from fastnn.kernels.loop.forward_backward import copy_row, forward, forward_layer, round_input
from fastnn.kernels.maths.isfinite import is_finite_run
from fastnn.kernels.nn.dispatch import activate, is_zero_at_zero, works_on_rows
from fastnn.kernels.nn.softmax import clear_padding
from fastnn.kernels.tables import Layer, Table

#: Vectors of columns that a thread computes together when columns are shared.
RUN = 4
#: Rows of a prediction in mixed precision up to which W is rounded block by block instead of as a whole.
MOST_FEW = 32
#: Block of W that is rounded at once then: rows, whose words are enough for tiles with prefetching, and vectors of
#: columns.
BLOCK_DEPTH, BLOCK_WIDTH = 2 * FETCH_DEPTH, 4

# Entries of the mailbox; it begins with the counters of a barrier.
FEATURES = SYNC_SIZE  # addresses of the arrays, and their number of rows
OUTPUTS = SYNC_SIZE + 1
ROWS = SYNC_SIZE + 2
WAIT = SYNC_SIZE + 3  # rounds that the caller waits for helpers that are starting
PATIENCE = SYNC_SIZE + 4  # rounds for which a helper polls the mailbox before it sleeps
STALE = SYNC_SIZE + 5  # not 0: the parameters may have changed since they were rounded
HELPERS = SYNC_SIZE + 8  # a cache line per helper:
STATE = 0
RANK = 1  # number in the team of this prediction, from 1
TEAM = 2  # size of that team
FINITE = 3  # whether the helper's share of the features is finite
HELPER_SIZE = 8

# States of a helper.
ASLEEP = 0
WAKING = 1
READY = 2
TAKEN = 3
GO = 4

# Results of a prediction.
FEATURES_NOT_FINITE = 0
FINITE_OUTPUTS = 1
OUTPUTS_NOT_FINITE = 2


class Net(NamedTuple):
    """Arrays of a prediction besides features and outputs."""

    params: NDArray[Any]  # (P,)
    rounded: NDArray[Any] | None  # as in State; begins with two blocks (BLOCK_DEPTH, BLOCK_WIDTH vectors) per thread
    layers: Table[Layer]  # (L,)
    work: NDArray[Any]  # a (V, V) block of scratch per thread, then buffers of `tile_rows` rows per thread
    tile_rows: int  # whole vectors


@device_function
def forward_rows(net: Net, features: Pointer, outputs: Pointer, n: int, n_threads: int, thread: int) -> bool:
    """Overwrite the thread's share of the rows of `outputs`; return whether its features are finite."""
    first = net.layers[0]
    last = net.layers[net.layers.size - 1]
    v = lanes(features)
    scratch = at(net.work, thread * v * v)
    place = thread * net.tile_rows
    # Features are read without a copy, unless vectors would reach beyond their end, or rows share cache sets.
    copied = first.narrow or first.ld_in > whole_vectors(first.n_in, v)
    if net.rounded is not None and first.n_in % v > 0:  # vectors that are rounded would reach beyond each row
        copied = True
    first_row, end = share_of_rows(n, v, n_threads, thread)
    for row in range(first_row, end, net.tile_rows):
        rows = min(net.tile_rows, end - row)
        x = at(features, row * first.n_in)
        if not is_finite_run(x, rows * first.n_in):
            return False
        ld_x = first.n_in
        if copied:
            ld_x = first.ld_in
            copy = at(net.work, first.input + place * first.ld_in)
            for r in range(rows):
                copy_row(at(x, r * first.n_in), at(copy, r * first.ld_in), first.n_in)
            x = copy
        forward(net.params, net.work, net.rounded, net.layers, x, ld_x, place, rows, scratch)
        y = at(net.work, last.output + place * last.ld_out)
        for r in range(rows):
            copy_row(at(y, r * last.ld_out), at(outputs, (row + r) * last.n_out), last.n_out)
    return True


@device_function
def forward_columns(net: Net, features: Pointer, outputs: Pointer, n: int, mailbox: Any, n_threads: int,
                    thread: int) -> bool:  # fmt: skip
    """Overwrite n rows of `outputs`; each thread computes a share of the columns of each wide layer.

    For few rows, and in float32 and float64 for nets whose first layer is not narrow; returns whether the features are
    finite.
    """
    # No thread returns early: all wait for each other after each layer.
    all_finite = is_finite_run(features, n * net.layers[0].n_in)
    x, ld_x = few_inputs(net, net.rounded, features, n, thread)
    for k in range(net.layers.size):
        layer = net.layers[k]
        runs = (whole_vectors(layer.n_out, lanes(features)) + RUN * lanes(features) - 1) // (RUN * lanes(features))
        if layer.narrow or runs < n_threads or works_on_rows(layer.activation):
            if thread == 0:
                whole_layer(net, net.rounded, layer, x, ld_x, n)
        else:
            first, last = thread * runs // n_threads, (thread + 1) * runs // n_threads
            layer_columns(net, layer, x, ld_x, n, first, last, thread)
        barrier(mailbox, n_threads, k + 1)
        x = at(net.work, layer.output)
        ld_x = layer.ld_out
    if thread == 0:
        n_out = net.layers[net.layers.size - 1].n_out
        for r in range(n):
            copy_row(at(x, r * ld_x), at(outputs, r * n_out), n_out)
    return all_finite


@device_function
def few_inputs(net: Net, rounded: Any, features: Pointer, n: int, thread: int) -> Any:
    """Return the inputs of the first layer and their row stride: the features, in mixed precision a padded copy."""
    first = net.layers[0]
    if rounded is None:
        return features, first.n_in
    else:
        x = at(net.work, first.input + thread * net.tile_rows * first.ld_in)
        for r in range(n):
            copy_row(at(features, r * first.n_in), at(x, r * first.ld_in), first.n_in)
        return x, first.ld_in


@device_function
def whole_layer(net: Net, rounded: Any, layer: Layer, x: Pointer, ld_x: int, n: int) -> None:
    """Overwrite all outputs of a layer for n rows, in one thread."""
    if rounded is not None:
        round_share(net.params, rounded, layer, 1, 0)
    forward_layer(net.params, net.work, rounded, layer, x, ld_x, 0, n, at(net.work, 0))


@device_function
def layer_columns(net: Net, layer: Layer, x: Pointer, ld_x: int, n: int, first_run: int, last_run: int,
                  thread: int) -> None:  # fmt: skip
    """Overwrite a layer's outputs of n rows, in runs of RUN vectors of columns."""
    v = lanes(x)
    columns = whole_vectors(layer.n_out, v)
    begin = first_run * RUN * v
    end = min(columns, last_run * RUN * v)
    z = at(net.work, layer.output)
    product_of_columns(net, net.rounded, layer, x, ld_x, n, begin, end, z, thread)
    for r in range(n):
        part = at(z, r * layer.ld_out + begin)
        activate(layer.activation, layer.alpha, layer.function, part, part, end - begin)
    if not is_zero_at_zero(layer.activation) and end == columns:
        clear_padding(z, layer.ld_out, n, layer.n_out)


@device_function
def product_of_columns(net: Net, rounded: Any, layer: Layer, x: Pointer, ld_x: int, n: int, begin: int, end: int,
                       z: Pointer, thread: int) -> None:  # fmt: skip
    """Overwrite some columns of x W + b at `z`; in mixed precision of x and W rounded, W block by block."""
    bias = layer.bias
    ld = layer.ld_out
    if rounded is None:
        w = at(net.params, layer.w + begin)
        gemm(
            x, ld_x, 1, w, ld, at(net.params, bias + begin), 0, at(z, begin), ld,
            n, end - begin, layer.n_in, nothing(z), nothing(z),
        )  # fmt: skip
    else:
        # The rounded copy of all W would be written to memory and read again, which takes longer than the products.
        row = thread * net.tile_rows
        round_input(rounded, layer, x, ld_x, row, n)
        ld_a = layer.ld_rounded_in
        a = at(rounded, layer.rounded_input + row * ld_a)
        width = BLOCK_WIDTH * lanes(x)
        block = at(rounded, 2 * thread * width * BLOCK_DEPTH)
        # While a block is multiplied, its tiles fetch the next one, each as many rows as it has itself, some times.
        height = tile_rows(block)
        fetched = max(1, n // height) * height
        for j in range(begin, end, width):
            n_columns = min(width, end - j)
            for k in range(0, layer.n_in, BLOCK_DEPTH):
                depth = min(BLOCK_DEPTH, layer.n_in - k)
                w = at(net.params, layer.w + k * ld + j)
                round_pairs_of_rows(w, ld, depth, n_columns, block, width)
                init, ld_init = (at(z, j), ld) if k > 0 else (at(net.params, bias + j), 0)
                after = k + depth
                following = at(net.params, layer.w + after * ld + j)
                n_following = min(BLOCK_DEPTH, layer.n_in - after)
                if n_following == 0 and j + width < end:
                    following = at(net.params, layer.w + j + width)
                    n_following = min(BLOCK_DEPTH, layer.n_in)
                groups = (n_following + fetched - 1) // fetched
                gemm(
                    at(a, elements(k, rounded)), ld_a, 1, block, width, init, ld_init, at(z, j), ld,
                    n, n_columns, elements(depth, rounded),
                    Stream(following, ld, fetched * ld, groups), nothing(z),
                )  # fmt: skip


@device_function
def refresh_rounded(params: Any, rounded: Any, layers: Table[Layer], mailbox: Any, n_threads: int, thread: int) -> None:
    """Round the thread's share of all W anew if the copy may be stale, in mixed precision. Ends at a barrier then."""
    if rounded is not None:  # noqa: SIM102 (what is compiled away is a branch on nothing but None)
        if mailbox[STALE] != 0:
            for k in range(layers.size):
                round_share(params, rounded, layers[k], n_threads, thread)
            barrier(mailbox, n_threads, 1)


@device_function
def round_share(params: Any, rounded: Any, layer: Layer, n_threads: int, thread: int) -> None:
    """Overwrite the thread's share of the rounded copy of a layer's W."""
    if layer.narrow:
        for o in range(thread * layer.n_out // n_threads, (thread + 1) * layer.n_out // n_threads):
            target = at(rounded, layer.rounded_w + o * layer.ld_rounded_in)
            round_row(at(params, layer.w + o * layer.ld_in), layer.n_in, 1, target)
    else:
        n_pairs = (layer.n_in + 1) // 2
        first = 2 * (thread * n_pairs // n_threads)
        rows = 2 * ((thread + 1) * n_pairs // n_threads) - first  # below W are rows of zeros
        target = at(rounded, layer.rounded_w + elements(first, rounded) * layer.ld_out)
        w = at(params, layer.w + first * layer.ld_out)
        round_pairs_of_rows(w, layer.ld_out, rows, layer.n_out, target, layer.ld_out)


@device_function
def forward_share(net: Net, features: Pointer, outputs: Pointer, n: int, mailbox: Any, n_threads: int,
                  thread: int) -> bool:  # fmt: skip
    """Compute the thread's share, of rows or of columns; return whether the features it read are finite."""
    few = n_threads > 1 and n < n_threads * lanes(features) and not net.layers[0].narrow
    if net.rounded is not None:
        few = n <= MOST_FEW
    if few:
        return forward_columns(net, features, outputs, n, mailbox, n_threads, thread)
    refresh_rounded(net.params, net.rounded, net.layers, mailbox, n_threads, thread)
    return forward_rows(net, features, outputs, n, n_threads, thread)


@device_function
def call_helpers(mailbox: Any, n_helpers: int) -> int:
    """Start the helpers that are ready, or become so in time; return their number."""
    n_threads = 1
    waited = 0
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        while atomic_load(mailbox, line + STATE) == WAKING and waited < mailbox[WAIT]:
            waited += 1
            cpu_pause()
        if compare_and_swap(mailbox, line + STATE, READY, TAKEN):
            mailbox[line + RANK] = n_threads
            n_threads += 1
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        if atomic_load(mailbox, line + STATE) == TAKEN:
            mailbox[line + TEAM] = n_threads
            atomic_store(mailbox, line + STATE, GO)
    return n_threads


@device_function
def await_helpers(mailbox: Any, n_helpers: int, all_finite: bool) -> bool:
    """Wait until no helper is working; return whether `all_finite` and all features that they read are finite."""
    for h in range(n_helpers):
        line = HELPERS + h * HELPER_SIZE
        spins = 0
        while atomic_load(mailbox, line + STATE) == GO:
            if spins < mailbox[SPINS]:
                spins += 1
                cpu_pause()
            else:
                yield_cpu()
        if mailbox[line + TEAM] > 0:
            all_finite = all_finite and mailbox[line + FINITE] != 0
            mailbox[line + TEAM] = 0
    return all_finite


@kernel
def predict(params: Any, rounded: Any, layers: Table[Layer], work: Any, features: Any, outputs: Any, tile_rows: int,
            mailbox: Any, n_helpers: int, helper: int) -> int:  # fmt: skip
    """Compute the outputs of the net for all rows of `features`, or, as a helper, a share of those of another call.

    Parameters
    ----------
    params, rounded, layers, work, tile_rows : see `Net`; `rounded` and `work` are overwritten
    features : (n, I), read-only
    outputs : (n, O)
        Overwritten; only in part if `FEATURES_NOT_FINITE` is returned.
    mailbox : int64, as described above; a cache line more than `n_helpers`
    n_helpers : int
        Number of helpers that may exist.
    helper : int
        -1 for the calling thread; else the number of the helper, for which `features` and `outputs` are not read.

    Returns
    -------
    int
        `FEATURES_NOT_FINITE`, `FINITE_OUTPUTS` or `OUTPUTS_NOT_FINITE`; no result for a helper, which returns when
        it is asleep, as it is after `PATIENCE` rounds without work.
    """
    net = Net(params, rounded, layers, work, tile_rows)
    here = at(params, 0)
    if helper < 0:
        n = features.shape[0]
        n_threads = 1
        if n_helpers > 0:
            mailbox[FEATURES] = address(at(features, 0))
            mailbox[OUTPUTS] = address(at(outputs, 0))
            mailbox[ROWS] = n
            mailbox[0] = 0  # reset the barrier counter
            n_threads = call_helpers(mailbox, n_helpers)
        all_finite = forward_share(net, at(features, 0), at(outputs, 0), n, mailbox, n_threads, 0)
        if n_threads > 1:
            all_finite = await_helpers(mailbox, n_helpers, all_finite)
        if not all_finite:
            return FEATURES_NOT_FINITE
        finite = is_finite_run(at(outputs, 0), n * outputs.shape[1])
        return FINITE_OUTPUTS if finite else OUTPUTS_NOT_FINITE

    line = HELPERS + helper * HELPER_SIZE
    rounds = 0
    while True:
        state = atomic_load(mailbox, line + STATE)
        if state == GO:
            all_finite = forward_share(
                net, pointer_to(mailbox[FEATURES], here), pointer_to(mailbox[OUTPUTS], here), mailbox[ROWS], mailbox,
                mailbox[line + TEAM], mailbox[line + RANK],
            )  # fmt: skip
            mailbox[line + FINITE] = 1 if all_finite else 0
            atomic_store(mailbox, line + STATE, READY)
            rounds = 0
        elif state == ASLEEP:
            return FINITE_OUTPUTS
        elif state == WAKING:
            compare_and_swap(mailbox, line + STATE, WAKING, READY)
            rounds = 0
        elif rounds >= mailbox[PATIENCE]:
            compare_and_swap(mailbox, line + STATE, READY, ASLEEP)
        else:
            rounds += 1
            cpu_pause()
