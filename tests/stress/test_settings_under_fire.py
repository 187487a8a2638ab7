"""Settings changed by other threads, callbacks and signal handlers during fits, with the arrays before guard pages.

Each case runs in a process of its own, which an access outside an array would end.
"""

from __future__ import annotations

import sys

import pytest
from amount import amount, seed
from driver import run_python

GUARDED = """
import ctypes, faulthandler, mmap, os, random, signal, sys, threading, time
faulthandler.enable()
import numpy as np
from fastnn.kernels import tables

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)

def guarded_zeros(n, dtype):
    # Starts on a cache line and ends, up to one, at a page that can be neither read nor written.
    dtype = np.dtype(dtype)
    size = -(-n * dtype.itemsize // tables.CACHE_LINE) * tables.CACHE_LINE
    whole = -(-size // PAGE) * PAGE
    area = mmap.mmap(-1, whole + PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(ctypes.c_void_p(start + whole), ctypes.c_size_t(PAGE), 0) == 0
    return np.frombuffer(area, dtype, n, whole - size)

before = tables.aligned_zeros
import fastnn
for name, module in list(sys.modules.items()):
    if name.startswith("fastnn.") and vars(module).get("aligned_zeros") is before:
        module.aligned_zeros = guarded_zeros

SECONDS = float(os.environ["SECONDS_OF_FIRE"])
rng = random.Random(int(os.environ["SEED_OF_FIRE"]))
X = np.random.default_rng(0).random((2000, 20)).astype("f4")
y = np.random.default_rng(1).random((2000, 5)).astype("f4")
OPTIMIZERS = [lambda name=name: name for name in ("sgd", "momentum", "adagrad", "rmsprop", "adam", "nadam", "lion")]
OPTIMIZERS += [lambda: fastnn.Adam(ema_momentum=0.9), lambda: fastnn.SGD(0.01, ema_momentum=0.99),
               lambda: fastnn.Adam(1e-3, clipvalue=0.1), lambda: fastnn.LBFGS(), lambda: fastnn.LevenbergMarquardt()]

def change(model):
    what = rng.randrange(9)
    if what < 4:
        model.optimizer = rng.choice(OPTIMIZERS)()
    elif what == 4:
        model.regularizer = rng.choice([None, "l1", "l2", fastnn.L2(1e-3)])
    elif what == 5:
        model.trainable = [rng.random() < 0.7 for _ in model.layers]
    elif what == 6:
        model.restore(model.snapshot())
    elif what == 7:
        model.weights[rng.randrange(len(model.layers))][:] = rng.uniform(-0.1, 0.1)
    else:
        model.stop_training = rng.choice([False, True, "enough"])
    counts["changed"] += 1

counts = {"changed": 0, "refused": 0, "fits": 0}

def try_to_change(model):
    try:
        change(model)
    except (ValueError, RuntimeError) as error:
        assert len(str(error)) > 20, repr(error)
        counts["refused"] += 1

def fit(model, **options):
    try:
        model.fit(X, y, batch_size=rng.choice([7, 32, 200]), epochs=rng.choice([1, 3, 20]), verbose=False, **options)
    except (ArithmeticError, ValueError) as error:
        # Diverged, all layers frozen, a batch size with a solver, NaN in the weights.
        assert len(str(error)) > 20, repr(error)
        for weights in model.weights:
            weights[:] = 0.01
    counts["fits"] += 1

def new_model():
    sizes = rng.choice([[256, 5], [33, 17, 5], [5], [64, 64, 64, 5]])
    return fastnn.Model(sizes, loss="squared_error", optimizer="sgd", seed=0, n_threads=2).build(20)

until = time.monotonic() + SECONDS
"""

THREADS = """
while time.monotonic() < until:
    model, ended = new_model(), threading.Event()
    def fire():
        while not ended.is_set():
            try_to_change(model)
    threads = [threading.Thread(target=fire) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            fit(model)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
print(counts)
assert counts["changed"] > 10 and counts["fits"] >= 5
"""

CALLBACKS = """
class Fire(fastnn.Callback):
    def on_epoch_begin(self, epoch, logs):
        try_to_change(self.model)
    on_epoch_end = on_train_begin = lambda self, *_: try_to_change(self.model)

def rate(epoch):
    try_to_change(model)
    return 1e-3

while time.monotonic() < until:
    model = new_model()
    fit(model, callbacks=Fire())
    try:
        model.optimizer = fastnn.Adam(rate)
    except ValueError:
        pass
    fit(model)
print(counts)
assert counts["changed"] > 10 and counts["refused"] > 0
"""

SIGNALS = """
model = new_model()
def handler(*_):
    try_to_change(model)
signal.signal(signal.SIGALRM, handler)
fit(model)
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1.1e-3)
while time.monotonic() < until:
    model = new_model()
    for _ in range(3):
        fit(model)
        try:
            model.predict(X)
        except ValueError:
            pass
signal.setitimer(signal.ITIMER_REAL, 0)
print(counts)
assert counts["changed"] > 10 and counts["refused"] > 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages by mprotect, timers by setitimer")
@pytest.mark.parametrize("case", [THREADS, CALLBACKS, SIGNALS], ids=["threads", "callbacks", "signals"])
def test_no_setting_reaches_outside_an_array(case):
    seconds = amount(2, 60)
    run_python(GUARDED + case, SEED_OF_FIRE=seed(), SECONDS_OF_FIRE=seconds, timeout=300 + 2 * seconds)
