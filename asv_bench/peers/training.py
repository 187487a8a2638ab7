"""The same training in fastnn and in each peer, each in its fastest way.

A trainer starts from the workload's weights and runs epochs over rows in given orders; `run` is timed and returns the
mean loss of the epochs after all work is done. `prepare` transfers data, and makes permuted copies for a peer that
cannot read rows by an order.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from asv_bench.benchmarks.workloads import Workload

BETA_1, BETA_2, EPSILON, MOMENTUM, RHO = 0.9, 0.999, 1e-8, 0.9, 0.9
RATES = {"adam": 1e-3, "sgd": 1e-2, "momentum": 1e-2, "rmsprop": 1e-3, "adagrad": 1e-2}


class Trainer(Protocol):
    """Interface of a peer for `worker`."""

    def prepare(self, orders: list[np.ndarray]) -> None:
        """Prepare epochs in these orders of rows; not timed."""

    def run(self) -> float:
        """Run the epochs and return the mean loss."""


class Fastnn:
    """fastnn; the order of rows is made inside the timed epoch."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        import fastnn

        rate = RATES[work.optimizer]
        optimizer = {
            "adam": lambda: fastnn.Adam(rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON),
            "sgd": lambda: fastnn.SGD(rate),
            "momentum": lambda: fastnn.SGD(rate, momentum=MOMENTUM),
            "rmsprop": lambda: fastnn.RMSProp(rate, rho=RHO, epsilon=EPSILON),
            "adagrad": lambda: fastnn.AdaGrad(rate, epsilon=EPSILON),
        }[work.optimizer]()
        hidden = [fastnn.Dense(n, work.activation) for n in work.sizes[1:-1]]
        self.model = fastnn.Model(
            [*hidden, fastnn.Dense(work.sizes[-1])], loss=work.loss, optimizer=optimizer, metrics=[], seed=0,
            dtype=work.dtype, n_threads=n_threads,
        ).build(work.sizes[0])  # fmt: skip
        for view, start in zip(self.model.weights, work.start(), strict=True):
            view[...] = start
        self.data = work.data()
        self.batch = work.batch

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.epochs = len(orders)

    def run(self) -> float:
        history = self.model.fit(*self.data, epochs=self.epochs, batch_size=self.batch, verbose=False)
        return float(np.mean(history["loss"]))


class FastnnFloat32(Fastnn):
    """The same in float32 where the workload is of mixed precision."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        super().__init__(replace(work, dtype="float32"), n_threads)


class Jax:
    """jit over `lax.scan` over the steps of the epoch, buffers donated."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        from functools import partial

        import jax
        import jax.numpy as jnp
        from jax import lax

        if work.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        X, y = (jnp.array(a) for a in work.data())
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[work.activation]
        rate = RATES[work.optimizer]
        tree_map = jax.tree_util.tree_map

        def loss(params: Any, rows: Any) -> Any:
            a = X[rows]
            for k, (w, b) in enumerate(params):
                a = a @ w + b
                if k < len(params) - 1:
                    a = activation(a)
            if work.loss == "softmax_crossentropy":
                return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(a), y[rows][:, None], 1))
            return jnp.mean((a - y[rows]) ** 2)

        def update(params: Any, slots: Any, g: Any, t: Any) -> Any:
            if work.optimizer == "sgd":
                return tree_map(lambda p, g: p - rate * g, params, g), slots
            if work.optimizer == "momentum":
                v = tree_map(lambda v, g: MOMENTUM * v + g, slots[0], g)
                return tree_map(lambda p, v: p - rate * v, params, v), (v,)
            if work.optimizer in ("rmsprop", "adagrad"):
                old, new = (RHO, 1 - RHO) if work.optimizer == "rmsprop" else (1, 1)
                v = tree_map(lambda v, g: old * v + new * g * g, slots[0], g)
                return tree_map(lambda p, v, g: p - rate * g / (jnp.sqrt(v) + EPSILON), params, v, g), (v,)
            m = tree_map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, slots[0], g)
            v = tree_map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, slots[1], g)
            a, r = rate / (1 - BETA_1**t), 1 / jnp.sqrt(1 - BETA_2**t)
            return tree_map(lambda p, m, v: p - a * m / (jnp.sqrt(v) * r + EPSILON), params, m, v), (m, v)

        def step(carry: Any, rows: Any) -> Any:
            params, slots, t = carry
            t = t + 1
            value, g = jax.value_and_grad(loss)(params, rows)
            return (*update(params, slots, g, t), t), value

        @partial(jax.jit, donate_argnums=0)
        def epoch(carry: Any, order: Any) -> Any:
            return lax.scan(step, carry, order)

        params = [(jnp.array(w), jnp.zeros(w.shape[1], w.dtype)) for w in work.start()]
        n_slots = {"sgd": 0, "adam": 2}.get(work.optimizer, 1)
        slots = tuple(tree_map(jnp.zeros_like, params) for _ in range(n_slots))
        self.carry = (params, slots, jnp.zeros((), work.dtype))
        self.shape = (work.steps, work.batch)
        self.one_epoch = epoch
        self.array = jnp.array

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.orders = [self.array(order.reshape(self.shape)).block_until_ready() for order in orders]

    def run(self) -> float:
        losses = []
        for order in self.orders:
            self.carry, values = self.one_epoch(self.carry, order)
            losses.append(values)
        return float(np.mean([np.mean(values) for values in losses]))


class Torch:
    """PyTorch, eager, with fused optimizers if available; `compiled` wraps forward and loss in torch.compile."""

    compiled = False

    def __init__(self, work: Workload, n_threads: int) -> None:
        import torch

        torch.set_num_threads(n_threads)
        torch.set_flush_denormal(True)  # as the others do: means of gradients that are 0 become subnormal, and slow
        self.torch = torch
        X, y = work.data()
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        kinds = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}
        parts: list[Any] = []
        for k, w in enumerate(work.start()):
            layer = torch.nn.Linear(*w.shape, dtype=self.X.dtype)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.zero_()
            parts += [layer, kinds[work.activation]()] if k < len(work.sizes) - 2 else [layer]
        self.net = torch.nn.Sequential(*parts)
        classes = work.loss == "softmax_crossentropy"
        function = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss

        def loss(x: Any, t: Any) -> Any:
            return function(self.net(x), t)

        self.loss = torch.compile(loss) if self.compiled else loss
        optim, rate = torch.optim, RATES[work.optimizer]
        self.optimizer = {
            "adam": lambda p: optim.Adam(p, lr=rate, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True),
            "sgd": lambda p: optim.SGD(p, lr=rate, fused=True),
            "momentum": lambda p: optim.SGD(p, lr=rate, momentum=MOMENTUM, fused=True),
            "rmsprop": lambda p: optim.RMSprop(p, lr=rate, alpha=RHO, eps=EPSILON),
            "adagrad": lambda p: optim.Adagrad(p, lr=rate, eps=EPSILON, fused=True),
        }[work.optimizer](self.net.parameters())
        self.shape = (work.steps, work.batch)

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.orders = [self.torch.from_numpy(order.reshape(self.shape)) for order in orders]

    def run(self) -> float:
        total, steps = self.torch.zeros((), dtype=self.X.dtype), 0
        for order in self.orders:
            for rows in order:
                self.optimizer.zero_grad(set_to_none=True)
                value = self.loss(self.X[rows], self.y[rows])
                value.backward()
                self.optimizer.step()
                total += value.detach()
            steps += len(order)
        return float(total) / steps


class TorchCompiled(Torch):
    """The same under torch.compile."""

    compiled = True


class TorchAutocast(Torch):
    """The same with forward and loss, and so their derivatives, under `torch.autocast` to bfloat16."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        super().__init__(work, n_threads)
        plain = self.loss

        def loss(x: Any, t: Any) -> Any:
            with self.torch.autocast("cpu", dtype=self.torch.bfloat16):
                return plain(x, t)

        self.loss = loss


class Keras:
    """Keras 3 on JAX: `fit`, compiled, over rows that were permuted beforehand.

    Several epochs are one epoch over as many copies here, so that the overhead of `fit` per epoch occurs once.
    """

    def __init__(self, work: Workload, n_threads: int) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        if work.dtype == "float64":
            os.environ["JAX_ENABLE_X64"] = "1"
        import keras

        keras.config.set_floatx(work.dtype)
        rate, optim = RATES[work.optimizer], keras.optimizers
        optimizer = {
            "adam": lambda: optim.Adam(rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON),
            "sgd": lambda: optim.SGD(rate),
            "momentum": lambda: optim.SGD(rate, momentum=MOMENTUM),
            "rmsprop": lambda: optim.RMSprop(rate, rho=RHO, epsilon=EPSILON),
            "adagrad": lambda: optim.Adagrad(rate, initial_accumulator_value=0.0, epsilon=EPSILON),
        }[work.optimizer]()
        dense = keras.layers.Dense
        hidden = [dense(n, activation=work.activation) for n in work.sizes[1:-1]]
        self.net = keras.Sequential([keras.Input((work.sizes[0],)), *hidden, dense(work.sizes[-1])])
        classes = work.loss == "softmax_crossentropy"
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if classes else "mean_squared_error"
        # More steps per execution avoid the overhead of `fit` per step, which dominates for small nets.
        self.net.compile(optimizer=optimizer, loss=loss, jit_compile=True, steps_per_execution=32)
        self.net.set_weights([a for w in work.start() for a in (w, np.zeros(w.shape[1], w.dtype))])
        self.data = work.data()
        self.batch = work.batch

    def prepare(self, orders: list[np.ndarray]) -> None:
        rows = np.concatenate(orders)
        self.X, self.y = (a[rows] for a in self.data)

    def run(self) -> float:
        history = self.net.fit(self.X, self.y, batch_size=self.batch, shuffle=False, verbose=0)
        return float(history.history["loss"][0])


class ScikitLearn:
    """scikit-learn's MLP by `partial_fit`, over rows that were permuted beforehand."""

    note = ""

    def __init__(self, work: Workload, n_threads: int) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        solver = {"adam": "adam", "sgd": "sgd", "momentum": "sgd"}.get(work.optimizer)
        if solver is None:
            raise ValueError(f"has no {work.optimizer}")
        classes = work.loss == "softmax_crossentropy"
        kind = MLPClassifier if classes else MLPRegressor
        # Its squared loss has the factor 1/2, and its gradient is summed over outputs; Adam is invariant to that.
        rate = RATES[work.optimizer] * (1 if classes or solver == "adam" else 2 / work.sizes[-1])
        self.X, self.y = work.data()
        if not classes and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        self.net = kind(
            hidden_layer_sizes=work.sizes[1:-1], alpha=0.0, batch_size=work.batch, shuffle=False, random_state=0,
            activation="logistic" if work.activation == "sigmoid" else work.activation,
            solver=solver, learning_rate_init=rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON,
            momentum=MOMENTUM if work.optimizer == "momentum" else 0.0, nesterovs_momentum=False,
        )  # fmt: skip
        # One call on a few rows allocates the arrays; then the start weights are set and the optimizer is reset.
        few = np.arange(max(work.sizes[-1], 2)) if classes else self.y[:2]
        start = self.X[np.arange(len(few)) % len(self.X)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.net.partial_fit(start, few, **({"classes": np.arange(work.sizes[-1])} if classes else {}))
        if classes and work.sizes[-1] == 2:
            self.note = "another net: two classes are one output there, so losses cannot be compared"
        else:
            for mine, w in zip(self.net.coefs_, work.start(), strict=True):
                mine[...] = w
            for b in self.net.intercepts_:
                b[...] = 0
        del self.net._optimizer
        self.net.t_ = 0
        self.scale = 1.0 if classes else 2.0  # its squared loss has the factor 1/2

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.rows = [(np.ascontiguousarray(self.X[order]), self.y[order]) for order in orders]

    def run(self) -> float:
        losses = []
        for X, y in self.rows:
            self.net.partial_fit(X, y)
            losses.append(self.scale * float(self.net.loss_))
        return float(np.mean(losses))
