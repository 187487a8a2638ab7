"""The engine: whole epochs against the oracle, over shapes, chunks, weights, divergence and memory."""

from __future__ import annotations

from itertools import pairwise

import ids
import naive
import numba.core.errors
import numpy as np
import pytest
from driver import (
    LIMITS_OF,
    OPTIMIZERS,
    RATES,
    SMALL_SHARDS,
    FixedPace,
    architecture,
    assert_same_net,
    engine,
    net_of,
    padding_of,
    problem,
    train,
    train_naive,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn._data.rows import as_data
from fastnn._engine import workspace
from fastnn._engine.autotune import SLICE, SliceTuner
from fastnn._engine.engine import Engine, RunOptions, StepOptions
from fastnn._engine.limits import WORKSPACE_LIMITS, WorkspaceLimits
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import tile_ranges, weight_tiles
from fastnn.kernels import tables
from fastnn.kernels.lang.compiler import JIT_DISABLED, kernel
from fastnn.kernels.lang.simd import CACHE_LINE, IS_AARCH64, IS_X86, n_lanes
from fastnn.kernels.loop.predict import predict as predict_kernel
from fastnn.kernels.loop.train import train as train_kernel

DOUBLE = np.dtype(np.float64)


def close_sums(got, wanted, tolerance=1e-10):
    """Compare what the engine added up with what the oracle did."""
    found, true = ((s.loss, s.weight, s.penalty, *s.metrics) for s in (got, wanted))
    for a, b in zip(found, true, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)


def compare(arch, n, *, weighted=False, labels=None, tolerance=1e-11, n_threads=1, limits=WORKSPACE_LIMITS, **options):
    """Train by the engine and by the oracle; weights and sums must agree."""
    made = engine(arch, n_threads=n_threads, limits=limits)
    net = net_of(made)
    rows = problem(arch, n, weighted=weighted, labels=labels)
    got = train(made, rows, n_threads=n_threads, **options)
    wanted = train_naive(net, rows, **options)
    assert_same_net(made, net, tolerance)
    for a, b in zip(got, wanted, strict=True):
        assert a.status == tables.OK
        assert a.steps == b.steps
        close_sums(a, b, max(tolerance * 10, 1e-11))
    return made


# ------------------------------------------------------------------------------------------------- layout


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(n=st.integers(1, 5000), double=st.booleans())
def test_leading_dimension_is_whole_vectors_and_never_a_multiple_of_a_kilobyte(n, double):
    dtype = np.dtype(np.float64 if double else np.float32)
    ld = tables.leading_dimension(n, dtype)
    v = n_lanes(dtype)
    line = CACHE_LINE // dtype.itemsize
    assert ld >= n
    assert ld % v == 0
    assert ld * dtype.itemsize % 1024 != 0
    if n < 4 * line:
        assert ld - n < v
    else:  # two vectors that fit into a cache line are in one, in every row
        assert v >= line or ld % min(2 * v, line) == 0
        assert ld - n < 2 * max(v, min(2 * v, line))
    assert tables.padded(n, dtype) == -(-n // v) * v


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(sizes=st.lists(st.integers(1, 600), min_size=2, max_size=6), double=st.booleans())
def test_parameters_lie_apart_and_aligned(sizes, double):
    made = Engine(architecture(sizes, dtype=np.float64 if double else np.float32), 2, 1)
    owner = np.zeros(made.params.size, int)
    for view in (*made._views(owner)[0], *made._views(owner)[1]):
        view += 1
    assert owner.max() == 1, "two arrays share an element"
    assert owner.sum() == sum(i * o + o for i, o in pairwise(sizes))
    for array in (made.params, *made.slots):
        assert array.ctypes.data % made.params.itemsize == 0
        assert not array.any()
    assert made.params.ctypes.data % CACHE_LINE == 0
    for w, bias in made.offsets:
        assert w % n_lanes(made.params.dtype) == 0
        assert bias % n_lanes(made.params.dtype) == 0


@pytest.mark.parametrize("n", [0, 1, 15, 1000])
def test_aligned_zeros(n, dtype):
    for _ in range(5):
        made = tables.aligned_zeros(n, dtype)
        assert made.shape == (n,)
        assert made.dtype == dtype
        assert n == 0 or made.ctypes.data % CACHE_LINE == 0
        assert not made.any()


def test_views_are_the_parameters_themselves(dtype):
    made = Engine(architecture([3, 5, 2], dtype=dtype), 1, 1)
    for k, view in enumerate((*made.weights(), *made.biases())):
        view[:] = k + 1
        assert np.count_nonzero(made.params == k + 1) == view.size
    assert [w.shape for w in made.weights()] == [(3, 5), (5, 2)]
    assert [b.shape for b in made.biases()] == [(5,), (2,)]


def test_layers_of_few_outputs_are_stored_by_outputs(dtype):
    assert tables.is_narrow(64, 1, dtype)
    assert not tables.is_narrow(64, 64, dtype)
    assert not tables.is_narrow(1, 1, dtype)
    made = Engine(architecture([64, 64, 2], dtype=dtype), 1, 1)
    assert made.architecture.narrow() == [False, True]
    assert [w.flags.c_contiguous or w.flags.f_contiguous for w in made.weights()] == [True, True]
    made.weights()[1][5, 1] = 7.0
    place, _ = made.offsets[1]
    assert made.params[place + made.architecture.leading_dimensions()[1] + 5] == 7.0


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(sizes=st.lists(st.integers(1, 1500), min_size=2, max_size=5), double=st.booleans(), n_threads=st.integers(1, 9))
def test_weight_tiles_cover_each_layer_once_and_are_shared_out(sizes, double, n_threads):
    arch = architecture(sizes, dtype=np.float64 if double else np.float32)
    v = n_lanes(arch.dtype)
    tiles = weight_tiles(arch)
    offsets, _ = tables.param_offsets(arch.sizes, arch.dtype)
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        height, width = tables.padded(n_in, arch.dtype), tables.padded(n_out, arch.dtype)
        narrow = arch.narrow()[k]
        covered = np.zeros((n_out, height) if narrow else (height, width), int)
        unpadded = np.zeros(len(covered), bool)
        bias_covered = np.zeros(width, int)
        ld = arch.leading_dimensions()[k if narrow else k + 1]
        w, bias_row = offsets[k]
        for tile in tiles[tiles["layer"] == k]:
            row, rows, padded_rows = tile["row"], tile["rows"], tile["padded_rows"]
            column, columns, bias, n_bias = tile["column"], tile["columns"], tile["bias"], tile["n_bias"]
            assert 0 < rows <= padded_rows
            assert columns > 0
            assert row % v == column % v == columns % v == bias % v == n_bias % v == 0
            assert narrow or padded_rows % v == 0
            assert tile["ld"] == ld
            assert tile["offset"] == w + row * ld + column
            assert tile["bias_offset"] == bias_row + bias
            covered[row : row + padded_rows, column : column + columns] += 1
            unpadded[row : row + rows] = True
            bias_covered[bias : bias + n_bias] += 1
        assert (covered == 1).all()
        assert (bias_covered == 1).all()
        assert unpadded.sum() == (n_out if narrow else n_in)
    bounds = tile_ranges(tiles, n_threads)
    assert bounds[0] == 0
    assert bounds[-1] == len(tiles)
    assert (np.diff(bounds) >= 0).all()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 5, 31, 64, 100, 256, 1000, 5000])
def test_batch_tiles_begin_at_whole_blocks(batch, n_threads, dtype):
    # The losses of narrow nets are taken in blocks of as many rows as a vector has lanes.
    space = workspace.Workspace(architecture([4, 10, 3], dtype=dtype), batch, n_threads)
    rows = space.plan(n_threads).layout.batch_tile
    assert rows >= 1
    assert rows % n_lanes(dtype) == 0


# --------------------------------------------------------------------------------------------- whole epochs


@pytest.mark.parametrize("width", range(1, 41))
def test_widths(width, dtype):
    tolerance = 1e-11 if dtype == DOUBLE else 2e-3
    compare(architecture([width] * 4, hidden="tanh", dtype=dtype), 19, batch=7, epochs=2, tolerance=tolerance)


@pytest.mark.parametrize(
    "sizes", [(3, 1030, 5), (700, 520, 2), (513, 1), (1, 600), (1, 1), (256, 128, 256), (40, 128, 512, 3)], ids=str
)
@pytest.mark.parametrize("loss", ["squared_error", "softmax_crossentropy"])
def test_wide_nets_of_several_tiles(sizes, loss):
    compare(architecture(sizes, loss=loss, penalty=(1e-4, 1e-3)), 37, batch=16, epochs=2, n_threads=2)


@pytest.mark.parametrize(
    ("n", "batch"),
    [(1, 1), (1, 8), (5, 1), (16, 16), (17, 16), (33, 16), (40, 64), (40, 41), (100, 99), (300, 128), (130, 7)],
)
def test_last_short_batch_and_batches_larger_than_the_data(n, batch):
    made = compare(architecture([4, 9, 3]), n, batch=batch, epochs=3, seed=0)
    assert made.steps_done == 3 * -(-n // batch)


@pytest.mark.parametrize("labels", [False, True], ids=["rows", "labels"])
@pytest.mark.parametrize("n_out", [1, 2, 3, 8, 9, 16, 17, 33])
def test_each_loss_with_few_and_many_outputs(n_out, labels):
    for loss in ("squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"):
        rates = (1e-3,) if loss == "sum_of_squares" else None
        optimizer = ids.SGD if rates else ids.ADAM
        compare(
            architecture([4, 6, n_out], hidden="tanh", loss=loss), 50,
            batch=19, epochs=2, weighted=True, labels=labels, seed=1, optimizer=optimizer, rates=rates,
        )  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_no_hidden_layer_and_one_column(optimizer):
    for sizes in ((1, 1), (1, 4), (4, 1)):
        compare(architecture(sizes, penalty=(1e-3, 1e-3)), 30, batch=8, epochs=3, optimizer=optimizer)


def test_without_biases_they_stay_as_they_are(dtype):
    arch = architecture([4, 9, 3], use_bias=False, dtype=dtype)
    made = engine(arch)
    made.biases()[0][:] = 0.25
    net = net_of(made)
    rows = problem(arch, 30)
    train(made, rows, epochs=3)
    train_naive(net, rows, epochs=3)
    np.testing.assert_array_equal(made.biases()[0], 0.25)
    np.testing.assert_array_equal(made.biases()[1], 0)
    assert_same_net(made, net, 1e-11 if dtype == DOUBLE else 1e-3)


@pytest.mark.parametrize(("output", "loss"), [("softmax", "softmax_crossentropy"), ("sigmoid", "binary_crossentropy")])
def test_output_that_the_loss_contains(output, loss):
    for n_out in (3, 20):
        arch = architecture([4, 9, n_out], output=output, loss=loss, fused_output=True)
        made = compare(arch, 40, batch=16, epochs=2, metrics=(ids.ACCURACY,))
        net, rows = net_of(made), problem(arch, 40)
        with ThreadTeam(1) as team:
            np.testing.assert_allclose(made.predict(rows.x, team.n_threads), naive.predict(net, rows.x), rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_that_weigh_nothing_do_not_count(n_threads, dtype):
    arch = architecture([4, 9, 3], dtype=dtype)
    rows = problem(arch, 48, weighted=True)
    # The second batch has no weight at all: its loss is 0 and its gradient 0, not 0 / 0.
    rows.sample_weight[16:32] = 0
    made = engine(arch, n_threads=n_threads)
    net = net_of(made)
    sums = train(made, rows, batch=16, epochs=2, n_threads=n_threads, optimizer=ids.SGD)
    wanted = train_naive(net, rows, batch=16, epochs=2, optimizer=ids.SGD)
    assert_same_net(made, net, 1e-11 if dtype == DOUBLE else 1e-3)
    for a, b in zip(sums, wanted, strict=True):
        close_sums(a, b, 1e-11 if dtype == DOUBLE else 1e-3)


def test_whole_weights_are_repeated_rows(dtype):
    # A row of weight 2 is the row twice, when all are in one batch.
    arch = architecture([4, 9, 3], hidden="tanh", dtype=DOUBLE)
    once = problem(arch, 20)
    counts = np.random.default_rng(0).integers(0, 4, 20)
    twice = problem(arch, 20)
    twice.x, twice.t = (np.repeat(a, counts, axis=0) for a in (once.x, once.t))
    once.sample_weight = counts.astype(DOUBLE)
    a, b = engine(arch), engine(arch)
    train(a, once, batch=1000, epochs=5)
    train(b, twice, batch=1000, epochs=5)
    np.testing.assert_allclose(a.params, b.params, rtol=0, atol=1e-12)


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    n=st.integers(1, 80),
    batch=st.integers(1, 90),
    optimizer=st.sampled_from(sorted(OPTIMIZERS.values())),
    loss=st.sampled_from(["squared_error", "binary_crossentropy", "softmax_crossentropy"]),
    hidden=st.sampled_from(["tanh", "sigmoid", "elu", "identity"]),
    weighted=st.booleans(),
    shuffle=st.booleans(),
    n_threads=st.sampled_from([1, 2]),
)
def test_any_net_trains_as_the_oracle(sizes, n, batch, optimizer, loss, hidden, weighted, shuffle, n_threads):
    compare(
        architecture(sizes, hidden=hidden, loss=loss, penalty=(0.0, 1e-3)), n,
        batch=batch, optimizer=optimizer, weighted=weighted, seed=3 if shuffle else None, n_threads=n_threads,
        tolerance=1e-8,
    )  # fmt: skip


def test_order_may_name_some_of_the_rows(solo):
    arch = architecture([4, 9, 3])
    rows = problem(arch, 60, weighted=True)
    chosen = np.random.default_rng(0).permutation(60)[:23]
    made = engine(arch)
    net = net_of(made)
    sums = made.train_epoch(
        rows.data(chosen), StepOptions(ids.SGD, RATES[ids.SGD]), RunOptions(8), team=solo, pace=FixedPace(1)
    )  # fmt: skip
    rule = naive.Optimizer(ids.SGD, RATES[ids.SGD][0])
    wanted = naive.train_epoch(net, *rows.oracle(), batch=8, optimizer=rule, order=chosen)
    assert_same_net(made, net, 1e-12)
    close_sums(sums, wanted)
    scores = made.evaluate(rows.data(chosen), metrics=(), team=solo)
    close_sums(scores, naive.evaluate(net, rows.x[chosen], rows.t[chosen], rows.sample_weight[chosen]))


# ------------------------------------------------------------------------------------------ chunks of a batch


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("chunk", [8, 24, 100])
def test_a_batch_in_chunks_gives_the_same_bits(chunk, n_threads, dtype):
    arch = architecture([5, 33, 7, 3], loss="softmax_crossentropy", penalty=(1e-3, 1e-3), dtype=dtype)
    rows = problem(arch, 230, weighted=True)
    options = {"batch": 110, "epochs": 3, "seed": 6, "n_threads": n_threads, "metrics": (ids.ACCURACY,)}
    whole = engine(arch, n_threads=n_threads)
    wanted = train(whole, rows, **options)
    cut = engine(arch, n_threads=n_threads, limits=WorkspaceLimits(min_chunk=chunk, chunk_bytes=1))
    got = train(cut, rows, **options)
    assert cut._workspaces["train"].chunk == chunk
    assert whole._workspaces["train"].chunk == 110
    assert cut.params.tobytes() == whole.params.tobytes()
    assert cut.slots.tobytes() == whole.slots.tobytes()
    for a, b in zip(got, wanted, strict=True):
        close_sums(a, b, 1e-12 if dtype == DOUBLE else 1e-5)
    assert not padding_of(cut, cut.params).any()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_batch_of_all_rows_in_chunks_follows_the_oracle(n_threads):
    limits = WorkspaceLimits(min_chunk=16, chunk_bytes=1)
    compare(architecture([5, 9, 3]), 203, batch=203, epochs=4, weighted=True, n_threads=n_threads, limits=limits)


def test_memory_does_not_grow_with_a_large_batch():
    arch = architecture([8, 64, 4], dtype=np.float32)
    small, large = (workspace.Workspace(arch, batch, 1).work.size for batch in (20_000, 2_000_000))
    assert large == small


def check_gradient(made, rows, team):
    """Compare gradient and penalty of all rows with the oracle's; returns the net for the oracle."""
    net = net_of(made)
    sums, d_weights, d_biases = made.gradient(rows.data(), team=team)
    wanted = naive.gradient(net, *rows.oracle())
    for a, b in zip([*d_weights, *d_biases], [*wanted[0], *wanted[1]], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
    assert sums.penalty == pytest.approx(naive.penalty(net), rel=1e-12)
    return net


@pytest.mark.parametrize("chunk", [16, 50, 1024])
def test_gradient_and_evaluation_over_chunks(chunk, team):
    arch = architecture([5, 9, 3], loss="softmax_crossentropy", penalty=(1e-3, 1e-2))
    made = engine(arch, n_threads=team.n_threads, limits=WorkspaceLimits(min_chunk=chunk, chunk_bytes=1))
    rows = problem(arch, 333, weighted=True)
    net = check_gradient(made, rows, team)
    scores = made.evaluate(rows.data(), metrics=(ids.ACCURACY,), team=team)
    close_sums(scores, naive.evaluate(net, *rows.oracle(), (ids.ACCURACY,)))


# ------------------------------------------------------------------------------------------ shards of a batch


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("sizes", [(5, 9, 3), (3, 8, 20, 1), (7, 2)], ids=str)
def test_a_batch_in_shards_follows_the_oracle(sizes, n_threads):
    arch = architecture(sizes)
    assert workspace.Workspace(arch, 200, n_threads, limits=SMALL_SHARDS).n_shards == 8
    # The last batch of the epoch fills some shards only.
    compare(arch, 450, batch=200, epochs=3, weighted=True, n_threads=n_threads, limits=SMALL_SHARDS,
            metrics=(ids.MEAN_SQUARED_ERROR,))  # fmt: skip
    assert workspace.Workspace(arch, 200, n_threads, gradients=False, limits=SMALL_SHARDS).n_shards == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_shards_have_the_same_bits_for_any_number_of_threads(optimizer, dtype):
    arch = architecture((5, 33, 7, 3), hidden="sigmoid", penalty=(1e-3, 1e-2), dtype=dtype)
    rows = problem(arch, 530, weighted=True)
    made = [engine(arch, n_threads=n, limits=SMALL_SHARDS) for n in (1, 2, 3, 4)]
    sums = [train(one, rows, batch=530, epochs=3, optimizer=optimizer, n_threads=k + 1) for k, one in enumerate(made)]
    assert made[0]._workspaces["train"].n_shards > 1
    for k in (1, 2, 3):
        assert made[k].params.tobytes() == made[0].params.tobytes()
        assert made[k].slots.tobytes() == made[0].slots.tobytes()
        assert sums[k] == sums[0]
        assert not padding_of(made[k], made[k].params).any()


def test_the_gradient_in_shards(team):
    arch = architecture([4, 9, 3], loss="softmax_crossentropy", penalty=(1e-3, 1e-2))
    made = engine(arch, n_threads=team.n_threads)
    rows = problem(arch, 5000, weighted=True)
    assert workspace.count_shards(arch, 5000) == 8
    check_gradient(made, rows, team)


# ------------------------------------------------------------------------- gradient, evaluation, prediction


def test_gradient_and_evaluation_change_nothing(solo, dtype):
    arch = architecture([5, 9, 3], penalty=(1e-3, 1e-2), dtype=dtype)
    made = engine(arch)
    rows = problem(arch, 40)
    train(made, rows)
    params, slots, done = made.params.copy(), made.slots.copy(), made.steps_done
    made.gradient(rows.data(), team=solo)
    made.evaluate(rows.data(), metrics=(ids.MEAN_SQUARED_ERROR,), team=solo)
    made.predict(rows.x)
    assert made.params.tobytes() == params.tobytes()
    assert made.slots.tobytes() == slots.tobytes()
    assert made.steps_done == done


def test_gradient_is_what_descent_uses(solo, dtype):
    arch = architecture([5, 9, 20, 3], hidden="tanh", penalty=(1e-3, 1e-2), dtype=dtype)
    made = engine(arch)
    rows = problem(arch, 40, weighted=True)
    before = [p.copy() for p in (*made.weights(), *made.biases())]
    _, d_weights, d_biases = made.gradient(rows.data(), team=solo)
    train(made, rows, batch=40, optimizer=ids.SGD)
    rate = RATES[ids.SGD][0]
    eps = np.finfo(dtype).eps
    for p, old, g in zip((*made.weights(), *made.biases()), before, [*d_weights, *d_biases], strict=True):
        np.testing.assert_allclose(p, old - rate * g, rtol=0, atol=8 * eps)


def test_returned_gradients_are_copies(solo):
    arch = architecture([3, 4, 2])
    made = engine(arch)
    rows = problem(arch, 10)
    _, first, _ = made.gradient(rows.data(), team=solo)
    kept = [g.copy() for g in first]
    made.weights()[0][:] += 1
    made.gradient(rows.data(), team=solo)
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


METRICS = [ids.ACCURACY, ids.MEAN_SQUARED_ERROR, ids.MEAN_ABSOLUTE_ERROR]


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
def test_evaluation(loss, weighted, team):
    for n_out in (1, 3, 20):
        for n in (1, 7, 1023, 1024, 1025, 2500):
            arch = architecture([4, 9, n_out], hidden="tanh", loss=loss, penalty=(0.1, 0.1))
            made = engine(arch, n_threads=team.n_threads)
            rows = problem(arch, n, weighted=weighted)
            net = net_of(made)
            # Errors of regression are not defined for classes that are given by number (nor offered above).
            offered = METRICS[:1] if loss == "softmax_crossentropy" else METRICS
            chosen = [offered[(n + k) % len(offered)] for k in range(2)]
            for metrics in ((), tuple(chosen[:1]), tuple(chosen)):
                sums = made.evaluate(rows.data(), metrics=metrics, team=team)
                wanted = naive.evaluate(net, *rows.oracle(), metrics)
                assert sums.steps == -(-n // 1024)
                close_sums(sums, wanted)


@pytest.mark.parametrize("n_out", [3, 9, 17, 40])
def test_accuracy_does_not_depend_on_how_classes_are_written(n_out, solo, dtype):
    arch = architecture([4, n_out], loss="softmax_crossentropy", dtype=dtype)
    made = engine(arch)
    named, written = (problem(arch, 50, labels=labels) for labels in (True, False))
    a = made.evaluate(named.data(), metrics=(ids.ACCURACY,), team=solo)
    b = made.evaluate(written.data(), metrics=(ids.ACCURACY,), team=solo)
    np.testing.assert_array_equal(named.t, written.t)
    assert 0 < a.metrics[0] < 50
    assert a.metrics == b.metrics
    assert a.loss == pytest.approx(b.loss, rel=1e-5)


@pytest.mark.parametrize("n_out", [3, 20])
def test_labels_that_were_changed_after_the_check_do_no_harm(n_out, dtype):
    # They count as the nearest class; above all nothing is written elsewhere.
    arch = architecture([4, 9, n_out], loss="softmax_crossentropy", dtype=dtype)
    wild, tame = problem(arch, 40), problem(arch, 40)
    wild.labels[::3] = [10**12, n_out, -1, -(10**12)] * 3 + [n_out + 1] * 2
    tame.labels[:] = np.clip(wild.labels, 0, n_out - 1)
    a, b = engine(arch), engine(arch)
    assert train(a, wild, metrics=(ids.ACCURACY,)) == train(b, tame, metrics=(ids.ACCURACY,))
    assert a.params.tobytes() == b.params.tobytes()


def test_two_metrics_in_training():
    both = (ids.MEAN_ABSOLUTE_ERROR, ids.ACCURACY)
    for n_out in (3, 20):
        arch = architecture([4, 9, n_out], loss="binary_crossentropy")
        compare(arch, 90, batch=25, epochs=2, metrics=both, weighted=True)
        compare(arch, 90, batch=25, epochs=2, metrics=both[::-1])
        compare(arch, 90, batch=25, epochs=2, metrics=both[1:])


@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid", "elu"])
@pytest.mark.parametrize(
    "sizes", [(5, 7, 3), (1, 1), (3, 40, 3), (2, 300, 8, 200, 1), (100, 4), (8, 16, 16, 16, 5)], ids=str
)
def test_prediction(sizes, hidden, team):
    for output in ("identity", "softmax", "tanh"):
        arch = architecture(sizes, hidden=hidden, output=output)
        made = engine(arch, n_threads=team.n_threads)
        net = net_of(made)
        for n in (1, 2, 127, 128, 129, 1000):
            x = problem(arch, n).x
            np.testing.assert_allclose(made.predict(x, team.n_threads), naive.predict(net, x), rtol=1e-11, atol=1e-13)


def test_prediction_of_no_rows(team, dtype):
    arch = architecture([3, 4, 2], dtype=dtype)
    made = engine(arch, n_threads=team.n_threads)
    assert made.predict(np.empty((0, 3), dtype), team.n_threads).shape == (0, 2)


def test_a_row_is_predicted_alike_alone_and_among_others(team, dtype):
    arch = architecture([7, 33, 17, 3], hidden="tanh", output="softmax", dtype=dtype)
    made = engine(arch, n_threads=team.n_threads)
    x = problem(arch, 300).x
    together = made.predict(x, team.n_threads)
    for n in (1, 2, 5, 33, 131):
        np.testing.assert_array_equal(made.predict(x[:n].copy(), team.n_threads), together[:n])
    for r in range(0, 300, 37):
        np.testing.assert_array_equal(made.predict(x[r : r + 1].copy(), team.n_threads), together[r : r + 1])


# --------------------------------------------------------------------------------------------- what stays zero


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_padding_stays_zero(optimizer, n_threads, dtype):
    for sizes, hidden in [((5, 7, 17, 3), "sigmoid"), ((1, 1), "relu"), ((3, 260, 9), "elu"), ((33, 256, 2), "tanh")]:
        arch = architecture(sizes, hidden=hidden, penalty=(1e-3, 1e-2), dtype=dtype)
        made = engine(arch, n_threads=n_threads)
        train(made, problem(arch, 50), batch=16, epochs=3, optimizer=optimizer, n_threads=n_threads)
        assert not padding_of(made, made.params).any()
        for slot in made.slots:
            assert not padding_of(made, slot).any()
        for view in (*made.weights(), *made.biases()):
            assert view.all()


# ------------------------------------------------------------------------------------------- weights from outside


@pytest.mark.parametrize("n_threads", [1, 2])
def test_weights_written_between_epochs_are_used(n_threads):
    # The transposed copy of W, used for the deltas, must follow.
    arch = architecture([5, 9, 17, 3], hidden="tanh")
    made = engine(arch, n_threads=n_threads)
    rows = problem(arch, 40)
    net = net_of(made)
    rule = naive.Optimizer(ids.ADAM, RATES[ids.ADAM][0], RATES[ids.ADAM][1:])
    for epoch in range(4):
        for k in range(3):
            value = np.random.default_rng([epoch, k]).standard_normal(net.weights[k].shape) / 3
            made.weights()[k][:] = value
            net.weights[k][:] = value
        made.biases()[1][:] = net.biases[1][:] = epoch
        train(made, rows, n_threads=n_threads)
        naive.train_epoch(net, *rows.oracle(), batch=8, optimizer=rule)
        assert_same_net(made, net, 1e-11)


def test_gradient_uses_weights_as_they_are_now(solo):
    arch = architecture([5, 9, 17, 3], hidden="tanh")
    made = engine(arch)
    rows = problem(arch, 40)
    made.gradient(rows.data(), team=solo)
    made.weights()[1][:] *= -2
    made.weights()[2][:] += 0.5
    _, d_weights, _ = made.gradient(rows.data(), team=solo)
    for a, b in zip(d_weights, naive.gradient(net_of(made), *rows.oracle())[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_slots_can_be_started_anew():
    arch = architecture([3, 5, 2])
    made, fresh = engine(arch), engine(arch)
    rows = problem(arch, 30)
    train(made, rows)
    start = engine(arch).params.copy()
    made.params[:] = start
    made.reset_slots(2)
    assert made.steps_done == 0
    train(made, rows)
    train(fresh, rows)
    assert made.params.tobytes() == fresh.params.tobytes()
    made.reset_slots(0)
    assert made.slots.shape == (0, made.params.size)
    train(made, rows, optimizer=ids.SGD)


# ------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("chunk", [None, 8])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_loss_that_is_not_finite_leaves_the_weights_before_the_step(n_threads, chunk, dtype):
    limits = WorkspaceLimits(min_chunk=chunk, chunk_bytes=1) if chunk else WORKSPACE_LIMITS
    arch = architecture([4, 9, 3], hidden="identity", dtype=dtype)
    made = engine(arch, n_threads=n_threads, limits=limits)
    rows = problem(arch, 400)
    states = [(made.params.copy(), made.slots.copy(), 0)]

    def remember(rows_done, sums):
        states.append((made.params.copy(), made.slots.copy(), made.steps_done))

    sums = train(
        made, rows, batch=20, optimizer=ids.MOMENTUM, rates=(1e3 if dtype == np.float32 else 1e8, 0.9),
        n_threads=n_threads, slice_steps=1, on_slice=remember,
    )[0]  # fmt: skip
    assert sums.status == tables.LOSS_NOT_FINITE
    assert len(states) > 1, "diverged in the first step; the test wants some good ones"
    params, slots, steps = states[-1]
    assert made.params.tobytes() == params.tobytes()
    assert made.slots.tobytes() == slots.tobytes()
    assert made.steps_done == sums.steps == steps
    assert np.isfinite(made.params).all()
    assert np.isfinite(sums.loss)


def test_a_nan_in_the_data_is_a_loss_that_is_not_finite(team, dtype):
    for n_out, loss in [
        (3, "squared_error"),
        (20, "squared_error"),
        (3, "softmax_crossentropy"),
        (20, "softmax_crossentropy"),
    ]:
        arch = architecture([4, 9, n_out], hidden="tanh", loss=loss, dtype=dtype)
        made = engine(arch, n_threads=team.n_threads)
        rows = problem(arch, 64)
        rows.x[37, 2] = np.nan
        before = []

        def remember(rows_done, sums, before=before, made=made):
            before.append(made.params.copy())

        sums = train(
            made, rows, batch=8, n_threads=team.n_threads, team=team, slice_steps=1, on_slice=remember
        )[0]  # fmt: skip
        assert sums.status == tables.LOSS_NOT_FINITE
        assert sums.steps == 4
        assert made.params.tobytes() == before[-1].tobytes()
        assert made.evaluate(rows.data(), metrics=(), team=team).status == tables.LOSS_NOT_FINITE


@pytest.mark.parametrize("labels", [False, True], ids=["rows", "labels"])
@pytest.mark.parametrize("n_out", [3, 20])
def test_a_nan_weight_is_not_overlooked(n_out, labels, solo, dtype):
    # One class's logit is NaN; that of the label is finite.
    arch = architecture([2, n_out], loss="softmax_crossentropy", dtype=dtype)
    made = engine(arch)
    made.weights()[0][:, 1] = np.nan
    rows = problem(arch, 20, labels=labels)
    rows.t[:] = 0
    rows.t[:, 0] = 1
    rows.labels[:] = 0
    evaluated = made.evaluate(rows.data(), metrics=(), team=solo).status
    assert (evaluated, train(made, rows)[0].status) == (tables.LOSS_NOT_FINITE, tables.LOSS_NOT_FINITE)


@pytest.mark.parametrize("chunk", [None, 8])
def test_weights_that_would_not_stay_finite_keep_their_values(chunk, team, dtype):
    limits = WorkspaceLimits(min_chunk=chunk, chunk_bytes=1) if chunk else WORKSPACE_LIMITS
    arch = architecture([4, 9, 3], hidden="tanh", dtype=dtype)
    made = engine(arch, n_threads=team.n_threads, limits=limits)
    rows = problem(arch, 60)
    rows.x[:, 0] *= 1e-6
    rows.t *= 1e6
    # The rate is such that most updates overflow, but not that of the column whose gradient is a millionth.
    biggest = float(np.finfo(dtype).max)
    _, d_weights, _ = made.gradient(as_data(rows.x[:20], rows.t[:20], rows.labels, rows.sample_weight), team=team)
    rate = biggest / float(np.abs(d_weights[0][1:]).max()) * 10
    before = [w.copy() for w in made.weights()]
    sums = train(
        made, rows, batch=20, optimizer=ids.SGD, rates=(rate,), n_threads=team.n_threads, team=team
    )[0]  # fmt: skip
    assert sums.status == tables.WEIGHTS_NOT_FINITE
    assert sums.steps == made.steps_done == 1
    assert np.isfinite(made.params).all()
    kept = made.weights()[0] == before[0]
    assert kept[1:].any()
    assert not kept[0].all()
    assert not padding_of(made, made.params).any()


def test_training_goes_on_after_a_divergence(solo):
    arch = architecture([4, 9, 3])
    made, other = engine(arch), engine(arch)
    rows = problem(arch, 40)
    assert train(made, rows, rates=(1e300, 0.9, 0.999, 1e-8), batch=40)[0].status == tables.OK
    assert train(made, rows, rates=(1e300, 0.9, 0.999, 1e-8), batch=40)[0].status != tables.OK
    made.params[:] = other.params
    made.reset_slots(2)
    assert train(made, rows)[0].status == tables.OK
    train(other, rows)
    assert made.params.tobytes() == other.params.tobytes()


# ---------------------------------------------------------------------------------------------- slices and pace


def test_slices_report_their_progress():
    arch = architecture([3, 4, 2])
    made = engine(arch)
    rows = problem(arch, 50)
    seen = []

    def look(rows_done, sums):
        seen.append((rows_done, sums.steps, sums.weight))

    sums = train(made, rows, batch=8, slice_steps=2, on_slice=look)[0]
    assert seen == [(16, 2, 16.0), (32, 4, 32.0), (48, 6, 48.0), (50, 7, 50.0)]
    assert sums.steps == made.steps_done == 7
    seen.clear()
    train(made, rows, batch=8, slice_steps=1000, on_slice=look)
    assert seen == [(50, 7, 50.0)]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares"])
def test_each_step_may_have_its_own_rate_and_report_its_loss(loss, n_threads, dtype):
    arch = architecture([3, 4, 2], loss=loss, dtype=dtype)
    rows = problem(arch, 30, weighted=True)
    step_rates, step_losses = np.array([0.01, 0.0, 0.02, 0.03]), np.full(4, np.nan)
    made, plain = engine(arch, n_threads=n_threads), engine(arch)
    train(made, rows, n_threads=n_threads, step_rates=step_rates, step_losses=step_losses, slice_steps=3)
    data = rows.data()
    for k, rate in enumerate(step_rates):  # the same steps one by one, each with a rate of its own
        part = slice(8 * k, 8 * k + 8)
        four = [a[part] if len(a) else a for a in data[:4]]
        _, *settings = RATES[ids.ADAM]
        with ThreadTeam(1) as solo:
            sums = plain.train_epoch(
                as_data(*four), StepOptions(ids.ADAM, (rate, *settings)), RunOptions(8), team=solo
            )
        assert step_losses[k] == pytest.approx(sums.loss / sums.weight, rel=1e-6)
    for a, b in zip(made.weights(), plain.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["whole", "chunks", "shards"])
def test_penalties_may_depend_on_the_weight_of_the_batch(kind, clip_norm, dtype):
    arch = architecture([3, 4, 2], penalty=(0.01, 0.02), dtype=dtype)
    limits = {} if kind == "whole" else {"limits": LIMITS_OF[kind]}
    n_threads = 1 if kind == "whole" else 2
    rows = problem(arch, 240, weighted=True)
    rows.sample_weight[64:128] *= 1e-6
    rows.sample_weight[128:192] = 0.0
    made, plain = engine(arch, n_threads=n_threads, **limits), engine(arch, **limits)
    step_penalties = np.full(4, np.nan)
    train(made, rows, batch=64, n_threads=n_threads, penalty_weight=50.0, step_penalties=step_penalties,
          clip_norm=clip_norm)  # fmt: skip
    data = rows.data()
    for k, part in enumerate(slice(64 * k, 64 * k + 64) for k in range(4)):
        factor = {1: 1000.0, 2: 1.0}.get(k) or 50.0 / float(data.sample_weight[part].sum(dtype=np.float64))
        plain.set_penalties(((factor * 0.01, factor * 0.02),) * 2)
        with ThreadTeam(1) as solo:
            sums = plain.train_epoch(
                as_data(*(a[part] if len(a) else a for a in data[:4])), StepOptions(ids.ADAM, RATES[ids.ADAM],
                clip_norm=clip_norm), RunOptions(64), team=solo,
            )  # fmt: skip
        assert step_penalties[k] == pytest.approx(sums.penalty, rel=1e-12)
    for a, b in zip(made.weights(), plain.weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == np.float32 else 1e-12)


class Interrupted(ThreadTeam):
    """A team in which Ctrl-C is noticed as soon as a kernel has returned."""

    def run(self, *args, **options):
        super().run(*args, **options)
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["between slices", "when the kernel returns"])
def test_an_epoch_that_is_interrupted_has_done_the_steps_it_says(where):
    arch = architecture([3, 4, 2])
    rows = problem(arch, 50)
    stopped, short = engine(arch), engine(arch)

    def interrupt(rows_done, sums):
        raise KeyboardInterrupt

    with ThreadTeam(1) if where == "between slices" else Interrupted(1) as crew, pytest.raises(KeyboardInterrupt):
        train(stopped, rows, batch=8, slice_steps=3, on_slice=interrupt, team=crew)
    first = problem(arch, 50)
    first.x, first.t = first.x[:24], first.t[:24]
    train(short, first, batch=8)
    assert stopped.params.tobytes() == short.params.tobytes()
    assert stopped.steps_done == short.steps_done == 3
    # And it goes on from there, Adam's count of updates included.
    train(stopped, rows, batch=8)
    train(short, rows, batch=8)
    assert stopped.params.tobytes() == short.params.tobytes()


def timed(pace, seconds_a_step, slices=200, steps_left=None):
    """Feed a pace with made-up times; return the slices that it asked for."""
    asked = []
    for _ in range(slices):
        n_threads, count = pace.next()
        assert count >= 1
        steps = count if steps_left is None else min(count, steps_left)
        asked.append((n_threads, steps))
        pace.learn(n_threads, steps, steps * seconds_a_step[n_threads])
    return asked


def share(asked, n_threads):
    """Return the share of the steps that were run with a number of threads."""
    return sum(steps for n, steps in asked if n == n_threads) / sum(steps for _, steps in asked)


@pytest.mark.parametrize("seconds", [2e-5, 1e-4, 1e-2])
def test_pace_keeps_to_the_faster_number_of_threads(seconds):
    for faster in (1, 2):
        times = {1: seconds, 2: seconds, faster: seconds / 2}
        assert share(timed(SliceTuner(2), times), faster) > 0.9
    assert share(timed(SliceTuner(1), {1: seconds}), 1) == 1


@pytest.mark.parametrize("seconds", [2e-5, 3e-4, 1e-3])
def test_what_a_slice_costs_besides_its_steps_does_not_decide(seconds):
    # All threads must be woken, and the parameters move to their caches: of a slice of one step that is a large part.
    pace, done = SliceTuner(2), {1: 0, 2: 0}
    for _ in range(200):
        n_threads, steps = pace.next()
        done[n_threads] += steps
        pace.learn(n_threads, steps, steps * seconds if n_threads == 1 else 2e-4 + 0.6 * steps * seconds)
    assert done[2] > 0.9 * sum(done.values())


@pytest.mark.parametrize(("seconds", "steps"), [(1e-6, 100_000), (1e-5, 1900), (1e-4, 190), (1e-3, 19)])
def test_short_steps_and_short_trainings_start_no_thread(seconds, steps):
    pace = SliceTuner(2)
    while steps > 0:
        n_threads, count = pace.next()
        assert n_threads == 1
        pace.learn(1, min(count, steps), min(count, steps) * seconds)
        steps -= count


@pytest.mark.parametrize("slower", [1.1, 3.0, 100.0])
def test_a_comparison_costs_little(slower):
    # 100 ms of steps of 20 us: what all threads cost more is bounded by about the time of one comparison.
    asked = timed(SliceTuner(2), {1: 2e-5, 2: slower * 2e-5}, slices=60)
    ahead, wasted = 0, 0.0
    for n_threads, steps in asked:
        ahead += steps
        wasted += (slower - 1.0) * 2e-5 * steps if n_threads == 2 else 0.0
        if ahead * 2e-5 > 0.04:
            break
    assert 0.0 < wasted < max(4e-4, 20 * slower * 2e-5)


@pytest.mark.parametrize("seconds", [0.02, 1.0])
def test_a_comparison_of_long_steps_takes_one(seconds):
    asked = timed(SliceTuner(2), {1: seconds, 2: 1.2 * seconds}, slices=20)
    assert [n for n, _ in asked].count(2) <= 2  # one that starts the threads, and one that is compared
    assert (2, 1) in asked


def test_threads_that_come_late_end_the_comparison():
    pace = SliceTuner(2)
    while pace.next()[0] == 1:
        steps = pace.next()[1]
        pace.learn(1, steps, steps * 1e-4)
    pace.learn(2, pace.next()[1], 0.02)  # the first slice of both: other programs use the processors
    assert pace.next()[0] == 1
    assert share(timed(pace, {1: 1e-4, 2: 5e-5}, slices=400), 2) > 0.5  # later they come at once


def test_pace_notices_when_the_other_becomes_faster():
    pace = SliceTuner(2)
    assert share(timed(pace, {1: 1e-4, 2: 2e-4}), 1) > 0.9
    assert share(timed(pace, {1: 4e-4, 2: 2e-4})[50:], 2) > 0.9


def test_pace_can_be_set_to_use_all():
    assert share(timed(SliceTuner(2, or_one=False), {2: 1.0}, slices=20), 2) == 1


@pytest.mark.parametrize("seconds", [1e-6, 1e-4, 1e-2, 1.0])
def test_pace_looks_up_every_so_often(seconds):
    asked = timed(SliceTuner(1), {1: seconds})
    assert asked[0] == (1, 1)
    assert asked[-1][1] == max(1, round(SLICE / seconds))


def test_pace_starts_carefully_and_is_not_misled_by_compilation():
    pace = SliceTuner(2)
    pace.learn(1, 1, 8.0)  # the first call compiled
    asked = timed(pace, {1: 1e-5, 2: 3e-5})
    assert asked[0][1] <= 4
    assert share(asked, 1) > 0.9


def test_pace_is_not_troubled_by_an_empty_slice():
    pace = SliceTuner(2)
    for _ in range(3):
        pace.learn(1, 0, 0.0)
    assert pace.next() == (1, 1)


@pytest.mark.parametrize("seconds", [1e-4, 5e-3, 5e-2])
def test_pace_tries_the_team_when_each_epoch_is_one_step(seconds):
    # Full-batch descent: however long a slice may be, there is one step in it.
    assert share(timed(SliceTuner(2), {1: seconds, 2: seconds / 2}, slices=1000, steps_left=1), 2) > 0.7


def test_the_clock_chooses_but_the_result_is_the_same(dtype):
    arch = architecture([6, 40, 3], dtype=dtype)
    rows = problem(arch, 200)
    fixed, free = engine(arch, n_threads=2), engine(arch, n_threads=2)
    train(fixed, rows, epochs=5)
    with ThreadTeam(2) as team:
        for _ in range(5):
            free.train_epoch(rows.data(), StepOptions(ids.ADAM, RATES[ids.ADAM]), RunOptions(8), team=team)
    assert free._workspaces["train"].pace(2)._is_warm, "what was learnt of the speed was not kept"
    assert free.params.tobytes() == fixed.params.tobytes()


# --------------------------------------------------------------------------------------- memory and compilation


@pytest.mark.skipif(
    JIT_DISABLED or not (IS_X86 or IS_AARCH64), reason="only compiled code, on x86 and AArch64, flushes subnormals"
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_subnormal_slots_become_zero_in_the_kernel_and_nowhere_else(n_threads, dtype):
    arch = architecture([3, 4, 1], dtype=dtype)
    made = engine(arch, n_threads=n_threads)
    rows = problem(arch, 16)
    rows.x[:, 0] = 0.0  # no gradient for the weights of this column
    tiny = np.finfo(dtype).smallest_subnormal * 1000
    _, weights, _ = made.named_views()[1]
    weights[0][0] = tiny
    train(made, rows, batch=16, n_threads=n_threads)
    assert (weights[0][0] == 0.0).all()
    assert weights[0][1:].all()
    assert np.array([tiny], dtype) * np.ones(1, dtype) == tiny


@kernel
def allocating(n, out):
    """Compiled code that does what an epoch must not."""
    for k in range(n):
        a = np.empty(n + k)
        a[k] = k
        out[0] += a[k]


@pytest.mark.skipif(JIT_DISABLED, reason="Python allocates")
def test_no_kernel_can_allocate():
    # They are compiled without Numba's runtime, which is what counts references and gives memory.
    with pytest.raises(numba.core.errors.TypingError, match="empty"):
        allocating(1, np.zeros(1))
    for entry in (train_kernel, predict_kernel):
        assert entry.targetoptions["_nrt"] is False


def element_types(signatures):
    return [str(getattr(signature[0], "types", signature)[0].dtype) for signature in signatures]


def test_another_net_compiles_nothing(tmp_path, dtype):
    rows = problem(architecture([5, 3], dtype=dtype), 30)
    train(engine(architecture([5, 3], dtype=dtype)), rows)
    with ThreadTeam(1) as team:
        engine(architecture([5, 3], dtype=dtype)).predict(rows.x, team.n_threads)
    before = len(train_kernel.signatures), len(predict_kernel.signatures)
    count = 0
    for sizes in ((5, 3), (5, 1), (5, 40, 20), (5, 6, 7, 8, 9, 3)):
        for hidden, loss in [
            ("relu", "squared_error"),
            ("elu", "softmax_crossentropy"),
            ("tanh", "binary_crossentropy"),
        ]:
            arch = architecture(sizes, hidden=hidden, loss=loss, dtype=dtype, use_bias=count % 2 == 0)
            n_threads = 1 + count % 2
            made = engine(arch, n_threads=n_threads, n_slots=count % 3)
            rows = problem(arch, 30, weighted=count % 3 == 0, labels=count % 2 == 0)
            if count % 4 == 1:
                path = tmp_path / f"{count}.npy"
                np.save(path, rows.x)
                rows.x = np.load(path, mmap_mode="r")
            if count % 4 == 2:
                rows.x.flags.writeable = False
                rows.t.flags.writeable = False
            optimizer = [ids.SGD, ids.RMSPROP, ids.ADAM][count % 3]
            sums = train(made, rows, n_threads=n_threads, optimizer=optimizer, seed=count if count % 2 else None)
            assert sums[0].status == tables.OK
            with ThreadTeam(n_threads) as team:
                made.evaluate(rows.data(), metrics=(ids.ACCURACY,), team=team)
                made.gradient(rows.data(), team=team)
                made.predict(rows.x, team.n_threads)
            count += 1
    assert (len(train_kernel.signatures), len(predict_kernel.signatures)) == before
    for compiled in (train_kernel, predict_kernel):
        types = element_types(compiled.signatures)
        assert len(types) == len(set(types)), "two specialisations for one type of numbers"


def test_data_is_passed_on_without_a_copy(dtype):
    arch = architecture([5, 3], dtype=dtype)
    rows = problem(arch, 30, weighted=True)
    order = np.arange(30)
    data = rows.data(order)
    assert np.shares_memory(data.features, rows.x)
    assert np.shares_memory(data.targets, rows.t)
    assert np.shares_memory(data.sample_weight, rows.sample_weight)
    assert np.shares_memory(data.order, order)
    assert not any(a.flags.writeable for a in data)
    assert rows.x.flags.writeable, "the caller's own array was locked"


def test_flops_are_those_that_are_needed():
    arch = architecture([784, 128, 64, 10])
    products = [784 * 128, 128 * 64, 64 * 10]
    assert arch.flops_per_row(training=False) == 2 * sum(products)
    assert arch.flops_per_row(training=True) == 4 * products[0] + 6 * sum(products[1:])
    assert architecture([7, 3]).flops_per_row(training=True) == 4 * 21
