"""Conversion of the nets of a population to one header and arrays, and back.

Arrays of the same name and shape are stacked, and so are histories, so that a file of a thousand small nets has few
entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine.thread_team import as_n_threads
from fastnn._persistence import npz
from fastnn._persistence.model_state import check_serializable, from_state, state_of
from fastnn._training.net import Net
from fastnn._validation import CONVERSION_ERRORS

#: Best epochs of nets: see `Population`.
BestEpochs = dict[int, tuple[int, int]]


def write(
    path: npz.PathOrFile, nets: Sequence[Net], best_epochs: BestEpochs, extra: Mapping[str, Any] | None = None
) -> None:
    """Write nets into one file, which is replaced atomically.

    Parameters
    ----------
    path : path or binary file
    nets : sequence of Net
    best_epochs : dict
    extra : mapping or None
        What else the file holds, as JSON: that of an ensemble or a search.

    Raises
    ------
    TypeError
        If a net has a learning rate, an activation or a loss that is a function.
    """
    for net in nets:
        check_serializable(net)
    headers: list[dict[str, Any]] = []
    stacks: dict[tuple[str, tuple[int, ...], str], list[npt.NDArray[Any]]] = {}
    numbers: dict[Any, int] = {}  # of the stacks
    epochs: list[int] = []
    series: dict[str, list[float]] = {}
    for net in nets:
        header, arrays = state_of(net)
        history = header.pop("history")
        epochs += history["epoch"]
        names = list(history["history"])
        for name in names:
            series.setdefault(name, []).extend(history["history"][name])
        places = {}
        for name, array in arrays.items():
            key = (name, array.shape, array.dtype.str)
            stack = stacks.setdefault(key, [])
            places[name] = [numbers.setdefault(key, len(numbers)), len(stack)]
            stack.append(array)
        record = {"n": len(history["epoch"]), "names": names, "params": history["params"]}
        headers.append(header | {"history": record | {"stopped": history["stopped"]}, "arrays": places})
    entries: dict[str, npt.NDArray[Any]] = {f"stack_{k}": np.stack(stack) for k, stack in enumerate(stacks.values())}
    entries["epoch"] = np.array(epochs, np.int64)
    names = list(series)
    entries |= {f"series_{k}": np.array(series[name]) for k, name in enumerate(names)}
    best = [[k, *pair] for k, pair in best_epochs.items()]
    npz.write(path, {"nets": headers, "series": names, "best_epochs": best, **(extra or {})}, entries)


def read(path: npz.PathOrFile, *, n_threads: int | None) -> tuple[list[Net], BestEpochs, dict[str, Any]]:
    """Read the nets that `write` has written, with their best epochs and all that is in the header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, of another format, or of a later version, or holds one model.
    """
    threads = as_n_threads(n_threads)
    with npz.open_archive(path) as archive:
        if "nets" not in archive.header:
            raise ValueError(f"{npz.label_of(path)} holds one model, and no population: call fastnn.load.")
        try:
            return *_nets(archive.header, archive.arrays(), threads), dict(archive.header)
        except CONVERSION_ERRORS as error:  # whatever follows from values that no population has
            if isinstance(error, ValueError) and str(error).startswith(npz.label_of(path)):
                raise
            raise ValueError(
                f"{npz.label_of(path)} is a fastnn file, but its content is no valid population ({npz.brief(error)}). "
                "Save the population again."
            ) from error


def _nets(header: Mapping[str, Any], arrays: Mapping[str, Any], n_threads: int) -> tuple[list[Net], BestEpochs]:
    starts = dict.fromkeys(header["series"], 0)
    first = 0
    nets = []
    for state in header["nets"]:
        record = state["history"]
        n = record["n"]
        if type(n) is not int or n < 0:
            raise ValueError(f"the number of epochs is {n!r}")
        history: dict[str, Any] = {name: record[name] for name in ("params", "stopped")}
        history["epoch"] = arrays["epoch"][first : first + n].tolist()
        history["history"] = {}
        for name in record["names"]:
            values = arrays[f"series_{header['series'].index(name)}"]
            history["history"][name] = values[starts[name] : starts[name] + n].tolist()
            starts[name] += n
        first += n
        own = {name: arrays[f"stack_{stack}"][place] for name, (stack, place) in state["arrays"].items()}
        nets.append(from_state({**state, "history": history}, own, n_threads=n_threads))
    if not nets:
        raise ValueError("it has no nets")
    best = {k: (done, epoch) for k, done, epoch in header["best_epochs"]}
    if not all(type(number) is int for k, pair in best.items() for number in (k, *pair)):
        raise ValueError(f"best_epochs is {best!r}")
    return nets, best
