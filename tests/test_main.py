"""The command line: trainings, output and exit status."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from driver import run_python
from insides import steps_done

import fastnn
from fastnn import __main__ as command_line
from fastnn import optimizers
from fastnn.__main__ import main
from fastnn._engine import system_info
from fastnn.activations import elu, leaky_relu
from fastnn.kernels.lang import compiler
from fastnn.kernels.nn.rules import ACTIVATIONS, LOSSES
from fastnn.optimizers import SGD, AdaGrad, Adam, RMSProp

ROOT = Path(fastnn.__file__).parents[1]
#: Little work: the numbers do not matter where these are used.
SHORT = ["--layers", "8", "--epochs", "2", "--batch-size", "256", "--threads", "1"]


@pytest.fixture(autouse=True)
def _quick_peak(monkeypatch):
    monkeypatch.setattr(system_info, "_MEASUREMENT", 1e-4)
    monkeypatch.setattr(system_info, "_REPEATS", 2)


@pytest.fixture
def models(monkeypatch):
    """The models that the command line makes."""
    made = []

    class Noted(fastnn.Model):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            if self.n_outputs == command_line.N_CLASSES:
                made.append(self)

    monkeypatch.setattr(command_line, "Model", Noted)
    return made


def accuracy(text):
    """The test accuracy that was printed, in percent."""
    return float(re.search(r"^test accuracy +([\d.]+)%", text, re.MULTILINE)[1])


# ---------------------------------------------------------------------------------------------------- training


@pytest.mark.slow
def test_the_defaults_reach_97_percent(capsys):
    """Over seeds 0 to 29 the accuracy was 98.2 % on average and 97.8 % at least."""
    assert main(["--quiet"]) == 0
    assert accuracy(capsys.readouterr().out) >= 97.0


def test_it_prints_the_net_the_progress_and_the_results(capsys, models):
    assert main([*SHORT, "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    assert "64 x 8" in out
    assert "8 x 10" in out
    assert re.findall(r"^epoch (\d/\d): loss=[\d.]+, accuracy=[\d.]+", err, re.MULTILINE) == ["1/2", "2/2"]
    assert re.search(r"^training time +[\d.]+ s \(2 epochs\), [\d,]+ samples/s$", out, re.MULTILINE)
    assert re.search(
        r"^arithmetic +[\d.]+ GFLOP/s, \d+% of the FMA peak of [\d.]+ GFLOP/s \(1 thread, float32\)$",
        out, re.MULTILINE,
    )  # fmt: skip
    (model,) = models
    digits = fastnn.datasets.load_digits()
    right = model.evaluate(digits.X_test, digits.y_test)
    assert accuracy(out) == pytest.approx(100 * right["accuracy"], abs=0.006)
    assert f"loss {right['loss']:.4f}" in out
    assert model.seed == 3


def test_quiet_gives_results_only(capsys):
    assert main([*SHORT, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert names == ["test accuracy", "training loss", "training time", "compilation", "arithmetic"]


@pytest.mark.parametrize("spread", ["0", "0.25"])
def test_the_loss_of_smoothed_targets_is_called_so(capsys, models, spread):
    assert main([*SHORT, "--quiet", "--label-smoothing", spread]) == 0
    out = capsys.readouterr().out
    named = re.search(r"^training loss +([\d.]+), of targets smoothed by 0.25", out, re.MULTILINE)
    assert (named is not None) == (spread != "0")
    assert named is None or named[1] == f"{models[0].history['loss'][-1]:.4f}"


def test_the_seed_alone_decides(capsys, tmp_path):
    for name, more in (("a", []), ("b", ["--threads", "2"]), ("c", ["--seed", "1"])):
        assert main([*SHORT, "--quiet", *more, "--save", str(tmp_path / f"{name}.npz")]) == 0
    a, b, c = (fastnn.load(tmp_path / f"{name}.npz").weights for name in "abc")
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0], c[0])


def test_rates_follow_from_rows_epochs_and_seconds(capsys, monkeypatch):
    """20 ms an epoch, 100 GFLOP/s: then samples/s, GFLOP/s and the share are known."""
    fit = fastnn.Model.fit

    def timed(self, *args, **options):
        record = fit(self, *args, **options)
        self.history["seconds"][:] = [0.02] * len(record.epoch)
        return record

    monkeypatch.setattr(fastnn.Model, "fit", timed)
    monkeypatch.setattr(system_info, "fma_peak", lambda dtype, n_threads: 1e11)
    assert main([*SHORT, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert f"0.04 s (2 epochs), {3823 / 0.02:,.0f} samples/s" in out
    gflops = 3823 * (4 * 64 * 8 + 6 * 8 * 10) / 0.02 / 1e9
    assert f"{gflops:.1f} GFLOP/s, {gflops / 100:.0%} of the FMA peak of 100.0 GFLOP/s" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer", "adam"], Adam()),
        (["--optimizer", "adam", "--learning-rate", "0.002"], Adam(0.002)),
        (["--optimizer", "sgd"], SGD()),
        (["--optimizer", "sgd", "--momentum", "0.5"], SGD(momentum=0.5)),
        (["--optimizer", "momentum", "--learning-rate", "0.1"], SGD(0.1, momentum=0.9)),
        (["--optimizer", "nesterov", "--momentum", "0.8"], SGD(momentum=0.8, nesterov=True)),
        (["--optimizer", "adagrad"], AdaGrad()),
        (["--optimizer", "rmsprop"], RMSProp()),
    ],
)
def test_the_optimizer(capsys, models, arguments, expected):
    assert main([*SHORT, "--quiet", *arguments]) == 0
    assert models[0].optimizer == expected


def test_the_net_and_the_loss(capsys, models):
    assert main([*SHORT, "--quiet", "--layers", "5, 4", "--activation", "elu", "--alpha", "0.5", "--l1", "1e-4",
                 "--l2", "1e-3", "--dtype", "float64", "--loss", "mse", "--threads", "2"]) == 0  # fmt: skip
    (model,) = models
    assert [(layer.units, layer.activation.name) for layer in model.layers] == [
        (5, "elu"), (4, "elu"), (10, "identity")
    ]  # fmt: skip
    assert model.layers[0].activation == elu(0.5)
    assert (model.regularizer.l1, model.regularizer.l2) == (1e-4, 1e-3)
    assert model.dtype == np.float64
    assert model.loss.name == "squared_error"
    assert model.n_threads == 2


def test_alpha_has_the_default_of_its_activation(capsys, models):
    assert main([*SHORT, "--quiet", "--activation", "leaky_relu"]) == 0
    assert models[0].layers[0].activation == leaky_relu()


@pytest.mark.parametrize("loss", ["binary_crossentropy", "sum_of_squares", "squared_error"])
def test_other_losses_learn_too(capsys, loss):
    arguments = ["--layers", "32", "--epochs", "5", "--learning-rate", "0.003", "--quiet", "--threads", "1"]
    assert main([*arguments, "--loss", loss]) == 0
    assert accuracy(capsys.readouterr().out) > 85.0


def test_no_hidden_layer_is_softmax_regression(capsys, models):
    assert main(["--layers", "", "--epochs", "10", "--learning-rate", "0.01", "--quiet", "--threads", "1"]) == 0
    assert len(models[0].layers) == 1
    assert accuracy(capsys.readouterr().out) > 90.0


@pytest.mark.parametrize(("given", "batch_size"), [("all", 3823), ("100", 100)])
def test_the_batch_size(capsys, models, given, batch_size):
    assert main([*SHORT, "--quiet", "--batch-size", given]) == 0
    (model,) = models
    assert model.history.epoch == [0, 1]
    assert steps_done(model) == 2 * -(-3823 // batch_size)


@pytest.mark.parametrize(("smoothing", "right", "wrong"), [("0", 1.0, 0.0), ("0.1", 0.91, 0.01)])
def test_label_smoothing(capsys, monkeypatch, smoothing, right, wrong):
    seen = []
    fit = fastnn.Model.fit

    def noted(self, X, y, **options):
        seen.append((X, y))
        return fit(self, X, y, **options)

    monkeypatch.setattr(fastnn.Model, "fit", noted)
    assert main([*SHORT, "--quiet", "--label-smoothing", smoothing]) == 0
    X, y = seen[-1]
    digits = fastnn.datasets.load_digits()
    np.testing.assert_array_equal(X, digits.X_train)
    np.testing.assert_allclose(y, np.where(np.eye(10)[digits.y_train], right, wrong), rtol=1e-6)
    assert y.dtype == np.float32


def test_save_writes_the_trained_model(capsys, models, tmp_path):
    path = tmp_path / "digits.npz"
    assert main([*SHORT, "--quiet", "--save", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    for kept, made in zip(fastnn.load(path).weights, models[0].weights, strict=True):
        np.testing.assert_array_equal(kept, made)


# ------------------------------------------------------------------------------------------ when it goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "8,x"], "argument --layers: must be an integer of at least 1, got 'x'"),
        (["--layers", "0"], "argument --layers: must be an integer of at least 1, got '0'"),
        (["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got '0'"),
        (["--batch-size", "1.5"], "argument --batch-size: must be an integer of at least 1, got '1.5'"),
        (["--threads", "-1"], "argument --threads: must be an integer of at least 1, got '-1'"),
        (["--label-smoothing", "1"], "argument --label-smoothing: must be a number of at least 0 and below 1, got '1'"),
        (["--label-smoothing", "nan"], "--label-smoothing: must be a number of at least 0 and below 1, got 'nan'"),
        (["--activation", "rely"], "Did you mean 'relu'"),
        (["--activation", "softmax"], "softmax"),
        (["--alpha", "0.1"], "alpha has no meaning for relu"),
        (["--optimizer", "adamm"], "Did you mean 'adam'"),
        (["--momentum", "0.9"], "momentum is not a setting of adam"),
        (["--learning-rate", "-1"], "learning_rate must be above 0"),
        (["--l2", "-1"], "l2 must be at least 0"),
        (["--loss", "hinge"], "loss must be one of squared_error,"),
        (["--optimizer", "lbgfs"], "adamw, nadam, lion, got 'lbgfs'."),
        (["--optimizer", "adan"], "got 'adan'. Did you mean 'adam'?"),
        (["--dtype", "float16"], "dtype must be 'float32', 'float64' or 'mixed_bfloat16', got 'float16'"),
        (["--seed", "-1"], "seed must be at least 0, got -1"),
        (["--save", "/no/such/folder/model.npz"], "argument --save"),
        (["--save", "."], "argument --save"),
        (["report"], "command must be info, warmup, playground or none, got 'report'"),
        (["info", "--epochs", "3"], "info takes no options"),
        (["--epohcs", "3"], "--epohcs is unknown; did you mean --epochs?"),
        (["--zzz=3"], "--zzz is unknown. See --help"),
        (["--loss", "gaussian_nll"], "loss must be one for a single number per output, got 'gaussian_nll'"),
    ],
)
def test_arguments_that_make_no_sense(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_divergence_is_reported_without_a_traceback(capsys):
    assert main([*SHORT, "--quiet", "--optimizer", "sgd", "--loss", "sum_of_squares", "--learning-rate", "1e30"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m fastnn: training diverged in epoch 0")


def test_a_net_that_does_not_fit_into_memory(capsys):
    assert main(["--layers", "1000000000000", "--quiet"]) == 1
    assert "does not fit into memory" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    def refuse(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(fastnn.Model, "save", refuse)
    assert main([*SHORT, "--quiet", "--save", str(tmp_path / "model.npz")]) == 1
    out, err = capsys.readouterr()
    assert "test accuracy" in out  # what was reached is printed before
    assert "No space left on device" in err


def test_help_lists_every_name(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in (*optimizers.first_order_names(), *ACTIVATIONS.names, *LOSSES.names):
        if name not in ("gaussian_nll", "quantile"):  # they have not one output per target
            assert re.search(rf"\b{name}\b", text), name
    assert {"adamw", "sgd"} <= set(optimizers.first_order_names())
    assert "(0.01 for sgd, momentum, nesterov, adagrad; 0.001 for rmsprop, adam, amsgrad, adamw; 0.002 for" in text


def test_more_threads_than_processors_are_not_announced(capsys, monkeypatch):
    monkeypatch.setattr(command_line, "available_threads", lambda: 1)
    assert main([*SHORT, "--threads", "999"]) == 0
    assert "up to 1 thread\n" in capsys.readouterr().out


def test_a_reader_that_ends_early_is_no_error():
    code = f"import sys; from fastnn.__main__ import main; sys.exit(main({[*SHORT, '--quiet']!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(300) == 0


class _Interrupting(fastnn.Callback):
    def __init__(self, epoch):
        self.at = epoch

    def on_epoch_begin(self, epoch, logs):
        if epoch == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def interrupt(monkeypatch):
    """Let Ctrl-C come at the beginning of an epoch."""
    fit = fastnn.Model.fit

    def at(epoch):
        def interrupted(self, X, y, **options):
            watch = None if self.n_outputs == 1 else _Interrupting(epoch)
            return fit(self, X, y, callbacks=watch, **options)

        monkeypatch.setattr(fastnn.Model, "fit", interrupted)

    return at


def test_ctrl_c_ends_the_training_and_reports_what_was_reached(capsys, interrupt, tmp_path):
    interrupt(1)
    assert main([*SHORT, "--quiet", "--save", str(tmp_path / "model.npz")]) == 130
    assert "(1 of 2 epochs, stopped by Ctrl-C)" in capsys.readouterr().out
    assert fastnn.load(tmp_path / "model.npz").history.epoch == [0]


def test_ctrl_c_before_the_first_epoch_ends(capsys, interrupt):
    interrupt(0)
    assert main([*SHORT, "--quiet"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "stopped before the end of the first epoch\n"


def test_ctrl_c_elsewhere(capsys, monkeypatch):
    def pressed():
        raise KeyboardInterrupt

    monkeypatch.setattr(system_info, "info", pressed)
    assert main(["info"]) == 130


def test_info_prints_what_is_known_before_it_measures(capsys, monkeypatch):
    def pressed():
        assert "versions" in capsys.readouterr().out
        raise KeyboardInterrupt

    monkeypatch.setattr(system_info, "roofline", pressed)
    assert main(["info"]) == (0 if compiler.JIT_DISABLED else 130)


def test_without_tqdm_a_terminal_gets_a_hint(capsys, monkeypatch):
    monkeypatch.setattr(command_line.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(command_line.sys.stderr, "isatty", lambda: True, raising=False)
    assert main(SHORT) == 0
    assert "fastnn-mlp[progress]" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------- other commands


def test_info(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = dict(system_info.info())
    assert [line.split("  ")[0] for line in lines if not line.startswith("  ")] == list(found)
    inner = [line[2:].split("  ")[0] for line in lines if line.startswith("  ")]
    assert inner == (list(found["roofline"]) if isinstance(found["roofline"], dict) else [])
    assert any(f"fastnn {fastnn.__version__}" in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_warmup_prints_what_it_did(capsys):
    assert main(["warmup"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^(float\d\d): ready after [\d.]+ s$", out, re.MULTILINE) == ["float32", "float64"]
    assert out.splitlines()[-1].startswith(("cached in ", "not cached"))


@pytest.mark.slow
@pytest.mark.skipif(compiler.JIT_DISABLED, reason="nothing is compiled")
def test_warmup_leaves_nothing_to_compile():
    """It compiles every kernel, and nets of other kinds ask for no other specialisation."""
    code = """
import importlib, pkgutil
import numpy as np
from numba.core.dispatcher import Dispatcher
import fastnn, fastnn.kernels
from fastnn.__main__ import main

kernels = {}
for module in pkgutil.walk_packages(fastnn.kernels.__path__, "fastnn.kernels."):
    for name, function in vars(importlib.import_module(module.name)).items():
        if isinstance(function, Dispatcher) and not function.targetoptions.get("no_cpython_wrapper"):
            kernels[name] = function
main(["warmup"])
before = {name: set(kernel.signatures) for name, kernel in kernels.items()}
assert len(before) > 3, before
assert all(before.values()), before

rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 4, 50)
    X.flags.writeable = False
    for optimizer in ("sgd", "nesterov", "adam"):
        model = fastnn.Model([7, 4], loss="softmax_crossentropy", optimizer=optimizer, seed=0, dtype=dtype)
        model.fit(X, y, sample_weight=np.ones(50), validation_split=0.2, verbose=False)
        model.fit(np.asfortranarray(X), np.eye(4)[y], batch_size=None, shuffle=False, verbose=False)
        model.evaluate(X, y), model.predict_proba(X), model.gradient(X, y)
    fastnn.Model([], loss="squared_error", dtype=dtype).fit(X, X[:, 0], verbose=False)
for name, kernel in kernels.items():
    assert set(kernel.signatures) == before[name], (name, set(kernel.signatures) - before[name])
"""
    run_python(code)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main([option])
    assert stopped.value.code == 0
    assert ("usage: python -m fastnn" if option == "--help" else fastnn.__version__) in capsys.readouterr().out


def test_the_version_is_that_of_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["version"] == fastnn.__version__


@pytest.mark.slow
def test_as_a_process():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastnn", *SHORT],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert accuracy(done.stdout) > 10.0
    assert done.stderr.count("epoch ") == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_in_a_process():
    """A real signal, while compiled code runs."""
    # The handler is set because a process that was started in the background may ignore the signal.
    code = """
import signal, sys
from fastnn.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *SHORT, "--epochs", "20000"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        for line in process.stderr:
            if line.startswith("epoch 20/"):
                process.send_signal(signal.SIGINT)
                break
        for _ in process.stderr:  # so that it never waits for a reader
            pass
        out = process.stdout.read()
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in out
