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


def test_an_autoencoder_helps_while_labels_are_few(run):
    results, printed = run("practice/pretraining", epochs=40, draws=3)
    gain = (results["pre-trained"] - results["labels only"]).mean(axis=0)
    assert gain[0] > 0.0  # one label per digit
    assert gain[0] > gain[-1]
    assert results["labels only"][:, -1].mean() > 0.8
    assert "labels per digit" in printed


def test_after_a_task_without_labels_the_nearest_picture_shows_the_same_digit(run):
    same, printed = run("practice/self_supervision", images=500)
    assert list(same) == ["pixels", "untrained net", "trained net"]
    assert same["trained net"] > max(same["pixels"], same["untrained net"]) + 0.2
    assert "shows the same digit" in printed


def test_changed_data_are_misread_with_confidence(run):
    results, printed = run("practice/shift_of_data", epochs=15)
    assert results["as in training"]["accuracy"] > 0.9
    assert results["half the ink"]["accuracy"] > 0.9  # not every change does harm
    for name in ("moved by a pixel", "white on black"):
        assert results[name]["accuracy"] < 0.75, name
        assert results[name]["stated"] > results[name]["accuracy"] + 0.1, name
        assert results[name]["trained"] > results[name]["accuracy"] + 0.2, name
    assert "stated probability" in printed


def test_without_model_labels_or_environment_the_net_fails(run):
    results, printed = run("practice/three_conditions", epochs=15, seeds=1)
    all_three = results.pop("all three")[0]
    assert all_three > 0.9
    assert len(results) == 5
    for name, (value,) in results.items():
        assert value < all_three - 0.08, name
    assert "environment" in printed


def test_the_larger_the_net_the_more_it_gains_from_data(run):
    results, printed = run("practice/why_deep_learning", amounts=(100, 1600), passes=20_000)
    found = results["digits at random places"]
    gains = [found[name][1] - found[name][0] for name in ("linear", "small net", "medium net", "large net")]
    assert gains == sorted(gains)
    assert gains[-1] > gains[0] + 0.3
    assert "large net" in printed


def test_a_search_chooses_a_simple_net_that_is_as_good(run):
    pytest.importorskip("joblib")
    results, printed = run("practice/architecture_search", rows=400, epochs=25, folds=4, widths=(2, 8, 32, 64))
    mean, error, best, chosen = (results[name] for name in ("mean", "error", "best", "chosen"))
    assert mean.shape == error.shape == (3, 4)
    assert mean[best] == mean.max()
    assert mean[chosen] >= mean[best] - error[best]
    assert results["weights"][chosen] <= results["weights"][best]
    assert results["test"] > results["test of the smallest"] + 0.1
    assert "standard error" in printed


def test_an_ensemble_shows_where_rows_are_missing(run):
    results, printed = run("practice/error_bars", nets=8, epochs=250)
    assert results["spread in the gap"] > 2 * results["spread near rows"]
    assert 0.82 <= results["coverage"] <= 0.97  # of the 80 rows that measure errors, once
    assert "coverage" in printed


def test_halvings_of_both_libraries_find_good_settings(run):
    pytest.importorskip("sklearn")
    results, printed = run("practice/settings_search", rows=300, candidates=27, peer_candidates=3, epochs=9)
    assert set(results) == {"fastnn", "scikit-learn"}
    assert results["fastnn"][1] > 0.8
    assert results["fastnn"][2] > results["scikit-learn"][2] - 0.05
    assert "27 candidates" in printed


def test_nets_that_differ_in_their_start_end_at_different_losses(run):
    losses, printed = run("practice/start_weights", nets=32, epochs=200)
    assert losses.shape == (200, 32)
    assert losses[-1].max() > 3 * losses[-1].min()
    assert losses[-1].min() < 0.2
    assert "best" in printed
