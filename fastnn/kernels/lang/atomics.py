"""Atomic operations on shared counters, and what a thread does while it waits.

Counters are entries of arrays of int64. As Python, what reads and then writes holds a lock.

===========================================  ==================================================================
``atomic_add(sync, place, amount)``          adds, and returns what was there; acquires and releases
``atomic_load(sync, place)``                 reads; what was written before the value is seen afterwards (acquire)
``atomic_store(sync, place, value)``         overwrites, after all earlier writes (release)
``compare_and_swap(sync, place, old, new)``  overwrites if equal to `old`; acquires and releases
``cpu_pause()``                              one pause of a spin loop
``yield_cpu()``                              offers the processor to other threads
===========================================  ==================================================================
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from llvmlite import ir
from numba import types

from fastnn.kernels.lang.emit import emit_intrinsic
from fastnn.kernels.lang.simd import IS_AARCH64, IS_X86, op

_lock = threading.Lock()  # of the Python forms: without it two threads of a team could both write 1, and wait for ever


def _is_counters(sync: Any) -> bool:
    return isinstance(sync, types.Array)


def _emit_place(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Generate the pointer to entry args[1] of the array args[0]."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


@op(lambda sync, place, amount: types.int64(sync, types.intp, types.int64) if _is_counters(sync) else None)
def atomic_add(sync: Any, place: int, amount: int) -> int:
    """Add to an entry; return what was there before."""
    with _lock:
        before = int(sync[place])
        sync[place] = before + amount
    return before


@atomic_add.lower
def _lower_add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.atomic_rmw("add", _emit_place(context, builder, sig, args), args[2], "acq_rel")


@op(lambda sync, place: types.int64(sync, types.intp) if _is_counters(sync) else None)
def atomic_load(sync: Any, place: int) -> int:
    """Read an entry, and all that was written before it was."""
    return int(sync[place])


@atomic_load.lower
def _lower_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load_atomic(_emit_place(context, builder, sig, args), "acquire", 8)


@op(lambda sync, place, value: types.void(sync, types.intp, types.int64) if _is_counters(sync) else None)
def atomic_store(sync: Any, place: int, value: int) -> None:
    """Overwrite an entry, after all that was written before."""
    sync[place] = value


@atomic_store.lower
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store_atomic(args[2], _emit_place(context, builder, sig, args), "release", 8)
    return context.get_dummy_value()


def _type_swap(sync: Any, place: Any, expected: Any, value: Any) -> Any:
    return types.boolean(sync, types.intp, types.int64, types.int64) if _is_counters(sync) else None


@op(_type_swap)
def compare_and_swap(sync: Any, place: int, expected: int, value: int) -> bool:
    """Overwrite an entry if it is as expected; return whether it was."""
    with _lock:
        was_expected = bool(sync[place] == expected)
        if was_expected:
            sync[place] = value
    return was_expected


@compare_and_swap.lower
def _lower_swap(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place = _emit_place(context, builder, sig, args)
    return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire"), 1)


@op(lambda: types.void)
def cpu_pause() -> None:
    """Pause for a moment within a spin loop: 9 to 140 cycles on x86, some 30 on AArch64, elsewhere none at all.

    So waits are counted in rounds of a loop that was timed (`fastnn._engine.threads.spin_rounds`).
    """
    time.sleep(0)


@cpu_pause.lower
def _lower_cpu_pause(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if IS_X86:
        emit_intrinsic(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
    elif IS_AARCH64:  # its `yield` does nothing on most processors; as Rust, jemalloc and oneTBB do
        emit_intrinsic(builder, "llvm.aarch64.isb", ir.VoidType(), [ir.Constant(ir.IntType(32), 15)])
    return context.get_dummy_value()


@op(lambda: types.void)
def yield_cpu() -> None:
    """Offer the processor to other threads."""
    time.sleep(0)


@yield_cpu.lower
def _lower_yield_cpu(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Generate the operating system's own call."""
    emit_intrinsic(builder, "SwitchToThread" if os.name == "nt" else "sched_yield", ir.IntType(32), [])
    return context.get_dummy_value()
