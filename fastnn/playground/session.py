"""A session of the playground: settings, data, net and pictures of one page, in answer to its messages.

Nothing here knows how messages travel: the server sends them over a WebSocket, the widget over the comm of a
notebook, and tests append them to a list.

**Messages.** A message is a JSON object with a `type`, and a number of binary buffers. Over the WebSocket the JSON is
one text message with the number of buffers as `buffers` (0 where it is missing), and each buffer one binary message
after it. Numbers that are not finite are null. Whatever is wrong with a message is answered by an `error`, and
nothing has changed then.

Places in the net: `layer` counts the layers as `Model.weights` does, from 0 for the first hidden layer; with H hidden
layers, layer H is the output. Layer -1 is the inputs, whose `unit` counts `features`, whether switched on or not. The
row `from` of a weight of layer 0 counts only those that are on.

From the page:

- ``{"type": "hello", "state": {...}}`` begins anew with these settings, whose values may be texts, as in the hash of
  an address ("true", "0.03", "4,2"). Unknown keys are ignored, invalid values replaced by defaults with a `notice`.
  Answer: `state`, `frame`.
- ``{"type": "set", "changes": {...}}`` changes settings. Answer: `state`, and `frame` unless the session plays.
- ``{"type": "play"}`` and ``{"type": "pause"}``. Answer: `state`.
- ``{"type": "next"}`` asks for a frame; the session trains `epochsPerFrame` epochs before it if it plays (fewer if
  these take longer than 0.03 s). Answer: exactly one `frame`. A page that plays has two such
  messages on their way, or frames that it has not drawn yet: the session trains while the page draws.
- ``{"type": "step"}`` pauses and trains one epoch. Answer: `state`, `frame`.
- ``{"type": "reset"}`` pauses and draws other start weights. Answer: `state`, `frame`.
- ``{"type": "regenerate"}`` makes new data, by a new seed; the weights stay. Answer: `state`, `frame` unless it
  plays.
- ``{"type": "select", "layer": 0, "unit": 1}`` chooses the node of the large map; layer null (or none) is the output.
  Answer: `frame` unless it plays.
- ``{"type": "weight", "layer": 0, "from": 1, "to": 2, "value": 0.5}`` and ``{"type": "bias", "layer": 0, "to": 2,
  "value": 0.5}`` write into the net. Answer: `frame` unless it plays.
- ``{"type": "points", "op": "add", "x": 1, "y": 2, "label": 1}``, ``{"op": "remove", "x": 1, "y": 2}`` (the nearest),
  ``{"op": "clear"}``. The data set is "own" from then on; the weights stay. Labels are -1 and 1, with more classes 0,
  1, ..., for a regression a number from -1 to 1. Answer: `state`, and `frame` unless it plays.
- ``{"type": "csv", "text": "..."}`` replaces the data: two inputs and a label per line. Answer: `state`, `frame`.
- ``{"type": "net", "text": "[(4, 'tanh'), (2, 'relu')]"}`` sets the hidden layers: widths with their activations, or
  widths. It is read as a literal, never run. Answer: `state`, `frame`.
- ``{"type": "lr_find"}``, ``{"type": "rates"}``, ``{"type": "grid", "layer": 0, "units": [0, 1]}``, ``{"type":
  "export", "format": "python"}`` (or "npz", "onnx", "c", "csv"). Answer: the message of the same name, `file` for an
  export.

From the session:

- `state`: `settings` (all of them by key), `choices` (lists by key), `limits` ([low, high, step] by key, also of
  "layers" and "units"), `features` ([{key, label, on}]), `sets` (data sets of the problem), `domain` ([-6, 6], both
  axes), `points` ([{x, y, label, test}]), `nClasses` (0 for a regression), `classNames` (null, or those of own data),
  `nOutputs`, `net` (the hidden layers as text), `playing`.
- `frame`: `epoch`, `playing`, `trainLoss`, `testLoss` (without penalty), `metrics` ({accuracy: {train, test},
  confusion}, of which confusion counts the test points, or all without any, a row per true class; or {r2: {train,
  test}, rmse: {train, test}}), `weights` ([layer][from][to]), `biases` ([layer][to]), `selected` ({layer, unit},
  layer null for the output), `learningRate` (at this epoch), `epochsPerSecond` and `stepTime` (us; null before the
  first), `stopped` (null, or why training ended by itself), `diverged` (null, or {epoch, rate, message}). Buffers:

  - 0: the large map, 100x100 bytes, rows from the top. 0 is -1, 127.5 is 0, 255 is 1. With `mapClasses` (an output of
    more than two classes) the probability of the most probable class, 0 to 255.
  - 1: 10x10 bytes per unit, layer after layer, outputs last (those of classes as 2 p - 1).
  - 2, only with `mapClasses`: the most probable class, 100x100 bytes.
- `lr_find`: `rates` and `losses` of a range test (smoothed), `constant` ([[rate, loss]] of short trainings),
  `suggestion` (null where no training lowers the loss).
- `rates`: `runs`, three of {label, rate, epoch, loss, losses (per epoch, from the start), diverged, maps}; `maps` are
  the indices of the buffers: values, or probabilities and classes, as in a frame.
- `grid`: `layer`, `units`, `size`. Buffers of float32, pairs (across, up): 0: the size x size points of the input
  grid, in rows from the top; 1: the data, in the order of `points`. Of a layer with one unit, up is 0.
- `file`: `name`, `mime`; buffer 0 is the content.
- `notice`: `message`, null where an earlier one no longer holds.
- `error`: `message`, `request` (the type of what failed, null if it had none).

**A recording** is ``{"state": state, "frames": [{"message": frame, "buffers": [base64, ...]}, ...]}``: a `state` and
what followed `play`, of which the first frame is the start.
"""

from __future__ import annotations

import ast
import math
import random
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastnn._errors import DivergenceError
from fastnn._validation import finite_number, must_be, shown
from fastnn.kernels.lang.cache import compile_listeners
from fastnn.playground import points as data
from fastnn.playground import settings as table
from fastnn.playground.export import exported
from fastnn.playground.pictures import GRID, Pictures
from fastnn.playground.points import DOMAIN, FEATURES, GENERATORS, OWN, REGRESSION_GENERATORS, Points
from fastnn.playground.rates import find_rate, three_rates
from fastnn.playground.training import Trainer, hidden_layers

Send = Callable[[dict[str, Any], Sequence[bytes]], None]

#: Seconds of training after which a frame is due.
LONGEST_FRAME = 0.03
#: Seconds over which epochs are counted.
WINDOW = 1.0
#: Largest absolute value of a weight that is set by hand.
LARGEST_WEIGHT = 1e6

#: One message is answered at a time in a process: filters of warnings and listeners of the compiler are global.
_turn = threading.Lock()


class Session:
    """State of one page.

    Parameters
    ----------
    send : callable
        Called with each message and its buffers, from the thread that calls `handle`, or from the one that compiles.
    text : str or None
        CSV to begin with.

    Raises
    ------
    ValueError
        If `text` is no such data.
    """

    def __init__(self, send: Send, text: str | None = None) -> None:
        self._send = send
        self.answers: dict[str, Callable[[dict[str, Any]], None]] = {
            "hello": self._hello, "set": self._set, "play": self._play, "pause": self._pause, "next": self._next,
            "step": self._step, "reset": self._reset, "regenerate": self._regenerate, "select": self._select,
            "weight": self._weight, "bias": self._bias, "points": self._points, "csv": self._csv, "net": self._net,
            "lr_find": self._lr_find, "rates": self._rates, "grid": self._grid, "export": self._export,
        }  # fmt: skip
        self.settings = table.defaults() | {"seed": new_seed()}
        self.own: Points | None = None
        if text is not None:
            self.own, _ = data.read(text, share=self.settings["percTrainData"], seed=self.settings["seed"])
            self.settings |= _of_own(self.own)
        self._attempt = 0
        self._warm = ""
        self.playing = False
        self.selected: tuple[int | None, int] = (None, 0)
        self._start()

    def _start(self, settings: Mapping[str, Any] | None = None, points: Points | None = None) -> None:
        """Begin anew, with other settings and points or the present ones; nothing has changed if that fails."""
        new = dict(self.settings if settings is None else settings)
        new_points = self._points_of(new) if points is None else points
        trainer = Trainer(new, new_points, self._attempt)
        self.settings, self.points, self.trainer = new, new_points, trainer
        self.pictures = Pictures(trainer)
        self.playing = False
        layer, unit = self.selected
        layers = trainer.model.layers
        if layer is not None and layer >= 0 and (layer >= len(layers) or unit >= layers[layer].units):
            self.selected = (None, 0)
        self._forget()

    def _forget(self) -> None:
        """Forget why training ended, and the times of earlier frames."""
        self._stopped: str | None = None
        self._diverged: dict[str, Any] | None = None
        self._best = (math.inf, self.trainer.epoch)
        self._times: deque[tuple[float, int]] = deque()

    def _has_own(self, settings: Mapping[str, Any]) -> bool:
        """Return whether there are own points for the problem."""
        return self.own is not None and (self.own.n_classes == 0) == (settings["problem"] == "regression")

    def _points_of(self, settings: Mapping[str, Any]) -> Points:
        key = "regDataset" if settings["problem"] == "regression" else "dataset"
        if settings[key] != OWN:
            return data.make(settings)
        if self.own is None or not self._has_own(settings):
            raise ValueError(must_be(key, "a data set that is there", OWN, "Paint points or open a file first."))
        return self.own.split(settings["percTrainData"])

    # ------------------------------------------------------------------------------------------- messages

    def handle(self, message: Any) -> None:
        """Answer a message; see the head of this module.

        Parameters
        ----------
        message : object
            What a page sent, read from JSON. Whatever it is, no error is raised for it.
        """
        name = message.get("type") if isinstance(message, dict) else None
        compiling = False

        def compiles(event: str, _: str) -> None:
            nonlocal compiling
            if not compiling:
                compiling = True
                self._send({"type": "notice", "message": COMPILING}, ())

        with _turn, warnings.catch_warnings(), np.errstate(all="ignore"):
            # High rates are chosen on purpose here, and what is not finite is shown.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            compile_listeners.append(compiles)
            try:
                if not isinstance(name, str) or name not in self.answers:
                    raise ValueError(must_be("type", f"one of {', '.join(self.answers)}", name))
                self.answers[name](message)
            except (TypeError, ValueError, ArithmeticError, ImportError, MemoryError, OSError) as error:
                self._error(str(error), name)
            finally:
                compile_listeners.remove(compiles)
        if compiling:
            self._send({"type": "notice", "message": None}, ())

    def _error(self, text: str, request: Any) -> None:
        self._send({"type": "error", "message": text, "request": request if isinstance(request, str) else None}, ())

    def _hello(self, message: dict[str, Any]) -> None:
        settings, errors = table.from_address(message.get("state", {}))
        settings["seed"] = settings["seed"] or new_seed()
        if self.own is not None and not (message.get("state") or {}).get("dataset"):
            settings |= _of_own(self.own)
        key = "regDataset" if settings["problem"] == "regression" else "dataset"
        if settings[key] == OWN and not self._has_own(settings):
            errors.append("The own data of this address are not here: open their file again.")
            settings[key] = table.SETTINGS[key].default
        self._attempt = 0
        try:
            self._start(settings)
        except (TypeError, ValueError) as error:  # they contradict each other
            errors.append(str(error))
            self._start(table.defaults() | {"seed": settings["seed"]})
        self._send_state()
        if errors:
            self._send({"type": "notice", "message": " ".join(errors[:3])}, ())
        self._load_kernels()
        self._send_frame()

    def _load_kernels(self) -> None:
        """Compile or load what play needs, by a training of another net."""
        if self._warm != self.settings["precision"]:
            settings = table.defaults() | {"precision": self.settings["precision"]}
            Trainer(settings, data.make(settings), 0).run(1)
            self._warm = self.settings["precision"]

    def _set(self, message: dict[str, Any]) -> None:
        new = table.changed(self.settings, message.get("changes"))
        keys = [key for key in new if new[key] != self.settings[key]]
        if table.resets(keys):
            self._start(new)
        else:
            self.trainer.change(new)
            self.settings = new
        self._send_all()

    def _play(self, _: dict[str, Any]) -> None:
        self._forget()
        self.playing = True
        self._send_state()

    def _pause(self, _: dict[str, Any]) -> None:
        self.playing = False
        self._send_state()

    def _next(self, _: dict[str, Any]) -> None:
        try:
            if self.playing:
                self._train(self.settings["epochsPerFrame"])
        except (TypeError, ValueError):  # the points or the optimizer do not allow a training
            self.playing = False
            self._send_frame()
            raise
        self._send_frame()

    def _step(self, _: dict[str, Any]) -> None:
        self.playing = False
        self._forget()
        self._train(1)
        self._send_state()
        self._send_frame()

    def _reset(self, _: dict[str, Any]) -> None:
        self._attempt += 1
        self._start(points=self.points)
        self._send_state()
        self._send_frame()

    def _regenerate(self, _: dict[str, Any]) -> None:
        if self._is_own:
            order = np.random.default_rng().permutation(len(self.points.X))
            new = Points(self.points.X[order], self.points.labels[order], self.points.n_train,
                         self.points.n_classes, self.points.names)  # fmt: skip
            self.own = new
        else:
            self.settings = self.settings | {"seed": new_seed()}
            new = data.make(self.settings)
        self._replace_points(new)
        self._send_all()

    @property
    def _is_own(self) -> bool:
        return self.settings["regDataset" if self.settings["problem"] == "regression" else "dataset"] == OWN

    def _replace_points(self, points: Points) -> None:
        """Train on other points of the same kind; the weights stay."""
        self.points = points
        self.trainer.settings = self.settings
        self.trainer.set_points(points)

    def _select(self, message: dict[str, Any]) -> None:
        layer, unit = message.get("layer"), message.get("unit")
        if layer is None:
            self.selected = (None, 0)
        elif layer == -1 and type(layer) is int:
            self.selected = (-1, _index("unit", unit, len(FEATURES)))
        else:
            layer = _index("layer", layer, len(self.trainer.model.layers))
            self.selected = (layer, _index("unit", unit, self.trainer.model.layers[layer].units))
        self._send_frame_if_paused()

    def _weight(self, message: dict[str, Any]) -> None:
        weights = self.trainer.model.weights
        layer = _index("layer", message.get("layer"), len(weights))
        row = _index("from", message.get("from"), weights[layer].shape[0])
        to = _index("to", message.get("to"), weights[layer].shape[1])
        weights[layer][row, to] = _weight_value(message.get("value"))
        self._send_frame_if_paused()

    def _bias(self, message: dict[str, Any]) -> None:
        biases = self.trainer.model.biases
        layer = _index("layer", message.get("layer"), len(biases))
        to = _index("to", message.get("to"), len(biases[layer]))
        biases[layer][to] = _weight_value(message.get("value"))
        self._send_frame_if_paused()

    def _points(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "add":
            new = self.points.added(message.get("x"), message.get("y"), message.get("label"))
        elif op == "remove":
            new = self.points.without_nearest(message.get("x"), message.get("y"))
        elif op == "clear":
            new = self.points.cleared()
        else:
            raise ValueError(must_be("op", "'add', 'remove' or 'clear'", op))
        self.own = new
        self.settings = self.settings | {"regDataset" if new.n_classes == 0 else "dataset": OWN}
        self._replace_points(new)
        self._send_all()

    def _csv(self, message: dict[str, Any]) -> None:
        settings = self.settings
        new, notice = data.read(message.get("text"), share=settings["percTrainData"], seed=settings["seed"])
        self._start(settings | _of_own(new), new)
        self.own = new
        self._send_state()
        self._send({"type": "notice", "message": notice}, ())
        self._send_frame()

    def _net(self, message: dict[str, Any]) -> None:
        units, activations = _read_net(message.get("text"))
        changes = {"networkShape": units, "layerActivations": activations}
        self._start(table.changed(self.settings, changes))
        self._send_state()
        self._send_frame()

    def _lr_find(self, _: dict[str, Any]) -> None:
        self._send({"type": "lr_find", **find_rate(self.settings, self.points, self._attempt)}, ())

    def _rates(self, _: dict[str, Any]) -> None:
        runs, buffers = three_rates(self.settings, self.points, self._attempt)
        self._send({"type": "rates", "runs": runs}, buffers)

    def _grid(self, message: dict[str, Any]) -> None:
        layers = self.trainer.model.layers
        layer = _index("layer", message.get("layer"), len(layers))
        units = message.get("units")
        if not isinstance(units, list) or len(units) != 2:
            raise TypeError(must_be("units", "two numbers of units", units))
        one, other = (_index(f"units[{k}]", unit, layers[layer].units) for k, unit in enumerate(units))
        buffers = self.pictures.grid(layer, (one, other))
        self._send({"type": "grid", "layer": layer, "units": [one, other], "size": GRID}, buffers)

    def _export(self, message: dict[str, Any]) -> None:
        name, mime, content = exported(message.get("format"), self.settings, self.points, self.trainer, self._attempt)
        self._send({"type": "file", "name": name, "mime": mime}, (content,))

    # ------------------------------------------------------------------------------------------- training

    def _train(self, epochs: int) -> None:
        """Train some epochs, fewer where a condition ends the training or they take too long."""
        settings, trainer = self.settings, self.trainer
        if settings["stopEpochs"] and self.playing:
            epochs = min(epochs, settings["stopEpochs"] - trainer.epoch)
            if epochs <= 0:
                self._stop(f"stopped after {trainer.epoch} epochs")
                return
        try:
            stopped = trainer.run(epochs, max_seconds=LONGEST_FRAME)
        except DivergenceError:
            self._diverge()
            return
        if stopped is not None:
            self._stop(stopped)

    def _stop(self, reason: str) -> None:
        self.playing = False
        self._stopped = reason

    def _diverge(self) -> None:
        self.playing = False
        rate = self.trainer.learning_rate()
        with_rate = "" if rate is None else f" with learning rate {rate:g}"
        epoch = self.trainer.epoch + 1
        self._diverged = {
            "epoch": epoch,
            "rate": rate,
            "message": f"Training diverged in epoch {epoch}{with_rate}: the loss or a weight is no longer finite. The "
            "last finite weights are kept. Try a lower rate, or reset.",
        }

    def _check_losses(self, train: float, test: float) -> None:
        """End the training where its losses are a condition to do so."""
        settings, epoch = self.settings, self.trainer.epoch
        if not self.playing:
            return
        if not math.isfinite(train):
            self._diverge()
            return
        watched = test if math.isfinite(test) else train
        if settings["stopEpochs"] and epoch >= settings["stopEpochs"]:
            self._stop(f"stopped after {epoch} epochs")
        elif settings["stopLoss"] and watched <= settings["stopLoss"]:
            self._stop(f"stopped at a loss of {watched:.4g}")
        elif watched < self._best[0]:
            self._best = (watched, epoch)
        elif settings["patience"] and epoch - self._best[1] >= settings["patience"]:
            self._stop(f"stopped early: the loss was lowest, {self._best[0]:.4g}, in epoch {self._best[1]}")

    # -------------------------------------------------------------------------------------------- answers

    def _send_all(self) -> None:
        self._send_state()
        self._send_frame_if_paused()

    def _send_frame_if_paused(self) -> None:
        if not self.playing:
            self._send_frame()

    def _send_state(self) -> None:
        settings, points = self.settings, self.points
        choices, limits = table.described(settings)
        regression = settings["problem"] == "regression"
        sets = [*(REGRESSION_GENERATORS if regression else GENERATORS)]
        if self._has_own(settings):
            sets.append(OWN)
        self._send(
            {
                "type": "state",
                "settings": settings,
                "choices": choices,
                "limits": limits,
                "features": [{"key": key, "label": label, "on": settings[key]} for key, (label, _) in FEATURES.items()],
                "sets": sets,
                "domain": list(DOMAIN),
                "points": points.described(),
                "nClasses": points.n_classes,
                "classNames": None if points.names is None else list(points.names),
                "nOutputs": self.trainer.model.n_outputs,
                "net": _text_of(settings),
                "playing": self.playing,
            },
            (),
        )

    def _send_frame(self) -> None:
        trainer, points = self.trainer, self.points
        model, n = trainer.model, points.n_train
        raw = model.predict(trainer.X) if len(points.X) else np.zeros((0, model.n_outputs or 1))
        train, test = trainer.loss(raw, slice(0, n)), trainer.loss(raw, slice(n, None))
        self._check_losses(train, test)
        self._times.append((time.perf_counter(), trainer.epoch))
        while len(self._times) > 2 and self._times[-1][0] - self._times[1][0] >= WINDOW:
            self._times.popleft()
        (then, before), (now, after) = self._times[0], self._times[-1]
        layer, unit = self.selected
        maps = self.pictures.large(layer, unit)
        self._send(
            {
                "type": "frame",
                "epoch": trainer.epoch,
                "playing": self.playing,
                "trainLoss": number(train),
                "testLoss": number(test),
                "metrics": metrics(trainer, points, raw),
                "weights": [digits(weights) for weights in model.weights],
                "biases": [digits(biases) for biases in model.biases],
                "selected": {"layer": layer, "unit": unit},
                "learningRate": trainer.learning_rate(),
                "epochsPerSecond": number((after - before) / (now - then)) if after > before else None,
                "stepTime": None if trainer.step_time is None else number(1e6 * trainer.step_time),
                "stopped": self._stopped,
                "diverged": self._diverged,
                "mapClasses": len(maps) > 1,
            },
            (maps[0], self.pictures.small(), *maps[1:]),
        )


COMPILING = "Compiling, once: this takes about 20 seconds, and the result is kept."


def new_seed() -> str:
    """Return a new seed, as TensorFlow Playground writes it."""
    return f"{random.random():.5f}"


def number(value: float) -> float | None:
    """Return a number for JSON with six digits; None if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def digits(parameters: Any) -> Any:
    """Return weights or biases for JSON, with five digits after the point."""
    return np.round(parameters.astype(np.float64), 5).tolist()


def _of_own(points: Points) -> dict[str, Any]:
    if points.n_classes == 0:
        return {"problem": "regression", "regDataset": OWN}
    return {"problem": "classification", "dataset": OWN}


def _index(name: str, given: Any, n: int) -> int:
    if type(given) is not int or not 0 <= given < n:
        raise ValueError(must_be(name, f"an integer from 0 to {n - 1}", given))
    return given


def _weight_value(given: Any) -> float:
    value = finite_number("value", given)
    if abs(value) > LARGEST_WEIGHT:
        raise ValueError(must_be("value", f"from {-LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}", given))
    return value


def _text_of(settings: Mapping[str, Any]) -> str:
    """Return the hidden layers as a Python literal."""
    return str([(units, activation) for units, activation, _ in hidden_layers(settings)])


def _read_net(text: Any) -> tuple[list[int], list[str]]:
    """Return widths and activations of hidden layers from a Python literal; nothing of it is run."""
    constraint = "a list of widths, or of widths with activations, such as [(4, 'tanh'), 2]"
    if not isinstance(text, str):
        raise TypeError(must_be("text", constraint, text))
    if len(text) > table.LONGEST:
        raise ValueError(f"text must be at most {table.LONGEST} characters, got {len(text)}.")
    try:
        layers = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(must_be("text", constraint, text)) from None
    if not isinstance(layers, list | tuple):
        raise ValueError(must_be("text", constraint, text))
    units, activations = [], []
    for layer in layers:
        one, name = layer if isinstance(layer, tuple | list) and len(layer) == 2 else (layer, "")
        if type(one) is not int or not isinstance(name, str):
            raise ValueError(must_be("text", constraint, shown(text)))
        units.append(one)
        activations.append(name)
    return units, activations if any(activations) else []


def metrics(trainer: Trainer, points: Points, raw: Any) -> dict[str, Any]:
    """Return accuracy and confusion, or R^2 and RMSE, of training and test points, from outputs of the model."""
    parts = {"train": slice(0, points.n_train), "test": slice(points.n_train, None)}
    if points.n_classes == 0:
        found: dict[str, dict[str, float | None]] = {"r2": {}, "rmse": {}}
        for name, part in parts.items():
            t, e = points.labels[part], raw[part, 0].astype(np.float64) - points.labels[part]
            squares, spread = float(np.square(e).sum()), float(np.square(t - t.mean()).sum()) if len(t) else 0.0
            found["r2"][name] = number(1.0 - squares / spread) if spread else None
            found["rmse"][name] = number(math.sqrt(squares / len(t))) if len(t) else None
        return found
    classes = points.classes()
    predicted = raw.argmax(axis=1) if points.n_classes > 2 else (raw[:, 0] >= 0.0).astype(np.int64)
    right = predicted == classes
    part = parts["test"] if points.n_train < len(classes) else parts["train"]
    counts = np.bincount(classes[part] * points.n_classes + predicted[part], minlength=points.n_classes**2)
    shares = {name: right[part] for name, part in parts.items()}
    return {
        "accuracy": {name: number(float(share.mean())) if len(share) else None for name, share in shares.items()},
        "confusion": counts.reshape(points.n_classes, -1).tolist(),
    }
