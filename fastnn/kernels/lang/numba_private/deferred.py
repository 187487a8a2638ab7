"""Functions that are optimized once, as parts of the entry points that call them.

Numba optimizes every function, and makes machine code of it, as soon as it is typed, together with all that it calls;
in a tree of 70 functions the leaves are optimized a dozen times. Here only entry points are, once.

Before the first function is compiled so, a small one is, and its result is compared: where that fails, functions are
compiled by `numba.njit` instead, with a warning.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes
from numba.extending import typeof_impl

from fastnn.kernels.lang.numba_private import warn_of_public_path


class _DeferredLibrary(JITCodeLibrary):
    """Code of a function that is only ever linked into others: neither optimized nor made machine code."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the library that this one is linked into is optimized as a whole."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerDeferred(NativeLowering):
    """Numba's lowering to LLVM's language, without the steps after that."""

    _name = "fastnn_lower_deferred"

    def run_pass(self, state: Any) -> bool:
        """Lower, and register the function for its callers under a key instead of an address."""
        state.library = _DeferredLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        key: Any = [].append  # a dispatcher takes only built-in functions; each such method is unique
        state.targetctx.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


class _DeferredCompiler(CompilerBase):
    """The usual passes with the last one exchanged, and without those that have nothing to do in kernels."""

    def define_pipelines(self) -> list[Any]:
        """Return the one list of passes."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_LowerDeferred, NativeLowering)
        left_out = {NativeLowering, InlineClosureLikes, NopythonRewrites}
        pipeline.passes = [entry for entry in pipeline.passes if entry[0] not in left_out]
        pipeline.finalize()
        return [pipeline]


class DeferredDispatcher(CPUDispatcher):
    """A function that is compiled once per set of types, whatever constants it is called with.

    To Numba the 0 in f(0) is a type of its own, and f(n) another function.
    """

    is_probe = False
    _fallback: Any = None

    def compile(self, sig: Any) -> Any:
        """Compile the function for a tuple of types, if it is not; return its key.

        Numba's own method installs timers: in a chain of ten callers each of some 60,000 events would notify ten.
        """
        with global_compiler_lock, self._compiling_counter:
            if sig not in self.overloads:
                self.add_overload(self._compiler.compile(sig, None))
            return self.overloads[sig].entry_point

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Resolve a call, with constants taken for plain numbers."""
        if not self.is_probe and not _probe_passes(self.targetoptions):
            if self._fallback is None:
                self._fallback = numba.jit(**self.targetoptions)(self.py_func)
            return self._fallback.get_call_template(args, kws)
        return super().get_call_template(tuple(map(types.unliteral, args)), kws)

    def get_overload(self, sig: Any) -> Any:
        """Return what a call with this signature is compiled to."""
        return super().get_overload(sig) if self._fallback is None else self._fallback.get_overload(sig)


class DeviceFunction:
    """A function that only compiled code calls; it becomes an object of Numba when code that calls it is compiled.

    There are some 250 of them, and such an object takes 0.2 ms. Where all code is loaded, none is made.

    Parameters
    ----------
    make : callable
        Without arguments; returns the function.
    flags : dict
        Flags of the compiler.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]], flags: dict[str, Any]) -> None:
        self._make = make
        self._flags = flags

    @functools.cached_property
    def py_func(self) -> Callable[..., Any]:
        """The function, under the name that objects of Numba have for it."""
        return self._make()

    @functools.cached_property
    def dispatcher(self) -> DeferredDispatcher:
        """The object of Numba."""
        options = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **self._flags}
        return DeferredDispatcher(self.py_func, targetoptions=options, pipeline_class=_DeferredCompiler)


@typeof_impl.register(DeviceFunction)
def _type_of(function: DeviceFunction, context: Any) -> Any:
    return types.Dispatcher(function.dispatcher)


# ------------------------------------------------------------------------------------------------- the probe

_probe_lock = threading.RLock()
#: Whether the probe passed; empty before it has run.
_probe_results: list[bool] = []


def triple(x: int) -> int:
    """Return 3 x, for the probe."""
    return 3 * x


def _probe_passes(options: dict[str, Any]) -> bool:
    """Whether functions are compiled to the right result; the first call compiles (some 0.1 s), and may warn."""
    with _probe_lock:
        if not _probe_results:
            failure = _probe(options)
            _probe_results.append(failure is None)
            if failure is not None:
                warn_of_public_path(f"a probe of Numba {numba.__version__} failed ({failure})")
    return _probe_results[0]


def _probe(options: dict[str, Any]) -> str | None:
    """Compile 3 x + 3 * 2 + 1 by the fast way; return what went wrong, or None."""
    try:
        inner: Any = DeviceFunction(lambda: triple, options)
        inner.dispatcher.is_probe = True
        outer = numba.jit(**{k: v for k, v in options.items() if not k.startswith("no_")})(
            lambda x: inner(x) + inner(2) + 1
        )
        if outer(4) != 19:
            return "a function gave a wrong result"
        if len(inner.dispatcher.signatures) != 1:
            return "a constant made a second copy of a function"
    except Exception as error:  # whatever a changed Numba raises
        return f"{type(error).__name__}: {error}"
    return None
