"""Compilation: decorators and flags, reuse of the cache, forks, other processors."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import numba
import numpy as np
import pytest
from driver import run_python

import fastnn.kernels
import fastnn.kernels.lang.simd
from fastnn.kernels.lang import cache, compiler, flags, simd
from fastnn.kernels.lang.compiler import JIT_DISABLED
from fastnn.kernels.linalg import microkernel
from fastnn.kernels.loop.train import train as train_kernel
from fastnn.kernels.maths.rng import shuffle

FOLDER = Path(fastnn.kernels.__file__).parent
PACKAGE = FOLDER.parent
KERNELS = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FOLDER.rglob("*.py"))
MODULES = KERNELS + [name.removesuffix(".py") for name in cache.RULE_MODULES]
assert len(MODULES) >= 20  # so that the rules below are not rules for nothing

#: The modules that may compile.
COMPILING = ("kernels.lang.compiler", "kernels.lang.numba_private.deferred")

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


# ---------------------------------------------------------------------------------------------------- lint


def parsed(module):
    return ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))


def names_in(node):
    """All names and attributes that are used in a piece of code."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.alias):
            yield from part.name.split(".")


FORBIDDEN = {
    "njit", "vectorize", "guvectorize", "stencil", "cfunc", "jitclass", "generated_jit", "prange", "pndindex",
    "fastmath", "parallel", "objmode", "carray", "farray", "set_num_threads",
}  # fmt: skip


def offences(tree):
    """Names in a module that only `compiler` may use."""
    return FORBIDDEN.intersection(names_in(tree)) | {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in FORBIDDEN
    }


@pytest.mark.parametrize("module", [m for m in MODULES if m not in COMPILING])
def test_two_modules_compile_and_no_other(module):
    tree = parsed(module)
    assert not offences(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "numba":
            assert node.attr not in ("jit", "njit")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
            assert "jit" not in {alias.name for alias in node.names}


def test_the_lint_sees_what_it_looks_for():
    for text in (
        "from numba import njit\n@njit\ndef f(): pass",
        "import numba\nf = numba.njit(g)",
        "@kernel\ndef f(n):\n    for i in prange(n): pass",
        "f = compile(g, parallel=True)",
        "f = compile(g, fastmath=True)",
    ):
        assert offences(ast.parse(text))
    assert not offences(ast.parse("@kernel\ndef f(n):\n    for i in range(n): pass"))


@pytest.mark.parametrize("module", [m for m in MODULES if m not in COMPILING and not m.endswith("__init__")])
def test_compiled_functions_bear_one_of_the_marks(module):
    # A function that takes part in compiled code bears one of the two marks; all others are plain helpers of
    # code generation, which Numba never sees.
    known = {"device_function", "kernel", "op", "elementwise", "lower", "type_callable", "lower_builtin",
             "register_model", "overload", "lower_getattr_generic", "property", "cache",
             "documented", "dataclass", "contextmanager", "explained"}  # fmt: skip
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = called.attr if isinstance(called, ast.Attribute) else called.id
                assert name in known, f"{module}.{node.name} is decorated by {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__init__")])
def test_compiled_functions_have_docstrings(module):
    tree = parsed(module)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            marks = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
            if marks & {"device_function", "kernel"}:
                assert ast.get_docstring(node), f"{module}.{node.name}"


def test_compiled_functions_are_in_files_that_the_cache_key_covers():
    mark = "fastnn.kernels.lang.compiler import device_function"
    upper = [path for path in PACKAGE.rglob("*.py") if FOLDER not in path.parents]
    using = {path.name for path in upper if mark in path.read_text(encoding="utf-8")}
    assert using <= set(cache.RULE_MODULES)
    assert all((PACKAGE / name).is_file() for name in cache.RULE_MODULES)


@compiled_only
def test_arithmetic_is_compiled_as_written():
    @compiler.kernel
    def results(a, b, out):
        out[0] = (a + b) - a  # with reassociation: b
        out[1] = 1.0 if b != b else 0.0  # without NaNs: 0 always
        out[2] = 1.0 / (b - b)  # with Python's error model: ZeroDivisionError

    out = np.empty(3)
    results(1e16, 1.0, out)
    np.testing.assert_array_equal(out, [0.0, 0.0, np.inf])
    results(1.0, np.nan, out)
    assert out[1] == 1.0


@compiled_only
def test_kernels_release_the_interpreter():
    assert train_kernel.targetoptions["nogil"] is True
    assert shuffle.targetoptions["nogil"] is True


# ------------------------------------------------------------------------------- what is compiled, and kept


@compiled_only
def test_numbas_own_cache_setting_is_left_alone(tmp_path):
    setting = numba.config.CACHE_DIR

    @compiler.kernel
    def one():
        return 1

    assert one() == 1
    assert setting == numba.config.CACHE_DIR


@compiled_only
def test_a_constant_argument_makes_no_second_copy():
    @compiler.device_function
    def twice(n):
        return 2 * n

    @compiler.kernel
    def both(n):
        return twice(3) + twice(n) + twice(0)

    assert both(5) == 16
    if flags.MODE == "private":
        assert len(twice.dispatcher.signatures) == 1


SHUFFLE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {before}
    from fastnn.kernels.lang import compiler
    from fastnn.kernels.maths.rng import shuffle
    import numpy as np
    order = np.empty(5, np.int64)
    shuffle(order, 1, 2)
print(sorted(order.tolist()), compiler.CACHE_FOLDER, len([w for w in caught if "fastnn" in str(w.message)]),
      sum(shuffle.stats.cache_hits.values()), sum(shuffle.stats.cache_misses.values()), sep="|")
"""


def run_shuffle(before="pass", **environment):
    return run_python(SHUFFLE.format(before=before), **environment).strip().split("|")


@pytest.mark.slow
@compiled_only
def test_a_process_without_a_place_compiles_after_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    # With HOME alone set, the folder of the user is below it.
    order, folder, warned, _, _ = run_shuffle(
        f"import tempfile; tempfile.tempdir = {str(blocked)!r}",
        FASTNN_CACHE_DIR=blocked / "a", XDG_CACHE_HOME=None, HOME=blocked / "b", NUMBA_CACHE_DIR=None,
    )  # fmt: skip
    assert order == "[0, 1, 2, 3, 4]"
    assert (folder, warned) == ("None", "1")


@pytest.mark.slow
@compiled_only
def test_a_process_whose_chosen_place_is_blocked_takes_another_after_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = {"FASTNN_CACHE_DIR": blocked / "a", "XDG_CACHE_HOME": tmp_path / "user", "NUMBA_CACHE_DIR": None}
    _, folder, warned, hits, misses = run_shuffle(**environment)
    assert Path(folder).parent == tmp_path / "user" / "fastnn"
    assert (warned, hits, misses) == ("1", "0", "1")
    assert run_shuffle(**environment)[2:] == ["1", "1", "0"]


# ------------------------------------------------------------------------------------------ forks and threads

FORK = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import multiprocessing
import numpy as np
from driver import *
arch = architecture([6, 40, 3], dtype=np.float32)
rows = problem(arch, 100)

def bits():
    made = engine(arch, n_threads=2)
    train(made, rows, epochs=3, batch=16, n_threads=2)
    with ThreadTeam(2) as team:
        outputs = made.predict(rows.x, team.n_threads)
    return made.params.tobytes() + outputs.tobytes()

before = bits()

def child(queue=None):
    signal.alarm(60)
    same = bits() == before
    if queue is None:
        os._exit(0 if same else 3)
    queue.put(same)

def fork():
    number = os.fork()
    if number == 0:
        child()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

assert fork() == 0, "after training"
with ThreadTeam(2) as team:
    train(engine(arch, n_threads=2), rows, n_threads=2, team=team)
    assert fork() == 0, "while a team stands by"
    train(engine(arch, n_threads=2), rows, n_threads=2, team=team)
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
assert queue.get(timeout=90)
process.join(90)
assert process.exitcode == 0
assert bits() == before
print("done")
"""


@pytest.mark.slow
@needs_fork
def test_a_forked_process_trains_too():
    assert run_python(FORK).split() == ["done"]


@pytest.mark.slow
def test_numbas_threading_layer_does_not_matter():
    # workqueue aborts the process when two threads enter it; nothing here ever does.
    code = """
import threading
import numpy as np
from driver import *
arch = architecture([6, 40, 3], dtype=np.float32)
rows = problem(arch, 100)
found = {}

def work(k):
    made = engine(arch, n_threads=2)
    train(made, rows, epochs=5, batch=16, n_threads=2)
    found[k] = made.params.tobytes()

work(0)
threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found[0] == found[1] == found[2]
print("done")
"""
    assert run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2").split() == ["done"]


# ----------------------------------------------------------------------- the same kernels, otherwise compiled

SMALL_NETS = """
import sys
from dataclasses import replace
import numpy as np
from driver import *
from fastnn._data.rows import AugmentationPlan
from fastnn.kernels.lang import simd
from fastnn.kernels.linalg import microkernel
out = {}
cases = [
    ([3, 5, 2], "relu", "squared_error", "sgd", (1e-3, 1e-2)),
    ([3, 5, 4, 3], "tanh", "softmax_crossentropy", "adam", (0.0, 0.0)),
    ([3, 18, 2], "sigmoid", "binary_crossentropy", "rmsprop", (0.0, 1e-2)),
    ([2, 5, 19], "elu", "softmax_crossentropy", "nesterov", (1e-3, 0.0)),
    ([2, 5, 19], "leaky_relu", "sum_of_squares", "momentum", (0.0, 0.0)),
    ([17, 1], "identity", "squared_error", "adagrad", (0.0, 0.0)),
]
for dtype in (np.float32, np.float64):
    for k, (sizes, hidden, loss, optimizer, penalty) in enumerate(cases):
        arch = architecture(sizes, hidden=hidden, loss=loss, penalty=penalty, dtype=dtype)
        made = engine(arch)
        rows = problem(arch, 21, weighted=True, labels=k % 2 == 1)
        rates = (1e-3, 0.9, 0.0, 0.0) if loss == "sum_of_squares" else None
        sums = train(made, rows, epochs=2, batch=8, optimizer=OPTIMIZERS[optimizer], rates=rates, seed=1)
        with ThreadTeam(1) as team:
            outputs = made.predict(rows.x, team.n_threads)
            scores = made.evaluate(rows.data(), metrics=(ids.MEAN_SQUARED_ERROR,), team=team)
        name = f"{k}_{np.dtype(dtype).name}"
        out[name] = np.concatenate([a.ravel() for a in (*made.weights(), *made.biases(), outputs)])
        out[name + "_sums"] = np.array([sums[-1].loss, sums[-1].penalty, sums[-1].weight, scores.loss])
options = [
    ("selu", "huber", "adam", {"weight_decay": 0.1, "clip_value": 0.2}, {}),
    ("gelu", "quantile", "nadam", {"clip_norm": 0.5}, {"max_norms": (0.8, 1.0)}),
    ("silu", "poisson", "amsgrad", {"ema_decay": 0.9}, {"dropouts": (0.2, 0.5)}),
    ("mish", "absolute_error", "momentum", {}, {"trained": (False, True)}),
    ("softplus", "gaussian_nll", "adam", {"weight_decay": 0.1}, {"dropouts": (0.0, 0.3), "max_norms": (1.0, 1.0)}),
]
for dtype in (np.float32, np.float64):
    for hidden, loss, optimizer, settings, parts in options:
        arch = replace(architecture([3, 10, 4], hidden=hidden, loss=loss, dtype=dtype), **parts)
        made = engine(arch, averaged="ema_decay" in settings)
        rows = problem(arch, 21, weighted=True)
        chance = "dropouts" in parts
        changes = AugmentationPlan(noise=0.1, mixing=np.linspace(0, 1, 64)) if chance else None
        train(made, rows, epochs=2, optimizer=OPTIMIZERS[optimizer], seed=1, changes=changes, **settings)
        out[f"{hidden}_{np.dtype(dtype).name}"] = np.concatenate([
            made.predict(rows.x, 1).ravel(), *(a.ravel() for a in (*made.weights(), *made.biases()))
        ])
np.savez(sys.argv[1] if len(sys.argv) > 1 else PATH, **out)
print(simd.VECTOR_BITS, microkernel.TILE_ROWS, simd.HAS_FMA)
"""


@pytest.fixture(scope="module")
def compiled_results(tmp_path_factory):
    """What the kernels compute when compiled for this processor."""
    path = tmp_path_factory.mktemp("results") / "here.npz"
    run_python(f"PATH = {str(path)!r}\n" + SMALL_NETS)
    return np.load(path)


def compare(found, wanted):
    assert sorted(found) == sorted(wanted)
    for name in wanted:
        tolerance = 1e-4 if "float32" in name else 1e-10
        np.testing.assert_allclose(found[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_the_kernels_run_as_plain_python(tmp_path, compiled_results):
    path = tmp_path / "plain.npz"
    # The twins meet overflow and NaN on their way, as compiled code does, and must be as silent.
    run_python(f"PATH = {str(path)!r}\n" + SMALL_NETS, NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="error::RuntimeWarning")
    compare(np.load(path), compiled_results)


OTHER_PROCESSORS = {
    "avx2": ("+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma", ["256", "6", "True"]),
    "sse2": ("+sse2", ["128", "6", "False"]),
}


@pytest.mark.slow
@compiled_only
@pytest.mark.skipif("avx2" not in fastnn.kernels.lang.simd.FEATURES, reason="this processor could not run the code")
@pytest.mark.parametrize("name", OTHER_PROCESSORS)
def test_other_vector_lengths_give_the_same_to_rounding(name, tmp_path, compiled_results):
    features, expected = OTHER_PROCESSORS[name]
    if expected == [str(simd.VECTOR_BITS), str(microkernel.TILE_ROWS), str(simd.HAS_FMA)]:
        pytest.skip("this processor's own vectors, which all other tests run")
    path = tmp_path / "other.npz"
    printed = run_python(f"PATH = {str(path)!r}\n" + SMALL_NETS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert printed.split() == expected
    compare(np.load(path), compiled_results)


RECIPE = re.compile(r"^\| (\d+) bits \| `(x86-64-v\d)` \| `([^`]+)` \|$", re.MULTILINE)
RECIPES = RECIPE.findall((Path(__file__).parents[3] / "docs/guide/compiling.md").read_text(encoding="utf-8"))
TARGET = "from fastnn.kernels.lang import simd; print(simd.VECTOR_BITS, simd.N_REGISTERS, simd.HAS_FMA)"


@pytest.mark.slow
@pytest.mark.skipif(not simd.IS_X86, reason="for x86")
def test_the_documented_recipes_for_other_processors_work():
    """The variables of docs/guide/compiling.md, whatever processor the test runs on."""
    found = {
        cpu: run_python(TARGET, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features).split() for _, cpu, features in RECIPES
    }
    assert found == {
        "x86-64-v4": ["512", "32", "True"],
        "x86-64-v3": ["256", "16", "True"],
        "x86-64-v2": ["128", "16", "False"],
    }
    assert [bits for bits, _, _ in RECIPES] == [bits for bits, _, _ in found.values()]


@pytest.mark.slow
@pytest.mark.skipif(not simd.IS_X86, reason="for x86")
@pytest.mark.skipif(
    any(name.startswith("NUMBA_CPU") or name == "NUMBA_ENABLE_AVX" for name in os.environ), reason="another target"
)
def test_one_variable_alone_does_what_is_documented():
    here = [str(simd.VECTOR_BITS), str(simd.N_REGISTERS), str(simd.HAS_FMA)]
    assert run_python(TARGET, NUMBA_CPU_NAME="haswell").split() == here
    assert run_python(TARGET, NUMBA_CPU_NAME="generic").split() == ["128", "16", "False"]
    assert run_python(TARGET, NUMBA_ENABLE_AVX="0").split() == ["128", "16", "False"]


BLOCKS = """
import numpy as np
from driver import *
from fastnn._engine import workspace
from fastnn.kernels.lang.simd import n_lanes
wrong = []
for dtype in (np.float32, np.float64):
    for batch in (5, 31, 64, 100, 256, 1000):
        for n_threads in (1, 2, 3):
            space = workspace.Workspace(architecture([4, 10, 3], dtype=dtype), batch, n_threads)
            rows = space.plan(n_threads).layout.batch_tile
            if rows % n_lanes(dtype):
                wrong.append((np.dtype(dtype).name, batch, n_threads, rows, n_lanes(dtype)))
print(wrong)
"""


@pytest.mark.slow
@compiled_only
@pytest.mark.parametrize("name", OTHER_PROCESSORS)
def test_batch_tiles_begin_at_whole_blocks_on_other_processors(name):
    # Where a tile begins within a block of rows, two threads write to the same rows.
    features, _ = OTHER_PROCESSORS[name]
    found = run_python(BLOCKS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert found.strip() == "[]", "dtype, batch, threads, rows of a tile, lanes"
