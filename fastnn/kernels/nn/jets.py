"""Activations of values together with their first and second derivatives along directions, and the way back.

The values z of some rows are followed, `gap` elements apart, by their first derivatives dz along each direction, and
then, where `order` is 2, by the second ones d2z; likewise y, and the derivatives of a loss by all of them. For a
function of lanes dy = f' dz and d2y = f'' dz^2 + f' d2z.
"""

from __future__ import annotations

from typing import Any

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import at, broadcast, fma, lanes, load, store
from fastnn.kernels.nn.dispatch import generate, is_zero_at_zero, ladder
from fastnn.kernels.nn.rules import ACTIVATIONS
from fastnn.kernels.nn.softmax import clear_padding


def _jet() -> Any:
    branches = [(rule.code, rule.name, [f"return {rule.name}(z)"]) for rule in ACTIVATIONS if rule.jet is not None]
    functions = {rule.name: rule.jet for rule in ACTIVATIONS if rule.jet is not None}
    head = '''def jet(code, z):
    """Return f and its first three derivatives at the vector z; zeros where there are none."""
    zero = broadcast(z, 0.0)
'''
    return generate("jet", head + ladder(branches, ["return zero, zero, zero, zero"]), functions)


def _rows_jet(what: str, arguments: str, doc: str) -> Any:
    rules = [rule for rule in ACTIVATIONS if getattr(rule, what) is not None]
    branches = [(rule.code, rule.name, [f"{rule.name}({arguments})", "return True"]) for rule in rules]
    text = f'def {what}(code, {arguments}):\n    """{doc}"""\n' + ladder(branches, ["return False"])
    return generate(what, text, {rule.name: getattr(rule, what) for rule in rules})


jet = _jet()
rows_jet = _rows_jet(
    "rows_jet",
    "y, z, gap, ld, rows, n, directions, order",
    "Do what `activate_jets` does; return whether f is of rows.",
)
rows_jet_backward = _rows_jet(
    "rows_jet_backward",
    "y, z, d, gap, ld, rows, n, directions, order",
    "Do what `activate_jets_backward` does; return whether f is of rows.",
)


@device_function
def activate_jets(code: int, z: Pointer, y: Pointer, gap: int, ld: int, rows: int, n: int, directions: int,
                  order: int) -> None:  # fmt: skip
    """Overwrite values and derivatives at `y` by those of the activation of `z`. Padding is set to zero."""
    if rows_jet(code, y, z, gap, ld, rows, n, directions, order):
        return
    for i in range(0, rows * ld, lanes(z)):
        value, f1, f2, _ = jet(code, load(at(z, i)))
        store(at(y, i), value)
        for k in range(directions):
            first = (1 + k) * gap + i
            dz = load(at(z, first))
            store(at(y, first), f1 * dz)
            if order > 1:
                second = first + directions * gap
                store(at(y, second), fma(f2 * dz, dz, f1 * load(at(z, second))))
    if not is_zero_at_zero(code):
        clear_padding(y, ld, rows, n)


@device_function
def activate_jets_backward(code: int, z: Pointer, y: Pointer, d: Pointer, gap: int, ld: int, rows: int, n: int,
                           directions: int, order: int) -> None:  # fmt: skip
    """Replace the derivatives of a loss by y, dy and d2y at `d` by those by z, dz and d2z."""
    if rows_jet_backward(code, y, z, d, gap, ld, rows, n, directions, order):
        return
    two = broadcast(z, 2.0)
    for i in range(0, rows * ld, lanes(z)):
        _, f1, f2, f3 = jet(code, load(at(z, i)))
        by_z = f1 * load(at(d, i))
        for k in range(directions):
            first = (1 + k) * gap + i
            dz = load(at(z, first))
            g1 = load(at(d, first))
            by_dz = f1 * g1
            by_z = fma(f2 * dz, g1, by_z)
            if order > 1:
                second = first + directions * gap
                g2 = load(at(d, second))
                by_z = fma(fma(f3 * dz, dz, f2 * load(at(z, second))), g2, by_z)
                by_dz = fma(two * f2 * dz, g2, by_dz)
                store(at(d, second), f1 * g2)
            store(at(d, first), by_dz)
        store(at(d, i), by_z)
