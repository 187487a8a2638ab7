"""What it costs to begin: import, first fit without and with compiled code on disk, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

FIRST_FIT = """
import numpy as np, fastnn
X = np.zeros((64, 4), np.float32)
fastnn.Model([8, 1], loss="squared_error").fit(X, X[:, 0], verbose=False)
"""


def _seconds(code: str, cache: str | None = None) -> float:
    environment = dict(os.environ)
    if cache is not None:
        environment["FASTNN_CACHE_DIR"] = cache
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


class Startup:
    """Whole processes, in seconds; the cold ones compile."""

    timeout = 300
    unit = "s"

    def track_import_over_numba(self) -> float:
        alone = min(_seconds("import numba") for _ in range(5))
        return min(_seconds("import fastnn") for _ in range(5)) - alone

    def track_first_fit_cold(self) -> float:
        with tempfile.TemporaryDirectory() as cache:
            return _seconds(FIRST_FIT, cache)

    def track_first_fit_warm(self) -> float:
        with tempfile.TemporaryDirectory() as cache:
            _seconds(FIRST_FIT, cache)
            return min(_seconds(FIRST_FIT, cache) for _ in range(5))


class Memory:
    """Peak of a process that trains on 40 MB of data in one batch."""

    def setup(self) -> None:
        import numpy as np

        import fastnn

        self.X = np.ones((100_000, 100), np.float32)
        self.model = fastnn.Model([64, 1], loss="squared_error", seed=0)
        self.model.fit(self.X[:10], self.X[:10, 0], verbose=False)

    def peakmem_full_batch(self) -> None:
        self.model.fit(self.X, self.X[:, 0].copy(), batch_size=None, verbose=False)
