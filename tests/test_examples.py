"""The examples run and show what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_xor_needs_a_hidden_layer(capsys):
    accuracies = load("xor").main(epochs=60)
    assert accuracies["logistic regression"] < 0.8
    assert accuracies["4 hidden units"] > 0.98
    assert "4 hidden units" in capsys.readouterr().out


def test_curves_are_fitted_in_a_few_steps(capsys):
    errors = load("curve_fitting").main(adam_epochs=200, iterations=60)
    assert errors["Levenberg-Marquardt"] < 0.005
    assert errors["L-BFGS"] < 0.2
    assert errors["Levenberg-Marquardt"] < errors["Adam"]
    assert "60 epochs" in capsys.readouterr().out


def test_every_example_is_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    names = [path.stem for path in EXAMPLES.glob("*.py")]
    assert names
    missing = [name for name in names if f'load("{name}")' not in text]
    if missing:
        pytest.fail(f"examples without a test: {missing}")
