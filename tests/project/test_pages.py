"""The code on the pages of the documentation gives what is printed there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(pycon|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "docs").rglob("*.md")
    if FENCED.search(path.read_text(encoding="utf-8"))
)


def run(text, name):
    """Run the blocks of a page, one after the other in one namespace; return the report of what differs."""
    namespace, report = {}, []
    runner = doctest.DocTestRunner(verbose=False)
    for block in FENCED.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if block[1] == "python":
            exec(compile("\n" * line + block[2], name, "exec"), namespace)
            continue
        test = doctest.DocTestParser().get_doctest(block[2], namespace, name, name, line)
        runner.run(test, out=report.append, clear_globs=False)
        namespace = test.globs  # a copy of what was given
    return "".join(report)


def test_the_guide_has_pages_with_code():
    assert len(PAGES) > 8


@pytest.mark.parametrize("page", PAGES)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    if "sklearn" in text:
        pytest.importorskip("sklearn")
    assert run(text, page) == ""


def test_wrong_output_is_an_error():
    page = "```pycon\n>>> a = 1\n\n```\ntext\n```python\nb = a + 1\n```\n\n```pycon\n>>> b\n{}\n\n```\n"
    assert run(page.format(2), "page") == ""
    assert "Expected" in run(page.format(3), "page")
