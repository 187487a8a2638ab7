"""Folder of compiled code: its name, and the choice of the first safe and writable one."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import llvmlite
import numba
import pytest
from driver import run_python

import fastnn.kernels
from fastnn.kernels.lang import cache, code_files
from fastnn.kernels.lang.flags import JIT_DISABLED

FOLDER = Path(fastnn.kernels.__file__).parent
PACKAGE = FOLDER.parent
SOURCES = [*FOLDER.rglob("*.py"), *(PACKAGE / name for name in cache.RULE_MODULES)]
assert len(SOURCES) >= 20  # so that the loop below is not empty

owners_only = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners here")
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
    found = cache.find_cache_folders()
    assert found.write.parent == places["chosen"]
    assert (found.read, found.problem) == ((found.write,), None)


def test_numbas_own_setting_comes_next(places, monkeypatch):
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(places["numba"]))
    assert cache.find_cache_folders().write.parent == places["numba"]


def test_a_chosen_folder_that_cannot_be_used_is_named(places):
    places["chosen"].write_text("not a folder")
    found = cache.find_cache_folders()
    assert found.write.parent == places["user"] / "fastnn"
    for text in (str(places["chosen"]), "FASTNN_CACHE_DIR", str(found.write.parent)):
        assert text in found.problem


def test_then_the_users_folder_then_a_temporary_one(places, monkeypatch):
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    found = cache.find_cache_folders()
    assert (found.write.parent, found.problem) == (places["user"] / "fastnn", None)
    # A home folder that cannot be written is no reason for a warning.
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["blocked"]))
    found = cache.find_cache_folders()
    assert (found.write.parent, found.problem) == (temporary(places), None)
    if hasattr(os, "getuid"):
        assert found.write.parent.stat().st_mode & 0o077 == 0, "others could put code there"


def test_a_relative_name_means_the_same_folder_after_chdir(places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_CACHE_DIR", "relative")
    assert cache.find_cache_folders().write.parent == tmp_path / "relative"


@owners_only
@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077])
def test_a_new_folder_is_trusted_whatever_the_umask(places, umask):
    before = os.umask(umask)
    try:
        folder = cache.find_cache_folders().write
        code_files.write(folder / "x", b"key", b"payload")
        assert code_files.read(folder / "x", b"key") == b"payload"
    finally:
        os.umask(before)


@owners_only
@pytest.mark.parametrize(
    "danger", ["writable by all", "writable by the group", "a link", "of another", "no sticky bit"]
)
def test_a_temporary_folder_that_others_could_have_filled_is_not_used(places, monkeypatch, tmp_path, danger):
    monkeypatch.delenv("FASTNN_CACHE_DIR")
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
            monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
            places["temporary"].chmod(0o1777)
            monkeypatch.setattr(code_files, "why_not_owned", foreign_below(folder))
        elif danger == "no sticky bit":
            places["temporary"].chmod(0o777)
    found = cache.find_cache_folders()
    assert (found.read, found.write) == ((), None)
    assert str(folder) in found.problem
    assert "Set FASTNN_CACHE_DIR" in found.problem


def foreign_below(folder):
    """Return a check of owners by which a folder is that of another user."""
    return lambda status: "belongs to another user" if status.st_ino == folder.stat().st_ino else None


@owners_only
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
@pytest.mark.parametrize("which", ["base", "subfolder"])
def test_a_chosen_folder_that_others_can_write_is_not_used(places, mode, which):
    folder = cache.find_cache_folders().write
    code_files.write(folder / "x", b"key", b"payload")
    (folder.parent if which == "base" else folder).chmod(mode)
    found = cache.find_cache_folders()
    if which == "base" and mode == 0o1777:  # others cannot replace what lies in it
        assert (found.write, found.problem) == (folder, None)
    else:
        assert folder not in found.read
        assert found.write.parent == places["user"] / "fastnn"
        assert str(places["chosen"]) in found.problem
        assert "chmod go-w" in found.problem


@owners_only
@pytest.mark.parametrize("what", ["base", "subfolder", "link"])
def test_a_chosen_folder_of_another_user_is_not_used(places, monkeypatch, what, tmp_path):
    folder = cache.find_cache_folders().write
    code_files.write(folder / "x", b"key", b"payload")
    if what == "link":
        folder.parent.rename(tmp_path / "target")
        folder.parent.symlink_to(tmp_path / "target")
        assert cache.find_cache_folders().write == folder, "a link of this user"
        foreign = folder.parent.lstat()
    else:
        foreign = (folder.parent if what == "base" else folder).lstat()
    monkeypatch.setattr(
        code_files, "why_not_owned", lambda s: "belongs to another user" if s.st_ino == foreign.st_ino else None
    )
    found = cache.find_cache_folders()
    assert folder not in found.read
    assert found.write.parent == places["user"] / "fastnn"
    assert f"{places['chosen']} (FASTNN_CACHE_DIR) is not used" in found.problem
    assert "belongs to another user" in found.problem


@owners_only
def test_root_makes_no_folder_in_the_home_of_another(places, monkeypatch):
    # sudo -E keeps HOME: a folder of root there would stop its owner from writing compiled code.
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    places["user"].mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    home = places["user"].stat()
    monkeypatch.setattr(
        code_files, "why_not_owned", lambda s: "belongs to another user" if s.st_ino == home.st_ino else None
    )
    found = cache.find_cache_folders()
    assert found.write.parent == temporary(places)
    assert not list(places["user"].iterdir())
    assert f"would lie in {places['user']}, which belongs to another user" in found.problem


@pytest.mark.parametrize("has_code", [True, False])
def test_a_chosen_folder_that_cannot_be_written_is_read(places, monkeypatch, has_code):
    folder = places["chosen"] / cache.sources_hash()
    if has_code:
        code_files.write(folder / "x", b"key", b"payload")
    writable = cache._is_writable
    monkeypatch.setattr(cache, "_is_writable", lambda f: places["chosen"] not in (f, *f.parents) and writable(f))
    found = cache.find_cache_folders()
    assert found.write.parent == places["user"] / "fastnn"
    if has_code:
        assert (found.read, found.problem) == ((folder, found.write), None)
    else:  # as after an upgrade in an image that was built before
        assert found.read == (found.write,)
        assert f"{places['chosen']} (FASTNN_CACHE_DIR) is not used" in found.problem


def test_no_folder_can_be_written_but_one_has_code(places, monkeypatch):
    folder = places["chosen"] / cache.sources_hash()
    code_files.write(folder / "x", b"key", b"payload")
    monkeypatch.setattr(cache, "_is_writable", lambda folder: False)
    found = cache.find_cache_folders()
    assert found == ((folder,), None, None)
    monkeypatch.setattr(cache, "FOLDERS", found)
    monkeypatch.setattr(cache, "_has_warned", threading.Event())
    assert cache.load("x", b"key") == (folder / "x", "from the cache", b"payload")
    with pytest.warns(RuntimeWarning, match=re.escape(str(folder))):
        cache.save("y", b"key", b"payload")
    cache.save("z", b"key", b"payload")  # without a second warning


def test_one_text_when_there_is_no_place_at_all(places, monkeypatch):
    for name in ("FASTNN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(places["blocked"]))
    monkeypatch.setattr(tempfile, "tempdir", str(places["blocked"]))
    found = cache.find_cache_folders()
    assert (found.read, found.write) == ((), None)
    assert str(places["blocked"]) in found.problem
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    assert "no writable folder" in cache.find_cache_folders().problem


def test_no_temporary_folder_and_no_home_is_no_reason_to_fail(places, monkeypatch):
    # tempfile.gettempdir raises when it finds nothing, as in a container without a writable file system.
    def nothing():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["blocked"]))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr(tempfile, "gettempdir", nothing)
    found = cache.find_cache_folders()
    assert found.write is None
    assert "FASTNN_CACHE_DIR" in found.problem


def test_the_users_folder_is_where_the_system_says(places, monkeypatch):
    assert cache._user_cache_folder() == places["user"] / "fastnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    assert cache._user_cache_folder() == Path("/home/alice/.cache/fastnn")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache._user_cache_folder() == Path("/home/alice/Library/Caches/fastnn")
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache._user_cache_folder() == places["user"] / "fastnn"
