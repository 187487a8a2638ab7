"""Command line, ``python -m fastnn``: train on the bundled digits, print hardware information, compile ahead."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastnn import datasets, optimizers, regularizers
from fastnn._engine import system_info
from fastnn._engine.kernel_loading import load_kernels
from fastnn._engine.processors import available_threads
from fastnn._errors import DivergenceError
from fastnn._validation import MIXED_BFLOAT16, must_be
from fastnn._validation.names import closest
from fastnn._version import __version__
from fastnn._warmup import load_all_kernels
from fastnn.activations import Activation
from fastnn.activations import get as get_activation
from fastnn.kernels.lang import compiler, simd
from fastnn.kernels.nn.rules import ACTIVATIONS, LOSSES
from fastnn.layers import Dense
from fastnn.losses import get as get_loss
from fastnn.model import Model

N_CLASSES = 10

DESCRIPTION = """\
Train a multilayer perceptron on the bundled data: 5,620 handwritten digits of 8x8 pixels (UCI, CC BY 4.0), 3,823 for
training and 1,797, by other writers, for testing. Nothing is downloaded. The same seed gives the same weights for
every number of threads.
"""
EPILOG = """\
GFLOP/s counts the operations of the matrix products alone: per weight and image 4 in the first layer, 6 in the others.
The FMA peak is the rate of multiply-adds on registers, measured after the training.
"""


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return count


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 65535, got {text!r}")
    return int(text)


def _widths(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")] if text.strip() else []


def _batch_size(text: str) -> int | None:
    return None if text == "all" else _count(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0 and below 1, got {text!r}")
    return share


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing folder, got {text!r}")
    return path


def _parser() -> argparse.ArgumentParser:
    prog = "python -m fastnn"
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [options]\n       %(prog)s info\n       %(prog)s warmup\n       %(prog)s playground [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    # No choices here: the value of a misspelt option would be reported as a wrong command.
    parser.add_argument("command", nargs="?", metavar="command",
                        help="info: print processor, threads, FMA peaks, bandwidths, cache and versions, for a bug "
                             "report; warmup: compile all kernels for float32 and float64 into the cache, so that "
                             "later calls need not compile; playground: open a page on which a net trains live, see "
                             "playground --help; without one: train with the given options")  # fmt: skip

    hidden = ", ".join(rule.name for rule in ACTIVATIONS if not rule.rows)
    losses = ", ".join(rule.name for rule in LOSSES if rule.outputs_per_target is None)
    net = parser.add_argument_group("net")
    net.add_argument("--layers", type=_widths, default="256,128", metavar="N,N",
                     help="widths of the hidden layers, '' for softmax regression (%(default)s)")  # fmt: skip
    net.add_argument("--activation", default="relu", metavar="NAME",
                     help=f"activation of the hidden layers: {hidden} (%(default)s)")
    net.add_argument("--alpha", type=float, metavar="A", help="parameter of leaky_relu (0.01) and elu (1)")
    net.add_argument("--dtype", default="float32", help="float32, float64 or mixed_bfloat16 (%(default)s)")

    loss = parser.add_argument_group("loss")
    loss.add_argument("--loss", default="softmax_crossentropy", metavar="NAME",
                      help=f"{losses}; all but softmax_crossentropy for each of the ten outputs (%(default)s)")
    loss.add_argument("--label-smoothing", type=_share, default=0.1, metavar="E",
                      help="part of each target that is spread over all classes (%(default)s; C. Szegedy et al., "
                           "Rethinking the Inception architecture, 2016, section 7)")  # fmt: skip
    loss.add_argument("--l1", type=float, default=0.0, metavar="L", help="penalty L sum |w| (%(default)s)")
    loss.add_argument("--l2", type=float, default=0.0, metavar="L", help="penalty L sum w^2 (%(default)s)")

    descent = parser.add_argument_group("descent")
    descent.add_argument("--optimizer", default="adam", metavar="NAME",
                         help=f"{', '.join(optimizers.first_order_names())} (%(default)s)")
    descent.add_argument("--learning-rate", type=float, metavar="R", help=f"({_default_rates()})")
    descent.add_argument("--momentum", type=float, metavar="M",
                         help="momentum of sgd (0), momentum and nesterov (0.9)")  # fmt: skip
    descent.add_argument("--batch-size", type=_batch_size, default=64, metavar="N",
                         help="images per update, 'all' for batch descent (%(default)s)")  # fmt: skip
    descent.add_argument("--epochs", type=_count, default=30, metavar="N", help="(%(default)s)")
    descent.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and order (%(default)s)")
    descent.add_argument("--threads", type=_count, metavar="N", help="maximum number of threads (all processors)")

    output = parser.add_argument_group("output")
    output.add_argument("--save", type=_new_file, metavar="PATH", help="write the trained model to this file")
    output.add_argument("--quiet", action="store_true", help="print results only")
    return parser


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; exit with status 2, and a suggestion, where one is unknown."""
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        name, known = unknown[0].partition("=")[0], [f"--{name.replace('_', '-')}" for name in vars(arguments)]
        close = difflib.get_close_matches(name, known, 1)
        parser.error(f"{name} is unknown{f'; did you mean {close[0]}?' if close else '.'} See --help.")
    if arguments.command not in (None, "info", "warmup"):
        parser.error(f"command must be info, warmup, playground or none, got {arguments.command!r}. See --help.")
    if arguments.command and vars(arguments) != vars(parser.parse_args([arguments.command])):
        parser.error(f"{arguments.command} takes no options.")
    return arguments


def _default_rates() -> str:
    """Return the learning rates of the optimizers as a text."""
    names: dict[str, list[str]] = {}
    for name in optimizers.first_order_names():
        rate = getattr(optimizers.get(name), "learning_rate", 0.0)
        names.setdefault(f"{rate:g}", []).append(name)
    return "; ".join(f"{rate} for {', '.join(of_rate)}" for rate, of_rate in names.items())


def _activation(name: str, alpha: float | None) -> Activation:
    activation = get_activation(name)
    return activation if alpha is None else Activation(activation.name, alpha)


def _optimizer(name: str, learning_rate: float | None, momentum: float | None) -> optimizers.Optimizer:
    try:
        optimizer = optimizers.get(name)
    except ValueError:
        known = optimizers.first_order_names()
        constraint = f"one of {', '.join(known)}"
        raise ValueError(must_be("optimizer", constraint, name, closest(name, known).strip())) from None
    if isinstance(optimizer, optimizers.Solver):
        raise ValueError(f"optimizer must be one for mini-batches, got {name!r}. Use one such as 'adam'.")
    if learning_rate is not None:
        optimizer = dataclasses.replace(optimizer, learning_rate=learning_rate)
    if momentum is not None:
        if not isinstance(optimizer, optimizers.SGD):
            raise ValueError(f"momentum is not a setting of {name}: remove it.")
        optimizer = dataclasses.replace(optimizer, momentum=momentum)
    return optimizer


def _model(arguments: argparse.Namespace) -> Model:
    activation = _activation(arguments.activation, arguments.alpha)
    loss = get_loss(arguments.loss)
    if loss.rule.outputs_per_target is not None:
        raise ValueError(must_be("loss", "one for a single number per output", arguments.loss))
    return Model(
        [*(Dense(units, activation) for units in arguments.layers), Dense(N_CLASSES)],
        loss=loss,
        optimizer=_optimizer(arguments.optimizer, arguments.learning_rate, arguments.momentum),
        regularizer=regularizers.L1L2(arguments.l1, arguments.l2),
        seed=arguments.seed,
        dtype=arguments.dtype,
        n_threads=arguments.threads,
    )


def _verbose(quiet: bool) -> bool:
    if quiet:
        return False
    if importlib.util.find_spec("tqdm") is None and sys.stderr.isatty():
        print("(for a progress bar: pip install 'fastnn-mlp[progress]')", file=sys.stderr)
        return False
    return True


def _train(arguments: argparse.Namespace, model: Model) -> int:
    digits = datasets.load_digits(dtype=model.dtype)
    X, X_test = digits.X_train, digits.X_test
    spread = arguments.label_smoothing
    classes = np.eye(N_CLASSES, dtype=model.dtype)
    y, y_test = (1.0 - spread) * classes[digits.y_train] + spread / N_CLASSES, classes[digits.y_test]
    model.build(X.shape[1])
    n_threads = min(model.n_threads, available_threads())
    if not arguments.quiet:
        print(
            f"fastnn {__version__}, {system_info.processor_name()}, {simd.VECTOR_BITS}-bit vectors, "
            f"up to {n_threads} thread{'s' * (n_threads > 1)}"
        )
        print(f"digits: {len(X):,} images of 8x8 pixels for training, {len(X_test):,} for testing\n")
        model.summary()
        print(flush=True)
    mixed = model.dtype_policy == MIXED_BFLOAT16
    ready = load_kernels(model.dtype, mixed=mixed)

    with contextlib.suppress(KeyboardInterrupt):
        model.fit(X, y, epochs=arguments.epochs, batch_size=arguments.batch_size, verbose=_verbose(arguments.quiet))
    history = model.history
    n_epochs, seconds = len(history.epoch), sum(history["seconds"]) if history.epoch else 0.0
    if n_epochs == 0:
        print("stopped before the end of the first epoch", file=sys.stderr)
        return 130
    n_rows = len(X) * n_epochs
    rate = model.flops_per_row(training=True) * n_rows / seconds
    peak = system_info.bfloat16_peak(n_threads) if mixed else system_info.fma_peak(model.dtype, n_threads)
    right = int(np.count_nonzero(model.predict(X_test).argmax(axis=1) == digits.y_test))
    loss = model.evaluate(X_test, y_test)["loss"]
    epochs = f"{n_epochs} epoch{'s' * (n_epochs > 1)}"
    if history.stopped:
        epochs = f"{n_epochs} of {arguments.epochs} epochs, stopped by Ctrl-C"
    threads = f"{n_threads} thread{'s' * (n_threads > 1)}"

    if not arguments.quiet:
        print()
    print(f"test accuracy   {right / len(X_test):.2%} ({right:,} of {len(X_test):,} images), loss {loss:.4f}")
    if spread:
        smoothed = f"training loss   {history['loss'][-1]:.4f}, of targets smoothed by {spread:g}"
        print(f"{smoothed} (the loss of the test is of labels as they are)")
    print(f"training time   {seconds:.3g} s ({epochs}), {n_rows / seconds:,.0f} samples/s")
    print(f"compilation     {ready:.2f} s for compiling the kernels, or loading them from the cache")
    print(
        f"arithmetic      {rate / 1e9:.1f} GFLOP/s, {rate / peak:.0%} of the FMA peak of {peak / 1e9:.1f} GFLOP/s "
        f"({threads}, {model.dtype_policy})"
    )
    if arguments.save is not None:
        model.save(arguments.save)
        print(f"saved           {arguments.save}")
    return 130 if history.stopped else 0


def _info() -> int:
    for name, value in system_info.info():
        lines = [(name, value)] if isinstance(value, str) else [(name, ""), *((f"  {k}", v) for k, v in value.items())]
        for label, text in lines:
            print(f"{label:<24}  {text}".rstrip(), flush=True)
    return 0


def _warmup() -> int:
    for dtype in ("float32", "float64"):
        start = time.perf_counter()
        load_all_kernels(dtype)
        print(f"{dtype}: ready after {time.perf_counter() - start:.1f} s", flush=True)
    where = compiler.CACHE_FOLDER
    print(f"cached in {where}" if where else "not cached: later processes compile again (see python -m fastnn info)")
    return 0


def _playground(prog: str, argv: Sequence[str]) -> int:
    """Serve the playground until Ctrl-C; the arguments are those after the command."""
    parser = argparse.ArgumentParser(
        prog=f"{prog} playground",
        description="Open a page on which a small net trains live on points of the plane. It listens on this machine "
        'alone and needs no network. Needs the extra "playground".',
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="port, 0 for any that is free (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument("--data", type=Path, metavar="FILE",
                        help="CSV to begin with: two inputs and a label per line")  # fmt: skip
    arguments = parser.parse_args(argv)
    try:
        text = None if arguments.data is None else arguments.data.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        parser.error(f"argument --data: must be a file of text that can be read, got {arguments.data} ({error})")
    from fastnn.playground import serve

    try:
        serve(port=arguments.port, browser=not arguments.no_browser, data=text)
    except ValueError as error:  # of the data
        parser.error(f"argument --data: {arguments.data}: {error}")
    except ImportError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # at once: a session may be in the middle of a compilation, which would be waited for
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 when training diverged or the model could not be saved; 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With status 2 for invalid arguments, and 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        if given[:1] == ["playground"]:
            return _playground(parser.prog, given[1:])
        arguments = _parse(parser, given)
        if arguments.command == "info":
            return _info()
        if arguments.command == "warmup":
            return _warmup()
        try:
            model = _model(arguments)
        except (TypeError, ValueError) as error:
            parser.error(str(error))
        return _train(arguments, model)
    except BrokenPipeError:  # standard output is a pipe whose reader has ended, such as `head`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # or Python reports it at exit
        return 0
    except (DivergenceError, MemoryError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    status = main()
    if status == 130:  # what still compiles after Ctrl-C could delay the end of the process
        with contextlib.suppress(OSError, ValueError):  # a pipe without a reader, or a closed stream
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
