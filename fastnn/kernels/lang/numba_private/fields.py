"""Fields of values whose names depend on the type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr


def register_fields(kind: type[types.Type], resolve: Callable[[Any, str], Any]) -> None:
    """Give the values of a type fields whose names depend on the type.

    Parameters
    ----------
    kind : type
        Class of the type.
    resolve : callable
        ``resolve(type, name)`` returns the type of a field, or None where there is none of that name.
    """

    @infer_getattr
    class Fields(AttributeTemplate):
        key = kind

        def generic_resolve(self, value: Any, name: str) -> Any:
            """Return the type of a field."""
            return resolve(value, name)
