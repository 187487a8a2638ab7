"""Display of the progress of a training. An error of the display never ends the training.

On a terminal and in a notebook it is one bar of tqdm (the extra "progress"); in a log file it is one plain line per
epoch, because a bar would write carriage returns only.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fastnn._validation import must_be
from fastnn.history import NO_METRICS

_INTERVAL = 0.1  # seconds between two drawings, as epochs may take microseconds
#: Columns that the bar itself takes at least.
_LEAST_BAR = 5
#: Layouts of a line from the widest to the narrowest, in the terms of tqdm; a line has the first that fits.
_LAYOUTS = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, RATE, VALUES]",
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, VALUES]",
    "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}, VALUES]",
    "{desc}: {percentage:3.0f}%|{bar}| VALUES",
    "{desc}: VALUES",
    "VALUES",
)


class ProgressBar:
    """Display of a training. The methods of this class do nothing: it is the silent display."""

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Parameters
        ----------
        epoch : int
            Its number within this training, from 0.
        """

    def update(self, rows_done: int, loss: float, metrics: Mapping[str, float]) -> None:
        """Display the progress of the epoch.

        Parameters
        ----------
        rows_done : int
            Rows of this epoch that are done.
        loss : float
            The loss so far.
        metrics : mapping of str to float
            The metrics so far.
        """

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """End the epoch.

        Parameters
        ----------
        values : mapping of str to float
            The same values that go into the History: loss, metrics, val_loss, seconds ...
        """

    def close(self) -> None:
        """End the display and keep its last state visible. A second call does nothing."""


class _Stderr:
    """Standard error, except that errors of writing are suppressed.

    It is passed to tqdm as a file: an error raised through tqdm would leave tqdm's lock acquired.
    """

    def __init__(self) -> None:
        self._stream: Any = sys.stderr

    def write(self, text: str) -> int:
        with contextlib.suppress(Exception):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except Exception:  # closed, None (no console on Windows), or an object without isatty
            return False

    # tqdm.write() clears the bars of the stream that it writes to, and finds them by comparing streams.
    def __eq__(self, other: object) -> bool:
        return other is self or other is self._stream

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:  # tqdm reads encoding and fileno
        return getattr(self._stream, name)


class _Lines(ProgressBar):
    """One plain line per epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._epoch = 0

    def start_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def end_epoch(self, values: Mapping[str, float]) -> None:
        line = f"epoch {self._epoch + 1}/{self._epochs}: {_text(values)}"
        if "seconds" in values:
            line += f", {values['seconds']:.3g} s"
        stream = _Stderr()  # a new one each time, as stderr may be redirected meanwhile
        stream.write(line + "\n")
        stream.flush()


class _Bar(ProgressBar):
    """One bar of tqdm over the rows of all epochs."""

    def __init__(self, tqdm: Any, epochs: int, rows: int) -> None:
        self._epochs = epochs
        self._rows = rows
        self._epoch = 0
        self._done = 0
        self._finished = 0  # epochs whose seconds are known
        self._seconds = 0.0
        self._shown: dict[str, float] = {}
        self._next = 0.0
        self._class = tqdm
        self._tqdm: Any = None

    def start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._done = epoch * self._rows
        if self._tqdm is None:  # here, so that its clock does not count what comes before
            self._tqdm = self._new_bar()

    def _new_bar(self) -> Any:
        """Draw a bar at 0; None where standard error cannot be written to."""
        # No monitor thread of tqdm: forks should have no threads, and it is not needed here, as every update draws
        # and this class limits their rate.
        try:
            return type("tqdm", (self._class,), {"monitor_interval": 0})(
                total=self._epochs * self._rows,
                desc=f"epoch {self._epoch + 1}/{self._epochs}",
                unit=" samples",
                unit_scale=True,
                dynamic_ncols=True,
                mininterval=0,
                miniters=0,
                file=_Stderr(),
            )
        except Exception:  # tqdm flushes standard error by itself when it starts
            return None

    def update(self, rows_done: int, loss: float, metrics: Mapping[str, float]) -> None:
        self._done = self._epoch * self._rows + rows_done
        self._shown.update({"loss": loss, **metrics})
        self._draw_sometimes()

    def end_epoch(self, values: Mapping[str, float]) -> None:
        self._done = (self._epoch + 1) * self._rows
        if "seconds" in values:
            self._finished += 1
            self._seconds += values["seconds"]
        self._shown.update(values)
        self._draw_sometimes()

    def close(self) -> None:
        self._draw()
        if self._tqdm is not None:
            with contextlib.suppress(Exception):
                self._tqdm.close()

    def _draw_sometimes(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._draw()

    def _draw(self) -> None:
        if self._tqdm is None:
            return
        try:
            self._tqdm.set_description_str(f"epoch {self._epoch + 1}/{self._epochs}", refresh=False)
            self._tqdm.bar_format = self._layout()
            self._tqdm.update(self._done - self._tqdm.n)
        except Exception:  # a notebook's widget may raise any error
            self._tqdm.disable = True


    def _layout(self) -> str:
        """Return the widest layout that fits the terminal: first without the rate, then without counts, time, bar.

        Loss and metrics stay; the last ones are left out only where not even they fit.
        """
        state = self._tqdm.format_dict
        columns = None if _in_notebook() else state["ncols"]
        items = _items(self._shown)
        while True:
            for layout in _LAYOUTS:
                filled = layout.replace("RATE", self._rate(state["elapsed"]))
                shown = _escaped(", ".join(items))
                filled = filled.replace("VALUES", shown) if items else filled.replace(", VALUES", "").rstrip("VALUES: ")
                text = self._class.format_meter(**{**state, "bar_format": filled.replace("{bar}", ""), "ncols": None})
                if not columns or len(text) + _LEAST_BAR * ("{bar}" in layout) <= columns:
                    return filled
            if not items:
                return filled
            items.pop()

    def _rate(self, elapsed: float) -> str:
        """Return rows per second: by the time of finished epochs, which a report counts, else by the bar's clock."""
        rows, seconds = self._finished * self._rows, self._seconds
        if not seconds > 0.0:
            rows, seconds = self._done, elapsed
        rate = self._class.format_sizeof(rows / seconds) if rows and seconds > 0.0 else "?"
        return f"{rate} samples/s"


def _items(values: Mapping[str, float]) -> list[str]:
    return [f"{name}={value:.4g}" for name, value in values.items() if name not in NO_METRICS]


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(_items(values))


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel, without importing anything."""
    try:
        return "IPKernelApp" in sys.modules["IPython"].get_ipython().config
    except (KeyError, AttributeError):  # no IPython, or IPython on no shell
        return False


def bar(verbose: bool | Literal["auto"], *, epochs: int, rows: int) -> ProgressBar:
    """Make the display of a training.

    Parameters
    ----------
    verbose : bool or "auto"
        False (or 0): silent. True (or 1): a bar on a terminal and in a notebook, one plain line per epoch
        elsewhere, both on standard error. "auto": a bar where one can be drawn and tqdm is installed, else
        silent.
    epochs : int
        Epochs of this training.
    rows : int
        Rows per epoch.

    Returns
    -------
    ProgressBar

    Raises
    ------
    ImportError
        If `verbose` is True, a bar can be drawn and tqdm is not installed. Plain lines do not require it.
    ValueError
        If `verbose` is not one of those.
    """
    auto = isinstance(verbose, str) and verbose == "auto"
    if not auto and not (isinstance(verbose, (bool, int, np.bool_)) and verbose in (0, 1)):
        raise ValueError(must_be("verbose", "True, False or 'auto'", verbose))
    if not verbose:
        return ProgressBar()
    if not (_Stderr().isatty() or _in_notebook()):
        return ProgressBar() if auto else _Lines(epochs)
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        if auto:
            return ProgressBar()
        raise ImportError(
            'verbose=True draws its bar with tqdm, which is not installed: pip install "fastnn-mlp[progress]", '
            "or give verbose=False."
        ) from None
    return _Bar(tqdm, epochs, rows)
