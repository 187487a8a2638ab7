"""Amounts of work of the stress tests: short as a part of the suite, long by ``FASTNN_STRESS=long``."""

from __future__ import annotations

import os


def amount(short: int, long: int) -> int:
    """Return how often a stress test repeats its case: `short`, or `long` if ``FASTNN_STRESS`` is ``long``."""
    return long if os.environ.get("FASTNN_STRESS") == "long" else short


def seed() -> int:
    """Return the seed of the random cases of stress tests: ``FASTNN_STRESS_SEED``, 0 by default."""
    return int(os.environ.get("FASTNN_STRESS_SEED", "0"))
