"""A skip is an error if FASTNN_NO_SKIP=1 is set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skip_policy

FILES = {
    "parity/test_module.py": """
        import pytest
        pytest.importorskip("no_such_package")
        def test_never_collected(): pass
    """,
    "parity/test_any_reason.py": """
        import pytest
        @pytest.mark.skip(reason="too hard")
        def test_marked(): pass
        @pytest.mark.xfail
        def test_expected_to_fail(): assert False
    """,
    "other/test_package.py": """
        import pytest
        def test_package(): pytest.importorskip("no_such_package")
    """,
    "other/test_machine.py": """
        import pytest
        def test_machine(): pytest.skip("one processor")
        def test_passes(): pass
    """,
}


def outcomes(folder, **environment):
    """Counts by outcome of a run of pytest over the files with the policy."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        lines = [line.removeprefix("        ") for line in text.splitlines()]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != skip_policy.VARIABLE} | environment
    env["PYTHONPATH"] = str(Path(skip_policy.__file__).parent)
    options = ["-p", "skip_policy", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    last = done.stdout.splitlines()[-1]
    return {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", last)}, done


@pytest.mark.parametrize("value", [None, "0"])
def test_skips_are_skips_by_default(tmp_path, value):
    found, _ = outcomes(tmp_path, **{skip_policy.VARIABLE: value} if value else {})
    assert found == {"passed": 1, "skipped": 4, "xfailed": 1}


def test_skips_of_packages_and_of_parity_are_errors_when_asked(tmp_path):
    found, done = outcomes(tmp_path, **{skip_policy.VARIABLE: "1"})
    assert found == {"passed": 1, "failed": 1, "error": 2, "skipped": 1, "xfailed": 1}
    for name in ("test_module", "test_any_reason", "test_package"):
        assert f"forbids this skip of {name}.py: " in done.stdout
    assert done.returncode == 1
