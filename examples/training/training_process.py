"""The training process, step by step
==================================

First in an explicit loop, then by `fastnn.Model.fit`: random start, then epochs. In each epoch the rows are shuffled
and cut into batches, and each batch makes one update. After an epoch the loss on the validation rows is computed; if
it has not fallen for 5 epochs, training stops and the best weights are restored. `fastnn.Model.fit` does the same.

Run it with ``python examples/training/training_process.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn._script import run_script

BATCH = 64
PATIENCE = 5


def new_model() -> fastnn.Model:
    layers = [fastnn.Dense(64, "relu"), fastnn.Dense(10)]
    return fastnn.Model(layers, loss="softmax_crossentropy", optimizer=fastnn.Adam(0.003), seed=0)


def train_by_hand(model: fastnn.Model, X: np.ndarray, y: np.ndarray, validation: tuple, epochs: int) -> list[float]:
    """Train with early stopping; return the validation losses."""
    rng = np.random.default_rng(0)
    losses: list[float] = []
    parameters = [*model.weights, *model.biases]  # writable views
    for epoch in range(epochs):
        order = rng.permutation(len(X))
        in_epoch = []
        for start in range(0, len(X), BATCH):
            batch = order[start : start + BATCH]
            in_epoch.append(model.train_on_batch(X[batch], y[batch])["loss"])  # forward, backward, update
        losses.append(model.evaluate(*validation)["loss"])
        if epoch < 3 or epoch % 5 == 4:
            print(f"epoch {epoch + 1:3}   training loss {np.mean(in_epoch):.4f}   validation loss {losses[-1]:.4f}")
        if losses[-1] == min(losses):
            best = [array.copy() for array in parameters]
        elif epoch - int(np.argmin(losses)) >= PATIENCE:
            break
    for array, kept in zip(parameters, best, strict=True):
        array[...] = kept
    return losses


def main(picture: str | None = None, *, epochs: int = 100) -> dict[str, float]:
    """Train in both ways; return the test accuracies, and the largest difference of weights without shuffling."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y, validation = X[:3000], y[:3000], (X[3000:], y[3000:])

    model = new_model().build(X.shape[1])
    loss = model.evaluate(*validation)["loss"]
    print(f"random start:     validation loss {loss:.4f} (uniform guessing: {np.log(10):.4f})")
    model.train_on_batch(X[:BATCH], y[:BATCH])
    print(f"after one update: validation loss {model.evaluate(*validation)['loss']:.4f}")
    losses = train_by_hand(model, X, y, validation, epochs)
    print(f"by hand: {len(losses)} epochs, best {min(losses):.4f} after epoch {np.argmin(losses) + 1}")
    same = new_model()
    stop = fastnn.EarlyStopping(patience=PATIENCE)
    history = same.fit(X, y, epochs=epochs, batch_size=BATCH, validation_data=validation, callbacks=stop)
    losses = history["val_loss"]
    print(f"by fit:  {len(losses)} epochs, best {min(losses):.4f} after epoch {np.argmin(losses) + 1} (another order)")
    first, second = new_model(), new_model()
    for start in range(0, len(X), BATCH):
        first.train_on_batch(X[start : start + BATCH], y[start : start + BATCH])
    second.fit(X, y, batch_size=BATCH, shuffle=False)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(first.weights, second.weights, strict=True))
    print(f"an epoch without shuffling, by hand and by fit: the weights differ by {difference}")

    accuracies = {name: m.evaluate(X_test, y_test)["accuracy"] for name, m in (("by hand", model), ("by fit", same))}
    print("test accuracy " + ", ".join(f"{name} {value:.1%}" for name, value in accuracies.items()))
    if picture:
        history.plot(yscale="log").savefig(picture)
    return accuracies | {"difference": difference}


if __name__ == "__main__":
    run_script(main)
