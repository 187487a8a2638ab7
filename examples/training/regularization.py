"""Overfitting and remedies
========================

Of 200 digits, 30 have a wrong label. The net has enough weights to memorize them, so its loss on the training rows goes
to zero while the loss on other digits rises. L2, dropout, early stopping, noise and mixup reduce the overfitting.

Run it with ``python examples/training/regularization.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn._script import run_script

ROWS, WRONG = 200, 30

REMEDIES = {
    "none": {},
    "L2": {"regularizer": fastnn.L2(0.003)},
    "dropout": {"dropout": 0.5},
    "early stopping": {"stop": True},
    "noise": {"augmentation": fastnn.Augmentation(noise=0.3)},
    "mixup": {"augmentation": fastnn.Augmentation(mixup=1.0)},
}


def train(
    X: np.ndarray, y: np.ndarray, *, epochs: int, test: tuple, dropout: float = 0.0,
    regularizer: fastnn.L2 | None = None, augmentation: fastnn.Augmentation | None = None, stop: bool = False,
) -> fastnn.Model:  # fmt: skip
    """Train the net with one of the remedies."""
    layers = [fastnn.Dense(256, "relu"), fastnn.Dropout(dropout), fastnn.Dense(10)]
    model = fastnn.Model(layers, loss="softmax_crossentropy", regularizer=regularizer, seed=0)
    if stop:  # a fifth of the rows is held back for the stopping rule
        model.fit(X, y, epochs=epochs, validation_split=0.2, callbacks=fastnn.EarlyStopping(patience=10))
    else:  # the test rows are evaluated for the picture only
        model.fit(X, y, epochs=epochs, augmentation=augmentation, validation_data=test)
    return model


def main(picture: str | None = None, *, epochs: int = 500) -> dict[str, tuple[float, float]]:
    """Train with each; return the losses without penalty on the training rows and on the test rows."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y = X[:ROWS], y[:ROWS].copy()
    y[:WRONG] = (y[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    results, histories = {}, {}
    print(f"{'':16} training loss   test loss   test accuracy")
    for name, remedy in REMEDIES.items():
        model = train(X, y, epochs=epochs, test=(X_test, y_test), **remedy)
        histories[name] = model.history
        model.regularizer = None  # comparable losses, without the penalty
        training, test = model.evaluate(X, y), model.evaluate(X_test, y_test)
        results[name] = training["loss"], test["loss"]
        print(f"{name:16} {training['loss']:13.3f} {test['loss']:11.3f} {test['accuracy']:15.1%}")
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 5), layout="constrained")
        ax = figure.subplots()
        for name, history in histories.items():
            if name != "early stopping":  # validated on other rows
                ax.plot(history["val_accuracy"], label=name)
        ax.set_xlabel("epoch")
        ax.set_ylabel("test accuracy")
        ax.legend()
        figure.savefig(picture)
    return results


if __name__ == "__main__":
    run_script(main)
