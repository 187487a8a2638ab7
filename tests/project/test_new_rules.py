"""An activation, a loss and an optimizer that are added as CONTRIBUTING describes: one edit each, in one file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn
from fastnn.kernels.lang.compiler import JIT_DISABLED

PACKAGE = Path(fastnn.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
MARKER = re.compile(r"^# -+ what a user states$", re.MULTILINE)

PROGRAM = """
import sys
import numpy as np
import fastnn

assert fastnn.__file__.startswith(sys.argv[1]), fastnn.__file__
assert "relu_squared" in fastnn.activations.Activation.__doc__
assert "log_cosh" in fastnn.losses.Loss.__doc__
assert "Adamax" in fastnn.__all__


def numpy_steps(weights, biases, x, t, rate, steps, b1=0.9, b2=0.999, epsilon=1e-8):
    arrays = [a.astype(float) for a in (*weights, *biases)]
    slots = [(np.zeros_like(a), np.zeros_like(a)) for a in arrays]
    values = []
    for step in range(1, steps + 1):
        w1, w2, c1, c2 = arrays
        z = x @ w1 + c1
        y = np.maximum(z, 0) ** 2
        e = y @ w2 + c2 - t
        values.append(np.mean(np.log(np.cosh(e))))
        d = np.tanh(e) / e.size
        d_hidden = d @ w2.T * 2 * np.maximum(z, 0)
        gradients = [x.T @ d_hidden, y.T @ d, d_hidden.sum(axis=0), d.sum(axis=0)]
        for a, g, (m, u) in zip(arrays, gradients, slots, strict=True):
            m[...] = b1 * m + (1 - b1) * g
            u[...] = np.maximum(b2 * u, np.abs(g))
            a -= rate / (1 - b1**step) * m / (u + epsilon)
    return arrays, values


tolerances = {"float32": 2e-3, "float64": 1e-9}
for dtype in sys.argv[2:]:
    tolerance = tolerances[dtype]
    for n_out in (3, 40):  # by blocks of rows, and row by row
        rng = np.random.default_rng(n_out)
        x, t = rng.standard_normal((24, 5)).astype(dtype), rng.standard_normal((24, n_out)).astype(dtype)
        model = fastnn.Model(
            [fastnn.Dense(9, "relu_squared"), n_out], loss="log_cosh", optimizer=fastnn.Adamax(0.01), seed=0,
            dtype=dtype,
        ).build(5)
        start = [w.copy() for w in model.weights], [b.copy() for b in model.biases]
        losses = model.fit(x, t, epochs=6, batch_size=24, verbose=False)["loss"]
        arrays, values = numpy_steps(*start, x.astype(float), t.astype(float), 0.01, 6)
        np.testing.assert_allclose(losses, values, rtol=tolerance)
        for got, wanted in zip((*model.weights, *model.biases), arrays, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
        path = f"{sys.argv[1]}/model.npz"
        model.save(path)
        again = fastnn.load(path)
        assert again.optimizer == model.optimizer and again.loss == model.loss
        for one in (model, again):
            one.fit(x, t, epochs=2, batch_size=24, verbose=False)
        for got, wanted in zip(again.weights, model.weights, strict=True):
            np.testing.assert_array_equal(got, wanted)
assert fastnn.Model([2], loss="log_cosh", optimizer="adamax").optimizer == fastnn.Adamax()
print("trained")
"""


def blocks():
    """The three examples by their files."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    return dict(re.findall(r"^`fastnn/(\w+)\.py`: .*?^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with the three rules in it."""
    shutil.copytree(PACKAGE, tmp_path / "fastnn", ignore=shutil.ignore_patterns("__pycache__"))
    added = blocks()
    assert set(added) == {"activations", "losses", "optimizers"}
    for module, block in added.items():
        path = tmp_path / "fastnn" / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        if module == "optimizers":
            text = text.replace('    "Adam",\n', '    "Adam",\n    "Adamax",\n', 1)
        assert len(MARKER.findall(text)) == 1
        path.write_text(MARKER.sub(lambda found, block=block: f"{block}\n\n{found[0]}", text), encoding="utf-8")
    return tmp_path


def run(folder, *dtypes, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_DISABLE_JIT", "PYTHONWARNINGS")}
    env |= {"PYTHONPATH": str(folder), "FASTNN_CACHE_DIR": str(folder / "cache"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *dtypes], env=env, cwd=folder, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout


def test_rules_as_python(copy):
    run(copy, "float32", "float64", NUMBA_DISABLE_JIT="1")


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_rules_compiled(copy):
    # The kernels of float64 are compiled from the same source, for another minute: as Python they are exact above.
    run(copy, "float32")
