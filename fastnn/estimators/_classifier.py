"""MLPClassifier: scikit-learn's estimator of this name, trained by `Model`.

Parameters, defaults, methods, fitted attributes and errors are those of scikit-learn 1.9.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn.estimators._parameters import naming  # first: its ImportError names what to install

# isort: split
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from fastnn import losses
from fastnn._validation import check_bool, must_be
from fastnn.estimators._base import BaseMLP

Array = npt.NDArray[Any]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier with the API of scikit-learn.

    It replaces `sklearn.neural_network.MLPClassifier`. It minimizes the log-loss plus alpha/(2 n) times the sum
    of the squared weights, n being the rows of a batch. Classes may be labels of any type; for multi-label
    classification y is an indicator matrix.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer; ``()`` is logistic or softmax regression.
    activation : str, or sequence of str
        Activation of the hidden layers: "identity", "logistic", "tanh", "relu" or another of fastnn's names, such as
        "elu". New here: a sequence of one per hidden layer; entries may be fastnn's `Activation` instances, too.
    solver : str or optimizer
        "adam", "sgd" (with `momentum` and `nesterovs_momentum`), "lbfgs". New here: fastnn's other optimizers by
        their names, "adamw", "amsgrad", "nadam", "lion", "rmsprop", "adagrad", ..., and for regression "lm"
        (Levenberg-Marquardt); their settings are the parameters of the estimator of the same name (`epsilon`,
        `beta_1`, ...), or else their defaults. An instance such as ``fastnn.AdamW(1e-3, weight_decay=0.1)`` contains
        all settings; parameters of the estimator for the same settings must then have their defaults. With
        `ema_momentum` the weights are the averages after `fit`.
    alpha : float
        Strength of the L2 penalty.
    batch_size : int or "auto"
        Rows per update; "auto" is 200, or all rows if there are fewer. "lbfgs" and "lm" use all rows.
    learning_rate : {"constant", "invscaling", "adaptive"}
        Only for "sgd" and its variants. "invscaling" is learning_rate_init / (t + 1)^power_t after each epoch, t being
        the number of rows processed, and at least 1e-25 learning_rate_init; "adaptive" divides the rate by 5 where
        training would stop otherwise, until it is 1e-6.
    learning_rate_init : float
        The learning rate, or its initial value.
    power_t : float
        Exponent of "invscaling".
    max_iter : int
        Maximum number of epochs (iterations of "lbfgs" and "lm").
    shuffle : bool
        Whether each epoch uses the rows in a new order.
    random_state : int, RandomState or None
        Source of the start weights (the same as scikit-learn's), the validation rows and the order of rows.
    tol : float
        Training ends if loss or validation score has not improved by `tol` for more than `n_iter_no_change` epochs.
        For "lbfgs" and "lm" the maximum component of the gradient at which they have converged.
    verbose : bool
        Whether to print loss and score of each epoch.
    warm_start : bool
        Whether `fit` starts from the weights of the previous fit.
    momentum : float
        Momentum of "sgd", 0 to 1.
    nesterovs_momentum : bool
        Whether the momentum is Nesterov's.
    early_stopping : bool
        Whether to split off validation rows, stop by the score on them, and restore the weights of the best score.
    validation_fraction : float
        Fraction of the rows for validation.
    beta_1, beta_2, epsilon : float
        Settings of "adam".
    n_iter_no_change : int or inf
        Number of epochs without improvement before stopping.
    max_fun : int
        Maximum number of evaluations of the loss by "lbfgs".
    dropout : float, or sequence of float
        New here. Probability with which each step drops an output of a hidden layer, at least 0 and below 1; kept
        outputs are divided by 1 - dropout, and predictions use all. A sequence contains the rate of the input, then
        one per hidden layer. Training losses are those with dropout. Not with "lbfgs" and "lm".
    label_smoothing : float
        New here. The share, at least 0 and below 1, of each target that is spread evenly over the classes (of each
        label over 0 and 1 for multi-label classification), in training and in the losses of validation rows.
    class_weight : dict, "balanced" or None
        New here. Weight of each class by its label (1 if missing); "balanced" is n / (k n_c) for k classes of n_c
        rows. Multiplied by `sample_weight`. Not for multi-label classification.
    schedule : Schedule or None
        New here: one of `fastnn.schedules`, instead of `learning_rate_init` and with `learning_rate` "constant".
        Its epochs are counted from the start of each `fit`, or over all calls of `partial_fit`.
    callbacks : Callback, list of Callback or None
        New here: `fastnn.Callback` instances, called after each epoch. Their logs contain the losses of `Model`, which
        are means over the outputs and not halved; with validation rows also the losses of these.
    n_threads : int or None
        New here. Maximum number of threads; None means all processors, but at most OMP_NUM_THREADS if that is set, and
        1 in a task of joblib without it (joblib sets it in its worker processes). Results do not depend on it.
    dtype : {"float32", "float64", "mixed_bfloat16"} or None
        New here. Precision of weights and arithmetic; None means that of X (float64 if X is not floating), as in
        scikit-learn. "float32" took 0.54 to 0.61 of the time on the digits. "mixed_bfloat16" is float32 with products
        of rounded numbers, see `fastnn.Model`.
    scoring : str, callable or None
        New here. Score of the validation rows with `early_stopping`: a name of scikit-learn's scorers such as
        "neg_log_loss", a scorer ``scoring(estimator, X, y)`` (with ``sample_weight=`` if the rows have weights), or
        "loss" for the negative loss. None is the score of `score`.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray
        The labels.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer: views, writing into them changes the predictions.
    loss_, best_loss_ : float
        Loss of the last epoch, and the minimum (None with `early_stopping`). As in scikit-learn, the loss of
        an epoch is the mean over its batches by their rows, each before its update and over its own sum of weights.
    loss_curve_ : list of float
        Loss of each epoch, or of each iteration of "lbfgs" and "lm".
    validation_loss_curve_ : list of float or None
        New here. Loss of the validation rows after each epoch, with the penalty of a batch; NaN for epochs of a fit
        without validation rows. None if no fit had any.
    history_ : History
        New here. A row per entry of `loss_curve_`: "loss", "val_loss" and "val_score" as in the attributes,
        "learning_rate" and "seconds"; ``net.history_.plot()`` is a figure. `stopped` is the reason of the end:
        "converged", "early_stopping", "diverged", "interrupted" or that of a callback; None after `max_iter`.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch; None without `early_stopping`.
    best_validation_score_ : float or None
        Maximum of these.
    n_iter_, t_ : int
        Epochs of the last fit; rows processed in all fits.
    n_features_in_, n_layers_, n_outputs_ : int
        Number of columns of X, of layers including the input, and of outputs.
    feature_names_in_ : ndarray of str
        Names of the columns of X, if it has names.
    out_activation_ : str
        "softmax" or "logistic".

    Notes
    -----
    Differences from scikit-learn: the order of rows is another, so weights agree only if all rows are one batch or
    `shuffle` is False. Without sample weights the L2 penalty of the last batch of an epoch is that of a full batch.
    With them the penalty of a batch is at most 1000 times that of one of the mean weight, where scikit-learn's has no
    limit as the sum of the weights of a batch goes to 0; batches whose weights are all 0 have the loss 0. With
    `schedule`, unlike with `learning_rate`, momentum does not contain the rate, so that a changed rate takes effect in
    the next step. Adam
    adds epsilon after bias correction (Kingma & Ba 2015, algorithm 1). A sparse X is converted to a dense array of
    n_samples x n_features numbers. A loss that is not finite ends the training at once, with scikit-learn's error, or,
    with `early_stopping`, with the best weights.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> net = fastnn.MLPClassifier(random_state=0, early_stopping=True).fit(X, y)
    >>> bool(net.score(X_test, y_test) > 0.9)
    True
    """

    loss = "log_loss"
    _objective_parameter = "label_smoothing"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        schedule: Any = None,
        callbacks: Any = None,
        n_threads: int | None = None,
        dtype: Any = None,
        scoring: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.schedule = schedule
        self.callbacks = callbacks
        self.n_threads = n_threads
        self.dtype = dtype
        self.scoring = scoring

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        coefs_init: Any = None,
        intercepts_init: Any = None,
    ) -> MLPClassifier:
        """Train until loss or validation score no longer improve.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_classes)
            Labels, or a 0/1 indicator matrix for multi-label classification.
        sample_weight : array-like (n_samples,) or None
            Weight of each row; None for equal weights.
        X_val, y_val, sample_weight_val : array-like or None
            New here: validation rows for `early_stopping`, instead of a fraction of X; without it for the curve of
            their loss alone.
        coefs_init, intercepts_init : sequence of array-like or None
            New here: the weights (n_in, n_out) and biases (n_out,) of each layer to start from, which are copied; None
            draws them, or with `warm_start` keeps those of the previous fit.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is invalid or inconsistent, or training diverges.
        """
        validation = self._check_validation(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation=validation, start=(coefs_init, intercepts_init))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """Train for one epoch on the given rows, from the present weights.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As for `fit`.
        classes : array-like (n_classes,) or None
            All labels of all calls; required at the first call.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is invalid or inconsistent, or training diverges.
        """
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight must not be 'balanced' for partial_fit, as it depends on all rows: pass the weights as a "
                "dict (see sklearn.utils.class_weight.compute_class_weight)."
            )
        with self._restored_on_failure() as started:
            with naming("classes", "y"):
                if _check_partial_fit_first_call(self, classes):
                    several = type_of_target(y).startswith("multilabel")
                    self._label_binarizer = LabelBinarizer().fit(y if several else classes)
            train = self._set_up(X, y, sample_weight, incremental=True)
            started()
            train()
        return self

    def build(
        self,
        n_features: int,
        classes: Any,
        *,
        multilabel: bool = False,
        coefs_init: Any = None,
        intercepts_init: Any = None,
    ) -> MLPClassifier:
        """Make the net without data: it predicts at once, and `partial_fit` and a warm start train it on.

        Parameters
        ----------
        n_features : int
            Columns of X.
        classes : array-like (n_classes,)
            The labels.
        multilabel : bool
            Whether a row may have several labels, which must then be 0, 1, ..., the columns of the indicator matrix.
        coefs_init, intercepts_init : sequence of array-like or None
            Weights (n_in, n_out) and biases (n_out,) of each layer, which are copied; None draws them by
            `random_state`. The last layer has one output for two classes, else one per class or label.

        Returns
        -------
        MLPClassifier
            The estimator itself, whose earlier fits are forgotten.

        Raises
        ------
        ValueError, TypeError
            If an argument or a parameter is invalid, or weights do not have the shapes that they state.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLPClassifier((), activation="tanh")
        >>> net.build(2, ["no", "yes"], coefs_init=[[[1.0], [-1.0]]], intercepts_init=[[0.0]]).predict([[3, 1]])
        array(['yes'], dtype='<U3')
        """
        with self._restored_on_failure():
            self._validate_params()
            check_bool(multilabel, "multilabel")
            with naming("classes"):
                labels = unique_labels(column_or_1d(classes))
            if multilabel and not np.array_equal(labels, np.arange(max(2, len(labels)))):
                raise ValueError(must_be("classes", "0, 1, ... (at least two) with multilabel=True", classes))
            given = np.eye(len(labels), dtype=np.int64) if multilabel else labels
            self._label_binarizer = LabelBinarizer().fit(given)
            self.classes_ = self._label_binarizer.classes_
            several = multilabel or self._output() == "softmax"
            self._make(n_features, len(labels) if several else 1, coefs_init, intercepts_init)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class per row, (n_samples,); multi-label the indicator of probabilities above 0.5.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray
            (n_samples,), or (n_samples, n_classes) for multi-label classification.
        """
        check_is_fitted(self)
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        return self._label_binarizer.inverse_transform(outputs[:, 0] if outputs.shape[1] == 1 else outputs)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray
            (n_samples, n_classes), in the order of `classes_`.
        """
        check_is_fitted(self)
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of the predictions: the share of rows whose class, or all of whose classes, are right.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_classes)
            The true labels.
        sample_weight : array-like (n_samples,) or None
            Weight of each row; None for equal weights.

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        with naming("y", "sample_weight", "X"):
            return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray
            (n_samples, n_classes), in the order of `classes_`.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Array, Array, Array | None]:
        X, y = self._features_and_targets(X, y, reset=reset)
        with naming("y"):
            if y.ndim == 2 and y.shape[1] == 1:
                y = column_or_1d(y, warn=True)
            if not hasattr(self, "classes_") or not (self.warm_start or incremental):
                self._label_binarizer = LabelBinarizer().fit(y)
                self.classes_ = self._label_binarizer.classes_
            else:
                self._check_classes(y)
            codes = self._codes(y)
        weights = None
        if self.class_weight is not None:
            if self._label_binarizer.y_type_.startswith("multilabel"):
                raise ValueError(
                    f"class_weight is {self.class_weight!r}, but y is multi-label, where a row has no single class: "
                    "leave class_weight at None and pass sample_weight."
                )
            with naming("class_weight"):
                weights = compute_sample_weight(self.class_weight, y)
                if not np.isfinite(weights).all():
                    raise ValueError(must_be("class_weight", "finite numbers", self.class_weight))
        return X, codes, weights

    def _check_classes(self, y: Array) -> None:
        classes = unique_labels(y)
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _codes(self, y: Array) -> Array:
        """Return the index of each row's class (n,), or one bool per output (n, n_outputs)."""
        if self._output() == "softmax":
            return np.searchsorted(self.classes_, y)
        return self._label_binarizer.transform(y).astype(bool)

    def _encode_known(self, y: Array, name: str) -> Array:
        y = np.asarray(y)
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            known = "y" if name == "y_val" else "the fit"
            raise ValueError(f"{name} must only have the classes of {known}, {self.classes_}, got {unknown}.")
        return self._codes(column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y)

    def _decode(self, y: Array) -> Array:
        decoded: Array = self.classes_[y] if y.ndim == 1 else self._label_binarizer.inverse_transform(y)
        return decoded

    def _new_objective(self) -> losses.Loss:
        softmax = self._output() == "softmax"
        return (losses.softmax_crossentropy if softmax else losses.binary_crossentropy)(self.label_smoothing)

    def _output(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _n_outputs(self, y: Array) -> int:
        return len(self.classes_) if y.ndim == 1 else y.shape[1]

    def _stratify(self, y: Array) -> Array | None:
        return y if y.ndim == 2 and y.shape[1] == 1 else None

    def _score_outputs(self, outputs: Array, y: Array, sample_weight: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == y
        else:
            right = ((outputs > 0.5) == (y > 0.5)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags; multi-label targets are supported."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


MLPClassifier.__module__ = "fastnn.estimators"  # the public path, which pickles contain
