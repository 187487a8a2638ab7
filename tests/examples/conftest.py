"""Fixtures that load and run examples by section and name, such as "neuron/nonlinear_separability"."""

import importlib.util
from pathlib import Path
from unittest import mock

import numba
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a function that returns an example as a module, of which no code is cached beside the example.

    Numba writes the name of the module into what it caches. A script that finds such a file later, such as the build of
    the gallery, would import that name.
    """
    folder = str(tmp_path_factory.mktemp("numba"))

    def load(name):
        path = EXAMPLES / f"{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        with mock.patch.object(numba.config, "CACHE_DIR", folder):
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run(load, capsys, tmp_path):
    """Return a function that runs an example, and returns its results and what it prints.

    The example draws as well, if matplotlib is installed, and its picture is not empty.
    """

    def run(name, **settings):
        picture = tmp_path / "picture.png" if importlib.util.find_spec("matplotlib") else None
        results = load(name).main(picture and str(picture), **settings)
        if picture:
            assert picture.stat().st_size > 5000
        return results, capsys.readouterr().out

    return run
