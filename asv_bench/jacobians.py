"""Jacobians beside JAX and PyTorch: `python -m asv_bench.jacobians` prints a Markdown table.

The Jacobian by the inputs of 10-64-64-3 with tanh, 4,096 rows, one per row: `Model.jacobian`, JAX's
``jit(vmap(jacrev))`` and PyTorch's ``vmap(jacrev)``, of the same weights, with the same number of threads. The calls
take turns; times are medians, and those of compilations are left out. A library that is missing is left out.
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


def peers(model: fastnn.Model, X: np.ndarray, threads: int) -> dict[str, Callable[[], Any]]:
    """Return a call that computes all Jacobians, by library."""
    calls: dict[str, Callable[[], Any]] = {"fastnn": lambda: model.jacobian(X)}
    weights, biases = [w.copy() for w in model.weights], [b.copy() for b in model.biases]
    try:
        import jax

        jax.config.update("jax_enable_x64", True)

        def outputs(x: Any) -> Any:
            for w, b in zip(weights[:-1], biases[:-1], strict=True):
                x = jax.numpy.tanh(x @ w + b)
            return x @ weights[-1] + biases[-1]

        jacobians, rows = jax.jit(jax.vmap(jax.jacrev(outputs))), jax.numpy.asarray(X)
        calls["JAX"] = lambda: jacobians(rows).block_until_ready()
    except ImportError:
        pass
    try:
        import torch

        torch.set_num_threads(threads)
        layers: list[Any] = []
        for w, b in zip(weights, biases, strict=True):
            layer = torch.nn.Linear(*w.shape)
            layer.weight.data, layer.bias.data = torch.from_numpy(w.T.copy()), torch.from_numpy(b)
            layers += [layer, torch.nn.Tanh()]
        net, tensor = torch.nn.Sequential(*layers[:-1]), torch.from_numpy(X)
        batched = torch.func.vmap(torch.func.jacrev(net))
        calls["PyTorch"] = lambda: batched(tensor).detach()
    except ImportError:
        pass
    return calls


def main(*, rows: int = 4096, threads: int = 2, repeats: int = 50) -> list[str]:
    """Return the lines of the table."""
    lines = ["| dtype | library | ms | times fastnn |", "|---|---|---|---|"]
    for dtype in ("float32", "float64"):
        layers = [fastnn.Dense(64, "tanh"), fastnn.Dense(64, "tanh"), fastnn.Dense(3)]
        model = fastnn.Model(layers, loss="squared_error", seed=0, dtype=dtype, n_threads=threads).build(10)
        X = np.random.default_rng(0).standard_normal((rows, 10)).astype(dtype)
        calls = peers(model, X, threads)
        expected = model.jacobian(X)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for name, call in calls.items():
            found = np.asarray(call())
            if not np.allclose(found, expected, rtol=1e-3, atol=1e-4):
                raise RuntimeError(f"{name} has other Jacobians")
        for _ in range(repeats):
            for name, call in calls.items():
                call()  # threads of another library may still spin
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        lines += [
            f"| {dtype} | {name} | {1e3 * value:.2f} | {value / medians['fastnn']:.1f} |"
            for name, value in medians.items()
        ]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # JAX has no other setting
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    print("\n".join(main(**vars(given))))
