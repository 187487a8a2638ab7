"""Plain words: prose uses the field's terms, so listed figures of speech and vague quantities are errors."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Words whose plain forms are, in this order: report, print or return; validate or raise; a number with its unit;
#: observe; the user or caller; overfitting; the record; notify; pass; describe; custom; return.
WORDS = re.compile(
    r"\b(told|tells?|telling|insists?|so many|looks? on|looking on|whoever|nobody|somebody|by heart|the books|wakes?"
    r"|hands? on|handed on|speaks? of|the user's|gives? back)\b",
    re.IGNORECASE,
)
#: Files that quote the words.
QUOTING = {"tests/project/test_words.py"}
FILES = sorted(
    path
    for pattern in ("*.md", "fastnn/**/*.py", "docs/**/*.md", "docs/**/*.rst", "docs/*.py", "examples/**/*.py",
                    "asv_bench/**/*.py", "tests/**/*.py")
    for path in ROOT.glob(pattern)
    if "build" not in path.parts
)  # fmt: skip


def prose(path: Path) -> list[tuple[int, str]]:
    """Return comments and texts of a Python file, or the lines of a page, with their line numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(text.split("\n"), 1))
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(token.start[0], token.string) for token in tokens if token.type in kinds]


def findings(path: Path) -> list[str]:
    """Return the places where a file uses one of the words."""
    return [f"{path.name}:{line}: {found.group()}" for line, text in prose(path) for found in WORDS.finditer(text)]


def test_the_files_are_found():
    assert len(FILES) > 150


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_uses_plain_words(path):
    if path.relative_to(ROOT).as_posix() not in QUOTING:
        assert findings(path) == []


def test_a_word_of_the_list_is_found(tmp_path):
    file = tmp_path / "example.py"
    file.write_text('"""What it tells."""\n\ntold = 1  # whoever\nx = f"so many {n}"\n')
    assert findings(file) == ["example.py:1: tells", "example.py:3: whoever", "example.py:4: so many"]
    page = tmp_path / "page.md"
    page.write_text("Plain.\n\nIt insists.\n")
    assert findings(page) == ["page.md:3: insists"]
