"""The network seen
================

A net with two inputs, drawn with what each neuron does: in its small map every point of the plane has the colour of
the neuron's output there, orange below zero and blue above. The neurons of the first layer are lines with a soft edge;
those of the second layer bend them; the output closes the bends around the inner class. Lines between neurons are
weights: the stronger, the thicker.

Run it with ``python examples/representation/network_seen.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script


def straightness(values: np.ndarray, points: np.ndarray) -> float:
    """Return the share of the variance of values at points that a straight slope explains, 0 to 1."""
    slope = np.c_[points, np.ones(len(points))]
    rest = values - slope @ np.linalg.lstsq(slope, values, rcond=None)[0]
    return float(1.0 - rest.var() / values.var())


def main(picture: str | None = None, *, rows: int = 500, epochs: int = 100) -> dict[str, float]:
    """Train the net; return its test accuracy, and how straight the maps of each layer are on the mean."""
    X, y = fastnn.datasets.make_circle(rows, noise=0.1, seed=0)
    test = fastnn.datasets.make_circle(rows, noise=0.1, seed=1)
    layers = [fastnn.Dense(4, "tanh"), fastnn.Dense(3, "tanh"), fastnn.Dense(1)]
    model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.02), seed=0, n_threads=1)
    model.fit(X, y, epochs=epochs, batch_size=20)
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-6, 6, 40)]), axis=-1).reshape(-1, 2)
    results = {"accuracy": model.evaluate(*test)["accuracy"]}
    for k, name in enumerate(("layer 1", "layer 2", "output")):
        results[name] = float(np.mean([straightness(values, grid) for values in model.hidden(grid, k).T]))
    print(f"test accuracy {results['accuracy']:.1%}")
    print("share of a neuron's map that is a straight slope: "
          + ", ".join(f"{name} {value:.0%}" for name, value in list(results.items())[1:]))  # fmt: skip
    if picture:
        with fastnn.plot.style():
            figure = fastnn.plot.network(model, X, output_names=["inner class"])
            figure.axes[0].set_title("From lines to a closed curve: what each neuron sees")
            figure.savefig(picture)
    return results


if __name__ == "__main__":
    run_script(main)
