"""fastnn and its peers on the same training, interleaved in one run.

    python -m asv_bench.compare [--only tiny,mnist] [--peers jax,torch] [--rounds 9] [--json FILE]

Each round runs an epoch (or some, of tiny nets) of each peer in turn, so that a drift of the machine meets
all. The losses of the first epochs, from the same weights over the same batches, are compared before a time
counts. Printed are medians a step, their spread (quarter to three-quarter point), the ratio to fastnn, and
the share of the FMA peak measured in the same run, counting only the operations that are needed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from typing import Any

import numpy as np

from asv_bench.benchmarks.workloads import TRAINING, Workload
from asv_bench.peers import NEEDS, TRAINERS


def measure(work: Workload, names: list[str], *, rounds: int, n_threads: int) -> dict[str, Any]:
    """Seconds an epoch and losses of each peer; shape of lists (rounds,)."""
    from fastnn.engine import shuffled

    trainers = {}
    for name in names:
        try:
            trainers[name] = TRAINERS[name](work, n_threads)
        except Exception as error:  # a peer that cannot do this work is told, not hidden
            print(f"  {name}: {type(error).__name__}: {error}", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    losses: dict[str, list[float]] = {name: [] for name in trainers}
    warm = 4  # compilation, caches, and fastnn's choice of threads
    for k in range(warm + rounds):
        # All but the first two rounds may take many epochs at once; those two are for comparing losses.
        epochs = 1 if k < 2 else work.epochs
        first = k if k < 2 else 2 + (k - 2) * work.epochs
        orders = [
            np.arange(work.rows) if work.batch == work.rows else shuffled(np.empty(work.rows, np.int64), 0, epoch)
            for epoch in range(first, first + epochs)
        ]
        for name, trainer in trainers.items():
            trainer.prepare(orders)
            start = time.perf_counter()
            found = trainer.run()
            elapsed = time.perf_counter() - start
            if k >= warm:
                seconds[name].append(elapsed / epochs)
            losses[name] += found
    return {"workload": work.to_dict(), "seconds": seconds, "losses": losses}


def check_losses(result: dict[str, Any]) -> dict[str, float]:
    """Largest relative difference of the first two epochs' losses from fastnn's, for each peer."""
    reference = np.array(result["losses"]["fastnn"][:2])
    return {
        name: float(np.max(np.abs(np.array(values[:2]) / reference - 1)))
        for name, values in result["losses"].items()
    }


def table(results: list[dict[str, Any]], peak: float) -> str:
    """Markdown: one row a workload and peer."""
    lines = [
        "| net, batch | | us a step | quarters | time / fastnn's | of FMA peak | loss differs by |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        work = Workload(**{**result["workload"], "sizes": tuple(result["workload"]["sizes"])})
        base = float(np.median(result["seconds"]["fastnn"]))
        differs = check_losses(result)
        for name, values in result["seconds"].items():
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            label = f"{'-'.join(map(str, work.sizes))} {work.activation}, {work.batch}" if name == "fastnn" else ""
            each = 1e6 / work.steps
            lines.append(
                f"| {label} | {name} | {middle * each:.4g} | {low * each:.4g} - {high * each:.4g} "
                f"| {middle / base:.2f} | {100 * work.flops / middle / peak:.0f} % | {differs[name]:.0e} |"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default="", help="names of workloads, separated by commas")
    parser.add_argument("--peers", default="", help="names of packages (jax, torch, sklearn), separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="threads for all; default: all processors")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile, which takes minutes")
    parser.add_argument("--json", default="", help="also write the raw figures there")
    options = parser.parse_args(argv)

    from fastnn.hardware import fma_peak
    from fastnn.team import available_threads

    n_threads = options.threads or available_threads()
    wanted = {"fastnn", *filter(None, options.peers.split(","))} if options.peers else set(NEEDS.values())
    names = [
        name
        for name, package in NEEDS.items()
        if package in wanted
        and importlib.util.find_spec(package)
        and (options.compiled or TRAINERS[name].__name__ != "TorchCompiled")
    ]
    works = [w for w in TRAINING if not options.only or w.name in options.only.split(",")]
    peak = fma_peak("float32", n_threads)
    print(f"{n_threads} threads, FMA peak {peak / 1e9:.0f} GFLOP/s (float32)")
    results = []
    for work in works:
        results.append(measure(work, names, rounds=options.rounds, n_threads=n_threads))
        print(table(results[-1:], peak), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"threads": n_threads, "peak": peak, "results": results}, file)


if __name__ == "__main__":
    main()
