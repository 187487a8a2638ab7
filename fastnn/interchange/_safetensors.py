"""safetensors: files of weights with the names of `torch.nn.Sequential`, the architecture in their metadata."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from fastnn import optimizers
from fastnn._persistence import npz
from fastnn._validation import as_path, must_be, reason
from fastnn.activations import Activation
from fastnn.interchange._chain import chain_of
from fastnn.interchange._steps import Steps
from fastnn.interchange._torch import add_state, module_names
from fastnn.kernels.nn.rules import LOSSES
from fastnn.losses import Loss
from fastnn.model import Model

#: Version of the architecture in the metadata.
VERSION = 1


def _library(call: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f'{call} needs safetensors ({error}): pip install "fastnn-mlp[safetensors]"') from error
    return safetensors


def to_safetensors(model: Any, path: Any) -> None:
    """Write the weights of a net into a file of safetensors, with the names that a `torch.nn.Sequential` has for them.

    ``to_torch(model)``, or the same Sequential made elsewhere, reads it by
    ``net.load_state_dict(safetensors.torch.load_file(path))``. Linear layers, activations other than identity and the
    Dropout layers of a Model count as modules: a net of two layers has ``0.weight`` (n_out, n_in), ``0.bias``,
    ``2.weight``, ``2.bias``. The metadata have the activations and the loss for `from_safetensors`; state of the
    optimizer is not in the file, see `Model.save`.

    Parameters
    ----------
    model : Model, estimator of fastnn, or Pipeline of scalers and an estimator
    path : path
        An existing file is replaced, once the new one is complete.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError, ValueError
        If `model` is none of these, has no weights, or has an activation of `fastnn.custom`.
    OSError
        If the file cannot be written.
    """
    library = _library("to_safetensors")
    chain = chain_of(model)
    path = as_path("path", path)
    declared = model.layers if isinstance(model, Model) else None
    rates = [layer.dropout for layer in declared] if declared is not None else [0.0] * len(chain.layers)
    arrays: dict[str, Any] = {}
    for index, (kind, k) in enumerate(module_names([layer.activation for layer in chain.layers], rates)):
        if kind == "dense":
            arrays[f"{index}.weight"] = np.ascontiguousarray(chain.layers[k].weights.T)
            if declared is None or declared[k].use_bias:
                arrays[f"{index}.bias"] = chain.layers[k].biases
    loss = model.loss if isinstance(model, Model) else None
    architecture: dict[str, Any] = {
        "version": VERSION,
        "activations": [[layer.activation, layer.alpha] for layer in chain.layers],
        "dropout": rates,
        "loss": chain.loss,
        "loss_settings": {}
        if loss is None
        else {name: value for name in loss.rule.settings if (value := getattr(loss, name)) is not None},
    }
    if chain.classes is not None:
        architecture["classes"] = chain.classes.tolist()
    if chain.feature_names is not None:
        architecture["feature_names"] = list(chain.feature_names)
    metadata = {"format": "pt", "fastnn": json.dumps(architecture)}
    npz.write_bytes(path, library.numpy.save(arrays, metadata=metadata))


def _architecture(text: str) -> dict[str, Any]:
    """Return what `to_safetensors` wrote into the metadata: activations, dropout rates, loss or None."""
    found = json.loads(text)
    if found["version"] > VERSION:
        raise ValueError("they were written by a later version of fastnn")
    settings: dict[str, Any] = {}
    for name, value in found["loss_settings"].items():
        settings[name] = tuple(value) if isinstance(value, list) else value
    return {
        "activations": [Activation(name, alpha) for name, alpha in found["activations"]],
        "dropout": [float(rate) for rate in found["dropout"]],
        "loss": Loss(found["loss"], **settings) if found["loss"] in LOSSES.names else None,
    }


def _place(key: str) -> list[int]:
    """Return the numbers in the name of an array, by which modules of nested Sequentials are ordered."""
    return [int(number) for number in re.findall(r"[0-9]+", key)]


def _read(path: str) -> tuple[dict[str, Any], str | None]:
    """Return the arrays of a file in the order of their modules, and the text about the architecture."""
    library = _library("from_safetensors")
    try:
        with library.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in sorted(file.keys(), key=_place)}
    except (library.SafetensorError, TypeError) as error:
        constraint = "a whole file of safetensors, of float32 or float64"
        raise ValueError(must_be("path", constraint, path, f"{reason(error)}.")) from error
    for key in state:
        layer = key.rpartition(".")[0]
        if not re.fullmatch(r"([A-Za-z_]+\.)*([0-9]+\.)*[0-9]+", layer) and len(state) > 2:
            raise ValueError(
                f"path {path!r} has the array {key!r}, whose name does not say where its layer stands, as '0.weight' "
                "does: pass the arrays in their order to from_torch, as a dict, with activations=[...]."
            )
    return state, metadata.get("fastnn")


def from_safetensors(
    path: Any,
    *,
    activations: Any = None,
    loss: str | Loss | None = None,
    optimizer: str | optimizers.Optimizer = "adam",
    **settings: Any,
) -> Model:
    """Return the net of a file that `to_safetensors` or, of a chain of Linear layers, PyTorch wrote.

    Parameters
    ----------
    path : path
    activations : str, Activation, or list of these or None
        For a file of another program, which has no activations: as for `from_torch`.
    loss : str, Loss or None
        For further training. None is that of the file, else as for `from_torch`.
    optimizer : str or Optimizer
        For further training.
    **settings
        Further settings of `Model`; see `from_torch`.

    Returns
    -------
    Model
        Built.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is damaged or none of safetensors; if an array is no weight or bias of a Linear layer.
    """
    path = as_path("path", path)
    state, text = _read(path)
    rates: list[float] = []
    if text is not None:
        if activations is not None:
            raise ValueError(must_be("activations", "left out for a file that has its own", activations))
        try:
            found = _architecture(text)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"path {path!r} has metadata of fastnn that cannot be read: {reason(error)}.") from error
        activations, rates = found["activations"], found["dropout"]
        loss = found["loss"] if loss is None else loss
    steps = Steps("path")
    add_state(steps, "path", state, activations, rates)
    return steps.model(loss=loss, optimizer=optimizer, call="from_safetensors", settings=settings)
