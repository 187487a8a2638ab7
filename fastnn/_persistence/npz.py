"""File format of models: one NumPy archive, without pickle.

The file is an uncompressed .npz, which `numpy.load` reads, too. Its entry "header" is JSON in
an array of bytes,

    {"format": "fastnn-model", "format_version": 1, "header": {...}}

and all other entries are the arrays. The bytes are a function of the content alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import reprlib
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastnn._validation import must_be

FORMAT = "fastnn-model"
FORMAT_VERSION = 1

PathOrFile: TypeAlias = str | os.PathLike[str] | IO[bytes]

_ADVICE = "Pass a file that fastnn has saved."


def write(path: PathOrFile, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a header and arrays into one file.

    A file at a path is replaced atomically: the content is written to a temporary file in the same folder, which is
    renamed at the end, so that a failure leaves the old file. No suffix is added to the name. An existing file keeps
    its permissions, a link is followed, and a device or pipe is written to directly.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Destination. A file object is written from its present position and is not closed.
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
        If an array has the name "header".
    OSError
        If the file cannot be written.
    """
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
        _write_path(path, entries)
    elif isinstance(path, io.TextIOBase) or not hasattr(path, "write"):
        raise TypeError(must_be("path", "a path or a file opened with mode 'wb'", path))
    else:
        _write_archive(path, entries)


def _write_path(path: str | os.PathLike[str], entries: Mapping[str, NDArray[Any]]) -> None:
    target = os.path.realpath(path)  # os.replace would replace a link, not its target
    mode = None
    if os.path.exists(target):
        if not os.path.isfile(target):  # /dev/null must not be replaced; open() raises for a directory
            with open(target, "wb") as file:
                _write_archive(file, entries)
            return
        mode = stat.S_IMODE(os.stat(target).st_mode)

    # Not by tempfile, whose files only the owner can read: open() sets permissions by the umask.
    temporary = os.path.join(os.path.dirname(target), f".fastnn-{secrets.token_hex(8)}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 -- closed below, before the file is moved
    except OSError as error:
        error.filename = os.fspath(path)  # report the given name, not the temporary one
        raise
    try:
        with file:
            if mode is not None:
                os.chmod(temporary, mode)
            _write_archive(file, entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_archive(file: IO[bytes], entries: Mapping[str, NDArray[Any]]) -> None:
    # As numpy.savez, whose arguments could collide with the name of an array, and which writes the time of day
    # into the file.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def read(path: PathOrFile) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file that `write` has written. Nothing in the file is executed.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Source. A file object is read from its present position to its end and is not closed.

    Returns
    -------
    header : dict
        The header.
    arrays : dict of str to numpy.ndarray
        The arrays, bit-identical and writable.

    Raises
    ------
    TypeError
        If `path` is neither a path nor a binary file.
    ValueError
        If the file is truncated or damaged, of another format, or of a later version.
    OSError
        If the file cannot be read; FileNotFoundError if it does not exist.
    """
    # Read the whole file first, so that later errors are those of its content and not of the disk.
    if isinstance(path, (str, os.PathLike)):
        label = repr(os.fspath(path))
        with open(path, "rb") as file:
            data = file.read()
    elif isinstance(path, io.TextIOBase) or not hasattr(path, "read"):
        raise TypeError(must_be("path", "a path or a file opened with mode 'rb'", path))
    else:
        label = f"the file {getattr(path, 'name', path)!r}"
        data = path.read()

    if not data:
        raise ValueError(f"{label} is empty. {_ADVICE}")
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{label} is not a fastnn model: it begins with {data[:8]!r}. {_ADVICE}")
    with _damage(label):
        archive = zipfile.ZipFile(io.BytesIO(data))
    with archive:
        names = archive.namelist()
        if "header.npy" not in names:
            raise ValueError(
                f"{label} is not a fastnn model: it is an archive without a header, with the entries "
                f"{reprlib.repr(names)}. {_ADVICE}"
            )
        with _damage(label):
            text = _read_array(archive, "header.npy").tobytes()
        header = _header(label, text)
        arrays = {}
        for name in names:
            if name != "header.npy":
                with _damage(label):
                    arrays[name.removesuffix(".npy")] = _read_array(archive, name)
    return header, arrays


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    # Read the whole entry first: its checksum is compared at its end, and no shape may be used before.
    entry = io.BytesIO(archive.read(name))
    array: NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
    return array


def _header(label: str, text: bytes) -> dict[str, Any]:
    try:
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
            f"{label} has the format version {version}, and this fastnn reads {FORMAT_VERSION}. "
            "Install a later fastnn: pip install --upgrade fastnn."
        )
    header = document.get("header")
    if version != FORMAT_VERSION or not isinstance(header, dict):
        raise ValueError(
            f"{label} has an invalid header (format version {version!r}, header of type "
            f"{type(header).__name__}). {_ADVICE}"
        )
    return header


@contextlib.contextmanager
def _damage(label: str) -> Iterator[None]:
    """Convert every exception of the decoders to ValueError, except MemoryError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{label} is truncated or damaged ({type(error).__name__}: {error}). Copy or save it once more."
        ) from error
