"""Folder of compiled code: its name, and the choice of the first safe and writable one."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite
import numba
import pytest
from driver import run_python

import fastnn.kernels
from fastnn.kernels.lang import cache
from fastnn.kernels.lang.flags import JIT_DISABLED

FOLDER = Path(fastnn.kernels.__file__).parent
PACKAGE = FOLDER.parent
SOURCES = [*FOLDER.rglob("*.py"), *(PACKAGE / name for name in cache.RULE_MODULES)]
assert len(SOURCES) >= 20  # so that the loop below is not empty

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")


@compiled_only
def test_kernels_are_kept_in_the_chosen_folder(tmp_path):
    code = """
from pathlib import Path
import numpy as np
from fastnn.kernels.lang.cache import CACHE_FOLDER
from fastnn.kernels.maths.rng import shuffle
shuffle(np.empty(5, np.int64), 1, 2)
print(CACHE_FOLDER, len(list(CACHE_FOLDER.rglob("*.nbc"))))
"""
    names = {}
    for mode in ("private", "public"):
        folder, n_files = run_python(code, FASTNN_CACHE_DIR=tmp_path, FASTNN_COMPILER=mode).split()
        assert Path(folder).parent == tmp_path
        assert int(n_files) == 1
        names[mode] = Path(folder).name
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names.values())
    assert names["private"] != names["public"]


def test_an_edit_in_any_kernel_changes_the_name(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "kernels" / "lang" / "cache.py"))
    before = cache.sources_hash()
    for source in SOURCES:
        path = tmp_path / source.relative_to(PACKAGE)
        text = path.read_bytes()
        path.write_bytes(text + b"\n# edited\n")
        assert cache.sources_hash() != before, source
        path.write_bytes(text)
    for owner, name in ((numba, "__version__"), (llvmlite, "__version__"), (cache, "MODE")):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, "0.0.0")
            assert cache.sources_hash() != before, f"{owner.__name__}.{name}"
    assert cache.sources_hash() == before


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Three folders to choose from, and a file in the place of a folder: no user can write there, not even root."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    places = {name: tmp_path / name for name in ("chosen", "numba", "user", "temporary")}
    places["temporary"].mkdir()
    places["blocked"] = blocked / "cache"
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["chosen"]))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["user"]))
    monkeypatch.setenv("LOCALAPPDATA", str(places["user"]))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(tempfile, "tempdir", str(places["temporary"]))
    return places


def temporary(places):
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    return places["temporary"] / f"fastnn-{owner}"


def test_the_chosen_folder_comes_first(places):
    assert cache.find_cache_folder().parent == places["chosen"]


def test_numbas_own_setting_comes_next(places, monkeypatch):
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(places["numba"]))
    assert cache.find_cache_folder().parent == places["numba"]


def test_then_the_users_folder_then_a_temporary_one(places, monkeypatch):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["blocked"]))
    assert cache.find_cache_folder().parent == places["user"] / "fastnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["blocked"]))
    found = cache.find_cache_folder().parent
    assert found == temporary(places)
    if hasattr(os, "getuid"):
        assert found.stat().st_mode & 0o077 == 0, "others could put code there"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners here")
@pytest.mark.parametrize("danger", ["writable by all", "writable by the group", "a link", "of another"])
def test_a_temporary_folder_that_others_could_have_filled_is_not_used(places, monkeypatch, tmp_path, danger):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["blocked"]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["blocked"]))
    folder = temporary(places)
    if danger == "a link":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        folder.chmod({"writable by all": 0o777, "writable by the group": 0o770}.get(danger, 0o700))
        if danger == "of another":
            mine = os.getuid()
            monkeypatch.setattr(os, "getuid", lambda: mine + 1)
            folder.rename(temporary(places))
    with pytest.warns(RuntimeWarning, match="FASTNN_CACHE_DIR"):
        assert cache.find_cache_folder() is None


def test_one_warning_when_there_is_no_place_at_all(places, monkeypatch):
    for name in ("FASTNN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(places["blocked"]))
    monkeypatch.setattr(tempfile, "tempdir", str(places["blocked"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cache.find_cache_folder() is None
    assert [w.category for w in caught] == [RuntimeWarning]


def test_no_temporary_folder_and_no_home_is_no_reason_to_fail(places, monkeypatch):
    # tempfile.gettempdir raises when it finds nothing, as in a container without a writable file system.
    def nothing():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["blocked"]))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr(tempfile, "gettempdir", nothing)
    with pytest.warns(RuntimeWarning, match="FASTNN_CACHE_DIR"):
        assert cache.find_cache_folder() is None


def test_the_users_folder_is_where_the_system_says(places, monkeypatch):
    assert cache._user_cache_folder() == places["user"] / "fastnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    assert cache._user_cache_folder() == Path("/home/alice/.cache/fastnn")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache._user_cache_folder() == Path("/home/alice/Library/Caches/fastnn")
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache._user_cache_folder() == places["user"] / "fastnn"
