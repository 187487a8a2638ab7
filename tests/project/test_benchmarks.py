"""The asv suite can be imported and run: each benchmark once, on its smallest case. No test checks its figures."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
from itertools import product
from pathlib import Path

import pytest

from fastnn.kernels.lang import compiler

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "asv_bench" / "benchmarks"

if not FOLDER.is_dir():
    pytest.skip("asv_bench is no part of this distribution", allow_module_level=True)

MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
assert len(MODULES) >= 5  # so that the rules below are not rules for nothing
#: What asv takes for a benchmark.
BENCHMARK = re.compile(r"(time|track|peakmem)_")


def load(name):
    """Import a module under the name that asv gives it: the cache of its compiled kernels remembers the name."""
    sys.path.insert(0, str(FOLDER.parent))
    try:
        return importlib.import_module(f"benchmarks.{name}")
    finally:
        sys.path.remove(str(FOLDER.parent))


def suites(name):
    """Classes of a module that hold benchmarks."""
    module = load(name)
    return [
        value for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not key.startswith("_")
        and any(map(BENCHMARK.match, dir(value)))
    ]  # fmt: skip


def cases(suite):
    """All combinations of a suite's parameters that it does not skip, the first (the smallest) first."""
    return [case for case in product(*getattr(suite, "params", ())) if case not in getattr(suite, "skip_params", ())]


BENCHMARKS = [
    pytest.param(suite, name, id=f"{module}.{suite.__name__}.{name}")
    for module in MODULES
    if module != "startup"  # whole processes, some of which compile
    for suite in suites(module)
    for name in dir(suite)
    if BENCHMARK.match(name)
]


def test_there_are_benchmarks():
    modules = {suite.values[0].__module__.rsplit(".")[-1] for suite in BENCHMARKS}
    assert modules == {
        "derivatives", "embedded", "inference", "kernels", "pictures", "playground", "populations", "search",
        "training",
    }  # fmt: skip
    assert {suite.__name__ for suite in suites("startup")} == {"Import", "FirstFit", "Memory"}


@pytest.mark.parametrize("module", MODULES)
def test_parameters_have_names(module):
    for suite in suites(module):
        assert len(getattr(suite, "params", ())) == len(getattr(suite, "param_names", ())), suite
        assert cases(suite), suite


@pytest.mark.slow
@pytest.mark.skipif(compiler.JIT_DISABLED, reason="they are for compiled code")
@pytest.mark.parametrize(("suite", "name"), BENCHMARKS)
def test_the_smallest_case_runs(monkeypatch, suite, name):
    monkeypatch.setattr(load("timing"), "SAMPLE", 1e-4)
    monkeypatch.setattr(load("timing"), "ALL_SAMPLES", 1e-3)
    monkeypatch.setattr("fastnn._engine.system_info._MEASUREMENT", 1e-4)
    if hasattr(suite, "parameters"):
        monkeypatch.setattr(suite, "parameters", 4096)  # else half a gigabyte
    case = cases(suite)[0]
    benchmark = suite()
    benchmark.setup(*case)
    found = getattr(benchmark, name)(*case)
    if name.startswith("track_"):
        assert math.isfinite(found)
        assert found > 0.0


@pytest.mark.skipif(compiler.JIT_DISABLED, reason="slow as Python")
def test_every_sample_of_training_begins_in_the_same_state():
    """asv calls `setup` before each sample, so equal losses are the sign that times are of the same work."""
    (shapes,) = (suite for suite in suites("training") if suite.__name__ == "Shapes")
    case = cases(shapes)[0]
    benchmark, losses = shapes(), []
    for _ in range(2):
        benchmark.setup(*case)
        losses.append(benchmark.run())
    assert losses[0] == losses[1]
    assert benchmark.run() != losses[0]  # without it, the next sample would be of another state
    assert (benchmark.number, benchmark.warmup_time) == (1, 0.0)


def test_asv_finds_the_suite():
    conf = json.loads((ROOT / "asv_bench" / "asv.conf.json").read_text(encoding="utf-8"))
    assert (ROOT / "asv_bench" / conf["benchmark_dir"]).samefile(FOLDER)
    assert (ROOT / "asv_bench" / conf["repo"]).samefile(ROOT)
