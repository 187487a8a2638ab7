"""`dir` of the package and its public modules shows the public names, all of them, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import fastnn

pytest.importorskip("sklearn")  # of the estimators

NOUNS = [m.name for m in pkgutil.iter_modules(fastnn.__path__) if not m.name.startswith("_") and m.name != "kernels"]


def test_the_package():
    shown = dir(fastnn)
    assert set(shown) == {*fastnn.__all__, *NOUNS, "MLPClassifier", "MLPRegressor", *fastnn.population.__all__,
                          *fastnn.ensemble.__all__}  # fmt: skip
    assert len(shown) == len(set(shown))
    for name in shown:
        assert getattr(fastnn, name) is not None


@pytest.mark.parametrize("noun", NOUNS)
def test_a_module(noun):
    module = importlib.import_module(f"fastnn.{noun}")
    extra = {"FirstOrderOptimizer", "get"} if noun == "optimizers" else set()
    assert set(dir(module)) == {*module.__all__, *extra}
    for name in dir(module):
        value = getattr(module, name)
        assert isinstance(value, list | tuple) or value.__module__.startswith("fastnn")  # lists have no module
