"""Loading of the kernels, from the cache or by compiling them, before a net uses the first of them."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import Any, Literal, NamedTuple

import numpy as np

from fastnn._data.rows import as_data, shuffled
from fastnn._engine.architecture import Architecture
from fastnn._engine.engine import Engine, RunOptions, StepOptions
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.threads import LINGER, spin_rounds
from fastnn._validation import MIXED_BFLOAT16
from fastnn.kernels.lang.cache import Origin, compile_listeners, origins
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.lang.compiler import CACHE_FOLDER, JIT_DISABLED
from fastnn.kernels.maths.isfinite import all_finite
from fastnn.kernels.nn.rules import ACTIVATIONS, LOSSES, OPTIMIZERS


class Loaded(NamedTuple):
    """What came of loading the kernels of a dtype.

    Parameters
    ----------
    seconds : float
        How long it took.
    origins : collections.Counter
        How many kernels came from where; those that all dtypes share count for the first one.
    """

    seconds: float
    origins: Counter[Origin]


#: The dtypes whose kernels this process has loaded; those of mixed precision by the name of that.
loaded: dict[str, Loaded] = {}
_loading = threading.Event()  # set while `load_kernels` runs
_shown = threading.Event()  # set when it has announced that it compiles
_shown_of_others = threading.Event()  # the same of kernels that are loaded later


def load_kernels(dtype: np.dtype[Any], *, mixed: bool = False) -> float:
    """Load all kernels that train, evaluate and predict nets of a dtype, once per process.

    A kernel that is loaded later would end the process where memory is short (LLVM aborts), in the middle of a
    training. Those of Levenberg-Marquardt are loaded at the beginning of such a fit.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.
    mixed : bool
        Whether products read numbers rounded to bfloat16.

    Returns
    -------
    float
        Seconds that this call took; 0 where the kernels were loaded already.
    """
    name = MIXED_BFLOAT16 if mixed else dtype.name
    if JIT_DISABLED or name in loaded:
        return 0.0
    start, before = time.perf_counter(), origins.copy()
    _loading.set()
    try:
        in_compile_thread(_call_all, dtype, mixed)
        seconds = time.perf_counter() - start
        loaded[name] = Loaded(seconds, origins - before)
    finally:
        _loading.clear()
    if _shown.is_set():  # and stays so after Ctrl-C, when the compilation goes on in silence
        _shown.clear()
        _write(f"ready after {seconds:.1f} s")
    return seconds


def _show(event: Literal["compiling", "waiting"], _: str) -> None:
    """Announce once per call of `load_kernels`, and once for all other kernels, that something is compiled."""
    shown, how_long = (_shown, "some 15 s") if _loading.is_set() else (_shown_of_others, "some seconds")
    if _shown.is_set() or shown.is_set():
        return
    shown.set()
    where = "in each process: no folder is writable" if CACHE_FOLDER is None else f"once, kept in {CACHE_FOLDER.parent}"
    _write("waiting for another process that compiles" if event == "waiting" else f"compiling, {how_long} ({where})")


def _write(text: str) -> None:
    """Write a line to a terminal or notebook; no error of writing ends the program."""
    try:
        if sys.stderr.isatty() or "ipykernel" in sys.modules:
            sys.stderr.write(f"fastnn: {text}\n")
            sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stream, or a closed one
        pass


compile_listeners.append(_show)


def _call_all(dtype: np.dtype[Any], mixed: bool) -> None:
    """Call each kernel once with the smallest arguments."""
    optimizer = next(iter(OPTIMIZERS))
    engine = Engine(
        Architecture(
            sizes=(1, 1),
            activations=((ACTIVATIONS["identity"].code, 0.0),),
            use_bias=(True,),
            penalties=((0.0, 0.0),),
            loss=LOSSES["squared_error"].code,
            fused_output=False,
            dtype=dtype,
            mixed=mixed,
        ),
        len(optimizer.slots),
        1,
    )
    column, none = np.zeros((2, 1), dtype), np.empty(0, dtype)
    data = as_data(column, column, np.empty(0, np.int64), none)
    with ThreadTeam(1) as team:
        step = StepOptions(optimizer=optimizer.code, rates=(0.0,) * (1 + len(optimizer.hyper)))
        engine.train_epoch(data, step, RunOptions(batch=2), team=team)
        engine.predict(column)
    all_finite(column)
    shuffled(np.zeros(2, np.int64), 0, 0)
    spin_rounds(LINGER)
