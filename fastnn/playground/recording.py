"""Record a short run of the playground, for pages without a server.

``python -m fastnn.playground.recording FILE`` writes JSON, or, if the name ends with .html, a page that plays the run:
a file of its own, which loads nothing else.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastnn._validation import as_path, positive_integer
from fastnn.playground.session import Session
from fastnn.playground.settings import changed, defaults

_STATIC = Path(__file__).with_name("static")


def record(
    path: Any, *, settings: Mapping[str, Any] | None = None, frames: int = 60, epochs_per_frame: int = 5
) -> None:
    """Train a net of the playground and write its frames into a file.

    Parameters
    ----------
    path : path
        JSON, as the head of ``fastnn/playground/session.py`` describes it; a page of its own if it ends with ".html".
    settings : mapping or None
        Settings by the keys of an address; None is the net of 4 and 2 units on the circle.
    frames : int
        Frames after that of the start.
    epochs_per_frame : int

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    OSError
        If the file cannot be written.
    """
    file = Path(as_path("path", path))
    frames = positive_integer(frames, "frames")
    per_frame = positive_integer(epochs_per_frame, "epochs_per_frame")
    chosen = changed(defaults() | {"seed": "0.7", "epochsPerFrame": per_frame}, dict(settings or {}))
    state: dict[str, Any] = {}
    recorded: list[dict[str, Any]] = []

    def send(message: dict[str, Any], buffers: Sequence[bytes]) -> None:
        if message["type"] == "error":
            raise RuntimeError(message["message"])
        if message["type"] == "state" and not state:
            state.update(message)
        if message["type"] == "frame":
            texts = [base64.b64encode(buffer).decode() for buffer in buffers]
            recorded.append({"message": {**message, "epochsPerSecond": None, "stepTime": None}, "buffers": texts})

    session = Session(send)
    session.handle({"type": "hello", "state": chosen})
    session.handle({"type": "play"})
    for _ in range(frames):
        session.handle({"type": "next"})
    text = json.dumps({"state": state, "frames": recorded}, separators=(",", ":"))
    file.write_text(_page(text) if file.suffix == ".html" else text, encoding="utf-8")


def _page(recording: str) -> str:
    """Return a page of its own: the module, its style and the recording, without a file beside it."""
    module = (_STATIC / "playground.js").read_text(encoding="utf-8")
    replay = (_STATIC / "recorded.js").read_text(encoding="utf-8")
    # A script that is written into a page cannot be imported: its one export becomes the name that the other imports.
    module = re.sub(r"export default \{ render \};?", "const playground = { render };", module)
    replay = re.sub(r'import playground from "./playground.js";', "", replay)
    style = (_STATIC / "style.css").read_text(encoding="utf-8")
    recording = recording.replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>fastnn playground</title>\n'
        f'<style>\n{style}</style>\n</head>\n<body class="fnp-page">\n<div id="playground"></div>\n'
        f'<script id="recording" type="application/json">{recording}</script>\n'
        f'<script type="module">\n{module}{replay}</script>\n</body>\n</html>\n'
    )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m fastnn.playground.recording FILE.json|FILE.html")
    record(sys.argv[1])
