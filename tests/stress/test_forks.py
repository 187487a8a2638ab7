"""Forks while another thread trains or predicts: the child can use other models, and the same one.

Each case runs in a process of its own.
"""

from __future__ import annotations

import os

import pytest
from amount import amount, seed
from driver import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

FORKS = """
import copy, faulthandler, os, pickle, random, signal, sys, threading, time, warnings
faulthandler.enable()
faulthandler.register(signal.SIGALRM, chain=True)
warnings.simplefilter("ignore")
import numpy as np
import fastnn
from fastnn._engine import autotune
from fastnn._training import net, objective

net.available_threads = lambda: 2
net.WORK_FOR_THREADS = net.WORK_TO_START_THREADS = objective.WORK_FOR_THREADS = 0
autotune.FIRST_TRIAL = autotune.TRIAL = 1e-4
autotune.MIN_STEP = 0.0
rng = random.Random(SEED)
draw = np.random.default_rng(SEED)
X = draw.standard_normal((1500, 20)).astype("f4")
y = draw.standard_normal((1500, 5)).astype("f4")

def new_model():
    return fastnn.Model([64, 64, 5], loss="squared_error", seed=0, n_threads=2).build(20)

busy, other = new_model(), new_model()
other.fit(X, y, epochs=2, verbose=False)
busy.fit(X, y, epochs=2, verbose=False)
wanted = other.predict(X)
faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
work = {
    "fit": lambda: busy.fit(X, y, epochs=200, verbose=False),
    "predict": lambda: busy.predict(X),
    "evaluate": lambda: busy.evaluate(X, y),
    "train_on_batch": lambda: busy.train_on_batch(X, y),
}[WORK]
ended = threading.Event()

def keep_busy():
    while not ended.is_set():
        try:
            work()
        except fastnn.DivergenceError:
            pass

def use_other():
    assert np.array_equal(other.predict(X), wanted)
    other.fit(X, y, epochs=2, verbose=False)
    other.evaluate(X, y)

def use_same():
    assert np.isfinite(busy.predict(X)).all()
    copy.copy(busy)
    pickle.dumps(busy)
    busy.fit(X, y, epochs=2, verbose=False)
    assert np.isfinite(busy.evaluate(X, y)["loss"])

thread = threading.Thread(target=keep_busy)
thread.start()
failed = []
for k in range(AMOUNT):
    time.sleep(rng.uniform(0.0, 0.02))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(50)  # (the timer of faulthandler is a thread, which the child has not)
            use_other()
            use_same()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(status)
    end, pid = time.monotonic() + 60, 0
    while not pid and time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if not pid:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = "hang"
    if status:
        failed.append((k, status))
        break
ended.set()
busy.stop_training = True
thread.join(120)
assert not thread.is_alive(), "the parent hangs"
assert not failed, failed
faulthandler.cancel_dump_traceback_later()
print("done")
"""


@pytest.mark.parametrize("work", ["fit", "predict", "evaluate", "train_on_batch"])
def test_a_child_forked_while_another_thread_works_can_use_that_model_and_others(work):
    n = amount(4, 500)
    limit = 200 + 2 * n
    code = f"SECONDS_TO_HANG, SEED, AMOUNT, WORK = {limit}, {seed()}, {n}, {work!r}\n" + FORKS
    assert run_python(code, timeout=limit + 900).split() == ["done"]
