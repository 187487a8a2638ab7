"""Regularization: overfitting and remedies
========================================

Of 200 digits, 30 have a wrong label. The net has enough weights to memorize them, so its loss on the training rows goes
to zero while the loss on other digits rises after some epochs: it overfits. L2, dropout, noise and mixup make
memorizing harder; early stopping keeps the weights of the epoch with the lowest loss on rows that were held back.

The picture shows the losses without and with a remedy, the epoch with the lowest test loss, and how many test digits
are read correctly. Mixup lowers the test loss here, but hardly the number of wrong answers.

Run it with ``python examples/training/regularization.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

ROWS, WRONG = 200, 30
#: Trainings whose losses are drawn.
DRAWN = ("none", "dropout")

REMEDIES = {
    "none": {},
    "early stopping": {"stop": True},
    "L2": {"regularizer": fastnn.L2(0.003)},
    "dropout": {"dropout": 0.5},
    "noise": {"augmentation": fastnn.Augmentation(noise=0.3)},
    "mixup": {"augmentation": fastnn.Augmentation(mixup=1.0)},
}


def train(
    X: np.ndarray, y: np.ndarray, *, epochs: int, test: tuple | None, dropout: float = 0.0,
    regularizer: fastnn.L2 | None = None, augmentation: fastnn.Augmentation | None = None, stop: bool = False,
) -> fastnn.Model:  # fmt: skip
    """Train the net with one of the remedies."""
    layers = [fastnn.Dense(256, "relu"), fastnn.Dropout(dropout), fastnn.Dense(10)]
    model = fastnn.Model(layers, loss="softmax_crossentropy", regularizer=regularizer, seed=0, n_threads=1)
    if stop:  # a fifth of the rows is held back for the stopping rule
        model.fit(X, y, epochs=epochs, validation_split=0.2, callbacks=fastnn.EarlyStopping(patience=10))
    else:
        model.fit(X, y, epochs=epochs, augmentation=augmentation, validation_data=test)
    return model


def main(picture: str | None = None, *, epochs: int = 300) -> dict[str, dict[str, float]]:
    """Train with each; return training loss and test loss without penalty, and test accuracy."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y = X[:ROWS], y[:ROWS].copy()
    y[:WRONG] = (y[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    results, histories = {}, {}
    print(f"{'':16} training loss   test loss   test accuracy")
    for name, remedy in REMEDIES.items():
        # The test rows are evaluated after each epoch for the picture only.
        test = (X_test, y_test) if picture and name in DRAWN else None
        model = train(X, y, epochs=epochs, test=test, **remedy)
        histories[name] = model.history
        model.regularizer = None  # comparable losses, without the penalty
        found = model.evaluate(X_test, y_test)
        results[name] = {"training": model.evaluate(X, y)["loss"], "test": found["loss"], "accuracy": found["accuracy"]}
        print("{:16} {training:13.3f} {test:11.3f} {accuracy:15.1%}".format(name, **results[name]))
    if picture:
        draw(picture, histories, results)
    return results


def draw(picture: str, histories: dict[str, fastnn.History], results: dict[str, dict[str, float]]) -> None:
    """Draw the losses over the epochs without and with dropout, and the test accuracy with each remedy."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        orange, blue, green = fastnn.plot.COLORS[:3]
        figure = Figure(figsize=(10, 4.4))
        losses, accuracies = figure.subplots(1, 2, width_ratios=(5, 4))
        none, dropout = (histories[name] for name in DRAWN)
        curves = {
            "none, training": (none["loss"], orange, "--"), "none, test": (none["val_loss"], orange, "-"),
            "dropout, training": (dropout["loss"], blue, "--"), "dropout, test": (dropout["val_loss"], blue, "-"),
        }  # fmt: skip
        for values, colour, line in curves.values():
            losses.plot(np.arange(1, len(values) + 1), values, line, color=colour)
        best = int(np.argmin(none["val_loss"]))
        losses.plot(best + 1, none["val_loss"][best], "o", color=orange, markersize=8)
        losses.annotate(f"lowest test loss:\nepoch {best + 1}", (best + 1, none["val_loss"][best]), (40, 24),
                        textcoords="offset points", arrowprops={"arrowstyle": "-", "color": "0.5"})  # fmt: skip
        losses.set(xlabel="epoch", ylabel="loss", title="Without a remedy the test loss rises again")
        ends = [(len(values), values[-1]) for values, _, _ in curves.values()]
        losses.set_ylim(-0.06, 2.4)
        fastnn.plot.label_ends(losses, ends, list(curves), [colour for _, colour, _ in curves.values()])

        names = sorted(results, key=lambda name: results[name]["accuracy"])
        shown = [100 * results[name]["accuracy"] for name in names]
        bars = accuracies.barh(names, shown, color=[orange if name == "none" else green for name in names])
        accuracies.bar_label(bars, [f"{value:.1f} %" for value in shown], padding=3)
        accuracies.set(xlabel="test accuracy (%), axis from 60", xlim=(60, 95))
        accuracies.set_title("Here noise helps most")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
