"""Gradient descent: a walk downhill
=================================

A net of two weights, f(x) = v tanh(w x), so that the loss is a landscape over a plane: two valleys (the signs of both
weights can be changed together) and a pass between them. Each step goes against the gradient, which is the direction of
steepest ascent and is at right angles to the lines of equal loss: w -= rate dE/dw. In which valley a walk ends, depends
on its start. The picture shows three walks on the landscape and on its map, and how the loss falls.

Run it with ``python examples/descent/gradient_descent.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

RATE = 0.1
#: Weights (w, v) at the start of each walk.
STARTS = [(2.2, -1.8), (-0.4, 0.15), (-2.1, 1.8)]
TRUE = (1.5, 1.2)


def net(w: float, v: float) -> fastnn.Model:
    layers = [fastnn.Dense(1, "tanh", use_bias=False), fastnn.Dense(1, use_bias=False)]
    model = fastnn.Model(layers, loss="squared_error", optimizer=fastnn.SGD(RATE), dtype="float64").build(1)
    model.weights = [[[w]], [[v]]]
    return model


def loss(w: np.ndarray, v: np.ndarray, X: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the loss for arrays of weights, by the formula."""
    return ((v[..., None] * np.tanh(w[..., None] * X[:, 0]) - t) ** 2).mean(axis=-1)


def walk(start: tuple[float, float], X: np.ndarray, t: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """Return the weights after each step (steps + 1, 2), and the largest difference from w - rate dE/dw."""
    model = net(*start)
    path, difference = [np.concatenate(model.weights).ravel()], 0.0
    for _ in range(steps):
        _, gradient, _ = model.gradient(X, t)
        model.train_on_batch(X, t)
        path.append(np.concatenate(model.weights).ravel())
        expected = path[-2] - RATE * np.concatenate(gradient).ravel()
        difference = max(difference, float(np.abs(path[-1] - expected).max()))
    return np.array(path), difference


def main(picture: str | None = None, *, steps: int = 120) -> dict[str, np.ndarray | float]:
    """Walk from each start; return the paths, the losses, and how far a step is from the rule."""
    X = np.linspace(-2, 2, 40)[:, None]
    t = TRUE[1] * np.tanh(TRUE[0] * X[:, 0]) + 0.15 * np.random.default_rng(0).standard_normal(40)
    walks = [walk(start, X, t, steps) for start in STARTS]
    paths = np.array([path for path, _ in walks])
    losses = loss(*np.moveaxis(paths, -1, 0), X, t)
    print("start (w, v)      loss    end (w, v)        loss")
    for path, fall in zip(paths, losses, strict=True):
        (w, v), (w_end, v_end) = path[0], path[-1]
        print(f"{w:5.1f} {v:5.1f} {fall[0]:11.4f} {w_end:8.3f} {v_end:7.3f} {fall[-1]:9.4f}")
    if picture:
        draw(picture, paths, losses, X, t)
    return {"paths": paths, "losses": losses, "difference": max(difference for _, difference in walks)}


def draw(picture: str, paths: np.ndarray, losses: np.ndarray, X: np.ndarray, t: np.ndarray) -> None:
    """Draw the landscape, its map and the losses."""
    from matplotlib.figure import Figure

    colours = fastnn.plot.COLORS[0], fastnn.plot.COLORS[3], fastnn.plot.COLORS[1]
    line = np.linspace(-2.7, 2.7, 121)
    w, v = np.meshgrid(line, line)
    height = loss(w, v, X, t)
    levels = np.geomspace(losses.min() * 1.3, height.max(), 14)
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        grid = figure.add_gridspec(1, 3, width_ratios=(12, 11, 9))
        land = figure.add_subplot(grid[0], projection="3d", computed_zorder=False)
        chart, fall = figure.add_subplot(grid[1]), figure.add_subplot(grid[2])
        land.plot_surface(w, v, np.log10(height), cmap="Greys_r", alpha=0.8, linewidth=0, rcount=60, ccount=60)
        chart.contourf(w, v, np.log10(height), np.log10(levels), cmap="Greys_r", alpha=0.8, extend="min")
        chart.contour(w, v, height, levels, colors="white", linewidths=0.7)
        for number, (path, one, colour) in enumerate(zip(paths, losses, colours, strict=True), start=1):
            land.plot(*path.T, np.log10(one) + 0.04, "-", color=colour, linewidth=2.5, zorder=5)
            land.plot(*path[:1].T, np.log10(one[:1]) + 0.04, "o", color=colour, markersize=7, zorder=6)
            chart.plot(*path.T, ".-", color=colour, linewidth=1.5, markersize=5)
            chart.plot(*path[0], "o", color=colour, markersize=9, markeredgecolor="white")
            chart.annotate(f"start {number}", path[0], xytext=(9, 0), textcoords="offset points", va="center",
                           bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"})  # fmt: skip
            fall.semilogy(one, color=colour)
            fall.annotate(f"start {number}", (5 * number, one[5 * number]), xytext=(6, 4), textcoords="offset points",
                          color=colour)  # fmt: skip
        land.set(title="Three walks downhill", xlabel="weight w", ylabel="weight v", zticks=[], xticks=[-2, 0, 2],
                 yticks=[-2, 0, 2])  # fmt: skip
        land.view_init(elev=52, azim=-65)
        land.set_box_aspect((1, 1, 0.6), zoom=1.0)
        chart.set(title="Across the lines", xlabel="weight w", ylabel="weight v")
        fall.set(title="The loss falls", xlabel="step", ylabel="loss")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
