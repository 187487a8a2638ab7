"""Types of pointers and vectors for the type checker; Numba has types of its own for them (see `simd`).

Numba ignores annotations, so these cost nothing. With them `store(v, p)` for `store(p, v)`, a vector added to a
number, or a misspelt field of a table is an error of mypy.
"""

from __future__ import annotations

from typing import Any, Protocol, Self


class Pointer(Protocol):
    """Address of an element of an array, from `at(array, offset)` or `at(pointer, offset)`.

    As Python it is a one-dimensional view that starts at the element. Kernels read and write through `load`,
    `store`, `load_scalar` and `store_scalar`, never by an index.
    """

    @property
    def dtype(self) -> Any:
        """Type of the elements: float32 or float64 in compiled code, NumPy's dtype in Python."""
        ...

    def __getitem__(self, index: slice, /) -> Any:
        """Return a part of the view; in Python only."""
        ...


class Vector(Protocol):
    """One register of `lanes` elements of one floating-point type; arithmetic is lane by lane.

    As Python it is a small array. Both sides of an operation are vectors of one type: numbers enter by `broadcast`.
    """

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        ...

    def __len__(self) -> int:
        """Return the number of lanes; in Python only."""
        ...

    def __add__(self, other: Self, /) -> Self:
        """Return the sum, lane by lane."""
        ...

    def __sub__(self, other: Self, /) -> Self:
        """Return the difference, lane by lane."""
        ...

    def __mul__(self, other: Self, /) -> Self:
        """Return the product, lane by lane."""
        ...

    def __truediv__(self, other: Self, /) -> Self:
        """Return the quotient, lane by lane."""
        ...
