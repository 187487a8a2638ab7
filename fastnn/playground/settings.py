"""The settings of the playground: keys, defaults, choices and limits, in one table.

The keys up to `initZero` are those that TensorFlow Playground writes into the hash of its address, with its values
(https://github.com/tensorflow/playground, src/state.ts), so that its links are valid here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastnn._validation import must_be
from fastnn.kernels.nn.rules import ACTIVATIONS
from fastnn.optimizers import first_order_names
from fastnn.playground.points import FEATURES, GENERATORS, OWN, REGRESSION_GENERATORS

#: Limits of the picture's buttons, and of what an address may ask for.
LAYERS, UNITS, MOST_LAYERS, MOST_UNITS = 6, 8, 12, 64
#: Longest text of a setting.
LONGEST = 1000


def activation_names() -> tuple[str, ...]:
    """Return the names of the activations of hidden layers: the four of TensorFlow Playground first."""
    first = ("relu", "tanh", "sigmoid", "linear")
    rest = (rule.name for rule in ACTIVATIONS if not rule.rows and rule.name not in (*first, "identity"))
    return (*first, *rest)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting.

    Parameters
    ----------
    default : object
    choices : tuple
        What a page offers; empty for none. Texts are all that is valid, numbers are examples.
    low, high : float
        Range of a number, or of each number of a list.
    slider : tuple of float, or None
        Least, greatest and step that a page offers.
    longest : int
        Maximum number of items of a list.
    resets : bool
        Whether a change begins anew with start weights, as in TensorFlow Playground.
    """

    default: Any
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = math.inf
    slider: tuple[float, float, float] | None = None
    longest: int = MOST_LAYERS
    resets: bool = True

    def parse(self, key: str, given: Any) -> Any:
        """Return the value of a setting from what a page sends, which may be text from an address.

        Raises
        ------
        TypeError, ValueError
            If it is invalid.
        """
        if given is None:
            return self.default
        if isinstance(given, str) and len(given) > LONGEST:
            raise ValueError(f"{key} must be a text of at most {LONGEST} characters, got {len(given)}.")
        if isinstance(self.default, bool):
            return _flag(key, given)
        if isinstance(self.default, list):
            return self._list(key, given)
        if isinstance(self.default, str):
            return self._text(key, given)
        return self._number(key, given, whole=isinstance(self.default, int))

    def _text(self, key: str, given: Any) -> str:
        if not self.choices:
            if not isinstance(given, str | int | float) or isinstance(given, bool) or not str(given).isprintable():
                raise TypeError(must_be(key, "a text", given))
            return str(given)
        if type(given) is not str or given not in self.choices:
            raise ValueError(must_be(key, f"one of {', '.join(filter(None, self.choices))}", given))
        return given

    def _number(self, key: str, given: Any, *, whole: bool) -> Any:
        kind = "an integer" if whole else "a number"
        limits = f" from {self.low:g} to {self.high:g}" if self.high < math.inf else f" of at least {self.low:g}"
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise TypeError(must_be(key, kind + limits, given))
        try:
            value = float(given)
        except (ValueError, OverflowError):
            value = math.nan
        if not self.low <= value <= self.high or not math.isfinite(value) or (whole and value != int(value)):
            raise ValueError(must_be(key, kind + limits, given))
        return int(value) if whole else value

    def _list(self, key: str, given: Any) -> list[Any]:
        if isinstance(given, str):
            given = given.split(",") if given.strip() else []
        if not isinstance(given, list):
            raise TypeError(must_be(key, "a list, or a text with commas", given))
        if len(given) > self.longest:
            raise ValueError(f"{key} must be a list of at most {self.longest} items, got {len(given)}.")
        if self.choices:
            return [self._text(f"{key}[{k}]", item) for k, item in enumerate(given)]
        whole = key == "networkShape"
        return [self._number(f"{key}[{k}]", item, whole=whole) for k, item in enumerate(given)]


def _flag(key: str, given: Any) -> bool:
    if isinstance(given, str):
        return given.lower() != "false"
    if not isinstance(given, bool):
        raise TypeError(must_be(key, "true or false", given))
    return given


_ACTIVATIONS = activation_names()
_RATES = (1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

SETTINGS: dict[str, Setting] = {
    "activation": Setting(default="tanh", choices=_ACTIVATIONS),
    "regularization": Setting(default="none", choices=("none", "L1", "L2")),
    "batchSize": Setting(default=10, low=1, high=5000, slider=(1, 30, 1)),
    "dataset": Setting(default="circle", choices=(*GENERATORS, OWN)),
    "regDataset": Setting(default="reg-plane", choices=(*REGRESSION_GENERATORS, OWN)),
    "learningRate": Setting(default=0.03, choices=_RATES, low=1e-9, high=1e6, resets=False),
    "regularizationRate": Setting(default=0.0, choices=(0.0, *_RATES[2:]), high=1e6),
    "noise": Setting(default=0.0, high=80.0, slider=(0, 50, 5)),
    "networkShape": Setting(default=[4, 2], low=1, high=MOST_UNITS),
    "seed": Setting(default=""),
    "showTestData": Setting(default=False, resets=False),
    "discretize": Setting(default=False, resets=False),
    "percTrainData": Setting(default=50.0, low=1, high=99, slider=(10, 90, 10)),
    **{key: Setting(default=key in ("x", "y")) for key in FEATURES},
    "problem": Setting(default="classification", choices=("classification", "regression")),
    "initZero": Setting(default=False),
    "optimizer": Setting(default="sgd", choices=(*first_order_names(), "lbfgs", "lm"), resets=False),
    "momentum": Setting(default=0.9, choices=(0.5, 0.8, 0.9, 0.95, 0.99), high=0.9999, resets=False),
    "loss": Setting(default="squared_error", choices=("squared_error", "crossentropy")),
    "classes": Setting(default=3, choices=(2, 3, 4, 5, 6), low=2, high=6),
    "dropout": Setting(default=0.0, choices=(0.0, 0.1, 0.2, 0.3, 0.5), high=0.9),
    "layerActivations": Setting(default=[], choices=("", *_ACTIVATIONS)),
    "layerDropout": Setting(default=[], high=0.9),
    "schedule": Setting(
        default="constant", choices=("constant", "step", "exponential", "inverse", "cosine", "onecycle"), resets=False
    ),
    "scheduleEpochs": Setting(default=1000, low=10, high=10**6, slider=(100, 5000, 100), resets=False),
    "stopEpochs": Setting(default=0, high=10**9, resets=False),
    "stopLoss": Setting(default=0.0, high=1e9, resets=False),
    "patience": Setting(default=0, high=10**9, resets=False),
    "epochsPerFrame": Setting(default=20, low=1, high=1000, slider=(1, 200, 1), resets=False),
    "precision": Setting(default="float32", choices=("float32", "float64")),
}


def defaults() -> dict[str, Any]:
    """Return all settings with their defaults."""
    return {key: list(item.default) if isinstance(item.default, list) else item.default
            for key, item in SETTINGS.items()}  # fmt: skip


def checked(settings: Mapping[str, Any]) -> None:
    """Validate settings that contradict each other.

    Raises
    ------
    ValueError
        If they do.
    """
    if not any(settings[key] for key in FEATURES):
        raise ValueError(f"{', '.join(FEATURES)} must have one that is on, got none. Switch another input on first.")


def changed(settings: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """Return settings with changes.

    Parameters
    ----------
    settings : mapping of str to object
    changes : dict of str to object
        As a page sends them.

    Raises
    ------
    TypeError, ValueError
        If a key is unknown or a value invalid.
    """
    if not isinstance(changes, dict):
        raise TypeError(must_be("changes", "an object of settings", changes))
    result = dict(settings)
    for key, given in changes.items():
        if key not in SETTINGS:
            raise ValueError(must_be("changes", f"of {', '.join(SETTINGS)}", key))
        result[key] = SETTINGS[key].parse(key, given)
    checked(result)
    return result


def from_address(given: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of an address, with the defaults of what is missing, unknown or invalid.

    Parameters
    ----------
    given : dict of str to object

    Returns
    -------
    settings : dict of str to object
    errors : list of str
        What is wrong with values that were replaced.

    Raises
    ------
    TypeError
        If `given` is no dict.
    """
    if not isinstance(given, dict):
        raise TypeError(must_be("state", "an object of settings", given))
    result, errors = defaults(), []
    for key in filter(given.__contains__, SETTINGS):
        try:
            result[key] = SETTINGS[key].parse(key, given[key])
        except (TypeError, ValueError) as error:
            errors.append(str(error))
    try:
        checked(result)
    except ValueError as error:
        result |= {key: SETTINGS[key].default for key in FEATURES}
        errors.append(str(error))
    return result, errors


def resets(keys: Iterable[str]) -> bool:
    """Return whether a change of some settings begins anew."""
    return any(SETTINGS[key].resets for key in keys)


def described(settings: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, list[float]]]:
    """Return the choices and the limits that a page offers.

    The buttons of layers and units go up to those of TensorFlow Playground, unless a net is larger already.
    """
    choices = {key: list(item.choices) for key, item in SETTINGS.items() if item.choices}
    limits = {key: list(item.slider) for key, item in SETTINGS.items() if item.slider}
    shape = settings["networkShape"]
    lifted = len(shape) > LAYERS or max(shape, default=0) > UNITS
    limits["layers"] = [0, MOST_LAYERS if lifted else LAYERS, 1]
    limits["units"] = [1, MOST_UNITS if lifted else UNITS, 1]
    return choices, limits
