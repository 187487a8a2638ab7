"""Memory of a training beside its data: a process of its own measures it, as other tests leave caches and threads."""

from __future__ import annotations

import json

import pytest
from driver import run_python

N_FEATURES = 32
N_ROWS = 20_000
#: Bytes that the interpreter may hold more or less in one of two calls: a hundredth of the smaller data.
SLACK = 0.01 * N_ROWS * N_FEATURES * 4

PEAKS = """
import gc, json, os, tracemalloc
import numpy as np
from insides import workspace_bytes
from fastnn import Model

loss, batch_size, n_features, row_counts = json.loads(os.environ["TRAINING"])

def peak_of(action):
    found = []
    for _ in range(3):
        gc.collect()
        tracemalloc.start()
        action()
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(found)  # an array of the size of the data is in all of them

def fitted():
    model = Model([16, 3], loss=loss, seed=0)
    options = {"sample_weight": weight, "validation_data": (X, y)} if batch_size is None else {}
    model.fit(X, y, epochs=2, batch_size=batch_size, verbose=False, **options)
    return model

peaks, buffers = [], []
for rows in row_counts:
    X = np.zeros((rows, n_features), np.float32)
    y = np.zeros(rows, np.int64) if loss == "softmax_crossentropy" else np.zeros((rows, 3), np.float32)
    weight = np.ones(rows, np.float32)
    model = fitted()  # the first one imports and compiles
    model.gradient(X, y)
    buffers.append(workspace_bytes(model))
    peaks.append(peak_of(fitted))
print(json.dumps([peaks, buffers]))
"""


def measure(loss, batch_size, *row_counts):
    """Return the peak of `fit` in bytes, and the bytes of its buffers by purpose, for each number of rows."""
    training = json.dumps([loss, batch_size, N_FEATURES, row_counts])
    return json.loads(run_python(PEAKS, TRAINING=training))


@pytest.mark.parametrize("loss", ["squared_error", "softmax_crossentropy"])
def test_descent_on_all_rows_needs_no_memory_that_grows_with_them(loss):
    peaks, buffers = measure(loss, None, 1500, N_ROWS, 4 * N_ROWS)
    assert abs(peaks[2] - peaks[1]) < SLACK
    assert buffers[1] == buffers[2]
    assert set(buffers[1]) == {"train", "evaluate", "gradient"}


def test_mini_batches_need_an_order_of_the_rows_and_no_more():
    peaks, _ = measure("squared_error", 500, 100, N_ROWS, 4 * N_ROWS)
    order_of_the_rows = 8  # bytes per row
    assert abs(peaks[2] - peaks[1] - 3 * N_ROWS * order_of_the_rows) < SLACK
