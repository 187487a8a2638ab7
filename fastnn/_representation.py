"""Texts of objects: the call that makes one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def call_text(instance: Any, values: Mapping[str, str]) -> str:
    """Return a call with the arguments by position, and those by name that are not the defaults.

    Parameters
    ----------
    instance : object
        Its class takes the arguments.
    values : mapping of str to str
        For each argument its text; arguments that are missing here are left out.

    Returns
    -------
    str
    """
    parts = []
    for name, parameter in inspect.signature(type(instance)).parameters.items():
        if name not in values or (parameter.kind is parameter.KEYWORD_ONLY and values[name] == repr(parameter.default)):
            continue
        parts.append(f"{name}={values[name]}" if parameter.kind is parameter.KEYWORD_ONLY else values[name])
    return f"{type(instance).__name__}({', '.join(parts)})"
