"""Settings of candidates: what is drawn from a space, and the nets that they describe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np

from fastnn import optimizers
from fastnn._validation import CONVERSION_ERRORS, as_sequence, must_be, number_in, positive_integer
from fastnn.layers import Dense, Dropout
from fastnn.model import Model
from fastnn.regularizers import L1L2, Regularizer

Settings: TypeAlias = dict[str, Any]

#: Settings of optimizers by name, of which each has some.
_OF_OPTIMIZERS = frozenset(
    part.name
    for kind in optimizers.CLASSES.values()
    if issubclass(kind, optimizers.FirstOrderOptimizer)
    for part in fields(kind)
) - {"_"}
_ARCHITECTURES = ("layers", "widths", "width")
_NAMES = (
    *_ARCHITECTURES, "depth", "activation", "dropout", "optimizer", *sorted(_OF_OPTIMIZERS), "regularizer", "l1", "l2",
    "batch_size", "seed",
)  # fmt: skip


def as_space(space: Any) -> dict[str, Any]:
    """Validate a space; return lists of choices, and distributions."""
    if not isinstance(space, Mapping) or not space:
        raise TypeError(must_be("space", "a dict of settings, at least one", space))
    found: dict[str, Any] = {}
    for name, values in space.items():
        if name not in _NAMES:
            raise ValueError(must_be("space", f"of settings that are among {', '.join(_NAMES)}", name))
        if isinstance(values, np.ndarray) and not values.ndim:
            found[name] = [values.item()]
        elif isinstance(values, list | tuple | range | np.ndarray):
            found[name] = list(values)
            if not found[name]:
                raise ValueError(must_be(f"space[{name!r}]", "a list with at least one item", values))
        elif callable(getattr(values, "rvs", None)):
            found[name] = values
        else:
            found[name] = [values]
    given = [name for name in _ARCHITECTURES if name in found]
    if len(given) != 1:
        raise ValueError(must_be("space", "with one of layers, widths and width", given or list(found)))
    for name, needed in (("depth", ("width",)), ("activation", ("widths", "width")), ("dropout", ("widths", "width"))):
        if name in found and given[0] not in needed:
            raise ValueError(f"space has {name} and {given[0]}: {name} counts with {' or '.join(needed)} alone.")
    if "regularizer" in found and ("l1" in found or "l2" in found):
        raise ValueError("space has regularizer, and l1 or l2: give one of them.")
    return found


def draw(values: Any, rng: np.random.Generator, name: str) -> Any:
    """Return an item of a list or a number of a distribution, as a Python object."""
    if isinstance(values, list):
        drawn = values[int(rng.integers(len(values)))]
    else:
        try:
            drawn = values.rvs(random_state=rng)
        except CONVERSION_ERRORS as error:  # such as a distribution without its arguments
            constraint = "a distribution that draws, such as scipy.stats.randint(2, 9)"
            raise TypeError(must_be(f"space[{name!r}]", constraint, values)) from error
        if np.ndim(drawn) or not math.isfinite(drawn):
            raise ValueError(must_be(f"space[{name!r}]", "a distribution of finite numbers", drawn))
    return drawn.item() if isinstance(drawn, np.generic) else drawn


def new_model(settings: Settings, template: Model, n_outputs: int, seed: int) -> Model:
    """Return the net of a candidate.

    Parameters
    ----------
    settings : dict
    template : Model
        With the settings of all candidates.
    n_outputs : int
    seed : int
        Of the net, unless the settings have one.

    Raises
    ------
    ValueError, TypeError
        If the settings are invalid, or do not go together.
    """
    optimizer = optimizers.get(settings.get("optimizer", "adam"))
    if isinstance(optimizer, optimizers.FirstOrderOptimizer):
        own = {part.name for part in fields(optimizer)}
        chosen: dict[str, Any] = {name: settings[name] for name in settings if name in own & _OF_OPTIMIZERS}
        optimizer = replace(optimizer, **chosen)
    return Model(
        _layers(settings, n_outputs),
        loss=template.loss,
        optimizer=optimizer,
        regularizer=_regularizer(settings),
        metrics=template.metrics,
        seed=settings.get("seed", seed),
        dtype=template.dtype,
        n_threads=template.n_threads,
    )


def _layers(settings: Settings, n_outputs: int) -> Any:
    """Return the layers of a candidate."""
    if "layers" in settings:
        return settings["layers"]
    if "widths" in settings:
        given = settings["widths"]
        widths = [given] if isinstance(given, int) else as_sequence("widths", "widths of hidden layers", given)
    else:
        depth = settings.get("depth", 1)
        if depth != 0:
            depth = positive_integer(depth, "depth")
        widths = [settings["width"]] * depth
    found: list[Any] = []
    dropout = number_in("dropout", settings.get("dropout", 0.0), "[0, 1)")
    for width in widths:
        found.append(Dense(positive_integer(width, "width"), settings.get("activation", "relu")))
        if dropout:
            found.append(Dropout(dropout))
    return [*found, Dense(n_outputs)]


def _regularizer(settings: Settings) -> Regularizer | str | None:
    if "l1" in settings or "l2" in settings:
        return L1L2(l1=settings.get("l1", 0.0), l2=settings.get("l2", 0.0))
    return settings.get("regularizer")
