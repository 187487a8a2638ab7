"""The most that the FMA units can do: a loop that touches nothing but registers."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.barrier import barrier
from fastnn.kernels.jit import inline, kernel
from fastnn.kernels.simd import N_REGISTERS, at, fma, lanes, load, splat, store

#: Independent chains. Four units of latency 4 need 16 of them; with 16 registers 12 fit beside the two factors,
#: and such processors have two units of latency 4 or 5.
N_CHAINS = 16 if N_REGISTERS == 32 else 12


@inline
def fma_chains(start: Any, out: Any, count: int) -> None:
    """Run `count` rounds of N_CHAINS independent steps x <- x / 2 + 1, from the vectors at `start` to `out`.

    The limit is 2 in every lane, so nothing overflows or becomes subnormal however long it runs. The chains
    start from memory, for of equal ones the compiler would keep one.
    """
    v = lanes(start)
    half = splat(start, 0.5)
    one = splat(start, 1.0)
    x0 = load(at(start, 0))
    x1 = load(at(start, v))
    x2 = load(at(start, 2 * v))
    x3 = load(at(start, 3 * v))
    x4 = load(at(start, 4 * v))
    x5 = load(at(start, 5 * v))
    x6 = load(at(start, 6 * v))
    x7 = load(at(start, 7 * v))
    x8 = load(at(start, 8 * v))
    x9 = load(at(start, 9 * v))
    x10 = load(at(start, 10 * v))
    x11 = load(at(start, 11 * v))
    x12 = load(at(start, 12 * v))
    x13 = load(at(start, 13 * v))
    x14 = load(at(start, 14 * v))
    x15 = load(at(start, 15 * v))
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
def fma_loop(vectors: Any, count: int, n_threads: int, sync: Any, thread: int) -> None:
    """Run `fma_chains` in all threads of a team at once.

    Parameters
    ----------
    vectors : (n_threads, n), float32 or float64, with n at least 16 vectors and whole cache lines
        Where each thread's chains start; overwritten by where they end.
    count : int
        Rounds, of 2 * N_CHAINS * lanes operations a thread each.
    n_threads : int
    sync : (SYNC_SIZE,) int64
        Fresh counters, shared by the team (`barrier.new_sync`).
    thread : int
        Number of the calling thread.
    """
    if not barrier(sync, n_threads, 1):
        return
    mine = at(vectors, thread * vectors.shape[1])
    fma_chains(mine, mine, count)
