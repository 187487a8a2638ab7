"""Callbacks of scikit-learn (1.9 or later), which `set_callbacks` of an estimator sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastnn.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, where scikit-learn has no callbacks."""


class CallbackSupport(CallbackSupportMixin):
    """Methods for scikit-learn's callbacks: a fit is a task, and each of its epochs a subtask; a mixin."""

    @contextmanager
    def _root_task(self: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[tuple[Callback, ...]]:
        """Notify the callbacks of begin and end of a fit; yield what notifies them of its epochs.

        scikit-learn's decorator of `fit` ends the callbacks afterwards, by attributes that this sets.
        """
        if not getattr(self, "_skl_callbacks", None):
            yield ()
            return
        context = self._init_callback_context(max_subtasks=self.max_iter)
        given = {
            "estimator": self,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        context.call_on_fit_task_begin(**given)
        yield (EpochTasks(context, given),)
        context.call_on_fit_task_end(**given, reconstruction_attributes={})


class EpochTasks(Callback):
    """Callback that notifies those of scikit-learn of each epoch.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the fit.
    given : dict
        Estimator, X, y and metadata, as the hooks receive them.
    """

    def __init__(self, context: Any, given: dict[str, Any]) -> None:
        self._context = context
        self._given = given
        self._epoch: Any = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Begin a subtask."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given, reconstruction_attributes={})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """End the subtask, and the training where a callback requires it.

        A copy of the estimator has copies of the weights, so there is nothing else to reconstruct.
        """
        if self._epoch.call_on_fit_task_end(**self._given, reconstruction_attributes={}):
            self.model.stop_training = True
