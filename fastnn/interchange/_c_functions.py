"""Functions of C: the activations of exported nets, and the numbers in them.

The arithmetic is that of `fastnn.kernels.maths.elementary`, in the same order. In the templates ${T} is the type, ${U}
an integer of its size, ${n} the prefix of functions, ${N} that of macros, ${s} the suffix of functions of math.h;
numbers and their names are those of `Constants`. _FMA is rounded once, _MAD as is fast: by its rounding a result
differs in the last place only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import activations
from fastnn.kernels.lang.simd import ROUND32, ROUND64, n_lanes
from fastnn.kernels.maths import elementary as e

#: Coefficients that stand in the functions of `elementary`, that of the highest power first: of Cephes' expf and of
#: fdlibm's logarithms.
EXP32 = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG32 = (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)
LOG64 = (
    0.1479819860511658591, 0.1531383769920937332, 0.1818357216161805012, 0.2222219843214978396, 0.2857142874366239149,
    0.3999999999940941908, 0.6666666666666735130,
)  # fmt: skip

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


class Constants(dict[str, str]):
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


def number(value: float, dtype: np.dtype[Any]) -> str:
    """Return a constant of C with enough digits to be read as the same number of the dtype."""
    if dtype == np.float32:
        text = f"{float(np.float32(value)):.9g}"
        return (text if re.search("[.e]", text) else text + ".0") + "f"
    text = f"{float(value):.17g}"
    return text if re.search("[.e]", text) else text + ".0"
