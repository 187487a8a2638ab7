"""Compare fastnn with its peers on the same workloads, interleaved in one run.

    python -m asv_bench.compare SECTION [--only tiny,mnist] [--peers jax,torch]
    python -m asv_bench.compare report FOLDER [--readme README.md]

The sections are `training`, `more`, `mixed`, `inference`, `mixed_inference` and `width`, or `all`. Mixed precision has
peers of its own: fastnn in float32 beside it, PyTorch's autocast and OpenVINO's hint of bfloat16.

Each peer has a process of its own (`peers.worker`), and only one of them runs at a time. In each round each peer has
one turn, so that drift of the machine affects all. A time is valid only if the peer's results agree: the losses of the
first two epochs from the same weights over the same batches, or the outputs of a prediction. A peer that takes more
than ten seconds for one of them is timed by it alone. The figures are written
to comparison.json in the folder ``--out``; `report` creates the tables and the plot from it, and can write them into
a README.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from asv_bench import report
from asv_bench.benchmarks.workloads import (
    INFERENCE,
    MIXED,
    MIXED_INFERENCE,
    MORE,
    TRAINING,
    WIDTHS,
    Inference,
    Workload,
)
from asv_bench.peers import MIXED_PREDICTORS, MIXED_TRAINERS, PREDICTORS, TRAINERS, Peer
from asv_bench.peers.worker import PeerError, Worker, limited_threads

SECTIONS: dict[str, tuple[Workload | Inference, ...]] = {
    "training": TRAINING, "more": MORE, "mixed": MIXED, "inference": INFERENCE, "mixed_inference": MIXED_INFERENCE,
    "width": WIDTHS,
}  # fmt: skip
#: Peers of the sections that have other ones than `TRAINERS`.
PEERS = {"inference": PREDICTORS, "mixed": MIXED_TRAINERS, "mixed_inference": MIXED_PREDICTORS}
#: Maximum relative difference from fastnn's mean loss of an epoch.
LOSS_LIMIT = 1e-2
#: Maximum difference of outputs relative to the largest one. A rounding to bfloat16 is an error of up to 2^-8.
OUTPUT_LIMITS = {"float32": 1e-4, "mixed_bfloat16": 2e-2}
#: Seconds of timed runs per turn.
TURN = 0.15
#: A peer whose epoch or call takes more seconds has no turns, as its time would be most of that of the comparison.
LONGEST = 10.0
#: A time per operation that is this many times that of a narrower net is measured again, at most so often: a wider net
#: has fewer calls per operation, so a disturbance is the cause. Threads that wait for each other by spinning, as those
#: of OpenMP do, take 10 times as long as alone when other work occupies one of their processors.
OUTLIER, REPEATS = 2.0, 3
PACKAGES = (
    "fastnn", "numpy", "numba", "llvmlite", "scipy", "jax", "jaxlib", "torch", "keras", "scikit-learn", "onnx",
    "onnxruntime", "openvino",
)  # fmt: skip


def measure(
    work: Workload | Inference, peers: Iterable[Peer], *, n_threads: int, rounds: int, turn: float = TURN
) -> dict[str, Any]:
    """Measure the peers on a workload, one turn per peer and round.

    Returns
    -------
    dict
        ``"workload"``, and ``"peers"``: for each peer its ``"seconds"`` (of an epoch or a call, one per round),
        ``"losses"`` (of the first two epochs), ``"differs"``, ``"variant"``, ``"note"`` and ``"error"``; a peer
        with an error has no seconds.
    """
    check = Training(work) if isinstance(work, Workload) else Outputs(work)
    found: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    try:
        for peer in peers:
            one = found[peer.name] = {
                "seconds": [],
                "losses": [],
                "differs": None,
                "variant": "",
                "note": "",
                "error": "",
            }
            try:
                workers[peer.name] = worker = Worker(peer.target, work, n_threads)
                one |= worker.about
                check(worker, one)
            except PeerError as error:
                one["error"] = str(error)
            if not one["error"] and check.seconds > LONGEST:
                one |= {"seconds": [check.seconds], "note": f"timed once, as it takes more than {LONGEST:.0f} s"}
            if (one["error"] or one["seconds"]) and peer.name in workers:
                workers.pop(peer.name).close()
        for k in range(rounds):
            names = list(workers)
            first = k % max(1, len(names))  # another order of peers in each round
            for name in names[first:] + names[:first]:
                try:
                    found[name]["seconds"].append(workers[name].ask("sample", turn) / check.units)
                except PeerError as error:
                    found[name] |= {"error": str(error), "seconds": []}
                    workers.pop(name).close()
    finally:
        for worker in workers.values():
            worker.close()
    return {"workload": work.to_dict(), "peers": found}


class Training:
    """Compare losses of the first two epochs with those of the first peer."""

    def __init__(self, work: Workload) -> None:
        from fastnn._data.rows import shuffled

        self.units = work.epochs
        self.orders = [
            np.arange(work.rows) if work.batch == work.rows else shuffled(np.empty(work.rows, np.int64), 0, epoch)
            for epoch in range(2 + work.epochs)
        ]
        self.reference: np.ndarray | None = None
        self.seconds = 0.0  # of the last peer's second epoch; the first one may compile

    def __call__(self, worker: Worker, one: dict[str, Any]) -> None:
        """Record losses, difference and, if it is too large, an error."""
        for order in self.orders[:2]:
            worker.ask("prepare", [order])
            start = time.perf_counter()
            one["losses"].append(worker.ask("run"))
            self.seconds = time.perf_counter() - start
        losses = np.array(one["losses"])
        if self.reference is None:
            self.reference = losses
        one["differs"] = float(np.max(np.abs(losses / self.reference - 1)))
        if not one["differs"] <= LOSS_LIMIT and not one["note"]:
            one["error"] = f"its losses differ by {one['differs']:.1e}"
        worker.ask("prepare", self.orders[2:])


class Outputs:
    """Compare outputs with those computed in double precision."""

    units = 1

    def __init__(self, work: Inference) -> None:
        self.reference = work.outputs()
        self.limit = OUTPUT_LIMITS[work.dtype]
        self.seconds = 0.0  # of the last peer's call

    def __call__(self, worker: Worker, one: dict[str, Any]) -> None:
        """Record the difference and, if it is too large, an error."""
        outputs = np.asarray(worker.ask("run")).reshape(self.reference.shape)  # the first call may compile
        start = time.perf_counter()
        worker.ask("run")
        self.seconds = time.perf_counter() - start
        one["differs"] = float(np.max(np.abs(outputs - self.reference)) / np.max(np.abs(self.reference)))
        if not one["differs"] <= self.limit:
            one["error"] = f"its outputs differ by {one['differs']:.1e}"


def machine(n_threads: int) -> dict[str, Any]:
    """Return processor, versions and commit of the run."""
    from fastnn._engine.system_info import processor_name

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    if versions["fastnn"] == "not installed":  # a checkout
        import fastnn

        versions["fastnn"] = fastnn.__version__
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": n_threads,
        "versions": versions,
    }


def peaks(works: Iterable[Workload | Inference], n_threads: int) -> dict[str, float]:
    """Return the FMA peak of each precision, in operations per second."""
    from fastnn._engine.system_info import bfloat16_peak, fma_peak

    return {
        dtype: bfloat16_peak(n_threads) if dtype == "mixed_bfloat16" else fma_peak(dtype, n_threads)
        for dtype in sorted({work.dtype for work in works})
    }


def run_section(name: str, works: list[Workload | Inference], peers: list[Peer], n_threads: int, rounds: int) -> Any:
    """Measure a section of the report; peers that are not installed are listed as missing."""
    present = [peer for peer in peers if not peer.missing]
    section: dict[str, Any] = {
        **machine(n_threads),
        "rounds": rounds,
        "missing": {peer.name: peer.missing for peer in peers if peer.missing},
        "peaks": [peaks(works, n_threads)],
        "results": [],
    }
    for work in works:
        print(f"{name}: {work.name}", file=sys.stderr, flush=True)
        section["results"].append(measure(work, present, n_threads=n_threads, rounds=rounds))
    if name == "width":
        for _ in range(REPEATS):
            for k, names in outliers(section["results"]).items():
                print(f"{name}: {works[k].name} again, for {', '.join(names)}", file=sys.stderr, flush=True)
                peers_again = [peer for peer in present if peer.name in names or peer.name == present[0].name]
                again = measure(works[k], peers_again, n_threads=n_threads, rounds=rounds)
                keep_faster(section["results"][k], again, names)
        for k, names in outliers(section["results"]).items():
            for peer in names:
                one = section["results"][k]["peers"][peer]
                one["note"] = "slower per operation than at a smaller width, repeatedly"
    section["peaks"].append(peaks(works, n_threads))
    return section


def outliers(results: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Return for each result the peers with more than `OUTLIER` times the time per operation of a narrower net.

    Parameters
    ----------
    results : list of dict
        Of `measure`, in the order of the widths.
    """
    best: dict[str, float] = {}
    found: dict[int, list[str]] = {}
    for k, result in enumerate(results):
        flops = Workload.from_dict(result["workload"]).flops
        for name, one in result["peers"].items():
            if one["seconds"]:
                cost = float(np.median(one["seconds"])) / flops
                if cost > OUTLIER * best.get(name, np.inf):
                    found.setdefault(k, []).append(name)
                best[name] = min(cost, best.get(name, np.inf))
    return found


def keep_faster(result: dict[str, Any], again: dict[str, Any], names: Iterable[str]) -> None:
    """Replace the seconds of peers by those of a second measurement where their median is lower."""
    for name in names:
        seconds = again["peers"][name]["seconds"]
        if seconds and np.median(seconds) < np.median(result["peers"][name]["seconds"]):
            result["peers"][name]["seconds"] = seconds


def wanted_peers(section: str, words: set[str], *, compiled: bool) -> list[Peer]:
    """Return fastnn and the peers whose first package is in `words`; without words all, or the fast ones for widths."""
    return [
        peer
        for peer in PEERS.get(section, TRAINERS)
        if (peer.packages[0] in words if words else section != "width" or peer.fast or peer.slow_start)
        or peer.packages[0] == "fastnn"
        if compiled or not peer.slow_start
    ]


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", nargs="?", default="training", choices=[*SECTIONS, "all", "report"])
    parser.add_argument("folder", nargs="?", type=Path, help="of `report`: where comparison.json is")
    parser.add_argument("--only", default="", help="names of workloads, separated by commas")
    words = sorted({peer.packages[0] for peer in (*TRAINERS, *PREDICTORS)})
    parser.add_argument("--peers", default="", help=f"of {', '.join(words)}, separated by commas; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="threads for all; default: all processors")
    parser.add_argument(
        "--compiled", action="store_true", help="also torch.compile, which takes minutes and a C++ compiler"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the report")
    parser.add_argument("--readme", type=Path, help="of `report`: also put the tables between this file's markers")
    options = parser.parse_args(argv)
    if options.what == "report":
        if options.folder is None:
            parser.error("report needs the FOLDER of comparison.json")
        report.write(options.folder, readme=options.readme)
        return
    asked = {word for word in options.peers.split(",") if word}
    if unknown := asked.difference(words):
        parser.error(f"--peers must be of {', '.join(words)}; got {', '.join(sorted(unknown))}")
    only = {word for word in options.only.split(",") if word}
    if only == {"more"}:
        options.what, only = "more", set()
    sections = list(SECTIONS) if options.what == "all" else [options.what]
    if options.what == "training" and only:
        sections += ["more", "mixed"]  # any training can be selected
    chosen = {name: [work for work in SECTIONS[name] if not only or work.name in only] for name in sections}
    if not any(chosen.values()):
        names = [work.name for name in sections for work in SECTIONS[name]]
        parser.error(f"--only must be of {', '.join(names)}; got {options.only}")

    from fastnn._engine.processors import available_threads

    n_threads = options.threads or available_threads()
    path = options.out / "comparison.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    options.out.mkdir(parents=True, exist_ok=True)
    with limited_threads(n_threads):
        for name, works in chosen.items():
            if works:
                peers = wanted_peers(name, asked, compiled=options.compiled)
                data[name] = run_section(name, works, peers, n_threads, options.rounds)
                path.write_text(report.to_json(data), encoding="utf-8")
                print(report.markdown({name: data[name]}), flush=True)
    report.write(options.out)


if __name__ == "__main__":
    main()
