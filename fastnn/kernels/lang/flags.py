"""Flags of the compiler, and which of the two ways of compiling this process takes.

The *private* way relies on names of Numba that are not public (`numba_private` has the list); it compiles in half
the time and makes steps of tiny nets shorter. The *public* way needs what Numba documents. Both give the same bits.
The private way is taken with the versions of Numba in `TESTED` that have all of the names; the environment variable
FASTNN_COMPILER (private or public) overrides the window of versions.

Fast-math is off on purpose: what vectorises is written with explicit vectors (`simd`), where every rounding is
chosen, so the compiler needs no licence to change results, and NaN checks are real.
"""

from __future__ import annotations

import os
import re
from typing import Any, Literal

import numba

from fastnn.kernels.lang import numba_private

#: With NUMBA_DISABLE_JIT=1 nothing is compiled: the kernels run as Python.
JIT_DISABLED = bool(numba.config.DISABLE_JIT)

#: First and last minor version of Numba with which the private way was tested. `.ci/run` runs the suite with both: to
#: support another version, change the pins there, and this line once the suite passes.
TESTED = ((0, 61), (0, 68))

Mode = Literal["private", "public", "python"]

PUBLIC_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def requested() -> Literal["private", "public"] | None:
    """Read and validate FASTNN_COMPILER; None where it is not set, or empty."""
    value = os.environ.get("FASTNN_COMPILER") or None
    if value is not None and value not in ("private", "public"):
        raise ValueError(f"FASTNN_COMPILER must be 'private' or 'public', got {value!r}. Unset it for the default.")
    return value  # type: ignore[return-value]


def minor_version(version: str) -> tuple[int, int] | None:
    """First two numbers of a version, "0.68.1" or "0.69.0dev0+12.g3"; None where there are none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def why_not_private(version: str, *, any_version: bool = False) -> str | None:
    """Return why the private way cannot be taken, or None.

    Parameters
    ----------
    version : str
        Numba's version.
    any_version : bool
        Whether versions outside `TESTED` are allowed.
    """
    minor = minor_version(version)
    if not any_version and (minor is None or not TESTED[0] <= minor <= TESTED[1]):
        first, last = (".".join(map(str, end)) for end in TESTED)
        return f"Numba {version} is not one of the tested versions {first} to {last}"
    missing = numba_private.missing()
    if missing:
        return f"Numba {version} has no {', '.join(missing)}"
    return None


def _choose() -> tuple[Mode, str]:
    """Return the mode and the reason for it."""
    if JIT_DISABLED:
        return "python", "NUMBA_DISABLE_JIT is set"
    asked = requested()
    if asked == "public":
        return "public", "FASTNN_COMPILER=public"
    reason = why_not_private(numba.__version__, any_version=asked == "private")
    if reason is None:
        return "private", "FASTNN_COMPILER=private" if asked else "a tested version of Numba"
    if asked == "private":
        raise ImportError(f"FASTNN_COMPILER=private cannot be fulfilled: {reason}. Unset it, or install another Numba.")
    numba_private.warn_of_public_path(reason)
    return "public", reason


#: How this process compiles, and why so.
MODE, REASON = _choose()

#: Flags of everything that is compiled.
FLAGS: dict[str, Any] = {**PUBLIC_FLAGS, **(numba_private.PRIVATE_FLAGS if MODE == "private" else {})}
