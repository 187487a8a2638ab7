"""Callbacks of a population: each net has copies of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from fastnn._validation import CONVERSION_ERRORS, reason
from fastnn.callbacks import Callback, CSVLogger, ModelCheckpoint

#: Callbacks that write one file for one net, and what to do instead.
_ONE_FILE = {
    CSVLogger: "Write np.savetxt(path, history[\"loss\"]) after the fit: a column for each net.",
    ModelCheckpoint: "EarlyStopping keeps the best weights of each net, and population.save(path) writes all nets.",
}


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raise ValueError for a callback of which copies would write the same file."""
    for k, callback in enumerate(callbacks):
        for kind, advice in _ONE_FILE.items():
            if isinstance(callback, kind):
                raise ValueError(
                    f"callbacks[{k}] is {callback!r}, which writes one file, but there is a copy for each net. {advice}"
                )


def copies_of(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Return deep copies of callbacks.

    Raises
    ------
    TypeError
        If one cannot be copied.
    """
    made = []
    for k, callback in enumerate(callbacks):
        try:
            made.append(copy.deepcopy(callback))
        except CONVERSION_ERRORS as error:
            raise TypeError(
                f"callbacks[{k}], {type(callback).__name__}, cannot be copied ({reason(error)}), but each net has a "
                "copy of its own: give the class a method __deepcopy__ that returns what a net shall have."
            ) from error
    return tuple(made)
