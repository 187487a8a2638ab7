"""Forward computation, by hand and by the net
===========================================

A net of two inputs, two hidden neurons and one output, with weights that are easy to write down. Each neuron computes
z = x W + b, the weighted sum of its inputs plus a bias, and passes on a = sigmoid(z). Layer after layer the numbers
move forward, until the last a is the output f(x). The picture shows every number on the way; `fastnn.Model.hidden` and
`fastnn.Model.predict` return the same ones, to the last digits.

Run it with ``python examples/descent/forward_by_hand.py [picture.png]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastnn
from fastnn.script import run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X = np.array([[1.0, 2.0]])
WEIGHTS = [np.array([[0.5, -1.0], [0.25, 1.0]]), np.array([[2.0], [-1.0]])]
BIASES = [np.array([-0.5, 0.5]), np.array([0.25])]


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def main(picture: str | None = None) -> dict[str, float]:
    """Compute the output in both ways; return it, and the largest difference of any number on the way."""
    z1 = X @ WEIGHTS[0] + BIASES[0]
    a1 = sigmoid(z1)
    z2 = a1 @ WEIGHTS[1] + BIASES[1]
    a2 = sigmoid(z2)

    net = fastnn.Model([fastnn.Dense(2, "sigmoid"), fastnn.Dense(1, "sigmoid")], loss="squared_error", dtype="float64")
    net.build(2)
    net.weights, net.biases = WEIGHTS, BIASES
    pairs = {
        "a of hidden neuron 1": (a1[0, 0], net.hidden(X)[0, 0]),
        "a of hidden neuron 2": (a1[0, 1], net.hidden(X)[0, 1]),
        "a of the output, f(x)": (a2[0, 0], net.predict(X)[0, 0]),
    }
    print(f"{'':22}            by hand         by the net")
    for name, pair in pairs.items():
        print(f"{name:22}" + "".join(f"{value:19.15f}" for value in pair))
    if picture:
        draw(picture, [z1[0], z2[0]], [a1[0], a2[0]])
    return {"output": float(a2[0, 0]), "difference": max(abs(one - other) for one, other in pairs.values())}


def draw(picture: str, z: list[np.ndarray], a: list[np.ndarray]) -> None:
    """Draw the net with the numbers in its neurons and on its edges."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(9, 4.2))
        ax = figure.subplots()
        draw_net(ax)
        for k, value in enumerate(X[0]):
            write(ax, (0, 1 - k), f"$x_{k + 1} = {value:g}$")
        for k in range(2):
            write(ax, (1, 1 - k), f"$z = {z[0][k]:.4g}$\n$a = {a[0][k]:.4f}$", note=f"$b = {BIASES[0][k]:g}$")
        write(ax, (2, 0.5), f"$z = {z[1][0]:.4f}$\n$a = {a[1][0]:.4f}$", note=f"$b = {BIASES[1][0]:g}$")
        ax.annotate("$f(x)$", (2.15, 0.5), xytext=(2.4, 0.5), arrowprops={"arrowstyle": "<-"}, va="center")
        for x, formula in enumerate(("inputs", "$z = x\\,W_1 + b_1$,  $a = $ sigmoid$(z)$",
                                     "$z = a\\,W_2 + b_2$,  $a = $ sigmoid$(z)$")):  # fmt: skip
            ax.text(x, -0.42, formula, ha="center")
        ax.set_title("Forward: the numbers move from left to right")
        figure.savefig(picture)


def draw_net(ax: Axes) -> None:
    """Draw the edges of the net with their weights."""
    for layer, W in enumerate(WEIGHTS):
        for (i, j), w in np.ndenumerate(W):
            start = np.array([layer, 1.0 - i])
            end = np.array([layer + 1, 0.5 if layer else 1.0 - j])
            colour = fastnn.plot.COLORS[1 if w > 0 else 0]
            ax.plot(*np.column_stack([start, end]), color=colour, linewidth=1 + 1.5 * abs(w), zorder=1, alpha=0.6)
            x, y = start + 0.36 * (end - start)
            ax.text(x, y, f"{w:g}", ha="center", va="center", zorder=2,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"})  # fmt: skip
    ax.set(xlim=(-0.25, 2.6), ylim=(-0.5, 1.35))
    ax.set_axis_off()


def write(ax: Axes, place: tuple[float, float], text: str, *, note: str = "") -> None:
    """Draw a neuron with its numbers, and a note above it."""
    ax.text(*place, text, ha="center", va="center", zorder=3,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "#EEF2F6", "edgecolor": "0.4"})  # fmt: skip
    ax.text(place[0], place[1] + 0.19, note, ha="center", va="bottom", fontsize=10)


if __name__ == "__main__":
    run_script(main)
