"""Construction and calls of an Engine for the tests and the processes that they start.

Nothing here has state.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import ids
import naive
import numpy as np

import fastnn.kernels
from fastnn import optimizers
from fastnn._data.rows import as_data, shuffled
from fastnn._engine.architecture import Architecture
from fastnn._engine.autotune import SliceTuner
from fastnn._engine.engine import Engine, RunOptions, StepOptions, Sums
from fastnn._engine.limits import InferenceLimits, WorkspaceLimits
from fastnn._engine.thread_team import ThreadTeam
from fastnn.kernels.lang.compiler import kernel
from fastnn.kernels.lang.simd import at
from fastnn.kernels.nn import rules, stochastic

_LEARNING_RATES = {
    "sgd": 0.05, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.05, "rmsprop": 0.005, "lion": 0.001
}  # fmt: skip
_HYPER = {"nesterov": (0.8,), "amsgrad": (0.9, 0.99, 1e-8)}
#: Learning rate and hyperparameters that the tests use for each optimizer; some differ from the defaults.
RATES = {
    rule.code: (_LEARNING_RATES.get(rule.name, 0.01), *_HYPER.get(rule.name, optimizers.get(rule.name).hyper))
    for rule in rules.OPTIMIZERS
}
OPTIMIZERS = {rule.name: rule.code for rule in rules.OPTIMIZERS}
N_SLOTS = {rule.code: len(rule.slots) for rule in rules.OPTIMIZERS}
#: Code and number of each activation, by name; numbers other than the defaults show more.
ACTIVATIONS = {
    rule.name: (rule.code, {"leaky_relu": 0.1, "elu": 0.7}.get(rule.name, rule.alpha or 0.0))
    for rule in rules.ACTIVATIONS
}
LOSSES = {rule.name: rule.code for rule in rules.LOSSES}
LOSS_PARAMETERS = {ids.HUBER: 0.7, ids.QUANTILE: 0.3}
#: Those that any number of outputs can have.
LOSSES_OF_ANY_WIDTH = {
    rule.name: rule.code
    for rule in rules.LOSSES
    if rule.outputs_per_target is None or "quantiles" in rule.settings
}


class FixedPace(SliceTuner):
    """Tuner with a fixed number of threads and of steps per slice, independent of the clock."""

    def __init__(self, n_threads: int, steps: int = 1 << 40) -> None:
        super().__init__(n_threads)
        self._fixed = n_threads, steps

    def next(self) -> tuple[int, int]:
        """Threads and steps of the next slice."""
        return self._fixed

    def learn(self, n_threads: int, steps: int, seconds: float) -> None:
        """Learn nothing."""


def architecture(
    sizes,
    *,
    hidden="relu",
    output="identity",
    loss="squared_error",
    fused_output=False,
    penalty=(0.0, 0.0),
    use_bias=True,
    dtype=np.float64,
) -> Architecture:
    """Net of the given widths; `penalty` and `use_bias` hold for every layer."""
    n_layers = len(sizes) - 1
    return Architecture(
        sizes=tuple(sizes),
        activations=(ACTIVATIONS[hidden],) * (n_layers - 1) + (ACTIVATIONS[output],),
        use_bias=(use_bias,) * n_layers,
        penalties=(tuple(penalty),) * n_layers,
        loss=LOSSES[loss],
        fused_output=fused_output,
        dtype=np.dtype(dtype),
        loss_parameters=(LOSS_PARAMETERS.get(LOSSES[loss], 0.0),),
    )


#: Limits that let small batches be taken in chunks, or in shards.
SMALL_CHUNKS = WorkspaceLimits(min_chunk=24, chunk_bytes=1)
SMALL_SHARDS = WorkspaceLimits(min_shard_rows=16)
LIMITS_OF = {"chunks": SMALL_CHUNKS, "shards": SMALL_SHARDS}
#: Every prediction waits for all workers.
ALL_HELP = InferenceLimits(
    work_for_a_worker=0, work_for_threads=0, work_to_wait_for=0, wait_for_workers=2.0
)


def engine(arch, *, n_slots=3, n_threads=1, seed=0, averaged=False, **limits) -> Engine:
    """Engine with random weights (and biases where the net has such); `limits` as Engine takes them."""
    made = Engine(arch, n_slots, n_threads, averaged=averaged, **limits)
    rng = np.random.default_rng(seed)
    for w, b, used in zip(made.weights(), made.biases(), arch.use_bias, strict=True):
        w[:] = rng.standard_normal(w.shape) * (1.5 / w.shape[0]) ** 0.5
        b[:] = 0.3 * rng.standard_normal(b.shape) if used else 0.0
    return made


def net_of(made: Engine) -> naive.Net:
    """The same net for the oracle, with weights of its own."""
    arch = made.architecture
    return naive.Net(
        [w.copy() for w in made.weights()],
        [b.copy() for b in made.biases()],
        list(arch.activations),
        list(arch.use_bias),
        list(arch.penalties),
        arch.loss,
        arch.fused_output,
        np.array(arch.loss_parameters, arch.dtype),
    )


@dataclass
class Problem:
    """Rows to learn from: `t` is always (n, O); the kernels get `labels` where there are some."""

    x: np.ndarray
    t: np.ndarray
    labels: np.ndarray
    sample_weight: np.ndarray

    @property
    def weight_or_ones(self) -> np.ndarray:
        """Sample weights, ones where there are none."""
        return self.sample_weight if self.sample_weight.size else np.ones(len(self.x), self.x.dtype)

    def data(self, order=None):
        """What the kernels read."""
        targets = self.t if not self.labels.size else np.empty((0, self.t.shape[1]), self.t.dtype)
        return as_data(self.x, targets, self.labels, self.sample_weight, order)

    def oracle(self):
        """Features, targets and sample weights for `naive`."""
        return self.x, self.t, self.weight_or_ones


def problem(arch, n, *, seed=0, labels=None, weighted=False) -> Problem:
    """Random rows that suit the loss; `labels` (the default for the softmax cross-entropy) makes them integers."""
    rng = np.random.default_rng([seed, 1])
    n_in, n_out = arch.sizes[0], arch.sizes[-1]
    x = rng.standard_normal((n, n_in)).astype(arch.dtype)
    names = np.empty(0, np.int64)
    if arch.loss == ids.SOFTMAX_CROSSENTROPY:
        classes = rng.integers(0, n_out, n)
        t = naive.one_hot(classes, n_out, arch.dtype)
        if labels or labels is None:
            names = classes
    elif arch.loss == ids.POISSON:
        t = rng.poisson(1.5, (n, n_out)).astype(arch.dtype)
    elif arch.loss == ids.BINARY_CROSSENTROPY:
        t = rng.integers(0, 2, (n, n_out)).astype(arch.dtype)
    else:
        t = rng.standard_normal((n, n_out)).astype(arch.dtype)
    weight = np.empty(0, arch.dtype)
    if weighted:
        weight = rng.uniform(0.2, 3.0, n).astype(arch.dtype)
        weight[1::5] = 0.0
    return Problem(x, t, names, weight)


def train(
    made: Engine,
    rows: Problem,
    *,
    epochs=1,
    batch=8,
    optimizer=ids.ADAM,
    rates=None,
    n_threads=1,
    metrics=(),
    seed=None,
    slice_steps=1 << 40,
    on_slice=None,
    team=None,
    seed_of_noise=0,
    **options,
) -> list[Sums]:
    """Epochs with a fixed number of threads; shuffled where a seed is given."""
    assert made.n_threads >= n_threads, "the engine has no buffers for this number of threads"
    of_step = {field.name: options.pop(field.name) for field in fields(StepOptions) if field.name in options}
    step = StepOptions(optimizer, RATES[optimizer] if rates is None else rates, **of_step)
    run = RunOptions(batch, metrics, seed=seed_of_noise if seed is None else seed, **options)
    order = None if seed is None else np.empty(len(rows.x), np.int64)
    sums = []

    def run_epochs(crew):
        for epoch in range(epochs):
            if order is not None:
                shuffled(order, seed, epoch)
            sums.append(
                made.train_epoch(
                    rows.data(order), step, run, team=crew, pace=FixedPace(n_threads, slice_steps), on_slice=on_slice
                )
            )

    if team is not None:
        run_epochs(team)
    else:
        with ThreadTeam(n_threads) as crew:
            run_epochs(crew)
    return sums


def train_naive(
    net, rows: Problem, *, epochs=1, batch=8, optimizer=ids.ADAM, rates=None, metrics=(), seed=None, **options
):
    """The same by the oracle."""
    rate, *settings = RATES[optimizer] if rates is None else rates
    rule = naive.Optimizer(optimizer, rate, settings, **options)
    sums = []
    for epoch in range(epochs):
        order = None if seed is None else np.array(naive.permutation(len(rows.x), seed, epoch))
        sums.append(naive.train_epoch(net, *rows.oracle(), batch=batch, optimizer=rule, order=order, metrics=metrics))
    return sums


@kernel
def _drop_rows(seed, step, layer, rate, place, x, ld, mask, out, rows, n):
    key = stochastic.key_of(stochastic.step_key(seed, step), stochastic.DROP + layer)
    stochastic.drop(key, rate, place, at(x, 0), ld, at(mask, 0), at(out, 0), ld, rows, n)


def dropout_masks(arch, seed, rows, step, place=0):
    """Factors of dropout for some rows of a step, for each layer; (rows, I)."""
    found = []
    for k, ld in enumerate(arch.leading_dimensions()[:-1]):
        ones, mask, out = np.ones((rows, ld), arch.dtype), *np.zeros((2, rows, ld), arch.dtype)
        n = arch.sizes[k]
        _drop_rows(seed, step, k, arch.dropouts[k], place, ones, ld, mask, out, rows, n)
        np.testing.assert_array_equal(out[:, :n], mask[:, :n])
        found.append(mask[:, : arch.sizes[k]])
    return found


def assert_same_net(made: Engine, net: naive.Net, tolerance: float) -> None:
    """Weights and biases agree, measured by the largest of each array."""
    got, wanted = [*made.weights(), *made.biases()], [*net.weights, *net.biases]
    for a, b in zip(got, wanted, strict=True):
        scale = max(1e-3, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def padding_of(made: Engine, flat: np.ndarray) -> np.ndarray:
    """Elements of an array laid out like `params` that belong to no weight and no bias."""
    mask = np.ones(flat.size, bool)
    weights, biases = made._views(mask)
    for view in (*weights, *biases):
        view[...] = False
    return flat[mask]


#: ``python -m fastnn`` where a shell has started the tests in the background, with SIGINT ignored.
COMMAND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("fastnn", run_name="__main__", alter_sys=True)
"""


def run_python(code: str, *, timeout=300, **environment) -> str:
    """Run a program in a fresh process that can import the package and the tests; return what it printed.

    An environment variable given as None is taken away.
    """
    root = Path(fastnn.kernels.__file__).parents[2]
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_DISABLE_JIT", "PYTHONWARNINGS")}
    env["PYTHONPATH"] = os.pathsep.join([str(root), str(Path(__file__).parent)])
    for name, value in environment.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
