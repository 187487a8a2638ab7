"""Full-batch solvers: what they reach, how they end, what they refuse, and what surrounds them in a fit."""

from __future__ import annotations

import numpy as np
import pytest
from driver import architecture, engine
from scipy import optimize

import fastnn
from fastnn import optimizers

SOLVERS = ["lbfgs"]


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
    """Writes down what it is told, and the weights at that time."""

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


def test_the_history_tells_of_the_weights_that_the_model_has(solver, dtype):
    X, y = curve()
    model = model_of(solver, dtype=dtype, metrics=["mae"], regularizer=fastnn.L2(1e-3))
    weights = np.linspace(1, 2, 60)
    history = model.fit(X, y, epochs=7, validation_data=(X[:9], y[:9]), sample_weight=weights)
    assert list(history.history) == ["loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error", "seconds"]
    assert "learning_rate" not in history
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
    index, held_back = fastnn.data.split_validation(60, 0.25, 0, name="validation_split")
    y[held_back] = 100.0
    second.fit(X, y, epochs=3, validation_split=0.25)
    np.testing.assert_array_equal(flat(first), flat(second))
    third = model_of(solver)
    third.fit(X[index], y[index], epochs=3)
    np.testing.assert_allclose(flat(third), flat(first), rtol=1e-8)


def test_the_same_bits_on_each_run_and_for_any_number_of_threads(solver, dtype):
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


@pytest.mark.parametrize("sizes", [[3, 2], [40, 1, 5], [5, 17, 1, 3]])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_index_finds_every_parameter(sizes, use_bias, dtype):
    made = engine(architecture(sizes, use_bias=use_bias, dtype=dtype))
    index = made.parameter_index()
    wanted = []
    for w, b in zip(made.weights(), made.biases(), strict=True):
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


def test_a_start_that_is_not_finite(solver):
    X, y = curve()
    model = model_of(solver).build(1)
    weights = flat(model)
    with pytest.raises(fastnn.DivergenceError, match="no point to start from") as error:
        model.fit(X, 1e200 * y, epochs=3)
    np.testing.assert_array_equal(flat(model), weights)
    assert error.value.history.stopped == "diverged"
    assert len(model.history) == 0
    model.fit(X, y, epochs=3)


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
    if error is KeyboardInterrupt:
        assert model.fit(X, y, epochs=9, callbacks=failing).stopped == "interrupted"
    else:
        with pytest.raises(RuntimeError):
            model.fit(X, y, epochs=9, callbacks=failing)
    np.testing.assert_array_equal(flat(model), failing.weights[-1])
    assert len(failing.weights) == 3


def test_an_interrupted_evaluation_leaves_the_last_iteration(solver, monkeypatch):
    X, y = curve()
    model = model_of(solver)
    recorder = Recorder()
    run, calls = fastnn.team.Team.run, []

    def interrupted(self, *args, **options):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return run(self, *args, **options)

    monkeypatch.setattr(fastnn.team.Team, "run", interrupted)
    history = model.fit(X, y, epochs=50, callbacks=recorder)
    assert history.stopped == "interrupted"
    assert 0 < len(history) < 9
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


#  what they refuse


def test_batches_are_refused(solver):
    X, y = curve()
    model = model_of(solver)
    with pytest.raises(ValueError, match=r"batch_size is 16, but .* takes all 60 rows .* give None"):
        model.fit(X, y, batch_size=16)
    assert not model.built
    for batch_size in (None, 32, 60, 1000):
        assert model.fit(X, y, batch_size=batch_size).params["batch_size"] == 60


def test_pieces_are_refused(solver):
    with pytest.raises(ValueError, match="partial_fit learns from one piece of the data after the other"):
        model_of(solver).partial_fit(*curve())


def test_a_kink_is_refused(solver):
    with pytest.raises(ValueError, match=r"needs a smooth loss, but regularizer has l1=0\.01.*use L2"):
        model_of(solver, regularizer="l1")
    model = model_of("adam", regularizer=fastnn.L1L2(l1=0.1, l2=0.1))
    with pytest.raises(ValueError, match=r"regularizer has l1=0\.1"):
        model.optimizer = solver
    assert model.optimizer == optimizers.Adam()


def test_the_kind_of_method_stays_in_a_fit(solver):
    class Change(fastnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.optimizer = self.new

    X, y = curve()
    for old, new in ((solver, "adam"), ("adam", solver)):
        change = Change()
        change.new = new
        with pytest.raises(ValueError, match="a fit that is under way"):
            model_of(old).fit(X, y, epochs=3, callbacks=change)


@pytest.mark.parametrize("name", ["maxcor", "max_fun"])
def test_counts_are_checked(name):
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got {wrong}"):
            fastnn.LBFGS(**{name: wrong})
    for wrong in (1.0, True, "3", None):
        with pytest.raises(TypeError, match=f"{name} must be an integer of at least 1"):
            fastnn.LBFGS(**{name: wrong})


@pytest.mark.parametrize("name", ["gtol", "ftol"])
def test_tolerances_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0; got -1"):
        fastnn.LBFGS(**{name: -1.0})
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        fastnn.LBFGS(**{name: np.nan})
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        fastnn.LBFGS(**{name: "1e-5"})


def test_names():
    assert optimizers.get("lbfgs") == fastnn.LBFGS() == fastnn.LBFGS(maxcor=np.int64(10))
    with pytest.raises(TypeError):
        fastnn.LBFGS(10)
