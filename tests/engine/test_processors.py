"""How many processors the process may use: affinity, PYTHON_CPU_COUNT, quotas of control groups."""

from __future__ import annotations

import os

import pytest

from fastnn._engine import processors
from fastnn._engine.processors import available_threads, quota

UNLIMITED = 1 << 30


@pytest.fixture
def machine(monkeypatch):
    """Set what the system reports: processors of the affinity and of the machine, the number for Python, the quota."""

    def reports(*, affinity=None, count=6, set_by_user=None, limit=UNLIMITED, compiled=True):
        monkeypatch.setattr(processors, "JIT_DISABLED", not compiled)
        monkeypatch.setattr(processors, "_quota", lambda: limit)
        monkeypatch.setattr(os, "cpu_count", lambda: count)
        if affinity is None:
            monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        else:
            monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
        if set_by_user is None:
            monkeypatch.delattr(os, "process_cpu_count", raising=False)
        else:
            monkeypatch.setattr(os, "process_cpu_count", lambda: set_by_user, raising=False)
        return available_threads()

    return reports


def test_available_threads_are_those_of_this_process(machine):
    assert machine(affinity=3) == 3
    assert machine() == 6  # macOS, Windows
    assert machine(count=None) == 1
    assert machine(affinity=3, compiled=False) == 1
    assert machine(affinity=8, set_by_user=5) == 5
    assert machine(affinity=8, set_by_user=100) == 8
    assert machine(affinity=8, limit=2) == 2
    assert machine(affinity=1, limit=2) == 1


def test_the_quota_is_read_once(monkeypatch):
    calls = []
    monkeypatch.setattr(processors, "JIT_DISABLED", False)
    monkeypatch.setattr(processors, "quota", lambda process: calls.append(process) or 1)
    processors._quota.cache_clear()
    try:
        assert [available_threads(), available_threads()] == [1, 1]
        assert [str(path) for path in calls] == [os.path.join(os.sep, "proc", "self")]
    finally:
        processors._quota.cache_clear()


def process(tmp_path, groups, mounts, files):
    """Make the folders of a process and of its control groups; return the first."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    lines = ["22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", "short", ""]
    for root, mount, kind, options in mounts:
        where = str(tmp_path / mount).replace(" ", "\\040")
        lines.append(f"30 22 0:26 {root} {where} rw,nosuid shared:4 master:2 - {kind} cgroup {options}")
    (folder / "mountinfo").write_text("\n".join(lines))
    return folder


V2 = [("/", "cg", "cgroup2", "rw,nsdelegate")]
V1 = [("/", "cg/memory", "cgroup", "rw,memory"), ("/", "cg/cpu", "cgroup", "rw,cpu,cpuacct")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200000 100000\n", 2), ("150000 100000\n", 2), ("100001 100000\n", 2), ("1000 100000\n", 1),
        ("50000 25000\n", 2), ("max 100000\n", UNLIMITED), ("", UNLIMITED),
        ("200000\n", UNLIMITED), ("x y\n", UNLIMITED), ("0 100000\n", UNLIMITED),
        ("100000 0\n", UNLIMITED), ("\xff\xfe\n", UNLIMITED),
    ],
)  # fmt: skip
def test_version_2(tmp_path, text, expected):
    assert quota(process(tmp_path, ["0::/a/b"], V2, {"cg/a/b/cpu.max": text})) == expected


@pytest.mark.parametrize(
    ("microseconds", "period", "expected"),
    [
        ("400000", "100000", 4), ("250000", "100000", 3), ("1", "100000", 1), ("-1", "100000", UNLIMITED),
        ("", "", UNLIMITED),
    ],
)  # fmt: skip
def test_version_1(tmp_path, microseconds, period, expected):
    files = {
        "cg/cpu/job/cpu.cfs_quota_us": f"{microseconds}\n", "cg/cpu/job/cpu.cfs_period_us": f"{period}\n",
        "cg/memory/job/cpu.max": "100000 100000",  # another controller: not looked at
    }  # fmt: skip
    groups = ["5:memory:/job", "4:cpu,cpuacct:/job", "1:name=systemd:/x"]
    assert quota(process(tmp_path, groups, V1, files)) == expected


@pytest.mark.parametrize("where", ["cg/cpu.max", "cg/a/cpu.max", "cg/a/b/cpu.max", "cg/a/b/c d/cpu.max"])
def test_the_limits_of_the_groups_around_count_too(tmp_path, where):
    files = {f"cg{inner}/cpu.max": "max 100000" for inner in ("/a", "/a/b", "/a/b/c d")} | {where: "300000 100000"}
    assert quota(process(tmp_path, ["0::/a/b/c d"], V2, files)) == 3


def test_the_lowest_limit_counts_and_neighbours_do_not(tmp_path):
    files = {
        "cg/a/cpu.max": "200000 100000", "cg/a/b/cpu.max": "500000 100000", "cg/a/other/cpu.max": "100000 100000",
        "cpu.max": "100000 100000",  # above the mount
    }  # fmt: skip
    assert quota(process(tmp_path, ["0::/a/b"], V2, files)) == 2


@pytest.mark.parametrize("path", ["/", "/../..", "/docker/1", "/docker/1/inner"])
def test_within_a_container_the_mount_is_its_own_group(tmp_path, path):
    # With a namespace of its own the path is "/", or leads out of the mount; without, the mount is a part of the tree.
    mounts = [("/docker/1" if path.startswith("/docker") else "/", "cg", "cgroup2", "rw")]
    assert quota(process(tmp_path, [f"0::{path}"], mounts, {"cg/cpu.max": "200000 100000"})) == 2


def test_blanks_in_the_mount_point_and_both_versions_at_once(tmp_path):
    mounts = [("/", "c g", "cgroup2", "rw"), ("/", "cpu", "cgroup", "rw,cpu")]
    files = {
        "c g/a/cpu.max": "700000 100000", "cpu/b/cpu.cfs_quota_us": "800000", "cpu/b/cpu.cfs_period_us": "100000",
    }  # fmt: skip
    assert quota(process(tmp_path, ["0::/a", "3:cpu:/b"], mounts, files)) == 7


def test_no_files_are_no_limit(tmp_path):
    assert quota(tmp_path) == UNLIMITED
    (tmp_path / "cgroup").mkdir()
    assert quota(tmp_path) == UNLIMITED
    assert quota(process(tmp_path, ["0::/a", "", "::", "x"], V2, {})) == UNLIMITED


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux's calls for affinity")
def test_this_process_has_at_least_one_and_at_most_those_of_its_affinity():
    assert 1 <= available_threads() <= len(os.sched_getaffinity(0))
