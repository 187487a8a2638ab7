"""A trained net as a C header of its own."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from string import Template
from typing import Any

import numpy as np

from fastnn import activations
from fastnn._persistence.npz import write_bytes
from fastnn._validation import as_dtype, as_path, must_be
from fastnn._version import __version__
from fastnn.interchange._c_functions import ACTIVATIONS, HELPERS, Constants, Function, number
from fastnn.interchange._chain import Array, Chain, chain_of, example_rows, model_of, rounded_to
from fastnn.kernels import tables
from fastnn.kernels.lang.simd import n_lanes

__all__ = ["export_c"]


def __dir__() -> list[str]:
    return __all__


#: What is no name of a variable in C99, C11, C23 or C++20.
_WORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class "
    "compl concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype "
    "default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline "
    "int long main mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public "
    "register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast "
    "struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual union "
    "unsigned using virtual void volatile wchar_t while xor xor_eq"
)
KEYWORDS = frozenset(_WORDS.split())


def export_c(model: Any, path: str | os.PathLike[str], *, name: str = "net", dtype: Any = None) -> None:
    """Write a trained net into a C99 header that needs nothing but ``<math.h>``.

    The header holds the weights and the function ``<name>_predict``, which computes one row. It can be included by
    several files of a C or C++ program, allocates nothing, keeps no state and is safe in any thread. The file is
    replaced atomically.

    Parameters
    ----------
    model : Model, MLPClassifier, MLPRegressor or Pipeline
        With its running averages, if it has any. The scalers of a Pipeline (StandardScaler, MinMaxScaler, MaxAbsScaler,
        RobustScaler) become a part of the first layer, so the program passes the features as they were measured.
    path : path
        The file to write, such as "net.h".
    name : str
        Prefix of all names in the header: lower case for functions, upper case for constants.
    dtype : "float32", "float64" or None
        The type of features, weights and outputs: float or double. None is that of the net.

    Raises
    ------
    TypeError
        If `model` is none of these, or a step of the Pipeline is another one.
    ValueError
        If the model has no weights yet, or weights that are not finite in `dtype`; if a layer has a custom activation,
        `name` is no identifier of C, or `dtype` is unknown.
    OSError
        If the file cannot be written.

    Notes
    -----
    With T for float or double, and NAME and name for the prefix, the header declares

    - ``NAME_N_INPUTS``, ``NAME_N_OUTPUTS``, ``NAME_STACK_BYTES``,
    - ``void name_predict(const T *x, T *y)``, what `Model.predict` returns for one row: of an estimator the
      outputs of its last layer,

    and for classifiers

    - ``NAME_N_PROBABILITIES``, ``NAME_N_CLASSES``,
    - ``void name_predict_proba(const T *x, T *p)``, as `predict_proba` of what was exported,
    - ``int name_predict_class(const T *x)``, the index of the class, and ``name_label(index)``, its label (of
      an estimator); or with several labels per row ``void name_predict_classes(const T *x, int *c)``, 0 or 1 for each.

    With the macro ``NAME_SELFTEST`` the header contains a function main, which compares three rows with the outputs
    that the net had here, and returns 0 if they agree.

    Sums are in the order of `Model.predict`, and so are the polynomials for exp, tanh and others, so that outputs
    differ from it by at most 4 units in the last place of the largest output. Products and sums are rounded once: by
    an instruction where the processor has one, so compile with ``-O3 -march=native`` or ``-mfma``, otherwise by
    double precision for float, and for double by the function fma, which is slow.
    ``#define NAME_FMA(a, b, c) ((a) * (b) + (c))`` before the header is faster there, and exact to some more units.

    Examples
    --------
    >>> import fastnn, tempfile, pathlib
    >>> model = fastnn.Model([fastnn.Dense(4, "tanh"), 1], loss="squared_error", seed=0).build(2)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.h"
    >>> fastnn.interchange.export_c(model, path)
    >>> "static inline void net_predict(const float *x, float *y)" in path.read_text()
    True
    """
    name = _identifier(name)
    target = as_path("path", path)
    chain = chain_of(model)
    chain = rounded_to(chain, chain.dtype if dtype is None else as_dtype(dtype))
    write_bytes(target, _header(chain, name).encode())


def _identifier(name: Any) -> str:
    constraint = "an identifier of C, such as 'net'"
    if not isinstance(name, str):
        raise TypeError(must_be("name", constraint, name))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or not name.isascii():
        hint = "Letters of ASCII, digits and _ are allowed, a letter first."
        raise ValueError(must_be("name", constraint, name, hint))
    if name in KEYWORDS:
        raise ValueError(must_be("name", constraint, name, "That is a word of C or C++."))
    return name


# ---------------------------------------------------------------------------------------------------------- the file


class _Text(Template):
    """A template whose names may be numbers, as ${0.5}."""

    braceidpattern = r"[A-Za-z_0-9.]+"


def _rows(numbers: Iterable[str], indent: str) -> str:
    """Return numbers with commas, in lines of at most 120 characters."""
    return textwrap.fill(", ".join(numbers), 120, initial_indent=indent, subsequent_indent=indent)


_TOP = """\
/* ${title}
 *
 * Written by fastnn ${version}. Needs a C99 or C++ compiler and <math.h>.
 *
${facts}
 *
 * Sums and polynomials are in the order of the original, so results differ by some units in the last place at most.
 * a * b + c is rounded once, for which most processors have an instruction: compile with -O3 -march=native or -mfma.
 * Otherwise ${slow}.
 * To round twice, which is faster there and exact to some more units:
 *
 *     #define ${N}_FMA(a, b, c) ((a) * (b) + (c))
 *
 * before this file. -ffast-math is not needed for speed, and refused, as it takes away what the functions rest on.
 */
#ifndef ${N}_H
#define ${N}_H

#include <math.h>

#if defined(__FAST_MATH__)
#error "compile without -ffast-math: the functions of this file rest on the order of operations"
#endif
#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#error "compile for arithmetic in the type of the operands, on 32-bit x86 with -msse2 -mfpmath=sse"
#endif

#if defined(FP_FAST_FMA${S}) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
#define ${N}_MAD(a, b, c) fma${s}((a), (b), (c))
#else
#define ${N}_MAD(a, b, c) ((a) * (b) + (c))
#endif
#if defined(${N}_FMA) /* given by the program */
#elif defined(FP_FAST_FMA${S}) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
#define ${N}_FMA(a, b, c) fma${s}((a), (b), (c))
#else
#define ${N}_FMA(a, b, c) ${exact}
#endif
#if defined(__cplusplus)
#define ${N}_RESTRICT __restrict
#else
#define ${N}_RESTRICT restrict
#endif

#define ${N}_N_INPUTS ${n_inputs}
#define ${N}_N_OUTPUTS ${n_outputs}
/* Largest number of bytes of the arrays on the stack. */
#define ${N}_STACK_BYTES ${stack}
${more_constants}
#ifdef __cplusplus
extern "C" {
#endif

"""

_BOTTOM = """\
#ifdef __cplusplus
}
#endif

#ifdef ${N}_SELFTEST
#include <stdio.h>

/* Compares three rows with what the original computed; returns 0 if they agree. */
int main(void) {
    static const ${T} x[3 * ${N}_N_INPUTS] = {
${rows}
    };
    static const ${T} expected[3 * ${N}_N_OUTPUTS] = {
${expected}
    };
    const double tolerance = ${tolerance};
    double largest = 0.0;
    int row, j;
    for (row = 0; row < 3; ++row) {
        ${T} y[${N}_N_OUTPUTS];
        ${n}_predict(x + row * ${N}_N_INPUTS, y);
        for (j = 0; j < ${N}_N_OUTPUTS; ++j) {
            const double error = fabs((double)y[j] - (double)expected[row * ${N}_N_OUTPUTS + j]);
            largest = error <= largest ? largest : error; /* NaN stays */
        }
    }
    printf("${n}: largest error %g, tolerance %g\\n", largest, tolerance);
    return largest <= tolerance ? 0 : 1;
}
#endif

#endif /* ${N}_H */
"""

_PREDICT_PROBA = """\
/* Overwrites p by the probabilities, ${meaning}. */
static inline void ${n}_predict_proba(const ${T} *x, ${T} *p) {
${body}
}

"""

_PREDICT_CLASS = """\
/* Returns the index of the most probable class; see ${n}_label. */
static inline int ${n}_predict_class(const ${T} *x) {
    ${T} p[${N}_N_PROBABILITIES];
${body}
}

"""

_PREDICT_CLASSES = """\
/* Overwrites c by 1 for each class whose probability is above one half, by 0 for the others. */
static inline void ${n}_predict_classes(const ${T} *x, int *c) {
    ${T} p[${N}_N_PROBABILITIES];
    int j;
    ${n}_predict_proba(x, p);
    for (j = 0; j < ${N}_N_PROBABILITIES; ++j) c[j] = p[j] > ${0.5};
}

"""


def _header(chain: Chain, name: str) -> str:
    """Return the text of the header of a chain whose weights have its dtype."""
    values = Constants(name, chain.dtype)

    def filled(template: str, **others: str) -> str:
        return _Text(template).substitute(_Overlay(values, others))

    probabilities = 0 if chain.output == "values" else chain.n_outputs
    if chain.kind == "classifier" and probabilities == 1:
        probabilities = 2  # both classes, as predict_proba of the estimator
    constants = f"#define {values['N']}_N_PROBABILITIES {probabilities}\n" if probabilities else ""
    if probabilities:
        n_classes = max(2, chain.n_outputs) if chain.classes is None else len(chain.classes)
        constants += f"#define {values['N']}_N_CLASSES {n_classes}\n"

    widths = [layer.n_out for layer in chain.layers[:-1]]
    buffers = [max(widths[k::2], default=0) for k in (0, 1)]
    lanes = n_lanes(chain.dtype)
    stack = (sum(buffers) + lanes + probabilities) * chain.dtype.itemsize
    parts = [
        filled(
            _TOP,
            title=f"A net of {' - '.join(map(str, chain.sizes))} units.",
            version=__version__,
            facts=_comment(_facts(chain)),
            slow="double precision is used" if values["s"] else "the function fma is called, which is slow",
            exact="((float)((double)(a) * (double)(b) + (double)(c)))" if values["s"] else "fma((a), (b), (c))",
            S=values["s"].upper(),
            n_inputs=str(chain.n_features),
            n_outputs=str(chain.n_outputs),
            stack=str(stack),
            more_constants=constants,
        )
    ]
    used = [layer.activation for layer in chain.layers]
    if chain.output == "logits":
        used.append(chain.link)
    parts += [filled(text) + "\n" for text in _functions(used)]
    parts += [_layer(chain, k, filled, values) for k in range(len(chain.layers))]
    parts.append(_predict(chain, buffers, filled))
    if probabilities:
        parts.append(_classification(chain, probabilities, filled))
    x = example_rows(chain, 3)
    y = model_of(chain).predict(x)
    parts.append(
        filled(
            _BOTTOM,
            rows=_rows(map(values.number, x.ravel()), " " * 8),
            expected=_rows(map(values.number, y.ravel()), " " * 8),
            tolerance=f"{4.0 * float(np.spacing(np.abs(y).max(initial=0.0))):.17g}",
        )
    )
    return "".join(parts)


class _Overlay(dict[str, str]):
    """Some values above others."""

    def __init__(self, below: Constants, above: dict[str, str]) -> None:
        super().__init__(above)
        self._below = below

    def __missing__(self, key: str) -> str:
        """Return the value below."""
        return self._below[key]


def _comment(lines: Iterable[str]) -> str:
    """Return lines of a comment, without what would end it."""
    safe = (line.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?") for line in lines)
    filled = (textwrap.fill(line, 117, subsequent_indent="    ") for line in safe)
    return "\n".join(f" * {line}" for text in filled for line in text.splitlines())


def _facts(chain: Chain) -> list[str]:
    """Return what is known of inputs and outputs, in sentences."""
    layers = ", ".join(layer.activation + (f"({layer.alpha:g})" if layer.alpha else "") for layer in chain.layers)
    facts = [f"Activations: {layers}. Loss: {chain.loss}."]
    names = chain.feature_names
    facts.append(f"Inputs: {', '.join(map(_printable, names))}." if names else f"Inputs: {chain.n_features} numbers.")
    if chain.scalers:
        facts.append(
            f"The scaling of {', '.join(map(_printable, chain.scalers))} is part of the first layer: pass the features "
            "as they were measured, in the units of the training data."
        )
    meaning = {
        "values": "values, in the units of the targets",
        "logits": f"logits, whose {chain.link} are probabilities",
        "probabilities": "probabilities",
    }[chain.output]
    facts.append(f"Outputs: {meaning}.")
    if chain.classes is not None:
        facts.append(f"Classes: {', '.join(_printable(str(c)) for c in chain.classes.tolist())}.")
    return facts


def _printable(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text)


def _functions(used: Iterable[str]) -> list[str]:
    """Return the templates of the functions of some activations, each after those that it calls."""
    found: dict[str, str] = {}

    def add(name: str, function: Function | None) -> None:
        if function is not None and name not in found:
            for need in function.needs:
                add(f"helper {need}", HELPERS[need])
            found[name] = function.text

    for name in used:
        add(name, ACTIVATIONS[name])
    return list(found.values())


def _layer(chain: Chain, k: int, filled: Callable[..., str], values: Constants) -> str:
    """Return weights and function of one layer."""
    layer = chain.layers[k]
    n_in, n_out = layer.n_in, layer.n_out
    narrow = tables.is_narrow(n_in, n_out, chain.dtype)
    weights = layer.weights.T if narrow else layer.weights
    z = f"{values['n']}_"
    lines = [
        "/* Layer ${k}: ${n_in} to ${n_out}, ${activation}. Weights ${order}. */",
        "static const ${T} ${n}_weights_${k}[${size}] = {",
        _rows(map(values.number, weights.ravel()), " " * 4),
        "};",
        "static const ${T} ${n}_biases_${k}[${n_out}] = {",
        _rows(map(values.number, layer.biases), " " * 4),
        "};",
        "",
        "static inline void ${n}_layer_${k}(const ${T} *${N}_RESTRICT x, ${T} *${N}_RESTRICT y) {",
        *(_narrow_sums(n_in, n_out, n_lanes(chain.dtype)) if narrow else _sums(n_in, n_out)),
    ]
    rule = activations.get(layer.activation).rule
    if rule.rows:
        lines.append(f"    {z}{layer.activation}(y, {n_out});")
    elif ACTIVATIONS[layer.activation] is not None:
        alpha = "" if rule.alpha is None else f", {values.number(layer.alpha)}"
        lines.append(f"    for (j = 0; j < {n_out}; ++j) y[j] = {z}{layer.activation}(y[j]{alpha});")
    lines += ["}", "", ""]
    return filled(
        "\n".join(lines), k=str(k + 1), n_in=str(n_in), n_out=str(n_out), activation=layer.activation,
        size=str(n_in * n_out),
        order=f"({n_out}, {n_in}), by outputs" if narrow else f"({n_in}, {n_out}), by inputs",
    )  # fmt: skip


#: Products that are added in one pass over the sums.
_UNROLLED = 4


def _sums(n_in: int, n_out: int) -> list[str]:
    """Return the statements that overwrite y by b + x W: one chain of products per output, in the order of inputs."""

    def products(n: int) -> list[str]:
        lines = [f"        const ${{T}} *w = ${{n}}_weights_${{k}} + k * {n_out};"]
        lines += [f"        const ${{T}} x{i} = x[k + {i}];" for i in range(n)]
        lines += [f"        for (j = 0; j < {n_out}; ++j) {{", "            ${T} s = y[j];"]
        lines += [f"            s = ${{N}}_FMA(x{i}, w[{i * n_out} + j], s);" for i in range(n)]
        return [*lines, "            y[j] = s;", "        }", "    }"]

    whole = n_in - n_in % _UNROLLED
    lines = ["    int j, k;", f"    for (j = 0; j < {n_out}; ++j) y[j] = ${{n}}_biases_${{k}}[j];"]
    if whole:
        lines += [f"    for (k = 0; k < {whole}; k += {_UNROLLED}) {{", *products(_UNROLLED)]
    if n_in > whole:
        lines += [f"    for (k = {whole}; k < {n_in}; ++k) {{", *products(1)]
    return lines


def _narrow_sums(n_in: int, n_out: int, lanes: int) -> list[str]:
    """Return the same for a layer of few outputs: `lanes` sums per output, which are then added halves onto halves."""
    whole = n_in - n_in % lanes
    lines = [
        "    int j, k, i;",
        f"    for (j = 0; j < {n_out}; ++j) {{",
        f"        const ${{T}} *w = ${{n}}_weights_${{k}} + j * {n_in};",
        f"        ${{T}} s[{lanes}] = {{${{0.0}}}};",
    ]
    if whole:
        lines += [
            f"        for (k = 0; k < {whole}; k += {lanes})",
            f"            for (i = 0; i < {lanes}; ++i) s[i] = ${{N}}_FMA(x[k + i], w[k + i], s[i]);",
        ]
    if n_in > whole:
        lines += [
            f"        for (k = {whole}; k < {n_in}; ++k)",
            f"            s[k - {whole}] = ${{N}}_FMA(x[k], w[k], s[k - {whole}]);",
        ]
    half = lanes // 2
    while half:
        lines.append(f"        for (i = 0; i < {half}; ++i) s[i] += s[i + {half}];")
        half //= 2
    return [*lines, "        y[j] = s[0] + ${n}_biases_${k}[j];", "    }"]


def _predict(chain: Chain, buffers: Sequence[int], filled: Callable[..., str]) -> str:
    """Return the function that calls the layers, with two arrays for what is between them."""
    lines = [
        "/* Overwrites y (${n_outputs}) by the outputs for the features x (${n_inputs}); x and y must not overlap. */",
        "static inline void ${n}_predict(const ${T} *x, ${T} *y) {",
    ]
    lines += [f"    ${{T}} {array}[{size}];" for array, size in zip("ab", buffers, strict=True) if size]
    source = "x"
    for k in range(len(chain.layers)):
        target = "y" if k == len(chain.layers) - 1 else "ab"[k % 2]
        lines.append(f"    ${{n}}_layer_{k + 1}({source}, {target});")
        source = target
    lines += ["}", "", ""]
    return filled("\n".join(lines), n_inputs=str(chain.n_features), n_outputs=str(chain.n_outputs))


def _classification(chain: Chain, n: int, filled: Callable[..., str]) -> str:
    """Return the functions for n probabilities, classes and labels."""
    both = chain.kind == "classifier" and chain.n_outputs == 1
    lines = ["    ${n}_predict(x, p + 1);" if both else "    ${n}_predict(x, p);"]
    if chain.output == "logits" and chain.link == "softmax":
        lines.append(f"    ${{n}}_softmax(p, {n});")
    elif chain.output == "logits":
        lines = ["    int j;", *lines, f"    for (j = 0; j < {n}; ++j) p[j] = ${{n}}_{chain.link}(p[j]);"]
    if both:
        lines.append("    p[0] = ${1.0} - p[1];")
    meaning = "those of a row sum to 1" if both or chain.link == "softmax" else "each of its own"
    parts = [filled(_PREDICT_PROBA, meaning=meaning, body=filled("\n".join(lines)))]
    if chain.multilabel:
        parts.append(filled(_PREDICT_CLASSES))
    elif chain.link == "softmax":
        body = (
            "    int j, best = 0;\n    ${n}_predict_proba(x, p);\n"
            f"    for (j = 1; j < {n}; ++j) best = p[j] > p[best] ? j : best;\n    return best;"
        )
        parts.append(filled(_PREDICT_CLASS, body=filled(body)))
    else:
        last = n - 1
        found = "0" if chain.classes is not None and len(chain.classes) == 1 else f"p[{last}] > ${{0.5}}"
        body = f"    ${{n}}_predict_proba(x, p);\n    return {found};"
        parts.append(filled(_PREDICT_CLASS, body=filled(body)))
    if chain.classes is not None:
        parts.append(filled(_labels(chain.classes)))
    return "".join(parts)


def _labels(classes: Array) -> str:
    """Return the function of the label of a class, whose type is that of the labels."""
    items = classes.tolist()
    if all(isinstance(label, int) for label in items) and all(-(2**63) < label < 2**63 for label in items):
        kind, texts = "long long", [f"{int(label)}LL" for label in items]
    elif all(isinstance(label, float) for label in items):
        kind, texts = "double", [number(label, np.dtype(np.float64)) for label in items]
    else:
        kind, texts = "const char *", [_string(str(label)) for label in items]
    static = "static const char *const" if kind.endswith("*") else f"static const {kind}"
    return "\n".join(
        [
            "/* Returns the label of the class with this index, from 0 on. */",
            f"static inline {kind}{'' if kind.endswith('*') else ' '}${{n}}_label(int index) {{",
            f"    {static} labels[{len(texts)}] = {{",
            _rows((text.replace("$", "$$") for text in texts), " " * 8),
            "    };",
            "    return labels[index];",
            "}",
            "",
            "",
        ]
    )


def _string(text: str) -> str:
    """Return a string of C, of the bytes of UTF-8; what is not printable as three octal digits."""
    data = text.encode("utf-8", "replace")
    characters = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return f'"{"".join(characters)}"'
