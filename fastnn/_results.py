"""What calls of a Model return: views of its parameters, and values by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._validation import must_be

Array: TypeAlias = npt.NDArray[Any]


class ParameterViews(tuple[Array, ...]):
    """Views of the weights or of the biases of all layers; an assignment to one of them writes into the model.

    Parameters
    ----------
    views : iterable of ndarray
    name : str
        What errors call them: "weights" or "biases".
    """

    def __new__(cls, views: Iterable[Array], name: str = "parameters") -> ParameterViews:
        """Make the tuple."""
        made = super().__new__(cls, views)
        made.name = name
        return made

    name: str

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        """Write an array into the one of a layer, or arrays into those of a slice.

        Raises
        ------
        TypeError, ValueError
            If a value is not an array of numbers of the same shape; nothing is written then.
        """
        numbers = range(len(self))[index]
        if isinstance(numbers, int):
            write_into((self[numbers],), (value,), (f"{self.name}[{numbers}]",))
        else:
            self._write_all(numbers, value)

    def write(self, values: Any) -> None:
        """Write arrays into those of all layers; see `__setitem__`."""
        self._write_all(range(len(self)), values)

    def _write_all(self, numbers: range, values: Any) -> None:
        given = tuple(values) if isinstance(values, Iterable) else None
        if given is None or len(given) != len(numbers):
            raise ValueError(must_be(self.name, f"{len(numbers)} arrays, one per layer", values))
        write_into([self[k] for k in numbers], given, [f"{self.name}[{k}]" for k in numbers])


def write_into(views: Iterable[Array], values: Iterable[Any], names: Iterable[str]) -> None:
    """Copy values into views of the same shapes, after all of them are validated.

    Raises
    ------
    TypeError, ValueError
        If a value is not an array of real numbers, or of another shape.
    """
    converted = []
    for view, value, name in zip(views, values, names, strict=True):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):  # ragged
            array = np.empty(0, object)
        if array.dtype.kind not in "biuf":
            raise TypeError(must_be(name, f"an array of numbers of shape {view.shape}", value))
        if array.shape != view.shape:
            raise ValueError(must_be(name, f"of shape {view.shape}", array.shape))
        converted.append((view, array))
    for view, array in converted:
        view[...] = array


class Scores(dict[str, float]):
    """Loss and metrics by name: a dict, whose iteration is refused.

    An assignment such as ``loss, accuracy = scores`` would store the names.
    """

    def __iter__(self) -> NoReturn:
        """Raise TypeError: values are read by name, or by `values`, `keys` and `items`."""
        names = list(self.keys())
        raise TypeError(
            f"the result holds values by name and cannot be unpacked or iterated over: write result[{names[-1]!r}], or "
            f"{', '.join(names)} = result.values(); there are result.keys() and result.items(), too."
        )
