"""An adversarial digit, and the training that resists it
=======================================================

A change of each pixel by a seventh of its range turns almost all answers of a net, if the derivative of the loss by the
pixels states its sign; a change by chance turns few. A net that is trained on rows moved in this way (``adversary=``)
keeps most of its answers. The picture shows a digit, its attack at the radius of the training, the least change that
turns it, and the accuracy of both nets over the radius.

Run it with ``python examples/practice/adversarial_digit.py [picture.png]``.
"""

from __future__ import annotations

import time

import numpy as np

import fastnn
from fastnn.robust import FGSM, RobustAccuracy, accuracy_under_attack, pgd
from fastnn.script import run_script

EPS = 0.15
LIMITS = (0.0, 1.0)
RADII = np.linspace(0.0, 0.3, 7)


def main(picture: str | None = None, *, epochs: int = 40, rows: int = 300) -> dict[str, RobustAccuracy]:
    """Train with and without an adversary; return the accuracies of both nets under attack."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X_test, y_test = X_test[:rows], y_test[:rows]
    models, found = {}, {}
    print("accuracy under PGD, eps" + "".join(f"{radius:8.2f}" for radius in RADII) + "   seconds of training")
    for name, adversary in {"plain": None, "against FGSM": FGSM(EPS, clip_values=LIMITS)}.items():
        model = models[name] = fastnn.Model([128, 64, 10], loss="softmax_crossentropy", seed=0)
        model.build(X.shape[1]).gradient(X[:1], y[:1])  # compiles or loads the kernels before the timing
        start = time.perf_counter()
        model.fit(X, y, epochs=epochs, adversary=adversary)
        seconds = time.perf_counter() - start
        found[name] = accuracy_under_attack(model, X_test, y_test, eps=RADII, clip_values=LIMITS)
        print(f"{name:23}" + "".join(f"{share:8.3f}" for share in found[name].accuracy) + f"{seconds:22.1f}")
    by_chance = X_test + np.random.default_rng(0).choice([-EPS, EPS], X_test.shape)
    share = models["plain"].evaluate(np.clip(by_chance, *LIMITS), y_test)["accuracy"]
    print(f"plain, with random changes by {EPS}: {share:.3f}")
    if picture:
        draw(picture, models, found, X_test, y_test)
    return found


def draw(
    picture: str, models: dict[str, fastnn.Model], found: dict[str, RobustAccuracy], X: np.ndarray, y: np.ndarray
) -> None:
    """Draw a digit that turns the plain net alone, attacked within EPS and as far as turns each net, and the curves."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    changed = {name: pgd(model, X, y, eps=EPS, clip_values=LIMITS) for name, model in models.items()}
    answers = {name: models[name].predict_classes(rows) for name, rows in changed.items()}
    row = int(np.flatnonzero((answers["plain"] != y) & (answers["against FGSM"] == y))[0])
    with fastnn.plot.style():
        palette = fastnn.plot.COLORS
        signed = LinearSegmentedColormap.from_list("signed", [palette[0], "white", palette[1]])
        figure = Figure(figsize=(10, 4.4))
        digits, curves = figure.subfigures(1, 2, width_ratios=(8, 5))
        for axes, (name, model) in zip(digits.subplots(2, 4), models.items(), strict=True):
            radius = least_radius(model, X[row : row + 1], y[row])
            turned = pgd(model, X[row : row + 1], y[row : row + 1], eps=radius, clip_values=LIMITS)[0]
            shown = {"the digit": X[row], f"eps = {EPS}": changed[name][row], f"eps = {radius:.2f}": turned}
            for ax, (title, image) in zip(axes, shown.items(), strict=False):
                probabilities = model.predict_proba(image[None])[0]
                k = int(probabilities.argmax())
                ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
                colour = "#00704F" if k == y[row] else "#B34700"
                ax.set_title(f"{title}\nread as {k} ({probabilities[k]:.0%})", fontsize=9, color=colour)
            axes[3].imshow((turned - X[row]).reshape(8, 8), cmap=signed, vmin=-0.3, vmax=0.3)
            axes[3].set_title("the change\nthat turns it", fontsize=9)
            axes[0].set_ylabel(f"trained {name}" if adversarial(name) else f"{name} training", fontsize=10)
        for ax in digits.axes:
            ax.set(xticks=[], yticks=[])
        ax = curves.subplots()
        for (name, one), colour, (at, side) in zip(
            found.items(), (palette[3], palette[1]), ((2, "right"), (4, "left")), strict=True
        ):
            ax.plot(RADII, 100 * np.array(one.accuracy), "o-", color=colour)
            label = f"trained\n{name}" if adversarial(name) else f"{name}\ntraining"
            ax.annotate(label, (RADII[at], 100 * one.accuracy[at]), (8 if side == "left" else -8, 0), ha=side,
                        textcoords="offset points", color=colour)  # fmt: skip
        ax.axvline(EPS, color="0.6", linestyle="--", linewidth=1)
        ax.annotate("eps of the training", (EPS, 101), (4, 0), textcoords="offset points", va="top", fontsize=10)
        ax.set(xlabel="eps, largest change of a pixel", ylabel="accuracy under attack (%)", ylim=(0, 102))
        ax.set_title("Small changes turn answers")
        figure.savefig(picture)


def least_radius(model: fastnn.Model, x: np.ndarray, answer: int) -> float:
    """Return the least radius at which the attack on a row succeeds, by bisection of its logarithm."""
    low, high = 0.01, 1.0
    for _ in range(12):
        middle = (low * high) ** 0.5
        moved = pgd(model, x, [answer], eps=middle, clip_values=LIMITS)
        low, high = (middle, high) if model.predict_classes(moved)[0] == answer else (low, middle)
    return high


def adversarial(name: str) -> bool:
    """Return whether the net of this name was trained against attacks."""
    return name != "plain"


if __name__ == "__main__":
    run_script(main)
