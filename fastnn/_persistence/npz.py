"""File format of models: one NumPy archive, without pickle.

The file is an uncompressed .npz, which `numpy.load` reads, too. Its entry "header" is JSON in
an array of bytes,

    {"format": "fastnn-model", "format_version": 1, "header": {...}}

and all other entries are the arrays. The bytes are a function of the content alone.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import reprlib
import secrets
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastnn._validation import CONVERSION_ERRORS, must_be

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = "fastnn-model"
FORMAT_VERSION = 1

PathOrFile: TypeAlias = str | os.PathLike[str] | IO[bytes]

_ADVICE = "Pass a file that fastnn has saved."

#: Most bytes that are read from a stream, which must be kept in memory as a whole.
MAX_STREAM_BYTES = 1 << 30
#: Largest size of an archive's entries, as a multiple of the file plus some bytes. What `write` writes is not
#: compressed; by other software a fresh model whose slots are zero is compressed to a third or fourth.
_MAX_RATIO, _SLACK = 4, 1 << 20
#: Longest directory of an archive, and largest numbers of lists, dicts and strings in a header, for which Python needs
#: some 30 times the memory of the file. A layer has two of the former, ten strings, and some 400 bytes of directory.
_MAX_DIRECTORY_BYTES, _MAX_CONTAINERS, _MAX_STRINGS = 1 << 22, 100_000, 200_000
_CHUNK = 1 << 16
_PREFIX, _SUFFIX = ".fastnn-", ".tmp"


def write(path: PathOrFile, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a header and arrays into one file.

    A file at a path is replaced atomically: the content is written to a temporary file in the same folder, which is
    renamed at the end, so that a failure leaves the old file. No suffix is added to the name. An existing file keeps
    its permissions, and is not replaced if they do not allow to write it; other hard links to it keep the old content.
    A symbolic link is followed, and a device or pipe is written to directly. Temporary files of killed processes are
    deleted from the folder.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Destination. A file object is written from its present position and is not closed; it need not be able to seek.
    header : mapping
        Data that JSON can represent, NaN and infinity included. Tuples are read as lists, and keys as strings.
    arrays : mapping of str to numpy.ndarray
        Of any shape and any dtype but object; the name "header" is reserved.

    Raises
    ------
    TypeError
        If `path` is neither a path nor a binary file, JSON cannot represent `header`, a name is not a string, or an
        array has the dtype object.
    ValueError
        If an array has the name "header", or no file can have the name `path`.
    OSError
        If the file cannot be written.
    """
    if isinstance(path, (str, os.PathLike)):
        _check_name(path)
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, "header": dict(header)}
    try:
        text = json.dumps(document)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"header must contain only str, numbers, bool, None, lists and dicts, as it is written as JSON: {error}."
        ) from error
    entries = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
    for name, given in arrays.items():
        if not isinstance(name, str):
            raise TypeError(must_be("names of arrays", "strings", name))
        if name == "header":
            raise ValueError("names of arrays must not be 'header', which is reserved. Use another name.")
        array = np.asarray(given)
        if array.dtype.hasobject:
            raise TypeError(must_be(f"dtype of arrays[{name!r}]", "numeric, bool or string", array.dtype.name))
        entries[name] = array

    if isinstance(path, (str, os.PathLike)):
        _write_path(path, lambda file: _write_archive(file, entries), lambda file: _write_stream(file, entries))
    elif isinstance(path, io.TextIOBase) or not hasattr(path, "write"):
        raise TypeError(must_be("path", "a path or a file opened with mode 'wb'", path))
    else:
        _write_stream(path, entries)


def _check_name(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a path that the system cannot represent."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise ValueError(must_be("path", "a name without NUL and without lone surrogates", os.fspath(path)))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write one file as `write` does: replaced atomically, with its permissions, links followed.

    Parameters
    ----------
    path : str or os.PathLike
    data : bytes
        The whole content.

    Raises
    ------
    ValueError
        If no file can have the name `path`.
    OSError
        If the file cannot be written.
    """
    _check_name(path)

    def write_into(file: IO[bytes]) -> None:
        file.write(data)

    _write_path(path, write_into, write_into)


def _write_path(
    path: str | os.PathLike[str], write: Callable[[IO[bytes]], None], write_stream: Callable[[IO[bytes]], None]
) -> None:
    """Write a file; `write_stream` is for one that perhaps cannot seek."""
    target = os.path.realpath(path)  # os.replace would replace a link, not its target
    mode = None
    try:
        status = os.stat(path)
    except FileNotFoundError:
        pass
    else:  # every other error, as that of a link to itself, is one of writing
        if not stat.S_ISREG(status.st_mode):  # /dev/null must not be replaced; open() raises for a directory
            with open(target, "wb") as file:
                write_stream(file)
            return
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        mode = stat.S_IMODE(status.st_mode)

    _sweep(os.path.dirname(target))
    # Not by tempfile, whose files only the owner can read: open() sets permissions by the umask.
    temporary = os.path.join(os.path.dirname(target), f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
    try:
        with _new_file(temporary) as file:
            if mode is not None:
                os.chmod(temporary, mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # while the file is open, and with it the lock that says so
                os.replace(temporary, target)
        if fcntl is None:  # Windows renames no open file
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = os.fspath(path)  # report the given name, not the temporary one
        raise


def _new_file(name: str) -> IO[bytes]:
    """Make a file that `_sweep` of other processes leaves alone as long as it is open."""
    while True:
        file = open(name, "xb")  # noqa: SIM115 -- closed by the caller
        try:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks, where nothing is swept
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(name):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # another process swept it before it was locked


def _sweep(folder: str) -> None:
    """Delete the temporary files of processes that have ended: those without a lock."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    _delete_if_abandoned(entry.path)


def _delete_if_abandoned(name: str) -> None:
    if fcntl is None:
        os.unlink(name)  # Windows refuses that for an open file
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)
    finally:
        os.close(descriptor)


def _write_stream(file: IO[bytes], entries: Mapping[str, NDArray[Any]]) -> None:
    """Write to a device, pipe or file object. An archive is finished by seeking back, which these may not support."""
    memory = io.BytesIO()
    _write_archive(memory, entries)
    data = memory.getvalue()
    while data:
        n = file.write(data)
        data = data[n:] if isinstance(n, int) and 0 < n < len(data) else b""  # an unbuffered file may write less


def _write_archive(file: IO[bytes], entries: Mapping[str, NDArray[Any]]) -> None:
    # As numpy.savez, whose arguments could collide with the name of an array, and which writes the time of day
    # into the file.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


class Archive:
    """An open file that `write` has written, with its header.

    Nothing in the file is executed. Memory is taken for the header, and for the arrays that are asked for: neither
    other entries nor sizes that the file only claims take any.
    """

    def __init__(self, label: str, file: IO[bytes]) -> None:
        self._label = label
        size = file.seek(0, os.SEEK_END)
        # What is stored takes at most the size of the file; archives that were compressed by others may take more.
        self._budget = _SLACK + _MAX_RATIO * size
        reader = _WithShortReads(file)
        with _damage(label):
            self._archive = zipfile.ZipFile(reader)
        reader.limit = size
        names = self._archive.namelist()
        if "header.npy" not in names:
            raise ValueError(
                f"{label} is not a fastnn model: it is an archive without a header, with the entries "
                f"{reprlib.repr(names)}. {_ADVICE}"
            )
        with _damage(label):
            text = self._array("header.npy", _SLACK + size).tobytes()
        #: The header.
        self.header = _header(label, text)

    def arrays(self, expected: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]] | None = None) -> dict[str, Any]:
        """Read arrays.

        Parameters
        ----------
        expected : mapping of str to (shape, dtype), optional
            The arrays to read; all, if it is not given.

        Returns
        -------
        dict of str to numpy.ndarray
            Bit-identical and writable.

        Raises
        ------
        ValueError
            If one is missing, damaged, or of another shape or dtype.
        """
        if expected is None:
            names = [name.removesuffix(".npy") for name in self._archive.namelist() if name != "header.npy"]
        else:
            names = list(expected)
        with _damage(self._label):
            total = sum(self._archive.getinfo(f"{name}.npy").file_size for name in names)
            if total > self._budget:
                raise ValueError(f"its arrays take {total} bytes, where a file of its size has at most {self._budget}")
            found = {}
            for name in names:
                shape_and_dtype = None if expected is None else expected[name]
                found[name] = self._array(f"{name}.npy", self._budget, shape_and_dtype)
        return found

    def _array(
        self, name: str, limit: int, expected: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    ) -> NDArray[Any]:
        """Read one entry of at most `limit` bytes."""
        info = self._archive.getinfo(name)
        if info.file_size > limit:
            raise ValueError(f"entry {name!r} takes {info.file_size} bytes, where at most {limit} are expected")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others have no bound on their output
            raise ValueError(f"entry {name!r} is compressed by method {info.compress_type}")
        # Read the whole entry first: its checksum is compared at its end, and no shape may be used before.
        with self._archive.open(info) as member:
            entry = io.BytesIO(member.read(info.file_size))
        try:
            shape, dtype = _shape_and_dtype(entry)
        except MemoryError:  # from the parser, for a text nested too deeply
            raise ValueError(f"entry {name!r} has an invalid header") from None
        if expected is not None and (shape, dtype) != expected:
            raise ValueError(f"array {name.removesuffix('.npy')} is {dtype} {shape}, not {expected[1]} {expected[0]}")
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"entry {name!r} is shorter than its array of shape {shape}")
        entry.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
        return array


def _shape_and_dtype(entry: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an array."""
    version = np.lib.format.read_magic(entry)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(entry)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(entry)
    else:
        raise ValueError(f"version {version} of NumPy's format")
    return shape, dtype


class _WithShortReads:
    """A file for `zipfile`, which reads a directory of any length that a file claims, until `limit` is raised."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.limit = _MAX_DIRECTORY_BYTES
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        """Return True."""
        return True

    def read(self, n: int = -1) -> bytes:
        """Read at most n bytes; raise ValueError if that is more than the limit."""
        if n > self.limit:
            raise ValueError(f"its directory takes {n} bytes")
        return self._file.read(n)


@contextlib.contextmanager
def open_archive(path: PathOrFile) -> Iterator[Archive]:
    """Open a file that `write` has written.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Source. A file object is read from its present position to its end and is not closed.

    Yields
    ------
    Archive

    Raises
    ------
    TypeError
        If `path` is neither a path nor a binary file.
    ValueError
        If the file is truncated or damaged, of another format, or of a later version; if no file can have that name.
    OSError
        If the file cannot be read; FileNotFoundError if it does not exist.
    """
    if isinstance(path, (str, os.PathLike)):
        _check_name(path)
        label = label_of(path)
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open() raises for a folder
            raise ValueError(f"{label} is a device or pipe. {_ADVICE} A pipe can be passed as an open binary file.")
        with open(path, "rb") as file:
            _check_start(label, file.read(8))
            yield Archive(label, file)
    elif isinstance(path, io.TextIOBase) or not hasattr(path, "read"):
        raise TypeError(must_be("path", "a path or a file opened with mode 'rb'", path))
    else:
        label = label_of(path)
        position = _position(path)
        start = _read_bytes(path, 8)
        _check_start(label, start)
        if position is None:
            yield Archive(label, _in_memory(label, path, start))
        else:
            try:
                yield Archive(label, path)
            finally:
                path.seek(0, os.SEEK_END)


def read(path: PathOrFile) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and all arrays of a file, as `open_archive` and `Archive.arrays` do."""
    with open_archive(path) as archive:
        return archive.header, archive.arrays()


def label_of(path: PathOrFile) -> str:
    """Return how errors name a file, in at most 120 characters."""
    if isinstance(path, (str, os.PathLike)):
        text = repr(os.fspath(path))
    else:
        text = f"the file {reprlib.repr(getattr(path, 'name', path))}"
    return text if len(text) <= 120 else f"{text[:20]}...{text[-97:]}"


def brief(error: Exception) -> str:
    """Return kind and text of an error, in at most 100 characters."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _check_start(label: str, data: bytes) -> None:
    if not data:
        raise ValueError(f"{label} is empty. {_ADVICE}")
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{label} is not a fastnn model: it begins with {data!r}. {_ADVICE}")


def _read_bytes(file: IO[bytes], n: int) -> bytes:
    """Read n bytes, or fewer at the end; raise TypeError if what comes is of another type."""
    found = b""
    while len(found) < n:
        data = file.read(n - len(found))
        if not isinstance(data, (bytes, bytearray)):
            what = f"a path or a file whose read() returns bytes, not {type(data).__name__}"
            raise TypeError(must_be("path", what, file))
        if not data:
            break
        found += data
    return found


def _position(file: IO[bytes]) -> int | None:
    """Return the position in a file; None if it cannot be read from its end, as a pipe or compressed file."""
    try:
        position = file.tell()
        file.seek(0, os.SEEK_END)
        file.seek(position)
    except (AttributeError, OSError, ValueError, TypeError):
        return None
    return position


def _in_memory(label: str, file: IO[bytes], start: bytes) -> IO[bytes]:
    """Read a stream to its end, which may never come."""
    # An archive begins with the name of its first entry, which `write` makes that of the header.
    start += _read_bytes(file, 40 - len(start))
    if len(start) == 40 and not start.endswith(b"header.npy"):
        raise ValueError(f"{label} is not a fastnn model: its first entry is not the header. {_ADVICE}")
    memory = io.BytesIO()
    memory.write(start)
    while data := _read_bytes(file, _CHUNK):
        if memory.tell() + len(data) > MAX_STREAM_BYTES:
            raise ValueError(
                f"{label} has more than {MAX_STREAM_BYTES} bytes, the most that is read from what cannot seek. "
                "Pass a path."
            )
        memory.write(data)
    return memory


def _header(label: str, text: bytes) -> dict[str, Any]:
    try:
        if text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS or text.count(b'"') > 2 * _MAX_STRINGS:
            raise ValueError("too many parts")
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{label} is not a fastnn model: its header {reprlib.repr(text)} is not JSON. {_ADVICE}"
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{label} is not a fastnn model: its header is {reprlib.repr(document)}. {_ADVICE}")
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{label} has the format version {reprlib.repr(version)}, and this fastnn reads {FORMAT_VERSION}. "
            "Install a later fastnn: pip install --upgrade fastnn-mlp."
        )
    header = document.get("header")
    if version != FORMAT_VERSION or not isinstance(header, dict):
        raise ValueError(
            f"{label} has an invalid header (format version {reprlib.repr(version)}, header of type "
            f"{type(header).__name__}). {_ADVICE}"
        )
    return header


#: What the decoders of archives, arrays and JSON raise for damaged files.
_DECODING_ERRORS = (
    *CONVERSION_ERRORS, EOFError, OSError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@contextlib.contextmanager
def _damage(label: str) -> Iterator[None]:
    """Convert exceptions of the decoders to ValueError, except MemoryError."""
    try:
        yield
    except _DECODING_ERRORS as error:
        raise ValueError(f"{label} is truncated or damaged ({brief(error)}). Copy or save it once more.") from error
