"""Error bars
==========

A net answers where it has never seen data, too, and does not say so. Sixteen nets with different start weights do:
where there are rows they agree, and in a gap between the rows, and outside of them, each continues in its own way.
Their spread is the error bar of an ensemble.

The spread is no probability. Rows that were kept back (here every third) show how large errors are in units of
the spread, and turn it into an interval that contains 90 % of new values: split conformal prediction.

Run it with ``python examples/practice/error_bars.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

NOISE, GAP = 0.12, (-0.6, 0.5)


def curve(x: np.ndarray) -> np.ndarray:
    """Return what the nets are to learn."""
    return np.sin(3.0 * x) + 0.3 * x


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy rows of the curve, none in the gap."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, 4 * n)
    x = x[(x < GAP[0]) | (x > GAP[1])][:n]
    return x[:, None], curve(x) + NOISE * rng.standard_normal(n)


def main(picture: str | None = None, *, n: int = 240, nets: int = 16, epochs: int = 400) -> dict[str, float]:
    """Train; return the spread with and without rows near, and the coverage of the intervals."""
    X, y = rows(n, seed=0)
    measure = np.arange(n) % 3 == 0
    layers = [fastnn.Dense(24, "tanh"), fastnn.Dense(24, "tanh"), 1]
    ensemble = fastnn.Ensemble(layers, nets, loss="squared_error", optimizer=fastnn.Adam(0.005), seed=0)
    ensemble.fit(X[~measure], y[~measure], epochs=epochs)
    regressor = fastnn.intervals.SplitConformalRegressor(ensemble, 0.9, conformity_score="residual_normalized")
    regressor.conformalize(X[measure], y[measure])

    X_new, y_new = rows(2000, seed=1)
    intervals = regressor.predict_interval(X_new)[1][:, :, 0]
    x = np.linspace(-2.6, 2.6, 400)
    spread = ensemble.predict_std(x[:, None])[:, 0]
    in_gap = (x > GAP[0]) & (x < GAP[1])
    near = (np.abs(x) < 2.0) & ~in_gap
    results = {
        "spread near rows": float(spread[near].mean()), "spread in the gap": float(spread[in_gap].mean()),
        "coverage": float(np.mean((intervals[:, 0] <= y_new) & (y_new <= intervals[:, 1]))),
    }  # fmt: skip
    for name, value in results.items():
        print(f"{name:18} {value:.3f}")
    if picture:
        draw(picture, ensemble, regressor, (X[~measure], y[~measure]), x)
    return results


def draw(picture: str, ensemble: fastnn.Ensemble, regressor: object, seen: tuple, x: np.ndarray) -> None:
    """Draw the nets, and mean, spread and intervals."""
    from matplotlib.figure import Figure

    outputs = ensemble.predict_all(x[:, None])[:, :, 0]
    mean, spread = ensemble.predict(x[:, None])[:, 0], ensemble.predict_std(x[:, None])[:, 0]
    bounds = regressor.predict_interval(x[:, None])[1][:, :, 0].T
    colours = fastnn.plot.COLORS
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2, sharey=True)
        left.plot(x, outputs.T, color=colours[1], linewidth=0.8, alpha=0.6)
        left.set(title=f"{len(ensemble)} nets", ylabel="y")
        right.fill_between(x, *bounds, color=colours[4], alpha=0.35, linewidth=0, label="interval of 90 %")
        right.fill_between(x, mean - spread, mean + spread, color=colours[1], alpha=0.5, linewidth=0, label="spread")
        right.plot(x, mean, color=colours[1], label="mean")
        right.set(title="Their mean and spread, and intervals")
        for axes in (left, right):
            axes.plot(x, curve(x), "--", color=colours[3], linewidth=1.2, label="the truth")
            axes.plot(seen[0][:, 0], seen[1], ".", color="0.35", markersize=3, label="rows")
            axes.set(xlabel="x", ylim=(-2.8, 2.8), xlim=(x[0], x[-1]))
        right.legend(loc="upper left", ncols=2)
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
