"""Conversion of a net to a JSON header and arrays, and back.

`npz` writes header and arrays into a file and reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import activations, losses, optimizers, regularizers, schedules
from fastnn._engine.thread_team import as_n_threads
from fastnn._persistence import npz
from fastnn._training.net import Net, new_net
from fastnn._validation import (
    CONVERSION_ERRORS,
    MIXED_BFLOAT16,
    as_dtype_policy,
    finite_number,
    must_be,
    positive_integer,
)
from fastnn.custom import CustomActivation, CustomLoss
from fastnn.history import History
from fastnn.layers import Dense

Array: TypeAlias = npt.NDArray[Any]
#: Shape and dtype of arrays, by their names.
Expected: TypeAlias = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def state_of(net: Net) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the whole state of a net: data for JSON, and arrays without padding."""
    with net.kernel_lock:
        return _state_now(net)


def _state_now(net: Net) -> tuple[dict[str, Any], dict[str, Array]]:
    spec = net.spec
    header: dict[str, Any] = {
        "layers": [
            {
                "units": layer.units,
                "activation": _activation_state(layer.activation),
                "kernel_initializer": layer.kernel_initializer,
                "use_bias": layer.use_bias,
                "trainable": trainable,
                "max_norm": layer.max_norm,
                "dropout": layer.dropout,
            }
            for layer, trainable in zip(spec.layers, net.trainable, strict=True)
        ],
        "loss": spec.loss if isinstance(spec.loss, CustomLoss) else dataclasses.asdict(spec.loss),
        "optimizer": [type(net.optimizer).__name__, _fields(net.optimizer)],
        "regularizer": [net.regularizer.l1, net.regularizer.l2],
        "metrics": [metric.name for metric in spec.metrics if metric.function is None],  # no functions
        "seed": spec.seed,
        "dtype": spec.dtype_policy,
        "n_features": net.n_features,
        "feature_names": None if net.feature_names is None else list(net.feature_names),
        "epochs_done": net.epochs_done,
        "steps_done": 0,
        "history": net.history.to_dict(),
    }
    arrays: dict[str, Array] = {}
    if net.engine is not None:
        header["steps_done"] = net.engine.steps_done
        header |= dict(zip(_scalar_names(net), net.engine.scalars, strict=False))
        for name, weights, biases in net.engine.named_views():
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                arrays[f"{name}.{k}.weights"] = w.copy()
                arrays[f"{name}.{k}.biases"] = b.copy()
    return header, arrays


def from_state(header: Mapping[str, Any], arrays: Mapping[str, Array], *, n_threads: int | None) -> Net:
    """Construct a net from the result of `state_of`.

    Raises
    ------
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError
        If header and arrays do not describe a net.
    """
    return _from_state(header, lambda expected: arrays, n_threads=n_threads)


def _from_state(
    header: Mapping[str, Any], read_arrays: Callable[[Expected], Mapping[str, Array]], *, n_threads: int | None
) -> Net:
    """Construct a net; `read_arrays` is called with the names, shapes and dtypes of the arrays that the net needs."""
    layers = [
        Dense(
            entry["units"],
            _activation(entry["activation"]),
            **{name: value for name, value in entry.items() if name not in ("units", "activation")},
        )
        for entry in header["layers"]
    ]
    optimizer, settings = header["optimizer"]
    if "learning_rate" in settings:
        settings = {**settings, "learning_rate": schedules.from_state(settings["learning_rate"])}
    l1, l2 = header["regularizer"]
    net = new_net(
        layers,
        loss=header["loss"] if isinstance(header["loss"], CustomLoss) else losses.Loss(**header["loss"]),
        optimizer=optimizers.CLASSES[optimizer](**settings),
        regularizer=regularizers.L1L2(l1, l2),
        metrics=header["metrics"],
        seed=header["seed"],
        dtype=header["dtype"],
        n_threads=n_threads,
    )
    net.epochs_done = _count(header["epochs_done"], "epochs_done")
    net.history = History.from_dict(header["history"])
    if net.history.epoch and net.history.epoch[-1] >= net.epochs_done:
        raise ValueError(f"history must have at most {net.epochs_done} epochs (epochs_done)")
    if header["n_features"] is not None:
        n_features = positive_integer(header["n_features"], "n_features")
        net.feature_names = _feature_names(header.get("feature_names"), n_features)
        expected = _expected_arrays(net, n_features)
        arrays = read_arrays(expected)
        for name, (shape, dtype) in expected.items():  # before memory is allocated: a damaged header may exceed it
            if arrays[name].shape != shape or arrays[name].dtype != dtype:
                raise ValueError(f"array {name} is {arrays[name].dtype} {arrays[name].shape}, not {dtype} {shape}")
        engine = net.allocate(n_features)
        engine.steps_done = _count(header["steps_done"], "steps_done")
        if engine.steps_done:
            engine.scalars = tuple(finite_number(name, header[name]) for name in _scalar_names(net))
        for name, weights, biases in engine.named_views():
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                w[...] = arrays[f"{name}.{k}.weights"]
                b[...] = arrays[f"{name}.{k}.biases"]
    return net


def copy_of(net: Net, dtype: Any = None) -> Net:
    """Return an independent copy with the same state, in another dtype if one is given.

    Raises
    ------
    ValueError
        If that is no dtype of nets, or has a range that a weight or a number of the optimizer exceeds.
    """
    header, arrays = state_of(net)
    if dtype is not None:
        of_weights, mixed = as_dtype_policy(dtype)
        header["dtype"] = MIXED_BFLOAT16 if mixed else of_weights.name
        with np.errstate(over="ignore"):
            arrays = {name: array.astype(of_weights) for name, array in arrays.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError(must_be("dtype", "one whose range includes all weights and optimizer slots", dtype))
    copied = from_state(header, arrays, n_threads=net.spec.n_threads)
    copied.spec = dataclasses.replace(copied.spec, metrics=net.spec.metrics)
    return copied


def _activation_state(activation: activations.Activation) -> Any:
    """Return a list for JSON; a custom activation is returned unchanged, for copies and pickles."""
    if isinstance(activation, CustomActivation):
        return activation
    return [activation.name, activation.alpha]


def _activation(state: Any) -> activations.Activation:
    if isinstance(state, CustomActivation):
        return state
    name, alpha = state
    return activations.Activation(name, alpha)


def check_serializable(net: Net) -> None:
    """Raise TypeError if learning rate, an activation or the loss is a function, which a file cannot contain."""
    rate = getattr(net.optimizer, "learning_rate", 0.0)  # a solver has none
    if callable(schedules.to_state(rate)):
        raise TypeError(
            f"learning_rate={rate!r} of the optimizer cannot be written into a file: before saving, set "
            "model.optimizer to one with a number or a schedule of fastnn.schedules, and to the present one after "
            "loading. pickle and copy support functions."
        )
    custom = [layer.activation for layer in net.spec.layers if isinstance(layer.activation, CustomActivation)]
    if custom or isinstance(net.spec.loss, CustomLoss):
        what = f"activation {custom[0].name!r}" if custom else f"loss {net.spec.loss.name!r}"
        raise TypeError(
            f"{what} is a custom function, which cannot be written into a file: save model.weights and model.biases "
            "instead, and assign them to a new Model. pickle and copy support custom functions."
        )


def _scalar_names(net: Net) -> tuple[str, ...]:
    """Return the names of the scalars that the optimizer keeps between steps."""
    optimizer = net.optimizer
    return () if isinstance(optimizer, optimizers.Solver) else tuple(name for name, _ in optimizer.rule.scalars)


def _expected_arrays(net: Net, n_features: int) -> Expected:
    """Return names, shapes and dtypes of the arrays of a net."""
    expected: Expected = {}
    n_in = n_features
    n_slots = net.optimizer.n_slots + optimizers.averages(net.optimizer)
    for k, layer in enumerate(net.spec.layers):
        for name in ("params", *(f"slot_{i}" for i in range(n_slots))):
            expected[f"{name}.{k}.weights"] = ((n_in, layer.units), net.spec.dtype)
            expected[f"{name}.{k}.biases"] = ((layer.units,), net.spec.dtype)
        n_in = layer.units
    return expected


def read(path: npz.PathOrFile, *, n_threads: int | None) -> Net:
    """Read a net that was written with `write`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, of another format, or of a later version.
    """
    n_threads = as_n_threads(n_threads)
    with npz.open_archive(path) as archive:
        if "nets" in archive.header:
            raise ValueError(f"{npz.label_of(path)} holds a population: call fastnn.load_population.")
        try:
            return _from_state(archive.header, archive.arrays, n_threads=n_threads)
        except CONVERSION_ERRORS as error:  # whatever follows from values that no model has
            if isinstance(error, ValueError) and str(error).startswith(npz.label_of(path)):
                raise
            raise ValueError(
                f"{npz.label_of(path)} is a fastnn file, but its content is no valid model ({npz.brief(error)}). "
                "Save the model again."
            ) from error


def write(path: npz.PathOrFile, net: Net) -> None:
    """Write a net into one file, which is replaced atomically.

    Raises
    ------
    TypeError
        If learning rate, an activation or the loss is a function.
    """
    check_serializable(net)
    npz.write(path, *state_of(net))


def _fields(optimizer: optimizers.Optimizer) -> dict[str, Any]:
    given = {name: getattr(optimizer, name) for name in (field.name for field in dataclasses.fields(optimizer))}
    if "learning_rate" in given:
        given["learning_rate"] = schedules.to_state(given["learning_rate"])
    return given


def _feature_names(given: Any, n_features: int) -> tuple[str, ...] | None:
    """Return the names of the columns; files of earlier versions have none."""
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != n_features or not all(isinstance(name, str) for name in given):
        raise ValueError(must_be("feature_names", f"a list of {n_features} names", given))
    return tuple(given)


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(must_be(name, "an integer of at least 0", value))
    return value
