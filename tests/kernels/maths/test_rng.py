"""Random numbers as functions of (seed, stream, counter): reproducible, and uniformly distributed."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn._data.rows import shuffled
from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.maths import rng as kernels


@kernel
def bits_of(seed, stream, out):
    key = kernels.stream_key(seed, stream)
    for i in range(out.size):
        out[i] = kernels.random_bits(key, np.uint64(i))


def order_of(n, seed, epoch):
    return shuffled(np.empty(n, np.int64), seed, epoch)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 257, 1000])
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**40 + 7])
def test_shuffle_is_the_written_algorithm(n, seed):
    for epoch in (0, 1, 77):
        assert order_of(n, seed, epoch).tolist() == naive.permutation(n, seed, epoch)


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(n=st.integers(0, 400), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6))
def test_shuffle_is_a_permutation_whatever_the_seed(n, seed, epoch):
    order = order_of(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, order_of(n, seed, epoch))


def test_bits_are_splitmix64():
    # The stream of key 0 is SplitMix64 with state 0, whose first outputs are published.
    assert naive.mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    out = np.empty(100, np.uint64)
    bits_of(9, 4, out)
    key = naive.mix((naive.mix(9) + 4 * naive._GOLDEN) & naive._MASK)
    assert out.tolist() == [naive.mix((key + (i + 1) * naive._GOLDEN) & naive._MASK) for i in range(100)]


def test_seeds_and_epochs_give_different_orders():
    orders = {tuple(order_of(50, seed, epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_each_place_is_as_likely_as_another():
    # 6000 shuffles of 6: each number comes to each place about 1000 times; chi-squared with 25 degrees of freedom
    # exceeds 52.6 once in a thousand times (and this seed does not).
    n, repeats = 6, 6000
    counts = np.zeros((n, n))
    for epoch in range(repeats):
        counts[np.arange(n), order_of(n, 3, epoch)] += 1
    chi_squared = ((counts - repeats / n) ** 2 / (repeats / n)).sum()
    assert chi_squared < 52.6


def test_bits_are_balanced():
    out = np.empty(20_000, np.uint64)
    bits_of(1, 2, out)
    ones = np.array([((out >> np.uint64(k)) & np.uint64(1)).sum() for k in range(64)])
    assert (np.abs(ones - 10_000.0) < 5 * np.sqrt(5_000)).all()
    other = np.empty_like(out)
    bits_of(1, 3, other)
    assert not (out == other).any()
