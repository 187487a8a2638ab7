"""Every public name is in the reference, every page in a table of contents, and no link is dead."""

import argparse
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastnn
from fastnn import __main__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = ("auto_examples", "generated")
PAGES = sorted(
    path.relative_to(DOCS) for suffix in ("md", "rst") for path in DOCS.rglob(f"*.{suffix}")
    if not set(path.parts) & {*GENERATED, "_templates"}
)  # fmt: skip
#: Public modules: the flat ones without an underscore.
NOUNS = [m.name for m in pkgutil.iter_modules(fastnn.__path__) if not m.name.startswith("_") and m.name != "kernels"]
FENCE = re.compile(r"^(`{3,}|:{3,}).*?^\1\s*$", re.DOTALL | re.MULTILINE)


def documented():
    """Return the full names that the reference lists, each resolved to its object's place."""
    names = set()
    for page in (DOCS / "reference").glob("*.rst"):
        module = None
        listing = False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module, listing = line.split()[-1], False
            elif line.startswith(".. "):
                listing = line.startswith(".. autosummary::")
            elif listing and line.strip() and not line.strip().startswith(":"):
                names.add(f"{module}.{line.strip()}")
    return names


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_the_reference_names_what_exists():
    names = documented()
    assert len(names) > 50
    for name in names:
        if name in ("fastnn.MLPClassifier", "fastnn.MLPRegressor"):
            pytest.importorskip("sklearn")
        assert resolve(name).__doc__, name


def test_every_public_name_is_in_the_reference():
    pytest.importorskip("sklearn")
    found = [resolve(name) for name in documented()]
    missing = []
    for module in [fastnn, *(importlib.import_module(f"fastnn.{noun}") for noun in NOUNS)]:
        assert module.__all__, f"{module.__name__} has no __all__"
        for name in module.__all__:
            value = getattr(module, name)
            if name == "__version__" or type(value) is type(fastnn):  # modules have pages
                continue
            if not any(value is one for one in found):
                missing.append(f"{module.__name__}.{name}")
    assert not missing


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_has_a_page(noun):
    assert (DOCS / "reference" / f"{noun}.rst").exists()


def test_every_option_of_the_command_line_is_documented(monkeypatch):
    options = []
    add = argparse.ArgumentParser.add_argument

    def record(self, *names, **settings):
        options.extend(name for name in names if name.startswith("--"))
        return add(self, *names, **settings)

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", record)
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    page = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert len(options) > 10
    assert [option for option in options if f"`{option}" not in page and option != "--help"] == []


def entries(page):
    """Return the pages (without suffix, relative to docs) that the tables of contents of a page list."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"^\.\. toctree::\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    lines = [re.sub(r".*<(.+)>$", r"\1", line) for line in lines if line and not line.startswith(":")]
    return {str(page.parent / line) for line in lines}


def test_every_page_is_in_a_table_of_contents():
    listed = set().union(*(entries(page) for page in PAGES))
    pages = {str(page.with_suffix("")) for page in PAGES}
    assert pages - listed == {"index"}
    assert {entry for entry in listed - pages if not entry.startswith("auto_examples")} == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{page}" for page in PAGES)])
def test_links_within_the_repository_lead_somewhere(page):
    path = ROOT / page
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file = target.partition("#")[0]
        if file and not file.startswith(("auto_examples/", "pictures/")):  # these are made by the build
            assert (path.parent / file).exists(), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90
