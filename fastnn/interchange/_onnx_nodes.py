"""A net as nodes of ONNX, from operators that ONNX Runtime computes in float32 and in float64.

ONNX Runtime has Elu, Selu, Softplus, HardSigmoid and Erf in float32 only, so in float64 they are made of Exp, Log,
Relu, Min, Clip and, for Erf, a polynomial. Attributes are float32, so the number of leaky_relu is a constant there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.activations import SELU_ALPHA, SELU_LIMIT, SELU_SCALE
from fastnn.interchange._chain import Chain

Array = npt.NDArray[Any]


class Nodes:
    """Nodes in their order, and the arrays that they read.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64: that of all floats.
    name : callable, str -> str
        Returns a name that is not in use, from one that says what it is.

    Attributes
    ----------
    nodes : list of (str, list of str, str, dict)
        Operator, inputs, output and attributes of each.
    arrays : dict of str to ndarray
        Constants by their names.
    """

    def __init__(self, dtype: np.dtype[Any], name: Callable[[str], str]) -> None:
        self.dtype = dtype
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.arrays: dict[str, Array] = {}
        self._name = name

    @property
    def double(self) -> bool:
        """Whether all is computed in float64."""
        return self.dtype == np.float64

    def add(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output, which is `to` if that is given."""
        output = to or self._name(operator.lower())
        self.nodes.append((operator, list(inputs), output, attributes))
        return output

    def array(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add a constant, of the dtype of all floats by default, and return its name."""
        found = self._name(name)
        with np.errstate(over="ignore"):  # the caller finds what is infinite
            self.arrays[found] = np.asarray(values).astype(self.dtype if dtype is None else dtype, order="C")
        return found

    def number(self, value: float) -> str:
        """Add one number."""
        return self.array("constant", value)


def _softplus(nodes: Nodes, x: str) -> str:
    if not nodes.double:
        return nodes.add("Softplus", x)
    small = nodes.add("Exp", nodes.add("Neg", nodes.add("Abs", x)))
    return nodes.add("Add", nodes.add("Log", nodes.add("Add", small, nodes.number(1.0))), nodes.add("Relu", x))


def _exponential_unit(nodes: Nodes, x: str, scale: float, limit: float) -> str:
    """Return scale x where x > 0, limit (exp(x) - 1) elsewhere."""
    above, below = nodes.add("Relu", x), nodes.add("Exp", nodes.add("Min", x, nodes.number(0.0)))
    below = nodes.add("Mul", nodes.add("Sub", below, nodes.number(1.0)), nodes.number(limit))
    return nodes.add("Add", above if scale == 1.0 else nodes.add("Mul", above, nodes.number(scale)), below)


def _elu(nodes: Nodes, x: str, alpha: float) -> str:
    if nodes.double:
        return _exponential_unit(nodes, x, 1.0, alpha)
    return nodes.add("Elu", x, alpha=alpha)


def _selu(nodes: Nodes, x: str, alpha: float) -> str:
    if nodes.double:
        return _exponential_unit(nodes, x, SELU_SCALE, SELU_LIMIT)
    return nodes.add("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE)


def _leaky_relu(nodes: Nodes, x: str, alpha: float) -> str:
    if not nodes.double:
        return nodes.add("LeakyRelu", x, alpha=alpha)
    above, below = nodes.add("Relu", x), nodes.add("Min", x, nodes.number(0.0))
    return nodes.add("Add", above, nodes.add("Mul", below, nodes.number(alpha)))


def _hard_sigmoid(nodes: Nodes, x: str, alpha: float) -> str:
    if not nodes.double:
        return nodes.add("HardSigmoid", x, alpha=1.0 / 6.0, beta=0.5)
    line = nodes.add("Add", nodes.add("Mul", x, nodes.number(1.0 / 6.0)), nodes.number(0.5))
    return nodes.add("Clip", line, nodes.number(0.0), nodes.number(1.0))


#: Of ln(erfc(a) exp(a^2) / t) as a polynomial of 2 t - 1, t = 1 / (1 + a / 2), the highest power first. It differs by
#: 1e-14 at most, as that of least error over -1 to 1 (by Chebyshev's points) of this degree does.
TAIL = (
    3.99322639651523e-09, -1.1808396926565442e-07, 1.4212425539749192e-07, 8.5443286557448e-07, -1.670838889597775e-06,
    -2.351808487631655e-06, 8.896022996163178e-06, -4.077828569509823e-07, -3.037364189719407e-05,
    3.2066655258079446e-05, 7.146976794250743e-05, -0.00017442647429112993, -9.375152341352955e-05,
    0.0006737092008641839, -0.00014624443024541866, -0.0023458170668852092, 0.001758933357310285, 0.008824938937818345,
    -0.009872689358730183, -0.046895610245823345, 0.04734330684181755, 0.6726432239778232, -0.6717940840566923,
)  # fmt: skip


def _double_gelu(nodes: Nodes, x: str) -> str:
    """Return max(x, 0) - |x| erfc(a) / 2, a = |x| / sqrt 2."""
    distance = nodes.add("Abs", x)
    a = nodes.add("Mul", distance, nodes.number(math.sqrt(0.5)))
    t = nodes.add("Add", nodes.add("Mul", a, nodes.number(0.5)), nodes.number(1.0))
    t = nodes.add("Div", nodes.number(1.0), t)
    u = nodes.add("Sub", nodes.add("Mul", t, nodes.number(2.0)), nodes.number(1.0))
    power = nodes.number(TAIL[0])
    for coefficient in TAIL[1:]:
        power = nodes.add("Add", nodes.add("Mul", power, u), nodes.number(coefficient))
    tail = nodes.add("Mul", nodes.add("Exp", nodes.add("Sub", power, nodes.add("Mul", a, a))), t)
    tail = nodes.add("Mul", nodes.add("Mul", tail, nodes.number(0.5)), distance)
    return nodes.add("Sub", nodes.add("Relu", x), tail)


def _gelu(nodes: Nodes, x: str, alpha: float) -> str:
    if nodes.double:
        return _double_gelu(nodes, x)
    erf = nodes.add("Erf", nodes.add("Mul", x, nodes.number(math.sqrt(0.5))))
    return nodes.add("Mul", nodes.add("Mul", x, nodes.number(0.5)), nodes.add("Add", erf, nodes.number(1.0)))


#: Nodes of each activation, but identity, from the name of its input and alpha.
ACTIVATIONS: dict[str, Callable[[Nodes, str, float], str]] = {
    "sigmoid": lambda nodes, x, alpha: nodes.add("Sigmoid", x),
    "tanh": lambda nodes, x, alpha: nodes.add("Tanh", x),
    "relu": lambda nodes, x, alpha: nodes.add("Relu", x),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softmax": lambda nodes, x, alpha: nodes.add("Softmax", x, axis=1),
    "exponential": lambda nodes, x, alpha: nodes.add("Exp", x),
    "selu": _selu,
    "softplus": lambda nodes, x, alpha: _softplus(nodes, x),
    "hard_sigmoid": _hard_sigmoid,
    "silu": lambda nodes, x, alpha: nodes.add("Mul", x, nodes.add("Sigmoid", x)),
    "gelu": _gelu,
    "mish": lambda nodes, x, alpha: nodes.add("Mul", x, nodes.add("Tanh", _softplus(nodes, x))),
}


def add_net(nodes: Nodes, chain: Chain, x: str) -> str:
    """Add the layers of a net, and return the name of its output, (batch, n_outputs)."""
    for k, layer in enumerate(chain.layers):
        weights = nodes.array(f"weight_{k}", layer.weights)
        x = nodes.add("Gemm", x, weights, nodes.array(f"bias_{k}", layer.biases))
        if layer.activation != "identity":
            x = ACTIVATIONS[layer.activation](nodes, x, layer.alpha)
    return x


def add_probabilities(nodes: Nodes, chain: Chain, output: str, to: str) -> str:
    """Add the probabilities of a classifier's classes, (batch, n_classes), from the net's output."""
    if chain.output == "logits":
        output = ACTIVATIONS[chain.link](nodes, output, 0.0)
    if chain.n_outputs > 1 or chain.link == "softmax":
        return nodes.add("Identity", output, to=to)
    rest = nodes.add("Sub", nodes.number(1.0), output)
    return nodes.add("Concat", rest, output, to=to, axis=1)


def add_labels(nodes: Nodes, chain: Chain, probabilities: str, labels: Array, to: str) -> str:
    """Add the most probable label of each row, (batch,), or for several per row indicators (batch, n_classes)."""
    if chain.multilabel:
        above = nodes.add("Greater", probabilities, nodes.number(0.5))
        return nodes.add("Cast", above, to=to, _to=np.int64)
    best = nodes.add("ArgMax", probabilities, axis=1, keepdims=0)
    return nodes.add("Gather", nodes.array("classes", labels, labels.dtype), best, to=to, axis=0)
