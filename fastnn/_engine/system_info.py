"""Hardware and version information: processor, vector width, measured peak rates, installed packages."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine.kernel_loading import load_kernels, loaded
from fastnn._engine.processors import available_threads
from fastnn._engine.thread_team import ThreadTeam, region_cost
from fastnn._validation import must_be
from fastnn._version import __version__
from fastnn.kernels.lang import cache, compiler, flags, levels, simd
from fastnn.kernels.linalg.roofline import DOT_CHAINS, N_CHAINS, READ_VECTORS, dot_loop, fma_loop, read_loop
from fastnn.kernels.tables import aligned_zeros, round_up

#: Seconds per measurement, and number of measurements. A short one is likely to be free of disturbances, but must be
#: long compared with starting the threads of a team (about 40 us).
_MEASUREMENT = 0.005
_REPEATS = 10
#: Vectors that `fma_loop` takes; those beyond N_CHAINS are not overwritten.
_VECTORS = 16
#: Bytes of the data caches, assumed where the system does not report them.
_USUAL_CACHES = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}
#: Maximum bytes read to measure memory bandwidth.
_MOST_BYTES = 256 << 20
_PROCESSORS = Path("/sys/devices/system/cpu")
_CPUINFO = Path("/proc/cpuinfo")
#: macOS's names of the sizes of caches: those of the faster cores of Apple's processors, then of Intel's.
_MACOS_CACHES = {
    "L1": ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
    "L2": ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
    "L3": ("hw.perflevel0.l3cachesize", "hw.l3cachesize"),
}
#: Names of Arm processors by implementer and part, a choice from util-linux, sys-utils/lscpu-arm.c (what lscpu prints).
_ARM_PROCESSORS = {
    (0x41, 0xD03): "Arm Cortex-A53",
    (0x41, 0xD05): "Arm Cortex-A55",
    (0x41, 0xD07): "Arm Cortex-A57",
    (0x41, 0xD08): "Arm Cortex-A72",
    (0x41, 0xD09): "Arm Cortex-A73",
    (0x41, 0xD0A): "Arm Cortex-A75",
    (0x41, 0xD0B): "Arm Cortex-A76",
    (0x41, 0xD0C): "Arm Neoverse-N1",
    (0x41, 0xD0D): "Arm Cortex-A77",
    (0x41, 0xD40): "Arm Neoverse-V1",
    (0x41, 0xD41): "Arm Cortex-A78",
    (0x41, 0xD42): "Arm Cortex-A78AE",
    (0x41, 0xD44): "Arm Cortex-X1",
    (0x41, 0xD46): "Arm Cortex-A510",
    (0x41, 0xD47): "Arm Cortex-A710",
    (0x41, 0xD48): "Arm Cortex-X2",
    (0x41, 0xD49): "Arm Neoverse-N2",
    (0x41, 0xD4A): "Arm Neoverse-E1",
    (0x41, 0xD4D): "Arm Cortex-A715",
    (0x41, 0xD4E): "Arm Cortex-X3",
    (0x41, 0xD4F): "Arm Neoverse-V2",
    (0x43, 0x0AF): "Cavium ThunderX2",
    (0x46, 0x001): "Fujitsu A64FX",
    (0x48, 0xD01): "HiSilicon Kunpeng-920",
    (0x4E, 0x004): "NVIDIA Carmel",
    (0x61, 0x022): "Apple M1 (Icestorm)",
    (0x61, 0x023): "Apple M1 (Firestorm)",
    (0x61, 0x024): "Apple M1 Pro (Icestorm)",
    (0x61, 0x025): "Apple M1 Pro (Firestorm)",
    (0x61, 0x028): "Apple M1 Max (Icestorm)",
    (0x61, 0x029): "Apple M1 Max (Firestorm)",
    (0x61, 0x032): "Apple M2 (Blizzard)",
    (0x61, 0x033): "Apple M2 (Avalanche)",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}


def _best_rate(run: Callable[[int], object]) -> float:
    """Return the maximum rate, in rounds per second, of `run(count)`, which makes `count` rounds."""
    best, count, done = 0.0, 1, 0
    run(1)  # may compile
    while done < _REPEATS:
        start = time.perf_counter()
        run(count)
        seconds = max(time.perf_counter() - start, 1e-9)
        if seconds < _MEASUREMENT:
            count = min(10 * count, round(1.5 * count * _MEASUREMENT / seconds) + 1)
        else:
            best = max(best, count / seconds)
            done += 1
    return best


def _threads(n_threads: int | None) -> int:
    if n_threads is None:
        return available_threads()
    if n_threads < 1:
        raise ValueError(must_be("n_threads", "at least 1", n_threads))
    return n_threads


def vector_widths() -> tuple[int, ...]:
    """Return the vector widths of the processor in bits, first the one that fastnn uses."""
    return tuple(bits for bits in (512, 256, 128) if bits <= simd.VECTOR_BITS)


def fma_peak(
    dtype: npt.DTypeLike = np.float32, n_threads: int | None = None, *, vector_bits: int | None = None
) -> float:
    """Measure the peak rate of fused multiply-adds on registers, without memory access.

    Parameters
    ----------
    dtype : dtype
        ``float32`` or ``float64``.
    n_threads : int, optional
        Number of threads; by default all that are available.
    vector_bits : int, optional
        Width of the vectors, one of `vector_widths`; by default the widest.

    Returns
    -------
    float
        Floating-point operations per second of all threads together; a fused multiply-add counts as two. The
        measurement takes about 0.1 s, the first one with an empty cache about 2 s more for compiling.

    Raises
    ------
    ValueError
        If `dtype` or `vector_bits` is not one of those, or `n_threads` is below 1.
    """
    wanted = np.dtype(dtype)
    if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(must_be("dtype", "float32 or float64", wanted.name))
    n_threads = _threads(n_threads)
    bits = simd.VECTOR_BITS if vector_bits is None else vector_bits
    if bits not in vector_widths():
        raise ValueError(must_be("vector_bits", f"one of {', '.join(map(str, vector_widths()))}", bits))
    width = _VECTORS * simd.n_lanes(wanted)
    with ThreadTeam(n_threads) as team:
        n_threads = team.start(n_threads)
        vectors = aligned_zeros(n_threads * width, wanted).reshape(n_threads, width)
        vectors[:] = np.linspace(1.0, 3.0, width)
        flops_a_round = 2 * N_CHAINS * (bits // (8 * wanted.itemsize)) * n_threads
        return flops_a_round * _best_rate(lambda count: team.run(fma_loop, vectors, count, bits, n_threads))


def bfloat16_peak(n_threads: int | None = None) -> float:
    """Measure the peak rate of products of bfloat16 numbers that are added in float32, as matrix products make them.

    Parameters
    ----------
    n_threads : int, optional
        Number of threads; by default all that are available.

    Returns
    -------
    float
        Floating-point operations per second of all threads together, two per product. Where the processor has no
        instruction for them that of multiply-adds in float32, which are used then.
    """
    return (words_peak if simd.HAS_BFLOAT16 else functools.partial(fma_peak, np.float32))(n_threads)


def words_peak(n_threads: int | None = None) -> float:
    """Measure the same rate for words of two numbers; without the instruction their halves are widened."""
    n_threads = _threads(n_threads)
    lanes = simd.n_lanes(np.float32)
    width = _VECTORS * lanes
    with ThreadTeam(n_threads) as team:
        n_threads = team.start(n_threads)
        vectors = aligned_zeros(n_threads * width, np.dtype(np.float32)).reshape(n_threads, width)
        flops_a_round = 4 * DOT_CHAINS * lanes * n_threads
        return flops_a_round * _best_rate(lambda count: team.run(dot_loop, vectors, count, n_threads))


def _sysctl(name: str) -> str:
    """Return what macOS knows under a name; an empty text where it, or another system, knows nothing."""
    if platform.system() != "Darwin":
        return ""
    try:
        found = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _caches_of_linux() -> dict[str, int]:
    found: dict[str, int] = {}
    for place in sorted((_PROCESSORS / "cpu0" / "cache").glob("index*")):
        try:
            level, kind, size = ((place / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found[f"L{int(level)}"] = int(size.rstrip("KM")) << {"K": 10, "M": 20}.get(size[-1], 0)
        except (OSError, ValueError, IndexError):
            continue
    return {name: size for name, size in sorted(found.items()) if size > 0}


def _caches_of_macos() -> dict[str, int]:
    found: dict[str, int] = {}
    for level, names in _MACOS_CACHES.items():
        sizes = (int(text) for name in names if (text := _sysctl(name)).isdecimal())
        size = next((size for size in sizes if size > 0), 0)
        if size:
            found[level] = size
    return found


def reported_caches() -> dict[str, int]:
    """Return the bytes of each data cache by name, "L1" first; nothing if the system reports none."""
    found = _caches_of_linux() or _caches_of_macos()
    return found if "L1" in found else {}


def cache_sizes() -> dict[str, int]:
    """Return the bytes of each data cache by name, "L1" first; usual sizes if the system reports none."""
    return reported_caches() or dict(_USUAL_CACHES)


def read_bandwidth(n_bytes: int, n_threads: int | None = None) -> float:
    """Measure the bandwidth of reading a buffer repeatedly.

    Parameters
    ----------
    n_bytes : int
        Size of the buffer: one that fits in a cache measures that cache. Rounded up to a multiple of some hundred
        bytes per thread.
    n_threads : int, optional
        Number of threads, each reading its part of the buffer; by default all that are available.

    Returns
    -------
    float
        Bytes per second of all threads together. The measurement takes about 0.1 s.

    Raises
    ------
    ValueError
        If `n_bytes` or `n_threads` is below 1.
    """
    if n_bytes < 1:
        raise ValueError(must_be("n_bytes", "at least 1", n_bytes))
    n_threads = _threads(n_threads)
    dtype = np.dtype(np.float32)
    a_round = READ_VECTORS * simd.n_lanes(dtype)
    with ThreadTeam(n_threads) as team:
        n_threads = team.start(n_threads)
        n = round_up(-(-n_bytes // (dtype.itemsize * n_threads)), a_round)
        buffer = aligned_zeros(n_threads * n, dtype).reshape(n_threads, n)
        buffer[:] = 1.0  # untouched pages of zeros would share one physical page
        sums = aligned_zeros(n_threads * simd.CACHE_LINE, dtype).reshape(n_threads, simd.CACHE_LINE)
        return buffer.nbytes * _best_rate(lambda count: team.run(read_loop, buffer, count, 1.0, sums, n_threads))


def clock() -> float | None:
    """Return the clock of the fastest processor in Hz; None if not reported, as in virtual machines."""
    found = []
    for place in _PROCESSORS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        try:
            found.append(1e3 * int(place.read_text()))
        except (OSError, ValueError):
            continue
    return max(found, default=0.0) or None


@dataclass(frozen=True)
class Roofline:
    """Measured limits of a kernel: arithmetic, and reading from each cache and from memory.

    Parameters
    ----------
    peaks : dict
        Floating-point operations per second by (name of the dtype, bits of the vectors, threads).
    bandwidths : dict
        Bytes read per second by (name of the cache or "memory", threads).
    bytes_read : dict
        The size of the buffer for each name in `bandwidths`.
    cycles : float or None
        Clock in Hz; None if the system reports none.
    """

    peaks: dict[tuple[str, int, int], float]
    bandwidths: dict[tuple[str, int], float]
    bytes_read: dict[str, int]
    cycles: float | None

    def ridge(self, dtype: npt.DTypeLike = np.float32, level: str = "memory", n_threads: int = 1) -> float:
        """Return the operations per byte above which arithmetic is the limit, for the widest vectors."""
        peak = self.peaks[np.dtype(dtype).name, simd.VECTOR_BITS, n_threads]
        return peak / self.bandwidths[level, n_threads]


def roofline() -> Roofline:
    """Measure FMA peaks (one thread and all) and read bandwidths of caches (one thread) and memory (both).

    Returns
    -------
    Roofline
        The measurement takes about two seconds.
    """
    threads = sorted({1, available_threads()})
    peaks = {
        (dtype, bits, n): fma_peak(dtype, n, vector_bits=bits)
        for dtype in ("float32", "float64")
        for bits in vector_widths()
        for n in threads
    }
    caches = cache_sizes()
    # Half of a cache, as other processes use it, too. Of four times the last cache at most a quarter is cached.
    sizes = {name: size // 2 for name, size in caches.items()}
    sizes["memory"] = min(4 * max(caches.values()), _MOST_BYTES)
    bandwidths, cycles = {}, None
    for name, size in sizes.items():
        for n in threads if name == "memory" else (1,):
            bandwidths[name, n] = read_bandwidth(size, n)
        if name == "L1":
            cycles = clock()  # while the processor is busy: idle ones reduce their clock
    return Roofline(peaks, bandwidths, sizes, cycles)


def _with_threads(rates: dict[int, float], unit: str, form: str = ".1f") -> str:
    """Format `rates` by number of threads."""
    return ", ".join(
        f"{rate:{form}} {unit} with 1 thread" if n == 1 else f"{rate:{form}} with {n}" for n, rate in rates.items()
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes >> 20} MiB" if n_bytes >= 1 << 20 else f"{n_bytes / 1024:.0f} KiB"


def describe(roof: Roofline) -> dict[str, str]:
    """Format a roofline as texts by their labels."""
    lines = {}
    threads = sorted({n for _, _, n in roof.peaks})
    for dtype, bits in dict.fromkeys((dtype, bits) for dtype, bits, _ in roof.peaks):
        rates = {n: roof.peaks[dtype, bits, n] / 1e9 for n in threads}
        lines[f"FMA, {dtype}, {bits} bits"] = _with_threads(rates, "GFLOP/s")
    for name, size in roof.bytes_read.items():
        rates = {n: rate / 1e9 for (level, n), rate in roof.bandwidths.items() if level == name}
        text = _with_threads(rates, "GB/s")
        if roof.cycles is not None:
            text += f" ({1e9 * rates[1] / roof.cycles:.1f} bytes per cycle{' with 1' * (len(rates) > 1)})"
        lines[f"read {name}, {_size(size)}"] = text
    for dtype in dict.fromkeys(dtype for dtype, _, _ in roof.peaks):
        rates = {n: roof.ridge(dtype, n_threads=n) for n in threads}
        lines[f"ridge, {dtype}"] = _with_threads(rates, "flops per byte from memory") + " (with fewer, memory limits)"
    return lines


def _arm_name(implementer: str, part: str) -> str:
    """Return the name of an Arm processor from the two numbers in /proc/cpuinfo, or the numbers."""
    try:
        return _ARM_PROCESSORS[int(implementer, 16), int(part, 16)]
    except (KeyError, ValueError):
        return f"Arm implementer {implementer}, part {part}"


def processor_name() -> str:
    """Return the name of the processor as the system reports it; of several kinds of cores all, joined by "+"."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    for key, value in pairs:
        if key == "model name" and value:
            return value
    # Linux on Arm gives numbers for each core.
    implementers, parts = ([value for key, value in pairs if key == name] for name in ("CPU implementer", "CPU part"))
    names = dict.fromkeys(map(_arm_name, implementers, parts))
    found = " + ".join(names) or _sysctl("machdep.cpu.brand_string")
    return found or platform.processor() or platform.machine() or "unknown"


def versions() -> dict[str, str]:
    """Return the versions of Python, fastnn and its dependencies, without importing them."""
    found = {"python": platform.python_version(), "fastnn": __version__}
    for name in ("numpy", "numba", "llvmlite", "scipy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


_MODES: dict[flags.Mode, str] = {
    "private": "private: with Numba's private names, fast to compile",
    "public": "public: Numba's public functions alone, slow to compile",
    "python": "python: nothing is compiled",
}


def _where_from(dtype: np.dtype[Any]) -> str:
    """Load the kernels of a dtype; return where their code came from, and how long that took."""
    load_kernels(dtype)
    seconds, origins = loaded[dtype.name]
    counts = ", ".join(f"{count} {origin}" for origin, count in origins.items())
    return f"{counts or 'kept by Numba'}, in {seconds:.2f} s"


def _mixed_precision(n_threads: int) -> str:
    """Return how products of bfloat16 numbers are computed, and how fast."""
    if not simd.HAS_BFLOAT16:
        return "no instruction for bfloat16 (AVX512_BF16): rounded numbers are multiplied as float32, no faster"
    if compiler.JIT_DISABLED:
        return "not measured: nothing is compiled"
    rates = {n: bfloat16_peak(n) / 1e9 for n in sorted({1, n_threads})}
    return f"VDPBF16PS, 512 bits: {_with_threads(rates, 'GFLOP/s')}"


def info() -> Iterator[tuple[str, str | dict[str, str]]]:
    """Yield hardware and version information for a bug report, each part as soon as it is known.

    Yields
    ------
    str
        A label.
    str or dict
        Its text; that of "roofline" is a dict of texts if kernels are compiled. Peaks, bandwidths and the cost of a
        parallel region are measured last, in about two seconds.
    """
    n_threads = available_threads()
    lanes = " or ".join(f"{simd.n_lanes(dtype)} {dtype}" for dtype in ("float32", "float64"))
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "processor", processor_name()
    fma = "with" if simd.HAS_FMA else "without"
    yield "vectors", f"{simd.VECTOR_BITS} bits: {lanes}; {simd.N_REGISTERS} registers, {fma} fused multiply-add"
    yield "level", levels.LEVEL.name if levels.LEVEL else "none: only code for this very processor is used"
    caches = ", ".join(f"{name} {_size(size)}" for name, size in cache_sizes().items())
    yield "caches", caches if reported_caches() else f"{caches} (assumed: the system reports none)"
    yield "threads", f"{n_threads} available; fastnn starts its own (no OpenMP, TBB or workqueue)"
    yield "compiler", f"{_MODES[flags.MODE]} ({flags.REASON})"
    if compiler.JIT_DISABLED:
        yield "compiled code", "none: NUMBA_DISABLE_JIT is set, so the kernels run as slow Python"
    else:
        read_only = [f"{folder} (read only)" for folder in cache.FOLDERS.read if folder != cache.FOLDERS.write]
        write = [str(cache.FOLDERS.write or "not cached: no writable folder, set FASTNN_CACHE_DIR")]
        yield "compiled code", ", ".join(read_only + write)
        for name in ("float32", "float64"):
            yield f"{name} kernels", _where_from(np.dtype(name))
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions().items())
    if n_threads > 1:
        cost = f"{region_cost(n_threads) * 1e9:.0f} ns for {n_threads} threads to wait for each other once"
    else:
        cost = "none with one thread"
    yield "region cost", cost
    # As Python a buffer larger than the caches would take minutes.
    yield "mixed_bfloat16", _mixed_precision(n_threads)
    yield "roofline", "not measured: nothing is compiled" if compiler.JIT_DISABLED else describe(roofline())
