"""Benchmarks of the two limits of a roofline model: multiply-adds on registers, and loads.

S. Williams, A. Waterman, D. Patterson, Roofline: an insightful visual performance model, 2009.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.barrier import barrier
from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import (
    N_REGISTERS,
    VECTOR_BITS,
    at,
    broadcast,
    fma,
    lanes,
    load,
    low_half,
    store,
    store_scalar,
    sum_lanes,
)
from fastnn.kernels.lang.simd.bfloat16 import dot

#: Independent chains. Four units of latency 4 need 16 of them; with 16 registers 12 fit beside the two factors,
#: and such processors have two units of latency 4 or 5.
N_CHAINS = 16 if N_REGISTERS == 32 else 12

#: Independent chains of `dot_loop`: one unit of latency 6, or two.
DOT_CHAINS = 12

#: Loads of one round of `read_sum`, each into a sum of its own: two loads per cycle and a latency of 4 need 8.
READ_VECTORS = 8


@device_function
def _whole(v: Any) -> Any:
    """Return a vector of the target's width."""
    return v


@device_function
def _half(v: Any) -> Any:
    """Return a vector of half the width."""
    return low_half(v)


@device_function
def _quarter(v: Any) -> Any:
    """Return a vector of a quarter of the width."""
    return low_half(low_half(v))


@device_function
def fma_chains(width: Any, start: Any, out: Any, count: int) -> None:
    """Run `count` rounds of N_CHAINS independent steps x <- x / 2 + 1, from the vectors at `start` to `out`.

    `width` converts vectors to the width of the test; other lanes of `out` are not overwritten. The limit is 2 in every
    lane, so no value overflows or becomes subnormal. The chains start from memory, because the compiler would merge
    equal ones.
    """
    v = lanes(start)
    half = width(broadcast(start, 0.5))
    one = width(broadcast(start, 1.0))
    x0 = width(load(at(start, 0)))
    x1 = width(load(at(start, v)))
    x2 = width(load(at(start, 2 * v)))
    x3 = width(load(at(start, 3 * v)))
    x4 = width(load(at(start, 4 * v)))
    x5 = width(load(at(start, 5 * v)))
    x6 = width(load(at(start, 6 * v)))
    x7 = width(load(at(start, 7 * v)))
    x8 = width(load(at(start, 8 * v)))
    x9 = width(load(at(start, 9 * v)))
    x10 = width(load(at(start, 10 * v)))
    x11 = width(load(at(start, 11 * v)))
    x12 = width(load(at(start, 12 * v)))
    x13 = width(load(at(start, 13 * v)))
    x14 = width(load(at(start, 14 * v)))
    x15 = width(load(at(start, 15 * v)))
    for _ in range(count):
        x0 = fma(x0, half, one)
        x1 = fma(x1, half, one)
        x2 = fma(x2, half, one)
        x3 = fma(x3, half, one)
        x4 = fma(x4, half, one)
        x5 = fma(x5, half, one)
        x6 = fma(x6, half, one)
        x7 = fma(x7, half, one)
        x8 = fma(x8, half, one)
        x9 = fma(x9, half, one)
        x10 = fma(x10, half, one)
        x11 = fma(x11, half, one)
        if N_CHAINS == 16:  # known to the compiler
            x12 = fma(x12, half, one)
            x13 = fma(x13, half, one)
            x14 = fma(x14, half, one)
            x15 = fma(x15, half, one)
    store(at(out, 0), x0)
    store(at(out, v), x1)
    store(at(out, 2 * v), x2)
    store(at(out, 3 * v), x3)
    store(at(out, 4 * v), x4)
    store(at(out, 5 * v), x5)
    store(at(out, 6 * v), x6)
    store(at(out, 7 * v), x7)
    store(at(out, 8 * v), x8)
    store(at(out, 9 * v), x9)
    store(at(out, 10 * v), x10)
    store(at(out, 11 * v), x11)
    store(at(out, 12 * v), x12)
    store(at(out, 13 * v), x13)
    store(at(out, 14 * v), x14)
    store(at(out, 15 * v), x15)


@kernel
def fma_loop(vectors: Any, count: int, bits: int, n_threads: int, sync: Any, thread: int) -> None:
    """Run `fma_chains` in all threads of a team at once.

    Parameters
    ----------
    vectors : (n_threads, n), float32 or float64, with n at least 16 vectors and whole cache lines
        Start values of each thread's chains, overwritten by their final values.
    count : int
        Rounds, each of 2 * N_CHAINS * lanes operations per thread.
    bits : int
        Width of the vectors: VECTOR_BITS, or a half or a quarter of it that is not below 128. No operation for
        other widths.
    n_threads : int
    sync : (SYNC_SIZE,) int64
        Fresh counters, shared by the team (`lang.barrier.new_sync`).
    thread : int
        Number of the calling thread.
    """
    if not barrier(sync, n_threads, 1):
        return
    mine = at(vectors, thread * vectors.shape[1])
    if bits == VECTOR_BITS:
        fma_chains(_whole, mine, mine, count)
    elif VECTOR_BITS >= 256 and bits == VECTOR_BITS // 2:  # the first half is known to the compiler
        fma_chains(_half, mine, mine, count)
    elif VECTOR_BITS >= 512 and bits == VECTOR_BITS // 4:
        fma_chains(_quarter, mine, mine, count)


@kernel
def dot_loop(vectors: Any, count: int, n_threads: int, sync: Any, thread: int) -> None:
    """Run chains of products of words in all threads of a team at once.

    Parameters
    ----------
    vectors : (n_threads, n) float32, with n at least 14 vectors and whole cache lines
        Start values of each thread's DOT_CHAINS chains, overwritten by their final values, and the words of the two
        factors.
    count : int
        Rounds, each of 4 * DOT_CHAINS * lanes operations per thread.
    n_threads, sync, thread
        As in `fma_loop`.
    """
    if not barrier(sync, n_threads, 1):
        return
    mine = at(vectors, thread * vectors.shape[1])
    v = lanes(mine)
    a = load(at(mine, 12 * v))
    b = load(at(mine, 13 * v))
    x0 = load(at(mine, 0))
    x1 = load(at(mine, v))
    x2 = load(at(mine, 2 * v))
    x3 = load(at(mine, 3 * v))
    x4 = load(at(mine, 4 * v))
    x5 = load(at(mine, 5 * v))
    x6 = load(at(mine, 6 * v))
    x7 = load(at(mine, 7 * v))
    x8 = load(at(mine, 8 * v))
    x9 = load(at(mine, 9 * v))
    x10 = load(at(mine, 10 * v))
    x11 = load(at(mine, 11 * v))
    for _ in range(count):
        x0 = dot(x0, a, b)
        x1 = dot(x1, a, b)
        x2 = dot(x2, a, b)
        x3 = dot(x3, a, b)
        x4 = dot(x4, a, b)
        x5 = dot(x5, a, b)
        x6 = dot(x6, a, b)
        x7 = dot(x7, a, b)
        x8 = dot(x8, a, b)
        x9 = dot(x9, a, b)
        x10 = dot(x10, a, b)
        x11 = dot(x11, a, b)
    store(at(mine, 0), x0)
    store(at(mine, v), x1)
    store(at(mine, 2 * v), x2)
    store(at(mine, 3 * v), x3)
    store(at(mine, 4 * v), x4)
    store(at(mine, 5 * v), x5)
    store(at(mine, 6 * v), x6)
    store(at(mine, 7 * v), x7)
    store(at(mine, 8 * v), x8)
    store(at(mine, 9 * v), x9)
    store(at(mine, 10 * v), x10)
    store(at(mine, 11 * v), x11)


@device_function
def read_sum(p: Any, n: int, factor: float, count: int) -> Any:
    """Return the sum of n elements (whole rounds of READ_VECTORS vectors), repeated `count` times, each times `factor`.

    The factor turns additions into multiply-adds, of which some processors start two per cycle and only one addition.
    As it is no constant to the compiler and the sums continue, each repetition reads all elements.
    """
    v = lanes(p)
    by = broadcast(p, factor)
    s0 = broadcast(p, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    s4 = s0
    s5 = s0
    s6 = s0
    s7 = s0
    for _ in range(count):
        for i in range(0, n, READ_VECTORS * v):
            q = at(p, i)
            s0 = fma(load(q), by, s0)
            s1 = fma(load(at(q, v)), by, s1)
            s2 = fma(load(at(q, 2 * v)), by, s2)
            s3 = fma(load(at(q, 3 * v)), by, s3)
            s4 = fma(load(at(q, 4 * v)), by, s4)
            s5 = fma(load(at(q, 5 * v)), by, s5)
            s6 = fma(load(at(q, 6 * v)), by, s6)
            s7 = fma(load(at(q, 7 * v)), by, s7)
    return sum_lanes(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))


@kernel
def read_loop(buffer: Any, count: int, factor: float, sums: Any, n_threads: int, sync: Any, thread: int) -> None:
    """Read a buffer in all threads of a team at once, each its own part.

    Parameters
    ----------
    buffer : (n_threads, n), float32 or float64, with n whole rounds of READ_VECTORS vectors
    count : int
        Number of times that each part is read.
    factor : float
        Factor of the elements.
    sums : (n_threads, m), of the same dtype, whole cache lines
        The first element of each row is overwritten with the sum of the elements that the thread has read.
    n_threads, sync, thread
        As in `fma_loop`.
    """
    if not barrier(sync, n_threads, 1):
        return
    n = buffer.shape[1]
    total = read_sum(at(buffer, thread * n), n, factor, count)
    store_scalar(at(sums, thread * sums.shape[1]), total)
