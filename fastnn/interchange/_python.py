"""A trained net as a Python file of its own, which needs NumPy only."""

from __future__ import annotations

import base64
import os
import textwrap
from typing import Any

import numpy as np

from fastnn import activations
from fastnn._persistence.npz import write_bytes
from fastnn._validation import as_path
from fastnn._version import __version__
from fastnn.interchange._chain import Array, Chain, chain_of
from fastnn.kernels.maths import elementary as e

__all__ = ["export_python"]


def __dir__() -> list[str]:
    return __all__


def export_python(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a trained net into a Python file that needs nothing but NumPy.

    The file holds the weights, exactly, and functions of arrays. Each of them stands alone, so that ``numba.njit`` of
    it can be called from compiled code; a cache of Numba is right, as other weights are another file. The file is
    replaced atomically.

    Parameters
    ----------
    model : Model, MLPClassifier, MLPRegressor or Pipeline
        With its running averages, if it has any. The scalers of a Pipeline (StandardScaler, MinMaxScaler, MaxAbsScaler,
        RobustScaler) become a part of the first layer.
    path : path
        The file to write, such as "net.py".

    Raises
    ------
    TypeError
        If `model` is none of these, or a step of the Pipeline is another one.
    ValueError
        If the model has no weights yet, or weights that are not finite; if a layer has a custom activation.
    OSError
        If the file cannot be written.

    Notes
    -----
    The file has the function ``predict(X)`` and, for classifiers, ``predict_proba(X)``; of a `Model` also
    ``predict_classes(X)``. They return what the methods of these names return. X is (n, n_features); NaN is not
    refused, and makes outputs NaN. The arithmetic is that of float64, and the result is rounded to the dtype of the
    net.

    Examples
    --------
    >>> import pathlib, runpy, tempfile
    >>> import numpy as np
    >>> import fastnn
    >>> model = fastnn.Model([fastnn.Dense(4, "tanh"), 1], loss="squared_error", seed=0).build(2)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.py"
    >>> fastnn.interchange.export_python(model, path)
    >>> predict = runpy.run_path(str(path))["predict"]
    >>> X = np.array([[0.5, -1.0]], np.float32)
    >>> bool(np.allclose(predict(X), model.predict(X)))
    True
    """
    target = as_path("path", path)
    write_bytes(target, _module(chain_of(model)).encode())


#: By the name of the activation: statements that compute y from z, (n, n_out) float64; {alpha} is its number. They
#: overflow nowhere but where the activation does, and Numba compiles them.
ACTIVATIONS = {
    "identity": "y = z",
    "sigmoid": "q = np.exp(-np.abs(z))\ny = np.where(z > 0.0, 1.0 / (1.0 + q), q / (1.0 + q))",
    "tanh": "y = np.tanh(z)",
    "relu": "y = np.maximum(z, 0.0)",
    "leaky_relu": "y = np.where(z > 0.0, z, z * {alpha!r})",
    "elu": "y = np.where(z > 0.0, z, np.expm1(np.minimum(z, 0.0)) * {alpha!r})",
    "selu": f"y = np.where(z > 0.0, z * {activations.SELU_SCALE!r}, "
    f"np.expm1(np.minimum(z, 0.0)) * {activations.SELU_LIMIT!r})",
    "softplus": "y = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))",
    "silu": "q = np.exp(-np.abs(z))\ny = z * np.where(z > 0.0, 1.0 / (1.0 + q), q / (1.0 + q))",
    "gelu": """\
# z Phi(z) = max(z, 0) - a r exp(-a^2 / 2), a = |z|, r = exp(a^2 / 2) Phi(-a); near 0 by the power series of Phi
a = np.minimum(np.abs(z), 40.0)
t = (a - 5.5) / (a + 5.5)
r = np.zeros_like(t)
for c in NORMAL_TAIL:
    r = r * t + c
r = r / (1.0 + a * 1.4142135623730951)
s = np.minimum(a * a, 0.5625)
f = np.zeros_like(s)
for c in NORMAL_SERIES:
    f = f * s + c
y = np.where(a < 0.75, z * (0.5 + z * f), np.maximum(z, 0.0) - a * r * np.exp(-0.5 * a * a))""",
    "mish": "q = np.exp(np.minimum(z, 40.0))\nq = q * (q + 2.0)\ny = z * (q / (q + 2.0))",
    "hard_sigmoid": "y = np.minimum(1.0, np.maximum(0.0, z * (1.0 / 6.0) + 0.5))",
    "exponential": "y = np.exp(z)",
    "softmax": """\
top = z[:, 0].copy()
for j in range(1, z.shape[1]):
    top = np.maximum(top, z[:, j])
q = np.exp(z - top.reshape((-1, 1)))
y = q / np.sum(q, axis=1).reshape((-1, 1))""",
}

#: Coefficients of the polynomials in gelu, that of the highest power first.
NORMAL_TAIL = tuple(getattr(e, f"TAIL64_{k}") for k in reversed(range(23)))
NORMAL_SERIES = tuple(getattr(e, f"PHI{k}") for k in reversed(range(14)))

_TOP = '''\
"""A net of {sizes} units, written by fastnn {version}; needs NumPy only.

{facts}
Each function stands alone: numba.njit compiles it as it is.
"""

import base64

import numpy as np


def _array(text, dtype, *shape):
    """Return the array of these bytes, as float64."""
    return np.frombuffer(base64.b64decode(text), dtype).astype(np.float64).reshape(shape)


N_INPUTS = {n_inputs}
N_OUTPUTS = {n_outputs}
'''


def _module(chain: Chain) -> str:
    """Return the text of the file."""
    used = {layer.activation for layer in chain.layers}
    parts = [
        _TOP.format(
            sizes=" - ".join(map(str, chain.sizes)), version=__version__, facts=_facts(chain),
            n_inputs=chain.n_features, n_outputs=chain.n_outputs,
        )
    ]  # fmt: skip
    if chain.feature_names is not None:
        parts.append(f"FEATURE_NAMES = {_tuple(chain.feature_names)}\n")
    if chain.classes is not None:
        parts.append(_classes(chain.classes))
    if "gelu" in used:
        parts.append(f"NORMAL_TAIL = {_tuple(NORMAL_TAIL)}\nNORMAL_SERIES = {_tuple(NORMAL_SERIES)}\n")
    for k, layer in enumerate(chain.layers, 1):
        parts.append(_weights(f"WEIGHTS_{k}", layer.weights))
        parts.append(_weights(f"BIASES_{k}", layer.biases))
    outputs = _outputs(chain)
    result = f"y.astype(np.{chain.dtype.name})" if chain.dtype == np.float32 else "y"
    probability = list(outputs)
    if chain.output == "logits":
        probability += ["z = y", *ACTIVATIONS[chain.link].split("\n")]
    n = f"(n, {chain.n_outputs})"
    if chain.kind == "model":
        meaning = f"outputs, {n}"
        if chain.output != "values":
            meaning = f"{chain.output}, {n}"
        parts.append(_function("predict", meaning, [*outputs, f"return {result}"]))
    elif chain.kind == "regressor":
        one = chain.n_outputs == 1
        returned = f"{result}[:, 0]" if one else result
        parts.append(_function("predict", "values, (n,)" if one else f"values, {n}", [*outputs, f"return {returned}"]))
    if chain.output != "values":
        if chain.kind == "classifier" and chain.n_outputs == 1:
            both = [*probability, "y = np.hstack((1.0 - y, y))"]
            parts.append(_function("predict_proba", "probabilities, (n, 2)", [*both, f"return {result}"]))
        else:
            parts.append(_function("predict_proba", f"probabilities, {n}", [*probability, f"return {result}"]))
        parts.append(_class_function(chain, [*probability, f"y = {result}"]))
    return "\n\n".join(parts)


def _class_function(chain: Chain, lines: list[str]) -> str:
    """Return the function that returns classes, or 0 and 1 where a row has several."""
    name = "predict" if chain.kind == "classifier" else "predict_classes"
    if chain.multilabel:
        text = f"0 or 1 for each class, (n, {chain.n_outputs})"
        return _function(name, text, [*lines, "return (y > 0.5).astype(np.int64)"])
    if chain.link == "softmax":
        index = "np.argmax(y, axis=1)"
    elif chain.classes is not None and len(chain.classes) == 1:
        index = "np.zeros(y.shape[0], np.int64)"
    else:
        index = "(y[:, 0] > 0.5).astype(np.int64)"
    if chain.classes is None:
        return _function(name, "index of the most probable class, (n,)", [*lines, f"return {index}"])
    return _function(name, "label of the most probable class, (n,)", [*lines, f"return CLASSES[{index}]"])


def _outputs(chain: Chain) -> list[str]:
    """Return the statements that compute y, the outputs of the last layer, from X."""
    lines = [
        "y = np.ascontiguousarray(X).astype(np.float64)",
        "if y.ndim != 2 or y.shape[1] != N_INPUTS:",
        f'    raise ValueError("X must be an array (n, {chain.n_features})")',
    ]
    for k, layer in enumerate(chain.layers, 1):
        lines.append(f"z = np.dot(y, WEIGHTS_{k}) + BIASES_{k}")
        lines += ACTIVATIONS[layer.activation].format(alpha=layer.alpha).split("\n")
    return lines


def _function(name: str, returned: str, lines: list[str]) -> str:
    body = textwrap.indent("\n".join(lines), "    ")
    return f'def {name}(X):\n    """Return {returned}, of the features X, (n, N_INPUTS)."""\n{body}\n'


def _facts(chain: Chain) -> str:
    outputs = {"values": "values", "logits": f"logits of {chain.link}", "probabilities": "probabilities"}[chain.output]
    text = f"Activations: {', '.join(layer.activation for layer in chain.layers)}. Outputs: {outputs}.\n"
    if chain.scalers:
        text += "The scalers before the net are part of the first layer: pass the features as they were measured.\n"
    return text


def _weights(name: str, values: Array) -> str:
    """Return the statement that makes an array from its exact bytes."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    text = base64.b64encode(values.tobytes()).decode()
    lines = "\n".join(f'    "{text[i : i + 100]}"' for i in range(0, len(text), 100))
    shape = ", ".join(map(str, values.shape))
    return f'{name} = _array(\n{lines},\n    "<f{values.dtype.itemsize}", {shape},\n)\n'


def _tuple(values: tuple[Any, ...]) -> str:
    lines = textwrap.fill(", ".join(ascii(value) for value in values), 100, break_long_words=False)
    return f"(\n{textwrap.indent(lines, '    ')},\n)"


def _classes(classes: Array) -> str:
    """Return the statement that makes the array of labels."""
    labels = "[" + ", ".join(ascii(label) for label in classes.tolist()) + "]"
    kind = ", dtype=object" if classes.dtype == object else f', dtype="{classes.dtype.str[1:]}"'
    return f"CLASSES = np.array({labels}{kind})\n"
