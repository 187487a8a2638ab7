"""Hidden outputs as features, and derivatives of the estimators' losses by the features."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BINARY, COUNTS, LABELS, MULTI, TWO, X, Y

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier, MLPRegressor, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {"hidden_layer_sizes": (7, 5), "activation": "tanh", "random_state": 0, "max_iter": 3}


def test_hidden_outputs_are_those_of_the_layers():
    net = MLPClassifier(**SETTINGS).fit(X, LABELS)
    first = np.tanh(X @ net.coefs_[0] + net.intercepts_[0])
    second = np.tanh(first @ net.coefs_[1] + net.intercepts_[1])
    for layers, expected in (((0, -3), first), ((1, -2), second), ((2, -1), net.predict_proba(X))):
        for layer in layers:
            np.testing.assert_allclose(net.transform(X, layer), expected, rtol=1e-11)
    np.testing.assert_array_equal(net.transform(X), net.transform(X, -2))
    np.testing.assert_allclose(net.transform(sparse.csr_array(X)), second, rtol=1e-11)
    net.coefs_ = [2 * w for w in net.coefs_]
    np.testing.assert_allclose(net.transform(X, 0), np.tanh(2 * (X @ net.coefs_[0] / 2) + net.intercepts_[0]))
    single = MLPRegressor(**SETTINGS).fit(X.astype(np.float32), Y)
    assert single.transform(X).dtype == np.float32


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_columns_have_names(output):
    if output == "pandas":
        pytest.importorskip("pandas")
    net = MLPRegressor(**SETTINGS).set_output(transform=output).fit(X, Y)
    for layer, width in ((-2, 5), (0, 7), (-1, 1)):
        names = net.get_feature_names_out(layer=layer)
        assert list(names) == [f"mlpregressor{k}" for k in range(width)]
        found = net.transform(X, layer)
        assert found.shape == (60, width)
        if output == "pandas":
            assert list(found.columns) == list(names)
            plain = clone(net).set_output(transform="default").fit(X, Y)
            np.testing.assert_array_equal(found, plain.transform(X, layer))
    with pytest.raises(ValueError, match="input_features"):
        net.get_feature_names_out(["a"])


def test_hidden_outputs_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(20, random_state=0, max_iter=50), LogisticRegression())
    assert pipeline.fit(X, LABELS).score(X, LABELS) > 0.8
    assert pipeline[:-1].transform(X).shape == (60, 20)


@pytest.mark.parametrize("layer", [3, -4, 1.5, "first", None, 10**30])
def test_layers_that_do_not_exist(layer):
    net = MLPRegressor(**SETTINGS).fit(X, Y)
    for call in (lambda: net.transform(X, layer), lambda: net.get_feature_names_out(layer=layer)):
        with pytest.raises(ValueError, match="layer must be an integer from -3 to 2"):
            call()


def test_a_net_without_hidden_layers_has_no_hidden_outputs():
    net = MLPRegressor(hidden_layer_sizes=(), max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"layer must be .*There is no hidden layer"):
        net.transform(X)
    np.testing.assert_array_equal(net.transform(X, -1)[:, 0], net.predict(X))


def loss_of_rows(net, X, y):
    """Loss of each row, by fitting nothing: a fit with a rate of 0 reports it."""
    found = []
    for row in range(len(X)):
        one = clone(net).set_params(solver="sgd", learning_rate_init=1e-300, alpha=0.0, warm_start=False, max_iter=1)
        one.fit(np.repeat(X[row : row + 1], 2, axis=0), np.repeat(y[row : row + 1], 2, axis=0),
                coefs_init=net.coefs_, intercepts_init=net.intercepts_)  # fmt: skip
        found.append(one.loss_)
    return np.array(found)


@pytest.mark.parametrize(
    ("loss", "y"),
    [("squared_error", Y), ("poisson", COUNTS), ("gaussian_nll", TWO), (losses.huber(0.2), TWO)],
    ids=["squared_error", "poisson", "gaussian_nll", "huber"],
)
def test_the_gradient_is_that_of_the_loss_of_the_fit(loss, y):
    net = MLPRegressor(loss, **SETTINGS).fit(X, y)
    gradient = net.input_gradient(X[:3], y[:3])
    for column in range(4):
        moved = np.zeros((3, 4))
        moved[:, column] = 1e-5
        slope = (loss_of_rows(net, X[:3] + moved, y[:3]) - loss_of_rows(net, X[:3] - moved, y[:3])) / 2e-5
        np.testing.assert_allclose(gradient[:, column], slope, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(net.input_gradient(X[:3], y[:3], [1, 0, 2]), gradient * [[1], [0], [2]], rtol=1e-12)


def test_the_gradient_of_squares_of_several_targets_is_that_of_half_their_sum():
    net = MLPRegressor(hidden_layer_sizes=()).fit(X, TWO)
    expected = (net.predict(X) - TWO) @ net.coefs_[0].T
    np.testing.assert_allclose(net.input_gradient(X, TWO), expected, rtol=1e-10)


@pytest.mark.parametrize("y", [LABELS, BINARY, MULTI], ids=["multiclass", "binary", "multilabel"])
def test_the_gradient_of_a_classifier(y):
    net = MLPClassifier(hidden_layer_sizes=()).fit(X, y)
    p = net.predict_proba(X)
    t = np.asarray(y)[:, None] == net.classes_ if y.ndim == 1 else y
    if y is BINARY:
        p, t = p[:, 1:], t[:, 1:]
    np.testing.assert_allclose(net.input_gradient(X, y), (p - t) @ net.coefs_[0].T, rtol=1e-9, atol=1e-12)


def test_wrong_rows_of_a_gradient():
    net = MLPClassifier(**SETTINGS).fit(X, BINARY)
    for given, match in (
        ({"y": BINARY[:5]}, "y has 5 rows, but X has 60"),
        ({"y": LABELS}, "y must only have the classes of the fit"),
        ({"X": X[:, :2]}, "X has 2 features"),
        ({"X": X * np.nan}, "X contains NaN"),
        ({"sample_weight": [1.0]}, "sample_weight"),
    ):
        with pytest.raises(ValueError, match=match):
            net.input_gradient(**{"X": X, "y": BINARY, **given})
    with pytest.raises(ValueError, match="y"):
        MLPRegressor(**SETTINGS).fit(X, TWO).input_gradient(X, Y)
