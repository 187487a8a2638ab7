"""The shared builders: the lists of cases are complete."""

from __future__ import annotations

import driver
import models


def test_the_list_of_optimizers_has_every_rule_once():
    """A rule that is missing here would be missing in each test of "every optimizer"."""
    built = {name: models.classifier(optimizer=optimizer).optimizer for name, optimizer in models.OPTIMIZERS.items()}
    assert {name: optimizer.rule.code for name, optimizer in built.items()} == driver.OPTIMIZERS


def test_different_seeds_and_options_give_different_builds():
    """Otherwise tests that compare two builds would compare one with itself."""
    first, second = (models.classifier(seed=seed).build(3) for seed in (0, 1))
    assert models.bits(first) != models.bits(second)
    assert models.bits(first) == models.bits(models.classifier().build(3))
    assert (models.table() != models.table(seed=1)).all()
    assert (models.labels() != models.labels(seed=2)).any()
    assert models.regressor(loss="huber").loss.name == "huber"
