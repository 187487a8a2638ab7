"""The examples in docstrings have the results that they state."""

import doctest
import importlib
import pkgutil

import pytest

import fastnn

#: Modules, and of some the package that they need.
MODULES = [
    module.name for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.") if not module.name.endswith("__main__")
]
EXTRAS = {name: "sklearn" for name in MODULES if name.startswith("fastnn.estimators")}


def examples(name):
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    runner = doctest.DocTestRunner(verbose=False)
    told = []
    for test in examples(name):
        runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)


def test_the_first_thing_that_people_read_has_an_example():
    assert any(test.name == "fastnn.model.Model" for test in examples("fastnn.model"))
