"""Keras: nets from a Sequential or Functional model that is a chain."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import activations, optimizers
from fastnn._validation import must_be
from fastnn.activations import Activation
from fastnn.interchange._steps import Steps
from fastnn.losses import Loss
from fastnn.model import Model

#: Activations by the names of Keras's functions.
FUNCTIONS = {
    "linear": "identity", "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "selu": "selu", "softmax": "softmax",
    "exponential": "exponential", "softplus": "softplus", "hard_sigmoid": "hard_sigmoid", "silu": "silu",
    "gelu": "gelu", "mish": "mish", "leaky_relu": "leaky_relu", "elu": "elu",
}  # fmt: skip
#: Slope of Keras's function leaky_relu; its layer has one of its own.
NEGATIVE_SLOPE = 0.2
_ACTIVATION_LAYERS = ("ReLU", "LeakyReLU", "ELU", "Softmax")
_SKIPPED = ("InputLayer", "Flatten", "Identity")


def _function(steps: Steps, place: str, function: Any) -> Activation:
    name = getattr(function, "__name__", type(function).__name__)
    if name not in FUNCTIONS or not str(getattr(function, "__module__", "")).startswith("keras."):
        valid = f"It has {', '.join(FUNCTIONS)}."
        steps.refuse(place, f"has the activation {name}, which fastnn does not have", valid)
    return Activation("leaky_relu", NEGATIVE_SLOPE) if name == "leaky_relu" else activations.get(FUNCTIONS[name])


def _activation_layer(steps: Steps, place: str, layer: Any) -> Activation:
    kind = type(layer).__name__
    if kind == "Softmax":
        if layer.axis not in (-1, 1):
            steps.refuse(place, f"has axis={layer.axis!r}, and is not along the columns of a row")
        return activations.get("softmax")
    if kind == "ReLU" and (layer.max_value is not None or layer.threshold):
        given = f"max_value={layer.max_value!r} and threshold={layer.threshold!r}"
        steps.refuse(place, f"has {given}, which fastnn does not have")
    name = {"ReLU": "leaky_relu", "LeakyReLU": "leaky_relu", "ELU": "elu"}[kind]
    alpha = float(layer.alpha if kind == "ELU" else layer.negative_slope)
    if kind == "ReLU" and not alpha:
        return activations.get("relu")
    if not alpha > 0:
        steps.refuse(place, f"has the slope or limit {alpha!r}, which is above 0 in fastnn")
    return Activation(name, alpha)


def _last_axis(steps: Steps, place: str, axis: Any) -> None:
    if (list(axis) if isinstance(axis, tuple | list) else [axis]) not in ([-1], [1]):
        steps.refuse(place, f"has axis={axis!r}, not -1")


def _array(value: Any) -> Any:
    """Return a variable of Keras or a tensor of its backend as float64."""
    value = getattr(value, "value", value)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value, np.float64)


def _normalization(steps: Steps, place: str, layer: Any) -> None:
    if layer.axis not in (None, ()):  # otherwise there is one mean for all columns
        _last_axis(steps, place, layer.axis)
    if getattr(layer, "mean", None) is None:
        steps.refuse(place, "has no mean yet: call its adapt(data)")
    mean = _array(layer.mean).reshape(-1)
    scale = np.maximum(np.sqrt(_array(layer.variance).reshape(-1)), 1e-7)  # Keras's own lower bound
    if layer.invert:
        steps.scale(place, scale, mean)
    else:
        steps.scale(place, 1.0 / scale, -mean / scale)


def _batch_normalization(steps: Steps, place: str, layer: Any) -> None:
    _last_axis(steps, place, layer.axis)
    if not layer.built:
        steps.refuse(place, "has no weights yet: build or call the model first")
    factors = 1.0 / np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    if layer.gamma is not None:
        factors = factors * _array(layer.gamma)
    summands = -_array(layer.moving_mean) * factors
    if layer.beta is not None:
        summands = summands + _array(layer.beta)
    steps.scale(place, factors, summands)


def _dense(steps: Steps, place: str, layer: Any) -> None:
    if not layer.built:
        steps.refuse(place, "has no weights yet: build or call the model first")
    if len(layer.kernel.shape) != 2:
        steps.refuse(place, f"has a kernel of {len(layer.kernel.shape)} dimensions")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        steps.refuse(place, "is quantized or has weights of low rank beside its own")
    found = layer.get_weights()
    if str(found[0].dtype) in ("float16", "bfloat16"):
        found = [array.astype(np.float32) for array in found]
    weights, biases = found[0], found[1] if layer.use_bias else None
    steps.dense(place, weights, biases, trainable=bool(layer.trainable))
    function = layer.activation
    if function is not None:
        where = f"{place}(activation={getattr(function, '__name__', type(function).__name__)!r})"
        steps.activation(where, _function(steps, where, function))


def _add(steps: Steps, place: str, layer: Any) -> None:
    kind = type(layer).__name__
    if kind == "Dense":
        _dense(steps, place, layer)
    elif kind == "Activation":
        steps.activation(place, _function(steps, place, layer.activation))
    elif kind in _ACTIVATION_LAYERS:
        steps.activation(place, _activation_layer(steps, place, layer))
    elif kind == "Dropout":
        if layer.noise_shape is not None:
            steps.refuse(place, f"has noise_shape={layer.noise_shape!r}")
        steps.dropout(place, float(layer.rate))
    elif kind == "Rescaling":
        steps.scale(place, layer.scale, layer.offset)
    elif kind == "Normalization":
        _normalization(steps, place, layer)
    elif kind == "BatchNormalization":
        _batch_normalization(steps, place, layer)
    elif kind not in _SKIPPED:
        valid = (
            "Dense, Activation, ReLU, LeakyReLU, ELU, Softmax, Dropout, Rescaling, Normalization, BatchNormalization"
        )
        steps.refuse(place, "has no equivalent in a net of fastnn", f"It is made of {valid}.")


def _add_model(steps: Steps, model: Any, prefix: str = "") -> None:
    """Add the layers of a model, and of those inside it."""
    if type(model).__name__ != "Sequential":
        _check_chain(steps, model)
    for layer in model.layers:
        if _is_model(layer):
            _add_model(steps, layer, f"{prefix}{layer.name}/")
        else:
            _add(steps, f"layer {prefix + layer.name!r}, {type(layer).__name__}", layer)


def _is_model(layer: Any) -> bool:
    return type(layer).__name__ in ("Sequential", "Functional") and hasattr(layer, "layers")


def _check_chain(steps: Steps, model: Any) -> None:
    """Raise ValueError unless each layer of a Functional model reads the one before it, and nothing else does."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        steps.refuse("the model", f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one of each")
    before = model.inputs[0]
    for layer in model.layers:
        place = f"layer {layer.name!r}, {type(layer).__name__}"
        if type(layer).__name__ == "InputLayer":
            continue
        try:
            read, written = layer.input, layer.output
        except (AttributeError, ValueError) as error:
            steps.refuse(place, f"is used more than once or in a way that cannot be read ({error})")
        if read is not before:
            steps.refuse(place, "does not read the output of the layer before it, and the model is no chain of layers")
        before = written
    if before is not model.outputs[0]:
        steps.refuse("the model", "does not end with the output of its last layer, or uses a layer more than once")


def from_keras(
    model: Any,
    *,
    loss: str | Loss | None = None,
    optimizer: str | optimizers.Optimizer = "adam",
    **settings: Any,
) -> Model:
    """Return a Model that computes what a model of Keras predicts.

    Keras is not imported: layers are recognized by the names of their classes.

    Parameters
    ----------
    model : keras.Sequential or keras.Model
        A chain of Dense, Activation, ReLU, LeakyReLU, ELU, Softmax, Dropout, Rescaling, Normalization,
        BatchNormalization, Flatten and InputLayer, of any backend. The three that scale columns are multiplied into a
        neighbouring Dense layer.
    loss : str, Loss or None
        For further training. None is, by the activation of the last layer, "softmax_crossentropy" (softmax),
        "binary_crossentropy" (sigmoid), "poisson" (exponential), or "squared_error". For logits give the cross-entropy.
    optimizer : str or Optimizer
        For further training.
    **settings
        Further settings of `Model`. The default of `dtype` is "float64" if a weight is of that, else "float32".

    Returns
    -------
    Model
        Built. Layers that are not trainable in Keras are frozen.

    Raises
    ------
    TypeError
        If `model` is none of these.
    ValueError
        If a layer has no equivalent, the layers are no chain, or there are no weights yet; the text names the layer.
    """
    if not _is_model(model):
        hint = ""
        if hasattr(model, "layers"):
            hint = "What the call function of a class of your own does cannot be read."
        raise TypeError(must_be("model", "a keras.Sequential or a functional keras.Model", model, hint))
    steps = Steps("model")
    _add_model(steps, model)
    return steps.model(loss=loss, optimizer=optimizer, call="from_keras", settings=settings)
