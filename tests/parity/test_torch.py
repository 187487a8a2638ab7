"""Trajectories compared with PyTorch's: the same start, the same batches, a hundred steps in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from driver import ACTIVATIONS, LOSSES, OPTIMIZERS, RATES, architecture, engine, problem, train

from fastnn import losses

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


def torch_optimizer(name, parameters, weight_decay=0.0):
    rate, *hyper = RATES[OPTIMIZERS[name]]
    first, second, epsilon = [*hyper, 0.0, 0.0, 0.0][0], [*hyper, 0.0, 0.0][1], [0.0, *hyper][-1]
    optim = torch.optim
    if weight_decay:
        adam = {"lr": rate, "betas": (first, second), "eps": epsilon, "weight_decay": weight_decay}
        return {
            "adam": lambda: optim.AdamW(parameters, **adam),
            "amsgrad": lambda: optim.AdamW(parameters, **adam, amsgrad=True),
            "nadam": lambda: optim.NAdam(parameters, **adam, decoupled_weight_decay=True),
        }[name]()
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


def torch_loss(name, u, t, smoothing=0.0):
    functional = torch.nn.functional
    return {
        "squared_error": lambda: functional.mse_loss(u, t),
        "sum_of_squares": lambda: functional.mse_loss(u, t, reduction="sum") / 2,
        "binary_crossentropy": lambda: functional.binary_cross_entropy_with_logits(u, t),
        "softmax_crossentropy": lambda: functional.cross_entropy(u, t, label_smoothing=smoothing),
        "absolute_error": lambda: functional.l1_loss(u, t),
        "huber": lambda: functional.huber_loss(u, t, delta=0.7),
        "poisson": lambda: functional.poisson_nll_loss(u, t),
        "quantile": lambda: torch.maximum(0.3 * (t - u), -0.7 * (t - u)).mean(),
        "gaussian_nll": lambda: functional.gaussian_nll_loss(u[:, :2], t[:, :2], u[:, 2:].exp()),
    }[name]()


def clip_norm_exactly(parameters, limit):
    """PyTorch divides by the length plus 1e-6, which is made up for."""
    length = torch.nn.utils.clip_grad_norm_(parameters, limit)
    if length > limit:
        for p in parameters:
            p.grad *= (length + 1e-6) / length
    return length > limit


def renorm_exactly(w, limit):
    """PyTorch divides by the length of a column plus 1e-7, which is made up for."""
    length = torch.linalg.vector_norm(w, dim=0)
    return torch.renorm(w, 2, 1, limit) * torch.where(length > limit, (length + 1e-7) / length, 1.0)


def train_torch(
    made, rows, *, hidden, output, loss, optimizer, batch, epochs, penalty, smoothing=0.0, weight_decay=0.0,
    clip_value=0.0, clip_norm=0.0, ema_decay=0.0,
):  # fmt: skip
    """Weights and biases after the epochs, the losses of all batches, and the averages of weights and biases."""
    arch = made.architecture
    trained = arch.trained or (True,) * arch.n_layers
    weights, biases = (
        [torch.nn.Parameter(torch.tensor(a.copy()), requires_grad=t) for a, t in zip(arrays, trained, strict=True)]
        for arrays in (made.weights(), made.biases())
    )
    moving = [p for p in (*weights, *biases) if p.requires_grad]
    rule = torch_optimizer(optimizer, moving, weight_decay)
    averaged = torch.optim.swa_utils.AveragedModel(
        torch.nn.ParameterList([*weights, *biases]),
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema_decay),
    )
    averaged.update_parameters(torch.nn.ParameterList([*weights, *biases]))  # the first call takes them as they are
    clipped = 0
    l1, l2 = penalty
    losses = []
    for _ in range(epochs):
        for start in range(0, len(rows.x), batch):
            part = slice(start, start + batch)
            y, t = torch.tensor(rows.x[part]), torch.tensor(rows.t[part])
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                y = torch_activation(output if k == len(weights) - 1 else hidden, y @ w + b)
            error = torch_loss(loss, y, t, smoothing)
            losses.append((error.item(), len(t)))
            for w in weights if l1 or l2 else ():
                error = error + l1 * w.abs().sum() + l2 * (w**2).sum()
            rule.zero_grad()
            error.backward()
            if clip_value:
                clipped += any((p.grad.abs() > clip_value).any() for p in moving)
                torch.nn.utils.clip_grad_value_(moving, clip_value)
            if clip_norm:
                clipped += bool(clip_norm_exactly(moving, clip_norm))
            rule.step()
            with torch.no_grad():
                for w, limit in zip(weights, arch.max_norms, strict=False):
                    if w.requires_grad and limit:
                        w[...] = renorm_exactly(w, limit)
            averaged.update_parameters(torch.nn.ParameterList([*weights, *biases]))
    assert not (clip_value or clip_norm) or 5 <= clipped <= 95, f"the limit should matter in some steps, not {clipped}"
    means = [p.detach().numpy() for p in averaged.module]
    return [p.detach().numpy() for p in (*weights, *biases)], losses, means


def compare(
    *, hidden="tanh", output="identity", loss="softmax_crossentropy", optimizer="adam", penalty=(0.0, 0.0),
    smoothing=0.0, labels=None, trained=(), max_norms=(), **options,
):  # fmt: skip
    """Train both for 100 steps; `options` are those of the engine."""
    arch = architecture([6, 19, 7, 4], hidden=hidden, output=output, loss=loss, penalty=penalty)
    arch = replace(arch, trained=trained, max_norms=max_norms)
    rows = problem(arch, 45, labels=labels)
    told = rows
    if smoothing:
        smoothed = losses.Loss(loss, label_smoothing=smoothing)
        arch = replace(arch, loss_parameters=smoothed.parameters(4))
        told = replace(rows, t=smoothed.prepare(rows.t))
    made = engine(arch, averaged="ema_decay" in options)
    # 45 rows in batches of 10: every fifth batch is a short one.
    settings = {"batch": 10, "epochs": 20, **options}
    wanted, losses_told, means = train_torch(
        made, rows, hidden=hidden, output=output, loss=loss, optimizer=optimizer, penalty=penalty, smoothing=smoothing,
        **settings,
    )  # fmt: skip
    start = made.params.copy()
    sums = train(made, told, optimizer=OPTIMIZERS[optimizer], **settings)
    assert made.steps_done == 100
    assert not np.allclose(made.params, start, rtol=1e-3)
    for a, b in zip([*made.weights(), *made.biases()], wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    if loss != "sum_of_squares":
        mean = sum(value * n for value, n in losses_told) / sum(n for _, n in losses_told)
        assert sum(s.loss for s in sums) / sum(s.weight for s in sums) == pytest.approx(mean, rel=1e-9)
    if made.averaged:
        weights, biases = made.averages()
        for a, b in zip([*weights, *biases], means, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
        assert not np.allclose(weights[-1], made.weights()[-1], rtol=1e-3)
    return made


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


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "nadam"])
def test_decoupled_weight_decay(optimizer):
    compare(optimizer=optimizer, weight_decay=0.1)
    compare(optimizer=optimizer, weight_decay=0.1, penalty=(0.0, 1e-2), loss="squared_error")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("options", [{"clip_value": 0.3}, {"clip_norm": 1.2}], ids=["value", "norm"])
def test_clipped_gradients(optimizer, options):
    compare(optimizer=optimizer, loss="squared_error", **options)


def test_clipped_gradients_have_the_penalty():
    compare(optimizer="momentum", loss="squared_error", penalty=(1e-3, 1e-2), clip_norm=1.2)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("ema_decay", [0.9, 0.99])
def test_averages(optimizer, ema_decay):
    compare(optimizer=optimizer, ema_decay=ema_decay)
    compare(optimizer=optimizer, ema_decay=ema_decay, loss="squared_error", weight_decay=0.1 * (optimizer == "adam"))


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_label_smoothing(labels):
    compare(smoothing=0.1, labels=labels)


@pytest.mark.parametrize("trained", [(False, True, True), (True, False, True), (False, False, True)], ids=str)
def test_frozen_layers(trained):
    compare(trained=trained)
    compare(trained=trained, optimizer="momentum", ema_decay=0.9, loss="squared_error")


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_max_norm(optimizer):
    made = compare(optimizer=optimizer, max_norms=(0.9, 0.0, 1.1))
    lengths = [np.linalg.norm(w, axis=0) for w in made.weights()]
    assert lengths[0].max() == pytest.approx(0.9)
    assert lengths[0].min() < 0.89
    assert lengths[1].max() > 1.2
    compare(optimizer=optimizer, max_norms=(0.9, 0.0, 1.1), trained=(False, True, True), loss="squared_error")
