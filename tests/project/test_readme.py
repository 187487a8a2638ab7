"""The code of the README runs, block after block, in one namespace, and has the results that it states."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastnn

README = Path(__file__).parents[2] / "README.md"


def blocks(text):
    """Line and source of each fenced Python block of a Markdown text."""
    for found in re.finditer(r"^( *)```(?:python|py)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start()) + 2, textwrap.dedent(found[2])


def run(text, name):
    """Execute all blocks of a text in one namespace, and return it; an error names the line in the text."""
    namespace = {"__name__": "__main__"}
    for line, source in blocks(text):
        code = compile("\n" * (line - 1) + source, name, "exec")
        exec(code, namespace)
    return namespace


@pytest.mark.slow
def test_all_blocks_run_and_their_models_are_right(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", minversion="1.7")
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    assert text.count("```python") == len(list(blocks(text))) >= 1
    namespace = run(text, str(README))
    X_test, y_test = namespace["X_test"], namespace["y_test"]
    models = [made for made in namespace.values() if isinstance(made, (fastnn.Model, fastnn.MLPClassifier))]
    assert models
    for made in models:
        found = made.predict_classes(X_test) if isinstance(made, fastnn.Model) else made.predict(X_test)
        assert np.mean(found == y_test) > 0.9, made
    printed = re.search(r"'accuracy': ([\d.]+)", capsys.readouterr().out)
    assert float(printed[1]) > 0.95


def test_a_block_that_is_wrong_is_an_error_at_its_line():
    text = """# Title

```python
a = 1
```

```bash
exit 1
```

- item:
  ```python
  b = a
  c = nothing
  ```
"""
    assert list(blocks(text)) == [(4, "a = 1\n"), (13, "b = a\nc = nothing\n")]
    with pytest.raises(NameError, match="nothing") as caught:
        run(text, "text.md")
    place = caught.traceback[-1]
    assert (str(place.path).rpartition("/")[2], place.lineno + 1) == ("text.md", 14)
    assert run(text.replace("c = nothing", "c = b + 1"), "text.md")["c"] == 2
