"""Attacks, accuracy under attack, and training against attacks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from insides import flat_parameters, optimizer_slots
from models import assert_same_parameters, bits, classifier, data, regressor, table, through_a_file

import fastnn
from fastnn.robust import FGSM, PGD, accuracy_under_attack, fgsm, pgd

X, Y, X_TEST, Y_TEST = fastnn.datasets.load_digits()
X_TEST, Y_TEST = X_TEST[:300], Y_TEST[:300]
EPS = 0.15


@pytest.fixture(scope="module")
def plain():
    """Trained on the digits, whose features are from 0 to 1."""
    model = classifier([32, 10])
    model.fit(X, Y, epochs=15)
    return model


def binary(n_out=1, **options):
    x = table(60)
    t = (x[:, :n_out] + 0.3 * x[:, 1:2] > 0).astype(float)
    model = fastnn.Model([8, n_out], loss="binary_crossentropy", seed=0, optimizer=fastnn.Adam(0.02), **options)
    model.fit(x, t, epochs=60)
    return model, x, t


# ---------------------------------------------------------------------------------------------------------- attacks


def distances(moved, rows, norm):
    difference = moved.astype(np.float64) - rows
    return np.abs(difference).max(axis=1) if norm == np.inf else np.linalg.norm(difference, axis=1)


@pytest.mark.parametrize("attack", [fgsm, pgd, lambda *a, **k: pgd(*a, num_random_init=3, max_iter=5, **k)])
@pytest.mark.parametrize(("norm", "eps"), [(np.inf, 0.1), ("inf", 0.1), (2, 0.7)])
@pytest.mark.parametrize("limits", [None, (0, 1), (np.zeros(64), np.ones(64))], ids=["none", "numbers", "arrays"])
def test_attacked_rows_are_in_the_ball_and_within_the_limits(plain, attack, norm, eps, limits):
    moved = attack(plain, X_TEST, Y_TEST, eps=eps, norm=norm, clip_values=limits)
    assert moved.dtype == plain.dtype
    assert moved.shape == X_TEST.shape
    reached = distances(moved, X_TEST, float(norm))
    assert reached.max() <= eps * (1 + 1e-5)
    assert np.median(reached) > 0.5 * eps
    if limits is None:
        assert moved.min() < 0
    else:
        assert moved.min() >= 0
        assert moved.max() <= 1


@pytest.mark.parametrize("norm", [np.inf, 2])
def test_success_rises_with_the_radius(plain, norm):
    radii = np.array([0, 0.02, 0.05, 0.1, 0.2]) * (1 if norm == np.inf else 6)
    before = X_TEST.copy()
    by_one_step, by_many = (
        accuracy_under_attack(plain, X_TEST, Y_TEST, eps=radii, norm=norm, clip_values=(0, 1), attack=attack)
        for attack in ("fgsm", "pgd")
    )
    np.testing.assert_array_equal(X_TEST, before)
    clean = plain.evaluate(X_TEST, Y_TEST)["accuracy"]
    for found in (by_one_step, by_many):
        assert found.accuracy[0] == pytest.approx(clean, abs=1e-6)
        assert (np.diff(found.accuracy) < 0).all()
        assert found.accuracy[-1] < 0.3 * clean
    assert (by_many.accuracy <= by_one_step.accuracy + 1 / 300).all()
    some = np.flatnonzero(plain.predict_classes(X_TEST) == Y_TEST)
    moved = pgd(plain, X_TEST[some], Y_TEST[some], eps=radii[3], norm=norm, clip_values=(0, 1))
    share = (plain.predict_classes(moved) == Y_TEST[some]).mean() * clean
    assert by_many.accuracy[3] == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_step_is_the_optimum_for_a_linear_net(norm, dtype):
    model, x = fastnn.Model([], loss="binary_crossentropy", seed=0, dtype=dtype), table(40)
    t = (x[:, 0] > 0).astype(float)
    model.fit(x, t, epochs=30)
    w, b = model.weights[0][:, 0].astype(np.float64), model.biases[0][0]
    eps = 0.3
    # The logit moves by eps times the dual norm of the weights, away from the class.
    most = eps * (np.abs(w).sum() if norm == np.inf else np.linalg.norm(w))
    margin = (x @ w + b) * (2 * t - 1)
    near = {"atol": 2e-5 if dtype == "float32" else 1e-9}
    for moved in (fgsm(model, x, t, eps=eps, norm=norm), pgd(model, x, t, eps=eps, norm=norm, num_random_init=0)):
        np.testing.assert_allclose((moved @ w + b) * (2 * t - 1), margin - most, **near)
    back = fgsm(model, x, t, eps=eps, norm=norm, targeted=True)
    np.testing.assert_allclose((back @ w + b) * (2 * t - 1), margin + most, **near)


def test_a_targeted_attack_reaches_its_class(plain):
    goal = (Y_TEST + 3) % 10
    moved = pgd(plain, X_TEST, goal, eps=0.3, targeted=True, clip_values=(0, 1))
    assert (plain.predict_classes(moved) == goal).mean() > 0.8
    one = fgsm(plain, X_TEST, goal, eps=0.3, targeted=True, clip_values=(0, 1))
    at_goal = [np.mean(plain.predict_proba(x)[np.arange(300), goal]) for x in (X_TEST, one, moved)]
    assert at_goal[0] < at_goal[1] < at_goal[2]


def test_without_targets_the_predictions_are_attacked(plain):
    predicted = plain.predict_classes(X_TEST)
    for attack in (fgsm, pgd):
        np.testing.assert_array_equal(attack(plain, X_TEST, eps=EPS), attack(plain, X_TEST, predicted, eps=EPS))
    with pytest.raises(ValueError, match=r"y is None"):
        pgd(plain, X_TEST, eps=EPS, targeted=True)


def test_more_starts_turn_no_fewer_rows(plain):
    def turned(n, seed=0):
        moved = pgd(plain, X_TEST, Y_TEST, eps=0.06, max_iter=2, num_random_init=n, seed=seed)
        return plain.predict_classes(moved) != Y_TEST, moved

    (one, first), (several, best) = turned(1), turned(6)
    assert (several >= one).all()
    assert several.sum() > one.sum()
    losses = [plain.evaluate(x[~several], Y_TEST[~several])["loss"] for x in (first, best)]
    assert losses[1] > losses[0]
    np.testing.assert_array_equal(turned(6)[1], best)
    assert not np.array_equal(turned(6, seed=1)[1], best)
    moves = pgd(plain, X_TEST, Y_TEST, eps=0.06, max_iter=1, eps_step=1e-6) - X_TEST
    assert np.abs(moves).mean() == pytest.approx(0.03, rel=0.05)  # the starts are uniform
    zero = pgd(plain, X_TEST, Y_TEST, eps=0.06, max_iter=1, eps_step=0.06, num_random_init=0)
    np.testing.assert_array_equal(zero, fgsm(plain, X_TEST, Y_TEST, eps=0.06))


def test_steps_of_the_norm_2_begin_inside_the_ball(plain):
    moves = pgd(plain, X_TEST, Y_TEST, eps=0.5, norm=2, max_iter=1, eps_step=1e-6) - X_TEST
    lengths = np.linalg.norm(moves, axis=1)
    assert lengths.max() <= 0.5 * (1 + 1e-5)
    assert lengths.mean() == pytest.approx(0.5 * 64 / 65, rel=0.01)  # uniform in 64 dimensions


def test_values_are_led_away_from_their_targets():
    x, t = table(50), table(50, d=2, seed=3)
    model = regressor([6, 2])
    model.fit(x, t, epochs=20)
    before = ((model.predict(x) - t) ** 2).mean(axis=1)
    for moved in (fgsm(model, x, t, eps=0.1), pgd(model, x, t, eps=0.1, num_random_init=2)):
        after = ((model.predict(moved) - t) ** 2).mean(axis=1)
        assert after.mean() > 1.1 * before.mean()
        assert np.abs(moved - x).max() <= 0.1 * (1 + 1e-5)
    nearer = fgsm(model, x, t, eps=0.01, targeted=True)
    assert ((model.predict(nearer) - t) ** 2).mean() < before.mean()
    with pytest.raises(ValueError, match=r"^y must be given for a net of values"):
        fgsm(model, x, eps=0.1)
    with pytest.raises(ValueError, match=r"^accuracy_under_attack needs a net of classes"):
        accuracy_under_attack(model, x, t, eps=0.1)


@pytest.mark.parametrize("n_out", [1, 2])
def test_independent_outputs(n_out):
    model, x, t = binary(n_out)
    found = accuracy_under_attack(model, x, t, eps=[0.5, 0])
    np.testing.assert_array_equal(found.eps, [0, 0.5])
    right = (model.predict_proba(x) > 0.5) == (t > 0.5)
    assert found.accuracy[0] == pytest.approx(right.all(axis=1).mean())
    assert found.accuracy[1] < found.accuracy[0] - 0.1


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # of scikit-learn: the training is short
@pytest.mark.parametrize("labels", ["text", "two", "several"])
def test_classifiers_have_their_own_labels(labels):
    pytest.importorskip("sklearn")
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    y = {"text": names[Y], "two": np.where(Y < 5, "low", "high"), "several": np.column_stack([Y < 5, Y % 2 == 0]) * 1}
    estimator = fastnn.MLPClassifier((32,), random_state=0, max_iter=20, tol=0).fit(X, y[labels])
    rows, wanted = X[:200], y[labels][:200]
    clean = estimator.score(rows, wanted)
    before = estimator.predict_proba(rows)
    for norm, eps in ((np.inf, 0.2), (2, 1.5)):
        found = accuracy_under_attack(estimator, rows, wanted, eps=[0, eps], norm=norm, clip_values=(0, 1))
        assert found.accuracy[0] == clean
        assert found.accuracy[1] < 0.5 * clean
        moved = fgsm(estimator, rows, wanted, eps=eps, norm=norm)
        assert estimator.score(moved, wanted) < 0.7 * clean
        assert distances(moved, rows, norm).max() <= eps * (1 + 1e-5)
        predicted = estimator.predict(rows)
        np.testing.assert_array_equal(fgsm(estimator, rows, eps=eps), fgsm(estimator, rows, predicted, eps=eps))
    np.testing.assert_array_equal(estimator.predict_proba(rows), before)
    if labels != "several":
        with pytest.raises(ValueError, match=r"^y must be one of the classes"):
            fgsm(estimator, rows, np.full(200, "ten"), eps=0.1)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_regressors_and_unfitted_estimators():
    pytest.importorskip("sklearn")
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, t = table(50), table(50, d=1, seed=3)[:, 0]
    estimator = fastnn.MLPRegressor(hidden_layer_sizes=(6,), random_state=0, max_iter=20).fit(x, t)
    moved = pgd(estimator, x, t, eps=0.1)
    assert np.square(estimator.predict(moved) - t).mean() > np.square(estimator.predict(x) - t).mean()
    with pytest.raises(NotFittedError):
        fgsm(fastnn.MLPClassifier(), x, eps=0.1)
    pipeline = make_pipeline(StandardScaler(), estimator)
    with pytest.raises(TypeError, match=r"^model must be a fastnn.Model or a fitted estimator .* last step"):
        fgsm(pipeline, x, t, eps=0.1)


def test_edges_of_rows_and_radius():
    x, y = data(5)
    model = classifier()
    model.fit(x, y)
    np.testing.assert_array_equal(fgsm(model, x, y, eps=0), x.astype(np.float32))
    np.testing.assert_array_equal(pgd(model, x, y, eps=0.0, norm=2), x.astype(np.float32))
    one = pgd(model, x[:1], y[:1], eps=0.1)
    assert one.shape == (1, 3)
    np.testing.assert_array_equal(fgsm(model, x, np.eye(3)[y], eps=0.1), fgsm(model, x, y, eps=0.1))
    read_only = np.asfortranarray(x.astype(np.float32))
    read_only.flags.writeable = False
    np.testing.assert_array_equal(fgsm(model, read_only, y, eps=0.1), fgsm(model, x, y, eps=0.1))
    single = fastnn.Model([], loss="squared_error", seed=0)
    single.fit(x[:, :1], x[:, 1])
    assert fgsm(single, x[:, :1], x[:, 1], eps=0.5).shape == (5, 1)
    # A net that ignores its features has no slope, in any direction.
    single.weights[0][...] = 0
    for norm in (np.inf, 2):
        np.testing.assert_array_equal(fgsm(single, x[:, :1], x[:, 1], eps=0.5, norm=norm), x[:, :1].astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"eps": -1}, ValueError, "eps must be at least 0"),
        ({"eps": "a"}, TypeError, "eps must be"),
        ({"eps": np.nan}, ValueError, "eps must be"),
        ({"norm": 1}, ValueError, "norm must be inf or 2, got 1"),
        ({"norm": "two"}, ValueError, "norm must be"),
        ({"targeted": 1}, TypeError, "targeted must be"),
        ({"clip_values": 3}, ValueError, "clip_values must be"),
        ({"clip_values": (0, 1, 2)}, ValueError, "clip_values must be"),
        ({"clip_values": (9, -9)}, ValueError, "clip_values must be limits of which the first"),
        ({"clip_values": (0, 1)}, ValueError, "clip_values must be limits of all features of X"),
        ({"clip_values": (np.zeros(2), 9)}, ValueError, r"clip_values\[0\] must be a number, or 3 numbers"),
        ({"clip_values": ("a", 9)}, TypeError, r"clip_values\[0\] must be a number"),
        ({"clip_values": (np.nan, 9)}, ValueError, r"clip_values\[0\] must be"),
        ({"y": [0, 1]}, ValueError, "y has"),
        ({"X": np.full((45, 3), np.nan)}, ValueError, "X"),
        ({"X": np.zeros((45, 2))}, ValueError, "X has 2 features"),
        ({"X": np.zeros((0, 3))}, ValueError, "X"),
        ({"model": 3}, TypeError, "model must be a fastnn.Model"),
        ({"model": classifier()}, ValueError, "no weights yet"),
        ({"epsilon": 0.1}, TypeError, "epsilon"),
    ],
    ids=lambda given: str(given)[:30],
)  # fmt: skip
@pytest.mark.parametrize("attack", [fgsm, pgd, accuracy_under_attack])
def test_wrong_settings_are_refused(attack, settings, error, text):
    x, y = data()
    model = classifier()
    model.fit(x, y)
    before = bits(model)
    given = {"model": model, "X": x, "y": y, "eps": 0.1, **settings}
    if attack is accuracy_under_attack:
        given.pop("targeted", None)
        if "targeted" in settings:
            pytest.skip("has no targets")
        text = text.replace("eps must", r"eps\[0\] must") if settings.get("eps") != "a" else "eps"
    with pytest.raises(error, match=text):
        attack(**given)
    assert bits(model) == before


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"eps_step": 0}, ValueError, "eps_step must be above 0"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be"),
        ({"num_random_init": -1}, ValueError, "num_random_init must be at least 0"),
        ({"seed": "a"}, TypeError, "seed must be"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_of_many_steps_are_refused(plain, settings, error, text):
    with pytest.raises(error, match=text):
        pgd(plain, X_TEST, Y_TEST, eps=0.1, **settings)


def test_wrong_settings_of_the_measurement_are_refused(plain):
    with pytest.raises(ValueError, match="attack must be"):
        accuracy_under_attack(plain, X_TEST, Y_TEST, eps=0.1, attack="carlini")
    with pytest.raises(ValueError, match="eps must be"):
        accuracy_under_attack(plain, X_TEST, Y_TEST, eps=[])
    with pytest.raises(ValueError, match=r"eps\[1\] must be at least 0"):
        accuracy_under_attack(plain, X_TEST, Y_TEST, eps=[0, -1])


def test_the_picture(plain):
    pytest.importorskip("matplotlib")
    found = accuracy_under_attack(plain, X_TEST[:50], Y_TEST[:50], eps=[0, 0.1], max_iter=3)
    figure = found.plot(label="plain")
    panel = figure.axes[0]
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), found.accuracy)
    assert panel.get_legend() is not None
    assert found.plot(panel) is figure
    assert len(panel.lines) == 2
    assert "Euclidean" in dataclasses.replace(found, norm=2.0).plot().axes[0].get_xlabel()
    with pytest.raises(TypeError, match="ax must be"):
        found.plot(3)


# --------------------------------------------------------------------------------------------- training against them


def trained(adversary, epochs=15, **options):
    model = classifier([32, 10], **options)
    model.fit(X, Y, epochs=epochs, adversary=adversary)
    return model


@pytest.mark.parametrize(
    "adversary",
    [FGSM(EPS, clip_values=(0, 1)), PGD(EPS, clip_values=(0, 1), max_iter=3), FGSM(EPS, random_start=False, ratio=0.7)],
    ids=["one step", "three steps", "a share, no start"],
)
def test_training_against_attacks_resists_them(plain, adversary):
    model = trained(adversary)
    accuracies = []
    for one in (plain, model):
        found = accuracy_under_attack(one, X_TEST, Y_TEST, eps=[0, EPS], clip_values=(0, 1))
        accuracies.append(found.accuracy)
    assert accuracies[1][0] > 0.9  # still right without an attack
    assert accuracies[0][1] < 0.35
    assert accuracies[1][1] > accuracies[0][1] + 0.3


def test_one_step_of_descent_is_one_on_the_attacked_rows():
    x, y = data()
    weight = np.linspace(0, 2, len(x))
    models = [classifier([7, 3], optimizer=fastnn.SGD(0.1)) for _ in range(2)]
    for model in models:
        model.build(3)
    limits = (float(x.min()), float(x.max()))
    attacked = fgsm(models[0], x, y, eps=0.25, clip_values=limits)
    attacked[weight == 0] = x[weight == 0]
    adversary = FGSM(0.25, random_start=False, clip_values=limits)
    first = models[0].fit(x, y, batch_size=None, adversary=adversary, sample_weight=weight)
    second = models[1].fit(attacked, y, batch_size=None, sample_weight=weight)
    assert_same_parameters(*models)
    assert first["loss"] == second["loss"]
    assert first["accuracy"] == second["accuracy"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_do_not_change_a_bit(dtype):
    options = {"batch_size": 600, "epochs": 3, "adversary": FGSM(EPS, ratio=0.9, clip_values=(0, 1))}
    results = []
    for n_threads in (1, 2):
        model = classifier([fastnn.Dense(32, "relu", dropout=0.2), 10], dtype=dtype, n_threads=n_threads)
        model.fit(X, Y, **options)
        results.append(flat_parameters(model).tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("adversary", [FGSM(EPS, clip_values=(0, 1)), PGD(EPS, max_iter=2, ratio=0.5)], ids=repr)
def test_a_training_continues_as_if_it_had_not_ended(adversary):
    whole, halves = classifier([16, 10]), classifier([16, 10])
    whole.fit(X, Y, epochs=4, adversary=adversary)
    halves.fit(X, Y, epochs=2, adversary=adversary)
    halves = through_a_file(halves)
    halves.fit(X, Y, epochs=2, adversary=adversary)
    assert_same_parameters(whole, halves)
    np.testing.assert_array_equal(optimizer_slots(whole), optimizer_slots(halves))


def test_plain_epochs_before_and_after_are_as_ever():
    mixed, plain_again = classifier([16, 10]), classifier([16, 10])
    for model in (mixed, plain_again):
        model.fit(X, Y, epochs=1)
    assert_same_parameters(mixed, plain_again)
    mixed.fit(X, Y, epochs=1, adversary=FGSM(EPS))
    assert not np.array_equal(mixed.weights[0], plain_again.weights[0])
    mixed.fit(X, Y, epochs=1)
    other = classifier([16, 10])
    other.fit(X, Y, epochs=1)
    other.fit(X, Y, epochs=1, adversary=FGSM(EPS))
    other = through_a_file(other)
    other.fit(X, Y, epochs=1)
    assert_same_parameters(mixed, other)


def test_validation_rows_are_not_moved():
    model = classifier([16, 10])
    history = model.fit(X, Y, epochs=2, validation_data=(X_TEST, Y_TEST), adversary=FGSM(EPS))
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X_TEST, Y_TEST)["loss"], rel=1e-6)
    assert history["loss"][-1] > history["val_loss"][-1]


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", "quantile", "poisson", "binary_crossentropy"])
@pytest.mark.parametrize("width", [1, 40])
def test_every_loss_and_narrow_and_wide_layers(loss, width):
    x = table(64, d=40)[:, :width]
    t = np.abs(np.round(table(64, d=1, seed=5))).clip(0, 1)
    options = {"loss": fastnn.losses.quantile(0.3) if loss == "quantile" else loss, "seed": 0}
    plain, against = (fastnn.Model([5, 2 if loss == "gaussian_nll" else 1], **options) for _ in range(2))
    lower = plain.fit(x, t, epochs=3)["loss"]
    higher = against.fit(x, t, epochs=3, adversary=FGSM(0.3, random_start=False))["loss"]
    assert higher[0] > lower[0]
    assert np.isfinite(higher).all()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: FGSM(0), ValueError, "eps must be above 0"),
        (lambda: FGSM(eps=-0.1), ValueError, "eps must be above 0"),
        (lambda: FGSM("a"), TypeError, "eps must be"),
        (lambda: FGSM(np.inf), ValueError, "eps must be"),
        (lambda: FGSM(0.1, eps_step=0), ValueError, "eps_step must be above 0"),
        (lambda: FGSM(0.1, ratio=0), ValueError, "ratio must be above 0 and at most 1"),
        (lambda: FGSM(0.1, ratio=1.1), ValueError, "ratio must be"),
        (lambda: FGSM(0.1, random_start="no"), TypeError, "random_start must be"),
        (lambda: FGSM(0.1, clip_values=(1, 0)), ValueError, "clip_values must be"),
        (lambda: FGSM(0.1, clip_values=(0, np.nan)), ValueError, r"clip_values\[1\] must be"),
        (lambda: FGSM(0.1, clip_values=0), ValueError, "clip_values must be"),
        (lambda: PGD(0.1, max_iter=0), ValueError, "max_iter must be at least 1"),
        (lambda: FGSM(0.1, epsilon=1), TypeError, "epsilon"),
        (lambda: setattr(FGSM(0.1), "eps", 0.2), dataclasses.FrozenInstanceError, r"FGSM\(eps=0.2"),
    ],
)
def test_wrong_adversaries_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("adversary", "options", "error", "text"),
    [
        (0.1, {}, TypeError, "adversary must be a fastnn.robust.FGSM or PGD, or None, got 0.1"),
        (FGSM, {}, TypeError, "adversary must be"),
        (FGSM(0.1), {"optimizer": "lbfgs"}, ValueError, "adversary is FGSM.* needs the same rows"),
        (FGSM(0.1), {"optimizer": "lm", "loss": "squared_error"}, ValueError, "adversary is FGSM"),
        (FGSM(0.1, clip_values=(0, 1)), {}, ValueError, "clip_values must be limits of all features of X"),
        (FGSM(1e-60), {}, ValueError, "adversary is FGSM.* are 0 in float32"),
    ],
    ids=lambda given: str(given)[:30],
)
def test_a_fit_refuses_what_it_cannot_do_and_is_as_before(adversary, options, error, text):
    x, y = data()
    model = classifier([4, 3], **{"optimizer": "adam", **options})
    model.build(3)
    before = bits(model)
    with pytest.raises(error, match=text):
        model.fit(x, np.eye(3)[y], adversary=adversary)
    assert bits(model) == before
    assert not model.history.epoch


def test_equality_and_text():
    assert FGSM(0.1, clip_values=[0, 1]) == FGSM(0.1, clip_values=(0.0, 1.0))
    assert repr(PGD(0.1, max_iter=3)) == (
        "PGD(eps=0.1, eps_step=None, random_start=True, ratio=1.0, clip_values=None, max_iter=3)"
    )
    assert hash(FGSM(0.1)) == hash(FGSM(0.1))
