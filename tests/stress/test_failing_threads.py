"""The system refuses a thread at each possible start: results stay, and one fewer does the work.

Each case runs in a process of its own.
"""

from __future__ import annotations

import sys

import pytest
from amount import amount
from driver import run_python

from fastnn.kernels.lang.compiler import JIT_DISABLED

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="helpers are compiled code")

PREPARE = """
import _thread, copy, faulthandler, threading, time, warnings
warnings.simplefilter("error")
import numpy as np
import fastnn
from fastnn._engine import autotune, inference
from fastnn._engine.thread_team import ThreadTeam
from fastnn._training import net, objective
from fastnn.model import net_of
from thread_count import count_threads, wait_for_count

net.available_threads = lambda: 4
net.WORK_FOR_THREADS = net.WORK_TO_START_THREADS = objective.WORK_FOR_THREADS = 0
autotune.FIRST_TRIAL = autotune.TRIAL = 1e-5
autotune.MIN_STEP = 0.0
draw = np.random.default_rng(0)
X = draw.standard_normal((3000, 20)).astype("f4")
y = draw.standard_normal((3000, 5)).astype("f4")

def use(n_threads, optimizer="adam"):
    # Returns the bits of all that a model does.
    model = fastnn.Model([64, 64, 5], loss="squared_error", optimizer=optimizer, seed=0, n_threads=n_threads)
    if optimizer == "adam":
        model.fit(X, y, epochs=3, verbose=False)
        model.train_on_batch(X, y)
        model.lr_find(X, y)
    else:
        model.fit(X[:200], y[:200], epochs=2, verbose=False)
    loss, gradients, _ = model.gradient(X, y)
    return [model.predict(X), [w.copy() for w in model.weights], gradients, loss, model.evaluate(X, y)]

def same(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b if isinstance(a, (dict, float)) else np.array_equal(a, b)

expected = {optimizer: use(1, optimizer) for optimizer in ("adam", "lbfgs")}
faulthandler.dump_traceback_later(300, exit=True)
time.sleep(1.2)
before = count_threads()
real = _thread.start_new_thread
starts = 0

def failing(refused, error, after):
    def start(function, args, *more):
        global starts
        starts += 1
        if after and refused(starts):
            real(function, args, *more)
        if refused(starts):
            raise error
        return real(function, args, *more)
    return start
"""

REFUSED = """
def run(refused, error, optimizer):
    global starts
    starts = 0
    _thread.start_new_thread = failing(refused, error, False)
    try:
        found = use(4, optimizer)
    finally:
        _thread.start_new_thread = real
    assert same(found, expected[optimizer])
    return starts

errors = [RuntimeError("can't start new thread"), MemoryError()]
for optimizer in expected:
    total = run(lambda start: False, None, optimizer)
    assert total >= 6, total
    assert run(lambda start: True, errors[0], optimizer) > 0
    for k in range(1, min(total, AMOUNT) + 1):
        run(lambda start: start == k, errors[k % 2], optimizer)
        run(lambda start: start >= k, errors[k % 2], optimizer)
assert wait_for_count(before, 2.5) == before, count_threads() - before
faulthandler.cancel_dump_traceback_later()
print("done")
"""

INTERRUPTED = """
def run(k, after):
    global starts
    starts = 0
    _thread.start_new_thread = failing(lambda start: start == k, KeyboardInterrupt(), after)
    try:
        found = use(4)
    except KeyboardInterrupt:
        return True
    finally:
        _thread.start_new_thread = real
    assert same(found, expected["adam"])  # there were fewer starts, or one call of `fit` took it for Ctrl-C
    return False

raised = 0
for after in (False, True):
    for k in range(1, AMOUNT + 1):
        raised += run(k, after)
assert raised > 0
assert wait_for_count(before, 2.5) == before, count_threads() - before
assert same(use(4), expected["adam"])
faulthandler.cancel_dump_traceback_later()
print("done")
"""


def test_a_thread_refused_at_any_start_changes_no_result():
    assert run_python(f"AMOUNT = {amount(4, 1000)}\n" + PREPARE + REFUSED, timeout=900).split() == ["done"]


def test_an_interrupt_at_any_start_leaves_no_thread():
    assert run_python(f"AMOUNT = {amount(4, 60)}\n" + PREPARE + INTERRUPTED, timeout=900).split() == ["done"]


#: Bytes of address space in which not one more stack fits: the system itself refuses threads.
NO_ROOM = """
import resource
threading.stack_size(64 << 20)
used = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize"))) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), used + (48 << 20)))
try:
    real(print, ())
except RuntimeError:
    pass
else:
    raise SystemExit("the system still gives threads")
assert same(use(4), expected["adam"])
assert count_threads() == before
faulthandler.cancel_dump_traceback_later()
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limit of the address space")
def test_without_memory_for_a_thread_one_does_the_work():
    assert run_python(PREPARE + NO_ROOM, timeout=600).split() == ["done"]
