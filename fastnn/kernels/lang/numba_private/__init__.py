"""Everything in fastnn that relies on names of Numba that are not public.

`NAMES` and `CACHE_NAMES` are the whole list; a test refuses these names, and all of ``numba.core``, outside this
folder. `deferred` is the fast way of compiling, which halves the time of compilation and of steps of tiny nets;
`fields` is for references to bundles. Both are imported only after `missing` has found every name, and `flags` takes
the public way otherwise; so a release of Numba that renames something costs speed and nothing else. `kept` keeps
compiled code on disk; it needs `CACHE_NAMES`, and where one is missing Numba's own cache does that.

Not in the list: `numba.extending` (public), `llvmlite` (public), and the methods `cast`, `make_array`,
`get_constant`, `get_value_type` and `get_dummy_value` of a target context, which Numba documents for
`numba.extending.lower_builtin`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numba


class PrivateName(NamedTuple):
    """One name of Numba that is not public.

    Parameters
    ----------
    module : str
        Where Numba defines it.
    name : str
        Dotted name within the module.
    parameters : tuple of str or None
        Names of the parameters that it must have in this order; None for what is not called from here.
    purpose : str
        What it is used for.
    without : str
        What is lost when it is missing.
    seen : str
        First and last minor version in which it was found.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None
    purpose: str
    without: str
    seen: str = "0.61 to 0.68"


_COMPILE = "each function is optimized by itself: compiling takes about four times as long"
_REFERENCES = "arrays' reference counts are updated at each call: tiny steps take about four times as long"

NAMES: tuple[PrivateName, ...] = (
    PrivateName("numba.core.codegen", "JITCodeLibrary", None,
                "base of the library of a function that is only linked into others", _COMPILE),
    PrivateName("numba.core.codegen", "JITCodeLibrary._optimize_final_module", ("self",),
                "overridden: such a library is not optimized", _COMPILE),
    PrivateName("numba.core.codegen", "JITCodeLibrary._finalize_final_module", ("self",),
                "overridden: such a library is not made machine code", _COMPILE),
    PrivateName("numba.core.codegen", "JITCodeLibrary._finalized", None,
                "set: such a library may be linked from now on", _COMPILE),
    PrivateName("numba.core.compiler", "CompilerBase.define_pipelines", ("self",),
                "overridden: the list of passes", _COMPILE),
    PrivateName("numba.core.compiler", "DefaultPassBuilder.define_nopython_pipeline", ("state",),
                "the list of passes that is edited", _COMPILE),
    PrivateName("numba.core.compiler_machinery", "PassManager.add_pass_after", ("self", "pass_cls", "location"),
                "puts a pass of ours behind Numba's lowering", _COMPILE),
    PrivateName("numba.core.compiler_machinery", "PassManager.finalize", ("self",),
                "ends the editing; the attribute `passes` holds pairs of class and description", _COMPILE),
    PrivateName("numba.core.compiler_machinery", "register_pass", ("mutates_CFG", "analysis_only"),
                "makes a class a pass", _COMPILE),
    PrivateName("numba.core.typed_passes", "NativeLowering.run_pass", ("self", "state"),
                "lowering to LLVM's language; `state` has targetctx, func_id, flags.no_compile, library and \"cr\"",
                _COMPILE),
    PrivateName("numba.core.typed_passes", "NopythonRewrites", None,
                "left out: rewrites whole-array arithmetic, of which kernels have none", _COMPILE),
    PrivateName("numba.core.untyped_passes", "InlineClosureLikes", None,
                "left out: expands closures and comprehensions, of which kernels have none", _COMPILE),
    PrivateName("numba.core.base", "BaseContext.insert_user_function", ("self", "func", "fndesc", "libs"),
                "lets callers find a function by a key instead of by an address", _COMPILE),
    PrivateName("numba.core.compiler", "CompileResult._replace", None,
                "puts that key into a result, as `cfunc`", _COMPILE),
    PrivateName("numba.core.registry", "CPUDispatcher", ("py_func", "locals", "targetoptions", "pipeline_class"),
                "makes a compiled function with a list of passes of its own", _COMPILE),
    PrivateName("numba.core.registry", "CPUDispatcher.compile", ("self", "sig"),
                "overridden: compiles without timers; uses `overloads`, `_compiling_counter` and `_compiler.compile`",
                "compiling takes some 5 % longer"),
    PrivateName("numba.core.registry", "CPUDispatcher.add_overload", ("self", "cres"),
                "keeps what a set of types is compiled to", "compiling takes some 5 % longer"),
    PrivateName("numba.core.compiler_lock", "global_compiler_lock", None,
                "held while a function is compiled", "compiling takes some 5 % longer"),
    PrivateName("numba.core.registry", "CPUDispatcher.get_call_template", ("self", "args", "kws"),
                "overridden: a constant argument makes no second copy of a function",
                "the matrix product is compiled three times"),
    PrivateName("numba.core.registry", "CPUDispatcher.get_overload", ("self", "sig"),
                "overridden: the result of the public way where the probe failed", _COMPILE),
    PrivateName("numba.core.options", "DefaultOptions._nrt", None,
                "the flag `_nrt`, False: no reference counts", _REFERENCES),
    PrivateName("numba.core.typing.templates", "AttributeTemplate.generic_resolve", None,
                "overridden: types of the fields behind a reference to a bundle (`struct_pointer`)",
                "bundles are passed by value: a tiny step takes a tenth longer"),
    PrivateName("numba.core.dispatcher", "_DispatcherBase._compile_for_args", ("self", "args", "kws"),
                "replaced in entry points: compiles in a thread of its own",
                "an interrupt may block later compilations"),
    PrivateName("numba", "config.CACHE_DIR", None,
                "set while a kernel is decorated, so that its cache lies in fastnn's folder",
                "compiled code is not kept on disk"),
)  # fmt: skip

_CACHE = "Numba keeps compiled code itself: a damaged file ends a fit with an error, and several processes all compile"

#: The names that `kept` needs, whichever way kernels are compiled.
CACHE_NAMES: tuple[PrivateName, ...] = (
    PrivateName("numba.core.registry", "CPUDispatcher", ("py_func", "locals", "targetoptions", "pipeline_class"),
                "base of a compiled function that is kept on disk", _CACHE),
    PrivateName("numba.core.registry", "CPUDispatcher.compile", ("self", "sig"),
                "overridden: holds a lock while it compiles", _CACHE),
    PrivateName("numba.core.registry", "CPUDispatcher.typeof_pyval", ("self", "val"),
                "overridden: the type of an argument; adds it to `_types_active_call`", _CACHE),
    PrivateName("numba.core.ccallback", "CFunc", ("pyfunc", "sig", "locals", "options"),
                "base of a function with a C interface that is kept on disk", _CACHE),
    PrivateName("numba.core.ccallback", "CFunc.compile", ("self",),
                "overridden: holds a lock while it compiles; `_cache` is set, `_sig`, `_targetdescr` are read", _CACHE),
    PrivateName("numba.core.caching", "NullCache.load_overload", ("self", "sig", "target_context"),
                "overridden: reads a file of ours", _CACHE),
    PrivateName("numba.core.caching", "NullCache.save_overload", ("self", "sig", "cres"),
                "overridden: writes a file of ours", _CACHE),
    PrivateName("numba.core.compiler", "CompileResult._reduce", ("self",),
                "takes a result apart, for a file; its last part are environments, whose `consts` are read",
                _CACHE),
    PrivateName("numba.core.codegen", "CPUCodeLibrary.get_defined_functions", ("self",),
                "finds the names that are kept of LLVM's form; `_shared_module` is set, so that nothing links them",
                _CACHE),
    PrivateName("numba.core.compiler", "CompileResult._rebuild", ("target_context",),
                "makes a result from a file; `signature` holds its types", _CACHE),
    PrivateName("numba.core.serialize", "dumps", ("obj",),
                "pickles such parts", _CACHE),
    PrivateName("numba.core.codegen", "JITCPUCodegen.magic_tuple", ("self",),
                "names processor and features", _CACHE),
    PrivateName("numba.core.codegen", "CodeLibrary.has_dynamic_globals", None,
                "finds code with addresses of this process, which is not kept", _CACHE),
    PrivateName("numba.core.cpu", "CPUContext.refresh", ("self",),
                "what kernels with reference counts need before they are loaded", _CACHE),
)  # fmt: skip

#: Flags that are valid without being documented. Without `_nrt` each call of a function counts up and down the
#: references of all arrays that it is given, by atomic operations: 34 in each of ten functions.
PRIVATE_FLAGS: dict[str, Any] = {"_nrt": False}


def missing(names: tuple[PrivateName, ...] = NAMES) -> list[str]:
    """Return which of the names this version of Numba does not have, each as "module.name" or with what differs.

    Compiles nothing and takes below a millisecond: names are looked up and parameters are compared.
    """
    found = []
    for entry in names:
        full = f"{entry.module}.{entry.name}"
        try:
            value = operator.attrgetter(entry.name)(importlib.import_module(entry.module))
            given = None if entry.parameters is None else tuple(inspect.signature(value).parameters)
        except (ImportError, AttributeError, TypeError, ValueError):
            found.append(full)
            continue
        if entry.parameters is not None and given is not None and not _accepts(given, entry.parameters):
            found.append(f"{full}({', '.join(entry.parameters)})")
    return found


def _accepts(given: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a function with parameters `given` can be used as one with `wanted`."""
    return given[: len(wanted)] == wanted


def warn_of_public_path(reason: str) -> None:
    """Warn that the public way is taken: why, and what it costs."""
    warnings.warn(
        f"fastnn compiles by Numba's public functions alone, because {reason}. Results are the same to the bit; "
        "compiling takes about four times as long, and so do training steps of tiny nets. FASTNN_COMPILER=public "
        "chooses this without a warning; a newer fastnn may support this Numba.",
        RuntimeWarning,
        stacklevel=2,
    )


def compile_through(run: Callable[..., Any], dispatcher: Any) -> None:
    """Let `dispatcher` compile, or load, the code for new types of arguments by ``run(compile, *arguments)``."""
    dispatcher._compile_for_args = functools.partial(run, dispatcher._compile_for_args)


@contextmanager
def numba_cache_at(folder: Path) -> Iterator[None]:
    """Make Numba place the cache of the functions decorated inside in `folder`, and of no others."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before
