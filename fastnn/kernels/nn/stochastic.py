"""Stochastic transforms of a batch: dropout, noise, mixup, and custom augmentation of rows.

Each random number is a function of the seed, the step, the layer and the index of the element, so results depend
neither on threads nor on the partition of a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    call_native,
    lanes,
    load,
    load_scalar,
    select_gt,
    sqrt,
    store,
    store_scalar,
)
from fastnn.kernels.maths.elementary import cos_of_turns, log
from fastnn.kernels.maths.rng import GOLDEN, mix, random_bits, stream_key, uniform

#: Number of random numbers passed to a custom function of a row.
ROW_RANDOMS = 16

# Purposes of the random numbers of a step; dropout of layer k has DROP + k.
MIX_PARTNER = 0
MIX_SHARE = 1
CHANGE = 2
RADIUS = 3
ANGLE = 4
DROP = 5


@device_function
def step_key(seed: int, step: int) -> Any:
    """Return the key of a step; its streams differ from those of the orders of rows."""
    return mix(stream_key(seed, step) ^ np.uint64(0xD1B54A32D192ED03))


@device_function
def key_of(key: Any, purpose: int) -> Any:
    """Return the key of one purpose in a step."""
    return mix(key + np.uint64(purpose) * GOLDEN)


@device_function
def drop(
    key: Any, rate: float, place: int, x: Pointer, ld_x: int, mask: Pointer, out: Pointer, ld: int, rows: int, n: int
) -> None:
    """Overwrite the rows at `out` with those at `x`, each element times 0 (with probability `rate`) or 1 / (1 - rate).

    The factors are written to `mask`; whole vectors of each row of n elements are overwritten. `place` is the first
    row's in the epoch. Inverted dropout (N. Srivastava et al., 2014, section 10).
    """
    v = lanes(x)
    zero = broadcast(x, 0.0)
    limit = broadcast(x, rate)
    scale = broadcast(x, 1.0 / (1.0 - rate))
    for r in range(rows):
        for j in range(0, n, v):
            factor = select_gt(limit, uniform(x, key, (place + r) * n + j), zero, scale)
            store(at(mask, r * ld + j), factor)
            store(at(out, r * ld + j), load(at(x, r * ld_x + j)) * factor)


@device_function
def mask_rows(mask: Pointer, d: Pointer, ld: int, rows: int, n: int) -> None:
    """Multiply n elements (whole vectors) of each row at `d` by those at `mask`."""
    for r in range(rows):
        for j in range(r * ld, r * ld + n, lanes(d)):
            store(at(d, j), load(at(d, j)) * load(at(mask, j)))


@device_function
def random_number(key: Any, counter: int) -> float:
    """Return one number in [0, 1)."""
    return float(random_bits(key, np.uint64(counter)) >> np.uint64(11)) * 2.0**-53


@device_function
def partner_of(data: Any, key: Any, place: int, n_rows: int) -> int:
    """Return the row of the data that is mixed into the one at `place` of the epoch."""
    other = int(random_number(key_of(key, MIX_PARTNER), place) * n_rows)
    return data.order[other] if data.order.size else other


@device_function
def share_of_row(mixing: Any, key: Any, place: int) -> float:
    """Return the share of the row at `place` in its mixture, at least 1/2."""
    share = mixing[int(random_number(key_of(key, MIX_SHARE), place) * mixing.size)]
    return max(share, 1.0 - share)


@device_function
def mix_row(target: Pointer, source: Pointer, share: float, n: int) -> None:
    """Overwrite n elements at `target` with share times themselves plus (1 - share) times those at `source`."""
    for j in range(n):
        store_scalar(at(target, j), share * load_scalar(at(target, j)) + (1.0 - share) * load_scalar(at(source, j)))


@device_function
def augment(plan: Any, data: Any, key: Any, place: int, rows: int, x: Pointer, ld: int, n: int, n_rows: int,
            scratch: Any) -> None:  # fmt: skip
    """Change the features of the rows at `place` of the epoch, which were gathered to `x`: mixture, function, noise.

    Overwrites ROW_RANDOMS elements at `scratch` and n elements of each row.
    """
    v = lanes(x)
    if plan.mixing.size:
        for r in range(rows):
            partner = partner_of(data, key, place + r, n_rows)
            mix_row(at(x, r * ld), at(data.features, partner * n), share_of_row(plan.mixing, key, place + r), n)
    function = plan.run.row_function
    if function != 0:
        for r in range(rows):
            for j in range(0, ROW_RANDOMS, v):
                store(at(scratch, j), uniform(x, key_of(key, CHANGE), (place + r) * ROW_RANDOMS + j))
            row = at(x, r * ld)
            call_native(function, row, scratch, row, n)
    noise = plan.run.noise
    if noise > 0.0:
        # G. Box, M. Muller, 1958: sqrt(-2 ln u) cos(2 pi u').
        one = broadcast(x, 1.0)
        minus_two = broadcast(x, -2.0 * noise * noise)
        for r in range(rows):
            for j in range(0, n, v):
                counter = (place + r) * n + j
                radius = sqrt(minus_two * log(one - uniform(x, key_of(key, RADIUS), counter)))
                normal = radius * cos_of_turns(uniform(x, key_of(key, ANGLE), counter))
                if j + v <= n:
                    p = at(x, r * ld + j)
                    store(p, load(p) + normal)
                else:
                    store(scratch, normal)
                    for i in range(j, n):
                        p = at(x, r * ld + i)
                        store_scalar(p, load_scalar(p) + load_scalar(at(scratch, i - j)))
