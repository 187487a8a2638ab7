"""Storage: a model in one file, without pickle.

The file is a NumPy archive (.npz, uncompressed), which `numpy.load` opens too. Its entry "header" is JSON in
an array of bytes,

    {"format": "fastnn-model", "format_version": 1, "header": {...}}

and all other entries are the arrays. The same content gives the same bytes, whenever it is written.
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

_ADVICE = "Give a file that fastnn has saved."


def write(path: PathOrFile, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a header and arrays into one file.

    A path gets the whole file or none: it is written beside it and takes its place at the end, so a failure
    leaves the old file. It is named exactly as given, no suffix is added. A file that is already there keeps
    its permissions, a link is followed, and a device or pipe is written to directly.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Where to. A file object is written to from where it stands and is not closed.
    header : mapping
        What JSON can say, and NaN and infinity besides. Tuples come back as lists, and keys as strings.
    arrays : mapping of str to numpy.ndarray
        Of any shape and of any dtype but object; "header" is no free name.

    Raises
    ------
    TypeError
        If `path` is no path and no binary file, `header` holds what JSON cannot say, a name is no string, or
        an array has the dtype object.
    ValueError
        If an array is called "header".
    OSError
        If it cannot be written.
    """
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, "header": dict(header)}
    try:
        text = json.dumps(document)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"header must hold only what JSON can say (str, numbers, bool, None, lists, dicts): {error}."
        ) from error
    entries = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
    for name, given in arrays.items():
        if not isinstance(name, str):
            raise TypeError(f"arrays must have strings as names, got {name!r}.")
        if name == "header":
            raise ValueError(
                "arrays must not have the name 'header', which the file needs itself; use another."
            )
        array = np.asarray(given)
        if array.dtype.hasobject:
            raise TypeError(f"arrays[{name!r}] has the dtype {array.dtype}; give numbers, bools or strings.")
        entries[name] = array

    if isinstance(path, (str, os.PathLike)):
        _write_path(path, entries)
    elif isinstance(path, io.TextIOBase) or not hasattr(path, "write"):
        raise TypeError(must_be("path", "a path or a file opened with mode 'wb'", path))
    else:
        _write_archive(path, entries)


def _write_path(path: str | os.PathLike[str], entries: Mapping[str, NDArray[Any]]) -> None:
    target = os.path.realpath(path)  # replacing a link would leave the file it points to as it was
    mode = None
    if os.path.exists(target):
        if not os.path.isfile(target):  # /dev/null must not be replaced; a directory raises here
            with open(target, "wb") as file:
                _write_archive(file, entries)
            return
        mode = stat.S_IMODE(os.stat(target).st_mode)

    # Not by tempfile: that makes files which only the owner can read. open() leaves the bits to the umask.
    temporary = os.path.join(os.path.dirname(target), f".fastnn-{secrets.token_hex(8)}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 -- closed below, before the file is moved
    except OSError as error:
        error.filename = os.fspath(path)  # the user knows nothing of the other name
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
    # What numpy.savez does, but it has arguments of its own that an array's name can collide with, and it
    # writes the time of day into the file.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def read(path: PathOrFile) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write` has written. Nothing in the file is executed.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        Where from. A file object is read from where it stands to its end and is not closed.

    Returns
    -------
    header : dict
        The header.
    arrays : dict of str to numpy.ndarray
        The arrays, bit by bit, writable.

    Raises
    ------
    TypeError
        If `path` is no path and no binary file.
    ValueError
        If the file is cut short or damaged, is something else, or comes from a later version.
    OSError
        If it cannot be read; FileNotFoundError if it is not there.
    """
    # All of the file first: from here on an error is one of its content, and never one of the disk.
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
        raise ValueError(f"{label} is no fastnn model, but a file that begins with {data[:8]!r}. {_ADVICE}")
    with _damage(label):
        archive = zipfile.ZipFile(io.BytesIO(data))
    with archive:
        names = archive.namelist()
        if "header.npy" not in names:
            raise ValueError(
                f"{label} is no fastnn model, but an archive without a header; it has {reprlib.repr(names)}. "
                f"{_ADVICE}"
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
    # The whole entry first: its checksum is compared at its end, and no shape is to be trusted before.
    entry = io.BytesIO(archive.read(name))
    array: NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
    return array


def _header(label: str, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{label} is no fastnn model: its header {reprlib.repr(text)} is not JSON. {_ADVICE}"
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{label} is no fastnn model: its header is {reprlib.repr(document)}. {_ADVICE}")
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{label} has the format version {version}, and this fastnn reads {FORMAT_VERSION}. "
            "Install a later fastnn: pip install --upgrade fastnn."
        )
    header = document.get("header")
    if version != FORMAT_VERSION or not isinstance(header, dict):
        raise ValueError(
            f"{label} has a header that no fastnn writes (format version {version!r}, header of type "
            f"{type(header).__name__}). {_ADVICE}"
        )
    return header


@contextlib.contextmanager
def _damage(label: str) -> Iterator[None]:
    """Turn whatever the decoders raise (they raise a lot) into one ValueError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{label} is cut short or damaged ({type(error).__name__}: {error}). Copy or save it once more."
        ) from error
