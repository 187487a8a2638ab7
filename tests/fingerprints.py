"""Hash the weights of a fixed set of trainings, to show that a change of the code changes no bit.

Uses the public interface alone, so that the same file runs on two versions of the package::

    python tests/fingerprints.py before.json            # on the old version
    python tests/fingerprints.py after.json             # on the new one
    python tests/fingerprints.py --compare before.json after.json

The hashes hold for one instruction set (vector length) and one version of numba, numpy and scipy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import Dense, Dropout

N_ROWS, N_FEATURES = 150, 7
DTYPES = ("float32", "float64")
LOSSES: dict[str, tuple[Any, int, str]] = {  # loss, outputs of the net, kind of targets
    "squared_error": ("squared_error", 3, "values"),
    "sum_of_squares": ("sum_of_squares", 3, "values"),
    "absolute_error": ("absolute_error", 3, "values"),
    "huber": (fastnn.losses.huber(0.7), 3, "values"),
    "poisson": ("poisson", 3, "counts"),
    "quantile": (fastnn.losses.quantile(0.1, 0.5, 0.9), 3, "value"),
    "gaussian_nll": ("gaussian_nll", 2, "value"),
    "binary_crossentropy": ("binary_crossentropy", 3, "bits"),
    "binary_smoothed": (fastnn.losses.binary_crossentropy(0.1), 3, "bits"),
    "softmax_crossentropy": ("softmax_crossentropy", 4, "labels"),
    "softmax_smoothed": (fastnn.losses.softmax_crossentropy(0.1), 4, "labels"),
    "softmax_wide": ("softmax_crossentropy", 37, "labels"),
    "squared_error_wide": ("squared_error", 37, "values"),
    "huber_wide": ("huber", 37, "values"),
    "binary_wide": ("binary_crossentropy", 37, "bits"),
    "gaussian_wide": ("gaussian_nll", 40, "values_half"),
}
OPTIMIZERS = {
    "sgd": fastnn.SGD(0.05),
    "momentum": fastnn.SGD(0.02, momentum=0.9),
    "nesterov": fastnn.SGD(0.02, momentum=0.8, nesterov=True),
    "adagrad": fastnn.AdaGrad(0.05),
    "rmsprop": fastnn.RMSProp(0.005),
    "adam": fastnn.Adam(0.01),
    "adamw": fastnn.AdamW(0.01, weight_decay=0.1),
    "amsgrad": fastnn.Adam(0.01, amsgrad=True),
    "nadam": fastnn.NAdam(0.01),
    "lion": fastnn.Lion(0.001),
}
ACTIVATIONS = (
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus", "hard_sigmoid", "exponential",
    "silu", "gelu", "mish",
)  # fmt: skip


def targets(kind: str, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Targets of a kind, (N_ROWS,) or (N_ROWS, n)."""
    if kind == "labels":
        return rng.integers(0, n_outputs, N_ROWS)
    n = {"value": 1, "values_half": n_outputs // 2}.get(kind, n_outputs)
    values = rng.standard_normal((N_ROWS, n))
    if kind == "bits":
        return (values > 0).astype(float)
    return np.floor(np.exp(values)) if kind == "counts" else values


def digest(*parts: Any) -> str:
    """Hash of arrays and numbers."""
    found = hashlib.sha256()
    for part in parts:
        a = np.ascontiguousarray(part)
        found.update(f"{a.dtype} {a.shape}".encode())
        found.update(a.tobytes())
    return found.hexdigest()[:20]


def fingerprint(model: fastnn.Model, X: np.ndarray, y: np.ndarray) -> str:
    """Hash of weights, predictions, gradient and history of a trained model."""
    kept = [np.array(v) for name, v in sorted(model.history.history.items()) if name != "seconds"]
    parts = [*model.weights, *model.biases, model.predict(X), *kept]
    parts += [np.float64(value) for _, value in sorted(model.evaluate(X, y).items())]
    return digest(*parts)


def data(loss: str, dtype: str, rows: int = N_ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets for a loss of the table."""
    _, n_outputs, kind = LOSSES[loss]
    rng = np.random.default_rng(7)
    X = rng.standard_normal((N_ROWS, N_FEATURES)).astype(dtype)
    return X[:rows], targets(kind, n_outputs, rng)[:rows]


def train(
    loss: str,
    dtype: str,
    *,
    hidden: Any = (19, 8),
    fit: dict[str, Any] | None = None,
    last: Any = None,
    **settings: Any,
) -> str:
    """Train a small net and return its fingerprint."""
    what, n_outputs, _ = LOSSES[loss]
    X, y = data(loss, dtype)
    layers = [*(fastnn.Dense(h, "tanh") if isinstance(h, int) else h for h in hidden), last or fastnn.Dense(n_outputs)]
    settings = {"optimizer": "adam", "n_threads": 1, **settings}
    model = fastnn.Model(layers, loss=what, seed=3, dtype=dtype, **settings)
    model.fit(X, y, **{"epochs": 3, "batch_size": 32, "verbose": False, **(fit or {})})
    return fingerprint(model, X, y)


def flip(x: np.ndarray, random: np.ndarray) -> None:
    """Negate a feature of some rows."""
    if random[0] < 0.3:
        x[0] = -x[0]


def softsign(z: float) -> float:
    """Return a custom activation of z."""
    return z / (1 + abs(z))


def softsign_derivative(z: float) -> float:
    """Return the derivative of `softsign`."""
    return 1 / (1 + abs(z)) ** 2


def logcosh(u: float, t: float) -> float:
    """Return a custom loss of output u and target t."""
    return np.log(np.cosh(u - t))


def logcosh_gradient(u: float, t: float) -> float:
    """Return the slope of `logcosh`."""
    return np.tanh(u - t)


def options(dtype: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield trainings with all other options."""
    weights = np.linspace(0.0, 2.0, N_ROWS)
    soft = "softmax_crossentropy"
    fits: dict[str, dict[str, Any]] = {
        "batch_1": {"batch_size": 1, "epochs": 1},
        "batch_all": {"batch_size": None},
        "batch_odd": {"batch_size": 47},
        "no_shuffle": {"shuffle": False},
        "sample_weight": {"sample_weight": weights},
        "validation_split": {"validation_split": 0.3},
        "early_stopping": {"validation_split": 0.3, "callbacks": [fastnn.EarlyStopping(patience=1)], "epochs": 8},
        "noise": {"augmentation": fastnn.Augmentation(noise=0.1)},
        "mixup": {"augmentation": fastnn.Augmentation(mixup=0.4)},
        "rows": {"augmentation": fastnn.Augmentation(function=flip, noise=0.1, mixup=0.3)},
    }
    for loss in (soft, "squared_error", "softmax_smoothed", "huber_wide"):
        for name, fit in fits.items():
            yield f"{loss} {name}", lambda loss=loss, fit=fit: train(loss, dtype, fit=fit)
    yield "class_weight", lambda: train(soft, dtype, fit={"class_weight": "balanced"})
    unequal = {0: 2.0, 1: 0.5, 2: 1.0, 3: 1.0}
    yield "class_weight smoothed", lambda: train("softmax_smoothed", dtype, fit={"class_weight": unequal})
    for name, regularizer in {"l1": fastnn.L1(1e-3), "l2": fastnn.L2(1e-3), "l1_l2": fastnn.L1L2(1e-3, 1e-3)}.items():
        yield f"regularizer {name}", lambda r=regularizer: train(soft, dtype, regularizer=r)
    shared: dict[str, dict[str, Any]] = {
        "decay": {"weight_decay": 0.1},
        "clipvalue": {"clipvalue": 0.01},
        "clipnorm": {"global_clipnorm": 0.1},
        "ema": {"ema_momentum": 0.9},
        "all": {"weight_decay": 0.1, "global_clipnorm": 0.1, "ema_momentum": 0.9},
        "schedule": {"learning_rate": fastnn.schedules.OneCycle(0.05, epochs=3)},
        "cosine": {"learning_rate": fastnn.schedules.Cosine(0.05, epochs=3)},
    }
    makers = (fastnn.SGD, fastnn.AdaGrad, fastnn.RMSProp, fastnn.Adam, fastnn.NAdam, fastnn.Lion)
    for maker in makers:
        for name, given in shared.items():
            yield f"{maker.__name__} {name}", lambda m=maker, g=given: train(soft, dtype, optimizer=m(**g))
            if name in ("clipnorm", "ema"):
                yield f"{maker.__name__} {name} batch", lambda m=maker, g=given: train(
                    soft, dtype, optimizer=m(**g), fit={"batch_size": None}
                )
    nets: dict[str, list[Any]] = {
        "none": [],
        "deep": [16, 16, 16, 16, 16],
        "narrow": [40, 2],
        "dropout": [Dense(24, "relu"), Dropout(0.3), Dense(16, "mish"), Dropout(0.2)],
        "max_norm": [Dense(24, "relu", max_norm=0.8), Dense(16, "relu", max_norm=0.5)],
        "frozen": [Dense(24, "relu", trainable=False), Dense(16, "relu")],
        "no_bias": [Dense(24, "relu", use_bias=False), Dense(16, "gelu", use_bias=False)],
        "wide": [300, 130],
        "alpha": [Dense(24, fastnn.leaky_relu(0.2)), Dense(16, fastnn.elu(0.5))],
        "custom": [Dense(24, fastnn.custom.activation(softsign, softsign_derivative))],
    }
    for name, net in nets.items():
        for loss in (soft, "squared_error_wide", "quantile"):
            for batch in (32, None):
                yield (
                    f"{loss} net {name} {batch}",
                    lambda net=net, loss=loss, batch=batch: train(loss, dtype, hidden=net, fit={"batch_size": batch}),
                )
    for loss, last in ((soft, "softmax"), ("binary_crossentropy", "sigmoid"), ("poisson", "exponential")):
        n = LOSSES[loss][1]
        yield f"{loss} fused", lambda loss=loss, last=last, n=n: train(loss, dtype, last=Dense(n, last))
    yield "softmax last", lambda: train("squared_error", dtype, last=Dense(3, "softmax"))
    yield "custom loss", lambda: custom_loss(dtype)
    for threads in (2, 4):
        for loss in (soft, "huber_wide"):
            yield f"{loss} threads {threads}", lambda loss=loss, n=threads: train(
                loss, dtype, hidden=(64, 64), n_threads=n, fit={"epochs": 20}
            )
    for rows in (600, 3000):
        yield f"sharded {rows}", lambda rows=rows: large(dtype, rows)
    yield "solver lbfgs", lambda: train("squared_error", dtype, optimizer="lbfgs", regularizer=fastnn.L2(1e-4),
                                         fit={"batch_size": None})  # fmt: skip
    yield "solver lm", lambda: train("squared_error", dtype, optimizer="lm", fit={"epochs": 5, "batch_size": None})
    yield "resume", lambda: resume(dtype)
    yield "train_on_batch", lambda: on_batch(dtype)
    yield "gradient", lambda: gradient(dtype)
    yield "lr_find", lambda: lr_find(dtype)
    yield "replace_head", lambda: head(dtype)


def custom_loss(dtype: str) -> str:
    """Train with a custom loss."""
    X, y = data("squared_error", dtype)
    model = fastnn.Model([16, 3], loss=fastnn.custom.loss(logcosh, logcosh_gradient), seed=3, dtype=dtype, n_threads=1)
    model.fit(X, y, epochs=3, batch_size=32, verbose=False)
    return fingerprint(model, X, y)


def large(dtype: str, rows: int) -> str:
    """Train by large batches."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((rows, 9)).astype(dtype)
    y = rng.integers(0, 3, rows)
    parts = []
    for optimizer in (fastnn.Adam(0.01), fastnn.NAdam(0.01, global_clipnorm=0.5, ema_momentum=0.9)):
        model = fastnn.Model([17, 3], loss="softmax_crossentropy", optimizer=optimizer, seed=3, dtype=dtype)
        model.fit(X, y, epochs=4, batch_size=None, verbose=False)
        parts.append(fingerprint(model, X, y))
    return " ".join(parts)


def fitted(dtype: str, **settings: Any) -> tuple[fastnn.Model, np.ndarray, np.ndarray]:
    """Train a classifier for two epochs."""
    X, y = data("softmax_crossentropy", dtype)
    given = {"optimizer": "nadam", **settings}
    model = fastnn.Model([16, 4], loss="softmax_crossentropy", seed=3, dtype=dtype, n_threads=1, **given)
    model.fit(X, y, epochs=2, batch_size=32, verbose=False)
    return model, X, y


def resume(dtype: str) -> str:
    """Save, load and train on."""
    import tempfile

    model, X, y = fitted(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        model.save(path)
        model = fastnn.load(path)
    model.fit(X, y, epochs=2, batch_size=32, verbose=False)
    return fingerprint(model, X, y)


def on_batch(dtype: str) -> str:
    """Train by single updates."""
    model, X, y = fitted(dtype)
    for first in (0, 50, 100):
        model.train_on_batch(X[first : first + 50], y[first : first + 50])
    return fingerprint(model, X, y)


def gradient(dtype: str) -> str:
    """Compute gradients."""
    model, X, y = fitted(dtype, regularizer=fastnn.L1L2(1e-3, 1e-3))
    loss, weights, biases = model.gradient(X, y)
    return digest(np.float64(loss), *weights, *biases)


def lr_find(dtype: str) -> str:
    """Run the learning-rate range test."""
    model, X, y = fitted(dtype)
    found = model.lr_find(X, y)
    return digest(np.asarray(found.rates), np.asarray(found.losses))


def head(dtype: str) -> str:
    """Replace the head and train on."""
    model, X, y = fitted(dtype)
    model = model.replace_head([8, 4], loss="softmax_crossentropy")
    model.fit(X, y, epochs=2, batch_size=32, verbose=False)
    return fingerprint(model, X, y)


def estimators() -> Iterator[tuple[str, Callable[[], str]]]:
    """The estimators, where scikit-learn is installed."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((N_ROWS, N_FEATURES))
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)

    def run(maker: Any, target: np.ndarray, **settings: Any) -> str:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = maker(hidden_layer_sizes=(16, 8), random_state=3, max_iter=12, **settings).fit(X, target)
        parts = [*net.coefs_, *net.intercepts_, net.predict(X), np.float64(net.n_iter_)]
        return digest(*parts, np.asarray(getattr(net, "loss_curve_", [])))

    for name, settings in {
        "adam": {},
        "sgd": {"solver": "sgd"},
        "lbfgs": {"solver": "lbfgs"},
        "early": {"early_stopping": True},
        "dropout": {"dropout": 0.2},
        "batch": {"batch_size": 33, "alpha": 0.1},
    }.items():
        yield f"classifier {name}", lambda s=settings: run(fastnn.MLPClassifier, y, **s)
        yield f"regressor {name}", lambda s=settings: run(fastnn.MLPRegressor, X[:, 0] ** 2, **s)


def all_trainings() -> Iterator[tuple[str, Callable[[], str]]]:
    """Every training of the set, by name."""
    for dtype in DTYPES:
        for loss in LOSSES:
            for name, optimizer in OPTIMIZERS.items():
                yield f"{dtype} {loss} {name}", lambda t=dtype, x=loss, o=optimizer: train(x, t, optimizer=o)
        for activation in ACTIVATIONS:
            for loss in ("softmax_crossentropy", "squared_error"):
                net = [fastnn.Dense(19, activation), fastnn.Dense(8, activation)]
                yield f"{dtype} {loss} {activation}", lambda t=dtype, x=loss, n=net: train(x, t, hidden=n)
        for name, run in options(dtype):
            yield f"{dtype} {name}", run
    yield from estimators()


def main() -> int:
    """Write the hashes into a file, or compare two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    if args.compare:
        before, after = (json.loads(path.read_text()) for path in args.files)
        differing = [name for name in before | after if before.get(name) != after.get(name)]
        print(f"{len(before)} and {len(after)} trainings, {len(differing)} differ", *differing[:20], sep="\n")
        return bool(differing)
    found = {}
    for name, run in all_trainings():
        try:
            found[name] = run()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    args.files[0].write_text(json.dumps(found, indent=0))
    failed = [f"{name}: {text}" for name, text in found.items() if ": " in text]
    print(f"{len(found)} trainings, {len(failed)} failed", *failed[:20], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
