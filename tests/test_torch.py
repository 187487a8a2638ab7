"""Whole trajectories beside PyTorch's: the same start, the same batches, a hundred steps in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from driver import ACTIVATIONS, LOSSES, OPTIMIZERS, RATES, architecture, engine, problem, train

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _one_thread():
    """Let PyTorch's threads rest: on a busy machine they wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product in that
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(before)


def torch_optimizer(name, parameters):
    rate, first, second, epsilon = RATES[OPTIMIZERS[name]]
    optim = torch.optim
    return {
        "sgd": lambda: optim.SGD(parameters, lr=rate),
        "momentum": lambda: optim.SGD(parameters, lr=rate, momentum=first),
        "nesterov": lambda: optim.SGD(parameters, lr=rate, momentum=first, nesterov=True),
        "adagrad": lambda: optim.Adagrad(parameters, lr=rate, eps=epsilon),
        "rmsprop": lambda: optim.RMSprop(parameters, lr=rate, alpha=first, eps=epsilon),
        "adam": lambda: optim.Adam(parameters, lr=rate, betas=(first, second), eps=epsilon),
        "amsgrad": lambda: optim.Adam(parameters, lr=rate, betas=(first, second), eps=epsilon, amsgrad=True),
        "nadam": lambda: optim.NAdam(parameters, lr=rate, betas=(first, second), eps=epsilon),
    }[name]()


def torch_activation(name, z):
    alpha = ACTIVATIONS[name][1]
    functional = torch.nn.functional
    return {
        "identity": lambda: z,
        "sigmoid": lambda: torch.sigmoid(z),
        "tanh": lambda: torch.tanh(z),
        "relu": lambda: torch.relu(z),
        "leaky_relu": lambda: functional.leaky_relu(z, alpha),
        "elu": lambda: functional.elu(z, alpha),
        "softmax": lambda: torch.softmax(z, 1),
        "exponential": lambda: torch.exp(z),
        "selu": lambda: functional.selu(z),
        "softplus": lambda: functional.softplus(z),
        "hard_sigmoid": lambda: torch.clamp(z / 6 + 0.5, 0, 1),  # its own backward takes 1/6 in single precision
        "silu": lambda: functional.silu(z),
        "gelu": lambda: functional.gelu(z),
        "mish": lambda: functional.mish(z),
    }[name]()


def torch_loss(name, u, t):
    functional = torch.nn.functional
    return {
        "squared_error": lambda: functional.mse_loss(u, t),
        "sum_of_squares": lambda: functional.mse_loss(u, t, reduction="sum") / 2,
        "binary_crossentropy": lambda: functional.binary_cross_entropy_with_logits(u, t),
        "softmax_crossentropy": lambda: functional.cross_entropy(u, t),
        "absolute_error": lambda: functional.l1_loss(u, t),
        "huber": lambda: functional.huber_loss(u, t, delta=0.7),
        "poisson": lambda: functional.poisson_nll_loss(u, t),
        "quantile": lambda: torch.maximum(0.3 * (t - u), -0.7 * (t - u)).mean(),
        "gaussian_nll": lambda: functional.gaussian_nll_loss(u[:, :2], t[:, :2], u[:, 2:].exp()),
    }[name]()


def train_torch(made, rows, *, hidden, output, loss, optimizer, batch, epochs, penalty):
    """Weights and biases after the epochs, and the losses of all batches."""
    weights = [torch.tensor(w.copy(), requires_grad=True) for w in made.weights()]
    biases = [torch.tensor(b.copy(), requires_grad=True) for b in made.biases()]
    rule = torch_optimizer(optimizer, [*weights, *biases])
    l1, l2 = penalty
    losses = []
    for _ in range(epochs):
        for start in range(0, len(rows.x), batch):
            part = slice(start, start + batch)
            y, t = torch.tensor(rows.x[part]), torch.tensor(rows.t[part])
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                y = torch_activation(output if k == len(weights) - 1 else hidden, y @ w + b)
            error = torch_loss(loss, y, t)
            losses.append((error.item(), len(t)))
            for w in weights:
                error = error + l1 * w.abs().sum() + l2 * (w**2).sum()
            rule.zero_grad()
            error.backward()
            rule.step()
    return [p.detach().numpy() for p in (*weights, *biases)], losses


def compare(*, hidden="tanh", output="identity", loss="softmax_crossentropy", optimizer="adam", penalty=(0.0, 0.0)):
    arch = architecture([6, 19, 7, 4], hidden=hidden, output=output, loss=loss, penalty=penalty)
    made = engine(arch)
    rows = problem(arch, 45)
    # 45 rows in batches of 10: every fifth batch is a short one.
    settings = {"batch": 10, "epochs": 20}
    wanted, losses = train_torch(
        made, rows, hidden=hidden, output=output, loss=loss, optimizer=optimizer, penalty=penalty, **settings
    )
    start = made.params.copy()
    sums = train(made, rows, optimizer=OPTIMIZERS[optimizer], **settings)
    assert made.steps_done == 100
    assert not np.allclose(made.params, start, rtol=1e-3)
    for a, b in zip([*made.weights(), *made.biases()], wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    if loss != "sum_of_squares":
        mean = sum(value * n for value, n in losses) / sum(n for _, n in losses)
        assert sum(s.loss for s in sums) / sum(s.weight for s in sums) == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "lion"])  # PyTorch has none
def test_optimizers(optimizer):
    compare(optimizer=optimizer)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "lion"])  # PyTorch has none
def test_optimizers_with_penalties(optimizer):
    compare(optimizer=optimizer, penalty=(1e-3, 1e-2), loss="squared_error")


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    compare(loss=loss, optimizer="adagrad")


@pytest.mark.parametrize("hidden", [name for name in ACTIVATIONS if name not in ("softmax", "exponential")])
def test_activations(hidden):
    compare(hidden=hidden, optimizer="momentum", loss="squared_error")


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "relu", "exponential"])
def test_output_activations(output):
    compare(output=output, loss="squared_error")
