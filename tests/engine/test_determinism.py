"""The same bits for every number of threads, every slicing, and with other load."""

from __future__ import annotations

import threading

import ids
import numpy as np
import pytest
from driver import ACTIVATIONS, LOSSES, OPTIMIZERS, SMALL_CHUNKS, architecture, engine, problem, train

from fastnn._engine.limits import WORKSPACE_LIMITS
from fastnn._engine.thread_team import ThreadTeam

#: Widths that end before, on and after whole vectors, wide enough for several weight tiles, and nets of one weight.
SIZES = [
    (1, 1),
    (3, 1),
    (2, 16, 16, 2),
    (5, 7, 17, 3),
    (31, 33, 65, 10),
    (64, 128, 30),
    (13, 700, 5),
    (300, 40, 40, 21),
]


def trained(arch, rows, *, n_threads, limits=WORKSPACE_LIMITS, **options):
    """Parameters and slots after training, and the sums of the epochs."""
    made = engine(arch, n_threads=n_threads, limits=limits)
    sums = train(made, rows, n_threads=n_threads, **options)
    return made.params.copy(), made.slots.copy(), sums


def assert_same(a, b):
    assert a[0].tobytes() == b[0].tobytes(), "parameters differ"
    assert a[1].tobytes() == b[1].tobytes(), "slots differ"
    assert a[2] == b[2], "sums differ"


@pytest.mark.parametrize("batch", [1, 7, 32, 100, 173])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_same_bits_for_1_2_and_4_threads(sizes, batch, dtype):
    loss = "softmax_crossentropy" if sizes[-1] > 2 else "squared_error"
    arch = architecture(sizes, loss=loss, penalty=(1e-4, 1e-3), dtype=dtype)
    rows = problem(arch, 173 if batch > 1 else 40, weighted=True)
    options = {"batch": batch, "epochs": 3, "seed": 1, "metrics": (ids.ACCURACY,)}
    alone = trained(arch, rows, n_threads=1, **options)
    assert np.isfinite(alone[0]).all()
    for n_threads in (1, 2, 4):
        assert_same(trained(arch, rows, n_threads=n_threads, **options), alone)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_same_bits_for_each_optimizer(optimizer, dtype):
    arch = architecture((9, 33, 20), hidden="elu", loss="binary_crossentropy", dtype=dtype)
    rows = problem(arch, 90)
    options = {"batch": 32, "epochs": 3, "optimizer": optimizer, "seed": 4}
    alone = trained(arch, rows, n_threads=1, **options)
    for n_threads in (2, 3, 4):
        assert_same(trained(arch, rows, n_threads=n_threads, **options), alone)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("softmax", "exponential")])
@pytest.mark.parametrize("loss", LOSSES)
def test_same_bits_for_each_activation_and_loss(activation, loss):
    arch = architecture((6, 18, 17, 4), hidden=activation, loss=loss, dtype=np.float32)
    rows = problem(arch, 70)
    alone = trained(arch, rows, n_threads=1, batch=33, epochs=2)
    assert_same(trained(arch, rows, n_threads=2, batch=33, epochs=2), alone)


def test_same_bits_when_a_batch_is_cut_into_chunks(dtype):
    arch = architecture((6, 40, 3), dtype=dtype, penalty=(1e-3, 1e-3))
    rows = problem(arch, 211, weighted=True)
    alone = trained(arch, rows, n_threads=1, limits=SMALL_CHUNKS, batch=100, epochs=3, seed=2)
    for n_threads in (2, 4):
        found = trained(arch, rows, n_threads=n_threads, limits=SMALL_CHUNKS, batch=100, epochs=3, seed=2)
        assert_same(found, alone)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_same_bits_however_an_epoch_is_sliced(steps, dtype):
    arch = architecture((6, 18, 3), dtype=dtype)
    rows = problem(arch, 100)
    whole = trained(arch, rows, n_threads=2, batch=9, epochs=2, seed=3)
    cut = trained(arch, rows, n_threads=2, batch=9, epochs=2, seed=3, slice_steps=steps)
    assert cut[0].tobytes() == whole[0].tobytes()
    assert cut[1].tobytes() == whole[1].tobytes()


def test_same_bits_when_the_number_of_threads_changes_on_the_way(dtype):
    arch = architecture((6, 40, 40, 3), dtype=dtype)
    rows = problem(arch, 100)
    steady, changing = (engine(arch, n_threads=4) for _ in range(2))
    train(steady, rows, batch=32, epochs=4)
    with ThreadTeam(4) as team:
        for n_threads in (1, 4, 2, 3):
            train(changing, rows, batch=32, epochs=1, n_threads=n_threads, team=team)
    assert changing.params.tobytes() == steady.params.tobytes()


@pytest.mark.parametrize("sizes", [(5, 40, 3), (5, 7, 17, 30), (70, 8)], ids=str)
def test_gradient_evaluation_and_prediction_have_the_same_bits(sizes, dtype):
    arch = architecture(sizes, loss="softmax_crossentropy", dtype=dtype)
    rows = problem(arch, 1300, weighted=True)
    found = []
    for n_threads in (1, 2, 4):
        made = engine(arch, n_threads=n_threads)
        with ThreadTeam(n_threads) as team:
            sums, d_weights, d_biases = made.gradient(rows.data(), team=team)
            scores = made.evaluate(rows.data(), metrics=(ids.ACCURACY,), team=team)
            outputs = made.predict(rows.x, team.n_threads)
        found.append((sums, scores, [a.tobytes() for a in (*d_weights, *d_biases, outputs)]))
    assert found[0] == found[1] == found[2]


def test_two_runs_give_the_same(dtype):
    arch = architecture((5, 60, 4), loss="softmax_crossentropy", dtype=dtype)
    rows = problem(arch, 150)
    first = trained(arch, rows, n_threads=2, batch=32, epochs=3, seed=8)
    assert_same(trained(arch, rows, n_threads=2, batch=32, epochs=3, seed=8), first)
    other = trained(arch, rows, n_threads=2, batch=32, epochs=3, seed=9)
    assert other[0].tobytes() != first[0].tobytes(), "the seed of the order has no effect"


def test_two_nets_trained_at_the_same_time_do_not_disturb_each_other(dtype):
    cases = []
    for k, sizes in enumerate([(6, 40, 40, 3), (9, 100, 2)]):
        arch = architecture(sizes, dtype=dtype)
        cases.append((arch, problem(arch, 300, seed=k)))
    options = {"batch": 16, "epochs": 10, "seed": 1, "n_threads": 2, "slice_steps": 3}
    one_after_the_other = [trained(*case, **options) for case in cases]
    found = [None, None]

    def work(k):
        found[k] = trained(*cases[k], **options)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for together, alone in zip(found, one_after_the_other, strict=True):
        assert together is not None
        assert_same(together, alone)
