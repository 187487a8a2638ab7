"""Private names of Numba that the package uses, and the public mode if one is missing."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import numba
import pytest
from driver import run_python

import fastnn
from fastnn._engine import system_info
from fastnn.kernels.lang import flags, numba_private
from fastnn.kernels.lang.flags import JIT_DISABLED

PACKAGE = Path(fastnn.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "numba_private")
assert len(FILES) >= 60  # so that the lint below is not one of nothing

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")

# --------------------------------------------------------------------------------------------------------- lint

#: Parts of `numba` that are public: https://numba.readthedocs.io/en/stable/reference and /extending.
PUBLIC = {"config", "extending", "types", "typed", "errors"}
ALL_NAMES = numba_private.NAMES + numba_private.CACHE_NAMES
#: Names that are refused wherever they stand, because objects lead to them without an import.
REFUSED = {part for entry in ALL_NAMES for part in entry.name.split(".")} | {
    "cgutils", "datamodel", "imputils", "typing_context", "typingctx", "targetctx", "no_compile", "no_cpython_wrapper",
    "no_cfunc_wrapper", "pipeline_class", "_nrt", "cfunc_name", "Dispatcher",
}  # fmt: skip
#: Parts of private names that are ordinary words.
REFUSED -= {"config", "finalize", "_replace", "compile", "dumps", "refresh"}


def offences(tree):
    """Uses of what is not public in Numba."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("numba.") and a.name.split(".")[1] not in PUBLIC}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
            parts = node.module.split(".")[1:]
            names = parts[:1] or [alias.name for alias in node.names]
            found |= {f"numba.{name}" for name in names if name not in PUBLIC and not is_exported(name)}
            found |= {alias.name for alias in node.names if alias.name in REFUSED}
        elif isinstance(node, ast.Attribute):
            from_numba = isinstance(node.value, ast.Name) and node.value.id == "numba"
            if from_numba and node.attr not in PUBLIC and not is_exported(node.attr):
                found.add(f"numba.{node.attr}")
            if node.attr in REFUSED:
                found.add(node.attr)
        elif isinstance(node, ast.Name | ast.arg | ast.keyword):
            name = node.id if isinstance(node, ast.Name) else node.arg
            if name in REFUSED:
                found.add(name)
        elif isinstance(node, ast.Constant) and node.value in ("_nrt", "no_cpython_wrapper", "no_cfunc_wrapper"):
            found.add(node.value)
    return found


def is_exported(name):
    """Whether `numba` exports a name."""
    return hasattr(numba, name) and not inspect.ismodule(getattr(numba, name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_one_module_uses_what_is_private(path):
    if path.name == "cache.py" and path.parent.name == "lang":
        # Reads Numba's setting, which is public; only writing it is not.
        assert offences(ast.parse(path.read_text(encoding="utf-8"))) == {"CACHE_DIR"}
    else:
        assert not offences(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("text", [
    "import numba.core.cgutils", "from numba.core import cgutils", "from numba.core.codegen import JITCodeLibrary",
    "from numba import core", "import numba\nnumba.core.dispatcher.Dispatcher", "from numba.np import arrayobj",
    "numba.njit(_nrt=False)", "options = {'_nrt': False}", "context.insert_user_function(f, g)",
    "f.get_call_template(a, k)", "numba.config.CACHE_DIR = 'x'", "import numba.misc.special",
])  # fmt: skip
def test_the_lint_finds(text):
    assert offences(ast.parse(text))


@pytest.mark.parametrize("text", [
    "import numba", "from numba import types", "from numba.extending import models, overload", "numba.njit(f)",
    "numba.types.CPointer(numba.from_dtype(d))", "numba.config.CPU_FEATURES", "numba.carray(x, n)", "numba.NumbaError",
])  # fmt: skip
def test_the_lint_allows(text):
    assert not offences(ast.parse(text))


# ------------------------------------------------------------------------------------------------- the names


def test_all_names_are_there():
    assert numba_private.missing() == []
    assert numba_private.missing(numba_private.CACHE_NAMES) == []


def names(kind):
    """Return a table: what is missing in the other one has no effect."""
    return numba_private.NAMES if kind == "compile" else numba_private.CACHE_NAMES


ENTRIES = [("compile", e) for e in numba_private.NAMES] + [("cache", e) for e in numba_private.CACHE_NAMES]


@pytest.mark.parametrize(("kind", "entry"), ENTRIES, ids=lambda value: getattr(value, "name", value))
def test_a_missing_name_is_found(kind, entry, monkeypatch):
    *owners, name = entry.name.split(".")
    owner = importlib.import_module(entry.module)
    for part in owners:
        owner = getattr(owner, part)
    for base in [base for base in getattr(owner, "__mro__", [owner]) if name in vars(base)] or [owner]:
        monkeypatch.delattr(base, name)
    assert f"{entry.module}.{entry.name}" in numba_private.missing(names(kind))
    if kind == "compile":
        assert entry.name in flags.why_not_private("0.68.1")


@pytest.mark.parametrize(
    ("kind", "entry"), [(k, e) for k, e in ENTRIES if e.parameters], ids=lambda value: getattr(value, "name", value)
)
def test_other_parameters_are_found(kind, entry, monkeypatch):
    *owners, name = entry.name.split(".")
    owner = importlib.import_module(entry.module)
    for part in owners:
        owner = getattr(owner, part)
    monkeypatch.setattr(owner, name, staticmethod(lambda other: None) if owners else lambda other: None)
    found = numba_private.missing(names(kind))
    assert [text for text in found if text.startswith(f"{entry.module}.{entry.name}(")]


def test_each_name_has_a_purpose_and_a_cost():
    assert all(entry.purpose and entry.without and entry.seen for entry in ALL_NAMES)


# ---------------------------------------------------------------------------------------------- which of the ways


@pytest.mark.parametrize(("version", "is_tested"), [
    ("0.60.0", False), ("0.61.0", True), ("0.68.1", True), ("0.69.0", False), ("0.69.0dev0+3.gabc", False),
    ("1.0.0", False), ("unknown", False),
])  # fmt: skip
def test_versions_outside_the_window_are_not_taken(version, is_tested):
    reason = flags.why_not_private(version)
    assert (reason is None) == is_tested
    assert is_tested or version in reason
    assert flags.why_not_private(version, any_version=True) is None


def test_this_numba_is_tested():
    assert flags.TESTED[0] <= flags.minor_version(numba.__version__) <= flags.TESTED[1]


@pytest.mark.parametrize("value", ["fast", "PUBLIC", "1"])
def test_the_variable_takes_two_words(value, monkeypatch):
    monkeypatch.setenv("FASTNN_COMPILER", value)
    with pytest.raises(ValueError, match=f"^FASTNN_COMPILER must be 'private' or 'public', got '{value}'"):
        flags.requested()


@pytest.mark.parametrize(("value", "expected"), [("", None), ("public", "public"), ("private", "private")])
def test_the_variable_is_read(value, expected, monkeypatch):
    monkeypatch.setenv("FASTNN_COMPILER", value)
    assert flags.requested() == expected


@compiled_only
def test_info_names_the_way(monkeypatch):
    monkeypatch.setattr(system_info, "roofline", lambda: system_info.Roofline({}, {}, {}, None))
    assert dict(system_info.info())["compiler"].startswith(f"{flags.MODE}: ")
    assert flags.REASON in dict(system_info.info())["compiler"]


TRAIN = """
import warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    import fastnn
    from fastnn.kernels.lang import flags
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    parts = []
    for dtype in ("float32", "float64"):
        model = fastnn.Model([18, 3], loss="softmax_crossentropy", seed=1, dtype=dtype, n_threads=2)
        model.fit(X, y, epochs=3, batch_size=16, verbose=False)
        parts += [*model.weights, model.predict(X)]
print(flags.MODE, b"".join(a.tobytes() for a in parts).hex(), *(str(w.message) for w in caught), sep="\\n")
"""
#: How Numba may lack something, and what the warning says of it.
LACKS = {
    "a name": ("import numba.core.codegen as m; del m.JITCodeLibrary", "numba.core.codegen.JITCodeLibrary"),
    "a parameter": (
        "from numba.core.compiler_machinery import PassManager; PassManager.add_pass_after = lambda self, f: None",
        "PassManager.add_pass_after(self, pass_cls, location)",
    ),
    "a flag": ("from numba.core.options import DefaultOptions; del DefaultOptions._nrt", "DefaultOptions._nrt"),
    "a tested version": ("import numba; numba.__version__ = '0.99.1'", "Numba 0.99.1 is not one of the tested"),
}


@pytest.fixture(scope="module")
def private_bits():
    mode, bits, *warned = run_python(TRAIN.format(before=""), FASTNN_COMPILER="private").splitlines()
    assert (mode, warned) == ("private", [])
    return bits


#: Public functions alone compile a training for minutes; where all is compiled so, it is in the cache.
where_public = pytest.mark.skipif(flags.requested() != "public", reason="needs FASTNN_COMPILER=public: minutes else")


@pytest.mark.slow
@compiled_only
@where_public
def test_the_public_way_gives_the_same_bits(private_bits):
    mode, bits, *warned = run_python(TRAIN.format(before=""), timeout=900, FASTNN_COMPILER="public").splitlines()
    assert (mode, warned) == ("public", [])
    assert bits == private_bits


WARNED = """
import warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastnn.kernels.lang import compiler, flags
    import fastnn
print(flags.MODE, *(str(w.message) for w in caught), sep="\\n")
"""


@compiled_only
@pytest.mark.parametrize("what", LACKS)
def test_one_warning_where_numba_lacks(what):
    before, named = LACKS[what]
    mode, *warned = run_python(WARNED.format(before=before), FASTNN_COMPILER=None).splitlines()
    assert mode == "public"
    (warning,) = warned
    assert named in warning
    assert "four times as long" in warning
    assert "FASTNN_COMPILER=public" in warning


@pytest.mark.slow
@compiled_only
@where_public
def test_the_same_bits_where_numba_lacks_a_name(private_bits):
    before, _ = LACKS["a name"]
    mode, bits, *warned = run_python(TRAIN.format(before=before), timeout=900, FASTNN_COMPILER=None).splitlines()
    assert (mode, len(warned)) == ("public", 1)
    assert bits == private_bits


@compiled_only
def test_private_cannot_be_had_where_names_are_missing():
    code = """
import numba.core.codegen
del numba.core.codegen.JITCodeLibrary
try:
    import fastnn
except ImportError as error:
    print(error)
"""
    assert "JITCodeLibrary" in run_python(code, FASTNN_COMPILER="private")


PROBE = """
import warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from fastnn.kernels.maths.rng import shuffle
    from fastnn.kernels.lang.barrier import barriers, new_sync
    order = np.empty(9, np.int64)
    shuffle(order, 1, 2)
    barriers(new_sync(), 1, 3)
print(order.tolist(), *(str(w.message) for w in caught), sep="\\n")
"""
#: What goes wrong while compiling although all names are there.
FAULTS = {
    "nothing": ("", None),
    "an error": (
        "from numba.core.compiler_machinery import PassManager\n"
        "def refuse(self, pass_cls, location):\n    raise TypeError('not as before')\n"
        "PassManager.add_pass_after = refuse",
        "TypeError",
    ),
    "a wrong result": (
        "from fastnn.kernels.lang.numba_private import deferred\ndeferred.triple.__code__ = (lambda x: x).__code__",
        "wrong result",
    ),
}


@compiled_only
@pytest.mark.parametrize("fault", FAULTS)
def test_a_probe_before_the_first_compilation(fault, tmp_path):
    before, named = FAULTS[fault]
    order, *warned = run_python(
        PROBE.format(before=before), FASTNN_COMPILER="private", FASTNN_CACHE_DIR=tmp_path
    ).splitlines()
    assert order == "[8, 3, 2, 0, 1, 4, 6, 5, 7]"
    if named is None:
        assert not warned
    else:
        (warning,) = warned
        assert named in warning
        assert "a probe of Numba" in warning


KEPT = """
import numba.core.caching
{before}
import numpy as np
from fastnn.kernels.lang import cache, compiler
from fastnn.kernels.maths.rng import shuffle
order = np.empty(9, np.int64)
shuffle(order, 1, 2)
print(order.tolist(), type(shuffle).__name__, *sorted(p.suffix for p in cache.CACHE_FOLDER.rglob("*.nb*")), sep="|")
"""


@compiled_only
@pytest.mark.parametrize("mode", ["private", "public"])
def test_numba_keeps_the_code_where_it_lacks_a_name_for_the_cache(mode, tmp_path):
    def run(before):
        return run_python(KEPT.format(before=before), FASTNN_COMPILER=mode, FASTNN_CACHE_DIR=tmp_path).strip()

    order = "[8, 3, 2, 0, 1, 4, 6, 5, 7]"
    assert run("") == f"{order}|_KeptDispatcher|.nbc"
    without = "import numba.core.ccallback; del numba.core.caching.NullCache"
    assert run(without) == f"{order}|CPUDispatcher|.nbc|.nbc|.nbi"
