"""Layers without activation change nothing
========================================

A layer without activation is a matrix, and layer after layer a product of matrices: x W1 W2 W3 = x (W1 W2 W3), a single
layer again. However many there are, the boundary between two classes stays a line. With an activation between them,
here tanh, the same layers follow the two moons. The picture shows both for one, two and four hidden layers of 8 units.

Run it with ``python examples/neuron/layers_without_activation.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

DEPTHS = (1, 2, 4)
UNITS = 8


def product(model: fastnn.Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the one matrix and the one bias that the layers of a net without activations amount to."""
    W, b = np.eye(model.n_features), np.zeros(model.n_features)
    for weights, bias in zip(model.weights, model.biases, strict=True):
        W, b = W @ weights, b @ weights + bias
    return W, b


def main(picture: str | None = None, *, epochs: int = 60) -> dict[str, float]:
    """Train with and without activation; return the accuracies, and how far one layer is from all of them."""
    X, y = fastnn.datasets.make_moons(400, noise=0.15, seed=0)
    X_test, y_test = fastnn.datasets.make_moons(1000, noise=0.15, seed=1)
    models, results = {}, {}
    for activation in ("identity", "tanh"):
        for depth in DEPTHS:
            layers = [fastnn.Dense(UNITS, activation) for _ in range(depth)]
            model = fastnn.Model(
                [*layers, fastnn.Dense(1)], loss="binary_crossentropy", optimizer=fastnn.Adam(0.01), dtype="float64",
                seed=0,
            )  # fmt: skip
            model.fit(X, y, epochs=epochs, batch_size=20)
            models[activation, depth] = model
            results[f"{activation} {depth}"] = model.evaluate(X_test, y_test)["accuracy"]
    print(f"{'hidden layers':15}" + "".join(f"{depth:8}" for depth in DEPTHS))
    for activation, name in (("identity", "no activation"), ("tanh", "tanh")):
        print(f"{name:15}" + "".join(f"{results[f'{activation} {depth}']:8.1%}" for depth in DEPTHS))

    model = models["identity", DEPTHS[-1]]
    W, b = product(model)
    results["difference"] = float(np.abs(X_test @ W + b - model.predict(X_test)).max())
    print(f"{DEPTHS[-1] + 1} layers without activation are W = {np.round(W[:, 0], 3)}, b = {b[0]:.3f}: "
          f"outputs within {results['difference']:.0e}")  # fmt: skip
    if picture:
        draw(picture, models, X_test[:300], y_test[:300], results)
    return results


def draw(
    picture: str, models: dict[tuple[str, int], fastnn.Model], X: np.ndarray, y: np.ndarray, results: dict[str, float]
) -> None:
    """Draw the regions of all nets."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(8.5, 5))
        for ax, ((activation, depth), model) in zip(figure.subplots(2, len(DEPTHS)).flat, models.items(), strict=True):
            fastnn.plot.decision_boundary(model, X, y, ax=ax)
            if legend := ax.get_legend():
                legend.remove()
            layers = "1 hidden layer" if depth == 1 else f"{depth} hidden layers"
            ax.set(title=f"{layers}: {results[f'{activation} {depth}']:.1%}", xticks=[], yticks=[], xlabel="")
            ax.set_ylabel({"identity": "no activation", "tanh": "tanh"}[activation] if depth == DEPTHS[0] else "")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
