"""Trained nets for other programs: as C or Python source, and in the formats of other libraries.

Each name is imported when it is first used, and a library that it needs where it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

#: Module of each public name.
_MODULES: dict[str, str] = {
    "export_c": "_c",
    "export_python": "_python",
    "SKOPS_TRUSTED_TYPES": "_skops",
    "from_keras": "_keras",
    "from_onnx": "_onnx_reader",
    "from_safetensors": "_safetensors",
    "from_sklearn": "_sklearn",
    "from_torch": "_torch",
    "register_skl2onnx": "_skl2onnx",
    "to_onnx": "_onnx",
    "to_safetensors": "_safetensors",
    "to_sklearn": "_sklearn",
    "to_torch": "_torch",
}

__all__: list[str] = [*_MODULES]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first access."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
