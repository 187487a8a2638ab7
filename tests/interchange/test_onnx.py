"""Models of ONNX: computed by ONNX Runtime, read back, read from other exporters, and by skl2onnx."""

from __future__ import annotations

import io
import json
import warnings

import numpy as np
import pytest
from models import HIDDEN_ACTIVATIONS, assert_same_outputs, chain_net, labels, softsign, softsign_slope, table

import fastnn
from fastnn.interchange import from_onnx, register_skl2onnx, to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
FAST = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
#: Labels of every kind.
TARGETS = {
    "three classes": labels(classes=3) * 10,
    "texts": np.array(["ab", "é", "d"])[labels(classes=3)],
    "objects": np.array(["no", "yes"], object)[labels(classes=2)],
    "two classes": labels(classes=2),
    "bools": labels(classes=2) > 0,
    "floats": labels(classes=3) * 2.0,
    "several labels": np.stack([labels(classes=2, seed=k) for k in range(3)], axis=1),
    "two labels": np.stack([labels(classes=2, seed=k) for k in range(2)], axis=1),
}
#: Those that skl2onnx can write as labels.
INTEGERS_OR_TEXTS = [name for name in TARGETS if name != "floats"]


def run(model, X):
    """Outputs of ONNX Runtime by their names."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: X}), strict=True))


# ------------------------------------------------------------------------------------------------- written and computed


@DTYPES
@pytest.mark.parametrize("hidden", [(), (1,), (5, 9)], ids=str)
@pytest.mark.parametrize("activation", HIDDEN_ACTIVATIONS.values(), ids=HIDDEN_ACTIVATIONS)
def test_every_activation_there_and_back(activation, hidden, dtype):
    model = chain_net(activation, hidden, dtype=dtype, loss="huber")
    X = table(d=7).astype(dtype)
    made = to_onnx(model, dtype=dtype)
    onnx.checker.check_model(made, full_check=True)
    assert (made.ir_version, made.opset_import[0].version, len(made.opset_import)) == (8, 17, 1)
    assert_same_outputs(run(made, X)["output"], model.predict(X), dtype)
    assert_same_outputs(run(made, X[:1])["output"], model.predict(X[:1]), dtype)
    again = from_onnx(made, seed=1)
    assert [layer.activation.name for layer in again.layers] == [layer.activation.name for layer in model.layers]
    for a, b in zip(again.layers, model.layers, strict=True):
        assert a.activation.alpha == pytest.approx(b.activation.alpha, rel=1e-15)
    for a, b in zip((*again.weights, *again.biases), (*model.weights, *model.biases), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15 if activation == "hard_sigmoid" else 0.0, atol=1e-15)
    assert (again.loss.name, again.dtype) == ("huber", dtype)
    assert_same_outputs(again.predict(X), model.predict(X), dtype)
    again.fit(X, table(d=3, seed=9), epochs=1)


def test_gelu_in_float64_where_it_is_a_polynomial():
    model = chain_net("gelu", (1,), dtype="float64", n_features=1, n_outputs=1)
    model.weights, model.biases = [[[1.0]], [[1.0]]], [[0.0], [0.0]]
    X = np.concatenate([np.linspace(-40.0, 40.0, 4001), [1e-300, -1e-9, 1e5, -1e5, 1e300, -1e300]])[:, None]
    with np.errstate(all="ignore"):
        found, wanted = run(to_onnx(model, dtype="float64"), X)["output"], model.predict(X)
    assert np.all(np.abs(found - wanted) <= 4e-15 * np.maximum(1.0, np.abs(wanted)))


@DTYPES
@pytest.mark.parametrize("output", [None, "link"])
@pytest.mark.parametrize(
    ("loss", "n_outputs"), [("softmax_crossentropy", 3), ("binary_crossentropy", 1), ("binary_crossentropy", 4)]
)
def test_models_of_classes(loss, n_outputs, output, dtype):
    last = None if output is None else ("softmax" if loss == "softmax_crossentropy" else "sigmoid")
    model = chain_net(dtype=dtype, loss=loss, n_outputs=n_outputs, output=last)
    X = table(d=7).astype(dtype)
    made = to_onnx(model, dtype=dtype)
    found = run(made, X)
    assert list(found) == (["logits", "probabilities"] if output is None else ["probabilities"])
    assert_same_outputs(next(iter(found.values())), model.predict(X), dtype)
    assert_same_outputs(found["probabilities"], model.predict_proba(X), dtype)
    again = from_onnx(made)
    assert again.loss.name == loss
    assert_same_outputs(again.predict(X), model.predict(X), dtype)
    assert_same_outputs(from_onnx(made, output="probabilities").predict(X), model.predict_proba(X), dtype)


@DTYPES
def test_float32_is_the_default_and_huge_weights_need_float64(dtype):
    model = chain_net(dtype="float64")
    X = table(d=7).astype(np.float32)
    assert_same_outputs(run(to_onnx(model), X)["output"], model.predict(X), "float32")
    model.weights[0][0, 0] = 1e300
    with pytest.raises(ValueError, match="dtype must be one whose range the weights are in, got 'float32'"):
        to_onnx(model)
    assert to_onnx(model, dtype="float64").graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE


def test_the_file_its_metadata_and_other_opsets(tmp_path):
    path = tmp_path / "net.onnx"
    model = chain_net("mish")
    made = to_onnx(model, path)
    assert onnx.load(path) == made
    assert (made.producer_name, made.producer_version) == ("fastnn", fastnn.__version__)
    assert {one.key: one.value for one in made.metadata_props} == {"loss": "squared_error"}
    X = table(d=7).astype(np.float32)
    assert_same_outputs(from_onnx(path).predict(X), model.predict(X), "float32")
    assert_same_outputs(from_onnx(str(path)).predict(X), model.predict(X), "float32")
    for opset in (13, 15, 21):
        made = to_onnx(model, opset=opset)
        assert made.opset_import[0].version == opset
        assert_same_outputs(run(made, X)["output"], model.predict(X), "float32")
        assert_same_outputs(from_onnx(made).predict(X), model.predict(X), "float32")


def test_averages_are_what_is_written():
    model = chain_net(optimizer=fastnn.Adam(0.1, ema_momentum=0.9))
    X = table(d=7).astype(np.float32)
    model.fit(X, table(d=3, seed=9), epochs=2)
    assert_same_outputs(run(to_onnx(model), X)["output"], model.predict(X), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda path: to_onnx(chain_net(), path, opset=12), ValueError, "opset must be at least 13, got 12"),
        (lambda path: to_onnx(chain_net(), path, opset=999), ValueError, "opset must be at most .*, got 999"),
        (lambda path: to_onnx(chain_net(), path, opset="17"), TypeError, "opset must be an integer"),
        (lambda path: to_onnx(chain_net(), path, dtype="float16"), ValueError, "dtype must be 'float32' or 'float64'"),
        (lambda path: to_onnx(chain_net(), 3), TypeError, "path must be a path"),
        (lambda path: to_onnx(3, path), TypeError, "model must be a Model"),
        (lambda path: to_onnx(fastnn.Model([2], loss="squared_error"), path), ValueError, "no weights yet"),
        (
            lambda path: to_onnx(chain_net(fastnn.custom.activation(softsign, softsign_slope)), path),
            ValueError, r"layers\[0\] has the custom activation 'softsign'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_call_writes_nothing(tmp_path, call, error, text):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    with pytest.raises(error, match=text):
        call(path)
    assert path.read_bytes() == b"before"


# ----------------------------------------------------------------------------------------------------------- estimators


@DTYPES
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_classifiers(y, dtype):
    pytest.importorskip("sklearn")
    X = table(d=4).astype(dtype)
    ours = fastnn.MLPClassifier(activation="silu", **FAST).fit(X, y)
    made = to_onnx(ours, dtype=dtype)
    assert [one.domain for one in made.opset_import] == [""]
    found = run(made, X)
    assert list(found) == ["label", "probabilities"]
    assert np.array_equal(found["label"], ours.predict(X))
    assert_same_outputs(found["probabilities"], ours.predict_proba(X), dtype)
    assert json.loads({one.key: one.value for one in made.metadata_props}["classes"]) == ours.classes_.tolist()
    again = from_onnx(made)
    wanted = ours.predict_proba(X)
    assert_same_outputs(again.predict(X), wanted[:, 1:] if again.n_outputs == 1 else wanted, dtype)


@DTYPES
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regressors_in_a_pipeline_of_scalers(n_outputs, dtype):
    pipeline_of = pytest.importorskip("sklearn.pipeline").make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    X = (3.0 * table(d=4) + 2.0).astype(dtype)
    y = table(d=3, seed=9)[:, :n_outputs]
    pipeline = pipeline_of(MinMaxScaler(), StandardScaler(), fastnn.MLPRegressor(activation="softplus", **FAST))
    pipeline.fit(X, y[:, 0] if n_outputs == 1 else y)
    found = run(to_onnx(pipeline, dtype=dtype), X)
    assert list(found) == ["output"]
    assert_same_outputs(found["output"], pipeline.predict(X).reshape(len(X), -1), dtype)


# ------------------------------------------------------------------------------------------------------------- skl2onnx


@pytest.fixture(scope="module")
def skl2onnx():
    found = pytest.importorskip("skl2onnx")
    register_skl2onnx()
    register_skl2onnx()
    return found


def pipeline_of(estimator, X, y):
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), PCA(3), estimator).fit(X, y)


@DTYPES
@pytest.mark.parametrize("y", [TARGETS[name] for name in INTEGERS_OR_TEXTS], ids=INTEGERS_OR_TEXTS)
def test_pipelines_by_skl2onnx(skl2onnx, y, dtype):
    X = table(d=4).astype(dtype)
    pipeline = pipeline_of(fastnn.MLPClassifier(activation="mish", **FAST), X, y)
    options = {"zipmap": False}
    made = skl2onnx.to_onnx(pipeline, X[:1], options=options, target_opset=17)
    onnx.checker.check_model(made, full_check=True)
    found = run(made, X)
    assert np.array_equal(found["label"], pipeline.predict(X))
    assert_same_outputs(found["probabilities"], pipeline.predict_proba(X), dtype)
    if dtype == "float32":  # ONNX Runtime has no other dictionaries
        mapped = run(skl2onnx.to_onnx(pipeline, X[:1], target_opset=17), X)
        by_class = [list(row.values()) for row in mapped["output_probability"]]
        assert_same_outputs(by_class, found["probabilities"], dtype)
    numbered = run(skl2onnx.to_onnx(pipeline, X[:1], options={**options, "nocl": True}, target_opset=17), X)
    if y.ndim == 1:
        assert np.array_equal(numbered["label"], np.searchsorted(pipeline.classes_, pipeline.predict(X)))
    columns = run(skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": "columns"}, target_opset=17), X)
    assert_same_outputs(np.stack(list(columns.values())[1:], axis=1), found["probabilities"], dtype)
    if y.dtype != bool:  # which skl2onnx itself cannot write
        labelled = skl2onnx.to_onnx(pipeline, X[:1], options={**options, "output_class_labels": True}, target_opset=17)
        assert np.array_equal(run(labelled, X)["class_labels"], pipeline.classes_)


@DTYPES
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regressors_by_skl2onnx(skl2onnx, n_outputs, dtype):
    X = table(d=4).astype(dtype)
    y = table(d=3, seed=9)[:, :n_outputs]
    pipeline = pipeline_of(fastnn.MLPRegressor(activation="elu", **FAST), X, y[:, 0] if n_outputs == 1 else y)
    made = skl2onnx.to_onnx(pipeline, X[:1], target_opset=17)
    onnx.checker.check_model(made, full_check=True)
    assert_same_outputs(run(made, X)["variable"], pipeline.predict(X).reshape(len(X), -1), dtype)


def test_integer_features_by_skl2onnx(skl2onnx):
    X = np.random.default_rng(0).integers(-3, 4, (45, 4))
    ours = fastnn.MLPClassifier(**FAST).fit(X, labels(classes=3))
    made = skl2onnx.to_onnx(ours, X[:1], options={"zipmap": False}, target_opset=17)
    assert_same_outputs(run(made, X)["probabilities"], ours.predict_proba(X), "float32")


@DTYPES
@pytest.mark.parametrize("y", [TARGETS[name] for name in INTEGERS_OR_TEXTS], ids=INTEGERS_OR_TEXTS)
def test_what_skl2onnx_writes_is_read(skl2onnx, y, dtype):
    from sklearn import neural_network
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = (2.0 * table(d=4) + 1.0).astype(dtype)
    theirs = neural_network.MLPClassifier(activation="tanh", **FAST)
    for estimator in (theirs, fastnn.MLPClassifier(activation="silu", **FAST)):
        pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y)
        wanted = pipeline.predict_proba(X)
        for options in ({"zipmap": False}, None):
            given = None if options is None else {id(estimator): options}
            model = from_onnx(skl2onnx.to_onnx(pipeline, X[:1], options=given, target_opset=17))
            if estimator is theirs and y.ndim == 2 and y.shape[1] == 2:
                continue  # it takes two labels per row for two classes
            assert_same_outputs(model.predict(X), wanted[:, 1:] if model.n_outputs == 1 else wanted, dtype)


# -------------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(
    "name", ["ReLU", "Sigmoid", "Tanh", "ELU", "SELU", "Softplus", "Hardsigmoid", "SiLU", "GELU", "Mish"]
)
@pytest.mark.parametrize("opset", [13, 20])
def test_what_pytorch_writes_is_read(name, opset):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm1d(7), nn.Linear(7, 5), getattr(nn, name)(), nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4),
        nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(4, 2), nn.Softmax(1),
    )  # fmt: skip
    X = table(d=7).astype(np.float32)
    net(torch.tensor(2.0 * X + 1.0))
    net.eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.tensor(X),), file, dynamo=False, opset_version=opset)
    with torch.no_grad():
        wanted = net(torch.tensor(X)).numpy()
    model = from_onnx(onnx.load_from_string(file.getvalue()))
    assert_same_outputs(model.predict(X), wanted, "float32")
    assert model.layers[1].activation == fastnn.leaky_relu(0.2)
    model.fit(X, labels(classes=2), epochs=1)


# --------------------------------------------------------------------------------------------- forms written by others


def graph_of(nodes, constants, *, n_in=4, inputs=("x",), outputs=("y",), opset=17, element=TensorProto.FLOAT):
    """Model of the nodes."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, element, ["batch", n_in]) for name in inputs],
        [helper.make_tensor_value_info(name, element, [None, None]) for name in outputs],
        [
            numpy_helper.from_array(
                np.asarray(array, np.float32 if np.asarray(array).dtype.kind == "f" else None), name
            )
            for name, array in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


W, B = table(4, 3, seed=1), table(3, 1, seed=2)[:, 0]


def node(operator, inputs, output, **attributes):
    name = f"the_{operator.lower()}_{output}"
    return helper.make_node(operator, inputs.split(), [output], name=name, **attributes)


def activation_nodes(*nodes):
    """A layer, then these nodes from z to y."""
    return [node("Gemm", "x W B", "z"), *nodes]


#: Nodes of a layer or of an activation, the constants beside W and B, and the activation that they are.
FORMS = {
    "transposed": ([node("Gemm", "x V B", "y", transB=1, alpha=0.5, beta=2.0)], {"V": W.T}, "identity"),
    "no bias": ([node("Gemm", "x W", "y")], {}, "identity"),
    "product": ([node("MatMul", "x W", "p"), node("Add", "R p", "y")], {"R": B[None]}, "identity"),
    "scalar bias": ([node("MatMul", "x W", "p"), node("Add", "p c", "y")], {"c": 0.5}, "identity"),
    "scaled": (
        [
            node("Sub", "x c", "a"),
            node("Div", "a d", "b"),
            node("MatMul", "b W", "p"),
            node("Mul", "p c", "q"),
            node("Sub", "d q", "y"),
        ],
        {"c": 0.5, "d": 2.0},
        "identity",
    ),
    "transposed constant": ([node("Transpose", "V", "U"), node("MatMul", "x U", "y")], {"V": W.T}, "identity"),
    "normalization": (
        activation_nodes(node("BatchNormalization", "z s B m v", "y", epsilon=0.01)),
        {"s": [1.0, 2.0, 3.0], "m": [0.5, 0.0, 1.0], "v": [1.0, 0.5, 4.0]},
        "identity",
    ),
    "nothing": (
        activation_nodes(
            node("Identity", "z", "a"),
            node("Dropout", "a", "b"),
            node("Flatten", "b", "c"),
            node("Reshape", "c shape", "y"),
        ),
        {"shape": np.array([-1, 3])},
        "identity",
    ),
    "maximum": (activation_nodes(node("Max", "z zero", "y")), {"zero": 0.0}, "relu"),
    "clip": (activation_nodes(node("Clip", "z zero", "y")), {"zero": 0.0}, "relu"),
    "gelu": (
        activation_nodes(
            node("Div", "z r", "a"),
            node("Erf", "a", "b"),
            node("Add", "b one", "c"),
            node("Mul", "z c", "d"),
            node("Mul", "d h", "y"),
        ),
        {"r": 2.0**0.5, "one": 1.0, "h": 0.5},
        "gelu",
    ),
    "native gelu": (activation_nodes(node("Gelu", "z", "y")), {}, "gelu"),
    "native mish": (activation_nodes(node("Mish", "z", "y")), {}, "mish"),
    "thresholded softplus": (
        activation_nodes(node("Softplus", "z", "a"), node("Greater", "z t", "b"), node("Where", "b z a", "y")),
        {"t": 20.0},
        "softplus",
    ),
    "celu": (activation_nodes(node("Celu", "z", "y")), {}, "elu"),
    "other hard sigmoid": (activation_nodes(node("HardSigmoid", "z", "y")), {}, "hard_sigmoid"),
    "clip to one": (activation_nodes(node("Clip", "z zero one", "y")), {"zero": 0.0, "one": 1.0}, "hard_sigmoid"),
    "both classes": (
        [
            node("Gemm", "x w", "z"),
            node("Sigmoid", "z", "p"),
            node("Sub", "one p", "q"),
            node("Concat", "q p", "y", axis=1),
        ],
        {"w": W[:, :1], "one": 1.0},
        "sigmoid",
    ),
}


@pytest.mark.parametrize(("nodes", "constants", "activation"), FORMS.values(), ids=FORMS)
def test_other_forms(nodes, constants, activation):
    made = graph_of(nodes, {"W": W, "B": B, **constants}, opset=20)
    X = 3.0 * table(d=4).astype(np.float32)
    wanted = run(made, X)["y"]
    model = from_onnx(made)
    assert model.layers[-1].activation.name == activation
    assert len(model.layers) == 1
    assert_same_outputs(model.predict(X), wanted[:, 1:] if model.n_outputs == 1 else wanted, "float32")


REFUSED = {
    "operator": (activation_nodes(node("Sin", "z", "y")), {}, "node 'the_sin_y', Sin has no equivalent"),
    "relu6": (
        activation_nodes(node("Clip", "z zero six", "y")),
        {"zero": 0.0, "six": 6.0},
        "node 'the_clip_y', Clip has no",
    ),
    "gelu by tanh": (
        activation_nodes(node("Gelu", "z", "y", approximate="tanh")),
        {},
        "node 'the_gelu_y', Gelu has no",
    ),
    "quick gelu": (
        activation_nodes(node("Mul", "z k", "a"), node("Sigmoid", "a", "b"), node("Mul", "z b", "y")),
        {"k": 1.702},
        "node 'the_mul_a', Mul begins 3 nodes from 'z' to 'y'",
    ),
    "slopes": (activation_nodes(node("PRelu", "z s", "y")), {"s": [0.1, 0.2, 0.3]}, "node 'the_prelu_y', PRelu has no"),
    "skip": (
        activation_nodes(node("Relu", "z", "a"), node("Gemm", "a S", "b"), node("Add", "b z", "y")),
        {"S": np.eye(3)},
        "node 'the_relu_a', Relu begins 3 nodes from 'z' to 'y'",
    ),
    "branch from the input": (
        [node("Gemm", "x W", "a"), node("Gemm", "x V", "b"), node("Add", "a b", "y")],
        {"V": W},
        "node 'the_gemm_a', Gemm begins 3 nodes from 'x' to 'y'",
    ),
    "same weights": (
        activation_nodes(node("Gemm", "z S", "a"), node("Relu", "a", "b"), node("Gemm", "b S", "y")),
        {"S": np.eye(3)},
        "node 'the_gemm_y', Gemm has the weights of node 'the_gemm_a', Gemm",
    ),
    "data on the right": ([node("MatMul", "W x", "y")], {}, "node 'the_matmul_y', MatMul has its data on the right"),
    "transposed data": (
        [node("Gemm", "x W", "y", transA=1)],
        {},
        "node 'the_gemm_y', Gemm has data that are transposed",
    ),
    "quotient": (
        activation_nodes(node("Div", "one z", "y")),
        {"one": 1.0},
        "node 'the_div_y', Div divides a constant by data",
    ),
    "softmax of columns": (activation_nodes(node("Softmax", "z", "y", axis=0)), {}, "is not along the columns"),
    "integers": (
        activation_nodes(node("Cast", "z", "y", to=TensorProto.FLOAT16)),
        {},
        "node 'the_cast_y', Cast has no",
    ),
    "widths": (
        activation_nodes(node("Gemm", "z V", "y")),
        {"V": W},
        "has 4 inputs, but node 'the_gemm_z', Gemm before it 3 outputs",
    ),
    "activation first": (
        [node("Tanh", "x", "a"), node("Gemm", "a W", "y")],
        {},
        "node 'the_tanh_a', Tanh stands before the first",
    ),
    "no layer": ([node("Identity", "x", "y")], {}, "model has no dense layer"),
    "matrix beside data": (
        activation_nodes(node("Add", "z M", "y")),
        {"M": np.ones((2, 3))},
        "has a constant of shape",
    ),
    "constant output": ([node("Identity", "W", "y")], {}, "model must have one input that 'y' depends on, got none"),
}


@pytest.mark.parametrize(("nodes", "constants", "text"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_equivalent_is_refused_by_name(nodes, constants, text):
    with pytest.raises(ValueError, match=text):
        from_onnx(graph_of(nodes, {"W": W, "B": B, **constants}, opset=20))


def test_two_inputs_and_unknown_outputs_are_refused():
    nodes = [node("Gemm", "x W", "a"), node("Gemm", "u W", "b"), node("Add", "a b", "y")]
    with pytest.raises(ValueError, match="model must have one input that 'y' depends on, got x, u"):
        from_onnx(graph_of(nodes, {"W": W}, inputs=("x", "u")))
    made = graph_of([node("Gemm", "x W", "y")], {"W": W})
    with pytest.raises(ValueError, match="output must be one of y, got 'z'"):
        from_onnx(made, output="z")
    with pytest.raises(TypeError, match=r"from_onnx\(\) has no argument 'epochs'"):
        from_onnx(made, epochs=3)
    of_labels = graph_of(
        [node("Gemm", "x W", "z"), node("ArgMax", "z", "y", axis=1)], {"W": W}, element=TensorProto.FLOAT
    )
    of_labels.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ValueError, match=r"of which none is of floats"):
        from_onnx(of_labels)


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    whole = to_onnx(chain_net()).SerializeToString()
    for damaged in (b"", b"this is a text and no model", whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model must be (a whole file of ONNX|valid for onnx.checker), got"):
            from_onnx(path)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")
    for wrong in (3, None, [path], b"bytes"):
        with pytest.raises(TypeError, match=r"model must be a path or an onnx.ModelProto, got"):
            from_onnx(wrong)
    with pytest.raises(ValueError, match=r"model must be valid for onnx.checker, got 'the ModelProto'"):
        from_onnx(onnx.ModelProto())
