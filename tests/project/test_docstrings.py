"""Docstrings of public objects are complete numpydoc."""

import importlib
import inspect
import pkgutil

import pytest

import fastnn

validate = pytest.importorskip("numpydoc.validate").validate

#: Public modules: the flat ones without an underscore.
NOUNS = [m.name for m in pkgutil.iter_modules(fastnn.__path__) if not m.name.startswith("_") and m.name != "kernels"]

#: GL07: order of sections; GL08: no docstring; PR01, PR02: parameters without a description, and the reverse; RT01 and
#: RT03: return values without a section or a description; SS03 to SS06: the summary ends with a period, is one line,
#: and begins with a verb in the imperative; YD01: what a generator yields.
CHECKS = {"GL07", "GL08", "PR01", "PR02", "RT01", "RT03", "SS03", "SS04", "SS05", "SS06", "YD01"}
#: Docstrings that refer to another one for a part of their parameters: that of the classifier.
INCOMPLETE = frozenset({"fastnn.estimators.MLPRegressor"})


def overrides(kind, member):
    """Return whether a base class describes the member, so that it need not be described again."""
    return any(hasattr(base, member) for base in kind.__mro__[1:])


def public_objects():
    """Return full name: object, for every public name and the public members of classes that are defined here."""
    found = {}
    for noun in NOUNS:
        try:
            module = importlib.import_module(f"fastnn.{noun}")
        except ImportError:  # an extra
            continue
        for name in module.__all__:
            value = getattr(module, name)
            found[f"fastnn.{noun}.{name}"] = value
            if not inspect.isclass(value):
                continue
            for member, thing in inspect.getmembers_static(value):  # a property of a base class may warn
                thing = getattr(thing, "fget", getattr(thing, "__func__", thing))
                if member.startswith("_") or not inspect.isfunction(thing):
                    continue
                if thing.__module__.startswith("fastnn") and not overrides(value, member):
                    found[f"fastnn.{noun}.{name}.{member}"] = thing
    found["fastnn.load"] = fastnn.load
    return found


OBJECTS = public_objects()


def problems(name):
    return [f"{code}: {text}" for code, text in validate(name)["errors"] if code in CHECKS]


def test_there_are_objects_to_validate():
    assert len(OBJECTS) > 100


@pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")  # properties of ipywidgets that numpydoc reads
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_docstring(name):
    if name not in INCOMPLETE:
        assert problems(name) == []


def test_the_incomplete_ones_exist():
    assert set(OBJECTS) >= INCOMPLETE


def test_a_bad_docstring_is_found(monkeypatch):
    monkeypatch.setattr(fastnn.load, "__doc__", "Reads a model\n")
    assert {problem[:4] for problem in problems("fastnn.load")} >= {"PR01", "SS03"}
