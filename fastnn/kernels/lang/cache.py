"""Folder of compiled code on disk.

The folder is named by a digest of all kernel sources, the versions of the compiler and the mode, because Numba's own
cache does not notice an edit in *another* file than the one of the function.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite
import numba

from fastnn.kernels.lang.flags import JIT_DISABLED, MODE

#: Modules of `fastnn` above the kernels that hold compiled functions: the arithmetic of the rules.
RULE_MODULES = ("activations.py", "losses.py", "optimizers.py")


def sources_hash() -> str:
    """Return the digest of all sources of compiled code, of the versions of Numba and llvmlite, and of the mode."""
    digest = hashlib.sha256(f"{numba.__version__}\0{llvmlite.__version__}\0{MODE}".encode())
    folder = Path(__file__).parent.parent  # fastnn/kernels
    for path in [*sorted(folder.rglob("*.py")), *(folder.parent / name for name in RULE_MODULES)]:
        digest.update(f"{path.relative_to(folder.parent).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_usable(folder: Path, *, private: bool) -> bool:
    """Return whether `folder` is writable; if `private`, also that no other user can write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        if private and hasattr(os, "getuid"):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


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


def find_cache_folder() -> Path | None:
    """Return the first usable of: FASTNN_CACHE_DIR, Numba's setting, the cache folder of this user, a temporary one.

    Warns and returns None if no folder is writable.
    """
    chosen = os.environ.get("FASTNN_CACHE_DIR") or numba.config.CACHE_DIR
    candidates: list[tuple[Path, bool]] = []
    if chosen:
        candidates.append((Path(chosen), False))
    user = _user_cache_folder()
    if user is not None:
        candidates.append((user, False))
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(FileNotFoundError):  # there may be no temporary folder at all
        # A shared folder: as compiled code is loaded from it, the subfolder must be writable by this user only.
        candidates.append((Path(tempfile.gettempdir()) / f"fastnn-{owner}", True))
    for base, private in candidates:
        if _is_usable(base, private=private):
            return base / sources_hash()
    warnings.warn(
        "fastnn found no writable folder for compiled code, so each process compiles anew (some seconds). "
        "Set FASTNN_CACHE_DIR to a writable folder.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


#: The folder of this process; None where nothing is kept.
CACHE_FOLDER: Path | None = None if JIT_DISABLED else find_cache_folder()
