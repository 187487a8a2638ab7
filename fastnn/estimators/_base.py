"""Base of the two scikit-learn estimators: parameters, conversion of data, the `Model`, and persistence.

`_stopping` runs the epochs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

try:
    from joblib.parallel import get_active_backend
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils._param_validation import (
        Interval,
        InvalidParameterError,
        Options,
        StrOptions,
        validate_parameter_constraints,
    )
    from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f'MLPClassifier and MLPRegressor need scikit-learn 1.7 or later ({error}): pip install "fastnn[sklearn]"'
    ) from error

from fastnn import activations, optimizers
from fastnn._data.prepare import prepare
from fastnn._data.rows import Rows
from fastnn._engine.processors import available_threads
from fastnn._validation import (
    CONVERSION_ERRORS,
    as_dtype,
    as_sequence,
    finite_number,
    must_be,
    number_in,
    positive_integer,
    real_number,
    reason,
)
from fastnn.activations import Activation
from fastnn.callbacks import Callback, as_callbacks
from fastnn.estimators._stopping import Rules, StoppingState, Task, descend, solve
from fastnn.layers import Dense
from fastnn.model import Model, net_of
from fastnn.schedules import Schedule

Array = npt.NDArray[Any]
_Data = tuple[Array, Array, Array | None]  # X, encoded y, weights of the rows

#: Fields of `StoppingState` that persist between fits, and the attributes that store them.
_RECORDED = {
    "t": "t_",
    "loss_curve": "loss_curve_",
    "best_loss": "best_loss_",
    "validation_scores": "validation_scores_",
    "best_validation_score": "best_validation_score_",
    "best_weights": "_best_weights",
    "no_improvement_count": "_no_improvement_count",
}

#: For each `out_activation_` the last layer's activation and the loss of the Model.
_OUTPUTS = {
    "softmax": ("softmax", "softmax_crossentropy"),
    "logistic": ("sigmoid", "binary_crossentropy"),
    "identity": ("identity", "squared_error"),
    "exp": ("exponential", "poisson"),
}

#: Parameters that an instance of a stochastic optimizer contains, too.
_SETTINGS = (
    "learning_rate_init", "learning_rate", "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
)  # fmt: skip

#: Largest number of characters of an error.
_LONGEST = 900

#: Sparse formats that scikit-learn does not convert.
_SPARSE = ["csr", "csc"]


def _dense(X: Any) -> Array:
    return X if isinstance(X, np.ndarray) else X.toarray(order="C")


def _names_one(text: str, arguments: Sequence[str]) -> bool:
    return any(re.search(rf"\b{name}\b", text) for name in arguments)


@contextmanager
def naming(*arguments: str, replaced: str = "") -> Iterator[None]:
    """Put the names of arguments before errors of NumPy and scikit-learn that do not contain one of them.

    Parameters
    ----------
    *arguments : str
        Names, one of which an error must contain.
    replaced : str
        Another name of the argument, which is replaced in the text.

    Raises
    ------
    TypeError, ValueError, MemoryError
        In the place of other `CONVERSION_ERRORS`; other exceptions, such as one of a signal handler, pass.
    """
    try:
        yield
    except (Warning, NotFittedError):
        raise
    except (*CONVERSION_ERRORS, MemoryError) as error:
        kind = next((one for one in (TypeError, MemoryError) if isinstance(error, one)), ValueError)
        text = reason(error, longest=_LONGEST)
        if replaced:
            text = re.sub(rf"\b{replaced}\b", arguments[0], text)
        named = _names_one(text, arguments)
        if named and not replaced and isinstance(error, TypeError | ValueError) and len(str(error)) <= _LONGEST:
            raise
        raise kind(f"{text}." if named else f"{', '.join(arguments)}: {text}.") from error


def default_n_threads() -> int:
    """Return the default number of threads of an estimator: all processors, except in a task of joblib.

    OMP_NUM_THREADS is an upper bound, as for the rest of scikit-learn; joblib sets it in its worker processes so that
    all of them together use each processor once. Without it the default in a task of joblib, in a process or in a
    thread, is 1.
    """
    threads = 1 if getattr(get_active_backend()[0], "nesting_level", 0) else available_threads()
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # one number per level of nesting
    return min(int(allowed), available_threads()) if allowed.isdigit() and int(allowed) > 0 else threads


class BaseMLP(BaseEstimator):
    """Parameters, training and persistence of both estimators; an abstract base class.

    A fitted estimator has a `Model`; `coefs_` and `intercepts_` are views of its weights and biases. So writing into
    them changes the predictions; arrays assigned to the attributes are copied into the Model at the next use.
    """

    loss: str
    # State between epochs (see `_stopping`); some are None with `early_stopping`, others without.
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    _best_weights: Any
    _optimizer: Any

    # Same as scikit-learn's, so that errors are the same, except for new parameters.
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, list, tuple, Activation],
        "solver": [str, *optimizers.CLASSES.values()],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "schedule": [None, Schedule],
        "callbacks": [None, Callback, list, tuple],
        "n_threads": [None, Interval(Integral, 1, None, closed="left")],
        "dtype": "no_validation",
    }

    # ------------------------------------------------------------------- what the subclasses implement

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Array, Array, Array | None]:
        """Validate X and y; return X, encoded y, and the weights of the rows that follow from y, or None."""
        raise NotImplementedError

    def _encode_validation(self, y: Any) -> Array:
        """Validate and encode targets for validation."""
        raise NotImplementedError

    def _output(self) -> str:
        """Return `out_activation_` for the targets that were encoded last."""
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

    # -------------------------------------------------------------------------------- names to settings

    def _hidden_layer_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = [given] if isinstance(given, Integral) else as_sequence("hidden_layer_sizes", "integers > 0", given)
        if not all(isinstance(size, Integral) for size in sizes):
            raise TypeError(must_be("hidden_layer_sizes", "integers > 0", given))
        if any(size <= 0 for size in sizes):
            raise ValueError(must_be("hidden_layer_sizes", "> 0", given))
        return [positive_integer(size, "hidden_layer_sizes") for size in sizes]

    def _activations(self, n_hidden: int) -> list[Activation]:
        """Return the activation of each hidden layer; (n_hidden,)."""
        if isinstance(self.activation, str | Activation):
            found = [activations.get(self.activation)] * n_hidden
        else:
            given = as_sequence("activation", "a name or a sequence of names", self.activation)
            found = [activations.get(activation) for activation in given]
            if len(found) != n_hidden:
                raise ValueError(
                    f"activation names {len(found)} activations, but hidden_layer_sizes has {n_hidden} layers: pass "
                    "one per hidden layer, or one name for all."
                )
        if any(activation.rule.rows for activation in found):
            raise ValueError("activation must not be 'softmax', which is for the last layer and follows from the loss.")
        return found

    def _dropouts(self, n_hidden: int) -> list[float]:
        """Return for each layer of weights the dropout rate of its inputs; (n_hidden + 1,)."""
        given: Any = self.dropout
        if isinstance(given, Real):
            if self.dropout and not n_hidden:
                raise ValueError(
                    f"dropout is {self.dropout!r}, but hidden_layer_sizes is {self.hidden_layer_sizes!r} without "
                    "hidden layers: set dropout=0, or pass a list of the input's rate alone."
                )
            found = [0.0] + [number_in("dropout", self.dropout, "[0, 1)")] * n_hidden
        else:
            rates = as_sequence("dropout", "a number or a sequence of numbers", given)
            found = [number_in("dropout", rate, "[0, 1)") for rate in rates]
            if len(found) != n_hidden + 1:
                raise ValueError(
                    f"dropout has {len(found)} rates, but there are the input and {n_hidden} hidden layers: pass "
                    f"{n_hidden + 1}, the input's first (0 for none), or one number for all hidden layers."
                )
        if any(rate != 0 for rate in found) and not self._is_stochastic():
            raise ValueError(
                f"dropout is {self.dropout!r}, but solver={self.solver!r} requires a deterministic loss: set "
                "dropout=0, or use a solver such as 'adam'."
            )
        return found

    def _is_stochastic(self) -> bool:
        return not (self.solver in ("lbfgs", "lm") or isinstance(self.solver, optimizers.Solver))

    def _check_solver(self) -> bool:
        if not self._is_stochastic():
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _check_schedule(self) -> None:
        """Raise ValueError if `schedule` conflicts with `learning_rate`, or the solver has no rate."""
        if self.schedule is None:
            return
        if self.learning_rate != "constant":
            raise ValueError(
                f"schedule is {self.schedule!r} and learning_rate is {self.learning_rate!r}, but only one of "
                "them can define the learning rate: remove one."
            )
        if not self._is_stochastic():
            raise ValueError(
                f"schedule is {self.schedule!r}, but solver={self.solver!r} has no learning rate: remove it, or "
                "use a solver such as 'adam'."
            )

    def _check_continuation(
        self, hidden: Sequence[Activation], dropouts: Sequence[float], optimizer: optimizers.Optimizer
    ) -> None:
        """Raise ValueError unless `partial_fit` can continue with the net of the earlier calls."""
        if optimizers.averages(optimizer):
            raise ValueError(
                f"solver is {optimizer!r}, whose averages replace the weights at the end of a fit, which is undefined "
                "for partial_fit: remove ema_momentum."
            )
        layers = self._model.layers if hasattr(self, "_model") else ()
        if len(layers) != len(dropouts):  # then an error of the widths follows, or there is no net yet
            return
        before = [layer.activation for layer in layers[:-1]], [layer.dropout for layer in layers]
        for name, old, new in zip(("activation", "dropout"), before, (list(hidden), list(dropouts)), strict=True):
            if old != new:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but partial_fit continues with the net of the earlier calls, "
                    "which has another: restore it, or call fit with warm_start=True."
                )

    def _check_numbers(self) -> None:
        """Raise TypeError or ValueError unless numbers, which are read between epochs, too, are valid as floats."""
        for name in ("alpha", "power_t", "learning_rate_init", "momentum", "beta_1", "beta_2", "epsilon"):
            finite_number(name, getattr(self, name))
        limit = real_number("tol", self.tol)
        if limit == np.inf and not (self._is_stochastic() and isinstance(self.tol, float)):
            raise ValueError(must_be("tol", "a finite number", self.tol))
        real_number("n_iter_no_change", self.n_iter_no_change)

    def _check_instance(self) -> None:
        """Raise ValueError if `solver` is an instance and a parameter that it replaces is not at its default."""
        defaults = inspect.signature(type(self)).parameters
        settings = [*_SETTINGS, "schedule"] if self._is_stochastic() else ["max_fun", "tol"]
        for name in settings:
            if name in defaults and getattr(self, name) != defaults[name].default:
                raise ValueError(
                    f"{name} must be at its default if solver is an optimizer instance, got "
                    f"{name}={getattr(self, name)!r} and solver={self.solver!r}. Set it in the optimizer (a rate may "
                    "be a schedule), or name the solver, such as 'adam'."
                )

    def _new_optimizer(self) -> optimizers.Optimizer:
        """Return `solver` if it is an instance, else the optimizer of this name with the estimator's settings."""
        if not isinstance(self.solver, str):
            self._check_instance()
            return self.solver
        sgd = "nesterov" if self.nesterovs_momentum else "momentum"
        name: str = sgd if self.solver == "sgd" else self.solver
        with naming("solver", replaced="optimizer"):
            named = optimizers.get(name)
        known = {field.name for field in dataclasses.fields(named)}
        given = {
            "learning_rate": self.learning_rate_init if self.schedule is None else self.schedule,
            # 1 is valid here but not for Model, so the largest number below 1 is used.
            "momentum": min(self.momentum, np.nextafter(1.0, 0.0)),
            "nesterov": name == "nesterov" and self.momentum > 0,
            **{setting: getattr(self, setting) for setting in ("beta_1", "beta_2", "epsilon", "max_fun")},
            "gtol": self.tol,
        }
        return dataclasses.replace(named, **{k: v for k, v in given.items() if k in known})

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
        last, loss = _OUTPUTS[self.out_activation_]
        layers = [*hidden, activations.get(last)]
        dropouts = self._dropouts(len(hidden))
        dtype = np.dtype(np.float32 if np.asarray(self.coefs_[0]).dtype == np.float32 else np.float64)
        model = Model(
            [
                Dense(np.shape(coef)[1], activation, kernel_initializer="zeros", dropout=dropout)
                for coef, activation, dropout in zip(self.coefs_, layers, dropouts, strict=True)
            ],
            loss=loss,
            metrics=["mean_squared_error"] if loss == "squared_error" and self.n_outputs_ > 1 else [],
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
        """Return scikit-learn's tags; sparse X is supported."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _features(self, X: Any, *, reset: bool, dtype: Any) -> Array:
        """Validate X and return a dense array in C order."""
        with naming("X"):
            return _dense(validate_data(self, X, accept_sparse=_SPARSE, dtype=dtype, order="C", reset=reset))

    def _features_and_targets(self, X: Any, y: Any, *, reset: bool, y_numeric: bool = False) -> tuple[Array, Array]:
        """Validate X and y for training; return X dense, in `dtype` or, if that is None, in its own if floating."""
        dtype = [np.float64, np.float32] if self.dtype is None else as_dtype(self.dtype)
        how = {"accept_sparse": _SPARSE, "multi_output": True, "y_numeric": y_numeric, "dtype": dtype, "order": "C"}
        with naming("X", "y"):
            try:
                X, y = validate_data(self, X, y, reset=reset, **how)
            except CONVERSION_ERRORS as error:
                if not _names_one(reason(error, longest=_LONGEST), ("X", "y")):
                    with naming("X"):  # if X alone is at fault
                        check_array(X, accept_sparse=_SPARSE, dtype=dtype, input_name="X")
                raise
            return _dense(X), y

    # ------------------------------------------------------------------------------------------- training

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, validation: tuple[Any, Any, Any] | None = None
    ) -> BaseMLP:
        """Train; a failure leaves the attributes as they were, an interrupt those of the last finished step."""
        with self._restored_on_failure() as started:
            train = self._set_up(X, y, sample_weight, incremental=incremental, validation=validation)
            started()
            train()
        return self

    @contextmanager
    def _restored_on_failure(self) -> Iterator[Callable[[], None]]:
        """Restore all attributes after an error; yield what is to be called where interrupts begin to keep them."""
        before = dict(vars(self))
        kinds: list[type[BaseException]] = [BaseException]
        try:
            yield lambda: kinds.__setitem__(0, Exception)
        except BaseException as error:
            if not isinstance(error, kinds[0]):
                raise
            self.__dict__.clear()
            self.__dict__.update(before)
            if isinstance(error, Exception) and not isinstance(error, Warning):
                self._validate_params()  # which scikit-learn leaves out for all calls of partial_fit but the first
            raise

    def _validate_params(self) -> None:
        """Raise scikit-learn's InvalidParameterError for an invalid parameter, also where its own validation fails."""
        try:
            super()._validate_params()
        except CONVERSION_ERRORS as error:
            if isinstance(error, InvalidParameterError) and len(str(error)) < _LONGEST:
                raise
        else:
            return
        for name, value in self.get_params(deep=False).items():
            constraint = "a number that float64 can represent"  # scikit-learn's NumPy fails for others
            try:
                validate_parameter_constraints(self._parameter_constraints, {name: value}, type(self).__name__)
                continue
            except InvalidParameterError as error:
                _, found, rest = str(error).partition(" must be ")
                constraint = rest.partition(". Got ")[0] if found else constraint
            except CONVERSION_ERRORS:  # raised by the value itself
                pass
            raise InvalidParameterError(must_be(f"The {name!r} parameter of {type(self).__name__}", constraint, value))

    def _set_up(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, validation: tuple[Any, Any, Any] | None
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
            self._check_continuation(*layers, optimizer)
        if isinstance(optimizer, optimizers.LevenbergMarquardt) and self.loss != "squared_error":
            raise ValueError(
                f"solver={self.solver!r} requires loss='squared_error', but the loss is {self.loss!r}: use 'lbfgs'."
            )
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
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
        held_back = None if validation is None else self._validation_rows(*validation, X.dtype, sizes[-1])

        random = check_random_state(self.random_state)
        if first:
            with naming("hidden_layer_sizes"):  # of a net that does not fit into memory
                self._initialize(sizes, random, X.dtype)
        if self._is_stochastic() and (
            first or not hasattr(self, "loss_curve_") or (self.best_loss_ is None) != self.early_stopping
        ):
            self._reset_stopping_state()
        training = X, y, sample_weight
        if self.early_stopping and held_back is None and self._is_stochastic():
            training, held_back = self._split(training, random)
        seed = int(random.randint(np.iinfo(np.int32).max))
        model = self._bound_model(seed) if incremental else self._build(seed)
        rows = self._prepared(model, training)
        held_out = None if held_back is None else self._prepared(model, held_back)
        task = Task(model, rows, held_out, lambda outputs: self._score(outputs, held_out))
        return functools.partial(self._train, task, self._rules(), optimizer, incremental)

    def _train(self, task: Task, rules: Rules, optimizer: optimizers.Optimizer, incremental: bool) -> None:
        """Run the epochs, and set the attributes to what they result in, also if they are interrupted."""
        self._optimizer = optimizer
        stochastic = self._is_stochastic()
        state = StoppingState(optimizer, **(self._kept() if stochastic else {}))
        try:
            if stochastic:
                descend(task, rules, state, incremental)
            else:
                solve(task, rules, state)
        finally:
            self._optimizer = state.optimizer
            recorded = (*_RECORDED.items(), ("n_iter", "n_iter_")) if stochastic else [("n_iter", "n_iter_")]
            for name, own in recorded:
                setattr(self, own, getattr(state, name))
            if state.n_iter or not stochastic:
                self.loss_ = state.loss

    def _kept(self) -> dict[str, Any]:
        """Return copies of the recorded state of earlier fits, as fields of `StoppingState`."""
        return {name: copy.copy(getattr(self, own)) for name, own in _RECORDED.items() if hasattr(self, own)}

    def _prepared(self, model: Model, data: _Data) -> Rows:
        """Validate rows and convert them to the form that the Model requires."""
        X, y, sample_weight = data
        if self.out_activation_ != "softmax":
            with naming("y"):
                y = y.astype(model.dtype, copy=False)
        form = net_of(model).form
        return prepare(X, np.ascontiguousarray(y), form, sample_weight=sample_weight)

    def _score(self, outputs: Array, rows: Rows | None) -> float:
        assert rows is not None
        return self._score_outputs(outputs, rows.y, rows.sample_weight if rows.sample_weight.size else None)

    def _rules(self) -> Rules:
        """Return the settings of the training."""
        names = {field.name for field in dataclasses.fields(Rules)} & set(vars(self))
        given = {name: getattr(self, name) for name in names}
        given |= {"shuffle": bool(self.shuffle), "verbose": bool(self.verbose), "early_stopping": self.early_stopping}
        given["callbacks"] = as_callbacks(self.callbacks)
        return Rules(out_activation=self.out_activation_, n_outputs=self.n_outputs_, **given)

    def _initialize(self, sizes: Sequence[int], random: np.random.RandomState, dtype: np.dtype[Any]) -> None:
        """Reset counters and draw new weights."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_outputs_ = sizes[-1]
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output()
        self._draw(sizes, random, dtype)

    def _reset_stopping_state(self) -> None:
        """Reset the early-stopping state."""
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self._best_weights = [w.copy() for w in (*self.coefs_, *self.intercepts_)] if self.early_stopping else None

    def _validation_rows(self, X: Any, y: Any, sample_weight: Any, dtype: np.dtype[Any], n_outputs: int) -> _Data:
        with naming("X_val", replaced="X"):
            X = self._features(X, reset=False, dtype=dtype)
        with naming("y_val"):
            y = self._encode_validation(y)
        if len(y) != len(X):
            raise ValueError(f"y_val has {len(y)} rows, but X_val has {len(X)}: pass one target per row.")
        if self._n_outputs(y) != n_outputs:
            raise ValueError(f"y_val has {self._n_outputs(y)} outputs, but y has {n_outputs}: they must be equal.")
        with naming("sample_weight_val"):
            return X, y, None if sample_weight is None else _check_sample_weight(sample_weight, X)

    def _check_validation(self, X_val: Any, y_val: Any, sample_weight_val: Any) -> tuple[Any, Any, Any] | None:
        """Validate X_val, y_val, sample_weight_val; return them, or None if none is given."""
        if X_val is None and y_val is None and sample_weight_val is None:
            return None
        for name, value in (("X_val", X_val), ("y_val", y_val)):
            if value is None:
                raise ValueError(f"{name} must be given, as validation data are X_val and y_val together.")
        if not self._is_stochastic() or not (self.early_stopping or self.callbacks):
            raise ValueError(
                f"X_val and y_val would be ignored with early_stopping={self.early_stopping}, solver={self.solver!r} "
                f"and callbacks={self.callbacks!r}: set early_stopping=True with a stochastic solver."
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
