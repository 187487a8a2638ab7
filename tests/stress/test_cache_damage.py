"""Files and folders of compiled code that are damaged, of others, or cannot be written: a fit goes on."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from amount import amount, seed
from driver import run_python

from fastnn.kernels.lang import cache, code_files, compiler
from fastnn.kernels.lang.flags import JIT_DISABLED
from fastnn.kernels.lang.process_lock import ProcessLock

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
posix_only = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and permissions are POSIX")
root_only = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root of Linux can become another user and mount"
)
#: A user that owns nothing.
STRANGER = 47_113

SOURCE = """
from fastnn.kernels.lang.compiler import kernel

@kernel
def triple(x):
    return 3 * x

@kernel
def fourfold(x):
    return 4 * x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of compiled code for this process."""
    folder = tmp_path / "code"
    monkeypatch.setattr(cache, "FOLDERS", cache.Folders((folder,), folder, None))
    monkeypatch.setattr(cache, "CACHE_FOLDER", folder)
    monkeypatch.setattr(cache, "_lock", ProcessLock(folder / "lock", 60.0))
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Return a function that calls a kernel as a new process would, and counts compilations and warnings."""
    path = tmp_path / "tiny.py"
    path.write_text(SOURCE)

    def call(name="triple"):
        spec = importlib.util.spec_from_file_location("tiny", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(cache, "_has_warned", threading.Event())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = getattr(module, name)(7)
        assert result == {"triple": 21, "fourfold": 28}[name]
        stats = getattr(module, name).stats
        return sum(stats.cache_misses.values()), [str(w.message) for w in caught]

    return call


def only_file(folder):
    (path,) = folder.glob("*.nbc")
    return path


class Bomb:
    """Its pickle makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def replace(change):
    """Return damage that replaces the bytes of a file."""

    def damage(path):
        data = change(path.read_bytes())
        path.unlink()
        path.write_bytes(data)

    return damage


def flipped(data, position, bit=0):
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


def in_its_place(make):
    """Return damage that puts something else in the place of a file."""

    def damage(path):
        path.unlink()
        make(path)

    return damage


def other_kernel(path):
    """Copy another file, unless the others are no files any more: a copy of a device would fill the disk."""
    for other in path.parent.glob("*.nbc"):
        if other != path and not other.is_symlink() and other.is_file():
            shutil.copyfile(other, path)


def folder_with_content(path):
    path.mkdir()
    (path / "file").write_text("")


DAMAGES = {
    "empty": replace(lambda data: b""),
    "one byte": replace(lambda data: data[:1]),
    "the header alone": replace(lambda data: data[:46]),
    "half": replace(lambda data: data[: len(data) // 2]),
    "one byte short": replace(lambda data: data[:-1]),
    "one byte more": replace(lambda data: data + b"\0"),
    "zeros": replace(lambda data: bytes(len(data))),
    "garbage": replace(lambda data: np.random.default_rng(seed()).bytes(len(data))),
    "text": replace(lambda data: b"<html>"),
    "first byte": replace(lambda data: flipped(data, 0)),
    "byte of the digest": replace(lambda data: flipped(data, 20)),
    "byte of the key": replace(lambda data: flipped(data, 50)),
    "last byte": replace(lambda data: flipped(data, -1)),
    "byte of the code": replace(lambda data: flipped(data, len(data) // 2, 7)),
    "folder": in_its_place(lambda path: path.mkdir()),
    "folder with content": in_its_place(folder_with_content),
    "file of another kernel": other_kernel,
}
if hasattr(os, "mkfifo"):
    DAMAGES |= {
        "pipe": in_its_place(os.mkfifo),
        "device": in_its_place(lambda path: path.symlink_to("/dev/zero")),
        "link to itself": in_its_place(lambda path: path.symlink_to(path)),
        "writable by all": lambda path: path.chmod(0o666),
        "writable by the group": lambda path: path.chmod(0o664),
    }
if hasattr(os, "geteuid") and os.geteuid() == 0:
    DAMAGES["of another user"] = lambda path: os.chown(path, STRANGER, STRANGER)
assert len(DAMAGES) >= 17


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_costs_a_compilation_and_one_warning(folder, call, kind):
    call("fourfold")
    before = set(folder.glob("*.nbc"))
    assert call() == (1, [])
    assert call() == (0, [])
    (path,) = set(folder.glob("*.nbc")) - before
    DAMAGES[kind](path)
    misses, (text,) = call()
    assert misses == 1
    assert str(folder) in text
    assert call() == (0, []), "the file has not been mended"
    assert call("fourfold") == (0, [])


def test_a_missing_file_is_no_damage(folder, call):
    call()
    only_file(folder).unlink()
    assert call() == (1, [])
    shutil.rmtree(folder)
    assert call() == (1, [])
    assert call() == (0, [])


def test_a_flip_of_any_bit_is_found(folder, call):
    call()
    path = only_file(folder)
    data = path.read_bytes()
    rng = np.random.default_rng(seed())
    for position in rng.choice(len(data), amount(300, 10_000), replace=False).tolist():
        path.write_bytes(flipped(data, position, int(rng.integers(8))))
        with pytest.raises(code_files.UnusableFileError):
            code_files.read(path, b"any key")
    for cut in rng.choice(len(data), amount(100, 5_000), replace=False).tolist():
        path.write_bytes(data[:cut])
        with pytest.raises(code_files.UnusableFileError, match="is damaged"):
            code_files.read(path, b"any key")


def test_random_damage_of_random_files(folder, call):
    rng = np.random.default_rng(seed())
    names = list(DAMAGES)
    call()
    call("fourfold")
    for _ in range(amount(6, 300)):
        for path in folder.glob("*.nbc"):
            DAMAGES[names[rng.integers(len(names))]](path)
        for name in ("triple", "fourfold"):
            misses, texts = call(name)
            assert (misses, len(texts)) in ((1, 1), (0, 0))  # a copy of the other file may have mended it
        assert call() == call("fourfold") == (0, [])


def test_no_pickle_is_read_before_its_digest_agrees(folder, call, tmp_path):
    call()
    path = only_file(folder)
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert call()[0] == 1
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"no pickle", pickle.dumps(("too", "short")), pickle.dumps(None)])
def test_content_that_cannot_be_loaded_is_compiled_anew(folder, call, monkeypatch, content):
    # The digest agrees, but a class has other parts now, as in another environment with the same versions.
    kept = []
    with monkeypatch.context() as patched:
        patched.setattr(cache, "save", lambda name, key, payload: kept.append((name, key)))
        call()
    ((name, key),) = kept
    code_files.write(folder / name, key, content)
    misses, (text,) = call()
    assert misses == 1
    assert "cannot be loaded" in text
    assert str(folder) in text
    assert call() == (0, [])


@posix_only
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(folder, call, mode):
    call()
    before = only_file(folder).stat()
    folder.chmod(mode)
    misses, (text,) = call()
    assert misses == 1
    assert str(folder) in text
    assert only_file(folder).stat() == before
    assert call("fourfold")[0] == 1
    assert len(list(folder.glob("*.nbc"))) == 1


@root_only
def test_a_folder_of_another_user_is_neither_read_nor_written(folder, call):
    call()
    before = only_file(folder).stat()
    os.chown(folder, STRANGER, STRANGER)
    misses, (text,) = call()
    assert misses == 1
    assert "belongs to another user" in text
    assert only_file(folder).stat() == before


def test_a_file_in_the_place_of_the_folder(folder, call):
    folder.write_text("")
    misses, (text,) = call()
    assert misses == 1
    assert str(folder) in text


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_disk_that_is_full_or_read_only_costs_one_warning(folder, call, monkeypatch, step):
    real = getattr(os, step)

    def full(path, *arguments, **options):
        if step != "open" or str(path).endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(code_files.os, step, full)
        misses, (text,) = call()
        assert misses == 1
        assert str(folder) in text
        assert "No space left on device" in text
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert call() == (1, [])
    assert call() == (0, [])


def test_what_a_killed_process_left_is_swept(folder, call):
    folder.mkdir()
    for name, age in (("old.nbc.1.tmp", 7200), ("new.nbc.2.tmp", 0)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    assert call() == (1, [])
    assert [path.name for path in folder.glob("*.tmp")] == ["new.nbc.2.tmp"]


def test_warnings_as_errors_reach_the_caller_and_leave_no_lock(folder, call, tmp_path):
    call()
    only_file(folder).write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache._has_warned.clear()
        with pytest.raises(RuntimeWarning, match=re.escape(str(folder))):
            cache.load(only_file(folder).name, b"key")
    assert not cache._lock.is_held


def test_a_kernel_that_cannot_be_compiled_leaves_no_lock(folder):
    @compiler.kernel
    def wrong(x):
        return x.no_such_field

    with pytest.raises(Exception, match="no_such_field"):
        wrong(1)
    assert not cache._lock.is_held


def test_listeners_hear_of_each_compilation(folder, call, monkeypatch):
    heard = []
    monkeypatch.setattr(cache, "compile_listeners", [lambda *event: heard.append((*event, cache._lock.is_held))])
    call()
    call()
    call("fourfold")
    assert heard == [("compiling", "triple", True), ("compiling", "fourfold", True)]


# --------------------------------------------------------------------------------------------- several processes

RUN = """
import os, sys, warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastnn.kernels.lang import cache
    heard = []
    cache.compile_listeners.append(lambda event, name: heard.append(event))
    {middle}
    from tiny import triple
    assert triple(7) == 21
print(heard.count("compiling"), sum(triple.stats.cache_hits.values()), cache.FOLDERS.write, sep="|")
for w in caught:
    print(w.category.__name__, w.message)
"""


#: Code that makes a process of root that of another user, who may read all files, as Python may lie in root's folder.
BECOME_STRANGER = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_KEEPCAPS, CAP_DAC_READ_SEARCH, VERSION_3 = 8, 2, 0x20080522
libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
os.setgroups([])
os.setresgid({STRANGER}, {STRANGER}, {STRANGER})
os.setresuid({STRANGER}, {STRANGER}, {STRANGER})
kept = (ctypes.c_uint32 * 6)(1 << CAP_DAC_READ_SEARCH, 1 << CAP_DAC_READ_SEARCH)
assert libc.capset((ctypes.c_uint32 * 2)(VERSION_3, 0), kept) == 0
"""


@pytest.fixture
def place():
    """A folder that all users can enter, with the source of two kernels."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "tiny.py").write_text(SOURCE)
    yield folder
    shutil.rmtree(folder)


def program(place, before="", middle=""):
    before = f"sys.path.insert(0, {str(place)!r}); sys.dont_write_bytecode = True; {before}"
    return RUN.format(before=before, middle=middle)


def run(place, before="", middle="", **environment):
    """Run a process; return compilations, hits, the folder that it writes, and its warnings."""
    environment = {"FASTNN_CACHE_DIR": place / "cache", "XDG_CACHE_HOME": place / "user", **environment}
    first, *warned = run_python(program(place, before, middle), NUMBA_CACHE_DIR=None, **environment).splitlines()
    compiled, hits, folder = first.split("|")
    return int(compiled), int(hits), folder, warned


def as_stranger(place):
    """Return code by which a process of root becomes another user's, with a folder of its own."""
    home = place / "user"
    home.mkdir(exist_ok=True)
    os.chown(home, STRANGER, STRANGER)
    return f"exec({BECOME_STRANGER!r})"


@root_only
def test_a_warmed_folder_that_cannot_be_written_is_used(place):
    assert run(place)[:2] == (1, 0)
    stranger = as_stranger(place)
    assert run(place, stranger) == (0, 1, str(place / "user" / "fastnn" / cache.sources_hash()), [])
    # What is missing there is compiled once, and kept elsewhere.
    for path in place.joinpath("cache").rglob("*.nbc"):
        path.unlink()
    assert run(place, stranger)[:2] == (1, 0)
    assert run(place, stranger)[:2] == (0, 1)
    # With no other folder, it is compiled each time, after one warning.
    compiled, _, folder, (warned,) = run(
        place, stranger + "; import tempfile; tempfile.tempdir = '/proc'", XDG_CACHE_HOME="/proc"
    )
    assert (compiled, folder) == (1, "None")
    assert str(place / "cache") in warned


@root_only
def test_code_of_another_user_is_not_run(place):
    stranger = as_stranger(place)
    cache_of_stranger = place / "user" / "cache"
    assert run(place, stranger, FASTNN_CACHE_DIR=cache_of_stranger)[:2] == (1, 0)
    compiled, hits, folder, (warned,) = run(place, FASTNN_CACHE_DIR=cache_of_stranger, XDG_CACHE_HOME=place / "mine")
    assert (compiled, hits) == (1, 0)
    assert folder.startswith(str(place / "mine"))
    assert str(cache_of_stranger) in warned
    assert f"uid {STRANGER}" in warned


@pytest.mark.parametrize("chosen", ["/proc/x", "/dev/null/x"])
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_a_wrong_chosen_folder_is_named_and_another_is_used(place, chosen):
    compiled, _, folder, (warned,) = run(place, FASTNN_CACHE_DIR=chosen)
    assert compiled == 1
    assert folder.startswith(str(place / "user"))
    assert warned.startswith("RuntimeWarning")
    assert f"{chosen} (FASTNN_CACHE_DIR)" in warned


@posix_only
def test_files_that_may_not_become_large(place):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    compiled, _, _, (warned,) = run(place, middle=limit)
    assert compiled == 1
    assert str(place / "cache") in warned
    assert [path.name for path in place.joinpath("cache").rglob("*") if path.is_file()] == ["lock"]


@root_only
def test_a_small_disk(place):
    disk = place / "cache"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        compiled, _, _, (warned,) = run(place)
        assert compiled == 1
        assert str(disk) in warned
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_several_processes_with_an_empty_folder_compile_once(place):
    # Each says that it is ready, waits for a line, and compiles for at least half a second.
    code = program(
        place,
        middle="import time; import tiny; print('ready', flush=True); sys.stdin.readline(); "
        "cache.compile_listeners.append(lambda event, name: time.sleep(0.5 * (event == 'compiling')))",
    )
    environment = {
        **os.environ, "FASTNN_CACHE_DIR": str(place / "cache"),
        "PYTHONPATH": os.pathsep.join([str(Path(compiler.__file__).parents[3]), str(Path(__file__).parent)]),
    }  # fmt: skip
    environment.pop("NUMBA_DISABLE_JIT", None)
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
        for _ in range(amount(3, 8))
    ]  # fmt: skip
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(OSError):
                process.kill()
    compiled = [int(lines[0].split("|")[0]) for lines in printed]
    assert sorted(compiled) == [0] * (len(processes) - 1) + [1]
    assert all(len(lines) == 1 for lines in printed), "no warnings"


# ------------------------------------------------------------------------------------------------ real training

TRAIN = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    import fastnn
    X = np.random.default_rng(0).standard_normal((50, 4))
    model = fastnn.Model([6, 1], loss="squared_error", seed=0)
    model.fit(X, X[:, 0], epochs=3, verbose=False)
    predicted = model.predict(X)
print(b"".join(a.tobytes() for a in [*model.weights, predicted]).hex())
for w in caught:
    print(w.message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["private", *(["public"] if amount(0, 1) else [])])
def test_a_fit_with_damaged_files_gives_the_same_bits(tmp_path, mode):
    if cache.CACHE_FOLDER is not None and cache.CACHE_FOLDER.exists():  # so that what is damaged alone is compiled
        shutil.copytree(cache.CACHE_FOLDER, tmp_path / cache.CACHE_FOLDER.name)
    environment = {"FASTNN_CACHE_DIR": tmp_path, "FASTNN_COMPILER": mode, "timeout": 3000}
    before = run_python(TRAIN, **environment).splitlines()
    assert len(before) == 1
    paths = list(tmp_path.rglob("*.nbc"))
    assert len(paths) >= 2
    names = [name for name in DAMAGES if name != "file of another kernel"]
    for k, path in enumerate(paths):
        DAMAGES[names[(seed() + k) % len(names)]](path)
    bits, warned = run_python(TRAIN, **environment).splitlines()
    assert bits == before[0]
    assert str(tmp_path) in warned
    assert run_python(TRAIN, **environment).splitlines() == before
