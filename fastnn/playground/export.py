"""Files of the playground's net: Python code, a saved model, ONNX, a header of C; and its data."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastnn._validation import must_be
from fastnn.playground.points import FEATURES, OF_CLASSES, OWN, Points, seed_of
from fastnn.playground.training import Trainer

#: Coordinates of the code's inputs.
_COLUMNS = {
    "x": "X[:, 0]", "y": "X[:, 1]", "xSquared": "X[:, 0] ** 2", "ySquared": "X[:, 1] ** 2",
    "xTimesY": "X[:, 0] * X[:, 1]", "sinX": "np.sin(X[:, 0])", "sinY": "np.sin(X[:, 1])",
    "cosX": "np.cos(X[:, 0])", "cosY": "np.cos(X[:, 1])",
}  # fmt: skip
_MAKERS = {"reg-plane": "plane", "reg-gauss": "bumps"}


def exported(
    format: Any, settings: Mapping[str, Any], points: Points, trainer: Trainer, attempt: int
) -> tuple[str, str, bytes]:
    """Return name, type and content of a file.

    Parameters
    ----------
    format : str
        "python", "npz", "onnx", "c" or "csv".
    settings : mapping of str to object
    points : Points
    trainer : Trainer
    attempt : int
        Number of the start weights.

    Raises
    ------
    ValueError
        If there is no such format.
    ImportError
        If a library for it is not installed.
    """
    model = trainer.model
    if format == "python":
        return "playground.py", "text/x-python", code(settings, points, trainer, attempt).encode()
    if format == "npz":
        file = io.BytesIO()
        model.save(file)
        return "playground.npz", "application/octet-stream", file.getvalue()
    if format == "csv":
        return "playground.csv", "text/csv", points.text().encode()
    if format == "onnx":
        from fastnn.interchange import to_onnx

        content: bytes = to_onnx(model, dtype=settings["precision"]).SerializeToString()
        return "playground.onnx", "application/octet-stream", content
    if format == "c":
        from fastnn.interchange import export_c

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "playground.h"
            export_c(model, path)
            return "playground.h", "text/x-c", path.read_bytes()
    raise ValueError(must_be("format", "python, npz, onnx, c or csv", format))


def code(settings: Mapping[str, Any], points: Points, trainer: Trainer, attempt: int) -> str:
    """Return a program that trains the same net: data, inputs, start weights, rates and epochs."""
    model = trainer.model
    names = {"Dense", type(model.optimizer).__name__}
    names |= {"Dropout" for layer in model.layers if layer.dropout}
    layers = []
    for layer in model.layers:
        if layer.dropout:
            layers.append(f"Dropout({layer.dropout})")
        layers.append(f"Dense({layer.units}, {layer.activation.name!r})")
    columns = [_COLUMNS[key] for key in FEATURES if settings[key]]
    regularizer = model.regularizer
    batch = None if trainer.full_batch else trainer.batch
    lines = [
        '"""A net of the playground, trained by fastnn."""',
        "",
        "import numpy as np",
        "",
        "import fastnn",
        f"from fastnn import {', '.join(sorted(names))}",
        "",
        *_data(settings, points),
        f"inputs = np.column_stack([{', '.join(columns)}])",
        "",
        "model = fastnn.Model(",
        f"    [{', '.join(layers)}],",
        f"    loss={model.loss.name!r},",
        f"    optimizer={_optimizer(model)},",
        *([f"    regularizer=fastnn.{regularizer!r},"] if regularizer.l1 or regularizer.l2 else []),
        f"    dtype={model.dtype.name!r},",
        f"    seed={model.seed},",
        f").build({len(columns)})",
        "",
        "# start weights as in the playground",
        f"rng = np.random.default_rng([{model.seed}, {attempt}])",
        "for weights, biases in zip(model.weights, model.biases, strict=True):",
        *(
            ["    weights[...] = biases[...] = 0.0"]
            if settings["initZero"]
            else ["    weights[...] = rng.uniform(-0.5, 0.5, weights.shape)", "    biases[...] = 0.1"]
        ),
        "",
        "model.fit(",
        "    inputs[:n_train], targets[:n_train],",
        f"    epochs={max(1, trainer.epoch)}, batch_size={batch}, shuffle=False,",
        ")",
        'print("loss of the test points:", model.evaluate(inputs[n_train:], targets[n_train:])["loss"])',
    ]
    return "\n".join(lines) + "\n"


def _optimizer(model: Any) -> str:
    text = repr(model.optimizer)
    rate = getattr(model.optimizer, "learning_rate", None)
    return text if isinstance(rate, float) or rate is None else text.replace(repr(rate), f"fastnn.schedules.{rate!r}")


def _data(settings: Mapping[str, Any], points: Points) -> list[str]:
    """Return the lines that make X, targets and n_train."""
    regression = points.n_classes == 0
    name = settings["regDataset" if regression else "dataset"]
    if name == OWN:
        lines = [f"X = np.array({points.X.round(4).tolist()})", f"y = np.array({points.labels.round(4).tolist()})"]
        made = "y"
        target = {0: "y", 2: "y"}.get(points.n_classes, "y.astype(int)")
    else:
        more = f", n_classes={points.n_classes}" if name in OF_CLASSES else ""
        lines = [f"X, y = fastnn.datasets.make_{_MAKERS.get(name, name)}({len(points.X)}{more}, "
                 f"noise={settings['noise'] / 100.0}, seed={seed_of(settings['seed'])})"]  # fmt: skip
        made = "2.0 * y - 1.0"
        target = {0: "y", 2: made}.get(points.n_classes, "y")
    if points.n_classes == 2 and settings["loss"] == "crossentropy":
        target = "(y > 0).astype(float)" if name == OWN else "y.astype(float)"
    return [*lines, f"targets = {target}", f"n_train = {points.n_train}"]
