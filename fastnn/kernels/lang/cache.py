"""Compiled code on disk: in which folders it is looked for and kept.

First in those of the user, then in the one that came with the package: a wheel has code for levels of processors.

The folder is named by a digest of all kernel sources, the versions of the compiler and the mode, because Numba's own
cache does not notice an edit in *another* file than the one of the function.

Whatever is wrong with a folder or file costs a compilation and one warning per process, and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import llvmlite
import numba

from fastnn.kernels.lang import code_files
from fastnn.kernels.lang.flags import JIT_DISABLED, MODE
from fastnn.kernels.lang.levels import LEVEL
from fastnn.kernels.lang.process_lock import ProcessLock

#: Modules of `fastnn` above the kernels that hold compiled functions: the arithmetic of the rules.
RULE_MODULES = ("activations.py", "losses.py", "optimizers.py")
#: Folder of the package with the compiled code that it came with.
SHIPPED_FOLDER = Path(__file__).parents[2] / "_compiled"
#: Seconds that a process waits for another one that compiles, before it compiles by itself.
PATIENCE = 300.0


def sources_hash() -> str:
    """Return the digest of all sources of compiled code, of the versions of Numba and llvmlite, and of the mode."""
    digest = hashlib.sha256(f"{numba.__version__}\0{llvmlite.__version__}\0{MODE}".encode())
    folder = Path(__file__).parent.parent  # fastnn/kernels
    for path in [*sorted(folder.rglob("*.py")), *(folder.parent / name for name in RULE_MODULES)]:
        digest.update(f"{path.relative_to(folder.parent).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_folder_name = functools.cache(sources_hash)


def _user_cache_folder() -> Path | None:
    """Return the folder for caches that the operating system gives this user; None where there is no home folder."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "fastnn"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fastnn"


class Place(NamedTuple):
    """A folder that may have a subfolder of compiled code.

    Parameters
    ----------
    base : pathlib.Path
        The folder.
    origin : str
        Where its name is from.
    """

    base: Path
    origin: Literal["FASTNN_CACHE_DIR", "NUMBA_CACHE_DIR", "the cache folder of this user", "a temporary folder"]


class Folders(NamedTuple):
    """The folders of a process.

    Parameters
    ----------
    read : tuple of pathlib.Path
        Where compiled code is looked for, in this order.
    write : pathlib.Path or None
        Where it is kept; None where nothing is.
    problem : str or None
        Text of a warning.
    """

    read: tuple[Path, ...]
    write: Path | None
    problem: str | None


def _places() -> Iterator[Place]:
    """Yield the places in the order in which they are tried."""
    for name, value in (
        ("FASTNN_CACHE_DIR", os.environ.get("FASTNN_CACHE_DIR")),
        ("NUMBA_CACHE_DIR", numba.config.CACHE_DIR),
    ):
        if value:
            try:  # the same folder after os.chdir
                base = Path(value).absolute()
            except OSError:  # the current folder has been deleted
                base = Path(value)
            yield Place(base, name)  # type: ignore[arg-type]
            break
    user = _user_cache_folder()
    if user is not None:
        yield Place(user, "the cache folder of this user")
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(FileNotFoundError):  # there may be no temporary folder at all
        yield Place(Path(tempfile.gettempdir()) / f"fastnn-{owner}", "a temporary folder")


def find_cache_folders() -> Folders:
    """Return the folders of compiled code: up to the first writable one, all that can be trusted.

    A folder that only others can write, as in a container, is read from; a folder that belongs to another user than
    this one and root, or that others can write, is not.
    """
    name = _folder_name()
    read: list[Path] = []
    problems: list[str] = []
    for place in _places():
        folder = place.base / name
        try:
            _check(place, folder)
            if _is_writable(folder if folder.exists() else place.base):
                return _combined([*read, folder], folder, problems)
            if folder.exists():
                read.append(folder)
                continue
            reason, is_expected = "cannot be written, and has no code for this version", True
        except code_files.UnusableFileError as error:
            reason, is_expected = str(error), False
        except OSError as error:
            reason, is_expected = f"cannot be used ({error.strerror or error})", True
        # A system without a home folder, or one that cannot be written, is common.
        if not (is_expected and place.origin in ("the cache folder of this user", "a temporary folder")):
            problems.append(f"{place.base} ({place.origin}) is not used for compiled code: it {reason}")
    return _combined(read, None, problems)


def _check(place: Place, folder: Path) -> None:
    """Make a place; raise UnusableFileError if its code could be that of other users, OSError if it cannot be used."""
    base = place.base
    if place.origin == "a temporary folder":
        # Others can write the parent. Without the sticky bit they could exchange the folder, too.
        reason = code_files.why_not_trusted(base.parent.stat(), sticky_is_enough=True)
        if reason is not None:
            raise code_files.UnusableFileError(f"lies in a folder that {reason}")
        base.mkdir(exist_ok=True, mode=0o700)
        code_files.check_folder(base)
    else:
        _check_owner_of_parent(base)
        base.mkdir(parents=True, exist_ok=True, mode=0o755)
        reason = code_files.why_not_trusted(base.stat(), sticky_is_enough=True)
        if reason is None and base.is_symlink():
            reason = code_files.why_not_owned(base.lstat())
        if reason is not None:
            raise code_files.UnusableFileError(reason)
    if os.path.lexists(folder):
        code_files.check_folder(folder)


def _check_owner_of_parent(base: Path) -> None:
    """Raise UnusableFileError if root would make a folder in that of another user, as ``sudo -E`` asks it to."""
    if not base.exists() and hasattr(os, "geteuid") and os.geteuid() == 0:
        parent = next(folder for folder in base.parents if folder.exists())
        reason = code_files.why_not_owned(parent.stat())
        if reason is not None:
            raise code_files.UnusableFileError(f"would lie in {parent}, which {reason}")


def _is_writable(folder: Path) -> bool:
    """Return whether a file can be made in `folder`."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _combined(read: list[Path], write: Path | None, problems: list[str]) -> Folders:
    """Return what was found, with the text of one warning if there is a reason for one."""
    if write is not None:
        consequence = f"It is kept in {write.parent}."
    elif read or SHIPPED is not None:
        source = read[0].parent if read else SHIPPED_FOLDER
        consequence = f"It is read from {source}, and what is missing there is compiled by each process."
    else:
        problems = problems or ["no writable folder for compiled code was found"]
        consequence = "Each process compiles anew (some seconds). Set FASTNN_CACHE_DIR to a folder that you can write."
    return Folders(tuple(read), write, f"{'; '.join(problems)}. {consequence}" if problems else None)


_has_warned = threading.Event()


def warn_once(text: str) -> None:
    """Warn of the first fault of a folder or file of compiled code in this process."""
    if not _has_warned.is_set():
        _has_warned.set()
        warnings.warn(f"fastnn: {text}", RuntimeWarning, stacklevel=3)


def find_shipped_folder() -> Path | None:
    """Return the folder of compiled code that came with the package; None where it has none for this process."""
    folder = SHIPPED_FOLDER / _folder_name()
    return folder if LEVEL is not None and folder.is_dir() else None


#: Compiled code that came with the package.
SHIPPED = None if JIT_DISABLED else find_shipped_folder()
#: The folders of this process.
FOLDERS = Folders((), None, None) if JIT_DISABLED else find_cache_folders()
#: Where this process keeps compiled code; None where nothing is kept.
CACHE_FOLDER = FOLDERS.write
if FOLDERS.problem is not None:
    warn_once(FOLDERS.problem)


Origin = Literal["from the package", "from the cache", "compiled now"]
#: How many kernels of this process came from where.
origins: Counter[Origin] = Counter()


class Found(NamedTuple):
    """Compiled code that was found in a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    origin : str
        Whether it was kept for the user or came with the package.
    payload : bytes
        Its content.
    """

    path: Path
    origin: Origin
    payload: bytes


def load(name: str, key: bytes) -> Found | None:
    """Return what was kept under a name and key; None, if need be after a warning, where nothing can be used."""
    for folder in FOLDERS.read:
        payload = _read(folder / name, key)
        if payload is not None:
            return Found(folder / name, "from the cache", payload)
    return None


def load_shipped(name: str, key: bytes) -> Found | None:
    """Return the same of what came with the package."""
    payload = None if SHIPPED is None else _read(SHIPPED / name, key)
    return None if SHIPPED is None or payload is None else Found(SHIPPED / name, "from the package", payload)


def _read(path: Path, key: bytes) -> bytes | None:
    try:
        return code_files.read(path, key, shipped=path.parent == SHIPPED)
    except FileNotFoundError:
        return None
    except code_files.UnusableFileError as error:
        warn_of_file(path, str(error))
    except OSError as error:
        warn_of_file(path, f"cannot be read ({error.strerror or error})")
    return None


def save(name: str, key: bytes, payload: bytes) -> None:
    """Keep a payload under a name and key; warn where that is not possible."""
    if FOLDERS.write is None:
        source = FOLDERS.read[0] if FOLDERS.read else SHIPPED
        if source is not None:  # otherwise there has been a warning when this module was imported
            warn_once(
                f"{source} lacks some of the compiled code and cannot be written, nor can another folder, so "
                "each process compiles that anew. Set FASTNN_CACHE_DIR to a folder that you can write."
            )
        return
    try:
        code_files.write(FOLDERS.write / name, key, payload)
    except code_files.UnusableFileError as error:
        reason = f"it {error}"
    except OSError as error:
        reason = f"{error.strerror or error}"
    else:
        return
    warn_once(
        f"Compiled code cannot be kept in {FOLDERS.write} ({reason}), so each process compiles it anew. "
        "Mend the folder, or set FASTNN_CACHE_DIR to another one."
    )


def warn_of_file(path: Path, reason: str) -> None:
    """Warn that a file of compiled code is not used; the reason follows "it"."""
    remedy = "install fastnn-mlp again" if path.parent == SHIPPED else "delete the folder"
    warn_once(
        f"The file {path.name} of compiled code in {path.parent} is not used, as it {reason}. "
        f"Its kernel is compiled anew (some seconds). If this warning comes again, {remedy}."
    )


#: Functions that are called with ("compiling", name of the kernel) right before a kernel is compiled because no folder
#: has it, and with ("waiting", "") if another process is compiling at that time. They run in the thread that compiles.
compile_listeners: list[Callable[[Literal["compiling", "waiting"], str], None]] = []


def notify(event: Literal["compiling", "waiting"], name: str) -> None:
    """Call the listeners."""
    for listener in tuple(compile_listeners):
        listener(event, name)


_lock = None if CACHE_FOLDER is None else ProcessLock(CACHE_FOLDER / "lock", PATIENCE)


@contextlib.contextmanager
def compile_lock() -> Iterator[None]:
    """Hold the lock on the folder of compiled code, so that of several processes one compiles and the others wait.

    A process may take it again while it has it, in any thread. Where there is no folder, or no lock can be had, or the
    other process takes longer than `PATIENCE` seconds, the block runs without it.
    """
    if _lock is None:
        yield
        return
    with contextlib.suppress(OSError):
        _lock.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with _lock.held(lambda: notify("waiting", "")):
        yield
