"""Inference from one row to a hundred thousand."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from itertools import product
from pathlib import Path

import numpy as np

import fastnn
from fastnn._engine.processors import available_threads

from .timing import median

NETS = {
    "10-64-64-1": (10, 64, 64, 1),
    "784-256-128-10": (784, 256, 128, 10),
    "784-1024-1024-10": (784, 1024, 1024, 10),
}
ROWS = [1, 32, 4096, 100_000]
THREADS = [1, 2]


def _tells_nothing(net: str, rows: int, threads: int) -> bool:
    """Seconds a call of what 4096 rows show already; threads that so few rows do not start."""
    return (net == "784-1024-1024-10" and rows > 4096) or (threads > 1 and rows <= 32)


class Predict:
    """`Model.predict`, checks of the input included: microseconds per call."""

    params = (list(NETS), ROWS, THREADS)
    param_names = ("net", "rows", "threads")
    skip_params = [case for case in product(*params) if _tells_nothing(*case)]  # noqa: RUF012  (asv wants a list)
    unit = "us"
    timeout = 300

    def setup(self, net: str, rows: int, threads: int) -> None:
        if threads > available_threads():
            raise NotImplementedError  # would measure the scheduler
        sizes = NETS[net]
        self.X = np.random.default_rng(0).standard_normal((rows, sizes[0]), np.float32)
        self.model = fastnn.Model(list(sizes[1:]), loss="squared_error", seed=0, n_threads=threads).build(sizes[0])

    def track_predict(self, net: str, rows: int, threads: int) -> float:
        def run(count: int) -> None:
            for _ in range(count):
                self.model.predict(self.X)

        return 1e6 * median(run)


class ExportedC:
    """One row by the header of `export_c`, 8-32-32-3 with tanh and gelu, compiled by -O3: nanoseconds per row."""

    params = (["float32", "float64"], ["native", "mfma", "plain"])
    param_names = ("dtype", "flags")
    unit = "ns"
    flags = {"native": ["-march=native"], "mfma": ["-mfma"], "plain": []}  # noqa: RUF012  (asv wants no annotation)
    rows = 1000

    def setup(self, dtype: str, flags: str) -> None:
        if shutil.which("gcc") is None:
            raise NotImplementedError
        layers = [fastnn.Dense(32, "tanh"), fastnn.Dense(32, "gelu"), fastnn.Dense(3)]
        model = fastnn.Model(layers, loss="squared_error", seed=0, dtype=dtype).build(8)
        self.X = np.random.default_rng(0).standard_normal((self.rows, 8)).astype(dtype)
        self.Y = np.empty((self.rows, 3), dtype)
        kind = "float" if dtype == "float32" else "double"
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fastnn.interchange.export_c(model, folder / "net.h")
            (folder / "rows.c").write_text(
                f'#include "net.h"\n__attribute__((noinline)) static void one(const {kind} *x, {kind} *y)\n'
                f"{{ net_predict(x, y); }}\nvoid rows(const {kind} *x, long n, {kind} *y);\n"
                f"void rows(const {kind} *x, long n, {kind} *y)\n"
                "{ for (long r = 0; r < n; ++r) one(x + 8 * r, y + 3 * r); }\n"
            )
            command = ["gcc", "-std=c99", "-O3", *self.flags[flags], "-shared", "-fPIC", "rows.c", "-o", "rows.so"]
            if subprocess.run([*command, "-lm"], cwd=folder, check=False, capture_output=True).returncode:
                raise NotImplementedError  # the flag is that of other processors
            self.call = ctypes.CDLL(str(folder / "rows.so")).rows

    def track_row(self, dtype: str, flags: str) -> float:
        x, y = (ctypes.c_void_p(array.ctypes.data) for array in (self.X, self.Y))

        def run(count: int) -> None:
            for _ in range(count):
                self.call(x, ctypes.c_long(self.rows), y)

        return 1e9 * median(run) / self.rows
