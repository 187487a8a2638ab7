"""The two floors: what is compiled imports nothing from above, and importing fastnn costs little."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from driver import run_python

import fastnn

PACKAGE = Path(fastnn.__file__).parent
KERNELS = sorted((PACKAGE / "kernels").rglob("*.py"))
UPPER = sorted(set(PACKAGE.rglob("*.py")) - set(KERNELS))
assert len(KERNELS) >= 20  # so that the rules below are not rules for nothing
assert len(UPPER) >= 20
#: Top-level packages that may be imported when fastnn is; all else only where it is used.
CORE = {"fastnn", "numpy", "numba", "llvmlite"}
#: Files whose classes derive from another package's, so that they are imported only when asked for.
EXTRAS = {"_mlp": {"sklearn"}, "_base": {"sklearn", "joblib"}}


def imports(path, *, top_only=False):
    """Absolute names of the modules that a file imports, wherever in the file (or at its top level only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import, line {node.lineno}"
            # `from fastnn import engine` imports fastnn._engine.engine.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def comes_from(name, package):
    return name == package or name.startswith(package + ".")


def test_imports_are_found(tmp_path):
    file = tmp_path / "example.py"
    file.write_text("import a.b as c, d\nfrom e import f\ndef g():\n    import h\n    from fastnn import engine\n")
    assert imports(file) == {"a.b", "d", "e.f", "h", "fastnn.engine"}
    assert imports(file, top_only=True) == {"a.b", "d", "e.f"}


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_kernels_import_nothing_from_above(path):
    upward = {name for name in imports(path) if comes_from(name, "fastnn") and not comes_from(name, "fastnn.kernels")}
    assert not upward


@pytest.mark.parametrize("path", UPPER + KERNELS, ids=lambda path: path.stem)
def test_only_core_packages_are_imported_at_the_top(path):
    tops = {name.split(".")[0] for name in imports(path, top_only=True)}
    assert tops - CORE - EXTRAS.get(path.stem, set()) <= sys.stdlib_module_names


def test_import_compiles_nothing_and_loads_no_extras():
    """Numba may import scipy by itself; it is what comes on top of Numba that counts."""
    code = """
import json, sys
import numba, numpy
from numba.core.event import install_recorder
before = set(sys.modules)
with install_recorder("numba:compile") as recorder:
    import fastnn
    fastnn.Model([8, 3], loss="softmax_crossentropy", seed=0).build(4).summary(print_fn=len)
    fastnn.datasets.load_digits()
    print(json.dumps({"compiled": len(recorder.buffer), "loaded": sorted(set(sys.modules) - before)}))
"""
    found = json.loads(run_python(code))
    assert found["compiled"] == 0
    loaded = {name.split(".")[0] for name in found["loaded"]}
    assert "fastnn" in loaded
    assert loaded - CORE <= sys.stdlib_module_names


def test_the_recorder_sees_a_compilation():
    """That no compilation was seen above means something only if one would have been."""
    code = """
import numba
from numba.core.event import install_recorder
with install_recorder("numba:compile") as recorder:
    numba.njit(lambda x: x + 1)(1)
print(len(recorder.buffer))
"""
    assert int(run_python(code)) > 0
