"""A hidden space unfolds
======================

Two spirals, and a net whose last hidden layer has two units, so that its space is a plane. At the start the classes lie
on top of each other there. In training the layers below move the points until a line separates the classes. Nothing
asks for that but the loss, which can fall no other way: all that follows is a line.

The picture shows that plane at some epochs, with the line; with a name that ends in ``.gif`` it is an animation.

Run it with ``python examples/representation/hidden_space_unfolding.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.callbacks import Snapshots
from fastnn.script import run_script

#: Epochs that are drawn, as shares of all.
SHOWN = (0.0, 0.1, 0.25, 1.0)


def restore(model: fastnn.Model, snapshot: object) -> fastnn.Model:
    """Set the weights of the model to those of an epoch."""
    for arrays, kept in ((model.weights, snapshot.weights), (model.biases, snapshot.biases)):
        for array, values in zip(arrays, kept, strict=True):
            array[...] = values
    return model


def main(picture: str | None = None, *, rows: int = 500, epochs: int = 400, seed: int = 0) -> dict[int, float]:
    """Train; return for some epochs the share of the test rows on the correct side of the line."""
    X, y = fastnn.datasets.make_spiral(rows, noise=0.1, seed=0)
    test = fastnn.datasets.make_spiral(rows, noise=0.1, seed=1)
    layers = [fastnn.Dense(20, "tanh"), fastnn.Dense(10, "tanh"), fastnn.Dense(2, "tanh"), fastnn.Dense(1)]
    model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.01), seed=seed, n_threads=1)
    snapshots = Snapshots(every=max(1, epochs // 40))
    model.fit(X, y, epochs=epochs, batch_size=50, callbacks=snapshots)
    chosen = [snapshots[round(share * (len(snapshots) - 1))] for share in SHOWN]
    results = {one.epoch: restore(model, one).evaluate(*test)["accuracy"] for one in chosen}
    for epoch, value in results.items():
        print(f"epoch {epoch:4}: {value:.1%} of the test rows on the correct side")
    if picture and picture.lower().endswith(".gif"):
        with fastnn.plot.style():
            fastnn.plot.hidden_space_animation(model, snapshots, X, y).save(picture)
    elif picture:
        draw(picture, model, chosen, results, X, y)
    return results


def draw(
    picture: str, model: fastnn.Model, chosen: list, results: dict[int, float], X: np.ndarray, y: np.ndarray
) -> None:
    """Draw the space of the last hidden layer at the chosen epochs."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.3))
        for ax, snapshot in zip(figure.subplots(1, len(chosen)), chosen, strict=True):
            fastnn.plot.hidden_space(restore(model, snapshot), X, y, ax=ax)
            ax.set_title(f"epoch {snapshot.epoch}: {results[snapshot.epoch]:.0%}")
            ax.set(xlabel="hidden unit 1", ylabel="hidden unit 2" if snapshot is chosen[0] else "")
            if ax.get_legend():
                ax.get_legend().remove()
        figure.suptitle("The last hidden layer unfolds the spirals until a line separates them", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
