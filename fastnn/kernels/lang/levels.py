"""Levels of processors: code that is made for a level runs on each processor that has the features of that level.

Code for the very processor of a machine is of no use on another one; code for a level can be shipped, or kept in one
folder for all machines of a cluster. The kernels' own choices (lanes, registers, fused multiply-adds) depend on the
features alone, so a level counts only where they are the same as the processor's: code of both kinds then computes the
same bits.
"""

from __future__ import annotations

import platform
from typing import NamedTuple

import llvmlite.binding as llvm
import numba


class Level(NamedTuple):
    """What the code for a level may use.

    Parameters
    ----------
    name : str
        LLVM's name of the level, and that of the processor that Numba compiles for.
    features : tuple of str
        LLVM's names of its features.
    """

    name: str
    features: tuple[str, ...]

    def settings(self) -> dict[str, str]:
        """Return the environment variables that let Numba compile for this level."""
        return {"NUMBA_CPU_NAME": self.name, "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in self.features)}


_V3 = (
    "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf", "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt",
    "movbe", "xsave",
)  # fmt: skip
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def levels_of(machine: str) -> tuple[Level, ...]:
    """Return the levels of a kind of processors, as `platform.machine` names it, the highest first."""
    if machine.lower() in ("x86_64", "amd64"):
        return Level("x86-64-v4", _V4), Level("x86-64-v3", _V3)
    if machine.lower() in ("aarch64", "arm64"):
        return (Level("generic", ("neon",)),)  # all have these vectors, and no other features matter here
    return ()


def target_features() -> frozenset[str]:
    """Return the names of the features that Numba compiles for.

    They are those of NUMBA_CPU_FEATURES, or else of the host, whatever NUMBA_CPU_NAME is ("generic" alone is without
    any): Numba adds them to those of the processor that it names. NUMBA_ENABLE_AVX=0 removes AVX from the host's.
    """
    chosen = numba.config.CPU_FEATURES
    if chosen is None:
        found = {name for name, has in llvm.get_host_cpu_features().items() if has}
        if not numba.config.ENABLE_AVX:
            found = {name for name in found if not name.startswith("avx")}
        return frozenset(found)
    return frozenset(part[1:] for part in chosen.split(",") if part.startswith("+"))


def fitting_level(levels: tuple[Level, ...], features: frozenset[str]) -> Level | None:
    """Return the highest level that a processor has; None if that has other vectors than the processor."""
    for level in levels:
        if level.name == "generic" or features.issuperset(level.features):
            return level if ("avx512f" in features) == ("avx512f" in level.features) else None
    return None


def chosen_level(levels: tuple[Level, ...], name: str | None, features: str | None) -> Level | None:
    """Return the level whose settings NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are; None if they are of none."""
    for level in levels:
        wanted = {f"+{feature}" for feature in level.features}
        if name == level.name and features is not None and set(features.split(",")) == wanted:
            return level
    return None


#: The levels of this kind of processors, the highest first.
LEVELS = levels_of(platform.machine())
#: The level that this process compiles for; None where it compiles for the very processor, or what the user has set.
MADE_FOR = chosen_level(LEVELS, numba.config.CPU_NAME, numba.config.CPU_FEATURES)
#: The level whose code this process can load; None where none fits, or the user has set another processor.
LEVEL = (
    fitting_level(LEVELS, target_features())
    if numba.config.CPU_NAME is None and numba.config.CPU_FEATURES is None
    else MADE_FOR
)
