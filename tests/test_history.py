"""History and the display of a training."""

from __future__ import annotations

import copy
import errno
import gc
import io
import json
import math
import os
import pickle
import re
import struct
import sys
import threading
import types

import numpy as np
import pytest

import fastnn
from fastnn._training import progress
from fastnn.history import NO_METRICS, History


def small():
    h = History({"epochs": 3, "batch_size": 32})
    h.append(0, {"loss": 0.75, "seconds": 1.25, "learning_rate": 0.001})
    h.append(1, {"loss": 0.5, "val_loss": 0.625, "seconds": 1.25})
    h.append(4, {"val_loss": 0.5, "loss": 0.25})
    return h


def assert_same(a, b):
    assert a.epoch == b.epoch
    assert list(a.history) == list(b.history)
    for name in a.history:
        np.testing.assert_array_equal(a[name], b[name])  # NaN equals NaN here
    assert a.params == b.params
    assert a.stopped == b.stopped


#  History


def test_an_empty_history():
    h = History()
    assert (len(h), h.epoch, h.history, h.params, h.stopped) == (0, [], {}, {}, None)
    assert repr(h) == "History(no epochs)"
    with pytest.raises(KeyError, match="'loss' is not in this history, which has: nothing yet"):
        h["loss"]


def test_lists_stay_of_equal_length():
    h = small()
    assert len(h) == 3
    assert h.epoch == [0, 1, 4]
    assert h["loss"] == [0.75, 0.5, 0.25]
    np.testing.assert_array_equal(h["val_loss"], [math.nan, 0.625, 0.5])
    np.testing.assert_array_equal(h["seconds"], [1.25, 1.25, math.nan])
    np.testing.assert_array_equal(h["learning_rate"], [0.001, math.nan, math.nan])
    assert h["loss"] is h.history["loss"]
    h.append(5, {})
    assert {len(series) for series in h.history.values()} == {4}
    assert math.isnan(h["loss"][3])


def test_values_become_python_floats():
    h = History()
    h.append(np.int64(0), {"loss": np.float32(0.5), "n": 3, "inf": math.inf})
    assert [type(series[0]) for series in h.history.values()] == [float] * 3
    assert type(h.epoch[0]) is int
    json.dumps(h.to_dict())


def test_a_failed_append_leaves_all_as_it_was():
    h = small()
    before = h.to_dict()
    for values in ({"new": 1.0, "loss": "much"}, {"new": None}, {"new": [1.0, 2.0]}):
        with pytest.raises(TypeError, match=r"values\['(loss|new)'\] must be a number"):
            h.append(5, values)
    for epoch in (4, 0):
        with pytest.raises(ValueError, match=f"epoch must be above the last one, 4, got {epoch}"):
            h.append(epoch, {"new": 1.0})
    for other in (h, History()):
        with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
            other.append(-1, {})
    assert_same(h, History.from_dict(before))


def test_names_are_looked_up():
    h = small()
    assert "loss" in h
    assert "accuracy" not in h
    with pytest.raises(
        KeyError, match="'acc' is not in this history, which has: loss, seconds, learning_rate, val_loss"
    ):
        h["acc"]
    with pytest.raises(TypeError, match="not iterable"):
        list(h)


def test_what_is_recorded_cannot_be_exchanged():
    h = small()
    for name in ("epoch", "history", "params", "anything"):
        with pytest.raises(AttributeError):
            setattr(h, name, [])
    h.stopped = "interrupted"
    assert h.stopped == "interrupted"


def test_params_are_a_copy():
    given = {"sizes": [1, 2]}
    h = History(given)
    given["sizes"].append(3)
    assert h.params == {"sizes": [1, 2]}
    h.to_dict()["params"]["sizes"].append(4)
    assert h.params == {"sizes": [1, 2]}


def test_repr():
    h = small()
    assert repr(h) == "History(3 epochs, numbers 0 to 4; loss 0.75 -> 0.25; val_loss nan -> 0.5; 2.5 s)"
    h.stopped = "diverged"
    assert repr(h).endswith("; 2.5 s; stopped: diverged)")
    h = History()
    h.append(7, {"loss": 0.123456})
    assert repr(h) == "History(1 epoch, number 7; loss 0.1235)"


def test_round_trip_over_a_plain_dict():
    h = small()
    h.stopped = "interrupted"
    state = h.to_dict()
    assert sorted(state) == ["epoch", "history", "params", "stopped"]
    assert_same(History.from_dict(state), h)
    assert_same(History.from_dict(json.loads(json.dumps(state))), h)
    state["epoch"].append(9)
    state["history"]["loss"].append(0.0)
    assert len(h) == len(h["loss"]) == 3
    assert_same(History.from_dict(History().to_dict()), History())


def test_copies_and_pickles():
    h = small()
    h.stopped = "diverged"
    assert_same(pickle.loads(pickle.dumps(h)), h)
    other = copy.deepcopy(h)
    other.append(5, {"loss": 0.0})
    assert len(h) == 3


def test_from_dict_refuses_what_does_not_fit():
    state = small().to_dict()
    with pytest.raises(ValueError, match="state lacks epoch, stopped"):
        History.from_dict({"history": {}, "params": {}})
    with pytest.raises(ValueError, match=r"state\['history'\]\['loss'\] has 2 values for 3 epochs"):
        History.from_dict({**state, "history": {"loss": [1.0, 2.0]}})
    with pytest.raises(ValueError, match="above the last one"):
        History.from_dict({**state, "epoch": [0, 0, 1]})


#  progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Broken(Terminal):
    """A terminal that hangs up after some writes; 0 is at once."""

    def __init__(self, after, error):
        super().__init__()
        self.after = after
        self.error = error

    def write(self, text):
        if self.after <= 0:
            raise self.error
        self.after -= 1
        return super().write(text)

    def flush(self):
        self.write("")


class BrokenLog(Broken):
    def isatty(self):
        return False


@pytest.fixture
def every_update_draws(monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)


@pytest.fixture
def no_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)


def two_epochs(bar):
    for epoch in range(2):
        bar.start_epoch(epoch)
        bar.update(50, 0.75 - 0.5 * epoch, {"accuracy": 0.5})
        bar.end_epoch(
            {
                "loss": 0.5 - 0.25 * epoch,
                "accuracy": 0.875,
                "val_loss": 0.625,
                "seconds": 1.5,
                "learning_rate": 0.01,
            }
        )
    bar.close()
    bar.close()


def test_silent(monkeypatch):
    for verbose in (False, 0, np.bool_(False)):
        monkeypatch.setattr(sys, "stderr", Terminal())
        bar = progress.bar(verbose, epochs=2, rows=100)
        assert type(bar) is progress.ProgressBar
        two_epochs(bar)
        assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("verbose", [2, -1, "yes", None, 1.5, [True]])
def test_verbose_is_checked(verbose):
    with pytest.raises(ValueError, match="verbose must be True, False or 'auto', got"):
        progress.bar(verbose, epochs=2, rows=100)


def test_plain_lines_where_there_is_no_terminal(monkeypatch):
    for verbose in (True, 1):
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        two_epochs(progress.bar(verbose, epochs=20, rows=100))
        assert sys.stderr.getvalue() == (
            "epoch 1/20: loss=0.5, accuracy=0.875, val_loss=0.625, 1.5 s\n"
            "epoch 2/20: loss=0.25, accuracy=0.875, val_loss=0.625, 1.5 s\n"
        )


@pytest.mark.usefixtures("no_tqdm")
def test_plain_lines_do_without_tqdm(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    two_epochs(progress.bar(True, epochs=2, rows=100))
    assert sys.stderr.getvalue().count("\n") == 2


def test_auto_is_silent_where_there_is_no_terminal(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        assert type(progress.bar("auto", epochs=2, rows=100)) is progress.ProgressBar


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(progress.bar("auto", epochs=2, rows=100)) is progress.ProgressBar
    with pytest.raises(ImportError, match=r'pip install "fastnn-mlp\[progress\]"'):
        progress.bar(True, epochs=2, rows=100)


@pytest.mark.usefixtures("every_update_draws")
@pytest.mark.parametrize("verbose", [True, 1, "auto"])
def test_the_bar(monkeypatch, verbose):
    pytest.importorskip("tqdm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys, "stderr", Terminal())
    threads = set(threading.enumerate())  # a bar of another library, drawn before, may have left tqdm's monitor
    bar = progress.bar(verbose, epochs=2, rows=1000)
    drawn = []

    def new():
        text = sys.stderr.getvalue().split("\r")[-1]
        drawn.append(text)
        return text

    assert new() == ""  # its clock does not count compiling and loading
    bar.start_epoch(0)
    assert "epoch 1/2:" in new()
    assert set(threading.enumerate()) <= threads  # no monitor
    bar.update(250, 0.75, {"accuracy": 0.5})
    text = new()
    assert "epoch 1/2:  12%" in text
    assert "250/2.00k" in text
    assert text.rstrip().endswith("loss=0.75, accuracy=0.5]")
    assert " samples/s" in text
    bar.end_epoch({"loss": 0.5, "accuracy": 0.875, "val_loss": 0.625, "seconds": 1.0, "learning_rate": 0.01})
    text = new()
    assert "epoch 1/2:  50%" in text
    assert text.rstrip().endswith("loss=0.5, accuracy=0.875, val_loss=0.625]")
    bar.start_epoch(1)
    bar.update(500, 0.25, {"accuracy": 0.75})
    text = new()
    assert "epoch 2/2:  75%" in text
    assert text.rstrip().endswith("loss=0.25, accuracy=0.75, val_loss=0.625]")  # the last known val_loss
    bar.end_epoch({"loss": 0.125, "accuracy": 1.0, "val_loss": 0.5})
    bar.close()
    assert "epoch 2/2: 100%" in new()
    assert "2.00k/2.00k" in new()
    assert new().endswith("\n")
    assert new().rstrip().endswith("loss=0.125, accuracy=1, val_loss=0.5]")  # spaces cover a longer line before
    bar.close()
    bar.update(3, 1.0, {})
    assert drawn[-1] == new()


def last_line(monkeypatch, columns, **metrics):
    """Draw a bar on a terminal of `columns` columns and one more, which tqdm leaves free; return its last state."""
    termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
    pytest.importorskip("tqdm")
    monkeypatch.setattr(progress, "_INTERVAL", 3600.0)  # what is written must fit into the terminal's buffer
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns + 1, 0, 0))
    with open(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        bar = progress.bar(True, epochs=30, rows=3823)
        for epoch in range(30):
            bar.start_epoch(epoch)
            bar.end_epoch({"loss": 0.51662, **metrics, "seconds": 0.05, "learning_rate": 0.001})
        bar.close()
        terminal.flush()
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(reader, 4096)
    os.close(reader)
    return text.decode().rstrip("\r\n").split("\r")[-1].rstrip()


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        (200, {"bar", "rate", "counts", "time"}),
        (120, {"bar", "rate", "counts", "time"}),
        (80, {"bar", "counts", "time"}),
        (60, {"bar"}),
        (42, set()),
    ],
)
def test_the_bar_fits_its_line_and_keeps_loss_and_accuracy(monkeypatch, columns, parts):
    line = last_line(monkeypatch, columns, accuracy=0.9998)
    assert len(line) <= columns
    assert "epoch 30/30:" in line
    assert "loss=0.5166, accuracy=0.9998" in line
    found = {"bar": "100%|", "rate": "76.5k samples/s", "counts": "115k/115k", "time": "[00:"}
    assert {name for name, text in found.items() if text in line} == parts


@pytest.mark.parametrize("columns", range(1, 130, 7))
def test_no_line_is_longer_than_the_terminal_and_no_number_is_cut(monkeypatch, columns):
    line = last_line(monkeypatch, columns, accuracy=0.9998, val_loss=0.61251, val_accuracy=0.98125)
    assert len(line) <= columns
    shown = re.findall(r"(\w+)=([\d.]+)", line)
    known = [("loss", "0.5166"), ("accuracy", "0.9998"), ("val_loss", "0.6125"), ("val_accuracy", "0.9812")]
    assert shown == known[: len(shown)]
    assert len(shown) == sum(columns >= width for width in (11, 28, 45, 66))


def test_the_rate_of_the_bar_is_that_of_the_recorded_seconds(monkeypatch):
    assert f"{30 * 3823 / (30 * 0.05) / 1000:.1f}k samples/s" in last_line(monkeypatch, 120)


def test_a_name_with_braces_is_shown_as_it_is(monkeypatch):
    assert "{a}{0}=0.5" in last_line(monkeypatch, 120, **{"{a}{0}": 0.5})


def test_fast_epochs_are_not_all_drawn_but_the_last_is(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(progress, "_INTERVAL", 3600.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress.bar(True, epochs=500, rows=10)
    for epoch in range(500):
        bar.start_epoch(epoch)
        bar.end_epoch({"loss": 1.0 / (epoch + 1)})
    bar.close()
    text = sys.stderr.getvalue()
    assert text.count("\r") < 8
    assert text.split("\r")[-1].startswith("epoch 500/500: 100%")
    assert "loss=0.002" in text.split("\r")[-1]


@pytest.mark.usefixtures("every_update_draws")
@pytest.mark.parametrize("after", range(12))
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (BrokenPipeError, (errno.EPIPE, "Broken pipe")),
        (OSError, (errno.EIO, "Input/output error")),
        (ValueError, ("I/O operation on closed file",)),
        (UnicodeEncodeError, ("ascii", "█", 0, 1, "ordinal not in range")),
        (RuntimeError, ("whatever",)),
    ],
)
@pytest.mark.parametrize("stream", [Broken, BrokenLog])
def test_a_broken_stderr_never_raises(monkeypatch, after, kind, arguments, stream):
    if stream is Broken:
        pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", stream(after, kind(*arguments)))
    two_epochs(progress.bar(True, epochs=2, rows=100))
    assert sys.stderr.after == 0 or after > 2


@pytest.mark.usefixtures("every_update_draws")
def test_a_closed_or_missing_stderr_never_raises(monkeypatch):
    """Each line would raise; that a display writes to the stream at all is shown by its content before it is closed."""
    pytest.importorskip("tqdm")
    for verbose in (True, "auto"):
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        two_epochs(progress.bar(verbose, epochs=2, rows=100))
        assert stream.getvalue()
        bar = progress.bar(verbose, epochs=2, rows=100)
        stream.close()
        two_epochs(bar)
        two_epochs(progress.bar(verbose, epochs=2, rows=100))
        monkeypatch.setattr(sys, "stderr", None)
        two_epochs(progress.bar(verbose, epochs=2, rows=100))


@pytest.mark.usefixtures("every_update_draws")
def test_after_a_broken_stderr_the_lock_of_tqdm_is_free(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Broken(1, BrokenPipeError()))
    two_epochs(progress.bar(True, epochs=2, rows=100))
    free = []

    def take():
        lock = tqdm.tqdm.get_lock()
        free.append(all([part.acquire(False) for part in lock.locks]))
        if free[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert free == [True]


@pytest.mark.usefixtures("every_update_draws")
def test_tqdm_write_clears_the_bar_first(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    gc.collect()  # bars that other tests did not close
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress.bar(True, epochs=2, rows=100)
    tqdm.tqdm.write("a message", file=sys.stderr)
    line = sys.stderr.getvalue().split("\n")[0].split("\r")[-1]
    bar.close()
    assert line == "a message"


class FakeWidget:
    """Stands for tqdm in a notebook, whose widget's connection is gone."""

    made: FakeWidget

    def __init__(self, **options):
        self.options = options
        self.n = 0
        self.disable = False
        self.updates = 0
        FakeWidget.made = self

    def set_description_str(self, text, refresh):
        pass

    @property
    def format_dict(self):
        return {"ncols": None, "elapsed": 1.0}

    @staticmethod
    def format_meter(**state):
        return state["bar_format"]

    @staticmethod
    def format_sizeof(number):
        return f"{number:.0f}"

    def update(self, n):
        self.updates += 1
        raise RuntimeError("no connection")

    def close(self):
        raise RuntimeError("no connection")


@pytest.mark.usefixtures("every_update_draws")
@pytest.mark.parametrize("verbose", [True, "auto"])
def test_a_notebook_has_a_bar_and_its_failure_never_raises(monkeypatch, verbose):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=FakeWidget))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    two_epochs(progress.bar(verbose, epochs=2, rows=100))
    assert FakeWidget.made.options["total"] == 200
    assert FakeWidget.made.options["unit"] == " samples"
    assert FakeWidget.made.updates > 0
    assert FakeWidget.made.disable


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(config={"TerminalIPythonApp": {}})])
def test_ipython_in_a_terminal_is_no_notebook(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(progress.bar("auto", epochs=2, rows=100)) is progress.ProgressBar


@pytest.mark.usefixtures("every_update_draws")
def test_ctrl_c_in_the_display_goes_through(monkeypatch):
    pytest.importorskip("tqdm")
    stream = Broken(10**9, KeyboardInterrupt())
    monkeypatch.setattr(sys, "stderr", stream)
    bar = progress.bar(True, epochs=2, rows=100)
    bar.start_epoch(0)
    stream.after = 0
    with pytest.raises(KeyboardInterrupt):
        bar.update(1, 1.0, {})
    stream.after = 10**9
    bar.close()


def test_notebooks_show_a_table():
    h = History()
    h.append(0, {"loss": 0.5, "<b>": 1.0})
    h.append(1, {"loss": 0.25, "<b>": 3.0, "val_loss": 0.75})
    h.append(2, {"loss": 0.375, "<b>": 2.0})
    text = h._repr_html_()
    assert "<tr><td>loss</td><td>0.5</td><td>0.25</td><td>0.5</td><td>0.375</td></tr>" in text
    assert "<tr><td>&lt;b&gt;</td><td>1</td><td>1</td><td>3</td><td>2</td></tr>" in text
    assert "<tr><td>val_loss</td><td>nan</td><td>0.75</td><td>0.75</td><td>nan</td></tr>" in text
    assert "<caption>History(3 epochs; " in text
    assert text.count("<tr>") == 4
    assert History()._repr_html_() == "<table>\n<caption>History(no epochs)</caption>\n</table>"


#  pictures and tables


def trained(**values):
    h = History()
    for k in range(3):
        h.append(k, {"loss": 1.0 / (k + 1), **{name: v * k for name, v in values.items()}, "seconds": 0.1})
    return h


def lines(axis):
    """The lines with a name, by name."""
    return {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}


def test_to_frame():
    pandas = pytest.importorskip("pandas")
    h = small()
    frame = h.to_frame()
    assert list(frame.columns) == list(h.history)
    assert frame.index.name == "epoch"
    assert list(frame.index) == h.epoch
    for name, values in h.history.items():
        assert frame[name].dtype == np.float64
        np.testing.assert_array_equal(frame[name], values)
    frame.loc[0, "loss"] = 99.0
    assert h["loss"][0] != 99.0
    empty = History().to_frame()
    assert isinstance(empty, pandas.DataFrame)
    assert empty.shape == (0, 0)


def test_to_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'to_frame needs pandas.*pip install "fastnn-mlp\[pandas\]"'):
        small().to_frame()


def test_plot(tmp_path):
    figure_module = pytest.importorskip("matplotlib.figure")
    pyplot_was_there = "matplotlib.pyplot" in sys.modules
    h = trained(val_loss=1.0, accuracy=0.3, val_accuracy=0.2, learning_rate=1e-3)
    figure = h.plot(yscale="log")
    assert isinstance(figure, figure_module.Figure)
    left, right = figure.axes
    assert list(lines(left)) == ["loss", "val_loss"]
    assert list(lines(right)) == ["accuracy", "val_accuracy"]
    assert left.get_yscale() == "log"
    assert right.get_yscale() == "linear"
    for axis in figure.axes:
        assert axis.get_xlabel() == "epoch"
        training, validation = lines(axis).values()
        assert training.get_color() != validation.get_color()
        assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
        for name, line in lines(axis).items():
            np.testing.assert_array_equal(line.get_xdata(), np.add(h.epoch, 1))
            np.testing.assert_array_equal(line.get_ydata(), h[name])
        assert {text.get_text() for text in axis.texts} == {"training", "validation", "best epoch: 1"}
    figure.savefig(tmp_path / "training.png")
    assert (tmp_path / "training.png").stat().st_size > 1000
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_was_there


def test_plot_of_losses_alone_and_of_one_epoch():
    pytest.importorskip("matplotlib")
    assert len(trained().plot().axes) == 1
    h = History()
    h.append(7, {"loss": 1.0})
    (line,) = h.plot().axes[0].lines
    assert line.get_marker() == "o"
    assert list(line.get_xdata()) == list(line.axes.get_xticks()) == [8]


def test_plot_into_axes_that_are_there():
    figure_module = pytest.importorskip("matplotlib.figure")
    h = trained(accuracy=0.3)
    figure = figure_module.Figure()
    one = figure.subplots()
    assert h.plot(axes=one) is figure
    assert list(lines(one)) == ["loss"]
    figure = figure_module.Figure()
    for axes in (figure.subplots(1, 2), tuple(figure.subplots(1, 2))):
        assert h.plot(axes=axes) is figure
        assert list(lines(axes[1])) == ["accuracy"]
    with pytest.raises(ValueError, match=r"axes must be .* at most 2, got .* It has 3 items"):
        h.plot(axes=figure.subplots(1, 3))


def test_plot_refuses_nothing_and_says_what_to_install(monkeypatch):
    with pytest.raises(ValueError, match="no epochs to plot"):
        History().plot()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fastnn-mlp\[plot\]"'):
        small().plot()


def test_the_damping_of_a_solver_is_no_metric():
    model = fastnn.Model([3, 1], loss="squared_error", optimizer="lm", seed=0)
    X = np.linspace(-1.0, 1.0, 20)[:, None]
    record = model.fit(X, X[:, 0] ** 2, epochs=3, verbose=False)
    assert len(record["mu"]) == len(record)
    assert "mu" not in repr(record)
    figure = record.plot()
    assert len(figure.axes) == 1
    assert [line.get_label() for line in figure.axes[0].lines] == ["loss"]


@pytest.mark.parametrize("name", ["loss", "epoch", *NO_METRICS])
def test_names_in_logs_cannot_name_a_metric(name):
    with pytest.raises(ValueError, match=f"name of a metric must be none of loss, .*, got '{name}'"):
        fastnn.metrics.Metric(name, lambda y_true, y_pred: 0.0)
