"""The training process in five steps
===================================

1. Random start: the weights are drawn; the loss is about that of guessing.
2. Forward: the outputs for a batch of rows, and their loss.
3. Backward: the derivative of the loss by each weight.
4. Update: each weight moves against its derivative; then the next batch, until all rows were used (an epoch).
5. Validation: the loss on rows that are not trained on. Once it has not fallen for some epochs, training stops, and the
   weights of the best epoch are restored.

The loop below makes the five steps; `fastnn.Model.fit` makes the same ones, to the last bit. The picture shows the
losses of both parts, the accuracy on the validation rows, and the epoch whose weights are kept.

Run it with ``python examples/training/training_process.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

BATCH = 64
PATIENCE = 5


def new_model() -> fastnn.Model:
    """Make a net with random weights: step 1."""
    layers = [fastnn.Dense(64, "relu"), fastnn.Dense(10)]
    return fastnn.Model(layers, loss="softmax_crossentropy", optimizer=fastnn.Adam(0.003), seed=0).build(64)


def one_epoch(model: fastnn.Model, X: np.ndarray, y: np.ndarray, order: np.ndarray) -> float:
    """Make an update for each batch of rows in the given order: steps 2 to 4; return the mean loss."""
    losses = []
    for start in range(0, len(X), BATCH):
        batch = order[start : start + BATCH]
        loss, dW, db = model.gradient(X[batch], y[batch])  # forward and backward
        model.apply_gradients(dW, db)  # update
        losses.append(loss)
    return float(np.mean(losses))


def train(model: fastnn.Model, X: np.ndarray, y: np.ndarray, validation: tuple, epochs: int) -> dict[str, list[float]]:
    """Train with early stopping; return the losses and accuracies, at the start and after each epoch."""
    rng = np.random.default_rng(0)
    parameters = [*model.weights, *model.biases]  # writable views
    first = model.evaluate(*validation)
    history = {"loss": [model.evaluate(X, y)["loss"]], "val_loss": [first["loss"]], "accuracy": [first["accuracy"]]}
    for epoch in range(1, epochs + 1):
        history["loss"].append(one_epoch(model, X, y, rng.permutation(len(X))))
        found = model.evaluate(*validation)  # step 5
        history["val_loss"].append(found["loss"])
        history["accuracy"].append(found["accuracy"])
        if found["loss"] == min(history["val_loss"]):
            best = [array.copy() for array in parameters]
        elif epoch - int(np.argmin(history["val_loss"])) >= PATIENCE:
            break
    for array, kept in zip(parameters, best, strict=True):
        array[...] = kept
    return history


def main(picture: str | None = None, *, epochs: int = 100) -> dict[str, float]:
    """Train in both ways; return test accuracies, the best epoch, and how far the weights of both ways differ."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y, validation = X[:3000], y[:3000], (X[3000:], y[3000:])
    model = new_model()
    history = train(model, X, y, validation, epochs)
    best = int(np.argmin(history["val_loss"]))
    print(f"random start: validation loss {history['val_loss'][0]:.3f} (guessing: {np.log(10):.3f})")
    print(f"by hand: {len(history['loss']) - 1} epochs, best {min(history['val_loss']):.3f} after epoch {best}")

    same = new_model()
    stop = fastnn.EarlyStopping(patience=PATIENCE)
    by_fit = same.fit(X, y, epochs=epochs, batch_size=BATCH, validation_data=validation, callbacks=stop)["val_loss"]
    print(f"by fit:  {len(by_fit)} epochs, best {min(by_fit):.3f} after epoch {np.argmin(by_fit) + 1} (another order)")
    one, other = new_model(), new_model()
    one_epoch(one, X, y, np.arange(len(X)))
    other.fit(X, y, batch_size=BATCH, shuffle=False)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(one.weights, other.weights, strict=True))
    print(f"an epoch without shuffling, by hand and by fit: the weights differ by {difference}")

    results = {name: m.evaluate(X_test, y_test)["accuracy"] for name, m in (("by hand", model), ("by fit", same))}
    print("test accuracy " + ", ".join(f"{name} {value:.1%}" for name, value in results.items()))
    if picture:
        draw(picture, history, best)
    return results | {"difference": difference, "best": best, "epochs": len(history["loss"]) - 1}


def draw(picture: str, history: dict[str, list[float]], best: int) -> None:
    """Draw the losses and the validation accuracy over the epochs, with the best epoch."""
    from matplotlib.figure import Figure

    with fastnn.plot.style():
        orange, blue, green = fastnn.plot.COLORS[:3]
        figure = Figure(figsize=(10, 4.2))
        losses, accuracies = figure.subplots(1, 2)
        last = len(history["loss"]) - 1
        losses.plot(history["loss"], color=blue)
        losses.plot(history["val_loss"], color=orange)
        losses.plot(best, history["val_loss"][best], "o", color=orange, markersize=9)
        losses.annotate("random start", (0, history["val_loss"][0]), (10, -4), textcoords="offset points")
        losses.set(yscale="log", xlabel="epoch", ylabel="loss", title="The validation loss decides when to stop")
        ends = [(last, history["loss"][-1]), (last, history["val_loss"][-1])]
        fastnn.plot.label_ends(losses, ends, ["training", "validation"], [blue, orange])
        accuracies.plot(np.multiply(history["accuracy"], 100), color=green)
        accuracies.plot(best, 100 * history["accuracy"][best], "o", color=green, markersize=9)
        accuracies.set(xlabel="epoch", ylabel="accuracy on the validation rows (%)", ylim=(0, 103))
        accuracies.set_title(f"Kept: the weights of epoch {best} ({history['accuracy'][best]:.1%})")
        for ax in (losses, accuracies):
            ax.axvline(best, color="0.6", linewidth=1, linestyle="--", zorder=0)
            ax.annotate(f"best epoch: {best}", (best, 0.5), (-6, 0), xycoords=("data", "axes fraction"),
                        textcoords="offset points", ha="right")  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
