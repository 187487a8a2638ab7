"""ONNX: a file that ONNX Runtime and other programs compute a net from."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

from fastnn._persistence import npz
from fastnn._validation import as_dtype, as_path, integer, must_be
from fastnn._version import __version__
from fastnn.interchange._chain import Array, Chain, chain_of
from fastnn.interchange._onnx_nodes import Nodes, add_labels, add_net, add_probabilities

#: First opset that has all operators in the form used here.
FIRST_OPSET = 13


def onnx_library(call: str) -> Any:
    """Import onnx.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError(f'{call} needs onnx ({error}): pip install "fastnn-mlp[onnx]"') from error
    return onnx


def labels_of(chain: Chain) -> Array:
    """Return the labels of a classifier as int64, float or object of str, as ONNX has them.

    Raises
    ------
    ValueError
        If they are of another kind.
    """
    assert chain.classes is not None
    classes = chain.classes
    if classes.dtype.kind in "biu":
        return classes.astype(np.int64)
    if classes.dtype.kind == "f":
        return classes.astype(np.float64 if classes.dtype.itemsize > 4 else np.float32)
    if not all(isinstance(label, str) for label in classes.tolist()):
        raise ValueError(must_be("classes_ of model", "integers, floats or texts", classes.tolist()))
    return classes.astype(object)


def node_of(onnx: Any, operator: str, inputs: list[str], output: str, attributes: dict[str, Any]) -> Any:
    """Return a NodeProto."""
    if "_to" in attributes:
        attributes = {"to": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(attributes["_to"]))}
    return onnx.helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes)


def to_onnx(model: Any, path: Any = None, *, opset: int = 17, dtype: Any = "float32") -> Any:
    """Return a net as a model of ONNX, and write it into a file.

    Its input is ``input``, (batch, n_features). A `Model` yields as its first output what `predict` returns:
    ``output``, or with classes ``probabilities`` or ``logits`` and ``probabilities``. An MLPClassifier yields
    ``label``, (batch,), or (batch, n_classes) for several labels per row, and ``probabilities``, (batch, n_classes), as
    `predict` and `predict_proba` do; an MLPRegressor ``output``, (batch, n_outputs). All operators are ONNX's own.

    Parameters
    ----------
    model : Model, estimator of fastnn, or Pipeline of scalers and an estimator
        StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler become part of the first layer. Pipelines of other
        steps are converted by skl2onnx, see `register_skl2onnx`.
    path : path or None
        An existing file is replaced, once the new one is complete.
    opset : int
        Version of the operators, at least 13. 17 with version 8 of the format is read by every runtime since 2022.
    dtype : {"float32", "float64"}
        Of the input, the weights and the floats of the output. In float64 activations that ONNX Runtime does not have
        are made of several nodes.

    Returns
    -------
    onnx.ModelProto
        Checked by `onnx.checker`. The metadata have ``loss``, and as JSON ``classes`` and ``feature_names`` if there
        are any.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError, ValueError
        If `model` is none of these, has no weights or an activation of `fastnn.custom`; if `opset` is unknown to the
        installed onnx; if `dtype` is none of these, or a weight is beyond its range.
    OSError
        If the file cannot be written.
    """
    onnx = onnx_library("to_onnx")
    opset, kind = integer("opset", opset, least=FIRST_OPSET), as_dtype(dtype)
    if opset > onnx.defs.onnx_opset_version():
        constraint = f"at most {onnx.defs.onnx_opset_version()}, the last that the installed onnx has"
        raise ValueError(must_be("opset", constraint, opset))
    if path is not None:
        path = as_path("path", path)
    chain = chain_of(model)
    counter = itertools.count()
    nodes = Nodes(kind, lambda name: name if "_" in name or name == "classes" else f"{name}_{next(counter)}")
    outputs: list[Any] = []

    def yields(name: str, values: Any, *widths: int) -> str:
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(values))
        outputs.append(onnx.helper.make_tensor_value_info(name, element, ["batch", *widths]))
        return name

    if chain.kind == "classifier":
        labels = labels_of(chain)
        n_classes = len(labels)
        label = yields("label", np.int64 if chain.multilabel else labels.dtype, *[n_classes] * chain.multilabel)
        probabilities = yields("probabilities", kind, n_classes)
        add_probabilities(nodes, chain, add_net(nodes, chain, "input"), probabilities)
        add_labels(nodes, chain, probabilities, labels, label)
    else:
        name = {"values": "output"}.get(chain.output, chain.output)
        output = nodes.add("Identity", add_net(nodes, chain, "input"), to=yields(name, kind, chain.n_outputs))
        if chain.output == "logits":
            link = "Softmax" if chain.link == "softmax" else "Sigmoid"
            probabilities = yields("probabilities", kind, chain.n_outputs)
            nodes.add(link, output, to=probabilities, **({"axis": 1} if link == "Softmax" else {}))
    for array in nodes.arrays.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(must_be("dtype", "one whose range the weights are in", kind.name, "Use dtype='float64'."))
    made = _model(onnx, nodes, chain, outputs, opset)
    if path is not None:
        npz.write_bytes(path, made.SerializeToString())
    return made


def _model(onnx: Any, nodes: Nodes, chain: Chain, outputs: list[Any], opset: int) -> Any:
    element = onnx.helper.np_dtype_to_tensor_dtype(nodes.dtype)
    graph = onnx.helper.make_graph(
        [node_of(onnx, *node) for node in nodes.nodes],
        "fastnn",
        [onnx.helper.make_tensor_value_info("input", element, ["batch", chain.n_features])],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in nodes.arrays.items()],
    )
    operators = [onnx.helper.make_opsetid("", opset)]
    made = onnx.helper.make_model(graph, opset_imports=operators, producer_name="fastnn", producer_version=__version__)
    made.ir_version = onnx.helper.find_min_ir_version_for(operators)
    metadata = {"loss": chain.loss}
    if chain.classes is not None:
        metadata["classes"] = json.dumps(chain.classes.tolist())
    if chain.feature_names is not None:
        metadata["feature_names"] = json.dumps(list(chain.feature_names))
    onnx.helper.set_model_props(made, metadata)
    onnx.checker.check_model(made, full_check=True)
    return made
