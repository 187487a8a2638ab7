"""Tables and a plot of the results of `compare`."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from asv_bench.benchmarks.workloads import Inference, Workload

START, END = "<!-- speed -->", "<!-- /speed -->"
#: Of the figure's lines; they differ for people with any colour blindness, too (M. Okabe, K. Ito, 2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
TITLES = {
    "training": "Training",
    "more": "Training, shapes and settings that nothing was tuned for",
    "mixed": "Training in mixed precision",
    "inference": "Inference",
    "mixed_inference": "Inference in mixed precision",
    "width": "Cost against width",
}
#: Sections whose workloads are calls.
INFERENCES = ("inference", "mixed_inference")


def to_json(data: dict[str, Any]) -> str:
    """Format the figures with six digits, one workload per line."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, dict):
            return {key: rounded(v) for key, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    sections = []
    for name, section in rounded(data).items():
        results = ",\n  ".join(json.dumps(result) for result in section["results"])
        rest = json.dumps({key: value for key, value in section.items() if key != "results"})
        sections.append(f'"{name}": {rest[:-1]}, "results": [\n  {results}]}}')
    return "{" + ",\n".join(sections) + "}\n"


def workload(result: dict[str, Any]) -> Workload | Inference:
    """Return the workload of a result."""
    fields = result["workload"]
    return Workload.from_dict(fields) if "batch" in fields else Inference.from_dict(fields)


def label(work: Workload | Inference) -> str:
    """Return the label of a row of a table."""
    net = "-".join(map(str, work.sizes))
    if isinstance(work, Inference):
        special = [] if work.dtype == "float32" else [work.dtype]
        return ", ".join([net, plural(work.rows, "row"), *special])
    hidden = [work.activation] if len(work.sizes) > 2 else []
    special = [word for word in (work.optimizer, work.dtype) if word not in ("adam", "float32")]
    return ", ".join([" ".join([net, *hidden]), f"batch {work.batch}", *special])


def plural(count: int, noun: str) -> str:
    """Format a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def digits(value: float) -> str:
    """Format with three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def microseconds(result: dict[str, Any], name: str) -> np.ndarray | None:
    """Return the quartiles of the time of a step or call, (3,); None if the peer has none."""
    one = result["peers"].get(name)
    if one is None or one["error"] or not one["seconds"]:
        return None
    return np.quantile(one["seconds"], [0.25, 0.5, 0.75]) * 1e6 / getattr(workload(result), "steps", 1)


def best_seconds(result: dict[str, Any], name: str) -> float | None:
    """Return the time of an epoch in a peer's fastest round; None if the peer has none."""
    one = result["peers"].get(name)
    return None if one is None or one["error"] or not one["seconds"] else float(min(one["seconds"]))


def share(section: dict[str, Any], result: dict[str, Any], name: str) -> float:
    """Return the ratio of the required operations to the FMA peak (the maximum of start and end)."""
    work = workload(result)
    peak = max(found[work.dtype] for found in section["peaks"])
    return work.flops / float(np.median(result["peers"][name]["seconds"])) / peak


def peer_names(section: dict[str, Any]) -> list[str]:
    """Return all peers of the results, in order."""
    return list(dict.fromkeys(name for result in section["results"] for name in result["peers"]))


def wide_table(section: dict[str, Any]) -> list[str]:
    """Return a table, one row per workload and one column per peer: time, ratio to fastnn's, the fastest in bold."""
    names = peer_names(section)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for result in section["results"]:
        found = {name: microseconds(result, name) for name in names}
        medians = {name: float(values[1]) for name, values in found.items() if values is not None}
        comparable = [name for name in medians if not result["peers"][name]["note"]]
        best = min(comparable, key=lambda name: medians[name], default="")
        cells = []
        for name in names:
            if name not in medians:
                cells.append("-")
                continue
            text = digits(medians[name])
            if name != "fastnn" and "fastnn" in medians:
                text += f" ({digits(medians[name] / medians['fastnn'])})"
            mark = "*" if result["peers"][name]["note"] else ""
            cells.append(f"**{text}**" if name == best else f"{text}{mark and ' †'}")
        lines.append(f"| {label(workload(result))} | " + " | ".join(cells) + " |")
    return lines


def remarks(section: dict[str, Any]) -> list[str]:
    """Return remarks: where fastnn is not the fastest, which peers are not measured and why."""
    lines, slower, counted = [], [], 0
    for result in section["results"]:
        ours = microseconds(result, "fastnn")
        if ours is None:
            continue
        counted += 1
        others = {}
        for name in result["peers"]:
            values = microseconds(result, name)
            if name != "fastnn" and values is not None and not result["peers"][name]["note"]:
                others[name] = float(values[1] / ours[1])
        best = min(others, key=lambda name: others[name], default="")
        if best and others[best] < 1:
            slower.append(f"{label(workload(result))} ({best}, {digits(others[best])})")
    lines.append(f"- fastnn is the fastest in {counted - len(slower)} of {counted} rows.")
    if slower:
        lines[-1] += f" Faster, with the ratio to fastnn's time: {'; '.join(slower)}."
    reasons: dict[str, list[str]] = {}
    for result in section["results"]:
        for name, one in result["peers"].items():
            if one["error"]:
                reasons.setdefault(f"- {name} is not counted ({one['error']})", []).append(label(workload(result)))
            elif one["note"]:
                reasons.setdefault(f"- † {name}: {one['note']}", []).append(label(workload(result)))
    lines += [f"{reason}: {'; '.join(where)}." for reason, where in reasons.items()]
    lines += [
        f"- {name} was not measured: {', '.join(packages)} not installed."
        for name, packages in section["missing"].items()
    ]
    return lines


def source(section: dict[str, Any]) -> str:
    """Return rounds, threads, machine, peaks and date of a section, as the end of a caption."""
    start, end = section["peaks"]
    peak = "; ".join(f"{dtype} {start[dtype] / 1e9:.0f} and {end[dtype] / 1e9:.0f}" for dtype in start)
    return (
        f"{plural(section['rounds'], 'interleaved round')}, {plural(section['threads'], 'thread')}, "
        f"{section['processor']}; FMA peak at start and end, GFLOP/s: {peak}. {section['date']}."
    )


def caption(name: str, section: dict[str, Any]) -> str:
    """Return the explanation of the figures and their source."""
    unit = "per call (NumPy array in, NumPy array out)" if name in INFERENCES else "per step"
    if name not in INFERENCES:
        unit += " (forward, back-propagation, optimizer; Adam, float32 unless said otherwise)"
    return (
        f"Microseconds {unit}, in brackets the ratio to fastnn's, the fastest in bold. Medians of {source(section)}"
    )


def detailed_table(name: str, section: dict[str, Any]) -> list[str]:
    """Return a table with one row per workload and peer, with spread and share of the peak."""
    what = "outputs" if name in INFERENCES else "losses"
    lines = [
        f"| | | us | quartiles | time / fastnn's | of FMA peak | {what} differ by | way |",
        "|---|---|---:|---|---:|---:|---:|---|",
    ]
    for result in section["results"]:
        ours = microseconds(result, "fastnn")
        for k, (peer, one) in enumerate(result["peers"].items()):
            values = microseconds(result, peer)
            differs = "" if one["differs"] is None else f"{one['differs']:.0e}"
            cells = [label(workload(result)) if k == 0 else "", peer, "-", "", "", "", differs, one["variant"]]
            if values is not None:
                cells[2:4] = [digits(values[1]), f"{digits(values[0])} to {digits(values[2])}"]
                cells[4] = "" if ours is None else digits(values[1] / ours[1])
                cells[5] = f"{100 * share(section, result, peer):.0f} %"
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(data: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = []
    for name in (name for name in TITLES if name in data):
        section = data[name]
        versions = ", ".join(f"{package} {version}" for package, version in section["versions"].items())
        parts += [
            f"## {TITLES[name]}", caption(name, section), "\n".join(wide_table(section)),
            "\n".join(remarks(section)), "\n".join(detailed_table(name, section)),
            f"{section['system']}; {versions}.",
        ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def tables(data: dict[str, Any], names: list[str]) -> list[str]:
    """Return caption, table and remarks of the sections that were measured."""
    parts = []
    for name in (name for name in names if name in data):
        section = data[name]
        parts += [
            f"**{TITLES[name]}.** {caption(name, section)}", "\n".join(wide_table(section)),
            "\n".join(remarks(section)),
        ]  # fmt: skip
    return parts


def readme_part(data: dict[str, Any]) -> str:
    """Return the text between the markers of README.md: the table of training."""
    return "\n\n".join(tables(data, ["training"]))


def page_part(data: dict[str, Any], figure: str | None) -> str:
    """Return the text between the markers of docs/performance.md: the other tables, the figure and the source."""
    parts = tables(data, ["inference", "mixed", "mixed_inference", "more"])
    if figure is not None:
        parts.append(f"![Time of a training step against the width of the hidden layers]({figure})")
        parts.append(
            "The figure has the fastest round of each library, with subnormal numbers flushed to 0 in all. A library "
            "that is more than twice as slow per operation as at a smaller width is measured again, as other work on "
            "a processor delays threads that wait by spinning, those of PyTorch most. It is of "
            f"{source(data['width'])}"
        )
    parts.append(
        "All samples, versions and losses are in `docs/figures/comparison.json`. These tables and that of the README "
        "are generated from it by `python -m asv_bench.compare report asv_bench/results --readme README.md`."
    )
    return "\n\n".join(parts)


def fill(page: Path, part: str) -> None:
    """Replace the text between the markers of a page.

    Raises
    ------
    ValueError
        If the page has no markers.
    """
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"{page.name} must have a line {START} and a line {END}.")
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{START}\n{part}\n{END}", text, count=1), encoding="utf-8")


def plot(section: dict[str, Any], path: Path) -> bool:
    """Draw time and share of the peak against width; False without Matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plot: Matplotlib is not installed", file=sys.stderr)
        return False
    import matplotlib as mpl
    from matplotlib.figure import Figure

    quiet = "#6E7781"  # readable on white and on dark pages, as the background is transparent
    settings = {"svg.fonttype": "none", "svg.hashsalt": "fastnn"}  # text as text; reproducible file
    settings |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), quiet)
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        time, part = figure.subplots(1, 2)
        peak = max(found["float32"] for found in section["peaks"])
        widths = np.array([workload(result).sizes[1] for result in section["results"]])
        for name, colour in zip(peer_names(section), itertools.cycle(COLOURS)):
            lowest = [best_seconds(result, name) for result in section["results"]]
            there = [k for k, seconds in enumerate(lowest) if seconds is not None]
            works = [workload(section["results"][k]) for k in there]
            seconds = np.array([lowest[k] for k in there])
            steps = seconds * 1e6 / [getattr(work, "steps", 1) for work in works]
            time.plot(widths[there], steps, "o-", markersize=3, label=name, color=colour)
            shares = 100 * np.array([work.flops for work in works]) / seconds / peak
            part.plot(widths[there], shares, "o-", markersize=3, label=name, color=colour)
        works = [workload(result) for result in section["results"]]
        floor = [work.flops / work.steps / peak * 1e6 for work in works if isinstance(work, Workload)]
        time.plot(widths, floor, ":", color=quiet, linewidth=1, label="FMA peak")
        time.set(yscale="log", ylabel="microseconds per step")
        part.set(yscale="log", ylabel="% of FMA peak")
        for axes in (time, part):
            axes.set_xscale("log", base=2)
            axes.set_xticks(widths, [str(w) for w in widths])
            axes.set_xlabel("width w of the net w-w-w-10, batch 128")
            axes.set_facecolor("none")
            axes.grid(alpha=0.3)
            axes.minorticks_off()  # a quarter of the file
        time.legend(frameon=False)
        rounds = plural(section["rounds"], "interleaved round")
        figure.suptitle(f"the fastest of {rounds} of each library, {plural(section['threads'], 'thread')}", fontsize=9)
        figure.patch.set_alpha(0.0)
        figure.savefig(path, metadata={"Date": None})
    return True


def write(folder: Path, *, readme: Path | None = None) -> None:
    """Write comparison.md and width.svg from the folder's comparison.json, and optionally fill in a README.

    With a README, docs/performance.md beside it (if there is one) is filled in, too, and the figures are copied to
    docs/figures.

    Raises
    ------
    ValueError
        If a page has no markers.
    """
    data = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    (folder / "comparison.md").write_text(markdown(data), encoding="utf-8")
    plotted = "width" in data and plot(data["width"], folder / "width.svg")
    if readme is None:
        return
    fill(readme, readme_part(data))
    figures = readme.parent / "docs" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    names = ["comparison.json", "width.svg"] if plotted else ["comparison.json"]
    for name in names:
        content = (folder / name).read_bytes()
        (figures / name).write_bytes(content)
    page = readme.parent / "docs" / "performance.md"
    if page.exists():
        shown = "figures/width.svg" if (figures / "width.svg").exists() else None
        fill(page, page_part(data, shown))
