"""Memory that operations leave behind: less than 2 KB each, functions of the user included."""

from __future__ import annotations

import sys

import pytest
from amount import amount
from driver import run_python

GROWTH = """
import copy, gc, io, os, pickle, sys
import numpy as np
import fastnn

n, page = int(os.environ["OPERATIONS"]), os.sysconf("SC_PAGE_SIZE")
X, y = np.random.default_rng(0).standard_normal((64, 3)), np.random.default_rng(1).standard_normal((64, 1))

def softsign(z):
    return z / (1 + abs(z))

def slope(z):
    return 1 / (1 + abs(z)) ** 2

def jitter(x, random):
    x[0] += 0.1 * random[0]

activation = fastnn.custom.activation(softsign, slope)
augmentation = fastnn.Augmentation(function=jitter)
plain = fastnn.Model([4, 1], loss="squared_error", seed=0)
own = fastnn.Model([fastnn.Dense(4, activation), 1], loss="squared_error", seed=0)
for model in (plain, own):
    model.fit(X, y, verbose=False)

def restart(model):
    model.history = fastnn.History()

def saved():
    file = io.BytesIO()
    plain.save(file)
    file.seek(0)
    fastnn.load(file)

operations = {
    "fit": lambda: (restart(plain), plain.fit(X, y, verbose=False)),
    "fit with an augmentation": lambda: (restart(plain), plain.fit(X, y, augmentation=augmentation, verbose=False)),
    "predict": lambda: plain.predict(X),
    "evaluate": lambda: plain.evaluate(X, y),
    "gradient": lambda: plain.gradient(X, y),
    "new model": lambda: fastnn.Model([fastnn.Dense(4, activation), 1], loss="squared_error").build(3),
    "new activation of the same functions": lambda: fastnn.custom.activation(softsign, slope),
    "copy": lambda: copy.copy(own),
    "pickle": lambda: pickle.loads(pickle.dumps(own)),
    "save and load": saved,
    "failed fit": lambda: failed(),
}

def failed():
    try:
        plain.fit(X, y[:5])
    except ValueError:
        pass

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * page

for name, operation in operations.items():
    for _ in range(50):
        operation()
    before = resident()
    for _ in range(n):
        operation()
    growth = (resident() - before) / n
    print(f"{name}: {growth:.0f} bytes")
    assert growth < 2048, (name, growth)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_operation_leaves_memory_behind():
    assert run_python(GROWTH, OPERATIONS=amount(300, 5000), timeout=1200).count("bytes") == 11
