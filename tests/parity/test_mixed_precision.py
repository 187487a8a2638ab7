"""Mixed precision against PyTorch's autocast, by the study of its accuracy on small settings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import JIT_DISABLED

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2]))
from asv_bench import mixed_precision
from asv_bench.mixed_precision import UNIT, distance, gradient_errors, load, trainings

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="trainings are slow as Python")


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_trainings_are_those_of_float32_and_of_autocast(name):
    runs = trainings(load(name, 3), 3, 3)
    ours, theirs = runs["fastnn float32"](), runs["PyTorch float32"]()
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-5)
    assert distance(ours.parameters, theirs.parameters) < 1e-5
    assert ours.score == pytest.approx(theirs.score, abs=1e-5)
    mixed, autocast = runs["fastnn mixed"](), runs["PyTorch autocast"]()
    for rounded, precise in ((mixed, ours), (autocast, theirs), (runs["autocast without oneDNN"](), theirs)):
        assert 1e-5 < distance(rounded.parameters, precise.parameters) < 2e-2
        np.testing.assert_allclose(rounded.losses, precise.losses, rtol=2e-2)
    assert 0.0 < distance(mixed.parameters, autocast.parameters) < 2e-2
    same_roundings = runs["PyTorch rounding operands"]()
    assert distance(mixed.parameters, same_roundings.parameters) < 0.1 * distance(mixed.parameters, ours.parameters)
    np.testing.assert_allclose(mixed.losses, same_roundings.losses, rtol=1e-4)


def test_gradients_are_as_near_to_those_of_float64_as_those_of_autocast():
    errors = [gradient_errors("tanh", 32, seed) for seed in range(5)]
    ours, theirs = (np.array([one[name] for one in errors]) for name in ("fastnn mixed", "PyTorch autocast"))
    assert (ours < 12 * UNIT).all()
    assert (theirs > 0.1 * UNIT).all()  # it rounds
    assert ours.mean() < 1.25 * theirs.mean()


@pytest.mark.slow
def test_the_study_prints_what_is_pytorchs(capsys):
    mixed_precision.main(["--seeds", "2", "--epochs", "2", "--data", "wine", "--trajectory", "1", "--widths", "16"])
    lines = capsys.readouterr().out.splitlines()
    assert not any("not installed" in line for line in lines)
    (wine,) = (line for line in lines if line.startswith("| wine"))
    assert wine.count("±") == 6
    first = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert [row for row in first if ", " in row and "=" not in row] == [f"{a}, {b}" for a, b in mixed_precision.PAIRS]
