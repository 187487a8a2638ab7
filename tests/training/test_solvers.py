"""Full-batch solvers: optima, reasons of the end, invalid settings, and callbacks and records of a fit."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from driver import architecture, engine, naive
from insides import engine_of, flat_parameters
from scipy import optimize

import fastnn
from fastnn import losses, optimizers
from fastnn.__main__ import main
from fastnn._data.prepare import prepare
from fastnn._training import levenberg_marquardt as lm
from fastnn.model import net_of

# Targets and features of every size are the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")

ROOT = Path(__file__).parents[2]

SOLVERS = ["lbfgs", "lm"]


@pytest.fixture(params=SOLVERS)
def solver(request):
    """Name of each solver."""
    return request.param


def curve(n=60, seed=0):
    """A noisy curve, (n, 1) and (n,), float64."""
    rng = np.random.default_rng(seed)
    X = np.linspace(-1, 1, n)[:, None]
    return X, np.sin(3 * X[:, 0]) + 0.1 * rng.standard_normal(n)


def model_of(optimizer, **options):
    """A small net for a curve."""
    options = {"loss": "squared_error", "seed": 0, "dtype": "float64", **options}
    return fastnn.Model([fastnn.Dense(5, "tanh"), 1], optimizer=optimizer, **options)


def flat(model):
    """Copies of all weights and biases."""
    return np.concatenate([array.ravel() for array in (*model.weights, *model.biases)])


class Recorder(fastnn.Callback):
    """Callback that records its arguments, and the weights at that time."""

    def __init__(self, stop_after=None):
        self.calls = []
        self.weights = []
        self.stop_after = stop_after

    def on_train_begin(self, logs):
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch, logs):
        self.calls.append(f"begin {epoch}")

    def on_epoch_end(self, epoch, logs):
        self.calls.append(f"end {epoch}")
        self.weights.append(flat(self.model))
        self.model.stop_training = epoch == self.stop_after

    def on_train_end(self, logs):
        self.calls.append("train end")


#  what they reach


def test_linear_regression_is_solved(solver, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    y = X @ [[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]] + [0.3, -0.2] + 0.1 * rng.standard_normal((40, 2))
    model = fastnn.Model([], loss="squared_error", optimizer=solver, dtype=dtype, seed=0)
    history = model.fit(X, y, epochs=100)
    wanted = np.linalg.lstsq(np.column_stack([X, np.ones(40)]), y, rcond=None)[0]
    found = np.vstack([model.weights[0], model.biases[0]])
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert history.stopped in ("converged", "stalled")
    assert len(history) < 30


def test_lbfgs_is_that_of_scipy():
    X, y = curve()
    model = model_of("lbfgs", regularizer="l2")
    twin = model_of("sgd", regularizer="l2").build(1)

    def objective(x):
        w1, b1, w2, b2 = np.split(x, [5, 10, 15])
        twin.weights[0][:], twin.biases[0][:], twin.weights[1][:], twin.biases[1][:] = w1, b1, w2[:, None], b2
        loss, (g1, g3), (g2, g4) = twin.gradient(X, y)
        return loss, np.concatenate([g1.ravel(), g2, g3.ravel(), g4])

    start = np.concatenate([twin.weights[0].ravel(), twin.biases[0], twin.weights[1].ravel(), twin.biases[1]])
    wanted = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 25})
    history = model.fit(X, y, epochs=25)
    assert len(history) == wanted.nit == 25
    np.testing.assert_array_equal(flat(model)[[0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 5, 6, 7, 8, 9, 15]], wanted.x)
    assert history["loss"][-1] == wanted.fun


@pytest.mark.parametrize(
    ("loss", "outputs"), [("softmax_crossentropy", 3), ("binary_crossentropy", 1), ("sum_of_squares", 2)]
)
def test_lbfgs_minimises_every_loss(loss, outputs, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    y = (X[:, :outputs] > 0).astype(float) if loss != "softmax_crossentropy" else X[:, :3].argmax(axis=1)
    model = fastnn.Model([fastnn.Dense(6, "tanh"), outputs], loss=loss, optimizer="lbfgs", dtype=dtype, seed=0)
    before = model.build(4).evaluate(X, y)["loss"]
    history = model.fit(X, y, epochs=60)
    assert history["loss"][-1] < 0.3 * before
    assert (np.diff(history["loss"]) <= 0).all()


def naive_loss(loss, u, t):
    """Mean loss of outputs (n, O) by NumPy; targets are spread as the kernels do it."""
    parameters = np.asarray(loss.parameters(u.shape[1]))
    if loss.label_smoothing:
        classes = u.shape[1] if loss.name == "softmax_crossentropy" else 2
        t = t * (1 - loss.label_smoothing) + loss.label_smoothing / classes
        parameters = 0.0
    return float(naive.loss_rows(loss.rule.code, u, t, parameters).mean())


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        (losses.huber(0.5), 2),
        (losses.Loss("poisson"), 2),
        (losses.Loss("gaussian_nll"), 4),
        (losses.softmax_crossentropy(0.1), 3),
        (losses.binary_crossentropy(0.1), 2),
    ],
    ids=str,
)
def test_lbfgs_finds_the_minimum_of_a_smooth_loss(loss, outputs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    n_targets = outputs // loss.outputs_per_target
    raw = X[:, :n_targets] + 0.5 * rng.standard_normal((80, n_targets))
    y = rng.poisson(np.exp(raw)) if loss.name == "poisson" else raw
    if loss.classification:
        y = np.eye(3)[raw.argmax(axis=1)] if loss.name == "softmax_crossentropy" else raw > 0
    y = y.astype(float)
    model = fastnn.Model([outputs], loss=loss, optimizer=fastnn.LBFGS(gtol=1e-9, ftol=0.0), dtype="float64", seed=0)
    history = model.fit(X, y, epochs=500)
    wide = np.column_stack([X, np.ones(80)])
    targets = np.tile(y, outputs // n_targets)
    wanted = optimize.minimize(lambda c: naive_loss(loss, wide @ c.reshape(4, outputs), targets), np.zeros(4 * outputs))
    assert history.stopped in ("converged", "stalled")
    assert history["loss"][-1] == pytest.approx(wanted.fun, rel=1e-7)
    found = np.vstack([model.weights[0], model.biases[0]])
    # The loss of classes that exclude each other does not change with a number added to all logits.
    if loss.name == "softmax_crossentropy":
        found, wanted.x = (c - c.mean(axis=1, keepdims=True) for c in (found, wanted.x.reshape(4, outputs)))
    np.testing.assert_allclose(found.ravel(), wanted.x.ravel(), atol=1e-3)


@pytest.mark.parametrize("loss", [losses.quantile(0.1, 0.5, 0.9), losses.Loss("absolute_error")], ids=str)
def test_lbfgs_comes_near_the_minimum_of_a_loss_with_kinks(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    y = X[:, 0] + rng.standard_normal(80)
    levels = loss.quantiles or (0.5,)
    model = fastnn.Model([len(levels)], loss=loss, optimizer="lbfgs", dtype="float64", seed=0)
    history = model.fit(X, y, epochs=500)
    wide = np.column_stack([X, np.ones(80)])
    minima = []
    for q in levels:  # linear programming: y = X c + above - below
        cost = np.concatenate([np.zeros(4), np.full(80, q), np.full(80, 1 - q)])
        equations = np.hstack([wide, np.eye(80), -np.eye(80)])
        bounds = [(None, None)] * 4 + [(0, None)] * 160
        minima.append(optimize.linprog(cost, A_eq=equations, b_eq=y, bounds=bounds).fun / 80)
    wanted = np.mean(minima) * (1 if loss.quantiles else 2)
    assert wanted * (1 - 1e-9) <= history["loss"][-1] < 1.01 * wanted


def test_the_history_is_that_of_the_weights_of_the_model(solver, dtype):
    X, y = curve()
    def worst(y_true, y_pred):
        return np.abs(y_true - y_pred).max()

    model = model_of(solver, dtype=dtype, metrics=["mae", worst], regularizer=fastnn.L2(1e-3))
    weights = np.linspace(1, 2, 60)
    history = model.fit(X, y, epochs=7, validation_data=(X[:9], y[:9]), sample_weight=weights)
    names = ["loss", "mean_absolute_error", "worst", "val_loss", "val_mean_absolute_error", "val_worst", "seconds"]
    assert sorted(history.history) == sorted([*names, "mu"] if solver == "lm" else names)
    tolerance = {"rtol": 1e-12 if dtype == np.float64 else 1e-5}
    for name, value in model.evaluate(X, y, sample_weight=weights).items():
        np.testing.assert_allclose(history[name][-1], value, **tolerance)
    for name, value in model.evaluate(X[:9], y[:9]).items():
        np.testing.assert_allclose(history[f"val_{name}"][-1], value, **tolerance)
    assert history.epoch == model.history.epoch == list(range(7))
    assert (np.diff(history["loss"]) < 0).all()


def test_rows_kept_back_are_not_learnt_from(solver):
    X, y = curve()
    first, second = (model_of(solver) for _ in range(2))
    first.fit(X, y, epochs=3, validation_split=0.25)
    index, held_back = fastnn._data.prepare.split_validation(60, 0.25, 0, name="validation_split")
    y[held_back] = 100.0
    second.fit(X, y, epochs=3, validation_split=0.25)
    np.testing.assert_array_equal(flat(first), flat(second))
    third = model_of(solver)
    third.fit(X[index], y[index], epochs=3)
    np.testing.assert_allclose(flat(third), flat(first), rtol=1e-8)


def test_the_same_bits_on_each_run_and_for_any_number_of_threads(solver, dtype, monkeypatch):
    monkeypatch.setattr("fastnn._training.net.WORK_FOR_THREADS", 1)
    X, y = curve(700)
    found = []
    for n_threads in (1, 1, 2, 3):
        model = fastnn.Model([fastnn.Dense(20, "tanh"), 1], loss="squared_error", optimizer=solver, dtype=dtype, seed=0,
                             n_threads=n_threads)  # fmt: skip
        model.fit(X, y, epochs=5)
        found.append(flat(model))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_a_layer_without_biases(solver):
    X, y = curve()
    layers = [fastnn.Dense(5, "tanh", use_bias=False), fastnn.Dense(1, use_bias=False)]
    model = fastnn.Model(layers, loss="squared_error", optimizer=solver, dtype="float64", seed=0)
    history = model.fit(X, y, epochs=20)
    assert history["loss"][-1] < 0.03
    assert not any(b.any() for b in model.biases)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trained", [(False, True, True), (True, False, True), (True, True, False)], ids=str)
def test_frozen_layers_stay(solver, trained, dtype):
    X, y = curve()
    layers = [fastnn.Dense(5, "tanh"), fastnn.Dense(4, "tanh"), fastnn.Dense(1)]
    model = fastnn.Model(layers, loss="squared_error", optimizer=solver, dtype=dtype, seed=0,
                         regularizer=fastnn.L2(1e-3))  # fmt: skip
    engine_of(model.build(1)).set_trained(trained)
    before = [(w.copy(), b.copy()) for w, b in zip(model.weights, model.biases, strict=True)]
    loss = model.evaluate(X, y)["loss"]
    history = model.fit(X, y, epochs=20)
    for (w0, b0), w, b, learns in zip(before, model.weights, model.biases, trained, strict=True):
        assert np.array_equal(w0, w) == np.array_equal(b0, b) == (not learns)
    assert history["loss"][-1] < 0.5 * loss
    assert history["loss"][-1] == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-4 if dtype == "float32" else 1e-12)


def test_a_frozen_net_below_is_that_of_its_outputs(solver):
    # Only the last layer learns: that is a linear regression on what the hidden layer makes of X.
    X, y = curve()
    settings = {"lbfgs": fastnn.LBFGS(gtol=1e-8, ftol=0.0), "lm": fastnn.LevenbergMarquardt(ftol=0.0)}
    model = model_of(settings[solver])
    engine_of(model.build(1)).set_trained((False, True))
    model.weights[0][:], model.biases[0][:] = 4.0, np.linspace(-3.0, 3.0, 5)
    hidden = np.tanh(X @ model.weights[0] + model.biases[0])
    history = model.fit(X, y, epochs=300)
    wanted = np.linalg.lstsq(np.column_stack([hidden, np.ones(60)]), y, rcond=None)
    assert history["loss"][-1] == pytest.approx(float(wanted[1][0]) / 60, rel=1e-3)


def test_a_net_with_nothing_to_train_is_refused(solver):
    X, y = curve()
    model, recorder = model_of(solver).build(1), Recorder()
    engine_of(model).set_trained((False, False))
    with pytest.raises(ValueError, match="there is nothing to train: all layers are frozen"):
        model.fit(X, y, callbacks=recorder)
    assert recorder.calls == []
    assert len(model.history) == 0


def test_max_norm_is_refused(solver):
    model = model_of(solver).build(1)
    engine_of(model).architecture = dataclasses.replace(engine_of(model).architecture, max_norms=(1.0, 0.0))
    with pytest.raises(ValueError, match="does not support max-norm: remove max_norm"):
        model.fit(*curve())


@pytest.mark.parametrize("sizes", [[3, 2], [40, 1, 5], [5, 17, 1, 3]])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_index_finds_every_parameter(sizes, use_bias, dtype):
    made = engine(architecture(sizes, use_bias=use_bias, dtype=dtype))
    for trained in ((), tuple(k == 0 for k in range(len(sizes) - 1)), tuple(k > 0 for k in range(len(sizes) - 1))):
        made.set_trained(trained)
        index = made.parameter_index()
        wanted = [np.empty(0)]
        for k, (w, b) in enumerate(zip(made.weights(), made.biases(), strict=True)):
            if not trained or trained[k]:
                wanted += [w.ravel(), b] if use_bias else [w.ravel()]
        np.testing.assert_array_equal(made.params[index], np.concatenate(wanted))
        assert len(np.unique(index)) == len(index)


#  how they end


def test_converged_at_once(solver):
    X, y = curve()
    model = fastnn.Model([1], loss="squared_error", optimizer=solver, dtype="float64", seed=0)
    model.fit(X, y, epochs=200)
    weights = flat(model)
    recorder = Recorder()
    history = model.fit(X, y, epochs=5, callbacks=recorder)
    assert history.stopped == model.history.stopped == "converged"
    assert "reason" in history.params
    assert len(history) <= 1
    assert recorder.calls[-1] == "train end"
    np.testing.assert_allclose(flat(model), weights, atol=1e-6)


def test_all_epochs_and_then_some(solver):
    X, y = curve()
    model = model_of(solver)
    assert model.fit(X, y, epochs=2).stopped is None
    history = model.fit(X, y, epochs=1)
    assert history.stopped is None
    assert history.epoch == [2]
    assert model.history.epoch == [0, 1, 2]


def test_without_epochs_a_solver_iterates_until_it_has_converged(solver, capfd):
    X, y = curve()
    model = fastnn.Model([], loss="squared_error", optimizer=solver, dtype="float64", seed=0)
    history = model.fit(X, y, verbose=True)
    assert history.stopped in ("converged", "stalled")
    assert 1 < len(history) < history.params["epochs"] == 1000
    assert capfd.readouterr().err.splitlines()[0].startswith("epoch 1/1000: ")
    wanted = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), y, rcond=None)[1] / 60
    assert history["loss"][-1] == pytest.approx(float(wanted[0]), rel=1e-6)
    limited = model_of({"lbfgs": fastnn.LBFGS, "lm": fastnn.LevenbergMarquardt}[solver](gtol=0.0, ftol=0.0))
    assert 100 < len(limited.fit(X, y, epochs=None)) <= 1000


def test_without_epochs_the_other_optimizers_make_one_pass():
    X, y = curve()
    for optimizer in ("adam", "sgd"):
        assert len(model_of(optimizer).fit(X, y)) == 1
        assert len(model_of(optimizer).fit(X, y, epochs=None)) == 1
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="epochs must be"):
            model_of("lm").fit(X, y, epochs=wrong)


def test_max_fun():
    X, y = curve()
    history = model_of(fastnn.LBFGS(max_fun=5)).fit(X, y, epochs=100)
    assert history.stopped == "max_fun"
    assert "max_fun=5" in history.params["reason"]
    assert 0 < len(history) < 6


def test_single_precision_ends_where_rounding_hides_the_slope():
    X, y = curve()
    model = model_of(fastnn.LBFGS(gtol=0.0, ftol=0.0), dtype="float32")
    history = model.fit(X, y, epochs=3000)
    assert history.stopped in ("converged", "stalled")
    np.testing.assert_allclose(model.evaluate(X, y)["loss"], min(history["loss"]), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_a_start_that_is_not_finite(solver):
    X, y = curve()
    model = model_of(solver).build(1)
    weights = flat(model)
    with pytest.raises(fastnn.DivergenceError, match="from which the solver starts") as error:
        model.fit(X, 1e200 * y, epochs=3)
    np.testing.assert_array_equal(flat(model), weights)
    assert error.value.history.stopped == "diverged"
    assert len(model.history) == 0
    model.fit(X, y, epochs=3)


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_a_step_to_where_the_loss_is_not_finite_is_taken_back(solver):
    # Single outputs of 1e150 have squares that overflow; one full step from here leads there.
    X = np.full((4, 1), 1e150)
    model = fastnn.Model([1], loss="squared_error", optimizer=solver, dtype="float64", seed=0).build(1)
    model.weights[0][:] = 1e-150
    history = model.fit(X, np.zeros(4), epochs=5)
    assert np.isfinite(flat(model)).all()
    assert all(np.isfinite(history["loss"]))


def test_stopping(solver):
    X, y = curve()
    model, recorder = model_of(solver), Recorder(stop_after=1)
    history = model.fit(X, y, epochs=9, callbacks=recorder)
    assert history.stopped == "stop_training"
    assert recorder.calls == ["train begin", "begin 0", "end 0", "begin 1", "end 1", "train end"]
    np.testing.assert_array_equal(recorder.weights[-1], flat(model))


def test_looking_on_changes_nothing(solver):
    X, y = curve()
    first, second = (model_of(solver) for _ in range(2))
    recorder = Recorder()
    first.fit(X, y, epochs=4)
    second.fit(X, y, epochs=4, callbacks=recorder, validation_data=(X, y))
    np.testing.assert_array_equal(flat(first), flat(second))
    assert not np.array_equal(recorder.weights[0], recorder.weights[1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_it_leaves_the_last_iteration(solver, error):
    class Failing(Recorder):
        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            if epoch == 2:
                raise error

    X, y = curve()
    model, failing = model_of(solver), Failing()
    with pytest.raises(error):
        model.fit(X, y, epochs=9, callbacks=failing)
    assert model.history.stopped == ("interrupted" if error is KeyboardInterrupt else None)
    np.testing.assert_array_equal(flat(model), failing.weights[-1])
    assert len(failing.weights) == 3


def test_an_interrupted_evaluation_leaves_the_last_iteration(solver, monkeypatch):
    X, y = curve()
    model = model_of(solver)
    recorder = Recorder()
    where, name = (fastnn._engine.thread_team.ThreadTeam, "run") if solver == "lbfgs" else (lm, "residuals")
    run, calls = getattr(where, name), []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return run(*args, **options)

    monkeypatch.setattr(where, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, epochs=50, callbacks=recorder)
    assert model.history.stopped == "interrupted"
    assert 0 < len(model.history) < 13
    np.testing.assert_array_equal(flat(model), recorder.weights[-1])


def test_a_line_an_iteration(solver, capfd):
    X, y = curve()
    model_of(solver).fit(X, y, epochs=2, verbose=True)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]


def test_a_model_with_a_solver_is_kept(solver, tmp_path):
    X, y = curve()
    model = model_of(solver)
    model.fit(X, y, epochs=3)
    model.save(tmp_path / "model.npz")
    again = fastnn.load(tmp_path / "model.npz")
    assert again.optimizer == model.optimizer
    first, second = model.fit(X, y, epochs=3), again.fit(X, y, epochs=3)
    assert first["loss"] == second["loss"]


def test_from_adam_to_a_solver_and_back(solver):
    X, y = curve()
    model = model_of("adam")
    model.fit(X, y, epochs=2)
    model.optimizer = solver
    loss = model.fit(X, y, epochs=4)["loss"][-1]
    model.optimizer = "adam"
    assert model.fit(X, y, epochs=2, batch_size=None)["loss"][0] == pytest.approx(loss)


#  targets of any size


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-5, 1e4])
def test_the_units_of_the_targets_do_not_matter(solver, size):
    X, y = curve()
    found = []
    for scale in (1.0, size):
        model = model_of(solver).build(1, 1)
        for a in (model.weights[1], model.biases[1]):  # the same start in these units
            a[:] *= scale
        # A linear last layer makes the loss that of y times the square of the units.
        history = model.fit(X, scale * y, epochs=300)
        found.append((len(history), history.stopped, 1 - history["loss"][-1] / (scale * y).var()))
    assert found[1][2] == pytest.approx(found[0][2], abs=0.01)
    assert found[1][2] > 0.95


@pytest.mark.parametrize("spread", [1.0, 0.1, 0.01, 1e-3, 1e-5])
def test_small_targets_are_fitted_to_the_end(solver, spread):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 2))
    y = spread * np.sin(3 * X[:, 0]) * X[:, 1]
    unlimited = {"lbfgs": fastnn.LBFGS, "lm": fastnn.LevenbergMarquardt}[solver](gtol=0.0, ftol=0.0)
    losses = []
    for optimizer in (solver, unlimited):
        model = fastnn.Model([fastnn.Dense(10, "tanh"), 1], loss="squared_error", optimizer=optimizer, seed=1,
                             dtype="float64")  # fmt: skip
        losses.append(model.fit(X, y, epochs=500)["loss"][-1])
    assert losses[0] <= 1.01 * losses[1]
    if solver == "lm":
        assert losses[0] < 1e-6 * y.var()


def test_a_loss_below_one_is_no_reason_to_stop():
    # scipy's ftol is a share of at least 1: it stops at losses of which one iteration takes a large part.
    X, y = curve()
    model = model_of("lbfgs")
    history = model.fit(X, 1e-4 * y, epochs=5000)
    assert history.stopped in ("converged", "stalled")
    losses = history["loss"]
    assert (losses[-2] - losses[-1]) <= 1e-8 * losses[-1]


def test_classes_that_can_be_separated_come_to_an_end():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 2))
    for loss, layers in (("binary_crossentropy", [1]), ("softmax_crossentropy", [2])):
        model = fastnn.Model(layers, loss=loss, optimizer="lbfgs", dtype="float64", seed=0)
        history = model.fit(X, (X[:, 0] > 0).astype(int), epochs=5000)
        assert history.stopped == "converged"
        assert len(history) < 100
        assert "gtol=1e-05" in history.params["reason"]


def test_a_fit_that_is_exact_ends_with_rounding(solver):
    X, _ = curve()
    model = fastnn.Model([1], loss="squared_error", optimizer=solver, dtype="float64", seed=0)
    history = model.fit(X, 2 * X[:, 0] + 1, epochs=1000)
    assert history.stopped in ("converged", "stalled")
    assert history["loss"][-1] < 1e-25


#  nonlinear regression of NIST, Statistical Reference Datasets (https://www.itl.nist.gov/div898/strd/), public domain


#: Starts 1 and 2, certified sums of squares and rates. A sum of exponentials is a net of exponential units without
#: biases: rates are its first weights, amplitudes its second ones.
LANCZOS_X = 0.05 * np.arange(24)
LANCZOS_Y = (np.exp(-np.outer(LANCZOS_X, [1.0, 3.0, 5.0])) * [0.0951, 0.8607, 1.5576]).sum(axis=1)
MGH17_Y = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
]  # fmt: skip
LANCZOS_STARTS = (([0.3, 5.5, 7.6], [1.2, 5.6, 6.5], None), ([0.7, 4.2, 6.3], [0.5, 3.6, 4.0], None))
NIST = {
    "Lanczos1": (LANCZOS_X, LANCZOS_Y, LANCZOS_STARTS, 1.4307867721e-25, [1.0, 3.0, 5.0]),
    "Lanczos3": (LANCZOS_X, np.round(LANCZOS_Y, 4), LANCZOS_STARTS, 1.6117193594e-08,
                 [0.95498101505, 2.9515951832, 4.9863565084]),
    "MGH17": (10.0 * np.arange(33), np.array(MGH17_Y), (([1.0, 2.0], [150.0, -100.0], 50.0),
              ([0.01, 0.02], [1.5, -1.0], 0.5)), 5.4648946975e-05, [0.012867534640, 0.022122699662]),
}  # fmt: skip


def sum_of_exponentials(optimizer, rates, amplitudes, constant):
    """A net that is a sum of exponentials of one number, from given parameters."""
    layers = [fastnn.Dense(len(rates), "exponential", use_bias=False), fastnn.Dense(1, use_bias=constant is not None)]
    model = fastnn.Model(layers, loss="squared_error", optimizer=optimizer, dtype="float64", seed=0).build(1, 1)
    model.weights[0][:] = -np.array([rates])
    model.weights[1][:] = np.array([amplitudes]).T
    if constant is not None:
        model.biases[1][:] = constant
    return model


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", NIST)
def test_levenberg_marquardt_reaches_certified_values(name, start):
    x, y, starts, certified, rates = NIST[name]
    model = sum_of_exponentials("lm", *starts[start])
    history = model.fit(x[:, None], y, epochs=1000)
    assert history.stopped in ("converged", "stalled")
    found = history["loss"][-1] * len(x)
    if name == "Lanczos1":  # fitted exactly: what is left is rounding, here of y, there of the certified value
        assert found < certified
    else:
        assert found == pytest.approx(certified, rel=1e-9)
    np.testing.assert_allclose(np.sort(-model.weights[0][0]), rates, rtol=1e-5)


def test_a_valley_that_normal_equations_lose_is_followed_by_factors(monkeypatch):
    x, y, starts, certified, _ = NIST["MGH17"]
    monkeypatch.setattr(lm, "MAX_FACTORED_PARAMS", 4)  # it has 5
    short = sum_of_exponentials("lm", *starts[0]).fit(x[:, None], y, epochs=1000)
    assert short["loss"][-1] * 33 > 1.2 * certified
    monkeypatch.undo()
    monkeypatch.setattr(lm, "BLOCK_ROWS", 4)
    model = sum_of_exponentials("lm", *starts[0])
    found = model.fit(x[:, None], y, epochs=1000)
    assert found["loss"][-1] * 33 == pytest.approx(certified, rel=1e-9)
    assert found["loss"][:20] == pytest.approx(short["loss"][:20], rel=1e-9)


@pytest.mark.parametrize("rows_of_a_block", [7, 1024])
def test_factored_steps_solve_the_damped_equations(rows_of_a_block, monkeypatch):
    monkeypatch.setattr(lm, "BLOCK_ROWS", rows_of_a_block)
    X, y = curve(30)
    problem = least_squares(model_of("lm", regularizer="l2"), X, y)
    x = problem.start()
    gradient = problem.linearise(x)
    triangle, lengths = problem.factors(x)
    n = problem.n_params
    jacobian = blocks(problem, x)[:, :-1]
    normal = jacobian.T @ jacobian + np.diag(problem.penalty)
    np.testing.assert_allclose(triangle[:, :n].T @ triangle[:, :n], normal, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(triangle[:, :n].T @ triangle[:, n], gradient, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(lengths, np.sqrt(normal.diagonal()))
    damping = 0.1 * lengths**2
    step = problem.factored_step(triangle, damping)
    np.testing.assert_allclose((normal + np.diag(damping)) @ step, -gradient, rtol=1e-9, atol=1e-12)
    wanted = 1.0 / np.linalg.cond(np.vstack([jacobian, np.diag(np.sqrt(problem.penalty))]) / lengths)
    assert problem.reciprocal_condition(triangle, lengths) == pytest.approx(wanted, rel=1e-6)


def test_a_column_of_zeros_is_no_loss_of_condition():
    X = np.column_stack([np.linspace(-1, 1, 30), np.zeros(30)])
    problem = least_squares(fastnn.Model([1], loss="squared_error", optimizer="lm", dtype="float64", seed=0), X,
                            X[:, 0])  # fmt: skip
    triangle, lengths = problem.factors(problem.start())
    assert problem.reciprocal_condition(triangle, lengths) > 0.1
    step = problem.factored_step(triangle, 1e-16 * lengths**2)
    assert np.isfinite(step).all()


#  what surrounds them


def test_early_stopping_goes_back_to_the_best_weights(solver):
    X, y = curve()
    X_val, y_val = curve(20, seed=1)

    class Worse(Recorder):
        """Lets what is watched get worse from the fourth iteration on."""

        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            y_val[:] = y_val + 10.0 if epoch == 3 else y_val

    model, recorder = model_of(solver), Worse()
    stopping = fastnn.EarlyStopping("val_loss", patience=2)
    history = model.fit(X, y, epochs=50, validation_data=(X_val, y_val), callbacks=[recorder, stopping])
    assert history.stopped == "early_stopping"
    assert stopping.best_epoch == int(np.argmin(history["val_loss"])) <= 3
    assert len(history) == stopping.best_epoch + 3
    np.testing.assert_array_equal(flat(model), recorder.weights[stopping.best_epoch])
    assert not np.array_equal(flat(model), recorder.weights[-1])


def test_the_names_before_are_those_after(solver, tmp_path):
    X, y = curve()
    model = model_of(solver, metrics=["r2"])
    told = []
    callbacks = [
        fastnn.CSVLogger(tmp_path / "log.csv"),
        fastnn.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(list(logs))),
    ]
    history = model.fit(X, y, epochs=3, callbacks=callbacks, validation_split=0.2)
    header, *lines = (tmp_path / "log.csv").read_text().splitlines()
    assert header.split(",")[1:] == told[0] == list(history.history)
    assert "learning_rate" not in history
    assert len(lines) == 3


def test_a_budget_of_time(solver):
    X, y = curve()
    history = model_of(solver).fit(X, y, epochs=50, max_seconds=1e-9)
    assert history.stopped == "max_seconds"
    assert len(history) == 1


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")  # data far from unit scale
def test_termination_on_nan(solver):
    X, y = curve()
    recorder = Recorder()
    history = model_of(solver).fit(X, 1e200 * y, epochs=3, callbacks=[fastnn.TerminateOnNaN(), recorder])
    assert history.stopped == "diverged"
    assert recorder.calls == ["train begin", "begin 0", "train end"]


#  what they refuse


def test_batches_are_refused(solver):
    X, y = curve()
    model = model_of(solver)
    for batch_size in (16, 32):  # 32 is what "auto" is for the others
        with pytest.raises(ValueError, match=rf"batch_size is {batch_size}, but .* takes all 60 rows .* give None"):
            model.fit(X, y, batch_size=batch_size)
    assert not model.built
    assert model.fit(X, y).params["batch_size"] == 60
    for batch_size in (None, "auto", 60, 1000):
        assert model.fit(X, y, batch_size=batch_size).params["batch_size"] == 60


def test_pieces_are_refused(solver):
    for call in ("partial_fit", "train_on_batch"):
        model = model_of(solver)
        with pytest.raises(ValueError, match=f"{call} learns from one piece of the data after the other"):
            getattr(model, call)(*curve())
        assert not model.built


def test_what_is_about_rates_is_refused(solver):
    X, y = curve()
    with pytest.raises(ValueError, match="optimizer must have a learning_rate"):
        model_of(solver).lr_find(X, y)
    with pytest.raises(ValueError, match="optimizer must have a learning_rate"):
        fastnn.plot.learning_rates(model_of(solver), X, y, axes=(None, None))
    for callback in (fastnn.ReduceLROnPlateau("loss"), fastnn.LearningRateScheduler(lambda epoch, lr: 0.1)):
        model = model_of(solver)
        with pytest.raises(ValueError, match=r"has none: leave the callback out, or take an optimizer such as Adam"):
            model.fit(X, y, callbacks=callback)
        assert len(model.history) == 0
    with pytest.raises(ValueError, match="'mu'"):
        fastnn.metrics.Metric("mu", lambda y_true, y_pred: 0.0)


def test_a_kink_is_refused(solver):
    with pytest.raises(ValueError, match=r"needs a differentiable loss, but regularizer has l1=0\.01.*use L2"):
        model_of(solver, regularizer="l1")
    model = model_of("adam", regularizer=fastnn.L1L2(l1=0.1, l2=0.1))
    with pytest.raises(ValueError, match=r"regularizer has l1=0\.1"):
        model.optimizer = solver
    assert model.optimizer == optimizers.Adam()


def test_the_command_line_refuses_them(solver, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--optimizer", solver])
    assert error.value.code == 2
    assert f"must be one for mini-batches, got {solver!r}" in capsys.readouterr().err


def test_what_a_callback_writes_is_lost(solver):
    class Write(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch < 3:
                self.model.weights[0][:] = 7.0

    X, y = curve()
    first, second = (model_of(solver) for _ in range(2))
    first.fit(X, y, epochs=4)
    second.fit(X, y, epochs=4, callbacks=Write())
    np.testing.assert_array_equal(flat(first), flat(second))


def test_the_regularizer_stays_in_a_fit(solver):
    class Change(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.regularizer = "l2"

    model = model_of(solver)
    with pytest.raises(ValueError, match=r"regularizer is L2.*, but the present fit"):
        model.fit(*curve(), epochs=3, callbacks=Change())
    model.regularizer = "l2"


def test_the_kind_of_method_stays_in_a_fit(solver):
    class Change(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.optimizer = self.new

    X, y = curve()
    other = {"lbfgs": fastnn.LevenbergMarquardt(), "lm": fastnn.LevenbergMarquardt(mu=1.0)}[solver]
    for old, new in ((solver, "adam"), ("adam", solver), (solver, other)):
        change = Change()
        change.new = new
        with pytest.raises(ValueError, match="but the present fit"):
            model_of(old).fit(X, y, epochs=3, callbacks=change)


@pytest.mark.parametrize("name", ["maxcor", "max_fun"])
def test_counts_are_checked(name):
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {wrong}"):
            fastnn.LBFGS(**{name: wrong})
    for wrong in (1.0, True, "3", None):
        with pytest.raises(TypeError, match=f"{name} must be an integer of at least 1"):
            fastnn.LBFGS(**{name: wrong})


@pytest.mark.parametrize("name", ["gtol", "ftol"])
def test_tolerances_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
        fastnn.LBFGS(**{name: -1.0})
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        fastnn.LBFGS(**{name: np.nan})
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        fastnn.LBFGS(**{name: "1e-5"})


def test_the_numbers_of_levenberg_marquardt_are_checked():
    for name, wrong, text in (
        ("mu", 0.0, "mu must be above 0, got 0.0"),
        ("mu_max", -1, "mu_max must be above 0, got -1.0"),
        ("mu_dec", 1.0, "mu_dec must be above 0 and below 1, got 1.0"),
        ("mu_dec", 0.0, "mu_dec must be above 0 and below 1"),
        ("mu_inc", 1, "mu_inc must be above 1, got 1.0"),
        ("gtol", -1e-9, "gtol must be at least 0"),
        ("ftol", np.inf, "ftol must be a finite number"),
        ("max_memory", 0, "max_memory must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            fastnn.LevenbergMarquardt(**{name: wrong})
    for name, wrong, text in (
        ("mu", "1", "mu must be a number"),
        ("max_memory", 1e9, "max_memory must be an integer"),
        ("acceleration", 1, "acceleration must be True or False, got 1"),
    ):
        with pytest.raises(TypeError, match=text):
            fastnn.LevenbergMarquardt(**{name: wrong})


def test_names():
    assert optimizers.get("lm") == fastnn.LevenbergMarquardt()
    assert optimizers.get("lbfgs") == fastnn.LBFGS() == fastnn.LBFGS(maxcor=np.int64(10))
    with pytest.raises(TypeError):
        fastnn.LBFGS(10)


#  Levenberg-Marquardt


def least_squares(model, X, y, sample_weight=None):
    """What the solver makes of a model and its data."""
    y = np.asarray(y).reshape(len(X), -1)
    model.build(X.shape[1], y.shape[1])
    net = net_of(model)
    training = prepare(X, y, net.form, sample_weight=sample_weight)
    return lm._LeastSquares(net, training, fastnn._engine.thread_team.ThreadTeam(1))


def blocks(problem, x):
    """All of [J, r] at x, in the order of the residuals."""
    problem.loss(x)
    parts = [np.column_stack([jacobian, residual]) for _, jacobian, residual in problem.blocks()]
    return np.concatenate(parts)


@pytest.mark.parametrize("rows_of_a_block", [7, 1024])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares"])
@pytest.mark.parametrize(
    ("layers", "n_in"),
    [
        ([], 3),
        ([fastnn.Dense(5, "tanh"), 1], 1),
        ([fastnn.Dense(9, "sigmoid"), fastnn.Dense(17, fastnn.elu(0.5)), fastnn.Dense(2, "tanh")], 4),
        ([fastnn.Dense(6, "tanh", use_bias=False), fastnn.Dense(3, "softmax")], 2),
        ([fastnn.Dense(9, "gelu"), fastnn.Dense(17, "mish"), fastnn.Dense(2, "silu")], 4),
        ([fastnn.Dense(1, "gelu"), fastnn.Dense(2, "softplus"), fastnn.Dense(1, "gelu")], 3),
        ([fastnn.Dense(1, "tanh"), fastnn.Dense(20, fastnn.leaky_relu(0.1)), fastnn.Dense(9, use_bias=False)], 40),
    ],
    ids=str,
)
def test_the_jacobian_against_central_differences(layers, n_in, loss, weighted, rows_of_a_block, monkeypatch):
    monkeypatch.setattr(lm, "BLOCK_ROWS", rows_of_a_block)
    check_jacobian(layers, n_in, loss, weighted, ())


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("trained", [(False, True, True), (True, False, True), (True, True, False)], ids=str)
def test_the_jacobian_leaves_out_frozen_layers(trained, weighted):
    layers = [fastnn.Dense(9, "gelu"), fastnn.Dense(3, "tanh", use_bias=False), fastnn.Dense(2)]
    check_jacobian(layers, 4, "squared_error", weighted, trained)


def check_jacobian(layers, n_in, loss, weighted, trained):
    """Compare the Jacobian, its squares and its gradient with differences and with the engine."""
    rng = np.random.default_rng(0)
    n_out = layers[-1].units if layers and not isinstance(layers[-1], int) else 1
    X, y = rng.standard_normal((20, n_in)), rng.standard_normal((20, n_out))
    weights = rng.uniform(0.5, 2, 20) if weighted else None
    model = fastnn.Model(layers, loss=loss, optimizer="lm", dtype="float64", seed=1, regularizer=fastnn.L2(0.1))
    engine_of(model.build(n_in, n_out)).set_trained(trained)
    problem = least_squares(model, X, y, weights)
    x = problem.start() + 0.1 * rng.standard_normal(problem.n_params)
    found = blocks(problem, x)
    assert found.shape == (20 * n_out, problem.n_params + 1)
    step = 1e-5
    for k in range(problem.n_params):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[k] += sign * step
            ends.append(blocks(problem, moved)[:, -1])
        np.testing.assert_allclose(found[:, k], (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)
    # The squares add up to the loss of the engine, and their derivative is its gradient.
    flat_parameters(model)[engine_of(model).parameter_index()] = x
    wanted = model.evaluate(X, y, sample_weight=weights)["loss"]
    np.testing.assert_allclose(problem.loss(x), wanted, rtol=1e-12)
    np.testing.assert_allclose((found[:, -1] ** 2).sum() + problem.penalty @ (x * x), wanted, rtol=1e-12)
    _, d_weights, d_biases = model.gradient(X, y, sample_weight=weights)
    gradient = np.concatenate(
        [part.ravel() for k in engine_of(model).architecture.trained_layers()
         for part in ((d_weights[k], d_biases[k]) if model.layers[k].use_bias else (d_weights[k],))]
    )  # fmt: skip
    np.testing.assert_allclose(2 * problem.linearise(x), gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows_of_a_block", [7, 1024])
def test_steps_solve_the_damped_equations(rows_of_a_block, monkeypatch):
    monkeypatch.setattr(lm, "BLOCK_ROWS", rows_of_a_block)
    X, y = curve(30)
    problem = least_squares(model_of("lm", regularizer="l2"), X, y)
    x = problem.start()
    gradient = problem.linearise(x)
    step = problem.step(gradient, 0.3)
    found = blocks(problem, x)
    jacobian, r = found[:, :-1], found[:, -1]
    normal = jacobian.T @ jacobian + np.diag(problem.penalty)
    damped = normal + 0.3 * normal.diagonal().max() * np.eye(problem.n_params)
    np.testing.assert_allclose(damped @ step, -gradient, rtol=1e-9, atol=1e-12)
    # The acceleration answers the second derivative of the residuals along the step.
    h = 1e-3
    ends = [blocks(problem, x + sign * h * step)[:, -1] for sign in (1, -1)]
    curvature = (ends[0] - 2 * r + ends[1]) / h**2
    monkeypatch.setattr(lm, "DIFFERENCE", h)
    wanted = -np.linalg.solve(damped, jacobian.T @ curvature)
    problem.linearise(x)
    np.testing.assert_allclose(problem.acceleration(x, step), wanted, rtol=0.01, atol=0.01 * np.abs(wanted).max())


def test_a_linear_net_is_solved_in_a_few_steps():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 4))
    y = X @ [1.0, -2.0, 0.0, 0.5] + 3.0
    optimizer = fastnn.LevenbergMarquardt(mu=1e-9)
    model = fastnn.Model([], loss="squared_error", optimizer=optimizer, seed=0, dtype="float64")
    history = model.fit(X, y, epochs=100)
    assert history.stopped in ("converged", "stalled")
    assert history["loss"][0] < 1e-15
    assert history["loss"][-1] < 1e-24
    assert len(history) < 60  # the rest is rounding
    np.testing.assert_allclose(model.weights[0].ravel(), [1, -2, 0, 0.5], atol=1e-8)


@pytest.mark.parametrize("acceleration", [False, True])
def test_a_function_that_the_net_can_represent_is_found_exactly(acceleration):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (80, 2))
    teacher = fastnn.Model([fastnn.Dense(2, "tanh"), 1], loss="squared_error", seed=5, dtype="float64").build(2)
    settings = fastnn.LevenbergMarquardt(gtol=0.0, ftol=0.0, acceleration=acceleration)
    model = fastnn.Model([fastnn.Dense(2, "tanh"), 1], loss="squared_error", optimizer=settings, seed=1,
                         dtype="float64")  # fmt: skip
    history = model.fit(X, teacher.predict(X), epochs=300)
    assert history["loss"][-1] < 1e-28
    assert history.stopped in (None, "stalled", "converged")


def test_the_minimum_is_that_of_least_squares():
    X, y = curve(40)
    model = model_of(fastnn.LevenbergMarquardt(gtol=1e-10, ftol=0.0), regularizer=fastnn.L2(1e-3))
    problem = least_squares(model, X, y)

    def residuals(x):
        return np.concatenate([blocks(problem, x)[:, -1], np.sqrt(problem.penalty) * x])

    wanted = optimize.least_squares(residuals, problem.start(), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    history = model.fit(X, y, epochs=1000)
    assert history.stopped in ("converged", "stalled")
    np.testing.assert_allclose(history["loss"][-1], 2 * wanted.cost, rtol=1e-9)
    found = model.predict(X)  # hidden units may have changed places
    flat_parameters(model)[engine_of(model).parameter_index()] = wanted.x
    np.testing.assert_allclose(found, model.predict(X), atol=1e-6)


def test_single_precision_is_double_precision_rounded():
    X, y = (a.astype(np.float32) for a in curve())
    single, double = model_of("lm", dtype="float32"), model_of("lm")
    single.build(1)
    double.build(1)
    for a, b in zip((*double.weights, *double.biases), (*single.weights, *single.biases), strict=True):
        a[...] = b
    assert single.fit(X, y, epochs=5)["loss"] == double.fit(X, y, epochs=5)["loss"]
    np.testing.assert_array_equal(flat(single), flat(double).astype(np.float32))


@pytest.mark.parametrize("n", [100, 1024])  # elsewhere batches of this size are split into shards
def test_blocks_change_nothing_but_rounding(n, monkeypatch):
    X, y = curve(n)
    model = model_of("lm")
    model.fit(X, y, epochs=6)
    monkeypatch.setattr(lm, "BLOCK_BYTES", 8 * 17 * 9)
    other = model_of("lm")
    other.fit(X, y, epochs=6)
    np.testing.assert_allclose(flat(other), flat(model), rtol=1e-6)


def test_several_outputs_and_a_weight_of_zero():
    X, y = curve()
    y = np.column_stack([y, np.cos(3 * X[:, 0])])
    weights = np.ones(60)
    weights[30:] = 0.0
    layers = [fastnn.Dense(5, "tanh"), 2]
    first, second = (fastnn.Model(layers, loss="sum_of_squares", optimizer="lm", dtype="float64", seed=0)
                     for _ in range(2))  # fmt: skip
    first.fit(X, y, epochs=5, sample_weight=weights)
    second.fit(X[:30], y[:30], epochs=5)
    np.testing.assert_allclose(flat(first), flat(second), rtol=1e-6)


def test_a_fit_that_cannot_get_lower_is_stalled():
    X, y = curve()
    model = model_of(fastnn.LevenbergMarquardt(gtol=0.0, ftol=0.0), regularizer="l2")
    history = model.fit(X, y, epochs=1000)
    assert history.stopped == "stalled"
    assert "mu_max=1e+10" in history.params["reason"]
    assert len(history) < 1000


def test_a_net_that_is_too_large_is_refused():
    X, y = curve()
    model = model_of(fastnn.LevenbergMarquardt(max_memory=4000))
    recorder = Recorder()
    text = r"0\.0 MB for the normal equations of 16 parameters, the limit is 0\.0 MB: use optimizer='lbfgs'"
    with pytest.raises(MemoryError, match=text):
        model.fit(X, y, callbacks=recorder)
    assert recorder.calls == []
    assert len(model.history) == 0
    model.optimizer = fastnn.LevenbergMarquardt(max_memory=16 * 17 * 17)
    model.fit(X, y)
    wide = fastnn.Model([100_000, 1], loss="squared_error", optimizer="lm").build(9)
    with pytest.raises(MemoryError, match=r"needs 19,360,070\.4 MB for the normal equations of 1,100,001 param"):
        wide.fit(np.ones((3, 9)), np.ones(3))


@pytest.mark.parametrize("loss", ["binary_crossentropy", "softmax_crossentropy"])
def test_other_losses_are_refused(loss):
    with pytest.raises(ValueError, match=f"minimises sums of squares, but loss is '{loss}': use optimizer='lbfgs'"):
        fastnn.Model([5, 2], loss=loss, optimizer="lm")
    model = fastnn.Model([5, 2], loss=loss)
    with pytest.raises(ValueError, match="minimises sums of squares"):
        model.optimizer = "lm"


def test_the_benchmark_against_adam_prints_its_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from asv_bench import second_order

    lines = second_order.main(seeds=1, epochs=20, which=0)
    assert len(lines) == 3
    assert capsys.readouterr().out.splitlines() == lines
    assert lines[2].startswith("| sine, 200 rows, 1-10-1 |")
    assert lines[0].count("|") == lines[2].count("|")
    assert "not reached" not in lines[2]


def test_the_kernels_of_levenberg_marquardt_are_loaded_before_the_first_iteration(monkeypatch):
    """Otherwise its seconds, and the clock of the display, would count the compilation."""
    called = []
    for name in ("residuals", "add_products"):
        kernel = getattr(lm, name)
        monkeypatch.setattr(lm, name, lambda *a, k=kernel, name=name: called.append(name) or k(*a))
    callback = fastnn.LambdaCallback(on_epoch_begin=lambda epoch, logs: called.append("begin"))
    X, y = curve()
    model_of("lm").fit(X, y, epochs=1, callbacks=callback)
    assert called[:3] == ["residuals", "add_products", "begin"]


def test_weights_set_at_the_beginning_of_the_first_iteration_are_its_start():
    X, y = curve()
    first, second = model_of("lm").build(1), model_of("lm").build(1)
    start = [np.full_like(w, 0.25) + 0.1 * w for w in first.weights]
    first.weights = start

    def set_weights(epoch, logs):
        second.weights = start

    first.fit(X, y, epochs=1)
    second.fit(X, y, epochs=1, callbacks=fastnn.LambdaCallback(on_epoch_begin=set_weights))
    np.testing.assert_array_equal(flat(first), flat(second))
