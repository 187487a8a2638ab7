"""The neuron: one layer, the problem it cannot solve, activations."""

import pytest

pytestmark = pytest.mark.slow


def test_a_net_without_hidden_layer_is_linear_regression(run):
    pytest.importorskip("sklearn")
    differences, printed = run("neuron/linear_regression")
    assert list(differences) == ["gradient descent", "Levenberg-Marquardt", "all ten features"]
    assert differences["gradient descent"] < 1e-9  # of weights of 45 and 152
    assert max(differences.values()) < 1e-4
    assert "weights and bias of the net" in printed


def test_a_net_without_hidden_layer_is_logistic_regression(run):
    pytest.importorskip("sklearn")
    results, printed = run("neuron/logistic_regression")
    assert results["accuracy"] > 0.92
    assert results["slope"] < 1e-8
    assert "the line" in printed


def test_a_neuron_has_the_weights_of_logistic_regression(run):
    pytest.importorskip("sklearn")
    results, printed = run("neuron/neuron_is_logistic_regression")
    assert results["weights"] < 1e-4
    assert results["probabilities"] < 1e-5
    assert results["accuracy"] > 0.92
    assert "mean texture" in printed


def test_xor_needs_a_hidden_layer(run):
    accuracies, printed = run("neuron/nonlinear_separability", epochs=60)
    assert accuracies["left or right: logistic regression"] > 0.98
    assert accuracies["XOR: logistic regression"] < 0.8
    assert accuracies["XOR: two hidden units"] > 0.95
    assert accuracies["XOR: logistic regression on their outputs"] > 0.95
    assert "two hidden units" in printed


def test_layers_without_activation_are_one_layer(run):
    results, printed = run("neuron/layers_without_activation", epochs=50)
    assert results["difference"] < 1e-12
    for depth in (1, 2, 4):
        assert results[f"identity {depth}"] < 0.92
        assert results[f"tanh {depth}"] > 0.98
    assert "outputs within" in printed


def test_the_gradient_vanishes_through_sigmoids_only(run):
    gradients, printed = run("neuron/activation_functions", rows=100, seeds=2)
    shares = {name: size[0] / size[-1] for name, size in gradients.items()}
    assert shares["sigmoid"] < 1e-4
    assert all(low < high for low, high in zip(gradients["sigmoid"][:-1], gradients["sigmoid"][1:], strict=True))
    assert 0.05 < shares["tanh"] < 20
    assert 0.05 < shares["relu"] < 20
    assert "largest f'" in printed


def test_derivatives_of_activations(load):
    import numpy as np

    derivative = load("neuron/activation_functions").derivative
    z = np.array([-5.0, 0.0, 5.0])
    a = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(derivative("sigmoid", z), a * (1 - a), rtol=1e-12)
    np.testing.assert_allclose(derivative("tanh", z), 1 - np.tanh(z) ** 2, rtol=1e-9)
    np.testing.assert_array_equal(derivative("relu", z), [0, 0, 1])
