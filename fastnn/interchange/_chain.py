"""The description of a trained net that all converters read: its layers, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._training.objective import link_of
from fastnn._validation import must_be
from fastnn.activations import Activation
from fastnn.kernels.nn.rules import CUSTOM
from fastnn.layers import Dense
from fastnn.model import Model, net_of

Array: TypeAlias = npt.NDArray[Any]

_ACCEPTED = "a Model, an MLPClassifier or MLPRegressor of fastnn, or a Pipeline of scalers that ends in one"


@dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer, y = activation(x W + b).

    Parameters
    ----------
    weights : ndarray, (n_in, n_out)
        C-contiguous and finite, of the net's dtype; float64 where a scaler is part of it.
    biases : ndarray, (n_out,)
        Of the same dtype; zeros where the layer has none.
    activation : str
        Canonical name of a built-in activation.
    alpha : float
        The activation's number; 0 where it has none.
    """

    weights: Array
    biases: Array
    activation: str
    alpha: float

    @property
    def n_in(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[0])

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return int(self.weights.shape[1])


@dataclass(frozen=True, eq=False)
class Chain:
    """A trained net as a chain of dense layers, with the weights that `Model.predict` uses.

    Parameters
    ----------
    layers : tuple of Layer
        From the first hidden layer to the output; copies, which further training leaves alone.
    dtype : numpy.dtype
        float32 or float64: the net's.
    kind : {"model", "classifier", "regressor"}
        What was given, or what the Pipeline ends in: a `Model` or an estimator.
    output : {"values", "logits", "probabilities"}
        What the last layer yields. Logits become probabilities by `link`.
    link : {"", "sigmoid", "softmax"}
        The activation that yields the probabilities: after the last layer for logits, in the last layer for
        probabilities; "" for values. With "softmax" the classes exclude each other.
    classes : ndarray, (n_classes,), or None
        Labels of an estimator's classes, of any dtype; None for a `Model`, whose classes are 0, 1 ..., and for values.
    multilabel : bool
        Whether each output is a class of its own: "sigmoid" and, for a `Model`, more than one output.
    loss : str
        Name of the loss.
    feature_names : tuple of str, or None
        Names of the columns of X, if the net or the first scaler knows them.
    scale, shift : ndarray, (n_features,), or None
        What the scalers of a Pipeline do to the features, scale x + shift, which is part of the first layer; float64.
        None without a scaler.
    scalers : tuple of str
        Names of the steps that do so.
    """

    layers: tuple[Layer, ...]
    dtype: np.dtype[Any]
    kind: Literal["model", "classifier", "regressor"]
    output: Literal["values", "logits", "probabilities"]
    link: Literal["", "sigmoid", "softmax"]
    classes: Array | None
    multilabel: bool
    loss: str
    feature_names: tuple[str, ...] | None
    scale: Array | None = None
    shift: Array | None = None
    scalers: tuple[str, ...] = ()

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.layers[0].n_in

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the last layer."""
        return self.layers[-1].n_out

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths, the input's first; (L + 1,)."""
        return (self.n_features, *(layer.n_out for layer in self.layers))


def chain_of(given: Any) -> Chain:
    """Return the description of a net.

    Parameters
    ----------
    given : Model, estimator of fastnn, or Pipeline
        A Pipeline of scikit-learn may have StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler and "passthrough"
        before an estimator of fastnn. They are recognized by their names and attributes, and multiplied into
        the first layer in float64.

    Returns
    -------
    Chain

    Raises
    ------
    TypeError
        If `given` is none of these, or a step of the Pipeline is another one.
    ValueError
        If the net has no weights yet, or weights that are not finite; if a scaler clips, or a layer has a custom
        activation.
    sklearn.exceptions.NotFittedError
        If the estimator has not been fitted.
    """
    if isinstance(given, Model):
        return _of_model(given)
    steps = getattr(given, "steps", None)
    if isinstance(steps, list) and not isinstance(given, type):
        return _of_pipeline(steps)
    model_of = getattr(type(given), "__fastnn_model__", None)
    if model_of is None or isinstance(given, type):
        hint = ""
        if type(given).__name__ in ("MLPClassifier", "MLPRegressor"):
            hint = "An estimator of scikit-learn is converted by fastnn.interchange.from_sklearn."
        raise TypeError(must_be("model", _ACCEPTED, given, hint))
    return _of_estimator(given, model_of(given))


def rounded_to(chain: Chain, dtype: np.dtype[Any]) -> Chain:
    """Return a chain whose weights and biases have one dtype.

    Parameters
    ----------
    chain : Chain
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    Chain
        Its `dtype` is this one.

    Raises
    ------
    ValueError
        If a number is too large for float32.
    """
    layers = []
    for k, layer in enumerate(chain.layers):
        with np.errstate(over="ignore"):
            weights, biases = layer.weights.astype(dtype), layer.biases.astype(dtype)
        if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
            raise ValueError(
                f"dtype={dtype.name!r} is too narrow for the weights of layers[{k}], which reach "
                f"{max(np.abs(layer.weights).max(), np.abs(layer.biases).max()):.3g}. Use dtype='float64'."
            )
        layers.append(replace(layer, weights=weights, biases=biases))
    return replace(chain, layers=tuple(layers), dtype=dtype)


def model_of(chain: Chain) -> Model:
    """Return a Model with these layers, for predictions; its loss is any."""
    layers = [Dense(layer.n_out, Activation(layer.activation, layer.alpha)) for layer in chain.layers]
    loss = "softmax_crossentropy" if chain.layers[-1].activation == "softmax" else "squared_error"
    model = Model(layers, loss=loss, seed=0, dtype=chain.dtype).build(chain.n_features)
    model.weights = [layer.weights for layer in chain.layers]
    model.biases = [layer.biases for layer in chain.layers]
    return model


def example_rows(chain: Chain, n: int) -> Array:
    """Return rows of random features for a test, (n, n_features): standard normal numbers after the scalers."""
    rows = np.random.default_rng(0).standard_normal((n, chain.n_features))
    if chain.scale is not None and chain.shift is not None:
        rows = (rows - chain.shift) / np.where(chain.scale == 0.0, 1.0, chain.scale)
    return rows.astype(chain.dtype)


# ------------------------------------------------------------------------------------------ models and estimators


def _of_model(model: Model) -> Chain:
    net = net_of(model)
    with net.kernel_lock:
        weights, biases = net.built().final_weights()
        names = net.feature_names
    spec = net.spec
    for k, layer in enumerate(spec.layers):
        name = layer.activation.name
        if layer.activation.rule.code == CUSTOM:
            raise ValueError(
                f"layers[{k}] has the custom activation {name!r}, which is a function in Python and has no equivalent "
                "elsewhere. Use an activation of fastnn.activations."
            )
        _check_finite(f"weights[{k}]", weights[k])
        _check_finite(f"biases[{k}]", biases[k])
    link: Any = link_of(spec)
    output: Any = "values"
    if link.probabilities:
        output = "probabilities" if spec.layers[-1].activation.rule is link else "logits"
    return Chain(
        layers=tuple(
            Layer(np.ascontiguousarray(w), np.ascontiguousarray(b), layer.activation.name, layer.activation.alpha)
            for w, b, layer in zip(weights, biases, spec.layers, strict=True)
        ),
        dtype=spec.dtype,
        kind="model",
        output=output,
        link=link.name if link.probabilities else "",
        classes=None,
        multilabel=link.probabilities == "each" and spec.layers[-1].units > 1,
        loss=spec.loss.name,
        feature_names=names,
    )


def _check_finite(name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise ValueError(must_be(name, "finite", values, "Weights with NaN or infinity are not exported."))


def _of_estimator(estimator: Any, model: Model) -> Chain:
    chain = _of_model(model)
    classes = getattr(estimator, "classes_", None)
    return replace(
        chain,
        kind="regressor" if classes is None else "classifier",
        classes=None if classes is None else np.array(classes),
        feature_names=_names_in(estimator) or chain.feature_names,
    )


def _names_in(step: Any) -> tuple[str, ...] | None:
    names = getattr(step, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


# --------------------------------------------------------------------------------- scalers: x -> scale x + shift


def _standard(step: Any) -> tuple[Array, Array]:
    scale = 1.0 / np.asarray(step.scale_, np.float64) if step.with_std else np.ones(step.n_features_in_)
    return scale, -np.asarray(step.mean_, np.float64) * scale if step.with_mean else np.zeros(scale.shape)


def _min_max(step: Any) -> tuple[Array, Array]:
    return np.asarray(step.scale_, np.float64), np.asarray(step.min_, np.float64)


def _max_abs(step: Any) -> tuple[Array, Array]:
    scale = 1.0 / np.asarray(step.scale_, np.float64)
    return scale, np.zeros(scale.shape)


def _robust(step: Any) -> tuple[Array, Array]:
    scale = 1.0 / np.asarray(step.scale_, np.float64) if step.with_scaling else np.ones(step.n_features_in_)
    return scale, -np.asarray(step.center_, np.float64) * scale if step.with_centering else np.zeros(scale.shape)


#: By the name of scikit-learn's class: (scale, shift), (n_features,) float64 each, of a fitted scaler.
_SCALERS: dict[str, Callable[[Any], tuple[Array, Array]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
}


def _of_pipeline(steps: list[Any]) -> Chain:
    if not steps:
        raise TypeError(must_be("model", _ACCEPTED, steps))
    chain = chain_of(steps[-1][1])
    first, names = chain.layers[0], None
    scale, shift = np.ones(chain.n_features), np.zeros(chain.n_features)
    used: list[str] = []
    with np.errstate(all="ignore"):  # what is not finite is refused below
        for name, step in _flat(steps[:-1]):
            names = names or _names_in(step)
            if step is None or (isinstance(step, str) and step == "passthrough"):
                continue
            s, t = _affine(name, step)
            if s.shape != scale.shape or t.shape != scale.shape:
                raise ValueError(
                    f"step {name!r} of the Pipeline has {s.size} columns, but the net has {chain.n_features} inputs."
                )
            scale, shift = scale * s, shift * s + t
            used.append(name)
        weights = first.weights.astype(np.float64)
        biases = first.biases.astype(np.float64) + shift @ weights
        weights = scale[:, None] * weights
    if not used:
        return replace(chain, feature_names=names or chain.feature_names)
    _check_finite("the weights after scaling", weights)
    _check_finite("the biases after scaling", biases)
    folded = replace(first, weights=weights, biases=biases)
    return replace(
        chain,
        layers=(folded, *chain.layers[1:]),
        feature_names=names or chain.feature_names,
        scale=scale,
        shift=shift,
        scalers=tuple(used),
    )


def _flat(steps: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and steps, those of a Pipeline inside one by one."""
    for name, step in steps:
        inner = getattr(step, "steps", None)
        if isinstance(inner, list):
            yield from _flat(inner)
        else:
            yield name, step


def _affine(name: str, step: Any) -> tuple[Array, Array]:
    """Return scale and shift of a step, each (n_features,)."""
    kind = type(step).__name__
    if kind not in _SCALERS:
        raise TypeError(
            f"step {name!r} of the Pipeline is {kind}, which is no multiplication and addition per column: "
            f"{', '.join(_SCALERS)} and 'passthrough' can be part of the first layer. Apply it to the data yourself, "
            "and pass the rest of the Pipeline."
        )
    if getattr(step, "clip", False):
        raise ValueError(f"step {name!r} of the Pipeline, {kind}(clip=True), clips, which no layer does.")
    try:
        return _SCALERS[kind](step)
    except AttributeError as error:
        raise ValueError(f"step {name!r} of the Pipeline, {kind}, has not been fitted ({error}).") from error
