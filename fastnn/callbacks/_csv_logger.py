"""A callback that writes the logs into a file."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from fastnn._validation import as_path, check_bool, must_be
from fastnn._validation.names import explained
from fastnn.callbacks._base import Callback, Logs


@explained
class CSVLogger(Callback):
    """Write one line per epoch into a file: its number and the values that History records.

    Each line is in the file when the epoch ends, also if the process dies later.

    Parameters
    ----------
    filename : path
    separator : str
        One character.
    append : bool
        Whether to go on at the end of a file that is there, whose columns must be the same. Otherwise each training
        begins the file anew.
    """

    def __init__(self, filename: str | os.PathLike[str], *, separator: str = ",", append: bool = False) -> None:
        self.filename = as_path("filename", filename)
        if type(separator) is not str or len(separator) != 1:
            raise ValueError(must_be("separator", "one character", separator))
        try:
            csv.writer(io.StringIO(), delimiter=separator)
        except (TypeError, ValueError):
            raise ValueError(must_be("separator", "a character that can separate columns", separator)) from None
        self.separator = separator
        self.append = check_bool(append, "append")

    def on_train_begin(self, logs: Logs) -> None:
        """Write the names of the columns, or compare them."""
        columns = ["epoch", *self.params["metrics"]]
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="", encoding="utf-8") as file:
                there = next(csv.reader(file, delimiter=self.separator), None)
            if there == columns:
                return
            if there is not None:
                raise ValueError(
                    f"{self.filename!r} has the columns {', '.join(there)}, but this training gives "
                    f"{', '.join(columns)}: use another file, or append=False."
                )
        self._write(columns, "w")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        self._write([epoch, *(logs[name] for name in self.params["metrics"])], "a")

    def _write(self, row: list[Any], mode: str) -> None:
        with open(self.filename, mode, newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator, lineterminator="\n").writerow(row)
