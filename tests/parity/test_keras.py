"""Trajectories compared with Keras's in double precision: Lion, and options that PyTorch does not have."""

from __future__ import annotations

import os

import ids
import numpy as np
import pytest
from driver import architecture, engine, problem, train

pytest.importorskip("torch")
before = os.environ.get("KERAS_BACKEND")
os.environ["KERAS_BACKEND"] = "torch"  # read while Keras is imported
try:
    keras = pytest.importorskip("keras")
finally:
    os.environ.pop("KERAS_BACKEND")
    if before is not None:
        os.environ["KERAS_BACKEND"] = before

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own


def train_keras(made, rows, optimizer, *, batch, epochs):
    """Weights and biases after the epochs."""
    sizes = made.architecture.sizes
    layers = [
        keras.layers.Dense(n, "linear" if k == len(sizes) - 2 else "tanh", dtype="float64")
        for k, n in enumerate(sizes[1:])
    ]
    model = keras.Sequential([keras.Input((sizes[0],), dtype="float64"), *layers])
    for layer, w, b in zip(layers, made.weights(), made.biases(), strict=True):
        layer.set_weights([w, b])
    model.compile(optimizer, "mean_squared_error", jit_compile=False)
    for _ in range(epochs):
        for start in range(0, len(rows.x), batch):
            model.train_on_batch(rows.x[start : start + batch], rows.t[start : start + batch])
    kept = [layer.get_weights() for layer in layers]
    return [w for w, _ in kept], [b for _, b in kept]


#: Keras's optimizer, ours, and its learning rate and three numbers. Keras adds epsilon below the root, so it is tiny.
CASES = {
    "lion": (keras.optimizers.Lion, ids.LION, (0.002, 0.9, 0.99), {"beta_1": 0.9, "beta_2": 0.99}),
    "lion, other betas": (keras.optimizers.Lion, ids.LION, (0.002, 0.5, 0.8), {"beta_1": 0.5, "beta_2": 0.8}),
    "sgd": (keras.optimizers.SGD, ids.SGD, (0.05,), {}),
    "momentum": (keras.optimizers.SGD, ids.MOMENTUM, (0.02, 0.9), {"momentum": 0.9}),
    "nesterov": (keras.optimizers.SGD, ids.NESTEROV, (0.02, 0.8), {"momentum": 0.8, "nesterov": True}),
    "rmsprop": (keras.optimizers.RMSprop, ids.RMSPROP, (0.005, 0.9, 1e-25), {"rho": 0.9, "epsilon": 1e-50}),
    "adagrad": (keras.optimizers.Adagrad, ids.ADAGRAD, (0.05, 1e-25),
                {"initial_accumulator_value": 0.0, "epsilon": 1e-50}),
}  # fmt: skip


@pytest.mark.parametrize("limits", [{}, {"clipvalue": 0.3}, {"global_clipnorm": 1.2}], ids=str)
@pytest.mark.parametrize("weight_decay", [None, 0.1])
@pytest.mark.parametrize(("kind", "code", "rates", "settings"), CASES.values(), ids=CASES)
def test_trajectories(kind, code, rates, settings, weight_decay, limits):
    arch = architecture([6, 19, 7, 4], hidden="tanh")
    made, rows = engine(arch), problem(arch, 45)
    start = made.params.copy()
    optimizer = kind(rates[0], weight_decay=weight_decay, **limits, **settings)
    weights, biases = train_keras(made, rows, optimizer, batch=10, epochs=4)
    train(
        made, rows, batch=10, epochs=4, optimizer=code, rates=rates, weight_decay=weight_decay or 0.0,
        clip_value=limits.get("clipvalue", 0.0), clip_norm=limits.get("global_clipnorm", 0.0),
    )  # fmt: skip
    assert made.steps_done == 20
    assert not np.allclose(made.params, start, rtol=1e-3)
    for a, b in zip([*made.weights(), *made.biases()], [*weights, *biases], strict=True):
        # Keras keeps rates and the like in single precision.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
