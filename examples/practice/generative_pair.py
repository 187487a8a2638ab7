"""A generative pair
=================

Two nets train each other. The generator turns noise into points; the discriminator learns to distinguish these from the
data: eight Gaussians on a circle. The generator has no targets: its loss is computed from the discriminator's outputs
for its points, the derivative of the loss by the points comes from `Model.vjp` of the discriminator, and
`Model.train_on_output` of the generator makes the update. (I. Goodfellow et al., "Generative adversarial nets", NIPS,
2014; noise on what the discriminator sees: C. K. Sønderby et al., "Amortised MAP inference for image super-resolution",
ICLR, 2017.)

Run it with ``python examples/practice/generative_pair.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

import fastnn
from fastnn.script import run_script

N_CENTERS, SCALE = 8, 0.15
ANGLES = 2 * np.pi * np.arange(N_CENTERS) / N_CENTERS
CENTERS = 2 * np.c_[np.cos(ANGLES), np.sin(ANGLES)]
#: Numbers of noise per point of the generator, and points per update.
LATENT, ROWS = 4, 128
#: Standard deviation of the noise on all points that the discriminator sees; it falls to 0.
BLUR = 0.3


def draw(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n points of the data."""
    points = CENTERS[rng.integers(N_CENTERS, size=n)] + SCALE * rng.standard_normal((n, 2))
    return points.astype(np.float32)


def noise(n: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n rows of normal noise."""
    return rng.standard_normal((n, columns), dtype=np.float32)


def net(n_outputs: int, loss: str, seed: int) -> fastnn.Model:
    """Make one of the two nets."""
    layers = [fastnn.Dense(64, "leaky_relu"), fastnn.Dense(64, "leaky_relu"), fastnn.Dense(n_outputs)]
    return fastnn.Model(layers, loss=loss, optimizer=fastnn.Adam(1e-3, beta_1=0.5), seed=seed, n_threads=1)


def train(steps: int, pictures_at: list[int]) -> tuple[fastnn.Model, dict[int, np.ndarray]]:
    """Train the pair; return the discriminator, and the generator's points after some of the steps."""
    rng = np.random.default_rng(0)
    generator = net(2, "squared_error", seed=0).build(LATENT)  # a loss that is never used
    discriminator = net(1, "binary_crossentropy", seed=1).build(2)
    is_real = np.repeat([[1.0], [0.0]], ROWS, axis=0)
    shown = noise(1000, LATENT, rng)
    found = {0: generator.predict(shown)}
    for step in range(1, steps + 1):
        blur = np.float32(BLUR * (1 - step / steps))

        # The discriminator: points of the data are of class 1, those of the generator of class 0.
        points = np.vstack([draw(ROWS, rng), generator.predict(noise(ROWS, LATENT, rng))])
        discriminator.train_on_batch(points + blur * noise(2 * ROWS, 2, rng), is_real)

        # The generator: the mean of -log D(y), where D is the sigmoid of the discriminator's logit.
        blurring = blur * noise(ROWS, 2, rng)

        def loss(y: np.ndarray, blurring: np.ndarray = blurring) -> tuple[float, np.ndarray]:
            logits, slopes = discriminator.vjp(y + blurring, lambda logits: -expit(-logits) / len(logits))
            return float(np.logaddexp(0, -logits).mean()), slopes

        generator.train_on_output(noise(ROWS, LATENT, rng), loss)
        if step in pictures_at:
            found[step] = generator.predict(shown)
    return discriminator, found


def shares(points: np.ndarray) -> np.ndarray:
    """Return for each center the share of the points that are within three standard deviations of it; (8,)."""
    distances = np.linalg.norm(points[:, None] - CENTERS, axis=2)
    near = distances.min(axis=1) < 3 * SCALE
    return np.bincount(distances.argmin(axis=1)[near], minlength=N_CENTERS) / len(points)


def main(picture: str | None = None, *, steps: int = 2500) -> dict[int | str, np.ndarray]:
    """Train the pair; return for some of the steps, and for the data, the shares of the points at the eight centers."""
    discriminator, found = train(steps, pictures_at=[steps // 20, steps // 2, steps])
    real = draw(1000, np.random.default_rng(1))
    results = {step: shares(points) for step, points in found.items()} | {"data": shares(real)}
    print("steps  points at a center  fewest and most at one")
    for step, share in results.items():
        print(f"{step:>5} {share.sum():19.0%} {share.min():12.1%} {share.max():9.1%}")
    if picture:
        from matplotlib.figure import Figure

        with fastnn.plot.style():
            figure = Figure(figsize=(10, 3.0))
            panels = figure.subplots(1, len(found) + 1, sharex=True, sharey=True)
            for ax, (step, points) in zip(panels[:-1], found.items(), strict=True):
                ax.plot(*real.T, ".", markersize=3, color="0.5", alpha=0.3)
                ax.plot(*points.T, ".", markersize=3, color=fastnn.plot.COLORS[3], alpha=0.5)
                ax.set_title(f"{step} steps:\n{results[step].sum():.0%} at a center", fontsize=11)
            panels[0].set_xlabel("grey: data", loc="left")
            panels[1].set_xlabel("orange: generated", loc="left")
            grid = np.linspace(-3, 3, 121, dtype=np.float32)
            x, y = np.meshgrid(grid, grid)
            logits = discriminator.predict(np.c_[x.ravel(), y.ravel()]).reshape(x.shape)
            shown = panels[-1].imshow(expit(logits), extent=(-3, 3, -3, 3), origin="lower", vmin=0, vmax=1)
            figure.colorbar(shown, ax=panels[-1], shrink=0.8, ticks=[0, 0.5, 1])
            panels[-1].set_title("discriminator:\nis it of the data?", fontsize=11)
            for ax in panels:
                ax.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
            figure.suptitle("Points made from noise come to lie where the data are", x=0.01, ha="left")
            figure.savefig(picture)
    return results


if __name__ == "__main__":
    run_script(main)
