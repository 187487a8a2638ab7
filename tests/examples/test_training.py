"""The training process, and what keeps a net from memorizing."""

import pytest

pytestmark = pytest.mark.slow


def test_a_loop_of_ones_own_trains_as_fit_does(run):
    results, printed = run("training/training_process", epochs=8)
    assert results["difference"] == 0.0
    assert results["by hand"] > 0.9
    assert results["by fit"] > 0.9
    assert results["best"] == results["epochs"] == 8  # the loss still falls
    assert "random start" in printed


def test_remedies_against_overfitting(run):
    results, printed = run("training/regularization", epochs=300)
    none = results.pop("none")
    assert len(results) == 5
    for name, found in results.items():
        assert found["training"] > none["training"], name
        assert found["test"] < none["test"], name
    for name in ("noise", "early stopping", "dropout"):
        assert results[name]["accuracy"] > none["accuracy"] + 0.02, name
    assert "dropout" in printed


def test_a_net_that_saw_moved_digits_reads_moved_digits(run):
    results, printed = run("training/data_augmentation", rows=500, epochs=40, seeds=1)
    without, with_ = results["without"], results["with"]
    assert without[0] > with_[0]  # centred digits
    assert without[4] < 0.6  # moved by one pixel
    assert with_[4] > without[4] + 0.2
    assert "pixels" in printed
