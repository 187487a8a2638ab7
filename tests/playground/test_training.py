"""Training of the playground against TensorFlow Playground's rules, written as it writes them: link by link."""

import math

import numpy as np
import pytest

from fastnn import Adam, DivergenceError
from fastnn.playground import points as data
from fastnn.playground.settings import defaults
from fastnn.playground.training import Trainer

FUNCTIONS = {
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "relu": (lambda x: max(0.0, x), lambda x: float(x > 0)),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2),
    "linear": (lambda x: x, lambda x: 1.0),
}


class Playground:
    """src/nn.ts, with lists in place of links."""

    def __init__(self, weights, biases, activations, rate, penalty, penalty_rate):
        self.w = [w.astype(float).tolist() for w in weights]
        self.b = [b.astype(float).tolist() for b in biases]
        self.functions = [FUNCTIONS[name] for name in activations]
        self.rate, self.penalty, self.penalty_rate = rate, penalty, penalty_rate
        self.dead = set()
        self.clear()

    def clear(self):
        self.dw = [[[0.0] * len(row) for row in w] for w in self.w]
        self.db = [[0.0] * len(b) for b in self.b]
        self.n = 0

    def forward(self, row):
        outputs, sums = [list(row)], []
        for w, b, (function, _) in zip(self.w, self.b, self.functions, strict=True):
            z = [b[j] + sum(w[i][j] * x for i, x in enumerate(outputs[-1])) for j in range(len(b))]
            sums.append(z)
            outputs.append([function(value) for value in z])
        return outputs, sums

    def back(self, row, target):
        outputs, sums = self.forward(row)
        slopes = [outputs[-1][0] - target]
        for k in range(len(self.w) - 1, -1, -1):
            deltas = [s * self.functions[k][1](z) for s, z in zip(slopes, sums[k], strict=True)]
            for j, delta in enumerate(deltas):
                self.db[k][j] += delta
                for i, x in enumerate(outputs[k]):
                    self.dw[k][i][j] += delta * x
            slopes = [sum(self.w[k][i][j] * d for j, d in enumerate(deltas)) for i in range(len(self.w[k]))]
        self.n += 1

    def update(self):
        for k, w in enumerate(self.w):
            for j in range(len(self.b[k])):
                self.b[k][j] -= self.rate * self.db[k][j] / self.n
            for i, row in enumerate(w):
                for j, value in enumerate(row):
                    if (k, i, j) in self.dead:
                        continue
                    slope = {"none": 0.0, "L1": float(np.sign(value)), "L2": value}[self.penalty]
                    moved = value - self.rate / self.n * self.dw[k][i][j]
                    new = moved - self.rate * self.penalty_rate * slope
                    if self.penalty == "L1" and moved * new < 0:
                        new = 0.0
                        self.dead.add((k, i, j))
                    row[j] = new
        self.clear()

    def epoch(self, X, t, batch):
        for i, (row, target) in enumerate(zip(X.tolist(), t.tolist(), strict=True)):
            self.back(row, target)
            if (i + 1) % batch == 0:
                self.update()


def both(epochs, *, n=40, activations=None, **changes):
    """Train by both, and return the trainer and the other one."""
    settings = defaults() | {"seed": "0.5", "precision": "float64", "percTrainData": 100.0 * n / 500} | changes
    if settings["problem"] == "regression":
        settings["percTrainData"] = 100.0 * n / 1200
    points = data.make(settings)
    assert points.n_train == n
    trainer = Trainer(settings, points, 0)
    names = [*(activations or [settings["activation"]] * len(settings["networkShape"]))]
    names.append("linear" if settings["problem"] == "regression" else "tanh")
    other = Playground(
        trainer.model.weights, trainer.model.biases, names, settings["learningRate"], settings["regularization"],
        settings["regularizationRate"],
    )  # fmt: skip
    for _ in range(epochs):
        other.epoch(trainer.X[:n], points.labels[:n], settings["batchSize"])
    trainer.run(epochs)
    return trainer, other


def assert_same(trainer, other):
    for k, (weights, biases) in enumerate(zip(trainer.model.weights, trainer.model.biases, strict=True)):
        np.testing.assert_allclose(weights, other.w[k], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(biases, other.b[k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_steps_are_those_of_tensorflow_playground(activation):
    trainer, other = both(5, activation=activation)
    assert trainer.epoch == 5
    assert_same(trainer, other)


@pytest.mark.parametrize("batch", [1, 7, 9, 39, 40])
def test_rows_left_at_the_end_of_an_epoch_belong_to_the_next_update(batch):
    assert_same(*both(4, batchSize=batch))


@pytest.mark.parametrize("penalty", ["L1", "L2"])
@pytest.mark.parametrize("batch", [10, 7])
def test_penalties(penalty, batch):
    trainer, other = both(6, regularization=penalty, regularizationRate=0.1, batchSize=batch)
    assert_same(trainer, other)
    if penalty == "L1":
        assert other.dead
        for k, i, j in other.dead:
            assert trainer.model.weights[k][i, j] == 0


def test_regression():
    assert_same(*both(5, problem="regression", regDataset="reg-gauss", activation="relu", networkShape=[3, 3, 2]))


@pytest.mark.parametrize("shape", [[], [1], [2] * 6])
def test_shapes(shape):
    assert_same(*both(3, networkShape=shape))


def test_an_activation_per_layer():
    assert_same(*both(3, networkShape=[3, 2], layerActivations=["relu", ""], activations=["relu", "tanh"]))


def test_all_inputs():
    keys = ("x", "y", "xSquared", "ySquared", "xTimesY", "sinX", "sinY", "cosX", "cosY")
    trainer, other = both(3, learningRate=0.001, **dict.fromkeys(keys, True))
    x, y = data.make(trainer.settings).X.T
    expected = [x, y, x * x, y * y, x * y, np.sin(x), np.sin(y), np.cos(x), np.cos(y)]
    np.testing.assert_allclose(trainer.X, np.column_stack(expected), rtol=1e-14)
    assert_same(trainer, other)


def test_start_weights():
    settings = defaults() | {"networkShape": [40, 40]}
    points = data.make(settings)
    first, again, other = (Trainer(settings, points, k) for k in (0, 0, 1))
    weights = first.model.weights[1]
    assert -0.5 <= weights.min() < -0.45
    assert 0.45 < weights.max() <= 0.5
    assert all((biases == np.float32(0.1)).all() for biases in first.model.biases)
    np.testing.assert_array_equal(weights, again.model.weights[1])
    assert not np.array_equal(weights, other.model.weights[1])
    zero = Trainer(settings | {"initZero": True}, points, 0)
    assert not any(array.any() for array in (*zero.model.weights, *zero.model.biases))


@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({}, lambda u, t: 0.5 * (np.tanh(u) - t) ** 2),
        ({"loss": "crossentropy"}, lambda u, t: np.log1p(np.exp(-t * u))),
        ({"problem": "regression"}, lambda u, t: 0.5 * (u - t) ** 2),
    ],
)
def test_losses(changes, loss):
    settings = defaults() | changes | {"networkShape": [], "precision": "float64"}
    points = data.make(settings)
    trainer = Trainer(settings, points, 0)
    u = trainer.X @ trainer.model.weights[0][:, 0] + trainer.model.biases[0][0]
    expected = loss(u, points.labels)[: points.n_train].mean()
    assert trainer.loss(trainer.model.predict(trainer.X), slice(0, points.n_train)) == pytest.approx(expected)


def test_loss_of_several_classes():
    settings = defaults() | {"dataset": "blobs", "classes": 4, "precision": "float64"}
    points = data.make(settings)
    trainer = Trainer(settings, points, 0)
    n = points.n_train
    expected = trainer.model.evaluate(trainer.X[:n], trainer.targets[:n])["loss"]
    raw = trainer.model.predict(trainer.X)
    assert trainer.loss(raw, slice(0, n)) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(trainer.shown(raw), trainer.model.predict_proba(trainer.X), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam", "lion", "lbfgs", "lm"])
@pytest.mark.parametrize("changes", [{}, {"problem": "regression"}], ids=["classes", "regression"])
def test_optimizers_lower_the_loss(optimizer, changes):
    settings = defaults() | {"optimizer": optimizer, "learningRate": 0.01, "seed": "1"} | changes
    points = data.make(settings)
    trainer = Trainer(settings, points, 0)

    def loss():
        return trainer.loss(trainer.model.predict(trainer.X), slice(0, points.n_train))

    before = loss()
    trainer.run(10)
    assert trainer.epoch >= 1
    assert loss() < before


def test_another_optimizer_takes_over():
    settings = defaults() | {"seed": "1"}
    trainer = Trainer(settings, data.make(settings), 0)
    trainer.run(3)
    kept = [weights.copy() for weights in trainer.model.weights]
    trainer.change(settings | {"optimizer": "adam", "learningRate": 0.001})
    for weights, before in zip(trainer.model.weights, kept, strict=True):
        np.testing.assert_array_equal(weights, before)
    assert trainer.model.optimizer == Adam(0.001)
    trainer.run(2)
    assert trainer.epoch == 5


@pytest.mark.parametrize("schedule", ["step", "exponential", "inverse", "cosine", "onecycle"])
@pytest.mark.parametrize("regularization", ["none", "L1"])
def test_schedules_end_at_a_lower_rate(schedule, regularization):
    settings = defaults() | {
        "schedule": schedule, "scheduleEpochs": 20, "learningRate": 0.1, "regularization": regularization,
        "regularizationRate": 0.001,
    }  # fmt: skip
    trainer = Trainer(settings, data.make(settings), 0)
    rates = [trainer.learning_rate()]
    for _ in range(4):
        trainer.run(5)
        rates.append(trainer.learning_rate())
    assert max(rates) <= 0.1 * (1 + 1e-9)
    assert rates[-1] <= 0.011 or schedule == "step"
    assert rates[-1] < rates[2] <= rates[1]


def test_divergence_keeps_the_last_finite_weights():
    settings = defaults() | {"problem": "regression", "activation": "relu", "learningRate": 1e6}
    trainer = Trainer(settings, data.make(settings), 0)
    with pytest.raises(DivergenceError):
        trainer.run(50)
    assert trainer.epoch < 50
    assert all(np.isfinite(weights).all() for weights in trainer.model.weights)


def test_time_limit_ends_between_epochs():
    settings = defaults() | {"networkShape": [64] * 12}
    trainer = Trainer(settings, data.make(settings), 0)
    trainer.run(100_000, max_seconds=0.05)
    assert 1 <= trainer.epoch < 100_000
    assert trainer.step_time > 0


def test_no_points_to_train_on():
    settings = defaults()
    trainer = Trainer(settings, data.make(settings).cleared(), 0)
    with pytest.raises(ValueError, match="points must have some to train on, got none"):
        trainer.run(1)


def test_history_does_not_grow():
    settings = defaults()
    trainer = Trainer(settings, data.make(settings), 0)
    trainer.run(30)
    assert trainer.model.history.epoch == []
