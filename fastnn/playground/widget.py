"""The playground in a notebook: the page's module and a session, connected by the comm of anywidget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import anywidget
    import traitlets
except ImportError:
    raise ImportError(
        'fastnn.playground.Widget needs anywidget, which is not installed: pip install "fastnn-mlp[notebook]".'
    ) from None

from fastnn.playground.session import Session
from fastnn.playground.settings import changed, defaults

__all__ = ["Widget"]

_STATIC = Path(__file__).with_name("static")


class Widget(anywidget.AnyWidget):
    """The playground as a widget of Jupyter, marimo, Colab and others.

    Parameters
    ----------
    data : str or None
        Text of CSV to begin with: two inputs and a label per line.
    **settings
        Settings by the keys of an address of the playground, such as ``learningRate=0.1`` or ``networkShape=[8, 8]``.

    Raises
    ------
    ImportError
        If anywidget is not installed.
    TypeError, ValueError
        If `data` cannot be read, a setting is unknown or its value invalid.
    """

    _esm = _STATIC / "playground.js"
    _css = _STATIC / "style.css"
    #: What the page reads when it begins, and writes when a setting changes.
    settings = traitlets.Dict().tag(sync=True)

    def __init__(self, data: str | None = None, **settings: Any) -> None:
        changed(defaults(), {key: value for key, value in settings.items() if not key.endswith("_hide")})
        session = Session(self._reply, data)
        super().__init__(settings=settings)
        self._session = session
        self.on_msg(self._receive)

    def _reply(self, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
        self.send(message, list(buffers))

    def _receive(self, _: Any, message: Any, buffers: Any) -> None:
        self._session.handle(message)
