"""Schedules: their curves compared with PyTorch's, Keras's and scikit-learn's; their use in a fit."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import schedules
from fastnn.schedules import Constant, Cosine, Exponential, InverseScaling, OneCycle, PiecewiseConstant, Schedule, Step

ALL = [
    Constant(0.1),
    Step(0.1, step_size=2, gamma=0.5),
    Step(0.1, milestones=[1, 3.5], gamma=0.5),
    PiecewiseConstant(0.1, boundaries=(1, 2), values=(0.05, 0.2)),
    Exponential(0.1, gamma=0.9),
    Exponential(0.1, gamma=0.9, staircase=True),
    InverseScaling(0.1, decay_rate=3.0, power=0.7),
    Cosine(0.1, epochs=6, warmup=1.5, start_factor=0.1, min_lr=0.01),
    Cosine(0.1, epochs=2, restarts=True, t_mult=1.5),
    OneCycle(0.1, epochs=5),
]
IDS = [f"{type(s).__name__}-{k}" for k, s in enumerate(ALL)]

# ------------------------------------------------------------------------------------------------------- the curves


def torch_rates(make, n):
    """Rates of the first n steps of a scheduler of PyTorch, from a rate of 0.3."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Constant(0.3), lambda s, o: s.ConstantLR(o, factor=1.0)),
        (Step(0.3, step_size=4, gamma=0.5), lambda s, o: s.StepLR(o, step_size=4, gamma=0.5)),
        (Step(0.3, milestones=[3, 4, 11]), lambda s, o: s.MultiStepLR(o, [3, 4, 11])),
        (
            PiecewiseConstant(0.3, boundaries=[3, 11], values=[0.06, 0.012]),
            lambda s, o: s.MultiStepLR(o, [3, 11], gamma=0.2),
        ),
        (Exponential(0.3, gamma=0.9), lambda s, o: s.ExponentialLR(o, gamma=0.9)),
        (
            Cosine(0.3, epochs=40, restarts=True, min_lr=0.02),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 40, eta_min=0.02),
        ),
        (
            Cosine(0.3, epochs=3, restarts=True, t_mult=2, min_lr=0.02),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.02),
        ),
        (
            Cosine(0.3, epochs=7, restarts=True, t_mult=3),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, T_mult=3),
        ),
    ],
)
def test_rates_of_each_epoch_are_pytorchs(ours, theirs):
    np.testing.assert_allclose(ours(np.arange(60)), torch_rates(theirs, 60), rtol=1e-12)


def test_a_cosine_that_stays_low_is_pytorchs():
    ours = Cosine(0.3, epochs=25, min_lr=0.02)
    theirs = torch_rates(lambda s, o: s.CosineAnnealingLR(o, 25, eta_min=0.02), 26)
    np.testing.assert_allclose(ours(np.arange(26)), theirs, rtol=1e-12)
    np.testing.assert_array_equal(ours([25, 26, 40.5, 1e9]), 0.02)


def test_a_cosine_after_a_warm_up_is_pytorchs():
    ours = Cosine(0.3, epochs=30, warmup=5, start_factor=0.1)
    theirs = torch_rates(
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, start_factor=0.1, total_iters=5), s.CosineAnnealingLR(o, 25)], milestones=[5]
        ),
        30,
    )
    np.testing.assert_allclose(ours(np.arange(30)), theirs, rtol=1e-12)


@pytest.mark.parametrize("pct_start", [0.2, 0.25, 0.6])
def test_one_cycle_is_pytorchs_step_by_step(pct_start):
    # PyTorch spreads the cycle over total_steps points, so N intervals are N + 1 points.
    n, n_steps = 40, 8
    theirs = torch_rates(
        lambda s, o: s.OneCycleLR(
            o, max_lr=0.7, total_steps=n + 1, pct_start=(pct_start * n + 1) / (n + 1), div_factor=20.0,
            final_div_factor=1e3, cycle_momentum=False,
        ),
        n,
    )  # fmt: skip
    ours = OneCycle(0.7, epochs=n / n_steps, pct_start=pct_start, div_factor=20.0, final_div_factor=1e3)
    np.testing.assert_allclose(ours(np.arange(n) / n_steps), theirs, rtol=1e-12)
    assert ours(pct_start * n / n_steps) == pytest.approx(0.7, rel=1e-15)
    np.testing.assert_allclose(ours([5.0, 6.0, 1e6]), 0.7 / 20.0 / 1e3, rtol=1e-12)


def test_one_cycle_has_pytorchs_defaults():
    theirs = torch_rates(
        lambda s, o: s.OneCycleLR(o, max_lr=0.7, total_steps=11, pct_start=4 / 11, cycle_momentum=False), 10
    )
    np.testing.assert_allclose(OneCycle(0.7, epochs=10)(np.arange(10)), theirs, rtol=1e-12)


def test_inverse_scaling_can_be_scikit_learns():
    """Its rate is that of SGDOptimizer.iteration_ends after each epoch, with t the rows seen."""
    n_rows, power = 150, 0.4
    wanted = np.array([0.3 / (n_rows * k + 1) ** power for k in range(20)])
    ours = InverseScaling(0.3, decay_rate=n_rows, power=power, staircase=True)
    np.testing.assert_allclose(ours(np.arange(20)), wanted, rtol=1e-14)
    np.testing.assert_allclose(ours(np.arange(20) + 0.999), wanted, rtol=1e-14)


def test_keras_formulas():
    step, steps_of_an_epoch = np.arange(100), 10
    epoch = step / steps_of_an_epoch
    np.testing.assert_allclose(  # InverseTimeDecay with decay_steps=25, decay_rate=0.8
        InverseScaling(0.3, power=1, decay_rate=0.8 * steps_of_an_epoch / 25)(epoch),
        0.3 / (1 + 0.8 * step / 25),
        rtol=1e-12,
    )
    np.testing.assert_allclose(  # ExponentialDecay with the same
        Exponential(0.3, gamma=0.8 ** (steps_of_an_epoch / 25))(epoch), 0.3 * 0.8 ** (step / 25), rtol=1e-12
    )


def test_the_rates_of_keras():
    keras = pytest.importorskip("keras")
    theirs, n_steps = keras.optimizers.schedules, 10
    pairs = [
        (Exponential(0.3, gamma=0.8 ** (n_steps / 25)), theirs.ExponentialDecay(0.3, 25, 0.8)),
        (Exponential(0.3, gamma=0.8, staircase=True), theirs.ExponentialDecay(0.3, n_steps, 0.8, staircase=True)),
        (InverseScaling(0.3, power=1, decay_rate=0.8 * n_steps / 25), theirs.InverseTimeDecay(0.3, 25, 0.8)),
        (
            InverseScaling(0.3, power=1, decay_rate=0.8, staircase=True),
            theirs.InverseTimeDecay(0.3, n_steps, 0.8, staircase=True),
        ),
        (Cosine(0.3, epochs=5, min_lr=0.03), theirs.CosineDecay(0.3, 5 * n_steps, alpha=0.1)),
        (
            Cosine(0.3, epochs=6, warmup=2, start_factor=0.5),
            theirs.CosineDecay(0.15, 4 * n_steps, warmup_target=0.3, warmup_steps=2 * n_steps),
        ),
        (
            Cosine(0.3, epochs=1.5, restarts=True, t_mult=2),
            theirs.CosineDecayRestarts(0.3, 15, t_mul=2.0),
        ),
        (  # there a boundary belongs to the rate before it
            PiecewiseConstant(0.3, boundaries=[2.05, 4.05], values=[0.2, 0.01]),
            theirs.PiecewiseConstantDecay([20, 40], [0.3, 0.2, 0.01]),
        ),
    ]
    steps = [k for k in range(80) if k not in (15, 45)]  # where a cosine ends Keras's float32 may round either way
    for ours, other in pairs:
        wanted = [float(other(k)) for k in steps]
        np.testing.assert_allclose(ours(np.array(steps) / n_steps), wanted, rtol=1e-5, atol=1e-7, err_msg=repr(ours))


def test_warm_up_and_fall():
    schedule = Cosine(0.4, epochs=5, warmup=1, min_lr=0.1)
    np.testing.assert_allclose(schedule([0, 0.25, 0.5, 1, 3, 5, 9]), [0.0, 0.1, 0.2, 0.4, 0.25, 0.1, 0.1])


def test_restarts_begin_at_the_peak_whatever_the_rounding():
    for length in range(1, 20):
        for t_mult in (2, 3, 5, 7, 10):
            starts = length * (float(t_mult) ** np.arange(12) - 1) // (t_mult - 1)  # whole numbers
            schedule = Cosine(0.4, epochs=length, restarts=True, t_mult=t_mult)
            np.testing.assert_allclose(schedule(starts), 0.4, rtol=1e-12)
    for length, t_mult in ((0.1, 1.1), (3, 2), (0.7, 1.37), (10, 1.001)):
        schedule = Cosine(0.4, epochs=length, restarts=True, t_mult=t_mult)
        start = 0.0
        for k in range(40):
            np.testing.assert_allclose(schedule(start + length * t_mult**k / 2), 0.2, rtol=1e-6)
            start += length * t_mult**k


def test_restarts_after_a_warm_up():
    schedule = Cosine(0.4, epochs=3, warmup=1, restarts=True, t_mult=2)
    np.testing.assert_allclose(schedule([0.5, 1, 2, 2.999999, 3, 5, 7, 11]), [0.2, 0.4, 0.2, 0, 0.4, 0.2, 0.4, 0.2],
                               atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("schedule", ALL, ids=IDS)
def test_schedules_are_functions_of_arrays(schedule):
    times = np.linspace(0, 30, 61).reshape(61, 1)
    rates = schedule(times)
    assert rates.shape == (61, 1)
    assert rates.dtype == np.float64
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert rates.max() <= 0.2
    np.testing.assert_allclose([float(schedule(t)) for t in times[:, 0]], rates[:, 0], rtol=1e-14)
    np.testing.assert_array_equal(schedule(range(5)), schedule(np.arange(5.0)))
    assert type(schedule(1.5)) is np.float64


@pytest.mark.parametrize("schedule", ALL, ids=IDS)
@pytest.mark.parametrize("n_steps", [1, 3, 16, 37])
def test_rates_are_the_same_bits_however_many_epochs_are_asked_for(schedule, n_steps):
    """Where they are computed by vectors, a rate must not depend on its place in one."""
    together = schedules.rates_of_steps(schedule, 2, 21, n_steps)
    alone = np.concatenate([schedules.rates_of_steps(schedule, k, 1, n_steps) for k in range(2, 23)])
    assert together.shape == (21, n_steps)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("schedule", ALL, ids=IDS)
def test_schedules_are_values(schedule):
    twin = dataclasses.replace(schedule)
    assert twin == schedule
    assert hash(twin) == hash(schedule)
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert dataclasses.replace(schedule, learning_rate=0.3) != schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.learning_rate = 1.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(0.0), "learning_rate must be above 0, got 0.0"),
        (lambda: Constant("1"), "learning_rate must be a number, got '1'"),
        (lambda: Constant(math.nan), "learning_rate must be a finite number"),
        (lambda: Step(0.1), "step_size or milestones must be given, .* got step_size=None"),
        (lambda: Step(0.1, step_size=2, milestones=[1]), "step_size or milestones must be given, and not both"),
        (lambda: Step(0.1, step_size=0), "step_size must be above 0, got 0.0"),
        (lambda: Step(0.1, step_size=1, gamma=1.5), "gamma must be above 0 and at most 1, got 1.5"),
        (lambda: Step(0.1, milestones=[2, 2]), r"milestones must be .* in rising order, got \(2.0, 2.0\)"),
        (lambda: Step(0.1, milestones=[0, 2]), "milestones must be numbers above 0, in rising order"),
        (lambda: Step(0.1, milestones=[]), "milestones must be a sequence of at least one number"),
        (lambda: Step(0.1, milestones=5), "milestones must be a sequence of numbers, got 5"),
        (lambda: Step(0.1, milestones=["a"]), r"milestones\[0\] must be a number, got 'a'"),
        (lambda: PiecewiseConstant(0.1, boundaries=[1, 2], values=[0.1]), r"values must be 2 rates, .*, got \(0.1,\)"),
        (lambda: PiecewiseConstant(0.1, boundaries=[1], values=[-0.1]), "values must be at least 0"),
        (lambda: Exponential(0.1, gamma=0), "gamma must be above 0 and at most 1"),
        (lambda: Exponential(0.1, gamma=0.5, staircase=1), "staircase must be True or False, got 1"),
        (lambda: InverseScaling(0.1, power=-1), "power must be above 0, got -1.0"),
        (lambda: Cosine(0.1, epochs=0), "epochs must be above 0"),
        (lambda: Cosine(0.1, epochs=5, warmup=5), "warmup must be below epochs, 5.0, which contain it, got 5.0"),
        (lambda: Cosine(0.1, epochs=5, min_lr=0.2), "min_lr must be at most learning_rate, 0.1, got 0.2"),
        (lambda: Cosine(0.1, epochs=5, start_factor=0.2), "start_factor=0.2 is that of a warm-up; give warmup=1"),
        (lambda: Cosine(0.1, epochs=5, warmup=1, start_factor=1), "start_factor must be at least 0 and below 1"),
        (lambda: Cosine(0.1, epochs=5, t_mult=2), "t_mult=2.0 is that of restarts; give restarts=True"),
        (lambda: Cosine(0.1, epochs=5, restarts=True, t_mult=0.5), "t_mult must be at least 1"),
        (lambda: OneCycle(0.1, epochs=5, pct_start=1), "pct_start must be above 0 and below 1, got 1.0"),
        (lambda: OneCycle(0.1, epochs=5, div_factor=0.5), "div_factor must be at least 1, got 0.5"),
        (lambda: fastnn.Adam(Cosine), r"learning_rate must be .*, got <class .* Use an instance, such as Cosine"),
        (lambda: fastnn.SGD(learning_rate=[0.1]), "learning_rate must be a number"),
    ],
)
def test_wrong_settings(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()


# ----------------------------------------------------------------------------------------------------------- in a fit

RNG = np.random.default_rng(0)
X = RNG.standard_normal((45, 6))
Y = RNG.standard_normal((45, 2))
N_STEPS = 5  # of 10 rows, the last one of 5


def new_model(learning_rate, *, optimizer=fastnn.Adam, dtype="float64", layers=(7, 2), **options):
    return fastnn.Model(
        [fastnn.Dense(layers[0], "tanh"), layers[1]], loss="squared_error", optimizer=optimizer(learning_rate),
        seed=3, dtype=dtype, n_threads=1, **options,
    )  # fmt: skip


def params(model):
    return b"".join(a.tobytes() for a in (*model.weights, *model.biases))


@pytest.mark.parametrize(
    ("ours", "theirs", "each"),
    [
        (Step(0.05, step_size=2), lambda s, o: s.StepLR(o, 2), "epoch"),
        (Step(0.05, milestones=[1, 4], gamma=0.3), lambda s, o: s.MultiStepLR(o, [1, 4], gamma=0.3), "epoch"),
        (Exponential(0.05, gamma=0.8, staircase=True), lambda s, o: s.ExponentialLR(o, 0.8), "epoch"),
        (Exponential(0.05, gamma=0.8**N_STEPS), lambda s, o: s.ExponentialLR(o, 0.8), "step"),
        (Cosine(0.05, epochs=6, min_lr=0.01), lambda s, o: s.CosineAnnealingLR(o, 6 * N_STEPS, 0.01), "step"),
        (
            Cosine(0.05, epochs=2, restarts=True, t_mult=2),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 2 * N_STEPS, 2),
            "step",
        ),
        (
            Cosine(0.05, epochs=6, warmup=1, start_factor=0.2),
            lambda s, o: s.SequentialLR(
                o,
                [s.LinearLR(o, 0.2, total_iters=N_STEPS), s.CosineAnnealingLR(o, 5 * N_STEPS)],
                milestones=[N_STEPS],
            ),
            "step",
        ),
        (
            OneCycle(0.05, epochs=6),
            lambda s, o: s.OneCycleLR(
                o, 0.05, total_steps=6 * N_STEPS + 1, pct_start=(0.3 * 6 * N_STEPS + 1) / (6 * N_STEPS + 1),
                cycle_momentum=False,
            ),
            "step",
        ),
    ],
    ids=["step", "multistep", "exponential", "exponential-steps", "cosine", "restarts", "warm-up", "one-cycle"],
)
@pytest.mark.parametrize("optimizer", [fastnn.SGD, fastnn.Adam])
def test_a_training_with_a_schedule_is_pytorchs(ours, theirs, each, optimizer):
    torch = pytest.importorskip("torch")
    model = new_model(ours, optimizer=optimizer).build(6)
    parameters = [torch.tensor(a.copy(), requires_grad=True) for a in (*model.weights, *model.biases)]
    w1, w2, b1, b2 = parameters
    kind = {fastnn.SGD: torch.optim.SGD, fastnn.Adam: torch.optim.Adam}[optimizer]
    rule = kind(parameters, lr=0.05)
    scheduler = theirs(torch.optim.lr_scheduler, rule)
    for _ in range(6):
        for start in range(0, 45, 10):
            part = slice(start, start + 10)
            outputs = torch.tanh(torch.tensor(X[part]) @ w1 + b1) @ w2 + b2
            rule.zero_grad()
            torch.nn.functional.mse_loss(outputs, torch.tensor(Y[part])).backward()
            rule.step()
            if each == "step":
                scheduler.step()
        if each == "epoch":
            scheduler.step()
    record = model.fit(X, Y, epochs=6, batch_size=10, shuffle=False, verbose=False)
    for mine, other in zip((*model.weights, *model.biases), parameters, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(record["learning_rate"], ours(np.arange(6) + 4 / 5), rtol=1e-14)


def test_a_constant_schedule_is_a_number(dtype):
    a, b = (new_model(rate, dtype=dtype) for rate in (0.01, Constant(0.01)))
    for model in (a, b):
        model.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    assert params(a) == params(b)
    assert a.history["learning_rate"] == b.history["learning_rate"] == [0.01] * 3


class Look(fastnn.Callback):
    """Makes a fit stop after each epoch."""


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")
@pytest.mark.parametrize("schedule", ALL, ids=IDS)
def test_the_rates_do_not_depend_on_how_epochs_are_run(schedule, tmp_path):
    """Many epochs a call, one a call, and with a file in between: the same bits."""
    whole, watched, first = (new_model(schedule) for _ in range(3))
    whole.fit(X, Y, epochs=7, batch_size=10, verbose=False)
    watched.fit(X, Y, epochs=7, batch_size=10, verbose=False, callbacks=Look())
    first.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    first.save(tmp_path / "model.npz")
    resumed = fastnn.load(tmp_path / "model.npz")
    assert resumed.optimizer == first.optimizer
    assert repr(resumed) == repr(first)
    copied = copy.deepcopy(pickle.loads(pickle.dumps(first)))
    for model in (resumed, copied):
        model.fit(X, Y, epochs=4, batch_size=10, verbose=False)
        assert params(model) == params(whole)
        assert model.history["learning_rate"] == whole.history["learning_rate"]
    assert params(watched) == params(whole)
    np.testing.assert_allclose(whole.history["learning_rate"], schedule(np.arange(7) + 4 / 5), rtol=1e-14)


def test_a_callable_is_called_once_at_the_start_of_each_epoch():
    called = []

    def rate(epoch):
        called.append((epoch, model.history.epoch[-1:]))
        return 0.1 / (1 + epoch)

    model = new_model(rate, optimizer=fastnn.SGD)
    twin = new_model(PiecewiseConstant(0.1, boundaries=[1, 2, 3], values=[0.1 / 2, 0.1 / 3, 0.1 / 4]),
                     optimizer=fastnn.SGD)  # fmt: skip
    for one in (model, twin):
        one.fit(X, Y, epochs=3, batch_size=10, verbose=False)
        one.fit(X, Y, epochs=1, batch_size=10, verbose=False)
    assert called == [(0, []), (1, [0]), (2, [1]), (3, [2])]
    assert all(type(epoch) is int for epoch, _ in called)
    assert params(model) == params(twin)
    assert model.history["learning_rate"] == [0.1, 0.1 / 2, 0.1 / 3, 0.1 / 4]


def plain(epoch):
    return 0.1 if epoch < 2 else 0.01


def test_a_callable_stays_with_copies_and_pickles_but_not_with_files(tmp_path):
    model = new_model(plain)
    model.fit(X, Y, epochs=1, batch_size=10, verbose=False)
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=r"learning_rate=<function plain.*cannot be written into a file.*optimizer"):
        model.save(path)
    assert path.read_bytes() == b"old"
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.optimizer.learning_rate is plain
        twin.fit(X, Y, epochs=2, batch_size=10, verbose=False)
        assert twin.history["learning_rate"] == [0.1, 0.1, 0.01]
    model.optimizer = dataclasses.replace(model.optimizer, learning_rate=0.1)
    model.save(path)
    assert params(fastnn.load(path)) == params(model)


@dataclasses.dataclass(frozen=True)
class Mine(Schedule):
    """One a user could write."""

    learning_rate: float = 0.1

    def __call__(self, epoch):
        return self.learning_rate * (1 - 0.1 * np.asarray(epoch))


def test_a_schedule_of_ones_own():
    model = new_model(Mine(), optimizer=fastnn.SGD)
    model.fit(X, Y, epochs=3, batch_size=10, verbose=False)
    np.testing.assert_allclose(model.history["learning_rate"], 0.1 * (1 - 0.1 * (np.arange(3) + 0.8)))
    with pytest.raises(TypeError, match=r"learning_rate=Mine\(learning_rate=0.1\).*cannot be written into a file"):
        model.save(io.BytesIO())
    assert pickle.loads(pickle.dumps(model)).optimizer == model.optimizer


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (lambda epoch: math.nan if epoch == 2 else 0.1, "<function .* in epoch 2 must be finite .*, got nan"),
        (lambda epoch: 0.1 - 0.1 * epoch, "in epoch 2 must be finite and at least 0, got -0.1"),
        (lambda epoch: "0.1" if epoch == 2 else 0.0, "in epoch 2 must be a number, got '0.1'"),
        (lambda epoch: None if epoch == 2 else np.array(0.1), "in epoch 2 must be a number, got None"),
        (Mine(math.inf), r"learning_rate=Mine\(learning_rate=inf\) in epoch 0 must be finite and at least 0, got inf"),
    ],
)
def test_wrong_rates_end_the_training_with_the_epoch(rate, text):
    model = new_model(rate, optimizer=fastnn.SGD)
    with pytest.raises((TypeError, ValueError), match=text):
        model.fit(X, Y, epochs=4, batch_size=10, verbose=False)
    done = 0 if isinstance(rate, Mine) else 2
    assert model.history.epoch == list(range(done))


def test_a_schedule_must_give_a_rate_for_each_time():
    class Scalar(Schedule):
        def __call__(self, epoch):
            return 0.1

    with pytest.raises(ValueError, match=r"shape of the rates of learning_rate=.* must be \(1, 5\), .*, got \(\)"):
        new_model(Scalar()).fit(X, Y, batch_size=10, verbose=False)


def test_train_on_batch_has_the_rate_of_the_epochs_start():
    model, twin = new_model(Step(0.1, milestones=[1]), optimizer=fastnn.SGD), new_model(0.1, optimizer=fastnn.SGD)
    for one in (model, twin):
        one.fit(X, Y, batch_size=10, verbose=False)
        one.optimizer = one.optimizer if one is model else fastnn.SGD(0.1 * 0.1)
        one.train_on_batch(X, Y)
    assert params(model) == params(twin)


def test_a_rate_of_zero_changes_nothing():
    model = new_model(lambda epoch: 0.0, optimizer=fastnn.SGD).build(6)
    before = params(model)
    model.fit(X, Y, epochs=2, batch_size=10, verbose=False)
    assert params(model) == before


@pytest.mark.filterwarnings("ignore::fastnn.TrainingWarning")
@pytest.mark.parametrize("watch", [None, Look()], ids=["can_fuse_epochs", "watched"])
def test_divergence_names_the_rate_of_its_step(watch):
    rates = [1e-3, 1e-3, 1e-3, 1e300, 1e-3]
    schedule = PiecewiseConstant(1e-3, boundaries=[2.6, 2.8], values=[1e300, 1e-3])  # the fourth step of epoch 2
    model = new_model(schedule, optimizer=fastnn.SGD, layers=(3, 1))
    with pytest.raises(fastnn.DivergenceError, match=r"epoch 2: .* learning_rate=1e\+300") as caught:
        model.fit(X, 1e30 * Y[:, 0], epochs=4, batch_size=10, shuffle=False, verbose=False, callbacks=watch)
    assert caught.value.learning_rate == rates[3]
    assert model.history["learning_rate"] == [1e-3, 1e-3]


def test_files_with_damaged_schedules():
    model = new_model(Cosine(0.1, epochs=5))
    file = io.BytesIO()
    model.save(file)
    for old, new in ((b"Cosine", b"Cosina"), (b'"epochs": 5.0', b'"epochs": 0.0'), (b'"t_mult"', b'"t_many"')):
        header, arrays = fastnn._persistence.npz.read(io.BytesIO(file.getvalue()))
        state = header["optimizer"][1]["learning_rate"]
        text = repr(state).replace("'", '"').encode()
        assert old in text
        header["optimizer"][1]["learning_rate"] = eval(text.replace(old, new))
        damaged = io.BytesIO()
        fastnn._persistence.npz.write(damaged, header, arrays)
        damaged.seek(0)
        with pytest.raises(ValueError, match="its content is no valid model"):
            fastnn.load(damaged)
