"""PyTorch: nets from `nn.Sequential` or a state_dict, and an `nn.Sequential` of a net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastnn import activations, optimizers
from fastnn._validation import must_be, shown
from fastnn.activations import Activation
from fastnn.interchange._chain import chain_of
from fastnn.interchange._steps import Steps, as_activations
from fastnn.layers import Dense
from fastnn.losses import Loss
from fastnn.model import Model

#: Activations by the names of PyTorch's classes, and those of its classes by ours.
ACTIVATIONS = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "SELU": "selu",
    "Softplus": "softplus", "Hardsigmoid": "hard_sigmoid", "SiLU": "silu", "GELU": "gelu", "Mish": "mish",
    "Softmax": "softmax",
}  # fmt: skip
CLASSES = {name: kind for kind, name in ACTIVATIONS.items()}


def _array(value: Any) -> Any:
    """Return a tensor or array as an array, half precision as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):
            value = value.float()
        return value.numpy()
    return np.asarray(value)


def _is_sequential(module: Any) -> bool:
    return getattr(getattr(type(module), "forward", None), "__qualname__", "") == "Sequential.forward"


def _flat(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the modules of nested Sequentials with their names in the state_dict; a module may come twice."""
    for name in module._modules:
        child = module._modules[name]
        if _is_sequential(child):
            yield from _flat(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _activation(steps: Steps, place: str, module: Any) -> Activation:
    kind = type(module).__name__
    if kind == "GELU" and module.approximate != "none":
        steps.refuse(place, "is the approximation by tanh, but fastnn's gelu is the exact one")
    if kind == "Softplus" and module.beta != 1:
        steps.refuse(place, "has a beta other than 1, which fastnn's softplus does not have")
    if kind == "Softmax" and module.dim not in (None, 1, -1):
        steps.refuse(place, "is not along the columns of a row")
    alpha = {"LeakyReLU": "negative_slope", "ELU": "alpha"}.get(kind)
    if alpha is None:
        return activations.get(ACTIVATIONS[kind])
    if not getattr(module, alpha) > 0:
        steps.refuse(place, f"has {alpha} {getattr(module, alpha)!r}, which is above 0 in fastnn")
    return Activation(ACTIVATIONS[kind], float(getattr(module, alpha)))


def _batch_norm(steps: Steps, place: str, module: Any) -> None:
    if module.running_mean is None:
        steps.refuse(place, "has no running statistics, so that it has no values of its own to predict with")
    factors = 1.0 / np.sqrt(_array(module.running_var).astype(np.float64) + module.eps)
    if module.weight is not None:
        factors = factors * _array(module.weight)
    summands = -_array(module.running_mean) * factors
    if module.bias is not None:
        summands = summands + _array(module.bias)
    steps.scale(place, factors, summands)


def _add(steps: Steps, place: str, module: Any) -> None:
    kind = type(module).__name__
    if getattr(module, "_forward_hooks", None) or getattr(module, "_forward_pre_hooks", None):
        steps.refuse(place, "has forward hooks, which are functions in Python")
    if kind == "Linear":
        bias = module.bias
        trainable = module.weight.requires_grad or (bias is not None and bias.requires_grad)
        steps.dense(place, _array(module.weight).T, None if bias is None else _array(bias), trainable=trainable)
    elif kind in ACTIVATIONS:
        steps.activation(place, _activation(steps, place, module))
    elif kind == "Dropout":
        steps.dropout(place, float(module.p))
    elif kind == "BatchNorm1d":
        _batch_norm(steps, place, module)
    elif kind == "Flatten":
        if module.start_dim != 1:
            steps.refuse(place, "does not begin with dimension 1")
    elif kind != "Identity":
        valid = ", ".join(["Linear", *ACTIVATIONS, "Dropout", "BatchNorm1d", "Flatten", "Identity"])
        steps.refuse(place, "has no equivalent in a net of fastnn", f"It is made of {valid}.")


def _add_module(steps: Steps, module: Any) -> None:
    if type(module).__name__ == "Linear":
        _add(steps, repr(module), module)
        return
    seen: dict[int, str] = {}  # where the parameters are in memory, which copies of a module and of its weights share
    for name, child in _flat(module):
        place = f"layer {name!r}, {' '.join(repr(child).split())}"
        for parameter in child.parameters():
            if parameter.data_ptr() in seen:
                other = seen[parameter.data_ptr()]
                steps.refuse(place, f"shares its weights with layer {other!r}, but each layer of fastnn has its own")
        seen |= {parameter.data_ptr(): name for parameter in child.parameters()}
        _add(steps, place, child)


def add_state(
    steps: Steps, argument: str, state: Mapping[str, Any], given: Any, dropouts: Sequence[float] = ()
) -> None:
    """Add the layers of a state_dict.

    Parameters
    ----------
    steps : Steps
    argument : str
        Name of the argument that holds it, for the texts of errors.
    state : mapping of str to array or tensor
        ``<layer>.weight`` (n_out, n_in) and, if it has one, ``<layer>.bias`` (n_out,) of each layer, in order.
    given : str, Activation, or sequence of these or None
        The argument `activations`.
    dropouts : sequence of float
        Dropout rate before each layer; empty for none.
    """
    layers: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        layer, _, name = str(key).rpartition(".")
        if name not in ("weight", "bias"):
            steps.refuse(f"entry {key!r}", "is neither a weight nor a bias of a Linear layer")
        layers.setdefault(layer, {})[name] = _array(value)
    for layer, arrays in layers.items():
        if "weight" not in arrays or arrays["weight"].ndim != 2:
            steps.refuse(f"layer {layer!r}", "has no weight in 2-D, (n_out, n_in), so it is no Linear layer")
    if not layers:
        raise ValueError(must_be(argument, "a mapping with entries such as '0.weight' and '0.bias'", state))
    chosen = as_activations("activations", given, len(layers))
    for k, ((layer, arrays), activation) in enumerate(zip(layers.items(), chosen, strict=True)):
        if dropouts:
            steps.dropout(f"the dropout before layer {layer!r}", dropouts[k])
        steps.dense(f"layer {layer!r}", arrays["weight"].T, arrays.get("bias"))
        steps.activation(activation.text, activation)


def from_torch(
    net: Any,
    *,
    activations: Any = None,
    loss: str | Loss | None = None,
    optimizer: str | optimizers.Optimizer = "adam",
    **settings: Any,
) -> Model:
    """Return a Model that computes what a net of PyTorch computes in evaluation mode.

    PyTorch is not imported: modules are recognized by the names of their classes.

    Parameters
    ----------
    net : torch.nn.Sequential, torch.nn.Linear or state_dict
        Of Linear, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SELU, Softplus, Hardsigmoid, SiLU, GELU, Mish, Softmax, Dropout,
        BatchNorm1d, Flatten, Identity and Sequential. A BatchNorm1d with its running statistics is multiplied into a
        neighbouring Linear. A state_dict has the weights of Linear layers in the order of the layers.
    activations : str, Activation, or list of these or None
        For a state_dict, which has no activations: one name for all hidden layers, or a list with one per layer, where
        None is a linear layer.
    loss : str, Loss or None
        For further training. None is, by the activation of the last layer, "softmax_crossentropy" (softmax),
        "binary_crossentropy" (sigmoid), or "squared_error". For logits give the cross-entropy.
    optimizer : str or Optimizer
        For further training.
    **settings
        Further settings of `Model`. The default of `dtype` is "float64" if a weight is of that, else "float32".

    Returns
    -------
    Model
        Built. Layers without a parameter that requires a gradient are frozen.

    Raises
    ------
    TypeError
        If `net` is none of these; a module of another class has a forward function that cannot be read.
    ValueError
        If a layer has no equivalent, layers share weights, or widths do not fit; the text names the layer.
    """
    steps = Steps("net")
    if isinstance(net, Mapping):  # a state_dict
        add_state(steps, "net", net, activations)
    elif _is_sequential(net) or type(net).__name__ == "Linear":
        if activations is not None:
            raise ValueError(must_be("activations", "left out for a net that has its own", activations))
        _add_module(steps, net)
    else:
        hint = ""
        if hasattr(net, "state_dict") and not isinstance(net, type):
            hint = (
                f"What the forward function of {type(net).__name__} does cannot be read: if it is a chain of its "
                "Linear layers, pass net.state_dict() and activations=[...]."
            )
        raise TypeError(must_be("net", "an nn.Sequential, an nn.Linear or a state_dict", net, hint))
    return steps.model(loss=loss, optimizer=optimizer, call="from_torch", settings=settings)


def module_names(names: list[str], dropouts: list[float]) -> list[tuple[str, int]]:
    """Return the modules of the `nn.Sequential` of a net.

    Parameters
    ----------
    names : list of str
        Activation of each dense layer.
    dropouts : list of float
        Dropout rate before each dense layer.

    Returns
    -------
    list of (str, int)
        The kind, "dropout", "dense" or "activation", and the number of the dense layer; their order is that of the
        modules. A linear layer has no activation.
    """
    found = []
    for k, (name, rate) in enumerate(zip(names, dropouts, strict=True)):
        found += [("dropout", k)] * bool(rate) + [("dense", k)] + [("activation", k)] * (name != "identity")
    return found


def to_torch(model: Any) -> Any:
    """Return a `torch.nn.Sequential` that computes what `Model.predict` returns.

    Parameters
    ----------
    model : Model, estimator of fastnn, or Pipeline of scalers and an estimator
        An estimator's net yields probabilities, and one column for two classes.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode, with copies of the weights in the net's dtype, of Linear, activations, and the Dropout of a
        Model.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If `model` is none of these or has no weights; if it has an activation that `torch.nn` has no module for:
        exponential or one of `fastnn.custom`.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"to_torch needs PyTorch ({error}): pip install torch") from error
    chain = chain_of(model)
    declared = model.layers if isinstance(model, Model) else [Dense(layer.n_out) for layer in chain.layers]
    trainable = model.trainable if isinstance(model, Model) else [True] * len(chain.layers)
    rates = [layer.dropout for layer in declared]
    modules: list[Any] = []
    for kind, k in module_names([layer.activation for layer in chain.layers], rates):
        layer = chain.layers[k]
        if kind == "dropout":
            modules.append(torch.nn.Dropout(rates[k]))
        elif kind == "activation":
            if layer.activation not in CLASSES:
                name = shown(layer.activation)
                raise ValueError(f"layers[{k}] has the activation {name}, for which torch.nn has no module.")
            arguments = {"leaky_relu": (layer.alpha,), "elu": (layer.alpha,), "softmax": (1,)}.get(layer.activation, ())
            modules.append(getattr(torch.nn, CLASSES[layer.activation])(*arguments))
        else:
            bias, dtype = declared[k].use_bias, getattr(torch, layer.weights.dtype.name)
            linear = torch.nn.Linear(layer.n_in, layer.n_out, bias=bias, dtype=dtype)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer.weights.T)))
                if bias:
                    linear.bias.copy_(torch.from_numpy(layer.biases))
            modules.append(linear.requires_grad_(trainable[k]))
    return torch.nn.Sequential(*modules).eval()
