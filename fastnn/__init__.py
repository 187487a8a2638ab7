"""fastnn: a fast multilayer-perceptron core for CPUs.

Train with `Model`; see docs/start.md for a first example and docs/architecture.md for how it works.
"""

from typing import TYPE_CHECKING, Any

from fastnn import custom, datasets, losses, metrics, plot, schedules
from fastnn._persistence.model_state import load
from fastnn._training.loop import DivergenceError
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
from fastnn.model import Model
from fastnn.optimizers import LBFGS, SGD, AdaGrad, Adam, AdamW, LevenbergMarquardt, Lion, NAdam, RMSProp
from fastnn.regularizers import L1, L1L2, L2

if TYPE_CHECKING:
    from fastnn.estimators import MLPClassifier as MLPClassifier
    from fastnn.estimators import MLPRegressor as MLPRegressor

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "LBFGS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
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
    "LevenbergMarquardt",
    "Lion",
    "Model",
    "ModelCheckpoint",
    "NAdam",
    "RMSProp",
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


def __getattr__(name: str) -> Any:
    """Give the estimators, which need scikit-learn, to who asks for them."""
    if name in ("MLPClassifier", "MLPRegressor"):
        from fastnn import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
