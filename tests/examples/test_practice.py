"""More data, fewer labels, other data, new data, attacks, explanations."""

import pytest

pytestmark = pytest.mark.slow


def test_layers_learnt_on_other_digits_help(run):
    accuracies, printed = run("practice/transfer")
    assert accuracies["a new head:"] > accuracies["a new net:"] + 0.03
    assert accuracies["then all layers:"] > accuracies["a new net:"] + 0.03
    assert "0 to 4" in printed


def test_a_net_trained_against_attacks_resists_them(run):
    found, printed = run("practice/adversarial_digit", epochs=20, rows=300)
    plain, against = found["plain"].accuracy, found["against FGSM"].accuracy
    assert min(plain[0], against[0]) > 0.9
    assert plain[3] < 0.35  # at the radius of the training
    assert against[3] > plain[3] + 0.3
    assert "accuracy under PGD" in printed


def test_deleting_the_pixels_that_count_lowers_the_logit(run):
    falls, printed = run("practice/explanations", epochs=20, rows=100)
    assert falls["integrated gradients"] > 2 * falls["saliency"]
    assert falls["saliency"] > falls["at random"]
    assert "largest error" in printed


def test_a_pair_of_nets_generates_what_the_data_look_like(run):
    results, printed = run("practice/generative_pair")
    first, *_, last, data = results.values()
    assert data.sum() > 0.95
    assert first.sum() < 0.3
    assert last.sum() > 0.65  # 0.8 to 0.9 with other seeds
    assert last.min() > 0.03
    assert "points at a center" in printed
