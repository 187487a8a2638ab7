"""Derivatives compared with PyTorch's automatic ones, in double precision: 1e-10 for every activation and shape."""

from __future__ import annotations

import numpy as np
import pytest
from driver import ACTIVATIONS

import fastnn
from fastnn import Dense
from fastnn.activations import Activation
from fastnn.kernels.nn import rules

torch = pytest.importorskip("torch")
#: Raised inside torch.func.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

#: Widths of the layers of nets of depth 0 to 4: narrow, wide, and mixed.
SHAPES = [(3,), (5, 3), (64, 3), (70, 40, 20), (6, 5, 4, 2), (64, 3, 64, 33, 2)]
#: The identity has no second derivatives that PyTorch would compute.
SMOOTH = [rule.name for rule in rules.ACTIVATIONS if rule.is_smooth and rule.name != "identity"]
ROWS, FEATURES = 19, 7


def torch_activation(name, z):
    functional, alpha = torch.nn.functional, ACTIVATIONS[name][1]
    named = {
        "identity": lambda z: z,
        "exponential": torch.exp,
        "softmax": lambda z: torch.softmax(z, 1),
        "hard_sigmoid": lambda z: (z / 6 + 0.5).clamp(0, 1),  # PyTorch's own has a 1/6 of single precision
        "leaky_relu": lambda z: functional.leaky_relu(z, alpha),
        "elu": lambda z: functional.elu(z, alpha),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    return named.get(name, getattr(functional, name, None))(z)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def nets(layers, name):
    """A model and the same function of PyTorch, with the tensors of its weights and biases."""
    names = ["tanh" if name == "softmax" else name] * (len(layers) - 1) + [name]
    units = [Dense(n, Activation(a, ACTIVATIONS[a][1])) for n, a in zip(layers, names, strict=True)]
    model = fastnn.Model(units, loss="squared_error", seed=0, dtype="float64").build(FEATURES)
    rng = np.random.default_rng(1)
    if name == "exponential":  # of an exponential, four times
        model.weights = [0.3 * w for w in model.weights]
    for bias in model.biases:
        bias[:] = 0.2 * rng.standard_normal(bias.shape)
    weights, biases = (
        [torch.tensor(a, requires_grad=True) for a in arrays] for arrays in (model.weights, model.biases)
    )

    def outputs(x):
        for w, b, a in zip(weights, biases, names, strict=True):
            x = torch_activation(a, x @ w + b)
        return x

    return model, outputs, weights, biases


def assert_close(found, expected):
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max())


def numbers(*shape, seed=2):
    return 0.5 * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_first_derivatives(layers, name):
    model, outputs, weights, biases = nets(layers, name)
    X, V, U = numbers(ROWS, FEATURES), numbers(ROWS, layers[-1], seed=3), numbers(ROWS, FEATURES, seed=4)
    x = torch.tensor(X, requires_grad=True)
    y = outputs(x)
    dx, *others = torch.autograd.grad(y, [x, *weights, *biases], torch.tensor(V))
    found = model.vjp(X, V, params=True)
    assert_close(found[0], y)
    for own, theirs in zip((found[1], *found[2], *found[3]), (dx, *others), strict=True):
        assert_close(own, theirs)
    assert_close(model.vjp(X, V)[1], dx)
    whole = torch.autograd.functional.jacobian(lambda x: outputs(x).sum(dim=0), x, vectorize=True)
    assert_close(model.jacobian(X), whole.transpose(0, 1))
    dy = torch.func.jvp(outputs, (x,), (torch.tensor(U),))[1]
    assert_close(model.jvp(X, U)[1], dy)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_second_derivatives(layers, name):
    model, outputs, _, _ = nets(layers, name)
    X, V, U = numbers(ROWS, FEATURES), numbers(ROWS, layers[-1], seed=3), numbers(ROWS, FEATURES, seed=4)
    x, u, v = map(torch.tensor, (X, U, V))
    along = lambda x: torch.func.jvp(outputs, (x,), (u,))[1]  # noqa: E731
    _, dy, d2y = model.jet(X, U)
    assert_close(dy, along(x))
    assert_close(d2y, torch.func.jvp(along, (x,), (u,))[1])
    x.requires_grad_()
    gradient = torch.autograd.grad((v * outputs(x)).sum(), x, create_graph=True)[0]
    assert_close(model.hvp(X, U, V), torch.autograd.grad((gradient * u).sum(), x)[0])


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_a_step_on_a_loss_of_derivatives(layers, name):
    model, outputs, weights, biases = nets(layers, name)
    model.optimizer = fastnn.SGD(1.0)
    X, directions = numbers(ROWS, FEATURES), numbers(2, FEATURES, seed=4)
    x = torch.tensor(X, requires_grad=True)
    first, second = [], []
    for u in torch.tensor(directions):
        each = u.expand(ROWS, FEATURES)
        along = lambda x, each=each: torch.func.jvp(outputs, (x,), (each,))[1]  # noqa: E731
        first.append(along(x))
        second.append(torch.func.jvp(along, (x,), (each,))[1])
    y, dy, d2y = outputs(x), torch.stack(first), torch.stack(second)
    loss = _loss(y, dy, d2y)
    expected = torch.autograd.grad(loss, [x, *weights, *biases])
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (y, dy, d2y)]
    slopes = [a.numpy() for a in torch.autograd.grad(_loss(*leaves), leaves)]
    found, dX = model.train_on_output(
        X, lambda *own: (_loss(*map(torch.tensor, own)).item(), *slopes), directions=directions, input_gradient=True
    )
    assert found == pytest.approx(loss.item(), rel=1e-10)
    assert_close(dX, expected[0])
    before = [*weights, *biases]
    for own, start, gradient in zip((*model.weights, *model.biases), before, expected[1:], strict=True):
        assert_close(start.detach().numpy() - own, gradient)


def _loss(y, dy, d2y):
    return (y**2).mean() + (dy * y).mean() + ((d2y + y) ** 2).mean()
