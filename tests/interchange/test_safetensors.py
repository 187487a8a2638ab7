"""Files of safetensors, ours and those of PyTorch."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from models import HIDDEN_ACTIVATIONS, assert_same_outputs, chain_net, labels, softsign, softsign_slope, table

import fastnn
from fastnn.interchange import from_safetensors, to_safetensors, to_torch

pytest.importorskip("safetensors")
import safetensors.numpy

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@DTYPES
@pytest.mark.parametrize("hidden", [(), (1,), (5, 9)], ids=str)
@pytest.mark.parametrize("activation", HIDDEN_ACTIVATIONS.values(), ids=HIDDEN_ACTIVATIONS)
def test_there_and_back(path, activation, hidden, dtype):
    model = chain_net(activation, hidden, dtype=dtype, loss=fastnn.losses.huber(0.3))
    to_safetensors(model, path)
    again = from_safetensors(path, seed=1)
    assert [layer.activation for layer in again.layers] == [layer.activation for layer in model.layers]
    assert again.loss == model.loss
    assert again.dtype == dtype
    for a, b in zip((*again.weights, *again.biases), (*model.weights, *model.biases), strict=True):
        assert np.array_equal(a, b)
    rows = table(d=7).astype(dtype)
    assert np.array_equal(again.predict(rows), model.predict(rows))
    again.fit(rows, table(d=3, seed=9), epochs=1)


@DTYPES
def test_names_are_those_of_a_sequential(path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    layers = [fastnn.Dense(5, "gelu"), fastnn.Dropout(0.2), fastnn.Dense(9, use_bias=False), fastnn.Dense(3, "softmax")]
    model = fastnn.Model(layers, loss="softmax_crossentropy", dtype=dtype, seed=0).build(7)
    to_safetensors(model, path)
    assert sorted(safetensors.numpy.load_file(path)) == ["0.bias", "0.weight", "3.weight", "4.bias", "4.weight"]
    assert safetensors.numpy.load_file(path)["0.weight"].shape == (5, 7)
    nn = torch.nn
    parts = nn.Linear(7, 5), nn.GELU(), nn.Dropout(0.2), nn.Linear(5, 9, bias=False), nn.Linear(9, 3), nn.Softmax(1)
    for net in (nn.Sequential(*parts).to(getattr(torch, dtype)), to_torch(model)):
        net.eval().load_state_dict(load_file(path))
        with torch.no_grad():
            found = net(torch.tensor(table(d=7).astype(dtype))).numpy()
        assert_same_outputs(found, model.predict(table(d=7)), dtype)
    again = from_safetensors(path)
    assert [(layer.dropout, layer.use_bias) for layer in again.layers] == [(0.0, True), (0.2, False), (0.0, True)]


def test_files_of_pytorch(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(*[part for _ in range(6) for part in (nn.Linear(7, 7), nn.Tanh())], nn.Linear(7, 2))
    save_file(net.state_dict(), path)  # with the names 0, 10, 12, 2, ... if they are sorted as texts
    X = table(d=7)
    with torch.no_grad():
        wanted = net(torch.tensor(X.astype(np.float32))).numpy()
    assert_same_outputs(from_safetensors(path, activations="tanh").predict(X), wanted, "float32")
    listed = from_safetensors(path, activations=["tanh"] * 6 + [None], loss="softmax_crossentropy")
    assert_same_outputs(listed.predict(X), wanted, "float32")
    assert listed.loss.name == "softmax_crossentropy"
    with pytest.raises(ValueError, match=r"activations must be given, .* a list of 7, got None"):
        from_safetensors(path)
    save_file({"one.weight": torch.ones(2, 7), "one.bias": torch.ones(2), "out.weight": torch.ones(1, 2)}, path)
    with pytest.raises(ValueError, match=r"'one.bias', whose name does not say where its layer stands"):
        from_safetensors(path, activations="tanh")


def test_estimators_and_pipelines(path):
    pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = 2.0 * table(d=4) + 3.0, np.array(["a", "b", "c"])[labels(classes=3)]
    pipeline = make_pipeline(StandardScaler(), fastnn.MLPClassifier((5,), tol=1e9, n_iter_no_change=1)).fit(X, y)
    to_safetensors(pipeline, path)
    assert_same_outputs(from_safetensors(path).predict(X), pipeline.predict_proba(X), "float64")
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["fastnn"])["classes"] == ["a", "b", "c"]


def test_a_file_is_replaced_only_by_a_whole_one(path, monkeypatch):
    path.write_bytes(b"before")
    custom = fastnn.Model(
        [fastnn.Dense(3, fastnn.custom.activation(softsign, softsign_slope)), 2], loss="squared_error"
    )
    with pytest.raises(ValueError, match="softsign"):
        to_safetensors(custom.build(4), path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            to_safetensors(chain_net(), path)
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == [path.name]
    for wrong in (3, None, b"x"):
        with pytest.raises(TypeError, match="path must be a path"):
            to_safetensors(chain_net(), wrong)


def test_wrong_files_are_refused(path, tmp_path):
    to_safetensors(chain_net(), path)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[:-5], whole[:20], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path must be a whole file of safetensors"):
            from_safetensors(path)
    with pytest.raises(FileNotFoundError):
        from_safetensors(tmp_path / "none")
    with pytest.raises(TypeError, match="path must be a path"):
        from_safetensors(3)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="activations must be left out"):
        from_safetensors(path, activations="tanh")
    with pytest.raises(TypeError, match=r"from_safetensors\(\) has no argument 'learning_rate'"):
        from_safetensors(path, learning_rate=0.1)


@pytest.mark.parametrize(
    ("arrays", "metadata", "text"),
    [
        ({"0.weight": np.ones((2, 3), np.float32)}, {"fastnn": "{"}, "metadata of fastnn that cannot be read"),
        ({"0.weight": np.ones((2, 3), np.float32)}, {"fastnn": "{}"}, "cannot be read: 'version'"),
        ({"0.weight": np.ones((2, 3), np.float32)}, {"fastnn": '{"version": 99}'}, "a later version"),
        ({"0.running_mean": np.ones(3, np.float32)}, None, "'0.running_mean' is neither a weight nor a bias"),
        ({"0.weight": np.ones((2, 3, 1, 1), np.float32)}, None, "layer '0' has no weight in 2-D"),
        ({"0.weight": np.ones((2, 3), np.int64)}, None, "dtype int64"),
        ({"0.weight": np.full((2, 3), np.nan)}, None, "has weights that are not finite"),
        ({}, None, "path must be a mapping with entries"),
    ],
    ids=str,
)
def test_files_without_a_chain_are_refused(path, arrays, metadata, text):
    safetensors.numpy.save_file(arrays, path, metadata=metadata)
    with pytest.raises(ValueError, match=text):
        from_safetensors(path)
