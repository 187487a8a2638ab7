"""Back-propagation, step by step
==============================

The net of two inputs, two hidden neurons and one output, once more. Forward: z and a of each layer, then
E(f(x), t) + R, the error and the penalty. Backward: delta = dE/dz, first of the output, then of the layer before by the
chain rule, delta_1 = (delta_2 W2^T) * f'(z_1). Each derivative of a weight is a product of two numbers that are known
by then: dE/dW = a^T delta, dE/db = delta. Every number is compared with `fastnn.Model.gradient`, and with what a small
change of the weight does to the loss. The picture shows what moves forward (blue) and backward (orange).

Run it with ``python examples/descent/back_propagation.py [picture.png]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastnn
from fastnn.script import run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X, T = np.array([[1.0, 2.0]]), np.array([[1.0]])
WEIGHTS = [np.array([[0.5, -1.0], [0.25, 1.0]]), np.array([[2.0], [-1.0]])]
BIASES = [np.array([-0.5, 0.5]), np.array([0.25])]
L2 = 0.01
STEP = 1e-6


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def loss(weights: list[np.ndarray], biases: list[np.ndarray]) -> float:
    """Return E + R: half the square of the error, and the penalty of all weights."""
    a = X
    for W, b in zip(weights, biases, strict=True):
        a = sigmoid(a @ W + b)
    return float(((a - T) ** 2).sum() / 2 + L2 * sum((W**2).sum() for W in weights))


def quotient(array: np.ndarray, place: tuple[int, ...]) -> float:
    """Return the change of the loss by a change of one number, over that change."""
    value, losses = array[place], []
    for change in (STEP, -STEP):
        array[place] = value + change
        losses.append(loss(WEIGHTS, BIASES))
    array[place] = value
    return (losses[0] - losses[1]) / (2 * STEP)


def main(picture: str | None = None) -> dict[str, float]:
    """Compute the gradient in three ways; return the largest differences from that by hand."""
    (W1, W2), (b1, b2) = WEIGHTS, BIASES
    z1 = X @ W1 + b1  # forward
    a1 = sigmoid(z1)
    z2 = a1 @ W2 + b2
    a2 = sigmoid(z2)
    delta2 = (a2 - T) * a2 * (1 - a2)  # backward: dE/da times f'(z), which is a (1 - a) for the sigmoid
    delta1 = (delta2 @ W2.T) * a1 * (1 - a1)
    by_hand = {
        "W1": X.T @ delta1 + 2 * L2 * W1, "b1": delta1[0], "W2": a1.T @ delta2 + 2 * L2 * W2, "b2": delta2[0]
    }  # fmt: skip

    layers = [fastnn.Dense(2, "sigmoid"), fastnn.Dense(1, "sigmoid")]
    net = fastnn.Model(layers, loss="sum_of_squares", regularizer=fastnn.L2(L2), dtype="float64").build(2)
    net.weights, net.biases = WEIGHTS, BIASES
    total, (dW1, dW2), (db1, db2) = net.gradient(X, T)
    by_net = {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
    arrays = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}

    print(f"E + R = {total:.12f} by the net, {loss(WEIGHTS, BIASES):.12f} by hand")
    print("derivative by       by hand        by the net     by a change")
    differences = {"net": abs(total - loss(WEIGHTS, BIASES)), "change": 0.0}
    for name, derivatives in by_hand.items():
        for place, value in np.ndenumerate(derivatives):
            net_value, change = by_net[name][place], quotient(arrays[name], place)
            print(f"{name}[{', '.join(map(str, place))}]".ljust(10) + f"{value:17.12f}{net_value:18.12f}{change:16.9f}")
            differences["net"] = max(differences["net"], abs(net_value - value))
            differences["change"] = max(differences["change"], abs(change - value))
    if picture:
        draw(picture, [(z1[0], a1[0], delta1[0]), (z2[0], a2[0], delta2[0])], by_hand)
    return differences


def draw(picture: str, layers: list[tuple[np.ndarray, ...]], gradient: dict[str, np.ndarray]) -> None:
    """Draw the net with all numbers, those of the way forward in blue, those of the way back in orange."""
    from matplotlib.figure import Figure

    blue, orange = fastnn.plot.COLORS[1], "#A86F00"
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.6))
        ax = figure.subplots()
        for layer, (W, dW) in enumerate(zip(WEIGHTS, (gradient["W1"], gradient["W2"]), strict=True)):
            for (i, j), w in np.ndenumerate(W):
                start = np.array([layer, 1.0 - i])
                end = np.array([layer + 1, 0.5 if layer else 1.0 - j])
                ax.plot(*np.column_stack([start, end]), color="0.8", zorder=1)
                note(ax, start + 0.37 * (end - start), f"W {w:g}", f"dE/dW {dW[i, j]:+.3f}", blue, orange)
        for k, value in enumerate(X[0]):
            note(ax, (0, 1 - k), f"x {value:g}", "", blue, orange, edge="0.4")
        for x, (z, a, delta) in enumerate(layers, start=1):
            for k in range(len(z)):
                place = (x, 0.5 if x == 2 else 1.0 - k)
                note(ax, place, f"z {z[k]:.3f}\na {a[k]:.3f}", f"$\\delta$ {delta[k]:+.3f}", blue, orange, edge="0.4")
        error = (layers[1][1][0] - T[0, 0]) ** 2 / 2
        ax.plot([2, 2.6], [0.5, 0.5], color="0.8", zorder=1)
        note(ax, (2.6, 0.5), f"E(f(x), t) {error:.3f}", f"dE/df {layers[1][1][0] - T[0, 0]:+.3f}", blue, orange)
        backward = "backward: $\\delta$ = dE/dz, then dE/dW = a$^T\\delta$"
        ways = (1.33, "forward: z = x W + b, a = f(z)", "->", blue), (-0.33, backward, "<-", orange)
        for y, text, style, colour in ways:
            ax.annotate("", (2.0, y), xytext=(0, y), arrowprops={"arrowstyle": style, "color": colour})
            ax.text(1, y + 0.03, text, ha="center", va="bottom", color=colour)
        ax.set(title="Back-propagation: two numbers that are known give each derivative", xlim=(-0.2, 2.95),
               ylim=(-0.42, 1.5))  # fmt: skip
        ax.set_axis_off()
        figure.savefig(picture)


def note(ax: Axes, place: tuple[float, float], above: str, below: str, *colours: str, edge: str = "none") -> None:
    """Write what moves forward above what moves backward."""
    lines = [above.count("\n") + 1, 1 if below else 0]
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": edge}
    texts = (f"{above}\n{below}".strip(), above + "\n" * lines[1], "\n" * lines[0] + below)
    for text, colour in zip(texts, ("none", *colours), strict=True):  # the first one, not seen, makes the box
        ax.text(*place, text, color=colour, ha="center", va="center", zorder=2, bbox=box if colour == "none" else None)


if __name__ == "__main__":
    run_script(main)
