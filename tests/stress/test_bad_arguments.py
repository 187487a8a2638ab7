"""Generated bad arguments: each public call works, or fails with an error that names the argument, and changes nothing.

A case replaces one or two arguments of a valid call by those of `hostile_values`. A failed call must raise a documented
kind of error, in which an argument is named, of at most 1,000 characters; it must leave the model or estimator, and the
caller's arrays, as they were. A call that succeeds must leave a model that can predict and be copied.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import functools
import inspect
import io
import numbers
import re
import unittest.mock
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numba
import numpy as np
import pytest
from amount import amount, seed
from hostile_values import CallerError, hostile
from models import bits

import fastnn
from fastnn import Dense, Model, losses, metrics, optimizers, schedules

N, D = 30, 3
_RNG = np.random.default_rng(0)
X = _RNG.standard_normal((N, D)).astype(np.float32)
LABELS = np.arange(N) % 3
TARGETS = _RNG.standard_normal((N, 2)).astype(np.float32)
WEIGHTS = np.linspace(0.5, 1.5, N)
#: A valid number of epochs.
EPOCHS = 2
#: A hang ends the process with a traceback after this number of seconds.
LONGEST = 300.0


@numba.njit
def ONE(*_: float) -> float:  # noqa: N802  # a function that is constant
    return 1.0


@numba.njit
def ZERO(*_: float) -> float:  # noqa: N802
    return 0.0


# ------------------------------------------------------------------------------------------------------ public calls


@dataclass(frozen=True)
class Call:
    """A public call.

    Parameters
    ----------
    name : str
    run : callable
        run(subject, **arguments)
    valid : dict
        Arguments with which it succeeds.
    subject : callable or None
        Makes what the call may change.
    state : callable
        Of a subject: all that a failed call must leave alone.
    check : callable or None
        Of a subject after a call that succeeded.
    also : dict of str to tuple of str
        What an error may name in the place of an argument.
    paths : tuple of str
        Arguments that are paths, whose errors of the operating system are those of Python.
    fixed : tuple of str
        Arguments that are not replaced.
    prepare : callable or None
        prepare(subject, **arguments), before the call.
    """

    name: str
    run: Callable[..., Any]
    valid: dict[str, Any]
    subject: Callable[[], Any] | None = None
    state: Callable[[Any], Any] = lambda subject: None
    check: Callable[[Any], None] | None = None
    also: dict[str, tuple[str, ...]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    prepare: Callable[..., None] | None = None


def constructor(
    made: Callable[..., Any], settings: dict[str, Any] | None = None, /, also: Any = None, **valid: Any
) -> Call:
    """Return a call that makes an object, which must have a repr."""

    def run(_: Any, **arguments: Any) -> None:
        repr(made(**arguments))

    return Call(made.__qualname__, run, {**(settings or {}), **valid}, also=also or {})


def positional(function: Callable[..., Any], name: str, *names: str, values: tuple[Any, ...], also: Any = None) -> Call:
    """Return a call of arguments by position."""
    return Call(
        name, lambda _, **given: function(*given.values()), dict(zip(names, values, strict=True)), also=also or {}
    )


def _defaults(kind: type, **given: Any) -> dict[str, Any]:
    return {f.name: getattr(kind(**given), f.name) for f in fields(kind) if f.init}


def declarations() -> list[Call]:
    """Return the calls that make what a user states."""
    calls = [
        constructor(Dense, units=4, activation="relu", kernel_initializer="auto", use_bias=True, trainable=True,
                    max_norm=None, dropout=0.0),
        constructor(fastnn.Dropout, rate=0.5),
        constructor(fastnn.elu, alpha=1.0), constructor(fastnn.leaky_relu, alpha=0.1),
        constructor(fastnn.activations.Activation, name="elu", alpha=1.0, also={"name": ("activation",)}),
        positional(fastnn.activations.get, "activations.get", "activation", values=("relu",)),
        positional(fastnn.initializers.get, "initializers.get", "kernel_initializer", values=("zeros",)),
        constructor(losses.Loss, name="huber", delta=1.0, quantiles=(), label_smoothing=0.0, also={"name": ("loss",)}),
        constructor(losses.huber, delta=1.0),
        positional(losses.quantile, "losses.quantile", "quantiles", values=(0.5,)),
        constructor(losses.softmax_crossentropy, label_smoothing=0.1),
        constructor(losses.binary_crossentropy, label_smoothing=0.1),
        positional(losses.get, "losses.get", "loss", values=("squared_error",)),
        constructor(fastnn.L1, l1=0.1), constructor(fastnn.L2, l2=0.1), constructor(fastnn.L1L2, l1=0.1, l2=0.1),
        positional(fastnn.regularizers.get, "regularizers.get", "regularizer", values=("l2",)),
        constructor(metrics.Metric, name="score", function=lambda t, u: 0.5, also={"function": ("metric",)}),
        positional(metrics.get, "metrics.get", "metric", values=("r2",)),
        positional(optimizers.get, "optimizers.get", "optimizer", values=("adam",)),
        constructor(schedules.Constant, learning_rate=0.1),
        constructor(schedules.Step, learning_rate=0.1, step_size=2.0, milestones=None, gamma=0.5),
        constructor(schedules.Step, learning_rate=0.1, step_size=None, milestones=[1, 2], gamma=0.5),
        constructor(schedules.PiecewiseConstant, learning_rate=0.1, boundaries=[1, 2], values=[0.1, 0.2]),
        constructor(schedules.Exponential, learning_rate=0.1, gamma=0.5, staircase=False),
        constructor(schedules.InverseScaling, learning_rate=0.1, power=0.5, decay_rate=1.0, staircase=False),
        constructor(schedules.Cosine, learning_rate=0.1, epochs=5, min_lr=0.0, warmup=1, start_factor=0.1,
            restarts=True,
                    t_mult=1.5),
        constructor(schedules.OneCycle, learning_rate=0.1, epochs=5, pct_start=0.3, div_factor=25.0,
            final_div_factor=1e4),
        constructor(fastnn.EarlyStopping, monitor="val_loss", min_delta=0.0, patience=1, mode="auto", baseline=None,
                    restore_best_weights=True, start_from_epoch=0),
        constructor(fastnn.ModelCheckpoint, filepath="x{epoch}.npz", monitor="loss", save_best_only=True, mode="auto",
                    save_freq=1),
        constructor(fastnn.ReduceLROnPlateau, monitor="loss", factor=0.5, patience=1, mode="min", min_delta=0.0,
                    cooldown=0, min_lr=0.0),
        constructor(fastnn.LearningRateScheduler, schedule=lambda epoch, lr: lr),
        constructor(fastnn.CSVLogger, filename="x.csv", separator=",", append=False),
        constructor(fastnn.LambdaCallback, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None,
            on_train_end=None),
        constructor(fastnn.Augmentation, mixup=0.2, function=None, noise=0.1),
        constructor(fastnn.datasets.load_digits, dtype="float32", scale=True),
        constructor(fastnn.custom.activation, function=ONE, derivative=ZERO, name="x"),
        constructor(fastnn.custom.loss, value=ONE, gradient=ZERO, name="x"),
    ]  # fmt: skip
    for kind in optimizers.CLASSES.values():
        calls += [constructor(kind, _defaults(kind))] * 2
    times = [
        schedules.Cosine(0.1, epochs=5, restarts=True, t_mult=2.0), schedules.Step(0.1, step_size=2),
        schedules.OneCycle(0.1, epochs=5), schedules.PiecewiseConstant(0.1, boundaries=[1], values=[0.2]),
        schedules.InverseScaling(0.1), schedules.Exponential(0.1, gamma=0.5), schedules.Constant(0.1),
    ]  # fmt: skip
    calls += [
        Call(f"{type(one).__name__}.__call__", lambda _, epoch, one=one: one(epoch), {"epoch": np.arange(3.0)})
        for one in times
    ]
    return calls


class Stop(fastnn.Callback):
    """End the training after two epochs, for numbers of epochs without end."""

    def on_train_begin(self, logs: Any) -> None:
        self.left = 2

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.left -= 1
        if not self.left:
            self.model.stop_training = True


def _trained(model: Model, y: Any) -> Model:
    model.fit(X, y, epochs=1, verbose=False)
    return model


@functools.cache
def templates() -> dict[str, Any]:
    """Return trained models and estimators, of which each case takes a copy."""
    made = {
        "classifier": _trained(Model([4, 3], loss="softmax_crossentropy", seed=0, n_threads=1), LABELS),
        "binary": _trained(
            Model([4, 2], loss="binary_crossentropy", seed=0, n_threads=1, dtype="float64"), TARGETS > 0
        ),
        "regressor": _trained(
            Model([4, 2], loss="squared_error", metrics=["mse", "r2"], regularizer="l2", seed=0, n_threads=1), TARGETS
        ),
        "averaging": _trained(
            Model([4, 4], loss="gaussian_nll", optimizer=fastnn.SGD(0.01, ema_momentum=0.9), seed=0, n_threads=1),
            TARGETS,
        ),
        "lbfgs": _trained(
            Model([3, 2], loss="huber", optimizer="lbfgs", seed=0, n_threads=1, dtype="float64"), TARGETS
        ),
        "lm": _trained(Model([3, 2], loss="squared_error", optimizer="lm", seed=0, n_threads=1), TARGETS),
        "smooth": _trained(Model([Dense(4, "tanh"), 2], loss="squared_error", seed=0, n_threads=1), TARGETS),
        "unbuilt": Model([4, 3], loss="softmax_crossentropy", seed=0, n_threads=1),
        "empty": Model([], loss="squared_error", seed=0, n_threads=1),
    }
    settings = {"hidden_layer_sizes": (4,), "max_iter": 2, "tol": 0.0, "random_state": 0, "n_threads": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made["MLPClassifier"] = fastnn.MLPClassifier(**settings).fit(X, LABELS)
        made["MLPRegressor"] = fastnn.MLPRegressor(**settings).fit(X, TARGETS)
        made["stopping"] = fastnn.MLPClassifier(**settings, early_stopping=True).fit(X, LABELS % 2)
        made["unfitted"] = fastnn.MLPRegressor(**settings)
    return made


TARGETS_OF = {
    "classifier": LABELS, "binary": (TARGETS > 0).astype(np.float32), "regressor": TARGETS, "averaging": TARGETS,
    "lbfgs": TARGETS, "lm": TARGETS, "smooth": TARGETS, "unbuilt": LABELS, "empty": TARGETS, "MLPClassifier": LABELS,
    "MLPRegressor": TARGETS,
    "stopping": LABELS % 2, "unfitted": TARGETS,
}  # fmt: skip
FULL_BATCH = ("lbfgs", "lm")


def model_state(model: Model) -> Any:
    """Return all of a model that a failed call must leave alone."""
    return (bits(model), model.stop_training, repr(model.optimizer), repr(model.regularizer), list(model.trainable),
            model.built, model.layers, model.metrics, repr(model.history.to_dict()))  # fmt: skip


def check_model(model: Model) -> None:
    """Check that a model can still predict and be copied."""
    if model.built:
        assert len(model.predict(np.resize(X, (N, model.n_features)))) == N
    copy.copy(model)
    repr(model)
    model.history.to_dict()


def model_calls() -> list[Call]:
    """Return the calls of the methods and setters of models, and those that make models."""
    calls = []
    names = ("layers", "loss", "optimizer", "regularizer", "metrics", "seed", "dtype", "n_threads")
    valid = dict(zip(names, ([4, 2], "squared_error", "adam", None, None, 0, "float32", 1), strict=True))

    def make(_: Any, layers: Any, n_features: Any = None, **settings: Any) -> None:
        model = Model(layers, **settings)
        repr(model)
        if model.layers and max(layer.units for layer in model.layers) > 10**4:
            return  # valid, but larger than a test should be
        model.build(3, 2 if not model.layers else None)
        model.fit(X, TARGETS[:, : model.n_outputs // model.loss.outputs_per_target], verbose=False)

    calls += [Call("Model", make, valid, also={"metrics": ("metric",)})] * 6
    for kind in TARGETS_OF:
        if kind.startswith("MLP") or kind in ("stopping", "unfitted"):
            continue
        y = TARGETS_OF[kind]
        subject = functools.partial(lambda kind: copy.copy(templates()[kind]), kind)
        whole = functools.partial(Call, subject=subject, state=model_state, check=check_model)
        classes = kind in ("classifier", "unbuilt")

        def fit(model: Model, **arguments: Any) -> None:
            if arguments["epochs"] is not EPOCHS:  # which may be valid, and without end
                arguments["max_seconds"] = 0.05
            model.fit(**arguments)

        arguments = {
            "X": X, "y": y, "epochs": EPOCHS, "batch_size": "auto", "validation_data": (X, y), "validation_split": 0.0,
            "sample_weight": WEIGHTS, "class_weight": {0: 1.0, 1: 2.0} if classes else None, "shuffle": True,
            "augmentation": None, "adversary": None, "callbacks": [], "max_seconds": None, "verbose": False,
        }  # fmt: skip
        rows = {
            "X": ("features",),
            "validation_data": ("validation_data[0]", "validation_data[1]", "validation_data[2]"),
        }
        calls += [whole(f"{kind}.fit", fit, arguments, also=rows)] * 4
        calls.append(
            whole(f"{kind}.fit", fit, {**arguments, "validation_data": None, "validation_split": 0.2}, also=rows)
        )
        data = {"X": X, "y": y, "sample_weight": WEIGHTS}
        if kind not in FULL_BATCH:
            calls += [
                whole(f"{kind}.partial_fit", Model.partial_fit, {**data, "batch_size": 8}, also=rows),
                whole(f"{kind}.train_on_batch", Model.train_on_batch, {**data, "class_weight": None}, also=rows),
                whole(
                    f"{kind}.lr_find",
                    Model.lr_find,
                    {
                        **data,
                        "batch_size": 8,
                        "start": 1e-5,
                        "end": 1.0,
                        "steps": 10,
                        "smoothing": 0.5,
                        "divergence": 4.0,
                    },
                    also=rows,
                ),
            ]

        def summary(model: Model, print_fn: Any) -> None:
            if not callable(print_fn) or isinstance(print_fn, unittest.mock.Mock):  # other functions may raise anything
                model.summary(print_fn)

        setting = lambda name: lambda model, **given: setattr(model, name, given[name])  # noqa: E731
        calls += [
            whole(f"{kind}.optimizer", setting("optimizer"), {"optimizer": "adam"}),
            whole(f"{kind}.regularizer", setting("regularizer"), {"regularizer": None}),
            whole(f"{kind}.trainable", setting("trainable"), {"trainable": [True, False]}),
            whole(f"{kind}.history", setting("history"), {"history": fastnn.History()}),
            whole(f"{kind}.stop_training", setting("stop_training"), {"stop_training": True}),
            whole(f"{kind}.build", Model.build, {"n_features": 3, "n_outputs": 2 if kind == "empty" else None}),
            whole(f"{kind}.summary", summary, {"print_fn": str}),
        ]
        if kind in ("unbuilt", "empty"):
            continue
        calls += [
            whole(f"{kind}.evaluate", Model.evaluate, data, also=rows),
            whole(f"{kind}.gradient", Model.gradient, data, also=rows),
            *[whole(f"{kind}.predict", Model.predict, {"X": X})] * 2,
            whole(f"{kind}.restore", Model.restore, {"snapshot": None}),
            whole(f"{kind}.save", Model.save, {"path": io.BytesIO()}, paths=("path",)),
            whole(f"{kind}.flops_per_row", Model.flops_per_row, {"training": True}),
            whole(
                f"{kind}.replace_head",
                Model.replace_head,
                {
                    "layers": [2],
                    "n_replaced": 1,
                    "trainable": False,
                    "loss": "squared_error",
                    "seed": 1,
                    "metrics": None,
                },
                also={"metrics": ("metric",)},
            ),
        ]
        if classes:
            calls += [
                whole(f"{kind}.predict_proba", Model.predict_proba, {"X": X}),
                whole(f"{kind}.predict_classes", Model.predict_classes, {"X": X}),
            ]

    def load(_: Any, path: Any, metrics: Any, n_threads: Any) -> None:
        fastnn.load(
            io.BytesIO(bits(templates()["regressor"])) if path is None else path, metrics=metrics, n_threads=n_threads
        )

    also = {"metrics": ("metric",), "path": ("the file",)}
    calls.append(Call("load", load, {"path": None, "metrics": None, "n_threads": 1}, paths=("path",), also=also))
    return calls


def record_calls() -> list[Call]:
    """Return the calls of History and of plots."""

    def history() -> fastnn.History:
        made = fastnn.History({"a": 1})
        made.append(0, {"loss": 1.0})
        return made

    found = templates()["regressor"].lr_find(X, TARGETS, steps=10)
    state = lambda record: repr(record.to_dict())  # noqa: E731

    def usable(record: fastnn.History) -> None:
        repr(record)
        record.to_frame()

    def from_dict(_: Any, **parts: Any) -> None:
        usable(fastnn.History.from_dict(parts))

    return [
        Call("History", lambda _, params: repr(fastnn.History(params)), {"params": None}),
        Call("History.append", fastnn.History.append, {"epoch": 1, "values": {"loss": 0.5}}, history, state, usable),
        Call("History.plot", fastnn.History.plot, {"axes": None, "yscale": "log"}, history, state, usable),
        Call("History.from_dict", from_dict, history().to_dict(), also={"history": ("state",), "epoch": ("state",),
             "params": ("state",), "stopped": ("state",)}),
        Call("History.from_dict(state)", lambda _, state: fastnn.History.from_dict(state),
            {"state": history().to_dict()}),
        Call("LearningRates.plot", lambda _, ax: found.plot(ax=ax), {"ax": None}),
        Call("plot.range_test", lambda _, **given: fastnn.plot.range_test(**given), {"found": found, "ax": None}),
        Call(
            "plot.learning_rates",
            lambda _, **given: fastnn.plot.learning_rates(**given),
            {"model": templates()["regressor"], "X": X, "y": TARGETS, "sample_weight": None, "batch_size": 8,
             "rates": (0.001, 0.01, 0.1), "epochs": 1, "axes": None},
            also={"X": ("features",)}, fixed=("epochs",),
        ),
    ]  # fmt: skip


def half_squares(y: Any) -> Any:
    """Return a loss of the outputs, and its derivative."""
    return 0.5 * float(np.sum(y * y)), y


def derivative_calls() -> list[Call]:
    """Return the calls of derivatives, of training from outside, and of nets in compiled code."""
    calls = []
    ones = np.ones((N, 2), np.float32)
    for kind in ("smooth", "regressor", "averaging"):
        subject = functools.partial(lambda kind: copy.copy(templates()[kind]), kind)
        whole = functools.partial(Call, subject=subject, state=model_state, check=check_model)
        model = templates()[kind]
        n_out = model.n_outputs
        V = np.ones((N, n_out), np.float32)
        gradients = {"dW": [w.copy() for w in model.weights], "db": [b.copy() for b in model.biases]}
        valid = {
            Model.vjp: {"X": X, "V": V, "params": False},
            Model.jvp: {"X": X, "U": X},
            Model.jacobian: {"X": X},
            Model.hidden: {"X": X, "layer": -2},
            Model.input_gradient: {"X": X, "y": TARGETS, "sample_weight": WEIGHTS},
            Model.apply_gradients: gradients,
            Model.train_on_output: {"X": X, "f": half_squares, "input_gradient": False},
            Model.jit: {"copy": False},
            Model.low_level_callable: {"kind": "quad", "output": 0},
        }
        if kind == "smooth":
            valid |= {Model.hvp: {"X": X, "U": X, "V": ones}, Model.jet: {"X": X, "U": X}}
        also = {"X": ("features",), "dW": tuple(f"dW[{k}]" for k in range(2)), "f": ("f(y)",), "V": ("V(y)",)}
        for method, arguments in valid.items():

            def run(model: Model, method: Any = method, **given: Any) -> None:
                method(model, **given)

            calls.append(whole(f"{kind}.{method.__name__}", run, arguments, also=also))
    return calls


def interchange_calls() -> list[Call]:
    """Return the calls of converters that need no other library."""
    interchange = fastnn.interchange
    calls = []
    for kind in ("smooth", "classifier", "MLPClassifier", "MLPRegressor"):
        state = estimator_state if kind.startswith("MLP") else model_state
        subject = functools.partial(templates().__getitem__, kind)
        valid = {
            interchange.export_c: {"path": "net.h", "name": "net", "dtype": None},
            interchange.export_python: {"path": "net.py"},
        }
        for function, arguments in valid.items():

            def run(_: Any, function: Any = function, **given: Any) -> None:
                function(**given)

            given = {"model": templates()[kind], **arguments}
            calls.append(Call(f"{function.__name__}({kind})", run, given, subject, state, paths=("path",)))
    reads = {
        interchange.from_torch: {"net": None}, interchange.from_keras: {"model": None},
        interchange.from_sklearn: {"mlp": None}, interchange.to_sklearn: {"model": None},
    }  # fmt: skip
    for function, arguments in reads.items():
        calls.append(Call(function.__name__, lambda _, function=function, **given: function(**given), arguments))
    return calls


def attack_calls() -> list[Call]:
    """Return the calls of attacks and explanations; numbers of steps are as they are, as large ones take long."""
    robust, explain = fastnn.robust, fastnn.explain
    calls = [
        constructor(kind, {"eps": 0.1}, eps_step=None, random_start=True, ratio=1.0, clip_values=None)
        for kind in (robust.FGSM, robust.PGD)
    ]
    counts = {"max_iter": 2, "num_random_init": 2, "n_steps": 3, "n_samples": 2}
    also = {"X": ("features",)}
    for kind in ("classifier", "regressor", "MLPClassifier"):
        state = estimator_state if kind.startswith("MLP") else model_state
        rows = {"model": templates()[kind], "X": X}
        attacked = {**rows, "y": TARGETS_OF[kind], "eps": 0.1, "norm": 2, "clip_values": (-9.0, 9.0)}
        valid = {
            robust.fgsm: {**attacked, "targeted": False},
            robust.pgd: {**attacked, "targeted": False, "eps_step": 0.1, "seed": 0},
            explain.saliency: {**rows, "target": None, "abs": True},
            explain.input_x_gradient: {**rows, "target": None},
            explain.integrated_gradients: {
                **rows, "baselines": 0.0, "target": None, "method": "riemann_left", "return_convergence_delta": True
            },
            explain.smooth_grad: {**rows, "target": None, "stdevs": 0.1, "seed": 0, "abs": False},
        }  # fmt: skip
        if kind != "regressor":
            valid[robust.accuracy_under_attack] = {**attacked, "attack": "pgd", "seed": 0}
        for function, arguments in valid.items():
            names = inspect.signature(function).parameters
            fixed = {name: count for name, count in counts.items() if name in names}

            def run(_: Any, function: Any = function, **given: Any) -> None:
                function(**given)

            subject = functools.partial(templates().__getitem__, kind)
            calls.append(
                Call(f"{function.__name__}({kind})", run, {**arguments, **fixed}, subject, state, also=also,
                     fixed=tuple(fixed))
            )  # fmt: skip
    return calls


# -------------------------------------------------------------------------------------------------------- estimators


def digest(value: Any) -> Any:
    """Return what an attribute of an estimator is, for comparisons."""
    if isinstance(value, Model):
        return bits(value)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes() if value.dtype != object else repr(value))
    if isinstance(value, list | tuple):
        return [digest(part) for part in value]
    if type(value).__module__.startswith("sklearn.preprocessing"):
        return digest(list(vars(value).values()))
    return repr(value)


def estimator_state(estimator: Any) -> Any:
    """Return parameters, which are the same objects, and all that a fit has learnt."""
    names = estimator.get_params(deep=False)
    learnt = {name: digest(value) for name, value in vars(estimator).items() if name not in names}
    return {name: id(value) for name, value in names.items()}, learnt


def check_estimator(estimator: Any) -> None:
    """Check that a fitted estimator can predict and be copied."""
    if hasattr(estimator, "coefs_"):
        assert len(estimator.predict(np.resize(X, (N, estimator.n_features_in_)))) == N
        estimator.__getstate__()


def set_parameters(estimator: Any, X: Any, y: Any, **parameters: Any) -> None:
    """Set the parameters of an estimator; an end after two epochs where their number is without end."""
    estimator.set_params(**parameters)
    with contextlib.suppress(TypeError):  # an integer by its class alone
        if isinstance(estimator.max_iter, numbers.Integral) and estimator.max_iter > 1000:
            estimator.set_params(callbacks=[Stop()])


def train_estimator(method: str, estimator: Any, X: Any, y: Any, sample_weight: Any = None, **_: Any) -> None:
    """Call a method that trains; parameters have been set before."""
    getattr(estimator, method)(X, y, sample_weight)


def estimator_calls() -> list[Call]:
    """Return the calls of the estimators; parameters are set before, by `set_params`."""
    calls = []
    for kind in ("MLPClassifier", "MLPRegressor", "stopping", "unfitted"):
        y = TARGETS_OF[kind]
        parameters = templates()[kind].get_params(deep=False)
        subject = functools.partial(lambda kind: copy.deepcopy(templates()[kind]), kind)
        whole = functools.partial(Call, subject=subject, state=estimator_state, check=check_estimator)
        data = {"X": X, "y": y}

        also = {"X": ("X", "Input X"), "y": ("y", "Input y"), "callbacks": ("callback",)}
        for method in ("fit", "fit", "fit", "partial_fit"):
            if method == "partial_fit" and kind == "stopping":
                continue
            run = functools.partial(train_estimator, method)
            calls += [whole(f"{kind}.{method}", run, {**data, **parameters}, prepare=set_parameters, also=also)] * 4
        run = functools.partial(train_estimator, "fit")
        calls += [whole(f"{kind}.fit", run, {**data, "sample_weight": WEIGHTS}, also=also)] * 3
        if kind == "unfitted":
            continue
        calls += [
            whole(f"{kind}.predict", lambda one, X: one.predict(X), {"X": X}, also=also),
            whole(
                f"{kind}.score", lambda one, **given: one.score(**given), {**data, "sample_weight": WEIGHTS}, also=also
            ),
        ]
        if kind != "MLPRegressor":
            calls.append(whole(f"{kind}.predict_proba", lambda one, X: one.predict_proba(X), {"X": X}, also=also))
        if kind == "stopping":
            valid = {"X": X, "y": y, "X_val": X, "y_val": y, "sample_weight_val": WEIGHTS}
            calls += [whole(f"{kind}.fit(X_val)", lambda one, **given: one.fit(**given), valid, also=also)] * 2
    return calls


@functools.cache
def all_calls() -> list[Call]:
    """Return all public calls; some several times, which makes them more frequent."""
    return [
        *declarations(), *model_calls(), *model_calls(), *record_calls(), *attack_calls(), *derivative_calls(),
        *interchange_calls(), *estimator_calls(),
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- cases

#: Kinds of error that a public call documents, and subclasses of them that are errors inside.
KINDS = (TypeError, ValueError, RuntimeError, MemoryError, FloatingPointError)
INTERNAL = (UnicodeError, RecursionError, NotImplementedError)
#: Texts about states, not arguments.
OF_THE_STATE = re.compile(
    r"Solver produced non-finite parameter weights|loss is .* in epoch|partial_fit does not support early_stopping"
    r"|has no attribute 'partial_fit'"  # as of scikit-learn's, if solver is 'lbfgs' or none
)


def short(value: Any) -> str:
    """Return a repr of a hostile value, for the list of failures."""
    try:
        return repr(value)[:100]
    except Exception:
        return f"<{type(value).__name__}>"


def fault_of(call: Call, given: dict[str, Any], error: Exception) -> str:
    """Return what is wrong with an error; nothing if it is as documented."""
    if isinstance(error, CallerError):
        return ""
    try:
        text = str(error)
    except Exception:
        return "text cannot be made"
    own = text in ("boom", "'boom'")  # raised by a method of the value
    if (isinstance(error, OSError) and (set(given) & set(call.paths) or own)) or (own and set(given) & set(call.paths)):
        return ""
    if isinstance(error, AttributeError) and OF_THE_STATE.search(text):
        return ""
    if not isinstance(error, KINDS) or isinstance(error, INTERNAL):
        return f"internal {type(error).__name__}"
    if len(text) > 1000:
        return f"{len(text)} characters"
    names = {name for one in (*given, *call.valid) for name in (one, *call.also.get(one, ()))}
    if isinstance(error, FloatingPointError) or OF_THE_STATE.search(text):
        return ""
    if not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names):
        return f"{type(error).__name__} without the name"
    return ""


def run_case(first: int, number: int) -> tuple[str, str] | None:
    """Run a case; return what it is and what is wrong with it, or None."""
    rng = np.random.default_rng([first, number])
    call = all_calls()[rng.integers(len(all_calls()))]
    names = [name for name in call.valid if name not in call.fixed]
    chosen = rng.choice(names, size=min(len(names), 1 + (rng.random() < 0.2)), replace=False).tolist()
    given = {name: hostile(rng, call.valid[name]) for name in chosen}
    shown = ", ".join(f"{name}={short(value)}" for name, value in given.items())
    what = f"{call.name}({shown}) [{first}, {number}]"
    subject = None if call.subject is None else call.subject()
    if call.prepare is not None:
        call.prepare(subject, **{**call.valid, **given})
    before = call.state(subject)
    arrays = X.tobytes(), LABELS.tobytes(), TARGETS.tobytes(), WEIGHTS.tobytes()
    fault = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call.run(subject, **{**call.valid, **given})
        except Exception as error:
            fault = fault_of(call, given, error)
            detail = f"{type(error).__name__}: {short_text(error)}"
            # Which keeps the last finite weights.
            diverged = isinstance(error, FloatingPointError) or "Solver produced non-finite" in detail
            if not fault and not diverged and call.state(subject) != before:
                fault = "changed by a failed call"
        else:
            detail = "no error"
            try:
                if call.check is not None:
                    call.check(subject)
            except Exception as error:
                fault, detail = "unusable after a call without error", f"{type(error).__name__}: {short_text(error)}"
    if (X.tobytes(), LABELS.tobytes(), TARGETS.tobytes(), WEIGHTS.tobytes()) != arrays:
        fault = "arrays of the caller changed"
    return (what, f"{fault}: {detail}") if fault else None


def short_text(error: Exception) -> str:
    """Return the start of the text of an error."""
    try:
        return str(error)[:400]
    except Exception as other:
        return repr(other)


def failures(first: int, count: int) -> list[tuple[str, str]]:
    """Run cases 0 to count - 1; return those that are wrong."""
    found = []
    all_calls()  # compiles, the first time
    for number in range(count):
        if number % 100 == 0:
            faulthandler.dump_traceback_later(LONGEST, exit=True)
        wrong = run_case(first, number)
        if wrong is not None:
            found.append(wrong)
    faulthandler.cancel_dump_traceback_later()
    return found


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")  # numpy.matrix is generated, too
def test_generated_bad_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # texts are valid paths of files
    found = failures(seed(), amount(300, 20_000))
    assert not found, "\n".join(f"{what}\n    {fault}" for what, fault in found[:50])


def test_an_error_inside_is_found():
    def broken(_: Any, units: Any) -> None:
        [][units]

    call = Call("broken", broken, {"units": 1})
    with pytest.raises(IndexError) as error:
        call.run(None, units=3)
    assert fault_of(call, {"units": 3}, error.value) == "internal IndexError"
    assert fault_of(call, {"units": 3}, ValueError("must be at least 1")) == "ValueError without the name"
    assert fault_of(call, {"units": 3}, ValueError("units must be at least 1")) == ""
    assert "characters" in fault_of(call, {"units": 3}, ValueError("units" + "x" * 1000))
