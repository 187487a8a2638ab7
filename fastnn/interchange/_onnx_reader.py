"""Nets from models of ONNX: chains of dense layers, as PyTorch, Keras, skl2onnx and `to_onnx` write them.

The nodes that lead to the output are divided into blocks, each with one tensor before and one after it: a product, an
addition, or an activation, which may be several nodes. Activations are recognized by their values, as every exporter
writes them in its own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fastnn._validation import CONVERSION_ERRORS, as_path, must_be, reason
from fastnn.activations import SELU_LIMIT, SELU_SCALE, Activation
from fastnn.interchange._onnx import onnx_library
from fastnn.interchange._steps import Steps
from fastnn.kernels.nn.rules import LOSSES
from fastnn.losses import Loss
from fastnn.model import Model
from fastnn.optimizers import Optimizer

Array = npt.NDArray[Any]

#: Where activations are compared. The first point is far enough from 0 for the limit of an exponential.
POINTS = np.concatenate([[-45.0, -1.0], np.linspace(-25.0, 25.0, 401)])
#: Largest difference, relative to the value or 1. Softplus of PyTorch is x above 20, which differs by 2e-9.
TOLERANCES = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 5e-9}
#: Blocks that may follow the first one of an activation: gelu ends with a product of x and a sum, then times 1/2.
LONGEST = 3


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


def _gelu(x: Array) -> Array:
    from scipy import special  # where used: it costs some 60 ms to import

    return x * special.ndtr(x)


#: Values of each activation in float64, from x and alpha.
_VALUES: dict[str, Callable[[Array, float], Array]] = {
    "sigmoid": lambda x, alpha: _sigmoid(x),
    "tanh": lambda x, alpha: np.tanh(x),
    "relu": lambda x, alpha: np.maximum(x, 0.0),
    "leaky_relu": lambda x, alpha: np.where(x > 0.0, x, alpha * x),
    "elu": lambda x, alpha: np.where(x > 0.0, x, alpha * np.expm1(x)),
    "exponential": lambda x, alpha: np.exp(x),
    "selu": lambda x, alpha: np.where(x > 0.0, SELU_SCALE * x, SELU_LIMIT * np.expm1(x)),
    "softplus": lambda x, alpha: _softplus(x),
    "hard_sigmoid": lambda x, alpha: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "silu": lambda x, alpha: x * _sigmoid(x),
    "gelu": lambda x, alpha: _gelu(x),
    "mish": lambda x, alpha: x * np.tanh(_softplus(x)),
}
#: Operators on constants alone, from their inputs.
_FOLDED: dict[str, Callable[..., Array]] = {
    "Identity": lambda a: a, "Cast": lambda a: a, "Neg": np.negative, "Sqrt": np.sqrt, "Reciprocal": np.reciprocal,
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide,
}  # fmt: skip


@dataclass
class _Graph:
    """The needed part of a graph.

    Parameters
    ----------
    onnx : module
    model : ModelProto
    steps : Steps
        For the texts of errors.
    nodes : list of NodeProto
        Those that depend on the input and that the output depends on, in their order.
    constants : dict of str to ndarray
    input, output : str
        Names of tensors.
    """

    onnx: Any
    model: Any
    steps: Steps
    nodes: list[Any]
    constants: dict[str, Array]
    input: str
    output: str

    def refuse(self, node: Any, text: str, hint: str = "") -> NoReturn:
        self.steps.refuse(place_of(node), text, hint)

    def dynamic(self, node: Any) -> list[str]:
        """Return the inputs that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def constant(self, node: Any, index: int) -> Array | None:
        """Return an input, which must be a constant; None if it is left out."""
        if index >= len(node.input) or not node.input[index]:
            return None
        name = node.input[index]
        if name not in self.constants:
            self.refuse(node, f"reads {name!r}, which is computed, where a net of fastnn has a constant")
        return self.constants[name]

    def attributes(self, node: Any) -> dict[str, Any]:
        return {one.name: self.onnx.helper.get_attribute_value(one) for one in node.attribute}


def place_of(node: Any) -> str:
    """Return how errors call a node."""
    return f"node {node.name or node.output[0]!r}, {node.op_type}"


def _load(onnx: Any, model: Any) -> Any:
    """Return a checked ModelProto from a path or a ModelProto."""
    if isinstance(model, str | os.PathLike):
        path = as_path("model", model)
        try:
            found = onnx.load(path)
        except (OSError, *CONVERSION_ERRORS) as error:
            if isinstance(error, OSError):
                raise
            raise ValueError(must_be("model", "a file of ONNX", path, f"{reason(error)}.")) from error
        except Exception as error:
            if type(error).__name__ != "DecodeError":  # of google.protobuf, which onnx needs
                raise
            raise ValueError(must_be("model", "a whole file of ONNX", path, f"{reason(error)}.")) from error
    elif isinstance(model, onnx.ModelProto):
        path, found = "the ModelProto", model
    else:
        raise TypeError(must_be("model", "a path or an onnx.ModelProto", model))
    try:
        onnx.checker.check_model(found)
    except onnx.checker.ValidationError as error:
        raise ValueError(must_be("model", "valid for onnx.checker", path, f"{reason(error)}.")) from error
    if found.functions:
        from onnx.inliner import inline_local_functions

        found = inline_local_functions(found)
    return found


def _chosen_output(onnx: Any, graph: Any, output: str | None) -> str:
    names = [one.name for one in graph.output]
    if output is not None:
        if output not in names:
            raise ValueError(must_be("output", f"one of {', '.join(names)}", output))
        return output
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.UNDEFINED)
    for one in graph.output:
        if one.type.HasField("sequence_type") or (one.type.tensor_type.elem_type in floats and one.name != "label"):
            return str(one.name)
    raise ValueError(f"model has the outputs {', '.join(names)}, of which none is of floats: it is no net of values.")


def _graph(onnx: Any, model: Any, steps: Steps, output: str | None) -> _Graph:
    """Divide the nodes into those of constants and those of data, without those that the output does not need."""
    graph = model.graph
    target = _chosen_output(onnx, graph, output)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    needed, nodes = {target}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    nodes.reverse()
    inputs = [one.name for one in graph.input if one.name in needed and one.name not in constants]
    if len(inputs) != 1:
        raise ValueError(f"model must have one input that {target!r} depends on, got {', '.join(inputs) or 'none'}.")
    found = _Graph(onnx, model, steps, [], constants, inputs[0], target)
    for node in nodes:
        if node.op_type == "Constant":
            constants[node.output[0]] = _value(onnx, found, node)
        elif found.dynamic(node):
            found.nodes.append(node)
        else:
            constants[node.output[0]] = _folded(found, node)
    return found


def _value(onnx: Any, graph: _Graph, node: Any) -> Array:
    for name, value in graph.attributes(node).items():
        if name == "value":
            return np.asarray(onnx.numpy_helper.to_array(value))
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    graph.refuse(node, "has no value of numbers")


def _folded(graph: _Graph, node: Any) -> Array:
    inputs = [graph.constants[name] for name in node.input if name]
    if node.op_type == "Transpose":
        return np.transpose(inputs[0], graph.attributes(node).get("perm"))
    if node.op_type == "Reshape":
        return inputs[0].reshape(inputs[1].tolist())
    if node.op_type not in _FOLDED:
        graph.refuse(node, "computes with constants in a way that is not read here")
    return np.asarray(_FOLDED[node.op_type](*inputs))


# ------------------------------------------------------------------------------------------------- blocks of nodes


def _blocks(graph: _Graph) -> list[tuple[str, list[Any]]]:
    """Return the tensor before each block, and its nodes."""
    readers: dict[str, int] = {graph.output: 1}
    for node in graph.nodes:
        for name in graph.dynamic(node):
            readers[name] = readers.get(name, 0) + 1
    blocks: list[tuple[str, list[Any]]] = []
    start, block, live = graph.input, [], {graph.input}
    for node in graph.nodes:
        read = graph.dynamic(node)
        if not set(read) <= live:
            graph.refuse(node, f"reads {', '.join(sorted(set(read) - live))} from outside, so the graph is no chain")
        block.append(node)
        for name in read:
            readers[name] -= 1
        live = {name for name in (*live, *node.output) if readers.get(name)}
        if len(live) == 1:
            blocks.append((start, block))
            (start,), block = live, []
    if block or start != graph.output:
        node = block[0] if block else graph.nodes[-1]
        graph.refuse(node, f"is one of several that read {start!r}, so the graph is no chain")
    return blocks


def _values_of(graph: _Graph, start: str, block: list[Any], dtype: np.dtype[Any]) -> Array | None:
    """Return the values of a block at `POINTS`; None if it does more than compute one number from one."""
    import onnx.reference

    helper, numpy_helper = graph.onnx.helper, graph.onnx.numpy_helper
    used = {name for node in block for name in node.input if name in graph.constants}
    if any(graph.constants[name].size > 1 for name in used):
        return None
    element, end = helper.np_dtype_to_tensor_dtype(dtype), block[-1].output[0]
    part = helper.make_graph(
        block,
        "block",
        [helper.make_tensor_value_info(start, element, ["batch", 1])],
        [helper.make_tensor_value_info(end, element, ["batch", 1])],
        [numpy_helper.from_array(graph.constants[name], name) for name in used],
    )
    try:
        with np.errstate(all="ignore"):
            session = onnx.reference.ReferenceEvaluator(helper.make_model(part, opset_imports=graph.model.opset_import))
            (found,) = session.run([end], {start: POINTS[:, None].astype(dtype)})
    except Exception:  # of an operator that onnx cannot compute, of whatever type
        return None
    found = np.asarray(found)
    return found[:, 0].astype(np.float64) if found.shape == (len(POINTS), 1) and found.dtype == dtype else None


def _activation(graph: _Graph, start: str, block: list[Any], dtype: np.dtype[Any]) -> Activation | None:
    """Return the activation whose values a block has; None if there is none."""
    found = _values_of(graph, start, block, dtype)
    if found is None or not np.isfinite(found).all():
        return None
    for name, values in _VALUES.items():
        alpha = {"leaky_relu": -found[1], "elu": -found[0]}.get(name, 0.0)
        if name in ("leaky_relu", "elu"):
            if not alpha > 0.0:
                continue
            alpha = float(str(np.float32(alpha))) if dtype == np.float32 else float(alpha)  # 0.01, not 0.0099999998
        with np.errstate(over="ignore"):
            wanted = values(POINTS, alpha)
        if np.all(np.abs(found - wanted) <= TOLERANCES[dtype] * np.maximum(1.0, np.abs(wanted))):
            return Activation(name, alpha)
    return None


def _is_both_classes(graph: _Graph, start: str, block: list[Any]) -> bool:
    """Whether a block is the probabilities 1 - p and p from p."""
    if [node.op_type for node in block] != ["Sub", "Concat"]:
        return False
    rest, both = block
    one = graph.constants.get(rest.input[0])
    return one is not None and bool(np.all(one == 1.0)) and list(both.input) == [rest.output[0], start]


# --------------------------------------------------------------------------------------------------- single nodes


def _row(graph: _Graph, node: Any, values: Array) -> Array:
    """Return a constant beside data as one number per column."""
    if values.ndim > 2 or (values.ndim == 2 and len(values) != 1):
        graph.refuse(node, f"has a constant of shape {values.shape}, not one number per column")
    return values.reshape(-1)


def _gemm(graph: _Graph, node: Any) -> None:
    given = graph.attributes(node)
    if given.get("transA", 0) or node.input[0] in graph.constants:
        graph.refuse(node, "has data that are transposed or on the right")
    weights = graph.constant(node, 1)
    assert weights is not None
    weights = weights.T if given.get("transB", 0) else weights
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    biases = graph.constant(node, 2)
    if biases is not None:
        biases = np.broadcast_to(_row(graph, node, biases), weights.shape[1:]) * biases.dtype.type(beta)
    graph.steps.dense(place_of(node), weights * weights.dtype.type(alpha), biases)


def _matmul(graph: _Graph, node: Any, addition: Any) -> None:
    """Add a product, and the addition of a constant after it if there is one."""
    if node.input[0] in graph.constants:
        graph.refuse(node, "has its data on the right")
    weights = graph.constant(node, 1)
    assert weights is not None
    biases = None
    if addition is not None:
        index = 0 if addition.input[0] in graph.constants else 1
        given = graph.constant(addition, index)
        assert given is not None
        biases = np.broadcast_to(_row(graph, addition, given), weights.shape[1:])
    graph.steps.dense(place_of(node), weights, biases)


def _affine(graph: _Graph, node: Any) -> None:
    """Add an addition, a subtraction, a product or a quotient of data and a constant."""
    right = node.input[1] in graph.constants
    given = graph.constant(node, 1 if right else 0)
    assert given is not None
    c = _row(graph, node, given).astype(np.float64)
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "Div" and not right:
        graph.refuse(node, "divides a constant by data")
    factors, summands = {
        "Add": (one, c),
        "Sub": (one, -c) if right else (-one, c),
        "Mul": (c, zero),
        "Div": (1.0 / c if right else c, zero),
    }[node.op_type]
    graph.steps.scale(place_of(node), factors, summands)


def _batch_normalization(graph: _Graph, node: Any) -> None:
    given = graph.attributes(node)
    if given.get("training_mode", 0):
        graph.refuse(node, "is in training mode")
    scale, shift, mean, variance = (np.asarray(graph.constant(node, k), np.float64) for k in range(1, 5))
    factors = scale / np.sqrt(variance + given.get("epsilon", 1e-5))
    graph.steps.scale(place_of(node), factors, shift - mean * factors)


def _scaler(graph: _Graph, node: Any) -> None:
    given = graph.attributes(node)
    scale, offset = np.asarray(given.get("scale", [1.0])), np.asarray(given.get("offset", [0.0]))
    graph.steps.scale(place_of(node), scale, -offset * scale)


def _hard_sigmoid(graph: _Graph, node: Any) -> None:
    """Add clip(a x + b, 0, 1), as that of other numbers than ours is one of a multiple of x."""
    given = graph.attributes(node)
    a, b = (given.get("alpha", 0.2), given.get("beta", 0.5)) if node.op_type == "HardSigmoid" else (1.0, 0.0)
    if not np.isclose(a, 1.0 / 6.0, rtol=1e-6) or b != 0.5:
        graph.steps.scale(place_of(node), 6.0 * a, 6.0 * b - 3.0)
    graph.steps.activation(place_of(node), Activation("hard_sigmoid"))


def _is_clip_to_one(graph: _Graph, node: Any) -> bool:
    if node.op_type != "Clip" or len(node.input) != 3 or node.input[0] in graph.constants:
        return False
    limits = [graph.constants.get(name) for name in node.input[1:]]
    return all(limit is not None and float(limit) == bound for limit, bound in zip(limits, (0.0, 1.0), strict=True))


def _softmax(graph: _Graph, node: Any) -> None:
    old = all(one.version < 13 for one in graph.model.opset_import if one.domain == "")
    if graph.attributes(node).get("axis", 1 if old else -1) not in (1, -1):
        graph.refuse(node, "is not along the columns of a row")
    graph.steps.activation(place_of(node), Activation("softmax"))


def _is_nothing(graph: _Graph, node: Any) -> bool:
    """Whether a node leaves rows of numbers as they are when a net predicts."""
    given = graph.attributes(node)
    if node.op_type == "Reshape":
        shape = graph.constant(node, 1)
        return shape is not None and graph.steps.is_row_shape(tuple(shape.tolist()))
    if node.op_type == "Dropout":
        training = graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        return training is None or not bool(training)
    if node.op_type == "Cast":
        return given["to"] in (graph.onnx.TensorProto.FLOAT, graph.onnx.TensorProto.DOUBLE)
    return node.op_type in ("Identity", "ZipMap") or (node.op_type == "Flatten" and given.get("axis", 1) == 1)


_AFFINE = ("Add", "Sub", "Mul", "Div")
_SINGLE: dict[str, Callable[[_Graph, Any], None]] = {
    "Gemm": _gemm,
    "BatchNormalization": _batch_normalization,
    "Scaler": _scaler,
    "HardSigmoid": _hard_sigmoid,
    "Softmax": _softmax,
    **dict.fromkeys(_AFFINE, _affine),
}


def _read(graph: _Graph, dtype: np.dtype[Any]) -> None:
    """Add the blocks to the steps."""
    blocks = _blocks(graph)
    products: dict[str, Any] = {}  # the node of each matrix
    ended = False
    while blocks:
        start, block = blocks.pop(0)
        node = block[0]
        if ended and not _is_nothing(graph, node):
            graph.refuse(node, "follows the probabilities of both classes")
        if node.op_type in ("Gemm", "MatMul"):
            first = products.setdefault(node.input[1], node)
            if first is not node:
                graph.refuse(node, f"has the weights of {place_of(first)}, but each layer of fastnn has its own")
        if _is_both_classes(graph, start, block):
            ended = True
        elif len(block) > 1 or len(graph.dynamic(node)) > 1:
            _add_activation(graph, start, block, blocks, dtype)
        elif _is_nothing(graph, node):
            pass
        elif node.op_type == "MatMul":
            after = blocks[0][1] if blocks else []
            has_bias = len(after) == 1 and after[0].op_type == "Add" and len(graph.dynamic(after[0])) == 1
            _matmul(graph, node, blocks.pop(0)[1][0] if has_bias else None)
        elif node.op_type in _SINGLE:
            _SINGLE[node.op_type](graph, node)
        elif _is_clip_to_one(graph, node):
            _hard_sigmoid(graph, node)
        else:
            _add_activation(graph, start, block, blocks, dtype)


def _add_activation(graph: _Graph, start: str, block: list[Any], after: list[Any], dtype: np.dtype[Any]) -> None:
    """Add a block as an activation, together with blocks after it if they belong to it, which are removed there."""
    node, end = block[0], block[-1].output[0]
    for n_after in range(min(len(after), LONGEST) + 1):
        whole = [*block, *(one for _, others in after[:n_after] for one in others)]
        found = _activation(graph, start, whole, dtype)
        if found is not None:
            del after[:n_after]
            graph.steps.activation(place_of(node), found)
            return
    if len(block) == 1:
        graph.refuse(node, "has no equivalent in a net of fastnn")
    graph.refuse(node, f"begins {len(block)} nodes from {start!r} to {end!r} that are no activation of fastnn")


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "adam",
    **settings: Any,
) -> Model:
    """Return a Model that computes what a model of ONNX does, if that is a chain of dense layers.

    Parameters
    ----------
    model : path or onnx.ModelProto
        Of Gemm or MatMul with constants, additions and products with constants (as of scalers), BatchNormalization, and
        the activations of fastnn, in the forms that PyTorch, Keras, skl2onnx and `to_onnx` write. What scales columns
        is multiplied into a dense layer.
    output : str or None
        Name of the output to read; None is the first one that is neither of integers nor of texts. Nodes for others,
        as for labels, are ignored. The probabilities 1 - p and p of two classes become the net of p.
    loss : str, Loss or None
        For further training. None is that in the metadata of `to_onnx`, else by the activation of the last layer
        "softmax_crossentropy" (softmax), "binary_crossentropy" (sigmoid), "poisson" (exponential), or "squared_error".
    optimizer : str or Optimizer
        For further training.
    **settings
        Further settings of `Model`. The default of `dtype` is "float64" if a weight is of that, else "float32".

    Returns
    -------
    Model
        Built.

    Raises
    ------
    ImportError
        If onnx is not installed.
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is damaged or none of ONNX; if the graph is no chain, or a node has no equivalent, which is named.
    """
    onnx = onnx_library("from_onnx")
    proto = _load(onnx, model)
    steps = Steps("model")
    graph = _graph(onnx, proto, steps, output)
    elements = {one.name: one.type.tensor_type.elem_type for one in proto.graph.input}
    double = elements[graph.input] == onnx.TensorProto.DOUBLE
    _read(graph, np.dtype(np.float64 if double else np.float32))
    written = {one.key: one.value for one in proto.metadata_props}.get("loss")
    if loss is None and proto.producer_name == "fastnn" and written in LOSSES.names:
        loss = written
    return steps.model(loss=loss, optimizer=optimizer, call="from_onnx", settings=settings)
