"""fastnn: a fast multilayer-perceptron core for CPUs.

Train with `Model`; see docs/start.md for a first example and docs/architecture.md for how it works.
"""

from typing import TYPE_CHECKING, Any

from fastnn import custom, datasets, losses, metrics, optimizers, plot, schedules
from fastnn._errors import DivergenceError
from fastnn._version import __version__
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

if TYPE_CHECKING:
    from fastnn.estimators import MLPClassifier as MLPClassifier
    from fastnn.estimators import MLPRegressor as MLPRegressor

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


def __getattr__(name: str) -> Any:
    """Import the estimators, which require scikit-learn, on first access."""
    if name in ("MLPClassifier", "MLPRegressor"):
        from fastnn import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
