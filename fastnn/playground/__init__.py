"""A playground in the browser, or in a notebook: a small net that trains live on points of the plane.

``python -m fastnn playground`` opens it (extra "playground"); `Widget` is the same picture in a notebook (extra
"notebook"). Nothing of this package is imported by ``import fastnn``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.playground.recording import record as record
    from fastnn.playground.server import serve as serve
    from fastnn.playground.widget import Widget as Widget

#: Module of each public name, imported on first access.
_MODULES = {"Widget": "widget", "record": "recording", "serve": "server"}

__all__ = ["Widget", "record", "serve"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first access."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
