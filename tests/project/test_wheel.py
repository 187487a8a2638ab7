"""The build of wheels, and what is installed from one: `.ci/run wheel` sets FASTNN_WHEEL_PYTHON to an interpreter."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import warnings
import zipfile
from pathlib import Path

import pytest
from driver import run_python

import fastnn
from fastnn import _version
from fastnn.kernels.lang import cache
from fastnn.kernels.lang.flags import JIT_DISABLED
from fastnn.kernels.lang.levels import LEVELS
from fastnn.kernels.lang.numba_private import CACHE_NAMES, missing

ROOT = Path(fastnn.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WHEEL_PYTHON = os.environ.get("FASTNN_WHEEL_PYTHON")
installed = pytest.mark.skipif(WHEEL_PYTHON is None, reason="no wheel is installed: .ci/run wheel does that")


@pytest.fixture(scope="module")
def backend():
    """The build backend."""
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("backend", ROOT / "build_tools" / "backend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------------- the name


def test_the_name_and_the_version_are_said_twice_alike():
    assert PROJECT["name"] == _version.DISTRIBUTION
    assert PROJECT["version"] == fastnn.__version__
    assert f"version: {fastnn.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'version = "{fastnn.__version__}"' in recipe
    assert f"name: {_version.DISTRIBUTION}\n" in recipe
    for name in (requirement.partition(">=")[0] for requirement in PROJECT["dependencies"]):
        assert re.search(rf"^    - {name} ", recipe, re.MULTILINE), name


def test_each_hint_names_the_distribution_and_an_extra_of_it():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "fastnn").rglob("*.py"),
             *(ROOT / "examples").rglob("*.py")]  # fmt: skip
    found = set()
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install (--upgrade )?[\"']?fastnn(?!-mlp)\b", text), path
        found |= set(re.findall(r"fastnn-mlp\[(\w+)\]", text))
    assert {"plot", "sklearn", "onnx"} <= found <= set(PROJECT["optional-dependencies"])


def test_files_of_the_other_project_are_warned_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _version.warn_of_other_project(str(tmp_path))
        _version.warn_of_other_project(str(Path(fastnn.__file__).parent))
    (tmp_path / "client.py").touch()
    with pytest.warns(RuntimeWarning, match=f"{re.escape(str(tmp_path))} holds files of two projects"):
        _version.warn_of_other_project(str(tmp_path))


# ------------------------------------------------------------------------------------------------------ the build


def test_the_backend_writes_where_the_package_looks(backend):
    assert cache.SHIPPED_FOLDER == ROOT / backend.FOLDER
    assert not cache.SHIPPED_FOLDER.exists()  # never in a source tree


def test_settings_of_a_build(backend):
    assert backend._chosen(None, "levels") is None
    assert backend._chosen({"levels": "a,b"}, "levels") == ["a", "b"]
    assert backend._chosen({"levels": ["a", "b"]}, "levels") == ["a", "b"]  # given twice


def test_only_wheels_with_compiled_code_need_numba_to_be_built(backend, monkeypatch):
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda settings: ["x"])
    assert backend.get_requires_for_build_wheel() == ["x", *PROJECT["dependencies"]]
    assert backend.get_requires_for_build_wheel({"levels": "none"}) == ["x"]


def test_a_wheel_with_further_files(backend, tmp_path):
    wheel = tmp_path / "fastnn_mlp-1.0-py3-none-any.whl"
    info = "fastnn_mlp-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fastnn/a.py", "x = 1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n\n"
        )
        archive.writestr(f"{info}/RECORD", "fastnn/a.py,,\n")
    made = backend.with_files(wheel, {"fastnn/_compiled/1/b.nbc": b"\0code"}, "cp311-cp311-linux_x86_64")
    assert [path.name for path in tmp_path.iterdir()] == ["fastnn_mlp-1.0-cp311-cp311-linux_x86_64.whl"]
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert stat.S_ISREG(archive.getinfo("fastnn/_compiled/1/b.nbc").external_attr >> 16)
    record = files.pop(f"{info}/RECORD").decode()
    assert files == {
        "fastnn/a.py": b"x = 1\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n",
        "fastnn/_compiled/1/b.nbc": b"\0code",
    }
    rows = dict(line.split(",", 1) for line in record.splitlines())
    assert rows.pop(f"{info}/RECORD") == ","
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert rows.pop(name) == f"sha256={digest},{len(content)}"
    assert rows == {}


def test_an_unknown_level_is_an_error(backend, tmp_path):
    if JIT_DISABLED:
        pytest.skip("no code is compiled")
    with pytest.raises(SystemExit, match=r"levels must be of .*, got x86-64-v9"):
        backend.compiled_code(ROOT, ["x86-64-v9"], ["float32"])


def test_compiling_finds_what_pip_installs_for_a_build(backend, tmp_path, monkeypatch):
    # pip names it in PYTHONPATH, by a folder with this file; the interpreter is the one that runs pip.
    mark = tmp_path / "mark"
    (tmp_path / "sitecustomize.py").write_text(f"open({str(mark)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit):
        backend.compiled_code(ROOT, ["none of these"], ["float32"])
    assert mark.exists()


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED or bool(missing(CACHE_NAMES)), reason="no code is kept")
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_kernels_are_compiled_for_levels_that_this_processor_may_lack(level, tmp_path):
    """By the program of the build, which runs none of them then."""
    code = f"""
import pickle, sys
from pathlib import Path
from numba import types
sys.path.insert(0, {str(ROOT / "build_tools")!r})
signature = (types.Array(types.int64, 1, "C"), types.int64, types.int64)
path = Path({str(tmp_path / "types")!r})
path.write_bytes(pickle.dumps([("fastnn.kernels.lang.barrier", "spin_wait", [signature])]))
import compile_kernels
compile_kernels.main(["compile", str(path)])
from fastnn.kernels.lang.barrier import spin_wait
from fastnn.kernels.lang import simd
print(simd.VECTOR_BITS, spin_wait.signatures == [signature])
"""
    bits = {"x86-64-v4": 512, "x86-64-v3": 256, "generic": 128}[level.name]
    assert run_python(code, FASTNN_CACHE_DIR=tmp_path / "cache", **level.settings()).split() == [str(bits), "True"]
    (path,) = (tmp_path / "cache").rglob("*.nbc")
    assert os.fsencode(ROOT) not in path.read_bytes()  # no path of the building machine


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_every_entry_point_is_loaded_and_so_in_the_wheel():
    code = f"""
import importlib, pkgutil, sys
sys.path.insert(0, {str(ROOT / "build_tools")!r})
import compile_kernels
import fastnn.kernels
for module in pkgutil.walk_packages(fastnn.kernels.__path__, "fastnn.kernels."):
    if "numba_private" not in module.name:
        importlib.import_module(module.name)
for dtype in ("float32", "float64"):
    compile_kernels.load_all_kernels(dtype)
found = list(compile_kernels._entry_points())
print(len(found), [entry[:2] for entry in found if not entry[2]])
"""
    count, missing = run_python(code, timeout=600).split(" ", 1)
    assert int(count) >= 20
    assert missing.strip() == "[]"


# ------------------------------------------------------------------------------------------------ installed wheels

FIRST_FIT = """
import hashlib, json, sys
import numba, numpy as np
import fastnn
from fastnn.kernels.lang import cache

rng = np.random.default_rng(0)
X, y = rng.standard_normal((1000, 20)).astype("float32"), rng.integers(0, 3, 1000)
digest = hashlib.sha256()

def add(*arrays):
    for a in arrays:
        digest.update(np.ascontiguousarray(a).tobytes())

for layers in ([32, 3], [fastnn.Dense(17, "relu"), fastnn.Dropout(0.2), fastnn.Dense(40, "gelu"), 3]):
    for optimizer in ("adam", "sgd"):
        model = fastnn.Model(layers, loss="softmax_crossentropy", optimizer=optimizer, seed=0, dtype="float32")
        model.fit(X, y, epochs=2, batch_size=33, verbose=False)
        add(*model.weights, *model.biases, model.predict(X), model.predict(X[:1]), model.jacobian(X[:3]))

@numba.njit
def by_row(net, X):
    y = np.empty(net.n_outputs, np.float32)
    total = np.zeros(net.n_outputs, np.float32)
    for i in range(len(X)):
        net.predict_row(X[i], y)
        total += y
    return total

add(by_row(model.jit(), X))
from scipy import integrate
narrow = fastnn.Model([4, 1], loss="squared_error", dtype="float32", seed=0).build(1)
add(np.float64(integrate.quad(narrow.low_level_callable(), 0, 1)[0]))
print(json.dumps([digest.hexdigest(), dict(cache.origins), fastnn.__file__]))
"""


def first_fit(python, tmp_path, *, options=("-W", "error"), **variables):
    """Run `FIRST_FIT` away from this checkout; return its hash, where code came from, the place, and the warnings."""
    environment = {"PATH": os.environ.get("PATH", ""), "FASTNN_CACHE_DIR": str(tmp_path / "cache"), **variables}
    environment = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run(
        [python, *options, "-c", FIRST_FIT], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def compiled_bits(tmp_path_factory):
    """Hash of `FIRST_FIT` by code that is compiled from this checkout."""
    found, origins, *_ = first_fit(
        sys.executable, tmp_path_factory.mktemp("compiled"), PYTHONPATH=str(ROOT),
        FASTNN_CACHE_DIR=os.environ.get("FASTNN_CACHE_DIR"), HOME=os.environ.get("HOME"),
    )  # fmt: skip
    assert "from the package" not in origins
    return found


@pytest.fixture
def copy(tmp_path):
    """A copy of the package as it is installed, in a folder of its own."""
    code = "import fastnn, os; print(os.path.dirname(fastnn.__file__))"
    done = subprocess.run([WHEEL_PYTHON, "-c", code], env={}, cwd=tmp_path, capture_output=True, text=True, check=True)
    shutil.copytree(done.stdout.strip(), tmp_path / "site" / "fastnn")
    return tmp_path / "site"


@installed
def test_the_first_fit_compiles_nothing_and_has_the_same_bits(tmp_path, compiled_bits):
    found, origins, place, _ = first_fit(WHEEL_PYTHON, tmp_path)
    assert not Path(place).is_relative_to(ROOT / "fastnn")
    assert set(origins) == {"from the package"}
    assert found == compiled_bits
    assert list((tmp_path / "cache").rglob("*.nbc")) == []


@installed
def test_nothing_need_be_writable_and_there_need_be_no_home(tmp_path, compiled_bits):
    # Root may write everywhere, so files stand where folders would be made.
    blocked = tmp_path / "file"
    blocked.touch()
    nowhere = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "TMPDIR": str(blocked), "FASTNN_CACHE_DIR": None}
    found, origins, *_ = first_fit(WHEEL_PYTHON, tmp_path, **nowhere)
    assert (found, set(origins)) == (compiled_bits, {"from the package"})


@installed
def test_damaged_files_are_compiled_with_one_warning(tmp_path, copy, compiled_bits):
    for path in copy.rglob("*.nbc"):
        if path.name.startswith(("loop.predict", "lang.barrier")):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    found, origins, _, errors = first_fit(WHEEL_PYTHON, tmp_path, options=(), PYTHONPATH=str(copy))
    assert found == compiled_bits
    assert origins["compiled now"] == 2
    assert origins["from the package"] > 2
    assert errors.count("Warning") == 1
    assert "is damaged" in errors


@installed
def test_edited_sources_miss_the_code_in_silence(tmp_path, copy):
    with open(copy / "fastnn" / "losses.py", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    code = "import fastnn; from fastnn.kernels.lang import cache; print(cache.SHIPPED)"
    environment = {"PYTHONPATH": str(copy), "FASTNN_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [WHEEL_PYTHON, "-W", "error", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "None"


USER_PROGRAM = """
import numpy as np

import fastnn

X, y = np.zeros((8, 2)), np.zeros(8)
model = fastnn.Model([fastnn.Dense(4, "relu"), 1], loss="squared_error", optimizer=fastnn.Adam(1e-3), seed=0)
history: fastnn.History = model.fit(X, y, epochs=2, verbose=False)
losses: list[float] = history["loss"]
outputs = model.predict(X)
reveal_type(model.evaluate(X, y))
reveal_type(outputs)
model.fit(X, y, epochs="many")
"""


@installed
def test_a_program_of_a_user_is_type_checked(tmp_path):
    """By `mypy --strict`, with nothing but the installed package: right calls pass, and the wrong one is found."""
    (tmp_path / "program.py").write_text(USER_PROGRAM)
    done = subprocess.run(
        [WHEEL_PYTHON, "-m", "mypy", "--strict", "program.py"], env={}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    revealed = [line for line in done.stdout.splitlines() if "Revealed type" in line]
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(revealed) == 2, done.stdout
    assert "fastnn._results.Scores" in revealed[0]
    assert "ndarray" in revealed[1]
    assert len(errors) == 1, done.stdout
    assert "program.py:13" in errors[0]
    assert '"epochs"' in errors[0]
