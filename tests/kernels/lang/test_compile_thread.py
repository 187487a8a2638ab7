"""Compilation in a thread of its own: results, errors, interrupts, forks and the end of the process."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest
from driver import run_python

from fastnn.kernels.lang import cache, compile_thread
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.lang.compiler import JIT_DISABLED


def names():
    return {thread.name for thread in threading.enumerate()}


def test_results_and_errors_come_back():
    assert in_compile_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_compile_thread(divmod, 1, 0)
    assert in_compile_thread(sorted, [1, 2], reverse=True) == [2, 1]


def test_it_runs_in_another_thread_with_room_for_deep_recursion():
    def deep(n):
        return 0 if n == 0 else 1 + deep(n - 1)

    before = threading.stack_size()
    assert in_compile_thread(threading.get_ident) != threading.get_ident()
    assert in_compile_thread(deep, 900) == 900
    assert threading.stack_size() == before


def test_meanwhile_garbage_is_collected_rarely():
    before = gc.get_threshold()
    entered, may_end = threading.Event(), threading.Event()

    def long_job():
        entered.set()
        assert may_end.wait(60)
        return gc.get_threshold()

    thread = threading.Thread(target=in_compile_thread, args=(long_job,))
    thread.start()
    assert entered.wait(60)
    assert in_compile_thread(gc.get_threshold) == (compile_thread.COLLECTION_THRESHOLD, *before[1:])
    assert gc.get_threshold() == (compile_thread.COLLECTION_THRESHOLD, *before[1:])  # the other job is running
    may_end.set()
    thread.join()
    assert gc.get_threshold() == before


@pytest.mark.parametrize("threshold", [0, 10**6])
def test_thresholds_of_the_user_are_kept(threshold):
    before = gc.get_threshold()
    gc.set_threshold(threshold)
    try:
        kept = gc.get_threshold()
        assert in_compile_thread(gc.get_threshold) == kept
        assert gc.get_threshold() == kept
        in_compile_thread(gc.set_threshold, 12345)
        assert gc.get_threshold()[0] == 12345
    finally:
        gc.set_threshold(*before)


def test_within_such_a_thread_calls_are_direct():
    outer, inner = in_compile_thread(lambda: (threading.get_ident(), in_compile_thread(threading.get_ident)))
    assert outer == inner


def test_without_a_further_thread_calls_are_direct(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    assert in_compile_thread(threading.get_ident) == threading.get_ident()
    assert not compile_thread._jobs


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_an_interrupt_ends_the_wait_and_not_the_work():
    class AlarmError(Exception):
        pass

    def ring(*_):
        raise AlarmError

    done, go_on = threading.Event(), threading.Event()

    def work():
        go_on.wait(30)
        done.set()

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(AlarmError):
            in_compile_thread(work)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not done.is_set()
    go_on.set()
    assert done.wait(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_the_work():
    begun, done = threading.Event(), threading.Event()

    def work():
        begun.set()
        time.sleep(0.2)
        done.set()

    waiting = threading.Thread(target=in_compile_thread, args=(work,))
    waiting.start()
    begun.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if done.is_set() and in_compile_thread(divmod, 7, 2) == (3, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    waiting.join()


PREPARE = """
import os, signal, sys, threading, time
import numpy as np
import fastnn
from fastnn.kernels.loop.predict import predict
from fastnn.kernels.loop.train import train
X, y = np.linspace(-1, 1, 192).reshape(64, 3), np.linspace(0, 1, 64)

def new_model():
    return fastnn.Model([4, 1], loss="squared_error", seed=0)
"""
INTERRUPT = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background ignore it
threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
model = new_model()
start = time.monotonic()
try:
    model.fit(X, y, epochs=10**9)
    raise SystemExit("it was not interrupted")
except KeyboardInterrupt:
    waited = time.monotonic() - start
assert waited < 1.5 + 2.0, waited
"""
USE = """
model.fit(X, y, epochs=2)
assert model.predict(X).shape == (64, 1)
other = new_model()
other.fit(X, y, epochs=2)
print(np.concatenate([a.ravel() for a in (*other.weights, *other.biases, other.predict(X))]).tobytes().hex())
for kernel in (train, predict):
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C on Windows")
@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_ctrl_c_while_the_kernels_are_compiled_ends_the_call_and_what_is_compiled_is_kept(tmp_path):
    bits, *counts = run_python(PREPARE + INTERRUPT + USE, FASTNN_CACHE_DIR=tmp_path).split()
    assert counts == ["0", "1", "0", "1"], "the first process should have compiled each kernel once"
    again, *counts = run_python(PREPARE + "model = new_model()" + USE, FASTNN_CACHE_DIR=tmp_path).split()
    assert counts == ["1", "0", "1", "0"], "the second process should have found both"
    assert again == bits
    assert [path.name for path in tmp_path.iterdir()] == [cache.sources_hash()]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C on Windows")
@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_a_process_that_ends_while_the_kernels_are_compiled_ends_in_time(tmp_path):
    ended = float(run_python(PREPARE + INTERRUPT + "print(time.monotonic())", FASTNN_CACHE_DIR=tmp_path))
    assert time.monotonic() - ended < compile_thread.EXIT_TIMEOUT


SECOND_INTERRUPT = """
import atexit, os, signal, threading, time
from fastnn.kernels.lang.compile_thread import in_compile_thread
signal.signal(signal.SIGINT, signal.default_int_handler)
begun, ending = threading.Event(), threading.Event()
atexit.register(ending.set)  # which is called first

def work():  # as LLVM does, it does not end when it is asked to
    begun.set()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except SystemExit:
            pass

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
    ending.wait()
    while True:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    in_compile_thread(work)
except KeyboardInterrupt:
    print("the call ended", end="")
"""


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C on Windows")
def test_a_second_ctrl_c_ends_the_process_without_the_wait():
    start = time.monotonic()
    with pytest.raises(AssertionError, match=r"^exit code 130\nthe call ended"):
        run_python(SECOND_INTERRUPT)
    assert time.monotonic() - start < compile_thread.EXIT_TIMEOUT
