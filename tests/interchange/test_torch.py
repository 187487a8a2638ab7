"""Nets from PyTorch, and nets of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from models import HIDDEN_ACTIVATIONS, assert_same_outputs, chain_net, labels, softsign, softsign_slope, table

import fastnn
from fastnn.interchange import from_torch, to_torch

torch = pytest.importorskip("torch")
nn = torch.nn

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def outputs(net, X, dtype):
    """What PyTorch predicts."""
    with torch.no_grad():
        return net.eval()(torch.tensor(X.astype(dtype))).numpy()


def in_dtype(net, dtype):
    return net.double() if dtype == "float64" else net


#: The activations of PyTorch, and ours.
MODULES = {
    "Sigmoid": (nn.Sigmoid(), "sigmoid", 0.0),
    "Tanh": (nn.Tanh(), "tanh", 0.0),
    "ReLU": (nn.ReLU(inplace=True), "relu", 0.0),
    "LeakyReLU": (nn.LeakyReLU(0.2), "leaky_relu", 0.2),
    "ELU": (nn.ELU(0.7), "elu", 0.7),
    "SELU": (nn.SELU(), "selu", 0.0),
    "Softplus": (nn.Softplus(), "softplus", 0.0),
    "Hardsigmoid": (nn.Hardsigmoid(), "hard_sigmoid", 0.0),
    "SiLU": (nn.SiLU(), "silu", 0.0),
    "GELU": (nn.GELU(), "gelu", 0.0),
    "Mish": (nn.Mish(), "mish", 0.0),
}


@DTYPES
@pytest.mark.parametrize(("module", "name", "alpha"), MODULES.values(), ids=MODULES)
def test_a_sequential_of_each_activation(module, name, alpha, dtype):
    net = in_dtype(nn.Sequential(nn.Linear(7, 5), module, nn.Linear(5, 9, bias=False), module, nn.Linear(9, 3)), dtype)
    X = 3.0 * table(d=7)
    model = from_torch(net, seed=0)
    assert [(layer.activation.name, layer.activation.alpha) for layer in model.layers[:2]] == [(name, alpha)] * 2
    assert [layer.use_bias for layer in model.layers] == [True, False, True]
    assert model.dtype == dtype
    assert_same_outputs(model.predict(X), outputs(net, X, dtype), dtype)
    before = [w.copy() for w in model.weights]
    model.fit(X, table(d=3, seed=9), epochs=1)
    assert all((a != b).any() for a, b in zip(before, model.weights, strict=True))


@DTYPES
@pytest.mark.parametrize("hidden", [(), (1,), (5, 9)], ids=str)
@pytest.mark.parametrize("activation", HIDDEN_ACTIVATIONS.values(), ids=HIDDEN_ACTIVATIONS)
def test_there_and_back(activation, hidden, dtype):
    model = chain_net(activation, hidden, dtype=dtype)
    if activation == "exponential" and hidden:
        with pytest.raises(
            ValueError, match=r"layers\[0\] has the activation 'exponential', for which torch.nn has no"
        ):
            to_torch(model)
        return
    net = to_torch(model)
    X = table(d=7)
    assert_same_outputs(outputs(net, X, dtype), model.predict(X.astype(dtype)), dtype)
    again = from_torch(net)
    assert [layer.activation for layer in again.layers] == [layer.activation for layer in model.layers]
    for a, b in zip((*again.weights, *again.biases), (*model.weights, *model.biases), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


@DTYPES
def test_batch_norm_dropout_and_nesting(dtype):
    net = nn.Sequential(
        nn.Flatten(),
        nn.BatchNorm1d(7),
        nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.25), nn.Dropout(0.5)),
        nn.Linear(5, 4),
        nn.Dropout(0.1),
        nn.ReLU(),
        nn.BatchNorm1d(4, affine=False),
        nn.Identity(),
        nn.Linear(4, 3, bias=False),
        nn.Softmax(dim=1),
    )
    net = in_dtype(net, dtype)
    X = table(d=7)
    net(torch.tensor(2.0 * X.astype(dtype) + 1.0))  # so that the running statistics are none of the defaults
    model = from_torch(net)
    assert [layer.units for layer in model.layers] == [5, 4, 3]
    assert [layer.dropout for layer in model.layers] == [0.0, 1.0 - 0.75 * 0.5, 0.1]
    assert [layer.use_bias for layer in model.layers] == [True, True, True]  # the last one has that of the BatchNorm1d
    assert model.loss.name == "softmax_crossentropy"
    assert_same_outputs(model.predict(X), outputs(net, X, dtype), dtype)
    model.fit(X, labels(classes=3), epochs=1)


def test_losses_settings_and_frozen_layers():
    net = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1), nn.Sigmoid())
    net[0].requires_grad_(False)
    model = from_torch(net, optimizer=fastnn.SGD(0.1), metrics=[], seed=3, dtype="float64")
    assert (model.loss.name, model.seed, model.dtype, model.trainable) == (
        "binary_crossentropy",
        3,
        "float64",
        [False, True],
    )
    assert model.optimizer == fastnn.SGD(0.1)
    assert not to_torch(model)[0].weight.requires_grad
    assert from_torch(nn.Linear(3, 2)).loss.name == "squared_error"
    assert from_torch(nn.Linear(3, 2), loss="softmax_crossentropy").loss.name == "softmax_crossentropy"
    with pytest.raises(TypeError, match=r"from_torch\(\) has no argument 'lr'"):
        from_torch(nn.Linear(3, 2), lr=0.1)


def test_state_dicts():
    net = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3))
    X = table(d=7)
    wanted = outputs(net, X, "float32")
    assert_same_outputs(from_torch(net.state_dict(), activations="tanh").predict(X), wanted, "float32")
    arrays = {f"net.{key}": value.numpy() for key, value in net.state_dict().items()}
    assert_same_outputs(from_torch(arrays, activations=["tanh", "tanh", None]).predict(X), wanted, "float32")
    half = from_torch({key: value.bfloat16() for key, value in net.state_dict().items()}, activations="tanh")
    assert np.array_equal(half.weights[0], net[0].weight.bfloat16().float().detach().numpy().T)
    assert half.dtype == np.float32


def test_estimators_and_pipelines_to_torch():
    pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = 3.0 * table(d=4) + 10.0
    pipeline = make_pipeline(StandardScaler(), fastnn.MLPClassifier((5,), "mish", tol=1e9, n_iter_no_change=1))
    pipeline.fit(X, labels(classes=3))
    assert_same_outputs(outputs(to_torch(pipeline), X, "float64"), pipeline.predict_proba(X), "float64")


def refused():
    """Nets that have no equivalent, and what the error states about them."""
    linear, shared = nn.Linear(3, 3), nn.Linear(3, 3)
    tied = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)

    def after(*modules):
        return nn.Sequential(linear, *modules, nn.Linear(3, 2))

    return {
        "prelu": (after(nn.PReLU()), r"layer '1', PReLU\(num_parameters=1\) has no equivalent"),
        "gelu": (after(nn.GELU(approximate="tanh")), r"layer '1', GELU\(approximate='tanh'\) is the approximation"),
        "softplus": (after(nn.Softplus(2.0)), r"layer '1', Softplus\(beta=2.0, threshold=20.0\) has a beta"),
        "slope": (after(nn.LeakyReLU(-0.1)), r"layer '1', LeakyReLU\(negative_slope=-0.1\) has negative_slope"),
        "conv": (after(nn.Conv1d(1, 1, 1)), r"layer '1', Conv1d\("),
        "layer norm": (after(nn.LayerNorm(3)), r"layer '1', LayerNorm\("),
        "two activations": (after(nn.ReLU(), nn.Tanh()), r"layer '2', Tanh\(\) follows 'relu'"),
        "activation first": (nn.Sequential(nn.ReLU(), linear), r"layer '0', ReLU\(\) stands before the first"),
        "softmax inside": (after(nn.Softmax(1)), r"Softmax\(dim=1\) has softmax, which only the last layer"),
        "softmax of columns": (nn.Sequential(linear, nn.Softmax(0)), "is not along the columns"),
        "softmax of one": (nn.Sequential(nn.Linear(3, 1), nn.Softmax(1)), "softmax over one output"),
        "dropout last": (
            nn.Sequential(linear, nn.Dropout(0.5)),
            r"layer '1', Dropout\(p=0.5, inplace=False\) is the last",
        ),
        "dropout of all": (after(nn.Dropout(1.0)), r"layer '1', Dropout\(p=1.0, inplace=False\) has a rate of 1.0"),
        "dropout first": (after(nn.Dropout(0.5), nn.Tanh()), r"layer '2', Tanh\(\) follows layer '1', Dropout"),
        "norm last": (nn.Sequential(linear, nn.ReLU(), nn.BatchNorm1d(3)), r"layer '2', BatchNorm1d\(.* follows"),
        "norm between": (after(nn.ReLU(), nn.BatchNorm1d(3), nn.ReLU()), r"layer '3', ReLU\(\) follows"),
        "no statistics": (after(nn.BatchNorm1d(3, track_running_stats=False)), "has no running statistics"),
        "wrong norm": (after(nn.BatchNorm1d(4)), "has 4 columns"),
        "widths": (nn.Sequential(linear, nn.Linear(4, 2)), "has 4 inputs, but layer '0'.* 3 outputs"),
        "used twice": (nn.Sequential(shared, nn.Tanh(), shared), "layer '2', .* shares its weights with layer '0'"),
        "tied": (tied, "layer '2', .* shares its weights with layer '0'"),
        "hook": (nn.Sequential(hooked), "layer '0', .* has forward hooks"),
        "nan": (nn.Sequential(nn.Linear(3, 2).requires_grad_(False)), "has weights that are not finite"),
        "empty": (nn.Sequential(), "net has no dense layer"),
    }


REFUSED = refused()
torch.nn.init.constant_(REFUSED["nan"][0][0].weight, float("nan"))


@pytest.mark.parametrize(("net", "text"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_equivalent_is_refused_by_name(net, text):
    with pytest.raises(ValueError, match=text):
        from_torch(net)


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 2)

    def forward(self, x):
        return self.one(x).sin()


@pytest.mark.parametrize("net", [Custom(), nn.ReLU(), nn.Linear, 3, None, "net.pt", [nn.Linear(2, 2)]], ids=repr)
def test_what_is_no_net_is_refused(net):
    with pytest.raises(TypeError, match=r"net must be an nn.Sequential, an nn.Linear or a state_dict, got"):
        from_torch(net)


@pytest.mark.parametrize(
    ("state", "activations", "text"),
    [
        ({}, None, "net must be a mapping with entries"),
        ({"0.weight": np.ones((2, 3)), "0.running_mean": np.ones(2)}, None, "'0.running_mean' is neither"),
        ({"0.weight": np.ones(2)}, None, "layer '0' has no weight in 2-D"),
        ({"0.bias": np.ones(2)}, None, "layer '0' has no weight in 2-D"),
        ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(3)}, None, "layer '0' has 3 biases, but 2 outputs"),
        ({"0.weight": np.ones((2, 3), int)}, None, "dtype int64"),
        ({"0.weight": np.ones((2, 3)), "2.weight": np.ones((2, 2))}, None, "activations must be given, .* got None"),
        ({"0.weight": np.ones((2, 3)), "2.weight": np.ones((2, 2))}, ["tanh"], "a list of 2, got"),
        ({"0.weight": np.ones((2, 3)), "2.weight": np.ones((2, 2))}, ["sine", None], "activation must be one of"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_state_dicts_are_refused(state, activations, text):
    with pytest.raises(ValueError, match=text):
        from_torch(state, activations=activations)


def test_activations_of_a_sequential_are_its_own():
    with pytest.raises(ValueError, match="activations must be left out"):
        from_torch(nn.Sequential(nn.Linear(2, 2)), activations="relu")


def test_custom_activations_are_refused():
    custom = fastnn.custom.activation(softsign, softsign_slope)
    with pytest.raises(ValueError, match="softsign"):
        to_torch(fastnn.Model([fastnn.Dense(3, custom), 2], loss="squared_error").build(4))
    with pytest.raises(TypeError, match="model must be a Model"):
        to_torch(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no weights yet"):
        to_torch(fastnn.Model([3], loss="squared_error"))
