"""skl2onnx: converters of the estimators, so that any Pipeline with one of them can be converted."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.interchange._chain import chain_of
from fastnn.interchange._onnx_nodes import Nodes, add_labels, add_net, add_probabilities


def register_skl2onnx() -> None:
    """Register converters of `fastnn.MLPClassifier` and `fastnn.MLPRegressor` with skl2onnx.

    After that ``skl2onnx.to_onnx(pipeline, X[:1])`` converts them, alone or in a Pipeline, with all activations,
    several outputs and several labels per row. The options of a classifier are those of that of scikit-learn:
    zipmap, nocl and output_class_labels. A second call changes nothing.

    Raises
    ------
    ImportError
        If skl2onnx or scikit-learn is not installed.
    """
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            f'register_skl2onnx needs skl2onnx ({error}): pip install "fastnn-mlp[onnx]" skl2onnx'
        ) from error
    from fastnn import estimators

    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    skl2onnx.update_registered_converter(
        estimators.MLPClassifier, "FastnnMLPClassifier", _classifier_shapes, _convert_classifier, options=options
    )
    skl2onnx.update_registered_converter(
        estimators.MLPRegressor, "FastnnMLPRegressor", _regressor_shapes, _convert_regressor
    )


def _labels(operator: Any) -> Any:
    """Return the labels as skl2onnx writes them: int64, or object of str; numbers from 0 with the option nocl."""
    from skl2onnx.common.utils_classifier import get_label_classes

    labels = np.asarray(get_label_classes(operator.scope_inst, operator.raw_operator))
    if labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and np.array_equal(labels, labels.astype(np.int64))):
        return labels.astype(np.int64)
    if not all(isinstance(label, str) for label in labels.tolist()):
        raise ValueError(f"classes_ must be integers or texts for skl2onnx, got {labels.tolist()}.")
    return labels.astype(object)


def _float_type(operator: Any) -> Any:
    """Return skl2onnx's type of the floats: double for doubles, else float."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return DoubleTensorType if isinstance(operator.inputs[0].type, DoubleTensorType) else FloatTensorType


def _classifier_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    n, labels = operator.inputs[0].get_first_dimension(), _labels(operator)
    if chain_of(operator.raw_operator).multilabel:
        operator.outputs[0].set_type(Int64TensorType([n, len(labels)]))
    else:
        operator.outputs[0].set_type((StringTensorType if labels.dtype == object else Int64TensorType)([n]))
    operator.outputs[1].set_type(_float_type(operator)([n, len(labels)]))


def _regressor_shapes(operator: Any) -> None:
    n = operator.inputs[0].get_first_dimension()
    operator.outputs[0].set_type(_float_type(operator)([n, chain_of(operator.raw_operator).n_outputs]))


def _begin(scope: Any, operator: Any) -> tuple[Nodes, str]:
    """Return empty nodes, and the name of the input as floats."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = _float_type(operator)
    nodes = Nodes(np.dtype(np.float64 if kind is DoubleTensorType else np.float32), scope.get_unique_variable_name)
    x = operator.inputs[0].full_name
    if not isinstance(operator.inputs[0].type, DoubleTensorType | FloatTensorType):
        x = nodes.add("Cast", x, _to=nodes.dtype)
    return nodes, x


def _end(scope: Any, container: Any, nodes: Nodes) -> None:
    """Write the nodes into skl2onnx's container."""
    from onnx import helper

    for name, array in nodes.arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        values = [label.encode() for label in array] if array.dtype == object else array.ravel()
        container.add_initializer(name, kind, list(array.shape), values)
    for operator, inputs, output, attributes in nodes.nodes:
        if "_to" in attributes:
            attributes = {"to": helper.np_dtype_to_tensor_dtype(np.dtype(attributes["_to"]))}
        container.add_node(operator, inputs, output, name=scope.get_unique_operator_name(operator), **attributes)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    chain = chain_of(operator.raw_operator)
    nodes, x = _begin(scope, operator)
    probabilities = operator.outputs[1].full_name
    add_probabilities(nodes, chain, add_net(nodes, chain, x), probabilities)
    add_labels(nodes, chain, probabilities, _labels(operator), operator.outputs[0].full_name)
    _end(scope, container, nodes)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, x = _begin(scope, operator)
    nodes.add("Identity", add_net(nodes, chain_of(operator.raw_operator), x), to=operator.outputs[0].full_name)
    _end(scope, container, nodes)
