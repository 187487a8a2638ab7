"""Persistence: all that makes a model, as a header for JSON and arrays, and a model made of them again.

`storage` knows how these get into a file, and nothing of models.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from fastnn import activations, losses, optimizers, regularizers, schedules
from fastnn._compatibility import as_metrics, as_n_threads
from fastnn._persistence import npz
from fastnn._validation import finite_number, positive_integer
from fastnn.custom import CustomActivation, CustomLoss
from fastnn.history import History
from fastnn.layers import Dense

if TYPE_CHECKING:
    from fastnn.model import Model

Array: TypeAlias = npt.NDArray[Any]


def state_of(model: Model) -> tuple[dict[str, Any], dict[str, Array]]:
    """All that makes the model, as JSON and arrays; free of this machine's padding."""
    with model._kernel_lock:
        return _state_now(model)


def _state_now(model: Model) -> tuple[dict[str, Any], dict[str, Array]]:
    header: dict[str, Any] = {
        "layers": [
            {
                "units": layer.units,
                "activation": _told(layer.activation, layer.activation.name, layer.activation.alpha),
                "kernel_initializer": layer.kernel_initializer,
                "use_bias": layer.use_bias,
                "trainable": trainable,
                "max_norm": layer.max_norm,
                "dropout": layer.dropout,
            }
            for layer, trainable in zip(model.layers, model.trainable, strict=True)
        ],
        "loss": model.loss if isinstance(model.loss, CustomLoss) else dataclasses.asdict(model.loss),
        "optimizer": [type(model.optimizer).__name__, _fields(model.optimizer)],
        "regularizer": [model.regularizer.l1, model.regularizer.l2],
        "metrics": [metric.name for metric in model.metrics if metric.function is None],  # functions are no data
        "seed": model.seed,
        "dtype": model.dtype.name,
        "n_features": model.n_features,
        "epochs_done": model._epochs_done,
        "steps_done": 0,
        "history": model.history.to_dict(),
    }
    arrays: dict[str, Array] = {}
    if model._engine is not None:
        header["steps_done"] = model._engine.steps_done
        header |= dict(zip(_scalar_names(model), model._engine.scalars, strict=False))
        for name, weights, biases in model._engine.named_views():
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                arrays[f"{name}.{k}.weights"] = w.copy()
                arrays[f"{name}.{k}.biases"] = b.copy()
    return header, arrays


def from_state(
    kind: type[Model], header: Mapping[str, Any], arrays: Mapping[str, Array], *, n_threads: int | None
) -> Model:
    """Make the model that `state_of` described."""
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
    model = kind(
        layers,
        loss=header["loss"] if isinstance(header["loss"], CustomLoss) else losses.Loss(**header["loss"]),
        optimizer=optimizers.CLASSES[optimizer](**settings),
        regularizer=regularizers.L1L2(l1, l2),
        metrics=header["metrics"],
        seed=header["seed"],
        dtype=header["dtype"],
        n_threads=n_threads,
    )
    model._epochs_done = _count(header["epochs_done"], "epochs_done")
    model.history = History.from_dict(header["history"])
    if model.history.epoch and model.history.epoch[-1] >= model._epochs_done:
        raise ValueError(f"history has more epochs than the {model._epochs_done} that were done")
    if header["n_features"] is not None:
        _check_shapes(model, positive_integer(header["n_features"], "n_features"), arrays)
        engine = model._new_engine(model.layers, header["n_features"])
        engine.steps_done = _count(header["steps_done"], "steps_done")
        if engine.steps_done:
            engine.scalars = tuple(finite_number(name, header[name]) for name in _scalar_names(model))
        for name, weights, biases in engine.named_views():
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                w[...] = arrays[f"{name}.{k}.weights"]
                b[...] = arrays[f"{name}.{k}.biases"]
        model._engine = engine
    return model


def _told(activation: activations.Activation, *told: Any) -> Any:
    """A list for JSON; functions of the user's, which copies and pickles can keep, as they are."""
    return activation if isinstance(activation, CustomActivation) else list(told)


def _activation(told: Any) -> activations.Activation:
    if isinstance(told, CustomActivation):
        return told
    name, alpha = told
    return activations.Activation(name, alpha)


def check_serializable(model: Model) -> None:
    """Insist that nothing of the model is a function.

    Raises
    ------
    TypeError
        If something is.
    """
    rate = getattr(model.optimizer, "learning_rate", 0.0)  # a solver has none
    if callable(schedules.to_state(rate)):
        raise TypeError(
            f"learning_rate={rate!r} of the optimizer cannot be written into a file: "
            "before saving, give the model an optimizer with a number or a schedule of fastnn.schedules, and the "
            "function again after loading (model.optimizer = ...). pickle and copy can keep it."
        )
    custom = [layer.activation for layer in model.layers if isinstance(layer.activation, CustomActivation)]
    if custom or isinstance(model.loss, CustomLoss):
        what = f"activation {custom[0].name!r}" if custom else f"loss {model.loss.name!r}"
        raise TypeError(
            f"{what} is a function of your own, which cannot be written into a file: keep model.weights and "
            "model.biases instead, and write them into a new Model. pickle and copy can keep the model."
        )


def _scalar_names(model: Model) -> tuple[str, ...]:
    """Names of the numbers that the optimizer keeps between steps."""
    optimizer = model.optimizer
    return () if isinstance(optimizer, optimizers.Solver) else tuple(name for name, _ in optimizer.rule.scalars)


def _check_shapes(model: Model, n_features: int, arrays: Mapping[str, Array]) -> None:
    """Look at all shapes before the engine is made: what the header says may be too large for any memory."""
    n_in = n_features
    for k, layer in enumerate(model.layers):
        n_slots = model.optimizer.n_slots + optimizers.averages(model.optimizer)
        for name in ("params", *(f"slot_{i}" for i in range(n_slots))):
            for part, shape in (("weights", (n_in, layer.units)), ("biases", (layer.units,))):
                kept = arrays[f"{name}.{k}.{part}"]
                if kept.shape != shape or kept.dtype != model.dtype:
                    raise ValueError(f"array {name}.{k}.{part} is {kept.dtype} {kept.shape}, not {shape}")
        n_in = layer.units


def load(path: npz.PathOrFile, *, metrics: Any = None, n_threads: int | None = None) -> Model:
    """Read a model that `Model.save` wrote.

    Parameters
    ----------
    path : path or binary file
    metrics : as for `Model`, or None
        Metrics that are functions are not in the file: give all metrics again to go on with them. None is those of
        the file.
    n_threads : int or None
        As for `Model`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut off, of another kind, or from a later version.
    """
    from fastnn.model import Model  # which imports this module

    header, arrays = npz.read(path)
    n_threads = as_n_threads(n_threads)
    try:
        model = from_state(Model, header, arrays, n_threads=n_threads)
    except (LookupError, TypeError, ValueError, AttributeError, MemoryError) as error:
        label = os.fspath(path) if isinstance(path, str | os.PathLike) else "the file"
        raise ValueError(
            f"{label!r} is a fastnn file, but what it describes is no model ({type(error).__name__}: {error}); it is "
            "damaged or was made by other software. Save the model again."
        ) from error
    if metrics is not None:
        model.__dict__["metrics"] = as_metrics(metrics, model.loss)
    return model


def _fields(optimizer: optimizers.Optimizer) -> dict[str, Any]:
    given = {name: getattr(optimizer, name) for name in optimizer.__dataclass_fields__}
    if "learning_rate" in given:
        given["learning_rate"] = schedules.to_state(given["learning_rate"])
    return given


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}, but must be an integer of at least 0")
    return value
