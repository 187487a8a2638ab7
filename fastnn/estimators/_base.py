"""Base of the two scikit-learn estimators: conversion of data, the `Model`, training and persistence.

`_parameters` validates the constructor's parameters, `_stopping` runs the epochs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.estimators._parameters import LONGEST, Parameters, names_one, naming  # first, see there

# isort: split
from joblib.parallel import get_active_backend
from sklearn.base import TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from fastnn import activations, optimizers
from fastnn._data.prepare import prepare
from fastnn._data.rows import Rows
from fastnn._engine.processors import available_threads
from fastnn._results import write_into
from fastnn._validation import (
    CONVERSION_ERRORS,
    MIXED_BFLOAT16,
    as_dtype_policy,
    as_sequence,
    must_be,
    positive_integer,
    reason,
)
from fastnn._version import DISTRIBUTION
from fastnn.callbacks import Callback, as_callbacks
from fastnn.estimators._hidden import HiddenOutputs
from fastnn.estimators._losses import scale_of
from fastnn.estimators._sklearn_callbacks import CallbackSupport
from fastnn.estimators._stopping import Rules, StoppingState, Task, descend, solve
from fastnn.history import History
from fastnn.layers import Dense
from fastnn.losses import Loss
from fastnn.model import Model, net_of

Array = npt.NDArray[Any]
_Data = tuple[Array, Array, Array | None]  # X, encoded y, weights of the rows
_Start = tuple[Any, Any]  # coefs_init, intercepts_init

#: Fields of `StoppingState` that persist between fits, and the attributes that store them.
_RECORDED = {
    "t": "t_",
    "loss_curve": "loss_curve_",
    "validation_loss_curve": "validation_loss_curve_",
    "history": "history_",
    "best_loss": "best_loss_",
    "validation_scores": "validation_scores_",
    "best_validation_score": "best_validation_score_",
    "best_weights": "_best_weights",
    "no_improvement_count": "_no_improvement_count",
}

#: Activation of the Model's last layer for each `out_activation_`.
_LAST = {"softmax": "softmax", "logistic": "sigmoid", "identity": "identity", "exp": "exponential"}

#: Sparse formats that scikit-learn does not convert.
_SPARSE = ["csr", "csc"]


def _dense(X: Any) -> Array:
    return X if isinstance(X, np.ndarray) else X.toarray(order="C")


@functools.cache
def documentation_site() -> str:
    """Return the address of the documentation that the metadata of the installed package state; empty for none."""
    try:
        urls = metadata.metadata(DISTRIBUTION).get_all("Project-URL") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        urls = []
    found = dict(url.partition(", ")[::2] for url in urls)
    return found.get("Documentation", "").rstrip("/")


def default_n_threads() -> int:
    """Return the default number of threads of an estimator: all processors, except in a task of joblib.

    OMP_NUM_THREADS is an upper bound, as for the rest of scikit-learn; joblib sets it in its worker processes so that
    all of them together use each processor once. Without it the default in a task of joblib, in a process or in a
    thread, is 1.
    """
    threads = 1 if getattr(get_active_backend()[0], "nesting_level", 0) else available_threads()
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # one number per level of nesting
    return min(int(allowed), available_threads()) if allowed.isdigit() and int(allowed) > 0 else threads


class BaseMLP(CallbackSupport, HiddenOutputs, TransformerMixin, Parameters):
    """Training and persistence of both estimators; an abstract base class.

    A fitted estimator has a `Model`; `coefs_` and `intercepts_` are views of its weights and biases. So writing into
    them changes the predictions; arrays assigned to the attributes are copied into the Model at the next use.
    """

    _doc_link_module = "fastnn"
    # State between epochs (see `_stopping`); some are None with `early_stopping`, others without.
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    history_: History
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    _best_weights: Any
    _optimizer: Any
    _objective: Loss  # of the Model

    # ------------------------------------------------------------------- what the subclasses implement

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Array, Array, Array | None]:
        """Validate X and y; return X, encoded y, and the weights of the rows that follow from y, or None."""
        raise NotImplementedError

    def _encode_known(self, y: Any, name: str) -> Array:
        """Validate and encode targets of rows that are not trained on."""
        raise NotImplementedError

    def _decode(self, y: Array) -> Array:
        """Return the targets that were encoded."""
        return y

    def _output(self) -> str:
        """Return `out_activation_` for the targets that were encoded last."""
        raise NotImplementedError

    def _new_objective(self) -> Loss:
        """Return the loss of the Model for the targets that were encoded last."""
        raise NotImplementedError

    def _n_outputs(self, y: Array) -> int:
        """Return the number of outputs that encoded targets require."""
        return 1 if y.ndim == 1 else y.shape[1]

    def _score_outputs(self, outputs: Array, y: Array, sample_weight: Array | None) -> float:
        """Return the score of outputs, as `score` does; larger is better."""
        raise NotImplementedError

    def _stratify(self, y: Array) -> Array | None:
        """Return the classes by which the rows for validation are stratified; None for no stratification."""
        return None

    # ------------------------------------------------------------------------------------------ the Model

    def _draw(self, sizes: Sequence[int], random: np.random.RandomState, dtype: np.dtype[Any]) -> None:
        """Draw `coefs_` and `intercepts_`: Glorot's uniform distribution for both, as in scikit-learn."""
        layers = self._activations(len(sizes) - 2)
        layers = [*layers, layers[-1] if layers else activations.get("relu")]  # the last is drawn as the one before
        self.coefs_, self.intercepts_ = [], []
        for n_in, n_out, activation in zip(sizes[:-1], sizes[1:], layers, strict=True):
            bound = np.sqrt((2.0 if activation.rule is activations.get("sigmoid").rule else 6.0) / (n_in + n_out))
            self.coefs_.append(random.uniform(-bound, bound, (n_in, n_out)).astype(dtype, copy=False))
            self.intercepts_.append(random.uniform(-bound, bound, n_out).astype(dtype, copy=False))

    def _build(self, seed: int | None = None) -> Model:
        """Construct a Model from `coefs_` and `intercepts_`, which become views of its weights."""
        hidden = self._activations(len(self.coefs_) - 1)
        layers = [*hidden, activations.get(_LAST[self.out_activation_])]
        dropouts = self._dropouts(len(hidden))
        is_single = np.asarray(self.coefs_[0]).dtype == np.float32
        mixed = is_single and self.dtype is not None and as_dtype_policy(self.dtype)[1]
        dtype = MIXED_BFLOAT16 if mixed else "float32" if is_single else "float64"
        model = Model(
            [
                Dense(np.shape(coef)[1], activation, kernel_initializer="zeros", dropout=dropout)
                for coef, activation, dropout in zip(self.coefs_, layers, dropouts, strict=True)
            ],
            loss=self._objective,
            metrics=["mean_squared_error"] if self._objective.name == "squared_error" and self.n_outputs_ > 1 else [],
            seed=seed,
            dtype=dtype,
            n_threads=self.n_threads or default_n_threads(),
        )
        model.build(np.shape(self.coefs_[0])[0])
        self._bind(model, self.coefs_, self.intercepts_)
        return model

    def _bind(self, model: Model, coefs: Sequence[Array], intercepts: Sequence[Array]) -> None:
        """Copy weights into a Model and replace the attributes by its views."""
        weights, biases = model.weights, model.biases
        for view, given in zip([*weights, *biases], [*coefs, *intercepts], strict=True):
            view[...] = given
        self._model, self._bound = model, (*weights, *biases)
        self.coefs_, self.intercepts_ = list(weights), list(biases)

    def _bound_model(self, seed: int | None = None) -> Model:
        """Return the Model with the present `coefs_` and `intercepts_`; `seed` is for a new one."""
        given = (*self.coefs_, *self.intercepts_)
        bound = self.__dict__.get("_bound", ())
        if len(given) == len(bound):
            if all(a is b for a, b in zip(given, bound, strict=True)):
                return self._model
            if all(np.shape(a) == b.shape for a, b in zip(given, bound, strict=True)):
                self._bind(self._model, self.coefs_, self.intercepts_)
                return self._model
        return self._build(seed)

    def __fastnn_model__(self) -> Model:
        """Return the Model of a fitted estimator with its present weights, for modules of this package."""
        check_is_fitted(self)
        return self._bound_model()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy, in which the weights are part of the Model's state."""
        if not hasattr(self, "_model"):
            return dict(super().__getstate__())
        model = self._bound_model()
        state = {k: v for k, v in super().__getstate__().items() if k not in ("coefs_", "intercepts_", "_bound")}
        return {**state, "_model": model.__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state from `__getstate__`, with the number of threads of this machine."""
        super().__setstate__({k: v for k, v in state.items() if k != "_model"})
        if "_model" in state:
            model = Model.__new__(Model)
            model.__setstate__({**state["_model"], "n_threads": self.n_threads or default_n_threads()})
            self._bind(model, model.weights, model.biases)

    def _outputs(self, X: Any) -> Array:
        """Return the outputs of the last layer for an unvalidated X; (n, n_outputs_)."""
        model = self._bound_model()
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype == model.dtype
            and X.flags.c_contiguous
            and X.shape[1] == model.n_features
            and not hasattr(self, "feature_names_in_")
        ):
            try:
                return model.predict(X)  # which checks for NaN itself
            except ValueError:
                pass  # scikit-learn's error is raised below
        return model.predict(self._features(X, reset=False, dtype=model.dtype))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags; sparse X is supported, and `transform` keeps the dtype."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _doc_link_template(self) -> str:
        """Address of the page of an estimator, for the links in its HTML; empty if the package states no site."""
        site = documentation_site()
        return f"{site}/reference/generated/fastnn.{{estimator_name}}.html" if site else ""

    def _features(self, X: Any, *, reset: bool, dtype: Any) -> Array:
        """Validate X and return a dense array in C order."""
        with naming("X"):
            return _dense(validate_data(self, X, accept_sparse=_SPARSE, dtype=dtype, order="C", reset=reset))

    def _features_and_targets(self, X: Any, y: Any, *, reset: bool, y_numeric: bool = False) -> tuple[Array, Array]:
        """Validate X and y for training; return X dense, in `dtype` or, if that is None, in its own if floating."""
        dtype = [np.float64, np.float32] if self.dtype is None else as_dtype_policy(self.dtype)[0]
        how = {"accept_sparse": _SPARSE, "multi_output": True, "y_numeric": y_numeric, "dtype": dtype, "order": "C"}
        with naming("X", "y"):
            try:
                X, y = validate_data(self, X, y, reset=reset, **how)
            except CONVERSION_ERRORS as error:
                if not names_one(reason(error, longest=LONGEST), ("X", "y")):
                    with naming("X"):  # if X alone is at fault
                        check_array(X, accept_sparse=_SPARSE, dtype=dtype, input_name="X")
                raise
            return _dense(X), y

    # ------------------------------------------------------------------------------------------- training

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        validation: tuple[Any, Any, Any] | None = None,
        start: _Start = (None, None),
    ) -> BaseMLP:
        """Train; a failure leaves the attributes as they were, an interrupt those of the last finished step."""
        with self._root_task(X, y, sample_weight) as tasks, self._restored_on_failure() as started:
            train = self._set_up(
                X, y, sample_weight, incremental=False, validation=validation, start=start, tasks=tasks
            )
            started()
            train()
        return self

    @contextmanager
    def _restored_on_failure(self) -> Iterator[Callable[[], None]]:
        """Restore all attributes after an error; yield what is to be called where interrupts begin to keep them."""
        before = dict(vars(self))
        model: Model | None = before.get("_model")
        settings = None if model is None else (model.optimizer, model.regularizer)
        kinds: list[type[BaseException]] = [BaseException]
        try:
            yield lambda: kinds.__setitem__(0, Exception)
        except BaseException as error:
            if not isinstance(error, kinds[0]):
                raise
            self.__dict__.clear()
            self.__dict__.update(before)
            if model is not None and settings is not None and settings != (model.optimizer, model.regularizer):
                model.optimizer, model.regularizer = settings
            if isinstance(error, Exception) and not isinstance(error, Warning):
                self._validate_params()  # which scikit-learn leaves out for all calls of partial_fit but the first
            raise

    def _set_up(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        validation: tuple[Any, Any, Any] | None = None,
        start: _Start = (None, None),
        tasks: tuple[Callback, ...] = (),
    ) -> Callable[[], None]:
        """Validate everything, set the attributes of the start, and return what trains."""
        self._check_numbers()
        hidden = self._hidden_layer_sizes()
        layers = self._activations(len(hidden)), self._dropouts(len(hidden))
        self._check_schedule()
        optimizer = self._new_optimizer()
        if incremental:
            kept = self.__dict__.get("_optimizer")
            optimizer = kept if isinstance(kept, optimizers.FirstOrderOptimizer) else optimizer
            self._check_continuation(*layers, optimizer, self._model.layers if hasattr(self, "_model") else ())
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        scorer = self._scorer()
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y, weights = self._encode(X, y, incremental, first)
        if sample_weight is not None:
            with naming("sample_weight"):
                sample_weight = _check_sample_weight(sample_weight, X)
        if weights is not None:
            sample_weight = weights if sample_weight is None else weights * sample_weight
        sizes = [X.shape[1], *hidden, self._n_outputs(y)]
        if not first and [len(self.coefs_[0]), *(np.shape(coef)[1] for coef in self.coefs_)] != sizes:
            before = [len(self.coefs_[0]), *(np.shape(coef)[1] for coef in self.coefs_)]
            raise ValueError(
                f"{'partial_fit' if incremental else 'warm_start'} continues with the net of the previous fit, of "
                f"layers {before}, but data and hidden_layer_sizes require {sizes}."
            )
        objective = self._new_objective()
        if isinstance(optimizer, optimizers.LevenbergMarquardt) and objective.rule.name != "squared_error":
            raise ValueError(
                f"solver={self.solver!r} requires loss='squared_error', but the loss is {self.loss!r}: use 'lbfgs'."
            )
        if not first:
            self._check_objective(objective, incremental)
        self._objective = objective
        held_back = None if validation is None else self._validation_rows(*validation, X.dtype, sizes[-1])

        random = check_random_state(self.random_state)
        if first:
            with naming("hidden_layer_sizes"):  # of a net that does not fit into memory
                self._initialize(sizes, random, X.dtype)
        self._start_from(*start)
        if first or not hasattr(self, "loss_curve_") or (self.best_loss_ is None) != self._validates():
            self._reset_stopping_state()
        training = X, y, sample_weight
        if held_back is None and self._validates():
            training, held_back = self._split(training, random)
        seed = int(random.randint(np.iinfo(np.int32).max))
        model = self._bound_model(seed) if incremental else self._build(seed)
        rows = self._prepared(model, training)
        score: Callable[[Model, Rows | None, float], float] = self._score
        held_out = None
        if held_back is not None:
            held_out = self._prepared(model, held_back, "sample_weight" if validation is None else "sample_weight_val")
            score = self._score_of(scorer, held_back)
        task = Task(model, rows, held_out, functools.partial(score, model, held_out))
        return functools.partial(self._train, task, self._rules(tasks), optimizer, incremental)

    def _check_objective(self, objective: Loss, incremental: bool) -> None:
        """Raise ValueError unless a net that was fitted before can be trained on with this loss."""
        # Weights that were assigned without a fit have no objective yet.
        if incremental and objective != self.__dict__.get("_objective", objective):
            raise ValueError(self._differs(self._objective_parameter))
        if self._output() != self.out_activation_:
            raise ValueError(
                f"loss is {self.loss!r}, but warm_start continues with the net of the previous fit, whose output is "
                f"{self.out_activation_!r}: restore the loss, or set warm_start=False."
            )

    def _train(self, task: Task, rules: Rules, optimizer: optimizers.Optimizer, incremental: bool) -> None:
        """Run the epochs, and set the attributes to what they result in, also if they are interrupted."""
        self._optimizer = optimizer
        state = StoppingState(optimizer, **self._kept())
        try:
            if self._is_stochastic():
                descend(task, rules, state, incremental)
            else:
                solve(task, rules, state)
        finally:
            self._optimizer = state.optimizer
            for name, own in (*_RECORDED.items(), ("n_iter", "n_iter_")):
                setattr(self, own, getattr(state, name))
            if state.n_iter or not self._is_stochastic():
                self.loss_ = state.loss

    def _kept(self) -> dict[str, Any]:
        """Return copies of the recorded state of earlier fits, as fields of `StoppingState`."""
        return {name: copy.copy(getattr(self, own)) for name, own in _RECORDED.items() if hasattr(self, own)}

    def _prepared(self, model: Model, data: _Data, weights: str = "sample_weight") -> Rows:
        """Validate rows and convert them to the form that the Model requires; `weights` is their argument's name."""
        X, y, sample_weight = data
        if self.out_activation_ != "softmax":
            with naming("y"):
                y = y.astype(model.dtype, copy=False)
        form = net_of(model).form
        return prepare(X, np.ascontiguousarray(y), form, sample_weight=sample_weight, names=("X", "y", weights))

    def _score(self, model: Model, rows: Rows | None, loss: float) -> float:
        """Return the estimator's score of the Model's present weights for rows, whose loss is not used."""
        assert rows is not None
        weight = rows.sample_weight if rows.sample_weight.size else None
        return self._score_outputs(model.predict(rows.features), rows.y, weight)

    def _score_of(self, scorer: Callable[..., Any] | None, data: _Data) -> Callable[[Model, Rows | None, float], float]:
        """Return the function for the validation score: `_score`, or that of `scoring` for the given rows."""
        if scorer is None:
            return self._score if self.scoring is None else lambda model, rows, loss: -loss
        X, y, sample_weight = data
        given = (X, self._decode(y))
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        view = self._without_names()

        def score(model: Model, rows: Rows | None, loss: float) -> float:
            try:
                value = scorer(view, *given, **weights)
            except Exception as error:
                error.add_note(f"scoring was called with the estimator, X {X.shape}, y {y.shape} and {list(weights)}.")
                raise
            try:
                return float(value)
            except CONVERSION_ERRORS:  # raised by the value itself
                raise TypeError(must_be("scoring", "a scorer that returns a number", value)) from None

        return score

    def _without_names(self) -> BaseMLP:
        """Return an estimator with the attributes of this one that takes arrays without names of their columns."""
        view = object.__new__(type(self))
        view.__dict__.update({name: value for name, value in vars(self).items() if name != "feature_names_in_"})
        return view

    def _rules(self, tasks: tuple[Callback, ...]) -> Rules:
        """Return the settings of the training, with further callbacks."""
        names = {field.name for field in dataclasses.fields(Rules)} & set(vars(self))
        given = {name: getattr(self, name) for name in names}
        # NumPy's integers of 8 bits would overflow in sums and products.
        given |= {name: int(value) for name, value in given.items() if isinstance(value, np.integer)}
        given |= {"shuffle": bool(self.shuffle), "verbose": bool(self.verbose), "early_stopping": self.early_stopping}
        given["callbacks"] = (*as_callbacks(self.callbacks), *tasks)
        return Rules(objective=self._objective, n_outputs=self.n_outputs_, **given)

    def _initialize(self, sizes: Sequence[int], random: np.random.RandomState, dtype: np.dtype[Any]) -> None:
        """Reset counters and draw new weights."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_outputs_ = sizes[-1]
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output()
        self._draw(sizes, random, dtype)

    def _start_from(self, coefs_init: Any, intercepts_init: Any) -> None:
        """Replace `coefs_` and `intercepts_` by copies of those that are given."""
        for name, given in (("coefs", coefs_init), ("intercepts", intercepts_init)):
            if given is None:
                continue
            present = getattr(self, f"{name}_")
            argument = f"{name}_init"
            arrays = as_sequence(argument, f"{len(present)} arrays, one per layer", given)
            if len(arrays) != len(present):
                raise ValueError(must_be(argument, f"{len(present)} arrays, one per layer", f"{len(arrays)}"))
            new = [np.empty_like(array) for array in present]
            names = [f"{argument}[{k}]" for k in range(len(present))]
            write_into(new, arrays, names)
            for argument, array in zip(names, new, strict=True):
                if not np.isfinite(array).all():
                    raise ValueError(must_be(argument, "finite", array))
            setattr(self, f"{name}_", new)

    def _make(self, n_features: Any, n_outputs: int, coefs_init: Any, intercepts_init: Any) -> None:
        """Set the attributes of a fitted estimator without data; see `build` of the subclasses."""
        self._check_numbers()
        hidden = self._hidden_layer_sizes()
        self._activations(len(hidden))
        self._dropouts(len(hidden))
        self.__dict__.pop("feature_names_in_", None)
        self.n_features_in_ = positive_integer(n_features, "n_features")
        sizes = [self.n_features_in_, *hidden, n_outputs]
        dtype = np.dtype(np.float64) if self.dtype is None else as_dtype_policy(self.dtype)[0]
        self._objective = self._new_objective()
        with naming("hidden_layer_sizes"):
            random = check_random_state(self.random_state)
            self._initialize(sizes, random, dtype)
            self._start_from(coefs_init, intercepts_init)
            self._build(int(random.randint(np.iinfo(np.int32).max)))
        self._reset_stopping_state()

    def _reset_stopping_state(self) -> None:
        """Reset the record and the early-stopping state."""
        scores = self._validates()
        self.loss_curve_ = []
        self.validation_loss_curve_ = None
        self.history_ = History()
        self._no_improvement_count = 0
        self.best_loss_ = None if scores else np.inf
        self.validation_scores_ = [] if scores else None
        self.best_validation_score_ = -np.inf if scores else None
        self._best_weights = [w.copy() for w in (*self.coefs_, *self.intercepts_)] if scores else None

    def _validation_rows(self, X: Any, y: Any, sample_weight: Any, dtype: np.dtype[Any], n_outputs: int) -> _Data:
        with naming("X_val", replaced="X"):
            X = self._features(X, reset=False, dtype=dtype)
        with naming("y_val"):
            y = self._encode_known(y, "y_val")
        if len(y) != len(X):
            raise ValueError(f"y_val has {len(y)} rows, but X_val has {len(X)}: pass one target per row.")
        if self._n_outputs(y) != n_outputs:
            per_target = self._objective.outputs_per_target
            raise ValueError(
                f"y_val has {self._n_outputs(y) // per_target} outputs, but y has {n_outputs // per_target}: they must "
                "be equal."
            )
        with naming("sample_weight_val"):
            return X, y, None if sample_weight is None else _check_sample_weight(sample_weight, X)

    def _known_rows(
        self, X: Any, y: Any, sample_weight: Any, dtype: np.dtype[Any]
    ) -> tuple[Array, Array, Array | None]:
        """Validate rows for the Model of a fitted estimator, and encode their targets."""
        X = self._features(X, reset=False, dtype=dtype)
        with naming("y"):
            y = self._encode_known(y, "y")
        if len(y) != len(X):
            raise ValueError(f"y has {len(y)} rows, but X has {len(X)}: pass one target per row.")
        with naming("sample_weight"):
            weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        return X, y if self.out_activation_ == "softmax" else y.astype(dtype), weights

    def _scale(self) -> float:
        """Return the ratio of the gradients of the Model to those of the estimator's loss."""
        return scale_of(self._objective, self.n_outputs_)

    def _check_validation(self, X_val: Any, y_val: Any, sample_weight_val: Any) -> tuple[Any, Any, Any] | None:
        """Validate X_val, y_val, sample_weight_val; return them, or None if none is given."""
        if X_val is None and y_val is None and sample_weight_val is None:
            return None
        for name, value in (("X_val", X_val), ("y_val", y_val)):
            if value is None:
                raise ValueError(f"{name} must be given, as validation data are X_val and y_val together.")
        if self.early_stopping and not self._is_stochastic():
            raise ValueError(
                f"X_val and y_val cannot be used for early_stopping={self.early_stopping} with solver={self.solver!r}: "
                "set early_stopping=False, which leaves the curve of their loss, or use a stochastic solver."
            )
        return X_val, y_val, sample_weight_val

    def _split(self, data: _Data, random: np.random.RandomState) -> tuple[_Data, _Data]:
        """Split off `validation_fraction` of the rows; return training and validation data."""
        X, y, weights = data
        arrays = [X, y] if weights is None else [X, y, weights]
        with naming("validation_fraction"):
            parts = train_test_split(
                *arrays, random_state=random, test_size=self.validation_fraction, stratify=self._stratify(y)
            )
        if len(parts[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        training, held_back = ([*part, None][:3] for part in (parts[::2], parts[1::2]))
        return (training[0], training[1], training[2]), (held_back[0], held_back[1], held_back[2])
