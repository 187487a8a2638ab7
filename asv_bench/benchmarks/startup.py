"""Benchmarks of startup: import, first fit without and with compiled code on disk; and of memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

FIRST_FIT = """
import numpy as np, fastnn
X = np.zeros((64, 4), np.float32)
fastnn.Model([8, 1], loss="squared_error").fit(X, X[:, 0], verbose=False)
"""


def _seconds(code: str, **environment: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
    return time.perf_counter() - start


class Import:
    """Seconds of importing fastnn minus those of importing Numba."""

    timeout = 300
    unit = "s"

    def track_import_over_numba(self) -> float:
        # Alternating, so that other load of the machine affects both.
        times = [(_seconds("import numba"), _seconds("import fastnn")) for _ in range(5)]
        numba, fastnn = map(min, zip(*times, strict=True))
        return fastnn - numba


class FirstFit:
    """Seconds of a whole process that imports and fits: one that compiles, and one that loads compiled code."""

    timeout = 300
    unit = "s"

    def setup_cache(self) -> float:
        """Compile into the folder that asv provides to the class, from which later processes load."""
        return _seconds(FIRST_FIT, FASTNN_CACHE_DIR=os.path.abspath("cache"))

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_cold(self, cold: float) -> float:
        return cold

    def track_warm(self, cold: float) -> float:
        return min(_seconds(FIRST_FIT, FASTNN_CACHE_DIR=os.path.abspath("cache")) for _ in range(5))


class Memory:
    """Peak memory of a process that imports, and of one that trains on 40 MB of data, in batches and in one."""

    params = ([None, 256, 100_000],)
    param_names = ("batch",)
    timeout = 300

    def setup_cache(self) -> None:
        """Compile in another process, as the compiler uses more memory than the training."""
        _seconds(FIRST_FIT)

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def setup(self, batch: int | None) -> None:
        import fastnn

        if batch is None:
            return
        self.X = np.ones((100_000, 100), np.float32)
        self.y = self.X[:, 0].copy()
        self.model = fastnn.Model([64, 1], loss="squared_error", seed=0)
        self.model.fit(self.X[:10], self.y[:10], verbose=False)

    def peakmem_fit(self, batch: int | None) -> None:
        if batch is not None:
            self.model.fit(self.X, self.y, batch_size=batch, verbose=False)
