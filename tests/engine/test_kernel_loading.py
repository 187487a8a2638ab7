"""What a terminal shows while kernels are compiled."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from driver import COMMAND

from fastnn._engine import kernel_loading
from fastnn.kernels.lang import compiler

pytestmark = pytest.mark.skipif(compiler.JIT_DISABLED, reason="nothing is compiled")

FLOAT32 = np.dtype(np.float32)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes standard error a terminal, and returns it."""

    def make():
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return make


@pytest.fixture
def compiling(monkeypatch):
    """Let `load_kernels` report two kernels that are compiled, or raise what is appended to the list."""
    failure = []

    def call_all(dtype, mixed):
        for name in ("train", "predict"):
            kernel_loading._show("compiling", name)
        if failure:
            raise failure[0]

    monkeypatch.setattr(kernel_loading, "_call_all", call_all)
    monkeypatch.setattr(kernel_loading, "loaded", {})
    yield failure
    for event in (kernel_loading._shown, kernel_loading._shown_of_others, kernel_loading._loading):
        event.clear()


ANNOUNCED = r"fastnn: compiling, some 15 s \((once, kept in .+|in each process: .+)\)\n"


def test_it_is_announced_once_and_ends_with_the_seconds(compiling, terminal):
    stream = terminal()
    kernel_loading.load_kernels(FLOAT32)
    assert re.fullmatch(ANNOUNCED + r"fastnn: ready after \d+\.\d s\n", stream.getvalue())
    kernel_loading.load_kernels(FLOAT32)
    assert stream.getvalue().count("\n") == 2
    kernel_loading.load_kernels(np.dtype(np.float64))  # which is compiled anew
    assert stream.getvalue().count("compiling") == 2


def test_what_is_loaded_from_disk_is_not_announced(compiling, monkeypatch, terminal):
    stream = terminal()
    monkeypatch.setattr(kernel_loading, "_call_all", lambda dtype, mixed: None)
    kernel_loading.load_kernels(FLOAT32)
    assert stream.getvalue() == ""


def test_waiting_for_another_process_is_announced(compiling, monkeypatch, terminal):
    stream = terminal()
    monkeypatch.setattr(kernel_loading, "_call_all", lambda dtype, mixed: kernel_loading._show("waiting", ""))
    kernel_loading.load_kernels(FLOAT32)
    assert "fastnn: waiting for another process that compiles\nfastnn: ready after" in stream.getvalue()


def test_later_kernels_are_announced_once(compiling, terminal):
    stream = terminal()
    kernel_loading.load_kernels(FLOAT32)
    for name in ("residuals", "add_products"):
        kernel_loading._show("compiling", name)
    assert stream.getvalue().splitlines()[2:] == [
        stream.getvalue().splitlines()[0].replace("some 15 s", "some seconds")
    ]


def test_after_an_interrupt_the_rest_is_silent(compiling, terminal):
    stream = terminal()
    compiling.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        kernel_loading.load_kernels(FLOAT32)
    kernel_loading._show("compiling", "evaluate")  # by the thread that goes on
    assert re.fullmatch(ANNOUNCED, stream.getvalue())


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_a_pipe_gets_nothing(compiling, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    kernel_loading.load_kernels(FLOAT32)
    assert stream is None or stream.getvalue() == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--epochs", "1"], ["warmup"]])
def test_ctrl_c_while_compiling_ends_the_command(command, tmp_path):
    pytest.importorskip("termios")
    reader, writer = os.openpty()
    environment = os.environ | {"FASTNN_CACHE_DIR": str(tmp_path)}
    program = [sys.executable, "-c", COMMAND, *command]
    with subprocess.Popen(program, stdout=writer, stderr=writer, env=environment) as process:
        text = b""
        try:
            while b"compiling" not in text:
                assert select.select([reader], [], [], 120)[0], text
                text += os.read(reader, 65536)
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    while select.select([reader], [], [], 0)[0]:
        text += os.read(reader, 65536)
    os.close(reader)
    os.close(writer)
    assert b"some 15 s (once, kept in " in text
    assert b"Traceback" not in text
    assert b"accuracy" not in text
