"""Shallow and deep, with the same number of weights
=================================================

One hidden layer of 44 units and two of 11 have 177 weights and biases each. A disc is easy for both. Of two
interlocking spirals the shallow net finds a rough shape only, the deep one separates them: its second layer bends what
the first layer has bent already. Depth helps where a shape is composed of shapes; it is no gain where it is not.

Run it with ``python examples/representation/shallow_and_deep.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

NETS = {"one layer of 44": (44,), "two layers of 11": (11, 11)}
SHAPES = ("disc", "spirals")


def points(shape: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the plane (n, 2) and their classes (n,)."""
    rng = np.random.default_rng(seed)
    if shape == "disc":
        X = rng.uniform(-1.7, 1.7, (n, 2))
        return X, (np.hypot(*X.T) < 1.0).astype(int)
    y = rng.integers(0, 2, n)
    t = rng.uniform(0.0, 1.0, n)
    angle = np.pi * (3.5 * t + y)
    return 1.67 * t[:, None] * np.c_[np.sin(angle), np.cos(angle)] + 0.05 * rng.standard_normal((n, 2)), y


def train(sizes: tuple[int, ...], X: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> fastnn.Model:
    """Train a net with hidden layers of these sizes."""
    layers = [*(fastnn.Dense(size, "relu") for size in sizes), fastnn.Dense(1)]
    optimizer = fastnn.Adam(0.01)
    model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=optimizer, seed=seed, n_threads=1)
    model.fit(X, y, epochs=epochs, batch_size=50)
    return model


def main(picture: str | None = None, *, seeds: int = 5, epochs: int = 200) -> dict[tuple[str, str], list[float]]:
    """Train both nets on both shapes; return the test accuracies of all seeds, and the numbers of weights."""
    accuracies, models = {}, {}
    print(f"test accuracy, lowest to highest of {seeds} starts")
    for shape in SHAPES:
        X, y = points(shape, 600, seed=0)
        test = points(shape, 2000, seed=1)
        for name, sizes in NETS.items():
            made = [train(sizes, X, y, epochs, seed) for seed in range(seeds)]
            found = accuracies[shape, name] = [model.evaluate(*test)["accuracy"] for model in made]
            models[shape, name] = made[int(np.argsort(found)[seeds // 2])]  # the median start is drawn
            print(f"{shape:8} {name:17} {made[0].n_params} weights   {min(found):.1%} to {max(found):.1%}")
    if picture:
        draw(picture, models, accuracies)
    return accuracies | {"weights": [models[SHAPES[0], name].n_params for name in NETS]}


def draw(picture: str, models: dict[tuple[str, str], fastnn.Model], accuracies: dict[tuple[str, str], list]) -> None:
    """Draw the boundaries of the nets with the median accuracy."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.2))
        for ax, ((shape, name), model) in zip(figure.subplots(1, 4), models.items(), strict=True):
            fastnn.plot.decision_boundary(model, *points(shape, 250, seed=1), ax=ax)
            found = accuracies[shape, name]
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8))
            ax.set_title(f"{name}\n{shape}: {np.median(found):.0%}", fontsize=11)
            if ax.get_legend():
                ax.get_legend().remove()
        figure.suptitle("177 weights each: depth is no gain for a disc, and a large one for spirals", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
