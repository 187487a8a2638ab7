"""The lock between processes: waits, ends with its owner, is shared by the threads of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastnn.kernels.lang.process_lock import ProcessLock

ROOT = Path(__file__).parents[3]
OWNER = """
import sys, time
from pathlib import Path
from fastnn.kernels.lang.process_lock import ProcessLock
with ProcessLock(Path(sys.argv[1]), 60).held():
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def owner(tmp_path):
    """Return a process that has the lock: it lets go after a line, and ends after another."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("end", ["a line", "kill"])
def test_it_waits_until_the_owner_lets_go_or_ends(tmp_path, owner, end):
    lock = ProcessLock(tmp_path / "lock", 60)
    events = []

    def when_waiting():
        events.append("waiting")
        if end == "kill":
            owner.kill()
        else:
            owner.stdin.write("\n")
            owner.stdin.flush()

    with lock.held(when_waiting):
        assert lock.is_held
        assert events == ["waiting"]
    assert not lock.is_held


def test_the_wait_is_bounded_and_not_repeated(tmp_path, owner):
    lock = ProcessLock(tmp_path / "lock", 0.2)
    waits = []
    for _ in range(2):
        with lock.held(lambda: waits.append(time.monotonic())):
            assert not lock.is_held
    assert len(waits) == 1
    assert owner.poll() is None


def test_all_threads_of_a_process_hold_it_together(tmp_path):
    lock = ProcessLock(tmp_path / "lock", 60)
    entered = threading.Event()

    def enter():
        with lock.held(lambda: pytest.fail("it waits for its own process")):
            entered.set()

    with lock.held(), lock.held():
        thread = threading.Thread(target=enter)
        thread.start()
        assert entered.wait(30)
        thread.join()
        assert lock.is_held
    assert not lock.is_held


def test_it_is_let_go_after_an_exception(tmp_path):
    lock = ProcessLock(tmp_path / "lock", 60)
    with pytest.raises(KeyboardInterrupt), lock.held():
        raise KeyboardInterrupt
    assert not lock.is_held


def test_an_interrupt_of_the_wait_lets_go(tmp_path, owner):
    lock = ProcessLock(tmp_path / "lock", 60)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), lock.held(interrupt):
        pytest.fail("it was not had")
    assert not lock.is_held
    assert not lock._holders


@pytest.mark.parametrize("place", ["missing/lock", "folder"])
def test_where_no_lock_can_be_made_work_goes_on(tmp_path, place):
    (tmp_path / "folder").mkdir()
    lock = ProcessLock(tmp_path / place, 60)
    with lock.held(lambda: pytest.fail("nothing to wait for")):
        assert not lock.is_held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_keep_it(tmp_path):
    mine = ProcessLock(tmp_path / "lock", 60)
    read, write = os.pipe()
    with mine.held():
        child = os.fork()
        if child == 0:
            held = mine.is_held
            os.close(write)
            os.read(read, 1)  # until the parent has closed the pipe
            os._exit(3 if held else 0)
    os.close(read)
    with ProcessLock(tmp_path / "lock", 0.2).held():
        other_has_it = ProcessLock(tmp_path / "lock", 0.0)
        with other_has_it.held():
            assert not other_has_it.is_held, "a second description of the file in this process gets no lock"
    late = ProcessLock(tmp_path / "lock", 0.0)
    with late.held(lambda: pytest.fail("the child has the lock")):
        assert late.is_held
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
