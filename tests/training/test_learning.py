"""Convergence: nets reach the optima known from theory or other software, and the expected accuracy on real data."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from scipy import optimize, special

import fastnn
from fastnn import Adam, Dense, Model, losses

pytestmark = pytest.mark.slow  # whole trainings: some have 4000 epochs

OPTIMIZERS = {
    "sgd": fastnn.SGD(0.3),
    "momentum": fastnn.SGD(0.05, momentum=0.9),
    "nesterov": fastnn.SGD(0.05, momentum=0.9, nesterov=True),
    "adagrad": fastnn.AdaGrad(0.05),
    "rmsprop": fastnn.RMSProp(2e-3),
    "adam": fastnn.Adam(3e-3),
}
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])


@functools.cache
def digits():
    return fastnn.datasets.load_digits()


def table(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def linear_data(n=200, d=5, noise=0.3):
    X = table(n, d)
    return X, X @ np.linspace(-2.0, 2.0, d) + 0.7 + noise * table(n, 1, 1)[:, 0]


def descend(model, X, t, epochs=4000, **options):
    """Batch descent with momentum to the end."""
    model.optimizer = fastnn.SGD(options.pop("rate", 0.1), momentum=0.9)
    model.fit(X, t, epochs=epochs, batch_size=None, **options)
    return model


#  real data


def test_digits():
    X, y, X_test, y_test = digits()
    model = Model([64, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(3e-3), seed=0)
    record = model.fit(X, y, epochs=20, batch_size=64, validation_split=0.1)
    assert record["accuracy"][-1] > 0.99
    assert record["val_accuracy"][-1] > 0.96
    assert model.evaluate(X_test, y_test)["accuracy"] > 0.95
    assert np.mean(model.predict_classes(X_test) == y_test) == pytest.approx(model.evaluate(X_test, y_test)["accuracy"])


def test_digits_beside_scikit_learn():
    """The same net, optimizer, batches and epochs: not worse than by one percentage point in the mean."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, y, X_test, y_test = digits()
    ours, theirs = [], []
    for seed in range(3):
        model = Model([48, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(1e-3),
                      regularizer=fastnn.L2(1e-5), seed=seed)  # fmt: skip
        model.fit(X, y, epochs=25, batch_size=64)
        ours.append(model.evaluate(X_test, y_test)["accuracy"])
        other = neural_network.MLPClassifier((48,), batch_size=64, max_iter=25, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would like more epochs
            other.fit(X, y)
        theirs.append(other.score(X_test, y_test))
    assert np.mean(ours) >= np.mean(theirs) - 0.01
    assert min(ours) > 0.93


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name):
    X, y, X_test, y_test = digits()
    model = Model([32, 10], loss="softmax_crossentropy", optimizer=OPTIMIZERS[name], seed=0)
    losses = model.fit(X, y, epochs=8, batch_size=32)["loss"]
    assert losses[-1] < losses[1] < losses[0]
    assert model.evaluate(X_test, y_test)["accuracy"] > 0.92


@pytest.mark.parametrize(
    ("batch_size", "rate", "epochs"), [(1, 0.02, 2), (32, 0.3, 6), (1500, 1.0, 60), (None, 1.0, 150)]
)
def test_stochastic_mini_batch_and_batch_descent_learn(batch_size, rate, epochs):
    X, y, X_test, y_test = digits()
    model = Model([32, 10], loss="softmax_crossentropy", optimizer=fastnn.SGD(rate), seed=0)
    model.fit(X, y, epochs=epochs, batch_size=batch_size)
    assert model.evaluate(X_test, y_test)["accuracy"] > 0.9


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", fastnn.leaky_relu(0.1), fastnn.elu()], ids=str)
def test_every_activation_learns(activation):
    X, y, X_test, y_test = digits()
    model = Model([Dense(32, activation), Dense(32, activation), 10], loss="softmax_crossentropy",
                  optimizer=fastnn.Adam(5e-3), seed=0)  # fmt: skip
    model.fit(X, y, epochs=8, batch_size=32)
    assert model.evaluate(X_test, y_test)["accuracy"] > 0.92


@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares", "binary_crossentropy", "softmax_crossentropy"])
def test_every_loss_learns(loss):
    X, y, X_test, y_test = digits()
    model = Model([32, 10], loss=loss, optimizer=fastnn.Adam(3e-3), seed=0)
    model.fit(X, np.eye(10)[y], epochs=8, batch_size=32)
    assert np.mean(model.predict(X_test).argmax(axis=1) == y_test) > 0.92


def test_single_precision_learns_as_well_as_double():
    X, y, X_test, y_test = digits()
    accuracy = []
    for dtype in ("float32", "float64"):
        model = Model([32, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(3e-3), seed=0, dtype=dtype)
        model.fit(X, y, epochs=8)
        accuracy.append(model.evaluate(X_test, y_test)["accuracy"])
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.01)


def test_a_smooth_function():
    x = np.linspace(-np.pi, np.pi, 400)[:, None]
    model = Model([Dense(32, "tanh"), Dense(32, "tanh"), 1], loss="mse", optimizer=fastnn.Adam(5e-3), seed=0)
    model.fit(x, np.sin(x), epochs=300)
    between = np.linspace(-3, 3, 333)[:, None]
    assert np.abs(model.predict(between) - np.sin(between)).max() < 0.05


#  what a hidden layer is for


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("loss", ["squared_error", "binary_crossentropy", "softmax_crossentropy"])
def test_exclusive_or_with_a_hidden_layer(loss, seed):
    X, y = XOR
    outputs = 2 if loss == "softmax_crossentropy" else 1
    model = Model([Dense(8, "tanh"), outputs], loss=loss, optimizer=fastnn.Adam(0.05), seed=seed)
    model.fit(X, y, epochs=500, batch_size=None)
    found = model.predict(X)[:, 0] > 0.5 if loss == "squared_error" else model.predict_classes(X)
    assert np.array_equal(found, y)
    assert model.history["loss"][-1] < 0.02


def test_exclusive_or_without_one():
    """No line parts the classes: the best that can be said is one half."""
    X, y = XOR
    model = descend(Model([], loss="binary_crossentropy", seed=0, dtype="float64"), X, y)
    np.testing.assert_allclose(model.predict_proba(X), 0.5, atol=1e-6)
    assert model.evaluate(X, y)["loss"] == pytest.approx(np.log(2.0), rel=1e-9)


#  nets without hidden layer against the solutions of their equations


@pytest.mark.parametrize("loss", ["squared_error", "sum_of_squares"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_regression_is_least_squares(loss, outputs):
    X, y = linear_data()
    t = y if outputs == 1 else np.column_stack([y, -2.0 * y + X[:, 0], table(len(y), 1, 9)])
    with_ones = np.column_stack([X, np.ones(len(X))])
    solution = np.linalg.lstsq(with_ones, t.reshape(len(y), -1), rcond=None)[0]
    rate = 0.1 if loss == "squared_error" else 0.1 / len(X)
    model = descend(Model([], loss=loss, seed=0, dtype="float64"), X, t, rate=rate)
    np.testing.assert_allclose(model.weights[0], solution[:-1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.biases[0], solution[-1], rtol=1e-9, atol=1e-9)


def test_linear_regression_in_single_precision():
    X, y = linear_data()
    solution = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)[0]
    model = descend(Model([], loss="mse", seed=0), X, y, epochs=1000)
    np.testing.assert_allclose(model.weights[0][:, 0], solution[:-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.biases[0], solution[-1], rtol=1e-4)


def test_weighted_linear_regression():
    X, y = linear_data()
    weight = np.random.default_rng(4).uniform(0.0, 2.0, len(y))
    root = np.sqrt(weight)[:, None]
    solution = np.linalg.lstsq(root * np.column_stack([X, np.ones(len(X))]), root[:, 0] * y, rcond=None)[0]
    model = descend(Model([], loss="mse", seed=0, dtype="float64"), X, y, sample_weight=weight)
    np.testing.assert_allclose(model.weights[0][:, 0], solution[:-1], rtol=1e-9)
    np.testing.assert_allclose(model.biases[0], solution[-1:], rtol=1e-9)


def logistic_optimum(X, y, l2):
    """Minimum of the mean cross-entropy + l2 |w|^2 over (w, b), by Newton's method with exact derivatives."""
    with_ones = np.column_stack([X, np.ones(len(X))])
    penalty = np.r_[np.full(X.shape[1], l2), 0.0]

    def objective(w):
        u = with_ones @ w
        return np.mean(np.logaddexp(0.0, u) - y * u) + penalty @ w**2

    def gradient(w):
        return with_ones.T @ (special.expit(with_ones @ w) - y) / len(y) + 2.0 * penalty * w

    def hessian(w):
        p = special.expit(with_ones @ w)
        return (with_ones * (p * (1.0 - p))[:, None]).T @ with_ones / len(y) + 2.0 * np.diag(penalty)

    start, options = np.zeros(with_ones.shape[1]), {"gtol": 1e-12}
    found = optimize.minimize(objective, start, jac=gradient, hess=hessian, method="trust-exact", options=options)
    return found.x, found.fun


@pytest.mark.parametrize("separable", [False, True], ids=["not separable", "separable"])
@pytest.mark.parametrize("form", [[], [1], [Dense(1, "sigmoid")]], ids=["empty list", "a layer", "a sigmoid"])
def test_logistic_regression(separable, form):
    """Separable classes have no finite optimum without a penalty."""
    X, t = linear_data(noise=0.0 if separable else 2.0)
    y = t > 0.5
    l2 = 0.01 if separable else 0.0
    solution, least = logistic_optimum(X, y, l2)
    model = Model(form, loss="binary_crossentropy", regularizer=fastnn.L2(l2), seed=0, dtype="float64")
    descend(model, X, y, rate=0.5)
    np.testing.assert_allclose(model.weights[0][:, 0], solution[:-1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.biases[0], solution[-1:], rtol=1e-6, atol=1e-8)
    found = model.evaluate(X, y)
    assert found["loss"] == pytest.approx(least, rel=1e-9)
    assert (found["accuracy"] == 1.0) == separable


def test_separable_classes_without_a_penalty_are_parted_ever_more_clearly():
    X, t = linear_data(noise=0.0)
    model = Model([], loss="binary_crossentropy", optimizer=fastnn.SGD(1.0), seed=0)
    losses = model.fit(X, t > 0.5, epochs=1000, batch_size=None)["loss"]
    assert np.all(np.diff(losses[10:]) < 1e-5)
    assert losses[-1] < 0.1
    assert model.evaluate(X, t > 0.5)["accuracy"] > 0.98


def test_softmax_regression():
    X, l2 = table(150, 4), 0.01
    y = np.argmax(X @ table(4, 3, 5) + table(150, 3, 6), axis=1)
    one_hot = np.eye(3)[y]

    def objective(parameters):
        w, b = parameters[:12].reshape(4, 3), parameters[12:]
        u = X @ w + b
        value = np.mean(special.logsumexp(u, axis=1) - u[np.arange(150), y]) + l2 * np.sum(w**2)
        d = (special.softmax(u, axis=1) - one_hot) / 150
        return value, np.r_[(X.T @ d + 2.0 * l2 * w).ravel(), d.sum(axis=0)]

    best = optimize.minimize(objective, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-10})
    model = descend(
        Model([], loss="softmax_crossentropy", regularizer=fastnn.L2(l2), seed=0, dtype="float64"), X, y, rate=0.5
    )
    assert model.evaluate(X, y)["loss"] == pytest.approx(best.fun, rel=1e-9)
    np.testing.assert_allclose(model.weights[0], best.x[:12].reshape(4, 3), rtol=1e-5, atol=1e-7)
    # Biases are determined except for a common summand, which stays zero.
    np.testing.assert_allclose(model.biases[0], best.x[12:] - best.x[12:].mean(), rtol=1e-5, atol=1e-7)


#  losses and penalties


def test_sum_of_squares_is_half_the_sum_over_rows_and_outputs():
    X, t = table(30, 4), table(30, 2, 1)
    model = Model([Dense(3, "tanh"), 2], loss="sum_of_squares", optimizer=fastnn.SGD(1e-3), seed=0, dtype="float64")
    model.build(4)
    expected = 0.5 * np.sum((model.predict(X) - t) ** 2)
    assert model.evaluate(X, t)["loss"] == pytest.approx(expected, rel=1e-13)
    d = model.predict(X) - t
    h = np.tanh(X @ model.weights[0] + model.biases[0])
    last = model.weights[1].copy(), model.biases[1].copy()
    record = model.fit(X, t, batch_size=None)
    assert record["loss"][0] == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(model.weights[1], last[0] - 1e-3 * h.T @ d, rtol=1e-11)
    np.testing.assert_allclose(model.biases[1], last[1] - 1e-3 * d.sum(axis=0), rtol=1e-11)
    # Over mini-batches it stays a sum.
    model.optimizer = fastnn.SGD(1e-300)
    at_rest = model.evaluate(X, t)["loss"]
    assert model.fit(X, t, batch_size=7)["loss"][0] == pytest.approx(at_rest, rel=1e-12)


def without_bias(regularizer):
    return Model([Dense(1, use_bias=False)], loss="mse", regularizer=regularizer, seed=0, dtype="float64")


def test_ridge_regression_in_closed_form():
    X, y = linear_data()
    for l2 in (0.0, 0.1, 1.0, 10.0):
        solution = np.linalg.solve(X.T @ X / len(X) + l2 * np.eye(5), X.T @ y / len(X))
        model = descend(without_bias(fastnn.L2(l2)), X, y, rate=0.02)
        np.testing.assert_allclose(model.weights[0][:, 0], solution, rtol=1e-8, atol=1e-10)


def test_the_lasso_in_closed_form():
    """With X'X = n I each weight is that of least squares, drawn towards zero by l1 / 2 and stopped there."""
    n, l1 = 64, 1.0
    X = np.linalg.qr(table(n, 6))[0] * np.sqrt(n)
    y = X @ [3.0, -2.0, 1.0, 0.3, -0.2, 0.0] + 0.1 * table(n, 1, 1)[:, 0]
    least_squares = X.T @ y / n
    solution = np.sign(least_squares) * np.maximum(np.abs(least_squares) - l1 / 2.0, 0.0)
    model = without_bias(fastnn.L1(l1))
    for rate in (0.1, 0.01, 1e-3, 1e-4):  # near zero the steps are as long as the rate
        model.optimizer = fastnn.SGD(rate)
        model.fit(X, y, epochs=1000, batch_size=None)
    np.testing.assert_allclose(model.weights[0][:, 0], solution, atol=2e-4)
    assert np.array_equal(np.abs(model.weights[0][:, 0]) < 2e-4, [False, False, False, True, True, True])


def test_penalties_of_a_net():
    X, y, _, _ = digits()
    weights = {}
    for name, penalty in {"none": None, "l1": fastnn.L1(1e-3), "l2": fastnn.L2(1e-3)}.items():
        model = Model([32, 10], loss="softmax_crossentropy", optimizer=fastnn.Adam(3e-3), regularizer=penalty, seed=0)
        model.fit(X[:1000], y[:1000], epochs=60)
        weights[name] = np.abs(np.concatenate([w.ravel() for w in model.weights]))
        assert model.evaluate(X, y)["accuracy"] > 0.9
    assert np.sum(weights["l2"] ** 2) < 0.5 * np.sum(weights["none"] ** 2)
    assert np.mean(weights["l1"] < 0.01) > 0.5 > 0.2 > np.mean(weights["none"] < 0.01)


def test_biases_carry_no_penalty():
    X, y = np.zeros((20, 2)), np.full(20, 5.0)
    model = Model([], loss="mse", regularizer=fastnn.L1L2(10.0, 10.0), seed=0, dtype="float64")
    descend(model, X, y, rate=0.01)
    assert model.biases[0][0] == pytest.approx(5.0, rel=1e-9)
    assert np.abs(model.weights[0]).max() < 0.5


def noisy_line(n, seed=0):
    """Noise around a line that grows with x: y = 2 x + x e, e standard normal, x in [0.5, 2]."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    return x, (2 * x[:, 0] + x[:, 0] * rng.standard_normal(n)).astype(np.float32)


def test_several_quantiles_at_once_cover_their_shares():
    x, y = noisy_line(4000)
    levels = (0.1, 0.5, 0.9)
    model = Model([16, 3], loss=losses.quantile(*levels), optimizer="adam", seed=0)
    model.fit(x, y, epochs=40, batch_size=64)
    x, y = noisy_line(4000, seed=1)
    found = model.predict(x)
    assert found.shape == (4000, 3)
    np.testing.assert_allclose((y[:, None] < found).mean(axis=0), levels, atol=0.03)
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 2 * 1.2816 * x[:, 0], rtol=0.25)


def test_gaussian_likelihood_finds_mean_and_spread():
    x, y = noisy_line(4000)
    model = Model([16, 2], loss="gaussian_nll", seed=0)
    model.fit(x, y, epochs=40, batch_size=64)
    mean, log_variance = model.predict(np.array([[0.7], [1.8]], np.float32)).T
    np.testing.assert_allclose(mean, [1.4, 3.6], rtol=0.15)
    np.testing.assert_allclose(np.exp(log_variance / 2), [0.7, 1.8], rtol=0.15)


@pytest.mark.parametrize("activation", ["identity", "exponential"])
def test_poisson_finds_the_rate(activation):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4000, 1))
    y = rng.poisson(np.exp(0.5 + x[:, 0]))
    model = Model([Dense(1, activation)], loss="poisson", optimizer=Adam(0.01), seed=0)
    model.fit(x, y, epochs=30, batch_size=64)
    found = model.predict([[0.0], [1.0]])[:, 0]
    if activation == "identity":
        found = np.exp(found)
    np.testing.assert_allclose(found, np.exp([0.5, 1.5]), rtol=0.08)
    np.testing.assert_allclose(model.weights[0], 1, atol=0.1)


def test_absolute_error_and_huber_resist_what_lies_far_out():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    y = 3 * x[:, 0] + 0.1 * rng.standard_normal(2000)
    y[:300] = 40
    slopes = {}
    for loss in ("squared_error", "absolute_error", losses.huber(0.5)):
        model = Model([], loss=loss, optimizer=Adam(0.05), seed=0)
        model.fit(x, y, epochs=30, batch_size=100)
        slopes[model.loss.name] = model.predict([[1.0]])[0, 0]
    assert abs(slopes["squared_error"] - 3) > 4
    assert slopes["absolute_error"] == pytest.approx(3, abs=0.3)
    assert slopes["huber"] == pytest.approx(3, abs=0.5)


def test_smoothing_keeps_logits_small_for_labels_and_for_rows():
    x, y = noisy_line(500)
    classes = (y > 2.5).astype(np.int64)
    spread = {}
    for smoothing in (0.0, 0.2):
        for targets in (classes, np.eye(2, dtype=np.float32)[classes]):
            model = Model([16, 2], loss=losses.softmax_crossentropy(smoothing), seed=0)
            model.fit(x, targets, epochs=20)
            spread.setdefault(smoothing, []).append(model.predict(x))
    for labels, rows in spread.values():
        np.testing.assert_allclose(labels, rows, atol=2e-4)
    assert np.abs(spread[0.2][0]).max() < np.abs(spread[0.0][0]).max()
