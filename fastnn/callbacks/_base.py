"""The class of all callbacks, and those that need no more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from fastnn._representation import call_text
from fastnn._validation import must_be
from fastnn._validation.names import explained
from fastnn.history import History
from fastnn.layers import Dense
from fastnn.optimizers import Optimizer

Logs: TypeAlias = Mapping[str, float]
Mode: TypeAlias = Literal["auto", "min", "max"]


class Trainable(Protocol):
    """What a callback receives as `model`: a `fastnn.Model`, of which this names what callbacks use."""

    stop_training: bool | str

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; another one takes effect with the next epoch."""

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None: ...

    @property
    def layers(self) -> tuple[Dense, ...]:
        """The layers."""

    @property
    def history(self) -> History:
        """All epochs of all fits."""

    @property
    def weights(self) -> Sequence[Any]:
        """Views of the weights, (n_in, n_out) per layer."""

    @property
    def biases(self) -> Sequence[Any]:
        """Views of the biases, (n_out,) per layer."""

    def predict(self, X: Any) -> Any:
        """Return the outputs."""

    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Return loss and metrics."""

    def snapshot(self) -> Any:
        """Return a copy of the parameters, for `restore`."""

    def restore(self, snapshot: Any) -> None:
        """Set the parameters to those of a snapshot."""

    def check_serializable(self) -> None:
        """Raise TypeError unless `save` can write all of the model."""

    def save(self, path: Any) -> None:
        """Write the model into a file."""


class Callback:
    """Base class, with the methods' names of Keras; override those you need.

    A callback may read and write the model's weights, change its optimizer, and end the training by
    ``self.model.stop_training = True``. An error that it raises ends the training and reaches the caller;
    the model is then as after the last finished step.

    There are no methods for batches: an epoch is compiled code, which does not come back to Python between two steps.
    For work between steps use `Model.train_on_batch` in a loop of your own. A callback with another hook, such as
    ``on_batch_end``, is refused by `Model.fit`, as it would never be called.

    Attributes
    ----------
    call_every : int
        `on_epoch_end` is called after every `call_every` epochs of a fit, `on_epoch_begin` before the epochs that
        follow a call and before the first; 1. Where validation, a display or another callback needs no call in
        between, those epochs run in compiled code without a return to Python for them.
    model : Model
        The model in training; set before `on_train_begin`.
    params : dict
        What this training is: epochs, batch_size, rows, shuffle, and as "metrics" the names that the logs of each epoch
        will have; set before `on_train_begin`.
    """

    model: Trainable
    params: dict[str, Any]
    call_every: int = 1

    def __repr__(self) -> str:
        """Return a call with the arguments by position, and those by name that are not the defaults."""
        own, parameters = vars(self), inspect.signature(type(self)).parameters.values()
        if any(p.default is p.empty and p.name not in own for p in parameters):  # a class that keeps them elsewhere
            return super().__repr__()
        return call_text(self, {p.name: repr(own[p.name]) for p in parameters if p.name in own})

    def on_train_begin(self, logs: Logs) -> None:
        """Run before the first epoch.

        Parameters
        ----------
        logs : mapping of str to float
            Empty.
        """

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Run before an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0 over all fits.
        logs : mapping of str to float
            Empty.
        """

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0 over all fits.
        logs : mapping of str to float
            The values that History records: loss, val_loss, metrics and others.
        """

    def on_train_end(self, logs: Logs) -> None:
        """Run after the last epoch, also if training stops early, by Ctrl-C or by divergence.

        Parameters
        ----------
        logs : mapping of str to float
            The values of the last epoch.
        """


class TerminateOnNaN(Callback):
    """End the training quietly when the loss or a weight is no longer finite, instead of by `DivergenceError`.

    `History.stopped` is then "diverged", and the model keeps its last finite weights. The unfinished epoch is not
    recorded. A loss for validation that is not finite ends nothing.
    """


@explained
class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable or None
        ``function(epoch, logs)``
    on_train_begin, on_train_end : callable or None
        ``function(logs)``
    """

    def __init__(
        self,
        *,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise TypeError(must_be(name, "callable, or None", function))
            if function is not None:
                setattr(self, name, function)
