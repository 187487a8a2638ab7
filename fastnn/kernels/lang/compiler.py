"""The marks of compiled functions, and the only place where they are compiled.

`kernel` compiles an entry point that Python calls (kept on disk, see `cache`); `device_function` compiles what only
other compiled code calls (it becomes part of its callers, so it is never kept by itself). `noinline` is a statement
for the latter. `CFunction` compiles an entry point that the compiled code of others calls by its address. `flags` says
how they are compiled.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, register_jitable, type_callable

from fastnn.kernels.lang.cache import CACHE_FOLDER
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.lang.flags import FLAGS, JIT_DISABLED, MODE
from fastnn.kernels.lang.numba_private import CACHE_NAMES, compile_through, missing, numba_cache_at

__all__ = [
    "CACHE_FOLDER",
    "ENTRY_POINTS",
    "FLAGS",
    "JIT_DISABLED",
    "MODE",
    "CFunction",
    "alwaysinline",
    "device_function",
    "device_function_from",
    "kernel",
    "noinline",
]  # fmt: skip


#: All entry points of this process, compiled or not: results of `kernel`, and objects of `CFunction`.
ENTRY_POINTS: list[Any] = []


def noinline() -> None:
    """Mark the function that this statement stands in: it is called, not copied into each of its callers.

    LLVM would copy the matrix product into all of its users, which costs seconds of compilation and wins nothing.
    Numba has no option for it, so this generates no code but sets an attribute of the function.
    """


def alwaysinline() -> None:
    """Mark the function that this statement stands in: it is copied into its caller.

    For functions with one caller that run in each step: LLVM takes them for functions that others may call as well, and
    leaves large ones alone.
    """


def _sets_attribute(marker: Callable[[], None], attribute: str) -> None:
    """Let a call of `marker` in compiled code set an attribute of the function that it stands in."""

    @type_callable(marker)
    def typer(context: Any) -> Any:
        return lambda: types.void

    @lower_builtin(marker)
    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        builder.function.attributes.add(attribute)
        return context.get_dummy_value()


_sets_attribute(noinline, "noinline")
_sets_attribute(alwaysinline, "alwaysinline")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point on its first call, and keep the machine code on disk."""
    if JIT_DISABLED:
        return _as_python(function)
    dispatcher = _kept(function)
    compile_through(in_compile_thread, dispatcher)
    ENTRY_POINTS.append(dispatcher)
    return dispatcher


def _define_kept() -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of kernels: with files of our own, or with Numba's cache where it lacks a name for that."""
    if not JIT_DISABLED and not missing(CACHE_NAMES):
        from fastnn.kernels.lang.numba_private.kept import kept  # imports names that may be missing

        return kept
    return _kept_by_numba


def _kept_by_numba(function: Callable[..., Any]) -> Any:
    """Compile an entry point on its first call, and let Numba keep the machine code."""
    if CACHE_FOLDER is not None:
        with numba_cache_at(CACHE_FOLDER):
            kept = numba.njit(cache=True, **FLAGS)(function)
        # Code that lies elsewhere would be found again although another file was edited since.
        if Path(kept.stats.cache_path).is_relative_to(CACHE_FOLDER):
            return kept
        _warn_of_other_folder()
    return numba.njit(**FLAGS)(function)


@functools.cache
def _warn_of_other_folder() -> None:
    """Warn once that nothing is kept on disk."""
    warnings.warn(
        f"Numba {numba.__version__} does not keep compiled code in {CACHE_FOLDER}, so each process compiles anew (some "
        "seconds). If NUMBA_CACHE_LOCATOR_CLASSES is set, unset it.",
        RuntimeWarning,
        stacklevel=3,
    )


def _as_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs a kernel as Python, as silent about overflow and NaN as compiled code is."""

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return run


def _define_device_function() -> Callable[[Callable[[], Callable[..., Any]]], Any]:
    """Return the function that makes a device function of a maker, for this process's mode."""
    if MODE == "python":
        return lambda make: make()
    if MODE == "private":
        from fastnn.kernels.lang.numba_private import deferred  # imports names that other modes may lack

        return lambda make: deferred.DeviceFunction(make, FLAGS)
    # Public, and it makes no wrapper for Python, which vectors and pointers could not pass.
    return lambda make: register_jitable(**FLAGS)(make())


_device_function_from = _define_device_function()
_kept = _define_kept()


def device_function(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled code calls: it becomes part of its callers."""
    made = _device_function_from(lambda: function)
    return made if made is function else functools.update_wrapper(made, function)


def device_function_from(make: Callable[[], Callable[..., Any]]) -> Any:
    """Compile the function that `make` returns, as `device_function` does; it may be called only when that is done."""
    return _device_function_from(make)


class CFunction:
    """A function with a C interface, which is compiled, or read from disk, when its address is first asked for.

    Parameters
    ----------
    function : callable
    signature : numba signature
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.function = function
        self.signature = signature
        ENTRY_POINTS.append(self)

    @functools.cached_property
    def code(self) -> Any:
        """Numba's object of the machine code, an attribute of which is `ctypes`."""
        return in_compile_thread(self._compile)

    @property
    def address(self) -> int:
        """The address; it differs from process to process."""
        return int(self.code.address)

    def _compile(self) -> Any:
        if not missing(CACHE_NAMES):
            from fastnn.kernels.lang.numba_private.kept import kept_c_function  # imports names that may be missing

            return kept_c_function(self.function, self.signature)
        if CACHE_FOLDER is None:
            return numba.cfunc(self.signature, **FLAGS)(self.function)
        with numba_cache_at(CACHE_FOLDER):
            return numba.cfunc(self.signature, cache=True, **FLAGS)(self.function)
