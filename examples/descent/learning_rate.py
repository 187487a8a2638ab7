"""Learning rates: too low, just right, too high
=============================================

`fastnn.Model.lr_find` trains copies of the model at several rates, and recommends the best constant rate and the best
peak of a cycle. A schedule starts with large steps and ends with small ones. The picture is drawn by
`fastnn.plot.learning_rates`: on the left the loss for three rates, on the right the paths of the weights in a plane
through them.

Run it with ``python examples/descent/learning_rate.py [picture.png]``.
"""

from __future__ import annotations

import warnings

import fastnn
from fastnn import schedules
from fastnn.script import run_script

warnings.filterwarnings("ignore", category=fastnn.TrainingWarning)  # a rate that is too high is chosen on purpose

Rate = float | schedules.Schedule


def main(picture: str | None = None, *, rows: int = 1500, epochs: int = 15) -> dict[str, float]:
    """Train with several rates; return the final training losses."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    X, y = X[:rows], y[:rows]

    def new_model(rate: Rate = 0.01) -> fastnn.Model:
        optimizer = fastnn.SGD(rate, momentum=0.9)
        return fastnn.Model([64, 10], loss="softmax_crossentropy", optimizer=optimizer, seed=0)

    found = new_model().lr_find(X, y, epochs=epochs)  # trains a copy
    good, peak = found.learning_rate, found.max_learning_rate
    assert good is not None  # None if no rate lowers the loss
    assert peak is not None
    print(f"lr_find: constant rate {good:.2g}, peak of OneCycle {peak:.2g}")

    rates: dict[str, Rate] = {
        "too low": good / 100,
        "just right": good,
        "too high": good * 20,
        "Step": schedules.Step(2 * good, step_size=epochs / 3, gamma=0.2),
        "Cosine": schedules.Cosine(2 * good, epochs=epochs),
        "OneCycle": schedules.OneCycle(peak, epochs=epochs),
    }
    losses = {}
    for name, rate in rates.items():
        model = new_model(rate)
        try:
            history = model.fit(X, y, epochs=epochs)["loss"]
        except fastnn.DivergenceError:
            print(f"{name:10} diverged")
            losses[name] = float("inf")
            continue
        losses[name] = model.evaluate(X, y)["loss"]
        middle = epochs // 2
        print(
            f"{name:10} loss in epoch 1: {history[0]:7.4f}, in epoch {middle + 1}: {history[middle]:7.4f}, "
            f"at the end: {losses[name]:7.4f}   test accuracy {model.evaluate(X_test, y_test)['accuracy']:.1%}"
        )
    if picture:
        fastnn.plot.learning_rates(new_model(), X, y, epochs=epochs).savefig(picture)
    return losses


if __name__ == "__main__":
    run_script(main)
