"""What fastnn runs on: the processor, its vectors, what it can do at best, and the versions of what is installed."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.kernels import jit, simd
from fastnn.kernels.layout import aligned_zeros
from fastnn.kernels.peak import N_CHAINS, fma_loop
from fastnn.team import Team, available_threads, region_cost

#: Seconds of one measurement of the peak, and how many are made: the best one is free of disturbances.
_MEASUREMENT = 0.01
_REPEATS = 7
#: Vectors that the peak's kernel takes; those beyond N_CHAINS stay as they are.
_VECTORS = 16


def fma_peak(dtype: npt.DTypeLike = np.float32, n_threads: int | None = None) -> float:
    """Measure what the fused multiply-add units reach in registers alone.

    Parameters
    ----------
    dtype : dtype
        ``float32`` or ``float64``.
    n_threads : int, optional
        Threads that run at once; by default all that are available.

    Returns
    -------
    float
        Operations a second of all threads together; a fused multiply-add counts as two. The measurement takes
        about 0.1 s, and the first one with an empty cache some 0.5 s more for compiling.

    Raises
    ------
    ValueError
        If `dtype` is something else, or `n_threads` is below 1.
    """
    wanted = np.dtype(dtype)
    if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64; got {wanted}.")
    if n_threads is None:
        n_threads = available_threads()
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1; got {n_threads}.")
    width = _VECTORS * simd.n_lanes(wanted)
    vectors = aligned_zeros(n_threads * width, wanted).reshape(n_threads, width)
    vectors[:] = np.linspace(1.0, 3.0, width)
    flops_a_round = 2 * N_CHAINS * simd.n_lanes(wanted) * n_threads
    best, count, done = 0.0, 1, 0
    with Team(n_threads) as team:
        team.run(fma_loop, vectors, 1, n_threads)  # may compile
        while done < _REPEATS:
            start = time.perf_counter()
            team.run(fma_loop, vectors, count, n_threads)
            seconds = max(time.perf_counter() - start, 1e-9)
            if seconds < _MEASUREMENT:
                count = min(10 * count, round(1.5 * count * _MEASUREMENT / seconds) + 1)
            else:
                best = max(best, flops_a_round * count / seconds)
                done += 1
    return best


def processor_name() -> str:
    """Name of the processor as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine() or "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter; nothing is imported for it."""
    from fastnn import __version__

    found = {"python": platform.python_version(), "fastnn": __version__}
    for name in ("numpy", "numba", "llvmlite", "scipy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def info() -> dict[str, str]:
    """Tell what fastnn finds here, for a bug report.

    Returns
    -------
    dict of str to str
        Values to be read by people. Peaks and the cost of a region are measured by the call, which takes about a
        second.
    """
    n_threads = available_threads()
    lanes = " or ".join(f"{simd.n_lanes(dtype)} {dtype}" for dtype in ("float32", "float64"))
    found = {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": processor_name(),
        "vectors": f"{simd.VECTOR_BITS} bits: {lanes}; {simd.N_REGISTERS} registers, "
        f"{'with' if simd.HAS_FMA else 'without'} fused multiply-add",
        "threads": f"{n_threads} available; fastnn starts its own (no OpenMP, TBB or workqueue)",
        "region cost": f"{region_cost(n_threads) * 1e9:.0f} ns with {n_threads} threads"
        if n_threads > 1
        else "none with one thread",
    }
    for dtype in ("float32", "float64"):
        peaks = [f"{fma_peak(dtype, 1) / 1e9:.1f} GFLOP/s with 1 thread"]
        if n_threads > 1:
            peaks.append(f"{fma_peak(dtype, n_threads) / 1e9:.1f} with {n_threads}")
        found[f"FMA peak, {dtype}"] = ", ".join(peaks)
    if jit.JIT_DISABLED:
        found["compiled code"] = "none: NUMBA_DISABLE_JIT is set, so the kernels run as slow Python"
    else:
        found["compiled code"] = str(jit.CACHE_FOLDER or "kept nowhere: no writable folder, set FASTNN_CACHE_DIR")
    found["versions"] = ", ".join(f"{name} {version}" for name, version in versions().items())
    return found
