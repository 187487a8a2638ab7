"""A differential equation: the temperature of a plate
====================================================

The edge of a plate is heated and cooled; the temperature u inside obeys u_xx + u_yy = 0. A net u(x, y) is trained on
the equation itself: the loss is the mean square of u_xx + u_yy at points inside, and of the error at points of the
edge. No temperature inside is given. ``train_on_output(X, f, directions=np.eye(2))`` passes to ``f`` the outputs and
their first and second derivatives by x and y, and takes back how the loss depends on them. The picture shows the
temperature that the net has found, its error, and the loss.

Run it with ``python examples/applications/boundary_value_problem.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

INSIDE, EDGE = 600, 150
EDGE_WEIGHT = 20.0
PETALS = 5


def radius(angle: np.ndarray) -> np.ndarray:
    """Return the distance of the edge from the middle."""
    return 1.0 + 0.25 * np.cos(PETALS * angle)


def temperature(X: np.ndarray) -> np.ndarray:
    """Return the solution (n, 1), the real part of (x + iy)^3, which the edge is held at."""
    x, y = X.T
    return (x**3 - 3 * x * y**2)[:, None]


def points(n_inside: int, n_edge: int, seed: int) -> np.ndarray:
    """Return points inside the plate, drawn uniformly, followed by points of its edge; (n, 2)."""
    rng = np.random.default_rng(seed)
    square = rng.uniform(-1.25, 1.25, (4 * n_inside, 2))
    angle = np.arctan2(square[:, 1], square[:, 0])
    inside = square[np.hypot(*square.T) < radius(angle)][:n_inside]
    angle = 2 * np.pi * np.arange(n_edge) / n_edge
    return np.concatenate([inside, radius(angle)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])])


def main(picture: str | None = None, *, steps: int = 1500) -> dict[str, float]:
    """Train a net on the equation; return its errors on new points inside, for a range of temperatures of about 3."""
    X = points(INSIDE, EDGE, seed=0)
    edge = temperature(X[INSIDE:])

    def equation(u: np.ndarray, du: np.ndarray, d2u: np.ndarray) -> tuple[float, np.ndarray, None, np.ndarray]:
        residual = d2u[:, :INSIDE].sum(axis=0)  # u_xx + u_yy
        error = u[INSIDE:] - edge
        by_u, by_d2u = np.zeros_like(u), np.zeros_like(d2u)
        by_u[INSIDE:] = 2 * EDGE_WEIGHT * error / EDGE
        by_d2u[:, :INSIDE] = 2 * residual / INSIDE
        return (residual**2).mean() + EDGE_WEIGHT * (error**2).mean(), by_u, None, by_d2u

    layers = [fastnn.Dense(24, "tanh"), fastnn.Dense(24, "tanh"), fastnn.Dense(1)]
    model = fastnn.Model(layers, loss="squared_error", seed=0, dtype="float64").build(2)
    losses = []
    for rate in (0.01, 0.003, 0.001):
        model.optimizer = fastnn.Adam(rate)
        losses += [model.train_on_output(X, equation, directions=np.eye(2)) for _ in range(steps // 3)]
        print(f"{len(losses):5} steps: loss {losses[-1]:.2e}")
    new = points(2000, 0, seed=1)
    errors = model.predict(new) - temperature(new)
    results = {"largest error": float(np.abs(errors).max()), "mean error": float(np.abs(errors).mean())}
    print(f"temperatures inside, none of which was given: mean error {results['mean error']:.1e}, "
          f"largest {results['largest error']:.1e}")  # fmt: skip
    if picture:
        draw(picture, model, X, losses)
    return results


def draw(picture: str, model: fastnn.Model, X: np.ndarray, losses: list[float]) -> None:
    """Draw the temperature, its error and the loss."""
    from matplotlib.figure import Figure

    side = np.linspace(-1.27, 1.27, 301)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    outside = np.hypot(*grid.T) > radius(np.arctan2(grid[:, 1], grid[:, 0]))

    def on_grid(values: np.ndarray) -> np.ma.MaskedArray:
        return np.ma.masked_array(values, outside).reshape(301, 301)

    found = model.predict(grid)[:, 0]
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 3.5))
        field, error, loss = figure.subplots(1, 3)
        levels = np.linspace(-1.9, 1.9, 39)
        shades = field.contourf(side, side, on_grid(found), levels, cmap="RdYlBu_r", extend="both")
        field.contour(side, side, on_grid(found), levels[::3], colors="k", linewidths=0.4)
        field.scatter(*X[INSIDE:].T, c=temperature(X[INSIDE:])[:, 0], cmap="RdYlBu_r", vmin=-1.9, vmax=1.9, s=16,
                      edgecolors="k", linewidths=0.5)  # fmt: skip
        figure.colorbar(shades, ax=field, location="bottom", label="temperature; dots: given", ticks=[-1, 0, 1])
        field.set_title("Only the edge is given")
        shades = error.pcolormesh(side, side, on_grid(np.abs(found - temperature(grid)[:, 0])), cmap="magma",
                                  rasterized=True)  # fmt: skip
        figure.colorbar(shades, ax=error, location="bottom", label="error; dots: where the equation must hold")
        error.plot(*X[:INSIDE].T, ".", color="w", markersize=1.5)
        error.set_title("Inside it is right as well")
        for axes in (field, error):
            axes.set_aspect("equal")
            axes.set_axis_off()
        loss.semilogy(losses, linewidth=1)
        loss.set(title="The loss", xlabel="step", ylabel="equation inside, and edge")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
