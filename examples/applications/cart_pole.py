"""A policy trained in a compiled simulator
========================================

A pole stands on a cart, which is pushed to the left or to the right 50 times per second. The policy is a net: from
place, velocity, angle and angular velocity it computes the logit of a push to the right. The simulator is a function
compiled by Numba that takes the net as an argument (`Model.jit`) and follows its training, so playing costs little.
After each round of episodes the policy gradient is computed from the recorded states, and `Model.train_on_output` makes
the update: the derivative of the expected return by a logit is (action - probability) times the advantage, the return
of the rest of the episode less its mean over the episodes. The picture shows how long the pole stands, round after
round, and the policy with an episode before and one after the training. (R. J. Williams, "Simple statistical
gradient-following algorithms for connectionist reinforcement learning", Machine Learning 8, 1992. Cart and pole: A. G.
Barto, R. S. Sutton, C. W. Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems",
IEEE Transactions on Systems, Man, and Cybernetics 13, 1983.)

Run it with ``python examples/applications/cart_pole.py [picture.png]``.
"""

from __future__ import annotations

import functools
import time

import numba
import numpy as np

import fastnn
from fastnn.script import run_script

#: An episode ends after this number of steps of 0.02 s, or where cart or pole leave these ranges.
LONGEST = 500
LARGEST_PLACE, LARGEST_ANGLE = 2.4, np.deg2rad(12)


@numba.njit(cache=True)
def push(state: np.ndarray, force: float) -> None:
    """Overwrite the state with that after one step of Euler's method."""
    x, v, angle, spin = state
    sine, cosine = np.sin(angle), np.cos(angle)
    common = (force + 0.05 * spin * spin * sine) / 1.1
    angular = (9.8 * sine - cosine * common) / (0.5 * (4.0 / 3.0 - 0.1 * cosine * cosine / 1.1))
    linear = common - 0.05 * angular * cosine / 1.1
    state[0] = x + 0.02 * v
    state[1] = v + 0.02 * linear
    state[2] = angle + 0.02 * spin
    state[3] = spin + 0.02 * angular


@numba.njit(cache=True)
def play(net: fastnn.jit.JitNet, seed: int, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Play episodes, and return the number of steps of each.

    Overwrites `states` (episodes, LONGEST, 4) and `actions` (episodes, LONGEST), up to these steps.
    """
    np.random.seed(seed)
    state, logit = np.empty(4), np.empty(1)
    steps = np.zeros(len(states), np.int64)
    for episode in range(len(states)):
        for i in range(4):
            state[i] = np.random.uniform(-0.05, 0.05)
        for step in range(LONGEST):
            net.predict_row(state, logit)
            action = 1.0 if np.random.random() < 1.0 / (1.0 + np.exp(-logit[0])) else 0.0
            states[episode, step] = state
            actions[episode, step] = action
            push(state, 20.0 * action - 10.0)
            steps[episode] += 1
            if abs(state[0]) > LARGEST_PLACE or abs(state[2]) > LARGEST_ANGLE:
                break
    return steps


def advantages(steps: np.ndarray) -> np.ndarray:
    """Return for each step of each episode the discounted steps that follow, less their mean, over their deviation."""
    times = np.arange(LONGEST)
    played = times < steps[:, None]
    returns = np.where(played, (1 - 0.99 ** (steps[:, None] - times)) / (1 - 0.99), 0.0)
    at_this_time = played.sum(axis=0)
    baseline = returns.sum(axis=0) / np.maximum(at_this_time, 1)
    found = (returns - baseline)[played]
    return found / (found.std() + 1e-9)


def loss(logit: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return minus the weighted sum of the logarithms of the probabilities of what was done, and its derivative."""
    probability = 1 / (1 + np.exp(-logit))
    likelihood = np.where(chosen == 1, probability, 1 - probability)
    return -float(np.sum(weights * np.log(likelihood))), weights * (probability - chosen)


def main(picture: str | None = None, *, rounds: int = 60, episodes: int = 32) -> dict[str, float]:
    """Train a policy; return the mean number of steps of the first and of the last rounds."""
    policy = fastnn.Model(
        [fastnn.Dense(32, "tanh"), 1], loss="binary_crossentropy", optimizer=fastnn.Adam(0.01), dtype="float64", seed=0
    ).build(4)
    net = policy.jit()
    states, actions = np.zeros((episodes, LONGEST, 4)), np.zeros((episodes, LONGEST))
    play(net, 0, states[:1], actions[:1])  # compiles
    untrained = states[0].copy()
    curve, simulated, seconds = [], 0, 0.0
    for number in range(rounds):
        start = time.perf_counter()
        steps = play(net, number + 1, states, actions)
        seconds += time.perf_counter() - start
        simulated += int(steps.sum())
        curve.append(steps)
        played = np.arange(LONGEST) < steps[:, None]
        weights, chosen = advantages(steps)[:, None] / played.sum(), actions[played][:, None]

        policy.train_on_output(states[played], functools.partial(loss, chosen=chosen, weights=weights))
    table = np.array(curve)
    first, last = float(table[:3].mean()), float(table[-3:].mean())
    print(f"steps per episode: {first:.0f} in the first 3 rounds, {last:.0f} in the last 3 of {rounds}")
    print(f"{simulated} steps of the simulator with the net, {1e9 * seconds / simulated:.0f} ns per step")
    if picture:
        after = states[0, : table[-1][0]]
        draw(picture, policy, table, untrained[: np.flatnonzero(np.abs(untrained).sum(axis=1))[-1] + 1], after)
    return {"first": first, "last": last}


def draw(picture: str, policy: fastnn.Model, table: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    """Draw the steps of the episodes, and the policy with one episode before and one after the training."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2)
        shown = np.arange(len(table))
        left.fill_between(shown, table.min(axis=1), table.max(axis=1), alpha=0.2, linewidth=0)
        left.plot(shown, table.mean(axis=1))
        left.annotate("mean", (shown[-1] / 2, table.mean(axis=1)[len(table) // 2]), xytext=(-8, 8), ha="right",
                      textcoords="offset points", color=fastnn.plot.COLORS[1])  # fmt: skip
        left.set(xlabel="round", ylabel=f"steps per episode (mean and range of {table.shape[1]})",
                 ylim=(0, LONGEST * 1.05), title="The pole stands longer")  # fmt: skip
        angles, spins = np.meshgrid(np.linspace(-12, 12, 80), np.linspace(-120, 120, 80))
        zeros = np.zeros(angles.size)
        rows = np.column_stack([zeros, zeros, np.deg2rad(angles.ravel()), np.deg2rad(spins.ravel())])
        chance = 1 / (1 + np.exp(-policy.predict(rows).reshape(angles.shape)))
        mesh = right.pcolormesh(angles, spins, chance, cmap="cividis", vmin=0, vmax=1, rasterized=True)
        figure.colorbar(mesh, ax=right, label="probability of a push to the right")
        for path, colour in ((after, "black"), (before, "white")):
            right.plot(*np.rad2deg(path[:, 2:]).T, color=colour, linewidth=1.2)
        right.set(xlabel="angle (degrees)", ylabel="angular velocity (degrees per second)", xlim=(-12, 12),
                  ylim=(-120, 120), title="An episode before (white) and after (black)")  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
