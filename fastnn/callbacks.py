"""What may look on while a model trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnn.model import Model


class Callback:
    """Base class, with the methods' names of Keras; override those you need.

    A callback may read and write the model's weights, change its optimizer, and end the training by
    ``self.model.stop_training = True``. An error that it raises ends the training and reaches the caller;
    the model is then as after the last finished step.

    Attributes
    ----------
    model : Model
        The model in training; set before `on_train_begin`.
    """

    model: Model

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Before the first epoch; `logs` is empty."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Before epoch number `epoch`, counted over all fits; `logs` is empty."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After an epoch; `logs` holds what History records of it: loss, val_loss, metrics ..."""

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """After the last epoch, also when stopped early; `logs` is that of the last epoch."""


def as_callbacks(callbacks: Callback | Iterable[Callback] | None) -> tuple[Callback, ...]:
    """Check what a user gave as `callbacks`.

    Raises
    ------
    TypeError
        If one is no `Callback`.
    """
    if callbacks is None:
        return ()
    if isinstance(callbacks, Callback):
        return (callbacks,)
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str | bytes):
        raise TypeError(f"callbacks is {callbacks!r}, but must be an instance of fastnn.Callback, or a list of some.")
    given = tuple(callbacks)
    for k, callback in enumerate(given):
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks[{k}] is {callback!r}, but each must be an instance of a class derived from "
                "fastnn.Callback."
            )
    return given
