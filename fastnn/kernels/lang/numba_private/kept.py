"""Compiled functions that are kept on disk, in files of `cache`.

Numba's own cache has no checksums, ends with an error where a file is damaged or the disk is full, has an index that
two processes can put in disorder, and prepares Numba for compiling before it loads anything, which takes 0.3 s. It
also keeps LLVM's form of each function, to link it into others: reading that takes longer than all the rest, and what
is kept here is called by Python or by its address alone, so only the names in it are kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

from fastnn.kernels.lang import cache
from fastnn.kernels.lang.flags import FLAGS
from fastnn.kernels.lang.levels import LEVEL, MADE_FOR, Level


@functools.cache
def _digest_of_file(name: str) -> str:
    """Return the digest of a file of sources, as it was when it was first asked for; "" where it cannot be read."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return ""


class _CodeCache(NullCache):
    """The files of one function, one per set of types and processor or level."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._source = _digest_of_file(function.__code__.co_filename)
        self._found: dict[Any, cache.Found] = {}

    @property
    def cache_path(self) -> str | None:
        """The folder; None where nothing is kept."""
        return None if cache.CACHE_FOLDER is None or not self._can_be_kept else str(cache.CACHE_FOLDER)

    @property
    def _can_be_kept(self) -> bool:
        """Whether the source is known, and the function depends on nothing else."""
        return bool(self._source) and self._function.__closure__ is None

    def _name_and_key(self, sig: Any, target_context: Any, level: Level | None) -> tuple[str, bytes]:
        """Return the name of the file, and all that its content depends on.

        Code for a level is found by each build of a minor version of Python, as extension modules are.
        """
        code = self._function.__code__
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        triple, *_ = target = target_context.codegen().magic_tuple()
        key = "\n".join([
            name, str(code.co_firstlineno), self._source, str(sig),
            str(target if level is None else (triple, level.name)),
            sys.implementation.name, sys.version if level is None else str(sys.implementation.cache_tag),
            getattr(sys, "abiflags", ""),
        ]).encode()  # fmt: skip
        short = "".join(c for c in name.removeprefix("fastnn.kernels.") if c.isalnum() or c in "._")[-60:]
        return f"{short}-{hashlib.sha256(key).hexdigest()[:32]}.nbc", key

    def _own(self, sig: Any, target_context: Any) -> tuple[str, bytes]:
        """Return the name and key of what this process compiles."""
        return self._name_and_key(sig, target_context, MADE_FOR)

    def read(self, sig: Any, target_context: Any) -> cache.Found | None:
        """Return a file of the user, best one for the very processor, or else of the package; None if there is none."""
        if not self._can_be_kept:
            return None
        found = cache.load(*self._own(sig, target_context))
        if found is None and LEVEL is not None:
            of_level = self._name_and_key(sig, target_context, LEVEL)
            found = (None if MADE_FOR is LEVEL else cache.load(*of_level)) or cache.load_shipped(*of_level)
        return found

    def must_be_compiled(self, sig: Any, target_context: Any) -> bool:
        """Return whether there is no file; where there is one, it is held until it is loaded."""
        found = self.read(sig, target_context)
        if found is not None:
            self._found[sig] = found
        return found is None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for these types; None if it must be compiled."""
        found = self._found.pop(sig, None) or self.read(sig, target_context)
        if found is None:
            return None
        # Prepares reference counts and all that Numba can compile. Loading needs the former at most.
        if FLAGS.get("_nrt", True):
            target_context.refresh()
        try:
            result = CompileResult._rebuild(target_context, *pickle.loads(found.payload))
            # Where other compiled code calls the function after all, Numba raises an error that it cannot be linked.
            result.library._shared_module = None
            if isinstance(sig, tuple) and tuple(result.signature.args) != sig:
                raise TypeError(f"it is for {result.signature}")
        except MemoryError:
            raise
        except Exception as error:  # whatever comes from another state of an environment
            cache.warn_of_file(found.path, f"cannot be loaded ({type(error).__name__}: {error})")
            return None
        cache.origins[found.origin] += 1
        return result

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep a compiled function."""
        cache.origins["compiled now"] += 1
        if not self._can_be_kept or cres.library.has_dynamic_globals:
            return
        try:
            payload = dumps(_without_bitcode(cres))
        except MemoryError:
            raise
        except Exception as error:
            path = (cache.CACHE_FOLDER or Path()) / self._own(sig, cres.target_context)[0]
            cache.warn_of_file(path, f"cannot be written ({type(error).__name__}: {error})")
            return
        cache.save(*self._own(sig, cres.target_context), payload)


def _without_bitcode(cres: Any) -> tuple[Any, ...]:
    """Take a compiled function apart: machine code, and of LLVM's form the names of what Python looks up alone.

    Each of the some 150 functions in a kernel has an environment, which holds the Python objects it uses: kernels use
    none, so those without any are left out.
    """
    (name, kind, (code, _)), fndesc, env, signature, object_mode, lifted, _, *rest = cres._reduce()
    *rest, environments = rest
    environments = tuple(each for each in environments if each.consts)
    defined = {function.name for function in cres.library.get_defined_functions()}
    functions = [fndesc.llvm_func_name, fndesc.llvm_cpython_wrapper_name, fndesc.llvm_cfunc_wrapper_name]
    lines = [f'define void @"{function}"() {{ unreachable }}' for function in functions if function in defined]
    lines.append(f'@"{fndesc.env_name}" = global i64 0')  # no pointer, which LLVM's versions write differently
    names = llvm.parse_assembly("\n".join(lines)).as_bitcode()
    # The text that is left empty is for `inspect_types`, and holds paths.
    return (name, kind, (code, names)), fndesc, env, signature, object_mode, lifted, "", *rest, environments


def _type_of(value: Any) -> Any:
    """Return the type of an argument as `numba.typeof` does, for arrays without the import of `numpy.ma` (15 ms)."""
    if isinstance(value, tuple):
        return types.BaseTuple.from_types([_type_of(item) for item in value], type(value))
    if type(value) is np.ndarray and value.flags.c_contiguous:
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C", readonly=not value.flags.writeable)
    return numba.typeof(value)


class _KeptDispatcher(CPUDispatcher):
    """A compiled function that one of several processes compiles, and the others read."""

    def typeof_pyval(self, val: Any) -> Any:
        """Return the type of an argument that Numba's table of those called before lacks."""
        if not isinstance(val, tuple | np.ndarray):
            return super().typeof_pyval(val)
        found = _type_of(val)
        self._types_active_call.add(found)
        return found

    def compile(self, sig: Any) -> Any:
        """Load or compile the function for these types, and return its entry point."""
        with contextlib.ExitStack() as stack:
            if sig not in self.overloads and self._cache.must_be_compiled(sig, self.targetctx):
                stack.enter_context(cache.compile_lock())
                if self._cache.must_be_compiled(sig, self.targetctx):
                    cache.notify("compiling", self.py_func.__qualname__)
            return super().compile(sig)


def kept(function: Callable[..., Any]) -> Any:
    """Compile an entry point on its first call, and keep the machine code."""
    dispatcher = _KeptDispatcher(function, targetoptions={"nopython": True, **FLAGS})
    dispatcher._cache = _CodeCache(function)
    return dispatcher


class _KeptCFunction(CFunc):
    """The same for a function with a C interface."""

    _cache: _CodeCache
    _sig: Any
    _targetdescr: Any

    def compile(self) -> None:
        """Load or compile the function."""
        with contextlib.ExitStack() as stack:
            context = self._targetdescr.target_context
            if self._cache.must_be_compiled(self._sig, context):
                stack.enter_context(cache.compile_lock())
                if self._cache.must_be_compiled(self._sig, context):
                    cache.notify("compiling", self.__qualname__)
            super().compile()


def kept_c_function(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function with a C interface, or load it, and keep the machine code."""
    made = _KeptCFunction(function, (signature.args, signature.return_type), {}, FLAGS)
    made._cache = _CodeCache(function)
    made.compile()
    return made
