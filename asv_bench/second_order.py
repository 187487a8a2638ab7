"""Second-order methods against Adam: `python -m asv_bench.second_order` prints a Markdown table.

On each problem Adam trains 2,000 epochs with several rates, in batches of 32 and of all rows. L-BFGS and
Levenberg-Marquardt train from the same start weights until they are below the final training error of its best setting;
Levenberg-Marquardt also until it is below that of Adam with default settings (1e-3, 32). Times are medians over the
seeds, without compilation.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

import fastnn

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
BATCHES = (32, None)
USUAL = "0.001, 32"
EPOCHS = 2000
#: Maximum number of iterations of a solver.
MOST_ITERATIONS = 5000


@dataclass(frozen=True)
class Problem:
    """Training rows and the width of the hidden layer."""

    name: str
    X: np.ndarray
    y: np.ndarray
    hidden: int


def problems() -> list[Problem]:
    """Return four small regression problems: smooth, two-dimensional, noisy, of several outputs."""
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, 200)[:, None]
    square = rng.uniform(0, 1, (500, 2))
    noisy = rng.standard_normal((442, 10))
    target = 0.4 * noisy[:, :5].sum(axis=1) + np.tanh(noisy[:, 5] * noisy[:, 6]) + 0.5 * rng.standard_normal(442)
    wide = rng.uniform(-2, 2, (400, 2))
    several = np.column_stack([np.sin(2 * wide[:, 0]), wide[:, 0] * np.cos(wide[:, 1]), wide.prod(axis=1) / 2])
    return [
        Problem("sine, 200 rows, 1-10-1", line, np.sin(5 * line), 10),
        Problem("Franke, 500 rows, 2-20-1", 2 * square - 1, franke(square), 20),
        Problem("noisy, 442 rows, 10-10-1", noisy, target[:, None], 10),
        Problem("three outputs, 400 rows, 2-15-3", wide, several, 15),
    ]


def franke(points: np.ndarray) -> np.ndarray:
    """Compute the test surface of R. Franke (Math. Comp. 38, 1982) at points (n, 2); returns (n, 1)."""
    x, y = (9 * points).T
    z = 0.75 * np.exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4) + 0.75 * np.exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
    z += 0.5 * np.exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4) - 0.2 * np.exp(-((x - 4) ** 2) - (y - 7) ** 2)
    return z[:, None]


class Until(fastnn.Callback):
    """Callback that ends the training at a loss."""

    def __init__(self, loss: float) -> None:
        self.loss = loss

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Stop the training if the loss is at or below the target."""
        self.model.stop_training = logs["loss"] <= self.loss


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def model_of(problem: Problem, optimizer: str | fastnn.optimizers.Optimizer, seed: int, dtype: str) -> fastnn.Model:
    """Return the net of a problem, with the start weights of a seed."""
    layers = [fastnn.Dense(problem.hidden, "tanh"), fastnn.Dense(problem.y.shape[1])]
    return fastnn.Model(layers, loss="squared_error", optimizer=optimizer, seed=seed, dtype=dtype)


def adam(problem: Problem, seed: int, epochs: int) -> dict[str, tuple[float, float]]:
    """Return final error and seconds of each setting, by name."""
    found = {}
    for batch in BATCHES:
        for rate in RATES:
            model = model_of(problem, fastnn.Adam(rate), seed, "float32")
            seconds = timed(lambda m=model, b=batch: m.fit(problem.X, problem.y, epochs=epochs, batch_size=b))
            loss = model.evaluate(problem.X, problem.y)["loss"]
            found[f"{rate:g}, {batch or 'all'}"] = (loss, seconds)
    return found


def solve(problem: Problem, name: str, seed: int, loss: float) -> tuple[float, int]:
    """Return seconds and iterations until a solver is at or below a loss; infinite if it ends above."""
    settings = {
        "lbfgs": fastnn.LBFGS(gtol=0.0, ftol=0.0, max_fun=10 * MOST_ITERATIONS),
        "lm": fastnn.LevenbergMarquardt(gtol=0.0, ftol=0.0),
    }
    model = model_of(problem, settings[name], seed, "float64")
    until = Until(loss)
    seconds = timed(lambda: model.fit(problem.X, problem.y, epochs=MOST_ITERATIONS, callbacks=until))
    return (seconds if model.history["loss"][-1] <= loss else math.inf), len(model.history)


def main(seeds: int = 5, epochs: int = EPOCHS, which: int | None = None) -> list[str]:
    """Measure, print the table, and return its lines; `which` is the number of one problem."""
    chosen = problems() if which is None else problems()[which : which + 1]
    for name in ("lbfgs", "lm"):  # compile, import
        solve(chosen[0], name, 0, math.inf)
    model_of(chosen[0], "adam", 0, "float32").fit(chosen[0].X, chosen[0].y)
    lines = [
        f"| | Adam's error after {epochs:,} epochs (rate, batch) | Adam, ms | L-BFGS, ms | LM, ms | LM, steps "
        "| Adam / LM | Adam's by default | its ms / LM's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    print(*lines, sep="\n", flush=True)
    for problem in chosen:
        rows = []
        for seed in range(seeds):
            found = adam(problem, seed, epochs)
            (loss, seconds), setting = min((value, name) for name, value in found.items())
            usual, usual_seconds = found[USUAL]
            quasi, (newton, steps) = solve(problem, "lbfgs", seed, loss)[0], solve(problem, "lm", seed, loss)
            ratio = usual_seconds / solve(problem, "lm", seed, usual)[0]
            rows.append((loss, seconds, quasi, newton, steps, seconds / newton, usual, ratio, setting))
        middle = [statistics.median(column) for column in list(zip(*rows, strict=True))[:8]]
        common = statistics.mode(row[8] for row in rows)
        times = " | ".join(f"{1e3 * s:.1f}" if math.isfinite(s) else "not reached" for s in middle[1:4])
        lines.append(
            f"| {problem.name} | {middle[0]:.2g} ({common}) | {times} | {middle[4]:.0f} | {middle[5]:.1f} "
            f"| {middle[6]:.2g} | {middle[7]:.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="start weights a problem (%(default)s)")
    main(seeds=parser.parse_args().seeds)
