"""History: metrics recorded per epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from fastnn._figure import panels_for
from fastnn._figure.labels import label_ends, note_at
from fastnn._figure.style import COLORS
from fastnn._validation import CONVERSION_ERRORS, as_sequence, integer, is_encodable, must_be, shown

__all__ = ["History"]


def __dir__() -> list[str]:
    return __all__


#: Settings of optimizers and solvers that may change from epoch to epoch, and are recorded with each.
LOGGED_SETTINGS = ("learning_rate", "mu")
#: Names in the logs that are neither losses nor metrics; not plotted, not shown by progress displays.
NO_METRICS = (*LOGGED_SETTINGS, "seconds")
#: Ends of names; the metrics of scikit-learn are named by these rules.
_LESS_IS_BETTER = ("loss", "_loss", "_error")
_MORE_IS_BETTER = ("accuracy", "_score", "auc", "r2")


def less_is_better(name: str) -> bool | None:
    """Return whether less of a value is better, as the end of its name says; None if it says nothing."""
    return False if name.endswith(_MORE_IS_BETTER) else True if name.endswith(_LESS_IS_BETTER) else None


def pandas_for_frames() -> Any:
    """Return the module pandas, for `to_frame`.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError('to_frame needs pandas, which is not installed: pip install "fastnn-mlp[pandas]".') from None
    return pandas


class History:
    """The record of a training, in the shape that Keras gives it.

    Parameters
    ----------
    params : mapping or None
        What the training was called with, for the record.

    Attributes
    ----------
    epoch : list of int
        The epochs' numbers, counted from 0 and on over several fits.
    history : dict of str to list of float
        One list per name, as long as `epoch`: loss, accuracy, val_loss, val_accuracy, seconds, learning_rate.
        NaN where an epoch has no such value.
    params : dict
        A copy of what was given.
    stopped : str or None
        Why it ended early: "interrupted", "diverged", "max_seconds", "stop_training", "early_stopping" or another
        callback's reason. None when it ran to the end.

    Examples
    --------
    >>> h = History()
    >>> h.append(0, {"loss": 0.7})
    >>> h.append(1, {"loss": 0.4, "val_loss": 0.5})
    >>> h["val_loss"]
    [nan, 0.5]
    >>> h
    History(2 epochs; loss 0.7 -> 0.4; val_loss nan -> 0.5)
    """

    __slots__ = ("_epoch", "_history", "_params", "stopped")
    # len() counts epochs while [] takes names, so the old protocol of iteration would go wrong.
    __iter__: ClassVar[None] = None

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self._epoch: list[int] = []
        self._history: dict[str, list[float]] = {}
        if params is not None and not isinstance(params, Mapping):
            raise TypeError(must_be("params", "a mapping, or None", params))
        try:
            self._params: dict[str, Any] = copy.deepcopy(dict(params or {}))
        except CONVERSION_ERRORS as error:  # raised by the values
            raise TypeError(must_be("params", "a mapping of values that can be copied", params)) from error
        self.stopped: str | None = None

    @property
    def epoch(self) -> list[int]:
        """The epochs' numbers, from 0."""
        return self._epoch

    @property
    def history(self) -> dict[str, list[float]]:
        """The values, a list as long as `epoch` for each name."""
        return self._history

    @property
    def params(self) -> dict[str, Any]:
        """What the training was called with."""
        return self._params

    def append(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add an epoch. A failed call leaves all as it was.

        Parameters
        ----------
        epoch : int
            Its number, above the last one's.
        values : mapping of str to float
            Its values. Names that it leaves out get NaN, and so do earlier epochs for a new name.

        Raises
        ------
        TypeError
            If a value is no number.
        ValueError
            If the number of the epoch is negative or not above the last one's.
        """
        last = self._epoch[-1] if self._epoch else -1
        if type(epoch) is not int or epoch <= last:
            epoch = integer("epoch", epoch, least=0)
            if epoch <= last:
                raise ValueError(must_be("epoch", f"above the last one, {last}", epoch))
        row = {}
        # Names that are known need no check: training adds many epochs per millisecond.
        is_known = type(values) is dict and values.keys() == self._history.keys()
        for name, value in values.items() if is_known else _items("values", values):
            try:
                row[name] = value if type(value) is float else float(value)
            except CONVERSION_ERRORS:  # raised by the value itself
                raise TypeError(must_be(f"values[{name!r}]", "a number", value)) from None
        n = len(self._epoch)
        try:
            for name in row:
                self._history.setdefault(name, [math.nan] * n)
            for name, series in self._history.items():
                series.append(row.get(name, math.nan))
            self._epoch.append(epoch)
        except BaseException:  # Ctrl-C may come between any two lines; lists of unequal length could not be loaded
            self._cut(n)
            raise

    def extend(self, first: int, values: Mapping[str, Sequence[float]]) -> None:
        """Add consecutive epochs. A failed call leaves all as it was.

        Parameters
        ----------
        first : int
            Number of the first of them, above the last one's.
        values : mapping of str to sequence of float
            For each name its values, one for each of the epochs. Names that it leaves out get NaN, and so do earlier
            epochs for a new name.

        Raises
        ------
        TypeError
            If a value is no number.
        ValueError
            If the number of the epoch is negative or not above the last one's, or the lengths differ.
        """
        first = integer("first", first, least=0)
        last = self._epoch[-1] if self._epoch else -1
        if first <= last:
            raise ValueError(must_be("first", f"above the last one, {last}", first))
        columns: dict[str, list[float]] = {}
        for name, column in _items("values", values):
            try:
                columns[name] = [float(value) for value in column]
            except CONVERSION_ERRORS:  # raised by the values
                raise TypeError(must_be(f"values[{name!r}]", "a sequence of numbers", column)) from None
        lengths = {len(column) for column in columns.values()} or {0}
        if len(lengths) > 1:
            raise ValueError(must_be("values", "sequences of one length", {k: len(v) for k, v in columns.items()}))
        n, count = len(self._epoch), lengths.pop()
        try:
            for name in columns:
                self._history.setdefault(name, [math.nan] * n)
            for name, series in self._history.items():
                series.extend(columns.get(name) or [math.nan] * count)
            self._epoch.extend(range(first, first + count))
        except BaseException:  # as in `append`
            self._cut(n)
            raise

    def _cut(self, n: int) -> None:
        """Forget all but the first `n` epochs."""
        del self._epoch[n:]
        for series in self._history.values():
            del series[n:]

    def __getitem__(self, name: str) -> list[float]:
        """Return the list of one name, such as "loss"."""
        try:
            return self._history[name]
        except KeyError:
            known = ", ".join(self._history) or "nothing yet"
            raise KeyError(f"{shown(name)} is not in this history, which has: {known}") from None

    def __contains__(self, name: object) -> bool:
        """Return whether there is a list of that name."""
        return name in self._history

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self._epoch)

    def __repr__(self) -> str:
        """Return the first and last value of each name, the time, and why it ended."""
        n = len(self._epoch)
        if n == 0:
            parts = ["no epochs"]
        else:
            begin, end = self._epoch[0], self._epoch[-1]
            parts = [f"{n} epochs" if n > 1 else "1 epoch"]
            if (begin, end) != (0, n - 1):
                parts[0] += f", numbers {begin} to {end}" if n > 1 else f", number {begin}"
        for name, series in self._history.items():
            if name not in NO_METRICS:
                first = "" if n == 1 else f"{series[0]:.4g} -> "
                parts.append(f"{name} {first}{series[-1]:.4g}")
        seconds = [s for s in self._history.get("seconds", []) if not math.isnan(s)]
        if seconds:
            parts.append(f"{math.fsum(seconds):.3g} s")
        if self.stopped is not None:
            parts.append(f"stopped: {self.stopped}")
        return f"History({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return a table of the first, least, greatest and last value of each name, which notebooks show."""
        rows: list[tuple[str, ...]] = [("", "first", "least", "greatest", "last")]
        for name, series in self._history.items():
            known = [value for value in series if not math.isnan(value)] or [math.nan]
            rows.append((name, *(f"{value:.4g}" for value in (series[0], min(known), max(known), series[-1]))))
        found = [f"<table>\n<caption>{escape(repr(self))}</caption>"]
        for k, row in enumerate(rows if self._epoch else []):
            tag = "td" if k else "th"
            found.append("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>")
        return "\n".join([*found, "</table>"])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state by name, for pickle and skops."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: Any) -> None:
        """Set the state; that of pickles of earlier versions is a pair with it."""
        for name, value in (state[1] if isinstance(state, tuple) else state).items():
            setattr(self, name, value)

    def __copy__(self) -> History:
        """Return a History with lists of its own."""
        other = History(self._params)
        other._epoch = list(self._epoch)
        other._history = {name: list(series) for name, series in self._history.items()}
        other.stopped = self.stopped
        return other

    def to_frame(self) -> Any:
        """Return a pandas DataFrame: one column per name, the epochs' numbers as index.

        Returns
        -------
        pandas.DataFrame
            A copy, float64.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = pandas_for_frames()
        return pd.DataFrame(self._history, index=pd.Index(self._epoch, dtype="int64", name="epoch"), dtype="float64")

    def plot(self, *, axes: Any = None, yscale: str = "linear") -> Any:
        """Plot the losses over the epochs, which are counted from 1, and each metric beside them.

        Training and validation are labelled at the ends of their lines. The epoch with the lowest validation loss is
        marked.

        Parameters
        ----------
        axes : matplotlib Axes, a sequence of them, or None
            Where to: the losses into the first, a metric into each of the others, as far as they go. None makes a
            new figure.
        yscale : str
            Of the losses, as matplotlib calls it: "linear" or "log".

        Returns
        -------
        matplotlib.figure.Figure
            Shows itself in notebooks; ``figure.savefig("training.png")`` writes it into a file. It is not known to
            pyplot.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are no epochs.
        """
        if not self._epoch:
            raise ValueError("this history has no epochs to plot: fit first.")
        recorded = [name for name in self._history if name not in NO_METRICS]
        metrics = dict.fromkeys(name.removeprefix("val_") for name in recorded)
        names = ["loss", *(name for name in metrics if name != "loss")]
        n_panels, most = len(names), max(len(names), 2)
        with panels_for("axes", axes, n_panels=n_panels, most=most, width=min(4.8, 10.0 / n_panels)) as panels:
            try:
                panels[0].set_yscale(yscale)
            except CONVERSION_ERRORS:  # whatever matplotlib raises
                raise ValueError(must_be("yscale", "a scale of matplotlib such as 'linear' or 'log'", yscale)) from None
            for panel, name in zip(panels, names, strict=False):
                self._plot_into(panel, name)
        return panels[0].figure

    def _plot_into(self, panel: Any, name: str) -> None:
        """Draw a value of training and validation, and where the validation loss is lowest."""
        epochs = [epoch + 1 for epoch in self._epoch]
        ends, texts, colours = [], [], []
        series = (("training", name, COLORS[1], "-"), ("validation", f"val_{name}", COLORS[0], "--"))
        for text, key, colour, line_style in series:
            if key not in self._history:
                continue
            values = self._history[key]
            # A line needs two points.
            marker = "o" if sum(map(math.isfinite, values)) == 1 else None
            panel.plot(epochs, values, label=key, color=colour, linestyle=line_style, marker=marker)
            finite = [(x, y) for x, y in zip(epochs, values, strict=True) if math.isfinite(y)]
            if finite:
                ends.append(finite[-1])
                texts.append(text)
                colours.append(colour)
        panel.set_xlabel("epoch")
        panel.set_ylabel(name)
        if len(epochs) == 1:
            panel.set_xticks(epochs)
        else:
            panel.set_xlim(epochs[0], epochs[-1])
            panel.xaxis.get_major_locator().set_params(integer=True)
        if len(ends) > 1:
            label_ends(panel, ends, texts, colours)
        best = self._best_epoch()
        if best is not None and len(epochs) > 1:
            value = self._history.get(f"val_{name}", [math.nan] * len(epochs))[best]
            note_at(panel, epochs[best], f"best epoch: {epochs[best]}")
            low, high = panel.get_ylim()
            if low <= value <= high:  # a logarithmic scale has no 0
                panel.plot([epochs[best]], [value], "o", color=COLORS[0], clip_on=False, zorder=4)

    def _best_epoch(self) -> int | None:
        """Return the place of the lowest validation loss; None without validation."""
        losses = self._history.get("val_loss", [])
        finite = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
        return min(finite, key=losses.__getitem__) if finite else None

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as a plain dict.

        Returns
        -------
        dict
            With the keys epoch, history, params and stopped.
        """
        return {
            "epoch": list(self._epoch),
            "history": {name: list(series) for name, series in self._history.items()},
            "params": copy.deepcopy(self._params),
            "stopped": self.stopped,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """Make a History from what `to_dict` gave.

        Parameters
        ----------
        state : mapping
            With the keys epoch, history, params and stopped.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If a key is missing, the lists differ in length, or the epochs do not rise.
        """
        given = dict(_items("state", state))
        missing = [key for key in ("epoch", "history", "params", "stopped") if key not in given]
        if missing:
            raise ValueError(f"state lacks {', '.join(missing)}; give what History.to_dict returned.")
        epochs = as_sequence("state['epoch']", "a list of integers", given["epoch"])
        series = {
            name: as_sequence(f"state['history'][{name!r}]", "a list of numbers", values)
            for name, values in _items("state['history']", given["history"])
        }
        for name, values in series.items():
            if len(values) != len(epochs):
                raise ValueError(
                    f"state['history'][{name!r}] has {len(values)} values for {len(epochs)} epochs; "
                    "give what History.to_dict returned."
                )
        result = cls(given["params"])
        for i, epoch in enumerate(epochs):
            result.append(epoch, {name: values[i] for name, values in series.items()})
        stopped = given["stopped"]
        if stopped is not None and type(stopped) is not str:
            raise TypeError(must_be("state['stopped']", "a text, or None", stopped))
        result.stopped = stopped
        return result


def _items(argument: str, given: Any) -> list[tuple[str, Any]]:
    """Return the items of a mapping whose keys are texts."""
    constraint = "a mapping of names to values"
    if not isinstance(given, Mapping):
        raise TypeError(must_be(argument, constraint, given))
    try:
        items = list(given.items())
    except CONVERSION_ERRORS as error:  # raised by the mapping itself
        raise TypeError(must_be(argument, constraint, given)) from error
    for name, _ in items:
        if type(name) is not str or not is_encodable(name):
            raise TypeError(must_be(f"keys of {argument}", "texts", name))
    return items
