"""Callbacks: hooks called during training, which observe and control it.

Names, arguments and defaults are those of Keras where there is no reason against them.
"""

from fastnn.callbacks._base import Callback, LambdaCallback, TerminateOnNaN
from fastnn.callbacks._base import Logs as Logs
from fastnn.callbacks._base import Mode as Mode
from fastnn.callbacks._base import Trainable as Trainable
from fastnn.callbacks._csv_logger import CSVLogger
from fastnn.callbacks._given import as_callbacks as as_callbacks
from fastnn.callbacks._monitored import EarlyStopping, ModelCheckpoint, OptunaPruning, ReduceLROnPlateau
from fastnn.callbacks._rates import LearningRateScheduler
from fastnn.callbacks._snapshots import Snapshot, Snapshots

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "OptunaPruning",
    "ReduceLROnPlateau",
    "Snapshot",
    "Snapshots",
    "TerminateOnNaN",
]
for _name in __all__:
    globals()[_name].__module__ = __name__  # the public path, which pickles contain


def __dir__() -> list[str]:
    return __all__
