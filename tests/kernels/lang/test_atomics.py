"""Counters lose no addition; a thread that waits runs a real pause on x86 and Arm, no instruction elsewhere."""

from __future__ import annotations

import sys
import threading

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from fastnn.kernels.lang import atomics


class Context:
    """What the generation of code asks of Numba's context."""

    def get_dummy_value(self):
        return None


def instructions(triple):
    """Return the names of the instructions of a function that pauses, on a target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module("pause")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "pause_once")
    builder = ir.IRBuilder(function.append_basic_block())
    atomics._lower_cpu_pause(Context(), builder, None, None)
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    lines = llvm.Target.from_triple(triple).create_target_machine().emit_assembly(parsed).splitlines()
    names = [line.split()[0] for line in lines if line.startswith("\t")]
    return [name for name in names if not name.startswith(".")]


@pytest.mark.parametrize(
    ("triple", "x86", "aarch64", "expected"),
    [
        ("x86_64-unknown-linux-gnu", True, False, ["pause", "retq"]),
        ("aarch64-unknown-linux-gnu", False, True, ["isb", "ret"]),
        ("arm64-apple-darwin", False, True, ["isb", "ret"]),
        ("powerpc64le-unknown-linux-gnu", False, False, ["blr"]),
    ],
)
def test_a_pause_is_the_instruction_that_the_processor_has(monkeypatch, triple, x86, aarch64, expected):
    monkeypatch.setattr(atomics, "IS_X86", x86)
    monkeypatch.setattr(atomics, "IS_AARCH64", aarch64)
    assert instructions(triple) == expected


@pytest.fixture
def frequent_switches():
    """The interpreter changes threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def add_ones(sync, count):
    for _ in range(count):
        atomics.atomic_add(sync, 0, 1)


def swap_ones(sync, count):
    for _ in range(count):
        while True:
            before = atomics.atomic_load(sync, 0)
            if atomics.compare_and_swap(sync, 0, before, before + 1):
                break


@pytest.mark.parametrize("add", [add_ones, swap_ones])
def test_the_python_forms_lose_nothing_between_threads(frequent_switches, add):
    sync = np.zeros(8, np.int64)
    threads = [threading.Thread(target=add, args=(sync, 5_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sync[0] == 20_000
