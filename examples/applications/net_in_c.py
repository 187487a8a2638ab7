"""A net in a C program
====================

A net learns two spirals. `fastnn.interchange.export_c` writes it into one header, and a C program of 25 lines, which
needs nothing else, computes the probability at each point of a map. Compiled and run from here, it agrees with
`predict_proba` to the last places. The picture is the map that the C program has computed, with the points learned.

Run it with ``python examples/applications/net_in_c.py [picture.png]``. It needs a C compiler named cc.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import fastnn
from fastnn.script import run_script

SIDE = 200  # points of the map from left to right, and from top to bottom
PROGRAM = """\
#include <stdio.h>
#include <time.h>
#include "spirals.h"

#define SIDE %d

static float map[SIDE * SIDE];

/* Writes the map to the standard output, as floats, and the nanoseconds per point to the standard error. */
int main(void) {
    int i, j;
    const clock_t start = clock();
    for (i = 0; i < SIDE; ++i)
        for (j = 0; j < SIDE; ++j) {
            float x[SPIRALS_N_INPUTS];
            x[0] = -1.0f + 2.0f * (float)j / (float)(SIDE - 1);
            x[1] = -1.0f + 2.0f * (float)i / (float)(SIDE - 1);
            spirals_predict_proba(x, map + i * SIDE + j);
        }
    fprintf(stderr, "%%g", 1e9 * (double)(clock() - start) / CLOCKS_PER_SEC / (SIDE * SIDE));
    return fwrite(map, sizeof(float), SIDE * SIDE, stdout) == SIDE * SIDE ? 0 : 1;
}
"""


def spirals(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of two spirals, (n, 2), and the spiral of each, (n,)."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    turn = np.sqrt(rng.uniform(0.02, 1.0, n))
    angle = 2.5 * np.pi * turn + np.pi * y
    X = 0.9 * turn[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return (X + 0.015 * rng.standard_normal((n, 2))).astype(np.float32), y


def run_in_c(model: fastnn.Model) -> tuple[np.ndarray, float] | None:
    """Return the map from the C program, (SIDE, SIDE), and its nanoseconds per point; None without a compiler."""
    if shutil.which("cc") is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fastnn.interchange.export_c(model, folder / "spirals.h", name="spirals")
        (folder / "map.c").write_text(PROGRAM % SIDE)
        subprocess.run(["cc", "-O3", "-march=native", "map.c", "-o", "map", "-lm"], cwd=folder, check=True)
        done = subprocess.run([folder / "map"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(SIDE, SIDE), float(done.stderr)


def main(picture: str | None = None, *, epochs: int = 300) -> dict[str, float]:
    """Train the net, and compare it in C; return the accuracy, the largest difference and the nanoseconds per point."""
    X, y = spirals(1000)
    layers = [fastnn.Dense(32, "tanh"), fastnn.Dense(32, "tanh"), fastnn.Dense(1)]
    model = fastnn.Model(layers, loss="binary_crossentropy", optimizer=fastnn.Adam(0.01), metrics=["accuracy"], seed=0)
    model.fit(X, y, epochs=epochs)
    results = {"accuracy": model.evaluate(X, y)["accuracy"]}
    line = np.linspace(-1.0, 1.0, SIDE, dtype=np.float32)
    grid = np.column_stack([np.tile(line, SIDE), np.repeat(line, SIDE)])
    expected = model.predict_proba(grid).reshape(SIDE, SIDE)
    print(f"the net is right for {results['accuracy']:.1%} of the points of two spirals")
    found = run_in_c(model)
    if found is None:
        print("no C compiler named cc: the map is that of predict_proba")
        drawn = expected
    else:
        drawn, results["nanoseconds"] = found
        # Coordinates of the map are rounded in another way, so the net amplifies a difference of their last place.
        results["difference"] = float(np.abs(drawn - expected).max())
        print(f"in C: {results['nanoseconds']:.0f} ns per point, probabilities within {results['difference']:.1e}")
    if picture:
        draw(picture, drawn, X, y)
    return results


def draw(picture: str, probabilities: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    """Draw the map and the points."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    colours = fastnn.plot.COLORS[:2]
    with fastnn.plot.style():
        figure = Figure(figsize=(6.2, 5))
        axes = figure.subplots()
        blend = LinearSegmentedColormap.from_list("spirals", [colours[0], "white", colours[1]])
        shown = axes.imshow(probabilities, origin="lower", extent=(-1, 1, -1, 1), cmap=blend, vmin=0, vmax=1, alpha=0.6)
        for spiral, colour in enumerate(colours):
            axes.scatter(*X[y == spiral].T, s=12, color=colour, edgecolors="white", linewidths=0.3)
        axes.set(title="Two spirals, mapped by a C program", xlabel="x[0]", ylabel="x[1]")
        figure.colorbar(shown, label="probability of the blue spiral")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
