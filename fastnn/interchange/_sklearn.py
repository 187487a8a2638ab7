"""scikit-learn: its two perceptrons from ours, and ours from them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from fastnn import losses
from fastnn._validation import must_be, shown
from fastnn.interchange._chain import Chain, chain_of

#: Attributes of a fitted estimator that mean the same in both libraries.
_ATTRIBUTES = (
    "classes_", "n_outputs_", "n_layers_", "out_activation_", "n_features_in_", "feature_names_in_", "n_iter_", "t_",
    "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "_no_improvement_count",
    "_label_binarizer",
)  # fmt: skip
#: Activations of hidden layers by our names, and those of the last layer.
_HIDDEN = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
#: The loss of a Model for each `out_activation_`.
_LOSSES = {
    "softmax": "softmax_crossentropy", "logistic": "binary_crossentropy", "identity": "squared_error", "exp": "poisson",
}  # fmt: skip
_SOLVERS = ("lbfgs", "sgd", "adam")


def from_sklearn(mlp: Any) -> Any:
    """Return an estimator of fastnn that predicts what one of scikit-learn does.

    scikit-learn's object is recognized by the name of its class and its attributes.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted; with labels of any kind, or several labels per row.

    Returns
    -------
    fastnn.MLPClassifier or fastnn.MLPRegressor
        With copies of the weights in their dtype, of the classes, of the parameters and of the curves. `partial_fit`
        and, with ``warm_start=True``, `fit` train on from the weights; the optimizer's moments start at 0.

    Raises
    ------
    TypeError
        If `mlp` is no such estimator.
    ValueError
        If it has not been fitted.
    """
    from fastnn import estimators

    kind = type(mlp).__name__
    constraint = "an MLPClassifier or MLPRegressor of scikit-learn"
    if kind not in estimators.__all__ or isinstance(mlp, type):
        hint = "Pass its last step, a Pipeline's scalers stay what they are." if hasattr(mlp, "steps") else ""
        raise TypeError(must_be("mlp", constraint, mlp, hint))
    state = vars(mlp)
    if "coefs_" not in state:
        if hasattr(mlp, "coefs_") or hasattr(type(mlp), "__fastnn_model__"):
            raise TypeError(must_be("mlp", constraint, mlp, "It is an estimator of fastnn already."))
        raise ValueError(must_be("mlp", "fitted", mlp))
    if hasattr(type(mlp), "__fastnn_model__"):
        raise TypeError(must_be("mlp", constraint, mlp, "It is an estimator of fastnn already."))
    cls = getattr(estimators, kind)
    valid = inspect.signature(cls).parameters
    made = cls(**{name: value for name, value in mlp.get_params(deep=False).items() if name in valid})
    found = {name: copy.deepcopy(state[name]) for name in _ATTRIBUTES if name in state}
    found["_objective"] = losses.get(_LOSSES[mlp.out_activation_])
    found["coefs_"] = [np.array(coef, order="C") for coef in mlp.coefs_]
    found["intercepts_"] = [np.array(intercept) for intercept in mlp.intercepts_]
    if made.early_stopping:
        best = [*state.get("_best_coefs", mlp.coefs_), *state.get("_best_intercepts", mlp.intercepts_)]
        found["_best_weights"] = [np.array(array) for array in best]
    vars(made).update(found)
    return made


def _params(model: Any, chain: Chain, activation: str, loss: str | None) -> dict[str, Any]:
    """Return the parameters of scikit-learn's estimator."""
    given = model.get_params(deep=False) if chain.kind != "model" and hasattr(model, "get_params") else {}
    if given.get("solver") not in _SOLVERS:
        given.pop("solver", None)
    hidden = chain.sizes[1:-1]
    if not np.array_equal(np.ravel(given.get("hidden_layer_sizes", [0])), hidden):
        given["hidden_layer_sizes"] = hidden
    if hidden or given.get("activation") not in _HIDDEN.values():
        given["activation"] = activation
    return given if loss is None else {**given, "loss": loss}


def _hidden_activation(chain: Chain) -> str:
    names = [layer.activation for layer in chain.layers[:-1]]
    for k, name in enumerate(names):
        if name not in _HIDDEN:
            valid = ", ".join(_HIDDEN)
            raise ValueError(f"layers[{k}] has the activation {shown(name)}, but scikit-learn has {valid}.")
        if name != names[0]:
            raise ValueError(
                f"layers[{k}] has the activation {shown(name)} and layers[0] {shown(names[0])}, but in scikit-learn "
                "all hidden layers have the same."
            )
    return _HIDDEN[names[0]] if names else "relu"


def to_sklearn(model: Any) -> Any:
    """Return an estimator of scikit-learn that predicts what a net of fastnn does.

    Parameters
    ----------
    model : Model, fastnn.MLPClassifier or fastnn.MLPRegressor
        A Model for classes becomes a classifier of the labels 0, 1, ..., or of indicators if it has several outputs of
        "binary_crossentropy"; other ones become regressors.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted, with copies of the weights in their dtype, and the parameters of an estimator. What acts on training
        alone and scikit-learn does not have (dropout, other solvers and losses) is left out. Two outputs of softmax
        become the one of scikit-learn, the difference of both.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If `model` is none of these or has no weights; if a layer has an activation that scikit-learn does not have
        there: its hidden layers have identity, sigmoid, tanh or relu, all of them the same.
    """
    try:
        from sklearn import neural_network
        from sklearn.preprocessing import LabelBinarizer
    except ImportError as error:
        raise ImportError(f'to_sklearn needs scikit-learn ({error}): pip install "fastnn-mlp[sklearn]"') from error
    if hasattr(model, "steps"):
        raise TypeError(
            must_be("model", "a Model or an estimator of fastnn", model, "Pass the last step of a Pipeline.")
        )
    chain = chain_of(model)
    activation = _hidden_activation(chain)
    last = chain.layers[-1]
    weights, biases = last.weights, last.biases
    if chain.output == "values":
        if last.activation not in ("identity", "exponential"):
            raise ValueError(
                f"layers[{len(chain.layers) - 1}], the last, has the activation {shown(last.activation)}, but that of "
                "an MLPRegressor is identity, or exponential with the loss 'poisson'."
            )
        poisson = last.activation == "exponential"
        params = _params(model, chain, activation, "poisson" if poisson else "squared_error")
        cls, out = neural_network.MLPRegressor, "exp" if poisson else "identity"
    else:
        params = _params(model, chain, activation, None)
        cls, out = neural_network.MLPClassifier, "softmax" if chain.link == "softmax" else "logistic"
        if chain.link == "softmax" and chain.n_outputs == 2:
            out = "logistic"
            weights, biases = weights[:, 1:] - weights[:, :1], biases[1:] - biases[:1]
    valid = inspect.signature(cls).parameters
    made = cls(**{name: value for name, value in params.items() if name in valid})
    found: dict[str, Any] = {
        "n_features_in_": chain.n_features, "n_layers_": len(chain.layers) + 1, "out_activation_": out,
        "n_iter_": 0, "t_": 0, "loss_curve_": [], "best_loss_": np.inf, "validation_scores_": None,
        "best_validation_score_": None, "_no_improvement_count": 0,
    }  # fmt: skip
    if chain.feature_names is not None:
        found["feature_names_in_"] = np.array(chain.feature_names, object)
    if cls is neural_network.MLPClassifier:
        labels = np.arange(max(2, chain.n_outputs))
        found["_label_binarizer"] = LabelBinarizer().fit(np.eye(len(labels), dtype=int) if chain.multilabel else labels)
        found["classes_"] = found["_label_binarizer"].classes_
    own = {} if chain.kind == "model" else vars(model)
    found |= {name: copy.deepcopy(own[name]) for name in _ATTRIBUTES if name in own}
    found["n_outputs_"] = len(biases)
    found["coefs_"] = [*(layer.weights for layer in chain.layers[:-1]), weights]
    found["intercepts_"] = [*(layer.biases for layer in chain.layers[:-1]), biases]
    if made.early_stopping:
        best = own.get("_best_weights") or [*found["coefs_"], *found["intercepts_"]]
        found["_best_coefs"] = [array.copy() for array in best[: len(chain.layers)]]
        found["_best_intercepts"] = [array.copy() for array in best[len(chain.layers) :]]
    vars(made).update(found)
    return made
