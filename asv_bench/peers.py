"""The same training in fastnn and in each peer, each at its best.

A trainer starts from the workload's weights and runs epochs of Adam over rows in given orders; `run` is what
is timed, and returns the mean loss of each epoch, so that the same work can be checked to be done. What a
peer needs to be ready (transfer of data, making permuted copies for a peer that cannot read rows by an
order) happens outside of `run`.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np

from asv_bench.benchmarks.workloads import Workload

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class Trainer(Protocol):
    """What `compare` drives."""

    def prepare(self, orders: list[np.ndarray]) -> None:
        """Get ready for epochs in these orders of rows; not timed."""

    def run(self) -> list[float]:
        """Run them; returns the mean loss of each, when all work is done."""


class Fastnn:
    """fastnn; the order of rows is made inside the timed epoch."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        import fastnn

        hidden = [fastnn.Dense(n, work.activation) for n in work.sizes[1:-1]]
        self.model = fastnn.Model(
            [*hidden, fastnn.Dense(work.sizes[-1])],
            loss=work.loss,
            optimizer=fastnn.Adam(LEARNING_RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON),
            metrics=[],
            seed=0,
            dtype=work.dtype,
            n_threads=n_threads,
        ).build(work.sizes[0])
        for view, start in zip(self.model.weights, work.start(), strict=True):
            view[...] = start
        self.data = work.data()
        self.batch = work.batch

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.epochs = len(orders)

    def run(self) -> list[float]:
        return self.model.fit(*self.data, epochs=self.epochs, batch_size=self.batch, verbose=False)["loss"]


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

        def step(carry: Any, rows: Any) -> Any:
            params, m, v, t = carry
            t = t + 1
            value, g = jax.value_and_grad(loss)(params, rows)
            m = tree_map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
            v = tree_map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)
            a, r = LEARNING_RATE / (1 - BETA_1**t), 1 / jnp.sqrt(1 - BETA_2**t)
            params = tree_map(lambda p, m, v: p - a * m / (jnp.sqrt(v) * r + EPSILON), params, m, v)
            return (params, m, v, t), value

        @partial(jax.jit, donate_argnums=0)
        def epoch(carry: Any, order: Any) -> Any:
            return lax.scan(step, carry, order)

        params = [(jnp.array(w), jnp.zeros(w.shape[1], w.dtype)) for w in work.start()]
        zeros = [(jnp.zeros_like(w), jnp.zeros_like(b)) for w, b in params]
        self.carry = (params, zeros, tree_map(jnp.zeros_like, zeros), jnp.zeros((), work.dtype))
        self.shape = (work.steps, work.batch)
        self.one_epoch = epoch
        self.array = jnp.array
        self.orders: list[Any] = []

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.orders = [self.array(order.reshape(self.shape)).block_until_ready() for order in orders]

    def run(self) -> list[float]:
        losses = []
        for order in self.orders:
            self.carry, values = self.one_epoch(self.carry, order)
            losses.append(values)
        return [float(np.mean(values)) for values in losses]


class Torch:
    """PyTorch, eager, with the fused Adam; `compiled` wraps forward and loss in torch.compile."""

    compiled = False

    def __init__(self, work: Workload, n_threads: int) -> None:
        import torch

        torch.set_num_threads(n_threads)
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
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
        )
        self.shape = (work.steps, work.batch)
        self.orders: list[Any] = []

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.orders = [self.torch.from_numpy(order.reshape(self.shape)) for order in orders]

    def run(self) -> list[float]:
        losses = []
        for order in self.orders:
            total = self.torch.zeros(())
            for rows in order:
                self.optimizer.zero_grad(set_to_none=True)
                value = self.loss(self.X[rows], self.y[rows])
                value.backward()
                self.optimizer.step()
                total += value.detach()
            losses.append(float(total) / len(order))
        return losses


class TorchCompiled(Torch):
    """The same under torch.compile."""

    compiled = True


class ScikitLearn:
    """scikit-learn's MLP by `partial_fit`, over rows that were permuted beforehand."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from threadpoolctl import threadpool_limits

        threadpool_limits(n_threads)
        classes = work.loss == "softmax_crossentropy"
        kind = MLPClassifier if classes else MLPRegressor
        self.X, self.y = work.data()
        if not classes and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        activation = "logistic" if work.activation == "sigmoid" else work.activation
        self.net = kind(
            hidden_layer_sizes=work.sizes[1:-1], activation=activation, alpha=0.0,
            batch_size=work.batch, learning_rate_init=LEARNING_RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON,
            shuffle=False, random_state=0,
        )  # fmt: skip
        # One call on a few rows makes the arrays; then the common start is put in and the optimizer made anew.
        few = np.arange(max(work.sizes[-1], 2)) if classes else self.y[:2]
        start = self.X[np.arange(len(few)) % len(self.X)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.net.partial_fit(start, few, **({"classes": np.arange(work.sizes[-1])} if classes else {}))
        if not classes or work.sizes[-1] > 2:  # two classes have one output there: another net
            for mine, w in zip(self.net.coefs_, work.start(), strict=True):
                mine[...] = w
            for b in self.net.intercepts_:
                b[...] = 0
        del self.net._optimizer
        self.scale = 1.0 if classes else 2.0  # its squared loss has the factor 1/2
        self.rows: list[Any] = []

    def prepare(self, orders: list[np.ndarray]) -> None:
        self.rows = [(np.ascontiguousarray(self.X[order]), self.y[order]) for order in orders]
        if not hasattr(self.net, "_optimizer"):
            self.net.t_ = 0

    def run(self) -> list[float]:
        losses = []
        for X, y in self.rows:
            self.net.partial_fit(X, y)
            losses.append(self.scale * float(self.net.loss_))
        return losses


TRAINERS: dict[str, type[Any]] = {
    "fastnn": Fastnn,
    "JAX (jit, lax.scan)": Jax,
    "PyTorch (eager, fused Adam)": Torch,
    "PyTorch (torch.compile)": TorchCompiled,
    "scikit-learn": ScikitLearn,
}
NEEDS = {
    "fastnn": "fastnn",
    "JAX (jit, lax.scan)": "jax",
    "PyTorch (eager, fused Adam)": "torch",
    "PyTorch (torch.compile)": "torch",
    "scikit-learn": "sklearn",
}
