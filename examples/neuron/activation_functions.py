"""Activation functions, and where their gradient vanishes
=======================================================

Back-propagation multiplies the gradient by the derivative of the activation, f'(z), in each layer. The derivative of
the sigmoid is at most 1/4 and nearly 0 where z is far from 0 (the unit is saturated), that of tanh at most 1, that of
relu 0 or 1. Through ten layers of the sigmoid the gradient vanishes: the first layers hardly learn. The picture shows
functions and derivatives, and the size of dE/dW in each of ten layers at the start, each net with the start weights
that are usual for its activation.

Run it with ``python examples/neuron/activation_functions.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

NAMES = ("sigmoid", "tanh", "relu")
DEPTH, UNITS = 10, 64


def derivative(name: str, z: np.ndarray) -> np.ndarray:
    """Return f'(z) of an activation: the derivative of a net of one unit with weight 1 and bias 0."""
    unit = fastnn.Model([fastnn.Dense(1, name)], loss="squared_error", dtype="float64", seed=0).build(1)
    unit.weights[0][:] = 1.0
    return unit.jacobian(z[:, None])[:, 0, 0]


def sizes(name: str, X: np.ndarray, y: np.ndarray, seeds: int) -> np.ndarray:
    """Return the root mean square of dE/dW in each layer of a deep net, the geometric mean over some starts."""
    found = []
    for seed in range(seeds):
        layers = [fastnn.Dense(UNITS, name) for _ in range(DEPTH)]
        model = fastnn.Model([*layers, fastnn.Dense(10)], loss="softmax_crossentropy", dtype="float64", seed=seed)
        _, dW, _ = model.build(X.shape[1]).gradient(X, y)
        found.append([np.sqrt((one**2).mean()) for one in dW[:DEPTH]])
    return np.exp(np.log(found).mean(axis=0))


def main(picture: str | None = None, *, rows: int = 500, seeds: int = 5) -> dict[str, np.ndarray]:
    """Measure; return the size of the gradient in each hidden layer, for each activation."""
    X, y, _, _ = fastnn.datasets.load_digits()
    z = np.linspace(-6, 6, 601)
    gradients = {name: sizes(name, X[:rows], y[:rows], seeds) for name in NAMES}
    print(f"{'':8}  largest f'   f'(5)   dE/dW in layer {DEPTH}  in layer 1      ratio")
    for name, size in gradients.items():
        slopes = derivative(name, z)
        print(f"{name:8} {slopes.max():11.3f} {derivative(name, np.array([5.0]))[0]:7.4f} {size[-1]:18.1e} "
              f"{size[0]:11.1e} {size[0] / size[-1]:10.1e}")  # fmt: skip
    if picture:
        draw(picture, gradients)
    return gradients


def draw(picture: str, gradients: dict[str, np.ndarray]) -> None:
    """Draw functions and derivatives, and the gradients over the layers."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.9))
        functions, derivatives, layers = figure.subplots(1, 3)
        fastnn.plot.activations(NAMES, axes=[functions, derivatives])
        functions.set_title("Functions")
        derivatives.set_title("Their derivatives")
        numbers = np.arange(1, DEPTH + 1)
        places = {"sigmoid": (4, 10, -8), "tanh": (1, 0, -22), "relu": (5, 0, -22)}  # layer, and points from there
        for (name, size), colour in zip(gradients.items(), ("C0", "C1", "C2"), strict=True):
            layers.semilogy(numbers, size / size[-1], "o-", color=colour)
            layer, *offset = places[name]
            layers.annotate(name, (layer, size[layer - 1] / size[-1]), xytext=offset, textcoords="offset points",
                            color=colour)  # fmt: skip
        layers.set(title="The gradient vanishes", xlabel="layer", ylabel=f"size of dE/dW, layer {DEPTH} = 1",
                   xticks=numbers[::3])  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
