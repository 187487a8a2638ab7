"""Recorded runs of the playground."""

import base64
import json
import re

import pytest

from fastnn.playground import record


def test_a_recording(tmp_path):
    file = tmp_path / "run.json"
    record(file, settings={"networkShape": [3], "dataset": "xor"}, frames=4, epochs_per_frame=2)
    run = json.loads(file.read_text())
    assert run["state"]["settings"]["dataset"] == "xor"
    assert [frame["message"]["epoch"] for frame in run["frames"]] == [0, 2, 4, 6, 8]
    for frame in run["frames"]:
        assert [len(base64.b64decode(buffer)) for buffer in frame["buffers"]] == [10_000, 400]
        assert frame["message"]["type"] == "frame"


def test_a_page_of_its_own(tmp_path):
    file = tmp_path / "run.html"
    record(file, frames=2)
    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"(src|href)=\"?(?!data:|#)", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    module = page[page.rindex('<script type="module">') :]
    assert not re.search(r"^(import|export) ", module, re.MULTILINE)
    text = re.search(r'<script id="recording" type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    assert len(json.loads(text)["frames"]) == 3


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="frames must be at least 1"):
        record(tmp_path / "x.json", frames=0)
    with pytest.raises(TypeError, match="path must be a path"):
        record(3)
    with pytest.raises(ValueError, match="percTrainData must be a number from 1 to 99"):
        record(tmp_path / "x.json", settings={"percTrainData": 0.1})
    with pytest.raises(RuntimeError, match="dropout"):
        record(tmp_path / "x.json", settings={"optimizer": "lbfgs", "dropout": 0.5})
    assert list(tmp_path.iterdir()) == []
