"""The study of the accuracy of mixed precision, on its smallest settings; with PyTorch in tests/parity."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.kernels.lang.compiler import JIT_DISABLED

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

pytest.importorskip("sklearn")
from asv_bench import mixed_precision  # noqa: E402

SMALLEST = ["--seeds", "2", "--epochs", "2", "--data", "wine", "diabetes", "--trajectory", "1", "--widths", "16"]


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED, reason="trainings are slow as Python")
def test_it_prints_its_tables(monkeypatch, capsys):
    monkeypatch.setattr(mixed_precision, "has_torch", lambda: False)
    mixed_precision.main(SMALLEST)
    lines = capsys.readouterr().out.splitlines()
    assert "PyTorch is not installed, so its columns are left out." in lines
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert [row for row in rows if row and not row.startswith("---")] == [
        "wine", "diabetes", "epoch", "1", "fastnn mixed, fastnn float32", "net", "tanh, w = 16", "relu, w = 16",
    ]  # fmt: skip
    (wine,) = (line for line in lines if line.startswith("| wine"))
    scores = [float(cell.split("±")[0]) for cell in wine.split("|")[2:5]]
    assert scores[2] == pytest.approx(scores[1] - scores[0], abs=2e-4)
    assert 0.0 < scores[0] <= 1.0


@pytest.mark.parametrize("name", mixed_precision.DATA)
def test_splits(name):
    one, same, other = (mixed_precision.load(name, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.X_test, same.X_test)
    assert not np.array_equal(one.X_test, other.X_test)
    assert one.X.dtype == one.X_test.dtype == np.float32
    assert len(one.X) == len(one.y)
    assert len(one.X_test) == len(one.y_test) == math.ceil((len(one.X) + len(one.X_test)) / 4)
    np.testing.assert_allclose(one.X.mean(axis=0), 0.0, atol=1e-5)
    assert one.n_outputs == {"digits": 10, "breast_cancer": 2, "wine": 3, "diabetes": 1}[name]
    y = np.asarray(one.y_test)
    perfect = y if name == "diabetes" else np.eye(one.n_outputs)[y]
    assert one.score(perfect) == 1.0
    assert one.score(-perfect) < 0.5


@pytest.mark.skipif(JIT_DISABLED, reason="the kernels of float64 are slow as Python")
def test_the_error_of_a_gradient_is_of_the_size_of_the_roundings(monkeypatch):
    monkeypatch.setattr(mixed_precision, "has_torch", lambda: False)
    for seed in range(3):
        errors = mixed_precision.gradient_errors("tanh", 32, seed)
        assert errors["fastnn float32"] < 1e-5
        assert 0.1 * mixed_precision.UNIT < errors["fastnn mixed"] < 12 * mixed_precision.UNIT


def test_distance_and_errors():
    a = [np.array([[3.0, 0.0]]), np.array([4.0])]
    b = [np.array([[3.0, 4.0]]), np.array([0.0])]
    assert mixed_precision.distance(a, b) == pytest.approx(math.sqrt(32) / 5)
    assert mixed_precision.distance(a, a) == 0.0
    assert mixed_precision.mean_and_error([1.0, 3.0]) == "2.0000 ± 1.0000"
    assert mixed_precision.mean_and_error([1.0, 3.0], "+.1f") == "+2.0 ± 1.0"
    assert math.isnan(mixed_precision.error_of_mean([1.0]))
