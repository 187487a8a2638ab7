"""Forward, backward, downhill."""

import pytest

pytestmark = pytest.mark.slow


def test_more_rows_an_update_are_better_for_updates_and_worse_for_epochs(run):
    histories, printed = run("descent/batch_or_stochastic", epochs=10)
    losses = {name: history["val_loss"] for name, history in histories.items()}
    assert losses["stochastic"][9] < losses["mini-batch"][9] < losses["batch"][9]  # after as many epochs
    assert losses["batch"][39] < losses["mini-batch"][1]  # after 40 updates
    assert "loss after updates" in printed


def test_optimizers_race(run):
    errors, printed = run("descent/optimizers_race", epochs=40, rates=(0.003, 0.1))
    assert len(errors) == 11
    assert errors["Levenberg-Marquardt"] < min(error for name, error in errors.items() if name != "Levenberg-Marquardt")
    # The best of the other rules had 0.54 of plain descent's error; which one it is may differ by the processor.
    rules = set(errors) - {"SGD", "L-BFGS", "Levenberg-Marquardt"}
    assert min(errors[name] for name in rules) < 0.8 * errors["SGD"]
    assert "best rate" in printed


def test_a_rate_can_be_too_low_and_too_high(run):
    losses, printed = run("descent/learning_rate", rows=1000, epochs=6)
    assert losses["just right"] < min(losses["too low"], losses["too high"])
    assert losses["OneCycle"] < losses["just right"]
    assert "constant rate" in printed
