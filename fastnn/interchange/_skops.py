"""skops: the types of fastnn that a file of an estimator may contain."""

from __future__ import annotations

from fastnn import callbacks, optimizers, regularizers, schedules
from fastnn.activations import Activation
from fastnn.history import History
from fastnn.losses import Loss
from fastnn.metrics import Metric

_CLASSES = (
    Activation,
    Loss,
    History,
    Metric,
    *optimizers.CLASSES.values(),
    *(getattr(regularizers, name) for name in ("L1", "L2", "L1L2")),
    *(getattr(schedules, name) for name in schedules.__all__ if name != "Schedule"),
    *(getattr(callbacks, name) for name in ("EarlyStopping", "ReduceLROnPlateau", "TerminateOnNaN")),
)

#: Names of the classes that `skops.io.load` must be given as `trusted` to read estimators of fastnn. Reading them
#: executes nothing and opens no file; callbacks that write files or hold functions are not among them.
SKOPS_TRUSTED_TYPES: list[str] = sorted(
    {
        "fastnn.callbacks._monitored._Monitor",
        "fastnn.estimators.MLPClassifier",
        "fastnn.estimators.MLPRegressor",
        "fastnn.model.Model",
        *(f"{cls.__module__}.{cls.__qualname__}" for cls in _CLASSES),
    }
)
