"""A net inside a compiled integrator
==================================

A mass between two wells, x'' = x - x^3 - 0.15 x', comes to rest in one of them; in which one, depends on its start in a
way that no formula gives. A net learns the acceleration from samples, as one learns it from measurements or from
a simulation that is too slow to be called millions of times. Then a function compiled by Numba integrates 6,400
starts, and calls the net four times per step: it is an argument of that function, as an array is. The picture shows
in which well each start ends, by the net and by the equation, and the starts in which these two differ.

Run it with ``python examples/applications/surrogate_in_integrator.py [picture.png]``.
"""

from __future__ import annotations

import time

import numba
import numpy as np

import fastnn
from fastnn.script import run_script

STEP = 0.05


@numba.njit(cache=True)
def acceleration(x: float, v: float) -> float:
    """Return the acceleration by the equation."""
    return x - x**3 - 0.15 * v


@numba.njit(cache=True)
def end_by_equation(x: float, v: float, steps: int) -> float:
    """Return the place after some steps of the classical Runge-Kutta method, by the equation."""
    h = STEP
    for _ in range(steps):
        a1 = acceleration(x, v)
        a2 = acceleration(x + h / 2 * v, v + h / 2 * a1)
        a3 = acceleration(x + h / 2 * v + h * h / 4 * a1, v + h / 2 * a2)
        a4 = acceleration(x + h * v + h * h / 2 * a2, v + h * a3)
        x += h * v + h * h / 6 * (a1 + a2 + a3)
        v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return x


@numba.njit(cache=True)
def by_net(net: fastnn.jit.JitNet, x: float, v: float, row: np.ndarray, out: np.ndarray) -> float:
    """Return the acceleration by the net; `row` and `out` are room for its input and output."""
    row[0], row[1] = x, v
    net.predict_row(row, out)
    return out[0]


@numba.njit(cache=True)
def end_by_net(net: fastnn.jit.JitNet, x: float, v: float, steps: int) -> float:
    """Return the place after some steps of the same method, by the net."""
    row, out = np.empty(2), np.empty(1)
    h = STEP
    for _ in range(steps):
        a1 = by_net(net, x, v, row, out)
        a2 = by_net(net, x + h / 2 * v, v + h / 2 * a1, row, out)
        a3 = by_net(net, x + h / 2 * v + h * h / 4 * a1, v + h / 2 * a2, row, out)
        a4 = by_net(net, x + h * v + h * h / 2 * a2, v + h * a3, row, out)
        x += h * v + h * h / 6 * (a1 + a2 + a3)
        v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return x


@numba.njit(parallel=True)
def all_ends(net: fastnn.jit.JitNet, x: np.ndarray, v: np.ndarray, steps: int) -> np.ndarray:
    """Return the places for all starts, (v, x), by the net."""
    ends = np.empty((len(v), len(x)))
    for i in numba.prange(len(v)):
        for j in range(len(x)):
            ends[i, j] = end_by_net(net, x[j], v[i], steps)
    return ends


@numba.njit
def all_true_ends(x: np.ndarray, v: np.ndarray, steps: int) -> np.ndarray:
    """Return the places for all starts, (v, x), by the equation."""
    ends = np.empty((len(v), len(x)))
    for i in range(len(v)):
        for j in range(len(x)):
            ends[i, j] = end_by_equation(x[j], v[i], steps)
    return ends


def end_in_python(model: fastnn.Model, x: float, v: float, steps: int) -> float:
    """Return the place by the net, with a loop in Python that calls `predict`."""
    h = STEP

    def a(x: float, v: float) -> float:
        return float(model.predict(np.array([[x, v]]))[0, 0])

    for _ in range(steps):
        a1 = a(x, v)
        a2 = a(x + h / 2 * v, v + h / 2 * a1)
        a3 = a(x + h / 2 * v + h * h / 4 * a1, v + h / 2 * a2)
        a4 = a(x + h * v + h * h / 2 * a2, v + h * a3)
        x += h * v + h * h / 6 * (a1 + a2 + a3)
        v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return x


def main(picture: str | None = None, *, points: int = 80, steps: int = 600, iterations: int = 100) -> dict[str, float]:
    """Train a net, integrate by it, and return how far it agrees with the equation."""
    rng = np.random.default_rng(0)
    X = rng.uniform([-2.6, -3.6], [2.6, 3.6], (1000, 2))
    y = X[:, 0] - X[:, 0] ** 3 - 0.15 * X[:, 1]
    layers = [fastnn.Dense(16, "tanh"), fastnn.Dense(16, "tanh"), 1]
    model = fastnn.Model(layers, loss="squared_error", optimizer="lm", dtype="float64", seed=0)
    model.fit(X, y, epochs=iterations)
    net = model.jit()

    x, v = np.linspace(-2, 2, points), np.linspace(-2, 2, points)
    all_ends(net, x[:2], v[:2], 1)  # compiles
    start = time.perf_counter()
    ends = all_ends(net, x, v, steps)
    seconds = time.perf_counter() - start
    true_ends = all_true_ends(x, v, steps)
    agree = float(np.mean((ends > 0) == (true_ends > 0)))
    rows = 4 * steps * points**2

    start = time.perf_counter()
    in_python = end_in_python(model, 1.0, 1.5, steps)
    seconds_in_python = time.perf_counter() - start
    difference = abs(in_python - end_by_net(net, 1.0, 1.5, steps))
    print(f"root of the mean squared error of the acceleration: {model.history['loss'][-1] ** 0.5:.1e}")
    print(f"{points**2} starts, {steps} steps each: {agree:.1%} end in the well that the equation gives")
    print(f"compiled loop:             {1e9 * seconds / rows:8.0f} ns per call of the net")
    print(f"loop in Python, one start: {1e9 * seconds_in_python / (4 * steps):8.0f} ns per call of the net")
    if picture:
        draw(picture, x, v, ends > 0, true_ends > 0)
    return {"agree": agree, "difference from Python": difference}


def draw(picture: str, x: np.ndarray, v: np.ndarray, right: np.ndarray, truly_right: np.ndarray) -> None:
    """Draw in which well each start ends, by the net and by the equation, and where these differ."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    wells, differ = ListedColormap(fastnn.plot.COLORS[:2]), ListedColormap(["0.93", fastnn.plot.COLORS[3]])
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.0))
        panels = figure.subplots(1, 3, sharey=True)
        wrong = right != truly_right
        maps = {"By the net": right, "By the equation": truly_right, f"They differ in {wrong.mean():.1%}": wrong}
        for ax, (title, found) in zip(panels, maps.items(), strict=True):
            ax.pcolormesh(x, v, found, cmap=differ if found is wrong else wells, vmin=0, vmax=1, rasterized=True)
            ax.plot([-1, 1], [0, 0], "o", color="white", markeredgecolor="black", markersize=6)
            ax.set(xlabel="place at the start", title=title, box_aspect=1)
        panels[0].set_ylabel("velocity at the start")
        figure.suptitle("Orange starts come to rest in the left well (white dot), blue ones in the right one")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
