"""Class weights: the same as weights of rows, by the formula of scikit-learn; refused where there are no classes."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_same_parameters, classifier, parameters

N = 40
X = np.random.default_rng(0).standard_normal((N, 3))
Y = np.random.default_rng(1).choice(3, N, p=[0.6, 0.3, 0.1])
WEIGHT = np.random.default_rng(2).uniform(0.5, 2.0, N).astype(np.float32).astype(np.float64)  # exact in both dtypes


def balanced(y):
    values, counts = np.unique(y, return_counts=True)
    return dict(zip(values.tolist(), len(y) / (len(values) * counts), strict=True))


def test_balanced_is_the_formula_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    expected = utils.compute_class_weight("balanced", classes=np.unique(Y), y=Y)
    assert list(balanced(Y).values()) == pytest.approx(list(expected))


@pytest.mark.parametrize("sample_weight", [None, WEIGHT])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.5, 1: 1.0, 2: 4.0}, {2: 3.0}, {np.int64(0): 0, 1.0: 2}])
@pytest.mark.parametrize("kind", ["labels", "one-hot", "binary", "binary column"])
def test_they_multiply_the_weights_of_rows(kind, class_weight, sample_weight, dtype):
    binary = kind.startswith("binary")
    y = np.minimum(Y, 1) if binary else Y
    if binary and class_weight != "balanced":
        class_weight = {label: weight for label, weight in class_weight.items() if label < 2}
    per_class = balanced(y) if class_weight == "balanced" else class_weight
    rows = np.array([per_class.get(label, 1.0) for label in y])
    if sample_weight is not None:
        rows = rows * sample_weight
    given = {"labels": y, "one-hot": np.eye(3)[Y], "binary": y, "binary column": y[:, None]}[kind]
    options = {"loss": "bce", "layers": (5, 1)} if binary else {}
    model, expected = (classifier(**options, dtype=dtype) for _ in range(2))
    record = model.fit(X, given, epochs=2, batch_size=7, class_weight=class_weight, sample_weight=sample_weight)
    expected.fit(X, given, epochs=2, batch_size=7, sample_weight=rows)
    assert_same_parameters(model, expected)
    assert record["loss"] == expected.history["loss"]


def test_weights_of_one_change_nothing():
    model, plain = classifier(dtype="float64"), classifier(dtype="float64")
    model.fit(X, Y, class_weight={})
    plain.fit(X, Y)
    for a, b in zip(parameters(model), parameters(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_rows_kept_back_are_not_counted_and_not_weighted():
    model = classifier()
    record = model.fit(X, Y, validation_split=0.3, class_weight="balanced", sample_weight=WEIGHT)
    order = np.random.default_rng(0).permutation(N)  # as fastnn._data.prepare.split_validation draws it
    training, held_back = np.sort(order[12:]), np.sort(order[:12])
    per_class = balanced(Y[training])
    rows = np.array([per_class[label] for label in Y[training]]) * WEIGHT[training]
    expected = classifier()
    found = expected.fit(
        X[training], Y[training], sample_weight=rows, validation_data=(X[held_back], Y[held_back], WEIGHT[held_back])
    )
    assert_same_parameters(model, expected)
    assert record["val_loss"] == found["val_loss"]


def test_classes_that_do_not_occur():
    model, expected = (classifier((5, 5)) for _ in range(2))
    model.fit(X, Y, class_weight="balanced")
    expected.fit(X, Y, class_weight=balanced(Y))
    assert_same_parameters(model, expected)
    one = classifier()
    one.fit(X, np.zeros(N, int), class_weight="balanced")  # one class: each row counts 1
    plain = classifier()
    plain.fit(X, np.zeros(N, int), sample_weight=np.ones(N))
    assert_same_parameters(one, plain)


@pytest.mark.parametrize(
    ("options", "y", "class_weight", "kind", "text"),
    [
        ({"loss": "mse", "layers": (5, 1)}, X[:, 0], "balanced", ValueError, "needs a loss of classification"),
        ({"loss": "bce", "layers": (5, 2)}, np.eye(2)[Y % 2], "balanced", ValueError, "y has 2 columns of binary"),
        ({"loss": "bce", "layers": (5, 1)}, np.full(N, 0.3), {0: 2}, ValueError, r"one class each, .* \[0.3.*at row 0"),
        ({}, np.full((N, 3), 1 / 3), "balanced", ValueError, r"one class each, but y is \[0.33.*at row 0"),
        ({}, Y, "even", TypeError, "class_weight must be a dict .* got 'even'"),
        ({}, Y, [1, 2, 3], TypeError, r"class_weight must be a dict .* got \[1, 2, 3\]"),
        ({}, Y, {3: 1.0}, ValueError, "keys of class_weight must be labels, 0 to 2, got 3"),
        ({}, Y, {"a": 1.0}, ValueError, "keys of class_weight must be .*, got 'a'"),
        ({}, Y, {0.5: 1.0}, ValueError, "keys of class_weight must be .*, got 0.5"),
        ({}, Y, {np.nan: 1.0}, ValueError, "keys of class_weight must be .*, got nan"),
        ({}, Y, {0: -1.0}, ValueError, r"class_weight\[0\] must be at least 0, got -1.0"),
        ({}, Y, {0: np.nan}, ValueError, r"class_weight\[0\] must be .* got nan"),
        ({}, Y, {0: None}, TypeError, r"class_weight\[0\] must be .* got None"),
        ({}, Y, {0: 0, 1: 0, 2: 0}, ValueError, "leaves all rows of the training a weight of 0"),
        ({}, Y, {0: 1e300}, ValueError, "sample_weight times class_weight"),
    ],
)
def test_what_is_refused(options, y, class_weight, kind, text):
    model = classifier(**options)
    for call in (model.fit, model.train_on_batch):
        with pytest.raises(kind, match=text):
            call(X, y, class_weight=class_weight)
    assert not model.built
