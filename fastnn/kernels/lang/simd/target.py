"""The processor that is compiled for: length of vectors, registers, fused multiply-add."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np

from fastnn.kernels.lang.levels import target_features

_TRIPLE = llvm.get_process_triple()
FEATURES = target_features()
IS_X86 = "x86_64" in _TRIPLE or "amd64" in _TRIPLE
IS_AARCH64 = _TRIPLE.startswith(("aarch64", "arm64"))
# What is not x86 (AArch64, POWER) has 128-bit vectors, 32 registers and a fused multiply-add at all times.
VECTOR_BITS = 512 if "avx512f" in FEATURES else 256 if "avx" in FEATURES else 128
# On x86 the multiply-add has the encoding of AVX.
HAS_FMA = not IS_X86 or {"avx", "fma"} <= FEATURES or "avx512f" in FEATURES
#: Whether the processor multiplies pairs of bfloat16 numbers and adds them in float32, in vectors of 512 bits.
HAS_BFLOAT16 = IS_X86 and {"avx512f", "avx512bf16"} <= FEATURES
N_REGISTERS = 32 if not IS_X86 or "avx512f" in FEATURES else 16
#: Bytes per cache line (Apple's processors have the longer ones); buffers start on such a boundary.
CACHE_LINE = 128 if IS_AARCH64 and "apple" in _TRIPLE else 64
VECTORS_PER_LINE = CACHE_LINE * 8 // VECTOR_BITS


def n_lanes(dtype: Any) -> int:
    """Return the lanes of a vector of `dtype`: 16 float32 or 8 float64 with AVX-512, half of that with AVX2."""
    return VECTOR_BITS // 8 // np.dtype(dtype).itemsize
