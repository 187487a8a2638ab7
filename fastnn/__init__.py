"""fastnn: a fast multilayer-perceptron core for CPUs.

Train with `Model`; see docs/start.md for a first example and docs/architecture.md for how it works.
"""

import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

_is_collecting = gc.isenabled()
gc.disable()  # a collection in here would visit all objects of Numba, for 30 to 70 ms, and find nothing
try:
    from fastnn import custom, datasets, losses, metrics, optimizers, schedules
    from fastnn._errors import DivergenceError, TrainingWarning
    from fastnn._validation.names import no_attribute
    from fastnn._validation.other_libraries import PUBLIC_NAMES
    from fastnn._version import __version__, warn_of_other_project
    from fastnn.activations import elu, leaky_relu
    from fastnn.augmentation import Augmentation
    from fastnn.callbacks import (
        Callback,
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ReduceLROnPlateau,
        TerminateOnNaN,
    )
    from fastnn.history import History
    from fastnn.layers import Dense, Dropout
    from fastnn.lr_finder import LearningRates
    from fastnn.model import Model, load
    from fastnn.optimizers import *  # noqa: F403
    from fastnn.regularizers import L1, L1L2, L2
finally:
    if _is_collecting:
        gc.enable()

if TYPE_CHECKING:
    from fastnn import ensemble as ensemble
    from fastnn import explain as explain
    from fastnn import intervals as intervals
    from fastnn import playground as playground
    from fastnn import plot as plot
    from fastnn import robust as robust
    from fastnn import search as search
    from fastnn.ensemble import Ensemble as Ensemble
    from fastnn.ensemble import load_ensemble as load_ensemble
    from fastnn.estimators import MLPClassifier as MLPClassifier
    from fastnn.estimators import MLPRegressor as MLPRegressor
    from fastnn.population import Population as Population
    from fastnn.population import PopulationHistory as PopulationHistory
    from fastnn.population import load_population as load_population

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "Augmentation",
    "CSVLogger",
    "Callback",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "LearningRates",
    "Model",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
    "TrainingWarning",
    "__version__",
    "custom",
    "datasets",
    "elu",
    "leaky_relu",
    "load",
    "losses",
    "metrics",
    "plot",
    "schedules",
]
__all__ += optimizers.__all__


#: Public modules, and names that are imported on first access, as they need scikit-learn.
_MODULES = (
    "activations", "augmentation", "callbacks", "custom", "datasets", "ensemble", "estimators", "explain", "history",
    "initializers", "interchange", "intervals", "jit", "layers", "losses", "lr_finder", "metrics", "model",
    "optimizers", "playground", "plot", "population", "regularizers", "robust", "schedules", "script", "search",
    "solvers",
)  # fmt: skip
_ESTIMATORS = ("MLPClassifier", "MLPRegressor")
#: Names of `fastnn.population`, which is imported on first access.
_POPULATION = ("Population", "PopulationHistory", "load_population")
#: Names of `fastnn.ensemble`, likewise.
_ENSEMBLE = ("Ensemble", "load_ensemble")
#: Modules that are imported on first access.
_LATER = (
    "ensemble", "estimators", "explain", "interchange", "intervals", "jit", "playground", "plot", "population",
    "robust", "script", "search",
)  # fmt: skip


warn_of_other_project(os.path.dirname(__file__))


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *_ESTIMATORS, *_POPULATION, *_ENSEMBLE})


def __getattr__(name: str) -> Any:
    """Import some modules on first access; the errors of names of other libraries state what to write instead."""
    if name in _LATER:
        return importlib.import_module(f"fastnn.{name}")
    if name in _ESTIMATORS:
        return getattr(importlib.import_module("fastnn.estimators"), name)
    if name in _POPULATION:
        return getattr(importlib.import_module("fastnn.population"), name)
    if name in _ENSEMBLE:
        return getattr(importlib.import_module("fastnn.ensemble"), name)
    text = no_attribute("fastnn", name, PUBLIC_NAMES, __dir__())
    # `from fastnn import name` ignores the text of an AttributeError.
    importing = sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap"
    if importing and name in PUBLIC_NAMES:
        raise ImportError(text, name=__name__)
    raise AttributeError(text)
