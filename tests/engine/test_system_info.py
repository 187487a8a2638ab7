"""FMA peak, bandwidths and the report on the machine: results and texts, not rates."""

from __future__ import annotations

import builtins
import importlib.metadata
import platform
import subprocess

import numpy as np
import pytest

import fastnn
from fastnn._engine import system_info
from fastnn._engine.processors import available_threads
from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.lang import cache, compiler, simd
from fastnn.kernels.lang.simd.bfloat16 import pairs
from fastnn.kernels.linalg import roofline
from fastnn.kernels.tables import aligned_zeros

compiled_only = pytest.mark.skipif(compiler.JIT_DISABLED, reason="nothing is compiled")


@pytest.fixture
def quick(monkeypatch):
    """Short measurements: the tests check what is reported, not its precision."""
    monkeypatch.setattr(system_info, "_MEASUREMENT", 1e-4)
    monkeypatch.setattr(system_info, "_REPEATS", 2)


@compiler.kernel
def halve(x, y):
    """Add 1 to the lower half of a vector."""
    v = simd.low_half(simd.load(simd.at(x, 0)))
    simd.store(simd.at(y, 0), v + simd.low_half(simd.broadcast(simd.at(x, 0), 1.0)))


def start(n_threads, dtype):
    width = 16 * simd.n_lanes(dtype)
    return np.linspace(1.0, 3.0, n_threads * width).astype(dtype).reshape(n_threads, width)


@pytest.mark.parametrize("bits", system_info.vector_widths())
@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_chain_makes_every_step_on_its_own_numbers(team, dtype, count, bits):
    """x <- x / 2 + 1, exactly: a chain that was merged with another, or left out, would show."""
    n = team.n_threads
    vectors = start(n, dtype)
    expected = vectors.copy()
    registers = expected.reshape(n, 16, -1)[:, : roofline.N_CHAINS, : bits // 8 // dtype.itemsize]
    for _ in range(count):
        registers[...] = registers * dtype.type(0.5) + dtype.type(1.0)
    team.run(roofline.fma_loop, vectors, count, bits, n)
    np.testing.assert_array_equal(vectors, expected)


def test_other_widths_do_nothing(solo, dtype):
    vectors = start(1, dtype)
    expected = vectors.copy()
    solo.run(roofline.fma_loop, vectors, 5, 64, 1)
    np.testing.assert_array_equal(vectors, expected)


def test_it_settles_instead_of_overflowing(solo, dtype):
    vectors = start(1, dtype)
    solo.run(roofline.fma_loop, vectors, 200, simd.VECTOR_BITS, 1)
    assert (vectors[:, : roofline.N_CHAINS * simd.n_lanes(dtype)] == 2.0).all()


@pytest.mark.parametrize("given", [np.float32, "float64", np.dtype("float32")])
def test_the_peak_counts_two_operations_a_lane(quick, monkeypatch, given):
    """With a clock that says 1 ms for each call, the peak follows from the rounds that were asked for."""
    clock, rounds = [0.0], []
    run = ThreadTeam.run

    def counted(self, kernel, *args, **options):
        rounds.append(args[1])
        clock[0] += 1e-3
        return run(self, kernel, *args, **options)

    monkeypatch.setattr(ThreadTeam, "run", counted)
    monkeypatch.setattr(system_info.time, "perf_counter", lambda: clock[0])
    for bits in system_info.vector_widths():
        lanes = bits // 8 // np.dtype(given).itemsize
        found = system_info.fma_peak(given, 2, vector_bits=bits)
        assert found == pytest.approx(2 * roofline.N_CHAINS * lanes * 2 * rounds[-1] / 1e-3)


def test_the_peak_is_measured_over_calls_that_are_long_enough(monkeypatch):
    monkeypatch.setattr(system_info, "_MEASUREMENT", 1e-3)
    spans = []
    clock = system_info.time.perf_counter

    def noted():
        spans.append(clock())
        return spans[-1]

    monkeypatch.setattr(system_info.time, "perf_counter", noted)
    assert system_info.fma_peak(np.float32, 1) > 0.0
    lengths = [after - before for before, after in zip(spans[::2], spans[1::2], strict=True)]
    assert sum(length >= 1e-3 for length in lengths) == system_info._REPEATS


def test_all_threads_are_the_default(quick, monkeypatch):
    used = []

    class Noted(ThreadTeam):
        def __init__(self, n_threads):
            used.append(n_threads)
            super().__init__(n_threads)

    monkeypatch.setattr(system_info, "ThreadTeam", Noted)
    system_info.fma_peak()
    assert used == [available_threads()]


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", ">f4"])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match=r"^dtype must be float32 or float64, got "):
        system_info.fma_peak(dtype)


@pytest.mark.parametrize("n_threads", [0, -1])
def test_no_threads_are_refused(n_threads):
    with pytest.raises(ValueError, match=rf"^n_threads must be at least 1, got {n_threads}\.$"):
        system_info.fma_peak(n_threads=n_threads)


@pytest.mark.parametrize("bits", [0, 64, 384, 1024])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match=rf"^vector_bits must be one of .*128, got {bits}\.$"):
        system_info.fma_peak(vector_bits=bits)


def test_widths_begin_with_that_of_the_kernels():
    assert system_info.vector_widths()[0] == simd.VECTOR_BITS
    assert system_info.vector_widths()[-1] == 128


# ---------------------------------------------------------------------------------------------------- bandwidths


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("rounds", [1, 5])
def test_every_element_is_read_every_time(team, count, rounds):
    """Whole numbers, so that each sum is exact: an element that was left out would show."""
    n_threads, n = team.n_threads, rounds * roofline.READ_VECTORS * simd.n_lanes(np.float32)
    buffer = aligned_zeros(n_threads * n, np.float32).reshape(n_threads, n)
    buffer[:] = np.random.default_rng(0).integers(-100, 101, buffer.shape)
    sums = aligned_zeros(n_threads * 64, np.float32).reshape(n_threads, 64)
    team.run(roofline.read_loop, buffer, count, 2.0, sums, n_threads)
    np.testing.assert_array_equal(sums[:, 0], 2 * count * buffer.sum(axis=1))
    assert not sums[:, 1:].any()


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_bytes", [1, 512, 10_000])
def test_the_bandwidth_counts_the_bytes_that_are_read(quick, monkeypatch, n_bytes, n_threads):
    clock, calls = [0.0], []
    run = ThreadTeam.run

    def counted(self, kernel, *args, **options):
        calls.append(args[0].nbytes * args[1])
        clock[0] += 1e-3
        return run(self, kernel, *args, **options)

    monkeypatch.setattr(ThreadTeam, "run", counted)
    monkeypatch.setattr(system_info.time, "perf_counter", lambda: clock[0])
    assert system_info.read_bandwidth(n_bytes, n_threads) == pytest.approx(calls[-1] / 1e-3)
    a_round = n_threads * roofline.READ_VECTORS * simd.VECTOR_BITS // 8
    assert n_bytes <= calls[0] < n_bytes + a_round + 4 * n_threads


@pytest.mark.parametrize("n_bytes", [0, -1])
def test_no_bytes_are_refused(n_bytes):
    with pytest.raises(ValueError, match=rf"^n_bytes must be at least 1, got {n_bytes}\.$"):
        system_info.read_bandwidth(n_bytes)


def test_reading_with_no_threads_is_refused():
    with pytest.raises(ValueError, match=r"^n_threads must be at least 1, got 0\.$"):
        system_info.read_bandwidth(100, 0)


def caches(folder, *entries):
    for k, (level, kind, size) in enumerate(entries):
        place = folder / "cpu0" / "cache" / f"index{k}"
        place.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (place / name).write_text(f"{text}\n")


def test_cache_sizes_are_those_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    caches(tmp_path, (1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2M"), (3, "Unified", "32768K"))
    assert system_info.cache_sizes() == {"L1": 48 << 10, "L2": 2 << 20, "L3": 32 << 20}


@pytest.mark.parametrize("entry", [None, (1, "Instruction", "32K"), ("one", "Data", "32K"), (1, "Data", "unknown")])
def test_cache_sizes_where_the_system_reports_none(monkeypatch, tmp_path, entry):
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    monkeypatch.setattr(system_info, "_sysctl", lambda name: "")
    if entry:
        caches(tmp_path, entry)
    assert system_info.cache_sizes() == {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}


def test_cache_sizes_are_those_of_macos(monkeypatch, tmp_path):
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    faster = {"hw.perflevel0.l1dcachesize": "131072", "hw.perflevel0.l2cachesize": "12582912"}
    known = {**faster, "hw.l1dcachesize": "65536"}
    monkeypatch.setattr(system_info, "_sysctl", lambda name: known.get(name, ""))
    assert system_info.cache_sizes() == {"L1": 128 << 10, "L2": 12 << 20}
    # Processors by Intel have one kind of cores; a cache that is not there has 0 bytes.
    known = {"hw.l1dcachesize": "32768", "hw.l2cachesize": "262144", "hw.l3cachesize": "0"}
    assert system_info.cache_sizes() == {"L1": 32 << 10, "L2": 256 << 10}


def test_the_clock_is_that_of_the_fastest_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    assert system_info.clock() is None
    for k, text in enumerate(("1800000\n", "3600000\n", "<unknown>\n")):
        place = tmp_path / f"cpu{k}" / "cpufreq"
        place.mkdir(parents=True)
        (place / "scaling_cur_freq").write_text(text)
    assert system_info.clock() == 3.6e9


@compiled_only
def test_the_roofline_has_every_peak_and_bandwidth(monkeypatch):
    monkeypatch.setattr(system_info, "_MEASUREMENT", 5e-4)
    monkeypatch.setattr(system_info, "_REPEATS", 2)
    roof = system_info.roofline()
    threads = {1, available_threads()}
    assert set(roof.peaks) == {
        (dtype, bits, n) for dtype in ("float32", "float64") for bits in system_info.vector_widths() for n in threads
    }
    levels = [*system_info.cache_sizes(), "memory"]
    assert set(roof.bandwidths) == {*((level, 1) for level in levels), *(("memory", n) for n in threads)}
    assert list(roof.bytes_read) == levels
    assert min(roof.peaks.values()) > 0.0
    assert min(roof.bandwidths.values()) > 0.0


def test_the_ridge_is_the_peak_by_the_bandwidth():
    widest = simd.VECTOR_BITS
    peaks = {("float32", widest, 1): 120e9, ("float32", 64, 1): 7e9, ("float64", widest, 1): 60e9}
    peaks["float32", widest, 2] = 200e9
    roof = system_info.Roofline(peaks, {("memory", 1): 20e9, ("memory", 2): 25e9, ("L1", 1): 240e9}, {}, None)
    assert roof.ridge() == 6.0
    assert roof.ridge("float64", "L1") == 0.25
    assert roof.ridge(n_threads=2) == 8.0


def test_a_roofline_in_words():
    roof = system_info.Roofline(
        peaks={("float32", simd.VECTOR_BITS, 1): 100e9, ("float32", simd.VECTOR_BITS, 2): 200e9},
        bandwidths={("L1", 1): 200e9, ("memory", 1): 20e9, ("memory", 2): 25e9},
        bytes_read={"L1": 16 << 10, "memory": 128 << 20},
        cycles=4e9,
    )
    assert system_info.describe(roof) == {
        f"FMA, float32, {simd.VECTOR_BITS} bits": "100.0 GFLOP/s with 1 thread, 200.0 with 2",
        "read L1, 16 KiB": "200.0 GB/s with 1 thread (50.0 bytes per cycle)",
        "read memory, 128 MiB": "20.0 GB/s with 1 thread, 25.0 with 2 (5.0 bytes per cycle with 1)",
        "ridge, float32": "5.0 flops per byte from memory with 1 thread, 8.0 with 2 (with fewer, memory limits)",
    }


# -------------------------------------------------------------------------------------------------------- report


def test_the_processor_has_a_name():
    name = system_info.processor_name()
    assert name
    assert name == name.strip()


@pytest.fixture
def cpuinfo(monkeypatch, tmp_path):
    """Stand for /proc/cpuinfo, which is missing until the returned function writes it; no other source has a name."""
    place = tmp_path / "cpuinfo"
    monkeypatch.setattr(system_info, "_CPUINFO", place)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    return place.write_text


def arm_cores(*numbers):
    return "\n".join(
        f"processor\t: {k}\nFeatures\t: fp asimd\nCPU implementer\t: {implementer}\nCPU architecture: 8\n"
        f"CPU variant\t: 0x3\nCPU part\t: {part}\nCPU revision\t: 1\n"
        for k, (implementer, part) in enumerate(numbers)
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU: fast\n\nprocessor\t: 1\nmodel name\t: Other\n", "Some CPU: fast"),
        (arm_cores(("0x41", "0xd0c"), ("0x41", "0xd0c")), "Arm Neoverse-N1"),
        (arm_cores(("0x41", "0xd40")), "Arm Neoverse-V1"),
        (arm_cores(("0x41", "0xd03"), ("0x41", "0xd08"), ("0x41", "0xd03")), "Arm Cortex-A53 + Arm Cortex-A72"),
        (arm_cores(("0x61", "0x022"), ("0x61", "0x023")), "Apple M1 (Icestorm) + Apple M1 (Firestorm)"),
        (arm_cores(("0x41", "0xfff")), "Arm implementer 0x41, part 0xfff"),
        (arm_cores(("0x7f", "0xd0c")), "Arm implementer 0x7f, part 0xd0c"),
        (arm_cores(("?", "0xd0c")), "Arm implementer ?, part 0xd0c"),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", "riscv64"),
        ("model name\t:\n", "riscv64"),
        ("", "riscv64"),
    ],
)
def test_the_processor_has_the_name_that_cpuinfo_gives(cpuinfo, text, name):
    cpuinfo(text)
    assert system_info.processor_name() == name


def test_the_processor_has_a_name_where_there_is_no_cpuinfo(cpuinfo):
    assert system_info.processor_name() == "riscv64"


def test_the_processor_has_the_name_that_macos_gives(cpuinfo, monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="Apple M2 Pro\n", stderr="")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(system_info.subprocess, "run", run)
    assert system_info.processor_name() == "Apple M2 Pro"
    assert asked == [["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]]


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.CalledProcessError(1, "sysctl"), subprocess.TimeoutExpired("sysctl", 10)]
)
def test_what_macos_does_not_know_is_left_out(cpuinfo, monkeypatch, tmp_path, error):
    def run(command, **options):
        raise error

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    monkeypatch.setattr(system_info.subprocess, "run", run)
    assert system_info.processor_name() == "riscv64"
    assert system_info.reported_caches() == {}


def test_other_systems_are_not_asked_like_macos(cpuinfo, monkeypatch):
    monkeypatch.setattr(system_info.subprocess, "run", lambda *_, **__: pytest.fail("asked"))
    assert system_info.processor_name() == "riscv64"


def test_versions_are_those_of_the_packages():
    found = system_info.versions()
    assert list(found) == ["python", "fastnn", "numpy", "numba", "llvmlite", "scipy"]
    assert found["python"] == platform.python_version()
    assert found["fastnn"] == fastnn.__version__
    assert found["numpy"] == np.__version__


def test_versions_do_without_a_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert system_info.versions()["scipy"] == "not installed"


def test_versions_import_nothing(monkeypatch):
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest, _real=builtins.__import__: (
        pytest.fail("imported scipy") if name == "scipy" else _real(name, *rest)
    ))  # fmt: skip
    assert system_info.versions()["scipy"]


@compiled_only
def test_info_contains_what_a_bug_report_needs(quick):
    found = dict(system_info.info())
    assert list(found) == [
        "system", "processor", "vectors", "level", "caches", "threads", "compiler", "compiled code", "float32 kernels",
        "float64 kernels", "versions", "region cost", "mixed_bfloat16", "roofline",
    ]  # fmt: skip
    roof = found.pop("roofline")
    assert all(isinstance(value, str) and value and "\n" not in value for value in [*found.values(), *roof.values()])
    assert str(simd.VECTOR_BITS) in found["vectors"]
    assert str(available_threads()) in found["threads"]
    assert "GFLOP/s with 1 thread" in roof[f"FMA, float32, {simd.VECTOR_BITS} bits"]
    assert any(name.startswith("read memory") for name in roof)
    assert fastnn.__version__ in found["versions"]


@pytest.fixture
def no_roofline(monkeypatch):
    """Leave the measurements out where they do not matter."""
    empty = system_info.Roofline({}, {}, {}, None)
    monkeypatch.setattr(system_info, "roofline", lambda: empty)
    monkeypatch.setattr(system_info, "_where_from", str)


def test_info_names_the_place_of_compiled_code(no_roofline, monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "JIT_DISABLED", False)
    baked = tmp_path / "baked"
    for folders, text in (
        (cache.Folders((tmp_path,), tmp_path, None), str(tmp_path)),
        (cache.Folders((baked, tmp_path), tmp_path, None), f"{baked} (read only), {tmp_path}"),
    ):
        monkeypatch.setattr(cache, "FOLDERS", folders)
        assert dict(system_info.info())["compiled code"] == text
    monkeypatch.setattr(cache, "FOLDERS", cache.Folders((), None, None))
    assert "FASTNN_CACHE_DIR" in dict(system_info.info())["compiled code"]
    monkeypatch.setattr(compiler, "JIT_DISABLED", True)
    found = dict(system_info.info())
    assert "NUMBA_DISABLE_JIT" in found["compiled code"]
    assert found["roofline"].startswith("not measured")


@pytest.mark.parametrize("has", [False, True])
def test_info_says_how_mixed_precision_is_computed(no_roofline, monkeypatch, has):
    monkeypatch.setattr(simd, "HAS_BFLOAT16", has)
    monkeypatch.setattr(compiler, "JIT_DISABLED", False)
    monkeypatch.setattr(system_info, "words_peak", lambda n: n * 1e9)
    monkeypatch.setattr(system_info, "fma_peak", lambda dtype, n: n * 1e6)
    text = dict(system_info.info())["mixed_bfloat16"]
    assert text.startswith("VDPBF16PS" if has else "no instruction")
    assert ("1.0 GFLOP/s with 1 thread" in text) is has
    assert system_info.bfloat16_peak(2) == (2e9 if has else 2e6)


def test_every_chain_of_words_adds_every_product(team):
    v, n, count = simd.n_lanes(np.float32), team.n_threads, 3
    vectors = start(n, np.dtype(np.float32))
    registers = vectors.reshape(n, 16, v)
    factors = (pairs(np.full(v, a, np.float32), np.full(v, b, np.float32)) for a, b in ((1.5, 0.25), (0.5, -2.0)))
    registers[:, 12], registers[:, 13] = (words.view(np.float32) for words in factors)
    expected = registers.copy()
    for _ in range(count):
        expected[:, : roofline.DOT_CHAINS] = (expected[:, : roofline.DOT_CHAINS] + np.float32(0.75)) - np.float32(0.5)
    n = team.start(n)
    team.run(roofline.dot_loop, vectors, count, n)
    np.testing.assert_array_equal(vectors[:n].reshape(n, 16, v).view(np.uint32), expected[:n].view(np.uint32))


def test_info_says_which_caches_are_assumed(no_roofline, monkeypatch, tmp_path):
    monkeypatch.setattr(system_info, "_PROCESSORS", tmp_path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert dict(system_info.info())["caches"] == "L1 32 KiB, L2 512 KiB, L3 8 MiB (assumed: the system reports none)"
    caches(tmp_path, (1, "Data", "48K"))
    assert dict(system_info.info())["caches"] == "L1 48 KiB"


def test_info_with_one_thread_has_no_region_cost(no_roofline, monkeypatch):
    monkeypatch.setattr(system_info, "available_threads", lambda: 1)
    assert dict(system_info.info())["region cost"] == "none with one thread"


@compiled_only
def test_a_roofline_with_one_thread(quick, monkeypatch):
    monkeypatch.setattr(system_info, "available_threads", lambda: 1)
    roof = system_info.roofline()
    assert {key[-1] for key in (*roof.peaks, *roof.bandwidths)} == {1}
    assert all(" with 2" not in text for text in system_info.describe(roof).values())


# ------------------------------------------------------------------------------------------- vectors of other widths


def test_the_low_half_of_a_vector(dtype):
    v = simd.n_lanes(dtype)
    x, y = np.arange(1, v + 1, dtype=dtype), np.zeros(v, dtype)
    halve(x, y)
    np.testing.assert_array_equal(y, np.where(np.arange(v) < v // 2, x + 1, 0))
