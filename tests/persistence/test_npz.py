"""Files: exact round trips, atomic writing, and one kind of error for all invalid files."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import sys
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
