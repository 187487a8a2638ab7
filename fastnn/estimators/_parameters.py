"""Parameters of the scikit-learn estimators: validation, and the objects that they name; names in errors."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

try:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.metrics import check_scoring, get_scorer_names
    from sklearn.utils._param_validation import (
        Interval,
        InvalidParameterError,
        Options,
        StrOptions,
        validate_parameter_constraints,
    )
    from sklearn.utils.validation import validate_data as _of_1_7  # noqa: F401  # the newest name that is used
except ImportError as error:
    raise ImportError(
        f'MLPClassifier and MLPRegressor need scikit-learn 1.7 or later ({error}): pip install "fastnn-mlp[sklearn]"'
    ) from error

from fastnn import activations, optimizers
from fastnn._validation import (
    CONVERSION_ERRORS,
    as_sequence,
    finite_number,
    must_be,
    number_in,
    positive_integer,
    real_number,
    reason,
)
from fastnn._validation.names import resolved_name
from fastnn.activations import Activation
from fastnn.callbacks import Callback
from fastnn.layers import Dense
from fastnn.schedules import Schedule

#: Parameters that an instance of a stochastic optimizer contains, too.
_SETTINGS = (
    "learning_rate_init", "learning_rate", "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
)  # fmt: skip

#: Largest number of characters of an error.
LONGEST = 900

def names_one(text: str, arguments: Sequence[str]) -> bool:
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
        text = reason(error, longest=LONGEST)
        if replaced:
            text = re.sub(rf"\b{replaced}\b", arguments[0], text)
        named = names_one(text, arguments)
        if named and not replaced and isinstance(error, TypeError | ValueError) and len(str(error)) <= LONGEST:
            raise
        raise kind(f"{text}." if named else f"{', '.join(arguments)}: {text}.") from error

class Parameters(BaseEstimator):
    """The constructor's parameters of both estimators: which values are valid, and the objects that they name."""

    loss: Any
    #: Parameter that decides on the loss of the Model.
    _objective_parameter: ClassVar[str]

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
        "scoring": [None, str, callable],
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
        self,
        hidden: Sequence[Activation],
        dropouts: Sequence[float],
        optimizer: optimizers.Optimizer,
        layers: Sequence[Dense],
    ) -> None:
        """Raise ValueError unless `partial_fit` can continue with the net of the earlier calls, of these layers."""
        if optimizers.averages(optimizer):
            raise ValueError(
                f"solver is {optimizer!r}, whose averages replace the weights at the end of a fit, which is undefined "
                "for partial_fit: remove ema_momentum."
            )
        if len(layers) != len(dropouts):  # then an error of the widths follows, or there is no net yet
            return
        before = [layer.activation for layer in layers[:-1]], [layer.dropout for layer in layers]
        for name, old, new in zip(("activation", "dropout"), before, (list(hidden), list(dropouts)), strict=True):
            if old != new:
                raise ValueError(self._differs(name))

    def _differs(self, name: str) -> str:
        """Return the error of a parameter with which `partial_fit` cannot continue."""
        return (
            f"{name} is {getattr(self, name)!r}, but partial_fit continues with the net of the earlier calls, "
            "which has another: restore it, or call fit with warm_start=True."
        )

    def _validates(self) -> bool:
        """Return whether the score of validation rows decides on stopping, which full-batch solvers ignore."""
        return bool(self.early_stopping) and self._is_stochastic()

    def _scorer(self) -> Callable[..., Any] | None:
        """Return the scorer that `scoring` names; None for the estimator's own score, and for the loss.

        Raises
        ------
        TypeError, ValueError
            If there is no such scorer, or nothing that it would score.
        """
        if self.scoring is None:
            return None
        if not self._validates():
            raise ValueError(
                f"scoring is {self.scoring!r}, but it would be ignored with early_stopping={self.early_stopping} and "
                f"solver={self.solver!r}: set early_stopping=True with a stochastic solver, or remove it."
            )
        scoring = self.scoring
        if isinstance(scoring, str):
            scoring = resolved_name("scoring", scoring, ("loss", *get_scorer_names()), {})
            if scoring == "loss":
                return None
        with naming("scoring"):
            scorer: Callable[..., Any] = check_scoring(self, scoring)
        return scorer

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

    def _validate_params(self) -> None:
        """Raise scikit-learn's InvalidParameterError for an invalid parameter, also where its own validation fails."""
        try:
            super()._validate_params()
        except CONVERSION_ERRORS as error:
            if isinstance(error, InvalidParameterError) and len(str(error)) < LONGEST:
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
