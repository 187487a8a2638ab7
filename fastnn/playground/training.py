"""Training of the playground: the rules of TensorFlow Playground, in compiled epochs wherever that is possible.

Its rules (src/nn.ts, src/playground.ts): the loss is 1/2 (o - t)^2, weights start as U(-0.5, 0.5), biases at 0.1. All
epochs go through the rows in one order, with an update every `batchSize` rows. The rows that are left at the end of an
epoch belong to the first update of the next one. The penalty is rate w^2 / 2 or rate |w|, of weights alone; under L1 a
weight that the penalty moves across 0 becomes 0 and stays there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import optimizers, schedules
from fastnn._data.prepare import prepare
from fastnn._data.rows import Rows
from fastnn._errors import DivergenceError
from fastnn._training import descent
from fastnn.history import History
from fastnn.layers import Dense, Dropout
from fastnn.model import Model, net_of
from fastnn.optimizers import SGD, Optimizer, Solver, with_learning_rate
from fastnn.playground.points import Points, inputs, seed_of
from fastnn.regularizers import L1, L2, Regularizer

Array = npt.NDArray[Any]


def hidden_layers(settings: Mapping[str, Any]) -> list[tuple[int, str, float]]:
    """Return width, activation and dropout (of the outputs) of each hidden layer."""
    names, rates = settings["layerActivations"], settings["layerDropout"]
    return [
        (
            units,
            (names[k] if k < len(names) else "") or settings["activation"],
            rates[k] if k < len(rates) else settings["dropout"],
        )
        for k, units in enumerate(settings["networkShape"])
    ]


def layers_of(settings: Mapping[str, Any], n_classes: int) -> list[Dense | Dropout]:
    """Return the layers of the net."""
    layers: list[Dense | Dropout] = []
    for units, activation, dropout in hidden_layers(settings):
        layers.append(Dense(units, activation))
        if dropout:
            layers.append(Dropout(dropout))
    squared = loss_of(settings, n_classes) == "squared_error"
    layers.append(Dense(n_classes if n_classes > 2 else 1, "tanh" if n_classes == 2 and squared else "linear"))
    return layers


def loss_of(settings: Mapping[str, Any], n_classes: int) -> str:
    """Return the name of the model's loss."""
    if n_classes > 2:
        return "softmax_crossentropy"
    return "binary_crossentropy" if n_classes == 2 and settings["loss"] == "crossentropy" else "squared_error"


def unit_of(settings: Mapping[str, Any], n_classes: int) -> float:
    """Return the model's rate per rate of the settings.

    The model's squared error is twice the loss of the playground. That halves the rate of steps that are proportional
    to the gradient; the others do not depend on the gradient's size.
    """
    plain = settings["optimizer"] in ("sgd", "momentum", "nesterov")
    return 0.5 if plain and loss_of(settings, n_classes) == "squared_error" else 1.0


def schedule_of(settings: Mapping[str, Any], rate: float) -> Any:
    """Return a rate or a schedule of it."""
    epochs = settings["scheduleEpochs"]
    match settings["schedule"]:
        case "step":
            return schedules.Step(rate, step_size=epochs / 5, gamma=0.5)
        case "exponential":
            return schedules.Exponential(rate, gamma=0.01 ** (1.0 / epochs))
        case "inverse":
            return schedules.InverseScaling(rate, power=0.5, decay_rate=99.0 / epochs)
        case "cosine":
            return schedules.Cosine(rate, epochs=epochs, min_lr=rate / 100.0)
        case "onecycle":
            return schedules.OneCycle(rate, epochs=epochs)
    return rate


def optimizer_of(settings: Mapping[str, Any], n_classes: int) -> Optimizer:
    """Return the optimizer of the settings."""
    optimizer = optimizers.get(settings["optimizer"])
    if isinstance(optimizer, Solver):
        return optimizer
    changes: dict[str, Any] = {}
    if isinstance(optimizer, SGD) and settings["optimizer"] != "sgd":
        changes["momentum"] = settings["momentum"]
    rate = unit_of(settings, n_classes) * settings["learningRate"]
    return replace(optimizer, learning_rate=schedule_of(settings, rate), **changes)


def regularizer_of(settings: Mapping[str, Any], n_classes: int) -> Regularizer | None:
    """Return the regularizer of the settings, for the model's loss."""
    twice = 2.0 if loss_of(settings, n_classes) == "squared_error" else 1.0
    rate = twice * settings["regularizationRate"]
    if settings["regularization"] == "L2":
        return L2(rate / 2.0)
    return L1(rate) if settings["regularization"] == "L1" else None


def draw_weights(model: Model, seed: int, attempt: int, *, zero: bool) -> None:
    """Draw the start weights of a built model."""
    rng = np.random.default_rng([seed, attempt])
    for weights, biases in zip(model.weights, model.biases, strict=True):
        weights[...] = 0.0 if zero else rng.uniform(-0.5, 0.5, weights.shape)
        biases[...] = 0.0 if zero else 0.1


class Trainer:
    """A net in training on points.

    Parameters
    ----------
    settings : mapping of str to object
    points : Points
    attempt : int
        Number of the start: each has other weights.

    Attributes
    ----------
    model : Model
    epoch : int
        Finished epochs.
    step_time : float or None
        Seconds per update in the last call of `run`.

    Raises
    ------
    TypeError, ValueError
        If settings contradict each other.
    """

    def __init__(self, settings: Mapping[str, Any], points: Points, attempt: int) -> None:
        self.n_classes = points.n_classes
        seed = seed_of(settings["seed"])
        self.model = Model(
            layers_of(settings, self.n_classes),
            loss=loss_of(settings, self.n_classes),
            optimizer=optimizer_of(settings, self.n_classes),
            regularizer=regularizer_of(settings, self.n_classes),
            seed=seed,
            dtype=settings["precision"],
            n_threads=None if max(settings["networkShape"], default=0) > 16 else 1,
        )
        self.settings = settings
        self.epoch = 0
        self.step_time: float | None = None
        self.model.build(len(inputs(np.zeros((1, 2)), settings)[0]))
        draw_weights(self.model, seed, attempt, zero=settings["initZero"])
        self._dead = [np.zeros(weights.shape, bool) for weights in self.model.weights]
        self.set_points(points)

    def set_points(self, points: Points) -> None:
        """Train on other points from now on; their classes are as before."""
        self.X = inputs(points.X, self.settings)
        self.labels = points.labels
        self.targets = self._targets(points)
        self.n_train = n = points.n_train
        self.batch = max(1, min(self.settings["batchSize"], n))
        self._left = False  # whether the rows left of the last epoch belong to the next update
        self._first = self._later = None
        self._prepared: list[Rows] = []
        rest = n % self.batch
        if rest and not self.full_batch and not self._stepwise:
            self._first, self._later = self._padded(rest)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Take other settings, of those that do not begin anew.

        Raises
        ------
        TypeError, ValueError
            If they contradict each other; nothing has changed then.
        """
        if any(settings[key] != self.settings[key]
               for key in ("optimizer", "momentum", "learningRate", "schedule", "scheduleEpochs")):  # fmt: skip
            self.model.optimizer = optimizer_of(settings, self.n_classes)
        self.settings = settings

    @property
    def full_batch(self) -> bool:
        """Whether the optimizer is a solver, for which an epoch is an iteration."""
        return isinstance(self.model.optimizer, Solver)

    @property
    def _stepwise(self) -> bool:
        return self.settings["regularization"] == "L1" and self.settings["regularizationRate"] > 0.0

    def _targets(self, points: Points) -> Array:
        dtype = self.model.dtype
        if self.n_classes > 2:
            return points.classes()
        if self.model.loss.name == "binary_crossentropy":
            return points.classes().astype(dtype)[:, None]
        return points.labels.astype(dtype)[:, None]

    def _padded(self, rest: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return rows, targets and weights of the first epoch and of later ones, batches of batch + rest rows each.

        The rows that are left of an epoch are evaluated with the same weights as the first batch of the next one, so
        both are one batch. The others are filled up to that size with rows of the weight 0.
        """
        n, batch = self.n_train, self.batch
        own = np.arange(n - rest).reshape(-1, batch)
        left = np.broadcast_to(np.arange(n - rest, n), (len(own), rest))
        order = np.concatenate([left, own], axis=1).ravel()
        weights = np.ones((len(own), rest + batch), self.model.dtype)
        weights[:, :rest] = 0.0
        first = weights.ravel()
        later = first.copy()
        later[:rest] = 1.0
        rows = self.X[order], self.targets[order]
        return (*rows, first), (*rows, later)

    def learning_rate(self) -> float | None:
        """Return the rate of the next epoch in the terms of the settings; None for a solver."""
        if self.full_batch:
            return None
        rate = schedule_of(self.settings, self.settings["learningRate"])
        return float(rate(self.epoch) if callable(rate) else rate)

    def run(self, epochs: int, *, max_seconds: float | None = None) -> str | None:
        """Train.

        Parameters
        ----------
        epochs : int
            At least 1.
        max_seconds : float or None
            No further epoch begins after this time.

        Returns
        -------
        str or None
            Why training ended by itself: a solver converged, for instance.

        Raises
        ------
        ValueError
            If there is nothing to train on, or the optimizer cannot train this net.
        DivergenceError
            If the loss or a weight is no longer finite; the last finite weights remain.
        """
        if self.n_train == 0:
            raise ValueError("points must have some to train on, got none. Click into the picture to add some.")
        before = self.epoch
        start = time.perf_counter()
        if self._stepwise and not self.full_batch:
            seconds = self._run_steps(epochs, max_seconds)
            stopped = None
        else:
            stopped, seconds = self._run_epochs(epochs, max_seconds, start)
        done = self.epoch - before
        if done:
            steps = done * max(1, self.n_train // self.batch) if not self.full_batch else done
            self.step_time = seconds / steps
        return stopped

    def _run_epochs(self, epochs: int, max_seconds: float | None, start: float) -> tuple[str | None, float]:
        """Run compiled epochs; return why they ended, and the seconds that they took."""
        seconds, stopped = 0.0, None
        while epochs > 0 and stopped is None:
            X, y, weight, now = self.X[: self.n_train], self.targets[: self.n_train], None, epochs
            batch: int | None = self.batch
            if self.full_batch:
                batch = None
            elif self._first is not None and self._later is not None:
                X, y, weight = self._later if self._left else self._first
                batch = self.batch + self.n_train % self.batch
                now = epochs if self._left else 1
            left = None if max_seconds is None else max(1e-9, max_seconds - (time.perf_counter() - start))
            try:
                record = self.model.fit(
                    X, y, epochs=now, batch_size=batch, sample_weight=weight, shuffle=False, max_seconds=left,
                    verbose=False,
                )  # fmt: skip
            except DivergenceError as error:
                self.epoch += len(error.history.epoch)
                raise
            finally:
                self.model.history = History()  # hours of play are millions of epochs
            done = len(record.epoch)
            self.epoch += done
            self._left = True
            epochs -= now
            seconds += sum(record.history.get("seconds", [0.0]))
            if record.stopped == "max_seconds":
                break
            stopped = record.stopped
        return stopped, seconds

    def _run_steps(self, epochs: int, max_seconds: float | None) -> float:
        """Run epochs update by update, as the penalty L1 of TensorFlow Playground changes weights after each."""
        start = time.perf_counter()
        model, settings, net = self.model, self.settings, net_of(self.model)
        penalty, fixed = settings["regularizationRate"], optimizer_of(settings, self.n_classes)
        model.regularizer = None
        weights = list(model.weights)

        def train() -> None:
            with net.team(0) as team:
                for _ in range(epochs):
                    rate = self.learning_rate() or 0.0
                    if settings["schedule"] != "constant":
                        model.optimizer = with_learning_rate(fixed, rate * unit_of(settings, self.n_classes))
                    for rows in self._batches():
                        before = [np.sign(w) for w in weights]
                        descent.train_on_batch(net, rows, team)
                        self._shrink(weights, before, rate * penalty)
                    self.epoch += 1
                    self._left = True
                    if max_seconds is not None and time.perf_counter() - start > max_seconds:
                        break

        # Model.train_on_batch would prepare the rows of each step anew, which takes longer than the step.
        net.in_training("run", train)
        return time.perf_counter() - start

    def _batches(self) -> list[Rows]:
        """Return the rows of each update of the next epoch."""
        n, batch, form = self.n_train, self.batch, net_of(self.model).form
        rest = n % batch
        if not self._prepared:
            places = list(np.arange(n - rest).reshape(-1, batch))
            first = np.concatenate([np.arange(n - rest, n), places[0]])
            self._prepared = [prepare(self.X[k], self.targets[k], form) for k in (first, *places)]
        with_rest, own, *others = self._prepared
        return [with_rest if rest and self._left else own, *others]

    def _shrink(self, weights: list[Array], signs: list[Array], amount: float) -> None:
        """Move weights by the penalty L1; those that cross 0 stay there."""
        for w, sign, dead in zip(weights, signs, self._dead, strict=True):
            moved = w - w.dtype.type(amount) * sign
            dead |= w * moved < 0.0
            moved[dead] = 0.0
            w[...] = moved

    def outputs(self, rows: Array) -> Array:
        """Return the outputs of some inputs as pictures have them: -1 to 1 of two classes, else probabilities."""
        return self.shown(self.model.predict(rows))

    def shown(self, outputs: Array) -> Array:
        """Return outputs of the model as pictures have them."""
        if self.n_classes > 2:
            powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.model.loss.name == "binary_crossentropy":
            return np.tanh(outputs / 2.0)  # 2 p - 1
        return outputs

    def loss(self, outputs: Array, part: slice) -> float:
        """Return the mean loss of some points, without penalty, from outputs of the model; NaN of none."""
        u, t = outputs[part].astype(np.float64), self.targets[part]
        if not len(u):
            return float("nan")
        if self.n_classes > 2:
            top = u.max(axis=1)
            values = top + np.log(np.exp(u - top[:, None]).sum(axis=1)) - u[np.arange(len(u)), t]
        elif self.model.loss.name == "binary_crossentropy":
            values = np.logaddexp(0.0, u) - t * u
        else:
            values = 0.5 * np.square(u - t)
        return float(values.mean())
