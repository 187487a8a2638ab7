"""A neuron is logistic regression
===============================

A sigmoid neuron weighs its inputs, adds a bias, z = x W + b, and passes on a = sigmoid(z). That is the formula of
logistic regression, a method of statistics. Trained on the same data with the same penalty, both have the same weights:
scikit-learn minimizes C sum_r E_r + w^2 / 2, a `fastnn.Model` the mean E + R with R = l2 w^2, so l2 = 1 / (2 C n). The
picture compares the ten weights and the probabilities of 569 tumours.

Run it with ``python examples/neuron/neuron_is_logistic_regression.py [picture.png]``. It needs scikit-learn.
"""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.script import run_script

N_FEATURES = 10
C = 1.0


def main(picture: str | None = None, *, iterations: int = 200) -> dict[str, float]:
    """Train both; return the largest differences of weights and of probabilities, and the accuracy."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    data = load_breast_cancer()
    X, t = data.data[:, :N_FEATURES], data.target
    X = (X - X.mean(0)) / X.std(0)
    regression = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(X, t)
    neuron = fastnn.Model(
        [fastnn.Dense(1)],  # the loss holds the sigmoid
        loss="binary_crossentropy", optimizer=fastnn.LBFGS(gtol=1e-9, ftol=1e-15), seed=0,
        regularizer=fastnn.L2(1 / (2 * C * len(X))), dtype="float64",
    )  # fmt: skip
    neuron.fit(X, t, epochs=iterations)

    weights = {"logistic regression": regression.coef_[0], "neuron": neuron.weights[0][:, 0]}
    probabilities = {
        "logistic regression": regression.predict_proba(X)[:, 1], "neuron": neuron.predict_proba(X)[:, 0]
    }  # fmt: skip
    print(f"{'':26}" + "".join(f"{name:>22}" for name in weights))
    for name, *pair in zip([*data.feature_names[:N_FEATURES], "bias"],
                           *(np.append(weights[name], bias) for name, bias in
                             (("logistic regression", regression.intercept_), ("neuron", neuron.biases[0]))),
                           strict=True):  # fmt: skip
        print(f"{name:26}" + "".join(f"{value:22.8f}" for value in pair))
    differences = {
        what: float(np.abs(np.subtract(*both.values())).max())
        for what, both in (("weights", weights), ("probabilities", probabilities))
    }
    print("largest differences: " + ", ".join(f"{what} {value:.0e}" for what, value in differences.items()))
    if picture:
        draw(picture, list(data.feature_names[:N_FEATURES]), weights, probabilities, differences["probabilities"])
    return differences | {"accuracy": neuron.evaluate(X, t)["accuracy"]}


def draw(
    picture: str, names: list[str], weights: dict[str, np.ndarray], probabilities: dict[str, np.ndarray], most: float
) -> None:
    """Draw the weights of both, and the probabilities of one over those of the other."""
    from matplotlib.figure import Figure

    orange, blue = fastnn.plot.COLORS[:2]
    with fastnn.plot.style():
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2, width_ratios=(6, 5))
        order = np.argsort(weights["neuron"])
        left.axvline(0, color="0.8", linewidth=1)
        left.plot(weights["logistic regression"][order], range(len(order)), "o", color=blue, markersize=12,
                  markerfacecolor="none", markeredgewidth=2, label="logistic regression")  # fmt: skip
        left.plot(weights["neuron"][order], range(len(order)), "o", color=orange, markersize=6, label="neuron")
        left.set(title="The same weights", xlabel="weight", xticks=np.arange(-1.5, 0.6, 0.5), yticks=range(len(order)),
                 yticklabels=[names[k] for k in order])  # fmt: skip
        left.legend(loc="lower right", frameon=True)
        right.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        right.annotate(f"they differ by less than {2 * most:.0e}", (0.97, 0.05), ha="right")
        right.plot(*probabilities.values(), "o", color=orange, markersize=4, alpha=0.5)
        right.set(title="The same probabilities", xlabel="by logistic regression",
                  ylabel="by the neuron", aspect="equal")  # fmt: skip
        figure.savefig(picture)


if __name__ == "__main__":
    run_script(main, needs=["sklearn"])
