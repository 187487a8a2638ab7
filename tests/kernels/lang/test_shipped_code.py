"""Compiled code that came with the package: found where the user has none, checked, and never written."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import sys
import threading
import warnings

import numba
import pytest

from fastnn.kernels.lang import cache, code_files
from fastnn.kernels.lang.flags import JIT_DISABLED
from fastnn.kernels.lang.levels import LEVEL
from fastnn.kernels.lang.numba_private import CACHE_NAMES, missing
from fastnn.kernels.lang.process_lock import ProcessLock

pytestmark = pytest.mark.skipif(
    JIT_DISABLED or LEVEL is None or bool(missing(CACHE_NAMES)), reason="no code of a level can be loaded"
)

SOURCE = """
from fastnn.kernels.lang.compiler import CFunction, kernel
from numba import types

@kernel
def triple(x):
    return 3 * x

def _half(x):
    return x / 2

half = CFunction(_half, types.float64(types.float64))
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders of a user, empty, and of a package, which holds the code of two functions for the level."""
    from fastnn.kernels.lang.numba_private import kept

    user, shipped = tmp_path / "user", tmp_path / "shipped"
    monkeypatch.setattr(cache, "SHIPPED", None)
    use(monkeypatch, user)
    with monkeypatch.context() as patched:
        patched.setattr(kept, "MADE_FOR", LEVEL)
        run(tmp_path)
    user.rename(shipped)
    assert len(list(shipped.glob("*.nbc"))) == 2
    monkeypatch.setattr(cache, "SHIPPED", shipped)
    return user, shipped


def use(monkeypatch, folder):
    """Let this process keep its code in a folder, or nowhere."""
    monkeypatch.setattr(cache, "FOLDERS", cache.Folders((), None, None) if folder is None else
                        cache.Folders((folder,), folder, None))  # fmt: skip
    monkeypatch.setattr(cache, "CACHE_FOLDER", folder)
    monkeypatch.setattr(cache, "_lock", None if folder is None else ProcessLock(folder / "lock", 60.0))


def run(tmp_path):
    """Call both functions as a new process would; return where their code came from, and the warnings."""
    path = tmp_path / "two_kernels.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("two_kernels", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["two_kernels"] = module  # where Numba looks for its functions
    spec.loader.exec_module(module)
    cache._has_warned = threading.Event()
    before = cache.origins.copy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert module.triple(7) == 21
        assert module.half.code.ctypes(7.0) == 3.5
    return dict(cache.origins - before), [str(w.message) for w in caught]


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leave no trace of the warnings, and of the module."""
    monkeypatch.setattr(cache, "_has_warned", threading.Event())
    monkeypatch.setitem(sys.modules, "two_kernels", None)


def only(folder, part):
    (path,) = folder.glob(f"*{part}*.nbc")
    return path


def test_it_is_found_where_the_user_has_none(folders, tmp_path):
    user, _ = folders
    assert run(tmp_path) == ({"from the package": 2}, [])
    assert list(user.glob("*.nbc")) == []


def test_nothing_need_be_writable(folders, tmp_path, monkeypatch):
    use(monkeypatch, None)
    assert run(tmp_path) == ({"from the package": 2}, [])


def test_code_of_the_user_comes_first(folders, tmp_path, monkeypatch):
    user, shipped = folders
    shutil.copytree(shipped, user)
    monkeypatch.setattr(cache, "load_shipped", None)  # is not asked
    assert run(tmp_path) == ({"from the cache": 2}, [])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are POSIX")
def test_who_may_write_the_package_plays_no_part(folders, tmp_path):
    _, shipped = folders
    shipped.chmod(0o777)
    for path in shipped.glob("*.nbc"):
        path.chmod(0o666)
    assert run(tmp_path) == ({"from the package": 2}, [])


def test_what_it_lacks_is_compiled_in_silence(folders, tmp_path):
    user, shipped = folders
    only(shipped, "triple").unlink()
    assert run(tmp_path) == ({"compiled now": 1, "from the package": 1}, [])
    assert run(tmp_path) == ({"from the cache": 1, "from the package": 1}, [])
    assert len(list(user.glob("*.nbc"))) == 1
    shutil.rmtree(shipped)
    shutil.rmtree(user)
    assert run(tmp_path) == ({"compiled now": 2}, [])



DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one bit": lambda data: bytes([*data[:-9], data[-9] ^ 4, *data[-8:]]),
    "no file of ours": lambda data: b"<html>",
    "a pickle": lambda data: pickle.dumps("text"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_costs_a_compilation_and_one_warning(folders, tmp_path, kind):
    _, shipped = folders
    path = only(shipped, "triple")
    path.write_bytes(DAMAGES[kind](path.read_bytes()))
    damaged = path.read_bytes()
    found, (text,) = run(tmp_path)
    assert found == {"compiled now": 1, "from the package": 1}
    assert path.name in text
    assert "is damaged" in text
    assert "install fastnn-mlp again" in text
    assert run(tmp_path) == ({"from the cache": 1, "from the package": 1}, [])  # kept for the user now
    assert path.read_bytes() == damaged


def test_a_file_of_another_kernel_is_not_used(folders, tmp_path):
    _, shipped = folders
    shutil.copyfile(only(shipped, "half"), only(shipped, "triple"))
    found, (text,) = run(tmp_path)
    assert found == {"compiled now": 1, "from the package": 1}
    assert "is the code of another kernel" in text


def test_content_that_cannot_be_loaded_is_compiled(folders, tmp_path, monkeypatch):
    _, shipped = folders
    path = only(shipped, "triple")
    keys = []
    with monkeypatch.context() as patched:
        patched.setattr(cache, "load_shipped", lambda name, key: keys.append((name, key)))
        patched.setattr(cache, "save", lambda *_: None)
        run(tmp_path)
    (key,) = {key for name, key in keys if name == path.name}
    code_files.write(path, key, pickle.dumps(("too", "short")))
    found, (text,) = run(tmp_path)
    assert found == {"compiled now": 1, "from the package": 1}
    assert str(path.parent) in text
    assert "cannot be loaded" in text


def test_the_folder_of_a_package_is_that_of_its_sources_and_needs_a_level(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHIPPED_FOLDER", tmp_path)
    assert cache.find_shipped_folder() is None
    (tmp_path / "of other sources").mkdir()
    assert cache.find_shipped_folder() is None
    folder = tmp_path / cache.sources_hash()
    folder.mkdir()
    assert cache.find_shipped_folder() == folder
    monkeypatch.setattr(cache, "LEVEL", None)
    assert cache.find_shipped_folder() is None


def test_a_source_tree_has_none():
    assert not cache.SHIPPED_FOLDER.exists()


def test_without_a_writable_folder_there_is_a_warning_only_if_code_is_missing(folders, tmp_path, monkeypatch):
    _, shipped = folders
    assert cache._combined([], None, []).problem is None
    assert "is read from" in cache._combined([], None, ["FASTNN_CACHE_DIR is not used"]).problem
    use(monkeypatch, None)
    only(shipped, "triple").unlink()
    found, (text,) = run(tmp_path)
    assert found == {"compiled now": 1, "from the package": 1}
    assert f"{shipped} lacks some of the compiled code" in text


def test_other_compiled_code_that_calls_a_loaded_kernel_is_an_error(folders, tmp_path):
    """Files hold no code that can be linked: never wrong code, and fastnn itself calls kernels by their address."""
    assert run(tmp_path) == ({"from the package": 2}, [])
    triple = sys.modules["two_kernels"].triple

    @numba.njit
    def caller(x):
        return triple(x)

    with pytest.raises(RuntimeError, match="unfit for linking"):
        caller(7)
