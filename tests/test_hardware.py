"""The FMA peak and the report on the machine. How fast it is, no test can ask; that the sums are right, one can."""

from __future__ import annotations

import builtins
import importlib.metadata
import platform

import numpy as np
import pytest

import fastnn
from fastnn import hardware
from fastnn.kernels import jit, peak, simd
from fastnn.team import Team, available_threads


@pytest.fixture
def quick(monkeypatch):
    """Short measurements: the tests are about what is told, not about how precisely."""
    monkeypatch.setattr(hardware, "_MEASUREMENT", 1e-4)
    monkeypatch.setattr(hardware, "_REPEATS", 2)


def start(n_threads, dtype):
    width = 16 * simd.n_lanes(dtype)
    return np.linspace(1.0, 3.0, n_threads * width).astype(dtype).reshape(n_threads, width)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_chain_makes_every_step_on_its_own_numbers(team, dtype, count):
    """x <- x / 2 + 1, exactly: a chain that was merged with another, or left out, would show."""
    n = team.n_threads
    vectors = start(n, dtype)
    expected = vectors.copy()
    chains = expected[:, : peak.N_CHAINS * simd.n_lanes(dtype)]
    for _ in range(count):
        chains[:] = chains * dtype.type(0.5) + dtype.type(1.0)
    team.run(peak.fma_loop, vectors, count, n)
    np.testing.assert_array_equal(vectors, expected)


def test_it_settles_instead_of_overflowing(solo, dtype):
    vectors = start(1, dtype)
    solo.run(peak.fma_loop, vectors, 200, 1)
    assert (vectors[:, : peak.N_CHAINS * simd.n_lanes(dtype)] == 2.0).all()


@pytest.mark.parametrize("given", [np.float32, "float64", np.dtype("float32")])
def test_the_peak_counts_two_operations_a_lane(quick, monkeypatch, given):
    """With a clock that says 1 ms for each call, the peak follows from the rounds that were asked for."""
    clock, rounds = [0.0], []
    run = Team.run

    def counted(self, kernel, *args, **options):
        rounds.append(args[1])
        clock[0] += 1e-3
        return run(self, kernel, *args, **options)

    monkeypatch.setattr(Team, "run", counted)
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: clock[0])
    lanes = simd.n_lanes(given)
    assert hardware.fma_peak(given, 2) == pytest.approx(2 * peak.N_CHAINS * lanes * 2 * rounds[-1] / 1e-3)


def test_the_peak_is_measured_over_calls_that_are_long_enough(monkeypatch):
    monkeypatch.setattr(hardware, "_MEASUREMENT", 1e-3)
    spans = []
    clock = hardware.time.perf_counter

    def noted():
        spans.append(clock())
        return spans[-1]

    monkeypatch.setattr(hardware.time, "perf_counter", noted)
    assert hardware.fma_peak(np.float32, 1) > 0.0
    lengths = [after - before for before, after in zip(spans[::2], spans[1::2], strict=True)]
    assert sum(length >= 1e-3 for length in lengths) == hardware._REPEATS


def test_all_threads_are_the_default(quick, monkeypatch):
    used = []

    class Noted(Team):
        def __init__(self, n_threads):
            used.append(n_threads)
            super().__init__(n_threads)

    monkeypatch.setattr(hardware, "Team", Noted)
    hardware.fma_peak()
    assert used == [available_threads()]


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", ">f4"])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match=r"^dtype must be float32 or float64; got "):
        hardware.fma_peak(dtype)


@pytest.mark.parametrize("n_threads", [0, -1])
def test_no_threads_are_refused(n_threads):
    with pytest.raises(ValueError, match=rf"^n_threads must be at least 1; got {n_threads}\.$"):
        hardware.fma_peak(n_threads=n_threads)


def test_the_processor_has_a_name():
    name = hardware.processor_name()
    assert name
    assert name == name.strip()


def test_the_processor_has_a_name_where_there_is_no_cpuinfo(monkeypatch):
    def refuse(self, *args, **options):
        raise FileNotFoundError(self)

    monkeypatch.setattr(hardware.Path, "read_text", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert hardware.processor_name() == "riscv64"


def test_versions_are_those_of_the_packages():
    found = hardware.versions()
    assert list(found) == ["python", "fastnn", "numpy", "numba", "llvmlite", "scipy"]
    assert found["python"] == platform.python_version()
    assert found["fastnn"] == fastnn.__version__
    assert found["numpy"] == np.__version__


def test_versions_do_without_a_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert hardware.versions()["scipy"] == "not installed"


def test_versions_import_nothing(monkeypatch):
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest, _real=builtins.__import__: (
        pytest.fail("imported scipy") if name == "scipy" else _real(name, *rest)
    ))  # fmt: skip
    assert hardware.versions()["scipy"]


def test_info_tells_what_a_bug_report_needs(quick):
    found = hardware.info()
    assert list(found) == [
        "system", "processor", "vectors", "threads", "region cost", "FMA peak, float32", "FMA peak, float64",
        "compiled code", "versions",
    ]  # fmt: skip
    assert all(isinstance(value, str) and value and "\n" not in value for value in found.values())
    assert str(simd.VECTOR_BITS) in found["vectors"]
    assert str(available_threads()) in found["threads"]
    assert "GFLOP/s with 1 thread" in found["FMA peak, float32"]
    assert fastnn.__version__ in found["versions"]


def test_info_names_the_place_of_compiled_code(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "JIT_DISABLED", False)
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    assert hardware.info()["compiled code"] == str(tmp_path)
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    assert "FASTNN_CACHE_DIR" in hardware.info()["compiled code"]
    monkeypatch.setattr(jit, "JIT_DISABLED", True)
    assert "NUMBA_DISABLE_JIT" in hardware.info()["compiled code"]


def test_info_with_one_thread_has_no_region_cost(quick, monkeypatch):
    monkeypatch.setattr(hardware, "available_threads", lambda: 1)
    found = hardware.info()
    assert found["region cost"] == "none with one thread"
    assert found["FMA peak, float32"].endswith("with 1 thread")
