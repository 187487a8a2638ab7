"""What the net looks at
=====================

Attributions state how much each pixel contributes to the logit of a digit: by the derivative (saliency), by pixel times
derivative, by the integral of the derivative between an empty picture and the digit (integrated gradients, whose sum is
exactly the change of the logit), and by the mean derivative over noise (SmoothGrad). The test of an attribution is to
delete the pixels that it names first: the better it is, the faster the logit falls.

Run it with ``python examples/practice/explanations.py [picture.png]``.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn import explain
from fastnn.script import run_script

DELETED = 12


def main(picture: str | None = None, *, epochs: int = 40, rows: int = 300) -> dict[str, float]:
    """Train a net, explain its answers; return the mean fall of the logit by deleted pixels, for each attribution."""
    X, y, X_test, _ = fastnn.datasets.load_digits()
    model = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    model.fit(X, y, epochs=epochs)
    X_test = X_test[:rows]
    answers = model.predict_classes(X_test)
    attributions = {
        "saliency": explain.saliency(model, X_test),
        "SmoothGrad times input": X_test * explain.smooth_grad(model, X_test, stdevs=0.15),
        "input times gradient": explain.input_x_gradient(model, X_test),
        "integrated gradients": explain.integrated_gradients(model, X_test),
    }
    parts, error = explain.integrated_gradients(model, X_test, return_convergence_delta=True)
    print(f"logits above those of an empty picture: {parts.sum(axis=1).mean():.2f}")
    print(f"largest error of the sum of the integrated gradients: {np.abs(error).max():.4f}")

    def fall(order: np.ndarray) -> float:
        """Return the mean fall of the logit when the first pixels of each row's order are deleted."""
        less = X_test.copy()
        np.put_along_axis(less, order[:, :DELETED], 0.0, axis=1)
        before, after = (model.predict(pixels)[np.arange(len(X_test)), answers] for pixels in (X_test, less))
        return float((before - after).mean())

    falls = {"at random": fall(np.random.default_rng(0).permuted(np.tile(np.arange(64), (len(X_test), 1)), axis=1))}
    falls |= {name: fall(np.argsort(-values, axis=1)) for name, values in attributions.items()}
    print(f"fall of the logit by {DELETED} deleted pixels, of 64")
    for name, value in falls.items():
        print(f"  {name:24}{value:7.2f}")
    if picture:
        draw(picture, model, X_test, answers, attributions)
    return falls


def draw(
    picture: str, model: fastnn.Model, X: np.ndarray, answers: np.ndarray, attributions: dict[str, np.ndarray]
) -> None:
    """Draw some digits with the attributions of each, and what speaks for and against another answer."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    chosen = [int(np.flatnonzero(answers == digit)[0]) for digit in (0, 3, 7)]
    second = np.argsort(model.predict(X[chosen]), axis=1)[:, -2]
    other = explain.integrated_gradients(model, X[chosen], target=second)
    with fastnn.plot.style():
        signed = LinearSegmentedColormap.from_list("signed", [fastnn.plot.COLORS[0], "white", fastnn.plot.COLORS[1]])
        figure = Figure(figsize=(10, 5))
        panels = figure.subplots(len(chosen), 2 + len(attributions))
        for axes, row, rival, parts in zip(panels, chosen, second, other, strict=True):
            axes[0].imshow(X[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            axes[0].set_ylabel(f"read as {answers[row]}", fontsize=11)
            for ax, values in zip(axes[1:], (*(v[row] for v in attributions.values()), parts), strict=True):
                most = np.abs(values).max()
                ax.imshow(values.reshape(8, 8), cmap=signed, vmin=-most, vmax=most)
                ax.contour(X[row].reshape(8, 8), levels=[0.5], colors="0.3", linewidths=0.7)
            axes[-1].set_ylabel(f"for a {rival}", fontsize=11)
        for ax, name in zip(panels[0], ("the digit", *attributions, "integrated gradients, rival"), strict=True):
            ax.set_title(name.replace(" gradients", "\ngradients").replace(" times", "\ntimes", 1), fontsize=10)
        for ax in figure.axes:
            ax.set(xticks=[], yticks=[])
        figure.suptitle("Blue pixels raise the logit, orange ones lower it", x=0.01, ha="left")
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main)
