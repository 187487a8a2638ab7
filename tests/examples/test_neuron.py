"""The neuron: one layer, the problem it cannot solve, activations."""

import pytest

pytestmark = pytest.mark.slow


def test_xor_needs_a_hidden_layer(run):
    accuracies, printed = run("neuron/nonlinear_separability", epochs=60)
    assert accuracies["left or right: logistic regression"] > 0.98
    assert accuracies["XOR: logistic regression"] < 0.8
    assert accuracies["XOR: two hidden units"] > 0.95
    assert accuracies["XOR: logistic regression on their outputs"] > 0.95
    assert "two hidden units" in printed
