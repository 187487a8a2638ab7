"""Ctrl-C, and alarms whose handler raises, at random moments: no thread is left, no lock held, no model broken.

Each case runs in a process of its own.
"""

from __future__ import annotations

import signal

import pytest
from amount import amount, seed
from driver import run_python

from fastnn.kernels.lang.compiler import JIT_DISABLED

pytestmark = [
    pytest.mark.skipif(JIT_DISABLED, reason="helpers are compiled code"),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms of parts of a second"),
]

INTERRUPTED = """
import copy, faulthandler, os, random, signal, sys, time, warnings
faulthandler.enable()
warnings.simplefilter("ignore")
import numpy as np
import fastnn
from fastnn._engine import autotune, inference
from fastnn._engine.thread_team import ThreadTeam
from fastnn._training import net, objective
from fastnn.model import net_of
from thread_count import count_threads, wait_for_count

# Everything is shared with threads, on each machine.
net.available_threads = lambda: 2
net.WORK_FOR_THREADS = net.WORK_TO_START_THREADS = objective.WORK_FOR_THREADS = 0
autotune.FIRST_TRIAL = autotune.TRIAL = 1e-4
autotune.MIN_STEP = 0.0

class Alarm(Exception):
    pass

armed = False

def interrupt(number, frame):
    if armed:
        if WHAT == "ctrl-c" and number == signal.SIGALRM:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise ERROR

ERROR = KeyboardInterrupt if WHAT == "ctrl-c" else Alarm
signal.signal(signal.SIGINT, interrupt)
signal.signal(signal.SIGALRM, interrupt)

rng = random.Random(SEED)
draw = np.random.default_rng(SEED)
X = draw.standard_normal((1500, 20))
y = draw.integers(0, 5, 1500)

def new_model():
    return fastnn.Model([64, 64, 5], loss="softmax_crossentropy", seed=0, dtype="float64", n_threads=2).build(20)

model = new_model()
estimator = fastnn.MLPClassifier((30,), random_state=0, n_threads=2, max_iter=5)
estimator.fit(X, y)

def run_team():
    with ThreadTeam(3) as team:
        for n_threads in (1, 3, 2):
            team.run(lambda sync, thread: thread, n_threads=n_threads)

operations = {
    "team": run_team,
    "fit": lambda: model.fit(X, y, epochs=rng.choice([1, 5]), batch_size=rng.choice([32, 1500]), verbose=False),
    "evaluate": lambda: model.evaluate(X, y),
    "gradient": lambda: model.gradient(X, y),
    "predict": lambda: model.predict(X),
    "train_on_batch": lambda: model.train_on_batch(X, y),
    "partial_fit": lambda: estimator.partial_fit(X, y),
}
for run in operations.values():
    run()
faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
time.sleep(1.5)  # threads of these have ended
before = count_threads()
came = 0
for k in range(AMOUNT):
    name = rng.choice(sorted(operations))
    repeats = 20 if name == "team" else 3
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, 10 ** rng.uniform(-4.3, -1.7), rng.choice([0.0, 0.0, 1e-3]))
            for _ in range(repeats):
                operations[name]()
        finally:
            armed = False
    except ERROR:
        came += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    if k % 10 == 9:
        for one in (model, estimator._model):
            for weights in one.weights:
                assert np.isfinite(weights).all(), name
assert came > AMOUNT // 10, (came, AMOUNT)
left = wait_for_count(before, 2.5)
assert left == before, f"{left - before} threads are left of {came} interrupts"

# No lock is held: another thread can use the model; and it gives what its weights say.
import threading
found = []
thread = threading.Thread(target=lambda: found.append((model.predict(X), model.evaluate(X, y), model.gradient(X, y))))
thread.start()
thread.join(120)
assert found, "a lock is held"
other = new_model()
for mine, theirs in zip([*other.weights, *other.biases], [*model.weights, *model.biases]):
    mine[:] = theirs
np.testing.assert_array_equal(found[0][0], other.predict(X))
assert found[0][1] == other.evaluate(X, y)
model.fit(X, y, epochs=2, verbose=False)
estimator.partial_fit(X, y)
assert np.isfinite(estimator.loss_)
assert wait_for_count(before, 2.5) == before
faulthandler.cancel_dump_traceback_later()
print(came)
"""


@pytest.mark.parametrize("what", ["ctrl-c", "alarm"])
def test_interrupts_at_random_moments_leave_nothing_behind(what):
    n = amount(120, 4000)
    limit = 120 + n
    code = f"SECONDS_TO_HANG, WHAT, SEED, AMOUNT = {limit}, {what!r}, {seed()}, {n}\n" + INTERRUPTED
    assert int(run_python(code, timeout=limit + 900)) > 0


#: Alarms come again and again while a team is made, used and closed.
STORM = """
import faulthandler, random, signal, time
faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
from fastnn._engine.inference_workers import InferenceWorkers
from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.loop.predict import ASLEEP, HELPERS, STATE
from thread_count import count_threads, wait_for_count

class Alarm(Exception):
    pass

armed = False

def raise_alarm(*_):
    if armed:
        raise Alarm

def sleep_again(mailbox, number):
    mailbox[HELPERS + STATE + 8 * number] = ASLEEP

signal.signal(signal.SIGALRM, raise_alarm)
rng = random.Random(SEED)
with ThreadTeam(4) as team:
    team.run(lambda sync, thread: thread)
before = wait_for_count(0, 0.5)
came = 0
for k in range(AMOUNT):
    workers = InferenceWorkers(2, sleep_again)
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, 10 ** rng.uniform(-5, -3), 3e-4)
            while True:
                with ThreadTeam(rng.choice([2, 4])) as team:
                    assert team.run(lambda sync, thread: thread) == 0
                    workers.notify(0)
        finally:
            armed = False
    except Alarm:
        came += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    # The workers can still be had.
    end = time.monotonic() + 60
    while not all(worker._is_there for worker in workers._workers):
        workers.notify(0)
        time.sleep(1e-4)
        assert time.monotonic() < end, "a worker is lost"
assert came == AMOUNT
del workers
left = wait_for_count(before, 2.5)
assert left == before, f"{left - before} threads are left of {came} alarms"
faulthandler.cancel_dump_traceback_later()
print(came)
"""


def test_alarms_in_quick_succession_leave_no_thread_of_a_team_or_of_workers():
    n = amount(200, 20_000)
    limit = 120 + n // 10
    code = f"SECONDS_TO_HANG, SEED, AMOUNT = {limit}, {seed()}, {n}\n" + STORM
    assert int(run_python(code, timeout=limit + 60)) == n
