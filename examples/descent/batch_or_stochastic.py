"""Batch, mini-batch and stochastic descent
========================================

Batch descent uses all rows per update, mini-batch descent a few of them, stochastic descent one row. The gradient of
more rows is less noisy, so that the step can be longer, but it costs more to compute. The ranking depends on the axis:
per epoch many updates are best, per update many rows, and per second mini-batches.

Run it with ``python examples/descent/batch_or_stochastic.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn._script import run_script

ROWS = 640
#: Name: rows per update, learning rate (each the best of a few), epochs (as a multiple of those of stochastic descent).
KINDS = {"batch": (ROWS, 1.2, 16), "mini-batch": (32, 0.5, 4), "stochastic": (1, 0.04, 1)}


def main(picture: str | None = None, *, epochs: int = 40) -> dict[str, fastnn.History]:
    """Train the same net with each; return the histories, whose val_loss is that of all rows after the epoch."""
    X, y, _, _ = fastnn.datasets.load_digits()
    X, y = X[:ROWS], y[:ROWS]
    histories = {}
    for name, (batch_size, rate, times) in KINDS.items():
        model = fastnn.Model([32, 10], loss="softmax_crossentropy", optimizer=fastnn.SGD(rate), seed=0)
        model.lr_find(X, y, epochs=1)  # compiles or loads the kernels, on a copy, before the timing
        histories[name] = model.fit(X, y, epochs=times * epochs, batch_size=batch_size, validation_data=(X, y))

    def loss_at(name: str, places: np.ndarray, place: float) -> str:
        k = int(np.searchsorted(places, place, side="right")) - 1  # the last epoch up to that point
        return f"{histories[name]['val_loss'][k]:11.4f}" if k >= 0 else f"{'-':>11}"

    axes = {"epochs": {}, "updates": {}, "seconds": {}}
    for name, (batch_size, _, _) in KINDS.items():
        epoch = 1.0 + np.arange(len(histories[name]))
        axes["epochs"][name] = epoch
        axes["updates"][name] = epoch * (ROWS // batch_size)
        axes["seconds"][name] = np.cumsum(histories[name]["seconds"])
    fastest = min(places[-1] for places in axes["seconds"].values())
    for axis, points in {
        "epochs": (1, epochs // 4, epochs),
        "updates": (epochs, 4 * epochs, 16 * epochs),
        "seconds": (fastest / 8, fastest / 4, fastest / 2),
    }.items():
        print(f"loss after {axis:9}" + "".join(f"{point:11.4g}" for point in points))
        for name in KINDS:
            print(f"  {name:18}" + "".join(loss_at(name, axes[axis][name], point) for point in points))
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4), layout="constrained")
        for ax, (axis, places) in zip(figure.subplots(1, 3, sharey=True), axes.items(), strict=True):
            for name in KINDS:
                ax.loglog(places[name], histories[name]["val_loss"], label=name)
            ax.set_xlabel(axis)
            ax.grid(alpha=0.3)
        figure.axes[0].set_ylabel("training loss")
        figure.axes[0].legend()
        figure.savefig(picture)
    return histories


if __name__ == "__main__":
    run_script(main)
