"""The comparison with other libraries: peers, results and report. No test depends on time."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastnn._engine import system_info

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # the suite; this file, whose peers workers import

from asv_bench import compare, report  # noqa: E402
from asv_bench.benchmarks.workloads import (  # noqa: E402
    INFERENCE,
    MIXED,
    MIXED_INFERENCE,
    MORE,
    TRAINING,
    Inference,
    Workload,
)
from asv_bench.peers import MIXED_PREDICTORS, MIXED_TRAINERS, PREDICTORS, TRAINERS, Peer  # noqa: E402
from asv_bench.peers.worker import PeerError, Worker, limited_threads, sample  # noqa: E402

WORK = Workload("few", (3, 4, 2), 5, 20, epochs=2)
CALL = Inference((3, 4, 2), 5)
ALL = [work for works in compare.SECTIONS.values() for work in works]


class Known:
    """Peer that reports given losses, near the reference or not."""

    losses = (1.0, 0.5)

    def __init__(self, work, n_threads):
        self.runs = 0

    def prepare(self, orders):
        assert all(sorted(order) == list(range(20)) for order in orders)

    def run(self):
        self.runs += 1
        return self.losses[min(self.runs, 2) - 1]


class Near(Known):
    losses = (1.0, 0.504)


class Far(Known):
    losses = (1.0, 0.52)


class NotFinite(Known):
    losses = (1.0, float("nan"))


class Other(Far):
    note = "another net"


class Broken:
    def __init__(self, work, n_threads):
        raise ValueError("cannot do this\nand more lines")


class Dying(Known):
    def run(self):
        os._exit(3)


class Outputs:
    """Right but for a factor."""

    factor = 1.0
    variant = "plain"

    def __init__(self, work, n_threads):
        self.outputs = self.factor * work.outputs()

    def run(self):
        return self.outputs


class WrongOutputs(Outputs):
    factor = 1.001


class FarOutputs(Outputs):
    factor = 1.05


class Slow(Known):
    def run(self):
        time.sleep(0.05)
        return super().run()


class Environment(Known):
    def run(self):
        return {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def peers(*kinds):
    return [Peer(kind.__name__, f"test_compare:{kind.__name__}", ("numpy",)) for kind in kinds]


@pytest.mark.slow
def test_time_counts_only_where_the_losses_are_the_same():
    found = compare.measure(
        WORK, peers(Known, Near, Far, NotFinite, Other, Broken, Dying), n_threads=1, rounds=2, turn=0.0
    )["peers"]
    assert {name: len(one["seconds"]) for name, one in found.items()} == {
        "Known": 2, "Near": 2, "Far": 0, "NotFinite": 0, "Other": 2, "Broken": 0, "Dying": 0,
    }  # fmt: skip
    assert found["Near"]["differs"] == pytest.approx(0.008)
    assert found["Far"]["error"] == "its losses differ by 4.0e-02"
    assert "nan" in found["NotFinite"]["error"]
    assert (found["Other"]["error"], found["Other"]["note"]) == ("", "another net")
    assert found["Broken"]["error"] == "ValueError: cannot do this"
    assert "ended with code 3" in found["Dying"]["error"]


def test_outputs_are_compared_with_double_precision():
    found = compare.measure(CALL, peers(Outputs, WrongOutputs), n_threads=1, rounds=1, turn=0.0)["peers"]
    assert found["Outputs"]["error"] == ""
    assert found["Outputs"]["variant"] == "plain"
    assert found["WrongOutputs"]["error"] == "its outputs differ by 1.0e-03"
    assert found["WrongOutputs"]["seconds"] == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_worker_rests_until_it_is_asked_and_ends_when_closed():
    worker = Worker("test_compare:Known", WORK, 1)
    stat = Path(f"/proc/{worker._process.pid}/stat")
    try:
        for _ in range(2):
            os.waitid(os.P_PID, worker._process.pid, os.WSTOPPED | os.WNOWAIT)  # SIGSTOP takes a moment
            assert stat.read_text().rpartition(")")[2].split()[0] == "T"
            assert worker.ask("run") in Known.losses
    finally:
        worker.close()
    assert worker._process.exitcode == 0


def test_workers_start_with_their_number_of_threads():
    before = dict(os.environ)
    with limited_threads(1):
        worker = Worker("test_compare:Environment", WORK, 1)
    try:
        assert worker.ask("run") == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with pytest.raises(PeerError, match="KeyError"):
            worker.ask("nothing")
    finally:
        worker.close()
    assert dict(os.environ) == before


def test_sample_warms_up_and_repeats():
    calls = []
    assert sample(lambda: calls.append(1), 0.0) > 0
    assert len(calls) > 2


@pytest.mark.slow
def test_fastnn_and_numpy_do_the_work():
    ours = [peer for peer in TRAINERS if peer.name == "fastnn"]
    one = compare.measure(WORK, ours, n_threads=1, rounds=1, turn=0.0)["peers"]["fastnn"]
    assert one["error"] == ""
    assert one["losses"][1] < one["losses"][0]
    both = [peer for peer in PREDICTORS if peer.name in ("fastnn", "NumPy")]
    found = compare.measure(CALL, both, n_threads=1, rounds=1, turn=0.0)["peers"]
    assert {name: one["error"] for name, one in found.items()} == {"fastnn": "", "NumPy": ""}


@pytest.mark.parametrize("work", ALL, ids=lambda work: work.name)
def test_workloads(work):
    assert type(work).from_dict(json.loads(json.dumps(work.to_dict()))) == work
    if isinstance(work, Workload):
        assert work.rows % work.batch == 0


def test_names_of_workloads_differ():
    names = [work.name for work in ALL]
    assert len(set(names)) == len(names)


def test_arrays_of_mixed_precision_are_float32():
    for dtype in ("mixed_bfloat16", "float32", "float64"):
        for loss, kind in (("softmax_crossentropy", np.int64), ("squared_error", None)):
            work = dataclasses.replace(WORK, dtype=dtype, loss=loss)
            expected = np.float64 if dtype == "float64" else np.float32
            X, y = work.data()
            assert (X.dtype, y.dtype) == (expected, kind or expected)
            assert {w.dtype for w in work.start()} == {np.dtype(expected)}
    mixed = Inference((3, 4, 2), 5, "mixed_bfloat16")
    assert np.array_equal(mixed.data(), CALL.data())
    assert (CALL.name, mixed.name) == ("3-4-2/5", "3-4-2/5/mixed_bfloat16")


def test_mixed_precision_is_compared_on_shapes_of_training_and_inference():
    shapes = {(work.sizes, work.batch, work.loss) for work in TRAINING}
    assert {(work.sizes, work.batch, work.loss) for work in MIXED} < shapes
    assert {work.dtype for work in (*MIXED, *MIXED_INFERENCE)} == {"mixed_bfloat16"}
    assert {(work.sizes, work.rows) for work in MIXED_INFERENCE} < {(work.sizes, work.rows) for work in INFERENCE}


def test_a_section_of_before_there_was_a_dtype_is_read():
    assert Inference.from_dict({"sizes": [3, 4, 2], "rows": 5}) == CALL


def test_peaks_of_each_precision(monkeypatch):
    monkeypatch.setattr(system_info, "fma_peak", lambda dtype, n_threads: {"float32": 2.0, "float64": 1.0}[dtype])
    monkeypatch.setattr(system_info, "bfloat16_peak", lambda n_threads: 4.0)
    assert compare.peaks(MIXED, 1) == compare.peaks(MIXED_INFERENCE, 1) == {"mixed_bfloat16": 4.0}
    assert compare.peaks([*MORE, *MIXED], 1) == {"float32": 2.0, "float64": 1.0, "mixed_bfloat16": 4.0}


@pytest.mark.slow
def test_a_slow_peer_is_timed_once(monkeypatch):
    monkeypatch.setattr(compare, "LONGEST", 0.0)
    found = compare.measure(WORK, peers(Slow, Far), n_threads=1, rounds=2, turn=0.0)["peers"]
    assert len(found["Slow"]["seconds"]) == 1
    assert found["Slow"]["seconds"][0] >= 0.05  # of one epoch, not divided by those of a turn
    assert found["Slow"]["note"].startswith("timed once, as it takes more than")
    assert found["Slow"]["error"] == ""
    assert (found["Far"]["seconds"], found["Far"]["note"]) == ([], "")
    assert found["Far"]["error"] == "its losses differ by 4.0e-02"
    one = compare.measure(CALL, peers(Outputs), n_threads=1, rounds=2, turn=0.0)["peers"]["Outputs"]
    assert (len(one["seconds"]), one["error"]) == (1, "")


def test_outputs_of_mixed_precision_may_differ_by_its_roundings():
    call = dataclasses.replace(CALL, dtype="mixed_bfloat16")
    found = compare.measure(call, peers(Outputs, WrongOutputs, FarOutputs), n_threads=1, rounds=1, turn=0.0)["peers"]
    assert found["Outputs"]["error"] == found["WrongOutputs"]["error"] == ""
    assert found["FarOutputs"]["error"] == "its outputs differ by 5.0e-02"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peers", "work", "kept"),
    [
        (MIXED_TRAINERS, dataclasses.replace(WORK, dtype="mixed_bfloat16"), "losses"),
        (MIXED_PREDICTORS, dataclasses.replace(CALL, dtype="mixed_bfloat16"), "variant"),
    ],
    ids=["training", "inference"],
)
def test_peers_of_mixed_precision_do_the_work(peers, work, kept):
    present = [peer for peer in peers if not peer.missing]
    assert {"fastnn", "fastnn (float32)"} <= {peer.name for peer in present}
    found = compare.measure(work, present, n_threads=1, rounds=1, turn=0.0)["peers"]
    assert {name: one["error"] for name, one in found.items()} == {peer.name: "" for peer in present}
    differs = {name: one["differs"] for name, one in found.items()}
    if kept == "losses":
        assert found["fastnn"]["losses"] != found["fastnn (float32)"]["losses"]
    else:
        assert differs["fastnn (float32)"] < 1e-6 < differs["fastnn"]
    if "PyTorch (autocast)" in found:
        assert differs["PyTorch (autocast)"] > 1e-5  # it rounds
    if "OpenVINO (bf16)" in found:
        assert "computed in" in found["OpenVINO (bf16)"]["variant"]


def one_peer(seconds, **more):
    return {"seconds": seconds, "losses": [], "differs": 1e-6, "variant": "", "note": "", "error": "", **more}


def section(results, **more):
    return {
        "date": "2000-01-01", "processor": "Some processor", "system": "Linux", "threads": 2, "rounds": 3,
        "versions": {"numpy": "2"}, "missing": {"Keras": ["keras", "jax"]},
        "peaks": [{"float32": 1e11}, {"float32": 2e11}],
        "results": results, **more,
    }  # fmt: skip


@pytest.fixture
def data():
    small, other = TRAINING[1], Workload("w", (8, 8, 8, 10), 128, 1280)
    second = {"seconds": [], "differs": None, "error": "ValueError: cannot"}
    results = [
        {"workload": small.to_dict(), "peers": {
            "fastnn": one_peer([64e-5, 64e-4, 64e-3]), "Peer": one_peer([32e-4] * 3),
            "Odd": one_peer([1e-6], note="less"),
        }},
        {"workload": other.to_dict(), "peers": {"fastnn": one_peer([1e-3]), "Peer": one_peer([2e-3]) | second}},
    ]  # fmt: skip
    calls = [{"workload": CALL.to_dict(), "peers": {"fastnn": one_peer([1e-5]), "Peer": one_peer([2e-5])}}]
    return {"training": section(results), "inference": section(calls), "width": section(results[1:])}


def test_report(data):
    text = report.markdown(data)
    assert "| 16-64-64-1 relu, batch 128 | 100 | **50.0 (0.500)** | 0.0156 (0.000156) † |" in text
    assert "| 8-8-8-10 relu, batch 128 | **100** | - | - |" in text
    assert "| 3-4-2, 5 rows | **10.0** | 20.0 (2.00) |" in text
    assert "fastnn is the fastest in 1 of 2 rows. Faster, with the ratio to fastnn's time: 16-64-64-1" in text
    assert "Peer is not counted (ValueError: cannot): 8-8-8-10 relu, batch 128." in text
    assert "† Odd: less: 16-64-64-1 relu, batch 128." in text
    assert "Keras was not measured: keras, jax not installed." in text
    assert "FMA peak at start and end, GFLOP/s: float32 100 and 200." in text
    share = 100 * TRAINING[1].flops / 64e-4 / 2e11
    assert f"| 100 | 55.0 to 550 | 1.00 | {share:.0f} % | 1e-06 |" in text


def test_report_of_mixed_precision(data):
    training = {"fastnn": one_peer([1e-2]), "fastnn (float32)": one_peer([2e-2])}
    call = {"fastnn": one_peer([1e-2]), "PyTorch (autocast)": one_peer([20.0], note="timed once")}
    peaks = [{"mixed_bfloat16": 4e11}, {"mixed_bfloat16": 5e11}]
    mixed = {
        "mixed": section([{"workload": MIXED[0].to_dict(), "peers": training}], peaks=peaks),
        "mixed_inference": section([{"workload": MIXED_INFERENCE[0].to_dict(), "peers": call}], peaks=peaks),
    }
    text = report.markdown(data | mixed)
    assert "## Training in mixed precision\n\nMicroseconds per step" in text
    assert "## Inference in mixed precision\n\nMicroseconds per call" in text
    assert "FMA peak at start and end, GFLOP/s: mixed_bfloat16 400 and 500." in text
    steps = MIXED[0].steps
    label = "784-128-64-10 relu, batch 128, mixed_bfloat16"
    assert f"| {label} | **{report.digits(1e4 / steps)}** | {report.digits(2e4 / steps)} (2.00) |" in text
    share = 100 * MIXED[0].flops / 1e-2 / 5e11
    assert f"| {label} | fastnn | {report.digits(1e4 / steps)} " in text
    assert f"| 1.00 | {share:.0f} % |" in text
    assert "| 784-1024-1024-10, 32 rows, mixed_bfloat16 | **10000** | 20000000 (2000) † |" in text
    page = report.page_part(data | mixed, None)
    titles = ["Inference", "Training in mixed precision", "Inference in mixed precision"]
    places = [page.index(f"**{title}.**") for title in titles]
    assert places == sorted(places)
    assert "mixed" not in report.page_part(data, None)
    assert "mixed" not in report.readme_part(data | mixed)


def test_json_goes_there_and_back(data):
    text = report.to_json(data)
    assert json.loads(text) == data
    assert max(map(len, text.splitlines())) < 1000


def test_readme_gets_what_is_between_the_markers(data, tmp_path, capsys):
    folder, readme = tmp_path / "results", tmp_path / "README.md"
    folder.mkdir()
    (folder / "comparison.json").write_text(report.to_json(data), encoding="utf-8")
    readme.write_text("before\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have a line <!-- speed -->"):
        compare.main(["report", str(folder), "--readme", str(readme)])
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    for file in (readme, page):
        file.write_text(f"before\n{report.START}\nwas here\n{report.END}\nafter\n", encoding="utf-8")
    for again in (folder, tmp_path / "docs" / "figures"):
        compare.main(["report", str(again), "--readme", str(readme)])
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- speed -->\n**Training.**")
        assert text.endswith("<!-- /speed -->\nafter\n")
        assert "was here" not in text
        assert "**50.0 (0.500)**" in text
        assert "**Inference.**" not in text
        text = page.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- speed -->\n**Inference.**")
        assert text.endswith("<!-- /speed -->\nafter\n")
        assert "was here" not in text
    assert (tmp_path / "docs/figures/comparison.json").exists()


def test_plot(data, tmp_path):
    pytest.importorskip("matplotlib")
    assert report.plot(data["width"], tmp_path / "width.svg")
    text = (tmp_path / "width.svg").read_text(encoding="utf-8")
    assert "microseconds per step" in text
    assert "the fastest of 3 interleaved rounds of each library, 2 threads" in text
    assert report.plot(data["width"], tmp_path / "again.svg")
    assert text == (tmp_path / "again.svg").read_text(encoding="utf-8")


def test_the_plot_shows_the_fastest_round(data):
    result = data["training"]["results"][0]
    assert report.best_seconds(result, "fastnn") == 64e-5
    assert report.best_seconds(result, "absent") is None
    assert report.best_seconds(data["training"]["results"][1], "Peer") is None


def widths(**seconds):
    """Results of nets of rising width; each keyword is a peer with its seconds for each."""
    works = [Workload(f"width {w}", (w, w, w, 10), 128, 1280) for w in (64, 128, 256)]
    return [
        {"workload": work.to_dict(), "peers": {name: one_peer([values[k]] * 3) for name, values in seconds.items()}}
        for k, work in enumerate(works)
    ]


def test_a_disturbed_width_is_measured_again_and_the_faster_one_kept(monkeypatch):
    results = widths(fastnn=[1e-3, 4e-3, 16e-3], Peer=[1e-3, 4e-3, 1.0])
    assert compare.outliers(results) == {2: ["Peer"]}
    assert compare.outliers(widths(fastnn=[1e-3, 2e-3, 6e-3])) == {}
    compare.keep_faster(results[2], widths(Peer=[1, 1, 2.0])[2], ["Peer"])
    assert results[2]["peers"]["Peer"]["seconds"] == [1.0] * 3
    compare.keep_faster(results[2], widths(Peer=[1, 1, 17e-3])[2], ["Peer"])
    assert results[2]["peers"]["Peer"]["seconds"] == [17e-3] * 3
    assert compare.outliers(results) == {}

    measured = []

    def measure(work, peers, **settings):
        measured.append((work.name, [peer.name for peer in peers]))
        k = ["width 64", "width 128", "width 256"].index(work.name)
        second = 1.0 if k == 2 and len(measured) < 5 + never else 16e-3
        return widths(fastnn=[1e-3, 4e-3, 16e-3], Peer=[1e-3, 4e-3, second])[k]

    monkeypatch.setattr(compare, "measure", measure)
    monkeypatch.setattr(compare, "peaks", lambda works, n_threads: {"float32": 1e11})
    peers = [Peer(name, "nowhere:Missing", ("numpy",)) for name in ("fastnn", "Peer")]
    works = [Workload.from_dict(result["workload"]) for result in results]
    for never in (0, 100):  # the second measurement is the good one; no measurement is
        measured.clear()
        section = compare.run_section("width", works, peers, 1, 3)
        assert measured[3:] == [("width 256", ["fastnn", "Peer"])] * (2 if never == 0 else compare.REPEATS)
        one = section["results"][2]["peers"]["Peer"]
        assert (one["seconds"], one["note"]) == (
            ([16e-3] * 3, "") if never == 0 else ([1.0] * 3, "slower per operation than at a smaller width, repeatedly")
        )


@pytest.mark.slow
def test_a_peer_that_is_not_installed_is_told():
    absent = Peer("Absent", "nowhere:Missing", ("numpy", "no_such_package"))
    found = compare.run_section("training", [WORK], [TRAINERS[0], absent], 1, 1)
    assert found["missing"] == {"Absent": ["no_such_package"]}
    assert list(found["results"][0]["peers"]) == ["fastnn"]
    assert "Absent was not measured: no_such_package not installed." in report.markdown({"training": found})
    assert np.all([peak["float32"] > 0 for peak in found["peaks"]])


@pytest.mark.parametrize(
    ("section", "words", "compiled", "expected"),
    [
        ("training", set(), False, ["fastnn", "jax", "torch", "keras", "sklearn"]),
        ("training", {"torch"}, True, ["fastnn", "torch", "torch"]),
        ("width", set(), False, ["fastnn", "jax", "torch"]),
        ("inference", {"numpy"}, False, ["fastnn", "numpy"]),
        ("mixed", set(), False, ["fastnn", "fastnn", "torch"]),
        ("mixed_inference", set(), False, ["fastnn", "fastnn", "openvino", "torch"]),
        ("mixed_inference", {"openvino"}, False, ["fastnn", "fastnn", "openvino"]),
    ],
)
def test_peers_that_are_asked_for(section, words, compiled, expected):
    found = compare.wanted_peers(section, words, compiled=compiled)
    assert [peer.packages[0] for peer in found] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "report needs the FOLDER"),
        (["training", "--peers", "jaxx"], "--peers must be of fastnn, jax"),
        (["training", "--only", "nothing"], "--only must be of tiny, small"),
    ],
)
def test_wrong_arguments_are_reported(arguments, message, capsys):
    with pytest.raises(SystemExit):
        compare.main(arguments)
    assert message in capsys.readouterr().err
