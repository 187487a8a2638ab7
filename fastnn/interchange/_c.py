"""A trained net as a C header of its own."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np

from fastnn import activations
from fastnn._persistence.npz import write_bytes
from fastnn._validation import as_dtype, as_path, must_be
from fastnn._version import __version__
from fastnn.interchange._chain import Array, Chain, chain_of, example_rows, model_of, rounded_to
from fastnn.kernels import tables
from fastnn.kernels.lang.simd import ROUND32, ROUND64, n_lanes
from fastnn.kernels.maths import elementary as e

__all__ = ["export_c"]


def __dir__() -> list[str]:
    return __all__


#: Coefficients that stand in the functions of `elementary`, that of the highest power first: of Cephes' expf and of
#: fdlibm's logarithms.
EXP32 = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG32 = (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)
LOG64 = (
    0.1479819860511658591, 0.1531383769920937332, 0.1818357216161805012, 0.2222219843214978396, 0.2857142874366239149,
    0.3999999999940941908, 0.6666666666666735130,
)  # fmt: skip
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


# -------------------------------------------------------------------------------------------------- functions of C
#
# The arithmetic of `fastnn.kernels.maths.elementary`, in the same order. ${T} is the type, ${U} an integer of its size,
# ${n} the prefix of functions, ${N} that of macros, ${s} the suffix of functions of math.h; numbers and their names are
# those of `_Constants`. _FMA is rounded once, _MAD as is fast: by its rounding a result differs in the last place only.

_SELECT = """\
/* condition ? yes : no, without a branch, so that loops become vector instructions. */
static inline ${T} ${n}_select(int condition, ${T} yes, ${T} no) {
    union { ${T} number; ${U} bits; } a, b;
    const ${U} mask = (${U})0 - (${U})condition;
    a.number = yes;
    b.number = no;
    a.bits = (a.bits & mask) | (b.bits & ~mask);
    return a.number;
}
"""

_PARTS = """\
/* e^x = (1 + part) scale, x = n ln 2 + r, |r| <= ln(2) / 2; shifted is n + ${ROUND}, scale 2^n. */
static inline ${T} ${n}_exp_part(${T} x, ${T} *shifted) {
    const ${T} t = ${N}_MAD(x, ${LOG2_E}, ${ROUND});
    const ${T} k = t - ${ROUND};
    const ${T} r = ${N}_MAD(k, ${MINUS_LN2_LOW}, ${N}_MAD(k, ${MINUS_LN2_HIGH}, x));
${exp_series}
    *shifted = t;
    return ${N}_MAD(q, r * r, r);
}

/* 2^n for n + ${ROUND}; 0 for the first n below those of normal numbers. */
static inline ${T} ${n}_power_of_two(${T} shifted) {
    union { ${T} number; ${U} bits; } v;
    v.number = shifted;
    v.bits = (v.bits + ${BIAS}) << ${MANTISSA};
    return v.number;
}
"""

_EXP = """\
static inline ${T} ${n}_exponential(${T} x) {
    ${T} low = ${n}_select(-${LIMIT} > x, -${LIMIT}, x), shifted, half, part, scale;
    low = ${n}_select(${LIMIT} < low, ${LIMIT}, low);
    part = ${n}_exp_part(low, &shifted);
    half = (shifted - ${ROUND}) * ${0.5} + ${ROUND};
    scale = ${n}_power_of_two(half);
    return (part * scale + scale) * ${n}_power_of_two(shifted - (half - ${ROUND}));
}
"""

_EXP_NONPOSITIVE = """\
static inline ${T} ${n}_exp_nonpositive(${T} x) {
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(-${NORMAL} > x, -${NORMAL}, x), &shifted);
    const ${T} scale = ${n}_power_of_two(shifted);
    return part * scale + scale;
}
"""

_EXPM1 = """\
/* e^x - 1 without cancellation near 0; for x <= 0, anything above. */
static inline ${T} ${n}_expm1(${T} x) {
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(-${NORMAL} > x, -${NORMAL}, x), &shifted);
    const ${T} scale = ${n}_power_of_two(shifted);
    return part * scale + (scale - ${1.0});
}
"""

_TANH = """\
static inline ${T} ${n}_tanh(${T} x) {
    const ${T} a = fabs${s}(x), twice = a + a;
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(${NORMAL} < twice, ${NORMAL}, twice), &shifted);
    const ${T} scale = ${n}_power_of_two(shifted);
    const ${T} far = ${1.0} - ${2.0} / (part * scale + (scale + ${1.0}));
    const ${T} z = a * a;
${tanh_series}
    const ${T} near = ${N}_MAD(a * z, p, a);
    const ${T} y = ${n}_select(a < ${0.55}, near, far);
    return copysign${s}(y, x);
}
"""

_SIGMOID = """\
static inline ${T} ${n}_sigmoid(${T} x) {
    const ${T} a = fabs${s}(x);
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(${NORMAL} < a, ${NORMAL}, a), &shifted);
    const ${T} scale = ${n}_power_of_two(shifted);
    const ${T} most = scale + ${1.0};
    const ${T} lost = ${1.0} - (most - scale);
    const ${T} p = ${1.0} / ((part * scale + lost) + most);
    const ${T} above = ${1.0} - p;
    return ${n}_select(x > ${0.0}, above, p);
}
"""

_SOFTPLUS = """\
/* max(x, 0) + ln(1 + e^-|x|); the logarithm is that of fdlibm. */
static inline ${T} ${n}_softplus(${T} x) {
    const ${T} a = fabs${s}(x);
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(-${NORMAL} > -a, -${NORMAL}, -a), &shifted);
    const ${T} scale = ${n}_power_of_two(shifted);
    const ${T} q = part * scale + scale;
    const ${T} low_q = part * scale + (scale - q);
    const ${T} m = part * scale + (scale - ${1.0});
    const ${T} low_m = part * scale + ((scale - ${1.0}) - m);
    const ${T} half_m = ${0.5} * m, half_low_m = ${0.5} * low_m;
    const ${T} v = ${n}_select(a > ${LN_ROOT_END}, q, half_m);
    const ${T} low = ${n}_select(a > ${LN_ROOT_END}, low_q, half_low_m);
    const ${T} base = ${n}_select(a > ${LN_ROOT_END}, ${0.0}, ${LN2});
    const ${T} top = ${n}_select(x > ${0.0}, x, ${0.0});
    const ${T} u = v / (v + ${2.0});
    const ${T} half_v = ${0.5} * v;
    const ${T} square = half_v * v;
    const ${T} z = u * u;
${log_series}
    return base + (top + (v - ((square - u * (square + p * z)) - (low - ${N}_FMA(half_v, v, -square)))));
}
"""

_SILU = """\
/* x / (1 + e^-x); below -64 both terms of the denominator are multiplied by 2^-64. */
static inline ${T} ${n}_silu(${T} x) {
    const ${T} end = -${NORMAL} - ${TAIL};
    const ${T} c = ${n}_select(end > x, end, x);
    ${T} shifted;
    const ${T} part = ${n}_exp_part(${n}_select(-${NORMAL} > -c, -${NORMAL}, -c), &shifted);
    const ${T} deep = ${n}_select(c < -${64.0}, -${64.0}, ${0.0});
    const ${T} unit = ${n}_select(c < -${64.0}, ${TINY}, ${1.0});
    const ${T} scale = ${n}_power_of_two(shifted + deep);
    const ${T} most = scale + unit;
    const ${T} lost = unit - (most - scale);
    const ${T} y = c / ((part * scale + lost) + most) * unit;
    return ${n}_select(c > ${NORMAL}, c, y);
}
"""

_MISH = """\
/* x n / (n + 2), n = e (e + 2), e = e^x; below -64 n is kept multiplied by 2^64. */
static inline ${T} ${n}_mish(${T} x) {
    const ${T} end = -${NORMAL} - ${TAIL};
    const ${T} c = ${n}_select(end > x, end, x);
    const ${T} z = ${n}_select(${40.0} < c, ${40.0}, c);
    ${T} shifted;
    const ${T} part = ${n}_exp_part(z, &shifted);
    const ${T} deep = ${n}_select(z < -${64.0}, ${64.0}, ${0.0});
    const ${T} unit = ${n}_select(z < -${64.0}, ${TINY}, ${1.0});
    const ${T} scale = ${n}_power_of_two(shifted + deep);
    const ${T} large = part * scale + scale;
    const ${T} e = large * unit;
    const ${T} n = ${N}_FMA(large, e, large + large);
    const ${T} small = n * unit;
    const ${T} d = small + ${2.0};
    const ${T} over = ${1.0} / d;
    const ${T} t = n * over;
    const ${T} low_n = ${N}_FMA(large, e, (large + large) - n);
    const ${T} low = ${N}_FMA((${1.0} + e) * ${2.0}, part * scale + (scale - large), low_n);
    const ${T} rest = ${N}_FMA(-t, small - (d - ${2.0}), ${N}_FMA(-t, d, n));
    return c * ${N}_FMA(${N}_FMA(low, ${1.0} - t * unit, rest), over, t) * unit;
}
"""

_GELU = """\
/* x Phi(x) = max(x, 0) - |x| r e^(-x^2 / 2), r = e^(x^2 / 2) Phi(-|x|); below 0.75 by the power series of Phi. */
static inline ${T} ${n}_gelu(${T} x) {
    const ${T} b = fabs${s}(x);
    const ${T} a = ${n}_select(${40.0} < b, ${40.0}, b);
    const ${T} z = a * a;
    const ${T} e = ${n}_exp_nonpositive(z * -${0.5});
    const ${T} exact = ${N}_FMA(-e, ${N}_FMA(a, a, -z) * ${0.5}, e);
    const ${T} t = (a - ${K}) / (a + ${K});
${tail_series}
    const ${T} r = p / ${N}_MAD(a, ${ROOT_2}, ${1.0});
${phi_series}
    const ${T} top = ${n}_select(x > ${0.0}, x, ${0.0});
    const ${T} far = ${N}_MAD(-(a * r), exact, top);
    const ${T} near = ${N}_MAD(z, f, ${0.5} * x);
    return ${n}_select(a < ${0.75}, near, far);
}
"""

_SOFTMAX = """\
/* Overwrites n sums by their softmax. */
static inline void ${n}_softmax(${T} *z, int n) {
    ${T} top = z[0], lanes[${V}] = {${0.0}};
    int j, half;
    for (j = 1; j < n; ++j) top = z[j] > top ? z[j] : top;
    for (j = 0; j < n; ++j) z[j] = ${n}_exp_nonpositive(z[j] - top);
    for (j = 0; j < n; ++j) lanes[j % ${V}] += z[j];
    for (half = ${V} / 2; half > 0; half /= 2)
        for (j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    top = ${1.0} / lanes[0];
    for (j = 0; j < n; ++j) z[j] *= top;
}
"""


_EACH = {
    "relu": "    const ${T} zero = ${0.0};\n    return zero > z ? zero : z;",
    "leaky_relu": "    const ${T} below = z * alpha;\n    return ${n}_select(z > ${0.0}, z, below);",
    "elu": "    const ${T} below = ${n}_expm1(z) * alpha;\n    return ${n}_select(z > ${0.0}, z, below);",
    "selu": """\
    const ${T} above = z * ${SELU_SCALE}, e = ${n}_expm1(z);
    const ${T} below = ${N}_FMA(e, ${SELU_HIGH}, e * ${SELU_LOW});
    return ${n}_select(z > ${0.0}, above, below);""",
    "hard_sigmoid": """\
    const ${T} y = ${N}_FMA(z, ${SIXTH}, ${0.5});
    const ${T} high = ${0.0} > y ? ${0.0} : y;
    return ${1.0} < high ? ${1.0} : high;""",
}


@dataclass(frozen=True)
class Function:
    """A function of C.

    Parameters
    ----------
    text : str
        Its definition, as a template.
    needs : tuple of str
        Names of the functions that it calls.
    """

    text: str
    needs: tuple[str, ...] = ()


def _each(name: str, *needs: str, alpha: bool = False) -> Function:
    number = ", ${T} alpha" if alpha else ""
    return Function(f"static inline ${{T}} ${{n}}_{name}(${{T}} z{number}) {{\n{_EACH[name]}\n}}\n", needs)


#: What activations call.
HELPERS = {
    "select": Function(_SELECT),
    "parts": Function(_PARTS),
    "exp_nonpositive": Function(_EXP_NONPOSITIVE, ("select", "parts")),
    "expm1": Function(_EXPM1, ("select", "parts")),
}
#: By the name of the activation, a function of the sum z, and of alpha where the activation has a number; of a whole
#: row for softmax; None where there is nothing to do.
ACTIVATIONS = {
    "identity": None,
    "sigmoid": Function(_SIGMOID, ("select", "parts")),
    "tanh": Function(_TANH, ("select", "parts")),
    "relu": _each("relu"),
    "leaky_relu": _each("leaky_relu", "select", alpha=True),
    "elu": _each("elu", "select", "expm1", alpha=True),
    "selu": _each("selu", "select", "expm1"),
    "softplus": Function(_SOFTPLUS, ("select", "parts")),
    "silu": Function(_SILU, ("select", "parts")),
    "gelu": Function(_GELU, ("select", "exp_nonpositive")),
    "mish": Function(_MISH, ("select", "parts")),
    "hard_sigmoid": _each("hard_sigmoid"),
    "exponential": Function(_EXP, ("select", "parts")),
    "softmax": Function(_SOFTMAX, ("exp_nonpositive",)),
}


# --------------------------------------------------------------------------------------------- numbers and templates


class _Constants(dict[str, str]):
    """What stands in the templates: names of types and prefixes, polynomials, and numbers by their value or name."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        single = dtype == np.float32
        super().__init__(
            T="float" if single else "double",
            U="unsigned int" if single else "unsigned long long",
            n=name,
            N=name.upper(),
            s="f" if single else "",
            MANTISSA="23" if single else "52",
            BIAS="127u" if single else "1023u",
            V=str(n_lanes(dtype)),
        )
        self._dtype = dtype
        bits = "32" if single else "64"
        named = {
            "ROUND": ROUND32 if single else ROUND64,
            "TINY": 2.0**-64,
            "K": 4.5 if single else 5.5,
            "SIXTH": 1.0 / 6.0,
            "LN_ROOT_END": -e.LN_ROOT,
            "MINUS_LN2_HIGH": -getattr(e, f"LN2_HIGH{bits}"),
            "MINUS_LN2_LOW": -getattr(e, f"LN2_LOW{bits}"),
        }
        for key in ("LOG2_E", "LN2", "ROOT_2", "TAIL"):
            named[key] = getattr(e, key)
        for key in ("LIMIT", "NORMAL"):
            named[key] = getattr(e, key + bits)
        for key in ("SELU_SCALE", "SELU_HIGH", "SELU_LOW"):
            named[key] = getattr(activations, key)
        self.update({key: self.number(value) for key, value in named.items()})
        exp = EXP32 if single else e.EXP64
        log = LOG32 if single else LOG64
        tanh = [getattr(e, f"TANH{bits}_{k}") for k in reversed(range(4 if single else 11))]
        tail = [getattr(e, f"TAIL{bits}_{k}") for k in reversed(range(11 if single else 23))]
        phi = [getattr(e, f"PHI{k}") for k in reversed(range(8 if single else 14))]
        self.update(
            exp_series=self._horner("q", "r", exp),
            tanh_series=self._horner("p", "z", tanh),
            log_series=self._horner("p", "z", log),
            tail_series=self._horner("p", "t", tail),
            phi_series=self._horner("f", "z", phi),
        )

    def __missing__(self, key: str) -> str:
        """Return the text of a number."""
        return self.number(float(key))

    def number(self, value: float) -> str:
        """Return a constant of C that is read as this number, rounded to the dtype."""
        return number(value, self._dtype)

    def _horner(self, result: str, x: str, coefficients: Sequence[float]) -> str:
        """Return the lines that compute a polynomial; coefficients begin with that of the highest power."""
        first, *others = map(self.number, coefficients)
        lines = [f"{self['T']} {result} = {first};"]
        lines += [f"{result} = {self['N']}_MAD({result}, {x}, {c});" for c in others]
        return "\n".join(f"    {line}" for line in lines)


class _Text(Template):
    """A template whose names may be numbers, as ${0.5}."""

    braceidpattern = r"[A-Za-z_0-9.]+"


def number(value: float, dtype: np.dtype[Any]) -> str:
    """Return a constant of C with enough digits to be read as the same number of the dtype."""
    if dtype == np.float32:
        text = f"{float(np.float32(value)):.9g}"
        return (text if re.search("[.e]", text) else text + ".0") + "f"
    text = f"{float(value):.17g}"
    return text if re.search("[.e]", text) else text + ".0"


def _rows(numbers: Iterable[str], indent: str) -> str:
    """Return numbers with commas, in lines of at most 120 characters."""
    return textwrap.fill(", ".join(numbers), 120, initial_indent=indent, subsequent_indent=indent)


# ---------------------------------------------------------------------------------------------------------- the file


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
    values = _Constants(name, chain.dtype)

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

    def __init__(self, below: _Constants, above: dict[str, str]) -> None:
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


def _layer(chain: Chain, k: int, filled: Callable[..., str], values: _Constants) -> str:
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
