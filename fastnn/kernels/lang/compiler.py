"""The one owner of compiler flags and of the place where compiled code is kept.

`kernel` compiles an entry point that Python calls (cached on disk); `inline` compiles what only
other compiled code calls (it becomes part of its callers, so it is never cached by itself).

Fast-math is off on purpose: what vectorises is written with explicit vectors (`simd`), where every
rounding is chosen, so the compiler needs no licence to change results, and NaN checks are real.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes
from numba.extending import lower_builtin, type_callable

# Without `_nrt` each call of a function counts up and down the references of all arrays that it is given, by atomic
# operations: 34 in each of ten functions, half of what a step of a tiny net took. Nothing is allocated here anyway.
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}

JIT_DISABLED = bool(numba.config.DISABLE_JIT)


#: Modules of `fastnn` above the kernels that hold compiled functions: the arithmetic of the rules.
RULE_MODULES = ("activations.py", "losses.py", "optimizers.py")


def _sources_hash() -> str:
    """Digest of all sources of compiled code: Numba's own cache does not notice an edit in *another* file."""
    digest = hashlib.sha256(numba.__version__.encode())
    folder = Path(__file__).parent.parent  # fastnn/kernels
    for path in [*sorted(folder.rglob("*.py")), *(folder.parent / name for name in RULE_MODULES)]:
        digest.update(f"{path.relative_to(folder.parent).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_usable(folder: Path, *, private: bool) -> bool:
    """Whether files can be made in `folder`; `private` also asks that nobody else could have put some there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        if private and hasattr(os, "getuid"):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _user_cache_folder() -> Path | None:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "fastnn"
    try:
        home = Path.home()
    except RuntimeError:  # no home folder can be found out
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fastnn"


def _find_cache_folder() -> Path | None:
    """The first usable of: FASTNN_CACHE_DIR, Numba's own setting, the user's cache folder, a temporary one."""
    chosen = os.environ.get("FASTNN_CACHE_DIR") or numba.config.CACHE_DIR
    candidates: list[tuple[Path, bool]] = []
    if chosen:
        candidates.append((Path(chosen), False))
    user = _user_cache_folder()
    if user is not None:
        candidates.append((user, False))
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(FileNotFoundError):  # there may be no temporary folder at all
        # A shared one: compiled code is loaded from it, so our part must be ours alone.
        candidates.append((Path(tempfile.gettempdir()) / f"fastnn-{owner}", True))
    for base, private in candidates:
        if _is_usable(base, private=private):
            return base / _sources_hash()
    warnings.warn(
        "fastnn found no writable folder for compiled code, so each process compiles anew (some seconds). "
        "Set FASTNN_CACHE_DIR to a writable folder.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


CACHE_FOLDER: Path | None = None if JIT_DISABLED else _find_cache_folder()


@contextmanager
def _numba_cache_at(folder: Path) -> Iterator[None]:
    """Let Numba place the cache of the functions decorated inside in `folder`, and of no others."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def noinline() -> None:
    """Said in a compiled function: it is called, not copied into each of its callers.

    LLVM would copy the matrix product into all of its users, which costs seconds of compilation and wins
    nothing. Numba has no option for it, so this generates no code but marks the function that it stands in.
    """


@type_callable(noinline)
def _type_stay(context: Any) -> Any:
    return lambda: types.void


@lower_builtin(noinline)
def _lower_stay(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    builder.function.attributes.add("noinline")
    return context.get_dummy_value()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point on its first call, and keep the machine code on disk."""
    if JIT_DISABLED:
        return _as_python(function)
    if CACHE_FOLDER is None:
        return numba.njit(**FLAGS)(function)
    with _numba_cache_at(CACHE_FOLDER):
        return numba.njit(cache=True, **FLAGS)(function)


def _as_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a kernel as Python, as silent about overflow and NaN as compiled code is."""

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return run


class _DeferredLibrary(JITCodeLibrary):
    """Code of a function that is only ever linked into others: neither optimized nor made machine code."""

    def _optimize_final_module(self) -> None:
        """Leave it to the library that this one is linked into."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerDeferred(NativeLowering):
    """Numba's lowering to LLVM's language, without the steps after that."""

    _name = "fastnn_lower_to_ingredient"

    def run_pass(self, state: Any) -> bool:
        """Lower, and let callers find the function under a key of its own instead of its address."""
        state.library = _DeferredLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        key: Any = [].append  # a dispatcher takes built-in functions only, and this one is like no other
        state.targetctx.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


#: What Numba does for closures, comprehensions and arithmetic on whole arrays, none of which is in a kernel.
PASSES_WITHOUT_WORK = (InlineClosureLikes, NopythonRewrites)


class _DeferredCompiler(CompilerBase):
    """The usual pipeline with the last pass exchanged.

    Numba optimizes every function, and makes machine code of it, as soon as it is typed, together with all that
    it calls; in a tree of 70 functions the leaves go through that a dozen times. Here only entry points do,
    once, which halves the time of compilation.
    """

    def define_pipelines(self) -> list[Any]:
        """Exchange the pass."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_LowerDeferred, NativeLowering)
        left_out = {NativeLowering, *PASSES_WITHOUT_WORK}
        pipeline.passes = [entry for entry in pipeline.passes if entry[0] not in left_out]
        pipeline.finalize()
        return [pipeline]


class _DeferredDispatcher(CPUDispatcher):
    """A function that is compiled once for each set of types, whatever constants it is called with.

    To Numba the 0 in f(0) is a type of its own, and f(n) another function: the matrix product existed three times.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Resolve a call, with constants taken for plain numbers."""
        return super().get_call_template(tuple(map(types.unliteral, args)), kws)


def device_function(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled code calls: it becomes part of its callers."""
    if JIT_DISABLED:
        return function
    options = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **FLAGS}
    return _DeferredDispatcher(function, targetoptions=options, pipeline_class=_DeferredCompiler)
