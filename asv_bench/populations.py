"""Populations beside JAX: `python -m asv_bench.populations` prints a Markdown table.

Nets of one architecture with start weights of their own are trained with Adam on the same rows, in batches of the same
rows in the same order: `Population.fit` with ``order="shared"``, and JAX's ``jit(vmap(scan))``, where a `scan` runs the
steps of an epoch and `vmap` makes them those of all nets. Both have the same number of threads and take turns; times
are medians of ten epochs, compilations left out. The losses of the first ten epochs must agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from asv_bench.benchmarks.populations import POPULATIONS, new_population
from fastnn._data.rows import shuffled

EPOCHS = 10
RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def jax_epoch(population: fastnn.Population, X: Any, y: Any, batch: int, activation: str) -> Callable[[int], Any]:
    """Return a function that trains all nets from an epoch on, by its number, and returns their last losses, (N,)."""
    import jax
    import jax.numpy as jnp

    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    n_layers = len(population[0].weights)
    params = [
        (jnp.stack([m.weights[k] for m in population]), jnp.stack([m.biases[k] for m in population]))
        for k in range(n_layers)
    ]

    def loss(params: Any, x: Any, t: Any) -> Any:
        for w, b in params[:-1]:
            x = act(x @ w + b)
        u = x @ params[-1][0] + params[-1][1]
        if t.ndim == 1 and u.shape[1] > 1:
            return -jax.nn.log_softmax(u)[jnp.arange(len(t)), t].mean()
        return jnp.square(u[:, 0] - t).mean()

    def step(state: Any, rows: Any) -> Any:
        params, first, second, t = state
        value, grad = jax.value_and_grad(loss)(params, X[rows], y[rows])
        t = t + 1.0
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, grad)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, grad)
        scale, root = RATE / (1 - BETA_1**t), jnp.sqrt(1 - BETA_2**t)
        params = jax.tree.map(
            lambda p, m, v: p - scale * m / (jnp.sqrt(v) / root + EPSILON), params, first, second
        )
        return (params, first, second, t), value

    def epoch(state: Any, batches: Any) -> Any:
        state, values = jax.lax.scan(step, state, batches)
        return state, values.mean()

    X, y = jnp.asarray(X), jnp.asarray(y)
    run = jax.jit(jax.vmap(epoch, in_axes=((0, 0, 0, None), None), out_axes=((0, 0, 0, None), 0)))
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, zeros, 0.0)
    order = np.empty(len(X), np.int64)

    def train(first: int) -> Any:
        nonlocal state
        for epoch in range(first, first + EPOCHS):
            batches = shuffled(order, population[0].seed, epoch).reshape(-1, batch)
            state, values = run(state, jnp.asarray(batches))
        return np.asarray(values)

    return train


def compare(name: str, activation: str, threads: int, repeats: int) -> dict[str, float]:
    """Return the microseconds per net and step, by library."""
    population, X, y = new_population(name, activation, threads)
    n_nets, _, batch, rows = POPULATIONS[name]
    other = jax_epoch(population, X, y, batch, activation)

    def mine(first: int) -> Any:
        history = population.fit(X, y, epochs=EPOCHS, batch_size=batch, order="shared", verbose=False)
        return history["loss"][-1]

    seconds: dict[str, list[float]] = {"fastnn": [], "JAX": []}
    for number in range(repeats + 2):
        losses = {}
        for library, call in (("fastnn", mine), ("JAX", other)):
            start = time.perf_counter()
            losses[library] = call(number * EPOCHS)
            if number > 1:  # the first ones compile
                seconds[library].append(time.perf_counter() - start)
        if number == 0 and not np.allclose(losses["fastnn"], losses["JAX"], rtol=1e-3):
            raise RuntimeError(f"JAX has other losses: {losses['JAX'][:3]}, not {losses['fastnn'][:3]}")
    return {key: 1e6 * statistics.median(times) / (n_nets * EPOCHS * (rows // batch)) for key, times in seconds.items()}


def main(*, threads: int = 2, repeats: int = 20) -> list[str]:
    """Return the lines of the table."""
    lines = ["| population | activation | fastnn, us a net and step | JAX | times |", "|---|---|---|---|---|"]
    for name in POPULATIONS:
        for activation in ("tanh", "relu"):
            found = compare(name, activation, threads, repeats)
            times = found["JAX"] / found["fastnn"]
            lines.append(f"| {name} | {activation} | {found['fastnn']:.2f} | {found['JAX']:.2f} | {times:.1f} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # JAX has no other setting
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    print("\n".join(main(**vars(given))))
