"""The training process, depth, and what keeps a net from memorizing."""

import pytest

pytestmark = pytest.mark.slow


def test_a_loop_of_ones_own_trains_as_fit_does(run):
    results, printed = run("training/training_process", epochs=8)
    assert results["difference"] == 0.0
    assert results["by hand"] > 0.9
    assert results["by fit"] > 0.9
    assert "random start" in printed


def test_remedies_against_overfitting(run):
    results, printed = run("training/regularization", epochs=300)
    training, test = results.pop("none")
    for name, (training_with, test_with) in results.items():
        assert training_with > training, name
        assert test_with < test, name
    assert "dropout" in printed
