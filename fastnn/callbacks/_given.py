"""Validation of the argument `callbacks`."""

from __future__ import annotations

from collections.abc import Iterable

from fastnn._validation import as_sequence, must_be, positive_integer
from fastnn._validation.names import closest
from fastnn._validation.other_libraries import HOOKS
from fastnn.callbacks._base import Callback
from fastnn.callbacks._monitored import EarlyStopping


def as_callbacks(callbacks: Callback | Iterable[Callback] | None) -> tuple[Callback, ...]:
    """Validate the argument `callbacks` and return its callbacks as a tuple.

    Raises
    ------
    TypeError, ValueError
        If one is no `Callback`, or two contradict each other.
    """
    if callbacks is None:
        return ()
    if isinstance(callbacks, Callback):
        callbacks = (callbacks,)
    given = as_sequence("callbacks", "an instance of fastnn.Callback, or a list of instances", callbacks)
    for k, callback in enumerate(given):
        if not isinstance(callback, Callback):
            raise TypeError(must_be(f"callbacks[{k}]", "an instance of a class derived from fastnn.Callback", callback))
        _check_hooks(callback, k)
        positive_integer(callback.call_every, f"callbacks[{k}].call_every")
        for i, other in enumerate(given[:k]):
            if other is callback:
                raise ValueError(f"callbacks[{k}] is callbacks[{i}] once more: give each callback once.")
            if all(isinstance(one, EarlyStopping) and one.restore_best_weights for one in (other, callback)):
                raise ValueError(
                    f"callbacks[{i}] and callbacks[{k}] are both EarlyStopping with restore_best_weights=True, which "
                    "would set the weights twice: give one of them restore_best_weights=False."
                )
    return given


def _check_hooks(callback: Callback, k: int) -> None:
    """Raise TypeError if a callback has a method that looks like a hook and would never be called."""
    hooks = [name for name in dir(Callback) if name.startswith("on_")]
    for name in dir(callback):
        if not name.startswith("on_") or name in hooks:
            continue
        advice = f" {HOOKS[name]}" if name in HOOKS else closest(name, hooks, cutoff=0.85)
        if advice:
            raise TypeError(f"callbacks[{k}], {type(callback).__name__}, has {name}, which is never called.{advice}")
