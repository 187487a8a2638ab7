"""Exported nets as C: compiled into a library, and called from here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from fastnn.interchange import export_c

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"]
#: Ways to compile: without and with fused multiply-adds, as C and as C++.
COMPILERS = {
    "c": ["gcc", "-x", "c", "-std=c99", "-O1"],
    "c native": ["gcc", "-x", "c", "-std=c99", "-O3", "-march=native"],
    "gnu native": ["gcc", "-x", "c", "-O2", "-march=native"],
    "c++": ["g++", "-x", "c++", "-O1"],
}
needs_compilers = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("g++") is None, reason="there is no gcc and g++"
)
TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}


class Library:
    """Nets as functions of one compiled library.

    Parameters
    ----------
    folder : path
    nets : dict of str to (net, dtype)
        By the name of the header.
    compiler : list of str
        The first words of the command.
    """

    def __init__(self, folder, nets, compiler=COMPILERS["c"]):
        lines = []
        self._sizes = {}
        for name, (net, dtype) in nets.items():
            export_c(net, folder / f"{name}.h", name=name, dtype=dtype)
            text = (folder / f"{name}.h").read_text(encoding="ascii")
            lines += [f'#include "{name}.h"']
            kind = "float" if f"void {name}_predict(const float" in text else "double"
            functions = ["predict"] + ["predict_proba"] * (f"void {name}_predict_proba" in text)
            for function in functions:
                width = "N_PROBABILITIES" if function.endswith("proba") else "N_OUTPUTS"
                lines += [
                    f"void {function}_{name}(const {kind} *x, long n, {kind} *y);",
                    f"void {function}_{name}(const {kind} *x, long n, {kind} *y) {{",
                    "    long r;",
                    f"    for (r = 0; r < n; ++r) {name}_{function}(x + r * {name.upper()}_N_INPUTS, "
                    f"y + r * {name.upper()}_{width});",
                    "}",
                ]
            if f"int {name}_predict_class(" in text:
                lines += [
                    f"int class_{name}(const {kind} *x);",
                    f"int class_{name}(const {kind} *x) {{ return {name}_predict_class(x); }}",
                ]
            if f"void {name}_predict_classes(" in text:
                lines += [
                    f"void classes_{name}(const {kind} *x, int *c);",
                    f"void classes_{name}(const {kind} *x, int *c) {{ {name}_predict_classes(x, c); }}",
                ]
            if f"{name}_label(int index)" in text:
                line = next(line for line in text.splitlines() if f"{name}_label(int index)" in line)
                result = line.removeprefix("static inline ").split(f"{name}_label")[0].strip()
                lines += [
                    f"{result} label_{name}(int index);",
                    f"{result} label_{name}(int index) {{ return {name}_label(index); }}",
                ]
        source = '#ifdef __cplusplus\nextern "C" {\n#endif\n@\n#ifdef __cplusplus\n}\n#endif\n'
        includes = "\n".join(line for line in lines if line.startswith("#include"))
        others = "\n".join(line for line in lines if not line.startswith("#include"))
        (folder / "nets.src").write_text(f"{includes}\n{source.replace('@', others)}")
        target = folder / f"nets{len(list(folder.glob('*.so')))}.so"
        command = [*compiler, *STRICT, "-shared", "-fPIC", str(folder / "nets.src"), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr[:3000]
        self.library = ctypes.CDLL(str(target))

    def rows(self, function, name, X, width):
        """Call `predict` or `predict_proba` of a net for all rows; (n, width)."""
        X = np.ascontiguousarray(X)
        kind = ctypes.POINTER(TYPES[X.dtype.name])
        Y = np.full((len(X), width), np.nan, X.dtype)
        call = self.library[f"{function}_{name}"]
        call.restype, call.argtypes = None, [kind, ctypes.c_long, kind]
        call(X.ctypes.data_as(kind), len(X), Y.ctypes.data_as(kind))
        return Y

    def classes(self, name, X):
        """Call `predict_class` for all rows; (n,)."""
        X = np.ascontiguousarray(X)
        kind = ctypes.POINTER(TYPES[X.dtype.name])
        call = self.library[f"class_{name}"]
        call.argtypes = [kind]
        return np.array([call(row.ctypes.data_as(kind)) for row in X])

    def several_classes(self, name, X, width):
        """Call `predict_classes` for all rows; (n, width)."""
        X = np.ascontiguousarray(X)
        kind = ctypes.POINTER(TYPES[X.dtype.name])
        call = self.library[f"classes_{name}"]
        found = np.full((len(X), width), -1, np.int32)
        for row, out in zip(X, found, strict=True):
            call(row.ctypes.data_as(kind), out.ctypes.data_as(ctypes.POINTER(ctypes.c_int)))
        return found

    def label(self, name, index, kind):
        """Call `label`."""
        call = self.library[f"label_{name}"]
        call.restype = kind
        return call(index)


def ulps(found, expected):
    """Largest difference in units of the last place of the largest expected number."""
    return np.abs(found.astype(np.float64) - expected.astype(np.float64)).max() / np.spacing(np.abs(expected).max())
