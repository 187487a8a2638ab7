"""Load all kernels of a dtype, so that later calls and processes compile nothing."""

from __future__ import annotations

import numpy as np

from fastnn._engine import system_info
from fastnn._engine.kernel_loading import load_kernels
from fastnn._engine.thread_team import region_cost
from fastnn.layers import Dense
from fastnn.model import Model
from fastnn.population import Population


def load_all_kernels(dtype: str) -> None:
    """Compile or load every kernel of a dtype, and those that both dtypes share.

    Parameters
    ----------
    dtype : str
        float32 or float64.
    """
    load_kernels(np.dtype(dtype))
    system_info.fma_peak(dtype, 1)
    system_info.read_bandwidth(1, 1)
    system_info.words_peak(1)
    region_cost(2, 1)
    Model([1], loss="squared_error", optimizer="lm").fit(np.ones((2, 1)), np.ones(2), verbose=False)
    Population([1], 2, loss="squared_error", dtype=dtype).fit(np.ones((2, 1)), np.ones(2), epochs=1, verbose=False)
    _load_kernels_of_functions(dtype)


def _load_kernels_of_functions(dtype: str) -> None:
    """Compile or load what a net as a function requires: derivatives, steps by a loss from outside, compiled nets."""
    model = Model([Dense(1, "tanh"), 1], loss="squared_error", dtype=dtype, seed=0).build(1)
    X = np.ones((2, 1))
    model.vjp(X, X, params=True)
    model.jacobian(X)
    model.input_gradient(X, X)
    model.hvp(X, X)
    model.train_on_output(X, lambda y: (0.0, np.zeros_like(y)))
    model.train_on_output(X, lambda y, dy, d2y: (0.0, np.zeros_like(y), dy, d2y), directions=X[:1])
    model.apply_gradients([np.zeros_like(w) for w in model.weights], [np.zeros_like(b) for b in model.biases])
    for kind in ("quad", "generic_filter", "generic_filter1d", "geometric_transform"):
        model.low_level_callable(kind)
