"""Files of compiled code: written at once, checked before anything in them is used.

A file is `MAGIC`, the SHA-256 of the rest, the digest of the key, and the payload, a pickle. A pickle runs code when
it is read, so a file is read only if no user but this one and root can have written it, or if it is a part of the
package.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import time
from pathlib import Path

MAGIC = b"fastnn code 1\n"
#: Larger files are none of ours: the largest kernel takes about 1 MB.
MAX_BYTES = 1 << 28
#: Age in seconds from which a temporary file has been left by a process that was killed.
_ABANDONED_AFTER = 3600.0

_DIGEST_BYTES = hashlib.sha256().digest_size


class UnusableFileError(Exception):
    """A file of compiled code that is damaged or that other users could have written; the text follows "it"."""


def why_not_owned(status: os.stat_result) -> str | None:
    """Return why a file or folder belongs neither to this user nor to root, as a text that follows "it"."""
    if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (uid {status.st_uid})"
    return None


def why_not_trusted(status: os.stat_result, *, sticky_is_enough: bool = False) -> str | None:
    """Return why other users could have written a file or folder, as a text that follows "it"; None if they could not.

    Parameters
    ----------
    status : os.stat_result
        Of the file or folder.
    sticky_is_enough : bool
        Whether a folder that others may write is accepted if it has the sticky bit: others can add files of their own
        there (whose owner is checked), but cannot replace those of this user.
    """
    if not hasattr(os, "geteuid"):  # Windows: folders of a user are closed to others by their parents
        return None
    reason = why_not_owned(status)
    if reason is not None:
        return reason
    if status.st_mode & 0o022 and not (sticky_is_enough and status.st_mode & stat.S_ISVTX):
        return "can be written by its group or by others (chmod go-w mends that)"
    return None


def check_folder(folder: Path) -> None:
    """Raise UnusableFileError if others could have put files into a folder; OSError if it cannot be looked at."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnusableFileError("is not a folder")
    reason = why_not_trusted(status)
    if reason is not None:
        raise UnusableFileError(reason)


def read(path: Path, key: bytes, *, shipped: bool = False) -> bytes:
    """Return the payload that `write` was given together with this key.

    Parameters
    ----------
    path : pathlib.Path
    key : bytes
    shipped : bool
        Whether the file is a part of the package, and so no less trusted than the code that reads it.

    Returns
    -------
    bytes

    Raises
    ------
    UnusableFileError
        If the file is damaged, is for another key, or could have been written by other users.
    OSError
        If the file or its folder cannot be read; FileNotFoundError if there is none.
    """
    if not shipped:
        try:
            check_folder(path.parent)
        except UnusableFileError as error:
            raise UnusableFileError(f"lies in a folder that {error}") from None
    # Without O_NONBLOCK, opening a pipe would wait for a writer. A link is followed: what counts is who can write
    # its target.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFileError("is not a file")
        reason = None if shipped else why_not_trusted(status)
        if reason is not None:
            raise UnusableFileError(reason)
        if status.st_size > MAX_BYTES:
            raise UnusableFileError("is damaged")
        data = file.read(MAX_BYTES)
    begin = len(MAGIC) + _DIGEST_BYTES
    if not data.startswith(MAGIC) or hashlib.sha256(data[begin:]).digest() != data[len(MAGIC) : begin]:
        raise UnusableFileError("is damaged")
    if data[begin : begin + _DIGEST_BYTES] != hashlib.sha256(key).digest():
        raise UnusableFileError("is the code of another kernel")
    return data[begin + _DIGEST_BYTES :]


def write(path: Path, key: bytes, payload: bytes) -> None:
    """Replace a file at once, and write it through to the disk; its folder is made where it is missing.

    Raises
    ------
    UnusableFileError
        If other users could put files into the folder.
    OSError
        If the file cannot be written. Nothing is left behind then.
    """
    folder = path.parent
    # Never writable by the group, whatever the umask allows: such a folder would not be trusted.
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    folder.mkdir(exist_ok=True, mode=0o755)
    check_folder(folder)
    _sweep(folder)
    rest = hashlib.sha256(key).digest() + payload
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(MAGIC + hashlib.sha256(rest).digest() + rest)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)  # what lies there is not ours, and no file can replace it
        try:
            os.replace(temporary, path)
        except PermissionError:
            # Windows refuses while another process reads the file, or replaces it by the same code.
            if os.name != "nt":
                raise
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_folder(folder)


def _sweep(folder: Path) -> None:
    """Delete temporary files that a killed process has left."""
    for left in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _ABANDONED_AFTER:
                left.unlink()


def _flush_folder(folder: Path) -> None:
    """Write the entries of a folder through to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
