"""Build backend: that of setuptools, and wheels get compiled code.

A wheel holds the machine code of all kernels for the levels of processors that the building machine can compile for,
made by the Python and the Numba that build it. So it is a wheel for that version of Python and this platform. Where
something else is installed, nothing of it is found, and kernels are compiled as in a source tree. Settings::

    python -m build                                    # source distribution and wheel, with all levels
    python -m build -w -C levels=none                  # a wheel without compiled code, for every platform
    python -m build -w -C levels=x86-64-v3 -C dtypes=float32

Editable installs and source distributions hold no compiled code and need no Numba.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any] | None

HERE = Path(__file__).parent
#: Place of the compiled code in the wheel: `fastnn.kernels.lang.cache.SHIPPED_FOLDER`.
FOLDER = "fastnn/_compiled"


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Return what is needed beside setuptools: what fastnn itself needs, as it is run to compile its kernels."""
    found: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    if _chosen(config_settings, "levels") == ["none"]:
        return found
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*found, *project["dependencies"]]


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel, and add the compiled code; return its name."""
    name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    wheel = Path(wheel_directory) / name
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "package"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(package)
        wanted, dtypes = _chosen(config_settings, "levels"), _chosen(config_settings, "dtypes")
        code = {} if wanted == ["none"] else compiled_code(package, wanted, dtypes or ["float32", "float64"])
    return with_files(wheel, code, wheel_tag()).name if code else name


def _chosen(settings: Settings, name: str) -> list[str] | None:
    """Return the values of a setting, separated by commas; None where it is not given."""
    value = (settings or {}).get(name)
    return None if value is None else ",".join([value] if isinstance(value, str) else value).split(",")


def compiled_code(package: Path, wanted: Sequence[str] | None, dtypes: Sequence[str]) -> dict[str, bytes]:
    """Compile the kernels of an unpacked wheel.

    Parameters
    ----------
    package : pathlib.Path
        Folder that holds the package.
    wanted : sequence of str or None
        Names of levels; None for all of this kind of processors.
    dtypes : sequence of str
        Which kernels are compiled.

    Returns
    -------
    dict of str to bytes
        Files by their names in the wheel; none where this kind of processors has no levels.

    Raises
    ------
    SystemExit
        If a level is unknown, or code is missing in the end.
    """
    with tempfile.TemporaryDirectory() as temporary:
        shipped, recorded = Path(temporary) / "shipped", Path(temporary) / "types"

        def run(*arguments: Any, **variables: str) -> str:
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "FASTNN_"))}
            # pip puts what the build requires on PYTHONPATH.
            path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
            kept |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "FASTNN_CACHE_DIR": str(shipped)}
            command = [sys.executable, str(HERE / "compile_kernels.py"), *map(str, arguments)]
            return subprocess.run(
                command, env=kept | variables, cwd=temporary, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        found = json.loads(run("levels"))
        settings, of_this = found["levels"], found["of_this"]
        names = list(settings) if wanted is None else list(wanted)
        if not set(names) <= set(settings):
            raise SystemExit(f"levels must be of {', '.join(settings) or 'none'}, got {', '.join(names)}")
        if not names:
            return {}
        # Code that this processor can run is run once, to learn the types; it may be of none of the levels.
        print(f"fastnn: compiling for {of_this or 'this processor'}", flush=True)
        first = shipped if of_this in names else Path(temporary) / "not shipped"
        run("record", recorded, *dtypes, **settings.get(of_this, {}), FASTNN_CACHE_DIR=str(first))
        count = len(list(first.rglob("*.nbc")))
        for name in names:
            if name != of_this:
                print(f"fastnn: compiling for {name}", flush=True)
                run("compile", recorded, **settings[name])
        files = sorted(shipped.rglob("*.nbc"))
        if count == 0 or len(files) != count * len(names):
            raise SystemExit(f"{count} kernels for {len(names)} levels, but {len(files)} files of compiled code")
        return {f"{FOLDER}/{path.relative_to(shipped).as_posix()}": path.read_bytes() for path in files}


def wheel_tag() -> str:
    """Return the tag of a wheel for this Python and platform."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"{python}-{python}{getattr(sys, 'abiflags', '')}-{platform}"


def with_files(wheel: Path, files: Mapping[str, bytes], tag: str) -> Path:
    """Replace a pure wheel by one with further files and another tag; return its path."""
    name, version, *_ = wheel.stem.split("-")
    info = f"{name}-{version}.dist-info"
    new = wheel.with_name(f"{name}-{version}-{tag}.whl")

    def contents(old: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == f"{info}/WHEEL":
                lines = [line for line in data.decode().splitlines() if line.startswith(("Wheel-Version", "Generator"))]
                data = "\n".join([*lines, "Root-Is-Purelib: false", f"Tag: {tag}", ""]).encode()
            if item.filename != f"{info}/RECORD":
                yield item, data
        date = old.getinfo(f"{info}/WHEEL").date_time
        for path, data in files.items():
            item = zipfile.ZipInfo(path, date)
            item.external_attr = (stat.S_IFREG | 0o644) << 16
            yield item, data

    rows = []
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for item, data in contents(old):
            archive.writestr(item, data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{item.filename},sha256={digest},{len(data)}\n")
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]), zipfile.ZIP_DEFLATED)
    wheel.unlink()
    return new
