"""A counter-based generator: a random number is a function of (seed, stream, counter) and of nothing else.

So the order of rows depends on the seed and the epoch alone, not on threads, slices or what ran before.
The mixer is SplitMix64's (G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom Number Generators, 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.jit import inline, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@inline
def mix(x: Any) -> Any:
    """64 well mixed bits of 64 bits."""
    x = (x ^ (x >> S30)) * MIX_1
    x = (x ^ (x >> S27)) * MIX_2
    return x ^ (x >> S31)


@inline
def random_bits(key: Any, counter: Any) -> Any:
    """64 random bits for a counter; `key` comes from `stream_key`."""
    return mix(key + (counter + np.uint64(1)) * GOLDEN)


@inline
def stream_key(seed: int, stream: int) -> Any:
    """Key of one of the independent streams of a seed."""
    return mix(mix(np.uint64(seed)) + np.uint64(stream) * GOLDEN)


@kernel
def shuffle(order: Any, seed: int, epoch: int) -> None:
    """Overwrite `order` as `permute` does."""
    permute(order, seed, epoch)


@inline
def permute(order: Any, seed: int, epoch: int) -> None:
    """Overwrite `order` (int64, (n,), n < 2^32) with the permutation of 0..n-1 of this seed and epoch.

    Fisher and Yates's shuffle; the draw from 0..i is the upper half of a 32 x 32 bit product, whose bias is
    below n / 2^32.
    """
    n = order.size
    key = stream_key(seed, epoch)
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        bits = random_bits(key, np.uint64(i)) >> S32
        j = np.int64((bits * np.uint64(i + 1)) >> S32)
        swapped = order[i]
        order[i] = order[j]
        order[j] = swapped
