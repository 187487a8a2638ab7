"""Compile all kernels for a level of processors; `backend` runs this file in processes of their own.

    python compile_kernels.py levels                # print as JSON the levels, and which one fits this processor
    python compile_kernels.py record FILE DTYPE...  # compile and run all kernels; write for which types that was
    python compile_kernels.py compile FILE          # compile them for the same types, and run none of them

The code goes to FASTNN_CACHE_DIR. The level is that of NUMBA_CPU_NAME and NUMBA_CPU_FEATURES; a machine compiles for
levels that it could not run, too.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastnn._warmup import load_all_kernels
from fastnn.kernels.lang import compiler, levels
from fastnn.kernels.lang.compile_thread import in_compile_thread


def print_levels() -> None:
    """Print the levels as JSON: the environment variables of each, and the name of the one of this processor."""
    of_this = None if levels.LEVEL is None else levels.LEVEL.name
    print(json.dumps({"levels": {level.name: level.settings() for level in levels.LEVELS}, "of_this": of_this}))


def _entry_points() -> Iterator[tuple[str, str, list[Any], Any]]:
    """Yield module and name of each entry point, the types for which this process has it, and the entry point."""
    for point in compiler.ENTRY_POINTS:
        if isinstance(point, compiler.CFunction):
            function, types = point.function, [point.signature] if "code" in vars(point) else []
        else:
            function, types = point.py_func, point.signatures
        yield function.__module__, function.__qualname__, types, point


def record(path: Path, dtypes: Sequence[str]) -> None:
    """Compile and run all kernels of some dtypes; write for which types that was."""
    for dtype in dtypes:
        load_all_kernels(dtype)
    path.write_bytes(pickle.dumps([entry[:3] for entry in _entry_points() if entry[2]]))


def compile_recorded(path: Path) -> None:
    """Compile the kernels for the types that were recorded."""
    recorded = pickle.loads(path.read_bytes())
    for module, *_ in recorded:
        importlib.import_module(module)
    found = list(_entry_points())
    for module, name, all_types, *_ in recorded:
        for types in all_types:
            for *whose, _, point in found:
                if whose != [module, name]:
                    continue
                if not isinstance(point, compiler.CFunction):
                    in_compile_thread(point.compile, types)
                elif point.signature == types:
                    in_compile_thread(lambda point=point: point.code)


def main(arguments: Sequence[str]) -> None:
    """Run one of the three commands."""
    command, *rest = arguments
    if command == "levels":
        print_levels()
    elif command == "record":
        record(Path(rest[0]), rest[1:])
    elif command == "compile":
        compile_recorded(Path(rest[0]))
    else:
        raise SystemExit(f"no command {command}")


if __name__ == "__main__":
    main(sys.argv[1:])
