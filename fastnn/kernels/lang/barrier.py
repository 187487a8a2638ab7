"""How the threads of a team wait for each other inside compiled code: a counter and a spin.

A team is some threads that run the same kernel at the same time, each with its own number (single program,
multiple data). Between the regions of a step they meet at a barrier: each adds one to a counter and waits
until all have. On two cores of one processor that costs some 20 ns, an empty parallel region of an OpenMP
runtime 1 us, and of Numba's workqueue layer 50 to 100 us. Nothing is shared with any threading layer, so
there is none to be missing, to abort in a second thread, or to be broken by a fork.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import IS_X86

# Entries of the array `sync` (int64); each has a cache line of its own.
ARRIVED = 0  # counts arrivals for ever
STOP = 8  # not 0: somebody cannot go on; all leave at the next barrier
BAD = 16  # not 0: some weight would have become infinite or NaN
JOBS = 24  # of a team's own counters: number of the job it has been given
SYNC_SIZE = 32

#: Rounds of spinning (some 20 us) before the processor is offered to others.
SPINS = 1000
#: Rounds of `linger`.
IDLE_SPINS = 5000


def new_sync() -> np.ndarray:
    """Fresh shared counters for a team; shape (SYNC_SIZE,), int64."""
    return np.zeros(SYNC_SIZE, np.int64)


def atomic_add(sync: Any, place: int, amount: int) -> None:
    """Add to an entry."""
    sync[place] += amount


def atomic_load(sync: Any, place: int) -> int:
    """Read an entry, and all that was written before it was."""
    return int(sync[place])


def atomic_store(sync: Any, place: int, value: int) -> None:
    """Overwrite an entry, after all that was written before."""
    sync[place] = value


def compare_and_swap(sync: Any, place: int, expected: int, value: int) -> bool:
    """Overwrite an entry if it is as expected; return whether it was."""
    was_expected = bool(sync[place] == expected)
    if was_expected:
        sync[place] = value
    return was_expected


def cpu_pause() -> None:
    """Pause for a moment within a spin."""
    time.sleep(0)


def yield_cpu() -> None:
    """Offer the processor to others."""
    time.sleep(0)


def _element(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)])


@type_callable(atomic_add)
def _type_add(context: Any) -> Any:
    return lambda sync, place, amount: types.void(sync, types.intp, types.int64)


@lower_builtin(atomic_add, types.Array, types.intp, types.int64)
def _lower_add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.atomic_rmw("add", _element(context, builder, sig, args), args[2], "acq_rel")
    return context.get_dummy_value()


@type_callable(atomic_load)
def _type_load(context: Any) -> Any:
    return lambda sync, place: types.int64(sync, types.intp)


@lower_builtin(atomic_load, types.Array, types.intp)
def _lower_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load_atomic(_element(context, builder, sig, args), "acquire", 8)


@type_callable(atomic_store)
def _type_store(context: Any) -> Any:
    return lambda sync, place, value: types.void(sync, types.intp, types.int64)


@lower_builtin(atomic_store, types.Array, types.intp, types.int64)
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store_atomic(args[2], _element(context, builder, sig, args), "release", 8)
    return context.get_dummy_value()


@type_callable(compare_and_swap)
def _type_swap(context: Any) -> Any:
    return lambda sync, place, expected, value: types.boolean(sync, types.intp, types.int64, types.int64)


@lower_builtin(compare_and_swap, types.Array, types.intp, types.int64, types.int64)
def _lower_swap(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place = _element(context, builder, sig, args)
    return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire"), 1)


@type_callable(cpu_pause)
def _type_cpu_pause(context: Any) -> Any:
    return lambda: types.void


@lower_builtin(cpu_pause)
def _lower_cpu_pause(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Tell the core that this is a spin; elsewhere than on x86 an empty volatile instruction keeps the loop."""
    if IS_X86:
        pause = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
        )
        builder.call(pause, [])
    return context.get_dummy_value()


@type_callable(yield_cpu)
def _type_give_way(context: Any) -> Any:
    return lambda: types.void


@lower_builtin(yield_cpu)
def _lower_give_way(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Offer the processor to another thread, by the operating system's own call."""
    name = "SwitchToThread" if os.name == "nt" else "sched_yield"
    call = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), name)
    builder.call(call, [])
    return context.get_dummy_value()


@device_function
def barrier(sync: Any, n_threads: int, meeting: int) -> bool:
    """Wait until all threads of the team have come to meeting number `meeting` (1, 2, ...).

    Returns
    -------
    bool
        Whether the team goes on; False when somebody raised STOP.
    """
    if n_threads == 1:
        return True
    atomic_add(sync, ARRIVED, 1)
    spins = 0
    while atomic_load(sync, ARRIVED) < meeting * n_threads:
        if atomic_load(sync, STOP) != 0:
            return False
        if spins < SPINS:
            spins += 1
            cpu_pause()
        else:
            yield_cpu()
    return True


@device_function
def flag_nonfinite(sync: Any) -> None:
    """Say that a weight would have stopped being finite."""
    atomic_add(sync, BAD, 1)


@device_function
def any_nonfinite(sync: Any) -> bool:
    """Whether any thread said so; the same answer for all between two barriers."""
    return atomic_load(sync, BAD) != 0


@kernel
def spin_wait(sync: Any, seen: int) -> None:
    """Wait a little, in the hope that entry JOBS of `sync` grows beyond `seen`.

    A helper that has finished its slice of an epoch is usually needed again some 20 us later; woken from sleep
    it would come 50 to 100 us late. It spins for about 100 us.
    """
    for _ in range(IDLE_SPINS):
        if atomic_load(sync, JOBS) > seen:
            return
        cpu_pause()


@kernel
def barriers(sync: Any, n_threads: int, count: int) -> None:
    """Meet `count` times and do nothing else: what a region costs."""
    for k in range(count):
        if not barrier(sync, n_threads, k + 1):
            return
