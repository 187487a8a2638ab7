"""Fixtures that several test files share."""

from __future__ import annotations

import numpy as np
import pytest
from skip_policy import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

from fastnn._engine.thread_team import ThreadTeam


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Both types that the kernels are compiled for."""
    return np.dtype(request.param)


@pytest.fixture
def solo():
    """A team of the calling thread alone."""
    with ThreadTeam(1) as team:
        yield team


@pytest.fixture(params=[1, 2, 4], ids=lambda n: f"{n} threads")
def team(request):
    """Teams of one, two and four threads."""
    with ThreadTeam(request.param) as made:
        yield made
