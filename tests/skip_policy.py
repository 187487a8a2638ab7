"""What a skip means: hooks that make it an error where the packages to compare with must be installed.

`FASTNN_NO_SKIP=1` is set in the leg of CI that has PyTorch, Keras and all other packages of the tests. There a test
that is skipped because a package is missing, and any skip in tests/parity, fails: otherwise the comparison with other
libraries could be missing from every run without a sign.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "FASTNN_NO_SKIP"


def is_forbidden(path: Path, reason: str) -> bool:
    """Whether this skip is an error: the package was not found, or the test compares with another library."""
    return os.environ.get(VARIABLE) == "1" and ("could not import" in reason or "parity" in path.parts)


def as_failure(report, path: Path) -> None:
    """Turn the report of a forbidden skip into that of a failure."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if is_forbidden(path, reason):
        report.outcome = "failed"
        report.longrepr = f"{VARIABLE}=1 forbids this skip of {path.name}: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Judge a test that skips while it runs, or by its mark."""
    report = yield
    as_failure(report, item.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Judge a file that skips while it is imported."""
    report = yield
    as_failure(report, getattr(collector, "path", Path()))
    return report
