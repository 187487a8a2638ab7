"""Start weights
=============

The loss of a net with hidden layers has many valleys, and the start weights decide which one a training ends in. Here
256 nets that differ in their seed alone learn two spirals, all at the same time, as a `fastnn.Population`. Their final
losses spread over a wide range: some nets separate the spirals, others stay where gradients are small. So
the result of one training says little about a setting, and the best of several seeds is worth its time.

Run it with ``python examples/practice/start_weights.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

HIDDEN = 8


def main(picture: str | None = None, *, nets: int = 256, epochs: int = 300) -> np.ndarray:
    """Train nets with the seeds 0, 1, ...; return their losses after each epoch, (epochs, nets)."""
    X, y = fastnn.datasets.make_spiral(400, noise=0.1, seed=0)
    layers = [fastnn.Dense(HIDDEN, "tanh"), fastnn.Dense(HIDDEN, "tanh"), fastnn.Dense(1)]
    population = fastnn.Population(
        layers, nets, loss="binary_crossentropy", optimizer=fastnn.Adam(0.02), seed=0, metrics=["accuracy"]
    )
    history = population.fit(X, y, epochs=epochs)
    losses = history["loss"][-1]
    accuracies = history["accuracy"][-1]
    order = population.rank("loss")
    for name, k in (("best", order[0]), ("median", order[nets // 2]), ("worst", order[-1])):
        print(f"{name:7} seed {k:3}: loss {losses[k]:.4f}, accuracy {accuracies[k]:.1%}")
    if picture:
        draw(picture, history["loss"])
    return history["loss"]


def draw(picture: str, losses: np.ndarray) -> None:
    """Draw the losses of all nets over the epochs, and the histogram of the last ones."""
    from matplotlib.figure import Figure

    best, worst = (int(chosen(losses[-1])) for chosen in (np.argmin, np.argmax))
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.6, 1)}, sharey=True)
        epochs = np.arange(1, len(losses) + 1)
        left.plot(epochs, losses, color="0.6", linewidth=0.5, alpha=0.3)
        for k, colour, text in ((best, 2, "best seed"), (worst, 0, "worst seed")):
            left.plot(epochs, losses[:, k], color=fastnn.plot.COLORS[colour], label=text)
        left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        left.set_title(f"{losses.shape[1]} nets that differ in their start")
        left.legend()
        right.hist(losses[-1], bins=32, orientation="horizontal", color=fastnn.plot.COLORS[1])
        right.set(xlabel="nets", title="Where they end")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
