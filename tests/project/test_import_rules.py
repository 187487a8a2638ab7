"""The order of rooms: who may import whom, in one table; and importing fastnn costs little."""

from __future__ import annotations

import ast
import functools
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
#: The rooms, from the top down: modules and packages. Each may import only from lines below its own.
ROOMS = (
    "__init__",
    "__main__",
    "playground",
    "interchange",
    "explain plot robust",
    "intervals search",
    "estimators",
    "ensemble",
    "_chunks _warmup",
    "population",
    "model",
    "_persistence _population lr_finder _embedding",
    "_derivatives _subject",
    "_training jit",
    "_compatibility _engine callbacks augmentation _adversary",
    "_data layers",
    "custom initializers metrics optimizers",
    "activations losses schedules solvers regularizers _errors",
    "history datasets _results",
    "_figure",
    "_validation _representation _version _numba_types script",
    "kernels",
)
#: The same inside `kernels`.
KERNEL_ROOMS = ("loop", "nn lane_tables", "linalg tables", "maths", "lang ids")
#: Longest chain of rooms above the kernels, and inside.
MAX_LEVELS, MAX_KERNEL_LEVELS = 13, 5

#: Top-level packages that may be imported when fastnn is; all else only where it is used.
CORE = {"fastnn", "numpy", "numba", "llvmlite"}
#: Files whose classes derive from another package's, so that they are imported only when asked for.
EXTRAS = {
    "widget": {"anywidget", "traitlets"},
    "_base": {"sklearn", "joblib"},
    **{name: {"sklearn"} for name in ("_classifier", "_hidden", "_parameters", "_regressor", "_sklearn_callbacks")},
}


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


def name_of(path):
    """Dotted name of a module; a package's __init__ is the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in UPPER + KERNELS}


@functools.cache
def file_graph():
    """For each module the modules of the package that it imports, wherever in the file, also for type checking."""
    graph = {}
    for name, path in FILES.items():
        found = set()
        for imported in imports(path):
            while imported and imported not in FILES:  # a name inside a module
                imported = imported.rpartition(".")[0]
            found.add(imported)
        graph[name] = found - {"", name}
    return graph


def room_of(name):
    """Room of a module: the part of the table that it belongs to."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def kernel_room_of(name):
    return name.split(".")[2]


def levels_of(order):
    return {room: level for level, line in enumerate(order) for room in line.split()}


def upward(edges, order):
    """Imports that do not lead to a line below."""
    level = levels_of(order)
    return sorted({(a, b) for a, b in edges if level[a] >= level[b]})


def longest_chain(edges):
    """Number of rooms on the longest chain of imports; an error where there is a circle."""
    below = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    depths = {}

    def depth(room, above):
        assert room not in above, f"circle: {' -> '.join([*above, room])}"
        if room not in depths:
            depths[room] = 1 + max((depth(b, (*above, room)) for b in below.get(room, ())), default=0)
        return depths[room]

    return max(depth(room, ()) for room in below)


def edges_between(rooms, modules):
    found = {(rooms(a), rooms(b)) for a in modules for b in file_graph()[a] if b in modules}
    return {(a, b) for a, b in found if a != b}


def above_the_kernels():
    return [name for name in FILES if room_of(name) != "kernels"]


def inside_the_kernels():
    return [name for name in FILES if name.startswith("fastnn.kernels.")]


def test_every_module_has_a_place_in_the_order():
    assert {room_of(name) for name in FILES} == set(levels_of(ROOMS))
    assert {kernel_room_of(name) for name in inside_the_kernels()} == set(levels_of(KERNEL_ROOMS))


def test_no_room_imports_from_its_own_line_or_from_above():
    assert upward(edges_between(room_of, list(FILES)), ROOMS) == []
    assert upward(edges_between(kernel_room_of, inside_the_kernels()), KERNEL_ROOMS) == []


def test_the_rule_would_see_an_import_from_above():
    assert upward({("b", "a"), ("a", "b"), ("b", "c")}, ("a", "b c")) == [("b", "a"), ("b", "c")]


def test_there_is_no_circle_of_modules():
    """Of any length, inside a room, too."""
    graph = file_graph()
    longest_chain({(a, b) for a, below in graph.items() for b in below})
    with pytest.raises(AssertionError, match=r"circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"):
        longest_chain({("a", "b"), ("b", "c"), ("c", "a")})


def test_the_number_of_levels():
    assert longest_chain(edges_between(room_of, above_the_kernels())) <= MAX_LEVELS
    assert longest_chain(edges_between(kernel_room_of, inside_the_kernels())) <= MAX_KERNEL_LEVELS


#: Private by convention of NamedTuple, but not by meaning.
NAMED_TUPLE = {"_replace", "_fields", "_asdict"}


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name != "_"


def private_names(tree):
    """Private names that a module defines: of functions, classes, variables, attributes and arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def private_uses(tree):
    """Private names that a module takes from other objects than `self` and `cls`, and imports from modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr, None
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastnn":
            for alias in node.names:
                yield alias.name, node.module


def test_no_room_uses_a_private_name_of_another():
    defined = {}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
    for name, tree in trees.items():
        defined.setdefault(room_of(name), set()).update(filter(is_private, private_names(tree)))
    found = []
    for name, tree in trees.items():
        own = room_of(name)
        others = set().union(*(names for room, names in defined.items() if room != own))
        for used, module in private_uses(tree):
            if module is not None:
                inside = [part for part in module.split(".")[2:] if is_private(part)]  # of a package's own modules
                taken = is_private(used) and f"{module}.{used}" not in FILES
                if room_of(module) != own and (inside or taken):
                    found.append(f"{name}: from {module} import {used}")
            elif used in others - defined[own] - NAMED_TUPLE:
                found.append(f"{name}: .{used}")
    assert found == []


def test_the_rule_would_see_a_private_name():
    tree = ast.parse("self._a\nother._b\nfrom fastnn.plot import _c\nself.x._d")
    assert set(private_uses(tree)) == {("_b", None), ("_c", "fastnn.plot"), ("_d", None)}


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


@pytest.mark.parametrize("enabled", [True, False])
def test_import_leaves_the_garbage_collector_as_it_was(enabled):
    code = f"""
import gc
gc.{"enable" if enabled else "disable"}()
import fastnn
print(gc.isenabled())
"""
    assert run_python(code).strip() == str(enabled)


def test_an_import_that_fails_leaves_the_garbage_collector_enabled():
    code = """
import gc, sys
sys.modules["llvmlite"] = None  # as if it were not installed
try:
    import fastnn
except ImportError:
    print(gc.isenabled())
"""
    assert run_python(code).strip() == "True"


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
