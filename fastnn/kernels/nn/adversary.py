"""Adversarial training: rows that are moved so that their loss rises, within a distance of each feature.

A. Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR, 2018; with one step from a
random start E. Wong, L. Rice, J. Z. Kolter, "Fast is better than free: revisiting adversarial training", ICLR, 2020.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, lanes, load, mask_tail, maximum, minimum, select_gt, store
from fastnn.kernels.maths.rng import uniform
from fastnn.kernels.nn.stochastic import key_of, random_number
from fastnn.kernels.tables import Adversary

# Purposes of the random numbers of a step, above those of dropout in `stochastic`.
START = 1 << 32
CHOICE = START + 1


@device_function
def move_rows(adversary: Adversary, key: Any, place: int, step: int, x: Pointer, slope: Pointer, moves: Pointer,
              ld: int, rows: int, n: int) -> None:  # fmt: skip
    """Move the rows at `x`, which have just been read: to their random start, or one step from where they were.

    Parameters
    ----------
    adversary : Adversary
    key : of the step of training
    place : the first row's in the epoch
    step : number of the move; 0 is the random start
    x : (rows, n), overwritten; padding stays zero
    slope : (rows, n), dE/dX at the rows as they were moved before, of which the signs count; not read at step 0
    moves : (rows, n), overwritten with what was added to the rows; read after step 0
    ld : row stride of all three
    """
    v = lanes(x)
    zero = broadcast(x, 0.0)
    one = broadcast(x, 1.0)
    start = broadcast(x, adversary.start)
    size = broadcast(x, adversary.eps_step)
    most = broadcast(x, adversary.eps)
    low = broadcast(x, adversary.low)
    high = broadcast(x, adversary.high)
    start_key = key_of(key, START)
    choice_key = key_of(key, CHOICE)
    for r in range(rows):
        if random_number(choice_key, place + r) >= adversary.ratio:
            continue
        for j in range(0, n, v):
            i = r * ld + j
            if step == 0:
                u = uniform(x, start_key, (place + r) * n + j)
                move = start * (u + u - one)
            else:
                g = load(at(slope, i))
                move = load(at(moves, i)) + select_gt(g, zero, size, zero) - select_gt(zero, g, size, zero)
                move = maximum(minimum(move, most), zero - most)
            clean = load(at(x, i))
            moved = maximum(minimum(clean + move, high), low)
            store(at(moves, i), moved - clean)
            store(at(x, i), mask_tail(moved, n - j, zero))
