"""Activations and their derivatives over runs of vectors.

y = f(z). Where y tells z the derivative is taken from the output y, so z need not be kept: sigmoid y (1 - y),
tanh 1 - y^2, relu [y > 0], leaky relu 1 or alpha, elu 1 or y + alpha (D.-A. Clevert et al., 2015, eq. 16), selu the
same times its scale, softplus 1 - e^-y, hard sigmoid 1/6 inside, exponential y. The others (`ids.NEEDS_INPUT`) take
it from z: silu p (1 + z (1 - p)) with p = sigmoid(z), gelu cdf + z pdf, mish as written below.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.ids import (
    CUSTOM_ACTIVATION,
    ELU,
    EXPONENTIAL,
    GELU,
    HARD_SIGMOID,
    LEAKY_RELU,
    MISH,
    RELU,
    SELU,
    SIGMOID,
    SILU,
    SOFTMAX,
    SOFTPLUS,
    TANH,
)
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    call_native,
    fma,
    lanes,
    load,
    mask_tail,
    max_lanes,
    maximum,
    minimum,
    select_gt,
    store,
    sum_lanes,
)
from fastnn.kernels.maths.elementary import exp, expm1, normal_cdf, normal_pdf, sigmoid, softplus, tanh

#: G. Klambauer et al., Self-normalizing neural networks, 2017; alpha is given as that of elu.
SELU_SCALE = 1.0507009873554805


@device_function
def activate(code: int, alpha: float, function: int, z: Any, y: Any, n: int) -> None:
    """Overwrite n elements at `y` (whole vectors) with f of those at `z`, which may be the same.

    Where f is the identity or softmax nothing is done. `function` is the address of the user's.
    """
    v = lanes(z)
    zero = broadcast(z, 0.0)
    one = broadcast(z, 1.0)
    slope = broadcast(z, alpha)
    if code == RELU:
        for i in range(0, n, v):
            store(at(y, i), maximum(zero, load(at(z, i))))
    elif code == TANH:
        for i in range(0, n, v):
            store(at(y, i), tanh(load(at(z, i))))
    elif code == SIGMOID:
        for i in range(0, n, v):
            store(at(y, i), sigmoid(load(at(z, i))))
    elif code == LEAKY_RELU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(y, i), select_gt(x, zero, x, x * slope))
    elif code in (ELU, SELU):
        scale = broadcast(z, SELU_SCALE if code == SELU else 1.0)
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(y, i), select_gt(x, zero, x, expm1(x) * slope) * scale)
    elif code == SILU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(y, i), x * sigmoid(x))
    elif code == GELU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(y, i), x * normal_cdf(x))
    elif code == MISH:
        for i in range(0, n, v):
            x = load(at(z, i))
            k = mish_parts(x)
            store(at(y, i), x * (k / (k + (one + one))))
    elif code == SOFTPLUS:
        for i in range(0, n, v):
            store(at(y, i), softplus(load(at(z, i))))
    elif code == HARD_SIGMOID:
        for i in range(0, n, v):
            x = fma(load(at(z, i)), broadcast(z, 1.0 / 6.0), broadcast(z, 0.5))
            store(at(y, i), minimum(one, maximum(zero, x)))
    elif code == EXPONENTIAL:
        for i in range(0, n, v):
            store(at(y, i), exp(load(at(z, i))))
    elif code == CUSTOM_ACTIVATION:
        call_native(function, z, y, y, n)


@device_function
def mish_parts(x: Any) -> Any:
    """Return n = e^x (e^x + 2), with which tanh(ln(1 + e^x)) = n / (n + 2); where x > 40 that is 1 in any case."""
    e = exp(minimum(broadcast(x, 40.0), x))
    return e * (e + broadcast(x, 2.0))


@device_function
def activate_backward(code: int, alpha: float, function: int, z: Any, y: Any, d: Any, n: int) -> None:
    """Multiply n elements at `d` (whole vectors) by f'(z), read from the outputs at `y` (for NEEDS_INPUT from `z`)."""
    v = lanes(y)
    zero = broadcast(y, 0.0)
    one = broadcast(y, 1.0)
    slope = broadcast(y, alpha)
    if code == RELU:
        for i in range(0, n, v):
            store(at(d, i), select_gt(load(at(y, i)), zero, load(at(d, i)), zero))
    elif code == TANH:
        for i in range(0, n, v):
            x = load(at(y, i))
            store(at(d, i), load(at(d, i)) * fma(zero - x, x, one))
    elif code == SIGMOID:
        for i in range(0, n, v):
            x = load(at(y, i))
            store(at(d, i), load(at(d, i)) * (x * (one - x)))
    elif code == LEAKY_RELU:
        for i in range(0, n, v):
            g = load(at(d, i))
            store(at(d, i), select_gt(load(at(y, i)), zero, g, g * slope))
    elif code in (ELU, SELU):
        factor = SELU_SCALE if code == SELU else 1.0
        scale = broadcast(y, factor)
        limit = broadcast(y, alpha * factor)
        for i in range(0, n, v):
            x = load(at(y, i))
            store(at(d, i), load(at(d, i)) * select_gt(x, zero, scale, x + limit))
    elif code == SILU:
        for i in range(0, n, v):
            x = load(at(z, i))
            p = sigmoid(x)
            store(at(d, i), load(at(d, i)) * (p * fma(x, one - p, one)))
    elif code == GELU:
        for i in range(0, n, v):
            x = load(at(z, i))
            store(at(d, i), load(at(d, i)) * fma(x, normal_pdf(x), normal_cdf(x)))
    elif code == MISH:
        two = one + one
        for i in range(0, n, v):
            x = load(at(z, i))
            k = mish_parts(x)
            over = one / (k + two)
            # The derivative of tanh(ln(1 + e^x)) is (1 - tanh^2) sigmoid(x), and 1 - tanh^2 = 4 (n + 1) / (n + 2)^2.
            inner = broadcast(y, 4.0) * ((k + one) * over) * over * sigmoid(x)
            store(at(d, i), load(at(d, i)) * fma(x, inner, k * over))
    elif code == SOFTPLUS:
        for i in range(0, n, v):
            store(at(d, i), (zero - load(at(d, i))) * expm1(zero - load(at(y, i))))
    elif code == HARD_SIGMOID:
        sixth = broadcast(y, 1.0 / 6.0)
        for i in range(0, n, v):
            x = load(at(y, i))
            g = load(at(d, i)) * sixth
            store(at(d, i), select_gt(x, zero, select_gt(one, x, g, zero), zero))
    elif code == EXPONENTIAL:
        for i in range(0, n, v):
            store(at(d, i), load(at(d, i)) * load(at(y, i)))
    elif code == CUSTOM_ACTIVATION:
        call_native(function, z, d, d, n)


@device_function
def largest(z: Any, n: int) -> Any:
    """Largest of n elements at `z`; the row is padded to whole vectors, whose padding is not looked at."""
    v = lanes(z)
    lowest = broadcast(z, -3.0e38)
    best = lowest
    for j in range(0, n, v):
        best = maximum(best, mask_tail(load(at(z, j)), n - j, lowest))
    return max_lanes(best)


@device_function
def exp_shifted(z: Any, top: Any, out: Any, n: int) -> Any:
    """Overwrite the padded row `out` with exp(z - top), padding with zeros; return the sum of the row."""
    v = lanes(z)
    zero = broadcast(z, 0.0)
    shift = broadcast(z, top)
    total = zero
    for j in range(0, n, v):
        e = mask_tail(exp(load(at(z, j)) - shift), n - j, zero)
        store(at(out, j), e)
        total = total + e
    return sum_lanes(total)


@device_function
def scale_row(row: Any, factor: Any, n: int) -> None:
    """Multiply the padded row of n elements by `factor`, in place."""
    v = lanes(row)
    by = broadcast(row, factor)
    for j in range(0, n, v):
        store(at(row, j), load(at(row, j)) * by)


@device_function
def softmax_rows(z: Any, ld: int, rows: int, n: int) -> None:
    """Overwrite each row of n logits at `z` with its softmax; padding becomes zero."""
    for r in range(rows):
        row = at(z, r * ld)
        total = exp_shifted(row, largest(row, n), row, n)
        scale_row(row, 1.0 / total, n)


@device_function
def softmax_rows_backward(y: Any, d: Any, ld: int, rows: int, n: int) -> None:
    """Turn dE/dy at `d` into dE/dz = y (dE/dy - sum of y dE/dy), row by row, in place."""
    v = lanes(y)
    for r in range(rows):
        p = at(y, r * ld)
        q = at(d, r * ld)
        total = broadcast(y, 0.0)
        for j in range(0, n, v):
            total = fma(load(at(p, j)), load(at(q, j)), total)
        mean = broadcast(y, sum_lanes(total))
        for j in range(0, n, v):
            store(at(q, j), load(at(p, j)) * (load(at(q, j)) - mean))


@device_function
def clear_padding(z: Any, ld: int, rows: int, n: int) -> None:
    """Overwrite with zeros what follows n elements of each row, up to whole vectors."""
    v = lanes(z)
    if n % v != 0:
        last = n - n % v
        for r in range(rows):
            p = at(z, r * ld + last)
            store(p, mask_tail(load(p), n - last, broadcast(z, 0.0)))


@device_function
def is_zero_at_zero(code: int) -> bool:
    """Whether f(0) = 0, so that padding stays zero."""
    return code not in (SIGMOID, SOFTPLUS, HARD_SIGMOID, EXPONENTIAL, CUSTOM_ACTIVATION)


@device_function
def activate_output(
    code: int, alpha: float, function: int, z: Any, y: Any, ld: int, rows: int, n: int
) -> None:
    """Overwrite the rows at `y` by the activation of those at `z` (which may be the same), softmax included.

    For the identity and softmax they are the same. Padding is zero after it.
    """
    if code == SOFTMAX:
        softmax_rows(y, ld, rows, n)
    else:
        activate(code, alpha, function, z, y, rows * ld)
        if not is_zero_at_zero(code):
            clear_padding(y, ld, rows, n)


@device_function
def activate_output_backward(
    code: int, alpha: float, function: int, z: Any, y: Any, d: Any, ld: int, rows: int, n: int
) -> None:
    """Turn dE/dy at `d` into dE/dz in place, softmax included."""
    if code == SOFTMAX:
        softmax_rows_backward(y, d, ld, rows, n)
    else:
        activate_backward(code, alpha, function, z, y, d, rows * ld)
