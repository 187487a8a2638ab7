"""What layers make of the data, beside kernels and features made by hand."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_depth_separates_spirals_with_the_same_number_of_weights(run):
    results, printed = run("representation/shallow_and_deep", seeds=2, epochs=120)
    assert results["weights"] == [177, 177]
    assert min(results["disc", "one layer of 44"]) > 0.95
    assert min(results["disc", "two layers of 11"]) > 0.95
    assert np.mean(results["spirals", "two layers of 11"]) > np.mean(results["spirals", "one layer of 44"]) + 0.08
    assert "177 weights" in printed


def test_a_net_finds_coordinates_in_which_lines_separate_rings(run):
    results, printed = run("representation/representation_learning", rows=400, epochs=100)
    assert results["x and y"] < 0.6
    for space in ("radius and angle", "hidden layer 1", "hidden layer 2", "net"):
        assert results[space] > 0.93, space
    assert "lines in x and y" in printed


def test_few_learnt_features_do_what_few_random_ones_do_not(run):
    pytest.importorskip("sklearn")
    results, printed = run("representation/kernel_trick", rows=300, epochs=200)
    assert results["a line"] < 0.7
    assert results["kernel trick"] > 0.9
    assert results["300 random features"] > 0.9
    assert results["8 learnt features"] > results["8 random features"] + 0.1
    assert 0 < results["support vectors"] < 300
    assert "of 300 rows" in printed


def test_a_net_on_pixels_needs_no_features(run):
    results, printed = run("representation/end_to_end", epochs=20, seeds=1)
    kinds = ("place and shape", "and profiles", "and crossings")
    linear = [results[kind, "linear"][0] for kind in kinds]
    assert linear == sorted(linear)  # more work on features, better results
    assert results["pixels", "net"][0] > max(results[kind, "net"][0] for kind in kinds)
    assert results["pixels", "net"][0] > results["pixels", "linear"][0]
    assert "64 numbers" in printed


def test_maps_of_neurons_are_bent_more_from_layer_to_layer(run):
    results, printed = run("representation/network_seen", rows=300, epochs=60)
    assert results["accuracy"] > 0.9
    assert results["layer 1"] > results["layer 2"] > results["output"]
    assert "straight slope" in printed


def test_training_unfolds_spirals(run):
    results, printed = run("representation/hidden_space_unfolding", epochs=200)
    first, *_, last = results.values()
    assert first < 0.7
    assert last > 0.95
    assert list(results)[-1] == 200
    assert "correct side" in printed


def test_the_unfolding_is_an_animation_in_a_file_of_that_kind(load, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    load("representation/hidden_space_unfolding").main(str(tmp_path / "spirals.gif"), rows=100, epochs=20)
    with image.open(tmp_path / "spirals.gif") as film:
        assert film.n_frames > 5


def test_weights_become_smooth_where_digits_are(run):
    results, printed = run("representation/what_was_learnt", epochs=20)
    assert results["accuracy"] > 0.9
    assert abs(results["start"]) < 0.1
    assert results["end"] > 0.2
    assert "is taken for" in printed
