"""Which limits change bits, and which the speed alone."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from driver import architecture, engine, problem, train

from fastnn._engine.limits import INFERENCE_LIMITS, WORKSPACE_LIMITS, InferenceLimits, WorkspaceLimits

#: For each limit another value, by which the work of `trained` is cut otherwise.
CHANGES_BITS = {
    "max_tile_elements": 1024, "max_tile_row_bytes": 128, "min_tiles": 2, "min_chunk": 200, "chunk_bytes": 1 << 30,
    "max_shards": 3, "min_shard_rows": 128, "shard_chunk": 48,
}  # fmt: skip
CHANGES_SPEED = {"min_batch_tile": 16, "max_batch_tile": 32, "batch_tile_bytes": 1}
#: Cut so that each limit matters: chunks of more than `min_chunk` rows need few bytes of activations.
BASE = {
    "min_chunk": replace(WORKSPACE_LIMITS, max_shards=0, chunk_bytes=1),
    "chunk_bytes": replace(WORKSPACE_LIMITS, max_shards=0, min_chunk=200, chunk_bytes=1),
    "batch_tile_bytes": replace(WORKSPACE_LIMITS, min_batch_tile=16),
}


def trained(limits):
    """Bytes of parameters and sums after a training with penalty and clipping by norm."""
    arch = architecture((40, 270, 130, 20), hidden="tanh", penalty=(0.0123, 0.0457), dtype=np.float32)
    made, rows = engine(arch, limits=limits), problem(arch, 1500, weighted=True)
    sums = train(made, rows, batch=1500, epochs=5, clip_norm=0.05)
    return made.params.tobytes(), [(s.loss, s.penalty) for s in sums]


def test_every_limit_is_in_one_group():
    assert {field.name for field in fields(WorkspaceLimits)} == CHANGES_BITS.keys() | CHANGES_SPEED.keys()
    assert not CHANGES_BITS.keys() & CHANGES_SPEED.keys()


@pytest.mark.parametrize("name", CHANGES_BITS)
def test_limits_of_the_first_group_change_bits(name):
    base = BASE.get(name, WORKSPACE_LIMITS)
    assert trained(replace(base, **{name: CHANGES_BITS[name]})) != trained(base)


@pytest.mark.parametrize("name", CHANGES_SPEED)
def test_limits_of_the_second_group_change_no_bit(name):
    base = BASE.get(name, WORKSPACE_LIMITS)
    assert trained(replace(base, **{name: CHANGES_SPEED[name]})) == trained(base)


@pytest.mark.parametrize("name", [field.name for field in fields(InferenceLimits)])
@pytest.mark.parametrize("value", [1, 1 << 40])
def test_limits_of_predictions_change_no_bit(name, value, dtype):
    arch = architecture((20, 100, 3), hidden="tanh", dtype=dtype)
    x = np.random.default_rng(0).standard_normal((300, 20)).astype(dtype)
    limits = InferenceLimits(**{name: 1e-3 if name == "wait_for_workers" else value})
    found = engine(arch, n_threads=2, inference_limits=limits).predict(x, 2)
    np.testing.assert_array_equal(found, engine(arch, inference_limits=INFERENCE_LIMITS).predict(x, 1))
