"""Loading of the kernels, from the cache or by compiling them, before a net uses the first of them."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from fastnn._data.rows import as_data, shuffled
from fastnn._engine.architecture import Architecture
from fastnn._engine.engine import Engine, RunOptions, StepOptions
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.threads import LINGER, spin_rounds
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.lang.compiler import CACHE_FOLDER, JIT_DISABLED
from fastnn.kernels.maths.isfinite import all_finite
from fastnn.kernels.nn.rules import ACTIVATIONS, LOSSES, OPTIMIZERS

#: Seconds after which a terminal shows that the kernels are being compiled: loading takes less.
NOTICE_AFTER = 1.0

_loaded: set[np.dtype[Any]] = set()


def load_kernels(dtype: np.dtype[Any]) -> float:
    """Load all kernels that train, evaluate and predict nets of a dtype, once per process.

    A kernel that is loaded later would end the process where memory is short (LLVM aborts), in the middle of a
    training. Those of Levenberg-Marquardt are loaded at the beginning of such a fit.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    float
        Seconds that this call took; 0 where the kernels were loaded already.
    """
    if JIT_DISABLED or dtype in _loaded:
        return 0.0
    start = time.perf_counter()
    shown = False

    def show() -> None:
        nonlocal shown
        if not shown and time.perf_counter() - start >= NOTICE_AFTER:
            shown = True
            folder = CACHE_FOLDER
            where = "in each process: no folder is writable" if folder is None else f"once: kept in {folder.parent}"
            _write(f"fastnn: compiling for {dtype.name}, some 15 s ({where}) ...")

    in_compile_thread(_call_all, dtype, while_waiting=show)
    _loaded.add(dtype)
    seconds = time.perf_counter() - start
    if shown:
        _write(f" {seconds:.1f} s\n")
    return seconds


def _write(text: str) -> None:
    """Write to a terminal; nothing elsewhere, and no error."""
    try:
        if sys.stderr.isatty():
            sys.stderr.write(text)
            sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stream, or a closed one
        pass


def _call_all(dtype: np.dtype[Any]) -> None:
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
