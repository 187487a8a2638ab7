"""Model files that are damaged or hostile, and processes that are killed while they save."""

from __future__ import annotations

import copy
import io
import json
import lzma
import pickle
import sys
import zipfile

import numpy as np
import pytest
from amount import amount, seed
from driver import run_python

import fastnn
from fastnn import Dense, Model

# --------------------------------------------------------------------------------------------------- mutations

HOSTILE = [
    10**400, -(10**400), 10**12, 2**63, -1, 0, 1.5, 1e308, -0.0, float("inf"), float("-inf"), float("nan"), "", "\0",
    "x" * 1000, "../../x", "\ud800", None, True, False, [], {}, [[]] * 50, {"units": 3}, [1, 2, 3], ["relu", 0.0],
]  # fmt: skip
ENTRIES = ["../x.npy", "/etc/x.npy", "x", "header.npy", "params.0.weights.npy", "\0.npy", "x" * 60_000]


@pytest.fixture(scope="module")
def models():
    """Models of several kinds, as header and arrays' files."""
    X = np.random.default_rng(0).standard_normal((30, 4))
    decaying = fastnn.SGD(fastnn.schedules.Cosine(0.1, epochs=5), momentum=0.9)
    made = [
        Model([Dense(3, "tanh", dropout=0.1), 2], loss="softmax_crossentropy", optimizer="adam", seed=1),
        Model([1], loss="squared_error", optimizer=decaying, dtype="float64"),
        Model([5, 1], loss="squared_error", optimizer="lbfgs"),
        Model([3, 1], loss="huber"),
    ]
    made[0].fit(X, np.arange(30) % 2, epochs=3, validation_split=0.2, verbose=False)
    made[1].build(4)
    made[2].build(4)
    found = []
    for model in made:
        file = io.BytesIO()
        model.save(file)
        with zipfile.ZipFile(file) as archive:
            found.append((file.getvalue(), {name: archive.read(name) for name in archive.namelist()}))
    return found


def packed(entries, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_document(entries, document):
    text = json.dumps(document).encode()
    return [("header.npy", npy(np.frombuffer(text, np.uint8))), *list(entries.items())[1:]]


def document_of(entries):
    return json.loads(np.load(io.BytesIO(entries["header.npy"])).tobytes())


def places(value, place=()):
    """Yield the way to each part of a document."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*place, key))


class Bomb:
    """Fails the test if its pickle is read."""

    def __reduce__(self):
        return pytest.fail, ("code in a file was run",)


class Mutator:
    """Random changes of a model file."""

    def __init__(self, rng):
        self.rng = rng

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]

    def bits(self, data, entries):
        changed = bytearray(data)
        for position in self.rng.integers(len(data), size=int(self.rng.integers(1, 9))).tolist():
            changed[position] ^= 1 << int(self.rng.integers(8))
        return bytes(changed)

    def cut(self, data, entries):
        return data[: int(self.rng.integers(len(data)))]

    def spliced(self, data, entries):
        a, b = sorted(self.rng.integers(len(data), size=2).tolist())
        return data[:a] + data[b:] if self.rng.random() < 0.5 else data[:b] + data[a:]

    def leaf(self, data, entries):
        document = document_of(entries)
        for _ in range(int(self.rng.integers(1, 3))):
            way = self.pick([place for place in places(document) if place])
            owner = document
            for key in way[:-1]:
                owner = owner[key]
            if self.rng.random() < 0.2:
                del owner[way[-1]]
            else:
                owner[way[-1]] = copy.deepcopy(self.pick(HOSTILE))
        return packed(with_document(entries, document))

    def depth(self, data, entries):
        text = json.dumps(document_of(entries))
        levels = int(self.rng.integers(10, 100_000))
        nested = text.replace("null", "[" * levels + "]" * levels, 1).encode()
        return packed([("header.npy", npy(np.frombuffer(nested, np.uint8))), *list(entries.items())[1:]])

    def array(self, data, entries):
        changed = dict(entries)
        name = self.pick(list(entries))
        changed[name] = npy(self.pick([
            np.zeros(0), np.ones((4, 3)), np.array(1.0), np.full((4, 3), np.nan, np.float32), np.array(["a"]),
            np.zeros((2, 0, 3)), np.ones(3, complex), np.ones((4, 3), ">f4"),
            np.asfortranarray(np.ones((4, 3), np.float32)),
        ]))  # fmt: skip
        return packed(changed.items())

    def array_header(self, data, entries):
        changed = dict(entries)
        name = self.pick(list(entries))
        part = bytearray(changed[name])
        for position in self.rng.integers(min(100, len(part)), size=3).tolist():
            part[position] = int(self.rng.integers(256))
        changed[name] = bytes(part)
        return packed(changed.items())

    def entry(self, data, entries):
        name = self.pick(ENTRIES)
        added = [*entries.items(), (name, self.pick([b"", npy(np.ones(3)), b"x" * 100]))]
        if self.rng.random() < 0.5:
            del added[int(self.rng.integers(len(added)))]
        return packed(added)

    def method(self, data, entries):
        return packed(entries.items(), self.pick([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))

    def pickled(self, data, entries):
        file = io.BytesIO()
        np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
        changed = dict(entries)
        changed[self.pick(list(entries))] = self.pick([file.getvalue(), pickle.dumps(Bomb())])
        return packed(changed.items())

    def bomb(self, data, entries):
        changed = dict(entries)
        changed[self.pick(list(entries))] = npy(np.zeros(300_000))
        return packed(changed.items(), zipfile.ZIP_DEFLATED)

    def other(self, data, entries):
        return self.pick([b"", b"PK", lzma.compress(data), b"\x93NUMPY", pickle.dumps(Bomb()), self.rng.bytes(500)])


def error_of(source):
    """Load a file; return the error, or None for a model that can be saved again."""
    try:
        model = fastnn.load(source)
    except Exception as error:
        return error
    repr(model)
    model.save(io.BytesIO())
    return None


KINDS = [name for name in vars(Mutator) if not name.startswith("_") and name != "pick"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # zipfile warns of duplicate names when the test writes them
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_a_model_or_a_value_error(kind, models, tmp_path):
    rng = np.random.default_rng([seed(), KINDS.index(kind)])
    mutator = Mutator(rng)
    path = tmp_path / "m"
    errors = 0
    for _ in range(amount(25, 500)):
        data = getattr(mutator, kind)(*mutator.pick(models))
        path.write_bytes(data)
        for source in (path, io.BytesIO(data)):
            error = error_of(source)
            if error is not None:
                errors += 1
                assert type(error) is ValueError, repr(error)
                assert len(str(error)) < 320
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert errors > 0


# ------------------------------------------------------------------------------------------------------ memory

MEMORY = """
import resource, sys
from pathlib import Path
import fastnn
paths = sorted(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).iterdir())
fastnn.load([path for path in paths if path.name == "fine"][0])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in paths:
    try:
        fastnn.load(path)
        print(path.name, "loaded")
    except Exception as error:
        print(path.name, type(error).__name__)
"""


def history_document(text, models):
    """Return a header in whose history a list of losses is replaced by a text."""
    document = document_of(models[0][1])
    document["header"]["history"] = "HERE"
    return json.dumps(document).replace('"HERE"', text).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_a_small_file_takes_little_memory(models, tmp_path):
    _, entries = models[0]
    header = entries["header.npy"]
    large = Model([1000, 800, 1], loss="squared_error", optimizer="adam")
    large.build(10)  # 2.4 million numbers with the slots
    large.save(tmp_path / "fine")
    with zipfile.ZipFile(tmp_path / "fine") as archive:
        packed_large = packed([(name, archive.read(name)) for name in archive.namelist()], zipfile.ZIP_DEFLATED)
    wide = document_of(entries)
    wide["header"]["layers"][0]["units"] = 100_000_000
    many = document_of(entries)
    many["header"]["layers"] = [{"units": 1, "activation": ["relu", 0.0]}] * 200_000
    many["header"]["n_features"] = None
    zeros = npy(np.zeros(125_000_000, np.uint8))

    def parts(text):
        return history_document(text, models)

    files = {
        "fine_compressed": packed_large,
        "not_asked_for": packed([*entries.items(), ("bomb.npy", zeros)], zipfile.ZIP_DEFLATED),
        "asked_for": packed([*with_document(entries, wide)[:1], ("params.0.weights.npy", zeros)], zipfile.ZIP_DEFLATED),
        "header": packed([("header.npy", zeros), *list(entries.items())[1:]], zipfile.ZIP_DEFLATED),
        "layers": packed(with_document(entries, many)),
        "directory": packed([("header.npy", header), *((f"{k:06}" * 7, b"") for k in range(60_000))]),
        **{
            f"document_{name}": packed([("header.npy", npy(np.frombuffer(parts(text), np.uint8)))])
            for name, text in {
                "lists": "[" + "[]," * 3_000_000 + "0]",
                "dicts": "[" + "{}," * 3_000_000 + "0]",
                "floats": '{"epoch": [], "loss": [' + "1.5," * 2_400_000 + "0]}",
                "floats_and_others": '{"epoch": ["\U0001f600"], "loss": [' + "1.5," * 2_400_000 + "0]}",
                "integers": "[" + "1000," * 1_900_000 + "0]",
                "strings": "[" + '"ab",' * 1_900_000 + "0]",
                "keys": "{" + ",".join(f'"{k}":0' for k in range(900_000)) + "}",
            }.items()
        },
    }
    for name, content in files.items():
        assert len(content) < 10_000_000, name
        (tmp_path / name).write_bytes(content)
    assert (tmp_path / "fine").stat().st_size < 10_000_000
    found = dict(line.split() for line in run_python(f"FOLDER = {str(tmp_path)!r}\n{MEMORY}").splitlines())
    loaded = {"fine", "fine_compressed", "not_asked_for"}
    assert found == {name: "loaded" if name in loaded else "ValueError" for name in ["fine", *files]}


# ------------------------------------------------------------------------------------------------------- kills

KILLS = """
import os, signal, time
import numpy as np
from fastnn._persistence import npz

rng = np.random.default_rng(SEED)
path = os.path.join(FOLDER, "m")
npz.write(path, {"k": -1}, {"w": np.full(300_000, -1.0)})
start = time.perf_counter()
npz.write(path, {"k": 0}, {"w": np.full(300_000, 0.0)})
duration = time.perf_counter() - start
left = 0
for kill in range(N):
    child = os.fork()
    if child == 0:
        k = 0
        while True:
            k += 1
            npz.write(path, {"k": k}, {"w": np.full(300_000, float(k))})
    time.sleep(rng.uniform(0, 2 * duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left += sum(name.endswith(".tmp") for name in os.listdir(FOLDER))
    header, arrays = npz.read(path)
    assert (arrays["w"] == header["k"]).all()
    assert len(arrays["w"]) == 300_000
npz.write(path, {"k": -2}, {})
print(left, *os.listdir(FOLDER))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_kills_while_saving_leave_an_old_or_new_file_and_the_next_save_sweeps(tmp_path):
    n = amount(15, 300)
    left, *names = run_python(f"FOLDER, SEED, N = {str(tmp_path)!r}, {seed()}, {n}\n{KILLS}", timeout=900).split()
    assert names == ["m"]
    assert int(left) > 0, "no kill came while a temporary file was there"
