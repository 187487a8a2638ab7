"""Files: exact round trips, atomic writing, and one kind of error for all invalid files."""

from __future__ import annotations

import builtins
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import stat
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastnn._persistence import npz

HEADER = {
    "layers": [{"units": 3, "activation": "relu"}, {"units": 1, "activation": "identity"}],
    "learning_rate": 0.1 + 0.2,
    "text": "größer ≥ 0",
    "nothing": None,
    "flags": [True, False],
    "empty": {},
}
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permission bits and links are POSIX")


def some_arrays():
    rng = np.random.default_rng(0)
    return {
        "w": rng.standard_normal((5, 3)).astype(np.float32),
        "slots": rng.standard_normal((2, 4)),
        "table": rng.integers(-(2**62), 2**62, (3, 2)),
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def archive_of(**entries):
    file = io.BytesIO()
    np.savez(file, **entries)
    return file.getvalue()


def archive_with_header(text):
    return archive_of(header=np.frombuffer(text, dtype=np.uint8), w=np.ones(3))


def document(**changes):
    return json.dumps({"format": "fastnn-model", "format_version": 1, "header": {}, **changes}).encode()


#  round trip


@pytest.mark.parametrize("as_given", [str, Path])
@pytest.mark.parametrize("name", ["model.npz", "model", "model.v2.fastnn"])
def test_round_trip_at_exactly_the_path_given(tmp_path, as_given, name):
    path = as_given(tmp_path / name)
    npz.write(path, HEADER, some_arrays())
    assert [p.name for p in tmp_path.iterdir()] == [name]
    header, arrays = npz.read(path)
    assert header == HEADER
    assert_same(arrays, some_arrays())


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    npz.write("model", {"a": 1}, {})
    assert npz.read("model") == ({"a": 1}, {})
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        (np.float32, [0x00000001, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFC12345, 0x3F800001]),
        (np.float64, [1, 1 << 63, 0x7FF << 52, 0xFFF << 52, 0x7FF8000000000001, 0xFFF8DEADBEEF0001]),
        (np.int64, [0, 1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1]),
    ],
)
def test_every_bit_survives(tmp_path, dtype, bits):
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    array = np.array(bits, dtype=unsigned).view(dtype)  # subnormals, -0, infinities, NaNs with a payload
    npz.write(tmp_path / "m", {}, {"a": array})
    _, arrays = npz.read(tmp_path / "m")
    assert arrays["a"].dtype == dtype
    assert arrays["a"].view(unsigned).tolist() == bits


def test_shapes_views_and_names(tmp_path):
    padded = np.arange(40, dtype=np.float32).reshape(5, 8)
    expected = {
        "view": padded[:, :3],
        "fortran": np.asfortranarray(padded),
        "scalar": np.array(7),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "bool": np.array([True, False]),
        "text": np.array(["a", "bc"]),
        "file": np.ones(1),
        "layer 0/weights": np.ones(2),
        "header.npy": np.ones(3),
    }
    npz.write(tmp_path / "m", {}, expected)
    header, arrays = npz.read(tmp_path / "m")
    assert header == {}
    assert_same(arrays, expected)
    assert all(array.flags.writeable for array in arrays.values())


def test_numpy_opens_the_file(tmp_path):
    npz.write(tmp_path / "m.npz", HEADER, some_arrays())
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        found = json.loads(archive["header"].tobytes())
        assert found == {"format": "fastnn-model", "format_version": 1, "header": HEADER}
        assert_same({name: archive[name] for name in archive.files if name != "header"}, some_arrays())


def test_an_archive_that_numpy_compressed_is_read(tmp_path):
    with open(tmp_path / "m.npz", "wb") as file:
        np.savez_compressed(file, header=np.frombuffer(document(header={"a": 2}), np.uint8), **some_arrays())
    header, arrays = npz.read(tmp_path / "m.npz")
    assert header == {"a": 2}
    assert_same(arrays, some_arrays())


def test_the_same_content_gives_the_same_bytes(tmp_path, monkeypatch):
    npz.write(tmp_path / "a", HEADER, some_arrays())
    monkeypatch.setattr("time.time", lambda: 2e9)
    npz.write(tmp_path / "b", HEADER, some_arrays())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_file_objects(tmp_path):
    memory = io.BytesIO()
    npz.write(memory, HEADER, some_arrays())
    npz.write(tmp_path / "m", HEADER, some_arrays())
    assert memory.getvalue() == (tmp_path / "m").read_bytes()
    memory.seek(0)
    header, arrays = npz.read(memory)
    assert header == HEADER
    assert_same(arrays, some_arrays())
    assert not memory.closed
    with open(tmp_path / "m", "rb") as file:
        assert npz.read(file)[0] == HEADER


def test_not_finite_numbers_in_the_header(tmp_path):
    npz.write(tmp_path / "m", {"loss": [float("nan"), float("inf")]}, {})
    loss = npz.read(tmp_path / "m")[0]["loss"]
    assert np.isnan(loss[0])
    assert loss[1] == np.inf


#  writing


def failing(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where):
    path = tmp_path / "m"
    npz.write(path, {"version": "old"}, {"w": np.ones(2)})
    old = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(where, failing)
        with pytest.raises(OSError, match="No space left"):
            npz.write(path, {"version": "new"}, {"w": np.zeros(2)})
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["m"]
    npz.write(path, {"version": "new"}, {"w": np.zeros(2)})
    assert npz.read(path)[0] == {"version": "new"}


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        npz.write(tmp_path / "m", {}, {})
    assert os.listdir(tmp_path) == []


def test_the_file_is_complete_before_it_takes_its_place(tmp_path, monkeypatch):
    seen = []
    replace, fsync = os.replace, os.fsync

    def record_sync(descriptor):
        seen.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def record(source, target):
        seen.append(("replace", os.stat(source).st_ino))
        assert os.path.dirname(source) == os.path.dirname(target)
        assert npz.read(source)[0] == HEADER
        assert not os.path.exists(target)
        replace(source, target)

    monkeypatch.setattr("os.fsync", record_sync)
    monkeypatch.setattr("os.replace", record)
    npz.write(tmp_path / "m", HEADER, some_arrays())
    inode = os.stat(tmp_path / "m").st_ino
    assert seen == [("fsync", inode), ("replace", inode)]


@posix_only
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_permissions_of_a_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        npz.write(tmp_path / "m", {}, {})
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "m").st_mode) == mode


@posix_only
def test_permissions_of_an_old_file_stay(tmp_path):
    path = tmp_path / "m"
    for mode in (0o600, 0o664):
        path.write_bytes(b"old")
        path.chmod(mode)
        npz.write(path, {"a": 1}, {})
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert npz.read(path)[0] == {"a": 1}


@posix_only
def test_a_link_is_followed(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    npz.write(folder / "m", {"a": 1}, {})
    (tmp_path / "link").symlink_to(folder / "m")
    npz.write(tmp_path / "link", {"a": 2}, {})
    assert (tmp_path / "link").is_symlink()
    assert npz.read(folder / "m")[0] == {"a": 2}


@posix_only
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        npz.write(path, {"a": 1}, {"w": np.ones(3)})
        data = os.read(reader, 1 << 16)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    header, arrays = npz.read(io.BytesIO(data))
    assert header == {"a": 1}
    assert_same(arrays, {"w": np.ones(3)})


def test_errors_of_the_path_name_the_path_given(tmp_path):
    path = str(tmp_path / "missing" / "m")
    with pytest.raises(FileNotFoundError) as error:
        npz.write(path, {}, {})
    assert error.value.filename == path
    with pytest.raises(IsADirectoryError):
        npz.write(tmp_path, {}, {})
    with pytest.raises(FileNotFoundError):
        npz.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "arrays", "kind", "text"),
    [
        ({"x": {1, 2}}, {}, TypeError, "header must contain only str"),
        ({"x": np.int64(3)}, {}, TypeError, "header must contain only str"),
        ({}, {"w": np.array([None])}, TypeError, r"dtype of arrays\['w'\] must be numeric, bool or string"),
        ({}, {"header": np.ones(2)}, ValueError, "must not be 'header'"),
        ({}, {3: np.ones(2)}, TypeError, "names of arrays must be strings, got 3"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_touched(tmp_path, header, arrays, kind, text):
    path = tmp_path / "m"
    with pytest.raises(kind, match=text):
        npz.write(path, header, arrays)
    assert not path.exists()
    file = io.BytesIO()
    with pytest.raises(kind, match=text):
        npz.write(file, header, arrays)
    assert file.getvalue() == b""


def test_what_is_no_path_and_no_binary_file():
    for wrong in (io.StringIO(), 3, None):
        with pytest.raises(TypeError, match="path must be a path or a file opened with mode 'wb'"):
            npz.write(wrong, {}, {})
        with pytest.raises(TypeError, match="path must be a path or a file opened with mode 'rb'"):
            npz.read(wrong)


#  reading


def small_file():
    file = io.BytesIO()
    npz.write(file, {"a": [1, 2]}, {"w": np.arange(3, dtype=np.float32), "n": np.arange(2)})
    return file.getvalue()


def test_a_file_cut_short_anywhere(tmp_path):
    data = small_file()
    path = tmp_path / "cut"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"truncated or damaged|is empty|not a fastnn model") as error:
            npz.read(path)
        assert repr(str(path)) in str(error.value)
        if size >= 4:
            assert "truncated or damaged" in str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_damaged_byte_is_an_error_or_does_not_matter(flip):
    data = small_file()
    header, arrays = npz.read(io.BytesIO(data))
    errors = 0
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= flip
        try:
            found_header, found = npz.read(io.BytesIO(damaged))
        except ValueError:
            errors += 1
            continue
        assert found_header == header
        by_name = dict(zip(arrays, found.values(), strict=False))  # a name's byte may be the damaged one
        assert all(array.tobytes() == arrays[name].tobytes() for name, array in by_name.items())
    assert errors > len(data) // 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n and so on", r"begins with b'\\x89HDF"),
        (pickle.dumps({"w": [1, 2]}), "begins with"),
        (b"PK\x05\x06" + bytes(18), "begins with"),
        (b"PK\x03\x04 and then text", "truncated or damaged"),
        (archive_of(w=np.ones(2), b=np.ones(1)), r"archive without a header, with the entries \['w.npy', 'b.npy'\]"),
        (archive_with_header(b"{not json"), "is not JSON"),
        (archive_with_header(b"\xff\xfe\xfd"), "is not JSON"),
        (archive_with_header(b"[" * 200_000), "is not JSON"),
        (archive_of(header=np.ones(4)), "is not JSON"),
        (archive_with_header(b"[1, 2]"), r"its header is \[1, 2\]"),
        (archive_with_header(b'{"format_version": 1, "header": {}}'), "its header is"),
        (archive_with_header(document(format="other")), "its header is"),
        (
            archive_with_header(document(format_version=2)),
            r"format version 2, and this fastnn reads 1.*upgrade",
        ),
        (archive_with_header(document(format_version=0)), "an invalid header"),
        (archive_with_header(document(format_version="1")), "an invalid header"),
        (archive_with_header(document(header=[])), "an invalid header"),
        (
            archive_of(header=np.frombuffer(document(), np.uint8), w=np.array([{}], dtype=object)),
            "damaged.*allow_pickle=False",
        ),
    ],
)
def test_what_is_no_model_says_so(tmp_path, data, text):
    path = tmp_path / "thing"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=text) as error:
        npz.read(path)
    assert str(error.value).startswith(repr(str(path)))
    with pytest.raises(ValueError, match=text):
        npz.read(io.BytesIO(data))


def test_a_bare_array_is_no_model(tmp_path):
    np.save(tmp_path / "w.npy", np.ones(3))
    with pytest.raises(ValueError, match="NUMPY"):
        npz.read(tmp_path / "w.npy")


def test_too_little_memory_is_not_taken_for_damage(monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("numpy.lib.format.read_array", fail)
    with pytest.raises(MemoryError):
        npz.read(io.BytesIO(small_file()))


def test_nothing_in_a_file_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    entry = io.BytesIO()
    np.save(entry, np.array([Bomb()], dtype=object), allow_pickle=True)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = io.BytesIO()
        np.save(header, np.frombuffer(document(), np.uint8))
        archive.writestr("header.npy", header.getvalue())
        archive.writestr("w.npy", entry.getvalue())
    file.seek(0)
    with pytest.raises(ValueError, match="damaged"):
        npz.read(file)
    assert not (tmp_path / "executed").exists()


#  other kinds of files and file objects


class Endless:
    """A stream that never ends, and counts what is read of it."""

    def __init__(self, start=b"", fill=b"\0"):
        self.start, self.fill, self.taken = start, fill, 0

    def read(self, n=-1):
        assert n >= 0, "an endless stream was read to its end"
        data = (self.start[self.taken : self.taken + n] + self.fill * n)[:n]
        self.taken += n
        return data


@pytest.mark.parametrize("start", [b"", b"\x89HDF", b"PK\x03\x04"])
def test_an_endless_stream_of_another_kind_is_refused_at_once(start):
    stream = Endless(start)
    with pytest.raises(ValueError, match="not a fastnn model"):
        npz.read(stream)
    assert stream.taken <= 40


def test_an_endless_stream_that_begins_as_a_model_is_refused(monkeypatch):
    monkeypatch.setattr(npz, "MAX_STREAM_BYTES", 1 << 20)
    stream = Endless(small_file())
    with pytest.raises(ValueError, match=r"has more than 1048576 bytes.*Pass a path"):
        npz.read(stream)
    assert stream.taken <= 1 << 21


@posix_only
def test_devices_and_pipes_are_refused_without_reading(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match="is a device or pipe"):
            npz.read(path)


class OneWay:
    """A file object that can only be read, as a pipe or a download."""

    def __init__(self, data, step=1 << 30):
        self.file, self.step = io.BytesIO(data), step

    def read(self, n=-1):
        return self.file.read(min(n, self.step) if n >= 0 else -1)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_stream_that_cannot_seek_is_read(step):
    file = io.BytesIO()
    npz.write(file, HEADER, some_arrays())
    header, arrays = npz.read(OneWay(file.getvalue(), step))
    assert header == HEADER
    assert_same(arrays, some_arrays())


def test_a_compressed_stream_is_written_and_read(tmp_path):
    for module in (gzip, bz2, lzma):
        with module.open(tmp_path / "m", "wb") as file:
            npz.write(file, HEADER, some_arrays())
        with module.open(tmp_path / "m", "rb") as file:
            header, arrays = npz.read(file)
        assert header == HEADER
        assert_same(arrays, some_arrays())


def test_a_file_object_is_read_from_its_position_to_its_end(tmp_path):
    with open(tmp_path / "m", "wb") as file:
        file.write(b"something before")
        npz.write(file, HEADER, some_arrays())
        assert not file.closed
    with open(tmp_path / "m", "rb") as file:
        with pytest.raises(ValueError, match="not a fastnn model"):
            npz.read(file)
        file.seek(16)
        assert npz.read(file)[0] == HEADER
        assert file.read() == b""


def test_an_unbuffered_file_object(tmp_path):
    class Slow(io.RawIOBase):
        """Writes at most 100 bytes per call."""

        def __init__(self):
            super().__init__()
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data[:100])
            return min(len(data), 100)

    slow = Slow()
    npz.write(slow, HEADER, some_arrays())
    assert npz.read(io.BytesIO(slow.data))[0] == HEADER


@pytest.mark.parametrize("gives", ["text", memoryview(b"PK\x03\x04"), None, 3])
def test_a_file_object_that_gives_no_bytes(gives):
    class Wrong:
        def read(self, n=-1):
            return gives

    with pytest.raises(TypeError, match=r"^path must be a path or a file whose read.. returns bytes"):
        npz.read(Wrong())


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "\0"])
def test_names_that_no_file_can_have(name):
    for call in (lambda: npz.read(name), lambda: npz.write(name, {}, {}), lambda: npz.write(Path(name), {}, {})):
        with pytest.raises(ValueError, match=r"^path must be a name without NUL and without lone surrogates, got"):
            call()


def test_errors_are_short(tmp_path):
    long = {"format": "fastnn-model", "format_version": "x" * 50_000, "header": {}}
    for data in (archive_with_header(json.dumps(long).encode()), archive_of(**{"w" * 60_000: np.ones(1)}), b"x" * 9999):
        for file in (io.BytesIO(data), tmp_path / ("f" * 200)):
            if isinstance(file, Path):
                file.write_bytes(data)
            with pytest.raises(ValueError, match=r"\w") as error:
                npz.read(file)
            assert len(str(error.value)) <= 320


#  memory in proportion to the file


def archive(members, compression=zipfile.ZIP_DEFLATED):
    """Return an archive of members that are given as bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


HEAD = ("header.npy", npy(np.frombuffer(document(), np.uint8)))


def test_entries_that_are_not_asked_for_are_not_read(tmp_path):
    data = archive([HEAD, ("bomb.npy", npy(np.zeros(30_000_000))), ("w.npy", npy(np.ones(3)))])
    (tmp_path / "m").write_bytes(data)
    expected = {"w": ((3,), np.dtype(float))}
    tracemalloc.start()
    try:
        with npz.open_archive(tmp_path / "m") as opened:
            assert_same(opened.arrays(expected), {"w": np.ones(3)})
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(ValueError, match="a file of its size has at most"):
        npz.read(tmp_path / "m")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.ones(3), ((4,), np.dtype(float))),
        (np.ones(3), ((3, 1), np.dtype(float))),
        (np.ones(3), ((3,), np.dtype(np.float32))),
        (np.ones(3, ">f8"), ((3,), np.dtype(float))),
        (np.ones(3), ((10**30,), np.dtype(float))),
    ],
)
def test_another_shape_or_dtype_is_refused(found, expected):
    with npz.open_archive(io.BytesIO(archive([HEAD, ("w.npy", npy(found))]))) as opened:
        with pytest.raises(ValueError, match="array w is"):
            opened.arrays({"w": expected})
        with pytest.raises(ValueError, match="damaged"):
            opened.arrays({"missing": expected})


def claiming(shape):
    """Return an array's file whose header claims a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


BOMBS = {
    "header": [("header.npy", npy(np.zeros(50_000_000, np.uint8)))],
    "claimed shape": [HEAD, ("w.npy", claiming((10**12,)))],
    "claimed shape beyond integers": [HEAD, ("w.npy", claiming((10**40,)))],
    "negative shape": [HEAD, ("w.npy", claiming((-1,)))],
    "claimed header": [("header.npy", claiming((10**9,)))],
    "nested array header": [HEAD, ("w.npy", b"\x93NUMPY\x01\x00\x10\x27" + b"-" * 9_998 + b"1\n")],
    "long array header": [HEAD, ("w.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99_999)],
    "lists": [("header.npy", npy(np.frombuffer(document(header=[[]] * 300_000), np.uint8)))],
    "strings": [("header.npy", npy(np.frombuffer(document(header=["ab"] * 1_100_000), np.uint8)))],
    "depth": [("header.npy", npy(np.frombuffer(b"[" * 90_000, np.uint8)))],
}


METHODS = [("header", method) for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]


@pytest.mark.parametrize(("bomb", "compression"), [*METHODS, *((name, zipfile.ZIP_STORED) for name in [*BOMBS][1:])])
def test_what_asks_for_too_much_is_refused(bomb, compression, tmp_path):
    (tmp_path / "m").write_bytes(archive(BOMBS[bomb], compression))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\w") as error:
            npz.read(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 300


def test_entries_that_share_their_bytes(tmp_path):
    # Each entry of the directory points to the same 300 kB.
    data = bytearray(archive([HEAD, ("w0.npy", npy(np.zeros(40_000)))], zipfile.ZIP_STORED))
    end = data.rindex(b"PK\x05\x06")
    begin = data.rindex(b"PK\x01\x02")
    directory = b"".join(bytes(data[begin:end]).replace(b"w0.npy", b"w%d.npy" % k) for k in range(10))
    first = bytes(data[data.index(b"PK\x01\x02") : begin])
    tail = bytearray(data[end:])
    tail[8:10] = tail[10:12] = (11).to_bytes(2, "little")
    tail[12:16] = len(first + directory).to_bytes(4, "little")
    (tmp_path / "m").write_bytes(bytes(data[: data.index(b"PK\x01\x02")]) + first + directory + bytes(tail))
    with pytest.raises(ValueError, match="a file of its size has at most"):
        npz.read(tmp_path / "m")


def test_a_long_directory_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(archive([HEAD, *((f"{k}" * 9, b"") for k in range(60_000))], zipfile.ZIP_STORED))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="its directory takes"):
            npz.read(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


#  writing to other things than new files


@posix_only
@pytest.mark.parametrize("n", [0, 1, 1_000, 100_000])
def test_a_device_takes_a_model_of_any_size(n):
    npz.write("/dev/null", {}, {"w": np.ones(n)})
    with open("/dev/null", "wb") as file:
        npz.write(file, {}, {"w": np.ones(n)})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix_only
def test_a_link_to_itself_is_an_error_and_stays(tmp_path):
    path = tmp_path / "loop"
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        npz.write(path, {}, {})
    assert path.is_symlink()
    assert os.listdir(tmp_path) == ["loop"]


@posix_only
def test_a_link_to_nothing_makes_its_target(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "m")
    npz.write(tmp_path / "link", {"a": 1}, {})
    assert (tmp_path / "link").is_symlink()
    assert npz.read(tmp_path / "m")[0] == {"a": 1}


@posix_only
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "m"
    npz.write(path, {"a": 1}, {})
    path.chmod(0o444)
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))  # root may write everything
    with pytest.raises(PermissionError) as error:
        npz.write(path, {"a": 2}, {})
    assert error.value.filename == str(path)
    assert npz.read(path)[0] == {"a": 1}
    assert os.listdir(tmp_path) == ["m"]


@posix_only
def test_other_hard_links_keep_the_old_content(tmp_path):
    npz.write(tmp_path / "m", {"a": 1}, {})
    os.link(tmp_path / "m", tmp_path / "other")
    npz.write(tmp_path / "m", {"a": 2}, {})
    assert [npz.read(tmp_path / name)[0]["a"] for name in ("m", "other")] == [2, 1]


#  temporary files


@pytest.mark.parametrize("moment", ["open", "os.chmod", "npz._write_archive", "os.fsync", "os.replace"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError, MemoryError])
def test_nothing_is_left_after_an_exception_at_any_moment(tmp_path, monkeypatch, moment, kind):
    path = tmp_path / "m"
    npz.write(path, {"a": 1}, {})
    owner, _, name = moment.rpartition(".")
    where = {"": builtins, "os": os, "npz": npz}[owner]
    real = getattr(where, name)

    def interrupted(*arguments, **options):
        made = real(*arguments, **options) if moment == "open" else None
        if made is not None:
            made.close()
        raise kind("at this moment")

    with monkeypatch.context() as patched:
        patched.setattr(where, name, interrupted)
        with pytest.raises(kind):
            npz.write(path, {"a": 2}, {})
    assert os.listdir(tmp_path) == ["m"]
    assert npz.read(path)[0] == {"a": 1}


@posix_only
def test_temporary_files_of_ended_processes_are_swept_and_those_of_others_are_not(tmp_path):
    live = npz._new_file(str(tmp_path / ".fastnn-0123456789abcdef.tmp"))
    (tmp_path / ".fastnn-left.tmp").write_bytes(b"")
    (tmp_path / ".fastnn-link.tmp").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / ".fastnn-pipe.tmp")
    (tmp_path / "mine").write_bytes(b"")
    (tmp_path / "other.tmp").write_bytes(b"")
    npz.write(tmp_path / "m", {}, {})
    left = {path.name for path in tmp_path.iterdir()}
    assert {".fastnn-0123456789abcdef.tmp", "m", "mine", "other.tmp"} <= left
    assert ".fastnn-left.tmp" not in left
    live.close()
    npz.write(tmp_path / "m", {}, {})
    assert ".fastnn-0123456789abcdef.tmp" not in {path.name for path in tmp_path.iterdir()}


@posix_only
def test_a_temporary_file_that_is_swept_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    name = str(tmp_path / ".fastnn-0.tmp")
    real, swept = npz.fcntl.flock, []

    def flock(descriptor, flags):
        if not swept:
            swept.append(name)
            os.unlink(name)
        real(descriptor, flags)

    monkeypatch.setattr(npz.fcntl, "flock", flock)
    with npz._new_file(name) as file:
        assert os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    assert swept
