"""The processor that is compiled for: length of vectors, registers, fused multiply-add."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np


def _target_features() -> frozenset[str]:
    """Return the names of the features that Numba compiles for (NUMBA_CPU_FEATURES wins over the host's)."""
    chosen = numba.config.CPU_FEATURES
    if chosen is None:
        return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
    return frozenset(part[1:] for part in chosen.split(",") if part.startswith("+"))


FEATURES = _target_features()
IS_X86 = "x86_64" in llvm.get_process_triple() or "amd64" in llvm.get_process_triple()
# What is not x86 (AArch64, POWER) has 128-bit vectors, 32 registers and a fused multiply-add at all times.
VECTOR_BITS = 512 if "avx512f" in FEATURES else 256 if "avx" in FEATURES else 128
HAS_FMA = not IS_X86 or "fma" in FEATURES or "avx512f" in FEATURES
N_REGISTERS = 32 if not IS_X86 or "avx512f" in FEATURES else 16
#: Bytes per cache line; buffers start on such a boundary.
CACHE_LINE = 64


def n_lanes(dtype: Any) -> int:
    """Return the lanes of a vector of `dtype`: 16 float32 or 8 float64 with AVX-512, half of that with AVX2."""
    return VECTOR_BITS // 8 // np.dtype(dtype).itemsize
