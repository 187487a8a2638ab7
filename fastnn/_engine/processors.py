"""The number of processors that this process may use: affinity, and the quota of a container."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from fastnn.kernels.lang.compiler import JIT_DISABLED


def available_threads() -> int:
    """Return the number of processors that this process may use; 1 without compilation.

    The smallest of: the processors of the process's affinity (elsewhere than on Linux those of the machine), the number
    that the user set for the interpreter (PYTHON_CPU_COUNT, from Python 3.13), the quota of its control groups,
    rounded up.
    """
    if JIT_DISABLED:
        return 1
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    set_by_user = getattr(os, "process_cpu_count", lambda: None)() or count
    return max(1, min(count, set_by_user, _quota()))


@cache
def _quota() -> int:
    return quota(Path("/proc/self"))


def quota(process: Path) -> int:
    """Return the processors that the control groups of a process allow it, rounded up; a huge number for no limit.

    The limit of each group holds for the groups within it. Containers are limited so, while they see all processors.
    Version 2 has ``cpu.max`` with quota and period in microseconds, version 1 two files. (OpenJDK, joblib's loky and
    others count likewise.)

    Parameters
    ----------
    process : Path
        Folder of the process, with the files ``cgroup`` and ``mountinfo``; missing or strange ones are no limit.
    """
    limits = [_limit(folder) for folder in _groups(process)]
    return min((limit for limit in limits if limit is not None), default=1 << 30)


def _groups(process: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups that may limit processors, and of the groups that contain these."""
    own: dict[int, str] = {}  # path of the group by the version of its hierarchy
    for line in _lines(process / "cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            own[2] = group
        elif "cpu" in controllers.split(","):
            own[1] = group
    for line in _lines(process / "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = {"cgroup2": 2, "cgroup": 1}.get(kind[0], 0)
        if version not in own or (version == 1 and "cpu" not in kind[2].split(",")):
            continue
        root, mount = (_unescaped(field) for field in fields[3:5])
        own_path = PurePosixPath(own[version])
        # Within a container the mount may show a part of the tree, and the path be that of the whole tree or of no
        # part of it: then the top of the mount is the container's own group.
        is_inside = own_path.is_relative_to(root) and ".." not in own_path.parts
        inner = own_path.relative_to(root) if is_inside else PurePosixPath()
        folder = Path(mount, inner)
        yield folder
        yield from list(folder.parents)[: len(inner.parts)]


def _limit(folder: Path) -> int | None:
    """Return the processors that a group allows, rounded up; None for no limit."""
    given = " ".join(_lines(folder / "cpu.max")[:1]).split() or [
        line for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for line in _lines(folder / name)[:1]
    ]
    try:
        microseconds, period = map(int, given)
    except ValueError:  # "max", or no such file
        return None
    return max(1, -(-microseconds // period)) if microseconds > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _unescaped(field: str) -> str:
    r"""Return a path of `mountinfo` with its blanks, written \040, as they are."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
