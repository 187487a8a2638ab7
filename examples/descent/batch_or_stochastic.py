"""Batch, mini-batch and stochastic descent
========================================

Batch descent uses all rows per update, mini-batch descent a few of them, stochastic descent one row. The gradient of
few rows is noisy: its distance from that of all rows falls with the root of their number. But few rows cost little time
and memory, so an epoch has many updates. The picture shows the noise, and the same trainings three times: per update
batches are best, per epoch stochastic descent, per second mini-batches.

Run it with ``python examples/descent/batch_or_stochastic.py [picture.png]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn.script import run_script

ROWS = 640
#: Name: rows per update, learning rate (each the best of a few), epochs (as a multiple of those of stochastic descent).
KINDS = {"batch": (ROWS, 1.2, 16), "mini-batch": (32, 0.5, 4), "stochastic": (1, 0.04, 1)}
SIZES = (1, 4, 16, 64, 256)


def new_model(rate: float) -> fastnn.Model:
    return fastnn.Model([32, 10], loss="softmax_crossentropy", optimizer=fastnn.SGD(rate), seed=0)


def noise(X: np.ndarray, y: np.ndarray, draws: int) -> dict[int, float]:
    """Return for each number of rows how far their gradient is from that of all rows, relative to its length."""
    model = new_model(0.1).build(X.shape[1])

    def gradient(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([dW.ravel() for dW in model.gradient(X[rows], y[rows])[1]])

    rng = np.random.default_rng(0)
    of_all = gradient(np.arange(len(X)))
    found = {}
    for n in SIZES:
        far = [np.sum((gradient(rng.integers(len(X), size=n)) - of_all) ** 2) for _ in range(draws)]
        found[n] = float(np.sqrt(np.mean(far) / np.sum(of_all**2)))
    return found


def main(picture: str | None = None, *, epochs: int = 40, draws: int = 100) -> dict[str, Any]:
    """Train the same net with each; return the noise and the histories, whose val_loss is that of all rows."""
    X, y, _, _ = fastnn.datasets.load_digits()
    X, y = X[:ROWS], y[:ROWS]
    deviations = noise(X, y, draws)
    histories, places = {}, {"updates": {}, "epochs": {}, "milliseconds": {}}
    print("            rows  updates in an epoch  memory of a batch  final loss")
    for name, (batch_size, rate, times) in KINDS.items():
        model = new_model(rate)
        model.lr_find(X, y, epochs=1)  # compiles or loads the kernels, on a copy, before the timing
        history = model.fit(X, y, epochs=times * epochs, batch_size=batch_size, validation_data=(X, y))
        histories[name] = history
        epoch = np.arange(1, len(history) + 1)
        places["epochs"][name] = epoch
        places["updates"][name] = epoch * (ROWS // batch_size)
        places["milliseconds"][name] = 1e3 * epoch * np.median(history["seconds"])
        # The rows, and for each unit of each layer the output and its derivative.
        memory = X.itemsize * batch_size * (X.shape[1] + 2 * sum(layer.units for layer in model.layers))
        print(f"{name:12}{batch_size:4}{ROWS // batch_size:20}{memory / 1024:16.1f} KiB{history['val_loss'][-1]:12.4f}")
    print("noise of the gradient: " + ", ".join(f"{value:.2f} ({n} rows)" for n, value in deviations.items()))
    if picture:
        draw(picture, deviations, histories, places)
    return {"noise": deviations, "histories": histories}


def draw(
    picture: str, deviations: dict[int, float], histories: dict[str, fastnn.History], places: dict[str, Any]
) -> None:
    """Draw the noise over the number of rows, and the losses over updates, epochs and time."""
    from matplotlib.figure import Figure

    best = {"updates": "batch", "epochs": "stochastic", "milliseconds": "mini-batch"}
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        noisy, *panels = figure.subplots(1, 4)
        numbers = np.array(SIZES)
        noisy.loglog(numbers, deviations[1] / np.sqrt(numbers), color="0.7", linewidth=1)
        noisy.loglog(numbers, list(deviations.values()), "o", color="0.3")
        noisy.annotate("1 / root\nof the rows", (9, deviations[1] / 3), xytext=(4, 6), textcoords="offset points")
        noisy.set(title="Few rows: noise", xlabel="rows per update", ylabel="noise / gradient", xticks=[1, 10, 100])
        noisy.set_yticks([0.5, 1, 2, 5], ["0.5", "1", "2", "5"])
        noisy.minorticks_off()
        for ax, (axis, by_name) in zip(panels, places.items(), strict=True):
            for name, place in by_name.items():
                ax.loglog(place, histories[name]["val_loss"], label=name, zorder=2 + (name == best[axis]))
            ax.set(title=f"Best: {best[axis]}", xlabel=axis, ylim=(1e-3, 3))
            ax.tick_params(labelleft=ax is panels[0])
        panels[0].set_ylabel("training loss")
        panels[0].legend(loc="lower left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
