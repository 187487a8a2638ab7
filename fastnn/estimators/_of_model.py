"""An estimator that predicts what a Model does."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import activations
from fastnn._validation import must_be, shown
from fastnn.estimators._classifier import MLPClassifier
from fastnn.estimators._losses import scale_of, scaled
from fastnn.estimators._regressor import MLPRegressor
from fastnn.layers import Dense
from fastnn.model import Model, net_of
from fastnn.optimizers import Solver

#: The last layers' activations, besides none, whose outputs an estimator has by itself.
_LAST = {"softmax_crossentropy": "softmax", "binary_crossentropy": "sigmoid", "poisson": "exponential"}


def estimator_of(model: Model, *, classes: Any, batch_size: int, epochs: int) -> MLPClassifier | MLPRegressor:
    """Return a fitted estimator with copies of a Model's weights, whose `fit` trains as the Model was trained.

    Parameters
    ----------
    model : Model
        With weights.
    classes : array-like (n_classes,), or None
        Labels, in the order of the outputs; None for 0, 1, ..., and for regression.
    batch_size : int
        Rows per update.
    epochs : int
        Epochs of `fit`.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    ValueError, TypeError
        If the classes are invalid, or there is no such estimator.
    """
    layers = [layer for layer in model.layers if isinstance(layer, Dense)]
    loss = model.loss
    last = layers[-1].activation
    if last.rule not in (activations.get("identity").rule, activations.get(_LAST.get(loss.name, "identity")).rule):
        raise ValueError(
            f"the last layer has the activation {last.text} with the loss {loss.name!r}, which no estimator has."
        )
    weights, biases = map(list, model.averages or (model.weights, model.biases))  # those that predict
    scale = scale_of(loss, len(biases[-1]))
    settings: dict[str, Any] = {
        "hidden_layer_sizes": tuple(layer.units for layer in layers[:-1]),
        "activation": [layer.activation for layer in layers[:-1]],
        "solver": scaled(model.optimizer, 1.0 / scale),
        "alpha": 2.0 * batch_size * (model.regularizer.l2 if model.regularizer else 0.0) / scale,
        "max_iter": epochs, "n_iter_no_change": np.inf, "random_state": model.seed % 2**32, "dtype": model.dtype_policy,
        "dropout": [layer.dropout for layer in layers],
    }  # fmt: skip
    if not any(settings["dropout"]):
        settings["dropout"] = 0.0
    if not isinstance(model.optimizer, Solver):
        settings["batch_size"] = batch_size
    n_features = int(weights[0].shape[0])
    made: MLPClassifier | MLPRegressor
    if loss.classification:
        labels = np.arange(max(2, len(biases[-1]))) if classes is None else np.asarray(classes)
        if labels.shape != (max(2, len(biases[-1])),) or len(np.unique(labels)) != len(labels):
            raise ValueError(must_be("classes", f"{max(2, len(biases[-1]))} labels, one for each class", classes))
        if (np.sort(labels) != labels).any():
            raise ValueError(must_be("classes", "in ascending order, as np.unique returns them", classes))
        is_softmax = loss.name == "softmax_crossentropy"
        if is_softmax and len(labels) == 2:  # an estimator has one output for two classes
            weights[-1], biases[-1] = weights[-1][:, 1:] - weights[-1][:, :1], biases[-1][1:] - biases[-1][:1]
        made = MLPClassifier(label_smoothing=loss.label_smoothing, **settings)
        several = not is_softmax and len(biases[-1]) > 1
        made.build(n_features, labels, multilabel=several, coefs_init=weights, intercepts_init=biases)
    else:
        if classes is not None:
            raise ValueError(must_be("classes", "None for regression", classes, f"The loss is {shown(loss.name)}."))
        made = MLPRegressor(loss, **settings)
        n_targets = len(biases[-1]) // loss.outputs_per_target
        made.build(n_features, n_targets, coefs_init=weights, intercepts_init=biases)
    names = net_of(model).feature_names
    if names is not None:
        made.feature_names_in_ = np.array(names, object)
    return made
