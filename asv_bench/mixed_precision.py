"""Accuracy of mixed precision beside float32, in fastnn and in PyTorch: `python -m asv_bench.mixed_precision`.

Three studies, printed as Markdown tables; figures are means and standard errors over the seeds.

- Test accuracy (R2 for diabetes) on four data sets of scikit-learn: standardized features, a quarter of the rows held
  out, another split for each seed. The four trainings of a seed have the same start weights, rows and batches. The
  difference to float32 is that of pairs of trainings.
- Trajectories on the digits: losses per epoch, and the relative distance of all parameters after the last one, between
  fastnn's mixed precision and PyTorch's autocast, and between backends of PyTorch: without oneDNN (which is not used
  for bfloat16 where the processor has no instruction for it), and with the kernels for any processor. Autocast also
  rounds the results of products, fastnn their operands alone; "PyTorch rounding operands" does the latter.
- Gradients of a batch against float64, by activation and width. Operands of products have a relative error of up to
  2^-8, and the gradient of the first of L layers is the result of 2 L products in sequence, so the error is 4 L 2^-8 to
  first order if all roundings add up. It is no bound where sums cancel, as errors are relative to sums of absolute
  values, nor for ReLU: a unit whose z is nearer to 0 than its error has another derivative, and a share p of such units
  is an error of the order of the square root of p.

PyTorch's columns are left out without PyTorch; all run on one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import importlib.util
import itertools
import multiprocessing
import os
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

import fastnn
from fastnn._data.rows import shuffled
from fastnn._engine.system_info import processor_name
from fastnn.kernels.lang.simd import HAS_BFLOAT16

DATA = ("digits", "breast_cancer", "wine", "diabetes")
HIDDEN, BATCH, RATE = (64, 32), 32, 1e-3
#: Unit roundoff of bfloat16, whose significand has eight bits.
UNIT = 2.0**-8
MIXED = "mixed_bfloat16"

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Problem:
    """Training rows, test rows and a net for them."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    n_outputs: int
    loss: str
    hidden: tuple[int, ...] = HIDDEN
    activation: str = "relu"

    def model(self, dtype: str, seed: int) -> fastnn.Model:
        """Return the net with the start weights of a seed."""
        layers = [*(fastnn.Dense(n, self.activation) for n in self.hidden), fastnn.Dense(self.n_outputs)]
        return fastnn.Model(
            layers, loss=self.loss, optimizer=fastnn.Adam(RATE), metrics=[], seed=seed, dtype=dtype, n_threads=1
        ).build(self.X.shape[1])

    def score(self, outputs: np.ndarray) -> float:
        """Return the accuracy of outputs for the test rows, or R2."""
        if self.loss == "softmax_crossentropy":
            return float(np.mean(outputs.argmax(axis=1) == self.y_test))
        residuals = self.y_test - outputs
        return float(1.0 - np.sum(residuals**2) / np.sum((self.y_test - self.y_test.mean()) ** 2))


def load(name: str, seed: int) -> Problem:
    """Return a data set with the split of a seed."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    classes = name != "diabetes"
    if not classes:
        y = scale(y)[:, None].astype(np.float32)
    parts = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y if classes else None)
    scaler = StandardScaler().fit(parts[0])
    X_train, X_test = (scaler.transform(part).astype(np.float32) for part in parts[:2])
    loss = "softmax_crossentropy" if classes else "squared_error"
    return Problem(X_train, parts[2], X_test, parts[3], int(y.max()) + 1 if classes else 1, loss)


@dataclass(frozen=True)
class Run:
    """Result of a training: losses per epoch, weights and biases, and the score on the test rows."""

    losses: list[float]
    parameters: Arrays
    score: float


def train_fastnn(problem: Problem, seed: int, epochs: int, dtype: str) -> Run:
    """Train with fastnn."""
    model = problem.model(dtype, seed)
    history = model.fit(problem.X, problem.y, epochs=epochs, batch_size=BATCH, verbose=False)
    return Run(
        list(history["loss"]),
        [a.copy() for a in (*model.weights, *model.biases)],
        problem.score(model.predict(problem.X_test)),
    )


class TorchNet:
    """The net of a model in PyTorch, with its weights.

    Parameters
    ----------
    model : Model
        In float32 or mixed precision.
    problem : Problem
        Of the model.
    autocast : whether forward and loss are computed under `torch.autocast` to bfloat16
    onednn : whether oneDNN may be used
    operands : whether operands of products, and nothing else, are rounded to bfloat16, by casts to it and back
    """

    def __init__(
        self,
        model: fastnn.Model,
        problem: Problem,
        *,
        autocast: bool = False,
        onednn: bool = True,
        operands: bool = False,
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.autocast, self.onednn = autocast, onednn
        self.layers = []
        for w, b in zip(model.weights, model.biases, strict=True):
            layer = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.copy_(torch.from_numpy(b.copy()))
            self.layers.append(layer)
        kind = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[problem.activation]
        parts = [part for layer in self.layers for part in (layer, kind())]
        self.net = torch.nn.Sequential(*parts[:-1])
        if operands:
            for layer in self.layers:
                layer.forward = functools.partial(product_of_rounded(torch), layer)
        functions = torch.nn.functional
        self.function = functions.cross_entropy if problem.loss == "softmax_crossentropy" else functions.mse_loss

    @contextlib.contextmanager
    def backend(self) -> Iterator[None]:
        """Run the body with or without oneDNN."""
        with contextlib.ExitStack() as stack:
            if not self.onednn:
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", message="TF32 acceleration")
                stack.enter_context(self.torch.backends.mkldnn.flags(enabled=False))
            yield

    def loss(self, x: Any, t: Any) -> Any:
        """Return the loss of a batch."""
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.autocast):
            return self.function(self.net(x), t)

    def train(self, problem: Problem, seed: int, epochs: int) -> Run:
        """Train with the batches that fastnn makes of the same seed."""
        torch = self.torch
        X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
        optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE, eps=1e-8)
        losses, order = [], np.empty(len(X), np.int64)
        with self.backend():
            for epoch in range(epochs):
                total = 0.0
                for rows in torch.from_numpy(shuffled(order, seed, epoch)).split(BATCH):
                    optimizer.zero_grad()
                    value = self.loss(X[rows], y[rows])
                    value.backward()
                    optimizer.step()
                    total += len(rows) * float(value.detach())
                losses.append(total / len(X))
            autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast)
            with torch.no_grad(), autocast:
                outputs = self.net(torch.from_numpy(problem.X_test)).float().numpy()
        weights = [layer.weight.detach().numpy().T for layer in self.layers]
        return Run(losses, [*weights, *(layer.bias.detach().numpy() for layer in self.layers)], problem.score(outputs))

    def gradient(self, X: np.ndarray, y: np.ndarray) -> Arrays:
        """Return the gradient of all rows as one batch, by weights and biases."""
        with self.backend():
            self.loss(self.torch.from_numpy(X), self.torch.from_numpy(y)).backward()
        weights = [layer.weight.grad.numpy().T for layer in self.layers]
        return [*weights, *(layer.bias.grad.numpy() for layer in self.layers)]


def product_of_rounded(torch: Any) -> Callable[[Any, Any], Any]:
    """Return a function of a layer and its inputs: the layer's outputs, with operands of all products rounded."""

    def rounded(a: Any) -> Any:
        return a.to(torch.bfloat16).to(torch.float32)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any, weight: Any, bias: Any) -> Any:
            x, weight = rounded(x), rounded(weight)
            context.save_for_backward(x, weight)
            return torch.addmm(bias, x, weight.T)

        @staticmethod
        def backward(context: Any, delta: Any) -> Any:
            x, weight = context.saved_tensors
            low = rounded(delta)
            return low @ weight, low.T @ x, delta.sum(0)

    return lambda layer, x: Product.apply(x, layer.weight, layer.bias)


def trainings(problem: Problem, seed: int, epochs: int) -> dict[str, Callable[[], Run]]:
    """Return the trainings of a problem from the start weights of a seed, by name."""

    def torch(**settings: bool) -> Callable[[], Run]:
        return lambda: TorchNet(problem.model("float32", seed), problem, **settings).train(problem, seed, epochs)

    found: dict[str, Callable[[], Run]] = {
        "fastnn float32": lambda: train_fastnn(problem, seed, epochs, "float32"),
        "fastnn mixed": lambda: train_fastnn(problem, seed, epochs, MIXED),
    }
    if has_torch():
        found |= {
            "PyTorch float32": torch(),
            "PyTorch autocast": torch(autocast=True),
            "autocast without oneDNN": torch(autocast=True, onednn=False),
            "PyTorch rounding operands": torch(operands=True),
        }
    return found


def has_torch() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def distance(a: Arrays, b: Arrays) -> float:
    """Return the Euclidean distance of two lists of arrays over the size of the second."""
    x, y = (np.concatenate([np.float64(part).ravel() for part in arrays]) for arrays in (a, b))
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def mean_and_error(values: Sequence[float], form: str = ".4f") -> str:
    """Format the mean and its standard error."""
    return f"{statistics.mean(values):{form}} ± {error_of_mean(values):{form.lstrip('+')}}"


def error_of_mean(values: Sequence[float]) -> float:
    """Return the standard error of the mean; NaN for one value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def accuracy(names: Sequence[str], seeds: int, epochs: int) -> list[str]:
    """Return the table of scores: of each precision, their difference, and whether it is within one standard error."""
    libraries = [("fastnn float32", "fastnn mixed")]
    if has_torch():
        libraries.append(("PyTorch float32", "PyTorch autocast"))
    head = [text for single, mixed in libraries for text in (single, mixed, "difference", "within one error")]
    lines = [f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for name in names:
        scores: dict[str, list[float]] = {key: [] for pair in libraries for key in pair}
        for seed in range(seeds):
            runs = trainings(load(name, seed), seed, epochs)
            for key, values in scores.items():
                values.append(runs[key]().score)
        cells = [name.replace("_", " ")]
        for single, mixed in libraries:
            differences = [b - a for a, b in zip(scores[single], scores[mixed], strict=True)]
            within = abs(statistics.mean(differences)) <= error_of_mean(scores[single])
            cells += [
                mean_and_error(scores[single]), mean_and_error(scores[mixed]), mean_and_error(differences, "+.4f"),
                "yes" if within else "no",
            ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def autocast_on_digits(seed: int, epochs: int) -> Run:
    """Train under autocast; for another process."""
    return trainings(load("digits", seed), seed, epochs)["PyTorch autocast"]()


@contextlib.contextmanager
def process_with_generic_kernels() -> Iterator[Executor]:
    """Provide a process in which PyTorch uses its kernels for any processor."""
    # PyTorch reads this when it is loaded.
    name = "ATEN_CPU_CAPABILITY"
    before = os.environ.get(name)
    os.environ[name] = "default"
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            yield process
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


#: Trainings whose distance is measured, the second one as the reference.
PAIRS = (
    ("fastnn mixed", "PyTorch autocast"),
    ("autocast without oneDNN", "PyTorch autocast"),
    ("autocast with generic kernels", "PyTorch autocast"),
    ("fastnn mixed", "PyTorch rounding operands"),
    ("fastnn float32", "PyTorch float32"),
    ("fastnn mixed", "fastnn float32"),
    ("PyTorch autocast", "PyTorch float32"),
)


def trajectories(seeds: int, epochs: int) -> tuple[list[str], list[str]]:
    """Return the table of losses per epoch, and that of distances and differences of losses."""
    runs: dict[str, list[Run]] = {}
    for seed in range(seeds):
        for name, run in trainings(load("digits", seed), seed, epochs).items():
            runs.setdefault(name, []).append(run())
    if has_torch():
        with process_with_generic_kernels() as process:
            found = process.map(autocast_on_digits, range(seeds), [epochs] * seeds)
            runs["autocast with generic kernels"] = list(found)
    losses = [f"| epoch | {' | '.join(runs)} |", "|---|" + "---:|" * len(runs)]
    for epoch in range(epochs):
        cells = [f"{statistics.mean(run.losses[epoch] for run in found):.5f}" for found in runs.values()]
        losses.append(f"| {epoch + 1} | {' | '.join(cells)} |")
    pairs = ["| | distance of the parameters | largest difference of an epoch's loss |", "|---|---:|---:|"]
    for name, reference in PAIRS:
        if name in runs and reference in runs:
            both = list(zip(runs[name], runs[reference], strict=True))
            apart = mean_and_error([distance(a.parameters, b.parameters) for a, b in both], ".1e")
            most = [float(np.max(np.abs(np.array(a.losses) / b.losses - 1.0))) for a, b in both]
            pairs.append(f"| {name}, {reference} | {apart} | {mean_and_error(most, '.1e')} |")
    return losses, pairs


def gradient_errors(activation: str, width: int, seed: int, batch: int = 64) -> dict[str, float]:
    """Return the relative errors of the gradient of a random net of three layers against float64, by name."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((batch, width), np.float32), rng.integers(0, 10, batch)
    problem = Problem(X, y, X, y, 10, "softmax_crossentropy", (width, width), activation)
    single = problem.model("float32", seed)

    def of_fastnn(dtype: str) -> Arrays:
        _, weights, biases = single.astype(dtype).gradient(X, y)
        return [*weights, *biases]

    found = {"fastnn float32": of_fastnn("float32"), "fastnn mixed": of_fastnn(MIXED)}
    if has_torch():
        found["PyTorch autocast"] = TorchNet(single, problem, autocast=True).gradient(X, y)
    exact = of_fastnn("float64")
    return {name: distance(arrays, exact) for name, arrays in found.items()}


def gradients(widths: Sequence[int], seeds: int) -> list[str]:
    """Return the table of errors of gradients in units of 2^-8."""
    lines: list[str] = []
    for activation, width in itertools.product(("tanh", "relu"), widths):
        errors = [gradient_errors(activation, width, seed) for seed in range(seeds)]
        if not lines:
            lines = [f"| net | {' | '.join(errors[0])} |", "|---|" + "---:|" * len(errors[0])]
        cells = [mean_and_error([one[name] / UNIT for one in errors], ".2g") for name in errors[0]]
        lines.append(f"| {activation}, w = {width} | {' | '.join(cells)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="from 0 on (%(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="of a training for accuracy (%(default)s)")
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA, help="data sets (all)")
    parser.add_argument("--trajectory", type=int, default=5, help="epochs of a trajectory (%(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64, 256, 1024], help="of nets for gradients")
    options = parser.parse_args(argv)

    def show(*lines: str) -> None:
        print(*lines, sep="\n", flush=True)

    versions = f"fastnn {fastnn.__version__}"
    if has_torch():
        versions += f", PyTorch {importlib.metadata.version('torch')}"
    how = "an instruction" if HAS_BFLOAT16 else "no instruction"
    show(f"{processor_name()}, {how} for bfloat16 in fastnn; {versions}; {datetime.date.today().isoformat()}.")
    if not has_torch():
        show("PyTorch is not installed, so its columns are left out.")
    net = f"{'-'.join(map(str, HIDDEN))} ReLU units, Adam, batches of {BATCH}"
    show(f"\n**Test accuracy, R2 for diabetes.** {net}, {options.epochs} epochs, {options.seeds} seeds.\n")
    show(*accuracy(options.data, options.seeds, options.epochs))
    losses, pairs = trajectories(options.seeds, options.trajectory)
    show(f"\n**Losses on the digits.** {net}, means over {options.seeds} seeds.\n", *losses)
    show(f"\n**Distances after {options.trajectory} epochs**, over the size of the second.\n", *pairs)
    show("\n**Errors of gradients against float64** in units of 2^-8; w-w-w-10, 64 rows, so 4 L = 12.\n")
    show(*gradients(options.widths, options.seeds))


if __name__ == "__main__":
    main()
