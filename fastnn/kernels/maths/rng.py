"""Counter-based random numbers: each is a function of (seed, stream, counter) alone.

So the order of rows is a function of seed and epoch, independent of threads, slices and earlier runs.
The mixer is SplitMix64's (G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom Number Generators, 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastnn.kernels.lang.compiler import device_function, kernel
from fastnn.kernels.lang.simd import Vector, element_of, llvm_vector, n_lanes, op

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


#: Multipliers of C. Wellons's 32-bit mixer "lowbias32" (2018), and the odd number nearest to 2^32 / golden ratio.
_MIX = (0x7FEB352D, 0x846CA68B)
_STEP = 0x9E3779B9
#: Random bits per number: those of a float32 significand (24), and all bits but the sign.
_RANDOM_BITS = {4: 24, 8: 31}


def _type_uniform(like: Any, key: Any, counter: Any) -> Any:
    vector = like if isinstance(like, Vector) else Vector(element_of(like)) if element_of(like) is not None else None
    return None if vector is None else vector(like, types.uint64, types.int64)


@op(_type_uniform)
def uniform(like: Any, key: Any, counter: Any) -> Any:
    """Return a vector of random numbers in [0, 1): lane i is a function of the key and of counter + i (mod 2^32) alone.

    Two rounds of a 32-bit mixer; `like` is a pointer or vector of the type of the result.
    """
    n = n_lanes(like.dtype)
    mask = np.uint64(0xFFFFFFFF)
    x = (np.uint64(int(counter) & 0xFFFFFFFF) + np.arange(n, dtype=np.uint64)) & mask
    key = int(key)
    x = (x * np.uint64(_STEP) + np.uint64(key & 0xFFFFFFFF)) & mask
    for add in (0, key >> 32):
        x = (x + np.uint64(add)) & mask
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(_MIX[0])) & mask
        x ^= x >> np.uint64(15)
        x = (x * np.uint64(_MIX[1])) & mask
        x ^= x >> np.uint64(16)
    bits = _RANDOM_BITS[like.dtype.itemsize]
    return ((x >> np.uint64(32 - bits)).astype(like.dtype) * like.dtype.type(0.5**bits)).astype(like.dtype)


@uniform.lower
def _lower_uniform(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    _, key, counter = args
    vt = llvm_vector(sig.return_type)
    word = ir.IntType(32)
    low = _all_lanes(builder, builder.trunc(key, word), vt.count)
    high = _all_lanes(builder, builder.trunc(builder.lshr(key, ir.Constant(key.type, 32)), word), vt.count)
    first = _all_lanes(builder, builder.trunc(counter, word), vt.count)
    places = ir.Constant(ir.VectorType(word, vt.count), list(range(vt.count)))
    return _emit_uniform(builder, vt, low, high, builder.add(first, places))


def _all_lanes(builder: Any, scalar: Any, n: int) -> Any:
    """Generate a vector of n lanes with a scalar in each."""
    word = ir.IntType(32)
    nothing = ir.Constant(ir.VectorType(scalar.type, n), ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(word, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(word, n), [0] * n))


def _emit_uniform(builder: Any, vt: Any, low: Any, high: Any, counters: Any) -> Any:
    """Generate numbers in [0, 1) from vectors of 32-bit words: halves of the keys, and counters."""

    def constant(x: int) -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(32), vt.count), [x] * vt.count)

    x = builder.add(builder.mul(counters, constant(_STEP)), low)
    for round_ in range(2):
        if round_:
            x = builder.add(x, high)
        x = builder.xor(x, builder.lshr(x, constant(16)))
        x = builder.mul(x, constant(_MIX[0]))
        x = builder.xor(x, builder.lshr(x, constant(15)))
        x = builder.mul(x, constant(_MIX[1]))
        x = builder.xor(x, builder.lshr(x, constant(16)))
    bits = _RANDOM_BITS[4 if isinstance(vt.element, ir.FloatType) else 8]
    x = builder.lshr(x, constant(32 - bits))  # so the result is not negative
    return builder.fmul(builder.sitofp(x, vt), ir.Constant(vt, [0.5**bits] * vt.count))


def _type_uniform_by_lane(like: Any, keys: Any, counter: Any) -> Any:
    element = element_of(like)
    of_keys = isinstance(keys, types.CPointer) and keys.dtype == types.uint64
    return None if element is None or not of_keys else Vector(element)(like, keys, types.int64)


@op(_type_uniform_by_lane)
def uniform_by_lane(like: Any, keys: Any, counter: Any) -> Any:
    """Return a vector of random numbers in [0, 1): lane i is that of `uniform` for key i and the counter.

    `like` is a pointer of the type of the result; `keys` points to a uint64 per lane.
    """
    n = n_lanes(like.dtype)
    return np.array([uniform(like, key, counter)[0] for key in keys[:n]], like.dtype)


@uniform_by_lane.lower
def _lower_uniform_by_lane(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    _, keys, counter = args
    vt = llvm_vector(sig.return_type)
    word = ir.IntType(32)
    of_words, of_keys = ir.VectorType(word, vt.count), ir.VectorType(ir.IntType(64), vt.count)
    key = builder.load(builder.bitcast(keys, of_keys.as_pointer()), align=8)
    high = builder.lshr(key, ir.Constant(of_keys, [32] * vt.count))
    counters = _all_lanes(builder, builder.trunc(counter, word), vt.count)
    return _emit_uniform(builder, vt, builder.trunc(key, of_words), builder.trunc(high, of_words), counters)


@device_function
def mix(x: Any) -> Any:
    """Return the mixed bits of a 64-bit number (SplitMix64)."""
    x = (x ^ (x >> S30)) * MIX_1
    x = (x ^ (x >> S27)) * MIX_2
    return x ^ (x >> S31)


@device_function
def random_bits(key: Any, counter: Any) -> Any:
    """Return 64 random bits for a counter; `key` is from `stream_key`."""
    return mix(key + (counter + np.uint64(1)) * GOLDEN)


@device_function
def stream_key(seed: int, stream: int) -> Any:
    """Return the key of one of the independent streams of a seed."""
    return mix(mix(np.uint64(seed)) + np.uint64(stream) * GOLDEN)


@kernel
def shuffle(order: Any, seed: int, epoch: int) -> None:
    """Overwrite `order` as `permute` does."""
    permute(order, seed, epoch)


@device_function
def permute(order: Any, seed: int, epoch: int) -> None:
    """Overwrite `order` (int64, (n,), n < 2^32) with the permutation of 0..n-1 of this seed and epoch.

    The Fisher-Yates shuffle; the draw from 0..i is the upper half of a 32 x 32 bit product, whose bias is
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
